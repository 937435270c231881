//! Who did what: changes from the log, and what is recorded of reads, downloads and refusals, in one list; what a death of the process takes.

use std::collections::BTreeSet;
use std::time::Duration;

use keystone_edge::commands::access_records::AccessRecord;
use keystone_edge::domain::access::AccessKind;
use keystone_edge::projections::reads;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::event_log::note_all;
use crate::harness::edge::{TestEdge, number};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder, until};

/// Every entry of a search, page by page.
async fn entries(edge: &TestEdge, query: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut after) = (vec![], String::new());
    loop {
        let (status, page) = edge.get(&format!("/api/v1/audit?{query}&limit={limit}{after}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        found.extend(items.iter().cloned());
        let Some(next) = page["next_after"].as_str() else { return found };
        after = format!("&after={next}");
    }
}

async fn recorded(database: &TestDatabase) -> i64 {
    database.pool.get().await.unwrap().query_one("select count(*) from access_records", &[]).await.unwrap().get(0)
}

async fn recorded_reads(database: &TestDatabase) -> i64 {
    let sql = "select count(*) from access_records where kind = 'read'";
    database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

/// A factory whose people were looked at, by an administrator and by a collector who may not do everything.
struct Looked {
    edge: TestEdge,
    collector: i64,
    token: String,
}

impl Looked {
    async fn new() -> Self {
        let edge = TestEdge::start().await;
        let seed = edge.seed().await;
        let collector = number(&seed.collector);
        let token = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/data_collectors/{collector}");
        for _ in 0..3 {
            assert_eq!(edge.get(&path).await.0, 200);
        }
        assert_eq!(edge.get("/api/v1/data_collectors?keyword=secret").await.0, 200);
        assert_eq!(edge.send_as(&token, "GET", &path, Value::Null).await.0, 200);
        assert_eq!(edge.get("/api/v1/data_collectors/999").await.0, 404);
        assert_eq!(edge.get("/api/v1/stations").await.0, 200);
        // Not for a collector, not without a login, and not with a wrong password.
        assert_eq!(edge.send_as(&token, "DELETE", &path, Value::Null).await.0, 403);
        assert_eq!(edge.send_as(&token, "POST", "/api/v1/recorder/AB-OTHER/pause", Value::Null).await.0, 403);
        assert_eq!(edge.send_as("", "GET", "/api/v1/orders", Value::Null).await.0, 401);
        assert_eq!(edge.log_in("li", "guess").await.0, 401);
        assert_eq!(edge.get("/api/v1/events/export?category=order").await.0, 200);
        until("ten records", async || recorded(&edge.database).await == 10).await;
        note_all(&edge.database).await;
        Self { edge, collector, token }
    }
}

#[tokio::test]
async fn who_read_took_away_and_was_refused_what_stands_beside_who_changed_it() {
    let Looked { edge, collector, token } = Looked::new().await;
    let about = format!("data_collector/{collector}");
    let all = entries(&edge, "", 200).await;
    let kinds: BTreeSet<&str> = all.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["change", "download", "login", "read", "refusal"]));
    let times: Vec<&str> = all.iter().map(|entry| entry["occurred_at"].as_str().unwrap()).collect();
    assert!(times.iter().is_sorted_by(|newer, older| newer >= older), "{times:?}");

    let one = |entries: &[Value]| {
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    };
    let by_collector = one(&entries(&edge, &format!("kind=read&actor=user:collector:{collector}"), 200).await);
    assert_eq!(by_collector["login"], format!("collector:{collector}"));
    assert_eq!(
        (&by_collector["role"], &by_collector["action"], &by_collector["entity"], &by_collector["status"], &by_collector["source_address"]),
        (&json!("data_collector"), &json!("GET /api/v1/data_collectors/{id}"), &json!(about), &json!(200), &json!("127.0.0.1"))
    );
    assert!(by_collector["request_id"].as_str().is_some_and(|id| !id.is_empty()) && by_collector.get("position").is_none());

    // The same again is one record, what was not there and what shows nobody is none; the audit's own pages are recorded, too.
    let reads = entries(&edge, "kind=read&actor=user:admin", 200).await;
    let told: BTreeSet<&str> = actions(&reads).into_iter().collect();
    let expected = ["GET /api/v1/audit", "GET /api/v1/data_collectors", "GET /api/v1/data_collectors/{id}"];
    assert!(told.is_subset(&expected.into()) && reads.iter().filter(|entry| entry["entity"] == about).count() == 1, "{reads:?}");
    assert_eq!(one(&entries(&edge, "kind=download", 200).await)["action"], "GET /api/v1/events/export");

    let refused = entries(&edge, "kind=refusal", 200).await;
    let told: BTreeSet<(&str, i64, &str)> = refused
        .iter()
        .map(|entry| (entry["actor"].as_str().unwrap(), entry["status"].as_i64().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    let name = format!("user:collector:{collector}");
    let expected = [
        (&*name, 403, "DELETE /api/v1/data_collectors/{id}"),
        (&*name, 403, "POST /api/v1/recorder/{device_id}/pause"),
        ("anonymous", 401, "GET /api/v1/orders"),
        ("anonymous", 401, "POST /api/v1/auth/login"),
    ];
    assert_eq!(told, expected.into());

    let of_one = entries(&edge, &format!("entity={about}"), 200).await;
    let kinds: BTreeSet<&str> = of_one.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["change", "login", "read", "refusal"]));
    let created = of_one.iter().find(|entry| entry["action"] == "data_collector_created").expect("the change");
    let position = created["position"].as_i64().unwrap();
    assert_eq!(edge.get(&format!("/api/v1/events/{position}")).await.1["event"]["type"], "data_collector_created");

    let rows = "select coalesce(string_agg(r::text, ' '), '') from access_records r";
    let text: String = edge.database.pool.get().await.unwrap().query_one(rows, &[]).await.unwrap().get(0);
    assert!(!["Li", "secret", "guess", "li's", &*token].iter().any(|told| text.contains(told)), "more than ids and routes: {text}");
}

