//! Creating registry entries, binding stations, binding robots to assets and retiring them.

use serde_json::Value;

use super::work::Person;
use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::registry::{
    CollectorStatus, DataCollector, Factory, Organization, Record, RecordCommand, RecordRefusal, Registered, Robot, RobotStatus, RobotType,
    Scene, Skill, Sop, Subscene,
};
use crate::domain::station::{Binding, BindingFacts, Station, StationCommand};
use crate::domain::{
    CollectorId, DeviceId, FactoryId, OrganizationId, RefusalCode, RobotId, RobotTypeId, SceneId, Scope, SkillId, StationId,
};
use crate::eventstore::Loaded;
use crate::projections::ReadModel;
use crate::projections::facts::{self, CollectorFacts, FactoryTable};

const SLUG_LENGTH: usize = 10;
const STATION_NAME_LENGTH: usize = 8;

/// Registers a record under a new id.
pub(super) async fn register<R: Record>(work: &mut Work, sequence: &'static str, record: R) -> Result<i64, CommandError>
where
    Registered<R>: ReadModel<Command = RecordCommand<R>, Refusal = RecordRefusal>,
{
    let id = facts::new_ids(&mut work.tx, sequence, 1).await?[0];
    work.decide(&mut Loaded::<Registered<R>>::absent(id), RecordCommand::Create(record))?;
    Ok(id)
}

async fn factory_must_exist(work: &mut Work, id: FactoryId) -> Result<(), CommandError> {
    match facts::factory_of(&mut work.tx, FactoryTable::Factories, id.0).await? {
        Some(factory) if work.scope.contains(factory, None) => Ok(()),
        _ => Err(Refusal::invalid(RefusalCode::FactoryNotFound, format!("there is no factory {id}")).into()),
    }
}

#[derive(Clone, Debug)]
pub struct CreateFactory {
    pub name: String,
    pub location: Option<String>,
    pub timezone: Option<String>,
    pub settings: Option<Value>,
}

impl Command for CreateFactory {
    type Answer = FactoryId;
    const NAME: &'static str = "create_factory";
    async fn run(&self, work: &mut Work) -> Result<FactoryId, CommandError> {
        // It would lie outside of any scope that does not contain everything.
        if work.scope != Scope::Everything {
            let text = "a new factory is none of those that this login is for";
            return Err(Refusal::new(RefusalCode::OutsideScope, text).into());
        }
        let record = Factory {
            name: self.name.clone(),
            slug: format!("fac-{}", chance::text(SLUG_LENGTH)),
            location: self.location.clone(),
            timezone: self.timezone.clone().unwrap_or_else(|| "UTC".into()),
            settings: self.settings.clone(),
        };
        Ok(FactoryId(register(work, "factory_ids", record).await?))
    }
}

#[derive(Clone, Debug)]
pub struct CreateOrganization {
    pub factory_id: FactoryId,
    pub name: String,
    pub description: Option<String>,
    pub settings: Option<Value>,
}

impl Command for CreateOrganization {
    type Answer = OrganizationId;
    const NAME: &'static str = "create_organization";
    async fn run(&self, work: &mut Work) -> Result<OrganizationId, CommandError> {
        factory_must_exist(work, self.factory_id).await?;
        let record = Organization {
            factory_id: self.factory_id,
            name: self.name.clone(),
            slug: format!("org-{}", chance::text(SLUG_LENGTH)),
            description: self.description.clone(),
            settings: self.settings.clone(),
        };
        Ok(OrganizationId(register(work, "organization_ids", record).await?))
    }
}

#[derive(Clone, Debug)]
pub struct CreateScene {
    pub factory_id: FactoryId,
    pub name: String,
    pub description: Option<String>,
    pub initial_scene_layout_template: Option<String>,
}

impl Command for CreateScene {
    type Answer = SceneId;
    const NAME: &'static str = "create_scene";
    async fn run(&self, work: &mut Work) -> Result<SceneId, CommandError> {
        factory_must_exist(work, self.factory_id).await?;
        let record = Scene {
            factory_id: self.factory_id,
            name: self.name.clone(),
            description: self.description.clone(),
            initial_scene_layout_template: self.initial_scene_layout_template.clone(),
        };
        Ok(SceneId(register(work, "scene_ids", record).await?))
    }
}

#[derive(Clone, Debug)]
pub struct CreateSubscene {
    pub scene_id: SceneId,
    pub name: String,
    pub description: Option<String>,
    /// Empty: a copy of the scene's template.
    pub initial_scene_layout: Option<String>,
}

impl Command for CreateSubscene {
    type Answer = crate::domain::SubsceneId;
    const NAME: &'static str = "create_subscene";
    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let (_, template) = facts::scene_template(&mut work.tx, self.scene_id)
            .await?
            .filter(|(factory, _)| work.scope.contains(*factory, None))
            .ok_or_else(|| Refusal::new(RefusalCode::SceneNotFound, format!("there is no scene {}", self.scene_id)))?;
        let record = Subscene {
            scene_id: self.scene_id,
            name: self.name.clone(),
            description: self.description.clone(),
            initial_scene_layout: self.initial_scene_layout.clone().or(template),
        };
        Ok(crate::domain::SubsceneId(register(work, "subscene_ids", record).await?))
    }
}

