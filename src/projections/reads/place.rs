//! A place in a list: behind which row a page begins.
//!
//! `offset` counts rows from the beginning every time, and rows that are added before it move it. A place holds the
//! values that the list is ordered by, of the last row of a page: the next page begins behind them, whatever was
//! added or deleted meanwhile, and costs as much as the first.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// No list is ordered by more.
pub(super) const KEYS_MAX: usize = 3;

/// Where a page ended. Opaque to callers: text from one page, handed back for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which list in which order it is a place of.
    pub(super) list: u32,
    /// Numbers, and instants as microseconds since 1970.
    pub(super) values: [i64; KEYS_MAX],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a list")]
pub struct NotAPlace;

const BYTES: usize = 4 + 8 * KEYS_MAX;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.list.to_be_bytes().to_vec();
        bytes.extend(self.values.iter().flat_map(|value| value.to_be_bytes()));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NotAPlace)?;
        let (list, values) = bytes.split_first_chunk().ok_or(NotAPlace)?;
        let mut place = Self { list: u32::from_be_bytes(*list), values: [0; KEYS_MAX] };
        for (value, bytes) in place.values.iter_mut().zip(values.as_chunks().0) {
            *value = i64::from_be_bytes(*bytes);
        }
        Ok(place)
    }
}

/// One value that a list is ordered by.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub sql: String,
    pub of: KeyType,
    pub descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    Number,
    Instant,
}

impl Key {
    pub fn up(of: KeyType, sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), of, descending: false }
    }

    pub fn down(of: KeyType, sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), of, descending: true }
    }

    /// As a number that a place can hold.
    pub fn as_number(&self) -> String {
        match self.of {
            KeyType::Number => format!("({})::bigint", self.sql),
            KeyType::Instant => format!("(extract(epoch from {}) * 1000000)::bigint", self.sql),
        }
    }

    /// A parameter as a value of this key.
    fn parameter(&self, n: usize) -> String {
        match self.of {
            KeyType::Number => format!("${n}::bigint"),
            KeyType::Instant => format!("${n}::timestamptz"),
        }
    }
}

/// `order by`, without the words.
pub(super) fn order(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("{}{}", key.sql, if key.descending { " desc" } else { "" })).collect::<Vec<_>>().join(", ")
}

/// What holds of the rows behind the place that the parameters from `first` on hold; of all where they are null.
pub(super) fn behind(keys: &[Key], first: usize) -> String {
    let Some(one) = keys.first() else { return "true".to_owned() };
    format!("({} is null or {})", one.parameter(first), further(keys, first))
}

fn further(keys: &[Key], first: usize) -> String {
    let Some((one, rest)) = keys.split_first() else { return "false".to_owned() };
    let sign = if one.descending { '<' } else { '>' };
    // As one comparison where it can be: that is what an index is read by.
    if rest.iter().all(|key| key.descending == one.descending) {
        let values = keys.iter().map(|key| key.sql.as_str()).collect::<Vec<_>>().join(", ");
        let parameters = keys.iter().enumerate().map(|(n, key)| key.parameter(first + n)).collect::<Vec<_>>().join(", ");
        return format!("({values}) {sign} ({parameters})");
    }
    let (value, parameter) = (&one.sql, one.parameter(first));
    format!("({value} {sign} {parameter} or ({value} = {parameter} and {}))", further(rest, first + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_text() {
        let place = Place { list: 7, values: [i64::MIN, 0, i64::MAX] };
        assert_eq!(place.to_string().parse(), Ok(place));
        let text = place.to_string();
        for wrong in ["", "x", &text[1..], &format!("{text}A"), &format!("{text}=="), &"A".repeat(10_000), "\0", "\u{1f600}"] {
            assert_eq!(wrong.parse::<Place>(), Err(NotAPlace), "{wrong:?}");
        }
    }

    #[test]
    fn keys_of_one_direction_are_one_comparison() {
        let newest = [Key::down(KeyType::Instant, "t.at"), Key::down(KeyType::Number, "t.id")];
        assert_eq!(order(&newest), "t.at desc, t.id desc");
        assert_eq!(behind(&newest, 4), "($4::timestamptz is null or (t.at, t.id) < ($4::timestamptz, $5::bigint))");
        let ranked = [Key::up(KeyType::Number, "r"), Key::down(KeyType::Number, "t.id")];
        assert_eq!(behind(&ranked, 2), "($2::bigint is null or (r > $2::bigint or (r = $2::bigint and (t.id) < ($3::bigint))))");
    }
}
