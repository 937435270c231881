//! What production managers do all day, in a factory of ten thousand tasks and of a million, each beside plain
//! SQL in the same run: a page of tasks, one task, a batch of 100, ten tasks completed at once.
//!
//! `KEYSTONE_BENCH_SECONDS` sets the seconds per figure, `KEYSTONE_BENCH_ROWS` the tasks of the larger factory.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod baseline;
#[path = "../tests/it/bulk.rs"]
mod bulk;
#[path = "../tests/it/factory.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod factory;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::commands::Context;
use keystone_edge::config::{Config, Database};
use keystone_edge::domain::task::TaskStatus;
use keystone_edge::domain::{BatchId, Scope, TaskId};
use keystone_edge::embedded::postgres::{EmbeddedPostgres, Options};
use keystone_edge::pg::Connector;
use keystone_edge::projections::reads::tasks::TaskFilter;
use keystone_edge::projections::reads::{Listed, Page, Reads};
use serde_json::{Value, json};

use baseline::{META, plain_batch, rate, show};
use factory::Factory;

const CLIENTS: [usize; 2] = [1, 8];
const PAGE: Page = Page { limit: Some(50), offset: 0, after: None };

/// Batches of a thousand tasks, each of an order of its own, that tasks are completed of; half of them by us.
const COMPLETED_FROM: usize = 32;
/// Tasks completed at once.
const AT_ONCE: i64 = 10;

struct Bench {
    pool: Pool,
    reads: Reads,
    factory: Factory,
    /// Tasks that were there before.
    rows: i64,
}

impl Bench {
    async fn new(postgres: &EmbeddedPostgres, rows: i64) -> Self {
        let mut settings = Config::defaults().database;
        settings.pool_max = 40;
        let connector = Connector::new(postgres.url(), &settings).expect("a connector");
        connector.migrate().await.expect("a schema");
        // A million rows in one statement take longer than any that the server sends.
        let patient = Database { statement_timeout: Duration::from_secs(1_200), ..settings.clone() };
        let filling = Connector::new(postgres.url(), &patient).expect("a connector").pool().expect("a pool");
        let client = filling.get().await.expect("a connection");
        bulk::fill(&client, rows).await;
        bulk::count_rows(&client).await;
        drop(client);
        filling.close();
        let pool = connector.pool().expect("a pool");
        let factory = Factory::new(&pool, 1).await;
        Self { reads: Reads::new(pool.clone()), pool, factory, rows }
    }

    /// A page of 50 with its total, beside the same rows of one table, without what is joined, and a count.
    async fn page(&self, clients: usize, filter: TaskFilter, plain_filter: &'static str) -> (f64, f64) {
        let reads = self.reads.clone();
        let ours = rate(clients, move |_| {
            let (reads, filter) = (reads.clone(), filter.clone());
            async move {
                let Listed { rows, total, .. } = reads.tasks(&Scope::Everything, &filter, PAGE).await.expect("a page");
                assert!(rows.len() == 50 && total >= 50);
                Some(())
            }
        })
        .await;
        let pool = self.pool.clone();
        let plain = rate(clients, move |_| {
            let pool = pool.clone();
            async move {
                let client = pool.get().await.expect("a connection");
                let sql = format!("select * from tasks where {plain_filter} order by created_at desc, id desc limit 50");
                let prepared = client.prepare_cached(&sql).await.expect("a statement");
                assert_eq!(client.query(&prepared, &[]).await.expect("a page").len(), 50);
                let sql = format!("select count(*) from tasks where {plain_filter}");
                let prepared = client.prepare_cached(&sql).await.expect("a statement");
                client.query_one(&prepared, &[]).await.expect("a count");
                Some(())
            }
        })
        .await;
        (ours, plain)
    }

    async fn get(&self, clients: usize) -> (f64, f64) {
        let (reads, rows) = (self.reads.clone(), self.rows as u64);
        // Anywhere in the table.
        let id = move |n: u64| (n.wrapping_mul(7_919) % rows + 1) as i64;
        let ours = rate(clients, move |n| {
            let reads = reads.clone();
            async move { reads.task(&Scope::Everything, TaskId(id(n))).await.expect("an answer").map(|_| ()) }
        })
        .await;
        let pool = self.pool.clone();
        let plain = rate(clients, move |n| {
            let pool = pool.clone();
            async move {
                let client = pool.get().await.expect("a connection");
                let prepared = client.prepare_cached("select * from tasks where id = $1").await.expect("a statement");
                client.query_opt(&prepared, &[&id(n)]).await.expect("an answer").map(|_| ())
            }
        })
        .await;
        (ours, plain)
    }

    async fn batches(&self, clients: usize) -> (f64, f64) {
        let mut orders = vec![];
        for n in 0..clients {
            orders.push(self.factory.order(&format!("batches {clients} {n}"), 100_000_000).await);
        }
        let (commands, one) = (self.factory.commands.clone(), self.factory.create_batch(orders[0], 0, 100));
        let ours = rate(clients, move |n| {
            let (commands, mut batch) = (commands.clone(), one.clone());
            batch.order_id = orders[n as usize % orders.len()];
            async move {
                commands.execute(&Context::system(), batch).await.expect("a batch");
                Some(())
            }
        })
        .await;
        let (pool, base) = (self.pool.clone(), 1_000_000_000 + clients as u64 * 10_000_000);
        let plain = rate(clients, move |n| {
            let pool = pool.clone();
            async move {
                plain_batch(&pool, (base + n) as i64).await.expect("plain SQL");
                Some(())
            }
        })
        .await;
        (ours, plain)
    }

