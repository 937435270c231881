//! What is missing in a recording, and a guess of why: from facts, and nothing else.
//!
//! An interval is missing where a topic that is followed says nothing for three periods and 200 ms at least, or for a second at the
//! recording's beginning or end. Facts list the ten longest intervals of a topic; shorter ones behind them are not here.

use super::judgement::TaskWants;
use super::measurement::{Facts, Gap, Kind, SidecarFacts, TopicFacts};
use super::pattern;
use super::words::words;

words! {
    /// Why messages are missing, as far as one can guess.
    GapCause {
        /// All topics at once: nothing was written.
        Disk = "disk",
        /// One topic alone.
        Sensor = "sensor",
        /// As many as the recorder counted dropped.
        Queue = "queue",
        Unknown = "unknown",
    }
}

/// A topic said nothing for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingInterval {
    pub topic: String,
    pub from_ns: u64,
    pub to_ns: u64,
    /// Messages that would have come, by how often they mostly come.
    pub messages: u64,
    pub cause: GapCause,
}

/// Of one episode, the longest ones.
pub const MISSING_MAX: usize = 256;

const SHORTEST_NS: u64 = 200_000_000;
const PERIODS: u64 = 3;
/// Topics begin and end a little later and earlier than each other.
const AT_ENDS_NS: u64 = 1_000_000_000;
/// Fewer messages say nothing about a rate.
const MESSAGES_MIN: u64 = 10;
/// An interval of another topic is the same one where they share so much of the shorter, in percent.
const SHARED_PERCENT: u64 = 50;
/// Dropped ones are as many as missing ones where they differ by so much at most, in percent.
const COUNTED_PERCENT: u64 = 10;

/// A topic that is followed, and where it is silent.
struct Followed<'a> {
    facts: &'a TopicFacts,
    period_ns: u64,
    silent: Vec<Gap>,
}

impl Followed<'_> {
    fn shortest_ns(&self) -> u64 {
        SHORTEST_NS.max(self.period_ns.saturating_mul(PERIODS))
    }

    fn messages(&self, gap: &Gap) -> u64 {
        (gap.length_ns() + self.period_ns / 2) / self.period_ns.max(1)
    }

    /// Of an interval between two messages one fewer is missing than there are periods.
    fn missing(&self, gap: &Gap) -> u64 {
        let between = self.facts.timing.as_ref().is_some_and(|timing| gap.from_ns >= timing.first_ns && gap.to_ns <= timing.last_ns);
        self.messages(gap).saturating_sub(u64::from(between))
    }

    /// Whether it would be silent, too, if nothing was written then: one that comes seldom says nothing of short intervals.
    fn could_tell(&self, gap: &Gap) -> bool {
        gap.length_ns() >= self.shortest_ns().saturating_mul(2)
    }

    fn is_silent_at(&self, gap: &Gap) -> bool {
        self.silent.iter().any(|own| {
            let shared = own.to_ns.min(gap.to_ns).saturating_sub(own.from_ns.max(gap.from_ns));
            shared.saturating_mul(100) >= own.length_ns().min(gap.length_ns()).saturating_mul(SHARED_PERCENT)
        })
    }
}

/// Sensors, and what the task wants, where their rate is known.
fn followed<'a>(facts: &'a Facts, wants: &'a TaskWants) -> impl Iterator<Item = Followed<'a>> {
    facts.topics.items.iter().filter_map(move |topic| {
        let wanted = wants.topics.iter().find(|wanted| pattern::matches(&wanted.topic, &topic.topic));
        let timing = topic.timing.as_ref().filter(|_| topic.count >= MESSAGES_MIN && (wanted.is_some() || topic.kind() != Kind::Other))?;
        let intervals = timing.intervals.as_ref()?;
        let nominal = wanted.and_then(|wanted| wanted.rate_hz).filter(|rate| *rate > 0.0).map(|rate| (1e9 / rate) as u64);
        let mut one = Followed { facts: topic, period_ns: nominal.unwrap_or(intervals.median_ns).max(1), silent: vec![] };
        let shortest = one.shortest_ns();
        let inner = intervals.gaps.items.iter().filter(|gap| gap.length_ns() > shortest).copied();
        let ends = [Gap { from_ns: facts.start_ns, to_ns: timing.first_ns }, Gap { from_ns: timing.last_ns, to_ns: facts.end_ns }];
        let ends = ends.into_iter().filter(|gap| gap.length_ns() > shortest.max(AT_ENDS_NS));
        one.silent = inner.chain(ends).collect();
        Some(one)
    })
}

