//! Organizations of a factory.

use serde_json::Value;

use super::entry::{Changed, Entry, register};
use super::factories::{SLUG_LENGTH, factory_must_exist};
use crate::commands::{Command, CommandError, Work, chance};
use crate::domain::registry::{Organization, Registered};
use crate::domain::{FactoryId, OrganizationId};
use crate::projections::facts::Need;

#[derive(Clone, Debug)]
pub struct CreateOrganization {
    pub factory_id: FactoryId,
    pub name: String,
    pub description: Option<String>,
    pub settings: Option<Value>,
}

impl Command for CreateOrganization {
    type Answer = OrganizationId;
    const NAME: &'static str = "create_organization";
    async fn run(&self, work: &mut Work) -> Result<OrganizationId, CommandError> {
        factory_must_exist(work, self.factory_id).await?;
        let record = Organization {
            factory_id: self.factory_id,
            name: self.name.clone(),
            slug: format!("org-{}", chance::text(SLUG_LENGTH)),
            description: self.description.clone(),
            settings: self.settings.clone(),
        };
        Ok(OrganizationId(register(work, record).await?))
    }
}

/// What may be another one of an organization. It stays in its factory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrganizationChange {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub settings: Option<Value>,
}

impl Entry for Organization {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_organization";
    const DELETE: &'static str = "delete_organization";
    const IDS: &'static str = "organization_ids";
    const WHAT: &'static str = "organization";
    const NEEDED_BY: &'static [Need] = &[
        Need {
            counted: "select count(*) from data_collectors where organization_id = $1",
            what: "data collectors of it:",
            advice: "delete them first",
            is_conflict: false,
        },
        Need {
            counted: "select count(*) from inspectors where organization_id = $1",
            what: "inspectors of it:",
            advice: "delete them first",
            is_conflict: false,
        },
        Need {
            counted: "select count(*) from orders where organization_id = $1",
            what: "orders of it:",
            advice: "an organization with orders stays for their sake",
            is_conflict: false,
        },
    ];
    type Change = OrganizationChange;

    async fn is_seen(&self, work: &mut Work, id: i64) -> Result<bool, CommandError> {
        Ok(work.scope.contains(self.factory_id, Some(OrganizationId(id))))
    }

    async fn changed(&self, _: &mut Work, _: i64, change: &OrganizationChange) -> Result<Changed<Self>, CommandError> {
        let OrganizationChange { name, description, settings } = change.clone();
        let to = Self {
            factory_id: self.factory_id,
            name: name.unwrap_or_else(|| self.name.clone()),
            slug: self.slug.clone(),
            description: description.unwrap_or_else(|| self.description.clone()),
            settings: settings.or_else(|| self.settings.clone()),
        };
        Ok(to.into())
    }
}
