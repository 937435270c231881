//! What is told when an episode is complete in the cloud: once, and again where the answer was lost.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, SecondsFormat, Utc};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};

use super::faults::Operation;
use super::ledger::{Ledger, Place};
use super::passage::{Answer, Arriving, Service};

pub const PATH: &str = "/api/v1/sync/episode";

/// What is told of an episode is small, its tags included.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What is read of a body that is too large.
const DRAINED_BYTES_MAX: usize = 64 << 20;

const ID_BYTES_MAX: usize = 256;

pub struct Receiver {
    pub token: Option<String>,
    pub ledger: Arc<Ledger>,
}

#[async_trait::async_trait]
impl Service for Receiver {
    fn operation(&self, _head: &Parts) -> Operation {
        Operation::Tell
    }

    fn place(&self, _head: &Parts) -> Option<Place> {
        None
    }

    async fn serve(&self, request: Request<Arriving>) -> Answer {
        let (status, told) = self.told(request).await.unwrap_or_else(|(status, why)| (status, json!({ "error": why })));
        // A known episode is no refusal.
        if status.is_client_error() && status != StatusCode::CONFLICT {
            self.ledger.refused("receiver", status.as_str());
        }
        as_json(status, &told)
    }

    fn slow_down(&self) -> Answer {
        as_json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "too many requests, come again later" }))
    }
}

type Refusal = (StatusCode, String);

impl Receiver {
    async fn told(&self, request: Request<Arriving>) -> Result<(StatusCode, Value), Refusal> {
        let refuse = |status: StatusCode, why: &str| (status, why.to_owned());
        if request.uri().path() != PATH {
            return Err(refuse(StatusCode::NOT_FOUND, "there is nothing here but /api/v1/sync/episode"));
        }
        if request.method() != Method::POST {
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "an episode is told of by POST"));
        }
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = &self.token
            && shown.and_then(|shown| shown.strip_prefix("Bearer ")) != Some(token)
        {
            return Err(refuse(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong"));
        }
        let (mut body, mut arriving) = (BytesMut::new(), Limited::new(request.into_body(), DRAINED_BYTES_MAX));
        let mut bytes = 0;
        while let Some(frame) = arriving.frame().await {
            let frame = frame.map_err(|error| (StatusCode::BAD_REQUEST, format!("the body did not arrive: {error}")))?;
            let Ok(piece) = frame.into_data() else { continue };
            bytes += piece.len();
            // What is too much is read all the same: who still sends does not hear an answer.
            if bytes <= BODY_BYTES_MAX {
                body.extend_from_slice(&piece);
            }
        }
        if bytes > BODY_BYTES_MAX {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {BODY_BYTES_MAX} bytes")));
        }
        let episode: Value =
            serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
        let id = episode["episode_id"].as_str().filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).map(str::to_owned);
        let Some(id) = id else {
            return Err((StatusCode::BAD_REQUEST, format!("`episode_id` has to be a text of 1 to {ID_BYTES_MAX} bytes")));
        };
        let now = Utc::now();
        Ok(match self.ledger.told(&id, episode, now) {
            None => (StatusCode::ACCEPTED, json!({ "episode_id": id, "synced_at": written(now) })),
            Some(since) => {
                let error = "the episode is known";
                (StatusCode::CONFLICT, json!({ "error": error, "episode_id": id, "synced_at": written(since) }))
            }
        })
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn as_json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
