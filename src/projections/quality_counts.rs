//! What the dashboard of quality counts beside [`statistics`](super::statistics), in the same steps: what waits for an inspector now, and
//! what is missing on the topics of each episode.

use deadpool_postgres::Transaction;

use crate::eventstore::StoreError;

/// Of the episodes `$1`, those that wait. They are counted before, with what kind their robot was.
const WAITING: &str = "
with shown as (
    select e.id as episode_id, e.created_at as arrived_at, e.inspection_cause as cause, e.station_id, e.scene_id, e.sop_id, c.robot_type_id,
           e.factory_id, e.organization_id
    from episodes e join counted_episodes c on c.episode_id = e.id
    where e.id = any ($1::bigint[]) and e.qa_status = 'needs_inspection' and e.inspection_cause is not null),
gone as (delete from waiting_episodes w where w.episode_id = any ($1) and w.episode_id not in (select s.episode_id from shown s))
insert into waiting_episodes as w (episode_id, arrived_at, cause, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id)
select s.* from shown s
on conflict (episode_id) do update set (arrived_at, cause, station_id, scene_id, sop_id, factory_id, organization_id)
    = (excluded.arrived_at, excluded.cause, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id)
where (w.arrived_at, w.cause, w.station_id, w.scene_id, w.sop_id, w.factory_id, w.organization_id)
    is distinct from (excluded.arrived_at, excluded.cause, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id,
                      excluded.organization_id)";

/// Of the episodes `$1`, what is missing on each topic, by the newest facts.
const GAPS: &str = "
with shown as (
    select c.happened_at, c.episode_id, c.station_id, c.scene_id, c.sop_id, c.robot_type_id, c.factory_id, c.organization_id,
           sum(g.length_ms)::bigint as missing_ms, max(g.length_ms) as longest_ms, sum(g.missing_messages)::bigint as missing_messages,
           count(*)::integer as gaps, count(*) filter (where g.cause = 'disk')::integer as by_disk,
           count(*) filter (where g.cause = 'sensor')::integer as by_sensor, count(*) filter (where g.cause = 'queue')::integer as by_queue, g.topic
    from counted_episodes c join recording_gaps g on g.episode_id = c.episode_id
    join episode_facts f on f.id = g.episode_id and f.version = g.version
    where c.episode_id = any ($1::bigint[]) group by c.episode_id, g.topic),
gone as (
    delete from counted_gaps k where k.episode_id = any ($1) and (k.episode_id, k.topic) not in (select s.episode_id, s.topic from shown s))
insert into counted_gaps as k (happened_at, episode_id, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id, missing_ms,
                               longest_ms, missing_messages, gaps, by_disk, by_sensor, by_queue, topic)
select s.* from shown s
on conflict (episode_id, topic) do update
    set (happened_at, station_id, scene_id, sop_id, factory_id, organization_id, missing_ms, longest_ms, missing_messages, gaps, by_disk,
         by_sensor, by_queue)
    = (excluded.happened_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id,
       excluded.missing_ms, excluded.longest_ms, excluded.missing_messages, excluded.gaps, excluded.by_disk, excluded.by_sensor, excluded.by_queue)
where (k.happened_at, k.station_id, k.scene_id, k.sop_id, k.factory_id, k.organization_id, k.missing_ms, k.longest_ms, k.missing_messages, k.gaps,
       k.by_disk, k.by_sensor, k.by_queue)
    is distinct from (excluded.happened_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id,
                      excluded.missing_ms, excluded.longest_ms, excluded.missing_messages, excluded.gaps, excluded.by_disk, excluded.by_sensor,
                      excluded.by_queue)";

/// Of episodes that were just counted.
pub(super) async fn note(step: &Transaction<'_>, episodes: &[i64]) -> Result<(), StoreError> {
    for statement in [WAITING, GAPS] {
        step.execute(&step.prepare_cached(statement).await?, &[&episodes]).await?;
    }
    Ok(())
}

pub(super) const STATEMENTS: [(&str, &str); 2] = [("episodes that wait, counted", WAITING), ("gaps, counted", GAPS)];
