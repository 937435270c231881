//! Batches: tasks of one order, given to one workstation together.
//!
//! ```text
//!           first task settled          all tasks settled
//!  pending ───────────────────► active ──────────────────► completed
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tally::{Tally, TaskOutcome};
use super::{Aggregate, EpisodeId, Event, OrderId, OrganizationId, StationId, TaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    #[default]
    Absent,
    Created(Box<Created>),
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    #[default]
    Pending,
    Active,
    Completed,
    Cancelled,
    Recalled,
}

impl BatchStatus {
    pub const ALL: [(&'static str, Self); 5] = [
        ("pending", Self::Pending),
        ("active", Self::Active),
        ("completed", Self::Completed),
        ("cancelled", Self::Cancelled),
        ("recalled", Self::Recalled),
    ];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

#[derive(Clone, Debug)]
pub enum BatchCommand {
    Create(Brief),
    Settle { task_id: TaskId, outcome: TaskOutcome, at: Timestamp },
    AddEpisode { episode_id: EpisodeId },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchEvent {
    BatchCreated(Brief),
    BatchTaskSettled { task_id: TaskId, outcome: TaskOutcome },
    BatchStarted { at: Timestamp },
    BatchCompleted { at: Timestamp },
    BatchEpisodeAdded { episode_id: EpisodeId },
}

impl Event for BatchEvent {
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![
            ("batch_created", "1.0"),
            ("batch_task_settled", "1.0"),
            ("batch_started", "1.0"),
            ("batch_completed", "1.0"),
            ("batch_episode_added", "1.0"),
        ]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::BatchCreated(_) => "batch_created",
            Self::BatchTaskSettled { .. } => "batch_task_settled",
            Self::BatchStarted { .. } => "batch_started",
            Self::BatchCompleted { .. } => "batch_completed",
            Self::BatchEpisodeAdded { .. } => "batch_episode_added",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    #[error("there is no such batch")]
    NoSuchBatch,
    #[error("the batch exists already")]
    AlreadyCreated,
}

impl Batch {
    pub fn created(&self) -> Option<&Created> {
        match self {
            Batch::Absent => None,
            Batch::Created(created) => Some(created),
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
        match (self, command) {
            (Batch::Absent, C::Create(brief)) => Ok(vec![BatchEvent::BatchCreated(brief)]),
            (Batch::Created(_), C::Create(_)) => Err(BatchRefusal::AlreadyCreated),
            (Batch::Absent, C::Settle { .. } | C::AddEpisode { .. }) => Err(BatchRefusal::NoSuchBatch),
            (Batch::Created(batch), C::Settle { task_id, outcome, at }) => {
                let mut tally = batch.tally;
                tally.settle(outcome);
                let mut events = vec![BatchEvent::BatchTaskSettled { task_id, outcome }];
                match batch.status {
                    S::Pending => events.push(BatchEvent::BatchStarted { at }),
                    S::Active => {}
                    // A late upload is counted; it neither reopens nor closes anything.
                    S::Completed | S::Cancelled | S::Recalled => return Ok(events),
                }
                if tally.all_settled() {
                    events.push(BatchEvent::BatchCompleted { at });
                }
                Ok(events)
            }
            (Batch::Created(_), C::AddEpisode { episode_id }) => Ok(vec![BatchEvent::BatchEpisodeAdded { episode_id }]),
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
            (Batch::Created(batch), BatchEvent::BatchTaskSettled { outcome, .. }) => batch.tally.settle(*outcome),
            (Batch::Created(batch), BatchEvent::BatchStarted { at }) => {
                batch.status = BatchStatus::Active;
                batch.started_at.get_or_insert(*at);
            }
            (Batch::Created(batch), BatchEvent::BatchCompleted { at }) => {
                batch.status = BatchStatus::Completed;
                batch.ended_at.get_or_insert(*at);
            }
            (Batch::Created(batch), BatchEvent::BatchEpisodeAdded { .. }) => batch.episode_count += 1,
            // Nothing precedes `batch_created` in a stream.
            (Batch::Absent, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn settle(batch: &mut Batch, task: i64, outcome: TaskOutcome) -> Vec<&'static str> {
        let events = batch.decide(BatchCommand::Settle { task_id: TaskId(task), outcome, at: Timestamp::UNIX_EPOCH }).unwrap();
        events.iter().for_each(|event| batch.evolve(event));
        events.iter().map(Event::event_type).collect()
    }

    #[test]
    fn a_batch_starts_with_its_first_settled_task_and_completes_with_its_last() {
        let mut batch = batch_of(2);
        assert_eq!(settle(&mut batch, 1, TaskOutcome::Failed), ["batch_task_settled", "batch_started"]);
        assert_eq!(settle(&mut batch, 2, TaskOutcome::Completed), ["batch_task_settled", "batch_completed"]);
    }

    #[test]
    fn a_batch_of_one_starts_and_completes_at_once() {
        let mut batch = batch_of(1);
        assert_eq!(settle(&mut batch, 1, TaskOutcome::Completed), ["batch_task_settled", "batch_started", "batch_completed"]);
        assert_eq!(settle(&mut batch, 1, TaskOutcome::Completed), ["batch_task_settled"]);
    }
}
