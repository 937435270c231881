//! Whether we are well. Liveness says that this process answers, and what it sees; readiness
//! says whether to send it work.

use std::time::{Duration, Instant as Moment};

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::AppState;
use super::wire::Instant;

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Anybody may ask, so the answer is remembered this long.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Positions follow commits by milliseconds. Behind by more, readers of the log see the past.
const LAG_MAX_S: f64 = 10.0;

#[derive(Default)]
pub struct Probes(Mutex<Option<(Moment, Findings)>>);

/// What the probes found: nothing, or what is wrong.
#[derive(Clone, Debug, Default)]
struct Findings {
    database: Option<String>,
    storage: Option<String>,
    log: Option<String>,
    lag_seconds: f64,
}

impl Findings {
    async fn gather(state: &AppState) -> Self {
        let standing = async {
            match tokio::time::timeout(PROBE_TIMEOUT, state.reads.log_standing()).await {
                Ok(Ok(standing)) => Ok(standing.lag_seconds),
                // Also when the tables are not there: migrations have not run.
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            }
        };
        let storage = async {
            match tokio::time::timeout(PROBE_TIMEOUT, state.objects.probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("no answer in time".to_owned()),
            }
        };
        let (standing, storage) = tokio::join!(standing, storage);
        let (database, lag_seconds) = match standing {
            Ok(lag) => (None, lag),
            Err(reason) => (Some(reason), 0.0),
        };
        let log = (lag_seconds > LAG_MAX_S).then(|| format!("positions are {lag_seconds:.1} s behind"));
        for (component, trouble) in [("database", &database), ("storage", &storage), ("log", &log)] {
            if let Some(reason) = trouble {
                tracing::warn!(component, reason, "Not well: {component}: {reason}");
            }
        }
        Self { database, storage, log, lag_seconds }
    }

    fn well(&self) -> bool {
        self.database.is_none() && self.storage.is_none() && self.log.is_none()
    }

    /// Reasons stay in our log: anybody may read this.
    fn components(&self) -> Value {
        let word = |trouble: &Option<String>| json!({ "status": if trouble.is_none() { "healthy" } else { "unhealthy" } });
        let mut log = word(&self.log);
        log["lag_seconds"] = json!((self.lag_seconds * 1e3).round() / 1e3);
        json!({
            "database": word(&self.database), "storage": word(&self.storage), "log": log,
            // Old clients look for it. Nothing here depends on this machine's disk that is not probed above.
            "disk": { "status": "healthy" },
        })
    }
}

async fn findings(state: &AppState) -> Findings {
    let mut remembered = state.probes.0.lock().await;
    if let Some((at, findings)) = remembered.as_ref().filter(|(at, _)| at.elapsed() < REMEMBERED) {
        let _ = at;
        return findings.clone();
    }
    let findings = Findings::gather(state).await;
    *remembered = Some((Moment::now(), findings.clone()));
    findings
}

fn body(state: &AppState, findings: &Findings) -> Value {
    json!({
        "status": if findings.well() { "healthy" } else { "unhealthy" },
        "timestamp": Instant(state.commands.now()),
        "components": findings.components(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// This process answers; what it sees is in the body.
#[utoipa::path(get, path = "/api/v1/health", tag = "operation", security(()), responses((status = 200, body = Value)))]
pub async fn health(State(state): State<AppState>) -> Answer<Value> {
    let findings = findings(&state).await;
    Answer(body(&state, &findings))
}

/// Whether work may be sent here: database, object store and log are as they should be.
#[utoipa::path(get, path = "/api/v1/ready", tag = "operation", security(()), responses(
    (status = 200, body = Value),
    (status = 503, body = Value, description = "Something that is needed is missing"),
))]
pub async fn ready(State(state): State<AppState>) -> Response {
    let findings = findings(&state).await;
    let status = if findings.well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Answer(body(&state, &findings))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_do_not_leave_the_house() {
        let findings = Findings { database: Some("password of 10.0.0.5 refused".into()), ..Findings::default() };
        assert!(!findings.well());
        let shown = findings.components();
        assert_eq!(shown["database"]["status"], "unhealthy");
        assert!(!shown.to_string().contains("10.0.0.5"));
    }
}
