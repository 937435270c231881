//! Whether anything can be changed at all, tried with the smallest change there is.

use uuid::Uuid;

use super::{CommandError, Commands};
use crate::eventstore::StoreError;

impl Commands {
    /// Notes in this process's own row that it asked. That needs a server that takes writes and a log of it on disk;
    /// the temporary file before it, which the function spills to, needs a disk with room. It ends by itself, and all of it is
    /// one transaction without a `begin`: it cannot stay open when the caller stops waiting.
    pub async fn probe_write(&self, process: Uuid) -> Result<(), CommandError> {
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let statement = format!(
            "set local work_mem = '64kB'; select count(*) from generate_series(1, 20000);
             update processes set probed_at = clock_timestamp() where id = '{process}'"
        );
        client.batch_execute(&statement).await.map_err(StoreError::from)?;
        Ok(())
    }
}
