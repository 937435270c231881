//! Where an object lies, as requests and stored paths say it.

use super::problem::{Code, Problem};

/// Where an object lies: a bucket and a key that cannot lead out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub bucket: String,
    pub object: String,
}

impl Location {
    fn new(bucket: &str, object: &str) -> Option<Self> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = bucket.as_bytes();
        let fits = (3..=63).contains(&bytes.len()) && bytes.iter().all(|b| alphanumeric(*b) || matches!(b, b'.' | b'-'));
        let ends = bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
        if !fits || !ends || bucket.contains("..") {
            return None;
        }
        Some(Self { bucket: bucket.to_owned(), object: clean_key(object)? })
    }

    /// What a request can mean, the more literal first: some clients encode the name of an object twice, and some
    /// names look as if they were.
    pub fn readings(bucket: &str, object: &str) -> Result<Vec<Self>, Problem> {
        let decoded = object.contains('%').then(|| percent_decode(object)).flatten();
        let readings: Vec<_> =
            [Some(object.to_owned()), decoded].into_iter().flatten().filter_map(|object| Self::new(bucket, &object)).collect();
        if readings.is_empty() {
            return Err(Problem::new(Code::InvalidLocation, "the bucket or the object is not one that there can be"));
        }
        Ok(readings)
    }

    /// From a stored path: `<bucket>/<key>`, or a key of `ours`.
    pub fn of_path(path: &str, ours: &str) -> Result<Self, Problem> {
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("s3/").unwrap_or(path);
        let key = path.strip_prefix(ours).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
        Self::new(ours, key).ok_or_else(|| Problem::new(Code::InvalidLocation, "the stored path is not one that an object can have"))
    }

    pub fn path(&self) -> String {
        format!("{}/{}", self.bucket, self.object)
    }
}

/// A key without dot segments, or nothing where it would leave its bucket or confuse a store.
fn clean_key(key: &str) -> Option<String> {
    if key.starts_with('/') || key.len() > 1024 || key.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let mut segments: Vec<&str> = vec![];
    for segment in key.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop()?;
            }
            // Names of factories are free text, so more has to pass than the letters of links.
            _ => segments.push(segment),
        }
    }
    (!segments.is_empty()).then(|| segments.join("/"))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |b: &u8| char::from(*b).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(object: &str) -> Vec<String> {
        Location::readings("edge-f", object).map_or(vec![], |readings| readings.into_iter().map(|location| location.object).collect())
    }

    #[test]
    fn a_key_never_leaves_its_bucket() {
        assert_eq!(keys("a/./b//c.mcap"), ["a/b/c.mcap"]);
        assert_eq!(keys("a/../b"), ["b"]);
        for bad in ["../x", "a/../../x", "/a", "", ".", "a\\b", "a\0b"] {
            assert_eq!(keys(bad), [""; 0], "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_looks_encoded_is_read_as_it_is_first() {
        assert_eq!(keys("Factory%20Shanghai/x.mcap"), ["Factory%20Shanghai/x.mcap", "Factory Shanghai/x.mcap"]);
        // What would be harmful when it is decoded is only what it says.
        for literal in ["%2e%2e/x", "%", "%zz", "a%00b", "%ff", "a/.hidden"] {
            assert_eq!(keys(literal), [literal]);
        }
    }

    #[test]
    fn buckets_follow_the_rules_of_object_stores() {
        for (bucket, fits) in
            [("edge-f", true), ("a.b", true), ("ab", false), ("Edge", false), ("-ab", false), ("a..b", false), ("a/b", false)]
        {
            assert_eq!(Location::readings(bucket, "x").is_ok(), fits, "{bucket}");
        }
    }

    #[test]
    fn stored_paths_name_our_bucket_or_a_key_in_it() {
        for path in ["edge-f/a/b.mcap", "/edge-f/a/b.mcap", "s3/edge-f/a/b.mcap", "a/b.mcap"] {
            assert_eq!(Location::of_path(path, "edge-f").unwrap().path(), "edge-f/a/b.mcap");
        }
        assert_eq!(Location::of_path("edge-f/100%41/b.mcap", "edge-f").unwrap().object, "100%41/b.mcap");
    }
}
