//! Values as they stand in JSON. Which ids are text and which are numbers is part of the
//! contract, so every id in an answer says by its type which it is; those of bodies may be either ([`super::fields`]).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::Timestamp;
use crate::projections::reads::{Listed, Page};

/// An id that stands as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "42")]
pub struct TextId(pub i64);

impl Serialize for TextId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An instant: UTC, whole seconds, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(as = Instant, value_type = String, example = "2026-05-11T10:31:00Z")]
pub struct WholeSecond(pub Timestamp);

impl Serialize for WholeSecond {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl<'de> Deserialize<'de> for WholeSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self)
    }
}

impl From<Timestamp> for WholeSecond {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// An instant to the microsecond: UTC, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "2026-05-11T10:31:00.123456Z")]
pub struct Exact(pub Timestamp);

impl std::fmt::Display for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One page of a list. `hasNext` and `hasPrev` are left out when false.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    /// The entries of this page.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: i64,
    /// How many a page has at most.
    pub limit: i64,
    /// How many come before this page.
    pub offset: i64,
    /// Whether a page follows; left out where none does.
    #[serde(rename = "hasNext", skip_serializing_if = "std::ops::Not::not")]
    pub has_next: bool,
    /// Whether a page comes before; left out where none does.
    #[serde(rename = "hasPrev", skip_serializing_if = "std::ops::Not::not")]
    pub has_prev: bool,
    /// For `after`, where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

impl<T> Paged<T> {
    pub fn new<R>(listed: Listed<R>, page: &Page) -> Self
    where
        T: From<R>,
    {
        let Listed { rows, total, next } = listed;
        let (limit, offset) = (page.limit.unwrap_or(total), page.offset);
        let (has_next, has_prev) = match page.after {
            None => (offset.saturating_add(limit) < total, offset > 0),
            Some(_) => (next.is_some(), true),
        };
        let items = rows.into_iter().map(T::from).collect();
        Self { items, total, limit, offset, has_next, has_prev, next_after: next.map(|next| next.to_string()) }
    }
}

/// `null` in a table reads as a missing key.
pub fn present(json: Option<serde_json::Value>) -> Option<serde_json::Value> {
    json.filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_are_whole_seconds_in_utc() {
        let at = chrono::DateTime::parse_from_rfc3339("2026-05-11T12:31:00.999+02:00").unwrap().to_utc();
        assert_eq!(json!(WholeSecond(at)), json!("2026-05-11T10:31:00Z"));
    }

    #[test]
    fn a_page_mentions_neighbours_only_when_there_are_some() {
        let page = |rows: Vec<i64>, total, offset| {
            let page = Page { limit: Some(2), offset, after: None };
            json!(Paged::<i64>::new(Listed { rows, total, next: None }, &page))
        };
        assert_eq!(page(vec![], 0, 0), json!({"items": [], "total": 0, "limit": 2, "offset": 0}));
        assert_eq!(page(vec![1, 2], 5, 2), json!({"items": [1, 2], "total": 5, "limit": 2, "offset": 2, "hasNext": true, "hasPrev": true}));
    }
}
