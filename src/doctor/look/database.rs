//! Questions to Postgres, over one connection that Postgres itself keeps from writing.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_postgres::Client;
use tokio_postgres::config::{Host, SslMode};

use super::LIMIT;
use crate::config::{self, Config, Embedded, Secret, parse_url};
use crate::doctor::database::{Database, Facts, Role, Schema, Sessions, Unreachable, Way};
use crate::doctor::report::Asked;
use crate::doctor::robots;
use crate::doctor::work::Work;
use crate::outbox::standing;
use crate::pg::{Connector, NoSession, PgError, migrations, no_session};
use crate::projections::reads::site;
use crate::telemetry::chain;

/// Postgres ends a question before we give up on the connection.
const SESSION: &str = "set default_transaction_read_only = on; set statement_timeout = '4s'; set lock_timeout = '2s'";

const SETTINGS: &[&str] = &[
    "server_version",
    "server_version_num",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "session_replication_role",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "tcp_keepalives_idle",
    "autovacuum",
    "track_counts",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "max_locks_per_transaction",
    "data_directory",
];

const ROLE: &str = "
select current_user::text, d.datname::text, r.rolsuper, pg_has_role(d.datdba, 'USAGE'),
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), current_schema()::text,
       case when r.rolconnlimit >= 0 and d.datconnlimit >= 0 then least(r.rolconnlimit, d.datconnlimit)
            else greatest(r.rolconnlimit, d.datconnlimit) end::bigint,
       (select count(*) from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'S', 'p')
            and not pg_has_role(c.relowner, 'USAGE')
            and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')),
       pg_is_in_recovery(), pg_encoding_to_char(d.encoding)::text, age(d.datfrozenxid)::bigint,
       exists (select from pg_extension where extname = 'pg_trgm')
from pg_roles r, pg_database d where r.rolname = current_user and d.datname = current_database()";

/// What other roles do is shown as null to a role that may not see it.
const SESSIONS: &str = "
select (select count(*) from pg_stat_activity where datid is not null),
       l.who, l.seconds
from (select) one left join lateral (
    select format('process %s (%s, %s)', pid, coalesce(nullif(application_name, ''), usename), state) as who,
           extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
    from pg_stat_activity where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()
    order by xact_start limit 1) l on true";

/// The configured database, or that of a running server. `held`: a server holds the data folder.
pub async fn look(config: &Config, url: Option<&Secret>, held: bool) -> Database {
    let embedded = config.database.is_embedded();
    let Some(url) = url else {
        return if held { not_named() } else { asleep(&config.embedded).await };
    };
    match connect(&config.database, url).await {
        Ok(client) => facts(&client, way(url)).await,
        // Its address is of the last time a server ran.
        Err(_) if embedded && !held => asleep(&config.embedded).await,
        Err((why, text)) => Database::Unreachable { why, text },
    }
}

fn not_named() -> Database {
    let text = "the server holds the data folder and has not named its database: it is starting, or another user's".to_owned();
    Database::Unreachable { why: Unreachable::NotAcceptingYet, text }
}

async fn asleep(embedded: &Embedded) -> Database {
    let programs = tokio::time::timeout(LIMIT, crate::embedded::postgres::installed(embedded.pg_bin.as_deref())).await;
    let programs = match programs {
        Ok(Ok((bin, major))) => Ok(format!("Postgres {major} of {}", bin.display())),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("the programs of Postgres do not say their version in time".to_owned()),
    };
    Database::Asleep { programs }
}

async fn connect(database: &config::Database, url: &Secret) -> Result<Connection, (Unreachable, String)> {
    let told = |error: PgError| (why(&error), text(&error));
    let connector = Connector::new(url, database).map_err(told)?;
    match tokio::time::timeout(LIMIT, connector.connect()).await {
        Ok(Ok(dedicated)) => Ok(dedicated),
        Ok(Err(error)) => Err(told(error)),
        Err(_) => Err((Unreachable::Silent, no_answer())),
    }
}

type Connection = crate::pg::Dedicated;

fn no_answer() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

/// The text of an URL that cannot be read may show parts of it, secrets among them.
fn text(error: &PgError) -> String {
    match error {
        PgError::Url(_) => error.to_string(),
        _ => chain(error),
    }
}

fn why(error: &PgError) -> Unreachable {
    let error = match error {
        PgError::Timeout => return Unreachable::Silent,
        PgError::NoCertificates(_) => return Unreachable::Tls,
        PgError::Unreachable(error) | PgError::Postgres(error) => error,
        _ => return Unreachable::Other,
    };
    match no_session(error) {
        Some(NoSession::WrongLogin) => return Unreachable::WrongLogin,
        Some(NoSession::NoDatabase) => return Unreachable::NoDatabase,
        Some(NoSession::TooManyConnections) => return Unreachable::TooManyConnections,
        Some(NoSession::NotAcceptingYet) => return Unreachable::NotAcceptingYet,
        None => {}
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Unreachable::Silent,
        Some(_) => Unreachable::Refused,
        None if error.to_string().to_lowercase().contains("tls") => Unreachable::Tls,
        None => Unreachable::Other,
    }
}

