//! What was seen of Postgres, and what is wanted of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::doctor::report::Asked;
use crate::doctor::robots::SharedKey;
use crate::doctor::work::Work;
use crate::pg::Migration;

/// Why there was no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Accepted or swallowed, and no answer within the limit.
    Silent,
    Refused,
    WrongLogin,
    NoDatabase,
    TooManyConnections,
    NotAcceptingYet,
    Tls,
    Other,
}

/// What was seen of the database.
#[derive(Clone, Debug)]
pub enum Database {
    /// The private cluster, which runs only while a server does. What it would be started with.
    Asleep {
        programs: Asked<String>,
    },
    Unreachable {
        why: Unreachable,
        text: String,
    },
    Reached(Box<Facts>),
}

#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether what is said to it crosses a network, and whether in the clear.
    pub way: Way,
    pub round_trip: Duration,
    /// `pg_settings` of our session, as they stand there; what this role may not see is missing.
    pub settings: BTreeMap<String, String>,
    pub role: Asked<Role>,
    pub schema: Asked<Schema>,
    pub sessions: Asked<Sessions>,
    /// By how many seconds the database's clock is ahead of ours.
    pub clock_ahead_s: Asked<f64>,
    /// None while there is no schema.
    pub work: Asked<Option<Work>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A socket, or loopback.
    SameHost,
    Encrypted,
    InTheClear,
}

#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub database: String,
    pub superuser: bool,
    pub owns_database: bool,
    pub may_create: bool,
    pub schema: Option<String>,
    /// Negative: none.
    pub connection_limit: i64,
    /// Tables of the schema whose owner we are not.
    pub foreign_tables: i64,
    pub in_recovery: bool,
    pub encoding: String,
    pub frozen_age: i64,
    pub text_search: bool,
}

/// What is written in the schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    Empty,
    Migrated(Vec<Migration>),
}

#[derive(Clone, Debug)]
pub struct Sessions {
    pub open: i64,
    /// The longest transaction of this database that we may see: who, in which state, seconds.
    pub longest: Option<(String, f64)>,
}

/// What the settings of this program ask of the database.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub embedded: bool,
    pub pool_max: u64,
    pub statement_timeout: Duration,
    pub idle_in_transaction_timeout: Duration,
    pub known: Vec<Migration>,
    pub shared_key: SharedKey,
}

impl Facts {
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }
}
