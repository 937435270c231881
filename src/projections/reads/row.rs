//! A row as it is read.

use tokio_postgres::Row;

/// A row as a value.
pub(in crate::projections) trait FromRow: Sized {
    const COLUMNS: &'static str;
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// Declares a row: fields, their types, and the SQL each comes from.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $sql:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl $crate::projections::reads::row::FromRow for $name {
            const COLUMNS: &'static str = concat!("true as present" $(, ", ", $sql, " as ", stringify!($field))+);
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?),+ })
            }
        }
    };
}
pub(super) use row;
