//! A data collector at work: has a robot record the tasks of a workstation, one after another.
//!
//! Does what the state of the task asks for, whatever happened before: a restart of the server
//! in the middle of a step is answered by looking again.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use super::client::{Client, Reply, id_of};
use super::factory::DispatchedTask;

/// What is seen of a task while it is worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Status(String),
    /// The task's episode, by its number.
    Done(i64),
}

pub struct Collector {
    pub client: Client,
    pub device_id: String,
    /// How long each recording runs.
    pub recording: Duration,
    /// How long one task may take in all.
    pub patience: Duration,
    /// How long to wait before looking again.
    pub look_again: Duration,
}

impl Collector {
    pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

    /// Records one task to its end, and answers the number of its episode.
    pub async fn record(&self, task: &DispatchedTask, mut seen: impl FnMut(Progress) + Send) -> anyhow::Result<i64> {
        let ended = |status: &str| matches!(status, "completed" | "failed" | "cancelled");
        let found = self.follow(task, ended, |status| seen(Progress::Status(status))).await?;
        match found["status"].as_str() {
            Some("completed") => {
                let episode = id_of(&found["episode"]["id"]).context("a completed task without an episode")?;
                seen(Progress::Done(episode));
                Ok(episode)
            }
            _ => bail!("task {} is {}: {}", task.public_id, found["status"], found["error_message"]),
        }
    }

    /// Records one task until the robot is free for the next one, and answers the status it has then.
    pub async fn hand_over(&self, task: &DispatchedTask, seen: impl FnMut(String) + Send) -> anyhow::Result<String> {
        let found = self.follow(task, |status| !matches!(status, "pending" | "ready" | "in_progress"), seen).await?;
        Ok(found["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Does what each status asks for, until one is enough; answers the task.
    async fn follow(
        &self,
        task: &DispatchedTask,
        enough: impl Fn(&str) -> bool + Send,
        mut seen: impl FnMut(String) + Send,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + self.patience;
        let mut last = String::new();
        let mut recording_since = None;
        while Instant::now() < deadline {
            let found = self.client.get(&format!("/tasks/{}", task.id)).await?;
            let status = found["status"].as_str().unwrap_or_default().to_owned();
            if status != last {
                seen(status.clone());
                last.clone_from(&status);
            }
            if enough(&status) {
                return Ok(found);
            }
            if status != "in_progress" {
                recording_since = None;
            }
            match status.as_str() {
                "pending" => self.configure(task).await?,
                "ready" => self.command("begin", json!({ "task_id": task.public_id })).await?,
                "in_progress" => {
                    let since = *recording_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.recording {
                        self.command("finish", json!({ "task_id": task.public_id })).await?;
                    }
                }
                _ => {}
            }
            tokio::time::sleep(self.look_again).await;
        }
        bail!("task {} is still {last} after {:?}", task.public_id, self.patience)
    }

    async fn configure(&self, task: &DispatchedTask) -> anyhow::Result<()> {
        let config = self.client.patiently(Method::GET, &format!("/tasks/{}/config", task.id), None).await?;
        if !config.status.is_success() {
            return self.look_again("config", &config);
        }
        self.command("config", json!({ "task_config": config.body })).await
    }

    /// Asks the recorder for something; what is refused now may be possible after the next look.
    async fn command(&self, action: &str, body: Value) -> anyhow::Result<()> {
        let path = format!("/recorder/{}/{action}", self.device_id);
        match self.client.call(Method::POST, &path, Some(&body)).await {
            Ok(reply) if reply.status.is_success() && reply.body["success"] == true => Ok(()),
            Ok(reply) => self.look_again(action, &reply),
            Err(error) => {
                debug!(device.id = %self.device_id, error = format!("{error:#}"), "The server could not be reached for `{action}`");
                Ok(())
            }
        }
    }

    fn look_again(&self, action: &str, reply: &Reply) -> anyhow::Result<()> {
        if reply.status == reqwest::StatusCode::UNAUTHORIZED || reply.status == reqwest::StatusCode::FORBIDDEN {
            bail!("`{action}` was answered with {}: {}", reply.status, reply.body);
        }
        debug!(device.id = %self.device_id, "`{action}` was answered with {}: {}", reply.status, reply.body);
        Ok(())
    }
}
