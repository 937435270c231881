//! Events for people: what happened, with who did it, why, and when.

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

/// What a line shows of an event.
pub struct Parts<'a> {
    pub position: Option<i64>,
    pub event_id: &'a str,
    pub event_type: &'a str,
    pub content: &'a Value,
    pub occurred_at: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub because_of: Option<&'a str>,
    pub request: Option<&'a str>,
}

/// Position, time, stream, what, who, and the event or request behind it.
pub fn text(event: &Parts<'_>) -> String {
    let position = event.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
    let cause = match (event.because_of, event.request) {
        (Some(event), _) => format!("  because of {event}"),
        (None, Some(request)) => format!("  request {request}"),
        (None, None) => String::new(),
    };
    let mut content = event.content.to_string();
    if content.chars().count() > CONTENT_CHARS_MAX {
        content = content.chars().take(CONTENT_CHARS_MAX).chain(['…']).collect();
    }
    format!(
        "{position:>6}  {}  {:<28} {:<24} by {}{cause}\n        {content}",
        event.occurred_at.unwrap_or("-"),
        event.event_id,
        event.event_type,
        event.actor.unwrap_or("-"),
    )
}

pub fn line(told: &Told) -> String {
    let said = |key: &str| told.event.metadata.get(key).and_then(Value::as_str);
    text(&Parts {
        position: told.position,
        event_id: &told.event.event_id(),
        event_type: &told.event.event_type,
        content: told.event.content(),
        occurred_at: said("occurred_at"),
        actor: said("actor"),
        because_of: said("causation_id"),
        request: said("request_id"),
    })
}

fn line_json(told: &Told) -> Value {
    let event = &told.event;
    json!({
        "position": told.position, "event_id": event.event_id(), "event_type": event.event_type, "event_version": event.event_version,
        "payload": event.content(), "metadata": event.metadata, "recorded_at": event.recorded_at,
    })
}
