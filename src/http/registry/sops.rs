//! `/sops`: standard operating procedures: which skills, in which order.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{slug, version};
use crate::commands::registry::CreateSop;
use crate::domain::{Scope, SkillId, SopId};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, LONG_TEXT, Params, PathId, optional, text_id};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{SlugFilter, SopShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.of_the_site(), routes!(list))
        .at(Policy::MANAGE.keyed().of_the_site(), routes!(create))
        .at(Policy::READ.of_the_site(), routes!(get))
}

fn skills(ids: Vec<String>) -> Result<Vec<SkillId>, Problem> {
    ids.into_iter().map(|id| text_id("skill_sequence", Some(id)).map(SkillId)).collect()
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Sop {
    id: TextId,
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    version: String,
    /// Ids of skills, in order.
    skill_sequence: Vec<TextId>,
    created_at: WholeSecond,
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
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
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

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewSop {
    slug: Option<String>,
    /// Default `1.0.0`.
    version: Option<String>,
    description: Option<String>,
    /// Ids of skills as text, in order; repeats are allowed.
    skill_sequence: Option<Vec<String>>,
}

impl TryFrom<NewSop> for CreateSop {
    type Error = Problem;

    fn try_from(new: NewSop) -> Result<Self, Problem> {
        Ok(Self {
            slug: slug(new.slug)?,
            version: version(new.version)?,
            description: optional("description", new.description, LONG_TEXT)?,
            skill_sequence: skills(new.skill_sequence.unwrap_or_default())?,
        })
    }
}

/// Register an SOP.
#[utoipa::path(post, path = "/api/v1/sops", tag = "registry", request_body = NewSop, responses(
    (status = 201, body = Sop),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewSop>) -> Result<Made<Sop>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateSop::try_from(new)?).await?;
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
