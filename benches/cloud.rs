//! Cloud sync: how quickly approved episodes leave, what they take of memory, how well a limit is kept, and what it does to the API beside it.
//!
//! The real program, with its own Postgres and store, pushes to a sink in another process, which takes what comes and keeps nothing; what plain streams
//! get through to it is measured first. Beside it, in turn and with as many files and parts at once, `rclone copy` from the store's endpoint to
//! the same sink. Then the same over lines with a delay and a rate, a limit of bytes, and requests at a steady rate without and beside uploads.
//!
//! `KEYSTONE_BENCH_SCALE` is the share of all sizes and numbers, in percent (100), `KEYSTONE_BENCH_RUNS` how often each is measured (3),
//! `KEYSTONE_BENCH_PARTS` which of `full,lines,limit,api` are, separated by commas (all). `KEYSTONE_BENCH_PROGRAM` names another build of the program than the
//! one beside the benchmark.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/factory.rs"]
mod factory;
#[path = "../tests/it/harness/mod.rs"]
mod harness;
#[path = "cloud/line.rs"]
mod line;
#[path = "cloud/peer.rs"]
mod peer;
#[path = "cloud/sink.rs"]
mod sink;
#[path = "cloud/site.rs"]
mod site;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/stored_episodes.rs"]
mod stored_episodes;

use std::time::{Duration, Instant};

use keystone_edge::listener::raise_open_files;
use keystone_edge::simulator::client::Client;
use reqwest::Method;
use serde_json::json;

use baseline::number;
use line::Line;
use peer::Rclone;
use sink::{Sink, plain};
use site::{Set, Site, Terms, ticks_of};

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Requests of each kind in a second, beside uploads and without.
const REQUESTS_PER_S: u32 = 40;

struct Bench {
    site: Site,
    sink: Sink,
    rclone: Option<Rclone>,
    runs: u64,
}

/// The middle, the least and the most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn middle(values: &[f64]) -> f64 {
    spread(values).0
}

impl Bench {
    /// Pushes a set and has it copied by the peer, in turn, and says what both reach. `link` is what the way there gives, in bytes a second.
    async fn compare(&mut self, set: &mut Set, terms: Terms, link: Option<f64>) {
        self.site.on(terms).await;
        let base = self.site.server.resident_bytes() as f64 / 1e6;
        let (mut ours, mut theirs, mut memory) = (vec![], vec![], 0.0);
        let (mut used, mut used_by_database, mut used_by_them, mut used_by_sink) = (vec![], vec![], vec![], vec![]);
        let (mut waited, mut lasted) = (vec![], vec![]);
        for run in 0..self.runs {
            self.sink.forget().await;
            self.site.forget_peak();
            let sink_before = ticks_of(&format!("/proc/{}/stat", self.sink.pid()), false);
            let pushed = self.site.push(set).await;
            let counted = self.sink.counted().await;
            assert!(counted.bytes >= set.bytes, "all of it arrived: {counted:?}");
            self.site.assert_all_there(set).await;
            used_by_sink.push(ticks_of(&format!("/proc/{}/stat", self.sink.pid()), false) - sink_before);
            // Before the peer reads through the program's endpoint, which takes memory too.
            if run == 0 {
                memory = self.site.peak() - base;
            }
            ours.push(set.bytes as f64 / 1e6 / counted.took);
            lasted.push(counted.took);
            waited.push(pushed.took - counted.took);
            used.push(pushed.program);
            used_by_database.push(pushed.database);
            let Some(rclone) = &self.rclone else { continue };
            self.sink.forget().await;
            let (store, before) = (self.site.server.store(), self.site.program());
            let (took, processors) = tokio::task::block_in_place(|| rclone.copy(&store, &set.prefix, terms.to, terms.files, terms.parts));
            let counted = self.sink.counted().await;
            assert!(counted.bytes >= set.bytes && took >= counted.took, "all of it arrived: {counted:?}");
            theirs.push(set.bytes as f64 / 1e6 / counted.took);
            used_by_them.push(processors + self.site.program() - before);
        }
        let (at, least, most) = spread(&ours);
        let share = link.map(|link| format!(", {:.1} % of the line", at * 1e6 / link * 100.0)).unwrap_or_default();
        println!(
            "  {:<28} {} × {}  ours {at:7.1} MB/s ({least:.1} to {most:.1}){share}; {:.2} s, {:+.2} s until all was noted",
            set.name,
            terms.files,
            terms.parts,
            middle(&lasted),
            middle(&waited)
        );
        println!(
            "  {:<28}        processors {:.2} s, database {:.2} s, sink {:.2} s; memory {memory:.1} MB more than {base:.1}",
            "",
            middle(&used),
            middle(&used_by_database),
            middle(&used_by_sink)
        );
        if !theirs.is_empty() {
            let (theirs, least, most) = spread(&theirs);
            let share = link.map(|link| format!(", {:.1} % of the line", theirs * 1e6 / link * 100.0)).unwrap_or_default();
            println!(
                "  {:<28}        rclone {theirs:5.1} MB/s ({least:.1} to {most:.1}){share}; processors {:.2} s with the store's; ratio {:.2}",
                "",
                middle(&used_by_them),
                at / theirs
            );
        }
    }

