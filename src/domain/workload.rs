//! How many tasks of which kind a batch has: plans for changing that, made from what is there, and applied by commands.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::batch::{self, BatchStatus};
use super::refusal::{RefusalCode, Refused};
use super::tally::count;
use super::task::TaskStatus;
use super::{SopId, StationId, SubsceneId, TaskId};

/// Tasks that a batch may be created with.
pub const TASKS_PER_BATCH_MAX: i64 = 1000;

/// Tasks that one adjustment may add. The contract names no limit; memory does.
pub const TASKS_PER_ADJUSTMENT_MAX: i64 = 10_000;

/// So many tasks of one SOP with one subscene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskGroup {
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub quantity: i64,
}

/// A task of the batch. Lists of them are in the order in which they were created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub task_id: TaskId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub status: TaskStatus,
}

impl Standing {
    fn is_of(&self, sop_id: SopId, subscene_id: SubsceneId) -> bool {
        (self.sop_id, self.subscene_id) == (sop_id, subscene_id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadRefusal {
    #[error("task_groups must name at least one group")]
    NoGroups,
    #[error("task_groups[{index}].quantity must be at least {least}")]
    QuantityTooSmall { index: usize, least: i64 },
    #[error("task_groups names sop_id {sop_id} with subscene_id {subscene_id} twice")]
    GroupRepeated { sop_id: SopId, subscene_id: SubsceneId },
    #[error("{total} tasks are more than the {most} that one request may create")]
    TooManyTasks { total: i64, most: i64 },
    #[error(
        "{} tasks of sop_id {} with subscene_id {} are fewer than the {locked} that are under way or done",
        group.quantity, group.sop_id, group.subscene_id
    )]
    BelowLocked { group: TaskGroup, locked: i64 },
    #[error("the batch was given to workstation {given}, yours is {yours}")]
    NotYourWorkstation { given: StationId, yours: StationId },
    #[error("the batch is {}; only a pending or active one can be worked on", status.as_str())]
    BatchNotOpen { status: BatchStatus, completed: i64, tasks: i64 },
    #[error("{requested} tasks are more than the {tasks} of the batch")]
    MoreThanTheBatch { requested: i64, tasks: i64 },
    #[error("the batch has no task of sop_id {sop_id} with subscene_id {subscene_id}")]
    NoSuchGroup { sop_id: SopId, subscene_id: SubsceneId },
    #[error("{requested} tasks are more than the {pending} of the group that are pending")]
    MoreThanPending { requested: i64, pending: i64 },
}

impl Refused for WorkloadRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoGroups => RefusalCode::TaskGroupsEmpty,
            Self::QuantityTooSmall { .. } => RefusalCode::QuantityInvalid,
            Self::GroupRepeated { .. } => RefusalCode::TaskGroupRepeated,
            Self::TooManyTasks { .. } => RefusalCode::TooManyTasks,
            Self::BelowLocked { .. } => RefusalCode::QuantityBelowLocked,
            Self::NotYourWorkstation { .. } => RefusalCode::NotYourWorkstation,
            Self::BatchNotOpen { .. } => RefusalCode::BatchNotOpen,
            Self::MoreThanTheBatch { .. } => RefusalCode::QuantityExceedsBatch,
            Self::NoSuchGroup { .. } => RefusalCode::TaskGroupNotFound,
            Self::MoreThanPending { .. } => RefusalCode::QuantityExceedsPending,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::BelowLocked { locked, .. } => json!({ "locked": locked }),
            Self::BatchNotOpen { status, completed, tasks } => {
                json!({ "current_status": status, "completed_count": completed, "task_count": tasks })
            }
            Self::MoreThanTheBatch { requested, tasks } => json!({ "task_count": tasks, "requested": requested }),
            Self::MoreThanPending { requested, pending } => json!({ "pending_count": pending, "requested": requested }),
            Self::NoGroups
            | Self::QuantityTooSmall { .. }
            | Self::GroupRepeated { .. }
            | Self::TooManyTasks { .. }
            | Self::NotYourWorkstation { .. }
            | Self::NoSuchGroup { .. } => Value::Null,
        }
    }
}

/// Answers how many tasks the groups name; each pair stands once, and has at least so many.
pub fn check_groups(groups: &[TaskGroup], least: i64) -> Result<i64, WorkloadRefusal> {
    if groups.is_empty() {
        return Err(WorkloadRefusal::NoGroups);
    }
    if let Some(index) = groups.iter().position(|group| group.quantity < least) {
        return Err(WorkloadRefusal::QuantityTooSmall { index, least });
    }
    let mut seen = BTreeSet::new();
    match groups.iter().find(|group| !seen.insert((group.sop_id, group.subscene_id))) {
        Some(group) => Err(WorkloadRefusal::GroupRepeated { sop_id: group.sop_id, subscene_id: group.subscene_id }),
        None => Ok(total_of(groups)),
    }
}

