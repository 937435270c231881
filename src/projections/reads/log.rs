//! How the log stands: whether it can be read, and how far positions are behind commits.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};

row! {
    LogStanding {
        /// Age of the oldest event that has no position yet; zero when all have one.
        lag_seconds: f64 = "coalesce(extract(epoch from clock_timestamp() - min(e.recorded_at)), 0)::float8",
        /// Whether a process has the lead, and has shown itself lately.
        led: bool = "coalesce((select l.lease_until > clock_timestamp() from leadership l), false)",
    }
}

/// Looks at the newest thousand events only: a larger backlog is over any limit anyway.
pub(super) fn standing() -> String {
    format!(
        "select {} from (select n.seq, n.recorded_at from events n order by n.seq desc limit 1000) e \
         where not exists (select from log l where l.seq = e.seq)",
        LogStanding::columns()
    )
}

impl Reads {
    pub async fn log_standing(&self) -> Result<LogStanding, ReadError> {
        Ok(self.row(&standing(), &[]).await?.unwrap_or(LogStanding { lag_seconds: 0.0, led: false }))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("standing of the log", standing())]
}
