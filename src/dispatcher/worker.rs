//! The loop of one subscriber.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::targets::Targets;
use super::{Delivery, DeliverySettings, Outcome, Subscriber};
use crate::domain::routing::{Destination, SubscriberName};
use crate::eventstore::upcast::{upcast, upcasters};
use crate::outbox::{Claim, Claimed, DeadReason, Settlement, Share, Wanted, claim, extend, settle, waiting_destinations};
use crate::telemetry::chain;

/// The wait after the database refused a claim or a settlement.
const DATABASE_REST: Duration = Duration::from_millis(500);

/// How long a row rests whose destination has just gone.
const NOT_HERE_REST: Duration = Duration::from_millis(250);

/// How often, and for how long, to look for a row to probe with once a probe may start.
const PROBE_LOOK: Duration = Duration::from_millis(10);
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

pub struct Worker {
    pub pool: Pool,
    pub subscriber: Arc<dyn Subscriber>,
    pub settings: DeliverySettings,
    pub wake: Arc<Notify>,
    /// Who claims, for operators: host and process.
    pub name: String,
}

struct InFlight {
    row: Claimed,
    destination: Option<Destination>,
    settings: DeliverySettings,
}

/// What came back from one delivery.
type Finished = (Id, Outcome);

/// Works until asked to stop softly; then finishes what is under way, and gives it back when
/// asked to stop now.
pub async fn run(worker: Worker, soft: CancellationToken, hard: CancellationToken) {
    let mut state = State {
        name: worker.subscriber.name(),
        targets: Targets::default(),
        turn: 0,
        worker,
        running: JoinSet::new(),
        held: HashMap::new(),
        unsettled: vec![],
    };
    info!(outbox.subscriber = state.name.as_str(), "Delivers to `{}`", state.name.as_str());
    let lease_third = state.worker.settings.lease / 3;
    let mut extend_at = tokio::time::Instant::now() + lease_third;
    let mut look = true;
    loop {
        if look && !soft.is_cancelled() {
            look = match state.claim_some().await {
                Ok(full) => full,
                Err(trouble) => {
                    warn!(outbox.subscriber = state.name.as_str(), error = chain(trouble.as_ref()), "Could not claim; tries again");
                    tokio::time::sleep(DATABASE_REST).await;
                    false
                }
            };
        }
        if !state.unsettled.is_empty() && !hard.is_cancelled() {
            // Given up without a delivery: nothing will come to wake us for these.
            state.settle_all().await;
        }
        if soft.is_cancelled() && state.held.is_empty() && state.unsettled.is_empty() {
            return;
        }
        if look && !soft.is_cancelled() && state.unsettled.is_empty() {
            continue;
        }
        let wake = state.worker.wake.clone();
        let poll = state.next_look();
        tokio::select! {
            () = hard.cancelled() => {
                state.give_back().await;
                return;
            }
            () = soft.cancelled(), if !soft.is_cancelled() => {}
            Some(finished) = state.running.join_next_with_id(), if !state.running.is_empty() => {
                state.note(finished);
                while let Some(more) = state.running.try_join_next_with_id() {
                    state.note(more);
                }
                look = true;
            }
            () = wake.notified() => look = true,
            () = tokio::time::sleep_until(extend_at), if !state.held.is_empty() => {
                state.extend_leases().await;
                extend_at = tokio::time::Instant::now() + lease_third;
            }
            () = tokio::time::sleep(poll) => look = true,
        }
        if state.held.is_empty() {
            extend_at = tokio::time::Instant::now() + lease_third;
        }
        state.settle_all().await;
    }
}

struct State {
    name: SubscriberName,
    worker: Worker,
    running: JoinSet<Outcome>,
    /// Rows under lease, by the task that delivers them.
    held: HashMap<Id, InFlight>,
    unsettled: Vec<(i64, i64, Settlement)>,
    targets: Targets,
    /// Grows with each claim: each destination comes first at times.
    turn: usize,
}

impl State {
    fn next_look(&self) -> Duration {
        let (poll, now) = (self.worker.settings.poll, Instant::now());
        // The rows that went back become due a little later than the probe, by the database's clock.
        let probe = self.targets.probes().filter(|at| *at + PROBE_PATIENCE > now).min();
        probe.map_or(poll, |at| at.saturating_duration_since(now).clamp(PROBE_LOOK, poll.max(PROBE_LOOK)))
    }

