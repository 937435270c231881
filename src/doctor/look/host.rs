//! The data folder, disks and limits of this host.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::config::{Config, Devices, Secret};
use crate::doctor::host::{Disk, Files, Folder, Host, Inside};
use crate::embedded::secret_file;

/// The process that holds the data folder. Read from the kernel's list: taking the lock to see whether it is free
/// would stop a server that starts at that moment.
pub fn holder(folder: &Path) -> Option<u32> {
    let lock = fs::metadata(folder.join("lock")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| held_by(line, &lock, &folder.join("lock")))
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF`
fn held_by(line: &str, lock: &fs::Metadata, path: &Path) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words.as_slice() else { return None };
    let (device, inode) = file.rsplit_once(':')?;
    if inode.parse() != Ok(lock.ino()) {
        return None;
    }
    // Some file systems name another device there than to who asks for the file.
    let same_device = device == format!("{:02x}:{:02x}", major(lock.dev()), minor(lock.dev()));
    let opened = || {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let path = path.canonicalize().ok();
        open.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| Some(file) == path)
    };
    (same_device || opened()).then(|| pid.parse().ok()).flatten()
}

/// What a running server, or the last one, wrote down for tools beside it.
pub fn remembered(folder: &Path, name: &str) -> Option<Secret> {
    let text = fs::read_to_string(secret_file(folder, name)).ok()?;
    Some(Secret::new(text.trim()))
}

/// `database`: the folder of an external Postgres, where it is on this host and shows itself.
pub fn look(config: &Config, holder: Option<u32>, database: Option<PathBuf>) -> Host {
    let folder =
        if config.database.is_embedded() || config.s3.is_embedded() { folder(&config.embedded.data_dir, holder) } else { Folder::NotUsed };
    let mut disks = vec![];
    if let Folder::Seen(inside) = &folder {
        disks.extend(disk("the data folder", &inside.path));
    } else if let Folder::Missing(path) = &folder {
        disks.extend(path.ancestors().find(|path| path.is_dir()).and_then(|parent| disk("where the data folder will be", parent)));
    }
    let inside = config.embedded.data_dir.join("postgres");
    let data = database
        .filter(|data| data.join("PG_VERSION").exists())
        .or_else(|| (config.database.is_embedded() && inside.is_dir()).then_some(inside));
    if let Some(data) = data
        && !disks.iter().any(|known| same_disk(&known.path, &data))
    {
        disks.extend(disk("Postgres", &data));
    }
    Host { folder, disks, files: files(&config.devices, holder) }
}

fn folder(path: &Path, holder: Option<u32>) -> Folder {
    let path = path.canonicalize().unwrap_or_else(|_| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
    match fs::read_dir(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Folder::Missing(path),
        Err(error) => return Folder::Unreadable(path, error.to_string()),
    }
    let mut inside = Inside { path: path.clone(), holder, private: vec![], objects_mode: None, closed: vec![] };
    inside.objects_mode = mode(&path.join("objects")).ok().flatten();
    for name in ["secrets", "postgres/passwords"] {
        let private = path.join(name);
        let found = mode(&private).and_then(|mode| Ok((mode, mode.map(|_| fs::read_dir(&private)).transpose()?)));
        match found {
            Ok((Some(mode), Some(files))) => {
                inside.private.push((name.to_owned(), mode));
                for file in files.flatten() {
                    let name = format!("{name}/{}", file.file_name().to_string_lossy());
                    inside.private.extend(file.metadata().ok().map(|facts| (name, facts.permissions().mode() & 0o7777)));
                }
            }
            Ok(_) => {}
            Err(_) => inside.closed.push(name.to_owned()),
        }
    }
    inside.private.sort();
    Folder::Seen(inside)
}

fn mode(path: &Path) -> io::Result<Option<u32>> {
    match fs::metadata(path) {
        Ok(facts) => Ok(Some(facts.permissions().mode() & 0o7777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same_disk(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev()).ok();
    device(a).is_some() && device(a) == device(b)
}

#[allow(clippy::unnecessary_cast, reason = "these numbers have other widths on other systems")]
fn disk(what: &'static str, path: &Path) -> Option<Disk> {
    let facts = statvfs(path).ok()?;
    let block = facts.fragment_size() as u64;
    Some(Disk {
        what,
        path: path.to_path_buf(),
        total: facts.blocks() as u64 * block,
        free: facts.blocks_available() as u64 * block,
        inodes: facts.files() as u64,
        inodes_free: facts.files_available() as u64,
        read_only: facts.flags().contains(FsFlags::ST_RDONLY),
    })
}

fn files(devices: &Devices, server: Option<u32>) -> Files {
    let links_max = devices.links_max as u64;
    let of_server = server.and_then(|pid| limit_of(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?));
    match of_server {
        Some(limit) => Files { limit, of_server: true, links_max },
        // A server takes all that is granted.
        None => Files { limit: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard), of_server: false, links_max },
    }
}

/// `Max open files            1024                 524288               files`
fn limit_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_in_force_is_the_first_of_the_two() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        assert_eq!(limit_of(limits), Some(1024));
        assert_eq!(limit_of("nothing"), None);
    }

    #[test]
    fn the_holder_of_a_data_folder_is_seen_without_taking_its_lock() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(holder(temp.path()), None);
        let data = crate::embedded::DataDir::lock(temp.path()).unwrap();
        assert_eq!(holder(temp.path()), Some(std::process::id()));
        drop(data);
        assert_eq!(holder(temp.path()), None);
    }
}
