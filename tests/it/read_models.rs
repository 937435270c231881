//! Whatever happens, and in whatever order: the read models are a fold of the log, and their
//! numbers are the numbers of their rows.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::commands::batches::{AdjustBatch, CancelBatch, CreatedTask, DeleteBatch, RecallBatch};
use keystone_edge::commands::callbacks::{FinishCallback, Proof, StartCallback};
use keystone_edge::commands::devices::{OpenLink, SettleDeviceCommand};
use keystone_edge::commands::orders::{DeleteOrder, ReviseOrder};
use keystone_edge::commands::qa::{AbandonQaRun, JudgeEpisode, StartQaRun};
use keystone_edge::commands::registry::{CreateOrganization, CreateScene, CreateSkill, CreateSubscene};
use keystone_edge::commands::reports::DeviceReport;
use keystone_edge::commands::tasks::{CreateTasks, DeleteTask};
use keystone_edge::commands::uploads::{AcceptUpload, RejectUpload};
use keystone_edge::commands::{Command, CommandError, Context};
use keystone_edge::domain::device::{CommandOutcome, LinkKind, RecorderAction, RecorderState};
use keystone_edge::domain::episode::RunMode;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::domain::measurement::Facts;
use keystone_edge::domain::order::{Priority, Revision};
use keystone_edge::domain::report::{Report, UploadList};
use keystone_edge::domain::task::{FinishReport, Rejection, UploadReport, VerifiedUpload};
use keystone_edge::domain::{BatchId, DeviceId, EpisodeId, OrderId, PublicTaskId, TaskId};
use keystone_edge::eventstore::log;
use keystone_edge::pg::get;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::projections::rows::tables;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, FileFailurePersistence, TestRunner};
use serde_json::json;
use tokio::sync::Mutex;

use crate::factory::{Factory, asked, device, last_report, place_all, recorder_tells, uploaded, uploader_tells};
use crate::harness::TestDatabase;
use crate::production_statistics::{RECOUNT, count_all, differences};

/// Each on a database of its own; more would be slower than they are worth in every run.
const CASES: u32 = 24;
const STEPS: usize = 120;

pub const ROBOTS: usize = 2;

/// What somebody does. Small numbers choose among what there is, so that devices speak of the
/// same tasks again, too late, and of tasks that are not theirs.
#[derive(Clone, Debug)]
pub enum Step {
    Register(u8),
    PlaceOrder {
        target: i64,
    },
    ReviseOrder {
        order: usize,
        target: Option<i64>,
        status: Option<usize>,
    },
    DeleteOrder {
        order: usize,
    },
    CreateBatch {
        order: usize,
        station: usize,
        quantity: i64,
    },
    AdjustBatch {
        batch: usize,
        quantity: i64,
    },
    CancelBatch {
        batch: usize,
    },
    RecallBatch {
        batch: usize,
    },
    DeleteBatch {
        batch: usize,
    },
    CompleteTasks {
        batch: usize,
        who: usize,
        quantity: i64,
    },
    CreateTasks {
        order: usize,
        station: usize,
        quantity: i64,
    },
    DeleteTask {
        task: usize,
    },
    OpenLink {
        who: usize,
        recorder: bool,
    },
    CloseLink {
        who: usize,
        recorder: bool,
        epoch_back: i64,
    },
    Observe {
        who: usize,
        task: usize,
        state: usize,
        epoch_back: i64,
    },
    ConfigApplied {
        who: usize,
        task: usize,
        epoch_back: i64,
    },
    Start {
        who: Option<usize>,
        task: usize,
    },
    Finish {
        who: usize,
        task: usize,
    },
    Request {
        who: usize,
        task: usize,
        action: usize,
    },
    Settle {
        who: usize,
        command: usize,
        outcome: u8,
    },
    UploadStarted {
        who: usize,
        task: usize,
        epoch_back: i64,
    },
    Uploaded {
        who: usize,
        task: usize,
        size: u64,
        epoch_back: i64,
    },
    Accept {
        task: usize,
        size: u64,
    },
    Reject {
        task: usize,
        size: u64,
    },
    /// A run of the checks, of one of few names, at one of its two ends, or given up.
    Judge {
        task: usize,
        run: u8,
        manual: bool,
        what: u8,
        sound: bool,
    },
    Failed {
        who: usize,
        task: usize,
        epoch_back: i64,
    },
    AckWanted {
        who: usize,
        task: usize,
    },
    NotFound {
        who: usize,
        task: usize,
    },
    Reconcile {
        who: usize,
        task: usize,
        missing: bool,
    },
}

