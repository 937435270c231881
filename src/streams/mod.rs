//! Live streams: what happens is told as it happens, to any number of readers.
//!
//! `docs/streams.md` draws it. What is told, and in which frames, is the business of the routes; here is what they share.
//!
//! - [`feed`]: reads what is new once for all readers; [`recent`] keeps it for a while.
//! - [`reader`]: one reader at its position, from the recent windows or from the log.
//! - [`watched`]: the present state of things that are no events.
//! - [`open`]: a stream as it is sent: heartbeat, right, end.
//! - [`seats`]: how many there may be.
//! - [`frame`]: how an event is written.

mod feed;
pub mod frame;
mod open;
mod reader;
mod recent;
mod seats;
mod watched;

pub use feed::{Feed, Look, Signals, Source};
pub use open::{HEARTBEAT, Lasting, open};
pub use reader::{Reader, Wanted};
pub use recent::Window;
pub use seats::{Full, Kind, Seat, Seats};
pub use watched::{Looked, Watched};
