//! A database that the version before made, and that version beside this one.
//!
//! `tests/fixtures/database_before_destinations.sql.zst` is what `pg_dump --inserts --no-owner --no-privileges` wrote of
//! a database of schema V17: two simulated robots worked, and the server was killed again and again. Verifications were
//! under lease, others waited for another try, two uploaders that were away had something to be asked for, and three
//! deliveries had been given up. Hashes of passwords and tokens are replaced.

use std::time::Duration;

use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::domain::routing::{Queued, SubscriberName};
use keystone_edge::eventstore::{EventStore, NewEvent, log};
use keystone_edge::outbox::{DeadReason, Settlement, Wakes, settle};
use keystone_edge::pg::get;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::simulator::factory::Workplace;
use tokio_postgres::NoTls;

use crate::factory::metadata;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};
use crate::outbox::{number, to};

const DUMP: &[u8] = include_bytes!("../fixtures/database_before_destinations.sql.zst");
const CLAIM: &str = include_str!("../fixtures/claim_before_destinations.sql");
const WAITING: &str = include_str!("../fixtures/waiting_before_destinations.sql");

/// Schema V17 with all that was under way, as if the last of its servers had just been killed.
async fn database_of_the_version_before() -> TestDatabase {
    let database = TestDatabase::empty().await;
    let dump = String::from_utf8(zstd::stream::decode_all(DUMP).expect("a dump")).expect("text");
    let (client, connection) = tokio_postgres::connect(database.url.expose(), NoTls).await.expect("an empty database");
    tokio::spawn(connection);
    client.batch_execute(&dump).await.unwrap_or_else(|error| panic!("the dump: {error:?}"));
    // Whatever the clock of this machine says.
    let now = "update public.outbox set due_at = clock_timestamp(), created_at = clock_timestamp(),
                   leased_until = case when leased_until is not null then clock_timestamp() + interval '1 second' end;
               update public.processes set lease_until = clock_timestamp() where ended_at is null";
    client.batch_execute(now).await.expect("the present");
    database
}

/// What that version knew of its letters.
const LETTERS: &str = "select md5(string_agg((to_jsonb(d) - 'resolution' - 'outbox_id' - 'epoch' - 'told' - 'notification_failed')::text, '|' order by dead_letter_id)) from dead_letters d";

