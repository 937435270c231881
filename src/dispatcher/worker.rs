//! The loop of one subscriber.
//!
//! Three things are under way side by side: a claim, a settlement, and deliveries. Rows that were claimed and cannot start
//! yet wait in `ready`, under the lease of their claim.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::delivering::{Held, Started, Verdict, start};
use super::pace::Pace;
use super::targets::Targets;
use super::{DeliverySettings, Outcome, Subscriber};
use crate::domain::routing::{Destination, SubscriberName};
use crate::outbox::{Claim, Claimed, Settlement, Share, Wanted, claim, extend, settle, waiting_destinations};
use crate::telemetry::activity::Activity;
use crate::telemetry::chain;

/// The wait after the database refused a claim or a settlement.
const DATABASE_REST: Duration = Duration::from_millis(500);

/// How often, and for how long, to look for a row to probe with once a probe may start.
const PROBE_LOOK: Duration = Duration::from_millis(10);
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// Rows claimed at once for all destinations together; at least one for each that something waits for.
const CLAIM_MAX: usize = 1_000;

pub struct Worker {
    pub pool: Pool,
    pub subscriber: Arc<dyn Subscriber>,
    pub settings: DeliverySettings,
    pub wake: Arc<Notify>,
    /// Is told how it goes.
    pub activity: Arc<Activity>,
    /// Who claims, for operators: host and process.
    pub name: String,
}

/// Works until asked to stop softly; then finishes what is under way, and gives it back when
/// asked to stop now.
pub async fn run(worker: Worker, soft: CancellationToken, hard: CancellationToken) {
    let mut state = State::new(worker);
    info!(outbox.subscriber = state.name.as_str(), "Delivers to `{}`", state.name.as_str());
    let lease_third = state.worker.settings.lease / 3;
    let mut extend_at = tokio::time::Instant::now() + lease_third;
    loop {
        if !soft.is_cancelled() {
            state.begin_claim();
        }
        state.begin_settlement();
        if soft.is_cancelled() && state.is_idle() {
            return;
        }
        let wake = state.worker.wake.clone();
        let pause = state.next_look();
        tokio::select! {
            () = hard.cancelled() => {
                state.give_back().await;
                return;
            }
            () = soft.cancelled(), if !soft.is_cancelled() => state.release_ready(),
            (done, settled) = ended(&mut state.settling) => state.settled(done, settled),
            looked = ended(&mut state.claiming) => {
                state.looked(looked);
                if soft.is_cancelled() {
                    state.release_ready();
                }
            }
            Some(finished) = state.running.join_next_with_id(), if !state.running.is_empty() => {
                state.finished(finished);
                while let Some(more) = state.running.try_join_next_with_id() {
                    state.finished(more);
                }
            }
            () = wake.notified() => state.look = true,
            () = tokio::time::sleep_until(extend_at), if state.holds_rows() => {
                state.extend_leases().await;
                extend_at = tokio::time::Instant::now() + lease_third;
            }
            () = tokio::time::sleep(pause) => state.look = true,
        }
        state.start_ready();
        if !state.holds_rows() {
            extend_at = tokio::time::Instant::now() + lease_third;
        }
    }
}

type UnderWay<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// The end of what is under way, if something is.
async fn ended<T>(under_way: &mut UnderWay<T>) -> T {
    match under_way {
        Some(future) => {
            let end = future.await;
            *under_way = None;
            end
        }
        None => std::future::pending().await,
    }
}

/// What a look at the table brought.
enum Looked {
    /// Where something waits: the next look claims for these.
    Waiting(Vec<Destination>),
    /// And whether there may be more.
    Rows(Vec<Claimed>, bool),
}

type Settled = (i64, i64, Settlement);

