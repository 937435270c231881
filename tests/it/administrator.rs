//! The administrator's password: made once for all processes, kept over their starts, changed by the settings.

use std::os::unix::fs::PermissionsExt;

use reqwest::StatusCode;
use serde_json::json;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder};

const CHANGED: &str = "changed by the settings";

/// What the greetings show behind `Password`.
fn passwords_shown(server: &Server) -> Vec<String> {
    let lines = server.said();
    lines.lines().filter_map(|line| line.trim().strip_prefix("Password")).map(|shown| shown.trim().to_owned()).collect()
}

/// A password that a greeting shows, if it made one.
fn made(server: &Server) -> Option<String> {
    passwords_shown(server).pop()?.split_once("   (").map(|(password, _)| password.to_owned())
}

async fn opens(server: &Server, password: &str) -> bool {
    let login = json!({ "account": "admin", "password": password });
    let answer = reqwest::Client::new().post(format!("{}/api/v1/auth/login", server.base())).json(&login).send().await.expect("an answer");
    assert!(matches!(answer.status(), StatusCode::OK | StatusCode::UNAUTHORIZED), "{}", answer.status());
    answer.status() == StatusCode::OK
}

fn setting(server: &mut Server, password: &str) {
    server.settings.retain(|(name, _)| *name != "KEYSTONE_ADMIN_PASSWORD");
    // Empty is not set.
    server.settings.push(("KEYSTONE_ADMIN_PASSWORD", password.to_owned()));
}

async fn again(servers: &mut [Server]) {
    for server in servers.iter_mut() {
        server.stop().await;
    }
    for server in servers.iter_mut() {
        server.forget_said();
        server.start();
    }
    for server in servers.iter_mut() {
        server.ready().await;
        server.greeted().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_make_one_password_and_keep_it() {
    let (database, objects) = (TestDatabase::new().await, TestObjects::new().await);
    let folders = [temp_folder(), temp_folder()];
    let mut servers = folders.each_ref().map(|folder| Server::sharing(folder.path(), &database.url, &objects.s3.endpoint()));
    for server in &mut servers {
        setting(server, "");
        server.start();
    }
    for server in &mut servers {
        server.ready().await;
        server.greeted().await;
    }
    let shown: Vec<String> = servers.iter().filter_map(made).collect();
    let [password] = shown.as_slice() else { panic!("one of them makes it: {shown:?}") };
    for server in &servers {
        assert!(opens(server, password).await);
        assert!(!opens(server, "a guess").await);
        assert!(!server.log().contains(password), "the password stands in the log");
    }
    let kept = "select count(*) from credentials where password_hash like '%' || $1 || '%'";
    let client = database.pool.get().await.unwrap();
    assert_eq!(client.query_one(kept, &[&password]).await.unwrap().get::<_, i64>(0), 0);

    again(&mut servers).await;
    for server in &servers {
        assert_eq!(made(server), None, "{:?}", passwords_shown(server));
        assert!(opens(server, password).await);
    }

    // The settings change it, for all processes, and it stays when they say nothing any more.
    servers[1].stop().await;
    setting(&mut servers[1], CHANGED);
    servers[1].start();
    servers[1].ready().await;
    assert!(servers[1].log().contains("password is the one in the settings from now on"), "{}", servers[1].log());
    setting(&mut servers[1], "");
    for round in ["changed", "kept"] {
        for server in &servers {
            assert!(opens(server, CHANGED).await, "{round}");
            assert!(!opens(server, password).await, "{round}");
        }
        again(&mut servers).await;
    }
    for server in &servers {
        assert!(!server.log().contains(CHANGED), "the password stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_data_folder_the_password_lies_there_until_it_is_changed() {
    let folder = temp_folder();
    let file = folder.path().join("data/secrets/admin_password");
    let mut servers = [Server::new(folder.path())];
    setting(&mut servers[0], "");
    servers[0].start();
    servers[0].ready().await;
    servers[0].greeted().await;
    let password = std::fs::read_to_string(&file).expect("a file with the password");
    assert_eq!(made(&servers[0]).as_ref(), Some(&password));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(opens(&servers[0], &password).await);
    again(&mut servers).await;
    assert!(passwords_shown(&servers[0]).pop().unwrap().contains("data/secrets/admin_password"), "{}", servers[0].said());
    assert!(opens(&servers[0], &password).await);

    setting(&mut servers[0], PASSWORD);
    again(&mut servers).await;
    assert!(opens(&servers[0], PASSWORD).await && !opens(&servers[0], &password).await);
    assert!(!file.exists(), "the file holds a password that opens nothing");
    setting(&mut servers[0], "");
    again(&mut servers).await;
    assert!(opens(&servers[0], PASSWORD).await);
    assert_eq!((made(&servers[0]), file.exists()), (None, false));
}

/// Older versions kept it in the file alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_an_older_version_made_goes_on() {
    let folder = temp_folder();
    let secrets = folder.path().join("data/secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("admin_password"), "made by an older version").unwrap();
    let mut server = Server::new(folder.path());
    setting(&mut server, "");
    server.start();
    server.ready().await;
    server.greeted().await;
    assert!(opens(&server, "made by an older version").await);
    assert_eq!(made(&server), None);
}
