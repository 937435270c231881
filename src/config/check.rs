//! What is wrong with the settings, and what an operator should know about them: everything at once.

use std::time::Duration;

use toml::{Table, Value};

use super::forms::{is_base_url, is_socket_url};

/// Whole numbers that may be 0, because it means something or because a narrower bound is checked.
const MAY_BE_ZERO: [&str; 14] = [
    "attempts_max",
    "backoff_cap_ms",
    "bytes_per_second_max",
    "cloud_content_percent",
    "deadline_s",
    "edge_content_percent",
    "every_s",
    "free_percent_min",
    "items_kept_hours",
    "max_retries",
    "pool_max",
    "removed_after_s",
    "resolved_letters_kept_hours",
    "retry_jitter_s",
];

#[derive(Default)]
pub(super) struct Findings {
    pub wrong: Vec<String>,
    pub notices: Vec<String>,
}

impl Findings {
    pub fn need(&mut self, fine: bool, sentence: impl Into<String>) {
        if !fine {
            self.wrong.push(sentence.into());
        }
    }

    /// A time, a size or a number of things is more than none.
    pub fn need_more_than_none(&mut self, settings: &Table, path: &str) {
        for (key, value) in settings {
            let full = format!("{path}{key}");
            match value {
                Value::Table(table) => self.need_more_than_none(table, &format!("{full}.")),
                Value::Integer(0) if !MAY_BE_ZERO.contains(&key.as_str()) => self.wrong.push(format!("`{full}` must be greater than 0")),
                _ => {}
            }
        }
    }

    /// What others add a path to has none, and no slash at its end.
    pub fn need_base_url(&mut self, key: &str, url: &mut Option<String>) {
        if let Some(text) = url {
            *text = text.trim_end_matches('/').to_owned();
            self.need(is_base_url(text), format!("`{key}` must be http:// or https:// and a host, without a path"));
        }
    }

    pub fn need_socket_url(&mut self, key: &str, url: &mut Option<String>) {
        if let Some(text) = url {
            *text = text.trim_end_matches('/').to_owned();
            self.need(is_socket_url(text), format!("`{key}` must be ws:// and a host, without a path"));
        }
    }

    pub fn need_at_most(&mut self, key: &str, value: Duration, most: Duration, why: &str) {
        self.need(value <= most, format!("`{key}` must be at most {}: {why}", most.as_secs()));
    }
}
