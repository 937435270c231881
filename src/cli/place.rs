//! Where a command works: on the database, or at a server.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::database::{self, Database};
use super::remote::Remote;
use crate::config::{Config, variable};

const ACCOUNT: &str = "admin";
const PASSWORD: &str = "KEYSTONE_PASSWORD";

/// A password is not longer; a file that is, is another one.
const PASSWORD_FILE_BYTES_MAX: u64 = 4096;

#[derive(clap::Args, Clone)]
pub struct At {
    /// At a server, as http://edge:8080, instead of on the database
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Who signs in there [default: admin, or what KEYSTONE_USER says]
    #[arg(long, global = true, value_name = "ACCOUNT")]
    user: Option<String>,
    /// File whose first line is their password; without, KEYSTONE_PASSWORD, or a question at a terminal
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub enum Place {
    Database(Database),
    Server(Remote),
}

impl At {
    pub fn names_a_server(&self) -> bool {
        self.server.is_some()
    }

    /// The server; what works nowhere else has no database to work on.
    pub async fn at_server(self, work: impl AsyncFnOnce(&Remote) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let nowhere = || bail!("name a server with --server");
        self.with(nowhere, async |place| match place {
            Place::Server(remote) => work(remote).await,
            Place::Database(_) => bail!("name a server with --server"),
        })
        .await
    }

    /// `settings` name the database.
    async fn open(self, settings: impl FnOnce() -> anyhow::Result<Config>) -> anyhow::Result<Place> {
        let Some(server) = self.server else {
            ensure!(self.user.is_none() && self.password_file.is_none(), "--user and --password-file belong to --server");
            return Ok(Place::Database(database::look(&settings()?).await?));
        };
        let user = self.user.or_else(|| variable("KEYSTONE_USER").filter(|user| !user.is_empty())).unwrap_or_else(|| ACCOUNT.to_owned());
        let password = password(self.password_file.as_deref(), &user)?;
        Ok(Place::Server(Remote::sign_in(&server, &user, &password).await?))
    }
}

impl At {
    /// Does something there, and leaves the place as it was found.
    pub async fn with(
        self,
        settings: impl FnOnce() -> anyhow::Result<Config>,
        work: impl AsyncFnOnce(&Place) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let place = self.open(settings).await?;
        let done = work(&place).await;
        place.close().await?;
        done
    }
}

impl Place {
    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Database(database) => database.close().await,
            Self::Server(_) => Ok(()),
        }
    }
}

/// No option has it: lists of processes show options.
fn password(file: Option<&Path>, user: &str) -> anyhow::Result<String> {
    if let Some(file) = file {
        return of_file(file).with_context(|| format!("cannot read a password from {}", file.display()));
    }
    if let Some(password) = variable(PASSWORD).filter(|password| !password.is_empty()) {
        return Ok(password);
    }
    let terminal = console::Term::stderr();
    if !std::io::stdin().is_terminal() || !terminal.is_term() {
        bail!("the password of `{user}` is needed: set {PASSWORD}, or name a file with --password-file");
    }
    terminal.write_str(&format!("Password of {user}: "))?;
    Ok(terminal.read_secure_line()?)
}

fn of_file(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text)?;
    let password = text.lines().next().unwrap_or_default();
    ensure!(!password.is_empty(), "its first line is empty");
    Ok(password.to_owned())
}
