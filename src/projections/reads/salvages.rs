//! Salvages of episodes.

use super::error::ReadError;
use super::home::Home;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::{EpisodeId, Scope};
use crate::projections::rows::salvage::SalvageRow;

row! {
    /// How far the newest request of an episode is, and the newest file that was made.
    SalvageShown of SalvageRow as "s" {}
}

const HOME: Home = Home::Organization { factory: "e.factory_id", organization: "e.organization_id" };

fn get() -> String {
    format!("select {} from salvages s join episodes e on e.id = s.id where s.id = $1", SalvageShown::columns())
}

impl Reads {
    /// None of an episode that it was never asked for.
    pub async fn salvage(&self, scope: &Scope, episode: EpisodeId) -> Result<Option<SalvageShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&episode]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("salvage of an episode", get())]
}
