//! Bulk runs: accepted, worked off by any process, continued after a crash, cancelled; dead letters as the first kind.

use std::time::Duration;

use keystone_edge::commands::bulk_runs::{ClaimedRun, Piece, WorkOnBulkRun};
use keystone_edge::outbox::{DeadReason, Settlement, settle};
use keystone_edge::pg::get;
use keystone_edge::projections::rebuild::rebuild;
use serde_json::{Value, json};

use crate::harness::edge::TestEdge;
use crate::outbox::{number, rows, take, waiting};

const RUNS: &str = "/api/v1/data-ops/bulk-runs";
const LEASE: Duration = Duration::from_secs(30);

/// An edge with so many letters.
async fn with_letters(letters: i64) -> TestEdge {
    let edge = TestEdge::start().await;
    let pool = &edge.database.pool;
    rows("many", 1..=letters).queue(pool).await;
    let dead = || Settlement::Dead { reason: DeadReason::AttemptsUsedUp, error: "no answer".into(), blocks_stream: false };
    let done: Vec<_> = take(pool, 60_000, 100_000).await.iter().map(|row| (row.outbox_id, row.epoch, dead())).collect();
    settle(&get(pool).await.unwrap(), &done).await.unwrap();
    edge
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
    edge.commands.claim_bulk_run("a test", lease).await.unwrap()
}

async fn piece(edge: &TestEdge, run: &ClaimedRun) -> Piece {
    edge.execute(WorkOnBulkRun { run: run.clone(), lease: LEASE, given_up: None }).await
}

#[tokio::test]
async fn a_run_is_worked_off_piece_by_piece_and_goes_on_after_a_crash() {
    let edge = with_letters(450).await;
    let accepted = accept(&edge, 1000).await;
    assert_eq!((&accepted["status"], &accepted["total_count"], &accepted["started_at"]), (&json!("queued"), &json!(450), &Value::Null));
    // A process that dies after its first piece.
    let dies = claim(&edge, Duration::ZERO).await.expect("a run");
    assert_eq!(
        edge.execute(WorkOnBulkRun { run: dies.clone(), lease: Duration::ZERO, given_up: None }).await,
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
    assert_eq!(edge.execute(WorkOnBulkRun { run: claimed, lease: LEASE, given_up: Some("broken".into()) }).await, Piece::Over);
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
    let (_, list) = edge.get(&format!("{RUNS}?active=false")).await;
    assert_eq!(list["total"], 2);
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
