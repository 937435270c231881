//! Features, tested through the front door on a real Postgres. One binary, one
//! harness; a file per feature.

mod harness;

mod blobs;
mod embedded_postgres;
mod http_lists;
mod http_login;
mod http_slice;
mod pg;
mod tidy;
