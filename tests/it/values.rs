//! Every number, instant and text that the wire can carry is stored or refused with a 4xx: hostile values in every
//! field of every operation that the served description names, against the real program; and in the frames of
//! devices. `VALUES_SECONDS` says for how long (5); 0: until every value was in every field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::harness::bench::{Bench, connected, transfer_of};
use crate::harness::device::Socket;
use crate::harness::until;

/// The first of each list are tried in every field each time.
const ALWAYS: usize = 5;

/// JSON as it stands on the wire, sound or not. Half of it has tripped a server of this kind before.
fn hostile_json() -> Vec<String> {
    let mut raw = vec![
        r#""0000-01-01T00:00:00Z""#.to_owned(),
        // As deep as can be read, and in its event deeper than that.
        format!("{}1{}", "{\"a\":".repeat(126), "}".repeat(126)),
        // Letters that are four to six when they are compared.
        format!("\"{}\"", (0..255_u32).map(|n| char::from_u32(0x3300 + n * 37 % 88).unwrap()).collect::<String>()),
        r#""a\u0000b""#.to_owned(),
        "9223372036854775807".to_owned(),
    ];
    let more = [
        "null",
        "true",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "\"\"",
        "\" \"",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e2",
        "1e308",
        "1e309",
        "-1e400",
        "5e-324",
        "1e-400",
        "NaN",
        "Infinity",
        "2147483647",
        "2147483648",
        "-2147483649",
        "9007199254740993",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "1.7976931348623157e308",
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\ufffe\uffff""#,
        "\"\u{202e}\u{feff}\u{e000}\"",
        r#""\ud83d\ude00""#,
        r#""a\r\nb\u001b[31m""#,
        r#""0001-01-01T00:00:00+23:59""#,
        r#""-0001-01-01T00:00:00Z""#,
        r#""+10000-01-01T00:00:00Z""#,
        r#""294277-01-01T00:00:00Z""#,
        r#""9999-12-31T23:59:59.999999999-23:59""#,
        r#""9999-12-31T23:59:60Z""#,
        r#""2016-12-31T23:59:60Z""#,
        r#""2026-01-01T00:00:00.0000000000000000001Z""#,
        r#""infinity""#,
        r#""-infinity""#,
        r#""now""#,
        r#""1""#,
        r#""-1""#,
        r#""0""#,
        r#""+1""#,
        r#""1e3""#,
        r#""9223372036854775808""#,
        "\"\u{ff11}\"",
        r#""' or 1=1 --""#,
        r#""%00""#,
        r#""../../etc/passwd""#,
        r#"{"a":1,"a":2}"#,
        r#"{"\u0000":1}"#,
        r#"{"":{"":[]}}"#,
    ];
    raw.extend(more.map(str::to_owned));
    raw.push(format!("{}1{}", "[".repeat(64), "]".repeat(64)));
    raw.push(format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100)));
    raw.push(format!("{}1{}", "[".repeat(120), "]".repeat(120)));
    raw.push("[".repeat(100_000));
    raw.push("9".repeat(5_000));
    raw.push(format!("\"{}\"", "x".repeat(256)));
    raw.push(format!("\"{}\"", "x".repeat(70_000)));
    // One letter that is eighteen when it is compared.
    raw.push(format!("\"{}\"", "\u{fdfa}".repeat(255)));
    raw.push(format!("\"{}\"", (0..255_u32).map(|n| char::from_u32(0x20000 + n * 167).unwrap()).collect::<String>()));
    raw.push(format!("{{{}}}", (0..2_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")));
    raw.push(format!("[{}]", vec!["{}"; 3_000].join(",")));
    raw
}

/// For paths and queries: percent-encoded already.
fn hostile_text() -> Vec<String> {
    let mut raw: Vec<String> = [
        "%00",
        "%ED%A0%80",
        "9223372036854775807",
        "0000-01-01T00:00:00Z",
        "18446744073709551615",
        "0",
        "-1",
        "1.5",
        "1e3",
        "+1",
        "01",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551616",
        "NaN",
        "true",
        "a%00b",
        "%FF",
        "%C0%80",
        "%0d%0aX-A:%20b",
        "%2e%2e%2f",
        "%F0%9F%98%80",
        "%25",
        "%20",
        "%EF%BC%91",
        "1,2,,3",
        ",",
        "1,x",
        "'",
        "-0001-01-01T00:00:00Z",
        "%2B10000-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-23:59",
        "294277-01-01T00:00:00Z",
        "infinity",
        "%5Bobject%5D",
        "%25%5F%5C",
        "%5C",
        "_",
        "pending",
        "1",
    ]
    .map(str::to_owned)
    .into();
    raw.push("9".repeat(400));
    raw.push("x".repeat(300));
    raw.push("%EF%B7%BA".repeat(255));
    raw.push("x".repeat(7_000));
    raw.push(vec!["9223372036854775807"; 100].join(","));
    raw
}

/// Things of each kind that are looked at afterwards, one by one.
const READ_AGAIN: usize = 12;

const HERE: &str = "the value stands here";

/// A request with a place for a value.
#[derive(Clone, Debug)]
struct Probe {
    method: String,
    path: String,
    query: String,
    header: Option<(String, String)>,
    body: Option<String>,
    field: String,
    /// Of JSON, or of a path or query.
    in_body: bool,
}

impl Probe {
    fn with(&self, raw: &str) -> Self {
        let (hole, in_json) = (HERE.replace(' ', "+"), format!("\"{HERE}\""));
        Self {
            path: self.path.replace(&hole, raw),
            query: self.query.replace(&hole, raw),
            header: self.header.as_ref().map(|(name, value)| (name.clone(), value.replace(&hole, raw))),
            body: self.body.as_ref().map(|body| body.replace(&in_json, raw)),
            ..self.clone()
        }
    }
}

/// Makes requests from the description.
struct Maker<'a> {
    schemas: &'a Value,
    known: BTreeMap<&'static str, Value>,
}

impl Maker<'_> {
    fn resolve<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        loop {
            if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
                schema = &self.schemas[name];
            } else if let Some(some) = ["oneOf", "anyOf", "allOf"].iter().find_map(|key| schema[*key].as_array()) {
                let Some(first) = some.iter().find(|schema| schema["type"] != "null") else { return schema };
                schema = first;
            } else {
                return schema;
            }
        }
    }

    fn is(&self, schema: &Value, wanted: &str) -> bool {
        schema["type"] == wanted || schema["type"].as_array().is_some_and(|types| types.iter().any(|known| known == wanted))
    }

    /// Something that is likely to be taken, by the name of a field and its type.
    fn plausible(&self, name: &str, schema: &Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        let text = self.is(schema, "string");
        if let Some(known) = self.known.get(name) {
            return match known {
                Value::Number(number) if text => json!(number.to_string()),
                known => known.clone(),
            };
        }
        if let Some(example) = schema.get("example").or_else(|| schema["enum"].get(0)) {
            return example.clone();
        }
        if self.is(schema, "array") {
            return if depth > 3 { json!([]) } else { json!([self.plausible(name.trim_end_matches('s'), &schema["items"], depth + 1)]) };
        }
        if let Some(properties) = schema["properties"].as_object().filter(|_| depth <= 3) {
            let fields = properties.iter().map(|(name, schema)| (name.clone(), self.plausible(name, schema, depth + 1)));
            return Value::Object(fields.collect());
        }
        if text {
            return json!(format!("{name} {:08x}", rand::random::<u32>()));
        }
        if self.is(schema, "integer") || self.is(schema, "number") {
            return json!(1);
        }
        if self.is(schema, "boolean") { json!(true) } else { json!({}) }
    }

    /// Every place in a body where a value stands, as the body with a hole there.
    fn holes(&self, body: &Value) -> Vec<(String, Value)> {
        let mut found = vec![(String::new(), json!(HERE))];
        let parts: Vec<(String, &Value)> = match body {
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
            _ => vec![],
        };
        for (key, value) in parts {
            for (inside, holed) in self.holes(value) {
                let mut whole = body.clone();
                match &mut whole {
                    Value::Object(fields) => drop(fields.insert(key.clone(), holed)),
                    Value::Array(items) => items[key.parse::<usize>().unwrap()] = holed,
                    _ => {}
                }
                found.push((format!(".{key}{inside}"), whole));
            }
        }
        found
    }

    /// Each field of an operation.
    fn probes(&self, method: &str, route: &str, operation: &Value) -> Vec<Probe> {
        let hole = HERE.replace(' ', "+");
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        let of = |place: &str| {
            parameters.iter().filter(|p| p["in"] == place).filter_map(|p| Some((p["name"].as_str()?, *p))).collect::<Vec<_>>()
        };
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace(' ', "%20");
        let path = |holed: Option<&str>| {
            of("path").iter().fold(route.to_owned(), |path, (name, parameter)| {
                let value = if holed == Some(*name) { hole.clone() } else { plain(&self.plausible(name, &parameter["schema"], 0)) };
                path.replace(&format!("{{{name}}}"), &value)
            })
        };
        let schema = operation["requestBody"]["content"]["application/json"].get("schema");
        let body = schema.map(|schema| self.plausible("", schema, 0));
        let text = body.as_ref().map(Value::to_string);
        let probe = |path: String, query: String, body: Option<String>, field: String, in_body: bool| Probe {
            method: method.to_owned(),
            path,
            query,
            header: None,
            body,
            field,
            in_body,
        };
        let mut probes = vec![];
        for (name, _) in of("path") {
            probes.push(probe(path(Some(name)), String::new(), text.clone(), format!("path {name}"), false));
        }
        // Those that are required stand in each.
        let required: Vec<String> = of("query")
            .iter()
            .filter(|(_, parameter)| parameter["required"] == true)
            .map(|(name, parameter)| format!("{name}={}", plain(&self.plausible(name, &parameter["schema"], 0))))
            .collect();
        for (name, _) in of("header") {
            let plain = probe(path(None), required.join("&"), text.clone(), format!("header {name}"), false);
            probes.push(Probe { header: Some((name.to_owned(), hole.clone())), ..plain });
        }
        for (name, _) in of("query") {
            // With all others, too: some are read only where another says so.
            let all: Vec<String> = of("query")
                .iter()
                .map(|(other, parameter)| {
                    if other == &name {
                        format!("{name}={hole}")
                    } else {
                        format!("{other}={}", plain(&self.plausible(other, &parameter["schema"], 0)))
                    }
                })
                .collect();
            probes.push(probe(path(None), all.join("&"), text.clone(), format!("query {name} with others"), false));
            let others = required.iter().filter(|pair| !pair.starts_with(&format!("{name}="))).cloned();
            let query: Vec<String> = others.chain([format!("{name}={hole}")]).collect();
            probes.push(probe(path(None), query.join("&"), text.clone(), format!("query {name}"), false));
        }
        for (place, holed) in body.iter().flat_map(|body| self.holes(body)) {
            probes.push(probe(path(None), required.join("&"), Some(holed.to_string()), format!("body{place}"), true));
        }
        probes
    }
}

fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let paths = description["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
        })
        .collect()
}

/// What is wrong with an answer, if anything.
async fn complaint(client: &reqwest::Client, base: &str, token: &str, probe: &Probe) -> Option<String> {
    let url = format!("{base}{}{}{}", probe.path, if probe.query.is_empty() { "" } else { "?" }, probe.query);
    let mut request = client.request(probe.method.parse().unwrap(), &url).bearer_auth(token);
    if let Some((name, value)) = &probe.header {
        request = request.header(name, value);
    }
    if let Some(body) = &probe.body {
        request = request.header("content-type", "application/json").body(body.clone());
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return None,
        Err(error) => return Some(format!("no answer: {error:?}")),
    };
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    if kind.starts_with("text/event-stream") {
        return None;
    }
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Some(format!("{status} without an end: {error}")),
    };
    let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
    // What is not built yet says so, once all else about the request is right.
    if status >= 500 && !text.contains("\"sync_not_configured\"") {
        return Some(format!("{status}: {text}"));
    }
    let json: Option<Value> = kind.starts_with("application/json").then(|| serde_json::from_slice(&body).ok()).flatten();
    match (status, json) {
        (400.., Some(problem)) => {
            let whole = ["code", "detail", "request_id"].iter().all(|key| problem[*key].is_string());
            (!whole).then(|| format!("{status} is no problem: {text}"))
        }
        // A path that no route has; a range that is none.
        (404 | 416, None) => None,
        (400.., None) => Some(format!("{status} as {kind:?}: {text}")),
        (_, None) if kind.starts_with("application/json") => Some(format!("{status} is no JSON: {text}")),
        _ => None,
    }
}

