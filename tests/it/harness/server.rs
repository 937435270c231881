//! The real program as a child process, on ports that stay the same over its lives.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keystone_edge::config::{Config, Secret};
use keystone_edge::pg::Connector;
use keystone_edge::simulator::factory::Workplace;
use keystone_edge::simulator::{Faults, RecordingProfile, Robot, RobotConfig, StoreConfig};
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};

use super::free_ports;

pub const PASSWORD: &str = "a password for the test";
/// Short, so that what a dead worker held comes back within a test.
pub const LEASE: Duration = Duration::from_secs(3);

pub struct Server {
    pub folder: PathBuf,
    pub host: String,
    pub ports: [u16; 4],
    /// Settings beside those that every test needs.
    pub settings: Vec<(&'static str, String)>,
    /// A program that runs ours, with its arguments: another umask, another network.
    pub through: Vec<String>,
    pub program: String,
    child: Option<Child>,
    /// It was ready once; its ports stay.
    served: bool,
}

impl Server {
    pub fn new(folder: &Path) -> Self {
        // Tests ask as fast as they can.
        let limits =
            "requests_per_second_per_login = 1000000\nrequests_per_second_per_address = 1000000\nexports_per_minute_per_login = 1000000";
        let settings = format!("[outbox.defaults]\nlease_ms = {}\n[limits]\n{limits}\n", LEASE.as_millis());
        std::fs::write(folder.join("keystone.toml"), settings).expect("a settings file");
        Self {
            folder: folder.to_owned(),
            host: "127.0.0.1".to_owned(),
            ports: free_ports(),
            settings: vec![],
            through: vec![],
            program: env!("CARGO_BIN_EXE_keystone").to_owned(),
            child: None,
            served: false,
        }
    }

    /// One of several processes that share a database and an object store.
    pub fn sharing(folder: &Path, database: &Secret, s3_endpoint: &str) -> Self {
        let mut server = Self::new(folder);
        server.settings = vec![
            ("KEYSTONE_DATABASE_URL", database.expose().to_owned()),
            ("KEYSTONE_S3_ENDPOINT", s3_endpoint.to_owned()),
            ("KEYSTONE_JWT_SECRET", "one secret for all processes of this test".to_owned()),
        ];
        let settings = std::fs::read_to_string(folder.join("keystone.toml")).expect("the settings file");
        let lease = format!("{settings}[devices]\nprocess_lease_ms = 1500\n");
        std::fs::write(folder.join("keystone.toml"), lease).expect("a settings file");
        server
    }

    pub fn address(&self, n: usize) -> String {
        format!("{}:{}", self.host, self.ports[n])
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address(0))
    }

