//! Logical uploads: which there are, what may be done with them, and what is answered about them. Pure: time and what lies in
//! OSS come in.
//!
//! ```text
//!            ┌── session over, no object ──► (expired) ── restart ──┐
//!  created ──┼── restart ─────────────────────────────────────────► restarted, and a new one is created
//!            ├── abort ──► aborted
//!            └── object in OSS ──► (completing) ── complete ──► completed
//! ```
//!
//! What is in brackets is seen, not stored.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::gateway_api::data_gateway::{CompleteUploadRequest, LogicalUploadStatus, UploadRecoveryAction};
use crate::simulator::cloud::ledger::Place;
use crate::simulator::cloud::shelf::Object;

/// Why a call is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    NotOwned,
    Argument(String),
    /// The upload is not in a state for it.
    Precondition(String),
}

fn not_now(why: impl Into<String>) -> Refusal {
    Refusal::Precondition(why.into())
}

#[derive(Debug, Clone)]
pub struct Upload {
    pub logical_id: String,
    pub id: String,
    pub device: String,
    pub place: Place,
    pub hints: BTreeMap<String, String>,
    pub session_ends: DateTime<Utc>,
    /// How often credentials were given once more.
    pub refreshes: i32,
    /// The upload that it took the place of.
    pub restarted_from: Option<String>,
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    Open,
    Completed { told: Completion, times: u32 },
    Aborted { reason: String },
    Restarted { as_upload: String },
}

/// What a client says when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub file_size: i64,
    pub tags: BTreeMap<String, String>,
    pub parts: i32,
    pub etag: String,
    pub part_size: i64,
}

impl From<CompleteUploadRequest> for Completion {
    fn from(request: CompleteUploadRequest) -> Self {
        Self {
            file_size: request.file_size,
            tags: request.raw_tags.into_iter().collect(),
            parts: request.completed_part_count,
            etag: request.oss_object_etag,
            part_size: request.part_size_bytes,
        }
    }
}

/// What lies in OSS where an upload belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// With its quotes.
    pub etag: String,
    pub parts: Vec<u64>,
    /// Whether tags are made of content; otherwise nothing can be compared with them.
    pub hashed: bool,
}

impl Stored {
    pub fn of(object: &Object) -> Self {
        let parts = object.pieces.iter().map(|piece| piece.bytes).collect();
        Self { etag: format!("\"{}\"", object.etag), parts, hashed: object.crc64.is_some() }
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().sum()
    }

    pub fn part_count(&self) -> i32 {
        i32::try_from(self.parts.len()).unwrap_or(i32::MAX)
    }

    /// Whether it is what was said of it.
    fn compare(&self, told: &Completion) -> Result<(), Refusal> {
        if u64::try_from(told.file_size) != Ok(self.bytes()) {
            return Err(not_now(format!("the object has {} bytes, not {}", self.bytes(), told.file_size)));
        }
        if told.parts != self.part_count() {
            return Err(not_now(format!("the object has {} parts, not {}", self.part_count(), told.parts)));
        }
        if self.hashed && told.etag != self.etag {
            return Err(not_now(format!("the object has the tag {}, not {}", self.etag, told.etag)));
        }
        let size = u64::try_from(told.part_size).unwrap_or_default();
        let (last, others) = self.parts.split_last().map_or((0, &[][..]), |(last, others)| (*last, others));
        if size > 0 && (last > size || others.iter().any(|bytes| *bytes != size)) {
            return Err(not_now(format!("the parts of the object have other sizes than {size} bytes")));
        }
        Ok(())
    }
}

/// What is answered about an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub status: LogicalUploadStatus,
    pub action: UploadRecoveryAction,
    pub can_refresh: bool,
    pub can_restart: bool,
    pub reason: String,
}

/// What is true when a call comes.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub device: &'a str,
    pub now: DateTime<Utc>,
    /// A completed upload is to be aborted, says its recovery.
    pub abort_completed: bool,
}

/// What a new upload is made of.
pub struct Fresh {
    pub logical_id: String,
    pub id: String,
    pub place: Place,
    pub hints: BTreeMap<String, String>,
    pub session_ends: DateTime<Utc>,
}

#[derive(Default)]
pub struct Uploads {
    /// By their upload id.
    all: BTreeMap<String, Upload>,
    /// Upload ids of logical ones.
    logical: BTreeMap<String, String>,
}

