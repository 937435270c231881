//! The wire of registries, workstations, login, statistics, dashboards and health, route by route: as that of production units.

mod refusals;
mod shapes;
mod successes;

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;

use super::Access::{self, Admin, AnyRole, Collector, Login, Open};
use super::{Route, described, route};
use crate::data_ops::with_episodes;
use crate::harness::bench::Recording;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::harness::temp_folder;
use crate::production_statistics::recount;

/// `decided`: the contract leaves registries, workstations and devices open; DESIGN §9.
const ROUTES: [Route; 84] = [
    route("GET", "/api/v1/organizations", Login, 200, "error"),
    route("POST", "/api/v1/organizations", Admin, 201, "error"),
    route("GET", "/api/v1/organizations/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/organizations/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/organizations/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/factories", Login, 200, "error"),
    route("POST", "/api/v1/factories", Admin, 201, "error"),
    route("GET", "/api/v1/factories/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/factories/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/factories/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/scenes", Login, 200, "error"),
    route("POST", "/api/v1/scenes", Admin, 201, "error"),
    route("GET", "/api/v1/scenes/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/scenes/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/scenes/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/subscenes", Login, 200, "error"),
    route("POST", "/api/v1/subscenes", Admin, 201, "error"),
    route("GET", "/api/v1/subscenes/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/subscenes/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/subscenes/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/skills", Login, 200, "error"),
    route("POST", "/api/v1/skills", Admin, 201, "error"),
    route("GET", "/api/v1/skills/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/skills/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/skills/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/sops", Login, 200, "error"),
    route("POST", "/api/v1/sops", Admin, 201, "error"),
    route("GET", "/api/v1/sops/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/sops/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/sops/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/robot_types", Login, 200, "error"),
    route("POST", "/api/v1/robot_types", Admin, 201, "error"),
    route("GET", "/api/v1/robot_types/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/robot_types/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/robot_types/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/robots", Login, 200, "error"),
    route("POST", "/api/v1/robots", Admin, 201, "error"),
    route("GET", "/api/v1/robots/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/robots/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/robots/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/data_collectors", Login, 200, "error"),
    route("POST", "/api/v1/data_collectors", Admin, 201, "error"),
    route("GET", "/api/v1/data_collectors/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/data_collectors/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/data_collectors/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/inspectors", Admin, 200, "error"),
    route("POST", "/api/v1/inspectors", Admin, 201, "error"),
    route("GET", "/api/v1/inspectors/{id}", Admin, 200, "error"),
    route("PUT", "/api/v1/inspectors/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/inspectors/{id}", Admin, 204, "error"),
    route("GET", "/api/v1/robot_types/{id}/configs/{filename}", Open, 200, "error"),
    route("GET", "/api/v1/robot_types/{id}/config_templates", Admin, 200, "error"),
    route("GET", "/api/v1/robot_types/{id}/config_templates/{filename}", Admin, 200, "error"),
    route("PUT", "/api/v1/robot_types/{id}/config_templates/{filename}", Admin, 200, "error"),
    route("DELETE", "/api/v1/robot_types/{id}/config_templates/{filename}", Admin, 204, "error"),
    route("GET", "/api/v1/robots/cloud-asset-options", Admin, 200, "error"),
    route("PUT", "/api/v1/robots/{id}/cloud-asset", Admin, 200, "error"),
    route("DELETE", "/api/v1/robots/{id}/cloud-asset", Admin, 200, "error"),
    route("GET", "/api/v1/devices/{device_id}/connection", Login, 200, "error"),
    route("POST", "/api/v1/devices/register", Open, 201, "error"),
    route("POST", "/api/v1/robots/{id}/ws-client-auth-token/rotate", Admin, 200, "error"),
    route("GET", "/api/v1/stations", Login, 200, "error"),
    route("POST", "/api/v1/stations", Admin, 201, "error"),
    route("GET", "/api/v1/stations/{id}", Login, 200, "error"),
    route("PUT", "/api/v1/stations/{id}", Admin, 200, "error"),
    route("DELETE", "/api/v1/stations/{id}", Admin, 204, "error"),
    route("POST", "/api/v1/stations/lookup", Login, 200, "error"),
    route("POST", "/api/v1/auth/login", Open, 200, "error"),
    route("POST", "/api/v1/auth/logout", Open, 200, "error"),
    route("GET", "/api/v1/auth/me", AnyRole, 200, "error"),
    route("POST", "/api/v1/auth/me/station/break", Collector, 200, "error"),
    route("POST", "/api/v1/auth/me/station/end-break", Collector, 200, "error"),
    route("GET", "/api/v1/admin/statistics/data-production/summary", Admin, 200, "error"),
    route("GET", "/api/v1/admin/statistics/data-production/trend", Admin, 200, "error"),
    route("GET", "/api/v1/admin/statistics/data-production/breakdown", Admin, 200, "error"),
    route("GET", "/api/v1/admin/statistics/data-production/details", Admin, 200, "error"),
    route("GET", "/api/v1/admin/statistics/data-production/export", Admin, 200, "error"),
    route("GET", "/api/v1/operator/statistics/data-production/summary", Collector, 200, "error"),
    route("GET", "/api/v1/operator/statistics/data-production/trend", Collector, 200, "error"),
    route("GET", "/api/v1/operator/statistics/data-production/breakdown", Collector, 200, "error"),
    route("GET", "/api/v1/production/dashboard/snapshot", AnyRole, 200, "error"),
    route("GET", "/api/v1/production/dashboard/overview", AnyRole, 200, "error"),
    route("GET", "/api/v1/production/dashboard/batches/{id}/task-summary", AnyRole, 200, "error"),
    route("GET", "/api/v1/health", Open, 200, "error"),
];

