//! The private cluster: started, stopped, killed, and never somebody else's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keystone_edge::embedded::postgres::{EmbeddedPostgres, EmbeddedPostgresError, Options};
use nix::sys::signal::Signal;

use crate::harness::{PrivatePostgres, postgres_options, signal, temp_folder, until};

fn alive(pid: i32) -> bool {
    // A zombie has ended; only its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn note(private: &PrivatePostgres, text: &str) {
    let dedicated = private.connector().connect().await.unwrap();
    let client = &dedicated.client;
    client.batch_execute("create table if not exists note (text text)").await.unwrap();
    client.execute("insert into note values ($1)", &[&text]).await.unwrap();
}

async fn notes(private: &PrivatePostgres) -> Vec<String> {
    let dedicated = private.connector().connect().await.unwrap();
    let rows = dedicated.client.query("select text from note order by text", &[]);
    rows.await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_data_is_there_after_a_stop_and_after_kill_9() {
    let mut private = PrivatePostgres::start().await;
    note(&private, "before the stop").await;
    let first_url = private.url().clone();

    private.stop().await;
    private.start_again().await;
    note(&private, "before the kill").await;

    private.kill().await;
    private.start_again().await;
    assert_eq!(notes(&private).await, ["before the kill", "before the stop"]);
    assert_eq!(private.url(), &first_url, "port and password are remembered");
    private.stop().await;
}

#[tokio::test]
async fn the_service_role_owns_its_database_and_is_no_superuser() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let dedicated = private.connector().connect().await.unwrap();
    let row = dedicated
        .client
        .query_one(
            "select rolsuper or rolcreatedb or rolcreaterole, pg_get_userbyid(datdba) = current_user, \
             current_setting('server_encoding'), current_setting('listen_addresses') \
             from pg_roles, pg_database where rolname = current_user and datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    assert!(!row.get::<_, bool>(0));
    assert!(row.get::<_, bool>(1));
    assert_eq!(row.get::<_, &str>(2), "UTF8");
    assert_eq!(row.get::<_, &str>(3), "127.0.0.1");
    drop(dedicated);
    private.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let url: tokio_postgres::Config = private.url().expose().parse().unwrap();
    let mut wrong = url.clone();
    wrong.password("guess");
    assert!(wrong.connect(tokio_postgres::NoTls).await.is_err());
    private.stop().await;
}

#[tokio::test]
async fn a_server_that_outlived_its_process_is_replaced() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    note(&private, "kept").await;
    let left_behind = private.running().pid();
    // What a kill -9 that the kernel's signal did not reach leaves: no handle, a server.
    private.postgres.take().unwrap().detach();
    assert!(alive(left_behind));

    private.start_again().await;
    assert!(!alive(left_behind));
    assert_ne!(private.running().pid(), left_behind);
    assert_eq!(notes(&private).await, ["kept"]);
    private.stop().await;
}

#[tokio::test]
async fn the_cluster_of_another_folder_is_left_alone() {
    let mut other = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    private.stop().await;
    // A pid file that names the other server, as a copied folder has it.
    let from = other.running().data_dir().join("postmaster.pid");
    let to = private.folder.path().join("postgres/data/postmaster.pid");
    std::fs::copy(&from, &to).unwrap();

    private.start_again().await;
    assert!(alive(other.running().pid()));
    private.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_pid_that_now_belongs_to_somebody_else_does_not_hinder_the_start() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    private.stop().await;
    let data = private.folder.path().join("postgres/data");
    let file = data.join("postmaster.pid");
    let text = format!("{}\n{}\n", std::process::id(), data.display());
    std::fs::write(&file, text).unwrap();

    private.start_again().await;
    private.stop().await;
}

#[tokio::test]
async fn the_cluster_ends_when_its_process_is_killed() {
    let folder = temp_folder();
    let dir = folder.path().join("postgres");
    // This test again, as a process that starts a cluster and is then killed.
    let mut starter = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "embedded_postgres::starter"])
        .env("TEST_CLUSTER_DIR", &dir)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid_file = dir.join("data/postmaster.pid");
    let ready = folder.path().join("ready");
    until("the cluster of the other process", async || ready.exists()).await;
    let pid: i32 = first_line(&pid_file).parse().unwrap();
    assert!(alive(pid));

    starter.start_kill().unwrap();
    starter.wait().await.unwrap();
    until("the end of the cluster", async || !alive(pid)).await;
}