/// One robot too many: nobody registered the last.
fn who() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..ROBOTS, 1 => Just(ROBOTS)]
}

fn back() -> impl Strategy<Value = i64> {
    prop_oneof![5 => Just(0_i64), 1 => Just(1_i64)]
}

pub fn step() -> impl Strategy<Value = Step> {
    let task = 0..8_usize;
    // Two contents, so that a report can be a repeat or a contradiction.
    let size = 1..3_u64;
    prop_oneof![
        1 => (0..4_u8).prop_map(Step::Register),
        2 => (1..6_i64).prop_map(|target| Step::PlaceOrder { target }),
        3 => (0..3_usize, 0..ROBOTS, 1..4_i64).prop_map(|(order, station, quantity)| Step::CreateBatch { order, station, quantity }),
        3 => (0..3_usize, proptest::option::of(0..6_i64), proptest::option::of(0..6_usize))
            .prop_map(|(order, target, status)| Step::ReviseOrder { order, target, status }),
        1 => (0..3_usize).prop_map(|order| Step::DeleteOrder { order }),
        3 => (0..4_usize, 0..5_i64).prop_map(|(batch, quantity)| Step::AdjustBatch { batch, quantity }),
        1 => (0..4_usize).prop_map(|batch| Step::CancelBatch { batch }),
        1 => (0..4_usize).prop_map(|batch| Step::RecallBatch { batch }),
        1 => (0..4_usize).prop_map(|batch| Step::DeleteBatch { batch }),
        3 => (0..4_usize, 0..ROBOTS, 1..3_i64).prop_map(|(batch, who, quantity)| Step::CompleteTasks { batch, who, quantity }),
        1 => (0..3_usize, 0..ROBOTS, 1..3_i64).prop_map(|(order, station, quantity)| Step::CreateTasks { order, station, quantity }),
        1 => (0..8_usize).prop_map(|task| Step::DeleteTask { task }),
        2 => (who(), any::<bool>()).prop_map(|(who, recorder)| Step::OpenLink { who, recorder }),
        1 => (who(), any::<bool>(), back()).prop_map(|(who, recorder, epoch_back)| Step::CloseLink { who, recorder, epoch_back }),
        3 => (who(), task.clone(), 0..4_usize, back())
            .prop_map(|(who, task, state, epoch_back)| Step::Observe { who, task, state, epoch_back }),
        1 => (who(), task.clone(), back()).prop_map(|(who, task, epoch_back)| Step::ConfigApplied { who, task, epoch_back }),
        3 => (proptest::option::of(who()), task.clone()).prop_map(|(who, task)| Step::Start { who, task }),
        3 => (who(), task.clone()).prop_map(|(who, task)| Step::Finish { who, task }),
        2 => (who(), task.clone(), 0..8_usize).prop_map(|(who, task, action)| Step::Request { who, task, action }),
        3 => (who(), 0..4_usize, 0..3_u8).prop_map(|(who, command, outcome)| Step::Settle { who, command, outcome }),
        2 => (who(), task.clone(), back()).prop_map(|(who, task, epoch_back)| Step::UploadStarted { who, task, epoch_back }),
        6 => (who(), task.clone(), size.clone(), back())
            .prop_map(|(who, task, size, epoch_back)| Step::Uploaded { who, task, size, epoch_back }),
        6 => (task.clone(), size.clone()).prop_map(|(task, size)| Step::Accept { task, size }),
        2 => (task.clone(), size).prop_map(|(task, size)| Step::Reject { task, size }),
        6 => (task.clone(), 0..4_u8, any::<bool>(), 0..4_u8, any::<bool>())
            .prop_map(|(task, run, manual, what, sound)| Step::Judge { task, run, manual, what, sound }),
        1 => (who(), task.clone(), back()).prop_map(|(who, task, epoch_back)| Step::Failed { who, task, epoch_back }),
        1 => (who(), task.clone()).prop_map(|(who, task)| Step::AckWanted { who, task }),
        1 => (who(), task.clone()).prop_map(|(who, task)| Step::NotFound { who, task }),
        2 => (who(), task, any::<bool>()).prop_map(|(who, task, missing)| Step::Reconcile { who, task, missing }),
    ]
}

