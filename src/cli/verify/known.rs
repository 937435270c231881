//! Keys and checkpoints that others kept.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::app::certificates::read_pem;
use crate::certificates::{NOTE_BYTES_MAX, NoteKey, PublicKey, opened};
use crate::domain::log_tree::Checkpoint;

#[derive(Default)]
pub struct Keys {
    named: Vec<NoteKey>,
    /// In PEM a key has no name: it verifies notes of any.
    of_any: Vec<PublicKey>,
}

impl Keys {
    pub fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut keys = Self::default();
        for file in files {
            let cannot = || format!("cannot use {} as a key of checkpoints", file.display());
            let text = read_pem(file).with_context(cannot)?;
            if text.contains("-----BEGIN") {
                keys.of_any.extend(PublicKey::all_of_pem(&text).with_context(cannot)?);
            } else {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                let named: Option<Vec<NoteKey>> = lines.map(|line| NoteKey::parse(line.trim())).collect();
                keys.named.extend(named.context("a line of it is no key").with_context(cannot)?);
            }
        }
        Ok(keys)
    }

    pub fn with<'a>(mut self, keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        self.of_any.extend(keys.into_iter().cloned());
        self
    }

    pub fn are_none(&self) -> bool {
        self.named.is_empty() && self.of_any.is_empty()
    }

    /// What a note says that one of these keys has signed.
    pub fn open(&self, note: &str) -> anyhow::Result<Checkpoint> {
        let origin = note.lines().next().unwrap_or_default();
        let all: Vec<NoteKey> = self.named.iter().cloned().chain(self.of_any.iter().map(|key| NoteKey::new(origin, key))).collect();
        Checkpoint::parse(opened(note, &all)?).context("it is no checkpoint")
    }

    /// The checkpoint in a file.
    pub fn checkpoint(&self, file: &Path) -> anyhow::Result<Checkpoint> {
        let cannot = || format!("{} is no checkpoint to go by", file.display());
        let mut note = String::new();
        File::open(file).with_context(cannot)?.take(NOTE_BYTES_MAX + 1).read_to_string(&mut note).with_context(cannot)?;
        ensure!(note.len() as u64 <= NOTE_BYTES_MAX, "{} has more than {NOTE_BYTES_MAX} bytes", file.display());
        self.open(&note).with_context(cannot)
    }
}
