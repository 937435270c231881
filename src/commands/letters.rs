//! What people do about dead letters: replay one or all of a selection, resolve one; and what goes when its time is over.
//!
//! A letter is locked before it is looked at, so that what is decided on stays true until the commit: a delivery that dies
//! waits for the letter it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use super::{Command, CommandError, Commands, Context, Refusal, Work};
use crate::commands::webhooks::DELIVERED;
use crate::domain::bulk_run::{Item, ItemOutcome, ItemResult};
use crate::domain::letter::{DeadLetter, LetterCommand, LetterFilter, NotASelection, Selection};
use crate::domain::routing::{Destination, Subject, SubscriberName, deliveries_of_stored};
use crate::domain::{Kind, LetterId, RefusalCode, Timestamp};
use crate::eventstore::Loaded;
use crate::eventstore::upcast::{upcast, upcasters};
use crate::outbox::letters::{self, Letter, Values};
use crate::pg::plans::PLANS;

/// Letters that one request replays: one transaction, with an event for each.
pub const REPLAYED_AT_ONCE_MAX: i64 = 1000;

/// What a person may allow a chain of causes: none is longer by intent.
pub const CAUSATION_DEPTH_MAX: i64 = 1000;

/// Letters of a selection that become due in each second, where nothing is said, and at most.
pub const PER_SECOND: u32 = 100;
pub const PER_SECOND_MAX: i64 = 1000;

/// Later events of a stream that are looked at for what was delivered already: of one letter, and of each of many.
const LATER_EVENTS_MAX: i64 = 100;
const LATER_EVENTS_OF_MANY_MAX: i64 = 10;

/// Letters that one transaction sweeps.
const SWEPT_AT_ONCE: i64 = 500;

const ENDED: &str = "select id from subscriptions where id = any ($1) and ended is not null";

/// Puts the delivery of a letter into the outbox again.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLetter {
    pub id: LetterId,
    /// How long its chain of causes may be this time.
    pub causation_depth_max: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub event_id: String,
    pub subscriber: String,
    pub destination: Option<String>,
    /// Later events of the stream that went to the same subscriber and destination already, the earliest first.
    pub delivered_later: Vec<String>,
}

impl Command for ReplayLetter {
    type Answer = Replayed;
    const NAME: &'static str = "replay_dead_letter";

    async fn run(&self, work: &mut Work) -> Result<Replayed, CommandError> {
        let letter = locked(work, self.id).await?;
        replay(work, std::slice::from_ref(&letter), &[0.0], self.causation_depth_max).await?;
        let delivered_later =
            delivered_later(work, &[self.id.0], LATER_EVENTS_MAX).await?.into_iter().map(|(_, event_id)| event_id).collect();
        let (event_id, subscriber, destination) = (letter.given.event_id, letter.given.subscriber, letter.given.destination);
        Ok(Replayed { event_id, subscriber, destination, delivered_later })
    }
}

/// The letter needs no delivery.
#[derive(Clone, Debug)]
pub struct ResolveLetter {
    pub id: LetterId,
    pub reason: String,
}

impl Command for ResolveLetter {
    type Answer = ();
    const NAME: &'static str = "resolve_dead_letter";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let letter = locked(work, self.id).await?;
        let mut stream = work.load::<DeadLetter>(self.id).await?;
        let blocked = SubscriberName::parse(&letter.given.subscriber);
        work.decide(&mut stream, LetterCommand::Resolve { standing: letter.standing, given: letter.given, reason: self.reason.clone() })?;
        work.tx.query(letters::RESOLVE, &[&self.id.0]).await?;
        // What it held is free.
        blocked.into_iter().for_each(|subscriber| work.tx.wake(subscriber));
        Ok(())
    }
}

/// Fixes a filter at this moment, and says what it selects. Changes nothing.
#[derive(Clone, Debug)]
pub struct SelectLetters {
    pub filter: LetterFilter,
    /// The explicit word for a filter that matches everything.
    pub everything: bool,
}

/// What a selection holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    pub selection: String,
    pub by_subscriber: Vec<SelectedOfSubscriber>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectedOfSubscriber {
    pub subscriber: String,
    pub letters: i64,
    /// Of these, what is replayed without a word about chains of causes that were too long.
    pub replayable: i64,
    /// The longest chain that was too long.
    pub deepest: Option<i32>,
}

impl Command for SelectLetters {
    type Answer = Selected;
    const NAME: &'static str = "select_dead_letters";

