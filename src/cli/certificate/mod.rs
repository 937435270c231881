//! `keystone certificate`: how an episode came to be, signed.
//!
//! - [`show`]: of an episode at a server.
//! - [`verify`]: of a file, without anything else.
//! - [`keys`]: those that verify, and another one to sign with.

mod keys;
mod show;
mod told;
mod verify;

use clap::Subcommand;

use super::place::At;
use crate::config::Config;

#[derive(Subcommand)]
pub enum Command {
    /// The certificate of an approved episode, from a server
    Show {
        /// Its number
        episode: i64,
        /// The file itself, to be kept and verified
        #[arg(long, conflicts_with = "json")]
        file: bool,
        /// What it says, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether a certificate is what was signed, and says one thing
    Verify(verify::Options),
    /// The public keys that verify certificates, as PEM
    Keys,
    /// Sign with another key from the next start on; the one before still verifies
    Rotate,
}

impl Command {
    /// Whether it ends with another code where it could not look.
    pub fn judges(&self) -> bool {
        matches!(self, Self::Verify(_))
    }
}

pub async fn run(command: Command, at: At, settings: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<()> {
    match command {
        Command::Verify(options) => verify::run(&options),
        Command::Rotate => keys::rotate(&settings()?),
        Command::Keys if !at.names_a_server() => keys::of_folder(&settings()?),
        Command::Keys => at.at_server(keys::of_server).await,
        Command::Show { episode, file, json } => at.at_server(async |remote| show::run(remote, episode, file, json).await).await,
    }
}
