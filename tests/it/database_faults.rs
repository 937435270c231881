//! What is answered while the database cannot, and that sessions which cannot do their work are not used again.

use serde_json::{Value, json};

use crate::harness::edge::{TestEdge, number};
use crate::harness::relay::Relay;
use crate::harness::{TestDatabase, address_of, until};

async fn answered(edge: &TestEdge, method: &str, path: &str, body: Value) -> (u16, Option<String>, Value) {
    let response = edge.request(&edge.admin, method, path).json(&body).send().await.expect("an answer");
    let retry = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
    (response.status().as_u16(), retry, response.json().await.unwrap_or(Value::Null))
}

/// Opens the whole pool.
async fn fill_the_pool(edge: &TestEdge) {
    let asked = (0..32).map(|_| edge.get("/api/v1/orders"));
    for (status, answer) in futures_util::future::join_all(asked).await {
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn while_the_database_only_reads_writes_are_unavailable_and_afterwards_the_pool_is_as_new() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let order =
        |n: usize| json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": format!("Order {n}"), "target_count": 1});
    edge.database.read_only(true).await;
    until("reads are answered by new sessions", async || edge.get("/api/v1/orders").await.0 == 200).await;
    fill_the_pool(&edge).await;
    let (status, retry, answer) = answered(&edge, "POST", "/api/v1/orders", order(0)).await;
    assert_eq!((status, &answer["code"], retry.as_deref()), (503, &json!("unavailable"), Some("2")), "{answer}");
    let database = async || edge.get("/api/v1/health").await.1["components"]["database"]["status"].clone();
    until("it is told as not well", async || database().await == "unhealthy").await;
    assert_eq!(edge.get("/api/v1/ready").await.0, 503);
    // Reads go on.
    fill_the_pool(&edge).await;

    edge.database.read_only(false).await;
    // The pool is full of sessions that only read.
    until("it is noticed", async || answered(&edge, "POST", "/api/v1/orders", order(33)).await.0 == 201).await;
    for n in 1..=32 {
        let (status, _, answer) = answered(&edge, "POST", "/api/v1/orders", order(n)).await;
        assert_eq!(status, 201, "{answer}");
    }
    until("it is told as well", async || database().await == "healthy").await;
}

#[tokio::test]
async fn a_plan_that_no_longer_fits_is_made_anew() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let factory = format!("/api/v1/factories/{}", number(&seed.factory));
    let read = async || {
        let asked = (0..32).map(|_| edge.get(&factory));
        futures_util::future::join_all(asked).await.into_iter().map(|(status, _)| status).collect::<Vec<_>>()
    };
    assert_eq!(read().await, [200; 32]);
    // As a migration does it under a running program.
    edge.database.as_superuser("alter table factories alter column name type varchar(400)").await;
    assert_eq!(edge.get(&factory).await.0, 200);
    assert_eq!(read().await, [200; 32]);

    // What commands prepare.
    for n in 0..4 {
        edge.create("/api/v1/factories", json!({"name": format!("Factory {n}")})).await;
    }
    edge.database.as_superuser("alter table events alter column event_version type varchar(40)").await;
    for n in 4..8 {
        edge.create("/api/v1/factories", json!({"name": format!("Factory {n}")})).await;
    }
}

async fn superuser(edge: &TestEdge) -> tokio_postgres::Client {
    let url = &edge.database.superuser_url;
    let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.expect("a superuser");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn a_read_that_was_cancelled_or_cut_off_may_be_asked_again() {
    let edge = TestEdge::start().await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        // In a transaction the view of who waits does not change.
        let [client, watcher] = [superuser(&edge).await, superuser(&edge).await];
        client.batch_execute("begin; lock table orders in access exclusive mode").await.unwrap();
        let ending = async {
            let waits =
                format!("select {function}(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()");
            until("the read waits", async || !watcher.query(&waits, &[]).await.unwrap().is_empty()).await;
        };
        let (answer, ()) = tokio::join!(answered(&edge, "GET", "/api/v1/orders", Value::Null), ending);
        let (status, retry, answer) = answer;
        assert_eq!((status, &answer["code"], retry.as_deref()), (503, &json!("unavailable"), Some("2")), "{function}: {answer}");
        client.batch_execute("rollback").await.unwrap();
        until("reads are answered", async || edge.get("/api/v1/orders").await.0 == 200).await;
    }
}

