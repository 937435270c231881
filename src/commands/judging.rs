//! The verdict of a run, from everything that is known of the recording when it is given: what was measured, what checkers
//! elsewhere said, the last word of its operator, and what is usual in good recordings of its procedure.

use super::{CommandError, Work};
use crate::domain::episode::{Episode, EpisodeCommand, Known, Measured, RunMode};
use crate::domain::judgement::{CheckResult, Grade, Judgement, OutsideAnswer, OutsideAnswers, Suite};
use crate::domain::reference::Reference;
use crate::domain::{EpisodeId, QaReferenceId, QaSuiteId};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::quality::{Beside, Twin, judge_with, lacks_answers};

pub(super) fn id_of(loaded: &Loaded<Episode>) -> Result<EpisodeId, CommandError> {
    loaded.id.parse().map(EpisodeId).map_err(|_| anyhow::anyhow!("{} has no number", loaded.stream()).into())
}

/// What checkers said before of the checks of this suite.
pub(super) async fn answers_before(work: &mut Work, episode: EpisodeId, suite: &Suite) -> Result<OutsideAnswers, CommandError> {
    let asked = suite.asked_outside();
    if asked.is_empty() {
        return Ok(OutsideAnswers::new());
    }
    let said = facts::outside_reports(&mut work.tx, episode, &asked).await?;
    Ok(said.into_iter().map(|(check, report)| (check, OutsideAnswer::Said(Box::new(report)))).collect())
}

/// An episode before its judge: by which suite, with what was said of it, and what follows from all of that.
pub(super) struct Case {
    /// None: the one that judges where no other does.
    pub suite: Option<(QaSuiteId, Suite)>,
    pub answers: OutsideAnswers,
    /// As far as it is known.
    pub judgement: Judgement,
}

impl Case {
    /// Checkers elsewhere have to be asked before there is a verdict.
    pub fn lacks_answers(&self) -> bool {
        self.suite.as_ref().is_some_and(|(_, suite)| lacks_answers(suite, &self.answers, &self.judgement))
    }
}

/// By the suite that is for the episode now, with what was said before.
pub(super) async fn case_of(
    work: &mut Work,
    id: EpisodeId,
    episode: &Known,
    measured: &Measured,
    default_suite: &Suite,
) -> Result<Case, CommandError> {
    let facts::Rules { suite, reference } = facts::rules_for(&mut work.tx, episode.created.station_id, episode.created.sop_id).await?;
    let answers = match &suite {
        Some((_, suite)) => answers_before(work, id, suite).await?,
        None => OutsideAnswers::new(),
    };
    let rules = suite.as_ref().map_or(default_suite, |(_, suite)| suite);
    let among = among(work, id, episode, reference).await?;
    let judgement = judgement_of(episode, measured, rules, &answers, &among)?;
    Ok(Case { suite, answers, judgement })
}

/// What is known of other episodes.
struct Among {
    reference: Option<(QaReferenceId, Reference)>,
    /// The earlier one that has the same content.
    twin: Option<String>,
}

/// It is compared with others where there is a reference.
async fn among(
    work: &mut Work,
    id: EpisodeId,
    episode: &Known,
    reference: Option<(QaReferenceId, Reference)>,
) -> Result<Among, CommandError> {
    let twin = match reference {
        Some(_) => facts::twin_of(&mut work.tx, id, &episode.created.checksum).await?,
        None => None,
    };
    Ok(Among { reference, twin })
}

/// What a suite says of an episode, by these facts, these answers, the last word of its operator and what is usual.
fn judgement_of(
    episode: &Known,
    measured: &Measured,
    suite: &Suite,
    answers: &OutsideAnswers,
    among: &Among,
) -> Result<Judgement, CommandError> {
    let reference = among.reference.as_ref().map(|(id, reference)| (*id, reference));
    let twin = reference.map_or(Twin::NotLookedFor, |_| Twin::found(among.twin.as_deref()));
    let beside = Beside { outside: answers, word: episode.word.as_ref(), reference, twin };
    let mut judgement = judge_with(&measured.facts, suite, &measured.wants, beside);
    judgement.suite_sha256 = Some(suite.sha256().map_err(anyhow::Error::new)?);
    // What says nothing is not kept: the suite names it.
    judgement.checks.retain(|check| check.result != Grade::NotApplicable);
    let (mcap, sidecar) = (&episode.created.mcap_path, episode.created.sidecar_path.as_deref());
    judgement.checks.iter_mut().for_each(|check| name_objects(check, mcap, sidecar));
    Ok(judgement)
}

/// Ends the run with a verdict.
pub(super) async fn end(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    (run, mode): (&str, RunMode),
    judgement: Judgement,
) -> Result<(), CommandError> {
    let number = facts::new_ids(&mut work.tx, "qa_run_ids", 1).await?[0];
    let end = EpisodeCommand::EndRun { run: run.to_owned(), number, mode, judgement, at: work.now };
    work.decide(episode, end)?;
    Ok(())
}

/// Judges by everything that is known now, and ends the run with it.
pub(super) async fn end_judged(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    run: (&str, RunMode),
    measured: &Measured,
    suite: &Suite,
    answers: &OutsideAnswers,
) -> Result<(), CommandError> {
    let Episode::Known(known) = &episode.state else { return Err(anyhow::anyhow!("{} is not there", episode.stream()).into()) };
    let reference = facts::reference_for(&mut work.tx, known.created.station_id, known.created.sop_id).await?;
    let among = among(work, id_of(episode)?, known, reference).await?;
    let judgement = judgement_of(known, measured, suite, answers, &among)?;
    end(work, episode, run, judgement).await
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
