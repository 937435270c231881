//! `keystone simulate` against real servers: one that knows no robot, and none at all.

use std::time::Duration;

use keystone_edge::config::Config;
use keystone_edge::simulator::client::Client;
use tokio::time::Instant;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::temp_folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_six_episodes_on_a_server_that_knows_no_robot() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    // Every robot shows a token, and uploads with a key of its own.
    server.settings = vec![("KEYSTONE_DEVICE_AUTH", "required".into()), ("KEYSTONE_S3_SHARED_KEY", "refused".into())];
    server.start();
    server.ready().await;
    server.settings.push(("KEYSTONE_SIMULATE_PASSWORD", PASSWORD.to_owned()));
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let total = async |path: &str| client.get(path).await.unwrap()["total"].as_u64().unwrap();
    let base = server.base();
    let run = ["simulate", "--server", &base, "--robots", "2", "--seconds", "0.5", "--data-dir", "robots", "--episodes"];
    // And again: what is there is used.
    for (episodes, all) in [("6", 6), ("3", 9)] {
        let (code, said) = server.tool(&[&run[..], &[episodes]].concat()).await;
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains('\u{1b}'), "colours in a file: {said:?}");
        assert!(said.contains(&format!("({episodes} of {episodes})")), "{said}");
        assert_eq!(total("/episodes").await, all, "{said}");
        for path in ["/factories", "/organizations", "/scenes", "/subscenes", "/sops", "/robot_types"] {
            assert_eq!(total(path).await, 1, "{path}: {said}");
        }
        for path in ["/robots", "/stations", "/data_collectors", "/skills"] {
            assert_eq!(total(path).await, 2, "{path}: {said}");
        }
    }
}

#[tokio::test]
async fn without_its_server_the_simulator_ends_and_says_so() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings = vec![("KEYSTONE_SIMULATE_PASSWORD", PASSWORD.to_owned())];
    let nowhere = format!("http://{}", server.address(0));
    let (recorder, transfer) = (format!("ws://{}/recorder", server.address(1)), format!("ws://{}/transfer", server.address(2)));
    let started = Instant::now();
    for (arguments, told) in [
        (vec!["--server", &nowhere], "--server names the address"),
        (vec!["--server", &nowhere, "--device-id", "AB-1"], "--server names the address"),
        (vec!["--server", "edge"], "--server names the address"),
        (vec!["--recorder", &recorder, "--transfer", &transfer], "--recorder and --transfer"),
    ] {
        let (code, said) = server.tool(&[&["simulate"], &arguments[..]].concat()).await;
        assert_ne!(code, 0, "{arguments:?}: {said}");
        assert!(said.contains(told) && !said.contains('\u{1b}'), "{arguments:?}: {said:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    server.settings.clear();
    let (code, said) = server.tool(&["simulate", "--server", &nowhere]).await;
    assert!(code != 0 && said.contains("KEYSTONE_SIMULATE_PASSWORD"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_robot_are_named() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let base = server.base();
    for (password, arguments, told) in [
        ("a guess", vec![], "KEYSTONE_SIMULATE_PASSWORD"),
        (PASSWORD, vec!["--device-id", "AB-F0009-T0009-000001"], "has no robot AB-F0009-T0009-000001"),
    ] {
        server.settings = vec![("KEYSTONE_SIMULATE_PASSWORD", password.to_owned())];
        let (code, said) = server.tool(&[&["simulate", "--server", &base], &arguments[..]].concat()).await;
        assert!(code != 0 && said.contains(told), "{said}");
    }
}

#[tokio::test]
async fn its_bucket_is_the_servers() {
    let folder = temp_folder();
    let (code, help) = Server::new(folder.path()).tool(&["simulate", "--help"]).await;
    assert_eq!(code, 0);
    assert!(help.contains(&format!("[default: {}]", Config::defaults().s3.bucket)), "{help}");
}

/// As `serve` does; the environment comes first.
#[tokio::test]
async fn its_variables_may_stand_in_a_dot_env_file() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    let nowhere = format!("http://{}", server.address(0));
    let run = ["simulate", "--server", &nowhere];
    assert!(server.tool(&run).await.1.contains("the password of `admin` is needed"));
    std::fs::write(folder.path().join(".env"), "KEYSTONE_SIMULATE_ACCOUNT=boss\nKEYSTONE_SIMULATE_PASSWORD='a $ecret'\n").unwrap();
    let (code, said) = server.tool(&run).await;
    assert!(code != 0 && said.contains("cannot reach") && !said.contains("$ecret"), "{said}");
    assert!(!server.tool(&["simulate", "--help"]).await.1.contains("$ecret"));
    server.settings = vec![("KEYSTONE_SIMULATE_PASSWORD", String::new())];
    assert!(server.tool(&run).await.1.contains("the password of `boss` is needed"), "what is set in the environment counts");
}
