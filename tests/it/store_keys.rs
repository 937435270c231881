//! Nobody destroys what was verified: each robot has a key of its own, which opens nothing but its own objects, and an
//! object that an episode names stays as it is, under every key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keystone_edge::config::Secret;
use keystone_edge::embedded::keys::RobotKeys;
use keystone_edge::embedded::s3::guard::{Delete, Deleting, Guard, Replace, Replacing};
use keystone_edge::embedded::s3::{Credentials, EmbeddedS3, Options};
use keystone_edge::projections::reads::Reads;
use keystone_edge::simulator::client::{Client, id_of};
use keystone_edge::simulator::collector::Collector;
use keystone_edge::simulator::factory::{self, DispatchedTask, Equipment};
use keystone_edge::simulator::{Faults, RecordingProfile, Robot, RobotConfig, StoreConfig};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::harness::bench::{Bench, Recording, complete, is_ack, is_upload_request, record, recording, transfer_of};
use crate::harness::device::Socket;
use crate::harness::s3::RawS3;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{PrivatePostgres, TestObjects, temp_folder, until};
use crate::registration::{render, values_of};

/// A new installation: nobody gave a key, and none was made by an older version.
fn fresh() -> Vec<(&'static str, String)> {
    vec![("KEYSTONE_S3_ACCESS_KEY", String::new()), ("KEYSTONE_S3_SECRET_KEY", String::new())]
}

fn with_key(server: &Server, access_key: &str, secret_key: &str) -> RawS3 {
    RawS3::new(server.address(3).parse::<SocketAddr>().expect("an address"), access_key, secret_key)
}

fn of_store(server: &Server, store: &StoreConfig) -> RawS3 {
    with_key(server, &store.access_key, &store.secret_key)
}

/// The server's own, which nobody else is given; the test reads it from the disk.
fn of_server(server: &Server) -> RawS3 {
    let secret = std::fs::read_to_string(server.folder.join("data/secrets/s3_server")).expect("the server's secret");
    with_key(server, "keystone-server", secret.trim())
}

async fn equipped(bench: &Bench, station: usize) -> Equipment {
    Equipment::renewed(&bench.client, bench.made.stations[station].robot_id).await.expect("a token and a key")
}

fn object(bench: &Bench, key: &str) -> String {
    format!("/{}/{key}", bench.server.store().bucket)
}

/// As the uploader does it: the MCAP with its checksum, then the sidecar.
async fn upload(s3: &RawS3, bench: &Bench, key: &str, recording: &Recording) {
    let about = [("x-amz-meta-checksum-sha256", recording.sha256.as_str())];
    assert_eq!(s3.put(&object(bench, key), &about, recording.mcap.clone()).await.status, 200);
    if let Some(sidecar) = &recording.sidecar {
        assert_eq!(s3.put(&object(bench, &key.replace(".mcap", ".json")), &[], sidecar.clone()).await.status, 200);
    }
}

