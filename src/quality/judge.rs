//! From facts to a verdict.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::{Case, Outcome, Twin};
use super::suite::CHECKS;
use crate::domain::QaReferenceId;
use crate::domain::figures::{Figure, figures};
use crate::domain::judgement::{CheckResult, CheckSpec, Grade, Judgement, OutsideAnswers, Part, Role, Suite, TaskWants, Verdict};
use crate::domain::measurement::Facts;
use crate::domain::operator_word::OperatorWord;
use crate::domain::reference::{NamedReference, Reference};

/// What is known of a recording beside what was measured.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// Checkers elsewhere. Without their answers their checks are not applicable; what they did not do in time makes no verdict, and is a
    /// reason for a person to look.
    pub outside: &'a OutsideAnswers,
    /// The last word of its operator.
    pub word: Option<&'a OperatorWord>,
    /// What is usual in good recordings of its procedure. Without it what is compared with others is not applicable.
    pub reference: Option<(QaReferenceId, &'a Reference)>,
    pub twin: Twin<'a>,
}

/// Of a recording of which nothing else is known.
pub fn judge(facts: &Facts, suite: &Suite, wants: &TaskWants) -> Judgement {
    judge_with(facts, suite, wants, Beside { outside: &OutsideAnswers::new(), word: None, reference: None, twin: Twin::NotLookedFor })
}

/// Whether checkers elsewhere have to be asked before there is a verdict, where this is what is known. Where a gate that is judged here is
/// broken already, nothing that is said elsewhere makes another verdict of it.
pub fn lacks_answers(suite: &Suite, answers: &OutsideAnswers, judgement: &Judgement) -> bool {
    let broken = judgement.checks.iter().any(|check| check.role == Role::Gate && check.result == Grade::Fail);
    !broken && suite.outside().any(|(check, _)| !answers.contains_key(&check.name))
}

/// With what is known beside the facts.
pub fn judge_with(facts: &Facts, suite: &Suite, wants: &TaskWants, beside: Beside<'_>) -> Judgement {
    let figures = beside.reference.map(|_| figures(facts)).unwrap_or_default();
    let checks: Vec<(&CheckSpec, Outcome)> =
        suite.checks.iter().map(|spec| (spec, outcome(facts, &figures, spec, wants, beside))).collect();
    let parts: BTreeMap<Part, f64> = Part::ALL.iter().filter_map(|&part| Some((part, of_part(&checks, part)?))).collect();
    let broken = checks.iter().any(|(spec, outcome)| spec.role == Role::Gate && outcome.result == Grade::Fail);
    let weights = || parts.iter().map(|(part, score)| (f64::from(suite.parts.get(part).copied().unwrap_or_default()), *score));
    // Where no part has anything to say, the gates alone do.
    let score = mean(weights()).unwrap_or(if broken { 0.0 } else { 1.0 });
    let to_look_at = |(spec, outcome): &&(&CheckSpec, Outcome)| spec.looked_at && matches!(outcome.result, Grade::Warn | Grade::Fail);
    let not_done = checks.iter().find(|(_, outcome)| outcome.result == Grade::NotDone);
    let verdict = if broken {
        Verdict::Failed
    } else if not_done.is_some() {
        // A low score, too: what was not done might have lifted it.
        Verdict::NeedsInspection
    } else if score < suite.fail_below {
        Verdict::Failed
    } else if score < suite.approve_at || checks.iter().any(|check| to_look_at(&check)) {
        Verdict::NeedsInspection
    } else {
        Verdict::Approved
    };
    let failed = checks.iter().find(|(spec, outcome)| spec.role == Role::Gate && outcome.result == Grade::Fail);
    let flag = match verdict {
        Verdict::Approved => None,
        _ => failed
            .or(not_done)
            .or_else(|| checks.iter().find(|(_, outcome)| outcome.result == Grade::Fail))
            .or_else(|| checks.iter().find(to_look_at))
            .or_else(|| checks.iter().find(|(_, outcome)| outcome.result == Grade::Warn))
            .map(|(_, outcome)| outcome.details.clone()),
    };
    Judgement {
        suite: suite.name.clone(),
        suite_version: suite.version,
        suite_sha256: None,
        measured_by: facts.measured_by,
        reference: beside.reference.map(|(id, reference)| NamedReference { id, version: reference.version }),
        verdict,
        score: three_decimals(score),
        approve_at: suite.approve_at,
        parts: parts.into_iter().map(|(part, score)| (part, three_decimals(score))).collect(),
        flag,
        checks: checks.into_iter().map(|(spec, outcome)| result(spec, outcome)).collect(),
    }
}

fn outcome(facts: &Facts, figures: &BTreeMap<Figure, i64>, spec: &CheckSpec, wants: &TaskWants, beside: Beside<'_>) -> Outcome {
    if spec.outside.is_some() {
        return super::outside::outcome(beside.outside.get(&spec.name));
    }
    let Some(check) = CHECKS.iter().find(|check| check.name == spec.name) else {
        return Outcome::not_applicable("this version does not know the check");
    };
    let reference = beside.reference.map(|(_, reference)| reference);
    let Beside { word, twin, .. } = beside;
    (check.judge)(&Case { facts, figures, wants, word, reference, twin, limits: &spec.limits, defaults: check.limits })
}

fn result(spec: &CheckSpec, outcome: Outcome) -> CheckResult {
    CheckResult {
        name: spec.name.clone(),
        role: spec.role,
        result: outcome.result,
        score: outcome.counts().then(|| three_decimals(outcome.score)),
        details: outcome.details,
        numbers: outcome.numbers.into_iter().map(|(name, number)| (name, six_decimals(number))).collect(),
    }
}

fn of_part(checks: &[(&CheckSpec, Outcome)], part: Part) -> Option<f64> {
    mean(checks.iter().filter_map(|(spec, outcome)| match spec.role {
        Role::Part(its, weight) if its == part && outcome.counts() => Some((f64::from(weight), outcome.score)),
        _ => None,
    }))
}

fn mean(weighted: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (weights, sum) = weighted.fold((0.0, 0.0), |(weights, sum), (weight, score)| (weights + weight, sum + weight * score));
    (weights > 0.0).then(|| sum / weights)
}

/// Results are stored as text: a number with few decimals is read back as it was written.
fn six_decimals(number: Value) -> Value {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(long) => ((long * 1e6).round() / 1e6).into(),
        None => number,
    }
}

fn three_decimals(score: f64) -> f64 {
    (score.clamp(0.0, 1.0) * 1000.0).round() / 1000.0
}
