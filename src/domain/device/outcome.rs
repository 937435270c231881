//! What became of a command to a recorder.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::words::words;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    Succeeded {
        message: Option<String>,
        data: Option<Value>,
    },
    Refused {
        message: Option<String>,
        data: Option<Value>,
    },
    /// It is not known whether the device did it; its next snapshot tells.
    Unknown {
        reason: String,
        /// None in older events.
        #[serde(default)]
        cause: Option<UnknownCause>,
    },
    /// It never left: the device did not do it.
    NotSent {
        reason: String,
        /// None in older events.
        #[serde(default)]
        cause: Option<NotSentCause>,
    },
}

words! {
    /// Why it is not known what became of a command.
    UnknownCause {
        /// No answer in its time.
        TimedOut = "timed_out",
        /// Its connection ended first.
        LinkClosed = "link_closed",
        /// Another connection took the place of its own.
        Superseded = "superseded",
        /// The process that held its connection ended.
        ProcessEnded = "process_ended",
    }
    /// Why a command was not sent.
    NotSentCause {
        /// Too much was waiting for the recorder, or it was busy until the deadline.
        Overloaded = "overloaded",
        /// The deadline was over before it came to the process with the connection.
        Expired = "expired",
        /// The connection that it was asked for was lost or replaced.
        LinkClosed = "link_closed",
        /// Who asked for it has no right to it any more.
        NotPermitted = "not_permitted",
        /// What it is sent with is not kept any more.
        ParamsGone = "params_gone",
    }
}

impl CommandOutcome {
    pub fn unknown(cause: UnknownCause, reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into(), cause: Some(cause) }
    }

    pub fn not_sent(cause: NotSentCause, reason: impl Into<String>) -> Self {
        Self::NotSent { reason: reason.into(), cause: Some(cause) }
    }
}
