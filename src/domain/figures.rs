//! Numbers of a recording that are compared with those of others: of its length, its rates, how its arms move. What is usual among
//! recordings, and how far one is from that.
//!
//! All are whole numbers, made of facts alone. What facts do not have cannot be compared: jerk and the pose at the end are not measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measurement::{Facts, Kind};
use super::words::words;

/// Sensors of one recording that are compared, and pairs of leader and follower.
pub const SENSORS_MAX: usize = 64;

/// Fewer messages say nothing about a rate.
const MESSAGES_MIN: u64 = 10;

words! {
    /// What is compared.
    Measure {
        /// Milliseconds from the first message to the last.
        Length = "length",
        /// Topics that have messages.
        Topics = "topics",
        /// Messages of a sensor in a thousand seconds.
        Rate = "rate",
        /// Of a thousand steps of an arm, those in which it stands still.
        StaticShare = "static_share",
        /// The largest step of a joint, in millionths of a radian.
        Jump = "jump",
        /// By how much a follower is later than its leader, in milliseconds.
        Lag = "lag",
        /// How far a follower at rest is from its leader, in millionths of a radian.
        Offset = "offset",
    }
}

words! {
    /// With what recordings are compared.
    Against {
        /// With what is usual in good ones.
        Reference = "reference",
        /// With each other.
        Selection = "selection",
    }
}

impl Measure {
    /// What is no difference, however much alike the others are.
    fn least(self, median: f64) -> f64 {
        match self {
            Self::Length => (median * 0.02).max(100.0),
            Self::Topics => 0.25,
            Self::Rate => (median * 0.01).max(100.0),
            Self::StaticShare => 10.0,
            Self::Jump => (median * 0.05).max(1000.0),
            Self::Lag => 5.0,
            Self::Offset => 1000.0,
        }
    }

    /// A value as a person reads it.
    pub fn told(self, value: u64) -> String {
        let value = value as f64;
        match self {
            Self::Length => format!("{:.1} s", value / 1e3),
            Self::Topics => format!("{value} topics"),
            Self::Rate => format!("{:.1} Hz", value / 1e3),
            Self::StaticShare => format!("{:.1} % of its steps", value / 10.0),
            Self::Jump | Self::Offset => format!("{:.3} rad", value / 1e6),
            Self::Lag => format!("{value} ms"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Length => "the recording takes",
            Self::Topics => "the recording has",
            Self::Rate => "comes with",
            Self::StaticShare => "stands still in",
            Self::Jump => "moves at most",
            Self::Lag => "follows after",
            Self::Offset => "rests off its leader by",
        }
    }
}

/// One number of a recording: of all of it, or of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Figure {
    pub measure: Measure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

impl Figure {
    pub fn of(measure: Measure, topic: &str) -> Self {
        Self { measure, topic: Some(topic.to_owned()) }
    }

    /// In words: this value, where that one is usual.
    pub fn told(&self, value: u64, usual: &Usual) -> String {
        let (name, measure) = (self.measure.name(), self.measure);
        let what = self.topic.as_ref().map_or_else(|| name.to_owned(), |topic| format!("`{topic}` {name}"));
        format!("{what} {}, usual is {}", measure.told(value), measure.told(usual.median))
    }
}

/// The numbers of a recording.
pub fn figures(facts: &Facts) -> BTreeMap<Figure, u64> {
    let whole = |measure| Figure { measure, topic: None };
    let mut found = BTreeMap::new();
    if facts.message_count == 0 {
        return found;
    }
    found.insert(whole(Measure::Length), facts.duration_ns() / 1_000_000);
    let counted = facts.topics.items.iter().filter(|topic| topic.count > 0).count() as u64;
    found.insert(whole(Measure::Topics), counted + facts.topics.cut);
    for topic in facts.topics.items.iter().filter(|topic| topic.kind() != Kind::Other).take(SENSORS_MAX) {
        let rate = topic.rate_hz().filter(|_| topic.count >= MESSAGES_MIN);
        found.extend(rate.map(|rate| (Figure::of(Measure::Rate, &topic.topic), (rate * 1e3).round() as u64)));
        if let Some(joints) = topic.joints.as_ref().filter(|joints| joints.steps > 0) {
            found.insert(Figure::of(Measure::StaticShare, &topic.topic), joints.idle_steps * 1000 / joints.steps);
            found.insert(Figure::of(Measure::Jump, &topic.topic), joints.jump_urad);
        }
    }
    for pair in facts.pairs.items.iter().filter(|pair| pair.compared > 0).take(SENSORS_MAX) {
        found.insert(Figure::of(Measure::Lag, &pair.follower), pair.lag_ms);
        found.extend(pair.offset_urad.map(|offset| (Figure::of(Measure::Offset, &pair.follower), offset)));
    }
    found
}

/// What is usual among recordings: quartiles, and the median distance from the median.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    /// Of how many recordings.
    pub episodes: u64,
    pub q1: u64,
    pub median: u64,
    pub q3: u64,
    pub mad: u64,
}

/// A median distance times this is the deviation of what is spread normally.
const DEVIATION_PER_MAD: f64 = 1.4826;

/// Farther than that is told as that far.
const Z_MAX: f64 = 1000.0;

/// The value below which this many quarters of sorted values are: one that is there.
fn quarter(sorted: &[u64], quarters: usize) -> Option<u64> {
    sorted.get(sorted.len().saturating_sub(1) * quarters / 4).copied()
}

