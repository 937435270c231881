//! The description that is served: every body, field and operation says what it is and has an example, and the examples are
//! what a fresh server with a robot is sent, one after the other, and answers.
//!
//! `KEYSTONE_WRITE_DOCS=1 cargo test --test it description::` writes the answers anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keystone_edge::blobs::{Access, Blobs, ObjectKey, PutFacts};
use keystone_edge::commands::Commands;
use keystone_edge::config::{Config, Secret};
use keystone_edge::domain::task::UploadReport;
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::eventstore::EventStore;
use keystone_edge::http::openapi;
use keystone_edge::outbox::Wakes;
use keystone_edge::simulator::cloud::CloudDevice;
use keystone_edge::simulator::factory::Workplace;
use reqwest::Method;
use serde_json::{Value, json};

use crate::factory::{done, uploaded};
use crate::harness::edge::callback_path;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{simulated_cloud, temp_folder, until};
use crate::salvaged_episodes::{damaged, parted};

/// Every operation: method, path, description.
fn operations(description: &Value) -> Vec<(String, Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| {
        let operations = item.as_object().expect("operations").iter();
        operations.map(|(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

fn resolved<'a>(description: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => description.pointer(&path[1..]).unwrap_or_else(|| panic!("nothing stands at {path}")),
        None => schema,
    }
}

fn body_of(operation: &Value) -> Option<&Value> {
    operation["requestBody"]["content"].get("application/json")
}

/// Bodies of which everything may be missing.
const ALL_OPTIONAL: [(&str, &str); 32] = [
    ("PUT /api/v1/accounts/{id}", "a change leaves what it does not name as it is"),
    ("POST /api/v1/sessions/end", "without a person, one's own"),
    ("POST /api/v1/sync/episodes", "without a filter all that were never tried"),
    ("POST /api/v1/episodes/{id}/copies/look", "without a place it is the edge storage"),
    ("PATCH /api/v1/episodes/{id}", "an edit leaves what it does not name as it is"),
    ("POST /api/v1/qa/episodes/{id}/run", "without a mode it is a manual run"),
    ("POST /api/v1/qa/suites/{id}/what-if", "whichever filter; none at all means every episode"),
    ("POST /api/v1/qa/suites/{id}/apply/preview", "no filter means every episode"),
    ("PUT /api/v1/inspectors/{id}", "an edit leaves what it does not name as it is"),
    ("PATCH /api/v1/subscriptions/{id}", "an edit leaves what it does not name as it is"),
    ("POST /api/v1/subscriptions/{id}/rotate-secret", "the ones before sign for a day, unless it is said"),
    ("POST /api/v1/dead-letters/replay/preview", "whichever filter; none at all needs a word"),
    ("POST /api/v1/dead-letters/{id}/replay", "a limit is needed where the chain of causes was too long"),
    ("POST /api/v1/data-ops/episodes/bulk-qa/preview", "no filter means every episode"),
    ("POST /api/v1/data-ops/episodes/bulk-sync/preview", "no filter means every episode"),
    ("POST /api/v1/data-ops/episodes/bulk-cleanup/preview", "no filter means every episode"),
    ("PUT /api/v1/factories/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/organizations/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/scenes/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/subscenes/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/skills/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/sops/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/robot_types/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/robots/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/data_collectors/{id}", "a change leaves what it does not name as it is"),
    ("PUT /api/v1/stations/{id}", "a change leaves what it does not name as it is"),
    ("POST /api/v1/stations/lookup", "no ids are those of no workstation"),
    ("PUT /api/v1/orders/{id}", "an edit leaves what it does not name as it is"),
    ("POST /api/v1/batches/{id}/recall", "nobody has to say why"),
    ("POST /api/v1/recorder/{device_id}/finish", "without a task, the one that the recorder has is meant"),
    ("POST /api/v1/recorder/{device_id}/cancel", "without a task, the one that the recorder has is meant"),
    ("POST /api/v1/recorder/{device_id}/clear", "without a task, the one that the recorder has is meant"),
];

#[test]
fn every_body_says_what_is_required() {
    let description = openapi();
    let mut bodies = 0;
    for (name, operation) in operations(&description) {
        let Some(body) = body_of(&operation) else { continue };
        bodies += 1;
        // A body that may be missing is one or nothing.
        let schema = body["schema"]["oneOf"].as_array().and_then(|some| some.iter().find(|one| one["type"] != "null"));
        let schema = resolved(&description, schema.unwrap_or(&body["schema"]));
        // What stands in one place for several bodies is a part of each.
        let parts =
            schema["allOf"].as_array().map_or(vec![schema], |parts| parts.iter().map(|part| resolved(&description, part)).collect());
        let required: usize = parts.iter().map(|part| part["required"].as_array().map_or(0, Vec::len)).sum();
        let all_optional = ALL_OPTIONAL.iter().any(|(known, _)| *known == name);
        assert_eq!(required == 0, all_optional, "{name}: {schema}");
        for field in schema["required"].as_array().into_iter().flatten() {
            let field = resolved(&description, &schema["properties"][field.as_str().unwrap_or_default()]);
            let nullable = field["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")));
            assert!(!nullable, "{name}: {field} is required, and may be null");
        }
    }
    assert!(bodies >= 28, "{bodies} bodies were found");
}

