//! What is to be said about Postgres, from what was seen of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Asked, Finding};
use super::robots::SharedKey;
use super::work::Work;
use crate::pg::{Migration, POSTGRES_MAJOR_MIN, missing};

/// A database that is off by more makes deadlines and tokens wrong by as much.
const CLOCK_OFF_WARN_S: f64 = 2.0;
const CLOCK_OFF_MAX_S: f64 = 60.0;

/// Connections of one process beside its pool: sequencer, wake-ups, and one that migrates at start.
const DEDICATED: u64 = 3;

/// A vanished peer's locks should not outlive a coffee break; the system's default is two hours.
const KEEPALIVE_IDLE_MAX_S: u64 = 300;

/// A transaction of ours takes milliseconds.
const LONG_TRANSACTION_S: f64 = 300.0;

/// Postgres stops taking writes at 2.1 billion, and vacuum for it begins at 200 million.
const FROZEN_AGE_WARN: i64 = 500_000_000;
const FROZEN_AGE_MAX: i64 = 1_500_000_000;

/// Locks of orders are few, and Postgres' own default has room for them.
const LOCKS_PER_TRANSACTION_MIN: u64 = 64;

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

pub fn judge(seen: &Database, wanted: &Wanted) -> Vec<Finding> {
    match seen {
        Database::Asleep { programs: Ok(programs) } => {
            vec![Finding::ok(
                "database.reach",
                format!("the private cluster runs while a server does, and none does; it would be started with {programs}"),
            )]
        }
        Database::Asleep { programs: Err(why) } => {
            vec![Finding::problem("database.reach", why, "install Postgres, or name one with KEYSTONE_PG_BIN or KEYSTONE_DATABASE_URL")]
        }
        Database::Unreachable { why, text } => vec![Finding::problem("database.reach", text, unreachable(*why, wanted.embedded))],
        Database::Reached(facts) => reached(facts, wanted),
    }
}

fn unreachable(why: Unreachable, embedded: bool) -> &'static str {
    match why {
        Unreachable::Silent => {
            "something takes the connection and does not answer: look at the network, a firewall or balancer on the way, and whether Postgres hangs (disk, suspended host)"
        }
        Unreachable::Refused if embedded => {
            "the server holds the data folder and its Postgres does not answer: look at postgres/postgres.log in the data folder, and restart the server"
        }
        Unreachable::Refused => "start Postgres, or correct host and port in KEYSTONE_DATABASE_URL",
        Unreachable::WrongLogin => "correct user and password in KEYSTONE_DATABASE_URL, and look at pg_hba.conf of the database",
        Unreachable::NoDatabase => "create the database with our role as its owner, or correct its name in KEYSTONE_DATABASE_URL",
        Unreachable::TooManyConnections => "raise max_connections, or lower KEYSTONE_DB_MAX_OPEN_CONNS, or end what holds the connections",
        Unreachable::NotAcceptingYet => "wait until Postgres has started or recovered; its log says how far it is",
        Unreachable::Tls => {
            "offer TLS with a certificate that this system trusts, or leave sslmode=require out where the network is trusted"
        }
        Unreachable::Other => "look at the log of Postgres",
    }
}

