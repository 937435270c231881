//! The conversation with an uploader.
//!
//! An uploader says once that a recording is in the bucket, and then waits for its ack in
//! silence, over reconnects and restarts, with the recording on its disk. So every status
//! that lists a waiting recording is as good a witness as `upload_complete`, and while
//! something waits we ask for the status again from time to time.
//!
//! There is never more than one `status_query` under way: uploaders damage long answers
//! that are queued behind each other.
//!
//! `upload_not_found` has four meanings, from "no such file" to "known for long". So the
//! status is asked for after it: what is in its list is known, and what is not has no file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::super::session::{Effect, Now, QueryError, Request, Session};
use super::super::wire::{self, FromTransfer, ToTransfer, UploadRecord};
use super::status::{self, TransferStatus};
use crate::domain::report::{Report, UploadList};
use crate::domain::task::{UploadReport, Witness};
use crate::domain::{DeviceId, PublicTaskId};

/// How long an answer to `status_query` is waited for before another one is sent.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The least time between two status queries of our own, whatever goes wrong.
const QUERY_PAUSE: Duration = Duration::from_secs(5);

/// While a recording waits for its ack: the first query after this, then twice as long each
/// time. Verifying and acknowledging takes seconds; a device whose deletion fails takes minutes.
const WAITING_FIRST: Duration = Duration::from_secs(60);
const WAITING_LAST: Duration = Duration::from_secs(900);

/// The list is looked at again after this where a file was missing: it may be there by then.
const MISSING_AGAIN: Duration = Duration::from_secs(35);

/// Missing files that are remembered until the next list.
const NOT_FOUND_MAX: usize = 1_000;

/// Uploads in one report. A device that was alone for a weekend has hundreds, and each of them is a transaction: together
/// they do not fill the queue, and piece by piece they can be interrupted.
const UPLOADS_PER_REPORT: usize = 100;

/// Completed uploads that come one upon the other, as from a queue, are reported together.
const TOGETHER: Duration = Duration::from_millis(100);

/// The same upload is reported once in this time, so that `upload_complete` and the status
/// after it do not become two acks.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

pub struct TransferSession {
    device: DeviceId,
    status: TransferStatus,
    asked: Option<Instant>,
    last_asked: Option<Instant>,
    query_due: Option<Instant>,
    /// Apart from the others: whatever is asked and told before it, the list is looked at again then.
    missing_due: Option<Instant>,
    waiting_pause: Duration,
    /// What was lately reported on this link, and when.
    reported: BTreeMap<PublicTaskId, (Option<UploadReport>, Instant)>,
    /// When those are forgotten that would be news again.
    forget_due: Option<Instant>,
    /// Completed uploads that were told one by one and are not reported yet.
    completed: Vec<(PublicTaskId, UploadReport)>,
    completed_at: Option<Instant>,
    /// What the uploader said it does not find, until its list tells more.
    not_found: BTreeMap<PublicTaskId, String>,
}

impl TransferSession {
    pub fn new(device: DeviceId) -> Self {
        Self {
            device,
            status: TransferStatus::default(),
            asked: None,
            last_asked: None,
            query_due: None,
            missing_due: None,
            waiting_pause: WAITING_FIRST,
            reported: BTreeMap::new(),
            forget_due: None,
            completed: vec![],
            completed_at: None,
            not_found: BTreeMap::new(),
        }
    }

    fn query_by(&mut self, at: Instant) {
        let at = self.last_asked.map_or(at, |last| at.max(last + QUERY_PAUSE));
        self.query_due = Some(self.query_due.map_or(at, |due| due.min(at)));
    }

    fn ask(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.asked = Some(now.at);
        self.last_asked = Some(now.at);
        self.query_due = None;
        effects.push(Effect::Send(wire::encode(&ToTransfer::StatusQuery {})));
    }

