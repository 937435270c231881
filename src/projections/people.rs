//! Who people are: it stands beside the log, and events name them by number only.

/// What is known of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// What kind of person, as in `credentials`.
    pub subject: &'static str,
    /// Their number among those.
    pub id: i64,
    /// For people.
    pub name: String,
    /// What they sign in with.
    pub operator_id: Option<String>,
    /// Where to reach them.
    pub email: Option<String>,
}

/// Keeps who a person is, in place of what was known before.
pub const KEEP: &str = "insert into people (subject, subject_id, name, operator_id, email) values ($1, $2, $3, $4, $5)
    on conflict (subject, subject_id) do update set (name, operator_id, email, changed_at)
        = (excluded.name, excluded.operator_id, excluded.email, clock_timestamp())";

/// All bindings of a data collector tell who they are now: what is known of people has no history.
pub const AT_STATIONS: &str = "update stations set collector_name = $3, collector_operator_id = coalesce($4, collector_operator_id)
    where $1::text = 'data_collector' and data_collector_id = $2 and ($3, $4) is distinct from (collector_name, collector_operator_id)";

/// All sessions of a person end.
pub const END_SESSIONS: &str =
    "update sessions set ended_at = $3 where subject = $1 and subject_id = $2 and ended_at is null and expires_at > $3 returning id";
