//! `keystone salvage`: what is good of a damaged recording goes to a file of its own. Of a file of this machine without a server, of an
//! episode by the server that has it.

mod local;
mod server;

use std::path::PathBuf;

use super::place::{At, Place};
use crate::config::Config;

#[derive(clap::Args)]
pub struct Options {
    /// A damaged recording on this machine
    #[arg(required_unless_present = "server", conflicts_with_all = ["server", "episode"])]
    file: Option<PathBuf>,
    /// Where what is good of it goes; of an episode, it is fetched only where this is given
    #[arg(long, value_name = "FILE", required_unless_present = "server")]
    output: Option<PathBuf>,
    /// Replace the output where it is there already
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// The damaged episode, by its number, at the server of --server
    #[arg(long, value_name = "ID", required_unless_present = "file", requires = "server")]
    episode: Option<i64>,
    /// Why it is wanted, for those who ask later
    #[arg(long, value_name = "TEXT", required_unless_present = "file", requires = "server")]
    reason: Option<String>,
    #[command(flatten)]
    at: At,
}

pub async fn run(options: Options, settings: impl FnOnce() -> anyhow::Result<Config>) -> anyhow::Result<()> {
    let Options { file, output, force, json, episode, reason, at } = options;
    match (file, output, episode, reason) {
        (Some(file), Some(output), ..) => local::run(&local::Wanted { file, output, force, json }).await,
        (None, output, Some(episode), Some(reason)) => {
            let wanted = server::Wanted { episode, reason, output, force, json };
            at.with(settings, async |place| match place {
                Place::Server(remote) => server::run(remote, &wanted).await,
                Place::Database(_) => anyhow::bail!("the servers of a database salvage; name one with --server"),
            })
            .await
        }
        _ => anyhow::bail!("name a file and --output, or --server with --episode and --reason"),
    }
}
