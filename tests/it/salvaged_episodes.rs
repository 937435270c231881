//! A damaged recording that failed is salvaged on the server: a sound file that counts nowhere, whatever dies or goes away meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::simulator::client::Client;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::apply_suite::ask;
use crate::damaged_uploads::{id_of, rejected, want};
use crate::harness::TestObjects;
use crate::harness::bench::{Bench, Recording, transfer_of};
use crate::harness::device::Socket;
use crate::harness::relay::Relay;
use crate::harness::s3::RawS3;
use crate::harness::server::PASSWORD;
use crate::harness::{temp_folder, until};
use crate::inspection::{code, episode, inspector, types_of, uploaded};
use crate::judging::{TOPICS, recorded};

/// Ten messages a second of each topic that a robot has to have, with so many bytes each, in chunks of a second or so.
pub fn parted(seconds: u64, payload: usize) -> Recording {
    let start = 1_795_204_387_000_000_000;
    let options = mcap::WriteOptions::new().profile("ros2").library("test").compression(None).chunk_size(Some(40 * payload as u64));
    let mut writer = options.create(std::io::Cursor::new(vec![])).expect("a writer");
    let schema = writer.add_schema("geometry_msgs/msg/Pose", "ros2msg", b"float64 x").expect("a schema");
    let channels: Vec<u16> =
        TOPICS.iter().map(|topic| writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")).collect();
    for step in 0..=seconds * 10 {
        for channel in &channels {
            let log_time = start + step * 100_000_000;
            let header = mcap::records::MessageHeader { channel_id: *channel, sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &vec![step as u8; payload]).expect("a message");
        }
    }
    writer.finish().expect("an end");
    let messages = (seconds * 10 + 1) * TOPICS.len() as u64;
    let summary: Vec<Value> = TOPICS.iter().map(|topic| json!({ "topic": topic, "message_count": seconds * 10 + 1 })).collect();
    let recording = json!({ "message_count": messages, "topics_recorded": TOPICS, "duration_sec": seconds });
    let sidecar = json!({ "recording": recording, "topics_summary": summary });
    Recording::of(writer.into_inner().into_inner(), Some(sidecar.to_string().into_bytes()))
}

/// One byte of this chunk is another one.
pub fn damaged(recording: &Recording, chunk: usize) -> Recording {
    let summary = mcap::Summary::read(&recording.mcap).expect("a recording").expect("a summary");
    let mut mcap = recording.mcap.clone();
    mcap[summary.chunk_indexes[chunk].chunk_start_offset as usize + 90] ^= 1;
    Recording::of(mcap, recording.sidecar.clone())
}

async fn salvage(bench: &Bench, id: i64) -> (u16, Value) {
    ask(bench, Method::POST, &format!("/episodes/{id}/salvage"), json!({ "reason": "The only take with this cup" })).await
}

async fn state_of(bench: &Bench, id: i64) -> Value {
    bench.client.get(&format!("/episodes/{id}/salvage")).await.expect("a state")
}

async fn ended(bench: &Bench, id: i64) -> Value {
    until("the end of a salvage", async || state_of(bench, id).await["state"] != "under_way").await;
    state_of(bench, id).await
}

/// Without a login.
async fn fetched(bench: &Bench, link: &Value) -> Vec<u8> {
    let link = link.as_str().expect("a link");
    let answer = reqwest::get(format!("{}{link}", bench.server.base())).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{link}");
    answer.bytes().await.expect("a file").to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What counts: order, batch, and the lists of tasks and episodes.
async fn counts(bench: &Bench) -> Vec<Value> {
    let mut all = vec![];
    for path in ["/orders", "/batches", "/tasks", "/episodes", "/data-ops/episodes"] {
        let mut listed = bench.client.get(path).await.expect("a list");
        for item in listed["items"].as_array_mut().expect("items") {
            // A run of the checks may end meanwhile.
            item.as_object_mut().expect("an item").remove("updated_at");
        }
        all.push(listed);
    }
    all
}

#[tokio::test]
async fn what_is_good_of_a_damaged_episode_becomes_a_sound_file_that_counts_nowhere() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(4).await;
    let recording = damaged(&parted(5, 400), 1);
    let id = uploaded(&bench, &mut transfer, &tasks[0], &recording).await;
    let good = uploaded(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS, 5)).await;
    let lacking = uploaded(&bench, &mut transfer, &tasks[2], &recorded(&TOPICS[..3], 5)).await;
    // Rejected, and accepted with a reason.
    let cut = parted(5, 400);
    let cut = Recording::of(cut.mcap[..cut.mcap.len() / 2].to_vec(), cut.sidecar);
    rejected(&bench, &mut transfer, &tasks[3], Some(&cut), &cut).await;
    assert_eq!(want(&bench, &tasks[3], json!({ "reason": "The only take" })).await.0, 202);
    bench.until_status(&tasks[3], "completed").await;
    let accepted = id_of(&bench, &tasks[3]).await;
    for id in [id, accepted] {
        until("a verdict", async || types_of(&bench, id).await.iter().any(|name| name == "qa_run_ended")).await;
    }
    assert_eq!(episode(&bench, id).await["qa_status"], "failed");
    let before = counts(&bench).await;
    assert_eq!(state_of(&bench, id).await["state"], "not_asked");

    // Who may, of what.
    let (_, senior) = inspector(&bench, "senior", "senior").await;
    let path = format!("/episodes/{id}/salvage");
    let reason = || json!({ "reason": "The only take with this cup" });
    assert_eq!(senior.ask(Method::POST, &path, reason()).await.0, 403);
    for (body, status) in [(json!({}), 400), (json!({ "reason": " " }), 400), (json!({ "reason": "r".repeat(2000) }), 400)] {
        assert_eq!(ask(&bench, Method::POST, &path, body.clone()).await.0, status, "{body}");
    }
    assert_eq!(code(&salvage(&bench, 9999).await), (404, "episode_not_found"));
    assert_eq!(bench.client.call(Method::GET, "/episodes/9999/salvage", None).await.expect("an answer").status.as_u16(), 404);
    assert_eq!(code(&salvage(&bench, good).await), (409, "episode_not_failed"));
    assert_eq!(code(&salvage(&bench, lacking).await), (409, "nothing_to_salvage"));

    let (status, told) = salvage(&bench, id).await;
    assert_eq!((status, &told["state"], &told["request"]), (202, &json!("under_way"), &json!(1)), "{told}");
    let said = ended(&bench, id).await;
    assert_eq!((&said["state"], &said["asked_by"]), (&json!("salvaged"), &json!("user:admin")), "{said}");
    assert_eq!(said["reason"], "The only take with this cup");
    let file = &said["file"];
    assert_eq!((&file["parent_sha256"], &file["parent_size_bytes"]), (&json!(recording.sha256), &json!(recording.mcap.len())));
    let missing = &file["missing"][0];
    assert_eq!((&missing["kind"], &missing["chunk"], &file["chunks_lost"]), (&json!("chunk_crc"), &json!(1), &json!(1)), "{file}");
    assert_eq!((&file["missing_bytes"], &file["more_missing"]), (&missing["bytes"], &json!(0)), "{file}");
    let all = mcap::Summary::read(&recording.mcap).expect("a summary").expect("one").stats.expect("counts").message_count;
    let kept = file["messages_kept"].as_u64().expect("a number");
    assert!(kept > all / 2 && kept < all, "{kept} of {all}");

    // The file is sound, names its parent, and is what was said.
    let bytes = fetched(&bench, &file["url"]).await;
    assert_eq!((json!(sha256(&bytes)), json!(bytes.len())), (file["sha256"].clone(), file["size_bytes"].clone()));
    assert_eq!(file["object_key"], json!(format!("salvaged/{}.mcap", sha256(&bytes))));
    let summary = mcap::Summary::read(&bytes).expect("a recording").expect("a summary");
    assert_eq!(summary.stats.as_ref().expect("counts").message_count, kept);
    let own = mcap::read::metadata(&bytes, &summary.metadata_indexes[0]).expect("its metadata");
    assert_eq!((own.name.as_str(), &own.metadata["parent_sha256"]), ("salvage", &recording.sha256));
    let folder = temp_folder();
    let out = folder.path().join("good.mcap").display().to_string();
    std::fs::write(&out, &bytes).expect("a file");
    let (_, report) = bench.server.tool(&["qa", "--json", &out]).await;
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}"));
    assert_eq!(report["facts"]["findings"]["items"], json!([]), "{report}");
    assert_eq!(report["facts"]["message_count"], json!(kept));
    let checks = report["judgement"]["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["name"] == "chunk_crc" && check["result"] == "pass"), "{report}");

    // It is shown with its episode, which stays what it is and is handed out to nobody.
    let shown = episode(&bench, id).await;
    let salvaged = json!({ "object_key": file["object_key"], "sha256": file["sha256"], "size_bytes": file["size_bytes"] });
    assert_eq!((&shown["qa_status"], &shown["salvaged"]), (&json!("failed"), &salvaged), "{shown}");
    assert_eq!(episode(&bench, good).await.get("salvaged"), None);
    assert_eq!(ask(&bench, Method::GET, &format!("/episodes/{id}/presign?kind=mcap"), Value::Null).await.0, 409);
    assert_eq!(counts(&bench).await, before);

    // Administrators and inspectors get it, with and without a link; collectors see how it stands.
    let (_, seen) = senior.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(sha256(&fetched(&bench, &seen["file"]["url"]).await), sha256(&bytes));
    let place = &bench.made.stations[0];
    let password = place.password.as_deref().expect("a new account");
    let collector = Client::sign_in(&bench.server.base(), &place.operator_id, password).await.expect("a login");
    let seen = collector.get(&path).await.expect("a state");
    assert_eq!((&seen["state"], seen["file"].get("url")), (&json!("salvaged"), None), "{seen}");
    let object = format!("bucket={}&object={}", bench.blobs.bucket(), file["object_key"].as_str().expect("a key"));
    for way in ["object", "presign"] {
        let path = format!("/storage/{way}?{object}");
        assert_eq!(senior.ask(Method::GET, &path, Value::Null).await.0, 200, "{path}");
        assert_eq!(collector.call(Method::GET, &path, None).await.expect("an answer").status.as_u16(), 403, "{path}");
    }
    assert_eq!(collector.call(Method::POST, &path, Some(&reason())).await.expect("an answer").status.as_u16(), 403);

    // Asked again it is what there is.
    let again = salvage(&bench, id).await;
    assert_eq!((again.0, &again.1["request"], &again.1["file"]["sha256"]), (200, &json!(1), &file["sha256"]));
    let types = types_of(&bench, id).await;
    assert_eq!(types[types.len() - 2..], ["salvage_requested", "recording_salvaged"]);

    // The other one by the command line, which waits and fetches it.
    std::fs::write(bench.server.folder.join("password"), PASSWORD).expect("a file");
    let (base, number) = (bench.server.base(), accepted.to_string());
    let at = ["--server", &base, "--password-file", "password", "--episode", &number, "--reason", "The only take"];
    let tool = async |more: &[&str]| bench.server.tool(&[&["salvage"], &at[..], more].concat()).await;
    let (code, said) = tool(&["--output", &out]).await;
    assert!(code == 1 && said.contains("is there already; --force replaces it"), "{code} {said}");
    let (code, said) = tool(&["--output", &out, "--force"]).await;
    assert!(code == 0 && said.contains("messages kept, in ") && said.contains("the file ends at"), "{code} {said}");
    let state = state_of(&bench, accepted).await;
    let bytes = std::fs::read(Path::new(&out)).expect("a file");
    assert_eq!((json!(sha256(&bytes)), &state["asked_by"]), (state["file"]["sha256"].clone(), &json!("user:admin")));
    let (code, said) = tool(&["--json"]).await;
    assert_eq!(
        (code, serde_json::from_str::<Value>(&said).map(|said| said["file"]["sha256"].clone()).ok()),
        (0, Some(json!(sha256(&bytes))))
    );
    for usage in [&["salvage"][..], &["salvage", "--server", &base], &["salvage", "--episode", "1", "--reason", "r"]] {
        assert_eq!(bench.server.tool(usage).await.0, 2, "{usage:?}");
    }
    let (code, said) = bench.server.tool(&["rebuild"]).await;
    assert_eq!(code, 0, "{said}");
}

