//! Robots: created, changed, taken out of service.

use serde_json::Value;

use super::assets::asset_must_be_free;
use super::entry::{Changed, Entry, alone, held, needed_as_it_is, register};
use super::factories::factory_must_exist;
use super::stations::follow_robots;
use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{RecordCommand, Registered, Robot, RobotStatus};
use crate::domain::station::{Station, StationCommand};
use crate::domain::{DeviceId, FactoryId, RefusalCode, RobotId, RobotTypeId};
use crate::projections::facts::{self, Need};

async fn robot_type_must_exist(work: &mut Work, id: RobotTypeId) -> Result<String, CommandError> {
    let name = facts::robot_type_name(&mut work.tx, id).await?;
    Ok(name.ok_or_else(|| Refusal::invalid(RefusalCode::RobotTypeNotFound, format!("there is no robot type {id}")))?)
}

#[derive(Clone, Debug)]
pub struct CreateRobot {
    pub robot_type_id: RobotTypeId,
    pub factory_id: FactoryId,
    pub device_id: DeviceId,
    pub asset_id: Option<String>,
    /// Whether no other live robot may have this asset. Where no gateway is, robots are numbered as their owners like.
    pub binds_asset: bool,
    pub metadata: Value,
}

impl Command for CreateRobot {
    type Answer = RobotId;
    const NAME: &'static str = "create_robot";
    async fn run(&self, work: &mut Work) -> Result<RobotId, CommandError> {
        robot_type_must_exist(work, self.robot_type_id).await?;
        factory_must_exist(work, self.factory_id).await?;
        if let Some(asset_id) = self.asset_id.as_deref().filter(|_| self.binds_asset) {
            asset_must_be_free(work, asset_id, None).await?;
        }
        let record = Robot {
            robot_type_id: self.robot_type_id,
            factory_id: self.factory_id,
            device_id: self.device_id.clone(),
            asset_id: self.asset_id.clone(),
            status: RobotStatus::Active,
            metadata: self.metadata.clone(),
        };
        Ok(RobotId(register(work, record).await?))
    }
}

/// What may be another one of a robot. Its asset is bound and unbound by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RobotChange {
    pub robot_type_id: Option<RobotTypeId>,
    pub factory_id: Option<FactoryId>,
    pub device_id: Option<DeviceId>,
    pub status: Option<RobotStatus>,
    pub metadata: Option<Value>,
}

impl Robot {
    /// What tasks and connections rely on while they last.
    fn must_be_at_rest(&self, to: &Self, at: &facts::RobotAtWork) -> Result<(), Refusal> {
        let retires = to.status == RobotStatus::Retired && self.status != RobotStatus::Retired;
        let another = self.device_id != to.device_id || self.robot_type_id != to.robot_type_id || self.factory_id != to.factory_id;
        if retires && at.open_tasks > 0 {
            let text = format!("tasks of the robot that have not ended: {}; POST /robots/{{id}}/retire ends them with it", at.open_tasks);
            return Err(needed_as_it_is(text));
        }
        if another && at.open_tasks > 0 {
            let text =
                format!("tasks of the robot that have not ended: {}; its device id, type and factory stay until they have", at.open_tasks);
            return Err(needed_as_it_is(text));
        }
        if self.device_id != to.device_id && at.is_connected {
            let text =
                format!("the robot is connected as {}; stop its programs first, and start them under the new device id", self.device_id);
            return Err(needed_as_it_is(text));
        }
        match at.station {
            // The collector's organization is in the factory of the robot.
            Some(station) if self.factory_id != to.factory_id => {
                let text = format!("the robot is bound to workstation {station} of factory {}; unbind it first", self.factory_id);
                Err(needed_as_it_is(text))
            }
            _ => Ok(()),
        }
    }
}

impl Entry for Robot {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_robot";
    const DELETE: &'static str = "delete_robot";
    const IDS: &'static str = "robot_ids";
    const WHAT: &'static str = "robot";
    const NEEDED_BY: &'static [Need] = &[Need {
        counted: "select count(*) from stations where robot_id = $1",
        what: "workstations that it is or was bound to:",
        advice: "a robot that was ever bound stays for the sake of what it recorded; retire it instead",
        is_conflict: true,
    }];
    type Change = RobotChange;

    async fn is_seen(&self, work: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(work.scope.contains(self.factory_id, None))
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &RobotChange) -> Result<Changed<Self>, CommandError> {
        alone::<Self>(work, id, &[]).await?;
        let change = change.clone();
        if let Some(robot_type) = change.robot_type_id {
            robot_type_must_exist(work, robot_type).await?;
        }
        if let Some(factory) = change.factory_id {
            factory_must_exist(work, factory).await?;
        }
        let to = Self {
            robot_type_id: change.robot_type_id.unwrap_or(self.robot_type_id),
            factory_id: change.factory_id.unwrap_or(self.factory_id),
            device_id: change.device_id.unwrap_or_else(|| self.device_id.clone()),
            asset_id: self.asset_id.clone(),
            status: change.status.unwrap_or(self.status),
            metadata: change.metadata.unwrap_or_else(|| self.metadata.clone()),
        };
        let at_work = facts::robot_at_work(&mut work.tx, RobotId(id), &self.device_id).await?;
        self.must_be_at_rest(&to, &at_work)?;
        // Its asset may have gone to another one while it was out of service.
        if self.status == RobotStatus::Retired
            && to.status != RobotStatus::Retired
            && let Some(asset_id) = &to.asset_id
        {
            asset_must_be_free(work, asset_id, Some(RobotId(id))).await?;
        }
        Ok(to.into())
    }

    /// The workstation that it is bound to.
    async fn follow(&self, work: &mut Work, id: i64, now: &Self) -> Result<(), CommandError> {
        if now.status == RobotStatus::Retired {
            return unbind(work, RobotId(id)).await;
        }
        if self.device_id == now.device_id && self.robot_type_id == now.robot_type_id {
            return Ok(());
        }
        let name = robot_type_must_exist(work, now.robot_type_id).await?;
        let station = facts::station_of_robot(&mut work.tx, RobotId(id)).await?;
        follow_robots(work, station.as_slice(), Some(&name), Some(&now.device_id)).await
    }
}

async fn unbind(work: &mut Work, robot: RobotId) -> Result<(), CommandError> {
    if let Some(station) = facts::station_of_robot(&mut work.tx, robot).await? {
        let mut station = work.lock_and_load::<Station>(station).await?;
        work.decide(&mut station, StationCommand::Unbind { superseded_by: None })?;
    }
    Ok(())
}

/// Takes a robot out of service. It is bound to no workstation any more and takes no new work; what it still
/// holds is ended order by order, after this.
#[derive(Clone, Debug)]
pub struct RetireRobot {
    pub robot_id: RobotId,
    pub reason: String,
}

impl Command for RetireRobot {
    type Answer = ();
    const NAME: &'static str = "retire_robot";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (mut robot, _) = held::<Robot>(work, self.robot_id.0).await?;
        // Who binds it right now comes first, and is unbound.
        alone::<Robot>(work, self.robot_id.0, &[]).await?;
        work.decide(&mut robot, RecordCommand::Retire { reason: self.reason.clone(), at: work.now })?;
        unbind(work, self.robot_id).await
    }
}
