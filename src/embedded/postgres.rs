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

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tracing::{info, warn};

use super::place::{PlaceError, place_for};
use super::{create_private, private_folder, remembered_secret, write_private};
use crate::config::Secret;
use crate::pg::POSTGRES_MAJOR_MIN;

/// After a crash the cluster replays its log before it answers; with the settings
/// below that is seconds, on a slow disk a few minutes.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a fast shutdown may take before we insist: it writes one checkpoint, of at most what
/// `shared_buffers` holds. An immediate one writes nothing, and a killed server cannot hang.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that was started again and ended sooner has failed, as one that did not start.
const STAYS: Duration = Duration::from_secs(10);

/// So many failed starts in a row are not chance: the process ends, and its supervisor decides.
const FAILED_STARTS_MAX: u32 = 2;

/// Between looks at whether a server that is up was told to stop.
const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// Between looks at a cluster that is starting or stopping.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// For a port that was taken, and for sessions that outlived their server.
const START_ATTEMPTS: u32 = 20;
const START_RETRY: Duration = Duration::from_millis(250);

const SUPERUSER: &str = "postgres";
const SERVICE_USER: &str = "keystone";
const DATABASE: &str = "keystone";

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
    // Nobody follows this cluster; an operator who wants that brings a database.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    // The outbox is updated all the time: vacuum small and often.
    ("autovacuum_naptime", "10s"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("password_encryption", "scram-sha-256"),
];

/// Where a distribution keeps what `create extension` needs is its own affair; without
/// the package we run, searching text slower.
const EXTENSION: &str = "pg_trgm";

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    #[error(
        "no Postgres {POSTGRES_MAJOR_MIN} or newer was found (looked at {looked_at}). Install it \
         (Debian, Ubuntu: apt-get install postgresql postgresql-contrib), or name the folder of \
         its programs with KEYSTONE_PG_BIN, or name a running database with KEYSTONE_DATABASE_URL"
    )]
    NotInstalled { looked_at: String },
    #[error("{path} is not a Postgres {POSTGRES_MAJOR_MIN} or newer: {found}", path = path.display())]
    Unusable { path: PathBuf, found: String },
    #[error("{path} was made by Postgres {made_by} and {bin} is version {version}; set KEYSTONE_PG_BIN to the older version's folder, or dump and restore", path = path.display(), bin = bin.display())]
    OtherVersion { path: PathBuf, made_by: String, version: u32, bin: PathBuf },
    #[error("Postgres cannot run as root, and there is neither a user `postgres` nor `nobody`")]
    NoUnprivilegedUser,
    #[error("cannot use {path} for the Postgres cluster", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error("the Postgres cluster did not start; the end of its log {log}:\n{tail}", log = log.display())]
    NotStarted { log: PathBuf, tail: String },
    #[error("a Postgres that a killed process left behind (pid {0}) does not stop")]
    LeftBehind(i32),
    #[error("the new Postgres cluster cannot be set up")]
    SetUp(#[source] tokio_postgres::Error),
    #[error("Postgres was started again and ended within {} s; the end of its log {log}:\n{tail}", STAYS.as_secs(), log = log.display())]
    NotStayed { log: PathBuf, tail: String },
    #[error("Postgres does not end, not even when it is killed")]
    NotStopped,
}

use EmbeddedPostgresError as Error;

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source }
}

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder with `initdb` and `postgres`; found where not given.
    pub pg_bin: Option<PathBuf>,
    /// Settings over ours, as `-c name=value`.
    pub settings: Vec<(String, String)>,
    /// The cluster goes on when this process ends; somebody else has to stop it.
    pub outliving: bool,
}

