use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::session::TransferSession;
use super::status::TransferStatus;
use crate::devices::session::{Effect, Now, Request, Session};
use crate::devices::wire::ToTransfer;
use crate::domain::report::{Report, UploadList};
use crate::domain::task::{UploadReport, Witness};
use crate::domain::{DeviceId, PublicTaskId, Timestamp};

const DEVICE: &str = "AB-F0001-T0003-000001";

struct Stage {
    session: TransferSession,
    now: Now,
    status: TransferStatus,
    said: Vec<Effect>,
}

impl Stage {
    fn open() -> Self {
        let now = Now { at: Instant::now(), wall: Timestamp::from_timestamp_millis(1_795_204_640_000).unwrap() };
        let session = TransferSession::new(DeviceId::parse(DEVICE).unwrap());
        let mut stage = Self { session, now, status: TransferStatus::default(), said: vec![] };
        let effects = stage.session.opened(now);
        stage.heard(effects)
    }

    fn heard(mut self, effects: Vec<Effect>) -> Self {
        for effect in &effects {
            if let Effect::ShowTransfer(status) = effect {
                self.status = status.as_ref().clone();
            }
        }
        self.said.extend(effects);
        self
    }

    fn forget(mut self) -> Self {
        self.said.clear();
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        let wait = Duration::from_secs(seconds);
        self.now = Now { at: self.now.at + wait, wall: self.now.wall + TimeDelta::from_std(wait).unwrap() };
        let effects = self.session.tick(self.now);
        self.heard(effects)
    }

    fn message(mut self, kind: &str, data: Value) -> Self {
        let message = json!({"type": kind, "timestamp": "2026-11-20T20:04:32.929Z", "data": data});
        let effects = self.session.message(self.now, &serde_json::to_vec(&message).unwrap());
        self.heard(effects)
    }

    fn request(mut self, frame: ToTransfer) -> Self {
        let effects = self.session.request(self.now, Request::Frame(frame));
        self.heard(effects)
    }

    fn garbled(mut self) -> Self {
        let effects = self.session.garbled(self.now, "invalid_utf8");
        self.heard(effects)
    }

    fn sent(&self) -> Vec<&str> {
        let sent = self.said.iter().filter_map(|effect| match effect {
            Effect::Send(text) => Some(text.as_str()),
            _ => None,
        });
        sent.collect()
    }

    fn reports(&self) -> Vec<Report> {
        let reports = self.said.iter().filter_map(|effect| match effect {
            Effect::Report(report) => Some(report.clone()),
            _ => None,
        });
        reports.collect()
    }
}

const QUERY: &str = r#"{"type":"status_query"}"#;

fn task(id: &str) -> PublicTaskId {
    PublicTaskId::parse(id).unwrap()
}

fn key(id: &str) -> String {
    format!("1/{DEVICE}/2026-11-20/{id}.mcap")
}

fn record(id: &str, status: &str) -> Value {
    json!({"task_id": id, "status": status, "upload_mode": "mcap_json", "s3_key": key(id), "object_key": key(id),
           "file_size_bytes": 10677, "checksum_sha256": "C8D9", "retry_count": 0, "next_retry_at": null})
}

fn status(waiting: &[&str], uploads: Value) -> Value {
    json!({"version": "0.1.0", "device_id": DEVICE, "waiting_ack_count": waiting.len(), "waiting_ack_task_ids": waiting, "uploads": uploads})
}

fn completed(id: &str, witness: Witness) -> Report {
    let report = UploadReport { object_key: key(id), size_bytes: 10677, sha256: "c8d9".to_owned(), with_sidecar: true };
    Report::UploadsCompleted { uploads: vec![(task(id), report)], witness }
}

fn listed(ids: &[&str]) -> Report {
    Report::UploadsListed(UploadList { tracked: ids.iter().map(|id| task(id)).collect(), ..UploadList::default() })
}

