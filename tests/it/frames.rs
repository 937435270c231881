//! One frame of a recording, by route: of real images in a real store.

use std::collections::BTreeMap;

use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::commands::Context;
use keystone_edge::domain::EpisodeId;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::qa::{RunSettings, Runs};
use serde_json::{Value, json};

use crate::data_ops::with_episodes;
use crate::harness::bench::Recording;
use crate::harness::edge::TestEdge;
use crate::outbox::number;

const CAMERA: &str = "/camera/front";
const RAW: &str = "/camera/raw";
const START_NS: u64 = 1_795_204_387_000_000_000;

fn jpeg(n: u8) -> Vec<u8> {
    let mut image = vec![];
    let pixels: Vec<u8> = (0..64 * 48 * 3_usize).map(|i| (i * 7) as u8 ^ n).collect();
    jpeg_encoder::Encoder::new(&mut image, 80).encode(&pixels, 64, 48, jpeg_encoder::ColorType::Rgb).expect("an image");
    image
}

fn header() -> Vec<u8> {
    [&[0, 1, 0, 0][..], &[0; 8], &4_u32.to_le_bytes(), b"arm\0"].concat()
}

/// An image in each tenth of a second: one that is compressed, and one that is not.
fn recording(seconds: u64) -> Recording {
    let options = mcap::WriteOptions::new().profile("ros2").library("test").chunk_size(Some(8_000));
    let mut writer = options.create(std::io::Cursor::new(vec![])).expect("a writer");
    let channels = [(CAMERA, "sensor_msgs/msg/CompressedImage"), (RAW, "sensor_msgs/msg/Image"), ("/chatter", "std_msgs/msg/String")].map(
        |(topic, kind)| {
            let schema = writer.add_schema(kind, "ros2msg", b"x").expect("a schema");
            writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")
        },
    );
    for step in 0..=seconds * 10 {
        let image = jpeg(step as u8);
        let compressed = [&header()[..], &5_u32.to_le_bytes(), b"jpeg\0\0\0\0", &(image.len() as u32).to_le_bytes(), &image].concat();
        let size = [&30_u32.to_le_bytes()[..], &40_u32.to_le_bytes()].concat();
        let format = [&5_u32.to_le_bytes()[..], b"rgb8\0", &[0], &[0; 2], &120_u32.to_le_bytes(), &3600_u32.to_le_bytes()].concat();
        let raw = [header(), size, format, vec![step as u8 * 4; 3600]].concat();
        for (channel, payload) in channels.iter().zip([compressed, raw, vec![7; 40]]) {
            let log_time = START_NS + step * 100_000_000;
            let header = mcap::records::MessageHeader { channel_id: *channel, sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &payload).expect("a message");
        }
    }
    writer.finish().expect("an end");
    Recording::of(writer.into_inner().into_inner(), None)
}

struct Shown {
    status: u16,
    kind: String,
    at: Option<String>,
    body: Vec<u8>,
}

async fn frame(edge: &TestEdge, token: &str, id: i64, query: &[(&str, &str)]) -> Shown {
    let request = edge.request(token, "GET", &format!("/api/v1/episodes/{id}/frames")).query(query);
    let response = request.send().await.expect("an answer");
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let (kind, at) = (header("content-type").unwrap_or_default(), header("x-frame-at"));
    Shown { status: response.status().as_u16(), kind, at, body: response.bytes().await.expect("a body").to_vec() }
}

#[tokio::test]
async fn an_image_of_a_recording_is_shown_at_the_time_that_is_asked_for() {
    let edge = TestEdge::start().await;
    with_episodes(&edge, &[recording(5)]).await;
    let id = number(&edge.database.pool, "select id from episodes").await;
    let settings = RunSettings { timeout: std::time::Duration::from_secs(10), default_suite: Suite::default(), sidecar_bytes_max: 4 << 20 };
    let runs = Runs::new(edge.commands.clone(), edge.objects.blobs.clone(), settings);
    let asked = |query: &'static [(&str, &str)]| frame(&edge, &edge.admin, id, query);
    let unmeasured = asked(&[("topic", CAMERA)]).await;
    assert_eq!(unmeasured.status, 404, "nothing was measured of it yet");
    runs.judge_new(&Context::system(), EpisodeId(id), &format!("auto/{id}")).await.expect("it is judged");
    // It has no sidecar, so the shipped rules fail it: it is shown as little as its recording.
    let blocked = asked(&[("topic", CAMERA)]).await;
    let told: Value = serde_json::from_slice(&blocked.body).expect("JSON");
    assert_eq!((blocked.status, &told["code"]), (409, &json!("episode_blocked")), "{told}");
    let client = edge.database.pool.get().await.unwrap();
    client.execute("update episodes set qa_status = 'needs_inspection'", &[]).await.unwrap();

    for (at, step, told) in [("0", 0, "0.000000"), ("1.25", 12, "1.200000"), ("5", 50, "5.000000"), ("99", 50, "5.000000")] {
        let shown = frame(&edge, &edge.admin, id, &[("topic", CAMERA), ("at", at)]).await;
        assert_eq!((shown.status, shown.kind.as_str(), shown.at.as_deref()), (200, "image/jpeg", Some(told)), "{at}");
        assert!(shown.body == jpeg(step), "{at} s shows another image");
    }
    let first = asked(&[("topic", CAMERA)]).await;
    assert!(first.status == 200 && first.body == jpeg(0), "without a time the first one");
    let raw = asked(&[("topic", RAW), ("at", "3.3")]).await;
    assert_eq!((raw.status, raw.at.as_deref(), &raw.body[..3]), (200, Some("3.300000"), &[0xff, 0xd8, 0xff][..]));

    for (query, status, code) in [
        (&[("topic", "/nothing")][..], 404, "no_frame"),
        (&[("topic", "/chatter")], 404, "no_frame"),
        (&[("at", "1")], 400, "invalid_request"),
        (&[("topic", CAMERA), ("at", "-1")], 400, "invalid_request"),
        (&[("topic", CAMERA), ("at", "NaN")], 400, "invalid_request"),
        (&[("topic", CAMERA), ("at", "1e9")], 400, "invalid_request"),
        (&[("topic", CAMERA), ("time", "1")], 400, "invalid_request"),
    ] {
        let refused = frame(&edge, &edge.admin, id, query).await;
        let told: Value = serde_json::from_slice(&refused.body).expect("JSON");
        assert_eq!((refused.status, &told["code"]), (status, &json!(code)), "{query:?}: {told}");
    }
    let long = "x".repeat(1001);
    assert_eq!(frame(&edge, &edge.admin, id, &[("topic", &long)]).await.status, 400);
    assert_eq!(frame(&edge, &edge.admin, id + 1, &[("topic", CAMERA)]).await.status, 404);
    assert_eq!(frame(&edge, "", id, &[("topic", CAMERA)]).await.status, 401);

    // Another object in its place is not shown.
    let path: String = client.query_one("select mcap_path from episodes", &[]).await.unwrap().get(0);
    let (_, key) = path.split_once('/').expect("a bucket");
    let other = recording(2);
    let key = ObjectKey::new(key).expect("a key");
    edge.objects.blobs.put(&key, other.mcap.into(), &PutFacts::default()).await.expect("an object");
    let replaced = asked(&[("topic", CAMERA)]).await;
    let told: Value = serde_json::from_slice(&replaced.body).expect("JSON");
    assert_eq!((replaced.status, &told["code"]), (409, &json!("object_replaced")), "{told}");
}
