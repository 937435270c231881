//! Files of episodes: who gets them, how, and what the contract says must not happen.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::uploads::AcceptUpload;
use keystone_edge::domain::device::LinkKind;
use keystone_edge::domain::task::{UploadReport, VerifiedUpload};
use keystone_edge::domain::{DeviceId, PublicTaskId, TaskId};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::factory::{last_report, uploaded};
use crate::harness::edge::{Seed, TestEdge, number};
use crate::harness::s3::encode;

const DEVICE: &str = "AB-F0001-T0001-000001";

/// Names of factories as people give them, and as nobody should.
fn factory_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "100%41",
        "50%",
        "%2e%2e",
        "a?b=c&d#e",
        "a+b c",
        "\"it's\" <here>",
        ".hidden",
        "工厂 Shanghai",
        "s3",
        "ünï/code",
        "~!$;:@,*()[]{}|^`",
        " ahead",
        "behind ",
        " ",
        "\u{a0}no break\u{a0}",
        "\u{3000}工厂",
        "\u{2003}",
    ]
    .iter()
    .map(|name| name.replace('/', "-"))
    .collect();
    names.push("工".repeat(255));
    let mut runner = TestRunner::deterministic();
    let random = "[ -.0-~äöü工厂]{1,40}".prop_filter("a segment", |name| !matches!(name.as_str(), "." | "..") && !name.contains('\\'));
    names.extend((0..12).map(|_| random.new_tree(&mut runner).unwrap().current()));
    names
}

