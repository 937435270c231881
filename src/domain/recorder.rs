//! What a recorder does, what may be asked of it, and when a person may ask for it.
//!
//! A recorder is configured while it is idle and its uploader is there, and begins the task that it is ready for. Asked
//! at another time it would lose a task, or record what cannot be uploaded. What is not named here is left to the recorder.

use serde_json::{Value, json};

use super::PublicTaskId;
use super::canonical_json::canonical;
use super::commitment::sha256;
use super::refusal::{RefusalCode, Refused};
use super::task::TaskStatus;
use super::words::words;

words! {
    RecorderState {
        Idle = "idle",
        Ready = "ready",
        Recording = "recording",
        Paused = "paused",
    }
    RecorderAction {
        Config = "config",
        Begin = "begin",
        Finish = "finish",
        Pause = "pause",
        Resume = "resume",
        Cancel = "cancel",
        Clear = "clear",
        Quit = "quit",
    }
}

/// What of a configuration names a person, is a secret, or where callbacks go.
const NOT_OF_THE_RECORDING: [&str; 5] = ["operator_name", "data_collector_id", "user_token", "start_callback_url", "finish_callback_url"];

/// What a recorder is configured with, without [`NOT_OF_THE_RECORDING`]: SHA-256 of its canonical JSON, in hex. Tells two configurations apart, and says
/// nothing of the person at the robot.
pub fn configuration_sha256(params: &Value) -> String {
    let mut config = params.get("task_config").unwrap_or(params).clone();
    if let Some(config) = config.as_object_mut() {
        config.retain(|key, _| !NOT_OF_THE_RECORDING.contains(&key.as_str()));
    }
    sha256(&canonical(&config))
}

/// What a recorder says when a person asks something of it: it may be on its way into storage still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It could not be asked.
    Unknown,
    Seen {
        state: RecorderState,
        task_id: Option<PublicTaskId>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    #[error("the uploader is not connected, so a recording could not be uploaded")]
    TransferNotConnected,
    #[error("what the recorder does is not known at this moment")]
    StateNotTold,
    #[error("the recorder is {}", .state.as_str())]
    Busy { state: RecorderState, task_id: Option<PublicTaskId> },
    #[error("the recorder is {} and not ready for this task", .state.as_str())]
    NotReady { state: RecorderState, task_id: Option<PublicTaskId> },
    /// None: there is no such task of this device.
    #[error("the task is {}", word(*.status))]
    NotConfigurable { status: Option<TaskStatus> },
    #[error("the task is {}", word(*.status))]
    NotBeginable { status: Option<TaskStatus> },
}

fn word(status: Option<TaskStatus>) -> &'static str {
    status.map_or("not_found", TaskStatus::as_str)
}

impl Refused for GateRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::TransferNotConnected => RefusalCode::TransferNotConnected,
            Self::StateNotTold => RefusalCode::RecorderStateSyncing,
            Self::Busy { .. } => RefusalCode::RecorderBusy,
            Self::NotConfigurable { .. } => RefusalCode::TaskNotConfigurable,
            Self::NotReady { .. } | Self::NotBeginable { .. } => RefusalCode::TaskNotBeginable,
        }
    }

    fn values(&self) -> Value {
        let task = |task_id: &Option<PublicTaskId>| task_id.as_ref().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::TransferNotConnected | Self::StateNotTold => Value::Null,
            Self::Busy { state, task_id } => json!({ "current_state": state.as_str(), "task_id": task(task_id) }),
            Self::NotReady { state, task_id } => json!({ "recorder_state": state.as_str(), "recorder_task_id": task(task_id) }),
            Self::NotConfigurable { status } | Self::NotBeginable { status } => json!({ "current_status": word(*status) }),
        }
    }
}

/// Whether the recorder is where an action wants it.
pub fn recorder_fits(action: RecorderAction, task: Option<&PublicTaskId>, transfer_open: bool, sight: &Sight) -> Result<(), GateRefusal> {
    use RecorderState::{Idle, Ready};
    match (action, sight) {
        (RecorderAction::Config, _) if !transfer_open => Err(GateRefusal::TransferNotConnected),
        (RecorderAction::Config | RecorderAction::Begin, Sight::Unknown) => Err(GateRefusal::StateNotTold),
        (RecorderAction::Config, Sight::Seen { state: Idle, .. }) => Ok(()),
        (RecorderAction::Config, Sight::Seen { state, task_id }) => Err(GateRefusal::Busy { state: *state, task_id: task_id.clone() }),
        (RecorderAction::Begin, Sight::Seen { state: Ready, task_id }) if task_id.as_ref() == task => Ok(()),
        (RecorderAction::Begin, Sight::Seen { state, task_id }) => Err(GateRefusal::NotReady { state: *state, task_id: task_id.clone() }),
        _ => Ok(()),
    }
}

