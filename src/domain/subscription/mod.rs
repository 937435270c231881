//! Subscriptions: another program is told of events, as they happen or from a place in the log on.
//!
//! ```text
//!  create            pause (a person, or long failure)
//! ───────► active ───────────────────────────────────► paused
//!            │  ▲                resume                  │
//!            │  └────────────────────────────────────────┤
//!            │ end (a person, or the receiver: 410)      │
//!            └──────────────► ended ◄────────────────────┘
//! ```
//!
//! Secrets and whole URLs stand beside the log; how far each subscription is, and what was tried, too (`docs/webhooks.md`).

mod hidden;
mod target;
mod terms;

use serde::{Deserialize, Serialize};

pub use hidden::Hidden;
pub use target::{NotATarget, Target, URL_CHARS_MAX};
pub use terms::*;

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, Timestamp};

words! {
    /// Why nothing is delivered for a while.
    PauseCause {
        Person = "person",
        /// Nothing was delivered for a long time.
        Failing = "failing",
    }

    /// Why it is over.
    EndCause {
        /// By a person.
        Deleted = "deleted",
        /// The receiver said so.
        Gone = "gone",
    }

    /// What can be asked for of a subscription.
    SubscriptionState {
        Active = "active",
        Paused = "paused",
        Ended = "ended",
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscription {
    #[default]
    Absent,
    Standing {
        terms: Terms,
        paused: Option<PauseCause>,
    },
    Ended {
        terms: Terms,
        because: EndCause,
    },
}

#[derive(Clone, Debug)]
pub enum SubscriptionCommand {
    Create {
        terms: Terms,
        /// Behind this place of the log it begins.
        after_position: i64,
    },
    Change {
        terms: Terms,
        /// The whole URL is another one.
        moved: bool,
    },
    Pause(PauseCause),
    Resume,
    End {
        because: EndCause,
        /// Deliveries that were waiting.
        undelivered: i64,
    },
    /// Another secret signs from now on; the ones before do so for a while.
    RotateSecret {
        old_until: Timestamp,
    },
    /// Tells what it wants of these places of the log again, both included.
    Replay {
        from_position: i64,
        to_position: i64,
    },
    /// Tells the receiver something, to see whether it arrives.
    Test,
}

events! {
    SubscriptionEvent {
        SubscriptionCreated = "subscription_created", "1.0" {
            terms: Terms,
            after_position: i64,
        },
        SubscriptionChanged = "subscription_changed", "1.0" {
            terms: Terms,
            /// The whole URL is another one, of which only the origin stands here.
            moved: bool,
        },
        SubscriptionPaused = "subscription_paused", "1.0" {
            because: PauseCause,
        },
        SubscriptionResumed = "subscription_resumed", "1.0" {},
        SubscriptionEnded = "subscription_ended", "1.0" {
            because: EndCause,
            undelivered: i64,
        },
        SubscriptionSecretRotated = "subscription_secret_rotated", "1.0" {
            /// Until when the ones before sign, too.
            old_until: Timestamp,
        },
        SubscriptionReplayRequested = "subscription_replay_requested", "1.0" {
            from_position: i64,
            to_position: i64,
        },
        SubscriptionTestRequested = "subscription_test_requested", "1.0" {},
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    #[error("there is a subscription of this id")]
    Exists,
    #[error("subscription not found")]
    NotFound,
    #[error("the subscription has ended")]
    Ended,
    #[error("the subscription is paused: nothing is sent before it is resumed")]
    Paused,
    #[error("the subscription is polled: nothing is sent to it; it may ask from any place of the log")]
    Polled,
    #[error(transparent)]
    Terms(#[from] TermsRefusal),
}

impl Refused for SubscriptionRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::SubscriptionExists,
            Self::NotFound => RefusalCode::SubscriptionNotFound,
            Self::Ended => RefusalCode::SubscriptionEnded,
            Self::Paused => RefusalCode::SubscriptionPaused,
            Self::Polled => RefusalCode::SubscriptionPolled,
            Self::Terms(_) => RefusalCode::SubscriptionInvalid,
        }
    }
}

impl Aggregate for Subscription {
    const TYPE: &'static str = "subscription";
    type Command = SubscriptionCommand;
    type Event = SubscriptionEvent;
    type Refusal = SubscriptionRefusal;

    fn decide(&self, command: SubscriptionCommand) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        use SubscriptionCommand as C;
        use SubscriptionEvent as E;
        use SubscriptionRefusal as R;
        match (self, command) {
            (Self::Absent, C::Create { terms, after_position }) => {
                terms.check()?;
                Ok(vec![E::SubscriptionCreated { terms, after_position }])
            }
            (Self::Standing { .. } | Self::Ended { .. }, C::Create { .. }) => Err(R::Exists),
            (Self::Absent, _) => Err(R::NotFound),
            // Deleted twice, and 410 from several requests at once.
            (Self::Ended { .. }, C::End { .. }) => Ok(vec![]),
            (Self::Ended { .. }, _) => Err(R::Ended),
            (Self::Standing { terms: known, .. }, C::Change { terms, moved: false }) if *known == terms => Ok(vec![]),
            (Self::Standing { .. }, C::Change { terms, moved }) => {
                terms.check()?;
                Ok(vec![E::SubscriptionChanged { terms, moved }])
            }
            // One that a person paused stays theirs.
            (Self::Standing { paused: Some(_), .. }, C::Pause(_)) => Ok(vec![]),
            (Self::Standing { paused: None, .. }, C::Pause(because)) => Ok(vec![E::SubscriptionPaused { because }]),
            (Self::Standing { paused: None, .. }, C::Resume) => Ok(vec![]),
            (Self::Standing { paused: Some(_), .. }, C::Resume) => Ok(vec![E::SubscriptionResumed {}]),
            (Self::Standing { .. }, C::End { because, undelivered }) => Ok(vec![E::SubscriptionEnded { because, undelivered }]),
            (Self::Standing { .. }, C::RotateSecret { old_until }) => Ok(vec![E::SubscriptionSecretRotated { old_until }]),
            (Self::Standing { terms, .. }, C::Replay { .. } | C::Test) if terms.is_polled() => Err(R::Polled),
            (Self::Standing { .. }, C::Replay { from_position, to_position }) => {
                Ok(vec![E::SubscriptionReplayRequested { from_position, to_position }])
            }
            (Self::Standing { paused: Some(_), .. }, C::Test) => Err(R::Paused),
            (Self::Standing { paused: None, .. }, C::Test) => Ok(vec![E::SubscriptionTestRequested {}]),
        }
    }

    fn evolve(&mut self, event: &SubscriptionEvent) {
        use SubscriptionEvent as E;
        *self = match (std::mem::take(self), event) {
            (Self::Absent, E::SubscriptionCreated { terms, .. }) => Self::Standing { terms: terms.clone(), paused: None },
            (Self::Standing { paused, .. }, E::SubscriptionChanged { terms, .. }) => Self::Standing { terms: terms.clone(), paused },
            (Self::Standing { terms, .. }, E::SubscriptionPaused { because }) => Self::Standing { terms, paused: Some(*because) },
            (Self::Standing { terms, .. }, E::SubscriptionResumed {}) => Self::Standing { terms, paused: None },
            (Self::Standing { terms, .. }, E::SubscriptionEnded { because, .. }) => Self::Ended { terms, because: *because },
            (state, _) => state,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms { origin: "https://a".into(), event_types: vec!["*".into()], ..Terms::default() }
    }

    fn after(commands: impl IntoIterator<Item = SubscriptionCommand>) -> Subscription {
        let mut subscription = Subscription::default();
        for command in commands {
            for event in subscription.decide(command).unwrap() {
                subscription.evolve(&event);
            }
        }
        subscription
    }

    use SubscriptionCommand as C;
    use SubscriptionRefusal as R;

    fn create() -> C {
        C::Create { terms: terms(), after_position: 7 }
    }

    const DELETE: C = C::End { because: EndCause::Deleted, undelivered: 3 };

    #[test]
    fn what_is_not_there_can_only_be_created_and_what_has_ended_only_end() {
        let (absent, ended) = (Subscription::default(), after([create(), DELETE]));
        let old_until = chrono::DateTime::UNIX_EPOCH;
        for command in [
            C::Change { terms: terms(), moved: true },
            C::Pause(PauseCause::Person),
            C::Resume,
            C::RotateSecret { old_until },
            C::Replay { from_position: 1, to_position: 2 },
            C::Test,
        ] {
            assert_eq!(absent.decide(command.clone()), Err(R::NotFound), "{command:?}");
            assert_eq!(ended.decide(command.clone()), Err(R::Ended), "{command:?}");
        }
        assert_eq!(absent.decide(DELETE), Err(R::NotFound));
        assert_eq!(ended.decide(C::End { because: EndCause::Gone, undelivered: 0 }), Ok(vec![]));
        assert_eq!(ended.decide(create()), Err(R::Exists));
    }

    #[test]
    fn the_first_pause_counts_and_asking_twice_changes_nothing() {
        let by_person = after([create(), C::Pause(PauseCause::Person)]);
        assert_eq!(by_person.decide(C::Pause(PauseCause::Failing)), Ok(vec![]));
        assert_eq!(by_person.decide(C::Test), Err(R::Paused));
        assert_eq!(after([create()]).decide(C::Resume), Ok(vec![]));
        let resumed = after([create(), C::Pause(PauseCause::Failing), C::Resume]);
        assert_eq!(resumed, after([create()]));
    }

    #[test]
    fn nothing_is_sent_to_one_that_is_polled_until_it_has_an_address() {
        let polled = after([C::Create { terms: Terms { origin: POLLED.into(), ..terms() }, after_position: 7 }]);
        for command in [C::Test, C::Replay { from_position: 1, to_position: 2 }] {
            assert_eq!(polled.decide(command), Err(R::Polled));
        }
        let mut moved = polled.clone();
        polled.decide(C::Change { terms: terms(), moved: true }).unwrap().iter().for_each(|event| moved.evolve(event));
        assert!(moved.decide(C::Test).is_ok());
    }

    #[test]
    fn a_change_to_the_same_is_none_but_for_a_path_that_is_not_seen() {
        let standing = after([create()]);
        assert_eq!(standing.decide(C::Change { terms: terms(), moved: false }), Ok(vec![]));
        assert_eq!(standing.decide(C::Change { terms: terms(), moved: true }).unwrap().len(), 1);
        let wrong = Terms { event_types: vec![], ..terms() };
        assert_eq!(standing.decide(C::Change { terms: wrong, moved: false }), Err(R::Terms(TermsRefusal::PatternCount)));
        let paused = after([create(), C::Pause(PauseCause::Person), C::Change { terms: terms(), moved: true }]);
        assert!(matches!(paused, Subscription::Standing { paused: Some(PauseCause::Person), .. }), "a change does not resume");
    }
}
