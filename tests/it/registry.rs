//! Entries of the registry are changed and deleted, and workstations bound, by the rules of `docs/registry.md`.
//!
//! `KEYSTONE_REGISTRY_SECONDS` says for how long everybody changes the same things at once: a few seconds in every run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::edge::{Answer, Seed, TestEdge, number};
use crate::read_models::check;

struct Site {
    edge: TestEdge,
    seed: Seed,
}

impl Site {
    async fn new() -> Self {
        let edge = TestEdge::start().await;
        let seed = edge.seed().await;
        Self { edge, seed }
    }

    async fn put(&self, path: &str, id: &Value, body: Value) -> Answer {
        self.edge.send_as(&self.edge.admin, "PUT", &format!("/api/v1/{path}/{}", number(id)), body).await
    }

    async fn put_well(&self, path: &str, id: &Value, body: Value) -> Value {
        let (status, answer) = self.put(path, id, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn delete(&self, path: &str, id: &Value) -> (u16, String) {
        heard(self.edge.send_as(&self.edge.admin, "DELETE", &format!("/api/v1/{path}/{}", number(id)), Value::Null).await)
    }

    async fn get(&self, path: &str, id: &Value) -> Value {
        self.edge.get(&format!("/api/v1/{path}/{}", number(id))).await.1
    }

    async fn create(&self, path: &str, body: Value) -> Value {
        self.edge.create(&format!("/api/v1/{path}"), body).await["id"].clone()
    }

    async fn robot(&self, device_id: &str) -> Value {
        let body = json!({"robot_type_id": self.seed.robot_type, "factory_id": self.seed.factory, "device_id": device_id});
        self.create("robots", body).await
    }

    async fn collector(&self, operator_id: &str) -> Value {
        let password = format!("{operator_id}'s password");
        let body =
            json!({"organization_id": self.seed.organization, "name": operator_id, "operator_id": operator_id, "password": password});
        self.create("data_collectors", body).await
    }

    async fn token(&self, account: &str) -> String {
        let answer = self.edge.log_in(account, &format!("{account}'s password")).await.1;
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    async fn batch(&self, quantity: i64) -> Value {
        self.edge.create("/api/v1/batches", self.seed.batch(quantity)).await
    }

    async fn events(&self) -> i64 {
        let client = self.edge.database.pool.get().await.unwrap();
        client.query_one("select count(*) from events", &[]).await.unwrap().get(0)
    }

    /// One more of each kind, which nothing needs: path, id, what made it, a change of it, and the field that changes.
    async fn spare(&self) -> Vec<(&'static str, Value, Value, Value, &'static str)> {
        let seed = &self.seed;
        let rows = [
            ("factories", json!({"name": "Spare"}), json!({"location": "Wuhan"}), "location"),
            ("organizations", json!({"factory_id": seed.factory, "name": "Spare"}), json!({"description": "d"}), "description"),
            ("scenes", json!({"factory_id": seed.factory, "name": "Spare"}), json!({"name": "Other"}), "name"),
            ("subscenes", json!({"scene_id": seed.scene, "name": "Spare"}), json!({"name": "Other"}), "name"),
            ("skills", json!({"slug": "spare"}), json!({"metadata": {"a": 1}}), "metadata"),
            ("sops", json!({"slug": "spare"}), json!({"description": "d"}), "description"),
            ("robot_types", json!({"name": "Spare", "model": "spare"}), json!({"manufacturer": "m"}), "manufacturer"),
            (
                "robots",
                json!({"robot_type_id": seed.robot_type, "factory_id": seed.factory, "device_id": "spare"}),
                json!({"status": "maintenance"}),
                "status",
            ),
            (
                "data_collectors",
                json!({"organization_id": seed.organization, "name": "Spare", "operator_id": "spare", "password": "spare's password"}),
                json!({"email": "a@example.org"}),
                "email",
            ),
            (
                "inspectors",
                json!({"organization_id": seed.organization, "name": "Spare", "inspector_id": "spare-i", "password": "spare-i's password"}),
                json!({"name": "Other"}),
                "name",
            ),
        ];
        let mut made = vec![];
        for (path, body, change, field) in rows {
            made.push((path, self.create(path, body.clone()).await, body, change, field));
        }
        made
    }
}

/// Status and code.
fn heard((status, answer): Answer) -> (u16, String) {
    (status, answer["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn done() -> (u16, String) {
    (204, String::new())
}

#[tokio::test]
async fn every_kind_of_entry_is_changed_and_deleted() {
    let site = Site::new().await;
    for (path, id, _, change, field) in site.spare().await {
        let shown = site.put_well(path, &id, change.clone()).await;
        assert_eq!(shown[field], change[field], "{path}");
        assert_eq!(site.get(path, &id).await, shown, "{path}: the whole of it");
        let nothing = heard(site.put(path, &id, json!({"unknown": 1})).await);
        let expected = if path == "subscenes" { refused(200, "") } else { refused(400, "nothing_to_change") };
        assert_eq!(nothing, expected, "{path}");
        assert_eq!(heard(site.put(path, &json!(987_654), change.clone()).await).0, 404, "{path}");
        assert_eq!(site.delete(path, &id).await, done(), "{path}");
        assert_eq!(site.delete(path, &id).await.0, 404, "{path}: once");
        assert_eq!(heard(site.put(path, &id, change).await).0, 404, "{path}");
        assert_eq!(site.edge.get(&format!("/api/v1/{path}/{}", number(&id))).await.0, 404, "{path}");
        let listed = site.edge.get(&format!("/api/v1/{path}?limit=100")).await.1;
        assert!(listed["items"].as_array().unwrap().iter().all(|item| number(&item["id"]) != number(&id)), "{path}: {listed}");
    }
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn mn_4_the_same_change_twice_succeeds_and_is_one_event() {
    let site = Site::new().await;
    for (path, id, _, change, _) in site.spare().await {
        let before = site.events().await;
        let first = site.put_well(path, &id, change.clone()).await;
        assert_eq!(site.put_well(path, &id, change).await, first, "{path}");
        assert_eq!(site.events().await, before + 1, "{path}");
    }
}

#[tokio::test]
async fn mn_6_what_was_unique_of_a_deleted_entry_is_free_at_once() {
    let site = Site::new().await;
    for (path, id, body, _, _) in site.spare().await {
        let again = heard(site.edge.post(&format!("/api/v1/{path}"), body.clone()).await);
        assert_eq!(again, refused(400, "name_taken"), "{path}");
        let mut id = id;
        for _ in 0..2 {
            assert_eq!(site.delete(path, &id).await, done(), "{path}");
            id = site.create(path, body.clone()).await;
        }
    }
}

#[tokio::test]
async fn mn_1_a_name_that_is_taken_or_too_long_is_refused_when_an_entry_is_changed() {
    let site = Site::new().await;
    let seed = &site.seed;
    let more = site.spare().await;
    let spare = |path: &str| more.iter().find(|row| row.0 == path).map(|row| row.1.clone()).unwrap();
    for (path, taken) in [
        ("factories", json!({"name": "factory SHANGHAI"})),
        ("organizations", json!({"name": "ACME"})),
        ("scenes", json!({"name": "Kitchen"})),
        ("subscenes", json!({"name": "Sink"})),
        ("skills", json!({"slug": "Pick"})),
        ("sops", json!({"slug": "WASH"})),
        ("robot_types", json!({"model": "ARM-1"})),
        ("robots", json!({"device_id": "AB-F0001-T0001-000001"})),
        ("data_collectors", json!({"operator_id": "LI"})),
        ("data_collectors", json!({"operator_id": "spare-I"})),
        ("inspectors", json!({"inspector_id": "Li"})),
    ] {
        assert_eq!(heard(site.put(path, &spare(path), taken.clone()).await), refused(400, "name_taken"), "{path} {taken}");
        let field = taken.as_object().unwrap().keys().next().unwrap();
        let long = json!({ field: "x".repeat(300) });
        assert_eq!(heard(site.put(path, &spare(path), long).await), refused(400, "invalid_request"), "{path}");
    }
    for operator in [json!({"operator_id": "admin"}), json!({"operator_id": ""})] {
        assert_eq!(heard(site.put("data_collectors", &spare("data_collectors"), operator).await).0, 400);
    }
    for wrong in [json!({"factory_id": ""}), json!({"factory_id": "987654"})] {
        assert_eq!(heard(site.put("scenes", &seed.scene, wrong.clone()).await).0, 400, "{wrong}");
        assert_eq!(heard(site.put("robots", &spare("robots"), wrong.clone()).await).0, 400, "{wrong}");
    }
    for wrong in [json!({"robot_type_id": "987654"}), json!({"asset_id": null}), json!({"status": "gone"})] {
        assert_eq!(heard(site.put("robots", &spare("robots"), wrong.clone()).await).0, 400, "{wrong}");
    }
    assert_eq!(heard(site.put("sops", &seed.sop, json!({"skill_sequence": ["987654"]})).await), refused(400, "skill_not_found"));
    assert_eq!(
        heard(site.put("scenes", &seed.scene, json!({"name": " "})).await),
        refused(400, "nothing_to_change"),
        "an empty name stays"
    );
}

#[tokio::test]
async fn mn_5_what_a_change_does_not_name_stays() {
    let site = Site::new().await;
    let id = &site.seed.subscene;
    site.put_well("scenes", &site.seed.scene, json!({"initial_scene_layout_template": "one cup"})).await;
    let shown = site.put_well("subscenes", id, json!({"description": "d", "scene_id": ""})).await;
    assert_eq!([&shown["name"], &shown["initial_scene_layout"]], ["sink", "two cups"]);
    assert_eq!(site.put_well("subscenes", id, json!({"initial_scene_layout": ""})).await["initial_scene_layout"], "one cup");
    let shown = site.put_well("subscenes", id, json!({"description": ""})).await;
    assert_eq!((shown.get("description"), &shown["name"]), (None, &json!("sink")));
    let organization = site.put_well("organizations", &site.seed.organization, json!({"settings": null, "factory_id": "77"})).await;
    assert_eq!((&organization["settings"], &organization["factory_id"]), (&json!({}), &site.seed.factory));
    let kind = site.put_well("robot_types", &site.seed.robot_type, json!({"capabilities": null, "end_effector": "hand"})).await;
    assert_eq!((&kind["capabilities"], &kind["ros_topics"]), (&json!({}), &json!(["/camera0/rgb"])));
}

#[tokio::test]
async fn mn_7_a_slug_is_that_of_all_versions_and_may_change_its_case_alone() {
    let site = Site::new().await;
    for path in ["skills", "sops"] {
        let first = site.create(path, json!({"slug": "grip"})).await;
        let second = site.create(path, json!({"slug": "Grip", "version": "2"})).await;
        site.create(path, json!({"slug": "taken", "version": "9"})).await;
        for slug in ["GRIP", "hold"] {
            assert_eq!(site.put_well(path, &first, json!({"slug": slug})).await["slug"], slug);
            assert_eq!(site.get(path, &second).await["slug"], slug, "{path}: all versions");
        }
        assert_eq!(heard(site.put(path, &first, json!({"slug": "Taken"})).await), refused(400, "name_taken"), "whatever its version");
        assert_eq!(heard(site.put(path, &second, json!({"version": "3"})).await), refused(400, "version_fixed"));
        site.put_well(path, &second, json!({"version": "2"})).await;
    }
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn mn_9_what_something_needs_is_not_deleted() {
    let site = Site::new().await;
    let seed = &site.seed;
    site.batch(1).await;
    let skill = site.edge.get("/api/v1/skills?slug=pick").await.1["items"][0]["id"].clone();
    for (path, id, status, needed_by) in [
        ("factories", &seed.factory, 400, "scenes"),
        ("organizations", &seed.organization, 400, "data collectors"),
        ("scenes", &seed.scene, 400, "subscenes"),
        ("subscenes", &seed.subscene, 409, "tasks"),
        ("skills", &skill, 409, "SOPs"),
        ("sops", &seed.sop, 409, "tasks"),
        ("robot_types", &seed.robot_type, 409, "robots"),
        ("robots", &seed.robot, 409, "workstations"),
        ("data_collectors", &seed.collector, 409, "workstations"),
    ] {
        let before = site.events().await;
        let path_of = format!("/api/v1/{path}/{}", number(id));
        let (got, answer) = site.edge.send_as(&site.edge.admin, "DELETE", &path_of, Value::Null).await;
        assert_eq!((got, &answer["code"], &answer["count"].is_i64()), (status, &json!("entry_in_use"), &true), "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(needed_by), "{path}: {answer}");
        assert_eq!(site.events().await, before);
    }
    // Organizations keep their factory, which older systems did not see; a type takes its templates with it.
    let factory = site.create("factories", json!({"name": "F"})).await;
    let organization = site.create("organizations", json!({"factory_id": factory, "name": "O"})).await;
    assert_eq!(site.delete("factories", &factory).await, refused(400, "entry_in_use"));
    assert_eq!(site.delete("organizations", &organization).await, done());
    assert_eq!(site.delete("factories", &factory).await, done());
    let kind = site.create("robot_types", json!({"name": "T", "model": "t"})).await;
    let template = format!("/api/v1/robot_types/{}/config_templates/recorder.yaml", number(&kind));
    assert_eq!(site.edge.send_as(&site.edge.admin, "PUT", &template, json!({"content": "a: 1"})).await.0, 200);
    assert_eq!(site.delete("robot_types", &kind).await, done());
    assert_eq!(site.edge.get(&format!("/api/v1/robot_types/{}/configs/recorder.yaml", number(&kind))).await.0, 404);
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn mn_9_a_robot_stays_as_it_is_while_its_tasks_last() {
    let site = Site::new().await;
    let robot = &site.seed.robot;
    let batch = site.batch(1).await;
    let kind = site.create("robot_types", json!({"name": "T", "model": "t"})).await;
    for change in [json!({"device_id": "other"}), json!({"robot_type_id": kind.to_string()}), json!({"status": "retired"})] {
        assert_eq!(heard(site.put("robots", robot, change.clone()).await), refused(409, "entry_in_use"), "{change}");
    }
    site.put_well("robots", robot, json!({"status": "maintenance"})).await;
    let path = format!("/api/v1/batches/{}", number(&batch["batch"]["id"]));
    assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &path, json!({"status": "cancelled"})).await.0, 200);
    site.put_well("robots", robot, json!({"device_id": "other"})).await;
    assert_eq!(site.put_well("robots", robot, json!({"status": "retired"})).await["status"], "retired");
    assert_eq!(site.get("stations", &site.seed.station).await["is_current"], false, "who is retired is bound to nothing");
    assert_eq!(site.put_well("robots", robot, json!({"status": "active"})).await["status"], "active");
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn mn_10_nothing_moves_away_from_what_shares_its_factory() {
    let site = Site::new().await;
    let seed = &site.seed;
    let factory = site.create("factories", json!({"name": "Wuhan"})).await;
    let (robot, scene) = (site.robot("free").await, site.create("scenes", json!({"factory_id": seed.factory, "name": "free"})).await);
    let away = json!({"factory_id": factory});
    assert_eq!(heard(site.put("scenes", &seed.scene, away.clone()).await), refused(409, "entry_in_use"), "an order is for it");
    assert_eq!(heard(site.put("robots", &seed.robot, away.clone()).await), refused(409, "entry_in_use"), "it is bound");
    assert_eq!(site.put_well("scenes", &scene, away.clone()).await["factory_id"], factory);
    assert_eq!(site.put_well("robots", &robot, away).await["factory_id"], factory);
    // A station is given no robot of another factory, whether or not its collector is named.
    let bind = json!({"robot_id": robot});
    assert_eq!(heard(site.put("stations", &seed.station, bind).await), refused(400, "factory_mismatch"));
    site.batch(1).await;
    let moved = heard(site.put("subscenes", &seed.subscene, json!({"scene_id": scene})).await);
    assert_eq!(moved, refused(409, "entry_in_use"), "tasks are of subscenes of their order's scene");
}

#[tokio::test]
async fn mn_11_who_was_ever_bound_is_taken_out_of_service_instead_of_deleted() {
    let site = Site::new().await;
    let (robot, collector) = (&site.seed.robot, &site.seed.collector);
    assert_eq!(site.delete("stations", &site.seed.station).await, done());
    for (path, id, instead) in [("robots", robot, "retire it"), ("data_collectors", collector, "`inactive`")] {
        let path = format!("/api/v1/{path}/{}", number(id));
        let (status, answer) = site.edge.send_as(&site.edge.admin, "DELETE", &path, Value::Null).await;
        assert_eq!(status, 409);
        assert!(answer["error"].as_str().unwrap().contains(instead), "{answer}");
    }
    assert_eq!(site.put_well("robots", robot, json!({"status": "retired"})).await["status"], "retired");
    assert_eq!(site.put_well("data_collectors", collector, json!({"status": "inactive"})).await["status"], "inactive");
}

#[tokio::test]
async fn mn_12_names_follow_one_rule() {
    let site = Site::new().await;
    let seed = &site.seed;
    let task = site.batch(1).await["tasks"][0]["id"].clone();
    site.put_well("scenes", &seed.scene, json!({"name": "bath"})).await;
    site.put_well("subscenes", &seed.subscene, json!({"name": "tub"})).await;
    for shown in [site.get("tasks", &task).await, site.edge.get("/api/v1/tasks").await.1["items"][0].clone()] {
        assert_eq!([&shown["scene_name"], &shown["subscene_name"]], ["bath", "tub"], "{shown}");
    }
    let breakdown = site.edge.get("/api/v1/tasks/statistics/breakdown").await.1;
    assert!(breakdown.to_string().contains("bath"), "{breakdown}");
    site.put_well("robot_types", &seed.robot_type, json!({"name": "Hand"})).await;
    site.put_well("data_collectors", &seed.collector, json!({"name": "Li Na", "operator_id": "li-na"})).await;
    let station = site.get("stations", &seed.station).await;
    assert_eq!([&station["robot_name"], &station["collector_name"], &station["collector_operator_id"]], ["Hand", "Li Na", "li-na"]);
    // What ended keeps the robot's names, and who the person is has no history.
    let other = site.robot("other").await;
    let next = site.put_well("stations", &seed.station, json!({"robot_id": other})).await;
    site.put_well("robots", &other, json!({"device_id": "renamed"})).await;
    // Not while its tasks last.
    assert_eq!(heard(site.put("robots", &seed.robot, json!({"device_id": "old"})).await).0, 409);
    let cancelled = format!("/api/v1/batches/{}", number(&site.get("tasks", &task).await["batch_id"]));
    let (status, said) = site.edge.send_as(&site.edge.admin, "PATCH", &cancelled, json!({"status": "cancelled"})).await;
    assert_eq!(status, 200, "{said}");
    site.put_well("robots", &seed.robot, json!({"device_id": "old"})).await;
    site.put_well("data_collectors", &seed.collector, json!({"name": "Lina"})).await;
    let (before, now) = (site.get("stations", &seed.station).await, site.get("stations", &next["id"]).await);
    assert_eq!([&before["robot_serial"], &before["collector_name"]], ["AB-F0001-T0001-000001", "Lina"]);
    assert_eq!([&now["robot_serial"], &now["collector_name"]], ["renamed", "Lina"]);
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn a_workstation_is_bound_to_others_and_two_who_come_back_get_their_binding() {
    let site = Site::new().await;
    let seed = &site.seed;
    let (robot, collector) = (site.robot("second").await, site.collector("wu").await);
    let first = site.get("stations", &seed.station).await;
    site.put_well("stations", &seed.station, json!({"status": "break", "metadata": {"row": 1}})).await;
    let second = site.put_well("stations", &seed.station, json!({"robot_id": format!("robot_{}", number(&robot))})).await;
    assert_ne!(second["id"], first["id"]);
    assert_eq!([&second["name"], &second["status"], &second["metadata"]], [&first["name"], &json!("break"), &json!({"row": 1})]);
    let old = site.get("stations", &seed.station).await;
    assert_eq!([&old["is_current"], &old["superseded_by"]], [&json!(false), &second["id"]]);
    assert_eq!(heard(site.put("stations", &seed.station, json!({"status": "active"})).await), refused(404, "not_found"), "it is history");
    assert_eq!(site.delete("stations", &seed.station).await, refused(404, "not_found"));

    let back = site.put_well("stations", &second["id"], json!({"robot_id": seed.robot, "status": "inactive"})).await;
    assert_eq!([&back["id"], &back["name"], &back["status"]], [&first["id"], &first["name"], &json!("inactive")]);
    assert_eq!((&back["is_current"], back.get("superseded_by")), (&json!(true), None));
    let listed = site.edge.get("/api/v1/stations").await.1;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &first["id"]));

    // By POST, too, and offline.
    assert_eq!(site.delete("stations", &back["id"]).await, done());
    let again = site.edge.create("/api/v1/stations", json!({"robot_id": seed.robot, "data_collector_id": seed.collector})).await;
    assert_eq!([&again["id"], &again["status"], &again["metadata"]], [&first["id"], &json!("offline"), &json!({})]);
    for (pair, word) in [
        (json!({"robot_id": seed.robot, "data_collector_id": collector}), "ROBOT_ALREADY_ASSIGNED"),
        (json!({"robot_id": robot, "data_collector_id": seed.collector}), "DATA_COLLECTOR_ALREADY_ASSIGNED"),
        (json!({"robot_id": seed.robot, "data_collector_id": seed.collector}), "ROBOT_ALREADY_ASSIGNED"),
    ] {
        let (status, answer) = site.edge.post("/api/v1/stations", pair).await;
        assert_eq!((status, &answer["error"]), (409, &json!(word)), "{answer}");
    }
    let third = site.edge.create("/api/v1/stations", json!({"robot_id": robot, "data_collector_id": collector})).await;
    let (status, answer) = site.put("stations", &third["id"], json!({"data_collector_id": seed.collector})).await;
    assert_eq!((status, &answer["error"]), (409, &json!("DATA_COLLECTOR_ALREADY_ASSIGNED")));
    let (status, answer) = site.put("stations", &third["id"], json!({"status": "asleep"})).await;
    assert_eq!((status, &answer["actual"], answer["valid"].as_array().map(Vec::len)), (400, &json!("asleep"), Some(4)));
    assert_eq!(heard(site.put("stations", &third["id"], json!({"robot_id": ""})).await).0, 400);
    assert_eq!(heard(site.put("stations", &third["id"], json!({})).await), refused(400, "nothing_to_change"));

    let ids = json!({"workstation_ids": [format!("ws_{}", number(&second["id"])), third["id"], 987_654, "x", third["id"]]});
    let (status, found) = site.edge.post("/api/v1/stations/lookup", ids).await;
    assert_eq!((status, found["stations"].as_array().map(Vec::len)), (200, Some(2)), "{found}");
    assert_eq!(found["stations"][0]["deleted"], false);
    assert_eq!(site.edge.post("/api/v1/stations/lookup", json!({})).await, (200, json!({"stations": []})));
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn a_workstation_with_work_is_not_unbound_and_keeps_it_when_it_is_bound_to_others() {
    let site = Site::new().await;
    let batch = site.batch(1).await;
    assert_eq!(site.delete("stations", &site.seed.station).await, refused(409, "station_has_batches"));
    let robot = site.robot("second").await;
    let next = site.put_well("stations", &site.seed.station, json!({"robot_id": robot})).await;
    let shown = site.get("batches", &batch["batch"]["id"]).await;
    assert_eq!(number(&shown["workstation_id"]), number(&site.seed.station), "{shown}");
    assert_eq!(site.delete("stations", &next["id"]).await, done());
}

#[tokio::test]
async fn mn_14_breaks_logins_and_batches_do_not_overwrite_each_other() {
    let site = Site::new().await;
    let status = async || site.get("stations", &site.seed.station).await["status"].clone();
    let idler = {
        site.collector("wu").await;
        site.token("wu").await
    };
    let say = async |token: &str, what: &str| heard(site.edge.send_as(token, "POST", &format!("/api/v1/auth/{what}"), Value::Null).await);
    assert_eq!(say(&idler, "me/station/break").await, refused(404, "no_current_workstation"));
    assert_eq!(status().await, "offline");
    let token = site.token("li").await;
    assert_eq!(status().await, "inactive", "who logs in is there");
    for _ in 0..2 {
        let (code, answer) = site.edge.send_as(&token, "POST", "/api/v1/auth/me/station/break", Value::Null).await;
        assert_eq!((code, &answer["status"], &answer["workstation_id"]), (200, &json!("break"), &site.seed.station));
    }
    let batch = site.batch(2).await;
    let complete = format!("/api/v1/batches/{}/complete-tasks", number(&batch["batch"]["id"]));
    let group = json!({"sop_id": number(&site.seed.sop), "subscene_id": number(&site.seed.subscene), "quantity": 1});
    assert_eq!(site.edge.send_as(&token, "POST", &complete, group).await.0, 200);
    site.token("li").await;
    assert_eq!(status().await, "break", "neither a batch nor a login ends it");
    assert_eq!(say(&token, "me/station/end-break").await.0, 200);
    assert_eq!(status().await, "active", "a batch is");
    assert_eq!(say(&token, "logout").await.0, 200);
    assert_eq!(status().await, "offline");
    for what in ["me/station/break", "me/station/end-break"] {
        assert_eq!(say(&token, what).await, refused(409, "station_offline"));
    }
    assert_eq!(say("", "logout").await.0, 200, "always");
    assert_eq!(say(&site.edge.admin, "me/station/break").await.0, 403);
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn mn_16_who_is_deleted_inactive_or_has_another_password_is_logged_out() {
    let site = Site::new().await;
    let (wu, he) = (site.collector("wu").await, site.collector("he").await);
    let (wus, hes, lis) = (site.token("wu").await, site.token("he").await, site.token("li").await);
    let me = async |token: &str| site.edge.send_as(token, "GET", "/api/v1/auth/me", Value::Null).await.0;
    assert_eq!((me(&wus).await, me(&hes).await, me(&lis).await), (200, 200, 200));
    assert_eq!(site.delete("data_collectors", &wu).await, done());
    site.put_well("data_collectors", &he, json!({"status": "on_leave"})).await;
    assert_eq!((me(&wus).await, me(&hes).await), (401, 401));
    assert_eq!(site.edge.log_in("wu", "wu's password").await.0, 401);
    site.put_well("data_collectors", &he, json!({"status": "active", "password": "another one"})).await;
    assert_eq!(site.edge.log_in("he", "he's password").await.0, 401);
    assert_eq!(site.edge.log_in("he", "another one").await.0, 200);
}

/// Everybody changes the same few things.
struct Floor {
    site: Site,
    answers: Mutex<BTreeMap<(String, u16, String), u64>>,
}

impl Floor {
    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.site.edge.send_as(&self.site.edge.admin, method, &format!("/api/v1/{path}"), body).await;
        assert!(status < 500, "{method} {path}: {status} {answer}");
        let kind = path.split('/').next().unwrap_or_default();
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        *self.answers.lock().await.entry((format!("{method} {kind}"), status, code)).or_default() += 1;
        answer
    }

    /// One of the newest of a kind.
    async fn one(&self, path: &str) -> Option<i64> {
        let listed = self.site.edge.get(&format!("/api/v1/{path}?limit=6")).await.1;
        let ids: Vec<i64> = listed["items"].as_array()?.iter().map(|item| number(&item["id"])).collect();
        (!ids.is_empty()).then(|| ids[rand::random_range(0..ids.len())])
    }

    async fn act(&self) {
        let seed = &self.site.seed;
        let n: u8 = rand::random_range(0..4);
        let (name, text) = (format!("n{n}"), |id: i64| id.to_string());
        let kinds =
            ["factories", "organizations", "scenes", "subscenes", "skills", "sops", "robot_types", "robots", "data_collectors", "stations"];
        let kind = kinds[rand::random_range(0..kinds.len())];
        let factory = self.one("factories").await.map_or(seed.factory.clone(), |id| json!(text(id)));
        match rand::random_range(0..8) {
            0..3 => {
                let body = match kind {
                    "factories" => json!({"name": name}),
                    "organizations" | "scenes" => json!({"factory_id": factory, "name": name}),
                    "subscenes" => json!({"scene_id": self.one("scenes").await.map(text), "name": name}),
                    "skills" => json!({"slug": name, "version": n.to_string()}),
                    "sops" => json!({"slug": name, "skill_sequence": self.one("skills").await.map(|id| vec![text(id)])}),
                    "robot_types" => json!({"name": name, "model": name}),
                    "robots" => json!({"factory_id": factory, "robot_type_id": self.one("robot_types").await.map(text), "device_id": name}),
                    "stations" => json!({
                        "robot_id": self.one("robots").await.map(text), "data_collector_id": self.one("data_collectors").await.map(text),
                    }),
                    _ => return,
                };
                self.send("POST", kind, body).await;
            }
            3..5 => {
                let Some(id) = self.one(kind).await else { return };
                let body = match kind {
                    "skills" | "sops" => json!({"slug": name}),
                    "robot_types" => json!({"name": name, "model": name}),
                    "robots" if n < 2 => json!({"device_id": name, "factory_id": factory}),
                    "robots" => json!({"status": "active", "robot_type_id": self.one("robot_types").await.map(text)}),
                    "scenes" => json!({"name": name, "factory_id": factory}),
                    "subscenes" => json!({"name": name, "scene_id": self.one("scenes").await.map(text)}),
                    "stations" => json!({"robot_id": self.one("robots").await.map(text), "status": "inactive"}),
                    _ => json!({"name": name}),
                };
                self.send("PUT", &format!("{kind}/{id}"), body).await;
            }
            5 => {
                let Some(scene) = self.one("scenes").await else { return };
                let Some(organization) = self.one("organizations").await else { return };
                let order = json!({
                    "organization_id": text(organization), "scene_id": text(scene), "name": format!("o{}", rand::random::<u64>()), "target_count": 5,
                });
                if n == 0 {
                    self.send("POST", "orders", order).await;
                }
            }
            6 => {
                let mut batch = seed.batch(1);
                if let (Some(station), Some(sop)) = (self.one("stations").await, self.one("sops").await) {
                    (batch["workstation_id"], batch["task_groups"][0]["sop_id"]) = (json!(station), json!(sop));
                }
                let made = self.send("POST", "batches", batch).await;
                if let Some(id) = made["batch"]["id"].as_str() {
                    self.send("PATCH", &format!("batches/{id}"), json!({"status": "cancelled"})).await;
                }
            }
            _ => {
                let Some(id) = self.one(kind).await else { return };
                self.send("DELETE", &format!("{kind}/{id}"), Value::Null).await;
            }
        }
    }
}

/// What may never be found, as queries that find it.
const BROKEN: [(&str, &str); 9] = [
    (
        "an organization without its factory",
        "select count(*) from organizations o where not exists (select from factories f where f.id = o.factory_id)",
    ),
    ("a scene without its factory", "select count(*) from scenes o where not exists (select from factories f where f.id = o.factory_id)"),
    ("a subscene without its scene", "select count(*) from subscenes o where not exists (select from scenes f where f.id = o.scene_id)"),
    (
        "a robot without its factory or type",
        "select count(*) from robots r where not exists (select from factories f where f.id = r.factory_id) \
         or not exists (select from robot_types t where t.id = r.robot_type_id)",
    ),
    (
        "an order whose scene and organization share no factory",
        "select count(*) from orders o where not exists (select from scenes s join organizations g on g.factory_id = s.factory_id \
         where s.id = o.scene_id and g.id = o.organization_id)",
    ),
    (
        "an SOP that names a skill that is gone",
        "select count(*) from sops p, unnest(p.skill_sequence) k where not exists (select from skills s where s.id = k)",
    ),
    (
        "a task without its SOP or subscene",
        "select count(*) from tasks t where not exists (select from sops p where p.id = t.sop_id) or not exists (select from subscenes u where u.id = t.subscene_id)",
    ),
    (
        "a binding without its two",
        "select count(*) from stations w where not exists (select from robots r where r.id = w.robot_id) \
         or not exists (select from data_collectors c where c.id = w.data_collector_id)",
    ),
    (
        "a current workstation that calls its robot otherwise, or is elsewhere",
        "select count(*) from stations w join robots r on r.id = w.robot_id join robot_types t on t.id = r.robot_type_id \
         where w.is_current and (w.robot_serial, w.robot_name, w.factory_id) is distinct from (r.device_id, t.name, r.factory_id)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mn_8_thirty_two_clients_create_rename_bind_and_delete_the_same_things() {
    let seconds = std::env::var("KEYSTONE_REGISTRY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let site = Site::new().await;
    for collector in ["a", "b", "c"] {
        site.collector(collector).await;
    }
    let floor = Arc::new(Floor { site, answers: Mutex::default() });
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let floor = floor.clone();
        clients.spawn(async move {
            while Instant::now() < until {
                floor.act().await;
            }
        });
    }
    clients.join_all().await;
    let answers = floor.answers.lock().await;
    for ((what, status, code), count) in answers.iter() {
        println!("{what:>24} {status} {code:<28} {count}");
    }
    let client = floor.site.edge.database.pool.get().await.unwrap();
    for (what, sql) in BROKEN {
        let found: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(found, 0, "{what}");
    }
    drop(client);
    check(&floor.site.edge.database.pool, &floor.site.edge.database).await;
    let successes: u64 = answers.iter().filter(|((_, status, _), _)| *status < 300).map(|(_, count)| count).sum();
    assert!(successes > 20, "clients got nothing done: {successes}");
}
