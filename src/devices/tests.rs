//! Real sockets against the listener, with storage that the test holds in its hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fastwebsockets::{Frame, OpCode, WebSocket, WebSocketError};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::effects::{EffectError, Effects, LinkId};
use super::hub::{Hub, SendError};
use super::plane::Devices;
use super::queue::{self, ReportQueue, ReportWriter};
use super::session::{Now, Rpc};
use super::wire::ToTransfer;
use super::{Keepalive, Limit, LinkSettings};
use crate::domain::device::{CommandOutcome, LinkKind, NotSentCause, RecorderAction, RecorderState};
use crate::domain::report::Report;
use crate::domain::routing::Destination;
use crate::domain::{DeviceId, PublicTaskId};
use crate::listener::{Front, serve_routes};

const DEVICE: &str = "AB-F0001-T0003-000001";

fn device() -> DeviceId {
    DeviceId::parse(DEVICE).unwrap()
}

/// Remembers what was stored. Each report needs a permit, so a test can make storage slow;
/// `failures` more reports find it away.
struct Storage {
    epochs: AtomicI64,
    /// What is opened is stored at once; how long the answer takes is the test's affair.
    openings: Semaphore,
    permits: Semaphore,
    failures: AtomicUsize,
    refuse: Option<EffectError>,
    stored: Mutex<Vec<(i64, Report)>>,
}

impl Storage {
    fn quick() -> Arc<Self> {
        Self::with(Semaphore::MAX_PERMITS, 0, None)
    }

    fn with(permits: usize, failures: usize, refuse: Option<EffectError>) -> Arc<Self> {
        let (openings, permits) = (Semaphore::new(Semaphore::MAX_PERMITS), Semaphore::new(permits));
        Arc::new(Self {
            epochs: AtomicI64::new(0),
            openings,
            permits,
            failures: AtomicUsize::new(failures),
            refuse,
            stored: Mutex::default(),
        })
    }

    fn stored(&self) -> Vec<(i64, Report)> {
        self.stored.lock().unwrap().clone()
    }

    /// Waits for a report; how long is the harness's affair, not the test's.
    async fn until(&self, what: impl Fn(&[(i64, Report)]) -> bool) -> Vec<(i64, Report)> {
        for _ in 0..1000 {
            let stored = self.stored();
            if what(&stored) {
                return stored;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen; stored was {:?}", self.stored());
    }
}

#[async_trait]
impl Effects for Storage {
    async fn opens(&self, _: &DeviceId, _: LinkKind, token: &str) -> Result<bool, EffectError> {
        match token {
            "trouble" => Err(EffectError::Unavailable("restarting".to_owned())),
            token => Ok(token == "secret"),
        }
    }

    async fn open_link(&self, _: &DeviceId, _: LinkKind, _: &str, _: &CancellationToken) -> Result<i64, EffectError> {
        match &self.refuse {
            Some(error) => Err(error.clone()),
            None => {
                let epoch = self.epochs.fetch_add(1, Ordering::SeqCst) + 1;
                self.openings.acquire().await.unwrap().forget();
                Ok(epoch)
            }
        }
    }

    async fn report(&self, link: &LinkId, report: &Report) -> Result<(), EffectError> {
        self.permits.acquire().await.unwrap().forget();
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(EffectError::Unavailable("restarting".to_owned()));
        }
        self.stored.lock().unwrap().push((link.epoch, report.clone()));
        Ok(())
    }
}

struct Plane {
    devices: Devices,
    storage: Arc<Storage>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Plane {
    async fn start(storage: Arc<Storage>) -> Self {
        Self::start_with(storage, LinkSettings::default(), false).await
    }

    async fn start_with(storage: Arc<Storage>, settings: LinkSettings, token_required: bool) -> Self {
        let devices = Devices::new(storage.clone(), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve_routes(listener, stop.clone(), Front::default(), devices.routes(token_required)));
        Self { devices, storage, address, stop }
    }

    async fn recorder(&self) -> Client {
        Client::connect(self.address, &format!("/recorder/{DEVICE}"), None).await.unwrap()
    }

    async fn transfer(&self) -> Client {
        Client::connect(self.address, &format!("/transfer/{DEVICE}"), None).await.unwrap()
    }

    async fn refusal(&self, path: &str, token: Option<&str>) -> u16 {
        match Client::connect(self.address, path, token).await {
            Err(WebSocketError::InvalidStatusCode(status)) => status,
            Err(other) => panic!("{other}"),
            Ok(_) => 101,
        }
    }

    fn hub(&self) -> &Hub {
        self.devices.hub()
    }

    async fn end(self) {
        self.stop.cancel();
        self.devices.shutdown(Duration::from_secs(5)).await;
    }
}

struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// The device's side, frame by frame.
struct Client {
    socket: WebSocket<TokioIo<Upgraded>>,
}

impl Client {
    async fn connect(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Self, WebSocketError> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = hyper::Request::builder()
            .uri(path)
            .header("Host", "keystone")
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "upgrade")
            .header("Sec-WebSocket-Key", fastwebsockets::handshake::generate_key())
            .header("Sec-WebSocket-Version", "13");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let (mut socket, _) = fastwebsockets::handshake::client(&Spawn, request.body(Empty::<Bytes>::new()).unwrap(), stream).await?;
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        Ok(Self { socket })
    }

