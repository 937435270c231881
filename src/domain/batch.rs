//! Batches: tasks of one order, given to one workstation together.
//!
//! What moves a batch, from the state on the left to the one on top; `tests::MOVES` is the same table:
//!
//! ```text
//!             active               completed                          cancelled   recalled   deleted
//!  pending    first task settled   all settled, order completed       cancel      –          delete
//!  active     –                    all settled, order completed       cancel      recall     –
//!  completed  –                    –                                  –           recall     –
//!  cancelled  –                    delete, where tasks are completed  –           –          delete
//!  recalled   –                    –                                  –           –          –
//! ```
//!
//! A batch whose completed tasks are kept when it is deleted is *trimmed*: that is an event of
//! its own, and nothing else leads out of `cancelled`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::tally::{Tally, TaskOutcome};
use super::words::words;
use super::{Aggregate, EpisodeId, OrderId, OrganizationId, StationId, TaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    #[default]
    Absent,
    Created(Box<Created>),
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    pub brief: Brief,
    pub status: BatchStatus,
    pub tally: Tally,
    /// Episodes ever created for the batch; never counted down.
    pub episode_count: i64,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

/// What a batch was created with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// The id people see.
    pub batch_id: String,
    pub order_id: OrderId,
    pub station_id: StationId,
    pub organization_id: OrganizationId,
    pub notes: Option<String>,
    pub metadata: Option<Value>,
    pub task_count: i64,
}

words! {
    #[derive(Default)]
    BatchStatus {
        #[default]
        Pending = "pending",
        Active = "active",
        Completed = "completed",
        Cancelled = "cancelled",
        Recalled = "recalled",
    }
}

impl BatchStatus {
    /// Whether there is still work to do, so that its tasks may be changed.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

/// A task that is taken out of its batch, and how it had ended, if it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub task_id: TaskId,
    pub outcome: Option<TaskOutcome>,
}

/// How many were removed, by how they had ended.
pub fn tally_of(removed: &[Removed]) -> Tally {
    let mut tally = Tally::default();
    removed.iter().for_each(|task| tally.count(task.outcome));
    tally
}

#[derive(Clone, Debug)]
pub enum BatchCommand {
    Create(Brief),
    /// Tasks are added to an open batch, and pending ones taken out.
    Adjust {
        added: Vec<TaskId>,
        removed: Vec<TaskId>,
        at: Timestamp,
    },
    /// A single task was deleted, whatever the batch's state.
    RemoveTask {
        removed: Removed,
        at: Timestamp,
    },
    /// A task reached its end.
    Settle {
        task_id: TaskId,
        outcome: TaskOutcome,
        at: Timestamp,
    },
    /// Several tasks reached their end together.
    SettleMany {
        task_ids: Vec<TaskId>,
        outcome: TaskOutcome,
        at: Timestamp,
    },
    AddEpisode {
        episode_id: EpisodeId,
    },
    /// `cancelled_tasks`, here and below: those that are not recorded yet.
    Cancel {
        cancelled_tasks: Vec<TaskId>,
        at: Timestamp,
    },
    Recall {
        cancelled_tasks: Vec<TaskId>,
        at: Timestamp,
        reason: Option<String>,
    },
    /// The order is completed, so nothing more is to be recorded.
    Finalize {
        cancelled_tasks: Vec<TaskId>,
        at: Timestamp,
    },
    /// `removed`: every task that is not completed.
    Delete {
        removed: Vec<Removed>,
        at: Timestamp,
    },
}

