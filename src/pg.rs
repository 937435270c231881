//! The Postgres pool, migrations and errors.
