//! References: made once, of what was learned from approved episodes.

use super::{Command, CommandError, Refusal, Work};
use crate::domain::reference::{QaReference, Reference, ReferenceCommand};
use crate::domain::{QaReferenceId, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// From now on episodes of its procedure, and type of robot, are compared with it.
#[derive(Clone, Debug)]
pub struct MakeReference {
    /// Its version is given here.
    pub learned: Reference,
}

impl Command for MakeReference {
    type Answer = QaReferenceId;
    const NAME: &'static str = "make_reference";

    async fn run(&self, work: &mut Work) -> Result<QaReferenceId, CommandError> {
        let (sop, robot_type) = (self.learned.sop_id, self.learned.robot_type_id);
        if !facts::sop_exists(&mut work.tx, sop).await? {
            return Err(Refusal::new(RefusalCode::SopNotFound, "SOP not found").into());
        }
        if let Some(id) = robot_type
            && !facts::robot_type_exists(&mut work.tx, id.0).await?
        {
            return Err(Refusal::new(RefusalCode::RobotTypeNotFound, "robot type not found").into());
        }
        let version = facts::newest_reference_version(&mut work.tx, sop, robot_type).await? + 1;
        let id = facts::new_ids(&mut work.tx, "qa_reference_ids", 1).await?[0];
        let make = ReferenceCommand::Make(Box::new(Reference { version, ..self.learned.clone() }));
        work.decide(&mut Loaded::<QaReference>::absent(id), make)?;
        Ok(QaReferenceId(id))
    }
}