#[test]
fn every_field_and_parameter_is_described() {
    let description = openapi();
    let mut missing = vec![];
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        let parts = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        for (field, property) in parts.iter().filter_map(|part| part["properties"].as_object()).flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("{name}.{field}"));
            }
        }
    }
    for (name, operation) in operations(&description) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("{name}?{}", parameter["name"]));
            }
        }
    }
    assert!(missing.is_empty(), "not described: {missing:?}");
    assert!(schemas.len() > 60);
}

/// Answers that are no text: bytes of a recording, and nothing at all.
fn answers_with_text(operation: &Value) -> bool {
    let good = operation["responses"].as_object().into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
    good.flat_map(|(_, answer)| answer["content"].as_object().into_iter().flatten())
        .any(|(kind, _)| !["application/octet-stream", "image/jpeg"].contains(&kind.as_str()))
}

#[test]
fn every_operation_has_an_example() {
    let description = openapi();
    for (name, operation) in operations(&description) {
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["required"] == true) {
            assert!(parameter.get("example").is_some(), "{name} has no example of {}", parameter["name"]);
        }
        if let Some(body) = body_of(&operation) {
            assert!(body.get("example").is_some(), "{name} has no example of its body");
            let unfit = misfits(&description, &body["schema"], &body["example"], "");
            assert!(unfit.is_empty(), "the example of {name} is not as described: {unfit:?}");
        }
        if !answers_with_text(&operation) {
            continue;
        }
        let answers = operation["responses"].as_object().into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
        for content in answers.flat_map(|(_, answer)| answer["content"].as_object().into_iter().flatten().map(|(_, content)| content)) {
            let example = content.get("example").unwrap_or_else(|| panic!("{name} has no example of its answer"));
            let unfit = if example.is_string() { vec![] } else { misfits(&description, &content["schema"], example, "") };
            assert!(unfit.is_empty(), "the example of what {name} answers is not as described: {unfit:?}");
        }
    }
}

#[test]
fn whatever_is_mentioned_is_described() {
    fn mentions(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| mentions(item, found)),
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| mentions(value, found));
            }
            _ => {}
        }
    }
    let (description, mut found) = (openapi(), vec![]);
    mentions(&description, &mut found);
    found.retain(|path| description.pointer(&path[1..]).is_none());
    assert!(found.is_empty(), "mentioned and not there: {found:?}");
}

#[test]
fn refusals_are_problems() {
    let description = openapi();
    for (name, operation) in operations(&description) {
        for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
            // A range that cannot be served has no body, and readiness has its own.
            if status.starts_with(['4', '5']) && status != "416" && !(status == "503" && name == "GET /api/v1/ready") {
                assert_eq!(answer["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Problem", "{name}, {status}");
            }
        }
    }
}