fn reached(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let reach = format!("answers in {:.1} ms", facts.round_trip.as_secs_f64() * 1e3);
    let mut findings = vec![Finding::ok("database.reach", reach), version(facts)];
    findings.extend(way(facts.way));
    match &facts.role {
        Ok(role) => findings.extend([writable(role, facts), rights(role), defaults(role, facts), wraparound(role), text_search(role)]),
        Err(why) => findings.push(unasked("database.role", why)),
    }
    findings.push(durable(facts));
    findings.push(timeouts(facts, wanted));
    findings.push(ends_of_peers(facts));
    findings.push(vacuum(facts));
    findings.push(connections(facts, wanted));
    findings.push(match &facts.sessions {
        Ok(Sessions { longest: Some((who, seconds)), .. }) if *seconds > LONG_TRANSACTION_S => Finding::warning(
            "database.transactions",
            format!("{who} has had a transaction open for {seconds:.0} s"),
            "end it (select pg_terminate_backend(<pid>)): vacuum cannot clean up behind the outbox, and its locks stay",
        ),
        Ok(_) => Finding::ok("database.transactions", "no transaction has been open for long"),
        Err(why) => unasked("database.transactions", why),
    });
    findings.push(match &facts.clock_ahead_s {
        Ok(ahead) => clock("database.clock", "the database", *ahead),
        Err(why) => unasked("database.clock", why),
    });
    findings.push(match &facts.schema {
        Ok(schema) => judge_schema(schema, &wanted.known),
        Err(why) => unasked("database.schema", why),
    });
    match &facts.work {
        Ok(Some(work)) => findings.extend(super::work::judge(work, wanted.shared_key)),
        Ok(None) => {}
        Err(why) => findings.push(unasked("work.asked", why)),
    }
    findings
}

fn unasked(id: &'static str, why: &str) -> Finding {
    Finding::problem(
        id,
        format!("could not be asked: {why}"),
        "mend what stands above first; if this is all, look at locks and load of the database",
    )
}

fn version(facts: &Facts) -> Finding {
    let name = facts.setting("server_version").unwrap_or("of unknown version");
    let major = facts.number("server_version_num").unwrap_or_default() / 10_000;
    let seen = format!("Postgres {name}");
    if major < u64::from(POSTGRES_MAJOR_MIN) {
        return Finding::problem("database.version", seen, format!("Postgres {POSTGRES_MAJOR_MIN} or newer is needed"));
    }
    Finding::ok("database.version", seen)
}

fn way(way: Way) -> Option<Finding> {
    match way {
        Way::SameHost => None,
        Way::Encrypted => Some(Finding::ok("database.tls", "encrypted, and the server's certificate is verified")),
        Way::InTheClear => Some(Finding::warning(
            "database.tls",
            "what is said to the database crosses the network in the clear",
            "add ?sslmode=require to KEYSTONE_DATABASE_URL, or keep that network to yourself",
        )),
    }
}

fn writable(role: &Role, facts: &Facts) -> Finding {
    let id = "database.writable";
    if role.in_recovery {
        return Finding::problem(
            id,
            "this is a standby: it takes no writes",
            "let KEYSTONE_DATABASE_URL name the primary (several hosts with target_session_attrs=read-write)",
        );
    }
    if facts.setting("default_transaction_read_only") == Some("on") {
        let todo =
            "find what set it: alter database … reset default_transaction_read_only, alter role … reset …, or the options in the URL";
        return Finding::problem(id, "transactions are read-only (default_transaction_read_only is on)", todo);
    }
    Finding::ok(id, "takes writes (as far as can be seen without one)")
}

fn rights(role: &Role) -> Finding {
    let id = "database.role";
    let Role { name, database, .. } = role;
    if role.schema.is_none() {
        return Finding::problem(id, format!("the search_path of `{name}` names no schema that exists"), "alter role … reset search_path");
    }
    if !role.may_create {
        return Finding::problem(id, format!("`{name}` may not create tables"), format!("alter database {database} owner to {name}"));
    }
    if role.foreign_tables > 0 {
        let seen = format!("{} tables belong to another role than `{name}`", role.foreign_tables);
        return Finding::problem(id, seen, format!("reassign them (reassign owned by <other role> to {name}); a restore needs --no-owner"));
    }
    if role.superuser {
        let seen = format!("`{name}` is a superuser: nothing keeps it from changing events");
        return Finding::warning(id, seen, "give the service a role of its own that owns the database and nothing more");
    }
    if !role.owns_database {
        let seen = format!("`{name}` may create tables and does not own the database `{database}`");
        return Finding::warning(id, seen, format!("alter database {database} owner to {name}: migrations may need it"));
    }
    Finding::ok(id, format!("`{name}` owns `{database}`, and is no superuser"))
}

