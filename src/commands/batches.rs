//! Creating batches with their tasks: quota, batch and tasks in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Command, CommandError, Refusal, Work};
use crate::domain::batch::{self, Batch, BatchCommand};
use crate::domain::order::{Order, OrderCommand};
use crate::domain::task::{self, Task, TaskCommand};
use crate::domain::{BatchId, OrderId, PublicTaskId, SopId, StationId, StreamId, SubsceneId, TaskId, Timestamp, public_id};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// Tasks that one request may create.
pub const TASKS_PER_BATCH_MAX: i64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskGroup {
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub quantity: i64,
}

#[derive(Clone, Debug)]
pub struct CreateBatch {
    pub order_id: OrderId,
    pub station_id: StationId,
    pub groups: Vec<TaskGroup>,
    pub notes: Option<String>,
    pub metadata: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct CreatedBatch {
    pub batch_id: BatchId,
    pub tasks: Vec<CreatedTask>,
}

#[derive(Clone, Debug)]
pub struct CreatedTask {
    pub id: TaskId,
    pub public_id: PublicTaskId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub created_at: Timestamp,
}

impl CreateBatch {
    /// What is wrong with the request itself.
    fn check_groups(&self) -> Result<i64, Refusal> {
        if self.groups.is_empty() {
            return Err(Refusal::invalid("task_groups_empty", "task_groups must name at least one group"));
        }
        let mut seen = BTreeSet::new();
        let mut total: i64 = 0;
        for (index, group) in self.groups.iter().enumerate() {
            if group.quantity < 1 {
                return Err(Refusal::invalid("quantity_invalid", format!("task_groups[{index}].quantity must be at least 1")));
            }
            if !seen.insert((group.sop_id, group.subscene_id)) {
                let text = format!("task_groups[{index}] repeats sop_id {} and subscene_id {}", group.sop_id, group.subscene_id);
                return Err(Refusal::invalid("task_group_repeated", text));
            }
            total = total.saturating_add(group.quantity);
        }
        if total > TASKS_PER_BATCH_MAX {
            let text = format!("{total} tasks are more than the {TASKS_PER_BATCH_MAX} that one batch may be created with");
            return Err(Refusal::invalid("too_many_tasks", text));
        }
        Ok(total)
    }
}

impl Command for CreateBatch {
    type Answer = CreatedBatch;
    const NAME: &'static str = "create_batch";

    async fn run(&self, work: &mut Work) -> Result<CreatedBatch, CommandError> {
        let total = self.check_groups()?;
        work.lock(&[StreamId::of::<Order>(self.order_id)]).await?;
        let mut order = work.load::<Order>(self.order_id).await?;
        let terms = order
            .state
            .placed()
            .map(|placed| placed.terms.clone())
            .ok_or_else(|| Refusal::invalid("order_not_found", format!("there is no order {}", self.order_id)))?;
        let count = usize::try_from(total).unwrap_or_default();
        let batch_id = BatchId(facts::new_ids(&mut work.tx, "batch_ids", 1).await?[0]);
        work.decide(&mut order, OrderCommand::Dispatch { batch_id, count: total })?;

        let station = facts::station(&mut work.tx, self.station_id)
            .await?
            .ok_or_else(|| Refusal::invalid("workstation_not_found", format!("there is no workstation {}", self.station_id)))?;
        if station.organization_id != terms.organization_id {
            let text = format!(
                "workstation {} belongs to organization {}, the order to {}",
                self.station_id, station.organization_id, terms.organization_id
            );
            return Err(Refusal::invalid("organization_mismatch", text).into());
        }
        if !station.is_current {
            let text = format!("workstation {} is a superseded binding; dispatch to the current one", self.station_id);
            return Err(Refusal::invalid("workstation_superseded", text).into());
        }
        let sop_ids: Vec<i64> = self.groups.iter().map(|group| group.sop_id.0).collect();
        let subscene_ids: Vec<i64> = self.groups.iter().map(|group| group.subscene_id.0).collect();
        let sops: BTreeSet<i64> = facts::known_sops(&mut work.tx, &sop_ids).await?.into_iter().collect();
        let subscenes: BTreeMap<i64, facts::SubsceneFacts> =
            facts::subscenes(&mut work.tx, &subscene_ids).await?.into_iter().map(|facts| (facts.subscene_id.0, facts)).collect();
        let task_ids = facts::new_ids(&mut work.tx, "task_ids", count).await?;

        let brief = batch::Brief {
            batch_id: public_id("batch", work.now, 0, rand::random()),
            order_id: self.order_id,
            station_id: self.station_id,
            organization_id: terms.organization_id,
            notes: self.notes.clone(),
            metadata: self.metadata.clone(),
            task_count: total,
        };
        let mut batch = Loaded::<Batch>::absent(batch_id);
        work.decide(&mut batch, BatchCommand::Create(brief))?;

        let mut tasks = Vec::with_capacity(count);
        for group in &self.groups {
            if !sops.contains(&group.sop_id.0) {
                return Err(Refusal::invalid("sop_not_found", format!("there is no SOP {}", group.sop_id)).into());
            }
            let subscene = subscenes
                .get(&group.subscene_id.0)
                .ok_or_else(|| Refusal::invalid("subscene_not_found", format!("there is no subscene {}", group.subscene_id)))?;
            for _ in 0..group.quantity {
                let ordinal = tasks.len();
                let id = task_ids[ordinal];
                let text = public_id("task", work.now, ordinal, rand::random());
                let public_id = PublicTaskId::parse(&text).map_err(anyhow::Error::new)?;
                let brief = task::Brief {
                    task_id: public_id.clone(),
                    batch_id,
                    order_id: self.order_id,
                    station_id: self.station_id,
                    sop_id: group.sop_id,
                    scene_id: subscene.scene_id,
                    scene_name: subscene.scene_name.clone(),
                    subscene_id: group.subscene_id,
                    subscene_name: subscene.name.clone(),
                    initial_scene_layout: subscene.layout.clone().unwrap_or_default(),
                    factory_id: station.factory_id,
                    organization_id: terms.organization_id,
                };
                work.decide(&mut Loaded::<Task>::absent(id), TaskCommand::Create(brief))?;
                tasks.push(CreatedTask {
                    id: TaskId(id),
                    public_id,
                    sop_id: group.sop_id,
                    subscene_id: group.subscene_id,
                    created_at: work.now,
                });
            }
        }
        Ok(CreatedBatch { batch_id, tasks })
    }
}