/// Records, uploads and verifies one task with the robot's own key; the MCAP's key.
async fn episode(s3: &RawS3, bench: &Bench, task: &DispatchedTask, recording: &Recording) -> String {
    let key = bench.key(task);
    let mut transfer = transfer_of(bench, json!([]), json!([])).await;
    upload(s3, bench, &key, recording).await;
    transfer.send(&complete(&task.public_id, &key, recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    key
}

#[tokio::test]
async fn a_robots_key_opens_its_own_objects_and_nothing_else() {
    let mut bench = Bench::start_with(fresh()).await;
    bench.made = factory::seed(&bench.client, "Keys", 2).await.unwrap();
    bench.device = bench.made.stations[0].device_id.clone();
    let (mine, other) = (equipped(&bench, 0).await, equipped(&bench, 1).await);
    let (s3, theirs) = (of_store(&bench.server, &mine.store), of_store(&bench.server, &other.store));
    let bucket = format!("/{}", mine.store.bucket);
    let own = format!("{bucket}/1/{}/2026-11-20/a.mcap", bench.device);
    let foreign = format!("{bucket}/1/{}/2026-11-20/a.mcap", bench.made.stations[1].device_id);
    assert_eq!(theirs.put(&foreign, &[], "theirs").await.status, 200);

    // What an uploader does, it may.
    assert_eq!(s3.head(&own, &[]).await.status, 404);
    assert_eq!(s3.put(&own, &[], "mine").await.status, 200);
    assert_eq!(s3.put(&own, &[], "mine again").await.status, 200);
    assert_eq!(s3.head(&own, &[]).await.status, 200);
    let parts = own.replace("/a.mcap", "/parts.mcap");
    let id = s3.create_upload(&parts, &[]).await;
    let tag = s3.put_part(&parts, &id, 1, "one part").await.etag().to_owned();
    assert_eq!(s3.complete(&parts, &id, &[(1, &tag)]).await.status, 200);
    let given_up = s3.create_upload(&parts, &[]).await;
    assert_eq!(s3.send("DELETE", &parts, &[("uploadId", &given_up)], &[], "").await.status, 204);

    // Nothing else, and nothing of others.
    let their_upload = theirs.create_upload(&foreign, &[]).await;
    let from_theirs = foreign.clone();
    for (method, path, query, headers) in [
        ("PUT", foreign.as_str(), vec![], vec![]),
        ("HEAD", &foreign, vec![], vec![]),
        ("GET", &foreign, vec![], vec![]),
        ("GET", &own, vec![], vec![]),
        ("DELETE", &own, vec![], vec![]),
        ("DELETE", &foreign, vec![], vec![]),
        ("PUT", &own, vec![], vec![("x-amz-copy-source", from_theirs.as_str())]),
        ("PUT", &own, vec![("partNumber", "1"), ("uploadId", given_up.as_str())], vec![("x-amz-copy-source", &from_theirs)]),
        ("POST", &foreign, vec![("uploads", "")], vec![]),
        ("PUT", &foreign, vec![("partNumber", "1"), ("uploadId", &their_upload)], vec![]),
        ("DELETE", &foreign, vec![("uploadId", &their_upload)], vec![]),
        ("PUT", &own, vec![("tagging", "")], vec![]),
        ("PUT", &own, vec![("acl", "")], vec![]),
        ("GET", &bucket, vec![("list-type", "2")], vec![]),
        ("GET", &bucket, vec![("uploads", "")], vec![]),
        ("GET", "/", vec![], vec![]),
        ("HEAD", &bucket, vec![], vec![]),
        ("DELETE", &bucket, vec![], vec![]),
        ("PUT", "/another-bucket", vec![], vec![]),
        ("PUT", &bucket, vec![("policy", "")], vec![]),
        ("POST", &bucket, vec![("delete", "")], vec![]),
    ] {
        let refused = s3.send(method, path, &query, &headers, "").await;
        assert_eq!(refused.status, 403, "{method} {path} {query:?} {headers:?}: {}", refused.text());
    }
    // Under its own name another's upload is none.
    let stolen = s3.put_part(&own, &their_upload, 1, "mine").await;
    assert_eq!((stolen.status, stolen.code().as_str()), (404, "NoSuchUpload"), "{}", stolen.text());
    let server = of_server(&bench.server);
    assert_eq!(server.get(&foreign, &[]).await.text(), "theirs");
    assert_eq!(server.get(&own, &[]).await.text(), "mine again");

    // The key that all robots shared does not exist here, and the server's own is not told to anybody.
    assert_eq!(with_key(&bench.server, "keystone", "x").put(&own, &[], "x").await.status, 403);
    assert!(!bench.server.folder.join("data/secrets/s3").exists());
    let secret = std::fs::read_to_string(bench.server.folder.join("data/secrets/s3_server")).unwrap();
    let log = std::fs::read_to_string(bench.server.folder.join("log")).unwrap();
    assert!(!log.contains(secret.trim()) && !log.contains("kss_v1_"), "a secret is in the log");

    // Replaced: the new key works at once, the one before ends within seconds, and its robot is told to wait.
    let renewed = equipped(&bench, 0).await;
    assert_eq!(of_store(&bench.server, &renewed.store).put(&own, &[], "renewed").await.status, 200);
    until("the end of the old key", async || s3.put(&own, &[], "old").await.status == 503).await;
}

#[tokio::test]
async fn an_object_that_an_episode_names_stays_under_every_key() {
    let bench = Bench::start().await;
    let store = equipped(&bench, 0).await.store;
    let (robot, server) = (of_store(&bench.server, &store), of_server(&bench.server));
    let task = bench.dispatch(1).await.remove(0);
    let sound = recording(5, true);
    let mcap = object(&bench, &episode(&robot, &bench, &task, &sound).await);
    let sidecar = mcap.replace(".mcap", ".json");
    let bucket = format!("/{}", store.bucket);
    let before = server.head(&mcap, &[]).await;

    for (path, content) in [(&mcap, sound.mcap.clone()), (&sidecar, sound.sidecar.clone().unwrap())] {
        // The same bytes again, as after a crash: a success that changes nothing, in one piece and in parts.
        assert_eq!(robot.put(path, &[], content.clone()).await.status, 200, "{path}");
        let id = robot.create_upload(path, &[]).await;
        let tag = robot.put_part(path, &id, 1, content.clone()).await.etag().to_owned();
        assert_eq!(robot.complete(path, &id, &[(1, &tag)]).await.status, 200, "{path}");
        for s3 in [&robot, &server] {
            // Other bytes: to come again later, and nothing changes.
            assert_eq!(s3.put(path, &[], "other bytes").await.status, 503, "{path}");
            let id = s3.create_upload(path, &[]).await;
            let tag = s3.put_part(path, &id, 1, "other parts").await.etag().to_owned();
            assert_eq!(s3.complete(path, &id, &[(1, &tag)]).await.status, 503, "{path}");
            assert_eq!(s3.delete(path).await.status, 403, "{path}");
        }
        let other = format!("{bucket}/elsewhere");
        assert_eq!(server.put(&other, &[], "other bytes").await.status, 200);
        assert_eq!(server.put(path, &[("x-amz-copy-source", other.as_str())], "").await.status, 503, "{path}");
        let key = path.strip_prefix(&format!("{bucket}/")).unwrap();
        let list = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
        let deleted = server.send("POST", &bucket, &[("delete", "")], &[], list).await;
        assert_eq!(deleted.element("Code").as_deref(), Some("AccessDenied"), "{}", deleted.text());
        assert_eq!(server.get(path, &[]).await.body, content, "{path}");
    }
    // The key that robots shared opens nothing more than before, and not for this robot, which has its own.
    let shared = with_key(&bench.server, "test", "test-secret");
    assert_eq!((shared.put(&mcap, &[], "other").await.status, shared.delete(&mcap).await.status), (503, 403));
    for s3 in [&server, &shared, &robot] {
        let refused = s3.send("DELETE", &bucket, &[], &[], "").await;
        assert!(matches!(refused.status, 403 | 409), "{}", refused.text());
    }
    let after = server.head(&mcap, &[]).await;
    assert_eq!((after.etag(), after.header("last-modified")), (before.etag(), before.header("last-modified")));
    assert_eq!(after.header("x-amz-meta-checksum-sha256"), sound.sha256);
    bench.expect_episode(&task, &sound).await;

    // The task tells of it: each offer once, however often it came.
    let refused = async || bench.events_of(&task, "object_write_refused").await;
    until("what was refused", async || refused().await.len() >= 6).await;
    for _ in 0..5 {
        assert_eq!(robot.put(&mcap, &[], "other bytes").await.status, 503);
    }
    let told = refused().await;
    assert!(told.iter().any(|event| event["access_key"] == json!(store.access_key) && event["offered_bytes"] == 11), "{told:?}");
    assert_eq!(told.len(), told.iter().map(Value::to_string).collect::<std::collections::BTreeSet<_>>().len(), "{told:?}");
    assert!(told.len() <= 10);
}

/// Between the sidecar and `upload_complete`, and between that and what the uploader remembers of it.
#[tokio::test]
async fn an_uploader_that_is_killed_after_its_sidecar_ends_with_one_episode_and_its_ack() {
    let bench = Bench::start_with(fresh()).await;
    let s3 = of_store(&bench.server, &equipped(&bench, 0).await.store);
    let tasks = bench.dispatch(2).await;
    for (task, reported) in tasks.iter().zip([false, true]) {
        let (sound, key) = (recording(if reported { 6 } else { 5 }, true), bench.key(task));
        let recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
        bench.recording(&recorder, task).await;
        let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
        let finish = json!({ "task_id": task.public_id, "device_id": bench.device, "output_path": "/data/a.mcap", "status": "finished",
                             "file_size_bytes": sound.mcap.len(), "message_count": 5 });
        let posted = reqwest::Client::new().post(bench.callback("finish", task)).json(&finish).send().await;
        assert_eq!(posted.unwrap().status().as_u16(), 200);
        transfer.wait_for("the request", |frame| is_upload_request(frame, &task.public_id)).await;
        upload(&s3, &bench, &key, &sound).await;
        if reported {
            transfer.send(&complete(&task.public_id, &key, &sound)).await;
            bench.until_status(task, "completed").await;
        }
        transfer.hang_up().await;
        drop(transfer);

        // Started again: what was under way is under way. The MCAP is there with its checksum, so only the sidecar goes again.
        let uploads = json!([record(&bench, task, &sound, "active")]);
        let mut transfer = transfer_of(&bench, uploads, json!([])).await;
        let head = s3.head(&object(&bench, &key), &[]).await;
        assert_eq!((head.status, head.header("x-amz-meta-checksum-sha256")), (200, sound.sha256.as_str()));
        let sidecar = object(&bench, &key.replace(".mcap", ".json"));
        assert_eq!(s3.put(&sidecar, &[], sound.sidecar.clone().unwrap()).await.status, 200, "reported: {reported}");
        assert_eq!(s3.head(&sidecar, &[]).await.status, 200);
        transfer.send(&complete(&task.public_id, &key, &sound)).await;
        transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        bench.until_status(task, "completed").await;
        bench.expect_episode(task, &sound).await;
        assert_eq!(bench.events_of(task, "upload_verified").await.len(), 1, "reported: {reported}");
        assert_eq!(bench.events_of(task, "object_write_refused").await, Vec::<Value>::new());
    }
}

/// A robot goes on writing while its upload is verified. Whichever write wins, the episode is what is in the store.
#[tokio::test]
async fn what_is_being_verified_is_not_replaced() {
    let bench = Bench::start_with(fresh()).await;
    let (robot, server) = (of_store(&bench.server, &equipped(&bench, 0).await.store), of_server(&bench.server));
    let tasks = bench.dispatch(6).await;
    let transfer = transfer_of(&bench, json!([]), json!([])).await;
    for (n, task) in tasks.iter().enumerate() {
        let (sound, other) = (recording(100_000, true), recording(100_001, true));
        let (key, path) = (bench.key(task), object(&bench, &bench.key(task)));
        upload(&robot, &bench, &key, &sound).await;
        transfer.send(&complete(&task.public_id, &key, &sound)).await;
        let meddle = async {
            // Every second one only when the server knows of the upload: those are verified.
            if n % 2 == 1 {
                until("the report", async || !bench.events_of(task, "upload_reported").await.is_empty()).await;
            }
            loop {
                let (bytes, sidecar) = (other.mcap.clone(), path.replace(".mcap", ".json"));
                tokio::join!(robot.put(&path, &[], bytes), robot.put(&sidecar, &[], "{}"));
            }
        };
        let ended = until("a verdict", async || {
            bench.status(task).await == "completed" || !bench.events_of(task, "upload_rejected").await.is_empty()
        });
        tokio::select! { () = meddle => {}, () = ended => {} }
        if bench.status(task).await == "completed" {
            bench.expect_episode(task, &sound).await;
            let same = server.get(&path, &[]).await.body == sound.mcap;
            assert!(same, "the episode of {} names other bytes", task.public_id);
        }
    }
    let status = futures_util::future::join_all(tasks.iter().map(|task| bench.status(task))).await;
    assert!(status.iter().skip(1).step_by(2).all(|status| status == "completed"), "{status:?}");
}

/// An uploader goes on using the connection on which it was refused.
#[tokio::test]
async fn a_refused_upload_leaves_its_connection_usable_or_says_that_it_ends() {
    let objects = TestObjects::new().await;
    // Unsigned, which is enough to be refused before the body is read.
    for (bytes, asks_first) in [(5, false), (5, true), (300 << 10, false), (8 << 20, false)] {
        let mut stream = tokio::net::TcpStream::connect(objects.s3.address()).await.unwrap();
        for nth in ["first", "second"] {
            let expect = if asks_first { "Expect: 100-continue\r\n" } else { "" };
            let head = format!("PUT /edge-f/a HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n{expect}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            if !asks_first {
                stream.write_all(&vec![b'x'; bytes]).await.unwrap();
            }
            let mut answer = String::new();
            while !answer.ends_with("</Error>") && !answer.ends_with("</Error>\r\n0\r\n\r\n") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "{bytes} bytes, asks first: {asks_first}: the {nth} request was answered with {answer:?}");
                answer += std::str::from_utf8(&piece[..read]).unwrap();
            }
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            if answer.to_lowercase().contains("connection: close") {
                break;
            }
        }
    }
}

