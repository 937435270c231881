//! Our role, and what it may do in its database.

use super::facts::{Facts, Role};
use crate::doctor::report::Finding;

/// Postgres stops taking writes at 2.1 billion, and vacuum for it begins at 200 million.
const FROZEN_AGE_WARN: i64 = 500_000_000;
const FROZEN_AGE_MAX: i64 = 1_500_000_000;

/// Locks of orders are few, and Postgres' own default has room for them.
const LOCKS_PER_TRANSACTION_MIN: u64 = 64;

pub(super) fn writable(role: &Role, facts: &Facts) -> Finding {
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

pub(super) fn rights(role: &Role) -> Finding {
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
pub(super) fn defaults(role: &Role, facts: &Facts) -> Finding {
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

pub(super) fn wraparound(role: &Role) -> Finding {
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

pub(super) fn text_search(role: &Role) -> Finding {
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
