//! Numbers of a recording that are compared with those of others: of its length, its rates, how its arms move. What is usual among
//! recordings, and how far one is from that.
//!
//! All are whole numbers, made of facts alone. What facts do not have cannot be compared: those that an earlier version measured have neither jerk
//! nor the pose at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measurement::{Facts, Kind};
use super::words::words;

/// Sensors of one recording that are compared, and pairs of leader and follower.
pub const SENSORS_MAX: usize = 64;

/// Joints of one recording whose pose at the end is compared: those of the first arms by name.
pub const JOINTS_MAX: usize = 128;

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
        /// Log dimensionless jerk of an arm while it moves, in thousandths: more is less smooth.
        Jerk = "jerk",
        /// Where a joint is at the end, in millionths of a radian.
        EndPose = "end_pose",
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
            Self::Jerk => 250.0,
            Self::EndPose => 20_000.0,
        }
    }

    /// A value as a person reads it.
    pub fn told(self, value: i64) -> String {
        let value = value as f64;
        match self {
            Self::Length => format!("{:.1} s", value / 1e3),
            Self::Topics => format!("{value} topics"),
            Self::Rate => format!("{:.1} Hz", value / 1e3),
            Self::StaticShare => format!("{:.1} % of its steps", value / 10.0),
            Self::Jump | Self::Offset | Self::EndPose => format!("{:.3} rad", value / 1e6),
            Self::Jerk => format!("{:.2}", value / 1e3),
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
            Self::Jerk => "moves with a log dimensionless jerk of",
            Self::EndPose => "ends at",
        }
    }
}

/// One number of a recording: of all of it, of a topic, or of one joint of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Figure {
    pub measure: Measure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its place in the messages, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<u32>,
}

impl Figure {
    /// Of all of it.
    pub fn whole(measure: Measure) -> Self {
        Self { measure, topic: None, joint: None }
    }

    pub fn of(measure: Measure, topic: &str) -> Self {
        Self { measure, topic: Some(topic.to_owned()), joint: None }
    }

