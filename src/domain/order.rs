//! Orders: how many recordings of which scene a customer's organization wants.
//!
//! The order's stream owns the tally of its tasks, so that quota and completion are
//! decided in one place, on one version, whatever happens at the same time.
//!
//! ```text
//!            first task completed          completed = target
//!  created ─────────────────────► in_progress ────────────────► completed
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tally::{Tally, TaskOutcome};
use super::{Aggregate, BatchId, Event, FactoryId, OrganizationId, SceneId, TaskId, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Absent,
    Placed(Box<Placed>),
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    #[default]
    Created,
    InProgress,
    Paused,
    Completed,
    Cancelled,
}

impl OrderStatus {
    pub const ALL: [(&'static str, Self); 5] = [
        ("created", Self::Created),
        ("in_progress", Self::InProgress),
        ("paused", Self::Paused),
        ("completed", Self::Completed),
        ("cancelled", Self::Cancelled),
    ];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

impl Priority {
    pub const ALL: [(&'static str, Self); 4] =
        [("low", Self::Low), ("normal", Self::Normal), ("high", Self::High), ("urgent", Self::Urgent)];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

#[derive(Clone, Debug)]
pub enum OrderCommand {
    Place {
        terms: Terms,
        organization_factory: FactoryId,
        scene_factory: FactoryId,
    },
    /// Reserves quota for the tasks of a new batch.
    Dispatch {
        batch_id: BatchId,
        count: i64,
    },
    /// A task of this order reached its end.
    Settle {
        task_id: TaskId,
        outcome: TaskOutcome,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    OrderPlaced(Terms),
    OrderTasksDispatched { batch_id: BatchId, count: i64 },
    OrderTaskSettled { task_id: TaskId, outcome: TaskOutcome },
    OrderStarted {},
    OrderCompleted {},
}

impl Event for OrderEvent {
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![
            ("order_placed", "1.0"),
            ("order_tasks_dispatched", "1.0"),
            ("order_task_settled", "1.0"),
            ("order_started", "1.0"),
            ("order_completed", "1.0"),
        ]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_) => "order_placed",
            Self::OrderTasksDispatched { .. } => "order_tasks_dispatched",
            Self::OrderTaskSettled { .. } => "order_task_settled",
            Self::OrderStarted {} => "order_started",
            Self::OrderCompleted {} => "order_completed",
        }
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
    #[error("the order is {0:?} and takes no new work")]
    NotOpen(OrderStatus),
    #[error("{requested} more tasks would exceed the order's target of {target_count}; {task_count} exist already")]
    QuotaExceeded { target_count: i64, task_count: i64, remaining: i64, requested: i64 },
}

impl Order {
    pub fn placed(&self) -> Option<&Placed> {
        match self {
            Order::Absent => None,
            Order::Placed(placed) => Some(placed),
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
        use OrderStatus as S;
        match (self, command) {
            (Order::Absent, C::Place { terms, organization_factory, scene_factory }) => {
                if terms.target_count < 1 {
                    return Err(OrderRefusal::TargetNotPositive);
                }
                if organization_factory != scene_factory {
                    return Err(OrderRefusal::FactoryMismatch { organization: organization_factory, scene: scene_factory });
                }
                Ok(vec![OrderEvent::OrderPlaced(terms)])
            }
            (Order::Placed(_), C::Place { .. }) => Err(OrderRefusal::AlreadyPlaced),
            (Order::Absent, C::Dispatch { .. } | C::Settle { .. }) => Err(OrderRefusal::NoSuchOrder),
            (Order::Placed(order), C::Dispatch { batch_id, count }) => match order.status {
                S::Paused | S::Completed | S::Cancelled => Err(OrderRefusal::NotOpen(order.status)),
                S::Created | S::InProgress => {
                    let (target_count, task_count) = (order.terms.target_count, order.tally.tasks);
                    let remaining = target_count - task_count;
                    if count > remaining {
                        return Err(OrderRefusal::QuotaExceeded { target_count, task_count, remaining, requested: count });
                    }
                    Ok(vec![OrderEvent::OrderTasksDispatched { batch_id, count }])
                }
            },
            (Order::Placed(order), C::Settle { task_id, outcome }) => {
                let mut tally = order.tally;
                tally.settle(outcome);
                let mut events = vec![OrderEvent::OrderTaskSettled { task_id, outcome }];
                let started = order.status == S::Created && tally.completed >= 1;
                if started {
                    events.push(OrderEvent::OrderStarted {});
                }
                if (started || order.status == S::InProgress) && tally.completed >= order.terms.target_count {
                    events.push(OrderEvent::OrderCompleted {});
                }
                Ok(events)
            }
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match (&mut *self, event) {
            (_, OrderEvent::OrderPlaced(terms)) => {
                *self = Order::Placed(Box::new(Placed { terms: terms.clone(), status: OrderStatus::Created, tally: Tally::default() }));
            }
            (Order::Placed(order), OrderEvent::OrderTasksDispatched { count, .. }) => order.tally.tasks += count,
            (Order::Placed(order), OrderEvent::OrderTaskSettled { outcome, .. }) => order.tally.settle(*outcome),
            (Order::Placed(order), OrderEvent::OrderStarted {}) => order.status = OrderStatus::InProgress,
            (Order::Placed(order), OrderEvent::OrderCompleted {}) => order.status = OrderStatus::Completed,
            // Nothing precedes `order_placed` in a stream.
            (Order::Absent, _) => {}
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

    fn completed(task: i64) -> OrderCommand {
        OrderCommand::Settle { task_id: TaskId(task), outcome: TaskOutcome::Completed }
    }

    #[test]
    fn dispatching_beyond_the_target_is_refused_with_what_remains() {
        let order = given([OrderEvent::OrderPlaced(terms(5)), OrderEvent::OrderTasksDispatched { batch_id: BatchId(1), count: 3 }]);
        assert_eq!(
            order.decide(OrderCommand::Dispatch { batch_id: BatchId(2), count: 3 }),
            Err(OrderRefusal::QuotaExceeded { target_count: 5, task_count: 3, remaining: 2, requested: 3 })
        );
        assert!(order.decide(OrderCommand::Dispatch { batch_id: BatchId(2), count: 2 }).is_ok());
    }

    #[test]
    fn the_first_completed_task_starts_the_order_and_the_last_completes_it() {
        let mut order = given([OrderEvent::OrderPlaced(terms(2)), OrderEvent::OrderTasksDispatched { batch_id: BatchId(1), count: 2 }]);
        let first = order.decide(completed(1)).unwrap();
        assert_eq!(first[1..], [OrderEvent::OrderStarted {}]);
        first.iter().for_each(|event| order.evolve(event));
        let second = order.decide(completed(2)).unwrap();
        assert_eq!(second[1..], [OrderEvent::OrderCompleted {}]);
    }

    #[test]
    fn a_scene_of_another_factory_is_refused() {
        let place = OrderCommand::Place { terms: terms(1), organization_factory: FactoryId(1), scene_factory: FactoryId(2) };
        assert!(matches!(Order::Absent.decide(place), Err(OrderRefusal::FactoryMismatch { .. })));
    }
}
