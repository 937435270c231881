//! Robots as the data platform knows them.

use super::entry::held;
use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{RecordCommand, Robot};
use crate::domain::{RefusalCode, RobotId};
use crate::projections::facts;

/// A robot outside of the caller's scope keeps its asset all the same, and is not named.
pub(super) async fn asset_must_be_free(work: &mut Work, asset_id: &str, other_than: Option<RobotId>) -> Result<(), CommandError> {
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
        let (mut robot, _) = held::<Robot>(work, self.robot_id.0).await?;
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
        let (mut robot, _) = held::<Robot>(work, self.0.0).await?;
        work.decide(&mut robot, RecordCommand::UnbindAsset)?;
        Ok(())
    }
}
