//! Episodes and tasks of a station and a day, packed into one value: a hundred thousand rows cost Postgres more than all that is done with them.
//!
//! Postgres packs them where it counts them, a day anew whenever something of it changed; what is asked of them is done here, record by record. Numbers
//! are as Postgres sends them (the highest byte first), a text is its length in two bytes and then itself.

use std::collections::BTreeSet;
use std::error::Error;

use chrono::NaiveDate;
use deadpool_postgres::Transaction;
use tokio_postgres::types::{FromSql, Type, accepts};

use crate::domain::episode::QaStatus;
use crate::domain::task::TaskStatus;
use crate::eventstore::StoreError;
use crate::pg::plans::PLANS;

/// A station, and a day in UTC.
pub(super) type StationDay = (i64, NaiveDate);

/// A text, as part of a record; empty where it is null.
macro_rules! packed_text {
    ($column:literal) => {
        concat!("int2send(coalesce(octet_length(", $column, "), 0)::smallint) || convert_to(coalesce(", $column, ", ''), 'UTF8')")
    };
}

/// An instant, as part of a record: microseconds since 1970.
macro_rules! packed_instant {
    ($column:literal) => {
        concat!("int8send((extract(epoch from ", $column, ") * 1000000)::bigint)")
    };
}

/// Since when and before when a row is of the day `t.day`.
macro_rules! of_day {
    ($column:literal) => {
        concat!($column, " >= t.day::timestamp at time zone 'UTC' and ", $column, " < (t.day + 1)::timestamp at time zone 'UTC'")
    };
}

/// What else is said of an episode, beside the initial of its status: no two statuses have the same.
const SYNCED: u16 = 1;
const AUTO_APPROVED: u16 = 2;
const TIMED: u16 = 4;
const FLAGS: u32 = 3;

/// Days of the stations `$1` and `$2`, in as many parts as there are kinds of recordings in each.
const EPISODES: &str = concat!(
    "with packed as materialized (
    select t.station_id, t.day, k.*
    from unnest($1::bigint[], $2::date[]) t (station_id, day) left join lateral (
        select row_number() over (order by c.scene_id, c.sop_id, c.factory_id, c.organization_id, c.robot_type_id)::integer as part,
               c.scene_id, c.sop_id, c.factory_id, c.organization_id, c.robot_type_id,
               string_agg(int8send(c.episode_id) || ",
    packed_instant!("c.happened_at"),
    " || int8send(coalesce(c.duration_ms, 0)) || int8send(c.size_bytes)
                          || int2send((ascii(c.qa_status) * 8 + 4 * (c.duration_ms is not null)::integer + 2 * c.auto_approved::integer
                                       + c.cloud_synced::integer)::smallint)
                          || ",
    packed_text!("c.reason"),
    ", '' order by c.happened_at, c.episode_id) as episodes
        from counted_episodes c where c.station_id = t.station_id and ",
    of_day!("c.happened_at"),
    "
        group by c.scene_id, c.sop_id, c.factory_id, c.organization_id, c.robot_type_id) k on true),
gone as (
    delete from packed_episodes p using (select d.station_id, d.day, count(d.part) as parts from packed d group by d.station_id, d.day) n
    where p.station_id = n.station_id and p.day = n.day and p.part > n.parts)
insert into packed_episodes as p (station_id, day, part, scene_id, sop_id, factory_id, organization_id, robot_type_id, episodes)
select d.* from packed d where d.part is not null
on conflict (station_id, day, part) do update set (scene_id, sop_id, factory_id, organization_id, robot_type_id, episodes)
    = (excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id, excluded.robot_type_id, excluded.episodes)
where (p.scene_id, p.sop_id, p.factory_id, p.organization_id, p.robot_type_id, p.episodes)
    is distinct from (excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id, excluded.robot_type_id, excluded.episodes)"
);