/// What statements of ours take for granted.
fn defaults(role: &Role, facts: &Facts) -> Finding {
    let id = "database.defaults";
    let mut odd = vec![];
    for (name, good) in
        [("default_transaction_isolation", "read committed"), ("session_replication_role", "origin"), ("track_counts", "on")]
    {
        if let Some(value) = facts.setting(name).filter(|value| *value != good) {
            odd.push(format!("{name} is {value} instead of {good}"));
        }
    }
    if role.encoding != "UTF8" {
        odd.push(format!("the encoding is {} instead of UTF8", role.encoding));
    }
    if facts.number("max_locks_per_transaction").is_some_and(|locks| locks < LOCKS_PER_TRANSACTION_MIN) {
        odd.push(format!("max_locks_per_transaction is below {LOCKS_PER_TRANSACTION_MIN}"));
    }
    if odd.is_empty() {
        return Finding::ok(id, "isolation, triggers, encoding and locks are as Postgres ships them");
    }
    Finding::problem(
        id,
        odd.join("; "),
        "reset it for the role and the database (alter role … reset, alter database … reset); an encoding is chosen when a database is made",
    )
}

fn wraparound(role: &Role) -> Finding {
    let id = "database.age";
    let seen = format!("the oldest transaction id that is not frozen is {} million old", role.frozen_age / 1_000_000);
    let todo =
        "end long transactions and abandoned replication slots, and run vacuum (freeze): at 2100 million Postgres takes no more writes";
    match role.frozen_age {
        FROZEN_AGE_MAX.. => Finding::problem(id, seen, todo),
        FROZEN_AGE_WARN.. => Finding::warning(id, seen, todo),
        _ => Finding::ok(id, seen),
    }
}

fn text_search(role: &Role) -> Finding {
    let id = "database.text_search";
    if role.text_search {
        return Finding::ok(id, "the extension pg_trgm is there");
    }
    Finding::warning(
        id,
        "the extension pg_trgm is missing: searching names reads whole tables",
        "create extension pg_trgm (Debian, Ubuntu: postgresql-contrib)",
    )
}

fn durable(facts: &Facts) -> Finding {
    let id = "database.durable";
    let off = |name: &str| facts.setting(name) == Some("off");
    let lost: Vec<&str> = ["fsync", "full_page_writes", "synchronous_commit"].into_iter().filter(|name| off(name)).collect();
    if lost.is_empty() {
        return Finding::ok(id, "what is committed is on disk (fsync, full_page_writes, synchronous_commit)");
    }
    let seen =
        format!("{} is off: what was accepted, and acks that made robots delete their files, can be lost with the power", lost.join(", "));
    Finding::problem(
        id,
        seen,
        "turn it on in postgresql.conf, and reset it for the role and the database; after fsync was off, take a new backup",
    )
}

fn timeouts(facts: &Facts, wanted: &Wanted) -> Finding {
    let id = "database.timeouts";
    let mut odd = vec![];
    for (name, ours, key) in [
        ("statement_timeout", wanted.statement_timeout, "statement_timeout_s"),
        ("idle_in_transaction_session_timeout", wanted.idle_in_transaction_timeout, "idle_in_transaction_timeout_s"),
    ] {
        let is = facts.number(name).map(Duration::from_millis);
        if is.is_some_and(|is| is != ours) {
            let is = is.filter(|is| !is.is_zero()).map_or("without an end".to_owned(), |is| format!("{} s", is.as_secs_f64()));
            odd.push(format!("{name} is {is}, and `database.{key}` asks for {} s", ours.as_secs()));
        }
    }
    if let Some(idle) = facts.number("idle_session_timeout").filter(|idle| *idle > 0) {
        odd.push(format!("idle_session_timeout ends sessions after {} s, those that only listen among them", idle / 1000));
    }
    if odd.is_empty() {
        return Finding::ok(id, "statements and transactions end as the settings ask");
    }
    Finding::warning(id, odd.join("; "), "take it out of the options in KEYSTONE_DATABASE_URL, the role (alter role … reset) or the pooler")
}

