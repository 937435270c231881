//! Accounts of people who belong to no organization: administrators, production managers, auditors, and screens on walls. Who they
//! are and their passwords stand beside the log.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::role::AccountRole;
use super::words::words;
use super::{Aggregate, FactoryId, Scope};

words! {
    /// Whether an account opens anything.
    AccountStatus {
        Active = "active",
        /// Nobody signs in with it, and who is signed in is signed in no more.
        Disabled = "disabled",
    }
}

/// Which factories an account or a key is for; none named: the whole site.
pub type Factories = Option<BTreeSet<FactoryId>>;

/// What those may see and change.
pub fn scope_of(factories: &Factories) -> Scope {
    factories.clone().map_or(Scope::Everything, Scope::Factories)
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    #[default]
    Absent,
    Known(Terms),
    /// Its number stays.
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub role: AccountRole,
    pub factories: Factories,
    pub status: AccountStatus,
}

#[derive(Clone, Debug)]
pub enum AccountCommand {
    Create(Terms),
    /// What is not given stays.
    Change {
        role: Option<AccountRole>,
        factories: Option<Factories>,
        status: Option<AccountStatus>,
        /// Whether something that stands beside the log changes with it.
        beside: bool,
    },
    Delete,
}

events! {
    AccountEvent {
        AccountCreated = "account_created", "1.0" (Terms),
        /// As it is now; also where only a name or the password is another one.
        AccountChanged = "account_changed", "1.0" (Terms),
        AccountDeleted = "account_deleted", "1.0" {},
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    #[error("there is an account of this number")]
    Exists,
    #[error("account not found")]
    NotFound,
}

impl Refused for AccountRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::EntryExists,
            Self::NotFound => RefusalCode::AccountNotFound,
        }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Refusal = AccountRefusal;

    fn decide(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountRefusal> {
        match (self, command) {
            (Self::Absent, AccountCommand::Create(terms)) => Ok(vec![AccountEvent::AccountCreated(terms)]),
            (Self::Known(_) | Self::Deleted, AccountCommand::Create(_)) => Err(AccountRefusal::Exists),
            (Self::Absent | Self::Deleted, AccountCommand::Change { .. } | AccountCommand::Delete) => Err(AccountRefusal::NotFound),
            (Self::Known(_), AccountCommand::Delete) => Ok(vec![AccountEvent::AccountDeleted {}]),
            (Self::Known(terms), AccountCommand::Change { role, factories, status, beside }) => {
                let changed = Terms {
                    role: role.unwrap_or(terms.role),
                    factories: factories.unwrap_or_else(|| terms.factories.clone()),
                    status: status.unwrap_or(terms.status),
                };
                Ok(if changed == *terms && !beside { vec![] } else { vec![AccountEvent::AccountChanged(changed)] })
            }
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountCreated(terms) | AccountEvent::AccountChanged(terms) => *self = Self::Known(terms.clone()),
            AccountEvent::AccountDeleted {} => *self = Self::Deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms { role: AccountRole::Auditor, factories: Some([FactoryId(1)].into()), status: AccountStatus::Active }
    }

    fn change(status: Option<AccountStatus>, beside: bool) -> AccountCommand {
        AccountCommand::Change { role: None, factories: None, status, beside }
    }

    #[test]
    fn what_is_not_given_stays_and_nothing_is_changed_twice() {
        let account = Account::Known(terms());
        assert_eq!(account.decide(change(Some(AccountStatus::Active), false)), Ok(vec![]));
        assert_eq!(account.decide(change(None, true)), Ok(vec![AccountEvent::AccountChanged(terms())]), "a new password");
        let disabled = Terms { status: AccountStatus::Disabled, ..terms() };
        assert_eq!(account.decide(change(Some(AccountStatus::Disabled), false)), Ok(vec![AccountEvent::AccountChanged(disabled)]));
        let whole = AccountCommand::Change { role: None, factories: Some(None), status: None, beside: false };
        assert_eq!(account.decide(whole), Ok(vec![AccountEvent::AccountChanged(Terms { factories: None, ..terms() })]));
    }

    #[test]
    fn a_deleted_account_does_not_come_back() {
        let mut account = Account::Known(terms());
        account.evolve(&AccountEvent::AccountDeleted {});
        assert_eq!(account.decide(change(Some(AccountStatus::Active), false)), Err(AccountRefusal::NotFound));
        assert_eq!(account.decide(AccountCommand::Create(terms())), Err(AccountRefusal::Exists));
    }

    #[test]
    fn no_factories_named_is_the_whole_site_and_none_of_them_is_nothing() {
        assert_eq!(scope_of(&None), Scope::Everything);
        assert_eq!(scope_of(&Some([].into())), Scope::Factories([].into()));
    }
}
