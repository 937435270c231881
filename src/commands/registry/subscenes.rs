//! Subscenes of a scene.

use super::entry::{Changed, Entry, alone, needed_as_it_is, register};
use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{Registered, Subscene};
use crate::domain::{RefusalCode, SceneId, SubsceneId};
use crate::projections::facts::{self, FactoryTable, Need};

/// The layout that a scene has for new subscenes, where the scene is there for the caller.
async fn template_of(work: &mut Work, id: SceneId) -> Result<Option<String>, CommandError> {
    let found = facts::scene_template(&mut work.tx, id).await?.filter(|(factory, _)| work.scope.contains(*factory, None));
    let (_, template) = found.ok_or_else(|| Refusal::new(RefusalCode::SceneNotFound, format!("there is no scene {id}")))?;
    Ok(template)
}

/// A subscene.
#[derive(Clone, Debug)]
pub struct CreateSubscene {
    pub scene_id: SceneId,
    pub name: String,
    pub description: Option<String>,
    /// Empty: a copy of the scene's template.
    pub initial_scene_layout: Option<String>,
}

impl Command for CreateSubscene {
    type Answer = SubsceneId;
    const NAME: &'static str = "create_subscene";
    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let template = template_of(work, self.scene_id).await?;
        let record = Subscene {
            scene_id: self.scene_id,
            name: self.name.clone(),
            description: self.description.clone(),
            initial_scene_layout: self.initial_scene_layout.clone().or(template),
        };
        Ok(SubsceneId(register(work, record).await?))
    }
}

/// What may be another one of a subscene. Its tasks are shown under its name; episodes keep the one they were recorded under.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubsceneChange {
    pub scene_id: Option<SceneId>,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    /// `Some(None)`: a copy of the scene's template.
    pub initial_scene_layout: Option<Option<String>>,
}

const TASKS: Need = Need {
    counted: "select count(*) from tasks where subscene_id = $1",
    what: "tasks of it:",
    advice: "a subscene that was worked in stays for their sake",
    is_conflict: true,
};

impl Entry for Subscene {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_subscene";
    const DELETE: &'static str = "delete_subscene";
    const IDS: &'static str = "subscene_ids";
    const WHAT: &'static str = "subscene";
    const NEEDED_BY: &'static [Need] = &[TASKS];
    type Change = SubsceneChange;

    async fn is_seen(&self, work: &mut Work, _: i64) -> Result<bool, CommandError> {
        let factory = facts::factory_of(&mut work.tx, FactoryTable::Scenes, self.scene_id.0).await?;
        Ok(factory.is_some_and(|factory| work.scope.contains(factory, None)))
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &SubsceneChange) -> Result<Changed<Self>, CommandError> {
        let SubsceneChange { scene_id, name, description, initial_scene_layout } = change.clone();
        let moves = scene_id.is_some_and(|given| given != self.scene_id);
        let scene_id = scene_id.unwrap_or(self.scene_id);
        let template = template_of(work, scene_id).await?;
        // An order is for one scene, and its tasks are of subscenes of that.
        if moves && let Some(tasks) = alone::<Self>(work, id, &[TASKS]).await?.first().filter(|tasks| **tasks > 0) {
            let text = format!("the subscene cannot move to scene {scene_id}: tasks of it: {tasks}, of orders for scene {}", self.scene_id);
            return Err(needed_as_it_is(text).into());
        }
        let to = Self {
            scene_id,
            name: name.unwrap_or_else(|| self.name.clone()),
            description: description.unwrap_or_else(|| self.description.clone()),
            initial_scene_layout: match initial_scene_layout {
                None => self.initial_scene_layout.clone(),
                Some(layout) => layout.or(template),
            },
        };
        Ok(to.into())
    }
}
