//! Who has to be told of which event, and where. Pure, and complete: what is not named here is
//! not sent anywhere.
//!
//! Subscribers here are built in. Rows for subscriptions that are stored are inserted by a
//! follower of the log (`commands::fan_out`); only a test, which is for its own subscription, is routed here.

use std::any::Any;
use std::fmt;

use chrono::TimeDelta;
use serde_json::Value;

use super::device::{DeviceEvent, LinkKind};
use super::episode::{EpisodeEvent, RECALLED_BATCH};
use super::kinds::aggregates;
use super::order::Priority;
use super::subscription::SubscriptionEvent;
use super::sync::{ChainEvent, CloudName, ControlEvent};
use super::task::TaskEvent;
use super::{Aggregate, DeviceId, Event, Kind, SubscriptionId, Timestamp};

macro_rules! subscribers {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// Has work to do because of events: one outbox row per event and destination.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SubscriberName { $($(#[$doc])* $name),+ }

        impl SubscriberName {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// None for one that another version of this program has.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|name| name.as_str() == word)
            }
        }
    };
}

subscribers! {
    /// Sends requests and acks to recorder and transfer sockets.
    DeviceCommands = "device_commands",
    /// Compares an uploaded object with what the device said about it.
    UploadVerification = "upload_verification",
    /// Judges new episodes.
    Qa = "qa",
    /// Writes what is good of a damaged recording to a file of its own.
    Salvage = "salvage",
    /// Puts approved episodes into the queue of the cloud, where that is wanted, and takes out what may not be there any more.
    CloudQueue = "cloud_queue",
    /// Pushes what is queued to a cloud.
    CloudSync = "cloud_sync",
    /// Removes copies from the edge storage, brings them back from the cloud, and looks at them where a person asks.
    EdgeCopies = "edge_copies",
    /// Posts events to the programs that subscribed to them.
    Webhooks = "webhooks",
}

impl SubscriberName {
    /// Whether each of its rows names a destination.
    pub fn has_destinations(self) -> bool {
        match self {
            Self::DeviceCommands | Self::CloudSync | Self::Webhooks => true,
            Self::UploadVerification | Self::Qa | Self::Salvage | Self::CloudQueue | Self::EdgeCopies => false,
        }
    }
}

/// Where a delivery goes. Stored as `recorder:<device>`, `transfer:<device>`, `webhook:<subscription>`, `cloud:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    Recorder(DeviceId),
    Transfer(DeviceId),
    Webhook(SubscriptionId),
    Cloud(CloudName),
}

impl Destination {
    /// None for what another version of this program stored.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        match kind {
            "recorder" => DeviceId::parse(id).ok().map(Self::Recorder),
            "transfer" => DeviceId::parse(id).ok().map(Self::Transfer),
            // One text for each.
            "webhook" => id.parse().ok().map(SubscriptionId).filter(|parsed| parsed.to_string() == id).map(Self::Webhook),
            "cloud" => id.parse().ok().map(Self::Cloud),
            _ => None,
        }
    }

    /// What it is, without which one.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Recorder(_) => "recorder",
            Self::Transfer(_) => "transfer",
            Self::Webhook(_) => "webhook",
            Self::Cloud(_) => "cloud",
        }
    }

    /// The socket that leads there, where one does.
    pub fn link(&self) -> Option<(&DeviceId, LinkKind)> {
        match self {
            Self::Recorder(device) => Some((device, LinkKind::Recorder)),
            Self::Transfer(device) => Some((device, LinkKind::Transfer)),
            Self::Webhook(_) | Self::Cloud(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorder(device) => write!(f, "recorder:{device}"),
            Self::Transfer(device) => write!(f, "transfer:{device}"),
            Self::Webhook(subscription) => write!(f, "webhook:{subscription}"),
            Self::Cloud(cloud) => write!(f, "cloud:{}", cloud.as_str()),
        }
    }
}

/// A delivery to queue with its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub subscriber: SubscriberName,
    pub destination: Option<Destination>,
    /// After this instant delivering makes no sense any more.
    pub expires_at: Option<Timestamp>,
    /// Its place among what waits, where that is another one than behind all that was queued before: in front of what has a later one.
    pub place: Option<Timestamp>,
}

impl Queued {
    fn to(subscriber: SubscriberName, destination: Destination) -> Self {
        Self { subscriber, destination: Some(destination), expires_at: None, place: None }
    }

