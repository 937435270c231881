//! What a table of a read model is: the columns of a row, declared once for writing and reading, and the statements that write it.

use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use crate::domain::Timestamp;
use crate::eventstore::StoreError;

/// A table, and the statements over it. Rows and ids come as one JSON array each.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    pub name: &'static str,
    /// Whether ids are numbers.
    pub numeric_id: bool,
    /// New rows are inserted, known ones replaced by a newer version and keep their `created_at`.
    pub upsert: &'static str,
    /// Selects what the upsert inserts: the rows of `$1`, with who people are by now.
    pub rows: &'static str,
    /// Deletes rows by their ids.
    pub delete: &'static str,
}

/// A row's own columns; those of [`Head`] are the same for all.
pub trait Table: Serialize + Sized {
    type Id: FromSqlOwned;
    const NAME: &'static TableName;
    /// Those that are read with the row.
    const READ: &'static [&'static str];

    /// From a row of a statement that selects them.
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// What all rows have.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub id: &'a str,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A row to write, as the table's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct RowWrite {
    pub table: &'static TableName,
    pub row: Value,
}

impl RowWrite {
    pub fn new<R: Table>(head: Head<'_>, row: &R) -> Result<Self, StoreError> {
        let fault = |reason: &dyn std::fmt::Display| StoreError::Unreadable(format!("row {} of {}: {reason}", head.id, R::NAME.name));
        let mut row = serde_json::to_value(row).map_err(|error| fault(&error))?;
        let columns = row.as_object_mut().ok_or_else(|| fault(&"it has no columns"))?;
        columns.insert("id".into(), R::NAME.id(head.id)?);
        columns.insert("version".into(), json!(head.version));
        columns.insert("created_at".into(), json!(head.created_at));
        columns.insert("updated_at".into(), json!(head.updated_at));
        Ok(Self { table: R::NAME, row })
    }

    /// Tells the rows of a table apart.
    pub fn key(&self) -> String {
        self.row["id"].to_string()
    }
}

impl TableName {
    /// The id of a stream's row.
    pub fn id(&self, stream: &str) -> Result<Value, StoreError> {
        if !self.numeric_id {
            return Ok(json!(stream));
        }
        let number: Result<i64, _> = stream.parse();
        number.map(Value::from).map_err(|_| StoreError::Unreadable(format!("{} has no row with the id {stream:?}", self.name)))
    }
}

/// Declares rows: `Name in "table" by number|text Id { column: type }`. Behind `apart` columns that may be large: they are written, and not read
/// with the row; then they are `None`. Behind `of the person`, with what kind of person it is, columns that tell who a
/// person is: they are taken from `people`, from the row only where an old event told it; of a person who was forgotten
/// there is what stands behind `else`, and the person's number. Of rows that are written together those come `first where` they make room for others.
macro_rules! table {
    ($($(#[$doc:meta])* $row:ident in $table:literal by $form:ident $id:ty {
        $($(#[$about:meta])* $column:ident: $type:ty),+ $(,)?
        $(; apart $($large:ident: $large_type:ty),+)?
        $(; first where $freeing:literal)?
        $(; of the person $subject:literal by $person:ident $($told:ident from $known:ident $(else $forgotten:literal)?),+)?
    })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $row {
            $($(#[$about])* pub $column: $type,)+
            $($(pub $large: Option<$large_type>,)+)?
            $($(pub $told: Option<String>),+)?
        }

        impl $crate::projections::rows::Table for $row {
            type Id = $id;
            const READ: &'static [&'static str] = &[$(stringify!($column),)+ $($(stringify!($told)),+)?];
            const NAME: &'static $crate::projections::rows::TableName = &$crate::projections::rows::TableName {
                name: $table,
                numeric_id: $crate::projections::rows::table::is_number!($form),
                upsert: concat!(
                    "insert into ", $table, " as t (id, version, created_at, updated_at", $(", ", stringify!($column),)+
                    $($(", ", stringify!($large),)+)? $($(", ", stringify!($told),)+)?
                    ") ",
                    $crate::projections::rows::table::rows!($table ($($column)+) ($($($large)+)?)
                        ($($subject $person $($told from $known $(else $forgotten)?),+)?)),
                    $("order by not (", $freeing, ") ",)?
                    "on conflict (id) do update set (version, updated_at", $(", ", stringify!($column),)+
                    $($(", ", stringify!($large),)+)? $($(", ", stringify!($told),)+)?
                    ") = (excluded.version, excluded.updated_at", $(", excluded.", stringify!($column),)+
                    $($(", excluded.", stringify!($large),)+)? $($(", excluded.", stringify!($told),)+)?
                    ") where t.version < excluded.version"
                ),
                rows: $crate::projections::rows::table::rows!($table ($($column)+) ($($($large)+)?)
                    ($($subject $person $($told from $known $(else $forgotten)?),+)?)),
                delete: concat!(
                    "delete from ", $table, " where id = any (array(select jsonb_array_elements_text($1)::",
                    $crate::projections::rows::table::sql_type!($form), "))"
                ),
            };

            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self {
                    $($column: row.try_get(stringify!($column))?,)+
                    $($($large: None,)+)?
                    $($($told: row.try_get(stringify!($told))?),+)?
                })
            }
        }
    )+};
}

/// Selects rows that are given as JSON.
macro_rules! rows {
    ($table:literal ($($column:ident)+) ($($large:ident)*) ($($subject:literal $person:ident
        $($told:ident from $known:ident $(else $forgotten:literal)?),+)?)) => {
        concat!(
            "select r.id, r.version, r.created_at, r.updated_at", $(", r.", stringify!($column),)+ $(", r.", stringify!($large),)*
            $($(", coalesce(p.", stringify!($known), ", r.", stringify!($told), $(", '", $forgotten, "' || r.", stringify!($person),)?
                ") as ", stringify!($told),)+)?
            " from jsonb_populate_recordset(null::", $table, ", $1) r "
            $(, "left join people p on p.subject = '", $subject, "' and p.subject_id = r.", stringify!($person), " ")?
        )
    };
}

macro_rules! is_number {
    (number) => {
        true
    };
    (text) => {
        false
    };
}

macro_rules! sql_type {
    (number) => {
        "bigint"
    };
    (text) => {
        "text"
    };
}

pub(crate) use {is_number, rows, sql_type, table};
