//! How often each hot path waits for Postgres, counted on the wire, and that the document says the same.

use std::net::SocketAddr;

use keystone_edge::commands::batches::{AdjustBatch, CancelBatch, CreatedBatch, DeleteBatch, RecallBatch};
use keystone_edge::commands::callbacks::{Proof, StartCallback};
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::orders::{DeleteOrder, ReviseOrder};
use keystone_edge::commands::qa::JudgeEpisode;
use keystone_edge::commands::subscriptions::CreateSubscription;
use keystone_edge::commands::tasks::{CreateTasks, DeleteTask};
use keystone_edge::commands::uploads::AcceptUpload;
use keystone_edge::commands::{Command, Commands, Context};
use keystone_edge::config::{Config, Secret};
use keystone_edge::domain::device::{LinkKind, RecorderAction, RecorderState};
use keystone_edge::domain::episode::RunMode;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::domain::measurement::Facts;
use keystone_edge::domain::order::Revision;
use keystone_edge::domain::report::Report;
use keystone_edge::domain::subscription::{DeliveryChange, Target};
use keystone_edge::domain::task::{UploadReport, VerifiedUpload};
use keystone_edge::domain::{EpisodeId, FactoryId};
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::{Connector, get};
use serde_json::json;

use crate::factory::{Factory, asked, last_report, place_all, recorder_tells, uploaded};
use crate::harness::TestDatabase;
use crate::harness::relay::Relay;

/// Tries per path: the first ones prepare statements and open the connection.
const TRIES: usize = 5;

struct Bench {
    factory: Factory,
    relay: Relay,
    commands: Commands,
    wrong: Vec<String>,
}

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");

impl Bench {
    /// Runs commands of one kind, and compares the fewest round trips of one with the line of the document.
    async fn count<C: Command>(&mut self, line: &str, commands: Vec<C>) {
        let mut fewest = u64::MAX;
        for command in commands {
            self.relay.turns();
            self.commands.execute(&Context::system(), command).await.unwrap_or_else(|error| panic!("`{line}`: {error:?}"));
            fewest = fewest.min(self.relay.turns());
        }
        self.compare(line, fewest);
    }

    /// The same of steps of the follower that makes rows of subscriptions, with so many new events each.
    async fn count_fan_outs(&mut self, line: &str, database: &TestDatabase, events: usize) {
        let mut fewest = u64::MAX;
        for _ in 0..TRIES {
            for _ in 0..events {
                self.factory.order(&format!("Order {}", rand::random::<u64>()), 1).await;
            }
            place_all(&database.connector).await;
            self.relay.turns();
            let step = self.commands.fan_out().await.unwrap().expect("nobody else does it");
            fewest = fewest.min(self.relay.turns());
            assert_eq!(step.looked_at, events, "{step:?}");
        }
        self.compare(line, fewest);
    }

    async fn subscribe(&self, factory_id: Option<FactoryId>) {
        let command = CreateSubscription {
            target: Some(Target::parse("https://hooks.example/").unwrap()),
            description: None,
            event_types: vec!["*".into()],
            factory_id,
            organization_id: None,
            delivery: DeliveryChange::default(),
            after_position: None,
        };
        self.factory.commands.execute(&Context::system(), command).await.unwrap();
    }

    fn compare(&mut self, line: &str, fewest: u64) {
        println!("{line}: {fewest}");
        let document = std::fs::read_to_string(DOCUMENT).expect("the document");
        if !document.contains(&format!("| {line} | {fewest}")) {
            self.wrong.push(format!("`{line}` takes {fewest}"));
        }
    }

    async fn batches(&self, quantity: i64) -> Vec<CreatedBatch> {
        let mut made = vec![];
        for _ in 0..TRIES {
            let order = self.factory.order(&format!("Order {}", rand::random::<u64>()), 1_000).await;
            made.push(self.factory.batch(order, 0, quantity).await);
        }
        made
    }
}

async fn bench(database: &TestDatabase) -> Bench {
    let url: tokio_postgres::Config = database.url.expose().parse().unwrap();
    let port = url.get_ports()[0];
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let relayed = database.url.expose().replace(&format!(":{port}/"), &format!(":{}/", relay.address.port()));
    let mut settings = Config::defaults().database;
    settings.pool_max = 1;
    let pool = Connector::new(&Secret::new(&relayed), &settings).unwrap().pool().unwrap();
    let factory = Factory::new(&database.pool, TRIES).await;
    let commands = Commands::new(EventStore::new(pool, Wakes::default()));
    Bench { factory, relay, commands, wrong: vec![] }
}

#[tokio::test]
async fn the_document_says_how_often_the_follower_of_subscriptions_waits_for_the_database() {
    let database = TestDatabase::new().await;
    let mut bench = bench(&database).await;
    place_all(&database.connector).await;
    bench.subscribe(None).await;
    place_all(&database.connector).await;
    bench.commands.fan_out().await.unwrap();
    bench.count_fan_outs("a step that makes rows of subscriptions, nothing new", &database, 0).await;
    bench.count_fan_outs("the same, any number of new events", &database, 3).await;
    bench.subscribe(Some(bench.factory.factory_id)).await;
    place_all(&database.connector).await;
    bench.commands.fan_out().await.unwrap();
    bench.count_fan_outs("the same, with a subscription that has a scope", &database, 3).await;
    assert!(bench.wrong.is_empty(), "docs/performance.md says otherwise: {:#?}", bench.wrong);
}