impl Options {
    /// For tests: nothing is synced, so a crash of the machine loses the cluster.
    pub fn volatile(mut self) -> Self {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            self.settings.push((name.to_owned(), "off".to_owned()));
        }
        self
    }

    pub fn outliving(mut self) -> Self {
        self.outliving = true;
        self
    }

    fn is_volatile(&self) -> bool {
        self.settings.iter().any(|(name, value)| name == "fsync" && value == "off")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

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
    /// the data folder's lock, so nobody else starts it at the same time.
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
        let admin = connect(&this.superuser_url).await?;
        prepare_database(&admin, &service).await.map_err(Error::SetUp)?;
        let inside = connect(&url(SUPERUSER, &superuser, DATABASE)).await?;
        let extension = inside.batch_execute(&format!("create extension if not exists {EXTENSION}")).await;
        if let Err(error) = extension {
            warn!(
                error = &error as &dyn std::error::Error,
                "Without the extension {EXTENSION} text search is slower (Debian, Ubuntu: apt-get install postgresql-contrib)"
            );
        }
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
                warn!(error = &error as &dyn std::error::Error, "The private Postgres did not start again; tries once more");
            }
            started = Some(Instant::now());
        }
    }

    /// Waits until the server ends. One that was told to end as soon as its sessions do (SIGTERM, which somebody else sent)
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
        for (signal, patience) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, QUIT_TIMEOUT), (Signal::SIGKILL, KILL_TIMEOUT)] {
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

/// The folder of the programs that a cluster would be started with, and their version.
pub async fn installed(configured: Option<&Path>) -> Result<(PathBuf, u32), Error> {
    let programs = Programs::find(configured).await?;
    Ok((programs.bin, programs.major))
}

/// The installed programs, all of one version.
#[derive(Debug)]
struct Programs {
    bin: PathBuf,
    major: u32,
}

impl Programs {
    async fn find(configured: Option<&Path>) -> Result<Self, Error> {
        if let Some(bin) = configured {
            return match Self::at(bin).await {
                Ok(programs) => Ok(programs),
                Err(found) => Err(Error::Unusable { path: bin.to_path_buf(), found }),
            };
        }
        let mut looked_at = Vec::new();
        for bin in Self::usual_places().await {
            if let Ok(programs) = Self::at(&bin).await {
                return Ok(programs);
            }
            looked_at.push(bin.display().to_string());
        }
        looked_at.push("PATH".to_owned());
        Err(Error::NotInstalled { looked_at: looked_at.join(", ") })
    }

    /// In the order in which they are tried.
    async fn usual_places() -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await
            && output.status.success()
        {
            let text = String::from_utf8_lossy(&output.stdout);
            places.push(PathBuf::from(text.trim()));
        }
        let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        places.extend(packaged.into_iter().map(|(_, bin)| bin));
        if let Some(path) = std::env::var_os("PATH") {
            places.extend(std::env::split_paths(&path).filter(|bin| bin.join("postgres").exists()));
        }
        places
    }

    async fn at(bin: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !bin.join(program).is_file() {
                return Err(format!("there is no `{program}`"));
            }
        }
        let output = Command::new(bin.join("postgres")).arg("--version").output().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match major_version(&text) {
            Some(major) if major >= POSTGRES_MAJOR_MIN => Ok(Self { bin: bin.to_path_buf(), major }),
            _ => Err(text),
        }
    }
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL) ").nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The folders of a cluster and the user it runs as.
#[derive(Debug)]
struct Home {
    /// What Postgres calls its data directory.
    data: PathBuf,
    /// Passwords, port and log: beside the data, because `initdb` wants it empty.
    dir: PathBuf,
    /// Someone else than we are, where we are root.
    run_as: Option<User>,
}

impl Home {
    fn prepare(asked: &Path) -> Result<Self, Error> {
        let run_as = if Uid::effective().is_root() { Some(unprivileged_user()?) } else { None };
        let dir = match &run_as {
            None => asked.to_path_buf(),
            Some(user) => place_for(asked, user)?,
        };
        private_folder(&dir).map_err(io_at(&dir))?;
        let dir = dir.canonicalize().map_err(io_at(&dir))?;
        let home = Self { data: dir.join("data"), dir, run_as };
        for path in [&home.dir, &home.data] {
            private_folder(path).map_err(io_at(path))?;
            home.give_away(path)?;
        }
        Ok(home)
    }

    fn give_away(&self, path: &Path) -> Result<(), Error> {
        match &self.run_as {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(io_at(path)),
            None => Ok(()),
        }
    }

    fn password(&self, user: &str) -> Result<Secret, Error> {
        let dir = self.dir.join("passwords");
        remembered_secret(&dir, user).map_err(io_at(&dir))
    }

    fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// The port of the last time if it is free, so that what an operator noted down
    /// stays true; another free one otherwise.
    fn port(&self) -> Result<u16, Error> {
        let file = self.dir.join("port");
        let remembered = fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        if let Some(port) = remembered {
            return Ok(port);
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(io_at(&file))?.port();
        write_private(&file, port.to_string().as_bytes()).map_err(io_at(&file))?;
        Ok(port)
    }

    fn forget_port(&self) {
        let _ = fs::remove_file(self.dir.join("port"));
    }

    /// A command that runs as the cluster's user and knows nothing of our environment,
    /// in which `PG…` variables would change what it does.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        if let Some(user) = &self.run_as {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// `initdb` into a folder of its own that becomes the data folder at the end: a
    /// process killed half way leaves nothing that looks like a cluster.
    async fn init(&self, programs: &Programs, options: &Options) -> Result<(), Error> {
        info!("Creating a Postgres {} cluster in {}", programs.major, self.data.display());
        let fresh = self.dir.join("data.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(io_at(&fresh))?;
        }
        let superuser = self.password(SUPERUSER)?;
        let password_file = self.dir.join("initdb.password");
        write_private(&password_file, superuser.expose().as_bytes()).map_err(io_at(&password_file))?;
        self.give_away(&password_file)?;
        let mut outcome = Ok(());
        // Upper and lower case of all letters where the system knows how, and of ASCII
        // where it does not.
        for locale in ["C.UTF-8", "C"] {
            let mut command = self.command(&programs.bin.join("initdb"));
            command
                .arg("--pgdata")
                .arg(&fresh)
                .arg("--pwfile")
                .arg(&password_file)
                .args(["--username", SUPERUSER])
                .args(["--encoding", "UTF8", "--locale", locale])
                .args(["--auth", "scram-sha-256", "--data-checksums"]);
            if options.is_volatile() {
                command.arg("--no-sync");
            }
            let output = command.output().await.map_err(io_at(&programs.bin))?;
            if output.status.success() {
                outcome = Ok(());
                break;
            }
            outcome =
                Err(Error::Program { program: "initdb".to_owned(), output: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        let _ = fs::remove_file(&password_file);
        outcome?;
        fs::remove_dir(&self.data).map_err(io_at(&self.data))?;
        fs::rename(&fresh, &self.data).map_err(io_at(&self.data))?;
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_at(&self.dir))
    }

    fn require_version(&self, programs: &Programs) -> Result<(), Error> {
        let file = self.data.join("PG_VERSION");
        let made_by = fs::read_to_string(&file).map_err(io_at(&file))?;
        if made_by.trim() != programs.major.to_string() {
            return Err(Error::OtherVersion {
                path: self.data.clone(),
                made_by: made_by.trim().to_owned(),
                version: programs.major,
                bin: programs.bin.clone(),
            });
        }
        Ok(())
    }

    /// Ends a server of this folder that outlived the process that started it. Stopping
    /// it is chosen over taking it in: as our child it ends with us, and it may run
    /// with other settings than we want.
    async fn stop_left_behind(&self) -> Result<(), Error> {
        let Some(pid) = self.left_behind() else {
            return self.remove_misleading_pid_file();
        };
        info!(postgres.pid = pid, "Stopping the Postgres that a killed process left behind");
        for (signal, patience) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, QUIT_TIMEOUT), (Signal::SIGKILL, KILL_TIMEOUT)] {
            let _ = kill(Pid::from_raw(pid), signal);
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if self.left_behind() != Some(pid) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Err(Error::LeftBehind(pid))
    }

    /// Postgres takes any living process with the number in its pid file for a server.
    /// In a restarted container the numbers repeat, so we look more closely: when
    /// nobody works in the folder, the file means nothing. A number that belongs to
    /// nobody is left to Postgres, which then also checks for orphaned sessions.
    fn remove_misleading_pid_file(&self) -> Result<(), Error> {
        let file = self.data.join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        let alive = pid.is_some_and(|pid: i32| Path::new(&format!("/proc/{pid}")).exists());
        let somebody_works_here = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == self.data));
        if alive && !somebody_works_here {
            warn!("Removing a pid file that names a process of somebody else");
            fs::remove_file(&file).map_err(io_at(&file))?;
        }
        Ok(())
    }

    /// The pid of a running server of this folder. Its pid file must name this folder,
    /// and the process must have it as its working directory, as every Postgres has:
    /// after a restart of the machine the number may belong to anybody.
    fn left_behind(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        if Path::new(lines.next()?) != self.data || pid <= 1 {
            return None;
        }
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (works_in == self.data).then_some(pid)
    }

