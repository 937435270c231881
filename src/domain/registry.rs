//! The registry: the things a factory consists of, before any work is ordered.
//!
//! All of them live the same way, so there is one rule for all: a record is created once, changed, and deleted; some kinds are retired, and
//! robots are bound to an asset of the data platform. What a record must refer to, and what keeps it from being deleted, is looked up by
//! `commands::registry`; which names are taken, is kept by the tables. `docs/registry.md` has it all in one place.

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
    /// The event of another state of it.
    const CHANGED: &'static str;
    const DELETED: &'static str;
    /// The event of its end, for what can be taken out of service.
    const RETIRED: Option<&'static str> = None;
    fn retire(&mut self) {}
    fn is_retired(&self) -> bool {
        false
    }
    /// For what the data platform knows as a device.
    const ASSET: Option<AssetEvents> = None;
    fn asset(&self) -> Option<&str> {
        None
    }
    fn set_asset(&mut self, _: Option<&str>) {}
}

/// The events of an asset that is bound, and of one that is unbound.
#[derive(Clone, Copy, Debug)]
pub struct AssetEvents {
    pub bound: &'static str,
    pub unbound: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "R: Record")]
pub enum Registered<R: Record> {
    #[default]
    Absent,
    Live(R),
    /// Its id and its history stay; what was unique of it is free.
    Deleted,
}

/// A stream that may hold an entry.
pub trait Live<R> {
    /// The entry, where it is there.
    fn live(&self) -> Option<&R>;
}

impl<R: Record> Live<R> for Registered<R> {
    fn live(&self) -> Option<&R> {
        match self {
            Self::Absent | Self::Deleted => None,
            Self::Live(record) => Some(record),
        }
    }
}

#[derive(Clone, Debug)]
pub enum RecordCommand<R> {
    Create(R),
    /// It is this from now on.
    Change {
        to: R,
        /// Whether something that stands beside the log changes with it.
        beside: bool,
    },
    /// That nothing needs it any more, the caller has seen.
    Delete,
    /// It takes no more work.
    Retire {
        reason: String,
        at: Timestamp,
    },
    /// The data platform knows it as this device, and as no other.
    BindAsset {
        asset_id: String,
    },
    UnbindAsset,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "R: Record")]
pub enum RecordEvent<R: Record> {
    Created(R),
    /// As it is now.
    Changed(R),
    Deleted {},
    Retired {
        reason: String,
        at: Timestamp,
    },
    AssetBound {
        asset_id: String,
    },
    AssetUnbound {},
}

/// Of the events after an entry's first.
const LATER_VERSION: &str = "1.0";

impl<R: Record> Event for RecordEvent<R> {
    fn types() -> Vec<(&'static str, &'static str)> {
        let of_assets = R::ASSET.into_iter().flat_map(|events| [events.bound, events.unbound]);
        let later = [R::CHANGED, R::DELETED].into_iter().chain(R::RETIRED).chain(of_assets).map(|later| (later, LATER_VERSION));
        std::iter::once((R::CREATED, R::VERSION)).chain(later).collect()
    }
    fn event_type(&self) -> &'static str {
        // What a kind has no event for, it does not decide.
        match self {
            Self::Created(_) => R::CREATED,
            Self::Changed(_) => R::CHANGED,
            Self::Deleted {} => R::DELETED,
            Self::Retired { .. } => R::RETIRED.unwrap_or(R::CREATED),
            Self::AssetBound { .. } => R::ASSET.map_or(R::CREATED, |events| events.bound),
            Self::AssetUnbound {} => R::ASSET.map_or(R::CREATED, |events| events.unbound),
        }
    }
    fn event_version(&self) -> &'static str {
        match self {
            Self::Created(_) => R::VERSION,
            Self::Changed(_) | Self::Deleted {} | Self::Retired { .. } | Self::AssetBound { .. } | Self::AssetUnbound {} => LATER_VERSION,
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
    #[error("entries of this kind are no devices of the data platform")]
    NoDevice,
    #[error("it is retired, and records nothing any more")]
    Retired,
}

