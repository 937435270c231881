//! What the person who operated the robot says of a recording, within seconds of its end. The last word counts.

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{CollectorId, Timestamp};

words! {
    /// What is to become of a recording.
    WordVerdict {
        Keep = "keep",
        /// A person has to look at it before anything is done with it.
        Discard = "discard",
        /// The same, and it is recorded once more.
        Redo = "redo",
    }

    /// Whether the robot did what was to be shown.
    Demonstration {
        Success = "success",
        Failure = "failure",
    }

    /// What a word did to its episode.
    WordEffect {
        /// It needs an inspection because of it.
        Held = "held",
        /// It needed one because of the word before, and waits for a run now.
        Freed = "freed",
        /// Its status stayed.
        Noted = "noted",
    }
}

/// A word of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorWord {
    pub verdict: WordVerdict,
    pub demonstration: Option<Demonstration>,
    pub note: Option<String>,
    /// The data collector of the station; none where an administrator said it.
    pub by: Option<CollectorId>,
    pub at: Timestamp,
}

impl OperatorWord {
    /// The recording is not wanted.
    pub fn discards(&self) -> bool {
        match self.verdict {
            WordVerdict::Keep => false,
            WordVerdict::Discard | WordVerdict::Redo => true,
        }
    }

    /// It says what another one said, and the same person said it: a repeat.
    pub fn repeats(&self, other: &Self) -> bool {
        *self == Self { at: self.at, ..other.clone() }
    }

    /// Why a recording that is not wanted waits for a person; also the flag of its episode.
    pub fn reason(&self) -> String {
        let said = match self.verdict {
            WordVerdict::Keep => "the operator keeps it",
            WordVerdict::Discard => "the operator discards it",
            WordVerdict::Redo => "the operator wants it recorded again",
        };
        match &self.note {
            Some(note) => format!("{said}: {note}"),
            None => said.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_same_word_of_the_same_person_at_any_time() {
        let word = OperatorWord {
            verdict: WordVerdict::Discard,
            demonstration: None,
            note: Some("the cup fell".into()),
            by: Some(CollectorId(3)),
            at: Timestamp::UNIX_EPOCH,
        };
        let later = OperatorWord { at: Timestamp::MAX_UTC, ..word.clone() };
        assert!(later.repeats(&word) && word.discards());
        for other in [
            OperatorWord { verdict: WordVerdict::Redo, ..word.clone() },
            OperatorWord { demonstration: Some(Demonstration::Failure), ..word.clone() },
            OperatorWord { note: None, ..word.clone() },
            OperatorWord { by: None, ..word.clone() },
        ] {
            assert!(!other.repeats(&word), "{other:?}");
        }
        assert_eq!(word.reason(), "the operator discards it: the cup fell");
    }
}