    /// Launches the server, on a free port where none is given, and waits out what passes by itself.
    async fn serve(&self, programs: &Programs, options: &Options, given: Option<u16>) -> Result<(Child, Keeper, u16), Error> {
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
    fn state(&self, pid: i32) -> Option<String> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines().map(str::trim);
        let ours = lines.next() == Some(pid.to_string().as_str());
        lines.nth(6).filter(|_| ours).map(str::to_owned)
    }
}

/// The thread that started the cluster, kept for as long as the cluster should run.
///
/// The kernel's signal to the child follows the thread that forked, not the process;
/// a thread of the runtime may end earlier.
#[derive(Debug)]
struct Keeper {
    until_dropped: Option<std::sync::mpsc::Sender<()>>,
}

impl Keeper {
    async fn spawn(mut command: Command) -> io::Result<(Child, Self)> {
        let runtime = tokio::runtime::Handle::current();
        let (until_dropped, dropped) = std::sync::mpsc::channel::<()>();
        let (sender, started) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("postgres-keeper".to_owned()).spawn(move || {
            let child = {
                let _context = runtime.enter();
                command.spawn()
            };
            if sender.send(child).is_ok() {
                // Returns an error, which is what we wait for.
                let _ = dropped.recv();
            }
        })?;
        let child = started.await.map_err(io::Error::other)??;
        let keeper = Self { until_dropped: Some(until_dropped) };
        Ok((child, keeper))
    }

    /// The thread waits until the process ends.
    fn keep_for_ever(&mut self) {
        std::mem::forget(self.until_dropped.take());
    }
}

/// Makes the kernel send the child a fast shutdown when the thread that started it ends.
#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only the two system calls below are made; neither
    // allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
            // We may have been killed before the line above took effect.
            if nix::unistd::getppid().as_raw() as u32 != parent {
                return Err(io::Error::other("the parent process has ended"));
            }
            Ok(())
        });
    }
}

fn unprivileged_user() -> Result<User, Error> {
    ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten()).ok_or(Error::NoUnprivilegedUser)
}

async fn connect(url: &Secret) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.map_err(Error::SetUp)?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// Role and database of the service. Repeated at every start, so that a start that was
/// killed in between is completed by the next.
async fn prepare_database(admin: &tokio_postgres::Client, password: &Secret) -> Result<(), tokio_postgres::Error> {
    let known = admin.query_opt("select 1 from pg_roles where rolname = $1", &[&SERVICE_USER]).await?;
    let verb = if known.is_some() { "alter" } else { "create" };
    // The password is hex by construction; utility statements take no parameters.
    admin
        .batch_execute(&format!("{verb} role {SERVICE_USER} login nosuperuser nocreatedb nocreaterole password '{}'", password.expose()))
        .await?;
    let known = admin.query_opt("select 1 from pg_database where datname = $1", &[&DATABASE]).await?;
    if known.is_none() {
        admin.batch_execute(&format!("create database {DATABASE} owner {SERVICE_USER}")).await?;
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_prints() {
        let text = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(major_version(text), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }

    #[tokio::test]
    async fn a_folder_without_programs_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = Programs::find(Some(empty.path())).await.unwrap_err();
        assert!(error.to_string().contains("there is no `initdb`"), "{error}");
    }

    #[test]
    fn a_missing_installation_says_what_to_install() {
        let error = Error::NotInstalled { looked_at: "PATH".to_owned() };
        assert!(error.to_string().contains("apt-get install postgresql postgresql-contrib"));
    }

    #[test]
    fn a_pid_file_of_another_folder_or_process_is_not_ours() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let home = Home { data: dir.clone(), dir: dir.clone(), run_as: None };
        assert_eq!(home.left_behind(), None);
        let us = std::process::id();
        for text in [
            "not a pid".to_owned(),
            format!("{us}\n/somewhere/else\n"),
            // We are alive and named with the right folder, and do not work in it.
            format!("{us}\n{}\n", dir.display()),
            format!("999999999\n{}\n", dir.display()),
        ] {
            fs::write(dir.join("postmaster.pid"), text).unwrap();
            assert_eq!(home.left_behind(), None);
        }
    }
}