    /// Claims what there is room for and starts delivering. Answers whether there may be more.
    async fn claim_some(&mut self) -> anyhow::Result<bool> {
        let (rows, more) = if self.name.has_destinations() { self.claim_for_each().await? } else { self.claim_any().await? };
        metrics::counter!(crate::telemetry::OUTBOX_CLAIMED, "subscriber" => self.name.as_str()).increment(rows.len() as u64);
        for row in rows {
            self.start(row);
        }
        Ok(more)
    }

    async fn claim_any(&self) -> anyhow::Result<(Vec<Claimed>, bool)> {
        let settings = &self.worker.settings;
        let limit = self.targets.room(&None, settings.concurrency, Instant::now()).min(settings.batch_size).min(self.free());
        if limit == 0 {
            return Ok((vec![], false));
        }
        let client = self.worker.pool.get().await?;
        let rows = claim(&client, &self.claim_of(Wanted::Any { limit: number(limit) })).await?;
        let more = rows.len() == limit;
        Ok((rows, more))
    }

    async fn claim_for_each(&mut self) -> anyhow::Result<(Vec<Claimed>, bool)> {
        let client = self.worker.pool.get().await?;
        // Few wait at any time; naming all that can be reached would cost more the more devices there are.
        let waiting = waiting_destinations(&client, self.name).await?;
        if waiting.is_empty() {
            return Ok((vec![], false));
        }
        self.worker.subscriber.look_up(&waiting).await?;
        let shares = self.shares(waiting);
        if shares.is_empty() {
            return Ok((vec![], false));
        }
        let rows = claim(&client, &self.claim_of(Wanted::For(&shares))).await?;
        let mut left: HashMap<String, i64> = shares.iter().map(|share| (share.destination.to_string(), share.limit)).collect();
        for row in &rows {
            if let Some(left) = row.destination.as_ref().and_then(|destination| left.get_mut(destination)) {
                *left -= 1;
            }
        }
        Ok((rows, left.values().any(|left| *left <= 0)))
    }

    /// Each destination that can be delivered to now gets its part of a batch, and one row at least, whatever the others
    /// have under way.
    /// Where there is not room for all together, each has its turn.
    fn shares(&mut self, mut waiting: Vec<Destination>) -> Vec<Share> {
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn % waiting.len().max(1);
        waiting.rotate_left(turn);
        let now = Instant::now();
        let room = |to: Destination| {
            let settings = self.settings_of(Some(&to));
            let reached = self.worker.subscriber.reaches(&to);
            let to = Some(to);
            let room = if reached { self.targets.room(&to, settings.concurrency, now) } else { 0 };
            (to, settings, room)
        };
        let rooms: Vec<_> = waiting.into_iter().map(room).collect();
        let open = rooms.iter().filter(|(.., room)| *room > 0).count();
        let part = (self.worker.settings.batch_size / open.max(1)).max(1);
        let mut free = self.free();
        let mut shares = vec![];
        for (destination, settings, room) in rooms {
            let limit = if room > 0 { room.min(part).min(free) } else { part };
            free -= if room > 0 { limit } else { 0 };
            if let (Some(destination), 1..) = (destination, limit) {
                shares.push(Share { destination, limit: number(limit), per_stream: settings.per_stream, only_expired: room == 0 });
            }
        }
        shares
    }

    /// Deliveries that may start besides those under way.
    fn free(&self) -> usize {
        self.worker.settings.concurrency_total.saturating_sub(self.held.len())
    }

    fn settings_of(&self, destination: Option<&Destination>) -> DeliverySettings {
        let Worker { subscriber, settings, .. } = &self.worker;
        destination.map_or(*settings, |destination| subscriber.settings_of(destination, *settings))
    }

    fn claim_of<'a>(&'a self, wanted: Wanted<'a>) -> Claim<'a> {
        let Worker { name, settings, .. } = &self.worker;
        Claim { subscriber: self.name, worker: name, lease: settings.lease, wanted, per_stream: settings.per_stream }
    }

