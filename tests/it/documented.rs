//! The commands that README and `docs/operations.md` show, as they stand there and in their order, against a fresh server.

use std::path::Path;
use std::process::Stdio;

use keystone_edge::simulator::client::Client;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder, until};

/// A block of commands.
#[derive(Debug, PartialEq)]
struct Block<'a> {
    language: &'a str,
    /// Where it begins.
    line: usize,
    text: String,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = vec![];
    let mut inside = false;
    for (n, line) in document.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                found.push(Block { language, line: n + 1, text: String::new() });
            }
            None if inside => {
                let block = found.last_mut().expect("the block that began");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    found
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("the document")
}

/// Runs commands as a person would in that folder; the program is found by its name.
async fn run(folder: &Path, text: &str, environment: &[(&str, String)]) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_keystone")).parent().expect("its folder").to_owned();
    let path = format!("{}:{}:{}", folder.join("bin").display(), program.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = tokio::process::Command::new("bash");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYSTONE_") && name != "KEYSTONE_PG_BIN") {
        command.env_remove(name);
    }
    let commands = format!("set -euo pipefail\n{text}");
    command.args(["-c", &commands]).current_dir(folder).env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    let output = command.output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output).await.expect("an end in time").expect("bash");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A server with its data where documents say that it lies.
fn server(folder: &Path) -> Server {
    let mut server = Server::new(folder);
    server.settings = vec![("KEYSTONE_DATA_DIR", folder.join("keystone-data").display().to_string())];
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readme_leads_from_sign_in_to_a_downloaded_episode() {
    let folder = temp_folder();
    if !has(folder.path(), "curl", None).await {
        println!("not tried: there is no curl here");
        return;
    }
    let mut server = server(folder.path());
    // As at a first start: a password is made, and lies in the data folder.
    server.settings.push(("KEYSTONE_ADMIN_PASSWORD", String::new()));
    server.start_with(&["--with-robot"]);
    server.ready().await;
    server.greeted().await;
    let readme = document("README.md");
    let by_hand: Vec<_> = blocks(&readme).into_iter().filter(|block| block.text.contains("curl")).collect();
    let [block] = &by_hand[..] else { panic!("README has one block of curl: {by_hand:?}") };
    assert!(block.text.contains("http://127.0.0.1:8080"), "the address of a server without settings");
    assert!(block.text.lines().count() <= 10, "ten lines");
    let text = block.text.replace("http://127.0.0.1:8080", &server.base());
    let (done, said) = run(folder.path(), &text, &[]).await;
    assert!(done, "line {}: {said}\n{}", block.line, server.tail());
    let recordings = std::fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("a file").path());
    let recordings: Vec<_> = recordings.filter(|path| path.extension().is_some_and(|end| end == "mcap")).collect();
    let [recording] = &recordings[..] else { panic!("one recording: {recordings:?}") };
    assert!(std::fs::read(recording).expect("the recording").starts_with(b"\x89MCAP0\r\n"), "{said}");
}

/// What stands for the commands of a robot, which come with Axon and systemd: they have done what they were told.
fn robots_commands(folder: &Path) {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    for name in ["axon-config", "systemctl"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\necho {name} \"$@\"\n")).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    }
}

/// Whether this machine has a program, as new as the server's where it has to be.
async fn has(folder: &Path, program: &str, at_least: Option<i32>) -> bool {
    let (there, said) = run(folder, &format!("{program} --version"), &[]).await;
    let major = said.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse::<i32>().ok());
    let there = there && at_least.is_none_or(|least| major.is_some_and(|major| major >= least));
    if !there {
        println!("not run: its commands need `{program}` (as new as the server: {at_least:?})");
    }
    there
}

