//! Live streams under load: every event reaches every reader once, while each connection is cut ten times at random; what a
//! reader costs in memory and processor time.
//!
//! The real program with its own Postgres; readers follow the whole log over TCP, and know from gapless positions whether they missed something. Ten
//! times `KEYSTONE_BENCH_SECONDS` (3) per figure. Ends with an error where a promise is broken.

#![allow(clippy::disallowed_methods)]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keystone_edge::listener::raise_open_files;
use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use harness::server::{PASSWORD, Server};

/// Readers, and events a second.
const FIGURES: [(usize, u32); 2] = [(1_000, 20), (100, 200)];
const CUTS: usize = 10;
/// Readers whose events are looked at for how late they came.
const TIMED: usize = 10;
const WRITERS: u32 = 8;

/// Of the server's process: resident bytes, and seconds of processor time.
fn usage(server: &Server) -> (u64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("a running server");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("its name").1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("user time") + fields[12].parse::<f64>().expect("system time");
    (server.resident_bytes(), ticks / 100.0)
}

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    /// Below one.
    fn throw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }
}

/// What all readers found.
#[derive(Default)]
struct Findings {
    events: AtomicU64,
    missed: AtomicU64,
    twice: AtomicU64,
    connected: AtomicU64,
    refused: AtomicU64,
}

struct Reader {
    address: String,
    token: String,
    last: i64,
    findings: Arc<Findings>,
    /// How late events came, for some readers.
    late: Option<Vec<Duration>>,
}

impl Reader {
    async fn connect(&self) -> TcpStream {
        loop {
            let mut stream = TcpStream::connect(&self.address).await.expect("a connection");
            let request = format!(
                "GET /api/v1/events/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\nLast-Event-ID: {}\r\n\r\n",
                self.token, self.last
            );
            stream.write_all(request.as_bytes()).await.expect("a request");
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.expect("an answer");
            if status.ends_with(b"200") {
                self.findings.connected.fetch_add(1, Ordering::Relaxed);
                return stream;
            }
            self.findings.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A whole frame.
    fn hear(&mut self, position: i64, data: &[u8]) {
        self.findings.events.fetch_add(1, Ordering::Relaxed);
        let count = |of: &AtomicU64, n: i64| of.fetch_add(n.unsigned_abs(), Ordering::Relaxed);
        if position <= self.last {
            count(&self.findings.twice, 1);
        } else {
            count(&self.findings.missed, position - self.last - 1);
            self.last = position;
        }
        if let Some(late) = &mut self.late {
            let event: Value = serde_json::from_slice(data).expect("JSON");
            let at: chrono::DateTime<chrono::Utc> = event["recorded_at"].as_str().expect("a time").parse().expect("a time");
            late.push((chrono::Utc::now() - at).to_std().unwrap_or_default());
        }
    }

    /// Until the connection is cut at this moment, or everything up to `end` was heard, once that is known.
    async fn read(&mut self, until: Instant, end: &AtomicI64) {
        let mut stream = self.connect().await;
        let (mut unread, mut frame): (Vec<u8>, Option<(i64, Vec<u8>)>) = (vec![], None);
        let mut piece = vec![0; 16 << 10];
        while Instant::now() < until && self.last < end.load(Ordering::Relaxed) {
            let read = tokio::time::timeout(Duration::from_millis(500).min(until - Instant::now()), stream.read(&mut piece)).await;
            let Ok(read) = read else { continue };
            let read = read.expect("bytes");
            assert!(read > 0, "a stream without an end ended");
            unread.extend_from_slice(&piece[..read]);
            let mut done = 0;
            while let Some(length) = unread[done..].iter().position(|byte| *byte == b'\n') {
                let line = unread[done..done + length].strip_suffix(b"\r").unwrap_or(&unread[done..done + length]).to_vec();
                done += length + 1;
                if let Some(id) = line.strip_prefix(b"id: ") {
                    frame = Some((std::str::from_utf8(id).expect("text").parse().expect("a position"), vec![]));
                } else if let (Some(data), Some((_, frame))) = (line.strip_prefix(b"data: "), &mut frame) {
                    *frame = data.to_vec();
                } else if let (true, Some((position, data))) = (line.is_empty(), frame.take()) {
                    self.hear(position, &data);
                }
            }
            unread.drain(..done);
        }
    }

    /// To the end, cut ten times on the way.
    async fn run(mut self, mut dice: Dice, began: Instant, lasts: Duration, end: Arc<AtomicI64>) -> Self {
        let mut cuts: Vec<f64> = (0..CUTS).map(|_| dice.throw()).collect();
        cuts.sort_by(f64::total_cmp);
        for cut in cuts {
            self.read(began + lasts.mul_f64(cut), &end).await;
        }
        // What comes last has half a minute to come.
        self.read(began + lasts + Duration::from_secs(30), &end).await;
        self
    }
}

/// Writes at a rate; answers how many events were written.
async fn write(client: &Client, run: &str, rate: u32, began: Instant, lasts: Duration) -> u32 {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, run) = (client.clone(), run.to_owned());
        writers.spawn(async move {
            let mut written = 0;
            for n in (writer..).step_by(WRITERS as usize) {
                let at = began + Duration::from_secs(1) / rate * n;
                if at > began + lasts {
                    return written;
                }
                tokio::time::sleep_until(at.into()).await;
                client.create("/skills", &json!({ "slug": format!("{run}-{n}") })).await.expect("a skill");
                written += 1;
            }
            written
        });
    }
    writers.join_all().await.iter().sum()
}

