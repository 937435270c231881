//! Appending, loading, and what may never happen to an event.

use std::sync::Arc;

use cqrs_es::persist::{PersistedEventStore, SemanticVersionEventUpcaster};
use cqrs_es::test::TestFramework;
use cqrs_es::{AggregateContext, CqrsFramework, EventStore as _};
use deadpool_postgres::Pool;
use keystone_edge::commands::{CommandError, Context};
use keystone_edge::config::Config;
use keystone_edge::domain::device::{Device, DeviceCommand, LinkKind};
use keystone_edge::domain::order::{Order, OrderCommand, OrderEvent, OrderRefusal, Priority, Terms};
use keystone_edge::domain::tally::TaskOutcome;
use keystone_edge::domain::{BatchId, FactoryId, OrganizationId, SceneId, TaskId, Timestamp};
use keystone_edge::eventstore::cqrs::{Adapted, AdaptedEvent, EventRepository};
use keystone_edge::eventstore::{EventStore, Loaded, NewEvent, StoreError, snapshots};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::{Connector, get};
use postgres_es::PostgresEventRepository;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::factory::{Factory, metadata, place_all};
use crate::harness::{TestDatabase, until};

fn terms(target_count: i64) -> Terms {
    Terms {
        organization_id: OrganizationId(1),
        scene_id: SceneId(1),
        name: "Shelves".into(),
        target_count,
        priority: Priority::High,
        deadline: None,
        metadata: Some(json!({"customer": "Müller & Söhne", "n": 1.5})),
    }
}

fn place(target_count: i64) -> OrderCommand {
    OrderCommand::Place { terms: terms(target_count), organization_factory: FactoryId(1), scene_factory: FactoryId(1) }
}

fn dispatch(batch: i64, count: i64) -> OrderCommand {
    OrderCommand::Dispatch { batch_id: BatchId(batch), added: count, removed: keystone_edge::domain::tally::Tally::default() }
}

fn completed(task: i64) -> OrderCommand {
    OrderCommand::Settle { task_id: TaskId(task), outcome: TaskOutcome::Completed }
}

fn started(id: &str, sequence: i64) -> NewEvent {
    NewEvent::of::<Order>(id, sequence, &OrderEvent::OrderStarted {}).unwrap()
}

fn store(pool: &Pool) -> EventStore {
    EventStore::new(pool.clone(), Wakes::default())
}

