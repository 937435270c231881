//! Sends to devices what events ask for, through the sockets of this process.
//!
//! | Event | Sent |
//! |---|---|
//! | `device_command_requested` | `rpc_request` to the recorder, on exactly the connection it was asked for |
//! | `recording_finished`, `upload_requested_again` | `upload_request` to the uploader |
//! | `failed_upload_requested` | `upload_all` to the uploader, once for all that was asked for before: what it gave up lies where no request by name finds it |
//! | `upload_verified`, `late_upload_verified`, `upload_ack_requested` | `upload_ack` to the uploader |
//!
//! Only rows for devices whose sockets are here are claimed; the others wait, and cost no
//! attempt. Every delivery may come twice, and a repeat is harmless:
//!
//! - A command is bound to a connection. The session of that connection takes an id once; on
//!   any other connection the command is settled as not sent, and
//!   settling twice changes nothing.
//! - A repeated `upload_all` finds nothing that the uploader does not know already.
//! - A repeated `upload_request` is answered with `upload_not_found`, from which nothing
//!   is concluded.
//! - A repeated `upload_ack` is met with silence. An ack is sent only for a completed task:
//!   one whose episode is durable.
//!
//! What a recorder is configured with stands beside the log until its command is settled: a repeat after that finds nothing to
//! send, and settles nothing.
//!
//! What nobody waits for runs as its caller: whether they may still do it is looked at before it is sent (`domain::right`).
//!
//! A frame that was handed to the network may still be lost with its connection. The session
//! settles the command then; an upload that was never asked for, or an ack that never came,
//! is found out from the device's next status.

use async_trait::async_trait;
use serde_json::Value;
use tracing::{info, warn};

use super::context::context_of;
use crate::commands::callbacks::CallbackTokens;
use crate::commands::devices::SettleDeviceCommand;
use crate::commands::{CommandError, Commands};
use crate::devices::wire::ToTransfer;
use crate::devices::{Hub, Rpc, SendError};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::device::{CommandOutcome, DeviceEvent, LinkKind, NotSentCause};
use crate::domain::right::{RightLost, Standing, may_operate};
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::task::TaskStatus;
use crate::domain::{Actor, DeviceId, Scope, TaskId};
use crate::projections::reads::credentials::Holder;
use crate::projections::reads::{ReadError, Reads};
use crate::telemetry::chain;

/// Uploaders take the number and do nothing with it.
const PRIORITY: i32 = 1;

/// What is sent to an uploader about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Upload,
    /// What it gave up, and keeps.
    GivenUp,
    Ack,
}

pub struct DeviceCommands {
    hub: Hub,
    commands: Commands,
    reads: Reads,
    callbacks: CallbackTokens,
    /// Whether the site lets people in without a login.
    without_login: bool,
}

/// Puts the task's token into the links that the recorder will post to. It is added here, on the way out, because
/// what is stored holds no secrets.
fn add_callback_token(params: &mut Value, token: &str) {
    for link in ["start_callback_url", "finish_callback_url"] {
        if let Some(Value::String(url)) = params.get_mut("task_config").and_then(|config| config.get_mut(link)) {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}token={token}"));
        }
    }
}

impl DeviceCommands {
    pub fn new(hub: Hub, commands: Commands, reads: Reads, callbacks: CallbackTokens, without_login: bool) -> Self {
        Self { hub, commands, reads, callbacks, without_login }
    }

    /// Whether who asked for it may still do that.
    async fn may_still(&self, delivery: &Delivery, device: &DeviceId) -> Result<Result<(), RightLost>, ReadError> {
        let actor = delivery.event.metadata.get("actor").and_then(Value::as_str).and_then(Actor::parse);
        // Of nobody that this version knows.
        let Some(who) = actor else { return Ok(Err(RightLost::Account)) };
        let scope = match Holder::of(&who) {
            Some(holder) => self.reads.standing_later(&holder, self.commands.now()).await?,
            None => Some(Scope::Everything),
        };
        let now = Standing {
            active: scope.is_some(),
            own_robot: match who {
                Actor::Collector(id) => self.reads.is_at_robot(id, device).await?,
                _ => false,
            },
            in_scope: match scope {
                Some(scope) => self.reads.sees_device(&scope, device).await?,
                None => false,
            },
            without_login: self.without_login,
        };
        Ok(may_operate(&who, &now))
    }

