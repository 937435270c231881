//! Two factories of one site, with equal shapes: who is for one of them finds nothing of the other, on any route, by any filter, in any stream.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use keystone_edge::commands::bulk_runs::{Piece, WorkOnBulkRun};
use keystone_edge::domain::bulk_run::BulkAction;
use keystone_edge::http::openapi;
use keystone_edge::projections::rebuild::rebuild;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::counted::pack_all;
use crate::harness::edge::{TestEdge, number};

/// Stands in every name of the other factory, and nowhere else.
const MARK: &str = "Zugspitze";
const DEVICE: &str = "AB-Zugspitze-1";
const PASSWORD: &str = "a password of one's own";
/// Of each kind, the one of the first factory, which was made first.
const FIRST: &str = "1";
const UNKNOWN: i64 = 987_654;

/// What is counted behind the log, as if it had been followed: of both factories, with a topic on which messages are missing.
const COUNTED: &str = "
insert into counted_episodes (happened_at, episode_id, station_id, scene_id, sop_id, factory_id, organization_id, size_bytes, duration_ms, robot_type_id, cloud_synced,
        qa_status, auto_approved, reason)
    select created_at, id, station_id, scene_id, sop_id, factory_id, organization_id, file_size_bytes, 1000, 1, false, qa_status, false, 'warnings' from episodes;
insert into waiting_episodes (episode_id, arrived_at, cause, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id)
    select id, created_at, 'warnings', station_id, scene_id, sop_id, 1, factory_id, organization_id from episodes;
insert into counted_gaps (happened_at, episode_id, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id, missing_ms, longest_ms, missing_messages, gaps,
        by_disk, by_sensor, by_queue, topic)
    select created_at, id, station_id, scene_id, sop_id, 1, factory_id, organization_id, 100, 100, 3, 1, 0, 0, 0, '/' || scene_name from episodes;
insert into counted_tasks (task_id, assigned_at, changed_at, station_id, scene_id, sop_id, ended_at, status)
    select id, created_at, updated_at, station_id, scene_id, sop_id, ended_at, status from tasks;
insert into episode_totals select station_id, qa_status, count(*), sum(duration_ms), sum(size_bytes) from counted_episodes group by 1, 2;
insert into task_totals select station_id, scene_id, sop_id, status, count(*) from counted_tasks group by 1, 2, 3, 4;";

