//! Dead letters in people's hands: what may be done with a delivery that was given up.
//!
//! ```text
//!             replay                delivered
//! unresolved ───────► in flight ───────────────► delivered
//!   │    ▲                │
//!   │    └────────────────┘ dies again
//!   │ resolve
//!   └────────► resolved
//! ```
//!
//! A delivery dies, is under way and arrives in the outbox; that it died, and what people do, is in the letter's own stream
//! (`docs/dead-letters.md`). So where a letter stands is a fact that comes in with the command.

mod filter;
mod selection;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use filter::{DeadReason, LetterFilter, Resolution};
pub use selection::{NotASelection, SELECTION_BYTES_MAX, Selection};

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::{Aggregate, Timestamp};

/// What people did about one letter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub replays: i64,
    /// What was said when it was resolved.
    pub resolved_because: Option<String>,
    /// Its time was over, and it is gone.
    pub swept: bool,
}

/// Where a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Unresolved,
    /// Replayed, and in the outbox.
    InFlight,
    /// Replayed, and not in the outbox any more.
    Delivered,
    Resolved,
}

/// The delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub subscriber: String,
    /// `task/17/3`.
    pub event_id: String,
    /// As it is stored.
    pub destination: Option<String>,
}

/// How it was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Of the event that was to be delivered.
    pub event_type: String,
    pub reason: DeadReason,
    pub attempts: i32,
}

/// How deep in a chain of causes a delivery is that died of that.
pub type TooDeep = Option<i32>;

#[derive(Clone, Debug)]
pub enum LetterCommand {
    /// The delivery was given up, also a second time: others may want to know.
    Die { given: Given, death: Death },
    /// Puts the delivery into the outbox again.
    Replay { standing: Standing, given: Given, too_deep: TooDeep, causation_depth_max: Option<i32> },
    /// It needs no delivery.
    Resolve { standing: Standing, given: Given, reason: String },
    /// The time for which it is kept after it was resolved is over.
    Sweep { resolved_at: Timestamp },
}

events! {
    LetterEvent {
        /// What it was about is not repeated here, and neither is what the last attempt said: receivers are told of this.
        DeliveryDied = "delivery_died", "1.0" {
            subscriber: String,
            event_id: String,
            event_type: String,
            destination: Option<String>,
            reason: DeadReason,
            attempts: i32,
        },
        DeadLetterReplayed = "dead_letter_replayed", "1.0" {
            subscriber: String,
            event_id: String,
            destination: Option<String>,
            /// Where the chain of causes was too long, or where a limit was given: how long it may be this time.
            causation_depth_max: Option<i32>,
        },
        DeadLetterResolved = "dead_letter_resolved", "1.0" {
            subscriber: String,
            event_id: String,
            destination: Option<String>,
            reason: String,
        },
        DeadLetterSwept = "dead_letter_swept", "1.0" {
            resolved_at: Timestamp,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LetterRefusal {
    #[error("the letter was replayed, and its delivery is under way")]
    InFlight,
    #[error("the letter was replayed, and delivered")]
    Delivered,
    #[error("the letter is resolved")]
    Resolved,
    #[error(
        "its chain of causes is {depth} links long, which was too long: to deliver it all the same, give `causation_depth_max`, at least {depth}"
    )]
    TooDeep { depth: i32 },
}

impl Refused for LetterRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::InFlight => RefusalCode::LetterInFlight,
            Self::Delivered => RefusalCode::LetterDelivered,
            Self::Resolved => RefusalCode::LetterResolved,
            Self::TooDeep { .. } => RefusalCode::LetterTooDeep,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::TooDeep { depth } => json!({ "causation_depth": depth }),
            _ => Value::Null,
        }
    }
}

impl Aggregate for DeadLetter {
    const TYPE: &'static str = "dead_letter";
    type Command = LetterCommand;
    type Event = LetterEvent;
    type Refusal = LetterRefusal;

