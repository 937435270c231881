//! `GET /events/stream`: what matches a search of the log, as it happens.
//!
//! - [`source`]: events of the log, read once and written once for all readers.
//! - [`searched`]: one reader's search, over what comes and over what was.
//! - [`route`]: where a stream begins.

mod route;
mod searched;
mod source;

pub use route::routes;
pub use source::LogSource;
