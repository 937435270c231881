//! Robots that register themselves, as `axon-config` does it; their tokens, and the templates they render.

use std::collections::{BTreeMap, BTreeSet};

use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::device::Socket;
use crate::harness::edge::{TestEdge, number};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{temp_folder, until};

/// Every scalar of an answer under its dotted name, as `axon-config` stores it. Empty and other values cannot be rendered.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                flatten(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value, into);
            }
        }
        Value::String(text) if !text.is_empty() => drop(into.insert(prefix.to_owned(), text.clone())),
        other => panic!("{prefix} is {other}, which a device cannot render"),
    }
}

pub fn render(template: &str, values: &BTreeMap<String, String>) -> String {
    let mut rendered = template.to_owned();
    while let Some((before, rest)) = rendered.split_once("{{") {
        let (name, after) = rest.split_once("}}").expect("the end of a placeholder");
        let value = values.get(name.trim()).unwrap_or_else(|| panic!("nothing is called {name}"));
        rendered = format!("{before}{value}{after}");
    }
    rendered
}

/// As `axon-config` names them: those under `endpoints` win over what it would make up.
pub fn values_of(answer: &Value) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten("", answer, &mut values);
    for name in ["recorder_rpc_url", "transfer_ws_url", "keystone_ws_url"] {
        values.insert(name.to_owned(), values[&format!("endpoints.{name}")].clone());
    }
    values
}

/// As `jq -s '.[0] * .[1]'` does it.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// `ws://host:port/path` as address and path.
fn parts(url: &str) -> (String, String) {
    let (address, path) = url.strip_prefix("ws://").expect("ws://").split_once('/').expect("a path");
    (address.to_owned(), format!("/{path}"))
}

const RECORDER_TEMPLATE: &str = "rpc:\n  ws_client:\n    url: {{ recorder_rpc_url }}\n    auth_token: {{ ws_client_auth_token }}\n";
const TRANSFER_TEMPLATE: &str = "device_id: \"{{ device_id }}\"\nfactory_id: \"{{ factory_id }}\"\nws:\n  url: {{ transfer_ws_url }}\n";

fn line(rendered: &str, key: &str) -> String {
    let line = rendered.lines().find_map(|line| line.trim().strip_prefix(key)).expect("the key");
    line.trim().to_owned()
}

