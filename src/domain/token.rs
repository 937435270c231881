//! Recorder tokens: what a robot's programs show when they connect.
//!
//! A token is shown once and kept nowhere. Its hash stands beside the events and not in
//! them; the event names the first digits of the hash, by which an auditor tells tokens apart.
//!
//! With its token a robot gets a key to the object store, where the store is ours to give keys of. The event
//! names the key's public half; its secret is derived from that by the store, and is stored nowhere.

use serde::{Deserialize, Serialize};

use super::Aggregate;
use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};

/// The token of one robot. One is valid at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecorderToken {
    pub fingerprint: Option<String>,
    /// Of the robot's own key to the object store, if it ever got one.
    #[serde(default)]
    pub store_key: Option<String>,
}

#[derive(Clone, Debug)]
pub enum TokenCommand {
    /// From now on this token opens the robot, and the one before it does not.
    Issue { fingerprint: String, store_key: Option<String> },
}

events! {
    TokenEvent {
        RecorderTokenIssued = "recorder_token_issued", "1.1" {
            fingerprint: String,
            #[serde(default)]
            store_key: Option<String>,
        },
        RecorderTokenRotated = "recorder_token_rotated", "1.1" {
            fingerprint: String,
            /// Of the token that is void now.
            revoked: String,
            /// In place of the one before, which is void, too.
            #[serde(default)]
            store_key: Option<String>,
        },
    }
}

/// A token can always be replaced by a new one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {}

impl Refused for TokenRefusal {
    fn code(&self) -> RefusalCode {
        match *self {}
    }
}

impl Aggregate for RecorderToken {
    const TYPE: &'static str = "recorder_token";
    type Command = TokenCommand;
    type Event = TokenEvent;
    type Refusal = TokenRefusal;

    fn decide(&self, TokenCommand::Issue { fingerprint, store_key }: TokenCommand) -> Result<Vec<TokenEvent>, TokenRefusal> {
        Ok(vec![match self.fingerprint.clone() {
            None => TokenEvent::RecorderTokenIssued { fingerprint, store_key },
            Some(revoked) => TokenEvent::RecorderTokenRotated { fingerprint, revoked, store_key },
        }])
    }

    fn evolve(&mut self, event: &TokenEvent) {
        match event {
            TokenEvent::RecorderTokenIssued { fingerprint, store_key }
            | TokenEvent::RecorderTokenRotated { fingerprint, store_key, .. } => {
                *self = Self { fingerprint: Some(fingerprint.clone()), store_key: store_key.clone() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(fingerprint: &str, store_key: Option<&str>) -> TokenCommand {
        TokenCommand::Issue { fingerprint: fingerprint.into(), store_key: store_key.map(Into::into) }
    }

    #[test]
    fn a_new_token_names_the_one_it_replaces() {
        let mut token = RecorderToken::default();
        let first = token.decide(issue("a", None)).unwrap();
        assert_eq!(first, [TokenEvent::RecorderTokenIssued { fingerprint: "a".into(), store_key: None }]);
        token.evolve(&first[0]);
        let second = token.decide(issue("b", None)).unwrap();
        assert_eq!(second, [TokenEvent::RecorderTokenRotated { fingerprint: "b".into(), revoked: "a".into(), store_key: None }]);
    }

    #[test]
    fn a_new_token_comes_with_a_new_key_to_the_store_or_with_none() {
        let mut token = RecorderToken::default();
        for (fingerprint, key) in [("a", None), ("b", Some("KR1")), ("c", Some("KR2")), ("d", None)] {
            for event in token.decide(issue(fingerprint, key)).unwrap() {
                token.evolve(&event);
            }
            assert_eq!(token.store_key.as_deref(), key, "{fingerprint}");
        }
    }
}