    async fn command(&self, delivery: &Delivery) -> Outcome {
        let Some(Destination::Recorder(device)) = &delivery.destination else {
            return Outcome::Permanent { error: "the row names no recorder".to_owned() };
        };
        let (mut rpc, epoch, params_beside, callback_token, asynchronous) = match serde_json::from_value(delivery.event.payload.clone()) {
            Ok(DeviceEvent::DeviceCommandRequested {
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
                config_sha256: _,
            }) => {
                let rpc = Rpc { command_id, action, task: task_id, params, deadline, while_held };
                (rpc, epoch, params_beside, callback_token, asynchronous)
            }
            Ok(_) => return Outcome::Permanent { error: "the event is no command".to_owned() },
            Err(error) => return Outcome::Permanent { error: format!("the event cannot be read: {error}") },
        };
        let command_id = rpc.command_id.clone();
        if rpc.deadline <= self.commands.now() {
            return self.settle(delivery, device, command_id, NotSentCause::Expired, "the deadline was over").await;
        }
        if asynchronous {
            match self.may_still(delivery, device).await {
                Ok(Ok(())) => {}
                Ok(Err(lost)) => return self.settle(delivery, device, command_id, NotSentCause::NotPermitted, &lost.to_string()).await,
                Err(error) => return Outcome::Retry { error: chain(&error), after: None },
            }
        }
        if params_beside {
            rpc.params = match self.commands.params_of(&command_id).await {
                Ok(Some(params)) => params,
                Ok(None) => {
                    let reason = "what it is sent with is not kept any more";
                    return self.settle(delivery, device, command_id, NotSentCause::ParamsGone, reason).await;
                }
                Err(error) => return Outcome::Retry { error: format!("{error:#}"), after: None },
            };
        }
        if let Some(task) = rpc.task.as_ref().filter(|_| callback_token) {
            add_callback_token(&mut rpc.params, &self.callbacks.token(task, device));
        }
        let not_sent = match self.hub.send_rpc(device, epoch, rpc) {
            Ok(()) => return Outcome::Delivered,
            Err(error @ SendError::Busy) => return Outcome::NotHere { error: error.to_string() },
            // Asked for on a newer connection than ours: that one is in another process.
            Err(error @ SendError::OtherLink { here }) if here < epoch => {
                self.hub.supersede(device, LinkKind::Recorder, epoch);
                return Outcome::NotHere { error: error.to_string() };
            }
            Err(error @ SendError::NotConnected) if self.hub.newest_epoch(device, LinkKind::Recorder) < epoch => {
                return Outcome::NotHere { error: error.to_string() };
            }
            Err(SendError::OtherLink { .. }) => "the connection was replaced",
            Err(SendError::NotConnected | SendError::Lost) => "the connection was lost",
        };
        self.settle(delivery, device, command_id, NotSentCause::LinkClosed, not_sent).await
    }

    /// Settles a command that will not be sent; one that is settled already stays as it is.
    async fn settle(&self, delivery: &Delivery, device: &DeviceId, command_id: String, cause: NotSentCause, not_sent: &str) -> Outcome {
        info!(device.id = %device, command.id = command_id, "Command `{command_id}` was not sent to `{device}`: {not_sent}");
        let outcome = CommandOutcome::not_sent(cause, not_sent);
        match self
            .commands
            .execute(&context_of(self.name(), delivery), SettleDeviceCommand { device: device.clone(), command_id, outcome })
            .await
        {
            Ok(()) => Outcome::Delivered,
            Err(CommandError::Refused(refusal)) => Outcome::Permanent { error: refusal.to_string() },
            Err(error) => Outcome::Retry { error: format!("{error:#}"), after: None },
        }
    }

    async fn transfer(&self, delivery: &Delivery, wanted: Wanted) -> Outcome {
        let Some(Destination::Transfer(device)) = &delivery.destination else {
            return Outcome::Permanent { error: "the row names no uploader".to_owned() };
        };
        let Ok(id) = delivery.event.aggregate_id.parse().map(TaskId) else {
            return Outcome::Permanent { error: "the stream is no task".to_owned() };
        };
        let task = match self.reads.task_to_send(id).await {
            Ok(Some(task)) => task,
            Ok(None) => return Outcome::Permanent { error: format!("there is no task {id}") },
            Err(error) => return Outcome::Retry { error: chain(&error), after: None },
        };
        let task_id = task.task_id.to_string();
        let sent = match (wanted, task.status) {
            (Wanted::Ack, _) if task.has_episode => self.hub.send_transfer(device, ToTransfer::UploadAck { task_id }).await,
            // The device would delete the only copy.
            (Wanted::Ack, status) => {
                let error = format!("no ack for task {id}: it is {}, and has no episode", status.as_str());
                warn!(task.id = %id, device.id = %device, "{error}");
                return Outcome::Permanent { error };
            }
            (Wanted::Upload, TaskStatus::Uploading) => {
                self.hub.send_transfer(device, ToTransfer::UploadRequest { task_id, priority: PRIORITY }).await
            }
            // It says what it gave up before we store that, so whatever was asked since then covers it.
            (Wanted::GivenUp, TaskStatus::Failed) if !task.has_episode => self.hub.ask_for_all(device, delivery.event.recorded_at).await,
            // It was uploaded, or given up, meanwhile.
            (Wanted::Upload | Wanted::GivenUp, _) => return Outcome::Delivered,
        };
        match sent {
            Ok(()) => Outcome::Delivered,
            Err(error) => Outcome::NotHere { error: error.to_string() },
        }
    }
}

#[async_trait]
impl Subscriber for DeviceCommands {
    fn name(&self) -> SubscriberName {
        SubscriberName::DeviceCommands
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        match delivery.event.event_type.as_str() {
            "device_command_requested" => self.command(delivery).await,
            "recording_finished" | "upload_requested_again" => self.transfer(delivery, Wanted::Upload).await,
            "failed_upload_requested" => self.transfer(delivery, Wanted::GivenUp).await,
            "upload_verified" | "late_upload_verified" | "upload_ack_requested" => self.transfer(delivery, Wanted::Ack).await,
            other => Outcome::Permanent { error: format!("nothing is sent for {other}") },
        }
    }

    /// A command that cannot be heard any more gets an outcome.
    fn wants_expired(&self) -> bool {
        true
    }

    fn reaches(&self, destination: &Destination) -> bool {
        self.hub.reaches(destination)
    }
}