/// Lets writes wait at the guard.
#[derive(Default)]
struct Turnstile {
    asked: Notify,
    go: Notify,
}

#[async_trait]
impl Guard for Turnstile {
    async fn replace(&self, _write: Replacing<'_>) -> Replace {
        self.asked.notify_one();
        self.go.notified().await;
        Replace::Allow
    }

    async fn delete(&self, _deletion: Deleting<'_>) -> Delete {
        Delete::Allow
    }
}

/// Why the above holds: the first look of a verification cannot come between the guard's word and the write.
#[tokio::test]
async fn a_look_waits_for_a_write_that_was_let_through() {
    let (folder, turnstile) = (temp_folder(), Arc::new(Turnstile::default()));
    let credentials = Credentials { access_key: "test".into(), secret_key: Secret::new("test-secret") };
    let options = Options::new(credentials, "edge-f", Duration::from_secs(3600)).guarded_by(turnstile.clone());
    let endpoint = EmbeddedS3::start(folder.path(), ([127, 0, 0, 1], 0).into(), options).await.unwrap();
    let s3 = RawS3::of(&endpoint);
    turnstile.go.notify_one();
    let before = s3.put("/edge-f/a", &[], "before").await.etag().to_owned();
    turnstile.asked.notified().await;
    let write = s3.put("/edge-f/a", &[], "after");
    let look = async {
        turnstile.asked.notified().await;
        let mut look = std::pin::pin!(s3.head("/edge-f/a", &[]));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut look).await.is_err(), "the look did not wait");
        turnstile.go.notify_one();
        look.await.etag().to_owned()
    };
    let (written, seen) = tokio::join!(write, look);
    assert_ne!(written.etag(), before);
    assert_eq!(written.etag(), seen);
    endpoint.stop().await;
}

