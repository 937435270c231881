//! Orders.

use super::error::ReadError;
use super::home::Home;
use super::keyword::{Keyword, ranked};
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::order::{OrderStatus, Priority};
use crate::domain::{OrderId, OrganizationId, SceneId, Scope};
use crate::projections::rows::production::OrderRow;

row! {
    OrderShown of OrderRow as "o" {
        organization_name: Option<String> = "g.name",
        scene_name: Option<String> = "s.name",
    }
}

#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub organization_ids: Option<Vec<OrganizationId>>,
    pub scene_ids: Option<Vec<SceneId>>,
    pub priorities: Option<Vec<Priority>>,
    pub statuses: Option<Vec<OrderStatus>>,
    pub names: Option<Vec<String>>,
    pub ids: Option<Vec<OrderId>>,
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
    format!("select {} from {FROM} where o.id = $1", OrderShown::columns())
}

impl Reads {
    pub async fn order(&self, scope: &Scope, id: OrderId) -> Result<Option<OrderShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    pub async fn orders(&self, scope: &Scope, filter: &OrderFilter, page: Page) -> Result<Listed<OrderShown>, ReadError> {
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
    vec![("order", get()), ("orders", list().select(&OrderShown::columns())), ("orders, counted", list().count())]
}