impl Uploads {
    pub fn all(&self) -> impl Iterator<Item = &Upload> {
        self.all.values()
    }

    fn owned(&self, id: &str, device: &str) -> Result<&Upload, Refusal> {
        let upload = self.all.get(id).ok_or(Refusal::NotFound)?;
        if upload.device == device { Ok(upload) } else { Err(Refusal::NotOwned) }
    }

    pub fn find(&self, id: &str, device: &str) -> Result<Upload, Refusal> {
        self.owned(id, device).cloned()
    }

    pub fn find_logical(&self, logical_id: &str, device: &str) -> Result<Upload, Refusal> {
        self.find(self.logical.get(logical_id).ok_or(Refusal::NotFound)?, device)
    }

    fn change(&mut self, id: &str, to: Stage) {
        if let Some(upload) = self.all.get_mut(id) {
            upload.stage = to;
        }
    }

    /// A new upload, or one in place of another. Restarted once more, the same one is answered: an answer may have been lost.
    pub fn create(&mut self, restart: &str, fresh: Fresh, moment: Moment<'_>) -> Result<Upload, Refusal> {
        let restarted_from = (!restart.is_empty()).then(|| restart.to_owned());
        if let Some(before) = &restarted_from {
            match &self.owned(before, moment.device)?.stage {
                Stage::Open => {}
                Stage::Restarted { as_upload } => {
                    let successor = self.find(as_upload, moment.device)?;
                    return if successor.stage == Stage::Open { Ok(successor) } else { Err(not_now("it was restarted, and went on")) };
                }
                Stage::Completed { .. } => return Err(not_now("the upload is completed")),
                Stage::Aborted { .. } => return Err(not_now("the upload was aborted")),
            }
            self.change(before, Stage::Restarted { as_upload: fresh.id.clone() });
        }
        let Fresh { logical_id, id, place, hints, session_ends } = fresh;
        let device = moment.device.to_owned();
        let upload = Upload { logical_id, id, device, place, hints, session_ends, refreshes: 0, restarted_from, stage: Stage::Open };
        self.logical.insert(upload.logical_id.clone(), upload.id.clone());
        self.all.insert(upload.id.clone(), upload.clone());
        Ok(upload)
    }

    pub fn recovery(&self, upload: &Upload, stored: Option<&Stored>, moment: Moment<'_>) -> Recovery {
        use {LogicalUploadStatus as Status, UploadRecoveryAction as Action};
        let (status, action, reason) = match (&upload.stage, stored) {
            (Stage::Open, Some(_)) => (Status::Completing, Action::CompleteOnly, ""),
            (Stage::Open, None) if moment.now >= upload.session_ends => (Status::Terminal, Action::Restart, "session_expired"),
            (Stage::Open, None) => (Status::Active, Action::Continue, ""),
            (Stage::Completed { .. }, _) if moment.abort_completed => (Status::Completed, Action::Abort, ""),
            (Stage::Completed { .. }, _) => (Status::Completed, Action::CompleteOnly, ""),
            (Stage::Aborted { reason }, _) => (Status::Terminal, Action::Abort, &**reason),
            (Stage::Restarted { as_upload }, _) => match self.all.get(as_upload).map(|upload| &upload.stage) {
                Some(Stage::Open) => (Status::Terminal, Action::Restart, "restarted"),
                _ => (Status::Terminal, Action::Abort, "restarted"),
            },
        };
        Recovery {
            status,
            action,
            can_refresh: matches!(action, Action::Continue | Action::CompleteOnly),
            can_restart: matches!(action, Action::Continue | Action::Restart) || status == Status::Completing,
            reason: reason.to_owned(),
        }
    }

    /// Counts that credentials are given once more.
    pub fn reissue(&mut self, id: &str, stored: Option<&Stored>, moment: Moment<'_>) -> Result<Upload, Refusal> {
        let upload = self.find(id, moment.device)?;
        if !self.recovery(&upload, stored, moment).can_refresh {
            return Err(not_now("the upload gets no credentials any more"));
        }
        let upload = self.all.get_mut(id).ok_or(Refusal::NotFound)?;
        upload.refreshes += 1;
        Ok(upload.clone())
    }

