//! The levels of a recorder's two logs.

use serde_json::{Value, json};

use crate::simulator::wire::RpcReply;

pub(super) struct LogLevels {
    console: String,
    file: String,
}

const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warning", "error", "fatal"];

impl Default for LogLevels {
    fn default() -> Self {
        Self { console: "info".into(), file: "debug".into() }
    }
}

impl LogLevels {
    pub fn shown(&self) -> Value {
        json!({ "console_level": self.console, "file_level": self.file })
    }

    pub fn set(&mut self, params: &Value) -> RpcReply {
        let wanted = |name: &str, present: &str| match params.get(name) {
            None => Some(present.to_owned()),
            Some(level) => level.as_str().filter(|level| LOG_LEVELS.contains(level)).map(str::to_owned),
        };
        match (wanted("console_level", &self.console), wanted("file_level", &self.file)) {
            (Some(console), Some(file)) => {
                *self = Self { console, file };
                RpcReply::ok("Log levels set successfully", self.shown())
            }
            _ => RpcReply::refused("Invalid log level", self.shown()),
        }
    }
}
