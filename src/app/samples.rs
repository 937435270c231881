//! What an operator wants to see and nothing tells, looked up every now and then: what only the database knows, which every process shows alike,
//! and what room the disk of this one has. Alerts go by it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::room::room_of;
use crate::commands::clock;
use crate::domain::alert::{Alerts, Figures, INNER_SUBSCRIBERS};
use crate::domain::routing::SubscriberName;
use crate::outbox::standing::{Sample, sample};
use crate::projections::reads::outside_jobs::OPEN_COUNT;
use crate::projections::reads::requests::ABANDONED_COUNT;
use crate::projections::reads::site::{AtWork, at_work, log_lag_s};
use crate::projections::reads::sync::QUEUE_DEPTH;
use crate::telemetry::activity::{Activity, Queue, WAITING_COUNTED_MAX};
use crate::telemetry::{
    ABANDONED_EXECUTIONS, CLOUD_QUEUE_DEPTH, CLOUD_QUEUE_OLDEST_SECONDS, DEAD_LETTERS_UNRESOLVED, DISK_FREE_RATIO, LOG_LAG_SECONDS,
    OLDEST_TRANSACTION_SECONDS, OUTBOX_OLDEST_SECONDS, OUTBOX_ROWS, OUTSIDE_JOBS_WAITING, QA_FAILURE_RATIO, UPLOADS_WAITING,
    WITHOUT_UPLOAD_SECONDS, chain,
};

/// As often as a Prometheus server asks by default, or more often.
const PAUSE: Duration = Duration::from_secs(10);

/// Samples until the end, and tells alerts and who looks at the outbox what it found. `folder` has the data of this process, where it has any.
pub async fn follow(pool: Pool, folder: Option<PathBuf>, alerts: Arc<Mutex<Alerts>>, activity: Arc<Activity>, stop: CancellationToken) {
    loop {
        let looked = tokio::select! { () = stop.cancelled() => return, looked = look(&pool, folder.clone(), &activity) => looked };
        match looked {
            Ok(figures) => alerts.lock().unwrap_or_else(PoisonError::into_inner).look(&figures, clock::now()),
            Err(error) => warn!(error = chain(error.as_ref()), "Cannot look at the database and the disk for their measures; tries again"),
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}

async fn look(pool: &Pool, folder: Option<PathBuf>, activity: &Activity) -> anyhow::Result<Figures> {
    let room = match folder {
        Some(folder) => Some(room_of(folder).await?),
        None => None,
    };
    let client = pool.get().await?;
    let names: Vec<&'static str> = SubscriberName::ALL.iter().map(|name| name.as_str()).collect();
    let Sample { rows, oldest_s, waiting, dead_letters, oldest_transaction_s } = sample(&**client, &names, WAITING_COUNTED_MAX).await?;
    let outside_jobs: i64 = client.query_one(OPEN_COUNT, &[]).await?.get(0);
    let abandoned: i64 = client.query_one(ABANDONED_COUNT, &[]).await?.get(0);
    let queue = client.query_one(QUEUE_DEPTH, &[]).await?;
    let AtWork { uploads_waiting, without_upload_s, qa_failure_ratio } = at_work(&**client).await?;
    // What becomes due later is not late.
    let oldest_s: Vec<(&'static str, f64)> = names.into_iter().zip(oldest_s.into_iter().map(|oldest_s| oldest_s.max(0.0))).collect();
    activity.looked(oldest_s.iter().zip(waiting).map(|(&(name, oldest_s), waiting)| (name, Queue { waiting, oldest_s })));
    let inner = oldest_s.iter().filter(|(name, _)| INNER_SUBSCRIBERS.contains(name)).map(|(_, oldest_s)| *oldest_s);
    let figures = Figures {
        uploads_waiting: uploads_waiting as f64,
        without_upload_s,
        qa_failure_ratio,
        cloud_queue_depth: queue.get::<_, i64>(0) as f64,
        outbox_oldest_s: inner.fold(0.0, f64::max),
        dead_letters: dead_letters as f64,
        log_lag_s: log_lag_s(&**client).await?,
        oldest_transaction_s,
        disk_free_ratio: room.map(|room| room.free as f64 / room.all.max(1) as f64),
    };
    metrics::gauge!(UPLOADS_WAITING).set(figures.uploads_waiting);
    metrics::gauge!(WITHOUT_UPLOAD_SECONDS).set(figures.without_upload_s);
    metrics::gauge!(QA_FAILURE_RATIO).set(figures.qa_failure_ratio);
    if let Some(free) = figures.disk_free_ratio {
        metrics::gauge!(DISK_FREE_RATIO).set(free);
    }
    metrics::gauge!(CLOUD_QUEUE_DEPTH).set(figures.cloud_queue_depth);
    metrics::gauge!(CLOUD_QUEUE_OLDEST_SECONDS).set(queue.get::<_, f64>(1));
    metrics::gauge!(ABANDONED_EXECUTIONS).set(abandoned as f64);
    metrics::gauge!(OUTSIDE_JOBS_WAITING).set(outside_jobs as f64);
    metrics::gauge!(OUTBOX_ROWS).set(rows as f64);
    for (name, oldest_s) in oldest_s {
        metrics::gauge!(OUTBOX_OLDEST_SECONDS, "subscriber" => name).set(oldest_s);
    }
    metrics::gauge!(DEAD_LETTERS_UNRESOLVED).set(figures.dead_letters);
    metrics::gauge!(LOG_LAG_SECONDS).set(figures.log_lag_s);
    metrics::gauge!(OLDEST_TRANSACTION_SECONDS).set(figures.oldest_transaction_s);
    Ok(figures)
}
