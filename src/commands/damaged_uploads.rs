//! A person wants a recording although it is damaged: it is verified once more, and accepted as what it is.

use super::tasks::task_in_scope;
use super::{Command, CommandError, Work};
use crate::domain::TaskId;
use crate::domain::task::TaskCommand;

#[derive(Clone, Debug)]
pub struct WantDamagedUpload {
    pub task_id: TaskId,
    pub reason: String,
}

impl Command for WantDamagedUpload {
    type Answer = ();
    const NAME: &'static str = "want_damaged_upload";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (mut task, _) = task_in_scope(work, self.task_id).await?;
        work.decide(&mut task, TaskCommand::WantDamaged { reason: self.reason.clone() })?;
        Ok(())
    }
}
