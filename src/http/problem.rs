//! Why a request was not done: one shape for every refusal and failure.
//!
//! Bodies keep the contract's keys (`error`, or `error_msg` on the routes that say so, and
//! the extra keys of each route) and add `code`, `detail` and `request_id`. A handler
//! answers with a [`Problem`]; the body is written once, by [`render`], where the route's policy
//! and the request's id are known. `docs/problems.md` explains every code.

use std::fmt::Display;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::auth::Identity;
use crate::commands::{CommandError, Refusal};
use crate::domain::{RefusalCode, RefusalKind};
use crate::projections::reads::ReadError;
use crate::projections::reads::credentials::Subject;
use crate::telemetry::brief;

macro_rules! codes {
    ($($name:ident = $code:literal, $status:ident;)+) => {
        /// What is wrong, as a word for programs. Commands add those of their refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($name),+ }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name),+];
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code),+ }
            }
            pub fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status),+ }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request", BAD_REQUEST;
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    BodyTooSlow = "body_too_slow", REQUEST_TIMEOUT;
    OriginRefused = "origin_refused", FORBIDDEN;
    NotFound = "not_found", NOT_FOUND;
    IdempotencyKeyInvalid = "idempotency_key_invalid", BAD_REQUEST;
    IdempotencyThrottled = "idempotency_throttled", TOO_MANY_REQUESTS;
    NothingToChange = "nothing_to_change", BAD_REQUEST;
    Unauthenticated = "unauthenticated", UNAUTHORIZED;
    LoginRefused = "login_refused", UNAUTHORIZED;
    LoginThrottled = "login_throttled", TOO_MANY_REQUESTS;
    RegistrationThrottled = "registration_throttled", TOO_MANY_REQUESTS;
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS;
    TooManyStreams = "too_many_streams", TOO_MANY_REQUESTS;
    RegistrationAnswered = "registration_answered", CONFLICT;
    Forbidden = "forbidden", FORBIDDEN;
    NotYourDevice = "not_your_device", FORBIDDEN;
    LostRace = "lost_race", CONFLICT;
    TaskIncomplete = "task_incomplete", CONFLICT;
    TaskIdRequired = "task_id_required", BAD_REQUEST;
    DeviceNotConnected = "device_not_connected", NOT_FOUND;
    RecorderStateRefreshFailed = "recorder_state_refresh_failed", CONFLICT;
    RecorderStateRefreshTimeout = "recorder_state_refresh_timeout", GATEWAY_TIMEOUT;
    RecorderRpcTimeout = "recorder_rpc_timeout", GATEWAY_TIMEOUT;
    RecorderOutcomeUnknown = "recorder_outcome_unknown", GATEWAY_TIMEOUT;
    CommandNotSent = "command_not_sent", SERVICE_UNAVAILABLE;
    RightLost = "right_lost", FORBIDDEN;
    DeviceSendTimeout = "device_send_timeout", GATEWAY_TIMEOUT;
    NoFrame = "no_frame", NOT_FOUND;
    EpisodeBlocked = "episode_blocked", CONFLICT;
    EpisodeNotApproved = "episode_not_approved", CONFLICT;
    ObjectReplaced = "object_replaced", CONFLICT;
    InvalidLocation = "invalid_location", BAD_REQUEST;
    CallbackTokenInvalid = "callback_token_invalid", UNAUTHORIZED;
    DownloadTokenExpired = "download_token_expired", UNAUTHORIZED;
    DownloadTokenInvalid = "download_token_invalid", UNAUTHORIZED;
    ObjectNotFound = "object_not_found", NOT_FOUND;
    QaNotDone = "qa_not_done", BAD_GATEWAY;
    ObjectStoreFailed = "object_store_failed", BAD_GATEWAY;
    AheadOfLog = "ahead_of_log", BAD_REQUEST;
    TooMuchToFold = "too_much_to_fold", BAD_REQUEST;
    LogBehind = "log_behind", SERVICE_UNAVAILABLE;
    CertificatesUnavailable = "certificates_unavailable", SERVICE_UNAVAILABLE;
    AssetNotReady = "asset_not_ready", BAD_REQUEST;
    SyncNotConfigured = "sync_not_configured", SERVICE_UNAVAILABLE;
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    RequestTimeout = "request_timeout", SERVICE_UNAVAILABLE;
    Internal = "internal", INTERNAL_SERVER_ERROR;
}

