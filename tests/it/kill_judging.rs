//! The real program, killed again and again while it judges: new episodes as they arrive, and those there are in bulk. Every
//! episode has one verdict of each run, none is held for ever, and who watches a bulk run sees it end.
//!
//! `CAMPAIGN_ROUNDS` is how many kills there are (3); ten episodes are judged for each.

use std::collections::BTreeMap;
use std::time::Duration;

use keystone_edge::commands::Commands;
use keystone_edge::eventstore::{EventStore, log};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, DispatchedTask};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::bench::Recording;
use crate::harness::relay::Relay;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::sse::Sse;
use crate::harness::{TestDatabase, TestObjects, temp_folder};
use crate::judging::{TOPICS, recorded};
use crate::outbox::number;
use crate::stored_episodes::EpisodeMaker;

const EPISODES_PER_KILL: usize = 10;
/// The store is some way off, so that a bulk run lives through several deaths of its server.
const STORE_ANSWERS_AFTER: Duration = Duration::from_millis(25);
/// How long a server lives after it is ready, in milliseconds.
const LIVES_MS: std::ops::Range<u64> = 20..900;
/// From the last start until everything is judged.
const AT_REST_WITHIN: Duration = Duration::from_secs(60);

fn kills() -> usize {
    std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// What an episode holds, by the number of its task: which verdict it has to have, and whether verification measured it.
fn kind(n: usize) -> (&'static str, bool) {
    (if n % 5 == 4 { "failed" } else { "approved" }, n.is_multiple_of(2))
}

/// Makes episodes out of tasks.
struct Maker {
    maker: EpisodeMaker,
    good: Recording,
    /// It lacks a topic that the robot has to have.
    lacking: Recording,
}

impl Maker {
    async fn make(&self, n: usize, task: &DispatchedTask) {
        let (verdict, measured) = kind(n);
        let recording = if verdict == "approved" { &self.good } else { &self.lacking };
        match measured {
            true => self.maker.make_measured(task.id, &task.public_id, recording).await,
            false => self.maker.make(task.id, &task.public_id, recording).await,
        }
    }
}

/// What a watcher of a bulk run was told, over all its connections.
struct Watched {
    told: Vec<(String, Value)>,
    connections: usize,
}

/// Follows a bulk run to its end, and comes back as often as the server dies.
async fn watch(url: String, token: String) -> Watched {
    let (http, mut watched) = (reqwest::Client::new(), Watched { told: vec![], connections: 0 });
    loop {
        match http.get(&url).bearer_auth(&token).send().await {
            Ok(response) if response.status() == 200 => {
                watched.connections += 1;
                let mut stream = Sse::of(response);
                while let Some(told) = stream.told().await {
                    let over = ["bulk_run_completed", "bulk_run_canceled", "bulk_run_failed"].contains(&told.name.as_str());
                    if told.name != "ping" {
                        watched.told.push((told.name.clone(), told.json()));
                    }
                    if over {
                        return watched;
                    }
                }
            }
            Ok(response) => assert!(response.status().is_server_error(), "{url}: {}", response.status()),
            // It is dead at this moment.
            Err(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

impl Watched {
    /// No count went back, on whichever connection, and the last that was told is the end with all of it done.
    fn assert_went_forward(&self, id: &str) {
        let counts = |name: &str| -> Vec<i64> {
            let field = format!("{name}_count");
            self.told.iter().map(|(_, run)| run[&field].as_i64().unwrap_or_else(|| panic!("{id}: no {field}: {run}"))).collect()
        };
        for name in ["processed", "passed", "qa_failed", "processing_failed", "skipped"] {
            assert!(counts(name).is_sorted(), "{id}: {name} went back: {:?}", counts(name));
        }
        assert_eq!(self.told[0].0, "bulk_run_snapshot", "{id}");
        let (last, run) = self.told.last().expect("an end");
        assert_eq!((last.as_str(), &run["status"]), ("bulk_run_completed", &json!("completed")), "{run}");
        assert_eq!((&run["processed_count"], &run["processing_failed_count"]), (&run["total_count"], &json!(0)), "{run}");
    }
}

/// Of each run over each episode: how many verdicts the log has.
async fn verdicts(pool: &deadpool_postgres::Pool) -> BTreeMap<(i64, String), i64> {
    let sql = "select aggregate_id::bigint, payload -> 'qa_run_ended' ->> 'run', count(*) from events
               where aggregate_type = 'episode' and event_type = 'qa_run_ended' group by 1, 2";
    let rows = pool.get().await.expect("a connection").query(sql, &[]).await.expect("runs");
    rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect()
}

/// Of each item of bulk runs: the episode, the name of its run, and what became of it.
async fn items(pool: &deadpool_postgres::Pool) -> Vec<(i64, String, String, Option<String>)> {
    let sql = "select item::bigint, run_id || '/' || item_no, coalesce(outcome, ''), cause from bulk_run_items order by run_id, item_no";
    let rows = pool.get().await.expect("a connection").query(sql, &[]).await.expect("items");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

struct Site {
    server: Server,
    client: Client,
    token: String,
    database: TestDatabase,
    _objects: TestObjects,
    _store: Relay,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(episodes: usize) -> (Self, Maker, Vec<DispatchedTask>) {
        let (database, objects, folder) = (TestDatabase::new().await, TestObjects::new().await, temp_folder());
        let store = Relay::to(objects.s3.address());
        store.delay(STORE_ANSWERS_AFTER);
        let mut server = Server::sharing(folder.path(), &database.url, &format!("http://{}", store.address));
        server.settings.push(("KEYSTONE_QA_MAX_WORKERS", "2".to_owned()));
        server.start();
        server.ready().await;
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
        let login = json!({ "account": "admin", "password": PASSWORD });
        let answer = client.call(Method::POST, "/auth/login", Some(&login)).await.expect("an answer").body;
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let made = factory::seed(&client, "Judged", 1).await.expect("a factory");
        let order = factory::place_order(&client, &made, "Judged", episodes).await.expect("an order");
        let tasks = factory::dispatch(&client, &made, order, &made.stations[0], episodes).await.expect("a batch");
        let commands = Commands::new(EventStore::new(database.pool.clone(), Wakes::default()));
        let (pool, bucket) = (database.pool.clone(), objects.settings.bucket.clone());
        let maker = EpisodeMaker::new(commands, pool, objects.blobs.clone(), &bucket, &made.stations[0].device_id).await;
        let maker = Maker { maker, good: recorded(&TOPICS, 5), lacking: recorded(&TOPICS[..3], 5) };
        (Self { server, client, token, database, _objects: objects, _store: store, _folder: folder }, maker, tasks)
    }

    /// Begins with a bulk run where none is active, and watches it.
    async fn keep_judging(&self, watchers: &mut BTreeMap<String, tokio::task::JoinHandle<Watched>>) {
        if number(&self.database.pool, "select count(*) from bulk_run_progress").await > 0 {
            return;
        }
        let asked = Some(&json!({"confirm": true}));
        let reply = self.client.call(Method::POST, "/data-ops/episodes/bulk-qa", asked).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.body);
        let id = reply.body["run"]["run_id"].as_str().expect("an id").to_owned();
        let url = format!("{}/api/v1/data-ops/bulk-runs/{id}/stream", self.server.base());
        watchers.insert(id, tokio::spawn(watch(url, self.token.clone())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_judges_each_run_gives_each_episode_one_verdict_and_bulk_runs_end_completed() {
    let (seed, kills, started): (u64, _, _) = (rand::random(), kills(), Instant::now());
    println!("seed {seed}");
    let (mut rng, many) = (StdRng::seed_from_u64(seed), kills * EPISODES_PER_KILL);
    let (mut site, maker, tasks) = Site::start(many).await;
    let pool = site.database.pool.clone();
    // Half of them are there when the first bulk run begins; the others come while the server dies.
    let (first, later) = tasks.split_at(many / 2);
    for (n, task) in first.iter().enumerate() {
        maker.make(n, task).await;
    }
    let coming = tokio::spawn({
        let (from, later) = (first.len(), later.to_vec());
        async move {
            for (n, task) in later.iter().enumerate() {
                maker.make(from + n, task).await;
                sleep(Duration::from_millis(LIVES_MS.end / EPISODES_PER_KILL as u64)).await;
            }
        }
    });

    let mut watchers = BTreeMap::new();
    let (mut among_bulk, mut among_runs) = (0, 0);
    for _ in 0..kills {
        site.keep_judging(&mut watchers).await;
        sleep(Duration::from_millis(rng.random_range(LIVES_MS))).await;
        site.server.kill();
        among_bulk += number(&pool, "select count(*) from bulk_run_progress where leased_until is not null").await;
        among_runs += number(&pool, "select count(*) from episodes where qa_status = 'qa_running'").await;
        // The lease of the dead server is over: half a minute later, by itself.
        let over = "update bulk_run_progress set leased_until = clock_timestamp()";
        pool.get().await.expect("a connection").batch_execute(over).await.expect("a lease that is over");
        site.server.start();
        site.server.ready().await;
    }
    coming.await.expect("all episodes");
    // One run more over all of them.
    let rest = Instant::now();
    let runs = watchers.len();
    while watchers.len() == runs {
        assert!(rest.elapsed() < AT_REST_WITHIN, "seed {seed}: a bulk run does not end:\n{}", site.server.tail());
        site.keep_judging(&mut watchers).await;
        sleep(Duration::from_millis(50)).await;
    }

    let mut connections = 0;
    for (id, watcher) in watchers {
        let watched = tokio::time::timeout(AT_REST_WITHIN, watcher).await;
        let watched = watched.unwrap_or_else(|_| panic!("seed {seed}: {id} does not end:\n{}", site.server.tail())).expect("a watcher");
        watched.assert_went_forward(&id);
        let run = site.client.get(&format!("/data-ops/bulk-runs/{id}")).await.expect("a run");
        assert_eq!((&run["status"], &run["processed_count"]), (&json!("completed"), &run["total_count"]), "seed {seed}: {run}");
        connections += watched.connections;
    }
    let open = "select count(*) from episodes where qa_status in ('pending_qa', 'qa_running')";
    // Acks wait: no uploader is there.
    while number(&pool, open).await + number(&pool, "select count(*) from outbox where subscriber = 'qa'").await > 0 {
        assert!(rest.elapsed() < AT_REST_WITHIN, "seed {seed}: not all are judged:\n{}", site.server.tail());
        sleep(Duration::from_millis(50)).await;
    }

    // Each run that began ended, with one verdict; what is counted as judged has it, and what was skipped has none.
    let verdicts = verdicts(&pool).await;
    let twice: Vec<_> = verdicts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
    let unended = "select count(*) from events s where s.event_type = 'qa_run_started' and not exists (select from events e
                       where e.aggregate_type = 'episode' and e.aggregate_id = s.aggregate_id and e.event_type = 'qa_run_ended'
                         and e.payload -> 'qa_run_ended' -> 'run' = s.payload -> 'qa_run_started' -> 'run')";
    assert_eq!(number(&pool, unended).await, 0, "seed {seed}: what was begun is gone on with under its name");
    assert_eq!(number(&pool, "select count(*) from qa_runs").await, verdicts.len() as i64, "seed {seed}");
    let items = items(&pool).await;
    for (episode, run, outcome, cause) in &items {
        let (judged, told) = (verdicts.contains_key(&(*episode, run.clone())), (outcome.as_str(), cause.as_deref()));
        let expected = if judged {
            [("passed", None), ("qa_failed", Some("failed"))].contains(&told)
        } else {
            told == ("skipped", Some("qa_running"))
        };
        assert!(expected, "seed {seed}: {run} of episode {episode}: {told:?}, judged: {judged}");
    }
    // Each episode is what its recording is worth.
    for (n, task) in tasks.iter().enumerate() {
        let sql = format!("select count(*) from episodes where task_id = {} and qa_status = '{}' and qa_until is null", task.id, kind(n).0);
        assert_eq!(number(&pool, &sql).await, 1, "seed {seed}: episode {n} of {}", task.public_id);
    }
    let of_each = "select count(distinct aggregate_id) from events where event_type = 'qa_run_ended'";
    assert_eq!(number(&pool, of_each).await, many as i64, "seed {seed}");
    assert_eq!(number(&pool, "select count(*) from dead_letters").await, 0, "seed {seed}");
    assert_eq!(site.server.log().matches("panicked").count(), 0, "seed {seed}");
    site.server.stop().await;
    assert_eq!(log::verify(&pool).await.expect("a check"), [], "seed {seed}");
    assert_eq!(rebuild(&pool).await.expect("a rebuild").differences, [], "seed {seed}");

    let skipped = items.iter().filter(|(.., outcome, _)| outcome == "skipped").count();
    println!(
        "{many} episodes, {kills} kills, {among_bulk} among bulk runs and {among_runs} among runs of the checks; {} bulk runs with {} items, \
         {skipped} skipped, watched over {connections} connections; {} verdicts; {:?}",
        runs + 1,
        items.len(),
        verdicts.len(),
        started.elapsed()
    );
    assert!(among_bulk > 0, "seed {seed}: no kill came while a bulk run went on");
}