/// An uploader gives a file up for ever after 403, and a clock is set right, as a secret is.
#[tokio::test]
async fn a_wrong_clock_or_a_wrong_secret_makes_a_robot_wait() {
    let bench = Bench::start().await;
    let store = equipped(&bench, 0).await.store;
    let path = object(&bench, &format!("1/{}/2026-11-20/a.mcap", bench.device));
    for minutes in [-20, 20] {
        let wrong = of_store(&bench.server, &store).ahead_by(chrono::Duration::minutes(minutes));
        let refused = wrong.put(&path, &[], "a").await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "ServiceUnavailable"), "{}", refused.text());
        let said = refused.element("Message").unwrap();
        let clocks: Vec<_> = said.split(' ').filter_map(|word| chrono::DateTime::parse_from_rfc3339(word).ok()).collect();
        let [theirs, ours] = clocks.as_slice() else { panic!("{said}") };
        assert!(((*theirs - *ours).num_seconds() - minutes * 60).abs() < 60, "{said}");
        assert_eq!(wrong.head(&path, &[]).await.status, 503);
        let id = of_store(&bench.server, &store).create_upload(&path, &[]).await;
        assert_eq!(wrong.put_part(&path, &id, 1, "a").await.status, 503);
    }
    for (access_key, status, code) in [
        (store.access_key.as_str(), 503, "ServiceUnavailable"),
        ("test", 503, "ServiceUnavailable"),
        // No robot was ever given such a key.
        ("keystone-server", 403, "SignatureDoesNotMatch"),
        ("KR<&>", 403, "SignatureDoesNotMatch"),
        ("somebody", 403, "SignatureDoesNotMatch"),
    ] {
        let refused = with_key(&bench.server, access_key, "another secret").put(&path, &[], "a").await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{access_key}: {}", refused.text());
    }
    assert_eq!(of_store(&bench.server, &store).put(&path, &[], "a").await.status, 200);
    // What is not its own, no waiting mends.
    let foreign = object(&bench, "1/AB-another/2026-11-20/a.mcap");
    assert_eq!(of_store(&bench.server, &store).put(&foreign, &[], "a").await.status, 403);
}