/// A site: the seed's factory, and another one whose ids are these, by the word of the path.
struct Site {
    edge: TestEdge,
    there: BTreeMap<&'static str, i64>,
    /// Of people and programs of the first factory.
    callers: Vec<(&'static str, String)>,
}

impl Site {
    async fn new() -> Self {
        let edge = TestEdge::start().await;
        let seed = edge.seed().await;
        let here = number(&seed.factory);
        let make = async |path: &str, body: Value| number(&edge.create(&format!("/api/v1/{path}"), body).await["id"]);
        let factory = make("factories", json!({"name": MARK, "location": MARK})).await;
        let organization = make("organizations", json!({"factory_id": factory.to_string(), "name": MARK})).await;
        let scene = make("scenes", json!({"factory_id": factory.to_string(), "name": MARK})).await;
        let subscene = make("subscenes", json!({"scene_id": scene.to_string(), "name": MARK})).await;
        let robot = json!({"robot_type_id": seed.robot_type.to_string(), "factory_id": factory.to_string(), "device_id": DEVICE});
        let robot = make("robots", robot).await;
        let person =
            |id: &str| json!({"organization_id": organization.to_string(), "name": MARK, id: format!("{MARK}-{id}"), "password": PASSWORD});
        let collector = make("data_collectors", person("operator_id")).await;
        let inspector = make("inspectors", person("inspector_id")).await;
        let station = make("stations", json!({"robot_id": robot.to_string(), "data_collector_id": collector.to_string()})).await;
        let order = json!({"organization_id": organization.to_string(), "scene_id": scene.to_string(), "name": MARK, "target_count": 9});
        let order = make("orders", order).await;
        let groups = json!([{"sop_id": number(&seed.sop), "subscene_id": subscene, "quantity": 2}]);
        let batch = json!({"order_id": order, "workstation_id": station, "task_groups": groups});
        let (status, made) = edge.post("/api/v1/batches", batch).await;
        assert_eq!(status, 201, "{made}");
        let batch = number(&made["batch"]["id"]);
        let (status, own) = edge.post("/api/v1/batches", seed.batch(2)).await;
        assert_eq!(status, 201, "{own}");
        let task = number(&made["tasks"][0]["id"]);
        let client = edge.database.pool.get().await.unwrap();
        for (batch, scene_name, organization, factory) in
            [(batch, MARK, organization, factory), (number(&own["batch"]["id"]), "kitchen", number(&seed.organization), here)]
        {
            let sql = "insert into episodes (id, version, created_at, updated_at, episode_id, task_id, task_public_id, batch_id, order_id, station_id, sop_id, scene_id,
                    scene_name, subscene_id, subscene_name, factory_id, organization_id, mcap_path, checksum, file_size_bytes, duration_sec, message_count, qa_status,
                    auto_approved, cloud_synced, cloud_processed, labels, inspection_deciders, inspection_blind, inspection_cause)
                select nextval('episode_ids'), 1, now(), now(), 'e-' || t.id, t.id, t.task_id, t.batch_id, t.order_id, t.station_id, t.sop_id, t.scene_id, $2, t.subscene_id,
                    t.subscene_name, $4, $3, 'edge/' || t.task_id || '.mcap', 'c', 1, 1.0, 1, 'needs_inspection', false, false, false, '{}', '{}', false, 'warnings'
                from tasks t where t.batch_id = $1 order by t.id limit 1 returning id";
            client.query_one(sql, &[&batch, &scene_name, &organization, &factory]).await.unwrap();
        }
        let episode: i64 = client.query_one("select id from episodes where scene_name = $1", &[&MARK]).await.unwrap().get(0);
        client.batch_execute(COUNTED).await.unwrap();
        pack_all(&edge.database.pool).await;
        edge.devices.connect(DEVICE, "idle", None);
        let there = [
            ("factories", factory),
            ("organizations", organization),
            ("scenes", scene),
            ("subscenes", subscene),
            ("robots", robot),
            ("data_collectors", collector),
            ("inspectors", inspector),
            ("stations", station),
            ("orders", order),
            ("batches", batch),
            ("tasks", task),
            ("episodes", episode),
        ];
        let mut site = Self { edge, there: there.into(), callers: vec![] };
        site.sign_in(&seed, here).await;
        site
    }

    async fn sign_in(&mut self, seed: &crate::harness::edge::Seed, here: i64) {
        let edge = &self.edge;
        for role in ["admin", "production_manager", "auditor", "display"] {
            let name = format!("the-{role}");
            let account = json!({"login_name": name, "name": role, "role": role, "factories": [here], "password": PASSWORD});
            edge.create("/api/v1/accounts", account).await;
            let token = edge.log_in(&name, PASSWORD).await.1["access_token"].as_str().unwrap().to_owned();
            self.callers.push((role, token));
        }
        let key = edge.create("/api/v1/api-keys", json!({"name": "here", "role": "production_manager", "factories": [here]})).await;
        self.callers.push(("key", key["api_key"].as_str().unwrap().to_owned()));
        let inspector = json!({"organization_id": seed.organization, "name": "I", "inspector_id": "in", "certification_level": "senior", "password": PASSWORD});
        edge.create("/api/v1/inspectors", inspector).await;
        for (who, name, password) in [("inspector", "in", PASSWORD), ("collector", "li", "li's password")] {
            let token = edge.log_in(name, password).await.1["access_token"].as_str().unwrap().to_owned();
            self.callers.push((who, token));
        }
    }

    /// The token of a manager of these factories.
    async fn manager(&self, name: &str, factories: &[i64]) -> String {
        let account = json!({"login_name": name, "name": name, "role": "production_manager", "factories": factories, "password": PASSWORD});
        self.edge.create("/api/v1/accounts", account).await;
        self.edge.log_in(name, PASSWORD).await.1["access_token"].as_str().unwrap().to_owned()
    }

    fn token(&self, who: &str) -> &str {
        &self.callers.iter().find(|(one, _)| *one == who).expect("a caller").1
    }

    async fn events(&self) -> i64 {
        let client = self.edge.database.pool.get().await.unwrap();
        client.query_one("select count(*) from events", &[]).await.unwrap().get(0)
    }

