//! What a recording is judged by, and what came of it: values that pass between the rules of episodes and the checks.
//!
//! [`crate::domain::measurement`] has what is known of the recording; which checks there are, `quality` knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical_json::canonical;
use super::commitment::sha256;
use super::reference::NamedReference;
use super::words::words;

/// What a task asked to be recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskWants {
    pub topics: Vec<WantedTopic>,
    /// How long such a recording takes, at least and at most; nothing, where the procedure does not say.
    pub duration_s: Option<(f64, f64)>,
    /// When the recording arrived: nothing in it is later.
    pub received_at_ns: Option<u64>,
    /// SHA-256 of the bytes that were verified, in hex.
    pub sha256: Option<String>,
    /// Metadata, keys of metadata and attachments that have to be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantedTopic {
    /// A name, or its beginning and `*`.
    pub topic: String,
    pub rate_hz: Option<f64>,
}

words! {
    /// What is to become of a recording.
    Verdict {
        Approved = "approved",
        NeedsInspection = "needs_inspection",
        Failed = "failed",
    }
}

words! {
    /// What one check says.
    Grade {
        Pass = "pass",
        Warn = "warn",
        Fail = "fail",
        NotApplicable = "not_applicable",
        /// A checker elsewhere had to say it, and did not in time. It is no verdict.
        NotDone = "not_done",
    }
}

words! {
    /// How bad a finding of a checker elsewhere is.
    Severity {
        Info = "info",
        Warning = "warning",
        Error = "error",
    }
}

words! {
    /// The parts that a score is made of.
    Part {
        Topics = "topics",
        Duration = "duration",
        Gaps = "gaps",
        Images = "images",
    }
}

/// What a check does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What fails it is failed, whatever the score.
    Gate,
    /// It counts so much inside its part.
    Part(Part, u32),
}

/// Rules that recordings are judged by. Once it is active it does not change: its name and version name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    pub name: String,
    pub version: u32,
    /// From this score on a recording is approved.
    pub approve_at: f64,
    /// Below this one it is failed, and in between a person looks; 0: a low score alone fails nothing.
    pub fail_below: f64,
    /// What each part counts.
    pub parts: BTreeMap<Part, u32>,
    pub checks: Vec<CheckSpec>,
}

impl Suite {
    /// SHA-256 of its canonical JSON, name and version among it, in hex.
    pub fn sha256(&self) -> Result<String, serde_json::Error> {
        Ok(sha256(&canonical(&serde_json::to_value(self)?)))
    }

    /// Checks that are made elsewhere.
    pub fn outside(&self) -> impl Iterator<Item = (&CheckSpec, OutsideTerms)> {
        self.checks.iter().filter_map(|check| Some((check, check.outside?)))
    }

    /// What their checkers are asked: the name of each, and its numbers.
    pub fn asked_outside(&self) -> Vec<AskedOutside> {
        self.outside().map(|(check, _)| (check.name.clone(), check.limits.clone())).collect()
    }
}

/// An outside check, and the numbers that it is asked with.
pub type AskedOutside = (String, BTreeMap<String, f64>);

/// A check in a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSpec {
    pub name: String,
    pub role: Role,
    pub looked_at: bool,
    pub limits: BTreeMap<String, f64>,
    /// Where a checker makes it that is a program of its own: how it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<OutsideTerms>,
}

/// How a checker elsewhere is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideTerms {
    /// For so long an episode waits for it.
    pub deadline_s: u32,
}

/// What a checker elsewhere said of one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideReport {
    /// Anything but `not_done`.
    pub result: Grade,
    /// 0 to 1, three decimals.
    pub score: f64,
    pub details: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<OutsideFinding>,
}

/// One thing that it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideFinding {
    pub severity: Severity,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// From the beginning of the recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_s: Option<f64>,
}

/// What is known of an outside check when an episode is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum OutsideAnswer {
    Said(Box<OutsideReport>),
    /// Why.
    NotDone(String),
}

/// What is known of all of them, by their names.
pub type OutsideAnswers = BTreeMap<String, OutsideAnswer>;

/// What one check said of one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub name: String,
    pub role: Role,
    pub result: Grade,
    /// 0 to 1, three decimals; nothing where it is not applicable.
    pub score: Option<f64>,
    pub details: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub numbers: BTreeMap<String, Value>,
}

impl Judgement {
    /// How far the score is from what would approve it, in thousandths: the nearest is the least certain.
    pub fn distance(&self) -> i64 {
        ((self.score - self.approve_at).abs() * 1000.0).round() as i64
    }
}

impl CheckResult {
    /// Whether nothing is wrong: neither a warning nor a fault.
    pub fn passed(&self) -> bool {
        matches!(self.result, Grade::Pass | Grade::NotApplicable)
    }
}

/// What all checks of a suite said of one recording, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub suite: String,
    pub suite_version: u32,
    /// Of the suite's rules ([`Suite::sha256`]); unknown in older events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite_sha256: Option<String>,
    pub measured_by: u32,
    /// What it was compared with; none where there is no reference for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<NamedReference>,
    pub verdict: Verdict,
    /// 0 to 1, three decimals.
    pub score: f64,
    /// From which score on the suite approves.
    pub approve_at: f64,
    /// Of each part in which something was applicable.
    pub parts: BTreeMap<Part, f64>,
    /// Details of the first check that failed, or else of the first that warned and has to be looked at.
    pub flag: Option<String>,
    /// In the order of the suite.
    pub checks: Vec<CheckResult>,
}