fn way(url: &Secret) -> Way {
    let Ok(config) = parse_url(url.expose()) else { return Way::InTheClear };
    let near = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        Host::Unix(_) => true,
    };
    match config.get_ssl_mode() {
        _ if config.get_hosts().iter().all(near) => Way::SameHost,
        SslMode::Require => Way::Encrypted,
        _ => Way::InTheClear,
    }
}

/// One question after the other. After one without an answer the connection is not asked again.
struct Questions {
    silent: bool,
}

impl Questions {
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Asked<T> {
        if self.silent {
            return Err("an earlier question was not answered".to_owned());
        }
        match tokio::time::timeout(LIMIT, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => {
                self.silent = true;
                Err(no_answer())
            }
        }
    }
}

async fn facts(connection: &Connection, way: Way) -> Database {
    let client = &connection.client;
    let mut questions = Questions { silent: false };
    let asked = Instant::now();
    let settings = questions.ask(client.query("select name, setting from pg_settings where name = any ($1)", &[&SETTINGS])).await;
    let settings = match settings {
        Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        Err(text) => {
            let why = if questions.silent { Unreachable::Silent } else { Unreachable::Other };
            return Database::Unreachable { why, text };
        }
    };
    let first = asked.elapsed();
    let session = questions.ask(client.batch_execute(SESSION)).await;
    let role = questions.ask(role(client)).await;
    let clock = questions.ask(clock(client)).await;
    let schema = questions.ask(schema(client)).await;
    let sessions = questions.ask(sessions(client)).await;
    let work = match (&session, &schema) {
        (Err(why), _) => Err(why.clone()),
        // Its questions are about the tables as they are now.
        (Ok(()), Ok(Schema::Migrated(applied)))
            if migrations().iter().all(|known| applied.iter().any(|its| its.version == known.version)) =>
        {
            questions.ask(work(client)).await.map(Some)
        }
        _ => Ok(None),
    };
    let (round_trip, clock_ahead_s) = match clock {
        Ok((round_trip, ahead_s)) => (round_trip, Ok(ahead_s)),
        Err(why) => (first, Err(why)),
    };
    Database::Reached(Box::new(Facts { way, round_trip, settings, role, schema, sessions, clock_ahead_s, work }))
}

async fn role(client: &Client) -> Result<Role, tokio_postgres::Error> {
    let row = client.query_one(ROLE, &[]).await?;
    Ok(Role {
        name: row.get(0),
        database: row.get(1),
        superuser: row.get(2),
        owns_database: row.get(3),
        may_create: row.get(4),
        schema: row.get(5),
        connection_limit: row.get(6),
        foreign_tables: row.get(7),
        in_recovery: row.get(8),
        encoding: row.get(9),
        frozen_age: row.get(10),
        text_search: row.get(11),
    })
}

async fn sessions(client: &Client) -> Result<Sessions, tokio_postgres::Error> {
    let row = client.query_one(SESSIONS, &[]).await?;
    let longest = row.get::<_, Option<String>>(1).zip(row.get(2));
    Ok(Sessions { open: row.get(0), longest })
}

/// The quickest of a few questions tells the time best.
async fn clock(client: &Client) -> Result<(Duration, f64), tokio_postgres::Error> {
    let mut best = (Duration::MAX, 0.0);
    for _ in 0..3 {
        let (asked, since) = (Instant::now(), now_s());
        let theirs: f64 = client.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await?.get(0);
        let took = asked.elapsed();
        if took < best.0 {
            best = (took, theirs - (since + took.as_secs_f64() / 2.0));
        }
    }
    Ok(best)
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

async fn schema(client: &Client) -> Result<Schema, tokio_postgres::Error> {
    let applied = crate::pg::applied_migrations(client).await?;
    Ok(if applied.is_empty() { Schema::Empty } else { Schema::Migrated(applied) })
}

async fn work(client: &Client) -> Result<Work, tokio_postgres::Error> {
    Ok(Work {
        processes: site::processes(client).await?,
        lag_s: site::log_lag_s(client).await?,
        leader: site::leader(client).await?,
        waiting: standing::waiting(client).await?,
        dead: standing::dead(client).await?,
        robots: robots::Seen {
            robots: site::robots(client).await?,
            keyless: site::robots_without_key(client)
                .await?
                .into_iter()
                .map(|robot| robots::Keyless { device_id: robot.device_id.into(), in_service: robot.in_service })
                .collect(),
        },
    })
}