async fn count(pool: &Pool, sql: &str) -> i64 {
    get(pool).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

async fn load(store: &EventStore, id: &str) -> Loaded<Order> {
    let mut tx = store.begin().await.unwrap();
    let loaded = tx.load::<Order>(id).await.unwrap();
    tx.roll_back().await.unwrap();
    loaded
}

/// A pool with one connection: whoever leaves it in a bad state is found out by the next.
fn single_connection(database: &TestDatabase) -> Pool {
    let mut settings = Config::defaults().database;
    settings.pool_max = 1;
    Connector::new(&database.url, &settings).unwrap().pool().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_appends_at_one_version_exactly_one_wins() {
    const STREAMS: usize = 2;
    const RIVALS: usize = 8;
    const ROUNDS: i64 = 10;
    let database = TestDatabase::new().await;
    let store = store(&database.pool);
    for round in 1..=ROUNDS {
        let barrier = Arc::new(Barrier::new(STREAMS * RIVALS));
        let mut rivals = tokio::task::JoinSet::new();
        for n in 0..STREAMS * RIVALS {
            let (store, barrier, id) = (store.clone(), barrier.clone(), format!("s{}", n % STREAMS));
            rivals.spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let version = tx.load::<Order>(&id).await.unwrap().version;
                assert_eq!(version, round - 1);
                barrier.wait().await;
                (id.clone(), tx.commit(&[started(&id, round)], &metadata(), &[]).await)
            });
        }
        let mut won = vec![];
        for (id, outcome) in rivals.join_all().await {
            match outcome {
                Ok(()) => won.push(id),
                Err(StoreError::Conflict) => {}
                Err(other) => panic!("neither won nor lost: {other:?}"),
            }
        }
        won.sort();
        assert_eq!(won, ["s0", "s1"], "round {round}");
    }
    assert_eq!(count(&database.pool, "select count(*) from events").await, ROUNDS * STREAMS as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_race_for_the_last_quota_do_not_exceed_it() {
    let database = TestDatabase::new().await;
    let factory = Arc::new(Factory::new(&database.pool, 1).await);
    let order = factory.order("Cups", 5).await;
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let factory = factory.clone();
        rivals.spawn(async move { factory.commands.execute(&Context::system(), factory.create_batch(order, 0, 1)).await });
    }
    let mut created = 0;
    for outcome in rivals.join_all().await {
        match outcome {
            Ok(_) => created += 1,
            Err(CommandError::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 5);
    assert_eq!(count(&database.pool, "select count(*) from tasks").await, 5);
    assert_eq!(count(&database.pool, "select task_count from orders").await, 5);
}

#[tokio::test]
async fn several_streams_are_appended_all_or_none() {
    let database = TestDatabase::new().await;
    let store = store(&database.pool);
    let tx = store.begin().await.unwrap();
    tx.commit(&[started("a", 1), started("b", 1)], &metadata(), &[]).await.unwrap();

    let tx = store.begin().await.unwrap();
    let last = started("c", 1).and_queue([keystone_edge::domain::routing::Queued {
        subscriber: keystone_edge::domain::routing::SubscriberName::DeviceCommands,
        destination: None,
        expires_at: None,
        place: None,
    }]);
    let also = ("insert into credentials (subject, subject_id, password_hash) values ('x', 1, 'y')", vec![]);
    let outcome = tx.commit(&[started("a", 2), started("b", 1), last], &metadata(), &[also]).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    assert_eq!(count(&database.pool, "select count(*) from events").await, 2);
    assert_eq!(count(&database.pool, "select count(*) from outbox").await, 0);
    assert_eq!(count(&database.pool, "select count(*) from credentials").await, 0);
}

#[tokio::test]
async fn events_and_their_order_cannot_be_changed_even_by_their_owner() {
    let database = TestDatabase::new().await;
    let store = store(&database.pool);
    store.begin().await.unwrap().commit(&[started("a", 1)], &metadata(), &[]).await.unwrap();
    crate::factory::place_all(&database.connector).await;
    let client = get(&database.pool).await.unwrap();
    let changes = [
        "update events set payload = '{}'",
        "delete from events",
        "truncate events",
        "update log set position = position + 1",
        "delete from log",
        "truncate log",
        "truncate events, log cascade",
    ];
    for change in changes {
        let error = client.batch_execute(change).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{change}: the role has no right to");
    }
    client.batch_execute("grant update, delete, truncate on events, log to current_user").await.unwrap();
    for change in changes {
        let error = client.batch_execute(change).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23000", "{change}: {error:?}");
    }
    assert_eq!(count(&database.pool, "select count(*) from events join log using (seq)").await, 1);
}

#[tokio::test]
async fn a_failed_first_statement_leaves_no_open_transaction_in_the_pool() {
    let database = TestDatabase::new().await;
    let store = store(&single_connection(&database));
    let mut tx = store.begin().await.unwrap();
    tx.query("select 1 / 0", &[]).await.unwrap_err();
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.query("select 1", &[]).await.unwrap();
    tx.roll_back().await.unwrap();

    // And for a caller that stops waiting.
    let mut tx = store.begin().await.unwrap();
    let impatient = tokio::time::timeout(std::time::Duration::from_millis(50), tx.query("select pg_sleep(0.3)::text", &[]));
    assert!(impatient.await.is_err());
    drop(tx);
    let tx = store.begin().await.unwrap();
    tx.commit(&[started("a", 1)], &metadata(), &[]).await.unwrap();
    assert_eq!(count(&database.pool, "select count(*) from events").await, 1);
}

#[tokio::test]
async fn a_lost_race_costs_no_connection() {
    let database = TestDatabase::new().await;
    let pool = single_connection(&database);
    let store = store(&pool);
    store.begin().await.unwrap().commit(&[started("a", 1)], &metadata(), &[]).await.unwrap();
    let before = count(&pool, "select pg_backend_pid()::bigint").await;
    let mut tx = store.begin().await.unwrap();
    tx.load::<Order>("a").await.unwrap();
    assert!(matches!(tx.commit(&[started("a", 1)], &metadata(), &[]).await, Err(StoreError::Conflict)));
    let tx = store.begin().await.unwrap();
    assert!(matches!(tx.commit(&[started("a", 1)], &metadata(), &[]).await, Err(StoreError::Conflict)));
    assert_eq!(count(&pool, "select pg_backend_pid()::bigint").await, before);
}

#[tokio::test]
async fn a_snapshot_is_used_and_never_needed() {
    let database = TestDatabase::new().await;
    let (sender, waiting) = snapshots::channel();
    let writer = tokio::spawn(snapshots::write_snapshots(database.pool.clone(), waiting));
    let store = EventStore::new(database.pool.clone(), Wakes::default()).with_snapshots(sender);
    let factory = Factory::on(store.clone(), 1).await;
    let order = factory.order("Cups", 1000).await;
    for _ in 0..66 {
        factory.batch(order, 0, 1).await;
    }
    let id = order.to_string();
    until("a snapshot", async || count(&database.pool, "select count(*) from stream_snapshots").await == 1).await;
    assert_eq!(count(&database.pool, "select sequence from stream_snapshots").await, 64);

    let client = get(&database.pool).await.unwrap();
    let with_snapshot = load(&store, &id).await;
    assert_eq!((with_snapshot.version, with_snapshot.state.placed().unwrap().tally.tasks), (67, 66));
    // Only what stands in it is believed, so it was read.
    client
        .batch_execute("update stream_snapshots set state = jsonb_set(state, '{placed,terms,name}', '\"From the snapshot\"')")
        .await
        .unwrap();
    assert_eq!(load(&store, &id).await.state.placed().unwrap().terms.name, "From the snapshot");

    client.batch_execute("update stream_snapshots set snapshot_version = snapshot_version + 1").await.unwrap();
    assert_eq!(load(&store, &id).await.state, with_snapshot.state, "one of another version is ignored");
    client
        .batch_execute("update stream_snapshots set snapshot_version = snapshot_version - 1, state = '{\"placed\": \"nonsense\"}'")
        .await
        .unwrap();
    let without = load(&store, &id).await;
    assert_eq!((without.version, &without.state), (67, &with_snapshot.state), "one that cannot be read is ignored");
    client.batch_execute("delete from stream_snapshots").await.unwrap();
    let without = load(&store, &id).await;
    assert_eq!((without.version, &without.state), (67, &with_snapshot.state));
    assert_eq!((without.created_at, without.updated_at), (with_snapshot.created_at, with_snapshot.updated_at));

    drop((factory, store));
    writer.await.unwrap();
}

/// What `postgres-es` wants of its own pool.
async fn peer_store(database: &TestDatabase) -> PersistedEventStore<PostgresEventRepository, Adapted<Order>> {
    let pool = postgres_es::default_postgress_pool(database.url.expose()).await;
    PersistedEventStore::new_event_store(PostgresEventRepository::new(pool))
}

#[tokio::test]
async fn postgres_es_loads_an_order_that_our_commands_wrote() {
    let database = TestDatabase::new().await;
    let factory = Factory::new(&database.pool, 1).await;
    let order = factory.order("Cups", 10).await;
    factory.batch(order, 0, 3).await;

    let id = order.to_string();
    let ours = load(&factory.store, &id).await;
    let peer = peer_store(&database).await;
    let mut theirs = peer.load_aggregate(&id).await.unwrap();
    assert_eq!(theirs.aggregate().0, ours.state);
    let events = peer.load_events(&id).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].sequence, 2);
    assert_eq!(events[1].metadata["actor"], "system");
    assert!(events[0].metadata.contains_key("correlation_id"));
}

#[tokio::test]
async fn we_load_an_order_that_postgres_es_wrote_and_both_may_go_on() {
    let database = TestDatabase::new().await;
    let store = store(&database.pool);
    let theirs = CqrsFramework::new(peer_store(&database).await, vec![], ());
    theirs.execute("7", place(3)).await.unwrap();
    theirs.execute("7", dispatch(1, 2)).await.unwrap();
    let loaded = load(&store, "7").await;
    assert_eq!((loaded.version, loaded.state.placed().unwrap().tally.tasks), (2, 2));
    assert!(loaded.created_at.is_some());

    let ours = CqrsFramework::new(
        PersistedEventStore::<_, Adapted<Order>>::new_event_store(EventRepository::new(database.pool.clone())),
        vec![],
        (),
    );
    ours.execute("7", completed(1)).await.unwrap();
    theirs.execute("7", completed(2)).await.unwrap();
    let loaded = load(&store, "7").await;
    assert_eq!((loaded.version, loaded.state.placed().unwrap().tally.completed), (5, 2));
    let mut seen = peer_store(&database).await.load_aggregate("7").await.unwrap();
    assert_eq!(seen.aggregate().0, loaded.state);

    crate::factory::place_all(&database.connector).await;
    assert_eq!(keystone_edge::eventstore::log::verify(&database.pool).await.unwrap(), [], "their events have positions too");
}

#[tokio::test]
async fn through_cqrs_es_a_lost_race_is_a_conflict() {
    let database = TestDatabase::new().await;
    let repository = || PersistedEventStore::<_, Adapted<Order>>::new_event_store(EventRepository::new(database.pool.clone()));
    CqrsFramework::new(repository(), vec![], ()).execute("1", place(9)).await.unwrap();
    let (first, second) = (repository(), repository());
    let stale = second.load_aggregate("1").await.unwrap();
    let fresh = first.load_aggregate("1").await.unwrap();
    let event = |batch| vec![AdaptedEvent(OrderEvent::OrderTasksDispatched { batch_id: BatchId(batch), count: 1 })];
    first.commit(event(1), fresh, Default::default()).await.unwrap();
    let outcome = second.commit(event(2), stale, Default::default()).await;
    assert!(matches!(outcome, Err(cqrs_es::AggregateError::AggregateConflict)), "{outcome:?}");
}

#[tokio::test]
async fn through_cqrs_es_nothing_is_appended_past_the_outbox() {
    let database = TestDatabase::new().await;
    let repository = PersistedEventStore::<_, Adapted<Device>>::new_event_store(EventRepository::new(database.pool.clone()));
    let open = DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH };
    let refused = CqrsFramework::new(repository, vec![], ()).execute("AB-1", open).await.unwrap_err();
    assert!(refused.to_string().contains("appended by commands only"), "{refused}");
}

