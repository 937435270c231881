//! Answers to a change that is committed, shown as it reads now.
//!
//! What was made is made, whether or not it can be read a moment later: the answer is then what is known without
//! asking, and still a success. A client that was told of a failure would make it a second time.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::extract::Json;
use super::problem::Problem;

/// Reading one row takes milliseconds; the rest of the request's time is for the change itself.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

pub enum Made<T> {
    Whole(StatusCode, T),
    /// It could not be read.
    Known(StatusCode, Value),
}

/// On an answer that is not what the same request would be answered later.
#[derive(Clone, Copy, Debug)]
pub struct Incomplete;

impl<T> Made<T> {
    /// A new thing, of which at least its id is known.
    pub async fn created(id: impl Serialize, read: impl Future<Output = Result<T, Problem>>) -> Self {
        Self::read(StatusCode::CREATED, json!({ "id": id }), read).await
    }

    /// Reads what was made; `known` is what the answer says where that fails.
    pub async fn read(status: StatusCode, known: Value, read: impl Future<Output = Result<T, Problem>>) -> Self {
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(Ok(whole)) => return Self::Whole(status, whole),
            Ok(Err(problem)) => tracing::warn!(code = problem.code(), "What was made cannot be read back; answers what is known: {known}"),
            Err(_) => tracing::warn!("What was made was not read back in time; answers what is known: {known}"),
        }
        Self::Known(status, known)
    }
}

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(status, whole) => (status, Json(whole)).into_response(),
            Self::Known(status, known) => {
                let mut response = (status, Json(known)).into_response();
                response.extensions_mut().insert(Incomplete);
                response
            }
        }
    }
}
