//! Scenes of a factory.

use super::entry::{Changed, Entry, alone, needed_as_it_is, register};
use super::factories::factory_must_exist;
use crate::commands::{Command, CommandError, Work};
use crate::domain::registry::{Registered, Scene};
use crate::domain::{FactoryId, SceneId};
use crate::projections::facts::Need;

#[derive(Clone, Debug)]
pub struct CreateScene {
    pub factory_id: FactoryId,
    pub name: String,
    pub description: Option<String>,
    pub initial_scene_layout_template: Option<String>,
}

impl Command for CreateScene {
    type Answer = SceneId;
    const NAME: &'static str = "create_scene";
    async fn run(&self, work: &mut Work) -> Result<SceneId, CommandError> {
        factory_must_exist(work, self.factory_id).await?;
        let record = Scene {
            factory_id: self.factory_id,
            name: self.name.clone(),
            description: self.description.clone(),
            initial_scene_layout_template: self.initial_scene_layout_template.clone(),
        };
        Ok(SceneId(register(work, record).await?))
    }
}

/// What may be another one of a scene. Its tasks are shown under its name; episodes keep the one they were recorded under.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SceneChange {
    pub factory_id: Option<FactoryId>,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub initial_scene_layout_template: Option<Option<String>>,
}

const ORDERS: Need = Need {
    counted: "select count(*) from orders where scene_id = $1",
    what: "orders for it:",
    advice: "a scene with orders stays for their sake",
    is_conflict: false,
};

impl Entry for Scene {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_scene";
    const DELETE: &'static str = "delete_scene";
    const IDS: &'static str = "scene_ids";
    const WHAT: &'static str = "scene";
    const NEEDED_BY: &'static [Need] = &[
        Need {
            counted: "select count(*) from subscenes where scene_id = $1",
            what: "subscenes of it:",
            advice: "delete or move them first",
            is_conflict: false,
        },
        ORDERS,
    ];
    type Change = SceneChange;

    async fn is_seen(&self, work: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(work.scope.contains(self.factory_id, None))
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &SceneChange) -> Result<Changed<Self>, CommandError> {
        let SceneChange { factory_id, name, description, initial_scene_layout_template } = change.clone();
        if let Some(factory_id) = factory_id.filter(|given| *given != self.factory_id) {
            factory_must_exist(work, factory_id).await?;
            // The organization of an order is in the factory of its scene.
            if let Some(orders) = alone::<Self>(work, id, &[ORDERS]).await?.first().filter(|orders| **orders > 0) {
                let text = format!(
                    "the scene cannot move to factory {factory_id}: orders for it: {orders}, of organizations of factory {}",
                    self.factory_id
                );
                return Err(needed_as_it_is(text).into());
            }
        }
        let to = Self {
            factory_id: factory_id.unwrap_or(self.factory_id),
            name: name.unwrap_or_else(|| self.name.clone()),
            description: description.unwrap_or_else(|| self.description.clone()),
            initial_scene_layout_template: initial_scene_layout_template.unwrap_or_else(|| self.initial_scene_layout_template.clone()),
        };
        Ok(to.into())
    }
}
