//! The database for commands beside the server: the configured one, that of a running server,
//! or the private cluster started for the moment.

use deadpool_postgres::Pool;

use crate::app::DATABASE_URL_FILE;
use crate::config::{Config, Secret};
use crate::embedded::DataDir;
use crate::embedded::postgres::{EmbeddedPostgres, Options};
use crate::pg::Connector;

pub struct Database {
    pub pool: Pool,
    started: Option<(EmbeddedPostgres, DataDir)>,
}

pub async fn open(config: &Config) -> anyhow::Result<Database> {
    if let Some(url) = &config.database.url {
        return with_url(config, url, None).await;
    }
    let folder = &config.embedded.data_dir;
    match DataDir::lock(folder) {
        // Nobody serves: the cluster is ours for the moment.
        Ok(data) => {
            let options = Options { pg_bin: config.embedded.pg_bin.clone(), ..Options::default() };
            let postgres = EmbeddedPostgres::start(&data.path().join("postgres"), &options).await?;
            let url = postgres.url().clone();
            with_url(config, &url, Some((postgres, data))).await
        }
        Err(taken) => {
            let url = std::fs::read_to_string(folder.join("secrets").join(DATABASE_URL_FILE)).map_err(|_| taken)?;
            with_url(config, &Secret::new(url.trim()), None).await
        }
    }
}

async fn with_url(config: &Config, url: &Secret, started: Option<(EmbeddedPostgres, DataDir)>) -> anyhow::Result<Database> {
    let connector = Connector::new(url, &config.database)?.unhurried();
    connector.migrate().await?;
    Ok(Database { pool: connector.pool()?, started })
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
