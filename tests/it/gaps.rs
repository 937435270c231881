//! The gap ledger: what is missing in recordings, found by robot, topic, station, time and cause, with a guess of why.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::judging::TOPICS;

/// Ten messages a second of each topic for ten seconds, but for what is missing, and what the recorder says of its writing.
pub fn recorded(missing: impl Fn(&str, u64) -> bool, health: &Value) -> Recording {
    const STEPS: u64 = 100;
    let start = u64::try_from(chrono::Utc::now().timestamp_nanos_opt().expect("a time")).expect("after 1970") - 10_000_000_000;
    let mut writer = mcap::WriteOptions::new().profile("ros2").library("test").create(std::io::Cursor::new(vec![])).expect("a writer");
    let schema = writer.add_schema("geometry_msgs/msg/Pose", "ros2msg", b"float64 x").expect("a schema");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let channels = TOPICS.map(|topic| (topic, writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")));
    for step in 0..=STEPS {
        for (topic, channel_id) in channels.iter().filter(|(topic, _)| !missing(topic, step)) {
            let log_time = start + step * 100_000_000;
            let header = mcap::records::MessageHeader { channel_id: *channel_id, sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &[7; 40]).expect("a message");
            *counts.entry(topic).or_default() += 1;
        }
    }
    writer.finish().expect("an end");
    let summary: Vec<Value> = counts.iter().map(|(topic, count)| json!({ "topic": topic, "message_count": count })).collect();
    let recording = json!({ "message_count": counts.values().sum::<u64>(), "topics_recorded": TOPICS, "duration_sec": 10 });
    let sidecar = json!({ "recording": recording, "topics_summary": summary, "writer_health": health });
    Recording::of(writer.into_inner().into_inner(), Some(sidecar.to_string().into_bytes()))
}

async fn gaps(bench: &Bench, query: &str) -> (i64, Vec<(String, String, i64)>) {
    let listed = bench.client.get(&format!("/qa/gaps?{query}")).await.expect("a list");
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let one = |item: &Value| (text(item, "topic"), text(item, "cause"), item["length_ms"].as_i64().expect("a length"));
    (listed["total"].as_i64().expect("a total"), listed["items"].as_array().expect("items").iter().map(one).collect())
}

#[tokio::test]
async fn what_is_missing_is_listed_with_a_guess_of_why() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(3).await;
    let well = json!({ "state": "normal" });
    // A camera for 1.1 s, and all topics later for 1.6 s; then one topic, and as many as the recorder dropped; then nothing.
    let both = recorded(|topic, step| (topic == TOPICS[1] && (30..40).contains(&step)) || (60..75).contains(&step), &well);
    let dropped =
        recorded(|topic, step| topic == TOPICS[0] && (20..28).contains(&step), &json!({ "state": "degraded", "messages_dropped": 8 }));
    let whole = recorded(|_, _| false, &well);
    for (task, recording) in tasks.iter().zip([&both, &dropped, &whole]) {
        let key = bench.key(task);
        bench.upload(&key, recording).await;
        transfer.send(&complete(&task.public_id, &key, recording)).await;
        transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    }

    let of = |topic: &str, cause: &str, length| (topic.to_owned(), cause.to_owned(), length);
    let (total, all) = gaps(&bench, "").await;
    assert_eq!((total, all.len()), (6, 6), "{all:?}");
    let first = bench.client.get(&format!("/tasks/{}", tasks[0].id)).await.expect("a task")["episode"]["id"].clone();
    let (_, mut disk) = gaps(&bench, "cause=disk").await;
    disk.sort();
    let mut topics = TOPICS;
    topics.sort_unstable();
    assert_eq!(disk, topics.map(|topic| of(topic, "disk", 1600)));
    assert_eq!(gaps(&bench, "cause=queue").await, (1, vec![of(TOPICS[0], "queue", 900)]));
    let camera = format!("topic={}&episode_id={first}", TOPICS[1]);
    assert_eq!(gaps(&bench, &camera).await, (2, vec![of(TOPICS[1], "disk", 1600), of(TOPICS[1], "sensor", 1100)]));

    // Each filter holds, and pages go on behind a place.
    let station = bench.made.stations[0].station_id;
    assert_eq!(gaps(&bench, &format!("robot_device_id={}&workstation_id={station}", bench.device.to_lowercase())).await.0, 6);
    for none in [
        "robot_device_id=AB-0",
        "workstation_id=999",
        "topic=/chat",
        "episode_id=999",
        "from=2500-01-01T00:00:00Z",
        "to=2020-01-01T00:00:00Z",
        "cause=unknown",
    ] {
        assert_eq!(gaps(&bench, none).await, (0, vec![]), "{none}");
    }
    let listed = bench.client.get("/qa/gaps?limit=4").await.expect("a list");
    let next = listed["next_after"].as_str().expect("a place");
    let (_, rest) = gaps(&bench, &format!("limit=4&after={next}")).await;
    assert_eq!(rest, all[4..]);
    let item = &listed["items"][0];
    assert_eq!((&item["robot_device_id"], &item["workstation_id"]), (&json!(bench.device), &json!(station.to_string())), "{item}");
    let at = item["from"].as_str().expect("a time");
    assert!(gaps(&bench, &format!("from={at}&to={at}")).await.0 >= 1, "both ends are included");
    for wrong in
        ["cause=fate", "workstation_id=x", "episode_id=0", "from=yesterday", "limit=0", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"]
    {
        let reply = bench.client.call(Method::GET, &format!("/qa/gaps?{wrong}"), None).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), 400, "{wrong}: {}", reply.body);
    }

    let rebuilt = keystone_edge::projections::rebuild::rebuild(&bench.server.database().await).await.expect("a rebuild");
    assert_eq!(rebuilt.differences, []);
}
