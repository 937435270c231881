//! What a change of a device is told as.

use std::time::Duration;

use bytes::Bytes;
use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::domain::device::{CommandOutcome, Contest, DeviceEvent, LinkKind, RecorderState};
use crate::domain::{PublicTaskId, Timestamp};
use crate::http::fleet::DeviceWarning;
use crate::projections::reads::device_changes::DeviceChange;
use crate::projections::reads::devices::DeviceShown;
use crate::streams::frame;

fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn base(kind: &str, device: &str, version: i64, at: Timestamp) -> Value {
    json!({ "type": kind, "device_id": device, "state_version": version, "updated_at": instant(at) })
}

fn with(mut data: Value, more: Value) -> Value {
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    data
}

fn connection(data: Value, recorder: bool, transfer: bool, source: String) -> Value {
    let both = recorder && transfer;
    with(data, json!({ "recorder_connected": recorder, "transfer_connected": transfer, "connected": both, "source": source }))
}

/// Nothing is known yet of a recorder that has just connected.
fn syncing(data: Value, now: Timestamp, at: Timestamp) -> Value {
    let state = json!({ "current_state": "unknown", "previous_state": "", "task_id": "", "state_synced": false, "syncing": true,
                        "fresh": false, "age_ms": age(now, at), "source": "" });
    with(data, state)
}

fn age(now: Timestamp, at: Timestamp) -> i64 {
    (now - at).num_milliseconds().max(0)
}

