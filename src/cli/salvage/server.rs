//! Of an episode: asks its server, waits, and says what came of it.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::local::{Part, is_free};
use crate::cli::output::{number, say, say_json, text};
use crate::cli::remote::Remote;

/// What was asked for.
pub struct Wanted {
    pub episode: i64,
    pub reason: String,
    pub output: Option<PathBuf>,
    pub force: bool,
    pub json: bool,
}

/// What links begin with, and what paths here leave out.
const API: &str = "/api/v1";

pub async fn run(remote: &Remote, wanted: &Wanted) -> anyhow::Result<()> {
    let path = format!("/episodes/{}/salvage", wanted.episode);
    if let Some(output) = &wanted.output {
        is_free(output, wanted.force)?;
    }
    // It may have been asked for before, by a program that did not wait for the end.
    let state = remote.get(&path).await?;
    if text(&state["state"]) != "under_way" {
        remote.post(&path, Some(&json!({ "reason": wanted.reason }))).await?;
    }
    let ended = wait(remote, &path, wanted).await?;
    let fetched = match (&wanted.output, text(&ended["state"])) {
        (Some(output), "salvaged") => {
            fetch(remote, &ended["file"], output, wanted.force).await?;
            Some(output)
        }
        _ => None,
    };
    if wanted.json {
        say_json(&ended)?;
    } else {
        tell(wanted.episode, &ended, fetched)?;
    }
    ensure!(text(&ended["state"]) == "salvaged", "episode {} could not be salvaged: {}", wanted.episode, text(&ended["fault_text"]));
    Ok(())
}

/// Until it is not under way any more: with a sign of life where a person looks at a terminal, else with one line.
async fn wait(remote: &Remote, path: &str, wanted: &Wanted) -> anyhow::Result<Value> {
    let shows = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let bar = shows.then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        ProgressBar::new_spinner().with_style(style).with_message(format!("Episode {} is being salvaged", wanted.episode))
    });
    let (mut last, mut told) = (Value::Null, false);
    remote
        .until(path, |state| {
            last = state.clone();
            let over = text(&state["state"]) != "under_way";
            match &bar {
                Some(bar) => bar.tick(),
                None if !over && !wanted.json && !told => {
                    told = true;
                    say(&format!("Episode {} is being salvaged", wanted.episode))?;
                }
                None => {}
            }
            Ok(over)
        })
        .await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(last)
}

/// The file, as it was salvaged.
async fn fetch(remote: &Remote, file: &Value, output: &Path, force: bool) -> anyhow::Result<()> {
    let link = text(&file["url"]).strip_prefix(API).context("the server gives this account no link to the file")?;
    let cannot = || format!("cannot write {}", output.display());
    let mut part = Part::beside(output)?;
    let (mut hash, mut bytes) = (Sha256::new(), remote.open(link, None).await?);
    while let Some(piece) = bytes.next().await? {
        hash.update(&piece);
        part.file.write_all(&piece).with_context(cannot)?;
    }
    let found = hex::encode(hash.finalize());
    ensure!(found == text(&file["sha256"]), "the server sent another file: its SHA-256 is {found}");
    // It may have come meanwhile.
    is_free(output, force)?;
    part.becomes(output)
}

fn tell(episode: i64, ended: &Value, fetched: Option<&PathBuf>) -> anyhow::Result<()> {
    if text(&ended["state"]) != "salvaged" {
        return Ok(());
    }
    let file = &ended["file"];
    let of = |key: &str| number(&file[key]);
    let to = fetched.map_or_else(|| format!("as {}", text(&file["object_key"])), |path| format!("in {}", path.display()));
    say(&format!("Episode {episode}: {} messages kept, {to} ({} bytes)", of("messages_kept"), of("size_bytes")))?;
    let (kept, in_part, lost) = (of("chunks_kept"), of("chunks_in_part"), of("chunks_lost"));
    say(&format!("  chunks: {kept} kept, {in_part} in part, {lost} lost; {} bytes hold what is missing", of("missing_bytes")))?;
    for missing in file["missing"].as_array().into_iter().flatten() {
        let at = number(&missing["at"]);
        say(&format!("  missing at {at}..{}: {}", at.saturating_add(number(&missing["bytes"])), text(&missing["text"])))?;
    }
    match of("more_missing") {
        0 => Ok(()),
        more => say(&format!("  and {more} more that are missing")),
    }
}
