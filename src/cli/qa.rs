//! `keystone qa`: measures local recordings, judges them, and says so.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::local_file::LocalFile;
use super::output::say;
use crate::domain::QaReferenceId;
use crate::domain::judgement::{CheckResult, Judgement, OutsideAnswers, Part, Role, Suite, TaskWants, Verdict, WantedTopic};
use crate::domain::measurement::{Facts, SidecarFacts};
use crate::domain::reference::Reference;
use crate::mcap::measure::{Limits, Look, look, measure_ends, measure_whole, sidecar_facts};
use crate::mcap::{Hashed, READ_AT_ONCE};
use crate::quality::{Beside, Twin, judge_with};

#[derive(clap::Args)]
pub struct Options {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object for each recording, with all facts, instead of text
    #[arg(long)]
    json: bool,
    /// Read only the summary and message indexes
    #[arg(long)]
    quick: bool,
    /// A topic that has to be there, and how often a second it should come; a name may end in `*`
    #[arg(long = "topic", value_name = "TOPIC[=HZ]", value_parser = wanted_topic)]
    topics: Vec<WantedTopic>,
    /// The shortest and the longest that such a recording may take
    #[arg(long, value_name = "MIN..MAX", value_parser = seconds)]
    seconds: Option<(f64, f64)>,
    /// What is usual in good recordings, as `keystone references show` prints it
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

/// A reference as it is exported: what it holds, and its number.
#[derive(Deserialize)]
struct Exported {
    id: QaReferenceId,
    #[serde(flatten)]
    reference: Reference,
}

/// One has some hundred kilobytes at most; a file that is larger is another one.
const REFERENCE_BYTES_MAX: u64 = 4 << 20;

fn exported(path: &Path) -> anyhow::Result<Exported> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut bytes = vec![];
    file.take(REFERENCE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(bytes.len() as u64 <= REFERENCE_BYTES_MAX, "{name} is larger than a reference can be");
    serde_json::from_slice(&bytes).with_context(|| format!("{name} is not the JSON of a reference"))
}

fn wanted_topic(text: &str) -> Result<WantedTopic, String> {
    let Some((topic, rate)) = text.rsplit_once('=') else { return Ok(WantedTopic { topic: text.to_owned(), rate_hz: None }) };
    match rate.parse::<f64>() {
        Ok(rate_hz) if rate_hz > 0.0 && rate_hz.is_finite() => Ok(WantedTopic { topic: topic.to_owned(), rate_hz: Some(rate_hz) }),
        _ => Err(format!("`{rate}` is no number of messages a second")),
    }
}

fn seconds(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once("..").and_then(|(least, most)| Some((least.parse::<f64>().ok()?, most.parse::<f64>().ok()?)));
    ends.filter(|(least, most)| *least >= 0.0 && least <= most).ok_or_else(|| "write the shortest and the longest as 3..600".to_owned())
}

/// What is told of one recording.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    judgement: Judgement,
    facts: Facts,
}

const FAILED: i32 = 1;
const NOT_APPROVED: i32 = 2;

