//! The server: its version, its settings, its connections.

use std::time::Duration;

use super::facts::{Facts, Wanted, Way};
use crate::doctor::report::Finding;
use crate::pg::POSTGRES_MAJOR_MIN;

/// Connections of one process beside its pool: sequencer, wake-ups, and one that migrates at start.
const DEDICATED: u64 = 3;

/// A vanished peer's locks should not outlive a coffee break; the system's default is two hours.
const KEEPALIVE_IDLE_MAX_S: u64 = 300;

pub(super) fn version(facts: &Facts) -> Finding {
    let name = facts.setting("server_version").unwrap_or("of unknown version");
    let major = facts.number("server_version_num").unwrap_or_default() / 10_000;
    let seen = format!("Postgres {name}");
    if major < u64::from(POSTGRES_MAJOR_MIN) {
        return Finding::problem("database.version", seen, format!("Postgres {POSTGRES_MAJOR_MIN} or newer is needed"));
    }
    Finding::ok("database.version", seen)
}

pub(super) fn way(way: Way) -> Option<Finding> {
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

pub(super) fn durable(facts: &Facts) -> Finding {
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

pub(super) fn timeouts(facts: &Facts, wanted: &Wanted) -> Finding {
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
pub(super) fn ends_of_peers(facts: &Facts) -> Finding {
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

pub(super) fn vacuum(facts: &Facts) -> Finding {
    let id = "database.vacuum";
    if facts.setting("autovacuum") == Some("off") {
        let todo = "turn autovacuum on: the outbox is updated all the time and its tables only grow without it";
        return Finding::problem(id, "autovacuum is off", todo);
    }
    Finding::ok(id, "autovacuum is on")
}

pub(super) fn connections(facts: &Facts, wanted: &Wanted) -> Finding {
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
