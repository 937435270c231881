//! Inspectors: their accounts.

use serde_json::Value;

use super::people::{PersonChange, login_must_be_free};
use super::{Command, CommandError, Refusal, Work};
use crate::domain::episode::Level;
use crate::domain::inspector::{Inspector, InspectorCommand, InspectorStatus, Terms};
use crate::domain::{Aggregate as _, InspectorId, OrganizationId, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, FactoryTable};
use crate::projections::people::Person;

/// A person who may sign in and inspect.
#[derive(Clone)]
pub struct CreateInspector {
    pub organization_id: OrganizationId,
    pub name: String,
    /// The login name.
    pub inspector_id: String,
    pub email: Option<String>,
    pub certification_level: Level,
    pub metadata: Value,
    /// A hash: passwords do not come this far. None: they cannot sign in.
    pub password_hash: Option<String>,
}

impl Command for CreateInspector {
    type Answer = InspectorId;
    const NAME: &'static str = "create_inspector";

    async fn run(&self, work: &mut Work) -> Result<InspectorId, CommandError> {
        let factory = facts::factory_of(&mut work.tx, FactoryTable::Organizations, self.organization_id.0).await?;
        if !factory.is_some_and(|factory| work.scope.contains(factory, Some(self.organization_id))) {
            let text = format!("there is no organization {}", self.organization_id);
            return Err(Refusal::new(RefusalCode::OrganizationNotFound, text).into());
        }
        login_must_be_free(work, Inspector::TYPE, &self.inspector_id).await?;
        let id = facts::new_ids(&mut work.tx, "inspector_ids", 1).await?[0];
        let terms = Terms {
            organization_id: self.organization_id,
            certification_level: self.certification_level,
            status: InspectorStatus::Active,
            metadata: self.metadata.clone(),
        };
        work.decide(&mut Loaded::<Inspector>::absent(id), InspectorCommand::Create(terms))?;
        if let Some(hash) = &self.password_hash {
            work.set_credential(Inspector::TYPE, id, hash.clone());
        }
        work.set_person(Person {
            subject: Inspector::TYPE,
            id,
            name: self.name.clone(),
            operator_id: Some(self.inspector_id.clone()),
            email: self.email.clone(),
        });
        Ok(InspectorId(id))
    }
}

/// An inspector who is there for the caller.
async fn held(work: &mut Work, id: InspectorId) -> Result<Loaded<Inspector>, CommandError> {
    let inspector = work.lock_and_load::<Inspector>(id).await?;
    if let Inspector::Known(terms) = &inspector.state
        && work.sees(terms.organization_id).await?
    {
        return Ok(inspector);
    }
    Err(Refusal::new(RefusalCode::InspectorNotFound, "inspector not found").into())
}

/// What may be another one of an inspector, who stays in their organization.
#[derive(Clone, Default, PartialEq)]
pub struct InspectorChange {
    pub name: Option<String>,
    /// The login name.
    pub inspector_id: Option<String>,
    pub email: Option<Option<String>>,
    pub certification_level: Option<Level>,
    pub status: Option<InspectorStatus>,
    pub metadata: Option<Value>,
    /// A hash: passwords do not come this far.
    pub password_hash: Option<String>,
}

/// What is not given stays.
#[derive(Clone)]
pub struct ChangeInspector {
    pub id: InspectorId,
    pub change: InspectorChange,
}

impl Command for ChangeInspector {
    type Answer = ();
    const NAME: &'static str = "change_inspector";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut inspector = held(work, self.id).await?;
        let InspectorChange { name, inspector_id: login_name, email, certification_level, status, metadata, password_hash } =
            self.change.clone();
        let beside = PersonChange { name, login_name, email, password_hash }.apply(work, Inspector::TYPE, self.id.0).await?;
        work.decide(&mut inspector, InspectorCommand::Change { certification_level, status, metadata, beside })?;
        Ok(())
    }
}

/// They sign in no more, and are not listed. What they decided stays.
#[derive(Clone, Copy, Debug)]
pub struct DeleteInspector(pub InspectorId);

impl Command for DeleteInspector {
    type Answer = ();
    const NAME: &'static str = "delete_inspector";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut inspector = held(work, self.0).await?;
        work.decide(&mut inspector, InspectorCommand::Delete)?;
        work.drop_credential(Inspector::TYPE, self.0.0);
        Ok(())
    }
}
