//! What became of claimed rows. Every statement is fenced by (row, epoch): a worker whose
//! lease ended and whose row was claimed by another changes nothing. A row that stays gets a new
//! epoch, so that settling it twice, after an answer was lost, changes nothing either.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use futures_util::future::try_join_all;
use tokio_postgres::types::ToSql;

use crate::domain::letter::DeadReason;
use crate::pg::plans::{Answered, Planned, pinned};

#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    Delivered,
    /// Failed; tried again after the delay.
    Retry {
        error: String,
        after: Duration,
    },
    /// Given back without counting the attempt: an orderly stop, or a destination that is down.
    Release {
        after: Duration,
    },
    Dead {
        reason: DeadReason,
        error: String,
        blocks_stream: bool,
    },
    /// The same, where the claim itself found that no attempt is to be made: it counts for none.
    NotAttempted {
        reason: DeadReason,
        error: String,
        blocks_stream: bool,
    },
}

const DELIVERED: &str = "
delete from outbox o using unnest($1::bigint[], $2::bigint[]) s(id, epoch)
where o.outbox_id = s.id and o.epoch = s.epoch";

const RETRIED: &str = "
update outbox o set leased_until = null, leased_by = null, epoch = o.epoch + 1,
    due_at = clock_timestamp() + make_interval(secs => s.delay),
    failures = o.failures || jsonb_build_array(jsonb_build_object('attempt', o.attempt, 'at', clock_timestamp(), 'error', s.error))
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::float8[]) s(id, epoch, error, delay)
where o.outbox_id = s.id and o.epoch = s.epoch";

const RELEASED: &str = "
update outbox o set leased_until = null, leased_by = null, epoch = o.epoch + 1, attempt = o.attempt - 1,
    due_at = case when s.delay > 0 then clock_timestamp() + make_interval(secs => s.delay) else o.due_at end
from unnest($1::bigint[], $2::bigint[], $3::float8[]) s(id, epoch, delay)
where o.outbox_id = s.id and o.epoch = s.epoch";

// Where it was the notice of a death, the letter of that death is marked, and there is no new one: nothing dies of its own death.
// A letter that was replayed and dies again is the same letter, with more attempts. Its place in the order of the stream and its
// epoch are kept for a replay: the row comes back where it was, and settlements of earlier claims stay without effect.
const DEAD: &str = "
with gone as (
    delete from outbox o
    using unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bool[], $6::integer[]) s(id, epoch, error, reason, blocks, attempts)
    where o.outbox_id = s.id and o.epoch = s.epoch
    returning o.*, s.error, s.reason, s.blocks, o.attempt - 1 + s.attempts as made),
dead as (
    select g.*, g.failures || jsonb_build_array(jsonb_build_object('attempt', g.made, 'at', clock_timestamp(), 'error', g.error)) as tried
    from gone g where not exists (select from events e where e.seq = g.event_seq and e.event_type = 'delivery_died')),
unheard as (
    update dead_letters d set notification_failed = true
    from gone g join events e on e.seq = g.event_seq
    where e.event_type = 'delivery_died' and d.dead_letter_id = e.aggregate_id::bigint
    returning d.dead_letter_id),
again as (
    update dead_letters d set
        reason = g.reason, attempts = d.attempts + g.made, failures = d.failures || g.tried, died_at = clock_timestamp(),
        blocks_stream = g.blocks, outbox_id = g.outbox_id, epoch = g.epoch, resolved_at = null, resolution = null,
        told = false, notification_failed = false
    from dead g
    where d.event_seq = g.event_seq and d.subscriber is not distinct from g.subscriber and d.destination is not distinct from g.destination
      and d.resolution = 'replayed'
    returning g.outbox_id),
new as (
    insert into dead_letters
        (subscriber, event_seq, stream_key, destination, causation_depth, reason, attempts, failures, queued_at, blocks_stream, outbox_id, epoch)
    select subscriber, event_seq, stream_key, destination, causation_depth, reason, made, tried, created_at, blocks, outbox_id, epoch
    from dead g where g.outbox_id not in (select a.outbox_id from again a))