    async fn completed(&self, clients: usize) -> (f64, f64) {
        let mut batches = vec![];
        for n in 0..COMPLETED_FROM {
            let order = self.factory.order(&format!("completed {clients} {n}"), 1_000).await;
            batches.push(self.factory.batch(order, 0, 1_000).await.batch_id);
        }
        let theirs: Arc<Vec<BatchId>> = Arc::new(batches.split_off(COMPLETED_FROM / 2));
        // The last task of a batch ends its order, too; a batch is left before that.
        let most = batches.len() as u64 * 99;
        let (commands, complete) = (self.factory.commands.clone(), self.factory.complete(batches[0], 0, AT_ONCE));
        let ours = rate(clients, move |n| {
            let (commands, mut complete) = (commands.clone(), complete);
            complete.batch_id = batches[n as usize % batches.len()];
            async move {
                if n >= most {
                    return None;
                }
                let done = commands.execute(&Context::system(), complete).await.expect("completed tasks");
                assert_eq!(done.tasks.len() as i64, AT_ONCE);
                Some(())
            }
        })
        .await;
        let pool = self.pool.clone();
        let plain = rate(clients, move |n| {
            let (pool, batch) = (pool.clone(), theirs[n as usize % theirs.len()]);
            async move {
                if n >= most {
                    return None;
                }
                plain_completion(&pool, batch, n as i64).await.expect("plain SQL");
                Some(())
            }
        })
        .await;
        (ours, plain)
    }
}

/// Ten tasks, their batch and their order, and an event for each: begin, choose and update, update, update,
/// insert, commit, each awaited, prepared once.
async fn plain_completion(pool: &Pool, batch: BatchId, n: i64) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let tasks = client
        .prepare_cached(
            "update tasks set status = 'completed', completed_at = now(), ended_at = now(), updated_at = now(), version = version + 1
             where id in (select id from tasks where batch_id = $1 and status = 'pending' order by id limit $2 for update) returning order_id",
        )
        .await?;
    let batches = client
        .prepare_cached("update batches set completed_count = completed_count + $2, status = 'active', updated_at = now(), version = version + 1 where id = $1")
        .await?;
    let orders = client
        .prepare_cached("update orders set completed_count = completed_count + $2, status = 'in_progress', updated_at = now(), version = version + 1 where id = $1")
        .await?;
    let events = client
        .prepare_cached(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'plain', 'completed/' || $1::bigint || '/' || $2::bigint || '/' || g, 1, 'task_completed_externally', '1.0', $3, $4
             from generate_series(1, $5::bigint) g",
        )
        .await?;
    let payload = json!({ "task_completed_externally": { "by": 1, "at": "2026-11-20T00:00:00Z" } });
    let metadata: Value = serde_json::from_str(META)?;
    client.batch_execute("begin").await?;
    let done = client.query(&tasks, &[&batch.0, &AT_ONCE]).await?;
    anyhow::ensure!(done.len() as i64 == AT_ONCE, "{} tasks", done.len());
    let order: i64 = done[0].get(0);
    client.execute(&batches, &[&batch.0, &AT_ONCE]).await?;
    client.execute(&orders, &[&order, &AT_ONCE]).await?;
    client.execute(&events, &[&batch.0, &n, &payload, &metadata, &(AT_ONCE + 2)]).await?;
    client.batch_execute("commit").await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("keystone-bench-").tempdir().expect("a folder");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder that Postgres can enter");
    let most = std::env::var("KEYSTONE_BENCH_ROWS").map_or(1_000_000, |text| text.parse().expect("KEYSTONE_BENCH_ROWS is a number"));
    for rows in [10_000, most] {
        let postgres = EmbeddedPostgres::start(&folder.path().join(rows.to_string()), &Options::default()).await.expect("Postgres");
        let bench = Bench::new(&postgres, rows).await;
        println!("\n== {rows} tasks, {} episodes, orders and batches each", rows / 10);
        for clients in CLIENTS {
            let (ours, plain) = bench.page(clients, TaskFilter::default(), "true").await;
            show("newest 50 tasks and how many there are", clients, ours, "page and count, one table", plain);
            let pending = TaskFilter { status: Some(TaskStatus::Pending), ..TaskFilter::default() };
            let (ours, plain) = bench.page(clients, pending, "status = 'pending'").await;
            show("newest 50 pending tasks and how many", clients, ours, "page and count, one table", plain);
            let station = TaskFilter { station_id: Some("7".to_owned()), ..TaskFilter::default() };
            let (ours, plain) = bench.page(clients, station, "station_id = 7").await;
            show("50 tasks of a workstation and how many", clients, ours, "page and count, one table", plain);
            let (ours, plain) = bench.get(clients).await;
            show("one task", clients, ours, "plain SQL, one table", plain);
            let (ours, plain) = bench.batches(clients).await;
            show("batch of 100 tasks", clients, ours, "plain SQL, same rows", plain);
            let (ours, plain) = bench.completed(clients).await;
            show("10 tasks completed at once", clients, ours, "plain SQL, same rows", plain);
        }
        bench.pool.close();
        postgres.stop().await.expect("its end");
    }
}
