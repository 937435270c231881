//! What verification found out about an uploaded object, and what the store refused to write.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::production::{EndedTask, Production};
use super::{Command, CommandError, Refusal, Work, chance, qa};
use crate::domain::batch::{BatchCommand, BatchStatus};
use crate::domain::episode::{self, Episode, EpisodeCommand, LATE_UPLOAD, Measured, RECALLED_BATCH, SidecarObject};
use crate::domain::measurement::Facts;
use crate::domain::tally::TaskOutcome;
use crate::domain::task::{RefusedWrite, Rejection, TaskCommand, UploadReport, VerifiedUpload};
use crate::domain::{EpisodeId, RefusalCode, TaskId};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// The object is what the device said it is, or a person wants it as it is: an episode is created, the task is completed, batch and
/// order follow, and the ack is queued; all or nothing.
#[derive(Clone, Debug)]
pub struct AcceptUpload {
    pub task: TaskId,
    /// Sequence of the event whose report was verified.
    pub reported_in: i64,
    pub verified: VerifiedUpload,
    pub bucket: String,
    pub duration_sec: Option<f64>,
    pub metadata: Option<Value>,
    /// The file beside it, where there is one.
    pub sidecar: Option<SidecarObject>,
    /// Without where it could not be measured.
    pub facts: Option<Box<Facts>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acceptance {
    /// A new episode.
    Created(EpisodeId),
    /// It was accepted before.
    Known,
}

impl Command for AcceptUpload {
    type Answer = Acceptance;
    const NAME: &'static str = "accept_upload";

    async fn run(&self, work: &mut Work) -> Result<Acceptance, CommandError> {
        let (owner, mut task) = found(work, self.task).await?;
        let episode_id = EpisodeId(facts::new_ids(&mut work.tx, "episode_ids", 1).await?[0]);
        let command =
            TaskCommand::AcceptUpload { reported_in: self.reported_in, verified: self.verified.clone(), episode_id, at: work.now };
        if work.decide(&mut task, command)? == 0 {
            return Ok(Acceptance::Known);
        }
        let brief = task.state.dispatched().map(|task| task.brief.clone()).ok_or_else(|| no_task(self.task))?;
        let (task_id, batch_id) = (self.task, brief.batch_id);
        let late = task.state.dispatched().is_some_and(|task| task.stage.ended_without_recording());
        let replaced = task.state.dispatched().is_some_and(|task| task.replaced_by.is_some());
        let word = task.state.dispatched().and_then(|task| task.word.clone());
        let reason = task.state.dispatched().and_then(|task| task.upload.as_ref()?.wanted.clone());
        let damage = self.verified.damage.as_ref().zip(reason);
        let mut production = Production::lock(work, brief.order_id).await?;
        if late {
            // The task keeps its end, and its tallies do; the recording is not lost.
            production.load_batch(work, batch_id).await?;
        } else {
            production.settle(work, EndedTask { task_id, batch_id, replaced }, TaskOutcome::Completed).await?;
        }
        production.decide_batch(work, batch_id, BatchCommand::AddEpisode { episode_id })?;
        // It was recalled while this recording was on its way.
        let recalled = production.batch(batch_id).is_ok_and(|batch| batch.status == BatchStatus::Recalled);
        production.finish(work).await?;
        let report = &self.verified.report;
        let path = |key: &str| format!("{}/{key}", self.bucket);
        let sidecar_key = report.object_key.strip_suffix(".mcap").map(|stem| format!("{stem}.json"));
        let created = episode::Created {
            episode_id: chance::id().to_string(),
            task_id: self.task,
            public_task_id: owner.public_id.clone(),
            batch_id: brief.batch_id,
            order_id: brief.order_id,
            station_id: brief.station_id,
            sop_id: brief.sop_id,
            scene_id: brief.scene_id,
            scene_name: owner.scene_name,
            subscene_id: brief.subscene_id,
            subscene_name: owner.subscene_name,
            factory_id: brief.factory_id,
            organization_id: brief.organization_id,
            mcap_path: path(&report.object_key),
            sidecar_path: sidecar_key.filter(|_| report.with_sidecar).map(|key| path(&key)),
            checksum: damage.as_ref().map_or_else(|| report.sha256.clone(), |(damage, _)| damage.sha256.clone()),
            file_size_bytes: if damage.is_some() { self.verified.verified_bytes } else { report.size_bytes },
            etag: self.verified.etag.clone(),
            duration_sec: self.duration_sec,
            message_count: self.verified.message_count,
            metadata: with_asset(self.metadata.clone(), owner.asset_id.as_deref()),
            damage: damage.map(|(damage, reason)| episode::Damage { what: damage.rejection.to_string(), reason }),
            sidecar: self.sidecar.clone(),
        };
        let mut episode = Loaded::<Episode>::absent(episode_id);
        work.decide(&mut episode, EpisodeCommand::Create(created))?;
        if let Some(facts) = &self.facts {
            let wants = qa::wants(work, brief.station_id, &report.sha256).await?;
            let measured = Measured { facts: (**facts).clone(), wants };
            work.decide(&mut episode, EpisodeCommand::Measure(Box::new(measured)))?;
        }
        // Said while it was on its way.
        if let Some(word) = word {
            work.decide(&mut episode, EpisodeCommand::HearWord { word })?;
        }
        if late {
            work.decide(&mut episode, EpisodeCommand::Label { label: LATE_UPLOAD.to_owned() })?;
        }
        if recalled {
            work.decide(&mut episode, EpisodeCommand::Label { label: RECALLED_BATCH.to_owned() })?;
        }
        Ok(Acceptance::Created(episode_id))
    }
}

/// What is kept with an episode, and which device the data platform knew its robot as.
fn with_asset(metadata: Option<Value>, asset_id: Option<&str>) -> Option<Value> {
    let Some(asset_id) = asset_id else { return metadata };
    let mut kept = match metadata {
        Some(Value::Object(kept)) => kept,
        _ => Map::new(),
    };
    kept.insert("asset_id".to_owned(), asset_id.into());
    Some(Value::Object(kept))
}

/// The object is not what the device said it is: recorded, and no ack is sent.
#[derive(Clone, Debug)]
pub struct RejectUpload {
    pub task: TaskId,
    /// Sequence of the event whose report was verified.
    pub reported_in: i64,
    pub report: UploadReport,
    pub rejection: Rejection,
}

impl Command for RejectUpload {
    type Answer = ();
    const NAME: &'static str = "reject_upload";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (_, mut task) = found(work, self.task).await?;
        let command =
            TaskCommand::RejectUpload { reported_in: self.reported_in, report: self.report.clone(), rejection: self.rejection.clone() };
        work.decide(&mut task, command)?;
        Ok(())
    }
}

/// The store refused to replace an object of the task.
#[derive(Clone, Debug)]
pub struct NoteRefusedWrite {
    pub task: TaskId,
    pub write: RefusedWrite,
}

impl Command for NoteRefusedWrite {
    type Answer = ();
    const NAME: &'static str = "note_refused_write";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (_, mut task) = found(work, self.task).await?;
        work.decide(&mut task, TaskCommand::NoteRefusedWrite(self.write.clone()))?;
        Ok(())
    }
}

fn no_task(id: TaskId) -> Refusal {
    Refusal::new(RefusalCode::TaskNotFound, format!("there is no task {id}"))
}

async fn found(work: &mut Work, id: TaskId) -> Result<(facts::TaskOwner, Loaded<crate::domain::task::Task>), CommandError> {
    facts::task_by_id(&mut work.tx, id).await?.ok_or_else(|| no_task(id).into())
}
