//! Certificates of made-up logs.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::statement::EVENTS_MAX;
use super::*;
use crate::domain::episode::QaStatus;
use crate::domain::{EpisodeId, Timestamp};

const ID: EpisodeId = EpisodeId(4);

/// An event of a golden file, changed.
pub fn event(position: i64, stream: &str, golden: &str, change: impl FnOnce(&mut Value)) -> Evidence {
    let mut payload: Value = serde_json::from_str(golden).expect("a golden file");
    let event_type = payload.as_object().and_then(|payload| payload.keys().next().cloned()).expect("a type");
    change(&mut payload[&event_type]);
    let parts: Vec<&str> = stream.split('/').collect();
    let metadata = json!({ "actor": format!("user:inspector:{position}"), "correlation_id": "c" });
    Evidence {
        position: Some(position),
        aggregate_type: parts[0].to_owned(),
        aggregate_id: parts[1].to_owned(),
        sequence: parts[2].parse().expect("a number"),
        event_type,
        event_version: "1.0".to_owned(),
        payload_text: payload.to_string(),
        metadata_text: metadata.to_string(),
        recorded_at: Timestamp::UNIX_EPOCH + TimeDelta::microseconds(1_795_204_387_000_000 + position),
        payload,
        metadata,
    }
}

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../tests/golden/events/", $name, ".json"))
    };
}

fn created(position: i64) -> Evidence {
    event(position, "episode/4/1", golden!("episode_created.v1.2"), |body| body["damage"] = Value::Null)
}

fn judged(position: i64, sequence: i64, verdict: &str) -> Evidence {
    event(position, &format!("episode/4/{sequence}"), golden!("qa_run_ended.v1.2"), |body| {
        body["mode"] = "auto".into();
        body["judgement"]["verdict"] = verdict.into();
        body["judgement"]["score"] = json!(0.95);
    })
}

fn approved(position: i64, sequence: i64) -> Evidence {
    event(position, &format!("episode/4/{sequence}"), golden!("episode_approved.v1.0"), |_| {})
}

fn annotated(position: i64, sequence: i64) -> Evidence {
    event(position, &format!("episode/4/{sequence}"), golden!("episode_annotated.v1.0"), |_| {})
}

/// What made it: order, batch, task, station, entries of the registry.
fn behind() -> Vec<Evidence> {
    let in_registry = |position: i64, stream: &str| {
        let mut entry = event(position, stream, golden!("sop_created.v1.0"), |_| {});
        entry.event_type = format!("{}_created", entry.aggregate_type);
        entry
    };
    vec![
        in_registry(1, "sop/9/1"),
        in_registry(2, "scene/3/1"),
        in_registry(3, "subscene/7/1"),
        event(4, "station/5/1", golden!("station_bound.v2.0"), |_| {}),
        event(5, "order/12/1", golden!("order_placed.v1.0"), |_| {}),
        event(6, "batch/31/1", golden!("batch_created.v1.0"), |_| {}),
        event(7, "task/412/1", golden!("task_created.v1.0"), |_| {}),
        event(8, "device/AB-F0001-T0003-000001/9", golden!("device_command_requested.v1.5"), |_| {}),
        event(9, "task/412/2", golden!("recording_started.v1.0"), |_| {}),
        // Of another take: the recording had begun.
        event(10, "device/AB-F0001-T0003-000001/11", golden!("device_command_requested.v1.5"), |body| {
            body["config_sha256"] = "later".into()
        }),
    ]
}

fn stream() -> Vec<Evidence> {
    vec![created(20), event(21, "episode/4/2", golden!("episode_measured.v1.1"), |_| {}), judged(22, 3, "approved"), approved(23, 4)]
}

pub fn certified(stream: &[Evidence]) -> Statement {
    let standing = Standing::of(ID, stream).expect("it is approved");
    issue(&standing, [behind(), stream.to_vec()].concat())
}

pub fn sample() -> Statement {
    certified(&stream())
}

#[test]
fn it_says_who_made_what_with_what_and_why_it_is_good() {
    let statement = sample();
    assert_eq!(statement.contradictions(), []);
    let told = serde_json::to_value(&statement).expect("JSON");
    let predicate = &told["predicate"];
    let at = |pointer: &str| predicate.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}: {predicate}")).clone();
    for (pointer, value) in [
        ("/people/ordered_by", json!("user:inspector:5")),
        ("/people/dispatched_by", json!("user:inspector:7")),
        ("/people/recorded_by", json!("user:collector:6")),
        ("/people/inspected_by", json!([])),
        ("/robot/robot_id", json!(4)),
        ("/robot/device_id", json!("AB-F0001-T0003-000001")),
        ("/recorder/version", json!("0.4.0")),
        ("/recorder/configuration_sha256", json!("9f2cd5a14c15ec4a0a1b2c3d5e6f70819f2cd5a14c15ec4a0a1b2c3d5e6f7081")),
        ("/recording/size_bytes", json!(10677)),
        ("/sidecar/size_bytes", json!(1539)),
        ("/verdict/score_milli", json!(950)),
        ("/verdict/suite_sha256", json!("9f2cd5a14c15ec4a0a1b2c3d5e6f70819f2cd5a14c15ec4a0a1b2c3d5e6f7081")),
        ("/approval/event_id", json!("episode/4/4")),
        ("/sop/event_id", json!("sop/9/1")),
        ("/scene/event_id", json!("scene/3/1")),
        ("/log/position", json!(23)),
        ("/log/left_out", Value::Null),
        ("/issued_at", json!("2026-11-20T19:53:07.000023Z")),
    ] {
        assert_eq!(at(pointer), value, "{pointer}");
    }
    assert_eq!(told["subject"][0]["digest"]["sha256"], at("/recording/sha256"));
    let text = statement.bytes().expect("bytes");
    assert!(!text.contains("Warehouse") && !text.contains("SynGloves") && !text.contains("ws-k3v9x2ab"), "numbers and hashes only: {text}");
    assert_eq!(serde_json::from_str::<Statement>(&text).expect("a statement"), statement);
}

