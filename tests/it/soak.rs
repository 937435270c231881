//! A factory under everything at once: robots that lose connections, callbacks, uploads and power; two server
//! processes on one database, one of them killed again and again; Postgres restarted; the object store away.
//!
//! `SOAK_ROBOTS` and `SOAK_MINUTES` make it longer; `make soak` does. Figures of a long run
//! are in `docs/reliability.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use deadpool_postgres::Pool;
use keystone_edge::eventstore::{log, story};
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::simulator::client::{Client, id_of};
use keystone_edge::simulator::collector::Collector;
use keystone_edge::simulator::factory::{self, DispatchedTask, Factory, Workplace};
use keystone_edge::simulator::{Faults, Profile, RecordingProfile, Robot, RobotConfig, RobotReport, StoreConfig};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::balancer::Balancer;
use crate::harness::server::{LEASE, PASSWORD, Server};
use crate::harness::{PrivatePostgres, TestObjects, temp_folder};

/// Waits and message rates of the robots are this much faster than real ones.
const PACE: f64 = 20.0;
const TASKS_AT_ONCE: usize = 5;
/// How long the factory may take to come to rest when nothing goes wrong any more.
const REST: Duration = Duration::from_secs(300);

struct Plan {
    robots: usize,
    length: Duration,
    kill_every: Duration,
    objects_away: Duration,
    /// How long each recording runs.
    recording: Duration,
    look_again: Duration,
}

impl Plan {
    fn asked_for() -> Self {
        let number =
            |name: &str| std::env::var(name).ok().map(|text| text.parse::<f64>().unwrap_or_else(|_| panic!("{name} is no number")));
        let minutes = number("SOAK_MINUTES");
        let robots = number("SOAK_ROBOTS").map(|robots| robots as usize);
        match minutes {
            Some(minutes) => Self {
                robots: robots.unwrap_or(200),
                length: Duration::from_secs_f64(minutes * 60.0),
                kill_every: Duration::from_secs(30),
                objects_away: Duration::from_secs(60),
                recording: Duration::from_secs(10),
                look_again: Duration::from_secs(1),
            },
            None => Self {
                robots: robots.unwrap_or(8),
                length: Duration::from_secs(20),
                kill_every: Duration::from_secs(5),
                objects_away: Duration::from_secs(4),
                recording: Duration::from_secs(1),
                look_again: Duration::from_millis(150),
            },
        }
    }
}

/// Per minute of the robots' time, which is three seconds.
const FAULTS: Faults = Faults {
    corrupt_messages: 0.05,
    repeated_messages: 0.02,
    lost_callbacks: 0.1,
    failed_uploads: 0.1,
    damaged_uploads: 0.003,
    lost_connections: 0.1,
    silences: 0.05,
    crashes: 0.02,
    doubles: 0.01,
};

struct Site {
    postgres: PrivatePostgres,
    /// Holds what the server of the store needs.
    _objects: TestObjects,
    objects_front: Balancer,
    servers: Vec<Server>,
    fronts: [Balancer; 3],
    folders: Vec<tempfile::TempDir>,
}

impl Site {
    async fn start() -> Self {
        let (postgres, objects) = (PrivatePostgres::start().await, TestObjects::new().await);
        let objects_front = Balancer::to(vec![objects.s3.address().to_string()]).await;
        let folders: Vec<_> = (0..3).map(|_| temp_folder()).collect();
        let endpoint = format!("http://{}", objects_front.address);
        let mut servers: Vec<_> = (0..2).map(|n: usize| Server::sharing(folders[n].path(), postgres.url(), &endpoint)).collect();
        for server in &mut servers {
            server.start();
            server.ready().await;
        }
        let front = async |n: usize| Balancer::to(servers.iter().map(|server| server.address(n)).collect()).await;
        let fronts = [front(0).await, front(1).await, front(2).await];
        Self { postgres, _objects: objects, objects_front, servers, fronts, folders }
    }

    fn base(&self) -> String {
        format!("http://{}", self.fronts[0].address)
    }

    fn robot(&self, made: &Factory, place: &Workplace, seed: u64) -> RobotConfig {
        RobotConfig {
            device_id: place.device_id.clone(),
            factory_id: made.factory_id.to_string(),
            recorder_url: format!("ws://{}/recorder/{}", self.fronts[1].address, place.device_id),
            transfer_url: format!("ws://{}/transfer", self.fronts[2].address),
            recorder_token: None,
            store: StoreConfig { endpoint: format!("http://{}", self.objects_front.address), ..self.servers[0].store() },
            data_dir: self.folders[2].path().join(&place.device_id),
            pace: PACE,
            profile: RecordingProfile::of(Profile::Minimal, 0),
            attempts_max: RobotConfig::ATTEMPTS_MAX,
            seed,
            faults: FAULTS,
        }
    }
}

