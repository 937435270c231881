//! How much of the tree is in the object store.

use deadpool_postgres::GenericClient;

use super::position;
use crate::eventstore::StoreError;

const SIZE: &str = "select size from log_published where origin = $1";
const REACHED: &str = "insert into log_published as p (origin, size) values ($1, $2)
                       on conflict (origin) do update set size = greatest(p.size, excluded.size)";

/// Of which size a tree is wholly there, but for pieces that were not full.
pub async fn size_in(client: &impl GenericClient, origin: &str) -> Result<u64, StoreError> {
    let size: i64 = client.query_opt(SIZE, &[&origin]).await?.map_or(0, |row| row.get(0));
    Ok(u64::try_from(size).unwrap_or_default())
}

pub async fn reached_in(client: &impl GenericClient, origin: &str, size: u64) -> Result<(), StoreError> {
    client.execute(REACHED, &[&origin, &position(size)?]).await?;
    Ok(())
}
