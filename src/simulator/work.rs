//! Robots and their collectors at work by themselves: each workstation gets an order and a batch of it, records its tasks, and
//! gets the next one.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::{Client, id_of};
use super::collector::Collector;
use super::factory::{self, DispatchedTask, Factory, Workplace};

/// Tasks dispatched at once to each workstation.
const BATCH: usize = 5;
/// A workstation whose recordings fail so often in a row does not get better by another one.
const FAILURES_MAX: u32 = 3;

/// How they work.
#[derive(Clone, Copy)]
pub struct Pace {
    /// How long each recording runs, and the rest after it.
    pub recording: Duration,
    pub rest: Duration,
    /// One task may take this long before it is given up and the next one is tried.
    pub patience: Duration,
    /// Between two looks at a task.
    pub look_again: Duration,
}

/// What is told of one task.
pub struct Recorded {
    pub device_id: String,
    pub task: String,
    /// The episode that it became.
    pub episode: anyhow::Result<i64>,
}

/// Records with all workstations until there are so many episodes; without an end where no number is given.
pub async fn work(
    client: &Client,
    made: &Factory,
    pace: Pace,
    episodes: Option<usize>,
    told: mpsc::UnboundedSender<Recorded>,
) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for n in 0..made.stations.len() {
        let share = episodes.map(|all| all / made.stations.len() + usize::from(n < all % made.stations.len()));
        let worker = Worker { client: client.clone(), made: made.clone(), place: made.stations[n].clone(), pace, told: told.clone() };
        workers.spawn(worker.work(share));
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a workstation panicked")??;
    }
    Ok(())
}

struct Worker {
    client: Client,
    made: Factory,
    place: Workplace,
    pace: Pace,
    told: mpsc::UnboundedSender<Recorded>,
}

impl Worker {
    async fn work(self, share: Option<usize>) -> anyhow::Result<()> {
        let collector = Collector {
            client: self.client.clone(),
            device_id: self.place.device_id.clone(),
            recording: self.pace.recording,
            patience: self.pace.patience,
            look_again: self.pace.look_again,
        };
        let (mut recorded, mut failed) = (0, 0);
        let left = |recorded: usize| share.map_or(BATCH, |share| share.saturating_sub(recorded));
        while left(recorded) > 0 {
            for task in self.tasks(left(recorded)).await? {
                let episode = collector.record(&task, |_| {}).await;
                (recorded, failed) = if episode.is_ok() { (recorded + 1, 0) } else { (recorded, failed + 1) };
                let given_up = (share.is_some() && failed == FAILURES_MAX)
                    .then(|| format!("{} does not get its tasks recorded", self.place.device_id));
                // Nobody may listen any more.
                let _ = self.told.send(Recorded { device_id: self.place.device_id.clone(), task: task.public_id, episode });
                if let Some(given_up) = given_up {
                    anyhow::bail!(given_up);
                }
                if left(recorded) == 0 {
                    break;
                }
                tokio::time::sleep(self.pace.rest).await;
            }
        }
        Ok(())
    }

    /// Tasks that no robot has begun, those of an earlier run among them; else of a new order.
    async fn tasks(&self, wanted: usize) -> anyhow::Result<Vec<DispatchedTask>> {
        let waiting = self.waiting().await?;
        if !waiting.is_empty() {
            return Ok(waiting);
        }
        let size = wanted.min(BATCH);
        let name = format!("Shelves, {}, {}", self.place.device_id, chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.3f"));
        let order = factory::place_order(&self.client, &self.made, &name, size).await?;
        factory::dispatch(&self.client, &self.made, order, &self.place, size).await
    }

    async fn waiting(&self) -> anyhow::Result<Vec<DispatchedTask>> {
        let found = self.client.get(&format!("/tasks?status=pending&workstation_id={}", self.place.station_id)).await?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let task = |task: &serde_json::Value| {
            let public_id = task["task_id"].as_str().unwrap_or_default().to_owned();
            Ok(DispatchedTask { id: id_of(&task["id"])?, public_id })
        };
        items.iter().map(task).collect()
    }
}
