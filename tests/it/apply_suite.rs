//! A suite is applied to what was judged before it: what a machine held back is judged anew, what a person holds is not.

use keystone_edge::domain::bulk_run::BulkAction;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bulk_qa;
use crate::data_ops::with_episodes;
use crate::events_remote::Both;
use crate::harness::bench::{Bench, transfer_of};
use crate::harness::edge::TestEdge;
use crate::harness::{temp_folder, until};
use crate::inspection::{episode, inspector, types_of, uploaded};
use crate::judging::{TOPICS, recorded};

pub async fn ask(bench: &Bench, method: Method, path: &str, body: Value) -> (u16, Value) {
    let reply = bench.client.call(method, path, Some(&body)).await.expect("an answer");
    (reply.status.as_u16(), reply.body)
}

/// A draft of the site: the shipped suite, changed.
pub async fn drafted(bench: &Bench, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut suite = bench.client.get("/qa/suites/default").await.expect("the shipped one");
    suite["name"] = json!(name);
    change(&mut suite);
    let (status, made) = ask(bench, Method::POST, "/qa/suites", suite).await;
    assert_eq!(status, 201, "{made}");
    format!("/qa/suites/{}", made["id"].as_str().expect("an id"))
}

/// Content with half a second.
fn lenient(suite: &mut Value) {
    for check in suite["checks"].as_array_mut().expect("checks") {
        if check["name"] == "duration" {
            check["limits"] = json!({ "min_s": 0.5, "max_s": 600.0 });
        }
    }
}

/// The run, once it has ended.
pub async fn applied(bench: &Bench, suite: &str, body: Value) -> Value {
    let (status, accepted) = ask(bench, Method::POST, &format!("{suite}/apply"), body).await;
    assert_eq!((status, &accepted["run"]["action"]), (202, &json!("apply_suite")), "{accepted}");
    let path = format!("/data-ops/bulk-runs/{}", accepted["run"]["run_id"].as_str().expect("an id"));
    until("the end of the run", async || bench.client.get(&path).await.expect("a run")["finished_at"].is_string()).await;
    bench.client.get(&path).await.expect("a run")
}

fn counts(run: &Value) -> [&Value; 5] {
    ["processed_count", "passed_count", "qa_failed_count", "processing_failed_count", "skipped_count"].map(|count| &run[count])
}

#[tokio::test]
async fn what_a_machine_held_back_is_judged_anew_and_what_a_person_holds_is_not() {
    let bench = Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned())]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(7).await;
    let mut ids = vec![];
    for (task, seconds) in tasks.iter().zip([5, 1, 1, 1, 1, 1, 1]) {
        ids.push(uploaded(&bench, &mut transfer, task, &recorded(&TOPICS, seconds)).await);
    }
    let [good, short, taken, approved, reopened, discarded, released] = ids[..] else { panic!("seven episodes") };
    let (_, person) = inspector(&bench, "nora", "senior").await;
    for id in [approved, reopened] {
        assert_eq!(person.take(id).await.0, 200);
        assert_eq!(person.decide(id, "approved").await.0, 200);
    }
    let reason = json!({ "reason": "once more" });
    assert_eq!(person.ask(Method::POST, &format!("/inspection/episodes/{reopened}/reopen"), reason).await.0, 204);
    let word = json!({ "verdict": "discard", "note": "The cup fell" });
    let (status, said) = ask(&bench, Method::POST, &format!("/tasks/{}/verdict", tasks[5].id), word).await;
    assert_eq!(status, 200, "{said}");
    for id in [released, taken] {
        assert_eq!(person.take(id).await.0, 200);
    }
    assert_eq!(person.ask(Method::POST, &format!("/inspection/episodes/{released}/release"), Value::Null).await.0, 204);
    let statuses = async |of: &[i64]| {
        let mut found = vec![];
        for id in of {
            found.push(episode(&bench, *id).await["qa_status"].as_str().expect("a status").to_owned());
        }
        found
    };
    let held = "needs_inspection";
    assert_eq!(statuses(&ids).await, ["approved", held, held, "inspector_approved", held, held, held]);

    // What is not active names no rules that last.
    let suite = drafted(&bench, "lenient", lenient).await;
    for path in ["apply/preview", "apply"] {
        let body = if path == "apply" { json!({ "confirm": true }) } else { json!({}) };
        let (status, refused) = ask(&bench, Method::POST, &format!("{suite}/{path}"), body).await;
        assert_eq!((status, &refused["code"]), (409, &json!("suite_not_active")), "{path}: {refused}");
    }
    assert_eq!(ask(&bench, Method::POST, &format!("{suite}/activate"), Value::Null).await.0, 200);

    // An ordinary run says what it finds, and that is all.
    let (_, ordinary) = ask(&bench, Method::POST, &format!("/qa/episodes/{short}/run"), Value::Null).await;
    assert_eq!((&ordinary["verdict"], &ordinary["qa_status"]), (&json!("approved"), &json!(held)), "{ordinary}");

    let (status, preview) = ask(&bench, Method::POST, &format!("{suite}/apply/preview"), json!({ "all": true })).await;
    assert_eq!(status, 200, "{preview}");
    let told = ["matched_count", "eligible_count", "skipped_count", "protected_status_count"].map(|count| preview[count].as_i64());
    assert_eq!(told, [Some(7), Some(7), Some(0), Some(4)], "{preview}");
    // Too many others by now: nothing is done. Nothing confirmed: neither.
    for (body, status) in [(json!({ "all": true }), 400), (json!({ "confirm": true, "all": false }), 400)] {
        assert_eq!(ask(&bench, Method::POST, &format!("{suite}/apply"), body).await.0, status);
    }
    let (status, moved) = ask(&bench, Method::POST, &format!("{suite}/apply"), json!({ "confirm": true, "expected_count": 40 })).await;
    assert_eq!((status, &moved["code"]), (409, &json!("bulk_count_moved")), "{moved}");

    let run = applied(&bench, &suite, json!({ "confirm": true, "all": true, "expected_count": 7 })).await;
    assert_eq!((&run["status"], counts(&run)), (&json!("completed"), [&json!(7), &json!(6), &json!(1), &json!(0), &json!(0)]), "{run}");
    let all = ["approved", "approved", held, "inspector_approved", held, held, "approved"];
    assert_eq!(statuses(&ids).await, all);
    let shown = episode(&bench, short).await;
    assert_eq!(
        (&shown["auto_approved"], &shown["quality_flag"], &shown["qa_score"]),
        (&json!(false), &Value::Null, &json!(1.0)),
        "{shown}"
    );
    let types = types_of(&bench, short).await;
    assert_eq!(types[types.len() - 2..], ["qa_run_ended", "episode_approved"], "{types:?}");
    // What its operator does not want is approved by no suite, and says so.
    let unwanted = episode(&bench, discarded).await["quality_flag"].clone();
    assert!(unwanted.as_str().is_some_and(|flag| flag.contains("The cup fell")), "{unwanted}");

    // Once more, nothing is another one; and nobody passes off an ordinary run as one of these.
    let again = applied(&bench, &suite, json!({ "confirm": true, "filters": { "qa_status": "approved" } })).await;
    assert_eq!(counts(&again), [&json!(3), &json!(3), &json!(0), &json!(0), &json!(0)], "{again}");
    assert_eq!(statuses(&ids).await, all);
    assert_eq!(ask(&bench, Method::POST, &format!("/qa/episodes/{good}/run"), json!({ "mode": "apply" })).await.0, 400);
}

