//! What is done about events. Each subscriber says in its module what makes a repeat harmless,
//! and sends a command where it wants something changed.

pub mod device_commands;
mod odd_json;
mod sidecar;
pub mod upload_verification;
