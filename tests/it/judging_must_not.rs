//! What the contract of judging says must not happen, each as a test of its own name.
//! Those about bulk runs (Q9 to Q14) are in `bulk_qa`, those about filters (Q17, Q21) and the cloud (Q15) in `data_ops`, Q19 is in `must_not`.

use std::time::Duration;

use keystone_edge::blobs::{Access, Blobs, ObjectKey, PutFacts};
use keystone_edge::commands::operator_word::GiveWord;
use keystone_edge::commands::qa::{JudgeEpisode, Judged, Ran, RunAnswer, StartQaRun};
use keystone_edge::commands::{CommandError, Context};
use keystone_edge::domain::episode::{QaStatus, RunMode};
use keystone_edge::domain::judgement::{Suite, Verdict};
use keystone_edge::domain::operator_word::WordVerdict;
use keystone_edge::domain::{EpisodeId, RefusalCode, TaskId};
use keystone_edge::qa::NotRun;
use keystone_edge::telemetry::chain;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bulk_qa::{runs, runs_with};
use crate::data_ops::with_episodes;
use crate::harness::access;
use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::edge::TestEdge;
use crate::judging::{TOPICS, recorded};

/// Too short for an episode, and nothing else is wrong with it: a person has to look.
fn short() -> Recording {
    recorded(&TOPICS, 1)
}

fn good() -> Recording {
    recorded(&TOPICS, 5)
}

struct Floor {
    edge: TestEdge,
    episodes: Vec<EpisodeId>,
    tasks: Vec<TaskId>,
}

impl Floor {
    /// Episodes that nobody has judged.
    async fn with(recordings: &[Recording]) -> Self {
        let edge = TestEdge::start().await;
        let (_, tasks) = with_episodes(&edge, recordings).await;
        let rows = edge.database.pool.get().await.unwrap().query("select id from episodes order by id", &[]).await.unwrap();
        let episodes = rows.iter().map(|row| EpisodeId(row.get(0))).collect();
        Self { edge, episodes, tasks: tasks.iter().map(|task| TaskId(task.id)).collect() }
    }

    async fn run(&self, nth: usize, name: &str, mode: RunMode) -> Result<RunAnswer, NotRun> {
        match runs(&self.edge).run(&Context::system(), self.episodes[nth], name, mode).await? {
            Ran::Ended(answer) => Ok(*answer),
            Ran::Waits(_) => panic!("nothing is asked elsewhere"),
        }
    }

