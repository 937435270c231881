//! Operators say at the station what a recording is worth: before it is uploaded and after it was judged, through the real server.

use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, DispatchedTask};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::device::Socket;
use crate::harness::sse::Sse;
use crate::harness::until;
use crate::judging::{TOPICS, recorded};

/// The collector of the bench's station.
async fn operator(bench: &Bench) -> Client {
    let place = &bench.made.stations[0];
    let password = place.password.as_deref().expect("a new account");
    Client::sign_in(&bench.server.base(), &place.operator_id, password).await.expect("a login")
}

async fn say(client: &Client, task: i64, word: Value) -> (u16, Value) {
    let reply = client.call(Method::POST, &format!("/tasks/{task}/verdict"), Some(&word)).await.expect("an answer");
    (reply.status.as_u16(), reply.body)
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

async fn task(bench: &Bench, id: i64) -> Value {
    bench.client.get(&format!("/tasks/{id}")).await.expect("a task")
}

async fn episode(bench: &Bench, of: i64) -> Value {
    let id = task(bench, of).await["episode"]["id"].clone();
    bench.client.get(&format!("/episodes/{id}")).await.expect("an episode")
}

async fn uploaded(bench: &Bench, transfer: &mut Socket, task: &DispatchedTask, recording: &Recording) {
    let key = bench.key(task);
    bench.upload(&key, recording).await;
    transfer.send(&complete(&task.public_id, &key, recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
}

/// The last run of its checks; waits for the first.
async fn judged(bench: &Bench, of: i64) -> Value {
    until("a run", async || runs(bench, of).await > 0).await;
    episode(bench, of).await
}

async fn count(bench: &Bench, sql: &str, id: i64) -> i64 {
    let client = bench.server.database().await.get().await.expect("a connection");
    client.query_one(sql, &[&id]).await.expect("a count").get(0)
}

async fn runs(bench: &Bench, of: i64) -> i64 {
    count(bench, "select count(*) from qa_runs q join episodes e on e.id = q.episode_id where e.task_id = $1", of).await
}

async fn words(bench: &Bench, of: i64) -> i64 {
    count(bench, "select count(*) from events where event_type = 'operator_word_given' and aggregate_id = $1::bigint::text", of).await
}

async fn nothing_differs(bench: &Bench) {
    let pool = bench.server.database().await;
    let rebuilt = keystone_edge::projections::rebuild::rebuild(&pool).await.expect("a rebuild");
    assert_eq!(rebuilt.differences, []);
}

#[tokio::test]
async fn a_word_is_kept_from_the_recording_to_the_verdict_and_the_last_one_counts() {
    let bench = Bench::start().await;
    let operator = operator(&bench).await;
    let (recorder, mut transfer) = (bench.sockets().await.0, transfer_of(&bench, json!([]), json!([])).await);
    let tasks = bench.dispatch(3).await;
    let good = recorded(&TOPICS, 5);

    // There is nothing to say something about.
    assert_eq!(code(&say(&operator, tasks[0].id, json!({"verdict": "keep"})).await), (409, "task_not_recorded"));
    assert_eq!(say(&operator, 999, json!({"verdict": "keep"})).await.0, 404);
    for wrong in [
        json!({}),
        json!({"verdict": "perhaps"}),
        json!({"verdict": "keep", "demonstration": "so so"}),
        json!({"verdict": "keep", "more": 1}),
    ] {
        assert_eq!(say(&operator, tasks[0].id, wrong.clone()).await.0, 400, "{wrong}");
    }
    let long = json!({"verdict": "keep", "note": "x".repeat(1001)});
    assert_eq!(say(&operator, tasks[0].id, long).await.0, 400);

    // While it is on its way: it has the word when it is here.
    bench.recording(&recorder, &tasks[0]).await;
    let discard = json!({"verdict": "discard", "demonstration": "failure", "note": "The cup fell"});
    let (status, said) = say(&operator, tasks[0].id, discard.clone()).await;
    assert_eq!(
        (status, &said["operator_word"]["verdict"], &said["operator_word"]["note"]),
        (200, &json!("discard"), &json!("The cup fell")),
        "{said}"
    );
    assert!(said["operator_word"]["data_collector_id"].is_string(), "{said}");
    assert_eq!(say(&operator, tasks[0].id, discard.clone()).await.0, 200);
    assert_eq!(words(&bench, tasks[0].id).await, 1, "a repeat is none");
    uploaded(&bench, &mut transfer, &tasks[0], &good).await;
    let held = judged(&bench, tasks[0].id).await;
    let reason = json!("the operator discards it: The cup fell");
    assert_eq!((&held["qa_status"], &held["quality_flag"]), (&json!("needs_inspection"), &reason), "{held}");
    assert_eq!((&held["operator_word"]["demonstration"], &held["auto_approved"]), (&json!("failure"), &json!(false)), "{held}");
    assert_eq!(runs(&bench, tasks[0].id).await, 1);
    let checks = bench.client.get(&format!("/qa/episodes/{}/checks", held["id"])).await.expect("checks");
    let check =
        checks["items"].as_array().and_then(|checks| checks.iter().find(|check| check["check_name"] == "operator_word")).expect("a check");
    assert_eq!((&check["result"], &check["details"]), (&json!("fail"), &reason));

    // No run takes it away; another word does, and the machine's verdict stands again.
    let run = bench.client.call(Method::POST, &format!("/qa/episodes/{}/run", held["id"]), None).await.expect("an answer");
    assert_eq!((run.status.as_u16(), &run.body["qa_status"]), (200, &json!("needs_inspection")));
    assert_eq!(say(&operator, tasks[0].id, json!({"verdict": "keep"})).await.0, 200);
    let kept = episode(&bench, tasks[0].id).await;
    assert_eq!((&kept["qa_status"], &kept["quality_flag"], &kept["qa_score"]), (&json!("approved"), &Value::Null, &json!(1.0)), "{kept}");

    // Behind the verdict: an approval is lost, and comes back as what it was. An administrator may say it, too.
    uploaded(&bench, &mut transfer, &tasks[1], &good).await;
    assert_eq!(judged(&bench, tasks[1].id).await["auto_approved"], true);
    assert_eq!(say(&bench.client, tasks[1].id, json!({"verdict": "discard"})).await.0, 200);
    let held = episode(&bench, tasks[1].id).await;
    assert_eq!((&held["qa_status"], &held["quality_flag"]), (&json!("needs_inspection"), &json!("the operator discards it")), "{held}");
    assert_eq!((&held["operator_word"]["data_collector_id"], &held["auto_approved"]), (&Value::Null, &json!(false)));
    assert_eq!(say(&operator, tasks[1].id, json!({"verdict": "keep", "demonstration": "success"})).await.0, 200);
    let kept = episode(&bench, tasks[1].id).await;
    assert_eq!((&kept["qa_status"], &kept["auto_approved"]), (&json!("approved"), &json!(true)), "{kept}");
    let before = runs(&bench, tasks[1].id).await;
    assert_eq!(say(&operator, tasks[1].id, json!({"verdict": "keep", "note": "a fine one"})).await.0, 200);
    assert_eq!((runs(&bench, tasks[1].id).await, words(&bench, tasks[1].id).await), (before, 3), "nothing new to judge");

    // What failed stays failed.
    uploaded(&bench, &mut transfer, &tasks[2], &recorded(&TOPICS[..3], 5)).await;
    assert_eq!(judged(&bench, tasks[2].id).await["qa_status"], "failed");
    assert_eq!(say(&operator, tasks[2].id, json!({"verdict": "discard"})).await.0, 200);
    let failed = episode(&bench, tasks[2].id).await;
    assert_eq!((&failed["qa_status"], &failed["operator_word"]["verdict"]), (&json!("failed"), &json!("discard")), "{failed}");
    nothing_differs(&bench).await;
}

#[tokio::test]
async fn a_redo_is_one_more_task_that_takes_no_quota_or_it_is_refused() {
    let bench = Bench::start().await;
    let operator = operator(&bench).await;
    let (recorder, mut transfer) = (bench.sockets().await.0, transfer_of(&bench, json!([]), json!([])).await);
    let tasks = bench.dispatch(2).await;
    let (first, last) = (&tasks[0], &tasks[1]);
    let order_of = async || {
        let id = task(&bench, first.id).await["order_id"].as_str().expect("an id").to_owned();
        bench.client.get(&format!("/orders/{id}")).await.expect("an order")
    };
    let numbers = |order: &Value| (order["task_count"].clone(), order["completed_count"].clone(), order["status"].clone());
    let (good, redo) = (recorded(&TOPICS, 5), json!({"verdict": "redo", "note": "too slow"}));

    assert_eq!(code(&say(&operator, first.id, redo.clone()).await), (409, "task_not_recorded"));
    assert_eq!(order_of().await["task_count"], 2, "a refusal changes nothing");

    // Before the upload is here: what is recorded in its place counts, and it does not.
    bench.recording(&recorder, first).await;
    let (status, said) = say(&operator, first.id, redo.clone()).await;
    let replacement: i64 = said["replaced_by"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{status} {said}"));
    let (status, again) = say(&operator, first.id, redo.clone()).await;
    assert_eq!((status, &again["replaced_by"]), (200, &said["replaced_by"]), "once");
    assert_eq!(code(&say(&operator, first.id, json!({"verdict": "redo"})).await), (409, "task_replaced"));
    let new = task(&bench, replacement).await;
    for same in ["batch_id", "order_id", "workstation_id", "sop_id", "subscene_id", "scene_name"] {
        assert_eq!(new[same], said[same], "{same}");
    }
    assert_eq!(new["status"], "pending");
    uploaded(&bench, &mut transfer, first, &good).await;
    assert_eq!(numbers(&order_of().await), (json!(2), json!(0), json!("created")));
    assert_eq!(judged(&bench, first.id).await["quality_flag"], "the operator wants it recorded again: too slow");
    let batch = bench.client.get(&format!("/batches/{}", said["batch_id"].as_str().expect("an id"))).await.expect("a batch");
    assert_eq!((&batch["task_count"], &batch["completed_count"]), (&json!(3), &json!(1)), "{batch}");
    let listed = bench.client.get("/tasks?limit=1").await.expect("tasks");
    assert_eq!(listed["total"], 3);
    assert_eq!(bench.client.get("/tasks?limit=1&status=completed").await.expect("tasks")["total"], 1);

    // Behind it: what was counted is not any more.
    uploaded(&bench, &mut transfer, last, &good).await;
    judged(&bench, last.id).await;
    assert_eq!(numbers(&order_of().await), (json!(2), json!(1), json!("in_progress")));
    let (_, said) = say(&bench.client, last.id, json!({"verdict": "redo"})).await;
    let other: i64 = said["replaced_by"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(numbers(&order_of().await), (json!(2), json!(0), json!("in_progress")));

    // Both replacements are recorded: then the order has what it wants.
    for id in [replacement, other] {
        let public_id = task(&bench, id).await["task_id"].as_str().expect("an id").to_owned();
        uploaded(&bench, &mut transfer, &DispatchedTask { id, public_id }, &good).await;
    }
    assert_eq!(numbers(&order_of().await), (json!(2), json!(2), json!("completed")));
    judged(&bench, other).await;
    let before = (words(&bench, other).await, task(&bench, other).await);
    assert_eq!(code(&say(&operator, other, json!({"verdict": "redo"})).await), (409, "order_not_open"));
    assert_eq!((words(&bench, other).await, task(&bench, other).await), before, "a refusal changes nothing");
    assert_eq!(episode(&bench, other).await["qa_status"], "approved");
    assert_eq!(say(&operator, other, json!({"verdict": "discard"})).await.0, 200, "it is as unwanted as before");

    // Nor where the batch is over. What does not count is deleted without freeing a place.
    let order = factory::place_order(&bench.client, &bench.made, "Recalled", 2).await.expect("an order");
    let ended = factory::dispatch(&bench.client, &bench.made, order, &bench.made.stations[0], 2).await.expect("a batch");
    uploaded(&bench, &mut transfer, &ended[0], &good).await;
    let batch = task(&bench, ended[0].id).await["batch_id"].as_str().expect("an id").to_owned();
    bench.recording(&recorder, &ended[1]).await;
    let (_, said) = say(&operator, ended[1].id, json!({"verdict": "redo"})).await;
    let third: i64 = said["replaced_by"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    let order = async || bench.client.get(&format!("/orders/{order}")).await.expect("an order");
    assert_eq!(numbers(&order().await), (json!(2), json!(1), json!("in_progress")));
    for (id, left) in [(ended[1].id, 2), (third, 1)] {
        let gone = bench.client.call(Method::DELETE, &format!("/tasks/{id}"), None).await.expect("an answer");
        assert_eq!((gone.status.as_u16(), &order().await["task_count"]), (204, &json!(left)), "{id}");
    }
    let recalled = bench.client.call(Method::POST, &format!("/batches/{batch}/recall"), None).await.expect("an answer");
    assert_eq!(recalled.status.as_u16(), 200, "{}", recalled.body);
    assert_eq!(code(&say(&operator, ended[0].id, json!({"verdict": "redo"})).await), (409, "batch_not_open"));
    assert_eq!(words(&bench, ended[0].id).await, 0, "a refusal changes nothing");
    assert_eq!(say(&operator, ended[0].id, json!({"verdict": "discard"})).await.0, 200);
    nothing_differs(&bench).await;
}

/// A data collector of the same organization, without a workstation.
async fn colleague(bench: &Bench) -> Client {
    let password = "a password of one's own";
    let new = json!({"organization_id": bench.made.organization_id, "name": "C", "operator_id": "colleague", "password": password});
    bench.client.create("/data_collectors", &new).await.expect("a data collector");
    Client::sign_in(&bench.server.base(), "colleague", password).await.expect("a login")
}

#[tokio::test]
async fn only_the_stations_own_collector_and_administrators_say_it_until_it_was_inspected() {
    let bench = Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned())]).await;
    let operator = operator(&bench).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    uploaded(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 5)).await;
    let episode_id = judged(&bench, tasks[0].id).await["id"].clone();

    let other = factory::seed(&bench.client, "Other", 1).await.expect("a factory");
    let place = &other.stations[0];
    let stranger =
        Client::sign_in(&bench.server.base(), &place.operator_id, place.password.as_deref().expect("a password")).await.expect("a login");
    let keep = json!({"verdict": "discard"});
    assert_eq!(code(&say(&stranger, tasks[0].id, keep.clone()).await), (404, "task_not_found"), "it is of another factory");
    assert_eq!(code(&say(&colleague(&bench).await, tasks[0].id, keep.clone()).await), (403, "not_your_workstation"));
    let inspector = json!({
        "organization_id": bench.made.organization_id, "name": "I", "inspector_id": "i", "certification_level": "senior", "password": "a password of one's own",
    });
    bench.client.create("/inspectors", &inspector).await.expect("an inspector");
    let inspector = Client::sign_in(&bench.server.base(), "i", "a password of one's own").await.expect("a login");
    assert_eq!(code(&say(&inspector, tasks[0].id, keep.clone()).await), (403, "forbidden"));
    let nobody = reqwest::Client::new().post(format!("{}/api/v1/tasks/{}/verdict", bench.server.base(), tasks[0].id)).json(&keep).send();
    assert_eq!(nobody.await.expect("an answer").status().as_u16(), 401);
    assert_eq!(words(&bench, tasks[0].id).await, 0);

    // The same request under one key is one word.
    let keyed = async |word: &Value| {
        let login = json!({"account": bench.made.stations[0].operator_id, "password": bench.made.stations[0].password});
        let (http, base) = (reqwest::Client::new(), format!("{}/api/v1", bench.server.base()));
        let login: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
        let request = http.post(format!("{base}/tasks/{}/verdict", tasks[0].id)).bearer_auth(login["access_token"].as_str().unwrap());
        let answer = request.header("idempotency-key", "word-0001").json(word).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let first = keyed(&keep).await;
    assert_eq!((first.0, &first.1["operator_word"]["verdict"]), (200, &json!("discard")));
    assert_eq!(keyed(&keep).await, first);
    assert_eq!(keyed(&json!({"verdict": "keep"})).await.0, 422);
    assert_eq!(words(&bench, tasks[0].id).await, 1);

    // An inspector decides, and nothing that is said afterwards counts.
    for (path, body) in [("take", Value::Null), ("decide", json!({"decision": "approved", "reason": "it is fine"}))] {
        let body = (!body.is_null()).then_some(&body);
        let reply = inspector.call(Method::POST, &format!("/inspection/episodes/{episode_id}/{path}"), body).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.body);
    }
    assert_eq!(code(&say(&operator, tasks[0].id, json!({"verdict": "keep"})).await), (409, "episode_inspected"));
    assert_eq!(code(&say(&operator, tasks[0].id, json!({"verdict": "redo"})).await), (409, "episode_inspected"));
    assert_eq!(episode(&bench, tasks[0].id).await["qa_status"], "inspector_approved");

    // A task that is gone.
    let reply = bench.client.call(Method::DELETE, &format!("/tasks/{}", tasks[1].id), None).await.expect("an answer");
    assert_eq!(reply.status.as_u16(), 204);
    assert_eq!(code(&say(&operator, tasks[1].id, json!({"verdict": "discard"})).await), (404, "task_not_found"));
}

async fn listen(client: &Client, station: i64, last: Option<&str>) -> Sse {
    let response = client.open(&format!("/stations/{station}/stream"), last).await.expect("a stream");
    Sse::of(response)
}

#[tokio::test]
async fn a_station_hears_each_verdict_at_once_and_none_twice_whatever_is_cut() {
    let bench = Bench::start().await;
    let operator = operator(&bench).await;
    let station = bench.made.stations[0].station_id;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(4).await;
    let mut stream = listen(&operator, station, None).await;
    let (name, snapshot) = stream.next().await.expect("an event");
    assert_eq!((name.as_str(), &snapshot), ("snapshot", &json!({ "verdicts": [] })));

    let verdict = async |stream: &mut Sse| {
        let told = stream.told().await.expect("an event");
        assert_eq!(told.name, "verdict");
        (told.json(), told.position())
    };
    uploaded(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 5)).await;
    let (first, at) = verdict(&mut stream).await;
    assert_eq!((&first["task_id"], &first["task_public_id"]), (&json!(tasks[0].id), &json!(tasks[0].public_id)), "{first}");
    assert_eq!((&first["verdict"], &first["score"], &first["flag"]), (&json!("approved"), &json!(1.0), &Value::Null), "{first}");
    assert_eq!((&first["qa_status"], &first["kept"], &first["mode"]), (&json!("approved"), &json!(false), &json!("auto")));

    // Cut; what is said meanwhile is told when it is back, also by another person, and after a word.
    drop(stream);
    uploaded(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS[..3], 5)).await;
    judged(&bench, tasks[1].id).await;
    assert_eq!(say(&operator, tasks[0].id, json!({"verdict": "discard"})).await.0, 200);
    let mut resumed = listen(&operator, station, Some(&at.to_string())).await;
    let mut other = listen(&bench.client, station, Some(&at.to_string())).await;
    for stream in [&mut resumed, &mut other] {
        let (failed, place) = verdict(stream).await;
        assert_eq!((&failed["task_id"], &failed["verdict"]), (&json!(tasks[1].id), &json!("failed")), "{failed}");
        let (held, later) = verdict(stream).await;
        assert_eq!((&held["task_id"], &held["verdict"]), (&json!(tasks[0].id), &json!("needs_inspection")), "{held}");
        assert_eq!(held["flag"], "the operator discards it");
        assert!(at < place && place < later);
    }
    uploaded(&bench, &mut transfer, &tasks[2], &recorded(&TOPICS, 1)).await;
    for stream in [&mut resumed, &mut other] {
        assert_eq!(verdict(stream).await.0["task_id"], tasks[2].id);
    }

    // Who comes anew has the last verdict of each episode.
    let (_, snapshot) = listen(&operator, station, None).await.next().await.expect("an event");
    let of = |verdict: &Value| (verdict["task_id"].as_i64(), verdict["qa_status"].as_str().map(str::to_owned));
    let told: Vec<_> = snapshot["verdicts"].as_array().expect("verdicts").iter().map(of).collect();
    let expected = [(1, "failed"), (0, "needs_inspection"), (2, "needs_inspection")];
    assert_eq!(told, expected.map(|(n, status)| (Some(tasks[n].id), Some(status.to_owned()))));

    // Another station is not theirs, and what is in another factory is not there.
    let elsewhere = factory::seed(&bench.client, "Other", 1).await.expect("a factory");
    let place = &elsewhere.stations[0];
    let stranger = Client::sign_in(&bench.server.base(), &place.operator_id, place.password.as_deref().expect("a password")).await;
    let refused = stranger.expect("a login").call(Method::GET, &format!("/stations/{station}/stream"), None).await.expect("an answer");
    assert_eq!(code(&(refused.status.as_u16(), refused.body)), (404, "not_found"));
    let refused = colleague(&bench).await.call(Method::GET, &format!("/stations/{station}/stream"), None).await.expect("an answer");
    assert_eq!(code(&(refused.status.as_u16(), refused.body)), (403, "not_your_workstation"));
    let nothing = bench.client.call(Method::GET, "/stations/999/stream", None).await.expect("an answer");
    assert_eq!(nothing.status.as_u16(), 404);
    let mut quiet = listen(&bench.client, place.station_id, Some(&at.to_string())).await;
    uploaded(&bench, &mut transfer, &tasks[3], &recorded(&TOPICS, 5)).await;
    assert_eq!(verdict(&mut resumed).await.0["task_id"], tasks[3].id);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), quiet.told()).await.is_err(), "it is about another station");
}