    fn start(&mut self, row: Claimed) {
        let destination = row.destination.as_deref().map(Destination::parse);
        let settings = self.settings_of(destination.as_ref().and_then(Option::as_ref));
        let refuse = |reason, error: &str| Settlement::Dead { reason, error: error.to_owned(), blocks_stream: settings.block_on_dead };
        if row.expired && !self.worker.subscriber.wants_expired() {
            self.unsettled.push((row.outbox_id, row.epoch, refuse(DeadReason::Expired, "it expired before it could be delivered")));
            return;
        }
        let depth_max = row.causation_depth_max.unwrap_or(settings.causation_depth_max);
        if row.causation_depth > depth_max {
            let error = format!("its chain of causes is {} links long; {depth_max} are allowed", row.causation_depth);
            self.unsettled.push((row.outbox_id, row.epoch, refuse(DeadReason::CausationTooDeep, &error)));
            return;
        }
        if settings.attempts_max.is_some_and(|max| row.attempt.unsigned_abs() > max) {
            // The worker that delivered it last ended before it settled it.
            let error = "its attempts were used up by workers that did not settle them";
            self.unsettled.push((row.outbox_id, row.epoch, refuse(DeadReason::AttemptsUsedUp, error)));
            return;
        }
        if destination == Some(None) {
            let error = format!("this version does not know the destination {:?}", row.destination.as_deref().unwrap_or_default());
            self.unsettled.push((row.outbox_id, row.epoch, refuse(DeadReason::PermanentError, &error)));
            return;
        }
        let destination = destination.flatten();
        let mut event = row.event.clone();
        // Rows may have been queued by an older program.
        event.payload = upcast(&upcasters(), &event.event_type, &event.event_version, event.payload);
        let delivery = Delivery {
            event,
            attempt: row.attempt,
            destination: destination.clone(),
            deadline: row.expires_at,
            causation_depth: row.causation_depth,
        };
        let subscriber = self.worker.subscriber.clone();
        // Where rows need no destination, they share one circuit.
        let destination = destination.filter(|_| self.name.has_destinations());
        self.targets.started(destination.clone());
        let task = self.running.spawn(async move {
            let started = Instant::now();
            let delivered = tokio::time::timeout(settings.timeout, subscriber.deliver(&delivery)).await;
            metrics::histogram!(crate::telemetry::DELIVERY_SECONDS, "subscriber" => subscriber.name().as_str()).record(started.elapsed());
            match delivered {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Retry { error: format!("no outcome within {:?}", settings.timeout), after: None },
            }
        });
        self.held.insert(task.id(), InFlight { row, destination, settings });
    }

    fn note(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        let (id, outcome) = match finished {
            Ok(finished) => finished,
            Err(failure) => {
                error!(outbox.subscriber = self.name.as_str(), error = chain(&failure), "A delivery to `{}` panicked", self.name.as_str());
                (failure.id(), Outcome::Retry { error: format!("the delivery panicked: {failure}"), after: None })
            }
        };
        let Some(InFlight { row, destination, settings }) = self.held.remove(&id) else { return };
        if !matches!(outcome, Outcome::DestinationDown { .. } | Outcome::Busy { .. }) {
            self.targets.reached(&destination);
        }
        let event = row.event.event_id();
        let name = self.name.as_str();
        let unwanted = matches!(outcome, Outcome::Unwanted { .. });
        let settlement = match outcome {
            Outcome::Delivered => {
                debug!(outbox.subscriber = name, event.id = %event, attempt = row.attempt, "Delivered `{event}` to `{name}`");
                Settlement::Delivered
            }
            Outcome::Unwanted { why } => {
                info!(outbox.subscriber = name, event.id = %event, why, "`{event}` is not wanted any more: {why}");
                Settlement::Delivered
            }
            Outcome::Busy { error, after } => {
                let place = row.destination.as_deref().unwrap_or("the destination");
                info!(outbox.subscriber = name, event.id = %event, error, "For `{name}`, {place} wants nothing for {after:?}");
                self.targets.rest(destination, Instant::now(), after);
                Settlement::Release { after }
            }
            Outcome::NotHere { error } => {
                debug!(outbox.subscriber = name, event.id = %event, error, "`{event}` cannot be delivered from here now");
                Settlement::Release { after: NOT_HERE_REST }
            }
            Outcome::DestinationDown { error } => {
                let rest = self.targets.down(destination, Instant::now());
                let place = row.destination.as_deref().unwrap_or("the destination");
                warn!(outbox.subscriber = name, event.id = %event, error, "For `{name}`, {place} is down; probes again in {rest:?}");
                Settlement::Release { after: rest }
            }
            Outcome::Retry { error, after } if !used_up(&settings, &row) => {
                let attempt = row.attempt.unsigned_abs();
                let delay = settings.backoff.delay(attempt, rand::random::<f64>(), after);
                info!(outbox.subscriber = name, event.id = %event, attempt, error, "Could not deliver `{event}` to `{name}`; tries again in {delay:?}");
                Settlement::Retry { error, after: delay }
            }
            Outcome::Retry { error, .. } => self.bury(&event, DeadReason::AttemptsUsedUp, error),
            Outcome::Permanent { error } => self.bury(&event, DeadReason::PermanentError, error),
        };
        let word = match &settlement {
            Settlement::Delivered if unwanted => "dropped",
            Settlement::Delivered => "delivered",
            Settlement::Retry { .. } => "retried",
            Settlement::Release { .. } => "released",
            Settlement::Dead { .. } => "dead",
        };
        metrics::counter!(crate::telemetry::OUTBOX_SETTLED, "subscriber" => name, "outcome" => word).increment(1);
        self.unsettled.push((row.outbox_id, row.epoch, settlement));
    }

