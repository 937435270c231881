//! Bulk runs: accepted, worked off by any process, continued after a crash, cancelled; dead letters as the first kind.

use std::time::Duration;

use keystone_edge::commands::bulk_runs::{ClaimedRun, Piece, WorkOnBulkRun};
use keystone_edge::outbox::{DeadReason, Settlement, settle};
use keystone_edge::pg::get;
use keystone_edge::projections::rebuild::rebuild;
use serde_json::{Value, json};

use crate::events_remote::Both;
use crate::harness::edge::TestEdge;
use crate::harness::sse::Sse;
use crate::harness::temp_folder;
use crate::outbox::{number, rows, take, waiting};

const RUNS: &str = "/api/v1/data-ops/bulk-runs";
const LEASE: Duration = Duration::from_secs(30);

/// An edge with so many letters.
async fn with_letters(many: i64) -> TestEdge {
    let edge = TestEdge::start().await;
    letters(&edge, many).await;
    edge
}

async fn letters(edge: &TestEdge, many: i64) {
    letters_of(edge, "many", many).await;
}

async fn letters_of(edge: &TestEdge, stream: &str, many: i64) {
    let pool = &edge.database.pool;
    rows(stream, 1..=many).queue(pool).await;
    let dead = || Settlement::Dead { reason: DeadReason::AttemptsUsedUp, error: "no answer".into(), blocks_stream: false };
    let done: Vec<_> = take(pool, 60_000, 100_000).await.iter().map(|row| (row.outbox_id, row.epoch, dead())).collect();
    settle(&get(pool).await.unwrap(), &done).await.unwrap();
}

async fn accept(edge: &TestEdge, per_second: i64) -> Value {
    let (_, selected) = edge.post("/api/v1/dead-letters/replay/preview", json!({"everything": true})).await;
    let (status, run) =
        edge.post("/api/v1/dead-letters/replay/run", json!({"selection": selected["selection"], "per_second": per_second})).await;
    assert_eq!(status, 202, "{run}");
    run
}

async fn run(edge: &TestEdge, run: &Value) -> Value {
    edge.get(&format!("{RUNS}/{}", run["run_id"].as_str().unwrap())).await.1
}

async fn claim(edge: &TestEdge, lease: Duration) -> Option<ClaimedRun> {
    edge.commands.claim_bulk_run("a test", lease, None).await.unwrap()
}

async fn piece(edge: &TestEdge, run: &ClaimedRun) -> Piece {
    let next = WorkOnBulkRun { run: run.clone(), lease: LEASE, items_max: 200, clouds: vec![], given_up: None };
    edge.commands.execute(&run.context(), next).await.unwrap()
}

