//! How a command is run: once more where another change came first, and with its outcome kept where the request may
//! come again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast;
use tokio_postgres::Row;
use tracing::debug;

use super::command::Command;
use super::context::Context;
use super::error::CommandError;
use super::idempotency::{IdempotencyKey, REMEMBERED, SELECT, read, used_for_something_else};
use super::refusal::Refusal;
use super::work::Work;
use super::{chance, clock};
use crate::domain::Timestamp;
use crate::eventstore::{EventStore, Metadata, StoreError, log};
use crate::telemetry::chain;
use crate::telemetry::trace::{Span, SpanKind, TraceParent};

/// Tries of a command whose races are lost. With jitter between them, losing all means that
/// the stream is busier than it can ever be in a factory.
const TRIES_MAX: u32 = 8;

/// The wait before a second try is between zero and this; it doubles with each further try.
const RETRY_BASE: Duration = Duration::from_millis(4);

/// How long a recorder may take to let go of a task, unless it is set.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(15);

/// Where time comes from: [`clock`], and in tests from the test.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The one way in. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    pub(super) store: EventStore,
    clock: Clock,
    release_timeout: Duration,
}

impl Commands {
    pub fn new(store: EventStore) -> Self {
        Self::with_clock(store, Arc::new(clock::now))
    }

    pub fn with_clock(store: EventStore, clock: Clock) -> Self {
        Self { store, clock, release_timeout: RELEASE_TIMEOUT }
    }

    /// How long a recorder may take to let go of a task that was cancelled.
    pub fn releasing_within(self, release_timeout: Duration) -> Self {
        Self { release_timeout, ..self }
    }

    /// Hears of commands to devices that are settled, in any process.
    pub fn listen(&self) -> broadcast::Receiver<Arc<str>> {
        self.store.wakes().hear_settled()
    }

    pub fn now(&self) -> Timestamp {
        crate::eventstore::transaction::stored_precision((self.clock)())
    }

    /// Runs a command and commits what it decided.
    pub async fn execute<C: Command>(&self, context: &Context, command: C) -> Result<C::Answer, CommandError> {
        let (name, started) = (command.name(), std::time::Instant::now());
        let mut span = Span::begin(SpanKind::Internal, context.trace_parent, || format!("command {name}"));
        let (mut tries, mut unfit) = (0, false);
        loop {
            tries += 1;
            let outcome = match self.try_once(context, span.own(), &command).await {
                Err(CommandError::Unfit(reason)) if std::mem::replace(&mut unfit, true) => Err(CommandError::Unavailable(reason)),
                Err(CommandError::Unfit(reason)) => {
                    debug!(command.name = name, reason, "The session cannot do it; takes another one");
                    continue;
                }
                Err(CommandError::Refused(refusal)) if C::LOST_RACE == Some(refusal.code) => Err(CommandError::Conflict),
                outcome => outcome,
            };
            let retry = matches!(outcome, Err(CommandError::Conflict)) && tries < TRIES_MAX;
            if !retry {
                let outcome = match outcome {
                    Err(CommandError::Refused(refusal)) => self.refused::<C>(context, refusal).await,
                    other => other,
                };
                let word = match &outcome {
                    Ok(_) => "done",
                    Err(CommandError::Refused(_)) => "refused",
                    Err(CommandError::Conflict) => "conflict",
                    Err(CommandError::Unavailable(_) | CommandError::Unfit(_)) => "unavailable",
                    Err(CommandError::Failed(_)) => "failed",
                };
                metrics::counter!(crate::telemetry::COMMANDS, "command" => name, "outcome" => word).increment(1);
                metrics::histogram!(crate::telemetry::COMMAND_SECONDS, "command" => name).record(started.elapsed());
                span.set("keystone.command", name);
                span.set("keystone.outcome", word);
                span.set("keystone.tries", i64::from(tries));
                if ["conflict", "unavailable", "failed"].contains(&word) {
                    span.failed(word);
                }
                return outcome;
            }
            metrics::counter!(crate::telemetry::COMMAND_CONFLICTS, "command" => name).increment(1);
            let bound = RETRY_BASE * 2_u32.pow(tries - 1);
            let wait = bound.mul_f64(chance::share());
            debug!(command.name = name, tries, "Another change came first; tries `{name}` again");
            #[expect(clippy::disallowed_methods, reason = "a command that lost a race is tried again a moment later")]
            tokio::time::sleep(wait).await;
        }
    }

