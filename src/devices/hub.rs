//! Which devices are connected to this process, and what they were last seen doing.
//!
//! One live link per device and kind; a link with a newer epoch replaces the one before,
//! whose socket is closed at once. Other processes have hubs of their own: what is sent to a
//! device goes through the outbox, and the process that has the socket claims it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::allowance::{Allowance, Limit};
use super::effects::LinkId;
use super::frames::Pulse;
use super::recent::{Entry, Recent};
use super::session::{Now, QueryError, Rpc};
use super::transfer::status::TransferStatus;
use super::view::RecorderView;
use super::wire::{RpcResponse, ToTransfer};
use crate::domain::device::LinkKind;
use crate::domain::routing::Destination;
use crate::domain::{DeviceId, Timestamp};

/// A live link, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub epoch: i64,
    pub remote: String,
    pub since: Timestamp,
    pub last_seen: Timestamp,
}

/// A device of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Presence {
    pub recorder: Option<(LinkInfo, RecorderView)>,
    pub transfer: Option<(LinkInfo, TransferStatus)>,
}

impl Presence {
    /// Both links are up.
    pub fn connected(&self) -> bool {
        self.recorder.is_some() && self.transfer.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the device is not connected here")]
    NotConnected,
    /// The message was meant for another connection.
    #[error("the device's connection here has epoch {here}")]
    OtherLink { here: i64 },
    #[error("the device takes nothing at the moment")]
    Busy,
    /// The connection ended while the message waited.
    #[error("the connection was lost")]
    Lost,
}

/// The device has a newer connection already.
#[derive(Debug, PartialEq, Eq)]
pub struct Superseded;

/// Something asked of a link from outside.
pub enum Ask {
    Rpc(Rpc),
    Query { action: String, params: Value, deadline: Instant, answer: oneshot::Sender<Result<RpcResponse, QueryError>> },
    Frame { frame: ToTransfer, written: oneshot::Sender<()> },
}

/// One live link.
pub struct Lane {
    pub id: LinkId,
    since: Timestamp,
    asks: mpsc::Sender<Ask>,
    pub replaced: CancellationToken,
    pub pulse: Arc<Pulse>,
    /// Of the device, whichever link it is.
    pub recent: Arc<Recent>,
    /// When the uploader was last asked for everything it has.
    asked_for_all: tokio::sync::Mutex<Option<Timestamp>>,
    /// The handshake is over; messages get through.
    live: AtomicBool,
    view: Mutex<View>,
}

#[derive(Default)]
struct View {
    recorder: RecorderView,
    transfer: TransferStatus,
}

impl Lane {
    fn info(&self, now: Now) -> LinkInfo {
        let last_seen = now.wall - self.pulse.silence(now.at);
        LinkInfo { epoch: self.id.epoch, remote: self.id.remote.clone(), since: self.since, last_seen }
    }

    async fn send_frame(&self, frame: ToTransfer) -> Result<(), SendError> {
        let (written, done) = oneshot::channel();
        self.asks.try_send(Ask::Frame { frame, written }).map_err(not_taken)?;
        done.await.map_err(|_| SendError::Lost)
    }
}

#[derive(Clone, Default)]
pub struct Hub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    devices: Mutex<BTreeMap<DeviceId, Slots>>,
    changes: watch::Sender<u64>,
    waker: Mutex<Option<Waker>>,
    /// How many handshakes and links of a device are not done with, reports that wait for storage included.
    in_hand: Mutex<BTreeMap<(DeviceId, &'static str), usize>>,
}

/// A device's link, or what may become one, is seen to by a task of this process for as long as this is kept.
pub struct InHand {
    hub: Hub,
    link: (DeviceId, &'static str),
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut in_hand = locked(&self.hub.0.in_hand);
        if let Some(count) = in_hand.get_mut(&self.link) {
            *count -= 1;
            if *count == 0 {
                in_hand.remove(&self.link);
            }
        }
    }
}

type Waker = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Slots {
    recorder: Slot,
    transfer: Slot,
    recent: Arc<Recent>,
}

#[derive(Default)]
struct Slot {
    handshakes: Option<Allowance>,
    openings: Option<Allowance>,
    /// Kept after the link is gone: a slower handshake may still come with an older one.
    newest: i64,
    /// Of the newest link. Kept, too: what a lost link told may still be on its way into storage.
    replaced: CancellationToken,
    lane: Option<Arc<Lane>>,
}

impl Slots {
    fn slot(&self, kind: LinkKind) -> &Slot {
        match kind {
            LinkKind::Recorder => &self.recorder,
            LinkKind::Transfer => &self.transfer,
        }
    }

