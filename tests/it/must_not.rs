//! What the contract of production units says must not happen, each as a test of its own name.
//! Those about downloads and links are in `storage`.

use std::sync::Arc;

use keystone_edge::commands::batches::{AdjustBatch, CancelBatch, CreatedBatch, DeleteBatch, RecallBatch};
use keystone_edge::commands::callbacks::{FinishAnswer, FinishCallback, Proof, StartAnswer, StartCallback};
use keystone_edge::commands::devices::{OpenLink, SettleDeviceCommand};
use keystone_edge::commands::orders::ReviseOrder;
use keystone_edge::commands::registry::{CreateOrganization, CreateScene, CreateSubscene};
use keystone_edge::commands::tasks::{CreateTasks, DeleteTask};
use keystone_edge::commands::uploads::{AcceptUpload, Acceptance};
use keystone_edge::commands::{Command, CommandError, Context, Refusal};
use keystone_edge::domain::device::{CommandOutcome, LinkKind, RecorderAction, RecorderState};
use keystone_edge::domain::order::Revision;
use keystone_edge::domain::report::Report;
use keystone_edge::domain::task::{FinishReport, UploadReport, VerifiedUpload};
use keystone_edge::domain::{DeviceId, OrderId, PublicTaskId, TaskId};
use keystone_edge::pg::get;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::factory::{Factory, asked, device, done, last_report, recorder_tells, refused, uploaded, uploader_tells};
use crate::harness::TestDatabase;
use crate::harness::edge::{TestEdge, number};

/// A factory with two stations, and an order.
struct Floor {
    database: TestDatabase,
    factory: Arc<Factory>,
    order: OrderId,
}

impl Floor {
    async fn new(target: i64) -> Self {
        let database = TestDatabase::new().await;
        let factory = Arc::new(Factory::new(&database.pool, 2).await);
        let order = factory.order("Cups", target).await;
        Self { database, factory, order }
    }

    async fn batch(&self, quantity: i64) -> CreatedBatch {
        self.factory.batch(self.order, 0, quantity).await
    }

    async fn done<C: Command>(&self, command: C) -> C::Answer {
        done(&self.factory.commands, command).await
    }

    async fn refused<C: Command>(&self, command: C) -> Refusal {
        refused(&self.factory.commands, command).await
    }

    /// Done or refused; anything else is a fault.
    async fn tried<C: Command>(&self, command: C) -> Result<C::Answer, Refusal> {
        match self.factory.commands.execute(&Context::system(), command).await {
            Ok(answer) => Ok(answer),
            Err(CommandError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("`{}`: {other:?}", C::NAME),
        }
    }

    async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<tokio_postgres::Row> {
        get(&self.database.pool).await.unwrap().query(sql, parameters).await.unwrap()
    }

    async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.rows(sql, &[]).await[0].get(0)
    }

    async fn status(&self, task: TaskId) -> String {
        self.rows("select status from tasks where id = $1", &[&task.0]).await.first().map_or("deleted".into(), |row| row.get(0))
    }

    async fn batch_status(&self, batch: &CreatedBatch) -> String {
        let rows = self.rows("select status from batches where id = $1", &[&batch.batch_id.0]).await;
        rows.first().map_or("deleted".into(), |row| row.get(0))
    }

    async fn set_status(&self, word: &str) {
        let revision = Revision { status: Some(word.into()), ..Revision::default() };
        self.done(ReviseOrder { order_id: self.order, revision }).await;
    }

    async fn open_links(&self, who: usize) -> i64 {
        let link = |kind| OpenLink { device: device(who), kind, remote: "10.0.0.7".into(), process: None };
        self.done(link(LinkKind::Transfer)).await;
        self.done(link(LinkKind::Recorder)).await
    }

    async fn observe(&self, who: usize, epoch: i64, state: RecorderState, task: Option<&PublicTaskId>) {
        let seen = Report::Observed { state, task: task.cloned(), source: "state_update".into() };
        self.done(recorder_tells(&device(who), epoch, seen)).await;
    }

