//! Refusals: a rule saying no, with a name and with what the caller needs to do about it.

use serde_json::{Map, Value, json};

use crate::domain::{RefusalCode, RefusalKind, Refused, StreamId};
use crate::eventstore::StoredEvent;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stands in `docs/problems.md`.
    pub code: RefusalCode,
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
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, kind: code.kind(), message: message.into(), extra: Map::new(), because: None }
    }

    /// Where something that the request names is not there, the request is wrong.
    pub fn invalid(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Invalid, ..Self::new(code, message) }
    }

    /// The state of this stream is the reason. Which of its events made the state follows from what is refused.
    pub fn about(mut self, stream: &StreamId) -> Self {
        // Asking for what never was, or saying what cannot be, has no history.
        let types = self.code.made_by();
        if self.kind == RefusalKind::Conflict || !types.is_empty() {
            self.because = Some(Box::new(Because { stream: stream.clone(), types }));
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

/// The rule behind a table's constraint, in the words of the caller who broke it.
pub(super) fn of_constraint(constraint: &str) -> Option<Refusal> {
    let taken = |what: &str| Refusal::new(RefusalCode::NameTaken, format!("{what} is in use already"));
    Some(match constraint {
        "factory_names_are_unique" => taken("a factory of this name"),
        "organization_names_are_unique" => taken("an organization of this name"),
        "scene_names_are_unique" => taken("a scene of this name"),
        "subscene_names_are_unique_per_scene" => taken("a subscene of this name in this scene"),
        "skill_slug_and_version_are_unique" => taken("this slug and version of a skill"),
        "sop_slug_and_version_are_unique" => taken("this slug and version of an SOP"),
        "robot_type_models_are_unique" => taken("a robot type of this model"),
        "device_ids_are_unique" => taken("this device_id"),
        "inspector_ids_are_unique" => taken("this inspector_id"),
        "login_names_are_unique" => taken("this login_name"),
        "operator_ids_are_unique" => taken("this operator_id"),
        "order_names_are_unique_per_organization" => taken("an order of this name in this organization"),
        "one_current_station_per_robot" => Refusal::new(RefusalCode::RobotAlreadyAssigned, "the robot is bound to another station")
            .with(json!({ "error": "ROBOT_ALREADY_ASSIGNED" })),
        "one_current_station_per_collector" => {
            Refusal::new(RefusalCode::DataCollectorAlreadyAssigned, "the data collector is bound to another station")
                .with(json!({ "error": "DATA_COLLECTOR_ALREADY_ASSIGNED" }))
        }
        "one_active_run_of_a_single_kind" => Refusal::new(RefusalCode::BulkRunActive, "a run of this kind is active, and only one may be"),
        "one_active_suite_per_scope" | "one_suite_per_name_and_version" => Refusal::new(
            RefusalCode::SuiteActivatedMeanwhile,
            "another suite was drafted or put to use at the same moment; look, and try again",
        ),
        "one_reference_per_version" => {
            Refusal::new(RefusalCode::ReferenceExists, "another reference was made at the same moment; look, and try again")
        }
        "one_episode_per_task" => Refusal::new(RefusalCode::EpisodeExists, "the task has an episode already"),
        "one_episode_per_object" => {
            Refusal::new(RefusalCode::ObjectBelongsToAnotherEpisode, "the object belongs to an episode of another task")
        }
        _ => return None,
    })
}

impl<R: Refused> From<R> for Refusal {
    fn from(refused: R) -> Self {
        Self::new(refused.code(), refused.to_string()).with(refused.values())
    }
}
