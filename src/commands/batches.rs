//! Batches: created with their tasks, adjusted, cancelled, recalled, deleted, and completed
//! without recordings. Order, batch and tasks change together or not at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use super::dispatch::{CreatedTask, TaskGroup};
use super::dispatch::{Dispatch, check_station, look_up};
use super::production::{Ending, Production};
use super::{Command, CommandError, Refusal, Work};
use crate::domain::batch::{self, BatchCommand, BatchStatus, Removed, tally_of};
use crate::domain::episode::{Episode, EpisodeCommand, RECALLED_BATCH};
use crate::domain::order::OrderCommand;
use crate::domain::tally::{Tally, TaskOutcome, count};
use crate::domain::task::{TaskCommand, TaskStatus};
use crate::domain::{
    BatchId, CollectorId, OrderId, PublicTaskId, RefusalCode, SopId, StationId, StreamId, SubsceneId, TaskId, Timestamp, public_id,
};
use crate::projections::facts::{self, TaskFacts};

/// Tasks that a batch may be created with.
pub const TASKS_PER_BATCH_MAX: i64 = 1000;

/// Tasks that one adjustment may add. The contract names no limit; memory does.
pub const TASKS_PER_ADJUSTMENT_MAX: i64 = 10_000;

fn task_ids(tasks: &[TaskFacts]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.task_id).collect()
}

/// What is wrong with groups themselves. Answers how many tasks they name.
fn check_groups(groups: &[TaskGroup], quantity_min: i64) -> Result<i64, Refusal> {
    if groups.is_empty() {
        return Err(Refusal::new(RefusalCode::TaskGroupsEmpty, "task_groups must name at least one group"));
    }
    if let Some(index) = groups.iter().position(|group| group.quantity < quantity_min) {
        return Err(Refusal::new(RefusalCode::QuantityInvalid, format!("task_groups[{index}].quantity must be at least {quantity_min}")));
    }
    let mut seen = BTreeSet::new();
    if let Some(group) = groups.iter().find(|group| !seen.insert((group.sop_id, group.subscene_id))) {
        let text = format!("task_groups names sop_id {} with subscene_id {} twice", group.sop_id, group.subscene_id);
        return Err(Refusal::new(RefusalCode::TaskGroupRepeated, text));
    }
    Ok(groups.iter().fold(0, |total, group| total.saturating_add(group.quantity)))
}

