//! Refusals: a rule saying no, with a name and with what the caller needs to do about it.

use serde_json::{Map, Value, json};

use crate::domain::batch::BatchRefusal;
use crate::domain::device::DeviceRefusal;
use crate::domain::episode::EpisodeRefusal;
use crate::domain::order::OrderRefusal;
use crate::domain::registry::RecordRefusal;
use crate::domain::station::StationRefusal;
use crate::domain::task::TaskRefusal;

/// What kind of no it is. The edges know which status goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong.
    Invalid,
    NotFound,
    /// It does not fit what is there now.
    Conflict,
    Forbidden,
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
}

impl Refusal {
    pub fn new(kind: RefusalKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, kind, message: message.into(), extra: Map::new() }
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

    pub fn with(mut self, extra: Value) -> Self {
        if let Value::Object(extra) = extra {
            self.extra.extend(extra);
        }
        self
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
        match refusal {
            BatchRefusal::NoSuchBatch => Self::not_found("batch_not_found", refusal.to_string()),
            BatchRefusal::AlreadyCreated => Self::conflict("batch_exists", refusal.to_string()),
        }
    }
}

impl From<TaskRefusal> for Refusal {
    fn from(refusal: TaskRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            TaskRefusal::NoSuchTask => Self::not_found("task_not_found", message),
            TaskRefusal::AlreadyCreated => Self::conflict("task_exists", message),
            TaskRefusal::Ended(status) => Self::conflict("task_ended", message).with(json!({ "current_status": status.as_str() })),
            TaskRefusal::OtherUpload => Self::conflict("other_upload", message),
            TaskRefusal::NothingToVerify => Self::conflict("nothing_to_verify", message),
        }
    }
}

impl From<EpisodeRefusal> for Refusal {
    fn from(refusal: EpisodeRefusal) -> Self {
        Self::conflict("episode_exists", refusal.to_string())
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
            DeviceRefusal::CommandExists => Self::conflict("command_exists", refusal.to_string()),
        }
    }
}