impl Refused for RecordRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Retired => RefusalCode::RobotRetired,
            Self::NoSuchEntry => RefusalCode::EntryNotFound,
            // Only the first is ever asked for.
            Self::AlreadyCreated | Self::NotRetirable | Self::NoDevice => RefusalCode::EntryExists,
        }
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
            // No id is given twice.
            (Self::Live(_) | Self::Deleted, RecordCommand::Create(_)) => Err(RecordRefusal::AlreadyCreated),
            (
                Self::Absent | Self::Deleted,
                RecordCommand::Change { .. }
                | RecordCommand::Delete
                | RecordCommand::Retire { .. }
                | RecordCommand::BindAsset { .. }
                | RecordCommand::UnbindAsset,
            ) => Err(RecordRefusal::NoSuchEntry),
            (Self::Live(record), RecordCommand::Change { to, beside }) if *record == to && !beside => Ok(vec![]),
            (Self::Live(_), RecordCommand::Change { to, .. }) => Ok(vec![RecordEvent::Changed(to)]),
            (Self::Live(_), RecordCommand::Delete) => Ok(vec![RecordEvent::Deleted {}]),
            (Self::Live(_), RecordCommand::Retire { .. }) if R::RETIRED.is_none() => Err(RecordRefusal::NotRetirable),
            // Asked for again because the first answer was lost, or because something came in between.
            (Self::Live(record), RecordCommand::Retire { .. }) if record.is_retired() => Ok(vec![]),
            (Self::Live(_), RecordCommand::Retire { reason, at }) => Ok(vec![RecordEvent::Retired { reason, at }]),
            (Self::Live(_), RecordCommand::BindAsset { .. } | RecordCommand::UnbindAsset) if R::ASSET.is_none() => {
                Err(RecordRefusal::NoDevice)
            }
            (Self::Live(record), RecordCommand::BindAsset { asset_id }) if record.asset() == Some(&*asset_id) => Ok(vec![]),
            // Its asset is free for another one, and that could be any.
            (Self::Live(record), RecordCommand::BindAsset { .. }) if record.is_retired() => Err(RecordRefusal::Retired),
            (Self::Live(_), RecordCommand::BindAsset { asset_id }) => Ok(vec![RecordEvent::AssetBound { asset_id }]),
            (Self::Live(record), RecordCommand::UnbindAsset) if record.asset().is_none() => Ok(vec![]),
            // Also of one that is retired: what it still uploads is nobody's then.
            (Self::Live(_), RecordCommand::UnbindAsset) => Ok(vec![RecordEvent::AssetUnbound {}]),
        }
    }

    fn evolve(&mut self, event: &RecordEvent<R>) {
        match (self, event) {
            (state, RecordEvent::Created(record) | RecordEvent::Changed(record)) => *state = Self::Live(record.clone()),
            (state, RecordEvent::Deleted {}) => *state = Self::Deleted,
            (Self::Live(record), RecordEvent::Retired { .. }) => record.retire(),
            (Self::Live(record), RecordEvent::AssetBound { asset_id }) => record.set_asset(Some(asset_id)),
            (Self::Live(record), RecordEvent::AssetUnbound {}) => record.set_asset(None),
            (Self::Absent | Self::Deleted, RecordEvent::Retired { .. } | RecordEvent::AssetBound { .. } | RecordEvent::AssetUnbound {}) => {
            }
        }
    }
}

