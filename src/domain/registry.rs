//! The registry: the things a factory consists of, before any work is ordered.
//!
//! All of them live the same way, so there is one rule for all: a record is created
//! once, and some kinds are retired. What a record must refer to, and which names are taken, is kept by the tables.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fmt::Debug;

use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, DeviceId, Event, FactoryId, OrganizationId, RobotTypeId, SceneId, SkillId, Timestamp};

/// One kind of registry entry.
pub trait Record: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static {
    const TYPE: &'static str;
    const CREATED: &'static str;
    /// The version of that event that is written today.
    const VERSION: &'static str = "1.0";
    /// The event of its end, for what can be taken out of service.
    const RETIRED: Option<&'static str> = None;
    fn retire(&mut self) {}
    fn is_retired(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "R: Record")]
pub enum Registered<R: Record> {
    #[default]
    Absent,
    Live(R),
}

impl<R: Record> Registered<R> {
    pub fn live(&self) -> Option<&R> {
        match self {
            Self::Absent => None,
            Self::Live(record) => Some(record),
        }
    }
}

#[derive(Clone, Debug)]
pub enum RecordCommand<R> {
    Create(R),
    /// It takes no more work, for good.
    Retire {
        reason: String,
        at: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "R: Record")]
pub enum RecordEvent<R: Record> {
    Created(R),
    Retired { reason: String, at: Timestamp },
}

/// Of the event of an entry's end.
const RETIRED_VERSION: &str = "1.0";

impl<R: Record> Event for RecordEvent<R> {
    fn types() -> Vec<(&'static str, &'static str)> {
        std::iter::once((R::CREATED, R::VERSION)).chain(R::RETIRED.map(|retired| (retired, RETIRED_VERSION))).collect()
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::Created(_) => R::CREATED,
            Self::Retired { .. } => R::RETIRED.unwrap_or(R::CREATED),
        }
    }
    fn event_version(&self) -> &'static str {
        match self {
            Self::Created(_) => R::VERSION,
            Self::Retired { .. } => RETIRED_VERSION,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    #[error("the entry exists already")]
    AlreadyCreated,
    #[error("there is no such entry")]
    NoSuchEntry,
    #[error("entries of this kind are not retired")]
    NotRetirable,
}

impl Refused for RecordRefusal {
    fn code(&self) -> RefusalCode {
        RefusalCode::EntryExists
    }
}

impl<R: Record> Aggregate for Registered<R> {
    const TYPE: &'static str = R::TYPE;
    type Command = RecordCommand<R>;
    type Event = RecordEvent<R>;
    type Refusal = RecordRefusal;

    fn decide(&self, command: RecordCommand<R>) -> Result<Vec<RecordEvent<R>>, RecordRefusal> {
        match (self, command) {
            (Self::Absent, RecordCommand::Create(record)) => Ok(vec![RecordEvent::Created(record)]),
            (Self::Live(_), RecordCommand::Create(_)) => Err(RecordRefusal::AlreadyCreated),
            (Self::Absent, RecordCommand::Retire { .. }) => Err(RecordRefusal::NoSuchEntry),
            (Self::Live(_), RecordCommand::Retire { .. }) if R::RETIRED.is_none() => Err(RecordRefusal::NotRetirable),
            // Asked for again because the first answer was lost, or because something came in between.
            (Self::Live(record), RecordCommand::Retire { .. }) if record.is_retired() => Ok(vec![]),
            (Self::Live(_), RecordCommand::Retire { reason, at }) => Ok(vec![RecordEvent::Retired { reason, at }]),
        }
    }

    fn evolve(&mut self, event: &RecordEvent<R>) {
        match event {
            RecordEvent::Created(record) => *self = Self::Live(record.clone()),
            RecordEvent::Retired { .. } => {
                if let Self::Live(record) = self {
                    record.retire();
                }
            }
        }
    }
}

words! {
    /// Whether a robot takes work.
    RobotStatus {
        Active = "active",
        Maintenance = "maintenance",
        /// For good.
        Retired = "retired",
    }
    /// Whether a data collector is at work.
    CollectorStatus {
        Active = "active",
        Inactive = "inactive",
        OnLeave = "on_leave",
    }
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $created:literal $(, $version:literal)? { $($(#[$fdoc:meta])* $field:ident: $type:ty),+ $(,)? } $(-> $retired:literal)?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl Record for $name {
            const TYPE: &'static str = $kind;
            const CREATED: &'static str = $created;
            $(const VERSION: &'static str = $version;)?
            $(
                const RETIRED: Option<&'static str> = Some($retired);
                fn retire(&mut self) {
                    self.status = RobotStatus::Retired;
                }
                fn is_retired(&self) -> bool {
                    self.status == RobotStatus::Retired
                }
            )?
        }
    )+};
}

records! {
    Factory = "factory", "factory_created" {
        name: String,
        slug: String,
        location: Option<String>,
        timezone: String,
        settings: Option<Value>,
    }
    Organization = "organization", "organization_created" {
        factory_id: FactoryId,
        name: String,
        slug: String,
        description: Option<String>,
        settings: Option<Value>,
    }
    Scene = "scene", "scene_created" {
        factory_id: FactoryId,
        name: String,
        description: Option<String>,
        initial_scene_layout_template: Option<String>,
    }
    Subscene = "subscene", "subscene_created" {
        scene_id: SceneId,
        name: String,
        description: Option<String>,
        initial_scene_layout: Option<String>,
    }
    Skill = "skill", "skill_created" {
        slug: String,
        version: String,
        description: Option<String>,
        metadata: Option<Value>,
    }
    /// A standard operating procedure: which skills, in which order.
    Sop = "sop", "sop_created" {
        slug: String,
        version: String,
        description: Option<String>,
        skill_sequence: Vec<SkillId>,
    }
    RobotType = "robot_type", "robot_type_created" {
        name: String,
        model: String,
        manufacturer: Option<String>,
        end_effector: Option<String>,
        sensor_suite: Value,
        capabilities: Value,
        ros_topics: Vec<String>,
    }
    Robot = "robot", "robot_created" {
        robot_type_id: RobotTypeId,
        factory_id: FactoryId,
        device_id: DeviceId,
        asset_id: Option<String>,
        status: RobotStatus,
        metadata: Value,
    } -> "robot_retired"
    /// A person who operates a robot while it records. Who it is and the password are not part of it: what is known of
    /// people, and credentials, stand beside the log.
    DataCollector = "data_collector", "data_collector_created", "2.0" {
        organization_id: OrganizationId,
        /// In events of version 1 only, like the next two.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<String>,
        certification: Option<String>,
        status: CollectorStatus,
        metadata: Value,
    }
}
