//! A task between a server and a device that loses, repeats and delays what it says: whatever happens, nothing is
//! acked that is not verified, nothing finished is overwritten, what ended stays ended, and when the device has been quiet
//! for a while both believe the same.
//!
//! The server's side is the aggregate itself; the device is a model of one task on an Axon device.

use std::collections::VecDeque;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::device::RecorderState;
use super::task::*;
use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// The file of the device's last recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Absent,
    /// Closed, with its sidecar.
    Closed,
    Waiting,
    Acked,
    GivenUp,
}

#[derive(Clone, Debug)]
enum FromUploader {
    Complete(UploadReport),
    NotFound,
    /// The whole list.
    List(File, UploadReport),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToUploader {
    Upload,
    /// Everything that it has and has no record of, what it gave up among it.
    All,
    Ack,
    Status,
}

#[derive(Clone, Debug)]
enum Op {
    /// A collector does what the task's status asks for.
    Collect,
    Crash,
    /// As SIGTERM does: a recording is closed on disk, and nobody is told.
    Stop,
    /// Both halves of every connection.
    LoseRecorder,
    LoseUploader,
    HearRecorder,
    HearUploader,
    Callback(usize, bool),
    LoseCallback(usize),
    Deliver,
    Uploader(bool),
    Verify,
    Cancel,
    /// A person ends the task, whatever it waits for.
    End,
    /// Another program with the device's id takes the connections for a moment. Only once: one that answers twice, half a
    /// minute apart, is believed.
    Double,
    Wait(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Collect),
        1 => Just(Op::Crash),
        1 => Just(Op::Stop),
        1 => Just(Op::LoseRecorder),
        1 => Just(Op::LoseUploader),
        8 => Just(Op::HearRecorder),
        8 => Just(Op::HearUploader),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, again)| Op::Callback(which, again)),
        1 => any::<usize>().prop_map(Op::LoseCallback),
        6 => Just(Op::Deliver),
        6 => prop::bool::weighted(0.05).prop_map(Op::Uploader),
        4 => Just(Op::Verify),
        1 => Just(Op::Cancel),
        1 => Just(Op::End),
        1 => Just(Op::Double),
        3 => (0..50_u8).prop_map(Op::Wait),
    ]
}

