//! Episodes of a selection: the one condition that lists, previews and bulk runs have in common.

use tokio_postgres::types::ToSql;

use super::home::Home;
use super::list::Each;
use crate::domain::Scope;
use crate::domain::episode::{EpisodeSelection, QaStatus, SyncStatus};
use crate::domain::{Timestamp, storable};

pub(super) const HOME: Home = Home::Organization { factory: "e.factory_id", organization: "e.organization_id" };

/// The parameters that [`matches`] takes.
pub(super) const PARAMETERS: usize = 11;

/// Stations whose robots and collectors are meant. What is gone is known by what the station remembers of it.
const STATIONS: &str = "select s.id from stations s left join robots k on k.id = s.robot_id left join data_collectors l on l.id = s.data_collector_id \
    where ($8::bigint[] is null or k.robot_type_id = any ($8)) \
    and ($9::text[] is null or comparable(coalesce(k.device_id, s.robot_serial)) = any (comparable_all($9))) \
    and ($10::text[] is null or comparable(coalesce(l.operator_id, s.collector_operator_id)) = any (comparable_all($10)))";

/// Where a text is somewhere in ids and flag, and `%` and `_` are only characters. The expression is that of the index
/// `episodes_by_parts_of_texts`, whose parts are kept apart by the end of a line: no text that is looked for goes beyond one.
pub(super) fn contains(parameter: usize) -> String {
    let given = format!(r"replace(replace(replace(comparable(${parameter}), '\', '\\'), '%', '\%'), '_', '\_')");
    format!(
        "(${parameter}::text is null or (strpos(${parameter}, e'\\n') = 0 and \
         comparable(e.episode_id || e'\\n' || e.task_public_id || e'\\n' || coalesce(e.quality_flag, '')) like '%' || {given} || '%'))"
    )
}

/// How far the episode `e` is on its way to the cloud: what its newest chain says.
pub(super) const SYNC_STATUS: &str =
    "coalesce((select y.status from sync_chains y where y.episode_id = e.id order by y.id desc limit 1), 'not_started')";

/// What holds of the episodes `e` of a selection, whose values [`Values`] hands in as the first parameters.
pub(super) fn matches() -> String {
    format!(
        "($1::timestamptz is null or e.created_at >= $1) and ($2::timestamptz is null or e.created_at < $2) and {} \
         and ($4::text[] is null or e.qa_status = any ($4)) and ($5::text[] is null or {SYNC_STATUS} = any ($5)) \
         and ($6::bigint[] is null or e.scene_id = any ($6)) and ($7::bigint[] is null or e.sop_id = any ($7)) \
         and (($8::bigint[] is null and $9::text[] is null and $10::text[] is null) or e.station_id = any (array({STATIONS}))) \
         and ($11::text is null or (e.labels <> '{{}}' and e.labels @> array[$11]))",
        contains(3)
    )
}

/// The values of a selection.
pub(super) struct Values {
    selection: EpisodeSelection,
    before: Option<Timestamp>,
    qa: Option<Vec<&'static str>>,
    sync: Option<Vec<&'static str>>,
}

impl Values {
    pub fn of(selection: &EpisodeSelection) -> Self {
        let qa = selection.qa_statuses.as_ref().map(|all| all.iter().copied().map(QaStatus::as_str).collect());
        let sync = selection.sync_statuses.as_ref().map(|all| all.iter().copied().map(SyncStatus::as_str).collect());
        Self { selection: selection.clone(), before: selection.created_to.map(behind), qa, sync }
    }

    pub fn parameters(&self) -> [&(dyn ToSql + Sync); PARAMETERS] {
        let s = &self.selection;
        [
            &s.created_from,
            &self.before,
            &s.text,
            &self.qa,
            &self.sync,
            &s.scenes,
            &s.sops,
            &s.robot_types,
            &s.devices,
            &s.operators,
            &s.label,
        ]
    }
}

/// The first instant that is not meant: a whole second is shown for all that lies in it.
fn behind(last: Timestamp) -> Timestamp {
    let step = if last.timestamp_subsec_nanos() == 0 { chrono::TimeDelta::seconds(1) } else { chrono::TimeDelta::microseconds(1) };
    last.checked_add_signed(step).filter(|at| storable::can_be_stored(*at)).unwrap_or(last)
}

/// From which index a page of a selection is best read, value by value: that of the filter which is likely to leave least. None where the
/// planner chooses: a text or a label leaves less than all of these.
pub(super) fn each(selection: &EpisodeSelection) -> Option<Each> {
    let s = selection;
    if s.text.is_some() || s.label.is_some() {
        None
    } else if s.devices.is_some() || s.operators.is_some() {
        Some(EACH_STATION)
    } else if s.scenes.is_some() {
        Some(EACH_SCENE)
    } else if s.sops.is_some() {
        Some(EACH_SOP)
    } else if s.qa_statuses.is_some() {
        Some(EACH_STATUS)
    } else {
        // Most factories have a few types.
        s.robot_types.is_some().then_some(EACH_STATION)
    }
}

pub(super) const EACH_STATION: Each = Each { values: STATIONS, column: "e.station_id", id: "e.id" };
pub(super) const EACH_SCENE: Each = Each { values: "select unnest($6::bigint[])", column: "e.scene_id", id: "e.id" };
pub(super) const EACH_SOP: Each = Each { values: "select unnest($7::bigint[])", column: "e.sop_id", id: "e.id" };
pub(super) const EACH_STATUS: Each = Each { values: "select unnest($4::text[])", column: "e.qa_status", id: "e.id" };

/// A query of the episodes of a selection that a scope contains, for a command to read them in its own statement.
pub struct Chosen {
    /// `id` and `created_at` of each.
    pub sql: String,
    values: Values,
    /// Behind them, those of the scope.
    scope: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Chosen {
    pub fn of(scope: &Scope, selection: &EpisodeSelection) -> Self {
        let within = HOME.within(scope, PARAMETERS);
        Self {
            sql: format!("select e.id, e.created_at from episodes e where {}{}", matches(), within.sql),
            values: Values::of(selection),
            scope: within.values,
        }
    }

    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let scope = self.scope.iter().map(|value| &**value as &(dyn ToSql + Sync));
        self.values.parameters().into_iter().chain(scope).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_second_is_meant_to_its_end_and_a_part_of_one_exactly() {
        let at = |text: &str| storable::instant(text).unwrap();
        assert_eq!(behind(at("2026-01-01T00:00:00Z")), at("2026-01-01T00:00:01Z"));
        assert_eq!(behind(at("2026-01-01T00:00:00.25Z")), at("2026-01-01T00:00:00.250001Z"));
        assert_eq!(behind(at("9999-12-31T23:59:59Z")), at("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn a_scope_adds_its_condition_and_nothing_moves() {
        let scope = Scope::Factories([crate::domain::FactoryId(1)].into());
        let (all, some) = (Chosen::of(&Scope::Everything, &EpisodeSelection::default()), Chosen::of(&scope, &EpisodeSelection::default()));
        assert_eq!((all.parameters().len(), some.parameters().len()), (PARAMETERS, PARAMETERS + 1));
        assert!(some.sql.ends_with("and e.factory_id = any ($12::bigint[])"), "{}", some.sql);
    }
}