/// A server whose store is some way off, and can be taken away.
struct Site {
    bench: Bench,
    store: Relay,
    objects: TestObjects,
    transfer: Socket,
}

impl Site {
    async fn start() -> Self {
        let objects = TestObjects::new().await;
        let store = Relay::to(objects.s3.address());
        let bench = Bench::start_with(vec![("KEYSTONE_S3_ENDPOINT", format!("http://{}", store.address))]).await;
        let transfer = transfer_of(&bench, json!([]), json!([])).await;
        Self { bench, store, objects, transfer }
    }

    async fn number(&self, sql: &str) -> i64 {
        self.bench.server.database().await.get().await.expect("a connection").query_one(sql, &[]).await.expect("a number").get(0)
    }

    /// Waits until a process works on it, and not the one of this claim; answers which claim it is.
    async fn claimed(&self, after: i64) -> i64 {
        let sql = "select coalesce(max(epoch), 0) from outbox where subscriber = 'salvage' and leased_until > clock_timestamp()";
        until("the work to begin", async || self.number(sql).await > after).await;
        self.number(sql).await
    }

    /// The names of what was salvaged.
    async fn objects(&self) -> Vec<String> {
        let (store, bucket) = (RawS3::of(&self.objects.s3), format!("/{}", self.objects.settings.bucket));
        let listed = store.send("GET", &bucket, &[("list-type", "2"), ("prefix", "salvaged/")], &[], "").await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        listed.elements("Key")
    }

