//! A selection of letters: a filter, fixed at an instant. Letters that die afterwards are not in it, not even those
//! that were in it, were replayed and died again.
//!
//! As text it names itself and nothing is kept of it. It gives no right that its bearer lacks, so it is not signed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::filter::{LetterFilter, Resolution};
use crate::domain::Timestamp;
use crate::domain::storable;

/// The text of a selection is never longer: filters have limits of their own.
pub const SELECTION_BYTES_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    filter: LetterFilter,
    /// By the clock of the database: letters that had died by then.
    at: Timestamp,
    /// The explicit word for a filter that matches everything.
    everything: bool,
}

/// Why letters cannot be selected like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASelection {
    #[error("a filter that names nothing would replay every letter; say `everything` where that is meant")]
    FilterEmpty,
    #[error("must be the selection of a preview")]
    Unreadable,
}

impl Selection {
    pub fn new(filter: LetterFilter, everything: bool, at: Timestamp) -> Result<Self, NotASelection> {
        // Only what is unresolved can be replayed.
        let filter = LetterFilter { resolution: None, ..filter };
        if filter == LetterFilter::default() && !everything {
            return Err(NotASelection::FilterEmpty);
        }
        let filter = LetterFilter { resolution: Some(Resolution::Unresolved), ..filter };
        Ok(Self { filter, at, everything })
    }

    pub fn filter(&self) -> &LetterFilter {
        &self.filter
    }

    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Selection {
    type Err = NotASelection;

    fn from_str(text: &str) -> Result<Self, NotASelection> {
        if text.len() > SELECTION_BYTES_MAX {
            return Err(NotASelection::Unreadable);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotASelection::Unreadable)?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|_| NotASelection::Unreadable)?;
        let instants = [Some(read.at), read.filter.from, read.filter.to];
        if !instants.into_iter().flatten().all(storable::can_be_stored) || bytes.contains(&0) || json_has_nul(&bytes) {
            return Err(NotASelection::Unreadable);
        }
        Self::new(read.filter, read.everything, read.at)
    }
}

/// Postgres keeps no NUL in texts.
fn json_has_nul(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|six| six == br"\u0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-26T12:00:00.123456Z".parse().unwrap()
    }

    fn of(subscriber: &str) -> LetterFilter {
        LetterFilter { subscriber: Some(subscriber.into()), ..LetterFilter::default() }
    }

    #[test]
    fn a_selection_is_its_text() {
        let selection = Selection::new(of("device_commands"), false, at()).unwrap();
        assert_eq!(selection.to_string().parse(), Ok(selection));
    }

    #[test]
    fn everything_needs_its_word_also_in_a_text_that_was_made_by_hand() {
        assert_eq!(Selection::new(LetterFilter::default(), false, at()), Err(NotASelection::FilterEmpty));
        let everything = Selection::new(LetterFilter::default(), true, at()).unwrap();
        assert_eq!(everything.to_string().parse(), Ok(everything));
        let made = URL_SAFE_NO_PAD.encode(r#"{"filter":{},"at":"2026-11-26T12:00:00Z","everything":false}"#);
        assert_eq!(made.parse::<Selection>(), Err(NotASelection::FilterEmpty));
    }

    #[test]
    fn what_is_no_selection_is_refused() {
        let nul = r#"{"filter":{"stream":"a\u0000"},"at":"2026-11-26T12:00:00Z","everything":false}"#;
        let unknown = r#"{"filter":{"colour":"red"},"at":"2026-11-26T12:00:00Z","everything":true}"#;
        let early = r#"{"filter":{},"at":"-0001-01-01T00:00:00Z","everything":true}"#;
        let made = [nul, unknown, early].map(|json| URL_SAFE_NO_PAD.encode(json));
        let long = "A".repeat(SELECTION_BYTES_MAX + 1);
        for wrong in made.iter().map(String::as_str).chain(["", "x", "e30", "\u{1f600}", &long]) {
            assert_eq!(wrong.parse::<Selection>(), Err(NotASelection::Unreadable), "{wrong:?}");
        }
    }
}
