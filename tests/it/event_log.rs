//! The event log over HTTP: what each filter finds, beside all events looked through one by one; causes and effects;
//! exports; and what is noted behind the sequencer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keystone_edge::commands::batches::CancelBatch;
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::tasks::DeleteTask;
use keystone_edge::commands::{Command, Commands, Context};
use keystone_edge::domain::device::LinkKind;
use keystone_edge::domain::{Actor, BatchId, DeviceId, TaskId};
use keystone_edge::eventstore::{Cause, EventStore, search};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::plans::{Answered, Planned, pinned};
use keystone_edge::projections::reads::events::Direction;
use keystone_edge::projections::reads::log_search::Search;
use keystone_edge::projections::reads::{Reads, parameter_types};
use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio_postgres::types::ToSql;

use crate::factory::{Factory, lead};
use crate::harness::edge::TestEdge;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder, until};

/// Gives every event its position and notes what it is found by, in small steps and large ones.
pub async fn note_all(database: &TestDatabase) {
    let mut leader = lead(&database.connector).await;
    while leader.step().await.unwrap() > 0 {}
    while search::note(&database.pool).await.unwrap() != Some(0) {}
}

async fn as_actor<C: Command>(commands: &Commands, actor: Actor, cause: Option<Cause>, command: C) -> (Context, C::Answer) {
    let context = Context { actor, cause, ..Context::system() };
    let answer = commands.execute(&context, command).await.unwrap();
    (context, answer)
}

/// A batch that is cancelled, one with a task that is deleted, all by several people; noted.
pub struct Floor {
    pub edge: TestEdge,
    pub deleted: (TaskId, String),
    pub batch: BatchId,
    cancelling: Context,
}

impl Floor {
    pub async fn new() -> Self {
        let edge = TestEdge::start().await;
        let factory = Factory::new(&edge.database.pool, 2).await;
        let order = factory.order("Cups", 9).await;
        let (first, second) = (factory.batch(order, 0, 3).await, factory.batch(order, 1, 2).await);
        let task = &second.tasks[0];
        as_actor(&factory.commands, Actor::Admin, None, DeleteTask(task.id)).await;
        let cause = Cause { event_id: format!("batch/{}/1", first.batch_id), depth: 0 };
        let (cancelling, _) = as_actor(&factory.commands, Actor::Admin, Some(cause), CancelBatch(first.batch_id)).await;
        let device = DeviceId::parse("AB-F0001-T0003-000000").unwrap();
        let opened = keystone_edge::commands::devices::OpenLink {
            device: device.clone(),
            kind: keystone_edge::domain::device::LinkKind::Recorder,
            remote: "10.0.0.1:4711".into(),
            process: None,
        };
        as_actor(&factory.commands, Actor::Device(device), None, opened).await;
        note_all(&edge.database).await;
        Self { deleted: (task.id, task.public_id.to_string()), batch: first.batch_id, cancelling, edge }
    }

    /// Every event, with its position, in order.
    async fn all(&self) -> Vec<Value> {
        let sql = "select jsonb_build_object('position', l.position, 'category', e.aggregate_type, 'stream', e.aggregate_type || '/' || e.aggregate_id,
                       'type', e.event_type, 'metadata', e.metadata, 'payload', e.payload, 'recorded_at', e.recorded_at)
                   from log l join events e on e.seq = l.seq order by l.position";
        self.edge.database.pool.get().await.unwrap().query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Positions that a search finds, page by page.
    async fn found(&self, query: &str, limit: usize) -> Vec<i64> {
        let (mut positions, mut after) = (vec![], String::new());
        loop {
            let (status, page) = self.edge.get(&format!("/api/v1/events?{query}&limit={limit}{after}")).await;
            assert_eq!(status, 200, "{query}: {page}");
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            positions.extend(items.iter().map(|item| item["position"].as_i64().unwrap()));
            let Some(next) = page["next_after"].as_i64() else { return positions };
            assert_eq!(items.len(), limit, "{query}: a page that others follow is full");
            after = format!("&after={next}");
        }
    }
}

