//! Devices: the two links of a robot, what its recorder was seen doing, and the
//! commands sent to it.
//!
//! A link has an epoch. Whatever was learned from a socket carries the epoch of its
//! link, and counts only while that link is the current one: a frame from a replaced
//! connection changes nothing.
//!
//! A command is answered (`succeeded`, `refused`) or it is not (`unknown`); an answer
//! after that is recorded as late, and settles nothing. One that certainly never left is
//! `not_sent`.
//!
//! Two programs with one id take the connection from each other, for ever, some of them with pauses. After ten times the
//! link is *contested*: the one that holds it keeps it until it ends, others are refused, and people are told. A
//! holder that is dead is found out by its silence, like any other.

mod outcome;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::aggregate::events;
use super::recorder::{GateRefusal, Sight, recorder_fits};
pub use super::recorder::{RecorderAction, RecorderState};
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, PublicTaskId, Timestamp};
pub use outcome::{CommandOutcome, NotSentCause, UnknownCause};

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

/// Commands whose late answers are recorded. A device cannot fill the log with answers to what it was not asked.
const GIVEN_UP_MAX: usize = 32;

/// How often a recorder is asked on one link to let go of a task. What it does not do then is
/// asked for again when it is seen in another state, or is back on a new link.
const RELEASE_TRIES: u32 = 3;

words! {
    LinkKind {
        Recorder = "recorder",
        Transfer = "transfer",
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
    /// Where the last connection came from.
    #[serde(default)]
    pub remote: Option<String>,
    /// When connections were taken over that were still open: the latest ones, within a window of time.
    #[serde(default)]
    pub takeovers: VecDeque<Timestamp>,
    #[serde(default)]
    pub contest: Option<Contest>,
}

/// Two programs with the device's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contest {
    pub since: Timestamp,
    /// Where they connect from.
    pub remotes: Vec<String>,
}

/// So many takeovers within the window are no bad network: two programs come to that within half a minute.
const TAKEOVERS_MAX: usize = 10;

/// A robot finds out by the server's silence that it lost its network, which takes half a minute: in this time it cannot
/// take over its own connection ten times. What lies between takeovers says nothing, because one of two programs may
/// leave by itself each time.
const TAKEOVER_WINDOW: chrono::TimeDelta = chrono::TimeDelta::minutes(4);

impl Link {
    /// The takeovers that count at this moment.
    fn takeovers_at(&self, at: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        self.takeovers.iter().copied().filter(move |then| at < *then + TAKEOVER_WINDOW)
    }
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCommand {
    pub epoch: i64,
    pub action: RecorderAction,
    pub task_id: Option<PublicTaskId>,
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
        /// Why its commands have to be settled here. None: the process that held it does.
        settle: Option<UnknownCause>,
    },
    /// The other program has not been heard of for a while.
    EndContest {
        kind: LinkKind,
        at: Timestamp,
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
        deadline: Timestamp,
        /// The recorder says at this moment that it holds no task of ours.
        holds_none: bool,
        /// What it says at this moment, where a person asks and must ask for what fits. None: it is sent as it is.
        sight: Option<Sight>,
        /// Its caller may be gone when it is sent.
        asynchronous: bool,
        /// Of what it is configured with ([`super::recorder::configuration_sha256`]).
        config_sha256: Option<String>,
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

events! {
    DeviceEvent {
        DeviceLinkOpened = "device_link_opened", "1.2" {
            kind: LinkKind,
            epoch: i64,
            remote: String,
            /// Which of our processes took it.
            #[serde(default)]
            process: Option<Uuid>,
            /// The connection that was still open; unknown in older events.
            #[serde(default)]
            replaces: Option<i64>,
            at: Timestamp,
        },
        DeviceLinkClosed = "device_link_closed", "1.0" {
            kind: LinkKind,
            epoch: i64,
            reason: String,
        },
        /// Two programs with the device's id have been taking this connection from each other.
        DeviceContested = "device_contested", "1.0" {
            kind: LinkKind,
            remotes: Vec<String>,
            at: Timestamp,
        },
        /// Only one of them is left.
        DeviceContestEnded = "device_contest_ended", "1.0" {
            kind: LinkKind,
            at: Timestamp,
        },
        RecorderStateObserved = "recorder_state_observed", "1.0" {
            seen: Observed,
            source: String,
        },
        DeviceCommandRequested = "device_command_requested", "1.5" {
            command_id: String,
            epoch: i64,
            action: RecorderAction,
            task_id: Option<PublicTaskId>,
            /// Null where they are none, or stand beside the log.
            params: Value,
            deadline: Timestamp,
            /// It is sent only while the recorder is seen to hold the task; where none is named, while it holds none.
            #[serde(default)]
            while_held: bool,
            /// The links for callbacks are sent with the task's token, which stands nowhere.
            #[serde(default)]
            callback_token: bool,
            /// What it is sent with names a person, and stands beside the log until the command is settled. In older
            /// events it stands in `params`.
            #[serde(default)]
            params_beside: bool,
            /// Its caller does not wait for it: whether they may still do it is looked at before it is sent.
            #[serde(default)]
            asynchronous: bool,
            /// Of what the recorder is configured with; none of other commands, and unknown in older events.
            #[serde(default)]
            config_sha256: Option<String>,
        },
        DeviceCommandSettled = "device_command_settled", "1.2" {
            command_id: String,
            action: RecorderAction,
            task_id: Option<PublicTaskId>,
            outcome: CommandOutcome,
        },
        /// An answer that came after its command was given up.
        DeviceCommandAnsweredLate = "device_command_answered_late", "1.0" {
            command_id: String,
            outcome: CommandOutcome,
        },
        DeviceReportRefused = "device_report_refused", "1.0" {
            report: String,
            reason: String,
        },
        /// The recorder is to let go of a task.
        DeviceReleaseWanted = "device_release_wanted", "1.0" {
            task_id: PublicTaskId,
        },
        /// The recorder was seen without the task.
        DeviceReleased = "device_released", "1.0" {
            task_id: PublicTaskId,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRefusal {
    #[error("the recorder is not connected")]
    RecorderNotConnected,
    #[error("the recorder has not told yet which task it has")]
    StateNotTold,
    #[error(transparent)]
    NotNow(#[from] GateRefusal),
    #[error("a command with this id exists already")]
    CommandExists,
    #[error("another program is connected under this id, from {holder}")]
    Contested { holder: String },
}

impl Refused for DeviceRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::RecorderNotConnected => RefusalCode::RecorderNotConnected,
            Self::StateNotTold => RefusalCode::RecorderStateSyncing,
            Self::NotNow(refusal) => refusal.code(),
            Self::CommandExists => RefusalCode::CommandExists,
            Self::Contested { .. } => RefusalCode::DeviceContested,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::NotNow(refusal) => refusal.values(),
            Self::RecorderNotConnected | Self::StateNotTold | Self::CommandExists | Self::Contested { .. } => Value::Null,
        }
    }
}

impl Device {
    pub fn link(&self, kind: LinkKind) -> &Link {
        match kind {
            LinkKind::Recorder => &self.recorder,
            LinkKind::Transfer => &self.transfer,
        }
    }

    /// The command that makes the recorder let go of a task it must not hold, unless it was asked
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
            params_beside: false,
            asynchronous: false,
            config_sha256: None,
        })
    }

