//! `?at=` answers what the live routes answered then, whatever has happened since.
//! `KEYSTONE_TIME_TRAVEL_STEPS` says how many things happen (90); `KEYSTONE_TIME_TRAVEL_SEED` which ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystone_edge::commands::sync::QueueSync;
use keystone_edge::commands::{CommandError, Context};
use keystone_edge::domain::sync::{CloudName, SyncReason};
use keystone_edge::domain::{EpisodeId, Timestamp};
use keystone_edge::eventstore::{EventStore, Sequencer, search};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::reads::as_of::EVENTS_MAX;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::factory::{Factory, lead};
use crate::harness::edge::{TestEdge, number};
use crate::read_models::{Memory, ROBOTS, Step, act, step};

const POSITION: &str = "keystone-at-position";
const PASSWORD: &str = "a password of one's own";

fn set(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A factory whose log is followed when the test says so.
struct Site {
    edge: TestEdge,
    leader: Mutex<Sequencer>,
}

impl Site {
    async fn new() -> Self {
        let edge = TestEdge::start().await;
        let leader = Mutex::new(lead(&edge.database.connector).await);
        Self { edge, leader }
    }

    /// Everything that was committed has its position, which nothing has noted yet. The last position.
    async fn only_placed(&self) -> i64 {
        let mut leader = self.leader.lock().await;
        while leader.step().await.expect("a step of the sequencer") > 0 {}
        leader.position()
    }

    /// Everything that was committed has its position, and is noted. The last position.
    async fn placed(&self) -> i64 {
        let position = self.only_placed().await;
        while search::note(&self.edge.database.pool).await.expect("noted") != Some(0) {}
        position
    }

    /// By the clock that the log goes by.
    async fn now(&self) -> Timestamp {
        self.edge.database.pool.get().await.unwrap().query_one("select clock_timestamp()", &[]).await.unwrap().get(0)
    }

    async fn sql(&self, sql: &str) {
        self.edge.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// Status and body, without what names the request, and the position that it is of.
    async fn ask(&self, token: &str, path: &str) -> (u16, Value, Option<i64>) {
        let answer = self.edge.request(token, "GET", &format!("/api/v1{path}")).send().await.unwrap();
        let status = answer.status().as_u16();
        let position = answer.headers().get(POSITION).map(|value| value.to_str().unwrap().parse().unwrap());
        let mut body: Value = answer.json().await.unwrap();
        if let Some(body) = body.as_object_mut() {
            body.remove("request_id");
        }
        (status, body, position)
    }

    async fn live(&self, path: &str) -> (u16, Value) {
        let (status, body, position) = self.ask(&self.edge.admin, path).await;
        assert_eq!(position, None, "{path} is of the present");
        (status, body)
    }

    async fn at(&self, path: &str, at: impl ToString) -> (u16, Value, Option<i64>) {
        self.ask(&self.edge.admin, &with(path, &at.to_string())).await
    }

    /// The code and the body of a refusal.
    async fn refused(&self, path: &str) -> (u16, String, Value) {
        let (status, body, _) = self.ask(&self.edge.admin, path).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned(), body)
    }
}

fn with(path: &str, at: &str) -> String {
    format!("{path}{}at={at}", if path.contains('?') { '&' } else { '?' })
}

/// Something that `Step` has not: of the registry, of episodes, and of what people say; one after the other.
async fn further(site: &Site, random: &mut StdRng, inspector: &str, n: usize) {
    let edge = &site.edge;
    let (unit, name) = (random.random_range(1..=3_i64), format!("renamed {n}"));
    let (who, method, path, body) = match n % 13 {
        0 => ("", "PUT", "organizations/1".to_owned(), json!({"name": name})),
        1 => ("", "PUT", "scenes/1".to_owned(), json!({"name": name})),
        2 => ("", "PUT", "subscenes/1".to_owned(), json!({"name": name})),
        3 => ("", "PUT", "sops/1".to_owned(), json!({"slug": format!("slug-{n}")})),
        4 | 5 => ("", "PATCH", format!("episodes/{unit}"), json!({"labels": [name], "note": format!("note {n}")})),
        6 => (inspector, "POST", format!("inspection/episodes/{unit}/take"), json!({})),
        7 | 8 => {
            let decision = ["approved", "rejected"].choose(random).unwrap();
            let take = format!("/api/v1/inspection/episodes/{unit}/take");
            edge.send_as(inspector, "POST", &take, json!({})).await;
            (inspector, "POST", format!("inspection/episodes/{unit}/decide"), json!({"decision": decision, "reason": "looked at"}))
        }
        9 => ("", "POST", format!("tasks/{unit}/fail"), json!({"reason": "it is gone"})),
        10 => ("", "POST", format!("tasks/{unit}/verdict"), json!({"verdict": "discard", "note": name})),
        11 => (
            "",
            "PUT",
            format!("orders/{}", random.random_range(1..=3)),
            json!({"name": name, "metadata": {"n": n}, "deadline": "2030-01-01T00:00:00.5Z"}),
        ),
        _ => {
            for episode in [1, 2].map(EpisodeId) {
                let queue = QueueSync { episode, reason: SyncReason::Manual, clouds: vec![CloudName::S3] };
                match edge.commands.execute(&Context::system(), queue).await {
                    Ok(_) | Err(CommandError::Refused(_)) => {}
                    Err(fault) => panic!("{fault:?}"),
                }
            }
            return;
        }
    };
    let token = if who.is_empty() { edge.admin.as_str() } else { who };
    let (status, answer) = edge.send_as(token, method, &format!("/api/v1/{path}"), body).await;
    assert!(status < 500, "{method} {path}: {answer}");
}

/// A question about whatever there is, was, will be or never is.
fn question(random: &mut StdRng) -> String {
    let id = |random: &mut StdRng| random.random_range(1..=9_i64);
    let within = |random: &mut StdRng| match random.random_range(0..3) {
        0 => format!("batch_id={}", random.random_range(1..=5)),
        1 => format!("order_id={}&batch_id={}", random.random_range(1..=3), random.random_range(1..=5)),
        _ => format!("order_id={}", random.random_range(1..=3)),
    };
    match random.random_range(0..12) {
        0 => format!("/orders/{}", random.random_range(1..=3)),
        1 => format!("/batches/{}", random.random_range(1..=6)),
        2 | 3 => format!("/tasks/{}", id(random)),
        4 | 5 => format!("/episodes/{}", random.random_range(1..=5)),
        6 => format!("/batches/{}/tasks", random.random_range(1..=6)),
        7 => format!("/batches/{}/tasks?limit=2&offset=1", random.random_range(1..=6)),
        8 => {
            let filter =
                ["", "&status=active", "&scene_id=1", "&device_id=ab-f0001-t0003-000001", "&collector_operator_id=OP-0", "&limit=1"];
            format!("/batches?order_id={}{}", random.random_range(1..=3), filter.choose(random).unwrap())
        }
        9 | 10 => {
            let filter = ["", "&status=pending", "&status=completed", "&workstation_id=1", "&limit=2&offset=1", "&limit=3"];
            format!("/tasks?{}{}", within(random), filter.choose(random).unwrap())
        }
        _ => {
            let filter = [
                "",
                "&qa_status=failed",
                "&robot_device_id=AB-F0001-T0003-000000",
                "&collector_operator_id=op-0",
                "&limit=1",
                "&task_id=2",
            ];
            format!("/episodes?{}{}", within(random), filter.choose(random).unwrap())
        }
    }
}

/// What was asked, what was answered, and when: at which position, and at which time.
struct Answered {
    path: String,
    answer: (u16, Value),
    position: i64,
    time: Timestamp,
}

#[tokio::test]
async fn whatever_happened_since_the_past_is_answered_as_it_was() {
    let (steps, seed) = (set("KEYSTONE_TIME_TRAVEL_STEPS", 90), set("KEYSTONE_TIME_TRAVEL_SEED", 17));
    let site = Site::new().await;
    let edge = &site.edge;
    let factory = Factory::on(EventStore::new(edge.database.pool.clone(), Wakes::default()), ROBOTS).await;
    let inspector =
        json!({"organization_id": "1", "name": "I", "inspector_id": "in", "certification_level": "senior", "password": PASSWORD});
    edge.create("/api/v1/inspectors", inspector).await;
    let inspector = edge.log_in("in", PASSWORD).await.1["access_token"].as_str().unwrap().to_owned();
    let memory = Mutex::new(Memory::default());
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let mut steps_of = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let any = step();
    // Two recordings that are there, so that episodes have a history, too.
    let mut begun = vec![
        Step::PlaceOrder { target: 5 },
        Step::CreateBatch { order: 0, station: 0, quantity: 4 },
        Step::OpenLink { who: 0, recorder: false },
        Step::OpenLink { who: 0, recorder: true },
    ];
    for task in 0..2 {
        begun.push(Step::Start { who: Some(0), task });
        begun.push(Step::Finish { who: 0, task });
        begun.push(Step::Uploaded { who: 0, task, size: 2, epoch_back: 0 });
        begun.push(Step::Accept { task, size: 2 });
        begun.push(Step::Judge { task, run: 0, manual: false, what: 1, sound: task == 0 });
        begun.push(Step::Judge { task, run: 0, manual: false, what: 3, sound: task == 0 });
    }
    // And an order that is gone.
    begun.push(Step::PlaceOrder { target: 3 });
    begun.push(Step::CreateBatch { order: 1, station: 1, quantity: 2 });
    begun.push(Step::DeleteBatch { batch: 0 });
    begun.push(Step::DeleteOrder { order: 1 });
    begun.push(Step::DeleteTask { task: 3 });
    let (mut answered, mut furthers) = (vec![], 12..);
    for n in 0..usize::try_from(steps).unwrap() {
        match begun.get(n) {
            Some(step) => act(&factory, &memory, step.clone()).await,
            None if random.random_ratio(2, 5) => further(&site, &mut random, &inspector, furthers.next().unwrap()).await,
            None => act(&factory, &memory, any.new_tree(&mut steps_of).expect("a step").current()).await,
        }
        let position = site.placed().await;
        for _ in 0..4 {
            let path = question(&mut random);
            let answer = site.live(&path).await;
            answered.push(Answered { path, answer, position, time: site.now().await });
        }
    }
    let (mut found, mut filled) = (BTreeMap::<_, u32>::new(), BTreeMap::<_, u32>::new());
    for (n, Answered { path, answer, position, time }) in answered.iter().enumerate() {
        let at = if n % 2 == 0 { position.to_string() } else { time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string() };
        let (status, body, of) = site.at(path, &at).await;
        assert_eq!((status, &body), (answer.0, &answer.1), "{path} at {at}, position {position}, seed {seed}");
        assert_eq!(of, (status == 200).then_some(*position), "{path} at {at}");
        *found.entry((path.split(['/', '?']).nth(1).unwrap(), status)).or_default() += 1;
        if body["total"].as_i64().is_some_and(|total| total > 0) {
            *filled.entry(path.split(['/', '?']).next_back().unwrap()).or_default() += 1;
        }
    }
    println!("{} answers of the past are those of then: {found:?}", answered.len());
    // What was asked and what happened is of all kinds.
    for kind in ["orders", "batches", "tasks", "episodes"] {
        assert!(found.contains_key(&(kind, 200)) && found.contains_key(&(kind, 404)), "{kind}: {found:?}");
    }
    let client = edge.database.pool.get().await.unwrap();
    let types = client.query("select distinct event_type from events", &[]).await.unwrap();
    let types: Vec<String> = types.iter().map(|row| row.get(0)).collect();
    println!("lists with entries: {filled:?}; events: {types:?}");
    assert!(filled.values().sum::<u32>() > 20, "few lists had entries: {filled:?}");
    for wanted in
        ["task_deleted", "batch_deleted", "order_deleted", "scene_changed", "organization_changed", "episode_created", "qa_run_ended"]
    {
        assert!(types.iter().any(|known| known == wanted), "nothing was {wanted} with the seed {seed}: {types:?}");
    }
}

/// Orders, batches and tasks that are changed at the same time: at each position the numbers are those of some moment, and no half of a commit is seen.
#[tokio::test]
async fn a_commit_is_there_as_a_whole_at_each_of_its_positions() {
    let site = Arc::new(Site::new().await);
    let seed = Arc::new(site.edge.seed().await);
    let raised = json!({"target_count": 200});
    assert_eq!(site.edge.send_as(&site.edge.admin, "PUT", "/api/v1/orders/1", raised).await.0, 200);
    let before = site.placed().await;
    let work = (0..4).map(|worker| {
        let (site, seed) = (site.clone(), seed.clone());
        tokio::spawn(async move {
            let mut batches = vec![];
            for n in 0..3 {
                let (status, made) = site.edge.post("/api/v1/batches", seed.batch(3 + worker)).await;
                assert_eq!(status, 201, "{made}");
                batches.push(number(&made["batch"]["id"]));
                if n % 2 == 1 {
                    let path = format!("/api/v1/batches/{}", batches[n]);
                    let cancelled = json!({"status": "cancelled"});
                    assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &path, cancelled).await.0, 200);
                    assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", &path, Value::Null).await.0, 200);
                }
                site.placed().await;
            }
        })
    });
    for worker in work.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let head = site.placed().await;
    let mut totals = std::collections::BTreeSet::new();
    for at in (before..=head).step_by(3) {
        let (_, order, _) = site.at("/orders/1", at).await;
        let (_, tasks, _) = site.at("/tasks?order_id=1&limit=1000", at).await;
        let items = tasks["items"].as_array().unwrap();
        let cancelled = items.iter().filter(|task| task["status"] == "cancelled").count();
        assert_eq!((&order["task_count"], &order["cancelled_count"]), (&tasks["total"], &json!(cancelled)), "at {at}: {order}");
        let (_, batches, _) = site.at("/batches?order_id=1&limit=1000", at).await;
        let counted: i64 = batches["items"].as_array().unwrap().iter().map(|batch| batch["task_count"].as_i64().unwrap()).sum();
        assert_eq!(order["task_count"], counted, "at {at}: {batches}");
        totals.insert(counted);
    }
    println!("a third of {} positions, {} different numbers of tasks", head - before + 1, totals.len());
    assert!(totals.len() > 4, "{totals:?}");
}

