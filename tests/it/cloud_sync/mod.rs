//! Cloud sync, with a real database, the S3 store of this server, and a simulated cloud that checks signatures and checksums. Workers are those of
//! the server; one that is killed is dropped where it stands, and its rows come back when its lease is over.

mod asked;
mod copies;
mod cuts;
mod gateway;
mod in_between;
mod left_behind;
mod must_not;
mod stores;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keystone_edge::certificates::{Certificates, Keyring, SigningKey};
use keystone_edge::cloud::gateway::{GatewayCloud, GatewaySettings};
use keystone_edge::cloud::s3::{S3Cloud, S3Settings};
use keystone_edge::cloud::{Pace, Room};
use keystone_edge::commands::Context;
use keystone_edge::commands::bulk_runs::{Piece, WorkOnBulkRun};
use keystone_edge::commands::registry::{BindAsset, UnbindAsset};
use keystone_edge::commands::sync::QueueSync;
use keystone_edge::config::Secret;
use keystone_edge::dispatcher::{Backoff, DeliverySettings};
use keystone_edge::domain::bulk_run::BulkAction;
use keystone_edge::domain::episode::RunMode;
use keystone_edge::domain::sync::{CloudName, Limits, SyncReason};
use keystone_edge::domain::{EpisodeId, RobotId};
use keystone_edge::http::SyncSettings;
use keystone_edge::projections::reads::Reads;
use keystone_edge::qa::Ran;
use keystone_edge::simulator::cloud::{Cloud, CloudFaults, CloudReport, ObjectReport};
use keystone_edge::subscribers::cloud_queue::CloudQueue;
use keystone_edge::subscribers::cloud_sync::{CloudSync, Clouds, RetryTerms, SyncTerms};
use rand::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bulk_qa::runs;
use crate::data_ops::with_episodes;
use crate::harness::bench::Recording;
use crate::harness::edge::TestEdge;
use crate::harness::{simulated_cloud, temp_folder, until};
use crate::judging::{TOPICS, recorded};
use crate::outbox::{Running, dispatch, number, settings};

const PART: u64 = 5 << 20;
const LEASE: Duration = Duration::from_millis(1500);

pub fn small() -> Recording {
    recorded(&TOPICS, 5)
}

/// Of about so many bytes that no codec makes fewer.
pub fn large(mib: usize) -> Recording {
    let start = u64::try_from(chrono::Utc::now().timestamp_nanos_opt().expect("a time")).expect("after 1970") - 6_000_000_000;
    let mut writer = mcap::WriteOptions::new().profile("ros2").library("test").create(std::io::Cursor::new(vec![])).expect("a writer");
    let schema = writer.add_schema("geometry_msgs/msg/Pose", "ros2msg", b"float64 x").expect("a schema");
    let none = std::collections::BTreeMap::new();
    let channels: Vec<u16> = TOPICS.iter().map(|topic| writer.add_channel(schema, topic, "cdr", &none).expect("a channel")).collect();
    let mut random = rand::rngs::StdRng::seed_from_u64(start);
    let mut data = vec![0; mib * (1 << 20) / (51 * TOPICS.len())];
    for step in 0..=50_u64 {
        for channel in &channels {
            random.fill_bytes(&mut data);
            let log_time = start + step * 100_000_000;
            let header = mcap::records::MessageHeader { channel_id: *channel, sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &data).expect("a message");
        }
    }
    writer.finish().expect("an end");
    let mcap = writer.into_inner().into_inner();
    let messages = 51 * TOPICS.len() as u64;
    let summary: Vec<Value> = TOPICS.iter().map(|topic| json!({ "topic": topic, "message_count": 51 })).collect();
    let recording = json!({ "message_count": messages, "topics_recorded": TOPICS, "duration_sec": 5 });
    Recording::of(mcap, Some(json!({ "recording": recording, "topics_summary": summary }).to_string().into_bytes()))
}

