//! Uploads that are verified while their objects may be replaced, reported anew, given up and ended: an episode names an
//! object that has the bytes that were verified, from the moment it is there.
//!
//! The task is the aggregate itself; the store and the verifications, of which several may be under way, are a model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::task::*;
use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const KEYS: [&str; 2] = ["a.mcap", "b.mcap"];

#[derive(Clone, Debug)]
enum Op {
    /// An uploader writes these bytes.
    Put(usize, u8),
    /// And says so, truly or not.
    Report(usize, u8),
    /// A person wants what was rejected, as it is.
    Want,
    Fail,
    End,
    Delete,
    /// A delivery, of those ever made, is begun: the object is read.
    Read(usize),
    /// The verdict of a reading, of those ever made, is given.
    Conclude(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..2_usize, 0..2_u8).prop_map(|(key, bytes)| Op::Put(key, bytes)),
        5 => (0..2_usize, 0..2_u8).prop_map(|(key, bytes)| Op::Report(key, bytes)),
        2 => Just(Op::Want),
        1 => Just(Op::Fail),
        1 => Just(Op::End),
        1 => Just(Op::Delete),
        5 => any::<usize>().prop_map(Op::Read),
        5 => any::<usize>().prop_map(Op::Conclude),
    ]
}

#[derive(Clone, Debug)]
struct ToRead {
    /// Of the event.
    sequence: i64,
    report: UploadReport,
    /// Also where it is damaged.
    wanted: bool,
}

struct World {
    task: Task,
    events: Vec<TaskEvent>,
    objects: BTreeMap<&'static str, u8>,
    deliveries: Vec<ToRead>,
    /// And what was found.
    readings: Vec<(ToRead, Option<u8>)>,
    /// What episodes name, and what was verified.
    named: Vec<(String, String)>,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { task: Task::Absent, events: vec![], objects: BTreeMap::new(), deliveries: vec![], readings: vec![], named: vec![] };
        world.decide(TaskCommand::Create(task::tests::brief()));
        world
    }

    fn decide(&mut self, command: TaskCommand) {
        // A refusal changes nothing, and the world goes on.
        for event in self.task.decide(command).unwrap_or_default() {
            self.task.evolve(&event);
            self.events.push(event.clone());
            match event {
                TaskEvent::UploadReported { report, .. } | TaskEvent::LateUploadReported { report, .. } => {
                    self.deliveries.push(ToRead { sequence: self.events.len() as i64, report, wanted: false });
                }
                TaskEvent::DamagedUploadWanted { report, .. } => {
                    self.deliveries.push(ToRead { sequence: self.events.len() as i64, report, wanted: true });
                }
                TaskEvent::UploadVerified { verified, .. } | TaskEvent::LateUploadVerified { verified, .. } => {
                    let sha256 = verified.damage.map_or(verified.report.sha256, |damage| damage.sha256);
                    self.named.push((verified.report.object_key, sha256));
                }
                _ => {}
            }
        }
    }

    /// The object that keeps its bytes because a report waits, as the store asks for it.
    fn claimed(&self) -> Option<&str> {
        let last = self.events.iter().rev().find(|event| [&CLAIMING[..], &RELEASING[..]].concat().contains(&event.event_type()))?;
        match last {
            TaskEvent::UploadReported { report, .. }
            | TaskEvent::LateUploadReported { report, .. }
            | TaskEvent::DamagedUploadWanted { report, .. } => Some(&report.object_key),
            _ => None,
        }
    }

    /// The same, by the state.
    fn awaited(&self) -> Option<&str> {
        let upload = self.task.dispatched()?.upload.as_ref()?;
        upload.verdict.is_none().then_some(upload.report.object_key.as_str())
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Put(key, bytes) => {
                let (key, there) = (KEYS[key], self.objects.get(KEYS[key]));
                let kept = self.claimed() == Some(key) || self.named.iter().any(|(named, _)| named == key);
                if there.is_none() || !kept {
                    self.objects.insert(key, bytes);
                }
            }
            Op::Report(key, bytes) => {
                let report = UploadReport { object_key: KEYS[key].into(), size_bytes: 1, sha256: bytes.to_string(), with_sidecar: false };
                self.decide(TaskCommand::ReportUpload { by: Witness::UploadComplete, report, at: NOW });
            }
            Op::Want => self.decide(TaskCommand::WantDamaged { reason: "the only one".into() }),
            Op::Fail => self.decide(TaskCommand::FailUpload { reason: "given up".into(), file: None, at: NOW }),
            Op::End => self.decide(TaskCommand::FailByPerson { reason: "scrapped".into(), at: NOW }),
            Op::Delete => self.decide(TaskCommand::Delete),
            Op::Read(which) if !self.deliveries.is_empty() => {
                let to_read = self.deliveries[which % self.deliveries.len()].clone();
                let found = self.objects.get(to_read.report.object_key.as_str()).copied();
                self.readings.push((to_read, found));
            }
            Op::Conclude(which) if !self.readings.is_empty() => {
                let (ToRead { sequence: reported_in, report, wanted }, found) = self.readings[which % self.readings.len()].clone();
                let found = found.map(|bytes| bytes.to_string());
                let damage = found.clone().filter(|found| *found != report.sha256);
                let damage = damage.map(|sha256| Damage { rejection: Rejection::ObjectChanged {}, sha256 });
                self.decide(if found.is_some() && (damage.is_none() || wanted) {
                    let verified = VerifiedUpload { report, etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage };
                    TaskCommand::AcceptUpload { reported_in, verified, episode_id: EpisodeId(1), at: NOW }
                } else {
                    TaskCommand::RejectUpload { reported_in, report, rejection: Rejection::ObjectChanged {} }
                });
            }
            Op::Read(_) | Op::Conclude(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn an_episode_names_what_was_verified(ops in prop::collection::vec(op(), 0..40)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
            prop_assert_eq!(world.claimed(), world.awaited());
            prop_assert!(world.named.len() <= 1, "{:?}", world.named);
            for (key, verified) in &world.named {
                let there = world.objects.get(key.as_str()).map(ToString::to_string);
                prop_assert_eq!(there.as_ref(), Some(verified), "of {}", key);
            }
        }
    }
}