/// `KEYSTONE_TIME_TRAVEL_BATCHES` says of how many batches (2).
#[tokio::test]
async fn a_large_order_is_answered_as_it_was_too() {
    let site = Site::new().await;
    let seed = site.edge.seed().await;
    let (batches, each) = (set("KEYSTONE_TIME_TRAVEL_BATCHES", 2), 350);
    let raised = json!({"target_count": batches * each});
    assert_eq!(site.edge.send_as(&site.edge.admin, "PUT", "/api/v1/orders/1", raised).await.0, 200);
    for _ in 0..batches {
        site.edge.create("/api/v1/batches", seed.batch(i64::try_from(each).unwrap())).await;
    }
    let asked = [
        "/orders/1",
        "/batches/1",
        "/tasks/1",
        "/batches/1/tasks",
        "/tasks?order_id=1&limit=1000",
        "/batches?order_id=1",
        "/episodes?order_id=1",
    ];
    let then = site.placed().await;
    let mut answers = vec![];
    for path in asked {
        answers.push(site.live(path).await);
    }
    for batch in 1..=batches {
        let path = format!("/api/v1/batches/{batch}");
        assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &path, json!({"status": "cancelled"})).await.0, 200);
    }
    let head = site.placed().await;
    for (path, answer) in asked.iter().zip(answers) {
        let started = std::time::Instant::now();
        let (status, body, _) = site.at(path, then).await;
        let took = started.elapsed();
        assert!((status, &body) == (answer.0, &answer.1), "{path} at {then}");
        let (status, body, _) = site.at(path, head).await;
        let now = started.elapsed() - took;
        assert!((status, body) == site.live(path).await, "{path} at {head}");
        println!("{path}: {took:?} at {then}, {now:?} at {head}");
    }
}