#[tokio::test]
async fn an_unmodified_axon_config_makes_files_that_its_robot_connects_with() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_DEVICE_AUTH", "required".to_owned()));
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let made = factory::seed(&client, "Registered", 1).await.unwrap();
    let taken = made.stations[0].device_id.clone();
    let robot_type = client.get("/robot_types").await.unwrap()["items"][0].clone();
    let factory_name = client.get("/factories").await.unwrap()["items"][0]["name"].clone();
    for (file, content) in [("recorder.yaml", RECORDER_TEMPLATE), ("transfer.yaml", TRANSFER_TEMPLATE)] {
        let path = format!("/robot_types/{}/config_templates/{file}", robot_type["id"]);
        client.call(Method::PUT, &path, Some(&json!({ "content": content }))).await.unwrap();
    }

    // As the program does it: no login, success is 201, then both files.
    let http = reqwest::Client::builder().user_agent("axon-config/1.0").build().unwrap();
    let api = format!("{}/api/v1", server.base());
    let body = json!({ "factory": factory_name, "robot_type": robot_type["model"] });
    let answer = http.post(format!("{api}/devices/register")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.unwrap();
    let values = values_of(&answer);
    let device = &values["device_id"];
    assert!(device.starts_with("AB-F0001-T0001-00000"), "{device}");
    assert_ne!(*device, taken, "the number of a robot that was made by hand is left out");
    let mut rendered = BTreeMap::new();
    for file in ["recorder.yaml", "transfer.yaml"] {
        let template = http.get(format!("{api}/robot_types/{}/configs/{file}", values["robot_type_id"])).send().await.unwrap();
        assert_eq!(template.status(), 200);
        assert_eq!(template.headers()["content-type"], "text/yaml; charset=utf-8");
        rendered.insert(file, render(&template.text().await.unwrap(), &values));
    }

    // The recorder connects to its address as it is, the uploader appends its id.
    let (recorder, path) = parts(&line(&rendered["recorder.yaml"], "url:"));
    assert_eq!(recorder, server.address(1));
    let token = line(&rendered["recorder.yaml"], "auth_token:");
    assert!(token.starts_with("kws_v1_") && token.len() == 50, "{token}");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let _connected = Socket::try_connect(&recorder, &path, &bearer(&token)).await.unwrap();
    let (transfer, base) = parts(&line(&rendered["transfer.yaml"], "url:"));
    let _upload = Socket::try_connect(&transfer, &format!("{base}/{device}"), "").await.unwrap();

    for headers in [String::new(), bearer("kws_v1_other"), bearer(&format!("{token}x")), format!("Authorization: bearer {token}\r\n")] {
        let refused = Socket::try_connect(&recorder, &path, &headers).await.err().expect("a refusal");
        assert!(refused.starts_with("HTTP/1.1 401") && refused.to_lowercase().contains("www-authenticate: bearer"), "{refused}");
    }
    for path in [format!("/transfer/{device}"), format!("/transfer/t/kws_v1_other/{device}"), format!("{base}/{taken}")] {
        assert!(Socket::try_connect(&transfer, &path, "").await.err().expect("a refusal").starts_with("HTTP/1.1 401"), "{path}");
    }
    // A token opens its own device only.
    let other = Socket::try_connect(&recorder, &format!("/recorder/{taken}"), &bearer(&token)).await;
    assert!(other.err().expect("a refusal").starts_with("HTTP/1.1 401"));

    // Rotated: the connection stays, the next handshake needs the new one.
    let path_of_rotate = format!("/robots/{}/ws-client-auth-token/rotate", values["robot_id"]);
    let rotated = client.call(Method::POST, &path_of_rotate, None).await.unwrap().body;
    assert_eq!((&rotated["device_id"], &rotated["robot_id"]), (&json!(device), &json!(values["robot_id"])));
    let new = rotated["ws_client_auth_token"].as_str().unwrap();
    assert!(Socket::try_connect(&recorder, &path, &bearer(&token)).await.is_err());
    let live = client.get(&format!("/devices/{device}/connection")).await.unwrap();
    assert_eq!(live["connected"], json!(true), "{live}");

    // The way to the robot: the answer is merged into what `axon-config` keeps in its `device.json`, and `axon-config refresh`,
    // which asks for nothing but the templates, renders both files with it.
    let mut kept = answer.clone();
    merge(&mut kept, &rotated);
    let renewed = values_of(&kept);
    let unchanged = ["device_id", "factory_id", "robot_type_id", "robot_id", "recorder_rpc_url", "callback_allowlist.allowed_host"];
    assert!(unchanged.iter().all(|name| renewed[*name] == values[*name]), "{renewed:?}");
    let fetched = async |file: &str| {
        let template = http.get(format!("{api}/robot_types/{}/configs/{file}", renewed["robot_type_id"])).send().await.unwrap();
        render(&template.text().await.unwrap(), &renewed)
    };
    let (recorder_file, transfer_file) = (fetched("recorder.yaml").await, fetched("transfer.yaml").await);
    assert_eq!(line(&recorder_file, "auth_token:"), new);
    Socket::try_connect(&recorder, &path, &bearer(&line(&recorder_file, "auth_token:"))).await.unwrap();
    let (transfer, renewed_base) = parts(&line(&transfer_file, "url:"));
    Socket::try_connect(&transfer, &format!("{renewed_base}/{device}"), "").await.unwrap();
    assert!(Socket::try_connect(&transfer, &format!("{base}/{device}"), "").await.is_err(), "the old token is void");
    let connected = Socket::try_connect(&recorder, &path, &bearer(new)).await.unwrap();
    let upload = Socket::try_connect(&transfer, &format!("{renewed_base}/{device}"), "").await.unwrap();
    drop((connected, upload));
    Socket::try_connect(&recorder, &path, &bearer(new)).await.unwrap();

    // Neither token stands anywhere: events, tables, log.
    let database = server.database().await;
    let dumped = database.get().await.unwrap();
    for sql in [
        "select count(*) from events where payload::text || metadata::text like '%kws_v1_%'",
        "select count(*) from credentials where password_hash like '%kws_v1_%'",
        "select count(*) from idempotency_keys where convert_from(coalesce(body, ''), 'utf8') like '%kws_v1_%'",
    ] {
        assert_eq!(dumped.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0, "{sql}");
    }
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("kws_v1_"), "a token is in the log");
    server.stop().await;
}

