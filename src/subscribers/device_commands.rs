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
//! A frame that was handed to the network may still be lost with its connection. The session
//! settles the command then; an upload that was never asked for, or an ack that never came,
//! is found out from the device's next status.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tracing::{info, warn};
use uuid::Uuid;

use crate::commands::callbacks::CallbackTokens;
use crate::commands::devices::SettleDeviceCommand;
use crate::commands::{Cause, CommandError, Commands, Context};
use crate::devices::wire::ToTransfer;
use crate::devices::{Hub, Rpc, SendError};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::device::{CommandOutcome, DeviceEvent, LinkKind};
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::task::TaskStatus;
use crate::domain::{PublicTaskId, TaskId, Timestamp};

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

/// What has to be known of a task before something is sent about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFacts {
    pub public_id: PublicTaskId,
    pub status: TaskStatus,
    /// A verified recording of it is in the store.
    pub has_episode: bool,
}

/// Where it is known. The error says that storage cannot be asked.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    async fn task(&self, id: TaskId) -> Result<Option<TaskFacts>, String>;
}

/// Settles a command that will not be sent.
#[async_trait]
pub trait Settle: Send + Sync + 'static {
    async fn settle(&self, delivery: &Delivery, command: SettleDeviceCommand) -> Result<(), CommandError>;
}

#[async_trait]
impl Settle for Commands {
    async fn settle(&self, delivery: &Delivery, command: SettleDeviceCommand) -> Result<(), CommandError> {
        let event = &delivery.event;
        let cause = Cause { event_id: event.event_id(), depth: delivery.causation_depth };
        let correlation = event.metadata.get("correlation_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
        self.execute(&Context::subscriber(SubscriberName::DeviceCommands.as_str(), correlation, cause), command).await
    }
}

pub struct DeviceCommands {
    hub: Hub,
    settle: Arc<dyn Settle>,
    tasks: Arc<dyn Tasks>,
    callbacks: CallbackTokens,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
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
    pub fn new(hub: Hub, commands: Commands, tasks: Arc<dyn Tasks>, callbacks: CallbackTokens) -> Self {
        let clock = commands.clone();
        Self { hub, settle: Arc::new(commands), tasks, callbacks, now: Arc::new(move || clock.now()) }
    }

