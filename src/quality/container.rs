//! Whether the file is whole. Each of these is a gate.

use super::case::{Case, Outcome};
use crate::domain::judgement::Grade;
use crate::domain::measurement::{FindingKind, SidecarFacts, SidecarSays, Tier};

/// Magic, an empty header, the end of the data, a footer, magic.
const FILE_BYTES_MIN: u64 = 75;

fn sidecar<'a>(case: &Case<'a>) -> Option<&'a SidecarSays> {
    match &case.facts.sidecar {
        Some(SidecarFacts::Read(says)) => Some(says),
        _ => None,
    }
}

pub fn object_size(case: &Case) -> Outcome {
    let size = case.facts.size_bytes;
    if size < FILE_BYTES_MIN {
        return Outcome::fail(format!("{size} bytes are fewer than any MCAP file has"));
    }
    match sidecar(case).and_then(|says| says.file_size_bytes) {
        Some(said) if said != size => Outcome::fail(format!("the file has {size} bytes, its sidecar says {said}")),
        Some(_) => Outcome::pass(format!("{size} bytes, as the sidecar says")),
        None => Outcome::pass(format!("{size} bytes")),
    }
}

pub fn content_checksum(case: &Case) -> Outcome {
    let verified = case.wants.sha256.as_ref();
    let declared: Vec<&String> = verified.into_iter().chain(sidecar(case).and_then(|says| says.sha256.as_ref())).collect();
    let Some(found) = &case.facts.sha256 else { return Outcome::not_applicable("the file was not hashed") };
    match declared.iter().find(|said| !found.eq_ignore_ascii_case(said)) {
        _ if declared.is_empty() => Outcome::not_applicable("no SHA-256 was declared"),
        None => Outcome::pass("SHA-256 is as declared"),
        Some(said) => Outcome::fail(format!("SHA-256 is {found}, declared is {said}")),
    }
}

/// A gate that findings of some kinds break, once the file was read so far.
fn unless_found(case: &Case, tier: Tier, kinds: &[FindingKind], sound: &str) -> Outcome {
    let mut found = case.facts.found(kinds);
    match found.next() {
        Some(finding) => {
            let more = found.count();
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let outcome = Outcome::fail(format!("{}{more}", finding.text)).with("at", finding.at).with("bytes", finding.bytes);
            match finding.chunk {
                Some(chunk) => outcome.with("chunk", chunk),
                None => outcome,
            }
        }
        None if case.read_to(tier) => Outcome::pass(sound),
        None => Outcome::not_applicable("the file was not read so far"),
    }
}

pub fn magics(case: &Case) -> Outcome {
    use FindingKind::{BehindEnd, Cut, HeadMagic, TailMagic, TooShort};
    unless_found(case, Tier::Summary, &[HeadMagic, TailMagic, Cut, BehindEnd, TooShort], "the file begins and ends as it should")
}

pub fn footer(case: &Case) -> Outcome {
    unless_found(case, Tier::Summary, &[FindingKind::Footer, FindingKind::Header], "header and footer are sound")
}

pub fn summary_crc(case: &Case) -> Outcome {
    let outcome =
        unless_found(case, Tier::Summary, &[FindingKind::SummaryCrc, FindingKind::SummaryRecord], "the summary is as it was written");
    match outcome.result {
        Grade::Pass if !case.facts.checksums.summary => Outcome::pass("the summary has no checksum, and its records are sound"),
        _ => outcome,
    }
}

pub fn stats_consistent(case: &Case) -> Outcome {
    unless_found(case, Tier::Summary, &[FindingKind::Statistics], "statistics agree with what is there")
}

pub fn chunk_regions(case: &Case) -> Outcome {
    use FindingKind::{ChunkIndex, ChunkNotIndexed, ChunkRegion};
    unless_found(case, Tier::Summary, &[ChunkRegion, ChunkNotIndexed, ChunkIndex], "chunks are where the summary has them")
}

pub fn index_consistent(case: &Case) -> Outcome {
    unless_found(case, Tier::Indexes, &[FindingKind::MessageIndex], "message indexes agree with their chunks")
}

pub fn chunk_crc(case: &Case) -> Outcome {
    let checksums = &case.facts.checksums;
    let sound = match (checksums.chunks_compared, checksums.chunks_without) {
        (0, 0) => "there are no chunks".to_owned(),
        (compared, 0) => format!("{compared} chunks unpack to what they promise"),
        (compared, without) => format!("{} chunks unpack to what they promise, {without} of them without a checksum", compared + without),
    };
    let outcome = unless_found(case, Tier::Whole, &[FindingKind::ChunkCrc, FindingKind::ChunkUnpack], &sound);
    match case.facts.chunk_count.saturating_sub(checksums.chunks_compared + checksums.chunks_without) {
        left_out if outcome.result == Grade::Pass && left_out > 0 => {
            Outcome::not_done(format!("{left_out} of {} chunks could not be unpacked{}", case.facts.chunk_count, why_left_out(case)))
        }
        _ => outcome,
    }
}

/// Why the first chunk that was left out was.
fn why_left_out(case: &Case) -> String {
    let first = case.facts.not_measured.items.iter().find(|left_out| left_out.chunk.is_some());
    first.map(|first| format!(": {}", first.why)).unwrap_or_default()
}

pub fn records(case: &Case) -> Outcome {
    let outcome = unless_found(case, Tier::Whole, &[FindingKind::Record], "every record can be read and stands where it belongs");
    match case.facts.not_measured.items.iter().filter(|left_out| left_out.chunk.is_some()).count() {
        0 => outcome,
        left_out if outcome.result == Grade::Pass => {
            Outcome::not_applicable(format!("{left_out} chunks were not looked into{}", why_left_out(case)))
        }
        _ => outcome,
    }
}

pub fn data_crc(case: &Case) -> Outcome {
    match unless_found(case, Tier::Whole, &[FindingKind::DataCrc], "the data section is as it was written") {
        outcome if outcome.result == Grade::Pass && !case.facts.checksums.data_section => {
            Outcome::not_applicable("the data section has no checksum")
        }
        outcome => outcome,
    }
}

pub fn attachment_crc(case: &Case) -> Outcome {
    match unless_found(case, Tier::Whole, &[FindingKind::AttachmentCrc], "attachments are as they were written") {
        outcome if outcome.result == Grade::Pass && case.facts.attachments.is_empty() => {
            Outcome::not_applicable("there are no attachments")
        }
        outcome => outcome,
    }
}
