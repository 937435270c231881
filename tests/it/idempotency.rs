//! The same request again gives the first answer again: whoever repeats it, whenever it was
//! interrupted, however often.

use std::sync::Arc;

use keystone_edge::commands::idempotency::{IdempotencyKey, KeptAnswer};
use serde_json::{Value, json};

use crate::dead_letters::with_letters;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::temp_folder;

struct Sent {
    status: u16,
    replayed: bool,
    body: String,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

async fn post_as(edge: &TestEdge, token: &str, path: &str, key: &str, body: &Value) -> Sent {
    let response = edge.request(token, "POST", path).header("Idempotency-Key", key).json(body).send().await.expect("an answer");
    let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    Sent { status: response.status().as_u16(), replayed, body: response.text().await.expect("a body") }
}

async fn post(edge: &TestEdge, path: &str, key: &str, body: &Value) -> Sent {
    post_as(edge, &edge.admin, path, key, body).await
}

fn order(seed: &Seed, name: &str) -> Value {
    json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": name, "target_count": 3})
}

async fn count(edge: &TestEdge, sql: &str) -> i64 {
    edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_byte_by_byte() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let first = post(&edge, "/api/v1/orders", "k1", &order(&seed, "Bowls")).await;
    assert_eq!((first.status, first.replayed), (201, false), "{}", first.body);
    // The order changes meanwhile; the answer does not.
    let path = format!("/api/v1/orders/{}", number(&first.json()["id"]));
    edge.send_as(&edge.admin, "PUT", &path, json!({"priority": "urgent"})).await;
    let again = post(&edge, "/api/v1/orders", "k1", &order(&seed, "Bowls")).await;
    assert_eq!((again.status, again.replayed, &again.body), (201, true, &first.body));
    assert_eq!(count(&edge, "select count(*) from orders").await, 2);
    // Without a key the same request is another one.
    let (status, refused) = edge.post("/api/v1/orders", order(&seed, "Bowls")).await;
    assert_eq!((status, &refused["code"]), (400, &json!("name_taken")));
}

#[tokio::test]
async fn the_same_key_for_another_body_is_a_mistake() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    post(&edge, "/api/v1/orders", "k1", &order(&seed, "Bowls")).await;
    let other = post(&edge, "/api/v1/orders", "k1", &order(&seed, "Plates")).await;
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("idempotency_key_reused")));
    // For another route it is another key.
    let batch = post(&edge, "/api/v1/batches", "k1", &seed.batch(1)).await;
    assert_eq!(batch.status, 201, "{}", batch.body);
    for bad in ["a b", &"x".repeat(256)] {
        let refused = post(&edge, "/api/v1/orders", bad, &order(&seed, "Plates")).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("idempotency_key_invalid")), "{bad}");
    }
    assert_eq!(count(&edge, "select count(*) from orders").await, 2);
}

#[tokio::test]
async fn a_key_belongs_to_who_uses_it() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let batch = post(&edge, "/api/v1/batches", "k", &seed.batch(2)).await.json();
    let path = format!("/api/v1/batches/{}/complete-tasks", number(&batch["batch"]["id"]));
    let done = json!({"sop_id": number(&seed.sop), "subscene_id": number(&seed.subscene)});
    let token = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    let refused = post(&edge, &path, "k", &done).await;
    assert_eq!(refused.status, 403);
    let first = post_as(&edge, &token, &path, "k", &done).await;
    let again = post_as(&edge, &token, &path, "k", &done).await;
    assert_eq!((first.status, again.status, again.replayed), (200, 200, true), "{}", first.body);
    assert_eq!(again.body, first.body);
    assert_eq!(count(&edge, "select completed_count from batches").await, 1);
}

#[tokio::test]
async fn a_refusal_that_a_rule_decided_is_given_again() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let refused = post(&edge, "/api/v1/batches", "k", &seed.batch(9)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("quota_exceeded")));
    edge.send_as(&edge.admin, "PUT", &format!("/api/v1/orders/{}", number(&seed.order)), json!({"target_count": 50})).await;
    let again = post(&edge, "/api/v1/batches", "k", &seed.batch(9)).await;
    assert_eq!((again.status, again.replayed, &again.body), (400, true, &refused.body));
    assert_eq!(post(&edge, "/api/v1/batches", "k2", &seed.batch(9)).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_with_one_key_are_one_change_and_one_answer() {
    let edge = Arc::new(TestEdge::start().await);
    let seed = edge.seed().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (edge, body) = (edge.clone(), order(&seed, "Bowls"));
        asking.spawn(async move { post(&edge, "/api/v1/orders", "k", &body).await });
    }
    let answers = asking.join_all().await;
    let ids: std::collections::BTreeSet<String> = answers.iter().map(|sent| sent.json()["id"].to_string()).collect();
    assert!(answers.iter().all(|sent| sent.status == 201), "{:?}", answers.iter().map(|sent| &sent.body).collect::<Vec<_>>());
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(count(&edge, "select count(*) from orders").await, 2);
}

/// What can be done once only is refused to whom comes second; the same request is not a second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_with_one_key_get_one_answer_where_a_rule_forbids_a_second_time() {
    let edge = Arc::new(with_letters(&["a", "b"]).await);
    for (path, body) in
        [("/api/v1/dead-letters/1/resolve", json!({ "reason": "the robot is gone" })), ("/api/v1/dead-letters/2/replay", json!({}))]
    {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (edge, body) = (edge.clone(), body.clone());
            asking.spawn(async move { post(&edge, path, "k", &body).await });
        }
        let mut answers = asking.join_all().await;
        answers.push(post(&edge, path, "k", &body).await);
        let first = &answers[0];
        assert!(answers.iter().all(|sent| (sent.status, sent.json()) == (200, first.json())), "{path}: {:?}", first.body);
        assert_eq!(post(&edge, path, "another", &body).await.status, 409);
    }
    let done = "select count(*) from events where event_type in ('dead_letter_resolved', 'dead_letter_replayed')";
    assert_eq!(count(&edge, done).await, 2);
}