    pub fn abort(&mut self, logical_id: &str, reason: String, moment: Moment<'_>) -> Result<Upload, Refusal> {
        let upload = self.find_logical(logical_id, moment.device)?;
        match &upload.stage {
            Stage::Open => self.change(&upload.id, Stage::Aborted { reason }),
            Stage::Aborted { .. } | Stage::Restarted { .. } => {}
            Stage::Completed { .. } => return Err(not_now("the upload is completed")),
        }
        Ok(upload)
    }

    /// Once, and again the same way: an answer may have been lost.
    pub fn complete(&mut self, id: &str, told: Completion, stored: Option<&Stored>, moment: Moment<'_>) -> Result<(), Refusal> {
        let upload = self.find(id, moment.device)?;
        check(&told, &upload.hints)?;
        match upload.stage {
            Stage::Open => {
                let stored = stored.ok_or_else(|| not_now("there is no object"))?;
                stored.compare(&told)?;
                self.change(id, Stage::Completed { told, times: 1 });
            }
            Stage::Completed { told: before, times } if before == told => {
                self.change(id, Stage::Completed { told, times: times + 1 });
            }
            Stage::Completed { .. } => return Err(not_now("the upload was completed as something else")),
            Stage::Aborted { .. } => return Err(not_now("the upload was aborted")),
            Stage::Restarted { .. } => return Err(not_now("the upload was restarted")),
        }
        Ok(())
    }
}

