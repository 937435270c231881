//! How quickly a recording is measured: three cameras, an arm and an inertial sensor, in chunks of 4 MiB with zstd.
//!
//! Tiers 1 and 2; tier 3 with its container checks alone, with payloads, and with images that are decoded, by one and by all threads; the `mcap`
//! crate's own reader with its chunk checksums; and the pass that verifies an upload, with measuring and without. All on one file that lies in
//! the page cache, the ways in turn. `KEYSTONE_BENCH_MB` sets its size (256), `KEYSTONE_BENCH_RUNS` how often (5).

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use keystone_edge::blobs::{Access, Blobs, LocalObject, LocalObjects, ObjectFacts, ObjectKey};
use keystone_edge::config::{Config, Secret};
use keystone_edge::domain::measurement::Facts;
use keystone_edge::mcap::measure::{Limits, look, measure_ends, measure_passing, measure_whole};
use keystone_edge::mcap::{READ_AT_ONCE, RangedRead};
use mcap::records::MessageHeader;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use sha2::{Digest as _, Sha256};

use baseline::number;

struct LocalFile(File);

impl RangedRead for LocalFile {
    type Error = io::Error;

    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.0.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }
}

fn padded(mut payload: Vec<u8>, to: usize) -> Vec<u8> {
    while !(payload.len() - 4).is_multiple_of(to) {
        payload.push(0);
    }
    payload
}

fn header(at: u64) -> Vec<u8> {
    let (seconds, nanoseconds) = ((at / 1_000_000_000) as u32, (at % 1_000_000_000) as u32);
    [&[0, 1, 0, 0][..], &seconds.to_le_bytes(), &nanoseconds.to_le_bytes(), &4u32.to_le_bytes(), b"arm\0"].concat()
}

fn joints(at: u64, step: u64) -> Vec<u8> {
    let mut payload = header(at);
    payload.extend(0u32.to_le_bytes());
    for _ in 0..2 {
        payload.extend(14u32.to_le_bytes());
        payload = padded(payload, 8);
        (0..14).for_each(|joint| payload.extend((step as f64 / 100.0 + f64::from(joint)).sin().to_le_bytes()));
    }
    payload.extend(0u32.to_le_bytes());
    payload
}

fn imu(at: u64, step: u64) -> Vec<u8> {
    let mut payload = padded(header(at), 8);
    (0..37).for_each(|n| payload.extend(if n == 27 { 9.81 + (step as f64).sin() / 10.0 } else { 0.01 }.to_le_bytes()));
    payload
}

/// So many that none comes twice in a chunk.
const IMAGES: u64 = 256;

/// Images of 640 × 480 with grain, of some 60 kB.
fn images() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let image = |n: u64, noise: &mut dyn FnMut() -> u64| {
        let pixels: Vec<u8> = (0..640 * 480 * 3u64).map(|i| ((i / 40 + n * 16) as u8).wrapping_add((noise() % 24) as u8)).collect();
        let mut jpeg = vec![];
        jpeg_encoder::Encoder::new(&mut jpeg, 80).encode(&pixels, 640, 480, jpeg_encoder::ColorType::Rgb).expect("an image");
        jpeg
    };
    (0..IMAGES).map(|n| image(n, &mut noise)).collect()
}