/// A request that was not done, and why.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    /// For people.
    detail: String,
    extra: Map<String, Value>,
    retry_after_s: Option<u64>,
    /// Who was refused, where no layer behind the guard knows it. It is recorded, and not told.
    who: Option<Box<Identity>>,
    /// Whose login it was about. It is recorded, too, and not told.
    about: Option<Subject>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::bare(code.status(), code.as_str(), detail.into())
    }

    fn bare(status: StatusCode, code: &'static str, detail: String) -> Self {
        Self { status, code, detail, extra: Map::new(), retry_after_s: None, who: None, about: None }
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// A field of the body or a name of the query is to blame.
    pub fn of_field(field: &str, why: impl Display) -> Self {
        let field = brief(field).to_string();
        Self::invalid(format!("{field} {why}")).with("field", field)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("{what} not found"))
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    pub fn with_all(mut self, extra: Map<String, Value>) -> Self {
        self.extra.extend(extra);
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn of(self, who: &Identity) -> Self {
        Self { who: Some(Box::new(who.clone())), ..self }
    }

    pub fn who(&self) -> Option<&Identity> {
        self.who.as_deref()
    }

    /// With whose login it was about, where there is such a one.
    pub fn about(self, about: Option<Subject>) -> Self {
        Self { about, ..self }
    }

    /// Whose login it was about, for the record.
    pub fn whose(&self) -> Option<Subject> {
        self.about
    }

    /// The same in a few words of the contract; what it said stands under `reason`.
    pub fn in_short(self, detail: &str) -> Self {
        let reason = self.detail.clone();
        Self { detail: detail.to_owned(), ..self }.with("reason", reason)
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn extra(&self, key: &str) -> Option<&Value> {
        self.extra.get(key)
    }

    pub fn body(&self, key: &str, request_id: &str) -> Value {
        let mut body = self.extra.clone();
        // Where the contract wants a word under `error`, the prose stands under `message`.
        let beside = if body.contains_key(key) { "message" } else { key };
        body.insert(beside.to_owned(), self.detail.clone().into());
        body.insert("code".to_owned(), self.code.into());
        body.insert("detail".to_owned(), self.detail.clone().into());
        body.insert("request_id".to_owned(), request_id.into());
        Value::Object(body)
    }
}

/// The status travels with the answer; the body waits for [`render`].
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem into its response, and leaves other responses alone.
pub fn render(mut response: Response, error_key: &str, request_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == Code::Unauthenticated.as_str() {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Body::from(problem.body(error_key, request_id).to_string());
    response
}

fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::Gone => StatusCode::GONE,
        RefusalKind::Forbidden => StatusCode::FORBIDDEN,
        RefusalKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = status_of(refusal.kind);
        Self { extra: refusal.extra, ..Self::bare(status, refusal.code.as_str(), refusal.message) }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Conflict => {
                Self::new(Code::LostRace, "another request changed the same thing at the same moment; try again").retry_after(1)
            }
            CommandError::Unavailable(reason) | CommandError::Unfit(reason) => unavailable(&reason),
            CommandError::Failed(error) => failed(&error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) | ReadError::Unfit(reason) => unavailable(&reason),
            ReadError::Unstorable(reason) => {
                tracing::warn!(reason, "A value was refused by its query only: {reason}");
                Refusal::new(RefusalCode::NotStorable, "a value is beyond what can be stored").into()
            }
            ReadError::Failed(_) | ReadError::OfNow => failed(&anyhow::Error::new(error)),
            ReadError::NotAPlace(_) => Self::invalid("after is not the next_after of a page of this list"),
        }
    }
}

