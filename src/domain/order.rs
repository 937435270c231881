//! Orders: how many recordings of which scene a customer's organization wants.
//!
//! The order's stream owns the tally of its tasks, so that quota and completion are
//! decided in one place, on one version, whatever happens at the same time.
//!
//! What moves an order, from the state on the left to the one on top; `tests::MOVES` is the same table:
//!
//! ```text
//!               created        in_progress        paused   completed                     cancelled
//!  created      –              first task done    edit     first = last task done,       edit
//!                                                          target = completed
//!  in_progress  –              –                  edit     last task done,               edit
//!                                                          target = completed
//!  paused       edit¹          edit               –        edit to in_progress²,         edit
//!                                                          target = completed
//!  completed    –              target raised      –        –                             –
//!  cancelled    edit¹          edit               –        edit to in_progress²          –
//! ```
//!
//! ¹ only while no task is completed. ² when as many tasks are completed as were ordered.
//! An edit to the state the order is in changes nothing. Every other edit is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::tally::{Tally, TaskOutcome};
use super::words::words;
use super::{Aggregate, BatchId, FactoryId, OrganizationId, SceneId, TaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Absent,
    Placed(Box<Placed>),
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub terms: Terms,
    pub status: OrderStatus,
    pub tally: Tally,
}

/// What was ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub organization_id: OrganizationId,
    pub scene_id: SceneId,
    pub name: String,
    pub target_count: i64,
    pub priority: Priority,
    pub deadline: Option<Timestamp>,
    pub metadata: Option<Value>,
}

words! {
    #[derive(Default)]
    OrderStatus {
        #[default]
        Created = "created",
        InProgress = "in_progress",
        Paused = "paused",
        Completed = "completed",
        Cancelled = "cancelled",
    }
    #[derive(Default)]
    Priority {
        Low = "low",
        #[default]
        Normal = "normal",
        High = "high",
        Urgent = "urgent",
    }
}

impl OrderStatus {
    /// Whether tasks may be created for it.
    pub fn takes_work(self) -> bool {
        matches!(self, Self::Created | Self::InProgress)
    }
}

/// An edit: what is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub name: Option<String>,
    pub target_count: Option<i64>,
    pub priority: Option<Priority>,
    /// `Some(None)` takes the deadline away.
    pub deadline: Option<Option<Timestamp>>,
    pub metadata: Option<Value>,
    /// As given: where the target decides the status, it is not even read.
    pub status: Option<String>,
}

#[derive(Clone, Debug)]
pub enum OrderCommand {
    Place {
        terms: Terms,
        organization_factory: FactoryId,
        scene_factory: FactoryId,
    },
    Revise(Revision),
    /// Reserves quota for new tasks of a batch, and frees that of tasks taken out of it.
    Dispatch {
        batch_id: BatchId,
        added: i64,
        removed: Tally,
    },
    /// A task of this order reached its end.
    Settle {
        task_id: TaskId,
        outcome: TaskOutcome,
    },
    /// Several tasks of one batch reached their end together.
    SettleMany {
        batch_id: BatchId,
        outcome: TaskOutcome,
        count: i64,
    },
    /// Another task is recorded in place of one, and counts in its place, however that one ends.
    Replace {
        batch_id: BatchId,
        task_id: TaskId,
        replacement: TaskId,
        /// How the one that is replaced had ended, if it had.
        outcome: Option<TaskOutcome>,
    },
    Delete {
        has_batches: bool,
    },
}

