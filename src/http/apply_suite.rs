//! `/qa/suites/{id}/apply`: a suite, over what was judged before it was put to use.

use axum::extract::State;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::data_ops::{AcceptedRun, BulkBody, BulkEpisodes, BulkPreview, EpisodesMeant, accept, counted, preview};
use super::extract::{Json, PathText};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::suites::{SHIPPED, kept, no_suite, scope_of};
use crate::commands::CommandError;
use crate::commands::applying::may_be_applied;
use crate::domain::bulk_run::{BulkAction, BulkWork};
use crate::domain::episode::EpisodeSelection;
use crate::domain::{QaSuiteId, Scope};
use crate::projections::reads::Reads;
use crate::projections::reads::data_ops::ForApply;
use crate::qa::bulk::{NOT_MEASURED, OTHER_SUITE};

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default().at(policy.reading(), routes!(preview_of)).at(policy.keyed(), routes!(apply))
}

/// None: the shipped one.
fn named(id: &str) -> Result<Option<QaSuiteId>, Problem> {
    if id == SHIPPED { Ok(None) } else { kept(id).map(Some).ok_or_else(no_suite) }
}

impl From<ForApply> for BulkPreview {
    fn from(counts: ForApply) -> Self {
        let skipped = [(OTHER_SUITE, counts.other_suite), (NOT_MEASURED, counts.not_measured), ("qa_running", counts.running)];
        let plain = preview(BulkAction::ApplySuite.as_str(), counts.matched, &skipped);
        let keeps = |many: i64| format!("{many} episodes keep their status, because a person has decided about them, or is about to");
        plain.keeping(counts.protected, keeps)
    }
}

/// How many episodes of a selection a suite would be applied to.
pub async fn previewed(reads: &Reads, scope: &Scope, id: &str, selection: EpisodeSelection) -> Result<BulkPreview, Problem> {
    let suite = named(id)?;
    let meant = match suite {
        None => selection,
        Some(id) => {
            let row = reads.suite(id).await?.ok_or_else(no_suite)?;
            may_be_applied(row.own.state).map_err(CommandError::from)?;
            scope_of(&row).narrow(selection)
        }
    };
    Ok(counted(reads.counted_for_apply(scope, &meant, suite).await?)?.into())
}

/// What is to be done, and with how many episodes as the caller expects.
pub fn applied(id: &str, meant: BulkEpisodes) -> Result<(BulkWork, Option<i64>), Problem> {
    let (selection, expected) = meant.confirmed()?;
    Ok((BulkWork::ApplySuite { suite: named(id)?, selection }, expected))
}

/// To how many episodes a suite would be applied; what it would say of them, its what-if tells. Changes nothing.
#[utoipa::path(post, path = "/api/v1/qa/suites/{id}/apply/preview", tag = "qa", params(("id" = String, Path, description = "Its id, or `default` for the shipped one")),
    request_body(content = Option<EpisodesMeant>), responses(
    (status = 200, body = BulkPreview),
    (status = 400, description = "A filter that cannot be"),
    (status = 404, description = "There is no such suite"),
    (status = 409, description = "It is not active"),
))]
pub async fn preview_of(
    State(state): State<AppState>,
    caller: Caller,
    PathText(id): PathText,
    BulkBody(body): BulkBody<EpisodesMeant>,
) -> Result<Json<BulkPreview>, Problem> {
    previewed(&state.reads, &caller.scope, &id, body.selection()?).await.map(Json)
}

/// Judge episodes by this suite, from their facts, where it is the one that is for them. Unlike any other run, it also replaces a `needs_inspection` that a machine gave
/// and nobody has taken.
#[utoipa::path(post, path = "/api/v1/qa/suites/{id}/apply", tag = "qa", params(("id" = String, Path, description = "Its id, or `default` for the shipped one")),
    request_body = BulkEpisodes, responses(
    (status = 202, body = AcceptedRun, description = "Accepted, with the episodes that are meant at this moment"),
    (status = 400, description = "A filter that cannot be, or it was not said that it is meant"),
    (status = 404, description = "There is no such suite"),
    (status = 409, description = "It is not active, such a run goes on already, or there are many more or less episodes than were expected"),
))]
pub async fn apply(
    State(state): State<AppState>,
    caller: Caller,
    PathText(id): PathText,
    BulkBody(body): BulkBody<BulkEpisodes>,
) -> Result<Made<AcceptedRun>, Problem> {
    accept(&state, &caller, applied(&id, body)?, WHAT).await
}

/// What episodes are accepted for.
const WHAT: &str = "a suite";
