//! Every route once as it should go: status, and every field of the answer.

use serde_json::{Value, json};

use super::super::shapes::{Field, check, check_page};
use super::{ASSET, ROUTES, Site, of, shapes};
use crate::data_ops::DEVICE;
use crate::harness::edge::number;

const EVER: &str = "start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z";

/// What was asked by now, and for whom.
struct Asked<'a> {
    site: &'a Site,
    seen: Vec<&'static str>,
}

impl Asked<'_> {
    async fn go(&mut self, token: &str, name: &'static str, path: &str, body: Value) -> Value {
        let route = of(name);
        let (status, answer) = self.site.edge.send_as(token, route.method, &format!("/api/v1{path}"), body).await;
        assert_eq!(status, route.success, "{name}: {answer}");
        self.seen.push(name);
        answer
    }

    /// As an administrator.
    async fn manage(&mut self, name: &'static str, path: &str, body: Value) -> Value {
        let admin = self.site.edge.admin.clone();
        self.go(&admin, name, path, body).await
    }
}

/// The five routes of a registry, by their names.
struct Registry {
    names: [&'static str; 5],
    shape: &'static [Field],
    new: Value,
    change: Value,
}

macro_rules! registry {
    ($name:literal, $shape:expr, $new:expr, $change:expr) => {
        Registry {
            names: [
                concat!("GET /", $name),
                concat!("POST /", $name),
                concat!("GET /", $name, "/{id}"),
                concat!("PUT /", $name, "/{id}"),
                concat!("DELETE /", $name, "/{id}"),
            ],
            shape: $shape,
            new: $new,
            change: $change,
        }
    };
}

fn registries(site: &Site) -> Vec<Registry> {
    let (seed, robot_type) = (&site.seed, number(&site.seed.robot_type).to_string());
    let whole = json!({"a": [1, null]});
    vec![
        registry!(
            "organizations",
            shapes::ORGANIZATION,
            json!({"factory_id": seed.factory, "name": "Second", "description": "The other one", "settings": whole}),
            json!({"name": "Third", "description": "", "settings": null})
        ),
        registry!(
            "factories",
            shapes::FACTORY,
            json!({"name": "Wuhan", "location": "By the river", "timezone": "Asia/Shanghai"}),
            json!({"name": "Wuhan 2", "timezone": "", "settings": whole})
        ),
        registry!(
            "scenes",
            shapes::SCENE,
            json!({"factory_id": seed.factory, "name": "garage", "description": "cold", "initial_scene_layout_template": "one car"}),
            json!({"name": "shed", "description": ""})
        ),
        registry!(
            "subscenes",
            shapes::SUBSCENE,
            json!({"scene_id": seed.scene, "name": "table", "description": "low", "initial_scene_layout": "bare"}),
            json!({"name": "bench"})
        ),
        registry!(
            "skills",
            shapes::SKILL,
            json!({"slug": "lift", "version": "2", "description": "up", "metadata": whole}),
            json!({"slug": "raise", "version": "2"})
        ),
        registry!(
            "sops",
            shapes::SOP,
            json!({"slug": "carry", "description": "across", "skill_sequence": []}),
            json!({"description": "over", "skill_sequence": []})
        ),
        registry!(
            "robot_types",
            shapes::ROBOT_TYPE,
            json!({"name": "Hand", "model": "hand-1", "manufacturer": "Acme", "end_effector": "grip", "sensor_suite": whole, "capabilities": whole,
                   "ros_topics": ["/a"]}),
            json!({"manufacturer": "", "ros_topics": []})
        ),
        registry!(
            "robots",
            shapes::ROBOT,
            json!({"robot_type_id": robot_type, "factory_id": seed.factory, "device_id": "another", "metadata": whole}),
            json!({"status": "maintenance"})
        ),
        registry!(
            "data_collectors",
            shapes::COLLECTOR,
            json!({"organization_id": seed.organization, "name": "Zhao", "operator_id": "zhao", "email": "z@x.test", "certification": "a",
                   "password": "zhao's password", "metadata": whole}),
            json!({"status": "on_leave", "email": ""})
        ),
        registry!(
            "inspectors",
            shapes::INSPECTOR,
            json!({"organization_id": seed.organization, "name": "Qian", "inspector_id": "qian", "email": "q@x.test", "password": "qian's password",
                   "metadata": whole}),
            json!({"certification_level": "senior", "status": "inactive"})
        ),
    ]
}

/// Beyond the contract, answers of a write may have less to show than a read.
async fn walk(asked: &mut Asked<'_>, registry: Registry) {
    let Registry { names, shape, new, change } = registry;
    let base = names[0].trim_start_matches("GET ");
    let made = asked.manage(names[1], base, new).await;
    check(names[1], &made, shape);
    let one = format!("{base}/{}", number(&made["id"]));
    check(names[2], &asked.manage(names[2], &one, Value::Null).await, shape);
    let listed = asked.manage(names[0], base, Value::Null).await;
    check_page(names[0], &listed, shape, &[]);
    assert_eq!((&listed["limit"], &listed["items"][0]["id"]), (&json!(50), &made["id"]), "{base}: the newest first");
    let changed = asked.manage(names[3], &one, change.clone()).await;
    check(names[3], &changed, shape);
    for (key, value) in change.as_object().expect("an object") {
        match (key.as_str(), value.as_str()) {
            ("timezone", Some("")) => assert_eq!(changed[key], "UTC"),
            (_, Some("")) => assert!(changed.get(key).is_none(), "{base}: an empty {key} is taken away: {changed}"),
            _ if value.is_null() => assert_eq!(changed[key], json!({}), "{base}: `null` empties {key}"),
            _ => assert_eq!(&changed[key], value, "{base}: {key}"),
        }
    }
    asked.manage(names[4], &one, Value::Null).await;
    assert_eq!(asked.site.edge.get(&format!("/api/v1{one}")).await.0, 404, "{base}: what was deleted is gone");
}

async fn robots(asked: &mut Asked<'_>) {
    let site = asked.site;
    let kind = format!("/robot_types/{}", number(&site.seed.robot_type));
    let slots = asked.manage("GET /robot_types/{id}/config_templates", &format!("{kind}/config_templates"), Value::Null).await;
    check("slots", &slots, shapes::SLOTS);
    let names: Vec<&str> = slots["templates"].as_array().unwrap().iter().filter_map(|slot| slot["filename"].as_str()).collect();
    assert_eq!(names, ["recorder.yaml", "transfer.yaml"]);
    let template = format!("{kind}/config_templates/recorder.yaml");
    let put = "PUT /robot_types/{id}/config_templates/{filename}";
    check("written", &asked.manage(put, &template, json!({"content": "a: 1"})).await, shapes::WRITTEN);
    let shown = asked.manage("GET /robot_types/{id}/config_templates/{filename}", &template, Value::Null).await;
    check("template", &shown, shapes::TEMPLATE);
    let raw = asked.go("", "GET /robot_types/{id}/configs/{filename}", &format!("{kind}/configs/recorder.yaml"), Value::Null).await;
    assert_eq!(raw, "a: 1");
    for _ in 0..2 {
        asked.manage("DELETE /robot_types/{id}/config_templates/{filename}", &template, Value::Null).await;
    }

    let offered = asked.manage("GET /robots/cloud-asset-options", "/robots/cloud-asset-options?q=ASSET", Value::Null).await;
    check("assets", &offered, shapes::ASSETS);
    assert_eq!(offered["items"][0]["device_id"], ASSET);
    let asset = format!("/robots/{}/cloud-asset", site.robot);
    for _ in 0..2 {
        let bound = asked.manage("PUT /robots/{id}/cloud-asset", &asset, json!({"asset_id": ASSET})).await;
        check("robot", &bound, shapes::ROBOT);
        assert_eq!(bound["asset_id"], ASSET);
    }
    for _ in 0..2 {
        let unbound = asked.manage("DELETE /robots/{id}/cloud-asset", &asset, Value::Null).await;
        check("robot", &unbound, shapes::ROBOT);
        assert!(unbound.get("asset_id").is_none(), "{unbound}");
    }
    let connection = asked.manage("GET /devices/{device_id}/connection", "/devices/nobody/connection", Value::Null).await;
    check("connection", &connection, shapes::CONNECTION);
    assert_eq!((&connection["connected"], &connection["device_id"]), (&json!(false), &json!("nobody")));
    let new = json!({"factory": "Factory Shanghai", "robot_type": "arm-1"});
    let registered = asked.go("", "POST /devices/register", "/devices/register", new).await;
    check("registered", &registered, shapes::REGISTERED);
    assert!(registered["ws_client_auth_token"].as_str().unwrap().starts_with("kws_v1_"));
    assert_eq!(registered["callback_allowlist"], json!({"allowed_host": "edge.test:8080", "allowed_path_prefix": "/api/v1/callbacks/"}));
    let rotate = format!("/robots/{}/ws-client-auth-token/rotate", registered["robot_id"].as_str().unwrap());
    let rotated = asked.manage("POST /robots/{id}/ws-client-auth-token/rotate", &rotate, Value::Null).await;
    check("rotated", &rotated, shapes::ROTATED);
    assert_eq!((&rotated["device_id"], &rotated["robot_id"]), (&registered["device_id"], &registered["robot_id"]));
}

async fn stations(asked: &mut Asked<'_>) {
    let site = asked.site;
    let (_, idlers) = site.edge.get("/api/v1/data_collectors?collector_operator_id=wu").await;
    let pair =
        json!({"robot_id": format!("robot_{}", site.robot), "data_collector_id": format!("dc_{}", number(&idlers["items"][0]["id"]))});
    let made = asked.manage("POST /stations", "/stations", pair).await;
    check("station", &made, shapes::STATION);
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("ws-") && name.len() == 11, "{name}");
    assert_eq!((&made["status"], &made["is_current"], &made["metadata"]), (&json!("offline"), &json!(true), &json!({})));
    let one = format!("/stations/{}", number(&made["id"]));
    check("station", &asked.manage("GET /stations/{id}", &one, Value::Null).await, shapes::STATION);
    check_page("stations", &asked.manage("GET /stations", "/stations?status=OFFLINE", Value::Null).await, shapes::STATION, &[]);
    let changed = asked.manage("PUT /stations/{id}", &one, json!({"status": "break", "metadata": {"row": 3}})).await;
    check("station", &changed, shapes::STATION);
    assert_eq!((&changed["status"], &changed["id"]), (&json!("break"), &made["id"]));
    asked.manage("DELETE /stations/{id}", &one, Value::Null).await;
    let gone = asked.manage("GET /stations/{id}", &one, Value::Null).await;
    assert_eq!((&gone["is_current"], gone.get("superseded_by")), (&json!(false), None), "a historical row is shown");
    let wanted = json!({"workstation_ids": [number(&made["id"]), made["id"], format!("ws_{}", number(&made["id"])), "x", 999, {}]});
    let found = asked.manage("POST /stations/lookup", "/stations/lookup", wanted).await;
    check("looked up", &found, shapes::LOOKED_UP);
    assert_eq!(found["stations"].as_array().map(Vec::len), Some(1));
}