#[tokio::test]
async fn what_was_deleted_is_there_as_it_was() {
    let site = Site::new().await;
    let seed = site.edge.seed().await;
    let made = site.edge.create("/api/v1/batches", seed.batch(2)).await;
    let (batch, task) = (number(&made["batch"]["id"]), number(&made["tasks"][0]["id"]));
    let then = site.placed().await;
    let asked = ["/orders/1".to_owned(), format!("/batches/{batch}"), format!("/tasks/{task}"), format!("/batches/{batch}/tasks")];
    let lists = ["/batches?order_id=1", "/tasks?order_id=1"].map(str::to_owned);
    let mut answers = vec![];
    for path in asked.iter().chain(&lists) {
        answers.push((path, site.live(path).await));
    }
    let batch = format!("/api/v1/batches/{batch}");
    assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", &batch, Value::Null).await.0, 200);
    assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", "/api/v1/orders/1", Value::Null).await.0, 204);
    let head = site.placed().await;
    for (path, answer) in answers {
        let (status, body, of) = site.at(path, then).await;
        assert_eq!(((status, body), of), (answer, Some(then)), "{path}");
        let (status, body, _) = site.at(path, head).await;
        assert_eq!((status, body), site.live(path).await, "{path}, which is gone");
    }
    // Before there was anything, there is nothing.
    assert_eq!(site.at("/orders/1", 1).await.0, 404);
    assert_eq!(site.at("/orders/1", "2001-01-01T00:00:00Z").await.0, 404);
    assert_eq!(site.at("/tasks?order_id=1", "2001-01-01T00:00:00Z").await.1["total"], 0);
}