    fn anywhere(subscriber: SubscriberName) -> Self {
        Self { subscriber, destination: None, expires_at: None, place: None }
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The id of its stream.
    pub id: &'a str,
    /// Of a task: the device that records it.
    pub device: Option<&'a DeviceId>,
}

/// An event asks for a delivery to a device, and its stream names none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names no device that could be told")]
pub struct NoDevice;

/// The deliveries that an event asks for. Streams that are not named here are followed by no subscriber.
pub fn deliveries<E: Event>(event: &E, subject: Subject<'_>) -> Result<Vec<Queued>, NoDevice> {
    let event: &dyn Any = event;
    if let Some(event) = event.downcast_ref() {
        of_device(event, subject)
    } else if let Some(event) = event.downcast_ref() {
        of_task(event, subject)
    } else if let Some(event) = event.downcast_ref() {
        Ok(of_episode(event))
    } else if let Some(event) = event.downcast_ref() {
        Ok(of_subscription(event, subject))
    } else if let Some(event) = event.downcast_ref() {
        Ok(of_sync_chain(event))
    } else if let Some(event) = event.downcast_ref() {
        Ok(of_sync_control(event))
    } else {
        Ok(vec![])
    }
}

macro_rules! of_stored {
    ($($kind:ident: $aggregate:ty;)+) => {
        /// The same for an event as it is stored today. One that cannot be read asks for nothing.
        pub fn deliveries_of_stored(kind: Kind, payload: Value, subject: Subject<'_>) -> Vec<Queued> {
            match kind {
                $(Kind::$kind => {
                    let event: Result<<$aggregate as Aggregate>::Event, _> = serde_json::from_value(payload);
                    event.ok().and_then(|event| deliveries(&event, subject).ok()).unwrap_or_default()
                })+
            }
        }
    };
}
aggregates!(of_stored);

/// Whether any event of such a stream asks for a delivery.
pub fn asks_for_deliveries(kind: Kind) -> bool {
    matches!(kind, Kind::Device | Kind::Episode | Kind::Subscription | Kind::SyncChain | Kind::SyncControl | Kind::Task)
}

// Every event stands here, so that a new one has to be given its place.

fn of_device(event: &DeviceEvent, subject: Subject<'_>) -> Result<Vec<Queued>, NoDevice> {
    use DeviceEvent as E;
    Ok(match event {
        // An RPC to the recorder.
        E::DeviceCommandRequested { deadline, .. } => {
            let recorder = Destination::Recorder(DeviceId::parse(subject.id).map_err(|_| NoDevice)?);
            vec![Queued { expires_at: Some(*deadline), ..Queued::to(SubscriberName::DeviceCommands, recorder) }]
        }
        E::DeviceLinkOpened { .. }
        | E::DeviceLinkClosed { .. }
        | E::DeviceContested { .. }
        | E::DeviceContestEnded { .. }
        | E::RecorderStateObserved { .. }
        | E::DeviceCommandSettled { .. }
        | E::DeviceCommandAnsweredLate { .. }
        | E::DeviceReportRefused { .. }
        | E::DeviceReleaseWanted { .. }
        | E::DeviceReleased { .. } => vec![],
    })
}

fn of_task(event: &TaskEvent, subject: Subject<'_>) -> Result<Vec<Queued>, NoDevice> {
    use TaskEvent as E;
    Ok(match event {
        // The recording is a file: ask for its upload.
        E::RecordingFinished { .. }
        | E::UploadRequestedAgain { .. }
        | E::FailedUploadRequested { .. }
        // The episode is durable: the device may delete its copy.
        | E::UploadVerified { .. }
        | E::LateUploadVerified { .. }
        | E::UploadAckRequested { .. } => {
            let uploader = Destination::Transfer(subject.device.ok_or(NoDevice)?.clone());
            vec![Queued::to(SubscriberName::DeviceCommands, uploader)]
        }
        E::UploadReported { .. } | E::LateUploadReported { .. } | E::DamagedUploadWanted { .. } => vec![Queued::anywhere(SubscriberName::UploadVerification)],
        E::TaskCreated { .. }
        | E::TaskConfigured { .. }
        | E::RecordingStarted { .. }
        | E::UploadRejected { .. }
        | E::LateUploadRejected { .. }
        | E::UploadFailed { .. }
        | E::TaskFailedByPerson { .. }
        | E::UploadFileMissing { .. }
        | E::RecordingAbandoned { .. }
        | E::TaskCancelled { .. }
        | E::TaskCompletedExternally { .. }
        | E::TaskDeleted { .. }
        | E::DeviceReportNoted { .. }
        | E::OperatorWordGiven { .. }
        | E::ObjectWriteRefused { .. } => vec![],
    })
}

fn of_episode(event: &EpisodeEvent) -> Vec<Queued> {
    use EpisodeEvent as E;
    match event {
        E::EpisodeCreated(_) => vec![Queued::anywhere(SubscriberName::Qa)],
        E::SalvageRequested(_) => vec![Queued::anywhere(SubscriberName::Salvage)],
        // What is approved may be pushed by itself; what lost its approval, or was recalled, is pushed no more.
        E::EpisodeApproved { .. } | E::EpisodeApprovalLost { .. } => vec![Queued::anywhere(SubscriberName::CloudQueue)],
        E::EdgeCopyRemovalRequested { .. } | E::EdgeCopyRestoreRequested { .. } | E::CopyLookRequested { .. } => {
            vec![Queued::anywhere(SubscriberName::EdgeCopies)]
        }
        E::EpisodeLabelled { label } if label == RECALLED_BATCH => vec![Queued::anywhere(SubscriberName::CloudQueue)],
        E::EpisodeLabelled { .. }
        | E::EpisodeAnnotated { .. }
        | E::EpisodeMeasured(_)
        | E::QaRunStarted(_)
        | E::QaRunWaits(_)
        | E::QaRunEnded(_)
        | E::QaRunAbandoned { .. }
        | E::EpisodeSynced(_)
        | E::SyncedEpisodeUnapproved {}
        | E::EdgeCopyRemoved { .. }
        | E::EdgeCopyRemovalFailed { .. }
        | E::EdgeCopyRestored { .. }
        | E::EdgeCopyRestoreFailed { .. }
        | E::CopyFoundSound { .. }
        | E::CopyFoundDamaged { .. }
        | E::InspectionTaken(_)
        | E::InspectionReleased { .. }
        | E::InspectionDecided(_)
        | E::OperatorWordHeard { .. }
        | E::InspectionReopened { .. }
        | E::RecordingSalvaged(_)
        | E::SalvageFailed(_) => vec![],
    }
}

fn of_subscription(event: &SubscriptionEvent, subject: Subject<'_>) -> Vec<Queued> {
    use SubscriptionEvent as E;
    match event {
        E::SubscriptionTestRequested {} => {
            let own = subject.id.parse().map(SubscriptionId).map(Destination::Webhook);
            own.into_iter().map(|own| Queued::to(SubscriberName::Webhooks, own)).collect()
        }
        E::SubscriptionCreated { .. }
        | E::SubscriptionChanged { .. }
        | E::SubscriptionPaused { .. }
        | E::SubscriptionResumed {}
        | E::SubscriptionEnded { .. }
        | E::SubscriptionSecretRotated { .. }
        | E::SubscriptionReplayRequested { .. } => vec![],
    }
}

/// What is queued goes to each of its clouds by itself: what is urgent first, then what was approved first.
fn of_sync_chain(event: &ChainEvent) -> Vec<Queued> {
    use ChainEvent as E;
    match event {
        E::SyncQueued(queued) => {
            let place = place_of(queued.approved_at.unwrap_or(queued.at), queued.priority);
            let to = |cloud: &CloudName| Queued { place, ..Queued::to(SubscriberName::CloudSync, Destination::Cloud(*cloud)) };
            queued.clouds.iter().map(to).collect()
        }
        E::SyncRetried { .. }
        | E::SyncClaimed { .. }
        | E::SyncSessionOpened { .. }
        | E::SyncUploadStarted { .. }
        | E::SyncPartsFinished { .. }
        | E::SyncObjectFinished { .. }
        | E::SyncReceiverTold { .. }
        | E::SyncGatewayCompleted { .. }
        | E::SyncLegFinished { .. }
        | E::SyncHeld { .. }
        | E::SyncFailed { .. }
        | E::SyncLegGivenUp { .. }
        | E::SyncGivenUp { .. }
        | E::SyncCompleted { .. } => vec![],
    }
}

/// Years lie between the places of two priorities, so none is passed by what waited long.
fn place_of(since: Timestamp, priority: Priority) -> Option<Timestamp> {
    const STEP: TimeDelta = TimeDelta::days(10 * 365);
    let steps = match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Urgent => 3,
    };
    since.checked_sub_signed(STEP * steps)
}

