//! What links ask of the rest of the program: whether a token opens them, to be opened, and that their reports are heard.
//!
//! The trait is the one seam of this module: its tests are about storage that is slow, away or refuses, at the moments that
//! they choose. The server has one implementation, over [`Commands`] and [`Reads`].

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::commands::devices::{OpenLink, OpenLinkInTime};
use crate::commands::registration::TokenHash;
use crate::commands::reports::DeviceReport;
use crate::commands::{CommandError, Commands, Context};
use crate::domain::device::LinkKind;
use crate::domain::report::Report;
use crate::domain::{DeviceId, RefusalCode};
use crate::projections::reads::Reads;
use crate::telemetry::chain;

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
    /// Whether a token opens a device.
    async fn opens(&self, device: &DeviceId, kind: LinkKind, token: &str) -> Result<bool, EffectError>;
    /// Makes the new connection the current one, and answers with its epoch. Where the program is gone before that is
    /// decided, nothing is opened.
    async fn open_link(&self, device: &DeviceId, kind: LinkKind, remote: &str, gone: &CancellationToken) -> Result<i64, EffectError>;
    async fn report(&self, link: &LinkId, report: &Report) -> Result<(), EffectError>;
}

/// The server's own.
pub struct CommandEffects {
    pub commands: Commands,
    pub reads: Reads,
    /// Which process this is, among those that share the database.
    pub process: Uuid,
}

impl CommandEffects {
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
    async fn opens(&self, device: &DeviceId, kind: LinkKind, token: &str) -> Result<bool, EffectError> {
        // A robot that is retired records no more; what it still has is welcome.
        let also_retired = kind == LinkKind::Transfer;
        let known = self.reads.recorder_token(device, also_retired).await.map_err(|error| EffectError::Unavailable(chain(&error)))?;
        // Hashes of random tokens: how alike two of them are tells nothing about either token.
        Ok(known.is_some_and(|row| row.token_hash == TokenHash::of(token).0))
    }

    async fn open_link(&self, device: &DeviceId, kind: LinkKind, remote: &str, gone: &CancellationToken) -> Result<i64, EffectError> {
        let context = Context::device(device, Some(remote.to_owned()));
        let link = OpenLink { device: device.clone(), kind, remote: remote.to_owned(), process: Some(self.process) };
        let command = OpenLinkInTime { link, gone: gone.clone() };
        let opened = self.commands.execute(&context, command).await.map_err(EffectError::from);
        if let Err(EffectError::Contested(reason)) = &opened {
            self.warn_of_rival(device, kind, remote, reason).await;
        }
        opened
    }

    async fn report(&self, link: &LinkId, report: &Report) -> Result<(), EffectError> {
        let context = Context::device(&link.device, Some(link.remote.clone()));
        let (device, report) = (link.device.clone(), report.clone());
        let told = DeviceReport { device, link: link.kind, epoch: link.epoch, report };
        Ok(self.commands.hear(&context, told).await?)
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