#[tokio::test]
async fn every_name_of_a_factory_works_on_every_route() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let names = factory_names();
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "Plates", "target_count": names.len(),
        "deadline": "2030-01-01T00:00:00Z"});
    let seed = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
    let created = edge.create("/api/v1/batches", seed.batch(names.len() as i64)).await;
    let download = async |token: &str, path: &str| {
        let answer = edge.request(token, "GET", path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (device, bucket) = (DeviceId::parse(DEVICE).unwrap(), edge.objects.settings.bucket.clone());
    let epoch = edge.execute(OpenLink { device: device.clone(), kind: LinkKind::Transfer, remote: "a".into(), process: None }).await;
    for (name, task) in names.iter().zip(created["tasks"].as_array().unwrap()) {
        let text = task["task_id"].as_str().unwrap();
        let key = format!("{name}/{DEVICE}/2026-11-20/{text}.mcap");
        let sidecar = key.replace(".mcap", ".json");
        for (key, content) in [(&key, "recording"), (&sidecar, "sidecar")] {
            let content = Bytes::from(format!("{content} of {name}"));
            edge.objects.blobs.put(&ObjectKey::new(key.as_str()).unwrap(), content, &PutFacts::default()).await.unwrap();
        }
        let report = UploadReport {
            object_key: key.clone(),
            size_bytes: format!("recording of {name}").len() as u64,
            sha256: "ab".repeat(32),
            with_sidecar: true,
        };
        let (device, public) = (device.clone(), PublicTaskId::parse(text).unwrap());
        edge.execute(uploaded(&device, epoch, public, report.clone())).await;
        let verified =
            VerifiedUpload { verified_bytes: report.size_bytes, report, etag: None, message_count: 1, notes: vec![], damage: None };
        let task = TaskId(number(&task["id"]));
        let reported_in = last_report(&edge.database.pool, task).await;
        edge.execute(AcceptUpload {
            task,
            reported_in,
            verified,
            bucket: bucket.clone(),
            sidecar: None,
            duration_sec: None,
            metadata: None,
            facts: None,
        })
        .await;

        let (_, listed) = edge.get(&format!("/api/v1/episodes?task_id={text}")).await;
        let episode = listed["items"][0]["id"].as_i64().unwrap_or_else(|| panic!("{name}: {listed}"));
        for (kind, key, content) in [("mcap", &key, "recording"), ("sidecar", &sidecar, "sidecar")] {
            let content = format!("{content} of {name}");
            let (status, link) = edge.get(&format!("/api/v1/episodes/{episode}/presign?kind={kind}")).await;
            assert_eq!(status, 200, "{name}: {link}");
            assert_eq!(download("", link["url"].as_str().unwrap()).await, (200, content.clone()), "{name}: the link of its episode");
            let query = format!("bucket={bucket}&object={}", encode(key, ""));
            assert_eq!(
                download(&edge.admin, &format!("/api/v1/storage/object?{query}")).await,
                (200, content.clone()),
                "{name}: the object itself"
            );
            // As older pages ask: encoded twice.
            let twice = format!("bucket={bucket}&object={}", encode(&encode(key, ""), ""));
            assert_eq!(
                download(&edge.admin, &format!("/api/v1/storage/object?{twice}")).await,
                (200, content.clone()),
                "{name}: encoded twice"
            );
            let (status, link) = edge.get(&format!("/api/v1/storage/presign?{query}")).await;
            assert_eq!(status, 200, "{name}: {link}");
            let at_store = link["url"].as_str().unwrap().strip_prefix("/s3").unwrap();
            let direct = reqwest::get(format!("{}{at_store}", edge.objects.s3.endpoint())).await.unwrap();
            assert_eq!((direct.status().as_u16(), direct.text().await.unwrap()), (200, content), "{name}: the link to the store");
        }
    }
}

/// An edge with one episode and its file.
pub struct Shelf {
    pub edge: TestEdge,
    pub episode: i64,
    bucket: String,
    pub key: String,
    content: Bytes,
    collector: String,
}

impl Shelf {
    pub async fn new(edge: TestEdge, size: usize) -> Self {
        let seed = edge.seed().await;
        let created = edge.create("/api/v1/batches", seed.batch(1)).await;
        let (task_id, text) = (number(&created["tasks"][0]["id"]), created["tasks"][0]["task_id"].as_str().unwrap().to_owned());
        let content = Bytes::from_iter((0..size).map(|n| (n % 251) as u8));
        let key = format!("Factory Shanghai/{DEVICE}/2026-11-20/{text}.mcap");
        edge.objects.blobs.put(&ObjectKey::new(key.as_str()).unwrap(), content.clone(), &PutFacts::default()).await.unwrap();
        let (device, task) = (DeviceId::parse(DEVICE).unwrap(), PublicTaskId::parse(&text).unwrap());
        let epoch = edge.execute(OpenLink { device: device.clone(), kind: LinkKind::Transfer, remote: "a".into(), process: None }).await;
        let report = UploadReport { object_key: key.clone(), size_bytes: size as u64, sha256: "ab".repeat(32), with_sidecar: true };
        edge.execute(uploaded(&device, epoch, task, report.clone())).await;
        let verified = VerifiedUpload { report, etag: None, message_count: 1, verified_bytes: size as u64, notes: vec![], damage: None };
        let bucket = edge.objects.settings.bucket.clone();
        let reported_in = last_report(&edge.database.pool, TaskId(task_id)).await;
        let accept = AcceptUpload {
            task: TaskId(task_id),
            reported_in,
            verified,
            bucket: bucket.clone(),
            sidecar: None,
            duration_sec: None,
            metadata: None,
            facts: None,
        };
        edge.execute(accept).await;
        let episode = edge.get("/api/v1/episodes").await.1["items"][0]["id"].as_i64().unwrap();
        let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
        Self { edge, episode, bucket, key, content, collector }
    }

    pub async fn of(size: usize) -> Self {
        Self::new(TestEdge::start().await, size).await
    }

    pub fn path(&self, route: &str, object: &str) -> String {
        let object = object.replace('%', "%25").replace(' ', "%20");
        format!("/api/v1/storage/{route}?bucket={}&object={object}", self.bucket)
    }

    async fn link(&self, token: &str) -> (u16, Value) {
        self.edge.send_as(token, "GET", &format!("/api/v1/episodes/{}/presign", self.episode), Value::Null).await
    }

    pub async fn judge(&self, status: &str) {
        let sql = "update episodes set qa_status = $1, quality_flag = 'too dark'";
        self.edge.database.pool.get().await.unwrap().execute(sql, &[&status]).await.unwrap();
    }
}

#[tokio::test]
async fn a_link_to_the_store_reads_the_object_behind_a_proxy() {
    let shelf = Shelf::of(1000).await;
    let (status, answer) = shelf.edge.get(&format!("{}&expires_seconds=60", shelf.path("presign", &shelf.key))).await;
    assert_eq!(status, 200, "{answer}");
    let url = answer["url"].as_str().unwrap();
    let at_store = url.strip_prefix("/s3").unwrap_or_else(|| panic!("{url}"));
    assert!(at_store.starts_with(&format!("/{}/", shelf.bucket)), "{url}");
    let direct = reqwest::get(format!("{}{at_store}", shelf.edge.objects.s3.endpoint())).await.unwrap();
    assert_eq!(direct.status(), 200);
    assert_eq!(direct.bytes().await.unwrap(), shelf.content);
    for bad in ["0", "3601", "x", "-1"] {
        let path = format!("{}&expires_seconds={bad}", shelf.path("presign", &shelf.key));
        assert_eq!(shelf.edge.get(&path).await.0, 400, "{bad}");
    }
    assert_eq!(shelf.edge.get(&shelf.path("presign", "../x")).await.0, 400);
    assert_eq!(shelf.edge.send_as("", "GET", &shelf.path("presign", &shelf.key), Value::Null).await.0, 401);
}

#[tokio::test]
async fn mn_26_a_download_token_does_not_work_as_a_login() {
    let shelf = Shelf::of(10).await;
    let url = shelf.link(&shelf.edge.admin).await.1["url"].as_str().unwrap().to_owned();
    let token = url.split("dl_token=").nth(1).unwrap().split('&').next().unwrap();
    for path in [
        format!("/api/v1/episodes/{}/presign", shelf.episode),
        shelf.path("presign", &shelf.key),
        shelf.path("object", &shelf.key),
        "/api/v1/orders".to_owned(),
    ] {
        assert_eq!(shelf.edge.send_as(token, "GET", &path, Value::Null).await.0, 401, "{path}");
    }
    // And a login is no link.
    let path = format!("{}&dl_token={}", shelf.path("object", &shelf.key), shelf.edge.admin);
    assert_eq!(shelf.edge.send_as("", "GET", &path, Value::Null).await.1["code"], "download_token_invalid");
}

#[tokio::test]
async fn mn_27_only_objects_of_episodes_in_the_factorys_bucket_can_be_read() {
    let shelf = Shelf::of(10).await;
    let stray = ObjectKey::new("backup/secrets.mcap").unwrap();
    shelf.edge.objects.blobs.put(&stray, Bytes::from_static(b"x"), &PutFacts::default()).await.unwrap();
    for route in ["object", "presign"] {
        for path in [shelf.path(route, "backup/secrets.mcap"), shelf.path(route, &shelf.key).replace(&shelf.bucket, "another-bucket")] {
            let (status, answer) = shelf.edge.get(&path).await;
            assert_eq!((status, &answer["code"]), (404, &json!("object_not_found")), "{path}");
        }
        assert_eq!(shelf.edge.get(&shelf.path(route, &shelf.key)).await.0, 200, "{route}");
    }
}

#[tokio::test]
async fn mn_28_a_blocked_episode_stays_blocked() {
    let shelf = Shelf::of(10).await;
    let url = shelf.link(&shelf.edge.admin).await.1["url"].as_str().unwrap().to_owned();
    shelf.judge("failed").await;
    let (status, answer) = shelf.link(&shelf.edge.admin).await;
    assert_eq!((status, &answer["code"], &answer["quality_flag"]), (409, &json!("episode_blocked"), &json!("too dark")));
    for path in [shelf.path("object", &shelf.key), shelf.path("presign", &shelf.key), url] {
        let (status, answer) = shelf.edge.get(&path).await;
        assert_eq!((status, &answer["code"]), (409, &json!("episode_blocked")), "{path}");
    }
    // Rejected by a person: shown to those who judge, and to nobody else.
    shelf.judge("rejected").await;
    assert_eq!(shelf.link(&shelf.edge.admin).await.0, 200);
    assert_eq!(shelf.link(&shelf.collector).await.0, 403);
    for route in ["object", "presign"] {
        let path = shelf.path(route, &shelf.key);
        assert_eq!(shelf.edge.send_as(&shelf.collector, "GET", &path, Value::Null).await.0, 403, "{route}");
    }
    shelf.judge("approved").await;
    assert_eq!(shelf.link(&shelf.collector).await.0, 200);
}

#[tokio::test]
async fn mn_29_a_download_does_not_die_at_the_general_timeout() {
    // Long enough for the head of an answer on a busy machine.
    const LIMIT: Duration = Duration::from_secs(2);
    // More than fits into the buffers of a connection.
    let edge = TestEdge::start_with(|settings| settings.request_timeout = LIMIT).await;
    let shelf = Shelf::new(edge, 32 << 20).await;
    let response = shelf.edge.request(&shelf.edge.admin, "GET", &shelf.path("object", &shelf.key)).send().await.unwrap();
    let (started, mut read) = (tokio::time::Instant::now(), 0);
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.expect("the whole object arrives");
        assert_eq!(piece, shelf.content.slice(read..read + piece.len()));
        // A slow reader: pauses until twice the limit is over.
        if read >> 22 != (read + piece.len()) >> 22 && started.elapsed() <= 2 * LIMIT {
            tokio::time::sleep(LIMIT / 2).await;
        }
        read += piece.len();
    }
    assert_eq!(read, shelf.content.len());
    assert!(started.elapsed() > 2 * LIMIT, "it took longer than the limit: {:?}", started.elapsed());
}

