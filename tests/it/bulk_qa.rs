//! Bulk runs of the checks: accepted with what is meant at that moment, worked off outside of transactions, each episode once.

use std::collections::BTreeSet;
use std::time::Duration;

use keystone_edge::blobs::Blobs;
use keystone_edge::commands::Commands;
use keystone_edge::commands::bulk_runs::{ClaimedRun, Piece, SettleBulkItems, WorkOnBulkRun};
use keystone_edge::domain::EpisodeId;
use keystone_edge::domain::bulk_run::{BulkAction, BulkWork, Item, ItemOutcome, ItemResult};
use keystone_edge::domain::episode::{EpisodeSelection, RunMode};
use keystone_edge::domain::judgement::Suite;
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::qa::{RunSettings, Runs};
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::{Value, json};

use crate::data_ops::with_episodes;
use crate::harness::bench::Recording;
use crate::harness::edge::TestEdge;
use crate::harness::relay::Relay;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::sse::Sse;
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};
use crate::judging::recorded;
use crate::outbox::number;
use crate::stored_episodes::EpisodeMaker;

const EPISODES: &str = "/api/v1/data-ops/episodes";
const RUNS: &str = "/api/v1/data-ops/bulk-runs";
pub const LEASE: Duration = Duration::from_secs(30);
const TOPICS: [&str; 4] = ["/chatter", "/camera0/rgb", "/udp/gps", "/udp/can"];

fn good() -> Recording {
    recorded(&TOPICS, 5)
}

pub fn runs(edge: &TestEdge) -> Runs {
    runs_with(edge, edge.objects.blobs.clone(), Suite::default())
}

pub fn runs_with(edge: &TestEdge, blobs: Blobs, default_suite: Suite) -> Runs {
    let settings = RunSettings { timeout: Duration::from_secs(10), default_suite, sidecar_bytes_max: 4 << 20 };
    Runs::new(edge.commands.clone(), blobs, settings)
}

fn everything() -> BulkWork {
    BulkWork::BulkQa { selection: EpisodeSelection::default() }
}

pub async fn accept(edge: &TestEdge, body: Value) -> Value {
    let (status, answer) = edge.post(&format!("{EPISODES}/bulk-qa"), body).await;
    assert_eq!(status, 202, "{answer}");
    answer["run"].clone()
}

fn id(run: &Value) -> &str {
    run["run_id"].as_str().expect("an id")
}

pub async fn run(edge: &TestEdge, run: &Value) -> Value {
    edge.get(&format!("{RUNS}/{}", id(run))).await.1
}

pub async fn claim(edge: &TestEdge, lease: Duration) -> Option<ClaimedRun> {
    edge.commands.claim_bulk_run("a test", lease, Some(BulkAction::BulkQa)).await.unwrap()
}

async fn piece(edge: &TestEdge, run: &ClaimedRun, items_max: usize) -> Piece {
    edge.execute(WorkOnBulkRun { run: run.clone(), lease: LEASE, items_max, clouds: vec![], given_up: None }).await
}

async fn next(edge: &TestEdge, run: &ClaimedRun, items_max: usize) -> Vec<Item> {
    match piece(edge, run, items_max).await {
        Piece::ToDo { items, .. } => items,
        other => panic!("not a piece: {other:?}"),
    }
}

async fn settle(edge: &TestEdge, run: &ClaimedRun, results: Vec<ItemResult>) -> bool {
    edge.execute(SettleBulkItems { run: run.clone(), lease: LEASE, results }).await
}