    /// A path about the other factory, and the same about what nobody has; none where the path is about nothing of a factory.
    fn filled(&self, path: &str) -> Option<(String, String)> {
        if path.contains("{device_id}") {
            return Some((path.replace("{device_id}", DEVICE), path.replace("{device_id}", "AB-NOWHERE")));
        }
        let id = path.contains("{id}").then_some("{id}")?;
        let word = path.split('/').take_while(|part| *part != id).filter(|part| self.there.contains_key(part)).last();
        let word = word.or_else(|| ["/inspection/", "/qa/", "/sync/"].iter().any(|part| path.contains(part)).then_some("episodes"))?;
        let further = path.replace("{filename}", "recorder.yaml");
        Some((further.replace(id, &self.there[word].to_string()), further.replace(id, &UNKNOWN.to_string())))
    }

    /// Status and text; of a stream what it tells at first.
    async fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut request = self.edge.request(token, method, path);
        if method != "GET" && !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let is_stream =
            answer.headers().get("content-type").is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/event-stream")));
        let (mut bytes, mut text) = (answer.bytes_stream(), vec![]);
        let patience = if is_stream { Duration::from_millis(300) } else { Duration::from_secs(30) };
        while let Ok(Some(piece)) = tokio::time::timeout(patience, bytes.next()).await {
            text.extend_from_slice(&piece.unwrap());
        }
        (status, String::from_utf8_lossy(&text).into_owned())
    }
}

/// Every operation but those that are open to all, or end the caller's login.
fn operations() -> Vec<(String, String, Value)> {
    let description = openapi();
    let ends_login = ["/api/v1/auth/", "/api/v1/sessions/end", "/api/v1/devices/register", "/api/v1/callbacks/"];
    let paths = description["paths"].as_object().unwrap().clone();
    let all = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap().clone();
        item.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    all.filter(|(_, path, _)| !ends_login.iter().any(|part| path.starts_with(part))).collect()
}

/// What a query of the operation has to have; windows are as wide as can be.
fn required(operation: &Value) -> BTreeMap<String, String> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let wanted = parameters.into_iter().filter(|one| one["in"] == "query" && one["required"] == true);
    wanted
        .map(|one| {
            let name = one["name"].as_str().unwrap().to_owned();
            let value = match name.as_str() {
                "start_time" => "2020-01-01T00:00:00Z".to_owned(),
                "end_time" => "2099-01-01T00:00:00Z".to_owned(),
                _ => one["example"].as_str().map_or_else(|| one["example"].to_string(), str::to_owned),
            };
            (name, value)
        })
        .collect()
}

fn query(parameters: &BTreeMap<String, String>) -> String {
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// What the description shows as a request of each.
fn bodies() -> BTreeMap<String, Value> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/describe/examples.json");
    let examples: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    examples.into_iter().map(|example| (example["operation"].as_str().unwrap().to_owned(), example["body"].clone())).collect()
}

#[tokio::test]
async fn nothing_of_the_other_factory_is_found_on_any_route() {
    let site = Site::new().await;
    // What is looked for is there: who sees the whole site finds it.
    for path in [
        "dashboard/quality/topics",
        "dashboard/quality/breakdown",
        "admin/statistics/data-production/details",
        "production/dashboard/overview",
    ] {
        let window = "start_time=2020-01-01T00:00:00Z&end_time=2099-01-01T00:00:00Z";
        let dimension = if path.ends_with("breakdown") { "&dimension=scene" } else { "" };
        let (status, found) = site.edge.get(&format!("/api/v1/{path}?{window}{dimension}")).await;
        assert!(status == 200 && found.to_string().contains(MARK), "{path}: {status} {found}");
    }
    let (bodies, mut asked) = (bodies(), 0);
    for (method, path, operation) in operations() {
        let body = bodies.get(&format!("{method} {path}")).cloned().unwrap_or(Value::Null);
        for (who, token) in &site.callers {
            let place = format!("{method} {path} as {who}");
            match site.filled(&path) {
                Some((theirs, nobodys)) => {
                    let (status, text) = site.ask(token, &method, &theirs, &body).await;
                    let (wanted, without) = site.ask(token, &method, &nobodys, &body).await;
                    let code = |text: &str| serde_json::from_str::<Value>(text).ok().map(|body| body["code"].clone());
                    assert_eq!((status, code(&text)), (wanted, code(&without)), "{place}: {text} beside {without}");
                    // The caller said the device's name themselves.
                    assert!(!text.replace(DEVICE, "").contains(MARK), "{place}: {text}");
                }
                None if path.contains('{') => {}
                // What creates may be refused by a name that is taken, as the mark's are not.
                None => {
                    let asked = format!("{path}?{}", query(&required(&operation)));
                    let (status, text) = site.ask(token, &method, &asked, &body).await;
                    assert!(!text.contains(MARK), "{place}: {status} {text}");
                    // What is not configured here says so, to all.
                    assert!(status < 500 || status == 503, "{place}: {status} {text}");
                }
            }
            asked += 1;
        }
    }
    assert!(asked > 1000, "{asked}");
    // All of it is still there, for the administrator of the site.
    for (word, id) in &site.there {
        let (status, whole) = site.edge.get(&format!("/api/v1/{word}/{id}")).await;
        assert_eq!(status, 200, "{word} {id}");
        assert!(whole["status"].as_str().is_none_or(|status| status != "cancelled"), "{word}: {whole}");
    }
}

