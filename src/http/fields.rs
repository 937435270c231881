//! Single fields of bodies: each type reads a value, says what it expected, and describes itself.
//!
//! A limit stands once, in the type of its field. [`super::extract`] adds the name of the field to what is said here.
//! Words of closed lists are in [`super::words`].

use std::fmt;

use serde::de::{Error, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{Timestamp, storable};

/// Long texts: notes, errors, layouts. Counted in bytes.
pub const LONG_TEXT: usize = 65_535;
pub const NAME: usize = 255;
pub const REASON: usize = 1_000;

pub type Name = Text<NAME>;
pub type ShortText = MayBeEmpty<NAME>;
pub type LongText = MayBeEmpty<LONG_TEXT>;
/// Why a person did something, where it has to be said, and where it may be.
pub type Reason = Text<REASON>;
pub type MaybeReason = MayBeEmpty<REASON>;

/// What stands for a value that has to be there, and is none.
pub const MISSING: &str = "is required";

/// A field type is written where it is used: it needs a name only until then ([`super::describe`]).
macro_rules! field {
    ($name:ty $(, $($generic:tt)*)?) => {
        impl $(<$($generic)*>)? ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }
        }
    };
}
pub(super) use field;

pub fn described_as(schema: ObjectBuilder) -> RefOr<Schema> {
    RefOr::T(Schema::Object(schema.build()))
}

/// An id on its way in, as text or as a number: answers have some ids as text and some as numbers, and give both back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenId(pub i64);

const ID_EXPECTED: &str = "must be a positive integer, as number or as text";

impl<'de> Deserialize<'de> for GivenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;
        impl Visitor<'_> for Given {
            type Value = i64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive integer, as number or as text")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
                if number > 0 { Ok(number) } else { Err(E::custom(ID_EXPECTED)) }
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
                i64::try_from(number).map_err(|_| E::custom(ID_EXPECTED)).and_then(|number| self.visit_i64(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
                let text = trimmed(text, NAME)?;
                if text.is_empty() {
                    return Err(E::custom(MISSING));
                }
                text.parse().map_err(|_| E::custom(ID_EXPECTED)).and_then(|number| self.visit_i64(number))
            }
        }
        deserializer.deserialize_any(Given).map(Self)
    }
}

impl PartialSchema for GivenId {
    fn schema() -> RefOr<Schema> {
        let both = SchemaType::Array(vec![Type::Integer, Type::String]);
        // An integer is held against the minimum, a text against the pattern.
        let pattern = r"^\s*\+?0*[1-9][0-9]*\s*$";
        described_as(ObjectBuilder::new().schema_type(both).minimum(Some(1)).max_length(Some(NAME)).pattern(Some(pattern)))
    }
}
field!(GivenId);

/// Without spaces around it. Limits are in characters, those of long texts in bytes.
fn trimmed<E: Error>(text: &str, most: usize) -> Result<&str, E> {
    let text = text.trim();
    let length = if most == LONG_TEXT { text.len() } else { text.chars().count() };
    if length > most { Err(E::custom(format_args!("is longer than {most} characters"))) } else { Ok(text) }
}

/// A text that has to be there: trimmed, not empty, not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<const MAX: usize>(pub String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = trimmed::<D::Error>(&text, MAX)?;
        if text.is_empty() { Err(D::Error::custom(MISSING)) } else { Ok(Self(text.to_owned())) }
    }
}

impl<const MAX: usize> PartialSchema for Text<MAX> {
    fn schema() -> RefOr<Schema> {
        described_as(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX)))
    }
}
field!(Text<MAX>, const MAX: usize);

/// A text that may be missing: trimmed, not too long; empty counts as missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MayBeEmpty<const MAX: usize>(Option<String>);

impl<const MAX: usize> MayBeEmpty<MAX> {
    pub fn said(field: Option<Self>) -> Option<String> {
        field.and_then(|text| text.0)
    }

    /// Where it may be taken away: `Some(None)` of a text with nothing in it.
    pub fn given(field: Option<Self>) -> Option<Option<String>> {
        field.map(|text| text.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for MayBeEmpty<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = trimmed::<D::Error>(&text, MAX)?;
        Ok(Self((!text.is_empty()).then(|| text.to_owned())))
    }
}

impl<const MAX: usize> PartialSchema for MayBeEmpty<MAX> {
    fn schema() -> RefOr<Schema> {
        described_as(ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX)))
    }
}
field!(MayBeEmpty<MAX>, const MAX: usize);

/// Tells `null` from a key that is missing.
pub fn given_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Any JSON that is kept with something: `null` is nothing that can be kept, and stands for `{}`.
pub fn emptied_by_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Ok(Some(match Value::deserialize(deserializer)? {
        Value::Null => Value::Object(serde_json::Map::new()),
        value => value,
    }))
}

/// A password, as it was typed: not empty, at most so many bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Password<const MAX: usize>(pub String);

