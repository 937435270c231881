//! Making a cluster, and what has to be in it.

use std::fs;

use tracing::{info, warn};

use super::error::{EmbeddedPostgresError as Error, io_at};
use super::home::Home;
use super::options::Options;
use super::programs::Programs;
use crate::config::Secret;
use crate::embedded::write_private;
use crate::telemetry::chain;

pub(super) const SUPERUSER: &str = "postgres";
pub(super) const SERVICE_USER: &str = "keystone";
pub(super) const DATABASE: &str = "keystone";

/// Where a distribution keeps what `create extension` needs is its own affair; without
/// the package we run, searching text slower.
const EXTENSION: &str = "pg_trgm";

impl Home {
    /// `initdb` into a folder of its own that becomes the data folder at the end: a
    /// process killed half way leaves nothing that looks like a cluster.
    pub(super) async fn init(&self, programs: &Programs, options: &Options) -> Result<(), Error> {
        info!("Creating a Postgres {} cluster in {}", programs.major, self.data.display());
        let fresh = self.dir.join("data.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(io_at(&fresh))?;
        }
        let superuser = self.password(SUPERUSER)?;
        let password_file = self.dir.join("initdb.password");
        write_private(&password_file, superuser.expose().as_bytes()).map_err(io_at(&password_file))?;
        self.give_away(&password_file)?;
        let mut outcome = Ok(());
        // Upper and lower case of all letters where the system knows how, and of ASCII
        // where it does not.
        for locale in ["C.UTF-8", "C"] {
            let mut command = self.command(&programs.bin.join("initdb"));
            command
                .arg("--pgdata")
                .arg(&fresh)
                .arg("--pwfile")
                .arg(&password_file)
                .args(["--username", SUPERUSER])
                .args(["--encoding", "UTF8", "--locale", locale])
                .args(["--auth", "scram-sha-256", "--data-checksums"]);
            if options.is_volatile() {
                command.arg("--no-sync");
            }
            let output = command.output().await.map_err(io_at(&programs.bin))?;
            if output.status.success() {
                outcome = Ok(());
                break;
            }
            outcome =
                Err(Error::Program { program: "initdb".to_owned(), output: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        let _ = fs::remove_file(&password_file);
        outcome?;
        fs::remove_dir(&self.data).map_err(io_at(&self.data))?;
        fs::rename(&fresh, &self.data).map_err(io_at(&self.data))?;
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_at(&self.dir))
    }

    pub(super) fn require_version(&self, programs: &Programs) -> Result<(), Error> {
        let file = self.data.join("PG_VERSION");
        let made_by = fs::read_to_string(&file).map_err(io_at(&file))?;
        if made_by.trim() != programs.major.to_string() {
            return Err(Error::OtherVersion {
                path: self.data.clone(),
                made_by: made_by.trim().to_owned(),
                version: programs.major,
                bin: programs.bin.clone(),
            });
        }
        Ok(())
    }
}

/// Makes role, database and extension of the service, as far as they are missing. `url_of` names a database for its
/// superuser.
pub(super) async fn prepare(url_of: impl Fn(&str) -> Secret, service: &Secret) -> Result<(), Error> {
    let admin = connect(&url_of(SUPERUSER)).await?;
    prepare_database(&admin, service).await.map_err(Error::SetUp)?;
    let inside = connect(&url_of(DATABASE)).await?;
    if let Err(error) = inside.batch_execute(&format!("create extension if not exists {EXTENSION}")).await {
        warn!(
            error = chain(&error),
            "Without the extension {EXTENSION} text search is slower (Debian, Ubuntu: apt-get install postgresql-contrib)"
        );
    }
    Ok(())
}

async fn connect(url: &Secret) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.map_err(Error::SetUp)?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// Role and database of the service. Repeated at every start, so that a start that was
/// killed in between is completed by the next.
async fn prepare_database(admin: &tokio_postgres::Client, password: &Secret) -> Result<(), tokio_postgres::Error> {
    let known = admin.query_opt("select 1 from pg_roles where rolname = $1", &[&SERVICE_USER]).await?;
    let verb = if known.is_some() { "alter" } else { "create" };
    // The password is hex by construction; utility statements take no parameters.
    admin
        .batch_execute(&format!("{verb} role {SERVICE_USER} login nosuperuser nocreatedb nocreaterole password '{}'", password.expose()))
        .await?;
    let known = admin.query_opt("select 1 from pg_database where datname = $1", &[&DATABASE]).await?;
    if known.is_none() {
        admin.batch_execute(&format!("create database {DATABASE} owner {SERVICE_USER}")).await?;
    }
    Ok(())
}
