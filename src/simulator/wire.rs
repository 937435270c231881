//! Both sockets and the callbacks, as a device sees them.
//!
//! Written from traces of real devices, apart from the server's own wire types, so
//! that neither side can make the other's mistake agree with its own. Keys of
//! socket frames are in alphabetical order, as devices send them; keys of
//! callbacks are in the order of the device's template.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub const RECORDER_VERSION: &str = "0.4.0";
pub const TRANSFER_VERSION: &str = "0.1.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderState {
    #[default]
    Idle,
    Ready,
    Recording,
    Paused,
}

impl RecorderState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Ready => "ready",
            Self::Recording => "recording",
            Self::Paused => "paused",
        }
    }
}

/// A request that can be answered; everything else is dropped without an answer.
#[derive(Debug, Deserialize)]
pub struct RpcRequest {
    pub action: String,
    pub request_id: String,
    #[serde(default)]
    pub params: Value,
}

#[derive(Debug)]
pub struct RpcReply {
    pub success: bool,
    pub message: String,
    pub data: Option<Value>,
}

impl RpcReply {
    pub fn ok(message: &str, data: Value) -> Self {
        Self { success: true, message: message.into(), data: Some(data) }
    }

    pub fn refused(message: impl Into<String>, data: Value) -> Self {
        Self { success: false, message: message.into(), data: Some(data) }
    }

    pub fn frame(self, request_id: &str) -> Value {
        let mut frame = json!({
            "message": self.message,
            "request_id": request_id,
            "success": self.success,
            "type": "rpc_response",
        });
        if let Some(data) = self.data {
            frame["data"] = data;
        }
        frame
    }
}

pub fn state_update(previous: RecorderState, current: RecorderState, task_id: Option<&str>, now: DateTime<Utc>) -> Value {
    let mut data = json!({ "current": current, "previous": previous });
    if let Some(task_id) = task_id {
        data["task_id"] = task_id.into();
    }
    json!({ "data": data, "timestamp": now.timestamp_millis(), "type": "state_update" })
}

pub fn config_applied(config: &TaskConfig, now: DateTime<Utc>) -> Value {
    json!({
        "data": config.announced(),
        "timestamp": now.timestamp_millis(),
        "type": "config_applied",
    })
}

/// Transfer frames carry ISO time; recorder frames carry milliseconds.
pub fn transfer_frame(kind: &str, data: Value, now: DateTime<Utc>) -> Value {
    json!({ "data": data, "timestamp": iso_millis(now), "type": kind })
}

pub fn iso_millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub fn iso_seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskConfig {
    pub task_id: String,
    pub device_id: String,
    pub data_collector_id: Option<String>,
    pub order_id: Option<String>,
    pub operator_name: Option<String>,
    pub scene: Option<String>,
    pub subscene: Option<String>,
    pub skills: Option<Vec<String>>,
    pub factory: Option<String>,
    /// Echoed, nothing more: what is recorded is the device's own list.
    pub topics: Option<Vec<String>>,
    pub start_callback_url: Option<String>,
    pub finish_callback_url: Option<String>,
    pub user_token: Option<String>,
}

impl TaskConfig {
    /// Reads `params.task_config`; what is wrong is listed as the device lists it.
    pub fn parse(value: &Value) -> Result<Self, Vec<Value>> {
        let mut reader = ConfigReader { config: value.as_object(), errors: Vec::new() };
        let config = Self {
            task_id: reader.required("task_id"),
            device_id: reader.required("device_id"),
            data_collector_id: reader.optional("data_collector_id"),
            order_id: reader.optional("order_id"),
            operator_name: reader.optional("operator_name"),
            scene: reader.optional("scene"),
            subscene: reader.optional("subscene"),
            skills: reader.names("skills", false),
            factory: reader.optional("factory"),
            topics: reader.names("topics", true),
            start_callback_url: reader.optional("start_callback_url"),
            finish_callback_url: reader.optional("finish_callback_url"),
            user_token: reader.optional("user_token"),
        };
        // A real device writes wherever the id leads. A simulated one runs on
        // someone's computer.
        if config.task_id.split('/').any(|part| matches!(part, "" | "." | "..")) && !config.task_id.is_empty() {
            reader.error("task_id", "invalid_value", "must not leave the data directory");
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(reader.errors) }
    }

    /// As in `config_applied`: no secrets, no addresses, unset fields left out.
    pub fn announced(&self) -> Value {
        let mut data = self.fields(|data, key, value| {
            if let Some(value) = value {
                data.insert(key.into(), value.into());
            }
        });
        for (key, list) in [("skills", &self.skills), ("topics", &self.topics)] {
            if let Some(list) = list {
                data.insert(key.into(), json!(list));
            }
        }
        Value::Object(data)
    }