#[test]
fn uploads_of_the_shipped_template_survive_a_server_that_is_away() {
    let template = include_str!("../../config/templates/transfer.yaml");
    let retry = template.split_once("\n  retry:\n").expect("retries").1;
    let number = |key: &str| line(retry, key).parse::<f64>().expect("a number");
    let (attempts, first, cap) = (number("max_retries:"), number("initial_delay_ms:"), number("max_delay_ms:"));
    // What passes before the last attempt where chance makes every wait half as long as it could be.
    let least_s = |attempts: f64| (1..attempts as i32).map(|n| (first * 2_f64.powi(n)).min(cap) / 2_000.0).sum::<f64>();
    assert!(least_s(5.0) < 60.0, "what Axon does unless it is told otherwise");
    assert!(least_s(attempts) > 3_600.0, "{attempts} attempts take {} s", least_s(attempts));
    // What is given up all the same is found again where it is looked for.
    let folder = |key: &str| line(template, key).trim_matches('"').to_owned();
    assert!(folder("failed_uploads_dir:").starts_with(&format!("{}/", folder("data_dir:"))));
}

/// A factory and a robot type to register for.
async fn edge() -> (TestEdge, Value) {
    let edge = TestEdge::start().await;
    edge.seed().await;
    (edge, json!({ "factory": " Factory Shanghai ", "robot_type": "arm-1" }))
}

#[tokio::test]
async fn registrations_at_the_same_time_get_numbers_without_gaps() {
    let (edge, body) = edge().await;
    // One that fails takes no number.
    let unknown = json!({ "factory": "Factory Shanghai", "robot_type": "arm-2" });
    assert_eq!(edge.send_as("", "POST", "/api/v1/devices/register", unknown).await.0, 404);
    let many = (0..20).map(|_| edge.send_as("", "POST", "/api/v1/devices/register", body.clone()));
    let answers = futures_util::future::join_all(many).await;
    let made: BTreeSet<String> = answers
        .iter()
        .map(|(status, answer)| {
            assert_eq!(*status, 201, "{answer}");
            answer["device_id"].as_str().unwrap().to_owned()
        })
        .collect();
    // The seeded robot has the first.
    let wanted: BTreeSet<String> = (2..=21).map(|n| format!("AB-F0001-T0001-{n:06}")).collect();
    assert_eq!(made, wanted);
    let tokens: BTreeSet<&str> = answers.iter().map(|(_, answer)| answer["ws_client_auth_token"].as_str().unwrap()).collect();
    assert_eq!(tokens.len(), 20);
    let (_, robots) = edge.get("/api/v1/robots?limit=100").await;
    assert_eq!(robots["total"], 21);
}

/// Somebody makes the robot with the next number by hand, in the same moment.
#[tokio::test]
async fn mn_29_a_number_that_is_taken_meanwhile_is_left_out() {
    let (edge, body) = edge().await;
    let mut by_hand = edge.database.pool.get().await.unwrap();
    let by_hand = by_hand.transaction().await.unwrap();
    let copy = "insert into robots select (jsonb_populate_record(r, jsonb_build_object('id', 1000, 'device_id', 'AB-F0001-T0001-000002'))).* \
                from robots r where r.device_id = 'AB-F0001-T0001-000001'";
    assert_eq!(by_hand.execute(copy, &[]).await.unwrap(), 1);

    let register = edge.send_as("", "POST", "/api/v1/devices/register", body);
    let release = async {
        let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
        let watch = edge.database.pool.get().await.unwrap();
        until("the registration waits for the other's end", async || watch.query_one(waits, &[]).await.unwrap().get::<_, bool>(0)).await;
        by_hand.commit().await.unwrap();
    };
    let ((status, answer), ()) = tokio::join!(register, release);
    assert_eq!((status, &answer["device_id"]), (201, &json!("AB-F0001-T0001-000003")), "{answer}");
}

