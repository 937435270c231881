//! An entry of the audit, as it is told.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::access::{AccessKind, LoginMethod};
use crate::http::wire::Exact;
use crate::http::words::{AccessKindWord, LoginMethodWord};
use crate::projections::reads::audit::{AccessShown, AuditEntry, AuditPage};
use crate::projections::reads::events::LogEvent;

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditItem {
    /// When the log had it, or it was answered.
    pub occurred_at: Exact,
    /// What was done.
    #[schema(value_type = AccessKindWord)]
    pub kind: &'static str,
    /// Who did it, as events name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// As who they were logged in, where it is no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// As what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The type of the event, or method and pattern of the route.
    pub action: String,
    /// What it was about: a kind and an id; none of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// What was answered, where it is no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i16>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// The request that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of a change: the place of its event in the log, where `GET /events/{position}` tells the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// Of a login, how it was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LoginMethodWord>)]
    pub login_method: Option<&'static str>,
}

impl From<LogEvent> for AuditItem {
    fn from(event: LogEvent) -> Self {
        let said = |key: &str| event.said(key).map(str::to_owned);
        Self {
            occurred_at: Exact(event.recorded_at),
            kind: AccessKind::Change.as_str(),
            actor: said("actor"),
            login: None,
            role: said("role"),
            entity: Some(format!("{}/{}", event.category, event.stream_id)),
            status: None,
            source_address: said("source_address"),
            request_id: said("request_id"),
            position: event.position,
            login_method: None,
            action: event.event_type,
        }
    }
}

impl From<AccessShown> for AuditItem {
    fn from(record: AccessShown) -> Self {
        Self {
            occurred_at: Exact(record.occurred_at),
            kind: record.kind.as_str(),
            actor: Some(record.actor),
            login: Some(record.login),
            role: Some(record.role),
            action: record.action,
            entity: record.entity,
            status: Some(record.status),
            source_address: record.source_address,
            request_id: Some(record.request_id),
            position: None,
            login_method: record.login_method.map(LoginMethod::as_str),
        }
    }
}

impl From<AuditEntry> for AuditItem {
    fn from(entry: AuditEntry) -> Self {
        match entry {
            AuditEntry::Event(event) => event.into(),
            AuditEntry::Record(record) => record.into(),
        }
    }
}

/// One page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditItems {
    /// The entries of this page, the newest first.
    items: Vec<AuditItem>,
    /// How many a page has at most.
    limit: i64,
    /// For `after`, where the next page begins; left out on the last one. With `address` a page may have fewer entries than its limit, or none, and
    /// others follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
}

impl AuditItems {
    pub fn new(page: AuditPage, limit: i64) -> Self {
        let items = page.entries.into_iter().map(AuditItem::from).collect();
        Self { items, limit, next_after: page.next.map(|next| next.to_string()) }
    }
}
