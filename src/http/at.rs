//! `?at=`: how things were at a position of the log, or at a time (`docs/time-travel.md`).

use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params};
use super::problem::{Code, Problem, failed};
use crate::domain::{BatchId, OrderId, storable};
use crate::projections::reads::Reads;
use crate::projections::reads::as_of::{AsOfError, Moment, Part, Unit};

/// The name in queries.
const AT: &str = "at";

/// Of which position an answer is.
const AT_POSITION: &str = "keystone-at-position";

/// What was logged up to a position does not change. An answer has names of people as they are now, who may want to be forgotten: an hour.
const UNCHANGING: HeaderValue = HeaderValue::from_static("private, max-age=3600, immutable");
/// By a time that is hardly over, something may still be logged.
const CHANGING: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What a question is asked of: the present, or how it was.
pub struct AsOf {
    pub reads: Reads,
    /// With what is said of keeping the answer; none of the present.
    past: Option<(i64, HeaderValue)>,
}

/// An answer, and of when it is.
pub struct Answer<T> {
    body: Json<T>,
    past: Option<(i64, HeaderValue)>,
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        if let Some((position, kept)) = self.past {
            response.headers_mut().insert(AT_POSITION, HeaderValue::from(position));
            response.headers_mut().insert(CACHE_CONTROL, kept);
        }
        response
    }
}

impl AsOf {
    /// Of a unit, or of what is within it.
    pub async fn of(state: &AppState, caller: &Caller, params: &Params, unit: Unit, part: Part) -> Result<Self, Problem> {
        let asked = params.text(AT).map(|text| moment(&text)).transpose()?;
        let Some(moment) = asked else { return Ok(Self { reads: state.reads.clone(), past: None }) };
        let position = state.reads.position_of(moment).await?;
        let reads = state.reads.as_of(&caller.scope, unit, part, position).await?;
        let kept = if matches!(moment, Moment::Position(_)) { UNCHANGING } else { CHANGING };
        Ok(Self { reads, past: Some((position, kept)) })
    }

    /// Of a list, which is within one batch or order where it is of the past.
    pub async fn of_list(state: &AppState, caller: &Caller, params: &Params, part: Part) -> Result<Self, Problem> {
        // What is no number is the id of nothing.
        let id = |name: &str| params.text(name).map(|text| text.parse().unwrap_or(0));
        let batch = id("batch_id").filter(|_| part != Part::Batches).map(|id| Unit::Batch(BatchId(id)));
        match batch.or_else(|| id("order_id").map(|id| Unit::Order(OrderId(id)))) {
            Some(unit) => Self::of(state, caller, params, unit, part).await,
            None => {
                refuse(params)?;
                Ok(Self { reads: state.reads.clone(), past: None })
            }
        }
    }

    pub fn answer<T>(self, body: T) -> Answer<T> {
        Answer { body: Json(body), past: self.past }
    }
}

/// A list of more than one order is answered of the present only.
pub fn refuse(params: &Params) -> Result<(), Problem> {
    let within_one = "is for one unit, and for lists of batches, tasks and episodes within one order: order_id says which, or batch_id";
    if params.has(AT) { Err(Problem::of_field(AT, within_one)) } else { Ok(()) }
}

/// A position of the log, or a time.
fn moment(text: &str) -> Result<Moment, Problem> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let position = text.parse().ok().filter(|position| *position > 0);
        return position
            .map(Moment::Position)
            .ok_or_else(|| Problem::of_field(AT, "must be a position of the log, from 1, or an RFC 3339 time"));
    }
    storable::instant(text).map(Moment::Time).map_err(|why| Problem::of_field(AT, format_args!("is no position of the log, so it {why}")))
}

impl From<AsOfError> for Problem {
    fn from(error: AsOfError) -> Self {
        let said = error.to_string();
        match error {
            AsOfError::Ahead { head } => Self::new(Code::AheadOfLog, said).with("field", AT).with("head", head),
            AsOfError::TooMuch { limit, max } => Self::new(Code::TooMuchToFold, said).with("limit", limit).with("max", max),
            AsOfError::LogBehind => Self::new(Code::LogBehind, said).retry_after(1),
            AsOfError::Read(error) => error.into(),
            AsOfError::Unreadable(error) => failed(&error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!(moment("17").unwrap(), Moment::Position(17));
        assert_eq!(moment("2026-11-28T20:00:00.5+01:00").unwrap(), moment("2026-11-28T19:00:00.500Z").unwrap());
        for wrong in ["0", "-1", "+1", "1.5", "99999999999999999999", "now", "2026-11-28", "0000-01-01T00:00:00Z", "１７", "1 7"] {
            let problem = moment(wrong).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.extra("field")), (400, Some(&"at".into())), "{wrong}: {}", problem.detail());
        }
    }
}
