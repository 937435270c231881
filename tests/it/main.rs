//! Features, tested through the front door on a real Postgres. One binary, one
//! harness; a file per feature.

mod harness;

mod blobs;
mod embedded_postgres;
mod pg;
mod tidy;
