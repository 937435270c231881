//! The wire of production units, route by route: one table of routes, one of shapes, one of refusals.
//!
//! The tables mirror the contract. Where we decided otherwise, a row says so under `decided`, and nowhere else.

mod refusals;
mod shapes;
mod site;
mod successes;

use std::collections::{BTreeMap, BTreeSet};

use keystone_edge::http::openapi;
use serde_json::{Value, json};

use crate::harness::edge::{Seed, TestEdge, number};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Anybody.
    Open,
    /// Whoever is logged in. `decided`: the contract leaves these open; DESIGN §9.
    Login,
    /// Administrators. `decided`: as above, and who may change orders and batches; DESIGN §9.
    Admin,
    /// Data collectors, in every mode.
    Collector,
    /// Closed in every mode, with any role.
    AnyRole,
    /// A login, or a signed link.
    LinkOrLogin,
}

struct Route {
    method: &'static str,
    path: &'static str,
    access: Access,
    success: u16,
    /// The key under which an error's text stands.
    error_key: &'static str,
}

const fn route(method: &'static str, path: &'static str, access: Access, success: u16, error_key: &'static str) -> Route {
    Route { method, path, access, success, error_key }
}

const ROUTES: [Route; 27] = [
    route("GET", "/api/v1/orders", Access::Login, 200, "error"),
    route("POST", "/api/v1/orders", Access::Admin, 201, "error"),
    route("GET", "/api/v1/orders/{id}", Access::Login, 200, "error"),
    route("PUT", "/api/v1/orders/{id}", Access::Admin, 200, "error"),
    route("DELETE", "/api/v1/orders/{id}", Access::Admin, 204, "error"),
    route("GET", "/api/v1/batches", Access::Login, 200, "error"),
    route("POST", "/api/v1/batches", Access::Admin, 201, "error"),
    route("GET", "/api/v1/batches/{id}", Access::Login, 200, "error"),
    route("PATCH", "/api/v1/batches/{id}", Access::Admin, 200, "error"),
    route("DELETE", "/api/v1/batches/{id}", Access::Admin, 200, "error"),
    route("GET", "/api/v1/batches/{id}/tasks", Access::Login, 200, "error"),
    route("POST", "/api/v1/batches/{id}/tasks", Access::Admin, 200, "error"),
    route("POST", "/api/v1/batches/{id}/recall", Access::Admin, 200, "error"),
    route("POST", "/api/v1/batches/{id}/complete-tasks", Access::Collector, 200, "error"),
    route("POST", "/api/v1/tasks", Access::Admin, 201, "error_msg"),
    route("GET", "/api/v1/tasks", Access::Login, 200, "error"),
    route("GET", "/api/v1/tasks/{id}", Access::Login, 200, "error_msg"),
    route("DELETE", "/api/v1/tasks/{id}", Access::Admin, 204, "error_msg"),
    route("GET", "/api/v1/tasks/{id}/config", Access::Login, 200, "error_msg"),
    route("GET", "/api/v1/tasks/statistics/breakdown", Access::AnyRole, 200, "error"),
    route("GET", "/api/v1/episodes", Access::Login, 200, "error"),
    route("GET", "/api/v1/episodes/{id}", Access::Login, 200, "error"),
    route("GET", "/api/v1/episodes/{id}/presign", Access::AnyRole, 200, "error"),
    route("GET", "/api/v1/storage/presign", Access::AnyRole, 200, "error"),
    route("GET", "/api/v1/storage/object", Access::LinkOrLogin, 200, "error"),
    route("POST", "/api/v1/callbacks/start", Access::Open, 200, "error_msg"),
    route("POST", "/api/v1/callbacks/finish", Access::Open, 200, "error_msg"),
];

/// What the contract does not have.
const ADDED: [(&str, &str); 18] = [
    ("GET", "/api/v1/auth/me/access"),
    ("GET", "/api/v1/episodes/{id}/certificate"),
    ("GET", "/api/v1/episodes/{id}/copies"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/outbox/subscribers"),
    ("POST", "/api/v1/episodes/{id}/copies/look"),
    ("DELETE", "/api/v1/episodes/{id}/edge-copy"),
    ("POST", "/api/v1/episodes/{id}/edge-copy/restore"),
    ("GET", "/api/v1/episodes/{id}/salvage"),
    ("POST", "/api/v1/episodes/{id}/salvage"),
    ("PATCH", "/api/v1/episodes/{id}"),
    ("GET", "/api/v1/episodes/{id}/timeline"),
    ("GET", "/api/v1/episodes/{id}/frames"),
    ("POST", "/api/v1/tasks/{id}/accept-damaged"),
    ("POST", "/api/v1/tasks/{id}/fail"),
    ("POST", "/api/v1/tasks/{id}/verdict"),
    ("GET", "/api/v1/episodes/{id}/viewer-link"),
    ("GET", "/api/v1/episodes/{id}/recording/{token}/{filename}"),
];
/// Programs that download ask with `HEAD` first.
const WITH_HEAD: &str = "/api/v1/storage/object";

/// The route of a row, by what it is called in the tables.
fn of(name: &str) -> &'static Route {
    ROUTES.iter().find(|route| format!("{} {}", route.method, route.path.trim_start_matches("/api/v1")) == name).unwrap_or_else(|| {
        panic!("no route is called {name}");
    })
}

/// A factory with what the rows speak of.
struct World {
    edge: TestEdge,
    seed: Seed,
    /// Of the collector who works at the seeded workstation, and of one who works nowhere.
    collector: String,
    idler: String,
}