#[tokio::test]
async fn mn_30_entity_tags_are_quoted_and_lists_have_a_unique_last_key() {
    let shelf = Shelf::of(1000).await;
    let response = shelf.edge.request(&shelf.edge.admin, "GET", &shelf.path("object", &shelf.key)).send().await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"') && !etag[1..etag.len() - 1].contains('"'), "{etag}");
    for (name, statement) in keystone_edge::projections::reads::statements() {
        let Some((_, order)) = statement.rsplit_once(" order by ") else { continue };
        let Some((keys, _)) = order.split_once(" limit ") else { continue };
        let last = keys.rsplit(',').next().unwrap().trim();
        // A place holds numbers: where the unique key is a text, its hash stands for it.
        let hashed = keys.ends_with("hashtextextended(b.id, 0) desc");
        let unique = hashed
            || ["item_no", "request_no", "h.size"].iter().any(|number| last.trim_end_matches(" desc").ends_with(number))
            || last.trim_end_matches(" desc").ends_with("id")
            || last.contains("position")
            || last.contains("seq");
        assert!(unique, "the list `{name}` is ordered by {keys}: pages can repeat or skip");
    }
    // An unbounded limit is bounded, and says so.
    assert_eq!(shelf.edge.get("/api/v1/tasks?limit=1000000").await.1["limit"], 1000);
    assert_eq!(shelf.edge.get("/api/v1/batches?limit=1000000").await.1["limit"], 1000);
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_stopped() {
    let shelf = Shelf::of(3 << 20).await;
    let path = shelf.path("object", &shelf.key);
    let get = async |range: &str| {
        let request = shelf.edge.request(&shelf.edge.admin, "GET", &path).header("range", range);
        let response = request.send().await.unwrap();
        let facts = (response.status().as_u16(), response.headers().get("content-range").map(|v| v.to_str().unwrap().to_owned()));
        (facts, response.headers().get("etag").cloned(), response.bytes().await.unwrap())
    };
    let size = shelf.content.len();
    let ((status, range), etag, first) = get("bytes=0-1000000").await;
    assert_eq!((status, range.unwrap()), (206, format!("bytes 0-1000000/{size}")));
    let ((status, _), same, rest) = get("bytes=1000001-").await;
    assert_eq!((status, &same), (206, &etag));
    assert_eq!([first, rest].concat(), shelf.content);
    let ((status, range), _, body) = get(&format!("bytes={size}-")).await;
    assert_eq!((status, range.unwrap(), body.len()), (416, format!("bytes */{size}"), 0));
    // Another object under the same key says that it is another one.
    let key = ObjectKey::new(shelf.key.as_str()).unwrap();
    shelf.edge.objects.blobs.put(&key, Bytes::from(vec![7; size]), &PutFacts::default()).await.unwrap();
    let (_, other, _) = get("bytes=0-0").await;
    assert_ne!(other, etag);
    let head = shelf.edge.request(&shelf.edge.admin, "HEAD", &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers().get("etag")), (200, other.as_ref()));
}