/// What the ones who act remember.
#[derive(Default)]
pub struct Memory {
    orders: Vec<OrderId>,
    /// With the station each was given to.
    batches: Vec<(BatchId, usize)>,
    /// With the robot whose task it is.
    tasks: Vec<(TaskId, PublicTaskId, usize)>,
    commands: Vec<String>,
    epochs: [[i64; 2]; ROBOTS + 1],
    names: usize,
}

impl Memory {
    fn task(&self, n: usize) -> (TaskId, PublicTaskId, usize) {
        match self.tasks.len() {
            0 => (TaskId(0), PublicTaskId::parse("task_of_nobody").unwrap(), 0),
            many => self.tasks[n % many].clone(),
        }
    }

    fn order(&self, n: usize) -> OrderId {
        self.orders.get(n % self.orders.len().max(1)).copied().unwrap_or(OrderId(0))
    }

    /// The newest come first: they are the ones that still have work.
    fn batch(&self, n: usize) -> (BatchId, usize) {
        self.batches.iter().rev().nth(n % self.batches.len().max(1)).copied().unwrap_or((BatchId(0), 0))
    }

    fn keep(&mut self, created: impl IntoIterator<Item = CreatedTask>, station: usize) {
        self.tasks.extend(created.into_iter().map(|task| (task.id, task.public_id, station)));
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind} {}", self.names)
    }
}

fn report(device: &DeviceId, task: &PublicTaskId, size: u64) -> UploadReport {
    UploadReport {
        object_key: format!("1/{device}/2026-11-20/{task}.mcap"),
        size_bytes: size,
        sha256: format!("{size:064x}"),
        with_sidecar: size == 1,
    }
}

/// Refusals and lost races are answers; anything else is a fault.
/// The episode of a task; one that there is not, where it has none.
async fn episode_of(pool: &Pool, task: TaskId) -> EpisodeId {
    let client = get(pool).await.expect("a connection");
    let found = client.query_one("select coalesce(max(id), 0) from episodes where task_id = $1", &[&task]).await.expect("an answer");
    EpisodeId(found.get(0))
}

async fn ask<C: Command>(factory: &Factory, command: C) -> Option<C::Answer> {
    match factory.commands.execute(&Context::system(), command).await {
        Ok(answer) => Some(answer),
        Err(CommandError::Refused(_) | CommandError::Conflict) => None,
        Err(fault) => panic!("`{}`: {fault:?}", C::NAME),
    }
}

