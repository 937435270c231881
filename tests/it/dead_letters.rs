//! Dead letters in people's hands: found, shown, replayed, resolved, swept, by HTTP and on the command line.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::commands::letters::SweepLetters;
use keystone_edge::dispatcher::{Delivery, DeliverySettings, Outcome};
use keystone_edge::domain::letter::{LetterFilter, Resolution};
use keystone_edge::domain::routing::Subject;
use keystone_edge::domain::task::{Task, TaskEvent};
use keystone_edge::domain::{DeviceId, StreamId};
use keystone_edge::eventstore::{EventStore, NewEvent};
use keystone_edge::outbox::letters::{self, Values};
use keystone_edge::outbox::{DeadReason, Settlement, Wakes};
use keystone_edge::pg::get;
use keystone_edge::projections::reads::{parameter_types, statements};
use keystone_edge::projections::rebuild::rebuild;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::factory::metadata;
use crate::harness::edge::TestEdge;
use crate::harness::server::Server;
use crate::harness::{TestDatabase, temp_folder, until};
use crate::lists::rows_of;
use crate::outbox::{Player, Rows, dispatch, number, rows, settings, settle_one, take, until_empty, waiting};

const PATH: &str = "/api/v1/dead-letters";

/// Gives up every row that waits, for this reason.
async fn give_up(pool: &Pool, reason: DeadReason, blocks_stream: bool) {
    for row in take(pool, 60_000, 10_000).await {
        let dead = Settlement::Dead { reason, error: format!("{} failed", row.event.event_id()), blocks_stream };
        assert_eq!(settle_one(pool, &row, dead).await, 1);
    }
}

/// An edge with letters of these streams, one each, in their order.
pub async fn with_letters(streams: &[&str]) -> TestEdge {
    let edge = TestEdge::start().await;
    for stream in streams {
        rows(stream, 1..=1).queue(&edge.database.pool).await;
        give_up(&edge.database.pool, DeadReason::PermanentError, false).await;
    }
    edge
}

async fn letter(edge: &TestEdge, id: i64) -> Value {
    let (status, letter) = edge.get(&format!("{PATH}/{id}")).await;
    assert_eq!(status, 200, "{letter}");
    letter
}

async fn replay(edge: &TestEdge, id: i64, body: Value) -> (u16, Value) {
    edge.post(&format!("{PATH}/{id}/replay"), body).await
}

async fn resolve(edge: &TestEdge, id: i64) -> (u16, Value) {
    edge.post(&format!("{PATH}/{id}/resolve"), json!({"reason": "the robot is gone"})).await
}

