//! Logs, measures and traces: the tracing subscriber, the Prometheus recorder, the list of measures, where spans go, and what people
//! are shown of deliveries.
//!
//! Modules record with `metrics::counter!(telemetry::…)`; before the
//! recorder is installed, and in tests that do not install it, that costs nothing.
//!
//! A log is read line by line, and much of what stands in it was written by others. So a control character never
//! reaches it, in either format, and [`brief`] is how a text from outside gets into a message at all.

pub mod activity;
mod measures;
pub mod otlp;
mod record;
pub mod trace;

use std::fmt;
use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, Telemetry};
use measures::describe;
pub use measures::*;

/// From half a millisecond, a command without a wait, to the longest delivery.
const SECONDS_BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Once is how it should be; ten is where most subscribers give up.
const ATTEMPTS_BUCKETS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

/// An error with all its causes, on one line: for what is kept or logged as text. The text of an error alone says what
/// failed and leaves out why, and so does an error that is given to a log of JSON lines as it is.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Some errors repeat their cause in their own text.
    texts.dedup_by(|cause, error| error.ends_with(cause.as_str()));
    texts.join(": ")
}

/// What is logged where nothing is set.
const FULL: &str = "info,refinery_core=warn";
/// The same for a person at a terminal.
const SHORT: &str = "warn";
/// Whatever is set, unless it names the target: the store says itself what failed, and whom it refused what.
const WITHOUT: &str = "s3s=off";
/// Whatever is set: the driver of the database tells the values of every statement, secrets among them.
const NEVER: &str = "tokio_postgres=info,tokio_postgres::query=info";

/// Whether a person reads along: standard output and error are a terminal, and the log is text.
pub fn is_watched(settings: &Telemetry) -> bool {
    settings.log_format == LogFormat::Text && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Sends logs to standard error from here on. Fails when a subscriber is set already.
pub fn init_logs(settings: &Telemetry) -> anyhow::Result<()> {
    let default = if is_watched(settings) { SHORT } else { FULL };
    let filter = filter(settings.log.as_deref().unwrap_or(default))?;
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !plain;
    match settings.log_format {
        LogFormat::Json => json_lines(filter, std::io::stderr).try_init()?,
        LogFormat::Text => text_lines(filter, colours, std::io::stderr).try_init()?,
    }
    Ok(())
}

fn filter(log: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(format!("{WITHOUT},{log},{NEVER}"))
}

fn text_lines<W>(filter: EnvFilter, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    builder.with_ansi(colours).fmt_fields(OneLineFields(DefaultFields::new())).finish()
}

fn json_lines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let format = Format::default().json().flatten_event(true).with_current_span(true).with_span_list(false);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    builder.fmt_fields(JsonFields::new()).event_format(OneLineJson(format)).finish()
}

/// Ends a line, moves a cursor, or turns the order of what follows.
fn forges(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The texts of events and spans, where a character that could forge a line is spelled out. What comes after it is
/// plain: colours are for what is ours.
struct OneLineFields(DefaultFields);

impl<'writer> FormatFields<'writer> for OneLineFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        self.0.format_fields(Writer::new(&mut Spelling(&mut writer)), fields)
    }
}

struct Spelling<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Spelling<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(forges) {
            match piece.char_indices().next_back().filter(|(_, last)| forges(*last)) {
                Some((at, last)) => write!(self.0, "{}{}", &piece[..at], last.escape_default())?,
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// JSON spells out the first 32 characters by itself, and leaves the others.
struct OneLineJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for OneLineJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // Outside of texts there is none of them.
        for c in line.trim_end_matches('\n').chars() {
            if forges(c) { write!(writer, "\\u{:04x}", u32::from(c))? } else { writer.write_char(c)? }
        }
        writer.write_char('\n')
    }
}

/// What comes before a token in a path: of links for viewers, and of uploaders that ask at whichever port.
const BEFORE_TOKENS: [&str; 2] = ["/recording/", "/transfer/t/"];

/// A path as the log shows it. A query is never shown.
pub fn without_token(path: &str) -> String {
    let token = BEFORE_TOKENS.iter().filter_map(|before| path.find(before).map(|at| at + before.len())).min();
    token.map_or_else(|| path.to_owned(), |token| format!("{}…", &path[..token]))
}

/// Bytes of a text from outside that a message shows.
const BRIEF_BYTES: usize = 200;

/// A text from outside as a log shows it: its beginning, and how long it is where that is not all.
pub fn brief(text: &str) -> Brief<'_> {
    Brief(text)
}

#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(&'a str);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= BRIEF_BYTES {
            return f.write_str(self.0);
        }
        write!(f, "{}… ({} bytes)", &self.0[..self.0.floor_char_boundary(BRIEF_BYTES)], self.0.len())
    }
}

