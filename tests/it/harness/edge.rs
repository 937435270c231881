//! The REST edge on a free port, over a database and objects of its own, with devices that
//! the test arranges: what a real one would do is the business of other tests.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use keystone_edge::certificates::{Certificates, Keyring, LogSigner, SigningKey};
use keystone_edge::commands::access_records::access_records;
use keystone_edge::commands::callbacks::CallbackTokens;
use keystone_edge::commands::inspection::InspectionTerms;
use keystone_edge::commands::outside_jobs::OutsideLease;
use keystone_edge::commands::{Commands, Context, waits};
use keystone_edge::devices::hub::{Ask, Lane};
use keystone_edge::devices::session::Now;
use keystone_edge::devices::wire::{RpcResponse, ToTransfer};
use keystone_edge::devices::{Hub, LinkId, QueryError, RecorderView};
use keystone_edge::domain::device::{LinkKind, RecorderState};
use keystone_edge::domain::episode::Levels;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::eventstore::EventStore;
use keystone_edge::http::auth::passwords::hash_of;
use keystone_edge::http::endpoints::{Endpoint, Endpoints, Store};
use keystone_edge::http::fleet::Fleet;
use keystone_edge::http::objects::Objects;
use keystone_edge::http::{AppState, AuthMode, EdgeSettings, Live, Means, RequestLimits, StreamLimits, SyncSettings, router};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::reads::Reads;
use keystone_edge::qa::{RunSettings, Runs};
use keystone_edge::streams::Signals;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{TestDatabase, TestObjects};

pub struct TestEdge {
    pub base: String,
    pub database: TestDatabase,
    pub objects: TestObjects,
    pub commands: Commands,
    /// Rung by its commands.
    pub wakes: Wakes,
    /// The last position, where the test has a leader.
    pub head: watch::Sender<i64>,
    /// Ends its live streams.
    pub stop: CancellationToken,
    pub devices: ArrangedDevices,
    /// What signs heads of its log, and the key of it.
    pub log: LogSigner,
    pub log_key: String,
    /// The administrator's token.
    pub admin: String,
    client: reqwest::Client,
    routes: axum::Router,
}

pub const DISPLAY_TOKEN: &str = "the-token-of-a-display";
const SECRET: &str = "a secret of this test, long enough";

/// An answer: status, and body as JSON (a string where it is none).
pub type Answer = (u16, Value);

impl TestEdge {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With some settings changed.
    pub async fn start_with(change: impl FnOnce(&mut EdgeSettings)) -> Self {
        Self::start_on(TestDatabase::new().await, change).await
    }

