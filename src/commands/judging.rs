//! The verdict of a run, from everything that is known of the recording when it is given: what was measured, and what checkers
//! elsewhere said.

use super::{CommandError, Work};
use crate::domain::EpisodeId;
use crate::domain::episode::{Episode, EpisodeCommand, Measured, RunMode};
use crate::domain::judgement::{CheckResult, Grade, OutsideAnswer, OutsideAnswers, Suite};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::quality::judge_with;

pub(super) fn id_of(loaded: &Loaded<Episode>) -> Result<EpisodeId, CommandError> {
    loaded.id.parse().map(EpisodeId).map_err(|_| anyhow::anyhow!("{} has no number", loaded.stream()).into())
}

/// What checkers said before of the checks of this suite.
pub(super) async fn answers_before(work: &mut Work, episode: EpisodeId, suite: &Suite) -> Result<OutsideAnswers, CommandError> {
    let asked: Vec<_> = suite.outside().map(|(check, _)| (check.name.clone(), check.limits.clone())).collect();
    if asked.is_empty() {
        return Ok(OutsideAnswers::new());
    }
    let said = facts::outside_reports(&mut work.tx, episode, &asked).await?;
    Ok(said.into_iter().map(|(check, report)| (check, OutsideAnswer::Said(Box::new(report)))).collect())
}

/// Judges by everything that is known now, and ends the run with it.
pub(super) async fn end_judged(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    (run, mode): (&str, RunMode),
    measured: &Measured,
    suite: &Suite,
    answers: &OutsideAnswers,
) -> Result<(), CommandError> {
    let mut judgement = judge_with(&measured.facts, suite, &measured.wants, answers);
    // What says nothing is not kept: the suite names it.
    judgement.checks.retain(|check| check.result != Grade::NotApplicable);
    if let Episode::Known(known) = &episode.state {
        let (mcap, sidecar) = (&known.created.mcap_path, known.created.sidecar_path.as_deref());
        judgement.checks.iter_mut().for_each(|check| name_objects(check, mcap, sidecar));
    }
    let number = facts::new_ids(&mut work.tx, "qa_run_ids", 1).await?[0];
    let end = EpisodeCommand::EndRun { run: run.to_owned(), number, mode, judgement, at: work.now };
    work.decide(episode, end)?;
    Ok(())
}

/// Where the two checks of the contract looked, as it has them.
fn name_objects(check: &mut CheckResult, mcap: &str, sidecar: Option<&str>) {
    let path = match check.name.as_str() {
        "mcap_magic" if !check.passed() && !check.numbers.contains_key("file_size_bytes") => Some(mcap),
        "recording_not_empty" => sidecar,
        _ => None,
    };
    if let Some((bucket, object)) = path.and_then(|path| path.split_once('/')) {
        check.numbers.insert("bucket".to_owned(), bucket.into());
        check.numbers.insert("object".to_owned(), object.into());
    }
}
