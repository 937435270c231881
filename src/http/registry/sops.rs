//! `/sops`: standard operating procedures: which skills, in which order.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Slug, Version, changed, deleted};
use crate::commands::registry::{CreateSop, SopChange};
use crate::domain::{Scope, SkillId, SopId, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, LongText, MayBeEmpty};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{SlugFilter, SopShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.shared(), routes!(list))
        .at(Policy::MANAGE.keyed().shared(), routes!(create))
        .at(Policy::READ.shared(), routes!(get))
        .at(Policy::MANAGE.shared(), routes!(change))
        .at(Policy::MANAGE.shared(), routes!(delete))
}

/// Which skills, in which order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sop {
    /// Names it in other requests.
    id: TextId,
    /// Unique with its version.
    slug: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Which version of the slug.
    version: String,
    /// Ids of skills, in order.
    skill_sequence: Vec<TextId>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<SopShown> for Sop {
    fn from(row: SopShown) -> Self {
        Self {
            id: TextId(row.id.0),
            slug: row.own.slug,
            description: row.own.description,
            version: row.own.sop_version,
            skill_sequence: row.own.skill_sequence.into_iter().map(|id| TextId(id.0)).collect(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// SOPs, newest first.
#[utoipa::path(get, path = "/api/v1/sops", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("slug" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Sop>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Sop>>, Problem> {
    let page = params.page_to_100()?;
    let filter = SlugFilter { slugs: params.list(&["slug", "sop_slug"])?, keyword: params.keyword() };
    let listed = state.reads.sops(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewSop {
    /// Letters of any script, digits and hyphens; unique with the version.
    slug: Slug,
    /// Default `1.0.0`.
    version: Option<Version>,
    /// Free text.
    description: Option<LongText>,
    /// Ids of skills, in order; repeats are allowed.
    skill_sequence: Option<Vec<GivenId>>,
}

impl From<NewSop> for CreateSop {
    fn from(new: NewSop) -> Self {
        Self {
            slug: new.slug.0,
            version: MayBeEmpty::said(new.version),
            description: MayBeEmpty::said(new.description),
            skill_sequence: new.skill_sequence.into_iter().flatten().map(|id| SkillId(id.0)).collect(),
        }
    }
}

/// Register an SOP.
#[utoipa::path(post, path = "/api/v1/sops", tag = "registry", request_body = NewSop, responses(
    (status = 201, body = Sop),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewSop>) -> Result<Made<Sop>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateSop::from(new)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// An SOP.
#[utoipa::path(get, path = "/api/v1/sops/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Sop),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Sop>, Problem> {
    Ok(Json(found(&state, &caller.scope, SopId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: SopId) -> Result<Sop, Problem> {
    state.reads.sop(scope, id).await?.map(Sop::from).ok_or_else(|| Problem::not_found("SOP"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedSop {
    /// Of all its versions at once; one that no other SOP has.
    slug: Option<Slug>,
    /// Free text; empty takes it away.
    description: Option<LongText>,
    /// Stays: named, it has to be the one that it is.
    version: Option<Version>,
    /// Ids of skills, in order; repeats are allowed.
    skill_sequence: Option<Vec<GivenId>>,
}

impl From<ChangedSop> for SopChange {
    fn from(body: ChangedSop) -> Self {
        Self {
            slug: body.slug.map(|slug| slug.0),
            description: MayBeEmpty::given(body.description),
            version: MayBeEmpty::said(body.version),
            skill_sequence: body.skill_sequence.map(|ids| ids.into_iter().map(|id| SkillId(id.0)).collect()),
        }
    }
}

/// Change an SOP.
#[utoipa::path(put, path = "/api/v1/sops/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedSop, responses(
    (status = 200, body = Sop),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedSop>,
) -> Result<Made<Sop>, Problem> {
    changed::<registry::Sop>(&state, &caller, id, SopChange::from(body)).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, SopId(id))).await)
}

/// Delete an SOP that nothing needs.
#[utoipa::path(delete, path = "/api/v1/sops/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Tasks follow it"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Sop>(&state, &caller, id).await
}
