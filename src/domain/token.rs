//! Recorder tokens: what a robot's programs show when they connect.
//!
//! A token is shown once and kept nowhere. Its hash stands beside the events and not in
//! them; the event names the first digits of the hash, by which an auditor tells tokens apart.

use serde::{Deserialize, Serialize};

use super::{Aggregate, Event};

/// The token of one robot. One is valid at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecorderToken {
    pub fingerprint: Option<String>,
}

#[derive(Clone, Debug)]
pub enum TokenCommand {
    /// From now on this token opens the robot, and the one before it does not.
    Issue { fingerprint: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEvent {
    RecorderTokenIssued {
        fingerprint: String,
    },
    RecorderTokenRotated {
        fingerprint: String,
        /// Of the token that is void now.
        revoked: String,
    },
}

impl Event for TokenEvent {
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![("recorder_token_issued", "1.0"), ("recorder_token_rotated", "1.0")]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::RecorderTokenIssued { .. } => "recorder_token_issued",
            Self::RecorderTokenRotated { .. } => "recorder_token_rotated",
        }
    }
}

/// A token can always be replaced by a new one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {}

impl Aggregate for RecorderToken {
    const TYPE: &'static str = "recorder_token";
    type Command = TokenCommand;
    type Event = TokenEvent;
    type Refusal = TokenRefusal;

    fn decide(&self, TokenCommand::Issue { fingerprint }: TokenCommand) -> Result<Vec<TokenEvent>, TokenRefusal> {
        Ok(vec![match self.fingerprint.clone() {
            None => TokenEvent::RecorderTokenIssued { fingerprint },
            Some(revoked) => TokenEvent::RecorderTokenRotated { fingerprint, revoked },
        }])
    }

    fn evolve(&mut self, event: &TokenEvent) {
        match event {
            TokenEvent::RecorderTokenIssued { fingerprint } | TokenEvent::RecorderTokenRotated { fingerprint, .. } => {
                self.fingerprint = Some(fingerprint.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_names_the_one_it_replaces() {
        let issue = |fingerprint: &str| TokenCommand::Issue { fingerprint: fingerprint.into() };
        let mut token = RecorderToken::default();
        let first = token.decide(issue("a")).unwrap();
        assert_eq!(first, [TokenEvent::RecorderTokenIssued { fingerprint: "a".into() }]);
        token.evolve(&first[0]);
        let second = token.decide(issue("b")).unwrap();
        assert_eq!(second, [TokenEvent::RecorderTokenRotated { fingerprint: "b".into(), revoked: "a".into() }]);
    }
}
