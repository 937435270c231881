//! Episodes without a robot: an upload as a device reports it, and as it is verified.

use keystone_edge::blobs::{Blobs, ObjectKey, PutFacts};
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::uploads::AcceptUpload;
use keystone_edge::commands::{Commands, Context};
use keystone_edge::domain::device::LinkKind;
use keystone_edge::domain::episode::SidecarObject;
use keystone_edge::domain::measurement::Facts;
use keystone_edge::domain::task::{UploadReport, VerifiedUpload};
use keystone_edge::domain::{DeviceId, PublicTaskId, TaskId};
use keystone_edge::mcap::measure::sidecar_facts;
use keystone_edge::qa::measure_object;
use sha2::{Digest as _, Sha256};

use crate::factory::{last_report, uploaded};
use crate::harness::bench::Recording;

/// Of one device.
pub struct EpisodeMaker {
    commands: Commands,
    pool: deadpool_postgres::Pool,
    blobs: Blobs,
    bucket: String,
    device: DeviceId,
    epoch: i64,
}

impl EpisodeMaker {
    pub async fn new(commands: Commands, pool: deadpool_postgres::Pool, blobs: Blobs, bucket: &str, device: &str) -> Self {
        let device = DeviceId::parse(device).expect("a device id");
        let link = OpenLink { device: device.clone(), kind: LinkKind::Transfer, remote: "a".into(), process: None };
        let epoch = commands.execute(&Context::system(), link).await.expect("a link");
        Self { commands, pool, blobs, bucket: bucket.to_owned(), device, epoch }
    }

    /// The key of the task's recording.
    pub fn key(&self, task: &str) -> String {
        format!("1/{}/2026-11-20/{task}.mcap", self.device)
    }

    /// The task's recording is stored and an episode, of which nothing was measured.
    pub async fn make(&self, task: i64, public: &str, recording: &Recording) {
        self.store(task, public, recording, false).await;
    }

    /// The same, with what verification measures of it.
    pub async fn make_measured(&self, task: i64, public: &str, recording: &Recording) {
        self.store(task, public, recording, true).await;
    }

    async fn store(&self, task: i64, public: &str, recording: &Recording, measured: bool) {
        let key = self.key(public);
        self.put(&key, recording.mcap.clone()).await;
        if let Some(sidecar) = &recording.sidecar {
            self.put(&key.replace(".mcap", ".json"), sidecar.clone()).await;
        }
        let (etag, facts) = match measured {
            true => self.measured(&key, recording).await,
            false => (None, None),
        };
        let size_bytes = recording.mcap.len() as u64;
        let report =
            UploadReport { object_key: key, size_bytes, sha256: recording.sha256.clone(), with_sidecar: recording.sidecar.is_some() };
        self.accept(task, public, report, etag, facts).await;
    }

    /// What is stored already is an episode, with these facts of it.
    pub async fn accept(&self, task: i64, public: &str, report: UploadReport, etag: Option<String>, facts: Option<Box<Facts>>) {
        let (context, task) = (Context::system(), TaskId(task));
        let public = PublicTaskId::parse(public).expect("a task id");
        self.commands.execute(&context, uploaded(&self.device, self.epoch, public, report.clone())).await.expect("it is reported");
        let sidecar = self.sidecar_of(&report).await;
        let verified = VerifiedUpload { verified_bytes: report.size_bytes, report, etag, message_count: 1, notes: vec![], damage: None };
        let reported_in = last_report(&self.pool, task).await;
        let bucket = self.bucket.clone();
        let accept = AcceptUpload { task, reported_in, verified, bucket, sidecar, duration_sec: Some(5.123), metadata: None, facts };
        self.commands.execute(&context, accept).await.expect("it is verified");
    }

    /// As it is verified; none where there is none.
    async fn sidecar_of(&self, report: &UploadReport) -> Option<SidecarObject> {
        let key = ObjectKey::new(report.object_key.replace(".mcap", ".json")).expect("a key");
        let head = self.blobs.head(&key).await.ok().filter(|_| report.with_sidecar)?;
        let content = self.blobs.read_range(&key, 0..head.size, Some(&head.etag)).await.expect("it is read");
        Some(SidecarObject { size_bytes: head.size, sha256: Some(hex::encode(Sha256::digest(content))) })
    }

    pub async fn measured(&self, key: &str, recording: &Recording) -> (Option<String>, Option<Box<Facts>>) {
        let key = ObjectKey::new(key).expect("a key");
        let head = self.blobs.head(&key).await.expect("an object");
        let read = measure_object(&self.blobs, &key, &head).await.expect("it is measured");
        let sidecar = recording.sidecar.as_deref().map(sidecar_facts);
        (Some(head.etag), read.passed.facts.map(|facts| Box::new(Facts { sidecar, ..facts })))
    }

    pub async fn put(&self, key: &str, content: Vec<u8>) {
        let key = ObjectKey::new(key).expect("a key");
        self.blobs.put(&key, content.into(), &PutFacts::default()).await.expect("an object");
    }
}