const OWN_PASSWORD: &str = "a password of one's own";

/// What is told of how logins began and ended: kind, who did it, whose login it was, and how it was proven.
async fn logins(edge: &TestEdge, query: &str) -> Vec<[String; 4]> {
    let mut found = entries(edge, &format!("kind=login,session_end,password_change&{query}"), 200).await;
    found.reverse();
    let told = |entry: &Value| ["kind", "actor", "entity", "login_method"].map(|key| entry[key].as_str().unwrap_or_default().to_owned());
    found.iter().map(told).collect()
}

fn entry(kind: &str, actor: &str, entity: &str, method: &str) -> [String; 4] {
    [kind, actor, entity, method].map(str::to_owned)
}

#[tokio::test]
async fn who_signed_in_and_who_ended_that_is_told() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let account = json!({"login_name": "ann", "name": "A", "role": "auditor", "password": OWN_PASSWORD});
    let account = number(&edge.create("/api/v1/accounts", account).await["id"]);
    let (ann, anns) = (format!("user:auditor:{account}"), format!("account/{account}"));
    let (li, lis) = (format!("user:collector:{}", number(&seed.collector)), format!("data_collector/{}", number(&seed.collector)));
    let token = async |name: &str, password: &str| {
        let (status, answer) = edge.log_in(name, password).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let mut expected = vec![entry("login", "user:admin", "administrator/0", "password")];
    // Signing out ends the session of an account, once; a data collector's stays, as the contract has it.
    let (anns_token, lis_token) = (token("ann", OWN_PASSWORD).await, token("li", "li's password").await);
    expected.extend([entry("login", &ann, &anns, "password"), entry("login", &li, &lis, "password")]);
    for token in [&anns_token, &anns_token, &lis_token] {
        assert_eq!(edge.send_as(token, "POST", "/api/v1/auth/logout", Value::Null).await.0, 200);
    }
    expected.push(entry("session_end", &ann, &anns, ""));
    // By an administrator: one, then all, of which there are none the second time.
    let _signed_in = token("ann", OWN_PASSWORD).await;
    expected.push(entry("login", &ann, &anns, "password"));
    let (_, sessions) = edge.get(&format!("/api/v1/sessions?who=account:{account}")).await;
    let session = &sessions["items"][0]["id"];
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/sessions/{session}"), Value::Null).await.0, 204);
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/sessions/{session}"), Value::Null).await.0, 404);
    expected.push(entry("session_end", "user:admin", &anns, ""));
    for ended in [1, 0] {
        let who = format!("collector:{}", number(&seed.collector));
        let (_, answer) = edge.post("/api/v1/sessions/end", json!({ "who": who })).await;
        assert_eq!(answer["ended"], ended);
    }
    expected.push(entry("session_end", "user:admin", &lis, ""));
    // Another password; with a wrong one nothing happens.
    let anns_token = token("ann", OWN_PASSWORD).await;
    expected.push(entry("login", &ann, &anns, "password"));
    for (current, status) in [("a guess that is wrong", 401), (OWN_PASSWORD, 204)] {
        let change = json!({"current_password": current, "new_password": "quite another password"});
        assert_eq!(edge.send_as(&anns_token, "PUT", "/api/v1/auth/me/password", change).await.0, status);
    }
    expected.push(entry("password_change", &ann, &anns, ""));
    // Who tried, and whose account it was, where there is one.
    assert_eq!(edge.log_in("ann", OWN_PASSWORD).await.0, 401);
    assert_eq!(edge.log_in("ben", OWN_PASSWORD).await.0, 401);
    let refused = "kind=refusal&action=POST /api/v1/auth/login";
    until("the refusals", async || entries(&edge, refused, 200).await.len() == 2).await;
    let tried: Vec<Option<String>> =
        entries(&edge, refused, 200).await.iter().map(|entry| entry["entity"].as_str().map(str::to_owned)).collect();
    assert_eq!(tried, [None, Some(anns.clone())]);
    until("all logins", async || logins(&edge, "").await.len() >= expected.len()).await;
    assert_eq!(logins(&edge, "").await, expected);
    // All that is known of one person, and where it came from.
    let of_ann: Vec<_> = expected.iter().filter(|entry| entry[2] == anns).cloned().collect();
    assert_eq!(logins(&edge, &format!("entity={anns}&address=127.0.0.1")).await, of_ann);
    let export = edge.request(&edge.admin, "GET", "/api/v1/audit/export?format=csv&kind=login").send().await.unwrap().text().await.unwrap();
    assert!(export.lines().next().is_some_and(|head| head.ends_with(",login_method")), "{export}");
    assert_eq!(export.lines().filter(|line| line.ends_with(",password")).count(), 5, "{export}");
    let rows = "select coalesce(string_agg(r::text, ' '), '') from access_records r";
    let text: String = edge.database.pool.get().await.unwrap().query_one(rows, &[]).await.unwrap().get(0);
    assert!(!["ann", "ben", "li's", "guess", OWN_PASSWORD, &*anns_token].iter().any(|told| text.contains(told)), "more than ids: {text}");
}

