//! What is asked for through the outbox: waited for or looked at later, and what became of it when nobody waited any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keystone_edge::commands::devices::{OpenLink, SettleDeviceCommand};
use keystone_edge::commands::waits::WaitEnded;
use keystone_edge::dispatcher::hear_and_tell;
use keystone_edge::domain::device::{CommandOutcome, LinkKind, NotSentCause, UnknownCause};
use keystone_edge::domain::request::RequestStatus;
use keystone_edge::domain::{DeviceId, FactoryId, Scope};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::reads::requests::{ABANDONED_COUNT, RequestFilter};
use keystone_edge::projections::reads::{Page, Reads};
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use nix::sys::signal::Signal;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::device::Socket;
use crate::harness::edge::{Answer, TestEdge};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};
use crate::outbox::number;

const DEVICE: &str = "AB-F0001-T0001-000001";

fn device() -> DeviceId {
    DeviceId::parse(DEVICE).unwrap()
}

/// An edge with a robot whose recorder is connected, and answers nothing by itself.
async fn edge() -> Arc<TestEdge> {
    let edge = TestEdge::start_with(|settings| settings.device_response_timeout = Duration::from_millis(300)).await;
    edge.seed().await;
    connect(&edge).await;
    Arc::new(edge)
}

async fn connect(edge: &TestEdge) {
    edge.execute(OpenLink { device: device(), kind: LinkKind::Recorder, remote: "10.0.0.1".into(), process: None }).await;
    edge.devices.connect(DEVICE, "idle", None);
}