/// Where a value is not as its schema says: wrong types and words, what is missing, and what is not described.
fn misfits(description: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolved(description, schema);
    let fits = |one: &Value| misfits(description, one, value, at).is_empty();
    if let Some(all) = schema["allOf"].as_array() {
        let parts: Vec<&Value> = all.iter().map(|part| resolved(description, part)).collect();
        let (mut properties, mut required) = (serde_json::Map::new(), vec![]);
        for part in parts {
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        return misfits(description, &json!({ "type": "object", "properties": properties, "required": required }), value, at);
    }
    if let Some(some) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return if some.iter().any(fits) { vec![] } else { vec![format!("{at}: {value} is none of {some:?}")] };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        // Anything.
        _ => return vec![],
    };
    let is = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !kinds.iter().any(is) {
        return vec![format!("{at}: {value} is not {kinds:?}")];
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        return vec![format!("{at}: {value} is not one of {words:?}")];
    }
    if let Some(items) = value.as_array() {
        return items
            .iter()
            .enumerate()
            .flat_map(|(n, item)| misfits(description, &schema["items"], item, &format!("{at}[{n}]")))
            .collect();
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return vec![] };
    let mut found = vec![];
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, value) in object {
        match properties.get(name) {
            Some(property) => found.extend(misfits(description, property, value, &format!("{at}.{name}"))),
            // What is passed on to a recorder is not described.
            None if at.ends_with("task_config") => {}
            None => found.push(format!("{at}.{name} is not described")),
        }
    }
    found
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/http/describe/examples.json")
}

/// Texts of the examples that are others here: ids with times in them, tokens, addresses.
#[derive(Default)]
struct Translation(BTreeMap<String, String>);

impl Translation {
    fn learn(&mut self, example: &Value, here: &Value) {
        match (example, here) {
            // Ids, keys, tokens, times: each has a digit. Words, as names of checks, mean the same on every server, whatever stands in their place.
            (Value::String(example), Value::String(here))
                if example.len() >= 8 && example != here && example.bytes().any(|byte| byte.is_ascii_digit()) =>
            {
                self.0.insert(example.clone(), here.clone());
                // Behind the bucket stands the key of the object.
                if let (Some((_, example)), Some((_, here))) = (example.split_once('/'), here.split_once('/')) {
                    self.0.insert(example.to_owned(), here.to_owned());
                }
            }
            (Value::Array(examples), Value::Array(here)) => examples.iter().zip(here).for_each(|(example, here)| self.learn(example, here)),
            (Value::Object(examples), Value::Object(here)) => {
                examples
                    .iter()
                    .filter_map(|(key, example)| Some((example, here.get(key)?)))
                    .for_each(|(example, here)| self.learn(example, here));
            }
            _ => {}
        }
    }

    fn of(&self, example: &Value) -> Value {
        match example {
            Value::String(text) => {
                let known = self.0.get(text).cloned();
                known.unwrap_or_else(|| self.0.iter().fold(text.clone(), |text, (example, here)| text.replace(example, here))).into()
            }
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), self.of(value))).collect(),
            other => other.clone(),
        }
    }
}

/// A fresh server, and a robot as soon as it has a station.
struct World {
    server: Server,
    client: reqwest::Client,
    translation: Translation,
    tokens: BTreeMap<String, String>,
    robot: Option<keystone_edge::simulator::Robot>,
    /// The number of the one episode: it is 1 in the examples, and another one where an upload was accepted in a second try.
    episode: Option<Value>,
}

const DEVICE: &str = "AB-F0001-T0001-000001";

