//! What is asked of statistics, from the query.

use utoipa::IntoParams;

use crate::domain::{CollectorId, RobotTypeId, SceneId, SopId};
use crate::http::auth::{Caller, Identity};
use crate::http::episode_filters::{Ids, texts, words};
use crate::http::extract::{Params, parse_bool};
use crate::http::problem::{Code, Problem};
use crate::projections::reads::counted::CountedFilter;

/// Whose statistics are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    Everybody,
    Own(CollectorId),
}

impl Whose {
    pub fn own(caller: &Caller) -> Result<Self, Problem> {
        match caller.identity {
            Identity::Collector { id, .. } => Ok(Self::Own(id)),
            Identity::Admin
            | Identity::Account { .. }
            | Identity::Inspector { .. }
            | Identity::Key { .. }
            | Identity::Display
            | Identity::Anonymous => Err(Problem::new(Code::Forbidden, "these are the statistics of a data collector, and you are none")),
        }
    }
}

/// What every route takes. Lists are separated by commas.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, and read by `filter`")]
pub(super) struct Filters {
    /// RFC 3339: episodes of this instant or later.
    #[param(required)]
    start_time: String,
    /// RFC 3339: before this one, which is after `start_time`.
    #[param(required)]
    end_time: String,
    /// Scenes.
    scene_id: Option<String>,
    /// Robots, by the device ids that they have now; may be repeated.
    robot_device_id: Option<String>,
    /// Robot types; may be repeated.
    robot_type_id: Option<String>,
    /// Data collectors, by the operator ids that they have now; may be repeated. Without effect for a data collector.
    collector_operator_id: Option<String>,
    /// SOPs; may be repeated.
    sop_id: Option<String>,
    /// Statuses of quality assurance; may be repeated.
    qa_status: Option<String>,
    /// Whether they are in the cloud; both values mean either.
    cloud_synced: Option<String>,
    /// One robot, as `source_id` of an answer.
    source_id: Option<String>,
    /// `episode`: there is nothing else.
    data_type: Option<String>,
    /// One task.
    task_id: Option<String>,
}

/// There is one kind of record.
const DATA_TYPE: &str = "episode";
const ITEM_BYTES_MAX: usize = 255;

/// Which episodes, by what every route of statistics takes.
pub fn filter(params: &Params, whose: Whose) -> Result<CountedFilter, Problem> {
    let instant = |name: &str| params.instant(name)?.ok_or_else(|| Problem::of_field(name, "is required, as RFC 3339"));
    let (from, until) = (instant("start_time")?, instant("end_time")?);
    if until <= from {
        return Err(Problem::of_field("end_time", "must be after start_time"));
    }
    let single = |name: &str| match params.text(name) {
        Some(text) if text.len() > ITEM_BYTES_MAX => Err(Problem::of_field(name, format_args!("is longer than {ITEM_BYTES_MAX} bytes"))),
        text => Ok(text),
    };
    let (operators, collector) = match whose {
        Whose::Everybody => (texts(params, "collector_operator_id")?, None),
        Whose::Own(id) => (None, Some(id)),
    };
    let mut scenes = Ids(params).of("scene_id", SceneId)?;
    // Nothing is of another kind.
    if single("data_type")?.is_some_and(|kind| kind != DATA_TYPE) {
        scenes = Some(vec![]);
    }
    Ok(CountedFilter {
        from,
        until,
        scenes,
        robot_types: numbers(params, "robot_type_id", RobotTypeId)?,
        sops: numbers(params, "sop_id", SopId)?,
        qa_statuses: words(params, "qa_status")?,
        cloud_synced: booleans(params, "cloud_synced")?,
        devices: texts(params, "robot_device_id")?,
        operators,
        source: single("source_id")?,
        factories: None,
        workstations: None,
        reasons: None,
        task: single("task_id")?,
        collector,
    })
}

/// Ids that are compared as texts: what is no number is the id of nothing.
fn numbers<T>(params: &Params, name: &str, kind: impl Fn(i64) -> T) -> Result<Option<Vec<T>>, Problem> {
    let number = |text: &String| text.parse::<i64>().ok().filter(|number| number.to_string() == *text);
    Ok(texts(params, name)?.map(|texts| texts.iter().filter_map(number).map(kind).collect()))
}

/// Both values are as good as none.
fn booleans(params: &Params, name: &str) -> Result<Option<bool>, Problem> {
    let Some(texts) = texts(params, name)? else { return Ok(None) };
    let value = |text: &String| parse_bool(text).ok_or_else(|| Problem::of_field(name, "must be true or false"));
    let values: Vec<bool> = texts.iter().map(value).collect::<Result<_, _>>()?;
    Ok(values.first().copied().filter(|first| values.iter().all(|other| other == first)))
}

const OFFSET: &str = "timezone_offset";
const HOURS_MAX: i64 = 14;

/// By how many minutes the clocks that are meant are ahead of UTC: `±HH:MM`.
pub fn minutes_ahead(params: &Params) -> Result<i64, Problem> {
    let Some(text) = params.text(OFFSET) else { return Ok(0) };
    minutes_of(&text).ok_or_else(|| Problem::of_field(OFFSET, "must be like +08:00, up to 14 hours; a + in a query is written %2B"))
}

fn minutes_of(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hours, minutes): (i64, i64) = rest.split_once(':').and_then(|(hours, minutes)| Some((digits(hours)?, digits(minutes)?)))?;
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= HOURS_MAX * 60).then_some(sign * all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_a_sign_hours_and_minutes_up_to_fourteen_hours() {
        for (text, minutes) in [("+00:00", 0), ("-00:30", -30), ("+05:45", 345), ("+14:00", 840), ("-14:00", -840)] {
            assert_eq!(minutes_of(text), Some(minutes), "{text}");
        }
        for text in ["", "+", "08:00", "+8:00", "+08:60", "+14:01", "-14:01", "+08-00", "+08:000", "Z", "é08:00", "++8:00", "+-8:00"] {
            assert_eq!(minutes_of(text), None, "{text}");
        }
    }
}
