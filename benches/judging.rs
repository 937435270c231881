//! Judging at a factory's pace and in hindsight, by the real program.
//!
//! Twenty simulated robots record at real pace; of each recording it is taken how long its station waits for the verdict, from the moment
//! its uploader said `upload_complete`. Then one suite is tried on these episodes and put to use, and what was told has to be what runs
//! say. Then the episodes and their facts are copied until there are as many as years leave, and a suite is tried on all of them.
//!
//! `KEYSTONE_BENCH_ROBOTS` (20), `KEYSTONE_BENCH_RECORDINGS` in all (100), each of `KEYSTONE_BENCH_RECORDING_SECONDS` (10);
//! `KEYSTONE_BENCH_EPISODES` is how many a suite is tried on (100,000), `KEYSTONE_BENCH_RUNS` how often (5). `KEYSTONE_BENCH_PROGRAM` names
//! another build of the program than the one beside the benchmark.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use keystone_edge::domain::Scope;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::listener::raise_open_files;
use keystone_edge::projections::reads::Reads;
use keystone_edge::projections::reads::history::HistoryFilter;
use keystone_edge::quality::judge;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, Factory};
use keystone_edge::simulator::work::{Pace, work};
use keystone_edge::simulator::{Profile, RecordingProfile, Robot, RobotConfig};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use baseline::number;
use harness::server::{PASSWORD, Server};
use harness::sse::Sse;

/// Copies that are made in one statement, so that each ends within what a session waits for an answer.
const COPIED_AT_ONCE: i64 = 5_000;

/// Copies of episodes and of their facts, each another one: of the real ones, which have ids up to the first parameter, in turn.
const COPIES: &str =
    "with real as (select e.id, row_number() over (order by e.id) - 1 as n, count(*) over () as many from episodes e where e.id <= $1)
insert into episodes select c.* from generate_series($2::bigint, $3::bigint) g join real r on r.n = g % r.many join episodes e on e.id = r.id,
    lateral jsonb_populate_record(null::episodes, to_jsonb(e) || jsonb_build_object('id', $1 + g, 'task_id', 1000000000 + g,
        'episode_id', 'copy_' || g, 'task_public_id', 'copy_' || g, 'mcap_path', 'copies/' || g || '.mcap')) c";
const COPIED_FACTS: &str =
    "with real as (select e.id, row_number() over (order by e.id) - 1 as n, count(*) over () as many from episodes e where e.id <= $1)
insert into episode_facts select $1 + g, f.version, f.created_at, f.updated_at, f.packed
from generate_series($2::bigint, $3::bigint) g join real r on r.n = g % r.many join episode_facts f on f.id = r.id";

/// When something happened to each task, by its public id.
type Moments = Arc<Mutex<BTreeMap<String, Instant>>>;

struct Bench {
    server: Server,
    client: Client,
    pool: Pool,
}

fn milliseconds(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at(50), at(90), at(99), times[times.len() - 1])
}

/// Notes when the uploader of a robot has said that a recording is uploaded, and when its ack came.
fn note_uploads(robot: &Robot, uploaded: &Moments, acked: &Moments) -> AbortHandle {
    let (mut report, uploaded, acked) = (robot.report(), uploaded.clone(), acked.clone());
    let noting = async move {
        while report.changed().await.is_ok() {
            let (now, report) = (Instant::now(), report.borrow_and_update());
            let note = |moments: &Moments, task: &str| {
                moments.lock().unwrap().entry(task.to_owned()).or_insert(now);
            };
            report.uploads.iter().for_each(|upload| note(&uploaded, &upload.task_id));
            report.acks.iter().for_each(|ack| note(&acked, &ack.task_id));
        }
    };
    tokio::spawn(noting).abort_handle()
}

/// Notes when a station was told of the verdict of each of its recordings.
async fn note_verdicts(client: &Client, station: i64, told: &Moments) -> AbortHandle {
    let response = client.open(&format!("/stations/{station}/stream"), None).await.expect("a stream");
    let (mut stream, told) = (Sse::of(response), told.clone());
    let noting = async move {
        while let Some((event, data)) = stream.next().await {
            if event == "verdict" {
                let task = data["task_public_id"].as_str().expect("a task").to_owned();
                told.lock().unwrap().entry(task).or_insert_with(Instant::now);
            }
        }
    };
    tokio::spawn(noting).abort_handle()
}

