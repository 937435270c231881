//! Threads that unpack chunks, and the order in which what they unpacked comes back: that of the file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Scope;

use super::chunk::{ChunkHead, Unpacking, unpack};

/// A chunk with the message indexes behind it.
pub struct Job {
    pub number: u64,
    /// Of its record in the file.
    pub range: Range<u64>,
    pub head: ChunkHead,
    /// The record's body, or its beginning where it is not unpacked.
    pub record: Vec<u8>,
    /// Why it is not unpacked.
    pub why_not: Option<String>,
    /// Where each lies, and its body.
    pub indexes: Vec<(u64, Vec<u8>)>,
    /// Of all of them, also of those that are not held.
    pub index_bytes: u64,
}

pub struct Unpacked {
    pub job: Job,
    pub records: Result<Vec<u8>, Unpacking>,
}

impl Unpacked {
    fn of(mut job: Job, into: Vec<u8>) -> Self {
        let records = match job.why_not.take() {
            Some(why) => Err(Unpacking::NotHeld(why)),
            None => {
                let end = job.head.packed_at.saturating_add(usize::try_from(job.head.packed_bytes).unwrap_or(usize::MAX));
                match job.record.get(job.head.packed_at..end) {
                    Some(packed) => unpack(&job.head, packed, into),
                    None => Err(Unpacking::Broken("it is shorter than it says".to_owned())),
                }
            }
        };
        Self { job, records }
    }
}

/// A larger buffer is not kept for the next chunk.
const SPARE_BYTES_MAX: usize = 16 << 20;

/// What a thread is asked to do.
pub type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct Pool {
    unpackers: usize,
    work: Option<mpsc::Sender<Work>>,
    /// Each with the bytes that it takes.
    waiting: VecDeque<(u64, mpsc::Receiver<Unpacked>)>,
    waiting_bytes: u64,
    waiting_bytes_max: u64,
    /// What nobody else unpacked.
    ready: VecDeque<Unpacked>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl Pool {
    /// No more is begun while what waits takes `waiting_bytes_max`.
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, unpackers: usize, waiting_bytes_max: u64) -> Self {
        if unpackers == 0 {
            return Self::default();
        }
        let (work, todo) = mpsc::channel::<Work>();
        let todo = Arc::new(Mutex::new(todo));
        for _ in 0..unpackers {
            let todo = todo.clone();
            scope.spawn(move || {
                loop {
                    let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(task) = next else { break };
                    task();
                }
            });
        }
        Self { unpackers, work: Some(work), waiting_bytes_max, ..Self::default() }
    }

    /// For other work on the same threads, which go on until this is dropped, too.
    pub fn work(&self) -> Option<mpsc::Sender<Work>> {
        self.work.clone()
    }

    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub fn submit(&mut self, job: Job) {
        let into = self.spare();
        let Some(work) = &self.work else {
            self.ready.push_back(Unpacked::of(job, into));
            return;
        };
        let (done, unpacked) = mpsc::sync_channel(1);
        let bytes = job.record.len() as u64 + job.index_bytes + if job.why_not.is_none() { job.head.unpacked_bytes } else { 0 };
        let task = move || {
            // Nobody waits for it any more where reading failed.
            let _ = done.send(Unpacked::of(job, into));
        };
        if work.send(Box::new(task)).is_ok() {
            self.waiting_bytes += bytes;
            self.waiting.push_back((bytes, unpacked));
        }
    }

    /// The next in the order of the file; nothing, where there is none, or where enough room is left to go on: `all` waits.
    pub fn next(&mut self, all: bool) -> Option<Unpacked> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        if !all && self.waiting.len() <= self.unpackers && self.waiting_bytes <= self.waiting_bytes_max {
            return None;
        }
        let (bytes, unpacked) = self.waiting.pop_front()?;
        self.waiting_bytes -= bytes;
        unpacked.recv().ok()
    }

    pub fn give_back(&mut self, unpacked: Unpacked) {
        let buffers = [Some(unpacked.job.record), unpacked.records.ok()];
        for buffer in buffers.into_iter().flatten() {
            if self.spare.len() < 2 * (self.unpackers + 1) && buffer.capacity() <= SPARE_BYTES_MAX {
                self.spare.push(buffer);
            }
        }
    }
}