async fn text(database: &TestDatabase, sql: &str) -> String {
    get(&database.pool).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_version_before_goes_on() {
    let database = database_of_the_version_before().await;
    let pool = &database.pool;
    let rows = "select string_agg(n::text || ' ' || kind, ', ' order by kind)
                from (select count(*) n, subscriber || coalesce(' for ' || split_part(destination, ':', 1), '') || case when leased_until is null then '' else ' under lease' end kind
                      from outbox group by 2) k";
    assert_eq!(text(&database, rows).await, "2 device_commands for transfer, 13 upload_verification, 3 upload_verification under lease");
    let before = text(&database, LETTERS).await;
    assert_eq!(number(pool, "select count(*) from dead_letters where destination is not null").await, 1);
    let last_row = number(pool, "select max(outbox_id) from outbox").await;
    let rejected = "select count(*) from events where event_type = 'upload_rejected'";
    let rejected_before = number(pool, rejected).await;

    let (folder, objects) = (temp_folder(), TestObjects::new().await);
    let mut server = Server::sharing(folder.path(), &database.url, &objects.s3.endpoint());
    server.start();
    server.ready().await;
    // The objects are gone with the machine the dump is from, and that is what the verifications say.
    let verified = format!("select count(*) from outbox where outbox_id <= {last_row} and subscriber = 'upload_verification'");
    until("the verifications that were under way", async || number(pool, &verified).await == 0).await;
    assert_eq!(number(pool, rejected).await - rejected_before, 16);
    assert_eq!(number(pool, "select count(*) from outbox where destination is not null and attempt = 0").await, 2);

    // The uploaders come, and are asked.
    let place = |n: i64| Workplace {
        station_id: n,
        robot_id: n,
        device_id: format!("AB-F0001-T0001-{n:06}"),
        operator_id: String::new(),
        password: Some(PASSWORD.to_owned()),
    };
    let robots: Vec<_> = (1..=2).map(|n| server.robot(&place(n), 1, n as u64)).collect();
    let under_way = format!("select count(*) from outbox where outbox_id <= {last_row}");
    until("all that was under way", async || number(pool, &under_way).await == 0).await;
    assert_eq!(text(&database, LETTERS).await, before);

    for robot in robots {
        robot.stop().await;
    }
    server.stop().await;
    assert_eq!(log::verify(pool).await.unwrap(), []);
    assert_eq!(log::head(pool).await.unwrap().unplaced, 0);
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn the_version_before_inserts_claims_and_settles_beside_this_one() {
    const NAME: SubscriberName = SubscriberName::DeviceCommands;
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let client = get(pool).await.unwrap();
    // Its plans are made once and for ever, on empty tables.
    client.batch_execute("set plan_cache_mode = force_generic_plan").await.unwrap();
    client.batch_execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off").await.unwrap();
    let (claiming, waiting) = (client.prepare(CLAIM).await.unwrap(), client.prepare(WAITING).await.unwrap());
    let take = async |destinations: Option<&[&str]>, per_stream: bool, limit: i64| -> Vec<(i64, i64, i64)> {
        let destinations: Option<Vec<&str>> = destinations.map(<[&str]>::to_vec);
        let rows = client.query(&claiming, &[&NAME.as_str(), &destinations, &per_stream, &limit, &60.0_f64, &"before"]).await.unwrap();
        rows.iter().map(|row| (row.get("outbox_id"), row.get("epoch"), row.get("sequence"))).collect()
    };
    for per_stream in [false, true] {
        assert_eq!(take(Some(&["recorder:1"]), per_stream, 10).await, []);
    }

    // What this version queues for two destinations, the version before takes and settles.
    let queued =
        ["recorder:1", "recorder:2"].map(|place| Queued { subscriber: NAME, destination: Some(to(place)), expires_at: None, place: None });
    for version in 1..=2 {
        let event = NewEvent::of::<Order>("a", version, &OrderEvent::OrderStarted {}).unwrap().and_queue(queued.to_vec());
        EventStore::new(pool.clone(), Wakes::default()).begin().await.unwrap().commit(&[event], &metadata(), &[]).await.unwrap();
    }
    let mut places: Vec<String> = client.query(&waiting, &[&NAME.as_str()]).await.unwrap().iter().map(|row| row.get(0)).collect();
    places.sort_unstable();
    assert_eq!(places, ["recorder:1", "recorder:2"]);
    let first = take(Some(&["recorder:1"]), true, 10).await;
    assert_eq!(first.len(), 1, "it keeps the order of the stream over all destinations");
    let dead = Settlement::Dead { reason: DeadReason::PermanentError, error: "never".into(), blocks_stream: false };
    let done: Vec<_> = first.iter().map(|(id, epoch, _)| (*id, *epoch, dead.clone())).collect();
    assert_eq!(settle(&client, &done).await.unwrap(), 1);
    let second = take(Some(&["recorder:2"]), true, 10).await;
    let retried = Settlement::Retry { error: "later".into(), after: Duration::ZERO };
    let done: Vec<_> = second.iter().map(|(id, epoch, _)| (*id, *epoch, retried.clone())).collect();
    assert_eq!((settle(&client, &done).await.unwrap(), second.len()), (1, 1));
    let rest = take(None, false, 10).await;
    let done: Vec<_> = rest.iter().map(|(id, epoch, _)| (*id, *epoch, Settlement::Delivered)).collect();
    assert_eq!((settle(&client, &done).await.unwrap(), rest.len()), (3, 3));
    assert_eq!(number(pool, "select count(*) from dead_letters where destination = 'recorder:1'").await, 1);

    // And its plans find their indexes.
    client
        .batch_execute(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'order', n::text, 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}' from generate_series(1, 30000) n;
             insert into outbox (subscriber, event_seq, stream_key, destination, causation_depth)
             select 'device_commands', seq, aggregate_type || '/' || aggregate_id, 'recorder:' || seq % 10, 0 from events",
        )
        .await
        .unwrap();
    let scans =
        "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname in ('outbox', 'events', 'dead_letters')";
    let scanned = async || -> i64 {
        client.execute("select pg_stat_force_next_flush()", &[]).await.unwrap();
        client.query_one(scans, &[]).await.unwrap().get(0)
    };
    let before = scanned().await;
    for per_stream in [false, true] {
        assert_eq!(take(Some(&["recorder:1"]), per_stream, 100).await.len(), 100);
    }
    assert_eq!(scanned().await - before, 0, "rows read by scanning a table");
}
