//! Who gets in, and what they may do there.

use keystone_edge::http::auth::passwords::hash_of;
use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};

use crate::harness::edge::TestEdge;

#[tokio::test]
async fn a_collector_logs_in_and_sees_their_station() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let (status, login) = edge.log_in(" LI ", "li's password").await;
    assert_eq!(status, 200, "{login}");
    assert_eq!((&login["role"], &login["token_type"], &login["expires_in"]), (&json!("data_collector"), &json!("Bearer"), &json!(3600)));
    assert_eq!(login["collector"], json!({"id": seed.collector, "operator_id": "li", "name": "Li"}));
    let token = login["access_token"].as_str().unwrap();
    let (_, me) = edge.send_as(token, "GET", "/api/v1/auth/me", Value::Null).await;
    assert_eq!((&me["workstation_id"], &me["robot_id"], &me["robot_type"]["model"]), (&seed.station, &seed.robot, &json!("arm-1")));

    assert_eq!(edge.send_as(token, "GET", "/api/v1/orders", Value::Null).await.0, 200);
    let (status, refused) = edge.send_as(token, "POST", "/api/v1/batches", seed.batch(1)).await;
    assert_eq!((status, &refused["code"]), (403, &json!("forbidden")));
    let (status, refused) = edge.send_as(token, "POST", "/api/v1/recorder/AB-OTHER/pause", Value::Null).await;
    assert_eq!((status, &refused["code"]), (403, &json!("not_your_device")));
    let (status, refused) = edge.send_as(token, "POST", "/api/v1/recorder/AB-F0001-T0001-000001/pause", Value::Null).await;
    assert_eq!((status, &refused["code"]), (404, &json!("recorder_not_connected")));
}

#[tokio::test]
async fn the_administrator_logs_in() {
    let edge = TestEdge::start().await;
    let (status, login) = edge.send_as("", "POST", "/api/v1/auth/login", json!({"Account": " admin ", "password": "open sesame"})).await;
    assert_eq!((status, &login["role"], &login["collector"]), (200, &json!("admin"), &Value::Null));
    let (_, me) = edge.send_as(login["access_token"].as_str().unwrap(), "GET", "/api/v1/auth/me", Value::Null).await;
    assert_eq!(me["name"], "Administrator");
    // Longer than bcrypt looks at: all of it counts.
    let long = "a sentence ".repeat(20);
    edge.commands.change_admin_password(&hash_of(&long).unwrap()).await.unwrap();
    assert_eq!(edge.log_in("admin", &long).await.0, 200);
    assert_eq!(edge.log_in("admin", &format!("{long}x")).await.0, 401);
    assert_eq!(edge.log_in("admin", "open sesame").await.0, 401);
}

/// A login that came to its end is renewed where work goes on for days.
#[tokio::test]
async fn a_simulated_person_without_a_login_that_is_good_logs_in_again() {
    let edge = TestEdge::start().await;
    let login = edge.admin.clone();
    let client = Client::signed_in(&edge.base, move || Some(login.clone())).unwrap();
    assert_eq!(client.get("/orders").await.unwrap()["total"], 0);
    let client = Client::signed_in(&edge.base, || Some("no login".to_owned())).unwrap();
    assert!(client.get("/orders").await.unwrap_err().to_string().contains("401"));
}

/// As the page of the description does, and every program that knows OAuth 2.
#[tokio::test]
async fn a_login_may_be_a_form() {
    let edge = TestEdge::start().await;
    let log_in = async |body: &str| {
        let form = edge.request("", "POST", "/api/v1/auth/login").header("content-type", "application/x-www-form-urlencoded");
        // A client that has no secret says so.
        let answer = form.header("authorization", "Basic Og==").body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, login) = log_in("grant_type=password&username=admin&password=open+sesame").await;
    assert_eq!((status, &login["token_type"], &login["role"]), (200, &json!("Bearer"), &json!("admin")));
    assert_eq!(log_in("grant_type=password&username=admin&password=open").await.0, 401);
    let (status, refused) = log_in("username=admin").await;
    assert_eq!((status, &refused["field"]), (400, &json!("password")));
    // Some clients call JSON a form.
    assert_eq!(log_in(r#"{"account": "admin", "password": "open sesame"}"#).await.0, 200);
}

/// A browser's `EventSource` sends cookies, and no header of its choice.
#[tokio::test]
async fn a_login_opens_the_stream_of_devices_to_a_browser_and_nothing_else() {
    let edge = TestEdge::start().await;
    let login = edge.request("", "POST", "/api/v1/auth/login").json(&json!({"account": "admin", "password": "open sesame"}));
    let login = login.send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/api/v1/device-state/stream; Max-Age=3600; HttpOnly; SameSite=Strict");

    let get = async |path: &str, token: &str, cookie: &str| {
        let answer = edge.request(token, "GET", path).header("cookie", format!("theme=dark; {cookie}")).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()))
    };
    let stream = "/api/v1/device-state/stream";
    assert_eq!(get(stream, "", pair).await, (200, Some("text/event-stream".to_owned())));
    assert_eq!(get(stream, &edge.admin, "").await.0, 200);
    for refused in ["", "keystone_stream=", "keystone_stream=x", &format!("keystone_stream={}", edge.admin), &format!("{pair}x")] {
        assert_eq!(get(stream, "", refused).await.0, 401, "{refused}");
    }
    assert_eq!(get("/api/v1/devices/AB-1/connection", "", pair).await.0, 401);
    let token = pair.split_once('=').unwrap().1;
    assert_eq!(get("/api/v1/orders", token, "").await.0, 401);

    let logout = edge.request("", "POST", "/api/v1/auth/logout").send().await.unwrap();
    assert!(logout.headers()["set-cookie"].to_str().unwrap().starts_with("keystone_stream=; Path=/api/v1/device-state/stream; Max-Age=0;"));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_read_the_same() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let strip = |mut answer: (u16, Value)| {
        answer.1.as_object_mut().unwrap().remove("request_id");
        answer
    };
    let wrong = strip(edge.log_in("li", "guess").await);
    assert_eq!(wrong.0, 401);
    assert_eq!(wrong, strip(edge.log_in("nobody", "guess").await));
    assert_eq!(wrong, strip(edge.log_in("admin", "guess").await));
    assert_eq!(edge.log_in("", "guess").await.0, 400);
}

#[tokio::test]
async fn guessing_has_to_wait() {
    let edge = TestEdge::start().await;
    let mut answers = vec![];
    for _ in 0..10 {
        answers.push(edge.log_in("admin", "guess").await.0);
    }
    assert_eq!(answers[..8], [401; 8]);
    assert_eq!(answers[8..], [429; 2]);
    assert_eq!(edge.log_in("admin", "open sesame").await.0, 429, "the right password waits as well");
}

#[tokio::test]
async fn a_collector_needs_a_password_and_another_name_than_the_administrator() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let collector = |operator_id: &str, password: Value| json!({"organization_id": seed.organization, "name": "X", "operator_id": operator_id, "password": password});
    assert_eq!(edge.post("/api/v1/data_collectors", collector("x", Value::Null)).await.0, 400);
    assert_eq!(edge.post("/api/v1/data_collectors", collector("ADMIN", json!("secret"))).await.0, 400);
    let (_, made) = edge.post("/api/v1/data_collectors", collector("x", json!(" blank "))).await;
    assert!(!made.to_string().contains("blank") && !made.to_string().contains("hash"));
    assert_eq!(edge.log_in("x", "blank").await.0, 401);
    assert_eq!(edge.log_in("x", " blank ").await.0, 200);
}
