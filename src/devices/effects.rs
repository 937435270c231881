//! What links ask of the rest of the program: reports become commands here, and nowhere else.
//!
//! The trait is the seam for tests; the server has one implementation, for [`Commands`].

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::commands::{Command, CommandError, Commands, Context, devices as commands};
use crate::domain::device::{CommandOutcome, LinkKind, RecorderState};
use crate::domain::task::{UploadReport, Witness};
use crate::domain::{DeviceId, PublicTaskId, RefusalCode};

/// Something a device told that matters. All but outcomes of commands count only while the link on which it was told is current.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Observed {
        state: RecorderState,
        task: Option<PublicTaskId>,
        source: String,
    },
    ConfigApplied {
        task: PublicTaskId,
    },
    /// The outcome of a command. True whatever became of the link meanwhile.
    Settled {
        command_id: String,
        outcome: CommandOutcome,
    },
    /// An answer that this link did not ask for: perhaps to a command of an earlier one.
    AnsweredLate {
        command_id: String,
        outcome: CommandOutcome,
    },
    UploadStarted {
        task: PublicTaskId,
    },
    /// These files are in the bucket, it says.
    UploadsCompleted {
        uploads: Vec<(PublicTaskId, UploadReport)>,
        witness: Witness,
    },
    UploadFailed {
        task: PublicTaskId,
        reason: String,
    },
    UploadNotFound {
        task: PublicTaskId,
        detail: String,
    },
    AcksWanted {
        tasks: Vec<PublicTaskId>,
    },
    /// A whole list of uploads was told: what should be in it and is not, was never asked for.
    UploadsListed {
        tracked: Vec<PublicTaskId>,
        /// What it said it does not find, and has no record of.
        missing: Vec<(PublicTaskId, String)>,
        /// What it has given up, and why: the message that says so may have been lost.
        failed: Vec<(PublicTaskId, String)>,
        /// What it is uploading, or will: the message that says so may have been lost, too.
        under_way: Vec<PublicTaskId>,
    },
    /// The socket is gone. Always the last report of a link.
    Closed {
        reason: String,
    },
}

impl Report {
    pub fn name(&self) -> &'static str {
        match self {
            Report::Observed { .. } => "observed",
            Report::ConfigApplied { .. } => "config_applied",
            Report::Settled { .. } => "settled",
            Report::AnsweredLate { .. } => "answered_late",
            Report::UploadStarted { .. } => "upload_started",
            Report::UploadsCompleted { .. } => "uploads_completed",
            Report::UploadFailed { .. } => "upload_failed",
            Report::UploadNotFound { .. } => "upload_not_found",
            Report::AcksWanted { .. } => "acks_wanted",
            Report::UploadsListed { .. } => "uploads_listed",
            Report::Closed { .. } => "closed",
        }
    }

    pub fn outlives_its_link(&self) -> bool {
        matches!(self, Report::Settled { .. } | Report::AnsweredLate { .. })
    }
}

/// Which link a report came over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkId {
    pub device: DeviceId,
    pub kind: LinkKind,
    pub epoch: i64,
    pub remote: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    #[error("{0}")]
    NotFound(String),
    /// Another program has the connection and keeps it.
    #[error("{0}")]
    Contested(String),
    /// A rule said no; asking again gives the same answer.
    #[error("refused: {0}")]
    Refused(String),
    /// Worth another try, for as long as it takes.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Something is wrong that waiting does not mend.
    #[error("failed: {0}")]
    Failed(String),
}

#[async_trait]
pub trait Effects: Send + Sync + 'static {
    /// Makes the new connection the current one, and answers with its epoch. Where the program is gone before that is
    /// decided, nothing is opened.
    async fn open_link(&self, device: &DeviceId, kind: LinkKind, remote: &str, gone: &CancellationToken) -> Result<i64, EffectError>;
    async fn report(&self, link: &LinkId, report: &Report) -> Result<(), EffectError>;
}

/// The server's own: reports become commands.
pub struct CommandEffects {
    pub commands: Commands,
    /// Which process this is, among those that share the database.
    pub process: Uuid,
}

