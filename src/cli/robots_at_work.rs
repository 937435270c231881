//! `serve --with-robot`: a seeded factory and simulated robots that keep working in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::App;
use crate::config::{Config, reachable};
use crate::embedded::{private_folder, write_private};
use crate::simulator::client::{Client, id_of};
use crate::simulator::collector::Collector;
use crate::simulator::factory::{self, Equipment};
use crate::simulator::{Faults, RecordingProfile, Robot, RobotConfig, StoreConfig};

/// They end with the server.
pub struct RobotsAtWork {
    client: Client,
    /// Where the store is not our own: the key that all robots have.
    given_key: Option<(String, String)>,
    folder: PathBuf,
    robots: u16,
}

/// How long each recording of a robot at work runs, and how long it rests between two.
const RECORDING: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(2);
/// One task may take this long before it is given up and the next one is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// Tasks dispatched at once to each robot at work.
const BATCH: usize = 5;

impl RobotsAtWork {
    pub fn of(app: &App, config: &Config, robots: u16) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::signed_in(&format!("http://{}", reachable(app.http)), app.admin_login())?,
            given_key: given_key(config),
            folder: config.embedded.data_dir.join("robots"),
            robots,
        })
    }

    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.client.clone();
        let made = self.factory(&client).await?;
        println!("{} workstation(s) at work; their collectors log in as:", made.stations.len());
        for place in &made.stations {
            println!("  {}  {}   (robot {})", place.operator_id, place.password, place.device_id);
        }
        let mut workers = tokio::task::JoinSet::new();
        for (n, place) in made.stations.iter().cloned().enumerate() {
            // As robots do that are registered anew: with a token and a key of its own.
            let Equipment { token, recorder_url, transfer_url, store } = Equipment::renewed(&client, place.robot_id).await?;
            let config = RobotConfig {
                device_id: place.device_id.clone(),
                factory_id: made.factory_id.to_string(),
                recorder_url,
                transfer_url,
                recorder_token: Some(token),
                store: with_key(store, self.given_key.as_ref()),
                data_dir: self.folder.join(&place.device_id),
                pace: 1.0,
                profile: RecordingProfile::small(2304),
                attempts_max: RobotConfig::ATTEMPTS_MAX,
                seed: n as u64,
                faults: Faults::default(),
            };
            let (client, made) = (client.clone(), made.clone());
            workers.spawn(async move {
                let _robot = Robot::start(config)?;
                work_forever(client, made, n).await
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.context("a robot at work panicked")??;
        }
        Ok(())
    }

    /// The factory of an earlier start, or a new one that later starts find again.
    async fn factory(&self, client: &Client) -> anyhow::Result<factory::Factory> {
        let file = self.folder.join("factory.json");
        if let Ok(text) = std::fs::read(&file) {
            let made: factory::Factory = serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?;
            let known = client.call(reqwest::Method::GET, &format!("/factories/{}", made.factory_id), None).await?;
            if known.status.is_success() && made.stations.len() == usize::from(self.robots) {
                return Ok(made);
            }
        }
        let name = format!("Demo {}", chrono::Utc::now().format("%Y%m%d-%H%M%S"));
        let made = factory::seed(client, &name, usize::from(self.robots)).await?;
        private_folder(&self.folder)?;
        // Holds the passwords of simulated collectors, which open nothing but this factory.
        write_private(&file, &serde_json::to_vec_pretty(&made)?).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(made)
    }
}

/// Tasks that no robot has begun, an earlier start's among them.
async fn waiting_tasks(client: &Client, place: &factory::Workplace) -> anyhow::Result<Vec<factory::DispatchedTask>> {
    let found = client.get(&format!("/tasks?status=pending&workstation_id={}", place.station_id)).await?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|task| {
            let public_id = task["task_id"].as_str().unwrap_or_default().to_owned();
            Ok(factory::DispatchedTask { id: id_of(&task["id"])?, public_id })
        })
        .collect()
}

/// Records what waits, then one order of [`BATCH`] tasks after the other.
async fn work_forever(client: Client, made: factory::Factory, n: usize) -> anyhow::Result<()> {
    let place = made.stations[n].clone();
    let collector = Collector {
        client: client.clone(),
        device_id: place.device_id.clone(),
        recording: RECORDING,
        patience: PATIENCE,
        // As often as a page of a person, whose log stays readable.
        look_again: Duration::from_secs(1),
    };
    loop {
        let mut tasks = waiting_tasks(&client, &place).await?;
        if tasks.is_empty() {
            let name = format!("Shelves, robot {}, {}", n + 1, chrono::Utc::now().format("%Y-%m-%d %H:%M:%S"));
            let order = factory::place_order(&client, &made, &name, BATCH).await?;
            tasks = factory::dispatch(&client, &made, order, &place, BATCH).await?;
        }
        for task in tasks {
            match collector.record(&task, |_| {}).await {
                Ok(episode) => println!("{}: {} became episode {episode}", place.device_id, task.public_id),
                Err(error) => {
                    tracing::warn!(device.id = %place.device_id, error = format!("{error:#}"), "A simulated recording did not come to its end")
                }
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// The key of an S3 server that is not our own.
fn given_key(config: &Config) -> Option<(String, String)> {
    config.s3.endpoint.as_ref()?;
    Some((config.s3.access_key.clone()?, config.s3.secret_key.as_ref()?.expose().to_owned()))
}

/// The store with a key, which it has already where it is our own.
fn with_key(store: StoreConfig, given: Option<&(String, String)>) -> StoreConfig {
    match given {
        Some((access_key, secret_key)) => StoreConfig { access_key: access_key.clone(), secret_key: secret_key.clone(), ..store },
        None => store,
    }
}
