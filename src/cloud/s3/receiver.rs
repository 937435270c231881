//! The service that is told of what arrived in the bucket. One that has heard of an episode before says so with 409 and since when: that is as good.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::answers::{body_of, http_client};
use super::super::{Push, PushError, PushResult};
use crate::config::Secret;
use crate::domain::sync::{FinishedObject, SyncFault};

/// It is told a few fields, and no recording.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// An answer has a few fields.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub struct Receiver {
    http: reqwest::Client,
    url: String,
    token: Option<Secret>,
}

#[derive(Deserialize)]
struct Known {
    synced_at: Option<serde_json::Value>,
}

impl Receiver {
    pub fn new(base: &str, token: Option<Secret>, timeout: Duration) -> reqwest::Result<Self> {
        let http = http_client(timeout.min(TIMEOUT_MAX))?;
        Ok(Self { http, url: format!("{base}/api/v1/sync/episode"), token })
    }

    /// Whether it answers and lets us in; what it says to a question that it does not know does not matter.
    pub async fn probe(&self) -> PushResult<()> {
        let answer = self.authorized(self.http.get(&self.url)).send().await;
        match answer.map(|answer| answer.status()) {
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(not_let_in()),
            Ok(status) if status.is_server_error() => {
                Err(PushError::down(SyncFault::CloudAway, format!("the receiver of episodes answers {}", status.as_u16())))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(PushError::down(SyncFault::CloudAway, away(&error))),
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    pub async fn tell(
        &self,
        push: &Push<'_>,
        object: &FinishedObject,
        sidecar_key: Option<&str>,
        certificate_key: Option<&str>,
    ) -> PushResult<()> {
        let (created, queued) = (push.created, &push.chain.queued);
        let body = json!({
            "episode_id": queued.episode_public_id,
            "task_id": created.public_task_id.as_str(),
            "factory_id": created.factory_id.0,
            "organization_id": created.organization_id.0,
            "bucket": object.bucket,
            "mcap_key": object.object_key,
            "sidecar_key": sidecar_key,
            "certificate_key": certificate_key,
            "sha256": queued.sha256,
            "size_bytes": object.size_bytes,
            "duration_sec": created.duration_sec,
            "message_count": created.message_count,
            "approved_at": queued.approved_at,
        });
        let answer = self
            .authorized(self.http.post(&self.url).json(&body))
            .send()
            .await
            .map_err(|error| PushError::again(SyncFault::CloudAway, away(&error)))?;
        let status = answer.status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT if knows_it(answer).await => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(not_let_in()),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                Err(PushError::again(SyncFault::CloudAway, format!("the receiver of episodes answers {}", status.as_u16())))
            }
            status => {
                Err(PushError::again(SyncFault::ReceiverRefused, format!("the receiver of episodes refused this one: {}", status.as_u16())))
            }
        }
    }
}

fn not_let_in() -> PushError {
    PushError::down(SyncFault::CloudDenied, "the receiver of episodes does not let us in")
}

async fn knows_it(answer: reqwest::Response) -> bool {
    let Ok(Some(body)) = body_of(answer, ANSWER_BYTES_MAX).await else { return false };
    serde_json::from_slice::<Known>(&body).is_ok_and(|known| known.synced_at.is_some_and(|at| !at.is_null()))
}

/// Without the address, which may hold a name and a password.
fn away(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() { "gives no answer in time" } else { "cannot be reached" };
    format!("the receiver of episodes {what}")
}
