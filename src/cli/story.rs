//! `keystone events`: what happened, with who did it, why, and when.

use deadpool_postgres::Pool;
use serde_json::{Value, json};

use super::output::say;
use crate::eventstore::story::{self, Told};

/// A payload longer than this is cut in the text form.
const CONTENT_CHARS_MAX: usize = 160;

pub async fn of_task(pool: &Pool, task: &str, as_json: bool) -> anyhow::Result<()> {
    let story = story::of_task(pool, task).await?;
    if story.is_empty() {
        anyhow::bail!("there is no task `{task}`, and there was none; give its number or its public id");
    }
    for told in &story {
        if as_json {
            say(&line_json(told).to_string())?;
        } else {
            say(&line(told))?;
        }
    }
    Ok(())
}

fn metadata<'a>(told: &'a Told, key: &str) -> &'a str {
    told.event.metadata.get(key).and_then(Value::as_str).unwrap_or("-")
}

/// Position, time, stream, what, who, and the event or request behind it.
pub fn line(told: &Told) -> String {
    let event = &told.event;
    let position = told.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
    let cause = match metadata(told, "causation_id") {
        "-" => match metadata(told, "request_id") {
            "-" => String::new(),
            request => format!("  request {request}"),
        },
        event => format!("  because of {event}"),
    };
    let mut content = event.content().to_string();
    if content.chars().count() > CONTENT_CHARS_MAX {
        content = content.chars().take(CONTENT_CHARS_MAX).chain(['…']).collect();
    }
    format!(
        "{position:>6}  {}  {:<28} {:<24} by {}{cause}\n        {content}",
        metadata(told, "occurred_at"),
        event.event_id(),
        event.event_type,
        metadata(told, "actor"),
    )
}

fn line_json(told: &Told) -> Value {
    let event = &told.event;
    json!({
        "position": told.position, "event_id": event.event_id(), "event_type": event.event_type, "event_version": event.event_version,
        "payload": event.content(), "metadata": event.metadata, "recorded_at": event.recorded_at,
    })
}
