//! Accounts of administrators, production managers, auditors and screens.

use super::{Command, CommandError, Refusal, Work};
use crate::domain::account::{Account, AccountCommand, AccountStatus, Factories, Terms};
use crate::domain::{AccountId, AccountRole, Aggregate as _, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::projections::people::Person;

/// A login name is one person's among all kinds of accounts.
pub(super) async fn login_must_be_free(work: &mut Work, kind: &str, name: &str) -> Result<(), CommandError> {
    match facts::login_holder(&mut work.tx, name, kind).await? {
        Some(holder) => Err(Refusal::new(RefusalCode::NameTaken, format!("{holder} signs in with this name")).into()),
        None => Ok(()),
    }
}

/// What an account or a key is for has to be there.
pub(super) async fn factories_must_exist(work: &mut Work, factories: &Factories) -> Result<(), CommandError> {
    let Some(factories) = factories else { return Ok(()) };
    let wanted: Vec<_> = factories.iter().copied().collect();
    let known = facts::known_factories(&mut work.tx, &wanted).await?;
    match wanted.iter().find(|id| !known.contains(id)) {
        Some(id) => Err(Refusal::invalid(RefusalCode::FactoryNotFound, format!("there is no factory {id}")).into()),
        None => Ok(()),
    }
}

/// A person may sign in.
#[derive(Clone)]
pub struct CreateAccount {
    pub login_name: String,
    pub name: String,
    pub email: Option<String>,
    pub role: AccountRole,
    pub factories: Factories,
    /// A hash: passwords do not come this far.
    pub password_hash: String,
}

impl Command for CreateAccount {
    type Answer = AccountId;
    const NAME: &'static str = "create_account";

    async fn run(&self, work: &mut Work) -> Result<AccountId, CommandError> {
        factories_must_exist(work, &self.factories).await?;
        login_must_be_free(work, Account::TYPE, &self.login_name).await?;
        let id = facts::new_ids(&mut work.tx, "account_ids", 1).await?[0];
        let terms = Terms { role: self.role, factories: self.factories.clone(), status: AccountStatus::Active };
        work.decide(&mut Loaded::<Account>::absent(id), AccountCommand::Create(terms))?;
        work.set_credential(Account::TYPE, id, self.password_hash.clone());
        work.set_person(Person {
            subject: Account::TYPE,
            id,
            name: self.name.clone(),
            operator_id: Some(self.login_name.clone()),
            email: self.email.clone(),
        });
        Ok(AccountId(id))
    }
}

/// What is not given stays.
#[derive(Clone)]
pub struct ChangeAccount {
    pub id: AccountId,
    pub login_name: Option<String>,
    pub name: Option<String>,
    pub email: Option<Option<String>>,
    pub role: Option<AccountRole>,
    pub factories: Option<Factories>,
    pub status: Option<AccountStatus>,
    /// Who is signed in with the one before is signed in no more.
    pub password_hash: Option<String>,
}

impl ChangeAccount {
    pub fn asks_for_nothing(&self) -> bool {
        let beside = self.login_name.is_some() || self.name.is_some() || self.email.is_some() || self.password_hash.is_some();
        !beside && self.role.is_none() && self.factories.is_none() && self.status.is_none()
    }

    /// Only another password.
    pub fn of_password(id: AccountId, hash: String) -> Self {
        Self { id, login_name: None, name: None, email: None, role: None, factories: None, status: None, password_hash: Some(hash) }
    }
}

impl Command for ChangeAccount {
    type Answer = ();
    const NAME: &'static str = "change_account";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut account = work.lock_and_load::<Account>(self.id).await?;
        if let Some(factories) = &self.factories {
            factories_must_exist(work, factories).await?;
        }
        let person = facts::person(&mut work.tx, Account::TYPE, self.id.0).await?;
        let now = Person {
            name: self.name.clone().unwrap_or_else(|| person.name.clone()),
            operator_id: self.login_name.clone().or_else(|| person.operator_id.clone()),
            email: self.email.clone().unwrap_or_else(|| person.email.clone()),
            ..person.clone()
        };
        if let Some(name) = now.operator_id.as_deref().filter(|_| now.operator_id != person.operator_id) {
            login_must_be_free(work, Account::TYPE, name).await?;
        }
        let change = AccountCommand::Change {
            role: self.role,
            factories: self.factories.clone(),
            status: self.status,
            beside: now != person || self.password_hash.is_some(),
        };
        work.decide(&mut account, change)?;
        if now != person {
            work.set_person(now);
        }
        if let Some(hash) = &self.password_hash {
            work.set_credential(Account::TYPE, self.id.0, hash.clone());
        }
        Ok(())
    }
}

/// They sign in no more, and are not listed. What they did stays.
#[derive(Clone, Copy, Debug)]
pub struct DeleteAccount(pub AccountId);

impl Command for DeleteAccount {
    type Answer = ();
    const NAME: &'static str = "delete_account";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut account = work.lock_and_load::<Account>(self.0).await?;
        work.decide(&mut account, AccountCommand::Delete)?;
        work.drop_credential(Account::TYPE, self.0.0);
        Ok(())
    }
}