/// Works until the run has ended, as a process does.
pub async fn work_off(edge: &TestEdge, claimed: &ClaimedRun) {
    loop {
        match piece(edge, claimed, 2).await {
            Piece::ToDo { work, items } => {
                let mut results = vec![];
                for item in &items {
                    results.push(runs(edge).run_item(&claimed.context(), &claimed.run_id, &work, item).await);
                }
                assert!(settle(edge, claimed, results).await);
            }
            Piece::Over => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Of each episode: how many runs of this bulk run ended.
async fn ended_of(pool: &deadpool_postgres::Pool, run: &str) -> Vec<i64> {
    let sql = "select count(*) from events where event_type = 'qa_run_ended' and payload -> 'qa_run_ended' ->> 'run' like $1 || '/%' group by aggregate_id";
    let rows = pool.get().await.unwrap().query(sql, &[&run]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn episodes_are_judged_newest_first_and_counted_by_outcome_and_cause() {
    let edge = TestEdge::start().await;
    let none = json!({"confirm": true, "filters": {"scene_id": "999"}});
    let empty = accept(&edge, none).await;
    assert_eq!((&empty["status"], &empty["total_count"]), (&json!("completed"), &json!(0)), "{empty}");
    assert!(empty["started_at"].is_string() && empty["started_at"] == empty["finished_at"], "{empty}");

    let broken = Recording::of(b"no recording at all".repeat(9).to_vec(), None);
    let (_, tasks) = with_episodes(&edge, &[good(), recorded(&TOPICS, 1), broken, good(), good(), good()]).await;
    let client = edge.database.pool.get().await.unwrap();
    let episodes: Vec<i64> = client.query("select id from episodes order by id", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // One of them is held by another run.
    let held = keystone_edge::commands::qa::StartQaRun {
        episode: EpisodeId(episodes[4]),
        run: "manual/another".into(),
        mode: RunMode::Manual,
        within: Duration::from_secs(60),
    };
    edge.execute(held).await;

    let (status, answer) = edge.post(&format!("{EPISODES}/bulk-qa"), json!({"confirm": true, "all": true, "expected_count": 6})).await;
    assert_eq!((status, &answer["message"]), (202, &json!("6 episodes accepted for bulk QA")), "{answer}");
    let accepted = answer["run"].clone();
    assert_eq!((&accepted["action"], &accepted["status"], &accepted["total_count"]), (&json!("bulk_qa"), &json!("queued"), &json!(6)));
    assert_eq!(accepted["started_at"], Value::Null);
    assert_eq!(edge.get(&format!("{RUNS}/current?action=bulk_qa")).await.1["run_id"], accepted["run_id"]);
    let form = |text: &str| {
        let parts: Vec<&str> = text.split('_').collect();
        let digits = |part: &str, many| part.len() == many && part.bytes().all(|b| b.is_ascii_digit());
        parts.len() == 5
            && parts[..2] == ["bulk", "qa"]
            && digits(parts[2], 8)
            && digits(parts[3], 6)
            && parts[4].len() == 6
            && text.len() <= 64
    };
    assert!(form(id(&accepted)), "{accepted}");
    let (_, items) = edge.get(&format!("{RUNS}/{}/items", id(&accepted))).await;
    let listed: Vec<i64> = items["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(listed, episodes.iter().rev().copied().collect::<Vec<_>>(), "the newest first");

    let claimed = claim(&edge, LEASE).await.expect("a run");
    work_off(&edge, &claimed).await;
    let ended = run(&edge, &accepted).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    let counts =
        ["total", "processed", "passed", "qa_failed", "processing_failed", "skipped"].map(|name| ended[format!("{name}_count")].clone());
    assert_eq!(json!(counts), json!([6, 6, 3, 2, 0, 1]), "{ended}");
    let cause = |outcome: &str, cause: &str| json!({"outcome": outcome, "cause": cause, "count": 1});
    let causes = [cause("qa_failed", "failed"), cause("qa_failed", "needs_inspection"), cause("skipped", "qa_running")];
    assert_eq!(ended["causes"], json!(causes));
    let (_, failed) = edge.get(&format!("{RUNS}/{}/items?outcome=qa_failed", id(&accepted))).await;
    let failed: Vec<(&Value, &Value)> = failed["items"].as_array().unwrap().iter().map(|item| (&item["item"], &item["cause"])).collect();
    let (third, second) = (json!(episodes[2].to_string()), json!(episodes[1].to_string()));
    assert_eq!(failed, [(&third, &json!("failed")), (&second, &json!("needs_inspection"))]);
    // The runs are manual ones, under the names of their items.
    let (_, judged) = edge.get(&format!("/api/v1/episodes/{}", episodes[0])).await;
    assert_eq!((&judged["qa_status"], &judged["auto_approved"], tasks.len()), (&json!("approved"), &json!(false), 6));
    let name = "select run from qa_runs where episode_id = $1";
    assert_eq!(client.query_one(name, &[&episodes[0]]).await.unwrap().get::<_, String>(0), format!("{}/6", id(&accepted)));
    assert_eq!(ended_of(&edge.database.pool, id(&accepted)).await, [1; 5]);
    assert_eq!(edge.get(&format!("{RUNS}/current?action=bulk_qa")).await.0, 204);
}

#[tokio::test]
async fn q9_that_one_run_is_active_is_a_constraint_of_the_store() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[good()]).await;
    let path = format!("{EPISODES}/bulk-qa");
    let answers = futures_util::future::join_all((0..8).map(|_| edge.post(&path, json!({"confirm": true})))).await;
    let accepted: Vec<&Value> = answers.iter().filter(|(status, _)| *status == 202).map(|(_, answer)| &answer["run"]).collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    for (_, refused) in answers.iter().filter(|(status, _)| *status != 202) {
        let told = (&refused["error"], &refused["run_id"], &refused["status"], &refused["code"]);
        assert_eq!(told, (&json!("bulk qa already running"), &accepted[0]["run_id"], &json!("queued"), &json!("bulk_run_active")));
    }
    let second = "insert into bulk_run_progress (run_id, single) values ('another', 'bulk_qa')";
    let refused = edge.database.pool.get().await.unwrap().execute(second, &[]).await.unwrap_err();
    assert_eq!(refused.as_db_error().and_then(|error| error.constraint()), Some("one_active_run_of_a_single_kind"));
    let claimed = claim(&edge, LEASE).await.expect("a run");
    let (status, refused) = edge.post(&path, json!({"confirm": true})).await;
    assert_eq!((status, &refused["status"]), (409, &json!("running")));
    // Another kind is not held up by it, and its worker takes no run of the checks.
    assert_eq!(edge.commands.claim_bulk_run("another", LEASE, None).await.unwrap(), None);
    work_off(&edge, &claimed).await;
    assert_eq!(accept(&edge, json!({"confirm": true})).await["status"], "queued");
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn q10_what_was_accepted_is_begun_by_any_process_and_blocks_nobody_for_ever() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[good()]).await;
    let accepted = accept(&edge, json!({"confirm": true})).await;
    // One takes it, and dies at once.
    claim(&edge, Duration::ZERO).await.expect("a run");
    assert_eq!(run(&edge, &accepted).await["status"], "running");
    let claimed = claim(&edge, LEASE).await.expect("its lease is over");
    work_off(&edge, &claimed).await;
    assert_eq!(run(&edge, &accepted).await["status"], "completed");
    assert_eq!(edge.get(&format!("{RUNS}/current?action=bulk_qa")).await.0, 204);
}

#[tokio::test]
async fn what_is_not_what_was_expected_is_not_done() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[good(), good()]).await;
    let path = format!("{EPISODES}/bulk-qa");
    for expected in [13, 1000] {
        let (status, refused) = edge.post(&path, json!({"confirm": true, "expected_count": expected})).await;
        let told = (&refused["code"], &refused["expected_count"], &refused["matched_count"]);
        assert_eq!((status, told), (409, (&json!("bulk_count_moved"), &json!(expected), &json!(2))), "{refused}");
    }
    assert_eq!(number(&edge.database.pool, "select count(*) from bulk_run_progress").await, 0, "nothing is left of it");
    assert_eq!(number(&edge.database.pool, "select count(*) from bulk_run_items").await, 0);
    assert_eq!(edge.get(&format!("{RUNS}?action=bulk_qa")).await.1["total"], 0);
    let accepted = accept(&edge, json!({"confirm": true, "expected_count": 12})).await;
    assert_eq!(accepted["total_count"], 2, "a few more or less are what happens in a factory");
}

#[tokio::test]
async fn q11_completed_means_that_each_episode_was_counted_once_also_after_a_crash() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[good(), good(), good(), good()]).await;
    let accepted = accept(&edge, json!({"confirm": true})).await;
    let dies = claim(&edge, Duration::ZERO).await.expect("a run");
    let items = next(&edge, &dies, 4).await;
    assert_eq!(items.len(), 4);
    // It judges the first, begins with the second, and dies before it says so.
    assert_eq!(runs(&edge).run_item(&dies.context(), &dies.run_id, &everything(), &items[0]).await, (1, ItemOutcome::Passed, None));
    let begun = keystone_edge::commands::qa::StartQaRun {
        episode: EpisodeId(items[1].item.parse().unwrap()),
        run: format!("{}/2", dies.run_id),
        mode: RunMode::Manual,
        within: Duration::from_secs(60),
    };
    edge.execute(begun).await;
    // Meanwhile a person asks for the first again: theirs is its last run now.
    let (status, _) = edge.post(&format!("/api/v1/qa/episodes/{}/run", items[0].item), Value::Null).await;
    assert_eq!(status, 200);
    edge.database.pool.get().await.unwrap().batch_execute("update bulk_run_progress set leased_until = null").await.unwrap();

    let after = claim(&edge, LEASE).await.expect("its lease is over");
    let left = next(&edge, &after, 4).await;
    assert_eq!(left.iter().map(|item| item.number).collect::<Vec<_>>(), [2, 3, 4], "the first was judged");
    assert_eq!(
        (&run(&edge, &accepted).await["passed_count"], settle(&edge, &dies, vec![(2, ItemOutcome::Skipped, None)]).await),
        (&json!(1), false)
    );
    assert!(!edge.commands.renew_bulk_run(&dies, LEASE).await.unwrap() && edge.commands.renew_bulk_run(&after, LEASE).await.unwrap());
    let mut results = vec![];
    for item in &left {
        results.push(runs(&edge).run_item(&after.context(), &after.run_id, &everything(), item).await);
    }
    assert!(settle(&edge, &after, results.clone()).await);
    assert!(settle(&edge, &after, results).await, "said twice, it is counted once");
    assert_eq!(piece(&edge, &after, 4).await, Piece::Over);
    let ended = run(&edge, &accepted).await;
    assert_eq!(
        (&ended["status"], &ended["passed_count"], &ended["processed_count"]),
        (&json!("completed"), &json!(4), &json!(4)),
        "{ended}"
    );
    assert_eq!(ended_of(&edge.database.pool, id(&accepted)).await, [1; 4]);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_cancelled_run_finishes_its_piece_and_leaves_the_rest() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[good(), good(), good()]).await;
    let accepted = accept(&edge, json!({"confirm": true})).await;
    let claimed = claim(&edge, LEASE).await.expect("a run");
    let items = next(&edge, &claimed, 2).await;
    let (status, cancelled) = edge.post(&format!("{RUNS}/{}/cancel", id(&accepted)), Value::Null).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancel_requested")));
    let results = vec![
        runs(&edge).run_item(&claimed.context(), &claimed.run_id, &everything(), &items[0]).await,
        runs(&edge).run_item(&claimed.context(), &claimed.run_id, &everything(), &items[1]).await,
    ];
    assert!(settle(&edge, &claimed, results).await);
    assert_eq!(piece(&edge, &claimed, 2).await, Piece::Over);
    let ended = run(&edge, &accepted).await;
    assert_eq!((&ended["status"], &ended["processed_count"], &ended["passed_count"]), (&json!("canceled"), &json!(2), &json!(2)));
    let (_, left) = edge.get(&format!("{RUNS}/{}/items?outcome=canceled", id(&accepted))).await;
    assert_eq!(left["total"], 1);
    assert_eq!(number(&edge.database.pool, "select count(*) from episodes where qa_status = 'pending_qa'").await, 1);
}

