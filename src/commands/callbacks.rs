//! What recorders post when a recording starts and when its file is closed.
//!
//! A callback is posted once and never repeated, whatever we answer, and may come before or
//! after the frames that tell the same. So it is a witness like others, recorded each time
//! it comes, and never decisive alone.
//!
//! A recorder has no login, and posts to the links it was configured with. They carry a token of
//! their task, which the recorder gives back. It is derived from a secret of ours and kept nowhere. Where a site says so, a
//! recorder without one is known by the address that it connects from.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

use super::reports::{not_owned, note_refused};
use super::{Command, CommandError, Work};
use crate::domain::device::{Device, DeviceCommand};
use crate::domain::task::{FinishReport, Stage, Task, TaskCommand, TaskStatus, Witness};
use crate::domain::{DeviceId, PublicTaskId};
use crate::eventstore::Loaded;
use crate::listener::address_of;
use crate::projections::facts::{self, TaskOwner};

/// Makes and checks the tokens of callbacks.
#[derive(Clone)]
pub struct CallbackTokens(Hmac<Sha256>);

impl fmt::Debug for CallbackTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl CallbackTokens {
    /// `secret` is shared by all processes of a site, and serves other purposes, too.
    pub fn new(secret: &[u8]) -> Self {
        let mut mac = Hmac::new_from_slice(secret).expect("a key of any length");
        mac.update(b"token of a callback\0");
        Self(mac)
    }

    fn mac(&self, task: &PublicTaskId, device: &DeviceId) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // Neither id has a slash.
        mac.update(format!("{task}/{device}").as_bytes());
        mac
    }

    /// What a recorder shows that was configured with this task.
    pub fn token(&self, task: &PublicTaskId, device: &DeviceId) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(task, device).finalize().into_bytes())
    }

    fn fits(&self, shown: &str, task: &PublicTaskId, device: &DeviceId) -> bool {
        // Compared in constant time.
        URL_SAFE_NO_PAD.decode(shown).is_ok_and(|shown| self.mac(task, device).verify_slice(&shown).is_ok())
    }
}

/// Whether a callback has to show that it comes from the recorder that was configured.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Every caller is believed, as in older deployments.
    NotAsked,
    Token {
        token: String,
        tokens: CallbackTokens,
    },
    /// No token. `from` is the caller's address, where a site believes robots by theirs.
    None {
        from: Option<IpAddr>,
    },
}