#[tokio::test]
async fn a_run_is_worked_off_piece_by_piece_and_goes_on_after_a_crash() {
    let edge = with_letters(450).await;
    let accepted = accept(&edge, 1000).await;
    assert_eq!((&accepted["status"], &accepted["total_count"], &accepted["started_at"]), (&json!("queued"), &json!(450), &Value::Null));
    // A process that dies after its first piece.
    let dies = claim(&edge, Duration::ZERO).await.expect("a run");
    assert_eq!(
        edge.execute(WorkOnBulkRun { run: dies.clone(), lease: Duration::ZERO, items_max: 200, clouds: vec![], given_up: None }).await,
        Piece::Done { pause_ms: 200 }
    );
    let after = claim(&edge, LEASE).await.expect("its lease is over");
    assert_eq!(claim(&edge, LEASE).await, None, "one process at a time");
    assert_eq!(piece(&edge, &dies).await, Piece::Lost, "it was only slow, and changes nothing");
    let halfway = run(&edge, &accepted).await;
    assert_eq!((&halfway["status"], &halfway["processed_count"], &halfway["passed_count"]), (&json!("running"), &json!(200), &json!(200)));
    assert_eq!(edge.get(&format!("{RUNS}/current?action=replay_dead_letters")).await.1["run_id"], accepted["run_id"]);
    assert!(matches!(piece(&edge, &after).await, Piece::Done { .. }));
    // An orderly stop gives it back.
    edge.commands.release_bulk_run(&after).await.unwrap();
    let last = claim(&edge, LEASE).await.expect("it is free");
    assert_eq!(piece(&edge, &last).await, Piece::Done { pause_ms: 50 });
    assert_eq!(piece(&edge, &last).await, Piece::Over);
    assert_eq!(claim(&edge, LEASE).await, None);
    let ended = run(&edge, &accepted).await;
    assert_eq!((&ended["status"], &ended["passed_count"], &ended["causes"]), (&json!("completed"), &json!(450), &json!([])), "{ended}");
    assert!(ended["started_at"].is_string() && ended["finished_at"].is_string());
    assert_eq!(waiting(&edge.database.pool).await, 450);
    assert_eq!(number(&edge.database.pool, "select count(*) from events where event_type = 'dead_letter_replayed'").await, 450);
    assert_eq!(edge.get(&format!("{RUNS}/current?action=replay_dead_letters")).await.0, 204);
    let cancelled = edge.post(&format!("{RUNS}/{}/cancel", accepted["run_id"].as_str().unwrap()), Value::Null).await;
    assert_eq!((cancelled.0, &cancelled.1["code"]), (409, &json!("bulk_run_finished")));
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_cancelled_run_leaves_the_rest_undone() {
    let edge = with_letters(30).await;
    let accepted = accept(&edge, 10).await;
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert_eq!(piece(&edge, &claimed).await, Piece::Done { pause_ms: 1000 }, "ten in a second");
    let (status, answer) = edge.post(&format!("{RUNS}/{}/cancel", accepted["run_id"].as_str().unwrap()), Value::Null).await;
    assert_eq!((status, &answer["status"]), (200, &json!("cancel_requested")), "{answer}");
    assert_eq!(piece(&edge, &claimed).await, Piece::Over);
    let ended = run(&edge, &accepted).await;
    assert_eq!((&ended["status"], &ended["processed_count"], &ended["total_count"]), (&json!("canceled"), &json!(10), &json!(30)));
    let (_, items) = edge.get(&format!("{RUNS}/{}/items?outcome=canceled", accepted["run_id"].as_str().unwrap())).await;
    assert_eq!((&items["total"], &items["items"][0]["item"]), (&json!(20), &json!("11")));
    assert_eq!(number(&edge.database.pool, "select count(*) from dead_letters where resolved_at is null").await, 20);
    // They are free for another run, also where that cannot go on.
    let accepted = accept(&edge, 10).await;
    assert_eq!(accepted["total_count"], 20);
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert_eq!(
        edge.execute(WorkOnBulkRun { run: claimed, lease: LEASE, items_max: 200, clouds: vec![], given_up: Some("broken".into()) }).await,
        Piece::Over
    );
    let ended = run(&edge, &accepted).await;
    assert_eq!((&ended["status"], &ended["error_message"], &ended["processed_count"]), (&json!("failed"), &json!("broken"), &json!(0)));
    assert_eq!(accept(&edge, 10).await["total_count"], 20);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_another_run_does_or_nobody_can_do_is_skipped_and_says_why() {
    let edge = with_letters(5).await;
    let first = accept(&edge, 100).await;
    let second = accept(&edge, 100).await;
    assert_eq!((&second["status"], &second["skipped_count"]), (&json!("completed"), &json!(5)), "all of it waits in the first: {second}");
    assert_eq!(run(&edge, &second).await["causes"], json!([{"outcome": "skipped", "cause": "active_in_another_run", "count": 5}]));
    let (_, items) = edge.get(&format!("{RUNS}/{}/items", second["run_id"].as_str().unwrap())).await;
    assert_eq!((&items["total"], &items["items"][0]["item"], &items["items"][0]["outcome"]), (&json!(5), &json!("1"), &json!("skipped")));
    // One that is new beside them is done, and the others keep their places.
    letters_of(&edge, "more", 1).await;
    let third = accept(&edge, 100).await;
    assert_eq!((&third["total_count"], &third["skipped_count"], &third["status"]), (&json!(6), &json!(5), &json!("queued")), "{third}");
    let (_, waits) = edge.get(&format!("{RUNS}/{}/items", third["run_id"].as_str().unwrap())).await;
    let places: Vec<_> = waits["items"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap_or("waits")).collect();
    assert_eq!(places, ["skipped", "skipped", "skipped", "skipped", "skipped", "waits"], "{waits}");
    assert_eq!(edge.post(&format!("{RUNS}/{}/cancel", third["run_id"].as_str().unwrap()), Value::Null).await.0, 200);
    edge.post("/api/v1/dead-letters/2/resolve", json!({"reason": "no"})).await;
    edge.post("/api/v1/dead-letters/3/replay", Value::Null).await;
    // It dies again: another death than the one that was selected.
    let again = take(&edge.database.pool, 60_000, 10).await.remove(0);
    let dead = Settlement::Dead { reason: DeadReason::Expired, error: "again".into(), blocks_stream: false };
    settle(&get(&edge.database.pool).await.unwrap(), &[(again.outbox_id, again.epoch, dead)]).await.unwrap();
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert!(matches!(piece(&edge, &claimed).await, Piece::Done { .. }));
    assert_eq!(piece(&edge, &claimed).await, Piece::Over);
    let ended = run(&edge, &first).await;
    assert_eq!((&ended["passed_count"], &ended["skipped_count"]), (&json!(3), &json!(2)), "{ended}");
    let causes =
        json!([{"outcome": "skipped", "cause": "died_again", "count": 1}, {"outcome": "skipped", "cause": "letter_resolved", "count": 1}]);
    assert_eq!(ended["causes"], causes);
    let by_whom = "select count(*) from events where event_type = 'dead_letter_replayed' and metadata ->> 'actor' = 'user:admin'
                   and metadata ->> 'causation_id' = 'bulk_run/' || $1 || '/1' and metadata ->> 'correlation_id' = (
                       select metadata ->> 'correlation_id' from events where aggregate_id = $1 and sequence = 1)";
    let client = edge.database.pool.get().await.unwrap();
    let replayed: i64 = client.query_one(by_whom, &[&first["run_id"].as_str().unwrap()]).await.unwrap().get(0);
    assert_eq!(replayed, 3, "by who asked, because it was asked");
    let cancelled = claim(&edge, LEASE).await.expect("the third run");
    assert_eq!(piece(&edge, &cancelled).await, Piece::Over);
    let (_, list) = edge.get(&format!("{RUNS}?active=false")).await;
    assert_eq!(list["total"], 3);
    assert_eq!(edge.get(&format!("{RUNS}/nothing")).await.0, 404);
    assert_eq!(edge.post(&format!("{RUNS}/nothing/cancel"), Value::Null).await.0, 404);
    assert_eq!(edge.get(&format!("{RUNS}/current?action=weather")).await.0, 400);
    assert_eq!(rebuild(&edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_run_of_which_nothing_can_be_done_any_more_comes_to_its_end() {
    let edge = with_letters(3).await;
    let accepted = accept(&edge, 10).await;
    for id in 1..=3 {
        assert_eq!(edge.post(&format!("/api/v1/dead-letters/{id}/resolve"), json!({"reason": "gone"})).await.0, 200);
    }
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert!(matches!(piece(&edge, &claimed).await, Piece::Done { .. }));
    assert_eq!(piece(&edge, &claimed).await, Piece::Over, "a piece without an event is kept, too");
    let ended = run(&edge, &accepted).await;
    assert_eq!((&ended["status"], &ended["skipped_count"]), (&json!("completed"), &json!(3)), "{ended}");
}

async fn watch(edge: &TestEdge, run: &Value) -> Sse {
    Sse::open(edge.request(&edge.admin, "GET", &format!("{RUNS}/{}/stream", run["run_id"].as_str().unwrap()))).await
}

/// The next event that is no heartbeat: its name, how many things were worked on, and the status. None: the end.
async fn told(stream: &mut Sse) -> Option<(String, i64, String)> {
    loop {
        let event = stream.told().await?;
        let data = event.json();
        assert_eq!(event.id, None, "the contract's frames have no id");
        if event.name == "ping" {
            assert!(data["ts"].as_str().is_some_and(|ts| chrono::DateTime::parse_from_rfc3339(ts).is_ok()), "{data}");
            continue;
        }
        return Some((event.name, data["processed_count"].as_i64().unwrap(), data["status"].as_str().unwrap().to_owned()));
    }
}

fn event(name: &str, processed: i64, status: &str) -> Option<(String, i64, String)> {
    Some((format!("bulk_run_{name}"), processed, status.to_owned()))
}

#[tokio::test]
async fn a_watcher_is_told_how_far_a_run_is_and_of_its_end() {
    let edge = with_letters(250).await;
    let accepted = accept(&edge, 1000).await;
    let mut early = watch(&edge, &accepted).await;
    assert_eq!(told(&mut early).await, event("snapshot", 0, "queued"));
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert!(matches!(piece(&edge, &claimed).await, Piece::Done { .. }));
    assert_eq!(told(&mut early).await, event("progress", 200, "running"), "that it began is no result");
    let mut late = watch(&edge, &accepted).await;
    assert_eq!(told(&mut late).await, event("snapshot", 200, "running"));
    assert!(matches!(piece(&edge, &claimed).await, Piece::Done { .. }));
    assert_eq!(told(&mut late).await, event("progress", 250, "running"));
    assert_eq!(piece(&edge, &claimed).await, Piece::Over);
    // One that was slow misses states in between, and not the end.
    tokio::time::sleep(Duration::from_millis(600)).await;
    for stream in [&mut early, &mut late] {
        let mut last = told(stream).await;
        if last == event("progress", 250, "running") {
            last = told(stream).await;
        }
        assert_eq!((last, told(stream).await), (event("completed", 250, "completed"), None));
    }
    let mut after = watch(&edge, &accepted).await;
    let all = (told(&mut after).await, told(&mut after).await, told(&mut after).await);
    assert_eq!(all, (event("snapshot", 250, "completed"), event("completed", 250, "completed"), None));
    let shown = run(&edge, &accepted).await;
    let mut again = watch(&edge, &accepted).await;
    let mut snapshot = again.told().await.unwrap().json();
    snapshot["causes"] = json!([]);
    assert_eq!(snapshot, shown, "the same as the route of the run tells");
    let (status, none) = edge.get(&format!("{RUNS}/nothing/stream")).await;
    assert_eq!((status, &none["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn a_watcher_is_told_that_a_run_is_cancelled_and_hears_its_heart() {
    let edge = TestEdge::start_with(|settings| settings.streams.heartbeat = Duration::from_millis(50)).await;
    letters(&edge, 30).await;
    let accepted = accept(&edge, 10).await;
    let mut stream = watch(&edge, &accepted).await;
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert_eq!(told(&mut stream).await, event("snapshot", 0, "queued"));
    edge.post(&format!("{RUNS}/{}/cancel", accepted["run_id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(told(&mut stream).await, event("progress", 0, "cancel_requested"));
    assert_eq!(stream.told().await.unwrap().name, "ping");
    assert_eq!(piece(&edge, &claimed).await, Piece::Over);
    assert_eq!(told(&mut stream).await, event("canceled", 0, "canceled"));
    assert_eq!((told(&mut stream).await, stream.comments), (None, 0));
}

#[tokio::test]
async fn the_command_line_shows_watches_and_cancels_runs_here_and_at_a_server() {
    let edge = with_letters(250).await;
    let accepted = accept(&edge, 1000).await;
    let id = accepted["run_id"].as_str().unwrap();
    let folder = temp_folder();
    let both = Both::of(&edge, folder.path());
    let queued = format!("{id}  queued  0 of 250");
    for (arguments, contains) in [
        ("bulk-runs list --active".to_owned(), queued.as_str()),
        ("bulk-runs list --action replay_dead_letters --json".to_owned(), "\"queued\""),
        (format!("bulk-runs show {id}"), "\"causes\": []"),
        (format!("bulk-runs items {id} --limit 120"), "120 of 250 items\nMore: --after "),
    ] {
        let said = both.say(&arguments).await;
        assert!(said.contains(contains), "{arguments}: {said}");
    }
    let watching = ["bulk-runs", "watch", id];
    let worked = async {
        let claimed = claim(&edge, LEASE).await.expect("a run");
        // Both watch before there is something to see.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        while !matches!(piece(&edge, &claimed).await, Piece::Over) {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
    };
    let (here, there, ()) = tokio::join!(both.on_database.tool(&watching), both.server(&watching), worked);
    let done =
        format!("{id}  running  200 of 250: 200 passed\n{id}  running  250 of 250: 250 passed\n{id}  completed  250 of 250: 250 passed\n");
    for (code, said) in [&here, &there] {
        assert!(*code == 0 && said.contains(&done), "{said}");
    }
    let (code, said) = both.server(&["bulk-runs", "cancel", id]).await;
    assert_eq!((code, said.as_str()), (1, &*both.on_database.tool(&["bulk-runs", "cancel", id]).await.1));

    // Dead letters again, as a run that is cancelled.
    letters_of(&edge, "more", 3).await;
    let (_, selected) = both.server(&["dead-letters", "replay", "--everything"]).await;
    let selection = selected.trim_end().rsplit(' ').next().unwrap();
    let (code, said) = both.on_database.tool(&["dead-letters", "replay", "--selection", selection, "--as-a-run"]).await;
    let second = said.trim_end().rsplit(' ').next().unwrap();
    assert!(code == 0 && said.starts_with("Watch it: keystone bulk-runs watch replay_dead_letters_"), "{said}");
    let (code, said) = both.server(&["bulk-runs", "cancel", second]).await;
    assert!(code == 0 && said.contains("cancel_requested"), "{said}");
    let claimed = claim(&edge, LEASE).await.expect("a run");
    assert_eq!(piece(&edge, &claimed).await, Piece::Over);
    for (code, said) in [both.server(&["bulk-runs", "watch", second]).await, both.on_database.tool(&["bulk-runs", "watch", second]).await] {
        assert!(code == 1 && said.ends_with("keystone: the bulk run was cancelled\n"), "{said}");
    }
    for arguments in [&["show", "none"][..], &["items", "none"], &["cancel", "none"], &["watch", "none"]] {
        let (here, there) =
            (both.on_database.tool(&[&["bulk-runs"], arguments].concat()).await, both.server(&[&["bulk-runs"], arguments].concat()).await);
        assert_eq!((here.0, there.0), (1, 1), "{arguments:?}: {here:?} {there:?}");
    }
}

#[tokio::test]
async fn items_of_runs_that_ended_long_ago_are_swept_and_the_runs_stay() {
    let edge = with_letters(7).await;
    let pool = &edge.database.pool;
    let mut runs = vec![];
    for _ in 0..3 {
        runs.push(accept(&edge, 100).await);
        if runs.len() < 3 {
            let claimed = claim(&edge, LEASE).await.expect("a run");
            while !matches!(piece(&edge, &claimed).await, Piece::Over) {}
            letters_of(&edge, &format!("of {}", runs.len()), 5).await;
        }
    }
    // One ended long ago, one just now; one has not ended, however old it is.
    let ago = "update bulk_runs set updated_at = now() - interval '31 days' where id = any (array[$1, $2])";
    let ids: Vec<&str> = runs.iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    get(pool).await.unwrap().execute(ago, &[&ids[0], &ids[2]]).await.unwrap();
    let items = async |n: usize| edge.get(&format!("{RUNS}/{}/items", ids[n])).await.1["total"].clone();
    // What was replayed before and waits in the outbox dies with the rest.
    assert_eq!((items(0).await, items(1).await, items(2).await), (json!(7), json!(12), json!(17)));
    let stop = tokio_util::sync::CancellationToken::new();
    edge.commands.sweep_bulk_items(Duration::from_secs(32 * 24 * 3600), &stop).await.unwrap();
    assert_eq!(items(0).await, json!(7), "it is not that long ago");
    edge.commands.sweep_bulk_items(Duration::from_secs(30 * 24 * 3600), &stop).await.unwrap();
    assert_eq!((items(0).await, items(1).await, items(2).await), (json!(0), json!(12), json!(17)));
    let swept = run(&edge, &runs[0]).await;
    assert_eq!((&swept["status"], &swept["passed_count"], &swept["total_count"]), (&json!("completed"), &json!(7), &json!(7)));
}
