//! What the site signs: certificates of episodes, made for those who may see the episode and checked from a file; and heads of its log.
//!
//! - [`keys`]: what signs, and what verifies.
//! - [`envelope`]: a document with its signatures, as DSSE has it ([ADR 27](../../docs/adr/0027-certificates-are-dsse.md)).
//! - [`check`]: what is wrong with a file.
//! - [`note`], [`log_signer`]: heads of the log (`docs/log-proof.md`).
//!
//! What a certificate says, and up to where in the log, `domain::certificate` decides.

#![expect(
    clippy::disallowed_methods,
    reason = "what was committed a moment ago gets its place in a few milliseconds, and is looked for again"
)]

mod check;
mod envelope;
mod keys;
mod log_signer;
mod note;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use check::{Checked, FILE_BYTES_MAX, Fault, NotRead, check};
pub use envelope::{Envelope, PAYLOAD_TYPE, Signature};
pub use keys::{KeyError, Keyring, PublicKey, SigningKey};
pub use log_signer::LogSigner;
pub use note::{NOTE_BYTES_MAX, NoteError, NoteKey, opened, signed};

use crate::domain::certificate::{NoStanding, Standing, Statement, issue};
use crate::domain::episode::QaStatus;
use crate::domain::{DeviceId, EpisodeId, Scope};
use crate::projections::reads::certificates::Extent;
use crate::projections::reads::{ReadError, Reads};

/// For the sequencer and for the terms behind it: milliseconds, and seconds where another process takes the lead.
const PLACED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("there is no such episode")]
    NoEpisode,
    #[error("the episode is {}; only one that is approved has a certificate", .0.as_str())]
    NotApproved(QaStatus),
    #[error("the log has not come as far as the episode; in a moment it has")]
    LogBehind,
    #[error("this site has no key to sign with: `certificates.key_file` names one")]
    NoKey,
    #[error("{event} cannot be read: {why}")]
    Unreadable { event: String, why: String },
    #[error("the certificate cannot be written")]
    Unwritable(#[source] serde_json::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<NoStanding> for CertificateError {
    fn from(why: NoStanding) -> Self {
        match why {
            NoStanding::NotApproved(status) => Self::NotApproved(status),
            NoStanding::NotPlaced => Self::LogBehind,
            NoStanding::NoEpisode => Self::NoEpisode,
            NoStanding::Unreadable { event, why } => Self::Unreadable { event, why },
        }
    }
}

/// Makes certificates.
#[derive(Clone)]
pub struct Certificates {
    reads: Reads,
    /// None: nothing was given, and there is no data folder to keep one in.
    keys: Option<Arc<Keyring>>,
}

impl Certificates {
    pub fn new(reads: Reads, keys: Option<Keyring>) -> Self {
        Self { reads, keys: keys.map(Arc::new) }
    }

    /// The certificate of an approved episode: the same bytes from every process with the same key, for as long as no other verdict or decision came.
    pub async fn of_episode(&self, scope: &Scope, id: EpisodeId) -> Result<Envelope, CertificateError> {
        let seen = self.reads.episode(scope, id).await?.ok_or(CertificateError::NoEpisode)?;
        if !seen.own.qa_status.is_approved() {
            return Err(CertificateError::NotApproved(seen.own.qa_status));
        }
        self.of_approved(id).await
    }

    /// The same of one that was found approved a moment ago, where it is pushed.
    pub async fn of_approved(&self, id: EpisodeId) -> Result<Envelope, CertificateError> {
        let keys = self.keys.as_ref().ok_or(CertificateError::NoKey)?;
        let began = Instant::now();
        let statement = loop {
            match self.statement_of(id).await {
                Err(CertificateError::LogBehind) if began.elapsed() < PLACED_WITHIN => tokio::time::sleep(LOOK_AGAIN).await,
                statement => break statement?,
            }
        };
        let bytes = statement.bytes().map_err(CertificateError::Unwritable)?;
        Ok(Envelope::signed(bytes.as_bytes(), keys.signing()))
    }

    /// The key that signs, and those that did before.
    pub fn keys(&self) -> Vec<&PublicKey> {
        self.keys.as_ref().map(|keys| keys.all().collect()).unwrap_or_default()
    }

    /// What signs heads of the log of this name, with the same keys.
    pub fn log_signer(&self, origin: &str) -> LogSigner {
        LogSigner::new(origin, self.keys.clone())
    }

    async fn statement_of(&self, id: EpisodeId) -> Result<Statement, CertificateError> {
        let episode = self.reads.evidence_of(&[("episode", id.to_string(), Extent::Whole)]).await?;
        let standing = Standing::of(id, &episode)?;
        let created = &standing.episode.created;
        let mut evidence = self
            .reads
            .evidence_of(&[
                ("task", created.task_id.to_string(), Extent::Whole),
                ("order", created.order_id.to_string(), Extent::First),
                ("batch", created.batch_id.to_string(), Extent::First),
                ("station", created.station_id.to_string(), Extent::First),
                ("sop", created.sop_id.to_string(), Extent::First),
                ("scene", created.scene_id.to_string(), Extent::First),
                ("subscene", created.subscene_id.to_string(), Extent::First),
            ])
            .await?;
        let bound = evidence.iter().find(|event| event.aggregate_type == "station");
        let robot: Option<i64> = bound.and_then(|bound| bound.said("robot_id"));
        let device: Option<DeviceId> = bound.and_then(|bound| bound.said("robot_serial"));
        if let Some(robot) = robot {
            evidence.extend(self.reads.evidence_of(&[("robot", robot.to_string(), Extent::First)]).await?);
        }
        if let Some(task_created) = evidence.iter().find(|event| event.aggregate_type == "task") {
            let beside = self.reads.evidence_beside(created, task_created, device.as_ref(), standing.position).await?;
            evidence.extend(beside.ok_or(CertificateError::LogBehind)?);
        }
        evidence.extend(episode);
        Ok(issue(&standing, evidence))
    }
}
