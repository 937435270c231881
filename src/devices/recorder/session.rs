//! The conversation with a recorder.
//!
//! ```text
//!            opened ──► syncing ── answer to get_state, or greeting ──► confirmed
//!                         ▲                                                │
//!                         └── a request timed out · a frame makes no sense ┘
//! ```
//!
//! A recorder that was offline first sends what it could not send then: answers to
//! requests of earlier connections, transitions long past. None of it is news about the
//! present, so a transition counts only once the state is confirmed, and never when its
//! timestamp is older than one seen before. What it tells now is asked for right after
//! the handshake, and again whenever we stop being sure.
//!
//! The recorder works on its socket's thread: while it closes and hashes a file it hears
//! nothing. So there is one command under way at a time, and none is sent while an earlier
//! one is unanswered. A command that ran out of time has an unknown outcome; its answer,
//! when it comes after all, is reported all the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::session::{Effect, Now, QueryError, Request, Rpc, Session};
use super::super::view::RecorderView;
use super::super::wire::{self, FromRecorder, RpcResponse, StateUpdate, ToRecorder};
use crate::domain::device::{CommandOutcome, NotSentCause, RecorderAction, RecorderState, UnknownCause};
use crate::domain::report::Report;
use crate::domain::{PublicTaskId, Timestamp};

/// How long `get_state` may take before the state counts as not known.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait before a refresh that failed is tried again.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// How long an unanswered command keeps the recorder excused: hashing a large recording takes minutes, not hours.
pub const BUSY_MAX: Duration = Duration::from_secs(600);

/// How far a device's clock may be behind ours for its greeting to be taken as fresh. The
/// recorder itself calls differences below this normal; beyond, the answer to `get_state` decides.
const CLOCK_TOLERANCE_MS: i64 = 1000;

/// While something waits until it is known what the recorder holds, it is asked so often.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// Requests waiting for their turn.
const WAITING_MAX: usize = 32;

/// Ids of commands taken on this link, to recognise a second delivery.
const TAKEN_MAX: usize = 256;

pub struct RecorderSession {
    opened_at: Timestamp,
    view: RecorderView,
    /// What was last reported as observed.
    reported: Option<(RecorderState, Option<PublicTaskId>)>,
    /// The newest timestamp seen, by the device's clock.
    device_ms: Option<i64>,
    under_way: Option<Sent>,
    waiting: VecDeque<Request>,
    /// Sent, given up, and not answered.
    unanswered: BTreeMap<String, Sent>,
    taken: VecDeque<String>,
    refresh_due: Option<Instant>,
    refreshes: u64,
}

#[derive(Clone, Debug)]
struct Sent {
    request_id: String,
    what: What,
    at: Instant,
    deadline: Instant,
}

#[derive(Clone, Debug)]
enum What {
    Command { action: RecorderAction, task: Option<PublicTaskId> },
    Query { ticket: u64, action: String },
    Refresh,
}

impl What {
    fn is_command(&self) -> bool {
        matches!(self, What::Command { .. })
    }
}

impl RecorderSession {
    pub fn new(now: Now) -> Self {
        Self {
            opened_at: now.wall,
            view: RecorderView::default(),
            reported: None,
            device_ms: None,
            under_way: None,
            waiting: VecDeque::new(),
            unanswered: BTreeMap::new(),
            taken: VecDeque::new(),
            refresh_due: None,
            refreshes: 0,
        }
    }

    fn refresh_at(&mut self, at: Instant) {
        self.refresh_due = Some(self.refresh_due.map_or(at, |due| due.min(at)));
    }

