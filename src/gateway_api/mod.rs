//! The two gRPC services of the data gateway: messages, and what speaks them on either side.
//!
//! `auth.proto` and `data_gateway.proto` say what goes over the wire; the Rust files were generated from them and are kept
//! here, so that building needs neither a compiler of definitions nor a build script. A test generates them again and compares;
//! `KEYSTONE_WRITE_GENERATED=1 cargo test --test it gateway_api` writes them. A client that uploads and the simulated cloud are
//! made of the same files, and what a call means is not in them.

#[rustfmt::skip]
pub mod auth;
#[rustfmt::skip]
pub mod data_gateway;

mod shown;
