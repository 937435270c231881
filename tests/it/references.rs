//! What is usual in good recordings: learned from them, named by verdicts, and where to look first. The same by the command line.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, transfer_of};
use crate::harness::server::PASSWORD;
use crate::judging::{TOPICS, judged, recorded};

async fn ask(bench: &Bench, method: Method, path: &str, body: Value) -> (u16, Value) {
    let body = (!body.is_null()).then_some(&body);
    let reply = bench.client.call(method, path, body).await.expect("an answer");
    (reply.status.as_u16(), reply.body)
}

/// The verdict of the last run of an episode, with its reference and what one check said.
async fn last_run(bench: &Bench, episode: &Value, check: &str) -> (Option<i64>, Value) {
    let sql = "select reference_id, (select c from jsonb_array_elements(checks) c where c ->> 'name' = $2) from qa_runs \
               where episode_id = $1 order by id desc limit 1";
    let client = bench.server.database().await.get().await.expect("a connection");
    let row = client.query_one(sql, &[&episode["id"].as_i64().expect("an id"), &check]).await.expect("a run");
    (row.get(0), row.get::<_, Option<Value>>(1).unwrap_or_default())
}

/// What the program says on the database, and the same at the server.
async fn say(bench: &Bench, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let of_database = bench.server.tool(&arguments).await;
    let base = bench.server.base();
    let password = bench.server.folder.join("password");
    std::fs::write(&password, PASSWORD).expect("a file");
    let there = ["--server", &base, "--password-file", password.to_str().expect("a path")];
    let of_server = bench.server.tool(&[arguments.as_slice(), &there].concat()).await;
    assert_eq!(of_server, of_database, "{arguments:?}");
    assert_eq!(of_server.0, 0, "{arguments:?}: {}", of_server.1);
    of_server.1
}

