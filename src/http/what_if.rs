//! `/qa/suites/{id}/what-if`: what a suite would say of episodes that were judged.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, MaybeJson, PathText};
use super::fields::{GivenId, GivenInstant, ShortText};
use super::policy::Policy;
use super::problem::{Problem, failed};
use super::routes::Routes;
use super::suites::found;
use super::words::VerdictWord;
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::SuiteScope;
use crate::domain::{OrderId, RobotTypeId, Scope, SopId, StationId};
use crate::projections::reads::Reads;
use crate::projections::reads::history::HistoryFilter;
use crate::qa::what_if::{CannotSay, FLIPS_MAX, Flip, Share, WhatIf, what_if};

pub fn routes() -> Routes {
    Routes::default().at(Policy::MANAGE.closed().reading().reading_objects().exact(), routes!(try_suite))
}

/// Groups of each kind that are told.
const GROUPS_MAX: usize = 20;

/// Of which episodes; what is not given excludes nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIfFilter {
    /// Of this order.
    order_id: Option<GivenId>,
    /// Recorded at this workstation.
    station_id: Option<GivenId>,
    /// By this SOP.
    sop_id: Option<GivenId>,
    /// By robots of this type.
    robot_type_id: Option<GivenId>,
    /// By this robot.
    robot_device_id: Option<ShortText>,
    /// Verified from then on.
    created_at_from: Option<GivenInstant>,
    /// Verified until then.
    created_at_to: Option<GivenInstant>,
}

/// How many went from one verdict to another.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerdictChange {
    /// As it was judged, the last time.
    #[schema(value_type = VerdictWord)]
    from: &'static str,
    /// As the suite would have it.
    #[schema(value_type = VerdictWord)]
    to: &'static str,
    /// How many.
    count: u64,
}

/// What of a group would have another verdict.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupShare {
    /// Its id.
    id: String,
    /// How many were judged.
    judged: u64,
    /// How many of these would have another verdict.
    changed: u64,
}

/// An episode whose verdict would be another one.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlippedEpisode {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    episode_id: String,
    /// As it was judged, the last time.
    #[schema(value_type = VerdictWord)]
    from: &'static str,
    /// As the suite would have it.
    #[schema(value_type = VerdictWord)]
    to: &'static str,
    /// What the suite would score.
    score: f64,
    /// What would be wrong with it.
    #[schema(required)]
    quality_flag: Option<String>,
}

/// What a suite would say. Nothing is changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhatIfAnswer {
    /// How many episodes the filter matches.
    matched_count: u64,
    /// Of how many it can be said.
    judged_count: u64,
    /// Of how many of these the verdict would be another one.
    changed_count: u64,
    /// Of these nothing was measured; a run measures them.
    without_facts_count: u64,
    /// These were never judged.
    without_verdict_count: u64,
    /// Of these a checker elsewhere has not said what the suite asks: that check is left out of what they would be, and a run would ask for it.
    without_outside_count: u64,
    /// From which verdict to which, the same ones included.
    verdicts: Vec<VerdictChange>,
    /// The twenty orders with most changes.
    by_order: Vec<GroupShare>,
    /// The twenty workstations with most changes.
    by_station: Vec<GroupShare>,
    /// The twenty robots with most changes.
    by_robot: Vec<GroupShare>,
    /// The newest thousand whose verdict would be another one.
    episodes: Vec<FlippedEpisode>,
    /// Whether there are more of them.
    more: bool,
}

fn groups<K: ToString>(shares: BTreeMap<K, Share>) -> Vec<GroupShare> {
    let changed = shares.into_iter().filter(|(_, share)| share.changed > 0);
    let mut groups: Vec<_> =
        changed.map(|(id, share)| GroupShare { id: id.to_string(), judged: share.judged, changed: share.changed }).collect();
    // Of equal ones the first.
    groups.sort_by_key(|group| std::cmp::Reverse(group.changed));
    groups.truncate(GROUPS_MAX);
    groups
}

