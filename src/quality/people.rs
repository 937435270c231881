//! What people say of a recording.

use super::case::{Case, Outcome};
use crate::domain::operator_word::Demonstration;

/// A word that the recording is wanted counts nothing: it makes no recording better than it is.
pub fn operator_word(case: &Case) -> Outcome {
    let Some(word) = case.word else { return Outcome::not_applicable("the operator said nothing") };
    if word.discards() {
        return Outcome::fail(word.reason());
    }
    match word.demonstration {
        Some(Demonstration::Failure) if case.limit("success_wanted") >= 1.0 => {
            Outcome::fail("the operator says that the demonstration failed")
        }
        _ => Outcome::not_applicable("the operator keeps it"),
    }
}