#[derive(Clone, Debug)]
pub struct CreateSkill {
    pub slug: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub metadata: Option<Value>,
}

const FIRST_VERSION: &str = "1.0.0";

impl Command for CreateSkill {
    type Answer = SkillId;
    const NAME: &'static str = "create_skill";
    async fn run(&self, work: &mut Work) -> Result<SkillId, CommandError> {
        let record = Skill {
            slug: self.slug.clone(),
            version: self.version.clone().unwrap_or_else(|| FIRST_VERSION.into()),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
        };
        Ok(SkillId(register(work, "skill_ids", record).await?))
    }
}

#[derive(Clone, Debug)]
pub struct CreateSop {
    pub slug: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub skill_sequence: Vec<SkillId>,
}

impl Command for CreateSop {
    type Answer = crate::domain::SopId;
    const NAME: &'static str = "create_sop";
    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let record = Sop {
            slug: self.slug.clone(),
            version: self.version.clone().unwrap_or_else(|| FIRST_VERSION.into()),
            description: self.description.clone(),
            skill_sequence: self.skill_sequence.clone(),
        };
        Ok(crate::domain::SopId(register(work, "sop_ids", record).await?))
    }
}

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
        Ok(RobotTypeId(register(work, "robot_type_ids", record).await?))
    }
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
        if !facts::robot_type_exists(&mut work.tx, self.robot_type_id.0).await? {
            return Err(Refusal::invalid(RefusalCode::RobotTypeNotFound, format!("there is no robot type {}", self.robot_type_id)).into());
        }
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
        Ok(RobotId(register(work, "robot_ids", record).await?))
    }
}

#[derive(Clone)]
pub struct CreateDataCollector {
    pub organization_id: OrganizationId,
    pub name: String,
    pub operator_id: String,
    pub email: Option<String>,
    pub certification: Option<String>,
    pub metadata: Value,
    /// A bcrypt hash: passwords do not come this far.
    pub password_hash: String,
}

impl Command for CreateDataCollector {
    type Answer = CollectorId;
    const NAME: &'static str = "create_data_collector";
    async fn run(&self, work: &mut Work) -> Result<CollectorId, CommandError> {
        let factory = facts::factory_of(&mut work.tx, FactoryTable::Organizations, self.organization_id.0).await?;
        if !factory.is_some_and(|factory| work.scope.contains(factory, Some(self.organization_id))) {
            return Err(
                Refusal::new(RefusalCode::OrganizationNotFound, format!("there is no organization {}", self.organization_id)).into()
            );
        }
        if facts::is_account_of_inspector(&mut work.tx, &self.operator_id).await? {
            return Err(Refusal::new(RefusalCode::NameTaken, "an inspector signs in with this name").into());
        }
        let record = DataCollector {
            organization_id: self.organization_id,
            name: None,
            operator_id: None,
            email: None,
            certification: self.certification.clone(),
            status: CollectorStatus::Active,
            metadata: self.metadata.clone(),
        };
        let id = register(work, "data_collector_ids", record).await?;
        work.set_credential(DataCollector::TYPE, id, self.password_hash.clone());
        work.set_person(Person {
            subject: DataCollector::TYPE,
            id,
            name: self.name.clone(),
            operator_id: Some(self.operator_id.clone()),
            email: self.email.clone(),
        });
        Ok(CollectorId(id))
    }
}

#[derive(Clone, Debug)]
pub struct BindStation {
    pub robot_id: RobotId,
    pub data_collector_id: CollectorId,
    pub metadata: Value,
}

