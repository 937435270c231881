//! What recorders, uploaders and the server say to each other, as types.
//!
//! Reading is tolerant: a field that is missing, unknown or of another type than expected
//! costs that field, not the message. Numbers are taken as they are; statistics hold some
//! that fit no signed integer. Writing is exact: devices read the top level only, and want
//! a timestamp on every frame to a recorder or on none.
//!
//! These types stay here. What becomes of a message is said in [`super::effects::Report`];
//! none of this is ever stored.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::storable::JSON_DEPTH_MAX;

/// Longest text of a device that is passed on; the rest is cut.
const TEXT_CHARS_MAX: usize = 1000;

/// Largest answer of a device that is passed on with its outcome. Answers to commands are
/// under a kilobyte; a larger one is not worth keeping for ever.
const DATA_BYTES_MAX: usize = 16 * 1024;

/// Why a frame could not be read. The link stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{kind} without {field}")]
    Without { kind: &'static str, field: &'static str },
}

/// Server to recorder.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRecorder<'a> {
    RpcRequest {
        request_id: &'a str,
        action: &'a str,
        #[serde(skip_serializing_if = "is_empty")]
        params: &'a Value,
        /// Lets the recorder tell how far its clock is from ours.
        timestamp_ms: i64,
    },
}

fn is_empty(params: &Value) -> bool {
    params.is_null() || params.as_object().is_some_and(Map::is_empty)
}

/// Server to uploader. `cancel` is understood by no uploader; it exists for the route that offers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTransfer {
    UploadRequest { task_id: String, priority: i32 },
    UploadAck { task_id: String },
    StatusQuery {},
    UploadAll {},
    Cancel { task_id: String },
}

/// The text of a frame. Types of this module always have one.
pub fn encode<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

/// Recorder to server.
#[derive(Clone, Debug, PartialEq)]
pub enum FromRecorder {
    RpcResponse(RpcResponse),
    StateUpdate(StateUpdate),
    ConfigApplied {
        task_id: String,
    },
    /// A type that we do not know.
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RpcResponse {
    pub request_id: String,
    pub success: bool,
    pub message: Option<String>,
    pub data: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateUpdate {
    /// Milliseconds since 1970, by the device's clock.
    pub timestamp_ms: Option<i64>,
    pub previous: Option<String>,
    pub current: String,
    pub task_id: Option<String>,
}

impl FromRecorder {
    pub fn parse(frame: &[u8]) -> Result<Self, Unreadable> {
        let mut frame = object(frame)?;
        let data = frame.get("data").and_then(Value::as_object);
        Ok(match text(&frame, "type").unwrap_or_default() {
            "rpc_response" => {
                let kind = "rpc_response";
                let request_id = text(&frame, "request_id").ok_or(Unreadable::Without { kind, field: "request_id" })?.to_owned();
                let success = frame.get("success").and_then(Value::as_bool).ok_or(Unreadable::Without { kind, field: "success" })?;
                let message = text(&frame, "message").map(tame_text);
                let data = frame.remove("data").filter(|data| !data.is_null()).map(tame);
                Self::RpcResponse(RpcResponse { request_id, success, message, data })
            }
            "state_update" => {
                let current = data.and_then(|data| text(data, "current"));
                Self::StateUpdate(StateUpdate {
                    timestamp_ms: frame.get("timestamp").and_then(whole),
                    previous: data.and_then(|data| text(data, "previous")).map(str::to_owned),
                    current: current.ok_or(Unreadable::Without { kind: "state_update", field: "data.current" })?.to_owned(),
                    task_id: data.and_then(|data| text(data, "task_id")).map(str::to_owned),
                })
            }
            "config_applied" => {
                let task_id = data.and_then(|data| text(data, "task_id"));
                let task_id = task_id.ok_or(Unreadable::Without { kind: "config_applied", field: "data.task_id" })?.to_owned();
                Self::ConfigApplied { task_id }
            }
            other => Self::Other(tame_text(other)),
        })
    }
}

impl RpcResponse {
    /// The state this answer tells, under any of the names that were seen for it.
    pub fn state(&self) -> Option<&str> {
        let data = self.data.as_ref()?.as_object()?;
        ["state", "current", "current_state"].into_iter().find_map(|key| text(data, key))
    }

    pub fn task_id(&self) -> Option<&str> {
        let data = self.data.as_ref()?.as_object()?;
        text(data, "task_id").or_else(|| text(data.get("task_config")?.as_object()?, "task_id"))
    }

    /// The answer's data, where it is small enough to be kept.
    pub fn data_to_keep(&self) -> Option<Value> {
        self.data.clone().filter(|data| encode(data).len() <= DATA_BYTES_MAX)
    }
}

/// Uploader to server.
#[derive(Clone, Debug, PartialEq)]
pub enum FromTransfer {
    /// `connected`, or the answer to `status_query` or `upload_all`: only the keys that are there say something.
    Status {
        greeting: bool,
        data: Map<String, Value>,
    },
    UploadStarted {
        task_id: String,
    },
    UploadComplete(UploadRecord),
    UploadFailed {
        task_id: String,
        reason: String,
    },
    UploadNotFound {
        task_id: String,
        detail: String,
    },
    LocalCleanupFailed {
        task_id: String,
        reason: String,
    },
    Other(String),
}

/// One upload as the device's own list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadRecord {
    pub task_id: String,
    /// `pending`, `active`, `retry-wait`, `uploaded_wait_ack`, `completed`, `failed`.
    pub status: String,
    pub upload_mode: String,
    pub object_key: String,
    pub file_size_bytes: Option<u64>,
    pub checksum_sha256: String,
    pub retry_count: u64,
    pub last_error: String,
    pub next_retry_at: Option<String>,
    pub updated_at: Option<String>,
}

impl UploadRecord {
    /// The bytes are in the bucket and the device waits to be told that they are safe.
    pub fn waits_for_ack(&self) -> bool {
        self.status == "uploaded_wait_ack"
    }

