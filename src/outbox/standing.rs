//! What waits and what was given up, at one glance. [`waiting`] and [`dead`] count the tables: they are for tools beside the
//! server, and no path that serves requests does that. A server itself takes a [`sample`] every now and then.

use tokio_postgres::GenericClient;

/// Deliveries to one subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub subscriber: String,
    pub rows: i64,
    /// Due, not under lease, and any process could take them. What waits for a robot that is away is not among them.
    pub overdue: i64,
    /// Since when the oldest of the overdue is due; zero without one.
    pub overdue_s: f64,
}

const WAITING: &str = "
select o.subscriber, count(*), count(*) filter (where o.overdue),
       coalesce(extract(epoch from clock_timestamp() - min(o.due_at) filter (where o.overdue)), 0)::float8
from (select *, due_at < clock_timestamp() and (leased_until is null or leased_until < clock_timestamp())
                and (destination is null or expires_at < clock_timestamp()) as overdue from outbox) o
group by 1 order by 1";

pub async fn waiting(client: &(impl GenericClient + Sync)) -> Result<Vec<Waiting>, tokio_postgres::Error> {
    let rows = client.query(WAITING, &[]).await?;
    Ok(rows.iter().map(|row| Waiting { subscriber: row.get(0), rows: row.get(1), overdue: row.get(2), overdue_s: row.get(3) }).collect())
}

/// Unresolved dead letters of one subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct Dead {
    pub subscriber: String,
    pub letters: i64,
    /// Age of the newest.
    pub newest_s: f64,
}

const DEAD: &str = "
select d.subscriber, count(*), extract(epoch from clock_timestamp() - max(d.died_at))::float8
from dead_letters d where d.resolved_at is null group by 1 order by 1";

pub async fn dead(client: &(impl GenericClient + Sync)) -> Result<Vec<Dead>, tokio_postgres::Error> {
    let rows = client.query(DEAD, &[]).await?;
    Ok(rows.iter().map(|row| Dead { subscriber: row.get(0), letters: row.get(1), newest_s: row.get(2) }).collect())
}

/// What a server shows of the outbox all the time: nothing of it grows with that table; unresolved dead letters are counted. A row whose place is in
/// front of others is due since it was queued.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As Postgres estimates it.
    pub rows: i64,
    /// For how long the delivery to each of these subscribers has been due that has been due for longest; zero without one.
    pub oldest_s: Vec<f64>,
    /// How many each of them has, counted up to one more than the limit.
    pub waiting: Vec<i64>,
    pub dead_letters: i64,
    /// Of the transactions that our role may see.
    pub oldest_transaction_s: f64,
}

const SAMPLE: &str = "
select greatest((select n_live_tup from pg_stat_user_tables where relid = 'outbox'::regclass), 0)::bigint,
       array(select coalesce((select extract(epoch from clock_timestamp() - greatest(o.due_at, o.created_at)) from outbox o
                              where o.subscriber = s.name order by o.due_at, o.outbox_id limit 1), 0)
             from unnest($1::text[]) with ordinality s(name, n) order by s.n)::float8[],
       array(select (select count(*) from (select from outbox o where o.subscriber = s.name limit $2::bigint + 1) counted)
             from unnest($1::text[]) with ordinality s(name, n) order by s.n)::bigint[],
       (select count(*) from dead_letters where resolved_at is null),
       coalesce((select extract(epoch from clock_timestamp() - min(a.xact_start)) from pg_stat_activity a
                 where a.datname = current_database() and a.pid <> pg_backend_pid()), 0)::float8";

pub async fn sample(client: &(impl GenericClient + Sync), subscribers: &[&str], counted_max: i64) -> Result<Sample, tokio_postgres::Error> {
    let row = client.query_one(SAMPLE, &[&subscribers, &counted_max]).await?;
    Ok(Sample { rows: row.get(0), oldest_s: row.get(1), waiting: row.get(2), dead_letters: row.get(3), oldest_transaction_s: row.get(4) })
}
