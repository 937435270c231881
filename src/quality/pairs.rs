//! Leaders and followers: whether there are as many actions as states, and how well one follows the other.

use super::case::{Case, Outcome, seconds};
use crate::domain::measurement::{PairFacts, Timing, TopicFacts};

fn each_pair<'a>(case: &Case<'a>, of: impl Fn(&'a PairFacts) -> Option<Outcome>) -> Outcome {
    Outcome::worst(case.facts.pairs.items.iter().filter_map(of), "no topics of joints lead and follow by their names")
}

/// Topics of joints whose rates differ by more are not meant to come equally often.
const RATES_EQUAL: std::ops::RangeInclusive<f64> = 0.8..=1.25;

pub fn action_state(case: &Case) -> Outcome {
    let topic = |name: &str| case.facts.topics.items.iter().find(|topic| topic.topic == name);
    let last = |topic: &TopicFacts| topic.timing.as_ref().map(|timing: &Timing| timing.last_ns);
    each_pair(case, |pair| {
        let (actions, states) = (topic(&pair.leader)?, topic(&pair.follower)?);
        if !RATES_EQUAL.contains(&(actions.rate_hz()? / states.rate_hz()?)) {
            return None;
        }
        let off = actions.count.abs_diff(states.count) as f64 / states.count.max(1) as f64;
        let behind = seconds(last(actions)?.saturating_sub(last(states)?));
        let text = format!(
            "{} messages of `{}`, {} of `{}`, the last {behind:.3} s behind the last state",
            actions.count, actions.topic, states.count, states.topic
        );
        let sound = off <= case.limit("pass_share") && behind <= case.limit("behind_s");
        Some(if sound { Outcome::pass(text) } else { Outcome::warn(0.0, text) }.with("share", off))
    })
}

pub fn lead_follow(case: &Case) -> Outcome {
    each_pair(case, |pair| {
        let error = pair.p95_urad as f64 / 1e6;
        let text = format!(
            "`{}` follows {} ms behind `{}` and is {error:.3} rad away then, but for one of twenty",
            pair.follower, pair.lag_ms, pair.leader
        );
        let sound = error <= case.limit("pass_rad") && pair.lag_ms as f64 <= case.limit("lag_ms");
        let outcome = if sound { Outcome::pass(text) } else { Outcome::warn(0.5, text) };
        (pair.compared > 0).then(|| outcome.with("p95_rad", error).with("lag_ms", pair.lag_ms))
    })
}

pub fn leader_offset(case: &Case) -> Outcome {
    let each = case.facts.pairs.items.iter().filter_map(|pair| {
        let offset = pair.offset_urad.filter(|_| pair.quiet as f64 >= case.limit("quiet_min"))? as f64 / 1e6;
        let text = format!("where both stand still, `{}` is {offset:.3} rad away from `{}`", pair.follower, pair.leader);
        Some(if offset <= case.limit("pass_rad") { Outcome::pass(text) } else { Outcome::warn(0.5, text) }.with("offset_rad", offset))
    });
    Outcome::worst(each, "no leader and follower stand still for long enough")
}