pub fn check_total(total: i64, most: i64) -> Result<(), WorkloadRefusal> {
    if total <= most { Ok(()) } else { Err(WorkloadRefusal::TooManyTasks { total, most }) }
}

fn total_of(groups: &[TaskGroup]) -> i64 {
    groups.iter().fold(0, |total, group| total.saturating_add(group.quantity))
}

/// What makes a batch have as many tasks as was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjustment {
    pub added: Vec<TaskGroup>,
    /// Pending ones, the newest first.
    pub removed: Vec<TaskId>,
    /// The first group of which more tasks are under way or done than there are to be.
    pub too_few: Option<(TaskGroup, i64)>,
}

impl Adjustment {
    pub fn plan(groups: &[TaskGroup], tasks: &[Standing]) -> Self {
        let mut plan = Self::default();
        for group in groups {
            let pair: Vec<&Standing> = tasks.iter().filter(|task| task.is_of(group.sop_id, group.subscene_id)).collect();
            let pending: Vec<TaskId> = pair.iter().filter(|task| task.status == TaskStatus::Pending).map(|task| task.task_id).collect();
            let (current, locked) = (count(&pair), count(&pair) - count(&pending));
            if group.quantity < locked {
                plan.too_few.get_or_insert((*group, locked));
            } else if group.quantity > current {
                plan.added.push(TaskGroup { quantity: group.quantity - current, ..*group });
            } else {
                let fewer = usize::try_from(current - group.quantity).unwrap_or_default();
                plan.removed.extend(pending.into_iter().rev().take(fewer));
            }
        }
        plan
    }

    pub fn growth(&self) -> i64 {
        total_of(&self.added)
    }

    /// What was taken up is not taken out.
    pub fn check(&self) -> Result<(), WorkloadRefusal> {
        self.too_few.map_or(Ok(()), |(group, locked)| Err(WorkloadRefusal::BelowLocked { group, locked }))
    }
}

/// Tasks that were done with other equipment, as the collector of a station says.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub station: StationId,
    pub group: TaskGroup,
}

impl Completion {
    /// What the batch itself has to say, before its tasks are looked at.
    pub fn check(&self, batch: &batch::Created) -> Result<(), WorkloadRefusal> {
        let (given, tally) = (batch.brief.station_id, batch.tally);
        if given != self.station {
            return Err(WorkloadRefusal::NotYourWorkstation { given, yours: self.station });
        }
        if !batch.status.is_open() {
            return Err(WorkloadRefusal::BatchNotOpen { status: batch.status, completed: tally.completed, tasks: tally.tasks });
        }
        if self.group.quantity > tally.tasks {
            return Err(WorkloadRefusal::MoreThanTheBatch { requested: self.group.quantity, tasks: tally.tasks });
        }
        Ok(())
    }

