//! What the operator says of a recording: an event of its task, heard by its episode, and judged again where it was judged.
//!
//! A word that comes while the recording is on its way stays with the task until there is an episode ([`super::uploads`]). Where
//! two meet, the stream of the task decides: one of them is run again, and sees the other.

use super::dispatch::{Dispatch, check_station, look_up};
use super::judging::case_of;
use super::production::Production;
use super::rulings::rule;
use super::tasks::task_in_scope;
use super::{Command, CommandError, Refusal, Work};
use crate::domain::batch::BatchCommand;
use crate::domain::episode::{Episode, EpisodeCommand, RunMode};
use crate::domain::judgement::Suite;
use crate::domain::operator_word::{Demonstration, OperatorWord, WordVerdict};
use crate::domain::order::OrderCommand;
use crate::domain::task::{self, TaskCommand, TaskRefusal};
use crate::domain::workload::TaskGroup;
use crate::domain::{Actor, EpisodeId, RefusalCode, TaskId};
use crate::projections::facts;

#[derive(Clone, Debug)]
pub struct GiveWord {
    pub task_id: TaskId,
    pub verdict: WordVerdict,
    pub demonstration: Option<Demonstration>,
    pub note: Option<String>,
    /// Where no other suite is for the episode.
    pub default_suite: Suite,
}

impl Command for GiveWord {
    type Answer = ();
    const NAME: &'static str = "give_word";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (mut task, known) = task_in_scope(work, self.task_id).await?;
        let by = match work.actor().clone() {
            Actor::Collector(id) => {
                let own = facts::station_of_collector(&mut work.tx, id).await?;
                if own != Some(known.brief.station_id) {
                    let text = format!("task {} was given to workstation {}, which is not yours now", self.task_id, known.brief.station_id);
                    return Err(Refusal::new(RefusalCode::NotYourWorkstation, text).into());
                }
                Some(id)
            }
            _ => None,
        };
        let word = OperatorWord { verdict: self.verdict, demonstration: self.demonstration, note: self.note.clone(), by, at: work.now };
        if known.knows_word(&word) {
            return Ok(());
        }
        if let Some(id) = known.episode_id() {
            hear(work, id, &word, &format!("word/{}/{}", self.task_id, task.version + 1), &self.default_suite).await?;
        }
        let replacement = match self.verdict {
            WordVerdict::Keep | WordVerdict::Discard => None,
            WordVerdict::Redo => Some(replace(work, self.task_id, &known).await?),
        };
        work.decide(&mut task, TaskCommand::GiveWord { word, replacement })?;
        Ok(())
    }
}

/// One more task like this one, in its batch, which counts for the order in its place.
async fn replace(work: &mut Work, task_id: TaskId, task: &task::Dispatched) -> Result<TaskId, CommandError> {
    if let Some(by) = task.replaced_by {
        return Err(Refusal::from(TaskRefusal::Replaced(by)).into());
    }
    if !task.has_recording() {
        return Err(Refusal::from(TaskRefusal::NothingRecorded(task.stage.status())).into());
    }
    let brief = &task.brief;
    let (order_id, batch_id, station_id) = (brief.order_id, brief.batch_id, brief.station_id);
    let mut production = Production::lock(work, order_id).await?;
    let no_order = || Refusal::new(RefusalCode::OrderNotFound, format!("there is no order {order_id}"));
    let terms = production.order().map(|order| order.terms.clone()).ok_or_else(no_order)?;
    production.load_batch(work, batch_id).await?;
    let groups = [TaskGroup { sop_id: brief.sop_id, subscene_id: brief.subscene_id, quantity: 1 }];
    let found = look_up(work, station_id, &groups).await?;
    let replacement = found.task_ids.first().copied().ok_or_else(|| anyhow::anyhow!("no id for a task"))?;
    // What is over says so before anything is looked at.
    let outcome = task.stage.status().outcome();
    production.decide_order(work, OrderCommand::Replace { batch_id, task_id, replacement, outcome })?;
    production.decide_batch(work, batch_id, BatchCommand::Adjust { added: vec![replacement], removed: vec![], at: work.now })?;
    let station = check_station(&found, station_id, &terms, true)?;
    Dispatch { order_id, batch_id, station_id, terms: &terms, station: &station, found: &found }.create(work, &groups)?;
    production.finish(work).await?;
    Ok(replacement)
}

/// Its episode hears the word. One that was judged is judged again, unless that says what was said before, or a run goes on: that one
/// ends with the word.
async fn hear(work: &mut Work, id: EpisodeId, word: &OperatorWord, run: &str, default_suite: &Suite) -> Result<(), CommandError> {
    let mut episode = work.load::<Episode>(id).await?;
    work.decide(&mut episode, EpisodeCommand::HearWord { word: word.clone() })?;
    let Episode::Known(known) = &episode.state else { return Ok(()) };
    let held = known.qa.waits.is_some() || known.qa.running.as_ref().is_some_and(|running| running.until > work.now);
    let (Some(last), Some(measured), false) = (&known.qa.last, &known.measured, held) else { return Ok(()) };
    let case = case_of(work, id, known, measured, default_suite).await?;
    // As it was judged before where the word gave it another status, so that an approval is again what it was.
    let mode = match known.qa.is_pending() {
        true => last.mode,
        // Checkers elsewhere are not asked because a person said something: the word stands beside the verdict.
        false if case.lacks_answers() || case.judgement == last.judgement => return Ok(()),
        false => RunMode::Manual,
    };
    let now = work.now;
    work.decide(&mut episode, EpisodeCommand::StartRun { run: run.to_owned(), mode, until: now, now })?;
    rule(work, &mut episode, (run, mode), case).await?;
    Ok(())
}
