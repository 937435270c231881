//! Orders.

use serde_json::Value;

use super::error::ReadError;
use super::home::Home;
use super::keyword::{Keyword, ranked};
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::{OrderId, Scope, Timestamp};

row! {
    OrderRow {
        id: i64 = "o.id",
        organization_id: i64 = "o.organization_id",
        organization_name: Option<String> = "g.name",
        scene_id: i64 = "o.scene_id",
        scene_name: Option<String> = "s.name",
        name: String = "o.name",
        target_count: i64 = "o.target_count",
        task_count: i64 = "o.task_count",
        completed_count: i64 = "o.completed_count",
        failed_count: i64 = "o.failed_count",
        cancelled_count: i64 = "o.cancelled_count",
        status: String = "o.status",
        priority: String = "o.priority",
        deadline: Option<Timestamp> = "o.deadline",
        metadata: Option<Value> = "o.metadata",
        created_at: Timestamp = "o.created_at",
        updated_at: Timestamp = "o.updated_at",
    }
}

#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub organization_ids: Option<Vec<i64>>,
    pub scene_ids: Option<Vec<i64>>,
    pub priorities: Option<Vec<String>>,
    pub statuses: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub ids: Option<Vec<i64>>,
    pub keyword: Option<String>,
}

const FROM: &str = "orders o left join organizations g on g.id = o.organization_id left join scenes s on s.id = o.scene_id";

const HOME: Home = Home::Organization { factory: "g.factory_id", organization: "o.organization_id" };

fn list() -> ListQuery {
    let keyword = Keyword::over(7, &["o.name", "s.name", "g.name"]);
    // Each name by an index of its own: an `or` over three tables would look at every order.
    let hit = |from: &str, field: &str| format!("select k.id from {from} where {}", keyword.hits(field));
    let hits = [
        hit("orders k", "k.name"),
        hit("orders k join scenes n on n.id = k.scene_id", "n.name"),
        hit("orders k join organizations n on n.id = k.organization_id", "n.name"),
    ];
    ListQuery {
        from: FROM,
        matches: format!(
            "($1::bigint[] is null or o.organization_id = any($1)) and ($2::bigint[] is null or o.scene_id = any($2)) \
             and ($3::text[] is null or o.priority = any($3)) and ($4::text[] is null or o.status = any($4)) \
             and ($5::text[] is null or comparable(o.name) = any(comparable_all($5))) and ($6::bigint[] is null or o.id = any($6)) \
             and ($7::text is null or o.id = any (array({})))",
            hits.join(" union all ")
        ),
        order: ranked(&keyword, [Key::down(KeyType::Number, "o.id")]),
        parameters: 7,
        counted: None,
        home: HOME,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where o.id = $1", OrderRow::COLUMNS)
}

impl Reads {
    pub async fn order(&self, scope: &Scope, id: OrderId) -> Result<Option<OrderRow>, ReadError> {
        self.seen(scope, HOME, get(), &[&id.0]).await
    }

    pub async fn orders(&self, scope: &Scope, filter: &OrderFilter, page: Page) -> Result<Listed<OrderRow>, ReadError> {
        self.listed(
            scope,
            list(),
            &[
                &filter.organization_ids,
                &filter.scene_ids,
                &filter.priorities,
                &filter.statuses,
                &filter.names,
                &filter.ids,
                &filter.keyword,
            ],
            page,
        )
        .await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("order", get()), ("orders", list().select(OrderRow::COLUMNS)), ("orders, counted", list().count())]
}
