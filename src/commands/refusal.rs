//! Refusals: a rule saying no, with a name and with what the caller needs to do about it.

use serde_json::{Map, Value, json};

use crate::domain::StreamId;
use crate::domain::batch::{BatchRefusal, BatchStatus};
use crate::domain::device::DeviceRefusal;
use crate::domain::episode::EpisodeRefusal;
use crate::domain::order::OrderRefusal;
use crate::domain::registry::RecordRefusal;
use crate::domain::station::StationRefusal;
use crate::domain::task::TaskRefusal;
use crate::domain::template::TemplateRefusal;
use crate::domain::token::TokenRefusal;
use crate::eventstore::StoredEvent;

/// What kind of no it is. The edges know which status goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong.
    Invalid,
    NotFound,
    /// It does not fit what is there now.
    Conflict,
    Forbidden,
    /// It contradicts what the same caller said before.
    Unprocessable,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stands in `docs/problems.md`.
    pub code: &'static str,
    pub kind: RefusalKind,
    pub message: String,
    /// Values the caller needs, beside the text.
    pub extra: Map<String, Value>,
    pub because: Option<Box<Because>>,
}

/// The stream whose state says no, and which of its events can have made it so; none named: any.
#[derive(Clone, Debug, PartialEq)]
pub struct Because {
    pub stream: StreamId,
    pub types: &'static [&'static str],
}

impl Refusal {
    pub fn new(kind: RefusalKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, kind, message: message.into(), extra: Map::new(), because: None }
    }

    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, code, message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, code, message)
    }

    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Forbidden, code, message)
    }

    /// The state of this stream is the reason. Which of its events made the state follows from what is refused.
    pub fn about(mut self, stream: &StreamId) -> Self {
        // Asking for what never was, or saying what cannot be, has no history.
        if matches!(self.kind, RefusalKind::Conflict) || !makers_of(self.code).is_empty() {
            self.because = Some(Box::new(Because { stream: stream.clone(), types: makers_of(self.code) }));
        }
        self
    }

    /// Adds the event that made things as they are: to the text for people, as `because` for programs.
    pub fn made_so_by(mut self, event: &StoredEvent) -> Self {
        let text = |key: &str| event.metadata.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
        let (stream, at, actor) = (format!("{}/{}", event.aggregate_type, event.aggregate_id), text("occurred_at"), text("actor"));
        self.message += &format!("; since {}, event {} of {stream}, at {at} by {actor}", event.event_type, event.sequence);
        let because = json!({ "stream": stream, "sequence": event.sequence, "event": event.event_type, "at": at, "actor": actor });
        self.extra.insert("because".to_owned(), because);
        self
    }

    pub fn with(mut self, extra: Value) -> Self {
        if let Value::Object(extra) = extra {
            self.extra.extend(extra);
        }
        self
    }
}

/// The code of: another program has the device's connection and keeps it.
pub const CONTESTED: &str = "device_contested";

/// The code of: on its present connection the recorder has not told what it does.
pub const STATE_NOT_TOLD: &str = "recorder_state_syncing";

/// The events that can have made the state a refusal is about.
fn makers_of(code: &str) -> &'static [&'static str] {
    match code {
        "order_not_open" | "order_status_not_reachable" => {
            &["order_placed", "order_started", "order_paused", "order_resumed", "order_completed", "order_cancelled", "order_reopened"]
        }
        "quota_exceeded" => &["order_placed", "order_revised", "order_tasks_dispatched", "order_tasks_removed"],
        "target_below_completed" => &["order_task_settled", "order_tasks_settled"],
        "order_has_batches" | "order_has_tasks" => &["order_tasks_dispatched"],
        "batch_not_open" | "batch_not_recallable" | "batch_not_deletable" => {
            &["batch_created", "batch_started", "batch_completed", "batch_cancelled", "batch_recalled", "batch_finalized", "batch_trimmed"]
        }
        "quantity_below_locked" | "quantity_exceeds_batch" | "quantity_exceeds_pending" => {
            &["batch_created", "batch_adjusted", "batch_task_removed", "batch_task_settled", "batch_tasks_settled"]
        }
        _ => &[],
    }
}

/// The rule behind a table's constraint, in the words of whoever broke it.
pub(super) fn of_constraint(constraint: &str) -> Option<Refusal> {
    let taken = |what: &str| Refusal::invalid("name_taken", format!("{what} is in use already"));
    Some(match constraint {
        "factory_names_are_unique" => taken("a factory of this name"),
        "organization_names_are_unique" => taken("an organization of this name"),
        "scene_names_are_unique" => taken("a scene of this name"),
        "subscene_names_are_unique_per_scene" => taken("a subscene of this name in this scene"),
        "skill_slug_and_version_are_unique" => taken("this slug and version of a skill"),
        "sop_slug_and_version_are_unique" => taken("this slug and version of an SOP"),
        "robot_type_models_are_unique" => taken("a robot type of this model"),
        "device_ids_are_unique" => taken("this device_id"),
        "operator_ids_are_unique" => taken("this operator_id"),
        "order_names_are_unique_per_organization" => taken("an order of this name in this organization"),
        "one_current_station_per_robot" => Refusal::conflict("robot_already_assigned", "the robot is bound to another station")
            .with(json!({ "error": "ROBOT_ALREADY_ASSIGNED" })),
        "one_current_station_per_collector" => {
            Refusal::conflict("data_collector_already_assigned", "the data collector is bound to another station")
                .with(json!({ "error": "DATA_COLLECTOR_ALREADY_ASSIGNED" }))
        }
        "one_episode_per_task" => Refusal::conflict("episode_exists", "the task has an episode already"),
        "one_episode_per_object" => {
            Refusal::conflict("object_belongs_to_another_episode", "the object belongs to an episode of another task")
        }
        _ => return None,
    })
}

