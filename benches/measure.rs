//! How quickly a recording is measured: three cameras, an arm and an inertial sensor, in chunks of 4 MiB with zstd.
//!
//! Tiers 1 and 2, tier 3 with no, one and so many threads beside it as there are processors, and the `mcap` crate's own reader with its chunk
//! checksums, on one file that lies in the page cache. `KEYSTONE_BENCH_MB` sets its size (256), `KEYSTONE_BENCH_RUNS` how often (5).

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keystone_edge::domain::measurement::Facts;
use keystone_edge::mcap::RangedRead;
use keystone_edge::mcap::measure::{Limits, look, measure_ends, measure_whole};
use mcap::records::MessageHeader;

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
    (0..8).map(|n| image(n, &mut noise)).collect()
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
                let image = &images[((step / 33 + camera) % 8) as usize];
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

/// The best of some runs.
fn best<T>(runs: u64, mut run: impl FnMut() -> T) -> (Duration, T) {
    let timed = |run: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        let made = run();
        (start.elapsed(), made)
    };
    let mut best = timed(&mut run);
    for _ in 1..runs {
        let next = timed(&mut run);
        if next.0 < best.0 {
            best = next;
        }
    }
    best
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording.mcap");
    let runs = number("KEYSTONE_BENCH_RUNS", 5);
    let size = generate(&path, number("KEYSTONE_BENCH_MB", 256) << 20);
    let gb = |time: Duration| size as f64 / 1e9 / time.as_secs_f64();
    println!("a recording of {:.1} MB", size as f64 / 1e6);

    let file = || LocalFile(File::open(&path).expect("the file"));
    let (time, facts) = best(runs, || {
        runtime.block_on(async {
            let file = file();
            let seen = look(&file, size).await.expect("a look");
            measure_ends(&file, &seen).await.expect("facts")
        })
    });
    println!("tiers 1 and 2: {:.1} ms, {:.2} MB read", time.as_secs_f64() * 1e3, facts.read_bytes as f64 / 1e6);

    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_kb();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let whole = |unpackers: usize| -> (Duration, Facts) {
        best(runs, || {
            let file = file();
            let seen = runtime.block_on(look(&file, size)).expect("a look");
            measure_whole(BufReader::with_capacity(4 << 20, file.0), &seen, Limits { unpackers, ..Limits::default() }).expect("facts")
        })
    };
    let mut fastest = Duration::MAX;
    for unpackers in [0, 1, processors] {
        let (time, facts) = whole(unpackers);
        assert!(facts.findings.is_empty() && facts.not_measured.is_empty(), "{:?}", facts.findings);
        fastest = fastest.min(time);
        println!("tier 3, {unpackers} threads beside: {:.3} s, {:.2} GB/s, {} messages", time.as_secs_f64(), gb(time), facts.message_count);
    }
    println!("  at most {:.1} MB more memory than before", (peak_kb().saturating_sub(before)) as f64 / 1e3);

    // It wants the whole file in memory; reading it is not counted.
    let bytes = std::fs::read(&path).expect("the file");
    let (time, messages) = best(runs, || {
        let stream =
            mcap::read::RawMessageStream::new_with_options(&bytes, mcap::read::Options::ValidateChunkCrcs.into()).expect("a reader");
        stream.inspect(|message| assert!(message.is_ok())).count()
    });
    println!("the crate's checked reader: {:.3} s, {:.2} GB/s, {messages} messages", time.as_secs_f64(), gb(time));
    println!("tier 3 is {:.1} times as fast", time.as_secs_f64() / fastest.as_secs_f64());
}