    /// The settings of this server and of commands beside it; the later ones count.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let of_all = [
            ("KEYSTONE_BIND_ADDR", self.address(0)),
            ("KEYSTONE_RECORDER_BIND", self.address(1)),
            ("KEYSTONE_TRANSFER_BIND", self.address(2)),
            ("KEYSTONE_EMBEDDED_S3_BIND", self.address(3)),
            ("KEYSTONE_DATA_DIR", self.folder.join("data").display().to_string()),
            ("KEYSTONE_S3_ACCESS_KEY", "test".to_owned()),
            ("KEYSTONE_S3_SECRET_KEY", "test-secret".to_owned()),
            ("KEYSTONE_ADMIN_PASSWORD", PASSWORD.to_owned()),
            ("KEYSTONE_LOG", std::env::var("KEYSTONE_LOG").unwrap_or_else(|_| "info".to_owned())),
        ];
        of_all.into_iter().chain(self.settings.clone()).collect()
    }

    /// The program with this server's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.through.iter().map(String::as_str).chain([self.program.as_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        // What is set for the tests, or for the developer's own server, is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KEYSTONE_") && name != "KEYSTONE_PG_BIN" {
                command.env_remove(name);
            }
        }
        command.args(words).args(["--config", "keystone.toml"]).args(arguments).current_dir(&self.folder).envs(self.environment());
        command
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// With arguments of `serve`.
    pub fn start_with(&mut self, arguments: &[&str]) {
        let file = |name: &str| std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(name)).expect("a file");
        let mut command = self.command(&[&["serve"], arguments].concat());
        self.child = Some(command.stdin(Stdio::null()).stdout(file("said")).stderr(file("log")).spawn().expect("the program starts"));
    }

    /// A command beside the server: its exit code, and all it said.
    pub async fn tool(&self, arguments: &[&str]) -> (i32, String) {
        let output = tokio::process::Command::from(self.command(arguments)).output().await.expect("the program starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
    }

    /// Waits until the program ends by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("a running server");
        tokio::task::spawn_blocking(move || child.wait()).await.expect("a wait").expect("its end")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        crate::harness::signal(i32::try_from(self.pid()).expect("a pid"), signal);
    }

    pub async fn ready(&mut self) {
        let http = reqwest::Client::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().expect("a child")) {
                // Somebody else took a port between our look and the start.
                if !self.served && self.tail().contains("cannot listen on") {
                    self.ports = free_ports();
                    std::fs::write(self.folder.join("log"), "").expect("an empty log");
                    self.start();
                    continue;
                }
                panic!("the server ended with {ended}:\n{}", self.tail());
            }
            let answer = http.get(format!("{}/api/v1/ready", self.base())).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                self.served = true;
                return;
            }
            assert!(Instant::now() < deadline, "the server is not ready:\n{}", self.tail());
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Of the server's process; its Postgres is another one.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("SIGKILL");
            child.wait().expect("its end");
        }
    }

    /// Asks for an orderly stop; answers how long it took, if it ended well.
    pub async fn stop(&mut self) -> Duration {
        let (took, ended) = self.asked_to_end(Duration::from_secs(600)).await;
        assert!(ended.success(), "an orderly stop ended with {ended}:\n{}", self.tail());
        took
    }

    /// Asks for an orderly stop; answers how long it took, however it ended.
    pub async fn end(&mut self, within: Duration) -> Duration {
        self.asked_to_end(within).await.0
    }

    async fn asked_to_end(&mut self, within: Duration) -> (Duration, std::process::ExitStatus) {
        let started = Instant::now();
        crate::harness::signal(i32::try_from(self.pid()).expect("a pid"), nix::sys::signal::Signal::SIGTERM);
        loop {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().expect("a child")) {
                self.child = None;
                return (started.elapsed(), ended);
            }
            assert!(started.elapsed() < within, "it did not end within {within:?}:\n{}", self.tail());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it printed, over all its lives.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    pub fn forget_said(&self) {
        std::fs::write(self.folder.join("said"), "").expect("an empty file");
    }

    /// Waits for the greeting, which comes last.
    pub async fn greeted(&self) {
        crate::harness::until("a greeting", async || self.said().contains("Password")).await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub async fn database(&self) -> deadpool_postgres::Pool {
        self.connector().pool().expect("a pool")
    }

    /// The same for statements that take their time.
    #[allow(dead_code, reason = "one benchmark fills tables")]
    pub fn unhurried_database(&self) -> deadpool_postgres::Pool {
        self.connector().unhurried().pool().expect("a pool")
    }

    fn connector(&self) -> Connector {
        let url = std::fs::read_to_string(self.folder.join("data/secrets/database_url")).expect("the server's database");
        Connector::new(&Secret::new(url.trim()), &Config::defaults().database).expect("a connector")
    }

    /// Where devices upload to.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            endpoint: format!("http://{}", self.address(3)),
            bucket: Config::defaults().s3.bucket,
            region: "us-east-1".to_owned(),
            access_key: "test".to_owned(),
            secret_key: "test-secret".to_owned(),
            part_bytes: StoreConfig::PART_BYTES,
        }
    }

    pub fn robot(&self, place: &Workplace, factory_id: i64, seed: u64) -> Robot {
        Robot::start(self.robot_config(place, factory_id, seed)).expect("a robot")
    }

    pub fn robot_config(&self, place: &Workplace, factory_id: i64, seed: u64) -> RobotConfig {
        RobotConfig {
            device_id: place.device_id.clone(),
            factory_id: factory_id.to_string(),
            recorder_url: format!("ws://{}/recorder/{}", self.address(1), place.device_id),
            transfer_url: format!("ws://{}/transfer", self.address(2)),
            recorder_token: None,
            store: self.store(),
            data_dir: self.folder.join("robots").join(&place.device_id),
            // Robots come back quickly, so that twenty lives of the server fit into a test.
            pace: 5.0,
            profile: RecordingProfile::small(2304),
            // A server that is away is not the robot's fault; it goes on trying.
            attempts_max: 1000,
            seed,
            faults: Faults::default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