pub async fn act(factory: &Factory, memory: &Mutex<Memory>, step: Step) {
    let epoch =
        async |who: usize, kind: LinkKind, back: i64| memory.lock().await.epochs[who][usize::from(kind == LinkKind::Transfer)] - back;
    let task = async |n: usize| memory.lock().await.task(n);
    let transfer = LinkKind::Transfer;
    match step {
        Step::Register(kind) => {
            let name = memory.lock().await.name("Entry");
            match kind {
                0 => {
                    let _id =
                        ask(factory, CreateSkill { slug: name, version: None, description: None, metadata: Some(json!([1, "ä"])) }).await;
                }
                1 => {
                    let organization = CreateOrganization { factory_id: factory.factory_id, name, description: None, settings: None };
                    ask(factory, organization).await;
                }
                2 => {
                    let layout = Some("a table".to_owned());
                    let scene =
                        CreateScene { factory_id: factory.factory_id, name, description: None, initial_scene_layout_template: layout };
                    ask(factory, scene).await;
                }
                // The same name every time: refused from the second on.
                _ => {
                    let subscene =
                        CreateSubscene { scene_id: factory.scene_id, name: "Stove".into(), description: None, initial_scene_layout: None };
                    ask(factory, subscene).await;
                }
            }
        }
        Step::PlaceOrder { target } => {
            let name = memory.lock().await.name("Order");
            if let Some(id) = ask(factory, factory.place_order(&name, target)).await {
                memory.lock().await.orders.push(id);
            }
        }
        Step::CreateBatch { order, station, quantity } => {
            let id = memory.lock().await.order(order);
            if let Some(created) = ask(factory, factory.create_batch(id, station, quantity)).await {
                let mut memory = memory.lock().await;
                memory.batches.push((created.batch_id, station));
                memory.keep(created.tasks, station);
            }
        }
        Step::ReviseOrder { order, target, status } => {
            let words = ["created", "in_progress", "paused", "completed", "cancelled", "nonsense"];
            let status = status.map(|n| words[n].to_owned());
            let revision = Revision { target_count: target, status, priority: Some(Priority::High), ..Revision::default() };
            let order_id = memory.lock().await.order(order);
            ask(factory, ReviseOrder { order_id, revision }).await;
        }
        Step::DeleteOrder { order } => {
            let order_id = memory.lock().await.order(order);
            ask(factory, DeleteOrder(order_id)).await;
        }
        Step::AdjustBatch { batch, quantity } => {
            let (batch_id, station) = memory.lock().await.batch(batch);
            if let Some(adjusted) = ask(factory, AdjustBatch { batch_id, groups: vec![factory.group(quantity)] }).await {
                memory.lock().await.keep(adjusted.created, station);
            }
        }
        Step::CancelBatch { batch } => {
            let (batch, _) = memory.lock().await.batch(batch);
            ask(factory, CancelBatch(batch)).await;
        }
        Step::RecallBatch { batch } => {
            let (batch, _) = memory.lock().await.batch(batch);
            ask(factory, RecallBatch { batch_id: batch, reason: None }).await;
        }
        Step::DeleteBatch { batch } => {
            let (batch, _) = memory.lock().await.batch(batch);
            ask(factory, DeleteBatch(batch)).await;
        }
        Step::CompleteTasks { batch, who, quantity } => {
            let (batch, _) = memory.lock().await.batch(batch);
            ask(factory, factory.complete(batch, who, quantity)).await;
        }
        Step::CreateTasks { order, station, quantity } => {
            let order_id = memory.lock().await.order(order);
            let (station_id, _) = factory.stations[station];
            let create = CreateTasks { order_id, station_id, sop_id: factory.sop_id, subscene_id: factory.subscene_id, quantity };
            if let Some(created) = ask(factory, create).await {
                memory.lock().await.keep(created, station);
            }
        }
        Step::DeleteTask { task: n } => {
            let (task, _, _) = task(n).await;
            ask(factory, DeleteTask(task)).await;
        }
        Step::OpenLink { who, recorder } => {
            let kind = if recorder { LinkKind::Recorder } else { LinkKind::Transfer };
            if let Some(epoch) = ask(factory, OpenLink { device: device(who), kind, remote: "10.0.0.7:4711".into(), process: None }).await {
                let known = &mut memory.lock().await.epochs[who][usize::from(!recorder)];
                *known = epoch.max(*known);
            }
        }
        Step::CloseLink { who, recorder, epoch_back } => {
            let kind = if recorder { LinkKind::Recorder } else { LinkKind::Transfer };
            let epoch = epoch(who, kind, epoch_back).await;
            let report = Report::Closed { reason: "gone".into() };
            ask(factory, DeviceReport { device: device(who), link: kind, epoch, report }).await;
        }
        Step::Observe { who, task: n, state, epoch_back } => {
            let (_, public_id, _) = task(n).await;
            let epoch = epoch(who, LinkKind::Recorder, epoch_back).await;
            let (state, task) = (RecorderState::ALL[state], Some(public_id));
            let seen = Report::Observed { state, task, source: "state_update".into() };
            ask(factory, recorder_tells(&device(who), epoch, seen)).await;
        }
        Step::ConfigApplied { who, task: n, epoch_back } => {
            let epoch = epoch(who, LinkKind::Recorder, epoch_back).await;
            ask(factory, recorder_tells(&device(who), epoch, Report::ConfigApplied { task: task(n).await.1 })).await;
        }
        Step::Start { who, task: n } => {
            let reported = json!({"topics": ["/joint_states"]});
            ask(factory, StartCallback { task_id: task(n).await.1, device_id: who.map(device), reported, proof: Proof::NotAsked }).await;
        }
        Step::Finish { who, task: n } => {
            let report = FinishReport { duration_sec: Some(1.25), message_count: Some(7), ..FinishReport::default() };
            ask(factory, FinishCallback { task_id: task(n).await.1, device_id: device(who), report, proof: Proof::NotAsked }).await;
        }
        Step::Request { who, task: n, action } => {
            let (action, task) = (RecorderAction::ALL[action], Some(task(n).await.1));
            if let Some(id) = ask(factory, asked(&device(who), action, task)).await {
                memory.lock().await.commands.push(id);
            }
        }
        Step::Settle { who, command, outcome } => {
            let id = {
                let memory = memory.lock().await;
                let last = memory.commands.len().saturating_sub(command + 1);
                memory.commands.get(last).cloned().unwrap_or_else(|| "unknown".into())
            };
            let outcome = match outcome {
                0 => CommandOutcome::Succeeded { message: None, data: Some(json!({"ok": true})) },
                1 => CommandOutcome::Refused { message: Some("busy".into()), data: None },
                _ => CommandOutcome::Unknown { reason: "no answer".into(), cause: None },
            };
            ask(factory, SettleDeviceCommand { device: device(who), command_id: id, outcome }).await;
        }
        Step::UploadStarted { who, task: n, epoch_back } => {
            let epoch = epoch(who, transfer, epoch_back).await;
            ask(factory, uploader_tells(&device(who), epoch, Report::UploadStarted { task: task(n).await.1 })).await;
        }
        Step::Uploaded { who, task: n, size, epoch_back } => {
            let (device, task) = (device(who), task(n).await.1);
            let (report, epoch) = (report(&device, &task, size), epoch(who, transfer, epoch_back).await);
            ask(factory, uploaded(&device, epoch, task, report)).await;
        }
        Step::Accept { task: n, size } => {
            let (id, public_id, owner) = task(n).await;
            let report = report(&device(owner), &public_id, size);
            let verified =
                VerifiedUpload { report, etag: Some("\"e\"".into()), message_count: 7, verified_bytes: size, notes: vec![], damage: None };
            let reported_in = last_report(factory.store.pool(), id).await;
            let accept = AcceptUpload {
                task: id,
                reported_in,
                verified,
                bucket: "edge".into(),
                sidecar: None,
                duration_sec: Some(0.5),
                metadata: Some(json!({})),
                facts: (size % 2 == 0).then(|| Box::new(Facts::none(size))),
            };
            ask(factory, accept).await;
        }
        Step::Judge { task: n, run, manual, what, sound } => {
            let episode = episode_of(factory.store.pool(), task(n).await.0).await;
            let (run, mode) = (format!("run-{run}"), if manual { RunMode::Manual } else { RunMode::Auto });
            match what {
                0 => drop(ask(factory, StartQaRun { episode, run, mode, within: Duration::ZERO }).await),
                1 => drop(ask(factory, StartQaRun { episode, run, mode, within: Duration::from_secs(60) }).await),
                2 => drop(ask(factory, AbandonQaRun { episode, run, why: "the store is away".into() }).await),
                _ => {
                    let looked = Facts { gone: !sound, message_count: 7, ..Facts::none(1) };
                    let default_suite = Suite { checks: vec![], ..Suite::default() };
                    let default_suite = if sound { default_suite } else { Suite::default() };
                    drop(ask(factory, JudgeEpisode { episode, run, mode, looked: Some(Box::new(looked)), default_suite }).await);
                }
            }
        }
        Step::Reject { task: n, size } => {
            let (task, public_id, owner) = task(n).await;
            let rejection = Rejection::SizeDiffers { reported: size, found: 0 };
            let reported_in = last_report(factory.store.pool(), task).await;
            ask(factory, RejectUpload { task, reported_in, report: report(&device(owner), &public_id, size), rejection }).await;
        }
        Step::Failed { who, task: n, epoch_back } => {
            let epoch = epoch(who, transfer, epoch_back).await;
            let gave_up = Report::UploadFailed { task: task(n).await.1, reason: "disk full".into() };
            ask(factory, uploader_tells(&device(who), epoch, gave_up)).await;
        }
        Step::AckWanted { who, task: n } => {
            let epoch = epoch(who, transfer, 0).await;
            ask(factory, uploader_tells(&device(who), epoch, Report::AckWanted { task: task(n).await.1 })).await;
        }
        Step::NotFound { who, task: n } => {
            let epoch = epoch(who, transfer, 0).await;
            let not_found = Report::UploadNotFound { task: task(n).await.1, detail: "no file".into() };
            ask(factory, uploader_tells(&device(who), epoch, not_found)).await;
        }
        Step::Reconcile { who, task: n, missing } => {
            let epoch = epoch(who, transfer, 0).await;
            let named = (task(n).await.1, "no file".to_owned());
            let under_way = if missing { vec![] } else { vec![named.0.clone()] };
            let missing = missing.then_some(named).into_iter().collect();
            let tracked = under_way.clone();
            let list = UploadList { tracked, missing, failed: vec![], under_way };
            ask(factory, uploader_tells(&device(who), epoch, Report::UploadsListed(list))).await;
        }
    }
}