fn unavailable(reason: &str) -> Problem {
    tracing::warn!(reason, "The database cannot do it now: {reason}");
    Problem::new(Code::Unavailable, "the database of the service cannot do it now; try again").retry_after(2)
}

/// The caller hears little, the operator hears the whole chain.
pub fn failed(error: &anyhow::Error) -> Problem {
    tracing::error!(error = format!("{error:#}"), "A request failed: {error:#}");
    Problem::new(Code::Internal, "something went wrong on our side; the request id names it in our log")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::to_bytes;

    use super::*;
    use crate::http::router::policies;

    async fn body_of(problem: Problem, method: &str, route: &str) -> (StatusCode, Value) {
        let error_key = policies().of(&method.parse().unwrap(), route).error_key;
        let response = render(problem.into_response(), error_key, "req-1");
        let status = response.status();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_contracts_keys_and_adds_ours() {
        let extra = Map::from_iter([("remaining".to_owned(), Value::from(-1))]);
        let refusal = Refusal { extra, ..Refusal::new(RefusalCode::QuotaExceeded, "too many") };
        let (status, body) = body_of(CommandError::Refused(refusal).into(), "POST", "/api/v1/batches").await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            serde_json::json!({"error": "too many", "detail": "too many", "code": "quota_exceeded", "remaining": -1, "request_id": "req-1"})
        );
    }

    #[tokio::test]
    async fn task_and_callback_routes_say_error_msg() {
        for (method, route, key) in [
            ("GET", "/api/v1/tasks/{id}", "error_msg"),
            ("POST", "/api/v1/callbacks/finish", "error_msg"),
            ("GET", "/api/v1/tasks", "error"),
            ("GET", "/api/v1/batches/{id}/tasks", "error"),
        ] {
            let (_, body) = body_of(Problem::not_found("task"), method, route).await;
            assert_eq!(body[key], "task not found", "{method} {route}");
        }
    }

    #[tokio::test]
    async fn a_taken_robot_is_told_as_a_word() {
        let extra = Map::from_iter([("error".to_owned(), Value::from("ROBOT_ALREADY_ASSIGNED"))]);
        let refusal = Refusal { extra, ..Refusal::new(RefusalCode::RobotAlreadyAssigned, "robot 3 is taken") };
        let (status, body) = body_of(CommandError::Refused(refusal).into(), "POST", "/api/v1/stations").await;
        assert_eq!(
            (status, &body["error"], &body["message"]),
            (StatusCode::CONFLICT, &"ROBOT_ALREADY_ASSIGNED".into(), &"robot 3 is taken".into())
        );
    }

    #[tokio::test]
    async fn a_failure_says_little() {
        let failure = CommandError::Failed(anyhow::anyhow!("password of the pool is hunter2"));
        let (status, body) = body_of(failure.into(), "GET", "/api/v1/orders").await;
        assert_eq!(status, 500);
        assert!(!body.to_string().contains("hunter2"));
    }

    #[test]
    fn every_code_is_explained_and_nothing_else_is() {
        let page = include_str!("../../docs/problems.md");
        let row = |line: &'static str| line.strip_prefix("| `")?.split_once("` | ").filter(|(_, rest)| rest.starts_with(['4', '5']));
        let explained: BTreeSet<&str> = page.lines().filter_map(row).map(|(code, _)| code).collect();
        let rules = RefusalCode::ALL.iter().map(|code| (code.as_str(), status_of(code.kind())));
        let known: Vec<_> = Code::ALL.iter().map(|code| (code.as_str(), code.status())).chain(rules).collect();
        for (code, status) in &known {
            let row = format!("| `{code}` | {} |", status.as_u16());
            assert!(page.contains(&row), "docs/problems.md has no row that starts with {row}");
        }
        let known: BTreeSet<&str> = known.into_iter().map(|(code, _)| code).collect();
        let missing: Vec<_> = known.difference(&explained).collect();
        assert!(missing.is_empty(), "docs/problems.md does not explain {missing:?}");
        let unused: Vec<_> = explained.difference(&known).collect();
        assert!(unused.is_empty(), "docs/problems.md explains what nobody says: {unused:?}");
    }
}