    /// The verdict that what the device says of it is so.
    async fn accept(&self, who: usize, task: TaskId, public_id: &PublicTaskId) -> AcceptUpload {
        let reported_in = last_report(&self.database.pool, task).await;
        let report = report(&device(who), public_id);
        let verified = VerifiedUpload { report, etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage: None };
        AcceptUpload { task, reported_in, verified, bucket: "edge".into(), sidecar: None, duration_sec: None, metadata: None, facts: None }
    }

    /// The device says that the task's recording is in the bucket.
    async fn reported(&self, who: usize, task: &PublicTaskId) {
        let epoch = self.rows("select transfer_epoch from devices where id = $1", &[&device(who).as_str()]).await;
        let epoch = match epoch.first() {
            Some(row) => row.get(0),
            None => self.done(OpenLink { device: device(who), kind: LinkKind::Transfer, remote: "a".into(), process: None }).await,
        };
        let report = report(&device(who), task);
        self.done(uploaded(&device(who), epoch, task.clone(), report)).await;
    }

    /// Commands to recorders that were queued: device, action, whether only while the task is held.
    async fn asked_of_recorders(&self) -> Vec<(String, String, bool)> {
        let sql = "select e.aggregate_id, e.payload -> 'device_command_requested' ->> 'action',
                          (e.payload -> 'device_command_requested' ->> 'while_held')::boolean
                   from events e join outbox o on o.event_seq = e.seq
                   where e.event_type = 'device_command_requested' and o.destination = 'recorder:' || e.aggregate_id order by e.seq";
        self.rows(sql, &[]).await.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }
}

fn report(device: &DeviceId, task: &PublicTaskId) -> UploadReport {
    let object_key = format!("1/{device}/2026-11-20/{task}.mcap");
    UploadReport { object_key, size_bytes: 1, sha256: "ab".repeat(32), with_sidecar: false }
}

