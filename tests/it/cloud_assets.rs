//! Which device of the data platform a robot is: offered, bound, unbound, and in the metadata of what it records.

use std::path::PathBuf;

use futures_util::future::{BoxFuture, join_all};
use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::data_ops::DEVICE;
use crate::harness::bench::Recording;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::temp_folder;
use crate::read_models::check;
use crate::stored_episodes::EpisodeMaker;

const OPTIONS: &str = "/api/v1/robots/cloud-asset-options";
const ROBOTS: &str = "/api/v1/robots";

fn config(ready: &[&str]) -> String {
    let device = |id: &&str| json!({ "deviceId": id, "apiKey": "a2V5", "tags": { "site": "上海" } });
    let bare = json!({ "deviceId": "bare" });
    let devices: Vec<Value> = ready.iter().map(device).chain([bare]).collect();
    json!({ "version": 3, "endpoints": { "auth": "auth:1", "gateway": "gateway:2" }, "devices": devices }).to_string()
}

/// An edge with a gateway, whose configuration is where it says.
struct Site {
    edge: TestEdge,
    seed: Seed,
    file: PathBuf,
    _folder: TempDir,
}

impl Site {
    async fn with(ready: &[&str]) -> Self {
        let folder = temp_folder();
        let file = folder.path().join("platform.json");
        std::fs::write(&file, config(ready)).unwrap();
        let edge = TestEdge::start_with(|settings| settings.sync.platform = Some(file.clone())).await;
        let seed = edge.seed().await;
        Self { edge, seed, file, _folder: folder }
    }

    fn new_robot(&self, n: usize, asset: Option<&str>) -> Value {
        json!({ "robot_type_id": self.seed.robot_type, "factory_id": self.seed.factory, "device_id": format!("robot-{n}"), "asset_id": asset })
    }

    async fn robot(&self, n: usize) -> i64 {
        number(&self.edge.create(ROBOTS, self.new_robot(n, None)).await["id"])
    }

    async fn put(&self, robot: i64, body: Value) -> (u16, Value) {
        self.edge.send_as(&self.edge.admin, "PUT", &format!("{ROBOTS}/{robot}/cloud-asset"), body).await
    }

    async fn bind(&self, robot: i64, asset: &str) -> (u16, Value) {
        self.put(robot, json!({ "asset_id": asset })).await
    }

    async fn unbind(&self, robot: i64) -> (u16, Value) {
        self.edge.send_as(&self.edge.admin, "DELETE", &format!("{ROBOTS}/{robot}/cloud-asset"), Value::Null).await
    }

    async fn asset_of(&self, robot: i64) -> Value {
        self.edge.get(&format!("{ROBOTS}/{robot}")).await.1["asset_id"].clone()
    }

    async fn options(&self, query: &str) -> Vec<String> {
        let (status, answer) = self.edge.get(&format!("{OPTIONS}{query}")).await;
        assert_eq!(status, 200, "{query}: {answer}");
        let id = |item: &Value| item["device_id"].as_str().expect("an id").to_owned();
        answer["items"].as_array().expect("items").iter().map(id).collect()
    }

