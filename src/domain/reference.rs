//! References: what is usual in good recordings of one procedure, learned from approved episodes and frozen.
//!
//! A reference never changes; another one is made instead, with the next version. Verdicts name the one that they were given with, so what was
//! judged can be judged again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aggregate::events;
use super::figures::{Figure, Usual, figures};
use super::measurement::{Facts, Listed};
use super::refusal::{RefusalCode, Refused};
use super::{Aggregate, EpisodeId, QaReferenceId, RobotTypeId, SopId, Timestamp};

/// Fewer good episodes do not tell what is usual.
pub const EPISODES_MIN: u64 = 20;
/// The newest that one is made from.
pub const EPISODES_MAX: usize = 1000;
pub const TOPICS_MAX: usize = 256;
pub const FIGURES_MAX: usize = 512;

/// What is usual in good recordings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub sop_id: SopId,
    /// Of robots of this type alone; none: of all that record by the procedure.
    pub robot_type_id: Option<RobotTypeId>,
    /// Counted for each procedure and type.
    pub version: u32,
    pub note: Option<String>,
    pub made_from: MadeFrom,
    /// Those that most of these have.
    pub topics: Listed<LearnedTopic>,
    /// Numbers that most of these have.
    pub figures: Listed<LearnedFigure>,
}

/// Which episodes: the newest approved ones of the procedure and type that were measured, at most [`EPISODES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    pub episodes: u64,
    /// The smallest and the largest id among them.
    pub first_episode: EpisodeId,
    pub last_episode: EpisodeId,
    /// Only those that were verified from then on, and until then.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedTopic {
    pub topic: String,
    /// That of most recordings.
    pub message_type: String,
    /// How many recordings have messages of it.
    pub episodes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedFigure {
    #[serde(flatten)]
    pub figure: Figure,
    #[serde(flatten)]
    pub usual: Usual,
}

impl Reference {
    pub fn usual(&self, figure: &Figure) -> Option<&Usual> {
        self.figures.items.iter().find(|learned| learned.figure == *figure).map(|learned| &learned.usual)
    }
}

/// Which one a verdict was given with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedReference {
    pub id: QaReferenceId,
    pub version: u32,
}