    /// Sends what may be sent now, and gives up what can wait no longer.
    fn pump(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.give_up(now, effects);
        if self.under_way.is_some() {
            return;
        }
        let refresh_unanswered =
            self.unanswered.values().any(|sent| matches!(sent.what, What::Refresh) && now.at < sent.at + REFRESH_PAUSE);
        if self.refresh_due.is_some_and(|due| due <= now.at) && !refresh_unanswered {
            self.refresh_due = None;
            self.refreshes += 1;
            // Not a UUID: its late answer is not taken for that of a command.
            let request_id = format!("state-{}-{}", self.opened_at.timestamp_millis(), self.refreshes);
            let sent = Sent { request_id, what: What::Refresh, at: now.at, deadline: now.at + REFRESH_TIMEOUT };
            self.send(now, sent, "get_state", &Value::Null, effects);
            return;
        }
        if self.unanswered.values().any(|sent| sent.what.is_command()) {
            return;
        }
        // What it holds is being asked: a `clear` sent now might hit another task. Others do not wait for that.
        let known = self.view.confirmed || self.view.foreign_task;
        let next = self.waiting.iter().position(|request| known || !matches!(request, Request::Rpc(rpc) if rpc.while_held));
        if next.is_none() && !self.waiting.is_empty() {
            self.refresh_at(now.at + HELD_PAUSE);
        }
        match next.and_then(|next| self.waiting.remove(next)) {
            None => {}
            Some(Request::Rpc(rpc))
                if rpc.while_held && rpc.task.as_ref() != self.view.task_id.as_ref().filter(|_| self.view.confirmed) =>
            {
                let why = if rpc.task.is_some() { "does not hold the task" } else { "has begun another task meanwhile" };
                let message = Some(format!("not sent: the recorder {why}"));
                effects.push(settled(&rpc.command_id, CommandOutcome::Refused { message, data: None }));
                self.pump(now, effects);
            }
            Some(Request::Rpc(rpc)) => {
                let left = (rpc.deadline - now.wall).to_std().unwrap_or_default();
                let what = What::Command { action: rpc.action, task: rpc.task };
                let sent = Sent { request_id: rpc.command_id, what, at: now.at, deadline: now.at + left };
                self.send(now, sent, rpc.action.as_str(), &rpc.params, effects);
            }
            Some(Request::Query { ticket, action, params, deadline }) => {
                let request_id = format!("query-{}-{ticket}", self.opened_at.timestamp_millis());
                let sent = Sent { request_id, what: What::Query { ticket, action: action.clone() }, at: now.at, deadline };
                self.send(now, sent, &action, &params, effects);
            }
            Some(Request::Frame(_)) => {}
        }
    }

    fn send(&mut self, now: Now, sent: Sent, action: &str, params: &Value, effects: &mut Vec<Effect>) {
        let timestamp_ms = now.wall.timestamp_millis();
        effects.push(Effect::Send(wire::encode(&ToRecorder::RpcRequest { request_id: &sent.request_id, action, params, timestamp_ms })));
        self.under_way = Some(sent);
    }

