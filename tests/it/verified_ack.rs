//! From a recording in the bucket to its ack: restarts between each two steps, a store that is away, an object
//! that is replaced, a recording of gigabytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::balancer::Balancer;
use crate::harness::bench::{Bench, Recording, complete, connected, is_ack, is_upload_request, record, recording, transfer_of};
use crate::harness::device::Socket;
use crate::harness::{TestObjects, temp_folder, until};
use crate::judging::{TOPICS, recorded};

/// A server whose object store can be taken away.
struct Site {
    bench: Bench,
    store: Balancer,
    _objects: TestObjects,
}

impl Site {
    async fn start() -> Self {
        let objects = TestObjects::new().await;
        let store = Balancer::to(vec![objects.s3.address().to_string()]).await;
        let bench = Bench::start_with(vec![("KEYSTONE_S3_ENDPOINT", format!("http://{}", store.address))]).await;
        Self { bench, store, _objects: objects }
    }

    async fn restart(&mut self) {
        self.bench.server.kill();
        self.bench.server.start();
        // It works without its store, though it says that it is not ready.
        self.bench.client.get("/tasks").await.expect("an answer");
    }

    async fn events(&self, event_type: &str) -> i64 {
        let sql = "select count(*) from events where event_type = $1";
        self.bench.server.database().await.get().await.unwrap().query_one(sql, &[&event_type]).await.unwrap().get(0)
    }

    async fn until_event(&self, event_type: &str) {
        until(event_type, async || self.events(event_type).await > 0).await;
    }

    async fn waiting(&self, task: &DispatchedTask, recording: &Recording) -> Socket {
        let uploads = json!([record(&self.bench, task, recording, "uploaded_wait_ack")]);
        transfer_of(&self.bench, uploads, json!([task.public_id])).await
    }
}