#[tokio::test]
async fn what_cannot_be_said_of_the_past_is_refused_with_a_reason() {
    let site = Site::new().await;
    let seed = site.edge.seed().await;
    let head = site.placed().await;
    for at in
        ["0", "-1", "1.5", "x", "99999999999999999999", "2026-13-01T00:00:00Z", "2026-01-01", "0000-01-01T00:00:00Z", "%EF%BC%91", "1%002"]
    {
        let (status, code, body) = site.refused(&format!("/orders/1?at={at}")).await;
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{at}: {body}");
    }
    for at in [(head + 1).to_string(), i64::MAX.to_string(), "2999-01-01T00:00:00Z".to_owned(), "9999-12-31T23:59:59Z".to_owned()] {
        let (status, code, body) = site.refused(&format!("/tasks/1?at={at}")).await;
        assert_eq!((status, code.as_str(), &body["head"]), (400, "ahead_of_log", &json!(head)), "{at}: {body}");
    }
    for list in [
        "/orders?",
        "/orders?ids=1&",
        "/batches?",
        "/batches?batch_id=1&",
        "/tasks?",
        "/tasks?workstation_id=1&",
        "/episodes?",
        "/episodes?task_id=1&",
    ] {
        let (status, _, body) = site.refused(&format!("{list}at={head}")).await;
        assert_eq!((status, &body["field"]), (400, &json!("at")), "{list}: {body}");
        assert!(body["detail"].as_str().unwrap().contains("order_id"), "{list}: {body}");
    }
    for nobody in ["/tasks?order_id=x", "/tasks?batch_id=-1", "/episodes?order_id=01", "/batches?order_id=99999999999999999999"] {
        let (status, body, of) = site.at(nobody, head).await;
        assert_eq!((status, &body["total"], of), (200, &json!(0), Some(head)), "{nobody}: {body}");
    }
    // An empty one is as good as none, as everywhere.
    assert_eq!(site.ask(&site.edge.admin, "/orders/1?at=").await.2, None);
    // What was committed has to have its place, and what has its place has to be noted: the answer waits for it.
    site.edge.create("/api/v1/batches", seed.batch(1)).await;
    assert_eq!(site.refused(&format!("/orders/1?at={}", head + 1)).await.1, "ahead_of_log");
    let placed = site.only_placed().await;
    let (answer, _) = tokio::join!(site.at("/batches/1", placed), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        site.placed().await
    });
    assert_eq!((answer.0, answer.2), (200, Some(placed)), "{}", answer.1);
}

