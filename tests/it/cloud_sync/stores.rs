//! Cloud sync with S3 servers that are not ours: one that runs in this process, and one that the environment names (`make cloud-stores`).

use keystone_edge::config::Secret;
use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::{Site, kill, large, small};
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

    /// Whether it looks at signatures at all: what answers 200 to everything tells nothing.
    async fn refuses_wrong_secrets(&self) -> bool {
        self.client("another secret").put(&Path::from("edge-x"), "x".into()).await.is_err()
    }

    /// Whether it compares what arrives with its checksum.
    async fn refuses_wrong_checksums(&self) -> bool {
        let address = self.endpoint.strip_prefix("http://").expect("http").parse().expect("an address");
        let raw = crate::harness::s3::RawS3::new(address, &self.access_key, &self.secret_key);
        let wrong = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
        let put = raw.put(&format!("/{BUCKET}/edge-checksum"), &[("x-amz-checksum-sha256", wrong)], "other bytes").await;
        put.status >= 400
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
    assert!(store.refuses_wrong_secrets().await && store.refuses_wrong_checksums().await);
    store.takes_recordings(["sha256", "etag_of_parts"]).await;
}

/// `KEYSTONE_CLOUD_STORE_ENDPOINT`, `_KEY` and `_SECRET` name it, `_PROOFS` what it can show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_that_the_environment_names_takes_recordings() {
    let given = |name: &str| std::env::var(format!("KEYSTONE_CLOUD_STORE_{name}")).ok();
    let (Some(endpoint), Some(access_key), Some(secret_key)) = (given("ENDPOINT"), given("KEY"), given("SECRET")) else {
        println!("skipped: KEYSTONE_CLOUD_STORE_ENDPOINT names no store; `make cloud-stores` does");
        return;
    };
    let store = Store { endpoint, access_key, secret_key };
    println!(
        "wrong secrets are refused: {}, wrong checksums: {}",
        store.refuses_wrong_secrets().await,
        store.refuses_wrong_checksums().await
    );
    let proofs = given("PROOFS").unwrap_or_else(|| "sha256,sha256_of_parts".into());
    let (one, many) = proofs.split_once(',').expect("two proofs");
    store.takes_recordings([one, many]).await;
}
