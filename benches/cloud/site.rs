//! The real program with its own Postgres and store, approved episodes in it, and how they are pushed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures_util::stream::{self, StreamExt as _};
use keystone_edge::blobs::{Access, Blobs, ObjectKey, PutFacts};
use keystone_edge::commands::Commands;
use keystone_edge::config::{Config, Secret};
use keystone_edge::domain::measurement::Facts;
use keystone_edge::domain::task::UploadReport;
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, Factory};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use super::harness::bench::{TOPICS, recorded};
use super::harness::server::{PASSWORD, Server};
use super::stored_episodes::EpisodeMaker;

/// Of one batch.
const TASKS_MAX: usize = 200;
/// Until a push of everything has ended.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// How it is pushed.
#[derive(Clone, Copy)]
pub struct Terms {
    pub to: SocketAddr,
    pub files: usize,
    pub parts: usize,
    /// 0: no limit.
    pub bytes_per_s: u64,
}

/// Episodes that are pushed together: of one robot, so under one prefix.
pub struct Set {
    pub name: String,
    pub prefix: String,
    pub episodes: Vec<i64>,
    pub bytes: u64,
    pushed: bool,
}

pub struct Site {
    pub server: Server,
    pub client: Client,
    pool: Pool,
    made: Factory,
    terms: Option<Terms>,
    lease: String,
    _folder: tempfile::TempDir,
}

/// What a push took: seconds, and seconds of processors of the program and of its database.
pub struct Pushed {
    pub took: f64,
    pub program: f64,
    pub database: f64,
}

impl Site {
    pub async fn start(robots: usize) -> Self {
        let folder = super::harness::temp_folder();
        let mut server = Server::new(folder.path());
        server.settings.push(("KEYSTONE_LOG", std::env::var("KEYSTONE_LOG").unwrap_or_else(|_| "warn".to_owned())));
        if let Ok(program) = std::env::var("KEYSTONE_BENCH_PROGRAM") {
            server.program = program;
        }
        server.start();
        server.ready().await;
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
        let pool = server.database().await;
        let made = factory::seed(&client, "Pushed", robots).await.expect("a factory");
        let lease = std::fs::read_to_string(folder.path().join("keystone.toml")).expect("settings");
        Self { server, client, pool, made, terms: None, lease, _folder: folder }
    }

