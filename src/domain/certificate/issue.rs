//! From the events behind an episode to its certificate.

use std::fmt::Write as _;

use chrono::SecondsFormat;

use super::evidence::Evidence;
use super::standing::Standing;
use super::statement::{
    Approval, Certificate, CertifiedVerdict, CoveredEvent, Digest, EVENTS_MAX, Entry, Inspected, LeftOut, Log, Named, PREDICATE_TYPE,
    People, Procedure, Recorder, Recording, Robot, STATEMENT_TYPE, ShortFacts, Sidecar, Statement, Subject,
};
use crate::domain::commitment::sha256;
use crate::domain::episode::{Decided, EndedRun, Known, LATE_UPLOAD, RECALLED_BATCH};
use crate::domain::measurement::Facts;
use crate::domain::{Actor, CollectorId, DeviceId, RobotId, RobotTypeId, Timestamp};

/// The event that configures a recorder for the task.
pub const CONFIGURED: &str = "device_command_requested";

/// What a double holds of whole numbers. A recording that claims more than that claims it for nothing.
const WHOLE_MAX: u64 = (1 << 53) - 1;

/// The certificate of an episode. Events behind its standing are left out, and so are those without a place: it comes behind all that is given.
pub fn issue(standing: &Standing, mut evidence: Vec<Evidence>) -> Statement {
    evidence.retain(|event| event.position.is_some_and(|position| position <= standing.position));
    evidence.sort_by_key(|event| event.position);
    evidence.dedup_by_key(|event| event.position);
    let recording = recording(standing);
    let sidecar = sidecar(&standing.episode);
    let mut subject = vec![Subject { name: recording.object.clone(), digest: Digest { sha256: recording.sha256.clone() } }];
    if let Some((object, Some(sha256))) = sidecar.as_ref().map(|sidecar| (sidecar.object.clone(), sidecar.sha256.clone())) {
        subject.push(Subject { name: object, digest: Digest { sha256 } });
    }
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject,
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: certificate(standing, &evidence, recording, sidecar),
    }
}

fn certificate(standing: &Standing, evidence: &[Evidence], recording: Recording, sidecar: Option<Sidecar>) -> Certificate {
    let episode = &standing.episode;
    let created = &episode.created;
    // The one that made it: of a stream's events, the first that is there.
    let first = |aggregate_type: &str, id: i64| evidence.iter().find(|event| event.is_of(aggregate_type, id));
    let entry = |aggregate_type: &str, id: i64| Entry { id, event_id: first(aggregate_type, id).map(Evidence::event_id) };
    let batch = first("batch", created.batch_id.0);
    let bound = first("station", created.station_id.0);
    let robot_id: Option<RobotId> = bound.and_then(|bound| bound.said("robot_id"));
    let collector: Option<CollectorId> = bound.and_then(|bound| bound.said("data_collector_id"));
    let robot = robot_id.and_then(|id| first("robot", id.0));
    let robot_type: Option<RobotTypeId> = robot.and_then(|robot| robot.said("robot_type_id"));
    let device: Option<DeviceId> = bound.and_then(|bound| bound.said("robot_serial"));
    let sop = first("sop", created.sop_id.0);
    Certificate {
        issued_at: instant(standing.at),
        factory_id: created.factory_id.0,
        organization_id: created.organization_id.0,
        order_id: created.order_id.0,
        batch: Named { id: created.batch_id.0, public_id: batch.and_then(|batch| batch.said("batch_id")) },
        task: Named { id: created.task_id.0, public_id: Some(created.public_task_id.to_string()) },
        episode: Named { id: standing.id.0, public_id: Some(created.episode_id.clone()) },
        sop: Procedure {
            id: created.sop_id.0,
            slug: sop.and_then(|sop| sop.said("slug")),
            version: sop.and_then(|sop| sop.said("version")),
            event_id: sop.map(Evidence::event_id),
        },
        scene: entry("scene", created.scene_id.0),
        subscene: entry("subscene", created.subscene_id.0),
        people: People {
            ordered_by: first("order", created.order_id.0).and_then(Evidence::actor),
            dispatched_by: first("task", created.task_id.0).and_then(Evidence::actor),
            recorded_by: collector.map(|id| Actor::Collector(id).to_string()),
            inspected_by: episode.inspection.decisions.iter().map(inspected).collect(),
        },
        approval: Approval {
            status: episode.qa.settled.as_str().to_owned(),
            event_id: standing.approved_in.clone(),
            by: standing.approved_by.clone(),
            at: standing.approved_at.map(instant),
        },
        robot: Robot {
            station_id: created.station_id.0,
            robot_id: robot_id.map(|id| id.0),
            robot_type_id: robot_type.map(|id| id.0),
            device_id: device.map(|device| device.to_string()),
        },
        recorder: Recorder { version: recorder_version(episode), configuration_sha256: configuration(evidence) },
        recording,
        sidecar,
        facts: episode.measured.as_ref().map(|measured| short(&measured.facts)),
        verdict: episode.qa.last.as_ref().map(verdict),
        recalled: episode.labels.iter().any(|label| label == RECALLED_BATCH),
        late: episode.labels.iter().any(|label| label == LATE_UPLOAD),
        damage: created.damage.as_ref().map(|damage| damage.what.clone()),
        log: log(standing.position, evidence),
    }
}

