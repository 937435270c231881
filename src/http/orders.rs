//! `/orders`: placing and reading.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, NAME, Params, PathId, instant, required, text_id};
use super::problem::Problem;
use super::wire::{Instant, Paged, TextId, present};
use crate::commands::orders::PlaceOrder;
use crate::domain::catalog;
use crate::domain::order::{OrderStatus, Priority};
use crate::domain::{OrderId, OrganizationId, SceneId};
use crate::projections::reads::orders::{OrderFilter, OrderRow};

#[derive(Debug, Serialize, ToSchema)]
pub struct Order {
    id: TextId,
    scene_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    scene_name: Option<String>,
    organization_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    name: String,
    target_count: i64,
    /// Tasks in any state.
    task_count: i64,
    completed_count: i64,
    cancelled_count: i64,
    failed_count: i64,
    status: String,
    priority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    created_at: Instant,
    updated_at: Instant,
}

impl From<OrderRow> for Order {
    fn from(row: OrderRow) -> Self {
        Self {
            id: TextId(row.id),
            scene_id: TextId(row.scene_id),
            scene_name: row.scene_name,
            organization_id: TextId(row.organization_id),
            organization_name: row.organization_name,
            name: row.name,
            target_count: row.target_count,
            task_count: row.task_count,
            completed_count: row.completed_count,
            cancelled_count: row.cancelled_count,
            failed_count: row.failed_count,
            status: row.status,
            priority: row.priority,
            deadline: row.deadline.map(Instant),
            metadata: present(row.metadata),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Orders, newest first.
#[utoipa::path(get, path = "/api/v1/orders", tag = "orders", params(
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query, description = "One or several, separated by commas; so are all filters here"),
    ("scene_id" = Option<String>, Query),
    ("priority" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("order_name" = Option<String>, Query, description = "Exact names; also `name`"),
    ("ids" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "In the names of order, scene and organization; also `q`, `search`"),
), responses((status = 200, body = Paged<Order>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Answer<Paged<Order>>, Problem> {
    let page = params.page_to_100()?;
    let filter = OrderFilter {
        organization_ids: params.id_list(&["organization_id"])?,
        scene_ids: params.id_list(&["scene_id"])?,
        priorities: params.word_list("priority", &Priority::ALL)?,
        statuses: params.word_list("status", &OrderStatus::ALL)?,
        names: params.list(&["order_name", "name"])?,
        ids: params.id_list(&["ids"])?,
        keyword: params.keyword(),
    };
    let listed = state.reads.orders(&filter, page).await?;
    Ok(Answer(Paged::new(listed, page.limit.unwrap_or_default(), page.offset)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewOrder {
    organization_id: Option<String>,
    scene_id: Option<String>,
    name: Option<String>,
    target_count: Option<i64>,
    /// `low`, `normal` (default), `high`, `urgent`.
    priority: Option<String>,
    /// RFC 3339; empty is none.
    deadline: Option<String>,
    metadata: Option<Value>,
}

impl TryFrom<NewOrder> for PlaceOrder {
    type Error = Problem;

    fn try_from(order: NewOrder) -> Result<Self, Problem> {
        let priority = order.priority.filter(|text| !text.is_empty());
        let deadline = order.deadline.filter(|text| !text.trim().is_empty());
        let target_fits = |count: &i64| (1..=i64::from(i32::MAX)).contains(count);
        Ok(Self {
            organization_id: OrganizationId(text_id("organization_id", order.organization_id)?),
            scene_id: SceneId(text_id("scene_id", order.scene_id)?),
            name: required("name", order.name, NAME)?,
            target_count: order
                .target_count
                .filter(target_fits)
                .ok_or_else(|| Problem::invalid(format!("target_count must be between 1 and {}", i32::MAX)))?,
            priority: match priority {
                None => Priority::default(),
                Some(word) => catalog::parse(&Priority::ALL, &word)
                    .ok_or_else(|| Problem::invalid("priority must be one of low, normal, high, urgent"))?,
            },
            deadline: deadline.map(|text| instant("deadline", text.trim())).transpose()?,
            metadata: order.metadata,
        })
    }
}

/// Place an order.
#[utoipa::path(post, path = "/api/v1/orders", tag = "orders", request_body = NewOrder, responses(
    (status = 201, body = Order),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or the name is taken"),
))]
pub async fn place(
    State(state): State<AppState>,
    caller: Caller,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Answer<Order>), Problem> {
    caller.must_manage()?;
    let id = state.commands.execute(&caller.context(), PlaceOrder::try_from(order)?).await?;
    Ok((StatusCode::CREATED, Answer(found(&state, id).await?)))
}

/// One order.
#[utoipa::path(get, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = i64, Path)), responses(
    (status = 200, body = Order),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathId(id): PathId) -> Result<Answer<Order>, Problem> {
    Ok(Answer(found(&state, OrderId(id)).await?))
}

async fn found(state: &AppState, id: OrderId) -> Result<Order, Problem> {
    state.reads.order(id).await?.map(Order::from).ok_or_else(|| Problem::not_found("order"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::extract::parse;

    fn placed(change: Value) -> Result<PlaceOrder, u16> {
        let mut body = json!({"organization_id": "1", "scene_id": "2", "name": " a ", "target_count": 3});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let order = parse::<NewOrder>(body.to_string().as_bytes()).map_err(|problem| problem.status().as_u16())?;
        PlaceOrder::try_from(order).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn ids_are_text_and_counts_are_numbers() {
        assert_eq!(placed(json!({})).unwrap().name, "a");
        for wrong in [
            json!({"organization_id": 1}),
            json!({"scene_id": "x"}),
            json!({"target_count": "3"}),
            json!({"target_count": 0}),
            json!({"target_count": 2_147_483_648_i64}),
            json!({"name": " "}),
            json!({"priority": "soon"}),
            json!({"deadline": "tomorrow"}),
        ] {
            assert_eq!(placed(wrong.clone()).unwrap_err(), 400, "{wrong}");
        }
    }

    #[test]
    fn an_empty_deadline_is_none_and_offsets_become_utc() {
        assert_eq!(placed(json!({"deadline": ""})).unwrap().deadline, None);
        let deadline = placed(json!({"deadline": "2026-01-01T02:00:00.5+02:00"})).unwrap().deadline.unwrap();
        assert_eq!(json!(Instant(deadline)), "2026-01-01T00:00:00Z");
    }
}