const TASKS: &str = concat!(
    "with packed as materialized (
    select t.station_id, t.day, k.tasks
    from unnest($1::bigint[], $2::date[]) t (station_id, day) cross join lateral (
        select string_agg(",
    packed_instant!("c.assigned_at"),
    " || ",
    packed_text!("c.status"),
    ", '' order by c.assigned_at, c.task_id) as tasks
        from counted_tasks c where c.station_id = t.station_id and ",
    of_day!("c.assigned_at"),
    ") k),
gone as (
    delete from packed_tasks p using packed d where p.station_id = d.station_id and p.day = d.day and d.tasks is null)
insert into packed_tasks as p (station_id, day, tasks)
select d.* from packed d where d.tasks is not null
on conflict (station_id, day) do update set tasks = excluded.tasks where p.tasks is distinct from excluded.tasks"
);

const DAYS_OF_EPISODES: &str = "select distinct c.station_id, (c.happened_at at time zone 'UTC')::date from counted_episodes c where c.episode_id = any ($1::bigint[])";
const DAYS_OF_TASKS: &str =
    "select distinct c.station_id, (c.assigned_at at time zone 'UTC')::date from counted_tasks c where c.task_id = any ($1::bigint[])";

/// Where episodes stand, as they are counted now.
pub(super) async fn of_episodes(step: &Transaction<'_>, episodes: &[i64]) -> Result<BTreeSet<StationDay>, StoreError> {
    days(step, DAYS_OF_EPISODES, episodes).await
}

/// Where tasks stand, as they are counted now.
pub(super) async fn of_tasks(step: &Transaction<'_>, tasks: &[i64]) -> Result<BTreeSet<StationDay>, StoreError> {
    days(step, DAYS_OF_TASKS, tasks).await
}

async fn days(step: &Transaction<'_>, statement: &str, ids: &[i64]) -> Result<BTreeSet<StationDay>, StoreError> {
    let rows = step.query(&step.prepare_cached(statement).await?, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Packs days anew, as they are counted now. Few rows of many are looked for, whatever Postgres knows of the tables.
pub(super) async fn pack(step: &Transaction<'_>, episodes: BTreeSet<StationDay>, tasks: BTreeSet<StationDay>) -> Result<(), StoreError> {
    if episodes.is_empty() && tasks.is_empty() {
        return Ok(());
    }
    step.batch_execute(PLANS).await?;
    for (statement, days) in [(EPISODES, episodes), (TASKS, tasks)] {
        if !days.is_empty() {
            let (stations, days): (Vec<i64>, Vec<NaiveDate>) = days.into_iter().unzip();
            step.execute(&step.prepare_cached(statement).await?, &[&stations, &days]).await?;
        }
    }
    Ok(())
}

pub(super) const STATEMENTS: [(&str, &str); 4] =
    [("episodes, packed", EPISODES), ("tasks, packed", TASKS), ("days of episodes", DAYS_OF_EPISODES), ("days of tasks", DAYS_OF_TASKS)];

/// An episode, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedEpisode<'a> {
    pub id: i64,
    /// In microseconds since 1970.
    pub happened_us: i64,
    pub duration_ms: Option<i64>,
    pub size_bytes: i64,
    pub cloud_synced: bool,
    /// The present approval is that of an automatic run.
    pub auto_approved: bool,
    pub qa_status: QaStatus,
    /// Why a machine alone did not approve it; empty where it did, or has not judged it.
    pub reason: &'a str,
}

/// A task, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedTask {
    /// In microseconds since 1970.
    pub assigned_us: i64,
    pub status: TaskStatus,
}

/// The records of one value, by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked<R>(pub Vec<R>);

type Malformed = Box<dyn Error + Sync + Send>;

/// What of a value is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("a packed record is cut off")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<i64, Malformed> {
        self.take().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = u16::from_be_bytes(self.take()?).into();
        let (text, rest) = self.0.split_at_checked(length).ok_or("a packed text is cut off")?;
        self.0 = rest;
        Ok(std::str::from_utf8(text)?)
    }

    fn all<R>(mut self, mut record: impl FnMut(&mut Self) -> Result<R, Malformed>) -> Result<Unpacked<R>, Malformed> {
        let mut records = vec![];
        while !self.0.is_empty() {
            records.push(record(&mut self)?);
        }
        Ok(Unpacked(records))
    }
}

