//! What a person sees who starts the program: a greeting, or the one thing that is wrong.

use std::net::TcpListener;

use keystone_edge::simulator::client::Client;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder, until};

/// What a start that failed said, without what it did on the way.
async fn complaint(server: &mut Server, arguments: &[&str]) -> Vec<String> {
    std::fs::write(server.folder.join("log"), "").unwrap();
    server.start_with(arguments);
    let ended = server.ended().await;
    assert_eq!(ended.code(), Some(1), "{}", server.log());
    let way = |line: &&str| line.contains(" INFO ") || line.contains("Waiting for the database");
    server.log().lines().filter(|line| !way(line)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_the_only_thing_that_is_said() {
    let settings = ["KEYSTONE_BIND_ADDR", "KEYSTONE_RECORDER_BIND", "KEYSTONE_TRANSFER_BIND", "KEYSTONE_EMBEDDED_S3_BIND"];
    for (n, setting) in settings.into_iter().enumerate() {
        let folder = temp_folder();
        let mut server = Server::new(folder.path());
        let _taken = TcpListener::bind(server.address(n)).expect("a free port");
        let said = complaint(&mut server, &[]).await;
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains(&server.address(n)) && said[0].contains(setting), "{said:?}");
        assert!(!folder.path().join("data/postgres").exists(), "a database was made before the port was looked at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_once_what_is_wrong_and_what_to_do() {
    let folder = temp_folder();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let jwt = ("KEYSTONE_JWT_SECRET", "one secret for all processes of this test");
    type Row<'a> = (&'a [(&'static str, &'a str)], &'a [&'a str], &'a str);
    let table: [Row<'_>; 6] = [
        (&[("KEYSTONE_DATA_DIR", "file")], &[], "KEYSTONE_DATA_DIR"),
        (&[("KEYSTONE_AUTH_MODE", "open")], &[], "KEYSTONE_AUTH_MODE must be"),
        (&[("KEYSTONE_BINDADDR", ":1")], &[], "did you mean `KEYSTONE_BIND_ADDR`?"),
        (&[("KEYSTONE_PG_BIN", "/nowhere")], &[], "KEYSTONE_PG_BIN"),
        (&[("KEYSTONE_DATABASE_URL", "postgres://u:p@127.0.0.1:9/x"), jwt], &[], "KEYSTONE_DATABASE_URL"),
        (&[], &["--config", "nowhere.toml"], "nowhere.toml"),
    ];
    for (settings, arguments, told) in table {
        let mut server = Server::new(folder.path());
        let file = std::fs::read_to_string(folder.path().join("keystone.toml")).unwrap();
        std::fs::write(folder.path().join("keystone.toml"), format!("{file}[database]\nstart_timeout_s = 1\n")).unwrap();
        server.settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let said = complaint(&mut server, arguments).await;
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].starts_with("keystone: ") && said[0].contains(told), "{said:?}");
        for half in ["os error", "No such file", "Connection refused"] {
            assert!(said[0].matches(half).count() <= 1, "twice: {said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn robots_at_work_in_another_number_work_in_the_same_factory() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    for robots in ["1", "3", "2"] {
        server.forget_said();
        server.start_with(&["--with-robot", robots]);
        server.ready().await;
        server.greeted().await;
        until("an episode", async || server.said().contains("became episode")).await;
        let (said, number) = (server.said(), robots.parse::<usize>().unwrap());
        assert_eq!(said.matches("  Collector  ").count(), number, "{said}");
        assert!(!said.contains("as set before"), "a login was forgotten: {said}");
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
        let (factories, stations) = (client.get("/factories").await.unwrap(), client.get("/stations").await.unwrap());
        assert_eq!((&factories["total"], stations["total"].as_u64() >= Some(number as u64)), (&1.into(), true), "{stations}");
        server.stop().await;
    }
}

/// A terminal shows the greeting and what a person has to know; a file gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_terminal_the_greeting_does_not_scroll_away() {
    let terminal = std::process::Command::new("script").args(["-qec", "true", "/dev/null"]).output();
    if !terminal.is_ok_and(|ended| ended.status.success()) {
        eprintln!("skipped: this test needs `script`, and a system that gives it a terminal");
        return;
    }
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = vec![("KEYSTONE_LOG", String::new()), ("KEYSTONE_ADMIN_PASSWORD", String::new())];
    server.through = ["sh", "-c", "exec script -qec \"$*\" /dev/null", "sh"].map(str::to_owned).to_vec();
    server.start_with(&["--with-robot"]);
    server.ready().await;
    until("an episode", async || server.said().contains("became episode")).await;
    let said = server.said();
    let greeting = said.find("Keystone Edge is ready").expect("a greeting");
    assert!(said[..greeting].lines().count() < 5, "before the greeting: {said}");
    assert!(said[greeting..].lines().count() < 20, "{said}");
    assert!(!said.contains(" INFO ") && said.contains("KEYSTONE_LOG=info"), "{said}");
    server.end(std::time::Duration::from_secs(60)).await;

    // The same into files.
    server.through.clear();
    server.forget_said();
    server.start();
    server.ready().await;
    server.greeted().await;
    assert!(server.log().contains(" INFO ") && !server.log().contains('\u{1b}'), "{}", server.log());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_said_and_does_not_stop_the_start() {
    let (database, folder) = (TestDatabase::new().await, temp_folder());
    let mut server = Server::sharing(folder.path(), &database.url, "http://127.0.0.1:9");
    server.start();
    server.greeted().await;
    let warnings: Vec<String> = server.log().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect();
    assert_eq!(warnings.iter().filter(|line| line.contains("KEYSTONE_S3_ENDPOINT")).count(), 1, "{warnings:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_in_the_same_folder_says_so_before_anything_else() {
    let folder = temp_folder();
    let mut first = Server::new(folder.path());
    first.start();
    first.ready().await;
    let mut second = Server::new(folder.path());
    second.ports = first.ports;
    second.start();
    let ended = second.ended().await;
    assert_eq!(ended.code(), Some(1));
    assert!(first.log().contains("is in use by another Keystone process"), "{}", first.log());
    first.stop().await;
}

#[tokio::test]
async fn two_settings_with_one_port_are_told_before_anything_starts() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.ports[2] = server.ports[1];
    server.start();
    assert_eq!(server.ended().await.code(), Some(1));
    let log = server.log();
    assert!(log.contains("KEYSTONE_RECORDER_BIND") && log.contains("KEYSTONE_TRANSFER_BIND") && log.contains("the same port"), "{log}");
    assert!(!folder.path().join("data/postgres").exists(), "nothing was started: {log}");
}