impl Command for BindStation {
    type Answer = StationId;
    const NAME: &'static str = "bind_station";
    async fn run(&self, work: &mut Work) -> Result<StationId, CommandError> {
        let robot = facts::robot(&mut work.tx, self.robot_id)
            .await?
            .filter(|robot| work.scope.contains(robot.factory_id, None))
            .ok_or_else(|| Refusal::invalid(RefusalCode::RobotNotFound, format!("there is no robot {}", self.robot_id)))?;
        let collector = facts::collector(&mut work.tx, self.data_collector_id).await?;
        let seen = |collector: &CollectorFacts| work.scope.contains(collector.organization_factory, Some(collector.organization_id));
        let collector = collector.filter(seen).ok_or_else(|| {
            Refusal::new(RefusalCode::DataCollectorNotFound, format!("there is no data collector {}", self.data_collector_id))
        })?;
        let binding = Binding {
            name: format!("ws-{}", chance::text(STATION_NAME_LENGTH)),
            robot_id: self.robot_id,
            robot_name: robot.type_name,
            robot_serial: robot.device_id,
            data_collector_id: self.data_collector_id,
            collector_name: None,
            collector_operator_id: None,
            factory_id: robot.factory_id,
            organization_id: collector.organization_id,
            metadata: self.metadata.clone(),
        };
        let facts = BindingFacts {
            robot_status: robot.status,
            collector_status: collector.status,
            organization_factory: collector.organization_factory,
        };
        let id = facts::new_ids(&mut work.tx, "station_ids", 1).await?[0];
        work.decide(&mut Loaded::<Station>::absent(id), StationCommand::Bind { binding, facts })?;
        Ok(StationId(id))
    }
}

/// Takes a robot out of service for good. It is bound to no workstation any more and takes no new work; what it still
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
        let mut robot = robot_of(work, self.robot_id).await?;
        work.decide(&mut robot, RecordCommand::Retire { reason: self.reason.clone(), at: work.now })?;
        if let Some(station) = facts::station_of_robot(&mut work.tx, self.robot_id).await? {
            let mut station = work.lock_and_load::<Station>(station).await?;
            work.decide(&mut station, StationCommand::Unbind)?;
        }
        Ok(())
    }
}

/// A robot that the caller may speak of.
async fn robot_of(work: &mut Work, id: RobotId) -> Result<Loaded<Registered<Robot>>, CommandError> {
    let robot = work.load::<Registered<Robot>>(id).await?;
    match robot.state.live() {
        Some(seen) if work.scope.contains(seen.factory_id, None) => Ok(robot),
        _ => Err(Refusal::new(RefusalCode::RobotNotFound, format!("there is no robot {id}")).into()),
    }
}

/// A robot outside of the caller's scope keeps its asset all the same, and is not named.
async fn asset_must_be_free(work: &mut Work, asset_id: &str, other_than: Option<RobotId>) -> Result<(), CommandError> {
    let Some(holder) = facts::holder_of_asset(&mut work.tx, asset_id, other_than).await? else { return Ok(()) };
    let who = match work.scope.contains(holder.factory_id, None) {
        true => format!("the robot {}", holder.robot_id),
        false => "another robot".to_owned(),
    };
    Err(Refusal::new(RefusalCode::AssetTaken, format!("{who} is bound to this asset")).into())
}

/// From now on the data platform knows a robot as this device. That there is such a device, the caller has seen.
#[derive(Clone, Debug)]
pub struct BindAsset {
    pub robot_id: RobotId,
    pub asset_id: String,
}

impl Command for BindAsset {
    type Answer = ();
    const NAME: &'static str = "bind_asset";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut robot = robot_of(work, self.robot_id).await?;
        // Before the other robots are asked: what changes nothing is no matter of theirs.
        if work.decide(&mut robot, RecordCommand::BindAsset { asset_id: self.asset_id.clone() })? == 0 {
            return Ok(());
        }
        asset_must_be_free(work, &self.asset_id, Some(self.robot_id)).await
    }
}

/// From now on the data platform does not know the robot.
#[derive(Clone, Copy, Debug)]
pub struct UnbindAsset(pub RobotId);

impl Command for UnbindAsset {
    type Answer = ();
    const NAME: &'static str = "unbind_asset";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut robot = robot_of(work, self.0).await?;
        work.decide(&mut robot, RecordCommand::UnbindAsset)?;
        Ok(())
    }
}