#[tokio::test]
async fn what_is_usual_is_learned_from_good_episodes_and_the_odd_one_is_looked_at_first() {
    let bench = Bench::start().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(24).await;
    let mut good = vec![];
    for (n, task) in (0..).zip(&tasks[..19]) {
        good.push(judged(&bench, &mut transfer, task, &recorded(&TOPICS, 5 + n % 3)).await);
    }
    assert!(good.iter().all(|episode| episode["qa_status"] == "approved"), "{good:?}");
    assert_eq!(last_run(&bench, &good[18], "episode_outlier").await, (None, Value::Null), "there is no reference");
    let database = bench.server.database().await.get().await.expect("a connection");
    let sop: i64 = database.query_one("select distinct sop_id from episodes", &[]).await.expect("a SOP").get(0);

    let (status, few) = ask(&bench, Method::POST, "/qa/references", json!({ "sop_id": sop })).await;
    assert_eq!((status, &few["code"]), (409, &json!("reference_too_few")), "{few}");
    assert_eq!((&few["approved_count"], &few["needed_count"]), (&json!(19), &json!(20)), "{few}");
    for (body, status) in [
        (json!({ "sop_id": 999 }), 400),
        (json!({ "sop_id": sop, "robot_type_id": 999 }), 404),
        (json!({ "sop_id": sop, "episodes": 3 }), 400),
        (json!({}), 400),
        (json!({ "sop_id": sop, "created_at_from": "2026-01-02T00:00:00Z", "created_at_to": "2026-01-01T00:00:00Z" }), 400),
    ] {
        let answer = ask(&bench, Method::POST, "/qa/references", body.clone()).await;
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
    }

    good.push(judged(&bench, &mut transfer, &tasks[19], &recorded(&TOPICS, 6)).await);
    let (status, made) = ask(&bench, Method::POST, "/qa/references", json!({ "sop_id": sop, "note": "A good week" })).await;
    assert_eq!((status, &made["version"], &made["robot_type_id"]), (201, &json!(1), &Value::Null), "{made}");
    let (first, last) = (&good[0]["id"], &good[19]["id"]);
    assert_eq!(made["made_from"], json!({ "episodes": 20, "first_episode": first, "last_episode": last, "from": null, "to": null }));
    let length = json!({ "measure": "length", "episodes": 20, "q1": 5000, "median": 6000, "q3": 7000, "mad": 1000 });
    assert_eq!(made["figures"]["items"][0], length, "{made}");
    assert_eq!(made["topics"]["items"].as_array().map(Vec::len), Some(TOPICS.len()));
    let id = made["id"].as_i64().expect("an id");
    assert_eq!(ask(&bench, Method::GET, &format!("/qa/references/{id}"), Value::Null).await, (200, made.clone()));
    assert_eq!(ask(&bench, Method::GET, "/qa/references/999", Value::Null).await.0, 404);

    // From now on episodes are compared with it, and say so.
    let usual = judged(&bench, &mut transfer, &tasks[20], &recorded(&TOPICS, 6)).await;
    let (reference, check) = last_run(&bench, &usual, "episode_outlier").await;
    assert_eq!((reference, &check["result"]), (Some(id), &json!("pass")), "{check}");
    let odd = judged(&bench, &mut transfer, &tasks[21], &recorded(&TOPICS, 60)).await;
    let (reference, check) = last_run(&bench, &odd, "episode_outlier").await;
    assert_eq!((reference, &check["result"]), (Some(id), &json!("warn")), "{check}");
    assert_eq!(check["details"], "the recording takes 60.0 s, usual is 6.0 s");
    // What was judged before stays, until it is judged again.
    assert_eq!(last_run(&bench, &good[0], "episode_outlier").await.0, None);
    let (status, again) = ask(&bench, Method::POST, &format!("/qa/episodes/{}/run", good[0]["id"]), Value::Null).await;
    assert_eq!((status, &again["reference_id"], &again["verdict"]), (200, &json!(id), &json!("approved")), "{again}");
    let (_, what_if) = ask(&bench, Method::POST, "/qa/suites/default/what-if", json!({})).await;
    assert_eq!((&what_if["judged_count"], &what_if["changed_count"]), (&json!(22), &json!(0)), "a what-if compares as runs do: {what_if}");

    let (status, ranking) = ask(&bench, Method::GET, &format!("/qa/ranking?sop_id={sop}&limit=3"), Value::Null).await;
    assert_eq!((status, &ranking["total"], &ranking["looked_at_count"]), (200, &json!(22), &json!(22)), "{ranking}");
    assert_eq!((&ranking["against"], &ranking["reference_id"]), (&json!("reference"), &json!(id)));
    let episodes = ranking["episodes"].as_array().expect("episodes");
    assert_eq!((episodes.len(), &episodes[0]["id"]), (3, &odd["id"]), "{ranking}");
    assert_eq!(episodes[0]["reasons"][0]["text"], "the recording takes 60.0 s, usual is 6.0 s");
    assert_eq!((&episodes[0]["reasons"][0]["value"], &episodes[1]["reasons"]), (&json!(60_000), &json!([])), "{ranking}");
    let (_, among) = ask(&bench, Method::GET, &format!("/qa/ranking?sop_id={sop}&against=selection"), Value::Null).await;
    assert_eq!((&among["against"], &among["reference_id"], &among["episodes"][0]["id"]), (&json!("selection"), &Value::Null, &odd["id"]));
    assert_eq!(among["episodes"].as_array().map(Vec::len), Some(8));
    for (query, total) in [
        (format!("sop_id={sop}&workstation_id=999"), 0),
        (format!("sop_id={sop}&robot_type_id=999"), 0),
        (format!("sop_id={sop}&from=2500-01-01T00:00:00Z"), 0),
        (format!("sop_id={sop}&to=2500-01-01T00:00:00Z"), 22),
        ("sop_id=999".to_owned(), 0),
    ] {
        let (status, found) = ask(&bench, Method::GET, &format!("/qa/ranking?{query}"), Value::Null).await;
        assert_eq!((status, &found["total"]), (200, &json!(total)), "{query}: {found}");
    }
    let sop_of = format!("sop_id={sop}");
    for wrong in ["", "sop_id=x", "sop_id=0", "sop_id=1&limit=101", "sop_id=1&against=fate", "sop_id=1&from=now", "sop_id=1&factory=1"] {
        assert_eq!(ask(&bench, Method::GET, &format!("/qa/ranking?{wrong}"), Value::Null).await.0, 400, "{wrong}");
    }

    let station = bench.made.stations[0].station_id;
    let (status, drift) = ask(&bench, Method::GET, &format!("/qa/drift?workstation_id={station}"), Value::Null).await;
    assert_eq!((status, &drift["looked_at_count"], &drift["enough"]), (200, &json!(22), &json!(true)), "{drift}");
    assert_eq!((&drift["sop_id"], &drift["other_sops_count"]), (&json!(sop.to_string()), &json!(0)), "{drift}");
    // Here all recordings end within seconds, so the longest ones began first: nothing but their length can have changed.
    let changes = drift["changes"].as_array().expect("changes");
    assert!(changes.iter().all(|change| change["measure"] == "length"), "{drift}");
    let (_, none) =
        ask(&bench, Method::GET, &format!("/qa/drift?workstation_id={station}&{sop_of}&from=2500-01-01T00:00:00Z"), Value::Null).await;
    assert_eq!((&none["looked_at_count"], &none["begins_at"], &none["enough"]), (&json!(0), &Value::Null, &json!(false)), "{none}");
    for wrong in ["", "workstation_id=1&hours=25", "workstation_id=1&hours=0", "workstation_id=1&to=2026-01-01T00:00:00Z"] {
        assert_eq!(ask(&bench, Method::GET, &format!("/qa/drift?{wrong}"), Value::Null).await.0, 400, "{wrong}");
    }

    // The command line says the same on the database and at a server.
    let told = say(&bench, &format!("ranking --sop {sop} --limit 2")).await;
    assert!(told.starts_with(&format!("22 of 22 episodes compared with reference {id}\n")), "{told}");
    assert!(
        told.contains("the recording takes 60.0 s, usual is 6.0 s") && told.contains(odd["episode_id"].as_str().expect("an id")),
        "{told}"
    );
    assert_eq!(serde_json::from_str::<Value>(&say(&bench, &format!("ranking --sop {sop} --limit 3 --json")).await).ok(), Some(ranking));
    assert!(
        say(&bench, &format!("ranking --sop {sop} --among-themselves")).await.starts_with("22 of 22 episodes compared with each other\n")
    );
    let drifted = say(&bench, &format!("drift --station {station}")).await;
    let changed = changes.first().map_or("the last quarter is as the first", |change| change["text"].as_str().expect("a text"));
    assert!(drifted.starts_with(&format!("22 episodes of SOP {sop} from ")) && drifted.ends_with(&format!("{changed}\n")), "{drifted}");
    assert_eq!(say(&bench, "drift --station 999").await, "there is no shift with episodes that were measured\n");
    let shown = say(&bench, &format!("references show {id}")).await;
    assert_eq!(serde_json::from_str::<Value>(&shown).ok(), Some(made));
    let (code, second) = bench.server.tool(&["references", "make", "--sop", &sop.to_string(), "--note", "by hand"]).await;
    assert!(code == 0 && second.contains("version 2") && second.contains("length"), "{second}");
    let listed = say(&bench, &format!("references list --sop {sop}")).await;
    assert!(listed.lines().count() == 2 && listed.contains("A good week") && listed.contains("by hand"), "{listed}");
    assert_eq!(say(&bench, "references list --robot-type 999").await, "");

    // A local file is compared with what was exported.
    let file = |name: &str| bench.server.folder.join(name).to_str().expect("a path").to_owned();
    let (reference, odd) = (file("good.json"), file("odd.mcap"));
    std::fs::write(&reference, shown).expect("a file");
    std::fs::write(&odd, recorded(&TOPICS, 60).mcap).expect("a file");
    let (_, said) = bench.server.tool(&["qa", "--json", "--reference", &reference, &odd]).await;
    let judgement = serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}"))["judgement"].take();
    assert_eq!(judgement["reference"], json!({ "id": id, "version": 1 }));
    let checks = judgement["checks"].as_array().expect("checks");
    let outlier = checks.iter().find(|check| check["name"] == "episode_outlier").expect("the check");
    assert_eq!(outlier["result"], "warn", "{outlier}");
    let (code, said) = bench.server.tool(&["qa", "--reference", &odd, &odd]).await;
    assert!(code != 0 && said.contains("is not the JSON of a reference"), "{code} {said}");

    // The same bytes once more are no second recording, once there is something to compare with.
    let twice = recorded(&TOPICS, 6);
    let once = judged(&bench, &mut transfer, &tasks[22], &twice).await;
    assert_eq!(last_run(&bench, &once, "duplicate_content").await.1["result"], "pass");
    let again = judged(&bench, &mut transfer, &tasks[23], &twice).await;
    let why = format!("the earlier episode {} has the same content", once["episode_id"].as_str().expect("an id"));
    assert_eq!((&again["qa_status"], &again["quality_flag"]), (&json!("failed"), &json!(why)), "{again}");
    let (_, what_if) = ask(&bench, Method::POST, "/qa/suites/default/what-if", json!({})).await;
    assert_eq!((&what_if["judged_count"], &what_if["changed_count"]), (&json!(24), &json!(0)), "{what_if}");

    let rebuilt = keystone_edge::projections::rebuild::rebuild(&bench.server.database().await).await.expect("a rebuild");
    assert_eq!(rebuilt.differences, []);
}
