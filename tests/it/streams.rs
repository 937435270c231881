//! Live streams: nothing is left out and nothing told twice, whatever is cut; the same as a search finds; and as many as there may be.

use std::time::Duration;

use keystone_edge::commands::batches::CancelBatch;
use keystone_edge::commands::tasks::DeleteTask;
use keystone_edge::commands::{Commands, Context};
use keystone_edge::eventstore::{EventStore, search};
use keystone_edge::http::{EdgeSettings, StreamLimits};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::factory::{Factory, lead};
use crate::harness::edge::TestEdge;
use crate::harness::sse::Sse;
use crate::harness::{PrivatePostgres, TestDatabase, postgres_options, until};

const STREAM: &str = "/api/v1/events/stream";

/// An edge whose events get their positions.
async fn edge() -> TestEdge {
    leading(TestEdge::start().await).await
}

async fn edge_with(change: impl FnOnce(&mut EdgeSettings)) -> TestEdge {
    leading(TestEdge::start_with(change).await).await
}

/// Gives positions until the test ends, on a new connection where one is lost.
async fn leading(edge: TestEdge) -> TestEdge {
    let (connector, wakes, head) = (edge.database.connector.clone(), edge.wakes.clone(), edge.head.clone());
    tokio::spawn(async move {
        loop {
            let stop = tokio_util::sync::CancellationToken::new();
            if connector.connect().await.is_ok() {
                let _ = lead(&connector).await.run(wakes.log(), Duration::from_millis(50), head.clone(), stop).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    edge
}

async fn open(edge: &TestEdge, query: &str, last: Option<&str>) -> Sse {
    let mut request = edge.request(&edge.admin, "GET", &format!("{STREAM}?{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Sse::open(request).await
}

/// A command with one event.
async fn one_event(commands: &Commands, name: &str) {
    let factory =
        keystone_edge::commands::registry::CreateFactory { name: name.to_owned(), location: None, timezone: None, settings: None };
    commands.execute(&Context::system(), factory).await.expect("a factory");
}

async fn number(edge: &TestEdge, sql: &str) -> i64 {
    edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

async fn head(edge: &TestEdge) -> i64 {
    number(edge, "select coalesce(max(position), 0) from log").await
}

async fn placed(edge: &TestEdge) {
    until("every event to have its position", async || number(edge, "select count(*) from events").await == head(edge).await).await;
}

/// Everything that a search finds, oldest first.
async fn found(edge: &TestEdge, query: &str) -> Vec<Value> {
    let (status, page) = edge.get(&format!("/api/v1/events?{query}&order=asc&limit=200")).await;
    assert!(status == 200 && page["next_after"].is_null(), "{query}: {page}");
    page["items"].as_array().unwrap().clone()
}

/// The next events, and that no other comes behind them at once.
async fn exactly(stream: &mut Sse, count: usize) -> Vec<Value> {
    let mut told = vec![];
    while told.len() < count {
        let event = stream.told().await.expect("an event");
        let data = event.json();
        assert_eq!((data["position"].as_i64(), event.name.as_str()), (Some(event.position()), "message"));
        told.push(data);
    }
    let more = tokio::time::timeout(Duration::from_millis(100), stream.told()).await;
    assert!(more.is_err(), "too much: {more:?}");
    told
}

#[tokio::test]
async fn a_stream_tells_what_a_search_finds_whatever_is_noted_already() {
    let edge = edge().await;
    let factory = Factory::on(EventStore::new(edge.database.pool.clone(), edge.wakes.clone()), 2).await;
    let order = factory.order("Cups", 9).await;
    let live = ["category=task", "type=batch_*,task_deleted", "content=batch_id:1", "actor=system&category=batch", ""];
    placed(&edge).await;
    let before = head(&edge).await;
    let mut streams = vec![];
    for query in live {
        streams.push((query, open(&edge, query, None).await));
    }
    let (first, second) = (factory.batch(order, 0, 3).await, factory.batch(order, 1, 2).await);
    let task = &second.tasks[0];
    let context = Context::system();
    factory.commands.execute(&context, DeleteTask(task.id)).await.unwrap();
    factory.commands.execute(&context, CancelBatch(first.batch_id)).await.unwrap();
    placed(&edge).await;
    while search::note(&edge.database.pool).await.unwrap() != Some(0) {}
    for (query, mut stream) in streams {
        let expected = found(&edge, &format!("{query}&from_position={}", before + 1)).await;
        assert!(expected.len() > 1, "{query}");
        assert_eq!(exactly(&mut stream, expected.len()).await, expected, "{query}, as it happens");
    }

    let all = found(&edge, "").await;
    let at = all[all.len() / 2]["recorded_at"].as_str().unwrap();
    let queries = [
        "from_position=1".to_owned(),
        "from_position=0&category=task,batch".into(),
        format!("from_position=1&stream=task/{}", task.id.0),
        format!("from_position=1&about=task/{}", task.id.0),
        format!("from_position=1&about=batch/{}", first.batch_id.0),
        format!("from_position=7&type=task_*&content=order_id:{order}"),
        format!("since={at}"),
        format!("since={at}&from_position={}&category=task", all.len() / 2 + 3),
        "since=1970-01-01T00:00:00Z&type=task_*,order_placed".into(),
        "since=2500-01-01T00:00:00Z".into(),
        format!("correlation_id={}", context.correlation_id) + "&from_position=1",
    ];
    // Also where nothing is noted yet, and where some is.
    let expected: Vec<Vec<Value>> = {
        let mut expected = vec![];
        for query in &queries {
            expected.push(found(&edge, query).await);
        }
        expected
    };
    for noted_to in [all.len() as i64, 15, all.len() as i64 / 2, 0] {
        let client = edge.database.pool.get().await.unwrap();
        for table in ["log_terms", "log_index"] {
            client.execute(&format!("delete from {table} where position > $1"), &[&noted_to]).await.unwrap();
        }
        let told = queries.iter().zip(&expected).map(async |(query, expected)| {
            let mut stream = open(&edge, query, None).await;
            assert_eq!(exactly(&mut stream, expected.len()).await, *expected, "{query}, noted to {noted_to}");
            if let [.., last, _] = expected.as_slice() {
                let mut rest = open(&edge, query, Some(&last["position"].to_string())).await;
                assert_eq!(exactly(&mut rest, 1).await, expected[expected.len() - 1..], "{query} from {}", last["position"]);
            }
        });
        futures_util::future::join_all(told).await;
    }
}

#[tokio::test]
async fn a_stream_that_cannot_begin_or_would_end_says_why() {
    let edge = edge().await;
    one_event(&edge.commands, "A").await;
    placed(&edge).await;
    for (query, field) in [
        ("to_position=9", "to_position"),
        ("until=2500-01-01T00:00:00Z", "until"),
        ("order=desc", "order"),
        ("after=1", "after"),
        ("limit=1", "limit"),
        ("about=task/999", "about"),
        ("category=tasks", "category"),
        ("from_position=-1", "from_position"),
        ("since=yesterday", "since"),
    ] {
        let (status, refused) = edge.get(&format!("{STREAM}?{query}")).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)), "{query}: {refused}");
    }
    for last in ["9", "-1", "first", "99999999999999999999"] {
        let refused = edge.request(&edge.admin, "GET", STREAM).header("last-event-id", last).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{last}");
        assert_eq!(refused.json::<Value>().await.unwrap()["field"], "Last-Event-ID");
    }
    // A place that is not there yet is waited for.
    let mut later = open(&edge, "from_position=3", Some("")).await;
    for name in ["B", "C"] {
        one_event(&edge.commands, name).await;
    }
    assert_eq!(exactly(&mut later, 1).await[0]["data"]["name"], "C");
}

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Follows a stream up to the last of these positions, cut after random numbers of events; answers the positions it was told.
async fn follow_with_cuts(edges: &[&TestEdge], query: &str, last: i64, cuts: u64, mut dice: Dice) -> Vec<i64> {
    let (mut told, mut id, mut cut) = (vec![], None, 0);
    loop {
        let edge = edges[usize::try_from(dice.below(edges.len() as u64)).unwrap()];
        let query = if id.is_none() { format!("{query}&from_position=1") } else { query.to_owned() };
        let mut stream = open(edge, &query, id.as_deref()).await;
        let mut left = if cut < cuts { dice.below(40) } else { u64::MAX };
        while left > 0 {
            left -= 1;
            let event = stream.told().await.expect("an event");
            told.push(event.position());
            if event.position() >= last {
                assert!(tokio::time::timeout(Duration::from_millis(50), stream.told()).await.is_err());
                return told;
            }
        }
        cut += 1;
        id = told.last().map(ToString::to_string);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_and_nothing_told_twice_while_connections_are_cut_and_processes_changed() {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    // The second process leads nothing: it hears of commits at most, and here not even that.
    let edge = edge().await;
    let other = TestEdge::start_on(TestDatabase::of(edge.database.url.clone(), edge.database.superuser_url.clone()), |_| {}).await;
    let total = i64::try_from(WRITERS * EACH).unwrap();
    let wanted = number(&edge, "select count(*) from events").await + total;
    let writing = async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let commands = edge.commands.clone();
            writers.spawn(async move {
                for n in 0..EACH {
                    one_event(&commands, &format!("{writer} {n}")).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            });
        }
        writers.join_all().await;
    };
    // Meanwhile what they are found by is noted, so that some of what was missed is searched for and some is not.
    tokio::spawn(search::follow(edge.database.pool.clone(), edge.head.subscribe(), edge.stop.clone()));
    let readers = (0..10).map(async |n| {
        let query = if n % 2 == 0 { "" } else { "category=factory" };
        follow_with_cuts(&[&edge, &other], query, wanted, 10, Dice(n)).await
    });
    let ((), told) = tokio::join!(writing, futures_util::future::join_all(readers));
    let expected: Vec<i64> = (1..=wanted).collect();
    for positions in told {
        assert_eq!(positions, expected);
    }
}

/// Many large events at once, as no command makes them.
const LARGE: &str = "
insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
select 'factory', (1000 + n)::text, 1, 'factory_created', '1.0', jsonb_build_object('factory_created', jsonb_build_object('name', repeat('x', 5000))), '{}'
from generate_series(1, 5000) n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_too_slow_reads_on_from_the_log() {
    let edge = edge().await;
    one_event(&edge.commands, "A").await;
    placed(&edge).await;
    let before = head(&edge).await;
    let mut slow = open(&edge, "", None).await;
    let mut quick = open(&edge, "", None).await;
    let client = edge.database.pool.get().await.unwrap();
    // More than buffers between the two take, and more events than are kept.
    client.execute(LARGE, &[]).await.unwrap();
    for n in 1..=5000 {
        assert_eq!(quick.told().await.expect("an event").position(), before + n);
    }
    for n in 1..=5000 {
        assert_eq!(slow.told().await.expect("an event").position(), before + n);
    }
    // One that begins far back is told the same from pages of a search.
    while search::note(&edge.database.pool).await.unwrap() != Some(0) {}
    let mut late = open(&edge, &format!("category=factory&from_position={before}"), None).await;
    for n in 0..200 {
        assert_eq!(late.told().await.expect("an event").position(), before + n);
    }
    one_event(&edge.commands, "B").await;
    assert_eq!((exactly(&mut slow, 1).await, exactly(&mut quick, 1).await.len()).1, 1);
}

#[tokio::test]
async fn a_stream_stays_open_while_postgres_is_restarted_and_goes_on() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    private.connector().migrate().await.unwrap();
    let database = TestDatabase::of(private.url().clone(), private.url().clone());
    let edge = leading(TestEdge::start_on(database, |_| {}).await).await;
    one_event(&edge.commands, "A").await;
    placed(&edge).await;
    let mut stream = open(&edge, "from_position=1&category=factory", None).await;
    assert_eq!(exactly(&mut stream, 1).await[0]["data"]["name"], "A");
    private.stop().await;
    private.start_again().await;
    until("the database to take something", async || {
        let factory = keystone_edge::commands::registry::CreateFactory { name: "B".into(), location: None, timezone: None, settings: None };
        edge.commands.execute(&Context::system(), factory).await.is_ok()
    })
    .await;
    one_event(&edge.commands, "C").await;
    let told = exactly(&mut stream, 2).await;
    assert_eq!((&told[0]["data"]["name"], &told[1]["data"]["name"]), (&json!("B"), &json!("C")));
    edge.stop.cancel();
    assert!(stream.told().await.is_none(), "an orderly stop ends it");
    private.stop().await;
}

#[tokio::test]
async fn there_are_so_many_seats_in_all_and_for_each_and_those_that_are_left_are_free() {
    let edge = edge_with(|settings| settings.streams = StreamLimits::new(3, 2)).await;
    let (first, _second) = (open(&edge, "", None).await, open(&edge, "", None).await);
    let refused = edge.request(&edge.admin, "GET", STREAM).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_streams");
    drop(first);
    until("the seat to be free", async || edge.request(&edge.admin, "GET", STREAM).send().await.unwrap().status() == 200).await;
}

#[tokio::test]
async fn a_stream_has_a_heartbeat_and_ends_with_the_login_that_opened_it() {
    let edge = edge_with(|settings| {
        settings.jwt_lifetime = Duration::from_secs(2);
        settings.streams.heartbeat = Duration::from_millis(100);
    })
    .await;
    let mut stream = open(&edge, "", None).await;
    one_event(&edge.commands, "A").await;
    assert_eq!(exactly(&mut stream, 1).await.len(), 1);
    assert!(stream.told().await.is_none(), "the login has expired");
    assert!(stream.comments >= 3, "{}", stream.comments);
    assert_eq!(edge.request(&edge.admin, "GET", STREAM).send().await.unwrap().status(), 401);
}
