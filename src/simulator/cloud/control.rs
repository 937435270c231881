//! The control port: the report, and the faults while the cloud runs. It asks nobody who they are, and listens on this
//! machine only.

use std::sync::Arc;

use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body};

use super::CloudFaults;
use super::report::CloudReport;
use super::sts::StsCredentials;

/// What is controlled.
#[async_trait::async_trait]
pub trait Controlled: Send + Sync + 'static {
    async fn report(&self) -> anyhow::Result<CloudReport>;
    fn faults(&self) -> CloudFaults;
    fn set_faults(&self, faults: CloudFaults);
    fn renew_key(&self);
    /// Tokens of the gateway and credentials for OSS that were given are good no longer.
    fn expire_credentials(&self);
    /// Credentials for the whole bucket of OSS.
    fn give_sts(&self) -> StsCredentials;
}

type Cloud = State<Arc<dyn Controlled>>;

pub fn router(cloud: Arc<dyn Controlled>) -> Router {
    Router::new()
        .route("/report", get(report))
        .route("/faults", get(faults).put(set_faults))
        .route("/renew-key", post(renew_key))
        .route("/expire-credentials", post(expire_credentials))
        .route("/sts-credentials", post(give_sts))
        .with_state(cloud)
}

async fn report(State(cloud): Cloud) -> Response {
    match cloud.report().await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn faults(State(cloud): Cloud) -> Json<CloudFaults> {
    Json(cloud.faults())
}

/// All of them: what is not named does not happen.
async fn set_faults(State(cloud): Cloud, body: body::Bytes) -> Response {
    match serde_json::from_slice::<CloudFaults>(&body) {
        Ok(faults) => {
            cloud.set_faults(faults);
            Json(cloud.faults()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("no faults: {error}\n")).into_response(),
    }
}

async fn renew_key(State(cloud): Cloud) -> StatusCode {
    cloud.renew_key();
    StatusCode::NO_CONTENT
}

async fn expire_credentials(State(cloud): Cloud) -> StatusCode {
    cloud.expire_credentials();
    StatusCode::NO_CONTENT
}

async fn give_sts(State(cloud): Cloud) -> Json<StsCredentials> {
    Json(cloud.give_sts())
}