    /// A limit in bytes a second: what arrives of a push, and in any second of it.
    async fn limit(&mut self, set: &mut Set, terms: Terms) {
        self.site.on(terms).await;
        self.site.queue(set).await;
        self.sink.forget().await;
        self.site.resume().await;
        let mut seen: Vec<(f64, u64)> = vec![];
        let began = Instant::now();
        // From the first bytes to the last: what comes before and after them is no matter of the limit.
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let counted = self.sink.counted().await;
            seen.push((began.elapsed().as_secs_f64(), counted.bytes));
            if counted.bytes >= set.bytes {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(900), "{counted:?}\n{}", self.site.server.tail());
        }
        self.site.until_pushed().await;
        let first = seen.iter().position(|(_, bytes)| *bytes > 0).expect("bytes");
        let (from, to) = (seen[first], seen[seen.len() - 1]);
        let mean = (to.1 - from.1) as f64 / (to.0 - from.0);
        let seconds: Vec<f64> = seen[first..]
            .iter()
            .filter_map(|(at, bytes)| {
                let (later, then) = seen.iter().find(|(later, _)| *later >= at + 1.0)?;
                Some((then - bytes) as f64 / (later - at))
            })
            .collect();
        let wanted = terms.bytes_per_s as f64;
        let (_, least, most) = spread(if seconds.is_empty() { std::slice::from_ref(&mean) } else { &seconds });
        println!(
            "  {:<28} {} × {}  limit {:6.1} MB/s: {:6.2} MB/s on average ({:+.1} %), {:.2} to {:.2} in any second",
            set.name,
            terms.files,
            terms.parts,
            wanted / 1e6,
            mean / 1e6,
            (mean / wanted - 1.0) * 100.0,
            least / 1e6,
            most / 1e6
        );
    }

    /// What requests wait for without uploads and beside four of them, in turn.
    async fn api(&mut self, set: &mut Set, terms: Terms, seconds: u64, where_to: &str) {
        self.site.on(terms).await;
        let (mut idle, mut beside, mut rates) = (vec![], vec![], vec![]);
        for _ in 0..self.runs {
            let (times, _) = requests(&self.site.client, Duration::from_secs(seconds), async || std::future::pending().await).await;
            idle.push(times);
            self.site.queue(set).await;
            self.sink.forget().await;
            self.site.resume().await;
            while self.sink.counted().await.bytes == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // As long as the uploads last, and no longer than without them.
            let site = &self.site;
            let (times, lasted) = requests(&site.client, Duration::from_secs(seconds), async || site.until_pushed().await).await;
            rates.push(self.sink.counted().await.bytes as f64 / 1e6 / lasted);
            beside.push(times);
            self.site.until_pushed().await;
        }
        for (kind, name) in ["GET /episodes", "POST /orders"].into_iter().enumerate() {
            let at = |all: &[[Vec<f64>; 2]], share: f64| -> (f64, f64, f64) {
                let of: Vec<f64> = all.iter().map(|times| quantile(&times[kind], share)).collect();
                spread(&of)
            };
            let (idle50, beside50) = (at(&idle, 0.5).0, at(&beside, 0.5).0);
            let ((idle99, idle_least, idle_most), (beside99, least, most)) = (at(&idle, 0.99), at(&beside, 0.99));
            println!(
                "  {name:<14} {where_to}, {:.0} MB/s: p50 {idle50:.1} → {beside50:.1} ms, p99 {idle99:.1} ({idle_least:.1} to {idle_most:.1}) → {beside99:.1} ms ({least:.1} to {most:.1}); ratio {:.2}; {} requests each",
                middle(&rates),
                beside99 / idle99,
                beside[0][kind].len()
            );
        }
    }
}