/// How many messages the recorder says that it dropped; the largest of its counters of that.
fn dropped(facts: &Facts) -> u64 {
    let Some(SidecarFacts::Read(says)) = &facts.sidecar else { return 0 };
    let counts = says.writer_trouble.items.iter().filter_map(|trouble| {
        let (name, count) = trouble.rsplit_once(' ')?;
        ["drop", "overflow"].iter().any(|word| name.contains(word)).then(|| count.parse().ok()).flatten()
    });
    counts.max().unwrap_or(0)
}

fn is_as_many(dropped: u64, missing: u64, intervals: usize) -> bool {
    let tolerated = (dropped.saturating_mul(COUNTED_PERCENT) / 100).max(intervals as u64);
    dropped > 0 && missing > 0 && missing.abs_diff(dropped) <= tolerated
}

/// The longest intervals in which messages are missing, longest first, and how many more there are.
pub fn missing_intervals(facts: &Facts, wants: &TaskWants) -> (Vec<MissingInterval>, usize) {
    let topics: Vec<Followed<'_>> = followed(facts, wants).collect();
    let missing_of = |topic: &Followed<'_>| topic.silent.iter().map(|gap| topic.missing(gap)).sum::<u64>();
    let (dropped, intervals) = (dropped(facts), topics.iter().map(|topic| topic.silent.len()).sum());
    let all_dropped = is_as_many(dropped, topics.iter().map(missing_of).sum(), intervals);
    let mut found = vec![];
    for (n, topic) in topics.iter().enumerate() {
        let queue = all_dropped || is_as_many(dropped, missing_of(topic), topic.silent.len());
        for gap in &topic.silent {
            let others = || topics.iter().enumerate().filter(|(other, witness)| *other != n && witness.could_tell(gap));
            let (witnesses, silent) = (others().count(), others().filter(|(_, witness)| witness.is_silent_at(gap)).count());
            let cause = match (queue, witnesses, silent) {
                (true, ..) => GapCause::Queue,
                (false, 0, _) => GapCause::Unknown,
                (false, witnesses, silent) if witnesses == silent => GapCause::Disk,
                (false, _, 0) => GapCause::Sensor,
                (false, ..) => GapCause::Unknown,
            };
            let (from_ns, to_ns, messages) = (gap.from_ns, gap.to_ns, topic.missing(gap));
            found.push(MissingInterval { topic: topic.facts.topic.clone(), from_ns, to_ns, messages, cause });
        }
    }
    found.sort_by_key(|missing| (std::cmp::Reverse(missing.to_ns - missing.from_ns), missing.from_ns));
    let more = found.len().saturating_sub(MISSING_MAX);
    found.truncate(MISSING_MAX);
    (found, more)
}

#[cfg(test)]
mod tests {
    use super::super::judgement::WantedTopic;
    use super::super::measurement::{Intervals, Listed, SidecarSays, Timing};
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_795_204_387_000_000_000;
    const END: u64 = START + 10_000 * MS;

    /// A topic that comes so often from the beginning to the end, but for these intervals, in milliseconds from the beginning.
    fn topic(name: &str, period_ms: u64, silent: &[(u64, u64)]) -> TopicFacts {
        let gaps = silent.iter().map(|(from, to)| Gap { from_ns: START + from * MS, to_ns: START + to * MS });
        let intervals = Intervals { median_ns: period_ms * MS, gaps: Listed::of(gaps, 10), ..Intervals::default() };
        TopicFacts {
            topic: name.into(),
            message_type: "sensor_msgs/JointState".into(),
            count: 100,
            timing: Some(Timing { first_ns: START, last_ns: END, intervals: Some(intervals), ..Timing::default() }),
            ..TopicFacts::default()
        }
    }

    fn facts(topics: Vec<TopicFacts>) -> Facts {
        Facts { start_ns: START, end_ns: END, topics: Listed::of(topics, 256), ..Facts::none(1) }
    }

    fn causes(facts: &Facts) -> Vec<(String, u64, GapCause)> {
        let (found, _) = missing_intervals(facts, &TaskWants::default());
        found.into_iter().map(|missing| (missing.topic, (missing.from_ns - START) / MS, missing.cause)).collect()
    }

    fn telling(trouble: &str, facts: Facts) -> Facts {
        let says = SidecarSays { writer_trouble: Listed::of([trouble.to_owned()], 10), ..SidecarSays::default() };
        Facts { sidecar: Some(SidecarFacts::Read(says)), ..facts }
    }