impl Proof {
    /// A recorder that was configured before there were tokens has none to show, and goes on.
    async fn holds(
        &self,
        work: &mut Work,
        task: &PublicTaskId,
        device: Option<&DeviceId>,
        found: Option<&(TaskOwner, Loaded<Task>)>,
    ) -> Result<bool, CommandError> {
        let owner = found.map(|(owner, _)| &owner.device_id);
        match self {
            Self::NotAsked => Ok(true),
            Self::Token { token, tokens } => Ok(device.or(owner).is_some_and(|device| tokens.fits(token, task, device))),
            Self::None { from } => {
                let Some(owner) = owner.filter(|owner| device.is_none_or(|device| device == *owner)) else { return Ok(false) };
                let owner = work.load::<Device>(owner).await?.state;
                let linked_from = owner.recorder.remote.as_deref().and_then(address_of);
                let known = from.is_some_and(|from| linked_from.is_some_and(|linked| linked.to_canonical() == from.to_canonical()));
                Ok(known || owner.tokenless.as_ref() == Some(task))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct StartCallback {
    pub task_id: PublicTaskId,
    pub device_id: Option<DeviceId>,
    pub reported: Value,
    pub proof: Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartAnswer {
    /// This callback moved the task to `in_progress`.
    Moved,
    Unmoved,
    /// It did not show the token of its task.
    Unproven,
}

impl Command for StartCallback {
    type Answer = StartAnswer;
    const NAME: &'static str = "start_callback";

    async fn run(&self, work: &mut Work) -> Result<StartAnswer, CommandError> {
        let found = facts::task_of(&mut work.tx, &self.task_id).await?;
        if !self.proof.holds(work, &self.task_id, self.device_id.as_ref(), found.as_ref()).await? {
            note_stranger(work, self.device_id.as_ref(), found.as_ref(), "start_callback", &self.task_id).await?;
            return Ok(StartAnswer::Unproven);
        }
        let Some((owner, mut task)) = found else {
            note_refused(work, self.device_id.as_ref(), "start_callback", &format!("there is no task {}", self.task_id)).await?;
            return Ok(StartAnswer::Unmoved);
        };
        if self.device_id.as_ref().is_some_and(|device| *device != owner.device_id) {
            let reason = format!("the task {} belongs to {}", self.task_id, owner.device_id);
            note_refused(work, self.device_id.as_ref(), "start_callback", &reason).await?;
            return Ok(StartAnswer::Unmoved);
        }
        let before = status(&task.state);
        let command = TaskCommand::StartRecording { by: Witness::StartCallback, at: work.now, reported: Some(self.reported.clone()) };
        work.decide(&mut task, command)?;
        Ok(if before == status(&task.state) { StartAnswer::Unmoved } else { StartAnswer::Moved })
    }
}

#[derive(Clone, Debug)]
pub struct FinishCallback {
    pub task_id: PublicTaskId,
    pub device_id: DeviceId,
    pub report: FinishReport,
    pub proof: Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishAnswer {
    /// The upload will be asked for; `transfer_open` says whether the device can hear it now.
    Moved { transfer_open: bool },
    /// It was known already.
    Repeated(TaskStatus),
    /// The task failed or was cancelled before.
    Ended(TaskStatus),
    /// No recorder is configured with it, or not any more.
    NotConfigured,
    /// There is no such task, or it belongs to another device.
    NotOwned,
    /// It did not show the token of its task.
    Unproven,
}

impl Command for FinishCallback {
    type Answer = FinishAnswer;
    const NAME: &'static str = "finish_callback";

    async fn run(&self, work: &mut Work) -> Result<FinishAnswer, CommandError> {
        let found = facts::task_of(&mut work.tx, &self.task_id).await?;
        if !self.proof.holds(work, &self.task_id, Some(&self.device_id), found.as_ref()).await? {
            note_stranger(work, Some(&self.device_id), found.as_ref(), "finish_callback", &self.task_id).await?;
            return Ok(FinishAnswer::Unproven);
        }
        let Some((owner, mut task)) = found.filter(|(owner, _)| owner.device_id == self.device_id) else {
            note_refused(work, Some(&self.device_id), "finish_callback", &not_owned(&self.task_id)).await?;
            return Ok(FinishAnswer::NotOwned);
        };
        let before = status(&task.state);
        let command = TaskCommand::FinishRecording { by: Witness::FinishCallback, at: work.now, report: Some(self.report.clone()) };
        work.decide(&mut task, command)?;
        let after = status(&task.state).unwrap_or(TaskStatus::Pending);
        Ok(match after {
            _ if before != Some(after) => FinishAnswer::Moved { transfer_open: owner.transfer_open },
            TaskStatus::Failed | TaskStatus::Cancelled => FinishAnswer::Ended(after),
            TaskStatus::Pending => FinishAnswer::NotConfigured,
            _ => FinishAnswer::Repeated(after),
        })
    }
}

fn status(task: &Task) -> Option<TaskStatus> {
    task.dispatched().map(|task| Stage::status(&task.stage))
}

/// Records on the stream of the device it is about that a callback came without its token.
async fn note_stranger(
    work: &mut Work,
    device: Option<&DeviceId>,
    found: Option<&(TaskOwner, Loaded<Task>)>,
    report: &str,
    task: &PublicTaskId,
) -> Result<(), CommandError> {
    let Some(device) = device.or(found.map(|(owner, _)| &owner.device_id)) else { return Ok(()) };
    if !facts::robot_exists(&mut work.tx, device).await? {
        return Ok(());
    }
    let mut stream = work.load::<Device>(device).await?;
    let reason = format!("it did not show the token of the task {task}");
    work.decide(&mut stream, DeviceCommand::RefuseStranger { report: report.to_owned(), reason })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_task_on_one_device_of_one_site() {
        let (task, device) = (|name| PublicTaskId::parse(name).unwrap(), |name| DeviceId::parse(name).unwrap());
        let tokens = CallbackTokens::new(b"a secret");
        let token = tokens.token(&task("t-1"), &device("AB-1"));
        assert_eq!(token.len(), 43);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "it stands in a query as it is: {token}");
        assert!(tokens.fits(&token, &task("t-1"), &device("AB-1")));
        assert!(!tokens.fits(&token, &task("t-2"), &device("AB-1")));
        assert!(!tokens.fits(&token, &task("t-1"), &device("AB-2")));
        assert!(!CallbackTokens::new(b"another").fits(&token, &task("t-1"), &device("AB-1")));
        for wrong in ["", "x", &token[1..], &format!("{token}="), &"A".repeat(100_000)] {
            assert!(!tokens.fits(wrong, &task("t-1"), &device("AB-1")), "{wrong:.50}");
        }
        assert_eq!(format!("{tokens:?}"), "***");
    }
}
