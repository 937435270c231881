//! Sends spans to a collector: OTLP over HTTP, as JSON.
//!
//! What ends goes into a queue that has a size, and a task sends it from there. A collector that is slow, away, or refuses loses spans,
//! which are counted; it holds up nothing, and memory does not grow.

#![expect(clippy::disallowed_methods, reason = "a collector that fails is left alone for a while")]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::record::{Attribute, Record};
use super::{TRACE_SPANS, chain};
use crate::config::host_name;

/// Spans that wait, each some 700 bytes: a second of a busy server.
const QUEUE_MAX: usize = 8_192;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a batch is filled.
const FILL: Duration = Duration::from_millis(500);
/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure nothing is sent for so long.
const REST: Duration = Duration::from_secs(5);
/// For the last spans of a process.
const LAST: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<mpsc::Sender<Record>> = OnceLock::new();

/// Whether spans are sent anywhere.
pub fn is_on() -> bool {
    QUEUE.get().is_some()
}

/// Leaves a span to the exporter, if there is one with room.
pub(super) fn export(record: Record) {
    if QUEUE.get().is_some_and(|queue| !is_taken(queue, record)) {
        count("queue_full", 1);
    }
}

/// Waits for nothing.
fn is_taken(queue: &mpsc::Sender<Record>, record: Record) -> bool {
    queue.try_send(record).is_ok()
}

fn count(outcome: &'static str, spans: usize) {
    metrics::counter!(TRACE_SPANS, "outcome" => outcome).increment(spans as u64);
}

/// Where spans of this process go.
pub struct Exporter {
    queue: mpsc::Receiver<Record>,
    client: reqwest::Client,
    url: String,
    resource: Value,
}

impl Exporter {
    /// From here on spans are kept. Fails where they are already.
    pub fn install(endpoint: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).user_agent("keystone-edge");
        let client = client.build()?;
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        QUEUE.set(sender).ok().context("spans are exported already")?;
        let host = host_name().unwrap_or_default();
        let resource = attributes(&[
            ("service.name", "keystone-edge".into()),
            ("service.version", env!("CARGO_PKG_VERSION").into()),
            ("service.instance.id", format!("{host}/{}", std::process::id()).as_str().into()),
            ("host.name", host.as_str().into()),
        ]);
        Ok(Self { queue, client, url: format!("{endpoint}/v1/traces"), resource })
    }

    /// Sends until the stop, and what is there then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut works = true;
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.fill(&mut batch) => {}
            }
            let sent = tokio::select! { sent = self.send(&batch) => sent, () = last_moment(&stop) => return };
            match (&sent, works) {
                (Ok(()), false) => info!("The collector of traces takes spans again"),
                (Err(error), true) => warn!(error = format!("{error:#}"), "Spans are lost; the collector does not take them: {error:#}"),
                _ => {}
            }
            works = sent.is_ok();
            if !works {
                tokio::select! { () = stop.cancelled() => break, () = tokio::time::sleep(REST) => {} }
            }
        }
        if works {
            let last = async {
                let mut batch = Vec::new();
                while let Ok(record) = self.queue.try_recv() {
                    batch.push(record);
                }
                for batch in batch.chunks(BATCH_MAX) {
                    self.send(batch).await?;
                }
                anyhow::Ok(())
            };
            let _the_process_ends = tokio::time::timeout(LAST, last).await;
        }
    }

    /// Waits for spans, and a moment for more of them.
    async fn fill(&mut self, batch: &mut Vec<Record>) {
        self.queue.recv_many(batch, BATCH_MAX).await;
        let queue = &mut self.queue;
        let more = async { while batch.len() < BATCH_MAX && queue.recv_many(batch, BATCH_MAX - batch.len()).await > 0 {} };
        let _full_or_not = tokio::time::timeout(FILL, more).await;
    }

    async fn send(&self, batch: &[Record]) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let answer = self.client.post(&self.url).json(&request(&self.resource, batch)).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => {
                count("sent", batch.len());
                Ok(())
            }
            Ok(answer) => {
                count("refused", batch.len());
                anyhow::bail!("it answers {}", answer.status().as_u16())
            }
            Err(error) => {
                count("unreachable", batch.len());
                anyhow::bail!("{}", chain(&error))
            }
        }
    }
}

/// The process does not wait for a collector that hangs.
async fn last_moment(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST).await;
}

fn request(resource: &Value, batch: &[Record]) -> Value {
    let spans: Vec<Value> = batch.iter().map(span).collect();
    let scope = json!({ "name": "keystone_edge", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": [{ "scope": scope, "spans": spans }] }] })
}

fn span(record: &Record) -> Value {
    let parent = record.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default();
    let status = match &record.failure {
        Some(why) => json!({ "code": 2, "message": why }),
        None => json!({}),
    };
    json!({
        "traceId": format!("{:032x}", record.trace_id), "spanId": format!("{:016x}", record.span_id), "parentSpanId": parent,
        "name": record.name, "kind": record.kind as i32, "status": status,
        "startTimeUnixNano": nanoseconds(record.began), "endTimeUnixNano": nanoseconds(record.ended),
        "attributes": attributes(&record.attributes),
    })
}

/// JSON has no numbers of this size: OTLP writes them as texts.
fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn attributes(of: &[(&'static str, Attribute)]) -> Value {
    let value = |attribute: &Attribute| match attribute {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    of.iter().map(|(key, attribute)| json!({ "key": key, "value": value(attribute) })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::SpanKind;
    use super::*;

    #[test]
    fn what_has_no_room_is_lost_at_once() {
        let (queue, _collector_that_hangs) = mpsc::channel(QUEUE_MAX);
        let taken = (0..QUEUE_MAX + 500).filter(|_| is_taken(&queue, record())).count();
        assert_eq!(taken, QUEUE_MAX);
    }

    fn record() -> Record {
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        Record {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0xf0,
            parent: None,
            name: "deliver webhooks".to_owned(),
            kind: SpanKind::Consumer,
            began,
            ended: began + Duration::from_millis(1),
            attributes: vec![("attempt", 2.into()), ("long", "x".repeat(300).as_str().into())],
            failure: Some("no answer".to_owned()),
        }
    }

    #[test]
    fn spans_are_written_as_collectors_read_them() {
        let written = request(&json!([]), &[record()]);
        let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        let expected = json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00000000000000f0", "parentSpanId": "",
            "name": "deliver webhooks", "kind": 5, "status": { "code": 2, "message": "no answer" },
            "startTimeUnixNano": "1700000000123456789", "endTimeUnixNano": "1700000000124456789",
            "attributes": [
                { "key": "attempt", "value": { "intValue": "2" } },
                { "key": "long", "value": { "stringValue": format!("{}… (300 bytes)", "x".repeat(200)) } },
            ],
        });
        assert_eq!(span, &expected);
    }
}