#[tokio::test]
async fn a_refusal_is_not_kept_for_a_request_that_was_done() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    post(&edge, "/api/v1/orders", "k", &order(&seed, "Bowls")).await;
    let client = edge.database.pool.get().await.unwrap();
    let row = client.query_one("delete from idempotency_keys where step = '' returning scope, fingerprint", &[]).await.unwrap();
    let fingerprint: [u8; 32] = row.get::<_, Vec<u8>>(1).try_into().unwrap();
    let key = IdempotencyKey { scope: row.get(0), key: "k".to_owned(), fingerprint };
    let answer = |status| KeptAnswer { status, content_type: "application/json".to_owned(), body: b"{}".to_vec() };
    edge.commands.keep_answer(&key, &answer(409)).await.unwrap();
    assert_eq!(edge.commands.kept_answer(&key).await.unwrap(), None);
    edge.commands.keep_answer(&key, &answer(201)).await.unwrap();
    assert_eq!(edge.commands.kept_answer(&key).await.unwrap(), Some(answer(201)));
    // Of a request that was not done it is the answer.
    let other = IdempotencyKey { key: "other".to_owned(), ..key };
    edge.commands.keep_answer(&other, &answer(409)).await.unwrap();
    assert_eq!(edge.commands.kept_answer(&other).await.unwrap(), Some(answer(409)));
}

#[tokio::test]
async fn a_crash_between_commit_and_answer_does_nothing_twice() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let first = post(&edge, "/api/v1/batches", "k", &seed.batch(2)).await;
    // What such a crash leaves: the outcome, without the answer.
    let client = edge.database.pool.get().await.unwrap();
    assert_eq!(client.execute("delete from idempotency_keys where step = ''", &[]).await.unwrap(), 1);
    let again = post(&edge, "/api/v1/batches", "k", &seed.batch(2)).await;
    assert_eq!((again.status, again.replayed, again.json()), (201, false, first.json()));
    assert_eq!(count(&edge, "select count(*) from tasks").await, 2);
    // And a crash before the commit leaves nothing: the request is done for the first time.
    let third = post(&edge, "/api/v1/batches", "k2", &seed.batch(1)).await;
    assert_eq!(third.status, 201);
}

#[tokio::test]
async fn after_a_day_a_key_is_new_again() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    post(&edge, "/api/v1/orders", "k", &order(&seed, "Bowls")).await;
    let client = edge.database.pool.get().await.unwrap();
    client.batch_execute("update idempotency_keys set created_at = created_at - interval '25 hours'").await.unwrap();
    let other = post(&edge, "/api/v1/orders", "k", &order(&seed, "Plates")).await;
    assert_eq!((other.status, other.replayed), (201, false), "{}", other.body);
    assert_eq!(post(&edge, "/api/v1/orders", "k", &order(&seed, "Plates")).await.body, other.body);
    client.batch_execute("update idempotency_keys set created_at = created_at - interval '25 hours'").await.unwrap();
    assert!(!edge.commands.forget_old_keys().await.unwrap());
    assert_eq!(count(&edge, "select count(*) from idempotency_keys").await, 0);
}

/// The real program, killed at random moments while orders are placed; whoever gets no answer asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_the_server_places_each_order_once() {
    const ORDERS: usize = 60;
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let base = server.base();
    let send = async |token: &str, path: &str, key: Option<&str>, body: &Value| {
        let mut request = http.post(format!("{base}{path}")).timeout(std::time::Duration::from_secs(5)).json(body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json::<Value>().await.ok()?))
    };
    let login = json!({"account": "admin", "password": PASSWORD});
    let token = send("", "/api/v1/auth/login", None, &login).await.expect("a login").1["access_token"].as_str().unwrap().to_owned();
    let made = async |path: &str, body: Value| send(&token, path, None, &body).await.expect("an answer").1["id"].clone();
    let factory = made("/api/v1/factories", json!({"name": "F"})).await;
    let organization = made("/api/v1/organizations", json!({"factory_id": factory, "name": "O"})).await;
    let scene = made("/api/v1/scenes", json!({"factory_id": factory, "name": "S"})).await;

    let (mut lives, mut repeats) = (1, 0);
    for n in 0..ORDERS {
        let body = json!({"organization_id": organization, "scene_id": scene, "name": format!("Order {n}"), "target_count": 1});
        let key = format!("key-{n}");
        if n % 12 == 6 {
            // Some of these are in flight when it dies, at whatever point.
            let pause = std::time::Duration::from_micros(rand::random_range(0..6000));
            let dying = async {
                tokio::time::sleep(pause).await;
                server.kill();
            };
            let (_, answer) = tokio::join!(dying, send(&token, "/api/v1/orders", Some(&key), &body));
            drop(answer);
            server.start();
            server.ready().await;
            lives += 1;
            repeats += 1;
        }
        let (status, answer) = send(&token, "/api/v1/orders", Some(&key), &body).await.expect("an answer");
        assert_eq!(status, 201, "{answer}");
    }
    let pool = server.database().await;
    let orders: i64 = pool.get().await.unwrap().query_one("select count(*) from orders", &[]).await.unwrap().get(0);
    assert_eq!(orders, i64::try_from(ORDERS).unwrap(), "{lives} lives, {repeats} repeats");
}
