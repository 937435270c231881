//! Why there is no cluster, and what helps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::embedded::place::PlaceError;
use crate::pg::POSTGRES_MAJOR_MIN;

/// A server that was started again and ended sooner has failed, as one that did not start.
pub(super) const STAYS: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    #[error(
        "no Postgres {POSTGRES_MAJOR_MIN} or newer was found (looked at {looked_at}). Install it \
         (Debian, Ubuntu: apt-get install postgresql postgresql-contrib), or name the folder of \
         its programs with KEYSTONE_PG_BIN, or name a running database with KEYSTONE_DATABASE_URL"
    )]
    NotInstalled { looked_at: String },
    #[error("{path} is not a Postgres {POSTGRES_MAJOR_MIN} or newer: {found}; KEYSTONE_PG_BIN names its folder", path = path.display())]
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

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> EmbeddedPostgresError + use<> {
    let path = path.to_path_buf();
    move |source| EmbeddedPostgresError::Io { path, source }
}

/// The end of a log, where Postgres says why it went.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
