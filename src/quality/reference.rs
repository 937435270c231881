//! Checks against what is usual in good recordings of the same procedure. Without a reference none applies. What is unusual is no gate; that
//! another episode has the same content is one.

use super::case::{Case, Outcome, Twin};
use crate::domain::figures::{Figure, Measure, Usual};
use crate::domain::reference::Reference;

const NO_REFERENCE: &str = "there is no reference";

fn with(case: &Case, of: impl FnOnce(&Reference) -> Outcome) -> Outcome {
    case.reference.map_or_else(|| Outcome::not_applicable(NO_REFERENCE), of)
}

pub fn duplicate_content(case: &Case) -> Outcome {
    match case.twin {
        Twin::NotLookedFor => Outcome::not_applicable("it was not compared with other episodes"),
        Twin::Nowhere => Outcome::pass("no earlier episode has this content"),
        Twin::Earlier(episode) => Outcome::fail(format!("the earlier episode {episode} has the same content")).with("episode_id", episode),
    }
}

/// The worst of these measures, each beside what is usual of it.
fn worst(case: &Case, measures: &[Measure], none: &str, of: impl Fn(&Figure, i64, &Usual) -> Outcome) -> Outcome {
    with(case, |reference| {
        let found = case.figures.iter().filter(|(figure, _)| measures.contains(&figure.measure));
        let compared = found.filter_map(|(figure, value)| Some(of(figure, *value, reference.usual(figure)?)));
        Outcome::worst(compared, none)
    })
}

pub fn rate_reference(case: &Case) -> Outcome {
    worst(case, &[Measure::Rate], "no rate is known of good episodes", |figure, value, usual| {
        let off = (value as f64 - usual.median as f64).abs() / (usual.median as f64).max(1.0);
        let text = figure.told(value, usual);
        let usual_enough = off <= case.limit("pass_share") || usual.outside(figure.measure, value) <= case.limit("iqr_times");
        let outcome = if usual_enough {
            Outcome::pass(text)
        } else {
            Outcome::at_most(off, case.limit("pass_share"), case.limit("fail_share"), text)
        };
        outcome.with("rate_hz", value as f64 / 1e3).with("usual_hz", usual.median as f64 / 1e3)
    })
}

/// What every good episode has is missed; of what most of them have, the type is compared.
pub fn type_reference(case: &Case) -> Outcome {
    with(case, |reference| {
        let each = reference.topics.items.iter().filter_map(|learned| {
            let (name, usual) = (&learned.topic, &learned.message_type);
            match case.counted().find(|topic| topic.topic == *name) {
                Some(topic) if topic.message_type == *usual => Some(Outcome::pass("topics have the types of good episodes")),
                Some(topic) => Some(Outcome::fail(format!("`{name}` is of type {}, in good episodes of {usual}", topic.message_type))),
                None if learned.episodes == reference.made_from.episodes && case.facts.topics.cut == 0 && !case.may_have_more() => {
                    Some(Outcome::fail(format!("`{name}` has no messages, and has some in every good episode")))
                }
                None => None,
            }
        });
        Outcome::worst(each, "good episodes have no topic in common")
    })
}

/// Smaller steps than usual are no fault.
pub fn jump_outlier(case: &Case) -> Outcome {
    worst(case, &[Measure::Jump], "no steps are known of good episodes", |figure, value, usual| {
        let z = usual.z(figure.measure, value);
        let text = figure.told(value, usual);
        let outcome = if z <= case.limit("z_max") { Outcome::pass(text) } else { Outcome::warn(0.0, text) };
        outcome.with("z", z)
    })
}

/// What is smoother than usual is no fault.
pub fn smoothness(case: &Case) -> Outcome {
    worst(case, &[Measure::Jerk], "no smoothness is known of good episodes", |figure, value, usual| {
        let rougher = (value.saturating_sub(usual.median)).max(0) as f64 / 1e3;
        let outside = if value > usual.median { usual.outside(figure.measure, value) } else { 0.0 };
        let text = figure.told(value, usual);
        let usual_enough = rougher <= case.limit("tolerance") || outside <= case.limit("iqr_times");
        let outcome = if usual_enough { Outcome::pass(text) } else { Outcome::warn(0.0, text) };
        outcome.with("log_jerk", value as f64 / 1e3).with("usual", usual.median as f64 / 1e3).with("outside_iqr", outside)
    })
}

pub fn episode_outlier(case: &Case) -> Outcome {
    let measures = [Measure::Length, Measure::StaticShare, Measure::EndPose];
    worst(case, &measures, "nothing is known of good episodes", |figure, value, usual| {
        let outside = usual.outside(figure.measure, value);
        // Where all are alike, a little is no outlier. Of many joints one is outside more easily than of few.
        let (near, times) = match figure.measure {
            Measure::Length => (usual.median as f64 * case.limit("length_share"), "iqr_times"),
            Measure::EndPose => (case.limit("end_rad") * 1e6, "end_iqr_times"),
            _ => (case.limit("static_share") * 1000.0, "iqr_times"),
        };
        let text = figure.told(value, usual);
        let is_near = value.abs_diff(usual.median) as f64 <= near;
        let outcome = if is_near || outside <= case.limit(times) { Outcome::pass(text) } else { Outcome::warn(0.0, text) };
        outcome.with("outside_iqr", outside)
    })
}

/// Drift shows when recordings of a shift are compared with each other: that is asked of a station, and not of one recording.
pub fn shift_drift(_: &Case) -> Outcome {
    Outcome::not_applicable("drift is that of a shift and not of one recording: the drift of its workstation tells it")
}
