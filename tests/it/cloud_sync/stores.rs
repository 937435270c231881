//! Cloud sync with S3 servers that are not ours: one that runs in this process, and one that the environment names (`make cloud-stores`).

use keystone_edge::config::Secret;
use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::{Site, kill, large, small};
use crate::harness::s3::RawS3;
use crate::harness::{temp_folder, until};

struct Store {
    endpoint: String,
    access_key: String,
    secret_key: String,
}

const BUCKET: &str = "keystone-cloud";

impl Store {
    /// A small recording, and a large one whose worker dies on the way: both are there, byte for byte, and each was seen to be.
    async fn takes_recordings(&self, proofs: [&str; 2]) {
        let site = Site::with(vec![small(), large(17)]).await;
        let named = |settings: &mut keystone_edge::cloud::s3::S3Settings| {
            settings.endpoint = self.endpoint.clone();
            settings.access_key = self.access_key.clone();
            settings.secret_key = Secret::new(self.secret_key.clone());
            settings.prefix = "edge-工 a+b/".into();
            settings.parts_at_once = 1;
        };
        site.queue_all().await;
        let first = site.worker_with("dies", named, Some(6 << 20));
        let parts = "select count(*) from sync_progress where done_bytes > 0 and done_bytes < total_bytes";
        until("a part is there", async || site.number(parts).await > 0).await;
        kill(first).await;
        let second = site.worker_with("lives", named, None);
        site.until_synced().await;
        second.stop().await;
        for (nth, (recording, proof)) in site.recordings.iter().zip(proofs).enumerate() {
            let status = site.status(site.episodes[nth]).await;
            let object = &status["destinations"]["s3"]["object"];
            assert_eq!(object["proof"], proof, "{status}");
            let key = object["object_key"].as_str().expect("a key");
            let there =
                self.client(&self.secret_key).get(&Path::parse(key).unwrap()).await.expect("an object").bytes().await.expect("its bytes");
            assert_eq!(hex::encode(Sha256::digest(&there)), recording.sha256);
        }
        site.take_away_and_bring_back(site.reached(named, None)).await;
    }

    /// What it verifies and tells, found by trying: what answers 200 to everything has none of it but the list of uploads.
    async fn abilities(&self) -> Vec<&'static str> {
        const SHA256: &str = "x-amz-checksum-sha256";
        let (right, wrong) = ("DSLNzBDm0Enb4a9RI9UIc/38Gk9YMG5Yy2JBvpRyAU0=", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=");
        let address = self.endpoint.strip_prefix("http://").expect("http").parse().expect("an address");
        let raw = RawS3::new(address, &self.access_key, &self.secret_key);
        let (bucket, object) = (format!("/{BUCKET}"), format!("/{BUCKET}/edge-tried"));
        let mut found = vec![];
        if self.client("another secret").put(&Path::from("edge-x"), "x".into()).await.is_err() {
            found.push("secrets");
        }
        if raw.put(&object, &[(SHA256, wrong)], "some bytes").await.status >= 400 {
            found.push("checksums");
        }
        let algorithm = ("x-amz-sdk-checksum-algorithm", "SHA256");
        let put = raw.put(&object, &[algorithm, (SHA256, right)], "some bytes").await;
        assert_eq!(put.status, 200, "{}", put.text());
        if raw.send("HEAD", &object, &[], &[("x-amz-checksum-mode", "ENABLED")], "").await.header(SHA256) == right {
            found.push("checksums_told");
        }
        let begun = raw.send("POST", &object, &[("uploads", "")], &[("x-amz-checksum-algorithm", "SHA256")], "").await;
        let upload = begun.element("UploadId").expect("an upload");
        let part = [("partNumber", "1"), ("uploadId", &upload)];
        if raw.send("PUT", &object, &part, &[(SHA256, wrong)], "some bytes").await.status >= 400 {
            found.push("checksums_of_parts");
        }
        if raw.send("GET", &bucket, &[("prefix", "edge-tried"), ("uploads", "")], &[], "").await.elements("UploadId").contains(&upload) {
            found.push("uploads_listed");
        }
        assert!(raw.send("DELETE", &object, &[("uploadId", &upload)], &[], "").await.status < 300);
        if !raw.send("HEAD", &format!("{bucket}/edge-never"), &[], &[], "").await.header("x-amz-request-id").is_empty() {
            found.push("answers_numbered");
        }
        found
    }

    fn client(&self, secret: &str) -> object_store::aws::AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(secret)
            .build()
            .expect("a client")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lists_no_uploads_takes_recordings() {
    let folder = temp_folder();
    std::fs::create_dir_all(folder.path().join(BUCKET)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("cloud", "cloud-secret"));
    let service = service.build();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    let store = Store { endpoint: format!("http://{address}"), access_key: "cloud".into(), secret_key: "cloud-secret".into() };
    assert_eq!(store.abilities().await, ["secrets", "checksums", "checksums_told"]);
    store.takes_recordings(["sha256", "etag_of_parts"]).await;
}

/// `KEYSTONE_CLOUD_STORE_ENDPOINT`, `_KEY` and `_SECRET` name it, `_ABILITIES` what it verifies and tells, and `_PROOFS` what it can show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_that_the_environment_names_takes_recordings() {
    let given = |name: &str| std::env::var(format!("KEYSTONE_CLOUD_STORE_{name}")).ok();
    let (Some(endpoint), Some(access_key), Some(secret_key)) = (given("ENDPOINT"), given("KEY"), given("SECRET")) else {
        println!("skipped: KEYSTONE_CLOUD_STORE_ENDPOINT names no store; `make cloud-stores` does");
        return;
    };
    let store = Store { endpoint, access_key, secret_key };
    let abilities = store.abilities().await.join(",");
    println!("it verifies and tells: {abilities}");
    if let Some(expected) = given("ABILITIES") {
        assert_eq!(abilities, expected);
    }
    let proofs = given("PROOFS").unwrap_or_else(|| "sha256,sha256_of_parts".into());
    let (one, many) = proofs.split_once(',').expect("two proofs");
    store.takes_recordings([one, many]).await;
}