/// The id stands on the last event of a position only: a reader that lost one of them gets them all again.
pub(super) fn frames(told: Vec<(&'static str, Value)>, position: i64) -> impl Iterator<Item = Bytes> {
    let last = told.len().saturating_sub(1);
    told.into_iter().enumerate().map(move |(n, (name, data))| frame::event(name, &data.to_string(), (n == last).then_some(position)))
}

/// What a change is told as: event name and data.
pub(super) fn told_as(change: &DeviceChange, now: Timestamp, rpc_timeout: Duration) -> Vec<(&'static str, Value)> {
    let data = |kind| base(kind, &change.device_id, change.version, change.at);
    let link = |kind: LinkKind, open: bool| {
        let (recorder, transfer) = match kind {
            LinkKind::Recorder => (open, change.transfer_open),
            LinkKind::Transfer => (change.recorder_open, open),
        };
        let source = format!("{}_{}", kind.as_str(), if open { "connected" } else { "disconnected" });
        ("device_connection", connection(data("device_connection"), recorder, transfer, source))
    };
    match &change.event {
        DeviceEvent::DeviceLinkOpened { kind: LinkKind::Recorder, .. } => {
            vec![link(LinkKind::Recorder, true), ("recorder_syncing", syncing(data("recorder_syncing"), now, change.at))]
        }
        DeviceEvent::DeviceLinkOpened { kind, .. } => vec![link(*kind, true)],
        DeviceEvent::DeviceLinkClosed { kind, .. } => vec![link(*kind, false)],
        DeviceEvent::RecorderStateObserved { seen, source } => {
            let state = json!({
                "current_state": seen.state.as_str(), "previous_state": change.previous.map_or("", RecorderState::as_str),
                "task_id": text_of(seen.task_id.as_ref()), "state_synced": true, "syncing": false, "fresh": true,
                "age_ms": age(now, change.at), "source": source,
            });
            vec![("recorder_state", with(data("recorder_state"), state))]
        }
        DeviceEvent::DeviceContested { kind, remotes, at } => {
            let contest = Contest { since: *at, remotes: remotes.clone() };
            vec![("device_warning", warned(data("device_warning"), *kind, Some(&contest)))]
        }
        DeviceEvent::DeviceContestEnded { kind, .. } => vec![("device_warning", warned(data("device_warning"), *kind, None))],
        DeviceEvent::DeviceCommandSettled { action, task_id, outcome: CommandOutcome::Unknown { reason, cause }, .. } => {
            let action = action.as_str();
            let operation = json!({
                "action": action, "task_id": text_of(task_id.as_ref()), "result_unknown": true, "source": format!("rpc_timeout:{action}"),
                "error": reason, "cause": cause, "timeout": format!("{}s", rpc_timeout.as_secs()),
                "timeout_ms": u64::try_from(rpc_timeout.as_millis()).unwrap_or(u64::MAX),
            });
            vec![("recorder_operation_unknown", with(data("recorder_operation_unknown"), operation))]
        }
        DeviceEvent::DeviceCommandSettled { .. }
        | DeviceEvent::DeviceCommandRequested { .. }
        | DeviceEvent::DeviceCommandAnsweredLate { .. }
        | DeviceEvent::DeviceReportRefused { .. }
        | DeviceEvent::DeviceReleaseWanted { .. }
        | DeviceEvent::DeviceReleased { .. } => vec![],
    }
}

/// Clients know no task as the empty text.
fn text_of(task: Option<&PublicTaskId>) -> &str {
    task.map_or("", PublicTaskId::as_str)
}

/// What a person has to look after, or that it is over.
fn warned(data: Value, kind: LinkKind, contest: Option<&Contest>) -> Value {
    let warning = DeviceWarning::two_programs(kind, contest);
    let (active, detail) = (warning.is_some(), warning.as_ref().map(|warning| warning.detail.clone()).unwrap_or_default());
    let remotes = warning.map(|warning| warning.remotes).unwrap_or_default();
    with(data, json!({ "code": "two_programs", "link": kind.as_str(), "active": active, "detail": detail, "remotes": remotes }))
}

/// The present state of a device, as if it had just changed.
pub(super) fn snapshot_of(row: &DeviceShown, now: Timestamp) -> Vec<(&'static str, Value)> {
    let data = |kind| base(kind, row.id.as_str(), row.version, row.updated_at);
    let links = connection(data("device_connection"), row.own.recorder_open, row.own.transfer_open, "snapshot".to_owned());
    let mut told = vec![("device_connection", links)];
    for (kind, contest) in [(LinkKind::Recorder, &row.own.recorder_contest), (LinkKind::Transfer, &row.own.transfer_contest)] {
        if let Some(contest) = contest {
            told.push(("device_warning", warned(data("device_warning"), kind, Some(contest))));
        }
    }
    match &row.own.observed_state {
        Some(state) => {
            let state = json!({
                "current_state": state, "previous_state": "", "task_id": text_of(row.own.observed_task.as_ref()), "state_synced": true,
                "syncing": false, "fresh": true, "age_ms": age(now, row.updated_at), "source": "snapshot",
            });
            told.push(("recorder_state", with(data("recorder_state"), state)));
        }
        None if row.own.recorder_open => told.push(("recorder_syncing", syncing(data("recorder_syncing"), now, row.updated_at))),
        None => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(event_type: &str, body: Value) -> DeviceChange {
        DeviceChange {
            position: 7,
            device_id: "AB-1".into(),
            version: 3,
            event: serde_json::from_value(json!({ event_type: body })).expect("an event as it is stored"),
            at: Timestamp::UNIX_EPOCH,
            recorder_open: false,
            transfer_open: true,
            previous: Some(RecorderState::Ready),
        }
    }

    fn told(change: &DeviceChange) -> Vec<(&'static str, Value)> {
        told_as(change, Timestamp::UNIX_EPOCH + chrono::TimeDelta::milliseconds(40), Duration::from_secs(15))
    }

    /// Byte by byte as clients have always had it.
    #[test]
    fn the_id_stands_behind_the_data_of_the_last_event_of_a_position() {
        let opened = told(&change(
            "device_link_opened",
            json!({ "kind": "recorder", "epoch": 2, "remote": "10.0.0.1", "at": "1970-01-01T00:00:00Z" }),
        ));
        let text: Vec<u8> = frames(opened.clone(), 7).flatten().collect();
        let expected =
            format!("event: device_connection\ndata: {}\n\nevent: recorder_syncing\ndata: {}\nid: 7\n\n", opened[0].1, opened[1].1);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn each_change_is_told_as_clients_know_it() {
        let opened = told(&change(
            "device_link_opened",
            json!({ "kind": "recorder", "epoch": 2, "remote": "10.0.0.1", "at": "1970-01-01T00:00:00Z" }),
        ));
        assert_eq!(opened.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["device_connection", "recorder_syncing"]);
        assert_eq!(
            opened[0].1,
            json!({ "type": "device_connection", "device_id": "AB-1", "state_version": 3, "updated_at": "1970-01-01T00:00:00.000000000Z",
                    "recorder_connected": true, "transfer_connected": true, "connected": true, "source": "recorder_connected" })
        );
        let closed = told(&change("device_link_closed", json!({ "kind": "transfer", "epoch": 2, "reason": "gone" })));
        assert_eq!((&closed[0].1["source"], &closed[0].1["connected"]), (&json!("transfer_disconnected"), &json!(false)));

        let seen = json!({ "seen": { "epoch": 2, "state": "recording", "task_id": "t" }, "source": "state_update" });
        assert_eq!(
            told(&change("recorder_state_observed", seen)),
            [(
                "recorder_state",
                json!({ "type": "recorder_state", "device_id": "AB-1", "state_version": 3,
                "updated_at": "1970-01-01T00:00:00.000000000Z", "current_state": "recording", "previous_state": "ready", "task_id": "t",
                "state_synced": true, "syncing": false, "fresh": true, "age_ms": 40, "source": "state_update" })
            )]
        );
        let unknown = json!({ "command_id": "c", "action": "begin", "task_id": "t", "outcome": { "unknown": { "reason": "silence" } } });
        let unknown = told(&change("device_command_settled", unknown));
        assert_eq!(
            (unknown[0].0, &unknown[0].1["source"], &unknown[0].1["timeout_ms"]),
            ("recorder_operation_unknown", &json!("rpc_timeout:begin"), &json!(15000))
        );
        let known = json!({ "command_id": "c", "action": "begin", "task_id": "t", "outcome": { "succeeded": {} } });
        assert_eq!(told(&change("device_command_settled", known)), []);
    }
}
