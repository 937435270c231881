//! The command line at a server: it says what it says on the database, waits for a server that restarts, and keeps a password
//! to itself.

use std::process::Stdio;
use std::time::Duration;

use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;

use crate::dead_letters::with_letters;
use crate::event_log::{Floor, note_all};
use crate::harness::edge::TestEdge;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::temp_folder;

/// The program beside an edge: on its database, and at its address.
pub struct Both {
    pub on_database: Server,
    pub at_server: Server,
    base: String,
}

impl Both {
    pub fn of(edge: &TestEdge, folder: &std::path::Path) -> Self {
        let mut on_database = Server::new(folder);
        on_database.settings = vec![("KEYSTONE_DATABASE_URL", edge.database.url.expose().to_owned())];
        let mut at_server = Server::new(folder);
        at_server.settings = vec![("KEYSTONE_PASSWORD", "open sesame".to_owned())];
        Self { on_database, at_server, base: edge.base.clone() }
    }

    pub async fn server(&self, arguments: &[&str]) -> (i32, String) {
        self.at_server.tool(&[arguments, &["--server", &self.base]].concat()).await
    }

    /// What both say.
    pub async fn say(&self, arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (of_database, of_server) = (self.on_database.tool(&arguments).await, self.server(&arguments).await);
        assert_eq!(of_server, of_database, "{arguments:?}");
        assert_eq!(of_server.0, 0, "{arguments:?}: {}", of_server.1);
        of_server.1
    }
}

fn position(line: &str) -> Value {
    serde_json::from_str::<Value>(line).unwrap()["position"].clone()
}

#[tokio::test]
async fn the_log_is_the_same_at_a_server() {
    let floor = Floor::new().await;
    let folder = temp_folder();
    let both = Both::of(&floor.edge, folder.path());
    let everything = both.say("events --limit 1000 --json").await;
    assert!(everything.lines().count() > 25, "{everything}");
    let (task, batch) = (floor.deleted.0, floor.batch);
    for (arguments, contains) in [
        ("events".to_owned(), "by user:admin"),
        ("events --type task_*,batch_created --limit 3".to_owned(), "task_cancelled"),
        ("events --type task_created --type task_deleted --json".to_owned(), "task_deleted"),
        ("events --category device --json".to_owned(), "device:AB-"),
        (format!("events --about task/{task} --actor user:admin"), "task_deleted"),
        (format!("events --stream batch/{batch} --content batch_id:{batch}"), ""),
        ("events --since 2026-01-01T00:00:00.123456Z --until 2036-01-01T00:00:00Z --limit 2".to_owned(), "by "),
        ("events --from-position 3 --to-position 5 --json".to_owned(), "\"position\":4"),
        ("events --about task/4711".to_owned(), ""),
        ("events --position 9".to_owned(), "\"effects\""),
        ("events --export ndjson --type batch_*".to_owned(), "batch_cancelled"),
        ("events --export csv".to_owned(), "position,event_id,"),
    ] {
        let said = both.say(&arguments).await;
        assert!(said.contains(contains), "{arguments}: {said}");
    }
    let positions: Vec<Value> = both.say("events --export ndjson --from-position 3 --to-position 5").await.lines().map(position).collect();
    assert_eq!(positions, [3, 4, 5].map(Value::from));
    let read = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    assert!(read(&both.say("events --export ndjson").await) == read(&everything), "an export has the order of the log, as what is told");

    // A story is what the log finds about a task; the database is also asked for what only its order or batch has.
    for id in [task.to_string(), floor.deleted.1.clone()] {
        let (code, said) = both.server(&["events", "--task", &id, "--json"]).await;
        let types: Vec<Value> = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
        assert!(code == 0 && types.contains(&json!("task_created")) && types.contains(&json!("task_deleted")), "{said}");
        assert!(both.on_database.tool(&["events", "--task", &id, "--json"]).await.1.contains("\"type\":\"task_deleted\""));
    }
    for (arguments, named) in [
        (&["--type", "exploded"][..], "type"),
        (&["--from-position", "5", "--to-position", "4"], "from_position"),
        (&["--content", "17"], "content"),
        (&["--stream", "17"], "stream"),
        (&["--task", "4711"], "there is no task `4711`"),
        (&["--position", "100000"], ""),
    ] {
        for (code, said) in
            [both.server(&[&["events"], arguments].concat()).await, both.on_database.tool(&[&["events"], arguments].concat()).await]
        {
            assert!(code == 1 && said.contains(named) && said.starts_with("keystone: "), "{arguments:?}: {said}");
        }
    }
}

