//! Versions of suites: drafted, put to use, retired.
//!
//! ```text
//!   draft ───────► active ───────► retired
//!     │ change       (another one of the same scope is put to use, or a person retires it)
//!     └──► retired (given up)
//! ```
//!
//! Once it is active, a version never changes: what was judged by it can be judged by it again. At most one is active in a
//! scope; which one an episode is judged by, [`SuiteScope`] says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::aggregate::events;
use super::episode::EpisodeSelection;
use super::judgement::{CheckSpec, Role, Suite};
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, QaSuiteId, RobotTypeId, SopId, Timestamp};

pub const CHECKS_MAX: usize = 200;
pub const NAME_CHARS_MAX: usize = 100;
const LIMITS_MAX: usize = 20;
const WEIGHT_MAX: u32 = 1000;
/// Each outside check of each new episode is a job.
const OUTSIDE_MAX: usize = 10;
/// Shorter, a checker that was started a moment ago has lost it; longer than a day, an episode is held for nothing.
const DEADLINE_S: std::ops::RangeInclusive<u32> = 5..=86_400;

/// What every suite has, as gates: who reads verdicts knows these two by name.
pub const ALWAYS: [&str; 2] = ["mcap_magic", "recording_not_empty"];

words! {
    SuiteState {
        Draft = "draft",
        Active = "active",
        Retired = "retired",
    }

    /// What kind of scope.
    ScopeKind {
        All = "all",
        RobotType = "robot_type",
        Sop = "sop",
    }
}

/// Which episodes it is for. Of several that fit, the one for the procedure counts, then the one for the kind of robot, then the one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum SuiteScope {
    All,
    RobotType(RobotTypeId),
    Sop(SopId),
}

impl SuiteScope {
    pub fn kind(self) -> ScopeKind {
        match self {
            Self::All => ScopeKind::All,
            Self::RobotType(_) => ScopeKind::RobotType,
            Self::Sop(_) => ScopeKind::Sop,
        }
    }

    pub fn id(self) -> Option<i64> {
        match self {
            Self::All => None,
            Self::RobotType(id) => Some(id.0),
            Self::Sop(id) => Some(id.0),
        }
    }