impl Usual {
    /// None of no values.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let median = quarter(&values, 2)?;
        let (q1, q3) = (quarter(&values, 1)?, quarter(&values, 3)?);
        let episodes = values.len() as u64;
        values.iter_mut().for_each(|value| *value = value.abs_diff(median));
        values.sort_unstable();
        Some(Self { episodes, q1, median, q3, mad: quarter(&values, 2)? })
    }

    /// How far a value is from the median, in deviations that one value among many does not move.
    pub fn z(&self, measure: Measure, value: u64) -> f64 {
        let median = self.median as f64;
        let deviation = (DEVIATION_PER_MAD * self.mad as f64).max(measure.least(median));
        let z = ((value as f64 - median) / deviation).clamp(-Z_MAX, Z_MAX);
        (z * 100.0).round() / 100.0
    }

    /// By how much a value lies outside the quartiles, in their distance from each other; 0 inside of them.
    pub fn outside(&self, measure: Measure, value: u64) -> f64 {
        let between = ((self.q3 - self.q1) as f64).max(measure.least(self.median as f64));
        let beyond = value.saturating_sub(self.q3).max(self.q1.saturating_sub(value));
        beyond as f64 / between
    }
}

#[cfg(test)]
mod tests {
    use super::super::measurement::{Joints, Listed, PAIRS_MAX, PairFacts, TOPICS_MAX, Timing, TopicFacts};
    use super::*;

    fn recording() -> Facts {
        let arm = TopicFacts {
            topic: "/arm".into(),
            message_type: "sensor_msgs/JointState".into(),
            count: 501,
            timing: Some(Timing { first_ns: 0, last_ns: 10_000_000_000, ..Timing::default() }),
            joints: Some(Joints { steps: 500, idle_steps: 50, jump_urad: 90_000, ..Joints::default() }),
            ..TopicFacts::default()
        };
        let note = TopicFacts { topic: "/note".into(), message_type: "std_msgs/String".into(), count: 3, ..TopicFacts::default() };
        let silent = TopicFacts { count: 0, ..note.clone() };
        let pair = PairFacts { follower: "/arm".into(), compared: 9, lag_ms: 40, offset_urad: Some(7000), ..PairFacts::default() };
        Facts {
            message_count: 504,
            end_ns: 10_000_000_000,
            topics: Listed::of([arm, note, silent], TOPICS_MAX),
            pairs: Listed::of([pair], PAIRS_MAX),
            ..Facts::none(1)
        }
    }

    #[test]
    fn a_recording_has_its_length_and_how_its_sensors_come_and_move() {
        let found: Vec<_> = figures(&recording()).into_iter().map(|(figure, value)| (figure.measure, figure.topic, value)).collect();
        let arm = Some("/arm".to_owned());
        let expected = [
            (Measure::Length, None, 10_000),
            (Measure::Topics, None, 2),
            (Measure::Rate, arm.clone(), 50_000),
            (Measure::StaticShare, arm.clone(), 100),
            (Measure::Jump, arm.clone(), 90_000),
            (Measure::Lag, arm.clone(), 40),
            (Measure::Offset, arm, 7000),
        ];
        assert_eq!(found, expected);
        assert!(figures(&Facts::none(1)).is_empty(), "nothing was recorded: there is nothing to compare");
    }

    #[test]
    fn what_is_usual_is_not_moved_by_one_that_is_not() {
        let mut values: Vec<u64> = (0..21).map(|n| 30_000 + n * 100).collect();
        let usual = Usual::of(values.clone()).unwrap();
        assert_eq!(usual, Usual { episodes: 21, q1: 30_500, median: 31_000, q3: 31_500, mad: 500 });
        values[0] = 3_000_000;
        let moved = Usual::of(values).unwrap();
        assert!(moved.median.abs_diff(usual.median) <= 100 && moved.mad.abs_diff(usual.mad) <= 100, "{moved:?}");
        assert_eq!(Usual::of(vec![]), None);
    }

    #[test]
    fn distance_is_counted_in_deviations_and_ends_somewhere() {
        let usual = Usual { episodes: 21, q1: 30_500, median: 31_000, q3: 31_500, mad: 500 };
        assert_eq!(usual.z(Measure::Length, 31_000), 0.0);
        assert_eq!((usual.z(Measure::Length, 31_741), usual.z(Measure::Length, 30_259)), (1.0, -1.0));
        assert_eq!(usual.z(Measure::Length, u64::MAX), 1000.0);
        assert_eq!((usual.outside(Measure::Length, 31_500), usual.outside(Measure::Length, 33_000)), (0.0, 1.5));
        assert_eq!(usual.outside(Measure::Length, 29_500), 1.0);
        // All alike: what hardly differs is no outlier.
        let alike = Usual { episodes: 20, q1: 50_000, median: 50_000, q3: 50_000, mad: 0 };
        assert_eq!((alike.z(Measure::Rate, 50_100), alike.z(Measure::Rate, 45_000)), (0.2, -10.0));
    }

    #[test]
    fn a_person_reads_what_is_unusual() {
        let usual = Usual { episodes: 20, q1: 30_000, median: 31_000, q3: 32_000, mad: 900 };
        let length = Figure { measure: Measure::Length, topic: None };
        assert_eq!(length.told(92_140, &usual), "the recording takes 92.1 s, usual is 31.0 s");
        assert_eq!(Figure::of(Measure::Rate, "/arm").told(25_000, &usual), "`/arm` comes with 25.0 Hz, usual is 31.0 Hz");
        for measure in Measure::ALL {
            assert!(Figure::of(*measure, "/arm").told(7, &usual).contains(", usual is "), "{measure:?}");
        }
    }
}
