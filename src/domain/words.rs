//! Closed lists of words, as they stand on the wire, in events and in tables.

/// What is not in a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct UnknownWord(pub String);

/// Declares a closed list: each value, and its word. A word that was stored stays what it is.
macro_rules! words {
    ($($(#[$about:meta])* $list:ident { $($(#[$of:meta])* $value:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $list { $($(#[$of])* #[serde(rename = $word)] $value),+ }

        impl $list {
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }

        impl std::str::FromStr for $list {
            type Err = $crate::domain::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err($crate::domain::words::UnknownWord([$($word),+].join(", "))),
                }
            }
        }
    )+};
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use serde_json::json;

    words! {
        Weather { Sunny = "sunny", NoIdea = "no_idea" }
    }

    #[test]
    fn a_value_has_one_word_everywhere() {
        for weather in Weather::ALL {
            assert_eq!(json!(weather), weather.as_str());
            assert_eq!(serde_json::from_value::<Weather>(json!(weather.as_str())).ok().as_ref(), Some(weather));
            assert_eq!(weather.as_str().parse().as_ref(), Ok(weather));
        }
        assert_eq!("Sunny".parse::<Weather>().unwrap_err().to_string(), "must be one of sunny, no_idea");
    }
}
