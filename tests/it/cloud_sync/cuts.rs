//! Lines that are cut, clouds that are away, workers that die: nothing is lost, nothing arrives twice, and what arrived is not sent again.

use std::time::Duration;

use keystone_edge::simulator::cloud::{LostAnswers, Operation};
use serde_json::json;

use super::{PART, Site, kill, large, small};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_with_the_part_it_came_to_in_another_process() {
    let site = Site::with(vec![large(30)]).await;
    let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
    site.queue(id).await;
    let slowly = |settings: &mut keystone_edge::cloud::s3::S3Settings| settings.parts_at_once = 1;
    let first = site.worker_with("first", slowly, Some(12 << 20));
    let parts = async || site.report().await.unfinished.first().map_or(0, |upload| upload.parts);
    until("two parts are there", async || parts().await >= 2).await;
    kill(first).await;
    assert_eq!(site.status(id).await["status"], "in_progress");
    let second = site.worker("second");
    let done = site.until_status(id, "completed").await;
    second.stop().await;
    assert_eq!(done["attempt_count"], 2, "a crash counts");
    site.assert_all_there_once().await;
    let object = site.object(0).await.unwrap();
    assert!(object.received_bytes <= size + PART, "{object:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_counts_no_attempt_and_loses_no_part() {
    let site = Site::with(vec![large(20)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let first = site.worker_with("first", |settings| settings.parts_at_once = 1, Some(10 << 20));
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
    first.hard.cancel();
    first.stop().await;
    let second = site.worker("second");
    assert_eq!(site.until_status(id, "completed").await["attempt_count"], 1);
    second.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_send_nothing_twice() {
    let site = Site::with(vec![large(12), small()]).await;
    let sizes: Vec<u64> = site.recordings.iter().map(|recording| recording.mcap.len() as u64).collect();
    site.faults(|faults| {
        faults.lost_answers = [Operation::Complete, Operation::Put, Operation::Tell].map(|kind| LostAnswers { kind, share: 1.0 }).to_vec();
    });
    let worker = site.worker("w");
    site.queue_all().await;
    until("both are there", async || {
        let there = [site.object(0).await, site.object(1).await];
        there.iter().all(|object| object.as_ref().is_some_and(|object| object.completed == 1))
    })
    .await;
    site.faults(|_| {});
    site.until_synced().await;
    worker.stop().await;
    site.assert_all_there_once().await;
    for (nth, size) in sizes.iter().enumerate() {
        assert_eq!(site.object(nth).await.unwrap().received_bytes, *size);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_no_attempt_and_few_questions() {
    let site = Site::with((0..4).map(|_| small()).collect()).await;
    site.faults(|faults| faults.down = true);
    let worker = site.worker("w");
    site.queue_all().await;
    until("the cloud is known to be down", async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0].get("error").is_some())
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, config) = site.edge.get("/api/v1/sync/config").await;
    let error = config["destinations"][0]["error"].as_str().expect("an error");
    assert!(error.contains("no connection") || error.contains("was cut"), "{error}");
    for episode in &site.episodes {
        let status = site.status(*episode).await;
        assert_eq!((&status["status"], &status["attempt_count"]), (&json!("pending"), &json!(0)), "{status}");
    }
    let claims = site.number("select count(*) from events where event_type = 'sync_claimed'").await;
    assert!(claims <= 4, "{claims} claims while nothing can be pushed");
    site.faults(|_| {});
    site.until_synced().await;
    worker.stop().await;
    for episode in &site.episodes {
        assert_eq!(site.status(*episode).await["attempt_count"], 1);
    }
    assert_eq!(site.edge.get("/api/v1/sync/config").await.1["destinations"][0].get("error"), None);
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_lines_and_slow_downs_cost_at_most_a_part_each() {
    let site = Site::with(vec![large(22), large(12), small(), small()]).await;
    site.faults(|faults| {
        faults.cut_connections = 0.15;
        faults.slow_downs = 0.1;
    });
    let workers = [site.worker("a"), site.worker("b")];
    site.queue_all().await;
    site.until_synced().await;
    for worker in workers {
        worker.stop().await;
    }
    let report = site.report().await;
    let cuts: u64 = report.faults.iter().filter(|(name, _)| name.contains("cut")).map(|(_, count)| count).sum();
    site.assert_all_there_once().await;
    let sent: u64 = report.objects.iter().map(|object| object.received_bytes).sum();
    let size: u64 =
        site.recordings.iter().map(|recording| (recording.mcap.len() + recording.sidecar.as_ref().map_or(0, Vec::len)) as u64).sum();
    assert!(sent <= size + cuts * PART, "{sent} sent of {size} with {cuts} cuts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_leg_leave_one_object() {
    let site = Site::with(vec![large(20)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let slow = |settings: &mut keystone_edge::cloud::s3::S3Settings| settings.parts_at_once = 1;
    let first = site.worker_with("first", slow, Some(8 << 20));
    until("the first works on it", async || site.status(id).await["status"] == "in_progress").await;
    // Its lease is taken away while it goes on.
    let sql = "update outbox set leased_until = clock_timestamp() - interval '1 second', epoch = epoch + 1 where subscriber = 'cloud_sync'";
    site.edge.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    let second = site.worker("second");
    site.until_status(id, "completed").await;
    first.stop().await;
    second.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_uploads_together_keep_the_bandwidth() {
    const LIMIT: u64 = 8 << 20;
    let site = Site::with(vec![large(12), large(12)]).await;
    site.queue_all().await;
    let worker = site.worker_with("w", |_| {}, Some(LIMIT));
    site.until_synced().await;
    worker.stop().await;
    let took = "select extract(epoch from max(recorded_at) filter (where event_type = 'sync_object_finished')
        - min(recorded_at) filter (where event_type = 'sync_claimed'))::float8 from events";
    let took: f64 = site.edge.database.pool.get().await.unwrap().query_one(took, &[]).await.unwrap().get(0);
    let bytes: usize = site.recordings.iter().map(|recording| recording.mcap.len()).sum();
    let rate = bytes as f64 / took;
    assert!(rate <= LIMIT as f64 * 1.05, "{rate} bytes a second");
    // A machine at work with other things is slower, and never quicker.
    assert!(rate >= LIMIT as f64 * 0.6, "{rate} bytes a second");
}
