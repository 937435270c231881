//! Searching and exporting a long event log through the routes of the real program, beside what plain SQL needs for the
//! same: a page of fifty by every filter, and all of it as NDJSON.
//!
//! `KEYSTONE_BENCH_EVENTS` is how many events the log has (100,000), `KEYSTONE_BENCH_EXPORT` how many of them are exported
//! (1,000,000 at most), `KEYSTONE_BENCH_SECONDS` the seconds per figure (3). Ten million events take 16 GB of disk.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures_util::{StreamExt as _, TryStreamExt as _};
use keystone_edge::listener::raise_open_files;
use serde_json::{Value, json};

use baseline::{number, seconds};
use harness::server::{PASSWORD, Server};

/// Events that are stored in one transaction.
const CHUNK: i64 = 100_000;

/// The log of a site: one event in a thousand is of the one type, actor and unit that is searched for.
const EVENTS: &str = "
insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
select 'task', (1000000 + n / 10)::text, n % 10 + 1, t.event_type, '1.0',
       jsonb_build_object(t.event_type, jsonb_build_object('task_id', 1000000 + n / 10, 'batch_id', n / 1000, 'factory_id', 1, 'status', 'pending')),
       jsonb_build_object('actor', case when n % 1000 = 7 then 'user:inspector' else 'device:AB-' || n % 50 end, 'role', 'device',
                          'correlation_id', md5((n / 20)::text)::uuid, 'occurred_at', '2026-11-20T00:00:00Z',
                          'causation_id', case when n % 10 > 0 then 'task/' || 1000000 + n / 10 || '/1' end)
from generate_series($1::bigint, $2::bigint - 1) n,
     lateral (select case when n % 1000 = 3 then 'upload_rejected' when n % 10 = 0 then 'task_created' else 'device_report_noted' end as event_type) t";

/// The same page without any filter, as one would write it.
const PLAIN_PAGE: &str = "
select l.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.recorded_at, e.metadata::text, e.payload::text
from log l join events e on e.seq = l.seq where l.position < $1 order by l.position desc limit 50";

const PLAIN_EXPORT: &str = "copy (
select l.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.recorded_at, e.metadata, e.payload
from log l join events e on e.seq = l.seq where l.position <= LAST order by l.position) to stdout";

async fn one(pool: &Pool, sql: &str) -> i64 {
    pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("a row").get(0)
}

/// Waits until a count has reached `end`; answers how long it took since `began`.
async fn reaches(pool: &Pool, sql: &str, end: i64, began: Instant) -> Duration {
    while one(pool, sql).await < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

/// Milliseconds of calls, one after the other, for so long: the middle one, and the longest but one in a hundred.
async fn times(mut call: impl AsyncFnMut()) -> (f64, f64) {
    let (began, mut times) = (Instant::now(), vec![]);
    while times.len() < 20 || began.elapsed() < seconds() / 4 {
        let started = Instant::now();
        call().await;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[(times.len() - 1) * 99 / 100])
}

struct Site {
    server: Server,
    http: reqwest::Client,
    token: String,
}

impl Site {
    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}/api/v1{path}", self.server.base())).bearer_auth(&self.token);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response
    }
}