/// What the contract does not have in these families. Those of logins and devices are other contracts' as well, and not asked.
const ADDED: [(&str, &str); 2] = [("POST", "/api/v1/robots/{id}/retire"), ("GET", "/api/v1/stations/{id}/stream")];
const FAMILIES: [&str; 15] = [
    "organizations",
    "factories",
    "scenes",
    "subscenes",
    "skills",
    "sops",
    "robot_types",
    "robots",
    "data_collectors",
    "inspectors",
    "stations",
    "admin/statistics",
    "operator/statistics",
    "production",
    "health",
];

fn of(name: &str) -> &'static Route {
    ROUTES.iter().find(|route| format!("{} {}", route.method, route.path.trim_start_matches("/api/v1")) == name).unwrap_or_else(|| {
        panic!("no route is called {name}");
    })
}

/// The device of the data platform that is ready.
const ASSET: &str = "asset-1";

/// A factory with an episode, a second robot and a second data collector who work nowhere, and a data platform with one device.
struct Site {
    edge: TestEdge,
    seed: Seed,
    collector: String,
    idler: String,
    robot: i64,
    _folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = temp_folder();
        let file = folder.path().join("platform.json");
        let device = json!({"deviceId": ASSET, "apiKey": "a2V5", "tags": {"site": "1"}});
        let platform = json!({"version": 3, "endpoints": {"auth": "auth:1", "gateway": "gateway:2"}, "devices": [device]});
        std::fs::write(&file, platform.to_string()).expect("a file");
        let edge = TestEdge::start_with(|settings| settings.sync.platform = Some(file)).await;
        let (seed, _) = with_episodes(&edge, &[Recording::of(b"a recording".to_vec(), None)]).await;
        recount(&edge).await;
        let idler = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
        edge.create("/api/v1/data_collectors", idler).await;
        let robot = json!({"robot_type_id": number(&seed.robot_type).to_string(), "factory_id": seed.factory, "device_id": "spare"});
        let robot = number(&edge.create("/api/v1/robots", robot).await["id"]);
        let token = async |account: &str| {
            let answer = edge.log_in(account, &format!("{account}'s password")).await.1;
            answer["access_token"].as_str().expect("a token").to_owned()
        };
        let (collector, idler) = (token("li").await, token("wu").await);
        Self { edge, seed, collector, idler, robot, _folder: folder }
    }

    async fn events(&self) -> i64 {
        let client = self.edge.database.pool.get().await.unwrap();
        client.query_one("select count(*) from events", &[]).await.unwrap().get(0)
    }
}

#[test]
fn the_routes_of_the_registry_and_the_numbers_are_those_of_the_description() {
    let described = described();
    let wanted: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(wanted.len(), ROUTES.len(), "a route stands twice");
    let ours = |path: &str| {
        let path = path.trim_start_matches("/api/v1/");
        FAMILIES.iter().any(|family| path.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    for (method, path) in described.keys().filter(|(_, path)| ours(path)) {
        let route = (method.clone(), path.clone());
        assert!(wanted.contains(&route) || ADDED.contains(&(method, path)), "{method} {path} stands in no table");
    }
    for route in &ROUTES {
        let operation = described.get(&(route.method.to_owned(), route.path.to_owned()));
        let responses = &operation.unwrap_or_else(|| panic!("{} {} is not there", route.method, route.path))["responses"];
        assert!(responses.get(route.success.to_string()).is_some(), "{} {} does not describe {}", route.method, route.path, route.success);
    }
}

#[test]
fn every_refusal_of_the_registry_and_the_numbers_is_described() {
    let described = described();
    for (name, what, status) in refusals::names() {
        let route = of(&name);
        let responses = &described[&(route.method.to_owned(), route.path.to_owned())]["responses"];
        assert!(responses.get(status.to_string()).is_some(), "{name}: `{what}` answers {status}, which is not described");
    }
}

#[tokio::test]
async fn routes_of_the_registry_and_the_numbers_let_in_whom_the_table_says() {
    let site = Site::new().await;
    for route in &ROUTES {
        let path = route.path.replace("{id}", "987654").replace("{filename}", "recorder.yaml").replace("{device_id}", "AB-1");
        let place = format!("{} {path}", route.method);
        let asked = async |token: &str| {
            let (status, body) = site.edge.send_as(token, route.method, &path, json!({})).await;
            assert!(!body.is_string() || status == 204, "{place} is not routed: {body}");
            (status, body)
        };
        let (anonymous, body) = asked("").await;
        assert_eq!(anonymous == 401, route.access != Open, "{place} without a login: {body}");
        if route.path.ends_with("/logout") {
            // Whose login it is goes on with the table.
            continue;
        }
        let (admin, _) = asked(&site.edge.admin).await;
        assert_eq!(admin == 403, route.access == Access::Collector, "{place} as administrator");
        let (collector, _) = asked(&site.collector).await;
        assert_eq!(collector == 403, route.access == Access::Admin, "{place} as collector");
        let slash = site.edge.send_as(&site.edge.admin, route.method, &format!("{path}/"), json!({})).await.0;
        assert_eq!(slash / 100, 3, "{place}/");
    }
    let display = site.edge.request("", "GET", "/api/v1/production/dashboard/snapshot").header("authorization", "Display another");
    assert_eq!(display.send().await.unwrap().status(), 401);
}
