//! What is to be said about Postgres, from what was seen of it.

mod facts;
mod role;
mod schema;
mod server;
#[cfg(test)]
mod tests;

pub use facts::{Database, Facts, Role, Schema, Sessions, Unreachable, Wanted, Way};

use self::role::{defaults, rights, text_search, wraparound, writable};
use self::server::{connections, durable, ends_of_peers, timeouts, vacuum, version, way};
use super::clock::clock;
use super::report::Finding;
use super::work;

/// A transaction of ours takes milliseconds.
const LONG_TRANSACTION_S: f64 = 300.0;

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
        Ok(seen) => schema::judge(seen, &wanted.known),
        Err(why) => unasked("database.schema", why),
    });
    match &facts.work {
        Ok(Some(work)) => findings.extend(work::judge(work, wanted.shared_key)),
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
