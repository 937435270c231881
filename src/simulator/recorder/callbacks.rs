//! The callbacks of a recorder: each is posted once.

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use tokio::task::{JoinError, JoinSet};
use tracing::warn;

use crate::simulator::faults;
use crate::simulator::recording::Finished;
use crate::simulator::report::{CallbackKind, CallbackReport, Reporter};
use crate::simulator::wire::{FinishCallback, FinishMetadata, StartCallback, TaskConfig, iso_seconds};

pub(super) struct Callbacks {
    http: reqwest::Client,
    under_way: JoinSet<CallbackReport>,
    report: Reporter,
    /// How many of them get lost.
    lost: f64,
    rng: StdRng,
}

impl Callbacks {
    pub fn new(report: Reporter, lost: f64, rng: StdRng) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent("axon-recorder/1.0")
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        Ok(Self { http, under_way: JoinSet::new(), report, lost, rng })
    }

    /// The next that came to its end; none: none is under way.
    pub async fn next(&mut self) -> Option<Result<CallbackReport, JoinError>> {
        self.under_way.join_next().await
    }

    pub fn start(&mut self, task: &TaskConfig, started_at: DateTime<Utc>) {
        let body = StartCallback {
            task_id: &task.task_id,
            device_id: &task.device_id,
            status: "recording",
            started_at: iso_seconds(started_at),
            topics: task.topics.as_deref().unwrap_or_default(),
        };
        let body = serde_json::to_vec(&body);
        self.call(CallbackKind::Start, task, task.start_callback_url.clone(), body);
    }

    pub fn finish(&mut self, task: &TaskConfig, finished: &Finished) {
        let body = FinishCallback {
            task_id: &task.task_id,
            device_id: &task.device_id,
            status: "finished",
            started_at: iso_seconds(finished.started_at),
            finished_at: iso_seconds(finished.finished_at),
            duration_sec: finished.duration_sec,
            message_count: finished.message_count,
            file_size_bytes: finished.size,
            output_path: finished.mcap_path.display().to_string(),
            sidecar_path: finished.json_path.display().to_string(),
            sidecar_enabled: true,
            sidecar_generated: true,
            topics: task.topics.as_deref().unwrap_or_default(),
            metadata: FinishMetadata {
                scene: task.scene.as_deref().unwrap_or_default(),
                subscene: task.subscene.as_deref().unwrap_or_default(),
                skills: task.skills.as_deref().unwrap_or_default(),
                factory: task.factory.as_deref().unwrap_or_default(),
            },
            error: None,
        };
        let body = serde_json::to_vec(&body);
        self.call(CallbackKind::Finish, task, task.finish_callback_url.clone(), body);
    }

    /// Posts once, beside everything else. Its outcome is noted and forgotten.
    fn call(&mut self, kind: CallbackKind, task: &TaskConfig, url: Option<String>, body: serde_json::Result<Vec<u8>>) {
        let (Some(url), Ok(body)) = (url.filter(|url| !url.is_empty()), body) else {
            return;
        };
        let lost = faults::happens(self.lost, &mut self.rng);
        let mut request = self.http.post(url).header("Content-Type", "application/json").body(body);
        if let Some(token) = task.user_token.as_deref().filter(|token| !token.is_empty()) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let task_id = task.task_id.clone();
        self.under_way.spawn(async move {
            if lost {
                return CallbackReport { task_id, kind, outcome: Err("lost, as was asked for".into()) };
            }
            let outcome = match request.send().await {
                Ok(response) => Ok(response.status().as_u16()),
                Err(error) => Err(error.to_string()),
            };
            CallbackReport { task_id, kind, outcome }
        });
    }

    pub fn note(&self, sent: Result<CallbackReport, JoinError>) {
        let Ok(callback) = sent else { return };
        if !matches!(callback.outcome, Ok(200..=299)) {
            let CallbackReport { task_id, kind, outcome } = &callback;
            warn!(task.id = %task_id, "{kind:?} callback of `{task_id}` failed: {outcome:?}");
        }
        self.report.update(|r| r.callbacks.push(callback));
    }
}
