//! Orders: placed, revised, deleted.

use serde_json::Value;

use super::production::Production;
use super::{Command, CommandError, Refusal, Work};
use crate::domain::order::{Order, OrderCommand, Priority, Revision, Terms};
use crate::domain::{OrderId, OrganizationId, RefusalCode, SceneId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, FactoryTable};

#[derive(Clone, Debug)]
pub struct PlaceOrder {
    pub organization_id: OrganizationId,
    pub scene_id: SceneId,
    pub name: String,
    pub target_count: i64,
    pub priority: Priority,
    pub deadline: Option<Timestamp>,
    pub metadata: Option<Value>,
}

impl Command for PlaceOrder {
    type Answer = OrderId;
    const NAME: &'static str = "place_order";

    async fn run(&self, work: &mut Work) -> Result<OrderId, CommandError> {
        let organization_factory = facts::factory_of(&mut work.tx, FactoryTable::Organizations, self.organization_id.0)
            .await?
            .filter(|factory| work.scope.contains(*factory, Some(self.organization_id)))
            .ok_or_else(|| Refusal::new(RefusalCode::OrganizationNotFound, format!("there is no organization {}", self.organization_id)))?;
        let scene_factory = facts::factory_of(&mut work.tx, FactoryTable::Scenes, self.scene_id.0)
            .await?
            .filter(|factory| work.scope.contains(*factory, None))
            .ok_or_else(|| Refusal::new(RefusalCode::SceneNotFound, format!("there is no scene {}", self.scene_id)))?;
        let id = facts::new_ids(&mut work.tx, "order_ids", 1).await?[0];
        let terms = Terms {
            organization_id: self.organization_id,
            scene_id: self.scene_id,
            name: self.name.clone(),
            target_count: self.target_count,
            priority: self.priority,
            deadline: self.deadline,
            metadata: self.metadata.clone(),
        };
        let mut order = Loaded::<Order>::absent(id);
        work.decide(&mut order, OrderCommand::Place { terms, organization_factory, scene_factory })?;
        Ok(OrderId(id))
    }
}

/// Edits an order. Its open batches end with it where the edit completes or cancels it.
#[derive(Clone, Debug)]
pub struct ReviseOrder {
    pub order_id: OrderId,
    pub revision: Revision,
}

impl Command for ReviseOrder {
    type Answer = ();
    const NAME: &'static str = "revise_order";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut production = Production::lock(work, self.order_id).await?;
        production.decide_order(work, OrderCommand::Revise(self.revision.clone()))?;
        production.finish(work).await?;
        Ok(())
    }
}

/// Deletes an order that nothing belongs to. Its name is free again.
#[derive(Clone, Copy, Debug)]
pub struct DeleteOrder(pub OrderId);

impl Command for DeleteOrder {
    type Answer = ();
    const NAME: &'static str = "delete_order";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut production = Production::lock(work, self.0).await?;
        let has_batches = facts::has_batches(&mut work.tx, self.0).await?;
        production.decide_order(work, OrderCommand::Delete { has_batches })?;
        production.finish(work).await?;
        Ok(())
    }
}
