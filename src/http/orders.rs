//! `/orders`: placing, reading, editing, deleting.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::at::{self, Answer, AsOf};
use super::auth::Caller;
use super::extract::{Json, Params, PathId};
use super::fields::{GivenId, GivenInstant, Name, OrEmpty, Whole, given_or_null};
use super::made::Made;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::wire::{Paged, TextId, WholeSecond, present};
use super::words::{OrderStatusWord, PriorityWord};
use crate::commands::orders::{DeleteOrder, PlaceOrder, ReviseOrder};
use crate::domain::order::{Priority, Revision};
use crate::domain::{OrderId, OrganizationId, SceneId, Scope};
use crate::projections::reads::Reads;
use crate::projections::reads::as_of::{Part, Unit};
use crate::projections::reads::orders::{OrderFilter, OrderShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(place))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(edit))
        .at(Policy::MANAGE, routes!(delete))
}

/// How many recordings of a scene an organization wants.
#[derive(Debug, Serialize, ToSchema)]
pub struct Order {
    /// Names it in other requests.
    id: TextId,
    /// What is recorded.
    scene_id: TextId,
    /// The name of that scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    scene_name: Option<String>,
    /// On whose behalf.
    organization_id: TextId,
    /// The name of that organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    /// Unique in its organization.
    name: String,
    /// How many recordings are wanted.
    target_count: i64,
    /// Tasks in any state.
    task_count: i64,
    /// Tasks that were completed.
    completed_count: i64,
    /// Tasks that were cancelled.
    cancelled_count: i64,
    /// Tasks that failed.
    failed_count: i64,
    /// What is done about it.
    #[schema(value_type = OrderStatusWord)]
    status: &'static str,
    /// How urgent it is.
    #[schema(value_type = PriorityWord)]
    priority: &'static str,
    /// When it has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<WholeSecond>,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When it was placed.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<OrderShown> for Order {
    fn from(row: OrderShown) -> Self {
        Self {
            id: TextId(row.id.0),
            scene_id: TextId(row.own.scene_id.0),
            scene_name: row.scene_name,
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            name: row.own.name,
            target_count: row.own.target_count,
            task_count: row.own.task_count,
            completed_count: row.own.completed_count,
            cancelled_count: row.own.cancelled_count,
            failed_count: row.own.failed_count,
            status: row.own.status.as_str(),
            priority: row.own.priority.as_str(),
            deadline: row.own.deadline.map(WholeSecond),
            metadata: present(row.own.metadata),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Orders, newest first.
#[utoipa::path(get, path = "/api/v1/orders", tag = "orders", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query, description = "One or several, separated by commas; so are all filters here"),
    ("scene_id" = Option<String>, Query),
    ("priority" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("order_name" = Option<String>, Query, description = "Exact names; also `name`"),
    ("ids" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "In the names of order, scene and organization; also `q`, `search`"),
), responses((status = 200, body = Paged<Order>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Order>>, Problem> {
    at::refuse(&params)?;
    let page = params.page_to_100()?;
    let filter = OrderFilter {
        organization_ids: params.id_list(&["organization_id"], OrganizationId)?,
        scene_ids: params.id_list(&["scene_id"], SceneId)?,
        priorities: params.word_list("priority")?,
        statuses: params.word_list("status")?,
        names: params.list(&["order_name", "name"])?,
        ids: params.id_list(&["ids"], OrderId)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.orders(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

type GivenPriority = OrEmpty<PriorityWord>;
type GivenDeadline = OrEmpty<GivenInstant>;
type TargetCount = Whole<1, { i32::MAX as i64 }>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOrder {
    /// On whose behalf is recorded.
    organization_id: GivenId,
    /// What is recorded.
    scene_id: GivenId,
    /// Unique in its organization.
    name: Name,
    /// How many recordings are wanted.
    target_count: TargetCount,
    /// How urgent it is; `normal` where nothing is said.
    priority: Option<GivenPriority>,
    /// When it has to be done, with any offset; empty is no deadline.
    deadline: Option<GivenDeadline>,
    /// Any JSON that is kept with it.
    metadata: Option<Value>,
}

impl From<NewOrder> for PlaceOrder {
    fn from(order: NewOrder) -> Self {
        Self {
            organization_id: OrganizationId(order.organization_id.0),
            scene_id: SceneId(order.scene_id.0),
            name: order.name.0,
            target_count: order.target_count.0,
            priority: order.priority.and_then(|word| word.0).map_or_else(Priority::default, |word| word.0),
            deadline: order.deadline.and_then(|at| at.0).map(|at| at.0),
            metadata: order.metadata,
        }
    }
}

/// Place an order.
#[utoipa::path(post, path = "/api/v1/orders", tag = "orders", request_body = NewOrder, responses(
    (status = 201, body = Order),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or the name is taken"),
))]
pub async fn place(State(state): State<AppState>, caller: Caller, Json(order): Json<NewOrder>) -> Result<Made<Order>, Problem> {
    let id = state.commands.execute(&caller.context(), PlaceOrder::from(order)).await?;
    Ok(Made::created(TextId(id.0), found(&state.reads, &caller.scope, id)).await)
}

/// One order.
#[utoipa::path(get, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = i64, Path), ("at" = Option<String>, Query)), responses(
    (status = 200, body = Order),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId, params: Params) -> Result<Answer<Order>, Problem> {
    let as_of = AsOf::of(&state, &caller, &params, Unit::Order(OrderId(id)), Part::Itself).await?;
    let order = found(&as_of.reads, &caller.scope, OrderId(id)).await?;
    Ok(as_of.answer(order))
}

async fn found(reads: &Reads, scope: &Scope, id: OrderId) -> Result<Order, Problem> {
    reads.order(scope, id).await?.map(Order::from).ok_or_else(|| Problem::not_found("order"))
}

/// What is not named stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OrderEdit {
    /// Unique in its organization.
    name: Option<Name>,
    /// Not below the number of completed tasks. Equal to it, the order is completed.
    target_count: Option<TargetCount>,
    /// How urgent it is.
    priority: Option<PriorityWord>,
    /// When it has to be done, with any offset. Empty takes the deadline away.
    deadline: Option<GivenDeadline>,
    /// An object that replaces what is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "given_or_null")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// What may follow which stands in the documentation of orders; `completed` follows from tasks and cannot be asked for.
    #[schema(value_type = Option<OrderStatusWord>)]
    status: Option<String>,
    /// Cannot be changed: an edit that names it is refused.
    #[schema(ignore)]
    scene_id: Option<Value>,
}

impl TryFrom<OrderEdit> for Revision {
    type Error = Problem;

    fn try_from(edit: OrderEdit) -> Result<Self, Problem> {
        if edit.scene_id.is_some() {
            return Err(Problem::of_field("scene_id", "cannot be changed"));
        }
        let metadata = match edit.metadata {
            None => None,
            Some(Value::Null) => Some(Value::Object(serde_json::Map::new())),
            Some(object @ Value::Object(_)) => Some(object),
            Some(_) => return Err(Problem::of_field("metadata", "must be a JSON object")),
        };
        let revision = Self {
            name: edit.name.map(|name| name.0),
            target_count: edit.target_count.map(|count| count.0),
            priority: edit.priority.map(|word| word.0),
            deadline: edit.deadline.map(|at| at.0.map(|at| at.0)),
            metadata,
            status: edit.status,
        };
        if revision == Self::default() {
            return Err(Problem::new(Code::NothingToChange, "the edit names nothing that can be changed"));
        }
        Ok(revision)
    }
}

/// Edit an order.
///
/// `status` pauses (`paused`), resumes (`in_progress`, or `created` while nothing is completed),
/// cancels (`cancelled`, with the order's open batches) and reopens a cancelled order.
/// An order is completed by its tasks, or by a `target_count` that is reached already.
#[utoipa::path(put, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = i64, Path)), request_body = OrderEdit, responses(
    (status = 200, body = Order),
    (status = 400, description = "A field is wrong, nothing is to be changed, the name is taken, or the target is below what is completed"),
    (status = 404, description = "There is none"),
    (status = 409, description = "The order cannot get from its present status to the one asked for"),
))]
pub async fn edit(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(edit): Json<OrderEdit>,
) -> Result<Made<Order>, Problem> {
    let order_id = OrderId(id);
    let revision = Revision::try_from(edit)?;
    state.commands.execute(&caller.context(), ReviseOrder { order_id, revision }).await?;
    let known = json!({ "id": TextId(id) });
    Ok(Made::read(StatusCode::OK, known, found(&state.reads, &caller.scope, order_id)).await)
}

