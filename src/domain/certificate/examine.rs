//! What of a document contradicts the rest of it. A signature says that it is as it was made; this, that it says one thing.

use std::collections::BTreeSet;

use super::statement::{EVENTS_MAX, PREDICATE_TYPE, STATEMENT_TYPE, Statement};

/// One contradiction, by the field where it shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Contradiction {
    pub field: &'static str,
    pub why: String,
}

fn found(field: &'static str, why: impl Into<String>) -> Contradiction {
    Contradiction { field, why: why.into() }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Statement {
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut all = vec![];
        if self.statement_type != STATEMENT_TYPE {
            all.push(found("_type", format!("is not {STATEMENT_TYPE}")));
        }
        if self.predicate_type != PREDICATE_TYPE {
            all.push(found("predicateType", format!("is not {PREDICATE_TYPE}")));
        }
        self.look_at_subjects(&mut all);
        self.look_at_hashes(&mut all);
        self.look_at_log(&mut all);
        all
    }

    fn look_at_subjects(&self, all: &mut Vec<Contradiction>) {
        let (recording, sidecar) = (&self.predicate.recording, self.predicate.sidecar.as_ref());
        let mut expected = vec![(recording.object.as_str(), recording.sha256.as_str())];
        expected.extend(sidecar.and_then(|sidecar| Some((sidecar.object.as_str(), sidecar.sha256.as_deref()?))));
        let named: Vec<(&str, &str)> = self.subject.iter().map(|one| (one.name.as_str(), one.digest.sha256.as_str())).collect();
        if named != expected {
            all.push(found("subject", "is not the recording and the file beside it, as the predicate has them"));
        }
    }

    fn look_at_hashes(&self, all: &mut Vec<Contradiction>) {
        let predicate = &self.predicate;
        let hashes = [
            ("recording.sha256", Some(&predicate.recording.sha256)),
            ("sidecar.sha256", predicate.sidecar.as_ref().and_then(|sidecar| sidecar.sha256.as_ref())),
            ("recorder.configuration_sha256", predicate.recorder.configuration_sha256.as_ref()),
            ("verdict.suite_sha256", predicate.verdict.as_ref().and_then(|verdict| verdict.suite_sha256.as_ref())),
            ("log.left_out.sha256", predicate.log.left_out.as_ref().map(|left_out| &left_out.sha256)),
        ];
        for (field, hash) in hashes {
            if hash.is_some_and(|hash| !is_sha256(hash)) {
                all.push(found(field, "is no SHA-256 in hex"));
            }
        }
    }

    fn look_at_log(&self, all: &mut Vec<Contradiction>) {
        let (predicate, log) = (&self.predicate, &self.predicate.log);
        let positions: Vec<i64> = log.events.iter().map(|event| event.position).collect();
        if !positions.is_sorted_by(|one, next| one < next) || positions.first().is_some_and(|first| *first < 1) {
            all.push(found("log.events", "do not stand in the order of the log"));
        }
        let ids: BTreeSet<&str> = log.events.iter().map(|event| event.event_id.as_str()).collect();
        if ids.len() != log.events.len() {
            all.push(found("log.events", "name an event twice"));
        }
        if log.events.iter().any(|event| !is_sha256(&event.commitment)) {
            all.push(found("log.events", "have a commitment that is no SHA-256 in hex"));
        }
        match log.events.last() {
            None => all.push(found("log.events", "are none")),
            Some(last) => {
                if last.position != log.position {
                    all.push(found("log.position", "is not that of the last event"));
                }
                if last.recorded_at != predicate.issued_at {
                    all.push(found("issued_at", "is not the time of the last event"));
                }
                if !last.event_id.starts_with(&format!("episode/{}/", predicate.episode.id)) {
                    all.push(found("log.events", "do not end with the episode"));
                }
            }
        }
        let named = [
            Some(format!("order/{}/1", predicate.order_id)),
            Some(format!("batch/{}/1", predicate.batch.id)),
            Some(format!("task/{}/1", predicate.task.id)),
            Some(format!("episode/{}/1", predicate.episode.id)),
            predicate.sop.event_id.clone(),
            predicate.scene.event_id.clone(),
            predicate.subscene.event_id.clone(),
            predicate.approval.event_id.clone(),
        ];
        for missing in named.into_iter().flatten().filter(|id| log.left_out.is_none() && !ids.contains(id.as_str())) {
            all.push(found("log.events", format!("lack {missing}")));
        }
        let listed = log.events.len();
        match &log.left_out {
            Some(left_out) if listed != EVENTS_MAX || left_out.count == 0 => {
                all.push(found("log.left_out", format!("is of a certificate with {listed} events")));
            }
            None if listed > EVENTS_MAX => all.push(found("log.events", format!("are more than {EVENTS_MAX}"))),
            _ => {}
        }
    }
}
