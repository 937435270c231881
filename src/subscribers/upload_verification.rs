//! Compares an uploaded object with what the device said about it, before the device may
//! delete its copy.
//!
//! ```text
//!  upload_reported ─► HEAD (size) ─► every byte hashed and measured, in one pass ─► summary sound?
//!                        │                       │                                     │
//!                        └── no ──► upload_rejected, no ack ◄──────────────────────────┘
//!                                                              yes ─► durable on disk ─► AcceptUpload
//! ```
//!
//! After `damaged_upload_wanted` the object is looked at in the same way, and what is wrong with it goes into what is accepted.
//!
//! A recording whose summary is missing or says too little has to be whole from its first record to its last, as the same pass
//! found it, and that is noted. So is what the sidecar says and cannot be used.
//!
//! A repeat reads the object again and finds the task completed by this very upload: nothing
//! changes. An object store that is away opens the circuit and costs no attempts.

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::context::context_of;
use super::sidecar::Sidecar;
use crate::blobs::{BlobError, Blobs, ObjectKey};
use crate::commands::uploads::{AcceptUpload, Acceptance, RejectUpload};
use crate::commands::{CommandError, Commands};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::episode::SidecarObject;
use crate::domain::measurement::{Facts, Finding, FindingKind, SidecarFacts};
use crate::domain::routing::SubscriberName;
use crate::domain::task::{DAMAGED_UPLOAD_WANTED, Damage, Rejection, UploadReport, VerifiedUpload};
use crate::domain::{RefusalCode, TaskId};
use crate::mcap::measure::sidecar_facts;
use crate::mcap::{ReadSummaryError, read_pieces};
use crate::qa::{Read, measure_object};
use crate::telemetry::chain;

pub struct UploadVerification {
    commands: Commands,
    blobs: Blobs,
    /// A larger sidecar is not read.
    sidecar_bytes_max: u64,
}

/// Why a verification has no verdict.
enum Stopped {
    Rejected(Rejection),
    Storage(BlobError),
}

impl From<BlobError> for Stopped {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Changed(_) => Stopped::Rejected(Rejection::ObjectChanged {}),
            other => Stopped::Storage(other),
        }
    }
}

impl From<ReadSummaryError<BlobError>> for Stopped {
    fn from(error: ReadSummaryError<BlobError>) -> Self {
        match error {
            ReadSummaryError::Unsound(defect) => Stopped::Rejected(Rejection::Unsound { defect: defect.to_string() }),
            ReadSummaryError::Read(error) => error.into(),
            ReadSummaryError::ShortRead { .. } => Stopped::Rejected(Rejection::ObjectChanged {}),
        }
    }
}

/// What verification found.
struct Findings {
    verified: VerifiedUpload,
    sidecar: Sidecar,
    sidecar_object: Option<SidecarObject>,
    facts: Option<Box<Facts>>,
}

/// What is wrong with an object that a person may want all the same.
struct Damages {
    wanted: bool,
    first: Option<Rejection>,
}

impl Damages {
    /// Where nobody wants it, it is rejected.
    fn found(&mut self, rejection: Rejection) -> Result<(), Stopped> {
        if !self.wanted {
            return Err(Stopped::Rejected(rejection));
        }
        self.first.get_or_insert(rejection);
        Ok(())
    }
}

/// Whether a finding is about the file as a whole, as both of its ends tell it where it has a summary.
fn is_of_the_file(finding: &Finding) -> bool {
    use FindingKind as Kind;
    match finding.kind {
        Kind::TooShort | Kind::HeadMagic | Kind::TailMagic | Kind::Cut | Kind::BehindEnd | Kind::Header | Kind::Footer => true,
        Kind::SummaryCrc | Kind::SummaryRecord => true,
        // One outside of chunks: what follows it cannot be found.
        Kind::Record => finding.chunk.is_none(),
        _ => false,
    }
}

impl UploadVerification {
    pub fn new(commands: Commands, blobs: Blobs, sidecar_bytes_max: u64) -> Self {
        Self { commands, blobs, sidecar_bytes_max }
    }

