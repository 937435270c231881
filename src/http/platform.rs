//! The data platform, as its configuration says at the moment of a request: its devices are what robots are bound to.

use std::fmt::Display;
use std::path::PathBuf;

use super::AppState;
use super::problem::{Code, Problem, failed};
use crate::cloud::platform::{Platform, PlatformError};

async fn read(path: PathBuf) -> Result<Result<Platform, PlatformError>, Problem> {
    // A file system may be slow, and of another machine.
    tokio::task::spawn_blocking(move || Platform::read(&path)).await.map_err(|error| failed(&anyhow::Error::new(error)))
}

fn unusable(why: impl Display) -> Problem {
    Problem::new(Code::SyncNotConfigured, format!("robots cannot be bound to assets: {why}"))
}

/// What it knows.
pub async fn known(state: &AppState) -> Result<Platform, Problem> {
    let Some(path) = state.settings.sync.platform.clone() else {
        return Err(unusable("recordings go to no gateway of a data platform, see `sync.gateway.config`"));
    };
    read(path).await?.map_err(unusable)
}

/// Whether it is one that something can be uploaded for.
pub fn must_be_ready(platform: &Platform, asset_id: &str) -> Result<(), Problem> {
    if platform.device(asset_id).is_some() {
        return Ok(());
    }
    let text = "asset_id names no device of the data platform that has a key and tags; `/robots/cloud-asset-options` lists those that can be bound";
    Err(Problem::new(Code::AssetNotReady, text).with("field", "asset_id"))
}

/// Whether what a new robot is given is an asset, which is checked then; where no gateway is, or its configuration is not there yet, it is a text like
/// another.
pub async fn has_asset(state: &AppState, asset_id: &str) -> Result<bool, Problem> {
    let Some(path) = state.settings.sync.platform.clone() else { return Ok(false) };
    match read(path).await? {
        Ok(platform) => must_be_ready(&platform, asset_id).map(|()| true),
        Err(PlatformError::Missing) => Ok(false),
        Err(error) => Err(unusable(error)),
    }
}