    fn give_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some(sent) = self.under_way.take_if(|sent| sent.deadline <= now.at) {
            match &sent.what {
                What::Command { .. } => {
                    effects.push(unknown(&sent.request_id, UnknownCause::TimedOut, "the recorder did not answer in time"));
                    self.doubt(now.at, "a command was not answered in time", effects);
                }
                What::Query { ticket, .. } => effects.push(Effect::Answer { ticket: *ticket, answer: Err(QueryError::TimedOut) }),
                What::Refresh => self.doubt(now.at + REFRESH_PAUSE, "the recorder did not tell its state in time", effects),
            }
            self.unanswered.insert(sent.request_id.clone(), sent);
        }
        self.unanswered.retain(|_, sent| now.at < sent.at + BUSY_MAX);
        let waiting = std::mem::take(&mut self.waiting);
        for request in waiting {
            match request {
                Request::Rpc(rpc) if rpc.deadline <= now.wall => {
                    effects.push(not_sent(&rpc.command_id, NotSentCause::Overloaded, "the recorder was busy until the deadline"));
                }
                Request::Query { ticket, deadline, .. } if deadline <= now.at => {
                    effects.push(Effect::Answer { ticket, answer: Err(QueryError::TimedOut) });
                }
                other => self.waiting.push_back(other),
            }
        }
    }

    /// What we knew may be wrong now. It stays visible, but nothing is decided on it.
    fn doubt(&mut self, refresh_at: Instant, why: &str, effects: &mut Vec<Effect>) {
        self.view.confirmed = false;
        self.view.error = Some(why.to_owned());
        self.refresh_at(refresh_at);
        effects.push(Effect::ShowRecorder(self.view.clone()));
    }

    fn state_update(&mut self, now: Now, update: StateUpdate, effects: &mut Vec<Effect>) {
        let greeting = update.previous.as_deref().is_none_or(|previous| previous == update.current);
        let fresh = match (self.view.confirmed, update.timestamp_ms) {
            (false, _) if !greeting => false,
            (false, Some(ms)) => {
                ms >= self.opened_at.timestamp_millis() - CLOCK_TOLERANCE_MS && self.device_ms.is_none_or(|seen| ms >= seen)
            }
            (false, None) => false,
            (true, Some(ms)) => self.device_ms.is_none_or(|seen| ms >= seen),
            (true, None) => true,
        };
        if !fresh {
            self.refresh_at(now.at);
            let detail = format!("{} to {}", update.previous.as_deref().unwrap_or("?"), update.current);
            effects.push(Effect::Note { cause: "replayed_state", detail });
            return;
        }
        self.device_ms = update.timestamp_ms.or(self.device_ms);
        self.snapshot(now, "state_update", &update.current, update.task_id.as_deref(), effects);
    }

    /// Takes a state as the present one, where it makes sense.
    fn snapshot(&mut self, now: Now, source: &str, state: &str, task: Option<&str>, effects: &mut Vec<Effect>) {
        let Ok(state) = state.parse() else {
            effects.push(Effect::Note { cause: "unknown_state", detail: state.to_owned() });
            return self.doubt(now.at + REFRESH_PAUSE, "the recorder is in a state nobody knows", effects);
        };
        let named = task.and_then(|task| PublicTaskId::parse(task).ok());
        let task = match (state, named, &self.reported) {
            // An idle recorder names the task of its last recording in updates, and never when asked.
            (RecorderState::Idle, None, Some((RecorderState::Idle, last))) if source != "state_update" => last.clone(),
            (RecorderState::Idle, named, _) => named,
            (_, Some(named), _) => Some(named),
            (_, None, _) => {
                effects.push(Effect::Note { cause: "state_without_task", detail: state.as_str().to_owned() });
                self.view.foreign_task = true;
                return self.doubt(now.at + REFRESH_PAUSE, "the recorder is busy with a task it does not name", effects);
            }
        };
        let previous = self.view.state.filter(|previous| *previous != state).or(self.view.previous);
        self.view = RecorderView {
            state: Some(state),
            previous,
            // It is not doing anything with that task any more.
            task_id: task.clone().filter(|_| state != RecorderState::Idle),
            confirmed: true,
            foreign_task: false,
            source: source.to_owned(),
            updated_at: Some(now.wall),
            seen_at: Some(now.at),
            error: None,
        };
        effects.push(Effect::ShowRecorder(self.view.clone()));
        if self.reported.as_ref() != Some(&(state, task.clone())) {
            self.reported = Some((state, task.clone()));
            effects.push(Effect::Report(Report::Observed { state, task, source: source.to_owned() }));
        }
    }

    fn response(&mut self, now: Now, response: RpcResponse, effects: &mut Vec<Effect>) {
        let sent = match self.under_way.take_if(|sent| sent.request_id == response.request_id) {
            Some(sent) => Some(sent),
            None => self.unanswered.remove(&response.request_id),
        };
        let Some(sent) = sent else {
            if uuid::Uuid::try_parse(&response.request_id).is_ok() {
                // Asked on an earlier connection. Its outcome is news; the state it tells is not.
                let (command_id, outcome) = (response.request_id.clone(), outcome_of(&response));
                effects.push(Effect::Report(Report::AnsweredLate { command_id, outcome }));
            } else {
                effects.push(Effect::Note { cause: "answer_to_nobody", detail: String::new() });
            }
            return;
        };
        match &sent.what {
            What::Command { action, task } => {
                if response.success
                    && let Some(state) = response.state()
                {
                    let task = response.task_id().or(task.as_ref().map(PublicTaskId::as_str));
                    let kept = matches!(action, RecorderAction::Pause | RecorderAction::Resume).then_some(self.view.task_id.as_ref());
                    let task = task.or(kept.flatten().map(PublicTaskId::as_str)).map(str::to_owned);
                    self.snapshot(now, &format!("rpc_response:{}", action.as_str()), state, task.as_deref(), effects);
                }
                effects.push(settled(&response.request_id, outcome_of(&response)));
            }
            What::Query { ticket, action } => {
                if action == "get_state" {
                    self.told_state(now, &response, effects);
                }
                effects.push(Effect::Answer { ticket: *ticket, answer: Ok(response) });
            }
            What::Refresh => self.told_state(now, &response, effects),
        }
    }

    fn told_state(&mut self, now: Now, response: &RpcResponse, effects: &mut Vec<Effect>) {
        match response.state() {
            Some(state) if response.success => {
                self.refresh_due = None;
                self.snapshot(now, "get_state", state, response.task_id(), effects);
            }
            _ => self.doubt(now.at + REFRESH_PAUSE, "the recorder did not tell its state", effects),
        }
    }

    fn take(&mut self, rpc: Rpc, effects: &mut Vec<Effect>) {
        if self.taken.contains(&rpc.command_id) {
            effects.push(Effect::Note { cause: "command_delivered_again", detail: rpc.command_id });
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            effects.push(not_sent(&rpc.command_id, NotSentCause::Overloaded, "too many commands wait for the recorder"));
            return;
        }
        if self.taken.len() >= TAKEN_MAX {
            self.taken.pop_front();
        }
        self.taken.push_back(rpc.command_id.clone());
        self.waiting.push_back(Request::Rpc(rpc));
    }
}

