//! The gateway of the data platform: sessions, parts, tags, and what becomes of all this when lines are cut, answers are lost and sessions end.

use std::collections::BTreeMap;
use std::time::Duration;

use keystone_edge::commands::Context;
use keystone_edge::commands::sync::NoteSync;
use keystone_edge::domain::sync::{ChainCommand, CloudName, GivenUpCause, SyncFailure, SyncFault};
use keystone_edge::domain::{EpisodeId, SyncChainId};
use keystone_edge::simulator::cloud::{LogicalUploadReport, LostAnswers, ObjectReport, Operation};
use serde_json::{Value, json};

use super::{ASSETS, GATEWAY_PART, Site, kill, large, small};
use crate::harness::bench::Recording;
use crate::harness::until;

async fn to_gateway(recordings: Vec<Recording>) -> Site {
    Site::to(&[CloudName::Gateway], recordings).await
}

impl Site {
    pub async fn logical_uploads(&self) -> Vec<LogicalUploadReport> {
        self.report().await.logical_uploads
    }

    /// Of an episode, as the gateway was told in the end.
    async fn completed_upload(&self, id: EpisodeId) -> LogicalUploadReport {
        let public = self.episode(id).await["episode_id"].as_str().expect("an id").to_owned();
        let all = self.logical_uploads().await;
        let of_it: Vec<_> =
            all.into_iter().filter(|upload| upload.status == "completed" && upload.episode_id.as_deref() == Some(&*public)).collect();
        assert_eq!(of_it.len(), 1, "{of_it:?}");
        of_it.into_iter().next().expect("one")
    }

    async fn object_at(&self, key: &str) -> ObjectReport {
        self.report().await.objects.into_iter().find(|object| object.key == key).unwrap_or_else(|| panic!("no object {key}"))
    }

    async fn received(&self) -> u64 {
        let objects = self.report().await.objects;
        objects.iter().filter(|object| object.bucket == "keystone-oss").map(|object| object.received_bytes).sum()
    }

    /// All recordings are with the platform, byte for byte, once, with their tags, and nothing was sent with a wrong signature.
    pub async fn assert_all_with_the_platform(&self) {
        let report = self.report().await;
        assert_eq!(report.repeated_episodes, []);
        assert!(!report.refusals.keys().any(|name| name.contains("Signature")), "{:?}", report.refusals);
        for (nth, recording) in self.recordings.iter().enumerate() {
            let id = self.episodes[nth];
            let upload = self.completed_upload(id).await;
            let object = self.object_at(&upload.object_key).await;
            assert_eq!((object.sha256.as_deref(), object.completed), (Some(&*recording.sha256), 1), "{object:?}");
            let episode = self.episode(id).await;
            assert_eq!((&episode["cloud_synced"], &episode["sync_status"]), (&json!(true), &json!("completed")), "{episode}");
            let raw_file = episode["mcap_path"].as_str().unwrap().rsplit('/').next().unwrap();
            assert_eq!(upload.tags["a206e337ecdf70a93bb611cf6a30c346.raw_file"], raw_file);
            assert_eq!(upload.tags["778a6d83c9ec49108537542a570966ee.device_id"], upload.device_id);
            assert_eq!((&*upload.tags["site"], &*upload.tags["sync_channel"]), ("上海", "keystone_direct"));
        }
    }

