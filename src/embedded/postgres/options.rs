//! What a caller decides about a cluster.

use std::path::PathBuf;

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder with `initdb` and `postgres`; found where not given.
    pub pg_bin: Option<PathBuf>,
    /// Settings over ours, as `-c name=value`.
    pub settings: Vec<(String, String)>,
    /// The cluster goes on when this process ends; another process has to stop it.
    pub outliving: bool,
}

impl Options {
    /// For tests: nothing is synced, so a crash of the machine loses the cluster.
    pub fn volatile(mut self) -> Self {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            self.settings.push((name.to_owned(), "off".to_owned()));
        }
        self
    }

    pub fn outliving(mut self) -> Self {
        self.outliving = true;
        self
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.settings.iter().any(|(name, value)| name == "fsync" && value == "off")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}
