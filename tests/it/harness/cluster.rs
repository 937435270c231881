//! The cluster that all tests of a run share.
//!
//! A runner may give every test a process of its own, so the cluster belongs to the
//! *run*: to the process that started ours. Its folder is named after that process; the
//! first test, under a file lock, makes the cluster and a migrated template; a
//! watchdog outside all tests stops it and removes the folder when the run is over.
//!
//! Nothing is synced: the data lives as long as the run.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystone_edge::config::{Config, Secret};
use keystone_edge::embedded::postgres::EmbeddedPostgres;
use keystone_edge::pg::Connector;
use nix::fcntl::{Flock, FlockArg};
use tokio_postgres::NoTls;

const TEMPLATE: &str = "keystone_template";

/// Polls because neither the runner nor the tests are its children.
const WATCHDOG: &str = r#"
while kill -0 "$1" 2>/dev/null; do sleep 0.5; done
if [ -f "$2/postgres/data/postmaster.pid" ]; then
    pid=$(head -n 1 "$2/postgres/data/postmaster.pid")
    kill -QUIT "$pid" 2>/dev/null
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
fi
rm -rf "$2"
"#;

/// URLs of a new database, migrated or empty: as its owner, and as superuser.
pub async fn fresh_database(migrated: bool) -> (Secret, Secret) {
    let folder = run_folder();
    let urls = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || ensure_cluster(&folder)
    })
    .await
    .expect("the shared cluster");
    let (service, superuser) = urls;
    let template = if migrated { TEMPLATE } else { "template0" };
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let (client, connection) = tokio_postgres::connect(superuser.expose(), NoTls).await.expect("the shared cluster answers");
    tokio::spawn(connection);
    client
        .batch_execute(&format!("create database {name} template {template} owner keystone strategy file_copy"))
        .await
        .expect("a database from the template");
    let in_database = |url: &Secret| {
        let (server, _) = url.expose().rsplit_once('/').expect("a url with a database");
        Secret::new(format!("{server}/{name}"))
    };
    (in_database(&service), in_database(&superuser))
}

/// One per run: per process that started this one, told apart by when it started.
fn run_folder() -> PathBuf {
    let runner = runner();
    let started = fs::read_to_string(format!("/proc/{runner}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned()))
        .unwrap_or_default();
    std::env::temp_dir().join(format!("keystone-test-run-{runner}-{started}"))
}

fn runner() -> i32 {
    nix::unistd::getppid().as_raw()
}

fn ensure_cluster(folder: &Path) -> (Secret, Secret) {
    fs::create_dir_all(folder).expect("the folder of this run");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its mode");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).expect("the lock of this run");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the lock of this run");
    let ready = folder.join("urls");
    if let Ok(text) = fs::read_to_string(&ready) {
        let mut lines = text.lines().map(Secret::new);
        if let (Some(service), Some(superuser)) = (lines.next(), lines.next()) {
            return (service, superuser);
        }
    }
    start_watchdog(folder);
    let urls = std::thread::spawn({
        let dir = folder.join("postgres");
        move || make_cluster(&dir)
    });
    let (service, superuser) = urls.join().expect("the shared cluster");
    let text = format!("{}\n{}\n", service.expose(), superuser.expose());
    fs::write(&ready, text).expect("the urls of this run");
    (service, superuser)
}

#[tokio::main(flavor = "current_thread")]
async fn make_cluster(dir: &Path) -> (Secret, Secret) {
    let options = super::postgres_options().volatile().outliving().with("max_connections", "400").with("shared_buffers", "128MB");
    let postgres = EmbeddedPostgres::start(dir, &options).await.expect("a cluster for this run");
    let urls = (postgres.url().clone(), postgres.superuser_url().clone());

    let (client, connection) = tokio_postgres::connect(urls.1.expose(), NoTls).await.expect("the new cluster answers");
    tokio::spawn(connection);
    let statement = format!("create database {TEMPLATE} owner keystone");
    client.batch_execute(&statement).await.expect("a template");
    let inside = {
        let (server, _) = urls.1.expose().rsplit_once('/').expect("a url");
        format!("{server}/{TEMPLATE}")
    };
    let (inside, connection) = tokio_postgres::connect(&inside, NoTls).await.expect("the template answers");
    let driver = tokio::spawn(connection);
    // May be missing, as in production.
    let _ = inside.batch_execute("create extension if not exists pg_trgm").await;
    drop(inside);
    let _ = driver.await;
    Connector::new(&urls.0, &Config::defaults().database)
        .expect("a valid url")
        .with_database(TEMPLATE)
        .migrate()
        .await
        .expect("a migrated template");

    postgres.detach();
    urls
}

fn start_watchdog(folder: &Path) {
    let log = File::create(folder.join("watchdog.log")).expect("a log");
    let mut command = Command::new("sh");
    command
        .args(["-c", WATCHDOG, "keystone-test-watchdog"])
        .arg(runner().to_string())
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        // Out of the runner's group: what kills the run must not kill it.
        .process_group(0)
        .current_dir("/");
    #[expect(clippy::zombie_processes, reason = "it outlives this process")]
    let _watchdog = command.spawn().expect("the watchdog of this run");
}
