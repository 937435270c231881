//! A server of our folder that outlived the process that started it, and what it left.

use std::fs;
use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::Instant;
use tracing::{info, warn};

use super::error::{EmbeddedPostgresError as Error, io_at};
use super::home::Home;
use super::signals::{ENDINGS, LOOK_INTERVAL};

impl Home {
    /// Ends a server of this folder that outlived the process that started it. Stopping
    /// it is chosen over taking it in: as our child it ends with us, and it may run
    /// with other settings than we want.
    pub(super) async fn stop_left_behind(&self) -> Result<(), Error> {
        let Some(pid) = self.left_behind() else {
            return self.remove_misleading_pid_file();
        };
        info!(postgres.pid = pid, "Stopping the Postgres that a killed process left behind");
        for (signal, patience) in ENDINGS {
            let _ = kill(Pid::from_raw(pid), signal);
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if self.left_behind() != Some(pid) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Err(Error::LeftBehind(pid))
    }

    /// Postgres takes any living process with the number in its pid file for a server.
    /// In a restarted container the numbers repeat, so we look more closely: when
    /// no server works in the folder, the file means nothing. A number that belongs to
    /// nobody is left to Postgres, which then also checks for orphaned sessions.
    fn remove_misleading_pid_file(&self) -> Result<(), Error> {
        let file = self.data.join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        let alive = pid.is_some_and(|pid: i32| Path::new(&format!("/proc/{pid}")).exists());
        let in_use = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == self.data));
        if alive && !in_use {
            warn!("Removing a pid file that names a process of another program");
            fs::remove_file(&file).map_err(io_at(&file))?;
        }
        Ok(())
    }

    /// The pid of a running server of this folder. Its pid file must name this folder,
    /// and the process must have it as its working directory, as every Postgres has:
    /// after a restart of the machine the number may belong to anybody.
    fn left_behind(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        if Path::new(lines.next()?) != self.data || pid <= 1 {
            return None;
        }
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (works_in == self.data).then_some(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_another_folder_or_process_is_not_ours() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let home = Home { data: dir.clone(), dir: dir.clone(), run_as: None };
        assert_eq!(home.left_behind(), None);
        let us = std::process::id();
        for text in [
            "not a pid".to_owned(),
            format!("{us}\n/somewhere/else\n"),
            // We are alive and named with the right folder, and do not work in it.
            format!("{us}\n{}\n", dir.display()),
            format!("999999999\n{}\n", dir.display()),
        ] {
            fs::write(dir.join("postmaster.pid"), text).unwrap();
            assert_eq!(home.left_behind(), None);
        }
    }
}
