//! Without a database: an export of the events as they are stored, and a copy of the tree.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::examine::{self, Examined};
use super::known::Keys;
use super::source::Source;
use super::work::{Findings, Options};
use crate::domain::log_tree::hash::unbundled;
use crate::domain::log_tree::tile::WIDTH;
use crate::domain::log_tree::{Checkpoint, Growth, Hash, Kept, Resource, TileId, Told};
use crate::eventstore::tree::committed::CommittedEvent;

pub async fn verify(options: &Options, keys: &Keys) -> anyhow::Result<Findings> {
    let in_folder = options.tiles.as_ref().map(|folder| folder.join("checkpoint"));
    let file = options.checkpoint.as_ref().or(in_folder.as_ref());
    let head = keys.checkpoint(file.context("--checkpoint names what the events are compared with")?)?;
    let size = head.size;
    let said = format!("The head of {size} events of {} is signed", head.origin);
    let Examined { events, faults } = match (&options.export, &options.tiles) {
        (Some(export), tiles) => {
            let export = Export::open(export)?;
            let first = export.first_position()?;
            let mut source = OfFiles { export, folder: tiles.clone() };
            match tiles {
                None => {
                    ensure!(
                        first == 1,
                        "the export begins at position {first}; without --tiles only one from the first event on says anything"
                    );
                    examine::events(&mut source, size, vec![head]).await?
                }
                Some(_) if first == 1 => examine::whole(&mut source, size, vec![head]).await?,
                Some(_) => {
                    let last = source.export.last_position()?.min(size);
                    ensure!(first <= last, "the export begins behind the checkpoint, which is of {size} events");
                    examine::range(&mut source, size, (first, last), &[head]).await?
                }
            }
        }
        (None, Some(folder)) => tree_alone(folder, &head)?,
        (None, None) => bail!("--export or --tiles says what is looked at"),
    };
    Ok(Findings { said: vec![said, format!("{events} events compared with it")], faults })
}

/// The tree with its leaves, and no event: what an auditor has who may not see what happened.
fn tree_alone(folder: &Path, head: &Checkpoint) -> anyhow::Result<Examined> {
    let (mut growth, mut faults) = (Growth::default(), vec![]);
    for number in 0..head.size.div_ceil(WIDTH as u64) {
        let id = TileId { level: 0, number };
        let width = id.width_in(head.size);
        let hashes = tile(folder, id, width)?.with_context(|| format!("the tile 0/{number} is not there"))?;
        if let Some(bytes) = piece(folder, &Resource::Entries { number, width })? {
            let leaves = unbundled(&bytes);
            let fits = leaves.len() >= width && leaves.iter().zip(&hashes).all(|(leaf, hash)| Hash::of_leaf(leaf) == *hash);
            if !fits {
                faults.push(format!("the entries {number} are not those of the tile 0/{number}"));
            }
        }
        hashes.into_iter().take(width).for_each(|hash| growth.append(hash));
        for (id, hashes) in growth.take_tiles().into_iter().filter(|(id, _)| id.level > 0) {
            let kept = tile(folder, id, id.width_in(head.size))?;
            if kept.is_some_and(|kept| kept.get(..hashes.len()) != Some(hashes.as_slice())) {
                faults.push(format!("the tile {}/{} is not made of those below it", id.level, id.number));
            }
        }
    }
    if growth.root() != head.root {
        faults.push(format!("the tree is not the one of {} events that was signed", head.size));
    }
    Ok(Examined { events: growth.size(), faults })
}

/// What a copy has under a name; a full piece is as good as the beginning of it.
fn piece(folder: &Path, resource: &Resource) -> anyhow::Result<Option<Vec<u8>>> {
    let full = match *resource {
        Resource::Hashes { tile, .. } => Resource::Hashes { tile, width: WIDTH },
        Resource::Entries { number, .. } => Resource::Entries { number, width: WIDTH },
    };
    for name in [full, *resource] {
        let file = folder.join("tile").join(name.to_string());
        match std::fs::read(&file) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
    Ok(None)
}

fn tile(folder: &Path, id: TileId, width: usize) -> anyhow::Result<Option<Vec<Hash>>> {
    let Some(bytes) = piece(folder, &Resource::Hashes { tile: id, width })? else { return Ok(None) };
    Ok(Some(
        Hash::all_of(&bytes)
            .filter(|hashes| hashes.len() >= width)
            .with_context(|| format!("the tile {}/{} is torn", id.level, id.number))?,
    ))
}

/// Events, a line each, in the order of the log.
struct Export {
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    /// Read, and not asked for yet.
    next: Option<Told>,
}

impl Export {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut export = Self { path: path.to_owned(), lines: BufReader::new(file), line: 0, next: None };
        export.advance()?;
        Ok(export)
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        let mut text = String::new();
        self.line += 1;
        let cannot = |line: u64, path: &Path| format!("line {line} of {} is no event of an export as it is stored", path.display());
        let before = self.next.take();
        if self.lines.read_line(&mut text).with_context(|| cannot(self.line, &self.path))? > 0 {
            let event: CommittedEvent = serde_json::from_str(&text).with_context(|| cannot(self.line, &self.path))?;
            let told = event.told()?;
            ensure!(
                before.is_none_or(|before| before.position < told.position),
                "line {} of {}: position {} does not stand behind the one before",
                self.line,
                self.path.display(),
                told.position
            );
            self.next = Some(told);
        }
        Ok(())
    }

    fn first_position(&self) -> anyhow::Result<u64> {
        self.next.as_ref().map(|told| told.position).with_context(|| format!("{} has no event", self.path.display()))
    }

    /// Reads the file once more.
    fn last_position(&self) -> anyhow::Result<u64> {
        let mut once_more = Self::open(&self.path)?;
        let mut last = once_more.first_position()?;
        while let Some(told) = &once_more.next {
            last = told.position;
            once_more.advance()?;
        }
        Ok(last)
    }
}

struct OfFiles {
    export: Export,
    folder: Option<PathBuf>,
}

impl Source for OfFiles {
    async fn tiles(&mut self, ids: &BTreeSet<TileId>) -> anyhow::Result<Kept> {
        let mut kept = Kept::new();
        let Some(folder) = &self.folder else { return Ok(kept) };
        for id in ids {
            // The widest that is there.
            for width in (1..=WIDTH).rev() {
                if let Some(hashes) = tile(folder, *id, width)? {
                    kept.insert(*id, hashes);
                    break;
                }
            }
        }
        Ok(kept)
    }

    async fn events(&mut self, first: u64, last: u64) -> anyhow::Result<Vec<Told>> {
        let mut found = vec![];
        while let Some(told) = self.export.next.clone().filter(|told| told.position <= last) {
            self.export.advance()?;
            if told.position >= first {
                found.push(told);
            }
        }
        Ok(found)
    }
}