#[tokio::test]
async fn a_server_that_gives_no_connection_is_unavailable() {
    let edge = TestEdge::start().await;
    let (_, name) = edge.database.url.expose().rsplit_once('/').unwrap();
    edge.database.as_superuser(&format!("alter database {name} connection limit 0")).await;
    let ended = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()");
    edge.database.as_superuser(&ended).await;
    for (method, path) in [("GET", "/api/v1/orders"), ("POST", "/api/v1/factories")] {
        let (status, retry, answer) = answered(&edge, method, path, json!({"name": "None"})).await;
        assert_eq!((status, &answer["code"], retry.as_deref()), (503, &json!("unavailable"), Some("2")), "{path}: {answer}");
    }
    edge.database.as_superuser(&format!("alter database {name} connection limit -1")).await;
    until("it answers again", async || edge.get("/api/v1/orders").await.0 == 200).await;
}

/// Makes something whose row cannot be read after the commit; answers its id.
async fn made_unread(edge: &TestEdge, relay: &Relay, method: &str, path: &str, body: Value) -> Value {
    let send = async || {
        let key = format!("{path} {body}").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let request = edge.request(&edge.admin, method, path).header("idempotency-key", &key[..key.len().min(200)]).json(&body);
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    relay.cut_after_commit();
    let (status, answer) = send().await;
    relay.pass_new();
    assert_eq!(status, if method == "POST" { 201 } else { 200 }, "{path}: {answer}");
    let thing = |answer: &Value| if path.ends_with("/batches") { answer["batch"].clone() } else { answer.clone() };
    let id = thing(&answer)["id"].clone();
    assert_eq!(thing(&answer).as_object().map(serde_json::Map::len), Some(1), "{path} was read back, and nothing was tested: {answer}");
    let found = if method == "POST" { format!("{path}/{}", number(&id)) } else { path.to_owned() };
    until("it can be read", async || edge.get(&found).await.0 == 200).await;
    if method == "POST" {
        // The same request again shows it as it is now, and makes nothing new.
        let (status, again) = send().await;
        assert_eq!((status, &thing(&again)["id"], thing(&again)["created_at"].is_string()), (201, &id, true), "{path}: {again}");
    }
    id
}

#[tokio::test]
async fn what_was_committed_is_a_success_even_if_it_cannot_be_read_back() {
    let direct = TestDatabase::new().await;
    let relay = Relay::to(address_of(&direct.url));
    let edge = TestEdge::start_on(direct.behind(&relay), |_| {}).await;
    let seed = edge.seed().await;
    let make = async |resource: &str, body: Value| made_unread(&edge, &relay, "POST", &format!("/api/v1/{resource}"), body).await;

    make("factories", json!({"name": "Unread"})).await;
    make("organizations", json!({"factory_id": seed.factory, "name": "Unread"})).await;
    make("scenes", json!({"factory_id": seed.factory, "name": "unread"})).await;
    make("subscenes", json!({"scene_id": seed.scene, "name": "unread"})).await;
    make("skills", json!({"slug": "unread"})).await;
    make("sops", json!({"slug": "unread", "skill_sequence": []})).await;
    make("robot_types", json!({"name": "Arm", "model": "arm-77", "ros_topics": []})).await;
    let robot = json!({"robot_type_id": seed.robot_type.to_string(), "factory_id": seed.factory, "device_id": "AB-F0001-T0001-000077"});
    let robot = make("robots", robot).await;
    let collector = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
    let collector = make("data_collectors", collector).await;
    make("stations", json!({"robot_id": robot, "data_collector_id": collector})).await;
    make("orders", json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "Unread", "target_count": 1})).await;
    make("batches", seed.batch(1)).await;
    let order = format!("/api/v1/orders/{}", number(&seed.order));
    made_unread(&edge, &relay, "PUT", &order, json!({"name": "Renamed"})).await;
    assert_eq!(edge.get(&order).await.1["name"], "Renamed");

    let task = number(&edge.create("/api/v1/batches", seed.batch(1)).await["tasks"][0]["id"]);
    let path = format!("/api/v1/tasks/{task}");
    relay.cut_after_commit();
    let ended = edge.post(&format!("{path}/fail"), json!({"reason": "scrapped"})).await;
    relay.pass_new();
    assert_eq!(ended, (200, json!({"id": task, "status": "failed"})), "and it was not read back");
    until("it can be read", async || edge.get(&path).await.0 == 200).await;
    assert_eq!(edge.get(&path).await.1["status"], "failed");
}