/// What can be said of a completion without looking anywhere.
fn check(told: &Completion, hints: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let wrong = |why: &str| Err(Refusal::Argument(why.to_owned()));
    if told.parts < 1 {
        return wrong("completed_part_count has to be 1 at least");
    }
    if told.file_size < 1 || told.part_size < 0 {
        return wrong("file_size has to be 1 at least, and part_size_bytes 0");
    }
    if told.etag.is_empty() {
        return wrong("oss_object_etag is missing");
    }
    if told.tags.keys().any(String::is_empty) {
        return wrong("raw_tags has a tag without a name");
    }
    match (hints.get("episode_id"), told.tags.get("episode_id")) {
        (Some(begun), Some(told)) if begun != told => wrong("raw_tags has another episode_id than the upload was begun with"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn moment(device: &str) -> Moment<'_> {
        Moment { device, now: now(), abort_completed: false }
    }

    fn fresh(n: u32) -> Fresh {
        Fresh {
            logical_id: format!("l{n}"),
            id: format!("u{n}"),
            place: ("oss".to_owned(), format!("k{n}")),
            hints: BTreeMap::from([("episode_id".to_owned(), "ep_1".to_owned())]),
            session_ends: now() + TimeDelta::hours(1),
        }
    }

    fn stored() -> Stored {
        Stored { etag: "\"AB-3\"".to_owned(), parts: vec![100, 100, 7], hashed: true }
    }

    fn told() -> Completion {
        let tags = BTreeMap::from([("episode_id".to_owned(), "ep_1".to_owned())]);
        Completion { file_size: 207, tags, parts: 3, etag: "\"AB-3\"".to_owned(), part_size: 100 }
    }

    fn begun() -> Uploads {
        let mut uploads = Uploads::default();
        uploads.create("", fresh(1), moment("a")).unwrap();
        uploads
    }

    /// What is said about an upload: status, action, reason.
    fn said(uploads: &Uploads, logical: &str, stored: Option<&Stored>, moment: Moment<'_>) -> (i32, i32, String) {
        let found = uploads.recovery(&uploads.find_logical(logical, moment.device).unwrap(), stored, moment);
        (found.status as i32, found.action as i32, found.reason)
    }

    #[test]
    fn a_completion_is_compared_with_what_is_there_and_answered_twice_alike() {
        let mut uploads = begun();
        let stored = stored();
        assert_eq!(uploads.complete("u1", told(), None, moment("a")), Err(not_now("there is no object")));
        let wrong = [
            Completion { file_size: 206, ..told() },
            Completion { parts: 2, ..told() },
            Completion { etag: "AB-3".to_owned(), ..told() },
            Completion { etag: "\"ab-3\"".to_owned(), ..told() },
            Completion { part_size: 99, ..told() },
            Completion { part_size: 101, ..told() },
        ];
        for wrong in wrong {
            let outcome = uploads.complete("u1", wrong.clone(), Some(&stored), moment("a"));
            assert!(matches!(outcome, Err(Refusal::Precondition(_))), "{wrong:?}: {outcome:?}");
        }
        let impossible = [
            Completion { parts: 0, ..told() },
            Completion { file_size: 0, ..told() },
            Completion { etag: String::new(), ..told() },
            Completion { tags: BTreeMap::from([(String::new(), "x".to_owned())]), ..told() },
            Completion { tags: BTreeMap::from([("episode_id".to_owned(), "ep_2".to_owned())]), ..told() },
        ];
        for wrong in impossible {
            let outcome = uploads.complete("u1", wrong.clone(), Some(&stored), moment("a"));
            assert!(matches!(outcome, Err(Refusal::Argument(_))), "{wrong:?}: {outcome:?}");
        }
        assert_eq!(uploads.complete("u1", told(), Some(&stored), moment("b")), Err(Refusal::NotOwned));
        assert_eq!(uploads.complete("u2", told(), Some(&stored), moment("a")), Err(Refusal::NotFound));
        for _ in 0..2 {
            assert_eq!(uploads.complete("u1", told(), Some(&stored), moment("a")), Ok(()));
        }
        let other = Completion { tags: BTreeMap::new(), ..told() };
        assert!(uploads.complete("u1", other, Some(&stored), moment("a")).is_err());
        let upload = uploads.find("u1", "a").unwrap();
        assert!(matches!(upload.stage, Stage::Completed { times: 2, .. }), "{upload:?}");
        assert!(uploads.abort("l1", "late".to_owned(), moment("a")).is_err());
        assert!(uploads.create("u1", fresh(2), moment("a")).is_err());
    }

    #[test]
    fn each_state_says_what_comes_next() {
        let (mut uploads, stored) = (begun(), stored());
        let later = Moment { now: now() + TimeDelta::hours(1), ..moment("a") };
        assert_eq!(said(&uploads, "l1", None, moment("a")), (1, 1, String::new()));
        assert_eq!(said(&uploads, "l1", Some(&stored), moment("a")), (2, 2, String::new()));
        assert_eq!(said(&uploads, "l1", None, later), (4, 3, "session_expired".to_owned()));
        assert_eq!(said(&uploads, "l1", Some(&stored), later), (2, 2, String::new()), "what is there is not sent again");
        assert_eq!(uploads.reissue("u1", None, moment("a")).map(|upload| upload.refreshes), Ok(1));
        assert!(uploads.reissue("u1", None, later).is_err() && uploads.reissue("u1", Some(&stored), later).is_ok());

        let again = uploads.create("u1", fresh(2), later).unwrap();
        assert_eq!((&*again.id, again.restarted_from.as_deref()), ("u2", Some("u1")));
        assert_eq!(said(&uploads, "l1", None, moment("a")), (4, 3, "restarted".to_owned()));
        assert_eq!(uploads.create("u1", fresh(3), moment("a")).unwrap().id, "u2", "the answer may have been lost");
        assert!(uploads.reissue("u1", None, moment("a")).is_err());
        assert!(uploads.complete("u1", told(), Some(&stored), moment("a")).is_err());
        uploads.complete("u2", told(), Some(&stored), moment("a")).unwrap();
        assert_eq!(said(&uploads, "l1", None, moment("a")), (4, 4, "restarted".to_owned()));
        assert!(uploads.create("u1", fresh(3), moment("a")).is_err());
        assert_eq!(said(&uploads, "l2", Some(&stored), moment("a")), (3, 2, String::new()));
        let aborting = Moment { abort_completed: true, ..moment("a") };
        assert_eq!(said(&uploads, "l2", Some(&stored), aborting), (3, 4, String::new()));
        assert!(uploads.reissue("u2", Some(&stored), aborting).is_err());

        uploads.create("", fresh(4), moment("a")).unwrap();
        for _ in 0..2 {
            uploads.abort("l4", "size changed".to_owned(), moment("a")).unwrap();
        }
        assert_eq!(said(&uploads, "l4", None, moment("a")), (4, 4, "size changed".to_owned()));
        assert!(uploads.reissue("u4", None, moment("a")).is_err() && uploads.create("u4", fresh(5), moment("a")).is_err());
        assert!(uploads.complete("u4", told(), Some(&stored), moment("a")).is_err());
        assert_eq!(uploads.find_logical("l1", "b").map(|upload| upload.id), Err(Refusal::NotOwned));
        assert_eq!(uploads.find_logical("l9", "a").map(|upload| upload.id), Err(Refusal::NotFound));
    }
}