/// Delete an order that nothing belongs to.
#[utoipa::path(delete, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 400, description = "Batches or tasks belong to it"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), DeleteOrder(OrderId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse;

    fn placed(change: Value) -> Result<PlaceOrder, u16> {
        let mut body = json!({"organization_id": "1", "scene_id": "2", "name": " a ", "target_count": 3});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        parse::<NewOrder>(body.to_string().as_bytes()).map(PlaceOrder::from).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn ids_are_text_or_numbers_and_counts_are_numbers() {
        assert_eq!(placed(json!({})).unwrap().name, "a");
        assert_eq!(placed(json!({"organization_id": 1})).unwrap().organization_id, OrganizationId(1));
        for wrong in [
            json!({"organization_id": 0}),
            json!({"organization_id": 1.5}),
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

    fn edited(body: Value) -> Result<Revision, u16> {
        let edit = parse::<OrderEdit>(body.to_string().as_bytes()).map_err(|problem| problem.status().as_u16())?;
        Revision::try_from(edit).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn an_edit_tells_null_from_missing_and_refuses_what_cannot_change() {
        assert_eq!(edited(json!({"metadata": null})).unwrap().metadata, Some(json!({})));
        assert_eq!(edited(json!({"name": " b ", "metadata": {"a": 1}})).unwrap().name, Some("b".into()));
        assert_eq!(edited(json!({"deadline": ""})).unwrap().deadline, Some(None));
        assert_eq!(edited(json!({"name": null, "status": "nonsense"})).unwrap().status, Some("nonsense".into()));
        for wrong in [
            json!({}),
            json!({"organization_id": "2"}),
            json!({"name": null}),
            json!({"name": ""}),
            json!({"scene_id": "2", "name": "a"}),
            json!({"metadata": []}),
            json!({"target_count": 0}),
            json!({"target_count": "3"}),
            json!({"priority": ""}),
            json!({"deadline": "soon"}),
        ] {
            assert_eq!(edited(wrong.clone()).unwrap_err(), 400, "{wrong}");
        }
    }

    #[test]
    fn an_empty_deadline_is_none_and_offsets_become_utc() {
        assert_eq!(placed(json!({"deadline": ""})).unwrap().deadline, None);
        let deadline = placed(json!({"deadline": "2026-01-01T02:00:00.5+02:00"})).unwrap().deadline.unwrap();
        assert_eq!(json!(WholeSecond(deadline)), "2026-01-01T00:00:00Z");
    }
}
