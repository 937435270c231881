//! The database for commands beside the server: the configured one, that of a running server,
//! or the private cluster started for the moment. Who only looks makes nothing and migrates nothing.

use std::path::Path;

use anyhow::Context as _;
use deadpool_postgres::Pool;

use crate::app::{DATABASE_URL_FILE, unusable};
use crate::config::{Config, Secret};
use crate::embedded::DataDir;
use crate::embedded::postgres::{EmbeddedPostgres, Options};
use crate::pg::{self, Connector, Migration};

pub struct Database {
    pub pool: Pool,
    connector: Connector,
    started: Option<(EmbeddedPostgres, DataDir)>,
}

/// The database of an installation that is there, to look at: a wrong folder is an error, and so is a database that this
/// program has not migrated.
pub async fn look(config: &Config) -> anyhow::Result<Database> {
    if config.database.url.is_none() {
        must_hold_a_cluster(&config.embedded.data_dir)?;
    }
    let database = open(config).await?;
    let applied = applied_migrations(&database.pool).await;
    let known = pg::migrations();
    match applied.map(|applied| pg::missing(&known, &applied)) {
        Ok(missing) if missing.is_empty() => Ok(database),
        outcome => {
            database.close().await?;
            let missing = outcome.context(unusable(&config.database))?;
            anyhow::bail!(
                "this database is not one of this version of Keystone: {} migrations are missing, the first is `{}`; name another \
                 ({NAMES}), or let `keystone migrate` bring it up to date",
                missing.len(),
                missing.first().map_or("", |migration| migration.name.as_str()),
            )
        }
    }
}

/// What names the place of an installation.
const NAMES: &str = "KEYSTONE_DATA_DIR for a data folder, KEYSTONE_DATABASE_URL for a database of your own";

fn must_hold_a_cluster(folder: &Path) -> anyhow::Result<()> {
    let cluster = folder.join("postgres");
    let found = cluster.join("data/PG_VERSION").try_exists();
    let found = found.with_context(|| format!("cannot look for a database in {}", folder.display()))?;
    // Of a link that leads nowhere more is said when it is followed.
    let gone = cluster.is_symlink() && !cluster.is_dir();
    anyhow::ensure!(
        found || gone,
        "there is no database in {}; name the folder or the database of an installation ({NAMES})",
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display()
    );
    Ok(())
}

async fn applied_migrations(pool: &Pool) -> anyhow::Result<Vec<Migration>> {
    let client = pg::get(pool).await?;
    Ok(pg::applied_migrations(&client).await?)
}

/// Brings its schema to this version; where there is no database in the data folder yet, one is made.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let database = open(config).await?;
    let migrated = database.connector.migrate().await;
    database.close().await?;
    migrated.context(unusable(&config.database))
}

async fn open(config: &Config) -> anyhow::Result<Database> {
    if let Some(url) = &config.database.url {
        return with_url(config, url, None);
    }
    let folder = &config.embedded.data_dir;
    match DataDir::lock(folder) {
        // No server runs: the cluster is ours for the moment.
        Ok(data) => {
            let options = Options { pg_bin: config.embedded.pg_bin.clone(), ..Options::default() };
            let postgres = EmbeddedPostgres::start(&data.path().join("postgres"), &options).await?;
            let url = postgres.url().clone();
            with_url(config, &url, Some((postgres, data)))
        }
        Err(taken) => {
            let url = std::fs::read_to_string(folder.join("secrets").join(DATABASE_URL_FILE)).map_err(|_| taken)?;
            with_url(config, &Secret::new(url.trim()), None)
        }
    }
}

fn with_url(config: &Config, url: &Secret, started: Option<(EmbeddedPostgres, DataDir)>) -> anyhow::Result<Database> {
    let connector = Connector::new(url, &config.database)?.unhurried();
    Ok(Database { pool: connector.pool()?, connector, started })
}

impl Database {
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close();
        if let Some((postgres, _data)) = self.started {
            postgres.stop().await?;
        }
        Ok(())
    }
}