async fn people(asked: &mut Asked<'_>) {
    let site = asked.site;
    let credentials = json!({"operator_id": " li ", "password": "li's password"});
    let login = asked.go("", "POST /auth/login", "/auth/login", credentials).await;
    check("login", &login, shapes::LOGIN);
    assert_eq!((&login["token_type"], &login["role"]), (&json!("Bearer"), &json!("data_collector")));
    let admin = site.edge.log_in("admin", "open sesame").await.1;
    check("login", &admin, shapes::LOGIN);
    assert_eq!((&admin["role"], &admin["collector"]), (&json!("admin"), &Value::Null));
    let me = asked.go(&site.collector, "GET /auth/me", "/auth/me", Value::Null).await;
    check("me", &me, shapes::ME);
    assert_eq!((&me["operator_id"], &me["robot_type"]["name"]), (&json!("li"), &json!("Arm")));
    let me = asked.manage("GET /auth/me", "/auth/me", Value::Null).await;
    check("me", &me, shapes::ME);
    assert_eq!((&me["name"], &me["workstation_id"]), (&json!("Administrator"), &Value::Null));
    for (name, path, status) in [
        ("POST /auth/me/station/break", "/auth/me/station/break", "break"),
        ("POST /auth/me/station/end-break", "/auth/me/station/end-break", "active"),
    ] {
        let answer = asked.go(&site.collector, name, path, Value::Null).await;
        check("break", &answer, shapes::BREAK);
        // Its batch is done, or goes on: what it is after a break follows from that.
        assert!(answer["status"] == status || answer["status"] == "inactive", "{answer}");
    }
    let out = asked.go(&site.collector, "POST /auth/logout", "/auth/logout", json!({"whatever": 1})).await;
    check("logged out", &out, shapes::LOGGED_OUT);
}