events! {
    OrderEvent {
        OrderPlaced = "order_placed", "1.0" (Terms),
        /// What can be edited, as it is after the edit.
        OrderRevised = "order_revised", "1.0" {
            name: String,
            target_count: i64,
            priority: Priority,
            deadline: Option<Timestamp>,
            metadata: Option<Value>,
        },
        OrderTasksDispatched = "order_tasks_dispatched", "1.0" {
            batch_id: BatchId,
            count: i64,
        },
        OrderTasksRemoved = "order_tasks_removed", "1.0" {
            batch_id: BatchId,
            removed: Tally,
        },
        OrderTaskSettled = "order_task_settled", "1.0" {
            task_id: TaskId,
            outcome: TaskOutcome,
        },
        OrderTasksSettled = "order_tasks_settled", "1.0" {
            batch_id: BatchId,
            outcome: TaskOutcome,
            count: i64,
        },
        OrderTaskReplaced = "order_task_replaced", "1.0" {
            batch_id: BatchId,
            task_id: TaskId,
            replacement: TaskId,
            outcome: Option<TaskOutcome>,
        },
        OrderStarted = "order_started", "1.0" {},
        OrderPaused = "order_paused", "1.0" {},
        OrderResumed = "order_resumed", "1.0" {
            status: OrderStatus,
        },
        OrderCompleted = "order_completed", "1.0" {},
        OrderCancelled = "order_cancelled", "1.0" {},
        OrderReopened = "order_reopened", "1.0" {
            status: OrderStatus,
        },
        OrderDeleted = "order_deleted", "1.0" {},
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    #[error("there is no such order")]
    NoSuchOrder,
    #[error("the order exists already")]
    AlreadyPlaced,
    #[error("the organization belongs to factory {organization}, the scene to factory {scene}; both must belong to the same")]
    FactoryMismatch { organization: FactoryId, scene: FactoryId },
    #[error("target_count must be at least 1")]
    TargetNotPositive,
    #[error("target_count {target_count} is less than the {completed} tasks that are completed already")]
    TargetBelowCompleted { target_count: i64, completed: i64 },
    #[error("status must be one of created, in_progress, paused, completed, cancelled")]
    UnknownStatus,
    #[error("the order is {} and cannot be set to {}", from.as_str(), to.as_str())]
    StatusNotReachable { from: OrderStatus, to: OrderStatus },
    #[error("the order is {} and takes no new work", .0.as_str())]
    NotOpen(OrderStatus),
    #[error("{requested} more tasks would exceed the order's target of {target_count}; {task_count} exist already")]
    QuotaExceeded { target_count: i64, task_count: i64, remaining: i64, requested: i64 },
    #[error("the order has batches; only an order without any can be deleted")]
    HasBatches,
    #[error("the order has tasks; only an order without any can be deleted")]
    HasTasks,
}

impl Refused for OrderRefusal {
    fn code(&self) -> RefusalCode {
        use RefusalCode as C;
        match self {
            Self::NoSuchOrder => C::OrderNotFound,
            Self::AlreadyPlaced => C::OrderExists,
            Self::FactoryMismatch { .. } => C::FactoryMismatch,
            Self::TargetNotPositive => C::TargetCountInvalid,
            Self::TargetBelowCompleted { .. } => C::TargetBelowCompleted,
            Self::UnknownStatus => C::OrderStatusUnknown,
            Self::StatusNotReachable { .. } => C::OrderStatusNotReachable,
            Self::NotOpen(_) => C::OrderNotOpen,
            Self::QuotaExceeded { .. } => C::QuotaExceeded,
            Self::HasBatches => C::OrderHasBatches,
            Self::HasTasks => C::OrderHasTasks,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::TargetBelowCompleted { completed, .. } => json!({ "completed_count": completed }),
            Self::StatusNotReachable { from: status, .. } | Self::NotOpen(status) => json!({ "current_status": status }),
            Self::QuotaExceeded { target_count, task_count, remaining, requested } => json!({
                "target_count": target_count, "task_count": task_count, "remaining": remaining, "requested": requested,
            }),
            _ => Value::Null,
        }
    }
}

impl Order {
    pub fn placed(&self) -> Option<&Placed> {
        match self {
            Order::Absent | Order::Deleted => None,
            Order::Placed(placed) => Some(placed),
        }
    }
}

impl Placed {
    /// The order as it is after these events.
    fn after(&self, events: &[OrderEvent]) -> Self {
        let mut order = self.clone();
        events.iter().for_each(|event| order.apply(event));
        order
    }

    /// What follows from the tally: the order starts with its first completed task, and is completed with its last.
    fn evaluate(&self) -> Vec<OrderEvent> {
        let mut events = vec![];
        let completed = self.tally.completed;
        let started = self.status == OrderStatus::Created && completed >= 1;
        if started {
            events.push(OrderEvent::OrderStarted {});
        }
        if (started || self.status == OrderStatus::InProgress) && completed >= self.terms.target_count {
            events.push(OrderEvent::OrderCompleted {});
        }
        events
    }

    /// The events, and what follows from them.
    fn evaluated(&self, mut events: Vec<OrderEvent>) -> Vec<OrderEvent> {
        let more = self.after(&events).evaluate();
        events.extend(more);
        events
    }

    fn revise(&self, revision: Revision) -> Result<Vec<OrderEvent>, OrderRefusal> {
        use OrderStatus as S;
        let (old, completed) = (&self.terms, self.tally.completed);
        let target_count = revision.target_count.unwrap_or(old.target_count);
        if target_count < 1 {
            return Err(OrderRefusal::TargetNotPositive);
        }
        if revision.target_count.is_some() && target_count < completed {
            return Err(OrderRefusal::TargetBelowCompleted { target_count, completed });
        }
        let new = Terms {
            name: revision.name.unwrap_or_else(|| old.name.clone()),
            target_count,
            priority: revision.priority.unwrap_or(old.priority),
            deadline: revision.deadline.unwrap_or(old.deadline),
            metadata: revision.metadata.or_else(|| old.metadata.clone()),
            ..old.clone()
        };
        let mut events = vec![];
        if new != *old {
            let Terms { name, target_count, priority, deadline, metadata, .. } = new;
            events.push(OrderEvent::OrderRevised { name, target_count, priority, deadline, metadata });
        }
        match (self.status, revision.target_count) {
            // The target was reached before it was named.
            (S::Created | S::InProgress | S::Paused, Some(target)) if target == completed => events.push(OrderEvent::OrderCompleted {}),
            (S::Completed, Some(target)) if target > completed => events.push(OrderEvent::OrderReopened { status: S::InProgress }),
            _ => {
                if let Some(word) = &revision.status {
                    let to = word.parse().map_err(|_| OrderRefusal::UnknownStatus)?;
                    events.extend(self.edit_status(to)?);
                    return Ok(self.evaluated(events));
                }
            }
        }
        Ok(events)
    }

    /// The one policy of edits by hand.
    fn edit_status(&self, to: OrderStatus) -> Result<Vec<OrderEvent>, OrderRefusal> {
        use OrderStatus as S;
        let untouched = self.tally.completed == 0;
        Ok(match (self.status, to) {
            (from, to) if from == to => vec![],
            (S::Created | S::InProgress, S::Paused) => vec![OrderEvent::OrderPaused {}],
            (S::Paused, S::InProgress) => vec![OrderEvent::OrderResumed { status: to }],
            (S::Paused, S::Created) if untouched => vec![OrderEvent::OrderResumed { status: to }],
            (S::Created | S::InProgress | S::Paused, S::Cancelled) => vec![OrderEvent::OrderCancelled {}],
            (S::Cancelled, S::InProgress) => vec![OrderEvent::OrderReopened { status: to }],
            (S::Cancelled, S::Created) if untouched => vec![OrderEvent::OrderReopened { status: to }],
            (from, to) => return Err(OrderRefusal::StatusNotReachable { from, to }),
        })
    }

    fn dispatch(&self, batch_id: BatchId, added: i64, removed: Tally) -> Result<Vec<OrderEvent>, OrderRefusal> {
        let growth = added - removed.tasks;
        let (target_count, task_count) = (self.terms.target_count, self.tally.tasks);
        let remaining = target_count - task_count;
        if growth > 0 {
            if !self.status.takes_work() {
                return Err(OrderRefusal::NotOpen(self.status));
            }
            if growth > remaining {
                return Err(OrderRefusal::QuotaExceeded { target_count, task_count, remaining, requested: growth });
            }
        }
        let mut events = vec![];
        if removed.tasks > 0 {
            events.push(OrderEvent::OrderTasksRemoved { batch_id, removed });
        }
        if added > 0 {
            events.push(OrderEvent::OrderTasksDispatched { batch_id, count: added });
        }
        Ok(self.evaluated(events))
    }

    fn apply(&mut self, event: &OrderEvent) {
        use OrderStatus as S;
        match event {
            OrderEvent::OrderPlaced(_) | OrderEvent::OrderDeleted {} => {}
            OrderEvent::OrderRevised { name, target_count, priority, deadline, metadata } => {
                self.terms = Terms {
                    name: name.clone(),
                    target_count: *target_count,
                    priority: *priority,
                    deadline: *deadline,
                    metadata: metadata.clone(),
                    ..self.terms
                };
            }
            OrderEvent::OrderTasksDispatched { count, .. } => self.tally.tasks += count,
            OrderEvent::OrderTasksRemoved { removed, .. } => self.tally.remove(removed),
            OrderEvent::OrderTaskSettled { outcome, .. } => self.tally.settle(*outcome),
            OrderEvent::OrderTasksSettled { outcome, count, .. } => self.tally.settle_many(*outcome, *count),
            OrderEvent::OrderTaskReplaced { outcome: None, .. } => {}
            OrderEvent::OrderTaskReplaced { outcome: Some(outcome), .. } => self.tally.settle_many(*outcome, -1),
            OrderEvent::OrderStarted {} => self.status = S::InProgress,
            OrderEvent::OrderPaused {} => self.status = S::Paused,
            OrderEvent::OrderResumed { status } | OrderEvent::OrderReopened { status } => self.status = *status,
            OrderEvent::OrderCompleted {} => self.status = S::Completed,
            OrderEvent::OrderCancelled {} => self.status = S::Cancelled,
        }
    }
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    const SNAPSHOT_EVERY: Option<i64> = Some(64);
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Refusal = OrderRefusal;

    fn decide(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRefusal> {
        use OrderCommand as C;
        let order = match (self, command) {
            (Order::Absent, C::Place { terms, organization_factory, scene_factory }) => {
                if terms.target_count < 1 {
                    return Err(OrderRefusal::TargetNotPositive);
                }
                if organization_factory != scene_factory {
                    return Err(OrderRefusal::FactoryMismatch { organization: organization_factory, scene: scene_factory });
                }
                return Ok(vec![OrderEvent::OrderPlaced(terms)]);
            }
            (Order::Placed(_) | Order::Deleted, C::Place { .. }) => return Err(OrderRefusal::AlreadyPlaced),
            (Order::Absent | Order::Deleted, _) => return Err(OrderRefusal::NoSuchOrder),
            (Order::Placed(order), command) => (order, command),
        };
        let (order, command) = order;
        match command {
            C::Place { .. } => Err(OrderRefusal::AlreadyPlaced),
            C::Revise(revision) => order.revise(revision),
            C::Dispatch { batch_id, added, removed } => order.dispatch(batch_id, added, removed),
            C::Settle { task_id, outcome } => Ok(order.evaluated(vec![OrderEvent::OrderTaskSettled { task_id, outcome }])),
            C::Replace { .. } if !order.status.takes_work() => Err(OrderRefusal::NotOpen(order.status)),
            C::Replace { batch_id, task_id, replacement, outcome } => {
                Ok(vec![OrderEvent::OrderTaskReplaced { batch_id, task_id, replacement, outcome }])
            }
            C::SettleMany { count: 0, .. } => Ok(vec![]),
            C::SettleMany { batch_id, outcome, count } => {
                Ok(order.evaluated(vec![OrderEvent::OrderTasksSettled { batch_id, outcome, count }]))
            }
            C::Delete { has_batches: true } => Err(OrderRefusal::HasBatches),
            C::Delete { .. } if order.tally.tasks > 0 => Err(OrderRefusal::HasTasks),
            C::Delete { .. } => Ok(vec![OrderEvent::OrderDeleted {}]),
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match (&mut *self, event) {
            (_, OrderEvent::OrderPlaced(terms)) => {
                *self = Order::Placed(Box::new(Placed { terms: terms.clone(), status: OrderStatus::Created, tally: Tally::default() }));
            }
            (_, OrderEvent::OrderDeleted {}) => *self = Order::Deleted,
            (Order::Placed(order), event) => order.apply(event),
            // Nothing precedes `order_placed` in a stream, and nothing follows `order_deleted`.
            (Order::Absent | Order::Deleted, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(target_count: i64) -> Terms {
        Terms {
            organization_id: OrganizationId(1),
            scene_id: SceneId(1),
            name: "Shelves".into(),
            target_count,
            priority: Priority::Normal,
            deadline: None,
            metadata: None,
        }
    }

    fn given(events: impl IntoIterator<Item = OrderEvent>) -> Order {
        let mut order = Order::default();
        events.into_iter().for_each(|event| order.evolve(&event));
        order
    }

    /// An order in some state, with so many of its tasks completed.
    fn order_in(status: OrderStatus, target_count: i64, completed: i64) -> Order {
        let tally = Tally { tasks: target_count.max(completed), completed, ..Tally::default() };
        Order::Placed(Box::new(Placed { terms: terms(target_count), status, tally }))
    }

    fn dispatch(added: i64) -> OrderCommand {
        OrderCommand::Dispatch { batch_id: BatchId(1), added, removed: Tally::default() }
    }

    fn completed(task: i64) -> OrderCommand {
        OrderCommand::Settle { task_id: TaskId(task), outcome: TaskOutcome::Completed }
    }

    fn set(status: &str) -> OrderCommand {
        OrderCommand::Revise(Revision { status: Some(status.into()), ..Revision::default() })
    }

    fn target(target_count: i64) -> OrderCommand {
        OrderCommand::Revise(Revision { target_count: Some(target_count), status: Some("nonsense".into()), ..Revision::default() })
    }

    /// What becomes of the order: its state afterwards, or the refusal.
    fn outcome(order: &Order, command: OrderCommand) -> Result<OrderStatus, OrderRefusal> {
        let mut order = order.clone();
        order.decide(command)?.iter().for_each(|event| order.evolve(event));
        Ok(order.placed().map(|placed| placed.status).unwrap_or_default())
    }

    use OrderStatus::{Cancelled as X, Completed as D, Created as C, InProgress as P, Paused as H};

    /// Every state with every command: the state afterwards; `None` where it is refused.
    /// Edits by hand come twice: with nothing completed, and with one task of three completed.
    const MOVES: [(&str, OrderStatus, i64, [Option<OrderStatus>; 5]); 10] = [
        // (completed before), from, to: created, in_progress, paused, completed, cancelled
        ("nothing done", C, 0, [Some(C), None, Some(H), None, Some(X)]),
        ("nothing done", P, 0, [None, Some(P), Some(H), None, Some(X)]),
        ("nothing done", H, 0, [Some(C), Some(P), Some(H), None, Some(X)]),
        ("nothing done", D, 0, [None, None, None, Some(D), None]),
        ("nothing done", X, 0, [Some(C), Some(P), None, None, Some(X)]),
        // Whatever touches an order with a completed task also starts it.
        ("one done", C, 1, [Some(P), None, Some(H), None, Some(X)]),
        ("one done", P, 1, [None, Some(P), Some(H), None, Some(X)]),
        ("one done", H, 1, [None, Some(P), Some(H), None, Some(X)]),
        ("one done", D, 1, [None, None, None, Some(D), None]),
        ("one done", X, 1, [None, Some(P), None, None, Some(X)]),
    ];

    #[test]
    fn edits_by_hand_follow_the_table() {
        for (case, from, done, row) in MOVES {
            for (&to, expected) in OrderStatus::ALL.iter().zip(row) {
                let found = outcome(&order_in(from, 3, done), set(to.as_str()));
                match expected {
                    Some(status) => assert_eq!(found, Ok(status), "{case}: {from:?} → {to:?}"),
                    None => assert_eq!(found, Err(OrderRefusal::StatusNotReachable { from, to }), "{case}: {from:?} → {to:?}"),
                }
            }
        }
    }

    #[test]
    fn completing_a_task_moves_an_open_order_and_no_other() {
        for (from, expected_first, expected_last) in [(C, P, D), (P, P, D), (H, H, H), (D, D, D), (X, X, X)] {
            assert_eq!(outcome(&order_in(from, 3, 0), completed(1)), Ok(expected_first), "{from:?}");
            assert_eq!(outcome(&order_in(from, 3, 2), completed(3)), Ok(expected_last), "{from:?}");
        }
        assert_eq!(outcome(&order_in(C, 1, 0), completed(1)), Ok(D));
    }

    #[test]
    fn the_target_decides_where_it_meets_what_is_completed_and_the_word_beside_it_is_not_read() {
        for (from, expected) in [(C, D), (P, D), (H, D)] {
            assert_eq!(outcome(&order_in(from, 3, 2), target(2)), Ok(expected), "{from:?}");
        }
        assert_eq!(outcome(&order_in(D, 2, 2), target(3)), Ok(P));
        for from in [C, P, H, D, X] {
            let refusal = OrderRefusal::TargetBelowCompleted { target_count: 1, completed: 2 };
            assert_eq!(outcome(&order_in(from, 3, 2), target(1)), Err(refusal), "{from:?}");
        }
        // A cancelled order takes the number, and then the word is read.
        assert_eq!(outcome(&order_in(X, 3, 2), target(2)), Err(OrderRefusal::UnknownStatus));
        let number = Revision { target_count: Some(2), ..Revision::default() };
        assert_eq!(outcome(&order_in(X, 3, 2), OrderCommand::Revise(number)), Ok(X));
    }

    #[test]
    fn resuming_an_order_whose_work_is_done_completes_it() {
        assert_eq!(outcome(&order_in(H, 2, 2), set("in_progress")), Ok(D));
        assert_eq!(outcome(&order_in(X, 2, 2), set("in_progress")), Ok(D));
    }

    #[test]
    fn only_open_orders_take_new_work_and_any_gives_quota_back() {
        for (status, open) in [(C, true), (P, true), (H, false), (D, false), (X, false)] {
            let order = order_in(status, 3, 0);
            let removed = Tally { tasks: 1, ..Tally::default() };
            let swap = OrderCommand::Dispatch { batch_id: BatchId(1), added: 1, removed };
            assert!(outcome(&order, swap).is_ok(), "{status:?}");
            let Order::Placed(mut roomy) = order else { unreachable!() };
            roomy.tally.tasks = 1;
            assert_eq!(outcome(&Order::Placed(roomy), dispatch(1)).is_ok(), open, "{status:?}");
        }
    }

    #[test]
    fn dispatching_beyond_the_target_is_refused_with_what_remains() {
        let order = given([OrderEvent::OrderPlaced(terms(5)), OrderEvent::OrderTasksDispatched { batch_id: BatchId(1), count: 3 }]);
        assert_eq!(
            order.decide(dispatch(3)),
            Err(OrderRefusal::QuotaExceeded { target_count: 5, task_count: 3, remaining: 2, requested: 3 })
        );
        assert!(order.decide(dispatch(2)).is_ok());
    }

    #[test]
    fn a_replacement_needs_no_quota_and_counts_in_the_place_of_what_it_replaces() {
        let replace = |outcome| OrderCommand::Replace { batch_id: BatchId(1), task_id: TaskId(1), replacement: TaskId(9), outcome };
        for (status, open) in [(C, true), (P, true), (H, false), (D, false), (X, false)] {
            assert_eq!(order_in(status, 3, 1).decide(replace(None)).is_ok(), open, "{status:?}");
        }
        for (outcome, completed) in [(None, 2), (Some(TaskOutcome::Completed), 1)] {
            let mut order = order_in(P, 3, 2);
            let before = order.placed().unwrap().tally;
            order.decide(replace(outcome)).unwrap().iter().for_each(|event| order.evolve(event));
            let after = order.placed().unwrap().tally;
            assert_eq!((after.tasks, after.completed), (before.tasks, completed), "{outcome:?}");
        }
    }

    #[test]
    fn an_edit_that_says_what_is_there_already_is_no_event() {
        let order = order_in(P, 3, 1);
        let same =
            Revision { name: Some("Shelves".into()), target_count: Some(3), status: Some("in_progress".into()), ..Revision::default() };
        assert_eq!(order.decide(OrderCommand::Revise(same)), Ok(vec![]));
    }

    #[test]
    fn an_order_with_work_cannot_be_deleted_and_a_deleted_one_is_gone() {
        assert_eq!(order_in(C, 3, 0).decide(OrderCommand::Delete { has_batches: true }), Err(OrderRefusal::HasBatches));
        assert_eq!(order_in(C, 3, 0).decide(OrderCommand::Delete { has_batches: false }), Err(OrderRefusal::HasTasks));
        let mut order = given([OrderEvent::OrderPlaced(terms(1))]);
        order.decide(OrderCommand::Delete { has_batches: false }).unwrap().iter().for_each(|event| order.evolve(event));
        assert_eq!(order, Order::Deleted);
        assert_eq!(order.decide(dispatch(1)), Err(OrderRefusal::NoSuchOrder));
    }

    #[test]
    fn a_scene_of_another_factory_is_refused() {
        let place = OrderCommand::Place { terms: terms(1), organization_factory: FactoryId(1), scene_factory: FactoryId(2) };
        assert!(matches!(Order::Absent.decide(place), Err(OrderRefusal::FactoryMismatch { .. })));
    }
}