impl CommandEffects {
    /// One after the other, each by itself: what one of them meets is not the affair of the others. All of them come
    /// again where the database was away; those that were done change nothing then.
    async fn each<C: Command>(&self, context: &Context, commands: impl Iterator<Item = C> + Send) -> Result<(), EffectError> {
        let mut outcome = Ok(());
        for command in commands {
            match self.commands.execute(context, command).await.map_err(EffectError::from) {
                Ok(_) => {}
                Err(away @ EffectError::Unavailable(_)) => return Err(away),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Once for as long as both are there: they come back every minute.
    async fn warn_of_rival(&self, device: &DeviceId, kind: LinkKind, remote: &str, reason: &str) {
        let kind_name = kind.as_str();
        match self.commands.note_rival(device, kind, remote).await {
            Ok(true) => warn!(
                device.id = %device, link.kind = kind_name, remote, reason,
                "Two programs connect as {kind_name} of `{device}`: {reason}; the one from {remote} is refused until the other one is stopped"
            ),
            Ok(false) => {}
            Err(error) => warn!(device.id = %device, error = format!("{error:#}"), "Cannot note a second program of `{device}`: {error:#}"),
        }
    }
}

#[async_trait]
impl Effects for CommandEffects {
    async fn open_link(&self, device: &DeviceId, kind: LinkKind, remote: &str, gone: &CancellationToken) -> Result<i64, EffectError> {
        let context = Context::device(device, Some(remote.to_owned()));
        let link = commands::OpenLink { device: device.clone(), kind, remote: remote.to_owned(), process: Some(self.process) };
        let command = commands::OpenLinkInTime { link, gone: gone.clone() };
        let opened = self.commands.execute(&context, command).await.map_err(EffectError::from);
        if let Err(EffectError::Contested(reason)) = &opened {
            self.warn_of_rival(device, kind, remote, reason).await;
        }
        opened
    }

    async fn report(&self, link: &LinkId, report: &Report) -> Result<(), EffectError> {
        let context = Context::device(&link.device, Some(link.remote.clone()));
        let (device, epoch) = (link.device.clone(), link.epoch);
        match report.clone() {
            Report::Observed { state, task, source } => {
                self.commands.execute(&context, commands::ObserveRecorder { device, epoch, state, task, source }).await?;
            }
            Report::ConfigApplied { task } => {
                self.commands.execute(&context, commands::ConfigApplied { device, epoch, task }).await?;
            }
            Report::Settled { command_id, outcome } | Report::AnsweredLate { command_id, outcome } => {
                self.commands.execute(&context, commands::SettleDeviceCommand { device, command_id, outcome }).await?;
            }
            Report::UploadStarted { task } => {
                self.commands.execute(&context, commands::UploadStarted { device, epoch, task }).await?;
            }
            Report::UploadsCompleted { uploads, witness } => {
                let completed = |(task, report)| commands::UploadCompleted { device: device.clone(), epoch, task, report, witness };
                self.each(&context, uploads.into_iter().map(completed)).await?;
            }
            Report::UploadFailed { task, reason } => {
                self.commands.execute(&context, commands::UploadFailed { device, epoch, task, reason }).await?;
            }
            Report::UploadNotFound { task, detail } => {
                self.commands.execute(&context, commands::UploadNotFound { device, epoch, task, detail }).await?;
            }
            Report::AcksWanted { tasks } => {
                let wanted = |task| commands::AckWanted { device: device.clone(), epoch, task };
                self.each(&context, tasks.into_iter().map(wanted)).await?;
            }
            Report::UploadsListed { tracked, missing, failed, under_way } => {
                // What it found again has a second record, and is on its way.
                let kept = failed.iter().map(|(task, _)| task).filter(|task| !under_way.contains(task)).cloned().collect::<Vec<_>>();
                let listed = commands::ReconcileUploads { device: device.clone(), epoch, tracked, missing, failed, under_way };
                let given_up = self.commands.execute(&context, listed).await?;
                let failed = |(task, reason)| commands::UploadFailed { device: device.clone(), epoch, task, reason };
                self.each(&context, given_up.failed.into_iter().map(failed)).await?;
                let lost = |(task, reason)| commands::RecordingLost { device: device.clone(), epoch, task, reason };
                self.each(&context, given_up.lost.into_iter().map(lost)).await?;
                if !kept.is_empty() {
                    self.commands.execute(&context, commands::RequestGivenUp { device, epoch, tasks: kept }).await?;
                }
            }
            Report::Closed { reason } => {
                self.commands.execute(&context, commands::CloseLink { device, kind: link.kind, epoch, reason }).await?;
            }
        }
        Ok(())
    }
}

impl From<CommandError> for EffectError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) if refusal.kind == crate::domain::RefusalKind::NotFound => Self::NotFound(refusal.to_string()),
            CommandError::Refused(refusal) if refusal.code == RefusalCode::DeviceContested => Self::Contested(refusal.to_string()),
            CommandError::Refused(refusal) => Self::Refused(refusal.to_string()),
            CommandError::Conflict => Self::Unavailable("other changes kept coming first".to_owned()),
            CommandError::Unavailable(reason) | CommandError::Unfit(reason) => Self::Unavailable(reason),
            CommandError::Failed(error) => Self::Failed(format!("{error:#}")),
        }
    }
}
