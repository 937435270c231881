//! Workstations: one robot and one data collector, bound to each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::registry::{CollectorStatus, RobotStatus};
use super::words::words;
use super::{Aggregate, CollectorId, DeviceId, FactoryId, OrganizationId, RobotId, StationId};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Station {
    #[default]
    Absent,
    Bound(Box<Bound>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub binding: Binding,
    pub status: StationStatus,
    /// Until it is unbound, and again when the same two are bound anew. What was made under it keeps pointing at it.
    pub current: bool,
    /// The binding that took its place.
    #[serde(default)]
    pub superseded_by: Option<StationId>,
}

/// The pair, with the robot's names. Who the collector is stands beside the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    pub name: String,
    pub robot_id: RobotId,
    pub robot_name: String,
    pub robot_serial: DeviceId,
    pub data_collector_id: CollectorId,
    /// In events of version 1 only, like the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector_operator_id: Option<String>,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
    pub metadata: Value,
}

words! {
    #[derive(Default)]
    StationStatus {
        Active = "active",
        Inactive = "inactive",
        Break = "break",
        #[default]
        Offline = "offline",
    }
}

/// What has to be true of a pair, looked up before it is bound.
#[derive(Clone, Debug)]
pub struct BindingFacts {
    pub robot_status: RobotStatus,
    pub collector_status: CollectorStatus,
    pub organization_factory: FactoryId,
}

#[derive(Clone, Debug)]
pub enum StationCommand {
    Bind {
        binding: Binding,
        facts: BindingFacts,
    },
    /// The station's status follows its batches, unless its collector is away.
    FollowBatches {
        any_active: bool,
    },
    /// The robot is called this now.
    FollowRobot {
        robot_name: String,
        robot_serial: DeviceId,
    },
    /// A person says what it is doing, or what is kept with it; what is not given stays.
    Set {
        status: Option<StationStatus>,
        metadata: Option<Value>,
    },
    /// The collector rests.
    Break,
    EndBreak {
        any_active: bool,
    },
    /// The collector is there.
    LogIn {
        any_active: bool,
    },
    /// The collector is gone.
    LogOut {
        /// Whether a task of it is being recorded.
        is_recording: bool,
    },
    /// The pair works no more together.
    Unbind {
        superseded_by: Option<StationId>,
    },
}

events! {
    StationEvent {
        StationBound = "station_bound", "2.0" (Binding),
        StationStatusChanged = "station_status_changed", "1.0" { status: StationStatus },
        StationRobotRenamed = "station_robot_renamed", "1.0" { robot_name: String, robot_serial: DeviceId },
        StationMetadataSet = "station_metadata_set", "1.0" { metadata: Value },
        StationUnbound = "station_unbound", "1.1" {
            /// The binding that took its place.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            superseded_by: Option<StationId>,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StationRefusal {
    #[error("there is no such station")]
    NoSuchStation,
    #[error("the station is bound already")]
    AlreadyBound,
    #[error("the robot is {}; only an active robot can be bound", .0.as_str())]
    RobotNotActive(RobotStatus),
    #[error("the data collector is {}; only an active one can be bound", .0.as_str())]
    CollectorNotActive(CollectorStatus),
    #[error("the data collector's organization belongs to factory {collector}, the robot to factory {robot}")]
    FactoryMismatch { robot: FactoryId, collector: FactoryId },
    #[error("the workstation is offline: its data collector is not logged in")]
    Offline,
}

impl Refused for StationRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoSuchStation => RefusalCode::StationNotFound,
            Self::AlreadyBound => RefusalCode::StationExists,
            Self::RobotNotActive(_) => RefusalCode::RobotNotActive,
            Self::CollectorNotActive(_) => RefusalCode::DataCollectorNotActive,
            Self::FactoryMismatch { .. } => RefusalCode::FactoryMismatch,
            Self::Offline => RefusalCode::StationOffline,
        }
    }
}

/// Whether the two may work together.
fn bind(binding: Binding, facts: &BindingFacts) -> Result<Vec<StationEvent>, StationRefusal> {
    if facts.robot_status != RobotStatus::Active {
        return Err(StationRefusal::RobotNotActive(facts.robot_status));
    }
    if facts.collector_status != CollectorStatus::Active {
        return Err(StationRefusal::CollectorNotActive(facts.collector_status));
    }
    if facts.organization_factory != binding.factory_id {
        return Err(StationRefusal::FactoryMismatch { robot: binding.factory_id, collector: facts.organization_factory });
    }
    Ok(vec![StationEvent::StationBound(binding)])
}

