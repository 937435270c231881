//! A row as it is read.

use tokio_postgres::Row;

/// A row as a value.
pub(in crate::projections) trait FromRow: Sized {
    /// What a statement selects for it.
    fn columns() -> String;
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// Declares a row: fields, their types, and the SQL each comes from. Behind `of` a table and its name in the statement: then
/// the table's row is the field `own`, beside what all tables have; no other field is named as one of its columns.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $sql:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl $crate::projections::reads::row::FromRow for $name {
            fn columns() -> String {
                [$(concat!($sql, " as ", stringify!($field))),+].join(", ")
            }
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?),+ })
            }
        }
    };
    ($(#[$doc:meta])* $name:ident of $own:ty as $table:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty = $sql:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            pub id: <$own as $crate::projections::rows::Table>::Id,
            pub own: $own,
            pub created_at: $crate::domain::Timestamp,
            pub updated_at: $crate::domain::Timestamp,
            $($(#[$fdoc])* pub $field: $type),*
        }
        impl $crate::projections::reads::row::FromRow for $name {
            fn columns() -> String {
                let own = ["id", "created_at", "updated_at"].iter().chain(<$own as $crate::projections::rows::Table>::READ);
                let own = own.map(|column| format!(concat!($table, ".{column} as {column}"), column = column));
                let further = [$(concat!($sql, " as ", stringify!($field))),*].map(str::to_owned);
                own.chain(further).collect::<Vec<_>>().join(", ")
            }
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self {
                    id: row.try_get("id")?,
                    own: <$own as $crate::projections::rows::Table>::from_row(row)?,
                    created_at: row.try_get("created_at")?,
                    updated_at: row.try_get("updated_at")?,
                    $($field: row.try_get(stringify!($field))?),*
                })
            }
        }
    };
}
pub(super) use row;
