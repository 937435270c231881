//! What the tiers found, put together.

use std::io::{self, BufRead};

use super::super::read::{RangedRead, ReadSummaryError};
use super::super::summary::{FILE_BYTES_MIN, SummaryCrc, SummaryFacts, Unsound};
use super::findings::finding;
use super::indexes::{self, Indexed};
use super::look::Look;
use super::scan::{Limits, Scanned, scan};
use super::topics::{Finished, Topics};
use crate::domain::measurement::*;

/// Tiers 1 and 2, by ranged reads.
pub async fn measure_ends<R: RangedRead>(reader: &R, look: &Look) -> Result<Facts, ReadSummaryError<R::Error>> {
    let mut facts = ends(look);
    facts.findings = Listed::of(look.damage().map(|defect| look.places.finding(defect)), FINDINGS_MAX);
    let summary = match &look.summary {
        Ok(summary) => summary,
        Err(defect) => {
            if !defect.is_damage() {
                facts.not_measured.push(NotMeasured { at: None, chunk: None, why: defect.to_string() }, FINDINGS_MAX);
            }
            return Ok(facts);
        }
    };
    said_by_summary(&mut facts, summary);
    let mut topics = Topics::default();
    for channel in &summary.channels {
        topics.describe(channel);
        topics.claimed(channel.id, channel.message_count);
    }
    let nameless = summary.channels.iter().filter(|channel| channel.topic.is_empty() && channel.message_encoding.is_empty()).count();
    let Indexed { mut findings, mut not_measured, whole, read_bytes } = indexes::read(reader, &summary.chunks, &mut topics).await?;
    facts.read_bytes += read_bytes;
    if nameless > 0 {
        let why = format!("{nameless} channels are counted in the summary and not described there");
        not_measured.push(NotMeasured { at: None, chunk: None, why }, FINDINGS_MAX);
    }
    if summary.chunks.is_empty() && summary.message_count > 0 {
        let why = "messages stand outside chunks, where no index names them".to_owned();
        not_measured.push(NotMeasured { at: None, chunk: None, why }, FINDINGS_MAX);
    } else {
        facts.tier = Tier::Indexes;
        if whole && findings.is_empty() {
            findings = Listed::of(disagreement(look, summary, &topics), FINDINGS_MAX);
        }
    }
    facts.findings = findings;
    conclude(&mut facts, topics.finish(), not_measured);
    Ok(facts)
}

/// The first channel of which indexes and statistics count differently.
fn disagreement(look: &Look, summary: &SummaryFacts, topics: &Topics) -> Option<Finding> {
    let channel = summary.channels.iter().find(|channel| topics.counted(channel.id) != channel.message_count)?;
    // A message outside chunks is in no index.
    let (count, indexed) = (channel.message_count, topics.counted(channel.id));
    let text = format!("statistics count {count} messages of channel {}, its message indexes {indexed}", channel.id);
    let place = look.places.statistics.clone().unwrap_or(look.places.summary.clone());
    Some(finding(FindingKind::Statistics, place, None, text))
}

/// Tier 3 over all bytes of the file that `look` saw; an error says that they could not be read.
pub fn measure_whole(bytes: impl BufRead, look: &Look, limits: Limits) -> io::Result<Facts> {
    let mut facts = ends(look);
    facts.tier = Tier::Whole;
    facts.read_bytes = look.size;
    facts.read_through = look.lacks().map(|lacking| kept(&lacking.to_string()));
    if look.size < FILE_BYTES_MIN {
        facts.findings = Listed::of([look.places.finding(&Unsound::TooShort { size: look.size })], FINDINGS_MAX);
        return Ok(facts);
    }
    let scanned = scan(bytes, look, limits)?;
    facts.findings = told_together(look, &scanned);
    let Scanned {
        topics, profile, library, checksums, chunk_count, attachments, metadata, metadata_keys, not_measured, counted_all, ..
    } = scanned;
    (facts.profile, facts.library, facts.checksums, facts.chunk_count) = (profile, library, checksums, chunk_count);
    (facts.attachments, facts.metadata, facts.metadata_keys) = (attachments, metadata, metadata_keys);
    facts.message_count = topics.message_count;
    (facts.start_ns, facts.end_ns) = topics.times.unwrap_or_default();
    if let (Ok(summary), false) = (&look.summary, counted_all) {
        // What could not be counted, the summary says.
        facts.message_count = facts.message_count.max(summary.message_count);
    }
    conclude(&mut facts, topics.finish(), not_measured);
    Ok(facts)
}

/// What tier 1 found wrong, and what the pass found, without what follows from each other.
fn told_together(look: &Look, scanned: &Scanned) -> Listed<Finding> {
    let found = |kinds: &[FindingKind]| scanned.findings.items.iter().any(|finding| kinds.contains(&finding.kind));
    let first = look.damage().map(|defect| look.places.finding(defect)).filter(|first| match first.kind {
        // The pass knows better what stands at the end, and where the summary begins.
        FindingKind::TailMagic => !found(&[FindingKind::Cut, FindingKind::BehindEnd, FindingKind::TailMagic]),
        // Followed to its end, so it is the footer itself that is wrong.
        FindingKind::SummaryCrc | FindingKind::SummaryRecord | FindingKind::Footer | FindingKind::Statistics => {
            !(scanned.ended && found(&[FindingKind::Footer]))
        }
        FindingKind::Header => !found(&[FindingKind::Header]),
        _ => true,
    });
    let in_summary = first.as_ref().is_some_and(|first| matches!(first.kind, FindingKind::SummaryCrc | FindingKind::SummaryRecord));
    let counted = first.as_ref().is_some_and(|first| first.kind == FindingKind::Statistics);
    let start = look.places.summary.start;
    let follows = |finding: &Finding| {
        // Records of a damaged summary are not what they were.
        (in_summary && finding.at >= start) || (counted && finding.kind == FindingKind::Statistics)
    };
    let others = scanned.findings.items.iter().filter(|finding| !follows(finding)).cloned();
    let mut all = Listed::of(first.iter().cloned().chain(others), FINDINGS_MAX);
    all.cut += scanned.findings.cut;
    all
}

/// What both ends say, of any tier.
fn ends(look: &Look) -> Facts {
    Facts { read_bytes: look.read_bytes, head_magic: spaced_hex(&look.head), tail_magic: spaced_hex(&look.tail), ..Facts::none(look.size) }
}

fn said_by_summary(facts: &mut Facts, summary: &SummaryFacts) {
    facts.profile = kept(&summary.profile);
    facts.library = kept(&summary.library);
    facts.message_count = summary.message_count;
    (facts.start_ns, facts.end_ns) = (summary.start_ns, summary.end_ns);
    facts.chunk_count = summary.chunks.len() as u64;
    facts.checksums.summary = matches!(summary.summary_crc, SummaryCrc::Matches(_));
    facts.attachments = Listed::of(summary.attachments.iter().map(|name| kept(name)), NAMES_MAX);
    facts.metadata = Listed::of(summary.metadata.iter().map(|name| kept(name)), NAMES_MAX);
}

fn conclude(facts: &mut Facts, finished: Finished, not_measured: Listed<NotMeasured>) {
    facts.topics = finished.topics;
    facts.sync = finished.sync;
    facts.pairs = finished.pairs;
    let cut = not_measured.cut + finished.not_measured.cut;
    facts.not_measured = Listed::of(not_measured.items.into_iter().chain(finished.not_measured.items), FINDINGS_MAX);
    facts.not_measured.cut += cut;
}
