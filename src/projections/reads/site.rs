//! A site at one glance: its processes, its robots, and how far the log is behind. For tools beside the server,
//! which bring a connection of their own.

use tokio_postgres::GenericClient;

use super::credentials::{KeylessRobotRow, keyless_robots};
use super::log::{self, LogStanding};
use super::row::{FromRow, row};
use crate::domain::alert;

/// The same for tools beside the server as for its alerts.
pub const LOG_LAG_MAX_S: f64 = alert::LOG_LAG_MAX_S;

row! {
    Processes {
        alive: i64 = "count(*) filter (where p.ended_at is null and p.lease_until > clock_timestamp())",
        /// Neither signed off nor renewed; the first process that sees them says that they ended.
        silent: i64 = "count(*) filter (where p.ended_at is null and p.lease_until <= clock_timestamp())",
    }
}

row! {
    Robots {
        /// Every device that ever connected.
        known: i64 = "count(*)",
        connected: i64 = "count(*) filter (where d.recorder_open or d.transfer_open)",
    }
}

row! {
    Leadership {
        /// Host and process id of what leads the log; none while nothing does.
        leader: Option<String> = "case when l.lease_until > clock_timestamp() then l.name end",
    }
}

row! {
    /// How production goes.
    AtWork {
        /// Tasks whose recording has ended and did not arrive.
        uploads_waiting: i64 = "(select count(*) from tasks t where t.status = 'uploading')",
        /// Since the last episode came, or the first of the stations that are at work began, whatever was later; 0 where none is.
        without_upload_s: f64 = "coalesce((select extract(epoch from clock_timestamp() - greatest(min(s.updated_at), \
                                 (select e.created_at from episodes e order by e.created_at desc, e.id desc limit 1))) \
                                 from stations s where s.is_current and s.status = 'active' having count(*) > 0), 0)::float8",
        /// Of the episodes of the last hour that were judged, the share that failed or was rejected. One of three says nothing.
        qa_failure_ratio: f64 = "coalesce((select (count(*) filter (where e.qa_status in ('failed', 'rejected')))::float8 / count(*) from episodes e \
                                 where e.created_at > clock_timestamp() - interval '1 hour' and e.qa_status not in ('pending_qa', 'qa_running') \
                                 having count(*) >= 10), 0)",
    }
}

fn work_now() -> String {
    format!("select {}", AtWork::columns())
}

pub async fn at_work(client: &(impl GenericClient + Sync)) -> Result<AtWork, tokio_postgres::Error> {
    AtWork::from_row(&client.query_one(&work_now(), &[]).await?)
}

fn leadership_now() -> String {
    format!("select {} from leadership l", Leadership::columns())
}

fn processes_now() -> String {
    format!("select {} from processes p", Processes::columns())
}

fn robots_now() -> String {
    format!("select {} from devices d", Robots::columns())
}

pub async fn processes(client: &(impl GenericClient + Sync)) -> Result<Processes, tokio_postgres::Error> {
    Processes::from_row(&client.query_one(&processes_now(), &[]).await?)
}

pub async fn robots(client: &(impl GenericClient + Sync)) -> Result<Robots, tokio_postgres::Error> {
    Robots::from_row(&client.query_one(&robots_now(), &[]).await?)
}

/// Which process leads the log.
pub async fn leader(client: &(impl GenericClient + Sync)) -> Result<Option<String>, tokio_postgres::Error> {
    Ok(Leadership::from_row(&client.query_one(&leadership_now(), &[]).await?)?.leader)
}

/// Robots without a key of their own to the store.
pub async fn robots_without_key(client: &(impl GenericClient + Sync)) -> Result<Vec<KeylessRobotRow>, tokio_postgres::Error> {
    client.query(&keyless_robots(), &[]).await?.iter().map(KeylessRobotRow::from_row).collect()
}

/// Seconds by which positions are behind commits.
pub async fn log_lag_s(client: &(impl GenericClient + Sync)) -> Result<f64, tokio_postgres::Error> {
    let row = client.query_opt(&log::standing(), &[]).await?;
    Ok(row.map(|row| LogStanding::from_row(&row)).transpose()?.map_or(0.0, |standing| standing.lag_seconds))
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("processes of the site", processes_now()),
        ("robots of the site", robots_now()),
        ("leader of the log", leadership_now()),
        ("how production goes", work_now()),
    ]
}