#[tokio::test]
async fn a_key_at_an_address_where_it_was_not_seen_before_is_told_once() {
    let edge = TestEdge::start().await;
    let here = number(&edge.seed().await.factory);
    let issued = edge.create("/api/v1/api-keys", json!({"name": "MES", "role": "production_manager", "factories": [here]})).await;
    let key = issued["api_key"].as_str().unwrap();
    let (actor, entity) = (format!("key:production_manager:{}", number(&issued["id"])), format!("api_key/{}", number(&issued["id"])));
    let addresses = ["10.1.0.1", "10.1.0.2", "10.1.0.1", "10.1.0.3"];
    for address in addresses {
        // What is of the whole site is refused, and the key was shown there all the same.
        let (path, status) = if address == "10.1.0.3" { ("/api/v1/sync/config", 403) } else { ("/api/v1/orders", 200) };
        assert_eq!(edge.send_from(address.parse().unwrap(), key, "GET", path, &Value::Null).await.0, status);
        // A key that is none, and one of another server.
        let wrong = format!("{key}x");
        assert_eq!(edge.send_from("10.1.0.9".parse().unwrap(), &wrong, "GET", "/api/v1/orders", &Value::Null).await.0, 401);
    }
    let of_the_key = format!("entity={entity}");
    until("three logins", async || logins(&edge, &of_the_key).await.len() >= 3).await;
    assert_eq!(logins(&edge, &of_the_key).await, [(); 3].map(|()| entry("login", &actor, &entity, "api_key")));
    for address in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
        assert_eq!(logins(&edge, &format!("{of_the_key}&address={address}")).await.len(), 1, "{address}");
    }
    // Another process has not seen it, and the records have. Where the key was the time before needs none.
    let id = keystone_edge::domain::ApiKeyId(number(&issued["id"]));
    let whose = keystone_edge::projections::reads::credentials::Subject::stored("api_key", id.0).unwrap();
    for (address, new) in [("10.1.0.1", false), ("10.1.0.2", false), ("10.1.0.4", true), ("10.1.0.4", false)] {
        let found = edge.commands.note_api_key_use(id, whose, Some(address.parse().unwrap())).await.unwrap();
        assert_eq!(found, new, "{address}");
    }
    assert!(!edge.commands.note_api_key_use(id, whose, None).await.unwrap());
}

