//! Which part of the site a dashboard shows, and how much of it, from the query.

use chrono::TimeDelta;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::{FactoryId, OrganizationId, StationId, Timestamp};
use crate::http::AppState;
use crate::http::auth::{Caller, Identity};
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::http::production_statistics::minutes_ahead;
use crate::http::wire::TextId;
use crate::http::words::RoleWord;
use crate::projections::reads::dashboard::{Part, Shape};

/// How far back uploads are shown: long enough for many, and short enough to be how it is now.
const UPLOADS_SHOWN: TimeDelta = TimeDelta::hours(1);

/// Which part. Without effect for a data collector, who sees every workstation they were ever bound to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, and read by `asked`")]
pub(super) struct Where {
    /// One workstation.
    workstation_id: Option<i64>,
    /// One factory.
    factory_id: Option<i64>,
    /// One organization.
    organization_id: Option<i64>,
}

/// How much. A larger number counts as the largest.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, and read by `asked`")]
pub(super) struct Sizes {
    /// Days of a trend: default 7, at most 31.
    trend_days: Option<i64>,
    /// Scenes and SOPs: default and at most 100.
    distribution_limit: Option<i64>,
    /// Batches and tasks under way: default 20, at most 100.
    active_limit: Option<i64>,
    /// The newest tasks: default 10, at most 50.
    recent_limit: Option<i64>,
    /// The newest episodes: default 8, at most 20.
    preview_limit: Option<i64>,
    /// When a day begins: `+08:00`, up to 14 hours; default `+00:00`.
    timezone_offset: Option<String>,
}

/// Whom a dashboard is shown, and of what.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WatchedScope {
    /// The caller's role; empty without one.
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// One workstation; of a data collector the one that they are bound to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    workstation_id: Option<TextId>,
    /// One factory.
    #[serde(skip_serializing_if = "Option::is_none")]
    factory_id: Option<TextId>,
    /// One organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<TextId>,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

/// What is asked.
pub(super) struct Asked {
    /// None: there is nothing to see.
    pub part: Option<Part>,
    pub shape: Shape,
    pub scope: WatchedScope,
    pub now: Timestamp,
}

pub(super) async fn asked(state: &AppState, caller: &Caller, params: &Params) -> Result<Asked, Problem> {
    let id = |name: &str| params.positive(name);
    let (station, factory, organization) = (id("workstation_id")?, id("factory_id")?, id("organization_id")?);
    let now = state.commands.now();
    let shape = shape(params, now)?;
    let role = caller.identity.role().map_or("", |role| role.as_str());
    if let Identity::Collector { id, .. } = caller.identity {
        let current = state.reads.current_station_of(id).await?;
        let warning = current.is_none().then_some("workstation not assigned");
        let part = current.as_ref().map(|_| Part { collector: Some(id), ..Part::default() });
        let workstation_id = current.map(|station| TextId(station.id.0));
        let scope = WatchedScope { role, workstation_id, factory_id: None, organization_id: None, warning };
        return Ok(Asked { part, shape, scope, now });
    }
    let part = Part {
        station: station.map(StationId),
        factory: factory.map(FactoryId),
        organization: organization.map(OrganizationId),
        collector: None,
    };
    let text = |id: Option<i64>| id.map(TextId);
    let scope =
        WatchedScope { role, workstation_id: text(station), factory_id: text(factory), organization_id: text(organization), warning: None };
    Ok(Asked { part: Some(part), shape, scope, now })
}

fn shape(params: &Params, now: Timestamp) -> Result<Shape, Problem> {
    let number = |name: &str, default: i64, most: i64| Ok::<_, Problem>(params.positive(name)?.unwrap_or(default).min(most));
    let (days, minutes_ahead) = (number("trend_days", 7, 31)?, minutes_ahead(params)?);
    let today = day_begins(now, minutes_ahead);
    Ok(Shape {
        from: today - TimeDelta::days(days - 1),
        today,
        until: today + TimeDelta::days(1),
        uploads_from: now - UPLOADS_SHOWN,
        minutes_ahead,
        distribution_limit: number("distribution_limit", 100, 100)?,
        active_limit: number("active_limit", 20, 100)?,
        recent_limit: number("recent_limit", 10, 50)?,
        preview_limit: number("preview_limit", 8, 20)?,
    })
}

/// When the day of an instant began, where clocks are so far ahead of UTC.
fn day_begins(now: Timestamp, minutes_ahead: i64) -> Timestamp {
    const DAY_S: i64 = 86_400;
    let ahead = minutes_ahead * 60;
    let local = now.timestamp() + ahead;
    Timestamp::from_timestamp(local - local.rem_euclid(DAY_S) - ahead, 0).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_local_midnight() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (now, minutes, begins) in [
            ("2026-11-28T07:00:00Z", 0, "2026-11-28T00:00:00Z"),
            ("2026-11-28T07:00:00Z", 480, "2026-11-27T16:00:00Z"),
            ("2026-11-28T16:00:00Z", 480, "2026-11-28T16:00:00Z"),
            ("2026-11-28T15:59:59Z", 480, "2026-11-27T16:00:00Z"),
            ("2026-11-28T00:10:00Z", -30, "2026-11-27T00:30:00Z"),
        ] {
            assert_eq!(day_begins(at(now), minutes), at(begins), "{now} {minutes}");
        }
    }
}
