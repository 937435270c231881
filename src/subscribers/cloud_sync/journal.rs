//! Where a push writes down what it has done: as events of its chain, and, for what is no event, beside the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tracing::warn;

use crate::cloud::{Journal, NotNoted};
use crate::commands::sync::{CheckSync, Checked, HeldLeg, NoteSync};
use crate::commands::{CommandError, Commands, Context};
use crate::domain::sync::{ChainCommand, FinishedObject, FinishedPart, Held, OpenedSession, StartedUpload};
use crate::projections::reads::Reads;

/// Those who watch ask once a second.
const TOLD_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Notes<'a> {
    commands: &'a Commands,
    reads: &'a Reads,
    context: &'a Context,
    of: &'a HeldLeg,
    total: u64,
    /// When it began, then when it was told last.
    told: Mutex<Instant>,
}

impl<'a> Notes<'a> {
    pub fn new(commands: &'a Commands, reads: &'a Reads, context: &'a Context, of: &'a HeldLeg, total: u64) -> Self {
        Self { commands, reads, context, of, total, told: Mutex::new(Instant::now()) }
    }

    async fn note(&self, step: impl FnOnce(Held) -> ChainCommand) -> Result<(), NotNoted> {
        let step = step(self.of.held.clone());
        match self.commands.execute(self.context, NoteSync { chain: self.of.chain, cloud: self.of.held.cloud, step }).await {
            Ok(_) => Ok(()),
            // The chain may have ended because of another leg.
            Err(CommandError::Refused(_)) => self.may_complete().await.and(Err(NotNoted::Lost)),
            Err(error) => Err(not_noted(error)),
        }
    }

    /// Nobody watches what takes less than that.
    fn is_time_to_tell(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.elapsed() >= TOLD_EVERY;
        if due {
            *told = Instant::now();
        }
        due
    }
}

fn not_noted(error: CommandError) -> NotNoted {
    match error {
        CommandError::Refused(_) => NotNoted::Lost,
        error => NotNoted::Database(format!("{error:#}")),
    }
}

#[async_trait]
impl Journal for Notes<'_> {
    async fn session_opened(&self, session: &OpenedSession) -> Result<(), NotNoted> {
        self.note(|held| ChainCommand::OpenSession { held, session: session.clone() }).await
    }

    async fn upload_started(&self, upload: &StartedUpload) -> Result<(), NotNoted> {
        self.note(|held| ChainCommand::StartUpload { held, upload: upload.clone() }).await
    }

    async fn parts_finished(&self, upload_id: &str, parts: Vec<FinishedPart>) -> Result<(), NotNoted> {
        self.note(|held| ChainCommand::FinishParts { held, upload_id: upload_id.to_owned(), parts }).await?;
        // What may not be there, and what is not wanted for a while, is not sent to its end.
        self.may_complete().await
    }

    async fn object_finished(&self, object: &FinishedObject) -> Result<(), NotNoted> {
        self.note(|held| ChainCommand::FinishObject { held, object: object.clone() }).await
    }

    async fn service_told(&self) -> Result<(), NotNoted> {
        let at = self.commands.now();
        self.note(|held| ChainCommand::Tell { held, at }).await
    }

    async fn may_complete(&self) -> Result<(), NotNoted> {
        match self.commands.execute(self.context, CheckSync(self.of.clone())).await {
            Ok(Checked::Fit) => {}
            Ok(Checked::Unfit) => return Err(NotNoted::Unfit),
            Ok(Checked::Over) => return Err(NotNoted::Lost),
            Err(error) => return Err(not_noted(error)),
        }
        let control = self.reads.sync_control().await.map_err(|error| NotNoted::Database(error.to_string()))?;
        if control.is_some_and(|control| control.is_paused(self.of.held.cloud)) { Err(NotNoted::Paused) } else { Ok(()) }
    }

    async fn progress(&self, done: u64) {
        if !self.is_time_to_tell() {
            return;
        }
        if let Err(error) = self.commands.tell_sync_progress(self.of.chain, self.of.held.cloud, done, self.total).await {
            warn!(error = format!("{error:#}"), "Cannot tell how far an upload is: {error:#}");
        }
    }
}