async fn pages(site: &Site, pool: &Pool, events: i64, head: i64) {
    let client = pool.get().await.expect("a connection");
    let statement = client.prepare(PLAIN_PAGE).await.expect("a statement");
    let (plain, plain_late) = times(async || assert_eq!(client.query(&statement, &[&(head / 2)]).await.expect("a page").len(), 50)).await;
    println!("a page of plain SQL, no filter: p50 {plain:.2} ms, p99 {plain_late:.2} ms");
    let (unit, batch, middle) = (1_000_000 + events / 20, events / 2_000, head / 2);
    let at = one(pool, &format!("select extract(epoch from logged_at)::bigint from log_index where position = {middle}")).await;
    // A second, because whole ones are asked for.
    let second = |at: i64| chrono::DateTime::from_timestamp(at, 0).expect("a time").format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (at, end) = (second(at), second(at + 1));
    let filters = [
        String::new(),
        "category=task".to_owned(),
        "type=device_report_noted".to_owned(),
        "type=upload_rejected,task_created".to_owned(),
        format!("type=upload_rejected&to_position={middle}"),
        format!("stream=task/{unit}"),
        format!("about=task/{unit}"),
        "actor=user:inspector".to_owned(),
        format!("actor=user:inspector&since={at}"),
        format!("content=factory_id:1&until={at}"),
        format!("content=batch_id:{batch}&content=status:pending"),
        format!("since={at}&until={end}"),
        "type=task_*&actor=device:AB-0&category=task".to_owned(),
        format!("from_position={middle}"),
    ];
    for filter in filters {
        for order in ["desc", "asc"] {
            let path = format!("/events?limit=50&order={order}&{filter}");
            let found: Value = site.get(&path).await.json().await.expect("JSON");
            let found = found["items"].as_array().expect("events").len();
            let (p50, p99) = times(async || drop(site.get(&path).await.bytes().await.expect("a page"))).await;
            println!("{found:>3} found, p50 {p50:>6.2} ms, p99 {p99:>6.2} ms, {:>5.2} of plain SQL: {filter} {order}", p50 / plain);
        }
    }
}

/// The whole log up to a place, as NDJSON; beside it what Postgres itself writes of it.
async fn export(site: &Site, pool: &Pool, last: i64) {
    let before = site.server.resident_bytes();
    let began = Instant::now();
    let mut body = site.get(&format!("/events/export?format=ndjson&to_position={last}")).await.bytes_stream();
    let (mut bytes, mut lines, mut most, mut looked) = (0, 0, before, Instant::now());
    while let Some(piece) = body.next().await {
        let piece = piece.expect("a piece");
        bytes += piece.len();
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        if looked.elapsed() > Duration::from_millis(50) {
            most = most.max(site.server.resident_bytes());
            looked = Instant::now();
        }
    }
    let took = began.elapsed().as_secs_f64();
    assert_eq!(i64::try_from(lines).expect("a count"), last);
    let client = pool.get().await.expect("a connection");
    let began = Instant::now();
    let copied = client.copy_out(&PLAIN_EXPORT.replace("LAST", &last.to_string())).await.expect("a copy");
    let copied = copied.try_fold(0, async |sum, piece| Ok(sum + piece.len())).await.expect("all of it");
    let copying = began.elapsed().as_secs_f64();
    println!(
        "export of {last} events: {:.0} a second, {:.1} MB/s, memory {:+.1} MB at most; COPY: {:.0} a second, {:.1} MB/s; ratio {:.2}",
        last as f64 / took,
        bytes as f64 / took / 1e6,
        (most as f64 - before as f64) / 1e6,
        last as f64 / copying,
        copied as f64 / copying / 1e6,
        copying / took,
    );
}

#[tokio::main]
async fn main() {
    raise_open_files().expect("file descriptors");
    let events = number("KEYSTONE_BENCH_EVENTS", 100_000);
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_LOG", "warn".to_owned()));
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let login = http.post(format!("{}/api/v1/auth/login", server.base())).json(&json!({ "account": "admin", "password": PASSWORD }));
    let login: Value = login.send().await.expect("an answer").json().await.expect("a login");
    let token = login["access_token"].as_str().expect("a token").to_owned();
    let pool = server.database().await;
    let site = Site { server, http, token };

    let began = Instant::now();
    for from in (0..events).step_by(usize::try_from(CHUNK).expect("a size")) {
        let client = pool.get().await.expect("a connection");
        client.batch_execute("set statement_timeout = 0").await.expect("a setting");
        client.execute(EVENTS, &[&from, &events.min(from + CHUNK)]).await.expect("events");
    }
    let stored = began.elapsed();
    let head = one(&pool, "select count(*) from events").await;
    let placed = reaches(&pool, "select coalesce(max(position), 0) from log", head, began).await;
    let noted = reaches(&pool, "select coalesce(max(position), 0) from log_index", head, began).await;
    println!("{head} events were stored after {stored:.1?}, had their places after {placed:.1?}, were found after {noted:.1?}");
    pages(&site, &pool, events, head).await;
    export(&site, &pool, head.min(number("KEYSTONE_BENCH_EXPORT", 1_000_000))).await;
    pool.close();
    let Site { mut server, .. } = site;
    server.stop().await;
}