    async fn run(&self, work: &mut Work) -> Result<Selected, CommandError> {
        // A filter that cannot be costs no lock.
        Selection::new(self.filter.clone(), self.everything, work.now).map_err(not_selected)?;
        let answers = work.tx.query_all(&[(letters::LOCK_ALL, vec![]), (letters::CLOCK, vec![]), (PLANS, vec![])]).await?;
        let at: Timestamp = answers.iter().flatten().next().map(|row| row.get(0)).unwrap_or(work.now);
        let selection = Selection::new(self.filter.clone(), self.everything, at).map_err(not_selected)?;
        Ok(Selected { selection: selection.to_string(), by_subscriber: counted(work, &selection, None).await? })
    }
}

/// Puts the letters of a selection into the outbox again, the oldest first; [`REPLAYED_AT_ONCE_MAX`] at most.
#[derive(Clone, Debug)]
pub struct ReplayLetters {
    /// As a preview named it.
    pub selection: String,
    pub causation_depth_max: Option<i32>,
    /// How many become due in each second.
    pub per_second: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedAll {
    pub replayed: i64,
    /// Of these, letters of which later events of their stream went to the same subscriber and destination already.
    pub delivered_later: i64,
    /// Not replayed, because their chains of causes are longer than is allowed.
    pub too_deep: i64,
    /// For further requests with the same selection.
    pub left: i64,
}

impl Command for ReplayLetters {
    type Answer = ReplayedAll;
    const NAME: &'static str = "replay_dead_letters";

    async fn run(&self, work: &mut Work) -> Result<ReplayedAll, CommandError> {
        let selection: Selection = self.selection.parse().map_err(not_selected)?;
        let (values, at) = (Values::of(selection.filter()), selection.at());
        let mut parameters = values.parameters().to_vec();
        parameters.extend_from_slice(&[&at as &(dyn ToSql + Sync), &self.causation_depth_max, &REPLAYED_AT_ONCE_MAX]);
        let chosen = work.tx.query_all(&[(PLANS, vec![]), (letters::SELECTED, parameters)]).await?.pop().unwrap_or_default();
        let chosen: Vec<Letter> = chosen.iter().map(Letter::of).collect();
        let delays: Vec<f64> = (0_u32..).zip(&chosen).map(|(n, _)| f64::from(n) / f64::from(self.per_second.max(1))).collect();
        replay(work, &chosen, &delays, self.causation_depth_max).await?;
        let ids: Vec<i64> = chosen.iter().map(|letter| letter.id).collect();
        let mut later: Vec<i64> = delivered_later(work, &ids, LATER_EVENTS_OF_MANY_MAX).await?.into_iter().map(|(id, _)| id).collect();
        later.dedup();
        let rest = counted(work, &selection, self.causation_depth_max).await?;
        let left = rest.iter().map(|one| one.replayable).sum();
        let too_deep = rest.iter().map(|one| one.letters - one.replayable).sum();
        Ok(ReplayedAll { replayed: count(&chosen), delivered_later: count(&later), too_deep, left })
    }
}

/// Removes letters that were resolved before an instant, and are not under way. Answers whether there may be more.
#[derive(Clone, Copy, Debug)]
pub struct SweepLetters {
    pub resolved_before: Timestamp,
}

impl Command for SweepLetters {
    type Answer = bool;
    const NAME: &'static str = "sweep_dead_letters";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let old = [(PLANS, vec![]), (letters::OLD, vec![&self.resolved_before as _, &SWEPT_AT_ONCE as _])];
        let old = work.tx.query_all(&old).await?.pop().unwrap_or_default();
        let old: Vec<Letter> = old.iter().map(Letter::of).collect();
        if old.is_empty() {
            return Ok(false);
        }
        let ids: Vec<i64> = old.iter().map(|letter| letter.id).collect();
        let streams = work.load_many::<DeadLetter>(&texts(&ids)).await?;
        for (letter, mut stream) in old.iter().zip(streams) {
            work.decide(&mut stream, LetterCommand::Sweep { resolved_at: letter.resolved_at.unwrap_or(self.resolved_before) })?;
        }
        work.tx.query(letters::SWEEP, &[&ids]).await?;
        Ok(count(&ids) == SWEPT_AT_ONCE)
    }
}