impl Aggregate for Station {
    const TYPE: &'static str = "station";
    type Command = StationCommand;
    type Event = StationEvent;
    type Refusal = StationRefusal;

    fn decide(&self, command: StationCommand) -> Result<Vec<StationEvent>, StationRefusal> {
        use StationStatus as S;
        let station = match (self, command) {
            (Station::Bound(station), StationCommand::Bind { .. }) if station.current => return Err(StationRefusal::AlreadyBound),
            // Also of two who were bound to each other before: their binding is the same one again.
            (Station::Absent | Station::Bound(_), StationCommand::Bind { binding, facts }) => return bind(binding, &facts),
            (Station::Absent, _) => return Err(StationRefusal::NoSuchStation),
            (Station::Bound(station), StationCommand::Unbind { superseded_by }) => {
                return Ok(if station.current { vec![StationEvent::StationUnbound { superseded_by }] } else { vec![] });
            }
            // What was stays as it was.
            (Station::Bound(station), StationCommand::FollowBatches { .. } | StationCommand::FollowRobot { .. }) if !station.current => {
                return Ok(vec![]);
            }
            (Station::Bound(station), _) if !station.current => return Err(StationRefusal::NoSuchStation),
            (Station::Bound(station), command) => (station, command),
        };
        let (station, command) = station;
        let working = |any_active| if any_active { S::Active } else { S::Inactive };
        let status = match (station.status, command) {
            (now, StationCommand::Set { status, metadata }) => {
                let metadata = metadata.filter(|metadata| *metadata != station.binding.metadata);
                let status = status.filter(|status| *status != now);
                let described = metadata.map(|metadata| StationEvent::StationMetadataSet { metadata });
                return Ok(described.into_iter().chain(status.map(|status| StationEvent::StationStatusChanged { status })).collect());
            }
            (_, StationCommand::FollowRobot { robot_name, robot_serial }) => {
                let known = (&station.binding.robot_name, &station.binding.robot_serial) == (&robot_name, &robot_serial);
                return Ok(if known { vec![] } else { vec![StationEvent::StationRobotRenamed { robot_name, robot_serial }] });
            }
            (S::Offline, StationCommand::Break | StationCommand::EndBreak { .. }) => return Err(StationRefusal::Offline),
            (_, StationCommand::Break) => S::Break,
            (_, StationCommand::EndBreak { any_active }) => working(any_active),
            // Who rests and logs in once more, perhaps elsewhere, rests until they say otherwise.
            (S::Break, StationCommand::LogIn { .. }) => S::Break,
            (_, StationCommand::LogIn { any_active }) => working(any_active),
            // It records, no matter who sits there.
            (now, StationCommand::LogOut { is_recording: true }) => now,
            (_, StationCommand::LogOut { is_recording: false }) => S::Offline,
            (now @ (S::Offline | S::Break), StationCommand::FollowBatches { .. }) => now,
            (S::Active | S::Inactive, StationCommand::FollowBatches { any_active }) => working(any_active),
            // Decided above.
            (now, StationCommand::Bind { .. } | StationCommand::Unbind { .. }) => now,
        };
        Ok(if status == station.status { vec![] } else { vec![StationEvent::StationStatusChanged { status }] })
    }

    fn evolve(&mut self, event: &StationEvent) {
        match (&mut *self, event) {
            (_, StationEvent::StationBound(binding)) => {
                *self = Station::Bound(Box::new(Bound {
                    binding: binding.clone(),
                    status: StationStatus::Offline,
                    current: true,
                    superseded_by: None,
                }));
            }
            (Station::Bound(station), StationEvent::StationStatusChanged { status }) => station.status = *status,
            (Station::Bound(station), StationEvent::StationRobotRenamed { robot_name, robot_serial }) => {
                (station.binding.robot_name, station.binding.robot_serial) = (robot_name.clone(), robot_serial.clone());
            }
            (Station::Bound(station), StationEvent::StationMetadataSet { metadata }) => station.binding.metadata = metadata.clone(),
            (Station::Bound(station), StationEvent::StationUnbound { superseded_by }) => {
                (station.status, station.current, station.superseded_by) = (StationStatus::Offline, false, *superseded_by);
            }
            // Nothing precedes `station_bound` in a stream.
            (Station::Absent, _) => {}
        }
    }
}