impl World {
    async fn new() -> Self {
        let edge = TestEdge::start().await;
        let seed = edge.seed().await;
        let idler = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
        edge.create("/api/v1/data_collectors", idler).await;
        let token = async |account: &str| {
            let answer = edge.log_in(account, &format!("{account}'s password")).await.1;
            answer["access_token"].as_str().expect("a token").to_owned()
        };
        let (collector, idler) = (token("li").await, token("wu").await);
        Self { edge, seed, collector, idler }
    }

    async fn order(&self, name: &str, target: i64) -> i64 {
        let (organization, scene) = (&self.seed.organization, &self.seed.scene);
        let order = json!({"organization_id": organization, "scene_id": scene, "name": name, "target_count": target});
        number(&self.edge.create("/api/v1/orders", order).await["id"])
    }

    fn group(&self, quantity: i64) -> Value {
        json!({"sop_id": number(&self.seed.sop), "subscene_id": number(&self.seed.subscene), "quantity": quantity})
    }

    fn batch_body(&self, order: i64, quantity: i64) -> Value {
        json!({"order_id": order, "workstation_id": number(&self.seed.station), "task_groups": [self.group(quantity)]})
    }

    /// A batch of an order of its own: order, batch, tasks.
    async fn batch(&self, name: &str, quantity: i64) -> (i64, i64, Vec<i64>) {
        let order = self.order(name, quantity + 5).await;
        let created = self.edge.create("/api/v1/batches", self.batch_body(order, quantity)).await;
        let tasks = created["tasks"].as_array().expect("tasks").iter().map(|task| number(&task["id"])).collect();
        (order, number(&created["batch"]["id"]), tasks)
    }

    async fn complete(&self, batch: i64, quantity: i64) -> Value {
        let path = format!("/api/v1/batches/{batch}/complete-tasks");
        let (status, answer) = self.edge.send_as(&self.collector, "POST", &path, self.group(quantity)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn cancel(&self, batch: i64) {
        let path = format!("/api/v1/batches/{batch}");
        assert_eq!(self.edge.send_as(&self.edge.admin, "PATCH", &path, json!({"status": "cancelled"})).await.0, 200);
    }

    async fn events(&self) -> i64 {
        let client = self.edge.database.pool.get().await.unwrap();
        client.query_one("select count(*) from events", &[]).await.unwrap().get(0)
    }
}

fn described() -> BTreeMap<(String, String), Value> {
    let description = openapi();
    let paths = description["paths"].as_object().unwrap().clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap().clone();
        item.into_iter().map(move |(method, operation)| ((method.to_uppercase(), path.clone()), operation))
    });
    operations.collect()
}

#[test]
fn the_routes_of_the_contract_are_those_of_the_description() {
    let ours = |path: &str| {
        ["orders", "batches", "tasks", "episodes", "storage", "callbacks"].iter().any(|part| path.starts_with(&format!("/api/v1/{part}")))
    };
    let described = described();
    let added = |(method, path): &&(String, String)| ADDED.contains(&(method.as_str(), path.as_str()));
    let found: BTreeSet<_> = described.keys().filter(|(_, path)| ours(path)).filter(|route| !added(route)).cloned().collect();
    let wanted: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(found, wanted);
    for route in &ROUTES {
        let responses = &described[&(route.method.to_owned(), route.path.to_owned())]["responses"];
        assert!(responses.get(route.success.to_string()).is_some(), "{} {} does not describe {}", route.method, route.path, route.success);
        let problem = &responses["400"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/Problem", "{} {}", route.method, route.path);
    }
}

#[test]
fn every_refusal_in_the_table_is_described() {
    let described = described();
    for row in refusals::names() {
        let route = of(row.0);
        let responses = &described[&(route.method.to_owned(), route.path.to_owned())]["responses"];
        assert!(responses.get(row.2.to_string()).is_some(), "{}: `{}` answers {}, which is not described", row.0, row.1, row.2);
    }
}

#[tokio::test]
async fn routes_exist_in_the_router_and_let_in_whom_the_table_says() {
    let world = World::new().await;
    for route in &ROUTES {
        let path = route.path.replace("{id}", "987654");
        let place = format!("{} {path}", route.method);
        let asked = async |token: &str| {
            let (status, body) = world.edge.send_as(token, route.method, &path, json!({})).await;
            assert!(!body.is_string(), "{place} is not routed: {body}");
            (status, body)
        };
        let (anonymous, body) = asked("").await;
        assert_eq!(anonymous == 401, route.access != Access::Open, "{place} without a login: {body}");
        if anonymous == 401 {
            assert!(body["error"].is_string() || body["error_msg"].is_string(), "{body}");
        }
        let (admin, _) = asked(&world.edge.admin).await;
        assert_eq!(admin == 403, route.access == Access::Collector, "{place} as administrator");
        let (collector, _) = asked(&world.collector).await;
        assert_eq!(collector == 403, route.access == Access::Admin, "{place} as collector");
        // A method that the contract does not know is no method at all.
        let of_contract = ROUTES.iter().map(|other| (other.method, other.path));
        let known: Vec<_> = of_contract.chain(ADDED).filter(|other| other.1 == route.path).map(|other| other.0).collect();
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let with_head = |method: &str| method == "HEAD" && route.path == WITH_HEAD;
        for method in methods.into_iter().filter(|method| !known.contains(method) && !with_head(method)) {
            // `/tasks/statistics/breakdown` has no other method, and `/orders/987654` knows only its own.
            let (status, _) = world.edge.send_as(&world.edge.admin, method, &path, Value::Null).await;
            assert_eq!(status, 404, "{method} {path}");
        }
        assert_eq!(world.edge.send_as(&world.edge.admin, route.method, &format!("{path}/"), json!({})).await.0 / 100, 3, "{place}/");
    }
}
