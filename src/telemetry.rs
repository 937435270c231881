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

pub const HTTP_REQUEST_SECONDS: &str = "keystone_http_request_seconds";
pub const COMMANDS: &str = "keystone_commands_total";
pub const COMMAND_SECONDS: &str = "keystone_command_seconds";
pub const COMMAND_CONFLICTS: &str = "keystone_command_conflicts_total";
pub const EVENTS_APPENDED: &str = "keystone_events_appended_total";
pub const SEQUENCER_POSITION: &str = "keystone_sequencer_position";
pub const SEQUENCER_DELAY_SECONDS: &str = "keystone_sequencer_delay_seconds";
pub const DELIVERIES: &str = "keystone_deliveries_total";
pub const DELIVERY_SECONDS: &str = "keystone_delivery_seconds";
pub const DELIVERY_DELAY_SECONDS: &str = "keystone_delivery_delay_seconds";
pub const DEAD_LETTERS: &str = "keystone_dead_letters_total";
pub const DEVICES_CONNECTED: &str = "keystone_devices_connected";
pub const UPLOAD_VERIFIED_BYTES: &str = "keystone_upload_verified_bytes_total";
pub const POOL_CONNECTIONS: &str = "keystone_pool_connections";
pub const POOL_OPENED: &str = "keystone_pool_connections_opened_total";
pub const POOL_WAITING: &str = "keystone_pool_waiting";

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
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "Time from request to answer, by method, route and status");
    describe_counter!(COMMANDS, "Commands, by name and outcome");
    describe_histogram!(COMMAND_SECONDS, Unit::Seconds, "Time from a command to its commit, by name");
    describe_counter!(COMMAND_CONFLICTS, "Lost races of a command, each followed by a retry or a refusal");
    describe_counter!(EVENTS_APPENDED, "Events committed");
    describe_gauge!(SEQUENCER_POSITION, "Last position given to an event");
    describe_histogram!(SEQUENCER_DELAY_SECONDS, Unit::Seconds, "Time from recording an event to giving it a position");
    describe_counter!(DELIVERIES, "Delivery attempts, by subscriber and outcome");
    describe_histogram!(DELIVERY_SECONDS, Unit::Seconds, "Duration of one delivery attempt, by subscriber");
    describe_histogram!(DELIVERY_DELAY_SECONDS, Unit::Seconds, "Time from due to claimed, by subscriber");
    describe_counter!(DEAD_LETTERS, "Deliveries given up, by subscriber and reason");
    describe_gauge!(DEVICES_CONNECTED, "Open device connections, by kind");
    describe_counter!(UPLOAD_VERIFIED_BYTES, Unit::Bytes, "Bytes read back and hashed before an ack");
    describe_gauge!(POOL_CONNECTIONS, "Open database connections");
    describe_counter!(POOL_OPENED, "Database connections opened");
    describe_gauge!(POOL_WAITING, "Callers waiting for a database connection");
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
