//! One order with everything that hangs together with it: its batches, their tasks, the
//! workstations they were given to, the recorders that hold one of them.
//!
//! Quota, counters and completion of an order are decided on locked state. The order's lock
//! guards its batches and tallies as well, so it is taken first and is the only one of its kind
//! in a command; the locks of workstations, which orders share, come last and all at once.
//! So no two commands can wait for each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{CommandError, Refusal, Work, chance};
use crate::domain::batch::{Batch, BatchCommand, BatchStatus};
use crate::domain::device::{Device, DeviceCommand, NextCommand};
use crate::domain::order::{Order, OrderCommand, OrderStatus, Placed};
use crate::domain::station::{Station, StationCommand};
use crate::domain::tally::TaskOutcome;
use crate::domain::task::{Task, TaskCommand, TaskStatus};
use crate::domain::{BatchId, DeviceId, OrderId, PublicTaskId, RefusalCode, StationId, StreamId, TaskId};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, TaskFacts};

pub(super) struct Production {
    order_id: OrderId,
    order: Loaded<Order>,
    /// As they are with what was decided so far.
    batches: BTreeMap<BatchId, Loaded<Batch>>,
    /// Tasks decided on already: what the tables say of them is old.
    tasks: BTreeSet<TaskId>,
    /// Workstations some of whose batches changed their state.
    stations: BTreeSet<StationId>,
    /// Recorders that may hold a task that is over.
    holders: BTreeMap<DeviceId, BTreeSet<PublicTaskId>>,
    /// What the order was when it was locked.
    status_before: Option<OrderStatus>,
}

fn batch_status(batch: &Loaded<Batch>) -> Option<BatchStatus> {
    batch.state.created().map(|batch| batch.status)
}

impl Production {
    /// Waits for commands that change the same order, and loads it. One that the caller's scope does not contain is not there.
    /// Once something is decided, nothing is committed before [`Self::finish`].
    pub async fn lock(work: &mut Work, order_id: OrderId) -> Result<Self, CommandError> {
        let none = || Refusal::new(RefusalCode::OrderNotFound, format!("there is no order {order_id}"));
        Self::lock_of(work, order_id, none).await
    }

    /// The same where the caller asked for something of the order, and hears that this is not there.
    pub async fn lock_of(work: &mut Work, order_id: OrderId, none: impl FnOnce() -> Refusal) -> Result<Self, CommandError> {
        let order = work.lock_and_load::<Order>(order_id).await?;
        let organization = order.state.placed().map(|order| order.terms.organization_id);
        if let Some(organization) = organization
            && !work.sees(organization).await?
        {
            return Err(none().into());
        }
        let status_before = order.state.placed().map(|order| order.status);
        Ok(Self {
            order_id,
            order,
            batches: BTreeMap::new(),
            tasks: BTreeSet::new(),
            stations: BTreeSet::new(),
            holders: BTreeMap::new(),
            status_before,
        })
    }

    /// The same for a batch that is asked for by its number: the order it belongs to, and it.
    pub async fn lock_batch(work: &mut Work, batch_id: BatchId) -> Result<Self, CommandError> {
        let order_id = facts::order_of_batch(&mut work.tx, batch_id).await?.ok_or_else(|| no_batch(batch_id))?;
        let mut production = Self::lock_of(work, order_id, || no_batch(batch_id)).await?;
        production.load_batch(work, batch_id).await?;
        // It may have been deleted while we waited.
        production.batch(batch_id)?;
        Ok(production)
    }

    pub fn order(&self) -> Option<&Placed> {
        self.order.state.placed()
    }

    pub fn order_id(&self) -> OrderId {
        self.order_id
    }

    pub async fn load_batch(&mut self, work: &mut Work, batch_id: BatchId) -> Result<(), CommandError> {
        if let Entry::Vacant(place) = self.batches.entry(batch_id) {
            place.insert(work.load::<Batch>(batch_id).await?);
        }
        Ok(())
    }

    /// A batch that was loaded or created here, and is not deleted.
    pub fn batch(&self, batch_id: BatchId) -> Result<&crate::domain::batch::Created, Refusal> {
        self.batches.get(&batch_id).and_then(|batch| batch.state.created()).ok_or_else(|| no_batch(batch_id))
    }

    pub fn decide_order(&mut self, work: &mut Work, command: OrderCommand) -> Result<(), CommandError> {
        work.unfinished = Some(self.order_id);
        work.decide(&mut self.order, command)?;
        Ok(())
    }