#[tokio::test]
async fn a_registration_that_cannot_be_is_refused_and_makes_nothing() {
    let (edge, body) = edge().await;
    let register = "/api/v1/devices/register";
    for (body, status, text) in [
        (json!([]), 400, ""),
        (json!({}), 400, "factory is required"),
        (json!({ "factory": "  ", "robot_type": "arm-1" }), 400, "factory is required"),
        (json!({ "factory": "Factory Shanghai" }), 400, "robot_type is required"),
        (json!({ "factory": "factory shanghai", "robot_type": "arm-1" }), 404, "factory not found"),
        (json!({ "factory": "Factory Shanghai", "robot_type": "Arm" }), 404, "robot_type not found"),
    ] {
        let (answered, answer) = edge.send_as("", "POST", register, body.clone()).await;
        assert_eq!(answered, status, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{body}: {answer}");
    }
    assert_eq!(edge.get("/api/v1/robots").await.1["total"], 1);
    let (status, _) = edge.send_as("", "POST", register, body).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn registering_again_and_again_has_to_wait() {
    let edge = TestEdge::start_with(|settings| settings.registrations_per_minute = 3).await;
    edge.seed().await;
    let body = json!({ "factory": "Factory Shanghai", "robot_type": "arm-1" });
    for _ in 0..3 {
        assert_eq!(edge.send_as("", "POST", "/api/v1/devices/register", body.clone()).await.0, 201);
    }
    let response = edge.request("", "POST", "/api/v1/devices/register").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "registration_throttled");
    assert_eq!(edge.get("/api/v1/robots").await.1["total"], 4);
}

#[tokio::test]
async fn the_same_registration_again_gets_the_same_robot_and_token() {
    let (edge, body) = edge().await;
    let register = async |key: &str, body: &Value| {
        let request = edge.request("", "POST", "/api/v1/devices/register").header("idempotency-key", key).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let first = register("robot-7-4f1c9a2e7b6d4e3f9a0b", &body).await;
    assert_eq!(first.0, 201);
    let again = register("robot-7-4f1c9a2e7b6d4e3f9a0b", &body).await;
    assert_eq!((again.0, &again.1), (201, &first.1));
    let other = register("robot-8-4f1c9a2e7b6d4e3f9a0b", &body).await;
    assert_ne!(other.1["device_id"], first.1["device_id"]);
    assert_ne!(other.1["ws_client_auth_token"], first.1["ws_client_auth_token"]);
    assert_eq!(register("robot-7-4f1c9a2e7b6d4e3f9a0b", &json!({ "factory": "Factory Shanghai", "robot_type": "arm-2" })).await.0, 422);
    let client = edge.database.pool.get().await.unwrap();
    let sql =
        "select count(*) from idempotency_keys k where k::text like '%kws_v1_%' or encode(coalesce(body, ''), 'escape') like '%kws_v1_%'";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    // The token is the one that is known.
    let sql = "select password_hash from credentials where subject = 'recorder' and subject_id = $1";
    let known: String = client.query_one(sql, &[&number(&first.1["robot_id"])]).await.unwrap().get(0);
    let token = first.1["ws_client_auth_token"].as_str().unwrap();
    assert_eq!(known, keystone_edge::commands::registration::TokenHash::of(token).0);
}

#[tokio::test]
async fn a_token_is_rotated_by_administrators_for_robots_that_exist() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let rotate = |id: &str| format!("/api/v1/robots/{id}/ws-client-auth-token/rotate");
    let robot = number(&seed.robot).to_string();
    assert_eq!(edge.send_as("", "POST", &rotate(&robot), Value::Null).await.0, 401);
    let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(edge.send_as(&collector, "POST", &rotate(&robot), Value::Null).await.0, 403);
    for (id, status) in [("0", 400), ("x", 400), ("999", 404)] {
        assert_eq!(edge.post(&rotate(id), Value::Null).await.0, status, "{id}");
    }
    // A robot that never had one.
    let (status, first) = edge.post(&rotate(&robot), Value::Null).await;
    assert_eq!(status, 200, "{first}");
    let (_, second) = edge.post(&rotate(&robot), Value::Null).await;
    assert_ne!(first["ws_client_auth_token"], second["ws_client_auth_token"]);
    let client = edge.database.pool.get().await.unwrap();
    let sql = "select event_type, payload::text from events where aggregate_type = 'recorder_token' order by sequence";
    let events: Vec<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(events, ["recorder_token_issued", "recorder_token_rotated"]);
}

#[tokio::test]
async fn templates_are_written_read_and_deleted() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let id = number(&seed.robot_type);
    let list = format!("/api/v1/robot_types/{id}/config_templates");
    let (recorder, raw) = (format!("{list}/recorder.yaml"), format!("/api/v1/robot_types/{id}/configs/recorder.yaml"));
    let slots = json!({ "templates": [
        { "filename": "recorder.yaml", "exists": false, "updated_at": null },
        { "filename": "transfer.yaml", "exists": false, "updated_at": null },
    ] });
    assert_eq!(edge.get(&list).await, (200, slots));
    assert_eq!(edge.send_as("", "GET", &raw, Value::Null).await.0, 404);

    let text = "url: {{ recorder_rpc_url }}\n# 仓库\n";
    let (status, written) = edge.send_as(&edge.admin, "PUT", &recorder, json!({ "content": text })).await;
    assert_eq!((status, &written["filename"], &written["exists"]), (200, &json!("recorder.yaml"), &json!(true)), "{written}");
    assert_eq!(edge.send_as("", "GET", &raw, Value::Null).await, (200, json!(text)));
    let (_, read) = edge.get(&recorder).await;
    assert_eq!((&read["content"], &read["created_at"]), (&json!(text), &written["created_at"]));
    assert_eq!(edge.get(&list).await.1["templates"][0]["exists"], json!(true));
    assert_eq!(edge.send_as(&edge.admin, "PUT", &recorder, json!({ "content": "other: 1" })).await.0, 200);
    assert_eq!(edge.send_as("", "GET", &raw, Value::Null).await.1, "other: 1");

    for _ in 0..2 {
        assert_eq!(edge.send_as(&edge.admin, "DELETE", &recorder, Value::Null).await.0, 204);
    }
    assert_eq!(edge.get(&recorder).await.0, 404);
    assert_eq!(edge.send_as("", "GET", &raw, Value::Null).await.0, 404);
    assert_eq!(edge.send_as(&edge.admin, "PUT", &recorder, json!({ "content": "other: 1" })).await.0, 200, "written anew");

    let put = async |path: &str, body: Value| edge.send_as(&edge.admin, "PUT", path, body).await;
    for (path, body, status, text) in [
        (recorder.clone(), json!({ "content": " \n" }), 400, "content is required"),
        (recorder.clone(), json!({}), 400, "content is required"),
        (recorder.clone(), json!({ "content": 1 }), 400, ""),
        (recorder.clone(), json!({ "content": "x".repeat(262_145) }), 400, "content too large"),
        (format!("{list}/agent.yaml"), json!({ "content": "a" }), 400, "invalid config filename"),
        (format!("{list}/..%2Frecorder.yaml"), json!({ "content": "a" }), 400, "invalid config filename"),
        ("/api/v1/robot_types/0/config_templates/recorder.yaml".into(), json!({ "content": "a" }), 400, "invalid robot_type_id"),
        ("/api/v1/robot_types/x/config_templates/recorder.yaml".into(), json!({ "content": "a" }), 400, "invalid robot_type_id"),
        ("/api/v1/robot_types/999/config_templates/recorder.yaml".into(), json!({ "content": "a" }), 404, "robot_type not found"),
    ] {
        let (answered, answer) = put(&path, body).await;
        assert_eq!(answered, status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{path}: {answer}");
    }
    assert_eq!(put(&recorder, json!({ "content": "x".repeat(262_144) })).await.0, 200);
    assert_eq!(edge.send_as("", "GET", &list, Value::Null).await.0, 401);
    assert_eq!(edge.send_as("", "GET", "/api/v1/robot_types/999/configs/recorder.yaml", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_robot_gets_a_key_to_the_store_with_its_token_and_another_with_another() {
    let (edge, body) = edge().await;
    let (_, registered) = edge.send_as("", "POST", "/api/v1/devices/register", body).await;
    assert_eq!((&registered["store_endpoint"], &registered["store_region"]), (&json!("http://127.0.0.1:9000"), &json!("us-east-1")));
    assert_eq!(registered["store_bucket"], json!(edge.objects.settings.bucket));
    let key_of = |answer: &Value| answer["store_access_key"].as_str().expect("a key").to_owned();
    let first = key_of(&registered);
    assert_eq!(registered["store_secret_key"], json!(format!("secret of {first}")));
    let rotate = format!("/api/v1/robots/{}/ws-client-auth-token/rotate", registered["robot_id"].as_str().unwrap());
    let (_, rotated) = edge.post(&rotate, Value::Null).await;
    let second = key_of(&rotated);
    assert_ne!(first, second);
    // What a robot needs to be configured anew is all there.
    let names = |answer: &Value| values_of(answer).into_keys().collect::<BTreeSet<_>>();
    let missing: Vec<String> = names(&registered).difference(&names(&rotated)).cloned().collect();
    let known_before = [
        "callback_allowlist.allowed_host",
        "callback_allowlist.allowed_path_prefix",
        "factory",
        "factory_id",
        "robot_type",
        "robot_type_id",
    ];
    assert_eq!(missing, known_before);

    let reads = keystone_edge::projections::reads::Reads::new(edge.database.pool.clone());
    let device = registered["device_id"].as_str().unwrap();
    assert_eq!(reads.store_key(&first).await.unwrap(), None);
    assert_eq!(reads.store_key(&second).await.unwrap().unwrap().device_id.as_str(), device);
    assert!(reads.has_store_key(device).await.unwrap());
    // The seeded robot was made by hand, and never got one.
    let keyless: Vec<String> = reads.keyless_robots().await.unwrap().into_iter().map(|robot| robot.device_id.into()).collect();
    assert_eq!(keyless, ["AB-F0001-T0001-000001"]);
    let client = edge.database.pool.get().await.unwrap();
    let sql = "select count(*) from events where payload::text || metadata::text like '%secret of%'";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_store_that_is_not_ours_is_named_and_no_key_to_it_is_made_up() {
    let edge = TestEdge::start_with(|settings| {
        settings.store.public_url = Some("https://s3.factory:9000".into());
        settings.store.secret_of = None;
    })
    .await;
    edge.seed().await;
    let body = json!({ "factory": "Factory Shanghai", "robot_type": "arm-1" });
    let (status, registered) = edge.send_as("", "POST", "/api/v1/devices/register", body).await;
    assert_eq!((status, &registered["store_endpoint"]), (201, &json!("https://s3.factory:9000")));
    assert!(registered.get("store_access_key").is_none() && registered.get("store_secret_key").is_none(), "{registered}");
    values_of(&registered);
    let reads = keystone_edge::projections::reads::Reads::new(edge.database.pool.clone());
    assert!(!reads.has_store_key(registered["device_id"].as_str().unwrap()).await.unwrap());
}

#[tokio::test]
async fn a_template_holds_no_secret_and_an_old_one_that_does_is_not_shown_with_it() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let id = number(&seed.robot_type);
    let path = format!("/api/v1/robot_types/{id}/config_templates/transfer.yaml");
    let put = async |content: &str| edge.send_as(&edge.admin, "PUT", &path, json!({ "content": content })).await;
    for (content, line, placeholder) in [
        ("s3:\n  secret_key: \"hunter2\"\n", 2, json!("{{ store_secret_key }}")),
        ("access_key: keystone", 1, json!("{{ store_access_key }}")),
        ("auth_token: kws", 1, json!("{{ ws_client_auth_token }}")),
        ("a: 1\n\npassword: hunter2", 3, Value::Null),
        ("a: 1\nnote: a secret of this test, long enough", 2, json!("{{ store_secret_key }}")),
    ] {
        let (status, refused) = put(content).await;
        assert_eq!((status, &refused["code"]), (400, &json!("template_with_secret")), "{content}: {refused}");
        assert_eq!((&refused["line"], &refused["placeholder"]), (&json!(line), &placeholder), "{content}: {refused}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
        if let Some(placeholder) = placeholder.as_str() {
            assert!(refused["error"].as_str().unwrap().contains(placeholder), "{refused}");
        }
    }
    for (file, content) in factory::TEMPLATES {
        let path = format!("/api/v1/robot_types/{id}/config_templates/{file}");
        assert_eq!(edge.send_as(&edge.admin, "PUT", &path, json!({ "content": content })).await.0, 200, "{file}");
    }

    // As an older version took it.
    let old = "s3:\n  access_key: keystone\n  secret_key: a secret of this test, long enough\n";
    let client = edge.database.pool.get().await.unwrap();
    let sql = "update config_templates set content = $1 where filename = 'transfer.yaml'";
    assert_eq!(client.execute(sql, &[&old]).await.unwrap(), 1);
    let raw = format!("/api/v1/robot_types/{id}/configs/transfer.yaml");
    let shown = "s3:\n  access_key: {{ store_access_key }}\n  secret_key: {{ store_secret_key }}\n";
    assert_eq!(edge.send_as("", "GET", &raw, Value::Null).await, (200, json!(shown)));
}