/// A collector who never gives up: whatever waits at the workstation is recorded, and more is dispatched until
/// the shift is over; after it until the factory is at rest.
struct Shift {
    client: Client,
    made: Factory,
    collector: Collector,
    place: Workplace,
    order: i64,
    over: Arc<AtomicBool>,
    at_rest: Arc<AtomicBool>,
}

impl Shift {
    async fn work(self) {
        while !self.at_rest.load(Ordering::SeqCst) {
            if let Err(error) = self.round().await {
                println!("{}: {error:#}", self.place.device_id);
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn round(&self) -> anyhow::Result<()> {
        let mut tasks = vec![];
        for status in ["in_progress", "ready", "pending"] {
            let path = format!("/tasks?status={status}&workstation_id={}", self.place.station_id);
            for task in self.client.get(&path).await?["items"].as_array().into_iter().flatten() {
                tasks.push(DispatchedTask { id: id_of(&task["id"])?, public_id: task["task_id"].as_str().unwrap_or_default().to_owned() });
            }
        }
        if tasks.is_empty() {
            if self.over.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(500)).await;
            } else {
                factory::dispatch(&self.client, &self.made, self.order, &self.place, TASKS_AT_ONCE).await?;
            }
        }
        for task in tasks {
            self.collector.hand_over(&task, |_| {}).await?;
        }
        Ok(())
    }
}

async fn count(pool: &Pool, sql: &str) -> i64 {
    pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_everything_comes_to_its_end() {
    let plan = Plan::asked_for();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut site = Site::start().await;
    let client = Client::sign_in(&site.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Soak", plan.robots).await.expect("a factory");
    let (over, at_rest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (mut robots, mut work) = (BTreeMap::new(), JoinSet::new());
    for (n, place) in made.stations.iter().enumerate() {
        let order = factory::place_order(&client, &made, &format!("Station {n}"), 10_000).await.expect("an order");
        robots.insert(place.device_id.clone(), Robot::start(site.robot(&made, place, seed.wrapping_add(n as u64))).expect("a robot"));
        let collector = Collector {
            client: client.clone(),
            device_id: place.device_id.clone(),
            recording: plan.recording,
            patience: Duration::from_secs(120),
            look_again: plan.look_again,
        };
        let (client, made, place) = (client.clone(), made.clone(), place.clone());
        work.spawn(Shift { client, made, collector, place, order, over: over.clone(), at_rest: at_rest.clone() }.work());
    }

    let pool = site.postgres.connector().pool().expect("a pool");

    // The shift, with its accidents.
    let started = Instant::now();
    let (mut kills, mut next_kill) = (0, started + plan.kill_every);
    let restart_at = started + plan.length.mul_f64(0.35);
    let away = (started + plan.length.mul_f64(0.6), started + plan.length.mul_f64(0.6) + plan.objects_away);
    let (mut restarted, mut was_away, mut told) = (false, false, started);
    while started.elapsed() < plan.length {
        sleep(Duration::from_millis(100)).await;
        let now = Instant::now();
        if now >= next_kill {
            let server = &mut site.servers[kills % 2];
            server.kill();
            server.start();
            (kills, next_kill) = (kills + 1, next_kill + plan.kill_every);
        }
        if !restarted && now >= restart_at {
            site.postgres.stop().await;
            site.postgres.start_again().await;
            restarted = true;
        }
        let is_away = now >= away.0 && now < away.1;
        if was_away != is_away {
            site.objects_front.set_away(is_away);
            was_away = is_away;
        }
        if now >= told + Duration::from_secs(30) {
            told = now;
            println!("{:>4.0} s, {kills} kills: {}", started.elapsed().as_secs_f64(), states(&pool).await);
        }
    }
    site.objects_front.set_away(false);
    over.store(true, Ordering::SeqCst);

    // The robots are switched off and on again, and nothing goes wrong any more but what went wrong before.
    let mut reports: BTreeMap<String, Vec<RobotReport>> = BTreeMap::new();
    for server in &mut site.servers {
        server.ready().await;
    }
    for (n, place) in made.stations.iter().enumerate() {
        let robot = robots.remove(&place.device_id).expect("the robot");
        let report = robot.report();
        robot.stop().await;
        reports.entry(place.device_id.clone()).or_default().push(report.borrow().clone());
        let faults = Faults { damaged_uploads: FAULTS.damaged_uploads, ..Faults::default() };
        let config = RobotConfig { faults, ..site.robot(&made, place, seed.wrapping_add(n as u64)) };
        robots.insert(place.device_id.clone(), Robot::start(config).expect("a robot"));
    }
    let damaged = |robots: &BTreeMap<String, Robot>, reports: &BTreeMap<String, Vec<RobotReport>>| -> BTreeSet<String> {
        let now = robots.values().flat_map(|robot| robot.report().borrow().damaged.clone());
        reports.values().flatten().flat_map(|report| report.damaged.clone()).chain(now).collect()
    };
    let resting = Instant::now();
    loop {
        let open = open_tasks(&pool).await;
        let allowed = damaged(&robots, &reports);
        let rest: Vec<_> = open.iter().filter(|(task, status, _)| !(status == "uploading" && allowed.contains(task))).collect();
        if rest.is_empty() && count(&pool, "select count(*) from outbox").await == 0 {
            break;
        }
        if resting.elapsed() > REST {
            let waiting = count(&pool, "select count(*) from outbox").await;
            for (task, ..) in rest.iter().take(3) {
                tell_story(&pool, task).await;
            }
            panic!("seed {seed}: no end for {rest:#?}; {waiting} deliveries wait\n{}", site.servers[0].tail());
        }
        sleep(Duration::from_millis(500)).await;
    }
    let rested = resting.elapsed();
    at_rest.store(true, Ordering::SeqCst);
    while let Some(ended) = work.join_next().await {
        ended.expect("a collector");
    }
    for (device, robot) in robots {
        let report = robot.report();
        robot.stop().await;
        reports.entry(device).or_default().push(report.borrow().clone());
    }
    sleep(LEASE).await;

    let all: Vec<&RobotReport> = reports.values().flatten().collect();
    let violations: Vec<_> = all.iter().flat_map(|report| &report.violations).collect();
    for task in violations.iter().filter_map(|violation| violation.task_id()).take(3) {
        tell_story(&pool, task).await;
    }
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    let lost = lost_recordings(&site, &made, &reports);
    assert!(lost.is_empty(), "seed {seed}: lost {lost:#?}");
    let early = early_acks(&pool, &all).await;
    assert!(early.is_empty(), "seed {seed}: acked too early {early:#?}");
    assert_eq!(count(&pool, "select count(*) - count(distinct task_id) from episodes").await, 0, "seed {seed}: two episodes of one task");
    assert_eq!(count(&pool, "select count(*) from dead_letters").await, 0, "seed {seed}");
    wrong_ends(&pool, &all, seed).await;
    for server in &mut site.servers {
        server.stop().await;
    }
    check_log(&site, &pool).await;
    tell(&plan, &pool, &all, kills, rested).await;
}

/// Tasks that nobody may leave like that.
async fn open_tasks(pool: &Pool) -> Vec<(String, String, Option<String>)> {
    let client = pool.get().await.expect("a connection");
    let sql =
        "select task_id, status, error_message from tasks where status in ('pending', 'ready', 'in_progress', 'uploading') order by id";
    client.query(sql, &[]).await.expect("tasks").iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn tell_story(pool: &Pool, task: &str) {
    println!("{task}:");
    for told in story::of_task(pool, task).await.expect("its story") {
        println!("  {} {} {}", told.event.metadata["occurred_at"], told.event.event_type, told.event.payload);
    }
}

async fn states(pool: &Pool) -> String {
    let Ok(client) = pool.get().await else { return "no database".to_owned() };
    let rows = client.query("select status, count(*) from tasks group by 1 order by 1", &[]).await.unwrap_or_default();
    let states: Vec<String> = rows.iter().map(|row| format!("{} {}", row.get::<_, i64>(1), row.get::<_, String>(0))).collect();
    states.join(", ")
}

/// Finished recordings that are neither acked nor on their robot's disk.
fn lost_recordings(site: &Site, made: &Factory, reports: &BTreeMap<String, Vec<RobotReport>>) -> Vec<String> {
    let hash = |path: &Path| std::fs::read(path).map(|bytes| hex::encode(Sha256::digest(bytes))).unwrap_or_default();
    let mut lost = vec![];
    for place in &made.stations {
        let (config, reports) = (site.robot(made, place, 0), &reports[&place.device_id]);
        let acked: BTreeSet<&str> = reports.iter().flat_map(|report| &report.acks).map(|ack| ack.sha256.as_str()).collect();
        for recording in reports.iter().flat_map(|report| &report.recordings) {
            let kept = || config.mcap_paths(&recording.task_id).iter().any(|path| hash(path) == recording.sha256);
            if !acked.contains(recording.sha256.as_str()) && !kept() {
                lost.push(format!("{} of {}", recording.task_id, place.device_id));
            }
        }
    }
    lost
}

/// Acks that arrived before the event that they stand on was recorded.
async fn early_acks(pool: &Pool, reports: &[&RobotReport]) -> Vec<String> {
    let client = pool.get().await.expect("a connection");
    let sql = "select t.task_id, min(e.recorded_at) from events e join tasks t on e.aggregate_type = 'task' and e.aggregate_id = t.id::text
               where e.event_type in ('upload_verified', 'late_upload_verified') group by 1";
    let rows = client.query(sql, &[]).await.expect("events");
    let durable: BTreeMap<String, DateTime<Utc>> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let acks = reports.iter().flat_map(|report| &report.acks);
    acks.filter(|ack| durable.get(&ack.task_id).is_none_or(|at| *at > ack.at)).map(|ack| format!("{ack:?}")).collect()
}

/// A completed task has the very bytes that its robot recorded; a failed one has an upload that was given up.
async fn wrong_ends(pool: &Pool, reports: &[&RobotReport], seed: u64) {
    let recorded: BTreeSet<(&str, &str)> =
        reports.iter().flat_map(|report| &report.recordings).map(|one| (one.task_id.as_str(), one.sha256.as_str())).collect();
    let uploaded: BTreeSet<(&str, &str)> =
        reports.iter().flat_map(|report| &report.uploads).map(|one| (one.task_id.as_str(), one.sha256.as_str())).collect();
    let given_up: BTreeSet<&str> = reports.iter().flat_map(|report| &report.failures).map(|failure| failure.task_id.as_str()).collect();
    let client = pool.get().await.expect("a connection");
    let sql = "select t.task_id, t.status, coalesce(e.checksum, ''), coalesce(t.error_message, '') from tasks t left join episodes e on e.task_id = t.id";
    for row in client.query(sql, &[]).await.expect("tasks") {
        let (task, status, checksum, error): (String, String, String, String) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let right = match status.as_str() {
            // A robot that was killed between the end of a file and its report does not know of it, but uploaded it.
            "completed" => recorded.contains(&(&task, &checksum)) || uploaded.contains(&(&task, &checksum)),
            "failed" => given_up.contains(task.as_str()),
            "uploading" => checksum.is_empty() && !error.is_empty(),
            _ => false,
        };
        assert!(right, "seed {seed}: {task} is {status}: {error}");
    }
}

async fn check_log(site: &Site, pool: &Pool) {
    crate::factory::place_all(&site.postgres.connector()).await;
    assert_eq!(log::verify(pool).await.expect("a check"), []);
    assert_eq!(log::head(pool).await.expect("a head").unplaced, 0);
    assert_eq!(rebuild(pool).await.expect("a rebuild").differences, []);
}

/// The figures, as `docs/reliability.md` shows them.
async fn tell(plan: &Plan, pool: &Pool, reports: &[&RobotReport], kills: usize, rested: Duration) {
    let sum = |what: fn(&RobotReport) -> usize| reports.iter().map(|report| what(report)).sum::<usize>();
    let recorded: BTreeMap<&str, DateTime<Utc>> =
        reports.iter().flat_map(|report| &report.recordings).map(|one| (one.task_id.as_str(), one.finished_at)).collect();
    let acks = reports.iter().flat_map(|report| &report.acks);
    let mut waits: Vec<f64> = acks.filter_map(|ack| Some((ack.at - *recorded.get(ack.task_id.as_str())?).as_seconds_f64())).collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "robots {}, {:.0} s, {kills} kills of a server, rest after {:.1} s",
        plan.robots,
        plan.length.as_secs_f64(),
        rested.as_secs_f64()
    );
    println!("tasks: {}", states(pool).await);
    println!("events {}", log::head(pool).await.expect("a head").position);
    println!(
        "recordings {}, uploads {}, acks {}, repeated acks {}",
        sum(|r| r.recordings.len()),
        sum(|r| r.uploads.len()),
        sum(|r| r.acks.len()),
        sum(|r| r.repeated_acks as usize)
    );
    println!(
        "connections {}, robots killed {}",
        sum(|r| (r.recorder_connections + r.transfer_connections) as usize),
        sum(|r| r.crashes as usize)
    );
    println!(
        "callbacks {}, of them lost {}",
        sum(|r| r.callbacks.len()),
        sum(|r| r.callbacks.iter().filter(|one| one.outcome.is_err()).count())
    );
    println!("uploads given up {}, damaged {}", sum(|r| r.failures.len()), sum(|r| r.damaged.len()));
    println!(
        "from the end of a recording to its ack: p50 {:.1} s, p99 {:.1} s, longest {:.1} s",
        at(0.5),
        at(0.99),
        waits.last().copied().unwrap_or_default()
    );
}