pub struct Site {
    pub edge: TestEdge,
    pub cloud: Cloud,
    pub episodes: Vec<EpisodeId>,
    pub recordings: Vec<Recording>,
    pub terms: SyncTerms,
    /// Of certificates; none: there are none.
    pub signing: Option<String>,
    /// Where recordings go.
    pub clouds: Vec<CloudName>,
    /// The configuration of the data platform.
    pub config: PathBuf,
    /// Of the cloud, and of its configuration.
    folders: [TempDir; 2],
}

/// What the simulated gateway wants parts to have.
pub const GATEWAY_PART: u64 = 1 << 20;
pub const ASSETS: [&str; 2] = ["asset-7", "asset-8"];

pub fn terms() -> SyncTerms {
    let retry = RetryTerms { backoff: Backoff::exponential(Duration::from_millis(20), Duration::from_millis(200)), jitter: None };
    SyncTerms { retry, limits: Limits { deadline_ms: Some(600_000), attempts_max: None } }
}

impl Site {
    /// A site whose episodes are approved, and a cloud that has nothing of them.
    pub async fn with(recordings: Vec<Recording>) -> Self {
        Self::to(&[CloudName::S3], recordings).await
    }

    /// The same, whose recordings go to these clouds. Its robots are bound to the first asset.
    pub async fn to(clouds: &[CloudName], recordings: Vec<Recording>) -> Self {
        let site = Self::unapproved_to(clouds, recordings).await;
        site.bind(Some(ASSETS[0])).await;
        for episode in site.episodes.clone() {
            site.approve(episode).await;
        }
        site
    }

    pub async fn unapproved(recordings: Vec<Recording>) -> Self {
        Self::unapproved_to(&[CloudName::S3], recordings).await
    }

    async fn unapproved_to(clouds: &[CloudName], recordings: Vec<Recording>) -> Self {
        let clouds = clouds.to_vec();
        let configs = temp_folder();
        let config = configs.path().join("platform.json");
        let (cloud, folder) = simulated_cloud(|options| {
            options.devices = ASSETS.map(|asset| format!("{asset}:key-of-{asset},site=上海").parse().unwrap()).to_vec();
            options.part_size = i64::try_from(GATEWAY_PART).unwrap();
            options.key_prefix = "工厂 1/a+b/".to_owned();
            options.write_config = Some(config.clone());
        })
        .await;
        let platform = clouds.contains(&CloudName::Gateway).then(|| config.clone());
        let named = clouds.clone();
        let edge = TestEdge::start_with(|settings| {
            settings.sync =
                SyncSettings { clouds: named, platform, deadline: Some(Duration::from_secs(600)), at_once: 2, ..SyncSettings::default() };
        })
        .await;
        with_episodes(&edge, &recordings).await;
        let rows = edge.database.pool.get().await.unwrap().query("select id from episodes order by id", &[]).await.unwrap();
        let episodes = rows.iter().map(|row| EpisodeId(row.get(0))).collect();
        Self { edge, cloud, episodes, recordings, terms: terms(), signing: None, clouds, config, folders: [folder, configs] }
    }

    pub async fn approve(&self, episode: EpisodeId) {
        match runs(&self.edge).run(&Context::system(), episode, &format!("auto/{episode}"), RunMode::Auto).await.expect("a run") {
            Ran::Ended(_) => {}
            Ran::Waits(_) => panic!("nothing is asked elsewhere"),
        }
        let status = self.episode(episode).await["qa_status"].clone();
        assert_eq!(status, "approved");
    }

    pub async fn reopen(&self, episode: EpisodeId) {
        let (status, said) =
            self.edge.post(&format!("/api/v1/inspection/episodes/{episode}/reopen"), json!({"reason": "look again"})).await;
        assert_eq!(status, 204, "{said}");
    }

