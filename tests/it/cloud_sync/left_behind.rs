//! What lies in a cloud of an episode that may not be there is told, whichever way its chain came to an end; and what is damaged goes nowhere.

use std::collections::BTreeMap;

use keystone_edge::app::copies::{Retention, retain};
use keystone_edge::commands::Context;
use keystone_edge::commands::sync::QueueSync;
use keystone_edge::config::Config;
use keystone_edge::domain::EpisodeId;
use keystone_edge::domain::sync::{CloudName, SyncReason};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::copies::{file_with, flip_a_byte};
use super::{Site, large, refusing_receiver, small};
use crate::harness::s3::RawS3;
use crate::harness::until;

impl Site {
    async fn pause(&self, cloud: &str, word: &str) {
        let (status, said) = self.edge.post(&format!("/api/v1/sync/destinations/{cloud}/{word}"), json!({ "reason": "a test" })).await;
        assert_eq!(status, 200, "{said}");
    }

    /// It is listed as one that is in the cloud and may not be.
    pub async fn until_outdated(&self, id: EpisodeId) {
        until("it is told", async || self.edge.get("/api/v1/episodes?cloud_outdated=true").await.1["total"] == 1).await;
        assert_eq!(self.status(id).await["cloud_outdated"], true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_two_clouds_has_is_told_when_the_approval_is_lost() {
    let site = Site::to(&[CloudName::S3, CloudName::Gateway], vec![small()]).await;
    let id = site.episodes[0];
    site.pause("gateway", "pause").await;
    let (worker, queue) = (site.worker("w"), site.queue_worker(false));
    site.queue(id).await;
    until("its leg is done", async || site.number("select count(*) from outbox where destination = 'cloud:s3'").await == 0).await;
    site.reopen(id).await;
    // While the other cloud is still paused.
    site.until_outdated(id).await;
    assert_eq!(site.episode(id).await["cloud_synced"], true);
    site.pause("gateway", "resume").await;
    until("nothing waits", async || site.number("select count(*) from outbox where subscriber = 'cloud_sync'").await == 0).await;
    assert_eq!(site.logs(id).await[0]["given_up"], "not_eligible");
    worker.stop().await;
    queue.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_begun_is_given_up_by_each_cloud_when_another_one_ends_the_chain() {
    let site = Site::to(&[CloudName::S3, CloudName::Gateway], vec![large(14)]).await;
    let id = site.episodes[0];
    site.pause("gateway", "pause").await;
    let (worker, queue) = (site.worker_with("w", |_| {}, Some(2_000_000)), site.queue_worker(false));
    site.queue(id).await;
    until("an upload was begun", async || site.number("select count(*) from events where event_type = 'sync_upload_started'").await == 1)
        .await;
    site.reopen(id).await;
    site.pause("gateway", "resume").await;
    until("nothing waits", async || site.number("select count(*) from outbox where subscriber = 'cloud_sync'").await == 0).await;
    let report = site.report().await;
    assert!(report.unfinished.is_empty(), "{:?}", report.unfinished);
    assert!(report.objects.iter().all(|object| object.sha256.is_none()), "{:?}", report.objects);
    worker.stop().await;
    queue.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_behind_its_object_is_told_when_the_approval_is_lost_and_is_looked_at_again() {
    let mut site = Site::with(vec![small(), large(1)]).await;
    site.terms.limits.attempts_max = Some(1);
    let (first, second) = (site.episodes[0], site.episodes[1]);
    let receiver = refusing_receiver("").await;
    let queue = site.queue_worker(false);
    let worker = site.worker_with("w", |settings| settings.receiver = Some((receiver, None)), None);
    site.queue(first).await;
    until("it is given up", async || site.logs(first).await[0]["given_up"] == "attempts").await;
    worker.stop().await;
    assert!(site.object(0).await.is_some() && site.episode(first).await["cloud_synced"] == false);
    site.reopen(first).await;
    site.until_outdated(first).await;
    // One that nobody has to be told of: its arrival is noted with its end.
    let worker = site.worker_with("w", |settings| settings.receiver = None, None);
    site.queue(second).await;
    site.until_status(second, "completed").await;
    worker.stop().await;
    queue.stop().await;
    // It ends, and comes to the other one.
    tokio::time::timeout(std::time::Duration::from_secs(20), site.look(false)).await.expect("the patrol ends");
    for id in [first, second] {
        assert_eq!(site.copies(id).await["clouds"][0]["looked_at"]["sound"], true);
    }
    assert_eq!(site.number("select count(*) from copy_looks where place = 'cloud'").await, 0, "both were looked at");
    // As people take away there what may not be there.
    let in_cloud = RawS3::new(site.cloud.addresses().s3, "simulated-cloud", "simulated-cloud-secret");
    let object = site.object(0).await.expect("an object");
    assert_eq!(in_cloud.delete(&format!("/{}/{}", object.bucket, object.key)).await.status, 204);
    site.look(false).await;
    let copies = site.copies(first).await;
    assert!(copies["clouds"][0]["looked_at"]["damage"].as_str().unwrap().contains("not in the bucket any more"), "{copies}");
    assert_eq!((&copies["edge"]["removable"], &copies["edge"]["restorable"]), (&json!(false), &json!(false)), "{copies}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_sent_nowhere_in_parts_neither() {
    for cloud in [CloudName::S3, CloudName::Gateway] {
        let site = Site::to(&[cloud], vec![large(11)]).await;
        let id = site.episodes[0];
        // Nobody has looked at it since.
        flip_a_byte(&file_with(site.edge.objects.folder.path(), &site.recordings[0].mcap), 7_000_000);
        let worker = site.worker("w");
        site.queue(id).await;
        until("it is given up", async || site.logs(id).await[0]["given_up"] == "permanent").await;
        assert_eq!(site.logs(id).await[0]["error_class"], "source_changed", "{cloud:?}");
        let report = site.report().await;
        assert!(report.unfinished.is_empty(), "{:?}", report.unfinished);
        assert!(report.objects.iter().all(|object| object.sha256.is_none()), "{cloud:?}: {:?}", report.objects);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_known_to_be_damaged_takes_the_place_of_no_good_one() {
    let site = Site::with(vec![large(1)]).await;
    let id = site.episodes[0];
    site.synced().await;
    flip_a_byte(&file_with(site.edge.objects.folder.path(), &site.recordings[0].mcap), 70_000);
    site.look(true).await;
    for path in [format!("/api/v1/sync/episodes/{id}/resync"), format!("/api/v1/sync/episodes/{id}")] {
        let (status, said) = site.edge.post(&path, json!({})).await;
        assert_eq!(status, 409, "{said}");
        let code = if path.ends_with("resync") { "edge_copy_damaged" } else { "synced_already" };
        assert_eq!(said["code"], code, "{said}");
    }
    let object = site.object(0).await.unwrap();
    assert_eq!(object.sha256.as_deref(), Some(&*site.recordings[0].sha256));
    let worker = site.copies_worker();
    assert_eq!(site.restore(id).await.0, 202);
    site.until_edge(id, "available").await;
    assert_eq!(site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await.0, 202);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_needed_after_all_keep_the_disk_from_no_room() {
    // One more than a look asks for.
    let site = Site::with((0..22).map(|_| small()).collect()).await;
    site.synced().await;
    let newest = EpisodeId(site.number("select id from episodes order by cloud_synced_at desc, id desc limit 1").await);
    for episode in site.episodes.iter().filter(|episode| **episode != newest) {
        let resync = QueueSync { episode: *episode, reason: SyncReason::Resync, clouds: site.clouds.clone() };
        site.edge.commands.execute(&Context::system(), resync).await.expect("queued");
    }
    let settings = Config::from_parts(Some(("a test", "[edge_copies]\nfree_percent_min = 99\n")), &BTreeMap::new()).expect("settings");
    let retention = Retention::of(&settings.edge_copies, Some(site.edge.objects.folder.path())).expect("it is on");
    let stop = CancellationToken::new();
    let retaining = tokio::spawn(retain(site.edge.commands.clone(), retention, stop.clone()));
    let asked = "select count(*) from episodes where edge_copy = 'deleting'";
    until("its copy is to be removed", async || site.number(asked).await == 1).await;
    assert_eq!(site.copies(newest).await["edge"]["status"], "deleting");
    stop.cancel();
    retaining.await.expect("an end");
}
