//! Rows of read models as they were at a position of the log, for the same queries that are asked of the live ones.
//!
//! A statement is asked of the past as it stands: before it, each table of a read model that it names is given once more, as a common table
//! expression of the same name, with rows that come as a parameter. Postgres takes such a name before that of the table, so nothing that the
//! statement reads of these tables is of now. Tables that are no read models it reads as they are; only `people` is one
//! ([ADR 16](../../docs/adr/0016-people-beside-the-log.md), [ADR 36](../../docs/adr/0036-the-past-is-asked-by-the-same-queries.md)).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::folds::Folds;
use super::rows::{TableName, tables};
use crate::eventstore::StoreError;

/// Rows as they were.
#[derive(Debug, Default)]
pub(super) struct Past {
    rows: BTreeMap<&'static TableName, Vec<Value>>,
}

impl Past {
    pub fn of(folds: Folds) -> Result<Self, StoreError> {
        Ok(Self { rows: folds.into_rows()? })
    }

    /// The statement over these rows, and the rows that it reads: its last parameter, behind so many others.
    pub fn asked(&self, statement: &str, parameters: usize) -> (String, Value) {
        let place = parameters + 1;
        let read: Vec<_> = tables().into_iter().filter(|table| names(statement, table.name)).collect();
        if read.is_empty() {
            // The parameter has to stand somewhere.
            return (format!("with nothing as (select ${place}::jsonb) {statement}"), Value::Null);
        }
        let given = |table: &&TableName| {
            let rows = table.rows.replacen("$1", &format!("${place}::jsonb -> '{}'", table.name), 1);
            format!("{} as ({rows})", table.name)
        };
        let of =
            |table: &&'static TableName| (table.name.to_owned(), self.rows.get(table).cloned().map_or(Value::Array(vec![]), Value::Array));
        let expressions = read.iter().map(given).collect::<Vec<_>>().join(", ");
        (format!("with {expressions} {statement}"), Value::Object(read.iter().map(of).collect::<Map<_, _>>()))
    }
}

/// Whether a statement has this word.
fn names(statement: &str, table: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || c == '_';
    statement.match_indices(table).any(|(at, _)| !statement[..at].ends_with(within) && !statement[at + table.len()..].starts_with(within))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tables_that_a_statement_names_are_given_and_no_others() {
        let (sql, rows) = Past::default().asked("select from tasks t left join episodes e on e.task_id = t.id where t.id = $1", 1);
        assert_eq!(rows, json!({"tasks": [], "episodes": []}));
        assert!(sql.starts_with("with tasks as (select r.id,"), "{sql}");
        assert!(sql.contains("jsonb_populate_recordset(null::episodes, $2::jsonb -> 'episodes') r ) select from tasks t"), "{sql}");
        assert_eq!(sql.matches(" as (select ").count(), 2, "`task_id` is no table: {sql}");
    }

    #[test]
    fn people_are_as_they_are_now() {
        let (sql, _) = Past::default().asked("select from stations", 0);
        assert!(sql.contains("coalesce(p.name, r.collector_name, 'forgotten person ' || r.data_collector_id) as collector_name"), "{sql}");
        assert!(sql.contains("left join people p on p.subject = 'data_collector' and p.subject_id = r.data_collector_id"), "{sql}");
    }
}