events! {
    BatchEvent {
        BatchCreated = "batch_created", "1.0" (Brief),
        BatchAdjusted = "batch_adjusted", "1.0" { added: Vec<TaskId>, removed: Vec<TaskId> },
        BatchTaskRemoved = "batch_task_removed", "1.0" { removed: Removed },
        BatchTaskSettled = "batch_task_settled", "1.0" { task_id: TaskId, outcome: TaskOutcome },
        BatchTasksSettled = "batch_tasks_settled", "1.0" { task_ids: Vec<TaskId>, outcome: TaskOutcome },
        BatchStarted = "batch_started", "1.0" { at: Timestamp },
        BatchCompleted = "batch_completed", "1.0" { at: Timestamp },
        BatchEpisodeAdded = "batch_episode_added", "1.0" { episode_id: EpisodeId },
        BatchCancelled = "batch_cancelled", "1.0" { cancelled_tasks: Vec<TaskId>, at: Timestamp },
        BatchRecalled = "batch_recalled", "1.1" {
            cancelled_tasks: Vec<TaskId>,
            at: Timestamp,
            /// In the caller's words, where they said why; unknown in older events.
            #[serde(default)]
            reason: Option<String>,
        },
        BatchFinalized = "batch_finalized", "1.0" { cancelled_tasks: Vec<TaskId>, at: Timestamp },
        BatchTrimmed = "batch_trimmed", "1.0" { removed: Vec<Removed>, at: Timestamp },
        BatchDeleted = "batch_deleted", "1.0" { removed: Vec<Removed>, at: Timestamp },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    #[error("there is no such batch")]
    NoSuchBatch,
    #[error("the batch exists already")]
    AlreadyCreated,
    #[error("the batch is {}; only a pending or active one can be {what}", status.as_str())]
    NotOpen { status: BatchStatus, what: &'static str },
    #[error("the batch is {}; only an active or completed one can be recalled", .0.as_str())]
    NotRecallable(BatchStatus),
    #[error("the batch is {}; only a pending or cancelled one can be deleted", .0.as_str())]
    NotDeletable(BatchStatus),
}

impl Refused for BatchRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoSuchBatch => RefusalCode::BatchNotFound,
            Self::AlreadyCreated => RefusalCode::BatchExists,
            Self::NotOpen { .. } => RefusalCode::BatchNotOpen,
            Self::NotRecallable(_) => RefusalCode::BatchNotRecallable,
            Self::NotDeletable(_) => RefusalCode::BatchNotDeletable,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::NotOpen { status, .. } | Self::NotRecallable(status) | Self::NotDeletable(status) => {
                json!({ "current_status": status })
            }
            Self::NoSuchBatch | Self::AlreadyCreated => Value::Null,
        }
    }
}

impl Batch {
    pub fn created(&self) -> Option<&Created> {
        match self {
            Batch::Absent | Batch::Deleted => None,
            Batch::Created(created) => Some(created),
        }
    }
}

impl Created {
    /// The events, and what follows from the tally after them: an open batch starts with its first
    /// settled task, and is completed with its last.
    fn evaluated(&self, mut events: Vec<BatchEvent>, at: Timestamp) -> Vec<BatchEvent> {
        let mut after = self.clone();
        events.iter().for_each(|event| after.apply(event));
        let mut status = after.status;
        if status == BatchStatus::Pending && after.tally.settled() >= 1 {
            events.push(BatchEvent::BatchStarted { at });
            status = BatchStatus::Active;
        }
        if status == BatchStatus::Active && after.tally.all_settled() {
            events.push(BatchEvent::BatchCompleted { at });
        }
        events
    }

    fn must_be_open(&self, what: &'static str) -> Result<(), BatchRefusal> {
        if self.status.is_open() { Ok(()) } else { Err(BatchRefusal::NotOpen { status: self.status, what }) }
    }

    fn cancel_tasks(&mut self, tasks: &[TaskId]) {
        self.tally.settle_many(TaskOutcome::Cancelled, super::tally::count(tasks));
    }

