//! The recorder's look at the server's clock.
//!
//! Of every frame it reads the first of four fields as milliseconds. A frame without one makes the
//! result unreliable, so a server stamps all frames or none.

use chrono::Utc;
use serde_json::{Value, json};

const FIELDS: [&str; 4] = ["timestamp_ms", "server_time_ms", "keystone_time_ms", "timestamp"];
const WARNING_MS: i64 = 1000;
const CRITICAL_MS: i64 = 5000;

#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    /// By how much the server is ahead, as of the last frame.
    offset_ms: Option<i64>,
    checked_at_ms: i64,
    stamped: bool,
    bare: bool,
}

impl ClockCheck {
    /// Takes a frame of the server. True for the first one that shows that some are stamped and others are not.
    pub fn look_at(&mut self, frame: &Value) -> bool {
        let mixed = self.stamped && self.bare;
        let told = FIELDS.iter().find_map(|field| frame.get(field).and_then(Value::as_i64));
        self.checked_at_ms = Utc::now().timestamp_millis();
        self.offset_ms = told.map(|told| told - self.checked_at_ms);
        self.stamped |= told.is_some();
        self.bare |= told.is_none();
        !mixed && self.stamped && self.bare
    }

    /// As `get_stats` shows it.
    pub fn shown(&self) -> Value {
        let (status, reason) = match self.offset_ms.map(i64::abs) {
            None => ("unreliable", "Keystone message has no timestamp"),
            Some(CRITICAL_MS..) => ("critical", "time gap exceeds critical threshold"),
            Some(WARNING_MS..) => ("warning", "time gap exceeds warning threshold"),
            Some(_) => ("normal", "time gap within thresholds"),
        };
        json!({
            "absolute_offset_ms": self.offset_ms.map(i64::abs),
            "checked_at_ms": self.checked_at_ms,
            "critical_threshold_ms": CRITICAL_MS,
            "enabled": true,
            "max_round_trip_ms": 2000,
            "offset_ms": self.offset_ms,
            "reason": reason,
            "reliable": self.offset_ms.is_some(),
            "round_trip_ms": null,
            "stale_after_ms": 60000,
            "status": status,
            "warning_threshold_ms": WARNING_MS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_counts_and_frames_without_one_are_noticed_once() {
        let mut check = ClockCheck::default();
        let now = Utc::now().timestamp_millis();
        assert!(!check.look_at(&json!({ "timestamp": 1, "timestamp_ms": now })));
        assert_eq!(check.shown()["status"], "normal");
        assert!(!check.look_at(&json!({ "timestamp_ms": now - 2000 })));
        assert_eq!(check.shown()["status"], "warning");
        assert!(!check.look_at(&json!({ "timestamp_ms": now + 9000 })));
        assert_eq!(check.shown()["status"], "critical");
        assert!(check.look_at(&json!({})));
        assert_eq!((check.shown()["status"].as_str(), check.shown()["reliable"].as_bool()), (Some("unreliable"), Some(false)));
        assert!(!check.look_at(&json!({})));
    }
}
