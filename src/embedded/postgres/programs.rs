//! The programs of Postgres that are installed here.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::EmbeddedPostgresError as Error;
use crate::pg::POSTGRES_MAJOR_MIN;

/// The folder of the programs that a cluster would be started with, and their version.
pub async fn installed(configured: Option<&Path>) -> Result<(PathBuf, u32), Error> {
    let programs = Programs::find(configured).await?;
    Ok((programs.bin, programs.major))
}

/// The installed programs, all of one version.
#[derive(Debug)]
pub(super) struct Programs {
    pub bin: PathBuf,
    pub major: u32,
}

impl Programs {
    pub(super) async fn find(configured: Option<&Path>) -> Result<Self, Error> {
        if let Some(bin) = configured {
            return match Self::at(bin).await {
                Ok(programs) => Ok(programs),
                Err(found) => Err(Error::Unusable { path: bin.to_path_buf(), found }),
            };
        }
        let mut looked_at = Vec::new();
        for bin in Self::usual_places().await {
            if let Ok(programs) = Self::at(&bin).await {
                return Ok(programs);
            }
            looked_at.push(bin.display().to_string());
        }
        looked_at.push("PATH".to_owned());
        Err(Error::NotInstalled { looked_at: looked_at.join(", ") })
    }

    /// In the order in which they are tried.
    async fn usual_places() -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await
            && output.status.success()
        {
            let text = String::from_utf8_lossy(&output.stdout);
            places.push(PathBuf::from(text.trim()));
        }
        let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        places.extend(packaged.into_iter().map(|(_, bin)| bin));
        if let Some(path) = std::env::var_os("PATH") {
            places.extend(std::env::split_paths(&path).filter(|bin| bin.join("postgres").exists()));
        }
        places
    }

    async fn at(bin: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !bin.join(program).is_file() {
                return Err(format!("there is no `{program}`"));
            }
        }
        let output = Command::new(bin.join("postgres")).arg("--version").output().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match major_version(&text) {
            Some(major) if major >= POSTGRES_MAJOR_MIN => Ok(Self { bin: bin.to_path_buf(), major }),
            _ => Err(text),
        }
    }
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL) ").nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_prints() {
        let text = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(major_version(text), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }

    #[tokio::test]
    async fn a_folder_without_programs_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = Programs::find(Some(empty.path())).await.unwrap_err();
        assert!(error.to_string().contains("there is no `initdb`"), "{error}");
    }
}