    #[test]
    fn all_topics_at_once_are_the_disk_and_one_alone_is_its_sensor() {
        use GapCause::{Disk, Sensor, Unknown};
        let three =
            |b: &[(u64, u64)], c: &[(u64, u64)]| facts(vec![topic("/a", 10, &[(3000, 5000)]), topic("/b", 20, b), topic("/c", 50, c)]);
        let of = |name: &str, from, cause| (name.to_owned(), from, cause);
        assert_eq!(causes(&three(&[], &[])), [of("/a", 3000, Sensor)]);
        let all = three(&[(3010, 5010)], &[(2990, 4990)]);
        assert_eq!(causes(&all), [of("/c", 2990, Disk), of("/a", 3000, Disk), of("/b", 3010, Disk)]);
        // Two of three: neither.
        assert_eq!(causes(&three(&[(3010, 5010)], &[])), [of("/a", 3000, Unknown), of("/b", 3010, Unknown)]);
        // At another time: each its own.
        assert_eq!(causes(&three(&[(7000, 8000)], &[])), [of("/a", 3000, Sensor), of("/b", 7000, Sensor)]);
        // Without another topic nothing tells them apart.
        assert_eq!(causes(&facts(vec![topic("/a", 10, &[(3000, 5000)])])), [of("/a", 3000, Unknown)]);
        // One that comes once in a second cannot tell whether anything was written for half a second.
        let slow = facts(vec![topic("/a", 10, &[(3000, 3500)]), topic("/slow", 1000, &[])]);
        assert_eq!(causes(&slow), [of("/a", 3000, Unknown)]);
    }

    #[test]
    fn as_many_as_the_recorder_dropped_were_lost_in_its_queue() {
        let gaps = || facts(vec![topic("/a", 10, &[(3000, 4000)]), topic("/b", 10, &[(7000, 7500)])]);
        // 99 and 49 are missing.
        for (trouble, expected) in [
            ("messages_dropped 148", [GapCause::Queue, GapCause::Queue]),
            ("queue_overflows 150", [GapCause::Queue, GapCause::Queue]),
            ("messages_dropped 99", [GapCause::Queue, GapCause::Sensor]),
            ("messages_dropped 20", [GapCause::Sensor, GapCause::Sensor]),
            ("write_failures 148", [GapCause::Sensor, GapCause::Sensor]),
            ("messages_dropped true", [GapCause::Sensor, GapCause::Sensor]),
        ] {
            let found: Vec<GapCause> = causes(&telling(trouble, gaps())).into_iter().map(|(.., cause)| cause).collect();
            assert_eq!(found, expected, "{trouble}");
        }
    }

    #[test]
    fn an_interval_is_missing_from_three_periods_on_and_at_the_ends_from_a_second_on() {
        let found = |facts: &Facts, wants: &TaskWants| {
            let (found, _) = missing_intervals(facts, wants);
            found.into_iter().map(|missing| (missing.from_ns - START, missing.messages)).collect::<Vec<_>>()
        };
        let none = TaskWants::default();
        assert_eq!(found(&facts(vec![topic("/a", 10, &[(3000, 3200)])]), &none), []);
        assert_eq!(found(&facts(vec![topic("/a", 10, &[(3000, 3201)])]), &none), [(3000 * MS, 19)]);
        assert_eq!(found(&facts(vec![topic("/a", 100, &[(3000, 3300)])]), &none), []);
        // A rate that is wanted counts more than what mostly comes.
        let wants = TaskWants { topics: vec![WantedTopic { topic: "/a".into(), rate_hz: Some(100.0) }], ..TaskWants::default() };
        assert_eq!(found(&facts(vec![topic("/a", 100, &[(3000, 3300)])]), &wants), [(3000 * MS, 29)]);

        let mut ends = topic("/a", 10, &[]);
        let timing = ends.timing.as_mut().unwrap();
        (timing.first_ns, timing.last_ns) = (START + 900 * MS, END - 1100 * MS);
        assert_eq!(found(&facts(vec![ends]), &none), [(8900 * MS, 110)]);

        // What nobody follows, and what says too little, is not asked.
        let other = TopicFacts { message_type: "std_msgs/String".into(), ..topic("/a", 10, &[(3000, 5000)]) };
        let few = TopicFacts { count: 9, ..topic("/b", 10, &[(3000, 5000)]) };
        assert_eq!(found(&facts(vec![other.clone(), few]), &none), []);
        assert_eq!(found(&facts(vec![other]), &wants), [(3000 * MS, 199)]);
    }

    #[test]
    fn the_longest_are_kept_and_the_rest_is_counted() {
        let silent: Vec<(u64, u64)> = (0..10).map(|n| (n * 1000, n * 1000 + 300 + n)).collect();
        let topics = (0..30).map(|n| topic(&format!("/t{n}"), 10, &silent)).collect();
        let (found, more) = missing_intervals(&facts(topics), &TaskWants::default());
        assert_eq!((found.len(), more), (MISSING_MAX, 300 - MISSING_MAX));
        assert!(found.is_sorted_by_key(|missing| std::cmp::Reverse(missing.to_ns - missing.from_ns)));
        assert_eq!(found[0].to_ns - found[0].from_ns, 309 * MS);
    }
}
