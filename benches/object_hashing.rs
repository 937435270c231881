//! How quickly the content of objects is read and hashed, without measuring: one object of 2 GB, and a hundred of 20 MB, four
//! at a time.
//!
//! Three ways are measured: where the objects lie (the embedded store), through the embedded store's endpoint as if it were
//! a server of its own, and through that of version 0.1 (`s3s-fs`). With `KEYSTONE_BENCH_S3_ENDPOINT`, `…_ACCESS_KEY` and
//! `…_SECRET_KEY` an S3 server of yours is a fourth; its bucket `edge-bench` is made and filled.
//! `KEYSTONE_BENCH_RUNS` sets how often (5), `KEYSTONE_BENCH_SCALE` the share of the sizes above, in percent (100).

#![allow(clippy::disallowed_methods)]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::path::Path;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use keystone_edge::blobs::{Access, Blobs, ObjectKey, PutFacts};
use keystone_edge::config::{Config, Secret};
use keystone_edge::embedded::s3::{Credentials, EmbeddedS3, Options};

const LARGE_BYTES: u64 = 2_000_000_000;
const SMALL_BYTES: u64 = 20_000_000;
const SMALL_COUNT: u64 = 100;
const AT_ONCE: usize = 4;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Of this process: the most memory that was ever resident, and seconds of processor time.
fn usage() -> (u64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let stat = std::fs::read_to_string("/proc/self/stat").expect("our times");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("our name").1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("user time") + fields[12].parse::<f64>().expect("system time");
    (peak.unwrap_or(0), ticks / 100.0)
}

fn forget_peak() {
    // The kernel measures anew from here on, where it lets us.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

async fn fill(blobs: &Blobs, keys: &[(ObjectKey, u64)]) {
    blobs.ensure_bucket().await.expect("a bucket");
    for (key, bytes) in keys {
        let content = tokio::io::AsyncReadExt::take(Noise(1), *bytes);
        blobs.put_from(key, content, &PutFacts::default()).await.expect("an upload");
    }
}

/// Bytes that do not repeat within a part.
struct Noise(u64);

impl tokio::io::AsyncRead for Noise {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        while buffer.remaining() > 0 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bytes = self.0.to_le_bytes();
            buffer.put_slice(&bytes[..bytes.len().min(buffer.remaining())]);
        }
        std::task::Poll::Ready(Ok(()))
    }
}

async fn hash(blobs: &Blobs, keys: &[(ObjectKey, u64)]) {
    let hashed = stream::iter(keys).map(async |(key, bytes)| {
        let facts = blobs.head(key).await?;
        let (blobs, key) = (blobs.clone(), key.clone());
        let (_, hashed) = tokio::spawn(async move { harness::sha256_of(&blobs, &key, &facts).await }).await.expect("no panic")?;
        assert_eq!(hashed, *bytes);
        Ok::<_, keystone_edge::blobs::BlobError>(())
    });
    hashed.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.expect("all are hashed");
}

async fn measure(name: &str, blobs: &Blobs, runs: u64) {
    let scale = number("KEYSTONE_BENCH_SCALE", 100);
    let key = |name: String| ObjectKey::new(name).expect("a key");
    let large = vec![(key("large.mcap".to_owned()), LARGE_BYTES * scale / 100)];
    let small: Vec<_> = (0..SMALL_COUNT * scale / 100).map(|nth| (key(format!("small/{nth}.mcap")), SMALL_BYTES)).collect();
    for (what, keys) in [("one large", large), ("many small", small)] {
        fill(blobs, &keys).await;
        let bytes: u64 = keys.iter().map(|(_, bytes)| bytes).sum();
        forget_peak();
        let (mut rates, (_, cpu_before)) = (vec![], usage());
        let started = Instant::now();
        for _ in 0..runs {
            let begun = Instant::now();
            hash(blobs, &keys).await;
            rates.push(bytes as f64 / 1e9 / begun.elapsed().as_secs_f64());
        }
        let (peak, cpu) = usage();
        let cores = (cpu - cpu_before) / started.elapsed().as_secs_f64();
        rates.sort_by(f64::total_cmp);
        println!(
            "{name:32} {what:11} {:6.2} GB/s ({:.2} to {:.2} in {runs} runs), {cores:.1} cores, peak {} MiB",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1],
            peak / 1024
        );
        for (key, _) in &keys {
            blobs.delete(key).await.expect("it is deleted");
        }
    }
}

fn client(endpoint: String, access_key: &str, secret_key: &str, like: &Access) -> Blobs {
    let mut settings = Config::defaults().s3;
    settings.bucket = "edge-bench".to_owned();
    let access = Access {
        endpoint,
        public_endpoint: None,
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key),
        local: like.local.clone(),
    };
    Blobs::new(access, &settings).expect("a client")
}

async fn version_0_1(root: &Path) -> String {
    std::fs::create_dir_all(root).expect("a folder");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).expect("a store"));
    service.set_auth(s3s::auth::SimpleAuth::from_single("bench", "bench-secret"));
    let service = service.build();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    endpoint
}

#[tokio::main]
async fn main() {
    // `cargo test` and `cargo nextest list` call every binary.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runs = number("KEYSTONE_BENCH_RUNS", 5).max(1);
    let folder = harness::temp_folder();
    let credentials = Credentials { access_key: "bench".to_owned(), secret_key: Secret::new("bench-secret") };
    let options = Options::new(credentials, "edge-bench", Config::defaults().embedded.s3_upload_expiry);
    let s3 = EmbeddedS3::start(&folder.path().join("objects"), ([127, 0, 0, 1], 0).into(), options).await.expect("an endpoint");
    let here = Access { local: Some(s3.local()), ..harness::access(&s3) };
    let elsewhere = Access { local: None, ..here.clone() };
    measure("embedded, where it lies", &client(s3.endpoint(), "bench", "bench-secret", &here), runs).await;
    measure("embedded, through its endpoint", &client(s3.endpoint(), "bench", "bench-secret", &elsewhere), runs).await;
    if let Ok(endpoint) = std::env::var("KEYSTONE_BENCH_S3_ENDPOINT") {
        let key = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is needed with an endpoint"));
        let (access_key, secret_key) = (key("KEYSTONE_BENCH_S3_ACCESS_KEY"), key("KEYSTONE_BENCH_S3_SECRET_KEY"));
        measure(&endpoint, &client(endpoint.clone(), &access_key, &secret_key, &elsewhere), runs).await;
    }
    let old = version_0_1(&folder.path().join("old")).await;
    measure("version 0.1, through its endpoint", &client(old, "bench", "bench-secret", &elsewhere), runs).await;
}
