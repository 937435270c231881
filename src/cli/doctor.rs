//! `keystone doctor`.

use std::path::Path;

use super::output::say;
use crate::app::{ADMIN_PASSWORD, DATABASE_URL_FILE, OLD_SECRET};
use crate::config::Config;
use crate::doctor::{Level, Remembered, examine};
use crate::telemetry::chain;

#[derive(clap::Args)]
#[command(after_help = "\
Reads the settings as `serve` does; run it where the server runs, as its user, beside it or without it. Starts \
nothing, changes nothing, shows no secret. Each check is ok, a warning or a problem, and ends by itself.

Ends with 0 where there is no problem, 1 where there is one, and 2 where it could not look because the settings \
cannot be used. docs/operations.md explains every check.")]
pub struct Options {
    /// One JSON object for machines instead of text
    #[arg(long)]
    json: bool,
}

/// Ends the program: what was asked and never answered (a name server, a disk on the network) is not waited for.
pub async fn run(file: Option<&Path>, options: &Options) -> ! {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("keystone: {}", chain(&error));
            std::process::exit(2);
        }
    };
    let files = Remembered { database_url: DATABASE_URL_FILE, shared_key: OLD_SECRET, admin_password: ADMIN_PASSWORD };
    let report = examine(&config, files).await;
    let text = if options.json { serde_json::to_string_pretty(&report) } else { Ok(report.to_string()) };
    let said = text.map_err(anyhow::Error::from).and_then(|text| say(&text));
    if let Err(error) = said {
        eprintln!("keystone: {error:#}");
        std::process::exit(2);
    }
    std::process::exit(i32::from(report.level == Level::Problem))
}
