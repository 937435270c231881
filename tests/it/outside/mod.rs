//! Outside checks: programs elsewhere claim jobs, hold them, are lost, report; and every run that waits for them ends with one verdict.

mod checker;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keystone_edge::commands::outside_jobs::{ClaimOutsideJob, ClaimedJob, OutsideLease, ProlongOutsideJob, ReportOutsideJob};
use keystone_edge::commands::registration::TokenHash;
use keystone_edge::commands::{CommandError, Commands, Context};
use keystone_edge::domain::judgement::{Grade, OutsideReport, Suite};
use keystone_edge::domain::{EpisodeId, FactoryId, OutsideJobId, RefusalCode, Scope};
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::reads::outside_jobs::OutsideJobFilter;
use keystone_edge::projections::reads::{Page, Reads};
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::qa::{Ran, RunSettings, Runs};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bulk_qa;
use crate::data_ops::with_episodes;
use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::edge::TestEdge;
use crate::harness::until;
use crate::judging::{TOPICS, recorded};
use crate::outbox::number;

const LEASE: OutsideLease = OutsideLease { lease: Duration::from_secs(60), attempts_max: 3 };
const JOBS: &str = "/api/v1/qa/outside-jobs";

fn good() -> Recording {
    recorded(&TOPICS, 5)
}

/// The shipped rules and these checks beside them.
async fn rules_with(shipped: Value, checks: &[Value]) -> Value {
    let mut rules = shipped;
    rules["name"] = json!("with-outside");
    rules["checks"].as_array_mut().expect("checks").extend(checks.iter().cloned());
    rules
}

fn gate(name: &str, deadline_s: u32) -> Value {
    json!({ "name": name, "gate": true, "limits": { "closed_mm": 2.5 }, "outside": { "deadline_s": deadline_s } })
}

fn part(name: &str, deadline_s: u32) -> Value {
    json!({ "name": name, "part": "images", "weight": 4, "looked_at": true, "outside": { "deadline_s": deadline_s } })
}

/// A suite with these checks judges from now on. Answers its id.
async fn activated(edge: &TestEdge, checks: &[Value]) -> String {
    let shipped = edge.get("/api/v1/qa/suites/default").await.1;
    let drafted = edge.create("/api/v1/qa/suites", rules_with(shipped, checks).await).await;
    let id = drafted["id"].as_str().expect("an id").to_owned();
    let (status, active) = edge.post(&format!("/api/v1/qa/suites/{id}/activate"), Value::Null).await;
    assert_eq!((status, &active["state"]), (200, &json!("active")), "{active}");
    id
}

fn runs(edge: &TestEdge) -> Runs {
    let settings = RunSettings { timeout: Duration::from_secs(10), default_suite: Suite::default(), sidecar_bytes_max: 4 << 20 };
    Runs::new(edge.commands.clone(), edge.objects.blobs.clone(), settings)
}

/// Episodes of these recordings, judged as they are when they are new.
async fn judged(edge: &TestEdge, recordings: &[Recording]) -> Vec<(i64, Ran)> {
    with_episodes(edge, recordings).await;
    let rows = edge.database.pool.get().await.unwrap().query("select id from episodes order by id", &[]).await.unwrap();
    let mut all = vec![];
    for row in rows {
        let id: i64 = row.get(0);
        let ran = runs(edge).judge_new(&Context::system(), EpisodeId(id), &format!("auto/{id}")).await.expect("it is judged");
        all.push((id, ran));
    }
    all
}

async fn episode(edge: &TestEdge, id: i64) -> Value {
    edge.get(&format!("/api/v1/episodes/{id}")).await.1
}

async fn claim(edge: &TestEdge, check: &str) -> (u16, Value) {
    edge.post(&format!("/api/v1/qa/outside-checks/{check}/claim"), json!({ "checker": "a test" })).await
}

async fn report(edge: &TestEdge, job: &Value, body: Value) -> (u16, Value) {
    let mut body = body;
    body["token"] = job["token"].clone();
    edge.post(&format!("{JOBS}/{}/result", job["id"]), body).await
}

