//! The program `keystone`. Everything is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    keystone_edge::cli::run().await
}