impl Commands {
    /// Sweeps letters that were resolved longer ago than this.
    pub async fn sweep_letters(&self, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        let kept = chrono::TimeDelta::from_std(kept).unwrap_or(chrono::TimeDelta::MAX);
        let Some(resolved_before) = self.now().checked_sub_signed(kept) else { return Ok(()) };
        while !stop.is_cancelled() && self.execute(&Context::system(), SweepLetters { resolved_before }).await? {}
        Ok(())
    }
}

fn not_selected(error: NotASelection) -> CommandError {
    Refusal::new(RefusalCode::LettersNotSelected, error.to_string()).into()
}

fn count<T>(of: &[T]) -> i64 {
    i64::try_from(of.len()).unwrap_or(i64::MAX)
}

fn texts(ids: &[i64]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

async fn locked(work: &mut Work, id: LetterId) -> Result<Letter, CommandError> {
    let mut answers = work.tx.query_all(&[(PLANS, vec![]), (letters::LOCK_ONE, vec![&id.0]), (letters::ONE, vec![&id.0])]).await?;
    let letter = answers.pop().and_then(|rows| rows.first().map(Letter::of));
    Ok(letter.ok_or_else(|| Refusal::new(RefusalCode::LetterNotFound, format!("there is no dead letter {id}")))?)
}

/// Decides on letters that are locked, and puts them into the outbox.
async fn replay(work: &mut Work, chosen: &[Letter], delays: &[f64], causation_depth_max: Option<i32>) -> Result<(), CommandError> {
    if chosen.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = chosen.iter().map(|letter| letter.id).collect();
    let streams = work.load_many::<DeadLetter>(&texts(&ids)).await?;
    let ended = ended_subscriptions(work, chosen).await?;
    for (letter, mut stream) in chosen.iter().zip(streams) {
        decide_replay(work, letter, &mut stream, causation_depth_max, &ended)?;
    }
    work.tx.query(letters::REPLAY, &[&ids, &delays, &causation_depth_max]).await?;
    Ok(())
}

/// The letters that a selection holds now, as items of a bulk run.
pub(super) async fn items_of(work: &mut Work, selection: &str) -> Result<Vec<String>, CommandError> {
    let selection: Selection = selection.parse().map_err(not_selected)?;
    let (values, at) = (Values::of(selection.filter()), selection.at());
    let mut parameters = values.parameters().to_vec();
    parameters.push(&at);
    let rows = work.tx.query(letters::SELECTED_IDS, &parameters).await?;
    Ok(rows.iter().map(|row| row.get::<_, i64>(0).to_string()).collect())
}

/// Replays letters that a bulk run is about: what became of each, and why where it was skipped.
pub(super) async fn replay_items(
    work: &mut Work,
    selection: &str,
    items: &[Item],
    causation_depth_max: Option<i32>,
) -> Result<Vec<ItemResult>, CommandError> {
    let selection: Selection = selection.parse().map_err(not_selected)?;
    let ids: Vec<i64> = items.iter().filter_map(|item| item.item.parse().ok()).collect();
    let found = work.tx.query_all(&[(PLANS, vec![]), (letters::SOME, vec![&ids])]).await?.pop().unwrap_or_default();
    let found: Vec<Letter> = found.iter().map(Letter::of).collect();
    let streams = work.load_many::<DeadLetter>(&texts(&found.iter().map(|letter| letter.id).collect::<Vec<_>>())).await?;
    let ended = ended_subscriptions(work, &found).await?;
    let (mut results, mut replayed) = (BTreeMap::new(), vec![]);
    for (letter, mut stream) in found.into_iter().zip(streams) {
        let cause = if letter.died_at > selection.at() {
            // It is another death than the one that was selected.
            Some("died_again")
        } else {
            match decide_replay(work, &letter, &mut stream, causation_depth_max, &ended) {
                Ok(()) => None,
                Err(CommandError::Refused(refusal)) => Some(refusal.code.as_str()),
                Err(error) => return Err(error),
            }
        };
        if cause.is_none() {
            replayed.push(letter.id);
        }
        results.insert(letter.id.to_string(), cause);
    }
    work.tx.query(letters::REPLAY, &[&replayed, &vec![0.0_f64; replayed.len()], &causation_depth_max]).await?;
    let outcome = |item: &Item| match results.get(&item.item) {
        Some(None) => (item.number, ItemOutcome::Passed, None),
        Some(Some(cause)) => (item.number, ItemOutcome::Skipped, Some(*cause)),
        None => (item.number, ItemOutcome::Skipped, Some(RefusalCode::LetterNotFound.as_str())),
    };
    Ok(items.iter().map(outcome).collect())
}

fn subscription_of(letter: &Letter) -> Option<i64> {
    match letter.given.destination.as_deref().and_then(Destination::parse) {
        Some(Destination::Webhook(id)) => Some(id.0),
        _ => None,
    }
}

/// Subscriptions of these letters that have ended: what is put into the outbox for them is dropped, and would count as delivered.
async fn ended_subscriptions(work: &mut Work, letters: &[Letter]) -> Result<BTreeSet<i64>, CommandError> {
    let ids: BTreeSet<i64> = letters.iter().filter_map(subscription_of).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let rows = work.tx.query(ENDED, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn decide_replay(
    work: &mut Work,
    letter: &Letter,
    stream: &mut Loaded<DeadLetter>,
    causation_depth_max: Option<i32>,
    ended: &BTreeSet<i64>,
) -> Result<(), CommandError> {
    if let Some(id) = subscription_of(letter).filter(|id| ended.contains(id)) {
        let text =
            format!("letter {}: the subscription {id} has ended, and nothing is delivered to it any more; resolve the letter", letter.id);
        return Err(Refusal::new(RefusalCode::SubscriptionEnded, text).into());
    }
    let (standing, given) = (letter.standing, letter.given.clone());
    let too_deep = letter.too_deep.then_some(letter.causation_depth);
    work.decide(stream, LetterCommand::Replay { standing, given, too_deep, causation_depth_max })?;
    SubscriberName::parse(&letter.given.subscriber).into_iter().for_each(|subscriber| work.tx.wake(subscriber));
    Ok(())
}

async fn counted(work: &mut Work, selection: &Selection, depth_max: Option<i32>) -> Result<Vec<SelectedOfSubscriber>, CommandError> {
    let (values, at) = (Values::of(selection.filter()), selection.at());
    let mut parameters = values.parameters().to_vec();
    parameters.extend_from_slice(&[&at as &(dyn ToSql + Sync), &depth_max]);
    let rows = work.tx.query(letters::SELECTED_COUNTS, &parameters).await?;
    let one = |row: &tokio_postgres::Row| SelectedOfSubscriber {
        subscriber: row.get(0),
        letters: row.get(1),
        replayable: row.get(2),
        deepest: row.get(3),
    };
    Ok(rows.iter().map(one).collect())
}

/// Later events of the streams of these letters that were delivered to the same subscriber and destination: letter and event. What a
/// webhook was told of stands in its delivery log, as long as that is kept.
async fn delivered_later(work: &mut Work, ids: &[i64], most: i64) -> Result<Vec<(i64, String)>, CommandError> {
    let rows = work.tx.query(letters::LATER, &[&ids, &most]).await?;
    let later: Vec<letters::Later> = rows.iter().map(letters::Later::of).collect();
    let told = told_by_webhook(work, &later).await?;
    let upcasters = upcasters();
    let mut found = vec![];
    for later in later {
        let Some(kind) = Kind::parse(&later.aggregate_type) else { continue };
        let destination = later.destination.as_deref().and_then(Destination::parse);
        if let (Some(Destination::Webhook(id)), Some(position)) = (&destination, later.position)
            && told.contains(&(id.0, position))
        {
            found.push((later.letter_id, format!("{}/{}/{}", later.aggregate_type, later.aggregate_id, later.sequence)));
            continue;
        }
        let subject = Subject { id: &later.aggregate_id, device: destination.as_ref().and_then(|to| Some(to.link()?.0)) };
        let payload = upcast(&upcasters, &later.event_type, &later.event_version, later.payload);
        let asked = deliveries_of_stored(kind, payload, subject);
        if asked.iter().any(|queued| queued.subscriber.as_str() == later.subscriber && queued.destination == destination) {
            found.push((later.letter_id, format!("{}/{}/{}", later.aggregate_type, later.aggregate_id, later.sequence)));
        }
    }
    Ok(found)
}

/// Subscriptions, and places of the log that they were told of.
async fn told_by_webhook(work: &mut Work, later: &[letters::Later]) -> Result<BTreeSet<(i64, i64)>, CommandError> {
    let place = |later: &letters::Later| match later.destination.as_deref().and_then(Destination::parse) {
        Some(Destination::Webhook(id)) => later.position.map(|position| (id.0, position)),
        _ => None,
    };
    let (ids, positions): (Vec<i64>, Vec<i64>) = later.iter().filter_map(place).unzip();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = work.tx.query(DELIVERED, &[&ids, &positions]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
