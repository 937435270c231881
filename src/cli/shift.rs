//! The shift of `keystone demo`: what each workstation does, and what goes wrong there on purpose.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::simulator::client::Client;
use crate::simulator::collector::{Collector, Progress};
use crate::simulator::factory::{self, DispatchedTask, Factory, Workplace};
use crate::simulator::{AckReport, Faults, RecordingReport, Robot, RobotConfig, RobotReport, file_sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    Nothing,
    /// The collector has the robot throw a recording away, and records it again.
    RecordingCancelled,
    /// The batch is cancelled while its first task is recorded.
    BatchCancelled,
    /// The robot's connections end while it records.
    ConnectionLost,
    /// Another robot with the same id takes the connections while this one records.
    TakenOver,
    /// The robot is killed while it records, and started again.
    RobotKilled,
    /// No attempt to upload succeeds.
    UploadGivenUp,
    /// What arrives in the object store is not what was recorded.
    ObjectDamaged,
}

impl Incident {
    pub fn told(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::RecordingCancelled => "recording cancelled, then recorded again",
            Self::BatchCancelled => "batch cancelled",
            Self::ConnectionLost => "connections lost while recording",
            Self::TakenOver => "another robot with its id took the connections",
            Self::RobotKilled => "robot killed while recording, then recorded again",
            Self::UploadGivenUp => "upload given up; the robot keeps its file",
            Self::ObjectDamaged => "object damaged: no ack, the robot keeps its file",
        }
    }

    /// How the task has to end.
    fn status(self) -> &'static str {
        match self {
            Self::BatchCancelled => "cancelled",
            Self::UploadGivenUp => "failed",
            Self::ObjectDamaged => "uploading",
            Self::Nothing | Self::RecordingCancelled | Self::ConnectionLost | Self::TakenOver | Self::RobotKilled => "completed",
        }
    }

    fn faults(self) -> Faults {
        match self {
            Self::UploadGivenUp => Faults { failed_uploads: 1.0, ..Faults::default() },
            Self::ObjectDamaged => Faults { damaged_uploads: 1.0, ..Faults::default() },
            _ => Faults::default(),
        }
    }
}

use Incident::{BatchCancelled, ConnectionLost, Nothing, ObjectDamaged, RecordingCancelled, RobotKilled, TakenOver, UploadGivenUp};

/// Four workstations, six tasks each.
pub const PLAN: [[Incident; 6]; 4] = [
    [Nothing, Nothing, RecordingCancelled, Nothing, BatchCancelled, BatchCancelled],
    [Nothing, UploadGivenUp, Nothing, Nothing, Nothing, Nothing],
    [Nothing, ConnectionLost, Nothing, TakenOver, Nothing, Nothing],
    [ObjectDamaged, Nothing, Nothing, RobotKilled, Nothing, Nothing],
];
pub const TASKS: usize = PLAN.len() * PLAN[0].len();

/// How long one task may take in all, and how long an ack may.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long another robot stays.
const TAKEN_OVER: Duration = Duration::from_secs(1);
/// Steps of a progress bar per task.
const STEPS: usize = 5;

/// What became of a task.
pub struct Outcome {
    pub device_id: String,
    pub task: DispatchedTask,
    pub incident: Incident,
    pub status: String,
    /// Null where there is none.
    pub episode: Value,
    pub ack: Option<AckReport>,
    recording: Option<RecordingReport>,
    /// Hash of the robot's file, if there is one.
    kept: Option<String>,
}

impl Outcome {
    /// What is not as it was promised.
    pub fn check(&self) -> Vec<String> {
        let mut broken = vec![];
        let mut must = |holds: bool, promise: &str| {
            if !holds {
                broken.push(format!("{} ({}): {promise}", self.task.public_id, self.incident.told()));
            }
        };
        must(self.status == self.incident.status(), &format!("it is {} instead of {}", self.status, self.incident.status()));
        let sha256 = self.recording.as_ref().map(|recording| recording.sha256.as_str());
        match self.incident.status() {
            "completed" => {
                let recording = self.recording.as_ref();
                must(sha256.is_some() && self.episode["checksum"].as_str() == sha256, "the episode is not what was recorded");
                must(self.episode["file_size_bytes"].as_u64() == recording.map(|one| one.size), "the size differs");
                must(self.episode["message_count"].as_u64() == recording.map(|one| one.message_count), "the message count differs");
                must(self.ack.as_ref().map(|ack| ack.sha256.as_str()) == sha256, "the ack is not for what was recorded");
                must(self.kept.is_none(), "the robot still has its file");
            }
            "cancelled" => {
                must(self.episode.is_null() && self.ack.is_none(), "it has an episode or an ack");
                must(self.kept.is_none(), "the robot still has its file");
            }
            _ => {
                must(self.episode.is_null() && self.ack.is_none(), "it has an episode or an ack");
                must(self.kept.is_some() && self.kept.as_deref() == sha256, "the robot's copy is gone");
            }
        }
        broken
    }
}

