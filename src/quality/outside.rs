//! Checks that are made elsewhere: what a checker said, as an outcome.

use serde_json::{Value, json};

use super::case::Outcome;
use crate::domain::judgement::{OutsideAnswer, OutsideReport};

/// Without an answer it counts nothing: who judges without a server has nobody to ask.
pub fn outcome(answer: Option<&OutsideAnswer>) -> Outcome {
    match answer {
        Some(OutsideAnswer::Said(report)) => said(report),
        Some(OutsideAnswer::NotDone(why)) => Outcome::not_done(why.as_str()),
        None => Outcome::not_applicable("a checker elsewhere makes this check, and was not asked"),
    }
}

fn said(report: &OutsideReport) -> Outcome {
    let numbers = report.numbers.iter().map(|(name, number)| (name.clone(), json!(number)));
    let findings = (!report.findings.is_empty()).then(|| ("findings".to_owned(), findings(report)));
    Outcome { result: report.result, score: report.score, details: report.details.clone(), numbers: numbers.chain(findings).collect() }
}

fn findings(report: &OutsideReport) -> Value {
    json!(report.findings)
}
