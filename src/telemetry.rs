//! Logs and measures: the tracing subscriber, the Prometheus recorder, and the names
//! of the measures.
//!
//! A measure is named here and nowhere else, so that a dashboard can be written from
//! this file alone. Modules record with `metrics::counter!(telemetry::…)`; before the
//! recorder is installed, and in tests that do not install it, that costs nothing.

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, Telemetry};

pub const HTTP_REQUESTS: &str = "keystone_http_requests_total";
pub const HTTP_REQUEST_SECONDS: &str = "keystone_http_request_duration_seconds";
pub const HTTP_IN_FLIGHT: &str = "keystone_http_requests_in_flight";
pub const COMMANDS: &str = "keystone_commands_total";
pub const COMMAND_SECONDS: &str = "keystone_command_seconds";
pub const COMMAND_CONFLICTS: &str = "keystone_command_conflicts_total";
pub const IDEMPOTENT_REPLAYS: &str = "keystone_idempotent_replays_total";
pub const LOG_EVENTS: &str = "keystone_log_events_total";
pub const LOG_POSITION: &str = "keystone_log_position";
pub const LOG_LEADS: &str = "keystone_log_leads";
pub const OUTBOX_CLAIMED: &str = "keystone_outbox_claimed_total";
pub const OUTBOX_SETTLED: &str = "keystone_outbox_settled_total";
pub const DELIVERY_SECONDS: &str = "keystone_delivery_seconds";
pub const DEVICE_LINKS: &str = "keystone_device_links";
pub const DEVICE_LINKS_ENDED: &str = "keystone_device_links_ended_total";
pub const DEVICE_HANDSHAKES_REFUSED: &str = "keystone_device_handshakes_refused_total";
pub const DEVICE_FRAMES_DELAYED: &str = "keystone_device_frames_delayed_total";
pub const DEVICE_REPORTS: &str = "keystone_device_reports_total";
pub const DEVICE_MESSAGES_DROPPED: &str = "keystone_device_messages_dropped_total";
pub const UPLOADS_REJECTED: &str = "keystone_uploads_rejected_total";
pub const UPLOAD_VERIFIED_BYTES: &str = "keystone_upload_verified_bytes_total";
pub const STORE_PROBE_SECONDS: &str = "keystone_object_store_probe_seconds";
pub const POOL_OPENED: &str = "keystone_pool_connections_opened_total";
pub const CONNECTIONS_GIVEN_UP: &str = "keystone_database_connections_given_up_total";

/// From half a millisecond, a command without a wait, to the longest delivery.
const SECONDS_BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Sends logs to standard error from here on. Fails when a subscriber is set already.
pub fn init_logs(settings: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()?,
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).finish().try_init()?,
    }
    Ok(())
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
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(HTTP_REQUESTS, "Requests, by method, route and status");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "Time to an answer, by method and route");
    describe_gauge!(HTTP_IN_FLIGHT, "Requests under way");
    describe_counter!(COMMANDS, "Commands, by name and outcome");
    describe_histogram!(COMMAND_SECONDS, Unit::Seconds, "Time from a command to its commit or refusal, by name");
    describe_counter!(COMMAND_CONFLICTS, "Runs of commands that lost a race and were repeated, by name");
    describe_counter!(IDEMPOTENT_REPLAYS, "Requests answered with what their Idempotency-Key was answered before");
    describe_counter!(LOG_EVENTS, "Events that got their position from this process");
    describe_gauge!(LOG_POSITION, "The last position that this process gave");
    describe_gauge!(LOG_LEADS, "1 in the process that gives positions");
    describe_counter!(OUTBOX_CLAIMED, "Deliveries claimed, by subscriber");
    describe_counter!(OUTBOX_SETTLED, "Deliveries settled, by subscriber and outcome");
    describe_histogram!(DELIVERY_SECONDS, Unit::Seconds, "Time of one delivery, by subscriber");
    describe_gauge!(DEVICE_LINKS, "Open device connections, by kind");
    describe_counter!(DEVICE_LINKS_ENDED, "Device connections that ended, by kind and cause");
    describe_counter!(DEVICE_HANDSHAKES_REFUSED, "Device connections that were refused, by kind and cause");
    describe_counter!(DEVICE_FRAMES_DELAYED, "Frames of devices that were read later because they came too fast");
    describe_counter!(DEVICE_REPORTS, "What devices told, by report and outcome");
    describe_counter!(DEVICE_MESSAGES_DROPPED, "Messages of devices that could not be used, by cause");
    describe_counter!(UPLOADS_REJECTED, "Uploads that were not what the device had said");
    describe_counter!(UPLOAD_VERIFIED_BYTES, Unit::Bytes, "Bytes read back and hashed before an ack");
    describe_histogram!(STORE_PROBE_SECONDS, Unit::Seconds, "Time of the readiness question to the object store");
    describe_counter!(POOL_OPENED, "Database connections opened");
    describe_counter!(CONNECTIONS_GIVEN_UP, "Database connections closed because they were silent or their session unfit");
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