/// One workplace with its robot and its collector.
pub struct Workstation {
    collector: Collector,
    config: RobotConfig,
    robot: Option<Robot>,
    /// Of the robot's earlier lives.
    reports: Vec<RobotReport>,
    tasks: Vec<DispatchedTask>,
    bar: ProgressBar,
    pub outcomes: Vec<Outcome>,
}

impl Workstation {
    /// Dispatches the tasks: the last two are a batch of their own.
    pub async fn open(
        client: Client,
        made: &Factory,
        order: i64,
        place: &Workplace,
        config: RobotConfig,
        recording: Duration,
        bar: ProgressBar,
    ) -> anyhow::Result<Self> {
        let mut tasks = vec![];
        for quantity in [PLAN[0].len() - 2, 2] {
            tasks.extend(factory::dispatch(&client, made, order, place, quantity).await?);
        }
        bar.set_length((tasks.len() * STEPS) as u64);
        let look_again = Collector::LOOK_AGAIN;
        let collector = Collector { client, device_id: place.device_id.clone(), recording, patience: PATIENCE, look_again };
        Ok(Self { collector, config, robot: None, reports: vec![], tasks, bar, outcomes: vec![] })
    }

    /// The whole plan, one task after the other.
    pub async fn work(mut self, plan: [Incident; 6]) -> anyhow::Result<Self> {
        let mut faults = None;
        for (n, (task, incident)) in self.tasks.clone().into_iter().zip(plan).enumerate() {
            if faults != Some(incident.faults()) {
                self.switch_on(incident.faults()).await?;
                faults = Some(incident.faults());
            }
            let status = self.task(n, &task, incident).await.with_context(|| format!("{} ({incident:?})", task.public_id))?;
            self.step(n, STEPS, &with_incident(&status, incident));
        }
        self.bar.finish_with_message("done");
        // Acks may come after the status.
        for (task, incident) in self.tasks.clone().into_iter().zip(plan) {
            let outcome = self.look_at(task, incident).await?;
            self.outcomes.push(outcome);
        }
        self.switch_off().await;
        Ok(self)
    }

    async fn switch_off(&mut self) {
        if let Some(robot) = self.robot.take() {
            let report = robot.report();
            robot.stop().await;
            self.reports.push(report.borrow().clone());
        }
    }

    async fn switch_on(&mut self, faults: Faults) -> anyhow::Result<()> {
        self.switch_off().await;
        self.robot = Some(Robot::start(RobotConfig { faults, ..self.config.clone() })?);
        Ok(())
    }

    fn robot(&self) -> anyhow::Result<&Robot> {
        self.robot.as_ref().context("the robot is switched off")
    }

    fn step(&self, n: usize, step: usize, text: &str) {
        self.bar.set_position((n * STEPS + step) as u64);
        self.bar.set_message(format!("task {} of {}: {text}", n + 1, self.tasks.len()));
        if self.bar.is_hidden() && step == STEPS {
            println!("  {}: task {} of {}: {text}", self.collector.device_id, n + 1, self.tasks.len());
        }
    }

    /// Until the task has ended, or is where its incident leaves it; answers its status.
    async fn task(&mut self, n: usize, task: &DispatchedTask, incident: Incident) -> anyhow::Result<String> {
        let killed = if incident == Incident::RobotKilled { self.robot.take() } else { None };
        let statuses = watch::Sender::new(String::new());
        let mut recording = statuses.subscribe();
        let seen = |status: String| {
            let step = ["pending", "ready", "in_progress", "uploading"].iter().position(|known| *known == status).unwrap_or(4);
            self.step(n, step, &with_incident(&status, incident));
            statuses.send_replace(status);
        };
        match incident {
            Incident::ObjectDamaged | Incident::UploadGivenUp => {
                self.collector.hand_over(task, seen).await?;
                self.until_refused(task).await
            }
            Incident::BatchCancelled => {
                // Only the first of them is recorded; the other one is cancelled with it.
                if self.status(task).await? == "cancelled" {
                    return Ok("cancelled".to_owned());
                }
                let (status, cancelled) = tokio::join!(self.collector.hand_over(task, seen), async {
                    self.halfway(&mut recording).await?;
                    self.cancel_batch(task).await
                });
                cancelled?;
                status
            }
            Incident::RobotKilled => {
                let (client, device) = (self.collector.client.clone(), self.collector.device_id.clone());
                let robot = killed.context("the robot is switched off")?;
                let config = self.config.clone();
                let half = self.collector.recording / 2;
                let killed = async {
                    recording.wait_for(|status| status == "in_progress").await?;
                    tokio::time::sleep(half).await;
                    let report = robot.report();
                    robot.crash().await;
                    // The server sees that no robot is there.
                    let connected = || async { client.get(&format!("/devices/{device}/connection")).await };
                    while connected().await?["connected"] == true {
                        tokio::time::sleep(Collector::LOOK_AGAIN).await;
                    }
                    anyhow::Ok((report.borrow().clone(), Robot::start(config)?))
                };
                let (episode, killed) = tokio::join!(self.collector.record(task, progress(seen)), killed);
                let (report, robot) = killed?;
                self.reports.push(report);
                self.robot = Some(robot);
                episode.map(|_| "completed".to_owned())
            }
            Incident::Nothing | Incident::RecordingCancelled | Incident::ConnectionLost | Incident::TakenOver => {
                let (episode, happened) =
                    tokio::join!(self.collector.record(task, progress(seen)), self.happen(incident, task, &mut recording));
                happened?;
                episode.map(|_| "completed".to_owned())
            }
        }
    }

