//! Data collectors. Who they are and their passwords stand beside the log.

use serde_json::Value;

use super::entry::{Changed, Entry, alone, register};
use crate::commands::people::{PersonChange, login_must_be_free};
use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{CollectorStatus, DataCollector, Record as _, Registered};
use crate::domain::{CollectorId, OrganizationId, RefusalCode};
use crate::projections::facts::{self, FactoryTable, Need};
use crate::projections::people::Person;

#[derive(Clone)]
pub struct CreateDataCollector {
    pub organization_id: OrganizationId,
    pub name: String,
    pub operator_id: String,
    pub email: Option<String>,
    pub certification: Option<String>,
    pub metadata: Value,
    /// A hash: passwords do not come this far.
    pub password_hash: String,
}

impl Command for CreateDataCollector {
    type Answer = CollectorId;
    const NAME: &'static str = "create_data_collector";
    async fn run(&self, work: &mut Work) -> Result<CollectorId, CommandError> {
        let factory = facts::factory_of(&mut work.tx, FactoryTable::Organizations, self.organization_id.0).await?;
        if !factory.is_some_and(|factory| work.scope.contains(factory, Some(self.organization_id))) {
            return Err(
                Refusal::new(RefusalCode::OrganizationNotFound, format!("there is no organization {}", self.organization_id)).into()
            );
        }
        login_must_be_free(work, DataCollector::TYPE, &self.operator_id).await?;
        let record = DataCollector {
            organization_id: self.organization_id,
            name: None,
            operator_id: None,
            email: None,
            certification: self.certification.clone(),
            status: CollectorStatus::Active,
            metadata: self.metadata.clone(),
        };
        let id = register(work, record).await?;
        work.set_credential(DataCollector::TYPE, id, self.password_hash.clone());
        work.set_person(Person {
            subject: DataCollector::TYPE,
            id,
            name: self.name.clone(),
            operator_id: Some(self.operator_id.clone()),
            email: self.email.clone(),
        });
        Ok(CollectorId(id))
    }
}

/// What may be another one of a data collector, who stays in their organization.
#[derive(Clone, Default, PartialEq)]
pub struct DataCollectorChange {
    pub name: Option<String>,
    pub operator_id: Option<String>,
    pub email: Option<Option<String>>,
    pub certification: Option<Option<String>>,
    pub status: Option<CollectorStatus>,
    pub metadata: Option<Value>,
    /// A hash: passwords do not come this far.
    pub password_hash: Option<String>,
}

impl Entry for DataCollector {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_data_collector";
    const DELETE: &'static str = "delete_data_collector";
    const IDS: &'static str = "data_collector_ids";
    const WHAT: &'static str = "data collector";
    const NEEDED_BY: &'static [Need] = &[Need {
        counted: "select count(*) from stations where data_collector_id = $1",
        what: "workstations that they are or were bound to:",
        advice: "who was ever bound stays for the sake of what they recorded; set them `inactive` instead",
        is_conflict: true,
    }];
    type Change = DataCollectorChange;

    async fn is_seen(&self, work: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(work.sees(self.organization_id).await?)
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &DataCollectorChange) -> Result<Changed<Self>, CommandError> {
        // Who binds them right now asks for their status.
        alone::<Self>(work, id, &[]).await?;
        let DataCollectorChange { name, operator_id: login_name, email, certification, status, metadata, password_hash } = change.clone();
        let beside = PersonChange { name, login_name, email, password_hash }.apply(work, Self::TYPE, id).await?;
        let to = Self {
            organization_id: self.organization_id,
            // Only events of version 1 have them.
            name: self.name.clone(),
            operator_id: self.operator_id.clone(),
            email: self.email.clone(),
            certification: certification.unwrap_or_else(|| self.certification.clone()),
            status: status.unwrap_or(self.status),
            metadata: metadata.unwrap_or_else(|| self.metadata.clone()),
        };
        Ok(Changed { to, beside })
    }

    /// What they signed in with. Who they were stays beside the log, until they are forgotten.
    async fn take_away(work: &mut Work, id: i64) -> Result<(), CommandError> {
        work.drop_credential(Self::TYPE, id);
        Ok(())
    }
}