    /// What of a selection it may be for.
    pub fn narrow(self, mut selection: EpisodeSelection) -> EpisodeSelection {
        fn only<I: Copy + PartialEq>(id: I, given: Option<Vec<I>>) -> Option<Vec<I>> {
            Some(given.map_or_else(|| vec![id], |ids| ids.into_iter().filter(|other| *other == id).collect()))
        }
        match self {
            Self::All => {}
            Self::RobotType(id) => selection.robot_types = only(id, selection.robot_types),
            Self::Sop(id) => selection.sops = only(id, selection.sops),
        }
        selection
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QaSuite {
    #[default]
    Absent,
    Version(Box<SuiteVersion>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteVersion {
    pub scope: SuiteScope,
    pub suite: Suite,
    pub note: Option<String>,
    pub state: SuiteState,
    pub activated_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub enum SuiteCommand {
    Draft {
        scope: SuiteScope,
        suite: Suite,
        note: Option<String>,
    },
    /// Name and version stay.
    Change {
        scope: SuiteScope,
        suite: Suite,
        note: Option<String>,
    },
    Activate {
        at: Timestamp,
    },
    Retire {
        replaced_by: Option<QaSuiteId>,
        at: Timestamp,
    },
}

events! {
    SuiteEvent {
        SuiteDrafted = "suite_drafted", "1.1" {
            scope: SuiteScope,
            suite: Suite,
            note: Option<String>,
        },
        SuiteChanged = "suite_changed", "1.1" {
            scope: SuiteScope,
            suite: Suite,
            note: Option<String>,
        },
        SuiteActivated = "suite_activated", "1.0" { at: Timestamp },
        SuiteRetired = "suite_retired", "1.0" {
            /// The one that was put to use in its place.
            replaced_by: Option<QaSuiteId>,
            at: Timestamp,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteRefusal {
    #[error("there is a suite of this id already")]
    Exists,
    #[error("there is no such suite")]
    NotFound,
    #[error("the suite is {}, and only a draft is changed: draft another version", .0.as_str())]
    NotADraft(SuiteState),
    #[error("the suite is retired: draft another version with its rules")]
    Retired,
    #[error("{0}")]
    Unfit(String),
}

impl Refused for SuiteRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::SuiteExists,
            Self::NotFound => RefusalCode::SuiteNotFound,
            Self::NotADraft(_) | Self::Retired => RefusalCode::SuiteNotADraft,
            Self::Unfit(_) => RefusalCode::SuiteUnfit,
        }
    }
}

/// What is wrong with the rules by themselves; which checks there are, others know.
pub fn unfit(suite: &Suite) -> Option<String> {
    let is_share = |number: f64| (0.0..=1.0).contains(&number);
    let name_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let of_check = |check: &CheckSpec| {
        let name = &check.name;
        if let Some(terms) = check.outside {
            if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(name_char) {
                return Some(format!(
                    "the name of an outside check must be lower-case letters, digits, `_` and `-`, at most {NAME_CHARS_MAX}"
                ));
            }
            if !DEADLINE_S.contains(&terms.deadline_s) {
                let (least, most) = (DEADLINE_S.start(), DEADLINE_S.end());
                return Some(format!("the deadline of the outside check {name} must be from {least} to {most} seconds"));
            }
            if !check.limits.keys().all(|limit| limit.len() <= NAME_CHARS_MAX && limit.chars().all(name_char)) {
                return Some(format!("limits of the outside check {name} are named by lower-case letters, digits, `_` and `-`"));
            }
        }
        if matches!(check.role, Role::Part(_, weight) if !(1..=WEIGHT_MAX).contains(&weight)) {
            return Some(format!("the weight of the check {name} must be from 1 to {WEIGHT_MAX}"));
        }
        if check.limits.len() > LIMITS_MAX || check.limits.values().any(|limit| !limit.is_finite()) {
            return Some(format!("the check {name} has at most {LIMITS_MAX} limits, and each is a number"));
        }
        None
    };
    let mut names = BTreeSet::new();
    if suite.name.is_empty() || suite.name.len() > NAME_CHARS_MAX || !suite.name.chars().all(name_char) {
        return Some(format!("name must be lower-case letters, digits, `_` and `-`, at most {NAME_CHARS_MAX}"));
    }
    if !is_share(suite.approve_at) || !is_share(suite.fail_below) || suite.fail_below > suite.approve_at {
        return Some("approve_at and fail_below must be from 0 to 1, and fail_below not above approve_at".to_owned());
    }
    if suite.parts.values().any(|weight| *weight > WEIGHT_MAX) {
        return Some(format!("the weight of a part must be from 0 to {WEIGHT_MAX}"));
    }
    if suite.checks.len() > CHECKS_MAX {
        return Some(format!("a suite has at most {CHECKS_MAX} checks"));
    }
    if suite.outside().count() > OUTSIDE_MAX {
        return Some(format!("a suite has at most {OUTSIDE_MAX} outside checks"));
    }
    if let Some(twice) = suite.checks.iter().find(|check| !names.insert(check.name.as_str())) {
        return Some(format!("the check {} is there twice", twice.name));
    }
    let is_gate = |name: &str| suite.checks.iter().any(|check| check.name == name && check.role == Role::Gate);
    if let Some(missing) = ALWAYS.iter().find(|name| !is_gate(name)) {
        return Some(format!("the check {missing} has to be there, as a gate"));
    }
    let counted = |check: &CheckSpec| matches!(check.role, Role::Part(part, _) if suite.parts.get(&part).is_some_and(|weight| *weight > 0));
    if let Some(lost) = suite.checks.iter().find(|check| check.role != Role::Gate && !counted(check) && !check.looked_at) {
        return Some(format!("the check {} counts nowhere: its part has no weight", lost.name));
    }
    suite.checks.iter().find_map(of_check)
}

fn fit(suite: &Suite) -> Result<(), SuiteRefusal> {
    unfit(suite).map_or(Ok(()), |why| Err(SuiteRefusal::Unfit(why)))
}

impl Aggregate for QaSuite {
    const TYPE: &'static str = "qa_suite";
    type Command = SuiteCommand;
    type Event = SuiteEvent;
    type Refusal = SuiteRefusal;

    fn decide(&self, command: SuiteCommand) -> Result<Vec<SuiteEvent>, SuiteRefusal> {
        use SuiteCommand as C;
        match (self, command) {
            (Self::Absent, C::Draft { scope, suite, note }) => {
                fit(&suite)?;
                Ok(vec![SuiteEvent::SuiteDrafted { scope, suite, note }])
            }
            (Self::Version(_), C::Draft { .. }) => Err(SuiteRefusal::Exists),
            (Self::Absent, _) => Err(SuiteRefusal::NotFound),
            (Self::Version(version), C::Change { scope, suite, note }) => {
                if version.state != SuiteState::Draft {
                    return Err(SuiteRefusal::NotADraft(version.state));
                }
                let suite = Suite { name: version.suite.name.clone(), version: version.suite.version, ..suite };
                fit(&suite)?;
                let same = (version.scope, &version.suite, &version.note) == (scope, &suite, &note);
                Ok(if same { vec![] } else { vec![SuiteEvent::SuiteChanged { scope, suite, note }] })
            }
            (Self::Version(version), C::Activate { at }) => match version.state {
                SuiteState::Draft => Ok(vec![SuiteEvent::SuiteActivated { at }]),
                SuiteState::Active => Ok(vec![]),
                SuiteState::Retired => Err(SuiteRefusal::Retired),
            },
            (Self::Version(version), C::Retire { replaced_by, at }) => match version.state {
                SuiteState::Draft | SuiteState::Active => Ok(vec![SuiteEvent::SuiteRetired { replaced_by, at }]),
                SuiteState::Retired => Ok(vec![]),
            },
        }
    }

    fn evolve(&mut self, event: &SuiteEvent) {
        if let SuiteEvent::SuiteDrafted { scope, suite, note } = event {
            *self = Self::Version(Box::new(SuiteVersion {
                scope: *scope,
                suite: suite.clone(),
                note: note.clone(),
                state: SuiteState::Draft,
                activated_at: None,
                retired_at: None,
            }));
        }
        let Self::Version(version) = self else { return };
        match event {
            SuiteEvent::SuiteDrafted { .. } => {}
            SuiteEvent::SuiteChanged { scope, suite, note } => {
                (version.scope, version.suite, version.note) = (*scope, suite.clone(), note.clone());
            }
            SuiteEvent::SuiteActivated { at } => (version.state, version.activated_at) = (SuiteState::Active, Some(*at)),
            SuiteEvent::SuiteRetired { at, .. } => (version.state, version.retired_at) = (SuiteState::Retired, Some(*at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::judgement::{OutsideTerms, Part};
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn check(name: &str, role: Role) -> CheckSpec {
        CheckSpec { name: name.into(), role, looked_at: false, limits: BTreeMap::new(), outside: None }
    }

    fn outside(name: &str, deadline_s: u32) -> CheckSpec {
        CheckSpec { outside: Some(OutsideTerms { deadline_s }), ..check(name, Role::Gate) }
    }

    fn suite() -> Suite {
        Suite {
            name: "site".into(),
            version: 1,
            approve_at: 0.9,
            fail_below: 0.0,
            parts: BTreeMap::from([(Part::Gaps, 20)]),
            checks: vec![check(ALWAYS[0], Role::Gate), check(ALWAYS[1], Role::Gate), check("max_gap", Role::Part(Part::Gaps, 5))],
        }
    }

    fn draft() -> SuiteCommand {
        SuiteCommand::Draft { scope: SuiteScope::All, suite: suite(), note: None }
    }

    fn after(commands: impl IntoIterator<Item = SuiteCommand>) -> QaSuite {
        let mut state = QaSuite::default();
        for command in commands {
            let events = state.decide(command).unwrap();
            events.iter().for_each(|event| state.evolve(event));
        }
        state
    }

    #[test]
    fn a_version_is_changed_as_a_draft_and_never_again() {
        let change = || SuiteCommand::Change { scope: SuiteScope::All, suite: Suite { approve_at: 0.8, ..suite() }, note: None };
        let changed = after([draft(), change()]);
        assert!(matches!(&changed, QaSuite::Version(version) if version.suite.approve_at == 0.8));
        assert_eq!(changed.decide(change()), Ok(vec![]));
        let renamed =
            SuiteCommand::Change { scope: SuiteScope::All, suite: Suite { name: "other".into(), version: 9, ..suite() }, note: None };
        let renamed = after([draft(), renamed]);
        assert!(matches!(&renamed, QaSuite::Version(version) if version.suite.name == "site" && version.suite.version == 1));
        let active = after([draft(), SuiteCommand::Activate { at: AT }]);
        assert_eq!(active.decide(change()), Err(SuiteRefusal::NotADraft(SuiteState::Active)));
        assert_eq!(active.decide(SuiteCommand::Activate { at: AT }), Ok(vec![]));
        let retired = after([draft(), SuiteCommand::Activate { at: AT }, SuiteCommand::Retire { replaced_by: None, at: AT }]);
        assert_eq!(retired.decide(SuiteCommand::Activate { at: AT }), Err(SuiteRefusal::Retired));
        assert_eq!(retired.decide(SuiteCommand::Retire { replaced_by: None, at: AT }), Ok(vec![]));
        assert_eq!(QaSuite::Absent.decide(change()), Err(SuiteRefusal::NotFound));
        assert_eq!(retired.decide(draft()), Err(SuiteRefusal::Exists));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let with = |change: &dyn Fn(&mut Suite)| {
            let mut changed = suite();
            change(&mut changed);
            unfit(&changed)
        };
        assert_eq!(with(&|_| {}), None);
        assert_eq!(with(&|suite| suite.checks.push(outside("grasp", 60))), None);
        type Change<'a> = &'a dyn Fn(&mut Suite);
        let wrong: [(&str, Change); 13] = [
            ("name must be", &|suite| suite.name = "Our Suite".into()),
            ("approve_at and fail_below", &|suite| suite.approve_at = f64::NAN),
            ("approve_at and fail_below", &|suite| suite.fail_below = 0.95),
            ("there twice", &|suite| suite.checks.push(check("max_gap", Role::Gate))),
            ("has to be there, as a gate", &|suite| drop(suite.checks.remove(0))),
            ("as a gate", &|suite| suite.checks[0].role = Role::Part(Part::Gaps, 1)),
            ("counts nowhere", &|suite| suite.checks[2].role = Role::Part(Part::Images, 1)),
            ("weight of the check max_gap", &|suite| suite.checks[2].role = Role::Part(Part::Gaps, 0)),
            ("name of an outside check", &|suite| suite.checks[2] = outside("Grasp ok", 60)),
            ("deadline of the outside check grasp", &|suite| suite.checks[2] = outside("grasp", 4)),
            ("limits of the outside check grasp", &|suite| {
                suite.checks[2] = outside("grasp", 60);
                suite.checks[2].limits.insert("a b".into(), 1.0);
            }),
            ("at most 10 outside checks", &|suite| suite.checks.extend((0..11).map(|n| outside(&format!("grasp-{n}"), 60)))),
            ("each is a number", &|suite| {
                suite.checks[2].limits.insert("pass_ms".into(), f64::INFINITY);
            }),
        ];
        for (said, change) in wrong {
            let why = with(change);
            assert!(why.as_ref().is_some_and(|why| why.contains(said)), "{said}: {why:?}");
        }
    }
}