    /// Starts the program anew with these terms.
    pub async fn on(&mut self, terms: Terms) {
        self.pool.close();
        self.server.stop().await;
        let sync = format!("[sync]\nparts_at_once = {}\nbytes_per_second_max = {}\n", terms.parts, terms.bytes_per_s);
        std::fs::write(self.server.folder.join("keystone.toml"), format!("{}{sync}", self.lease)).expect("settings");
        self.server.settings.retain(|(name, _)| !name.starts_with("KEYSTONE_CLOUD_") && !name.starts_with("KEYSTONE_SYNC_"));
        self.server.settings.extend([
            ("KEYSTONE_SYNC_MAX_CONCURRENT", terms.files.to_string()),
            ("KEYSTONE_CLOUD_S3_BUCKET", "cloud".to_owned()),
            ("KEYSTONE_CLOUD_S3_ENDPOINT", format!("http://{}", terms.to)),
            ("KEYSTONE_CLOUD_S3_ACCESS_KEY", "bench".to_owned()),
            ("KEYSTONE_CLOUD_S3_SECRET_KEY", "bench-secret".to_owned()),
        ]);
        self.server.start();
        self.server.ready().await;
        self.pool = self.server.database().await;
        self.terms = Some(terms);
        // The first requests after a start are no measure.
        self.client.get("/episodes").await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// So many approved episodes of so many bytes each, of this robot.
    pub async fn set(&self, name: &str, robot: usize, episodes: u64, bytes: u64) -> Set {
        let began = Instant::now();
        let station = &self.made.stations[robot];
        let store = self.server.store();
        let access = Access {
            endpoint: store.endpoint,
            public_endpoint: None,
            access_key: store.access_key,
            secret_key: Secret::new(store.secret_key),
            local: None,
        };
        let blobs = Blobs::new(access, &Config::defaults().s3).expect("a client");
        let commands = Commands::new(EventStore::new(self.pool.clone(), Wakes::default()));
        let maker = EpisodeMaker::new(commands, self.pool.clone(), blobs.clone(), &store.bucket, &station.device_id).await;
        let many = usize::try_from(episodes).expect("a number");
        let order = factory::place_order(&self.client, &self.made, name, many).await.expect("an order");
        let mut tasks = vec![];
        while tasks.len() < many {
            let next = TASKS_MAX.min(many - tasks.len());
            tasks.extend(factory::dispatch(&self.client, &self.made, order, station, next).await.expect("a batch"));
        }
        // What quality is judged by is that of a small recording; what is pushed has no meaning.
        let good = recorded(&TOPICS, 5);
        let sidecar = good.sidecar.clone().expect("a sidecar");
        maker.put("bench/good.mcap", good.mcap.clone()).await;
        let (_, facts) = maker.measured("bench/good.mcap", &good).await;
        let facts = *facts.expect("facts");
        for (n, task) in tasks.iter().enumerate() {
            let key = maker.key(&task.public_id);
            let name = ObjectKey::new(&key).expect("a key");
            let mut content = Content::new(n as u64, bytes);
            blobs.put_from(&name, &mut content, &PutFacts::default()).await.expect("an object");
            maker.put(&key.replace(".mcap", ".json"), sidecar.clone()).await;
            let etag = blobs.head(&name).await.expect("an object").etag;
            let report = UploadReport { object_key: key, size_bytes: bytes, sha256: content.sha256(), with_sidecar: true };
            let facts = Facts { size_bytes: bytes, etag: Some(etag.clone()), sha256: Some(report.sha256.clone()), ..facts.clone() };
            maker.accept(task.id, &task.public_id, report, Some(etag), Some(Box::new(facts))).await;
        }
        let waits = "select count(*) from episodes where qa_status in ('pending_qa', 'qa_running')";
        self.until_none(waits).await;
        let ids: Vec<i64> = tasks.iter().map(|task| task.id).collect();
        let sql = "select id from episodes where task_id = any($1) and qa_status = 'approved' order by id";
        let rows = self.pool.get().await.expect("a connection").query(sql, &[&ids]).await.expect("episodes");
        let episodes: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(episodes.len(), many, "all are approved");
        let key = maker.key(&tasks[0].public_id);
        let prefix = key.rsplit_once('/').expect("a folder").0.to_owned();
        println!("{name}: {many} approved in {:.1?}", began.elapsed());
        Set { name: name.to_owned(), prefix, episodes, bytes: bytes * many as u64, pushed: false }
    }

    pub async fn until_none(&self, sql: &str) {
        let began = Instant::now();
        loop {
            let left: i64 = self.pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("a count").get(0);
            if left == 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{left} are left of: {sql}\n{}", self.server.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn call(&self, path: &str, body: Option<&serde_json::Value>) {
        let reply = self.client.call(Method::POST, path, body).await.expect("an answer");
        assert!(reply.status.is_success(), "{path}: {} {}", reply.status, reply.body);
    }

    /// All of it waits for the cloud, which gets nothing.
    pub async fn queue(&self, set: &mut Set) {
        self.call("/sync/destinations/s3/pause", Some(&json!({ "reason": "queueing" }))).await;
        let again = if set.pushed { "/resync" } else { "" };
        stream::iter(&set.episodes).for_each_concurrent(8, async |id| self.call(&format!("/sync/episodes/{id}{again}"), None).await).await;
        set.pushed = true;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    pub async fn resume(&self) {
        self.call("/sync/destinations/s3/resume", None).await;
    }

    pub async fn until_pushed(&self) {
        self.until_none("select count(*) from outbox where subscriber = 'cloud_sync'").await;
    }

    /// Pushes all of it, once more where it is there already.
    pub async fn push(&self, set: &mut Set) -> Pushed {
        self.queue(set).await;
        let (program, database) = (self.program(), self.database().await);
        let began = Instant::now();
        self.resume().await;
        self.until_pushed().await;
        let took = began.elapsed().as_secs_f64();
        Pushed { took, program: self.program() - program, database: self.database().await - database }
    }

    pub async fn assert_all_there(&self, set: &Set) {
        let sql = "select count(*) from episodes where id = any($1) and not cloud_synced";
        let row = self.pool.get().await.expect("a connection").query_one(sql, &[&set.episodes]).await.expect("a count");
        assert_eq!(row.get::<_, i64>(0), 0, "{}: not all is there\n{}", set.name, self.server.tail());
    }

    /// Seconds of processors that the program used so far.
    pub fn program(&self) -> f64 {
        ticks_of(&format!("/proc/{}/stat", self.server.pid()), false)
    }

    /// The same of its Postgres, with those of its processes that have ended.
    async fn database(&self) -> f64 {
        let row = self.pool.get().await.expect("a connection").query_one("select pg_backend_pid()", &[]).await.expect("a process");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", row.get::<_, i32>(0))).expect("a process of the database");
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).expect("its parent").to_owned();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let ended = ticks_of(&format!("/proc/{parent}/stat"), true);
        let running = children.split_whitespace().chain([&*parent]).map(|pid| ticks_of(&format!("/proc/{pid}/stat"), false));
        ended + running.sum::<f64>()
    }

    /// Most memory of the program since [`Site::forget_peak`], in MB.
    pub fn peak(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("a running server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") * 1024.0 / 1e6
    }

    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.server.pid()), "5").expect("the kernel measures anew");
    }
}

/// Seconds of processors, from a file of the kernel: of a process, or of its children that ended.
pub fn ticks_of(file: &str, of_children: bool) -> f64 {
    let Ok(stat) = std::fs::read_to_string(file) else { return 0.0 };
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("its name").1.split(' ').collect();
    let first = if of_children { 13 } else { 11 };
    let ticks = |n: usize| fields[n].parse::<f64>().expect("a number");
    (ticks(first) + ticks(first + 1)) / 100.0
}

/// So many bytes, of which each mebibyte is another one; hashed as they are read.
struct Content {
    block: Vec<u8>,
    left: u64,
    at: usize,
    hash: Sha256,
}

impl Content {
    fn new(seed: u64, bytes: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let block = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { block: block.take(1 << 17).flatten().collect(), left: bytes, at: 0, hash: Sha256::new() }
    }

    fn sha256(self) -> String {
        assert_eq!(self.left, 0, "all was read");
        hex::encode(self.hash.finalize())
    }
}

impl AsyncRead for Content {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.at == this.block.len() {
            this.at = 0;
            let next = u64::from_le_bytes(this.block[..8].try_into().expect("eight bytes")).wrapping_add(1);
            this.block[..8].copy_from_slice(&next.to_le_bytes());
        }
        let most = buffer.remaining().min(this.block.len() - this.at).min(usize::try_from(this.left).unwrap_or(usize::MAX));
        let piece = &this.block[this.at..this.at + most];
        this.hash.update(piece);
        buffer.put_slice(piece);
        this.at += most;
        this.left -= most as u64;
        Poll::Ready(Ok(()))
    }
}