#[tokio::test]
async fn a_restart_between_each_two_steps_loses_nothing() {
    let mut site = Site::start().await;
    let task = site.bench.dispatch(1).await.remove(0);
    let (sound, key) = (recording(5, true), site.bench.key(&task));
    let asked = |frame: &Value| is_upload_request(frame, &task.public_id);

    // The recording is finished; the server dies before it asks for the file.
    let recorder = Socket::connect(&site.bench.server.address(1), &format!("/recorder/{}", site.bench.device)).await;
    site.bench.recording(&recorder, &task).await;
    let body = json!({ "task_id": task.public_id, "device_id": site.bench.device, "output_path": "/data/a.mcap", "status": "finished",
                       "file_size_bytes": sound.mcap.len(), "message_count": 5 });
    let posted = reqwest::Client::new().post(site.bench.callback("finish", &task)).json(&body).send().await;
    assert_eq!(posted.unwrap().status().as_u16(), 200);
    site.restart().await;
    let mut transfer = transfer_of(&site.bench, json!([]), json!([])).await;
    transfer.wait_for("the request", asked).await;

    // The upload is reported, but the store is away; the server dies before it could look.
    site.bench.upload(&key, &sound).await;
    site.store.set_away(true);
    transfer.send(&complete(&task.public_id, &key, &sound)).await;
    site.until_event("upload_reported").await;
    site.restart().await;
    assert_eq!(site.bench.status(&task).await, "uploading");

    // The store is back: it is verified though the device says nothing more. The ack finds nobody, and the server dies.
    site.store.set_away(false);
    site.bench.until_status(&task, "completed").await;
    site.bench.expect_episode(&task, &sound).await;
    site.restart().await;

    // The device is back and waits, as its list says. It is acked, and dies before it reads that.
    let mut transfer = site.waiting(&task, &sound).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    site.restart().await;
    let mut transfer = site.waiting(&task, &sound).await;
    transfer.wait_for("the ack again", |frame| is_ack(frame, &task.public_id)).await;

    for (event_type, times) in [("recording_finished", 1), ("upload_verified", 1), ("episode_created", 1)] {
        assert_eq!(site.events(event_type).await, times, "{event_type}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_costs_time_and_nothing_else() {
    let site = Site::start().await;
    let tasks = site.bench.dispatch(4).await;
    let recordings: Vec<Recording> = (5..9).map(|messages| recording(messages, true)).collect();
    let mut transfer = transfer_of(&site.bench, json!([]), json!([])).await;
    for (task, recording) in tasks.iter().zip(&recordings) {
        site.bench.upload(&site.bench.key(task), recording).await;
    }
    site.store.set_away(true);
    for (task, recording) in tasks.iter().zip(&recordings) {
        transfer.send(&complete(&task.public_id, &site.bench.key(task), recording)).await;
    }
    until("the reports", async || site.events("upload_reported").await == 4).await;
    // Longer than every retry of a client, and all other work goes on meanwhile.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listed = site.bench.client.call(Method::GET, "/tasks?limit=10", None).await.expect("an answer");
        assert_eq!(listed.status.as_u16(), 200);
        assert!(listed.body["items"].as_array().unwrap().iter().all(|task| task["status"] == "uploading"), "{}", listed.body);
    }
    assert!(!transfer.drain().iter().any(|frame| frame["type"] == "upload_ack"), "acked without a look");
    site.store.set_away(false);
    for task in &tasks {
        site.bench.until_status(task, "completed").await;
        if !transfer.heard.iter().any(|frame| is_ack(frame, &task.public_id)) {
            transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        }
    }
    let client = site.bench.server.database().await.get().await.unwrap();
    let dead: i64 = client.query_one("select count(*) from dead_letters", &[]).await.unwrap().get(0);
    assert_eq!((dead, site.events("upload_rejected").await), (0, 0), "an outage is nobody's fault");
}

#[tokio::test]
async fn an_object_that_was_replaced_is_no_episode_and_is_not_served_as_one() {
    let site = Site::start().await;
    let bench = &site.bench;
    let task = bench.dispatch(1).await.remove(0);
    // Those that pass the checks: what failed is not handed out.
    let (sound, other) = (recorded(&TOPICS, 5), recorded(&TOPICS, 6));
    let key = bench.key(&task);
    let mut transfer = transfer_of(bench, json!([]), json!([])).await;

    // Replaced between the report and the look at it.
    bench.upload(&key, &other).await;
    transfer.send(&complete(&task.public_id, &key, &sound)).await;
    site.until_event("upload_rejected").await;
    assert_eq!(bench.status(&task).await, "uploading");
    assert!(!transfer.drain().iter().any(|frame| frame["type"] == "upload_ack"), "acked what is not there");

    // The right one is there again, and the device waits still.
    bench.upload(&key, &sound).await;
    let mut transfer = site.waiting(&task, &sound).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    bench.expect_episode(&task, &sound).await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
    let path = bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.unwrap()["mcap_path"].as_str().unwrap().to_owned();
    let (bucket, object) = path.split_once('/').expect("bucket and key");
    let download =
        async || bench.client.call(Method::GET, &format!("/storage/object?bucket={bucket}&object={object}"), None).await.unwrap();
    assert_eq!(download().await.status.as_u16(), 200);

    // Replaced after it was verified, by content of any size: never served as the episode.
    let mut altered = sound.mcap.clone();
    altered[40] ^= 1;
    for content in [other.mcap.clone(), altered] {
        let name = ObjectKey::new(key.as_str()).unwrap();
        bench.blobs.put(&name, content.into(), &PutFacts::default()).await.unwrap();
        let refused = download().await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("object_replaced")), "{}", refused.body);
    }
    // Restored.
    bench.upload(&key, &sound).await;
    assert_eq!(download().await.status.as_u16(), 200);
}

