//! Where a webhook is posted to. Path and query of its URL may be secret, so it shows its origin only.

use std::fmt;

use url::Url;

/// The longest URL that is taken.
pub const URL_CHARS_MAX: usize = 2_000;

/// A whole URL. It is kept beside the log, and neither stored in an event nor shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    #[error("is longer than {URL_CHARS_MAX} characters")]
    TooLong,
    #[error("must be https:// or http:// and a host, with a path and a query where they are needed")]
    NotAUrl,
    #[error("must have no user name and no password: what a receiver has to know goes into the path or the query")]
    UserInfo,
    #[error("must have no fragment: it is never sent")]
    Fragment,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, NotATarget> {
        if text.chars().count() > URL_CHARS_MAX {
            return Err(NotATarget::TooLong);
        }
        let url = Url::parse(text).map_err(|_| NotATarget::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
            return Err(NotATarget::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotATarget::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(NotATarget::Fragment);
        }
        Ok(Self(url))
    }

    /// `https://host:port`: what may be told.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}/…)", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_without_a_user() {
        for (text, wrong) in [
            ("", NotATarget::NotAUrl),
            ("/hook", NotATarget::NotAUrl),
            ("ftp://a/b", NotATarget::NotAUrl),
            ("https://", NotATarget::NotAUrl),
            ("https://a:0/", NotATarget::NotAUrl),
            ("https://u@a/", NotATarget::UserInfo),
            ("https://:p@a/", NotATarget::UserInfo),
            ("https://a/#x", NotATarget::Fragment),
            (&format!("https://a/{}", "x".repeat(URL_CHARS_MAX)), NotATarget::TooLong),
        ] {
            assert_eq!(Target::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn only_its_origin_is_told() {
        let target = Target::parse("https://Hooks.example:8443/secret/path?key=hush").unwrap();
        assert_eq!(target.origin(), "https://hooks.example:8443");
        assert_eq!(Target::parse("http://[::1]/x").unwrap().origin(), "http://[::1]");
        let shown = format!("{target:?}");
        assert!(!shown.contains("secret") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn an_address_in_odd_clothes_is_an_address() {
        for odd in ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/"] {
            assert_eq!(Target::parse(odd).unwrap().origin(), "http://127.0.0.1", "{odd}");
        }
    }
}