fn generate(path: &Path, bytes: u64) -> u64 {
    let options = mcap::WriteOptions::new().profile("ros2").compression(Some(mcap::Compression::Zstd)).chunk_size(Some(4 << 20));
    let mut writer = options.create(io::BufWriter::new(File::create(path).expect("a file"))).expect("a writer");
    let topics = [
        ("/camera/front", "sensor_msgs/msg/CompressedImage"),
        ("/camera/left", "sensor_msgs/msg/CompressedImage"),
        ("/camera/right", "sensor_msgs/msg/CompressedImage"),
        ("/joint_states", "sensor_msgs/msg/JointState"),
        ("/imu", "sensor_msgs/msg/Imu"),
    ];
    let channels = topics.map(|(topic, name)| {
        let schema = writer.add_schema(name, "ros2msg", b"std_msgs/Header header").expect("a schema");
        writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")
    });
    let images = images();
    let (mut written, mut step) = (0, 0);
    while written < bytes {
        let at = 1_795_204_387_000_000_000 + step * 1_000_000;
        let mut write = |channel: usize, payload: &[u8]| {
            let header = MessageHeader { channel_id: channels[channel], sequence: step as u32, log_time: at, publish_time: at };
            writer.write_to_known_channel(&header, payload).expect("a message");
            written += payload.len() as u64;
        };
        if step % 33 == 0 {
            for camera in 0..3 {
                let image = &images[((step / 33 * 3 + camera) % IMAGES) as usize];
                write(
                    camera as usize,
                    &[&header(at)[..], &5u32.to_le_bytes(), b"jpeg\0\0\0\0", &(image.len() as u32).to_le_bytes(), image].concat(),
                );
            }
        }
        if step % 10 == 0 {
            write(3, &joints(at, step));
        }
        if step % 5 == 0 {
            write(4, &imu(at, step));
        }
        step += 1;
    }
    writer.finish().expect("an end");
    std::fs::metadata(path).expect("its size").len()
}

/// What some runs took, by the clock and of processors.
#[derive(Default)]
struct Took {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
}

fn processor() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF).expect("our usage");
    Duration::from_micros((used.user_time() + used.system_time()).num_microseconds() as u64)
}

impl Took {
    fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let (start, used) = (Instant::now(), processor());
        let made = run();
        self.wall.push(start.elapsed());
        self.processor.push(processor() - used);
        made
    }

    fn median(times: &[Duration]) -> f64 {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2].as_secs_f64()
    }

    fn wall(&self) -> f64 {
        Self::median(&self.wall)
    }

    fn processor(&self) -> f64 {
        Self::median(&self.processor)
    }

    fn show(&self, what: &str, size: u64) {
        let (least, most) = (self.wall.iter().min().expect("a run"), self.wall.iter().max().expect("a run"));
        println!(
            "{what:<64} {:>8.3} s ({:.3} to {:.3}), {:>6.2} GB/s, {:>7.3} s of processors, {:>5.2} GB/s of one",
            self.wall(),
            least.as_secs_f64(),
            most.as_secs_f64(),
            size as f64 / 1e9 / self.wall(),
            self.processor(),
            size as f64 / 1e9 / self.processor()
        );
    }
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The file, as an object of the embedded store.
#[derive(Debug)]
struct Stored(PathBuf);

impl LocalObjects for Stored {
    fn folder(&self) -> &Path {
        self.0.parent().expect("a folder")
    }

    fn open(&self, _: &ObjectKey) -> io::Result<Option<LocalObject>> {
        let file = File::open(&self.0)?;
        Ok(Some(LocalObject { bytes: file.metadata()?.len(), file, etag: ETAG.into() }))
    }

    fn sync(&self, _: &ObjectKey) -> io::Result<()> {
        Ok(())
    }
}

const ETAG: &str = "\"recording\"";

/// Verification without measuring: pieces as the store hands them out, each hashed beside what serves sockets.
async fn hash_passing<E: std::fmt::Debug>(pieces: impl Stream<Item = Result<Bytes, E>>) -> String {
    let (mut hash, mut pieces) = (Sha256::new(), pin!(pieces));
    while let Some(piece) = pieces.try_next().await.expect("a piece") {
        let updated = tokio::task::spawn_blocking(move || {
            hash.update(&piece);
            hash
        });
        hash = updated.await.expect("a hash");
    }
    hex::encode(hash.finalize())
}

