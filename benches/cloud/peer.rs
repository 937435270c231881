//! `rclone copy`, from the embedded store's endpoint to the sink.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use keystone_edge::simulator::StoreConfig;

use super::site::ticks_of;

pub struct Rclone {
    pub version: String,
}

impl Rclone {
    /// None, and what to do about it, where there is none.
    pub fn find() -> Option<Self> {
        let said = Command::new("rclone").arg("version").output().ok().filter(|said| said.status.success());
        let version = said.and_then(|said| String::from_utf8_lossy(&said.stdout).lines().next().map(str::to_owned));
        if version.is_none() {
            println!("rclone is not installed, and is left out. On Debian and Ubuntu: apt-get install rclone");
        }
        version.map(|version| Self { version })
    }

    /// All that lies under a prefix. Answers the seconds that the program ran, and those of processors that it used.
    pub fn copy(&self, store: &StoreConfig, prefix: &str, sink: SocketAddr, files: usize, parts: usize) -> (f64, f64) {
        let mut command = Command::new("rclone");
        // What is set for another store is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") || name.to_string_lossy().starts_with("RCLONE_") {
                command.env_remove(name);
            }
        }
        let remotes = [("EDGE", store.endpoint.clone()), ("SINK", format!("http://{sink}"))];
        for (name, endpoint) in remotes {
            let settings = [
                ("TYPE", "s3"),
                ("PROVIDER", "Other"),
                ("ENDPOINT", &endpoint),
                ("REGION", &store.region),
                ("ACCESS_KEY_ID", &store.access_key),
                ("SECRET_ACCESS_KEY", &store.secret_key),
                ("NO_CHECK_BUCKET", "true"),
            ];
            for (key, value) in settings {
                command.env(format!("RCLONE_CONFIG_{name}_{key}"), value);
            }
        }
        let numbers = [
            ("--transfers", files.to_string()),
            ("--checkers", files.to_string()),
            ("--s3-upload-concurrency", parts.to_string()),
            ("--s3-chunk-size", "8Mi".to_owned()),
            ("--s3-upload-cutoff", "8Mi".to_owned()),
            ("--retries", "1".to_owned()),
        ];
        for (name, value) in numbers {
            command.arg(name).arg(value);
        }
        let began = std::time::Instant::now();
        let used = ticks_of("/proc/self/stat", true);
        let said = command
            .args(["--config", "", "--quiet", "copy"])
            .arg(format!("edge:{}/{prefix}", store.bucket))
            .arg(format!("sink:rclone/{prefix}"))
            .stdin(Stdio::null())
            .output()
            .expect("rclone starts");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        (began.elapsed().as_secs_f64(), ticks_of("/proc/self/stat", true) - used)
    }
}