    async fn command(&self, delivery: &Delivery) -> Outcome {
        let Some(Destination::Recorder(device)) = &delivery.destination else {
            return Outcome::Permanent { error: "the row names no recorder".to_owned() };
        };
        let (rpc, epoch) = match serde_json::from_value(delivery.event.payload.clone()) {
            Ok(DeviceEvent::DeviceCommandRequested {
                command_id,
                epoch,
                action,
                task_id,
                mut params,
                deadline,
                while_held,
                callback_token,
            }) => {
                if let Some(task) = task_id.as_ref().filter(|_| callback_token) {
                    add_callback_token(&mut params, &self.callbacks.token(task, device));
                }
                (Rpc { command_id, action, task: task_id, params, deadline, while_held }, epoch)
            }
            Ok(_) => return Outcome::Permanent { error: "the event is no command".to_owned() },
            Err(error) => return Outcome::Permanent { error: format!("the event cannot be read: {error}") },
        };
        let command_id = rpc.command_id.clone();
        let not_sent = if rpc.deadline <= (self.now)() {
            "the deadline was over"
        } else {
            match self.hub.send_rpc(device, epoch, rpc) {
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
            }
        };
        info!(device.id = %device, command.id = command_id, "Command `{command_id}` was not sent to `{device}`: {not_sent}");
        let outcome = CommandOutcome::NotSent { reason: not_sent.to_owned() };
        match self.settle.settle(delivery, SettleDeviceCommand { device: device.clone(), command_id, outcome }).await {
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
        let task = match self.tasks.task(id).await {
            Ok(Some(task)) => task,
            Ok(None) => return Outcome::Permanent { error: format!("there is no task {id}") },
            Err(error) => return Outcome::Retry { error, after: None },
        };
        let task_id = task.public_id.to_string();
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::devices::LinkId;
    use crate::devices::hub::{Ask, Lane};
    use crate::devices::session::Now;
    use crate::dispatcher::StoredEvent;
    use crate::domain::DeviceId;
    use crate::domain::device::RecorderAction;

    const DEVICE: &str = "AB-F0001-T0003-000001";

    fn device() -> DeviceId {
        DeviceId::parse(DEVICE).unwrap()
    }

    #[derive(Default)]
    struct Notebook(Mutex<Vec<SettleDeviceCommand>>);

    #[async_trait]
    impl Settle for Notebook {
        async fn settle(&self, _delivery: &Delivery, command: SettleDeviceCommand) -> Result<(), CommandError> {
            self.0.lock().unwrap().push(command);
            Ok(())
        }
    }

    struct OneTask(Option<TaskStatus>);

    #[async_trait]
    impl Tasks for OneTask {
        async fn task(&self, _id: TaskId) -> Result<Option<TaskFacts>, String> {
            Ok(self.0.map(|status| TaskFacts {
                public_id: PublicTaskId::parse("t").unwrap(),
                status,
                has_episode: status == TaskStatus::Completed,
            }))
        }
    }

    struct Desk {
        hub: Hub,
        settled: Arc<Notebook>,
        subscriber: DeviceCommands,
        now: Timestamp,
    }

    fn desk(status: Option<TaskStatus>) -> Desk {
        let now = Timestamp::from_timestamp_millis(1_795_204_640_000).unwrap();
        let (hub, settled) = (Hub::new(), Arc::new(Notebook::default()));
        let tasks = Arc::new(OneTask(status));
        let subscriber = DeviceCommands {
            hub: hub.clone(),
            settle: settled.clone(),
            tasks,
            callbacks: CallbackTokens::new(b"secret"),
            now: Arc::new(move || now),
        };
        Desk { hub, settled, subscriber, now }
    }

    impl Desk {
        fn link(&self, kind: LinkKind, epoch: i64) -> (Arc<Lane>, mpsc::Receiver<Ask>) {
            let (asks, asked) = mpsc::channel(4);
            let id = LinkId { device: device(), kind, epoch, remote: String::new() };
            let lane = self.hub.enter(id, Now::read(), asks).expect("a newer epoch");
            self.hub.go_live(&lane);
            (lane, asked)
        }

        fn command(&self, epoch: i64, seconds_left: i64) -> Delivery {
            let event = DeviceEvent::DeviceCommandRequested {
                command_id: "c".to_owned(),
                epoch,
                action: RecorderAction::Begin,
                task_id: PublicTaskId::parse("t").ok(),
                params: json!({"task_id": "t"}),
                deadline: self.now + chrono::TimeDelta::seconds(seconds_left),
                while_held: false,
                callback_token: false,
            };
            delivery("device", DEVICE, "device_command_requested", serde_json::to_value(event).unwrap(), Destination::Recorder(device()))
        }

        fn reasons(&self) -> Vec<String> {
            let settled = self.settled.0.lock().unwrap();
            let reasons = settled.iter().map(|command| match &command.outcome {
                CommandOutcome::NotSent { reason } => reason.clone(),
                other => panic!("{other:?}"),
            });
            reasons.collect()
        }
    }

    fn delivery(kind: &str, id: &str, event_type: &str, payload: Value, destination: Destination) -> Delivery {
        let event = StoredEvent {
            aggregate_type: kind.to_owned(),
            aggregate_id: id.to_owned(),
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: "1.0".to_owned(),
            payload,
            metadata: json!({}),
            seq: 1,
            recorded_at: Timestamp::UNIX_EPOCH,
        };
        Delivery { event, attempt: 1, destination: Some(destination), deadline: None, causation_depth: 0 }
    }

    fn about_task(event_type: &str) -> Delivery {
        delivery("task", "17", event_type, json!({}), Destination::Transfer(device()))
    }

    #[tokio::test]
    async fn a_command_goes_to_exactly_its_connection() {
        let desk = desk(None);
        let (_lane, mut asked) = desk.link(LinkKind::Recorder, 3);
        assert_eq!(desk.subscriber.deliver(&desk.command(3, 15)).await, Outcome::Delivered);
        assert!(matches!(asked.try_recv(), Ok(Ask::Rpc(rpc)) if rpc.command_id == "c" && rpc.action == RecorderAction::Begin));
        assert_eq!(desk.reasons(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_links_of_a_configuration_get_the_tokens_of_their_task_on_the_way_out() {
        let desk = desk(None);
        let (_lane, mut asked) = desk.link(LinkKind::Recorder, 3);
        let url = "http://edge:8080/api/v1/callbacks/finish";
        let mut delivery = desk.command(3, 15);
        let asked_for = &mut delivery.event.payload["device_command_requested"];
        asked_for["action"] = json!("config");
        asked_for["params"] = json!({ "task_config": { "task_id": "t", "finish_callback_url": url } });
        // As an older version asked for it, then as this one does.
        for with_token in [false, true] {
            delivery.event.payload["device_command_requested"]["callback_token"] = json!(with_token);
            assert_eq!(desk.subscriber.deliver(&delivery).await, Outcome::Delivered);
            let Ok(Ask::Rpc(rpc)) = asked.try_recv() else { panic!("nothing is sent") };
            let token = CallbackTokens::new(b"secret").token(&PublicTaskId::parse("t").unwrap(), &device());
            let sent = if with_token { format!("{url}?token={token}") } else { url.to_owned() };
            assert_eq!(rpc.params["task_config"], json!({ "task_id": "t", "finish_callback_url": sent }));
        }
        assert!(!delivery.event.payload.to_string().contains("token="));
    }

    #[tokio::test]
    async fn a_command_that_cannot_be_sent_any_more_is_settled_instead() {
        let desk = desk(None);
        let (lane, asked) = desk.link(LinkKind::Recorder, 3);
        assert_eq!(desk.subscriber.deliver(&desk.command(2, 15)).await, Outcome::Delivered);
        assert_eq!(desk.subscriber.deliver(&desk.command(3, 0)).await, Outcome::Delivered);
        drop(asked);
        assert_eq!(desk.subscriber.deliver(&desk.command(3, 15)).await, Outcome::Delivered);
        desk.hub.leave(&lane);
        assert_eq!(desk.subscriber.deliver(&desk.command(3, 15)).await, Outcome::Delivered);
        let lost = "the connection was lost";
        assert_eq!(desk.reasons(), ["the connection was replaced", "the deadline was over", lost, lost]);
    }

    #[tokio::test]
    async fn a_command_for_a_newer_connection_elsewhere_is_left_to_the_process_that_has_it() {
        let desk = desk(None);
        let (lane, _asked) = desk.link(LinkKind::Recorder, 3);
        assert!(matches!(desk.subscriber.deliver(&desk.command(4, 15)).await, Outcome::NotHere { .. }));
        // Ours is stale: it is told to go, and its handshake cannot come back.
        assert!(lane.replaced.is_cancelled());
        desk.hub.leave(&lane);
        assert!(matches!(desk.subscriber.deliver(&desk.command(4, 15)).await, Outcome::NotHere { .. }));
        assert_eq!(desk.reasons(), Vec::<String>::new());
        // The device may come to us with exactly that connection.
        desk.link(LinkKind::Recorder, 4);
    }

    #[tokio::test]
    async fn an_ack_is_sent_for_a_completed_task_and_for_no_other() {
        for event_type in ["upload_verified", "upload_ack_requested"] {
            for &status in TaskStatus::ALL {
                let word = status.as_str();
                let desk = desk(Some(status));
                let (_lane, mut asked) = desk.link(LinkKind::Transfer, 1);
                let told = tokio::spawn(async move {
                    let Some(Ask::Frame { frame, written }) = asked.recv().await else { return None };
                    written.send(()).unwrap();
                    Some(frame)
                });
                let outcome = desk.subscriber.deliver(&about_task(event_type)).await;
                if status == TaskStatus::Completed {
                    assert_eq!(outcome, Outcome::Delivered);
                    assert_eq!(told.await.unwrap(), Some(ToTransfer::UploadAck { task_id: "t".to_owned() }));
                } else {
                    assert!(matches!(outcome, Outcome::Permanent { .. }), "{word}");
                    assert!(!told.is_finished(), "{word}");
                }
            }
        }
    }

    #[tokio::test]
    async fn an_upload_is_asked_for_while_it_is_wanted() {
        for event_type in ["recording_finished", "upload_requested_again"] {
            let desk = desk(Some(TaskStatus::Uploading));
            // No link is there: the row waits.
            assert!(matches!(desk.subscriber.deliver(&about_task(event_type)).await, Outcome::NotHere { .. }));
            let (_lane, mut asked) = desk.link(LinkKind::Transfer, 1);
            // The connection is lost before the frame leaves: again.
            let again = about_task(event_type);
            let (outcome, ()) = tokio::join!(desk.subscriber.deliver(&again), async {
                let Some(Ask::Frame { frame, written }) = asked.recv().await else { panic!("something else") };
                assert_eq!(frame, ToTransfer::UploadRequest { task_id: "t".to_owned(), priority: 1 });
                drop(written);
            });
            assert_eq!(outcome, Outcome::NotHere { error: SendError::Lost.to_string() });
        }
        let desk = desk(Some(TaskStatus::Completed));
        assert_eq!(desk.subscriber.deliver(&about_task("recording_finished")).await, Outcome::Delivered);
    }

    #[tokio::test]
    async fn what_was_given_up_is_asked_for_while_it_is_missed() {
        for (status, asked_for) in [(TaskStatus::Failed, true), (TaskStatus::Completed, false), (TaskStatus::Cancelled, false)] {
            let desk = desk(Some(status));
            let (_lane, mut asked) = desk.link(LinkKind::Transfer, 1);
            let about = about_task("failed_upload_requested");
            let answer = async {
                let Some(Ask::Frame { frame, written }) = asked.recv().await else { panic!("something else") };
                written.send(()).unwrap();
                frame
            };
            if asked_for {
                let (outcome, frame) = tokio::join!(desk.subscriber.deliver(&about), answer);
                assert_eq!((outcome, frame), (Outcome::Delivered, ToTransfer::UploadAll {}));
            } else {
                assert_eq!(desk.subscriber.deliver(&about).await, Outcome::Delivered);
            }
        }
    }

    #[tokio::test]
    async fn all_that_was_given_up_is_asked_for_once_on_a_connection() {
        let desk = desk(Some(TaskStatus::Failed));
        let asked_for = async |desk: &Desk, abouts: Vec<Delivery>| {
            let epoch = desk.hub.newest_epoch(&device(), LinkKind::Transfer) + 1;
            let (_lane, mut asked) = desk.link(LinkKind::Transfer, epoch);
            let uploader = tokio::spawn(async move {
                let mut frames = 0;
                while let Some(Ask::Frame { written, .. }) = asked.recv().await {
                    // The first one is lost on its way, once.
                    frames += 1;
                    if frames > 1 {
                        written.send(()).unwrap();
                    }
                }
                frames
            });
            for about in abouts {
                let mut tries = 0;
                while desk.subscriber.deliver(&about).await != Outcome::Delivered {
                    tries += 1;
                    assert_eq!(tries, 1);
                }
            }
            // Its connection is replaced, and with it ends what is asked over it.
            desk.link(LinkKind::Transfer, epoch + 1);
            drop(_lane);
            uploader.await.unwrap()
        };
        let about = || about_task("failed_upload_requested");
        assert_eq!(asked_for(&desk, (0..150).map(|_| about()).collect()).await, 2);
        // Whatever was asked over another connection.
        assert_eq!(asked_for(&desk, vec![about(), about()]).await, 2);
        // What is given up after it was asked is not among what it looked for.
        let mut later = about();
        later.event.recorded_at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        assert_eq!(asked_for(&desk, vec![about(), about(), later]).await, 3);
    }

    #[tokio::test]
    async fn only_devices_whose_sockets_are_here_are_served() {
        let desk = desk(None);
        let here = |destination: fn(DeviceId) -> Destination| desk.subscriber.reaches(&destination(device()));
        assert!(!here(Destination::Recorder) && !here(Destination::Transfer));
        let (_recorder, _asked) = desk.link(LinkKind::Recorder, 1);
        let (transfer, _asks) = desk.link(LinkKind::Transfer, 1);
        let other = Destination::Recorder(DeviceId::parse("AB-F0001-T0003-000002").unwrap());
        assert!(here(Destination::Recorder) && here(Destination::Transfer) && !desk.subscriber.reaches(&other));
        desk.hub.leave(&transfer);
        assert!(here(Destination::Recorder) && !here(Destination::Transfer));
    }
}
