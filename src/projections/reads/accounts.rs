//! Accounts, API keys, and sessions.

use super::credentials::Subject;
use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::account::AccountStatus;
use crate::domain::{AccountId, AccountRole, ApiKeyId, Scope, SessionId, Timestamp};
use crate::projections::rows::account::{AccountRow, ApiKeyRow};

row! {
    AccountShown of AccountRow as "a" {}
}

row! {
    ApiKeyShown of ApiKeyRow as "k" {
        last_used_at: Option<Timestamp> = "u.last_used_at",
        last_used_from: Option<String> = "u.address",
    }
}

row! {
    /// A login that has not ended.
    SessionShown {
        id: SessionId = "s.id",
        subject: String = "s.subject",
        subject_id: i64 = "s.subject_id",
        started_at: Timestamp = "s.started_at",
        expires_at: Timestamp = "s.expires_at",
        address: Option<String> = "s.address",
    }
}

impl SessionShown {
    /// Who is signed in: `admin`, `collector:17`.
    pub fn who(&self) -> String {
        Subject::stored(&self.subject, self.subject_id).map_or_else(|| self.subject.clone(), |subject| subject.name())
    }
}

#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    pub role: Option<AccountRole>,
    pub status: Option<AccountStatus>,
    pub login_name: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct ApiKeyFilter {
    pub role: Option<AccountRole>,
    /// Also those that open nothing any more.
    pub ended_too: bool,
}

fn accounts() -> ListQuery {
    ListQuery {
        from: "accounts a",
        matches: "($1::text is null or a.role = $1) and ($2::text is null or a.status = $2) \
                  and ($3::text is null or comparable(a.login_name) = comparable($3))"
            .into(),
        order: vec![Key::down(KeyType::Number, "a.id")],
        parameters: 3,
        counted: None,
        home: Home::Site,
    }
}

fn account() -> String {
    format!("select {} from accounts a where a.id = $1", AccountShown::columns())
}

const KEYS: &str = "api_keys k left join api_key_uses u on u.api_key_id = k.id";

fn api_keys() -> ListQuery {
    ListQuery {
        from: KEYS,
        matches: "($1::text is null or k.role = $1) and ($2::boolean or (k.revoked_at is null and coalesce(k.expires_at > $3::timestamptz, true)))"
            .into(),
        order: vec![Key::down(KeyType::Number, "k.id")],
        parameters: 3,
        counted: None,
        home: Home::Site,
    }
}

fn api_key() -> String {
    format!("select {} from {KEYS} where k.id = $1", ApiKeyShown::columns())
}

fn sessions() -> ListQuery {
    ListQuery {
        from: "sessions s",
        matches:
            "($1::text is null or (s.subject = $1 and s.subject_id = $2::bigint)) and s.ended_at is null and s.expires_at > $3::timestamptz"
                .into(),
        order: vec![Key::down(KeyType::Number, "s.id")],
        parameters: 3,
        counted: None,
        home: Home::Site,
    }
}

impl Reads {
    /// The newest first.
    pub async fn accounts(&self, filter: &AccountFilter, page: Page) -> Result<Listed<AccountShown>, ReadError> {
        self.listed(&Scope::Everything, accounts(), &[&filter.role, &filter.status, &filter.login_name], page).await
    }

    pub async fn account(&self, id: AccountId) -> Result<Option<AccountShown>, ReadError> {
        self.row(&account(), &[&id]).await
    }

    /// The newest first.
    pub async fn api_keys(&self, filter: &ApiKeyFilter, now: Timestamp, page: Page) -> Result<Listed<ApiKeyShown>, ReadError> {
        self.listed(&Scope::Everything, api_keys(), &[&filter.role, &filter.ended_too, &now], page).await
    }

    pub async fn api_key(&self, id: ApiKeyId) -> Result<Option<ApiKeyShown>, ReadError> {
        self.row(&api_key(), &[&id]).await
    }

    /// Logins that have not ended, the newest first; of one person, where one is given.
    pub async fn sessions(&self, whose: Option<Subject>, now: Timestamp, page: Page) -> Result<Listed<SessionShown>, ReadError> {
        let (subject, id) = whose.map(|whose| (whose.kind, whose.id)).unzip();
        self.listed(&Scope::Everything, sessions(), &[&subject, &id, &now], page).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("accounts", accounts().select(&AccountShown::columns())),
        ("accounts, counted", accounts().count()),
        ("account", account()),
        ("API keys", api_keys().select(&ApiKeyShown::columns())),
        ("API keys, counted", api_keys().count()),
        ("API key", api_key()),
        ("sessions", sessions().select(&SessionShown::columns())),
        ("sessions, counted", sessions().count()),
    ]
}