fn refused(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_letter_is_replayed_where_it_was_in_its_stream() {
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    rows("a", 1..=3).queue(pool).await;
    let repaired = Arc::new(AtomicBool::new(false));
    let player = Player::new({
        let repaired = repaired.clone();
        move |delivery: Delivery| {
            let broken = delivery.event.sequence == 2 && !repaired.load(Ordering::SeqCst);
            async move { if broken { Outcome::Permanent { error: "it is broken".into() } } else { Outcome::Delivered } }
        }
    });
    let in_order = DeliverySettings { per_stream: true, block_on_dead: true, ..settings() };
    let running = dispatch(pool, player.clone(), in_order, "w");
    until("a letter", async || number(pool, "select count(*) from dead_letters").await == 1).await;
    assert_eq!(waiting(pool).await, 1, "the third waits for the second");

    let (_, counts) = edge.get(&format!("{PATH}/counts")).await;
    assert_eq!((&counts["unresolved"], &counts["subscribers"][0]["subscriber"]), (&json!(1), &json!("upload_verification")), "{counts}");
    let (_, list) = edge.get(&format!("{PATH}?resolution=unresolved")).await;
    let item = &list["items"][0];
    assert_eq!(
        (&item["event_id"], &item["reason"], &item["last_error"]),
        (&json!("order/a/2"), &json!("permanent_error"), &json!("it is broken"))
    );
    assert_eq!((&item["holds_stream"], &item["replays"]), (&json!(true), &json!(0)));

    repaired.store(true, Ordering::SeqCst);
    let (status, answer) = replay(&edge, 1, Value::Null).await;
    assert_eq!((status, &answer["event_id"], &answer["delivered_later"]), (200, &json!("order/a/2"), &json!([])), "{answer}");
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(player.ids(), ["order/a/1", "order/a/2", "order/a/2", "order/a/3"]);

    let shown = letter(&edge, 1).await;
    assert_eq!((&shown["resolution"], &shown["in_flight"], &shown["replays"]), (&json!("replayed"), &json!(false), &json!(1)));
    assert_eq!((&shown["tried"][0]["error"], &shown["tried"][0]["attempt"]), (&json!("it is broken"), &json!(1)));
    assert_eq!((&shown["event_type"], &shown["payload"]), (&json!("order_started"), &json!({})));
    let act = &shown["acts"][0];
    assert_eq!(
        (&act["event_type"], &act["actor"], &act["content"]["event_id"]),
        (&json!("dead_letter_replayed"), &json!("user:admin"), &json!("order/a/2"))
    );
    let again = replay(&edge, 1, Value::Null).await;
    assert_eq!(refused(&again), (409, "letter_delivered"));
    assert_eq!(again.1["because"]["event"], "dead_letter_replayed", "{again:?}");
    assert_eq!(edge.get(&format!("{PATH}/counts")).await.1["unresolved"], 0);
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_dies_again_is_the_same_letter_with_more_attempts() {
    let edge = with_letters(&["a"]).await;
    let pool = &edge.database.pool;
    let late = "select outbox_id, epoch from dead_letters";
    let late = get(pool).await.unwrap().query_one(late, &[]).await.unwrap();
    let (outbox_id, epoch): (i64, i64) = (late.get(0), late.get(1));
    assert_eq!(replay(&edge, 1, Value::Null).await.0, 200);
    let row = take(pool, 60_000, 10).await.remove(0);
    assert_eq!((row.outbox_id, row.attempt), (outbox_id, 1), "its place, and no attempt used");
    assert!(row.epoch > epoch + 1, "a worker that had it once settles nothing");
    let dead = Settlement::Dead { reason: DeadReason::AttemptsUsedUp, error: "again".into(), blocks_stream: true };
    assert_eq!(settle_one(pool, &row, dead).await, 1);
    let shown = letter(&edge, 1).await;
    assert_eq!((&shown["resolution"], &shown["reason"], &shown["attempts"]), (&json!("unresolved"), &json!("attempts_used_up"), &json!(2)));
    let errors: Vec<_> = shown["tried"].as_array().unwrap().iter().map(|one| one["error"].as_str().unwrap()).collect();
    assert_eq!((errors, &shown["holds_stream"]), (vec!["order/a/1 failed", "again"], &json!(true)));
    assert_eq!(number(pool, "select count(*) from dead_letters").await, 1);
    assert_eq!(replay(&edge, 1, Value::Null).await.0, 200);
    let retry = Settlement::Retry { error: "not yet".into(), after: Duration::ZERO };
    assert_eq!(settle_one(pool, &take(pool, 60_000, 10).await.remove(0), retry).await, 1);
    let shown = letter(&edge, 1).await;
    assert_eq!((shown["tried"].as_array().unwrap().len(), &shown["replays"], &shown["in_flight"]), (3, &json!(2), &json!(true)));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let edge = with_letters(&["a", "b", "c"]).await;
    assert_eq!(refused(&replay(&edge, 99, Value::Null).await), (404, "letter_not_found"));
    assert_eq!(refused(&resolve(&edge, 99).await), (404, "letter_not_found"));
    assert_eq!(edge.get(&format!("{PATH}/99")).await.0, 404);
    assert_eq!(replay(&edge, 1, Value::Null).await.0, 200);
    assert_eq!(refused(&replay(&edge, 1, Value::Null).await), (409, "letter_in_flight"));
    assert_eq!(refused(&resolve(&edge, 1).await), (409, "letter_in_flight"));
    let (status, resolved) = resolve(&edge, 2).await;
    assert_eq!((status, &resolved["resolution"], &resolved["resolved_because"]), (200, &json!("resolved"), &json!("the robot is gone")));
    assert_eq!(refused(&replay(&edge, 2, Value::Null).await), (409, "letter_resolved"));
    assert_eq!(refused(&resolve(&edge, 2).await), (409, "letter_resolved"));
    assert_eq!(edge.post(&format!("{PATH}/3/resolve"), json!({"reason": " "})).await.0, 400);
    assert_eq!(edge.post(&format!("{PATH}/3/replay"), json!({"causation_depth_max": 0})).await.0, 400);
    for (filter, total) in [
        ("", 3),
        ("resolution=unresolved", 1),
        ("resolution=replayed", 1),
        ("resolution=resolved", 1),
        ("subscriber=upload_verification&stream=order/b", 1),
        ("subscriber=device_commands", 0),
        ("event_type=order_started&reason=permanent_error", 3),
        ("reason=expired", 0),
        ("destination=recorder:AB-1", 0),
        ("from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", 3),
        ("to=2020-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(edge.get(&format!("{PATH}?{filter}")).await.1["total"], total, "{filter}");
    }
    assert_eq!(edge.get(&format!("{PATH}?reason=weather")).await.0, 400);
    // By place, newest first.
    let (_, first) = edge.get(&format!("{PATH}?limit=2")).await;
    let (_, second) = edge.get(&format!("{PATH}?limit=2&after={}", first["next_after"].as_str().unwrap())).await;
    let ids =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!((ids(&first), ids(&second)), (vec!["3".into(), "2".into()], vec!["1".into()]));
    // Nobody else.
    edge.seed().await;
    let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(edge.send_as(&collector, "GET", PATH, Value::Null).await.0, 403);
    assert_eq!(edge.send_as(&collector, "POST", &format!("{PATH}/3/replay"), Value::Null).await.0, 403);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_repeated_replay_with_its_key_is_one() {
    let edge = with_letters(&["a"]).await;
    let ask = async || {
        let request = edge.request(&edge.admin, "POST", &format!("{PATH}/1/replay")).header("Idempotency-Key", "k1");
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let first = ask().await;
    assert_eq!((first.0, ask().await), (200, first));
    assert_eq!(number(&edge.database.pool, "select count(*) from events where event_type = 'dead_letter_replayed'").await, 1);
}

#[tokio::test]
async fn a_chain_of_causes_that_was_too_long_needs_a_limit_of_its_own() {
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    Rows { depth: Some(9), ..rows("deep", 1..=1) }.queue(pool).await;
    let player = Player::new(async |_: Delivery| Outcome::Delivered);
    let running = dispatch(pool, player.clone(), settings(), "w");
    until("a letter", async || number(pool, "select count(*) from dead_letters").await == 1).await;
    for body in [Value::Null, json!({"causation_depth_max": 8})] {
        let answer = replay(&edge, 1, body).await;
        assert_eq!((refused(&answer), &answer.1["causation_depth"]), ((409, "letter_too_deep"), &json!(9)));
    }
    assert_eq!(replay(&edge, 1, json!({"causation_depth_max": 9})).await.0, 200);
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(player.ids(), ["order/deep/1"]);
    assert_eq!(letter(&edge, 1).await["causation_depth"], 9, "as deep as ever");
}

/// Events of a task, with the rows that the rules ask for.
async fn of_task(pool: &Pool, names: &[&str]) {
    let device = DeviceId::parse("AB-F0001-T0001-000001").unwrap();
    let event = |(n, name): (i64, &&str)| {
        let path = format!("{}/tests/golden/events/{name}", env!("CARGO_MANIFEST_DIR"));
        let event: TaskEvent = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        NewEvent::new(StreamId::of::<Task>(17), Subject { id: "17", device: Some(&device) }, n, &event).unwrap()
    };
    let events: Vec<NewEvent> = (1..).zip(names).map(event).collect();
    EventStore::new(pool.clone(), Wakes::default()).begin().await.unwrap().commit(&events, &metadata(), &[]).await.unwrap();
}

#[tokio::test]
async fn a_replay_says_what_was_delivered_meanwhile() {
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    let names = [
        "recording_finished.v1.0.json",
        "upload_verified.v1.1.json",
        "upload_rejected.v1.0.json",
        "upload_ack_requested.v1.0.json",
        "upload_ack_requested.v1.0.json",
        "upload_reported.v1.0.json",
    ];
    of_task(pool, &names).await;
    let client = get(pool).await.unwrap();
    // The first and the fourth died, the second was delivered, the fifth waits; the sixth went elsewhere.
    client
        .batch_execute(
            "insert into dead_letters
                 (subscriber, event_seq, stream_key, destination, causation_depth, reason, attempts, failures, queued_at, blocks_stream)
             select o.subscriber, o.event_seq, o.stream_key, o.destination, 0, 'expired', 1, '[]', now(), false
             from outbox o join events e on e.seq = o.event_seq where e.sequence in (1, 4) order by e.seq;
             delete from outbox o using events e where e.seq = o.event_seq and e.sequence in (1, 2, 4, 6)",
        )
        .await
        .unwrap();
    let (status, answer) = replay(&edge, 1, Value::Null).await;
    assert_eq!((status, &answer["delivered_later"]), (200, &json!(["task/17/2"])), "{answer}");
    assert_eq!(answer["destination"], "transfer:AB-F0001-T0001-000001");
    let (_, answer) = replay(&edge, 2, Value::Null).await;
    assert_eq!(answer["delivered_later"], json!([]));
}

#[tokio::test]
async fn a_selection_holds_what_had_died_when_it_was_made() {
    let edge = with_letters(&["a", "b", "c"]).await;
    let pool = &edge.database.pool;
    let preview = format!("{PATH}/replay/preview");
    assert_eq!(refused(&edge.post(&preview, json!({})).await), (400, "letters_not_selected"));
    assert_eq!(refused(&edge.post(&preview, json!({"everything": false, "stream": " "})).await), (400, "letters_not_selected"));
    Rows { depth: Some(9), ..rows("deep", 1..=1) }.queue(pool).await;
    give_up(pool, DeadReason::CausationTooDeep, false).await;
    let (status, everything) = edge.post(&preview, json!({"everything": true})).await;
    assert_eq!((status, &everything["count"]), (200, &json!(4)), "{everything}");
    let of_one = &everything["subscribers"][0];
    assert_eq!((&of_one["subscriber"], &of_one["too_deep"], &of_one["deepest"]), (&json!("upload_verification"), &json!(1), &json!(9)));
    let (_, one) = edge.post(&preview, json!({"stream": "order/b"})).await;
    assert_eq!(one["count"], 1);

    // One more dies, and one of the selection is replayed and dies again: neither is taken.
    rows("late", 1..=1).queue(pool).await;
    give_up(pool, DeadReason::PermanentError, false).await;
    assert_eq!(replay(&edge, 1, Value::Null).await.0, 200);
    give_up(pool, DeadReason::PermanentError, false).await;
    let replay_all = async |selection: &Value, more: Value| {
        let mut body = json!({"selection": selection});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        edge.post(&format!("{PATH}/replay"), body).await
    };
    let (status, done) = replay_all(&everything["selection"], json!({"per_second": 1})).await;
    assert_eq!((status, done), (200, json!({"replayed": 2, "delivered_later": 0, "too_deep": 1, "left": 0})));
    let due = "select string_agg(stream_key || ' ' || round(extract(epoch from due_at - clock_timestamp()) + 0.4)::text, ', ' order by stream_key) from outbox";
    let due: String = get(pool).await.unwrap().query_one(due, &[]).await.unwrap().get(0);
    assert_eq!(due, "order/b 0, order/c 1", "one in each second");
    let (_, done) = replay_all(&everything["selection"], json!({"causation_depth_max": 9})).await;
    assert_eq!(done, json!({"replayed": 1, "delivered_later": 0, "too_deep": 0, "left": 0}));
    let (_, done) = replay_all(&one["selection"], Value::Null).await;
    assert_eq!(done["replayed"], 0, "it was taken");
    assert_eq!(number(pool, "select count(*) from dead_letters where resolved_at is null").await, 2);
    assert_eq!(refused(&replay_all(&json!("AAAA"), Value::Null).await), (400, "letters_not_selected"));
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_request_takes_a_thousand_letters_and_says_how_many_are_left() {
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    rows("many", 1..=1203).queue(pool).await;
    give_up_at_once(pool).await;
    let (_, all) = edge.post(&format!("{PATH}/replay/preview"), json!({"subscriber": "upload_verification"})).await;
    assert_eq!(all["count"], 1203);
    let body = json!({"selection": all["selection"]});
    let mut taken = vec![];
    let started = std::time::Instant::now();
    for _ in 0..3 {
        let (status, done) = edge.post(&format!("{PATH}/replay"), body.clone()).await;
        println!("{done} in {:?}", started.elapsed());
        assert_eq!(status, 200, "{done}");
        taken.push((done["replayed"].as_i64().unwrap(), done["left"].as_i64().unwrap()));
    }
    assert_eq!(taken, [(1000, 203), (203, 0), (0, 0)]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}: letters are found among all of their subscriber", started.elapsed());
    assert_eq!(waiting(pool).await, 1203);
}

async fn give_up_at_once(pool: &Pool) {
    let dead = || Settlement::Dead { reason: DeadReason::AttemptsUsedUp, error: "no answer".into(), blocks_stream: false };
    let done: Vec<_> = take(pool, 60_000, 100_000).await.iter().map(|row| (row.outbox_id, row.epoch, dead())).collect();
    let client = get(pool).await.unwrap();
    assert_eq!(keystone_edge::outbox::settle(&client, &done).await.unwrap(), done.len() as u64);
}

#[tokio::test]
async fn resolved_letters_go_after_a_while_and_unresolved_ones_stay() {
    let edge = with_letters(&["a", "b", "c", "d"]).await;
    let pool = &edge.database.pool;
    assert_eq!(resolve(&edge, 1).await.0, 200);
    assert_eq!((replay(&edge, 2, Value::Null).await.0, replay(&edge, 3, Value::Null).await.0), (200, 200));
    // The second is delivered, the third under way, the fourth unresolved.
    let client = get(pool).await.unwrap();
    client.batch_execute("delete from outbox where stream_key = 'order/b'").await.unwrap();
    let sweep = async |age: &str| {
        client
            .batch_execute(&format!(
                "update dead_letters set resolved_at = clock_timestamp() - interval '{age}' where resolved_at is not null"
            ))
            .await
            .unwrap();
        let resolved_before = chrono::Utc::now() - chrono::TimeDelta::days(30);
        assert!(!edge.execute(SweepLetters { resolved_before }).await);
        number(pool, "select count(*) from dead_letters").await
    };
    assert_eq!(sweep("29 days").await, 4);
    assert_eq!(sweep("31 days").await, 2);
    assert_eq!(edge.get(&format!("{PATH}/1")).await.0, 404);
    let swept = "select string_agg(aggregate_id || ' ' || (metadata ->> 'actor'), ', ' order by aggregate_id) from events where event_type = 'dead_letter_swept'";
    let swept: String = client.query_one(swept, &[]).await.unwrap().get(0);
    assert_eq!(swept, "1 system, 2 system");
    assert_eq!(letter(&edge, 3).await["in_flight"], true);
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn pages_and_counts_come_from_indexes() {
    let database = TestDatabase::new().await;
    let client = get(&database.pool).await.unwrap();
    let fill = [
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select 'order', (n % 5000)::text, 1 + n / 5000, 'order_started', '1.0', '{\"order_started\": {}}', '{}' from generate_series(0, 49999) n",
        "insert into dead_letters
             (subscriber, event_seq, stream_key, destination, causation_depth, reason, attempts, failures, queued_at, died_at, blocks_stream, resolved_at)
         select (array['device_commands', 'upload_verification'])[1 + seq % 2], seq, aggregate_type || '/' || aggregate_id, 'recorder:' || seq % 300, 0,
                (array['expired', 'permanent_error'])[1 + seq % 2], 3, '[{\"error\": \"no\"}]', now(), now() - seq * interval '1 second', false,
                case when seq % 100 > 0 then now() end
         from events",
        "vacuum analyze events, dead_letters, dead_letter_acts",
    ];
    for statement in fill {
        client.batch_execute(statement).await.unwrap();
    }
    let statement = |name: &str| statements().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1;
    let page = statement("dead letters");
    let parameters = parameter_types(&page).len();
    let filters = [
        None,
        Some((1, json!("device_commands"))),
        Some((2, json!("recorder:7"))),
        Some((3, json!("order_started"))),
        Some((4, json!("order/17"))),
        Some((5, json!("an hour ago"))),
        Some((6, json!("an hour ago"))),
        Some((7, json!("expired"))),
        Some((8, json!("unresolved"))),
    ];
    for filter in filters {
        let mut values = vec![Value::Null; parameters];
        (values[parameters - 2], values[parameters - 1]) = (json!(51), json!(0));
        if let Some((parameter, value)) = &filter {
            values[parameter - 1] = value.clone();
        }
        let started = std::time::Instant::now();
        let found = rows_of(&client, &page, &values).await.len();
        println!("letters by {filter:?}: {found} rows in {:?}", started.elapsed());
        let plan = rows_of(&client, &format!("explain {page}"), &values).await;
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let scans = plan.iter().filter(|line| line.contains("Seq Scan") && !line.contains("dead_letter_acts")).count();
        assert_eq!(scans, 0, "by {filter:?}: {plan:#?}");
        assert!(
            found > 0 && !plan.iter().any(|line| line.contains("Sort Key: d.died_at") && filter.as_ref().is_none_or(|(n, _)| *n == 1)),
            "{plan:#?}"
        );
    }
    let counts = statement("unresolved dead letters");
    let plan = rows_of(&client, &format!("explain {counts}"), &[]).await;
    let plan = plan.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n");
    // Either index holds unresolved letters only; which one is cheaper depends on what vacuum has seen.
    let scans = async || {
        client.execute("select pg_stat_force_next_flush()", &[]).await.unwrap();
        let sql =
            "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname in ('outbox', 'events', 'dead_letters')";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let before = scans().await;
    client.batch_execute("set plan_cache_mode = force_generic_plan; begin").await.unwrap();
    client.query(keystone_edge::pg::plans::PLANS, &[]).await.unwrap();
    let filter = LetterFilter { resolution: Some(Resolution::Unresolved), ..LetterFilter::default() };
    let (values, at, no_limit) = (Values::of(&filter), chrono::Utc::now(), None::<i32>);
    let selected: Vec<&(dyn ToSql + Sync)> = values.parameters().into_iter().chain([&at as _]).collect();
    let limited: Vec<&(dyn ToSql + Sync)> = selected.iter().copied().chain([&no_limit as _]).collect();
    let most: Vec<&(dyn ToSql + Sync)> = limited.iter().copied().chain([&1000_i64 as _]).collect();
    assert_eq!(client.query(letters::SELECTED_COUNTS, &limited).await.unwrap().len(), 1);
    let ids: Vec<i64> = client.query(letters::SELECTED, &most).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!((ids.len(), client.query(letters::SELECTED_IDS, &selected).await.unwrap().len()), (500, 500));
    assert!(client.query(letters::LATER, &[&ids, &10_i64]).await.unwrap().len() > 500);
    assert_eq!(client.query(letters::SOME, &[&ids]).await.unwrap().len(), 500);
    assert_eq!(client.query(letters::ONE, &[&ids[0]]).await.unwrap().len(), 1);
    assert_eq!(client.query(letters::OLD, &[&at, &500_i64]).await.unwrap().len(), 500);
    client.execute(letters::REPLAY, &[&ids, &vec![0.0_f64; ids.len()], &no_limit]).await.unwrap();
    client.batch_execute("commit; reset plan_cache_mode").await.unwrap();
    assert_eq!(scans().await - before, 0, "rows read by scanning a table");
    assert!(plan.contains("using dead_letters_open") || plan.contains("using dead_letters_unresolved"), "{plan}");
}

#[tokio::test]
async fn the_command_line_does_the_same() {
    let edge = with_letters(&["a", "b", "c", "d"]).await;
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = vec![("KEYSTONE_DATABASE_URL", edge.database.url.expose().to_owned())];
    let tool = async |arguments: &str| server.tool(&[&["dead-letters"], &arguments.split(' ').collect::<Vec<_>>()[..]].concat()).await;
    let (code, said) = tool("list --stream order/b").await;
    assert!(
        code == 0
            && said.contains("order/b/1 order_started  permanent_error after 1 attempts  unresolved")
            && said.contains("1 of 1 letters"),
        "{said}"
    );
    let (_, json) = tool("list --limit 1 --json").await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), edge.get(&format!("{PATH}?limit=1")).await.1["items"][0]);
    let (_, shown) = tool("show 2").await;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), letter(&edge, 2).await);
    let (_, counts) = tool("counts --json").await;
    assert_eq!(serde_json::from_str::<Value>(&counts).unwrap(), edge.get(&format!("{PATH}/counts")).await.1);
    let (code, said) = tool("counts").await;
    assert!(code == 0 && said.contains("4  unresolved"), "{said}");

    let (code, said) = tool("replay 1").await;
    assert!(code == 0 && said.contains("order/a/1 goes to upload_verification again."), "{said}");
    let (code, said) = tool("replay 1").await;
    assert!(code == 1 && said.contains("its delivery is under way"), "{said}");
    assert_eq!(letter(&edge, 1).await["acts"][0]["actor"], "command_line");
    let (code, said) = tool("resolve 2 --reason gone").await;
    assert!(code == 0 && said.contains("Letter 2 is resolved."), "{said}");
    assert_ne!(tool("replay").await.0, 0, "what?");
    assert_ne!(tool("replay 3 --everything").await.0, 0, "which?");
    let (code, said) = tool("replay --subscriber upload_verification").await;
    assert!(code == 0 && said.contains("upload_verification: 2 letters"), "{said}");
    let command = said.lines().find_map(|line| line.split_once("keystone dead-letters ")).expect("a command").1.to_owned();
    let (code, said) = tool(&command).await;
    assert!(code == 0 && said.contains("2 replayed, 0 left"), "{said}");
    let (_, said) = tool("replay --everything").await;
    assert!(said.contains("No unresolved letter is like this."), "{said}");
    let (code, said) = tool("show 99").await;
    assert!(code == 1 && said.contains("there is no dead letter 99"), "{said}");
}

/// Deliveries die at random while people replay one letter and all of them: nothing is lost, done twice, or stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_letter_is_lost_however_many_die_and_are_replayed_at_once() {
    const STREAMS: i64 = 40;
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    for n in 0..STREAMS {
        rows(&n.to_string(), 1..=3).queue(pool).await;
    }
    let repaired = Arc::new(AtomicBool::new(false));
    let arrived = Arc::new(Mutex::new(BTreeSet::new()));
    let player = Player::new({
        let (repaired, arrived) = (repaired.clone(), arrived.clone());
        move |delivery: Delivery| {
            let dies = !repaired.load(Ordering::SeqCst) && rand::random_bool(0.6);
            if !dies {
                arrived.lock().unwrap().insert(delivery.event.event_id());
            }
            async move { if dies { Outcome::Permanent { error: "broken".into() } } else { Outcome::Delivered } }
        }
    });
    let in_order = DeliverySettings { per_stream: true, ..settings() };
    let running: Vec<_> = (0..2).map(|n| dispatch(pool, player.clone(), in_order, &format!("w{n}"))).collect();
    let replay_all = async || {
        let (status, selected) = edge.post(&format!("{PATH}/replay/preview"), json!({"everything": true})).await;
        assert_eq!(status, 200, "{selected}");
        let body = json!({"selection": selected["selection"], "per_second": 1000});
        let (status, done) = edge.post(&format!("{PATH}/replay"), body).await;
        assert_eq!(status, 200, "{done}");
    };
    let until_then = std::time::Instant::now() + Duration::from_millis(1200);
    let one_by_one = async || {
        while std::time::Instant::now() < until_then {
            let answer = replay(&edge, rand::random_range(1..=3 * STREAMS), Value::Null).await;
            assert!([200, 404, 409].contains(&answer.0), "{answer:?}");
        }
    };
    let all_at_once = async || {
        while std::time::Instant::now() < until_then {
            replay_all().await;
        }
    };
    tokio::join!(one_by_one(), one_by_one(), all_at_once(), all_at_once());
    repaired.store(true, Ordering::SeqCst);
    until("an end", async || {
        replay_all().await;
        waiting(pool).await == 0 && number(pool, "select count(*) from dead_letters where resolved_at is null").await == 0
    })
    .await;
    for running in running {
        running.stop().await;
    }
    assert_eq!(arrived.lock().unwrap().len() as i64, 3 * STREAMS, "every event arrived");
    assert_eq!(number(pool, "select count(*) - count(distinct event_seq) from dead_letters").await, 0, "one letter for each");
    let replays = number(pool, "select coalesce(sum(replays), 0)::bigint from dead_letter_acts").await;
    assert_eq!(number(pool, "select count(*) from events where event_type = 'dead_letter_replayed'").await, replays);
    assert_eq!(number(pool, "select sum(attempts)::bigint - sum(jsonb_array_length(failures))::bigint from dead_letters").await, 0);
    println!("{replays} replays");
    assert!(replays > STREAMS, "{replays}");
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}