    fn decide(&self, command: LetterCommand) -> Result<Vec<LetterEvent>, LetterRefusal> {
        use Standing as S;
        match command {
            LetterCommand::Die { given, death } => {
                let Given { subscriber, event_id, destination } = given;
                let Death { event_type, reason, attempts } = death;
                Ok(vec![LetterEvent::DeliveryDied { subscriber, event_id, event_type, destination, reason, attempts }])
            }
            LetterCommand::Replay { standing: S::Unresolved, too_deep: Some(depth), causation_depth_max, .. }
                if causation_depth_max.is_none_or(|max| max < depth) =>
            {
                Err(LetterRefusal::TooDeep { depth })
            }
            LetterCommand::Replay { standing: S::Unresolved, given, causation_depth_max, .. } => {
                let Given { subscriber, event_id, destination } = given;
                Ok(vec![LetterEvent::DeadLetterReplayed { subscriber, event_id, destination, causation_depth_max }])
            }
            LetterCommand::Resolve { standing: S::Unresolved, given, reason } => {
                let Given { subscriber, event_id, destination } = given;
                Ok(vec![LetterEvent::DeadLetterResolved { subscriber, event_id, destination, reason }])
            }
            LetterCommand::Replay { standing, .. } | LetterCommand::Resolve { standing, .. } => Err(match standing {
                S::InFlight => LetterRefusal::InFlight,
                S::Delivered => LetterRefusal::Delivered,
                S::Resolved | S::Unresolved => LetterRefusal::Resolved,
            }),
            LetterCommand::Sweep { resolved_at } => Ok(vec![LetterEvent::DeadLetterSwept { resolved_at }]),
        }
    }

    fn evolve(&mut self, event: &LetterEvent) {
        match event {
            // How often it died is in the table of letters.
            LetterEvent::DeliveryDied { .. } => {}
            LetterEvent::DeadLetterReplayed { .. } => self.replays += 1,
            LetterEvent::DeadLetterResolved { reason, .. } => self.resolved_because = Some(reason.clone()),
            LetterEvent::DeadLetterSwept { .. } => self.swept = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given {
        Given { subscriber: "device_commands".into(), event_id: "task/17/3".into(), destination: Some("transfer:AB-1".into()) }
    }

    fn replay(standing: Standing, too_deep: TooDeep, causation_depth_max: Option<i32>) -> Result<Vec<LetterEvent>, LetterRefusal> {
        DeadLetter::default().decide(LetterCommand::Replay { standing, given: given(), too_deep, causation_depth_max })
    }

    #[test]
    fn what_may_be_done_depends_on_where_it_stands() {
        use Standing as S;
        let resolve = |standing| DeadLetter::default().decide(LetterCommand::Resolve { standing, given: given(), reason: "gone".into() });
        assert!(replay(S::Unresolved, None, None).is_ok() && resolve(S::Unresolved).is_ok());
        for (standing, refusal) in
            [(S::InFlight, LetterRefusal::InFlight), (S::Delivered, LetterRefusal::Delivered), (S::Resolved, LetterRefusal::Resolved)]
        {
            assert_eq!(replay(standing, None, Some(100)), Err(refusal.clone()));
            assert_eq!(resolve(standing), Err(refusal));
        }
    }

    #[test]
    fn a_chain_that_was_too_long_needs_a_limit_that_it_keeps_to() {
        for (max, allowed) in [(None, false), (Some(8), false), (Some(9), true), (Some(20), true)] {
            assert_eq!(replay(Standing::Unresolved, Some(9), max).is_ok(), allowed, "{max:?}");
        }
        let events = replay(Standing::Unresolved, Some(9), Some(9)).unwrap();
        assert!(matches!(events[..], [LetterEvent::DeadLetterReplayed { causation_depth_max: Some(9), .. }]));
        // What stands against a replay is said first.
        assert_eq!(replay(Standing::InFlight, Some(9), None), Err(LetterRefusal::InFlight));
    }

    #[test]
    fn replays_are_counted_and_the_reason_is_kept() {
        let mut letter = DeadLetter::default();
        for event in replay(Standing::Unresolved, None, None).unwrap().iter().chain(&replay(Standing::Unresolved, None, None).unwrap()) {
            letter.evolve(event);
        }
        let resolved = letter.decide(LetterCommand::Resolve { standing: Standing::Unresolved, given: given(), reason: "gone".into() });
        resolved.unwrap().iter().for_each(|event| letter.evolve(event));
        assert_eq!(letter, DeadLetter { replays: 2, resolved_because: Some("gone".into()), swept: false });
    }
}