    async fn begin(&self, nth: usize, name: &str, within: Duration) -> Result<(), RefusalCode> {
        let start = StartQaRun { episode: self.episodes[nth], run: name.to_owned(), mode: RunMode::Manual, within };
        match self.edge.commands.execute(&Context::system(), start).await {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(refusal)) => Err(refusal.code),
            Err(other) => panic!("{other}"),
        }
    }

    async fn shown(&self, nth: usize) -> Value {
        let (status, episode) = self.edge.get(&format!("/api/v1/episodes/{}", self.episodes[nth])).await;
        assert_eq!(status, 200, "{episode}");
        episode
    }

    async fn checks(&self, nth: usize) -> Vec<Value> {
        let (_, told) = self.edge.get(&format!("/api/v1/qa/episodes/{}/checks", self.episodes[nth])).await;
        told["items"].as_array().expect("checks").clone()
    }

    async fn key(&self, nth: usize) -> ObjectKey {
        let sql = "select mcap_path from episodes where id = $1";
        let path: String = self.edge.database.pool.get().await.unwrap().query_one(sql, &[&self.episodes[nth].0]).await.unwrap().get(0);
        let key = path.strip_prefix(&format!("{}/", self.edge.objects.settings.bucket)).expect("in our bucket").to_owned();
        ObjectKey::new(key).expect("a key")
    }

    async fn lose_recording(&self, nth: usize) {
        self.edge.objects.blobs.delete(&self.key(nth).await).await.expect("deleted");
    }

    async fn replace_recording(&self, nth: usize, bytes: &[u8]) {
        self.edge.objects.blobs.put(&self.key(nth).await, bytes.to_vec().into(), &PutFacts::default()).await.expect("an object");
    }

    /// An inspector of this level, signed in.
    async fn inspector(&self, name: &str, level: &str) -> (String, String) {
        let organization: i64 =
            self.edge.database.pool.get().await.unwrap().query_one("select min(id) from organizations", &[]).await.unwrap().get(0);
        let password = format!("{name}'s own password");
        let new = json!({"organization_id": organization, "name": name, "inspector_id": name, "certification_level": level, "password": password});
        let made = self.edge.create("/api/v1/inspectors", new).await;
        let id = made["id"].as_str().map_or_else(|| made["id"].to_string(), str::to_owned);
        let token = self.edge.log_in(name, &password).await.1["access_token"].as_str().expect("a token").to_owned();
        (id, token)
    }

    /// Type and transaction of each event of the episode, in their order.
    async fn events(&self, nth: usize) -> Vec<(String, String)> {
        let sql = "select event_type, txid::text from events where aggregate_type = 'episode' and aggregate_id = $1 order by sequence";
        let rows = self.edge.database.pool.get().await.unwrap().query(sql, &[&self.episodes[nth].to_string()]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

fn code_of(refused: Result<RunAnswer, NotRun>) -> RefusalCode {
    match refused {
        Err(NotRun::Command(CommandError::Refused(refusal))) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn q1_a_run_leaves_no_episode_running_for_ever() {
    let floor = Floor::with(&[good()]).await;
    // Its process is gone, and its time is over.
    floor.begin(0, "manual/dead", Duration::ZERO).await.unwrap();
    assert_eq!(floor.shown(0).await["qa_status"], "qa_running");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(floor.edge.commands.end_overdue_qa_runs(&CancellationToken::new()).await.unwrap(), 1);
    assert_eq!(floor.shown(0).await["qa_status"], "pending_qa", "as it was before");
    assert_eq!(floor.edge.commands.end_overdue_qa_runs(&CancellationToken::new()).await.unwrap(), 0);
    let answer = floor.run(0, "manual/after", RunMode::Manual).await.unwrap();
    assert_eq!(answer.status, QaStatus::Approved);
}

/// More than any queue in memory had room for: each is owed a run by the transaction that made it.
#[tokio::test]
async fn q2_no_automatic_run_is_lost() {
    let any: Vec<Recording> = (0..300).map(|_| Recording::of(b"a recording".to_vec(), None)).collect();
    let floor = Floor::with(&any).await;
    let sql = "select count(*), count(distinct e.aggregate_id) from events e join outbox o on o.event_seq = e.seq
        where e.event_type = 'episode_created' and o.subscriber = 'qa' and o.xmin::text = e.xmin::text";
    let row = floor.edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (300, 300));
}

/// The operator speaks while a run looks: what the run answers is what stands in the database afterwards.
#[tokio::test]
async fn q3_a_run_reports_what_was_written() {
    let floor = Floor::with(&[good()]).await;
    let first = floor.run(0, "manual/1", RunMode::Manual).await.unwrap();
    assert_eq!((first.status, first.ended.judgement.verdict), (QaStatus::Approved, Verdict::Approved));
    floor.begin(0, "manual/2", Duration::from_secs(30)).await.unwrap();
    let word = GiveWord {
        task_id: floor.tasks[0],
        verdict: WordVerdict::Discard,
        demonstration: None,
        note: Some("The cup fell".into()),
        default_suite: Suite::default(),
    };
    floor.edge.execute(word).await;
    let judge = JudgeEpisode {
        episode: floor.episodes[0],
        run: "manual/2".into(),
        mode: RunMode::Manual,
        looked: None,
        default_suite: Suite::default(),
    };
    let Judged::Ran(Ran::Ended(answer)) = floor.edge.execute(judge).await else { panic!("it was measured") };
    let shown = floor.shown(0).await;
    assert_eq!((answer.status, &shown["qa_status"]), (QaStatus::NeedsInspection, &json!("needs_inspection")), "{shown}");
    assert_eq!((&shown["auto_approved"], &shown["quality_flag"]), (&json!(false), &json!(answer.ended.judgement.flag)));
    // And the checks that are told are those of this run.
    let told = floor.checks(0).await;
    assert!(told.iter().any(|check| check["check_name"] == "operator_word" && check["passed"] == false), "{told:?}");
}

#[tokio::test]
async fn q4_two_runs_on_a_protected_episode_do_not_overlap() {
    let floor = Floor::with(&[short()]).await;
    assert_eq!(floor.run(0, "manual/1", RunMode::Manual).await.unwrap().status, QaStatus::NeedsInspection);
    floor.begin(0, "manual/2", Duration::from_secs(30)).await.unwrap();
    assert_eq!(floor.begin(0, "manual/3", Duration::from_secs(30)).await, Err(RefusalCode::QaRunning));
    let (status, refused) = floor.edge.post(&format!("/api/v1/qa/episodes/{}/run", floor.episodes[0]), json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("qa_running")), "{refused}");
}

#[tokio::test]
async fn q5_a_run_on_a_protected_episode_changes_neither_score_nor_flag() {
    let floor = Floor::with(&[short()]).await;
    floor.run(0, "manual/1", RunMode::Manual).await.unwrap();
    let before = floor.shown(0).await;
    assert!(before["quality_flag"].is_string() && before["qa_score"].is_number(), "{before}");
    let same = |after: &Value| {
        let of = |episode: &Value| ["qa_status", "qa_score", "quality_flag", "auto_approved"].map(|name| episode[name].clone());
        assert_eq!(of(after), of(&before));
    };
    // It fails now, and says so.
    floor.lose_recording(0).await;
    let failed = floor.run(0, "manual/2", RunMode::Manual).await.unwrap();
    assert_eq!((failed.status, failed.ended.judgement.verdict), (QaStatus::NeedsInspection, Verdict::Failed));
    same(&floor.shown(0).await);
    // By rules that ask for nothing it passes.
    let mut lenient = Suite::default();
    lenient.checks.iter_mut().for_each(|check| check.looked_at = false);
    lenient.approve_at = 0.0;
    let other = Floor::with(&[short()]).await;
    other.run(0, "manual/1", RunMode::Manual).await.unwrap();
    let before = other.shown(0).await;
    let runs = runs_with(&other.edge, other.edge.objects.blobs.clone(), lenient);
    let Ran::Ended(passed) = runs.run(&Context::system(), other.episodes[0], "manual/2", RunMode::Manual).await.unwrap() else {
        panic!("nothing is asked elsewhere")
    };
    assert_eq!((passed.status, passed.ended.judgement.verdict), (QaStatus::NeedsInspection, Verdict::Approved));
    let after = other.shown(0).await;
    assert_eq!((&after["qa_score"], &after["quality_flag"]), (&before["qa_score"], &before["quality_flag"]));
}

#[tokio::test]
async fn q6_no_result_hides_another_of_its_run() {
    let lacking = recorded(&["/chatter"], 5);
    let floor = Floor::with(&[lacking]).await;
    let answer = floor.run(0, "manual/1", RunMode::Manual).await.unwrap();
    let told = floor.checks(0).await;
    let failed: Vec<&Value> = told.iter().filter(|check| check["passed"] == false).map(|check| &check["check_name"]).collect();
    assert!(failed.contains(&&json!("required_topics")) && told.len() > 2, "{told:?}");
    // What both lists show beside it is the check that its flag comes from, and not the last that passed.
    let flag = json!(answer.ended.judgement.flag);
    for list in ["/api/v1/qa/episodes?status=all", "/api/v1/data-ops/episodes"] {
        let (_, listed) = floor.edge.get(list).await;
        let shown = &listed["items"][0]["latest_qa_check"];
        assert_eq!(
            (&shown["check_name"], &shown["passed"], &shown["details"]),
            (&json!("required_topics"), &json!(false), &flag),
            "{list}"
        );
    }
}

#[tokio::test]
async fn q7_auto_approved_describes_the_present_approval() {
    let floor = Floor::with(&[good()]).await;
    floor.run(0, "auto/1", RunMode::Auto).await.unwrap();
    assert_eq!(floor.shown(0).await["auto_approved"], true);
    floor.lose_recording(0).await;
    assert_eq!(floor.run(0, "manual/1", RunMode::Manual).await.unwrap().status, QaStatus::Failed);
    assert_eq!(floor.shown(0).await["auto_approved"], false);
    // A person approves it after all.
    let (_, token) = floor.inspector("wu", "senior").await;
    let of_episode = |act: &str| format!("/api/v1/inspection/episodes/{}/{act}", floor.episodes[0]);
    let taken = floor.edge.send_as(&token, "POST", &of_episode("take"), json!({})).await;
    assert_eq!(taken.0, 200, "{}", taken.1);
    let decision = json!({"decision": "approved", "reason": "I have seen it"});
    let decided = floor.edge.send_as(&token, "POST", &of_episode("decide"), decision).await;
    assert_eq!(decided.0, 200, "{}", decided.1);
    let shown = floor.shown(0).await;
    assert_eq!((&shown["qa_status"], &shown["auto_approved"]), (&json!("inspector_approved"), &json!(false)));
}

#[tokio::test]
async fn q8_a_known_refusal_does_not_look_like_a_broken_gateway() {
    let floor = Floor::with(&[good(), good()]).await;
    floor.run(0, "auto/1", RunMode::Auto).await.unwrap();
    floor.begin(1, "manual/another", Duration::from_secs(30)).await.unwrap();
    for (path, body, status, code) in [
        (floor.episodes[0].to_string(), json!({"mode": "auto"}), 409, "not_pending_qa"),
        (floor.episodes[1].to_string(), json!({"mode": "auto"}), 409, "qa_running"),
        (floor.episodes[1].to_string(), json!({"mode": "manual"}), 409, "qa_running"),
        ("999".into(), json!({"mode": "manual"}), 404, "not_found"),
        ("0".into(), json!({"mode": "manual"}), 400, "invalid episode id"),
        ("x".into(), json!({"mode": "manual"}), 400, "invalid episode id"),
        (floor.episodes[0].to_string(), json!({"mode": "both"}), 400, "mode must be manual or auto"),
        (floor.episodes[0].to_string(), json!([]), 400, "invalid qa run request"),
    ] {
        let (found, refused) = floor.edge.post(&format!("/api/v1/qa/episodes/{path}/run"), body.clone()).await;
        assert_eq!(found, status, "{path} {body}: {refused}");
        assert!(refused["code"] == code || refused["error"] == code, "{path} {body}: {refused}");
    }
    assert_eq!(code_of(floor.run(1, "auto/1", RunMode::Auto).await), RefusalCode::QaRunning);
}

#[tokio::test]
async fn q16_judging_is_not_open_to_every_role() {
    let floor = Floor::with(&[good()]).await;
    let collector = floor.edge.log_in("li", "li's password").await.1["access_token"].as_str().expect("a token").to_owned();
    let id = floor.episodes[0];
    let batch: i64 = floor.edge.database.pool.get().await.unwrap().query_one("select min(id) from batches", &[]).await.unwrap().get(0);
    for (method, path) in [
        ("GET", "/api/v1/qa/episodes".to_owned()),
        ("GET", format!("/api/v1/qa/episodes/{id}/checks")),
        ("POST", format!("/api/v1/qa/episodes/{id}/run")),
        ("GET", "/api/v1/qa/suites".to_owned()),
        ("GET", "/api/v1/data-ops/episodes".to_owned()),
        ("POST", "/api/v1/data-ops/episodes/bulk-qa".to_owned()),
        ("GET", "/api/v1/inspectors".to_owned()),
        ("GET", "/api/v1/inspection/queue".to_owned()),
        ("POST", format!("/api/v1/batches/{batch}/recall")),
    ] {
        for (token, expected) in [(collector.as_str(), 403), ("", 401), ("not.a.token", 401)] {
            let (status, refused) = floor.edge.send_as(token, method, &path, json!({})).await;
            assert_eq!(status, expected, "{method} {path} with {token:?}: {refused}");
        }
    }
    assert_eq!(floor.shown(0).await["qa_status"], "pending_qa");
}

#[tokio::test]
async fn q18_settings_of_judging_act() {
    let settings = vec![("KEYSTONE_QA_ENABLED", "false".to_owned()), ("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned())];
    let bench = Bench::start_with(settings).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let task = bench.dispatch(1).await.remove(0);
    let (key, recording) = (bench.key(&task), good());
    bench.upload(&key, &recording).await;
    transfer.send(&complete(&task.public_id, &key, &recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
    let path = format!("/episodes/{}", found["episode"]["id"]);
    // Its row was delivered, and nothing came of it.
    let client = bench.server.database().await.get().await.expect("a connection");
    crate::harness::until("the row to be delivered", async || {
        client.query_one("select count(*) from outbox where subscriber = 'qa'", &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(bench.client.get(&path).await.expect("an episode")["qa_status"], "pending_qa");
    // A person may ask all the same.
    let ran =
        bench.client.call(reqwest::Method::POST, &format!("/qa/episodes/{}/run", found["episode"]["id"]), None).await.expect("an answer");
    assert_eq!((ran.status.as_u16(), &ran.body["qa_status"]), (200, &json!("approved")), "{}", ran.body);
}

#[tokio::test]
async fn q20_the_loss_of_an_approval_is_an_event_that_others_follow() {
    let floor = Floor::with(&[good()]).await;
    floor.run(0, "auto/1", RunMode::Auto).await.unwrap();
    floor.lose_recording(0).await;
    floor.run(0, "manual/1", RunMode::Manual).await.unwrap();
    let events = floor.events(0).await;
    let [.., ended, lost] = &events[..] else { panic!("{events:?}") };
    assert_eq!((ended.0.as_str(), lost.0.as_str()), ("qa_run_ended", "episode_approval_lost"));
    assert_eq!(ended.1, lost.1, "in one transaction");
    assert!(events.iter().any(|(name, _)| name == "episode_approved"), "{events:?}");
}

/// What was damaged in the store and is put right again is measured as what it is now, both times.
#[tokio::test]
async fn a_recording_that_was_put_right_is_judged_by_what_it_is() {
    let recording = good();
    let floor = Floor::with(std::slice::from_ref(&recording)).await;
    assert_eq!(floor.run(0, "manual/1", RunMode::Manual).await.unwrap().status, QaStatus::Approved);
    let mut flipped = recording.mcap.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    floor.replace_recording(0, &flipped).await;
    assert_eq!(floor.run(0, "manual/2", RunMode::Manual).await.unwrap().status, QaStatus::Failed);
    assert_eq!(floor.run(0, "manual/3", RunMode::Manual).await.unwrap().status, QaStatus::Failed);
    floor.replace_recording(0, &recording.mcap).await;
    let answer = floor.run(0, "manual/4", RunMode::Manual).await.unwrap();
    assert_eq!(answer.status, QaStatus::Approved, "{:?}", answer.ended.judgement.flag);
}

/// A store that lost its bucket answers as if no object had ever been: that says nothing about recordings.
#[tokio::test]
async fn a_store_without_the_bucket_fails_no_episode() {
    let floor = Floor::with(&[good()]).await;
    floor.run(0, "manual/1", RunMode::Manual).await.unwrap();
    let objects = &floor.edge.objects;
    let other = keystone_edge::config::S3 { bucket: "another".into(), ..objects.settings.clone() };
    let access = Access { local: None, ..access(&objects.s3) };
    let runs = runs_with(&floor.edge, Blobs::new(access, &other).expect("a store"), Suite::default());
    match runs.run(&Context::system(), floor.episodes[0], "manual/2", RunMode::Manual).await {
        Err(NotRun::Storage(error)) => assert!(chain(&error).contains("the bucket `another` is not there"), "{error}"),
        other => panic!("{other:?}"),
    }
    let shown = floor.shown(0).await;
    assert_eq!((&shown["qa_status"], &shown["auto_approved"]), (&json!("approved"), &json!(false)), "{shown}");
}

/// The login of an account that is switched off, or has another password, ends with it.
#[tokio::test]
async fn who_is_switched_off_judges_nothing_any_more() {
    let floor = Floor::with(&[good()]).await;
    let id = floor.episodes[0];
    let (inspector, token) = floor.inspector("wu", "senior").await;
    let asks = [
        ("GET", "/api/v1/auth/me".to_owned(), json!(null)),
        ("GET", "/api/v1/inspection/queue".to_owned(), json!(null)),
        ("POST", format!("/api/v1/qa/episodes/{id}/run"), json!({})),
        ("PATCH", format!("/api/v1/episodes/{id}"), json!({"note": "mine"})),
        ("GET", format!("/api/v1/episodes/{id}/presign?kind=mcap"), json!(null)),
    ];
    let all = async |token: &str, expected: u16| {
        for (method, path, body) in &asks {
            let (status, answer) = floor.edge.send_as(token, method, path, body.clone()).await;
            assert_eq!(status, expected, "{method} {path}: {answer}");
        }
    };
    all(&token, 200).await;
    let path = format!("/api/v1/inspectors/{inspector}");
    let (status, answer) = floor.edge.send_as(&floor.edge.admin, "PUT", &path, json!({"status": "inactive"})).await;
    assert_eq!(status, 200, "{answer}");
    all(&token, 401).await;
    let (status, answer) = floor.edge.send_as(&floor.edge.admin, "PUT", &path, json!({"status": "active"})).await;
    assert_eq!(status, 200, "{answer}");
    all(&token, 200).await;
    // Logins tell when they were given in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, answer) = floor.edge.send_as(&floor.edge.admin, "PUT", &path, json!({"password": "wu's next password"})).await;
    assert_eq!(status, 200, "{answer}");
    all(&token, 401).await;
    let again = floor.edge.log_in("wu", "wu's next password").await.1["access_token"].as_str().expect("a token").to_owned();
    all(&again, 200).await;
}

#[tokio::test]
async fn a_mistyped_field_is_refused_and_what_is_wrong_is_named() {
    let floor = Floor::with(&[good()]).await;
    let edge = &floor.edge;
    for path in ["/api/v1/data-ops/episodes/bulk-qa", "/api/v1/data-ops/episodes/bulk-qa/preview", "/api/v1/qa/suites/default/apply"] {
        let (status, refused) = edge.post(path, json!({"confirm": true, "filter": {"qa_status": "failed"}})).await;
        assert_eq!((status, &refused["error"]), (400, &json!("invalid bulk episode request")), "{path}: {refused}");
    }
    let (_, shipped) = edge.get("/api/v1/qa/suites/default").await;
    for (pointer, value, field) in [
        ("/approve_at", json!(null), "approve_at"),
        ("/approve_at", json!("0.9"), "approve_at"),
        ("/checks/3/limits", json!({"x": "a"}), "checks[3].limits.x"),
        ("/checks/20/weight", json!(-3), "checks[20].weight"),
        ("/parts/topics", json!(1.5), "parts.topics"),
        ("/name", json!(null), "name"),
        ("/nmae", json!("site"), "nmae"),
    ] {
        let mut suite = shipped.clone();
        match suite.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => suite[&pointer[1..]] = value,
        }
        let (status, refused) = edge.post("/api/v1/qa/suites", suite).await;
        assert!(status == 400 && refused["error"].as_str().is_some_and(|text| text.contains(field)), "{pointer}: {refused}");
    }
    // What `GET` answers can be sent again, edited.
    let mut site = shipped.clone();
    site["name"] = json!("site");
    let (status, drafted) = edge.post("/api/v1/qa/suites", site.clone()).await;
    assert_eq!(status, 201, "{drafted}");
    site["name"] = json!("other");
    let path = format!("/api/v1/qa/suites/{}", drafted["id"].as_str().expect("an id"));
    let (status, changed) = edge.send_as(&edge.admin, "PUT", &path, site).await;
    assert_eq!((status, &changed["name"]), (200, &json!("site")), "a draft keeps its name: {changed}");
    let (_, refused) = edge.get("/api/v1/qa/episodes?status=approved,failed").await;
    assert_eq!(refused["error"], "unsupported qa status \"approved\"");
    let (_, refused) = edge.get("/api/v1/data-ops/bulk-runs/current?action=x").await;
    assert_eq!(refused["error"], "action must be bulk_qa");
}
