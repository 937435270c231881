//! What happened to a task can be asked for, also when the task is deleted, with all it belonged to.

use keystone_edge::commands::devices::OpenLink;
use keystone_edge::domain::device::{LinkKind, RecorderState};
use keystone_edge::domain::report::Report;
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::eventstore::story;
use serde_json::Value;

use crate::factory::recorder_tells;
use crate::harness::edge::{TestEdge, number};

/// Types of the events of a task's story; the same by its number and by its public id.
async fn told(edge: &TestEdge, task: &Value) -> Vec<String> {
    let types = async |asked: &str| -> Vec<String> {
        let story = story::of_task(&edge.database.pool, asked).await.expect("its story");
        story.into_iter().map(|told| told.event.event_type).collect()
    };
    let by_number = types(&number(&task["id"]).to_string()).await;
    assert_eq!(types(task["task_id"].as_str().expect("a public id")).await, by_number);
    by_number
}

async fn delete(edge: &TestEdge, path: &str, id: i64) {
    let (status, answer) = edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/{path}/{id}"), Value::Null).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
}

#[tokio::test]
async fn a_deleted_task_has_its_history() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(2)).await;
    let (first, second) = (&created["tasks"][0], &created["tasks"][1]);
    let begun = ["order_placed", "order_tasks_dispatched", "batch_created", "task_created"];
    let mut there = told(&edge, first).await;
    there.sort();
    assert_eq!(there, sorted(&begun));

    delete(&edge, "tasks", number(&first["id"])).await;
    let gone = ["task_deleted", "batch_task_removed", "order_tasks_removed"];
    assert_eq!(sorted(&told(&edge, first).await), sorted(&[&begun[..], &gone].concat()));
    let of_the_other = told(&edge, second).await;
    assert!(!of_the_other.iter().any(|event| event == "batch_task_removed" || event == "task_deleted"), "{of_the_other:?}");

    // And with its batch and its order.
    delete(&edge, "batches", number(&created["batch"]["id"])).await;
    delete(&edge, "orders", number(&seed.order)).await;
    let with_all = told(&edge, second).await;
    for event in ["task_created", "task_deleted", "batch_created", "batch_deleted", "order_placed", "order_deleted"] {
        assert!(with_all.iter().any(|told| told == event), "{event}: {with_all:?}");
    }
    assert_eq!(told(&edge, first).await.first().map(String::as_str), Some("order_placed"));
    assert_eq!(story::of_task(&edge.database.pool, "task_that_never_was").await.expect("a story"), vec![]);
    assert_eq!(story::of_task(&edge.database.pool, "4711").await.expect("a story"), vec![]);
}

#[tokio::test]
async fn what_its_robot_did_with_a_deleted_task_is_in_its_history() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(2)).await;
    let (task, other) = (&created["tasks"][0], &created["tasks"][1]);
    let device = DeviceId::parse("AB-F0001-T0001-000001").expect("a device id");
    let kind = LinkKind::Recorder;
    let epoch = edge.execute(OpenLink { device: device.clone(), kind, remote: "10.0.0.1".into(), process: None }).await;
    let held = Some(PublicTaskId::parse(task["task_id"].as_str().expect("a public id")).expect("a task id"));
    let seen = Report::Observed { state: RecorderState::Ready, task: held, source: "state_update".into() };
    edge.execute(recorder_tells(&device, epoch, seen)).await;

    delete(&edge, "tasks", number(&task["id"])).await;
    let whole = told(&edge, task).await;
    for event in ["recorder_state_observed", "task_deleted", "device_release_wanted"] {
        assert!(whole.iter().any(|told| told == event), "{event}: {whole:?}");
    }
    let of_the_other = told(&edge, other).await;
    assert!(!of_the_other.iter().any(|told| told.starts_with("device_") || told.starts_with("recorder_")), "{of_the_other:?}");
}

fn sorted<T: AsRef<str>>(words: &[T]) -> Vec<String> {
    let mut words: Vec<String> = words.iter().map(|word| word.as_ref().to_owned()).collect();
    words.sort();
    words
}