#[tokio::test]
async fn the_document_says_how_often_a_command_waits_for_the_database() {
    let database = TestDatabase::new().await;
    let mut bench = bench(&database).await;

    let orders: Vec<_> = (0..TRIES).map(|n| bench.factory.place_order(&format!("Cups {n}"), 10)).collect();
    bench.count("order placed", orders).await;
    let order = bench.factory.order("Plates", 100_000).await;
    // So much is written in pieces, and on a busy machine the first may be answered before the last is written.
    let commands = vec![bench.factory.create_batch(order, 0, 100); 4 * TRIES];
    bench.count("batch of any number of tasks", commands).await;

    let made = bench.batches(3).await;
    let more = made.iter().map(|batch| AdjustBatch { batch_id: batch.batch_id, groups: vec![bench.factory.group(5)] }).collect();
    bench.count("batch adjusted, more tasks", more).await;
    let fewer = made.iter().map(|batch| AdjustBatch { batch_id: batch.batch_id, groups: vec![bench.factory.group(4)] }).collect();
    bench.count("batch adjusted, fewer tasks", fewer).await;
    let completed = made.iter().map(|batch| bench.factory.complete(batch.batch_id, 0, 2)).collect();
    bench.count("tasks completed externally", completed).await;
    bench.count("batch cancelled", made.iter().map(|batch| CancelBatch(batch.batch_id)).collect()).await;
    let made = bench.batches(3).await;
    for batch in &made {
        let start = bench.factory.complete(batch.batch_id, 0, 1);
        bench.factory.commands.execute(&Context::system(), start).await.unwrap();
    }
    bench.count("batch recalled", made.iter().map(|batch| RecallBatch { batch_id: batch.batch_id, reason: None }).collect()).await;
    let made = bench.batches(3).await;
    bench.count("task deleted", made.iter().map(|batch| DeleteTask(batch.tasks[0].id)).collect()).await;
    bench.count("batch deleted", made.iter().map(|batch| DeleteBatch(batch.batch_id)).collect()).await;

    let mut orders = vec![];
    for n in 0..TRIES {
        orders.push(bench.factory.order(&format!("Bowls {n}"), 10).await);
    }
    let revision = Revision { target_count: Some(20), ..Revision::default() };
    bench.count("order edited", orders.iter().map(|order| ReviseOrder { order_id: *order, revision: revision.clone() }).collect()).await;
    bench.count("order deleted", orders.iter().map(|order| DeleteOrder(*order)).collect()).await;

    let group = bench.factory.group(1);
    let (station_id, device_id) = bench.factory.stations[0].clone();
    let more = CreateTasks { order_id: order, station_id, sop_id: group.sop_id, subscene_id: group.subscene_id, quantity: 10 };
    bench.count("tasks added to an open batch", vec![more; TRIES]).await;

    let made = bench.batches(2).await;
    let task = made[0].tasks[0].public_id.clone();
    let reported = json!({ "task_id": task, "status": "recording", "topics": [] });
    let callbacks = made.iter().map(|batch| batch.tasks[0].public_id.clone());
    let callbacks =
        callbacks.map(|task_id| StartCallback { task_id, device_id: None, reported: reported.clone(), proof: Proof::NotAsked }).collect();
    bench.count("callback, and any device report about a task", callbacks).await;

    let link = OpenLink { device: device_id.clone(), kind: LinkKind::Transfer, remote: "a".into(), process: None };
    let epoch = bench.factory.commands.execute(&Context::system(), link).await.unwrap();
    let (mut uploads, mut accepted) = (vec![], vec![]);
    for batch in &made {
        let task = &batch.tasks[0];
        let object_key = format!("1/{device_id}/2026-11-20/{}.mcap", task.public_id);
        let report = UploadReport { object_key, size_bytes: 1, sha256: "ab".repeat(32), with_sidecar: false };
        uploads.push(uploaded(&device_id, epoch, task.public_id.clone(), report.clone()));
        let verified = VerifiedUpload { report, etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage: None };
        accepted.push((task.id, verified));
    }
    bench.count("upload reported", uploads).await;
    let mut accepting = vec![];
    for (task, verified) in accepted {
        let reported_in = last_report(bench.factory.store.pool(), task).await;
        accepting.push(AcceptUpload {
            task,
            reported_in,
            verified,
            bucket: "edge".into(),
            sidecar: None,
            duration_sec: None,
            metadata: None,
            facts: Some(Box::new(Facts::none(1))),
        });
    }
    bench.count("verified upload", accepting).await;
    let client = get(bench.factory.store.pool()).await.unwrap();
    let episodes = client.query("select id from episodes order by id", &[]).await.unwrap();
    drop(client);
    let judge = |id| JudgeEpisode {
        episode: EpisodeId(id),
        run: "auto".into(),
        mode: RunMode::Auto,
        looked: None,
        default_suite: Suite::default(),
    };
    bench.count("new episode judged", episodes.iter().map(|row| judge(row.get(0))).collect()).await;

    let link = OpenLink { device: device_id.clone(), kind: LinkKind::Recorder, remote: "a".into(), process: None };
    let epoch = bench.factory.commands.execute(&Context::system(), link).await.unwrap();
    let seen = |state| Report::Observed { state, task: None, source: "state_update".into() };
    let observed = |state| recorder_tells(&device_id, epoch, seen(state));
    bench.count("state of a recorder that is no news", vec![observed(RecorderState::Idle); TRIES]).await;
    let states = [RecorderState::Ready, RecorderState::Idle].iter().cycle().take(TRIES).map(|state| observed(*state));
    bench.count("state of a recorder that is news", states.collect()).await;
    let mut requests = vec![];
    for (_, device) in &bench.factory.stations {
        let link = OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: "a".into(), process: None };
        bench.factory.commands.execute(&Context::system(), link).await.unwrap();
        requests.push(asked(device, RecorderAction::Pause, None));
    }
    bench.count("command to a recorder, asked for", requests).await;
    assert!(bench.wrong.is_empty(), "docs/performance.md says otherwise: {:#?}", bench.wrong);
}