struct State {
    name: SubscriberName,
    worker: Worker,
    /// Something may be due.
    look: bool,
    /// The last claim left rows behind that were due.
    more: bool,
    claiming: UnderWay<anyhow::Result<Looked>>,
    settling: UnderWay<(Vec<Settled>, anyhow::Result<u64>)>,
    /// The database refused something: until then it is left alone.
    rest_until: Option<Instant>,
    ready: VecDeque<Claimed>,
    running: JoinSet<Outcome>,
    /// Rows under lease, by the task that delivers them.
    held: HashMap<Id, Held>,
    unsettled: Vec<Settled>,
    targets: Targets,
    /// Grows with each claim: each destination comes first at times.
    turn: usize,
    /// Some of the destinations that were claimed for last get what goes there in the order of its stream.
    ordered: bool,
    pace: Pace,
}

impl State {
    fn new(worker: Worker) -> Self {
        Self {
            name: worker.subscriber.name(),
            targets: Targets::default(),
            turn: 0,
            ordered: false,
            worker,
            look: true,
            more: false,
            claiming: None,
            settling: None,
            rest_until: None,
            ready: VecDeque::new(),
            running: JoinSet::new(),
            held: HashMap::new(),
            unsettled: vec![],
            pace: Pace::new(Instant::now()),
        }
    }

    fn holds_rows(&self) -> bool {
        !self.held.is_empty() || !self.ready.is_empty()
    }

    fn is_idle(&self) -> bool {
        !self.holds_rows() && self.unsettled.is_empty() && self.claiming.is_none() && self.settling.is_none()
    }

    fn rests(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    fn next_look(&self) -> Duration {
        let (poll, now) = (self.worker.settings.poll, Instant::now());
        if let Some(until) = self.rest_until.filter(|until| now < *until) {
            return until - now;
        }
        // The rows that went back become due a little later than the probe, by the database's clock.
        let probe = self.targets.probes().filter(|at| *at + PROBE_PATIENCE > now).min();
        probe.map_or(poll, |at| at.saturating_duration_since(now).clamp(PROBE_LOOK, poll.max(PROBE_LOOK)))
    }

    /// Looks at the table, if something may be due and there is room for it.
    fn begin_claim(&mut self) {
        let now = Instant::now();
        if !self.look || self.claiming.is_some() || self.rests(now) {
            return;
        }
        let (pool, subscriber, name) = (self.worker.pool.clone(), self.worker.subscriber.clone(), self.name);
        if name.has_destinations() {
            self.look = false;
            // Few wait at any time; naming all that can be reached would cost more the more devices there are.
            self.claiming = Some(Box::pin(async move {
                let waiting = waiting_destinations(&pool.get().await?, subscriber.name()).await?;
                if waiting.is_empty() {
                    return Ok(Looked::Rows(vec![], false));
                }
                subscriber.look_up(&waiting).await?;
                Ok(Looked::Waiting(waiting))
            }));
            return;
        }
        let room = self.room(now);
        if room == 0 {
            return;
        }
        // Half of what may wait is there still: the claim can wait, and be larger.
        let ahead = self.pace.ahead(now);
        if self.ready.len() > ahead / 2 {
            return;
        }
        self.look = false;
        let limit = (room + ahead).saturating_sub(self.ready.len()).min(CLAIM_MAX);
        self.claim(Wanted::Any { limit: number(limit) });
    }

    fn claim(&mut self, wanted: Wanted) {
        let Worker { pool, name: worker, settings, .. } = &self.worker;
        let (pool, worker, settings, subscriber) = (pool.clone(), worker.clone(), *settings, self.name);
        self.claiming = Some(Box::pin(async move {
            let client = pool.get().await?;
            let DeliverySettings { lease, per_stream, .. } = settings;
            let all = Claim { subscriber, worker: &worker, lease, wanted, per_stream };
            let rows = claim(&client, &all).await?;
            let more = all.wanted.is_used_up(&rows);
            Ok(Looked::Rows(rows, more))
        }));
    }

    fn looked(&mut self, looked: anyhow::Result<Looked>) {
        match looked {
            Ok(Looked::Waiting(waiting)) => {
                let shares = self.shares(waiting);
                if !shares.is_empty() {
                    self.claim(Wanted::For(shares));
                }
            }
            Ok(Looked::Rows(rows, more)) => {
                metrics::counter!(crate::telemetry::OUTBOX_CLAIMED, "subscriber" => self.name.as_str()).increment(rows.len() as u64);
                self.more = more;
                self.look |= more;
                self.ready.extend(rows);
            }
            Err(trouble) => {
                warn!(outbox.subscriber = self.name.as_str(), error = chain(trouble.as_ref()), "Could not claim; tries again");
                self.rest_until = Some(Instant::now() + DATABASE_REST);
                self.look = true;
            }
        }
    }

    /// Each destination that can be delivered to now gets its part of a claim, and one row at least, whatever the others
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
        let part = (CLAIM_MAX / open.max(1)).max(1);
        let mut free = self.free();
        let mut shares = vec![];
        for (destination, settings, room) in rooms {
            let limit = if room > 0 { room.min(part).min(free) } else { part };
            free -= if room > 0 { limit } else { 0 };
            if let (Some(destination), 1..) = (destination, limit) {
                shares.push(Share { destination, limit: number(limit), per_stream: settings.per_stream, only_expired: room == 0 });
            }
        }
        self.ordered = shares.iter().any(|share| share.per_stream);
        shares
    }