#[tokio::test]
async fn dead_letters_and_subscriptions_are_the_same_at_a_server() {
    let edge = with_letters(&["a", "b", "c", "d", "e"]).await;
    let folder = temp_folder();
    let both = Both::of(&edge, folder.path());
    for (arguments, contains) in [
        ("dead-letters list", "5 of 5 letters"),
        ("dead-letters list --limit 2", "More: --after"),
        ("dead-letters list --stream order/b --resolution unresolved --reason permanent_error --json", "order_started"),
        ("dead-letters list --from 2026-01-01T00:00:00Z --notification-failed", "0 of 0 letters"),
        ("dead-letters show 2", "\"tried\""),
        ("dead-letters counts", "5  unresolved"),
        ("dead-letters counts --json", "\"subscribers\""),
        ("dead-letters replay --everything --notification-failed", "No unresolved letter is like this."),
        ("subscriptions list", ""),
    ] {
        let said = both.say(arguments).await;
        assert!(said.contains(contains), "{arguments}: {said}");
    }
    let (code, said) = both.server(&["dead-letters", "replay", "1", "--causation-depth-max", "9"]).await;
    assert_eq!((code, said.as_str()), (0, "order/a/1 goes to upload_verification again.\n"));
    let (code, said) = both.server(&["dead-letters", "replay", "1"]).await;
    assert!(code == 1 && said.contains("its delivery is under way"), "{said}");
    let (_, same) = both.on_database.tool(&["dead-letters", "replay", "1"]).await;
    assert_eq!(said, same);
    let (code, said) = both.server(&["dead-letters", "resolve", "2", "--reason", "gone"]).await;
    assert_eq!((code, said.as_str()), (0, "Letter 2 is resolved.\n"));
    let (_, said) = both.server(&["dead-letters", "replay", "--subscriber", "upload_verification"]).await;
    let selection = said.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert!(said.starts_with("upload_verification: 3 letters\n"), "{said}");
    let (code, said) = both.server(&["dead-letters", "replay", "--selection", &selection]).await;
    assert!(code == 0 && said.starts_with("3 replayed, 0 left"), "{said}");
    let (_, letter) = edge.get("/api/v1/dead-letters/2").await;
    assert_eq!(letter["acts"][0]["actor"], "user:admin", "at a server a person does it");

    let (code, said) =
        both.server(&["subscriptions", "create", "--url", "https://a.example/?key=hush", "--type", "order_*", "--per-stream"]).await;
    assert!(code == 0 && said.contains("Subscription 1 is made.") && said.contains("whsec_") && !said.contains("hush"), "{said}");
    for (arguments, contains) in [("subscriptions list --state active", "https://a.example"), ("subscriptions show 1", "\"per_stream\"")] {
        assert!(both.say(arguments).await.contains(contains), "{arguments}");
    }
    for (arguments, contains) in [
        (&["test", "1"][..], "goes to subscription 1; keystone"),
        (&["deliveries", "1", "--outcome", "failed"], ""),
        (&["pause", "1"], "is paused."),
        (&["resume", "1"], "goes on."),
        (&["rotate-secret", "1", "--overlap-hours", "1"], "whsec_"),
        (&["delete", "1"], "has ended."),
        (&["list", "--state", "ended"], "ended"),
    ] {
        let (code, said) = both.server(&[&["subscriptions"], arguments].concat()).await;
        assert!(code == 0 && said.contains(contains), "{arguments:?}: {said}");
    }
    let (code, said) = both.server(&["subscriptions", "resume", "1"]).await;
    assert!(code == 1 && said == both.on_database.tool(&["subscriptions", "resume", "1"]).await.1, "{said}");
    note_all(&edge.database).await;
}

