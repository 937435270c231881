//! Nothing of a secret or of a whole URL is seen anywhere but where it is kept, and in the answer to its making.

use serde_json::{Value, json};

use super::receiver::{Answer, Receiver};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};
use crate::outbox::number;

/// What stands in path and query of the receiver's URL.
const PATH_SECRET: &str = "path-hush-4711";
const QUERY_SECRET: &str = "query-hush-4711";

/// Rows of every table but those that keep secrets, as text.
async fn tables(database: &TestDatabase) -> Vec<(String, String)> {
    let client = database.pool.get().await.unwrap();
    let names =
        "select tablename::text from pg_tables where schemaname = 'public' and tablename not in ('webhook_targets', 'webhook_secrets')";
    let mut all = vec![];
    for row in client.query(names, &[]).await.unwrap() {
        let table: String = row.get(0);
        let rows = client.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        all.extend(rows.iter().map(|row| (format!("table {table}"), row.get::<_, String>(0))));
    }
    all
}

#[tokio::test]
async fn secrets_are_seen_nowhere() {
    let (database, objects, folder) = (TestDatabase::new().await, TestObjects::new().await, temp_folder());
    // It repeats what it was sent, as receivers do while they are being put up.
    let receiver =
        Receiver::answering(|heard| Answer { body: format!("cannot POST {}: {:?}", heard.path, heard.headers), ..Answer::of(500) }).await;
    let mut server = Server::sharing(folder.path(), &database.url, &objects.s3.endpoint());
    server.settings.extend([
        ("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.1".to_owned()),
        ("KEYSTONE_LOG", "debug,keystone_edge=trace,reqwest=trace,tokio_postgres=debug".to_owned()),
    ]);
    server.start();
    server.ready().await;
    let base = format!("{}/api/v1", server.base());
    let http = reqwest::Client::new();
    let login = json!({ "account": "admin", "password": PASSWORD });
    let login: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
    let login = login["access_token"].as_str().unwrap().to_owned();
    let send = async |method: &str, path: &str, body: Value| {
        let request = http.request(method.parse().unwrap(), format!("{base}{path}")).bearer_auth(&login);
        let request = if method == "POST" { request.header("idempotency-key", path) } else { request };
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };

    let delivery = json!({ "attempts_max": 2, "backoff": "fixed", "backoff_base_ms": 100, "backoff_cap_ms": 100 });
    let (url, dead) =
        (receiver.url(&format!("/{PATH_SECRET}?key={QUERY_SECRET}")), format!("http://127.0.0.1:1/{PATH_SECRET}?key={QUERY_SECRET}"));
    let refused = format!("https://10.9.8.7/{PATH_SECRET}?key={QUERY_SECRET}");
    let mut secrets = vec![];
    for url in [&url, &dead, &refused] {
        let body = json!({ "url": url, "event_types": ["factory_*", "delivery_died"], "delivery": delivery });
        let request = http
            .post(format!("{base}/subscriptions"))
            .bearer_auth(&login)
            .header("idempotency-key", format!("made-{}", secrets.len()))
            .json(&body);
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        secrets.push(made["secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned());
    }
    // The same request again gets the same answer.
    let body = json!({ "url": url, "event_types": ["factory_*", "delivery_died"], "delivery": delivery });
    let again = http.post(format!("{base}/subscriptions")).bearer_auth(&login).header("idempotency-key", "made-0").json(&body);
    let again: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["secret"], &again["id"]), (&json!(secrets[0]), &json!("1")));
    let (_, rotated) = send("POST", "/subscriptions/1/rotate-secret", Value::Null).await;
    secrets.push(serde_json::from_str::<Value>(&rotated).unwrap()["secret"].as_str().unwrap().to_owned());
    // On the command line, too.
    let (code, said) = server.tool(&["subscriptions", "create", "--url", &url, "--type", "order_*", "--per-stream"]).await;
    assert_eq!(code, 0, "{said}");
    secrets.push(said.split_whitespace().find(|word| word.starts_with("whsec_")).expect("a secret").trim_end_matches(',').to_owned());
    let mut by_hand = vec![];
    for arguments in [
        &["list"][..],
        &["show", "4"],
        &["test", "4"],
        &["pause", "4"],
        &["resume", "4"],
        &["deliveries", "1"],
        &["replay", "4", "--from-position", "1", "--to-position", "1"],
        &["delete", "4"],
        &["list", "--state", "ended"],
    ] {
        let (code, said) = server.tool(&[&["subscriptions"], arguments].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        by_hand.push((format!("keystone subscriptions {}", arguments[0]), said));
    }
    assert!(by_hand[0].1.contains("active") && by_hand[1].1.contains("per_stream") && by_hand[8].1.contains("ended"), "{by_hand:?}");
    assert_eq!(server.tool(&["subscriptions", "resume", "4"]).await.0, 1);
    let user_info = format!("http://user:{QUERY_SECRET}@a.example/");
    let (_, no_url) = send("POST", "/subscriptions", json!({ "url": user_info, "event_types": ["*"] })).await;
    send("PATCH", "/subscriptions/1", json!({ "url": format!("{url}&more=1") })).await;

    assert_eq!(send("POST", "/factories", json!({ "name": "Suzhou" })).await.0, 201);
    let pool = &database.pool;
    until("the deaths", async || number(pool, "select count(*) from dead_letters").await == 2).await;
    until("and their events", async || number(pool, "select count(*) from events where event_type = 'delivery_died'").await == 2).await;
    until("a try at the dead one", async || number(pool, "select count(*) from webhook_attempts where outcome = 'down'").await > 0).await;
    until("notices that died", async || number(pool, "select count(*) from dead_letters where notification_failed").await == 2).await;

    let mut seen = tables(&database).await;
    seen.extend(by_hand);
    for path in [
        "/subscriptions",
        "/subscriptions/1",
        "/subscriptions/1/deliveries",
        "/subscriptions/2/deliveries",
        "/subscriptions/3/deliveries",
        "/dead-letters",
        "/dead-letters/1",
        "/dead-letters/2",
        "/events?category=subscription&limit=100",
        "/events/export",
        "/events/export?format=csv",
    ] {
        let (status, text) = send("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}");
        seen.push((path.to_owned(), text));
    }
    seen.push(("a refusal".to_owned(), no_url));
    seen.push(("metrics".to_owned(), http.get(format!("{}/metrics", server.base())).send().await.unwrap().text().await.unwrap()));
    send("DELETE", "/subscriptions/1", Value::Null).await;
    server.stop().await;
    seen.push(("the log".to_owned(), server.log()));
    seen.extend(tables(&database).await);

    let hidden: Vec<&str> = secrets
        .iter()
        .flat_map(|secret| [secret.as_str(), secret.trim_start_matches("whsec_")])
        .chain([PATH_SECRET, QUERY_SECRET])
        .collect();
    for (place, text) in &seen {
        for secret in &hidden {
            let around = text.find(secret).map(|at| text.get(at.saturating_sub(200)..(at + 50).min(text.len())));
            assert_eq!(around, None, "`{secret}` is seen in {place}");
        }
    }
    // It would be seen.
    let told = |place: &str, what: &str| seen.iter().any(|(of, text)| of == place && text.contains(what));
    assert!(
        told("table webhook_attempts", "cannot POST") && told("the log", "dead_letters") || told("the log", "webhooks"),
        "nothing was looked at"
    );
    assert!(told("/dead-letters", "the receiver answered 500") && told("/dead-letters", "not public"));
    let kept = number(pool, &format!("select count(*) from webhook_targets where url like '%{PATH_SECRET}%{QUERY_SECRET}%'")).await;
    assert_eq!(kept, 2, "of the two that have not ended");
}