    /// It is never tried again.
    pub fn was_given_up(&self) -> bool {
        self.status == "failed"
    }

    /// It is in the device's queue, or on its way.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "active" | "retry-wait" | "retry_wait")
    }

    /// Nothing will happen to it any more.
    pub fn ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed")
    }

    pub fn read(data: &Map<String, Value>) -> Option<Self> {
        let word = |key| text(data, key).map(tame_text).unwrap_or_default();
        let s3_key = word("s3_key");
        Some(Self {
            task_id: text(data, "task_id")?.to_owned(),
            status: word("status"),
            upload_mode: word("upload_mode"),
            object_key: if s3_key.is_empty() { word("object_key") } else { s3_key },
            file_size_bytes: data.get("file_size_bytes").and_then(whole),
            checksum_sha256: word("checksum_sha256").to_ascii_lowercase(),
            retry_count: data.get("retry_count").and_then(whole).unwrap_or_default(),
            last_error: word("last_error"),
            next_retry_at: text(data, "next_retry_at").map(tame_text),
            updated_at: text(data, "updated_at").map(tame_text),
        })
    }
}

impl FromTransfer {
    pub fn parse(frame: &[u8]) -> Result<Self, Unreadable> {
        let mut frame = object(frame)?;
        let kind = text(&frame, "type").unwrap_or_default().to_owned();
        let data = match frame.remove("data") {
            Some(Value::Object(data)) => data,
            _ => Map::new(),
        };
        let task_id = |kind| text(&data, "task_id").map(str::to_owned).ok_or(Unreadable::Without { kind, field: "data.task_id" });
        let word = |key| text(&data, key).map(tame_text).unwrap_or_default();
        Ok(match kind.as_str() {
            "connected" => Self::Status { greeting: true, data },
            "status" => Self::Status { greeting: false, data },
            "upload_started" => Self::UploadStarted { task_id: task_id("upload_started")? },
            "upload_complete" => Self::UploadComplete(
                UploadRecord::read(&data).ok_or(Unreadable::Without { kind: "upload_complete", field: "data.task_id" })?,
            ),
            "upload_failed" => Self::UploadFailed { task_id: task_id("upload_failed")?, reason: word("reason") },
            "upload_not_found" => Self::UploadNotFound { task_id: task_id("upload_not_found")?, detail: word("detail") },
            "local_cleanup_failed" => Self::LocalCleanupFailed { task_id: task_id("local_cleanup_failed")?, reason: word("reason") },
            other => Self::Other(tame_text(other)),
        })
    }
}