    async fn events_of(&self, robot: i64) -> Vec<(String, Value)> {
        let sql = "select event_type, payload from events where aggregate_type = 'robot' and aggregate_id = $1 and sequence > 1 order by sequence";
        let client = self.edge.database.pool.get().await.unwrap();
        let rows = client.query(sql, &[&robot.to_string()]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// Status and code.
fn heard((status, answer): (u16, Value)) -> (u16, String) {
    (status, answer["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn an_asset_is_offered_bound_and_free_again() {
    let site = Site::with(&["robot-b", "Robot-A", "arm-1"]).await;
    let (one, two) = (site.robot(1).await, site.robot(2).await);
    assert_eq!(site.options("").await, ["Robot-A", "arm-1", "robot-b"], "only those that are ready");
    assert_eq!(site.options("?q=%20ROBOT").await, ["Robot-A", "robot-b"]);

    let (status, robot) = site.bind(one, " arm-1 ").await;
    assert_eq!((status, &robot["asset_id"], number(&robot["id"])), (200, &json!("arm-1"), one));
    assert_eq!(site.options("").await, ["Robot-A", "robot-b"]);
    assert_eq!(site.options(&format!("?robot_id={one}")).await, ["Robot-A", "robot-b"], "nor its own");
    let (status, answer) = site.bind(two, "arm-1").await;
    assert_eq!(
        (status, &answer["code"], &answer["error"]),
        (409, &json!("asset_taken"), &json!(format!("the robot {one} is bound to this asset")))
    );
    assert_eq!(heard(site.edge.post(ROBOTS, site.new_robot(3, Some("arm-1"))).await), refused(409, "asset_taken"));

    // In place of the one before.
    assert_eq!(site.bind(one, "robot-b").await.1["asset_id"], "robot-b");
    assert_eq!(site.bind(two, "arm-1").await.0, 200);
    for _ in 0..2 {
        let (status, robot) = site.unbind(one).await;
        assert_eq!((status, robot.get("asset_id")), (200, None));
    }
    let bound = site.edge.create(ROBOTS, site.new_robot(3, Some("robot-b"))).await;
    assert_eq!(bound["asset_id"], "robot-b");
    assert_eq!(site.options("").await, ["Robot-A"]);

    let bound = |asset: &str| ("robot_asset_bound".to_owned(), json!({ "asset_bound": { "asset_id": asset } }));
    let unbound = ("robot_asset_unbound".to_owned(), json!({ "asset_unbound": {} }));
    assert_eq!(site.events_of(one).await, [bound("arm-1"), bound("robot-b"), unbound]);
    assert_eq!(site.events_of(two).await, [bound("arm-1")]);
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn what_cannot_be_bound_is_refused_and_changes_nothing() {
    let site = Site::with(&["arm-1"]).await;
    let robot = site.robot(1).await;
    let long = "x".repeat(101);
    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!({ "asset_id": null }), "invalid_request"),
        (json!({ "asset_id": 7 }), "invalid_request"),
        (json!({ "asset_id": " \t" }), "invalid_request"),
        (json!({ "asset_id": long }), "invalid_request"),
        (json!({ "asset_id": "arm\u{7}1" }), "invalid_request"),
        (json!({ "asset_id": "arm\n-1" }), "invalid_request"),
        (json!({ "asset_id": "ARM-1" }), "asset_not_ready"),
        (json!({ "asset_id": "bare" }), "asset_not_ready"),
        (json!({ "asset_id": long[1..] }), "asset_not_ready"),
    ] {
        let (status, answer) = site.put(robot, body.clone()).await;
        assert_eq!((status, &answer["code"], &answer["field"]), (400, &json!(code), &json!("asset_id")), "{body}: {answer}");
    }
    assert_eq!(heard(site.edge.post(ROBOTS, site.new_robot(2, Some("bare"))).await), refused(400, "asset_not_ready"));
    for id in ["0", "-1", "x"] {
        let path = format!("{ROBOTS}/{id}/cloud-asset");
        assert_eq!(site.edge.send_as(&site.edge.admin, "PUT", &path, json!({ "asset_id": "arm-1" })).await.0, 400, "{id}");
        assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", &path, Value::Null).await.0, 400, "{id}");
        assert_eq!(heard(site.edge.get(&format!("{OPTIONS}?robot_id={id}")).await), refused(400, "invalid_request"), "{id}");
    }
    assert_eq!(site.bind(987_654, "arm-1").await.0, 404);
    assert_eq!(site.unbind(987_654).await.0, 404);
    assert_eq!(site.edge.get(&format!("{OPTIONS}?robot_id=987654")).await.0, 404);
    assert_eq!(site.events_of(robot).await, []);
}

#[tokio::test]
async fn a_configuration_that_is_missing_or_wrong_is_told_and_is_read_anew_each_time() {
    let site = Site::with(&["arm-1"]).await;
    let robot = site.robot(1).await;
    assert_eq!(site.bind(robot, "arm-1").await.0, 200);
    std::fs::write(&site.file, "{").unwrap();
    let said = "the configuration of the data platform is wrong: line 1, column 1";
    for (status, answer) in [site.bind(robot, "arm-2").await, site.edge.get(OPTIONS).await] {
        assert_eq!((status, &answer["code"]), (503, &json!("sync_not_configured")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
    }
    // Also a new robot: nobody knows whether it is one.
    assert_eq!(heard(site.edge.post(ROBOTS, site.new_robot(2, Some("arm-2"))).await), refused(503, "sync_not_configured"));
    site.edge.create(ROBOTS, site.new_robot(3, None)).await;
    assert_eq!(site.bind(robot, "arm-1").await.0, 200, "what it has already is not checked");

    std::fs::remove_file(&site.file).unwrap();
    let (status, answer) = site.bind(robot, "arm-2").await;
    assert_eq!((status, &answer["code"]), (503, &json!("sync_not_configured")));
    assert!(answer["error"].as_str().unwrap().contains("there is no configuration"), "{answer}");
    // Numbered by its owners, as ever.
    site.edge.create(ROBOTS, site.new_robot(4, Some("arm-1"))).await;
    assert_eq!(site.unbind(robot).await.0, 200);

    std::fs::write(&site.file, config(&["arm-1", "arm-2"])).unwrap();
    assert_eq!(heard(site.bind(robot, "arm-1").await), refused(409, "asset_taken"));
    assert_eq!(site.bind(robot, "arm-2").await.0, 200);
}

#[tokio::test]
async fn without_a_gateway_robots_are_numbered_as_their_owners_like() {
    let folder = temp_folder();
    let file = folder.path().join("platform.json");
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let database = edge.database.patient();
    let site = Site { edge, seed, file: file.clone(), _folder: folder };
    let mut twins = vec![];
    for n in [1, 2] {
        twins.push(number(&site.edge.create(ROBOTS, site.new_robot(n, Some("SN-1"))).await["id"]));
    }
    assert_eq!(heard(site.edge.get(OPTIONS).await), refused(503, "sync_not_configured"));
    assert_eq!(heard(site.bind(twins[0], "SN-2").await), refused(503, "sync_not_configured"));
    assert_eq!(site.bind(twins[0], "SN-1").await.0, 200);

    // A gateway comes, and knows this number: both keep it, and none of the others gets it before both are unbound.
    std::fs::write(&file, config(&["SN-1", "SN-2"])).unwrap();
    let edge = TestEdge::start_on(database, |settings| settings.sync.platform = Some(file.clone())).await;
    let site = Site { edge, ..site };
    let third = site.robot(3).await;
    assert_eq!(site.options("").await, ["SN-2"]);
    assert_eq!(heard(site.bind(third, "SN-1").await), refused(409, "asset_taken"));
    assert_eq!(site.bind(twins[0], "SN-2").await.0, 200);
    assert_eq!(heard(site.bind(third, "SN-1").await), refused(409, "asset_taken"));
    assert_eq!(site.unbind(twins[1]).await.0, 200);
    assert_eq!(site.bind(third, "SN-1").await.0, 200);
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_want_an_asset_at_the_same_moment_one_gets_it() {
    const ROUNDS: usize = 12;
    let assets: Vec<String> = (0..ROUNDS).map(|n| format!("arm-{n}")).collect();
    let site = Site::with(&assets.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut robots = vec![];
    for n in 0..6 {
        robots.push(site.robot(n).await);
    }
    for (round, asset) in assets.iter().enumerate() {
        let mut wants: Vec<BoxFuture<'_, (u16, Value)>> = vec![];
        for &robot in &robots {
            wants.push(Box::pin(site.bind(robot, asset)));
        }
        for n in 0..2 {
            let new = site.new_robot(100 + 2 * round + n, Some(asset));
            wants.push(Box::pin(site.edge.post(ROBOTS, new)));
        }
        let heard: Vec<_> = join_all(wants).await.into_iter().map(heard).collect();
        let got = heard.iter().filter(|(status, _)| matches!(status, 200 | 201)).count();
        let taken = heard.iter().filter(|heard| **heard == refused(409, "asset_taken")).count();
        assert_eq!((got, taken), (1, robots.len() + 1), "{heard:?}");
        let listed = site.edge.get(&format!("{ROBOTS}?keyword={asset}&limit=100")).await.1;
        let holders = listed["items"].as_array().unwrap().iter().filter(|robot| robot["asset_id"] == **asset).count();
        assert_eq!(holders, 1, "{listed}");
    }
    check(&site.edge.database.pool, &site.edge.database).await;
}

#[tokio::test]
async fn the_asset_of_a_retired_robot_is_free_and_the_robot_is_bound_to_no_other() {
    let site = Site::with(&["arm-1", "arm-2"]).await;
    let (old, new) = (site.robot(1).await, site.robot(2).await);
    assert_eq!(site.bind(old, "arm-1").await.0, 200);
    assert_eq!(site.edge.post(&format!("{ROBOTS}/{old}/retire"), json!({ "reason": "scrapped" })).await.0, 200);
    assert_eq!(site.asset_of(old).await, "arm-1", "what it uploads still is that device's");
    assert_eq!(site.options("").await, ["arm-1", "arm-2"]);
    assert_eq!(site.options(&format!("?robot_id={old}")).await, ["arm-2"]);
    let (status, answer) = site.bind(old, "arm-2").await;
    assert_eq!((status, &answer["code"], &answer["because"]["event"]), (409, &json!("robot_retired"), &json!("robot_retired")), "{answer}");
    assert_eq!(site.bind(old, "arm-1").await.0, 200, "which changes nothing");
    assert_eq!(site.bind(new, "arm-1").await.0, 200);
    let (status, robot) = site.unbind(old).await;
    assert_eq!((status, robot.get("asset_id")), (200, None));
    assert_eq!(site.asset_of(new).await, "arm-1");
}

#[tokio::test]
async fn the_same_request_again_gets_the_first_answer() {
    let site = Site::with(&["arm-1"]).await;
    let robot = site.robot(1).await;
    let path = format!("{ROBOTS}/{robot}/cloud-asset");
    let send = async |method: &str, body: Option<Value>| {
        let mut request = site.edge.request(&site.edge.admin, method, &path).header("Idempotency-Key", "k");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let again = response.headers().contains_key("idempotency-replayed");
        (response.status().as_u16(), again, response.json::<Value>().await.unwrap()["asset_id"].clone())
    };
    let arm = || Some(json!({ "asset_id": "arm-1" }));
    assert_eq!(send("PUT", arm()).await, (200, false, json!("arm-1")));
    assert_eq!(send("DELETE", None).await, (200, false, Value::Null));
    assert_eq!(send("PUT", arm()).await, (200, true, json!("arm-1")), "late, and it binds nothing");
    assert_eq!(site.asset_of(robot).await, Value::Null);
    assert_eq!(send("PUT", Some(json!({ "asset_id": "arm-2" }))).await.0, 422);
}

#[tokio::test]
async fn an_episode_has_the_asset_that_its_robot_had_when_it_was_made() {
    let site = Site::with(&["arm-1", "arm-2"]).await;
    let (edge, robot) = (&site.edge, number(&site.seed.robot));
    let created = edge.create("/api/v1/batches", site.seed.batch(3)).await;
    let tasks = created["tasks"].as_array().expect("tasks");
    let (pool, bucket) = (edge.database.pool.clone(), edge.objects.settings.bucket.clone());
    let maker = EpisodeMaker::new(edge.commands.clone(), pool, edge.objects.blobs.clone(), &bucket, DEVICE).await;
    let metadata = async |nth: usize| {
        let task = edge.get(&format!("/api/v1/tasks/{}", number(&tasks[nth]["id"]))).await.1;
        edge.get(&format!("/api/v1/episodes/{}", number(&task["episode"]["id"]))).await.1["metadata"].clone()
    };
    let make = async |nth: usize| {
        maker.make(number(&tasks[nth]["id"]), tasks[nth]["task_id"].as_str().unwrap(), &Recording::of(b"a recording".to_vec(), None)).await;
    };
    make(0).await;
    assert_eq!(site.bind(robot, "arm-1").await.0, 200);
    make(1).await;
    assert_eq!(site.bind(robot, "arm-2").await.0, 200);
    make(2).await;
    assert_eq!(site.unbind(robot).await.0, 200);
    assert_eq!(metadata(0).await, Value::Null);
    assert_eq!(metadata(1).await, json!({ "asset_id": "arm-1" }));
    assert_eq!(metadata(2).await, json!({ "asset_id": "arm-2" }));
    check(&edge.database.pool, &edge.database).await;
}

#[tokio::test]
async fn simulated_robots_beside_a_simulated_cloud_are_its_devices() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start_with(&["--with-robot", "2", "--with-cloud"]);
    server.ready().await;
    server.greeted().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let robots = client.get("/robots").await.unwrap();
    let mut assets: Vec<&str> = robots["items"].as_array().unwrap().iter().filter_map(|robot| robot["asset_id"].as_str()).collect();
    assets.sort_unstable();
    assert_eq!(assets, ["simulated-asset", "simulated-asset-02"]);
    server.stop().await;
}
