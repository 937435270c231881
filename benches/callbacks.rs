//! Callbacks of recorders over HTTP, as the real program serves them, beside the same writes without a server: sent by
//! `pgbench`, and through `tokio-postgres` from this program. Callers, program and Postgres share the machine.
//!
//! `KEYSTONE_BENCH_SECONDS` is the seconds per figure (3), `KEYSTONE_BENCH_ROUNDS` how often all of it is measured in turn (1).

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use deadpool_postgres::Pool;
use keystone_edge::commands::callbacks::CallbackTokens;
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::listener::raise_open_files;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Mutex;

use baseline::{META, number, rate, seconds, show};
use harness::server::{PASSWORD, Server};

const CLIENTS: [usize; 3] = [1, 8, 32];
/// Tasks prepared for each figure; a faster machine stops early.
const TASKS: usize = 10_000;
const BATCH: usize = 1_000;
const SECRET: &str = "the secret of a benchmark, which nobody else uses";

const FIND: &str = "select id, status from tasks where id = $1";
const INSERT: &str = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                      values ('task', $1::bigint::text, $2, 'recording_started', '1.0', $3::text::jsonb, $4::text::jsonb)";
const UPDATE: &str = "update tasks set status = 'in_progress', started_at = now(), updated_at = now(), version = version + 1 where id = $1";

fn payload() -> String {
    let reported = json!({ "task_id": "task_20261120_000000_00000000", "status": "recording", "topics": ["/chatter", "/camera0/rgb"] });
    json!({ "recording_started": { "by": "start_callback", "at": "2026-11-20T00:00:00Z", "reported": reported } }).to_string()
}

/// One that keeps its connection.
struct Recorder(TcpStream);

impl Recorder {
    /// Posts and answers the status.
    async fn post(&mut self, request: &[u8]) -> String {
        self.0.write_all(request).await.expect("a request");
        let mut heard = vec![];
        let mut piece = [0; 2048];
        loop {
            let read = self.0.read(&mut piece).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            heard.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&heard);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= length.expect("a length") {
                    return head.split(' ').nth(1).expect("a status").to_owned();
                }
            }
        }
    }
}

struct Bench {
    server: Server,
    pool: Pool,
    client: Client,
    made: factory::Factory,
    order: i64,
    /// Of the first and the last task.
    ids: (i64, i64),
}