    /// On a database of the test's choice.
    pub async fn start_on(database: TestDatabase, change: impl FnOnce(&mut EdgeSettings)) -> Self {
        let objects = TestObjects::new().await;
        let (wakes, head, stop) = (Wakes::default(), watch::Sender::new(0), CancellationToken::new());
        let commands = Commands::new(EventStore::new(database.pool.clone(), wakes.clone()));
        let devices = ArrangedDevices::default();
        let mut settings = EdgeSettings {
            sync: SyncSettings::default(),
            auth_mode: AuthMode::Strict,
            callbacks_of_known_devices: false,
            jwt_secret: SECRET.into(),
            jwt_issuer: "keystone-edge".into(),
            jwt_lifetime: Duration::from_secs(3600),
            link_lifetime: Duration::from_secs(900),
            viewer_lifetime: Duration::from_secs(14_400),
            lichtblick_url: Some("http://lichtblick.test".into()),
            admin_username: "admin".into(),
            display_token: Some(DISPLAY_TOKEN.into()),
            callback_base_url: "http://edge.test:8080".into(),
            bucket: objects.settings.bucket.clone(),
            body_bytes_max: 1 << 20,
            request_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            device_response_timeout: Duration::from_secs(2),
            qa_timeout: Duration::from_secs(10),
            inspection: InspectionTerms { lease: Duration::from_secs(600), second_share: 0.0, levels: Levels::default() },
            outside: OutsideLease { lease: Duration::from_secs(60), attempts_max: 3 },
            device_finish_timeout: Duration::from_secs(4),
            endpoints: Endpoints {
                recorder: Endpoint { public_url: None, port: 8091, token_required: false },
                transfer: Endpoint { public_url: None, port: 8090, token_required: true },
            },
            store: Store {
                public_url: None,
                port: 9000,
                region: "us-east-1".into(),
                secret_of: Some(Arc::new(|access_key: &str| format!("secret of {access_key}"))),
            },
            secrets: vec!["a secret of this test, long enough".into()],
            registrations_per_minute: 100,
            refusals_per_minute_max: 10,
            // Tests ask as fast as they can.
            requests: RequestLimits::new(1_000_000, 1_000_000, 1_000_000),
            streams: StreamLimits::new(100, 100),
        };
        let hash = hash_of("open sesame").expect("a hash");
        commands.keep_first_admin_password(&hash).await.expect("the administrator's password");
        change(&mut settings);
        let reads = Reads::new(database.pool.clone());
        let live = Live::new(&reads, &commands, settings.device_response_timeout, settings.streams, stop.clone());
        tokio::spawn(live.clone().follow(Signals { head: head.subscribe(), commits: wakes.commits() }));
        let run_settings = RunSettings { timeout: settings.qa_timeout, default_suite: Suite::default(), sidecar_bytes_max: 4 << 20 };
        let runs = Runs::new(commands.clone(), objects.blobs.clone(), run_settings);
        let certificates = Certificates::new(reads.clone(), None);
        let log_key = SigningKey::new_pem().expect("a key");
        let keyring = Keyring::new(SigningKey::of_pem(&log_key).expect("a key"), vec![]);
        let log = Certificates::new(reads.clone(), Some(keyring)).log_signer("keystone-edge/test");
        let state = AppState::new(
            commands.clone(),
            reads,
            Means {
                fleet: Fleet::new(devices.hub.clone()),
                objects: Objects::new(objects.blobs.clone()),
                runs,
                certificates,
                log: log.clone(),
            },
            live,
            settings,
            Arc::new(String::new),
        )
        .expect("a state");
        let (noting, ended_waits) = waits::waits();
        tokio::spawn(ended_waits.note(commands.clone(), stop.clone()));
        let (recording, records) = access_records();
        tokio::spawn(records.write(commands.clone(), stop.clone()));
        let state = state.noting(noting).recording(recording);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("its address"));
        let routes = router(state);
        let service = routes.clone().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });

        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let mut edge =
            Self { base, database, objects, commands, wakes, head, stop, devices, log, log_key, admin: String::new(), client, routes };
        let login = edge.send_as("", "POST", "/api/v1/auth/login", json!({"account": "admin", "password": "open sesame"})).await;
        edge.admin = login.1["access_token"].as_str().expect("the administrator logs in").to_owned();
        edge
    }

    pub fn request(&self, token: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub async fn send_as(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let mut request = self.request(token, method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The same from an address of the test's choice, without a connection.
    pub async fn send_from(&self, address: IpAddr, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let mut request = axum::http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(axum::body::Body::from(body.to_string())).expect("a request");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 4711)));
        let answer = TowerToHyperService::new(self.routes.clone()).call(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send_as(&self.admin, "GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_as(&self.admin, "POST", path, body).await
    }

    /// Creates, and answers the body; anything but 201 fails the test.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    /// One of everything that work needs.
    pub async fn seed(&self) -> Seed {
        let factory = self.create("/api/v1/factories", json!({"name": "Factory Shanghai"})).await["id"].clone();
        let organization = self.create("/api/v1/organizations", json!({"factory_id": factory, "name": "Acme"})).await["id"].clone();
        let scene = self.create("/api/v1/scenes", json!({"factory_id": factory, "name": "kitchen"})).await["id"].clone();
        let subscene = json!({"scene_id": scene, "name": "sink", "initial_scene_layout": "two cups"});
        let subscene = self.create("/api/v1/subscenes", subscene).await["id"].clone();
        let pick = self.create("/api/v1/skills", json!({"slug": "pick"})).await["id"].clone();
        let place = self.create("/api/v1/skills", json!({"slug": "place"})).await["id"].clone();
        let sop = self.create("/api/v1/sops", json!({"slug": "wash", "skill_sequence": [place, pick, place]})).await["id"].clone();
        let robot_type = json!({"name": "Arm", "model": "arm-1", "ros_topics": ["/camera0/rgb"]});
        let robot_type = self.create("/api/v1/robot_types", robot_type).await["id"].clone();
        let robot = json!({"robot_type_id": robot_type.to_string(), "factory_id": factory, "device_id": "AB-F0001-T0001-000001"});
        let robot = self.create("/api/v1/robots", robot).await["id"].clone();
        let collector = json!({"organization_id": organization, "name": "Li", "operator_id": "li", "password": "li's password"});
        let collector = self.create("/api/v1/data_collectors", collector).await["id"].clone();
        let station = self.create("/api/v1/stations", json!({"robot_id": robot, "data_collector_id": collector})).await["id"].clone();
        let order = json!({"organization_id": organization, "scene_id": scene, "name": "Cups", "target_count": 3, "deadline": "2030-01-01T00:00:00Z"});
        let order = self.create("/api/v1/orders", order).await["id"].clone();
        Seed { factory, organization, scene, subscene, sop, robot_type, robot, collector, station, order }
    }

    pub async fn log_in(&self, account: &str, password: &str) -> Answer {
        self.send_as("", "POST", "/api/v1/auth/login", json!({"account": account, "password": password})).await
    }

    /// Where a recorder posts that was configured with this task: `start` or `finish`.
    pub fn callback(&self, which: &str, task: &str, device: &str) -> String {
        callback_path(SECRET, which, task, device)
    }

    pub async fn execute<C: keystone_edge::commands::Command>(&self, command: C) -> C::Answer {
        self.commands.execute(&Context::system(), command).await.expect("the command is done")
    }
}

pub fn callback_path(secret: &str, which: &str, task: &str, device: &str) -> String {
    let (task, device) = (PublicTaskId::parse(task).expect("a task id"), DeviceId::parse(device).expect("a device id"));
    format!("/api/v1/callbacks/{which}?token={}", CallbackTokens::new(secret.as_bytes()).token(&task, &device))
}

/// Ids as they came over the wire.
pub struct Seed {
    pub factory: Value,
    pub organization: Value,
    pub scene: Value,
    pub subscene: Value,
    pub sop: Value,
    pub robot_type: Value,
    pub robot: Value,
    pub collector: Value,
    pub station: Value,
    pub order: Value,
}

impl Seed {
    /// What `POST /batches` takes: numbers where answers have text.
    pub fn batch(&self, quantity: i64) -> Value {
        json!({
            "order_id": number(&self.order), "workstation_id": number(&self.station),
            "task_groups": [{"sop_id": number(&self.sop), "subscene_id": number(&self.subscene), "quantity": quantity}],
        })
    }
}

pub fn number(id: &Value) -> i64 {
    id.as_str().and_then(|text| text.parse().ok()).or(id.as_i64()).expect("an id")
}

/// Devices of this process as the test says they are: it holds the other end of their links.
#[derive(Clone, Default)]
pub struct ArrangedDevices {
    hub: Hub,
    /// What the uploaders were told.
    pub told: Arc<Mutex<Vec<ToTransfer>>>,
}

impl ArrangedDevices {
    /// Both links of a device are there, and this is what its recorder does. It answers when its state is asked for, and nothing else.
    pub fn connect(&self, device: &str, state: &str, task: Option<&str>) {
        let view = RecorderView {
            state: state.parse().ok(),
            previous: Some(RecorderState::Idle),
            task_id: task.map(|task| PublicTaskId::parse(task).expect("a task id")),
            confirmed: true,
            foreign_task: false,
            source: "state_update".into(),
            updated_at: Some(chrono::Utc::now()),
            seen_at: Some(Instant::now()),
            error: None,
        };
        self.hub.show_recorder(&self.link(device, LinkKind::Recorder), view);
        self.link(device, LinkKind::Transfer);
    }

    fn link(&self, device: &str, kind: LinkKind) -> Arc<Lane> {
        let device = DeviceId::parse(device).expect("a device id");
        let epoch = self.hub.newest_epoch(&device, kind) + 1;
        let (asks, asked) = mpsc::channel(16);
        let lane = self.hub.enter(LinkId { device, kind, epoch, remote: "10.0.0.1:4711".into() }, Now::read(), asks).expect("a newer link");
        self.hub.go_live(&lane);
        tokio::spawn(answer(asked, self.told.clone()));
        lane
    }
}

async fn answer(mut asked: mpsc::Receiver<Ask>, told: Arc<Mutex<Vec<ToTransfer>>>) {
    while let Some(ask) = asked.recv().await {
        match ask {
            Ask::Rpc(_) => {}
            Ask::Query { action, answer, .. } => {
                let known = RpcResponse { request_id: String::new(), success: true, message: None, data: None };
                let _ = answer.send(if action == "get_state" { Ok(known) } else { Err(QueryError::TimedOut) });
            }
            Ask::Frame { frame, written } => {
                told.lock().unwrap().push(frame);
                let _ = written.send(());
            }
        }
    }
}
