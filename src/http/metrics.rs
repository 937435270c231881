//! Requests, counted and timed per route; and the page that a Prometheus server reads.

use std::time::Duration;

use axum::extract::State;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use super::AppState;
use super::policy::Policy;
use super::routes::Routes;

pub fn routes() -> Routes {
    Routes::default().at(Policy::OPEN.probed(), routes!(page))
}

/// Counts a request as long as it is answered.
pub struct InFlight;

impl InFlight {
    pub fn enter() -> Self {
        metrics::gauge!(crate::telemetry::HTTP_IN_FLIGHT).increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(crate::telemetry::HTTP_IN_FLIGHT).decrement(1);
    }
}

/// Routes are patterns, never paths: the number of series stays what the router has.
pub fn request(method: &Method, route: &str, status: u16, elapsed: Duration) {
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::counter!(crate::telemetry::HTTP_REQUESTS, &labels).increment(1);
    metrics::histogram!(crate::telemetry::HTTP_REQUEST_SECONDS, "method" => method, "route" => route.to_owned()).record(elapsed);
}

/// Measurements in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "Measurements", content_type = "text/plain", body = String)))]
pub async fn page(State(state): State<AppState>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)()).into_response()
}
