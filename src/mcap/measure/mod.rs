//! Measuring: all facts of a recording that its checks want to know, and each damage with its place.
//!
//! ```text
//!  look      head, tail, summary           tier 1 ─┐
//!  indexes   message indexes, by ranges    tier 2 ─┴─► Facts, within a second whatever the size
//!  scan      every record, in one pass     tier 3 ───► Facts, with payloads and checksums
//! ```
//!
//! Beside that, [`find_image`] reads one image for a person to look at.
//!
//! [`measure_ends`] reads tiers 1 and 2, [`measure_whole`] tier 3 over bytes that may come from another pass. What is
//! good enough, [`crate::domain::measurement`] does not say, and neither does this.

mod as_jpeg;
pub(super) mod chunk;
mod decode;
mod fields;
pub(super) mod findings;
mod image_at;
mod imagery;
mod indexes;
mod inside;
mod joints;
mod keep;
mod look;
mod pairs;
mod passing;
mod payload;
mod picture;
mod pool;
mod pose;
mod protobuf;
mod sample;
mod scan;
mod sidecar;
mod smoothness;
mod spread;
mod thumb;
mod timeline;
mod topics;
mod video;
mod whole;

pub use image_at::{Found, ImageAt, NoImage, find as find_image};
pub use look::{Look, look};
pub use passing::{Passed, measure_passing};
pub use scan::Limits;
pub use sidecar::sidecar_facts;
pub use whole::{measure_ends, measure_whole};

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(super) mod tests;
