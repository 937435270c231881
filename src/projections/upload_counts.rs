//! How long uploads take, counted beside [`statistics`](super::statistics), in the same steps: from the end of a recording until it is verified.

use deadpool_postgres::Transaction;

use crate::eventstore::StoreError;

/// Of the episodes `$1`, those of which the server heard before they were verified that their recording is a file. Clocks of devices are not asked.
const UPLOADS: &str = "
with shown as (
    select e.created_at as verified_at, e.id as episode_id, e.station_id,
           greatest(round(extract(epoch from e.created_at - f.recorded_at) * 1000), 0)::bigint as waited_ms
    from episodes e
    cross join lateral (
        select v.recorded_at from events v
        where v.aggregate_type = 'task' and v.aggregate_id = e.task_id::text and v.event_type = 'recording_finished'
        order by v.sequence desc limit 1) f
    where e.id = any ($1::bigint[])),
gone as (delete from counted_uploads u where u.episode_id = any ($1) and u.episode_id not in (select s.episode_id from shown s))
insert into counted_uploads as u (verified_at, episode_id, station_id, waited_ms) select s.* from shown s
on conflict (episode_id) do update set (verified_at, station_id, waited_ms) = (excluded.verified_at, excluded.station_id, excluded.waited_ms)
where (u.verified_at, u.station_id, u.waited_ms) is distinct from (excluded.verified_at, excluded.station_id, excluded.waited_ms)";

/// Of episodes that were just counted.
pub(super) async fn note(step: &Transaction<'_>, episodes: &[i64]) -> Result<(), StoreError> {
    step.execute(&step.prepare_cached(UPLOADS).await?, &[&episodes]).await?;
    Ok(())
}

pub(super) const STATEMENTS: [(&str, &str); 1] = [("uploads, counted", UPLOADS)];
