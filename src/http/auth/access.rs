//! What the access table gives to the caller: a page shows what can be used, and hides what would be refused.

use std::sync::Arc;

use axum::Extension;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Caller, Role};
use crate::domain::Scope;
use crate::http::extract::Json;
use crate::http::policy::{Access, Policy};
use crate::http::routes::{Policies, Routes};
use crate::http::words::RoleWord;

pub fn routes() -> Routes {
    Routes::default().at(Policy::OWN, routes!(access))
}

/// One route, and who may use it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteAccess {
    /// Of HTTP.
    method: String,
    /// With its parameters in braces.
    path: String,
    /// Whether the caller may use it.
    mine: bool,
    /// Nobody has to be logged in.
    open: bool,
    /// Who may use it; of those for some factories, within what they see.
    #[schema(value_type = Vec<RoleWord>)]
    roles: Vec<&'static str>,
    /// Which part of the site it is about: `site`, `shared`, `caller`, `scope`, `own_robot` (docs/access.md).
    reach: &'static str,
}

/// The access table, from where the caller stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyAccess {
    /// What the login is for.
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// Whether the caller sees all factories.
    whole_site: bool,
    /// All routes, by path and method.
    routes: Vec<RouteAccess>,
}

/// Who may use which route, and which of them are yours.
#[utoipa::path(get, path = "/api/v1/auth/me/access", tag = "login", responses((status = 200, body = MyAccess), (status = 401, description = "No valid login")))]
pub async fn access(Extension(policies): Extension<Arc<Policies>>, caller: Caller) -> Json<MyAccess> {
    let one = |method: &str, path: &str, policy: &Policy| RouteAccess {
        method: method.to_owned(),
        path: path.to_owned(),
        mine: policy.admits(&caller.identity).is_ok() && policy.lies_within(&caller.scope).is_ok(),
        open: policy.access == Access::Open,
        roles: policy.roles.iter().map(Role::as_str).collect(),
        reach: policy.reach.as_str(),
    };
    let mut routes: Vec<_> = policies.all().map(|(method, path, policy)| one(method.as_str(), path, policy)).collect();
    routes.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    Json(MyAccess { role: caller.identity.role().map_or("", Role::as_str), whole_site: caller.scope == Scope::Everything, routes })
}