    fn told_status(&mut self, now: Now, greeting: bool, data: &Map<String, Value>, effects: &mut Vec<Effect>) {
        if greeting && let Some(name) = wire::text(data, "device_id").filter(|name| *name != self.device.as_str()) {
            let detail = name.chars().take(100).collect();
            effects.push(Effect::Note { cause: "connected_as_another", detail });
        }
        self.status.merge(data, now.wall);
        effects.push(Effect::ShowTransfer(Box::new(self.status.clone())));

        let records = status::records(data);
        let ids = data.get("waiting_ack_task_ids").and_then(Value::as_array);
        if records.is_none() && ids.is_none() {
            // The short answer to `upload_all` says nothing about acks.
            return;
        }
        self.asked = None;
        let tracked: Option<Vec<PublicTaskId>> =
            records.as_ref().map(|records| records.iter().filter_map(|record| PublicTaskId::parse(&record.task_id).ok()).collect());
        let failed: Vec<(PublicTaskId, String)> =
            records.iter().flatten().filter(|record| record.was_given_up()).filter_map(given_up).collect();
        let on_its_way = records.iter().flatten().filter(|record| record.is_under_way());
        let under_way: Vec<PublicTaskId> = on_its_way.filter_map(|record| PublicTaskId::parse(&record.task_id).ok()).collect();
        let waiting: Vec<UploadRecord> = records.unwrap_or_default().into_iter().filter(UploadRecord::waits_for_ack).collect();
        let listed = ids.into_iter().flatten().filter_map(Value::as_str);
        let known: BTreeSet<&str> = waiting.iter().map(|record| record.task_id.as_str()).collect();
        let unlisted: Vec<&str> = listed.filter(|id| !known.contains(id)).collect();
        let someone_waits = !waiting.is_empty() || !unlisted.is_empty();
        let (mut uploads, mut tasks) = (vec![], vec![]);
        for record in &waiting {
            match (task_id(&record.task_id, effects), claimed(record, effects)) {
                (Some(task), Some(report)) => uploads.extend(self.is_news(now, &task, Some(&report)).then_some((task, report))),
                (Some(task), None) => tasks.extend(self.is_news(now, &task, None).then_some(task)),
                (None, _) => {}
            }
        }
        for task in unlisted.into_iter().filter_map(|id| task_id(id, effects)) {
            tasks.extend(self.is_news(now, &task, None).then_some(task));
        }
        report_uploads(uploads, Witness::TransferStatus, effects);
        for tasks in tasks.chunks(UPLOADS_PER_REPORT) {
            effects.push(Effect::Report(Report::AcksWanted { tasks: tasks.to_vec() }));
        }
        if let Some(tracked) = tracked {
            let not_found = std::mem::take(&mut self.not_found);
            let missing: Vec<(PublicTaskId, String)> = not_found.into_iter().filter(|(task, _)| !tracked.contains(task)).collect();
            if !missing.is_empty() {
                self.missing_due = Some(now.at + MISSING_AGAIN);
            }
            effects.push(Effect::Report(Report::UploadsListed(UploadList { tracked, missing, failed, under_way })));
        }
        if someone_waits {
            self.query_by(now.at + self.waiting_pause);
            self.waiting_pause = (self.waiting_pause * 2).min(WAITING_LAST);
        } else {
            self.query_due = None;
            self.waiting_pause = WAITING_FIRST;
            self.reported.clear();
        }
    }

    /// One upload, told by itself. The first is reported at once; those that follow on its heels wait for each other.
    fn uploaded(&mut self, now: Now, record: &UploadRecord, effects: &mut Vec<Effect>) {
        let Some(task) = task_id(&record.task_id, effects) else { return };
        let report = claimed(record, effects);
        if !self.is_news(now, &task, report.as_ref()) {
            return;
        }
        let Some(report) = report else { return effects.push(Effect::Report(Report::AcksWanted { tasks: vec![task] })) };
        self.completed.push((task, report));
        let alone = self.completed_at.is_none_or(|last| now.at >= last + TOGETHER);
        self.completed_at = Some(now.at);
        if alone || self.completed.len() >= UPLOADS_PER_REPORT {
            self.report_completed(effects);
        }
    }

    fn report_completed(&mut self, effects: &mut Vec<Effect>) {
        report_uploads(std::mem::take(&mut self.completed), Witness::UploadComplete, effects);
    }

    /// Whether this was not reported just now; it is taken for reported.
    fn is_news(&mut self, now: Now, task: &PublicTaskId, report: Option<&UploadReport>) -> bool {
        let known = self.reported.get(task).filter(|(_, at)| now.at < *at + REPEAT_AFTER);
        let news = match (known, report) {
            (None, _) => true,
            // A request for an ack says less than a report.
            (Some(_), None) => false,
            (Some((known, _)), Some(report)) => known.as_ref() != Some(report),
        };
        if news {
            self.reported.insert(task.clone(), (report.cloned(), now.at));
        }
        news
    }
}

fn report_uploads(uploads: Vec<(PublicTaskId, UploadReport)>, witness: Witness, effects: &mut Vec<Effect>) {
    for uploads in uploads.chunks(UPLOADS_PER_REPORT) {
        effects.push(Effect::Report(Report::UploadsCompleted { uploads: uploads.to_vec(), witness }));
    }
}

fn task_id(text: &str, effects: &mut Vec<Effect>) -> Option<PublicTaskId> {
    let task = PublicTaskId::parse(text);
    if task.is_err() {
        effects.push(Effect::Note { cause: "invalid_task_id", detail: text.chars().take(100).collect() });
    }
    task.ok()
}

/// An upload that will never be tried again, and why.
fn given_up(record: &UploadRecord) -> Option<(PublicTaskId, String)> {
    let reason = if record.last_error.is_empty() { "the upload was given up" } else { &record.last_error };
    Some((PublicTaskId::parse(&record.task_id).ok()?, reason.to_owned()))
}