    fn bury(&self, event: &str, reason: DeadReason, error: String) -> Settlement {
        let name = self.name.as_str();
        error!(outbox.subscriber = name, event.id = %event, reason = reason.as_str(), error, "Gave up delivering `{event}` to `{name}`");
        Settlement::Dead { reason, error, blocks_stream: self.worker.settings.block_on_dead }
    }

    async fn settle_all(&mut self) {
        if self.unsettled.is_empty() {
            return;
        }
        match self.try_settle().await {
            Ok(()) => self.unsettled.clear(),
            Err(trouble) => {
                warn!(
                    outbox.subscriber = self.name.as_str(),
                    error = chain(trouble.as_ref()),
                    "Could not settle {} deliveries; tries again",
                    self.unsettled.len()
                );
                tokio::time::sleep(DATABASE_REST).await;
            }
        }
    }

    async fn try_settle(&self) -> anyhow::Result<()> {
        let client = self.worker.pool.get().await?;
        let ours = settle(&client, &self.unsettled).await?;
        let foreign = (self.unsettled.len() as u64).saturating_sub(ours);
        if foreign > 0 {
            warn!(
                outbox.subscriber = self.name.as_str(),
                "{foreign} deliveries had been taken over by another worker when they were settled"
            );
        }
        Ok(())
    }

    async fn extend_leases(&mut self) {
        let held: Vec<(i64, i64)> = self.held.values().map(|one| (one.row.outbox_id, one.row.epoch)).collect();
        let extended = async {
            let client = self.worker.pool.get().await?;
            anyhow::Ok(extend(&client, &held, self.worker.settings.lease).await?)
        };
        match extended.await {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => warn!(outbox.subscriber = self.name.as_str(), "Lost the lease of {} deliveries under way", lost.len()),
            Err(trouble) => {
                warn!(
                    outbox.subscriber = self.name.as_str(),
                    error = chain(trouble.as_ref()),
                    "Could not extend leases; another worker may repeat what is under way"
                )
            }
        }
    }

    /// An orderly stop: what did not finish is free at once, and the attempt is not counted.
    async fn give_back(&mut self) {
        self.running.abort_all();
        let rest = self.held.drain().map(|(_, one)| (one.row.outbox_id, one.row.epoch, Settlement::Release { after: Duration::ZERO }));
        self.unsettled.extend(rest);
        self.settle_all().await;
    }
}

fn used_up(settings: &DeliverySettings, row: &Claimed) -> bool {
    let tried = settings.attempts_max.is_some_and(|max| row.attempt.unsigned_abs() >= max);
    let late = settings.deadline.is_some_and(|deadline| row.age >= deadline);
    tried || late
}

fn number(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