/// Each must find nothing.
const PROMISES: &[(&str, &str)] = &[
    (
        "an order counts its tasks",
        "select o.id from orders o where (task_count, completed_count, failed_count, cancelled_count) is distinct from
         (select (count(*), count(*) filter (where status = 'completed'), count(*) filter (where status = 'failed'),
                  count(*) filter (where status = 'cancelled'))::record from tasks t where t.order_id = o.id)",
    ),
    (
        "a batch counts its tasks and episodes",
        "select b.id from batches b, lateral (select count(*) c, count(*) filter (where status = 'completed') d,
                count(*) filter (where status = 'failed') f, count(*) filter (where status = 'cancelled') x
                from tasks t where t.batch_id = b.id) n
         where (task_count, completed_count, failed_count, cancelled_count) <> (n.c, n.d, n.f, n.x)
            or episode_count <> (select count(*) from episodes e where e.batch_id = b.id)",
    ),
    (
        "an order never has more tasks than its target, unless the target was lowered",
        "select id from orders o where task_count > target_count
         and not exists (select from events e where e.aggregate_type = 'order' and e.aggregate_id = o.id::text and e.event_type = 'order_revised')",
    ),
    (
        "a batch has work while it is open, and none that could still be recorded when it is over",
        "select b.id from batches b, lateral (select count(*) filter (where status in ('pending', 'ready', 'in_progress')) open from tasks t
                where t.batch_id = b.id) n
         where case when status in ('pending', 'active') then task_count > 0 and task_count = completed_count + failed_count + cancelled_count
                    else n.open > 0 end",
    ),
    (
        "a batch is pending until its first task is settled",
        "select id from batches where status = 'pending' and completed_count + failed_count + cancelled_count > 0",
    ),
    (
        "an order is open while its target is not reached, created while nothing is completed, and completed when the target is reached",
        "select id from orders where case status when 'created' then completed_count > 0 when 'in_progress' then completed_count >= target_count
                                                 when 'completed' then completed_count < target_count else false end",
    ),
    (
        "no batch is open under an order that is over",
        "select b.id from batches b join orders o on o.id = b.order_id
         where b.status in ('pending', 'active') and o.status in ('completed', 'cancelled')",
    ),
    (
        "nothing belongs to what was deleted",
        "select id from tasks t where not exists (select from batches b where b.id = t.batch_id and b.order_id = t.order_id)
         union all select id from batches b where not exists (select from orders o where o.id = b.order_id)
         union all select id from episodes e where not exists (select from tasks t where t.id = e.task_id)",
    ),
    (
        "a task has the episode of a recording that was verified, and no other",
        "select t.id from tasks t left join episodes e on e.task_id = t.id
         where exists (select from events x where x.aggregate_type = 'task' and x.aggregate_id = t.id::text
                         and x.event_type in ('upload_verified', 'late_upload_verified')) <> (e.id is not null)
            or t.episode_id is distinct from e.id",
    ),
    (
        "episodes of a recalled batch say so once, and no others do",
        "select e.id from episodes e join batches b on b.id = e.batch_id
         where (b.status = 'recalled')::int <> (select count(*) from unnest(e.labels) label where label = 'recalled_batch')",
    ),
    (
        "episodes of tasks that had ended before say so, and no others do",
        "select e.id from episodes e where ('late_upload' = any(e.labels)) <>
            exists (select from events x where x.aggregate_type = 'task' and x.aggregate_id = e.task_id::text
                      and x.event_type = 'late_upload_verified')",
    ),
    ("a task has at most one episode", "select task_id from episodes group by 1 having count(*) > 1"),
    (
        "a task that ended stays as it ended",
        "select e.aggregate_id from events e join events later using (aggregate_type, aggregate_id)
         where e.aggregate_type = 'task' and e.event_type in ('upload_verified', 'upload_failed', 'task_cancelled', 'task_completed_externally', 'task_deleted')
           and later.sequence > e.sequence and later.event_type not in ('device_report_noted', 'upload_ack_requested', 'late_upload_reported', 'late_upload_verified', 'late_upload_rejected')
           and not (later.event_type = 'task_deleted' and e.event_type in ('upload_failed', 'task_cancelled'))",
    ),
    (
        "no ack is queued before the episode",
        "select o.outbox_id from outbox o join events e on e.seq = o.event_seq
         where e.event_type in ('upload_verified', 'late_upload_verified', 'upload_ack_requested')
           and not exists (select from episodes p where p.task_id::text = e.aggregate_id)",
    ),
    (
        "what is routed is queued, once",
        "select e.seq from events e left join outbox o on o.event_seq = e.seq
         where (e.event_type in ('device_command_requested', 'recording_finished', 'upload_requested_again', 'upload_reported',
                                 'upload_verified', 'late_upload_reported', 'late_upload_verified', 'upload_ack_requested', 'episode_created',
                                 'episode_approved', 'episode_approval_lost', 'sync_queued')
                or (e.event_type = 'episode_labelled' and e.payload #>> '{episode_labelled,label}' = 'recalled_batch')) <> (o.event_seq is not null)",
    ),
    (
        "a row stands where its stream stands",
        "select t.id from tasks t where version <> (select max(sequence) from events e where e.aggregate_type = 'task' and e.aggregate_id = t.id::text)",
    ),
];

pub async fn check(pool: &Pool, database: &TestDatabase) {
    place_all(&database.connector).await;
    assert_eq!(log::verify(pool).await.unwrap(), []);
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
    let client = get(pool).await.unwrap();
    for (promise, breaks) in PROMISES {
        let broken = client.query(*breaks, &[]).await.unwrap();
        assert!(broken.is_empty(), "{promise}: broken by {} rows, first {:?}", broken.len(), broken[0]);
    }
}

/// How often something happened, to see that the cases reach what they are meant to reach.
async fn reached(pool: &Pool) -> Vec<(String, i64)> {
    let sql = "select event_type, count(*) from events group by 1 order by 1";
    get(pool).await.unwrap().query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn read_models_equal_a_fold_of_the_log_after_any_commands() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = Cases {
        cases: CASES,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        // Each try is a database and a hundred transactions.
        max_shrink_iters: 40,
        ..Cases::default()
    };
    TestRunner::new(cases)
        .run(&proptest::collection::vec(step(), STEPS / 2..STEPS), |steps| {
            runtime.block_on(async {
                let database = TestDatabase::new().await;
                let factory = Factory::new(&database.pool, ROBOTS).await;
                let memory = Mutex::new(Memory::default());
                // Something to talk about from the start.
                act(&factory, &memory, Step::PlaceOrder { target: 5 }).await;
                act(&factory, &memory, Step::CreateBatch { order: 0, station: 0, quantity: 3 }).await;
                act(&factory, &memory, Step::OpenLink { who: 0, recorder: false }).await;
                act(&factory, &memory, Step::OpenLink { who: 0, recorder: true }).await;
                for step in steps {
                    act(&factory, &memory, step).await;
                }
                check(&database.pool, &database).await;
                println!("{:?}", reached(&database.pool).await);
            });
            Ok(())
        })
        .unwrap();
}

/// What is counted along the way, and what is counted at once from the first event, is what the rows say.
#[test]
fn statistics_equal_a_recount_after_any_commands() {
    const CASES: u32 = 10;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases =
        Cases { cases: CASES, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), max_shrink_iters: 40, ..Cases::default() };
    TestRunner::new(cases)
        .run(&proptest::collection::vec((step(), 0..12_u8), STEPS / 2..STEPS), |steps| {
            runtime.block_on(async {
                let database = TestDatabase::new().await;
                let factory = Factory::new(&database.pool, ROBOTS).await;
                let memory = Mutex::new(Memory::default());
                act(&factory, &memory, Step::PlaceOrder { target: 9 }).await;
                for station in 0..ROBOTS {
                    act(&factory, &memory, Step::CreateBatch { order: 0, station, quantity: 3 }).await;
                    act(&factory, &memory, Step::OpenLink { who: station, recorder: false }).await;
                }
                for (step, then) in steps {
                    act(&factory, &memory, step).await;
                    if then == 0 {
                        place_all(&database.connector).await;
                        count_all(&database.pool).await;
                    }
                }
                place_all(&database.connector).await;
                count_all(&database.pool).await;
                assert_eq!(differences(&database.pool).await, Vec::<String>::new(), "along the way");
                let client = get(&database.pool).await.unwrap();
                let all = "select coalesce(jsonb_agg(to_jsonb(c) order by c.episode_id), '[]') from counted_episodes c";
                let along: serde_json::Value = client.query_one(all, &[]).await.unwrap().get(0);
                client.batch_execute(RECOUNT).await.unwrap();
                count_all(&database.pool).await;
                assert_eq!(differences(&database.pool).await, Vec::<String>::new(), "at once");
                assert_eq!(client.query_one(all, &[]).await.unwrap().get::<_, serde_json::Value>(0), along, "each as it was");
                println!("{} episodes, {:?}", along.as_array().map_or(0, Vec::len), reached(&database.pool).await);
            });
            Ok(())
        })
        .unwrap();
}