#[test]
fn given_events_when_commanded_then_events() {
    let given = || TestFramework::<Adapted<Order>>::with(());
    given().given_no_previous_events().when(place(2)).then_expect_events(vec![AdaptedEvent(OrderEvent::OrderPlaced(terms(2)))]);
    given().given_no_previous_events().when(dispatch(1, 1)).then_expect_error_message("there is no such order");
    let placed = vec![
        AdaptedEvent(OrderEvent::OrderPlaced(terms(1))),
        AdaptedEvent(OrderEvent::OrderTasksDispatched { batch_id: BatchId(1), count: 1 }),
    ];
    given().given(placed.clone()).when(completed(4)).then_expect_events(vec![
        AdaptedEvent(OrderEvent::OrderTaskSettled { task_id: TaskId(4), outcome: TaskOutcome::Completed }),
        AdaptedEvent(OrderEvent::OrderStarted {}),
        AdaptedEvent(OrderEvent::OrderCompleted {}),
    ]);
    given().given(placed).when(dispatch(2, 1)).then_expect_error(OrderRefusal::QuotaExceeded {
        target_count: 1,
        task_count: 1,
        remaining: 0,
        requested: 1,
    });
}

#[tokio::test]
async fn an_old_event_is_read_as_a_new_one() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    // As an earlier release would have written it: the name was called a title.
    let mut body = serde_json::to_value(terms(5)).unwrap();
    let name = body.as_object_mut().unwrap().remove("name").unwrap();
    body["title"] = name;
    client
        .execute(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('order', '1', 1, 'order_placed', '0.9', $1, '{}')",
            &[&json!({"order_placed": body})],
        )
        .await
        .unwrap();
    let upcasters = || -> Vec<Box<dyn cqrs_es::persist::EventUpcaster>> {
        let rename = |mut payload: Value| {
            if let Some(body) = payload["order_placed"].as_object_mut()
                && let Some(title) = body.remove("title")
            {
                body.insert("name".into(), title);
            }
            payload
        };
        vec![Box::new(SemanticVersionEventUpcaster::new("order_placed", "1.0", Box::new(rename)))]
    };
    let plain = store(&database.pool);
    let mut tx = plain.begin().await.unwrap();
    assert!(matches!(tx.load::<Order>("1").await, Err(StoreError::Unreadable(_))));
    drop(tx);

    let store = plain.with_upcasters(upcasters());
    let loaded = load(&store, "1").await;
    assert_eq!(loaded.state.placed().unwrap().terms, terms(5));
    // What follows is written in the version of today, behind the old one.
    let tx = store.begin().await.unwrap();
    tx.commit(&[started("1", 2)], &metadata(), &[]).await.unwrap();
    let repository = PersistedEventStore::<_, Adapted<Order>>::new_event_store(EventRepository::new(database.pool.clone()));
    let mut theirs = repository.with_upcasters(upcasters()).load_aggregate("1").await.unwrap();
    assert_eq!(theirs.aggregate().0, load(&store, "1").await.state);
}

/// Dispatched in batches of a thousand, most tasks were stored by few transactions.
#[tokio::test]
async fn a_step_of_the_sequencer_reads_what_is_new_however_few_transactions_stored_the_rest() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    let many = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                select 'order', g::text, 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}' from generate_series(1, 20000) g";
    client.batch_execute(many).await.unwrap();
    place_all(&database.connector).await;
    client.batch_execute("analyze events").await.unwrap();
    let step = "explain (analyze, buffers, format json)
                select s.* from (select * from ticks order by tick_id desc limit 1) t,
                sequence_events(t.tick_id, t.seen, t.position, t.hash, t.floor_seq, t.system_identifier) s";
    // The first one of a session reads what its statements are made of, too.
    client.query_one(step, &[]).await.unwrap();
    let plan: serde_json::Value = client.query_one(step, &[]).await.unwrap().get(0);
    let blocks = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap() + plan[0]["Plan"]["Shared Read Blocks"].as_i64().unwrap();
    assert!(blocks < 100, "{blocks} blocks: {plan:#}");
}
