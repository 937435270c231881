//! `/data_collectors`: data collectors: people who operate robots.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::name;
use crate::commands::registry::CreateDataCollector;
use crate::domain::{CollectorId, OrganizationId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::auth::passwords::PASSWORD_BYTES_MAX;
use crate::http::extract::{Json, NAME, Params, PathId, optional, required, text_id};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond, present};
use crate::projections::reads::registry::{CollectorFilter, DataCollectorShown};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ, routes!(list)).at(Policy::MANAGE.keyed(), routes!(create)).at(Policy::READ, routes!(get))
}

const OPERATOR_ID: usize = 100;
const CERTIFICATION: usize = 100;

#[derive(Debug, Serialize, ToSchema)]
pub struct DataCollector {
    id: TextId,
    organization_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    name: String,
    /// The login name.
    operator_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certification: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    created_at: WholeSecond,
    updated_at: WholeSecond,
}

impl From<DataCollectorShown> for DataCollector {
    fn from(row: DataCollectorShown) -> Self {
        Self {
            id: TextId(row.id.0),
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            name: row.own.name.unwrap_or_default(),
            operator_id: row.own.operator_id.unwrap_or_default(),
            email: row.own.email,
            certification: row.own.certification,
            status: row.own.status.as_str(),
            metadata: present(Some(row.own.metadata)),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Data collectors, newest first.
#[utoipa::path(get, path = "/api/v1/data_collectors", tag = "registry", params(
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("collector_operator_id" = Option<String>, Query),
    ("collector_name" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<DataCollector>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<DataCollector>>, Problem> {
    let page = params.page_to_100()?;
    let filter = CollectorFilter {
        organization_ids: params.id_list(&["organization_id"], OrganizationId)?,
        statuses: params.list(&["status"])?,
        operator_ids: params.list(&["collector_operator_id"])?,
        names: params.list(&["collector_name", "name"])?,
        keyword: params.first(&["keyword", "q", "search", "operator_id"]),
    };
    let listed = state.reads.data_collectors(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewDataCollector {
    organization_id: Option<String>,
    name: Option<String>,
    operator_id: Option<String>,
    email: Option<String>,
    certification: Option<String>,
    password: Option<String>,
    metadata: Option<Value>,
}

impl NewDataCollector {
    /// Checked before the password is hashed, which takes a while.
    fn check(self, admin: &str) -> Result<(CreateDataCollector, String), Problem> {
        let operator_id = required("operator_id", self.operator_id, OPERATOR_ID)?;
        if operator_id.eq_ignore_ascii_case(admin) {
            return Err(Problem::invalid("operator_id is the administrator's account name"));
        }
        // There is no default: an account that everybody can guess is worse than none.
        let password = self.password.filter(|text| !text.is_empty()).ok_or_else(|| Problem::invalid("password is required"))?;
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Problem::invalid(format!("password is longer than {PASSWORD_BYTES_MAX} bytes")));
        }
        let create = CreateDataCollector {
            organization_id: OrganizationId(text_id("organization_id", self.organization_id)?),
            name: name(self.name)?,
            operator_id,
            email: optional("email", self.email, NAME)?,
            certification: optional("certification", self.certification, CERTIFICATION)?,
            metadata: self.metadata.unwrap_or_else(|| json!({})),
            password_hash: String::new(),
        };
        Ok((create, password))
    }
}

/// Register a data collector.
#[utoipa::path(post, path = "/api/v1/data_collectors", tag = "registry", request_body = NewDataCollector, responses(
    (status = 201, body = DataCollector),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewDataCollector>,
) -> Result<Made<DataCollector>, Problem> {
    let (create, password) = new.check(&state.settings.admin_username)?;
    let create = CreateDataCollector { password_hash: state.logins.hash(password).await?, ..create };
    let id = state.commands.execute(&caller.context(), create).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A data collector.
#[utoipa::path(get, path = "/api/v1/data_collectors/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = DataCollector),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<DataCollector>, Problem> {
    Ok(Json(found(&state, &caller.scope, CollectorId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: CollectorId) -> Result<DataCollector, Problem> {
    state.reads.data_collector(scope, id).await?.map(DataCollector::from).ok_or_else(|| Problem::not_found("data collector"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(operator_id: &str, password: &str) -> Result<String, u16> {
        let new = NewDataCollector {
            organization_id: Some("1".into()),
            name: Some("Li".into()),
            operator_id: Some(operator_id.into()),
            password: Some(password.into()),
            ..NewDataCollector::default()
        };
        new.check("admin").map(|(_, password)| password).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_password_is_taken_as_typed_and_never_made_up() {
        assert_eq!(checked("op", " a b "), Ok(" a b ".into()));
        assert_eq!(checked("op", ""), Err(400));
        assert_eq!(checked("op", &"x".repeat(73)), Err(400));
    }

    #[test]
    fn nobody_takes_the_administrators_name() {
        assert_eq!(checked(" Admin ", "secret"), Err(400));
    }
}
