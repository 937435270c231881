//! What can be stored of what can be said. The wire carries more than tables hold: years before the first, JSON
//! that is nested without an end. Where outside text becomes values, it is held against these limits.

use serde_json::Value;

use super::Timestamp;

/// Levels of nesting in JSON that is kept. Readers of JSON give up at 128, and what is kept lies some levels deep in
/// its event: a value that could be written and never read again would take its whole stream with it.
pub const JSON_DEPTH_MAX: usize = 64;

/// Whether a value has more levels than [`JSON_DEPTH_MAX`].
pub fn nested_too_deep(value: &Value) -> bool {
    fn deeper(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left == 0 || items.iter().any(|item| deeper(item, left - 1)),
            Value::Object(fields) => left == 0 || fields.values().any(|field| deeper(field, left - 1)),
            _ => false,
        }
    }
    deeper(value, JSON_DEPTH_MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstant {
    #[error("must be an RFC 3339 time")]
    NotRfc3339,
    #[error("must lie in the years 1 to 9999")]
    OutOfRange,
}

/// An RFC 3339 time with any offset, as it is stored: to the microsecond, in the years 1 to 9999 of UTC, which have
/// four digits in every text. A leap second is the first of the next minute, as Postgres takes it.
pub fn instant(text: &str) -> Result<Timestamp, InvalidInstant> {
    use chrono::{SubsecRound, TimeDelta, Timelike};
    let at = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| InvalidInstant::NotRfc3339)?.to_utc();
    let beyond = i64::from(at.nanosecond() / 1_000_000_000);
    let plain = at.with_nanosecond(at.nanosecond() % 1_000_000_000).and_then(|at| at.checked_add_signed(TimeDelta::seconds(beyond)));
    plain.map(|at| at.trunc_subsecs(6)).filter(|at| can_be_stored(*at)).ok_or(InvalidInstant::OutOfRange)
}

/// Whether an instant lies in the years that [`instant`] takes.
pub fn can_be_stored(at: Timestamp) -> bool {
    (1..=9999).contains(&chrono::Datelike::year(&at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_outside_of_what_every_text_can_say_are_refused() {
        for outside in ["0000-01-01T00:00:00Z", "0000-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(instant(outside), Err(InvalidInstant::OutOfRange), "{outside}");
        }
        for wrong in
            ["", "now", "2026-01-01", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z"]
        {
            assert_eq!(instant(wrong), Err(InvalidInstant::NotRfc3339), "{wrong}");
        }
        for (text, stored) in [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2026-01-01T02:00:00.5+02:00", "2026-01-01T00:00:00.500Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.250Z"),
        ] {
            assert_eq!(json!(instant(text).unwrap()), stored, "{text}");
        }
        assert_eq!(instant("9999-12-31T23:59:60Z"), Err(InvalidInstant::OutOfRange));
    }

    #[test]
    fn nesting_is_counted_in_arrays_and_objects() {
        let nested =
            |levels: usize| (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) });
        assert!(!nested_too_deep(&nested(JSON_DEPTH_MAX)));
        assert!(nested_too_deep(&nested(JSON_DEPTH_MAX + 1)));
    }
}
