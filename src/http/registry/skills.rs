//! `/skills`: skills, each in versions.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Slug, Version, changed, deleted};
use crate::commands::registry::{CreateSkill, SkillChange};
use crate::domain::{Scope, SkillId, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{LongText, MayBeEmpty, emptied_by_null};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond, present};
use crate::projections::reads::registry::{SkillShown, SlugFilter};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.shared(), routes!(list))
        .at(Policy::MANAGE.keyed().shared(), routes!(create))
        .at(Policy::READ.shared(), routes!(get))
        .at(Policy::MANAGE.shared(), routes!(change))
        .at(Policy::MANAGE.shared(), routes!(delete))
}

/// Something that a robot can do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Skill {
    /// Names it in other requests.
    id: TextId,
    /// Unique with its version.
    slug: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Which version of the slug.
    version: String,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<SkillShown> for Skill {
    fn from(row: SkillShown) -> Self {
        Self {
            id: TextId(row.id.0),
            slug: row.own.slug,
            description: row.own.description,
            version: row.own.skill_version,
            metadata: present(row.own.metadata),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Skills, newest first.
#[utoipa::path(get, path = "/api/v1/skills", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("slug" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Skill>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Skill>>, Problem> {
    let page = params.page_to_100()?;
    let filter = SlugFilter { slugs: params.list(&["slug", "skill_slug"])?, keyword: params.keyword() };
    let listed = state.reads.skills(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewSkill {
    /// Letters of any script, digits and hyphens; unique with the version.
    slug: Slug,
    /// Default `1.0.0`.
    version: Option<Version>,
    /// Free text.
    description: Option<LongText>,
    /// Any JSON that is kept with it.
    metadata: Option<Value>,
}

impl From<NewSkill> for CreateSkill {
    fn from(new: NewSkill) -> Self {
        Self {
            slug: new.slug.0,
            version: MayBeEmpty::said(new.version),
            description: MayBeEmpty::said(new.description),
            metadata: new.metadata,
        }
    }
}

/// Register a skill.
#[utoipa::path(post, path = "/api/v1/skills", tag = "registry", request_body = NewSkill, responses(
    (status = 201, body = Skill),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewSkill>) -> Result<Made<Skill>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateSkill::from(new)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A skill.
#[utoipa::path(get, path = "/api/v1/skills/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Skill),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Skill>, Problem> {
    Ok(Json(found(&state, &caller.scope, SkillId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: SkillId) -> Result<Skill, Problem> {
    state.reads.skill(scope, id).await?.map(Skill::from).ok_or_else(|| Problem::not_found("skill"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedSkill {
    /// Of all its versions at once; one that no other skill has.
    slug: Option<Slug>,
    /// Free text; empty takes it away.
    description: Option<LongText>,
    /// Stays: named, it has to be the one that it is.
    version: Option<Version>,
    /// Any JSON that is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    metadata: Option<Value>,
}

impl From<ChangedSkill> for SkillChange {
    fn from(body: ChangedSkill) -> Self {
        Self {
            slug: body.slug.map(|slug| slug.0),
            description: MayBeEmpty::given(body.description),
            version: MayBeEmpty::said(body.version),
            metadata: body.metadata,
        }
    }
}

/// Change a skill.
#[utoipa::path(put, path = "/api/v1/skills/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedSkill, responses(
    (status = 200, body = Skill),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedSkill>,
) -> Result<Made<Skill>, Problem> {
    changed::<registry::Skill>(&state, &caller, id, SkillChange::from(body)).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, SkillId(id))).await)
}

/// Delete a skill that nothing needs.
#[utoipa::path(delete, path = "/api/v1/skills/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "SOPs name it"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Skill>(&state, &caller, id).await
}
