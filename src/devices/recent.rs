//! What was lately said over the links of a device, for people who look for a cause.
//!
//! Events tell what was concluded; this tells what was heard and sent, also where it changed nothing. It is kept
//! in memory, in the process that holds the link, over reconnects and not over restarts. Only names,
//! ids and words are kept, never a message: messages hold tokens.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::domain::Timestamp;
use crate::domain::device::LinkKind;
use crate::domain::words::words;

/// Entries kept per device.
pub const RECENT_MAX: usize = 100;
/// Longer messages are counted and not looked into.
const LOOKED_INTO_BYTES: usize = 64 << 10;
const WORD_CHARS: usize = 64;
const DETAIL_CHARS: usize = 200;

words! {
    Direction {
        Heard = "heard",
        Sent = "sent",
        /// Something about the link itself, or about a message that changed nothing.
        Noted = "noted",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Timestamp,
    pub link: LinkKind,
    pub direction: Direction,
    /// `type` of the message, `action` of a command, or the cause of a note.
    pub what: String,
    pub task_id: Option<String>,
    pub detail: String,
}

/// The entries of one device, oldest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Entry>>);

impl Recent {
    pub fn message(&self, at: Timestamp, link: LinkKind, direction: Direction, message: &[u8]) {
        let seen = Seen::of(message);
        self.push(Entry { at, link, direction, what: seen.what, task_id: seen.task_id, detail: seen.detail });
    }

    pub fn note(&self, at: Timestamp, link: LinkKind, what: &str, detail: &str) {
        self.push(Entry {
            at,
            link,
            direction: Direction::Noted,
            what: cut(what, WORD_CHARS),
            task_id: None,
            detail: cut(detail, DETAIL_CHARS),
        });
    }

    fn push(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == RECENT_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// The newest ones, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().take(limit).cloned().collect()
    }
}

/// What is kept of a message.
struct Seen {
    what: String,
    task_id: Option<String>,
    detail: String,
}

/// The few fields that are looked at, wherever the two kinds of devices have them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Peek {
    #[serde(rename = "type")]
    kind: Option<String>,
    action: Option<String>,
    task_id: Option<String>,
    success: Option<bool>,
    message: Option<String>,
    data: Option<Data>,
    params: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    task_id: Option<String>,
    previous: Option<String>,
    current: Option<String>,
    status: Option<String>,
    detail: Option<String>,
    reason: Option<String>,
    task_config: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    task_id: Option<String>,
}

impl Seen {
    fn of(message: &[u8]) -> Self {
        let size = message.len();
        if size > LOOKED_INTO_BYTES {
            return Self { what: "long_message".into(), task_id: None, detail: format!("{size} bytes") };
        }
        let Ok(peek) = serde_json::from_slice::<Peek>(message) else {
            return Self { what: "unreadable".into(), task_id: None, detail: format!("{size} bytes") };
        };
        let data = peek.data.unwrap_or_default();
        let params = peek.params.unwrap_or_default();
        let task_id = [peek.task_id, data.task_id, params.task_id, params.task_config.and_then(|config| config.task_id)];
        let what = match (peek.action, peek.kind) {
            (Some(action), _) => action,
            (None, Some(kind)) => kind,
            (None, None) => "untyped".to_owned(),
        };
        let detail = match (data.previous, data.current) {
            (Some(previous), Some(current)) => format!("{previous} to {current}"),
            _ => {
                let success = peek.success.map(|success| if success { "succeeded" } else { "refused" }.to_owned());
                let words = [success, peek.message, data.status, data.detail, data.reason];
                words.into_iter().flatten().collect::<Vec<_>>().join(": ")
            }
        };
        let task_id = task_id.into_iter().flatten().next().map(|id| cut(&id, WORD_CHARS));
        Self { what: cut(&what, WORD_CHARS), task_id, detail: cut(&detail, DETAIL_CHARS) }
    }
}

/// Bounded, and on one line.
fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(message: &Value) -> (String, Option<String>, String) {
        let seen = Seen::of(message.to_string().as_bytes());
        (seen.what, seen.task_id, seen.detail)
    }

    #[test]
    fn a_message_is_kept_in_a_few_words() {
        let update = json!({ "type": "state_update", "data": { "previous": "ready", "current": "recording", "task_id": "t" } });
        assert_eq!(entry(&update), ("state_update".into(), Some("t".into()), "ready to recording".into()));
        let refused = json!({ "type": "rpc_response", "success": false, "message": "Wrong\nstate", "data": {} });
        assert_eq!(entry(&refused), ("rpc_response".into(), None, "refused: Wrong state".into()));
        let config = json!({ "action": "config", "params": { "task_config": { "task_id": "t", "user_token": "secret" } } });
        assert_eq!(entry(&config), ("config".into(), Some("t".into()), String::new()));
        assert_eq!(entry(&json!({ "type": 5 })).0, "unreadable");
        assert_eq!(entry(&json!({ "data": null })).0, "untyped");
        let long = json!({ "type": "x".repeat(100_000) });
        assert_eq!(entry(&long).0, "long_message");
        assert_eq!(entry(&json!({ "type": "x".repeat(1000) })).0.len(), WORD_CHARS);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let recent = Recent::default();
        for n in 0..RECENT_MAX + 5 {
            recent.note(Timestamp::default(), LinkKind::Recorder, &n.to_string(), "");
        }
        let newest = recent.newest(RECENT_MAX * 2);
        assert_eq!((newest.len(), newest[0].what.as_str(), newest[RECENT_MAX - 1].what.as_str()), (RECENT_MAX, "104", "5"));
        assert_eq!(recent.newest(1).len(), 1);
    }
}