#[tokio::test]
async fn a_suite_is_applied_to_what_it_is_for_and_what_was_measured_by_both_ways() {
    let edge = TestEdge::start().await;
    let (seed, _) = with_episodes(&edge, &[recorded(&TOPICS, 5), recorded(&TOPICS, 5)]).await;
    let folder = temp_folder();
    let both = Both::of(&edge, folder.path());
    let told = both.say("suites apply default --all").await;
    assert!(told.starts_with("0 of 2 episodes would be judged by it\n  skipped, not_measured: 2\n"), "{told}");
    for (arguments, why) in [
        (vec!["default"], "all"),
        (vec!["default", "--all", "--sop", "1"], "exclude each other"),
        (vec!["7", "--all"], "suite"),
        (vec!["default", "--status", "asleep"], "qa_status"),
        (vec!["default", "--all", "--expected-count", "2"], "--yes"),
        (vec!["default", "--all", "--yes", "--expected-count", "40"], "expected"),
    ] {
        let arguments = [vec!["suites", "apply"], arguments].concat();
        for (code, said) in [both.on_database.tool(&arguments).await, both.server(&arguments).await] {
            assert!(code != 0 && said.contains(why), "{arguments:?}: {code} {said}");
        }
    }

    let end = async |outcome: &str| {
        let claimed = edge.commands.claim_bulk_run("a test", bulk_qa::LEASE, Some(BulkAction::ApplySuite)).await.unwrap().expect("a run");
        bulk_qa::work_off(&edge, &claimed).await;
        let (_, run) = edge.get(&format!("/api/v1/data-ops/bulk-runs/{}", claimed.run_id)).await;
        assert_eq!((&run["skipped_count"], &run["causes"][0]["cause"]), (&json!(2), &json!(outcome)), "{run}");
    };
    let (code, said) = both.server(&["suites", "apply", "default", "--all", "--yes"]).await;
    assert!(code == 0 && said.starts_with("Watch it: keystone bulk-runs watch apply_suite_"), "{said}");
    let (code, said) = both.on_database.tool(&["suites", "apply", "default", "--status", "pending_qa", "--yes"]).await;
    assert!(code != 0 && said.contains("apply suite already running"), "{said}");
    end("not_measured").await;

    // Measured now; but one of the site's is for this procedure.
    for id in [1, 2] {
        assert_eq!(edge.post(&format!("/api/v1/qa/episodes/{id}/run"), Value::Null).await.0, 200);
    }
    let mut suite = edge.get("/api/v1/qa/suites/default").await.1;
    (suite["name"], suite["scope"]) = (json!("of-a-procedure"), json!({ "kind": "sop", "id": seed.sop }));
    let of_sop = edge.create("/api/v1/qa/suites", suite.clone()).await["id"].clone();
    let of_sop = of_sop.as_str().expect("an id");
    assert_eq!(edge.post(&format!("/api/v1/qa/suites/{of_sop}/activate"), Value::Null).await.0, 200);
    let told = both.say("suites apply default --all").await;
    assert!(told.starts_with("0 of 2 episodes would be judged by it\n  skipped, other_suite: 2\n"), "{told}");
    assert!(both.say(&format!("suites apply {of_sop} --all")).await.starts_with("2 of 2 episodes"));
    assert!(both.say(&format!("suites apply {of_sop} --sop 999")).await.starts_with("0 of 0 episodes"));
    let (code, said) = both.on_database.tool(&["suites", "apply", "default", "--all", "--yes", "--expected-count", "2"]).await;
    assert!(code == 0, "{said}");
    end("other_suite").await;
}