/// Whether the task is where an action wants it.
pub fn task_fits(action: RecorderAction, status: Option<TaskStatus>) -> Result<(), GateRefusal> {
    use TaskStatus::{Pending, Ready};
    match (action, status) {
        (RecorderAction::Config, Some(Pending)) | (RecorderAction::Begin, Some(Pending | Ready)) => Ok(()),
        (RecorderAction::Config, status) => Err(GateRefusal::NotConfigurable { status }),
        (RecorderAction::Begin, status) => Err(GateRefusal::NotBeginable { status }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str) -> PublicTaskId {
        PublicTaskId::parse(id).unwrap()
    }

    fn seen(state: RecorderState, id: Option<&str>) -> Sight {
        Sight::Seen { state, task_id: id.map(task) }
    }

    #[test]
    fn two_configurations_are_told_apart_by_what_is_recorded_and_not_by_who_does() {
        let config = |topics: &[&str], operator: &str, token: &str| {
            let config = json!({ "task_id": "t", "topics": topics, "operator_name": operator, "user_token": token, "data_collector_id": operator,
                                 "start_callback_url": token, "finish_callback_url": token });
            configuration_sha256(&json!({ "task_config": config }))
        };
        let one = config(&["/a", "/b"], "Li", "secret");
        assert_eq!(one, config(&["/a", "/b"], "Wang", "another"));
        assert_ne!(one, config(&["/a"], "Li", "secret"));
        assert_eq!(one, sha256(r#"{"task_id":"t","topics":["/a","/b"]}"#));
    }

    #[test]
    fn only_an_idle_recorder_with_an_uploader_is_configured() {
        let config = |open, sight: &Sight| recorder_fits(RecorderAction::Config, Some(&task("t")), open, sight);
        assert_eq!(config(true, &seen(RecorderState::Idle, Some("old"))), Ok(()));
        assert_eq!(config(false, &seen(RecorderState::Idle, None)), Err(GateRefusal::TransferNotConnected));
        assert_eq!(config(false, &Sight::Unknown), Err(GateRefusal::TransferNotConnected));
        assert_eq!(config(true, &Sight::Unknown), Err(GateRefusal::StateNotTold));
        for state in [RecorderState::Ready, RecorderState::Recording, RecorderState::Paused] {
            let refused = config(true, &seen(state, Some("a"))).unwrap_err();
            assert_eq!(refused.code(), RefusalCode::RecorderBusy);
            assert_eq!(refused.values(), json!({ "current_state": state.as_str(), "task_id": "a" }));
        }
    }

    #[test]
    fn only_a_recorder_that_is_ready_for_the_task_begins_it() {
        let begin = |sight: &Sight| recorder_fits(RecorderAction::Begin, Some(&task("t")), false, sight);
        assert_eq!(begin(&seen(RecorderState::Ready, Some("t"))), Ok(()));
        assert_eq!(begin(&Sight::Unknown), Err(GateRefusal::StateNotTold));
        for (state, id) in [
            (RecorderState::Ready, Some("other")),
            (RecorderState::Ready, None),
            (RecorderState::Idle, Some("t")),
            (RecorderState::Recording, Some("t")),
            (RecorderState::Paused, Some("t")),
        ] {
            let refused = begin(&seen(state, id)).unwrap_err();
            assert_eq!(refused.code(), RefusalCode::TaskNotBeginable);
            assert_eq!(refused.values(), json!({ "recorder_state": state.as_str(), "recorder_task_id": id.unwrap_or_default() }));
        }
    }

    #[test]
    fn a_task_is_configured_while_it_is_pending_and_begun_until_it_is_recorded() {
        for status in TaskStatus::ALL.iter().copied().map(Some).chain([None]) {
            let config = status == Some(TaskStatus::Pending);
            let begin = config || status == Some(TaskStatus::Ready);
            assert_eq!(task_fits(RecorderAction::Config, status).is_ok(), config, "{status:?}");
            assert_eq!(task_fits(RecorderAction::Begin, status).is_ok(), begin, "{status:?}");
        }
        let refused = task_fits(RecorderAction::Config, None).unwrap_err();
        assert_eq!((refused.code(), refused.values()), (RefusalCode::TaskNotConfigurable, json!({ "current_status": "not_found" })));
    }

    #[test]
    fn everything_else_is_left_to_the_recorder() {
        for &action in RecorderAction::ALL {
            if !matches!(action, RecorderAction::Config | RecorderAction::Begin) {
                assert_eq!(recorder_fits(action, None, false, &Sight::Unknown), Ok(()));
                assert_eq!(task_fits(action, None), Ok(()));
            }
        }
    }
}
