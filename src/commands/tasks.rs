//! Single tasks: the older way to create them, deleting one, and ending one that waits for nothing any more.

use super::dispatch::{CreatedTask, Dispatch, check_station, look_up};
use super::production::Production;
use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::batch::{self, BatchCommand, Removed, tally_of};
use crate::domain::order::OrderCommand;
use crate::domain::tally::Tally;
use crate::domain::task::{Dispatched, Task, TaskCommand};
use crate::domain::workload::{TASKS_PER_BATCH_MAX, TaskGroup};
use crate::domain::{BatchId, OrderId, RefusalCode, RefusalKind, RobotId, SopId, StationId, SubsceneId, TaskId, public_id};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// A task that the caller may see.
pub(super) async fn task_in_scope(work: &mut Work, id: TaskId) -> Result<(Loaded<Task>, Dispatched), CommandError> {
    let no_task = || Refusal::new(RefusalCode::TaskNotFound, format!("there is no task {id}"));
    let task = work.load::<Task>(id).await?;
    let known = task.state.dispatched().cloned().ok_or_else(no_task)?;
    match work.scope.contains(known.brief.factory_id, Some(known.brief.organization_id)) {
        true => Ok((task, known)),
        false => Err(no_task().into()),
    }
}

/// Adds tasks to the newest open batch of an order at a workstation, or to a new one.
#[derive(Clone, Copy, Debug)]
pub struct CreateTasks {
    pub order_id: OrderId,
    pub station_id: StationId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub quantity: i64,
}

impl Command for CreateTasks {
    type Answer = Vec<CreatedTask>;
    const NAME: &'static str = "create_tasks";

    async fn run(&self, work: &mut Work) -> Result<Vec<CreatedTask>, CommandError> {
        if !(1..=TASKS_PER_BATCH_MAX).contains(&self.quantity) {
            let text = format!("quantity must be between 1 and {TASKS_PER_BATCH_MAX}");
            return Err(Refusal::new(RefusalCode::QuantityInvalid, text).into());
        }
        self.create(work).await.map_err(invalid)
    }
}

/// Whatever the reason, this route says that the request is wrong.
fn invalid(error: CommandError) -> CommandError {
    match error {
        CommandError::Refused(refusal) => CommandError::Refused(Refusal { kind: RefusalKind::Invalid, ..refusal }),
        other => other,
    }
}

impl CreateTasks {
    async fn create(&self, work: &mut Work) -> Result<Vec<CreatedTask>, CommandError> {
        let (order_id, station_id) = (self.order_id, self.station_id);
        let groups = [TaskGroup { sop_id: self.sop_id, subscene_id: self.subscene_id, quantity: self.quantity }];
        let mut production = Production::lock(work, order_id).await?;
        let terms = production
            .order()
            .map(|order| order.terms.clone())
            .ok_or_else(|| Refusal::invalid(RefusalCode::OrderNotFound, format!("there is no order {order_id}")))?;
        let found = look_up(work, station_id, &groups).await?;
        let station = check_station(&found, station_id, &terms, true)?;
        let open = facts::newest_open_batch(&mut work.tx, order_id, station_id).await?;
        let batch_id = match open {
            Some(batch_id) => batch_id,
            None => BatchId(facts::new_ids(&mut work.tx, "batch_ids", 1).await?[0]),
        };
        production.decide_order(work, OrderCommand::Dispatch { batch_id, added: self.quantity, removed: Tally::default() })?;
        let dispatch = Dispatch { order_id, batch_id, station_id, terms: &terms, station: &station, found: &found };
        let tasks = dispatch.create(work, &groups)?;
        let command = if open.is_some() {
            production.load_batch(work, batch_id).await?;
            BatchCommand::Adjust { added: tasks.iter().map(|task| task.id).collect(), removed: vec![], at: work.now }
        } else {
            BatchCommand::Create(batch::Brief {
                batch_id: public_id("batch", work.now, 0, chance::part()),
                order_id,
                station_id,
                organization_id: terms.organization_id,
                notes: None,
                metadata: None,
                task_count: self.quantity,
            })
        };
        production.decide_batch(work, batch_id, command)?;
        production.finish(work).await?;
        Ok(tasks)
    }
}

/// Deletes a task that is neither uploading nor completed. Quota is free again, and a recorder
/// that holds it has to let go.
#[derive(Clone, Copy, Debug)]
pub struct DeleteTask(pub TaskId);

impl Command for DeleteTask {
    type Answer = ();
    const NAME: &'static str = "delete_task";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let no_task = || Refusal::new(RefusalCode::TaskNotFound, format!("there is no task {}", self.0));
        let order_id = facts::order_of_task(&mut work.tx, self.0).await?.ok_or_else(no_task)?;
        let mut production = Production::lock_of(work, order_id, no_task).await?;
        let task = facts::task_facts_of(&mut work.tx, self.0).await?.ok_or_else(no_task)?;
        let batch_id = task.batch_id;
        let removed = Removed { task_id: self.0, outcome: task.status.outcome() };
        // In whose place another one is recorded, that one has its place in the order's quota.
        let counted = if task.replaced { Tally::default() } else { tally_of(&[removed]) };
        production.decide_tasks(work, &[task], || TaskCommand::Delete).await?;
        production.load_batch(work, batch_id).await?;
        production.decide_batch(work, batch_id, BatchCommand::RemoveTask { removed, at: work.now })?;
        production.decide_order(work, OrderCommand::Dispatch { batch_id, added: 0, removed: counted })?;
        production.finish(work).await?;
        Ok(())
    }
}

/// A person ends a task that has not ended: its file never comes, or never fits. A recorder that still holds it has to let
/// go, and a recording that comes all the same is kept as one that came late.
#[derive(Clone, Debug)]
pub struct FailTask {
    pub task_id: TaskId,
    pub reason: String,
}

impl Command for FailTask {
    type Answer = ();
    const NAME: &'static str = "fail_task";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let no_task = || Refusal::new(RefusalCode::TaskNotFound, format!("there is no task {}", self.task_id));
        let order_id = facts::order_of_task(&mut work.tx, self.task_id).await?.ok_or_else(no_task)?;
        let mut production = Production::lock_of(work, order_id, no_task).await?;
        let task = facts::task_facts_of(&mut work.tx, self.task_id).await?.ok_or_else(no_task)?;
        production.fail_tasks(work, &[task], &self.reason).await?;
        production.finish(work).await?;
        Ok(())
    }
}

/// The same for what a robot holds of one order: it is not coming back.
#[derive(Clone, Debug)]
pub struct FailTasksOfRobot {
    pub robot_id: RobotId,
    pub order_id: OrderId,
    pub reason: String,
}

impl Command for FailTasksOfRobot {
    type Answer = ();
    const NAME: &'static str = "fail_tasks_of_robot";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut production = Production::lock(work, self.order_id).await?;
        let tasks = facts::open_tasks_of_robot(&mut work.tx, self.robot_id, self.order_id).await?;
        production.fail_tasks(work, &tasks, &self.reason).await?;
        production.finish(work).await?;
        Ok(())
    }
}