/// The object of the embedded store that a file is, and what is known of it.
fn stored(path: &Path, size: u64) -> (Blobs, ObjectKey, ObjectFacts) {
    let access = Access {
        endpoint: "http://127.0.0.1:1".into(),
        public_endpoint: None,
        access_key: "k".into(),
        secret_key: Secret::new("s"),
        local: Some(Arc::new(Stored(path.to_owned()))),
    };
    let blobs = Blobs::new(access, &Config::defaults().s3).expect("a store");
    let facts = ObjectFacts { size, etag: ETAG.into(), last_modified: Default::default(), content_type: None, claimed_sha256: None };
    (blobs, ObjectKey::new("recording.mcap").expect("a key"), facts)
}

/// Uploads that are verified at the same time, as the server's setting has it.
const AT_ONCE: u64 = 4;

/// Where a part of the benchmark, which is a process of its own, finds the recording.
const FILE: &str = "KEYSTONE_BENCH_FILE";

/// Several uploads are verified and measured at the same time, with whatever processors this process was given: bytes a second, as a number alone.
fn verify_together(path: &Path) {
    let size = std::fs::metadata(path).expect("its size").len();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let seen = Arc::new(runtime.block_on(look(&LocalFile(File::open(path).expect("the file")), size)).expect("a look"));
    let (blobs, key, facts) = stored(path, size);
    let mut took = Took::default();
    for _ in 0..number("KEYSTONE_BENCH_RUNS", 5) {
        took.run(|| {
            let verified: Vec<_> = (0..AT_ONCE)
                .map(|_| runtime.spawn(measure_passing(blobs.pieces(&key, &facts), seen.clone(), Limits::beside_hashing())))
                .collect();
            for one in verified {
                assert!(runtime.block_on(one).expect("a task").expect("the file").facts.is_some());
            }
        });
    }
    println!("{}", (AT_ONCE * size) as f64 / took.wall());
}

/// Such processes at the same time, each with these processors: bytes a second of all together.
fn processes(path: &Path, processors: &[&str]) -> f64 {
    let begin = |on: &&str| {
        let me = std::env::current_exe().expect("this program");
        let mut process = std::process::Command::new("taskset");
        process.args(["-c", on]).arg(me).env(FILE, path).stdout(std::process::Stdio::piped());
        process.spawn().expect("taskset, of util-linux")
    };
    let begun: Vec<_> = processors.iter().map(begin).collect();
    let said = begun.into_iter().map(|process| process.wait_with_output().expect("its output").stdout);
    said.map(|said| String::from_utf8_lossy(&said).trim().parse::<f64>().expect("a number")).sum()
}

