//! What a failure of Postgres means, decided in one place by its SQLSTATE.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::telemetry::chain;

/// What kind of failure an error is, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// 23505. Another transaction was first; which promise it is, the name tells.
    Unique {
        constraint: &'a str,
    },
    /// 23503.
    ForeignKey {
        constraint: &'a str,
    },
    /// 23514.
    Check {
        constraint: &'a str,
    },
    /// 40001 and 40P01: nothing was done, doing it again is right.
    Serialization,
    Deadlock,
    /// A value that a statement was given is out of its type's range, or larger than an index takes. The edges hold
    /// values against the limits of tables first; this is for what they forgot.
    Value,
    /// This session cannot do what others can: it only reads, or its prepared statements no longer fit the schema.
    /// Nothing was done. The session has left the pool when the caller hears of it.
    Unfit,
    /// The connection broke, or the server cannot do it now: it shuts down or starts, is full, out of memory or
    /// connections, took too long, waited in vain for a lock. Whether a commit that was under way took place is
    /// unknown; anything else was not done.
    Unavailable,
    Other,
}

impl Fault<'_> {
    /// Nothing was committed and the same transaction may well succeed now.
    pub fn is_transient_conflict(&self) -> bool {
        matches!(self, Self::Serialization | Self::Deadlock)
    }
}

pub fn fault(error: &tokio_postgres::Error) -> Fault<'_> {
    let Some(db) = error.as_db_error() else {
        let broken = error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>());
        return if broken { Fault::Unavailable } else { Fault::Other };
    };
    let constraint = db.constraint().unwrap_or_default();
    match db.code() {
        code if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::EXCLUSION_VIOLATION => Fault::Unique { constraint },
        code if *code == SqlState::FOREIGN_KEY_VIOLATION => Fault::ForeignKey { constraint },
        code if *code == SqlState::CHECK_VIOLATION => Fault::Check { constraint },
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE => Fault::Serialization,
        code if *code == SqlState::T_R_DEADLOCK_DETECTED => Fault::Deadlock,
        code if of_values(code.code()) => Fault::Value,
        code if unfit(code.code()) => Fault::Unfit,
        code if unavailable(code.code()) => Fault::Unavailable,
        _ => Fault::Other,
    }
}

/// What Postgres said, or why nothing was heard of it.
pub fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| chain(error), ToString::to_string)
}

/// Why Postgres takes no session of ours, where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSession {
    WrongLogin,
    NoDatabase,
    TooManyConnections,
    /// It starts, recovers or stops.
    NotAcceptingYet,
}

pub fn no_session(error: &tokio_postgres::Error) -> Option<NoSession> {
    no_session_by(error.code()?.code())
}

fn no_session_by(code: &str) -> Option<NoSession> {
    match code {
        "28P01" | "28000" => Some(NoSession::WrongLogin),
        "3D000" => Some(NoSession::NoDatabase),
        "53300" => Some(NoSession::TooManyConnections),
        code if code.starts_with("57P") => Some(NoSession::NotAcceptingYet),
        _ => None,
    }
}

/// A statement that was cut or divides by zero is our own doing.
fn of_values(code: &str) -> bool {
    matches!(code, "22001" | "22003" | "22007" | "22008" | "22021" | "22P02" | "22P05" | "54000")
}

/// Read only, after a failover or because an operator said so; a cached plan whose result has another type now, the
/// only feature that Postgres does not support and we ask for; prepared statements that are gone or not ours.
fn unfit(code: &str) -> bool {
    matches!(code, "25006" | "0A000" | "26000" | "42P05")
}

/// Whether a new session would say the same for as long as the server is as it is.
pub(super) fn is_of_the_server(code: &str) -> bool {
    code == "25006"
}

/// Connection exceptions; lack of disk, memory or connections; cancelled, shutdown, crash, starting up; a lock that
/// was not to be had; a transaction ended for being idle; an I/O error.
pub(super) fn unavailable(code: &str) -> bool {
    ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "25P03" | "25P04")
}

/// Whether a session that says this is of no use any more, whatever it is asked next. One that met an internal
/// error (class XX) may have caches that are wrong.
pub(super) fn condemns(code: &str) -> bool {
    unfit(code) || code.starts_with("08") || code.starts_with("XX") || code.starts_with("57P") || matches!(code, "25P03" | "25P04")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_lost_a_race_or_a_statement_stays() {
        for code in ["23505", "40001", "40P01", "57014", "53100", "53200", "55P03", "25P02", "42601"] {
            assert!(!condemns(code), "{code}");
        }
        for code in ["25006", "0A000", "26000", "57P01", "57P03", "08006", "XX000", "25P03"] {
            assert!(condemns(code), "{code}");
        }
    }

    #[test]
    fn why_there_is_no_session_is_told_apart() {
        let told = ["28P01", "28000", "3D000", "53300", "57P03", "42601"].map(no_session_by);
        use NoSession::{NoDatabase, NotAcceptingYet, TooManyConnections, WrongLogin};
        let expected = [Some(WrongLogin), Some(WrongLogin), Some(NoDatabase), Some(TooManyConnections), Some(NotAcceptingYet), None];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_may_pass_is_unavailable() {
        for code in ["08001", "53100", "53200", "53300", "57014", "57P01", "57P02", "57P03", "58030", "55P03"] {
            assert!(unavailable(code), "{code}");
        }
        for code in ["42601", "42P01", "22001", "25P02", "XX001"] {
            assert!(!unavailable(code), "{code}");
        }
    }
}
