//! Episodes are judged: by themselves when they arrive, and when a person asks. Real recordings through the real server.

use keystone_edge::blobs::ObjectKey;
use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
pub use crate::harness::bench::{TOPICS, recorded};
use crate::harness::device::Socket;
use crate::harness::until;

/// Uploads it, and waits for the verdict. Answers the episode.
pub async fn judged(bench: &Bench, transfer: &mut Socket, task: &DispatchedTask, recording: &Recording) -> Value {
    let key = bench.key(task);
    bench.upload(&key, recording).await;
    transfer.send(&complete(&task.public_id, &key, recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    let episode = || async {
        let found = bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
        bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.expect("an episode")
    };
    until("the verdict", async || episode().await["qa_status"] != "pending_qa").await;
    episode().await
}

async fn ask(bench: &Bench, method: Method, path: &str, body: Value) -> (u16, Value) {
    let body = (!body.is_null()).then_some(&body);
    let reply = bench.client.call(method, path, body).await.expect("an answer");
    (reply.status.as_u16(), reply.body)
}

async fn run(bench: &Bench, episode: &Value, body: Value) -> (u16, Value) {
    ask(bench, Method::POST, &format!("/qa/episodes/{}/run", episode["id"]), body).await
}

async fn types_of(bench: &Bench, episode: &Value) -> Vec<String> {
    let sql = "select event_type from events where aggregate_type = 'episode' and aggregate_id = $1 order by sequence";
    let client = bench.server.database().await.get().await.expect("a connection");
    let rows = client.query(sql, &[&episode["id"].to_string()]).await.expect("events");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn new_episodes_are_judged_by_what_was_measured_and_people_see_why() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(3).await;

    let good = judged(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 5)).await;
    assert_eq!((&good["qa_status"], &good["auto_approved"]), (&json!("approved"), &json!(true)), "{good}");
    assert_eq!((&good["qa_score"], &good["quality_flag"]), (&json!(1.0), &Value::Null));
    assert_eq!(types_of(&bench, &good).await, ["episode_created", "episode_measured", "qa_run_ended", "episode_approved"]);

    // A topic that the robot has to have is not there: it fails, and nobody sees it as data.
    let lacking = judged(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS[..3], 5)).await;
    assert_eq!(lacking["qa_status"], "failed", "{lacking}");
    assert!(lacking["quality_flag"].as_str().is_some_and(|flag| flag.contains("/udp/can")), "{lacking}");
    let (status, refused) = ask(&bench, Method::GET, &format!("/episodes/{}/presign?kind=mcap", lacking["id"]), Value::Null).await;
    assert_eq!((status, &refused["quality_flag"]), (409, &lacking["quality_flag"]));

    // Too short for an episode: a person has to look.
    let short = judged(&bench, &mut transfer, &tasks[2], &recorded(&TOPICS, 1)).await;
    assert_eq!((&short["qa_status"], &short["auto_approved"]), (&json!("needs_inspection"), &json!(false)), "{short}");

    // The two checks of the contract come first, in its words; what does not apply is not told.
    let (_, told) = ask(&bench, Method::GET, &format!("/qa/episodes/{}/checks", lacking["id"]), Value::Null).await;
    let checks = told["items"].as_array().expect("checks");
    assert_eq!(checks[0]["check_name"], "mcap_magic");
    assert_eq!((&checks[0]["passed"], &checks[0]["score"]), (&json!(true), &json!(1.0)));
    assert_eq!(checks[0]["details"], "MCAP head and tail magic matched");
    assert_eq!(checks[0]["check_metadata"]["expected_magic"], "89 4d 43 41 50 30 0d 0a");
    assert_eq!(checks[1]["check_name"], "recording_not_empty");
    assert_eq!(checks[1]["check_metadata"]["message_count"], 153);
    assert_eq!(checks[1]["check_metadata"]["object"], bench.key(&tasks[1]).replace(".mcap", ".json"));
    let failed: Vec<&Value> = checks.iter().filter(|check| check["result"] == "fail").collect();
    assert!(failed.iter().any(|check| check["check_name"] == "required_topics" && check["passed"] == false), "{failed:?}");
    assert!(checks.iter().all(|check| check["result"] != "not_applicable" && check["checked_at"] == checks[0]["checked_at"]));

    // What is in it over its time, without reading it.
    let timeline = bench.client.get(&format!("/episodes/{}/timeline", good["id"])).await.expect("a timeline");
    let topics = timeline["topics"].as_array().expect("topics");
    assert_eq!((topics.len(), &timeline["duration_sec"], &timeline["tier"]), (4, &json!(5.0), &json!("whole")), "{timeline}");
    assert_eq!((&topics[0]["count"], &topics[0]["rate_hz"], &topics[0]["first_sec"]), (&json!(51), &json!(10.0), &json!(0.0)));
    assert_eq!(ask(&bench, Method::GET, "/episodes/999/timeline", Value::Null).await.0, 404);

    // People put labels and a note on it, and change nothing else.
    let path = format!("/episodes/{}", good["id"]);
    let (status, noted) = ask(&bench, Method::PATCH, &path, json!({"labels": ["morning", "morning"], "note": "The lamp was on"})).await;
    assert_eq!((status, &noted["labels"], &noted["note"]), (200, &json!(["morning"]), &json!("The lamp was on")), "{noted}");
    let (_, kept) = ask(&bench, Method::PATCH, &path, json!({"labels": []})).await;
    assert_eq!((&kept["labels"], &kept["note"]), (&json!([]), &json!("The lamp was on")));
    let (status, refused) = ask(&bench, Method::PATCH, &path, json!({"qa_status": "approved"})).await;
    assert!(status == 400 && refused["error"].as_str().is_some_and(|text| text.contains("qa_status")), "{refused}");
    let (status, refused) = ask(&bench, Method::PATCH, &path, json!({"labels": ["recalled_batch"]})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("label_of_rule")), "{refused}");
    assert_eq!(ask(&bench, Method::PATCH, &path, json!({})).await.0, 400);

    // By default those that a person may have to do something about.
    let names =
        |listed: &Value| -> Vec<i64> { listed["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_i64()).collect() };
    let id = |episode: &Value| episode["id"].as_i64().expect("an id");
    let listed = bench.client.get("/qa/episodes").await.expect("a list");
    assert_eq!(names(&listed), [id(&short), id(&lacking)], "{listed}");
    assert_eq!(listed["pagination"], json!({"page": 1, "page_size": 20, "total": 2}));
    let first = &listed["items"][1];
    assert_eq!(
        (&first["latest_qa_check"]["check_name"], &first["latest_qa_check"]["details"]),
        (&json!("required_topics"), &lacking["quality_flag"])
    );
    for (query, expected) in [
        ("status=all", vec![id(&short), id(&lacking), id(&good)]),
        ("status=approved", vec![id(&good)]),
        ("status=FAILED,needs_inspection", vec![id(&short), id(&lacking)]),
        ("status=,", vec![id(&short), id(&lacking), id(&good)]),
        ("status=all&page=2&page_size=2", vec![id(&good)]),
        ("status=all&q=%2Fudp%2Fcan", vec![id(&lacking)]),
        ("status=all&q=%25", vec![]),
        ("status=all&robot_type=none", vec![]),
    ] {
        let listed = bench.client.get(&format!("/qa/episodes?{query}")).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(names(&listed), expected, "{query}");
    }
    for query in ["status=approved,failed", "status=all,failed", "status=good", "page=0", "page=x", "page_size=-1"] {
        assert_eq!(ask(&bench, Method::GET, &format!("/qa/episodes?{query}"), Value::Null).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_person_runs_the_checks_again_and_what_cannot_be_done_changes_nothing() {
    let mut bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    let good = judged(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 5)).await;
    let short = judged(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS, 1)).await;

    let (status, again) = run(&bench, &good, Value::Null).await;
    assert_eq!((status, &again["qa_status"], &again["passed"], &again["mode"]), (200, &json!("approved"), &json!(true), &json!("manual")));
    assert!(again["checks"].as_array().is_some_and(|checks| checks.len() > 20), "{again}");
    let (status, refused) = run(&bench, &good, json!({"mode": "auto"})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("not_pending_qa")), "{refused}");
    assert_eq!(run(&bench, &good, json!({"mode": "twice"})).await.0, 400);
    assert_eq!(ask(&bench, Method::POST, "/qa/episodes/0/run", Value::Null).await.0, 400);
    assert_eq!(ask(&bench, Method::POST, "/qa/episodes/999/run", Value::Null).await.0, 404);
    assert_eq!(ask(&bench, Method::GET, "/qa/episodes/999/checks", Value::Null).await.0, 404);

    // What waits for a person stays, whatever a run says, and so do its score and its flag.
    let (status, kept) = run(&bench, &short, Value::Null).await;
    assert_eq!((status, &kept["qa_status"], &kept["passed"]), (200, &json!("needs_inspection"), &json!(false)));
    let after = bench.client.get(&format!("/episodes/{}", short["id"])).await.expect("an episode");
    assert_eq!((&after["qa_score"], &after["quality_flag"]), (&short["qa_score"], &short["quality_flag"]));

    // The recording is gone: that is a result, and the approval with it.
    let key = |task: &DispatchedTask, extension: &str| ObjectKey::new(bench.key(task).replace("mcap", extension)).expect("a key");
    let objects = bench.server.folder.join("data/objects");
    let found = file_below(&objects, &format!("{}.mcap", tasks[0].public_id)).expect("the recording's file");
    std::fs::remove_file(&found).expect("removed");
    until("the object to be gone", async || bench.blobs.head(&key(&tasks[0], "mcap")).await.is_err()).await;
    let (status, gone) = run(&bench, &good, Value::Null).await;
    assert_eq!((status, &gone["qa_status"], &gone["passed"]), (200, &json!("failed"), &json!(false)), "{gone}");
    assert_eq!(gone["quality_flag"], "MCAP integrity check failed: object not found");
    assert_eq!(gone["checks"][0]["check_metadata"]["object"], bench.key(&tasks[0]));
    assert!(gone["checks"][0]["check_metadata"].get("file_size_bytes").is_none());
    let after = bench.client.get(&format!("/episodes/{}", good["id"])).await.expect("an episode");
    assert_eq!((&after["auto_approved"], &after["qa_score"]), (&json!(false), &gone["score"]));
    assert_eq!(types_of(&bench, &good).await.last().map(String::as_str), Some("episode_approval_lost"));

    // A store that cannot be reached says nothing about a recording.
    bench.server.stop().await;
    bench.server.settings.push(("KEYSTONE_S3_ENDPOINT", "http://127.0.0.1:9".to_owned()));
    bench.server.settings.push(("KEYSTONE_S3_ACCESS_KEY", "key".to_owned()));
    bench.server.settings.push(("KEYSTONE_S3_SECRET_KEY", "a secret that is long enough".to_owned()));
    bench.server.start();
    // It is not ready: a store belongs to that. Everything that needs none is served.
    until("the server to answer", async || bench.client.get("/qa/episodes").await.is_ok()).await;
    let before = bench.client.get(&format!("/episodes/{}", short["id"])).await.expect("an episode");
    let (status, away) = run(&bench, &good, Value::Null).await;
    assert_eq!((status, &away["code"], &away["error"]), (502, &json!("qa_not_done"), &json!("failed to run qa suite")), "{away}");
    let after = bench.client.get(&format!("/episodes/{}", good["id"])).await.expect("an episode");
    assert_eq!((&after["qa_status"], &after["quality_flag"]), (&json!("failed"), &gone["quality_flag"]));
    assert_eq!(types_of(&bench, &good).await.last().map(String::as_str), Some("qa_run_abandoned"));
    assert_eq!(run(&bench, &short, Value::Null).await.0, 502);
    assert_eq!(bench.client.get(&format!("/episodes/{}", short["id"])).await.expect("an episode"), before);
}

fn file_below(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { file_below(&path, name) } else { path.file_name().is_some_and(|found| found == name).then_some(path) }
    })
}

