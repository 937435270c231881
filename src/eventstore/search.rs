//! Behind the sequencer: notes what each event is found by.
//!
//! The tables are disposable: what is not noted yet is noted from the log, from the first event where they are empty.
//! Any process may do it, one at a time; the others look again later. Nothing waits for it but readers that search.

use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::log::read_after_in;
use super::terms::terms_of;
use super::{StoreError, follower};
use crate::domain::Timestamp;

/// Names the lock of the transaction that notes ("keystone terms").
const LOCK: i64 = 0x6b65_7973_7465_726d;
/// Events noted in one transaction.
const STEP: i64 = 1_000;

/// Notes the next events of the log. Answers how many; `None` where another process does it.
pub async fn note(pool: &Pool) -> Result<Option<usize>, StoreError> {
    let mut client = pool.get().await?;
    let step = client.transaction().await?;
    // What a crash takes back is noted again.
    let begin = "select set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock($1)";
    if !step.query_one(begin, &[&LOCK]).await?.get::<_, bool>(1) {
        return Ok(None);
    }
    let last = step.query_opt("select position, logged_at from log_index order by position desc limit 1", &[]).await?;
    let (after, mut logged_at) = last.map_or((0, Timestamp::UNIX_EPOCH), |row| (row.get(0), row.get(1)));
    let (mut positions, mut times, mut terms, mut found_at) = (vec![], vec![], vec![], vec![]);
    for placed in read_after_in(&step, after, STEP).await? {
        logged_at = logged_at.max(placed.event.recorded_at);
        positions.push(placed.position);
        times.push(logged_at);
        for term in terms_of(&placed.event) {
            terms.push(term.0);
            found_at.push(placed.position);
        }
    }
    if !positions.is_empty() {
        let insert = step
            .prepare_cached(
                "with noted as (insert into log_index (position, logged_at) select * from unnest($1::bigint[], $2::timestamptz[]))
                 insert into log_terms (term, position) select * from unnest($3::bigint[], $4::bigint[])",
            )
            .await?;
        step.execute(&insert, &[&positions, &times, &terms, &found_at]).await?;
    }
    step.commit().await?;
    Ok(Some(positions.len()))
}

/// Notes whatever comes, until the end. `head` makes it quick where this process leads the log.
pub async fn follow(pool: Pool, head: watch::Receiver<i64>, stop: CancellationToken) {
    let step = || async {
        let noted = note(&pool).await?;
        debug!("Noted {noted:?} events");
        Ok::<_, StoreError>(noted == usize::try_from(STEP).ok())
    };
    follower::follow("note what events are found by", follower::PAUSE, head, stop, step).await;
}
