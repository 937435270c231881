//! The birth certificate of an episode: how it came to be, from its order to its approval, in one document that is the same from every process.
//!
//! It is a fold of the log up to one position, that of the last event of the episode which says something that is certified
//! ([`Standing::of`]). So the same log gives the same bytes, what comes later (a note, an ack, its own sync) changes nothing, and another verdict or decision
//! makes another certificate.
//!
//! - [`statement`]: the document, and its bytes.
//! - [`issue`]: the document of an episode, from the events behind it.
//! - [`examine`]: what of a document contradicts the rest of it.
//!
//! Signatures and files are `certificates`' business. People stand in it by number.

mod evidence;
mod examine;
mod issue;
mod standing;
mod statement;
#[cfg(test)]
pub(crate) mod tests;

pub use evidence::Evidence;
pub use examine::Contradiction;
pub use issue::{CONFIGURED, issue};
pub use standing::{NoStanding, Standing};
pub use statement::{EVENTS_MAX, PREDICATE_TYPE, Statement};