    /// `wanted`: a person wants it also where it is damaged.
    async fn verify(&self, report: &UploadReport, wanted: bool) -> Result<Findings, Stopped> {
        let mut damage = Damages { wanted, first: None };
        let missing = |key: &str| Stopped::Rejected(Rejection::ObjectMissing { key: key.to_owned() });
        let key = ObjectKey::new(&report.object_key).map_err(|_| missing(&report.object_key))?;
        let head = match self.blobs.head(&key).await {
            Err(BlobError::NotFound(_)) => return Err(missing(&report.object_key)),
            head => head?,
        };
        if head.size != report.size_bytes {
            damage.found(Rejection::SizeDiffers { reported: report.size_bytes, found: head.size })?;
        }
        let sidecar_key = report.object_key.strip_suffix(".mcap").map(|stem| format!("{stem}.json")).filter(|_| report.with_sidecar);
        let (mut sidecar, mut sidecar_facts, mut sidecar_object) = (Sidecar::default(), None, None);
        let sidecar_key = match sidecar_key {
            None => None,
            Some(text) => {
                let key = ObjectKey::new(&text).map_err(|_| missing(&text))?;
                match self.read_sidecar(&key).await {
                    Err(BlobError::NotFound(_)) => {
                        damage.found(Rejection::ObjectMissing { key: text })?;
                        sidecar_facts = Some(SidecarFacts::Missing);
                        None
                    }
                    found => {
                        let (found, facts, object) = found?;
                        (sidecar, sidecar_facts, sidecar_object) = (found, Some(facts), Some(object));
                        Some(key)
                    }
                }
            }
        };
        // Every byte once, at one entity tag: what was hashed and measured is what will stay.
        let Read { look, passed } = measure_object(&self.blobs, &key, &head).await?;
        metrics::counter!(crate::telemetry::UPLOAD_VERIFIED_BYTES).increment(passed.bytes);
        if !passed.sha256.eq_ignore_ascii_case(&report.sha256) {
            damage.found(Rejection::ContentDiffers { reported: report.sha256.clone(), found: passed.sha256.clone() })?;
        }
        let measured = passed.facts.as_ref().map_or(0, |facts| facts.message_count);
        let (mut message_count, read_through) = match &look.summary {
            Ok(summary) => (summary.message_count, None),
            Err(defect) if defect.is_damage() => {
                damage.found(Rejection::Unsound { defect: defect.to_string() })?;
                (measured, None)
            }
            Err(lacking) => {
                let read_through = Some(format!("the recording was read from its first byte to its last: {lacking}"));
                match &passed.facts {
                    // What a summary would have told: whether the file is whole. What is in its chunks, the checks judge.
                    Some(facts) => match facts.findings.items.iter().find(|finding| is_of_the_file(finding)) {
                        Some(broken) => {
                            damage.found(Rejection::Unsound { defect: broken.text.clone() })?;
                            (measured, None)
                        }
                        None => (facts.message_count, read_through),
                    },
                    // A mistake in our code costs facts, and no upload.
                    None => match read_pieces(self.blobs.pieces(&key, &head), head.size).await.map_err(Stopped::from) {
                        Ok(read) => (read.message_count, read_through),
                        Err(Stopped::Rejected(unsound @ Rejection::Unsound { .. })) => {
                            damage.found(unsound)?;
                            (measured, None)
                        }
                        Err(stopped) => return Err(stopped),
                    },
                }
            }
        };
        self.blobs.make_durable(&key).await?;
        if let Some(sidecar_key) = &sidecar_key {
            self.blobs.make_durable(sidecar_key).await?;
        }
        if i64::try_from(message_count).is_err() {
            damage.found(Rejection::Unsound { defect: format!("it claims {message_count} messages") })?;
            message_count = measured;
        }
        let verified = VerifiedUpload {
            report: report.clone(),
            etag: Some(head.etag),
            message_count,
            verified_bytes: passed.bytes,
            notes: read_through.into_iter().chain(std::mem::take(&mut sidecar.notes)).collect(),
            damage: damage.first.map(|rejection| Damage { rejection, sha256: passed.sha256 }),
        };
        let facts = passed.facts.map(|facts| Box::new(Facts { sidecar: sidecar_facts, ..facts }));
        Ok(Findings { verified, sidecar, sidecar_object, facts })
    }

    async fn read_sidecar(&self, key: &ObjectKey) -> Result<(Sidecar, SidecarFacts, SidecarObject), BlobError> {
        let head = self.blobs.head(key).await?;
        let max_bytes = self.sidecar_bytes_max;
        let (sidecar, facts, sha256) = match head.size {
            size_bytes if size_bytes > max_bytes => (
                Sidecar::unread(&format!("it has {size_bytes} bytes, more than limits.sidecar_bytes_max ({max_bytes})")),
                SidecarFacts::TooLarge { size_bytes, max_bytes },
                None,
            ),
            size => {
                let bytes = self.blobs.read_range(key, 0..size, Some(&head.etag)).await?;
                (Sidecar::read(&bytes), sidecar_facts(&bytes), Some(hex::encode(Sha256::digest(&bytes))))
            }
        };
        for note in &sidecar.notes {
            warn!(object.key = %key, "The episode goes without a value of the sidecar `{key}`: {note}");
        }
        Ok((sidecar, facts, SidecarObject { size_bytes: head.size, sha256 }))
    }

