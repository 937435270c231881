//! Whatever bytes a recording has: both passes come to an end with them, in bounded time and memory, and say only what lies
//! within the file. So does salvage, and what it writes is sound, and what it says it is.
//!
//! `KEYSTONE_FUZZ_SECONDS` makes the run that long instead of a second. A failure prints the seed.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::salvage::tests::salvaged;
use super::super::summary_of;
use super::super::tests::Choices;
use super::Limits;
use super::image_at::tests::image;
use super::tests::{CAMERA, START_NS, ends, recording, whole_within};
use crate::domain::measurement::{FINDINGS_MAX, Facts, GAPS_MAX, TOPICS_MAX};

/// One file in a debug build takes some tens of milliseconds.
const TOO_LONG: Duration = Duration::from_secs(30);
/// Memory beyond that of the files themselves. Chunks of up to a megabyte are held here; other tests of the process share it.
const MEMORY_BYTES: u64 = 300 << 20;
const LIMITS: Limits = Limits { chunk_bytes_max: 1 << 20, unpackers: 0, samples_max: 60, payloads: true };

/// Sound files: with payloads that are looked into, and of every shape that a writer chooses.
fn corpus() -> Vec<Vec<u8>> {
    let packed = [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)];
    let recordings = packed.into_iter().map(|compression| recording(60, compression, |_, _| None));
    let chosen = (0..24u32).map(|n| {
        let compression = packed[n as usize % 3];
        Choices { bits: n.wrapping_mul(0x9e37_79b9) >> 17, compression, chunk_bytes: [1, 200, 1 << 20][n as usize / 3 % 3] }.write(12)
    });
    recordings.chain(chosen).collect()
}

/// Numbers that break readers.
const HOSTILE: [u64; 9] = [0, 1, 8, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Where records begin, as far as their lengths lead.
fn records(file: &[u8]) -> Vec<usize> {
    let (mut all, mut at) = (vec![], 8);
    while let Some(len) = file.get(at + 1..at + 9) {
        all.push(at);
        let len = u64::from_le_bytes(len.try_into().expect("eight bytes"));
        match usize::try_from(len).ok().and_then(|len| at.checked_add(9)?.checked_add(len)).filter(|next| *next < file.len()) {
            Some(next) => at = next,
            None => break,
        }
    }
    all
}

fn damage(file: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..5) {
        if file.is_empty() {
            return;
        }
        let at = rng.random_range(0..file.len());
        let records_of = records(file);
        match rng.random_range(0..9) {
            0 => file[at] ^= 1 << rng.random_range(0..8),
            1 => file.truncate(at),
            // A length, of a record or of whatever stands there.
            2 | 3 => {
                let at = if rng.random() && !records_of.is_empty() { records_of[rng.random_range(0..records_of.len())] + 1 } else { at };
                let bytes = HOSTILE[rng.random_range(0..HOSTILE.len())].to_le_bytes();
                let width = [2, 4, 8][rng.random_range(0..3)].min(file.len() - at.min(file.len()));
                file[at..at + width].copy_from_slice(&bytes[..width]);
            }
            // A record of another file, a record twice, or none.
            4 | 5 => {
                let from = if rng.random() { other.to_vec() } else { file.clone() };
                let (into, its) = (records(file), records(&from));
                if let (Some(at), Some(n)) = (pick(&into, rng), (!its.is_empty()).then(|| rng.random_range(0..its.len()))) {
                    let end = its.get(n + 1).copied().unwrap_or(from.len());
                    file.splice(at..at, from[its[n]..end].iter().copied());
                }
            }
            6 => {
                let end = (at + rng.random_range(1..5000)).min(file.len());
                file[at..end].fill([0, 0xff, 0x55][rng.random_range(0..3)]);
            }
            7 => {
                let end = (at + rng.random_range(1..500)).min(file.len());
                file.drain(at..end);
            }
            _ => {
                if let (Some(one), Some(end)) = (pick(&records_of, rng), pick(&records_of, rng)) {
                    file.drain(one.min(end)..one.max(end));
                }
            }
        }
    }
}

fn pick(all: &[usize], rng: &mut StdRng) -> Option<usize> {
    (!all.is_empty()).then(|| all[rng.random_range(0..all.len())])
}

