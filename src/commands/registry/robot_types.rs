//! Robot types.

use serde_json::Value;

use super::entry::{Changed, Entry, alone, register};
use super::stations::follow_robots;
use crate::commands::{Command, CommandError, Work};
use crate::domain::RobotTypeId;
use crate::domain::registry::{Registered, RobotType};
use crate::domain::template::{ConfigTemplate, TemplateCommand, TemplateFile, stream_of};
use crate::projections::facts::{self, Need};

#[derive(Clone, Debug)]
pub struct CreateRobotType {
    pub name: String,
    pub model: String,
    pub manufacturer: Option<String>,
    pub end_effector: Option<String>,
    pub sensor_suite: Value,
    pub capabilities: Value,
    pub ros_topics: Vec<String>,
}

impl Command for CreateRobotType {
    type Answer = RobotTypeId;
    const NAME: &'static str = "create_robot_type";
    async fn run(&self, work: &mut Work) -> Result<RobotTypeId, CommandError> {
        let record = RobotType {
            name: self.name.clone(),
            model: self.model.clone(),
            manufacturer: self.manufacturer.clone(),
            end_effector: self.end_effector.clone(),
            sensor_suite: self.sensor_suite.clone(),
            capabilities: self.capabilities.clone(),
            ros_topics: self.ros_topics.clone(),
        };
        Ok(RobotTypeId(register(work, record).await?))
    }
}

/// What may be another one of a robot type. Workstations that robots of it are bound to have its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RobotTypeChange {
    pub name: Option<String>,
    pub model: Option<String>,
    pub manufacturer: Option<Option<String>>,
    pub end_effector: Option<Option<String>>,
    pub sensor_suite: Option<Value>,
    pub capabilities: Option<Value>,
    pub ros_topics: Option<Vec<String>>,
}

impl Entry for RobotType {
    type Stream = Registered<Self>;
    const CHANGE: &'static str = "change_robot_type";
    const DELETE: &'static str = "delete_robot_type";
    const IDS: &'static str = "robot_type_ids";
    const WHAT: &'static str = "robot type";
    const NEEDED_BY: &'static [Need] = &[Need {
        counted: "select count(*) from robots where robot_type_id = $1",
        what: "robots of it:",
        advice: "give them another type first",
        is_conflict: true,
    }];
    type Change = RobotTypeChange;

    async fn is_seen(&self, _: &mut Work, _: i64) -> Result<bool, CommandError> {
        Ok(true)
    }

    async fn changed(&self, work: &mut Work, id: i64, change: &RobotTypeChange) -> Result<Changed<Self>, CommandError> {
        // Who binds a robot of it copies its name.
        alone::<Self>(work, id, &[]).await?;
        let change = change.clone();
        let to = Self {
            name: change.name.unwrap_or_else(|| self.name.clone()),
            model: change.model.unwrap_or_else(|| self.model.clone()),
            manufacturer: change.manufacturer.unwrap_or_else(|| self.manufacturer.clone()),
            end_effector: change.end_effector.unwrap_or_else(|| self.end_effector.clone()),
            sensor_suite: change.sensor_suite.unwrap_or_else(|| self.sensor_suite.clone()),
            capabilities: change.capabilities.unwrap_or_else(|| self.capabilities.clone()),
            ros_topics: change.ros_topics.unwrap_or_else(|| self.ros_topics.clone()),
        };
        Ok(to.into())
    }

    async fn follow(&self, work: &mut Work, id: i64, now: &Self) -> Result<(), CommandError> {
        if now.name == self.name {
            return Ok(());
        }
        let stations = facts::stations_of_type(&mut work.tx, RobotTypeId(id)).await?;
        follow_robots(work, &stations, Some(&now.name), None).await
    }

    /// Its templates.
    async fn take_away(work: &mut Work, id: i64) -> Result<(), CommandError> {
        let streams: Vec<String> = TemplateFile::ALL.iter().map(|file| stream_of(RobotTypeId(id), *file)).collect();
        for mut template in work.load_many::<ConfigTemplate>(&streams).await? {
            work.decide(&mut template, TemplateCommand::Delete)?;
        }
        Ok(())
    }
}
