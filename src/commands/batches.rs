//! Batches: created with their tasks, adjusted, cancelled, recalled, deleted, and completed
//! without recordings. Order, batch and tasks change together or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use super::dispatch::CreatedTask;
use super::dispatch::{Dispatch, check_station, look_up};
use super::production::{Ending, Production};
use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::batch::{self, BatchCommand, BatchStatus, Removed, tally_of};
use crate::domain::episode::{Episode, EpisodeCommand, RECALLED_BATCH};
use crate::domain::order::OrderCommand;
use crate::domain::tally::{Tally, TaskOutcome, count};
use crate::domain::task::{TaskCommand, TaskStatus};
use crate::domain::workload::{
    self, Completion, Standing, TASKS_PER_ADJUSTMENT_MAX, TASKS_PER_BATCH_MAX, TaskGroup, WorkloadRefusal, check_groups, check_total,
};
use crate::domain::{
    BatchId, CollectorId, OrderId, PublicTaskId, RefusalCode, SopId, StationId, StreamId, SubsceneId, TaskId, Timestamp, public_id,
};
use crate::projections::facts::{self, TaskFacts};

/// Tasks in whose place another one is recorded are nobody's to plan with.
fn standing(tasks: &[TaskFacts]) -> Vec<Standing> {
    let standing =
        |task: &TaskFacts| Standing { task_id: task.task_id, sop_id: task.sop_id, subscene_id: task.subscene_id, status: task.status };
    tasks.iter().filter(|task| !task.replaced).map(standing).collect()
}

/// Those of the tasks that a plan names, in its order.
fn chosen(tasks: Vec<TaskFacts>, plan: &[TaskId]) -> Vec<TaskFacts> {
    let mut by_id: BTreeMap<TaskId, TaskFacts> = tasks.into_iter().map(|task| (task.task_id, task)).collect();
    plan.iter().filter_map(|id| by_id.remove(id)).collect()
}

/// A refusal with what made the batch as it is.
fn refused(refusal: WorkloadRefusal, batch_id: BatchId) -> Refusal {
    Refusal::from(refusal).about(&StreamId::of::<batch::Batch>(batch_id))
}

fn task_ids(tasks: &[TaskFacts]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.task_id).collect()
}

#[derive(Clone, Debug)]
pub struct CreateBatch {
    pub order_id: OrderId,
    pub station_id: StationId,
    pub groups: Vec<TaskGroup>,
    pub notes: Option<String>,
    pub metadata: Option<Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedBatch {
    pub batch_id: BatchId,
    pub tasks: Vec<CreatedTask>,
}

impl Command for CreateBatch {
    type Answer = CreatedBatch;
    const NAME: &'static str = "create_batch";

    async fn run(&self, work: &mut Work) -> Result<CreatedBatch, CommandError> {
        let total = check_groups(&self.groups, 1).map_err(Refusal::from)?;
        check_total(total, TASKS_PER_BATCH_MAX).map_err(Refusal::from)?;
        let no_order = || Refusal::invalid(RefusalCode::OrderNotFound, format!("there is no order {}", self.order_id));
        let mut production = Production::lock_of(work, self.order_id, no_order).await?;
        let terms = production.order().map(|order| order.terms.clone()).ok_or_else(no_order)?;
        let batch_id = BatchId(facts::new_ids(&mut work.tx, "batch_ids", 1).await?[0]);
        production.decide_order(work, OrderCommand::Dispatch { batch_id, added: total, removed: Tally::default() })?;
        let found = look_up(work, self.station_id, &self.groups).await?;
        let station = check_station(&found, self.station_id, &terms, true)?;
        let brief = batch::Brief {
            batch_id: public_id("batch", work.now, 0, chance::part()),
            order_id: self.order_id,
            station_id: self.station_id,
            organization_id: terms.organization_id,
            notes: self.notes.clone(),
            metadata: self.metadata.clone(),
            task_count: total,
        };
        production.decide_batch(work, batch_id, BatchCommand::Create(brief))?;
        let (order_id, station_id) = (self.order_id, self.station_id);
        let dispatch = Dispatch { order_id, batch_id, station_id, terms: &terms, station: &station, found: &found };
        let tasks = dispatch.create(work, &self.groups)?;
        production.finish(work).await?;
        Ok(CreatedBatch { batch_id, tasks })
    }
}

/// Sets how many tasks of each named group the batch is to have. Only tasks that no device has been
/// told of yet are taken out.
#[derive(Clone, Debug)]
pub struct AdjustBatch {
    pub batch_id: BatchId,
    pub groups: Vec<TaskGroup>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adjustment {
    pub created: Vec<CreatedTask>,
    pub deleted: Vec<TaskId>,
}

impl Command for AdjustBatch {
    type Answer = Adjustment;
    const NAME: &'static str = "adjust_batch";

