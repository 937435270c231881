//! Subscriptions: how each is, what was tried, and what a request needs. Whole URLs and secrets stand beside the log.

use super::error::ReadError;
use super::home::Home;
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::subscription::{DeliveryTerms, SubscriptionState};
use crate::domain::{Scope, SubscriptionId, Timestamp};
use crate::projections::rows::subscription::SubscriptionRow;

row! {
    SubscriptionShown of SubscriptionRow as "s" {
        position: Option<i64> = "(select c.position from subscription_cursors c where c.subscription_id = s.id and c.until is null)",
        replays: i64 = "(select count(*) from subscription_cursors c where c.subscription_id = s.id and c.until is not null)",
        waiting: i64 = "(select count(*) from outbox o where o.subscriber = 'webhooks' and o.destination = 'webhook:' || s.id)",
        failing_since: Option<Timestamp> = "t.failing_since",
        rests_until: Option<Timestamp> = "case when t.rests_until > clock_timestamp() then t.rests_until end",
    }
}

impl SubscriptionShown {
    pub fn state(&self) -> SubscriptionState {
        match (self.own.ended, self.own.paused) {
            (Some(_), _) => SubscriptionState::Ended,
            (None, Some(_)) => SubscriptionState::Paused,
            (None, None) => SubscriptionState::Active,
        }
    }
}

row! {
    /// One attempt to deliver an event.
    AttemptShown {
        attempt_id: i64 = "a.attempt_id",
        position: Option<i64> = "a.position",
        event_id: String = "a.event_id",
        event_type: String = "a.event_type",
        attempt: i32 = "a.attempt",
        at: Timestamp = "a.at",
        took_ms: i64 = "a.took_ms",
        outcome: String = "a.outcome",
        status: Option<i32> = "a.status",
        error: Option<String> = "a.error",
        answer: Option<String> = "a.answer",
    }
}

row! {
    /// What a dispatcher has to know of a destination.
    StandingRow {
        id: SubscriptionId = "s.id",
        delivery: DeliveryTerms = "s.delivery",
        /// Something may be sent there, or has to be dropped.
        open: bool = "s.ended is not null or (s.paused is null and coalesce(t.rests_until <= clock_timestamp(), true))",
    }
}

row! {
    /// What a request needs.
    ToSendRow {
        ended: bool = "s.ended is not null",
        /// Neither paused nor asked for quiet.
        open: bool = "s.paused is null and coalesce(t.rests_until <= clock_timestamp(), true)",
        url: String = "coalesce(t.url, '')",
        delivery: DeliveryTerms = "s.delivery",
        /// The newest first.
        secrets: Vec<String> = "array(select k.secret from webhook_secrets k where k.subscription_id = s.id \
            and (k.expires_at is null or k.expires_at > clock_timestamp()) order by k.generation desc)",
        /// None until the event has its place in the log.
        position: Option<i64> = "(select l.position from log l where l.seq = $2)",
    }
}

row! {
    SecretRow {
        secret: String = "k.secret",
    }
}

/// What is asked for of a delivery log. What is not named matches everything.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub position: Option<i64>,
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    pub outcome: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

const FROM: &str = "subscriptions s left join webhook_targets t on t.subscription_id = s.id";

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::text is null or $1 = case when s.ended is not null then 'ended' when s.paused is not null then 'paused' else 'active' end)"
            .into(),
        order: vec![Key::down(KeyType::Instant, "s.created_at"), Key::down(KeyType::Number, "s.id")],
        parameters: 1,
        counted: None,
        home: Home::Site,
    }
}

fn attempts() -> ListQuery {
    ListQuery {
        from: "webhook_attempts a",
        matches: "a.subscription_id = $1::bigint and ($2::bigint is null or a.position = $2) and ($3::text is null or a.event_id = $3) \
                  and ($4::text is null or a.event_type = $4) and ($5::text is null or a.outcome = $5) \
                  and ($6::timestamptz is null or a.at >= $6) and ($7::timestamptz is null or a.at < $7)"
            .into(),
        order: vec![Key::down(KeyType::Number, "a.attempt_id")],
        parameters: 7,
        counted: None,
        home: Home::Site,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where s.id = $1", SubscriptionShown::columns())
}

fn standing() -> String {
    format!("select {} from {FROM} where s.id = any ($1)", StandingRow::columns())
}

fn to_send() -> String {
    format!("select {} from {FROM} where s.id = $1", ToSendRow::columns())
}

fn secret() -> String {
    format!("select {} from webhook_secrets k where k.subscription_id = $1 and k.generation = $2", SecretRow::columns())
}

impl Reads {
    /// The newest first.
    pub async fn subscriptions(&self, state: Option<SubscriptionState>, page: Page) -> Result<Listed<SubscriptionShown>, ReadError> {
        self.listed(&Scope::Everything, list(), &[&state.map(SubscriptionState::as_str)], page).await
    }

    pub async fn subscription(&self, id: SubscriptionId) -> Result<Option<SubscriptionShown>, ReadError> {
        self.row(&get(), &[&id]).await
    }

    /// The newest attempt first.
    pub async fn attempts(&self, id: SubscriptionId, filter: &AttemptFilter, page: Page) -> Result<Listed<AttemptShown>, ReadError> {
        let f = filter;
        self.listed(&Scope::Everything, attempts(), &[&id, &f.position, &f.event_id, &f.event_type, &f.outcome, &f.from, &f.to], page).await
    }

    pub async fn standing_webhooks(&self, ids: &[SubscriptionId]) -> Result<Vec<StandingRow>, ReadError> {
        self.rows(&standing(), &[&ids]).await
    }

    pub async fn webhook_to_send(&self, id: SubscriptionId, event_seq: i64) -> Result<Option<ToSendRow>, ReadError> {
        self.row(&to_send(), &[&id, &event_seq]).await
    }

    /// A secret that was just made, for the answer to its making.
    pub async fn webhook_secret(&self, id: SubscriptionId, generation: i64) -> Result<Option<SecretRow>, ReadError> {
        self.row(&secret(), &[&id, &generation]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("subscriptions", list().select(&SubscriptionShown::columns())),
        ("subscriptions, counted", list().count()),
        ("subscription", get()),
        ("attempts of a webhook", attempts().select(&AttemptShown::columns())),
        ("attempts of a webhook, counted", attempts().count()),
        ("webhooks with something to deliver", standing()),
        ("what a webhook is sent with", to_send()),
        ("secret of a webhook", secret()),
    ]
}