impl Bench {
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let reply = self.client.call(method, path, body).await.expect("an answer");
        assert!(reply.status.is_success(), "{path}: {} {}", reply.status, reply.body);
        reply.body
    }

    async fn one(&self, sql: &str) -> i64 {
        self.pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("a row").get(0)
    }

    /// So many recordings by the robots of a factory at real pace.
    async fn record(&self, made: &Factory, profile: Profile, recordings: usize) -> (Moments, Moments, Moments) {
        let (uploaded, acked, told) = (Moments::default(), Moments::default(), Moments::default());
        let (mut robots, mut noting) = (vec![], vec![]);
        for (n, place) in (0..).zip(&made.stations) {
            let config = self.server.robot_config(place, made.factory_id, n);
            let profile = RecordingProfile::of(profile, 2304);
            let robot =
                Robot::start(RobotConfig { pace: 1.0, profile, attempts_max: RobotConfig::ATTEMPTS_MAX, ..config }).expect("a robot");
            noting.push(note_uploads(&robot, &uploaded, &acked));
            noting.push(note_verdicts(&self.client, place.station_id, &told).await);
            robots.push(robot);
        }
        let recording = Duration::from_secs_f64(number("KEYSTONE_BENCH_RECORDING_SECONDS", 10.0));
        let pace = Pace {
            recording,
            rest: Duration::from_millis(500),
            patience: recording + Duration::from_secs(60),
            look_again: Duration::from_millis(250),
        };
        let (said, mut recorded) = mpsc::unbounded_channel();
        let worked = work(&self.client, made, pace, Some(recordings), said);
        let (worked, failed) = tokio::join!(worked, async {
            let mut failed = 0;
            while let Some(one) = recorded.recv().await {
                failed += usize::from(one.episode.is_err());
            }
            failed
        });
        worked.expect("they work");
        assert_eq!(failed, 0, "recordings did not become episodes");
        harness::until("all verdicts", async || told.lock().unwrap().len() >= uploaded.lock().unwrap().len()).await;
        noting.iter().for_each(AbortHandle::abort);
        let mut stopping: JoinSet<()> = robots.into_iter().map(Robot::stop).collect();
        while stopping.join_next().await.is_some() {}
        (uploaded, acked, told)
    }

    async fn pace(&self, robots: usize, recordings: usize) {
        let made = factory::seed(&self.client, "Pace", robots).await.expect("a factory");
        let (began, used) = (Instant::now(), self.processor());
        let (uploaded, acked, told) = self.record(&made, Profile::Small, recordings).await;
        let (took, used) = (began.elapsed().as_secs_f64(), self.processor() - used);
        let uploaded = uploaded.lock().unwrap().clone();
        let since = |moments: &Moments| -> Vec<f64> {
            let moments = moments.lock().unwrap();
            uploaded.iter().filter_map(|(task, at)| Some((*moments.get(task)? - *at).as_secs_f64() * 1e3)).collect()
        };
        let (mut to_ack, mut to_verdict) = (since(&acked), since(&told));
        assert_eq!(to_verdict.len(), uploaded.len(), "a verdict on each");
        println!(
            "{robots} robots, {} recordings in {took:.0} s; the program took {:.0} % of one processor",
            uploaded.len(),
            used / took * 100.0
        );
        println!("upload_complete → ack:     {}", milliseconds(&mut to_ack));
        println!("upload_complete → verdict at the station: {}", milliseconds(&mut to_verdict));
        let sql = "select coalesce(percentile_disc(array[0.5, 0.99, 1]) within group (order by extract(epoch from e.recorded_at - u.recorded_at) * 1e3), '{0,0,0}')::float8[]
                   from events u join episodes p on p.task_id::text = u.aggregate_id join events e on e.aggregate_type = 'episode' and e.aggregate_id = p.id::text
                   where u.aggregate_type = 'task' and u.event_type = 'upload_reported' and e.event_type = 'qa_run_ended'";
        let row = self.pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("times");
        let at: Vec<f64> = row.get(0);
        println!("of these, between the events in the log: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at[0], at[1], at[2]);
    }

    /// Seconds of processors that the program used so far.
    fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.pid())).expect("a running server");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("its name").1.split(' ').collect();
        let ticks = |n: usize| fields[n].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// The shipped suite, where recordings have to be longer than half of them are. Answers its id.
    async fn stricter(&self) -> String {
        let row = self.pool.get().await.expect("a connection");
        let middle = "select percentile_disc(0.5) within group (order by duration_sec) from episodes";
        let middle: f64 = row.query_one(middle, &[]).await.expect("a length").get(0);
        let mut suite = self.ask(Method::GET, "/qa/suites/default", None).await;
        for check in suite["checks"].as_array_mut().expect("checks") {
            if check["name"] == "duration" {
                *check = json!({ "name": "duration", "gate": true, "limits": { "min_s": middle, "max_s": 600.0 } });
            }
        }
        let drafted = self.ask(Method::POST, "/qa/suites", Some(&suite)).await;
        drafted["id"].as_str().expect("an id").to_owned()
    }

    /// What is told of a suite is what its runs say. Answers of how many.
    async fn equal_to_runs(&self) -> usize {
        let suite = self.stricter().await;
        let told = self.ask(Method::POST, &format!("/qa/suites/{suite}/what-if"), None).await;
        let flips: BTreeMap<i64, &str> = told["episodes"]
            .as_array()
            .expect("episodes")
            .iter()
            .map(|flip| (flip["id"].as_i64().expect("an id"), flip["to"].as_str().expect("a verdict")))
            .collect();
        self.ask(Method::POST, &format!("/qa/suites/{suite}/activate"), None).await;
        let rows = self
            .pool
            .get()
            .await
            .expect("a connection")
            .query("select id, verdict from episodes order by id", &[])
            .await
            .expect("episodes");
        for row in &rows {
            let (id, before): (i64, String) = (row.get(0), row.get(1));
            let ran = self.ask(Method::POST, &format!("/qa/episodes/{id}/run"), None).await;
            assert_eq!(ran["verdict"].as_str(), Some(*flips.get(&id).unwrap_or(&before.as_str())), "episode {id}: {ran}");
        }
        println!(
            "a suite was tried on {} episodes, {} of them would be other ones, and its runs said the same of all",
            rows.len(),
            flips.len()
        );
        rows.len()
    }

    async fn copy(&self, episodes: i64) {
        let (began, last) = (Instant::now(), self.one("select max(id) from episodes").await);
        let client = self.pool.get().await.expect("a connection");
        for from in (1..=episodes).step_by(usize::try_from(COPIED_AT_ONCE).expect("a size")) {
            let to = episodes.min(from + COPIED_AT_ONCE - 1);
            client.execute(COPIES, &[&last, &from, &to]).await.expect("episodes");
            client.execute(COPIED_FACTS, &[&last, &from, &to]).await.expect("facts");
        }
        client.batch_execute("vacuum analyze episodes, episode_facts").await.expect("counted");
        let bytes = self.one("select avg(length(packed))::bigint from episode_facts").await;
        println!("{episodes} copies in {:.1?}; facts of {bytes} bytes on average", began.elapsed());
    }

    async fn what_if(&self, runs: usize) {
        let mut took = vec![];
        for _ in 0..runs {
            let (began, used) = (Instant::now(), self.processor());
            let told = self.ask(Method::POST, "/qa/suites/default/what-if", None).await;
            took.push((began.elapsed().as_secs_f64(), self.processor() - used));
            if took.len() == 1 {
                println!("what if: {} matched, {} judged, {} changed", told["matched_count"], told["judged_count"], told["changed_count"]);
            }
        }
        took.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (least, middle, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
        println!(
            "what if, {runs} runs: median {:.2} s ({:.2} to {:.2}), {:.2} s of processors; memory of the program {:.0} MB",
            middle.0,
            least.0,
            most.0,
            middle.1,
            self.server.resident_bytes() as f64 / 1e6
        );
    }

    /// Where the time goes: reading, unpacking, judging, one after the other and on one thread.
    async fn parts(&self) {
        let (reads, suite) = (Reads::new(self.pool.clone()), Suite::default());
        let (mut before, mut many) = (i64::MAX, 0);
        let (mut reading, mut unpacking, mut judging) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        loop {
            let began = Instant::now();
            let page = reads.judgeable(&Scope::Everything, &HistoryFilter::default(), before, 4000).await.expect("a page");
            reading += began.elapsed();
            let Some(last) = page.last() else { break };
            before = last.id.0;
            many += page.len();
            let began = Instant::now();
            let facts: Vec<_> =
                page.iter().filter_map(|episode| episode.packed.as_ref()).map(|packed| packed.unpacked().expect("facts")).collect();
            unpacking += began.elapsed();
            let began = Instant::now();
            for measured in &facts {
                std::hint::black_box(judge(&measured.facts, &suite, &measured.wants));
            }
            judging += began.elapsed();
        }
        println!("of {many} by one thread: reading {reading:.2?}, unpacking {unpacking:.2?}, judging {judging:.2?}");
    }
}

#[tokio::main]
async fn main() {
    raise_open_files().expect("file descriptors");
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_LOG", "warn".to_owned()));
    server.program = number("KEYSTONE_BENCH_PROGRAM", server.program.clone());
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let pool = server.database().await;
    let bench = Bench { server, client, pool };
    bench.pace(number("KEYSTONE_BENCH_ROBOTS", 20), number("KEYSTONE_BENCH_RECORDINGS", 100)).await;
    // Beside the small ones, facts of three cameras, an arm and an inertial sensor.
    let cameras = factory::seed(&bench.client, "Cameras", 1).await.expect("a factory");
    bench.record(&cameras, Profile::Cameras, 4).await;
    bench.equal_to_runs().await;
    bench.copy(number("KEYSTONE_BENCH_EPISODES", 100_000)).await;
    bench.what_if(number("KEYSTONE_BENCH_RUNS", 5)).await;
    bench.parts().await;
    bench.pool.close();
    let Bench { mut server, .. } = bench;
    server.stop().await;
}
