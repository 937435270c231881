//! Devices: the two links of a robot, what its recorder was seen doing, and the
//! commands sent to it.
//!
//! A link has an epoch. Whatever was learned from a socket carries the epoch of its
//! link, and counts only while that link is the current one: a frame from a replaced
//! connection changes nothing.
//!
//! A command is answered (`succeeded`, `refused`) or it is not (`unknown`); an answer
//! after that is recorded as late, and settles nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Aggregate, Event, PublicTaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub recorder: Link,
    pub transfer: Link,
    pub observed: Option<Observed>,
    /// Commands without an outcome yet, oldest first by id.
    pub open_commands: BTreeMap<String, OpenCommand>,
    /// The latest commands whose outcome is unknown: their answers may come yet.
    pub given_up: VecDeque<String>,
    /// Tasks the recorder has to let go of, with how often it was asked on its present link.
    /// They stay here until the recorder is seen without them.
    pub releases: BTreeMap<PublicTaskId, u32>,
    /// Messages that were refused since the last connection.
    pub refused: u32,
    /// A task that it was told to begin, without an answer, and that nothing was seen of since: it may have recorded.
    #[serde(default)]
    pub begun_unheard: Option<PublicTaskId>,
    /// The task of the last configuration, where an older version gave it: its callbacks have no token.
    #[serde(default)]
    pub tokenless: Option<PublicTaskId>,
}

/// Refused messages that are recorded between one connection and the next. One that goes wrong is worth its entry, and
/// so are the next ones; a program that goes wrong all the time does not fill the log.
const REFUSED_MAX: u32 = 100;

/// Those of them that need not have come from the device: anybody can post a callback, and leaves the rest to it.
const REFUSED_STRANGERS_MAX: u32 = 20;

/// Commands whose late answers are recorded. A device cannot fill the log with answers to what nobody asked.
const GIVEN_UP_MAX: usize = 32;

/// How often a recorder is asked on one link to let go of a task. What it does not do then is
/// asked for again when it is seen in another state, or is back on a new link.
const RELEASE_TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    Recorder,
    Transfer,
}

impl LinkKind {
    pub fn as_str(self) -> &'static str {
        match self {
            LinkKind::Recorder => "recorder",
            LinkKind::Transfer => "transfer",
        }
    }
}

/// One of the two sockets of a device. Epochs count up from 1 and are never reused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    pub epoch: i64,
    pub open: bool,
    pub since: Option<Timestamp>,
    /// Which of our processes holds it; nobody knows of links that older versions opened.
    #[serde(default)]
    pub process: Option<Uuid>,
}

/// What a recorder was last seen doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub epoch: i64,
    pub state: RecorderState,
    pub task_id: Option<PublicTaskId>,
}