    /// Decides on a loaded batch, or on one that does not exist yet.
    pub fn decide_batch(&mut self, work: &mut Work, batch_id: BatchId, command: BatchCommand) -> Result<(), CommandError> {
        work.unfinished = Some(self.order_id);
        let batch = self.batches.entry(batch_id).or_insert_with(|| Loaded::absent(batch_id));
        let known = batch.state.created().map(|batch| (batch.brief.station_id, batch.status));
        work.decide(batch, command)?;
        if let Some((station, before)) = known
            && batch_status(batch) != Some(before)
        {
            self.stations.insert(station);
        }
        Ok(())
    }

    /// A task of the order reached its end: its batch follows, and the order where no other task counts in its place.
    pub async fn settle(&mut self, work: &mut Work, ended: EndedTask, outcome: TaskOutcome) -> Result<(), CommandError> {
        let EndedTask { task_id, batch_id, replaced } = ended;
        self.tasks.insert(task_id);
        self.load_batch(work, batch_id).await?;
        self.decide_batch(work, batch_id, BatchCommand::Settle { task_id, outcome, at: work.now })?;
        if replaced { Ok(()) } else { self.decide_order(work, OrderCommand::Settle { task_id, outcome }) }
    }

    /// Decides on tasks of the order, given as the tables know them: a task that a device has moved since
    /// then is a conflict, because what was chosen to be done to it was chosen for another state.
    /// What a recorder may hold of them, it will be told to let go.
    pub async fn decide_tasks(
        &mut self,
        work: &mut Work,
        tasks: &[TaskFacts],
        command: impl Fn() -> TaskCommand,
    ) -> Result<(), CommandError> {
        work.unfinished = Some(self.order_id);
        let ids: Vec<String> = tasks.iter().map(|task| task.task_id.to_string()).collect();
        let mut loaded = work.load_many::<Task>(&ids).await?;
        for (facts, task) in tasks.iter().zip(&mut loaded) {
            let status = task.state.dispatched().map(|task| task.stage.status());
            if status != Some(facts.status) {
                return Err(CommandError::Conflict);
            }
            // What was taken for finished may be seen recording again, and what is pending is perhaps being configured.
            let held = facts.status.held_by_recorder() || facts.status == TaskStatus::Uploading || facts.being_given;
            task.device = facts.device_id.clone();
            work.decide(task, command())?;
            if let Some(device) = facts.device_id.clone().filter(|_| held) {
                self.holders.entry(device).or_default().insert(facts.public_id.clone());
            }
            self.tasks.insert(facts.task_id);
        }
        Ok(())
    }

    /// Fails tasks of the order, given as the tables know them, with what follows for their batches.
    pub async fn fail_tasks(&mut self, work: &mut Work, tasks: &[TaskFacts], reason: &str) -> Result<(), CommandError> {
        let at = work.now;
        self.decide_tasks(work, tasks, || TaskCommand::FailByPerson { reason: reason.to_owned(), at }).await?;
        for task in tasks {
            self.settle(work, task.into(), TaskOutcome::Failed).await?;
        }
        Ok(())
    }

    /// Cancels what is not recorded yet, and tells which tasks these are, by batch, and how many of them the order counts.
    pub async fn cancel_tasks(
        &mut self,
        work: &mut Work,
        batch_ids: &[BatchId],
    ) -> Result<BTreeMap<BatchId, (Vec<TaskId>, i64)>, CommandError> {
        const UNRECORDED: [TaskStatus; 3] = [TaskStatus::Pending, TaskStatus::Ready, TaskStatus::InProgress];
        let mut tasks = facts::tasks_of(&mut work.tx, batch_ids, &UNRECORDED).await?;
        tasks.retain(|task| !self.tasks.contains(&task.task_id));
        let at = work.now;
        self.decide_tasks(work, &tasks, || TaskCommand::Cancel { at }).await?;
        let mut cancelled: BTreeMap<BatchId, (Vec<TaskId>, i64)> = batch_ids.iter().map(|id| (*id, (vec![], 0))).collect();
        for facts in &tasks {
            let (ids, counted) = cancelled.entry(facts.batch_id).or_default();
            ids.push(facts.task_id);
            *counted += i64::from(!facts.replaced);
        }
        Ok(cancelled)
    }

    /// Ends the batch: its unrecorded tasks are cancelled with it.
    pub async fn end_batch(&mut self, work: &mut Work, batch_id: BatchId, ending: &Ending) -> Result<(), CommandError> {
        self.end_batches(work, &[batch_id], ending).await
    }