impl Bench {
    async fn new(server: Server, figures: usize) -> Self {
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, "Callbacks", 1).await.expect("a factory");
        let order = factory::place_order(&client, &made, "All of it", TASKS * figures).await.expect("an order");
        let pool = server.database().await;
        Self { server, pool, client, made, order, ids: (i64::MAX, 0) }
    }

    /// What recorders post: one start callback for each of so many tasks.
    async fn requests(&mut self) -> VecDeque<Vec<u8>> {
        let (place, tokens) = (&self.made.stations[0], CallbackTokens::new(SECRET.as_bytes()));
        let device = DeviceId::parse(&place.device_id).expect("an id");
        let mut requests = VecDeque::new();
        for _ in 0..TASKS / BATCH {
            for task in factory::dispatch(&self.client, &self.made, self.order, place, BATCH).await.expect("a batch") {
                self.ids = (self.ids.0.min(task.id), self.ids.1.max(task.id));
                let token = tokens.token(&PublicTaskId::parse(&task.public_id).expect("an id"), &device);
                let topics = ["/chatter", "/camera0/rgb"];
                let body = json!({ "task_id": task.public_id, "device_id": place.device_id, "status": "recording", "topics": topics });
                let body = body.to_string();
                let head = format!(
                    "POST /api/v1/callbacks/start?token={token} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                requests.push_back((head + &body).into_bytes());
            }
        }
        requests
    }

    async fn over_http(&mut self, clients: usize) -> f64 {
        let requests = Arc::new(Mutex::new(self.requests().await));
        let mut recorders = vec![];
        for _ in 0..clients {
            let stream = TcpStream::connect(self.server.address(0)).await.expect("a connection");
            stream.set_nodelay(true).expect("a setting");
            recorders.push(Recorder(stream));
        }
        let recorders = Arc::new(Mutex::new(recorders));
        rate(clients, move |_| {
            let (requests, recorders) = (requests.clone(), recorders.clone());
            async move {
                let request = requests.lock().await.pop_front()?;
                let mut recorder = recorders.lock().await.pop().expect("one for each client");
                assert_eq!(recorder.post(&request).await, "200");
                recorders.lock().await.push(recorder);
                Some(())
            }
        })
        .await
    }

    async fn plainly(&self, clients: usize) -> f64 {
        let (pool, (first, last), payload) = (self.pool.clone(), self.ids, Arc::new(payload()));
        rate(clients, move |_| {
            let (pool, payload) = (pool.clone(), payload.clone());
            async move {
                let id = rand::random_range(first..=last);
                plain_callback(&pool, id, &payload).await.expect("plain SQL");
                Some(())
            }
        })
        .await
    }

    async fn by_pgbench(&self, clients: usize) -> f64 {
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let insert = INSERT.replace("$1", ":id").replace("$2", ":sequence");
        let insert = insert.replace("$3", &literal(&payload())).replace("$4", &literal(META)).replace('\n', " ");
        let (find, update) = (FIND.replace("$1", ":id"), UPDATE.replace("$1", ":id"));
        let (first, last) = self.ids;
        let script = format!(
            "\\set id random({first}, {last})\n\\set sequence random(1000, 2000000000)\nbegin;\n{find};\n{insert};\n{update};\ncommit;\n"
        );
        let file = self.server.folder.join("callbacks.sql");
        std::fs::write(&file, script).expect("a script");
        let url = std::fs::read_to_string(self.server.folder.join("data/secrets/database_url")).expect("the server's database");
        let output = Command::new(pgbench())
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &clients.to_string()])
            .args(["--time", &seconds().as_secs().max(1).to_string(), "--file"])
            .arg(&file)
            .arg(url.trim())
            .output()
            .await
            .expect("pgbench, which comes with the Postgres server; KEYSTONE_PG_BIN names its folder");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Beside the server's programs, of the newest version there is, or wherever the path finds it.
fn pgbench() -> PathBuf {
    let mut places: Vec<PathBuf> = std::env::var_os("KEYSTONE_PG_BIN").map(Into::into).into_iter().collect();
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    versions.sort();
    places.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    places.into_iter().map(|place| place.join("pgbench")).find(|file| file.exists()).unwrap_or_else(|| "pgbench".into())
}

async fn plain_callback(pool: &Pool, id: i64, payload: &str) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let (find, insert, update) =
        (client.prepare_cached(FIND).await?, client.prepare_cached(INSERT).await?, client.prepare_cached(UPDATE).await?);
    client.batch_execute("begin").await?;
    client.query_one(&find, &[&id]).await?;
    client.execute(&insert, &[&id, &rand::random_range(1_000..2_000_000_000_i64), &payload, &META]).await?;
    client.execute(&update, &[&id]).await?;
    client.batch_execute("commit").await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    raise_open_files().expect("file descriptors");
    let rounds = number("KEYSTONE_BENCH_ROUNDS", 1);
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.extend([("KEYSTONE_LOG", "warn".to_owned()), ("KEYSTONE_JWT_SECRET", SECRET.to_owned())]);
    server.start();
    server.ready().await;
    let mut bench = Bench::new(server, CLIENTS.len() * rounds).await;
    for _ in 0..rounds {
        for clients in CLIENTS {
            let http = bench.over_http(clients).await;
            show("start callback over HTTP", clients, http, "the same writes by pgbench", bench.by_pgbench(clients).await);
            show("start callback over HTTP", clients, http, "… through tokio-postgres", bench.plainly(clients).await);
        }
    }
    bench.pool.close();
    bench.server.stop().await;
}
