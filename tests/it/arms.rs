//! How smoothly an arm moves, and where it ends: measured in its recording, learned from good ones, and told of the one that is odd.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, transfer_of};
use crate::judging::{TOPICS, judged};

const ARM: &str = "/arm/joint_states";
const HZ: u64 = 50;
const SECONDS: u64 = 8;

/// `sensor_msgs/JointState` as ROS 1 writes it: a header without a stamp, no names, positions alone.
fn joint_state(positions: &[f64]) -> Vec<u8> {
    let mut payload = vec![0; 16 + 4];
    payload.extend((positions.len() as u32).to_le_bytes());
    positions.iter().for_each(|position| payload.extend(position.to_le_bytes()));
    payload.extend([0; 8]);
    payload
}

/// An arm of two joints beside what every task wants, ten times a second; `positions` has seconds.
fn recorded(positions: impl Fn(f64) -> [f64; 2]) -> Recording {
    let start = u64::try_from(chrono::Utc::now().timestamp_nanos_opt().expect("a time")).expect("after 1970") - SECONDS * 1_000_000_000;
    let mut writer = mcap::WriteOptions::new().profile("ros1").library("test").create(std::io::Cursor::new(vec![])).expect("a writer");
    let pose = writer.add_schema("geometry_msgs/Pose", "ros1msg", b"float64 x").expect("a schema");
    let joints = writer.add_schema("sensor_msgs/JointState", "ros1msg", b"Header header").expect("a schema");
    let mut channel = |schema, topic| writer.add_channel(schema, topic, "ros1", &BTreeMap::new()).expect("a channel");
    let (arm, others) = (channel(joints, ARM), TOPICS.map(|topic| channel(pose, topic)));
    let mut counts = BTreeMap::<u16, u64>::new();
    for step in 0..=SECONDS * HZ {
        let log_time = start + step * 1_000_000_000 / HZ;
        let mut write = |channel_id, payload: &[u8]| {
            *counts.entry(channel_id).or_insert(0) += 1;
            let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, payload).expect("a message");
        };
        write(arm, &joint_state(&positions(step as f64 / HZ as f64)));
        if step % 5 == 0 {
            others.iter().for_each(|other| write(*other, &[7; 40]));
        }
    }
    writer.finish().expect("an end");
    let topics: Vec<(&str, u16)> = [(ARM, arm)].into_iter().chain(TOPICS.into_iter().zip(others)).collect();
    let names: Vec<&str> = topics.iter().map(|(topic, _)| *topic).collect();
    let recording = json!({ "message_count": counts.values().sum::<u64>(), "topics_recorded": names, "duration_sec": SECONDS });
    let summary: Vec<Value> = topics.iter().map(|(topic, channel)| json!({ "topic": topic, "message_count": counts[channel] })).collect();
    let sidecar = json!({ "recording": recording, "topics_summary": summary });
    Recording::of(writer.into_inner().into_inner(), Some(sidecar.to_string().into_bytes()))
}

/// One of many that are alike and not equal.
fn sway(n: i32) -> impl Fn(f64) -> [f64; 2] {
    let late = f64::from(n % 7) * 0.02;
    move |t| [0.5 * (2.1 * (t + late)).sin(), 0.4 * (1.3 * (t + late)).cos() + f64::from(n) * 1e-3]
}

async fn ask(bench: &Bench, method: Method, path: &str, body: Value) -> Value {
    let body = (!body.is_null()).then_some(&body);
    let reply = bench.client.call(method, path, body).await.expect("an answer");
    assert!((200..300).contains(&reply.status.as_u16()), "{path}: {} {}", reply.status, reply.body);
    reply.body
}

async fn check(bench: &Bench, episode: &Value, name: &str) -> Value {
    let sql = "select (select c from jsonb_array_elements(checks) c where c ->> 'name' = $2) from qa_runs where episode_id = $1 order by id desc limit 1";
    let client = bench.server.database().await.get().await.expect("a connection");
    client.query_one(sql, &[&episode["id"].as_i64().expect("an id"), &name]).await.expect("a run").get(0)
}

