//! The read models folded from the log, in a schema of their own beside the live ones, which is gone when they are compared.

use deadpool_postgres::{GenericClient, Pool};
use serde_json::Value;
use tokio_postgres::IsolationLevel;

use super::folds::Folds;
use super::rows::{TableName, tables};
use crate::eventstore::{StoreError, log};

/// The schema in which the other copy is made, inside one transaction.
const REBUILT_SCHEMA: &str = "rebuilt";

const DROP_SCHEMA: &str = "drop schema if exists rebuilt cascade";

/// Events read at once.
const PAGE: i64 = 1000;

/// What a rebuild found.
#[derive(Clone, Debug, PartialEq)]
pub struct Rebuilt {
    /// The last position that was folded.
    pub position: i64,
    /// Events that were folded although they wait for their position.
    pub unplaced: usize,
    /// Rows that differ between the live read models and the rebuilt ones: table, which side, the row.
    pub differences: Vec<(String, String, Value)>,
}

/// Takes turns with another rebuild, which makes the same schema ("keystone rebuild").
const REBUILD_LOCK: i64 = 0x6b65_7973_7265_6275;

/// Folds all events into tables of a schema of their own, and compares them with the live ones. Events, live
/// rows and their comparison are of one moment, so that it may be asked beside a busy server. Nobody else sees that
/// schema, and no end leaves it behind.
pub async fn rebuild(pool: &Pool) -> Result<Rebuilt, StoreError> {
    let mut client = pool.get().await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    // All of the log is read, however long it is, and folded into rows in memory.
    moment.batch_execute("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = '10min'").await?;
    if !moment.query_one("select pg_try_advisory_xact_lock($1)", &[&REBUILD_LOCK]).await?.get::<_, bool>(0) {
        return Err(StoreError::Unavailable("another rebuild is under way".into()));
    }
    let mut folds = Folds::of_all();
    let mut position = 0;
    loop {
        let page = log::read_after_in(&moment, position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for placed in &page {
            folds.apply(&placed.event)?;
        }
    }
    // Their rows are there already.
    let waiting = log::waiting_in(&moment).await?;
    for event in &waiting {
        folds.apply(event)?;
    }
    write(folds, &moment).await?;
    let differences = differences(&moment).await?;
    // Also one that a version left behind which kept it.
    moment.batch_execute(DROP_SCHEMA).await?;
    moment.commit().await?;
    Ok(Rebuilt { position, unplaced: waiting.len(), differences })
}

/// Writes the rows into tables like the live ones.
async fn write(folds: Folds, client: &impl GenericClient) -> Result<(), StoreError> {
    let rows = folds.into_rows()?;
    client.batch_execute(&format!("{DROP_SCHEMA}; create schema {REBUILT_SCHEMA}")).await?;
    for TableName { name: table, .. } in tables() {
        client.batch_execute(&format!("create table {REBUILT_SCHEMA}.{table} (like public.{table} including all)")).await?;
    }
    for (TableName { name: table, upsert, .. }, rows) in rows {
        let sql = upsert.replacen(&format!("insert into {table} "), &format!("insert into {REBUILT_SCHEMA}.{table} "), 1);
        for chunk in rows.chunks(1000) {
            client.execute(&sql, &[&Value::Array(chunk.to_vec())]).await?;
        }
    }
    Ok(())
}

async fn differences(client: &impl GenericClient) -> Result<Vec<(String, String, Value)>, StoreError> {
    let mut found = vec![];
    for TableName { name: table, .. } in tables() {
        let sql = format!(
            "(select 'live' as side, to_jsonb(l) as row from (select * from public.{table} except select * from {REBUILT_SCHEMA}.{table}) l)
             union all
             (select 'rebuilt', to_jsonb(r) from (select * from {REBUILT_SCHEMA}.{table} except select * from public.{table}) r)
             limit 20"
        );
        for row in client.query(&sql, &[]).await? {
            found.push(((*table).to_owned(), row.get(0), row.get(1)));
        }
    }
    Ok(found)
}
