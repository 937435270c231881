//! The simulated cloud, as clients see it that are not ours: `object_store`, and plain HTTP. What goes wrong on purpose is
//! seen by the client, and counted by the cloud.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderValue};
use keystone_edge::simulator::cloud::{Cloud, CloudFaults, CloudOptions, CloudReport, ObjectReport, OutageKind};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::s3::RawS3;
use crate::harness::{simulated_cloud, temp_folder, until};

const MIB: usize = 1 << 20;
const BUCKET: &str = "keystone-cloud";
const KEY: &str = "simulated-cloud";
const SECRET: &str = "simulated-cloud-secret";

struct Trial {
    cloud: Cloud,
    folder: TempDir,
}

impl Trial {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut CloudOptions)) -> Self {
        let (cloud, folder) = simulated_cloud(change).await;
        Self { cloud, folder }
    }

    fn faults(&self, change: impl FnOnce(&mut CloudFaults)) {
        let mut faults = CloudFaults::default();
        change(&mut faults);
        self.cloud.set_faults(faults);
    }

    /// Gives up at once, so that a test sees each answer.
    fn client(&self) -> AmazonS3 {
        self.client_with(|builder| builder.with_checksum_algorithm(Checksum::SHA256))
    }

    fn client_with(&self, change: impl FnOnce(AmazonS3Builder) -> AmazonS3Builder) -> AmazonS3 {
        let builder = AmazonS3Builder::new()
            .with_endpoint(self.cloud.addresses().s3_endpoint())
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        change(builder).build().expect("a client")
    }

    fn raw(&self) -> RawS3 {
        RawS3::new(self.cloud.addresses().s3, KEY, SECRET)
    }

    async fn report(&self) -> CloudReport {
        self.cloud.report().await.expect("a report")
    }

    async fn object(&self, key: &str) -> ObjectReport {
        self.report().await.objects.into_iter().find(|object| object.key == key).unwrap_or_else(|| panic!("nothing of {key}"))
    }

    async fn count(&self, of: fn(&CloudReport) -> &std::collections::BTreeMap<String, u64>, name: &str) -> u64 {
        of(&self.report().await).get(name).copied().unwrap_or_default()
    }

    async fn injected(&self, name: &str) -> u64 {
        self.count(|report| &report.faults, name).await
    }

    async fn refused(&self, name: &str) -> u64 {
        self.count(|report| &report.refusals, name).await
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("cloud")).expect("the folder").count()
    }
}

