//! `GET /device-state/stream`: what changes about devices, as it changes, from any process.
//!
//! The source is the log, so an id is a position: a client that comes back with `Last-Event-ID` gets
//! everything since, and one that comes without gets the present state of its devices first.
//!
//! - [`source`]: changes of devices, read once and written once for all readers.
//! - [`told`]: a change as its readers are told of it.
//! - [`wanted`]: the devices that one reader asks for, and may see.
//! - [`route`]: where a stream begins.

mod route;
mod source;
mod told;
mod wanted;

pub use route::routes;
pub use source::DeviceSource;
