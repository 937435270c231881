//! `keystone simulate`: robots against any server, alone or with all that has to be around them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::{Client, id_of};
use super::factory::{self, Equipment, Factory};
use super::options::SimulateOptions;
use super::report::RobotReport;
use super::robot::{Robot, RobotConfig};
use super::work::{Pace, Recorded, work};

/// How often a collector looks, where there are few.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A server that is there answers within moments.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// The ack of a last upload comes right after its episode.
const LAST_ACK: Duration = Duration::from_secs(10);

/// Runs as many robots as `options` ask for, until `stop`, or until there are as many episodes. Where no robot ever finds
/// its server, that is an error.
pub async fn simulate(options: &SimulateOptions, stop: CancellationToken) -> anyhow::Result<Vec<RobotReport>> {
    let crew = tokio::select! {
        crew = Crew::of(options) => crew?,
        () = stop.cancelled() => return Ok(vec![]),
    };
    let addresses = crew.robots.first().map(|robot| format!("{} and {}", host_of(&robot.recorder_url), host_of(&robot.transfer_url)));
    let addresses = addresses.unwrap_or_default();
    let robots = crew.robots.into_iter().map(Robot::start).collect::<anyhow::Result<Vec<_>>>()?;
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = never_connected(&robots) => Err(anyhow::anyhow!(
            "no robot could connect to {addresses} within {} s; --recorder and --transfer, or --server, name a server that runs",
            FIRST_CONTACT.as_secs()
        )),
        ended = worked(crew.work, options) => ended,
    };
    if ended.is_ok() && !stop.is_cancelled() {
        let acked = async {
            for robot in &robots {
                // Ends at the latest with the robot.
                let _ = robot.report().wait_for(|report| report.acks.len() + report.failures.len() >= report.uploads.len()).await;
            }
        };
        let _in_time_or_not = tokio::time::timeout(LAST_ACK, acked).await;
    }
    let reports: Vec<_> = robots.iter().map(Robot::report).collect();
    let mut stopping: JoinSet<()> = robots.into_iter().map(Robot::stop).collect();
    while stopping.join_next().await.is_some() {}
    ended?;
    let reports: Vec<_> = reports.iter().map(|report| report.borrow().clone()).collect();
    let never: Vec<&str> = reports.iter().filter(|report| !has_connected(report)).map(|report| &*report.device_id).collect();
    ensure!(never.is_empty(), "never connected: {}; looked for {addresses}", never.join(", "));
    Ok(reports)
}

/// Without the path, which may hold a token.
fn host_of(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

fn has_connected(report: &RobotReport) -> bool {
    report.recorder_connections + report.transfer_connections > 0
}

/// Comes back when the time for a first connection is over and there was none.
async fn never_connected(robots: &[Robot]) {
    tokio::time::sleep(FIRST_CONTACT).await;
    if robots.iter().any(|robot| has_connected(&robot.report().borrow())) {
        std::future::pending().await
    }
}

/// Robots, and the factory that they work in where they work by themselves.
struct Crew {
    robots: Vec<RobotConfig>,
    work: Option<(Client, Factory)>,
}

impl Crew {
    async fn of(options: &SimulateOptions) -> anyhow::Result<Self> {
        let Some(server) = &options.server else {
            if options.s3_access_key.is_empty() {
                warn!(
                    "Robots upload without a key: a store that asks for one refuses them (--s3-access-key, or --server for keys of their own)"
                );
            }
            return Ok(Self { robots: options.robots()?, work: None });
        };
        let client = signed_in(server, options).await?;
        if options.device_id.is_some() {
            return Ok(Self { robots: registered(&client, server, options).await?, work: None });
        }
        let made = factory::seed(&client, &options.factory, usize::from(options.robots)).await.context("the factory")?;
        info!("Factory `{}` has {} workstations; their robots begin to record", options.factory, made.stations.len());
        let mut robots = vec![];
        for (n, place) in (0..).zip(&made.stations) {
            let robot = RobotConfig { factory_id: made.factory_id.to_string(), ..options.robot(&place.device_id, n)? };
            robots.push(Equipment::renewed(&client, place.robot_id).await?.on(robot));
        }
        Ok(Self { robots, work: Some((client, made)) })
    }
}

/// Robots that are at the server already.
async fn registered(client: &Client, server: &str, options: &SimulateOptions) -> anyhow::Result<Vec<RobotConfig>> {
    let mut robots = options.robots()?;
    for robot in &mut robots {
        let found = client.get(&format!("/robots?device_id={}", robot.device_id)).await?;
        let found = &found["items"][0];
        let robot_id = id_of(&found["id"]).with_context(|| {
            format!("{server} has no robot {}; without --device-id the robots that are missing are made", robot.device_id)
        })?;
        let factory_id = id_of(&found["factory_id"])?.to_string();
        *robot = Equipment::renewed(client, robot_id).await?.on(RobotConfig { factory_id, ..robot.clone() });
    }
    Ok(robots)
}

async fn signed_in(server: &str, options: &SimulateOptions) -> anyhow::Result<Client> {
    let password = options.password.as_deref().filter(|password| !password.is_empty());
    let password = password
        .with_context(|| format!("the password of `{}` is needed: set KEYSTONE_SIMULATE_PASSWORD, or give --password", options.account))?;
    Client::sign_in_at(server, &options.account, password, "--account and KEYSTONE_SIMULATE_PASSWORD say who does").await
}

/// Until there are as many episodes as are asked for.
async fn worked(crew: Option<(Client, Factory)>, options: &SimulateOptions) -> anyhow::Result<()> {
    let Some((client, made)) = crew else { return std::future::pending().await };
    let pace = Pace {
        recording: Duration::from_secs_f64(options.seconds),
        rest: Duration::from_millis(200),
        patience: Duration::from_secs_f64(options.seconds) + Duration::from_secs(120),
        // They share a login, and a server answers one only so often: together they look a hundred times a second.
        look_again: LOOK_AGAIN.max(Duration::from_millis(10) * u32::try_from(made.stations.len()).unwrap_or(u32::MAX)),
    };
    let (told, mut recorded) = mpsc::unbounded_channel();
    let say = async {
        let mut episodes = 0;
        while let Some(Recorded { device_id, task, episode }) = recorded.recv().await {
            match episode {
                Ok(episode) => {
                    episodes += 1;
                    let of = options.episodes.map(|all| format!(" ({episodes} of {all})")).unwrap_or_default();
                    info!(device.id = %device_id, task.id = %task, "{device_id}: `{task}` became episode {episode}{of}");
                }
                Err(error) => {
                    warn!(device.id = %device_id, task.id = %task, error = format!("{error:#}"), "A recording did not come to its end: {error:#}");
                }
            }
        }
    };
    let episodes = options.episodes.and_then(|episodes| usize::try_from(episodes).ok());
    let (worked, ()) = tokio::join!(work(&client, &made, pace, episodes, told), say);
    worked
}