    /// In the middle of the recording.
    async fn halfway(&self, statuses: &mut watch::Receiver<String>) -> anyhow::Result<()> {
        statuses.wait_for(|status| status == "in_progress").await?;
        tokio::time::sleep(self.collector.recording / 2).await;
        Ok(())
    }

    async fn happen(&self, incident: Incident, task: &DispatchedTask, statuses: &mut watch::Receiver<String>) -> anyhow::Result<()> {
        if incident == Incident::Nothing {
            return Ok(());
        }
        self.halfway(statuses).await?;
        match incident {
            Incident::ConnectionLost => self.robot()?.lose_connections(),
            Incident::TakenOver => {
                let name = format!("{}-double", self.collector.device_id);
                let double = Robot::start(RobotConfig { data_dir: self.config.data_dir.with_file_name(name), ..self.config.clone() })?;
                tokio::time::sleep(TAKEN_OVER).await;
                double.stop().await;
            }
            Incident::RecordingCancelled => {
                let path = format!("/recorder/{}/cancel", self.collector.device_id);
                let body = json!({ "task_id": task.public_id });
                let reply = self.collector.client.call(Method::POST, &path, Some(&body)).await?;
                if !reply.status.is_success() {
                    bail!("the recording could not be cancelled: {} {}", reply.status, reply.body);
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn cancel_batch(&self, task: &DispatchedTask) -> anyhow::Result<()> {
        let batch = self.collector.client.get(&format!("/tasks/{}", task.id)).await?["batch_id"].clone();
        let batch = batch.as_str().map_or_else(|| batch.to_string(), str::to_owned);
        let body = json!({ "status": "cancelled" });
        let reply = self.collector.client.call(Method::PATCH, &format!("/batches/{batch}"), Some(&body)).await?;
        if !reply.status.is_success() {
            bail!("batch {batch} could not be cancelled: {} {}", reply.status, reply.body);
        }
        Ok(())
    }

    async fn status(&self, task: &DispatchedTask) -> anyhow::Result<String> {
        let found = self.collector.client.get(&format!("/tasks/{}", task.id)).await?;
        Ok(found["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Until the server has said what is wrong with the upload.
    async fn until_refused(&self, task: &DispatchedTask) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let found = self.collector.client.get(&format!("/tasks/{}", task.id)).await?;
            let status = found["status"].as_str().unwrap_or_default();
            if status != "uploading" || found["error_message"].as_str().is_some_and(|error| !error.is_empty()) {
                return Ok(status.to_owned());
            }
            tokio::time::sleep(self.collector.look_again).await;
        }
        bail!("nothing was said about the upload of {}", task.public_id)
    }

    fn lives(&self) -> Vec<RobotReport> {
        let now = self.robot.iter().map(|robot| robot.report().borrow().clone());
        self.reports.iter().cloned().chain(now).collect()
    }

    async fn look_at(&self, task: DispatchedTask, incident: Incident) -> anyhow::Result<Outcome> {
        let ack_of = |lives: &[RobotReport]| lives.iter().flat_map(|report| report.acks.clone()).find(|ack| ack.task_id == task.public_id);
        let found = self.collector.client.get(&format!("/tasks/{}", task.id)).await?;
        let status = found["status"].as_str().unwrap_or_default().to_owned();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while status == "completed" && ack_of(&self.lives()).is_none() {
            if tokio::time::Instant::now() > deadline {
                bail!("no ack for {}", task.public_id);
            }
            tokio::time::sleep(self.collector.look_again).await;
        }
        let episode = match found["episode"]["id"].clone() {
            Value::Null => Value::Null,
            id => {
                let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
                self.collector.client.get(&format!("/episodes/{id}")).await?
            }
        };
        let lives = self.lives();
        let recording = lives.iter().flat_map(|report| report.recordings.clone()).rfind(|one| one.task_id == task.public_id);
        let hash = |path: &Path| file_sha256(path).ok();
        let kept = self.config.mcap_paths(&task.public_id).iter().find_map(|path| hash(path));
        Ok(Outcome { device_id: self.collector.device_id.clone(), incident, status, episode, ack: ack_of(&lives), recording, kept, task })
    }

    /// What its robot saw that no server may do.
    pub fn broken_promises(&self) -> Vec<String> {
        let told = |report: &RobotReport| report.violations.iter().map(|one| format!("{}: {one}", report.device_id)).collect::<Vec<_>>();
        self.reports.iter().flat_map(told).collect()
    }
}

fn with_incident(status: &str, incident: Incident) -> String {
    match incident.told() {
        "" => status.to_owned(),
        told => format!("{status}; {told}"),
    }
}

fn progress(mut seen: impl FnMut(String) + Send) -> impl FnMut(Progress) + Send {
    move |progress| {
        if let Progress::Status(status) = progress {
            seen(status);
        }
    }
}
