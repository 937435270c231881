//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// S3's own limit.
const KEY_BYTES_MAX: usize = 1024;

const SALVAGED: &str = "salvaged";

/// Whether it is the name of something that was salvaged. A factory may have this name: what robots upload there lies in a folder more.
pub fn is_salvaged(key: &str) -> bool {
    key.strip_prefix(SALVAGED).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| !name.contains('/'))
}

/// Below which the tree of the log lies.
const LOG: &str = "_log";

/// Whether it is the name of something that belongs to the log: written by the server, and by no robot.
pub fn is_of_log(key: &str) -> bool {
    key.strip_prefix(LOG).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of an object inside our bucket, safe to use as a path below its folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("an object key must not be empty")]
    Empty,
    #[error("an object key has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    #[error("an object key must not contain control characters or backslashes")]
    ForbiddenCharacter,
    #[error("an object key must not contain empty, `.` or `..` segments")]
    ForbiddenSegment,
}

impl ObjectKey {
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = key.into();
        if key.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        if key.chars().any(|c| c.is_control() || c == '\\') {
            return Err(InvalidKey::ForbiddenCharacter);
        }
        // Empty segments include a slash at either end: `a//b` and `/a` would name the
        // same file as `a/b` and `a`.
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(InvalidKey::ForbiddenSegment);
        }
        Ok(Self(key))
    }

    /// Where what was salvaged lies, by what it is. No robot writes there: its keys have its device as their second part, and these have none.
    pub fn salvaged(sha256: &str) -> Result<Self, InvalidKey> {
        Self::new(format!("{SALVAGED}/{sha256}.mcap"))
    }

    /// What belongs to the tree of the log of this name: `checkpoint`, `tile/0/000`.
    pub fn of_log(origin: &str, name: &str) -> Result<Self, InvalidKey> {
        Self::new(format!("{LOG}/{origin}/{name}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn location(&self) -> Result<object_store::path::Path, object_store::path::Error> {
        object_store::path::Path::parse(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(key: &str) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;

    fn try_from(key: String) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_inside_its_bucket() {
        for (key, refusal) in [
            ("", InvalidKey::Empty),
            ("../secret", InvalidKey::ForbiddenSegment),
            ("a/../b", InvalidKey::ForbiddenSegment),
            ("a/./b", InvalidKey::ForbiddenSegment),
            ("/a", InvalidKey::ForbiddenSegment),
            ("a/", InvalidKey::ForbiddenSegment),
            ("a//b", InvalidKey::ForbiddenSegment),
            ("a\\b", InvalidKey::ForbiddenCharacter),
            ("a\0b", InvalidKey::ForbiddenCharacter),
            ("a\nb", InvalidKey::ForbiddenCharacter),
        ] {
            assert_eq!(ObjectKey::new(key), Err(refusal), "{key:?}");
        }
        assert_eq!(ObjectKey::new("a".repeat(KEY_BYTES_MAX + 1)), Err(InvalidKey::TooLong));
        let salvaged = ObjectKey::salvaged(&"0".repeat(64)).unwrap();
        assert!(is_salvaged(salvaged.as_str()) && !is_salvaged("salvaged/AB-1/2026-11-27/t.mcap") && !is_salvaged("salvaged"));
        let tile = ObjectKey::of_log("keystone-edge/1", "tile/0/000").unwrap();
        assert!(is_of_log(tile.as_str()) && is_of_log("_log") && !is_of_log("_logs/AB-1/t.mcap") && !is_of_log("F1/_log/t.mcap"));
        for key in ["a", "a/b.mcap", "ünïcode/..x/x..", "a b/c%2Fd"] {
            assert!(ObjectKey::new(key).is_ok(), "{key:?}");
        }
    }
}