/// Rounds of a race; each is a few milliseconds, and the orders of both sides come up within them.
const ROUNDS: i64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_01_cancelling_a_batch_does_not_overwrite_a_state_reached_meanwhile() {
    let floor = Floor::new(100).await;
    let (mut cancelled, mut completed) = (0, 0);
    for _ in 0..ROUNDS {
        let batch = floor.batch(1).await;
        let task = &batch.tasks[0];
        floor.reported(0, &task.public_id).await;
        let accept = floor.accept(0, task.id, &task.public_id).await;
        let (_, refused) = tokio::join!(floor.tried(accept), floor.tried(CancelBatch(batch.batch_id)));
        match (floor.batch_status(&batch).await.as_str(), refused) {
            ("cancelled", Ok(_)) => cancelled += 1,
            ("completed", Err(refusal)) => {
                assert_eq!((refusal.code.as_str(), &refusal.extra["current_status"]), ("batch_not_open", &json!("completed")));
                assert_eq!(refusal.extra["because"]["event"], "batch_completed");
                completed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    println!("cancelled first {cancelled} times, completed first {completed} times");
    let sql = "select count(*) from events a join events b using (aggregate_type, aggregate_id) where a.aggregate_type = 'batch'
               and a.event_type in ('batch_completed', 'batch_recalled') and b.event_type = 'batch_cancelled' and b.sequence > a.sequence";
    assert_eq!(floor.one::<i64>(sql).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_02_deleting_a_batch_decides_on_the_state_it_deletes() {
    let floor = Floor::new(100).await;
    for _ in 0..ROUNDS {
        let batch = floor.batch(2).await;
        let complete = floor.factory.complete(batch.batch_id, 0, 1);
        let (completed, deleted) = tokio::join!(floor.tried(complete), floor.tried(DeleteBatch(batch.batch_id)));
        match (completed, deleted) {
            // Completed first: the batch is active, and stays.
            (Ok(_), Err(refusal)) => assert_eq!(refusal.code.as_str(), "batch_not_deletable"),
            (Err(refusal), Ok(gone)) => {
                assert_eq!((refusal.code.as_str(), gone.completed_tasks, gone.tasks_removed), ("batch_not_found", 0, 2));
            }
            other => panic!("{other:?}"),
        }
    }
    let sql = "select count(*) from events a join events b using (aggregate_type, aggregate_id)
               where a.event_type = 'task_completed_externally' and b.event_type = 'task_deleted'";
    assert_eq!(floor.one::<i64>(sql).await, 0);
}

#[tokio::test]
async fn mn_03_completed_replaces_cancelled_only_as_an_event_of_its_own() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(3).await;
    floor.done(floor.factory.complete(batch.batch_id, 0, 1)).await;
    let late = &batch.tasks[1];
    floor.reported(0, &late.public_id).await;
    floor.done(CancelBatch(batch.batch_id)).await;
    // The upload ends, everything is settled, and no evaluation touches the cancelled batch.
    floor.done(floor.accept(0, late.id, &late.public_id).await).await;
    assert_eq!(floor.batch_status(&batch).await, "cancelled");
    let deleted = floor.done(DeleteBatch(batch.batch_id)).await;
    assert_eq!((deleted.completed_tasks, deleted.tasks_removed), (2, 1));
    assert_eq!(floor.batch_status(&batch).await, "completed");
    let types = "select string_agg(event_type, ' ' order by sequence) from events where aggregate_type = 'batch'
                 and event_type in ('batch_completed', 'batch_cancelled', 'batch_trimmed')";
    assert_eq!(floor.one::<String>(types).await, "batch_cancelled batch_trimmed");
}

#[tokio::test]
async fn mn_04_no_episode_and_no_ack_for_a_task_that_is_not_completable_any_more() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.reported(0, &task.public_id).await;
    // It ends between the check of its object and the commit.
    let gave_up = Report::UploadFailed { task: task.public_id.clone(), reason: "disk".into() };
    floor.done(uploader_tells(&device(0), 1, gave_up)).await;
    let refusal = floor.refused(floor.accept(0, task.id, &task.public_id).await).await;
    assert_eq!((refusal.code.as_str(), &refusal.extra["current_status"]), ("task_ended", &json!("failed")));
    assert_eq!(floor.one::<i64>("select count(*) from episodes").await, 0);
    assert_eq!(floor.one::<i64>("select sum(episode_count)::bigint from batches").await, 0);
    let acks = "select count(*) from outbox o join events e on e.seq = o.event_seq where e.event_type = 'upload_verified'";
    assert_eq!(floor.one::<i64>(acks).await, 0);
}

/// The types of what was committed together with the verified upload of a task.
async fn committed_with_the_upload(floor: &Floor) -> Vec<String> {
    let sql =
        "select event_type from events where txid = (select txid from events where event_type = 'upload_verified' limit 1) order by 1";
    floor.rows(sql, &[]).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn mn_05_the_ack_is_queued_by_the_transaction_that_makes_the_completion_durable() {
    let floor = Floor::new(1).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.reported(0, &task.public_id).await;
    floor.done(floor.accept(0, task.id, &task.public_id).await).await;
    assert!(committed_with_the_upload(&floor).await.contains(&"episode_created".to_owned()));
    let sql = "select o.destination from outbox o join events e on e.seq = o.event_seq where e.event_type = 'upload_verified'";
    assert_eq!(floor.one::<String>(sql).await, format!("transfer:{}", device(0)));
}

#[tokio::test]
async fn mn_06_completing_a_task_and_evaluating_batch_and_order_are_one_step() {
    let floor = Floor::new(1).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.reported(0, &task.public_id).await;
    floor.done(floor.accept(0, task.id, &task.public_id).await).await;
    let together = committed_with_the_upload(&floor).await;
    for expected in ["batch_started", "batch_completed", "order_started", "order_completed", "upload_verified"] {
        assert!(together.contains(&expected.to_owned()), "{expected} came with the upload: {together:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_07_adjusting_never_takes_a_task_that_a_device_holds() {
    let floor = Floor::new(100).await;
    let epoch = floor.open_links(0).await;
    let mut taken = 0;
    for round in 0..ROUNDS {
        let batch = floor.batch(1).await;
        let task = &batch.tasks[0];
        let configured = recorder_tells(&device(0), epoch, Report::ConfigApplied { task: task.public_id.clone() });
        let adjust = AdjustBatch { batch_id: batch.batch_id, groups: vec![floor.factory.group(0)] };
        // The device speaks at another moment of the adjustment in every round.
        let device_speaks = async {
            tokio::time::sleep(std::time::Duration::from_micros(200 * round.unsigned_abs())).await;
            floor.tried(configured).await
        };
        let (_, adjusted) = tokio::join!(device_speaks, floor.tried(adjust));
        match (floor.status(task.id).await.as_str(), adjusted) {
            ("ready", Err(refusal)) => {
                assert_eq!(refusal.code.as_str(), "quantity_below_locked");
                taken += 1;
            }
            ("deleted", Ok(adjusted)) => assert_eq!(adjusted.deleted, [task.id]),
            other => panic!("{other:?}"),
        }
    }
    println!("the device was first {taken} of {ROUNDS} times");
    let sql = "select count(*) from events a join events b using (aggregate_type, aggregate_id)
               where a.event_type = 'task_configured' and b.event_type = 'task_deleted'";
    assert_eq!(floor.one::<i64>(sql).await, 0);
}

#[tokio::test]
async fn mn_08_deleting_does_not_strand_a_device() {
    let floor = Floor::new(5).await;
    let epoch = floor.open_links(0).await;
    let batch = floor.batch(3).await;
    let held = &batch.tasks[0];
    floor.observe(0, epoch, RecorderState::Ready, Some(&held.public_id)).await;
    assert_eq!(floor.status(held.id).await, "ready");
    floor.done(DeleteTask(held.id)).await;
    assert_eq!(floor.asked_of_recorders().await, [(device(0).to_string(), "clear".into(), true)]);

    // What is uploading is not deleted: nobody would ack it.
    let uploading = &batch.tasks[1];
    floor.reported(0, &uploading.public_id).await;
    assert_eq!(floor.refused(DeleteTask(uploading.id)).await.code.as_str(), "task_not_deletable");
    let refusal = floor.refused(DeleteBatch(batch.batch_id)).await;
    assert_eq!((refusal.code.as_str(), &refusal.extra["uploading"]), ("batch_has_uploads", &json!([uploading.public_id])));

    // A batch that is deleted while a recorder records one of its tasks tells the recorder.
    let other = floor.batch(1).await;
    floor.observe(0, epoch, RecorderState::Recording, Some(&other.tasks[0].public_id)).await;
    floor.done(DeleteBatch(other.batch_id)).await;
    // One thing at a time: first it answers what it was asked before.
    let command_id: String = floor.one("select id from device_commands where status = 'requested'").await;
    let outcome = CommandOutcome::Succeeded { message: None, data: None };
    floor.done(SettleDeviceCommand { device: device(0), command_id, outcome }).await;
    let asked = floor.asked_of_recorders().await;
    assert_eq!(asked.last().map(|(_, action, while_held)| (action.as_str(), *while_held)), Some(("cancel", true)));
}

#[tokio::test]
async fn mn_09_removing_tasks_evaluates_what_they_belonged_to() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(2).await;
    floor.done(floor.factory.complete(batch.batch_id, 0, 1)).await;
    assert_eq!(floor.batch_status(&batch).await, "active");
    let open = floor.rows("select id from tasks where status = 'pending'", &[]).await[0].get(0);
    floor.done(DeleteTask(TaskId(open))).await;
    assert_eq!(floor.batch_status(&batch).await, "completed");
    assert_eq!(floor.one::<i64>("select task_count from orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_10_edits_of_the_target_are_serialized_with_completions() {
    let floor = Floor::new(4).await;
    for round in 0..ROUNDS {
        let order = floor.factory.order(&format!("Race {round}"), 4).await;
        let batch = floor.factory.batch(order, 0, 4).await;
        let revise = ReviseOrder { order_id: order, revision: Revision { target_count: Some(2), ..Revision::default() } };
        let complete = || floor.tried(floor.factory.complete(batch.batch_id, 0, 1));
        let (_, _, _, revised) = tokio::join!(complete(), complete(), complete(), floor.tried(revise));
        let row = &floor.rows("select status, target_count, completed_count from orders where id = $1", &[&order.0]).await[0];
        let (status, target, completed): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(status == "completed", completed >= target, "{status}, {completed} of {target}");
        assert!(completed <= target, "{completed} of {target}");
        if let Err(refusal) = revised {
            assert_eq!((refusal.code.as_str(), completed), ("target_below_completed", 3));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_11_a_task_has_one_episode_however_many_say_it_is_done() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.reported(0, &task.public_id).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (factory, command) = (floor.factory.clone(), floor.accept(0, task.id, &task.public_id).await);
        asking.spawn(async move { done(&factory.commands, command).await });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Acceptance::Created(_))).count(), 1, "{answers:?}");
    assert_eq!(floor.one::<i64>("select count(*) from episodes").await, 1);
    assert_eq!(floor.one::<i64>("select episode_count from batches").await, 1);
}

#[tokio::test]
async fn mn_12_only_the_owning_device_moves_a_task() {
    let floor = Floor::new(5).await;
    let (_, other) = (floor.open_links(0).await, floor.open_links(1).await);
    let batch = floor.batch(1).await;
    let task = batch.tasks[0].public_id.clone();
    let unmoved = async || assert_eq!(floor.status(batch.tasks[0].id).await, "pending");

    let start = StartCallback { task_id: task.clone(), device_id: Some(device(1)), reported: json!({}), proof: Proof::NotAsked };
    assert_eq!(floor.done(start).await, StartAnswer::Unmoved);
    unmoved().await;
    floor.done(recorder_tells(&device(1), other, Report::ConfigApplied { task: task.clone() })).await;
    unmoved().await;
    for &state in RecorderState::ALL {
        floor.observe(1, other, state, Some(&task)).await;
        unmoved().await;
    }
    let finish = FinishCallback { task_id: task.clone(), device_id: device(1), report: FinishReport::default(), proof: Proof::NotAsked };
    assert_eq!(floor.done(finish).await, FinishAnswer::NotOwned);
    unmoved().await;
    for action in [RecorderAction::Config, RecorderAction::Begin, RecorderAction::Cancel, RecorderAction::Clear] {
        let command_id = floor.done(asked(&device(1), action, Some(task.clone()))).await;
        let outcome = CommandOutcome::Succeeded { message: None, data: None };
        floor.done(SettleDeviceCommand { device: device(1), command_id, outcome }).await;
        unmoved().await;
    }
}

#[tokio::test]
async fn mn_13_clear_does_not_hit_another_task() {
    let floor = Floor::new(5).await;
    let epoch = floor.open_links(0).await;
    let (first, second) = (floor.batch(1).await, floor.batch(1).await);
    floor.observe(0, epoch, RecorderState::Ready, Some(&first.tasks[0].public_id)).await;
    // The recorder has moved on, to a task of another batch.
    floor.observe(0, epoch, RecorderState::Ready, Some(&second.tasks[0].public_id)).await;
    floor.done(CancelBatch(first.batch_id)).await;
    assert_eq!(floor.status(first.tasks[0].id).await, "cancelled");
    assert_eq!(floor.asked_of_recorders().await, []);
    // What is queued while the task is held is checked again where it is sent: `while_held`.
    floor.done(CancelBatch(second.batch_id)).await;
    assert_eq!(floor.asked_of_recorders().await, [(device(0).to_string(), "clear".into(), true)]);
}

#[tokio::test]
async fn mn_14_compensation_survives_a_device_that_is_away() {
    let floor = Floor::new(5).await;
    let epoch = floor.open_links(0).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.observe(0, epoch, RecorderState::Recording, Some(&task.public_id)).await;
    floor.done(recorder_tells(&device(0), epoch, Report::Closed { reason: "gone".into() })).await;
    floor.done(CancelBatch(batch.batch_id)).await;
    assert_eq!(floor.asked_of_recorders().await, [], "nobody could hear it");
    // Back, and still recording: now it is told, and again after an answer that never came.
    let epoch = floor.open_links(0).await;
    floor.observe(0, epoch, RecorderState::Recording, Some(&task.public_id)).await;
    assert_eq!(floor.asked_of_recorders().await.len(), 1);
    let command_id: String = floor.one("select id from device_commands where status = 'requested'").await;
    let outcome = CommandOutcome::Unknown { reason: "no answer in time".into(), cause: None };
    floor.done(SettleDeviceCommand { device: device(0), command_id, outcome }).await;
    assert_eq!(floor.asked_of_recorders().await.len(), 2);
    // The end condition: it is seen without the task.
    floor.observe(0, epoch, RecorderState::Idle, None).await;
    let released = "select count(*) from events where event_type = 'device_released'";
    assert_eq!(floor.one::<i64>(released).await, 1);
    floor.observe(0, epoch, RecorderState::Ready, Some(&task.public_id)).await;
    assert_eq!(floor.asked_of_recorders().await.len(), 2, "a released task is not chased any more");
}

#[tokio::test]
async fn mn_15_a_database_error_reads_as_what_it_is() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(1)).await;
    let (task, batch) = (number(&created["tasks"][0]["id"]), number(&created["batch"]["id"]));
    let public_id = created["tasks"][0]["task_id"].clone();
    let client = edge.database.pool.get().await.unwrap();
    client.batch_execute("alter table tasks rename to tasks_away").await.unwrap();
    let start = json!({"task_id": public_id, "device_id": "AB-F0001-T0001-000001"});
    let finish = json!({"task_id": public_id, "device_id": "AB-F0001-T0001-000001", "output_path": "/x.mcap"});
    let group = json!({"task_groups": [{"sop_id": number(&seed.sop), "subscene_id": number(&seed.subscene), "quantity": 0}]});
    for (method, path, body) in [
        ("GET", format!("/api/v1/tasks/{task}"), Value::Null),
        ("DELETE", format!("/api/v1/tasks/{task}"), Value::Null),
        ("GET", format!("/api/v1/tasks/{task}/config"), Value::Null),
        ("POST", edge.callback("start", public_id.as_str().unwrap(), "AB-F0001-T0001-000001"), start),
        ("POST", edge.callback("finish", public_id.as_str().unwrap(), "AB-F0001-T0001-000001"), finish),
        ("POST", format!("/api/v1/batches/{batch}/tasks"), group),
        ("PATCH", format!("/api/v1/batches/{batch}"), json!({"status": "cancelled"})),
    ] {
        let (status, answer) = edge.send_as(&edge.admin, method, &path, body).await;
        assert_eq!((status, &answer["code"]), (500, &json!("internal")), "{method} {path}: {answer}");
        assert!(!answer.to_string().contains("tasks_away"), "{answer}");
    }
}

#[tokio::test]
async fn mn_16_an_object_of_another_episode_completes_nothing() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(2).await;
    let (first, second) = (&batch.tasks[0], &batch.tasks[1]);
    floor.reported(0, &first.public_id).await;
    floor.done(floor.accept(0, first.id, &first.public_id).await).await;
    // The second task's verified upload would be the first one's object.
    let client = get(&floor.database.pool).await.unwrap();
    let sql = "update episodes set mcap_path = replace(mcap_path, $1, $2)";
    client.execute(sql, &[&first.public_id.as_str(), &second.public_id.as_str()]).await.unwrap();
    floor.reported(0, &second.public_id).await;
    let refusal = floor.refused(floor.accept(0, second.id, &second.public_id).await).await;
    assert_eq!(refusal.code.as_str(), "object_belongs_to_another_episode");
    assert_eq!(floor.status(second.id).await, "uploading");
    // The same path as before, for the same task: it is known, and acked again.
    client.execute(sql, &[&second.public_id.as_str(), &first.public_id.as_str()]).await.unwrap();
    assert_eq!(floor.done(floor.accept(0, first.id, &first.public_id).await).await, Acceptance::Known);
}

fn legacy(floor: &Floor, quantity: i64) -> CreateTasks {
    let (station_id, _) = floor.factory.stations[0];
    CreateTasks { order_id: floor.order, station_id, sop_id: floor.factory.sop_id, subscene_id: floor.factory.subscene_id, quantity }
}

#[tokio::test]
async fn mn_17_no_new_work_for_a_superseded_workstation() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(1).await;
    get(&floor.database.pool).await.unwrap().batch_execute("update stations set is_current = false").await.unwrap();
    assert_eq!(floor.refused(floor.factory.create_batch(floor.order, 0, 1)).await.code.as_str(), "workstation_superseded");
    assert_eq!(floor.refused(legacy(&floor, 1)).await.code.as_str(), "workstation_superseded");
    let grow = AdjustBatch { batch_id: batch.batch_id, groups: vec![floor.factory.group(2)] };
    assert_eq!(floor.refused(grow).await.code.as_str(), "workstation_superseded");
    let shrink = AdjustBatch { batch_id: batch.batch_id, groups: vec![floor.factory.group(0)] };
    assert_eq!(floor.done(shrink).await.deleted.len(), 1);
}

#[tokio::test]
async fn mn_18_no_new_work_under_an_order_that_is_paused_cancelled_or_completed() {
    let floor = Floor::new(9).await;
    let batch = floor.batch(2).await;
    let grow = || AdjustBatch { batch_id: batch.batch_id, groups: vec![floor.factory.group(3)] };
    floor.set_status("paused").await;
    for refusal in [
        floor.refused(floor.factory.create_batch(floor.order, 0, 1)).await,
        floor.refused(legacy(&floor, 1)).await,
        floor.refused(grow()).await,
    ] {
        assert_eq!((refusal.code.as_str(), &refusal.extra["current_status"]), ("order_not_open", &json!("paused")));
        assert_eq!(refusal.extra["because"]["event"], "order_paused", "{refusal}");
    }
    floor.set_status("in_progress").await;
    floor.done(grow()).await;
    floor.set_status("cancelled").await;
    for refusal in [floor.refused(floor.factory.create_batch(floor.order, 0, 1)).await, floor.refused(legacy(&floor, 1)).await] {
        assert_eq!((refusal.code.as_str(), &refusal.extra["current_status"]), ("order_not_open", &json!("cancelled")));
    }
}

#[tokio::test]
async fn mn_19_single_tasks_keep_the_organization_of_order_and_workstation() {
    let floor = Floor::new(5).await;
    floor.done(legacy(&floor, 2)).await;
    let sql = "select count(*) from tasks t join batches b on b.id = t.batch_id join orders o on o.id = b.order_id
               where t.organization_id = o.organization_id and b.organization_id = o.organization_id";
    assert_eq!(floor.one::<i64>(sql).await, 2);
    // The next ones go into the same batch, while it is open.
    floor.done(legacy(&floor, 1)).await;
    assert_eq!(floor.one::<i64>("select count(*) from batches").await, 1);

    let factory_id = floor.factory.factory_id;
    let other = CreateOrganization { factory_id, name: "Elsewhere".into(), description: None, settings: None };
    let organization_id = floor.done(other).await;
    let order = floor.factory.place_order("Theirs", 5);
    let order_id = floor.done(keystone_edge::commands::orders::PlaceOrder { organization_id, ..order }).await;
    let refusal = floor.refused(CreateTasks { order_id, ..legacy(&floor, 1) }).await;
    assert_eq!(refusal.code.as_str(), "organization_mismatch");
}

#[tokio::test]
async fn mn_20_a_duplicate_name_and_a_text_that_is_too_long_are_the_callers_mistake() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let order = |name: &str| json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": name, "target_count": 1});
    let (status, answer) = edge.post("/api/v1/orders", order("CUPS")).await;
    assert_eq!((status, &answer["code"]), (400, &json!("name_taken")), "{answer}");
    let (status, _) = edge.post("/api/v1/orders", order(&"ü".repeat(256))).await;
    assert_eq!(status, 400);
    let mut batch = seed.batch(1);
    batch["notes"] = json!("x".repeat(65_536));
    assert_eq!(edge.post("/api/v1/batches", batch).await.0, 400);
    // A deleted order's name is free again.
    let path = format!("/api/v1/orders/{}", number(&seed.order));
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &path, Value::Null).await.0, 204);
    edge.create("/api/v1/orders", order("Cups")).await;
}