/// A host that vanishes says nothing; what its session holds stays until the server looks.
fn ends_of_peers(facts: &Facts) -> Finding {
    let id = "database.keepalives";
    if facts.way == Way::SameHost {
        return Finding::ok(id, "the database is on this host: the end of a process ends its sessions");
    }
    match facts.number("tcp_keepalives_idle") {
        Some(idle @ 1..=KEEPALIVE_IDLE_MAX_S) => Finding::ok(id, format!("the server looks after a silent peer within {idle} s")),
        other => Finding::warning(
            id,
            format!(
                "the server looks after a silent peer only after {} s: locks of a host that vanished stay as long",
                other.filter(|idle| *idle > 0).unwrap_or(7200)
            ),
            "set tcp_keepalives_idle = 30, tcp_keepalives_interval = 10, tcp_keepalives_count = 3 in postgresql.conf",
        ),
    }
}

fn vacuum(facts: &Facts) -> Finding {
    let id = "database.vacuum";
    if facts.setting("autovacuum") == Some("off") {
        let todo = "turn autovacuum on: the outbox is updated all the time and its tables only grow without it";
        return Finding::problem(id, "autovacuum is off", todo);
    }
    Finding::ok(id, "autovacuum is on")
}

fn connections(facts: &Facts, wanted: &Wanted) -> Finding {
    let id = "database.connections";
    let max = facts.number("max_connections").unwrap_or_default();
    let reserved = ["superuser_reserved_connections", "reserved_connections"].iter().filter_map(|name| facts.number(name)).sum();
    let limit = facts.role.as_ref().ok().and_then(|role| u64::try_from(role.connection_limit).ok()).unwrap_or(u64::MAX);
    let available = max.saturating_sub(reserved).min(limit);
    let processes = match &facts.work {
        Ok(Some(work)) => work.processes.alive.max(1).unsigned_abs(),
        _ => 1,
    };
    let needed = processes * (wanted.pool_max + DEDICATED);
    let open = facts.sessions.as_ref().map_or(0, |sessions| sessions.open);
    let seen = format!(
        "{open} open, {available} to be had; {processes} process(es) with `database.pool_max` {} use up to {needed}",
        wanted.pool_max
    );
    if needed > available {
        return Finding::problem(
            id,
            seen,
            "raise max_connections (or the role's limit), or lower KEYSTONE_DB_MAX_OPEN_CONNS in every process",
        );
    }
    if open.unsigned_abs() * 10 > available * 9 {
        return Finding::warning(
            id,
            seen,
            "find who holds them (select usename, application_name, count(*) from pg_stat_activity group by 1, 2)",
        );
    }
    Finding::ok(id, seen)
}

/// How far a clock is from that of this host; negative: behind.
pub fn clock(id: &'static str, whose: &str, ahead_s: f64) -> Finding {
    let seen = match ahead_s {
        ahead if ahead.abs() <= CLOCK_OFF_WARN_S => {
            return Finding::ok(id, format!("{whose} and this host agree within {CLOCK_OFF_WARN_S} s"));
        }
        ahead if ahead > 0.0 => format!("the clock of {whose} is {ahead:.0} s ahead of this host"),
        behind => format!("the clock of {whose} is {:.0} s behind this host", -behind),
    };
    let todo = "let NTP set the clocks of both hosts (timedatectl, chronyc tracking)";
    if ahead_s.abs() > CLOCK_OFF_MAX_S { Finding::problem(id, seen, todo) } else { Finding::warning(id, seen, todo) }
}