    async fn conclude(&self, delivery: &Delivery, task: TaskId, report: UploadReport) -> Outcome {
        let (event, context) = (&delivery.event, context_of(self.name(), delivery));
        let wanted = event.event_type == DAMAGED_UPLOAD_WANTED;
        let answer = match self.verify(&report, wanted).await {
            Ok(found) => {
                let command = AcceptUpload {
                    task,
                    reported_in: event.sequence,
                    bucket: self.blobs.bucket().to_owned(),
                    duration_sec: found.sidecar.duration_sec,
                    metadata: found.sidecar.episode_metadata(),
                    sidecar: found.sidecar_object,
                    verified: found.verified,
                    facts: found.facts,
                };
                self.commands.execute(&context, command).await.map(|acceptance| match acceptance {
                    Acceptance::Created(id) => info!(task.id = %task, episode.id = %id, "Verified the upload of task {task}: episode {id}"),
                    Acceptance::Known => {}
                })
            }
            Err(Stopped::Rejected(rejection)) => {
                warn!(task.id = %task, error = %rejection, "Rejected the upload of task {task}: {rejection}");
                metrics::counter!(crate::telemetry::UPLOADS_REJECTED).increment(1);
                self.commands.execute(&context, RejectUpload { task, reported_in: event.sequence, report, rejection }).await
            }
            Err(Stopped::Storage(error)) => return storage_trouble(&error),
        };
        match answer {
            Ok(()) => Outcome::Delivered,
            // The device reported something newer meanwhile, or the task ended: that report is no longer of interest.
            Err(CommandError::Refused(refusal))
                if matches!(
                    refusal.code,
                    RefusalCode::TaskEnded | RefusalCode::TaskNotFound | RefusalCode::OtherUpload | RefusalCode::NothingToVerify
                ) =>
            {
                info!(task.id = %task, reason = %refusal, "The verified upload of task {task} changes nothing");
                Outcome::Delivered
            }
            Err(CommandError::Refused(refusal)) => Outcome::Permanent { error: refusal.to_string() },
            Err(CommandError::Unavailable(error) | CommandError::Unfit(error)) => Outcome::Retry { error, after: None },
            Err(error @ (CommandError::Conflict | CommandError::Failed(_))) => Outcome::Retry { error: format!("{error:#}"), after: None },
        }
    }
}

pub(super) fn storage_trouble(error: &BlobError) -> Outcome {
    let text = chain(error);
    match error {
        BlobError::Unavailable(_) => Outcome::DestinationDown { error: text },
        _ => Outcome::Retry { error: text, after: None },
    }
}

#[async_trait]
impl Subscriber for UploadVerification {
    fn name(&self) -> SubscriberName {
        SubscriberName::UploadVerification
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let event = &delivery.event;
        let report = event.content().get("report").cloned().unwrap_or(Value::Null);
        match (event.aggregate_id.parse(), serde_json::from_value::<UploadReport>(report)) {
            (Ok(task), Ok(report)) => self.conclude(delivery, TaskId(task), report).await,
            (_, Err(error)) => Outcome::Permanent { error: format!("the event has no upload report: {error}") },
            (Err(error), _) => Outcome::Permanent { error: format!("the stream is no task: {error}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Access;
    use crate::config::{Config, Secret};

    /// What is kept beside a delivery, and in its dead letter, says why and not only what.
    #[tokio::test]
    async fn trouble_with_the_store_is_told_with_its_causes() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", taken.local_addr().unwrap());
        drop(taken);
        let access = Access { endpoint, public_endpoint: None, access_key: "k".into(), secret_key: Secret::new("s"), local: None };
        let blobs = Blobs::new(access, &Config::defaults().s3).unwrap();
        let away = blobs.head(&ObjectKey::new("a/b.mcap").unwrap()).await.unwrap_err();
        let Outcome::DestinationDown { error } = storage_trouble(&away) else { panic!("{away:?}") };
        assert!(error.starts_with("the object store is not available: ") && error.contains("Connection refused"), "{error}");

        let denied = BlobError::Denied("SignatureDoesNotMatch".into());
        let Outcome::Retry { error, .. } = storage_trouble(&denied) else { panic!("{denied:?}") };
        assert_eq!(error, "the object store refused our credentials or rights: SignatureDoesNotMatch");
    }
}