/// A run whose process died holds its episode until its time is over, and no longer.
#[tokio::test]
async fn no_episode_is_held_for_ever() {
    use keystone_edge::commands::qa::StartQaRun;
    use keystone_edge::commands::{Commands, Context};
    use keystone_edge::domain::EpisodeId;
    use keystone_edge::domain::episode::RunMode;
    use keystone_edge::eventstore::EventStore;
    use keystone_edge::outbox::Wakes;

    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let task = bench.dispatch(1).await.remove(0);
    let good = judged(&bench, &mut transfer, &task, &recorded(&TOPICS, 5)).await;
    let commands = Commands::new(EventStore::new(bench.server.database().await, Wakes::default()));
    let dead = StartQaRun {
        episode: EpisodeId(good["id"].as_i64().expect("an id")),
        run: "manual/of a process that is gone".into(),
        mode: RunMode::Manual,
        within: std::time::Duration::from_secs(4),
    };
    commands.execute(&Context::system(), dead).await.expect("it begins");
    let (status, refused) = run(&bench, &good, Value::Null).await;
    assert_eq!((status, &refused["code"]), (409, &json!("qa_running")), "{refused}");
    assert!(refused["error"].as_str().is_some_and(|text| text.starts_with("qa already running")), "{refused}");
    let status = || async { bench.client.get(&format!("/episodes/{}", good["id"])).await.expect("an episode")["qa_status"].clone() };
    assert_eq!(status().await, "qa_running");
    until("the episode to be free", async || status().await == "approved").await;
    assert_eq!(run(&bench, &good, Value::Null).await.0, 200);
}