#[test]
fn one_upload_as_the_traces_show_it() {
    let stage = Stage::open().message("connected", status(&[], json!([])));
    assert_eq!((stage.reports(), stage.sent()), (vec![listed(&[])], vec![]));

    let stage = stage
        .forget()
        .request(ToTransfer::UploadRequest { task_id: "t".into(), priority: 1 })
        .message("upload_started", json!({"task_id": "t", "total_bytes": 10677, "status": "active"}))
        .message("upload_complete", record("t", "uploaded_wait_ack"))
        .request(ToTransfer::UploadAck { task_id: "t".into() });
    assert_eq!(stage.reports(), [Report::UploadStarted { task: task("t") }, completed("t", Witness::UploadComplete)]);
    assert_eq!(stage.sent(), [r#"{"type":"upload_request","task_id":"t","priority":1}"#, r#"{"type":"upload_ack","task_id":"t"}"#]);

    // It has the ack: nothing is asked for any more.
    let stage = stage.after(60).message("status", status(&[], json!([record("t", "completed")]))).forget().after(3600);
    assert_eq!(stage.sent(), Vec::<&str>::new());
}

#[test]
fn a_recording_that_waits_for_its_ack_is_reported_from_any_status() {
    let stage = Stage::open().message("connected", status(&["t"], json!([record("t", "uploaded_wait_ack"), record("u", "completed")])));
    assert_eq!(stage.reports(), [completed("t", Witness::TransferStatus), listed(&["t", "u"])]);
}

#[test]
fn hundreds_of_uploads_are_few_reports_however_they_are_told() {
    let ids: Vec<String> = (0..250).map(|n| format!("t-{n:03}")).collect();
    let told = |stage: &Stage, by: Witness| -> (Vec<usize>, usize) {
        let mut seen = BTreeSet::new();
        let reports = stage.reports();
        let uploads = reports.iter().filter_map(|report| match report {
            Report::UploadsCompleted { uploads, witness } if *witness == by => Some(uploads),
            _ => None,
        });
        let sizes = uploads.inspect(|uploads| seen.extend(uploads.iter().map(|(task, _)| task.clone()))).map(Vec::len).collect();
        (sizes, seen.len())
    };
    let list: Vec<Value> = ids.iter().map(|id| record(id, "uploaded_wait_ack")).collect();
    let stage = Stage::open().message("connected", status(&[], json!(list)));
    assert_eq!(told(&stage, Witness::TransferStatus), (vec![100, 100, 50], 250));

    // One by one, as from a queue: the first is not held up, the last ones are not forgotten.
    let queued = || ids.iter().fold(Stage::open(), |stage, id| stage.message("upload_complete", record(id, "uploaded_wait_ack")));
    let stage = queued();
    assert_eq!(told(&stage, Witness::UploadComplete), (vec![1, 100, 100], 201));
    assert_eq!(told(&stage.after(1), Witness::UploadComplete), (vec![1, 100, 100, 49], 250));
    let stage = queued().message("upload_failed", json!({"task_id": "other", "reason": "r"}));
    assert!(matches!(&stage.reports()[3..], [Report::UploadsCompleted { .. }, Report::UploadFailed { .. }]));
    let mut stage = queued();
    let closed = stage.session.closed(stage.now, "gone");
    assert!(
        matches!(&closed[..], [Effect::Report(Report::UploadsCompleted { uploads, .. }), Effect::Report(Report::Closed { .. })] if uploads.len() == 49)
    );
}

#[test]
fn an_id_without_a_record_is_a_request_for_an_ack_and_no_claim_of_an_upload() {
    let no_size = json!({"task_id": "v", "status": "uploaded_wait_ack", "s3_key": key("v")});
    let stage = Stage::open().message("connected", status(&["t", "v"], json!([record("t", "active"), no_size])));
    let list =
        Report::UploadsListed(UploadList { tracked: vec![task("t"), task("v")], under_way: vec![task("t")], ..UploadList::default() });
    assert_eq!(stage.reports(), [Report::AcksWanted { tasks: vec![task("v"), task("t")] }, list]);
}

#[test]
fn while_something_waits_the_status_is_asked_for_with_growing_pauses_and_never_twice() {
    let waiting = || status(&["t"], json!([record("t", "uploaded_wait_ack")]));
    let stage = Stage::open().message("connected", waiting()).forget().after(59);
    assert_eq!(stage.sent(), Vec::<&str>::new());
    let stage = stage.after(1).after(5).request(ToTransfer::StatusQuery {});
    assert_eq!(stage.sent(), [QUERY]);
    let stage = stage.forget().message("status", waiting());
    assert_eq!(stage.reports(), [completed("t", Witness::TransferStatus), listed(&["t"])]);
    let stage = stage.forget().after(119);
    assert_eq!(stage.sent(), Vec::<&str>::new());
    assert_eq!(stage.after(1).sent(), [QUERY]);
}

#[test]
fn a_query_without_an_answer_is_given_up_after_a_while() {
    let stage = Stage::open().request(ToTransfer::StatusQuery {}).after(59).request(ToTransfer::StatusQuery {});
    assert_eq!(stage.sent(), [QUERY]);
    assert_eq!(stage.after(1).request(ToTransfer::StatusQuery {}).sent(), [QUERY, QUERY]);
}

#[test]
fn the_same_upload_told_twice_in_a_row_is_reported_once() {
    let stage = Stage::open()
        .message("upload_complete", record("t", "uploaded_wait_ack"))
        .message("connected", status(&["t"], json!([record("t", "uploaded_wait_ack")])));
    assert_eq!(stage.reports(), [completed("t", Witness::UploadComplete), listed(&["t"])]);
}

#[test]
fn the_short_answer_to_upload_all_wipes_nothing() {
    let stage = Stage::open().message("connected", status(&["t"], json!([record("t", "uploaded_wait_ack")]))).forget();
    let stage = stage.message("status", json!({"pending_count": 2, "active_count": 0, "completed_count": 1}));
    assert_eq!(stage.reports(), []);
    assert_eq!(stage.status.waiting_ack_task_ids, Some(vec!["t".to_owned()]));
    assert_eq!((stage.status.version.as_deref(), stage.status.pending_count, stage.status.waiting_ack_count), (Some("0.1.0"), 2, 1));
}

#[test]
fn uploads_that_have_ended_are_not_kept() {
    let uploads: Vec<Value> = (0..2000).map(|n| record(&format!("t{n}"), "completed")).chain([record("u", "retry-wait")]).collect();
    let stage = Stage::open().message("connected", status(&[], json!(uploads)));
    assert_eq!(stage.status.uploads.map(|uploads| uploads.len()), Some(1));
}

#[test]
fn a_damaged_message_is_followed_by_a_query() {
    let stage = Stage::open().garbled();
    assert_eq!(stage.sent(), [QUERY]);
    // But not by a storm of them.
    let stage = stage.forget().garbled().garbled();
    assert_eq!(stage.sent(), Vec::<&str>::new());
    assert_eq!(stage.after(5).sent(), [QUERY]);
}

#[test]
fn other_messages_become_what_they_say() {
    let stage = Stage::open()
        .message("upload_failed", json!({"task_id": "t", "reason": "curlCode: 7", "retry_count": 3, "next_retry_at": ""}))
        .message("upload_not_found", json!({"task_id": "t", "detail": "ACK for unknown task_id"}))
        .message("local_cleanup_failed", json!({"task_id": "t", "reason": "Directory not empty"}))
        .message("upload_complete", json!({"task_id": "../x"}))
        .message("upload_progress", json!({"task_id": "t"}));
    assert_eq!(
        stage.reports(),
        [
            Report::UploadFailed { task: task("t"), reason: "curlCode: 7".to_owned() },
            Report::UploadNotFound { task: task("t"), detail: "ACK for unknown task_id".to_owned() },
        ]
    );
}

#[test]
fn uploads_that_are_under_way_are_told_as_such() {
    let states = ["pending", "active", "retry-wait", "uploaded_wait_ack", "completed", "failed", "something"];
    let uploads: Vec<Value> = states.iter().map(|state| record(state, state)).collect();
    let stage = Stage::open().message("connected", status(&[], json!(uploads)));
    let Some(Report::UploadsListed(UploadList { under_way, .. })) = stage.reports().pop() else { panic!("no list") };
    assert_eq!(under_way, [task("pending"), task("active"), task("retry-wait")]);
}

#[test]
fn mcap_only_uploads_are_reported_as_such() {
    let mut upload = record("t", "uploaded_wait_ack");
    upload["upload_mode"] = "mcap_only".into();
    let stage = Stage::open().message("upload_complete", upload);
    assert!(matches!(&stage.reports()[..], [Report::UploadsCompleted { uploads, .. }] if !uploads[0].1.with_sidecar));
}

#[test]
fn a_file_that_was_missing_is_looked_for_again_whatever_happens_meanwhile() {
    let not_found = |stage: Stage| stage.message("upload_not_found", json!({"task_id": "t", "detail": "No MCAP file matching t"}));
    let missing =
        Report::UploadsListed(UploadList { missing: vec![(task("t"), "No MCAP file matching t".to_owned())], ..UploadList::default() });
    let stage = not_found(Stage::open().after(5)).message("status", status(&[], json!([])));
    assert_eq!(stage.reports().last(), Some(&missing));
    // Another list, and one in which something waits for its ack for long.
    for waits in [json!([]), json!([record("u", "uploaded_wait_ack")])] {
        let mut stage = not_found(Stage::open().after(5)).message("status", status(&[], json!([])));
        for _ in 0..4 {
            stage = stage.message("status", status(&[], waits.clone()));
        }
        let stage = stage.forget().after(34);
        assert_eq!(stage.sent(), Vec::<&str>::new(), "{waits}");
        let stage = stage.after(1);
        assert_eq!(stage.sent(), [QUERY], "{waits}");
        // Once: the next miss begins anew.
        let stage = stage.message("status", status(&[], json!([]))).forget().after(50);
        assert_eq!(stage.sent(), Vec::<&str>::new(), "{waits}");
    }
}

#[test]
fn what_was_given_up_is_in_the_list_if_its_message_was_lost() {
    let mut upload = record("t", "failed");
    upload["last_error"] = "curlCode: 7".into();
    let stage = Stage::open().message("connected", status(&[], json!([upload, record("u", "failed"), record("v", "retry-wait")])));
    let failed = vec![(task("t"), "curlCode: 7".to_owned()), (task("u"), "the upload was given up".to_owned())];
    let (tracked, under_way) = (vec![task("t"), task("u"), task("v")], vec![task("v")]);
    assert_eq!(stage.reports(), [Report::UploadsListed(UploadList { tracked, missing: vec![], failed, under_way })]);
}

#[test]
fn the_latest_that_were_given_up_are_shown_with_their_errors() {
    let given_up = |n: usize| {
        let mut upload = record(&format!("t{n:02}"), "failed");
        upload["last_error"] = format!("curlCode: {n} {}", "x".repeat(5000)).into();
        upload["updated_at"] = format!("2026-11-20T20:04:{n:02}Z").into();
        upload
    };
    let mut uploads: Vec<Value> = (0..12).map(given_up).collect();
    uploads.push(record("u", "active"));
    let mut listed = status(&[], json!(uploads));
    listed["failed_count"] = json!(12);
    let stage = Stage::open().message("connected", listed);
    let shown = serde_json::to_value(&stage.status).unwrap();
    assert_eq!((&shown["failed_count"], shown["uploads"].as_array().map(Vec::len)), (&json!(12), Some(1)));
    let failed: Vec<&str> = shown["failed_uploads"].as_array().unwrap().iter().map(|one| one["task_id"].as_str().unwrap()).collect();
    assert_eq!(failed, ["t11", "t10", "t09", "t08", "t07", "t06", "t05", "t04", "t03", "t02"]);
    let error = shown["failed_uploads"][0]["last_error"].as_str().unwrap();
    assert!(error.starts_with("curlCode: 11") && error.len() == 300, "{error}");
    // A short status says nothing of them; the next list has what there is.
    let stage = stage.message("status", json!({"failed_count": 12}));
    assert_eq!(stage.status.failed_uploads.len(), 10);
    let stage = stage.message("status", status(&[], json!([])));
    assert_eq!(stage.status.failed_uploads, []);
}