#[tokio::test]
async fn each_filter_finds_what_looking_through_all_entries_finds() {
    let Looked { edge, collector, .. } = Looked::new().await;
    // What this test reads itself comes later.
    let all: Vec<Value> = entries(&edge, "", 200).await;
    let newest = all[0]["occurred_at"].as_str().unwrap().to_owned();
    let middle = all[all.len() / 2]["occurred_at"].as_str().unwrap().to_owned();
    let about = format!("data_collector/{collector}");
    let said = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    type Matches<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let searches: Vec<(String, Matches<'_>)> = vec![
        (String::new(), Box::new(|_| true)),
        ("kind=change".into(), Box::new(|e| e["kind"] == "change")),
        ("kind=read,refusal".into(), Box::new(|e| e["kind"] == "read" || e["kind"] == "refusal")),
        ("actor=user:admin".into(), Box::new(|e| e["actor"] == "user:admin")),
        ("kind=login,session_end".into(), Box::new(|e| e["kind"] == "login")),
        ("actor=anonymous".into(), Box::new(|e| e["actor"] == "anonymous")),
        ("action=order_*".into(), Box::new(|e| said(e, "action").starts_with("order_"))),
        (
            "action=GET /api/v1/orders,skill_created".into(),
            Box::new(|e| ["GET /api/v1/orders", "skill_created"].contains(&&*said(e, "action"))),
        ),
        ("address=127.0.0.1".into(), Box::new(|e| e["source_address"] == "127.0.0.1")),
        ("address=10.9.9.9".into(), Box::new(|_| false)),
        ("entity=nothing/7".into(), Box::new(|_| false)),
        (
            format!("entity={about}&kind=read,refusal"),
            Box::new(|e| e["entity"] == about && ["read", "refusal"].contains(&&*said(e, "kind"))),
        ),
        (format!("since={middle}"), Box::new(|e| said(e, "occurred_at") >= middle)),
        (
            format!("kind=change&actor=user:admin&address=127.0.0.1&until={middle}"),
            Box::new(|e| e["kind"] == "change" && e["actor"] == "user:admin" && said(e, "occurred_at") < middle),
        ),
    ];
    for (query, matches) in searches {
        let query = if query.contains("until") { query } else { format!("{query}&until={newest}") };
        let expected: Vec<Value> = all.iter().filter(|e| said(e, "occurred_at") < newest && matches(e)).cloned().collect();
        for limit in [2, 200] {
            assert_eq!(entries(&edge, &query, limit).await, expected, "{query} by {limit}");
        }
    }
    for (query, field) in [
        ("kind=theft", "kind"),
        ("action=exploded", "action"),
        ("entity=episode", "entity"),
        ("address=here", "address"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("after=x", "after"),
        ("colour=red", "colour"),
    ] {
        let (status, refused) = edge.get(&format!("/api/v1/audit?{query}")).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)), "{query}: {refused}");
    }
}