async fn ask(edge: &TestEdge, token: &str, headers: &[(&'static str, &str)]) -> Response {
    let request = edge.request(token, "POST", &format!("/api/v1/recorder/{DEVICE}/pause"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.expect("an answer")
}

async fn read(response: Response) -> (u16, HeaderMap, Value) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.expect("a JSON body"))
}

fn said<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Asks and goes: the id of the request.
async fn accepted(edge: &TestEdge, token: &str) -> String {
    let (status, _, body) = read(ask(edge, token, &[("prefer", "respond-async")]).await).await;
    assert_eq!(status, 202, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

/// The command that is under way.
async fn requested(edge: &TestEdge) -> String {
    let mut id = String::new();
    until("a command is requested", async || {
        let client = edge.database.pool.get().await.unwrap();
        let row = client.query_opt("select id from device_commands where status = 'requested'", &[]).await.unwrap();
        id = row.map(|row| row.get(0)).unwrap_or_default();
        !id.is_empty()
    })
    .await;
    id
}

async fn settle(edge: &TestEdge, command_id: &str, outcome: CommandOutcome) {
    edge.execute(SettleDeviceCommand { device: device(), command_id: command_id.to_owned(), outcome }).await;
}

fn succeeded() -> CommandOutcome {
    CommandOutcome::Succeeded { message: Some("ok".into()), data: Some(json!({ "state": "paused" })) }
}

async fn request(edge: &TestEdge, id: &str) -> Value {
    let (status, body) = edge.get(&format!("/api/v1/requests/{id}")).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn abandoned(edge: &TestEdge) -> Vec<Value> {
    edge.get("/api/v1/abandoned-executions").await.1["items"].as_array().unwrap().clone()
}

/// An answer without the id of its own request.
fn without_id(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("request_id");
    answer
}

#[tokio::test]
async fn a_caller_that_prefers_so_is_told_at_once_where_to_look() {
    let edge = edge().await;
    let (status, headers, body) = read(ask(&edge, &edge.admin, &[("prefer", "respond-async")]).await).await;
    let id = body["id"].as_str().unwrap();
    let place = format!("/api/v1/requests/{id}");
    assert_eq!((status, said(&headers, "location"), said(&headers, "preference-applied")), (202, &*place, "respond-async"));
    assert_eq!(body, json!({ "id": id, "status": "pending", "location": place }));

    let pending = request(&edge, id).await;
    assert_eq!((&pending["status"], &pending["status_code"], &pending["answer"]), (&json!("pending"), &json!(202), &Value::Null));
    assert_eq!((&pending["asker"], &pending["device_id"], &pending["action"]), (&json!("user:admin"), &json!(DEVICE), &json!("pause")));
    settle(&edge, id, succeeded()).await;
    let done = request(&edge, id).await;
    assert_eq!((&done["status"], &done["status_code"]), (&json!("succeeded"), &json!(200)));
    let answer = json!({ "type": "rpc_response", "request_id": id, "success": true, "message": "ok", "data": { "state": "paused" } });
    assert_eq!((&done["answer"], &done["given_up_at"], &done["late_answer"]), (&answer, &Value::Null, &Value::Null));
    assert!(done["settled_at"].is_string());
    assert_eq!(edge.get("/api/v1/requests/none").await.0, 404);

    // What is refused at once is refused as always.
    let path = "/api/v1/recorder/AB-gone/pause";
    let gone = edge.request(&edge.admin, "POST", path).header("prefer", "respond-async").send().await.unwrap();
    let plainly = edge.post(path, Value::Null).await;
    let (status, headers, body) = read(gone).await;
    assert_eq!((status, without_id(body)), (plainly.0, without_id(plainly.1)));
    assert!(!headers.contains_key("preference-applied"));
}

#[tokio::test]
async fn who_waits_and_who_looks_hear_the_same_of_every_outcome() {
    let edge = edge().await;
    let why = |text: &str| text.to_owned();
    for (outcome, status, code) in [
        (succeeded(), RequestStatus::Succeeded, 200),
        (CommandOutcome::Refused { message: Some(why("not recording")), data: None }, RequestStatus::Refused, 200),
        (CommandOutcome::not_sent(NotSentCause::NotPermitted, why("no")), RequestStatus::RightLost, 403),
        (CommandOutcome::not_sent(NotSentCause::Overloaded, why("busy")), RequestStatus::Overloaded, 503),
        (CommandOutcome::not_sent(NotSentCause::LinkClosed, why("lost")), RequestStatus::NotSent, 503),
        (CommandOutcome::NotSent { reason: why("of before"), cause: None }, RequestStatus::NotSent, 503),
        (CommandOutcome::unknown(UnknownCause::TimedOut, why("silence")), RequestStatus::TimedOut, 504),
        (CommandOutcome::Unknown { reason: why("of before"), cause: None }, RequestStatus::TimedOut, 504),
        (CommandOutcome::unknown(UnknownCause::LinkClosed, why("lost")), RequestStatus::Unknown, 504),
        (CommandOutcome::unknown(UnknownCause::ProcessEnded, why("ended")), RequestStatus::Unknown, 504),
    ] {
        let waiting = tokio::spawn({
            let edge = edge.clone();
            async move { read(ask(&edge, &edge.admin, &[]).await).await }
        });
        let id = requested(&edge).await;
        settle(&edge, &id, outcome.clone()).await;
        let (heard, headers, body) = waiting.await.unwrap();
        let looked = request(&edge, &id).await;
        assert_eq!((heard, &looked["status_code"], &looked["status"]), (code, &json!(code), &json!(status.as_str())), "{outcome:?}");
        // The answer of a recorder names the command; any other its own HTTP request.
        let own = |answer: &Value| if code == 200 { answer.clone() } else { without_id(answer.clone()) };
        assert_eq!(own(&body), own(&looked["answer"]), "{outcome:?}");
        assert!(!headers.contains_key("location") && !headers.contains_key("preference-applied"));
    }
    let of = async |status: &str| edge.get(&format!("/api/v1/requests?status={status}")).await.1["total"].clone();
    for (status, total) in [("succeeded", 1), ("right_lost", 1), ("overloaded", 1), ("not_sent", 2), ("timed_out", 2), ("unknown", 2)] {
        assert_eq!(of(status).await, json!(total), "{status}");
    }
    assert_eq!(edge.get("/api/v1/requests?status=done").await.0, 400);
}

#[tokio::test]
async fn a_wait_may_be_shorter_and_ends_with_a_place_to_look() {
    let edge = edge().await;
    let began = Instant::now();
    // The device's own limit is longer: 300 ms, and a second for the outcome to be written.
    let (status, headers, body) = read(ask(&edge, &edge.admin, &[("prefer", "wait=1")]).await).await;
    assert_eq!((status, said(&headers, "preference-applied"), &body["status"]), (202, "wait=1", &json!("pending")));
    assert!((Duration::from_secs(1)..Duration::from_millis(1250)).contains(&began.elapsed()), "{:?}", began.elapsed());
    let id = body["id"].as_str().unwrap();
    settle(&edge, id, succeeded()).await;

    let waiting = tokio::spawn({
        let edge = edge.clone();
        async move { read(ask(&edge, &edge.admin, &[("prefer", "respond-async, wait=1")]).await).await }
    });
    let id = requested(&edge).await;
    settle(&edge, &id, succeeded()).await;
    let (status, headers, body) = waiting.await.unwrap();
    assert_eq!((status, &body["success"], headers.contains_key("location")), (200, &json!(true), false));
    // One who would wait longer than there can be an answer hears what everybody hears.
    // Unless it says that it would rather look later.
    let (as_long, or_later) = ([("prefer", "wait=60")], [("prefer", "respond-async, wait=60")]);
    let (as_long, or_later) = tokio::join!(ask(&edge, &edge.admin, &as_long), ask(&edge, &edge.admin, &or_later));
    let (status, headers, body) = read(as_long).await;
    assert_eq!((status, &body["code"], headers.contains_key("location")), (504, &json!("recorder_rpc_timeout"), false));
    let (status, headers, _) = read(or_later).await;
    assert_eq!((status, said(&headers, "preference-applied")), (202, "respond-async, wait=60"));
    assert_eq!(edge.get(&format!("/api/v1/requests?device_id={DEVICE}&asker=user:admin")).await.1["total"], json!(4));
    // Who was told where to look has not given up.
    until("the last one has", async || {
        number(&edge.database.pool, "select count(*) from requests where given_up_at is not null").await == 1
    })
    .await;
}

#[tokio::test]
async fn the_same_key_is_the_same_request_however_it_is_asked() {
    let edge = edge().await;
    let key = ("idempotency-key", "shift-7");
    let (_, _, first) = read(ask(&edge, &edge.admin, &[key, ("prefer", "respond-async")]).await).await;
    let (status, headers, again) = read(ask(&edge, &edge.admin, &[key, ("prefer", "respond-async")]).await).await;
    assert_eq!((status, &again, headers.contains_key("location")), (202, &first, true));
    settle(&edge, first["id"].as_str().unwrap(), succeeded()).await;
    // Without the preference it waits for the same command, and hears what came of it.
    let (status, _, waited) = read(ask(&edge, &edge.admin, &[key]).await).await;
    assert_eq!((status, &waited["request_id"]), (200, &first["id"]));
    assert_eq!(number(&edge.database.pool, "select count(*) from requests").await, 1);
}

#[tokio::test]
async fn a_request_is_shown_to_who_asked_and_to_administrators() {
    let edge = edge().await;
    let log_in = async |account: &str, password: &str| edge.log_in(account, password).await.1["access_token"].as_str().unwrap().to_owned();
    let organization = edge.get("/api/v1/organizations").await.1["items"][0]["id"].clone();
    let other = json!({ "organization_id": organization, "name": "Wu", "operator_id": "wu", "password": "wu's password" });
    edge.create("/api/v1/data_collectors", other).await;
    let (li, wu) = (log_in("li", "li's password").await, log_in("wu", "wu's password").await);
    let (of_admin, of_li) = (accepted(&edge, &edge.admin).await, accepted(&edge, &li).await);
    for (token, id, expected) in
        [(&edge.admin, &of_li, 200), (&li, &of_li, 200), (&wu, &of_li, 404), (&li, &of_admin, 404), (&edge.admin, &of_admin, 200)]
    {
        assert_eq!(edge.send_as(token, "GET", &format!("/api/v1/requests/{id}"), Value::Null).await.0, expected);
    }
    let ids = |answer: Answer| -> Vec<String> {
        answer.1["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let listed = async |token: &str, query: &str| ids(edge.send_as(token, "GET", &format!("/api/v1/requests{query}"), Value::Null).await);
    assert_eq!(listed(&edge.admin, "").await, [of_li.clone(), of_admin.clone()], "the newest first");
    assert_eq!(listed(&li, "").await, [&*of_li]);
    assert_eq!((listed(&wu, "").await.len(), listed(&li, "?asker=user:admin").await.len()), (0, 0));
    let asker = edge.get(&format!("/api/v1/requests/{of_li}")).await.1["asker"].as_str().unwrap().to_owned();
    assert_eq!(listed(&edge.admin, &format!("?asker={asker}&device_id={DEVICE}&since=2026-01-01T00:00:00Z")).await, [&*of_li]);
    assert_eq!(listed(&edge.admin, "?device_id=other").await.len() + listed(&edge.admin, "?since=2100-01-01T00:00:00Z").await.len(), 0);
    let page = edge.get("/api/v1/requests?limit=1").await.1;
    let after = page["next_after"].as_str().unwrap();
    assert_eq!(ids(edge.get(&format!("/api/v1/requests?limit=1&after={after}")).await), [&*of_admin]);
    assert_eq!(edge.send_as(&li, "GET", "/api/v1/abandoned-executions", Value::Null).await.0, 403);

    // As the device: outside of the caller's scope it is not there.
    let reads = Reads::new(edge.database.pool.clone());
    let elsewhere = Scope::Factories([FactoryId(987_654)].into());
    assert_eq!(reads.request(&elsewhere, &of_li, None).await.unwrap(), None);
    let all = RequestFilter { status: None, device_id: None, asker: None, since: None };
    assert_eq!(reads.requests(&elsewhere, &all, Page::ALL).await.unwrap().total, 0);
    let here: i64 = edge.get("/api/v1/factories").await.1["items"][0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(reads.requests(&Scope::Factories([FactoryId(here)].into()), &all, Page::ALL).await.unwrap().total, 2);
}

#[tokio::test]
async fn what_comes_when_the_caller_has_given_up_is_listed_counted_and_swept() {
    let edge = edge().await;
    // One is answered with 504, and the device answers later.
    let waiting = tokio::spawn({
        let edge = edge.clone();
        async move { read(ask(&edge, &edge.admin, &[]).await).await }
    });
    let timed_out = requested(&edge).await;
    settle(&edge, &timed_out, CommandOutcome::unknown(UnknownCause::TimedOut, "no answer in time")).await;
    assert_eq!(waiting.await.unwrap().0, 504);
    // Another loses its connection.
    let waiting = tokio::spawn({
        let edge = edge.clone();
        async move { ask(&edge, &edge.admin, &[]).await }
    });
    let cut = requested(&edge).await;
    waiting.abort();
    let given_up = "select count(*) from requests where given_up_at is not null";
    until("both have given up", async || number(&edge.database.pool, given_up).await == 2).await;
    assert_eq!(abandoned(&edge).await, Vec::<Value>::new(), "nothing came of them yet");
    assert_eq!(request(&edge, &cut).await["status"], "pending");

    settle(&edge, &timed_out, succeeded()).await;
    settle(&edge, &cut, CommandOutcome::Refused { message: Some("not recording".into()), data: None }).await;
    // And one is told in time.
    let waiting = tokio::spawn({
        let edge = edge.clone();
        async move { read(ask(&edge, &edge.admin, &[]).await).await }
    });
    let told = requested(&edge).await;
    settle(&edge, &told, succeeded()).await;
    assert_eq!(waiting.await.unwrap().0, 200);

    let listed = abandoned(&edge).await;
    let outcomes: Vec<_> = listed.iter().map(|one| (one["id"].as_str().unwrap(), one["outcome"].as_str().unwrap())).collect();
    assert_eq!(outcomes, [(cut.as_str(), "refused"), (timed_out.as_str(), "succeeded")]);
    let late = &listed[1];
    assert_eq!((&late["asker"], &late["action"], &late["device_id"]), (&json!("user:admin"), &json!("pause"), &json!(DEVICE)));
    assert_eq!((&late["message"], &late["data"]["state"]), (&json!("ok"), &json!("paused")));
    assert!(late["given_up_at"].as_str().unwrap() <= late["outcome_at"].as_str().unwrap());
    let only = async |query: &str| edge.get(&format!("/api/v1/abandoned-executions?{query}")).await.1["total"].clone();
    assert_eq!([only("outcome=refused").await, only("outcome=not_sent").await, only("device_id=other").await], [1, 0, 0].map(Value::from));
    assert_eq!(edge.get("/api/v1/abandoned-executions?outcome=lost").await.0, 400);
    // The request itself stays what its caller heard, and says the rest beside it.
    let shown = request(&edge, &timed_out).await;
    assert_eq!((&shown["status"], &shown["late_answer"]["outcome"]), (&json!("timed_out"), &json!("succeeded")));
    assert_eq!(number(&edge.database.pool, ABANDONED_COUNT).await, 2);

    // Younger than what is kept: it stays; of the rest one goes that nothing happened to since.
    let (week, stop) = (Duration::from_secs(7 * 86_400), CancellationToken::new());
    edge.commands.sweep_requests(week, &stop).await.unwrap();
    assert_eq!(number(&edge.database.pool, "select count(*) from requests").await, 3);
    let client = edge.database.pool.get().await.unwrap();
    client
        .execute("update requests set asked_at = asked_at - interval '8 days', given_up_at = given_up_at - interval '8 days'", &[])
        .await
        .unwrap();
    edge.commands.sweep_requests(week, &stop).await.unwrap();
    let left = "select count(*) from requests where late_at is not null";
    assert_eq!((number(&edge.database.pool, "select count(*) from requests").await, number(&edge.database.pool, left).await), (1, 1));
    assert_eq!(edge.get(&format!("/api/v1/requests/{told}")).await.0, 404);
}

#[tokio::test]
async fn a_caller_that_came_back_and_was_told_has_not_given_up() {
    let edge = edge().await;
    let key = ("idempotency-key", "again");
    let waiting = tokio::spawn({
        let edge = edge.clone();
        async move { ask(&edge, &edge.admin, &[key]).await }
    });
    let id = requested(&edge).await;
    waiting.abort();
    until("it has given up", async || request(&edge, &id).await["given_up_at"].is_string()).await;
    settle(&edge, &id, succeeded()).await;
    assert_eq!(abandoned(&edge).await.len(), 1);
    assert_eq!(ask(&edge, &edge.admin, &[key]).await.status(), 200);
    until("it was told", async || abandoned(&edge).await.is_empty()).await;
    // Of two notes about one request the last one counts.
    let note = |given_up_at| WaitEnded { id: id.clone(), given_up_at };
    edge.commands.note_ended_waits(&[note(None), note(Some(edge.commands.now()))]).await.unwrap();
    assert_eq!(abandoned(&edge).await.len(), 1);
}

#[tokio::test]
async fn what_is_settled_in_one_process_is_heard_in_another() {
    let database = TestDatabase::new().await;
    let (here, there, stop) = (Wakes::default(), Wakes::default(), CancellationToken::new());
    let mut heard = there.hear_settled();
    for wakes in [here.clone(), there.clone()] {
        let (connection, stop) = (database.connector.connect().await.unwrap(), stop.clone());
        tokio::spawn(async move { hear_and_tell(connection, &wakes, &stop).await });
    }
    // Whether both listen already is not told; what is told before is not heard.
    until("the id of what was settled", async || {
        here.settled(["c-1".to_owned()]);
        here.committed([]);
        heard.try_recv().is_ok_and(|id| *id == *"c-1")
    })
    .await;
    stop.cancel();
}

/// Two servers on one database, a robot whose recorder is connected to the first, and a data collector at it.
struct Site {
    servers: [Server; 2],
    recorder: Socket,
    device: String,
    admin: String,
    collector: String,
    http: reqwest::Client,
    database: TestDatabase,
    _objects: TestObjects,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    async fn start(lease_ms: u32) -> Self {
        let (database, objects) = (TestDatabase::new().await, TestObjects::new().await);
        let folders = [temp_folder(), temp_folder()];
        let mut servers = [0, 1].map(|n: usize| Server::sharing(folders[n].path(), &database.url, &objects.s3.endpoint()));
        for (server, folder) in servers.iter_mut().zip(&folders) {
            let file = folder.path().join("keystone.toml");
            let settings = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, settings.replace("process_lease_ms = 1500", &format!("process_lease_ms = {lease_ms}"))).unwrap();
            server.start();
        }
        for server in &mut servers {
            server.ready().await;
        }
        let client = Client::sign_in(&servers[0].base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, "Shared", 1).await.expect("a factory");
        let place = &made.stations[0];
        let mut recorder = Socket::connect(&servers[0].address(1), &format!("/recorder/{}", place.device_id)).await;
        let asked = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
        let idle = json!({ "type": "rpc_response", "request_id": asked["request_id"], "success": true, "data": { "state": "idle" } });
        recorder.send(&idle).await;
        let http = reqwest::Client::new();
        let log_in = async |account: &str, password: &str| {
            let login = json!({ "account": account, "password": password });
            let answer = http.post(format!("{}/api/v1/auth/login", servers[0].base())).json(&login).send().await.unwrap();
            answer.json::<Value>().await.unwrap()["access_token"].as_str().expect("a login").to_owned()
        };
        let admin = log_in("admin", PASSWORD).await;
        let collector = log_in(&place.operator_id, place.password.as_deref().expect("a password")).await;
        let device = place.device_id.clone();
        Self { servers, recorder, device, admin, collector, http, database, _objects: objects, _folders: folders }
    }

    /// Asks something at the second process.
    fn ask(&self, token: &str, prefer: Option<&str>) -> reqwest::RequestBuilder {
        let path = format!("{}/api/v1/recorder/{}/pause", self.servers[1].base(), self.device);
        let request = self.http.post(path).bearer_auth(token);
        prefer.into_iter().fold(request, |request, prefer| request.header("prefer", prefer))
    }

    async fn accepted(&self, token: &str) -> String {
        let (status, _, body) = read(self.ask(token, Some("respond-async")).send().await.unwrap()).await;
        assert_eq!(status, 202, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, of: usize, token: &str, path: &str) -> Value {
        let answer = self.http.get(format!("{}/api/v1{path}", self.servers[of].base())).bearer_auth(token).send().await.unwrap();
        read(answer).await.2
    }

    /// Looks at both processes until it is settled.
    async fn settled(&self, token: &str, id: &str) -> Value {
        let path = format!("/requests/{id}");
        let mut shown = Value::Null;
        until("an outcome", async || {
            shown = self.get(1, token, &path).await;
            shown["status"] != json!("pending")
        })
        .await;
        assert_eq!(self.get(0, token, &path).await["status"], shown["status"]);
        shown
    }
}

fn obeyed(request: &Value) -> Value {
    json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "message": "ok", "data": null })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_than_the_one_with_the_socket_asks_and_looks() {
    let mut site = Site::start(15_000).await;
    let id = site.accepted(&site.collector).await;
    let asked = site.recorder.wait_for("the command", |frame| frame["request_id"] == json!(id)).await;
    assert_eq!(site.get(1, &site.collector, &format!("/requests/{id}")).await["status"], "pending");
    site.recorder.send(&obeyed(&asked)).await;
    let done = site.settled(&site.collector, &id).await;
    assert_eq!((&done["status"], &done["status_code"], &done["answer"]["message"]), (&json!("succeeded"), &json!(200), &json!("ok")));

    // A caller that waits there is told, and does not have to look for it.
    let waiting = tokio::spawn(site.ask(&site.admin, None).send());
    let asked = site.recorder.wait_for("the command", |frame| frame["action"] == "pause" && frame["request_id"] != json!(id)).await;
    site.recorder.send(&obeyed(&asked)).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);

    // One whose connection is lost has given up, long before the limit of the device.
    let waiting = tokio::spawn(site.ask(&site.admin, None).send());
    let asked = site.recorder.wait_for("the command", |frame| frame["action"] == "pause").await;
    waiting.abort();
    let cut = format!("/requests/{}", asked["request_id"].as_str().unwrap());
    until("it to be noted", async || site.get(0, &site.admin, &cut).await["given_up_at"].is_string()).await;
    site.recorder.send(&obeyed(&asked)).await;
    until("it to be listed", async || site.get(0, &site.admin, "/abandoned-executions").await["total"] == json!(1)).await;
    let abandoned = site.get(1, &site.admin, "/abandoned-executions").await["items"][0].clone();
    assert_eq!((&abandoned["id"], &abandoned["outcome"]), (&asked["request_id"], &json!("succeeded")));

    // One is under way and not answered, 32 wait, and there is no room for another.
    let mut ids = vec![];
    for _ in 0..34 {
        ids.push(site.accepted(&site.admin).await);
    }
    until("one too many", async || site.get(1, &site.admin, "/requests?status=overloaded").await["total"] == json!(1)).await;
    let refused = site.get(1, &site.admin, "/requests?status=overloaded").await["items"][0].clone();
    assert!(ids.iter().any(|id| refused["id"] == json!(id)));
    assert_eq!((&refused["status_code"], &refused["answer"]["code"]), (&json!(503), &json!("command_not_sent")));
    assert_eq!(refused["answer"]["error"], "the command did not reach the recorder: too many commands wait for the recorder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_lost_before_it_is_sent_sends_nothing() {
    let mut site = Site::start(15_000).await;
    // The process with the socket stands still; what is asked at the other one waits in the outbox.
    site.servers[0].signal(Signal::SIGSTOP);
    let id = site.accepted(&site.collector).await;
    let lost = "update stations set is_current = false";
    site.database.pool.get().await.unwrap().batch_execute(lost).await.unwrap();
    site.servers[0].signal(Signal::SIGCONT);
    let refused = site.settled(&site.collector, &id).await;
    assert_eq!((&refused["status"], &refused["status_code"]), (&json!("right_lost"), &json!(403)));
    assert_eq!(refused["answer"]["code"], "right_lost");
    assert!(refused["answer"]["error"].as_str().unwrap().contains("does not belong to the station of the caller any more"));
    assert!(site.recorder.drain().iter().all(|frame| frame["action"] != "pause"), "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_of_a_killed_process_have_given_up() {
    let mut site = Site::start(1_500).await;
    let waiting = tokio::spawn(site.ask(&site.admin, None).send());
    let asked = site.recorder.wait_for("the command", |frame| frame["action"] == "pause").await;
    let told = site.accepted(&site.admin).await;
    site.servers[1].kill();
    assert!(waiting.await.unwrap().is_err(), "its caller hears nothing");
    // The device does it all the same.
    site.recorder.send(&obeyed(&asked)).await;
    until("it to be listed", async || site.get(0, &site.admin, "/abandoned-executions").await["total"] == json!(1)).await;
    let abandoned = site.get(0, &site.admin, "/abandoned-executions").await["items"][0].clone();
    assert_eq!((&abandoned["id"], &abandoned["outcome"]), (&asked["request_id"], &json!("succeeded")));
    // Who was told where to look has not given up, and looks elsewhere.
    let second = site.recorder.wait_for("the second one", |frame| frame["request_id"] == json!(told)).await;
    site.recorder.send(&obeyed(&second)).await;
    until("its outcome", async || site.get(0, &site.admin, &format!("/requests/{told}")).await["status"] == json!("succeeded")).await;
    assert_eq!(site.get(0, &site.admin, "/abandoned-executions").await["total"], json!(1));
    let (code, said) = site.servers[0].tool(&["dead-letters", "abandoned"]).await;
    assert!(code == 0 && said.contains("pause of") && said.contains("1 of 1 executions"), "{said}");
}