fn check_total(total: i64, most: i64) -> Result<(), Refusal> {
    if total <= most {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::TooManyTasks, format!("{total} tasks are more than the {most} that one request may create")))
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
        let total = check_groups(&self.groups, 1)?;
        check_total(total, TASKS_PER_BATCH_MAX)?;
        let no_order = || Refusal::invalid(RefusalCode::OrderNotFound, format!("there is no order {}", self.order_id));
        let mut production = Production::lock_of(work, self.order_id, no_order).await?;
        let terms = production.order().map(|order| order.terms.clone()).ok_or_else(no_order)?;
        let batch_id = BatchId(facts::new_ids(&mut work.tx, "batch_ids", 1).await?[0]);
        production.decide_order(work, OrderCommand::Dispatch { batch_id, added: total, removed: Tally::default() })?;
        let found = look_up(work, self.station_id, &self.groups).await?;
        let station = check_station(&found, self.station_id, &terms, true)?;
        let brief = batch::Brief {
            batch_id: public_id("batch", work.now, 0, rand::random()),
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

/// Sets how many tasks of each named group the batch shall have. Only tasks that nobody has been
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
        check_groups(&self.groups, 0)?;
        let batch_id = self.batch_id;
        let mut production = Production::lock_batch(work, batch_id).await?;
        let order = production.order().cloned().ok_or_else(|| anyhow::anyhow!("batch {batch_id} belongs to an order that is gone"))?;
        let batch = production.batch(batch_id)?;
        let (station_id, before) = (batch.brief.station_id, batch.tally.tasks);
        // Refused here when the batch is over, before anything else is looked at.
        production.decide_batch(work, batch_id, BatchCommand::Adjust { added: vec![], removed: vec![], at: work.now })?;

        let all: Vec<TaskStatus> = TaskStatus::ALL.iter().map(|(_, status)| *status).collect();
        let tasks = facts::tasks_of(&mut work.tx, &[batch_id], &all).await?;
        let (mut added, mut removed) = (vec![], vec![]);
        let mut too_few = None;
        for group in &self.groups {
            let pair: Vec<&TaskFacts> =
                tasks.iter().filter(|task| (task.sop_id, task.subscene_id) == (group.sop_id, group.subscene_id)).collect();
            let pending: Vec<&TaskFacts> = pair.iter().copied().filter(|task| task.status == TaskStatus::Pending).collect();
            let (current, locked) = (count(&pair), count(&pair) - count(&pending));
            if group.quantity < locked {
                too_few.get_or_insert((*group, locked));
            } else if group.quantity > current {
                added.push(TaskGroup { quantity: group.quantity - current, ..*group });
            } else {
                // Newest first.
                let fewer = usize::try_from(current - group.quantity).unwrap_or_default();
                removed.extend(pending.into_iter().rev().take(fewer).cloned());
            }
        }
        let growth: i64 = added.iter().fold(0_i64, |total, group| total.saturating_add(group.quantity));
        check_total(growth, TASKS_PER_ADJUSTMENT_MAX)?;
        let found = look_up(work, station_id, &added).await?;
        let station = check_station(&found, station_id, &order.terms, !added.is_empty())?;
        if let Some((group, locked)) = too_few {
            let text = format!(
                "{} tasks of sop_id {} with subscene_id {} are fewer than the {locked} that are under way or done",
                group.quantity, group.sop_id, group.subscene_id
            );
            let refusal = Refusal::new(RefusalCode::QuantityBelowLocked, text).with(json!({ "locked": locked }));
            return Err(refusal.about(&StreamId::of::<batch::Batch>(batch_id)).into());
        }

        let taken_out = Tally { tasks: count(&removed), ..Tally::default() };
        let quota = OrderCommand::Dispatch { batch_id, added: growth, removed: taken_out };
        production.decide_order(work, quota).map_err(|error| with_room(error, &order, before, before + growth - count(&removed)))?;
        production.decide_tasks(work, &removed, || TaskCommand::Delete).await?;
        let dispatch =
            Dispatch { order_id: production.order_id(), batch_id, station_id, terms: &order.terms, station: &station, found: &found };
        let created = dispatch.create(work, &added)?;
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

/// Nothing more of it shall be recorded. What was recorded already is left to finish.
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
#[derive(Clone, Copy, Debug)]
pub struct RecallBatch(pub BatchId);

impl Command for RecallBatch {
    type Answer = EndedBatch;
    const NAME: &'static str = "recall_batch";

    async fn run(&self, work: &mut Work) -> Result<EndedBatch, CommandError> {
        end(work, self.0, Ending::Recall).await
    }
}

async fn end(work: &mut Work, batch_id: BatchId, ending: Ending) -> Result<EndedBatch, CommandError> {
    let mut production = Production::lock_batch(work, batch_id).await?;
    production.end_batch(work, batch_id, ending).await?;
    if ending == Ending::Recall {
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
        let removed: Vec<Removed> = tasks.iter().map(|task| Removed { task_id: task.task_id, outcome: task.status.outcome() }).collect();
        let (tasks_removed, tally) = (count(&removed), tally_of(&removed));
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
        let stream = StreamId::of::<batch::Batch>(batch_id);
        let (brief, status, tally) = {
            let batch = production.batch(batch_id)?;
            (batch.brief.clone(), batch.status, batch.tally)
        };
        if brief.station_id != station {
            let text = format!("the batch was given to workstation {}, yours is {station}", brief.station_id);
            return Err(Refusal::new(RefusalCode::NotYourWorkstation, text).into());
        }
        if !status.is_open() {
            let text = format!("the batch is {}; only a pending or active one can be worked on", status.as_str());
            let numbers = json!({
                "current_status": status.as_str(), "completed_count": tally.completed, "task_count": tally.tasks,
            });
            return Err(Refusal::new(RefusalCode::BatchNotOpen, text).with(numbers).about(&stream).into());
        }
        if self.quantity > tally.tasks {
            let text = format!("{} tasks are more than the {} of the batch", self.quantity, tally.tasks);
            let numbers = json!({ "task_count": tally.tasks, "requested": self.quantity });
            return Err(Refusal::new(RefusalCode::QuantityExceedsBatch, text).with(numbers).about(&stream).into());
        }
        let all: Vec<TaskStatus> = TaskStatus::ALL.iter().map(|(_, status)| *status).collect();
        let mut tasks = facts::tasks_of(&mut work.tx, &[batch_id], &all).await?;
        tasks.retain(|task| (task.sop_id, task.subscene_id) == (self.sop_id, self.subscene_id));
        let Some(names) = tasks.first().map(|task| (task.scene_name.clone(), task.subscene_name.clone())) else {
            let text = format!("the batch has no task of sop_id {} with subscene_id {}", self.sop_id, self.subscene_id);
            return Err(Refusal::new(RefusalCode::TaskGroupNotFound, text).into());
        };
        tasks.retain(|task| task.status == TaskStatus::Pending);
        let pending = count(&tasks);
        if pending < self.quantity {
            let text = format!("{} tasks are more than the {pending} of the group that are pending", self.quantity);
            let numbers = json!({ "pending_count": pending, "requested": self.quantity });
            return Err(Refusal::new(RefusalCode::QuantityExceedsPending, text).with(numbers).about(&stream).into());
        }
        // Oldest first.
        tasks.truncate(usize::try_from(self.quantity).unwrap_or_default());
        let (by, at, outcome) = (self.collector, work.now, TaskOutcome::Completed);
        production.decide_tasks(work, &tasks, || TaskCommand::CompleteExternally { by, at }).await?;
        production.decide_batch(work, batch_id, BatchCommand::SettleMany { task_ids: task_ids(&tasks), outcome, at })?;
        production.decide_order(work, OrderCommand::SettleMany { batch_id, outcome, count: count(&tasks) })?;
        let finished = production.finish(work).await?;
        let batch = finished.batch(batch_id)?;
        Ok(CompletedTasks {
            public_batch_id: brief.batch_id,
            scene_name: names.0,
            subscene_name: names.1,
            tasks: tasks.into_iter().map(|task| (task.task_id, task.public_id)).collect(),
            completed_at: at,
            batch_status: batch.status,
            batch_tally: batch.tally,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(sop: i64, quantity: i64) -> TaskGroup {
        TaskGroup { sop_id: SopId(sop), subscene_id: SubsceneId(1), quantity }
    }

    #[test]
    fn groups_name_each_pair_once_and_enough_tasks() {
        assert_eq!(check_groups(&[group(1, 2), group(2, 3)], 1), Ok(5));
        assert_eq!(check_groups(&[group(1, i64::MAX), group(2, 1)], 1), Ok(i64::MAX));
        let code = |groups: &[TaskGroup], least| check_groups(groups, least).map_err(|refusal| refusal.code.as_str());
        assert_eq!(code(&[], 1), Err("task_groups_empty"));
        assert_eq!(code(&[group(1, 0)], 1), Err("quantity_invalid"));
        assert_eq!(code(&[group(1, 0)], 0), Ok(0));
        assert_eq!(code(&[group(1, -1)], 0), Err("quantity_invalid"));
        assert_eq!(code(&[group(1, 1), group(1, 2)], 1), Err("task_group_repeated"));
        assert_eq!(check_total(1001, TASKS_PER_BATCH_MAX).map_err(|refusal| refusal.code.as_str()), Err("too_many_tasks"));
    }
}
