//! Rates, gaps and order, by the log times of each topic.

use super::case::{Case, Followed, Outcome, millis};
use crate::domain::measurement::{Intervals, Kind, Tier, Timing};

const NO_TIMES: &str = "no sensor or wanted topic with times";

/// What a check says of each topic with intervals.
fn each_interval<'a>(case: &Case<'a>, of: impl Fn(&Followed<'a>, &'a Intervals) -> Option<Outcome>) -> Outcome {
    let each = case.regular().filter_map(|topic| of(&topic, topic.facts.timing.as_ref()?.intervals.as_ref()?));
    Outcome::worst(each, NO_TIMES)
}

pub fn rate(case: &Case) -> Outcome {
    let each = case.regular().filter_map(|topic| {
        let (nominal, rate) = (topic.nominal_hz?, topic.facts.rate_hz()?);
        let off = (rate / nominal - 1.0).abs();
        let text = format!("`{}` comes {rate:.2} times a second, {nominal} are wanted", topic.facts.topic);
        Some(Outcome::at_most(off, case.limit("pass_share"), case.limit("fail_share"), text).with("rate_hz", rate))
    });
    Outcome::worst(each, "no topic has a rate that the task wants")
}

pub fn completeness(case: &Case) -> Outcome {
    let each = case.regular().filter_map(|topic| {
        let share = topic.facts.completeness(topic.nominal_hz?)?;
        let good = if topic.facts.kind() == Kind::Camera { case.limit("camera_pass") } else { case.limit("joints_pass") };
        let text = format!("{:.1} % of the messages of `{}` are there", share * 100.0, topic.facts.topic);
        Some(Outcome::at_least(share, good, case.limit("fail"), text).with("completeness", share))
    });
    Outcome::worst(each, "no topic has a rate that the task wants")
}

pub fn max_gap(case: &Case) -> Outcome {
    each_interval(case, |topic, intervals| {
        let longest = millis(intervals.longest_ns);
        let good = case.limit("pass_ms").max(case.limit("pass_periods") * topic.period_ms()?);
        let at = intervals.gaps.items.first().map_or(String::new(), |gap| format!(", from {} to {}", gap.from_ns, gap.to_ns));
        let text = format!("the longest gap of `{}` has {longest:.1} ms{at}", topic.facts.topic);
        Some(Outcome::at_most(longest, good, case.limit("fail_ms").max(good), text).with("longest_ms", longest))
    })
}

pub fn jitter(case: &Case) -> Outcome {
    each_interval(case, |topic, intervals| {
        let periods = millis(intervals.p99_ns) / topic.period_ms().filter(|period| *period > 0.0)?;
        let text =
            format!("one of a hundred intervals of `{}` has {:.1} ms, {periods:.1} periods", topic.facts.topic, millis(intervals.p99_ns));
        Some(Outcome::at_most(periods, case.limit("pass_periods"), case.limit("fail_periods"), text).with("periods", periods))
    })
}

pub fn late_share(case: &Case) -> Outcome {
    each_interval(case, |topic, intervals| {
        let share = intervals.late as f64 / (topic.facts.count.max(2) - 1) as f64;
        let text = format!("{:.2} % of the intervals of `{}` are longer than one and a half as usual", share * 100.0, topic.facts.topic);
        Some(Outcome::at_most(share, case.limit("pass_share"), case.limit("fail_share"), text).with("share", share))
    })
}

pub fn missing_run(case: &Case) -> Outcome {
    each_interval(case, |topic, intervals| {
        let period = topic.period_ms().filter(|period| *period > 0.0)?;
        let missing = (millis(intervals.longest_ns) / period - 1.0).round().max(0.0);
        let text = format!("{missing} messages of `{}` in a row are missing at most", topic.facts.topic);
        Some(Outcome::at_most(missing, case.limit("pass"), case.limit("fail"), text).with("missing", missing))
    })
}