/// Whether a value stands under a key, at whatever depth.
fn names(inside: &Value, key: &str, value: &str) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match inside {
        Value::Object(fields) => fields.iter().any(|(name, inside)| (name == key && text(inside) == value) || names(inside, key, value)),
        Value::Array(items) => items.iter().any(|item| names(item, key, value)),
        _ => false,
    }
}

#[tokio::test]
async fn every_filter_finds_what_looking_through_all_events_finds() {
    let floor = Floor::new().await;
    let all = floor.all().await;
    assert!(all.len() > 25, "{}", all.len());
    let (deleted, public) = (floor.deleted.0.0, floor.deleted.1.as_str());
    let (batch, correlation) = (floor.batch.0, floor.cancelling.correlation_id.to_string());
    let said = |event: &Value, key: &str| event["metadata"][key].as_str().unwrap_or_default().to_owned();
    let middle = all[all.len() / 2]["recorded_at"].as_str().unwrap().to_owned();
    let instant = |event: &Value| event["recorded_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let at: chrono::DateTime<chrono::Utc> = middle.parse().unwrap();
    let at_text = at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();

    type Matches<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let searches: Vec<(String, Matches<'_>)> = vec![
        (String::new(), Box::new(|_| true)),
        ("category=task".into(), Box::new(|e| e["category"] == "task")),
        ("category=task,batch".into(), Box::new(|e| e["category"] == "task" || e["category"] == "batch")),
        ("type=task_created".into(), Box::new(|e| e["type"] == "task_created")),
        (
            "type=batch_*,task_deleted".into(),
            Box::new(|e| e["type"].as_str().unwrap().starts_with("batch_") || e["type"] == "task_deleted"),
        ),
        (format!("stream=task/{deleted}"), Box::new(move |e| e["stream"] == format!("task/{deleted}"))),
        ("actor=user:admin".into(), Box::new(|e| said(e, "actor") == "user:admin")),
        ("actor=device:AB-F0001-T0003-000000".into(), Box::new(|e| said(e, "actor").starts_with("device:"))),
        (format!("correlation_id={correlation}"), Box::new(|e| said(e, "correlation_id") == correlation)),
        (format!("correlation_id={}", correlation.to_uppercase()), Box::new(|e| said(e, "correlation_id") == correlation)),
        (format!("content=batch_id:{batch}"), Box::new(move |e| names(&e["payload"], "batch_id", &batch.to_string()))),
        (
            format!("content=batch_id:{batch}&content=sop_id:1"),
            Box::new(move |e| names(&e["payload"], "batch_id", &batch.to_string()) && names(&e["payload"], "sop_id", "1")),
        ),
        (
            format!("about=task/{deleted}"),
            Box::new(move |e| {
                e["stream"] == format!("task/{deleted}")
                    || names(&e["payload"], "task_id", &deleted.to_string())
                    || names(&e["payload"], "task_id", public)
            }),
        ),
        (
            format!("about=task/{public}"),
            Box::new(move |e| {
                e["stream"] == format!("task/{deleted}")
                    || names(&e["payload"], "task_id", &deleted.to_string())
                    || names(&e["payload"], "task_id", public)
            }),
        ),
        ("about=task/999".into(), Box::new(|_| false)),
        ("stream=task/999".into(), Box::new(|_| false)),
        ("from_position=5&to_position=20".into(), Box::new(|e| (5..=20).contains(&e["position"].as_i64().unwrap()))),
        ("from_position=9223372036854775807".into(), Box::new(|_| false)),
        ("to_position=9223372036854775807".into(), Box::new(|_| true)),
        ("to_position=0".into(), Box::new(|_| false)),
        (format!("since={at_text}"), Box::new(move |e| instant(e) >= at)),
        (format!("until={at_text}"), Box::new(move |e| instant(e) < at)),
        (format!("since={at_text}&until={at_text}"), Box::new(|_| false)),
        ("since=1970-01-01T00:00:00Z&until=2500-01-01T00:00:00Z".into(), Box::new(|_| true)),
        (
            format!("category=task&type=task_*&actor=system&content=order_id:1&from_position=3&since={at_text}"),
            Box::new(move |e| {
                e["category"] == "task" && said(e, "actor") == "system" && names(&e["payload"], "order_id", "1") && instant(e) >= at
            }),
        ),
    ];
    for (query, matches) in searches {
        let mut expected: Vec<i64> = all.iter().filter(|event| matches(event)).map(|event| event["position"].as_i64().unwrap()).collect();
        for limit in [1, 7, 200] {
            assert_eq!(floor.found(&format!("{query}&order=asc"), limit).await, expected, "{query} forward by {limit}");
        }
        expected.reverse();
        for limit in [3, 200] {
            assert_eq!(floor.found(&query, limit).await, expected, "{query} backward by {limit}");
        }
    }
}

#[tokio::test]
async fn a_search_that_cannot_be_is_refused_by_the_name_of_its_field() {
    let edge = TestEdge::start().await;
    let long = "x".repeat(300);
    for (query, field) in [
        ("category=tasks".to_owned(), "category"),
        ("category=task,".to_owned() + &long, "category"),
        ("stream=task".into(), "stream"),
        ("stream=17".into(), "stream"),
        (format!("stream=task/{long}"), "stream"),
        ("about=nothing/1".into(), "about"),
        ("type=exploded".into(), "type"),
        (format!("actor={long}"), "actor"),
        ("correlation_id=1".into(), "correlation_id"),
        ("content=17".into(), "content"),
        ("content=name:Cups".into(), "content"),
        (format!("content=task_id:{long}"), "content"),
        ("content=id:1&content=id:2&content=id:3&content=id:4&content=id:5".into(), "content"),
        ("from_position=-1".into(), "from_position"),
        ("to_position=many".into(), "to_position"),
        ("after=9223372036854775808".into(), "after"),
        ("since=yesterday".into(), "since"),
        ("from_position=7&to_position=6".into(), "from_position"),
        ("since=2026-11-27T00:00:01Z&until=2026-11-27T00:00:00Z".into(), "since"),
        ("until=2026-13-01T00:00:00Z".into(), "until"),
        ("order=up".into(), "order"),
        ("limit=0".into(), "limit"),
        ("limit=-1".into(), "limit"),
    ] {
        let (status, answer) = edge.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!((status, &answer["field"]), (400, &json!(field)), "{query}: {answer}");
        if !["order", "limit", "after"].contains(&field) {
            let (status, answer) = edge.get(&format!("/api/v1/events/export?{query}")).await;
            assert_eq!((status, &answer["field"]), (400, &json!(field)), "export, {query}: {answer}");
        }
    }
    assert_eq!(edge.get("/api/v1/events/export?format=xml").await.1["field"], "format");
    for position in ["0", "1", "-1", "9223372036854775807"] {
        assert_eq!(edge.get(&format!("/api/v1/events/{position}")).await.0, 404, "{position}");
    }
    assert_eq!(edge.get("/api/v1/events/first").await.0, 400);
    let (status, page) = edge.get("/api/v1/events?limit=100000").await;
    assert_eq!((status, page), (200, json!({ "items": [], "limit": 200, "readable_to": 0 })));
}

#[tokio::test]
async fn an_event_is_shown_with_its_causes_and_its_effects() {
    let floor = Floor::new().await;
    let (_, page) = floor.edge.get(&format!("/api/v1/events?correlation_id={}&order=asc", floor.cancelling.correlation_id)).await;
    let effects: Vec<Value> = page["items"].as_array().unwrap().iter().map(|item| item["event_id"].clone()).collect();
    assert!(effects.len() > 3, "{page}");
    let (_, created) = floor.edge.get(&format!("/api/v1/events?stream=batch/{}&order=asc&limit=1", floor.batch)).await;
    let position = created["items"][0]["position"].as_i64().unwrap();
    let (status, story) = floor.edge.get(&format!("/api/v1/events/{position}")).await;
    assert_eq!((status, &story["event"]["event_id"]), (200, &json!(format!("batch/{}/1", floor.batch))));
    assert_eq!((&story["causes"], &story["more_effects"]), (&json!([]), &json!(false)));
    let shown: Vec<Value> = story["effects"].as_array().unwrap().iter().map(|item| item["event_id"].clone()).collect();
    assert_eq!(shown, effects);
    let (_, effect) = floor.edge.get(&format!("/api/v1/events/{}", page["items"][0]["position"])).await;
    assert_eq!(effect["causes"].as_array().unwrap().len(), 1);
    assert_eq!(effect["causes"][0], story["event"]);
    let event = &page["items"][0];
    assert_eq!((&event["actor"], &event["role"], &event["causation_depth"]), (&json!("user:admin"), &json!("admin"), &json!(1)));
}

#[tokio::test]
async fn an_export_is_the_whole_search_in_lines_or_rows() {
    let floor = Floor::new().await;
    let ask = async |query: &str| {
        let response = floor.edge.request(&floor.edge.admin, "GET", &format!("/api/v1/events/export?{query}")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (kind, disposition) = (header("content-type"), header("content-disposition"));
        (kind, disposition, response.text().await.unwrap())
    };
    for query in ["", "category=task", "type=task_deleted", "stream=task/999"] {
        let (_, page) = floor.edge.get(&format!("/api/v1/events?{query}&order=asc&limit=200")).await;
        let expected = page["items"].as_array().unwrap();
        let (kind, disposition, text) = ask(query).await;
        assert_eq!((kind.as_str(), disposition.as_str()), ("application/x-ndjson", "attachment; filename=\"events.ndjson\""));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&lines, expected, "{query}");
        let (kind, _, text) = ask(&format!("{query}&format=csv")).await;
        assert_eq!(kind, "text/csv; charset=utf-8");
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(rows.headers().unwrap().iter().next(), Some("position"));
        let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), expected.len(), "{query}");
        for (row, event) in rows.iter().zip(expected) {
            assert_eq!(row.get(0).unwrap(), event["position"].to_string());
            assert_eq!(&serde_json::from_str::<Value>(row.get(15).unwrap()).unwrap(), &event["data"]);
        }
    }
}