async fn types_of(edge: &TestEdge, kind: &str, id: &Value) -> Vec<String> {
    let sql = "select event_type from events where aggregate_type = $1 and aggregate_id = $2 order by sequence";
    let rows = edge.database.pool.get().await.unwrap().query(sql, &[&kind, &id.to_string()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The same site, so many seconds later.
fn later(edge: &TestEdge, seconds: i64) -> Commands {
    let store = EventStore::new(edge.database.pool.clone(), Wakes::default());
    Commands::with_clock(store, Arc::new(move || chrono::Utc::now() + TimeDelta::seconds(seconds)))
}

async fn claimed(commands: &Commands, check: &str, token: &str) -> Option<ClaimedJob> {
    let token_sha256 = TokenHash::of(token).0;
    let claim = ClaimOutsideJob { check: check.into(), checker: token.into(), token_sha256, terms: LEASE };
    commands.execute(&Context::system(), claim).await.expect("an answer").map(|job| *job)
}

fn said(result: Grade) -> OutsideReport {
    let score = if result == Grade::Pass { 1.0 } else { 0.0 };
    OutsideReport { result, score, details: format!("{result:?}"), numbers: Default::default(), findings: vec![] }
}

async fn reported(commands: &Commands, job: OutsideJobId, token: &str, result: Grade) -> Result<bool, CommandError> {
    let report = ReportOutsideJob { job, token_sha256: TokenHash::of(token).0, report: said(result) };
    commands.execute(&Context::system(), report).await
}

fn code(outcome: Result<impl std::fmt::Debug, CommandError>) -> RefusalCode {
    match outcome {
        Err(CommandError::Refused(refusal)) => refusal.code,
        other => panic!("it is not refused: {other:?}"),
    }
}

async fn give_up(commands: &Commands) -> usize {
    commands.give_up_outside_jobs(LEASE, &CancellationToken::new()).await.expect("a look")
}

#[tokio::test]
async fn an_episode_waits_for_checkers_elsewhere_and_is_judged_by_all_that_was_said() {
    let edge = TestEdge::start().await;
    let suite = activated(&edge, &[gate("grasp", 600), part("light", 300)]).await;
    let shown = edge.get(&format!("/api/v1/qa/suites/{suite}")).await.1;
    let last = shown["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["name"], &last["outside"]["deadline_s"]), (&json!("light"), &json!(300)));
    let recording = good();
    let ran = judged(&edge, std::slice::from_ref(&recording)).await;
    let (id, Ran::Waits(waits)) = &ran[0] else { panic!("it does not wait: {ran:?}") };
    assert_eq!(waits.jobs.iter().map(|job| job.check.as_str()).collect::<Vec<_>>(), ["grasp", "light"]);
    // Asked once more, as after a crash, nothing is made twice.
    let again = runs(&edge).judge_new(&Context::system(), EpisodeId(*id), &format!("auto/{id}")).await.unwrap();
    assert_eq!(&again, &ran[0].1);
    assert_eq!(edge.get(JOBS).await.1["total"], 2);
    assert_eq!(episode(&edge, *id).await["qa_status"], "qa_running");
    let run = edge.post(&format!("/api/v1/qa/episodes/{id}/run"), Value::Null).await;
    assert_eq!((run.0, &run.1["code"]), (409, &json!("qa_running")), "a run that waits holds it");

    assert_eq!(claim(&edge, "gripper").await.0, 204, "no such check is wanted");
    assert_eq!(edge.send_as("", "POST", "/api/v1/qa/outside-checks/grasp/claim", json!({"checker": "x"})).await.0, 401);
    let (status, job) = claim(&edge, "grasp").await;
    assert_eq!(status, 200, "{job}");
    assert_eq!((&job["episode"]["id"], &job["episode"]["sha256"]), (&json!(id), &json!(recording.sha256)));
    assert_eq!((&job["limits"]["closed_mm"], &job["attempt"]), (&json!(2.5), &json!(1)));
    assert_eq!(job["facts"]["message_count"], json!(51 * TOPICS.len()));
    let bytes = edge.request("", "GET", job["mcap_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(bytes.bytes().await.unwrap(), recording.mcap, "the link works without a login");
    let sidecar = edge.request("", "GET", job["sidecar_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(Some(sidecar.bytes().await.unwrap().to_vec()), recording.sidecar);
    assert_eq!(claim(&edge, "grasp").await.0, 204, "it is held");
    let beat = edge.post(&format!("{JOBS}/{}/heartbeat", job["id"]), json!({ "token": job["token"] })).await;
    assert_eq!((beat.0, &beat.1["lease_until"]), (200, &job["lease_until"]), "nothing of the minute is over");

    let finding = json!({ "severity": "warning", "message": "it slips", "topic": "/camera0/rgb", "at_s": 1.25 });
    let pass = json!({ "result": "pass", "details": "held all the time", "numbers": { "slips": 1 }, "findings": [finding] });
    let (status, done) = report(&edge, &job, pass.clone()).await;
    assert_eq!((status, &done["state"], &done["report"]["score"]), (200, &json!("done"), &json!(1.0)), "{done}");
    assert_eq!(report(&edge, &job, pass.clone()).await, (200, done), "the same again");
    let (status, other) = report(&edge, &job, json!({ "result": "fail" })).await;
    assert_eq!((status, &other["code"]), (409, &json!("outside_result_differs")));
    assert_eq!(episode(&edge, *id).await["qa_status"], "qa_running", "the other one is missing");

    let (_, light) = claim(&edge, "light").await;
    let (status, _) = report(&edge, &light, json!({ "result": "pass", "score": 0.96, "details": "bright" })).await;
    assert_eq!(status, 200);
    let verdict = episode(&edge, *id).await;
    assert_eq!((&verdict["qa_status"], &verdict["auto_approved"]), (&json!("approved"), &json!(true)), "{verdict}");
    let types = types_of(&edge, "episode", &json!(id)).await;
    assert_eq!(types[types.len() - 3..], ["qa_run_waits", "qa_run_ended", "episode_approved"], "{types:?}");
    assert_eq!(types_of(&edge, "outside_job", &job["id"]).await, ["outside_job_made", "outside_job_claimed", "outside_job_reported"]);
    let checks = edge.get(&format!("/api/v1/qa/episodes/{id}/checks")).await.1;
    let of = |name: &str| checks["items"].as_array().unwrap().iter().find(|check| check["check_name"] == name).cloned().unwrap();
    assert_eq!(of("grasp")["check_metadata"]["findings"], json!([finding]));
    assert_eq!((&of("grasp")["check_metadata"]["slips"], &of("light")["score"]), (&json!(1.0), &json!(0.96)));

    // A person asks again: what was said stands, and nobody is asked anew. The same goes for what would be.
    let (status, manual) = edge.post(&format!("/api/v1/qa/episodes/{id}/run"), Value::Null).await;
    assert_eq!((status, &manual["verdict"], &manual["score"]), (200, &json!("approved"), &verdict["qa_score"]), "{manual}");
    let what_if = edge.post(&format!("/api/v1/qa/suites/{suite}/what-if"), json!({})).await.1;
    assert_eq!((&what_if["judged_count"], &what_if["changed_count"], &what_if["without_outside_count"]), (&json!(1), &json!(0), &json!(0)));
    let stricter =
        activated(&edge, &[json!({ "name": "grasp", "gate": true, "limits": { "closed_mm": 1.0 }, "outside": { "deadline_s": 60 } })])
            .await;
    let what_if = edge.post(&format!("/api/v1/qa/suites/{stricter}/what-if"), json!({})).await.1;
    assert_eq!(what_if["without_outside_count"], 1, "nobody said anything by other numbers");
    let (status, waiting) = edge.post(&format!("/api/v1/qa/episodes/{id}/run"), Value::Null).await;
    assert_eq!((status, &waiting["qa_status"], &waiting["waits_for"]), (202, &json!("qa_running"), &json!(["grasp"])), "{waiting}");

    // Neither links nor tokens are in the log.
    let sql = "select count(*) from events where payload::text like '%dl_token%' or payload::text like '%' || $1 || '%'";
    let token = job["token"].as_str().unwrap();
    let secrets: i64 = edge.database.pool.get().await.unwrap().query_one(sql, &[&token]).await.unwrap().get(0);
    assert_eq!(secrets, 0);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let edge = TestEdge::start().await;
    let shipped = edge.get("/api/v1/qa/suites/default").await.1;
    for (check, said) in [
        (json!({ "name": "mcap_magic2", "gate": true }), "there is no check mcap_magic2"),
        (json!({ "name": "Grasp", "gate": true, "outside": { "deadline_s": 60 } }), "lower-case"),
        (json!({ "name": "grasp", "gate": true, "outside": { "deadline_s": 1 } }), "deadline"),
        (json!({ "name": "grasp", "gate": true, "outside": {} }), "deadline_s"),
        (json!({ "name": "max_gap", "gate": true, "outside": { "deadline_s": 60 } }), "max_gap"),
    ] {
        let (status, refused) = edge.post("/api/v1/qa/suites", rules_with(shipped.clone(), std::slice::from_ref(&check)).await).await;
        assert!(status == 400 && refused["error"].as_str().is_some_and(|text| text.contains(said)), "{check}: {status} {refused}");
    }
    activated(&edge, &[gate("grasp", 600)]).await;
    let (id, _) = judged(&edge, &[good()]).await[0];
    let (_, job) = claim(&edge, "grasp").await;
    let many = vec![json!({ "severity": "info", "message": "m" }); 51];
    for body in [
        json!({}),
        json!({ "result": "maybe" }),
        json!({ "result": "not_done" }),
        json!({ "result": "pass", "score": 1.1 }),
        json!({ "result": "pass", "score": -0.1 }),
        json!({ "result": "pass", "details": "x".repeat(1001) }),
        json!({ "result": "pass", "numbers": { "A": 1 } }),
        json!({ "result": "pass", "numbers": { "findings": 1 } }),
        json!({ "result": "pass", "numbers": { "a": 1e10 } }),
        json!({ "result": "pass", "numbers": { "a": "1" } }),
        json!({ "result": "pass", "findings": many }),
        json!({ "result": "pass", "findings": [{ "severity": "bad", "message": "m" }] }),
        json!({ "result": "pass", "findings": [{ "severity": "info", "message": "x".repeat(501) }] }),
        json!({ "result": "pass", "findings": [{ "severity": "info", "message": "m", "at_s": -1 }] }),
    ] {
        let (status, refused) = report(&edge, &job, body.clone()).await;
        assert_eq!(status, 400, "{body}: {refused}");
    }
    let long = "x".repeat(300 << 10);
    assert_eq!(report(&edge, &job, json!({ "result": "pass", "details": long })).await.0, 413);
    let wrong = json!({ "token": "another", "result": "pass" });
    let (status, refused) = edge.post(&format!("{JOBS}/{}/result", job["id"]), wrong).await;
    assert_eq!((status, &refused["code"]), (409, &json!("outside_claim_lost")));
    assert_eq!(edge.post(&format!("{JOBS}/999/result"), json!({ "token": "a", "result": "pass" })).await.0, 404);
    assert_eq!(edge.post(&format!("{JOBS}/999/heartbeat"), json!({ "token": "a" })).await.0, 404);
    assert_eq!(edge.get(&format!("{JOBS}/999")).await.0, 404);
    assert_eq!(edge.get(&format!("{JOBS}?state=lost")).await.0, 400);
    assert_eq!(edge.get(&format!("{JOBS}?state=claimed&check=grasp&episode_id={id}")).await.1["total"], 1);
    assert_eq!(edge.get(&format!("{JOBS}?episode_id=999")).await.1["total"], 0);
    assert_eq!(types_of(&edge, "outside_job", &job["id"]).await, ["outside_job_made", "outside_job_claimed"]);
    assert_eq!(episode(&edge, id).await["qa_status"], "qa_running");
}

#[tokio::test]
async fn a_lost_checkers_job_goes_to_another_one_and_its_late_result_is_refused() {
    let edge = TestEdge::start().await;
    activated(&edge, &[gate("grasp", 600)]).await;
    let (id, _) = judged(&edge, &[good()]).await[0];
    let (_, lost) = claim(&edge, "grasp").await;
    assert!(claimed(&later(&edge, 50), "grasp", "b").await.is_none(), "it is held for a minute");
    let second = claimed(&later(&edge, 70), "grasp", "b").await.expect("it is free again");
    assert_eq!((second.job.0, second.attempt), (lost["id"].as_i64().unwrap(), 2));
    let (status, refused) = report(&edge, &lost, json!({ "result": "fail" })).await;
    assert_eq!(
        (status, &refused["code"], &refused["because"]["event"]),
        (409, &json!("outside_claim_lost"), &json!("outside_job_claimed")),
        "{refused}"
    );
    let beat = edge.post(&format!("{JOBS}/{}/heartbeat", lost["id"]), json!({ "token": lost["token"] })).await;
    assert_eq!((beat.0, &beat.1["code"]), (409, &json!("outside_claim_lost")));
    // The second one tells that it is at work, and so has it for longer.
    let prolong = ProlongOutsideJob { job: second.job, token_sha256: TokenHash::of("b").0, terms: LEASE };
    later(&edge, 120).execute(&Context::system(), prolong).await.expect("it holds");
    assert!(claimed(&later(&edge, 150), "grasp", "c").await.is_none());
    assert!(reported(&later(&edge, 160), second.job, "b", Grade::Fail).await.expect("it is taken"));
    let verdict = episode(&edge, id).await;
    assert_eq!((&verdict["qa_status"], &verdict["quality_flag"]), (&json!("failed"), &json!("Fail")), "what a gate says, counts");
    assert_eq!(code(reported(&later(&edge, 170), second.job, "b", Grade::Pass).await), RefusalCode::OutsideResultDiffers);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_was_not_done_is_no_verdict_and_a_person_has_to_look() {
    let edge = TestEdge::start().await;
    activated(&edge, &[gate("grasp", 600), part("light", 60)]).await;
    let all = judged(&edge, &[good(), good(), recorded(&TOPICS[2..], 5)]).await;
    let (first, second, broken) = (all[0].0, all[1].0, all[2].0);
    // Where a gate is broken already, nothing that is said could change it, and nobody is asked.
    assert!(matches!(&all[2].1, Ran::Ended(answer) if answer.status.as_str() == "failed"), "{:?}", all[2]);
    assert_eq!(edge.get(&format!("{JOBS}?episode_id={broken}")).await.1["total"], 0);

    // One is done, the other one is not: its time is over after a minute, and with it that of the run.
    let grasp = claimed(&edge.commands, "grasp", "a").await.expect("a job");
    assert_eq!(grasp.task.episode_id.0, first);
    assert!(!reported(&edge.commands, grasp.job, "a", Grade::Pass).await.unwrap());
    assert_eq!(give_up(&later(&edge, 50)).await, 0);
    assert_eq!(give_up(&later(&edge, 61)).await, 2, "light, of both");
    assert_eq!(give_up(&later(&edge, 61)).await, 0);
    let verdict = episode(&edge, first).await;
    let why = "the outside check light was not done within its time";
    assert_eq!((&verdict["qa_status"], &verdict["quality_flag"]), (&json!("needs_inspection"), &json!(why)), "{verdict}");
    let checks = edge.get(&format!("/api/v1/qa/episodes/{first}/checks")).await.1;
    let light = checks["items"].as_array().unwrap().iter().find(|check| check["check_name"] == "light").unwrap().clone();
    assert_eq!((&light["result"], &light["passed"], &light["details"]), (&json!("not_done"), &json!(false), &json!(why)));
    assert_eq!(verdict["qa_score"], 1.0, "it counts nothing");
    assert_eq!(episode(&edge, second).await["qa_status"], "qa_running", "it has a job that may be done");

    // The third checker that is lost is the last one: the job is given up at once.
    for (n, token) in ["x", "y", "z"].iter().enumerate() {
        let at = later(&edge, 70 * n as i64);
        assert_eq!(claimed(&at, "grasp", token).await.expect("a job").attempt, n as u32 + 1);
    }
    assert!(claimed(&later(&edge, 210), "grasp", "w").await.is_none());
    assert_eq!(give_up(&later(&edge, 190)).await, 0, "the third one may live");
    assert_eq!(give_up(&later(&edge, 210)).await, 1);
    let verdict = episode(&edge, second).await;
    let why = "the outside check grasp was not done: its checkers were lost";
    assert_eq!((&verdict["qa_status"], &verdict["quality_flag"]), (&json!("needs_inspection"), &json!(why)), "{verdict}");
    let job = edge.get(&format!("{JOBS}?episode_id={second}&check=grasp")).await.1["items"][0].clone();
    assert_eq!((&job["state"], &job["not_done_cause"], &job["attempts"]), (&json!("not_done"), &json!("attempts"), &json!(3)));
    let job = OutsideJobId(job["id"].as_i64().unwrap());
    assert_eq!(code(reported(&later(&edge, 211), job, "z", Grade::Pass).await), RefusalCode::OutsideJobOver);
    assert_eq!(episode(&edge, second).await, verdict, "late, it changes nothing");
    assert_eq!(number(&edge.database.pool, "select count(*) from episodes where qa_status = 'qa_running'").await, 0);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_bulk_run_does_not_wait_and_an_orderly_look_does_not_abandon_what_waits() {
    let edge = TestEdge::start().await;
    activated(&edge, &[gate("grasp", 60)]).await;
    with_episodes(&edge, &[good()]).await;
    let id = number(&edge.database.pool, "select id from episodes").await;
    let run = bulk_qa::accept(&edge, json!({ "confirm": true })).await;
    bulk_qa::work_off(&edge, &bulk_qa::claim(&edge, bulk_qa::LEASE).await.expect("a run")).await;
    let ended = bulk_qa::run(&edge, &run).await;
    let cause = json!([{ "outcome": "skipped", "cause": "waits_for_outside_checks", "count": 1 }]);
    assert_eq!((&ended["status"], &ended["causes"]), (&json!("completed"), &cause), "{ended}");
    // Its time is over: it is given up with a verdict, and not abandoned.
    assert_eq!(later(&edge, 100).end_overdue_qa_runs(&CancellationToken::new()).await.unwrap(), 0);
    assert_eq!(episode(&edge, id).await["qa_status"], "qa_running");
    assert_eq!(give_up(&later(&edge, 100)).await, 1);
    assert_eq!(episode(&edge, id).await["qa_status"], "needs_inspection");
}

#[tokio::test]
async fn a_caller_of_another_factory_finds_no_job() {
    let edge = TestEdge::start().await;
    activated(&edge, &[gate("grasp", 600)]).await;
    judged(&edge, &[good()]).await;
    let factory = FactoryId(number(&edge.database.pool, "select factory_id from episodes").await);
    let of = |factory| Context { scope: Scope::Factories([factory].into()), ..Context::system() };
    let (here, elsewhere) = (of(factory), of(FactoryId(factory.0 + 1)));
    let claim = || ClaimOutsideJob { check: "grasp".into(), checker: "c".into(), token_sha256: TokenHash::of("a").0, terms: LEASE };
    assert!(edge.commands.execute(&elsewhere, claim()).await.unwrap().is_none());
    let job = edge.commands.execute(&here, claim()).await.unwrap().expect("a job").job;
    let report = || ReportOutsideJob { job, token_sha256: TokenHash::of("a").0, report: said(Grade::Pass) };
    assert_eq!(code(edge.commands.execute(&elsewhere, report()).await), RefusalCode::OutsideJobNotFound);
    let prolong = ProlongOutsideJob { job, token_sha256: TokenHash::of("a").0, terms: LEASE };
    assert_eq!(code(edge.commands.execute(&elsewhere, prolong).await), RefusalCode::OutsideJobNotFound);
    let (reads, filter) = (Reads::new(edge.database.pool.clone()), OutsideJobFilter::default());
    let seen = async |context: &Context| reads.outside_jobs(&context.scope, &filter, Page::ALL).await.unwrap().total;
    assert_eq!((seen(&here).await, seen(&elsewhere).await), (1, 0));
    assert!(reads.outside_job(&elsewhere.scope, job).await.unwrap().is_none());
    assert!(edge.commands.execute(&here, report()).await.unwrap());
}

/// Two processes, whose checkers report twice, late, and the wrong thing, while the time of others is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_whatever_order_checkers_report_each_run_has_one_verdict() {
    const EPISODES: usize = 8;
    const CHECKS: [&str; 3] = ["grasp", "light", "sound"];
    let edge = Arc::new(TestEdge::start().await);
    activated(&edge, &[gate("grasp", 600), part("light", 600), part("sound", 600)]).await;
    let recordings: Vec<Recording> = (0..EPISODES).map(|_| good()).collect();
    judged(&edge, &recordings).await;
    let mut checkers = tokio::task::JoinSet::new();
    for worker in 0..6 {
        // Two of them live a minute and a half later: what others hold is free for them.
        let commands = later(&edge, if worker < 4 { 0 } else { 90 });
        checkers.spawn(async move {
            let mut held = vec![];
            for round in 0..12 {
                let check = CHECKS[(worker + round) % CHECKS.len()];
                let token = format!("{worker}/{round}");
                let Some(job) = claimed(&commands, check, &token).await else { continue };
                held.push((job.job, token.clone()));
                if round % 4 == 3 {
                    continue;
                }
                let results = tokio::join!(
                    reported(&commands, job.job, &token, Grade::Pass),
                    reported(&commands, job.job, &token, if round % 2 == 0 { Grade::Pass } else { Grade::Fail }),
                );
                for result in [results.0, results.1] {
                    if let Err(error) = result {
                        assert!(matches!(&error, CommandError::Refused(_)), "{error:?}");
                    }
                }
            }
            held
        });
    }
    let (sweep, stop) = (later(&edge, 300), CancellationToken::new());
    let sweeping = tokio::spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                give_up(&sweep).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let held = checkers.join_all().await.concat();
    stop.cancel();
    sweeping.await.unwrap();
    give_up(&later(&edge, 700)).await;
    for (job, token) in held {
        if let Err(error) = reported(&later(&edge, 701), job, &token, Grade::Pass).await {
            assert!(matches!(&error, CommandError::Refused(_)), "{error:?}");
        }
    }
    let pool = &edge.database.pool;
    assert_eq!(number(pool, "select count(*) from episodes where qa_status in ('qa_running', 'pending_qa')").await, 0);
    assert_eq!(number(pool, "select count(*) from qa_runs").await, EPISODES as i64);
    assert_eq!(
        number(pool, "select count(*) from outside_jobs where state in ('done', 'not_done')").await,
        (EPISODES * CHECKS.len()) as i64
    );
    let twice = "select count(*) from (select aggregate_id from events where event_type in ('outside_job_reported', 'outside_job_not_done')
                 group by aggregate_id having count(*) > 1) t";
    assert_eq!(number(pool, twice).await, 0);
    // What was not done approves and fails nothing.
    let sql = "select count(*) from qa_runs q where verdict = 'approved' and exists (select 1 from outside_jobs j where j.episode_id = q.episode_id and j.state = 'not_done')";
    assert_eq!(number(pool, sql).await, 0);
    assert_eq!(rebuild(pool).await.unwrap().differences, []);
}

/// The real program is killed while a checker works; what it held it still holds, and the verdict is given by the next life.
#[tokio::test]
async fn killed_while_a_checker_works_the_next_life_takes_its_result() {
    let mut bench = Bench::start().await;
    let shipped = bench.client.get("/qa/suites/default").await.expect("rules");
    let drafted = bench.client.create("/qa/suites", &rules_with(shipped, &[gate("grasp", 600)]).await).await.expect("a draft");
    let activate = format!("/qa/suites/{}/activate", drafted["id"].as_str().unwrap());
    bench.client.call(reqwest::Method::POST, &activate, None).await.expect("it judges");
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let task = bench.dispatch(1).await.remove(0);
    let (key, recording) = (bench.key(&task), good());
    bench.upload(&key, &recording).await;
    transfer.send(&complete(&task.public_id, &key, &recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    until("a job", async || bench.client.get("/qa/outside-jobs").await.expect("a list")["total"] == 1).await;
    let ask = json!({ "checker": "survivor" });
    let job = bench.client.call(reqwest::Method::POST, "/qa/outside-checks/grasp/claim", Some(&ask)).await.expect("a job").body;
    bench.server.kill();
    bench.server.start();
    bench.server.ready().await;
    let report = json!({ "token": job["token"], "result": "pass" });
    let path = format!("/qa/outside-jobs/{}/result", job["id"]);
    let done = bench.client.call(reqwest::Method::POST, &path, Some(&report)).await.expect("an answer");
    assert_eq!((done.status.as_u16(), &done.body["state"]), (200, &json!("done")), "{}", done.body);
    let judged = bench.client.get(&format!("/episodes/{}", job["episode"]["id"])).await.expect("an episode");
    assert_eq!(judged["qa_status"], "approved", "{judged}");
}
