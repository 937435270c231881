//! What one run of a command loads, decides and will commit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::error::CommandError;
use super::idempotency::{IdempotencyKey, KeptOutcome, REMEMBERED};
use super::requests::{self, LateAnswer, NewRequest};
use crate::domain::{Actor, DeviceId, OrderId, OrganizationId, Scope, StreamId, Timestamp};
use crate::eventstore::transaction::apply;
use crate::eventstore::{EventStore, Loaded, Metadata, NewEvent, StoreError, Transaction};
use crate::projections::facts::{self, FactoryTable};
use crate::projections::people::{self, Person};
use crate::projections::rows::{Head, Shown, Table, TableName, row_of};
use crate::projections::{ReadModel, RowWrite};

type SnapshotOffer = Box<dyn FnOnce(&EventStore) + Send>;

pub struct Work {
    pub tx: Transaction,
    pub now: Timestamp,
    /// What the caller may speak of.
    pub scope: Scope,
    /// How long a recorder may take to let go of a task.
    pub release_timeout: Duration,
    store: EventStore,
    metadata: Metadata,
    events: Vec<NewEvent>,
    /// Where each stream stands with what was decided: a second load would not show it.
    heads: BTreeMap<StreamId, i64>,
    /// Rows of streams, the newest state of each; then rows of single events.
    rows: BTreeMap<(&'static TableName, String), Value>,
    /// Ids of things that are gone, by table.
    gone: BTreeMap<&'static TableName, Vec<Value>>,
    snapshots: Vec<SnapshotOffer>,
    /// Hashes to keep, which never enter events: subject, id, hash.
    credentials: Vec<(&'static str, i64, String)>,
    /// Those that open nothing any more: subject, id.
    dropped: Vec<(&'static str, i64)>,
    /// Who people are, which never enters events, either.
    people: Vec<Person>,
    /// What commands to recorders are sent with, by their ids, which never enters events, either.
    params: Vec<(String, Value)>,
    /// Commands to recorders that are settled.
    settled: Vec<String>,
    /// What a person asks for, and who that is.
    requests: Vec<NewRequest>,
    /// What was answered after it had been given up.
    late: Vec<LateAnswer>,
    /// An order was locked, and what follows from what was decided about it was not decided yet.
    pub(super) unfinished: Option<OrderId>,
    /// What the command answers, where the same request may come again.
    outcomes: Vec<KeptOutcome>,
}

impl Work {
    pub(super) async fn begin(
        store: &EventStore,
        metadata: Metadata,
        scope: Scope,
        now: Timestamp,
        release_timeout: Duration,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            tx: store.begin().await?,
            now,
            scope,
            release_timeout,
            store: store.clone(),
            metadata,
            events: vec![],
            heads: BTreeMap::new(),
            rows: BTreeMap::new(),
            gone: BTreeMap::new(),
            snapshots: vec![],
            credentials: vec![],
            dropped: vec![],
            people: vec![],
            params: vec![],
            settled: vec![],
            requests: vec![],
            late: vec![],
            unfinished: None,
            outcomes: vec![],
        })
    }

    /// Whether what belongs to an organization is there for the caller; looked up only where not everything is.
    pub async fn sees(&mut self, organization: OrganizationId) -> Result<bool, StoreError> {
        if self.scope == Scope::Everything {
            return Ok(true);
        }
        let factory = facts::factory_of(&mut self.tx, FactoryTable::Organizations, organization.0).await?;
        Ok(factory.is_some_and(|factory| self.scope.contains(factory, Some(organization))))
    }

    /// The same for a robot, by the id of its device.
    pub async fn sees_device(&mut self, device: &DeviceId) -> Result<bool, StoreError> {
        if self.scope == Scope::Everything {
            return Ok(true);
        }
        let factory = facts::factory_of_device(&mut self.tx, device).await?;
        Ok(factory.is_some_and(|factory| self.scope.contains(factory, None)))
    }

    /// Loads several streams of one kind in one round trip.
    pub async fn load_many<A: ReadModel>(&mut self, ids: &[String]) -> Result<Vec<Loaded<A>>, StoreError> {
        self.tx.load_many(ids).await
    }

    /// Waits for commands that change the stream, and loads it: one round trip.
    pub async fn lock_and_load<A: ReadModel>(&mut self, id: impl ToString) -> Result<Loaded<A>, StoreError> {
        let mut loaded = self.tx.lock_and_load(&[StreamId::of::<A>(id.to_string())], &[id.to_string()]).await?;
        Ok(loaded.remove(0))
    }

    /// The same with two of different kinds, which are locked in one order for everybody.
    pub async fn lock_and_load_both<A: ReadModel, B: ReadModel>(
        &mut self,
        id: impl ToString,
        other: impl ToString,
    ) -> Result<(Loaded<A>, Loaded<B>), StoreError> {
        self.tx.lock_and_load_both(id.to_string(), other.to_string()).await
    }

    pub async fn load<A: ReadModel>(&mut self, id: impl ToString) -> Result<Loaded<A>, StoreError> {
        self.tx.load(id).await
    }

    /// Decides on a stream, folds what was decided into it, and keeps it for the commit.
    pub fn decide<A: ReadModel>(&mut self, stream: &mut Loaded<A>, command: A::Command) -> Result<usize, CommandError> {
        let before = stream.version;
        let id = stream.stream();
        let decided = stream.state.decide(command).map_err(|refusal| super::Refusal::from(refusal).about(&id))?;
        let head = self.heads.entry(id.clone()).or_insert(before);
        if *head != before {
            return Err(anyhow::anyhow!("{id} was loaded a second time after it had been decided on in the same command").into());
        }
        for event in &decided {
            apply(stream, event, self.now);
            self.events.push(NewEvent::new(id.clone(), stream.subject(), stream.version, event)?);
            let head = Head { id: &stream.id, version: stream.version, created_at: self.now, updated_at: self.now };
            self.settled.extend(A::settles(event).map(str::to_owned));
            A::shown_event(&stream.state, &stream.id, event, head)?.into_iter().for_each(|write| self.keep(write));
        }
        self.heads.insert(id, stream.version);
        if decided.is_empty() {
            return Ok(0);
        }
        if let (Some(created_at), Some(updated_at)) = (stream.created_at, stream.updated_at) {
            match row_of(&stream.id, stream.version, &stream.state, created_at, updated_at)? {
                Shown::Row(write) => self.keep(write),
                Shown::Gone => self.drop_row(A::Row::NAME, &stream.id)?,
            }
        }
        if A::SNAPSHOT_EVERY.is_some_and(|every| before / every != stream.version / every) {
            let after = stream.clone();
            self.snapshots.push(Box::new(move |store| Transaction::offer_snapshot(store, before, &after)));
        }
        Ok(decided.len())
    }

    /// The thing is gone, and its row with it.
    fn drop_row(&mut self, table: &'static TableName, stream: &str) -> Result<(), StoreError> {
        let id = table.id(stream)?;
        self.rows.remove(&(table, id.to_string()));
        self.gone.entry(table).or_default().push(id);
        Ok(())
    }

    fn keep(&mut self, write: RowWrite) {
        self.rows.insert((write.table, write.key()), write.row);
    }

    /// Who asks.
    pub fn actor(&self) -> &Actor {
        &self.metadata.actor
    }

    /// Keeps the hash of a password or a token beside the events of its owner, in place of the one before.
    pub fn set_credential(&mut self, subject: &'static str, id: i64, hash: String) {
        self.credentials.push((subject, id, hash));
    }

    /// What its owner signed in with opens nothing any more.
    pub fn drop_credential(&mut self, subject: &'static str, id: i64) {
        self.dropped.push((subject, id));
    }

    /// Keeps who a person is beside the log, in place of what was known before.
    pub fn set_person(&mut self, person: Person) {
        self.people.push(person);
    }

    /// Keeps what a command to a recorder is sent with beside the log, until the command is settled.
    pub(super) fn keep_params(&mut self, command_id: String, params: Value) {
        self.params.push((command_id, params));
    }

    /// Notes that the author of this command asks for something, beside the log.
    pub(super) fn keep_request(&mut self, id: String, device: DeviceId, waited_by: Option<Uuid>) {
        self.requests.push(NewRequest { id, asker: self.metadata.actor.to_string(), device, at: self.now, waited_by });
    }

    pub(super) fn keep_late_answer(&mut self, answer: LateAnswer) {
        self.late.push(answer);
    }

    pub(super) fn keep_outcome(&mut self, key: IdempotencyKey, step: &'static str, outcome: Value) {
        let (at, forgotten_before) = (self.now, self.now - REMEMBERED);
        self.outcomes.push(KeptOutcome { key, step, outcome, forgotten_before, at });
    }

    pub(super) async fn commit(self) -> Result<(), CommandError> {
        if let Some(order) = self.unfinished {
            return Err(anyhow::anyhow!("a command that changes order {order} did not finish its production").into());
        }
        self.store_all().await?;
        Ok(())
    }

    async fn store_all(mut self) -> Result<(), StoreError> {
        self.tx.tell_settled(self.settled.clone());
        let mut rows: BTreeMap<&'static TableName, Vec<Value>> = BTreeMap::new();
        for ((table, _), row) in self.rows {
            rows.entry(table).or_default().push(row);
        }
        let rows: Vec<(&'static str, Value)> = rows.into_iter().map(|(table, rows)| (table.upsert, Value::Array(rows))).collect();
        let mut also: Vec<crate::eventstore::transaction::Query<'_>> = vec![];
        // First of all: where a twin came first, that is the reason, and not the name that it took.
        let fingerprints: Vec<&[u8]> = self.outcomes.iter().map(|kept| &kept.key.fingerprint[..]).collect();
        for (kept, fingerprint) in self.outcomes.iter().zip(&fingerprints) {
            also.extend(kept.queries(fingerprint));
        }
        // Names of what is gone are free for what comes now.
        let gone: Vec<(&'static str, Value)> = self.gone.into_iter().map(|(table, ids)| (table.delete, Value::Array(ids))).collect();
        // Rows take from them who is who.
        for person in &self.people {
            also.push((people::KEEP, vec![&person.subject, &person.id, &person.name, &person.operator_id, &person.email]));
        }
        for (sql, values) in gone.iter().chain(&rows) {
            also.push((sql, vec![values]));
        }
        for person in &self.people {
            also.push((people::AT_STATIONS, vec![&person.subject, &person.id, &person.name, &person.operator_id]));
        }
        for (subject, id) in &self.dropped {
            also.push(("delete from credentials where subject = $1 and subject_id = $2", vec![subject, id]));
        }
        for (subject, id, hash) in &self.credentials {
            let sql = "insert into credentials (subject, subject_id, password_hash) values ($1, $2, $3)
                       on conflict (subject, subject_id) do update set password_hash = excluded.password_hash, changed_at = clock_timestamp()";
            also.push((sql, vec![subject, id, hash]));
            // A token says only in which second it was given.
            also.push((people::END_SESSIONS, vec![subject, id, &self.now]));
        }
        for (command_id, params) in &self.params {
            let sql = "insert into command_params (command_id, params, created_at) values ($1, $2, $3)";
            also.push((sql, vec![command_id, params, &self.now]));
        }
        also.extend(self.requests.iter().map(|request| (requests::KEEP, request.parameters())));
        also.extend(self.late.iter().map(|late| (requests::ANSWERED_LATE, late.parameters())));
        if !self.settled.is_empty() {
            also.push(("delete from command_params where command_id = any ($1)", vec![&self.settled]));
        }
        self.tx.commit(&self.events, &self.metadata, &also).await?;
        for offer in self.snapshots {
            offer(&self.store);
        }
        Ok(())
    }

    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        self.tx.roll_back().await
    }
}