fn judge_schema(schema: &Schema, known: &[Migration]) -> Finding {
    let id = "database.schema";
    let Schema::Migrated(applied) = schema else {
        return Finding::ok(id, "there is no schema yet; the first start makes it");
    };
    let newest = known.last().map_or(0, |migration| migration.version);
    let changed: Vec<_> = known
        .iter()
        .filter(|ours| {
            applied.iter().any(|theirs| theirs.version == ours.version && (&theirs.name, &theirs.checksum) != (&ours.name, &ours.checksum))
        })
        .map(|migration| format!("V{}", migration.version))
        .collect();
    if !changed.is_empty() {
        let seen = format!("{} was applied with another text than this program has", changed.join(", "));
        return Finding::problem(id, seen, "run the program that belongs to this database; a start of this one is refused");
    }
    let missing = missing(known, applied).len();
    let is = applied.iter().map(|migration| migration.version).max().unwrap_or_default();
    if missing > 0 {
        let seen = format!("missing migrations: {missing} (the schema is at V{is}, this program at V{newest})");
        return Finding::warning(id, seen, "back up, then start this program or run `keystone migrate`");
    }
    if is > newest {
        let seen = format!("the schema is at V{is}, newer than this program (V{newest})");
        return Finding::warning(id, seen, "a newer program was here; use that one, or finish the upgrade of the other processes");
    }
    Finding::ok(id, format!("at V{is}, as this program wants it"))
}

impl Facts {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level;
    use crate::doctor::robots;
    use crate::outbox::standing::{Dead, Waiting};
    use crate::projections::reads::site::{Processes, Robots};

    fn migration(version: i64) -> Migration {
        Migration { version, name: format!("step_{version}"), checksum: (version * 7).to_string() }
    }

    fn wanted() -> Wanted {
        Wanted {
            embedded: false,
            pool_max: 16,
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_secs(30),
            known: vec![migration(1), migration(2)],
            shared_key: SharedKey::Absent,
        }
    }

    fn work() -> Work {
        Work {
            processes: Processes { alive: 2, silent: 0 },
            lag_s: 0.0,
            leader: Some("edge 7".into()),
            waiting: vec![Waiting { subscriber: "device_commands".into(), rows: 3, overdue: 0, overdue_s: 0.0 }],
            dead: vec![],
            robots: robots::Seen { robots: Robots { known: 20, connected: 18 }, keyless: vec![] },
        }
    }

    /// A database with which nothing is wrong.
    fn sound() -> Facts {
        let settings = [
            ("server_version", "16.4"),
            ("server_version_num", "160004"),
            ("default_transaction_read_only", "off"),
            ("default_transaction_isolation", "read committed"),
            ("session_replication_role", "origin"),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("statement_timeout", "30000"),
            ("idle_in_transaction_session_timeout", "30000"),
            ("idle_session_timeout", "0"),
            ("tcp_keepalives_idle", "30"),
            ("autovacuum", "on"),
            ("track_counts", "on"),
            ("max_connections", "100"),
            ("superuser_reserved_connections", "3"),
            ("max_locks_per_transaction", "64"),
        ];
        Facts {
            way: Way::Encrypted,
            round_trip: Duration::from_millis(1),
            settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            role: Ok(Role {
                name: "keystone".into(),
                database: "keystone".into(),
                superuser: false,
                owns_database: true,
                may_create: true,
                schema: Some("public".into()),
                connection_limit: -1,
                foreign_tables: 0,
                in_recovery: false,
                encoding: "UTF8".into(),
                frozen_age: 1_000_000,
                text_search: true,
            }),
            schema: Ok(Schema::Migrated(vec![migration(1), migration(2)])),
            sessions: Ok(Sessions { open: 30, longest: None }),
            clock_ahead_s: Ok(0.1),
            work: Ok(Some(work())),
        }
    }

    fn set(name: &str, value: &str) -> impl Fn(&mut Facts) {
        move |facts| {
            facts.settings.insert(name.to_owned(), value.to_owned());
        }
    }