    async fn frame(&mut self, fin: bool, opcode: OpCode, payload: impl Into<Vec<u8>>) {
        self.socket.write_frame(Frame::new(fin, opcode, None, payload.into().into())).await.unwrap();
    }

    async fn text(&mut self, message: Value) {
        self.frame(true, OpCode::Text, serde_json::to_vec(&message).unwrap()).await;
    }

    /// The next frame of a kind; others are passed over. None when the connection is gone.
    async fn next(&mut self, opcode: OpCode) -> Option<Vec<u8>> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.socket.read_frame()).await.expect("a frame in time").ok()?;
            if frame.opcode == opcode {
                return Some(frame.payload.into());
            }
            if frame.opcode == OpCode::Close {
                return None;
            }
        }
    }

    async fn request(&mut self) -> Value {
        serde_json::from_slice(&self.next(OpCode::Text).await.expect("a request")).unwrap()
    }

    async fn state(&mut self, state: &str, task: &str) {
        let now = chrono::Utc::now().timestamp_millis();
        self.text(json!({"type": "state_update", "timestamp": now, "data": {"previous": state, "current": state, "task_id": task}})).await;
    }

    /// A ping answered means that everything before it was read.
    async fn ping(&mut self) {
        self.frame(true, OpCode::Ping, b"alive?".to_vec()).await;
        assert_eq!(self.next(OpCode::Pong).await.as_deref(), Some(b"alive?".as_slice()));
    }
}

fn observed(stored: &[(i64, Report)]) -> Vec<(i64, RecorderState)> {
    let states = stored.iter().filter_map(|(epoch, report)| match report {
        Report::Observed { state, .. } => Some((*epoch, *state)),
        _ => None,
    });
    states.collect()
}

fn rpc(id: &str, timeout: Duration) -> Rpc {
    let deadline = chrono::Utc::now() + timeout;
    let task = PublicTaskId::parse("t").ok();
    Rpc { command_id: id.to_owned(), action: RecorderAction::Begin, task, params: json!({"task_id": "t"}), deadline, while_held: false }
}

