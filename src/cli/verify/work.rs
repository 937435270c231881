//! What is asked of a verification, and what it finds.

use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Options {
    /// Only events from this position on, against the newest head
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["export", "tiles"])]
    pub from: Option<u64>,
    /// Only events up to this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["export", "tiles"])]
    pub to: Option<u64>,
    /// A checkpoint that was kept elsewhere: what it was signed over has to be the beginning of the log
    #[arg(long, value_name = "FILE", requires = "key")]
    pub checkpoint: Option<PathBuf>,
    /// Keys that verify checkpoints: lines as the route /log/keys gives them, or PEM
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Without a database: events as `keystone events --export stored` writes them
    #[arg(long, value_name = "FILE", requires = "key")]
    pub export: Option<PathBuf>,
    /// Without a database: a copy of what the object store has of the tree, with its checkpoint
    #[arg(long, value_name = "FOLDER", requires = "key")]
    pub tiles: Option<PathBuf>,
}

impl Options {
    pub fn is_offline(&self) -> bool {
        self.export.is_some() || self.tiles.is_some()
    }
}

/// What was found.
#[derive(Default)]
pub struct Findings {
    pub said: Vec<String>,
    pub faults: Vec<String>,
}