/// Ends the program with a code of its own unless all are approved.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    // No recording is of a time to come.
    let received_at_ns = chrono::Utc::now().timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok());
    let wants = TaskWants { topics: options.topics.clone(), duration_s: options.seconds, received_at_ns, ..TaskWants::default() };
    let exported = match options.reference.as_deref().map(exported).transpose() {
        Ok(exported) => exported,
        Err(error) => {
            // 1 would say that a recording failed.
            eprintln!("keystone: {error:#}");
            std::process::exit(NOT_APPROVED);
        }
    };
    let reference = exported.as_ref().map(|exported| (exported.id, &exported.reference));
    let (suite, nobody) = (Suite::default(), OutsideAnswers::new());
    let beside = Beside { outside: &nobody, word: None, reference, twin: Twin::NotLookedFor };
    let mut code = 0;
    for (n, file) in options.files.iter().enumerate() {
        let report = match measured(file, options.quick).await {
            Ok(facts) => Report { file, judgement: judge_with(&facts, &suite, &wants, beside), facts },
            Err(error) => {
                eprintln!("keystone: {error:#}");
                code = if code == FAILED { FAILED } else { NOT_APPROVED };
                continue;
            }
        };
        code = match report.judgement.verdict {
            Verdict::Failed => FAILED,
            Verdict::NeedsInspection if code == 0 => NOT_APPROVED,
            _ => code,
        };
        if options.json {
            say(&serde_json::to_string(&report)?)?;
        } else {
            if n > 0 {
                say("")?;
            }
            say(text(&report)?.trim_end())?;
        }
    }
    match code {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

async fn measured(path: &Path, quick: bool) -> anyhow::Result<Facts> {
    let cannot = || format!("cannot read {}", path.display());
    let file = LocalFile::open(path)?;
    let seen: Look = look(&file, file.size).await.with_context(cannot)?;
    let sidecar = sidecar(path)?;
    let mut facts = if quick && seen.lacks().is_none() {
        measure_ends(&file, &seen).await.with_context(cannot)?
    } else {
        let hash = matches!(&sidecar, Some(SidecarFacts::Read(says)) if says.sha256.is_some());
        let mut bytes = Hashed::new(BufReader::with_capacity(READ_AT_ONCE, file.file), hash);
        let mut facts = measure_whole(&mut bytes, &seen, Limits::alone()).with_context(cannot)?;
        facts.sha256 = bytes.finish().with_context(cannot)?;
        facts
    };
    facts.sidecar = sidecar;
    Ok(facts)
}

/// A larger one is not read.
const SIDECAR_BYTES_MAX: u64 = 4 << 20;

fn sidecar(recording: &Path) -> anyhow::Result<Option<SidecarFacts>> {
    let path = recording.with_extension("json");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let size_bytes = file.metadata()?.len();
    if size_bytes > SIDECAR_BYTES_MAX {
        return Ok(Some(SidecarFacts::TooLarge { size_bytes, max_bytes: SIDECAR_BYTES_MAX }));
    }
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    Ok(Some(sidecar_facts(&bytes)))
}

fn text(report: &Report) -> anyhow::Result<String> {
    let Report { file, judgement, facts } = report;
    let verdict = match judgement.verdict {
        Verdict::Approved => "approved",
        Verdict::NeedsInspection => "needs inspection",
        Verdict::Failed => "FAILED",
    };
    let mut out = String::new();
    writeln!(out, "{}: {verdict}, score {:.3}", file.display(), judgement.score)?;
    if let Some(flag) = &judgement.flag {
        writeln!(out, "  because {flag}")?;
    }
    let seconds = facts.duration_ns() as f64 / 1e9;
    writeln!(
        out,
        "  {} bytes, {} messages of {} topics over {seconds:.3} s, {} chunks{}",
        facts.size_bytes,
        facts.message_count,
        facts.topics.len(),
        facts.chunk_count,
        if facts.library.is_empty() { String::new() } else { format!(", by {}", facts.library) }
    )?;
    if let Some(lacking) = &facts.read_through {
        writeln!(out, "  read from its first byte to its last: {lacking}")?;
    }
    for finding in &facts.findings.items {
        let chunk = finding.chunk.map_or(String::new(), |chunk| format!(", chunk {chunk}"));
        writeln!(out, "  damage at {}..{}{chunk}: {}", finding.at, finding.at.saturating_add(finding.bytes), finding.text)?;
    }
    for not_measured in &facts.not_measured.items {
        let at = not_measured.at.map_or(String::new(), |at| format!(" at {at}"));
        writeln!(out, "  not measured{at}: {}", not_measured.why)?;
    }
    topics(&mut out, facts)?;
    let counted = |role: Role| judgement.checks.iter().filter(move |check| same_group(check.role, role));
    checks(&mut out, "gates", None, counted(Role::Gate))?;
    for &part in Part::ALL {
        if let Some(score) = judgement.parts.get(&part) {
            checks(&mut out, part.as_str(), Some(*score), counted(Role::Part(part, 0)))?;
        }
    }
    let left: Vec<&str> =
        judgement.checks.iter().filter(|check| check.result.as_str() == "not_applicable").map(|check| check.name.as_str()).collect();
    if !left.is_empty() {
        writeln!(out, "  not applicable: {}", left.join(", "))?;
    }
    Ok(out)
}

fn same_group(one: Role, other: Role) -> bool {
    match (one, other) {
        (Role::Gate, Role::Gate) => true,
        (Role::Part(one, _), Role::Part(other, _)) => one == other,
        _ => false,
    }
}

fn topics(out: &mut String, facts: &Facts) -> std::fmt::Result {
    let width = facts.topics.items.iter().map(|topic| topic.topic.chars().count()).max().unwrap_or(0).min(60);
    for topic in &facts.topics.items {
        let rate = topic.rate_hz().map_or(String::new(), |rate| format!("{rate:9.2} Hz"));
        let gap = topic.timing.as_ref().and_then(|timing| timing.intervals.as_ref());
        let gap = gap.map_or(String::new(), |intervals| format!("  longest gap {:.1} ms", intervals.longest_ns as f64 / 1e6));
        writeln!(out, "    {:width$}  {:>8} {rate}{gap}  {}", topic.topic, topic.count, topic.message_type)?;
    }
    if facts.topics.cut > 0 {
        writeln!(out, "    and {} more", facts.topics.cut)?;
    }
    Ok(())
}

fn checks<'a>(out: &mut String, title: &str, score: Option<f64>, checks: impl Iterator<Item = &'a CheckResult>) -> std::fmt::Result {
    writeln!(out, "  {title}{}", score.map_or(String::new(), |score| format!(" {score:.3}")))?;
    for check in checks.filter(|check| check.score.is_some()) {
        writeln!(out, "    {:4}  {:20} {}", check.result.as_str(), check.name, check.details)?;
    }
    Ok(())
}
