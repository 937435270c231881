//! A private Postgres cluster, started from the binaries installed on this machine.
//!
//! The cluster is a child of this process and ends with it: by a fast shutdown when we
//! stop, by a signal from the kernel when we are killed. Should it survive us anyway,
//! the next start finds it through its own pid file and stops it first. Should it end
//! while we run, [`EmbeddedPostgres::keep_running`] starts it again. A server
//! counts as ours only if that file lies in our folder, names our folder, and the
//! process it names runs there; any other Postgres is none of our business.
//!
//! It listens on a free port of 127.0.0.1, with passwords generated at the first
//! start. The service connects as `keystone`, which owns its database and nothing
//! else. Postgres refuses to run as root, so as root we hand the cluster's folder to
//! an unprivileged user and run it as that.

mod error;
mod home;
mod keeper;
mod launch;
mod left_behind;
mod making;
mod options;
mod programs;
mod signals;

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::Instant;
use tracing::{info, warn};

pub use error::EmbeddedPostgresError;
pub use options::Options;
pub use programs::installed;

use self::error::{EmbeddedPostgresError as Error, STAYS, io_at, tail};
use self::home::Home;
use self::keeper::Keeper;
use self::making::{DATABASE, SERVICE_USER, SUPERUSER, prepare};
use self::programs::Programs;
use self::signals::ENDINGS;
use crate::config::Secret;
use crate::telemetry::chain;

/// So many failed starts in a row are not chance: the process ends, and its supervisor decides.
const FAILED_STARTS_MAX: u32 = 2;

/// Between looks at whether a server that is up was told to stop.
const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// The running cluster. [`EmbeddedPostgres::stop`] shuts it down in order; dropping the
/// handle asks for the same without waiting.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    home: Home,
    programs: Programs,
    options: Options,
    child: Child,
    keeper: Keeper,
    detached: bool,
    pid: i32,
    port: u16,
    url: Secret,
    superuser_url: Secret,
}

impl EmbeddedPostgres {
    /// Starts the cluster in `dir`, which is made at the first start. The caller holds
    /// the data folder's lock, so no other process starts it at the same time.
    pub async fn start(dir: &Path, options: &Options) -> Result<Self, Error> {
        let programs = Programs::find(options.pg_bin.as_deref()).await?;
        let home = Home::prepare(dir)?;
        home.stop_left_behind().await?;
        if !home.data.join("PG_VERSION").exists() {
            home.init(&programs, options).await?;
        }
        home.require_version(&programs)?;
        let (child, keeper, port) = home.serve(&programs, options, None).await?;
        let superuser = home.password(SUPERUSER)?;
        let service = home.password(SERVICE_USER)?;
        let url = |user: &str, password: &Secret, database: &str| {
            Secret::new(format!("postgres://{user}:{}@127.0.0.1:{port}/{database}", password.expose()))
        };
        let pid = child.id().unwrap_or_default() as i32;
        let this = Self {
            programs,
            options: options.clone(),
            child,
            keeper,
            detached: false,
            pid,
            port,
            url: url(SERVICE_USER, &service, DATABASE),
            superuser_url: url(SUPERUSER, &superuser, SUPERUSER),
            home,
        };
        prepare(|database| url(SUPERUSER, &superuser, database), &service).await?;
        info!(postgres.pid = pid, postgres.port = port, "Started Postgres in {}", this.home.data.display());
        Ok(this)
    }

    /// Starts the server again whenever it ends. Comes back when it failed to stay up twice in a row. May be dropped at
    /// any moment; [`EmbeddedPostgres::stop`] ends what is starting then.
    pub async fn keep_running(&mut self) -> Error {
        let mut failed = 0;
        let mut started: Option<Instant> = None;
        loop {
            let ended = self.end().await;
            warn!(postgres.pid = self.pid, "The private Postgres ended by itself ({ended:?}); starts it again");
            let stayed = started.is_none_or(|started| started.elapsed() >= STAYS);
            failed = if stayed { 0 } else { failed + 1 };
            if failed == FAILED_STARTS_MAX {
                let log = self.home.log();
                return Error::NotStayed { tail: tail(&log), log };
            }
            while let Err(error) = self.start_again().await {
                failed += 1;
                if failed == FAILED_STARTS_MAX {
                    return error;
                }
                warn!(error = chain(&error), "The private Postgres did not start again; tries once more");
            }
            started = Some(Instant::now());
        }
    }

    /// Waits until the server ends. One that was told to end as soon as its sessions do (SIGTERM, which another program sent)
    /// takes no new ones, and ours stay: it is told to end at once.
    async fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let mut told = false;
        loop {
            if let Ok(ended) = tokio::time::timeout(STATE_INTERVAL, self.child.wait()).await {
                return ended;
            }
            if !told && self.home.state(self.pid).as_deref() == Some("stopping") {
                warn!(postgres.pid = self.pid, "The private Postgres was told to stop; it stops at once and is started again");
                self.signal(Signal::SIGINT);
                told = true;
            }
        }
    }

    /// On the same port, which all connections of this process name.
    async fn start_again(&mut self) -> Result<(), Error> {
        self.home.stop_left_behind().await?;
        let (child, keeper, _) = self.home.serve(&self.programs, &self.options, Some(self.port)).await?;
        self.pid = child.id().unwrap_or_default() as i32;
        (self.child, self.keeper) = (child, keeper);
        info!(postgres.pid = self.pid, "Started Postgres again in {}", self.home.data.display());
        Ok(())
    }

    /// For the service: a role that owns the database `keystone` and nothing more.
    pub fn url(&self) -> &Secret {
        &self.url
    }

    /// For setting up databases in tests; the service never uses it.
    pub fn superuser_url(&self) -> &Secret {
        &self.superuser_url
    }

    /// The cluster's own folder, which may be elsewhere than asked for.
    pub fn data_dir(&self) -> &Path {
        &self.home.data
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the cluster ends, which it should not do by itself.
    pub async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// A fast shutdown: open transactions are rolled back, everything is written. What does not end in time is
    /// made to: the next start recovers.
    pub async fn stop(mut self) -> Result<(), Error> {
        for (signal, patience) in ENDINGS {
            self.signal(signal);
            if let Ok(ended) = tokio::time::timeout(patience, self.child.wait()).await {
                ended.map_err(io_at(&self.home.data))?;
                // One that was just being started again.
                return self.home.stop_left_behind().await;
            }
            warn!("Postgres does not end within {} s of {signal}", patience.as_secs());
        }
        Err(Error::NotStopped)
    }

    /// Gives up the handle and leaves the cluster running, for a test run that shares
    /// one between processes. Only the death of this whole process ends it then, and a
    /// cluster started with [`Options::outliving`] not even that.
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn signal(&self, signal: Signal) {
        // `id` is none once the child was waited for, so this cannot hit a stranger.
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        if self.detached {
            self.keeper.keep_for_ever();
        } else {
            self.signal(Signal::SIGINT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_installation_says_what_to_install() {
        let error = Error::NotInstalled { looked_at: "PATH".to_owned() };
        assert!(error.to_string().contains("apt-get install postgresql postgresql-contrib"));
    }
}