fn settled(command_id: &str, outcome: CommandOutcome) -> Effect {
    Effect::Report(Report::Settled { command_id: command_id.to_owned(), outcome })
}

fn unknown(command_id: &str, cause: UnknownCause, reason: &str) -> Effect {
    settled(command_id, CommandOutcome::unknown(cause, reason))
}

fn not_sent(command_id: &str, cause: NotSentCause, reason: &str) -> Effect {
    settled(command_id, CommandOutcome::not_sent(cause, reason))
}

fn outcome_of(response: &RpcResponse) -> CommandOutcome {
    let (message, data) = (response.message.clone(), response.data_to_keep());
    if response.success { CommandOutcome::Succeeded { message, data } } else { CommandOutcome::Refused { message, data } }
}

impl Session for RecorderSession {
    fn opened(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = vec![Effect::ShowRecorder(self.view.clone())];
        self.refresh_at(now.at);
        self.pump(now, &mut effects);
        effects
    }

    fn message(&mut self, now: Now, message: &[u8]) -> Vec<Effect> {
        let mut effects = vec![];
        match FromRecorder::parse(message) {
            Ok(FromRecorder::RpcResponse(response)) => self.response(now, response, &mut effects),
            Ok(FromRecorder::StateUpdate(update)) => self.state_update(now, update, &mut effects),
            Ok(FromRecorder::ConfigApplied { task_id }) => match PublicTaskId::parse(&task_id) {
                Ok(task) if self.view.confirmed => effects.push(Effect::Report(Report::ConfigApplied { task })),
                Ok(task) => effects.push(Effect::Note { cause: "replayed_config", detail: task.to_string() }),
                Err(_) => effects.push(Effect::Note { cause: "invalid_task_id", detail: "config_applied".to_owned() }),
            },
            Ok(FromRecorder::Other(kind)) => effects.push(Effect::Note { cause: "unknown_type", detail: kind }),
            Err(error) => effects.push(Effect::Note { cause: "unreadable", detail: error.to_string() }),
        }
        self.pump(now, &mut effects);
        effects
    }

    fn garbled(&mut self, now: Now, why: &'static str) -> Vec<Effect> {
        let mut effects = vec![Effect::Note { cause: why, detail: String::new() }];
        // Whatever it said, the present state says what matters of it.
        self.refresh_at(now.at);
        self.pump(now, &mut effects);
        effects
    }

    fn request(&mut self, now: Now, request: Request) -> Vec<Effect> {
        let mut effects = vec![];
        match request {
            Request::Rpc(rpc) => self.take(rpc, &mut effects),
            Request::Query { ticket, .. } if self.waiting.len() >= WAITING_MAX => {
                effects.push(Effect::Answer { ticket, answer: Err(QueryError::TooMany) });
            }
            query @ Request::Query { .. } => self.waiting.push_back(query),
            Request::Frame(_) => effects.push(Effect::Note { cause: "frame_for_the_other_kind", detail: String::new() }),
        }
        self.pump(now, &mut effects);
        effects
    }

    fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = vec![];
        self.pump(now, &mut effects);
        effects
    }

    fn closed(&mut self, _now: Now, reason: &str) -> Vec<Effect> {
        let mut effects = vec![];
        match self.under_way.take() {
            Some(Sent { what: What::Command { .. }, request_id, .. }) => {
                effects.push(unknown(&request_id, UnknownCause::LinkClosed, reason))
            }
            Some(Sent { what: What::Query { ticket, .. }, .. }) => {
                effects.push(Effect::Answer { ticket, answer: Err(QueryError::NotConnected) });
            }
            Some(Sent { what: What::Refresh, .. }) | None => {}
        }
        for request in self.waiting.drain(..) {
            match request {
                Request::Rpc(rpc) => effects.push(not_sent(&rpc.command_id, NotSentCause::LinkClosed, reason)),
                Request::Query { ticket, .. } => effects.push(Effect::Answer { ticket, answer: Err(QueryError::NotConnected) }),
                Request::Frame(_) => {}
            }
        }
        effects.push(Effect::Report(Report::Closed { reason: reason.to_owned() }));
        effects
    }

    fn busy(&self, now: Now) -> bool {
        let excused = |sent: &Sent| sent.what.is_command() && now.at < sent.at + BUSY_MAX;
        self.under_way.as_ref().is_some_and(excused) || self.unanswered.values().any(excused)
    }
}
