//! `serve --with-robot`: a seeded factory and simulated robots that keep working in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::cloud_beside;
use super::output::say;
use crate::app::App;
use crate::config::{Config, reachable};
use crate::embedded::{private_folder, write_private};
use crate::simulator::client::Client;
use crate::simulator::factory::{self, Equipment, Factory, Workplace};
use crate::simulator::work::{Pace, Recorded, work};
use crate::simulator::{Faults, RecordingProfile, Robot, RobotConfig, StoreConfig};

/// They end with the server.
pub struct RobotsAtWork {
    client: Client,
    made: Factory,
    /// Where the store is not our own: the key that all robots have.
    given_key: Option<(String, String)>,
    folder: PathBuf,
}

/// Of one server.
pub const ROBOTS_MAX: u16 = 50;

const PACE: Pace = Pace {
    recording: Duration::from_secs(3),
    rest: Duration::from_secs(2),
    patience: Duration::from_secs(120),
    // As often as a page of a person, whose log stays readable.
    look_again: Duration::from_secs(1),
};

/// How often it is said what they do, after the first episode.
const SUMMARY: Duration = Duration::from_secs(60);

impl RobotsAtWork {
    /// Makes what is missing of their factory, which an earlier start of this data folder may have made. Beside a simulated cloud, they are devices
    /// of its data platform.
    pub async fn prepare(app: &App, config: &Config, robots: u16, beside_cloud: bool) -> anyhow::Result<Self> {
        let client = Client::signed_in(&format!("http://{}", reachable(app.http)), app.admin_login())?;
        let folder = config.embedded.data_dir.join("robots");
        let made = at_home(&client, &folder, usize::from(robots)).await?;
        if beside_cloud {
            cloud_beside::bind(&client, made.stations.iter().map(|place| place.robot_id)).await?;
        }
        Ok(Self { client, made, given_key: given_key(config), folder })
    }

    /// The logins of their collectors: account, and password where it is known.
    pub fn collectors(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.made.stations.iter().map(|place| (place.operator_id.as_str(), place.password.as_deref()))
    }

    pub async fn run(self) -> anyhow::Result<()> {
        let mut robots = vec![];
        for (n, place) in self.made.stations.iter().enumerate() {
            // As robots do that are registered anew: with a token and a key of its own.
            let equipment = Equipment::renewed(&self.client, place.robot_id).await?;
            robots.push(Robot::start(equipment.on(self.robot(place, n)))?);
        }
        let (told, mut recorded) = mpsc::unbounded_channel();
        let work = work(&self.client, &self.made, PACE, None, told);
        let tell = async {
            let (mut episodes, mut said) = (0_u64, Instant::now());
            while let Some(Recorded { device_id, task, episode }) = recorded.recv().await {
                match episode {
                    Ok(episode) => {
                        episodes += 1;
                        if episodes == 1 {
                            say(&format!("{device_id}: {task} became episode {episode}; from now on a line a minute"))?;
                        } else if said.elapsed() >= SUMMARY {
                            say(&format!("{episodes} episodes since the start; the last is {episode}, of {device_id}"))?;
                            said = Instant::now();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(device.id = %device_id, error = format!("{error:#}"), "A simulated recording did not come to its end");
                    }
                }
            }
            anyhow::Ok(())
        };
        tokio::try_join!(work, tell).map(|_both| ())
    }

    fn robot(&self, place: &Workplace, n: usize) -> RobotConfig {
        let (access_key, secret_key) = self.given_key.clone().unwrap_or_default();
        RobotConfig {
            device_id: place.device_id.clone(),
            factory_id: self.made.factory_id.to_string(),
            recorder_url: String::new(),
            transfer_url: String::new(),
            recorder_token: None,
            store: StoreConfig { access_key, secret_key, ..StoreConfig::default() },
            data_dir: self.folder.join(&place.device_id),
            pace: 1.0,
            profile: RecordingProfile::small(2304),
            attempts_max: RobotConfig::ATTEMPTS_MAX,
            seed: n as u64,
            faults: Faults::default(),
        }
    }
}

/// The factory of an earlier start with as many workstations, or a new one that later starts find again.
async fn at_home(client: &Client, folder: &Path, robots: usize) -> anyhow::Result<Factory> {
    let file = folder.join("factory.json");
    let before: Option<Factory> = match std::fs::read(&file) {
        Ok(text) => Some(serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?),
        Err(_) => None,
    };
    let mut name = format!("Demo {}", chrono::Utc::now().format("%Y%m%d-%H%M%S"));
    if let Some(before) = &before {
        let known = client.call(reqwest::Method::GET, &format!("/factories/{}", before.factory_id), None).await?;
        // None where the database is another one.
        if let Some(given) = known.body["name"].as_str().and_then(factory::name_of) {
            name = given.to_owned();
        }
    }
    // All that there were, so that no login is forgotten.
    let stations = before.as_ref().map_or(0, |before| before.stations.len()).max(robots);
    let mut made = factory::seed(client, &name, stations).await?;
    for place in &mut made.stations {
        let earlier = before.iter().flat_map(|before| &before.stations).find(|earlier| earlier.station_id == place.station_id);
        place.password = place.password.take().or_else(|| earlier?.password.clone());
    }
    private_folder(folder)?;
    // Holds the passwords of simulated collectors, which open nothing but this factory.
    write_private(&file, &serde_json::to_vec_pretty(&made)?).with_context(|| format!("cannot write {}", file.display()))?;
    made.stations.truncate(robots);
    Ok(made)
}

/// The key of an S3 server that is not our own.
fn given_key(config: &Config) -> Option<(String, String)> {
    config.s3.endpoint.as_ref()?;
    Some((config.s3.access_key.clone()?, config.s3.secret_key.as_ref()?.expose().to_owned()))
}
