//! Which entries of the audit, from the query.

use std::net::IpAddr;

use utoipa::IntoParams;

use crate::domain::Kind;
use crate::domain::access::AccessKind;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::projections::reads::Reads;
use crate::projections::reads::audit::{AccessFilter, AuditFilter};
use crate::projections::reads::log_search::{Search, SearchError};

/// Longer ones are none.
const ENTITY_CHARS_MAX: usize = 500;
const ACTOR_CHARS_MAX: usize = 200;

/// Which entries; all that are given must hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; they are read by `filter`")]
pub struct Filters {
    /// What was done, with commas between: change, read, download, refusal, login, session_end, password_change
    kind: Option<String>,
    /// Who did it, as user:admin
    actor: Option<String>,
    /// Types of events (upload_* means all that begin so), or routes as `GET /api/v1/inspectors/{id}`, with commas between
    action: Option<String>,
    /// What it was about, as episode/9: of changes also those that name it
    entity: Option<String>,
    /// From which address
    address: Option<String>,
    /// Not before this instant, RFC 3339
    since: Option<String>,
    /// Before this instant, RFC 3339
    until: Option<String>,
}

/// Kinds and ids of units, and whether the log knows such units.
fn entity(params: &Params) -> Result<Option<(String, bool)>, Problem> {
    let Some(text) = params.text("entity") else { return Ok(None) };
    let fits = text.split_once('/').filter(|(kind, id)| !kind.is_empty() && !id.is_empty() && text.chars().count() <= ENTITY_CHARS_MAX);
    let (kind, _) = fits.ok_or_else(|| Problem::of_field("entity", "must be a kind and an id with a slash between, as episode/9"))?;
    let in_log = Kind::parse(kind).is_some();
    Ok(Some((text, in_log)))
}

fn actor(params: &Params) -> Result<Option<String>, Problem> {
    let actor = params.text("actor");
    match actor.as_ref().is_some_and(|actor| actor.chars().count() > ACTOR_CHARS_MAX) {
        true => Err(Problem::of_field("actor", format_args!("is longer than {ACTOR_CHARS_MAX} characters"))),
        false => Ok(actor),
    }
}

/// By the names that filters have here.
fn misfit(error: SearchError) -> Problem {
    match error {
        SearchError::Field { field: "type", why } => Problem::of_field("action", why),
        SearchError::Field { field: "about", why } => Problem::of_field("entity", why),
        SearchError::Field { field, why } => Problem::of_field(field, why),
        SearchError::Read(error) => error.into(),
    }
}

pub async fn filter(reads: &Reads, params: &Params) -> Result<AuditFilter, Problem> {
    let kinds: Option<Vec<AccessKind>> = params.word_list("kind")?;
    let (mut events, mut records) = (true, true);
    if let Some(kinds) = &kinds {
        events = kinds.contains(&AccessKind::Change);
        records = kinds.iter().any(|kind| *kind != AccessKind::Change);
    }
    // Routes have a slash, and types of events do not.
    let actions = params.list(&["action"])?;
    let (routes, types): (Vec<String>, Vec<String>) =
        actions.clone().unwrap_or_default().into_iter().partition(|action| action.contains('/'));
    if actions.is_some() {
        events &= !types.is_empty();
        records &= !routes.is_empty();
    }
    let entity = entity(params)?;
    events &= entity.as_ref().is_none_or(|(_, in_log)| *in_log);
    let address =
        params.text("address").map(|text| text.parse::<IpAddr>().map_err(|_| Problem::of_field("address", "must be an IP address")));
    let address = address.transpose()?.map(|address| address.to_string());
    let (actor, since, until) = (actor(params)?, params.instant("since")?, params.instant("until")?);
    let search = Search {
        about: entity.clone().filter(|(_, in_log)| *in_log).map(|(entity, _)| entity),
        types,
        actor: actor.clone(),
        since,
        until,
        ..Search::default()
    };
    // What cannot be is refused, whatever else is asked for.
    let in_log = search.filter(reads).await.map_err(misfit)?;
    let among_records = AccessFilter {
        kinds: kinds.map(|kinds| kinds.into_iter().map(AccessKind::as_str).collect()),
        actor,
        actions: actions.map(|_| routes),
        entity: entity.map(|(entity, _)| entity),
        address: address.clone(),
        since,
        until,
    };
    Ok(AuditFilter { events: events.then_some(in_log), records: records.then_some(among_records), address })
}