/// Lists, and the parameters that each takes.
fn lists() -> Vec<(String, Vec<String>, BTreeMap<String, String>)> {
    let all = operations().into_iter().filter(|(method, path, _)| method == "GET" && !path.contains('{') && !path.ends_with("stream"));
    let named = all.map(|(_, path, operation)| {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let names = parameters.iter().filter(|one| one["in"] == "query").map(|one| one["name"].as_str().unwrap().to_owned());
        (path, names.collect::<Vec<_>>(), required(&operation))
    });
    named.filter(|(_, names, _)| !names.is_empty()).collect()
}

/// Whatever is asked for: values of the other factory, alone and together, and values of none.
#[test]
fn no_filter_finds_what_is_of_the_other_factory() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let site = runtime.block_on(Site::new());
    let lists = lists();
    let mut values: Vec<String> = site.there.values().map(ToString::to_string).collect();
    values.extend(
        [MARK, DEVICE, &format!("{MARK}-operator_id"), &format!("{MARK}-inspector_id"), "true", "pending", "needs_inspection", "account:1"]
            .map(str::to_owned),
    );
    values.extend(["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"].map(str::to_owned));
    let callers = site.callers.len();
    let asked = (0..lists.len(), 0..callers, prop::collection::vec((0..64_usize, 0..values.len()), 0..4));
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    runner
        .run(&asked, |(list, caller, chosen)| {
            let (path, names, required) = &lists[list];
            let mut asked = required.clone();
            // What has to be there stays: without it nothing is found.
            let further = chosen.iter().map(|(name, value)| (names[name % names.len()].clone(), values[*value].clone()));
            asked.extend(further.filter(|(name, _)| !required.contains_key(name)));
            let (who, token) = &site.callers[caller];
            let path = format!("{path}?{}", query(&asked));
            let (status, text) = runtime.block_on(site.ask(token, "GET", &path, &Value::Null));
            prop_assert!(status < 500 || status == 503, "{path} as {who}: {status} {text}");
            // A refusal may repeat what was asked; an answer has nothing of it, and counts nothing of it.
            prop_assert!(status >= 400 || !text.contains(MARK), "{path} as {who}: {text}");
            if let Ok(answer) = serde_json::from_str::<Value>(&text)
                && let (Some(total), Some(items), Some(0)) =
                    (answer["total"].as_u64(), answer["items"].as_array(), answer["offset"].as_u64())
                && answer["limit"].as_u64().is_none_or(|limit| limit > total)
            {
                prop_assert_eq!(usize::try_from(total).unwrap(), items.len(), "{} as {}: {}", path, who, text);
            }
            Ok(())
        })
        .unwrap();
}

