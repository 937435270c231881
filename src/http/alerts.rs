//! `/alerts`: what a person has to look at, as this process sees it; for where no Prometheus tells it.

use std::sync::PoisonError;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Json;
use super::policy::Policy;
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::{AlertSeverityWord, AlertStateWord, AlertWord};
use crate::domain::alert::{self, Alerts};

pub fn routes() -> Routes {
    Routes::default().at(Policy::MANAGE.of_the_site().closed().exact(), routes!(list))
}

/// What stands at the moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct StandingAlerts {
    /// What fires first, then what is critical, then what is older.
    items: Vec<StandingAlert>,
    /// When the figures were looked up, every ten seconds; null before the first time. An old one means that the database does not answer.
    #[schema(required)]
    looked_at: Option<WholeSecond>,
}

/// A figure that is not as it should be.
#[derive(Debug, Serialize, ToSchema)]
pub struct StandingAlert {
    /// Which alert.
    #[schema(value_type = AlertWord)]
    name: &'static str,
    /// How grave it is.
    #[schema(value_type = AlertSeverityWord)]
    severity: &'static str,
    /// `firing`, or `pending` where it stands for less than `for_s`.
    #[schema(value_type = AlertStateWord)]
    state: &'static str,
    /// What is wrong.
    summary: &'static str,
    /// What to do.
    advice: &'static str,
    /// The figure.
    figure: f64,
    /// What it must not pass.
    threshold: f64,
    /// For how long it has to, in seconds, until the alert fires.
    for_s: i64,
    /// Since when this process sees it.
    since: WholeSecond,
}

impl From<alert::Standing> for StandingAlert {
    fn from(standing: alert::Standing) -> Self {
        let alert = standing.alert;
        Self {
            name: alert.name.as_str(),
            severity: alert.severity.as_str(),
            state: standing.state.as_str(),
            summary: alert.summary,
            advice: alert.advice,
            figure: standing.figure,
            threshold: alert.limit.threshold(),
            for_s: alert.for_s,
            since: standing.since.into(),
        }
    }
}

impl From<&Alerts> for StandingAlerts {
    fn from(alerts: &Alerts) -> Self {
        let items = alerts.standing().into_iter().map(StandingAlert::from).collect();
        Self { items, looked_at: alerts.looked_at().map(WholeSecond::from) }
    }
}

/// Alerts that stand, of the whole site.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "operation", responses((status = 200, body = StandingAlerts)))]
async fn list(State(state): State<AppState>) -> Json<StandingAlerts> {
    Json(StandingAlerts::from(&*state.alerts.lock().unwrap_or_else(PoisonError::into_inner)))
}