#[tokio::test]
async fn an_export_is_the_whole_list_however_long_it_is() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    note_all(&edge.database).await;
    let record = |n: i64| AccessRecord {
        occurred_at: chrono::DateTime::from_timestamp(1_760_000_000 + n / 3, 0).unwrap(),
        kind: AccessKind::Download,
        actor: "user:admin".into(),
        login: "admin".into(),
        role: "admin",
        action: "GET /api/v1/storage/object".into(),
        entity: Some(format!("object/={n}")),
        status: 206,
        source_address: Some("10.0.0.1".into()),
        request_id: format!("r{n}"),
        login_method: None,
    };
    let records: Vec<AccessRecord> = (0..1_700).map(record).collect();
    edge.commands.keep_access_records(&records).await.unwrap();
    let all = entries(&edge, "until=2100-01-01T00:00:00Z", 200).await;
    let text = async |format: &str| {
        let path = format!("/api/v1/audit/export?format={format}&kind=change,download");
        let answer = edge.request(&edge.admin, "GET", &path).send().await.unwrap();
        (answer.headers()["content-disposition"].to_str().unwrap().to_owned(), answer.text().await.unwrap())
    };
    let (name, lines) = text("ndjson").await;
    assert_eq!(name, "attachment; filename=\"audit.ndjson\"");
    let told: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|entry: &Value| entry["action"] != "GET /api/v1/audit/export")
        .collect();
    let expected: Vec<Value> = all.into_iter().filter(|entry| ["change", "download"].contains(&entry["kind"].as_str().unwrap())).collect();
    assert!(told == expected && told.len() > 1_700, "{} and {}", told.len(), expected.len());
    let (name, table) = text("csv").await;
    assert!(name.ends_with("\"audit.csv\"") && table.starts_with("occurred_at,kind,actor,login,role,action,entity,"), "{name}");
    assert!(table.lines().count() > 1_700 && table.contains(",object/=7,"));
}

/// Beside a million rows the planner would like to sort.
#[tokio::test]
async fn a_page_is_read_from_an_index_whatever_is_asked_for() {
    let edge = TestEdge::start().await;
    let client = edge.database.pool.get().await.unwrap();
    let fill = "insert into access_records (occurred_at, kind, actor, login, role, action, entity, status, source_address, request_id)
        select '2026-01-01'::timestamptz + n * interval '1 second', case when n % 1000 = 0 then 'refusal' else 'read' end, 'user:collector:' || n % 500,
            'x', 'admin', 'GET /' || n % 20, 'episode/' || n % 5000, 200, '10.0.0.' || n % 200, 'r' from generate_series(1, 60000) n";
    client.batch_execute(&format!("{fill}; analyze access_records")).await.unwrap();
    let (_, statement) = reads::statements().into_iter().find(|(name, _)| *name == "access records").unwrap();
    let (none, all) = ("null::text", "null::text[]");
    for (kinds, actor, actions, entity, address) in [
        (all, none, all, none, none),
        ("array['refusal']", none, all, none, none),
        (all, "'user:collector:7'", all, none, none),
        (all, none, "array['GET /3']", none, none),
        (all, none, all, "'episode/77'", none),
        (all, none, all, none, "'10.0.0.3'"),
    ] {
        let instant = "null::timestamptz";
        let values = [kinds, actor, actions, entity, address, instant, instant, "'2026-01-01 10:00+00'::timestamptz", "9999999", "51"];
        let types = reads::parameter_types(&statement);
        assert_eq!(types.len(), values.len());
        let mut sql = statement.clone();
        for (n, value) in values.iter().enumerate().rev() {
            sql = sql.replace(&format!("${}", n + 1), value);
        }
        let plan: Value = client.query_one(&format!("explain (analyze, buffers, format json) {sql}"), &[]).await.unwrap().get(0);
        let blocks: i64 = ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|key| plan[0]["Plan"][*key].as_i64().unwrap()).sum();
        assert!(blocks < 400 && !plan.to_string().contains("Seq Scan"), "{values:?}: {blocks} blocks, {plan:#}");
    }
}

