//! Events of the log, read once and written once for all readers.

use bytes::Bytes;
use serde_json::json;

use crate::domain::Timestamp;
use crate::http::logged::LoggedEvent;
use crate::projections::reads::events::{LogEvent, Terms};
use crate::projections::reads::{ReadError, Reads};
use crate::streams::{Look, Source, Window, frame};

/// Events that are read at once. A reader that catches up holds them until they are sent.
pub const EVENTS_MAX: i64 = 50;

/// An event, ready to be told.
pub struct ToldEvent {
    pub position: i64,
    pub recorded_at: Timestamp,
    pub terms: Terms,
    pub frame: Bytes,
}

/// As its readers get it: the same JSON as in a page.
pub fn told(position: i64, event: LogEvent) -> Bytes {
    frame::message(position, &json!(LoggedEvent::from(event)).to_string())
}

#[derive(Clone)]
pub struct LogSource(pub Reads);

impl Source for LogSource {
    type Item = ToldEvent;

    fn bytes(event: &ToldEvent) -> usize {
        size_of::<ToldEvent>() + event.frame.len() + event.terms.bytes()
    }

    async fn head(&self) -> Result<i64, ReadError> {
        self.0.log_head().await
    }

    async fn read(&self, after: i64) -> Result<Look<ToldEvent>, ReadError> {
        let events = self.0.log_after(after, EVENTS_MAX).await?;
        let (upto, more) = (events.last().map_or(after, |last| last.position), i64::try_from(events.len()).is_ok_and(|n| n == EVENTS_MAX));
        let items = events.into_iter().map(|one| ToldEvent {
            position: one.position,
            recorded_at: one.event.recorded_at,
            terms: one.terms,
            frame: told(one.position, one.event),
        });
        Ok(Look { window: Window { after, upto, items: items.collect() }, more })
    }
}