    /// Deliveries that may start besides those under way.
    fn free(&self) -> usize {
        self.worker.settings.concurrency_total.saturating_sub(self.held.len())
    }

    /// Of rows without destinations, how many may start.
    fn room(&self, now: Instant) -> usize {
        self.targets.room(&None, self.worker.settings.concurrency, now).min(self.free())
    }

    fn settings_of(&self, destination: Option<&Destination>) -> DeliverySettings {
        let Worker { subscriber, settings, .. } = &self.worker;
        destination.map_or(*settings, |destination| subscriber.settings_of(destination, *settings))
    }

    /// Starts what has waited for room. Rows with destinations were claimed for the room that these have.
    fn start_ready(&mut self) {
        while let Some(row) = self.ready.pop_front() {
            if !self.name.has_destinations() && self.room(Instant::now()) == 0 {
                self.ready.push_front(row);
                return;
            }
            self.start(row);
        }
    }

    fn start(&mut self, row: Claimed) {
        let settings = self.settings_of(row.destination.as_deref().and_then(Destination::parse).as_ref());
        match start(&self.worker.subscriber, self.name, settings, row) {
            Started::Refused(id, epoch, settlement) => self.unsettled.push((id, epoch, settlement)),
            Started::Ended(held, outcome) => {
                self.targets.started(held.target.clone());
                self.note(held, outcome);
            }
            Started::Goes(held, delivering) => {
                self.targets.started(held.target.clone());
                let task = self.running.spawn(delivering);
                self.held.insert(task.id(), held);
            }
        }
    }

    fn finished(&mut self, finished: Result<(Id, Outcome), tokio::task::JoinError>) {
        let (id, outcome) = match finished {
            Ok(finished) => finished,
            Err(failure) => (failure.id(), super::delivering::panicked(self.name, &failure)),
        };
        if let Some(held) = self.held.remove(&id) {
            self.note(held, outcome);
        }
    }

    fn note(&mut self, mut held: Held, outcome: Outcome) {
        self.pace.finished();
        // There is room now for what was left behind.
        self.look |= self.more || self.name.has_destinations();
        let (id, epoch) = (held.outbox_id, held.epoch);
        let settlement = match held.judge(self.name, outcome, rand::random::<f64>()) {
            Verdict::Reached(settlement) => {
                if self.targets.reached(&held.target) {
                    self.worker.activity.reached(self.name.as_str(), held.target.as_ref().map(Destination::to_string).as_deref());
                }
                if matches!(settlement, Settlement::Delivered) {
                    self.worker.activity.delivered(self.name.as_str(), Instant::now());
                }
                settlement
            }
            Verdict::Down { error } => {
                let now = Instant::now();
                let after = self.targets.down(held.target.clone(), now);
                self.worker.activity.rests(self.name.as_str(), held.target.as_ref().map(Destination::to_string), now + after);
                held.tell_down(self.name, &error, after);
                if !self.name.has_destinations() {
                    // What waits here would find it down as well.
                    self.ready.drain(..).for_each(|row| self.unsettled.push((row.outbox_id, row.epoch, Settlement::Release { after })));
                }
                Settlement::Release { after }
            }
        };
        self.unsettled.push((id, epoch, settlement));
    }