#[tokio::test]
async fn mn_21_a_subscene_of_another_scene_is_refused() {
    let floor = Floor::new(5).await;
    let factory_id = floor.factory.factory_id;
    let scene = CreateScene { factory_id, name: "Garage".into(), description: None, initial_scene_layout_template: None };
    let scene_id = floor.done(scene).await;
    let subscene = CreateSubscene { scene_id, name: "Bench".into(), description: None, initial_scene_layout: None };
    let subscene_id = floor.done(subscene).await;
    let mut batch = floor.factory.create_batch(floor.order, 0, 1);
    batch.groups[0].subscene_id = subscene_id;
    assert_eq!(floor.refused(batch).await.code.as_str(), "subscene_of_other_scene");
    assert_eq!(floor.refused(CreateTasks { subscene_id, ..legacy(&floor, 1) }).await.code.as_str(), "subscene_of_other_scene");
}

#[tokio::test]
async fn mn_22_ending_an_order_by_hand_ends_its_batches_and_tells_its_recorders() {
    for (target, word) in [(None, Some("cancelled")), (Some(1), None)] {
        let floor = Floor::new(6).await;
        let epoch = floor.open_links(1).await;
        let (first, second) = (floor.batch(2).await, floor.factory.batch(floor.order, 1, 2).await);
        floor.done(floor.factory.complete(first.batch_id, 0, 1)).await;
        floor.observe(1, epoch, RecorderState::Recording, Some(&second.tasks[0].public_id)).await;
        let revision = Revision { target_count: target, status: word.map(str::to_owned), ..Revision::default() };
        floor.done(ReviseOrder { order_id: floor.order, revision }).await;
        let expected = if word.is_some() { "cancelled" } else { "completed" };
        for batch in [&first, &second] {
            assert_eq!(floor.batch_status(batch).await, expected);
        }
        let sql = "select string_agg(status, ' ' order by status) from tasks";
        assert_eq!(floor.one::<String>(sql).await, "cancelled cancelled cancelled completed");
        assert_eq!(floor.asked_of_recorders().await, [(device(1).to_string(), "cancel".into(), true)]);
    }
}

