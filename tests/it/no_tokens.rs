//! No token that stands in a path, a query or a header reaches the log of a real server, whatever is logged and however it is answered.

use std::time::Duration;

use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, record, transfer_of};
use crate::harness::device::Socket;
use crate::harness::server::PASSWORD;
use crate::harness::until;
use crate::judging::{TOPICS, recorded};

/// What stands behind `before` in an address, up to the next separator.
fn behind<'a>(address: &'a str, before: &str) -> &'a str {
    let (_, rest) = address.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {address}"));
    rest.split(['/', '&']).next().expect("a token")
}

/// The task's episode.
async fn episode_of(bench: &Bench, task: &DispatchedTask) -> Value {
    // One that passes the checks: what failed is not handed out.
    let sound = recorded(&TOPICS, 5);
    bench.upload(&bench.key(task), &sound).await;
    let uploads = json!([record(bench, task, &sound, "uploaded_wait_ack")]);
    let _transfer = transfer_of(bench, uploads, json!([task.public_id])).await;
    bench.until_status(task, "completed").await;
    bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task")["episode"]["id"].clone()
}

#[tokio::test]
async fn no_token_of_a_path_a_query_or_a_header_is_logged() {
    let bench = Bench::start_with(vec![("KEYSTONE_LOG", "info,keystone_edge=trace".to_owned())]).await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let tasks = bench.dispatch(2).await;
    let (base, task, episode) = (bench.server.base(), &tasks[1], episode_of(&bench, &tasks[0]).await);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let login = json!({ "account": "admin", "password": PASSWORD });
    let login: Value = http.post(format!("{base}/api/v1/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
    let login = text(&login["access_token"]);
    let signed = format!("{base}{}", text(&bench.client.get(&format!("/episodes/{episode}/presign")).await.unwrap()["url"]));
    let viewer = text(&bench.client.get(&format!("/episodes/{episode}/viewer-link")).await.unwrap()["url"]);
    let rotated = format!("/robots/{}/ws-client-auth-token/rotate", bench.made.stations[0].robot_id);
    let rotated = bench.client.call(Method::POST, &rotated, None).await.unwrap().body;
    let (robot, store_key) = (text(&rotated["ws_client_auth_token"]), text(&rotated["store_secret_key"]));
    let callback = bench.callback("start", task);
    let secrets: Vec<String> = [&login, &robot, &store_key]
        .into_iter()
        .cloned()
        .chain([behind(&signed, "dl_token="), behind(&viewer, "/recording/"), behind(&callback, "token=")].map(str::to_owned))
        .chain(["made-up-token".to_owned(), PASSWORD.to_owned()])
        .collect();

    let device = &bench.device;
    let made_up = "made-up-token";
    let store =
        format!("http://{}/edge-factory-default/k?X-Amz-Credential=KR7%2F20261121&X-Amz-Signature={made_up}", bench.server.address(3));
    let mut answers = vec![];
    for (method, url) in [
        ("GET", signed.clone()),
        ("HEAD", signed.clone()),
        ("OPTIONS", signed.clone()),
        ("GET", format!("{signed}x")),
        ("GET", viewer.clone()),
        ("HEAD", viewer.clone()),
        ("DELETE", viewer.clone()),
        ("GET", format!("{viewer}/")),
        ("GET", format!("{base}/api/v1/episodes/{episode}/recording/{made_up}/a.mcap")),
        ("GET", format!("{base}/api/v1/episodes/{episode}/recording/{made_up}")),
        ("GET", format!("{base}/api/v1/episodes/x/recording/{made_up}/a/b")),
        ("GET", format!("{base}/api/v1/storage/object?bucket=b&object=o&dl_token={made_up}")),
        ("GET", format!("{base}/api/v1/orders?dl_token={made_up}&access_token={made_up}")),
        ("POST", callback.clone()),
        ("POST", format!("{base}/api/v1/callbacks/finish?token={made_up}")),
        ("GET", format!("{base}/transfer/t/{robot}/{device}")),
        ("GET", format!("{base}/transfer/t/{robot}")),
        ("GET", format!("{base}/api/v1/transfer/t/{robot}/{device}")),
        ("GET", format!("http://{}/transfer/t/{robot}/{device}", bench.server.address(2))),
        ("GET", format!("http://{}/transfer/t/{robot}", bench.server.address(2))),
        ("GET", format!("http://{}/transfer/t/{robot}/{device}", bench.server.address(1))),
        ("GET", format!("http://{}/transfer/t/{robot}/{device}", bench.server.address(3))),
        ("PUT", store),
    ] {
        let body = json!({ "task_id": task.public_id, "device_id": device });
        let request = http.request(method.parse().unwrap(), &url).header("authorization", format!("Bearer {made_up}"));
        let request = if method == "POST" { request.json(&body) } else { request };
        answers.push(request.timeout(Duration::from_secs(10)).send().await.expect("an answer").status().as_u16());
    }
    assert!(answers.contains(&200) && answers.contains(&401) && answers.contains(&404), "{answers:?}");
    let header = format!("Authorization: Bearer {robot}\r\n");
    let uploader = Socket::connect(&bench.server.address(2), &format!("/transfer/t/{robot}/{device}")).await;
    let recorder = Socket::try_connect(&bench.server.address(1), &format!("/recorder/{device}"), &header).await.expect("a link");
    let _refused = Socket::try_connect(&bench.server.address(2), &format!("/transfer/t/{made_up}/AB-F0009-T0009-000009"), "").await;
    until("the last of it to be logged", async || bench.server.log().contains("AB-F0009-T0009-000009")).await;
    drop((uploader, recorder));

    let log = bench.server.log();
    // They were logged, and a token would be seen.
    for told in [
        "/recording/… with 200",
        "/api/v1/storage/object with 200",
        "/api/v1/callbacks/start with ",
        "/transfer/t/… with 404",
        "object store refused",
    ] {
        assert!(log.contains(told), "`{told}` is missing:\n{log}");
    }
    for secret in &secrets {
        let found: Vec<&str> = log.lines().filter(|line| line.contains(secret.as_str())).collect();
        assert!(found.is_empty(), "`{secret}` was logged:\n{}", found.join("\n"));
    }
}
