//! One way to change anything: a command is decided on what is there now, and its events,
//! read models and outbox rows are committed together.
//!
//! A command is a value that implements [`Command`]; [`Commands::execute`] runs it in a
//! transaction and tries again, a bounded number of times, when another change came first.
//! Running it twice is therefore normal: it decides from what it loads, and nothing leaves
//! the transaction before the commit.
//!
//! Neighbours: edges and subscribers call in here; rules are in `domain`, rows in
//! `projections`, events in `eventstore`.

pub mod batches;
pub mod callbacks;
mod chance;
pub mod clock;
pub mod devices;
pub mod dispatch;
pub mod idempotency;
pub mod orders;
mod probe;
mod production;
mod refusal;
pub mod registration;
pub mod registry;
pub mod reports;
pub mod rivals;
pub mod tasks;
pub mod uploads;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tracing::debug;
use uuid::Uuid;

pub use idempotency::IdempotencyKey;

pub use refusal::Refusal;
pub use work::Work;

use crate::domain::{Actor, DeviceId, RefusalCode, Scope, Timestamp};
pub use crate::eventstore::Cause;
use crate::eventstore::{EventStore, Metadata, StoreError, log};
use crate::telemetry::chain;

/// Tries of a command whose races are lost. With jitter between them, losing all means that
/// the stream is busier than it can ever be in a factory.
const TRIES_MAX: u32 = 8;

/// The wait before a second try is between zero and this; it doubles with each further try.
const RETRY_BASE: Duration = Duration::from_millis(4);

/// How long a recorder may take to let go of a task, unless it is set.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(15);

/// Who asks for a change, and on whose behalf.
#[derive(Clone, Debug)]
pub struct Context {
    pub actor: Actor,
    /// What the command may speak of. Devices, subscribers and the system change what they are told to.
    pub scope: Scope,
    pub correlation_id: Uuid,
    pub cause: Option<Cause>,
    pub request_id: Option<String>,
    pub source_address: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace_parent: Option<String>,
}

impl Context {
    pub fn of(actor: Actor) -> Self {
        Self {
            actor,
            scope: Scope::Everything,
            correlation_id: chance::id(),
            cause: None,
            request_id: None,
            source_address: None,
            idempotency: None,
            trace_parent: None,
        }
    }

    pub fn system() -> Self {
        Self::of(Actor::System)
    }

    pub fn device(device: &DeviceId, source_address: Option<String>) -> Self {
        Self { source_address, ..Self::of(Actor::Device(device.clone())) }
    }

    /// A subscriber's command, caused by an event it was told of.
    pub fn subscriber(name: &str, correlation_id: Option<Uuid>, cause: Cause) -> Self {
        let context = Self::of(Actor::Subscriber(name.to_owned()));
        Self { correlation_id: correlation_id.unwrap_or(context.correlation_id), cause: Some(cause), ..context }
    }

    fn metadata(&self, occurred_at: Timestamp) -> Metadata {
        Metadata {
            actor: self.actor.clone(),
            correlation_id: self.correlation_id,
            cause: self.cause.clone(),
            request_id: self.request_id.clone(),
            source_address: self.source_address.clone(),
            idempotency_key: self.idempotency.as_ref().map(|key| key.key.clone()),
            trace_parent: self.trace_parent.clone(),
            occurred_at,
        }
    }
}

/// A change that is asked for.
pub trait Command: Send + Sync {
    /// What the one who asked is told after the commit. Kept where the request may be repeated.
    type Answer: Send + Serialize + DeserializeOwned;
    /// For logs and metrics.
    const NAME: &'static str;
    /// A refusal that means a race was lost, because the command itself chose what was taken meanwhile. It is run again.
    const LOST_RACE: Option<RefusalCode> = None;

    /// Loads, decides, and buffers events in `work`. May run several times; the last run is the one that counts.
    fn run(&self, work: &mut Work) -> impl Future<Output = Result<Self::Answer, CommandError>> + Send;

    /// The same of this very command, where one type has several kinds.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// What a task of this process may be waiting for, when this is committed. It looks for itself.
    fn tells(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A rule said no. Nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Others changed the same things all the time. Nothing was changed; asking again may work.
    #[error("other changes kept coming first; try again")]
    Conflict,
    /// The database cannot be reached. Whether the change was made is not known.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The session could not do it, and nothing was changed. [`Commands::execute`] takes another one, and says
    /// `Unavailable` where that cannot do it either.
    #[error("the database session cannot do it: {0}")]
    Unfit(String),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::Constraint { constraint } => match refusal::of_constraint(&constraint) {
                Some(refusal) => Self::Refused(refusal),
                None => Self::Failed(anyhow::anyhow!("the constraint {constraint} is broken")),
            },
            StoreError::Unstorable(reason) => {
                tracing::warn!(reason, "A value was refused by its table only: {reason}");
                Self::Refused(Refusal::new(RefusalCode::NotStorable, "a value is beyond what can be stored"))
            }
            StoreError::Unavailable(reason) => Self::Unavailable(reason),
            StoreError::Unfit(reason) => Self::Unfit(reason),
            other @ (StoreError::Unreadable(_) | StoreError::Database(_)) => Self::Failed(anyhow::Error::new(other)),
        }
    }
}

/// Where time comes from: [`clock`], and in tests from the test.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The one way in. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    store: EventStore,
    clock: Clock,
    release_timeout: Duration,
    told: broadcast::Sender<Arc<str>>,
}

/// Names kept for those who are slow to listen; they look by themselves then.
const TOLD_KEPT: usize = 256;

impl Commands {
    pub fn new(store: EventStore) -> Self {
        Self::with_clock(store, Arc::new(clock::now))
    }

    pub fn with_clock(store: EventStore, clock: Clock) -> Self {
        Self { store, clock, release_timeout: RELEASE_TIMEOUT, told: broadcast::channel(TOLD_KEPT).0 }
    }

    /// How long a recorder may take to let go of a task that was cancelled.
    pub fn releasing_within(self, release_timeout: Duration) -> Self {
        Self { release_timeout, ..self }
    }

    /// Hears what [`Command::tells`] of commands of this process.
    pub fn listen(&self) -> broadcast::Receiver<Arc<str>> {
        self.told.subscribe()
    }

    pub fn now(&self) -> Timestamp {
        crate::eventstore::transaction::stored_precision((self.clock)())
    }

    /// Runs a command and commits what it decided.
    pub async fn execute<C: Command>(&self, context: &Context, command: C) -> Result<C::Answer, CommandError> {
        let (name, started) = (command.name(), std::time::Instant::now());
        let (mut tries, mut unfit) = (0, false);
        loop {
            tries += 1;
            let outcome = match self.try_once(context, &command).await {
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
                    Err(CommandError::Refused(refusal)) => Err(CommandError::Refused(self.explained(refusal).await)),
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
                if let (Ok(_), Some(name)) = (&outcome, command.tells()) {
                    let _ = self.told.send(name.into());
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

    async fn try_once<C: Command>(&self, context: &Context, command: &C) -> Result<C::Answer, CommandError> {
        let now = self.now();
        let mut work = Work::begin(&self.store, context.metadata(now), context.scope.clone(), now, self.release_timeout).await?;
        if let Some(key) = &context.idempotency {
            match idempotency::outcome_of::<C>(&mut work, key).await {
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
                    idempotency::keep_outcome::<C>(&mut work, key, &answer)?;
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