/// What the device claims, where it claims enough. A missing checksum is kept as it is: the verification refuses it, visibly.
fn claimed(record: &UploadRecord, effects: &mut Vec<Effect>) -> Option<UploadReport> {
    let Some(size_bytes) = record.file_size_bytes.filter(|_| !record.object_key.is_empty()) else {
        effects.push(Effect::Note { cause: "upload_without_key_or_size", detail: record.task_id.chars().take(100).collect() });
        return None;
    };
    Some(UploadReport {
        object_key: record.object_key.clone(),
        size_bytes,
        sha256: record.checksum_sha256.clone(),
        with_sidecar: record.upload_mode != "mcap_only",
    })
}

impl Session for TransferSession {
    fn opened(&mut self, now: Now) -> Vec<Effect> {
        // The greeting comes by itself; we ask only where it does not come, or not in one piece.
        self.query_by(now.at + QUERY_TIMEOUT);
        vec![Effect::ShowTransfer(Box::new(self.status.clone()))]
    }

    fn message(&mut self, now: Now, message: &[u8]) -> Vec<Effect> {
        let mut effects = vec![];
        let message = match FromTransfer::parse(message) {
            Ok(message) => message,
            Err(error) => {
                self.query_by(now.at);
                effects.push(Effect::Note { cause: "unreadable", detail: error.to_string() });
                effects.extend(self.tick(now));
                return effects;
            }
        };
        if !matches!(message, FromTransfer::UploadComplete(_)) {
            self.report_completed(&mut effects);
        }
        match message {
            FromTransfer::Status { greeting, data } => self.told_status(now, greeting, &data, &mut effects),
            FromTransfer::UploadStarted { task_id: id } => {
                if let Some(task) = task_id(&id, &mut effects) {
                    effects.push(Effect::Report(Report::UploadStarted { task }));
                }
            }
            FromTransfer::UploadComplete(record) => {
                self.uploaded(now, &record, &mut effects);
                self.waiting_pause = WAITING_FIRST;
                self.query_by(now.at + WAITING_FIRST);
            }
            FromTransfer::UploadFailed { task_id: id, reason } => {
                if let Some(task) = task_id(&id, &mut effects) {
                    effects.push(Effect::Report(Report::UploadFailed { task, reason }));
                }
            }
            FromTransfer::UploadNotFound { task_id: id, detail } => {
                if let Some(task) = task_id(&id, &mut effects) {
                    effects.push(Effect::Report(Report::UploadNotFound { task: task.clone(), detail: detail.clone() }));
                    if self.not_found.len() < NOT_FOUND_MAX {
                        self.not_found.insert(task, detail);
                    }
                    self.query_by(now.at);
                }
            }
            // The ack arrived; the disk did not let go of the files.
            FromTransfer::LocalCleanupFailed { task_id, reason } => {
                effects.push(Effect::Note { cause: "local_cleanup_failed", detail: format!("{task_id}: {reason}") });
            }
            FromTransfer::Other(kind) => effects.push(Effect::Note { cause: "unknown_type", detail: kind }),
        }
        effects.extend(self.tick(now));
        effects
    }

    fn garbled(&mut self, now: Now, why: &'static str) -> Vec<Effect> {
        // It may have been the answer we wait for, and anything else is in the next status.
        self.asked = None;
        self.query_by(now.at);
        let mut effects = vec![Effect::Note { cause: why, detail: String::new() }];
        effects.extend(self.tick(now));
        effects
    }

    fn request(&mut self, now: Now, request: Request) -> Vec<Effect> {
        let mut effects = vec![];
        match request {
            // Its answer is under way already.
            Request::Frame(ToTransfer::StatusQuery {}) if self.asked.is_some_and(|at| now.at < at + QUERY_TIMEOUT) => {}
            Request::Frame(ToTransfer::StatusQuery {}) => self.ask(now, &mut effects),
            Request::Frame(frame) => effects.push(Effect::Send(wire::encode(&frame))),
            Request::Query { ticket, .. } => effects.push(Effect::Answer { ticket, answer: Err(QueryError::NotConnected) }),
            Request::Rpc(_) => effects.push(Effect::Note { cause: "frame_for_the_other_kind", detail: String::new() }),
        }
        effects
    }

    fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = vec![];
        if self.completed_at.is_some_and(|last| now.at >= last + TOGETHER) {
            self.report_completed(&mut effects);
        }
        if self.forget_due.is_none_or(|due| due <= now.at) {
            self.forget_due = Some(now.at + REPEAT_AFTER);
            self.reported.retain(|_, (_, at)| now.at < *at + REPEAT_AFTER);
        }
        if self.asked.is_some_and(|at| now.at >= at + QUERY_TIMEOUT) {
            self.asked = None;
        }
        if self.missing_due.take_if(|due| *due <= now.at).is_some() {
            self.query_by(now.at);
        }
        if self.asked.is_none() && self.query_due.is_some_and(|due| due <= now.at) {
            self.ask(now, &mut effects);
        }
        effects
    }

    fn closed(&mut self, _now: Now, reason: &str) -> Vec<Effect> {
        let mut effects = vec![];
        self.report_completed(&mut effects);
        effects.push(Effect::Report(Report::Closed { reason: reason.to_owned() }));
        effects
    }

    fn busy(&self, _now: Now) -> bool {
        false
    }
}
