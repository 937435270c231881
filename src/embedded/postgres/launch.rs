//! Launching the server, and its settings.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::Instant;

use super::error::{EmbeddedPostgresError as Error, io_at, tail};
use super::home::Home;
use super::keeper::{Keeper, die_with_us};
use super::options::Options;
use super::programs::Programs;
use super::signals::LOOK_INTERVAL;
use crate::embedded::create_private;

/// After a crash the cluster replays its log before it answers; with the settings
/// below that is seconds, on a slow disk a few minutes.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// For a port that was taken, and for sessions that outlived their server.
const START_ATTEMPTS: u32 = 20;
const START_RETRY: Duration = Duration::from_millis(250);

/// What differs from Postgres' own defaults, and why.
const SETTINGS: &[(&str, &str)] = &[
    // Accepted means durable.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("max_connections", "100"),
    // A robot's history is small; the hot tables fit, the rest is the system's cache.
    ("shared_buffers", "256MB"),
    ("work_mem", "16MB"),
    // Fewer checkpoints, spread out, so that no minute of the day is slow.
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "10min"),
    ("wal_compression", "on"),
    // No replica follows this cluster; an operator who wants that brings a database.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    // The outbox is updated all the time: vacuum small and often.
    ("autovacuum_naptime", "10s"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("password_encryption", "scram-sha-256"),
];

impl Home {
    /// Launches the server, on a free port where none is given, and waits out what passes by itself.
    pub(super) async fn serve(&self, programs: &Programs, options: &Options, given: Option<u16>) -> Result<(Child, Keeper, u16), Error> {
        let mut attempts = START_ATTEMPTS;
        loop {
            let port = match given {
                Some(port) => port,
                None => self.port()?,
            };
            attempts -= 1;
            let error = match self.launch(programs, port, options).await {
                Ok((child, keeper)) => return Ok((child, keeper, port)),
                Err(error) => error,
            };
            match &error {
                // Taken by another process between our look and Postgres' own bind.
                Error::NotStarted { tail, .. } if attempts > 0 && given.is_none() && tail.contains("could not bind") => {
                    self.forget_port();
                }
                // Its server was killed, and the processes of its sessions have not noticed yet.
                Error::NotStarted { tail, .. }
                    if attempts > 0 && (tail.contains("shared memory block") || tail.contains("could not bind")) =>
                {
                    tokio::time::sleep(START_RETRY).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn launch(&self, programs: &Programs, port: u16, options: &Options) -> Result<(Child, Keeper), Error> {
        let log_path = self.log();
        // Kept for one start: what went wrong the last time is in the older file.
        let _ = fs::rename(&log_path, self.dir.join("postgres.log.1"));
        let log = create_private(&log_path).map_err(io_at(&log_path))?;
        let mut command = self.command(&programs.bin.join("postgres"));
        command.arg("-D").arg(&self.data);
        let own = [
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), port.to_string()),
            // A socket's path is limited to about a hundred bytes, ours is not.
            ("unix_socket_directories".to_owned(), String::new()),
        ];
        let fixed = SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        for (name, value) in fixed.chain(own).chain(options.settings.iter().cloned()) {
            let mut argument = OsString::from(name);
            argument.push("=");
            argument.push(value);
            command.arg("-c").arg(argument);
        }
        command
            .stdout(log.try_clone().map_err(io_at(&log_path))?)
            .stderr(log)
            // Out of our group, so that Ctrl-C in a terminal reaches us alone and the
            // cluster goes last.
            .process_group(0);
        if !options.outliving {
            die_with_us(&mut command);
        }
        let (mut child, keeper) = Keeper::spawn(command).await.map_err(io_at(&programs.bin))?;
        let pid = child.id();

        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if pid.is_some_and(|pid| self.state(pid as i32).as_deref() == Some("ready")) {
                return Ok((child, keeper));
            }
            let ended = child.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                let _ = child.start_kill();
                return Err(Error::NotStarted { tail: tail(&log_path), log: log_path });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The server writes its pid as the first and its state as the eighth line of its
    /// pid file; a file of an earlier server may still be there.
    pub(super) fn state(&self, pid: i32) -> Option<String> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines().map(str::trim);
        let ours = lines.next() == Some(pid.to_string().as_str());
        lines.nth(6).filter(|_| ours).map(str::to_owned)
    }
}