#[tokio::test]
async fn records_go_when_they_are_old_and_change_never() {
    let edge = TestEdge::start().await;
    let record = |days: i64| AccessRecord {
        occurred_at: chrono::Utc::now() - chrono::TimeDelta::days(days),
        kind: AccessKind::Read,
        actor: "user:admin".into(),
        login: "admin".into(),
        role: "admin",
        action: "GET /api/v1/inspectors".into(),
        entity: None,
        status: 200,
        source_address: None,
        request_id: days.to_string(),
        login_method: None,
    };
    edge.commands.keep_access_records(&[record(0), record(30), record(400)]).await.unwrap();
    edge.commands.sweep_access_records(Duration::from_secs(395 * 86_400), &CancellationToken::new()).await.unwrap();
    assert_eq!(recorded_reads(&edge.database).await, 2);
    for refused in
        ["update access_records set actor = 'user:nobody'", "delete from access_records where request_id = '0'", "truncate access_records"]
    {
        let (client, connection) = tokio_postgres::connect(edge.database.superuser_url.expose(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let error = client.batch_execute(refused).await.expect_err(refused);
        assert!(
            error.as_db_error().is_some_and(|error| error.message().starts_with("records of access are never changed")),
            "{refused}: {error:?}"
        );
    }
    assert_eq!(recorded_reads(&edge.database).await, 2);
}

/// What was written before the death stays, an orderly stop loses none, and the log tells changes in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_at_most_what_it_had_not_written_and_a_stopped_one_nothing() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let login = json!({ "account": "admin", "password": PASSWORD });
    let login: Value = http.post(format!("{}/api/v1/auth/login", server.base())).json(&login).send().await.unwrap().json().await.unwrap();
    let token = login["access_token"].as_str().unwrap().to_owned();
    let read = async |base: String, id: String| {
        let answer =
            http.get(format!("{base}/api/v1/inspection/inspectors")).header("x-request-id", id).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let export = async |base: String, id: String| {
        let answer = http
            .get(format!("{base}/api/v1/audit/export?kind=refusal"))
            .header("x-request-id", id)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    };
    let pool = server.database().await;
    let kept = async |like: &str| -> i64 {
        let sql = "select count(distinct request_id) from access_records where request_id like $1";
        pool.get().await.unwrap().query_one(sql, &[&like]).await.unwrap().get(0)
    };
    read(server.base(), "before-1".into()).await;
    until("a record", async || kept("before-%").await == 1).await;
    export(server.base(), "before-2".into()).await;
    server.kill();

    server.start();
    server.ready().await;
    let pool = server.database().await;
    let kept = async |like: &str| -> i64 {
        let sql = "select count(distinct request_id) from access_records where request_id like $1";
        pool.get().await.unwrap().query_one(sql, &[&like]).await.unwrap().get(0)
    };
    assert!((1..=2).contains(&kept("before-%").await), "what was written is gone");
    for n in 0..200 {
        export(server.base(), format!("stopped-{n}")).await;
    }
    server.stop().await;
    server.start();
    server.ready().await;
    let pool = server.database().await;
    let sql = "select count(distinct request_id) from access_records where request_id like 'stopped-%'";
    let all: i64 = pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(all, 200);
}