fn main() {
    if let Some(file) = std::env::var_os(FILE) {
        return verify_together(Path::new(&file));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording.mcap");
    let runs = number("KEYSTONE_BENCH_RUNS", 5);
    let size = generate(&path, number("KEYSTONE_BENCH_MB", 256) << 20);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "a recording of {:.1} MB, {processors} processors, {runs} runs: the median, from the quickest to the slowest",
        size as f64 / 1e6
    );

    let file = || LocalFile(File::open(&path).expect("the file"));
    let seen = || runtime.block_on(look(&file(), size)).expect("a look");
    let mut ends = Took::default();
    for _ in 0..runs {
        let facts = ends.run(|| {
            let file = file();
            let seen = seen();
            runtime.block_on(measure_ends(&file, &seen)).expect("facts")
        });
        assert!(facts.findings.is_empty(), "{:?}", facts.findings);
        if ends.wall.len() == 1 {
            println!("tiers 1 and 2 read {:.2} MB", facts.read_bytes as f64 / 1e6);
        }
    }
    ends.show("tiers 1 and 2", size);

    let whole = |limits: Limits| -> Facts {
        let facts = measure_whole(BufReader::with_capacity(READ_AT_ONCE, file().0), &seen(), limits).expect("facts");
        assert!(facts.findings.is_empty() && facts.not_measured.is_empty(), "{:?} {:?}", facts.findings, facts.not_measured);
        facts
    };
    let ways = |unpackers: usize| {
        let of = |payloads, samples_max| Limits { unpackers, payloads, samples_max, ..Limits::default() };
        [("container", of(false, 0)), ("and payloads", of(true, 0)), ("and decoded images", of(true, 60))]
    };
    let all: Vec<(String, Limits)> = [0, processors]
        .into_iter()
        .flat_map(|unpackers| ways(unpackers).map(|(what, limits)| (format!("tier 3, {unpackers} threads beside: {what}"), limits)))
        .collect();
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_kb();
    let mut took: Vec<Took> = all.iter().map(|_| Took::default()).collect();
    for _ in 0..runs {
        for (took, (_, limits)) in took.iter_mut().zip(&all) {
            took.run(|| whole(*limits));
        }
    }
    all.iter().zip(&took).for_each(|((what, _), took)| took.show(what, size));
    println!("  at most {:.1} MB more memory than before", (peak_kb().saturating_sub(before)) as f64 / 1e3);

    // It wants the whole file in memory: with reading it, as ours reads it, and without.
    let (mut theirs, mut from_memory) = (Took::default(), Took::default());
    let read_by_theirs = |bytes: &[u8]| {
        let stream =
            mcap::read::RawMessageStream::new_with_options(bytes, mcap::read::Options::ValidateChunkCrcs.into()).expect("a reader");
        stream.inspect(|message| assert!(message.is_ok())).count()
    };
    for _ in 0..runs {
        let bytes = theirs.run(|| {
            let bytes = std::fs::read(&path).expect("the file");
            assert!(read_by_theirs(&bytes) > 0);
            bytes
        });
        from_memory.run(|| read_by_theirs(&bytes));
    }
    theirs.show("the crate's checked reader", size);
    from_memory.show("the crate's checked reader, the file in memory before", size);
    for ((what, _), took) in all.iter().zip(&took) {
        let times = |theirs: &Took| {
            format!("{:.1} times ({:.1} of one processor)", theirs.wall() / took.wall(), theirs.processor() / took.processor())
        };
        println!("  {what}: {} as fast as theirs, {} as theirs from memory", times(&theirs), times(&from_memory));
    }

    let (blobs, key, facts) = stored(&path, size);
    let mut hashed = Took::default();
    let mut measured = [(); 3].map(|()| Took::default());
    let one_pass = ways(Limits::beside_hashing().unpackers);
    for _ in 0..runs {
        let sha256 = hashed.run(|| runtime.block_on(hash_passing(blobs.pieces(&key, &facts))));
        for (took, (_, limits)) in measured.iter_mut().zip(&one_pass) {
            let passed =
                took.run(|| runtime.block_on(measure_passing(blobs.pieces(&key, &facts), Arc::new(seen()), *limits)).expect("the file"));
            assert_eq!(passed.sha256, sha256);
            assert!(passed.facts.is_some_and(|facts| facts.findings.is_empty()));
        }
    }
    hashed.show("SHA-256 alone", size);
    for (took, (what, _)) in measured.iter().zip(&one_pass) {
        took.show(&format!("SHA-256 and tier 3 in one pass: {what}"), size);
        let more = |ours: f64, alone: f64| (ours / alone - 1.0) * 100.0;
        let (time, used) = (more(took.wall(), hashed.wall()), more(took.processor(), hashed.processor()));
        println!("  {time:+.0} % of time, {used:+.0} % of processors");
    }

    // The same with all images that are decoded, several at once: what processors and processes add.
    let one = processes(&path, &["0"]);
    println!("{AT_ONCE} at once, by one process on one processor {:>25.2} GB/s", one / 1e9);
    if processors > 1 {
        let times = |what: &str, together: f64| println!("  {what}: {:.2} GB/s, {:.2} times as much", together / 1e9, together / one);
        times("by one process on two", processes(&path, &["0,1"]));
        times("by two processes on one each", processes(&path, &["0", "1"]));
    }
}
