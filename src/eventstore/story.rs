//! Everything that happened to one task, as the log has it: it knows tasks that are deleted as well as those that are there.

use deadpool_postgres::Pool;
use tokio_postgres::{IsolationLevel, Transaction};

use super::log::EVENT_COLUMNS;
use super::transaction::stored_event;
use super::{StoreError, StoredEvent};

/// An event of a story; one that was committed a moment ago may have no position yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub position: Option<i64>,
    pub event: StoredEvent,
}

/// What happened to a task in its own stream and those of its order, batch, episode and device; nothing where there never
/// was such a task. `task` is its number or its public id.
///
/// All of it is found by the primary key of `events`, but for one thing: which number a deleted task had whose public id is
/// given. For that the log is looked through.
pub async fn of_task(pool: &Pool, task: &str) -> Result<Vec<Told>, StoreError> {
    let mut client = pool.get().await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    // However many tasks there were.
    moment.batch_execute("set local statement_timeout = 0").await?;
    let story = match number_of(&moment, task).await? {
        Some(number) => told_of(&moment, &number).await?,
        None => vec![],
    };
    moment.rollback().await?;
    Ok(story)
}

async fn number_of(moment: &Transaction<'_>, task: &str) -> Result<Option<String>, StoreError> {
    if let Ok(number) = task.parse::<i64>() {
        return Ok(Some(number.to_string()));
    }
    let there = "select id::text from tasks where task_id = $1";
    let ever = "select aggregate_id from events
                where aggregate_type = 'task' and sequence = 1 and payload -> event_type ->> 'task_id' = $1";
    for sql in [there, ever] {
        if let Some(row) = moment.query_opt(sql, &[&task]).await? {
            return Ok(Some(row.get(0)));
        }
    }
    Ok(None)
}

async fn told_of(moment: &Transaction<'_>, number: &str) -> Result<Vec<Told>, StoreError> {
    // The payload of an event has one key, its type (`created` in the registry); what is inside names the tasks it concerns.
    let sql = format!(
        "with t as materialized (
             select c.aggregate_id as id, brief ->> 'task_id' as task_id, brief ->> 'batch_id' as batch_id, brief ->> 'order_id' as order_id,
                    (select v.payload -> v.event_type ->> 'episode_id' from events v
                     where v.aggregate_type = 'task' and v.aggregate_id = c.aggregate_id
                       and v.event_type in ('upload_verified', 'late_upload_verified') order by v.sequence limit 1) as episode_id,
                    (select r.payload -> 'created' ->> 'device_id'
                     from events s join events r on r.aggregate_type = 'robot' and r.sequence = 1
                          and r.aggregate_id = s.payload -> s.event_type ->> 'robot_id'
                     where s.aggregate_type = 'station' and s.sequence = 1 and s.aggregate_id = brief ->> 'station_id') as device_id
             from events c, lateral (select c.payload -> c.event_type as brief) b
             where c.aggregate_type = 'task' and c.aggregate_id = $1 and c.sequence = 1)
         select l.position, {EVENT_COLUMNS} from t
         join events e on
              (e.aggregate_type = 'task' and e.aggregate_id = t.id)
           or (e.aggregate_type = 'episode' and e.aggregate_id = t.episode_id)
           or (e.aggregate_type = 'order' and e.aggregate_id = t.order_id
               and (e.event_type in ('order_placed', 'order_started', 'order_completed', 'order_deleted')
                    or e.payload -> e.event_type ->> 'task_id' = t.id or e.payload -> e.event_type ->> 'batch_id' = t.batch_id))
           or (e.aggregate_type = 'batch' and e.aggregate_id = t.batch_id
               and (e.event_type in ('batch_created', 'batch_started', 'batch_completed', 'batch_recalled', 'batch_deleted')
                    or e.payload -> e.event_type ->> 'task_id' = t.id or e.payload -> e.event_type ->> 'episode_id' = t.episode_id
                    or jsonb_path_exists(e.payload -> e.event_type, '{NAMES_TASK}', jsonb_build_object('task', t.id::bigint))))
           or (e.aggregate_type = 'device' and e.aggregate_id = t.device_id
               and (e.payload -> e.event_type ->> 'task_id' = t.task_id or e.payload -> e.event_type -> 'seen' ->> 'task_id' = t.task_id))
         left join log l on l.seq = e.seq
         order by e.seq"
    );
    let rows = moment.query(&sql, &[&number]).await?;
    Ok(rows.iter().map(|row| Told { position: row.get(0), event: stored_event(row, 1) }).collect())
}

/// Where events of a batch name several tasks: what was added, cancelled or settled together, and what was taken away.
const NAMES_TASK: &str = "$ ? (@.added[*] == $task || @.task_ids[*] == $task || @.cancelled_tasks[*] == $task
                                || @.removed[*] == $task || @.removed[*].task_id == $task)";
