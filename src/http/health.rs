//! Whether we are well. Liveness says that this process answers, and what it sees; readiness
//! says whether to send it work. Who gives positions to events, and how far they are behind, is shown and is no reason
//! against this process: another one may lead, and takes the lead over within seconds.

use super::extract::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::disk::can_be_written;
use super::policy::Policy;
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::HealthWord;
use crate::domain::alert::LOG_LAG_MAX_S;

pub fn routes() -> Routes {
    Routes::default().at(Policy::OPEN.probed(), routes!(health)).at(Policy::OPEN.probed(), routes!(ready))
}

/// What the probes found: nothing, or what is wrong.
#[derive(Clone, Debug, Default)]
struct Findings {
    database: Option<String>,
    storage: Option<String>,
    disk: Option<String>,
    log: Option<String>,
    lag_seconds: f64,
    led: bool,
}

impl Findings {
    async fn gather(state: &AppState) -> Self {
        let probes = &state.probes;
        let write = probes.write.ask("database", || {
            let (commands, process) = (state.commands.clone(), probes.process);
            async move { commands.probe_write(process).await.map_err(|error| error.to_string()) }
        });
        let log = probes.log.ask("log", || {
            let reads = state.reads.clone();
            // Fails also when the tables are not there: migrations have not run.
            async move { reads.log_standing().await.map_err(|error| error.to_string()) }
        });
        let storage = probes.storage.ask("storage", || {
            let objects = state.objects.clone();
            async move { objects.probe().await.map_err(|error| format!("{error:#}")) }
        });
        let disk = probes.disk.ask("disk", || {
            let folder = probes.disk_folder.clone();
            async move {
                // Nothing of ours is on a disk of this machine.
                let Some(folder) = folder else { return Ok(()) };
                let tried = tokio::task::spawn_blocking(move || can_be_written(&folder)).await.map_err(|error| error.to_string())?;
                tried.map_err(|error| error.to_string())
            }
        });
        let (write, log, storage, disk) = tokio::join!(write, log, storage, disk);
        let (lag_seconds, led) = log.as_ref().map_or((0.0, false), |standing| (standing.lag_seconds, standing.led));
        Self {
            database: write.and(log.map(|_| ())).err(),
            storage: storage.err(),
            disk: disk.err(),
            log: (lag_seconds > LOG_LAG_MAX_S).then(|| format!("positions are {lag_seconds:.1} s behind")),
            lag_seconds,
            led,
        }
    }

    fn well(&self) -> bool {
        self.database.is_none() && self.storage.is_none() && self.disk.is_none()
    }

    /// Reasons stay in our log: anybody may read this.
    fn components(&self) -> Components {
        let word = |trouble: &Option<String>| Component { status: if trouble.is_none() { "healthy" } else { "unhealthy" } };
        Components {
            database: word(&self.database),
            storage: word(&self.storage),
            log: LogComponent { status: word(&self.log).status, lag_seconds: (self.lag_seconds * 1e3).round() / 1e3, led: self.led },
            disk: word(&self.disk),
        }
    }
}

/// How this process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Whether work may be sent here.
    #[schema(value_type = HealthWord)]
    status: &'static str,
    /// When it was looked at.
    timestamp: WholeSecond,
    /// What was looked at.
    components: Components,
    /// Of the program.
    version: &'static str,
}

/// What this process needs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Components {
    /// Whether it can be written to.
    database: Component,
    /// Whether the object store answers.
    storage: Component,
    /// How far positions are; no reason against this process.
    log: LogComponent,
    /// Whether the disk of what is embedded can be written to.
    disk: Component,
}

/// One thing that this process needs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Component {
    /// How it is.
    #[schema(value_type = HealthWord)]
    status: &'static str,
}

/// The log of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogComponent {
    /// How it is.
    #[schema(value_type = HealthWord)]
    status: &'static str,
    /// How far positions are behind the events, in seconds.
    lag_seconds: f64,
    /// Whether a process gives positions.
    led: bool,
}

fn body(state: &AppState, findings: &Findings) -> Health {
    Health {
        status: if findings.well() { "healthy" } else { "unhealthy" },
        timestamp: WholeSecond(state.commands.now()),
        components: findings.components(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// This process answers; what it sees is in the body.
#[utoipa::path(get, path = "/api/v1/health", tag = "operation", security(()), responses((status = 200, body = Health)))]
pub async fn health(State(state): State<AppState>) -> Json<Health> {
    let findings = Findings::gather(&state).await;
    Json(body(&state, &findings))
}

/// Whether work may be sent here: database and object store are as they should be.
#[utoipa::path(get, path = "/api/v1/ready", tag = "operation", security(()), responses(
    (status = 200, body = Health),
    (status = 503, body = Health, description = "Something that is needed is missing"),
))]
pub async fn ready(State(state): State<AppState>) -> Response {
    let findings = Findings::gather(&state).await;
    let status = if findings.well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body(&state, &findings))).into_response()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::http::AuthMode;
    use crate::http::probe::Probes;
    use crate::http::router::tests::state;

    #[tokio::test]
    async fn mn_28_health_probes_what_it_names_and_answers_all_the_same() {
        // Nobody answers for the database and the store of this edge.
        let there = tempfile::tempdir().unwrap();
        for (folder, disk) in [(there.path().to_owned(), "healthy"), (there.path().join("gone"), "unhealthy")] {
            let mut state = state(AuthMode::Strict);
            state.probes = Probes::of(Uuid::nil(), Some(folder)).into();
            let Json(shown) = health(State(state)).await;
            let shown = serde_json::json!(shown);
            assert_eq!(shown["status"], "unhealthy", "{shown}");
            for (component, status) in [("database", "unhealthy"), ("storage", "unhealthy"), ("disk", disk)] {
                assert_eq!(shown["components"][component]["status"], status, "{component}: {shown}");
            }
        }
    }

    #[test]
    fn reasons_do_not_leave_the_house() {
        let findings = Findings { database: Some("password of 10.0.0.5 refused".into()), ..Findings::default() };
        assert!(!findings.well());
        let shown = serde_json::json!(findings.components());
        assert_eq!(shown["database"]["status"], "unhealthy");
        assert!(!shown.to_string().contains("10.0.0.5"));
    }
}