pub fn continuity(case: &Case) -> Outcome {
    each_interval(case, |topic, intervals| {
        let span = topic.facts.timing.as_ref().map(Timing::span_ns).filter(|span| *span > 0)?;
        let share = 1.0 - intervals.late_ns as f64 / span as f64;
        let text = format!("gaps leave {:.1} % of the time of `{}`", share * 100.0, topic.facts.topic);
        Some(Outcome::at_least(share, case.limit("pass"), case.limit("fail"), text).with("continuity", share))
    })
}

fn each_timing<'a>(case: &Case<'a>, of: impl Fn(&Followed<'a>, &'a Timing) -> Outcome) -> Outcome {
    if !case.read_to(Tier::Indexes) {
        return Outcome::not_applicable("message indexes were not read");
    }
    Outcome::worst(case.followed().filter_map(|topic| topic.facts.timing.as_ref().map(|timing| of(&topic, timing))), NO_TIMES)
}

pub fn monotonic(case: &Case) -> Outcome {
    each_timing(case, |topic, timing| {
        let share = timing.backward as f64 / topic.facts.count.max(1) as f64;
        let text = match timing.backward {
            0 => "within each topic times go up".to_owned(),
            backward => format!("{backward} messages of `{}` are earlier than the one before", topic.facts.topic),
        };
        Outcome::at_most(share, 0.0, case.limit("fail_share"), text).with("backward", timing.backward)
    })
}

pub fn equal_times(case: &Case) -> Outcome {
    each_timing(case, |topic, timing| match timing.equal {
        0 => Outcome::pass("no two messages of a topic have the same time"),
        equal => {
            let share = equal as f64 / topic.facts.count.max(1) as f64;
            Outcome::warn(1.0 - share, format!("{equal} messages of `{}` have the time of the one before", topic.facts.topic))
        }
    })
}

pub fn sequence_drop(case: &Case) -> Outcome {
    let each = case.followed().filter_map(|topic| {
        let sequence = topic.facts.sequence.filter(|sequence| !sequence.all_zero)?;
        let share = sequence.missing as f64 / topic.facts.count.saturating_add(sequence.missing).max(1) as f64;
        let text =
            format!("{} numbers of `{}` are missing, and {} times it went back", sequence.missing, topic.facts.topic, sequence.resets);
        Some(if share <= case.limit("pass_share") && sequence.resets == 0 { Outcome::pass(text) } else { Outcome::warn(1.0 - share, text) })
    });
    Outcome::worst(each, "the recorder gives no numbers")
}

pub fn latency(case: &Case) -> Outcome {
    let each = case.followed().filter_map(|topic| {
        let latency = topic.facts.latency.filter(|latency| (latency.min_ns, latency.max_ns) != (0, 0))?;
        let p99 = millis(latency.p99_ns);
        let text = format!(
            "`{}` was logged {:.1} to {:.1} ms after it was published",
            topic.facts.topic,
            latency.min_ns as f64 / 1e6,
            latency.max_ns as f64 / 1e6
        );
        let sound = latency.negative == 0 && p99 <= case.limit("pass_ms");
        Some(if sound { Outcome::pass(text) } else { Outcome::warn(0.0, text) }.with("p99_ms", p99))
    });
    Outcome::worst(each, "log time and publish time are the same")
}

pub fn header_stamp(case: &Case) -> Outcome {
    let each = case.followed().filter_map(|topic| {
        let p99 = millis(topic.facts.stamp?.p99_ns);
        let text = format!("stamps of `{}` are {p99:.1} ms away from its log times", topic.facts.topic);
        Some(if p99 <= case.limit("pass_ms") { Outcome::pass(text) } else { Outcome::warn(0.0, text) }.with("p99_ms", p99))
    });
    Outcome::worst(each, "no stamps were read")
}

pub fn sync_skew(case: &Case) -> Outcome {
    let each = case.facts.sync.items.iter().map(|sync| {
        let p95 = millis(sync.p95_ns);
        let text = format!("images of `{}` are {p95:.1} ms away from `{}`, but for one of twenty", sync.camera, sync.state);
        let outcome = if p95 <= case.limit("pass_ms") { Outcome::pass(text) } else { Outcome::warn(0.0, text) };
        outcome.with("p95_ms", p95)
    });
    Outcome::worst(each, "there is no camera beside states")
}