    /// As in `get_state`: the same fields, the unset ones empty.
    pub fn in_full(&self) -> Value {
        let mut data = self.fields(|data, key, value| {
            data.insert(key.into(), value.unwrap_or_default().into());
        });
        for (key, list) in [("skills", &self.skills), ("topics", &self.topics)] {
            data.insert(key.into(), json!(list.as_deref().unwrap_or_default()));
        }
        Value::Object(data)
    }

    fn fields(&self, add: impl Fn(&mut Map<String, Value>, &str, Option<&str>)) -> Map<String, Value> {
        let mut data = Map::new();
        for (key, value) in [
            ("data_collector_id", self.data_collector_id.as_deref()),
            ("device_id", Some(self.device_id.as_str())),
            ("factory", self.factory.as_deref()),
            ("operator_name", self.operator_name.as_deref()),
            ("order_id", self.order_id.as_deref()),
            ("scene", self.scene.as_deref()),
            ("subscene", self.subscene.as_deref()),
            ("task_id", Some(self.task_id.as_str())),
        ] {
            add(&mut data, key, value);
        }
        data
    }
}

struct ConfigReader<'a> {
    config: Option<&'a Map<String, Value>>,
    errors: Vec<Value>,
}

impl ConfigReader<'_> {
    fn error(&mut self, field: &str, code: &str, message: &str) {
        self.errors.push(json!({ "code": code, "field": field, "message": message }));
    }

    fn required(&mut self, field: &str) -> String {
        match self.config.and_then(|config| config.get(field)) {
            None => self.error(field, "missing_required", "is required"),
            Some(Value::String(text)) if text.is_empty() => {
                self.error(field, "empty", "must not be empty");
            }
            Some(Value::String(text)) => return text.clone(),
            Some(_) => self.error(field, "invalid_type", "must be a string"),
        }
        String::new()
    }

    fn optional(&mut self, field: &str) -> Option<String> {
        match self.config?.get(field)? {
            Value::String(text) => return Some(text.clone()),
            _ => self.error(field, "invalid_type", "must be a string"),
        }
        None
    }

    /// Topics may be objects that name themselves.
    fn names(&mut self, field: &str, objects: bool) -> Option<Vec<String>> {
        let value = self.config?.get(field)?;
        let name = |item: &Value| match item {
            Value::String(text) => Some(text.clone()),
            Value::Object(item) if objects => item.get("name").or(item.get("topic"))?.as_str().map(str::to_owned),
            _ => None,
        };
        let names = value.as_array().and_then(|items| items.iter().map(name).collect());
        if names.is_none() {
            self.error(field, "invalid_type", "must be an array of strings");
        }
        names
    }
}

#[derive(Debug, Serialize)]
pub struct StartCallback<'a> {
    pub task_id: &'a str,
    pub device_id: &'a str,
    pub status: &'static str,
    pub started_at: String,
    pub topics: &'a [String],
}

#[derive(Debug, Serialize)]
pub struct FinishCallback<'a> {
    pub task_id: &'a str,
    pub device_id: &'a str,
    pub status: &'static str,
    pub started_at: String,
    pub finished_at: String,
    pub duration_sec: f64,
    pub message_count: u64,
    pub file_size_bytes: u64,
    pub output_path: String,
    pub sidecar_path: String,
    pub sidecar_enabled: bool,
    pub sidecar_generated: bool,
    pub topics: &'a [String],
    pub metadata: FinishMetadata<'a>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct FinishMetadata<'a> {
    pub scene: &'a str,
    pub subscene: &'a str,
    pub skills: &'a [String],
    pub factory: &'a str,
}

/// What the transfer program understands; fields are at the top level.
#[derive(Debug, PartialEq, Eq)]
pub enum TransferRequest {
    Upload {
        task_id: String,
    },
    UploadAll,
    Status,
    Ack {
        task_id: String,
    },
    /// Accepted and without effect.
    Cancel,
}

impl TransferRequest {
    /// Nothing for what the device logs and ignores. A missing task id counts as
    /// an empty one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let frame: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let task_id = match frame.get("task_id") {
            None => String::new(),
            Some(Value::String(task_id)) => task_id.clone(),
            Some(_) => return None,
        };
        if frame.get("priority").is_some_and(|priority| !priority.is_number()) {
            return None;
        }
        match frame.get("type")?.as_str()? {
            "upload_request" => Some(Self::Upload { task_id }),
            "upload_all" => Some(Self::UploadAll),
            "status_query" => Some(Self::Status),
            "upload_ack" => Some(Self::Ack { task_id }),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }
}
