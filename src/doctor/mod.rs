//! `keystone doctor`: whether a site is set up so that it works and loses nothing, and what to do where it is not.
//!
//! It reads the settings as the server does, starts nothing and changes nothing, and works beside a running server
//! and without one. [`look`] gathers facts, each look with an end; the other files say what the facts mean, and
//! wait for nothing. A new check is a fact there, a [`Finding`] here, and a row in `docs/operations.md`.

mod addresses;
mod clock;
mod database;
mod host;
mod look;
mod report;
mod robots;
mod store;
mod work;

use std::path::PathBuf;

pub use report::{Finding, Level, Report};

use crate::config::{Config, S3, SharedKey, host_name};
use crate::embedded::secret_file;

/// What the server remembers in the `secrets` of its data folder.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// Where its private cluster is.
    pub database_url: &'static str,
    /// The key to the store that robots shared.
    pub shared_key: &'static str,
    pub admin_password: &'static str,
}

/// Looks at everything.
pub async fn examine(config: &Config, files: Remembered) -> Report {
    let folder = config.embedded.data_dir.clone();
    let told = look::on_a_thread(move || {
        let there = |name| secret_file(&folder, name).exists();
        let url = look::host::remembered(&folder, files.database_url);
        (look::host::holder(&folder), url, there(files.shared_key), there(files.admin_password))
    })
    .await;
    let (holder, remembered, shared_key, password_remembered) = told.unwrap_or_default();
    let held = holder.is_some();
    let url = config.database.url.clone().or(remembered);
    let (database, store, listening) = tokio::join!(
        look::database::look(config, url.as_ref(), held),
        look::store::look(config, held),
        look::ports::look(config, password_remembered),
    );

    let wanted = database::Wanted {
        embedded: config.database.is_embedded(),
        pool_max: config.database.pool_max as u64,
        statement_timeout: config.database.statement_timeout,
        idle_in_transaction_timeout: config.database.idle_in_transaction_timeout,
        known: crate::pg::migrations(),
        shared_key: shared_key_of(&config.s3, shared_key),
    };
    let mut findings = database::judge(&database, &wanted);
    findings.extend(store::judge(&store));
    findings.extend(host_findings(config, holder, &database).await);
    findings.extend(addresses::judge(config, &listening));
    Report::new(host_name().unwrap_or_default(), chrono::Utc::now(), findings)
}

/// As the server decides it at its start.
fn shared_key_of(s3: &S3, remembered: bool) -> robots::SharedKey {
    let there = s3.access_key.is_some() || remembered;
    match s3.shared_key {
        _ if !s3.is_embedded() => robots::SharedKey::Elsewhere,
        SharedKey::Refused => robots::SharedKey::Refused,
        SharedKey::Auto if !there => robots::SharedKey::Absent,
        SharedKey::Auto | SharedKey::Allowed => robots::SharedKey::Opens,
    }
}

async fn host_findings(config: &Config, holder: Option<u32>, database: &database::Database) -> Vec<Finding> {
    let (config, data) = (config.clone(), database_folder(database));
    match look::on_a_thread(move || look::host::look(&config, holder, data)).await {
        Ok(host) => host::judge(&host),
        Err(why) => vec![Finding::problem("host.disk", format!("this host's disks do not answer: {why}"), "look at the kernel's log")],
    }
}

/// Where Postgres keeps its data, if it does so on this host and shows it.
fn database_folder(database: &database::Database) -> Option<PathBuf> {
    let database::Database::Reached(facts) = database else { return None };
    let folder = PathBuf::from(facts.settings.get("data_directory")?);
    (facts.way == database::Way::SameHost).then_some(folder)
}
