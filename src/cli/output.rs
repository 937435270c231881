//! What a command prints.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Prints a line; its reader may have seen enough (`| head`).
pub fn say(line: &str) -> anyhow::Result<()> {
    is_heard(line).map(drop)
}

/// Prints a line, and answers whether its reader is still there.
pub fn is_heard(line: &str) -> anyhow::Result<bool> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}

/// A text in an answer.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number in an answer.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Prints JSON for people.
pub fn say_json(what: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(what)?)
}