fn recording(standing: &Standing) -> Recording {
    let created = &standing.episode.created;
    Recording { object: created.mcap_path.clone(), sha256: created.checksum.to_lowercase(), size_bytes: whole(created.file_size_bytes) }
}

fn sidecar(episode: &Known) -> Option<Sidecar> {
    let object = episode.created.sidecar_path.clone()?;
    let known = episode.created.sidecar.as_ref();
    Some(Sidecar { object, sha256: known.and_then(|known| known.sha256.clone()), size_bytes: known.map(|known| whole(known.size_bytes)) })
}

/// The last configuration before the recording began.
fn configuration(evidence: &[Evidence]) -> Option<String> {
    let began = evidence.iter().position(|event| event.event_type == "recording_started").unwrap_or(evidence.len());
    let configured =
        evidence[..began].iter().rfind(|event| event.event_type == CONFIGURED && event.said::<String>("config_sha256").is_some());
    configured?.said("config_sha256")
}

fn recorder_version(episode: &Known) -> Option<String> {
    let version = episode.created.metadata.as_ref()?.pointer("/recorder/recording/recorder_version")?;
    Some(version.as_str()?.to_owned())
}

fn inspected(decided: &Decided) -> Inspected {
    Inspected {
        inspector: Actor::Inspector(decided.by).to_string(),
        decision: decided.decision.as_str().to_owned(),
        effect: decided.effect.as_str().to_owned(),
        round: decided.round,
        at: instant(decided.at),
    }
}

fn short(facts: &Facts) -> ShortFacts {
    ShortFacts {
        measured_by: facts.measured_by,
        tier: facts.tier.as_str().to_owned(),
        messages: whole(facts.message_count),
        topics: whole(facts.topics.len()),
        chunks: whole(facts.chunk_count),
        first_at: nanos(facts.start_ns),
        last_at: nanos(facts.end_ns),
        duration_ms: whole(facts.duration_ns() / 1_000_000),
        findings: whole(facts.findings.len()),
        not_measured: whole(facts.not_measured.len()),
    }
}

fn verdict(ended: &EndedRun) -> CertifiedVerdict {
    let judgement = &ended.judgement;
    // Both have three decimals, and lie between 0 and 1.
    let milli = |score: f64| (score * 1000.0).round() as u64;
    CertifiedVerdict {
        verdict: judgement.verdict.as_str().to_owned(),
        score_milli: milli(judgement.score),
        approve_at_milli: milli(judgement.approve_at),
        suite: judgement.suite.clone(),
        suite_version: judgement.suite_version,
        suite_sha256: judgement.suite_sha256.clone(),
        reference_id: judgement.reference.map(|named| named.id.0),
        reference_version: judgement.reference.map(|named| named.version),
        measured_by: judgement.measured_by,
        mode: ended.mode.as_str().to_owned(),
        at: instant(ended.at),
        kept: ended.kept,
    }
}

fn log(position: i64, evidence: &[Evidence]) -> Log {
    let (first, between, last) = match evidence.len() {
        count if count > EVENTS_MAX => {
            let (first, rest) = evidence.split_at(EVENTS_MAX / 2);
            let (between, last) = rest.split_at(rest.len() - EVENTS_MAX / 2);
            (first, between, last)
        }
        _ => (evidence, &[][..], &[][..]),
    };
    let left_out = (!between.is_empty()).then(|| {
        let mut lines = String::new();
        for event in between {
            // Writing to a text does not fail.
            let _written = writeln!(lines, "{} {}", event.position.unwrap_or_default(), event.commitment());
        }
        LeftOut { count: between.len() as u64, sha256: sha256(&lines) }
    });
    Log { position, events: first.iter().chain(last).map(covered).collect(), left_out }
}

fn covered(event: &Evidence) -> CoveredEvent {
    CoveredEvent {
        position: event.position.unwrap_or_default(),
        event_id: event.event_id(),
        event_type: event.event_type.clone(),
        recorded_at: instant(event.recorded_at),
        commitment: event.commitment(),
    }
}

/// Times of the log, which has microseconds.
pub(super) fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Times of a recording.
fn nanos(ns: u64) -> String {
    let at = i64::try_from(ns).map(chrono::DateTime::from_timestamp_nanos).unwrap_or(Timestamp::MAX_UTC);
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn whole(number: u64) -> u64 {
    number.min(WHOLE_MAX)
}