    /// The task that the recorder was last seen with, where it has one.
    fn held(&self) -> Option<&PublicTaskId> {
        self.observed.as_ref().filter(|seen| seen.state != RecorderState::Idle)?.task_id.as_ref()
    }

    /// Every open command of the recorder, settled: the process that held its connection cannot do that any more.
    fn settle_open<'a>(&'a self, cause: UnknownCause, reason: &'a str) -> impl Iterator<Item = DeviceEvent> + 'a {
        self.open_commands.iter().map(move |(command_id, open)| DeviceEvent::DeviceCommandSettled {
            command_id: command_id.clone(),
            action: open.action,
            task_id: open.task_id.clone(),
            outcome: CommandOutcome::unknown(cause, reason),
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
    const SNAPSHOT_VERSION: i32 = 5;
    const SNAPSHOT_EVERY: Option<i64> = Some(64);
    type Command = DeviceCommand;
    type Event = DeviceEvent;
    type Refusal = DeviceRefusal;

    fn settles(event: &DeviceEvent) -> Option<&str> {
        match event {
            DeviceEvent::DeviceCommandSettled { command_id, .. } => Some(command_id),
            _ => None,
        }
    }

    fn decide(&self, command: DeviceCommand) -> Result<Vec<DeviceEvent>, DeviceRefusal> {
        use DeviceCommand as C;
        Ok(match command {
            // A new connection always wins; the one it replaces is over with that.
            C::OpenLink { kind, remote, process, at } => {
                let link = self.link(kind);
                if link.open && link.contest.is_some() {
                    let holder = link.remote.clone().unwrap_or_else(|| "another address".to_owned());
                    return Err(DeviceRefusal::Contested { holder });
                }
                let replaces = link.open.then_some(link.epoch);
                let fight = replaces.is_some() && link.takeovers_at(at).count() + 1 >= TAKEOVERS_MAX;
                let remotes: Vec<String> = link.remote.iter().chain([&remote]).cloned().collect();
                let mut events = vec![];
                if kind == LinkKind::Recorder {
                    // The process that held the old connection may have died without a word about its commands.
                    events.extend(self.settle_open(UnknownCause::Superseded, "the connection was replaced before an answer came"));
                }
                if link.open {
                    let reason = "replaced by a newer connection".to_owned();
                    events.push(DeviceEvent::DeviceLinkClosed { kind, epoch: link.epoch, reason });
                }
                events.push(DeviceEvent::DeviceLinkOpened { kind, epoch: link.epoch + 1, remote, process, replaces, at });
                events.extend(fight.then_some(DeviceEvent::DeviceContested { kind, remotes, at }));
                events
            }
            C::CloseLink { kind, epoch, reason, settle } => {
                let link = self.link(kind);
                if !link.open || link.epoch != epoch {
                    return Ok(vec![]);
                }
                let mut events = vec![];
                if let Some(cause) = settle.filter(|_| kind == LinkKind::Recorder) {
                    events.extend(self.settle_open(cause, &reason));
                }
                events.push(DeviceEvent::DeviceLinkClosed { kind, epoch, reason });
                events
            }
            C::EndContest { kind, at } => {
                let contested = self.link(kind).contest.is_some();
                contested.then_some(DeviceEvent::DeviceContestEnded { kind, at }).into_iter().collect()
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
                    // It is not known what it holds; it is asked when it is seen.
                    None => vec![wanted],
                    Some(seen) if seen.holds(&task_id) => std::iter::once(wanted).chain(after.ask_to_release(seen, next)).collect(),
                    Some(_) if self.may_get(&task_id) => vec![wanted],
                    Some(_) => vec![],
                }
            }
            C::RequestCommand { command_id, action, task_id, deadline, holds_none, sight, asynchronous, config_sha256 } => {
                if let Some(sight) = sight {
                    recorder_fits(action, task_id.as_ref(), self.transfer.open, &sight)?;
                }
                if !self.recorder.open {
                    return Err(DeviceRefusal::RecorderNotConnected);
                }
                if self.open_commands.contains_key(&command_id) {
                    return Err(DeviceRefusal::CommandExists);
                }
                let destroys = matches!(action, RecorderAction::Cancel | RecorderAction::Clear);
                if destroys && task_id.is_none() && self.observed.is_none() && !holds_none {
                    return Err(DeviceRefusal::StateNotTold);
                }
                let epoch = self.recorder.epoch;
                // What is asked without naming a task means the one that the recorder holds.
                let names_its_own = matches!(action, RecorderAction::Config | RecorderAction::Begin);
                let implied = if names_its_own || holds_none { None } else { self.held() };
                let task_id = task_id.or_else(|| implied.cloned());
                let params = match (action, &task_id) {
                    (RecorderAction::Begin | RecorderAction::Finish | RecorderAction::Cancel, Some(task)) => {
                        serde_json::json!({ "task_id": task })
                    }
                    _ => Value::Null,
                };
                // The device itself looks at no task here, and would drop whatever it holds: also what it has begun since it
                // was seen with none.
                let while_held = destroys;
                let params_beside = action == RecorderAction::Config;
                let callback_token = task_id.is_some() && params_beside;
                vec![DeviceEvent::DeviceCommandRequested {
                    command_id,
                    epoch,
                    action,
                    task_id,
                    params,
                    deadline,
                    while_held,
                    callback_token,
                    params_beside,
                    asynchronous,
                    config_sha256,
                }]
            }
            C::SettleCommand { command_id, outcome, next } => match (self.open_commands.get(&command_id), outcome) {
                (Some(open), outcome) => {
                    let (action, task_id) = (open.action, open.task_id.clone());
                    let settled = DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome };
                    let mut after = self.clone();
                    after.evolve(&settled);
                    // It is asked to let go of what it must not hold: once more where it refused or was not heard,
                    // for the first time where it was dropping another task until now.
                    let dropped = matches!(open.action, RecorderAction::Cancel | RecorderAction::Clear)
                        && matches!(settled, DeviceEvent::DeviceCommandSettled { outcome: CommandOutcome::Succeeded { .. }, .. });
                    let holds = after.observed.as_ref().filter(|seen| !dropped || seen.task_id != open.task_id);
                    let again = holds.and_then(|seen| after.ask_to_release(seen, next));
                    std::iter::once(settled).chain(again).collect()
                }
                (None, CommandOutcome::Unknown { .. } | CommandOutcome::NotSent { .. }) => vec![],
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
            DeviceEvent::DeviceLinkOpened { kind, epoch, remote, process, replaces, at } => {
                self.refused = 0;
                let link = self.link_mut(*kind);
                let takeovers = link.takeovers_at(*at).chain(replaces.map(|_| *at)).collect();
                let (remote, contest) = (Some(remote.clone()), link.contest.take());
                *link = Link { epoch: *epoch, open: true, since: Some(*at), process: *process, remote, takeovers, contest };
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
            DeviceEvent::DeviceContested { kind, remotes, at } => {
                self.link_mut(*kind).contest = Some(Contest { since: *at, remotes: remotes.clone() });
            }
            DeviceEvent::DeviceContestEnded { kind, .. } => {
                let link = self.link_mut(*kind);
                (link.contest, link.takeovers) = (None, VecDeque::new());
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
