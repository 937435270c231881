//! The administrator's password at a start: given by the settings, kept from before, or made now.
//!
//! The truth is its hash in the database, so that all processes have the same one and it survives their starts. A password
//! that the settings give replaces it, and stays when it is taken out of them again. One that we made also lies in the
//! data folder, where there is one, because a person who lost it can look there.

use std::path::PathBuf;

use tokio::task::spawn_blocking;
use tracing::warn;

use crate::commands::Commands;
use crate::config::{Auth, Secret};
use crate::embedded::{DataDir, secret_file};
use crate::http::auth::passwords::{self, Match, Of, compare};
use crate::projections::reads::Reads;

/// The data folder's file that remembers a password that was made.
pub const ADMIN_PASSWORD: &str = "admin_password";

/// What this process knows of the password.
pub enum AdminPassword {
    /// Made by this very start, and to be shown; where there is a data folder, it lies there from now on.
    Made(Secret, Option<PathBuf>),
    /// Made by an earlier start, in a file.
    InFile(Secret, PathBuf),
    /// Given by the settings.
    Given(Secret),
    /// Kept as a hash only.
    Kept,
}

impl AdminPassword {
    /// Where it is known.
    pub fn known(&self) -> Option<&Secret> {
        match self {
            Self::Made(password, _) | Self::InFile(password, _) | Self::Given(password) => Some(password),
            Self::Kept => None,
        }
    }
}

pub async fn settle(auth: &Auth, data: Option<&DataDir>, commands: &Commands, reads: &Reads) -> anyhow::Result<AdminPassword> {
    let kept = reads.admin_password().await?.map(|kept| kept.hash);
    if let Some(given) = &auth.admin_password {
        if !fits(given, kept.as_deref()).await? {
            commands.change_admin_password(&hash(given).await?).await?;
            if kept.is_some() {
                warn!("The administrator's password is the one in the settings from now on; the one before opens nothing any more");
            }
        }
        forget_another(data, Some(given))?;
        return Ok(AdminPassword::Given(given.clone()));
    }
    let file = data.map(|data| secret_file(data.path(), ADMIN_PASSWORD));
    let remembered = data.filter(|data| data.has_secret(ADMIN_PASSWORD)).map(|data| data.secret(ADMIN_PASSWORD)).transpose()?;
    if kept.is_none() {
        let first = match (&remembered, data) {
            (Some(remembered), _) => remembered.clone(),
            // In the file before anything else: a start that is killed in between goes on with it.
            (None, Some(data)) => data.secret(ADMIN_PASSWORD)?,
            (None, None) => Secret::new(hex::encode(rand::random::<[u8; 12]>())),
        };
        if commands.keep_first_admin_password(&hash(&first).await?).await? {
            return Ok(match (remembered, file) {
                // Of a version that kept it nowhere else.
                (Some(remembered), Some(file)) => AdminPassword::InFile(remembered, file),
                (_, file) => AdminPassword::Made(first, file),
            });
        }
        // Another process was first.
        forget_another(data, None)?;
        return Ok(AdminPassword::Kept);
    }
    match (remembered, file) {
        (Some(remembered), Some(file)) if fits(&remembered, kept.as_deref()).await? => Ok(AdminPassword::InFile(remembered, file)),
        _ => {
            forget_another(data, None)?;
            Ok(AdminPassword::Kept)
        }
    }
}

/// Removes the file where it holds another password than the one there is: it would mislead.
fn forget_another(data: Option<&DataDir>, password: Option<&Secret>) -> anyhow::Result<()> {
    let Some(data) = data.filter(|data| data.has_secret(ADMIN_PASSWORD)) else { return Ok(()) };
    if password != Some(&data.secret(ADMIN_PASSWORD)?) {
        data.forget(ADMIN_PASSWORD)?;
    }
    Ok(())
}

async fn hash(password: &Secret) -> anyhow::Result<String> {
    let password = password.clone();
    Ok(spawn_blocking(move || passwords::hash_of(password.expose())).await??)
}

async fn fits(password: &Secret, kept: Option<&str>) -> anyhow::Result<bool> {
    let Some(kept) = kept.map(str::to_owned) else { return Ok(false) };
    let password = password.clone();
    Ok(spawn_blocking(move || compare(password.expose(), &kept, Of::Administrator).is_ok_and(|found| found != Match::No)).await?)
}
