//! Credentials for a while: the gateway gives them for one object, the control port for a bucket, and OSS asks for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::ledger::Place;

#[derive(Debug, Clone, Serialize)]
pub struct StsCredentials {
    pub access_key_id: String,
    pub access_key_secret: String,
    pub security_token: String,
    pub expires_at: DateTime<Utc>,
}

/// What they are good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    Bucket(String),
    Object(Place),
}

impl Reach {
    pub fn has(&self, place: &Place) -> bool {
        match self {
            Self::Bucket(bucket) => *bucket == place.0,
            Self::Object(object) => object == place,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Given {
    pub credentials: StsCredentials,
    pub reach: Reach,
}

#[derive(Default)]
pub struct Sts(Mutex<BTreeMap<String, Given>>);

impl Sts {
    fn given(&self) -> MutexGuard<'_, BTreeMap<String, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn give(&self, reach: Reach, expires_at: DateTime<Utc>) -> StsCredentials {
        let secret = || Uuid::new_v4().simple().to_string();
        let credentials = StsCredentials {
            access_key_id: format!("STS.{}", secret()),
            access_key_secret: secret(),
            security_token: format!("CAIS{}{}", secret(), secret()),
            expires_at,
        };
        self.given().insert(credentials.access_key_id.clone(), Given { credentials: credentials.clone(), reach });
        credentials
    }

    pub fn find(&self, access_key_id: &str) -> Option<Given> {
        self.given().get(access_key_id).cloned()
    }

    /// What was given before now is good no longer, whatever it says of itself.
    pub fn expire_all(&self, now: DateTime<Utc>) {
        for given in self.given().values_mut() {
            given.credentials.expires_at = given.credentials.expires_at.min(now);
        }
    }
}
