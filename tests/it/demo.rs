//! `keystone demo`, as somebody runs it who has just cloned the project.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_postgres::NoTls;

use crate::harness::{temp_folder, until};

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystone"));
    command.args(["demo", "--seconds", "0.5"]).env("TMPDIR", folder).current_dir(folder);
    command
}

fn left(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_demo_that_never_started_leaves_nothing_behind() {
    let folder = temp_folder();
    let mut demo = demo(folder.path());
    let ran = demo.env("KEYSTONE_PG_BIN", "/nowhere").env("KEYSTONE_DATABASE_URL", "postgres://u:p@127.0.0.1:9/x").output().unwrap();
    let complained = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && complained.contains("KEYSTONE_PG_BIN"), "{complained}");
    assert_eq!(left(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_goes_wrong_keeps_its_folder_and_says_where() {
    let folder = temp_folder();
    let mut demo = demo(folder.path());
    let running = tokio::task::spawn_blocking(move || demo.output().expect("the program runs"));
    let file = |name: &str| left(folder.path()).pop().and_then(|demo| std::fs::read_to_string(demo.join(name)).ok());
    until("its database", async || file("secrets/database_url").is_some()).await;
    let (url, service, superuser) =
        (file("secrets/database_url").unwrap(), file("postgres/passwords/keystone").unwrap(), file("postgres/passwords/postgres").unwrap());
    let url = url.trim().replace(&format!("keystone:{}", service.trim()), &format!("postgres:{}", superuser.trim()));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("its superuser");
    tokio::spawn(connection);
    let made = async || client.query_one("select count(*) from tasks", &[]).await.is_ok_and(|row| row.get::<_, i64>(0) > 0);
    until("tasks", made).await;
    // What was accepted is lost.
    client.batch_execute("delete from tasks").await.unwrap();

    let ran = running.await.unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(!ran.status.success() && complained.contains("task"), "{said}\n{complained}");
    let kept = left(folder.path());
    assert!(kept.len() == 1 && said.contains(&format!("Kept {}", kept[0].display())), "{said}");
    assert!(kept[0].join("postgres").exists());
}

#[test]
fn the_demo_keeps_every_promise() {
    let folder = crate::harness::temp_folder();
    let ran = Command::new(env!("CARGO_BIN_EXE_keystone"))
        .args(["demo", "--seconds", "1", "--data-dir"])
        .arg(folder.path().join("shift"))
        .current_dir(folder.path())
        // What it shows does not depend on who was drawn for a second look.
        .env("KEYSTONE_INSPECTION_SECOND_SHARE", "1")
        .output()
        .expect("the program runs");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{complained}");
    assert!(said.contains("20 of 24 recordings are episodes, byte for byte."), "{said}");
    assert!(said.contains("Every promise was kept."), "{said}");
    assert!(said.contains("How they were judged:") && said.contains("approved it: settled, inspector_approved."), "{said}");
    assert!(said.contains("verdicts would be other ones:") && said.contains(" → "), "{said}");
}
