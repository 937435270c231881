//! Judging: facts of a recording, a suite, what the task wanted and what is usual in good recordings to a result per check, a score and a verdict.
//!
//! Pure: what is judged again later, by this suite or another, needs no byte of the recording. A suite is a value
//! ([`crate::domain::judgement::Suite`]); the one that is shipped stands in one table ([`CHECKS`]), and `docs/quality.md` explains it. What a
//! recording says is measured elsewhere, and what follows from a verdict is decided elsewhere.

mod case;
mod container;
mod content;
mod contract;
mod judge;
mod outside;
mod pairs;
mod people;
mod pixels;
mod presence;
pub mod ranking;
mod reference;
mod suite;
mod timing;

pub use case::{Outcome, Twin};
pub use judge::{Beside, judge, judge_with, lacks_answers};
pub use suite::{CHECKS, Check, unknown};

#[cfg(test)]
mod tests;
