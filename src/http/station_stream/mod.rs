//! `GET /stations/{id}/stream`: what was said of the recordings of a station, as it is said.
//!
//! - [`source`]: verdicts, read once and written once for all readers.
//! - [`told`]: a verdict as its readers get it.
//! - [`wanted`]: the station that one reader asks for.
//! - [`route`]: who may listen, and where a stream begins.

mod route;
mod source;
mod told;
mod wanted;

pub use route::routes;
pub use source::VerdictSource;