#[tokio::test]
async fn a_command_goes_out_and_its_answer_is_stored() {
    let plane = Plane::start(Storage::quick()).await;
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    plane.hub().on_open(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut recorder = plane.recorder().await;
    let asked = recorder.request().await;
    assert_eq!(asked["action"], "get_state");
    assert!(asked["timestamp_ms"].is_i64());
    recorder.text(json!({"type": "rpc_response", "request_id": asked["request_id"], "success": true, "data": {"state": "idle"}})).await;
    plane.storage.until(|stored| observed(stored) == [(1, RecorderState::Idle)]).await;
    assert_eq!((plane.hub().reaches(&Destination::Recorder(DeviceId::parse(DEVICE).unwrap())), woken.load(Ordering::SeqCst)), (true, 1));
    assert_eq!(plane.hub().connected(&device()), (true, false));

    assert_eq!(plane.hub().send_rpc(&device(), 7, rpc("x", Duration::from_secs(9))), Err(SendError::OtherLink { here: 1 }));
    plane.hub().send_rpc(&device(), 1, rpc("c", Duration::from_secs(9))).unwrap();
    let asked = recorder.request().await;
    assert_eq!((&asked["action"], &asked["request_id"]), (&json!("begin"), &json!("c")));
    recorder.text(json!({"type": "rpc_response", "request_id": "c", "success": false, "message": "wrong state"})).await;
    let refused = CommandOutcome::Refused { message: Some("wrong state".to_owned()), data: None };
    plane.storage.until(|stored| stored.contains(&(1, Report::Settled { command_id: "c".to_owned(), outcome: refused.clone() }))).await;
    plane.end().await;
}

#[tokio::test]
async fn messages_in_fragments_are_put_together_and_pings_between_them_answered() {
    let plane = Plane::start(Storage::quick()).await;
    let mut recorder = plane.recorder().await;
    let now = chrono::Utc::now().timestamp_millis();
    let padding = "x".repeat(9000);
    let message = json!({"type": "state_update", "timestamp": now, "padding": padding, "data": {"previous": "ready", "current": "ready", "task_id": "t"}});
    let message = serde_json::to_vec(&message).unwrap();
    let (first, rest) = message.split_at(4096);
    recorder.frame(false, OpCode::Text, first).await;
    recorder.ping().await;
    let (middle, last) = rest.split_at(4096);
    recorder.frame(false, OpCode::Continuation, middle).await;
    recorder.frame(true, OpCode::Continuation, last).await;
    plane.storage.until(|stored| observed(stored) == [(1, RecorderState::Ready)]).await;
    plane.end().await;
}

#[tokio::test]
async fn damaged_messages_cost_themselves_and_not_the_link() {
    let plane = Plane::start(Storage::quick()).await;
    let mut uploader = plane.transfer().await;
    // Whole, in fragments, with a continuation out of nowhere, and torn by the next message.
    uploader.frame(true, OpCode::Text, b"{\"type\":\"\xff\xfe\"}".to_vec()).await;
    uploader.frame(false, OpCode::Text, b"{\"type\":\"connec".to_vec()).await;
    uploader.frame(true, OpCode::Continuation, b"\xc3\x28\x80".to_vec()).await;
    uploader.frame(true, OpCode::Continuation, b"stray".to_vec()).await;
    uploader.frame(false, OpCode::Text, b"{\"type\":".to_vec()).await;
    uploader.text(json!({"type": "upload_started", "data": {"task_id": "t"}})).await;
    uploader.frame(true, OpCode::Text, b"{\"type\":\"upl\xc3\xa4\" broken".to_vec()).await;
    let started = Report::UploadStarted { task: PublicTaskId::parse("t").unwrap() };
    plane.storage.until(|stored| stored.contains(&(1, started.clone()))).await;
    assert_eq!(uploader.request().await, json!({"type": "status_query"}));
    uploader.ping().await;
    plane.end().await;
}

#[tokio::test]
async fn a_greeting_of_megabytes_is_taken_and_one_beyond_the_limit_is_refused() {
    let settings = LinkSettings { frame_bytes_max: 4 << 20, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, false).await;
    let greeting = |bytes: usize| {
        let message = json!({"type": "connected", "data": {"uploads": [], "waiting_ack_task_ids": ["t"], "pending_count": 3, "padding": "x".repeat(bytes)}});
        serde_json::to_vec(&message).unwrap()
    };
    let mut uploader = plane.transfer().await;
    uploader.frame(true, OpCode::Text, greeting(3 << 20)).await;
    plane.storage.until(|stored| stored.contains(&(1, Report::AcksWanted { tasks: vec![PublicTaskId::parse("t").unwrap()] }))).await;
    assert_eq!(plane.hub().snapshot(&device()).transfer.unwrap().1.pending_count, 3);

    for fragmented in [false, true] {
        let mut uploader = plane.transfer().await;
        let message = greeting(5 << 20);
        let (first, rest) = message.split_at(3 << 20);
        // The server may hang up while we are still writing.
        let _ = if fragmented {
            uploader.frame(false, OpCode::Text, first).await;
            uploader.socket.write_frame(Frame::new(true, OpCode::Continuation, None, rest.to_vec().into())).await
        } else {
            uploader.socket.write_frame(Frame::text(message.into())).await
        };
        assert_eq!(uploader.next(OpCode::Close).await.as_deref(), Some(1009_u16.to_be_bytes().as_slice()));
    }
    plane.end().await;
}

#[tokio::test]
async fn pings_are_answered_while_storage_hangs_and_nothing_is_lost() {
    let plane = Plane::start(Storage::with(0, 2, None)).await;
    let mut recorder = plane.recorder().await;
    for state in ["idle", "ready", "recording"] {
        recorder.state(state, "t").await;
        recorder.ping().await;
    }
    assert_eq!(plane.storage.stored(), []);
    // Storage comes back, fails twice more, and then takes everything, in order.
    plane.storage.permits.add_permits(1000);
    let expected = [(1, RecorderState::Idle), (1, RecorderState::Ready), (1, RecorderState::Recording)];
    plane.storage.until(|stored| observed(stored) == expected).await;
    plane.end().await;
}

#[tokio::test]
async fn a_newer_connection_takes_over_and_the_old_one_is_cut() {
    let plane = Plane::start(Storage::with(0, 0, None)).await;
    let mut old = plane.recorder().await;
    old.request().await;
    old.state("idle", "t").await;
    old.ping().await;
    plane.hub().send_rpc(&device(), 1, rpc("c", Duration::from_secs(60))).unwrap();
    // Storage already works on `idle`; `ready` waits behind it.
    old.state("ready", "t").await;
    old.ping().await;

    let mut new = plane.recorder().await;
    assert_eq!(old.next(OpCode::Close).await, None, "cut without a close frame");
    new.state("recording", "t").await;
    new.ping().await;
    assert_eq!(plane.hub().epoch(&device(), LinkKind::Recorder), Some(2));
    plane.storage.permits.add_permits(1000);

    let reason = "replaced by a newer connection".to_owned();
    let settled = (1, Report::Settled { command_id: "c".to_owned(), outcome: CommandOutcome::not_sent(NotSentCause::LinkClosed, reason) });
    let stored = plane.storage.until(|stored| stored.contains(&settled) && observed(stored).len() == 2).await;
    // What was begun before the takeover is stored; what only waited is not.
    assert_eq!(observed(&stored), [(1, RecorderState::Idle), (2, RecorderState::Recording)]);
    assert!(plane.hub().reaches(&Destination::Recorder(DeviceId::parse(DEVICE).unwrap())));
    plane.end().await;
}

#[tokio::test]
async fn close_frames_are_answered_and_the_connection_closed() {
    let plane = Plane::start(Storage::quick()).await;
    let mut recorder = plane.recorder().await;
    recorder.request().await;
    recorder.frame(true, OpCode::Close, 1000_u16.to_be_bytes().to_vec()).await;
    assert_eq!(recorder.next(OpCode::Close).await.as_deref(), Some(1000_u16.to_be_bytes().as_slice()));
    assert!(recorder.socket.read_frame().await.is_err(), "TCP is closed, too");
    plane.storage.until(|stored| matches!(stored, [.., (1, Report::Closed { .. })])).await;
    assert_eq!(plane.hub().connected(&device()), (false, false));
    plane.end().await;
}

fn impatient() -> LinkSettings {
    let keepalive = Keepalive { ping_interval: Some(Duration::from_millis(150)), pong_timeout: Duration::from_millis(150) };
    LinkSettings { recorder: keepalive, transfer: keepalive, tick: Duration::from_millis(20), ..LinkSettings::default() }
}

#[tokio::test]
async fn a_silent_device_is_pinged_and_then_cut() {
    let plane = Plane::start_with(Storage::quick(), impatient(), false).await;
    let mut uploader = plane.transfer().await;
    assert!(uploader.next(OpCode::Ping).await.is_some());
    // We read, but do not answer.
    assert_eq!(uploader.next(OpCode::Text).await, None);
    let stored = plane.storage.until(|stored| !stored.is_empty()).await;
    assert!(matches!(&stored[..], [(1, Report::Closed { reason })] if reason.starts_with("silent")), "{stored:?}");
    plane.end().await;
}

#[tokio::test]
async fn a_recorder_at_work_on_a_command_may_be_silent() {
    let plane = Plane::start_with(Storage::quick(), impatient(), false).await;
    let mut recorder = plane.recorder().await;
    let asked = recorder.request().await;
    recorder.text(json!({"type": "rpc_response", "request_id": asked["request_id"], "success": true, "data": {"state": "idle"}})).await;
    plane.hub().send_rpc(&device(), 1, rpc("c", Duration::from_millis(200))).unwrap();
    // It times out, and the recorder still has not said a word.
    plane.storage.until(|stored| stored.iter().any(|(_, report)| matches!(report, Report::Settled { .. }))).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(plane.hub().connected(&device()), (true, false));
    recorder
        .text(json!({"type": "rpc_response", "request_id": "c", "success": true, "data": {"state": "recording", "task_id": "t"}}))
        .await;
    plane.storage.until(|stored| stored.iter().filter(|(_, report)| matches!(report, Report::Settled { .. })).count() == 2).await;
    plane.end().await;
}

#[tokio::test]
async fn frames_to_an_uploader_are_confirmed_when_they_left() {
    let plane = Plane::start(Storage::quick()).await;
    let ack = || ToTransfer::UploadAck { task_id: "t".to_owned() };
    assert_eq!(plane.hub().send_transfer(&device(), ack()).await, Err(SendError::NotConnected));
    let mut uploader = plane.transfer().await;
    uploader.ping().await;
    plane.hub().send_transfer(&device(), ack()).await.unwrap();
    assert_eq!(uploader.request().await, json!({"type": "upload_ack", "task_id": "t"}));
    plane.end().await;
}

#[tokio::test]
async fn storage_that_stays_away_ends_a_talkative_link_instead_of_losing_reports() {
    let settings = LinkSettings { reports_max: 4, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::with(0, 0, None), settings, false).await;
    let mut uploader = plane.transfer().await;
    for n in 0..8 {
        let message = json!({"type": "upload_started", "data": {"task_id": format!("t{n}")}});
        if uploader.socket.write_frame(Frame::text(serde_json::to_vec(&message).unwrap().into())).await.is_err() {
            break;
        }
    }
    assert_eq!(uploader.next(OpCode::Close).await, None);
    plane.storage.permits.add_permits(1000);
    let stored = plane.storage.until(|stored| matches!(stored, [.., (1, Report::Closed { .. })])).await;
    assert!(matches!(stored.last(), Some((1, Report::Closed { reason })) if reason.contains("storage")), "{stored:?}");
    plane.end().await;
}

#[tokio::test]
async fn stopping_says_goodbye_and_stores_what_was_told() {
    let plane = Plane::start(Storage::quick()).await;
    let mut recorder = plane.recorder().await;
    recorder.state("idle", "t").await;
    recorder.ping().await;
    let storage = plane.storage.clone();
    let ending = tokio::spawn(plane.end());
    assert_eq!(recorder.next(OpCode::Close).await.as_deref(), Some(1001_u16.to_be_bytes().as_slice()));
    drop(recorder);
    ending.await.unwrap();
    let stored = storage.stored();
    assert!(matches!(stored.last(), Some((1, Report::Closed { .. }))), "{stored:?}");
}

#[tokio::test]
async fn stopping_does_not_wait_for_storage_that_never_answers() {
    let plane = Plane::start(Storage::with(1, usize::MAX, None)).await;
    let mut recorder = plane.recorder().await;
    recorder.state("idle", "t").await;
    recorder.ping().await;
    plane.storage.permits.add_permits(1000);
    plane.devices.shutdown(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn handshakes_are_refused_with_the_reason_people_look_for() {
    let plane = Plane::start(Storage::quick()).await;
    for path in ["/recorder/a%20b", "/recorder/a/b", "/transfer/%C3%A4", "/recorder/", "/transfer/"] {
        assert_eq!(plane.refusal(path, None).await, 400, "{path}");
    }
    plane.end().await;

    let table = [
        (EffectError::NotFound("no robot".to_owned()), 404),
        (EffectError::Unavailable("restarting".to_owned()), 503),
        (EffectError::Failed("broken".to_owned()), 503),
    ];
    for (error, status) in table {
        let plane = Plane::start(Storage::with(0, 0, Some(error))).await;
        assert_eq!(plane.refusal(&format!("/transfer/{DEVICE}"), None).await, status);
        plane.end().await;
    }

    let plane = Plane::start_with(Storage::quick(), LinkSettings::default(), true).await;
    let (recorder, transfer) = (format!("/recorder/{DEVICE}"), format!("/transfer/{DEVICE}"));
    let table = [
        (recorder.clone(), None, 401),
        (recorder.clone(), Some("wrong"), 401),
        (recorder.clone(), Some("secret twice"), 401),
        (recorder.clone(), Some("trouble"), 503),
        (recorder, Some("secret"), 101),
        (transfer, None, 401),
        (format!("/transfer/t/wrong/{DEVICE}"), None, 401),
        (format!("/transfer/t/secret/{DEVICE}"), None, 101),
    ];
    for (path, token, status) in table {
        assert_eq!(plane.refusal(&path, token).await, status, "{path} {token:?}");
    }
    assert_eq!(plane.storage.epochs.load(Ordering::SeqCst), 2, "a refused handshake replaces nobody");
    plane.end().await;
}

#[tokio::test]
async fn beyond_the_limit_of_links_only_those_who_come_back_are_taken() {
    let settings = LinkSettings { links_max: 1, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, false).await;
    let _first = plane.recorder().await;
    assert_eq!(plane.refusal(&format!("/transfer/{DEVICE}"), None).await, 503);
    assert_eq!(plane.refusal("/recorder/another", None).await, 503);
    assert_eq!(plane.refusal(&format!("/recorder/{DEVICE}"), None).await, 101);
    assert_eq!(plane.storage.epochs.load(Ordering::SeqCst), 2);
    plane.end().await;
}

#[tokio::test]
async fn connections_that_are_opened_again_and_again_cost_a_bounded_number_of_events() {
    let settings = LinkSettings { openings: Limit { at_once: 3.0, per_second: 1e-6 }, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, false).await;
    let recorder = format!("/recorder/{DEVICE}");
    for expected in [101, 101, 101, 503, 503] {
        assert_eq!(plane.refusal(&recorder, None).await, expected);
    }
    assert_eq!(plane.storage.epochs.load(Ordering::SeqCst), 3);
    assert_eq!(plane.refusal(&format!("/transfer/{DEVICE}"), None).await, 101);
    plane.end().await;

    // A handshake that is refused costs none, and takes nothing from the device.
    let settings = LinkSettings { openings: Limit { at_once: 1.0, per_second: 1e-6 }, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, true).await;
    for (token, expected) in [("wrong", 401), ("trouble", 503), ("secret", 101), ("secret", 503)] {
        assert_eq!(plane.refusal(&recorder, Some(token)).await, expected);
    }
    plane.end().await;
}

#[tokio::test]
async fn a_device_that_connects_again_and_again_has_to_wait() {
    let settings = LinkSettings { handshakes: Limit { at_once: 2.0, per_second: 1e-6 }, ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, false).await;
    let recorder = format!("/recorder/{DEVICE}");
    // The first is not remembered yet.
    for expected in [101, 101, 101, 503, 503] {
        assert_eq!(plane.refusal(&recorder, None).await, expected);
    }
    // Its other program is another matter, and so are other devices.
    assert_eq!(plane.refusal(&format!("/transfer/{DEVICE}"), None).await, 101);
    assert_eq!(plane.refusal("/recorder/another", None).await, 101);
    plane.end().await;
}

fn closed(stored: &[(i64, Report)]) -> Vec<i64> {
    stored.iter().filter(|(_, report)| matches!(report, Report::Closed { .. })).map(|(epoch, _)| *epoch).collect()
}

#[tokio::test]
async fn a_connection_that_was_opened_too_late_for_its_device_is_closed_again() {
    let settings = LinkSettings { handshake_timeout: Duration::from_millis(100), ..LinkSettings::default() };
    let plane = Plane::start_with(Storage::quick(), settings, false).await;
    plane.storage.openings.forget_permits(Semaphore::MAX_PERMITS);
    assert_eq!(plane.refusal(&format!("/recorder/{DEVICE}"), None).await, 503);
    assert_eq!(plane.storage.epochs.load(Ordering::SeqCst), 1, "it is stored, and nobody knows it");
    plane.storage.openings.add_permits(1000);
    plane.storage.until(|stored| closed(stored) == [1]).await;
    assert!(!plane.hub().has(&device(), LinkKind::Recorder));
    let _back = plane.recorder().await;
    plane.end().await;
}

#[tokio::test]
async fn a_connection_whose_device_left_during_the_handshake_is_closed_again() {
    let plane = Plane::start(Storage::quick()).await;
    for (path, epoch) in [(format!("/recorder/{DEVICE}"), 1), (format!("/transfer/{DEVICE}"), 2)] {
        plane.storage.openings.forget_permits(Semaphore::MAX_PERMITS);
        let asking = tokio::spawn({
            let address = plane.address;
            async move { Client::connect(address, &path, None).await.map(|_| ()) }
        });
        while plane.storage.epochs.load(Ordering::SeqCst) < epoch {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asking.abort();
        let _aborted = asking.await;
        // The server hears of it a moment later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        plane.storage.openings.add_permits(1000);
        plane.storage.until(|stored| closed(stored).contains(&epoch)).await;
    }
    assert_eq!(plane.hub().link_count(), 0);
    plane.end().await;
}

#[derive(Clone, Debug)]
enum Op {
    /// A handshake: storage gives it the next epoch.
    Open,
    /// One of the handshakes so far, by turns, enters the hub.
    Enter(usize),
    /// One of the links says something.
    Tell(usize),
    /// The worker of one of the links stores one report.
    Store(usize),
    /// One of the links is lost.
    Lose(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Open),
        3 => any::<usize>().prop_map(Op::Enter),
        6 => any::<usize>().prop_map(Op::Tell),
        6 => any::<usize>().prop_map(Op::Store),
        1 => any::<usize>().prop_map(Op::Lose),
    ]
}

struct Played {
    lane: Arc<super::hub::Lane>,
    reports: ReportQueue,
    worker: ReportWriter,
}

proptest! {
    /// However old and new connections take turns: nothing that counts only while its
    /// connection is current is begun after a newer one entered, and outcomes always are.
    #[test]
    fn a_replaced_connection_begins_nothing(ops in prop::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (hub, storage) = (Hub::new(), Storage::quick());
            let mut waiting = vec![];
            let mut links: BTreeMap<i64, Played> = BTreeMap::new();
            let (mut newest, mut told, mut next_epoch) = (0, 0, 0);
            for op in ops {
                match op {
                    Op::Open => {
                        next_epoch += 1;
                        waiting.push(next_epoch);
                    }
                    Op::Enter(n) if !waiting.is_empty() => {
                        let epoch = waiting.remove(n % waiting.len());
                        let id = LinkId { device: device(), kind: LinkKind::Recorder, epoch, remote: String::new() };
                        let entered = hub.enter(id.clone(), Now::read(), mpsc::channel(1).0);
                        prop_assert_eq!(entered.is_ok(), epoch > newest);
                        if let Ok(lane) = entered {
                            newest = epoch;
                            let (reports, worker) =
                                queue::report_queue(id, 1000, storage.clone(), lane.replaced.clone(), CancellationToken::new());
                            links.insert(epoch, Played { lane, reports, worker });
                        }
                    }
                    Op::Tell(n) if !links.is_empty() => {
                        let link = links.values().nth(n % links.len()).unwrap();
                        told += 1;
                        let outcome = CommandOutcome::Unknown { reason: String::new(), cause: None };
                        let bound = Report::Observed { state: RecorderState::Idle, task: None, source: told.to_string() };
                        link.reports.push(bound).unwrap();
                        link.reports.push(Report::Settled { command_id: told.to_string(), outcome }).unwrap();
                    }
                    Op::Store(n) if !links.is_empty() => {
                        let index = n % links.len();
                        let link = links.values_mut().nth(index).unwrap();
                        let before = storage.stored().len();
                        // Nothing to store is nothing to wait for.
                        let _ = tokio::time::timeout(Duration::ZERO, link.worker.step()).await;
                        for (epoch, report) in &storage.stored()[before..] {
                            prop_assert!(report.outlives_its_link() || *epoch == newest, "{:?} of {} while {} is current", report, epoch, newest);
                        }
                    }
                    Op::Lose(n) if !links.is_empty() => {
                        let link = links.values().nth(n % links.len()).unwrap();
                        hub.leave(&link.lane);
                    }
                    _ => {}
                }
            }
            for (_, link) in std::mem::take(&mut links) {
                drop(link.reports);
                link.worker.run().await;
            }
            let settled = storage.stored().iter().filter(|(_, report)| report.outlives_its_link()).count();
            prop_assert_eq!(settled, told);
            Ok(())
        })?;
    }
}