    /// In words: this value, where that one is usual.
    pub fn told(&self, value: i64, usual: &Usual) -> String {
        let (name, measure) = (self.measure.name(), self.measure);
        let what = match (&self.topic, self.joint) {
            (Some(topic), Some(joint)) => format!("joint {joint} of `{topic}` {name}"),
            (Some(topic), None) => format!("`{topic}` {name}"),
            (None, _) => name.to_owned(),
        };
        format!("{what} {}, usual is {}", measure.told(value), measure.told(usual.median))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The numbers of a recording.
pub fn figures(facts: &Facts) -> BTreeMap<Figure, i64> {
    let mut found = BTreeMap::new();
    if facts.message_count == 0 {
        return found;
    }
    let mut is = |figure, value| {
        found.insert(figure, signed(value));
    };
    is(Figure::whole(Measure::Length), facts.duration_ns() / 1_000_000);
    let counted = facts.topics.items.iter().filter(|topic| topic.count > 0).count() as u64;
    is(Figure::whole(Measure::Topics), counted + facts.topics.cut);
    let sensors = || facts.topics.items.iter().filter(|topic| topic.kind() != Kind::Other).take(SENSORS_MAX);
    for topic in sensors() {
        if let Some(rate) = topic.rate_hz().filter(|_| topic.count >= MESSAGES_MIN) {
            is(Figure::of(Measure::Rate, &topic.topic), (rate * 1e3).round() as u64);
        }
        if let Some(joints) = topic.joints.as_ref().filter(|joints| joints.steps > 0) {
            is(Figure::of(Measure::StaticShare, &topic.topic), joints.idle_steps * 1000 / joints.steps);
            is(Figure::of(Measure::Jump, &topic.topic), joints.jump_urad);
            if let Some(jerk_milli) = joints.jerk_milli {
                is(Figure::of(Measure::Jerk, &topic.topic), jerk_milli);
            }
        }
    }
    for pair in facts.pairs.items.iter().filter(|pair| pair.compared > 0).take(SENSORS_MAX) {
        is(Figure::of(Measure::Lag, &pair.follower), pair.lag_ms);
        if let Some(offset_urad) = pair.offset_urad {
            is(Figure::of(Measure::Offset, &pair.follower), offset_urad);
        }
    }
    let joints = sensors().flat_map(|topic| {
        let ends = topic.joints.iter().flat_map(|joints| (0..).zip(&joints.end_urad.items));
        ends.map(|(joint, end_urad)| (Figure { joint: Some(joint), ..Figure::of(Measure::EndPose, &topic.topic) }, *end_urad))
    });
    found.extend(joints.take(JOINTS_MAX));
    found
}

/// What is usual among recordings: quartiles, and the median distance from the median.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    /// Of how many recordings.
    pub episodes: u64,
    pub q1: i64,
    pub median: i64,
    pub q3: i64,
    pub mad: u64,
}

/// A median distance times this is the deviation of what is spread normally.
const DEVIATION_PER_MAD: f64 = 1.4826;

/// Farther than that is told as that far.
const Z_MAX: f64 = 1000.0;

/// The value below which this many quarters of sorted values are: one that is there.
fn quarter<T: Copy>(sorted: &[T], quarters: usize) -> Option<T> {
    sorted.get(sorted.len().saturating_sub(1) * quarters / 4).copied()
}

impl Usual {
    /// None of no values.
    pub fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        let median = quarter(&values, 2)?;
        let (q1, q3) = (quarter(&values, 1)?, quarter(&values, 3)?);
        let mut distances: Vec<u64> = values.iter().map(|value| value.abs_diff(median)).collect();
        distances.sort_unstable();
        Some(Self { episodes: values.len() as u64, q1, median, q3, mad: quarter(&distances, 2)? })
    }

    /// How far a value is from the median, in deviations that one value among many does not move.
    pub fn z(&self, measure: Measure, value: i64) -> f64 {
        let median = self.median as f64;
        let deviation = (DEVIATION_PER_MAD * self.mad as f64).max(measure.least(median));
        let z = ((value as f64 - median) / deviation).clamp(-Z_MAX, Z_MAX);
        (z * 100.0).round() / 100.0
    }

    /// By how much a value lies outside the quartiles, in their distance from each other; 0 inside of them.
    pub fn outside(&self, measure: Measure, value: i64) -> f64 {
        let between = (self.q3.abs_diff(self.q1) as f64).max(measure.least(self.median as f64));
        let beyond = value.saturating_sub(self.q3).max(self.q1.saturating_sub(value)).max(0);
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
            joints: Some(Joints {
                steps: 500,
                idle_steps: 50,
                jump_urad: 90_000,
                jerk_milli: Some(17_250),
                end_urad: Listed { items: vec![500_000, -20_000], cut: 0 },
                ..Joints::default()
            }),
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
        let found: Vec<_> = figures(&recording()).into_iter().collect();
        let arm = |measure| Figure::of(measure, "/arm");
        let joint = |joint| Figure { joint: Some(joint), ..arm(Measure::EndPose) };
        let expected = [
            (Figure::whole(Measure::Length), 10_000),
            (Figure::whole(Measure::Topics), 2),
            (arm(Measure::Rate), 50_000),
            (arm(Measure::StaticShare), 100),
            (arm(Measure::Jump), 90_000),
            (arm(Measure::Lag), 40),
            (arm(Measure::Offset), 7000),
            (arm(Measure::Jerk), 17_250),
            (joint(0), 500_000),
            (joint(1), -20_000),
        ];
        assert_eq!(found, expected);
        assert!(figures(&Facts::none(1)).is_empty(), "nothing was recorded: there is nothing to compare");
    }

