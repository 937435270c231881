//! `GET /device-state/stream`: what changes about devices, as it changes, from any process.
//!
//! The source is the log, so an id is a position: a client that comes back with `Last-Event-ID` gets
//! everything since, and one that comes without gets the present state of its devices first.
//! One follower per process reads the log for all clients and hands each window on; a
//! client that is too slow for the buffer reads the log itself from where it is. Nothing is left out.
//!
//! - [`feed`]: the follower of the log.
//! - [`told`]: a change as its readers are told of it.
//! - [`client`]: one reader, and the route.

mod client;
mod feed;
mod told;

pub use client::routes;
pub use feed::DeviceStream;
