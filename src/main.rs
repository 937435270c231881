//! The program `keystone`. Everything is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match keystone_edge::cli::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keystone: {error:#}");
            ExitCode::FAILURE
        }
    }
}
