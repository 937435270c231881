//! Factories.

use serde_json::Value;

use super::entry::{Changed, Entry, register};
use crate::commands::{Command, CommandError, Refusal, Work, chance};
use crate::domain::registry::{Factory, Registered};
use crate::domain::{FactoryId, RefusalCode, Scope};
use crate::projections::facts::{self, FactoryTable, Need};

/// Of a slug that we make.
pub(super) const SLUG_LENGTH: usize = 10;

/// Who is to belong to the factory keeps it until the commit.
pub(super) async fn factory_must_exist(work: &mut Work, id: FactoryId) -> Result<(), CommandError> {
    match facts::factory_of(&mut work.tx, FactoryTable::Factories, id.0).await? {
        Some(factory) if work.scope.contains(factory, None) => Ok(()),
        _ => Err(Refusal::invalid(RefusalCode::FactoryNotFound, format!("there is no factory {id}")).into()),
    }
}

#[derive(Clone, Debug)]
pub struct CreateFactory {
    pub name: String,
    pub location: Option<String>,
    pub timezone: Option<String>,
    pub settings: Option<Value>,
}

impl Command for CreateFactory {
    type Answer = FactoryId;
    const NAME: &'static str = "create_factory";
    async fn run(&self, work: &mut Work) -> Result<FactoryId, CommandError> {
        // It would lie outside of any scope that does not contain everything.
        if work.scope != Scope::Everything {
            let text = "a new factory is none of those that this login is for";
            return Err(Refusal::new(RefusalCode::OutsideScope, text).into());
        }
        let record = Factory {
            name: self.name.clone(),
            slug: format!("fac-{}", chance::text(SLUG_LENGTH)),
            location: self.location.clone(),
            timezone: self.timezone.clone().unwrap_or_else(|| "UTC".into()),
            settings: self.settings.clone(),
        };
        Ok(FactoryId(register(work, record).await?))
    }
}

/// What may be another one of a factory. Its slug is what others know it by, and stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactoryChange {
    pub name: Option<String>,
    pub location: Option<Option<String>>,
    pub timezone: Option<String>,
    pub settings: Option<Value>,
}

impl Entry for Factory {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_factory";
    const DELETE: &'static str = "delete_factory";
    const IDS: &'static str = "factory_ids";
    const WHAT: &'static str = "factory";
    const NEEDED_BY: &'static [Need] = &[
        Need {
            counted: "select count(*) from scenes where factory_id = $1",
            what: "scenes in it:",
            advice: "delete or move them first",
            is_conflict: false,
        },
        Need {
            counted: "select count(*) from robots where factory_id = $1",
            what: "robots in it:",
            advice: "move them first",
            is_conflict: false,
        },
        Need {
            counted: "select count(*) from organizations where factory_id = $1",
            what: "organizations in it:",
            advice: "delete them first",
            is_conflict: false,
        },
    ];
    type Change = FactoryChange;

    async fn is_seen(&self, work: &mut Work, id: i64) -> Result<bool, CommandError> {
        Ok(work.scope.contains(FactoryId(id), None))
    }

    async fn changed(&self, _: &mut Work, _: i64, change: &FactoryChange) -> Result<Changed<Self>, CommandError> {
        let FactoryChange { name, location, timezone, settings } = change.clone();
        let to = Self {
            name: name.unwrap_or_else(|| self.name.clone()),
            slug: self.slug.clone(),
            location: location.unwrap_or_else(|| self.location.clone()),
            timezone: timezone.unwrap_or_else(|| self.timezone.clone()),
            settings: settings.or_else(|| self.settings.clone()),
        };
        Ok(to.into())
    }
}