    pub fn s3(&self, change: impl FnOnce(&mut S3Settings)) -> S3Settings {
        let addresses = self.cloud.addresses();
        let mut settings = S3Settings {
            endpoint: addresses.s3_endpoint(),
            bucket: "keystone-cloud".into(),
            region: "us-east-1".into(),
            access_key: "simulated-cloud".into(),
            secret_key: Secret::new("simulated-cloud-secret"),
            prefix: "edge-test/".into(),
            request_timeout: Duration::from_secs(20),
            part_bytes: PART,
            parts_at_once: 3,
            sidecar_bytes_max: 4 << 20,
            receiver: Some((format!("http://{}", addresses.receiver), None)),
        };
        change(&mut settings);
        settings
    }

    /// As it is read anew by each worker: what a worker has in its hands, only it has.
    pub fn gateway(&self) -> GatewaySettings {
        GatewaySettings {
            config: self.config.clone(),
            call_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            parts_at_once: 2,
            sidecar_bytes_max: 4 << 20,
            restarts_max: 3,
        }
    }

    /// Binds the robot to an asset, which is not looked up anywhere, or to none.
    pub async fn bind(&self, asset: Option<&str>) {
        let robot_id = RobotId(self.number("select id from robots").await);
        let bound = match asset {
            Some(asset) => self.edge.commands.execute(&Context::system(), BindAsset { robot_id, asset_id: asset.to_owned() }).await,
            None => self.edge.commands.execute(&Context::system(), UnbindAsset(robot_id)).await,
        };
        bound.expect("bound");
    }

    fn keys(&self) -> Option<Keyring> {
        self.signing.as_ref().map(|pem| Keyring::new(SigningKey::of_pem(pem).expect("a key"), vec![]))
    }

    pub fn worker(&self, name: &str) -> Running {
        self.worker_with(name, |_| {}, None)
    }

    /// The clouds of the site, as a process of its own reaches them.
    pub fn reached(&self, change: impl FnOnce(&mut S3Settings), bytes_per_s: Option<u64>) -> Clouds {
        let (pace, room) = (Pace::of(bytes_per_s), Room::of(48 << 20));
        let s3 = S3Cloud::new(self.s3(change), pace.clone(), room.clone()).expect("a cloud");
        let gateway = GatewayCloud::new(self.gateway(), pace, room).expect("a gateway");
        let mut clouds = Clouds::from([(CloudName::S3, Arc::new(s3) as _), (CloudName::Gateway, Arc::new(gateway) as _)]);
        clouds.retain(|name, _| self.clouds.contains(name));
        clouds
    }

    pub fn worker_with(&self, name: &str, change: impl FnOnce(&mut S3Settings), bytes_per_s: Option<u64>) -> Running {
        let clouds = self.reached(change, bytes_per_s);
        let reads = Reads::new(self.edge.database.pool.clone());
        let certificates = Certificates::new(reads.clone(), self.keys());
        let sync = CloudSync::new(self.edge.commands.clone(), reads, self.edge.objects.blobs.clone(), certificates, clouds, self.terms);
        dispatch(&self.edge.database.pool, Arc::new(sync), delivery(), name)
    }

    /// What puts approved episodes into the queue, and takes them out.
    pub fn queue_worker(&self, auto_scan: bool) -> Running {
        let reads = Reads::new(self.edge.database.pool.clone());
        let queue = CloudQueue::new(self.edge.commands.clone(), reads, self.clouds.clone(), auto_scan);
        dispatch(&self.edge.database.pool, Arc::new(queue), settings(), "queue")
    }

    pub async fn queue(&self, episode: EpisodeId) -> i64 {
        let queue = QueueSync { episode, reason: SyncReason::Manual, clouds: self.clouds.clone() };
        self.edge.commands.execute(&Context::system(), queue).await.expect("queued").0
    }

    pub async fn queue_all(&self) {
        for episode in self.episodes.clone() {
            self.queue(episode).await;
        }
    }

    pub async fn episode(&self, id: EpisodeId) -> Value {
        let (status, episode) = self.edge.get(&format!("/api/v1/episodes/{id}")).await;
        assert_eq!(status, 200, "{episode}");
        episode
    }