#[tokio::test]
async fn a_password_is_asked_for_and_never_shown() {
    const HUSH: &str = "hunter2-and-more";
    let edge = TestEdge::start().await;
    let folder = temp_folder();
    let mut tool = Server::new(folder.path());
    let (base, host) = (edge.base.as_str(), edge.base.trim_start_matches("http://"));
    let said = async |tool: &Server, arguments: &[&str]| {
        let output = tokio::process::Command::from(tool.command(arguments)).stdin(Stdio::null()).output().await.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(HUSH), "{arguments:?}: {said}");
        (output.status.code().unwrap(), said)
    };
    let (code, told) = said(&tool, &["events", "--server", base, "--user", "boss"]).await;
    assert!(code == 1 && told.contains("the password of `boss` is needed: set KEYSTONE_PASSWORD"), "{told}");
    std::fs::write(folder.path().join(".env"), "KEYSTONE_USER=chief\n").unwrap();
    assert!(said(&tool, &["events", "--server", base]).await.1.contains("the password of `chief`"));
    std::fs::remove_file(folder.path().join(".env")).unwrap();

    tool.settings = vec![("KEYSTONE_PASSWORD", HUSH.to_owned())];
    let with_user = format!("http://admin:{HUSH}@{host}");
    let nowhere = "http://127.0.0.1:1";
    for (arguments, code, named) in [
        (&["events", "--server", base][..], 1, "cannot sign in"),
        (&["events", "--server", nowhere], 1, "cannot reach http://127.0.0.1:1"),
        (&["events", "--server", &with_user], 1, "without a user and a password"),
        (&["dead-letters", "counts", "--server", "edge"], 1, "this is no address"),
        (&["subscriptions", "list", "--server", base], 1, "cannot sign in"),
        (&["events", "--server", base, "--password", HUSH], 2, "unexpected argument '--password'"),
        (&["events", "--server", base, "--password-file", "none"], 1, "cannot read a password from none"),
        (&["events", "--user", "boss"], 1, "belong to --server"),
    ] {
        let (ended, told) = said(&tool, arguments).await;
        assert!(ended == code && told.contains(named), "{arguments:?}: {ended} {told}");
    }
    std::fs::write(folder.path().join("password"), "open sesame\nand more\n").unwrap();
    let (code, told) = said(&tool, &["dead-letters", "--password-file", "password", "--server", base, "counts"]).await;
    assert_eq!((code, told.as_str()), (0, "     0  unresolved\n"), "a file comes before the environment");
}

#[tokio::test]
async fn who_follows_waits_for_a_server_that_restarts_and_misses_nothing() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = vec![("KEYSTONE_PASSWORD", PASSWORD.to_owned())];
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let create = async |n: i32| client.create("/factories", &json!({ "name": format!("Factory {n}"), "timezone": "UTC" })).await.unwrap();
    create(0).await;
    let base = server.base();
    let arguments = ["events", "--type", "factory_created", "--follow", "--json", "--server", &base];
    let mut following = tokio::process::Command::from(server.command(&arguments));
    let mut following = following.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(following.stdout.take().unwrap()).lines();
    let mut errors = tokio::io::BufReader::new(following.stderr.take().unwrap()).lines();
    let mut told = async || {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.expect("in time").unwrap().expect("a line");
        serde_json::from_str::<Value>(&line).unwrap()["data"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(told().await, "Factory 0");
    create(1).await;
    assert_eq!(told().await, "Factory 1");
    server.kill();
    let waits = tokio::time::timeout(Duration::from_secs(30), errors.next_line()).await.expect("in time").unwrap().expect("a line");
    assert!(waits.contains("waits for the server"), "{waits}");
    // It comes back when all of it has happened.
    let pid = i32::try_from(following.id().unwrap()).unwrap();
    crate::harness::signal(pid, nix::sys::signal::Signal::SIGSTOP);
    server.start();
    server.ready().await;
    for n in 2..5 {
        create(n).await;
    }
    crate::harness::signal(pid, nix::sys::signal::Signal::SIGCONT);
    for n in 2..5 {
        assert_eq!(told().await, format!("Factory {n}"));
    }
    crate::harness::signal(pid, nix::sys::signal::Signal::SIGINT);
    let ended = tokio::time::timeout(Duration::from_secs(10), following.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
    let (code, said) = server.tool(&["events", "--follow", "--until", "2026-01-01T00:00:00Z"]).await;
    assert!(code == 2 && said.contains("--until"), "{said}");
    server.stop().await;
}
