//! What is kept of the tree: rows of 256 hashes.

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;

use crate::domain::log_tree::tile::WIDTH;
use crate::domain::log_tree::{Hash, Kept, TileId};
use crate::eventstore::StoreError;

const SIZE: &str = "select number, octet_length(hashes) / 32 from log_tiles where level = 0 order by number desc limit 1";
pub const READ: &str = "select t.level, t.number, t.hashes from unnest($1::integer[], $2::bigint[]) w(level, number)
                    join log_tiles t on t.level = w.level and t.number = w.number";
const WRITE: &str = "insert into log_tiles (level, number, hashes) select * from unnest($1::integer[], $2::bigint[], $3::bytea[])
                     on conflict (level, number) do update set hashes = excluded.hashes";

/// How many leaves the tree has.
pub async fn size_in(client: &impl GenericClient) -> Result<u64, StoreError> {
    let Some(row) = client.query_opt(SIZE, &[]).await? else { return Ok(0) };
    let (number, width): (i64, i32) = (row.get(0), row.get(1));
    let whole = u64::try_from(number).ok().and_then(|number| number.checked_mul(WIDTH as u64));
    whole
        .and_then(|whole| whole.checked_add(u64::try_from(width).ok()?))
        .ok_or_else(|| StoreError::Unreadable(format!("tile {number} is none")))
}

/// Those of these tiles that are there.
pub async fn read_in<'a>(client: &impl GenericClient, ids: impl IntoIterator<Item = &'a TileId>) -> Result<Kept, StoreError> {
    let (levels, numbers): (Vec<i32>, Vec<i64>) = ids.into_iter().filter_map(as_columns).unzip();
    let statement = client.prepare_cached(READ).await?;
    let rows = client.query(&statement, &[&levels, &numbers]).await?;
    rows.iter().map(|row| of_row(row).ok_or_else(|| StoreError::Unreadable("a tile of the log is torn".to_owned()))).collect()
}

/// None where it is torn.
pub fn of_row(row: &Row) -> Option<(TileId, Vec<Hash>)> {
    let (level, number, hashes): (i32, i64, &[u8]) = (row.get(0), row.get(1), row.get(2));
    let id = TileId { level: u32::try_from(level).ok()?, number: u64::try_from(number).ok()? };
    Some((id, Hash::all_of(hashes)?))
}

pub(super) async fn write_in(client: &impl GenericClient, tiles: &Kept) -> Result<(), StoreError> {
    let (levels, numbers): (Vec<i32>, Vec<i64>) = tiles.keys().filter_map(as_columns).unzip();
    let hashes: Vec<Vec<u8>> = tiles.values().map(|hashes| Hash::bytes_of(hashes)).collect();
    let statement = client.prepare_cached(WRITE).await?;
    client.execute(&statement, &[&levels, &numbers, &hashes]).await?;
    Ok(())
}

/// None beyond what any table has.
pub fn as_columns(id: &TileId) -> Option<(i32, i64)> {
    Some((i32::try_from(id.level).ok()?, i64::try_from(id.number).ok()?))
}