/// How a block of the document is run.
enum Step {
    /// Somewhere else; the word says where.
    Elsewhere(&'static str),
    /// By a shell, with the environment that the document speaks of.
    Shell,
    Sql,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_operations_do_what_it_says() {
    let folder = temp_folder();
    if !has(folder.path(), "curl", None).await {
        println!("not tried: there is no curl here");
        return;
    }
    let mut server = server(folder.path());
    server.start_with(&["--with-robot"]);
    server.ready().await;
    server.greeted().await;
    robots_commands(folder.path());
    std::fs::write(folder.path().join("device.json"), r#"{"device_id": "AB-F0001-T0001-000001", "kept": true}"#).expect("a file");
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let login = serde_json::json!({ "account": "admin", "password": PASSWORD });
    let answer = client.call(reqwest::Method::POST, "/auth/login", Some(&login)).await.expect("an answer");
    let token = answer.body["access_token"].as_str().expect("a token").to_owned();
    let robot = client.get("/robots").await.expect("robots")["items"][0]["id"].as_str().expect("an id").to_owned();

    let url = std::fs::read_to_string(folder.path().join("keystone-data/secrets/database_url")).expect("the database's address");
    let elsewhere = TestDatabase::empty().await;
    let restored = elsewhere.url.expose();
    let session = async |url: &str| {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    };
    let database = session(url.trim()).await;
    let finished = "select count(*) from events where event_type = 'upload_verified'";
    until("an episode", async || database.query_one(finished, &[]).await.expect("a count").get::<_, i64>(0) > 0).await;
    // With the numbers of the document: of upload_verification to replay, and of device_commands to resolve.
    let letters = |numbers: &str| {
        format!("insert into dead_letters
            (dead_letter_id, subscriber, event_seq, stream_key, destination, causation_depth, reason, attempts, failures, queued_at, blocks_stream)
        overriding system value
        select n, case when n in (18, 20) then 'device_commands' else 'upload_verification' end, seq, aggregate_type || '/' || aggregate_id,
               case when n in (18, 20) then 'transfer:AB-F0001-T0001-000001' end, 0, 'permanent_error', 1,
               '[{{\"error\": \"the object store refused our key\"}}]', now(), false
        from unnest(array[{numbers}]) n, (select * from events where event_type = 'upload_reported' order by seq limit 1) e")
    };
    let version: i32 =
        database.query_one("select current_setting('server_version_num')::int / 10000", &[]).await.expect("a version").get(0);
    let dumps = has(folder.path(), "pg_dump", Some(version)).await;
    let jq = has(folder.path(), "jq", None).await;

    let steps = [
        ("aws s3api create-bucket", Step::Elsewhere("make store-policies")),
        ("ws-client-auth-token/rotate", Step::Shell),
        ("\"$KEYSTONE_DATABASE_URL\"\n", Step::Shell),
        ("passwords/keystone", Step::Shell),
        ("pg_restore", Step::Shell),
        ("rebase_sequencer()", Step::Sql),
        ("keystone doctor", Step::Shell),
        ("from outbox", Step::Sql),
        ("keystone dead-letters", Step::Shell),
        ("$letters/counts", Step::Shell),
        ("$hooks/1/test", Step::Shell),
        ("bulk-qa/preview", Step::Shell),
        ("keystone bulk-runs", Step::Shell),
    ];
    let operations = document("docs/operations.md");
    let commands: Vec<_> = blocks(&operations).into_iter().filter(|block| block.language != "text").collect();
    assert_eq!(commands.len(), steps.len(), "a block of commands is new or gone: say here how it is tried");
    for (block, (mark, step)) in commands.into_iter().zip(steps) {
        assert!(block.text.contains(mark), "line {} should have {mark}", block.line);
        let numbers = if mark == "keystone dead-letters" { "16, 17, 18" } else { "19, 20, 21, 22" };
        if mark.contains("letters") {
            database.batch_execute(&letters(numbers)).await.expect("letters");
        }
        let text = block.text.replace("http://edge:8080", &server.base()).replace("/robots/7/", &format!("/robots/{robot}/"));
        match step {
            Step::Elsewhere(place) => println!("line {}: tried by {place}", block.line),
            _ if mark == "ws-client-auth-token/rotate" && !jq => {}
            _ if (text.contains("pg_") || text.contains("rebase")) && !dumps => {}
            Step::Sql => {
                let place = if text.contains("rebase") { restored } else { url.trim() };
                session(place).await.batch_execute(&text).await.unwrap_or_else(|error| panic!("line {}: {error:?}", block.line));
            }
            Step::Shell => {
                let mut environment = server.environment();
                if !text.contains("doctor") {
                    let place = if text.contains("pg_restore") { restored } else { url.trim() };
                    let password = ("KEYSTONE_PASSWORD", PASSWORD.to_owned());
                    environment = vec![("KEYSTONE_DATABASE_URL", place.to_owned()), ("LOGIN", token.clone()), password];
                }
                let (done, said) = run(folder.path(), &text, &environment).await;
                assert!(done, "line {}: {said}", block.line);
            }
        }
    }
    if dumps {
        let events = "select count(*) from events";
        let there: i64 = session(restored).await.query_one(events, &[]).await.expect("a count").get(0);
        assert!(there > 0, "what was dumped is in the other cluster");
    }
    let acts = "select string_agg(aggregate_id || ' ' || event_type || ' ' || (metadata ->> 'actor'), ', ' order by aggregate_id)
                from events where aggregate_type = 'dead_letter' and event_type <> 'delivery_died'";
    let acts: String = database.query_one(acts, &[]).await.expect("acts").get(0);
    let (by_hand, by_http) = ("command_line", "user:admin");
    let replayed = |n: i32, who: &str| format!("{n} dead_letter_replayed {who}");
    let resolved = |n: i32, who: &str| format!("{n} dead_letter_resolved {who}");
    let expected = [
        replayed(16, by_hand),
        replayed(17, by_hand),
        resolved(18, by_hand),
        replayed(19, by_http),
        resolved(20, by_http),
        replayed(21, by_http),
        replayed(22, by_http),
    ];
    assert_eq!(acts, expected.join(", "));
    if jq {
        let device = std::fs::read(folder.path().join("device.json")).expect("the robot's file");
        let device: serde_json::Value = serde_json::from_slice(&device).expect("JSON");
        assert!(device["kept"].as_bool() == Some(true) && device.get("ws_client_auth_token").is_some(), "{device}");
    }
}

#[test]
fn blocks_are_found_with_their_language_and_place() {
    let found = blocks("a\n```sh\nb\nc\n```\n\n```\nd\n```\n");
    let block = |language, line, text: &str| Block { language, line, text: text.to_owned() };
    assert_eq!(found, [block("sh", 2, "b\nc\n"), block("", 7, "d\n")]);
}