#[tokio::test]
async fn mn_22_no_cell_of_an_exported_log_runs_in_a_spreadsheet() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    // A formula, and a device id all the same.
    let robot = json!({"robot_type_id": seed.robot_type, "factory_id": seed.factory, "device_id": "-2-3"});
    edge.create("/api/v1/robots", robot).await;
    let device = DeviceId::parse("-2-3").expect("a device id");
    edge.execute(OpenLink { device, kind: LinkKind::Transfer, remote: "10.0.0.1".into(), process: None }).await;
    note_all(&edge.database).await;
    let text = edge.request(&edge.admin, "GET", "/api/v1/events/export?format=csv").send().await.unwrap().text().await.unwrap();
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).collect();
    assert!(rows.iter().any(|row| row.get(3) == Some("'-2-3")), "{text}");
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{text}");
}

/// More than one page of an export, and events that several pages of notes are made of.
#[tokio::test]
async fn an_export_of_many_pages_leaves_nothing_out() {
    let edge = TestEdge::start().await;
    let factory = Factory::new(&edge.database.pool, 1).await;
    let order = factory.order("Many", 1_300).await;
    for quantity in [500, 500, 300] {
        factory.batch(order, 0, quantity).await;
    }
    note_all(&edge.database).await;
    let text = edge.request(&edge.admin, "GET", "/api/v1/events/export").send().await.unwrap().text().await.unwrap();
    let positions: Vec<i64> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].as_i64().unwrap()).collect();
    let last = edge.get("/api/v1/events?limit=1").await.1["readable_to"].as_i64().unwrap();
    assert!(last > 1_300);
    assert_eq!(positions, (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_noted_is_noted_once_and_can_be_noted_anew() {
    let database = TestDatabase::new().await;
    let factory = Factory::on(EventStore::new(database.pool.clone(), Wakes::default()), 1).await;
    let rows = async |sql: &str| -> BTreeSet<(i64, i64)> {
        let rows = database.pool.get().await.unwrap().query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    const TERMS: &str = "select term, position from log_terms";
    let mut leader = lead(&database.connector).await;
    while leader.step().await.unwrap() > 0 {}
    let before = search::note(&database.pool).await.unwrap().unwrap();
    assert!(before > 5);
    assert_eq!(search::note(&database.pool).await.unwrap(), Some(0));
    // Several at once, while more comes.
    let order = factory.order("Cups", 40).await;
    let noters: Vec<_> = (0..4)
        .map(|_| {
            let pool = database.pool.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    search::note(&pool).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..10 {
        factory.batch(order, 0, 2).await;
        leader.step().await.unwrap();
    }
    for noter in noters {
        noter.await.unwrap();
    }
    while leader.step().await.unwrap() > 0 {}
    while search::note(&database.pool).await.unwrap() != Some(0) {}
    let noted = rows(TERMS).await;
    assert_eq!(rows("select position, count(*) from log_index group by 1").await.len(), usize::try_from(leader.position()).unwrap());
    database.pool.get().await.unwrap().batch_execute("truncate log_index, log_terms").await.unwrap();
    while search::note(&database.pool).await.unwrap() != Some(0) {}
    assert_eq!(rows(TERMS).await, noted);
    // Time does not go back along the log.
    let back =
        "select a.position, b.position from log_index a join log_index b on b.position = a.position + 1 where b.logged_at < a.logged_at";
    assert_eq!(rows(back).await, BTreeSet::new());
}

/// Over a server at work: `keystone events` searches as the route does, and `--follow` tells what comes and ends at Ctrl-C.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_what_the_route_tells_and_what_comes() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    for n in 0..3 {
        client.create("/factories", &json!({ "name": format!("Factory {n}"), "timezone": "UTC" })).await.unwrap();
    }
    until("the three are found", async || {
        client.get("/events?type=factory_created").await.unwrap()["items"].as_array().unwrap().len() == 3
    })
    .await;
    let page = client.get("/events?type=factory_created&limit=2").await.unwrap();
    let (code, said) = server.tool(&["events", "--type", "factory_*", "--limit", "2", "--json"]).await;
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))).collect();
    assert_eq!((code, told.iter().rev().collect::<Vec<_>>()), (0, page["items"].as_array().unwrap().iter().collect()));
    let (code, said) = server.tool(&["events", "--stream", "factory/1"]).await;
    assert!(code == 0 && said.contains("factory/1/1") && said.contains("by user:admin"), "{said}");
    for (wrong, named) in [(["--type", "exploded"], "type"), (["--content", "17"], "content"), (["--stream", "17"], "stream")] {
        let (code, said) = server.tool(&[&["events"], &wrong[..]].concat()).await;
        assert!(code == 1 && said.contains(named), "{said}");
    }
    assert_eq!(server.tool(&["events", "--task", "1", "--type", "task_created"]).await.0, 2);

    let mut following = tokio::process::Command::from(server.command(&["events", "--type", "factory_created", "--follow", "--json"]));
    let mut following = following.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(following.stdout.take().unwrap()).lines();
    let mut names = vec![];
    for n in 3..6 {
        client.create("/factories", &json!({ "name": format!("Factory {n}"), "timezone": "UTC" })).await.unwrap();
    }
    while names.len() < 6 {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.expect("in time").unwrap().expect("a line");
        names.push(serde_json::from_str::<Value>(&line).unwrap()["data"]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, ["Factory 0", "Factory 1", "Factory 2", "Factory 3", "Factory 4", "Factory 5"]);
    crate::harness::signal(i32::try_from(following.id().unwrap()).unwrap(), nix::sys::signal::Signal::SIGINT);
    let ended = tokio::time::timeout(Duration::from_secs(10), following.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
    server.stop().await;
}

/// The log of a site: one event in a thousand is of the one type, actor and unit that is searched for.
const LONG_LOG: &str = "
insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
select 'task', (n / 10)::text, n % 10 + 1, t.event_type, '1.0',
       jsonb_build_object(t.event_type, jsonb_build_object('task_id', n / 10, 'batch_id', n / 1000, 'factory_id', 1, 'status', 'pending')),
       jsonb_build_object('actor', case when n % 1000 = 7 then 'user:admin' else 'device:AB-' || n % 50 end, 'role', 'device',
                          'correlation_id', md5((n / 20)::text)::uuid, 'causation_id', case when n % 10 > 0 then 'task/' || n / 10 || '/1' end),
       now() - make_interval(secs => $1 - n)
from generate_series(0, $1::bigint - 1) n,
     lateral (select case when n % 1000 = 3 then 'upload_rejected' when n % 10 = 0 then 'task_created' else 'device_report_noted' end as event_type) t";

/// Blocks that a page of fifty may look at: each event is found by three indexes and looked up for each further filter.
const BLOCKS_MAX: i64 = 1_500;

/// `KEYSTONE_LOG_ROWS` says how long the log is.
#[tokio::test]
async fn each_page_is_read_from_an_index_however_long_the_log_is() {
    let rows: i64 = std::env::var("KEYSTONE_LOG_ROWS").map_or(20_000, |text| text.parse().expect("a number"));
    let database = TestDatabase::new().await.patient();
    let client = database.pool.get().await.unwrap();
    client.batch_execute(&LONG_LOG.replace("$1", &rows.to_string())).await.unwrap();
    let placed = "alter table log_index set (autovacuum_enabled = false); alter table log_terms set (autovacuum_enabled = false);
                  insert into log select row_number() over (order by seq), seq, '' from events; analyze events, log";
    client.batch_execute(placed).await.unwrap();
    let started = Instant::now();
    while search::note(&database.pool).await.unwrap() != Some(0) {}
    println!("noted {rows} events in {:?}", started.elapsed());
    let reads = Reads::new(database.pool.clone());
    let (unit, middle) = ((rows / 20).to_string(), Some(rows / 2));
    let about = format!("task/{unit}");
    let at = chrono::Utc::now() - chrono::TimeDelta::seconds(rows / 2);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let searches = [
        Search::default(),
        Search { categories: texts(&["task"]), ..Search::default() },
        Search { types: texts(&["device_report_noted"]), ..Search::default() },
        Search { types: texts(&["upload_rejected", "task_created"]), ..Search::default() },
        Search { types: texts(&["upload_rejected"]), to_position: middle, ..Search::default() },
        Search { stream: Some(about.clone()), ..Search::default() },
        Search { about: Some(about), ..Search::default() },
        Search { actor: Some("user:admin".into()), ..Search::default() },
        Search { actor: Some("user:admin".into()), since: Some(at), ..Search::default() },
        Search { contents: texts(&["factory_id:1"]), until: Some(at), ..Search::default() },
        Search { contents: texts(&["batch_id:7", "status:pending"]), ..Search::default() },
        Search { since: Some(at), until: Some(at + chrono::TimeDelta::seconds(100)), ..Search::default() },
        Search { types: texts(&["task_*"]), actor: Some("device:AB-0".into()), categories: texts(&["task"]), ..Search::default() },
    ];
    // The plan is the same before anybody has counted, as after a restore, and before anything is known to be visible to all, as
    // behind a log that grows.
    let states = [("nothing", ""), ("analyze", "analyze log_index, log_terms"), ("vacuum", "vacuum analyze log_index, log_terms")];
    for ((state, sql), search) in states.into_iter().flat_map(|state| searches.iter().map(move |search| (state, search))) {
        client.batch_execute(sql).await.unwrap();
        let filter = search.filter(&reads).await.unwrap();
        let between = reads.log_bounds(&filter, rows).await.unwrap();
        for direction in [Direction::Forward, Direction::Backward] {
            let (statement, groups) = filter.statement(direction);
            let limit = 50_i64;
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![&between.after, &between.before, &limit];
            values.extend(groups.iter().map(|group| group as &(dyn ToSql + Sync)));
            let types = parameter_types(&statement);
            let typed: Vec<_> = values.into_iter().zip(types).collect();
            let explain = format!("explain (analyze, buffers, format json) {statement}");
            let explained = pinned(&client, Answered::Visible, Planned::EachTime, client.query_typed(&explain, &typed)).await.unwrap();
            let plan: Value = explained[0].get(0);
            let blocks: i64 = ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|key| plan[0]["Plan"][*key].as_i64().unwrap()).sum();
            println!("{blocks:>5} blocks, {:>8} ms after {state}: {search:?} {direction:?}", plan[0]["Execution Time"]);
            assert!(blocks <= BLOCKS_MAX, "after {state}, {search:?} {direction:?} looks at {blocks} blocks: {plan:#}");
        }
    }
}
