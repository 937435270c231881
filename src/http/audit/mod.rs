//! `/audit`: who did what, when, and from where.
//!
//! - [`recorder`]: what is no event is recorded: reading what is known of people, taking files away, being refused.
//! - [`layer`]: where that is seen; [`entity`]: what a request was about.
//! - [`asked`], [`shown`]: which entries, and how they are told; [`routes`]: the list; [`table`]: the export.

mod asked;
mod entity;
mod layer;
mod recorder;
mod routes;
mod shown;
mod table;
#[cfg(test)]
mod tests;

pub use layer::recorded;
pub use recorder::Recorder;
pub use routes::routes;
