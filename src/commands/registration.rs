//! Robots that register themselves: their ids, their tokens, the templates of their files.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::registry::register;
use super::{Command, CommandError, Refusal, Work};
use crate::domain::registry::Robot;
use crate::domain::registry::RobotStatus;
use crate::domain::template::{ConfigTemplate, Template, TemplateCommand, TemplateFile, stream_of};
use crate::domain::token::{RecorderToken, TokenCommand};
use crate::domain::{DeviceId, FactoryId, RefusalCode, RobotId, RobotTypeId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// Whose credentials the hashes of recorder tokens are.
pub const RECORDER: &str = "recorder";

/// The lower-case hex SHA-256 of a token: all that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHash(pub String);

/// What a robot gets to show who it is: a token for its sockets, and a key to the object store where that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub token: TokenHash,
    /// The public half; the store derives the secret from it.
    pub store_key: Option<String>,
}

impl TokenHash {
    pub fn of(token: &str) -> Self {
        Self(hex::encode(Sha256::digest(token)))
    }

    /// Enough of it to tell tokens apart.
    fn fingerprint(&self) -> String {
        self.0.chars().take(12).collect()
    }
}

fn issue(work: &mut Work, robot: &mut Loaded<RecorderToken>, robot_id: RobotId, new: &Credentials) -> Result<(), CommandError> {
    work.decide(robot, TokenCommand::Issue { fingerprint: new.token.fingerprint(), store_key: new.store_key.clone() })?;
    work.set_credential(RECORDER, robot_id.0, new.token.0.clone());
    Ok(())
}

/// Makes a robot of a type in a factory, with the next device id and its first token.
#[derive(Clone, Debug)]
pub struct RegisterDevice {
    /// By name, exactly.
    pub factory: String,
    /// By model, exactly.
    pub robot_type: String,
    pub credentials: Credentials,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredDevice {
    pub device_id: DeviceId,
    pub factory_id: FactoryId,
    pub robot_type_id: RobotTypeId,
    pub robot_id: RobotId,
    /// Unknown of what older versions kept with an `Idempotency-Key`.
    #[serde(default)]
    pub registered_at: Option<Timestamp>,
}

impl Command for RegisterDevice {
    type Answer = RegisteredDevice;
    const NAME: &'static str = "register_device";
    // The number was given by hand after it was looked at: the next one, then.
    const LOST_RACE: Option<RefusalCode> = Some(RefusalCode::NameTaken);

    async fn run(&self, work: &mut Work) -> Result<RegisteredDevice, CommandError> {
        let (factory, robot_type) = facts::named_for_registration(&mut work.tx, &self.factory, &self.robot_type).await?;
        let factory_id = factory.ok_or_else(|| Refusal::new(RefusalCode::FactoryNotFound, "factory not found"))?;
        let robot_type_id = robot_type.ok_or_else(|| Refusal::new(RefusalCode::RobotTypeNotFound, "robot_type not found"))?;
        let device_id = loop {
            let number = facts::next_device_number(&mut work.tx, factory_id, robot_type_id).await?;
            let device_id =
                DeviceId::parse(&format!("AB-F{:04}-T{:04}-{number:06}", factory_id.0, robot_type_id.0)).context("a made device id")?;
            // A person may have given it by hand.
            if !facts::robot_exists(&mut work.tx, &device_id).await? {
                break device_id;
            }
        };
        let record = Robot {
            robot_type_id,
            factory_id,
            device_id: device_id.clone(),
            asset_id: None,
            status: RobotStatus::Active,
            metadata: serde_json::json!({}),
        };
        let robot_id = RobotId(register(work, record).await?);
        issue(work, &mut Loaded::absent(robot_id), robot_id, &self.credentials)?;
        Ok(RegisteredDevice { device_id, factory_id, robot_type_id, robot_id, registered_at: Some(work.now) })
    }
}

/// Gives a robot a new token and a new key to the store. Those before open nothing any more; a connection that is
/// open stays so.
#[derive(Clone, Debug)]
pub struct RotateToken {
    pub robot_id: RobotId,
    pub credentials: Credentials,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatedToken {
    pub device_id: DeviceId,
    pub rotated_at: crate::domain::Timestamp,
}

impl Command for RotateToken {
    type Answer = RotatedToken;
    const NAME: &'static str = "rotate_token";

    async fn run(&self, work: &mut Work) -> Result<RotatedToken, CommandError> {
        let robot = facts::robot(&mut work.tx, self.robot_id).await?;
        let seen = robot.filter(|robot| work.scope.contains(robot.factory_id, None));
        let robot = seen.ok_or_else(|| Refusal::new(RefusalCode::RobotNotFound, "robot not found"))?;
        if robot.status != RobotStatus::Active {
            return Err(Refusal::new(RefusalCode::RobotNotActive, "robot is not active").into());
        }
        let mut token = work.load::<RecorderToken>(self.robot_id).await?;
        issue(work, &mut token, self.robot_id, &self.credentials)?;
        Ok(RotatedToken { device_id: robot.device_id, rotated_at: work.now })
    }
}

/// Writes or replaces a template.
#[derive(Clone, Debug)]
pub struct WriteTemplate(pub Template);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenTemplate {
    pub created_at: crate::domain::Timestamp,
    pub updated_at: crate::domain::Timestamp,
}

impl Command for WriteTemplate {
    type Answer = WrittenTemplate;
    const NAME: &'static str = "write_config_template";

    async fn run(&self, work: &mut Work) -> Result<WrittenTemplate, CommandError> {
        robot_type_must_exist(work, self.0.robot_type_id).await?;
        let mut stream = work.load::<ConfigTemplate>(stream_of(self.0.robot_type_id, self.0.filename)).await?;
        work.decide(&mut stream, TemplateCommand::Write(self.0.clone()))?;
        let (created_at, updated_at) = (stream.created_at.unwrap_or(work.now), stream.updated_at.unwrap_or(work.now));
        Ok(WrittenTemplate { created_at, updated_at })
    }
}

/// Takes a template away, if it is there.
#[derive(Clone, Copy, Debug)]
pub struct DeleteTemplate(pub RobotTypeId, pub TemplateFile);

impl Command for DeleteTemplate {
    type Answer = ();
    const NAME: &'static str = "delete_config_template";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        robot_type_must_exist(work, self.0).await?;
        let mut stream = work.load::<ConfigTemplate>(stream_of(self.0, self.1)).await?;
        work.decide(&mut stream, TemplateCommand::Delete)?;
        Ok(())
    }
}

async fn robot_type_must_exist(work: &mut Work, id: RobotTypeId) -> Result<(), CommandError> {
    if facts::robot_type_exists(&mut work.tx, id.0).await? {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::RobotTypeNotFound, "robot_type not found").into())
}
