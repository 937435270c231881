//! Types of events by name or by beginning: `upload_verified`, `upload_*`, `*`. The one rule for searching the log and for subscriptions.

use super::kinds::event_types;

/// Whether a type is meant by a pattern.
pub fn matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => event_type == pattern,
    }
}

/// The types of today that a pattern means.
pub fn types_of(pattern: &str) -> Vec<&'static str> {
    event_types().into_iter().filter(|known| matches(pattern, known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest_of_a_type() {
        assert_eq!(types_of("upload_acc"), [""; 0]);
        assert_eq!(types_of("upload_ack_requested"), ["upload_ack_requested"]);
        assert!(types_of("upload_*").len() > 5);
        assert_eq!(types_of("*").len(), event_types().len());
        for none in ["", "UPLOAD_*", "*x", "upload_*d"] {
            assert_eq!(types_of(none), [""; 0], "{none:?}");
        }
    }
}