struct World {
    task: Task,
    now: Timestamp,
    // The device.
    state: RecorderState,
    /// The task is named, also in `idle` after a finish.
    named: bool,
    recording: u32,
    file: File,
    // Between them.
    from_recorder: VecDeque<(RecorderState, bool)>,
    from_uploader: VecDeque<FromUploader>,
    callbacks: Vec<TaskCommand>,
    to_uploader: VecDeque<ToUploader>,
    // The server, beside the task.
    observed: Option<(RecorderState, bool)>,
    /// It was told to begin, and nothing was heard since.
    begun_unheard: bool,
    connected_at: Timestamp,
    outbox: VecDeque<ToUploader>,
    /// With the sequence of its event.
    verifying: Option<(i64, UploadReport)>,
    not_found: bool,
    look_again: Option<Timestamp>,
    doubled: bool,
    /// What was verified durably, by its hash.
    verified: Option<String>,
    broken: Vec<String>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            task: Task::Absent,
            now: NOW,
            state: RecorderState::Idle,
            named: false,
            recording: 0,
            file: File::Absent,
            from_recorder: VecDeque::new(),
            from_uploader: VecDeque::new(),
            callbacks: vec![],
            to_uploader: VecDeque::new(),
            observed: None,
            begun_unheard: false,
            connected_at: NOW,
            outbox: VecDeque::new(),
            verifying: None,
            not_found: false,
            look_again: None,
            doubled: false,
            verified: None,
            broken: vec![],
        };
        world.decide(TaskCommand::Create(task::tests::brief()));
        world.greet_recorder();
        world.greet_uploader();
        world
    }

    fn status(&self) -> TaskStatus {
        self.task.dispatched().unwrap().stage.status()
    }

    fn decide(&mut self, command: TaskCommand) {
        let before = self.task.dispatched().map(|task| task.stage.status());
        // A refusal changes nothing, and the world goes on.
        for event in self.task.decide(command).unwrap_or_default() {
            self.task.evolve(&event);
            match &event {
                TaskEvent::RecordingFinished { .. } | TaskEvent::UploadRequestedAgain { .. } => self.outbox.push_back(ToUploader::Upload),
                TaskEvent::UploadReported { report, .. } | TaskEvent::LateUploadReported { report, .. } => {
                    self.verifying = Some((self.task.dispatched().unwrap().sequence, report.clone()));
                }
                TaskEvent::UploadVerified { verified, .. } | TaskEvent::LateUploadVerified { verified, .. } => {
                    self.verified = Some(verified.report.sha256.clone());
                    self.outbox.push_back(ToUploader::Ack);
                }
                TaskEvent::UploadAckRequested { .. } => self.outbox.push_back(ToUploader::Ack),
                TaskEvent::FailedUploadRequested { .. } => self.outbox.push_back(ToUploader::All),
                _ => {}
            }
        }
        let over = [TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled];
        if let Some(before) = before.filter(|before| over.contains(before) && *before != self.status()) {
            self.broken.push(format!("{} became {}", before.as_str(), self.status().as_str()));
        }
    }

    fn report(&self) -> UploadReport {
        UploadReport { object_key: "k.mcap".into(), size_bytes: 1, sha256: self.recording.to_string(), with_sidecar: true }
    }

    fn enter(&mut self, state: RecorderState, named: bool) {
        self.from_recorder.push_back((state, named));
        (self.state, self.named) = (state, named);
    }

    fn greet_recorder(&mut self) {
        self.from_recorder.clear();
        self.observed = None;
        self.from_recorder.push_back((self.state, self.named));
    }

    fn greet_uploader(&mut self) {
        self.from_uploader.clear();
        self.to_uploader.clear();
        self.not_found = false;
        // Connecting again takes a moment.
        self.now += TimeDelta::seconds(1);
        self.connected_at = self.now;
        self.from_uploader.push_back(FromUploader::List(self.file, self.report()));
    }

    fn step(&mut self, op: Op) {
        match op {
            // People see a confirmed state only.
            Op::Collect if self.from_recorder.is_empty() && self.observed.is_some() => self.collect(),
            Op::Collect => {}
            Op::Stop => {
                if matches!(self.state, RecorderState::Recording | RecorderState::Paused) {
                    self.file = File::Closed;
                }
                self.step(Op::Crash);
            }
            Op::Crash => {
                (self.state, self.named) = (RecorderState::Idle, false);
                self.callbacks.clear();
                self.greet_recorder();
                self.greet_uploader();
            }
            Op::LoseRecorder => self.greet_recorder(),
            Op::LoseUploader => self.greet_uploader(),
            Op::HearRecorder => self.hear_recorder(),
            Op::HearUploader => self.hear_uploader(),
            Op::Callback(which, again) if !self.callbacks.is_empty() => {
                let which = which % self.callbacks.len();
                let said = if again { self.callbacks[which].clone() } else { self.callbacks.swap_remove(which) };
                self.decide(said);
            }
            Op::LoseCallback(which) if !self.callbacks.is_empty() => {
                let which = which % self.callbacks.len();
                self.callbacks.swap_remove(which);
            }
            Op::Callback(..) | Op::LoseCallback(_) => {}
            Op::Deliver => self.to_uploader.extend(self.outbox.pop_front()),
            Op::Uploader(gives_up) => self.uploader(gives_up),
            Op::Verify => {
                if let Some((reported_in, report)) = self.verifying.take() {
                    let verified = VerifiedUpload { report, etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage: None };
                    self.decide(TaskCommand::AcceptUpload { reported_in, verified, episode_id: EpisodeId(1), at: self.now });
                }
            }
            Op::Cancel => self.decide(TaskCommand::Cancel { at: self.now }),
            Op::End => self.decide(TaskCommand::FailByPerson { reason: "scrapped".into(), at: self.now }),
            Op::Double => {
                if !std::mem::replace(&mut self.doubled, true) {
                    self.double();
                }
            }
            Op::Wait(seconds) => self.wait(seconds),
        }
    }

    fn double(&mut self) {
        let (state, named, file) = (self.state, self.named, self.file);
        (self.state, self.named, self.file) = (RecorderState::Idle, false, File::Absent);
        self.greet_recorder();
        self.hear_recorder();
        // The two take the connection from each other, again and again.
        for _ in 0..3 {
            self.greet_uploader();
            for _ in 0..4 {
                self.to_uploader.extend(self.outbox.pop_front());
                // What is acked to it is unknown to it, and nothing is deleted.
                while self.to_uploader.front() == Some(&ToUploader::Ack) {
                    self.to_uploader.pop_front();
                }
                self.uploader(false);
                self.hear_uploader();
            }
        }
        (self.state, self.named, self.file) = (state, named, file);
        self.greet_recorder();
        self.greet_uploader();
    }

    fn wait(&mut self, seconds: u8) {
        self.now += TimeDelta::seconds(i64::from(seconds));
        if self.look_again.take_if(|at| *at <= self.now).is_some() {
            self.to_uploader.push_back(ToUploader::Status);
        }
    }

    fn collect(&mut self) {
        let started = TaskCommand::StartRecording { by: Witness::StartCallback, at: self.now, reported: None };
        let finished = TaskCommand::FinishRecording { by: Witness::FinishCallback, at: self.now, report: None };
        match (self.status(), self.state) {
            (TaskStatus::Pending, RecorderState::Idle) => self.enter(RecorderState::Ready, true),
            (TaskStatus::Ready, RecorderState::Ready) => {
                if self.file == File::Closed || self.file == File::Waiting {
                    self.broken.push("a finished recording was overwritten".to_owned());
                }
                (self.recording, self.file) = (self.recording + 1, File::Absent);
                self.begun_unheard = true;
                self.callbacks.push(started);
                self.enter(RecorderState::Recording, true);
            }
            (TaskStatus::InProgress, RecorderState::Recording) => {
                self.file = File::Closed;
                self.callbacks.push(finished);
                self.enter(RecorderState::Idle, true);
            }
            _ => {}
        }
    }

    fn hear_recorder(&mut self) {
        let Some((state, named)) = self.from_recorder.pop_front() else { return };
        let held = named && state != RecorderState::Idle;
        let believed = self.observed.is_none_or(|(_, named)| named) || named;
        self.observed = Some((state, named));
        let unheard = std::mem::take(&mut self.begun_unheard);
        if held {
            with_the_task(state, self.now).into_iter().for_each(|command| self.decide(command));
        } else if believed {
            without_the_task(self.status(), false, unheard, self.now).into_iter().for_each(|command| self.decide(command));
        }
    }

    fn uploader(&mut self, gives_up: bool) {
        let Some(asked) = self.to_uploader.pop_front() else { return };
        match (asked, self.file) {
            (ToUploader::Upload, File::Closed) if gives_up => {
                self.file = File::GivenUp;
                self.from_uploader.push_back(FromUploader::List(self.file, self.report()));
            }
            (ToUploader::Upload, File::Closed) => {
                self.file = File::Waiting;
                self.from_uploader.push_back(FromUploader::Complete(self.report()));
            }
            (ToUploader::All, File::Closed | File::GivenUp) => {
                self.file = File::Waiting;
                self.from_uploader.push_back(FromUploader::Complete(self.report()));
            }
            (ToUploader::All, _) => {}
            (ToUploader::Upload, _) => self.from_uploader.push_back(FromUploader::NotFound),
            (ToUploader::Ack, File::Waiting) => {
                if self.verified != Some(self.recording.to_string()) {
                    self.broken.push(format!("acked recording {} while {:?} was verified", self.recording, self.verified));
                }
                self.file = File::Acked;
            }
            (ToUploader::Ack, File::Acked) => {}
            (ToUploader::Ack, file) => self.broken.push(format!("acked a file that is {file:?}")),
            (ToUploader::Status, file) => self.from_uploader.push_back(FromUploader::List(file, self.report())),
        }
    }

    fn hear_uploader(&mut self) {
        let (by, at) = (Witness::TransferStatus, self.now);
        match self.from_uploader.pop_front() {
            None => {}
            Some(FromUploader::Complete(report)) => self.decide(TaskCommand::ReportUpload { by: Witness::UploadComplete, report, at }),
            Some(FromUploader::NotFound) => {
                self.not_found = true;
                self.to_uploader.push_back(ToUploader::Status);
            }
            Some(FromUploader::List(file, report)) => {
                let not_found = std::mem::take(&mut self.not_found);
                let tracked = !matches!(file, File::Absent | File::Closed);
                if not_found && !tracked {
                    self.look_again = Some(at + TimeDelta::seconds(35));
                }
                match file {
                    File::Waiting => self.decide(TaskCommand::ReportUpload { by, report, at }),
                    File::GivenUp if self.status() == TaskStatus::Uploading => {
                        self.decide(TaskCommand::FailUpload { reason: "given up".into(), file: Some("t.mcap".into()), at });
                    }
                    File::GivenUp => {
                        self.decide(TaskCommand::RequestGivenUp { by, at, connected_at: Some(self.connected_at) });
                    }
                    File::Absent | File::Closed if self.status() == TaskStatus::Uploading => self.decide(if not_found {
                        let recorder_is_without = self.observed.is_some_and(|(state, named)| state == RecorderState::Idle || !named);
                        TaskCommand::MissFile { detail: "no file".into(), at, recorder_is_without }
                    } else {
                        TaskCommand::RequestUpload { by, at, connected_at: Some(self.connected_at) }
                    }),
                    _ => {}
                }
            }
        }
    }

    /// The device does nothing more; all that is said arrives, and time goes by.
    fn come_to_rest(&mut self) {
        self.greet_recorder();
        self.greet_uploader();
        for _ in 0..12 {
            for _ in 0..20 {
                self.hear_recorder();
                self.hear_uploader();
                self.to_uploader.extend(self.outbox.pop_front());
                self.uploader(false);
                self.step(Op::Verify);
            }
            self.wait(40);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn both_believe_the_same_when_the_device_is_quiet(ops in prop::collection::vec(op(), 0..150)) {
        let mut world = World::new();
        for op in ops.clone() {
            world.step(op);
            prop_assert!(world.broken.is_empty(), "{:?}", world.broken);
        }
        world.come_to_rest();
        prop_assert!(world.broken.is_empty(), "{:?}", world.broken);
        let status = world.status();
        let right = match (status, world.state, world.file) {
            // What has ended has ended; a recording that came late was taken all the same.
            (TaskStatus::Cancelled | TaskStatus::Failed, _, file) => file != File::Waiting,
            (TaskStatus::Completed, _, file) => file == File::Acked,
            (_, RecorderState::Ready, _) => status == TaskStatus::Ready,
            (_, RecorderState::Recording, _) => status == TaskStatus::InProgress,
            // A file that was seen and is not found waits for a person.
            (TaskStatus::Pending | TaskStatus::Uploading, RecorderState::Idle, file) => file == File::Absent,
            _ => false,
        };
        prop_assert!(right, "{} with a recorder that is {:?} and a file that is {:?}", status.as_str(), world.state, world.file);
    }
}