#[tokio::test]
#[ignore = "the other process of the test above"]
async fn starter() {
    let Some(dir) = std::env::var_os("TEST_CLUSTER_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let _postgres = EmbeddedPostgres::start(dir, &postgres_options().volatile()).await.unwrap();
    std::fs::write(dir.with_file_name("ready"), "").unwrap();
    std::future::pending::<()>().await;
}

fn first_line(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().next().unwrap().trim().to_owned()
}

#[tokio::test]
async fn started_as_root_the_cluster_runs_as_somebody_else() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", private.running().pid())).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!uid.split_whitespace().any(|id| id == "0"), "{uid}");
    private.stop().await;
}

#[tokio::test]
async fn a_folder_that_the_unprivileged_user_cannot_reach_becomes_a_link() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    let owner_only = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(closed.path(), owner_only).unwrap();
    let dir = closed.path().join("postgres");
    let options = postgres_options().volatile();
    let postgres = EmbeddedPostgres::start(&dir, &options).await.unwrap();
    let place = std::fs::read_link(&dir).unwrap();
    assert!(place.starts_with("/var/lib/keystone-edge"), "{place:?}");
    assert!(postgres.data_dir().starts_with(&place));
    postgres.stop().await.unwrap();
    // And again, through the link.
    let postgres = EmbeddedPostgres::start(&dir, &options).await.unwrap();
    postgres.stop().await.unwrap();
    std::fs::remove_dir_all(&place).unwrap();
}

/// A data folder below one that the unprivileged user cannot enter; none where we are not root.
fn closed_folder() -> Option<tempfile::TempDir> {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: this test needs root");
        return None;
    }
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Some(closed)
}

#[tokio::test]
async fn a_fresh_data_folder_does_not_take_over_the_database_of_a_deleted_one() {
    let Some(closed) = closed_folder() else { return };
    let data = closed.path().join("data");
    let options = postgres_options().volatile();
    let mut places = vec![];
    for _ in 0..2 {
        std::fs::create_dir(&data).unwrap();
        let postgres = EmbeddedPostgres::start(&data.join("postgres"), &options).await.unwrap();
        let connector = keystone_edge::pg::Connector::new(postgres.url(), &keystone_edge::config::Config::defaults().database).unwrap();
        let dedicated = connector.connect().await.unwrap();
        dedicated.client.batch_execute("create table made_here (n int)").await.expect("an empty database");
        places.push(std::fs::read_link(data.join("postgres")).unwrap());
        drop(dedicated);
        postgres.stop().await.unwrap();
        std::fs::remove_dir_all(&data).unwrap();
    }
    assert_ne!(places[0], places[1]);
    assert!(places[0].join("data/PG_VERSION").exists(), "what is left is not removed, either");
    for place in places {
        std::fs::remove_dir_all(place).unwrap();
    }
}

#[tokio::test]
async fn a_copy_of_a_data_folder_does_not_take_away_the_database_of_the_original() {
    let Some(closed) = closed_folder() else { return };
    let (data, copy) = (closed.path().join("data"), closed.path().join("copy"));
    std::fs::create_dir(&data).unwrap();
    let options = postgres_options().volatile();
    let postgres = EmbeddedPostgres::start(&data.join("postgres"), &options).await.unwrap();
    let place = std::fs::read_link(data.join("postgres")).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    let refused = EmbeddedPostgres::start(&copy.join("postgres"), &options).await.unwrap_err();
    assert!(refused.to_string().contains("one data folder is a copy of the other"), "{refused}");
    assert!(alive(postgres.pid()));
    postgres.stop().await.unwrap();
    // The database itself is gone: that is said, and not mended by an empty one.
    std::fs::remove_dir_all(&place).unwrap();
    let refused = EmbeddedPostgres::start(&data.join("postgres"), &options).await.unwrap_err();
    assert!(refused.to_string().contains("which is not there"), "{refused}");
    assert!(!place.exists());
}

#[tokio::test]
async fn a_wrong_folder_of_programs_is_named() {
    let folder = temp_folder();
    let options = Options { pg_bin: Some(folder.path().to_path_buf()), ..Options::default() };
    let error = EmbeddedPostgres::start(&folder.path().join("postgres"), &options).await.unwrap_err();
    assert!(matches!(error, EmbeddedPostgresError::Unusable { .. }));
    assert!(error.to_string().contains("initdb"), "{error}");
}

#[tokio::test]
async fn a_setting_that_postgres_refuses_shows_its_log() {
    let folder = temp_folder();
    let options = postgres_options().volatile().with("shared_buffers", "lots");
    let error = EmbeddedPostgres::start(&folder.path().join("postgres"), &options).await.unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[tokio::test]
async fn an_unexpected_end_is_noticed() {
    let mut private = PrivatePostgres::start_with(postgres_options().volatile()).await;
    let mut postgres = private.postgres.take().unwrap();
    signal(postgres.pid(), Signal::SIGQUIT);
    postgres.ended().await.unwrap();
}
