//! API keys: issued to programs, and revoked.

use std::net::IpAddr;

use super::accounts::factories_must_exist;
use super::registration::TokenHash;
use super::{Command, CommandError, Commands, Work};
use crate::domain::api_key::{ApiKey, ApiKeyCommand, Terms};
use crate::domain::{Aggregate as _, ApiKeyId};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::projections::reads::credentials::Subject;

/// A program may ask from now on.
#[derive(Clone)]
pub struct IssueApiKey {
    pub terms: Terms,
    pub secret: TokenHash,
}

impl Command for IssueApiKey {
    type Answer = ApiKeyId;
    const NAME: &'static str = "issue_api_key";

    async fn run(&self, work: &mut Work) -> Result<ApiKeyId, CommandError> {
        factories_must_exist(work, &self.terms.factories).await?;
        let id = facts::new_ids(&mut work.tx, "api_key_ids", 1).await?[0];
        work.decide(&mut Loaded::<ApiKey>::absent(id), ApiKeyCommand::Issue(self.terms.clone()))?;
        work.set_credential(ApiKey::TYPE, id, self.secret.0.clone());
        Ok(ApiKeyId(id))
    }
}

/// It opens nothing any more. Asked again, it stays so.
#[derive(Clone, Copy, Debug)]
pub struct RevokeApiKey(pub ApiKeyId);

impl Command for RevokeApiKey {
    type Answer = ();
    const NAME: &'static str = "revoke_api_key";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut key = work.lock_and_load::<ApiKey>(self.0).await?;
        let now = work.now;
        work.decide(&mut key, ApiKeyCommand::Revoke { now })?;
        work.drop_credential(ApiKey::TYPE, self.0.0);
        Ok(())
    }
}

/// Answers whether the key was not seen from there before, as far as that is known: not the time before, and not while logins are kept.
const USED: &str = "with before as (select address from api_key_uses where api_key_id = $1),
    noted as (
        insert into api_key_uses (api_key_id, last_used_at, address) values ($1, $2, $3::text)
        on conflict (api_key_id) do update set (last_used_at, address) = (excluded.last_used_at, excluded.address)
        where api_key_uses.last_used_at < excluded.last_used_at)
    select $3::text is not null and not exists (select from before where address = $3)
        and not exists (select from access_records where entity = $4::text and kind = 'login' and source_address = $3)";

impl Commands {
    /// Notes that a key was shown; true where that was from an address for the first time. No event: it changes nothing.
    pub async fn note_api_key_use(&self, id: ApiKeyId, whose: Subject, address: Option<IpAddr>) -> Result<bool, CommandError> {
        let address = address.map(|address| address.to_string());
        let rows = self.beside_the_log(USED, &[&id, &self.now(), &address, &whose.entity()]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }
}
