//! Every measure: its name, kind and labels stand here and nowhere else. What each tells an operator stands in
//! `docs/metrics.md`, which a test compares with this list and with what a server shows.
//!
//! Labels take few values: names from closed lists and patterns of routes, never an id.

use metrics::Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasureKind {
    Counter,
    Gauge,
    Histogram,
}

impl MeasureKind {
    /// As Prometheus names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub name: &'static str,
    pub kind: MeasureKind,
    pub labels: &'static [&'static str],
    text: &'static str,
}

macro_rules! measures {
    ($($kind:ident $constant:ident = $name:literal ($($label:literal),*): $text:literal;)+) => {
        $(pub const $constant: &str = $name;)+

        pub const MEASURES: &[Measure] =
            &[$(Measure { name: $name, kind: MeasureKind::$kind, labels: &[$($label),*], text: $text }),+];
    };
}

measures! {
    Counter HTTP_REQUESTS = "keystone_http_requests_total" ("method", "route", "status"): "Requests";
    Histogram HTTP_REQUEST_SECONDS = "keystone_http_request_duration_seconds" ("method", "route"): "Time to an answer";
    Gauge HTTP_IN_FLIGHT = "keystone_http_requests_in_flight" (): "Requests under way";
    Counter REQUESTS_LIMITED = "keystone_requests_limited_total" ("limit"): "Requests that were refused because there were too many";
    Counter ACCESS_REFUSED = "keystone_access_refused_total" ("status", "role"): "Requests that were refused because of who asked";
    Counter ACCESS_RECORDS = "keystone_access_records_total" ("outcome"): "Records of who read, took away or was refused what, by what became of them";
    Counter CONNECTIONS_REFUSED = "keystone_connections_refused_total" ("cause"): "Connections that were not taken because there were too many, in all or from one address";
    Counter COMMANDS = "keystone_commands_total" ("command", "outcome"): "Commands";
    Histogram COMMAND_SECONDS = "keystone_command_seconds" ("command"): "Time from a command to its commit or refusal";
    Counter COMMAND_CONFLICTS = "keystone_command_conflicts_total" ("command"): "Runs of commands that lost a race and were repeated";
    Counter IDEMPOTENT_REPLAYS = "keystone_idempotent_replays_total" (): "Requests answered with what their Idempotency-Key was answered before";
    Gauge LOG_TREE_BEHIND = "keystone_log_tree_behind" (): "Events of the log that are not in its tree yet";
    Gauge LOG_UNPUBLISHED = "keystone_log_unpublished" (): "Events under the newest signed head whose tree is not in the object store yet";
    Counter LOG_EVENTS = "keystone_log_events_total" (): "Events that got their position from this process";
    Gauge LOG_POSITION = "keystone_log_position" (): "The last position that this process gave";
    Gauge LOG_LEADS = "keystone_log_leads" (): "1 in the process that gives positions";
    Gauge LOG_LAG_SECONDS = "keystone_log_lag_seconds" (): "Age of the oldest event without a position";
    Counter OUTBOX_CLAIMED = "keystone_outbox_claimed_total" ("subscriber"): "Deliveries claimed";
    Counter OUTBOX_SETTLED = "keystone_outbox_settled_total" ("subscriber", "outcome"): "Deliveries settled";
    Gauge OUTBOX_ROWS = "keystone_outbox_rows" (): "Deliveries that wait or are under way, as Postgres estimates their number";
    Gauge OUTBOX_OLDEST_SECONDS = "keystone_outbox_oldest_seconds" ("subscriber"): "How long the delivery that has been due for longest has been due";
    Gauge DEAD_LETTERS_UNRESOLVED = "keystone_dead_letters_unresolved" (): "Dead letters about which nothing was done yet";
    Gauge ABANDONED_EXECUTIONS = "keystone_abandoned_executions" (): "Outcomes that no caller heard, of those that are kept";
    Histogram DELIVERY_SECONDS = "keystone_delivery_seconds" ("subscriber"): "Time of one attempt";
    Histogram DELIVERY_LATENCY_SECONDS = "keystone_delivery_latency_seconds" ("subscriber", "destination"): "Time from the commit of an event to the end of its delivery, by the kind of destination";
    Histogram DELIVERY_ATTEMPTS = "keystone_delivery_attempts" ("subscriber"): "Attempts that a delivery took until it was made or given up";
    Counter WEBHOOK_ATTEMPTS = "keystone_webhook_attempts_total" ("outcome"): "Requests to receivers of webhooks";
    Gauge DEVICE_LINKS = "keystone_device_links" ("kind"): "Open device connections";
    Counter DEVICE_LINKS_ENDED = "keystone_device_links_ended_total" ("kind", "cause"): "Device connections that ended";
    Counter DEVICE_HANDSHAKES_REFUSED = "keystone_device_handshakes_refused_total" ("kind", "cause"): "Device connections that were refused";
    Counter DEVICE_FRAMES_DELAYED = "keystone_device_frames_delayed_total" (): "Frames of devices that were read later because they came too fast";
    Counter DEVICE_REPORTS = "keystone_device_reports_total" ("report", "outcome"): "What devices told";
    Counter DEVICE_MESSAGES_DROPPED = "keystone_device_messages_dropped_total" ("cause"): "Messages of devices that could not be used";
    Gauge OUTSIDE_JOBS_WAITING = "keystone_outside_jobs_waiting" (): "Jobs of outside checks that are not done yet";
    Counter OUTSIDE_JOBS_NOT_DONE = "keystone_outside_jobs_not_done_total" ("cause"): "Jobs of outside checks that were given up";
    Gauge UPLOADS_WAITING = "keystone_uploads_waiting" (): "Tasks whose recording has ended and did not arrive";
    Gauge WITHOUT_UPLOAD_SECONDS = "keystone_without_upload_seconds" (): "For how long stations have been at work without an upload";
    Gauge QA_FAILURE_RATIO = "keystone_qa_failure_ratio" (): "Share of the recordings of the last hour that failed";
    Gauge DISK_FREE_RATIO = "keystone_disk_free_ratio" (): "Free share of the disk of the data folder";
    Gauge CLOUD_QUEUE_DEPTH = "keystone_cloud_queue_depth" (): "Episodes that wait for the cloud or are on their way";
    Gauge CLOUD_QUEUE_OLDEST_SECONDS = "keystone_cloud_queue_oldest_seconds" (): "For how long the episode is queued that is queued for longest";
    Histogram CLOUD_SYNC_SECONDS = "keystone_cloud_sync_seconds" (): "Time from the approval of an episode until it is in the cloud";
    Counter COPY_LOOKS = "keystone_copies_looked_at_total" ("place", "depth", "outcome"): "Copies of recordings that were looked at again";
    Counter COPY_LOOK_BYTES = "keystone_copies_read_bytes_total" ("place"): "Bytes of copies that were read to look at them";
    Counter EDGE_COPIES = "keystone_edge_copies_total" ("outcome"): "Copies in the edge storage that were removed or brought back, or were not";
    Counter CLOUD_SYNC_ENDED = "keystone_cloud_sync_ended_total" ("outcome"): "Episodes that are in the cloud, or were given up";
    Counter CLOUD_SYNCED_BYTES = "keystone_cloud_synced_bytes_total" ("cloud"): "Bytes of recordings that a cloud has all of";
    Counter SALVAGES = "keystone_salvages_total" ("outcome"): "Damaged recordings that were salvaged, or could not be";
    Counter UPLOADS_REJECTED = "keystone_uploads_rejected_total" (): "Uploads that were not what the device had said";
    Counter UPLOAD_VERIFIED_BYTES = "keystone_upload_verified_bytes_total" (): "Bytes read back and hashed before an ack";
    Histogram STORE_PROBE_SECONDS = "keystone_object_store_probe_seconds" (): "Time of the readiness question to the object store";
    Counter TRACE_SPANS = "keystone_trace_spans_total" ("outcome"): "Spans of traces, by what became of them";
    Gauge STREAM_SUBSCRIBERS = "keystone_stream_subscribers" ("kind"): "Open live streams";
    Counter POOL_OPENED = "keystone_pool_connections_opened_total" (): "Database connections opened";
    Counter CONNECTIONS_GIVEN_UP = "keystone_database_connections_given_up_total" ("reason"): "Database connections closed because they were silent or their session unfit";
    Gauge OLDEST_TRANSACTION_SECONDS = "keystone_database_oldest_transaction_seconds" (): "Age of the oldest open transaction in the database";
}

/// Tells the recorder what stands above.
pub(super) fn describe() {
    for measure in MEASURES {
        let unit = match measure.name {
            name if name.ends_with("_seconds") => Unit::Seconds,
            name if name.ends_with("_bytes_total") => Unit::Bytes,
            _ => Unit::Count,
        };
        match measure.kind {
            MeasureKind::Counter => metrics::describe_counter!(measure.name, unit, measure.text),
            MeasureKind::Gauge => metrics::describe_gauge!(measure.name, unit, measure.text),
            MeasureKind::Histogram => metrics::describe_histogram!(measure.name, unit, measure.text),
        }
    }
}
