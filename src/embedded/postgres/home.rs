//! The folders of a cluster, what is remembered in them, and the user they belong to.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{Uid, User};
use tokio::process::Command;

use super::error::{EmbeddedPostgresError as Error, io_at};
use crate::config::Secret;
use crate::embedded::place::place_for;
use crate::embedded::{private_folder, remembered_secret, write_private};

/// The folders of a cluster and the user it runs as.
#[derive(Debug)]
pub(super) struct Home {
    /// What Postgres calls its data directory.
    pub data: PathBuf,
    /// Passwords, port and log: beside the data, because `initdb` wants it empty.
    pub dir: PathBuf,
    /// Another user than we are, where we are root.
    pub run_as: Option<User>,
}

impl Home {
    pub(super) fn prepare(asked: &Path) -> Result<Self, Error> {
        let run_as = if Uid::effective().is_root() { Some(unprivileged_user()?) } else { None };
        let dir = match &run_as {
            None => asked.to_path_buf(),
            Some(user) => place_for(asked, user)?,
        };
        private_folder(&dir).map_err(io_at(&dir))?;
        let dir = dir.canonicalize().map_err(io_at(&dir))?;
        let home = Self { data: dir.join("data"), dir, run_as };
        for path in [&home.dir, &home.data] {
            private_folder(path).map_err(io_at(path))?;
            home.give_away(path)?;
        }
        Ok(home)
    }

    pub(super) fn give_away(&self, path: &Path) -> Result<(), Error> {
        match &self.run_as {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(io_at(path)),
            None => Ok(()),
        }
    }

    pub(super) fn password(&self, user: &str) -> Result<Secret, Error> {
        let dir = self.dir.join("passwords");
        remembered_secret(&dir, user).map_err(io_at(&dir))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// The port of the last time if it is free, so that what an operator noted down
    /// stays true; another free one otherwise.
    pub(super) fn port(&self) -> Result<u16, Error> {
        let file = self.dir.join("port");
        let remembered = fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        if let Some(port) = remembered {
            return Ok(port);
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(io_at(&file))?.port();
        write_private(&file, port.to_string().as_bytes()).map_err(io_at(&file))?;
        Ok(port)
    }

    pub(super) fn forget_port(&self) {
        let _ = fs::remove_file(self.dir.join("port"));
    }

    /// A command that runs as the cluster's user and knows nothing of our environment,
    /// in which `PG…` variables would change what it does.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        if let Some(user) = &self.run_as {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

fn unprivileged_user() -> Result<User, Error> {
    ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten()).ok_or(Error::NoUnprivilegedUser)
}
