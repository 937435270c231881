//! What the contract of cloud sync says must not happen, each as a test of its own name.

use std::time::Duration;

use keystone_edge::commands::Context;
use keystone_edge::commands::batches::RecallBatch;
use keystone_edge::commands::sync::QueueSync;
use keystone_edge::domain::RefusalCode;
use keystone_edge::domain::sync::{CloudName, SyncReason};
use keystone_edge::simulator::cloud::{LostAnswers, Operation};
use serde_json::{Value, json};

use super::{Site, kill, large, refusing_receiver, small, terms};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_no_chain_is_without_an_owner() {
    let site = Site::with(vec![large(15)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    for n in 0..3 {
        let worker = site.worker_with(&format!("dies {n}"), |settings| settings.parts_at_once = 1, Some(4 << 20));
        until("it works", async || site.number("select count(*) from events where event_type = 'sync_claimed'").await > n).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        kill(worker).await;
    }
    assert_eq!(site.status(id).await["status"], "in_progress");
    let worker = site.worker("lives");
    site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_what_lost_its_approval_is_not_pushed() {
    let site = Site::with(vec![small(), large(40)]).await;
    let (waits, goes) = (site.episodes[0], site.episodes[1]);
    // While it waits.
    site.queue(waits).await;
    site.reopen(waits).await;
    let worker = site.worker_with("w", |settings| settings.parts_at_once = 1, Some(5 << 20));
    let ended = site.until_status(waits, "failed").await;
    assert_eq!(
        (&ended["error_class"], &ended["given_up"], ended.get("next_retry_at")),
        (&json!("not_approved"), &json!("not_eligible"), None)
    );
    assert!(site.object(0).await.is_none());
    // While it is on its way: the parts that are there are given up.
    site.queue(goes).await;
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
    site.reopen(goes).await;
    let ended = site.until_status(goes, "failed").await;
    assert_eq!(ended["given_up"], "not_eligible", "{ended}");
    until("nothing is left unfinished", async || site.report().await.unfinished.is_empty()).await;
    assert_eq!(site.object(1).await.map(|object| (object.completed, object.bytes)), Some((0, None)));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_an_approval_that_is_lost_reaches_the_queue_by_itself() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let queue = site.queue_worker(false);
    site.reopen(id).await;
    // No worker of the cloud is there.
    let ended = site.until_status(id, "failed").await;
    assert_eq!(ended["error_class"], "not_approved");
    queue.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_what_is_approved_once_more_is_pushed_by_itself() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let queue = site.queue_worker(true);
    site.until_status(id, "pending").await;
    site.reopen(id).await;
    site.until_status(id, "failed").await;
    let organization = site.number("select organization_id from episodes").await;
    let password = "a password of one's own";
    let new = json!({
        "organization_id": organization, "name": "A senior", "inspector_id": "senior", "certification_level": "senior", "password": password,
    });
    assert_eq!(site.edge.post("/api/v1/inspectors", new).await.0, 201);
    let login = site.edge.send_as("", "POST", "/api/v1/auth/login", json!({"account": "senior", "password": password})).await;
    let senior = login.1["access_token"].as_str().expect("a login").to_owned();
    let inspect = async |what: &str, body: Value| {
        let path = format!("/api/v1/inspection/episodes/{id}/{what}");
        assert_eq!(site.edge.send_as(&senior, "POST", &path, body).await.0, 200, "{what}");
    };
    inspect("take", Value::Null).await;
    inspect("decide", json!({"decision": "approved", "reason": "it is good", "tags": []})).await;
    let worker = site.worker("w");
    site.until_status(id, "completed").await;
    assert_eq!(site.logs(id).await.len(), 2);
    queue.stop().await;
    worker.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_chain_of_a_recalled_episode_ends() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let queue = site.queue_worker(false);
    let batch_id = keystone_edge::domain::BatchId(site.number("select batch_id from episodes").await);
    let recall = RecallBatch { batch_id, reason: Some("wrong scene".into()) };
    site.edge.commands.execute(&Context::system(), recall).await.expect("recalled");
    let ended = site.until_status(id, "failed").await;
    assert_eq!((&ended["error_class"], &ended["given_up"]), (&json!("recalled"), &json!("not_eligible")));
    let (status, said) = site.edge.post(&format!("/api/v1/sync/episodes/{id}"), json!({})).await;
    assert_eq!((status, &said["code"]), (409, &json!("sync_recalled")), "{said}");
    queue.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_finished_upload_is_not_forgotten() {
    let site = Site::with(vec![large(12)]).await;
    let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
    site.queue(id).await;
    // The store has all of it, and nobody was told.
    site.faults(|faults| faults.lost_answers = vec![LostAnswers { kind: Operation::Complete, share: 1.0 }]);
    let worker = site.worker("dies");
    until("it is there", async || site.object(0).await.is_some_and(|object| object.completed == 1)).await;
    kill(worker).await;
    site.faults(|_| {});
    let worker = site.worker("lives");
    site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_there_once().await;
    assert_eq!(site.object(0).await.unwrap().received_bytes, size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_a_file_is_not_sent_again_because_somebody_could_not_be_told() {
    let site = Site::with(vec![large(12)]).await;
    let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
    site.queue(id).await;
    let nobody = |settings: &mut keystone_edge::cloud::s3::S3Settings| settings.receiver = Some(("http://127.0.0.1:1".into(), None));
    let worker = site.worker_with("cannot tell", nobody, None);
    until("it is there", async || site.object(0).await.is_some_and(|object| object.completed == 1)).await;
    until("the receiver is known to be away", async || {
        site.edge.get("/api/v1/sync/config").await.1["destinations"][0]["error"].as_str().is_some_and(|error| error.contains("receiver"))
    })
    .await;
    worker.stop().await;
    assert_eq!(site.status(id).await["status"], "pending");
    let worker = site.worker("tells");
    site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_there_once().await;
    assert_eq!(site.object(0).await.unwrap().received_bytes, size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_uploads_that_were_begun_are_known_or_given_up() {
    let site = Site::with(vec![large(12)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    // Begun in the cloud, and the answer was lost: nobody knows its id.
    site.faults(|faults| faults.lost_answers = vec![LostAnswers { kind: Operation::Create, share: 1.0 }]);
    let worker = site.worker("w");
    until("one was begun", async || !site.report().await.unfinished.is_empty()).await;
    site.faults(|_| {});
    site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_there_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_classes_follow_the_cause() {
    let mut site = Site::with(vec![small(), small(), small()]).await;
    let key = async |nth: usize| {
        let path = site.episode(site.episodes[nth]).await["mcap_path"].as_str().unwrap().to_owned();
        keystone_edge::blobs::ObjectKey::new(path.split_once('/').unwrap().1).unwrap()
    };
    // Gone, and another one: no other try helps.
    let (gone, other) = (key(0).await, key(1).await);
    site.edge.objects.blobs.delete(&gone).await.expect("deleted");
    site.edge.objects.blobs.put(&other, vec![1; 100].into(), &Default::default()).await.expect("an object");
    let worker = site.worker("w");
    site.queue(site.episodes[0]).await;
    site.queue(site.episodes[1]).await;
    for (nth, class) in [(0, "source_gone"), (1, "source_changed")] {
        let ended = site.until_status(site.episodes[nth], "failed").await;
        let told = (&ended["error_class"], &ended["given_up"], &ended["attempt_count"]);
        assert_eq!(told, (&json!(class), &json!("permanent"), &json!(1)), "{ended}");
    }
    worker.stop().await;
    // The receiver wants no such episode: it is tried again, until the settings say that it is enough.
    site.terms.limits.attempts_max = Some(2);
    let receiver = refusing_receiver("what a secret").await;
    let worker = site.worker_with("w", |settings| settings.receiver = Some((receiver, None)), None);
    site.queue(site.episodes[2]).await;
    until("it was tried as often as it may be", async || site.status(site.episodes[2]).await["given_up"] == "attempts").await;
    let ended = site.status(site.episodes[2]).await;
    assert_eq!((&ended["error_class"], &ended["attempt_count"]), (&json!("receiver_refused"), &json!(2)), "{ended}");
    worker.stop().await;
    // A person gets a fresh one, with all tries, and it goes on where the last one was.
    site.queue(site.episodes[2]).await;
    let worker = site.worker("w");
    let done = site.until_status(site.episodes[2], "completed").await;
    assert_eq!((done["attempt_count"].as_i64(), site.logs(site.episodes[2]).await.len()), (Some(1), 2));
    assert_eq!(site.object(2).await.unwrap().completed, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s8_an_episode_is_synced_exactly_where_its_chain_is_completed() {
    let site = Site::with((0..3).map(|_| small()).collect()).await;
    let worker = site.worker("w");
    site.queue(site.episodes[0]).await;
    site.queue(site.episodes[1]).await;
    site.until_status(site.episodes[0], "completed").await;
    site.until_status(site.episodes[1], "completed").await;
    worker.stop().await;
    let differ = "select count(*) from episodes e where e.cloud_synced is distinct from
        exists (select from sync_chains c where c.episode_id = e.id and c.status = 'completed')";
    assert_eq!(site.number(differ).await, 0);
    // In one transaction.
    let apart = "select count(*) from events s join events c on c.event_type = 'sync_completed' where s.event_type = 'episode_synced'
        and c.txid = s.txid";
    assert_eq!(site.number(apart).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_sync_all_covers_all_and_s12_reasons_are_codes() {
    let site = Site::with((0..25).map(|_| small()).collect()).await;
    site.reopen(site.episodes[24]).await;
    let worker = site.worker("w");
    let (status, said) = site.edge.post("/api/v1/sync/episodes", json!({})).await;
    assert_eq!(
        (status, &said["enqueued_count"], &said["message"]),
        (202, &json!(24), &json!("24 episodes enqueued for cloud sync")),
        "{said}"
    );
    site.work_on_bulk_runs().await;
    for episode in &site.episodes[..24] {
        site.until_status(*episode, "completed").await;
    }
    // The other door offers each, and says of each why not.
    let (status, preview) = site.edge.post("/api/v1/data-ops/episodes/bulk-sync/preview", json!({"all": true})).await;
    assert_eq!(status, 200);
    let reasons = json!([{"reason": "qa_not_approved", "count": 1}, {"reason": "already_synced", "count": 24}]);
    assert_eq!(
        (&preview["eligible_count"], &preview["skipped_breakdown"], &preview["sync_worker_running"]),
        (&json!(0), &reasons, &json!(true))
    );
    let (status, said) = site.edge.post("/api/v1/data-ops/episodes/bulk-sync", json!({"all": true, "confirm": true})).await;
    assert_eq!((status, &said["matched_count"]), (202, &json!(25)), "{said}");
    site.work_on_bulk_runs().await;
    let run = said["run"]["run_id"].as_str().unwrap();
    assert_eq!(site.edge.get(&format!("/api/v1/data-ops/bulk-runs/{run}")).await.1["status"], "completed");
    let causes = "select count(*) from bulk_run_items where outcome = 'skipped' and cause in ('qa_not_approved', 'already_synced')";
    assert_eq!(site.number(causes).await, 25);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_a_sidecar_is_read_with_a_limit() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let worker = site.worker_with("w", |settings| settings.sidecar_bytes_max = 10, None);
    let ended = site.until_status(id, "failed").await;
    assert!(ended["error_message"].as_str().unwrap().contains("at most 10 are read"), "{ended}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_errors_carry_no_foreign_body_and_no_secret() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let talks = axum::Router::new().fallback(async || {
        (
            axum::http::StatusCode::FORBIDDEN,
            "<Error><Code>AccessDenied</Code><Message>the token sts-secret-123 of /home/x</Message></Error>",
        )
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, talks).await });
    let worker = site.worker_with("w", |settings| settings.endpoint = format!("http://{address}"), None);
    site.queue(id).await;
    let error = async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0]["error"].as_str().map(str::to_owned);
    until("it is known that we are not let in", async || error().await.is_some()).await;
    worker.stop().await;
    let told = error().await.unwrap();
    assert!(told.contains("does not let us in") && !told.contains("sts-secret"), "{told}");
    for secret in ["sts-secret-123", "simulated-cloud-secret"] {
        let kept = format!("select count(*) from events where payload::text like '%{secret}%'");
        assert_eq!(site.number(&kept).await, 0);
        let kept = format!("select count(*) from cloud_troubles where error like '%{secret}%'");
        assert_eq!(site.number(&kept).await, 0);
    }
    // Nothing was tried in vain.
    assert_eq!(site.status(id).await["attempt_count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_progress_is_the_same_from_every_process() {
    let site = Site::with(vec![large(30)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    // The process that is asked is not the one that works.
    let worker = site.worker_with("elsewhere", |settings| settings.parts_at_once = 1, Some(6 << 20));
    until("some of it is there", async || site.status(id).await["progress"]["percent"].as_i64().is_some_and(|percent| percent > 0)).await;
    let mut last = 0;
    loop {
        let status = site.status(id).await;
        if status["status"] == "completed" {
            assert!(status.get("progress").is_none());
            break;
        }
        let progress = &status["progress"];
        let percent = progress["percent"].as_i64().unwrap();
        assert!((last..=99).contains(&percent), "{last} {progress}");
        assert_eq!(progress["total_bytes"], json!(site.recordings[0].mcap.len()));
        last = percent;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(site.number("select count(*) from sync_progress").await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s18_what_is_away_at_the_start_heals_without_a_restart() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.faults(|faults| faults.down = true);
    let worker = site.worker("w");
    site.queue(id).await;
    until("it is known", async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0].get("error").is_some()).await;
    site.faults(|_| {});
    site.until_status(id, "completed").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_and_s21_neither_what_is_slow_nor_what_fails_holds_up_the_rest() {
    let mut recordings = vec![large(25)];
    recordings.extend((0..12).map(|_| small()));
    let site = Site::with(recordings).await;
    // The ten oldest fail again and again.
    for nth in 1..=10 {
        let path = site.episode(site.episodes[nth]).await["sidecar_path"].as_str().unwrap().to_owned();
        let key = keystone_edge::blobs::ObjectKey::new(path.split_once('/').unwrap().1).unwrap();
        site.edge.objects.blobs.put(&key, vec![b'x'; 2 << 20].into(), &Default::default()).await.expect("an object");
    }
    site.queue_all().await;
    let worker = site.worker_with(
        "w",
        |settings| {
            settings.sidecar_bytes_max = 1 << 20;
            settings.parts_at_once = 1;
        },
        Some(5 << 20),
    );
    site.until_status(site.episodes[11], "completed").await;
    site.until_status(site.episodes[12], "completed").await;
    assert_eq!(site.status(site.episodes[0]).await["status"], "in_progress", "the slow one is still on its way");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_keys_are_encoded_once_and_what_is_signed_is_what_is_sent() {
    let site = Site::with(vec![large(12), small()]).await;
    let strange = |settings: &mut keystone_edge::cloud::s3::S3Settings| settings.prefix = "edge-工厂 a+b%20/".into();
    let worker = site.worker_with("w", strange, None);
    site.queue_all().await;
    site.until_synced().await;
    worker.stop().await;
    let report = site.report().await;
    let there: Vec<_> =
        report.objects.iter().filter(|object| object.key.starts_with("edge-工厂 a+b%20/") && object.completed == 1).collect();
    assert_eq!(there.len(), 4, "{:?}", report.objects);
    assert_eq!(report.refusals.values().sum::<u64>(), 0, "{:?}", report.refusals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_chain_of_an_episode_is_active_whoever_asks() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    let asked = (0..8).map(|_| {
        let queue = QueueSync { episode: id, reason: SyncReason::Manual, clouds: vec![CloudName::S3] };
        async { site.edge.commands.execute(&Context::system(), queue).await.map_err(|error| error.to_string()) }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(site.number("select count(*) from sync_chains").await, 1);
    assert_eq!(RefusalCode::SyncActive.as_str(), "sync_active");
}

/// A weekend without a line: the clock moves, and nothing is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weekend_without_a_line_gives_up_nothing() {
    let mut site = Site::with(vec![small()]).await;
    site.terms = terms();
    let id = site.episodes[0];
    site.faults(|faults| faults.down = true);
    let worker = site.worker("w");
    site.queue(id).await;
    until("it is known", async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0].get("error").is_some()).await;
    // Three days pass for all that is kept of it.
    let earlier = "update outbox set created_at = created_at - interval '72 hours', due_at = due_at - interval '72 hours' where subscriber = 'cloud_sync';
        update sync_chains set created_at = created_at - interval '72 hours', started_at = started_at - interval '72 hours'";
    site.edge.database.pool.get().await.unwrap().batch_execute(earlier).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status: Value = site.status(id).await;
    assert_eq!((&status["status"], status.get("given_up")), (&json!("pending"), None), "{status}");
    site.faults(|_| {});
    assert_eq!(site.until_status(id, "completed").await["attempt_count"], 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_numbers_in_tags_are_what_they_were() {
    let mut recording = small();
    let mut sidecar: Value = serde_json::from_slice(recording.sidecar.as_ref().unwrap()).unwrap();
    sidecar["counters"] = json!({ "large": 9_007_199_254_740_993_u64, "list": [9_007_199_254_740_993_u64, {"b": 1, "a": "<工>"}] });
    let text = sidecar.to_string().replace("\"large\"", "\"exact\":0.10000000000000000001,\"large\"");
    recording.sidecar = Some(text.into_bytes());
    let site = Site::to(&[CloudName::Gateway], vec![recording]).await;
    let worker = site.worker("w");
    site.queue_all().await;
    site.until_synced().await;
    worker.stop().await;
    site.assert_all_with_the_platform().await;
    let tags = site.logical_uploads().await.remove(0).tags;
    assert_eq!((&*tags["counters.large"], &*tags["counters.exact"]), ("9007199254740993", "0.10000000000000000001"));
    assert_eq!(tags["counters.list"], "[9007199254740993,{\"a\":\"\\u003c工\\u003e\",\"b\":1}]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_a_tag_that_two_places_give_differently_is_told_with_both() {
    let mut recording = small();
    let mut sidecar: Value = serde_json::from_slice(recording.sidecar.as_ref().unwrap()).unwrap();
    sidecar["site"] = json!("another");
    recording.sidecar = Some(sidecar.to_string().into_bytes());
    let site = Site::to(&[CloudName::Gateway], vec![recording]).await;
    let id = site.episodes[0];
    let worker = site.worker("w");
    site.queue(id).await;
    let ended = site.until_status(id, "failed").await;
    let told = "the tag `site` is one thing by the device in the configuration of the data platform and another by the sidecar";
    assert_eq!((&ended["error_message"], &ended["error_class"], ended.get("next_retry_at")), (&json!(told), &json!("tags_refused"), None));
    assert_eq!(site.logical_uploads().await.len(), 0, "nothing was begun");
    // Not for ever: it is mended where it is wrong, and asked for again.
    let text = std::fs::read_to_string(&site.config).unwrap().replace("上海", "another");
    std::fs::write(&site.config, text).unwrap();
    site.queue(id).await;
    site.until_status(id, "completed").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_what_is_signed_of_a_query_is_what_oss_signs() {
    // Its parts are asked for in pages, by parameters that are not signed.
    let site = Site::to(&[CloudName::Gateway], vec![large(6)]).await;
    let id = site.episodes[0];
    site.queue(id).await;
    let first = site.worker_with("first", |_| {}, Some(2 << 20));
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 2)).await;
    kill(first).await;
    let second = site.worker("second");
    site.until_status(id, "completed").await;
    second.stop().await;
    site.assert_all_with_the_platform().await;
    let report = site.report().await;
    let is_about_keys =
        |name: &String| ["Signature", "Denied", "Key", "Token"].iter().any(|word| name.contains(word)) && name != "oss NoSuchKey";
    assert!(!report.refusals.keys().any(is_about_keys), "{:?}", report.refusals);
}