/// What its uploader would say of the second task: over which connection, as which device, of which task, and where the recording lies.
async fn second_task(client: &tokio_postgres::Client) -> (i64, DeviceId, PublicTaskId, String) {
    let told = "select d.transfer_epoch, t.task_id from devices d, tasks t where d.id = $1 and t.id = 2";
    let row = client.query_one(told, &[&DEVICE]).await.expect("a link and a task");
    let (device, task) = (DeviceId::parse(DEVICE).expect("an id"), PublicTaskId::parse(row.get(1)).expect("an id"));
    let object_key = format!("1/{DEVICE}/2026-11-20/{}.mcap", task.as_str());
    (row.get(0), device, task, object_key)
}

impl World {
    /// Sends an example; answers with what was sent, the status and the answer.
    async fn send(&self, example: &Value) -> (Value, u16, Value) {
        let (method, path) = example["operation"].as_str().and_then(|name| name.split_once(' ')).expect("an operation");
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let path = match &self.episode {
            Some(id) => path.replace("/episodes/{id}", &format!("/episodes/{id}")),
            None => path.to_owned(),
        };
        let path = example["path"]
            .as_object()
            .into_iter()
            .flatten()
            .fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), &text(&self.translation.of(value))));
        let mut query: Vec<(String, String)> = example["query"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text(&self.translation.of(value))))
            .collect();
        let body = example.get("body").map(|body| self.translation.of(body));
        if let Some((_, token)) = query.iter_mut().find(|(name, _)| name == "token") {
            let id = |name: &str| body.as_ref().and_then(|body| body[name].as_str()).expect("an id");
            let secret = std::fs::read_to_string(self.server.folder.join("data/secrets/jwt")).expect("the server's secret");
            let link = callback_path(secret.trim(), "start", id("task_id"), id("device_id"));
            *token = link.rsplit('=').next().unwrap_or_default().to_owned();
        }
        let who = example["as"].as_str().unwrap_or("admin");
        let mut request = self.client.request(method.parse::<Method>().expect("a method"), format!("{}{path}", self.server.base()));
        request = request.query(&query);
        if let Some(token) = self.tokens.get(who) {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let mut response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let answer = match kind.split(';').next().unwrap_or_default() {
            "application/json" => response.json().await.expect("JSON"),
            // It has no end.
            "text/event-stream" => {
                String::from_utf8_lossy(&response.chunk().await.expect("a piece").unwrap_or_default()).into_owned().into()
            }
            "text/plain" | "text/csv" | "application/x-ndjson" => first_lines(&response.text().await.expect("a text")).into(),
            "text/yaml" => response.text().await.expect("a text").into(),
            _ => Value::Null,
        };
        (body.unwrap_or_default(), status, answer)
    }

    /// What has to be so before the next example.
    async fn after(&mut self, operation: &str) {
        match operation {
            "POST /api/v1/stations" => {
                let place =
                    Workplace { station_id: 1, robot_id: 1, device_id: DEVICE.to_owned(), operator_id: String::new(), password: None };
                self.robot = Some(self.server.robot(&place, 1, 7));
                self.wait_for("GET /api/v1/recorder/{device_id}/state", "/state_synced", &json!(true)).await;
                self.wait_for("GET /api/v1/devices/{device_id}/connection", "/connected", &json!(true)).await;
            }
            "POST /api/v1/callbacks/finish" => self.wait_for("GET /api/v1/episodes", "/total", &json!(1)).await,
            // An episode that is being judged is judged by nobody else.
            "POST /api/v1/data-ops/episodes/bulk-qa" => {
                let current = json!({ "operation": "GET /api/v1/data-ops/bulk-runs/current", "query": { "action": "bulk_qa" } });
                until("the end of the run", async || self.send(&current).await.1 == 204).await;
            }
            // A robot says that it has sent what is not there.
            "POST /api/v1/transfer/{device_id}/cancel" => {
                let pool = self.server.database().await;
                let client = pool.get().await.expect("a session");
                let (epoch, device, task, object_key) = second_task(&client).await;
                let report = UploadReport { object_key, size_bytes: 1, sha256: "ab".repeat(32), with_sidecar: true };
                let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
                done(&commands, uploaded(&device, epoch, task, report)).await;
                let rejected =
                    "select count(*) from events where aggregate_type = 'task' and aggregate_id = '2' and event_type = 'upload_rejected'";
                until("the rejection", async || client.query_one(rejected, &[]).await.expect("events").get::<_, i64>(0) == 1).await;
            }
            // Its recording comes all the same, and one of its chunks is damaged.
            "POST /api/v1/tasks/{id}/fail" => {
                let pool = self.server.database().await;
                let client = pool.get().await.expect("a session");
                let (epoch, device, task, object_key) = second_task(&client).await;
                let recording = damaged(&parted(5, 400), 1);
                let store = self.server.store();
                let secret_key = Secret::new(store.secret_key);
                let access =
                    Access { endpoint: store.endpoint, public_endpoint: None, access_key: store.access_key, secret_key, local: None };
                let blobs = Blobs::new(access, &Config::defaults().s3).expect("a client");
                let (size_bytes, sha256) = (recording.mcap.len() as u64, recording.sha256);
                let key = ObjectKey::new(&object_key).expect("a key");
                blobs.put(&key, recording.mcap.into(), &PutFacts::default()).await.expect("an upload");
                let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
                done(&commands, uploaded(&device, epoch, task, UploadReport { object_key, size_bytes, sha256, with_sidecar: false })).await;
                let failed = "select id from episodes where task_id = 2 and qa_status = 'failed'";
                until("its episode to fail", async || client.query_opt(failed, &[]).await.expect("episodes").is_some()).await;
                let id: i64 = client.query_one(failed, &[]).await.expect("an episode").get(0);
                self.episode = Some(json!(id));
            }
            "POST /api/v1/sync/destinations/{name}/resume" => {
                self.wait_for("GET /api/v1/sync/episodes/{id}/status", "/status", &json!("completed")).await;
            }
            "POST /api/v1/sync/episodes/{id}/resync" => {
                self.wait_for("GET /api/v1/sync/episodes/{id}/status", "/status", &json!("completed")).await;
            }
            "DELETE /api/v1/episodes/{id}/edge-copy" => {
                self.wait_for("GET /api/v1/episodes/{id}/copies", "/edge/status", &json!("deleted")).await;
            }
            "POST /api/v1/episodes/{id}/copies/look" => {
                self.wait_for("GET /api/v1/episodes/{id}/copies", "/edge/looked_at/sound", &json!(true)).await;
            }
            "POST /api/v1/episodes/{id}/edge-copy/restore" => {
                self.wait_for("GET /api/v1/episodes/{id}/copies", "/edge/status", &json!("available")).await;
            }
            "POST /api/v1/episodes/{id}/salvage" => {
                self.wait_for("GET /api/v1/episodes/{id}/salvage", "/state", &json!("salvaged")).await;
            }
            // Twenty-four good ones, so that something is usual; they are gone before the next example that lists episodes.
            "GET /api/v1/qa/gaps" => {
                let client = self.server.database().await.get().await.expect("a session");
                let episodes =
                    "insert into episodes select (jsonb_populate_record(e, jsonb_build_object('id', 1000 + n, 'task_id', 1000 + n,
                        'episode_id', 'good-' || n, 'mcap_path', e.mcap_path || n, 'qa_status', 'approved', 'inspection_cause', null,
                        'created_at', e.created_at - n * interval '1 minute'))).* from episodes e cross join generate_series(1, 24) n";
                assert_eq!(client.execute(episodes, &[]).await.expect("episodes"), 24);
                let facts = "insert into episode_facts select 1000 + n, version, created_at, updated_at, packed
                        from episode_facts cross join generate_series(1, 24) n";
                assert_eq!(client.execute(facts, &[]).await.expect("facts"), 24);
            }
            "GET /api/v1/qa/drift" => {
                let client = self.server.database().await.get().await.expect("a session");
                client
                    .batch_execute("delete from episodes where id > 1000; delete from episode_facts where id > 1000")
                    .await
                    .expect("they go");
            }
            // What was done before, and may be done again.
            "GET /api/v1/episodes/{id}/presign" => {
                let letters = "insert into dead_letters
                        (subscriber, event_seq, stream_key, destination, causation_depth, reason, attempts, failures, queued_at, blocks_stream)
                    select subscriber, seq, aggregate_type || '/' || aggregate_id, destination, 0, reason, 1,
                           jsonb_build_array(jsonb_build_object('attempt', 1, 'at', recorded_at, 'error', error)), recorded_at, false
                    from events join (values
                        ('upload_reported', 'upload_verification', null, 'permanent_error', 'the object store refused our key'),
                        ('recording_finished', 'device_commands', 'transfer:' || $1, 'attempts_used_up', 'no outcome within 20s'),
                        ('upload_verified', 'device_commands', 'transfer:' || $1, 'attempts_used_up', 'no outcome within 20s')
                    ) letter (event_type, subscriber, destination, reason, error) using (event_type)
                    cross join generate_series(1, case event_type when 'upload_verified' then 6 else 1 end)
                    where aggregate_type = 'task' and aggregate_id = '1' order by seq desc";
                let client = self.server.database().await.get().await.expect("a session");
                assert_eq!(client.execute(letters, &[&DEVICE]).await.expect("letters"), 8);
            }
            _ => {}
        }
    }

    async fn wait_for(&self, operation: &str, pointer: &str, wanted: &Value) {
        let example = json!({ "operation": operation, "path": { "device_id": DEVICE } });
        until(operation, async || self.send(&example).await.2.pointer(pointer) == Some(wanted)).await;
    }
}

