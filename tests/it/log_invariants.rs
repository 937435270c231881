//! The log keeps its promises whatever happens to those who write and place events, and the
//! checker that says so finds what it is meant to find.
//!
//! `KEYSTONE_CAMPAIGN_SECONDS` makes each campaign run that long instead of a few seconds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::eventstore::log::{self, Breach};
use keystone_edge::eventstore::sequencer;
use keystone_edge::eventstore::{EventStore, Holder, Left, NewEvent, Sequencer, StoreError};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::{Connector, Dedicated, get};
use nix::sys::signal::Signal;
use rand::Rng;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::factory::{lead, metadata, place_all};
use crate::harness::{PrivatePostgres, TestDatabase, postgres_options, signal, until};

const WRITERS: usize = 10;
/// Few streams, so that writers meet in them.
const STREAMS: usize = 12;
/// The longest hold between an append and its commit.
const HOLD_MS_MAX: u64 = 20;

const WRITER_NAME: &str = "campaign-writer";
const SEQUENCER_NAME: &str = "campaign-sequencer";

fn campaign_time() -> Duration {
    let seconds = std::env::var("KEYSTONE_CAMPAIGN_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// What was promised to a writer: events whose commit was answered.
#[derive(Default)]
struct Ledger {
    promised: Mutex<BTreeSet<(String, i64)>>,
    rolled_back: AtomicU64,
    lost_races: AtomicU64,
    broken: AtomicU64,
    steps_lost: AtomicU64,
    leads: AtomicU64,
}

fn hold() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..HOLD_MS_MAX * 1000))
}

/// The next version of a stream, appended by hand, so that there is time before the commit.
const APPEND_BY_HAND: &str = "
insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
select 'order', $1, coalesce(max(sequence), 0) + 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}'
from events where aggregate_type = 'order' and aggregate_id = $1
returning sequence";