    fn role(change: impl Fn(&mut Role)) -> impl Fn(&mut Facts) {
        move |facts| change(facts.role.as_mut().unwrap())
    }

    fn working(change: impl Fn(&mut Work)) -> impl Fn(&mut Facts) {
        move |facts| change(facts.work.as_mut().unwrap().as_mut().unwrap())
    }

    #[test]
    fn a_sound_database_has_no_finding_but_ok() {
        let findings = judge(&Database::Reached(Box::new(sound())), &wanted());
        let odd: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(odd.is_empty(), "{odd:#?}");
    }

    #[test]
    fn one_thing_that_is_wrong_is_one_finding() {
        use Level::{Problem, Warning};
        type Change = Box<dyn Fn(&mut Facts)>;
        let overdue = |seconds| Waiting { subscriber: "upload_verification".into(), rows: 9, overdue: 4, overdue_s: seconds };
        #[rustfmt::skip]
        let table: Vec<(&str, Level, Change)> = vec![
            ("database.version", Problem, Box::new(set("server_version_num", "140012"))),
            ("database.tls", Warning, Box::new(|facts| facts.way = Way::InTheClear)),
            ("database.writable", Problem, Box::new(set("default_transaction_read_only", "on"))),
            ("database.writable", Problem, Box::new(role(|role| role.in_recovery = true))),
            ("database.role", Problem, Box::new(role(|role| role.may_create = false))),
            ("database.role", Problem, Box::new(role(|role| role.schema = None))),
            ("database.role", Problem, Box::new(role(|role| role.foreign_tables = 3))),
            ("database.role", Warning, Box::new(role(|role| role.superuser = true))),
            ("database.role", Warning, Box::new(role(|role| role.owns_database = false))),
            ("database.role", Problem, Box::new(|facts| facts.role = Err("no answer".into()))),
            ("database.defaults", Problem, Box::new(set("default_transaction_isolation", "serializable"))),
            ("database.defaults", Problem, Box::new(set("session_replication_role", "replica"))),
            ("database.defaults", Problem, Box::new(set("track_counts", "off"))),
            ("database.defaults", Problem, Box::new(set("max_locks_per_transaction", "10"))),
            ("database.defaults", Problem, Box::new(role(|role| role.encoding = "SQL_ASCII".into()))),
            ("database.age", Warning, Box::new(role(|role| role.frozen_age = 600_000_000))),
            ("database.age", Problem, Box::new(role(|role| role.frozen_age = 2_000_000_000))),
            ("database.text_search", Warning, Box::new(role(|role| role.text_search = false))),
            ("database.durable", Problem, Box::new(set("fsync", "off"))),
            ("database.durable", Problem, Box::new(set("full_page_writes", "off"))),
            ("database.durable", Problem, Box::new(set("synchronous_commit", "off"))),
            ("database.timeouts", Warning, Box::new(set("statement_timeout", "0"))),
            ("database.timeouts", Warning, Box::new(set("idle_in_transaction_session_timeout", "1000"))),
            ("database.timeouts", Warning, Box::new(set("idle_session_timeout", "60000"))),
            ("database.keepalives", Warning, Box::new(set("tcp_keepalives_idle", "7200"))),
            ("database.vacuum", Problem, Box::new(set("autovacuum", "off"))),
            ("database.connections", Problem, Box::new(set("max_connections", "40"))),
            ("database.connections", Problem, Box::new(role(|role| role.connection_limit = 20))),
            ("database.connections", Problem, Box::new(working(|work| work.processes.alive = 6))),
            ("database.connections", Warning, Box::new(|facts| facts.sessions = Ok(Sessions { open: 96, longest: None }))),
            ("database.transactions", Warning, Box::new(|facts| facts.sessions = Ok(Sessions { open: 30, longest: Some(("process 7".into(), 900.0)) }))),
            ("database.clock", Warning, Box::new(|facts| facts.clock_ahead_s = Ok(-5.0))),
            ("database.clock", Problem, Box::new(|facts| facts.clock_ahead_s = Ok(3600.0))),
            ("database.schema", Warning, Box::new(|facts| facts.schema = Ok(Schema::Migrated(vec![migration(1)])))),
            ("database.schema", Warning, Box::new(|facts| facts.schema = Ok(Schema::Migrated(vec![migration(1), migration(2), migration(9)])))),
            ("database.schema", Problem, Box::new(|facts| facts.schema = Ok(Schema::Migrated(vec![migration(1), Migration { checksum: "0".into(), ..migration(2) }])))),
            ("work.asked", Problem, Box::new(|facts| facts.work = Err("canceling statement due to lock timeout".into()))),
            ("work.processes", Warning, Box::new(working(|work| work.processes = Processes { alive: 0, silent: 1 }))),
            ("work.log", Problem, Box::new(working(|work| work.lag_s = 60.0))),
            ("work.log", Problem, Box::new(working(|work| (work.lag_s, work.leader) = (60.0, None)))),
            ("work.log", Warning, Box::new(working(|work| work.leader = None))),
            ("work.outbox", Warning, Box::new(working(move |work| work.waiting = vec![overdue(120.0)]))),
            ("work.outbox", Problem, Box::new(working(move |work| work.waiting = vec![overdue(3600.0)]))),
            ("work.dead_letters", Warning, Box::new(working(|work| work.dead = vec![Dead { subscriber: "upload_verification".into(), letters: 2, newest_s: 90.0 }]))),
        ];
        for (id, level, change) in table {
            let mut facts = sound();
            change(&mut facts);
            let odd: Vec<_> =
                judge(&Database::Reached(Box::new(facts)), &wanted()).into_iter().filter(|finding| finding.level != Level::Ok).collect();
            assert!(matches!(odd.as_slice(), [only] if only.id == id && only.level == level && only.todo.is_some()), "{id}: {odd:#?}");
        }
    }