/// What it recorded before is as welcome at the store as at its uploader's socket.
#[tokio::test]
async fn a_retired_robot_brings_what_it_recorded_with_the_key_that_it_has() {
    let bench = Bench::start_with(fresh()).await;
    let s3 = of_store(&bench.server, &equipped(&bench, 0).await.store);
    let task = bench.dispatch(1).await.remove(0);
    let path = format!("/robots/{}/retire", bench.made.stations[0].robot_id);
    let retired = bench.client.call(Method::POST, &path, Some(&json!({ "reason": "scrapped" }))).await.unwrap();
    assert_eq!(retired.status.as_u16(), 200, "{}", retired.body);
    let sound = recording(5, true);
    let key = episode(&s3, &bench, &task, &sound).await;
    bench.expect_episode(&task, &sound).await;
    // It opens no more than before.
    assert_eq!(s3.delete(&object(&bench, &key)).await.status, 403);
    assert_eq!(s3.put(&object(&bench, "1/AB-another/2026-11-20/a.mcap"), &[], "a").await.status, 403);
}

/// An upgrade stops no robot; each changes to its own key when it is given one, and then the old one can be switched off.
#[tokio::test]
async fn robots_that_share_a_key_go_on_until_each_has_its_own() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = fresh();
    // What an older version left.
    std::fs::create_dir_all(folder.path().join("data/secrets")).unwrap();
    std::fs::write(folder.path().join("data/secrets/s3"), "what every robot knows").unwrap();
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let made = factory::seed(&client, "Upgrade", 2).await.unwrap();
    let shared = with_key(&server, "keystone", "what every robot knows");
    let bucket = server.store().bucket;
    let path = |n: usize| format!("/{bucket}/1/{}/2026-11-20/a.mcap", made.stations[n].device_id);
    assert_eq!((shared.put(&path(0), &[], "a").await.status, shared.put(&path(1), &[], "b").await.status), (200, 200));
    for (method, at) in [("DELETE", path(0)), ("DELETE", format!("/{bucket}")), ("PUT", "/another-bucket".to_owned())] {
        assert_eq!(shared.send(method, &at, &[], &[], "").await.status, 403, "{method} {at}");
    }
    let reads = Reads::new(server.database().await);
    let keyless = async || reads.keyless_robots().await.unwrap().into_iter().map(|robot| robot.device_id.to_string()).collect::<Vec<_>>();
    assert_eq!(keyless().await, [made.stations[0].device_id.clone(), made.stations[1].device_id.clone()]);

    let own = Equipment::renewed(&client, made.stations[0].robot_id).await.unwrap();
    assert_eq!(of_store(&server, &own.store).put(&path(0), &[], "c").await.status, 200);
    until("the end of the shared key for this robot", async || shared.put(&path(0), &[], "d").await.status == 503).await;
    assert_eq!(shared.put(&path(1), &[], "e").await.status, 200);
    assert_eq!(keyless().await, [made.stations[1].device_id.clone()]);
    // Nobody who holds the shared key finds out another's.
    let guessed = RobotKeys::new(Secret::new("what every robot knows")).secret_of(&own.store.access_key);
    assert_ne!(guessed.expose(), own.store.secret_key);

    // A robot that is retired needs it for what it still has to bring; one that never came has nothing.
    let path_of_it = format!("/robots/{}/retire", made.stations[1].robot_id);
    let retired = client.call(Method::POST, &path_of_it, Some(&json!({ "reason": "worn out" }))).await.unwrap();
    assert_eq!(retired.status.as_u16(), 200, "{}", retired.body);
    assert_eq!(keyless().await, Vec::<String>::new());
    let _uploader = Socket::connect(&server.address(2), &format!("/transfer/{}", made.stations[1].device_id)).await;
    assert_eq!(keyless().await, [made.stations[1].device_id.clone()]);

    server.stop().await;
    server.settings.push(("KEYSTONE_S3_SHARED_KEY", "refused".to_owned()));
    server.start();
    server.ready().await;
    assert_eq!(with_key(&server, "keystone", "what every robot knows").put(&path(1), &[], "f").await.status, 503);
    assert_eq!(of_store(&server, &own.store).put(&path(0), &[], "g").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn without_the_database_new_uploads_go_on_and_nothing_that_is_there_is_replaced() {
    let mut postgres = PrivatePostgres::start().await;
    let mut settings = fresh();
    settings.push(("KEYSTONE_DATABASE_URL", postgres.url().expose().to_owned()));
    settings.push(("KEYSTONE_JWT_SECRET", "one secret for all processes of this test".to_owned()));
    let bench = Bench::start_with(settings).await;
    let (robot, server) = (of_store(&bench.server, &equipped(&bench, 0).await.store), of_server(&bench.server));
    let path = |name: &str| object(&bench, &format!("1/{}/2026-11-20/{name}.mcap", bench.device));
    assert_eq!(robot.put(&path("a"), &[], "before").await.status, 200);
    postgres.stop().await;
    assert_eq!(robot.put(&path("b"), &[], "new").await.status, 200);
    assert_eq!(robot.put(&path("a"), &[], "before").await.status, 200, "the same bytes destroy nothing");
    assert_eq!(robot.put(&path("a"), &[], "after").await.status, 503);
    assert_eq!(server.put(&path("a"), &[], "after").await.status, 503);
    assert_eq!(server.delete(&path("a")).await.status, 503);
    assert_eq!(server.get(&path("a"), &[]).await.text(), "before");
    postgres.start_again().await;
    until("the database is back", async || robot.put(&path("a"), &[], "after").await.status == 200).await;
}

/// The value at a path of a rendered file, which is as simple as our templates are.
fn value_at(yaml: &str, path: &[&str]) -> String {
    let mut depth: Vec<(usize, &str)> = vec![];
    for line in yaml.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let indent = line.len() - line.trim_start().len();
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        depth.retain(|(outer, _)| *outer < indent);
        depth.push((indent, name));
        if depth.iter().map(|(_, name)| *name).eq(path.iter().copied()) {
            return value.trim().trim_matches('"').to_owned();
        }
    }
    panic!("{path:?} is not in\n{yaml}")
}

