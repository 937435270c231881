//! What both kinds of session have in common: they are told something, and answer with effects.

use std::time::Instant;

use serde_json::Value;

pub use super::clock::{Now, clock};
use super::transfer::status::TransferStatus;
use super::view::RecorderView;
use super::wire::{RpcResponse, ToTransfer};
use crate::domain::device::RecorderAction;
use crate::domain::report::Report;
use crate::domain::{PublicTaskId, Timestamp};

/// What a session wants done. In order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Send(String),
    Report(Report),
    ShowRecorder(RecorderView),
    ShowTransfer(Box<TransferStatus>),
    Answer {
        ticket: u64,
        answer: Result<RpcResponse, QueryError>,
    },
    /// A message that changes nothing, and why.
    Note {
        cause: &'static str,
        detail: String,
    },
}

/// A command to a recorder, decided and stored before it comes here.
#[derive(Clone, Debug, PartialEq)]
pub struct Rpc {
    /// Also the `request_id` on the wire.
    pub command_id: String,
    pub action: RecorderAction,
    pub task: Option<PublicTaskId>,
    pub params: Value,
    pub deadline: Timestamp,
    /// It is sent only while the recorder is seen to hold the task; without one, while it holds none.
    pub while_held: bool,
}

/// What a session can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Rpc(Rpc),
    /// A question that changes nothing on the device.
    Query {
        ticket: u64,
        action: String,
        params: Value,
        deadline: Instant,
    },
    Frame(ToTransfer),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("the device is not connected")]
    NotConnected,
    #[error("the device has too many unanswered requests")]
    TooMany,
    #[error("the device did not answer in time")]
    TimedOut,
}

/// One link's conversation. Waits for nothing, and knows no clock but the one it is handed.
pub trait Session: Send + 'static {
    fn opened(&mut self, now: Now) -> Vec<Effect>;
    /// A whole message; valid UTF-8.
    fn message(&mut self, now: Now, message: &[u8]) -> Vec<Effect>;
    /// A message that could not be taken off the wire in one piece.
    fn garbled(&mut self, now: Now, why: &'static str) -> Vec<Effect>;
    fn request(&mut self, now: Now, request: Request) -> Vec<Effect>;
    fn tick(&mut self, now: Now) -> Vec<Effect>;
    /// The end, whatever its cause.
    fn closed(&mut self, now: Now, reason: &str) -> Vec<Effect>;
    /// The device is doing something that keeps it from answering pings.
    fn busy(&self, now: Now) -> bool;
}
