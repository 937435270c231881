//! A person wants a recording although it is damaged: it is verified once more, and accepted as what it is.

use super::{Command, CommandError, Refusal, Work};
use crate::domain::task::{Task, TaskCommand};
use crate::domain::{RefusalCode, TaskId};

#[derive(Clone, Debug)]
pub struct WantDamagedUpload {
    pub task_id: TaskId,
    pub reason: String,
}

impl Command for WantDamagedUpload {
    type Answer = ();
    const NAME: &'static str = "want_damaged_upload";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let no_task = || Refusal::new(RefusalCode::TaskNotFound, format!("there is no task {}", self.task_id));
        let mut task = work.load::<Task>(self.task_id).await?;
        let brief = &task.state.dispatched().ok_or_else(no_task)?.brief;
        if !work.scope.contains(brief.factory_id, Some(brief.organization_id)) {
            return Err(no_task().into());
        }
        work.decide(&mut task, TaskCommand::WantDamaged { reason: self.reason.clone() })?;
        Ok(())
    }
}
