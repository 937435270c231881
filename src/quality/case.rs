//! What a check looks at, and what it says.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::figures::Figure;
use crate::domain::judgement::{Grade, TaskWants, WantedTopic};
use crate::domain::measurement::{Facts, Kind, Tier, TopicFacts};
use crate::domain::operator_word::OperatorWord;
use crate::domain::pattern;
use crate::domain::reference::Reference;

/// What one check says.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub result: Grade,
    /// 0 to 1. Of what is not applicable it is not looked at.
    pub score: f64,
    pub details: String,
    pub numbers: BTreeMap<String, Value>,
}

impl Outcome {
    fn of(result: Grade, score: f64, details: impl Into<String>) -> Self {
        Self { result, score, details: details.into(), numbers: BTreeMap::new() }
    }

    pub fn pass(details: impl Into<String>) -> Self {
        Self::of(Grade::Pass, 1.0, details)
    }

    pub fn warn(score: f64, details: impl Into<String>) -> Self {
        Self::of(Grade::Warn, score, details)
    }

    pub fn fail(details: impl Into<String>) -> Self {
        Self::of(Grade::Fail, 0.0, details)
    }

    pub fn not_applicable(why: impl Into<String>) -> Self {
        Self::of(Grade::NotApplicable, 0.0, why)
    }

    /// It should have been looked at, and could not be: a person looks.
    pub fn not_done(why: impl Into<String>) -> Self {
        Self::of(Grade::NotDone, 0.0, why)
    }

    pub fn with(mut self, name: &str, number: impl Into<Value>) -> Self {
        self.numbers.insert(name.to_owned(), number.into());
        self
    }

    /// Of a value that should not be above `good` and must not be above `bad`: passes, warns, fails; in between the score falls.
    pub fn at_most(value: f64, good: f64, bad: f64, details: String) -> Self {
        if value <= good {
            Self::pass(details)
        } else if value <= bad {
            Self::warn((bad - value) / (bad - good), details)
        } else {
            Self::fail(details)
        }
    }

    /// The same the other way round.
    pub fn at_least(value: f64, good: f64, bad: f64, details: String) -> Self {
        Self::at_most(-value, -good, -bad, details)
    }

    /// Whether it has a score.
    pub fn counts(&self) -> bool {
        !matches!(self.result, Grade::NotApplicable | Grade::NotDone)
    }

    fn rank(&self) -> (u8, f64) {
        let result = match self.result {
            Grade::Fail => 0,
            Grade::Warn => 1,
            Grade::Pass => 2,
            Grade::NotApplicable | Grade::NotDone => 3,
        };
        (result, self.score)
    }

    /// The worst of what a check says of several topics; of equal ones the first.
    pub fn worst(outcomes: impl IntoIterator<Item = Self>, none: &str) -> Self {
        let worse = |worst: Self, next: Self| if next.rank() < worst.rank() { next } else { worst };
        outcomes.into_iter().reduce(worse).unwrap_or_else(|| Self::not_applicable(none))
    }
}

/// A wanted topic is a name, or its beginning and `*`.
pub fn is_wanted(wanted: &WantedTopic, topic: &str) -> bool {
    pattern::matches(&wanted.topic, topic)
}

/// Whether an earlier episode has the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin<'a> {
    NotLookedFor,
    Nowhere,
    /// The id that people see.
    Earlier(&'a str),
}

impl<'a> Twin<'a> {
    /// Of what was found where it was looked for.
    pub fn found(episode: Option<&'a str>) -> Self {
        episode.map_or(Self::Nowhere, Self::Earlier)
    }
}

/// One recording before one check.
pub struct Case<'a> {
    pub facts: &'a Facts,
    /// Its numbers that are compared with those of others; none where there is no reference.
    pub figures: &'a BTreeMap<Figure, i64>,
    pub wants: &'a TaskWants,
    /// The last word of the operator.
    pub word: Option<&'a OperatorWord>,
    /// What is usual in good recordings of the same procedure.
    pub reference: Option<&'a Reference>,
    /// Another episode with the same content.
    pub twin: Twin<'a>,
    pub limits: &'a BTreeMap<String, f64>,
    pub defaults: &'static [(&'static str, f64)],
}

/// A topic that is followed, and how often it should come.
pub struct Followed<'a> {
    pub facts: &'a TopicFacts,
    pub nominal_hz: Option<f64>,
}

impl Followed<'_> {
    /// Between two messages, in milliseconds: as the task has it, or as it mostly is.
    pub fn period_ms(&self) -> Option<f64> {
        let median = || Some(self.facts.timing.as_ref()?.intervals.as_ref()?.median_ns as f64 / 1e6);
        self.nominal_hz.filter(|rate| *rate > 0.0).map(|rate| 1e3 / rate).or_else(median)
    }
}

/// Fewer messages say nothing about a rate.
const MESSAGES_MIN: u64 = 10;

impl<'a> Case<'a> {
    /// Whether chunks were not looked into whose messages nothing else counts: what was not seen may be there.
    pub fn may_have_more(&self) -> bool {
        let (left_out, facts) = (&self.facts.not_measured, self.facts);
        let chunks = left_out.cut > 0 || left_out.items.iter().any(|left_out| left_out.chunk.is_some());
        chunks && facts.read_through.is_some()
    }

    /// A number of the suite, or else that of the table.
    pub fn limit(&self, name: &str) -> f64 {
        let default = || self.defaults.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, value)| *value);
        self.limits.get(name).copied().unwrap_or_else(default)
    }

    /// Sensors, and what the task wants. Other topics come when they like.
    pub fn followed(&self) -> impl Iterator<Item = Followed<'a>> {
        let wants = self.wants;
        self.facts.topics.items.iter().filter_map(move |facts| {
            let wanted = wants.topics.iter().find(|wanted| is_wanted(wanted, &facts.topic));
            (wanted.is_some() || facts.kind() != Kind::Other)
                .then(|| Followed { facts, nominal_hz: wanted.and_then(|wanted| wanted.rate_hz) })
        })
    }

    /// Those with messages enough to speak of a rate.
    pub fn regular(&self) -> impl Iterator<Item = Followed<'a>> {
        self.followed().filter(|topic| topic.facts.count >= MESSAGES_MIN)
    }

    pub fn counted(&self) -> impl Iterator<Item = &'a TopicFacts> {
        self.facts.topics.items.iter().filter(|topic| topic.count > 0)
    }

    pub fn read_to(&self, tier: Tier) -> bool {
        self.facts.tier >= tier
    }
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}
