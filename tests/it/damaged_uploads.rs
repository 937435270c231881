//! A recording that was rejected is accepted because a person wants it: as a failed episode, and only then the robot gets its ack.

use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::apply_suite::{applied, ask, drafted};
use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::device::Socket;
use crate::harness::until;
use crate::inspection::{code, episode, inspector, types_of};
use crate::judging::{TOPICS, recorded};

/// Its end is not there.
fn cut(recording: &Recording) -> Recording {
    let mcap = recording.mcap[..recording.mcap.len() / 2].to_vec();
    Recording::of(mcap, recording.sidecar.clone())
}

pub async fn rejected(bench: &Bench, transfer: &mut Socket, task: &DispatchedTask, stored: Option<&Recording>, said: &Recording) {
    let key = bench.key(task);
    if let Some(stored) = stored {
        bench.upload(&key, stored).await;
    }
    transfer.send(&complete(&task.public_id, &key, said)).await;
    until("the rejection", async || bench.events_of(task, "upload_rejected").await.len() == 1).await;
}

pub async fn want(bench: &Bench, task: &DispatchedTask, body: Value) -> (u16, Value) {
    ask(bench, Method::POST, &format!("/tasks/{}/accept-damaged", task.id), body).await
}

fn reason() -> Value {
    json!({ "reason": "The only take with this cup" })
}

/// Of the task's episode.
pub async fn id_of(bench: &Bench, task: &DispatchedTask) -> i64 {
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
    found["episode"]["id"].as_str().and_then(|id| id.parse().ok()).or(found["episode"]["id"].as_i64()).expect("an episode")
}

#[tokio::test]
async fn what_is_damaged_and_wanted_fails_whatever_judges_it_until_a_senior_decides() {
    let bench = Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned())]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    let task = &tasks[0];
    assert_eq!(code(&want(&bench, task, reason()).await), (409, "upload_not_rejected"), "nothing arrived");
    let recording = cut(&recorded(&TOPICS, 5));
    rejected(&bench, &mut transfer, task, Some(&recording), &recording).await;
    assert_eq!(bench.status(task).await, "uploading");
    for (body, status) in [(json!({}), 400), (json!({ "reason": " " }), 400), (json!({ "reason": "r".repeat(2000) }), 400)] {
        assert_eq!(want(&bench, task, body.clone()).await.0, status, "{body}");
    }
    let absent = DispatchedTask { id: 9999, public_id: task.public_id.clone() };
    assert_eq!(code(&want(&bench, &absent, reason()).await), (404, "task_not_found"));
    // Nobody told the robot that it may delete its copy.
    assert_eq!(bench.events_of(task, "upload_verified").await.len(), 0);

    let (status, told) = want(&bench, task, reason()).await;
    assert_eq!(status, 202, "{told}");
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    assert_eq!(bench.status(task).await, "completed");
    let verified = &bench.events_of(task, "upload_verified").await[0]["verified"];
    assert!(verified["damage"]["rejection"]["unsound"]["defect"].is_string(), "{verified}");
    let id = id_of(&bench, task).await;
    until("its checks", async || types_of(&bench, id).await.iter().any(|name| name == "qa_run_ended")).await;
    let shown = episode(&bench, id).await;
    assert_eq!((&shown["qa_status"], &shown["auto_approved"]), (&json!("failed"), &json!(false)), "{shown}");
    let flag = shown["quality_flag"].as_str().expect("a flag").to_owned();
    assert!(
        flag.starts_with("accepted although damaged (the MCAP is not sound") && flag.ends_with("The only take with this cup"),
        "{flag}"
    );
    // Its checks say where the damage lies.
    let checks = bench.client.get(&format!("/qa/episodes/{id}/checks")).await.expect("checks");
    let failed = |check: &&Value| check["result"] == "fail";
    assert!(checks["items"].as_array().expect("checks").iter().any(|check| failed(&check) && check["check_name"] == "magics"), "{checks}");
    let (status, refused) = ask(&bench, Method::GET, &format!("/episodes/{id}/presign?kind=mcap"), Value::Null).await;
    assert_eq!((status, &refused["quality_flag"]), (409, &json!(flag)));
    assert_eq!(code(&want(&bench, task, reason()).await), (409, "upload_not_rejected"), "it was accepted");

    // A run, and a suite without a single gate more than it has to have, make nothing else of it.
    let (status, again) = ask(&bench, Method::POST, &format!("/qa/episodes/{id}/run"), Value::Null).await;
    assert_eq!((status, &again["qa_status"]), (200, &json!("failed")), "{again}");
    let suite = drafted(&bench, "blind", |suite| {
        suite["checks"]
            .as_array_mut()
            .expect("checks")
            .retain(|check| ["recording_not_empty", "mcap_magic"].iter().any(|name| check["name"] == *name));
        suite["parts"] = json!({});
        suite["approve_at"] = json!(0.0);
    })
    .await;
    assert_eq!(ask(&bench, Method::POST, &format!("{suite}/activate"), Value::Null).await.0, 200);
    applied(&bench, &suite, json!({ "confirm": true, "all": true })).await;
    let still = episode(&bench, id).await;
    assert_eq!((&still["qa_status"], &still["quality_flag"]), (&json!("failed"), &json!(flag)), "{still}");

    let (_, second) = inspector(&bench, "second", "level_2").await;
    let (_, senior) = inspector(&bench, "senior", "senior").await;
    assert_eq!(code(&second.take(id).await), (403, "inspector_level"));
    assert_eq!(senior.take(id).await.0, 200);
    assert_eq!(senior.decide(id, "approved").await.0, 200);
    assert_eq!(episode(&bench, id).await["qa_status"], "inspector_approved");
}