async fn numbers(asked: &mut Asked<'_>) {
    let site = asked.site;
    let (admin, operator) = ("/admin/statistics/data-production", "/operator/statistics/data-production");
    let summary = "GET /admin/statistics/data-production/summary";
    check("summary", &asked.manage(summary, &format!("{admin}/summary?{EVER}"), Value::Null).await, shapes::SUMMARY);
    let trend = "GET /admin/statistics/data-production/trend";
    check("trend", &asked.manage(trend, &format!("{admin}/trend?{EVER}"), Value::Null).await, shapes::TREND);
    let breakdown = "GET /admin/statistics/data-production/breakdown";
    let groups = asked.manage(breakdown, &format!("{admin}/breakdown?{EVER}"), Value::Null).await;
    check_page("breakdown", &groups, shapes::GROUP, &["dimension", "as_of"]);
    assert_eq!((&groups["dimension"], &groups["items"][0]["id"]), (&json!("source"), &json!(DEVICE)));
    let details = asked.manage("GET /admin/statistics/data-production/details", &format!("{admin}/details?{EVER}"), Value::Null).await;
    check_page("details", &details, shapes::RECORD, &["as_of"]);
    let table = asked.manage("GET /admin/statistics/data-production/export", &format!("{admin}/export?{EVER}"), Value::Null).await;
    assert!(table.as_str().unwrap().starts_with("id,time,设备ID,设备型号,数采员工号,数采员姓名,task_id,sop,时长,大小\n"), "{table}");

    let collector = &site.collector;
    let own =
        asked.go(collector, "GET /operator/statistics/data-production/summary", &format!("{operator}/summary?{EVER}"), Value::Null).await;
    check("own summary", &own, shapes::SUMMARY);
    let own = asked.go(collector, "GET /operator/statistics/data-production/trend", &format!("{operator}/trend?{EVER}"), Value::Null).await;
    check("own trend", &own, shapes::TREND);
    let path = format!("{operator}/breakdown?{EVER}&dimension=sop");
    let own = asked.go(collector, "GET /operator/statistics/data-production/breakdown", &path, Value::Null).await;
    check_page("own breakdown", &own, shapes::GROUP, &["dimension", "as_of"]);

    let snapshot = "GET /production/dashboard/snapshot";
    let overview = "GET /production/dashboard/overview";
    for token in [&site.edge.admin, collector] {
        let shown = asked.go(token, snapshot, "/production/dashboard/snapshot?timezone_offset=%2B08:00", Value::Null).await;
        check("snapshot", &shown, shapes::SNAPSHOT);
        assert_eq!(shown["trend"].as_array().map(Vec::len), Some(7), "{shown}");
        let shown = asked.go(token, overview, "/production/dashboard/overview?trend_days=99", Value::Null).await;
        check("overview", &shown, shapes::OVERVIEW);
        assert_eq!(shown["trend"].as_array().map(Vec::len), Some(31), "more than the most is the most");
    }
    let batch = number(&site.edge.get("/api/v1/batches").await.1["items"][0]["id"]);
    let path = format!("/production/dashboard/batches/{batch}/task-summary");
    let of_batch = asked.manage("GET /production/dashboard/batches/{id}/task-summary", &path, Value::Null).await;
    check("batch", &of_batch, shapes::BATCH);
    assert_eq!(of_batch["items"].as_array().map(Vec::len), Some(1), "{of_batch}");
    check("health", &asked.go("", "GET /health", "/health", Value::Null).await, shapes::HEALTH);
}

#[tokio::test]
async fn every_route_of_the_registry_and_the_numbers_answers_with_the_fields_of_its_table() {
    let site = Site::new().await;
    let mut asked = Asked { site: &site, seen: vec![] };
    for registry in registries(&site) {
        walk(&mut asked, registry).await;
    }
    robots(&mut asked).await;
    stations(&mut asked).await;
    numbers(&mut asked).await;
    people(&mut asked).await;
    let name = |route: &super::Route| format!("{} {}", route.method, route.path.trim_start_matches("/api/v1"));
    let left: Vec<String> = ROUTES.iter().map(name).filter(|name| !asked.seen.contains(&name.as_str())).collect();
    assert!(left.is_empty(), "nobody tried {left:?}");
}