fn of_sync_control(event: &ControlEvent) -> Vec<Queued> {
    match event {
        // What was approved before is found.
        ControlEvent::AutoScanSwitched { on: true } => vec![Queued::anywhere(SubscriberName::CloudQueue)],
        ControlEvent::AutoScanSwitched { on: false } | ControlEvent::CloudPaused { .. } | ControlEvent::CloudResumed { .. } => vec![],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::domain::kinds::{EachKind, Listed, each_kind};

    fn device() -> DeviceId {
        DeviceId::parse("AB-F0001-T0001-000001").unwrap()
    }

    /// What events have asked for since the first version: subscriber and destination, as they are stored.
    const ROWS: [(&str, &str, Option<&str>); 21] = [
        ("device_command_requested", "device_commands", Some("recorder:AB-F0001-T0001-000001")),
        ("recording_finished", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("upload_requested_again", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("failed_upload_requested", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("upload_verified", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("late_upload_verified", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("upload_ack_requested", "device_commands", Some("transfer:AB-F0001-T0001-000001")),
        ("upload_reported", "upload_verification", None),
        ("late_upload_reported", "upload_verification", None),
        ("damaged_upload_wanted", "upload_verification", None),
        ("episode_created", "qa", None),
        ("salvage_requested", "salvage", None),
        ("subscription_test_requested", "webhooks", Some("webhook:17")),
        ("episode_approved", "cloud_queue", None),
        ("episode_approval_lost", "cloud_queue", None),
        ("episode_labelled", "cloud_queue", None),
        ("edge_copy_removal_requested", "edge_copies", None),
        ("edge_copy_restore_requested", "edge_copies", None),
        ("copy_look_requested", "edge_copies", None),
        ("sync_queued", "cloud_sync", Some("cloud:s3")),
        ("auto_scan_switched", "cloud_queue", None),
    ];

    type Rows = BTreeMap<&'static str, Vec<(&'static str, Option<String>)>>;

    /// The rows for the stored example of every event.
    #[derive(Default)]
    struct All(Rows);

    impl EachKind for All {
        fn kind<A: Listed>(&mut self) {
            let rows = rows_of::<A>();
            assert_eq!(rows.values().any(|rows| !rows.is_empty()), asks_for_deliveries(A::KIND), "{}", A::TYPE);
            self.0.extend(rows);
        }
    }

    fn rows_of<A: Listed>() -> Rows {
        let device = device();
        let id = if A::KIND == Kind::Device { device.as_str() } else { "17" };
        let mut rows = Rows::new();
        for (name, version) in A::Event::types() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/events/{name}.v{version}.json"));
            let event: A::Event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let queued = deliveries(&event, Subject { id, device: Some(&device) }).unwrap();
            let row = |queued: &Queued| (queued.subscriber.as_str(), queued.destination.as_ref().map(ToString::to_string));
            rows.insert(name, queued.iter().map(row).collect());
        }
        rows
    }

    #[test]
    fn every_event_asks_for_the_rows_it_has_always_asked_for() {
        let mut all = All::default();
        each_kind(&mut all);
        for (name, made) in all.0 {
            let known: Vec<_> = ROWS.iter().filter(|row| row.0 == name).map(|row| (row.1, row.2.map(str::to_owned))).collect();
            assert_eq!(made, known, "{name}");
        }
    }

    #[test]
    fn a_subscriber_with_destinations_gets_one_with_every_row() {
        for (name, subscriber, destination) in ROWS {
            let subscriber = SubscriberName::ALL.iter().find(|known| known.as_str() == subscriber).unwrap();
            assert_eq!(destination.is_some(), subscriber.has_destinations(), "{name}");
        }
    }

    #[test]
    fn a_command_expires_with_its_deadline_and_nothing_else_does() {
        let text = include_str!("../../tests/golden/events/device_command_requested.v1.2.json");
        let event: DeviceEvent = serde_json::from_str(text).unwrap();
        let DeviceEvent::DeviceCommandRequested { deadline, .. } = &event else { panic!("{event:?}") };
        let queued = deliveries(&event, Subject { id: device().as_str(), device: None }).unwrap();
        assert_eq!(queued[0].expires_at, Some(*deadline));
        let ack = TaskEvent::UploadAckRequested { by: crate::domain::task::Witness::TransferStatus };
        let queued = deliveries(&ack, Subject { id: "17", device: Some(&device()) }).unwrap();
        assert_eq!(queued[0].expires_at, None);
    }

    #[test]
    fn what_has_to_be_told_a_device_is_not_forgotten_where_none_is_known() {
        let ack = TaskEvent::UploadAckRequested { by: crate::domain::task::Witness::TransferStatus };
        assert_eq!(deliveries(&ack, Subject { id: "17", device: None }), Err(NoDevice));
        assert_eq!(deliveries(&TaskEvent::TaskDeleted {}, Subject { id: "17", device: None }), Ok(vec![]));
    }

    #[test]
    fn a_destination_is_read_as_it_was_written() {
        for destination in [
            Destination::Recorder(device()),
            Destination::Transfer(device()),
            Destination::Webhook(SubscriptionId(17)),
            Destination::Cloud(CloudName::S3),
            Destination::Cloud(CloudName::Gateway),
        ] {
            assert_eq!(Destination::parse(&destination.to_string()), Some(destination));
        }
        for other in ["", "recorder", "recorder:", "recorder:a/b", "webhook:x", "webhook:017", "cloud:1", "AB-F0001-T0001-000001"] {
            assert_eq!(Destination::parse(other), None, "{other:?}");
        }
    }
}