#[tokio::test]
async fn the_episode_is_what_the_object_is_and_what_is_not_there_is_no_episode() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(3).await;
    // Another recording than the robot says, and a sound one.
    let (stored, said) = (recorded(&TOPICS, 5), recorded(&TOPICS, 4));
    rejected(&bench, &mut transfer, &tasks[0], Some(&stored), &said).await;
    assert_eq!(want(&bench, &tasks[0], reason()).await.0, 202);
    transfer.wait_for("the ack", |frame| is_ack(frame, &tasks[0].public_id)).await;
    let shown = episode(&bench, id_of(&bench, &tasks[0]).await).await;
    assert_eq!(shown["checksum"], stored.sha256);
    assert_eq!((&shown["file_size_bytes"], &shown["qa_status"]), (&json!(stored.mcap.len()), &json!("failed")), "{shown}");

    // What is not there cannot be accepted.
    rejected(&bench, &mut transfer, &tasks[1], None, &said).await;
    assert_eq!(want(&bench, &tasks[1], reason()).await.0, 202);
    until("the second rejection", async || bench.events_of(&tasks[1], "upload_rejected").await.len() == 2).await;
    assert_eq!(bench.status(&tasks[1]).await, "uploading");
    // The robot sends another one, and it is an episode like any other.
    bench.upload(&bench.key(&tasks[1]), &stored).await;
    transfer.send(&complete(&tasks[1].public_id, &bench.key(&tasks[1]), &stored)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &tasks[1].public_id)).await;
    let id = id_of(&bench, &tasks[1]).await;
    until("its verdict", async || episode(&bench, id).await["qa_status"] == "approved").await;

    // It was mended before it was read: nothing is wrong with it.
    rejected(&bench, &mut transfer, &tasks[2], Some(&cut(&said)), &said).await;
    bench.upload(&bench.key(&tasks[2]), &said).await;
    assert_eq!(want(&bench, &tasks[2], reason()).await.0, 202);
    transfer.wait_for("the ack", |frame| is_ack(frame, &tasks[2].public_id)).await;
    let id = id_of(&bench, &tasks[2]).await;
    until("its verdict", async || episode(&bench, id).await["qa_status"] == "approved").await;
}
