//! Traces: which request, command, delivery and attempt belong together, over processes and over time.
//!
//! Each has a [`Span`], and a span has a name that fits into a header and into the metadata of an event ([`TraceParent`], as W3C's
//! Trace Context writes it). So what goes on because of an event names the span behind it, also after a restart. Spans are measured
//! and kept only where an exporter wants them ([`super::otlp`]); without one they are two random numbers.
//!
//! `tracestate` is not read, and not passed on: it is other vendors' data of any content.

#![expect(clippy::disallowed_methods, reason = "spans have random names, and the time that a collector sorts them by")]

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::brief;
use super::otlp;
pub use super::record::SpanKind;
use super::record::{Attribute, Record};

/// The header.
pub const TRACE_PARENT: &str = "traceparent";

/// What is written: version, trace, span, flags.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// A span of a trace, as others name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    /// Whether who named it keeps spans of this trace: then so do we.
    sampled: bool,
}

impl TraceParent {
    /// None where the text names no span: it was written by anybody.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version, trace_id, span_id, flags] = known.split('-').collect::<Vec<_>>().try_into().ok()?;
        // A later version may have more behind these four; its first four are the same.
        let ends = rest.is_empty() || (version != "00" && rest.starts_with('-'));
        let sizes = (version.len(), trace_id.len(), span_id.len(), flags.len()) == (2, 32, 16, 2);
        let hex = known.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if !ends || !sizes || !hex || version == "ff" {
            return None;
        }
        let (trace_id, span_id) = (u128::from_str_radix(trace_id, 16).ok()?, u64::from_str_radix(span_id, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }

    /// The span behind an event, where its metadata names one.
    pub fn behind(metadata: &serde_json::Value) -> Option<Self> {
        metadata.get("trace_parent")?.as_str().and_then(Self::parse)
    }

    /// What all spans of the trace have in common.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Something that takes a while. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    own: TraceParent,
    since: Instant,
    /// Where an exporter wants it.
    kept: Option<Box<Record>>,
}

impl Span {
    /// Without a parent a trace begins.
    pub fn begin(kind: SpanKind, parent: Option<TraceParent>, name: impl FnOnce() -> String) -> Self {
        let own = match parent {
            Some(parent) => TraceParent { span_id: random_span(), ..parent },
            None => TraceParent { trace_id: rand::random::<u128>().max(1), span_id: random_span(), sampled: otlp::is_on() },
        };
        Self::of(own, kind, parent.map(|parent| parent.span_id), name, Duration::ZERO)
    }

    /// What several processes work on at different times, each knowing what it is: `parts` make the same name everywhere.
    /// It began so long `ago`.
    pub fn shared(kind: SpanKind, parent: TraceParent, parts: &[&str], name: impl FnOnce() -> String, ago: Duration) -> Self {
        // Who keeps no spans needs no name for this one.
        let span_id = if is_kept(parent) { name_of(parent, parts) } else { parent.span_id };
        Self::of(TraceParent { span_id, ..parent }, kind, Some(parent.span_id), name, ago)
    }

    fn of(own: TraceParent, kind: SpanKind, parent: Option<u64>, name: impl FnOnce() -> String, ago: Duration) -> Self {
        let kept = is_kept(own).then(|| {
            let now = SystemTime::now();
            let TraceParent { trace_id, span_id, .. } = own;
            let began = now.checked_sub(ago).unwrap_or(now);
            Box::new(Record { trace_id, span_id, parent, name: name(), kind, began, ended: now, attributes: vec![], failure: None })
        });
        Self { own, since: Instant::now(), kept }
    }

    /// What continues it.
    pub fn own(&self) -> TraceParent {
        self.own
    }

    /// Never a secret, a body, or the text of a query.
    pub fn set(&mut self, key: &'static str, value: impl Into<Attribute>) {
        if let Some(kept) = &mut self.kept {
            kept.attributes.push((key, value.into()));
        }
    }

    pub fn failed(&mut self, why: &str) {
        if let Some(kept) = &mut self.kept {
            kept.failure = Some(brief(why).to_string());
        }
    }

    /// It has not ended, and another process may tell of it.
    pub fn forget(&mut self) {
        self.kept = None;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.ended += self.since.elapsed();
            otlp::export(*kept);
        }
    }
}

fn is_kept(parent: TraceParent) -> bool {
    parent.sampled && otlp::is_on()
}

fn random_span() -> u64 {
    rand::random::<u64>().max(1)
}

fn name_of(parent: TraceParent, parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(parent.to_string());
    for part in parts {
        hash.update(b"\n");
        hash.update(part);
    }
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    first.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_span_is_named_as_the_standard_says() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        assert_eq!((parent.to_string().as_str(), parent.sampled), (GIVEN, true));
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let not_kept = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe").unwrap();
        assert!(!not_kept.sampled);
        let later = TraceParent::parse(&format!("cc{}-what-comes-later", &GIVEN[2..])).unwrap();
        assert_eq!(later, parent, "what is written is of version 00");
    }

    #[test]
    fn what_is_no_name_of_a_span_is_ignored() {
        let replaced = |from: &str, to: &str| GIVEN.replace(from, to);
        for text in [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}-more"),
            &format!("{GIVEN}0"),
            &replaced("00-4b", "ff-4b"),
            &replaced("4bf9", "4BF9"),
            &replaced("4bf9", "4bg9"),
            &replaced("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &replaced("00f067aa0ba902b7", &"0".repeat(16)),
            &replaced("00f067aa0ba902b7-01", "00f067aa0ba902b7001"),
            &replaced("-01", "-+1"),
            &"仓".repeat(19),
            "00-4bf92f3577b34da6a3ce929d0e0e47-3600f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_span_continues_its_trace_and_nobody_is_told_without_an_exporter() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        let span = Span::begin(SpanKind::Internal, Some(parent), || unreachable!("nobody reads it"));
        assert_eq!((span.own().trace_id, span.own().sampled), (parent.trace_id, true), "others may keep it");
        assert_ne!(span.own().span_id, parent.span_id);
        let root = Span::begin(SpanKind::Internal, None, || unreachable!("nobody reads it"));
        assert!(!root.own().sampled && root.own().trace_id != parent.trace_id);
    }

    #[test]
    fn what_several_processes_tell_of_has_one_name() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        assert_eq!(name_of(parent, &["task/1/2", "webhooks"]), name_of(parent, &["task/1/2", "webhooks"]));
        assert_ne!(name_of(parent, &["task/1/2", "webhooks"]), name_of(parent, &["task/1/2w", "ebhooks"]));
    }
}