fn content(bytes: usize, seed: usize) -> Bytes {
    (0..bytes).map(|i| (i.wrapping_mul(7).wrapping_add(seed * 13) % 251) as u8).collect()
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// The error with all its causes.
fn chain(error: &Error) -> String {
    keystone_edge::telemetry::chain(error)
}

async fn bytes_of(client: &AmazonS3, key: &str) -> Bytes {
    client.get(&Path::from(key)).await.expect("an object").bytes().await.expect("its bytes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_objects_are_put_read_listed_and_removed() {
    let trial = Trial::new().await;
    let client = trial.client();
    let sent = content(3 * MIB, 1);
    let key = "edge-1/工厂/a b+c.mcap";
    let put = client.put(&Path::parse(key).unwrap(), sent.clone().into()).await.unwrap();
    use s3s::crypto::{Checksum as _, Md5};
    assert_eq!(put.e_tag.as_deref(), Some(&*format!("\"{}\"", hex::encode(Md5::checksum(&sent)))), "as S3 makes it");
    assert_eq!(client.head(&Path::parse(key).unwrap()).await.unwrap().size, sent.len() as u64);
    assert_eq!(client.get_range(&Path::parse(key).unwrap(), 700_000..2_000_001).await.unwrap(), sent.slice(700_000..2_000_001));
    assert_eq!(client.get(&Path::parse(key).unwrap()).await.unwrap().bytes().await.unwrap(), sent);

    // Only where nothing is.
    let absent = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let again = client.put_opts(&Path::parse(key).unwrap(), content(5, 2).into(), absent()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    client.put_opts(&Path::from("edge-1/b"), content(5, 2).into(), absent()).await.unwrap();
    for n in 0..3 {
        client.put(&Path::from(format!("edge-2/{n}")), content(n, n).into()).await.unwrap();
    }
    let listed: Vec<_> = client.list(Some(&Path::from("edge-1"))).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|object| object.size).collect::<Vec<_>>(), [5, sent.len() as u64]);
    let folders = client.list_with_delimiter(None).await.unwrap();
    assert_eq!(folders.common_prefixes, [Path::from("edge-1"), Path::from("edge-2")]);

    // As older clients list, page by page.
    let pages = [("", ["edge-1/b", "edge-1/%E5%B7%A5%E5%8E%82/a%20b%2Bc.mcap"]), ("edge-1/工厂/a b+c.mcap", ["edge-2/0", "edge-2/1"])];
    for (marker, keys) in pages {
        let query = [("marker", marker), ("max-keys", "2"), ("encoding-type", "url")];
        let page = trial.raw().send("GET", &format!("/{BUCKET}"), &query, &[], "").await;
        assert_eq!((page.elements("Key"), page.element("IsTruncated")), (keys.map(str::to_owned).to_vec(), Some("true".to_owned())));
    }
    // What is not known is said: tags of objects, for one.
    let tagged = trial.raw().put(&format!("/{BUCKET}/x"), &[("x-amz-tagging", "a=b")], "x").await;
    assert_eq!((tagged.status, tagged.code()), (501, "NotImplemented".to_owned()));

    let of = trial.object(key).await;
    assert_eq!((of.bytes, of.completed, of.received_bytes, of.resent_bytes), (Some(sent.len() as u64), 1, sent.len() as u64, 0));
    assert_eq!(of.sha256, Some(sha256(&sent)));
    assert_eq!(trial.refused("s3 PreconditionFailed").await, 1);
    let files = trial.files();
    trial.raw().delete(&format!("/{BUCKET}/{key}")).await;
    assert!(matches!(client.head(&Path::parse(key).unwrap()).await, Err(Error::NotFound { .. })));
    assert_eq!(trial.files(), files - 1, "bytes that no object has are removed");
    // Sent once more, it was sent twice.
    client.put(&Path::parse(key).unwrap(), sent.clone().into()).await.unwrap();
    let of = trial.object(key).await;
    assert_eq!((of.completed, of.resent_bytes), (2, sent.len() as u64));
    let folder = trial.folder;
    trial.cloud.stop().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("cloud")).unwrap().count(), 0, "the folder is empty after the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_parts_are_verified_part_by_part_and_as_a_whole() {
    let trial = Trial::new().await;
    let client = trial.client();
    let path = Path::from("edge-1/large.mcap");
    let parts = [content(6 * MIB, 1), content(5 * MIB, 2), content(17, 3)];
    let whole: Bytes = parts.concat().into();
    let id = client.create_multipart(&path).await.unwrap();
    // In any order, and the second of them twice.
    let mut known = vec![];
    for nth in [2, 1, 0, 1] {
        known.push((nth, client.put_part(&path, &id, nth, parts[nth].clone().into()).await.unwrap()));
    }
    known.truncate(3);
    known.sort_by_key(|(nth, _)| *nth);
    let unfinished = trial.report().await.unfinished;
    assert_eq!((unfinished[0].parts, unfinished[0].bytes), (3, whole.len() as u64));
    let listed = trial.raw().send("GET", &format!("/{BUCKET}/edge-1/large.mcap"), &[("uploadId", &id), ("max-parts", "2")], &[], "").await;
    assert_eq!(listed.elements("PartNumber"), ["1", "2"], "{}", listed.text());
    assert_eq!(listed.element("ChecksumSHA256"), Some(STANDARD.encode(Sha256::digest(&parts[0]))));
    client.complete_multipart(&path, &id, known.into_iter().map(|(_, part)| part).collect()).await.unwrap();
    assert_eq!(bytes_of(&client, "edge-1/large.mcap").await, whole);
    let across = client.get_range(&path, 6 * MIB as u64 - 3..11 * MIB as u64 + 5).await.unwrap();
    assert_eq!(across, whole.slice(6 * MIB - 3..11 * MIB + 5));
    let of = trial.object("edge-1/large.mcap").await;
    assert_eq!((of.parts, of.completed, of.sha256), (3, 1, Some(sha256(&whole))));
    assert_eq!((of.received_bytes, of.resent_bytes), (whole.len() as u64 + 5 * MIB as u64, 5 * MIB as u64));
    let joined: Vec<u8> = parts.iter().flat_map(Sha256::digest).collect();
    let composite = format!("{}-3", STANDARD.encode(Sha256::digest(joined)));
    assert_eq!(of.composite_sha256.as_ref(), Some(&composite));
    let head = trial.raw().head(&format!("/{BUCKET}/edge-1/large.mcap"), &[("x-amz-checksum-mode", "ENABLED")]).await;
    assert_eq!((head.header("x-amz-checksum-sha256"), head.header("x-amz-checksum-type")), (&*composite, "COMPOSITE"));
    assert!(head.etag().ends_with("-3"));

    // What is aborted leaves nothing but what it cost.
    let id = client.create_multipart(&Path::from("gone")).await.unwrap();
    client.put_part(&Path::from("gone"), &id, 0, content(10, 1).into()).await.unwrap();
    client.abort_multipart(&Path::from("gone"), &id).await.unwrap();
    assert!(trial.report().await.unfinished.is_empty());
    let of = trial.object("gone").await;
    assert_eq!((of.bytes, of.completed, of.received_bytes, of.resent_bytes), (None, 0, 10, 10));
    let late = client.put_part(&Path::from("gone"), &id, 0, content(10, 1).into()).await;
    assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
    assert_eq!(trial.files(), 3, "one file for each part of the object");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_on_its_way_is_refused() {
    let trial = Trial::new().await;
    let wrong = STANDARD.encode(Sha256::digest("something else"));
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-checksum-sha256", HeaderValue::from_str(&wrong).unwrap());
    let options = ClientOptions::new().with_allow_http(true).with_default_headers(headers);
    let client = trial.client_with(|builder| builder.with_client_options(options));
    let refused = client.put(&Path::from("a"), content(100, 1).into()).await.unwrap_err();
    assert!(chain(&refused).contains("BadDigest"), "{}", chain(&refused));
    assert!(matches!(trial.client().head(&Path::from("a")).await, Err(Error::NotFound { .. })));

    let raw = trial.raw();
    let path = format!("/{BUCKET}/b");
    let id = raw.create_upload(&path, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let query = [("partNumber", "1"), ("uploadId", &*id)];
    let part = raw.send("PUT", &path, &query, &[("x-amz-checksum-sha256", &wrong)], "a part").await;
    assert_eq!((part.status, part.code()), (400, "BadDigest".to_owned()));
    let bare = raw.put_part(&path, &id, 1, "a part").await;
    assert_eq!((bare.status, bare.code()), (400, "InvalidRequest".to_owned()), "each part has a checksum");
    let right = STANDARD.encode(Sha256::digest("a part"));
    let part = raw.send("PUT", &path, &query, &[("x-amz-checksum-sha256", &right)], "a part").await;
    assert_eq!(part.status, 200, "{}", part.text());
    // The signature says another hash of the body; the MD5 is another; a trailer is wrong.
    let lied = raw.send_hashed("PUT", &path, &[], &[], "a body".into(), &sha256(b"another")).await;
    assert_eq!((lied.status, lied.code()), (400, "XAmzContentSHA256Mismatch".to_owned()));
    let md5 = STANDARD.encode([7; 16]);
    assert_eq!(raw.put(&path, &[("content-md5", &md5)], "a body").await.code(), "BadDigest");
    assert_eq!(raw.put_with_trailer(&path, b"a body", 7).await.code(), "BadDigest");
    assert_eq!(raw.put_with_trailer(&path, b"a body", crc32fast::hash(b"a body")).await.status, 200);
    assert_eq!(trial.refused("s3 BadDigest").await, 4);
    assert_eq!(trial.files(), 2, "what was refused leaves no file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_signature_and_a_key_that_expired_are_refused() {
    let trial = Trial::new().await;
    let path = Path::from("a");
    let unsigned = trial.client_with(|builder| builder.with_secret_access_key("a guess"));
    let refused = unsigned.put(&path, content(10, 1).into()).await.unwrap_err();
    assert!(chain(&refused).contains("SignatureDoesNotMatch") && matches!(refused, Error::PermissionDenied { .. }), "{}", chain(&refused));
    let stranger = trial.client_with(|builder| builder.with_access_key_id("another"));
    assert!(chain(&stranger.put(&path, content(10, 1).into()).await.unwrap_err()).contains("InvalidAccessKeyId"));
    let nobody = trial.client_with(|builder| builder.with_skip_signature(true));
    assert!(chain(&nobody.put(&path, content(10, 1).into()).await.unwrap_err()).contains("AccessDenied"));
    let other = trial.client_with(|builder| builder.with_bucket_name("another-bucket"));
    assert!(chain(&other.put(&path, content(10, 1).into()).await.unwrap_err()).contains("NoSuchBucket"));

    let client = trial.client();
    trial.faults(|faults| faults.key_lifetime = Some(Duration::ZERO));
    assert!(chain(&client.put(&path, content(10, 1).into()).await.unwrap_err()).contains("ExpiredToken"));
    trial.faults(|faults| faults.key_lifetime = Some(Duration::from_secs(600)));
    trial.cloud.renew_key();
    client.put(&path, content(10, 1).into()).await.unwrap();
    assert_eq!((trial.injected("expired_keys").await, trial.refused("s3 SignatureDoesNotMatch").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_that_a_client_sees_is_counted_once() {
    let trial = Trial::with(|options| options.seed = 14).await;
    let client = trial.client();
    trial.faults(|faults| {
        faults.cut_connections = 0.3;
        faults.slow_downs = 0.3;
        faults.retry_after = Some(Duration::from_millis(1500));
        faults.lost_answers = vec!["put=0.3".parse().unwrap()];
    });
    let (mut failed, mut slowed) = (0, 0);
    for n in 0..30 {
        let (path, sent) = (Path::from(format!("edge/{n}")), content(200_000 + n, n));
        for attempt in 0.. {
            assert!(attempt < 60, "{n} never arrives");
            match client.put(&path, sent.clone().into()).await {
                Ok(_) => break,
                Err(error) => {
                    failed += 1;
                    slowed += u64::from(chain(&error).contains("SlowDown"));
                }
            }
        }
    }
    trial.faults(|_| {});
    let report = trial.report().await;
    let of = |name: &str| report.faults.get(name).copied().unwrap_or_default();
    let (cut, lost) = (of("cut_connections"), of("lost_put_answers"));
    assert!(cut > 0 && lost > 0 && of("slow_downs") > 0 && of("slow_downs_with_retry_after") > 0, "{:?}", report.faults);
    assert_eq!((failed, slowed), (cut + lost + slowed, of("slow_downs") + of("slow_downs_with_retry_after")), "{:?}", report.faults);
    let completed: u64 = report.objects.iter().map(|object| u64::from(object.completed)).sum();
    assert_eq!(completed, 30 + lost, "an answer that is lost is carried out");
    for n in 0..30 {
        assert_eq!(bytes_of(&client, &format!("edge/{n}")).await, content(200_000 + n, n));
        let of = trial.object(&format!("edge/{n}")).await;
        assert!(of.resent_bytes == of.received_bytes - (200_000 + n) as u64, "{of:?}");
    }
    // Objects that are read are cut, too, and come in part.
    trial.faults(|faults| faults.cut_connections = 1.0);
    for n in 0..5 {
        let got = client.get(&Path::from(format!("edge/{n}"))).await;
        let whole = async { got?.bytes().await };
        assert!(whole.await.is_err(), "{n}");
    }
    assert_eq!(trial.injected("cut_connections").await, cut + 5);
    // A server that is asked to wait is told for how long, in whole seconds.
    trial.faults(|faults| (faults.slow_downs, faults.retry_after) = (1.0, Some(Duration::from_millis(1500))));
    let mut said = vec![];
    for _ in 0..20 {
        let answer = trial.raw().put(&format!("/{BUCKET}/x"), &[], "x").await;
        assert_eq!((answer.status, answer.code()), (503, "SlowDown".to_owned()));
        said.push(answer.header("retry-after").to_owned());
    }
    assert!(said.contains(&"2".to_owned()) && said.contains(&String::new()), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_leave_what_was_done() {
    let trial = Trial::new().await;
    let client = trial.client();
    let path = Path::from("edge/large");
    let id = client.create_multipart(&path).await.unwrap();
    trial.faults(|faults| faults.lost_answers = vec!["part=1".parse().unwrap(), "complete=1".parse().unwrap()]);
    client.put_part(&path, &id, 0, content(1000, 1).into()).await.unwrap_err();
    let unfinished = trial.report().await.unfinished;
    assert_eq!((unfinished[0].parts, unfinished[0].bytes), (1, 1000));
    trial.faults(|faults| faults.lost_answers = vec!["complete=1".parse().unwrap()]);
    let part = client.put_part(&path, &id, 0, content(1000, 1).into()).await.unwrap();
    client.complete_multipart(&path, &id, vec![part.clone()]).await.unwrap_err();
    assert_eq!(client.head(&path).await.unwrap().size, 1000);
    // The upload is gone with its completion: asked again, it is not there, and the object is.
    let again = client.complete_multipart(&path, &id, vec![part]).await.unwrap_err();
    assert!(matches!(again, Error::NotFound { .. }), "{again:?}");
    let of = trial.object("edge/large").await;
    assert_eq!((of.completed, of.received_bytes, of.resent_bytes), (1, 2000, 1000));

    // An upload that begins, and its beginning is not heard of.
    trial.faults(|faults| faults.lost_answers = vec!["create=1".parse().unwrap()]);
    client.create_multipart(&Path::from("edge/orphan")).await.unwrap_err();
    let listed = trial.raw().send("GET", &format!("/{BUCKET}"), &[("uploads", "")], &[], "").await;
    assert_eq!(listed.elements("Key"), ["edge/orphan"], "{}", listed.text());

    trial.faults(|faults| faults.lost_answers = vec!["tell=1".parse().unwrap()]);
    let told = || reqwest::Client::new().post(trial.cloud.addresses().receiver_url()).json(&json!({ "episode_id": "ep_1" })).send();
    told().await.unwrap_err();
    trial.faults(|_| {});
    assert_eq!(told().await.unwrap().status(), 409);
    let report = trial.report().await;
    for name in ["lost_part_answers", "lost_complete_answers", "lost_create_answers", "lost_tell_answers"] {
        assert_eq!(report.faults.get(name), Some(&1), "{:?}", report.faults);
    }
    assert_eq!(report.episodes.iter().map(|episode| episode.told).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_refuses_connections_or_stands_still_and_ends() {
    let trial = Trial::new().await;
    let client = Arc::new(trial.client_with(|builder| {
        builder.with_client_options(ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(60)))
    }));
    let path = Path::from("a");
    client.put(&path, content(10, 1).into()).await.unwrap();
    trial.faults(|faults| faults.down = true);
    for address in [trial.cloud.addresses().s3, trial.cloud.addresses().receiver] {
        let refused = async || TcpStream::connect(address).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        until("nobody listens", refused).await;
    }
    let started = Instant::now();
    client.put(&path, content(10, 1).into()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20), "a refusal comes at once");
    trial.faults(|_| {});
    until("it listens again", async || TcpStream::connect(trial.cloud.addresses().s3).await.is_ok()).await;
    client.put(&path, content(10, 1).into()).await.unwrap();

    trial.faults(|faults| (faults.down, faults.outage_kind) = (true, OutageKind::Swallow));
    let putting = tokio::spawn({
        let (client, path) = (client.clone(), path.clone());
        async move { client.put(&path, content(20, 1).into()).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!putting.is_finished(), "nothing answers");
    trial.faults(|_| {});
    putting.await.unwrap().expect("it goes on after the outage");
    assert_eq!(trial.object("a").await.completed, 3);
    assert_eq!(trial.injected("outages").await, 2);
    assert!(trial.injected("connections_in_outages").await >= 2);

    // One that was asked for at the start ends by itself.
    let trial = Trial::with(|options| options.faults.outages = vec!["0s..700ms".parse().unwrap()]).await;
    let (client, started) = (trial.client(), Instant::now());
    while client.put(&path, content(10, 1).into()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "the outage never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() > Duration::from_millis(500));
    assert_eq!(trial.injected("outages").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_carries_no_more_than_it_may() {
    let trial = Trial::new().await;
    let client = Arc::new(trial.client());
    let put = |key: String, bytes: usize| {
        let client = client.clone();
        async move { client.put(&Path::from(key), content(bytes, 1).into()).await.map(drop) }
    };
    // Two connections share 2 MB/s.
    trial.faults(|faults| faults.bandwidth = Some(2_000_000));
    let started = Instant::now();
    tokio::try_join!(put("a".into(), 1_000_000), put("b".into(), 1_000_000)).unwrap();
    let took = started.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(10)).contains(&took), "{took:?}");
    // Each has half of that, and four have four times as much.
    trial.faults(|faults| faults.connection_bandwidth = Some(500_000));
    let started = Instant::now();
    tokio::try_join!(put("a".into(), 500_000), put("b".into(), 500_000), put("c".into(), 500_000), put("d".into(), 500_000)).unwrap();
    let took = started.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_millis(3500)).contains(&took), "{took:?}");
    // What is read is no quicker.
    let started = Instant::now();
    bytes_of(&client, "a").await;
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    // Each answer takes its time.
    trial.faults(|faults| faults.latency = Duration::from_millis(100));
    let started = Instant::now();
    for _ in 0..5 {
        client.head(&Path::from("a")).await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_takes_an_episode_once() {
    let trial = Trial::with(|options| options.receiver_token = Some("a token".to_owned())).await;
    let (http, url) = (reqwest::Client::new(), trial.cloud.addresses().receiver_url());
    let tell = |token: &'static str, body: String| http.post(&url).bearer_auth(token).body(body).send();
    let episode = json!({ "episode_id": "ep_1", "mcap": { "key": "edge-1/a.mcap" } });
    assert_eq!(tell("another", episode.to_string()).await.unwrap().status(), 401);
    let first = tell("a token", episode.to_string()).await.unwrap();
    assert_eq!(first.status(), 202);
    let first: Value = first.json().await.unwrap();
    let again = tell("a token", episode.to_string()).await.unwrap();
    assert_eq!(again.status(), 409);
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["synced_at"], &again["episode_id"]), (&first["synced_at"], &json!("ep_1")));
    assert!(again["synced_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{again}");
    for (body, status) in [("{", 400), ("{}", 400), (r#"{"episode_id":7}"#, 400), (r#"{"episode_id":""}"#, 400)] {
        assert_eq!(tell("a token", body.to_owned()).await.unwrap().status(), status, "{body}");
    }
    let large = json!({ "episode_id": "ep_2", "text": "x".repeat(2 << 20) });
    assert_eq!(tell("a token", large.to_string()).await.unwrap().status(), 413);
    assert_eq!(http.get(&url).send().await.unwrap().status(), 405);
    assert_eq!(http.post(format!("{url}s")).send().await.unwrap().status(), 404);
    let report = trial.report().await;
    assert_eq!(report.episodes.len(), 1);
    assert_eq!((report.episodes[0].told, &report.episodes[0].first), (2, &episode));
    assert_eq!((report.refusals["receiver 401"], report.refusals["receiver 400"]), (1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_hashes_and_keeps_nothing() {
    let trial = Trial::with(|options| options.discard = true).await;
    let client = trial.client();
    let parts = [content(5 * MIB, 1), content(MIB, 2)];
    client.put(&Path::from("whole"), parts[1].clone().into()).await.unwrap();
    let path = Path::from("large");
    let id = client.create_multipart(&path).await.unwrap();
    let mut known = vec![];
    for (nth, part) in parts.iter().enumerate() {
        known.push(client.put_part(&path, &id, nth, part.clone().into()).await.unwrap());
    }
    client.complete_multipart(&path, &id, known).await.unwrap();
    assert_eq!(client.head(&path).await.unwrap().size, 6 * MIB as u64);
    let read = client.get(&path).await.unwrap_err();
    assert!(chain(&read).contains("NotImplemented"), "{}", chain(&read));
    let wrong = STANDARD.encode(Sha256::digest("something else"));
    let damaged = trial.raw().put(&format!("/{BUCKET}/x"), &[("x-amz-checksum-sha256", &wrong)], "a body").await;
    assert_eq!(damaged.code(), "BadDigest");
    let joined: Vec<u8> = parts.iter().flat_map(Sha256::digest).collect();
    let of = trial.object("large").await;
    assert_eq!((of.bytes, of.sha256), (Some(6 * MIB as u64), None));
    assert_eq!(of.composite_sha256, Some(format!("{}-2", STANDARD.encode(Sha256::digest(joined)))));
    assert_eq!(trial.object("whole").await.sha256, Some(sha256(&parts[1])));
    assert!(!trial.folder.path().join("cloud").exists());

    // Where nothing is checked, all is believed and counted.
    let trial = Trial::with(|options| (options.discard, options.unchecked) = (true, true)).await;
    let client = trial.client();
    let believed = trial.raw().put(&format!("/{BUCKET}/x"), &[("x-amz-checksum-sha256", &wrong)], "a body").await;
    assert_eq!(believed.status, 200, "{}", believed.text());
    let id = client.create_multipart(&path).await.unwrap();
    let mut known = vec![];
    for (nth, part) in parts.iter().enumerate() {
        known.push(client.put_part(&path, &id, nth, part.clone().into()).await.unwrap());
    }
    assert_ne!(known[0].content_id, known[1].content_id);
    client.complete_multipart(&path, &id, known).await.unwrap();
    let of = trial.object("large").await;
    assert_eq!((of.bytes, of.received_bytes, of.sha256, of.composite_sha256), (Some(6 * MIB as u64), 6 * MIB as u64, None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_says_where_it_is_takes_faults_and_reports_at_its_end() {
    let folder = temp_folder();
    let mut program = Command::new(env!("CARGO_BIN_EXE_keystone"))
        .args(["simulate-cloud", "--json", "--s3", "127.0.0.1:0", "--receiver", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .args(["--auth", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--oss", "127.0.0.1:0"])
        .args(["--device", "robot-7:a2V5,site=shanghai", "--device", "robot-8", "--write-config", "dp.json"])
        .args(["--bucket", "first-bucket", "--bucket", "second-bucket", "--slow-downs", "1", "--lost-answers", "part=0.5,tell=0.5"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut output = BufReader::new(program.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let greeting: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(greeting["buckets"], json!(["first-bucket", "second-bucket"]));
    let text = |name: &str| greeting[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
    let written = folder.path().join("dp.json");
    assert_eq!(std::fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600, "keys are for their owner");
    let config: Value = serde_json::from_slice(&std::fs::read(&written).unwrap()).unwrap();
    assert_eq!(config["endpoints"], json!({ "auth": text("auth"), "gateway": text("gateway") }));
    assert_eq!(config["devices"][0], json!({ "deviceId": "robot-7", "apiKey": "a2V5", "tags": { "site": "shanghai" } }));
    assert_eq!((&greeting["config"], &greeting["devices"]), (&json!("dp.json"), &json!(["robot-7", "robot-8"])));
    let address = text("s3_endpoint").trim_start_matches("http://").parse().unwrap();
    let raw = RawS3::new(address, &text("access_key"), &text("secret_key"));
    assert_eq!(raw.put("/second-bucket/a", &[], "a body").await.code(), "SlowDown");
    let (http, control) = (reqwest::Client::new(), text("control"));
    let faults: Value = http.get(format!("{control}/faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&faults["slow_downs"], &faults["lost_answers"][1]["kind"]), (&json!(1.0), &json!("tell")));
    let unknown = http.put(format!("{control}/faults")).body(r#"{"rain":1}"#).send().await.unwrap();
    assert!(unknown.status() == 400 && unknown.text().await.unwrap().contains("rain"));
    let none = http.put(format!("{control}/faults")).body("{}").send().await.unwrap();
    assert_eq!(none.status(), 200);
    assert_eq!(raw.put("/second-bucket/a", &[], "a body").await.status, 200);
    assert_eq!(http.post(format!("{control}/renew-key")).send().await.unwrap().status(), 204);
    let report: CloudReport = http.get(format!("{control}/report")).send().await.unwrap().json().await.unwrap();
    assert_eq!((report.objects[0].sha256.clone(), report.faults["slow_downs"]), (Some(sha256(b"a body")), 1));

    let pid = nix::unistd::Pid::from_raw(i32::try_from(program.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(program.wait().unwrap().success());
    assert_eq!(serde_json::from_str::<CloudReport>(&rest).unwrap_or_else(|error| panic!("{error}: {rest}")), report);
    assert_eq!(std::fs::read_dir(folder.path().join("keystone-data/cloud")).unwrap().count(), 0);
}