/// The whole path of a few tasks, told in every order at once by several voices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_equal_a_fold_of_the_log_when_everybody_speaks_at_once() {
    const VOICES: usize = 8;
    let database = TestDatabase::new().await;
    let factory = Arc::new(Factory::new(&database.pool, ROBOTS).await);
    let memory = Arc::new(Mutex::new(Memory::default()));
    for station in 0..ROBOTS {
        act(&factory, &memory, Step::PlaceOrder { target: 5 }).await;
        act(&factory, &memory, Step::CreateBatch { order: station, station, quantity: 4 }).await;
        act(&factory, &memory, Step::OpenLink { who: station, recorder: false }).await;
        act(&factory, &memory, Step::OpenLink { who: station, recorder: true }).await;
    }
    let mut voices = tokio::task::JoinSet::new();
    for _ in 0..VOICES {
        let (factory, memory) = (factory.clone(), memory.clone());
        voices.spawn(async move {
            for _ in 0..60 {
                let task = rand::random_range(0..8);
                let who = task / 4;
                let step = match rand::random_range(0..13) {
                    9 => Step::AdjustBatch { batch: who, quantity: rand::random_range(0..6) },
                    10 => Step::CompleteTasks { batch: who, who: 1 - who, quantity: 1 },
                    11 => Step::DeleteTask { task },
                    12 if rand::random_range(0..20) == 0 => Step::CancelBatch { batch: who },
                    0 => Step::Start { who: Some(who), task },
                    1 => Step::Finish { who, task },
                    2 | 3 => Step::Uploaded { who, task, size: 1, epoch_back: 0 },
                    4 | 5 => Step::Accept { task, size: 1 },
                    6 => Step::Observe { who, task, state: rand::random_range(0..4), epoch_back: 0 },
                    7 => Step::Failed { who, task, epoch_back: rand::random_range(0..20) % 19 },
                    _ => Step::AckWanted { who, task },
                };
                act(&factory, &memory, step).await;
            }
        });
    }
    voices.join_all().await;
    check(&database.pool, &database).await;
    println!("{:?}", reached(&database.pool).await);
}

