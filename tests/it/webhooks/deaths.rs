//! The death of a delivery is told of, once, and a notice that dies itself makes no letter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystone_edge::outbox::{DeadReason, Settlement};
use keystone_edge::projections::rebuild::rebuild;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{Site, ids};
use crate::outbox::{number, rows, settle_one, take, until_empty};

const PATH: &str = "/api/v1/dead-letters";
const LETTERS: &str = "select count(*) from dead_letters";
const DEATHS: &str = "select count(*) from events where event_type = 'delivery_died'";

#[tokio::test]
async fn a_death_is_told_once_with_what_died_and_nothing_of_what_it_said() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    site.subscribe(&receiver.url("/"), json!({ "event_types": ["delivery_died"] })).await;
    let pool = site.edge.database.pool.clone();
    rows("a", 1..=1).queue(&pool).await;
    let row = take(&pool, 60_000, 1).await.remove(0);
    let dead = Settlement::Dead { reason: DeadReason::PermanentError, error: "hush".into(), blocks_stream: false };
    settle_one(&pool, &row, dead.clone()).await;
    // Two processes look at the same time.
    let (one, two) = tokio::join!(site.edge.commands.tell_deaths(), site.edge.commands.tell_deaths());
    assert_eq!(one.unwrap() + two.unwrap(), 1);
    assert_eq!(site.edge.commands.tell_deaths().await.unwrap(), 0);
    site.place().await;
    let running = site.dispatcher();
    until_empty(&pool).await;
    running.stop().await;
    let told = receiver.bodies().remove(0);
    assert_eq!((&told["type"], &told["stream"]), (&json!("delivery_died"), &json!("dead_letter/1")));
    assert_eq!(
        told["data"],
        json!({ "subscriber": "upload_verification", "event_id": "order/a/1", "event_type": "order_started", "destination": null,
                "reason": "permanent_error", "attempts": 1 })
    );
    assert!(!receiver.heard()[0].raw.contains("hush"));
    let position = told["position"].as_i64().unwrap();
    let (_, story) = site.edge.get(&format!("/api/v1/events/{position}")).await;
    assert_eq!((&story["causes"][0]["event_id"], &story["event"]["causation_depth"]), (&json!("order/a/1"), &json!(1)));
    let (_, letter) = site.edge.get(&format!("{PATH}/1")).await;
    assert_eq!((&letter["acts"][0]["event_type"], &letter["notification_failed"]), (&json!("delivery_died"), &json!(false)));

    // The same letter dies again: that is told again.
    assert_eq!(site.edge.post(&format!("{PATH}/1/replay"), Value::Null).await.0, 200);
    let row = take(&pool, 60_000, 1).await.remove(0);
    settle_one(&pool, &row, dead).await;
    assert_eq!(site.edge.commands.tell_deaths().await.unwrap(), 1);
    assert_eq!((number(&pool, LETTERS).await, number(&pool, DEATHS).await), (1, 2));
    assert_eq!(rebuild(&pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_notice_that_dies_marks_the_letter_and_ends_there() {
    let mut site = Site::new().await;
    let broken = Arc::new(AtomicBool::new(true));
    let receiver = Receiver::start({
        let broken = broken.clone();
        move |_| if broken.load(Ordering::SeqCst) { 500 } else { 200 }
    })
    .await;
    // It wants everything, also what its own failures lead to.
    let (id, _) =
        site.subscribe(&receiver.url("/"), json!({ "event_types": ["order_*", "delivery_died"], "delivery": { "attempts_max": 1 } })).await;
    let pool = site.edge.database.pool.clone();
    site.happen("a", 1..=1).await;
    let running = site.dispatcher();
    for _ in 0..5 {
        site.place().await;
        until_empty(&pool).await;
        site.edge.commands.tell_deaths().await.unwrap();
    }
    assert_eq!((number(&pool, LETTERS).await, number(&pool, DEATHS).await), (1, 1), "no circle");
    assert_eq!(ids(&receiver.bodies()), ["order/a/1", "dead_letter/1/1"]);
    let (_, found) = site.edge.get(&format!("{PATH}?notification_failed=true")).await;
    assert_eq!((&found["total"], &found["items"][0]["notification_failed"]), (&json!(1), &json!(true)));
    assert_eq!(site.edge.get(&format!("{PATH}?notification_failed=false")).await.1["total"], 0);
    // What died is not told by a replay of the subscription: its letter is replayed.
    let position = number(&pool, "select position from log l join events e on e.seq = l.seq where e.aggregate_id = 'a'").await;
    let refused = site.ask(id, "redeliver", json!({ "position": position })).await;
    assert_eq!((refused.0, &refused.1["code"], &refused.1["dead_letter_id"]), (409, &json!("letter_unresolved"), &json!("1")));
    assert_eq!(site.ask(id, "replay", json!({ "from_position": position, "to_position": position })).await.0, 202);
    site.place().await;
    assert_eq!(number(&pool, "select count(*) from outbox").await, 0);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(site.edge.post(&format!("{PATH}/1/replay"), Value::Null).await.0, 200);
    until_empty(&pool).await;
    running.stop().await;
    assert_eq!(ids(&receiver.bodies()), ["order/a/1", "dead_letter/1/1", "order/a/1"]);
}

#[tokio::test]
async fn what_was_told_of_later_events_meanwhile_is_said_when_a_letter_is_replayed() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|heard| if heard.body()["id"] == "order/a/1" { 500 } else { 200 }).await;
    site.subscribe(&receiver.url("/"), json!({ "delivery": { "attempts_max": 1 } })).await;
    site.happen("a", 1..=3).await;
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    site.happen("a", 4..=4).await;
    site.place().await;
    let (status, replayed) = site.edge.post(&format!("{PATH}/1/replay"), Value::Null).await;
    assert_eq!((status, &replayed["delivered_later"]), (200, &json!(["order/a/2", "order/a/3"])), "the fourth waits: {replayed}");
}