/// The server was away over a weekend: the uploader went on, and has hundreds of recordings that wait for their acks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weekend_of_recordings_is_acked_over_one_connection() {
    const RECORDINGS: usize = 300;
    let bench = Bench::start().await;
    let tasks = bench.dispatch(RECORDINGS).await;
    let sound = recording(5, true);
    for some in tasks.chunks(16) {
        let uploads = some.iter().map(async |task| bench.upload(&bench.key(task), &sound).await);
        futures_util::future::join_all(uploads).await;
    }
    let mut waiting: BTreeMap<String, Value> =
        tasks.iter().map(|task| (task.public_id.clone(), record(&bench, task, &sound, "uploaded_wait_ack"))).collect();
    let list = |waiting: &BTreeMap<String, Value>| (json!(waiting.values().collect::<Vec<_>>()), json!(waiting.keys().collect::<Vec<_>>()));
    let (uploads, ids) = list(&waiting);
    let mut transfer = transfer_of(&bench, uploads, ids).await;
    let acked = async {
        while !waiting.is_empty() {
            let frame = transfer.next().await.expect("the first connection");
            match frame["type"].as_str() {
                Some("upload_ack") => drop(waiting.remove(frame["task_id"].as_str().unwrap())),
                Some("status_query") => {
                    let (uploads, ids) = list(&waiting);
                    let mut status = connected(&bench.device, &uploads, &ids);
                    status["type"] = json!("status");
                    transfer.send(&status).await;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), acked).await.expect("all acks");
    let counted = bench.client.get("/tasks?status=completed&limit=1").await.unwrap();
    assert_eq!(counted["total"], json!(RECORDINGS));
    let client = bench.server.database().await.get().await.unwrap();
    let dead: i64 = client.query_one("select count(*) from dead_letters", &[]).await.unwrap().get(0);
    assert_eq!(dead, 0);
}

/// The uploader was away over a weekend: it is asked for hundreds of files at once, and confirms them at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weekend_of_recordings_is_asked_for_over_one_connection() {
    const RECORDINGS: usize = 500;
    let bench = Bench::start().await;
    let tasks = bench.dispatch(RECORDINGS).await;
    // Its recorder is seen with one after the other, so each before was finished.
    let mut recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    let seen = |state: &str, task: Option<&str>| {
        json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(),
                "data": { "previous": state, "current": state, "task_id": task } })
    };
    for task in &tasks {
        recorder.send(&seen("recording", Some(&task.public_id))).await;
    }
    recorder.send(&seen("idle", None)).await;
    recorder.ping().await;
    recorder.wait_for("a pong, after all of it", |frame| *frame == json!("pong")).await;
    bench.until_status(&tasks[RECORDINGS - 1], "uploading").await;
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    let mut asked = BTreeSet::new();
    let all = async {
        while asked.len() < RECORDINGS {
            let frame = transfer.next().await.expect("the first connection");
            if frame["type"] == "upload_request" {
                asked.insert(frame["task_id"].as_str().unwrap().to_owned());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("all requests");
    for task_id in &asked {
        transfer.send(&json!({ "type": "upload_started", "data": { "task_id": task_id, "status": "pending" } })).await;
    }
    transfer.ping().await;
    transfer.wait_for("a pong, after all of it", |frame| *frame == json!("pong")).await;
    let under_way: Vec<Value> = tasks.iter().map(|task| record(&bench, task, &recording(1, true), "pending")).collect();
    transfer.send(&connected(&bench.device, &json!(under_way), &json!([]))).await;
    // What it reports after all that is stored: so is everything before it.
    transfer.send(&json!({ "type": "upload_failed", "data": { "task_id": tasks[0].public_id, "reason": "disk" } })).await;
    bench.until_status(&tasks[0], "failed").await;
    assert!(transfer.is_open());
}

/// Writes a sound recording of about this size, without compression, and answers its hash and size.
fn large_recording(path: &std::path::Path, bytes: usize) -> (String, u64) {
    struct Hashed<W>(W, Sha256, u64);
    impl<W: std::io::Write> std::io::Write for Hashed<W> {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            let written = self.0.write(buffer)?;
            self.1.update(&buffer[..written]);
            self.2 += written as u64;
            Ok(written)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
    let file = Hashed(std::fs::File::create(path).unwrap(), Sha256::new(), 0);
    let options =
        mcap::WriteOptions::new().compression(None).disable_seeking(true).calculate_chunk_crcs(false).calculate_data_section_crc(false);
    let mut writer = options.create(mcap::write::NoSeek::new(std::io::BufWriter::with_capacity(1 << 20, file))).unwrap();
    let schema = writer.add_schema("sensor_msgs/Image", "ros2msg", b"uint8[] data").unwrap();
    let channel = writer.add_channel(schema, "/camera", "cdr", &Default::default()).unwrap();
    let image = vec![7; 4 << 20];
    for sequence in 0..bytes / image.len() {
        let sequence = sequence as u32;
        let header = mcap::records::MessageHeader { channel_id: channel, sequence, log_time: u64::from(sequence), publish_time: 0 };
        writer.write_to_known_channel(&header, &image).unwrap();
    }
    writer.finish().unwrap();
    let mut buffered = writer.into_inner().into_inner();
    buffered.flush().unwrap();
    let Hashed(_, hash, size) = buffered.into_inner().map_err(|_| "flushed").unwrap();
    (hex::encode(hash.finalize()), size)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gigabytes_are_verified_while_everything_else_goes_on() {
    const BYTES: usize = 2 << 30;
    let bench = Bench::start().await;
    let tasks = bench.dispatch(9).await;
    let (large, rest) = tasks.split_first().expect("tasks");
    let folder = temp_folder();
    let path = folder.path().join("large.mcap");
    let (sha256, size) = tokio::task::spawn_blocking({
        let path = path.clone();
        move || large_recording(&path, BYTES)
    })
    .await
    .unwrap();
    let key = bench.key(large);
    let about = PutFacts { content_type: None, metadata: vec![("checksum-sha256".into(), sha256.clone())] };
    let file = tokio::fs::File::open(&path).await.unwrap();
    bench.blobs.put_from(&ObjectKey::new(key.as_str()).unwrap(), file, &about).await.expect("an upload");
    drop(folder);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let recordings: Vec<Recording> = (5..13).map(|messages| recording(messages, true)).collect();
    for (task, recording) in rest.iter().zip(&recordings) {
        bench.upload(&bench.key(task), recording).await;
    }

    let before = bench.server.resident_bytes();
    let reported = json!({ "type": "upload_complete", "data": { "task_id": large.public_id, "status": "uploaded_wait_ack", "s3_key": key,
        "object_key": key, "file_size_bytes": size, "checksum_sha256": sha256, "upload_mode": "mcap_only" } });
    transfer.send(&reported).await;
    // Eight small ones that come later wait for no gigabytes.
    for (task, recording) in rest.iter().zip(&recordings) {
        transfer.send(&complete(&task.public_id, &bench.key(task), recording)).await;
    }
    let (mut most, mut acked) = (before, vec![]);
    let all_acked = async {
        while acked.len() < tasks.len() {
            let frame = transfer.next().await.expect("an open socket");
            let task = tasks.iter().map(|task| &task.public_id).find(|task| is_ack(&frame, task));
            acked.extend(task.filter(|task| !acked.contains(task)));
            most = most.max(bench.server.resident_bytes());
        }
    };
    tokio::time::timeout(Duration::from_secs(180), all_acked).await.expect("an ack of each");
    assert_ne!(acked[0], &large.public_id, "a small one waited for two gigabytes");
    assert_eq!(bench.status(large).await, "completed");
    most = most.max(bench.server.resident_bytes());
    assert!(most < before + (256 << 20), "memory grew from {before} to {most} bytes");
}
