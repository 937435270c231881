//! Rows of what people did about dead letters.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::LetterId;
use crate::domain::letter::DeadLetter;

table! {
    LetterActsRow in "dead_letter_acts" by number LetterId {
        replays: i64,
        resolved_because: Option<String>,
    }
}

impl ReadModel for DeadLetter {
    type Row = LetterActsRow;

    fn shown(state: &Self) -> Shown<LetterActsRow> {
        if state.swept {
            return Shown::Gone;
        }
        Shown::Row(LetterActsRow { replays: state.replays, resolved_because: state.resolved_because.clone() })
    }
}