    async fn run(&self, work: &mut Work) -> Result<Adjustment, CommandError> {
        check_groups(&self.groups, 0).map_err(Refusal::from)?;
        let batch_id = self.batch_id;
        let mut production = Production::lock_batch(work, batch_id).await?;
        let order = production.order().cloned().ok_or_else(|| anyhow::anyhow!("batch {batch_id} belongs to an order that is gone"))?;
        let batch = production.batch(batch_id)?;
        let (station_id, before) = (batch.brief.station_id, batch.tally.tasks);
        // Refused here when the batch is over, before anything else is looked at.
        production.decide_batch(work, batch_id, BatchCommand::Adjust { added: vec![], removed: vec![], at: work.now })?;

        let tasks = facts::tasks_of(&mut work.tx, &[batch_id], TaskStatus::ALL).await?;
        let plan = workload::Adjustment::plan(&self.groups, &standing(&tasks));
        let growth = plan.growth();
        check_total(growth, TASKS_PER_ADJUSTMENT_MAX).map_err(Refusal::from)?;
        let found = look_up(work, station_id, &plan.added).await?;
        let station = check_station(&found, station_id, &order.terms, !plan.added.is_empty())?;
        plan.check().map_err(|refusal| refused(refusal, batch_id))?;

        let removed = chosen(tasks, &plan.removed);
        let taken_out = Tally { tasks: count(&removed), ..Tally::default() };
        let quota = OrderCommand::Dispatch { batch_id, added: growth, removed: taken_out };
        production.decide_order(work, quota).map_err(|error| with_room(error, &order, before, before + growth - count(&removed)))?;
        production.decide_tasks(work, &removed, || TaskCommand::Delete).await?;
        let dispatch =
            Dispatch { order_id: production.order_id(), batch_id, station_id, terms: &order.terms, station: &station, found: &found };
        let created = dispatch.create(work, &plan.added)?;
        let added: Vec<TaskId> = created.iter().map(|task| task.id).collect();
        let deleted = task_ids(&removed);
        production.decide_batch(work, batch_id, BatchCommand::Adjust { added, removed: deleted.clone(), at: work.now })?;
        production.finish(work).await?;
        Ok(Adjustment { created, deleted })
    }
}

/// A refused quota, in the numbers of an adjustment.
fn with_room(error: CommandError, order: &crate::domain::order::Placed, current: i64, requested: i64) -> CommandError {
    let CommandError::Refused(mut refusal) = error else { return error };
    if refusal.code == RefusalCode::QuotaExceeded {
        let (target, tasks) = (order.terms.target_count, order.tally.tasks);
        refusal.extra.clear();
        refusal = refusal.with(json!({
            "target_count": target, "order_task_count": tasks, "current_batch_task_count": current,
            "max_batch_target": target - tasks + current, "requested_batch_task_count": requested,
            "remaining_assignable": target - tasks,
        }));
    }
    CommandError::Refused(refusal)
}

/// How a batch is after it was ended by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedBatch {
    pub batch_id: BatchId,
    pub status: BatchStatus,
    pub started_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

/// Nothing more of it is to be recorded. What was recorded already is left to finish.
#[derive(Clone, Copy, Debug)]
pub struct CancelBatch(pub BatchId);

impl Command for CancelBatch {
    type Answer = EndedBatch;
    const NAME: &'static str = "cancel_batch";

    async fn run(&self, work: &mut Work) -> Result<EndedBatch, CommandError> {
        end(work, self.0, Ending::Cancel).await
    }
}

/// Its recordings are not wanted: cancelled like above, and its episodes are labelled.
#[derive(Clone, Debug)]
pub struct RecallBatch {
    pub batch_id: BatchId,
    pub reason: Option<String>,
}

impl Command for RecallBatch {
    type Answer = EndedBatch;
    const NAME: &'static str = "recall_batch";

    async fn run(&self, work: &mut Work) -> Result<EndedBatch, CommandError> {
        end(work, self.batch_id, Ending::Recall { reason: self.reason.clone() }).await
    }
}

async fn end(work: &mut Work, batch_id: BatchId, ending: Ending) -> Result<EndedBatch, CommandError> {
    let mut production = Production::lock_batch(work, batch_id).await?;
    production.end_batch(work, batch_id, &ending).await?;
    if matches!(ending, Ending::Recall { .. }) {
        let ids: Vec<String> = facts::episodes_of_batch(&mut work.tx, batch_id).await?.iter().map(ToString::to_string).collect();
        for mut episode in work.load_many::<Episode>(&ids).await? {
            work.decide(&mut episode, EpisodeCommand::Label { label: RECALLED_BATCH.to_owned() })?;
        }
    }
    let finished = production.finish(work).await?;
    let batch = finished.batch(batch_id)?;
    Ok(EndedBatch { batch_id, status: batch.status, started_at: batch.started_at, updated_at: work.now })
}

/// Takes away what is not completed; the batch itself goes too where nothing is.
#[derive(Clone, Copy, Debug)]
pub struct DeleteBatch(pub BatchId);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedBatch {
    pub tasks_removed: i64,
    /// What was kept, and the batch with it, where it is more than none.
    pub completed_tasks: i64,
}

impl Command for DeleteBatch {
    type Answer = DeletedBatch;
    const NAME: &'static str = "delete_batch";