    /// What a refusal is to its caller. The same request may have been sent twice at once: then the other one made things as they
    /// are, and its outcome is the answer to both.
    async fn refused<C: Command>(&self, context: &Context, refusal: Refusal) -> Result<C::Answer, CommandError> {
        if let Some(key) = &context.idempotency
            && let Some(known) = self.known_outcome::<C>(key).await?
        {
            return Ok(known);
        }
        Err(CommandError::Refused(self.explained(refusal).await))
    }

    async fn known_outcome<C: Command>(&self, key: &IdempotencyKey) -> Result<Option<C::Answer>, CommandError> {
        let since = self.now() - REMEMBERED;
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let rows = client.query(SELECT, &[&key.scope, &key.key, &C::NAME, &since]).await.map_err(StoreError::from)?;
        outcome_in::<C>(rows.first(), key)
    }

    /// The refusal, with the event that made things as they are.
    async fn explained(&self, refusal: Refusal) -> Refusal {
        let Some(because) = refusal.because.clone() else { return refusal };
        let stream = &because.stream;
        match log::last_of(self.store.pool(), stream, because.types).await {
            Ok(Some(event)) => refusal.made_so_by(&event),
            Ok(None) => refusal,
            Err(error) => {
                // The refusal stands without its history.
                tracing::warn!(error = format!("{error:#}"), stream.id = %stream, "Cannot read why {stream} is as it is: {error:#}");
                refusal
            }
        }
    }

    async fn try_once<C: Command>(&self, context: &Context, span: TraceParent, command: &C) -> Result<C::Answer, CommandError> {
        let now = self.now();
        let metadata = Metadata { trace_parent: Some(span), ..context.metadata(now) };
        let mut work = Work::begin(&self.store, metadata, context.scope.clone(), now, self.release_timeout).await?;
        if let Some(key) = &context.idempotency {
            match outcome_of::<C>(&mut work, key).await {
                Ok(None) => {}
                Ok(Some(known)) => {
                    work.roll_back().await?;
                    return Ok(known);
                }
                Err(error) => {
                    // The refusal is the answer, whether or not the connection could say goodbye.
                    let _gone = work.roll_back().await;
                    return Err(error);
                }
            }
        }
        match command.run(&mut work).await {
            Ok(answer) => {
                if let Some(key) = &context.idempotency {
                    keep_outcome::<C>(&mut work, key, &answer)?;
                }
                work.commit().await?;
                Ok(answer)
            }
            Err(error) => {
                // The refusal is the answer, whether or not the connection could say goodbye.
                if let Err(trouble) = work.roll_back().await {
                    debug!(error = chain(&trouble), "Could not roll back; the connection is closed instead");
                }
                Err(error)
            }
        }
    }
}

/// What a command of the same request answered before.
async fn outcome_of<C: Command>(work: &mut Work, key: &IdempotencyKey) -> Result<Option<C::Answer>, CommandError> {
    let since = work.now - REMEMBERED;
    let rows = work.tx.query(SELECT, &[&key.scope, &key.key, &C::NAME, &since]).await?;
    outcome_in::<C>(rows.first(), key)
}

fn outcome_in<C: Command>(row: Option<&Row>, key: &IdempotencyKey) -> Result<Option<C::Answer>, CommandError> {
    let Some(row) = row else { return Ok(None) };
    used_for_something_else(row, key)?;
    Ok(Some(read(row.get::<_, Value>(1))?))
}

/// Keeps the answer of a command with what it decided.
fn keep_outcome<C: Command>(work: &mut Work, key: &IdempotencyKey, answer: &C::Answer) -> Result<(), CommandError> {
    let outcome = serde_json::to_value(answer).map_err(anyhow::Error::new)?;
    work.keep_outcome(key.clone(), C::NAME, outcome);
    Ok(())
}
