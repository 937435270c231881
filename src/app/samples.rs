//! What only the database knows and an operator wants to see, looked up every now and then. Every process shows the same.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::routing::SubscriberName;
use crate::outbox::standing::{Sample, sample};
use crate::projections::reads::outside_jobs::OPEN_COUNT;
use crate::projections::reads::requests::ABANDONED_COUNT;
use crate::projections::reads::site::log_lag_s;
use crate::projections::reads::sync::QUEUE_DEPTH;
use crate::telemetry::{
    ABANDONED_EXECUTIONS, CLOUD_QUEUE_DEPTH, CLOUD_QUEUE_OLDEST_SECONDS, DEAD_LETTERS_UNRESOLVED, LOG_LAG_SECONDS,
    OLDEST_TRANSACTION_SECONDS, OUTBOX_OLDEST_SECONDS, OUTBOX_ROWS, OUTSIDE_JOBS_WAITING, chain,
};

/// As often as a Prometheus server asks by default, or more often.
const PAUSE: Duration = Duration::from_secs(10);

/// Samples until the end.
pub async fn follow(pool: Pool, stop: CancellationToken) {
    loop {
        let looked = tokio::select! { () = stop.cancelled() => return, looked = look(&pool) => looked };
        if let Err(error) = looked {
            warn!(error = chain(error.as_ref()), "Cannot look at the outbox for its measures; tries again");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}

async fn look(pool: &Pool) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let names: Vec<&'static str> = SubscriberName::ALL.iter().map(|name| name.as_str()).collect();
    let Sample { rows, oldest_s, dead_letters, oldest_transaction_s } = sample(&**client, &names).await?;
    let lag_s = log_lag_s(&**client).await?;
    let outside_jobs: i64 = client.query_one(OPEN_COUNT, &[]).await?.get(0);
    let abandoned: i64 = client.query_one(ABANDONED_COUNT, &[]).await?.get(0);
    let queue = client.query_one(QUEUE_DEPTH, &[]).await?;
    metrics::gauge!(CLOUD_QUEUE_DEPTH).set(queue.get::<_, i64>(0) as f64);
    metrics::gauge!(CLOUD_QUEUE_OLDEST_SECONDS).set(queue.get::<_, f64>(1));
    metrics::gauge!(ABANDONED_EXECUTIONS).set(abandoned as f64);
    metrics::gauge!(OUTSIDE_JOBS_WAITING).set(outside_jobs as f64);
    metrics::gauge!(OUTBOX_ROWS).set(rows as f64);
    for (name, oldest_s) in names.into_iter().zip(oldest_s) {
        // What becomes due later is not late.
        metrics::gauge!(OUTBOX_OLDEST_SECONDS, "subscriber" => name).set(oldest_s.max(0.0));
    }
    metrics::gauge!(DEAD_LETTERS_UNRESOLVED).set(dead_letters as f64);
    metrics::gauge!(LOG_LAG_SECONDS).set(lag_s);
    metrics::gauge!(OLDEST_TRANSACTION_SECONDS).set(oldest_transaction_s);
    Ok(())
}
