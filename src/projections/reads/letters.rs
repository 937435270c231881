//! Dead letters: as list items, in detail, and counted.

use serde_json::Value;

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::letter::{DeadReason, LetterFilter, Resolution};
use crate::domain::{LetterId, Scope, Timestamp};
use crate::eventstore::upcast::{self, upcasters};
use crate::outbox::letters::{FROM, MATCHES, PARAMETERS, Values};

row! {
    LetterShown {
        id: LetterId = "d.dead_letter_id",
        subscriber: String = "d.subscriber",
        destination: Option<String> = "d.destination",
        stream: String = "d.stream_key",
        sequence: Option<i64> = "e.sequence",
        event_type: Option<String> = "e.event_type",
        reason: DeadReason = "d.reason",
        last_error: Option<String> = "d.failures -> -1 ->> 'error'",
        attempts: i32 = "d.attempts",
        queued_at: Timestamp = "d.queued_at",
        died_at: Timestamp = "d.died_at",
        blocks_stream: bool = "d.blocks_stream",
        notification_failed: bool = "d.notification_failed",
        resolution: Resolution = "case when d.resolved_at is null then 'unresolved' else coalesce(d.resolution, 'resolved') end",
        resolved_at: Option<Timestamp> = "d.resolved_at",
        resolved_because: Option<String> = "a.resolved_because",
        replays: i64 = "coalesce(a.replays, 0)",
    }
}

row! {
    /// What belongs to one letter only.
    LetterContent {
        causation_depth: i32 = "d.causation_depth",
        event_version: Option<String> = "e.event_version",
        /// What the event says, once it was read.
        payload: Option<Value> = "e.payload",
        metadata: Option<Value> = "e.metadata",
        recorded_at: Option<Timestamp> = "e.recorded_at",
        position: Option<i64> = "(select l.position from log l where l.seq = d.event_seq)",
        failures: Value = "d.failures",
        /// Of the delivery under way, where there is one.
        failures_since: Option<Value> = "(select o.failures from outbox o where o.event_seq = d.event_seq \
            and o.subscriber is not distinct from d.subscriber and o.destination is not distinct from d.destination)",
    }
}

row! {
    /// Something that was done about a letter.
    LetterAct {
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        /// What the event says, once it was read.
        payload: Value = "e.payload",
        at: Timestamp = "coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at)",
        actor: Option<String> = "e.metadata ->> 'actor'",
    }
}

row! {
    /// Unresolved letters of one subscriber.
    LettersOfSubscriber {
        subscriber: String = "d.subscriber",
        unresolved: i64 = "count(*)",
        oldest: Timestamp = "min(d.died_at)",
        newest: Timestamp = "max(d.died_at)",
    }
}

impl LetterShown {
    /// The event that was to be delivered, where it is known.
    pub fn event_id(&self) -> Option<String> {
        self.sequence.map(|sequence| format!("{}/{sequence}", self.stream))
    }
}

/// A letter with everything that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeLetter {
    pub letter: LetterShown,
    pub in_flight: bool,
    pub content: LetterContent,
    pub acts: Vec<LetterAct>,
}

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: MATCHES.into(),
        order: vec![Key::down(KeyType::Instant, "d.died_at"), Key::down(KeyType::Number, "d.dead_letter_id")],
        parameters: PARAMETERS,
        counted: None,
        home: Home::Site,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where d.dead_letter_id = $1", LetterShown::columns())
}

fn content() -> String {
    format!("select {} from {FROM} where d.dead_letter_id = $1", LetterContent::columns())
}

fn acts() -> String {
    format!(
        "select {} from events e where e.aggregate_type = 'dead_letter' and e.aggregate_id = $1::bigint::text order by e.sequence",
        LetterAct::columns()
    )
}

/// Reads unresolved letters only, from their index.
fn counts() -> String {
    format!("select {} from dead_letters d where d.resolved_at is null group by 1 order by 1", LettersOfSubscriber::columns())
}

impl Reads {
    /// The newest death first.
    pub async fn letters(&self, filter: &LetterFilter, page: Page) -> Result<Listed<LetterShown>, ReadError> {
        self.listed(&Scope::Everything, list(), &Values::of(filter).parameters(), page).await
    }

    pub async fn letter(&self, id: LetterId) -> Result<Option<LetterShown>, ReadError> {
        self.row(&get(), &[&id]).await
    }

    pub async fn whole_letter(&self, id: LetterId) -> Result<Option<WholeLetter>, ReadError> {
        let (Some(letter), Some(mut content)) = (self.letter(id).await?, self.row::<LetterContent>(&content(), &[&id]).await?) else {
            return Ok(None);
        };
        if let (Some(event_type), Some(version), Some(payload)) = (&letter.event_type, &content.event_version, content.payload.take()) {
            content.payload = Some(upcast::content(&upcasters(), event_type, version, payload));
        }
        let in_flight = letter.resolution == Resolution::Replayed && content.failures_since.is_some();
        let mut acts: Vec<LetterAct> = self.rows(&acts(), &[&id]).await?;
        for act in &mut acts {
            act.payload = upcast::content(&upcasters(), &act.event_type, &act.event_version, act.payload.take());
        }
        Ok(Some(WholeLetter { letter, in_flight, content, acts }))
    }

    /// Unresolved letters, by subscriber.
    pub async fn letter_counts(&self) -> Result<Vec<LettersOfSubscriber>, ReadError> {
        self.rows(&counts(), &[]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("dead letters", list().select(&LetterShown::columns())),
        ("dead letters, counted", list().count()),
        ("dead letter", get()),
        ("content of a dead letter", content()),
        ("acts about a dead letter", acts()),
        ("unresolved dead letters", counts()),
    ]
}