    fn begin_settlement(&mut self) {
        if self.settling.is_some() || self.unsettled.is_empty() || self.rests(Instant::now()) {
            return;
        }
        let (pool, done) = (self.worker.pool.clone(), std::mem::take(&mut self.unsettled));
        self.settling = Some(Box::pin(async move {
            let settled = async { anyhow::Ok(settle(&pool.get().await?, &done).await?) }.await;
            (done, settled)
        }));
    }

    fn settled(&mut self, done: Vec<Settled>, settled: anyhow::Result<u64>) {
        match settled {
            Ok(ours) => {
                // The next rows of these streams may go.
                self.look |= self.worker.settings.per_stream || self.ordered;
                let foreign = (done.len() as u64).saturating_sub(ours);
                if foreign > 0 {
                    let name = self.name.as_str();
                    warn!(outbox.subscriber = name, "{foreign} deliveries had been taken over by another worker when they were settled");
                }
            }
            Err(trouble) => {
                let (name, error) = (self.name.as_str(), chain(trouble.as_ref()));
                warn!(outbox.subscriber = name, error, "Could not settle {} deliveries; tries again", done.len());
                self.unsettled.splice(0..0, done);
                self.rest_until = Some(Instant::now() + DATABASE_REST);
            }
        }
    }

    async fn extend_leases(&mut self) {
        let waiting = self.ready.iter().map(|row| (row.outbox_id, row.epoch));
        let held: Vec<(i64, i64)> = self.held.values().map(|one| (one.outbox_id, one.epoch)).chain(waiting).collect();
        let extended = async {
            let client = self.worker.pool.get().await?;
            anyhow::Ok(extend(&client, &held, self.worker.settings.lease).await?)
        };
        let name = self.name.as_str();
        match extended.await {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                warn!(outbox.subscriber = name, "Lost the lease of {} deliveries under way", lost.len());
                // What has not begun is the other worker's.
                self.ready.retain(|row| !lost.contains(&row.outbox_id));
            }
            Err(trouble) => {
                let error = chain(trouble.as_ref());
                warn!(outbox.subscriber = name, error, "Could not extend leases; another worker may repeat what is under way");
            }
        }
    }

    /// What has not begun is free at once, and the attempt is not counted.
    fn release_ready(&mut self) {
        let release = |row: Claimed| (row.outbox_id, row.epoch, Settlement::Release { after: Duration::ZERO });
        self.unsettled.extend(self.ready.drain(..).map(release));
    }

    /// An orderly stop: what did not finish is free at once, and the attempt is not counted.
    async fn give_back(&mut self) {
        self.running.abort_all();
        if self.claiming.is_some()
            && let Ok(Looked::Rows(rows, _)) = ended(&mut self.claiming).await
        {
            self.ready.extend(rows);
        }
        self.release_ready();
        let under_way = self.held.drain().map(|(_, one)| (one.outbox_id, one.epoch, Settlement::Release { after: Duration::ZERO }));
        self.unsettled.extend(under_way);
        self.finish_settlement().await;
        self.rest_until = None;
        self.begin_settlement();
        self.finish_settlement().await;
    }

    /// Waits for the settlement that is under way, if there is one.
    async fn finish_settlement(&mut self) {
        if self.settling.is_some() {
            let (done, settled) = ended(&mut self.settling).await;
            self.settled(done, settled);
        }
    }
}

fn number(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