/// Appends until told to stop; whoever ends its connection only makes it open another.
async fn write(n: usize, connector: Connector, ledger: Arc<Ledger>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Ok(connection) = connector.connect().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.is_cancelled() {
            match write_once(n, &connection, &ledger).await {
                Ok(()) => {}
                Err(error) if error.as_db_error().is_some_and(|db| db.constraint() == Some("one_event_per_version")) => {
                    ledger.lost_races.fetch_add(1, Ordering::Relaxed);
                    let _ = connection.client.batch_execute("rollback").await;
                }
                Err(_) => {
                    ledger.broken.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

async fn write_once(n: usize, connection: &Dedicated, ledger: &Ledger) -> Result<(), tokio_postgres::Error> {
    let client = &connection.client;
    client.batch_execute(&format!("set application_name = '{WRITER_NAME}'; begin")).await?;
    if rand::random_bool(0.3) {
        // Its xid is older than its place in the stream.
        client.batch_execute("select pg_current_xact_id()").await?;
        tokio::time::sleep(hold()).await;
    }
    let mut appended = vec![];
    let mut streams: Vec<usize> = (0..rand::random_range(1..4)).map(|_| rand::random_range(0..STREAMS)).collect();
    if rand::random_bool(0.5) {
        streams = vec![STREAMS + n];
    }
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        let id = stream.to_string();
        let row = client.query_one(APPEND_BY_HAND, &[&id]).await?;
        appended.push((id, row.get(0)));
    }
    if rand::random_bool(0.7) {
        tokio::time::sleep(hold()).await;
    }
    if rand::random_bool(0.2) {
        ledger.rolled_back.fetch_add(1, Ordering::Relaxed);
        return client.batch_execute("rollback").await;
    }
    client.batch_execute("commit").await?;
    ledger.promised.lock().await.extend(appended);
    Ok(())
}

/// Leads whenever nobody else does, for as long as it is let.
async fn lead_for_ever(connector: Connector, ledger: Arc<Ledger>, stop: CancellationToken) {
    let holder = Holder::new(SEQUENCER_NAME);
    while !stop.is_cancelled() {
        if let Ok(leader) = try_to_lead(&connector, &holder).await {
            ledger.leads.fetch_add(1, Ordering::Relaxed);
            let (head, _) = tokio::sync::watch::channel(0);
            let wake = Wakes::default().log();
            if !matches!(leader.run(wake, Duration::from_millis(2), head, stop.clone()).await, Ok(Left::Stopped)) {
                ledger.steps_lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn try_to_lead(connector: &Connector, holder: &Holder) -> anyhow::Result<Sequencer> {
    let connection = Arc::new(connector.connect().await?);
    connection.client.batch_execute(&format!("set application_name = '{SEQUENCER_NAME}'")).await?;
    Sequencer::lead(&connection, holder).await?.ok_or_else(|| anyhow::anyhow!("another one leads"))
}

/// A step without the leader's lock, from a standing that may be old by now.
async fn usurp(connector: Connector, ledger: Arc<Ledger>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Ok(connection) = connector.connect().await else { continue };
        while !stop.is_cancelled() {
            let standing =
                "select tick_id, seen::text, position, hash, floor_seq, system_identifier from ticks order by tick_id desc limit 1";
            let Ok(at) = connection.client.query_one(standing, &[]).await else { break };
            tokio::time::sleep(hold() / 4).await;
            match forced_step(&connection.client, &at).await {
                Ok(_) => {}
                Err(error) if error.as_db_error().is_some_and(|db| db.code().code() == "23505") => {
                    ledger.steps_lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => break,
            }
        }
    }
}

async fn forced_step(client: &tokio_postgres::Client, at: &tokio_postgres::Row) -> Result<i64, tokio_postgres::Error> {
    let (tick, seen, position): (i64, String, i64) = (at.get(0), at.get(1), at.get(2));
    let (hash, floor, system): (Vec<u8>, i64, Option<i64>) = (at.get(3), at.get(4), at.get(5));
    let step = "select \"position\" from sequence_events($1, $2::text::pg_snapshot, $3, $4, $5, $6)";
    Ok(client.query_one(step, &[&tick, &seen, &position, &hash, &floor, &system]).await?.get(0))
}

/// Ends backends of one name, one at a time, at random moments.
async fn kill_backends(superuser_url: String, name: &'static str, every: Duration, stop: CancellationToken) {
    let (client, connection) = tokio_postgres::connect(&superuser_url, tokio_postgres::NoTls).await.expect("a superuser");
    tokio::spawn(connection);
    while !stop.is_cancelled() {
        tokio::time::sleep(every.mul_f64(rand::random_range(0.2..1.8))).await;
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and application_name = $1 order by random() limit 1";
        let _ = client.query(kill, &[&name]).await;
    }
}

struct Campaign {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Campaign {
    fn start(connector: &Connector, leaders: usize, usurpers: usize) -> Self {
        let mut this = Self { ledger: Arc::default(), stop: CancellationToken::new(), tasks: JoinSet::new() };
        for n in 0..WRITERS {
            this.tasks.spawn(write(n, connector.clone(), this.ledger.clone(), this.stop.clone()));
        }
        for _ in 0..leaders {
            this.tasks.spawn(lead_for_ever(connector.clone(), this.ledger.clone(), this.stop.clone()));
        }
        for _ in 0..usurpers {
            this.tasks.spawn(usurp(connector.clone(), this.ledger.clone(), this.stop.clone()));
        }
        this
    }

    /// Stops everybody, lets the sequencer catch up, and looks for breaches.
    async fn verdict(mut self, what: &str, connector: &Connector) -> Arc<Ledger> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no part of a campaign panics");
        }
        let pool = connector.pool().expect("a pool");
        place_all(connector).await;
        assert_eq!(log::verify(&pool).await.expect("an answer"), [], "{what}");
        let client = get(&pool).await.expect("a connection");
        let stored = client.query("select aggregate_id, sequence from events e join log l on l.seq = e.seq", &[]).await.expect("events");
        let stored: BTreeSet<(String, i64)> = stored.iter().map(|row| (row.get(0), row.get(1))).collect();
        let promised = self.ledger.promised.lock().await.clone();
        let lost: Vec<_> = promised.difference(&stored).collect();
        assert!(lost.is_empty(), "{what}: {} events were promised and are not there: {lost:?}", lost.len());
        let ledger = &self.ledger;
        println!(
            "{what}: {} events, {} promised; {} rolled back, {} races lost, {} connections broken; {} leads, {} steps lost; no breach",
            stored.len(),
            promised.len(),
            ledger.rolled_back.load(Ordering::Relaxed),
            ledger.lost_races.load(Ordering::Relaxed),
            ledger.broken.load(Ordering::Relaxed),
            ledger.leads.load(Ordering::Relaxed),
            ledger.steps_lost.load(Ordering::Relaxed),
        );
        assert!(promised.len() > 50, "{what}: too little happened to prove anything");
        self.ledger.clone()
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_rolled_back_and_killed_writers_leave_no_trace_in_the_order() {
    let database = TestDatabase::new().await;
    let mut campaign = Campaign::start(&database.connector, 1, 0);
    let superuser = database.superuser_url.expose().to_owned();
    campaign.tasks.spawn(kill_backends(superuser, WRITER_NAME, Duration::from_millis(40), campaign.stop.clone()));
    tokio::time::sleep(campaign_time()).await;
    let ledger = campaign.verdict("killed writers", &database.connector).await;
    assert!(count(&ledger.broken) > 0 && count(&ledger.rolled_back) > 0 && count(&ledger.lost_races) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sequencer_is_followed_by_the_next_at_the_same_place() {
    let database = TestDatabase::new().await;
    let mut campaign = Campaign::start(&database.connector, 2, 0);
    let superuser = database.superuser_url.expose().to_owned();
    campaign.tasks.spawn(kill_backends(superuser, SEQUENCER_NAME, Duration::from_millis(60), campaign.stop.clone()));
    tokio::time::sleep(campaign_time()).await;
    let ledger = campaign.verdict("killed sequencers", &database.connector).await;
    assert!(count(&ledger.leads) > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_ignore_each_other_still_write_one_order() {
    let database = TestDatabase::new().await;
    let campaign = Campaign::start(&database.connector, 2, 2);
    tokio::time::sleep(campaign_time()).await;
    let ledger = campaign.verdict("several leaders", &database.connector).await;
    assert!(count(&ledger.steps_lost) > 0, "they never met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_whose_leases_run_out_while_they_work_write_one_order() {
    let database = TestDatabase::new().await;
    let mut campaign = Campaign::start(&database.connector, 3, 0);
    let (pool, stop) = (database.pool.clone(), campaign.stop.clone());
    campaign.tasks.spawn(async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(hold()).await;
            let_the_lease_run_out(&pool).await;
        }
    });
    tokio::time::sleep(campaign_time()).await;
    let ledger = campaign.verdict("leases that run out", &database.connector).await;
    assert!(count(&ledger.leads) > 5 && count(&ledger.steps_lost) > 0);
}

#[tokio::test]
async fn of_two_leaders_at_one_tick_one_gets_through() {
    let database = TestDatabase::new().await;
    append(&database.pool, "a", 1).await;
    let (first, second) = (database.connector.connect().await.unwrap(), database.connector.connect().await.unwrap());
    let standing = "select tick_id, seen::text, position, hash, floor_seq, system_identifier from ticks order by tick_id desc limit 1";
    let at = first.client.query_one(standing, &[]).await.unwrap();
    first.client.batch_execute("begin").await.unwrap();
    assert_eq!(forced_step(&first.client, &at).await.unwrap(), 1);
    // The second waits for the first, and loses when it commits.
    let (theirs, committed) = tokio::join!(forced_step(&second.client, &at), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.client.batch_execute("commit").await
    });
    committed.unwrap();
    assert_eq!(theirs.unwrap_err().code().unwrap().code(), "23505");
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
    assert_eq!(log::head(&database.pool).await.unwrap().position, 1);
}

#[tokio::test]
async fn one_leader_at_a_time() {
    let database = TestDatabase::new().await;
    let leader = lead(&database.connector).await;
    let (connection, other) = (Arc::new(database.connector.connect().await.unwrap()), Holder::new("other"));
    assert!(Sequencer::lead(&connection, &other).await.unwrap().is_none());
    // Its session ends: nobody waits for its lease.
    drop(leader);
    let started = tokio::time::Instant::now();
    until("the lead", async || Sequencer::lead(&connection, &other).await.unwrap().is_some()).await;
    assert!(started.elapsed() < sequencer::LEASE, "{:?}", started.elapsed());
}

/// What the lease looks like when its holder has been silent for long.
async fn let_the_lease_run_out(pool: &Pool) {
    get(pool).await.unwrap().batch_execute("update leadership set lease_until = clock_timestamp() - interval '1 s'").await.unwrap();
}

#[tokio::test]
async fn a_former_leader_that_wakes_up_writes_nothing() {
    let database = TestDatabase::new().await;
    append(&database.pool, "a", 1).await;
    let mut suspended = lead(&database.connector).await;
    assert_eq!(suspended.step().await.unwrap(), 1);
    append(&database.pool, "a", 2).await;
    // Silent, and its session is there.
    let (connection, other) = (Arc::new(database.connector.connect().await.unwrap()), Holder::new("other"));
    assert!(Sequencer::lead(&connection, &other).await.unwrap().is_none());
    let_the_lease_run_out(&database.pool).await;
    let mut leader = Sequencer::lead(&connection, &other).await.unwrap().expect("the lead");
    // Not even before the next one wrote anything, when its own number would still be free.
    assert!(matches!(suspended.step().await, Err(StoreError::Conflict)));
    assert_eq!(log::head(&database.pool).await.unwrap().position, 1);
    assert_eq!(leader.step().await.unwrap(), 1);
    assert!(matches!(suspended.step().await, Err(StoreError::Conflict)));
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
    assert_eq!(log::head(&database.pool).await.unwrap(), log::Head { position: 2, unplaced: 0, waiting: Duration::ZERO });
}

#[tokio::test]
async fn a_lease_from_before_the_clock_was_set_back_holds_nobody_up() {
    let database = TestDatabase::new().await;
    let mut leader = lead(&database.connector).await;
    let ahead = "update leadership set lease_until = clock_timestamp() + interval '1 day'";
    get(&database.pool).await.unwrap().batch_execute(ahead).await.unwrap();
    let (connection, other) = (Arc::new(database.connector.connect().await.unwrap()), Holder::new("other"));
    leader.step().await.unwrap();
    assert!(Sequencer::lead(&connection, &other).await.unwrap().is_none(), "a leader that works has put it right");
    get(&database.pool).await.unwrap().batch_execute(ahead).await.unwrap();
    assert!(Sequencer::lead(&connection, &other).await.unwrap().is_some());
}

/// As versions before the lease lead.
async fn lead_as_an_earlier_version(connector: &Connector) -> Dedicated {
    let earlier = connector.connect().await.unwrap();
    let took = earlier.client.query_one("select pg_try_advisory_lock(x'6b65797373657171'::bigint)", &[]).await.unwrap();
    assert!(took.get::<_, bool>(0));
    earlier
}

#[tokio::test]
async fn an_earlier_version_that_works_keeps_the_lead() {
    let database = TestDatabase::new().await;
    let earlier = lead_as_an_earlier_version(&database.connector).await;
    let (connection, holder) = (Arc::new(database.connector.connect().await.unwrap()), Holder::new("new"));
    assert!(Sequencer::lead(&connection, &holder).await.unwrap().is_none());
    append(&database.pool, "a", 1).await;
    assert!(Sequencer::lead(&connection, &holder).await.unwrap().is_none(), "an event that was just committed");
    // It is suspended: its events wait for longer than a leader that works lets them.
    tokio::time::sleep(sequencer::LEASE + Duration::from_millis(200)).await;
    let mut leader = Sequencer::lead(&connection, &holder).await.unwrap().expect("the lead");
    assert_eq!(leader.step().await.unwrap(), 1);
    drop(earlier);
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
}

#[tokio::test]
async fn a_leader_gives_way_to_an_earlier_version_that_is_started() {
    let database = TestDatabase::new().await;
    let leader = lead(&database.connector).await;
    let (head, _) = tokio::sync::watch::channel(0);
    let running = tokio::spawn(leader.run(Wakes::default().log(), Duration::from_millis(50), head, CancellationToken::new()));
    let _earlier = lead_as_an_earlier_version(&database.connector).await;
    assert!(matches!(running.await.unwrap(), Ok(Left::Lost)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn immediate_restarts_of_postgres_lose_nothing_that_was_promised() {
    const RESTARTS: u32 = 3;
    let mut private = PrivatePostgres::start().await;
    let connector = private.connector();
    connector.migrate().await.unwrap();
    let campaign = Campaign::start(&connector, 2, 0);
    for _ in 0..RESTARTS {
        tokio::time::sleep(campaign_time() / RESTARTS).await;
        let mut postgres = private.postgres.take().unwrap();
        signal(postgres.pid(), Signal::SIGQUIT);
        postgres.ended().await.unwrap();
        private.start_again().await;
    }
    tokio::time::sleep(campaign_time() / RESTARTS).await;
    let ledger = campaign.verdict("immediate restarts", &private.connector()).await;
    assert!(count(&ledger.leads) > u64::from(RESTARTS));
    private.stop().await;
}

/// The folder of the programs that the cluster runs from.
fn bin_dir(private: &PrivatePostgres) -> PathBuf {
    let program = std::fs::read_link(format!("/proc/{}/exe", private.running().pid())).expect("the program of a running cluster");
    program.parent().expect("a folder").to_path_buf()
}

async fn run_program(bin: &std::path::Path, program: &str, arguments: &[&str]) {
    let output = tokio::process::Command::new(bin.join(program)).args(arguments).output().await.expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Uses up transaction ids.
async fn burn_xids(connector: &Connector, how_many: u32) {
    let connection = connector.connect().await.unwrap();
    let burn = format!("do $$ begin for n in 1..{how_many} loop perform pg_current_xact_id(); commit; end loop; end $$");
    connection.client.batch_execute(&burn).await.unwrap();
}

async fn next_xid(connector: &Connector) -> i64 {
    let connection = connector.connect().await.unwrap();
    connection.client.query_one("select pg_current_xact_id()::text::bigint", &[]).await.unwrap().get(0)
}

/// Dumps one cluster into another whose transaction ids are elsewhere, and goes on there.
async fn move_to_another_cluster(burn_before: u32, burn_after: u32) {
    let mut old = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let connector = old.connector();
    connector.migrate().await.unwrap();
    burn_xids(&connector, burn_before).await;
    let campaign = Campaign::start(&connector, 1, 0);
    tokio::time::sleep(campaign_time() / 3).await;
    campaign.verdict("before the move", &connector).await;
    // Committed and not yet placed when the dump is made.
    let pool = connector.pool().unwrap();
    for n in 1..=5 {
        append(&pool, "unplaced", n).await;
    }
    let before = positions(&pool).await;
    let old_xid = next_xid(&connector).await;
    let bin = bin_dir(&old);
    if !bin.join("pg_dump").exists() {
        eprintln!("skipped: {} has no pg_dump", bin.display());
        old.stop().await;
        return;
    }
    let dump = old.folder.path().join("dump.sql");
    let dump = dump.to_str().unwrap();
    run_program(&bin, "pg_dump", &["--no-owner", "--no-comments", "--file", dump, old.url().expose()]).await;

    let mut new = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let connector = new.connector();
    burn_xids(&connector, burn_after).await;
    run_program(&bin, "psql", &["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", dump, new.url().expose()]).await;
    drop(pool);
    old.stop().await;

    println!("the old cluster stood at xid {old_xid}, the new one stands at {}", next_xid(&connector).await);
    // One transaction is under way while the new leader takes over.
    let slow = connector.connect().await.unwrap();
    slow.client.batch_execute("begin").await.unwrap();
    slow.client.query_one(APPEND_BY_HAND, &[&"slow"]).await.unwrap();
    let pool = connector.pool().unwrap();
    append(&pool, "early", 1).await;
    place_all(&connector).await;
    slow.client.batch_execute("commit").await.unwrap();
    place_all(&connector).await;
    let after = positions(&pool).await;
    assert_eq!(after[..before.len()], before, "what had a position keeps it");
    assert_eq!(after.len(), before.len() + 5 + 1 + 1);

    let campaign = Campaign::start(&connector, 2, 0);
    tokio::time::sleep(campaign_time() / 3).await;
    // The new cluster comes to the transaction ids that the old one used.
    let missing = u32::try_from(old_xid - next_xid(&connector).await).unwrap_or(0);
    burn_xids(&connector, burn_before.max(missing)).await;
    tokio::time::sleep(campaign_time() / 3).await;
    campaign.verdict("after the move", &connector).await;
    assert!(next_xid(&connector).await > old_xid);
    assert_eq!(positions(&pool).await[..after.len()], after);
    drop(pool);
    new.stop().await;
}

async fn positions(pool: &Pool) -> Vec<(i64, i64)> {
    let rows = get(pool).await.unwrap().query("select position, seq from log order by position", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_goes_on_after_a_restore_into_a_cluster_with_lower_transaction_ids() {
    move_to_another_cluster(20_000, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_goes_on_after_a_restore_into_a_cluster_with_higher_transaction_ids() {
    move_to_another_cluster(1, 20_000).await;
}

async fn append(pool: &Pool, id: &str, sequence: i64) {
    let store = EventStore::new(pool.clone(), Wakes::default());
    let event = NewEvent::of::<Order>(id, sequence, &OrderEvent::OrderStarted {}).unwrap();
    store.begin().await.unwrap().commit(&[event], &metadata(), &[]).await.unwrap();
}

/// What the sequencer is instead of: the next numbers after the highest one placed, and the claim to have seen everything.
async fn place_by_cursor(pool: &Pool) {
    let naive = "
        with placed as (
            insert into log (position, seq, hash)
            select h.position + row_number() over (order by e.seq), e.seq, chain_over(h.hash, event_digest(e)) over (order by e.seq)
            from events e, (select coalesce(max(position), 0) as position, coalesce(max(seq), 0) as cursor,
                                   coalesce((array_agg(hash order by position desc))[1], sha256('keystone edge')) as hash from log) h
            where e.seq > h.cursor
            returning position, hash)
        insert into ticks (tick_id, seen, position, hash, floor_seq)
        select (select max(tick_id) + 1 from ticks), pg_current_snapshot(), position, hash, 0 from placed order by position desc limit 1";
    // Its position may be taken by another of its kind; then it comes again.
    let _ = get(pool).await.unwrap().execute(naive, &[]).await;
}

#[tokio::test]
async fn a_reader_by_sequence_misses_what_commits_late_and_the_checker_says_so() {
    let database = TestDatabase::new().await;
    let slow = database.connector.connect().await.unwrap();
    slow.client.batch_execute("begin").await.unwrap();
    slow.client.query_one(APPEND_BY_HAND, &[&"slow"]).await.unwrap();
    append(&database.pool, "quick", 1).await;
    place_by_cursor(&database.pool).await;
    slow.client.batch_execute("commit").await.unwrap();
    append(&database.pool, "quick", 2).await;
    place_by_cursor(&database.pool).await;
    assert_eq!(log::head(&database.pool).await.unwrap().position, 2);
    let breaches = log::verify(&database.pool).await.unwrap();
    assert_eq!(breaches, [Breach::Missing { seq: 1 }]);
}

#[tokio::test]
async fn a_long_transaction_delays_only_its_own_events() {
    let database = TestDatabase::new().await;
    let mut leader = lead(&database.connector).await;
    let slow = database.connector.connect().await.unwrap();
    slow.client.batch_execute("begin").await.unwrap();
    slow.client.query_one(APPEND_BY_HAND, &[&"slow"]).await.unwrap();
    for sequence in 1..=3 {
        append(&database.pool, "quick", sequence).await;
        assert_eq!(leader.step().await.unwrap(), 1);
    }
    assert_eq!(leader.step().await.unwrap(), 0);
    slow.client.batch_execute("commit").await.unwrap();
    assert_eq!(leader.step().await.unwrap(), 1);
    let order: Vec<String> = log::read_after(&database.pool, 0, 10).await.unwrap().iter().map(|placed| placed.event.event_id()).collect();
    assert_eq!(order, ["order/quick/1", "order/quick/2", "order/quick/3", "order/slow/1"]);
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_catches_a_reader_by_sequence_under_the_same_load() {
    let database = TestDatabase::new().await;
    let mut campaign = Campaign::start(&database.connector, 0, 0);
    let (pool, stop) = (database.pool.clone(), campaign.stop.clone());
    campaign.tasks.spawn(async move {
        while !stop.is_cancelled() {
            place_by_cursor(&pool).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    campaign.stop.cancel();
    while campaign.tasks.join_next().await.is_some() {}
    place_by_cursor(&database.pool).await;
    let breaches = log::verify(&database.pool).await.unwrap();
    let missing = breaches.iter().filter(|breach| matches!(breach, Breach::Missing { .. })).count();
    println!("a reader by sequence missed {missing} events or more");
    assert!(missing > 0, "{breaches:?}");
}

/// A log of six events of two streams, and a superuser whom no trigger stops.
async fn log_to_damage() -> (TestDatabase, tokio_postgres::Client) {
    let database = TestDatabase::new().await;
    for sequence in 1..=3 {
        append(&database.pool, "a", sequence).await;
        append(&database.pool, "b", sequence).await;
        place_all(&database.connector).await;
    }
    assert_eq!(log::verify(&database.pool).await.unwrap(), []);
    let (client, connection) = tokio_postgres::connect(database.superuser_url.expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("set session_replication_role = replica").await.unwrap();
    (database, client)
}

#[tokio::test]
async fn every_planted_damage_is_found() {
    let stream = |stream: &str| stream.to_owned();
    let (missing, broken) = (|seq| Breach::Missing { seq }, |position| Breach::BrokenChain { position });
    let gap = |after, next| Breach::Gap { after, next };
    let cases: Vec<(&str, &str, Vec<Breach>)> = vec![
        ("a row of the log is deleted", "delete from log where position = 3", vec![missing(3), gap(2, 4), broken(4)]),
        ("an event is changed", "update events set payload = '{\"order_completed\": {}}' where seq = 4", vec![broken(4)]),
        ("who did it is changed", "update events set metadata = metadata || '{\"actor\": \"user:admin\"}' where seq = 2", vec![broken(2)]),
        ("when it happened is changed", "update events set recorded_at = recorded_at - interval '1 s' where seq = 1", vec![broken(1)]),
        (
            "two positions are swapped",
            "update log set seq = -1 where position = 1; update log set seq = 1 where position = 3; update log set seq = 3 where position = 1",
            vec![Breach::Inversion { stream: stream("order/a"), sequence: 2 }, broken(1), broken(3)],
        ),
        (
            "an event is deleted",
            "delete from events where seq = 3",
            vec![Breach::Dangling { position: 3 }, Breach::StreamGap { stream: stream("order/a"), sequence: 3 }],
        ),
        (
            "an event is deleted from everywhere and the log closed behind it",
            "delete from events where seq = 6; delete from log where seq = 6",
            vec![Breach::CutShort { position: 6 }],
        ),
        (
            "an event is slipped in",
            "update log set position = position + 10 where position > 2; update log set position = position - 9 where position > 2;
             insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('order', 'c', 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}');
             insert into log (position, seq, hash) select 3, max(seq), sha256('guess') from events",
            vec![broken(3), broken(4)],
        ),
    ];
    for (what, damage, expected) in cases {
        let (database, superuser) = log_to_damage().await;
        superuser.batch_execute(damage).await.unwrap();
        let found = log::verify(&database.pool).await.unwrap();
        for breach in expected {
            assert!(found.contains(&breach), "{what}: {breach:?} is not among {found:?}");
        }
    }
}

#[tokio::test]
async fn an_event_is_never_placed_twice() {
    let database = TestDatabase::new().await;
    append(&database.pool, "a", 1).await;
    place_all(&database.connector).await;
    let client = get(&database.pool).await.unwrap();
    let again = client.batch_execute("insert into log (position, seq, hash) select 2, seq, hash from log").await.unwrap_err();
    let error = StoreError::from(again);
    assert!(matches!(&error, StoreError::Constraint { constraint } if constraint == "one_position_per_event"), "{error:?}");
}

#[tokio::test]
async fn readers_by_position_page_without_a_gap() {
    let database = TestDatabase::new().await;
    for sequence in 1..=25 {
        append(&database.pool, "a", sequence).await;
    }
    place_all(&database.connector).await;
    let (mut cursor, mut seen) = (0, vec![]);
    loop {
        let page = log::read_after(&database.pool, cursor, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = last.position;
        seen.extend(page.iter().map(|placed| placed.event.sequence));
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    until("an empty tail", async || log::head(&database.pool).await.unwrap().unplaced == 0).await;
}
