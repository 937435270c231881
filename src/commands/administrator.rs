//! The administrator's password, one for all processes: its hash stands beside those of other accounts. No event:
//! secrets never enter them.

use super::error::CommandError;
use super::execute::Commands;
use crate::projections::reads::credentials::Holder;

const KEEP_FIRST: &str = "insert into credentials (subject, subject_id, password_hash) values ('administrator', 0, $1)
                          on conflict do nothing returning changed_at";

/// And ends the sessions that were begun with the one before.
const CHANGE: &str = "with ended as (
                          update sessions set ended_at = clock_timestamp()
                          where subject = 'administrator' and ended_at is null and expires_at > clock_timestamp())
                      insert into credentials (subject, subject_id, password_hash) values ('administrator', 0, $1)
                      on conflict (subject, subject_id)
                      do update set password_hash = excluded.password_hash, changed_at = clock_timestamp() returning changed_at";

impl Commands {
    /// Keeps the hash where there is none yet. Of several processes that try, one hears that its password is it.
    pub async fn keep_first_admin_password(&self, hash: &str) -> Result<bool, CommandError> {
        Ok(!self.beside_the_log(KEEP_FIRST, &[&hash]).await?.is_empty())
    }

    /// From now on this one, in every process.
    pub async fn change_admin_password(&self, hash: &str) -> Result<(), CommandError> {
        self.beside_the_log(CHANGE, &[&hash]).await?;
        // A login that compared the one before may have begun its session while this was being kept.
        self.end_sessions(Holder::Administrator.subject()).await?;
        Ok(())
    }
}