fn first_lines(text: &str) -> String {
    text.lines().take(4).map(|line| format!("{line}\n")).collect()
}

/// As it would be at the ports that a server has by itself, and without what only one answer may show.
fn as_an_example(server: &Server, answer: &Value) -> Value {
    let mut text = answer.to_string();
    for (n, port) in [8080, 8091, 8090, 9000].into_iter().enumerate() {
        for colon in [":", "%3A"] {
            text = text.replace(&format!("127.0.0.1{colon}{}", server.ports[n]), &format!("127.0.0.1{colon}{port}"));
        }
    }
    let mut answer: Value = serde_json::from_str(&text).expect("JSON still");
    hide(&mut answer);
    answer
}

fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "access_token" => *value = "a token that opens routes".into(),
                    "ws_client_auth_token" => *value = "a token that opens sockets".into(),
                    "secret" => *value = "a secret that only this answer shows".into(),
                    // Ten thousand letters.
                    "payload" if value.as_str().is_some_and(|text| text.starts_with("eyJ")) => {
                        *value = value.as_str().map(|text| format!("{}…", &text[..60])).into()
                    }
                    "store_secret_key" => *value = "a secret that only this answer shows".into(),
                    "transfer_ws_url" | "url" | "foxglove_url" => *value = value.as_str().map_or(json!(null), |url| hidden(url).into()),
                    _ => hide(value),
                }
            }
        }
        _ => {}
    }
}

