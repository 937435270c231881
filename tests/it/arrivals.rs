//! Robots at work behind one line: how long a recording takes from its end until it is verified, and that the dashboard says the same.
//!
//! `ARRIVALS_ROBOTS` makes it a whole factory; `make arrivals` does. Figures of a long run are in `docs/performance.md`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keystone_edge::listener::raise_open_files;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, Factory};
use keystone_edge::simulator::work::{Pace, Recorded, work};
use keystone_edge::simulator::{RecordingProfile, Robot, RobotConfig, StoreConfig, TopicKind, TopicProfile};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{temp_folder, until};

struct Plan {
    robots: usize,
    /// Of each robot.
    recordings: usize,
    recording: Duration,
    rest: Duration,
    /// Images of a recording, a second.
    images_hz: f64,
    look_again: Duration,
    /// What the line carries in a second, of all robots together.
    line_bytes: usize,
}

/// An image that nothing makes smaller.
const IMAGE: TopicKind = TopicKind::Image { width: 640, height: 480 };
const MBIT: usize = 1_000_000 / 8;
/// The aim: 95 of 100 recordings take no longer.
const P95_MAX_S: f64 = 300.0;
/// What lies between a robot's clock and the server's log at most: a callback on its way.
const CALLBACK_S: f64 = 10.0;

impl Plan {
    fn asked_for() -> Self {
        match std::env::var("ARRIVALS_ROBOTS").ok().and_then(|robots| robots.parse().ok()) {
            Some(robots) => Self {
                robots,
                recordings: 3,
                recording: Duration::from_secs(30),
                rest: Duration::from_secs(15),
                images_hz: 0.15,
                look_again: Duration::from_secs(2),
                line_bytes: 200 * MBIT,
            },
            None => Self {
                robots: 3,
                recordings: 2,
                recording: Duration::from_secs(1),
                rest: Duration::ZERO,
                images_hz: 1.0,
                look_again: Duration::from_millis(200),
                line_bytes: 40 * MBIT,
            },
        }
    }
}