    async fn run(&self, work: &mut Work) -> Result<DeletedBatch, CommandError> {
        use TaskStatus::{Cancelled, Failed, InProgress, Pending, Ready, Uploading};
        let batch_id = self.0;
        let mut production = Production::lock_batch(work, batch_id).await?;
        let completed_tasks = production.batch(batch_id)?.tally.completed;
        let unfinished = [Pending, Ready, InProgress, Uploading, Failed, Cancelled];
        let tasks = facts::tasks_of(&mut work.tx, &[batch_id], &unfinished).await?;
        let removed_of = |counted: fn(&TaskFacts) -> bool| -> Vec<Removed> {
            let tasks = tasks.iter().filter(|task| counted(task));
            tasks.map(|task| Removed { task_id: task.task_id, outcome: task.status.outcome() }).collect()
        };
        let (removed, tally) = (removed_of(|_| true), tally_of(&removed_of(|task| !task.replaced)));
        let tasks_removed = count(&removed);
        production.decide_batch(work, batch_id, BatchCommand::Delete { removed, at: work.now })?;
        let uploading: Vec<&str> = tasks.iter().filter(|task| task.status == Uploading).map(|task| task.public_id.as_str()).collect();
        if !uploading.is_empty() {
            let text = format!("{} of its tasks are uploading; delete the batch when they are done", uploading.len());
            return Err(Refusal::new(RefusalCode::BatchHasUploads, text).with(json!({ "uploading": uploading })).into());
        }
        production.decide_tasks(work, &tasks, || TaskCommand::Delete).await?;
        production.decide_order(work, OrderCommand::Dispatch { batch_id, added: 0, removed: tally })?;
        production.finish(work).await?;
        Ok(DeletedBatch { tasks_removed, completed_tasks })
    }
}

/// A data collector says that tasks of their station were done with other equipment.
#[derive(Clone, Copy, Debug)]
pub struct CompleteTasks {
    pub batch_id: BatchId,
    pub collector: CollectorId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub quantity: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompletedTasks {
    /// The batch's id that people see.
    pub public_batch_id: String,
    pub scene_name: String,
    pub subscene_name: String,
    pub tasks: Vec<(TaskId, PublicTaskId)>,
    pub completed_at: Timestamp,
    /// The batch as it is with what followed.
    pub batch_status: BatchStatus,
    pub batch_tally: Tally,
}

impl Command for CompleteTasks {
    type Answer = CompletedTasks;
    const NAME: &'static str = "complete_tasks";

    async fn run(&self, work: &mut Work) -> Result<CompletedTasks, CommandError> {
        let station = facts::station_of_collector(&mut work.tx, self.collector)
            .await?
            .ok_or_else(|| Refusal::new(RefusalCode::NoCurrentWorkstation, "you have no workstation now"))?;
        let batch_id = self.batch_id;
        let mut production = Production::lock_batch(work, batch_id).await?;
        let group = TaskGroup { sop_id: self.sop_id, subscene_id: self.subscene_id, quantity: self.quantity };
        let completion = Completion { station, group };
        let batch = production.batch(batch_id)?;
        completion.check(batch).map_err(|refusal| refused(refusal, batch_id))?;
        let public_batch_id = batch.brief.batch_id.clone();
        let tasks = facts::tasks_of(&mut work.tx, &[batch_id], TaskStatus::ALL).await?;
        let done = completion.plan(&standing(&tasks)).map_err(|refusal| refused(refusal, batch_id))?;
        let tasks = chosen(tasks, &done);
        let (by, at, outcome) = (self.collector, work.now, TaskOutcome::Completed);
        production.decide_tasks(work, &tasks, || TaskCommand::CompleteExternally { by, at }).await?;
        production.decide_batch(work, batch_id, BatchCommand::SettleMany { task_ids: task_ids(&tasks), outcome, at })?;
        production.decide_order(work, OrderCommand::SettleMany { batch_id, outcome, count: count(&tasks) })?;
        let finished = production.finish(work).await?;
        let batch = finished.batch(batch_id)?;
        let (scene_name, subscene_name) =
            tasks.first().map(|task| (task.scene_name.clone(), task.subscene_name.clone())).unwrap_or_default();
        Ok(CompletedTasks {
            public_batch_id,
            scene_name,
            subscene_name,
            tasks: tasks.into_iter().map(|task| (task.task_id, task.public_id)).collect(),
            completed_at: at,
            batch_status: batch.status,
            batch_tally: batch.tally,
        })
    }
}