    #[test]
    fn facts_of_an_earlier_version_have_neither_jerk_nor_end() {
        let mut old = recording();
        old.topics.items[0].joints = Some(Joints { steps: 500, ..Joints::default() });
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("jerk_milli") && !text.contains("end_urad"), "{text}");
        let read: Facts = serde_json::from_str(&text).unwrap();
        assert!(figures(&read).keys().all(|figure| !matches!(figure.measure, Measure::Jerk | Measure::EndPose)));
    }

    #[test]
    fn of_many_joints_the_first_are_compared() {
        let mut many = recording();
        many.topics.items[0].joints.as_mut().unwrap().end_urad = Listed::of(0..64, 64);
        let arm = many.topics.items[0].clone();
        many.topics = Listed::of((0..9).map(|n| TopicFacts { topic: format!("/arm{n}"), ..arm.clone() }), TOPICS_MAX);
        let joints: Vec<_> = figures(&many).into_keys().filter(|figure| figure.joint.is_some()).collect();
        assert_eq!(joints.len(), JOINTS_MAX);
        assert!(joints.iter().all(|figure| ["/arm0", "/arm1"].contains(&figure.topic.as_deref().unwrap())), "{joints:?}");
    }

    #[test]
    fn what_is_usual_is_not_moved_by_one_that_is_not() {
        let mut values: Vec<i64> = (0..21).map(|n| 30_000 + n * 100).collect();
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
        assert_eq!((usual.z(Measure::Length, i64::MAX), usual.z(Measure::Length, i64::MIN)), (1000.0, -1000.0));
        assert_eq!((usual.outside(Measure::Length, 31_500), usual.outside(Measure::Length, 33_000)), (0.0, 1.5));
        assert_eq!(usual.outside(Measure::Length, 29_500), 1.0);
        // Below zero, too.
        let below = Usual::of((0..9).map(|n| -1_000_000 + n * 50_000).collect()).unwrap();
        assert_eq!((below.q1, below.median, below.q3, below.mad), (-900_000, -800_000, -700_000, 100_000));
        assert_eq!((below.outside(Measure::EndPose, -1_100_000), below.outside(Measure::EndPose, -850_000)), (1.0, 0.0));
        assert!(below.z(Measure::EndPose, 800_000) > 10.0 && below.outside(Measure::EndPose, i64::MAX) > 1e12);
        // All alike: what hardly differs is no outlier.
        let alike = Usual { episodes: 20, q1: 50_000, median: 50_000, q3: 50_000, mad: 0 };
        assert_eq!((alike.z(Measure::Rate, 50_100), alike.z(Measure::Rate, 45_000)), (0.2, -10.0));
    }

    #[test]
    fn a_person_reads_what_is_unusual() {
        let usual = Usual { episodes: 20, q1: 30_000, median: 31_000, q3: 32_000, mad: 900 };
        let length = Figure::whole(Measure::Length);
        assert_eq!(length.told(92_140, &usual), "the recording takes 92.1 s, usual is 31.0 s");
        assert_eq!(Figure::of(Measure::Rate, "/arm").told(25_000, &usual), "`/arm` comes with 25.0 Hz, usual is 31.0 Hz");
        let joint = Figure { joint: Some(3), ..Figure::of(Measure::EndPose, "/arm") };
        let ends = Usual { q1: -410_000, median: -400_000, q3: -390_000, ..usual };
        assert_eq!(joint.told(250_000, &ends), "joint 3 of `/arm` ends at 0.250 rad, usual is -0.400 rad");
        let jerk = Usual { median: 15_870, ..usual };
        assert_eq!(
            Figure::of(Measure::Jerk, "/arm").told(19_300, &jerk),
            "`/arm` moves with a log dimensionless jerk of 19.30, usual is 15.87"
        );
        for measure in Measure::ALL {
            assert!(Figure::of(*measure, "/arm").told(7, &usual).contains(", usual is "), "{measure:?}");
        }
    }
}
