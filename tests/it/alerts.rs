//! What a person has to look at, and how deliveries go, is seen over the API, with the real program and its own Postgres.

use keystone_edge::domain::alert::{ALERTS, AlertName};
use keystone_edge::domain::routing::SubscriberName;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use serde_json::Value;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{temp_folder, until};

async fn alerts(client: &Client) -> Value {
    client.get("/alerts").await.expect("an answer")
}

fn named(alerts: &Value, name: AlertName) -> Option<Value> {
    alerts["items"].as_array().unwrap().iter().find(|alert| alert["name"] == name.as_str()).cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_stop_are_an_alert_until_they_go_on() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let made = factory::seed(&client, "Alerting", 1).await.unwrap();
    let order = factory::place_order(&client, &made, "quiet", 6).await.unwrap();
    factory::dispatch(&client, &made, order, &made.stations[0], 6).await.unwrap();
    until("figures", async || !alerts(&client).await["looked_at"].is_null()).await;
    // The disk may be as full as it likes.
    assert_eq!(named(&alerts(&client).await, AlertName::NoUploads), None);
    let database = server.database().await;
    let run = async |sql: &str| {
        database.get().await.unwrap().batch_execute(sql).await.unwrap();
    };
    run("update stations set status = 'active', updated_at = now() - interval '31 minutes'; update tasks set status = 'uploading'").await;
    until("two alerts", async || {
        let alerts = alerts(&client).await;
        named(&alerts, AlertName::NoUploads).is_some() && named(&alerts, AlertName::UploadQueueLong).is_some()
    })
    .await;
    let shown = alerts(&client).await;
    let none = named(&shown, AlertName::NoUploads).unwrap();
    let meant = ALERTS.iter().find(|alert| alert.name == AlertName::NoUploads).unwrap();
    assert_eq!((&none["state"], &none["severity"]), (&Value::from("pending"), &Value::from("critical")));
    assert_eq!((&none["threshold"], &none["summary"]), (&Value::from(1_800.0), &Value::from(meant.summary)));
    assert!(none["figure"].as_f64().unwrap() > 1_800.0, "{none}");
    assert_eq!(named(&shown, AlertName::UploadQueueLong).unwrap()["figure"], 6.0);
    let page = reqwest::get(format!("{}/metrics", server.base())).await.unwrap().text().await.unwrap();
    assert!(page.contains("keystone_uploads_waiting 6") && page.contains("keystone_disk_free_ratio 0."), "{page}");
    run("update stations set updated_at = now(); update tasks set status = 'completed'").await;
    until("none of them", async || {
        let alerts = alerts(&client).await;
        named(&alerts, AlertName::NoUploads).is_none() && named(&alerts, AlertName::UploadQueueLong).is_none()
    })
    .await;
    let outbox = client.get("/outbox/subscribers").await.expect("an answer");
    let names: Vec<&str> = outbox["items"].as_array().unwrap().iter().filter_map(|one| one["subscriber"].as_str()).collect();
    let mut all: Vec<&str> = SubscriberName::ALL.iter().map(|name| name.as_str()).collect();
    all.sort_unstable();
    assert_eq!(names, all);
    assert!(!outbox["looked_at"].is_null(), "{outbox}");
    let counted = |one: &Value| one["waiting"].is_i64() && one["waiting_exceeded"] == false && one["oldest_s"].is_number();
    assert!(outbox["items"].as_array().unwrap().iter().all(counted), "{outbox}");
    server.stop().await;
}
