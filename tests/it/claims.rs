//! A verdict is about one report: until it is given the objects of that report keep their bytes, whatever becomes of the
//! task, and afterwards nothing that was read before counts.

use keystone_edge::commands::Command;
use keystone_edge::commands::batches::CreatedTask;
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::tasks::FailTask;
use keystone_edge::commands::uploads::{AcceptUpload, Acceptance, RejectUpload};

use keystone_edge::domain::device::LinkKind;
use keystone_edge::domain::report::Report;
use keystone_edge::domain::task::{Rejection, UploadReport, VerifiedUpload};
use keystone_edge::projections::reads::Reads;

use crate::factory::{Factory, device, done, last_report, refused, uploaded, uploader_tells};
use crate::harness::TestDatabase;

struct Bench {
    database: TestDatabase,
    factory: Factory,
    task: CreatedTask,
    epoch: i64,
}

impl Bench {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let factory = Factory::new(&database.pool, 1).await;
        let order = factory.order("Cups", 1).await;
        let task = factory.batch(order, 0, 1).await.tasks.remove(0);
        let link = OpenLink { device: device(0), kind: LinkKind::Transfer, remote: "a".into(), process: None };
        let epoch = done(&factory.commands, link).await;
        Self { database, factory, task, epoch }
    }

    fn key(&self, folder: &str) -> String {
        format!("1/{}/{folder}/{}.mcap", device(0), self.task.public_id)
    }

    fn says(&self, folder: &str) -> UploadReport {
        UploadReport { object_key: self.key(folder), size_bytes: 1, sha256: "ab".repeat(32), with_sidecar: false }
    }

    /// The device reports it; the event that a verification would be about.
    async fn report(&self, folder: &str) -> i64 {
        let (task, report) = (self.task.public_id.clone(), self.says(folder));
        done(&self.factory.commands, uploaded(&device(0), self.epoch, task, report)).await;
        last_report(&self.database.pool, self.task.id).await
    }

    async fn gives_up(&self) {
        let (task, reason) = (self.task.public_id.clone(), "disk".to_owned());
        done(&self.factory.commands, uploader_tells(&device(0), self.epoch, Report::UploadFailed { task, reason })).await;
    }

    fn accept(&self, reported_in: i64, folder: &str) -> AcceptUpload {
        let verified =
            VerifiedUpload { report: self.says(folder), etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage: None };
        AcceptUpload {
            task: self.task.id,
            reported_in,
            verified,
            bucket: "edge".into(),
            sidecar: None,
            duration_sec: None,
            metadata: None,
            facts: None,
        }
    }

    fn reject(&self, reported_in: i64, folder: &str) -> RejectUpload {
        RejectUpload { task: self.task.id, reported_in, report: self.says(folder), rejection: Rejection::ObjectChanged {} }
    }

    async fn refused<C: Command>(&self, command: C) -> &'static str {
        refused(&self.factory.commands, command).await.code.as_str()
    }

    /// Whether the object keeps its bytes.
    async fn kept(&self, folder: &str) -> bool {
        let (key, reads) = (self.key(folder), Reads::new(self.database.pool.clone()));
        let mcap = reads.claim_to_object("edge", &key).await.unwrap();
        let sidecar = reads.claim_to_object("edge", &key.replace(".mcap", ".json")).await.unwrap();
        assert!(mcap.as_ref().is_some_and(|claim| claim.verified) || mcap.is_some() == sidecar.is_some());
        mcap.is_some()
    }
}

#[tokio::test]
async fn a_task_that_a_person_ends_keeps_what_is_being_verified() {
    let bench = Bench::new().await;
    let reported = bench.report("2026-11-20").await;
    assert!(bench.kept("2026-11-20").await);
    done(&bench.factory.commands, FailTask { task_id: bench.task.id, reason: "scrapped".into() }).await;
    assert!(bench.kept("2026-11-20").await, "it is verified to the end");
    assert!(matches!(done(&bench.factory.commands, bench.accept(reported, "2026-11-20")).await, Acceptance::Created(_)));
    assert!(bench.kept("2026-11-20").await);
    assert_eq!(done(&bench.factory.commands, bench.accept(reported, "2026-11-20")).await, Acceptance::Known);
}

#[tokio::test]
async fn an_upload_that_was_given_up_and_reported_again_is_verified_anew() {
    let bench = Bench::new().await;
    let first = bench.report("2026-11-20").await;
    bench.gives_up().await;
    assert!(!bench.kept("2026-11-20").await);
    assert_eq!(bench.refused(bench.accept(first, "2026-11-20")).await, "task_ended");
    let second = bench.report("2026-11-20").await;
    assert!(second > first && bench.kept("2026-11-20").await);
    assert_eq!(bench.refused(bench.accept(first, "2026-11-20")).await, "other_upload", "what was read before says nothing");
    done(&bench.factory.commands, bench.reject(second, "2026-11-20")).await;
    assert!(!bench.kept("2026-11-20").await);
    for verdict in [first, second] {
        assert_eq!(bench.refused(bench.accept(verdict, "2026-11-20")).await, "other_upload", "it may have been replaced since");
    }
    let third = bench.report("2026-11-20").await;
    assert!(third > second && bench.kept("2026-11-20").await);
    assert!(matches!(done(&bench.factory.commands, bench.accept(third, "2026-11-20")).await, Acceptance::Created(_)));
}

#[tokio::test]
async fn a_report_of_another_object_in_between_voids_the_first_verdict() {
    let bench = Bench::new().await;
    let first = bench.report("2026-11-20").await;
    let other = bench.report("2026-11-21").await;
    assert!(!bench.kept("2026-11-20").await && bench.kept("2026-11-21").await);
    let again = bench.report("2026-11-20").await;
    assert!(bench.kept("2026-11-20").await && !bench.kept("2026-11-21").await);
    assert_eq!(bench.refused(bench.accept(first, "2026-11-20")).await, "other_upload");
    assert_eq!(bench.refused(bench.reject(first, "2026-11-20")).await, "other_upload");
    assert_eq!(bench.refused(bench.accept(other, "2026-11-21")).await, "other_upload");
    assert!(matches!(done(&bench.factory.commands, bench.accept(again, "2026-11-20")).await, Acceptance::Created(_)));
}