/// Hears of recordings one by one, and says what is usual in them.
#[derive(Debug, Default)]
pub struct Learner {
    made_from: MadeFrom,
    figures: BTreeMap<Figure, Vec<i64>>,
    topics: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Learner {
    pub fn hear(&mut self, id: EpisodeId, facts: &Facts) {
        let seen = &mut self.made_from;
        seen.first_episode = if seen.episodes == 0 { id } else { seen.first_episode.min(id) };
        seen.last_episode = seen.last_episode.max(id);
        seen.episodes += 1;
        for (figure, value) in figures(facts) {
            self.figures.entry(figure).or_default().push(value);
        }
        for topic in facts.topics.items.iter().filter(|topic| topic.count > 0) {
            *self.topics.entry(topic.topic.clone()).or_default().entry(topic.message_type.clone()).or_default() += 1;
        }
    }

    pub fn episodes(&self) -> u64 {
        self.made_from.episodes
    }

    /// What was learned, still without a version.
    pub fn learned(self, of: (SopId, Option<RobotTypeId>), between: (Option<Timestamp>, Option<Timestamp>)) -> Reference {
        let episodes = self.made_from.episodes;
        let is_usual = |having: u64| having * 2 >= episodes;
        let topics = self.topics.into_iter().filter_map(|(topic, types)| {
            let having = types.values().sum();
            // Of equally many the first.
            let (message_type, _) = types.into_iter().max_by(|(a, n), (b, m)| n.cmp(m).then(b.cmp(a)))?;
            is_usual(having).then_some(LearnedTopic { topic, message_type, episodes: having })
        });
        let figures = self.figures.into_iter().filter_map(|(figure, values)| {
            let usual = Usual::of(values)?;
            is_usual(usual.episodes).then_some(LearnedFigure { figure, usual })
        });
        Reference {
            sop_id: of.0,
            robot_type_id: of.1,
            version: 0,
            note: None,
            made_from: MadeFrom { from: between.0, to: between.1, ..self.made_from },
            topics: Listed::of(topics, TOPICS_MAX),
            figures: Listed::of(figures, FIGURES_MAX),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QaReference {
    #[default]
    Absent,
    Made(Box<Reference>),
}

#[derive(Clone, Debug)]
pub enum ReferenceCommand {
    Make(Box<Reference>),
}

events! {
    ReferenceEvent {
        ReferenceMade = "reference_made", "1.1" (Box<Reference>),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceRefusal {
    #[error("there is a reference of this id already")]
    Exists,
    #[error("{found} approved episodes were measured, and a reference is made from {EPISODES_MIN} at least")]
    TooFew { found: u64 },
}

impl Refused for ReferenceRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::ReferenceExists,
            Self::TooFew { .. } => RefusalCode::ReferenceTooFew,
        }
    }

    fn values(&self) -> serde_json::Value {
        match self {
            Self::Exists => serde_json::Value::Null,
            Self::TooFew { found } => serde_json::json!({ "approved_count": found, "needed_count": EPISODES_MIN }),
        }
    }
}

impl Aggregate for QaReference {
    const TYPE: &'static str = "qa_reference";
    type Command = ReferenceCommand;
    type Event = ReferenceEvent;
    type Refusal = ReferenceRefusal;

    fn decide(&self, command: ReferenceCommand) -> Result<Vec<ReferenceEvent>, ReferenceRefusal> {
        match (self, command) {
            (Self::Absent, ReferenceCommand::Make(reference)) if reference.made_from.episodes < EPISODES_MIN => {
                Err(ReferenceRefusal::TooFew { found: reference.made_from.episodes })
            }
            (Self::Absent, ReferenceCommand::Make(reference)) => Ok(vec![ReferenceEvent::ReferenceMade(reference)]),
            (Self::Made(_), ReferenceCommand::Make(_)) => Err(ReferenceRefusal::Exists),
        }
    }

    fn evolve(&mut self, event: &ReferenceEvent) {
        let ReferenceEvent::ReferenceMade(reference) = event;
        *self = Self::Made(reference.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Measure;
    use super::super::measurement::TopicFacts;
    use super::*;

    fn recording(seconds: u64, topics: &[(&str, &str)]) -> Facts {
        let topic = |(topic, message_type): &(&str, &str)| TopicFacts {
            topic: (*topic).to_owned(),
            message_type: (*message_type).to_owned(),
            count: 50,
            ..TopicFacts::default()
        };
        Facts {
            message_count: 100,
            end_ns: seconds * 1_000_000_000,
            topics: Listed::of(topics.iter().map(topic), TOPICS_MAX),
            ..Facts::none(1)
        }
    }

    fn learned(many: u64) -> Reference {
        let mut learner = Learner::default();
        for n in 0..many {
            let odd = [("/arm", "other/Type"), ("/once", "std_msgs/String")];
            let usual = [("/arm", "sensor_msgs/JointState"), ("/camera", "sensor_msgs/Image")];
            let i = i64::try_from(n).unwrap();
            learner.hear(EpisodeId(100 - i), &recording(30 + n % 3, if n == 0 { &odd } else { &usual }));
        }
        learner.learned((SopId(3), None), (None, None))
    }

    #[test]
    fn what_most_good_episodes_have_is_learned() {
        let reference = learned(20);
        let made_from = MadeFrom { episodes: 20, first_episode: EpisodeId(81), last_episode: EpisodeId(100), from: None, to: None };
        assert_eq!(reference.made_from, made_from);
        let topics: Vec<_> =
            reference.topics.items.iter().map(|topic| (topic.topic.as_str(), topic.message_type.as_str(), topic.episodes)).collect();
        assert_eq!(topics, [("/arm", "sensor_msgs/JointState", 20), ("/camera", "sensor_msgs/Image", 19)]);
        let length = reference.usual(&Figure::whole(Measure::Length)).unwrap();
        assert_eq!((length.episodes, length.q1, length.median, length.q3), (20, 30_000, 31_000, 32_000));
        assert_eq!(serde_json::from_str::<Reference>(&serde_json::to_string(&reference).unwrap()).unwrap(), reference);
    }

    #[test]
    fn smoothness_of_an_arm_and_where_each_joint_ends_are_learned_from_what_has_them() {
        use super::super::measurement::Joints;
        let mut learner = Learner::default();
        for n in 0..24i64 {
            let mut good = recording(30, &[("/arm", "sensor_msgs/JointState")]);
            let (jerk_milli, end_urad) = (Some(16_000 + n.unsigned_abs() * 10), Listed::of([n * 1000, -500_000], 64));
            // The oldest were measured by an earlier version.
            let joints = if n < 4 {
                Joints { steps: 49, ..Joints::default() }
            } else {
                Joints { steps: 49, jerk_milli, end_urad, ..Joints::default() }
            };
            good.topics.items[0].joints = Some(joints);
            learner.hear(EpisodeId(n), &good);
        }
        let reference = learner.learned((SopId(3), None), (None, None));
        let jerk = reference.usual(&Figure::of(Measure::Jerk, "/arm")).unwrap();
        assert_eq!((jerk.episodes, jerk.q1, jerk.median, jerk.q3, jerk.mad), (20, 16_080, 16_130, 16_180, 50));
        let joint = |joint| reference.usual(&Figure { joint: Some(joint), ..Figure::of(Measure::EndPose, "/arm") });
        let (first, second) = (joint(0).unwrap(), joint(1).unwrap());
        assert_eq!((first.q1, first.median, first.q3, first.mad), (8000, 13_000, 18_000, 5000));
        assert_eq!((second.median, second.mad, joint(2)), (-500_000, 0, None));
        assert_eq!(serde_json::from_str::<Reference>(&serde_json::to_string(&reference).unwrap()).unwrap(), reference);
    }

    #[test]
    fn it_is_made_once_and_of_enough_episodes() {
        let make = |many| ReferenceCommand::Make(Box::new(learned(many)));
        let mut state = QaReference::Absent;
        assert_eq!(state.decide(make(19)), Err(ReferenceRefusal::TooFew { found: 19 }));
        let events = state.decide(make(20)).unwrap();
        events.iter().for_each(|event| state.evolve(event));
        assert_eq!(state, QaReference::Made(Box::new(learned(20))));
        assert_eq!(state.decide(make(20)), Err(ReferenceRefusal::Exists));
    }
}