#[tokio::test]
async fn an_answer_of_a_position_may_be_kept_and_one_of_a_time_is_asked_for_again() {
    let site = Site::new().await;
    site.edge.seed().await;
    let head = site.placed().await;
    let kept = async |at: String| {
        let answer = site.edge.request(&site.edge.admin, "GET", &format!("/api/v1/orders/1?at={at}")).send().await.unwrap();
        answer.headers()["cache-control"].to_str().unwrap().to_owned()
    };
    assert_eq!(kept(head.to_string()).await, "private, max-age=3600, immutable");
    assert_eq!(kept(site.now().await.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()).await, "private, no-cache");
}

#[tokio::test]
async fn nothing_of_another_factory_is_found_in_the_past() {
    let site = Site::new().await;
    let seed = site.edge.seed().await;
    site.edge.create("/api/v1/batches", seed.batch(2)).await;
    let elsewhere = number(&site.edge.create("/api/v1/factories", json!({"name": "Elsewhere"})).await["id"]);
    let mut tokens = vec![];
    for (name, factory) in [("here", number(&seed.factory)), ("there", elsewhere)] {
        let account = json!({"login_name": name, "name": name, "role": "production_manager", "factories": [factory], "password": PASSWORD});
        site.edge.create("/api/v1/accounts", account).await;
        tokens.push(site.edge.log_in(name, PASSWORD).await.1["access_token"].as_str().unwrap().to_owned());
    }
    let head = site.placed().await;
    // Of another one's it is not even told that there is too much of it.
    let too_much = format!(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'batch', '1', 1000 + n, 'nothing', '1.0', '{{}}', '{{}}' from generate_series(1, {EVENTS_MAX}) n"
    );
    site.sql(&too_much).await;
    let crowded = site.only_placed().await;
    site.sql("insert into log_index select position, now() from log where position > (select max(position) from log_index)").await;
    for at in [head, crowded] {
        for path in
            ["/orders/1", "/batches/1", "/tasks/1", "/batches/1/tasks", "/tasks?order_id=1", "/tasks?batch_id=1", "/batches?order_id=1"]
        {
            let unknown = path.replace('1', "987654");
            let nobodys = site.ask(&tokens[1], &with(&unknown, &at.to_string())).await;
            assert_eq!(site.ask(&tokens[1], &with(path, &at.to_string())).await, nobodys, "{path} at {at}");
            let own = site.ask(&tokens[0], &with(path, &at.to_string())).await;
            let about_batch = path.starts_with("/batches/") || path.contains("batch_id") || path == "/batches?order_id=1";
            if at == crowded && about_batch {
                let said = (own.0, &own.1["code"], &own.1["limit"], &own.1["max"]);
                assert_eq!(said, (400, &json!("too_much_to_fold"), &json!("events"), &json!(EVENTS_MAX)), "{path}: {}", own.1);
            } else {
                assert_eq!((own.0, own.2), (200, Some(at)), "{path}: {}", own.1);
            }
        }
    }
}