impl<const MAX: usize> fmt::Debug for Password<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Password<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.len() {
            0 => Err(D::Error::custom(MISSING)),
            length if length > MAX => Err(D::Error::custom(format_args!("is longer than {MAX} bytes"))),
            _ => Ok(Self(text)),
        }
    }
}

impl<const MAX: usize> PartialSchema for Password<MAX> {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX));
        described_as(text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Password))))
    }
}
field!(Password<MAX>, const MAX: usize);

/// A number without decimals from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: i64, const MAX: i64>(pub i64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(if MAX == i64::MAX {
            D::Error::custom(format_args!("must be at least {MIN}"))
        } else {
            D::Error::custom(format_args!("must be between {MIN} and {MAX}"))
        })
    }
}

impl<const MIN: i64, const MAX: i64> PartialSchema for Whole<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let number = number.minimum(Some(MIN as isize));
        described_as(if MAX == i64::MAX { number } else { number.maximum(Some(MAX as isize)) })
    }
}
field!(Whole<MIN, MAX>, const MIN: i64, const MAX: i64);

/// An instant with any offset, as [`storable::instant`] takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenInstant(pub Timestamp);

impl<'de> Deserialize<'de> for GivenInstant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        storable::instant(String::deserialize(deserializer)?.trim()).map(Self).map_err(D::Error::custom)
    }
}

impl PartialSchema for GivenInstant {
    fn schema() -> RefOr<Schema> {
        let time = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        described_as(ObjectBuilder::new().schema_type(Type::String).format(Some(time)))
    }
}
field!(GivenInstant);

/// A value, or a text with nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrEmpty<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrEmpty<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        T::deserialize(text.into_deserializer()).map(|value| Self(Some(value)))
    }
}

impl<T: PartialSchema> PartialSchema for OrEmpty<T> {
    fn schema() -> RefOr<Schema> {
        let empty = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^\s*$"));
        RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(T::schema()).item(empty).build()))
    }
}
field!(OrEmpty<T>, T: PartialSchema);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(value: impl Into<Value>) -> Result<T, String> {
        serde_json::from_value(value.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_no_id_is_refused_as_number_and_as_text() {
        for wrong in [json!(0), json!(-1), json!(1.5), json!(1e3), json!(u64::MAX), json!(true), json!([1]), json!({})] {
            assert!(read::<GivenId>(wrong.clone()).is_err(), "{wrong}");
        }
        for wrong in ["", " ", "0", "-1", "1.5", "1e3", "x", "9223372036854775808", &"0".repeat(256), "１"] {
            assert!(read::<GivenId>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read::<GivenId>(" 007 "), Ok(GivenId(7)), "as ever");
    }

    proptest! {
        #[test]
        fn an_id_is_the_same_as_number_and_as_text(id in 1..=i64::MAX) {
            prop_assert_eq!(read(id), Ok(GivenId(id)));
            prop_assert_eq!(read(id.to_string()), Ok(GivenId(id)));
        }

        #[test]
        fn no_other_number_is_an_id(id in i64::MIN..=0) {
            prop_assert!(read::<GivenId>(id).is_err());
            prop_assert!(read::<GivenId>(id.to_string()).is_err());
        }
    }

    #[test]
    fn texts_are_counted_in_characters_and_long_ones_in_bytes() {
        assert_eq!(read::<Name>("ä".repeat(255)).unwrap().0.chars().count(), 255);
        assert_eq!(read::<Name>("ä".repeat(256)), Err("is longer than 255 characters".into()));
        assert!(read::<LongText>("ä".repeat(LONG_TEXT / 2 + 1)).is_err());
        assert_eq!(read::<Name>("  "), Err(MISSING.into()));
        assert_eq!(read::<ShortText>("  ").map(|text| MayBeEmpty::said(Some(text))), Ok(None));
        assert_eq!(read::<Name>(" a "), Ok(Text("a".into())));
    }

    #[test]
    fn a_password_is_taken_as_typed() {
        assert_eq!(read::<Password<3>>(" a ").unwrap().0, " a ");
        assert!(read::<Password<3>>("").is_err() && read::<Password<3>>("abcd").is_err());
        assert!(!format!("{:?}", Password::<3>("abc".into())).contains("abc"));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(read::<Whole<1, 3>>(3), Ok(Whole(3)));
        assert_eq!(read::<Whole<1, 3>>(4), Err("must be between 1 and 3".into()));
        assert!(read::<Whole<1, 3>>("3").is_err() && read::<Whole<1, 3>>(1.5).is_err());
    }

    #[test]
    fn an_empty_text_may_stand_for_no_value() {
        assert_eq!(read::<OrEmpty<GivenInstant>>(" "), Ok(OrEmpty(None)));
        assert!(read::<OrEmpty<GivenInstant>>("2026-01-01T02:00:00.5+02:00").unwrap().0.is_some());
        assert_eq!(read::<OrEmpty<GivenInstant>>("soon"), Err("must be an RFC 3339 time".into()));
    }
}