select from gone";

/// Settles rows in one statement per kind, all in one round trip, which waits for the disk where a row becomes a letter: the others
/// are delivered again where that is forgotten. Answers how many of them were still ours.
pub async fn settle(client: &deadpool_postgres::Client, done: &[(i64, i64, Settlement)]) -> Result<u64, tokio_postgres::Error> {
    let (mut delivered, mut retried, mut released, mut dead) = (Ids::default(), Ids::default(), Ids::default(), Ids::default());
    let (mut errors, mut delays, mut rests) = (vec![], vec![], vec![]);
    let (mut last_errors, mut reasons, mut blocks, mut attempts) = (vec![], vec![], vec![], vec![]);
    for (id, epoch, settlement) in done {
        match settlement {
            Settlement::Delivered => delivered.push(*id, *epoch),
            Settlement::Retry { error, after } => {
                retried.push(*id, *epoch);
                errors.push(error.clone());
                delays.push(after.as_secs_f64());
            }
            Settlement::Release { after } => {
                released.push(*id, *epoch);
                rests.push(after.as_secs_f64());
            }
            Settlement::Dead { reason, error, blocks_stream } | Settlement::NotAttempted { reason, error, blocks_stream } => {
                dead.push(*id, *epoch);
                last_errors.push(error.clone());
                reasons.push(reason.as_str());
                blocks.push(*blocks_stream);
                attempts.push(i32::from(matches!(settlement, Settlement::Dead { .. })));
            }
        }
    }
    let statements: [(&str, &Ids, Vec<&(dyn ToSql + Sync)>); 4] = [
        (DELIVERED, &delivered, vec![&delivered.ids, &delivered.epochs]),
        (RETRIED, &retried, vec![&retried.ids, &retried.epochs, &errors, &delays]),
        (RELEASED, &released, vec![&released.ids, &released.epochs, &rests]),
        (DEAD, &dead, vec![&dead.ids, &dead.epochs, &last_errors, &reasons, &blocks, &attempts]),
    ];
    let mut prepared = vec![];
    for (sql, ids, params) in &statements {
        if !ids.ids.is_empty() {
            prepared.push((client.prepare_cached(sql).await?, params));
        }
    }
    let counts = try_join_all(prepared.iter().map(|(statement, params)| client.execute(statement, params)));
    let answered = if dead.ids.is_empty() { Answered::Visible } else { Answered::Durable };
    Ok(pinned(client, answered, Planned::Once, counts).await?.into_iter().sum())
}

/// Moves the end of leases that are still ours. Answers the rows that were lost to another worker.
pub async fn extend(client: &deadpool_postgres::Client, held: &[(i64, i64)], lease: Duration) -> Result<Vec<i64>, tokio_postgres::Error> {
    let mut rows = Ids::default();
    held.iter().for_each(|(id, epoch)| rows.push(*id, *epoch));
    let statement = client
        .prepare_cached(
            "with kept as (
                 update outbox o set leased_until = clock_timestamp() + make_interval(secs => $3)
                 from unnest($1::bigint[], $2::bigint[]) s(id, epoch) where o.outbox_id = s.id and o.epoch = s.epoch
                 returning o.outbox_id)
             select s.id from unnest($1::bigint[]) s(id) where s.id not in (select outbox_id from kept)",
        )
        .await?;
    let lease = lease.as_secs_f64();
    let lost = pinned(client, Answered::Visible, Planned::Once, client.query(&statement, &[&rows.ids, &rows.epochs, &lease])).await?;
    Ok(lost.iter().map(|row| row.get(0)).collect())
}

#[derive(Default)]
struct Ids {
    ids: Vec<i64>,
    epochs: Vec<i64>,
}

impl Ids {
    fn push(&mut self, id: i64, epoch: i64) {
        self.ids.push(id);
        self.epochs.push(epoch);
    }
}
