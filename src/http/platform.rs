//! The data platform, as its configuration says at the moment of a request: its devices are what robots are bound to.

use std::fmt::Display;

use super::AppState;
use super::problem::{Code, Problem};
use crate::cloud::platform::{Platform, PlatformError};

/// None where recordings go to no gateway. It is read each time: what is mended, is well.
async fn read(state: &AppState) -> Option<Result<Platform, PlatformError>> {
    let path = state.settings.sync.platform.clone()?;
    Some(Platform::read(path).await)
}

/// Why nothing can be pushed to it.
pub async fn trouble(state: &AppState) -> Option<PlatformError> {
    read(state).await?.err()
}

fn unusable(why: impl Display) -> Problem {
    Problem::new(Code::SyncNotConfigured, format!("robots cannot be bound to assets: {why}"))
}

/// What it knows.
pub async fn known(state: &AppState) -> Result<Platform, Problem> {
    match read(state).await {
        Some(read) => read.map_err(unusable),
        None => Err(unusable("recordings go to no gateway of a data platform, see `sync.gateway.config`")),
    }
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
    match read(state).await {
        Some(Ok(platform)) => must_be_ready(&platform, asset_id).map(|()| true),
        None | Some(Err(PlatformError::Missing)) => Ok(false),
        Some(Err(error)) => Err(unusable(error)),
    }
}