/// A recorder that does what it is told, so that what is asked of it reaches the device.
async fn obedient_recorder(bench: &Bench) {
    let mut socket = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    tokio::spawn(async move {
        while let Some(frame) = socket.next().await {
            if frame["type"] == "rpc_request" {
                let answer =
                    json!({ "type": "rpc_response", "request_id": frame["request_id"], "success": true, "data": { "state": "idle" } });
                socket.send(&answer).await;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_in_every_field_is_taken_or_refused() {
    let seconds: u64 = std::env::var("VALUES_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let seed: u64 = std::env::var("VALUES_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("VALUES_SEED={seed}");
    let bench = Bench::start().await;
    let _task = bench.dispatch(2).await;
    obedient_recorder(&bench).await;
    let _transfer = transfer_of(&bench, json!([]), json!([])).await;
    let base = bench.server.base();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(40)).build().unwrap();
    let token = {
        let login = json!({ "account": "admin", "password": crate::harness::server::PASSWORD });
        let answer: Value = client.post(format!("{base}/api/v1/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let description: Value = client.get(format!("{base}/api/v1/openapi.json")).send().await.unwrap().json().await.unwrap();
    let known: BTreeMap<&'static str, Value> = [
        ("device_id", json!(bench.device)),
        ("filename", json!("recorder.yaml")),
        ("bucket", json!("edge-f")),
        ("object", json!("1/a.mcap")),
        ("deadline", json!("2030-01-01T00:00:00Z")),
        ("priority", json!("normal")),
        ("status", json!("")),
        ("timezone", json!("UTC")),
        ("quantity", json!(1)),
        ("target_count", json!(5)),
        ("skill_sequence", json!(["1"])),
        ("version", json!("1.0.0")),
        ("expires_seconds", json!(60)),
        ("refresh", json!("1")),
        ("limit", json!(10)),
        ("offset", json!(0)),
    ]
    .into();
    let known = known
        .into_iter()
        .chain(
            [
                "id",
                "organization_id",
                "scene_id",
                "subscene_id",
                "order_id",
                "sop_id",
                "workstation_id",
                "factory_id",
                "robot_type_id",
                "robot_id",
                "data_collector_id",
            ]
            .map(|name| (name, json!(1))),
        )
        .collect();
    let maker = Maker { schemas: &description["components"]["schemas"], known };
    let operations = operations(&description);
    let (mut always, mut probes): (Vec<Probe>, Vec<Probe>) = (vec![], vec![]);
    for (method, route, operation) in &operations {
        let fields = maker.probes(method, route, operation);
        let (json, text) = (hostile_json(), hostile_text());
        for field in &fields {
            let (first, more) = if field.in_body { &json } else { &text }.split_at(ALWAYS);
            always.extend(first.iter().map(|raw| field.with(raw)));
            probes.extend(more.iter().map(|raw| field.with(raw)));
        }
        let mut plain = Map::new();
        plain.insert("unknown".to_owned(), json!(1));
        for body in ["", "null", "[]", "{", "7", "\u{feff}{}", "{}garbage"].map(str::to_owned).into_iter().chain([json!(plain).to_string()])
        {
            if operation.get("requestBody").is_some() {
                let path = maker
                    .probes(method, route, operation)
                    .first()
                    .map_or_else(|| route.clone(), |probe| probe.path.replace(&HERE.replace(' ', "+"), "1"));
                probes.push(Probe {
                    method: method.clone(),
                    path,
                    query: String::new(),
                    header: None,
                    body: Some(body),
                    field: "body".to_owned(),
                    in_body: true,
                });
            }
        }
    }
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    always.shuffle(&mut random);
    probes.shuffle(&mut random);
    let (all, always_sent) = (always.len() + probes.len(), always.len());
    let (until_then, limit) = (Instant::now() + Duration::from_secs(seconds), Arc::new(Semaphore::new(6)));
    let mut running = tokio::task::JoinSet::new();
    let mut complaints: BTreeMap<String, String> = BTreeMap::new();
    let mut sent = 0;
    let note = |complaints: &mut BTreeMap<String, String>, found: Option<(Probe, String)>| {
        if let Some((probe, why)) = found {
            let value = probe.body.as_deref().unwrap_or(&probe.query).chars().take(300).collect::<String>();
            complaints
                .entry(format!("{} {} {}", probe.method, probe.path.chars().take(100).collect::<String>(), probe.field))
                .or_insert(format!("{why}\n    of {value}"));
        }
    };
    for probe in always.into_iter().chain(probes) {
        if seconds > 0 && sent >= always_sent && Instant::now() > until_then {
            break;
        }
        let permit = limit.clone().acquire_owned().await.unwrap();
        let (client, base, token) = (client.clone(), base.clone(), token.clone());
        sent += 1;
        running.spawn(async move {
            let found = complaint(&client, &base, &token, &probe).await;
            drop(permit);
            found.map(|why| (probe, why))
        });
        while let Some(found) = running.try_join_next() {
            note(&mut complaints, found.unwrap());
        }
    }
    while let Some(found) = running.join_next().await {
        note(&mut complaints, found.unwrap());
    }
    // What was taken can be read again, one by one and in lists.
    let mut again = 0;
    for (method, route, operation) in operations.iter().filter(|(method, _, _)| method == "GET") {
        let Some(probe) = maker.probes(method, route, operation).into_iter().next() else { continue };
        let hole = HERE.replace(' ', "+");
        for id in 1..=(if route.contains("{id}") { READ_AGAIN } else { 1 }) {
            let probe = Probe {
                path: probe.path.replace(&hole, &id.to_string()),
                query: "limit=1000".to_owned(),
                field: "read again".to_owned(),
                ..probe.clone()
            };
            again += 1;
            let found = complaint(&client, &base, &token, &probe).await;
            note(&mut complaints, found.map(|why| (probe, why)));
        }
    }
    println!("{sent} of {all} requests, {again} reads");
    assert!(
        complaints.is_empty(),
        "{} fields:\n{}",
        complaints.len(),
        complaints.iter().map(|(field, why)| format!("{field}\n    {why}\n")).collect::<String>()
    );
    assert!(seconds > 0 || sent == all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_values_in_frames_are_noted_and_the_device_goes_on() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let (mut recorder, mut transfer) = bench.sockets().await;
    transfer.send(&connected(&bench.device, &json!([]), &json!([]))).await;
    let first = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let answer = |id: &Value| json!({ "type": "rpc_response", "request_id": id, "success": true, "data": { "state": "idle" } });
    recorder.send(&answer(&first["request_id"])).await;
    let id = json!(task.public_id);
    let upload = json!({ "task_id": id, "status": "uploaded_wait_ack", "upload_mode": "mcap_only", "s3_key": "1/a.mcap", "object_key": "1/a.mcap",
        "file_size_bytes": 9, "checksum_sha256": "00", "retry_count": 0, "last_error": "", "updated_at": "", "next_retry_at": "" });
    let now = chrono::Utc::now().timestamp_millis();
    let of_recorder = [
        json!({ "type": "state_update", "timestamp": now, "data": { "previous": "idle", "current": "idle", "task_id": id } }),
        json!({ "type": "config_applied", "data": { "task_id": id } }),
        json!({ "type": "rpc_response", "request_id": uuid::Uuid::new_v4(), "success": true, "message": "", "data": { "state": "idle", "task_id": id } }),
    ];
    let of_transfer = [
        connected(&bench.device, &json!([upload]), &json!([id])),
        json!({ "type": "upload_started", "data": { "task_id": id } }),
        json!({ "type": "upload_complete", "data": upload }),
        json!({ "type": "upload_failed", "data": { "task_id": id, "reason": "" } }),
        json!({ "type": "upload_not_found", "data": { "task_id": id, "detail": "" } }),
        json!({ "type": "local_cleanup_failed", "data": { "task_id": id, "reason": "" } }),
    ];
    let maker = Maker { schemas: &Value::Null, known: BTreeMap::new() };
    let values = hostile_json();
    let mut rng = rand::rng();
    for (socket, frames) in [(&recorder, &of_recorder[..]), (&transfer, &of_transfer[..])] {
        for (_, holed) in frames.iter().flat_map(|frame| maker.holes(frame)) {
            // A tenth of them each time; the rest another time.
            for raw in values.iter().filter(|_| rng.random_bool(0.1)) {
                let frame = holed.to_string().replace(&format!("\"{HERE}\""), raw);
                socket.try_send_pieces(&[frame.as_bytes()]).await.expect("the link stays");
            }
        }
    }
    // Still there, still heard, and what was kept of it can be read.
    for socket in [&mut recorder, &mut transfer] {
        socket.ping().await;
        socket.wait_for("a pong, after all of it", |frame| *frame == json!("pong")).await;
    }
    let state = bench.client.get("/recorder/devices").await.unwrap();
    assert_eq!(state["devices"][0]["device_id"], json!(bench.device));
    // A command, whose outcome is as deep as JSON gets.
    let (client, path) = (bench.client.clone(), format!("/recorder/{}/pause", bench.device));
    for _ in 0..2 {
        let command = tokio::spawn({
            let (client, path) = (client.clone(), path.clone());
            async move { client.call(reqwest::Method::POST, &path, None).await.unwrap() }
        });
        loop {
            let asked = recorder.wait_for("a request", |frame| frame["type"] == "rpc_request").await;
            if asked["action"] != "pause" {
                recorder.send(&answer(&asked["request_id"])).await;
                continue;
            }
            // Read by us, and once it lies in its event, by nobody any more.
            let deep = format!("{}1{}", "[".repeat(125), "]".repeat(125));
            let frame = format!(
                r#"{{"type":"rpc_response","request_id":{},"success":true,"data":{{"state":"idle","deep":{deep}}}}}"#,
                asked["request_id"]
            );
            recorder.send_pieces(&[frame.as_bytes()]).await;
            break;
        }
        let answered = command.await.unwrap();
        assert_eq!(answered.status.as_u16(), 200, "{}", answered.body);
    }
    let (http, url) = (reqwest::Client::new(), format!("{}/metrics", bench.server.base()));
    until("everything to be settled", async || {
        let metrics = http.get(&url).send().await.unwrap().text().await.unwrap();
        let failed = metrics.lines().find(|line| line.starts_with("keystone_device_reports_total") && line.contains("\"failed\""));
        assert_eq!(failed, None);
        true
    })
    .await;
    let read = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
    assert_eq!(read["task_id"], id);
}