/// A link without its signature.
fn hidden(url: &str) -> String {
    for (before, after) in [("/recording/", "/"), ("%2Frecording%2F", "%2F")] {
        if let Some((start, (_, end))) = url.split_once(before).and_then(|(start, rest)| Some((start, rest.split_once(after)?))) {
            return format!("{start}{before}a-signature{after}{end}");
        }
    }
    let shown = |part: &str| match part.split_once('=') {
        Some((name, _)) if name == "dl_token" || name == "X-Amz-Signature" => format!("{name}=a-signature"),
        _ => part.to_owned(),
    };
    match url.split_once('?') {
        Some((path, query)) => format!("{path}?{}", query.split('&').map(shown).collect::<Vec<_>>().join("&")),
        None => url.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_server_accepts_every_example() {
    let writes = std::env::var_os("KEYSTONE_WRITE_DOCS").is_some();
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    // The first decision is the last one, so that it can be reopened.
    server.settings.push(("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned()));
    let platform = folder.path().join("platform.json");
    let (cloud, _cloud_folder) = simulated_cloud(|cloud| {
        cloud.devices = ["A-0042", "A-0043"].map(CloudDevice::named).to_vec();
        cloud.write_config = Some(platform.clone());
    })
    .await;
    server.settings.extend([
        ("KEYSTONE_SYNC_DP_CONFIG", platform.display().to_string()),
        ("KEYSTONE_CLOUD_S3_BUCKET", "keystone-cloud".to_owned()),
        ("KEYSTONE_CLOUD_S3_ENDPOINT", cloud.addresses().s3_endpoint()),
        ("KEYSTONE_CLOUD_S3_ACCESS_KEY", "simulated-cloud".to_owned()),
        ("KEYSTONE_CLOUD_S3_SECRET_KEY", "simulated-cloud-secret".to_owned()),
    ]);
    server.start();
    server.ready().await;
    let mut world = World {
        server,
        client: reqwest::Client::new(),
        translation: Translation::default(),
        tokens: BTreeMap::new(),
        robot: None,
        episode: None,
    };
    world.translation.0.insert("the administrator's password".to_owned(), PASSWORD.to_owned());
    let description = openapi();
    let described: BTreeMap<String, Value> = operations(&description).into_iter().collect();
    let mut examples: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file()).expect("examples")).expect("a list");
    for example in &mut examples {
        let operation = example["operation"].as_str().expect("an operation").to_owned();
        let (sent, status, answer) = world.send(example).await;
        // What cannot be done yet is shown with the request that will do it.
        let as_wanted = example.get("refused").map_or((200..300).contains(&status), |refused| *refused == json!(status));
        assert!(as_wanted, "{operation} with {sent} was answered with {status}: {answer}\n{}", world.server.tail());
        let content = &described[&operation]["responses"][status.to_string()]["content"];
        if let Some(content) = content.get("application/json") {
            let unfit = misfits(&description, &content["schema"], &answer, "");
            assert!(unfit.is_empty(), "{operation} answered with what is not described: {unfit:?}");
        }
        if operation == "POST /api/v1/auth/login" {
            let who = example["as"].as_str().unwrap_or("admin").to_owned();
            world.tokens.insert(who, answer["access_token"].as_str().expect("a token").to_owned());
        }
        world.translation.learn(&example["answer"], &answer);
        if operation == "GET /api/v1/episodes" {
            world.episode = Some(answer["items"][0]["id"].clone());
        }
        if operation == "GET /api/v1/episodes/{id}/viewer-link" {
            // Its token and the name of the file stand in the next path.
            let parts = |answer: &Value| answer["url"].as_str().expect("a link").rsplit('/').take(2).map(str::to_owned).collect::<Vec<_>>();
            world.translation.0.extend(parts(&example["answer"]).into_iter().zip(parts(&answer)));
        }
        if writes {
            let keeps_password = sent.get("password").is_some();
            if !sent.is_null() && !keeps_password {
                example["body"] = sent;
            }
            for part in ["path", "query"] {
                let Some(values) = example.get_mut(part).and_then(Value::as_object_mut) else { continue };
                values.iter_mut().filter(|(name, _)| *name != "token").for_each(|(_, value)| *value = world.translation.of(value));
            }
            if !answer.is_null() && example.get("refused").is_none() {
                example["answer"] = as_an_example(&world.server, &answer);
            }
        }
        world.after(&operation).await;
    }
    if writes {
        let lines: Vec<String> = examples.iter().map(line_of).collect();
        std::fs::write(file(), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written");
    }
}

/// An example in two lines: what is sent, and the answer.
fn line_of(example: &Value) -> String {
    let part = |name: &str| example.get(name).filter(|value| !value.is_null()).map(|value| format!("{}: {value}", json!(name)));
    let sent: Vec<String> = ["operation", "as", "path", "query", "body", "refused"].into_iter().filter_map(part).collect();
    let answer = part("answer").map(|answer| format!(",\n {answer}")).unwrap_or_default();
    format!("{{{}{answer}}}", sent.join(", "))
}