#[tokio::test]
async fn mn_23_q19_an_episode_that_arrives_after_a_recall_is_labelled_too() {
    let floor = Floor::new(5).await;
    let batch = floor.batch(2).await;
    let (early, late) = (&batch.tasks[0], &batch.tasks[1]);
    for task in [early, late] {
        floor.reported(0, &task.public_id).await;
    }
    floor.done(floor.accept(0, early.id, &early.public_id).await).await;
    floor.done(RecallBatch { batch_id: batch.batch_id, reason: None }).await;
    floor.done(floor.accept(0, late.id, &late.public_id).await).await;
    let labels = floor.rows("select labels from episodes", &[]).await;
    let labels: Vec<Vec<String>> = labels.iter().map(|row| row.get(0)).collect();
    assert_eq!(labels, [["recalled_batch"], ["recalled_batch"]]);
}

#[tokio::test]
async fn mn_24_a_recording_that_starts_over_forgets_when_the_first_one_started() {
    let floor = Floor::new(5).await;
    let epoch = floor.open_links(0).await;
    let batch = floor.batch(1).await;
    let task = &batch.tasks[0];
    floor.observe(0, epoch, RecorderState::Ready, Some(&task.public_id)).await;
    floor.observe(0, epoch, RecorderState::Recording, Some(&task.public_id)).await;
    let cancel = asked(&device(0), RecorderAction::Cancel, Some(task.public_id.clone()));
    let command_id = floor.done(cancel).await;
    let outcome = CommandOutcome::Succeeded { message: None, data: None };
    floor.done(SettleDeviceCommand { device: device(0), command_id, outcome }).await;
    let row = &floor.rows("select status, ready_at is null, started_at is null from tasks", &[]).await[0];
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(1), row.get::<_, bool>(2)), ("pending", true, true));
}

#[tokio::test]
async fn mn_25_every_task_that_ended_says_when_and_completed_at_keeps_its_meaning() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(1)).await;
    let (batch, task) = (number(&created["batch"]["id"]), number(&created["tasks"][0]["id"]));
    edge.send_as(&edge.admin, "PATCH", &format!("/api/v1/batches/{batch}"), json!({"status": "cancelled"})).await;
    let (_, detail) = edge.get(&format!("/api/v1/tasks/{task}")).await;
    assert_eq!((&detail["status"], &detail["completed_at"]), (&json!("cancelled"), &Value::Null));
    assert!(detail["ended_at"].is_string(), "{detail}");
}