    async fn end_batches(&mut self, work: &mut Work, batch_ids: &[BatchId], ending: &Ending) -> Result<(), CommandError> {
        for (batch_id, (cancelled_tasks, counted)) in self.cancel_tasks(work, batch_ids).await? {
            let at = work.now;
            self.load_batch(work, batch_id).await?;
            let command = match ending {
                Ending::Cancel => BatchCommand::Cancel { cancelled_tasks, at },
                Ending::Recall { reason } => BatchCommand::Recall { cancelled_tasks, at, reason: reason.clone() },
                Ending::Finalize => BatchCommand::Finalize { cancelled_tasks, at },
            };
            self.decide_batch(work, batch_id, command)?;
            self.decide_order(work, OrderCommand::SettleMany { batch_id, outcome: TaskOutcome::Cancelled, count: counted })?;
        }
        Ok(())
    }

    /// What follows from all that was decided: the open batches of an order that is over now, the state
    /// of workstations, and what recorders have to let go of.
    pub async fn finish(mut self, work: &mut Work) -> Result<Finished, CommandError> {
        let status = self.order().map(|order| order.status);
        let ending = match status {
            Some(OrderStatus::Completed) => Some(Ending::Finalize),
            Some(OrderStatus::Cancelled) => Some(Ending::Cancel),
            _ => None,
        };
        if let Some(ending) = ending.filter(|_| status != self.status_before) {
            let mut open: BTreeSet<BatchId> = facts::open_batches(&mut work.tx, self.order_id).await?.into_iter().collect();
            for (id, batch) in &self.batches {
                if batch_status(batch).is_some_and(BatchStatus::is_open) {
                    open.insert(*id);
                } else {
                    open.remove(id);
                }
            }
            let open: Vec<BatchId> = open.into_iter().collect();
            if !open.is_empty() {
                self.end_batches(work, &open, &ending).await?;
            }
        }
        self.follow_stations(work).await?;
        self.release_tasks(work).await?;
        work.unfinished = None;
        Ok(Finished { batches: self.batches })
    }

    async fn follow_stations(&self, work: &mut Work) -> Result<(), CommandError> {
        if self.stations.is_empty() {
            return Ok(());
        }
        let stations: Vec<StationId> = self.stations.iter().copied().collect();
        let heads: Vec<StreamId> = stations.iter().map(StreamId::of::<Station>).collect();
        let ids: Vec<String> = stations.iter().map(ToString::to_string).collect();
        let loaded = work.tx.lock_and_load::<Station>(&heads, &ids).await?;
        // Of the time after the locks were taken: who changes a batch of these stations holds them.
        let elsewhere = facts::active_batches(&mut work.tx, &stations).await?;
        for (id, mut station) in stations.into_iter().zip(loaded) {
            let here = self.batches.values().filter_map(|batch| batch.state.created());
            let mut here = here.filter(|batch| batch.brief.station_id == id && batch.status == BatchStatus::Active);
            let untouched = |(at, batch): &(StationId, BatchId)| *at == id && !self.batches.contains_key(batch);
            let any_active = here.next().is_some() || elsewhere.iter().any(untouched);
            work.decide(&mut station, StationCommand::FollowBatches { any_active })?;
        }
        Ok(())
    }

    async fn release_tasks(&self, work: &mut Work) -> Result<(), CommandError> {
        let ids: Vec<String> = self.holders.keys().map(ToString::to_string).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let devices = work.load_many::<Device>(&ids).await?;
        for (tasks, mut device) in self.holders.values().zip(devices) {
            for task_id in tasks {
                let next = next_command(work);
                work.decide(&mut device, DeviceCommand::Release { task_id: task_id.clone(), next })?;
            }
        }
        Ok(())
    }
}

/// A task that reached its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedTask {
    pub task_id: TaskId,
    pub batch_id: BatchId,
    /// Another task counts in its place.
    pub replaced: bool,
}

impl From<&TaskFacts> for EndedTask {
    fn from(task: &TaskFacts) -> Self {
        Self { task_id: task.task_id, batch_id: task.batch_id, replaced: task.replaced }
    }
}

/// Why a batch ends before its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Cancel,
    Recall {
        reason: Option<String>,
    },
    /// Its order is completed.
    Finalize,
}

/// Everything as it will be committed.
pub(super) struct Finished {
    batches: BTreeMap<BatchId, Loaded<Batch>>,
}

impl Finished {
    pub fn batch(&self, batch_id: BatchId) -> Result<&crate::domain::batch::Created, Refusal> {
        self.batches.get(&batch_id).and_then(|batch| batch.state.created()).ok_or_else(|| no_batch(batch_id))
    }
}

/// Id and deadline for a command to a recorder that may follow.
pub(super) fn next_command(work: &Work) -> NextCommand {
    NextCommand { command_id: chance::id().to_string(), deadline: work.now + work.release_timeout }
}

fn no_batch(id: BatchId) -> Refusal {
    Refusal::new(RefusalCode::BatchNotFound, format!("there is no batch {id}"))
}