fn quantile(times: &[f64], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Asks by the clock until a time is over, or something has ended that takes shorter. Answers milliseconds from when each request was due, of both kinds, and
/// how long it went on.
async fn requests(client: &Client, most: Duration, ends: impl AsyncFnOnce()) -> ([Vec<f64>; 2], f64) {
    let began = Instant::now();
    let asking = async {
        let mut asked = tokio::task::JoinSet::new();
        let mut done = [vec![], vec![]];
        let mut ended = std::pin::pin!(ends());
        let mut clock = tokio::time::interval(Duration::from_secs(1) / REQUESTS_PER_S);
        while began.elapsed() < most {
            let due = tokio::select! {
                () = &mut ended => break,
                due = clock.tick() => due.into_std(),
            };
            for kind in 0..2 {
                let client = client.clone();
                asked.spawn(async move {
                    let name = uuid::Uuid::new_v4().to_string();
                    let order = json!({ "organization_id": "1", "scene_id": "1", "name": name, "target_count": 1, "priority": "normal" });
                    let reply = match kind {
                        0 => client.call(Method::GET, "/episodes", None).await,
                        _ => client.call(Method::POST, "/orders", Some(&order)).await,
                    };
                    let reply = reply.expect("an answer");
                    assert!(reply.status.is_success(), "{} {}", reply.status, reply.body);
                    (kind, due.elapsed().as_secs_f64() * 1e3)
                });
            }
            while let Some(answered) = asked.try_join_next() {
                let (kind, took) = answered.expect("no panic");
                done[kind].push(took);
            }
        }
        for (kind, took) in asked.join_all().await {
            done[kind].push(took);
        }
        done
    };
    (asking.await, began.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() {
    if sink::is_the_sink() {
        return;
    }
    // `cargo test` and `cargo nextest list` call every binary.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    raise_open_files().expect("file descriptors");
    let (runs, scale) = (number("KEYSTONE_BENCH_RUNS", 3_u64).max(1), number("KEYSTONE_BENCH_SCALE", 100_u64));
    let chosen = std::env::var("KEYSTONE_BENCH_PARTS").unwrap_or_else(|_| "full,lines,limit,api".to_owned());
    let wants = |part: &str| chosen.split(',').any(|chosen| chosen == part);
    let share = |of: u64| (of * scale / 100).max(1);
    let (sink, rclone) = (Sink::start(), Rclone::find());
    println!(
        "Sink at {}, {}; {scale} % of all sizes, {runs} runs",
        sink.address,
        rclone.as_ref().map_or("no peer", |found| &found.version)
    );
    for streams in [1, 3] {
        let rates: Vec<f64> = (0..5).map(|_| plain(sink.address, streams, 4_000_000_000)).collect();
        let (at, least, most) = spread(&rates);
        println!("  {streams} plain streams to the sink: {at:.2} GB/s ({least:.2} to {most:.2})");
    }
    let site = Site::start(5).await;
    let mut bench = Bench { site, sink, rclone, runs };
    let direct = Terms { to: bench.sink.address, files: 2, parts: 3, bytes_per_s: 0 };
    let mut one = bench.site.set("one of 250 MB", 3, 1, share(250_000_000)).await;
    let mut many = bench.site.set("1,000 of 2 MB", 1, share(1_000), 2_000_000).await;
    let mut few = bench.site.set("100 of 2 MB", 4, share(100), 2_000_000).await;
    let mut four = bench.site.set("four of 1 GB", 2, 4, share(1_000_000_000)).await;
    if wants("full") {
        let mut large = bench.site.set("one of 4 GB", 0, 1, share(4_000_000_000)).await;
        println!("As fast as it goes, files × parts at once");
        bench.compare(&mut large, direct, None).await;
        bench.compare(&mut many, direct, None).await;
        bench.compare(&mut many, Terms { files: 8, ..direct }, None).await;
        bench.compare(&mut four, Terms { files: 4, ..direct }, None).await;
    }
    if wants("lines") {
        for megabits in [1000, 100] {
            let line = Line::to(bench.sink.address, ROUND_TRIP, megabits);
            let rate = plain(line.address, 3, share(u64::from(megabits) * 250_000)) * 1e9;
            println!("{}: plain streams reach {:.1} % of it", line.name, rate / line.bytes_per_s * 100.0);
            let (link, to) = (Some(line.bytes_per_s), line.address);
            let (large, small) = if megabits == 1000 { (&mut four, &mut many) } else { (&mut one, &mut few) };
            bench.compare(large, Terms { to, ..direct }, link).await;
            bench.compare(small, Terms { to, ..direct }, link).await;
            bench.compare(small, Terms { to, files: 8, ..direct }, link).await;
        }
    }
    if wants("limit") {
        println!("A limit of bytes, as it arrives");
        for (megabytes, files, parts) in [(10, 2, 3), (50, 2, 3), (100, 2, 3), (50, 1, 1)] {
            let bytes_per_s = megabytes * 1_000_000;
            bench.limit(&mut one, Terms { bytes_per_s, files, parts, ..direct }).await;
        }
        bench.limit(&mut few, Terms { bytes_per_s: 20_000_000, ..direct }).await;
    }
    if wants("api") {
        println!("Requests at {REQUESTS_PER_S} a second of each kind, without uploads → beside four");
        let line = Line::to(bench.sink.address, ROUND_TRIP, 1000);
        let four_at_once = Terms { files: 4, ..direct };
        bench.api(&mut four, Terms { to: line.address, ..four_at_once }, 25, "1 Gbit/s").await;
        bench.api(&mut four, four_at_once, 10, "as fast as it goes").await;
    }
    bench.site.server.stop().await;
}