impl Observed {
    /// Whether the recorder has this task's configuration or records it.
    pub fn holds(&self, task: &PublicTaskId) -> bool {
        self.state != RecorderState::Idle && self.task_id.as_ref() == Some(task)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderState {
    Idle,
    Ready,
    Recording,
    Paused,
}

impl RecorderState {
    pub const ALL: [(&'static str, Self); 4] =
        [("idle", Self::Idle), ("ready", Self::Ready), ("recording", Self::Recording), ("paused", Self::Paused)];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCommand {
    pub epoch: i64,
    pub action: RecorderAction,
    pub task_id: Option<PublicTaskId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderAction {
    Config,
    Begin,
    Finish,
    Pause,
    Resume,
    Cancel,
    Clear,
    Quit,
}

impl RecorderAction {
    pub const ALL: [(&'static str, Self); 8] = [
        ("config", Self::Config),
        ("begin", Self::Begin),
        ("finish", Self::Finish),
        ("pause", Self::Pause),
        ("resume", Self::Resume),
        ("cancel", Self::Cancel),
        ("clear", Self::Clear),
        ("quit", Self::Quit),
    ];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    Succeeded {
        message: Option<String>,
        data: Option<Value>,
    },
    Refused {
        message: Option<String>,
        data: Option<Value>,
    },
    /// Nobody knows whether the device did it; its next snapshot tells.
    Unknown {
        reason: String,
    },
}

/// Id and deadline of the command that follows, if one does.
#[derive(Clone, Debug)]
pub struct NextCommand {
    pub command_id: String,
    pub deadline: Timestamp,
}

#[derive(Clone, Debug)]
pub enum DeviceCommand {
    OpenLink {
        kind: LinkKind,
        remote: String,
        process: Option<Uuid>,
        at: Timestamp,
    },
    CloseLink {
        kind: LinkKind,
        epoch: i64,
        reason: String,
    },
    Observe {
        seen: Observed,
        source: String,
        next: NextCommand,
    },
    /// The task is over for this recorder: cancelled, recalled or deleted.
    Release {
        task_id: PublicTaskId,
        next: NextCommand,
    },
    RequestCommand {
        command_id: String,
        action: RecorderAction,
        task_id: Option<PublicTaskId>,
        params: Value,
        deadline: Timestamp,
    },
    SettleCommand {
        command_id: String,
        outcome: CommandOutcome,
        next: NextCommand,
    },
    /// A message of the device that was not accepted, and why.
    RefuseReport {
        report: String,
        reason: String,
    },
    /// The same, of a message that came in the device's name without a proof.
    RefuseStranger {
        report: String,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceEvent {
    DeviceLinkOpened {
        kind: LinkKind,
        epoch: i64,
        remote: String,
        /// Which of our processes took it.
        #[serde(default)]
        process: Option<Uuid>,
        at: Timestamp,
    },
    DeviceLinkClosed {
        kind: LinkKind,
        epoch: i64,
        reason: String,
    },
    RecorderStateObserved {
        seen: Observed,
        source: String,
    },
    DeviceCommandRequested {
        command_id: String,
        epoch: i64,
        action: RecorderAction,
        task_id: Option<PublicTaskId>,
        params: Value,
        deadline: Timestamp,
        /// It is sent only while the recorder is seen to hold the task.
        #[serde(default)]
        while_held: bool,
        /// The links for callbacks are sent with the task's token, which stands nowhere.
        #[serde(default)]
        callback_token: bool,
    },
    DeviceCommandSettled {
        command_id: String,
        action: RecorderAction,
        task_id: Option<PublicTaskId>,
        outcome: CommandOutcome,
    },
    /// An answer that came after its command was given up.
    DeviceCommandAnsweredLate {
        command_id: String,
        outcome: CommandOutcome,
    },
    DeviceReportRefused {
        report: String,
        reason: String,
    },
    /// The recorder shall let go of a task.
    DeviceReleaseWanted {
        task_id: PublicTaskId,
    },
    /// The recorder was seen without the task.
    DeviceReleased {
        task_id: PublicTaskId,
    },
}

impl Event for DeviceEvent {
    fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::DeviceCommandRequested { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![
            ("device_link_opened", "1.1"),
            ("device_link_closed", "1.0"),
            ("recorder_state_observed", "1.0"),
            ("device_command_requested", "1.2"),
            ("device_command_settled", "1.0"),
            ("device_command_answered_late", "1.0"),
            ("device_report_refused", "1.0"),
            ("device_release_wanted", "1.0"),
            ("device_released", "1.0"),
        ]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::DeviceLinkOpened { .. } => "device_link_opened",
            Self::DeviceLinkClosed { .. } => "device_link_closed",
            Self::RecorderStateObserved { .. } => "recorder_state_observed",
            Self::DeviceCommandRequested { .. } => "device_command_requested",
            Self::DeviceCommandSettled { .. } => "device_command_settled",
            Self::DeviceCommandAnsweredLate { .. } => "device_command_answered_late",
            Self::DeviceReportRefused { .. } => "device_report_refused",
            Self::DeviceReleaseWanted { .. } => "device_release_wanted",
            Self::DeviceReleased { .. } => "device_released",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRefusal {
    #[error("the recorder is not connected")]
    RecorderNotConnected,
    #[error("a command with this id exists already")]
    CommandExists,
}

impl Device {
    pub fn link(&self, kind: LinkKind) -> &Link {
        match kind {
            LinkKind::Recorder => &self.recorder,
            LinkKind::Transfer => &self.transfer,
        }
    }

    /// The command that makes the recorder let go of a task it holds and shall not, unless it was asked
    /// often enough or is being asked.
    fn ask_to_release(&self, seen: &Observed, next: NextCommand) -> Option<DeviceEvent> {
        let task_id = seen.task_id.as_ref().filter(|task| seen.holds(task))?;
        let tries = self.releases.get(task_id)?;
        let dropping = |open: &OpenCommand| matches!(open.action, RecorderAction::Cancel | RecorderAction::Clear);
        if !self.recorder.open || *tries >= RELEASE_TRIES || self.open_commands.values().any(dropping) {
            return None;
        }
        let (action, params) = match seen.state {
            RecorderState::Ready => (RecorderAction::Clear, Value::Null),
            _ => (RecorderAction::Cancel, serde_json::json!({ "task_id": task_id })),
        };
        Some(DeviceEvent::DeviceCommandRequested {
            command_id: next.command_id,
            epoch: self.recorder.epoch,
            action,
            task_id: Some(task_id.clone()),
            params,
            deadline: next.deadline,
            while_held: true,
            callback_token: false,
        })
    }

    /// Whether a command that is under way may still put the task on the recorder.
    fn may_get(&self, task_id: &PublicTaskId) -> bool {
        let giving = |open: &OpenCommand| matches!(open.action, RecorderAction::Config | RecorderAction::Begin);
        self.open_commands.values().any(|open| giving(open) && open.task_id.as_ref() == Some(task_id))
    }

    fn link_mut(&mut self, kind: LinkKind) -> &mut Link {
        match kind {
            LinkKind::Recorder => &mut self.recorder,
            LinkKind::Transfer => &mut self.transfer,
        }
    }
}

impl Aggregate for Device {
    const TYPE: &'static str = "device";
    const SNAPSHOT_VERSION: i32 = 4;
    const SNAPSHOT_EVERY: Option<i64> = Some(64);
    type Command = DeviceCommand;
    type Event = DeviceEvent;
    type Refusal = DeviceRefusal;

    fn decide(&self, command: DeviceCommand) -> Result<Vec<DeviceEvent>, DeviceRefusal> {
        use DeviceCommand as C;
        Ok(match command {
            // A new connection always wins; the one it replaces is over with that.
            C::OpenLink { kind, remote, process, at } => {
                let link = self.link(kind);
                let mut events = vec![];
                // Whoever held the old connection may have died without a word about its commands.
                let orphans = self.open_commands.iter().filter(|_| kind == LinkKind::Recorder);
                events.extend(orphans.map(|(command_id, open)| DeviceEvent::DeviceCommandSettled {
                    command_id: command_id.clone(),
                    action: open.action,
                    task_id: open.task_id.clone(),
                    outcome: CommandOutcome::Unknown { reason: "the connection was replaced before an answer came".to_owned() },
                }));
                if link.open {
                    let reason = "replaced by a newer connection".to_owned();
                    events.push(DeviceEvent::DeviceLinkClosed { kind, epoch: link.epoch, reason });
                }
                events.push(DeviceEvent::DeviceLinkOpened { kind, epoch: link.epoch + 1, remote, process, at });
                events
            }
            C::CloseLink { kind, epoch, reason } => {
                let link = self.link(kind);
                if link.open && link.epoch == epoch { vec![DeviceEvent::DeviceLinkClosed { kind, epoch, reason }] } else { vec![] }
            }
            C::Observe { seen, source, next } => {
                let current = self.recorder.open && self.recorder.epoch == seen.epoch;
                let news = self.observed.as_ref() != Some(&seen);
                if !current || !news {
                    return Ok(vec![]);
                }
                let ask = self.ask_to_release(&seen, next);
                let gone = self.releases.keys().filter(|task| !seen.holds(task) && !self.may_get(task));
                let gone: Vec<_> = gone.map(|task_id| DeviceEvent::DeviceReleased { task_id: task_id.clone() }).collect();
                let mut events = vec![DeviceEvent::RecorderStateObserved { seen, source }];
                events.extend(gone);
                events.extend(ask);
                events
            }
            C::Release { task_id, next } => {
                let wanted = DeviceEvent::DeviceReleaseWanted { task_id: task_id.clone() };
                let mut after = self.clone();
                after.evolve(&wanted);
                match &self.observed {
                    // Nobody knows what it holds; it is asked when it is seen.
                    None => vec![wanted],
                    Some(seen) if seen.holds(&task_id) => std::iter::once(wanted).chain(after.ask_to_release(seen, next)).collect(),
                    Some(_) if self.may_get(&task_id) => vec![wanted],
                    Some(_) => vec![],
                }
            }
            C::RequestCommand { command_id, action, task_id, params, deadline } => {
                if !self.recorder.open {
                    return Err(DeviceRefusal::RecorderNotConnected);
                }
                if self.open_commands.contains_key(&command_id) {
                    return Err(DeviceRefusal::CommandExists);
                }
                let epoch = self.recorder.epoch;
                // The device itself looks at no task here, and would drop whatever it holds.
                let while_held = task_id.is_some() && matches!(action, RecorderAction::Cancel | RecorderAction::Clear);
                let callback_token = task_id.is_some() && action == RecorderAction::Config;
                vec![DeviceEvent::DeviceCommandRequested {
                    command_id,
                    epoch,
                    action,
                    task_id,
                    params,
                    deadline,
                    while_held,
                    callback_token,
                }]
            }
            C::SettleCommand { command_id, outcome, next } => match (self.open_commands.get(&command_id), outcome) {
                (Some(open), outcome) => {
                    let (action, task_id) = (open.action, open.task_id.clone());
                    let settled = DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome };
                    let mut after = self.clone();
                    after.evolve(&settled);
                    // What it holds and shall not, it is asked for: once more where it refused or was not heard,
                    // for the first time where it was dropping another task until now.
                    let dropped = matches!(open.action, RecorderAction::Cancel | RecorderAction::Clear)
                        && matches!(settled, DeviceEvent::DeviceCommandSettled { outcome: CommandOutcome::Succeeded { .. }, .. });
                    let holds = after.observed.as_ref().filter(|seen| !dropped || seen.task_id != open.task_id);
                    let again = holds.and_then(|seen| after.ask_to_release(seen, next));
                    std::iter::once(settled).chain(again).collect()
                }
                (None, CommandOutcome::Unknown { .. }) => vec![],
                (None, _) if !self.given_up.contains(&command_id) => vec![],
                (None, outcome) => vec![DeviceEvent::DeviceCommandAnsweredLate { command_id, outcome }],
            },
            C::RefuseReport { .. } if self.refused >= REFUSED_MAX => vec![],
            C::RefuseStranger { .. } if self.refused >= REFUSED_STRANGERS_MAX => vec![],
            C::RefuseReport { report, reason } | C::RefuseStranger { report, reason } => {
                vec![DeviceEvent::DeviceReportRefused { report, reason }]
            }
        })
    }

    fn evolve(&mut self, event: &DeviceEvent) {
        match event {
            DeviceEvent::DeviceLinkOpened { kind, epoch, process, at, .. } => {
                self.refused = 0;
                *self.link_mut(*kind) = Link { epoch: *epoch, open: true, since: Some(*at), process: *process };
                if *kind == LinkKind::Recorder {
                    self.observed = None;
                    self.releases.values_mut().for_each(|tries| *tries = 0);
                }
            }
            DeviceEvent::DeviceLinkClosed { kind, .. } => {
                let link = self.link_mut(*kind);
                link.open = false;
                link.since = None;
                link.process = None;
                if *kind == LinkKind::Recorder {
                    self.observed = None;
                }
            }
            DeviceEvent::RecorderStateObserved { seen, .. } => {
                self.observed = Some(seen.clone());
                self.begun_unheard = None;
            }
            DeviceEvent::DeviceCommandRequested { command_id, epoch, action, task_id, while_held, callback_token, .. } => {
                if *action == RecorderAction::Config {
                    self.tokenless = task_id.clone().filter(|_| !callback_token);
                }
                if let Some(tries) = task_id.as_ref().filter(|_| *while_held).and_then(|task| self.releases.get_mut(task)) {
                    *tries += 1;
                }
                self.open_commands.insert(command_id.clone(), OpenCommand { epoch: *epoch, action: *action, task_id: task_id.clone() });
            }
            DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome } => {
                self.open_commands.remove(command_id);
                if matches!(outcome, CommandOutcome::Unknown { .. }) {
                    self.given_up.push_back(command_id.clone());
                    if self.given_up.len() > GIVEN_UP_MAX {
                        self.given_up.pop_front();
                    }
                    if *action == RecorderAction::Begin {
                        self.begun_unheard.clone_from(task_id);
                    }
                }
            }
            DeviceEvent::DeviceReleaseWanted { task_id } => {
                self.releases.entry(task_id.clone()).or_insert(0);
            }
            DeviceEvent::DeviceReleased { task_id } => {
                self.releases.remove(task_id);
            }
            DeviceEvent::DeviceCommandAnsweredLate { command_id, .. } => self.given_up.retain(|id| id != command_id),
            DeviceEvent::DeviceReportRefused { .. } => self.refused += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(events: impl IntoIterator<Item = DeviceEvent>) -> Device {
        let mut device = Device::default();
        events.into_iter().for_each(|event| device.evolve(&event));
        device
    }

    fn opened(epoch: i64) -> DeviceEvent {
        DeviceEvent::DeviceLinkOpened { kind: LinkKind::Recorder, epoch, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH }
    }

    fn requested(command_id: &str, epoch: i64) -> DeviceEvent {
        DeviceEvent::DeviceCommandRequested {
            command_id: command_id.into(),
            epoch,
            action: RecorderAction::Begin,
            task_id: None,
            params: Value::Null,
            deadline: Timestamp::UNIX_EPOCH,
            while_held: false,
            callback_token: false,
        }
    }

    fn next(command_id: &str) -> NextCommand {
        NextCommand { command_id: command_id.into(), deadline: Timestamp::UNIX_EPOCH }
    }

    fn task(name: &str) -> PublicTaskId {
        PublicTaskId::parse(name).unwrap()
    }

    fn seen(epoch: i64, state: RecorderState, name: Option<&str>) -> Observed {
        Observed { epoch, state, task_id: name.map(task) }
    }

    fn run(device: &mut Device, command: DeviceCommand) -> Vec<DeviceEvent> {
        let events = device.decide(command).unwrap();
        events.iter().for_each(|event| device.evolve(event));
        events
    }

    fn observe(device: &mut Device, seen: Observed, id: &str) -> Vec<&'static str> {
        types(&run(device, DeviceCommand::Observe { seen, source: "state_update".into(), next: next(id) }))
    }

    fn release(device: &mut Device, name: &str, id: &str) -> Vec<DeviceEvent> {
        run(device, DeviceCommand::Release { task_id: task(name), next: next(id) })
    }

    fn asked(events: &[DeviceEvent]) -> Vec<RecorderAction> {
        let actions = events.iter().filter_map(|event| match event {
            DeviceEvent::DeviceCommandRequested { action, while_held: true, .. } => Some(*action),
            _ => None,
        });
        actions.collect()
    }

    #[test]
    fn a_recorder_that_holds_a_task_is_told_to_let_go_until_it_is_seen_without_it() {
        for (state, action) in [
            (RecorderState::Ready, RecorderAction::Clear),
            (RecorderState::Recording, RecorderAction::Cancel),
            (RecorderState::Paused, RecorderAction::Cancel),
        ] {
            let mut device = given([opened(1)]);
            observe(&mut device, seen(1, state, Some("t")), "a");
            assert_eq!(asked(&release(&mut device, "t", "r1")), [action]);
            // Asked once, however often it is wished.
            assert_eq!(asked(&release(&mut device, "t", "r2")), []);
            assert_eq!(observe(&mut device, seen(1, RecorderState::Idle, None), "b"), ["recorder_state_observed", "device_released"]);
            assert!(device.releases.is_empty());
        }
    }

    #[test]
    fn a_recorder_that_holds_another_task_or_none_is_left_alone() {
        for state in [seen(1, RecorderState::Ready, Some("other")), seen(1, RecorderState::Idle, Some("t"))] {
            let mut device = given([opened(1)]);
            observe(&mut device, state, "a");
            assert_eq!(release(&mut device, "t", "r1"), []);
        }
    }

    #[test]
    fn a_recorder_that_is_away_is_told_when_it_is_back_with_the_task() {
        let mut device = given([opened(1), DeviceEvent::DeviceLinkClosed { kind: LinkKind::Recorder, epoch: 1, reason: "gone".into() }]);
        assert_eq!(types(&release(&mut device, "t", "r1")), ["device_release_wanted"]);
        run(
            &mut device,
            DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH },
        );
        let back = observe(&mut device, seen(2, RecorderState::Recording, Some("t")), "a");
        assert_eq!(back, ["recorder_state_observed", "device_command_requested"]);
    }

    #[test]
    fn a_configuration_under_way_may_still_arrive_and_is_cleared_then() {
        let mut device = given([opened(1)]);
        observe(&mut device, seen(1, RecorderState::Idle, None), "a");
        let config = DeviceCommand::RequestCommand {
            command_id: "c".into(),
            action: RecorderAction::Config,
            task_id: Some(task("t")),
            params: Value::Null,
            deadline: Timestamp::UNIX_EPOCH,
        };
        run(&mut device, config);
        assert_eq!(types(&release(&mut device, "t", "r1")), ["device_release_wanted"]);
        let ready = observe(&mut device, seen(1, RecorderState::Ready, Some("t")), "b");
        assert_eq!(ready, ["recorder_state_observed", "device_command_requested"]);
    }

    #[test]
    fn a_refused_release_is_asked_for_again_a_bounded_number_of_times_on_one_link() {
        let mut device = given([opened(1)]);
        observe(&mut device, seen(1, RecorderState::Recording, Some("t")), "a");
        let mut asks = asked(&release(&mut device, "t", "r0")).len();
        for n in 0..10 {
            let outcome = CommandOutcome::Refused { message: None, data: None };
            let command = DeviceCommand::SettleCommand { command_id: format!("r{n}"), outcome, next: next(&format!("r{}", n + 1)) };
            asks += asked(&run(&mut device, command)).len();
        }
        assert_eq!(asks, 3);
        // On a new link it may do what it did not do before.
        run(
            &mut device,
            DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH },
        );
        let back = observe(&mut device, seen(2, RecorderState::Recording, Some("t")), "x");
        assert_eq!(back, ["recorder_state_observed", "device_command_requested"]);
    }

    fn types(events: &[DeviceEvent]) -> Vec<&'static str> {
        events.iter().map(Event::event_type).collect()
    }

    #[test]
    fn a_new_connection_wins_and_leaves_no_command_without_an_outcome() {
        let device = given([opened(1), requested("c1", 1)]);
        let open = DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "b".into(), process: None, at: Timestamp::UNIX_EPOCH };
        let events = device.decide(open).unwrap();
        assert_eq!(types(&events), ["device_command_settled", "device_link_closed", "device_link_opened"]);
        let after = given([opened(1), requested("c1", 1)].into_iter().chain(events));
        assert_eq!((after.recorder.epoch, after.open_commands.len()), (2, 0));
    }

    #[test]
    fn what_a_replaced_connection_says_changes_nothing() {
        let device = given([opened(1), opened(2)]);
        let seen = Observed { epoch: 1, state: RecorderState::Recording, task_id: None };
        let observe = DeviceCommand::Observe { seen, source: "state_update".into(), next: next("n") };
        assert_eq!(device.decide(observe), Ok(vec![]));
        let close = DeviceCommand::CloseLink { kind: LinkKind::Recorder, epoch: 1, reason: "late".into() };
        assert_eq!(device.decide(close), Ok(vec![]));
    }

    #[test]
    fn an_answer_after_its_command_was_given_up_is_recorded_and_settles_nothing() {
        let settle = |outcome| DeviceCommand::SettleCommand { command_id: "c1".into(), outcome, next: next("n") };
        let unknown = CommandOutcome::Unknown { reason: "no answer in time".into() };
        let device = given([opened(1), requested("c1", 1)]);
        let events = device.decide(settle(unknown.clone())).unwrap();
        assert_eq!(types(&events), ["device_command_settled"]);
        let device = given([opened(1), requested("c1", 1)].into_iter().chain(events));
        assert_eq!(device.decide(settle(unknown)), Ok(vec![]));
        let answer = || settle(CommandOutcome::Succeeded { message: None, data: None });
        let mut device = device;
        assert_eq!(types(&run(&mut device, answer())), ["device_command_answered_late"]);
        // Said twice, or said of what nobody asked: nothing.
        assert_eq!(device.decide(answer()), Ok(vec![]));
        let stray = DeviceCommand::SettleCommand {
            command_id: "c2".into(),
            outcome: CommandOutcome::Succeeded { message: None, data: None },
            next: next("n"),
        };
        assert_eq!(device.decide(stray), Ok(vec![]));
    }

    #[test]
    fn refused_messages_are_recorded_until_it_is_clear_that_they_go_on() {
        let mut device = given([opened(1)]);
        let refuse = |device: &mut Device| run(device, DeviceCommand::RefuseReport { report: "r".into(), reason: "s".into() }).len();
        assert_eq!((0..1_000).map(|_| refuse(&mut device)).sum::<usize>(), REFUSED_MAX as usize);
        device.evolve(&opened(2));
        assert_eq!(refuse(&mut device), 1);
    }

    #[test]
    fn only_the_latest_of_the_commands_without_an_outcome_are_remembered() {
        let mut device = given([opened(1)]);
        for n in 0..GIVEN_UP_MAX + 5 {
            let id = format!("c{n}");
            device.evolve(&requested(&id, 1));
            let outcome = CommandOutcome::Unknown { reason: String::new() };
            run(&mut device, DeviceCommand::SettleCommand { command_id: id, outcome, next: next("n") });
        }
        assert_eq!((device.given_up.len(), device.given_up[0].as_str()), (GIVEN_UP_MAX, "c5"));
    }

    #[test]
    fn strangers_leave_a_device_its_own_refusals() {
        let mut device = given([opened(1)]);
        let refuse = |device: &mut Device, stranger: bool| {
            let (report, reason) = ("finish_callback".to_owned(), "no token".to_owned());
            let command =
                if stranger { DeviceCommand::RefuseStranger { report, reason } } else { DeviceCommand::RefuseReport { report, reason } };
            run(device, command).len()
        };
        assert_eq!((0..200).map(|_| refuse(&mut device, true)).sum::<usize>(), 20);
        assert_eq!((0..200).map(|_| refuse(&mut device, false)).sum::<usize>(), 80);
    }

    #[test]
    fn what_an_older_version_configured_is_known_until_the_next_configuration() {
        let mut device = given([opened(1)]);
        let configure = |command_id: &str, name: &str| DeviceCommand::RequestCommand {
            command_id: command_id.into(),
            action: RecorderAction::Config,
            task_id: Some(task(name)),
            params: Value::Null,
            deadline: Timestamp::UNIX_EPOCH,
        };
        let older: DeviceEvent = serde_json::from_value(serde_json::json!({ "device_command_requested": {
            "command_id": "a", "epoch": 1, "action": "config", "task_id": "t-1", "params": {}, "deadline": "2026-11-20T19:53:07Z",
        }}))
        .unwrap();
        device.evolve(&older);
        assert_eq!(device.tokenless, Some(task("t-1")));
        run(
            &mut device,
            DeviceCommand::RequestCommand {
                command_id: "b".into(),
                action: RecorderAction::Begin,
                task_id: Some(task("t-1")),
                params: Value::Null,
                deadline: Timestamp::UNIX_EPOCH,
            },
        );
        assert_eq!(device.tokenless, Some(task("t-1")));
        run(&mut device, configure("c", "t-1"));
        assert_eq!(device.tokenless, None);
    }
}
