//! Rows of accounts and API keys.

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::account::{Account, AccountStatus, Factories};
use crate::domain::api_key::ApiKey;
use crate::domain::{AccountId, AccountRole, ApiKeyId, FactoryId, Timestamp};

table! {
    AccountRow in "accounts" by number AccountId {
        role: AccountRole,
        factories: Option<Vec<FactoryId>>,
        status: AccountStatus;
        of the person "account" by id name from name else "forgotten person ", login_name from operator_id else "forgotten-", email from email
    }
    ApiKeyRow in "api_keys" by number ApiKeyId {
        name: String,
        role: AccountRole,
        factories: Option<Vec<FactoryId>>,
        expires_at: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
    }
}

fn listed(factories: &Factories) -> Option<Vec<FactoryId>> {
    factories.as_ref().map(|factories| factories.iter().copied().collect())
}

impl ReadModel for Account {
    type Row = AccountRow;

    fn shown(state: &Self) -> Shown<AccountRow> {
        let Self::Known(terms) = state else { return Shown::Gone };
        Shown::Row(AccountRow {
            role: terms.role,
            factories: listed(&terms.factories),
            status: terms.status,
            name: None,
            login_name: None,
            email: None,
        })
    }
}

impl ReadModel for ApiKey {
    type Row = ApiKeyRow;

    fn shown(state: &Self) -> Shown<ApiKeyRow> {
        let Self::Issued { terms, revoked_at } = state else { return Shown::Gone };
        Shown::Row(ApiKeyRow {
            name: terms.name.clone(),
            role: terms.role,
            factories: listed(&terms.factories),
            expires_at: terms.expires_at,
            revoked_at: *revoked_at,
        })
    }
}