#[test]
fn what_comes_behind_it_changes_nothing_and_another_verdict_makes_another_one() {
    let bytes = |stream: &[Evidence]| certified(stream).bytes().expect("bytes");
    let first = bytes(&stream());
    // A note, and one that waits for its place.
    let mut noted = stream();
    noted.push(annotated(40, 5));
    noted.push(Evidence { position: None, ..annotated(41, 6) });
    assert_eq!(bytes(&noted), first);
    // In another order, with one read twice.
    let standing = Standing::of(ID, &stream()).expect("it is approved");
    let mut mixed = [stream(), behind(), stream()].concat();
    mixed.reverse();
    assert_eq!(issue(&standing, mixed).bytes().expect("bytes"), first);
    let mut again = noted;
    again[5].position = Some(41);
    again.push(judged(42, 7, "approved"));
    let second = certified(&again);
    assert_eq!((second.predicate.log.position, second.predicate.approval.event_id.as_deref()), (42, Some("episode/4/4")));
    assert_ne!(second.bytes().expect("bytes"), first);
    assert_eq!(second.contradictions(), []);
}

#[test]
fn only_what_is_approved_and_has_its_place_is_certified() {
    let of = |stream: Vec<Evidence>| Standing::of(ID, &stream).map(|standing| standing.position);
    assert_eq!(of(vec![]), Err(NoStanding::NoEpisode));
    assert_eq!(of(stream()[..2].to_vec()), Err(NoStanding::NotApproved(QaStatus::PendingQa)));
    assert_eq!(of(vec![created(1), judged(2, 2, "failed")]), Err(NoStanding::NotApproved(QaStatus::Failed)));
    assert_eq!(of(vec![created(1), judged(2, 2, "needs_inspection")]), Err(NoStanding::NotApproved(QaStatus::NeedsInspection)));
    let mut waiting = stream();
    waiting[3].position = None;
    assert_eq!(of(waiting), Err(NoStanding::NotPlaced));
    let mut lost = stream();
    lost.push(judged(24, 5, "failed"));
    lost.push(event(25, "episode/4/6", golden!("episode_approval_lost.v1.0"), |_| {}));
    assert_eq!(of(lost), Err(NoStanding::NotApproved(QaStatus::Failed)));
    let mut odd = stream();
    odd[2].payload = json!({ "qa_run_ended": {} });
    assert!(matches!(of(odd), Err(NoStanding::Unreadable { event, .. }) if event == "episode/4/3"));
}

#[test]
fn inspectors_are_in_it_by_number() {
    let decided = event(24, "episode/4/5", golden!("inspection_decided.v1.0"), |body| body["decision"] = "approved".into());
    let inspected = vec![created(20), judged(22, 2, "needs_inspection"), decided, approved(25, 6)];
    let statement = certified(&inspected);
    let people = &statement.predicate.people.inspected_by;
    assert_eq!((people.len(), people[0].inspector.as_str(), people[0].decision.as_str()), (1, "user:inspector:3", "approved"));
    assert_eq!(statement.predicate.approval.status, "inspector_approved");
    assert!(!statement.bytes().expect("bytes").contains("gripper"), "what people say stays here");
}

#[test]
fn of_too_many_events_the_middle_is_one_hash() {
    let labelled = |n: i64| event(30 + n, &format!("episode/4/{}", 4 + n), golden!("episode_labelled.v1.0"), |_| {});
    let long = |count: i64| [stream(), (1..=count).map(labelled).collect()].concat();
    let fitting = i64::try_from(EVENTS_MAX - behind().len() - stream().len()).expect("a number");
    let full = certified(&long(fitting));
    assert_eq!((full.predicate.log.events.len(), full.predicate.log.left_out.clone()), (EVENTS_MAX, None));
    let cut = certified(&long(fitting + 100));
    let log = &cut.predicate.log;
    let left_out = log.left_out.clone().expect("some");
    assert_eq!((log.events.len(), left_out.count, log.position), (EVENTS_MAX, 100, 30 + fitting + 100));
    assert_eq!(cut.contradictions(), []);
    let all = [behind(), long(fitting + 100)].concat();
    let mut all: Vec<&Evidence> = all.iter().collect();
    all.sort_by_key(|event| event.position);
    let middle = &all[EVENTS_MAX / 2..all.len() - EVENTS_MAX / 2];
    let lines: String = middle.iter().map(|event| format!("{} {}\n", event.position.expect("a place"), event.commitment())).collect();
    assert_eq!(left_out.sha256, crate::domain::commitment::sha256(&lines));
    assert!(cut.bytes().expect("bytes").len() < 200_000);
}
