//! What the tree of the log costs those who append: so many appends a second with the follower that grows it and signs its heads, and without, in turn
//! and in one run. The sequencer works all the while. Afterwards: how fast a log that has no tree is caught up.
//!
//! `KEYSTONE_BENCH_SECONDS` sets the seconds per figure (3), `KEYSTONE_BENCH_ROUNDS` how often both are measured (5).

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keystone_edge::app::log_tree::follow;
use keystone_edge::certificates::{Certificates, Keyring, SigningKey};
use keystone_edge::config::Config;
use keystone_edge::domain::device::{Device, DeviceEvent};
use keystone_edge::embedded::postgres::{EmbeddedPostgres, Options};
use keystone_edge::eventstore::{EventStore, Holder, NewEvent, Sequencer, tree};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::Connector;
use keystone_edge::projections::reads::Reads;
use tokio_util::sync::CancellationToken;

use baseline::{number, rate};

const CLIENTS: usize = 8;

async fn append(store: EventStore, id: String) {
    let event = DeviceEvent::DeviceReportRefused {
        report: "bench".to_owned(),
        reason: "a text of an ordinary size, some dozens of bytes".to_owned(),
    };
    let event = NewEvent::of::<Device>(&id, 1, &event).expect("an event");
    store.begin().await.expect("a transaction").commit(&[event], &baseline::metadata(), &[]).await.expect("a commit");
}

async fn appends(store: &EventStore) -> f64 {
    let (store, run) = (store.clone(), rand::random::<u64>());
    rate(CLIENTS, move |n| {
        let store = store.clone();
        async move {
            append(store, format!("tree-{run}-{n}")).await;
            Some(())
        }
    })
    .await
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("keystone-bench-").tempdir().expect("a folder");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder that Postgres can enter");
    let postgres = EmbeddedPostgres::start(&folder.path().join("pg"), &Options::default()).await.expect("Postgres");
    let mut settings = Config::defaults().database;
    settings.pool_max = 20;
    let connector = Connector::new(postgres.url(), &settings).expect("a connector");
    connector.migrate().await.expect("a schema");
    let pool = connector.pool().expect("a pool");
    let wakes = Wakes::default();
    let store = EventStore::new(pool.clone(), wakes.clone());
    let connection = Arc::new(connector.connect().await.expect("a connection"));
    let leader = Sequencer::lead(&connection, &Holder::new("bench")).await.expect("a lead").expect("nobody else leads");
    let (head, position) = tokio::sync::watch::channel(0_i64);
    let stop = CancellationToken::new();
    let running = tokio::spawn(leader.run(wakes.log(), Duration::from_millis(100), head, stop.clone()));
    let keys = Keyring::new(SigningKey::of_pem(&SigningKey::new_pem().expect("a key")).expect("a key"), vec![]);
    let signer = Certificates::new(Reads::new(pool.clone()), Some(keys)).log_signer("keystone-edge/bench");

    let (mut with, mut without, mut ratios) = (vec![], vec![], vec![]);
    for round in 0..number("KEYSTONE_BENCH_ROUNDS", 5) {
        let mut figures = [0.0, 0.0];
        // Each comes first every other time.
        for off in [round % 2 == 0, round % 2 == 1] {
            let stop = CancellationToken::new();
            // Caught up before, so that what is measured is keeping up.
            while tree::grow(&pool).await.expect("a step").is_some_and(|grown| grown.more) {}
            let following =
                (!off).then(|| tokio::spawn(follow(pool.clone(), signer.clone(), Duration::from_secs(1), position.clone(), stop.clone())));
            figures[usize::from(off)] = appends(&store).await;
            stop.cancel();
            if let Some(following) = following {
                following.await.expect("an end");
            }
        }
        with.push(figures[0]);
        without.push(figures[1]);
        ratios.push(figures[0] / figures[1]);
    }
    println!(
        "appends, {CLIENTS} clients: {:.0}/s with the tree, {:.0}/s without; with : without {:.3} in the middle of {} rounds",
        middle(with),
        middle(without),
        middle(ratios.clone()),
        ratios.len()
    );
    while keystone_edge::eventstore::log::head(&pool).await.expect("a head").unplaced > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = pool.get().await.expect("a connection");
    let anew = "alter table log_tiles disable trigger user; grant delete on log_tiles to current_user; delete from log_tiles";
    client.batch_execute(anew).await.expect("an empty tree");
    let began = Instant::now();
    let size = loop {
        let grown = tree::grow(&pool).await.expect("a step").expect("nobody else does it");
        if !grown.more {
            break grown.size;
        }
    };
    println!("a tree of {size} events from the first one on: {:.0} events/s", size as f64 / began.elapsed().as_secs_f64());
    stop.cancel();
    running.await.expect("a sequencer").expect("an orderly end");
}