impl From<OrderRefusal> for Refusal {
    fn from(refusal: OrderRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            OrderRefusal::NoSuchOrder => Self::not_found("order_not_found", message),
            OrderRefusal::TargetBelowCompleted { completed, .. } => {
                Self::invalid("target_below_completed", message).with(json!({ "completed_count": completed }))
            }
            OrderRefusal::UnknownStatus => Self::invalid("order_status_unknown", message),
            OrderRefusal::StatusNotReachable { from, .. } => {
                Self::conflict("order_status_not_reachable", message).with(json!({ "current_status": from.as_str() }))
            }
            OrderRefusal::HasBatches => Self::invalid("order_has_batches", message),
            OrderRefusal::HasTasks => Self::invalid("order_has_tasks", message),
            OrderRefusal::AlreadyPlaced => Self::conflict("order_exists", message),
            OrderRefusal::FactoryMismatch { .. } => Self::invalid("factory_mismatch", message),
            OrderRefusal::TargetNotPositive => Self::invalid("target_count_invalid", message),
            OrderRefusal::NotOpen(status) => Self::conflict("order_not_open", message).with(json!({ "current_status": status.as_str() })),
            OrderRefusal::QuotaExceeded { target_count, task_count, remaining, requested } => Self::invalid("quota_exceeded", message)
                .with(json!({
                    "target_count": target_count, "task_count": task_count, "remaining": remaining, "requested": requested,
                })),
        }
    }
}

impl From<BatchRefusal> for Refusal {
    fn from(refusal: BatchRefusal) -> Self {
        let message = refusal.to_string();
        let in_state = |code, status: BatchStatus| Self::conflict(code, message.clone()).with(json!({ "current_status": status.as_str() }));
        match refusal {
            BatchRefusal::NoSuchBatch => Self::not_found("batch_not_found", message),
            BatchRefusal::AlreadyCreated => Self::conflict("batch_exists", message),
            BatchRefusal::NotOpen { status, .. } => in_state("batch_not_open", status),
            BatchRefusal::NotRecallable(status) => in_state("batch_not_recallable", status),
            BatchRefusal::NotDeletable(status) => in_state("batch_not_deletable", status),
        }
    }
}

impl From<TaskRefusal> for Refusal {
    fn from(refusal: TaskRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            TaskRefusal::NoSuchTask => Self::not_found("task_not_found", message),
            TaskRefusal::AlreadyCreated => Self::conflict("task_exists", message),
            TaskRefusal::Ended(status) | TaskRefusal::Over(status) => {
                Self::conflict("task_ended", message).with(json!({ "current_status": status.as_str() }))
            }
            TaskRefusal::OtherUpload => Self::conflict("other_upload", message),
            TaskRefusal::NotPending(status) => {
                Self::conflict("task_not_pending", message).with(json!({ "current_status": status.as_str() }))
            }
            TaskRefusal::NotDeletable(status) => {
                Self::conflict("task_not_deletable", message).with(json!({ "current_status": status.as_str() }))
            }
            TaskRefusal::NothingToVerify => Self::conflict("nothing_to_verify", message),
        }
    }
}

impl From<EpisodeRefusal> for Refusal {
    fn from(refusal: EpisodeRefusal) -> Self {
        match refusal {
            EpisodeRefusal::AlreadyCreated => Self::conflict("episode_exists", refusal.to_string()),
            EpisodeRefusal::NoSuchEpisode => Self::not_found("episode_not_found", refusal.to_string()),
        }
    }
}

impl From<RecordRefusal> for Refusal {
    fn from(refusal: RecordRefusal) -> Self {
        Self::conflict("entry_exists", refusal.to_string())
    }
}

impl From<StationRefusal> for Refusal {
    fn from(refusal: StationRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            StationRefusal::NoSuchStation => Self::not_found("station_not_found", message),
            StationRefusal::AlreadyBound => Self::conflict("station_exists", message),
            StationRefusal::RobotNotActive(_) => Self::invalid("robot_not_active", message),
            StationRefusal::CollectorNotActive(_) => Self::invalid("data_collector_not_active", message),
            StationRefusal::FactoryMismatch { .. } => Self::invalid("factory_mismatch", message),
        }
    }
}

impl From<DeviceRefusal> for Refusal {
    fn from(refusal: DeviceRefusal) -> Self {
        match refusal {
            DeviceRefusal::RecorderNotConnected => Self::not_found("recorder_not_connected", refusal.to_string()),
            DeviceRefusal::StateNotTold => Self::conflict(STATE_NOT_TOLD, refusal.to_string()),
            DeviceRefusal::CommandExists => Self::conflict("command_exists", refusal.to_string()),
            DeviceRefusal::Contested { .. } => Self::conflict("device_contested", refusal.to_string()),
        }
    }
}

impl From<TokenRefusal> for Refusal {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {}
    }
}

impl From<TemplateRefusal> for Refusal {
    fn from(refusal: TemplateRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            TemplateRefusal::Blank => Self::invalid("template_blank", message),
            TemplateRefusal::TooLarge => Self::invalid("template_too_large", message),
            TemplateRefusal::LiteralSecret { line, name, kind } => Self::invalid("template_with_secret", message)
                .with(json!({ "line": line, "name": name, "placeholder": kind.placeholder() })),
        }
    }
}