words! {
    /// Whether a robot takes work.
    RobotStatus {
        Active = "active",
        Maintenance = "maintenance",
        /// Out of service, until a person says otherwise.
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
    ($($(#[$doc:meta])* $name:ident = $kind:literal $(, $version:literal)? { $($(#[$fdoc:meta])* $field:ident: $type:ty),+ $(,)? } $(-> $retired:literal, $bound:literal, $unbound:literal)?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl Record for $name {
            const TYPE: &'static str = $kind;
            const CREATED: &'static str = concat!($kind, "_created");
            const CHANGED: &'static str = concat!($kind, "_changed");
            const DELETED: &'static str = concat!($kind, "_deleted");
            $(const VERSION: &'static str = $version;)?
            $(
                const RETIRED: Option<&'static str> = Some($retired);
                fn retire(&mut self) {
                    self.status = RobotStatus::Retired;
                }
                fn is_retired(&self) -> bool {
                    self.status == RobotStatus::Retired
                }
                const ASSET: Option<AssetEvents> = Some(AssetEvents { bound: $bound, unbound: $unbound });
                fn asset(&self) -> Option<&str> {
                    self.asset_id.as_deref()
                }
                fn set_asset(&mut self, asset_id: Option<&str>) {
                    self.asset_id = asset_id.map(str::to_owned);
                }
            )?
        }
    )+};
}

records! {
    Factory = "factory" {
        name: String,
        slug: String,
        location: Option<String>,
        timezone: String,
        settings: Option<Value>,
    }
    Organization = "organization" {
        factory_id: FactoryId,
        name: String,
        slug: String,
        description: Option<String>,
        settings: Option<Value>,
    }
    Scene = "scene" {
        factory_id: FactoryId,
        name: String,
        description: Option<String>,
        initial_scene_layout_template: Option<String>,
    }
    Subscene = "subscene" {
        scene_id: SceneId,
        name: String,
        description: Option<String>,
        initial_scene_layout: Option<String>,
    }
    Skill = "skill" {
        slug: String,
        version: String,
        description: Option<String>,
        metadata: Option<Value>,
    }
    /// A standard operating procedure: which skills, in which order.
    Sop = "sop" {
        slug: String,
        version: String,
        description: Option<String>,
        skill_sequence: Vec<SkillId>,
    }
    RobotType = "robot_type" {
        name: String,
        model: String,
        manufacturer: Option<String>,
        end_effector: Option<String>,
        sensor_suite: Value,
        capabilities: Value,
        ros_topics: Vec<String>,
    }
    Robot = "robot" {
        robot_type_id: RobotTypeId,
        factory_id: FactoryId,
        device_id: DeviceId,
        /// The device that the data platform knows it as; where no gateway is, whatever its owners number it as.
        asset_id: Option<String>,
        status: RobotStatus,
        metadata: Value,
    } -> "robot_retired", "robot_asset_bound", "robot_asset_unbound"
    /// A person who operates a robot while it records. Who it is and the password are not part of it: what is known of
    /// people, and credentials, stand beside the log.
    DataCollector = "data_collector", "2.0" {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type State = Registered<Robot>;

    fn robot(asset_id: Option<&str>) -> Robot {
        let device_id = DeviceId::parse("AB-F0001-T0001-000001").unwrap();
        let asset_id = asset_id.map(str::to_owned);
        Robot {
            robot_type_id: RobotTypeId(1),
            factory_id: FactoryId(1),
            device_id,
            asset_id,
            status: RobotStatus::Active,
            metadata: json!({}),
        }
    }

    fn after(commands: impl IntoIterator<Item = RecordCommand<Robot>>) -> State {
        let mut state = State::default();
        for command in commands {
            state.decide(command).unwrap().iter().for_each(|event| state.evolve(event));
        }
        state
    }

    fn bind(asset_id: &str) -> RecordCommand<Robot> {
        RecordCommand::BindAsset { asset_id: asset_id.to_owned() }
    }

    fn retire() -> RecordCommand<Robot> {
        RecordCommand::Retire { reason: "scrapped".to_owned(), at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn an_asset_is_bound_until_another_one_is_or_it_is_unbound() {
        let create = |asset_id| RecordCommand::Create(robot(asset_id));
        let bound = |asset_id: &str| Ok(vec![RecordEvent::AssetBound { asset_id: asset_id.to_owned() }]);
        let (free, at_seven) = (after([create(None)]), after([create(Some("seven"))]));
        assert_eq!(free.decide(bind("seven")), bound("seven"));
        assert_eq!(at_seven.decide(bind("seven")), Ok(vec![]), "asked for again");
        assert_eq!(at_seven.decide(bind("eight")), bound("eight"));
        assert_eq!(after([create(Some("seven")), bind("eight")]).live(), Some(&robot(Some("eight"))));
        assert_eq!(free.decide(RecordCommand::UnbindAsset), Ok(vec![]));
        assert_eq!(at_seven.decide(RecordCommand::UnbindAsset), Ok(vec![RecordEvent::AssetUnbound {}]));
        assert_eq!(after([create(Some("seven")), RecordCommand::UnbindAsset]).live(), Some(&robot(None)));
        assert_eq!(State::Absent.decide(bind("seven")), Err(RecordRefusal::NoSuchEntry));
    }

    #[test]
    fn a_retired_robot_keeps_its_asset_for_what_it_recorded_and_gets_no_other() {
        let retired = after([RecordCommand::Create(robot(Some("seven"))), retire()]);
        assert_eq!(retired.live().and_then(Record::asset), Some("seven"));
        assert_eq!(retired.decide(bind("eight")), Err(RecordRefusal::Retired));
        assert_eq!(retired.decide(bind("seven")), Ok(vec![]));
        assert_eq!(retired.decide(RecordCommand::UnbindAsset), Ok(vec![RecordEvent::AssetUnbound {}]));
    }

    #[test]
    fn a_change_to_what_is_there_changes_nothing_and_what_is_deleted_is_not_there() {
        let (free, at_seven) = (robot(None), robot(Some("seven")));
        let change = |to: &Robot, beside| RecordCommand::Change { to: to.clone(), beside };
        let live = after([RecordCommand::Create(free.clone())]);
        assert_eq!(live.decide(change(&free, false)), Ok(vec![]));
        assert_eq!(live.decide(change(&free, true)), Ok(vec![RecordEvent::Changed(free.clone())]), "of something beside the log");
        assert_eq!(live.decide(change(&at_seven, false)), Ok(vec![RecordEvent::Changed(at_seven.clone())]));
        let deleted = after([RecordCommand::Create(free.clone()), RecordCommand::Delete]);
        assert_eq!((&deleted, deleted.live()), (&State::Deleted, None));
        for state in [State::Absent, deleted.clone()] {
            for command in [change(&free, true), RecordCommand::Delete, retire(), bind("seven"), RecordCommand::UnbindAsset] {
                assert_eq!(state.decide(command), Err(RecordRefusal::NoSuchEntry));
            }
        }
        assert_eq!(deleted.decide(RecordCommand::Create(free)), Err(RecordRefusal::AlreadyCreated), "no id is given twice");
    }

    #[test]
    fn only_robots_are_devices_of_the_data_platform() {
        let sop = Sop { slug: "wash".to_owned(), version: "1".to_owned(), description: None, skill_sequence: vec![] };
        let refused = Registered::Live(sop).decide(RecordCommand::BindAsset { asset_id: "seven".to_owned() });
        assert_eq!(refused, Err(RecordRefusal::NoDevice));
    }
}
