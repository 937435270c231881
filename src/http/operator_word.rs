//! What the operator says of a recording, as tasks and episodes show it.

use serde::Serialize;
use utoipa::ToSchema;

use super::wire::{TextId, WholeSecond};
use super::words::{DemonstrationWord, OperatorVerdictWord};
use crate::domain::operator_word::OperatorWord;

/// The last word of the operator on a recording.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperatorWord)]
pub struct ShownWord {
    /// What is to become of it.
    #[schema(value_type = OperatorVerdictWord)]
    verdict: &'static str,
    /// Whether the robot did what was to be shown; null where nothing was said of it.
    #[schema(required, value_type = Option<DemonstrationWord>)]
    demonstration: Option<&'static str>,
    /// In the operator's words.
    #[schema(required)]
    note: Option<String>,
    /// The data collector who said it; null where an administrator did.
    #[schema(required)]
    data_collector_id: Option<TextId>,
    /// When.
    at: WholeSecond,
}

impl From<OperatorWord> for ShownWord {
    fn from(word: OperatorWord) -> Self {
        Self {
            verdict: word.verdict.as_str(),
            demonstration: word.demonstration.map(|demonstration| demonstration.as_str()),
            note: word.note,
            data_collector_id: word.by.map(|id| TextId(id.0)),
            at: word.at.into(),
        }
    }
}