    pub async fn status(&self, id: EpisodeId) -> Value {
        let (status, told) = self.edge.get(&format!("/api/v1/sync/episodes/{id}/status")).await;
        assert_eq!(status, 200, "{told}");
        told
    }

    pub async fn logs(&self, id: EpisodeId) -> Vec<Value> {
        let (status, told) = self.edge.get(&format!("/api/v1/sync/episodes/{id}/logs")).await;
        assert_eq!(status, 200, "{told}");
        told["items"].as_array().expect("logs").clone()
    }

    pub async fn until_status(&self, id: EpisodeId, wanted: &str) -> Value {
        until(&format!("episode {id} is {wanted}"), async || self.status(id).await["status"] == wanted).await;
        self.status(id).await
    }

    pub async fn until_synced(&self) {
        for episode in self.episodes.clone() {
            self.until_status(episode, "completed").await;
        }
    }

    pub async fn number(&self, sql: &str) -> i64 {
        number(&self.edge.database.pool, sql).await
    }

    /// Until no run of cloud sync is left.
    pub async fn work_on_bulk_runs(&self) {
        let lease = Duration::from_secs(30);
        while let Some(run) = self.edge.commands.claim_bulk_run("a test", lease, Some(BulkAction::BulkSync)).await.unwrap() {
            loop {
                let next = WorkOnBulkRun { run: run.clone(), lease, items_max: 1, clouds: self.clouds.clone(), given_up: None };
                match self.edge.commands.execute(&run.context(), next).await.unwrap() {
                    Piece::Done { .. } => {}
                    Piece::Over => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    pub fn faults(&self, change: impl FnOnce(&mut CloudFaults)) {
        let mut faults = CloudFaults::default();
        change(&mut faults);
        self.cloud.set_faults(faults);
    }

    pub async fn report(&self) -> CloudReport {
        self.cloud.report().await.expect("a report")
    }

    /// What the cloud has of the recording of an episode.
    pub async fn object(&self, nth: usize) -> Option<ObjectReport> {
        let path = self.episode(self.episodes[nth]).await["mcap_path"].as_str().expect("a path").to_owned();
        let key = format!("edge-test/{}", path.split_once('/').expect("a bucket").1);
        self.report().await.objects.into_iter().find(|object| object.key == key)
    }

    /// All recordings are there, byte for byte, each was completed once, nothing is left unfinished, and the receiver knows each.
    pub async fn assert_all_there_once(&self) {
        let report = self.report().await;
        assert!(report.unfinished.is_empty(), "{:?}", report.unfinished);
        for (nth, recording) in self.recordings.iter().enumerate() {
            let object = self.object(nth).await.unwrap_or_else(|| panic!("nothing of episode {nth}"));
            assert_eq!((object.sha256.as_deref(), object.completed), (Some(&*recording.sha256), 1), "{object:?}");
            let episode = self.episode(self.episodes[nth]).await;
            assert_eq!((&episode["cloud_synced"], &episode["sync_status"]), (&json!(true), &json!("completed")), "{episode}");
            assert_eq!(episode["cloud_mcap_path"], object.key);
            let told: Vec<_> = report.episodes.iter().filter(|told| told.episode_id == episode["episode_id"]).collect();
            assert_eq!(told.len(), 1);
            assert_eq!((&told[0].first["sha256"], &told[0].first["mcap_key"]), (&json!(recording.sha256), &json!(object.key)));
        }
    }
}

/// The address of a service that takes no episode, with what it says to each.
pub async fn refusing_receiver(says: &'static str) -> String {
    let refuses = axum::Router::new().fallback(async move || (axum::http::StatusCode::UNPROCESSABLE_ENTITY, says));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, refuses).await });
    format!("http://{address}")
}

pub fn delivery() -> DeliverySettings {
    DeliverySettings { concurrency: 2, attempts_max: None, lease: LEASE, timeout: Duration::from_secs(60), ..settings() }
}

/// Ends at once, with whatever it does.
pub async fn kill(running: Running) {
    running.task.abort();
    let ended = running.task.await;
    assert!(ended.is_err(), "it was killed");
}