    fn slot_mut(&mut self, kind: LinkKind) -> &mut Slot {
        match kind {
            LinkKind::Recorder => &mut self.recorder,
            LinkKind::Transfer => &mut self.transfer,
        }
    }
}

impl Slot {
    fn live(&self) -> Option<&Arc<Lane>> {
        self.lane.as_ref().filter(|lane| lane.live.load(Ordering::Relaxed))
    }
}

/// A panic elsewhere does not make a view wrong: each is replaced as a whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub fn new() -> Self {
        Self::default()
    }

    /// Called whenever a link opens: rows may be waiting for it.
    pub fn on_open(&self, waker: impl Fn() + Send + Sync + 'static) {
        *locked(&self.0.waker) = Some(Arc::new(waker));
    }

    /// Counts every change of a link or of what is seen through it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    pub fn take_in_hand(&self, device: &DeviceId, kind: LinkKind) -> InHand {
        let link = (device.clone(), kind.as_str());
        *locked(&self.0.in_hand).entry(link.clone()).or_default() += 1;
        InHand { hub: self.clone(), link }
    }

    /// Whether a task of this process will see to the end of a device's link.
    pub fn has_in_hand(&self, device: &DeviceId, kind: LinkKind) -> bool {
        locked(&self.0.in_hand).contains_key(&(device.clone(), kind.as_str()))
    }

    /// Makes a link the one of its device and kind, and ends the one before.
    pub fn enter(&self, id: LinkId, now: Now, asks: mpsc::Sender<Ask>) -> Result<Arc<Lane>, Superseded> {
        let lane = {
            let mut devices = locked(&self.0.devices);
            let slots = devices.entry(id.device.clone()).or_default();
            let recent = slots.recent.clone();
            let slot = slots.slot_mut(id.kind);
            if slot.newest >= id.epoch {
                return Err(Superseded);
            }
            slot.newest = id.epoch;
            let lane = Arc::new(Lane {
                id,
                since: now.wall,
                asks,
                replaced: CancellationToken::new(),
                pulse: Arc::default(),
                recent,
                asked_for_all: tokio::sync::Mutex::default(),
                live: AtomicBool::new(false),
                view: Mutex::default(),
            });
            std::mem::replace(&mut slot.replaced, lane.replaced.clone()).cancel();
            slot.lane = Some(lane.clone());
            lane
        };
        self.changed();
        Ok(lane)
    }

    pub fn go_live(&self, lane: &Lane) {
        lane.live.store(true, Ordering::Relaxed);
        self.changed();
        let waker = locked(&self.0.waker).clone();
        if let Some(wake) = waker {
            wake();
        }
    }

    pub fn leave(&self, lane: &Arc<Lane>) {
        {
            let mut devices = locked(&self.0.devices);
            let Some(slots) = devices.get_mut(&lane.id.device) else { return };
            let slot = slots.slot_mut(lane.id.kind);
            if !slot.lane.as_ref().is_some_and(|current| Arc::ptr_eq(current, lane)) {
                return;
            }
            slot.lane = None;
        }
        self.changed();
    }

    pub fn show_recorder(&self, lane: &Lane, view: RecorderView) {
        locked(&lane.view).recorder = view;
        self.changed();
    }

    pub fn show_transfer(&self, lane: &Lane, status: TransferStatus) {
        locked(&lane.view).transfer = status;
        self.changed();
    }

    fn lane(&self, device: &DeviceId, kind: LinkKind) -> Option<Arc<Lane>> {
        locked(&self.0.devices).get(device)?.slot(kind).live().cloned()
    }

    pub fn link_count(&self) -> usize {
        locked(&self.0.devices)
            .values()
            .map(|slots| usize::from(slots.recorder.lane.is_some()) + usize::from(slots.transfer.lane.is_some()))
            .sum()
    }

    /// Whether a device may connect again already. One that never did is not remembered.
    pub fn may_connect(&self, device: &DeviceId, kind: LinkKind, limit: Limit, now: Instant) -> bool {
        let mut devices = locked(&self.0.devices);
        let slot = devices.get_mut(device).map(|slots| slots.slot_mut(kind));
        slot.is_none_or(|slot| slot.handshakes.get_or_insert_with(|| Allowance::new(limit, now)).try_take(now))
    }

    /// Whether another connection of it may be opened. Ask before, and tell what became of it by [`Self::count_opening`].
    pub fn may_open(&self, device: &DeviceId, kind: LinkKind, now: Instant) -> bool {
        let mut devices = locked(&self.0.devices);
        let openings = devices.get_mut(device).and_then(|slots| slots.slot_mut(kind).openings.as_mut());
        openings.is_none_or(|openings| openings.has_one(now))
    }

    /// A connection was opened in storage, whatever becomes of it.
    pub fn count_opening(&self, device: &DeviceId, kind: LinkKind, limit: Limit, now: Instant) {
        let mut devices = locked(&self.0.devices);
        let slot = devices.entry(device.clone()).or_default().slot_mut(kind);
        slot.openings.get_or_insert_with(|| Allowance::new(limit, now)).try_take(now);
    }

    /// Whether it has a link here, or is about to.
    pub fn has(&self, device: &DeviceId, kind: LinkKind) -> bool {
        locked(&self.0.devices).get(device).is_some_and(|slots| slots.slot(kind).lane.is_some())
    }

    /// The epoch of the device's link here.
    pub fn epoch(&self, device: &DeviceId, kind: LinkKind) -> Option<i64> {
        self.lane(device, kind).map(|lane| lane.id.epoch)
    }

    /// Recorder, transfer.
    pub fn connected(&self, device: &DeviceId) -> (bool, bool) {
        let devices = locked(&self.0.devices);
        devices.get(device).map_or((false, false), |slots| (slots.recorder.live().is_some(), slots.transfer.live().is_some()))
    }

    pub fn snapshot(&self, device: &DeviceId) -> Presence {
        let devices = locked(&self.0.devices);
        devices.get(device).map(|slots| presence(slots, Now::read())).unwrap_or_default()
    }

    /// What was lately said over the links of a device that this process had, newest first.
    pub fn recent(&self, device: &DeviceId, limit: usize) -> Vec<Entry> {
        let recent = locked(&self.0.devices).get(device).map(|slots| slots.recent.clone());
        recent.map(|recent| recent.newest(limit)).unwrap_or_default()
    }

    /// Every device with at least one link here, by id.
    pub fn list(&self) -> Vec<(DeviceId, Presence)> {
        let now = Now::read();
        let devices = locked(&self.0.devices);
        let present = devices.iter().map(|(device, slots)| (device.clone(), presence(slots, now)));
        present.filter(|(_, presence)| presence.recorder.is_some() || presence.transfer.is_some()).collect()
    }

    /// Every live link, with its epoch.
    pub fn links(&self) -> Vec<(DeviceId, LinkKind, i64)> {
        let devices = locked(&self.0.devices);
        let kinds = [LinkKind::Recorder, LinkKind::Transfer];
        let of_device = |(device, slots): (&DeviceId, &Slots)| {
            kinds.map(|kind| slots.slot(kind).live().map(|lane| (device.clone(), kind, lane.id.epoch)))
        };
        devices.iter().flat_map(of_device).flatten().collect()
    }

    /// Whether outbox rows for this destination can be delivered from here.
    pub fn reaches(&self, destination: &Destination) -> bool {
        destination.link().is_some_and(|(device, kind)| self.lane(device, kind).is_some())
    }

    /// The newest epoch this process has seen, whether or not its link is still there.
    pub fn newest_epoch(&self, device: &DeviceId, kind: LinkKind) -> i64 {
        locked(&self.0.devices).get(device).map_or(0, |slots| slots.slot(kind).newest)
    }

    /// A newer connection exists, in another process: the one here is cut.
    pub fn supersede(&self, device: &DeviceId, kind: LinkKind, epoch: i64) {
        let mut devices = locked(&self.0.devices);
        let slot = devices.entry(device.clone()).or_default().slot_mut(kind);
        if slot.newest < epoch {
            // Exactly this epoch may still be on its way here.
            slot.newest = epoch - 1;
            slot.replaced.cancel();
        }
    }

    /// Nothing that is learned over the links of this process counts any more: every one is cut, and its device
    /// connects anew.
    pub fn cut_all(&self) {
        for slots in locked(&self.0.devices).values() {
            slots.recorder.replaced.cancel();
            slots.transfer.replaced.cancel();
        }
    }

    /// Hands a command to the session of exactly this epoch, which settles it whatever happens.
    pub fn send_rpc(&self, device: &DeviceId, epoch: i64, rpc: Rpc) -> Result<(), SendError> {
        let lane = self.lane(device, LinkKind::Recorder).ok_or(SendError::NotConnected)?;
        if lane.id.epoch != epoch {
            return Err(SendError::OtherLink { here: lane.id.epoch });
        }
        lane.asks.try_send(Ask::Rpc(rpc)).map_err(not_taken)
    }

    /// Sends a frame on the device's present link, and answers when it was handed to the network.
    pub async fn send_transfer(&self, device: &DeviceId, frame: ToTransfer) -> Result<(), SendError> {
        self.lane(device, LinkKind::Transfer).ok_or(SendError::NotConnected)?.send_frame(frame).await
    }

    /// Asks an uploader for everything it has, unless it was asked on its present link after this moment: it looks through
    /// all of its files each time.
    pub async fn ask_for_all(&self, device: &DeviceId, wanted_since: Timestamp) -> Result<(), SendError> {
        let lane = self.lane(device, LinkKind::Transfer).ok_or(SendError::NotConnected)?;
        let mut asked = lane.asked_for_all.lock().await;
        if asked.is_none_or(|asked| asked <= wanted_since) {
            let now = Now::read().wall;
            lane.send_frame(ToTransfer::UploadAll {}).await?;
            *asked = Some(now);
        }
        Ok(())
    }

    /// Asks a recorder something that changes nothing there.
    pub async fn query(&self, device: &DeviceId, action: &str, params: Value, timeout: Duration) -> Result<RpcResponse, QueryError> {
        let lane = self.lane(device, LinkKind::Recorder).ok_or(QueryError::NotConnected)?;
        let (answer, answered) = oneshot::channel();
        let deadline = Now::read().at + timeout;
        lane.asks.try_send(Ask::Query { action: action.to_owned(), params, deadline, answer }).map_err(|_| QueryError::TooMany)?;
        answered.await.unwrap_or(Err(QueryError::NotConnected))
    }

    /// What the recorder does, known to be no older than `age_max`: asks it where necessary.
    pub async fn fresh_recorder(&self, device: &DeviceId, age_max: Duration, timeout: Duration) -> Result<RecorderView, QueryError> {
        let seen = || self.snapshot(device).recorder.map(|(_, view)| view).ok_or(QueryError::NotConnected);
        let view = seen()?;
        if view.confirmed && view.age(Now::read().at).is_some_and(|age| age <= age_max) {
            return Ok(view);
        }
        self.query(device, "get_state", Value::Null, timeout).await?;
        seen()
    }
}

fn not_taken(error: mpsc::error::TrySendError<Ask>) -> SendError {
    match error {
        mpsc::error::TrySendError::Full(_) => SendError::Busy,
        mpsc::error::TrySendError::Closed(_) => SendError::Lost,
    }
}

fn presence(slots: &Slots, now: Now) -> Presence {
    let recorder = slots.recorder.live().map(|lane| (lane.info(now), locked(&lane.view).recorder.clone()));
    let transfer = slots.transfer.live().map(|lane| (lane.info(now), locked(&lane.view).transfer.clone()));
    Presence { recorder, transfer }
}