    /// The tasks that are completed: pending ones, the oldest first.
    pub fn plan(&self, tasks: &[Standing]) -> Result<Vec<TaskId>, WorkloadRefusal> {
        let TaskGroup { sop_id, subscene_id, quantity: requested } = self.group;
        let mut of_group = tasks.iter().filter(|task| task.is_of(sop_id, subscene_id)).peekable();
        if of_group.peek().is_none() {
            return Err(WorkloadRefusal::NoSuchGroup { sop_id, subscene_id });
        }
        let mut chosen: Vec<TaskId> = of_group.filter(|task| task.status == TaskStatus::Pending).map(|task| task.task_id).collect();
        let pending = count(&chosen);
        if pending < requested {
            return Err(WorkloadRefusal::MoreThanPending { requested, pending });
        }
        chosen.truncate(usize::try_from(requested).unwrap_or_default());
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tally::Tally;
    use crate::domain::{OrderId, OrganizationId};
    use TaskStatus::{Completed, InProgress, Pending};

    fn group(sop: i64, quantity: i64) -> TaskGroup {
        TaskGroup { sop_id: SopId(sop), subscene_id: SubsceneId(1), quantity }
    }

    /// Tasks 1, 2, 3 … of SOP 1.
    fn tasks(statuses: &[TaskStatus]) -> Vec<Standing> {
        let task = |(n, status): (i64, &TaskStatus)| Standing {
            task_id: TaskId(n),
            sop_id: SopId(1),
            subscene_id: SubsceneId(1),
            status: *status,
        };
        (1..).zip(statuses).map(task).collect()
    }

    fn numbers(tasks: &[TaskId]) -> Vec<i64> {
        tasks.iter().map(|task| task.0).collect()
    }

    #[test]
    fn groups_name_each_pair_once_and_enough_tasks() {
        assert_eq!(check_groups(&[group(1, 2), group(2, 3)], 1), Ok(5));
        assert_eq!(check_groups(&[group(1, i64::MAX), group(2, 1)], 1), Ok(i64::MAX));
        let code = |groups: &[TaskGroup], least| check_groups(groups, least).map_err(|refusal| refusal.code().as_str());
        assert_eq!(code(&[], 1), Err("task_groups_empty"));
        assert_eq!(code(&[group(1, 0)], 1), Err("quantity_invalid"));
        assert_eq!(code(&[group(1, 0)], 0), Ok(0));
        assert_eq!(code(&[group(1, -1)], 0), Err("quantity_invalid"));
        assert_eq!(code(&[group(1, 1), group(1, 2)], 1), Err("task_group_repeated"));
        assert_eq!(check_total(1001, TASKS_PER_BATCH_MAX).map_err(|refusal| refusal.code().as_str()), Err("too_many_tasks"));
    }

    #[test]
    fn an_adjustment_adds_what_is_missing_and_takes_out_the_newest_that_nobody_took_up() {
        let there = tasks(&[Completed, Pending, InProgress, Pending, Pending]);
        let plan = |quantity| Adjustment::plan(&[group(1, quantity)], &there);
        assert_eq!(plan(7), Adjustment { added: vec![group(1, 2)], ..Adjustment::default() });
        assert_eq!(plan(5), Adjustment::default());
        assert_eq!(numbers(&plan(3).removed), [5, 4]);
        assert_eq!(numbers(&plan(2).removed), [5, 4, 2]);
        assert_eq!(plan(1).check(), Err(WorkloadRefusal::BelowLocked { group: group(1, 1), locked: 2 }));
        assert_eq!(plan(2).check(), Ok(()));
    }

    #[test]
    fn an_adjustment_leaves_groups_alone_that_it_does_not_name() {
        let plan = Adjustment::plan(&[group(2, 3)], &tasks(&[Pending, Pending]));
        assert_eq!((plan.growth(), plan.removed.len()), (3, 0));
        let both = Adjustment::plan(&[group(1, 0), group(2, 4)], &tasks(&[Pending, Pending]));
        assert_eq!((both.growth(), numbers(&both.removed)), (4, vec![2, 1]));
        assert_eq!(Adjustment::plan(&[group(2, i64::MAX), group(3, 1)], &[]).growth(), i64::MAX);
    }

    fn batch(status: BatchStatus, tasks: i64) -> batch::Created {
        let brief = batch::Brief {
            batch_id: "b".into(),
            order_id: OrderId(1),
            station_id: StationId(4),
            organization_id: OrganizationId(1),
            notes: None,
            metadata: None,
            task_count: tasks,
        };
        batch::Created { brief, status, tally: Tally { tasks, ..Tally::default() }, episode_count: 0, started_at: None, ended_at: None }
    }

    fn completion(station: i64, quantity: i64) -> Completion {
        Completion { station: StationId(station), group: group(1, quantity) }
    }

    #[test]
    fn a_collector_completes_tasks_of_an_open_batch_of_their_own_station() {
        let code = |completion: Completion, batch: &batch::Created| completion.check(batch).map_err(|refusal| refusal.code().as_str());
        for (status, expected) in [
            (BatchStatus::Pending, Ok(())),
            (BatchStatus::Active, Ok(())),
            (BatchStatus::Completed, Err("batch_not_open")),
            (BatchStatus::Cancelled, Err("batch_not_open")),
            (BatchStatus::Recalled, Err("batch_not_open")),
        ] {
            assert_eq!(code(completion(4, 1), &batch(status, 2)), expected, "{status:?}");
        }
        assert_eq!(code(completion(5, 1), &batch(BatchStatus::Completed, 2)), Err("not_your_workstation"));
        assert_eq!(code(completion(4, 3), &batch(BatchStatus::Active, 2)), Err("quantity_exceeds_batch"));
    }

    #[test]
    fn the_oldest_pending_tasks_of_the_group_are_completed() {
        let there = tasks(&[InProgress, Pending, Completed, Pending, Pending]);
        assert_eq!(completion(4, 2).plan(&there).map(|chosen| numbers(&chosen)), Ok(vec![2, 4]));
        assert_eq!(completion(4, 4).plan(&there), Err(WorkloadRefusal::MoreThanPending { requested: 4, pending: 3 }));
        let other = Completion { group: group(2, 1), ..completion(4, 1) };
        assert_eq!(other.plan(&there), Err(WorkloadRefusal::NoSuchGroup { sop_id: SopId(2), subscene_id: SubsceneId(1) }));
    }
}
