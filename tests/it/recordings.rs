//! Recordings of others, judged by the shipped suite: the table in `docs/quality.md`, made anew and compared.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keystone_edge::domain::judgement::{Suite, TaskWants};
use keystone_edge::domain::measurement::Facts;
use keystone_edge::mcap::RangedRead;
use keystone_edge::mcap::measure::{Limits, look, measure_whole, sidecar_facts};
use keystone_edge::quality::judge;

use crate::harness::shared_data;
use crate::sources::{read, root};

struct Object<'a>(&'a [u8]);

impl RangedRead for Object<'_> {
    type Error = Infallible;

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Infallible> {
        Ok(Bytes::copy_from_slice(&self.0[range.start as usize..range.end as usize]))
    }
}

async fn measured(path: &Path) -> Facts {
    let file = std::fs::read(path).expect("a recording");
    let seen = look(&Object(&file), file.len() as u64).await.expect("bytes in memory");
    let mut facts = measure_whole(&file[..], &seen, Limits::default()).expect("bytes in memory");
    facts.sha256 = keystone_edge::simulator::file_sha256(path).ok();
    facts.sidecar = std::fs::read(path.with_extension("json")).ok().map(|bytes| sidecar_facts(&bytes));
    facts
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder of recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mcap"))
        .collect();
    all.sort();
    all
}

async fn table(folder: &Path) -> String {
    let mut table = "| File | Bytes | Messages | Verdict | Score | Flag |\n|---|---|---|---|---|---|\n".to_owned();
    for path in recordings(folder) {
        let facts = measured(&path).await;
        let judgement = judge(&facts, &Suite::default(), &TaskWants::default());
        let name = path.file_name().expect("a name").to_string_lossy();
        let (verdict, flag) = (judgement.verdict.as_str(), judgement.flag.unwrap_or_else(|| "–".to_owned()).replace('|', "\\|"));
        writeln!(table, "| {name} | {} | {} | {verdict} | {:.3} | {flag} |", facts.size_bytes, facts.message_count, judgement.score)
            .expect("a text");
    }
    table
}

/// The text of a document with what stands between two marks replaced.
fn with_table(document: &str, mark: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[tokio::test]
async fn the_document_has_each_verdict_as_it_is() {
    let Some(folder) = shared_data() else { return };
    let path = root().join("docs/quality.md");
    let known = read(&path);
    let mut page = known.clone();
    for (mark, folder) in [("recordings of others", folder.join("mcap")), ("recordings of Axon", folder.join("axon/recordings"))] {
        if !folder.is_dir() {
            eprintln!("skipped: no recordings in {}", folder.display());
            continue;
        }
        page = with_table(&page, mark, &table(&folder).await);
    }
    if std::env::var_os("KEYSTONE_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).expect("the document");
        return;
    }
    assert!(known == page, "docs/quality.md says something else; write it anew with KEYSTONE_WRITE_DOCS=1 and look at the difference");
}
