//! What waits for an inspector, what was decided, and by whom.

use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::home::Home;
use super::list::{Each, ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::HOME;
use crate::domain::episode::{Decision, DecisionEffect, InspectionCause, Level};
use crate::domain::inspector::InspectorStatus;
use crate::domain::words::words;
use crate::domain::{EpisodeId, InspectorId, OrganizationId, Scope, SopId, StationId, Timestamp};
use crate::projections::rows::inspector::InspectorRow;
use crate::projections::rows::production::EpisodeRow;

row! {
    InspectorShown of InspectorRow as "x" {
        organization_name: Option<String> = "g.name",
    }
}

row! {
    /// An episode that waits for a decision.
    WaitingEpisode of EpisodeRow as "e" {
        sop_slug: Option<String> = "p.slug",
        robot_type: Option<String> = "y.name",
        /// Thousandths between the score and what would approve it.
        distance: i64 = "coalesce(e.inspection_distance, 1000)",
    }
}

row! {
    /// What an inspector decided about an episode.
    DecisionShown {
        id: i64 = "d.id",
        episode_id: EpisodeId = "d.episode_id",
        inspector_id: InspectorId = "d.inspector_id",
        inspector_name: Option<String> = "i.name",
        decision: Decision = "d.decision",
        effect: DecisionEffect = "d.effect",
        reason: String = "d.reason",
        tags: Vec<String> = "d.tags",
        duration_sec: Option<f64> = "d.duration_sec",
        created_at: Timestamp = "d.created_at",
    }
}

row! {
    /// What an inspector did.
    InspectorWork {
        id: InspectorId = "i.id",
        name: Option<String> = "i.name",
        certification_level: Level = "i.certification_level",
        status: InspectorStatus = "i.status",
        decisions: i64 = "count(d.id)",
        approved: i64 = "count(d.id) filter (where d.decision = 'approved')",
        seconds: Option<f64> = "avg(d.duration_sec)",
    }
}

row! {
    /// How often two decided about the same episode, and what.
    SameEpisode {
        inspector_id: InspectorId = "one.inspector_id",
        own: Decision = "one.decision",
        others: Decision = "one.others",
        episodes: i64 = "count(*)",
    }
}

#[derive(Clone, Debug, Default)]
pub struct InspectorFilter {
    pub organization_ids: Option<Vec<OrganizationId>>,
    pub levels: Option<Vec<Level>>,
    pub statuses: Option<Vec<String>>,
    pub inspector_ids: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
}

words! {
    /// In which order episodes wait.
    QueueOrder {
        Oldest = "oldest",
        LeastCertain = "least_certain",
    }
}

#[derive(Clone, Debug, Default)]
pub struct QueueFilter {
    /// Only for these causes; none: for any.
    pub causes: Option<Vec<InspectionCause>>,
    /// Only what this one may take: not what others hold, nor what they decided themselves.
    pub inspector: Option<InspectorId>,
    pub station: Option<StationId>,
    pub sop: Option<SopId>,
    /// Also what failed, and not only what needs inspection.
    pub failed_too: bool,
}

const INSPECTORS: &str = "inspectors x left join organizations g on g.id = x.organization_id";
const INSPECTORS_HOME: Home = Home::Organization { factory: "g.factory_id", organization: "x.organization_id" };

const QUEUE: &str = "episodes e left join sops p on p.id = e.sop_id left join stations w on w.id = e.station_id \
                     left join robots r on r.id = w.robot_id left join robot_types y on y.id = r.robot_type_id";
fn inspectors() -> ListQuery {
    ListQuery {
        from: INSPECTORS,
        matches: "($1::bigint[] is null or x.organization_id = any($1)) and ($2::text[] is null or x.certification_level = any($2)) \
                  and ($3::text[] is null or comparable(x.status) = any(comparable_all($3))) \
                  and ($4::text[] is null or comparable(x.inspector_id) = any(comparable_all($4))) \
                  and ($5::text[] is null or comparable(x.name) = any(comparable_all($5)))"
            .into(),
        order: vec![Key::down(KeyType::Number, "x.id")],
        parameters: 5,
        counted: None,
        home: INSPECTORS_HOME,
    }
}

fn inspector() -> String {
    format!("select {} from {INSPECTORS} where x.id = $1", InspectorShown::columns())
}

/// Cause by cause: what one level decides may lie far apart among what others do.
const EACH_CAUSE: Each = Each { values: "select unnest($1::text[])", column: "e.inspection_cause", id: "e.id" };

/// Episodes with something to decide have a cause, and others have none.
fn queue(order: QueueOrder) -> ListQuery {
    let mut keys = vec![Key::up(KeyType::Instant, "e.created_at"), Key::up(KeyType::Number, "e.id")];
    if order == QueueOrder::LeastCertain {
        keys.insert(0, Key::up(KeyType::Number, "coalesce(e.inspection_distance, 1000)"));
    }
    ListQuery {
        from: QUEUE,
        matches: "e.inspection_cause is not null and ($1::text[] is null or e.inspection_cause = any ($1)) \
                  and ($2::bigint is null or ((e.inspection_until is null or e.inspection_until < clock_timestamp() or e.inspection_taken_by = $2) \
                       and not ($2 = any (e.inspection_deciders)))) \
                  and ($3::bigint is null or e.station_id = $3) and ($4::bigint is null or e.sop_id = $4) \
                  and ($5::boolean or e.qa_status = 'needs_inspection')"
            .into(),
        order: keys,
        parameters: 5,
        counted: None,
        home: HOME,
    }
    .counted_in("episodes e")
}

fn decisions() -> String {
    format!(
        "select {} from inspection_decisions d left join inspectors i on i.id = d.inspector_id where d.episode_id = $1 order by d.id",
        DecisionShown::columns()
    )
}

/// Whose an inspector is, where they are `i` and their organization is `g`.
const INSPECTORS_WORK_HOME: Home = Home::Organization { factory: "g.factory_id", organization: "i.organization_id" };

fn work(within: &str) -> String {
    format!(
        "select {} from inspectors i left join organizations g on g.id = i.organization_id left join inspection_decisions d on d.inspector_id = i.id \
             and ($1::timestamptz is null or d.created_at >= $1) and ($2::timestamptz is null or d.created_at < $2) \
         where true{within} group by i.id, i.name, i.certification_level, i.status order by i.id",
        InspectorWork::columns()
    )
}

/// First and second decisions about one episode, each from its inspector's side. What a senior settled is no judgement made alone. Few episodes are
/// decided about twice, so it begins with the second.
pub(super) const PAIRED: &str = "inspection_decisions second join inspection_decisions first \
    on first.episode_id = second.episode_id and first.round = second.round and first.inspector_id <> second.inspector_id \
        and first.place = 0 and second.place = 1 \
    cross join lateral (values (first.inspector_id, first.decision, second.decision, first.created_at), \
                               (second.inspector_id, second.decision, first.decision, second.created_at)) one (inspector_id, decision, others, created_at)";

fn same_episodes(within: &str) -> String {
    format!(
        "select {} from {PAIRED} \
         left join inspectors i on i.id = one.inspector_id left join organizations g on g.id = i.organization_id \
         where ($1::timestamptz is null or one.created_at >= $1) \
             and ($2::timestamptz is null or one.created_at < $2){within} \
         group by one.inspector_id, one.decision, one.others order by one.inspector_id",
        SameEpisode::columns()
    )
}

impl Reads {
    pub async fn inspectors(&self, scope: &Scope, filter: &InspectorFilter, page: Page) -> Result<Listed<InspectorShown>, ReadError> {
        let f = filter;
        let levels: Option<Vec<&str>> = f.levels.as_ref().map(|levels| levels.iter().map(|level| level.as_str()).collect());
        self.listed(scope, inspectors(), &[&f.organization_ids, &levels, &f.statuses, &f.inspector_ids, &f.names], page).await
    }

    pub async fn inspector(&self, scope: &Scope, id: InspectorId) -> Result<Option<InspectorShown>, ReadError> {
        self.seen(scope, INSPECTORS_HOME, inspector(), &[&id]).await
    }

    pub async fn inspection_queue(
        &self,
        scope: &Scope,
        order: QueueOrder,
        filter: &QueueFilter,
        page: Page,
    ) -> Result<Listed<WaitingEpisode>, ReadError> {
        let f = filter;
        // What failed, too, is in no index by cause: that is read as it waits.
        let by_cause = !f.failed_too;
        let causes = f.causes.as_deref().or(by_cause.then_some(InspectionCause::ALL));
        let causes: Option<Vec<&str>> = causes.map(|causes| causes.iter().map(|cause| cause.as_str()).collect());
        let parameters: [&(dyn ToSql + Sync); 5] = [&causes, &f.inspector, &f.station, &f.sop, &f.failed_too];
        self.listed_by(scope, queue(order), by_cause.then_some(EACH_CAUSE), &parameters, page).await
    }

    /// The oldest first.
    pub async fn inspection_decisions(&self, episode: EpisodeId) -> Result<Vec<DecisionShown>, ReadError> {
        self.rows(&decisions(), &[&episode]).await
    }

    pub async fn inspectors_work(
        &self,
        scope: &Scope,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Vec<InspectorWork>, ReadError> {
        let within = INSPECTORS_WORK_HOME.within(scope, 2);
        self.rows(&work(&within.sql), &with(&[&from, &to], &within.values)).await
    }

    pub async fn inspected_twice(
        &self,
        scope: &Scope,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Vec<SameEpisode>, ReadError> {
        let within = INSPECTORS_WORK_HOME.within(scope, 2);
        self.rows(&same_episodes(&within.sql), &with(&[&from, &to], &within.values)).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("inspectors", inspectors().select(&InspectorShown::columns())),
        ("inspectors, counted", inspectors().count()),
        ("inspector", inspector()),
        ("episodes to inspect, oldest", queue(QueueOrder::Oldest).select(&WaitingEpisode::columns())),
        ("episodes to inspect, least certain", queue(QueueOrder::LeastCertain).select(&WaitingEpisode::columns())),
        ("episodes to inspect, oldest, by cause", queue(QueueOrder::Oldest).select_by(&WaitingEpisode::columns(), Some(&EACH_CAUSE))),
        (
            "episodes to inspect, least certain, by cause",
            queue(QueueOrder::LeastCertain).select_by(&WaitingEpisode::columns(), Some(&EACH_CAUSE)),
        ),
        ("episodes to inspect, counted", queue(QueueOrder::Oldest).count()),
        ("decisions about an episode", decisions()),
        ("work of inspectors", work("")),
        ("episodes inspected twice", same_episodes("")),
    ]
}