    fn apply(&mut self, event: &BatchEvent) {
        use super::tally::count;
        match event {
            BatchEvent::BatchCreated(_) | BatchEvent::BatchDeleted { .. } => {}
            BatchEvent::BatchAdjusted { added, removed } => self.tally.tasks += count(added) - count(removed),
            BatchEvent::BatchTaskRemoved { removed } => self.tally.remove(&tally_of(&[*removed])),
            BatchEvent::BatchTaskSettled { outcome, .. } => self.tally.settle(*outcome),
            BatchEvent::BatchTasksSettled { task_ids, outcome } => self.tally.settle_many(*outcome, count(task_ids)),
            BatchEvent::BatchStarted { at } => {
                self.status = BatchStatus::Active;
                self.started_at.get_or_insert(*at);
            }
            BatchEvent::BatchCompleted { at } => {
                self.status = BatchStatus::Completed;
                self.ended_at.get_or_insert(*at);
            }
            BatchEvent::BatchEpisodeAdded { .. } => self.episode_count += 1,
            BatchEvent::BatchCancelled { cancelled_tasks, .. } => {
                self.status = BatchStatus::Cancelled;
                self.cancel_tasks(cancelled_tasks);
            }
            BatchEvent::BatchRecalled { cancelled_tasks, .. } => {
                self.status = BatchStatus::Recalled;
                self.cancel_tasks(cancelled_tasks);
            }
            BatchEvent::BatchFinalized { cancelled_tasks, at } => {
                self.status = BatchStatus::Completed;
                self.cancel_tasks(cancelled_tasks);
                self.started_at.get_or_insert(*at);
                self.ended_at.get_or_insert(*at);
            }
            BatchEvent::BatchTrimmed { removed, at } => {
                self.status = BatchStatus::Completed;
                self.tally.remove(&tally_of(removed));
                self.ended_at.get_or_insert(*at);
            }
        }
    }
}

impl Aggregate for Batch {
    const TYPE: &'static str = "batch";
    const SNAPSHOT_EVERY: Option<i64> = Some(64);
    type Command = BatchCommand;
    type Event = BatchEvent;
    type Refusal = BatchRefusal;

    fn decide(&self, command: BatchCommand) -> Result<Vec<BatchEvent>, BatchRefusal> {
        use BatchCommand as C;
        use BatchStatus as S;
        let (batch, command) = match (self, command) {
            (Batch::Absent, C::Create(brief)) => return Ok(vec![BatchEvent::BatchCreated(brief)]),
            (Batch::Created(_) | Batch::Deleted, C::Create(_)) => return Err(BatchRefusal::AlreadyCreated),
            (Batch::Absent | Batch::Deleted, _) => return Err(BatchRefusal::NoSuchBatch),
            (Batch::Created(batch), command) => (batch, command),
        };
        match command {
            C::Create(_) => Err(BatchRefusal::AlreadyCreated),
            C::Adjust { added, removed, at } => {
                batch.must_be_open("adjusted")?;
                let nothing = added.is_empty() && removed.is_empty();
                let events = if nothing { vec![] } else { vec![BatchEvent::BatchAdjusted { added, removed }] };
                Ok(batch.evaluated(events, at))
            }
            C::RemoveTask { removed, at } => Ok(batch.evaluated(vec![BatchEvent::BatchTaskRemoved { removed }], at)),
            // A late upload is counted; it neither reopens nor closes anything.
            C::Settle { task_id, outcome, at } => Ok(batch.evaluated(vec![BatchEvent::BatchTaskSettled { task_id, outcome }], at)),
            C::SettleMany { task_ids, outcome, at } => {
                batch.must_be_open("worked on")?;
                Ok(batch.evaluated(vec![BatchEvent::BatchTasksSettled { task_ids, outcome }], at))
            }
            C::AddEpisode { episode_id } => Ok(vec![BatchEvent::BatchEpisodeAdded { episode_id }]),
            C::Cancel { cancelled_tasks, at } => {
                batch.must_be_open("cancelled")?;
                Ok(vec![BatchEvent::BatchCancelled { cancelled_tasks, at }])
            }
            C::Recall { cancelled_tasks, at, reason } => match batch.status {
                S::Active | S::Completed => Ok(vec![BatchEvent::BatchRecalled { cancelled_tasks, at, reason }]),
                S::Pending | S::Cancelled | S::Recalled => Err(BatchRefusal::NotRecallable(batch.status)),
            },
            C::Finalize { cancelled_tasks, at } => match batch.status {
                S::Pending | S::Active => Ok(vec![BatchEvent::BatchFinalized { cancelled_tasks, at }]),
                S::Completed | S::Cancelled | S::Recalled => Ok(vec![]),
            },
            C::Delete { removed, at } => match batch.status {
                S::Pending | S::Cancelled if batch.tally.completed == 0 => Ok(vec![BatchEvent::BatchDeleted { removed, at }]),
                S::Pending | S::Cancelled => Ok(vec![BatchEvent::BatchTrimmed { removed, at }]),
                S::Active | S::Completed | S::Recalled => Err(BatchRefusal::NotDeletable(batch.status)),
            },
        }
    }

