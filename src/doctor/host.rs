//! What is to be said about this host: the data folder, its disk, and what a process may open.

use std::path::PathBuf;

use super::report::Finding;

const GIB: u64 = 1 << 30;

/// Below this Postgres may not be able to write its log through a checkpoint.
const FREE_BYTES_MIN: u64 = 2 * GIB;
/// A recording has gigabytes; an hour of a small factory has some tens.
const FREE_BYTES_WARN: u64 = 20 * GIB;
const FREE_PERCENT_WARN: u64 = 10;

/// Files beside sockets: logs, objects that are read and written, connections to the database.
const FILES_BESIDE: u64 = 256;
/// Two sockets, and an upload or a request.
const FILES_PER_ROBOT: u64 = 3;
/// More than a factory has.
const ROBOTS_ENOUGH: u64 = 1000;

#[derive(Clone, Debug)]
pub struct Host {
    pub folder: Folder,
    pub disks: Vec<Disk>,
    pub files: Files,
}

/// The data folder.
#[derive(Clone, Debug)]
pub enum Folder {
    /// Nothing is embedded.
    NotUsed,
    Missing(PathBuf),
    Unreadable(PathBuf, String),
    Seen(Inside),
}

#[derive(Clone, Debug)]
pub struct Inside {
    pub path: PathBuf,
    /// The process that holds it, where one does and shows itself.
    pub holder: Option<u32>,
    /// What must be its owner's alone: path below the folder, and mode.
    pub private: Vec<(String, u32)>,
    /// The folder of recordings, where it is.
    pub objects_mode: Option<u32>,
    /// What could not be looked at.
    pub closed: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Disk {
    /// `the data folder`.
    pub what: &'static str,
    pub path: PathBuf,
    pub total: u64,
    pub free: u64,
    /// Zero where the file system does not count them.
    pub inodes: u64,
    pub inodes_free: u64,
    pub read_only: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Files {
    pub limit: u64,
    /// Of the server that runs, or of what would be started from here.
    pub of_server: bool,
    pub links_max: u64,
}

pub fn judge(seen: &Host) -> Vec<Finding> {
    let mut findings = folder(&seen.folder);
    findings.extend(seen.disks.iter().map(disk));
    findings.push(files(seen.files));
    findings
}

fn folder(seen: &Folder) -> Vec<Finding> {
    let id = "host.data_folder";
    match seen {
        Folder::NotUsed => vec![],
        Folder::Missing(path) => vec![Finding::ok(id, format!("{} is not there yet; the first start makes it", path.display()))],
        Folder::Unreadable(path, why) => vec![Finding::problem(
            id,
            format!("cannot look into {}: {why}", path.display()),
            "run this as the user that serves, or name the folder with KEYSTONE_DATA_DIR",
        )],
        Folder::Seen(inside) => vec![held(inside), secrets(inside), recordings(inside)],
    }
}

fn held(seen: &Inside) -> Finding {
    let id = "host.data_folder";
    let path = seen.path.display();
    if !seen.closed.is_empty() {
        let todo = "run this as the user that serves, or as root";
        return Finding::warning(id, format!("{path}: cannot look at {}", seen.closed.join(", ")), todo);
    }
    match seen.holder {
        Some(pid) => Finding::ok(id, format!("{path}, in use by process {pid}")),
        None => Finding::ok(id, format!("{path}, in use by no process")),
    }
}

fn secrets(seen: &Inside) -> Finding {
    let id = "host.secrets";
    let open: Vec<_> = seen.private.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    if open.is_empty() {
        return Finding::ok(id, format!("{} secret files are their owner's alone", seen.private.len()));
    }
    let names: Vec<_> = open.iter().map(|(name, mode)| format!("{name} ({mode:o})")).collect();
    let paths: Vec<_> = open.iter().map(|(name, _)| seen.path.join(name).display().to_string()).collect();
    Finding::problem(id, format!("other users of this host may read {}", names.join(", ")), format!("chmod go= {}", paths.join(" ")))
}

fn recordings(seen: &Inside) -> Finding {
    let id = "host.recordings";
    match seen.objects_mode {
        Some(mode) if mode & 0o007 != 0 => Finding::warning(
            id,
            format!("every user of this host may read recordings (objects has mode {mode:o})"),
            format!("chmod o= {}", seen.path.join("objects").display()),
        ),
        _ => Finding::ok(id, "recordings are not open to other users of this host"),
    }
}

fn disk(seen: &Disk) -> Finding {
    let id = "host.disk";
    let percent = |free: u64, all: u64| free.saturating_mul(100) / all.max(1);
    let gib = |bytes: u64| bytes as f64 / GIB as f64;
    let text = format!("{} ({}): {:.1} of {:.1} GiB free", seen.what, seen.path.display(), gib(seen.free), gib(seen.total));
    if seen.read_only {
        return Finding::problem(
            id,
            format!("{text}, and mounted read-only"),
            "look at the kernel's log for errors of the disk, and mount it for writing",
        );
    }
    let todo = "make room, or move it to a larger disk, before it is full: a full disk stops everything that is accepted";
    if seen.inodes > 0 && percent(seen.inodes_free, seen.inodes) < 2 {
        return Finding::problem(id, format!("{text}, and almost no inodes ({} left)", seen.inodes_free), todo);
    }
    // On a disk that is small by choice, the shares decide.
    let small = seen.total < 10 * FREE_BYTES_MIN;
    match seen.free {
        free if free < FREE_BYTES_MIN && (!small || percent(free, seen.total) < FREE_PERCENT_WARN) => Finding::problem(id, text, todo),
        free if free < FREE_BYTES_WARN && percent(free, seen.total) < FREE_PERCENT_WARN => Finding::warning(id, text, todo),
        _ => Finding::ok(id, text),
    }
}

fn files(seen: Files) -> Finding {
    let id = "host.open_files";
    let Files { limit, links_max, .. } = seen;
    let whose = if seen.of_server { "the server may open" } else { "a server started from here may open" };
    let robots = limit.saturating_sub(FILES_BESIDE) / FILES_PER_ROBOT;
    let text = format!("{whose} {limit} files and connections, enough for some {robots} robots");
    if limit < links_max + FILES_BESIDE && robots < ROBOTS_ENOUGH {
        let todo = format!(
            "raise the limit (LimitNOFILE= of systemd, ulimits of Docker), or lower `devices.links_max` ({links_max}) so that what is beyond is refused and not starved"
        );
        return Finding::warning(id, text, todo);
    }
    Finding::ok(id, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level::{self, Ok, Problem, Warning};

    fn space(total_gib: u64, free_gib: u64) -> Disk {
        Disk {
            what: "the data folder",
            path: "/data".into(),
            total: total_gib * GIB,
            free: free_gib * GIB,
            inodes: 1000,
            inodes_free: 900,
            read_only: false,
        }
    }

    #[test]
    fn a_disk_is_judged_before_it_is_full() {
        #[rustfmt::skip]
        let table: &[(Disk, Level)] = &[
            (space(1000, 500), Ok),
            // Little in percent and much in bytes.
            (space(10_000, 300), Ok),
            (space(1000, 15), Warning),
            (space(1000, 1), Problem),
            (space(16, 8), Ok),
            (space(16, 1), Problem),
            (Disk { inodes_free: 10, ..space(1000, 500) }, Problem),
            (Disk { inodes: 0, inodes_free: 0, ..space(1000, 500) }, Ok),
            (Disk { read_only: true, ..space(1000, 500) }, Problem),
        ];
        for (seen, level) in table {
            assert_eq!(disk(seen).level, *level, "{seen:?}");
        }
    }

    #[test]
    fn open_files_are_judged_by_the_robots_they_are_enough_for() {
        // Four thousand are fewer than the links that are taken, and enough for more robots than a factory has.
        for (limit, links_max, level) in [(1_048_576, 16_384, Ok), (4096, 16_384, Ok), (1024, 16_384, Warning), (1024, 400, Ok)] {
            let seen = Files { limit, of_server: true, links_max };
            assert_eq!(files(seen).level, level, "{seen:?}");
        }
    }

    #[test]
    fn what_is_secret_is_its_owners_alone() {
        let inside = |private: &[(&str, u32)], objects_mode, closed: &[&str]| {
            let private = private.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect();
            let closed = closed.iter().map(|name| (*name).to_owned()).collect();
            Folder::Seen(Inside { path: "/data".into(), holder: Some(7), private, objects_mode, closed })
        };
        let levels = |seen| folder(&seen).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(inside(&[("secrets", 0o700), ("secrets/jwt", 0o600)], Some(0o700), &[])), [Ok, Ok, Ok]);
        assert_eq!(levels(inside(&[("secrets", 0o755), ("secrets/jwt", 0o600)], Some(0o750), &[])), [Ok, Problem, Ok]);
        assert_eq!(
            levels(inside(&[("secrets", 0o700), ("secrets/jwt", 0o640)], Some(0o755), &["postgres/passwords"])),
            [Warning, Problem, Warning]
        );
        assert_eq!(levels(Folder::Missing("/data".into())), [Ok]);
        assert_eq!(levels(Folder::Unreadable("/data".into(), "no".into())), [Problem]);
        assert_eq!(levels(Folder::NotUsed), []);
    }
}