/// A site's own rules: drafted, tried on what there is, put to use; the verdicts that were told are those that runs give.
#[tokio::test]
async fn a_suite_is_tried_on_history_before_it_judges() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(4).await;
    let mut episodes = vec![];
    for (task, seconds) in tasks[..3].iter().zip([5, 5, 4]) {
        episodes.push(judged(&bench, &mut transfer, task, &recorded(&TOPICS, seconds)).await);
    }
    assert!(episodes.iter().all(|episode| episode["qa_status"] == "approved"), "{episodes:?}");

    // At least five seconds, as a gate of this site.
    let mut suite = bench.client.get("/qa/suites/default").await.expect("the shipped one");
    assert_eq!((&suite["state"], &suite["version"]), (&json!("active"), &json!(1)));
    for check in suite["checks"].as_array_mut().expect("checks") {
        if check["name"] == "duration" {
            *check = json!({ "name": "duration", "gate": true, "limits": { "min_s": 4.5, "max_s": 600.0 } });
        }
    }
    let (status, drafted) = ask(&bench, Method::POST, "/qa/suites", suite.clone()).await;
    assert_eq!(
        (status, &drafted["name"], &drafted["version"], &drafted["state"]),
        (201, &json!("default"), &json!(2), &json!("draft")),
        "{drafted}"
    );
    let path = |what: &str| format!("/qa/suites/{}/{what}", drafted["id"].as_str().expect("an id"));
    let (status, told) = ask(&bench, Method::POST, &path("what-if"), Value::Null).await;
    assert_eq!(
        (status, &told["matched_count"], &told["judged_count"], &told["changed_count"]),
        (200, &json!(3), &json!(3), &json!(1)),
        "{told}"
    );
    assert_eq!((&told["episodes"][0]["id"], &told["episodes"][0]["to"]), (&episodes[2]["id"], &json!("failed")));
    assert_eq!(told["by_robot"][0]["id"], bench.device.as_str());
    let (_, none) = ask(&bench, Method::POST, &path("what-if"), json!({"created_at_from": "2031-01-01T00:00:00Z"})).await;
    assert_eq!((&none["matched_count"], &none["more"]), (&json!(0), &json!(false)));
    // Nothing was changed by asking.
    assert_eq!(bench.client.get(&format!("/episodes/{}", episodes[2]["id"])).await.expect("an episode"), episodes[2]);

    for (wrong, said) in [
        (json!({"checks": [{"name": "mcap_magic", "gate": true}]}), "recording_not_empty"),
        (json!({"approve_at": 2.0}), "approve_at"),
        (json!({"parts": {"sounds": 1}}), "parts"),
        (json!({"scope": {"kind": "sop", "id": 999}}), "there is no sop"),
        (json!({"scope": {"kind": "robot_type"}}), "scope.id"),
        (json!({"name": "Our Suite"}), "lower-case"),
        (json!({"scop": {"kind": "sop", "id": 1}}), "unknown field `scop`"),
        (json!({"scope": {"kind": "all", "idd": 1}}), "idd"),
    ] {
        let mut body = suite.clone();
        wrong.as_object().expect("fields").iter().for_each(|(key, value)| body[key] = value.clone());
        let (status, refused) = ask(&bench, Method::POST, "/qa/suites", body).await;
        assert!(status == 400 && refused["error"].as_str().is_some_and(|text| text.contains(said)), "{said}: {refused}");
    }

    let (status, active) = ask(&bench, Method::POST, &path("activate"), Value::Null).await;
    assert_eq!((status, &active["state"]), (200, &json!("active")), "{active}");
    let (status, refused) =
        ask(&bench, Method::PUT, &format!("/qa/suites/{}", drafted["id"].as_str().expect("an id")), suite.clone()).await;
    assert_eq!((status, &refused["code"]), (409, &json!("suite_not_a_draft")), "{refused}");
    // Runs say what was told, and new episodes are judged by it.
    for (episode, expected) in episodes.iter().zip(["approved", "approved", "failed"]) {
        let (_, again) = run(&bench, episode, Value::Null).await;
        assert_eq!((&again["verdict"], &again["suite_version"]), (&json!(expected), &json!(2)));
    }
    let new = judged(&bench, &mut transfer, &tasks[3], &recorded(&TOPICS, 4)).await;
    assert_eq!(new["qa_status"], "failed");
    // Another one of the same scope takes its place, and without it the shipped one judges.
    let (_, third) = ask(&bench, Method::POST, "/qa/suites", suite.clone()).await;
    assert_eq!(third["version"], 3);
    let third = format!("/qa/suites/{}", third["id"].as_str().expect("an id"));
    assert_eq!(ask(&bench, Method::POST, &format!("{third}/activate"), Value::Null).await.0, 200);
    let listed = bench.client.get("/qa/suites?state=active").await.expect("a list");
    assert_eq!((listed["total"].as_i64(), &listed["items"][0]["version"]), (Some(1), &json!(3)));
    assert_eq!(ask(&bench, Method::POST, &format!("{third}/retire"), Value::Null).await.1["state"], "retired");
    assert_eq!(ask(&bench, Method::POST, &format!("{third}/activate"), Value::Null).await.0, 409);
    let (_, by_shipped) = run(&bench, &new, Value::Null).await;
    assert_eq!((&by_shipped["verdict"], &by_shipped["suite_version"]), (&json!("approved"), &json!(1)));
}