/// Where the measures collect, and how they are shown.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process. Fails when there is one already.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self { handle })
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        // Histograms keep raw samples until they are drained; doing it with every
        // scrape bounds them without a task of its own.
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(DELIVERY_ATTEMPTS.to_owned()), ATTEMPTS_BUCKETS)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(subscriber: impl Fn(Lines) -> Box<dyn Subscriber + Send + Sync>, forged: &str) -> String {
        let lines = Lines::default();
        tracing::subscriber::with_default(subscriber(lines.clone()), || {
            let span = tracing::info_span!("request", request.id = %forged, inner = forged);
            span.in_scope(|| tracing::info!(account = forged, shown = %forged, debug = ?forged, "Refused a login as `{forged}`"));
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    /// What others wrote stands in the log, and forges no line of it, wherever in an event it stands.
    #[test]
    fn no_text_from_outside_makes_a_line_or_moves_a_cursor() {
        let forged = "op\n2026-11-25T10:00:00Z  INFO Logged in `admin`\r\u{1b}[2K\u{9b}1A\u{85}\u{2028}\u{202e}\u{7f}\0\tx";
        let filter = || EnvFilter::new("info");
        let text = |lines: Lines| -> Box<dyn Subscriber + Send + Sync> { Box::new(text_lines(filter(), false, move || lines.clone())) };
        let coloured = |lines: Lines| -> Box<dyn Subscriber + Send + Sync> { Box::new(text_lines(filter(), true, move || lines.clone())) };
        let json = |lines: Lines| -> Box<dyn Subscriber + Send + Sync> { Box::new(json_lines(filter(), move || lines.clone())) };
        for (name, log) in [("text", written(text, forged)), ("json", written(json, forged))] {
            let line = log.strip_suffix('\n').unwrap();
            assert!(!line.contains(forges), "{name}: {line:?}");
            assert!(line.contains("Refused a login as `op\\n2026"), "{name}: {line}");
        }
        // The colours of a terminal are ours alone.
        let log = written(coloured, forged);
        assert_eq!((log.matches('\n').count(), log.contains("\u{1b}[2K")), (1, false), "{log:?}");
        let parsed: serde_json::Value = serde_json::from_str(&written(json, forged)).unwrap();
        assert_eq!((&parsed["account"], &parsed["span"]["inner"]), (&forged.into(), &forged.into()), "collectors get the text as it was");
    }

    #[test]
    fn the_protocol_of_the_store_is_silent_unless_it_is_named() {
        let told = |log: &str| {
            let lines = Lines::default();
            let to = lines.clone();
            tracing::subscriber::with_default(text_lines(filter(log).unwrap(), false, move || to.clone()), || {
                tracing::error!(target: "s3s::ops", "op returns error");
            });
            !lines.0.lock().unwrap().is_empty()
        };
        assert!(!told(FULL) && !told("info") && !told("debug,keystone_edge=trace"));
        assert!(told("info,s3s=error"));
    }

    #[test]
    fn the_log_shows_no_token_of_a_path() {
        assert_eq!(without_token("/api/v1/episodes/7/recording/e.y.J/x.mcap"), "/api/v1/episodes/7/recording/…");
        assert_eq!(without_token("/api/v1/episodes/7/recording/e.y.J"), "/api/v1/episodes/7/recording/…");
        assert_eq!(without_token("/api/v1/episodes/7"), "/api/v1/episodes/7");
        assert_eq!(without_token("/transfer/t/e.y.J/AB-1"), "/transfer/t/…");
        assert_eq!(without_token("/a/transfer/t/e/recording/x"), "/a/transfer/t/…");
    }

    #[test]
    fn a_long_text_is_shown_by_its_beginning() {
        assert_eq!(brief("AB-1").to_string(), "AB-1");
        let shown = brief(&"仓".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}… (3000 bytes)", "仓".repeat(66)));
    }

    #[test]
    fn durations_are_rendered_in_buckets_with_their_description() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(COMMAND_SECONDS, "command" => "PlaceOrder").record(0.004);
        });
        let text = handle.render();
        assert!(text.contains("# HELP keystone_command_seconds Time from a command"));
        assert!(text.contains(r#"keystone_command_seconds_bucket{command="PlaceOrder",le="0.005"} 1"#), "{text}");
    }

    #[test]
    fn an_error_keeps_its_causes_in_every_log() {
        #[derive(Debug, thiserror::Error)]
        #[error("the database cannot be reached")]
        struct Unreachable(#[source] io::Error);
        let broken = || Unreachable(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused by 10.0.0.7"));
        let error = broken();
        assert_eq!(chain(&error), "the database cannot be reached: connection refused by 10.0.0.7");
        let filter = || EnvFilter::new("info");
        let (text, json) = (Lines::default(), Lines::default());
        let (to_text, to_json) = (text.clone(), json.clone());
        let log = || {
            tracing::warn!(error = chain(&error), "Waiting for the database");
            tracing::warn!(error = format!("{:#}", anyhow::Error::new(broken())), "The sequencer lost its place");
        };
        tracing::subscriber::with_default(text_lines(filter(), false, move || to_text.clone()), log);
        tracing::subscriber::with_default(json_lines(filter(), move || to_json.clone()), log);
        for lines in [text, json] {
            let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let without: Vec<_> = lines.lines().filter(|line| !line.contains("refused by 10.0.0.7")).collect();
            assert!(without.is_empty(), "{without:?}");
        }
    }
}