/// What a move or a new entry would reach in the other factory is refused as what is not there.
#[tokio::test]
async fn nothing_is_made_in_the_other_factory_or_moved_there() {
    let site = Site::new().await;
    let there = |word: &str| site.there[word].to_string();
    let requests = [
        ("POST", "organizations".to_owned(), json!({"factory_id": there("factories"), "name": "new"})),
        ("POST", "scenes".to_owned(), json!({"factory_id": there("factories"), "name": "new"})),
        ("POST", "subscenes".to_owned(), json!({"scene_id": there("scenes"), "name": "new"})),
        ("POST", "robots".to_owned(), json!({"robot_type_id": "1", "factory_id": there("factories"), "device_id": "AB-NEW"})),
        (
            "POST",
            "data_collectors".to_owned(),
            json!({"organization_id": there("organizations"), "name": "n", "operator_id": "n", "password": PASSWORD}),
        ),
        ("POST", "inspectors".to_owned(), json!({"organization_id": there("organizations"), "name": "n", "inspector_id": "n"})),
        ("POST", "stations".to_owned(), json!({"robot_id": there("robots"), "data_collector_id": there("data_collectors")})),
        (
            "POST",
            "orders".to_owned(),
            json!({"organization_id": there("organizations"), "scene_id": there("scenes"), "name": "n", "target_count": 1}),
        ),
        (
            "POST",
            "batches".to_owned(),
            json!({"order_id": site.there["orders"], "workstation_id": site.there["stations"], "task_groups": [{"sop_id": 1, "subscene_id": site.there["subscenes"], "quantity": 1}]}),
        ),
        ("PUT", format!("scenes/{FIRST}"), json!({"factory_id": there("factories")})),
        ("PUT", format!("subscenes/{FIRST}"), json!({"scene_id": there("scenes")})),
        ("PUT", format!("robots/{FIRST}"), json!({"factory_id": there("factories")})),
        ("PUT", format!("stations/{FIRST}"), json!({"robot_id": there("robots")})),
        ("PUT", format!("stations/{FIRST}"), json!({"data_collector_id": there("data_collectors")})),
        ("POST", "factories".to_owned(), json!({"name": "a third one"})),
    ];
    let before = site.events().await;
    for (who, token) in site.callers.iter().filter(|(who, _)| ["admin", "production_manager", "key"].contains(who)) {
        for (method, path, body) in &requests {
            let place = format!("{method} {path} {body} as {who}");
            let (status, text) = site.ask(token, method, &format!("/api/v1/{path}"), body).await;
            assert!((400..500).contains(&status), "{place}: {status} {text}");
            assert!(!text.contains(MARK), "{place}: {text}");
            // As an id that nobody has.
            let mut unknown = body.to_string();
            for id in site.there.values() {
                unknown =
                    unknown.replace(&format!(":{id}"), &format!(":{UNKNOWN}")).replace(&format!(":\"{id}\""), &format!(":\"{UNKNOWN}\""));
            }
            let (wanted, without) = site.ask(token, method, &format!("/api/v1/{path}"), &serde_json::from_str(&unknown).unwrap()).await;
            assert_eq!(status, wanted, "{place}: {text} beside {without}");
        }
    }
    assert_eq!(site.events().await, before, "nothing happened");
    // A name that is unique over all factories is said to be in use, and nothing else.
    let (_, manager) = &site.callers[1];
    let taken = json!({"factory_id": FIRST, "name": MARK});
    let (status, text) = site.ask(manager, "POST", "/api/v1/scenes", &taken).await;
    assert_eq!(status, 400);
    assert!(text.contains("in use") && !text.contains(MARK), "{text}");
}

const RUNS: &str = "/api/v1/data-ops/bulk-runs";
const BULK_QA: &str = "/api/v1/data-ops/episodes/bulk-qa";