#[tokio::test]
async fn a_row_that_was_changed_by_hand_is_a_difference() {
    let database = TestDatabase::new().await;
    let factory = Factory::new(&database.pool, 1).await;
    let order = factory.order("Cups", 5).await;
    factory.batch(order, 0, 2).await;
    place_all(&database.connector).await;
    assert_eq!(rebuild(&database.pool).await.unwrap().differences, []);
    let client = get(&database.pool).await.unwrap();
    client.batch_execute("update orders set completed_count = 1; delete from batches").await.unwrap();
    let found = rebuild(&database.pool).await.unwrap().differences;
    let sides: Vec<(&str, &str)> = found.iter().map(|(table, side, _)| (table.as_str(), side.as_str())).collect();
    assert_eq!(sides, [("orders", "live"), ("orders", "rebuilt"), ("batches", "rebuilt")]);
}

#[tokio::test]
async fn every_row_that_is_declared_has_the_columns_of_its_table() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    for table in tables() {
        for sql in [table.upsert, table.delete] {
            client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", error.as_db_error().unwrap()));
        }
        let sql = "select column_name::text from information_schema.columns where table_schema = 'public' and table_name = $1";
        let columns = client.query(sql, &[&table.name]).await.unwrap();
        assert!(columns.len() > 4, "{} has no columns of its own", table.name);
        let written: Vec<&str> = table.upsert.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
        for column in columns.iter().map(|row| row.get::<_, &str>(0)).filter(|column| *column != "created_at") {
            assert!(written.contains(&column), "{} declares no column {column}", table.name);
        }
    }
}

#[tokio::test]
async fn a_rebuild_skips_no_stream_that_this_version_does_not_know() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    let sql = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
               values ('satellite', '7', 1, 'satellite_launched', '1.0', '{}', '{}')";
    client.batch_execute(sql).await.unwrap();
    let said = rebuild(&database.pool).await.unwrap_err().to_string();
    assert!(said.contains("satellite/7/1") && said.contains("no stream of the kind satellite"), "{said}");
}