#[tokio::test]
async fn the_breakdown_counts_by_scene_and_by_sop() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let batch = edge.create("/api/v1/batches", seed.batch(2)).await;
    let other = edge.create("/api/v1/sops", json!({"slug": "dry", "version": "2.0"})).await["id"].clone();
    let group = json!({"task_groups": [{"sop_id": number(&other), "subscene_id": number(&seed.subscene), "quantity": 1}]});
    let path = format!("/api/v1/batches/{}/tasks", number(&batch["batch"]["id"]));
    assert_eq!(edge.post(&path, group).await.0, 200);

    let (status, scenes) = edge.get("/api/v1/tasks/statistics/breakdown").await;
    assert_eq!(status, 200, "{scenes}");
    let scene = json!({"id": seed.scene.to_string().trim_matches('"'), "name": "kitchen", "count": 3});
    assert_eq!((&scenes["dimension"], &scenes["items"], &scenes["total"]), (&json!("scene"), &json!([scene]), &json!(1)));
    let (_, sops) = edge.get("/api/v1/tasks/statistics/breakdown?dimension=sop&limit=1").await;
    assert_eq!((&sops["items"][0]["count"], &sops["total"], &sops["hasNext"]), (&json!(2), &json!(2), &json!(true)));
    let (_, sops) = edge.get("/api/v1/tasks/statistics/breakdown?dimension=sop&offset=1").await;
    assert_eq!(sops["items"][0]["name"], "dry @ 2.0");
    for (filter, total) in [
        ("status=completed", 0),
        ("end_time=2020-01-01T00:00:00Z", 0),
        ("start_time=2020-01-01T00:00:00Z&status=pending", 1),
        ("workstation_id=none", 0),
        ("workstation_id=99", 0),
    ] {
        assert_eq!(edge.get(&format!("/api/v1/tasks/statistics/breakdown?{filter}")).await.1["total"], total, "{filter}");
    }
    for bad in
        ["dimension=robot", "status=lost", "start_time=soon", "start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z", "limit=0"]
    {
        assert_eq!(edge.get(&format!("/api/v1/tasks/statistics/breakdown?{bad}")).await.0, 400, "{bad}");
    }
    // A collector sees what their workstations ever had, and nothing else.
    let token = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    let seen = edge.send_as(&token, "GET", "/api/v1/tasks/statistics/breakdown?workstation_id=99", Value::Null).await.1;
    assert_eq!(seen["items"][0]["count"], 3);
    let stranger = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
    edge.create("/api/v1/data_collectors", stranger).await;
    let token = edge.log_in("wu", "wu's password").await.1["access_token"].as_str().unwrap().to_owned();
    let seen = edge.send_as(&token, "GET", "/api/v1/tasks/statistics/breakdown", Value::Null).await.1;
    assert_eq!(seen["total"], 0);
    assert_eq!(edge.send_as("", "GET", "/api/v1/tasks/statistics/breakdown", Value::Null).await.0, 401);
}