#[tokio::test]
async fn a_robot_that_is_configured_by_the_shipped_templates_alone_records_uploads_and_is_acked() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = fresh();
    server.settings.push(("KEYSTONE_DEVICE_AUTH", "required".to_owned()));
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let made = factory::seed(&client, "Shipped", 1).await.unwrap();
    let robot_type = client.get("/robot_types").await.unwrap()["items"][0].clone();
    let factory_name = client.get("/factories").await.unwrap()["items"][0]["name"].clone();

    // As `axon-config register` does it: one POST without a login, two files, every placeholder from the answer.
    let (http, api) = (reqwest::Client::new(), format!("{}/api/v1", server.base()));
    let body = json!({ "factory": factory_name, "robot_type": robot_type["model"] });
    let answer = http.post(format!("{api}/devices/register")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let values = values_of(&answer.json().await.unwrap());
    let rendered = async |file: &str| {
        let template = http.get(format!("{api}/robot_types/{}/configs/{file}", values["robot_type_id"])).send().await.unwrap();
        assert_eq!(template.status(), 200, "{file}");
        render(&template.text().await.unwrap(), &values)
    };
    let (recorder, transfer) = (rendered("recorder.yaml").await, rendered("transfer.yaml").await);
    let s3 = |name: &str| value_at(&transfer, &["uploader", "s3", name]);
    let config = RobotConfig {
        device_id: value_at(&transfer, &["device_id"]),
        factory_id: value_at(&transfer, &["factory_id"]),
        recorder_url: value_at(&recorder, &["rpc", "ws_client", "url"]),
        recorder_token: Some(value_at(&recorder, &["rpc", "ws_client", "auth_token"])),
        transfer_url: value_at(&transfer, &["ws", "url"]),
        store: StoreConfig {
            endpoint: s3("endpoint_url"),
            bucket: s3("bucket"),
            region: s3("region"),
            access_key: s3("access_key"),
            secret_key: s3("secret_key"),
            part_bytes: s3("part_size").parse().unwrap(),
        },
        attempts_max: value_at(&transfer, &["uploader", "retry", "max_retries"]).parse().unwrap(),
        data_dir: folder.path().join("robot"),
        pace: 5.0,
        profile: RecordingProfile::small(2304),
        seed: 1,
        faults: Faults::default(),
    };
    let device_id = config.device_id.clone();
    let robot = Robot::start(config).unwrap();

    let collector =
        json!({ "organization_id": made.organization_id.to_string(), "name": "Li", "operator_id": "li", "password": "li's password" });
    let collector = id_of(&client.create("/data_collectors", &collector).await.unwrap()["id"]).unwrap();
    let station = json!({ "robot_id": values["robot_id"], "data_collector_id": collector.to_string() });
    let station_id = id_of(&client.create("/stations", &station).await.unwrap()["id"]).unwrap();
    let place = factory::Workplace { station_id, device_id: device_id.clone(), ..made.stations[0].clone() };
    let order = factory::place_order(&client, &made, "Shipped", 1).await.unwrap();
    let task = factory::dispatch(&client, &made, order, &place, 1).await.unwrap().remove(0);
    let collector = Collector {
        client: client.clone(),
        device_id: device_id.clone(),
        recording: Duration::from_millis(500),
        patience: Duration::from_secs(60),
        look_again: Collector::LOOK_AGAIN,
    };
    collector.record(&task, |_| {}).await.unwrap();
    let mut report = robot.report();
    let seen = report.wait_for(|report| !report.acks.is_empty()).await.unwrap().clone();
    assert_eq!(seen.violations, []);
    assert!(seen.uploads[0].s3_key.contains(&format!("/{device_id}/")), "{:?}", seen.uploads);
    robot.stop().await;
    // Neither needed what others know.
    let removed = client.call(Method::GET, "/robots", None).await.unwrap();
    assert!(!removed.body.to_string().contains("kss_v1_"));
    server.stop().await;
}
