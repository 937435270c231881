//! Whatever bytes come over a socket: both parsers, both sessions and the reader of frames come to an end with
//! each of them, take no more memory than the limit, and say nothing that is not theirs to say.
//!
//! `KEYSTONE_FUZZ_SECONDS` makes each run that long instead of a second. A failure prints the seed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::frames::{self, Heard, Pulse, Reader};
use super::recorder::session::RecorderSession;
use super::session::{Effect, Now, Session};
use super::transfer::session::TransferSession;
use super::wire::{FromRecorder, FromTransfer};
use crate::domain::DeviceId;

/// One of each message, as devices send them.
fn corpus() -> Vec<Value> {
    let upload = json!({ "task_id": "task-1", "status": "uploaded_wait_ack", "upload_mode": "mcap_json", "s3_key": "1/d/2026-11-20/task-1.mcap",
        "object_key": "1/d/2026-11-20/task-1.mcap", "file_size_bytes": 2818, "checksum_sha256": "ec7226af", "retry_count": 0, "next_retry_at": null });
    vec![
        json!({ "type": "state_update", "timestamp": 1795204645118_i64, "data": { "previous": "recording", "current": "recording", "task_id": "t-off" } }),
        json!({ "type": "config_applied", "timestamp": 1, "data": { "task_id": "t", "skills": ["pick"], "topics": ["/chatter"] } }),
        json!({ "type": "rpc_response", "request_id": "33ed", "success": true, "message": "ok", "data": { "state": "ready", "task_id": "t" } }),
        json!({ "type": "rpc_response", "request_id": "9c58", "success": true, "data": { "state": "recording", "task_config": { "task_id": "t" },
                "latency": 16651541458059659401_u64 } }),
        json!({ "type": "connected", "timestamp": "2026-11-20T20:06:45.780Z", "data": { "version": "0.1.0", "device_id": "d", "pending_count": 0,
                "waiting_ack_task_ids": ["task-1"], "uploads": [upload.clone()], "bytes_per_sec": 1.5 } }),
        json!({ "type": "status", "data": { "pending_count": 1, "uploads": [] } }),
        json!({ "type": "upload_started", "data": { "task_id": "t", "files": ["t.mcap"], "total_bytes": 1 } }),
        json!({ "type": "upload_complete", "data": upload }),
        json!({ "type": "upload_failed", "data": { "task_id": "t", "reason": "curlCode: 7", "retry_count": 3 } }),
        json!({ "type": "upload_not_found", "data": { "task_id": "t", "detail": "No MCAP file" } }),
        json!({ "type": "local_cleanup_failed", "data": { "task_id": "t", "file_path": "/x", "retry_count": 2, "reason": "busy" } }),
    ]
}

/// A few changes of the kinds that break parsers.
fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    const PIECES: [&[u8]; 10] = [b"{", b"[", b"\"", b"null", b"-1", b"1e999", b"\\u0000", b"\xff\xfe", b"18446744073709551616", b"../"];
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 => bytes.truncate(at),
            2 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            3 if at < bytes.len() => {
                let end = rng.random_range(at..bytes.len().min(at + 20));
                bytes.drain(at..end);
            }
            _ => {
                let copy: Vec<u8> = bytes[at..].to_vec();
                bytes.extend(copy);
            }
        }
    }
}

/// Calls with one seed after the other until the time is over, and answers how often.
fn fuzz(mut one: impl FnMut(&mut StdRng)) -> u64 {
    let seconds = std::env::var("KEYSTONE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let first: u64 = rand::random();
    let mut runs = 0;
    while Instant::now() < until {
        let seed = first.wrapping_add(runs);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(&mut StdRng::seed_from_u64(seed))));
        if let Err(panic) = outcome {
            eprintln!("the seed is {seed}");
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    println!("{runs} runs");
    runs
}

fn message(rng: &mut StdRng) -> Vec<u8> {
    let corpus = corpus();
    let mut bytes = corpus[rng.random_range(0..corpus.len())].to_string().into_bytes();
    mutate(&mut bytes, rng);
    bytes
}

#[test]
fn messages_of_any_kind_are_read_or_refused() {
    assert!(
        fuzz(|rng| {
            let bytes = message(rng);
            let _ = (FromRecorder::parse(&bytes), FromTransfer::parse(&bytes));
        }) > 0
    );
}

#[test]
fn sessions_survive_any_message() {
    fn talk(mut session: impl Session, rng: &mut StdRng) {
        let start = Now::read();
        let mut effects = session.opened(start);
        for step in 0..20 {
            let now = Now { at: start.at + Duration::from_secs(step), wall: start.wall };
            let bytes = message(rng);
            effects.extend(match std::str::from_utf8(&bytes) {
                Ok(_) => session.message(now, &bytes),
                Err(_) => session.garbled(now, "invalid_utf8"),
            });
            effects.extend(session.tick(now));
        }
        // One question or two for the state, and nothing that deletes anything.
        for effect in effects {
            if let Effect::Send(text) = effect {
                let frame: Value = serde_json::from_str(&text).expect("we send JSON");
                assert!(frame["action"] == "get_state" || frame["type"] == "status_query", "{frame}");
            }
        }
    }
    assert!(
        fuzz(|rng| {
            talk(RecorderSession::new(Now::read()), rng);
            talk(TransferSession::new(DeviceId::parse("d").expect("an id")), rng);
        }) > 0
    );
}

#[test]
fn the_reader_of_frames_survives_any_bytes() {
    const MESSAGE_MAX: usize = 4096;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert!(
        fuzz(|rng| {
            let mut wire = vec![];
            for _ in 0..rng.random_range(1..8) {
                let payload = message(rng);
                // A frame of a client, more or less: opcode, length and mask may be anything.
                wire.push(if rng.random_bool(0.7) { [0x81, 0x01, 0x80, 0x00, 0x89][rng.random_range(0..5)] } else { rng.random() });
                let length = if rng.random_bool(0.9) { payload.len() } else { rng.random_range(0..1 << 20) };
                match length {
                    short @ 0..126 => wire.push(0x80 | short as u8),
                    middle @ 126..65536 => {
                        wire.push(0x80 | 126);
                        wire.extend((middle as u16).to_be_bytes());
                    }
                    long => {
                        wire.push(0x80 | 127);
                        wire.extend((long as u64).to_be_bytes());
                    }
                }
                wire.extend([0; 4]);
                wire.extend(payload);
            }
            mutate(&mut wire, rng);
            runtime.block_on(async {
                let (mut device, server) = tokio::io::duplex(1 << 16);
                let (read, write) = tokio::io::split(server);
                let (outbox, writer) = frames::writer(write, 8, Duration::from_secs(1));
                let writer = tokio::spawn(writer);
                let (heard_here, mut heard) = mpsc::channel(64);
                let reader = tokio::spawn(Reader::new(read, Arc::new(Pulse::new()), MESSAGE_MAX, outbox).run(heard_here));
                let sending = tokio::spawn(async move {
                    let _closed_on_us = device.write_all(&wire).await;
                    drop(device);
                });
                while let Some(heard) = heard.recv().await {
                    if let Heard::Message(message) = heard {
                        assert!(message.len() <= MESSAGE_MAX && std::str::from_utf8(&message).is_ok());
                    }
                }
                sending.await.expect("the device's end");
                reader.await.expect("the reader ends");
                writer.abort();
            });
        }) > 0
    );
}
