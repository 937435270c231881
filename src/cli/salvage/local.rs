//! Of a file of this machine: writes the good ranges to a file of their own, and says what is missing.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::cli::local_file::{LocalFile, PIECE_BYTES};
use crate::cli::output::say;
use crate::domain::salvage::{GoodRange, Salvaged};
use crate::mcap::READ_AT_ONCE;
use crate::mcap::salvage::{CHUNK_BYTES_MAX, known, salvage};

/// What was asked for.
pub struct Wanted {
    pub file: PathBuf,
    pub output: PathBuf,
    pub force: bool,
    pub json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    /// Without where nothing could be kept.
    output: Option<&'a Path>,
    salvaged: Salvaged,
}

pub async fn run(options: &Wanted) -> anyhow::Result<()> {
    let (file, output) = (&options.file, &options.output);
    let parent = LocalFile::open(file)?;
    may_be_written(options, &parent)?;
    let known = known(&parent, parent.size).await.with_context(|| format!("cannot read {}", file.display()))?;
    let part = Part::beside(output)?;
    let into = BufWriter::with_capacity(PIECE_BYTES, &part.file);
    let salvaged = salvage(BufReader::with_capacity(READ_AT_ONCE, &parent.file), &known, CHUNK_BYTES_MAX, into)
        .with_context(|| format!("cannot salvage {} to {}", file.display(), output.display()))?;
    let keeps = salvaged.messages_kept > 0;
    if keeps {
        // It may have come meanwhile.
        may_be_written(options, &parent)?;
        part.becomes(output)?;
    }
    let report = Report { file, output: keeps.then_some(output), salvaged };
    say(if options.json { serde_json::to_string(&report)? } else { text(&report)? }.trim_end())?;
    ensure!(keeps, "nothing of {} can be kept; nothing was written", file.display());
    Ok(())
}

fn may_be_written(options: &Wanted, parent: &LocalFile) -> anyhow::Result<()> {
    let (output, itself) = (&options.output, parent.file.metadata()?);
    if fs::metadata(output).is_ok_and(|there| (there.dev(), there.ino()) == (itself.dev(), itself.ino())) {
        bail!("{} is the recording itself; what is salvaged goes elsewhere", output.display());
    }
    is_free(output, options.force)
}

/// Whether a file may be written there: nothing is there, or it may be replaced.
pub(super) fn is_free(output: &Path, force: bool) -> anyhow::Result<()> {
    let Ok(there) = fs::metadata(output) else { return Ok(()) };
    ensure!(there.is_file(), "{} is no file", output.display());
    ensure!(force, "{} is there already; --force replaces it", output.display());
    Ok(())
}

/// A file under a name of its own until it is finished.
pub(super) struct Part {
    pub(super) file: File,
    path: Option<PathBuf>,
}

impl Part {
    pub(super) fn beside(output: &Path) -> anyhow::Result<Self> {
        let Some(name) = output.file_name() else { bail!("{} names no file", output.display()) };
        let mut name = name.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = output.with_file_name(name);
        let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: Some(path) })
    }

    pub(super) fn becomes(mut self, output: &Path) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", output.display());
        self.file.sync_all().with_context(cannot)?;
        if let Some(path) = &self.path {
            fs::rename(path, output).with_context(cannot)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("keystone: cannot remove {}: {error}", path.display());
        }
    }
}

fn text(report: &Report) -> anyhow::Result<String> {
    let Report { file, output, salvaged } = report;
    let mut out = String::new();
    let to = output.map_or(String::new(), |output| format!(", in {} ({} bytes)", output.display(), salvaged.size_bytes));
    writeln!(out, "{}: {} messages kept{to}", file.display(), salvaged.messages_kept)?;
    let Salvaged { chunks_kept, chunks_in_part, chunks_lost, attachments_kept, metadata_kept, .. } = salvaged;
    writeln!(
        out,
        "  chunks: {chunks_kept} kept, {chunks_in_part} in part, {chunks_lost} lost; {attachments_kept} attachments and {metadata_kept} metadata records kept"
    )?;
    for range in &salvaged.ranges.items {
        let GoodRange { at, bytes, from_ns, to_ns, messages } = range;
        let seconds = to_ns.saturating_sub(*from_ns) as f64 / 1e9;
        writeln!(out, "  good at {at}..{}: {messages} messages, {seconds:.3} s from {}", at.saturating_add(*bytes), time(*from_ns))?;
    }
    more(&mut out, salvaged.ranges.cut, "good ranges")?;
    for missing in &salvaged.missing.items {
        let chunk = missing.chunk.map_or(String::new(), |chunk| format!(", chunk {chunk}"));
        writeln!(out, "  missing at {}..{}{chunk}: {}", missing.at, missing.at.saturating_add(missing.bytes), missing.text)?;
    }
    more(&mut out, salvaged.missing.cut, "that are missing")?;
    for left_out in &salvaged.left_out.items {
        let at = left_out.at.map_or(String::new(), |at| format!(" at {at}"));
        writeln!(out, "  left out{at}: {}", left_out.why)?;
    }
    more(&mut out, salvaged.left_out.cut, "that are left out")?;
    Ok(out)
}

fn more(out: &mut String, count: u64, what: &str) -> std::fmt::Result {
    if count > 0 { writeln!(out, "  and {count} more {what}") } else { Ok(()) }
}

/// A time of a recording; what is beyond any calendar, in nanoseconds.
fn time(ns: u64) -> String {
    match i64::try_from(ns) {
        Ok(ns) => DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Millis, true),
        Err(_) => format!("{ns} ns"),
    }
}
