//! API keys: what programs show in place of a login. A key is shown once and kept nowhere; its hash stands beside the log.

use serde::{Deserialize, Serialize};

use super::account::Factories;
use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::role::AccountRole;
use super::{Aggregate, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKey {
    #[default]
    Absent,
    Issued {
        terms: Terms,
        revoked_at: Option<Timestamp>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Of the program that has it.
    pub name: String,
    pub role: AccountRole,
    pub factories: Factories,
    /// From then on it opens nothing; none: it does until it is revoked.
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub enum ApiKeyCommand {
    Issue(Terms),
    Revoke { now: Timestamp },
}

events! {
    ApiKeyEvent {
        ApiKeyIssued = "api_key_issued", "1.0" (Terms),
        /// It opens nothing any more.
        ApiKeyRevoked = "api_key_revoked", "1.0" { at: Timestamp },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyRefusal {
    #[error("there is an API key of this number")]
    Exists,
    #[error("API key not found")]
    NotFound,
}

impl Refused for ApiKeyRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::EntryExists,
            Self::NotFound => RefusalCode::ApiKeyNotFound,
        }
    }
}

impl Aggregate for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = ApiKeyCommand;
    type Event = ApiKeyEvent;
    type Refusal = ApiKeyRefusal;

    fn decide(&self, command: ApiKeyCommand) -> Result<Vec<ApiKeyEvent>, ApiKeyRefusal> {
        match (self, command) {
            (Self::Absent, ApiKeyCommand::Issue(terms)) => Ok(vec![ApiKeyEvent::ApiKeyIssued(terms)]),
            (Self::Issued { .. }, ApiKeyCommand::Issue(_)) => Err(ApiKeyRefusal::Exists),
            (Self::Absent, ApiKeyCommand::Revoke { .. }) => Err(ApiKeyRefusal::NotFound),
            (Self::Issued { revoked_at: Some(_), .. }, ApiKeyCommand::Revoke { .. }) => Ok(vec![]),
            (Self::Issued { revoked_at: None, .. }, ApiKeyCommand::Revoke { now }) => Ok(vec![ApiKeyEvent::ApiKeyRevoked { at: now }]),
        }
    }

    fn evolve(&mut self, event: &ApiKeyEvent) {
        match (event, self) {
            (ApiKeyEvent::ApiKeyIssued(terms), key) => *key = Self::Issued { terms: terms.clone(), revoked_at: None },
            (ApiKeyEvent::ApiKeyRevoked { at }, Self::Issued { revoked_at, .. }) => *revoked_at = Some(*at),
            (ApiKeyEvent::ApiKeyRevoked { .. }, Self::Absent) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_key_is_revoked_once_and_stays_so() {
        let terms = Terms { name: "lake".into(), role: AccountRole::Auditor, factories: None, expires_at: None };
        let mut key = ApiKey::default();
        assert_eq!(key.decide(ApiKeyCommand::Revoke { now: at(1) }), Err(ApiKeyRefusal::NotFound));
        key.evolve(&key.decide(ApiKeyCommand::Issue(terms.clone())).unwrap()[0]);
        let revoked = key.decide(ApiKeyCommand::Revoke { now: at(2) }).unwrap();
        assert_eq!(revoked, [ApiKeyEvent::ApiKeyRevoked { at: at(2) }]);
        key.evolve(&revoked[0]);
        assert_eq!(key.decide(ApiKeyCommand::Revoke { now: at(3) }), Ok(vec![]));
        assert_eq!(key, ApiKey::Issued { terms, revoked_at: Some(at(2)) });
    }
}