fn object(frame: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    match serde_json::from_slice(frame) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Unreadable::NotAnObject),
        Err(error) => Err(Unreadable::NotJson(error.to_string())),
    }
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// A whole number on the wire. Some writers have one type for all numbers, and write `221.0`.
pub fn whole<T: TryFrom<i64> + TryFrom<u64>>(value: &Value) -> Option<T> {
    match (value.as_u64(), value.as_i64()) {
        (Some(number), _) => number.try_into().ok(),
        (None, Some(number)) => number.try_into().ok(),
        (None, None) => whole_float(value.as_f64()?),
    }
}

/// The whole number that a float means. Beyond 2^53 it does not say which.
pub fn whole_float<T: TryFrom<i64>>(number: f64) -> Option<T> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() != 0.0 || number.abs() > EXACT_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, as was just seen")]
    (number as i64).try_into().ok()
}

/// Text that a table can hold: Postgres has no NUL.
fn tame_text(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}

/// JSON that a table can hold and that can be read again: what is nested deeper is left out.
pub fn tame(value: Value) -> Value {
    fn tamed(value: Value, left: usize) -> Value {
        match value {
            Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
            Value::Array(_) | Value::Object(_) if left == 0 => Value::Null,
            Value::Array(items) => Value::Array(items.into_iter().map(|item| tamed(item, left - 1)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(key, value)| (key.replace('\0', "\u{fffd}"), tamed(value, left - 1))).collect())
            }
            other => other,
        }
    }
    tamed(value, JSON_DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        serde_json::to_vec(value).unwrap()
    }

    #[test]
    fn requests_have_their_fields_where_devices_look_for_them() {
        let request = ToRecorder::RpcRequest { request_id: "r", action: "begin", params: &json!({"task_id": "t"}), timestamp_ms: 7 };
        assert_eq!(
            encode(&request),
            r#"{"type":"rpc_request","request_id":"r","action":"begin","params":{"task_id":"t"},"timestamp_ms":7}"#
        );
        let request = ToRecorder::RpcRequest { request_id: "r", action: "get_state", params: &Value::Null, timestamp_ms: 7 };
        assert_eq!(encode(&request), r#"{"type":"rpc_request","request_id":"r","action":"get_state","timestamp_ms":7}"#);

        let frames = [
            (ToTransfer::UploadRequest { task_id: "t".into(), priority: 1 }, r#"{"type":"upload_request","task_id":"t","priority":1}"#),
            (ToTransfer::UploadAck { task_id: "t".into() }, r#"{"type":"upload_ack","task_id":"t"}"#),
            (ToTransfer::StatusQuery {}, r#"{"type":"status_query"}"#),
            (ToTransfer::UploadAll {}, r#"{"type":"upload_all"}"#),
        ];
        for (message, expected) in frames {
            assert_eq!(encode(&message), expected);
        }
    }

    #[test]
    fn a_field_of_another_type_costs_that_field_only() {
        let frame = json!({"type": "rpc_response", "request_id": "r", "success": true, "message": 5, "news": {}, "data": {"state": "idle", "task_id": null}});
        let FromRecorder::RpcResponse(response) = FromRecorder::parse(&bytes(&frame)).unwrap() else { panic!("another type") };
        assert_eq!((response.message.as_deref(), response.state(), response.task_id()), (None, Some("idle"), None));
    }

    #[test]
    fn numbers_beyond_signed_integers_pass() {
        let frame = br#"{"type":"rpc_response","request_id":"r","success":true,"data":{"p99":16651541458059659401}}"#;
        let FromRecorder::RpcResponse(response) = FromRecorder::parse(frame).unwrap() else { panic!("another type") };
        assert_eq!(response.data.unwrap()["p99"], json!(16651541458059659401_u64));
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        for (written, whole) in [("310", Some(310)), ("310.0", Some(310)), ("3.1e2", Some(310)), ("0.0", Some(0)), ("-0.0", Some(0))] {
            let frame =
                format!(r#"{{"type":"upload_complete","data":{{"task_id":"t","file_size_bytes":{written},"retry_count":{written}}}}}"#);
            let FromTransfer::UploadComplete(record) = FromTransfer::parse(frame.as_bytes()).unwrap() else { panic!("another type") };
            assert_eq!((record.file_size_bytes, record.retry_count), (whole, whole.unwrap_or_default()), "{written}");
            let frame = format!(r#"{{"type":"state_update","timestamp":{written},"data":{{"current":"idle"}}}}"#);
            let FromRecorder::StateUpdate(update) = FromRecorder::parse(frame.as_bytes()).unwrap() else { panic!("another type") };
            assert_eq!(update.timestamp_ms, whole.map(|ms: u64| ms as i64), "{written}");
        }
        let update = br#"{"type":"state_update","timestamp":-7.0,"data":{"current":"idle"}}"#;
        assert!(matches!(FromRecorder::parse(update), Ok(FromRecorder::StateUpdate(StateUpdate { timestamp_ms: Some(-7), .. }))));
        for no_count in ["310.5", "-1", "-1.0", "1e300", "\"310\"", "null", "[310]"] {
            let frame = format!(r#"{{"type":"upload_complete","data":{{"task_id":"t","file_size_bytes":{no_count}}}}}"#);
            let FromTransfer::UploadComplete(record) = FromTransfer::parse(frame.as_bytes()).unwrap() else { panic!("another type") };
            assert_eq!(record.file_size_bytes, None, "{no_count}");
        }
        let frame = format!(r#"{{"type":"upload_complete","data":{{"task_id":"t","file_size_bytes":{}}}}}"#, u64::MAX);
        let FromTransfer::UploadComplete(record) = FromTransfer::parse(frame.as_bytes()).unwrap() else { panic!("another type") };
        assert_eq!(record.file_size_bytes, Some(u64::MAX));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let table: [(&[u8], &str); 5] = [
            (b"{\"type\":", "not JSON"),
            (b"[1]", "not a JSON object"),
            (br#"{"type":"rpc_response","success":true}"#, "rpc_response without request_id"),
            (br#"{"type":"state_update","data":{"current_state":"idle"}}"#, "state_update without data.current"),
            (br#"{"type":"config_applied"}"#, "config_applied without data.task_id"),
        ];
        for (frame, expected) in table {
            let error = FromRecorder::parse(frame).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn text_that_no_table_can_hold_is_made_harmless() {
        let frame = json!({"type": "rpc_response", "request_id": "r", "success": false, "message": "a\0b", "data": {"k\0": ["x\0"]}});
        let FromRecorder::RpcResponse(response) = FromRecorder::parse(&bytes(&frame)).unwrap() else { panic!("another type") };
        assert_eq!(response.message.as_deref(), Some("a\u{fffd}b"));
        assert_eq!(response.data, Some(json!({"k\u{fffd}": ["x\u{fffd}"]})));
    }

    #[test]
    fn what_is_nested_too_deep_to_be_read_again_is_left_out() {
        use crate::domain::storable::nested_too_deep;
        let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let frame = format!(r#"{{"type":"rpc_response","request_id":"r","success":true,"data":{{"state":"idle","deep":{deep}}}}}"#);
        let FromRecorder::RpcResponse(response) = FromRecorder::parse(frame.as_bytes()).unwrap() else { panic!("another type") };
        assert_eq!(response.state(), Some("idle"));
        assert!(!nested_too_deep(&response.data.unwrap()));
    }
}