    fn touches(event: &BatchEvent) -> bool {
        !matches!(event, BatchEvent::BatchEpisodeAdded { .. })
    }

    fn evolve(&mut self, event: &BatchEvent) {
        match (&mut *self, event) {
            (_, BatchEvent::BatchCreated(brief)) => {
                *self = Batch::Created(Box::new(Created {
                    tally: Tally { tasks: brief.task_count, ..Tally::default() },
                    brief: brief.clone(),
                    status: BatchStatus::Pending,
                    episode_count: 0,
                    started_at: None,
                    ended_at: None,
                }));
            }
            (_, BatchEvent::BatchDeleted { .. }) => *self = Batch::Deleted,
            (Batch::Created(batch), event) => batch.apply(event),
            // Nothing precedes `batch_created` in a stream, and nothing follows `batch_deleted`.
            (Batch::Absent | Batch::Deleted, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Event;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn batch_of(task_count: i64) -> Batch {
        let mut batch = Batch::default();
        batch.evolve(&BatchEvent::BatchCreated(Brief {
            batch_id: "batch_x".into(),
            order_id: OrderId(1),
            station_id: StationId(1),
            organization_id: OrganizationId(1),
            notes: None,
            metadata: None,
            task_count,
        }));
        batch
    }

    /// A batch of two tasks in some state, with so many of them completed.
    fn batch_in(status: BatchStatus, completed: i64) -> Batch {
        let Batch::Created(mut batch) = batch_of(2) else { unreachable!() };
        batch.status = status;
        batch.tally.completed = completed;
        Batch::Created(batch)
    }

    fn run(batch: &mut Batch, command: BatchCommand) -> Result<Vec<&'static str>, BatchRefusal> {
        let events = batch.decide(command)?;
        events.iter().for_each(|event| batch.evolve(event));
        Ok(events.iter().map(Event::event_type).collect())
    }

    fn settle(task: i64, outcome: TaskOutcome) -> BatchCommand {
        BatchCommand::Settle { task_id: TaskId(task), outcome, at: NOW }
    }

    /// The commands of the table below, by name.
    fn command(name: &str) -> BatchCommand {
        let task = || vec![TaskId(1)];
        let removed = || vec![Removed { task_id: TaskId(1), outcome: None }];
        match name {
            "settle one of two" => settle(1, TaskOutcome::Failed),
            "complete externally" => BatchCommand::SettleMany { task_ids: task(), outcome: TaskOutcome::Completed, at: NOW },
            "adjust" => BatchCommand::Adjust { added: task(), removed: vec![], at: NOW },
            "cancel" => BatchCommand::Cancel { cancelled_tasks: task(), at: NOW },
            "recall" => BatchCommand::Recall { cancelled_tasks: task(), at: NOW, reason: None },
            "finalize" => BatchCommand::Finalize { cancelled_tasks: task(), at: NOW },
            "delete" => BatchCommand::Delete { removed: removed(), at: NOW },
            other => panic!("no command is called {other}"),
        }
    }

    use BatchStatus::{Active, Cancelled, Completed, Pending, Recalled};

    /// Every command in every state (pending, active, completed, cancelled, recalled): the state
    /// afterwards; `None` where it is refused. Nothing is completed before.
    const MOVES: [(&str, [Option<BatchStatus>; 5]); 6] = [
        ("settle one of two", [Some(Active), Some(Active), Some(Completed), Some(Cancelled), Some(Recalled)]),
        ("complete externally", [Some(Active), Some(Active), None, None, None]),
        ("adjust", [Some(Pending), Some(Active), None, None, None]),
        ("cancel", [Some(Cancelled), Some(Cancelled), None, None, None]),
        ("recall", [None, Some(Recalled), Some(Recalled), None, None]),
        ("finalize", [Some(Completed), Some(Completed), Some(Completed), Some(Cancelled), Some(Recalled)]),
    ];

    #[test]
    fn every_command_in_every_state() {
        for (name, row) in MOVES {
            for (&status, expected) in BatchStatus::ALL.iter().zip(row) {
                let word = status.as_str();
                let mut batch = batch_in(status, 0);
                let before = batch.clone();
                let outcome = run(&mut batch, command(name));
                match expected {
                    Some(after) => {
                        outcome.unwrap_or_else(|refusal| panic!("{name} of a batch that is {word}: {refusal}"));
                        assert_eq!(batch.created().unwrap().status, after, "{name} of a batch that is {word}");
                    }
                    None => {
                        assert!(outcome.is_err(), "{name} of a batch that is {word}");
                        assert_eq!(batch, before);
                    }
                }
            }
        }
    }

    #[test]
    fn deleting_keeps_completed_work_and_needs_a_batch_that_nobody_works_on() {
        for &status in BatchStatus::ALL {
            let word = status.as_str();
            let deletable = matches!(status, Pending | Cancelled);
            let mut empty = batch_in(status, 0);
            assert_eq!(run(&mut empty, command("delete")).is_ok(), deletable, "{word}");
            assert_eq!(empty == Batch::Deleted, deletable, "{word}");
            let mut worked_on = batch_in(status, 1);
            assert_eq!(run(&mut worked_on, command("delete")).is_ok(), deletable, "{word}");
            let worked_on = worked_on.created().unwrap();
            let expected = if deletable { (Completed, 1, 1) } else { (status, 2, 1) };
            assert_eq!((worked_on.status, worked_on.tally.tasks, worked_on.tally.completed), expected, "{word}");
        }
    }

    #[test]
    fn a_batch_starts_with_its_first_settled_task_and_completes_with_its_last() {
        let mut batch = batch_of(2);
        assert_eq!(run(&mut batch, settle(1, TaskOutcome::Failed)).unwrap(), ["batch_task_settled", "batch_started"]);
        assert_eq!(run(&mut batch, settle(2, TaskOutcome::Completed)).unwrap(), ["batch_task_settled", "batch_completed"]);
    }

    #[test]
    fn a_batch_of_one_starts_and_completes_at_once() {
        let mut batch = batch_of(1);
        let all = ["batch_task_settled", "batch_started", "batch_completed"];
        assert_eq!(run(&mut batch, settle(1, TaskOutcome::Completed)).unwrap(), all);
    }

    #[test]
    fn taking_out_the_last_open_tasks_completes_the_batch() {
        let mut batch = batch_of(3);
        run(&mut batch, settle(1, TaskOutcome::Completed)).unwrap();
        let adjust = BatchCommand::Adjust { added: vec![], removed: vec![TaskId(2)], at: NOW };
        assert_eq!(run(&mut batch, adjust).unwrap(), ["batch_adjusted"]);
        let remove = BatchCommand::RemoveTask { removed: Removed { task_id: TaskId(3), outcome: None }, at: NOW };
        assert_eq!(run(&mut batch, remove).unwrap(), ["batch_task_removed", "batch_completed"]);
    }

    #[test]
    fn a_batch_without_tasks_is_neither_started_nor_completed() {
        let mut batch = batch_of(1);
        let adjust = BatchCommand::Adjust { added: vec![], removed: vec![TaskId(1)], at: NOW };
        assert_eq!(run(&mut batch, adjust).unwrap(), ["batch_adjusted"]);
        assert_eq!(batch.created().unwrap().status, Pending);
    }
}
