//! Which episodes the dashboard of quality is asked about, from the query.

use utoipa::IntoParams;

use crate::domain::{FactoryId, StationId};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::episode_filters::{Ids, texts};
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::http::production_statistics::{Whose, filter};
use crate::projections::reads::counted::{CountedFilter, Selection};

/// What every route takes. Lists are separated by commas.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, and read by `selected`")]
pub(super) struct Which {
    /// RFC 3339: episodes of this instant or later.
    #[param(required)]
    start_time: String,
    /// RFC 3339: before this one, which is after `start_time`.
    #[param(required)]
    end_time: String,
    /// Factories.
    factory_id: Option<String>,
    /// Scenes.
    scene_id: Option<String>,
    /// SOPs; may be repeated.
    sop_id: Option<String>,
    /// Workstations, each one binding of a robot and a data collector.
    workstation_id: Option<String>,
    /// Robots, by the device ids that they have now; may be repeated.
    robot_device_id: Option<String>,
    /// Robot types; may be repeated.
    robot_type_id: Option<String>,
    /// Data collectors, by the operator ids that they have now; may be repeated.
    collector_operator_id: Option<String>,
}

/// How they stand, besides.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, and read by `selected`")]
pub(super) struct How {
    /// Statuses of quality assurance; may be repeated.
    qa_status: Option<String>,
    /// Whether they are in the cloud; both values mean either.
    cloud_synced: Option<String>,
    /// Why a machine alone did not approve them, as groups by `reason` have it; may be repeated.
    reason: Option<String>,
}

pub(super) async fn selected(state: &AppState, caller: &Caller, params: &Params) -> Result<Selection, Problem> {
    let ids = Ids(params);
    let filter = CountedFilter {
        factories: ids.of("factory_id", FactoryId)?,
        workstations: ids.of("workstation_id", StationId)?,
        reasons: texts(params, "reason")?,
        ..filter(params, Whose::Everybody)?
    };
    Ok(state.reads.counted_selection(&caller.scope, filter).await?)
}
