//! Workstations: one robot and one data collector, bound to each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::registry::{CollectorStatus, RobotStatus};
use super::words::words;
use super::{Aggregate, CollectorId, DeviceId, FactoryId, OrganizationId, RobotId};

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
    /// Until it is unbound. What was made under it keeps pointing at it.
    pub current: bool,
}

/// The pair, with the robot's names when it was bound. Who the collector is stands beside the log.
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
    /// The pair works no more together.
    Unbind,
}

events! {
    StationEvent {
        StationBound = "station_bound", "2.0" (Binding),
        StationStatusChanged = "station_status_changed", "1.0" { status: StationStatus },
        StationUnbound = "station_unbound", "1.0" {},
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
}

impl Refused for StationRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoSuchStation => RefusalCode::StationNotFound,
            Self::AlreadyBound => RefusalCode::StationExists,
            Self::RobotNotActive(_) => RefusalCode::RobotNotActive,
            Self::CollectorNotActive(_) => RefusalCode::DataCollectorNotActive,
            Self::FactoryMismatch { .. } => RefusalCode::FactoryMismatch,
        }
    }
}

impl Aggregate for Station {
    const TYPE: &'static str = "station";
    type Command = StationCommand;
    type Event = StationEvent;
    type Refusal = StationRefusal;

    fn decide(&self, command: StationCommand) -> Result<Vec<StationEvent>, StationRefusal> {
        use StationStatus as S;
        match (self, command) {
            (Station::Absent, StationCommand::Bind { binding, facts }) => {
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
            (Station::Bound(_), StationCommand::Bind { .. }) => Err(StationRefusal::AlreadyBound),
            (Station::Absent, StationCommand::FollowBatches { .. } | StationCommand::Unbind) => Err(StationRefusal::NoSuchStation),
            (Station::Bound(station), StationCommand::Unbind) => {
                Ok(if station.current { vec![StationEvent::StationUnbound {}] } else { vec![] })
            }
            (Station::Bound(station), StationCommand::FollowBatches { any_active }) => {
                let status = match (station.status, any_active) {
                    _ if !station.current => return Ok(vec![]),
                    (S::Offline | S::Break, _) => return Ok(vec![]),
                    (S::Active | S::Inactive, true) => S::Active,
                    (S::Active | S::Inactive, false) => S::Inactive,
                };
                Ok(if status == station.status { vec![] } else { vec![StationEvent::StationStatusChanged { status }] })
            }
        }
    }

    fn evolve(&mut self, event: &StationEvent) {
        match (&mut *self, event) {
            (_, StationEvent::StationBound(binding)) => {
                *self = Station::Bound(Box::new(Bound { binding: binding.clone(), status: StationStatus::Offline, current: true }));
            }
            (Station::Bound(station), StationEvent::StationStatusChanged { status }) => station.status = *status,
            (Station::Bound(station), StationEvent::StationUnbound {}) => {
                (station.status, station.current) = (StationStatus::Offline, false)
            }
            // Nothing precedes `station_bound` in a stream.
            (Station::Absent, _) => {}
        }
    }
}