/// A line that carries so much in a second, whoever sends; answers are small, and not held up.
struct Line {
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

/// What passes at once.
const STEP: usize = 16 << 10;

impl Line {
    async fn to(target: String, bytes_a_second: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let free_at = Arc::new(Mutex::new(Instant::now()));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, free_at) = (target.clone(), free_at.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(&target).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
                    let sent = async {
                        let mut piece = vec![0; STEP];
                        while let Ok(bytes @ 1..) = from_client.read(&mut piece).await {
                            let until = {
                                let mut free_at = free_at.lock().await;
                                *free_at = (*free_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / bytes_a_second as f64);
                                *free_at
                            };
                            sleep_until(until).await;
                            if to_server.write_all(&piece[..bytes]).await.is_err() {
                                return;
                            }
                        }
                        let _ = to_server.shutdown().await;
                    };
                    let answered = async {
                        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                        let _ = to_client.shutdown().await;
                    };
                    tokio::join!(sent, answered);
                });
            }
        });
        Self { address, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// By nearest rank.
fn share(sorted: &[f64], of_100: usize) -> f64 {
    sorted[(sorted.len() * of_100).div_ceil(100).max(1) - 1]
}

fn robots(plan: &Plan, server: &Server, made: &Factory, line: &Line) -> Vec<Robot> {
    let topic = |topic: &str, kind, rate_hz| TopicProfile { topic: topic.into(), kind, rate_hz };
    let profile = RecordingProfile { topics: vec![topic("/chatter", TopicKind::Text, 10.0), topic("/camera/rgb", IMAGE, plan.images_hz)] };
    let robot = |(n, place)| {
        let config = server.robot_config(place, made.factory_id, n);
        let store = StoreConfig { endpoint: format!("http://{}", line.address), ..config.store };
        let attempts_max = RobotConfig::ATTEMPTS_MAX;
        Robot::start(RobotConfig { pace: 1.0, profile: profile.clone(), store, attempts_max, ..config }).expect("a robot")
    };
    (0..).zip(&made.stations).map(robot).collect()
}

/// When each recording was verified, by the log.
const VERIFIED: &str = "select t.task_id, e.recorded_at from events e join tasks t on e.aggregate_id = t.id::text
    where e.aggregate_type = 'task' and e.event_type = 'upload_verified'";
/// What the dashboard has to show, from episodes and events.
const WAITED: &str = "select (extract(epoch from e.created_at - f.recorded_at))::float8 from episodes e
    join events f on f.aggregate_id = e.task_id::text
    where f.aggregate_type = 'task' and f.event_type = 'recording_finished' order by 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_arrive_in_time_and_the_dashboard_says_how_long_they_take() {
    let plan = Plan::asked_for();
    raise_open_files().expect("file descriptors");
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Arrivals", plan.robots).await.expect("a factory");
    let line = Line::to(server.address(3), plan.line_bytes).await;
    let robots = robots(&plan, &server, &made, &line);
    let (began, wanted) = (Instant::now(), plan.robots * plan.recordings);
    let patience = plan.recording + Duration::from_secs(900);
    let pace = Pace { recording: plan.recording, rest: plan.rest, patience, look_again: plan.look_again };
    let (said, mut recorded) = mpsc::unbounded_channel::<Recorded>();
    let listening = async {
        let mut failed = vec![];
        while let Some(one) = recorded.recv().await {
            failed.extend(one.episode.err().map(|error| format!("{}: {error:#}", one.task)));
        }
        failed
    };
    let (worked, failed) = tokio::join!(work(&client, &made, pace, Some(wanted), said), listening);
    worked.expect("they work");
    assert_eq!(failed, Vec::<String>::new(), "recordings did not become episodes\n{}", server.tail());
    let took = began.elapsed();

    // What the robots saw: the end of each recording by their clock, which is that of this machine, too.
    let mut ended: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    let mut sizes = vec![];
    for robot in &robots {
        for one in &robot.report().borrow().recordings {
            ended.insert(one.task_id.clone(), one.finished_at);
            sizes.push(one.size as f64);
        }
    }
    let database = server.database().await;
    let log = database.get().await.expect("a connection");
    let since_end = |row: &tokio_postgres::Row| {
        let (task, verified): (String, DateTime<Utc>) = (row.get(0), row.get(1));
        (verified - ended[&task]).as_seconds_f64()
    };
    let mut seen: Vec<f64> = log.query(VERIFIED, &[]).await.expect("the log").iter().map(since_end).collect();
    let logged: Vec<f64> = log.query(WAITED, &[]).await.expect("the log").iter().map(|row| row.get(0)).collect();
    for all in [&mut seen, &mut sizes] {
        all.sort_by(f64::total_cmp);
    }
    assert_eq!((seen.len(), logged.len()), (wanted, wanted), "each is verified");

    let mut shown = Value::Null;
    until("all uploads on the dashboard", async || {
        shown = client.get("/production/dashboard/overview").await.expect("the dashboard")["uploads"].clone();
        shown["verified"] == wanted
    })
    .await;
    let (p50, p95, longest) = (share(&seen, 50), share(&seen, 95), seen[wanted - 1]);
    println!(
        "{} robots, {wanted} recordings of {:.1} MB (median) in {:.0} s, over {} Mbit/s",
        plan.robots,
        share(&sizes, 50) / 1e6,
        took.as_secs_f64(),
        plan.line_bytes / MBIT
    );
    println!("end of recording → verified: p50 {p50:.2} s, p95 {p95:.2} s, longest {longest:.2} s; the dashboard shows {shown}");
    for (key, of_100) in [("p50_s", 50), ("p95_s", 95), ("longest_s", 100)] {
        let (shown, logged, seen) = (shown[key].as_f64().expect(key), share(&logged, of_100), share(&seen, of_100));
        // Two decimals are shown.
        assert!((shown - logged).abs() < 0.01, "{key}: {shown} shown, {logged} in the log");
        assert!((shown - seen).abs() < CALLBACK_S, "{key}: {shown} shown, {seen} seen by the robots");
    }
    assert!(p95 < P95_MAX_S, "95 of 100 recordings took no longer than {p95:.0} s");
    let mut stopping: JoinSet<()> = robots.into_iter().map(Robot::stop).collect();
    while stopping.join_next().await.is_some() {}
    server.stop().await;
}