#[tokio::test]
async fn one_that_moves_roughly_and_one_that_ends_elsewhere_are_looked_at_first() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(23).await;
    for (n, task) in (0..).zip(&tasks[..20]) {
        let good = judged(&bench, &mut transfer, task, &recorded(sway(n))).await;
        assert_eq!(good["qa_status"], "approved", "{good}");
    }
    let database = bench.server.database().await.get().await.expect("a connection");
    let sop: i64 = database.query_one("select distinct sop_id from episodes", &[]).await.expect("a SOP").get(0);
    let made = ask(&bench, Method::POST, "/qa/references", json!({ "sop_id": sop })).await;
    let figures = made["figures"]["items"].as_array().expect("figures");
    let of = |measure: &str| figures.iter().filter(|figure| figure["measure"] == measure).collect::<Vec<_>>();
    let (jerk, ends) = (of("jerk"), of("end_pose"));
    assert_eq!((jerk.len(), &jerk[0]["topic"], &jerk[0]["episodes"]), (1, &json!(ARM), &json!(20)), "{made}");
    assert_eq!(ends.iter().map(|figure| figure["joint"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1)], "{made}");
    let usual_jerk = jerk[0]["median"].as_i64().expect("a number");
    assert!((9_000..14_000).contains(&usual_jerk), "{made}");

    // A hand that trembles by a hundredth of a radian.
    let trembles = |t: f64| sway(3)(t).map(|position| position + 0.01 * (t * 50.0).sin());
    let rough = judged(&bench, &mut transfer, &tasks[20], &recorded(trembles)).await;
    // In the last two seconds the second joint goes where it never does.
    let leaves = |t: f64| [sway(3)(t)[0], sway(3)(t)[1] + 0.5 * (t - 6.0).clamp(0.0, 2.0)];
    let elsewhere = judged(&bench, &mut transfer, &tasks[21], &recorded(leaves)).await;
    let usual = judged(&bench, &mut transfer, &tasks[22], &recorded(sway(5))).await;
    for (episode, name, result) in [
        (&rough, "smoothness", "warn"),
        (&rough, "episode_outlier", "pass"),
        (&elsewhere, "episode_outlier", "warn"),
        (&usual, "smoothness", "pass"),
        (&usual, "episode_outlier", "pass"),
    ] {
        let said = check(&bench, episode, name).await;
        assert_eq!(said["result"], result, "{said}");
        // They warn and gate nothing.
        assert_ne!(episode["qa_status"], "failed", "{episode}");
    }
    let ranking = ask(&bench, Method::GET, &format!("/qa/ranking?sop_id={sop}&limit=3"), Value::Null).await;
    let ranked = ranking["episodes"].as_array().expect("episodes");
    let reason = |episode: &Value, measure: &str| {
        let found = ranked.iter().find(|ranked| ranked["id"] == episode["id"]).unwrap_or_else(|| panic!("not ranked: {ranking}"));
        let reasons = found["reasons"].as_array().expect("reasons");
        reasons.iter().find(|reason| reason["measure"] == measure).unwrap_or_else(|| panic!("no {measure}: {ranking}")).clone()
    };
    let (first, second) = (&ranked[0]["id"], &ranked[1]["id"]);
    assert!([first, second].contains(&&rough["id"]) && [first, second].contains(&&elsewhere["id"]), "{ranking}");
    let (trembled, left) = (reason(&rough, "jerk"), reason(&elsewhere, "end_pose"));
    assert_eq!((&trembled["topic"], &trembled["usual"]), (&json!(ARM), &json!(usual_jerk)));
    assert!(trembled["value"].as_i64() > Some(usual_jerk + 2_000) && trembled["z"].as_f64() > Some(4.0), "{trembled}");
    assert_eq!((&left["joint"], &left["usual"]), (&json!(1), &ends[1]["median"]));
    assert!(left["value"].as_i64() > ends[1]["median"].as_i64().map(|usual| usual + 500_000), "{left}");
    let (code, told) = bench.server.tool(&["ranking", "--sop", &sop.to_string(), "--limit", "2"]).await;
    assert!(code == 0 && told.contains("log dimensionless jerk of") && told.contains(&format!("joint 1 of `{ARM}` ends at")), "{told}");
    let (code, told) = bench.server.tool(&["references", "show", &made["id"].to_string()]).await;
    assert!(code == 0 && told.contains("\"end_pose\"") && told.contains("\"jerk\""), "{told}");
}