    fn lose(&self, kinds: &[Operation]) {
        self.faults(|faults| faults.lost_answers = kinds.iter().map(|kind| LostAnswers { kind: *kind, share: 1.0 }).collect());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_arrives_in_parts_with_its_tags_and_each_step_is_an_event() {
    let site = to_gateway(vec![large(3)]).await;
    let id = site.episodes[0];
    let worker = site.worker("w");
    site.queue(id).await;
    let done = site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_with_the_platform().await;
    let upload = site.completed_upload(id).await;
    assert_eq!((&done["destination_path"], &*upload.device_id), (&json!(upload.object_key), ASSETS[0]));
    assert_eq!(site.object_at(&upload.object_key).await.parts, 3.max(site.recordings[0].mcap.len().div_ceil(1 << 20)));
    let episode = site.episode(id).await;
    let hints = [("episode_id", episode["episode_id"].as_str().unwrap()), ("source", "keystone-edge")];
    assert_eq!(upload.client_hints, hints.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    // The sidecar is told piece by piece, but for what others tell; the registry as it is.
    let tags: BTreeMap<&str, &str> = upload.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!((tags["recording.message_count"], tags["recording.duration_sec"]), (&*(51 * 4).to_string(), "5"));
    assert!(!tags.keys().any(|name| name.starts_with("topics_summary")), "{tags:?}");
    let of_registry =
        ["sop_slug", "sop_version", "scene", "subscene", "robot_type", "data_collector_operator_id", "order_name", "batch_id"];
    for name in of_registry {
        assert!(tags.get(name).is_some_and(|value| !value.is_empty()), "{name} of {tags:?}");
    }
    let sql = "select string_agg(event_type, ' ' order by sequence), string_agg(payload::text, ' ') from events where aggregate_type = 'sync_chain'";
    let row = site.edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap();
    let (events, payloads): (String, String) = (row.get(0), row.get(1));
    let expected = "sync_queued sync_claimed sync_session_opened sync_upload_started sync_parts_finished sync_object_finished \
        sync_gateway_completed sync_leg_finished sync_completed";
    assert_eq!(events, expected);
    for secret in ["key-of-asset", "secret", "token", "STS."] {
        assert!(!payloads.contains(secret), "{secret} in {payloads}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_recording_is_one_part() {
    let site = to_gateway(vec![small()]).await;
    let worker = site.worker("w");
    site.queue_all().await;
    site.until_synced().await;
    worker.stop().await;
    site.assert_all_with_the_platform().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_with_its_parts_in_another_process() {
    let site = to_gateway(vec![large(12)]).await;
    let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
    site.queue(id).await;
    let first = site.worker_with("first", |_| {}, Some(4 << 20));
    until("some parts are there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 4)).await;
    kill(first).await;
    let second = site.worker("second");
    site.until_status(id, "completed").await;
    second.stop().await;
    site.assert_all_with_the_platform().await;
    assert_eq!(site.logical_uploads().await.len(), 1, "the same session");
    // Two were on their way.
    assert!(site.received().await <= size + 2 * GATEWAY_PART, "{} of {size}", site.received().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_send_nothing_twice() {
    for (kinds, abort_completed) in [
        (vec![Operation::CompleteUpload], false),
        (vec![Operation::CompleteUpload], true),
        (vec![Operation::Complete], false),
        (vec![Operation::CompleteUpload, Operation::Recovery], true),
    ] {
        let site = to_gateway(vec![large(3)]).await;
        let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
        site.lose(&kinds);
        let worker = site.worker("w");
        site.queue(id).await;
        until("all of it is there", async || {
            let report = site.report().await;
            report.objects.iter().any(|object| object.bucket == "keystone-oss" && object.completed == 1)
                && kinds.iter().all(|kind| report.faults.iter().any(|(name, count)| name.contains(kind.as_str()) && *count > 0))
        })
        .await;
        if kinds.contains(&Operation::CompleteUpload) {
            // What the platform has, it has, also where the robot is nothing to it by now.
            site.bind(None).await;
        }
        site.faults(|faults| faults.abort_completed = abort_completed);
        site.until_status(id, "completed").await;
        worker.stop().await;
        site.assert_all_with_the_platform().await;
        assert_eq!(site.received().await, size, "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_is_replaced_and_credentials_are_had_anew() {
    let site = to_gateway(vec![large(8)]).await;
    let id = site.episodes[0];
    // A session is for two seconds, and two megabytes go in a second; then for as long as it takes, with credentials for two seconds.
    site.faults(|faults| faults.session_lifetime = Some(Duration::from_secs(1)));
    let first = site.worker_with("first", |_| {}, Some(2 << 20));
    site.queue(id).await;
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
    kill(first).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.faults(|faults| {
        faults.sts_lifetime = Some(Duration::from_secs(2));
        faults.token_lifetime = Some(Duration::from_secs(2));
    });
    let second = site.worker_with("second", |_| {}, Some(2 << 20));
    site.until_status(id, "completed").await;
    second.stop().await;
    site.assert_all_with_the_platform().await;
    let uploads = site.logical_uploads().await;
    let completed = uploads.iter().find(|upload| upload.status == "completed").expect("one");
    assert!(completed.restarted_from.is_some() && completed.credential_refreshes >= 1, "{uploads:?}");
    let opened = "select (payload->'sync_session_opened'->'session'->>'restarts')::bigint from events where event_type = 'sync_session_opened' order by seq desc limit 1";
    assert_eq!(site.number(opened).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_no_attempt() {
    let site = to_gateway(vec![small(), small()]).await;
    site.faults(|faults| faults.down = true);
    let worker = site.worker("w");
    site.queue_all().await;
    let config = async || site.edge.get("/api/v1/sync/config").await.1;
    until("the platform is known to be away", async || config().await["destinations"][0].get("error").is_some()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = config().await;
    assert_eq!(
        (&told["worker_running"], &told["destinations"][0]["name"], &told["destinations"][0]["error"]),
        (&json!(true), &json!("gateway"), &json!("the data platform does not answer: Unavailable"))
    );
    site.faults(|_| {});
    site.until_synced().await;
    worker.stop().await;
    for episode in &site.episodes {
        assert_eq!(site.status(*episode).await["attempt_count"], 1);
    }
    site.assert_all_with_the_platform().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_robot_without_an_asset_is_told_of_and_one_that_is_bound_anew_counts() {
    let site = to_gateway(vec![large(6)]).await;
    let id = site.episodes[0];
    site.bind(None).await;
    let worker = site.worker_with("w", |_| {}, Some(3 << 20));
    site.queue(id).await;
    let ended = site.until_status(id, "failed").await;
    assert_eq!((&ended["error_class"], &ended["given_up"]), (&json!("no_asset"), &json!("permanent")));
    assert!(ended["error_message"].as_str().unwrap().contains("bind it"), "{ended}");
    // A device that the platform does not know.
    site.bind(Some("asset-9")).await;
    site.queue(id).await;
    let ended = site.until_status(id, "failed").await;
    assert!(ended["error_message"].as_str().unwrap().contains("no device `asset-9`"), "{ended}");
    // Bound to another one on the way: the next try is that one's, and what was begun is given up.
    site.bind(Some(ASSETS[0])).await;
    site.queue(id).await;
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
    kill(worker).await;
    site.bind(Some(ASSETS[1])).await;
    let worker = site.worker("next");
    site.until_status(id, "completed").await;
    worker.stop().await;
    site.assert_all_with_the_platform().await;
    let uploads = site.logical_uploads().await;
    let of = |asset: &str| uploads.iter().filter(|upload| upload.device_id == asset).map(|upload| &*upload.status).collect::<Vec<_>>();
    assert_eq!((of(ASSETS[0]), of(ASSETS[1])), (vec!["aborted"], vec!["completed"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_missing_or_wrong_is_told_and_heals() {
    let site = to_gateway(vec![small()]).await;
    let id = site.episodes[0];
    let good = std::fs::read_to_string(&site.config).unwrap();
    let config = async || site.edge.get("/api/v1/sync/config").await.1;
    let trigger = async || site.edge.post(&format!("/api/v1/sync/episodes/{id}"), Value::Null).await;
    for (text, told) in [(None, "there is no configuration"), (Some("{"), "is wrong: line 1"), (Some("{}"), "is wrong: line 1")] {
        match text {
            None => std::fs::remove_file(&site.config).unwrap(),
            Some(text) => std::fs::write(&site.config, text).unwrap(),
        }
        let (status, said) = trigger().await;
        assert_eq!(status, 503, "{said}");
        assert!(said["error"].as_str().unwrap().contains(told), "{said}");
        let shown = config().await;
        assert_eq!((&shown["worker_running"], &shown["auto_scan_enabled"]), (&json!(false), &json!(false)));
        assert!(shown["destinations"][0]["error"].as_str().unwrap().contains(told), "{shown}");
        assert_eq!(site.edge.post("/api/v1/sync/episodes", json!({})).await.0, 503);
    }
    std::fs::write(&site.config, &good).unwrap();
    let worker = site.worker("w");
    assert_eq!(trigger().await.0, 202);
    site.until_status(id, "completed").await;
    assert_eq!(config().await["worker_running"], true);
    // What waits while it is missing is nobody's try.
    let (status, said) = site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), Value::Null).await;
    assert_eq!(status, 202, "{said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_the_configuration_is_missing_is_nobodys_try() {
    let site = to_gateway(vec![small()]).await;
    let id = site.episodes[0];
    let good = std::fs::read_to_string(&site.config).unwrap();
    std::fs::remove_file(&site.config).unwrap();
    let worker = site.worker("w");
    site.queue(id).await;
    until("it is held", async || site.number("select count(*) from events where event_type = 'sync_held'").await >= 1).await;
    assert_eq!(site.status(id).await["attempt_count"], 0);
    std::fs::write(&site.config, &good).unwrap();
    assert_eq!(site.until_status(id, "completed").await["attempt_count"], 1);
    worker.stop().await;
    site.assert_all_with_the_platform().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_completed_when_all_clouds_have_it() {
    let site = Site::to(&[CloudName::S3, CloudName::Gateway], vec![large(6)]).await;
    let (id, size) = (site.episodes[0], site.recordings[0].mcap.len());
    let pause = async |what: &str| {
        let path = format!("/api/v1/sync/destinations/gateway/{what}");
        let (status, said) = site.edge.post(&path, json!({"reason": "later"})).await;
        assert_eq!(status, 200, "{said}");
    };
    pause("pause").await;
    let worker = site.worker("w");
    site.queue(id).await;
    until("one leg is done", async || site.number("select count(*) from events where event_type = 'sync_leg_finished'").await == 1).await;
    let status = site.status(id).await;
    assert_eq!((&status["status"], &status["cloud_synced"]), (&json!("pending"), &json!(false)), "{status}");
    pause("resume").await;
    let mut seen = 0;
    until("all of it is there", async || {
        let status = site.status(id).await;
        if let Some(progress) = status.get("progress") {
            assert_eq!(progress["total_bytes"], 2 * size, "over both clouds");
            seen = seen.max(progress["percent"].as_i64().unwrap());
        }
        assert!(seen <= 99);
        status["status"] == "completed"
    })
    .await;
    worker.stop().await;
    site.assert_all_there_once().await;
    let upload = site.completed_upload(id).await;
    assert_eq!(site.object_at(&upload.object_key).await.sha256.as_deref(), Some(&*site.recordings[0].sha256));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_is_given_up_keeps_no_other_from_its_cloud() {
    let site = Site::to(&[CloudName::Gateway, CloudName::S3], vec![large(6)]).await;
    let id = site.episodes[0];
    site.bind(None).await;
    let worker = site.worker("w");
    site.queue(id).await;
    let ended = site.until_status(id, "failed").await;
    assert_eq!(
        (&ended["error_class"], &ended["given_up"], &ended["cloud_synced"]),
        (&json!("no_asset"), &json!("permanent"), &json!(false))
    );
    assert_eq!(site.object(0).await.map(|object| object.completed), Some(1), "the bucket has it");
    // What it has is not sent again.
    site.bind(Some(ASSETS[0])).await;
    site.queue(id).await;
    site.until_status(id, "completed").await;
    worker.stop().await;
    let size = site.recordings[0].mcap.len() as u64;
    assert_eq!(site.object(0).await.map(|object| (object.completed, object.received_bytes)), Some((1, size)));
    site.completed_upload(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_completed_when_it_loses_its_approval_is_told_as_left_behind() {
    let site = to_gateway(vec![large(3)]).await;
    let id = site.episodes[0];
    site.lose(&[Operation::CompleteUpload, Operation::Recovery]);
    let worker = site.worker("w");
    site.queue(id).await;
    until("the platform has completed it", async || site.logical_uploads().await.iter().any(|upload| upload.status == "completed")).await;
    let queue = site.queue_worker(false);
    site.reopen(id).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.faults(|_| {});
    until("it is said to be there", async || site.episode(id).await["cloud_synced"] == true).await;
    assert_eq!(site.status(id).await["cloud_outdated"], true);
    worker.stop().await;
    queue.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_given_up_also_where_the_cloud_is_away_meanwhile() {
    for cloud in [CloudName::Gateway, CloudName::S3] {
        let site = Site::to(&[cloud], vec![large(24)]).await;
        let id = site.episodes[0];
        let worker = site.worker_with("w", |_| {}, Some(8 << 20));
        site.queue(id).await;
        until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
        site.faults(|faults| faults.down = true);
        site.reopen(id).await;
        let queue = site.queue_worker(false);
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.faults(|_| {});
        assert_eq!(site.until_status(id, "failed").await["given_up"], "not_eligible");
        until("nothing is left of it", async || {
            let report = site.report().await;
            report.unfinished.is_empty() && report.logical_uploads.iter().all(|upload| upload.status == "aborted")
        })
        .await;
        worker.stop().await;
        queue.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_refused_are_nobodys_try_and_no_devices_are_no_end() {
    let site = to_gateway(vec![small(), small()]).await;
    let good = std::fs::read_to_string(&site.config).unwrap();
    let error = async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0]["error"].clone();
    let other_keys = good.replace("key-of-", "another-of-");
    let mut no_devices: Value = serde_json::from_str(&good).unwrap();
    no_devices["devices"] = json!([]);
    let cases = [(other_keys, "does not let the device in"), (no_devices.to_string(), "has no device with a key")];
    for (id, (config, told)) in site.episodes.iter().zip(cases) {
        std::fs::write(&site.config, config).unwrap();
        site.queue(*id).await;
        let worker = site.worker(told);
        until(told, async || error().await.as_str().is_some_and(|error| error.contains(told))).await;
        std::fs::write(&site.config, &good).unwrap();
        assert_eq!(site.until_status(*id, "completed").await["attempt_count"], 1);
        worker.stop().await;
    }
    site.assert_all_with_the_platform().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_loses_its_approval_on_the_way_is_given_up_with_the_platform() {
    let site = to_gateway(vec![large(12)]).await;
    let id = site.episodes[0];
    let worker = site.worker_with("w", |_| {}, Some(2 << 20));
    site.queue(id).await;
    until("a part is there", async || site.report().await.unfinished.first().is_some_and(|upload| upload.parts >= 1)).await;
    site.reopen(id).await;
    let ended = site.until_status(id, "failed").await;
    assert_eq!(ended["given_up"], "not_eligible", "{ended}");
    until("nothing is left of it", async || {
        let report = site.report().await;
        report.unfinished.is_empty() && report.logical_uploads.iter().all(|upload| upload.status == "aborted")
    })
    .await;
    worker.stop().await;
    assert!(site.report().await.objects.iter().all(|object| object.bytes.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_supersedes_another_goes_on_with_what_that_one_began() {
    for cloud in [CloudName::Gateway, CloudName::S3] {
        let site = Site::to(&[cloud], vec![large(24)]).await;
        let (id, size) = (site.episodes[0], site.recordings[0].mcap.len() as u64);
        let first = site.worker_with("first", |settings| settings.parts_at_once = 1, Some(8 << 20));
        let chain = SyncChainId(site.queue(id).await);
        let parts = async || site.report().await.unfinished.first().map_or(0, |upload| upload.parts);
        until("parts are there", async || parts().await >= 2).await;
        kill(first).await;
        // As at the end of its last try.
        let failure = SyncFailure::new(SyncFault::CloudRefused, "it was tried too often");
        let step = ChainCommand::GiveUp { cause: GivenUpCause::Attempts, failure, at: site.edge.commands.now() };
        site.edge.commands.execute(&Context::system(), NoteSync { chain, cloud, step }).await.expect("given up");
        let had = parts().await as u64;
        site.queue(id).await;
        let second = site.worker("second");
        site.until_status(id, "completed").await;
        second.stop().await;
        assert_eq!(site.logs(id).await.len(), 2);
        let object = site.report().await.objects.into_iter().max_by_key(|object| object.received_bytes).expect("one");
        let part = if cloud == CloudName::S3 { super::PART } else { GATEWAY_PART };
        // Two parts were on their way, and what was there was not sent again.
        assert!(had >= 2 && object.received_bytes <= size + 2 * part, "{cloud:?}: {had} parts, {object:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_on_the_way_all_arrive_once_with_their_tags() {
    let site = to_gateway(vec![large(6), large(3), small(), small(), small()]).await;
    site.faults(|faults| {
        faults.cut_connections = 0.1;
        faults.slow_downs = 0.1;
        let kinds = [
            Operation::Create,
            Operation::Part,
            Operation::Complete,
            Operation::Read,
            Operation::ExchangeCredential,
            Operation::CreateUpload,
            Operation::Recovery,
            Operation::Reissue,
            Operation::CompleteUpload,
        ];
        faults.lost_answers = kinds.map(|kind| LostAnswers { kind, share: 0.1 }).to_vec();
        faults.sts_lifetime = Some(Duration::from_secs(5));
        faults.token_lifetime = Some(Duration::from_secs(3));
    });
    let workers = [site.worker("a"), site.worker("b")];
    site.queue_all().await;
    site.until_synced().await;
    for worker in workers {
        worker.stop().await;
    }
    site.assert_all_with_the_platform().await;
    let report = site.report().await;
    let faults: u64 = report.faults.values().sum();
    let sizes: u64 = site.recordings.iter().map(|recording| recording.mcap.len() as u64).sum();
    assert!(site.received().await <= sizes + faults * GATEWAY_PART, "{} of {sizes} with {:?}", site.received().await, report.faults);
}
