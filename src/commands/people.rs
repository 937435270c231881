//! Who people are and what they sign in with, as commands change it: it stands beside the log.

use super::{CommandError, Refusal, Work};
use crate::domain::RefusalCode;
use crate::projections::facts;

/// A login name is one person's among all kinds of people.
pub(super) async fn login_must_be_free(work: &mut Work, kind: &str, name: &str) -> Result<(), CommandError> {
    match facts::login_holder(&mut work.tx, name, kind).await? {
        Some(holder) => Err(Refusal::new(RefusalCode::NameTaken, format!("{holder} signs in with this name")).into()),
        None => Ok(()),
    }
}

/// What is to be another one of a person; what is not given stays.
pub(super) struct PersonChange {
    pub name: Option<String>,
    /// What they sign in with.
    pub login_name: Option<String>,
    pub email: Option<Option<String>>,
    /// A hash: passwords do not come this far. Who is signed in with the one before is signed in no more.
    pub password_hash: Option<String>,
}

impl PersonChange {
    /// Answers whether anything is another one now.
    pub async fn apply(self, work: &mut Work, kind: &'static str, id: i64) -> Result<bool, CommandError> {
        let before = facts::person(&mut work.tx, kind, id).await?;
        let mut now = before.clone();
        now.name = self.name.unwrap_or(now.name);
        now.operator_id = self.login_name.or(now.operator_id);
        now.email = self.email.unwrap_or(now.email);
        if let Some(name) = now.operator_id.as_deref().filter(|_| now.operator_id != before.operator_id) {
            login_must_be_free(work, kind, name).await?;
        }
        let beside = now != before || self.password_hash.is_some();
        if now != before {
            work.set_person(now);
        }
        if let Some(hash) = self.password_hash {
            work.set_credential(kind, id, hash);
        }
        Ok(beside)
    }
}
