use std::time::Duration;

use super::*;
use crate::doctor::report::Level;
use crate::doctor::robots::{self, SharedKey};
use crate::doctor::work::Work;
use crate::outbox::standing::{Dead, Waiting};
use crate::pg::Migration;
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
