//! Machines whose clocks differ: processes go by the database's.

use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::json;

use crate::harness::bench::rpc_response;
use crate::harness::device::Socket;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};

/// The database of a machine whose clock is a day ahead of ours.
async fn a_day_ahead(database: &TestDatabase) {
    let (_, name) = database.url.expose().rsplit_once('/').expect("a url with a database");
    database
        .as_superuser(&format!(
            "create schema ahead; grant usage on schema ahead to public;
             create function ahead.clock_timestamp() returns timestamptz language sql as
                 $$ select pg_catalog.clock_timestamp() + interval '1 day' $$;
             alter database {name} set search_path = public, ahead, pg_catalog"
        ))
        .await;
}

#[tokio::test]
async fn a_command_is_sent_although_this_machines_clock_is_a_day_behind() {
    let (database, objects, folder) = (TestDatabase::new().await, TestObjects::new().await, temp_folder());
    a_day_ahead(&database).await;
    let mut server = Server::sharing(folder.path(), &database.url, &objects.s3.endpoint());
    server.settings.push(("KEYSTONE_SHUTDOWN_TIMEOUT", "3".to_owned()));
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Clocks", 1).await.expect("a factory");
    let device = made.stations[0].device_id.clone();
    let mut recorder = Socket::connect(&server.address(1), &format!("/recorder/{device}")).await;
    let asked = recorder.wait_for("get_state", |frame| frame["action"] == "get_state").await;
    recorder.send(&rpc_response(&asked, json!({"state": "idle"}))).await;
    // The robot's clock is right.
    let right = chrono::Utc::now() + chrono::TimeDelta::days(1);
    let data = json!({"previous": "idle", "current": "idle"});
    recorder.send(&json!({"type": "state_update", "timestamp": right.timestamp_millis(), "data": data})).await;
    until("the state is known", async || {
        let told = client.get(&format!("/recorder/{device}/state")).await;
        told.is_ok_and(|told| told["current_state"] == "idle")
    })
    .await;

    let (path, asker) = (format!("/recorder/{device}/clear"), client.clone());
    let asked = tokio::spawn(async move { asker.call(Method::POST, &path, Some(&json!({}))).await });
    let request = recorder.wait_for("the command", |frame| frame["action"] == "clear").await;
    let answer = json!({"type": "rpc_response", "request_id": request["request_id"], "success": true, "message": "ok"});
    recorder.send(&answer).await;
    let answered = asked.await.expect("an end").expect("an answer");
    assert_eq!((answered.status.as_u16(), &answered.body["success"]), (200, &json!(true)), "{}", answered.body);

    // What is stored is of the database's day, so that others can compare.
    let row = database.pool.get().await.expect("a connection");
    let sql =
        "select count(*) from events where (metadata ->> 'occurred_at')::timestamptz < pg_catalog.clock_timestamp() + interval '23 hours'";
    assert_eq!(row.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0), 0);
}
