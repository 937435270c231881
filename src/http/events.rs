//! `/events`: the event log, for those who audit it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::AppState;
use super::export::{EventsFormat, Export};
use super::exported::file;
use super::extract::{Json, Params, PathId};
use super::logged::LoggedEvent;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::words::{DirectionOfLogWord, EventsFormatWord};
use crate::projections::reads::events::{Direction, LogEvent};
use crate::projections::reads::log_search::{Search, SearchError};
use crate::projections::reads::{ReadError, Reads};

pub fn routes() -> Routes {
    Routes::default().at(Policy::AUDIT, routes!(list)).at(Policy::AUDIT.export(), routes!(export)).at(Policy::AUDIT, routes!(get))
}

const LIMIT_DEFAULT: i64 = 50;
pub const LIMIT_MAX: i64 = 200;

/// One page of a search.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events of this page, in the order that was asked for.
    items: Vec<LoggedEvent>,
    /// How many a page has at most.
    limit: i64,
    /// For `after`, where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<i64>,
    /// Up to which position events are found: the newest ones are a moment later.
    readable_to: i64,
}

/// One event with what led to it and what followed.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventStory {
    /// The event itself.
    event: LoggedEvent,
    /// What led to it, the first cause first.
    causes: Vec<LoggedEvent>,
    /// What followed from it, in the order of the log; each names the event that led to it.
    effects: Vec<LoggedEvent>,
    /// Whether more followed than is shown.
    more_effects: bool,
}

impl EventStory {
    /// Of the event at a position; `None` where the log has no such position.
    pub async fn at(reads: &Reads, position: i64) -> Result<Option<Self>, ReadError> {
        let Some(event) = reads.log_event(position).await? else { return Ok(None) };
        let causes = reads.log_causes(&event).await?;
        let (effects, more_effects) = reads.log_effects(&event).await?;
        let shown = |events: Vec<LogEvent>| events.into_iter().map(Into::into).collect();
        Ok(Some(Self { event: event.into(), causes: shown(causes), effects: shown(effects), more_effects }))
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Field { field, why } => Self::of_field(field, why),
            SearchError::Read(error) => error.into(),
        }
    }
}

fn number(params: &Params, name: &'static str) -> Result<Option<i64>, Problem> {
    let number = |text: String| text.parse().ok().filter(|number| *number >= 0);
    params.text(name).map(|text| number(text).ok_or_else(|| Problem::of_field(name, "must be a number, not negative"))).transpose()
}

/// What is looked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; they are read by `search`")]
pub struct Filters {
    /// Kinds of streams, with commas between
    category: Option<String>,
    /// One stream, as task/17
    stream: Option<String>,
    /// One unit, as task/17, whether it is still there or not: its stream, and events that name it
    about: Option<String>,
    /// Types, with commas between; upload_* means all that begin so
    r#type: Option<String>,
    /// Who did it, as user:admin
    actor: Option<String>,
    /// Everything that one request led to
    correlation_id: Option<String>,
    /// A value in the payload, as task_id:17; may be repeated
    content: Option<String>,
}

/// Where it begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; they are read by `search`")]
pub struct Since {
    /// Not before this place in the log
    from_position: Option<i64>,
    /// Not before this instant, RFC 3339
    since: Option<String>,
}

/// Where it ends.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; they are read by `search`")]
pub struct Until {
    /// Not behind this place in the log
    to_position: Option<i64>,
    /// Before this instant, RFC 3339
    until: Option<String>,
}

pub fn search(params: &Params) -> Result<Search, Problem> {
    Ok(Search {
        categories: params.list(&["category"])?.unwrap_or_default(),
        stream: params.text("stream"),
        about: params.text("about"),
        types: params.list(&["type"])?.unwrap_or_default(),
        actor: params.text("actor"),
        correlation_id: params.text("correlation_id"),
        contents: params.all("content").into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect(),
        from_position: number(params, "from_position")?,
        to_position: number(params, "to_position")?,
        since: params.instant("since")?,
        until: params.instant("until")?,
    })
}

/// Events of the log that match, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(
    Filters,
    Since,
    Until,
    ("order" = inline(Option<DirectionOfLogWord>), Query, description = "The newest first, unless it is asc"),
    ("after" = Option<i64>, Query, description = "The next_after of a page"),
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 200 are given at once"),
), responses((status = 200, body = EventPage), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<EventPage>, Problem> {
    let search = search(&params)?;
    let direction = params.word("order")?.unwrap_or(Direction::Backward);
    let limit = match number(&params, "limit")? {
        None => LIMIT_DEFAULT,
        Some(0) => return Err(Problem::of_field("limit", "must be a positive integer")),
        Some(limit) => limit.min(LIMIT_MAX),
    };
    let after = number(&params, "after")?;
    let filter = search.filter(&state.reads).await?;
    let readable_to = state.reads.log_noted_to().await?;
    let mut between = state.reads.log_bounds(&filter, readable_to).await?;
    match (after, direction) {
        (None, _) => {}
        (Some(after), Direction::Forward) => between.after = between.after.max(after),
        (Some(after), Direction::Backward) => between.before = between.before.min(after),
    }
    // One more tells whether there is a next page.
    let mut events = state.reads.log_events(&filter, between, direction, limit + 1).await?;
    let more = i64::try_from(events.len()).is_ok_and(|found| found > limit);
    events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_after = events.last().filter(|_| more).and_then(|event| event.position);
    Ok(Json(EventPage { items: events.into_iter().map(Into::into).collect(), limit, next_after, readable_to }))
}

/// One event, with what led to it and what followed from it.
#[utoipa::path(get, path = "/api/v1/events/{position}", tag = "events", params(
    ("position" = i64, Path, description = "Its place in the log"),
), responses(
    (status = 200, body = EventStory),
    (status = 404, description = "The log has no such position"),
))]
pub async fn get(State(state): State<AppState>, position: PathId) -> Result<Json<EventStory>, Problem> {
    EventStory::at(&state.reads, position.0).await?.map(Json).ok_or_else(|| Problem::not_found("event"))
}

/// Everything that matches, in the order of the log, up to where the log is now: a line of JSON per event, or CSV.
#[utoipa::path(get, path = "/api/v1/events/export", tag = "events", params(
    ("format" = inline(Option<EventsFormatWord>), Query, description = "NDJSON where it is not given; stored: as events are kept, with the texts that their commitments are made of"),
    Filters,
    Since,
    Until,
), responses(
    (status = 200, content((String = "application/x-ndjson"), (String = "text/csv; charset=utf-8")),
     description = "As many events as there are; an export that ends with an error is not whole, and its connection is cut"),
    (status = 400, description = "A filter that cannot be"),
))]
pub async fn export(State(state): State<AppState>, params: Params) -> Result<Response, Problem> {
    let format = params.word("format")?.unwrap_or(EventsFormat::Ndjson);
    let filter = search(&params)?.filter(&state.reads).await?;
    let readable_to = state.reads.log_noted_to().await?;
    let between = state.reads.log_bounds(&filter, readable_to).await?;
    let export = Export::new(state.reads.clone(), filter, between, format);
    Ok(file("the log", &format!("attachment; filename=\"events.{}\"", format.extension()), format.content_type(), export.pieces()))
}
