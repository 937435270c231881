//! Devices: the two links of a robot, what its recorder was seen doing, and the
//! commands sent to it.
//!
//! A link has an epoch. Whatever was learned from a socket carries the epoch of its
//! link, and counts only while that link is the current one: a frame from a replaced
//! connection changes nothing.
//!
//! A command is answered (`succeeded`, `refused`) or it is not (`unknown`); an answer
//! after that is recorded as late, and settles nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Aggregate, Event, PublicTaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub recorder: Link,
    pub transfer: Link,
    pub observed: Option<Observed>,
    /// Commands without an outcome yet, oldest first by id.
    pub open_commands: BTreeMap<String, OpenCommand>,
}

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
}

/// What a recorder was last seen doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub epoch: i64,
    pub state: RecorderState,
    pub task_id: Option<PublicTaskId>,
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

#[derive(Clone, Debug)]
pub enum DeviceCommand {
    OpenLink {
        kind: LinkKind,
        remote: String,
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
    },
    /// A message of the device that was not accepted, and why.
    RefuseReport {
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
            ("device_link_opened", "1.0"),
            ("device_link_closed", "1.0"),
            ("recorder_state_observed", "1.0"),
            ("device_command_requested", "1.0"),
            ("device_command_settled", "1.0"),
            ("device_command_answered_late", "1.0"),
            ("device_report_refused", "1.0"),
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

    fn link_mut(&mut self, kind: LinkKind) -> &mut Link {
        match kind {
            LinkKind::Recorder => &mut self.recorder,
            LinkKind::Transfer => &mut self.transfer,
        }
    }
}

impl Aggregate for Device {
    const TYPE: &'static str = "device";
    const SNAPSHOT_EVERY: Option<i64> = Some(64);
    type Command = DeviceCommand;
    type Event = DeviceEvent;
    type Refusal = DeviceRefusal;

    fn decide(&self, command: DeviceCommand) -> Result<Vec<DeviceEvent>, DeviceRefusal> {
        use DeviceCommand as C;
        Ok(match command {
            // A new connection always wins; the one it replaces is over with that.
            C::OpenLink { kind, remote, at } => {
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
                events.push(DeviceEvent::DeviceLinkOpened { kind, epoch: link.epoch + 1, remote, at });
                events
            }
            C::CloseLink { kind, epoch, reason } => {
                let link = self.link(kind);
                if link.open && link.epoch == epoch { vec![DeviceEvent::DeviceLinkClosed { kind, epoch, reason }] } else { vec![] }
            }
            C::Observe { seen, source } => {
                let current = self.recorder.open && self.recorder.epoch == seen.epoch;
                let news = self.observed.as_ref() != Some(&seen);
                if current && news { vec![DeviceEvent::RecorderStateObserved { seen, source }] } else { vec![] }
            }
            C::RequestCommand { command_id, action, task_id, params, deadline } => {
                if !self.recorder.open {
                    return Err(DeviceRefusal::RecorderNotConnected);
                }
                if self.open_commands.contains_key(&command_id) {
                    return Err(DeviceRefusal::CommandExists);
                }
                vec![DeviceEvent::DeviceCommandRequested { command_id, epoch: self.recorder.epoch, action, task_id, params, deadline }]
            }
            C::SettleCommand { command_id, outcome } => match (self.open_commands.get(&command_id), outcome) {
                (Some(open), outcome) => {
                    let (action, task_id) = (open.action, open.task_id.clone());
                    vec![DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome }]
                }
                (None, CommandOutcome::Unknown { .. }) => vec![],
                (None, outcome) => vec![DeviceEvent::DeviceCommandAnsweredLate { command_id, outcome }],
            },
            C::RefuseReport { report, reason } => vec![DeviceEvent::DeviceReportRefused { report, reason }],
        })
    }

    fn evolve(&mut self, event: &DeviceEvent) {
        match event {
            DeviceEvent::DeviceLinkOpened { kind, epoch, at, .. } => {
                *self.link_mut(*kind) = Link { epoch: *epoch, open: true, since: Some(*at) };
                if *kind == LinkKind::Recorder {
                    self.observed = None;
                }
            }
            DeviceEvent::DeviceLinkClosed { kind, .. } => {
                let link = self.link_mut(*kind);
                link.open = false;
                link.since = None;
                if *kind == LinkKind::Recorder {
                    self.observed = None;
                }
            }
            DeviceEvent::RecorderStateObserved { seen, .. } => self.observed = Some(seen.clone()),
            DeviceEvent::DeviceCommandRequested { command_id, epoch, action, task_id, .. } => {
                self.open_commands.insert(command_id.clone(), OpenCommand { epoch: *epoch, action: *action, task_id: task_id.clone() });
            }
            DeviceEvent::DeviceCommandSettled { command_id, .. } => {
                self.open_commands.remove(command_id);
            }
            DeviceEvent::DeviceCommandAnsweredLate { .. } | DeviceEvent::DeviceReportRefused { .. } => {}
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
        DeviceEvent::DeviceLinkOpened { kind: LinkKind::Recorder, epoch, remote: "a".into(), at: Timestamp::UNIX_EPOCH }
    }

    fn requested(command_id: &str, epoch: i64) -> DeviceEvent {
        DeviceEvent::DeviceCommandRequested {
            command_id: command_id.into(),
            epoch,
            action: RecorderAction::Begin,
            task_id: None,
            params: Value::Null,
            deadline: Timestamp::UNIX_EPOCH,
        }
    }

    fn types(events: &[DeviceEvent]) -> Vec<&'static str> {
        events.iter().map(Event::event_type).collect()
    }

    #[test]
    fn a_new_connection_wins_and_leaves_no_command_without_an_outcome() {
        let device = given([opened(1), requested("c1", 1)]);
        let open = DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "b".into(), at: Timestamp::UNIX_EPOCH };
        let events = device.decide(open).unwrap();
        assert_eq!(types(&events), ["device_command_settled", "device_link_closed", "device_link_opened"]);
        let after = given([opened(1), requested("c1", 1)].into_iter().chain(events));
        assert_eq!((after.recorder.epoch, after.open_commands.len()), (2, 0));
    }

    #[test]
    fn what_a_replaced_connection_says_changes_nothing() {
        let device = given([opened(1), opened(2)]);
        let seen = Observed { epoch: 1, state: RecorderState::Recording, task_id: None };
        assert_eq!(device.decide(DeviceCommand::Observe { seen, source: "state_update".into() }), Ok(vec![]));
        let close = DeviceCommand::CloseLink { kind: LinkKind::Recorder, epoch: 1, reason: "late".into() };
        assert_eq!(device.decide(close), Ok(vec![]));
    }

    #[test]
    fn an_answer_after_its_command_was_given_up_is_recorded_and_settles_nothing() {
        let settle = |outcome| DeviceCommand::SettleCommand { command_id: "c1".into(), outcome };
        let unknown = CommandOutcome::Unknown { reason: "no answer in time".into() };
        let device = given([opened(1), requested("c1", 1)]);
        let events = device.decide(settle(unknown.clone())).unwrap();
        assert_eq!(types(&events), ["device_command_settled"]);
        let device = given([opened(1), requested("c1", 1)].into_iter().chain(events));
        assert_eq!(device.decide(settle(unknown)), Ok(vec![]));
        let late = device.decide(settle(CommandOutcome::Succeeded { message: None, data: None })).unwrap();
        assert_eq!(types(&late), ["device_command_answered_late"]);
    }
}