#[tokio::test]
async fn q14_a_stream_is_not_cut_by_the_limit_of_requests() {
    let edge = TestEdge::start_with(|settings| {
        settings.request_timeout = Duration::from_secs(2);
        settings.streams.heartbeat = Duration::from_millis(500);
    })
    .await;
    with_episodes(&edge, &[good()]).await;
    let accepted = accept(&edge, json!({"confirm": true})).await;
    let mut stream = Sse::open(edge.request(&edge.admin, "GET", &format!("{RUNS}/{}/stream", id(&accepted)))).await;
    assert_eq!(stream.told().await.unwrap().name, "bulk_run_snapshot");
    for _ in 0..6 {
        assert_eq!(stream.told().await.unwrap().name, "ping");
    }
    let claimed = claim(&edge, LEASE).await.expect("a run");
    work_off(&edge, &claimed).await;
    // Q12: the end is told, whatever was told before.
    let mut names = vec![];
    while let Some(told) = stream.told().await {
        names.push(told.name);
    }
    assert_eq!(names.iter().rfind(|name| *name != "ping").map(String::as_str), Some("bulk_run_completed"), "{names:?}");
}

/// Two processes of one site, with so many episodes that nobody judges by himself.
struct Site {
    servers: [Server; 2],
    clients: [Client; 2],
    database: TestDatabase,
    /// The way to the store.
    store: Relay,
    _objects: TestObjects,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    async fn with(episodes: usize, settings: &[(&'static str, String)]) -> Self {
        let (database, objects) = (TestDatabase::new().await, TestObjects::new().await);
        let (folders, store) = ([temp_folder(), temp_folder()], Relay::to(objects.s3.address()));
        let endpoint = format!("http://{}", store.address);
        let mut servers = [0, 1].map(|n: usize| Server::sharing(folders[n].path(), &database.url, &endpoint));
        for server in &mut servers {
            server.settings.push(("KEYSTONE_QA_ENABLED", "false".to_owned()));
            server.settings.push(("KEYSTONE_QA_MAX_WORKERS", "2".to_owned()));
            server.settings.extend(settings.iter().cloned());
            server.start();
            server.ready().await;
        }
        let client = async |n: usize| Client::sign_in(&servers[n].base(), "admin", PASSWORD).await.expect("a login");
        let clients = [client(0).await, client(1).await];
        let made = factory::seed(&clients[0], "Bulk", 1).await.expect("a factory");
        let order = factory::place_order(&clients[0], &made, "Bulk", episodes).await.expect("an order");
        let tasks = factory::dispatch(&clients[0], &made, order, &made.stations[0], episodes).await.expect("a batch");
        let (pool, device) = (database.pool.clone(), made.stations[0].device_id.clone());
        let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
        let maker = EpisodeMaker::new(commands, pool, objects.blobs.clone(), &objects.settings.bucket, &device).await;
        let recording = good();
        for task in &tasks {
            maker.make(task.id, &task.public_id, &recording).await;
        }
        Self { servers, clients, database, store, _objects: objects, _folders: folders }
    }

    async fn accept(&self) -> String {
        let reply =
            self.clients[0].call(Method::POST, "/data-ops/episodes/bulk-qa", Some(&json!({"confirm": true}))).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.body);
        reply.body["run"]["run_id"].as_str().expect("an id").to_owned()
    }

    async fn run(&self, of: usize, id: &str) -> Value {
        self.clients[of].get(&format!("/data-ops/bulk-runs/{id}")).await.expect("a run")
    }

    async fn stream(&self, of: usize, id: &str) -> Sse {
        let login = json!({ "account": "admin", "password": PASSWORD });
        let (http, base) = (reqwest::Client::new(), format!("{}/api/v1", self.servers[of].base()));
        let token: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
        let token = token["access_token"].as_str().expect("a token");
        Sse::open(http.get(format!("{base}/data-ops/bulk-runs/{id}/stream")).bearer_auth(token)).await
    }

    /// The process that works on the run.
    async fn worker(&self) -> Option<usize> {
        let rows = self.database.pool.get().await.unwrap().query("select leased_by from bulk_run_progress", &[]).await.unwrap();
        let name: String = rows.first()?.get::<_, Option<String>>(0)?;
        (0..2).find(|n| name.split(|c: char| !c.is_ascii_digit()).any(|part| part == self.servers[*n].pid().to_string()))
    }
}

/// Everything that a stream tells, to its end: the runs, in their order, without pings.
async fn told_to_the_end(mut stream: Sse) -> Vec<(String, Value)> {
    let mut all = vec![];
    while let Some(told) = stream.told().await {
        if told.name != "ping" {
            all.push((told.name.clone(), told.json()));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q12_q13_killed_in_the_middle_a_run_goes_on_elsewhere_and_no_count_goes_back_until_the_end_is_told() {
    const MANY: usize = 120;
    let mut site = Site::with(MANY, &[]).await;
    let id = site.accept().await;
    let streams = [site.stream(0, &id).await, site.stream(1, &id).await];
    until("a part of it to be done", async || site.run(0, &id).await["processed_count"].as_i64() >= Some(10)).await;
    let worker = site.worker().await.expect("a process works on it");
    site.servers[worker].kill();
    let survivor = 1 - worker;
    let at_the_kill = site.run(survivor, &id).await["processed_count"].as_i64().expect("a count");
    assert!(at_the_kill < MANY as i64, "it was too quick to be killed");
    // Its lease is over: half a minute later, by itself.
    let sql = "update bulk_run_progress set leased_until = clock_timestamp()";
    site.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    let [first, second] = streams;
    let told = told_to_the_end(if survivor == 0 { first } else { second }).await;
    let ended = site.run(survivor, &id).await;
    let counts = (&ended["status"], &ended["total_count"], &ended["processed_count"], &ended["passed_count"]);
    assert_eq!(counts, (&json!("completed"), &json!(MANY), &json!(MANY), &json!(MANY)), "{ended}");
    assert_eq!(ended_of(&site.database.pool, &id).await, [1; MANY], "each episode once");
    assert_eq!(number(&site.database.pool, "select count(*) from episodes where qa_status <> 'approved'").await, 0);
    // Q12 and Q13: no count goes back, and the last that is told is the end.
    let counts: Vec<i64> = told.iter().map(|(_, run)| run["processed_count"].as_i64().expect("a count")).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&(MANY as i64)), "{counts:?}");
    assert_eq!((told[0].0.as_str(), told.last().unwrap().0.as_str()), ("bulk_run_snapshot", "bulk_run_completed"));
    println!("killed at {at_the_kill} of {MANY}; {} states were told", counts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_a_while_costs_the_episodes_of_that_while_and_no_more() {
    let mut site = Site::with(40, &[("KEYSTONE_QA_MAX_WORKERS", "1".to_owned())]).await;
    site.servers[1].stop().await;
    let id = site.accept().await;
    until("a part of it to be done", async || site.run(0, &id).await["processed_count"].as_i64() >= Some(2)).await;
    site.store.refuse_all();
    let failed = async || site.run(0, &id).await["processing_failed_count"].as_i64().unwrap_or_default();
    until("an episode that could not be judged", async || failed().await > 0).await;
    site.store.pass_new();
    until("the end", async || site.run(0, &id).await["status"] == "completed").await;
    let ended = site.run(0, &id).await;
    let count = |name: &str| ended[format!("{name}_count")].as_i64().expect("a count");
    assert_eq!((count("processed"), count("total")), (40, 40), "{ended}");
    assert!(count("passed") > 2 && count("processing_failed") > 0, "{ended}");
    let causes: BTreeSet<&str> = ended["causes"].as_array().unwrap().iter().map(|cause| cause["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, BTreeSet::from(["storage"]), "{ended}");
    // What could not be judged is as it was, and another run judges it.
    let pending = "select count(*) from episodes where qa_status = 'pending_qa'";
    assert_eq!(number(&site.database.pool, pending).await, count("processing_failed"));
    site.accept().await;
    until("all to be judged", async || number(&site.database.pool, pending).await == 0).await;
}

/// An orderly stop lets go of what it has begun, and the next start goes on at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_after_an_orderly_stop() {
    let mut site = Site::with(60, &[]).await;
    site.servers[1].stop().await;
    let id = site.accept().await;
    until("a part of it to be done", async || site.run(0, &id).await["processed_count"].as_i64() >= Some(4)).await;
    site.servers[0].stop().await;
    let pool = &site.database.pool;
    assert_eq!(number(pool, "select count(*) from bulk_run_progress where leased_until is null").await, 1, "it gave it back");
    site.servers[0].start();
    site.servers[0].ready().await;
    until("the end", async || site.run(0, &id).await["status"] == "completed").await;
    assert_eq!(ended_of(pool, &id).await, [1; 60]);
}