/// Damage behind the checksums: bytes of an unpacked chunk change, and its checksum is left out, so that payloads themselves are broken.
fn damage_payloads(file: &mut [u8], rng: &mut StdRng) {
    let Ok(summary) = summary_of(file) else { return };
    for chunk in summary.chunks.iter().filter(|chunk| chunk.compression.is_empty()) {
        let start = chunk.start as usize;
        file[start + 33..start + 37].fill(0);
        for _ in 0..rng.random_range(0..200) {
            let at = start + 50 + rng.random_range(0..(chunk.chunk_bytes as usize).saturating_sub(50).max(1));
            if let Some(byte) = file.get_mut(at) {
                *byte = rng.random();
            }
        }
    }
}

fn within(facts: &Facts, size: u64) {
    let Facts { findings, not_measured, topics, .. } = facts;
    for finding in &findings.items {
        assert!(finding.at.checked_add(finding.bytes).is_some_and(|end| end <= size), "{finding:?} of {size} bytes");
    }
    assert!(not_measured.items.iter().all(|left| left.at.is_none_or(|at| at <= size)), "{not_measured:?} of {size} bytes");
    assert!(findings.items.len() <= FINDINGS_MAX && not_measured.items.len() <= FINDINGS_MAX && topics.items.len() <= TOPICS_MAX);
    let gaps = topics.items.iter().filter_map(|topic| topic.timing.as_ref()?.intervals.as_ref());
    assert!(gaps.into_iter().all(|intervals| intervals.gaps.items.len() <= GAPS_MAX));
    let text = serde_json::to_string(facts).expect("facts are text");
    assert_eq!(&serde_json::from_str::<Facts>(&text).expect("facts"), facts);
}

/// The most memory that this process had since it was last asked to forget.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kb| kb << 10)
}

/// Whether the file was still measured when its time was over.
fn is_measured_in_time(seed: u64, corpus: &std::sync::Arc<Vec<Vec<u8>>>) -> bool {
    let (done, waiting) = mpsc::channel();
    let corpus = corpus.clone();
    let measuring = std::thread::spawn(move || {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut file = corpus[rng.random_range(0..corpus.len())].clone();
        if rng.random_range(0..3) == 0 {
            damage_payloads(&mut file, rng);
        }
        if rng.random_range(0..4) > 0 {
            damage(&mut file, &corpus[rng.random_range(0..corpus.len())], rng);
        }
        let size = file.len() as u64;
        let facts = whole_within(&file, LIMITS);
        within(&facts, size);
        within(&ends(&file), size);
        salvaged(&file, LIMITS.chunk_bytes_max);
        // Whatever comes of it: an image, or why there is none.
        let _ = image(&file, CAMERA, START_NS + rng.random_range(0..1_000_000_000));
        if rng.random_range(0..8) == 0 {
            assert_eq!(whole_within(&file, Limits { unpackers: 2, ..LIMITS }), facts, "who unpacks does not matter");
        }
        // Nobody waits any more where it took too long.
        let _ = done.send(());
    });
    match waiting.recv_timeout(TOO_LONG) {
        Err(mpsc::RecvTimeoutError::Timeout) => false,
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = measuring.join() {
                eprintln!("the seed is {seed}");
                std::panic::resume_unwind(panic);
            }
            true
        }
    }
}

#[test]
fn any_damage_is_measured_in_bounded_time_and_memory() {
    let corpus = std::sync::Arc::new(corpus());
    let seconds = std::env::var("KEYSTONE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    // What was taken before does not count; where that cannot be forgotten, it counts for what is there already.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, until) = (peak_bytes(), Instant::now() + Duration::from_secs_f64(seconds));
    let first: u64 = match std::env::var("KEYSTONE_FUZZ_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => rand::random(),
    };
    let mut runs = 0;
    while runs == 0 || Instant::now() < until {
        let seed = first.wrapping_add(runs);
        assert!(is_measured_in_time(seed, &corpus), "the seed is {seed}: it takes more than {TOO_LONG:?}");
        let grown = peak_bytes().saturating_sub(before);
        assert!(grown < MEMORY_BYTES, "the seed is {seed}: {grown} bytes more than before");
        runs += 1;
    }
    println!("{runs} files, at most {} bytes more than before", peak_bytes().saturating_sub(before));
}
