//! Accounts of administrators, production managers, auditors and screens.

use super::people::{PersonChange, login_must_be_free};
use super::{Command, CommandError, Refusal, Work};
use crate::domain::account::{Account, AccountCommand, AccountStatus, Factories, Terms};
use crate::domain::{AccountId, AccountRole, Aggregate as _, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::projections::people::Person;

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

/// What may be another one of an account.
#[derive(Clone, Default, PartialEq)]
pub struct AccountChange {
    pub login_name: Option<String>,
    pub name: Option<String>,
    pub email: Option<Option<String>>,
    pub role: Option<AccountRole>,
    pub factories: Option<Factories>,
    pub status: Option<AccountStatus>,
    /// A hash: passwords do not come this far.
    pub password_hash: Option<String>,
}

/// What is not given stays.
#[derive(Clone)]
pub struct ChangeAccount {
    pub id: AccountId,
    pub change: AccountChange,
}

impl Command for ChangeAccount {
    type Answer = ();
    const NAME: &'static str = "change_account";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut account = work.lock_and_load::<Account>(self.id).await?;
        let AccountChange { login_name, name, email, role, factories, status, password_hash } = self.change.clone();
        if let Some(factories) = &factories {
            factories_must_exist(work, factories).await?;
        }
        let beside = PersonChange { name, login_name, email, password_hash }.apply(work, Account::TYPE, self.id.0).await?;
        work.decide(&mut account, AccountCommand::Change { role, factories, status, beside })?;
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