impl From<Flip> for FlippedEpisode {
    fn from(flip: Flip) -> Self {
        let (from, to) = (flip.from.as_str(), flip.to.as_str());
        Self { id: flip.id.0, episode_id: flip.episode_id, from, to, score: flip.score, quality_flag: flip.flag }
    }
}

impl From<WhatIf> for WhatIfAnswer {
    fn from(found: WhatIf) -> Self {
        let changed = found.changed();
        Self {
            matched_count: found.matched,
            judged_count: found.judged,
            changed_count: changed,
            without_facts_count: found.without_facts,
            without_verdict_count: found.without_verdict,
            without_outside_count: found.without_outside,
            verdicts: found.verdicts.into_iter().map(|((from, to), count)| VerdictChange { from, to, count }).collect(),
            by_order: groups(found.by_order),
            by_station: groups(found.by_station),
            by_robot: groups(found.by_robot),
            more: usize::try_from(changed).is_ok_and(|changed| changed > FLIPS_MAX),
            episodes: found.flips.into_iter().map(FlippedEpisode::from).collect(),
        }
    }
}

impl From<CannotSay> for Problem {
    fn from(error: CannotSay) -> Self {
        match error {
            CannotSay::Read(error) => error.into(),
            error @ CannotSay::Unreadable(..) => failed(&error.into()),
        }
    }
}

/// A suite is tried on what it is for.
fn within(scope: SuiteScope, mut filter: HistoryFilter) -> Result<HistoryFilter, Problem> {
    let other = |field: &str| Problem::of_field(field, "is not what the suite is for");
    match scope {
        SuiteScope::All => {}
        SuiteScope::RobotType(id) if filter.robot_type.is_none_or(|given| given == id) => filter.robot_type = Some(id),
        SuiteScope::RobotType(_) => return Err(other("robot_type_id")),
        SuiteScope::Sop(id) if filter.sop.is_none_or(|given| given == id) => filter.sop = Some(id),
        SuiteScope::Sop(_) => return Err(other("sop_id")),
    }
    Ok(filter)
}

/// What a suite, a draft too, would say of the episodes that there are: judged again from their facts, within seconds. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/qa/suites/{id}/what-if", tag = "qa", params(("id" = String, Path, description = "Its id, or `default` for the shipped one")),
    request_body(content = Option<WhatIfFilter>), responses(
    (status = 200, body = WhatIfAnswer),
    (status = 400, description = "A filter that cannot be, or that the suite is not for"),
    (status = 404, description = "There is no such suite"),
))]
pub async fn try_suite(
    State(state): State<AppState>,
    caller: Caller,
    PathText(id): PathText,
    MaybeJson(body): MaybeJson<WhatIfFilter>,
) -> Result<Json<WhatIfAnswer>, Problem> {
    tried(&state.reads, state.runs.default_suite(), &caller.scope, &id, body.into()).await.map(Json)
}

impl From<WhatIfFilter> for HistoryFilter {
    fn from(given: WhatIfFilter) -> Self {
        Self {
            order: given.order_id.map(|id| OrderId(id.0)),
            station: given.station_id.map(|id| StationId(id.0)),
            sop: given.sop_id.map(|id| SopId(id.0)),
            robot_type: given.robot_type_id.map(|id| RobotTypeId(id.0)),
            robot: ShortText::said(given.robot_device_id),
            from: given.created_at_from.map(|at| at.0),
            to: given.created_at_to.map(|at| at.0),
        }
    }
}

/// What a suite of this id would say of these episodes.
pub async fn tried(reads: &Reads, shipped: &Suite, scope: &Scope, id: &str, filter: HistoryFilter) -> Result<WhatIfAnswer, Problem> {
    let (of, suite) = found(reads, shipped, id).await?;
    Ok(what_if(reads, scope, &within(of, filter)?, suite).await?.into())
}