    async fn ends(&self, id: i64) -> Vec<String> {
        let is_end = |name: &String| ["recording_salvaged", "salvage_failed"].contains(&name.as_str());
        types_of(&self.bench, id).await.into_iter().filter(is_end).collect()
    }
}

#[tokio::test]
async fn what_cannot_be_salvaged_says_why_and_leaves_nothing() {
    let mut site = Site::start().await;
    let tasks = site.bench.dispatch(3).await;
    let parted = damaged(&parted(5, 400), 1);
    // Its only chunk is damaged.
    let lost = damaged(&recorded(&TOPICS, 5), 0);
    let lost_id = uploaded(&site.bench, &mut site.transfer, &tasks[0], &lost).await;
    let gone_id = uploaded(&site.bench, &mut site.transfer, &tasks[1], &parted).await;
    let other_id = uploaded(&site.bench, &mut site.transfer, &tasks[2], &parted).await;
    let key = |n: usize| ObjectKey::new(site.bench.key(&tasks[n])).expect("a key");
    let failed = async |id: i64, fault: &str| {
        assert_eq!(salvage(&site.bench, id).await.0, 202);
        let said = ended(&site.bench, id).await;
        assert_eq!((&said["state"], &said["fault"], &said["file"]), (&json!("failed"), &json!(fault), &Value::Null), "{said}");
        said
    };

    let said = failed(lost_id, "nothing_kept").await;
    assert!(said["fault_text"].as_str().is_some_and(|text| text.contains("chunk 0")), "{said}");
    // It may be asked for again, and nothing else comes of it.
    assert_eq!(failed(lost_id, "nothing_kept").await["request"], 2);

    // Longer, or as long and another one.
    for bytes in [[parted.mcap.clone(), vec![0]].concat(), damaged(&parted, 2).mcap] {
        site.objects.blobs.put(&key(2), bytes.into(), &PutFacts::default()).await.expect("it is replaced");
        failed(other_id, "other_object").await;
    }
    site.objects.blobs.delete(&key(1)).await.expect("it went");
    failed(gone_id, "object_gone").await;
    assert_eq!((site.objects().await, site.number("select count(*) from dead_letters").await), (vec![], 0));
    let shown = episode(&site.bench, lost_id).await;
    assert_eq!((shown.get("salvaged"), &shown["qa_status"]), (None, &json!("failed")));

    // What came back is salvaged.
    site.objects.blobs.put(&key(1), parted.mcap.clone().into(), &PutFacts::default()).await.expect("it is there again");
    assert_eq!(salvage(&site.bench, gone_id).await.0, 202);
    let said = ended(&site.bench, gone_id).await;
    assert_eq!((&said["state"], &said["request"]), (&json!("salvaged"), &json!(2)), "{said}");
    let name = said["file"]["object_key"].as_str().expect("a key");
    assert_eq!(site.objects().await, [name]);
    // Where the file went it is made again, and is the same.
    site.objects.blobs.delete(&ObjectKey::new(name).expect("a key")).await.expect("it went");
    assert_eq!(salvage(&site.bench, gone_id).await.0, 202);
    let again = ended(&site.bench, gone_id).await;
    assert_eq!((&again["request"], &again["file"]["sha256"]), (&json!(3), &said["file"]["sha256"]), "{again}");
    assert_eq!(site.objects().await, [name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_without_its_store_in_the_middle_it_ends_once() {
    let mut site = Site::start().await;
    let tasks = site.bench.dispatch(2).await;
    // More than one part of an upload.
    let recording = damaged(&parted(5, 120_000), 1);
    let id = uploaded(&site.bench, &mut site.transfer, &tasks[0], &recording).await;
    let replaced = uploaded(&site.bench, &mut site.transfer, &tasks[1], &recording).await;

    site.store.refuse_all();
    assert_eq!(salvage(&site.bench, id).await.0, 202);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(state_of(&site.bench, id).await["state"], "under_way");
    assert_eq!(code(&salvage(&site.bench, id).await), (409, "salvage_under_way"));
    site.store.delay(Duration::from_millis(60));
    site.store.pass_new();
    let mut claim = 0;
    for _ in 0..3 {
        claim = site.claimed(claim).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..1500))).await;
        site.bench.server.kill();
        site.store.cut();
        site.bench.server.start();
        site.bench.server.ready().await;
        if state_of(&site.bench, id).await["state"] != "under_way" {
            break;
        }
    }
    // Once more away while it is read or written.
    tokio::time::sleep(Duration::from_millis(300)).await;
    site.store.refuse_all();
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.store.pass_new();
    site.store.delay(Duration::ZERO);
    until("the end", async || !site.ends(id).await.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(site.ends(id).await, ["recording_salvaged"]);
    let said = state_of(&site.bench, id).await;
    let key = ObjectKey::new(said["file"]["object_key"].as_str().expect("a key")).expect("a key");
    let facts = site.objects.blobs.head(&key).await.expect("an object");
    let there = site.objects.blobs.read_range(&key, 0..facts.size, None).await.expect("it");
    assert!(there.len() > 16 << 20, "{}", there.len());
    assert_eq!(json!(sha256(&there)), said["file"]["sha256"]);
    let first = site.objects().await;

    // Its parent becomes another one while it is read.
    site.store.delay(Duration::from_millis(60));
    assert_eq!(salvage(&site.bench, replaced).await.0, 202);
    site.claimed(0).await;
    let parent = ObjectKey::new(site.bench.key(&tasks[1])).expect("a key");
    let other = damaged(&recording, 2);
    site.objects.blobs.put(&parent, other.mcap.into(), &PutFacts::default()).await.expect("it is replaced");
    let said = ended(&site.bench, replaced).await;
    assert_eq!((&said["state"], &said["fault"]), (&json!("failed"), &json!("other_object")), "{said}");
    assert_eq!((site.objects().await, site.number("select count(*) from dead_letters").await), (first, 0));
}