fn initial(status: QaStatus) -> Option<u16> {
    status.as_str().bytes().next().map(u16::from)
}

fn status(of: u16) -> Option<QaStatus> {
    QaStatus::ALL.iter().copied().find(|status| initial(*status) == Some(of))
}

impl<'a> FromSql<'a> for Unpacked<PackedEpisode<'a>> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Malformed> {
        Bytes(raw).all(|bytes| {
            let (id, happened_us, duration_ms, size_bytes) = (bytes.number()?, bytes.number()?, bytes.number()?, bytes.number()?);
            let said = u16::from_be_bytes(bytes.take()?);
            let is = |flag: u16| said & flag != 0;
            let qa_status = status(said >> FLAGS).ok_or("a packed episode has no status")?;
            let reason = bytes.text()?;
            let duration_ms = is(TIMED).then_some(duration_ms);
            Ok(PackedEpisode {
                id,
                happened_us,
                duration_ms,
                size_bytes,
                cloud_synced: is(SYNCED),
                auto_approved: is(AUTO_APPROVED),
                qa_status,
                reason,
            })
        })
    }
    accepts!(BYTEA);
}

impl<'a> FromSql<'a> for Unpacked<PackedTask> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Malformed> {
        Bytes(raw).all(|bytes| Ok(PackedTask { assigned_us: bytes.number()?, status: bytes.text()?.parse()? }))
    }
    accepts!(BYTEA);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u16, initial: char, reason: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = [7_i64, -1, 1_500, 42].iter().flat_map(|number| number.to_be_bytes()).collect();
        bytes.extend((u16::try_from(u32::from(initial)).unwrap() << FLAGS | flags).to_be_bytes());
        bytes.extend(u16::try_from(reason.len()).unwrap().to_be_bytes());
        bytes.extend(reason.as_bytes());
        bytes
    }

    fn unpacked(bytes: &[u8]) -> Result<Unpacked<PackedEpisode<'_>>, Malformed> {
        Unpacked::from_sql(&Type::BYTEA, bytes)
    }

    #[test]
    fn records_are_read_one_behind_the_other() {
        let bytes = [record(SYNCED | TIMED, 'a', ""), record(AUTO_APPROVED, 'r', "max_gap")].concat();
        let one = PackedEpisode {
            id: 7,
            happened_us: -1,
            duration_ms: Some(1_500),
            size_bytes: 42,
            cloud_synced: true,
            auto_approved: false,
            qa_status: QaStatus::Approved,
            reason: "",
        };
        let other = PackedEpisode {
            duration_ms: None,
            cloud_synced: false,
            auto_approved: true,
            qa_status: QaStatus::Rejected,
            reason: "max_gap",
            ..one
        };
        assert_eq!(unpacked(&bytes).unwrap(), Unpacked(vec![one, other]));
        assert_eq!(unpacked(&[]).unwrap(), Unpacked(vec![]));
    }

    #[test]
    fn an_initial_tells_which_status_it_is() {
        for known in QaStatus::ALL {
            assert_eq!(initial(*known).and_then(status), Some(*known));
        }
    }

    #[test]
    fn what_is_cut_off_or_no_word_is_an_error_and_no_number() {
        let bytes = record(0, 'a', "max_gap");
        for length in 1..bytes.len() {
            assert!(unpacked(&bytes[..length]).is_err(), "{length}");
        }
        assert!(unpacked(&record(0, 'g', "")).is_err());
        assert!(Unpacked::<PackedTask>::from_sql(&Type::BYTEA, &[0; 9]).is_err());
    }
}