/// Begins a run of the checks over everything that the caller sees.
async fn begin(site: &Site, token: &str) -> (u16, Value) {
    let (status, text) = site.ask(token, "POST", BULK_QA, &json!({"confirm": true, "all": true})).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// A process works on the run that goes on, which was cancelled.
async fn end(site: &Site) {
    let lease = Duration::from_secs(30);
    let run = site.edge.commands.claim_bulk_run("a test", lease, Some(BulkAction::BulkQa)).await.unwrap().expect("a run");
    let piece = WorkOnBulkRun { run, lease, items_max: 1, clouds: vec![], given_up: None };
    assert_eq!(site.edge.execute(piece).await, Piece::Over);
}

/// Asserts that a run is there for a caller, or that it is on no route.
async fn finds(site: &Site, who: &str, token: &str, run: &str, found: bool) {
    let of_a_run = operations().into_iter().filter(|(method, path, _)| method == "GET" && path.contains("{run_id}"));
    let mut asked = 0;
    for (method, path, _) in of_a_run {
        let (status, text) = site.ask(token, &method, &path.replace("{run_id}", run), &Value::Null).await;
        assert_eq!(status, if found { 200 } else { 404 }, "{path} as {who}: {text}");
        let (_, unknown) = site.ask(token, &method, &path.replace("{run_id}", "bulk_qa_1"), &Value::Null).await;
        let told = |text: &str| serde_json::from_str::<Value>(text).map(|body| (body["code"].clone(), body["error"].clone())).ok();
        assert!(found || told(&text) == told(&unknown), "{path} as {who}: {text} beside {unknown}");
        asked += 1;
    }
    assert!(asked >= 3, "{asked}");
    let (_, listed) = site.ask(token, "GET", RUNS, &Value::Null).await;
    assert_eq!(listed.contains(run), found, "{who}: {listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["total"], listed["items"].as_array().unwrap().len(), "{who}: {listed}");
    let (status, current) = site.ask(token, "GET", &format!("{RUNS}/current?action=bulk_qa"), &Value::Null).await;
    assert_eq!((status, current.contains(run)), if found { (200, true) } else { (204, false) }, "{who}: {current}");
}

#[tokio::test]
async fn a_bulk_run_is_there_for_those_who_see_what_it_is_about() {
    let site = Site::new().await;
    let (here, there) = (FIRST.parse().unwrap(), site.there["factories"]);
    let (ours, theirs, both) =
        (site.manager("ours", &[here]).await, site.manager("theirs", &[there]).await, site.manager("both", &[here, there]).await);
    let (status, accepted) = begin(&site, &ours).await;
    assert_eq!((status, &accepted["run"]["total_count"]), (202, &json!(1)), "{accepted}");
    let run = accepted["run"]["run_id"].as_str().unwrap();
    let root = site.edge.admin.clone();
    for (who, token, found) in [
        ("who began it", ours.as_str(), true),
        ("a colleague", site.token("production_manager"), true),
        ("an administrator of the factory", site.token("admin"), true),
        ("an auditor of the factory", site.token("auditor"), true),
        ("a key of the factory", site.token("key"), true),
        ("a manager of both factories", both.as_str(), true),
        ("the administrator of the site", root.as_str(), true),
        ("a manager of the other factory", theirs.as_str(), false),
    ] {
        finds(&site, who, token, run, found).await;
    }
    // One run of the kind goes on in the site. Which one it is, only those hear who see it.
    let (status, refused) = begin(&site, &theirs).await;
    assert_eq!((status, &refused["code"]), (409, &json!("bulk_run_active")), "{refused}");
    assert!(!refused.to_string().contains(run) && refused.get("status").is_none_or(|status| !status.is_string()), "{refused}");
    let (status, refused) = begin(&site, site.token("production_manager")).await;
    assert_eq!((status, &refused["run_id"]), (409, &json!(run)), "{refused}");
    // Who does not see it cancels nothing; a colleague does.
    let before = site.events().await;
    let cancel = format!("{RUNS}/{run}/cancel");
    let (status, text) = site.ask(&theirs, "POST", &cancel, &Value::Null).await;
    let (wanted, without) = site.ask(&theirs, "POST", &format!("{RUNS}/bulk_qa_1/cancel"), &Value::Null).await;
    let code = |text: &str| serde_json::from_str::<Value>(text).unwrap()["code"].clone();
    assert_eq!((status, code(&text)), (wanted, code(&without)), "{text}");
    assert_eq!(site.ask(site.token("auditor"), "POST", &cancel, &Value::Null).await.0, 403);
    assert_eq!(site.events().await, before, "nothing happened");
    let (status, text) = site.ask(site.token("production_manager"), "POST", &cancel, &Value::Null).await;
    assert!(status == 200 && text.contains("cancel_requested"), "{status} {text}");
    end(&site).await;
    // What is about more than a caller sees is not theirs, though part of it is.
    for (who, token, total) in [("a manager of both factories", &both, 2), ("the administrator of the site", &root, 2)] {
        let (status, accepted) = begin(&site, token).await;
        assert_eq!((status, &accepted["run"]["total_count"]), (202, &json!(total)), "{accepted}");
        let run = accepted["run"]["run_id"].as_str().unwrap();
        finds(&site, who, token, run, true).await;
        finds(&site, "a manager of one of them", &ours, run, false).await;
        finds(&site, "a manager of both factories", &both, run, who == "a manager of both factories").await;
        assert_eq!(site.ask(token, "POST", &format!("{RUNS}/{run}/cancel"), &Value::Null).await.0, 200);
        end(&site).await;
    }
    // Episodes were made by hand.
    let differences = rebuild(&site.edge.database.pool).await.unwrap().differences;
    let of_runs: Vec<_> = differences.iter().filter(|(table, ..)| table == "bulk_runs").collect();
    assert!(of_runs.is_empty(), "{of_runs:?}");
}
