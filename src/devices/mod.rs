//! Robots' two sockets: recorder and uploader ("transfer").
//!
//! ```text
//!  recorder ──ws──┐                                       ┌──► commands (through a queue per link)
//!                 ├─► listener ─► link ◄─► session ───────┤
//!  uploader ──ws──┘   handshake   loop     (pure)         └──► hub: who is here, doing what
//!                                   ▲                              │
//!                                   └── asks: commands, requests, acks ◄── subscribers, http
//! ```
//!
//! | Here | What it holds |
//! |---|---|
//! | [`listener`] | routes, handshake rules, and the owner of all tasks of this module |
//! | [`opening`] | from a handshake to its link, whatever becomes of the request |
//! | [`link`] | the loop of one connection: frames, clock and asks in; effects out |
//! | [`frames`] | messages from raw frames, and the writer |
//! | [`allowance`] | how much is taken from one device in a while |
//! | [`recorder`], [`transfer`] | the sessions: pure machines, tested as tables |
//! | [`session`] | what sessions are told and what they answer |
//! | [`queue`] | reports on their way into storage, in order, tried until it works |
//! | [`effects`] | looking tokens up, opening links, having reports heard: the one seam to the rest |
//! | [`hub`] | live links, observed states, sending |
//! | [`recent`] | what was lately said, for people who look for a cause |
//! | [`wire`] | messages as devices write and read them |
//!
//! May never happen: reading a socket waits for storage · a report of a replaced connection
//! is begun · a command stays without an outcome while its process lives · one bad message
//! ends a link · a link stays open with no device behind it.
//!
//! Left to others: what can be told (`domain::report`) and what it means for a task (`commands::reports`), what is sent when
//! (`subscribers::device_commands`), and what people see of it (`http`).

pub mod allowance;
mod clock;
mod denied;
pub mod effects;
pub mod frames;
pub mod hub;
pub mod link;
pub mod listener;
mod opening;
mod plane;
pub mod queue;
pub mod recent;
pub mod recorder;
pub mod session;
pub mod transfer;
pub mod view;
pub mod wire;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use allowance::Limit;
pub use effects::{EffectError, Effects, LinkId};
pub use hub::{Hub, LinkInfo, Presence, SendError};
pub use plane::Devices;
pub use session::{QueryError, Rpc};
pub use transfer::status::TransferStatus;
pub use view::RecorderView;

/// When a silent device counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// None: no pings, and silence means nothing.
    pub ping_interval: Option<Duration>,
    /// A link is cut after this much more silence than the interval.
    pub pong_timeout: Duration,
}

/// The part of the configuration that is about devices.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSettings {
    pub recorder: Keepalive,
    pub transfer: Keepalive,
    /// The largest message taken, in one frame or in many.
    pub frame_bytes_max: usize,
    pub write_timeout: Duration,
    /// Messages that may wait for one device to take them.
    pub outgoing_max: usize,
    /// Reports of one link that may wait for storage. A busy device makes one or two a second, so this spans a restart of
    /// the database; an uploader that was asked for the files of a weekend confirms a thousand requests at once.
    pub reports_max: usize,
    /// Links of this process, both kinds.
    pub links_max: usize,
    /// Handshakes of one program of a device: each asks storage something.
    pub handshakes: Limit,
    /// Those of them that open a connection: each costs a few events, which are kept for ever. A robot whose network
    /// breaks down every five seconds all day is never refused, and one that connects all the time waits for five seconds.
    pub openings: Limit,
    /// How long storage may take to answer a handshake.
    pub handshake_timeout: Duration,
    /// How often timeouts are looked at.
    pub tick: Duration,
}

impl Default for LinkSettings {
    fn default() -> Self {
        let pong_timeout = Duration::from_secs(10);
        Self {
            recorder: Keepalive { ping_interval: Some(Duration::from_secs(30)), pong_timeout },
            transfer: Keepalive { ping_interval: Some(Duration::from_secs(25)), pong_timeout },
            frame_bytes_max: 16 << 20,
            write_timeout: Duration::from_secs(10),
            outgoing_max: 64,
            reports_max: 2_048,
            links_max: 16_384,
            handshakes: Limit { at_once: 60.0, per_second: 4.0 },
            openings: Limit { at_once: 120.0, per_second: 0.2 },
            handshake_timeout: Duration::from_secs(5),
            tick: Duration::from_millis(500),
        }
    }
}