async fn head(server: &Server) -> i64 {
    let pool = server.database().await;
    let client = pool.get().await.expect("a connection");
    loop {
        let sql = "select (select count(*) from events), coalesce((select max(position) from log), 0)";
        let row = client.query_one(sql, &[]).await.expect("a row");
        let (events, head): (i64, i64) = (row.get(0), row.get(1));
        if events == head {
            return head;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::main]
async fn main() {
    raise_open_files().expect("file descriptors");
    let seconds: f64 =
        std::env::var("KEYSTONE_BENCH_SECONDS").map_or(3.0, |text| text.parse().expect("KEYSTONE_BENCH_SECONDS is a number"));
    let lasts = Duration::from_secs_f64(seconds * 10.0);
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    let settings = std::fs::read_to_string(folder.path().join("keystone.toml")).expect("the settings file");
    std::fs::write(folder.path().join("keystone.toml"), settings + "[limits]\nstreams_per_user_max = 4096\n").expect("a settings file");
    server.settings.push(("KEYSTONE_LOG", "warn".to_owned()));
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let login: Value = reqwest::Client::new()
        .post(format!("{}/api/v1/auth/login", server.base()))
        .json(&json!({ "account": "admin", "password": PASSWORD }))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("a login");
    let token = login["access_token"].as_str().expect("a token");
    let mut broken = 0;
    for (readers, rate) in FIGURES {
        let (_, cpu_before) = usage(&server);
        let began = Instant::now();
        write(&client, &format!("alone-{rate}"), rate, began, lasts / 3).await;
        let alone = (usage(&server).1 - cpu_before) / began.elapsed().as_secs_f64();

        let start = head(&server).await;
        let (memory_before, cpu_before) = usage(&server);
        let (findings, end) = (Arc::new(Findings::default()), Arc::new(AtomicI64::new(i64::MAX)));
        let began = Instant::now();
        let mut reading = JoinSet::new();
        for n in 0..readers {
            let late = (n < TIMED).then(Vec::new);
            let reader = Reader { address: server.address(0), token: token.to_owned(), last: start, findings: findings.clone(), late };
            reading.spawn(reader.run(Dice(n as u64), began, lasts, end.clone()));
        }
        let mut memory = memory_before;
        let run = format!("read-{rate}");
        let writing = write(&client, &run, rate, began, lasts);
        tokio::pin!(writing);
        let written = loop {
            tokio::select! {
                written = &mut writing => break written,
                () = tokio::time::sleep(Duration::from_millis(250)) => memory = memory.max(usage(&server).0),
            }
        };
        let (_, cpu_after) = usage(&server);
        let busy = (cpu_after - cpu_before) / began.elapsed().as_secs_f64();
        let last = head(&server).await;
        end.store(last, Ordering::Relaxed);
        let ended = reading.join_all().await;
        let behind: i64 = ended.iter().map(|reader| last - reader.last).sum();
        let mut late: Vec<Duration> = ended.into_iter().filter_map(|reader| reader.late).flatten().collect();
        late.sort();
        let told = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (missed, twice) = (told(&findings.missed) + behind.unsigned_abs(), told(&findings.twice));
        broken += missed + twice;
        println!(
            "{readers} readers, {rate} events a second for {:.0} s: {written} written, {} told, {missed} missed, {twice} told twice; {} connections, {} refused",
            lasts.as_secs_f64(),
            told(&findings.events),
            told(&findings.connected),
            told(&findings.refused),
        );
        println!(
            "    {:.1} kB a reader at most; processor: {:.0} % of one, {:.0} % of one without readers; from storing to reader p50 {:.1?} p99 {:.1?}",
            memory.saturating_sub(memory_before) as f64 / readers as f64 / 1024.0,
            busy * 100.0,
            alone * 100.0,
            late[late.len() / 2],
            late[late.len() * 99 / 100],
        );
    }
    assert_eq!(broken, 0, "events were missed or told twice");
    server.stop().await;
}
