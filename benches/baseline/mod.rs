//! How figures are taken, and what is written beside them in plain SQL.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use keystone_edge::domain::Actor;
use keystone_edge::eventstore::Metadata;
use serde_json::{Value, json};

pub fn seconds() -> Duration {
    let text = std::env::var("KEYSTONE_BENCH_SECONDS").unwrap_or_else(|_| "3".to_owned());
    Duration::from_secs_f64(text.parse().expect("KEYSTONE_BENCH_SECONDS is a number"))
}

/// A number from the environment.
pub fn number<N: std::str::FromStr>(name: &str, otherwise: N) -> N {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs `work` from `clients` tasks at once, and answers runs per second. `None` from `work`: nothing left to do.
pub async fn rate<F, Fut>(clients: usize, work: F) -> f64
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Option<()>> + Send,
{
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let until = started + seconds();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (work, next, done) = (work.clone(), next.clone(), done.clone());
        tasks.spawn(async move {
            while Instant::now() < until {
                if work(next.fetch_add(1, Ordering::Relaxed)).await.is_none() {
                    break;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

pub fn show(what: &str, clients: usize, ours: f64, baseline: &str, theirs: f64) {
    println!("{what:<44} {clients:>3} clients {ours:>10.0}/s   {baseline:<28} {theirs:>10.0}/s   ratio {:.2}", ours / theirs);
}

pub const META: &str = r#"{"actor":"system","role":"system","correlation_id":"00000000-0000-0000-0000-000000000000","causation_depth":"0","occurred_at":"2026-11-20T00:00:00Z"}"#;

/// Of an event that nobody in particular made.
pub fn metadata() -> Metadata {
    Metadata {
        actor: Actor::System,
        correlation_id: uuid::Uuid::new_v4(),
        cause: None,
        request_id: None,
        source_address: None,
        idempotency_key: None,
        trace_parent: None,
        occurred_at: chrono::Utc::now(),
    }
}

/// The rows that a batch of 100 tasks leaves: 102 events, 100 task rows, a batch row, in three statements.
pub async fn plain_batch(pool: &Pool, n: i64) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let metadata: Value = serde_json::from_str(META)?;
    let brief = json!({ "task_created": { "task_id": "task_x", "batch_id": n, "order_id": 1, "station_id": 1, "sop_id": 1, "scene_id": 1, "scene_name": "Kitchen", "subscene_id": 1, "subscene_name": "Sink", "initial_scene_layout": "cups left, plates right", "factory_id": 1, "organization_id": 1 } });
    let events = client
        .prepare_cached(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                         select 'plain', ($1::bigint * 1000 + g)::text, 1, 'task_created', '1.0', $2, $3 from generate_series(1, 102) g",
        )
        .await?;
    let tasks = client
        .prepare_cached("insert into tasks select $1::bigint * 1000 + g, 1, now(), now(), 'plain_' || ($1::bigint)::text || '_' || g, $1::bigint, 1, 1, 1, 1, 'Kitchen', 1, 'Sink', 'cups left, plates right', 1, 1, 'pending', null, null, null, null, null, null from generate_series(1, 100) g")
        .await?;
    let batch = client
        .prepare_cached("insert into batches (id, version, created_at, updated_at, batch_id, order_id, station_id, organization_id, status, task_count, completed_count, failed_count, cancelled_count, episode_count) values ($1::bigint, 1, now(), now(), 'plain_' || ($1::bigint)::text, 1, 1, 1, 'pending', 100, 0, 0, 0, 0)")
        .await?;
    client.batch_execute("begin").await?;
    client.execute(&events, &[&n, &brief, &metadata]).await?;
    client.execute(&tasks, &[&n]).await?;
    client.execute(&batch, &[&n]).await?;
    client.batch_execute("commit").await?;
    Ok(())
}
