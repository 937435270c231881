//! Who may read what the program keeps: its owner, whatever the umask is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::server::Server;
use crate::harness::temp_folder;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(files_in(&entry));
        }
        found.push(entry);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_any_umask_the_program_starts_and_nobody_else_reads_its_data() {
    for umask in ["0000", "0177"] {
        let folder = temp_folder();
        let mut server = Server::new(folder.path());
        server.through = ["sh", "-c", "umask \"$0\"; exec \"$@\"", umask].map(str::to_owned).to_vec();
        server.start();
        server.ready().await;
        let data = folder.path().join("data");
        assert_eq!(mode(&data) & 0o066, 0, "umask {umask}");
        for inside in ["objects", "secrets", "postgres"] {
            assert_eq!(mode(&data.join(inside)), 0o700, "umask {umask}: {inside}");
        }
        assert_eq!(mode(&data.join("lock")), 0o600, "umask {umask}");
        for secret in files_in(&data.join("secrets")).into_iter().chain(files_in(&data.join("postgres/passwords"))) {
            assert_eq!(mode(&secret), 0o600, "umask {umask}: {}", secret.display());
        }
        server.stop().await;
    }
}

/// What a umask took away is given back before anybody needs it, and what a process that was killed left without rights
/// stops no later start. Root may do everything, so an ordinary user tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_the_hardest_umask_an_ordinary_user_starts_again() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    let data = folder.path().join("above/data");
    server.settings.push(("KEYSTONE_DATA_DIR", data.display().to_string()));
    let mut through = vec!["sh", "-c", "umask 0777; exec \"$@\"", "sh"];
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("the user `nobody`");
    if nix::unistd::Uid::effective().is_root() {
        nix::unistd::chown(folder.path(), Some(nobody.uid), Some(nobody.gid)).expect("root may give it away");
        through.splice(..0, ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        // The one that was built may lie in a folder that only root can enter.
        let program = folder.path().join("keystone");
        std::fs::copy(&server.program, &program).expect("a copy of the program");
        server.program = program.display().to_string();
    }
    server.through = through.into_iter().map(str::to_owned).collect();
    for start in 1..=3 {
        let (code, said) = server.tool(&["migrate"]).await;
        assert_eq!(code, 0, "start {start}: {said}");
        assert_eq!((mode(&data), mode(&data.join("lock"))), (0o700, 0o600), "start {start}");
        // As a process leaves them that is killed between making a file and giving it its mode.
        for left in ["lock", "postgres/port.part"].map(|left| data.join(left)) {
            std::fs::write(&left, "").expect("a file");
            std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o000)).expect("a mode");
            if nix::unistd::Uid::effective().is_root() {
                nix::unistd::chown(&left, Some(nobody.uid), Some(nobody.gid)).expect("root may give it away");
            }
        }
    }
}

#[tokio::test]
async fn a_hard_umask_leaves_a_place_that_the_database_can_use() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let folder = temp_folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let mut server = Server::new(folder.path());
    server.through = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let (code, said) = server.tool(&["migrate"]).await;
    assert_eq!(code, 0, "{said}");
    let place = std::fs::read_link(folder.path().join("data/postgres")).expect("the cluster lies elsewhere");
    assert_eq!(mode(place.parent().expect("a root")), 0o711);
    assert_eq!(mode(&place), 0o700);
    std::fs::remove_dir_all(place).expect("its end");
}