    #[test]
    fn what_waits_for_a_process_is_no_problem_where_none_runs() {
        let mut facts = sound();
        facts.work = Ok(Some(Work {
            processes: Processes { alive: 0, silent: 0 },
            lag_s: 5000.0,
            leader: None,
            waiting: vec![Waiting { subscriber: "upload_verification".into(), rows: 9, overdue: 9, overdue_s: 5000.0 }],
            ..work()
        }));
        let findings = judge(&Database::Reached(Box::new(facts)), &wanted());
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    }

    #[test]
    fn a_database_on_this_host_needs_neither_keepalives_nor_tls_and_an_empty_one_is_fine() {
        let facts = Facts { way: Way::SameHost, schema: Ok(Schema::Empty), work: Ok(None), ..sound() };
        let findings = judge(&Database::Reached(Box::new(facts)), &wanted());
        assert!(findings.iter().all(|finding| finding.level == Level::Ok && finding.id != "database.tls"), "{findings:#?}");
    }

    #[test]
    fn every_way_of_not_reaching_it_says_what_to_do() {
        for why in [
            Unreachable::Silent,
            Unreachable::Refused,
            Unreachable::WrongLogin,
            Unreachable::NoDatabase,
            Unreachable::TooManyConnections,
            Unreachable::NotAcceptingYet,
            Unreachable::Tls,
            Unreachable::Other,
        ] {
            let findings = judge(&Database::Unreachable { why, text: "why".into() }, &wanted());
            assert!(matches!(findings.as_slice(), [only] if only.level == Level::Problem && only.todo.is_some()), "{findings:?}");
        }
        let asleep = |programs| judge(&Database::Asleep { programs }, &wanted())[0].level;
        assert_eq!(asleep(Ok("Postgres 16".into())), Level::Ok);
        assert_eq!(asleep(Err("no Postgres 15 or newer was found".into())), Level::Problem);
    }
}
