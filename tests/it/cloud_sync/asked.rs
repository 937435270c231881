//! What is asked for over HTTP: queued, watched, switched, paused.

use std::time::Duration;

use keystone_edge::dispatcher::Backoff;
use keystone_edge::subscribers::cloud_sync::RetryTerms;
use serde_json::{Value, json};

use super::{Site, large, refusing_receiver, small};
use crate::harness::edge::TestEdge;
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_episode_is_pushed_and_everything_says_so() {
    let site = Site::with(vec![large(12)]).await;
    let id = site.episodes[0];
    let before = site.status(id).await;
    assert_eq!((&before["id"], &before["status"], &before["attempt_count"]), (&json!(0), &json!("not_started"), &json!(0)));
    let (status, said) = site.edge.post(&format!("/api/v1/sync/episodes/{id}"), json!({})).await;
    assert_eq!((status, &said["status"], &said["episode_id"]), (202, &json!("accepted"), &json!(id.0)), "{said}");
    let again = site.edge.post(&format!("/api/v1/sync/episodes/{id}"), json!({})).await;
    assert_eq!((again.0, &again.1["status"], &again.1["episode_id"]), (409, &json!("already_queued"), &json!(id.0)), "{}", again.1);
    assert_eq!(site.status(id).await["status"], "pending");

    let worker = site.worker("w");
    let done = site.until_status(id, "completed").await;
    worker.stop().await;
    let size = site.recordings[0].mcap.len();
    assert_eq!((&done["bytes_transferred"], &done["attempt_count"], &done["cloud_synced"]), (&json!(size), &json!(1), &json!(true)));
    assert!(done.get("progress").is_none() && done.get("error_message").is_none() && done.get("next_retry_at").is_none(), "{done}");
    assert_eq!(done["destinations"]["s3"]["object"]["proof"], "sha256_of_parts", "{done}");
    site.assert_all_there_once().await;
    let object = site.object(0).await.expect("an object");
    assert_eq!((object.parts, object.received_bytes, object.resent_bytes), (3, size as u64, 0));
    let sidecar = site.report().await.objects.into_iter().find(|object| object.key.ends_with(".json")).expect("a sidecar");
    assert_eq!(sidecar.bytes, site.recordings[0].sidecar.as_ref().map(|sidecar| sidecar.len() as u64));

    let synced = site.edge.post(&format!("/api/v1/sync/episodes/{id}"), json!({})).await;
    assert_eq!((synced.0, &synced.1["code"]), (409, &json!("synced_already")));
    assert!(synced.1["error"].as_str().unwrap().starts_with("episode already synced to cloud; since episode_synced"), "{}", synced.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_queued_is_refused_by_its_reason() {
    let site = Site::unapproved(vec![small()]).await;
    let id = site.episodes[0];
    let ask = async |path: String| site.edge.post(&path, json!({})).await;
    let one = format!("/api/v1/sync/episodes/{id}");
    let (status, said) = ask(one.clone()).await;
    assert_eq!((status, &said["code"]), (400, &json!("sync_not_approved")), "{said}");
    assert!(said["error"].as_str().unwrap().contains("pending_qa"), "{said}");
    assert_eq!(ask(format!("{one}/resync")).await.1["code"], "sync_never_done");
    assert_eq!(ask("/api/v1/sync/episodes/999".into()).await.0, 404);
    assert_eq!((ask("/api/v1/sync/episodes/x".into()).await.0, ask("/api/v1/sync/episodes/0".into()).await.0), (400, 400));
    for (query, error) in [
        ("", "ids is required"),
        ("?ids=1,x", "ids must be comma-separated positive integers"),
        ("?ids=0", "ids must be comma-separated positive integers"),
    ] {
        let (status, said) = site.edge.get(&format!("/api/v1/sync/episode-statuses{query}")).await;
        assert_eq!((status, &said["error"]), (400, &json!(error)));
    }
    let many: Vec<String> = (1..=51).map(|n| n.to_string()).collect();
    let (status, said) = site.edge.get(&format!("/api/v1/sync/episode-statuses?ids={}", many.join(","))).await;
    assert_eq!((status, &said["error"]), (400, &json!("ids must contain at most 50 values")));
    let (status, said) = site.edge.get(&format!("/api/v1/sync/episode-statuses?ids=77,{id},{id}")).await;
    assert_eq!((status, said["items"].as_array().unwrap().len()), (200, 1));
    assert_eq!(said["errors"], json!([{"episode_id": 77, "error": "episode not found"}]));
    assert_eq!(site.edge.get("/api/v1/sync/episodes/999/logs").await.1["items"], json!([]));
    assert_eq!(site.edge.get("/api/v1/sync/episodes?status=lost").await.1["items"], json!([]));

    // Where there is no cloud.
    let edge = TestEdge::start().await;
    for path in ["/api/v1/sync/episodes", "/api/v1/sync/episodes/1", "/api/v1/sync/episodes/1/resync"] {
        let (status, said) = edge.post(path, json!({})).await;
        assert_eq!((status, &said["error"]), (503, &json!("sync worker is not configured")), "{path}");
    }
    let (_, config) = edge.get("/api/v1/sync/config").await;
    assert_eq!(
        (&config["worker_running"], &config["auto_scan_enabled"], &config["max_retries"]),
        (&json!(false), &json!(false), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resync_pushes_once_more_and_what_lost_its_approval_is_told() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let worker = site.worker("w");
    site.queue(id).await;
    site.until_status(id, "completed").await;
    let (status, said) = site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await;
    assert_eq!(status, 202, "{said}");
    until("a second object", async || site.object(0).await.is_some_and(|object| object.completed == 2)).await;
    let done = site.until_status(id, "completed").await;
    assert_eq!(done["reason"], "resync");
    assert_eq!(site.logs(id).await.len(), 2);
    let (_, summary) = site.edge.get("/api/v1/sync/episodes/summary?status=completed").await;
    let one = &summary["items"][0];
    assert_eq!((&summary["total"], &one["sync_log_count"], &one["total_attempt_count"]), (&json!(1), &json!(2), &json!(2)), "{summary}");

    site.reopen(id).await;
    assert_eq!(site.status(id).await["cloud_outdated"], true);
    for (outdated, total) in [("true", 1), ("false", 0)] {
        assert_eq!(site.edge.get(&format!("/api/v1/episodes?cloud_outdated={outdated}")).await.1["total"], total);
    }
    let events = site.number("select count(*) from events where event_type = 'synced_episode_unapproved'").await;
    assert_eq!(events, 1);
    let (status, said) = site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await;
    assert_eq!((status, &said["code"]), (400, &json!("sync_not_approved")), "{said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approval_alone_queues_nothing_until_it_is_switched_on() {
    let site = Site::with((0..3).map(|_| small()).collect()).await;
    let (queue, worker) = (site.queue_worker(false), site.worker("w"));
    until("what was approved is looked at", async || {
        site.number("select count(*) from outbox where subscriber = 'cloud_queue'").await == 0
    })
    .await;
    assert_eq!(site.number("select count(*) from sync_chains").await, 0);
    let switch = async |body: Value| site.edge.send_as(&site.edge.admin, "PUT", "/api/v1/sync/config", body).await;
    let (status, said) = switch(json!({"auto_scan_enabled": true, "expected_revision_id": 7})).await;
    assert_eq!((status, &said["code"], &said["revision_id"]), (409, &json!("config_changed"), &json!(0)), "{said}");
    let (status, config) = switch(json!({"auto_scan_enabled": true, "expected_revision_id": 0})).await;
    assert_eq!((status, &config["auto_scan_enabled"], &config["revision_id"]), (200, &json!(true), &json!(1)), "{config}");
    // What was approved before, too.
    site.until_synced().await;
    assert!(site.logs(site.episodes[0]).await.iter().all(|log| log["reason"] == "auto_scan"));
    let (_, config) = switch(json!({"auto_scan_enabled": false})).await;
    assert_eq!((&config["auto_scan_enabled"], &config["revision_id"]), (&json!(false), &json!(2)));
    assert_eq!(switch(json!({})).await.0, 400);
    queue.stop().await;
    worker.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_paused_gets_nothing_and_goes_on_afterwards() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let pause = |what: &'static str| format!("/api/v1/sync/destinations/s3/{what}");
    let (status, config) = site.edge.post(&pause("pause"), json!({"reason": "the line is needed"})).await;
    assert_eq!((status, &config["destinations"][0]["paused_reason"]), (200, &json!("the line is needed")), "{config}");
    assert_eq!(site.edge.post("/api/v1/sync/destinations/gateway/pause", json!({"reason": "x"})).await.0, 404);
    assert_eq!(site.edge.post(&pause("pause"), json!({})).await.0, 400);
    let worker = site.worker("w");
    site.queue(id).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(site.status(id).await["status"], "pending");
    let (_, config) = site.edge.post(&pause("resume"), json!({})).await;
    assert_eq!(config["destinations"][0]["paused"], false);
    let done = site.until_status(id, "completed").await;
    assert_eq!(done["attempt_count"], 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_another_one_supersedes_leaves_no_progress() {
    let mut site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let minute = Duration::from_secs(60);
    site.terms.retry = RetryTerms { backoff: Backoff::exponential(minute, minute), jitter: Some(Duration::ZERO) };
    let receiver = refusing_receiver("").await;
    site.queue(id).await;
    let worker = site.worker_with("w", |settings| settings.receiver = Some((receiver, None)), None);
    site.until_status(id, "failed").await;
    worker.stop().await;
    // As it is told of one that takes longer than a second.
    let told =
        "insert into sync_progress (chain_id, cloud, done_bytes, total_bytes) select id, 's3', 1, 2 from sync_chains returning done_bytes";
    assert_eq!(site.number(told).await, 1);
    site.queue(id).await;
    assert_eq!(site.logs(id).await[1]["given_up"], "superseded");
    assert_eq!(site.number("select count(*) from sync_progress").await, 0);
}
