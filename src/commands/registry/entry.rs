//! What can be done with an entry of any kind: it is created, changed, and deleted.
//!
//! Who refers to an entry holds its row until the commit (`for key share`, in [`facts`]); who changes or deletes one
//! waits for them ([`alone`]), and looks only then at what stands in the way. So what was decided holds at the commit, and of two that do not go together
//! one comes first and the other is refused.

use std::marker::PhantomData;

use crate::commands::{Command, CommandError, Refusal, Work};
use crate::domain::registry::{Live, Record, RecordCommand, RecordRefusal};
use crate::domain::{RefusalCode, RefusalKind};
use crate::eventstore::Loaded;
use crate::projections::ReadModel;
use crate::projections::facts::{self, Need};
use crate::projections::rows::Table as _;

/// One kind of entry, as commands change and delete it.
pub trait Entry: Record {
    /// Its stream.
    type Stream: ReadModel<Command = RecordCommand<Self>, Refusal = RecordRefusal> + Live<Self>;
    /// The name of the command that changes one, for logs and metrics.
    const CHANGE: &'static str;
    /// The same of the one that deletes it.
    const DELETE: &'static str;
    /// The sequence of its ids.
    const IDS: &'static str;
    /// What a person calls it.
    const WHAT: &'static str;
    /// What keeps it from being deleted, in the order in which it is told.
    const NEEDED_BY: &'static [Need];
    /// What can be asked to be another one; what is not given stays.
    type Change: Clone + Default + PartialEq + Send + Sync;

    /// Whether it is there for the caller.
    fn is_seen(&self, work: &mut Work, id: i64) -> impl Future<Output = Result<bool, CommandError>> + Send;

    /// What it is with the change, where that may be.
    fn changed(&self, work: &mut Work, id: i64, change: &Self::Change) -> impl Future<Output = Result<Changed<Self>, CommandError>> + Send;

    /// What else changes with it, in the same transaction.
    fn follow(&self, _work: &mut Work, _id: i64, _now: &Self) -> impl Future<Output = Result<(), CommandError>> + Send {
        async { Ok(()) }
    }

    /// What else goes with it, in the same transaction.
    fn take_away(_work: &mut Work, _id: i64) -> impl Future<Output = Result<(), CommandError>> + Send {
        async { Ok(()) }
    }
}

/// An entry as it will be.
pub struct Changed<R> {
    pub to: R,
    /// Whether something that stands beside the log changes with it.
    pub beside: bool,
}

impl<R> From<R> for Changed<R> {
    fn from(to: R) -> Self {
        Self { to, beside: false }
    }
}

/// Registers a record under a new id.
pub(in crate::commands) async fn register<R: Entry>(work: &mut Work, record: R) -> Result<i64, CommandError> {
    let id = facts::new_ids(&mut work.tx, R::IDS, 1).await?[0];
    work.decide(&mut Loaded::<R::Stream>::absent(id), RecordCommand::Create(record))?;
    Ok(id)
}

/// An entry that the caller may speak of, and its record. Who changes it too has to wait.
pub(super) async fn held<R: Entry>(work: &mut Work, id: i64) -> Result<(Loaded<R::Stream>, R), CommandError> {
    let entry = work.lock_and_load::<R::Stream>(id).await?;
    if let Some(record) = entry.state.live().cloned()
        && record.is_seen(work, id).await?
    {
        return Ok((entry, record));
    }
    Err(Refusal::new(RefusalCode::EntryNotFound, format!("{} not found", R::WHAT)).into())
}

/// Changes an entry.
#[derive(Clone, Debug)]
pub struct Change<R: Entry> {
    /// Which one.
    pub id: i64,
    /// What is asked of it.
    pub change: R::Change,
}

impl<R: Entry> Command for Change<R> {
    type Answer = ();
    const NAME: &'static str = R::CHANGE;

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (mut entry, before) = held::<R>(work, self.id).await?;
        let Changed { to, beside } = before.changed(work, self.id, &self.change).await?;
        let now = to.clone();
        if work.decide(&mut entry, RecordCommand::Change { to, beside })? > 0 {
            before.follow(work, self.id, &now).await?;
        }
        Ok(())
    }
}

/// Deletes an entry that nothing needs.
#[derive(Clone, Debug)]
pub struct Delete<R> {
    id: i64,
    kind: PhantomData<fn() -> R>,
}

impl<R> Delete<R> {
    /// The one of this id.
    pub fn of(id: i64) -> Self {
        Self { id, kind: PhantomData }
    }
}

impl<R: Entry> Command for Delete<R> {
    type Answer = ();
    const NAME: &'static str = R::DELETE;

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (mut entry, _) = held::<R>(work, self.id).await?;
        let counted = alone::<R>(work, self.id, R::NEEDED_BY).await?;
        if let Some((need, count)) = R::NEEDED_BY.iter().zip(counted).find(|(_, count)| *count > 0) {
            return Err(in_the_way(R::WHAT, need, count).into());
        }
        R::take_away(work, self.id).await?;
        work.decide(&mut entry, RecordCommand::Delete)?;
        Ok(())
    }
}

/// Waits for those who refer to the entry, and keeps others from it until the commit.
pub(super) async fn alone<R: Entry>(work: &mut Work, id: i64, needs: &[Need]) -> Result<Vec<i64>, CommandError> {
    Ok(facts::hold_row(&mut work.tx, <R::Stream as ReadModel>::Row::NAME.name, id, needs).await?)
}

/// Why an entry is not deleted.
fn in_the_way(what: &str, need: &Need, count: i64) -> Refusal {
    let text = format!("the {what} cannot be deleted: {} {count}; {}", need.what, need.advice);
    let kind = if need.is_conflict { RefusalKind::Conflict } else { RefusalKind::Invalid };
    Refusal { kind, ..Refusal::new(RefusalCode::EntryInUse, text) }.with(serde_json::json!({ "count": count }))
}

/// Why an entry is not changed in this way: something needs it as it is.
pub(super) fn needed_as_it_is(text: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::EntryInUse, text)
}
