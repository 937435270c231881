//! What goes wrong behind our back: a proxy answers in place of the store, the edge storage does not say what it wrote, and what is beside a recording, or the
//! recording itself, is not there any more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystone_edge::blobs::{Access, Blobs, LocalObject, LocalObjects, ObjectKey, PutFacts};
use keystone_edge::domain::sync::CloudName;
use serde_json::{Value, json};

use super::copies::{file_with, flip_a_byte};
use super::{Site, large, small};
use crate::harness::{access, until};

/// The address of what knows no route, with what it says to each.
async fn knows_no_route(says: &'static str) -> String {
    let nothing = axum::Router::new().fallback(async move || (axum::http::StatusCode::NOT_FOUND, says));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, nothing).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_finds_nothing_is_no_missing_object() {
    for says in ["", "<html><body><h1>404 Not Found</h1></body></html>"] {
        let proxy = knows_no_route(says).await;
        let site = Site::with(vec![small(), small()]).await;
        let (synced, waits) = (site.episodes[0], site.episodes[1]);
        let worker = site.worker("w");
        site.queue(synced).await;
        site.until_status(synced, "completed").await;
        worker.stop().await;
        let behind = || site.reached(|settings| settings.endpoint = proxy.clone(), None);

        let worker = site.copies_worker_to(behind());
        assert_eq!(site.edge.post(&format!("/api/v1/episodes/{synced}/copies/look"), json!({ "place": "s3" })).await.0, 202);
        assert_eq!(site.remove(synced).await.0, 202);
        let edge = site.until_edge(synced, "delete_failed").await;
        assert_eq!(edge["failure"]["fault"], "cloud_away", "{says}: {edge}");
        worker.stop().await;
        // It was looked at, and nothing is said of it.
        assert_eq!(site.copies(synced).await["clouds"][0].get("looked_at"), None);

        let worker = site.worker_with("behind", |settings| settings.endpoint = proxy.clone(), None);
        site.queue(waits).await;
        let error = async || site.edge.get("/api/v1/sync/config").await.1["destinations"][0]["error"].clone();
        until("it is told", async || error().await.as_str().is_some_and(|error| error.contains("no store"))).await;
        worker.stop().await;
        let status = site.status(waits).await;
        assert_eq!((&status["status"], &status["attempt_count"]), (&json!("pending"), &json!(0)), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_another_one_goes_nowhere() {
    for cloud in [CloudName::S3, CloudName::Gateway] {
        let site = Site::to(&[cloud], vec![small()]).await;
        let id = site.episodes[0];
        flip_a_byte(&file_with(site.edge.objects.folder.path(), site.recordings[0].sidecar.as_ref().unwrap()), 7);
        let worker = site.worker("w");
        site.queue(id).await;
        until("it is given up", async || site.logs(id).await[0]["given_up"] == "permanent").await;
        let log = &site.logs(id).await[0];
        assert_eq!(log["error_class"], "source_changed", "{log}");
        assert!(log["error_message"].as_str().unwrap().contains("the sidecar"), "{log}");
        assert!(site.report().await.objects.iter().all(|object| object.sha256.is_none()));
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_whose_sidecar_is_lost_goes_to_the_bucket_without_it() {
    let site = Site::with(vec![small()]).await;
    let path = site.episode(site.episodes[0]).await["sidecar_path"].as_str().unwrap().to_owned();
    site.edge.objects.blobs.delete(&ObjectKey::new(path.split_once('/').unwrap().1).unwrap()).await.unwrap();
    let worker = site.worker("w");
    site.queue_all().await;
    site.until_synced().await;
    worker.stop().await;
    site.assert_all_there_once().await;
    assert_eq!(site.report().await.episodes[0].first["sidecar_key"], Value::Null);
}

/// An endpoint on whose disk the first object cannot be made durable.
#[derive(Debug)]
struct FailsOnce {
    objects: Arc<dyn LocalObjects>,
    failed: AtomicBool,
}

impl LocalObjects for FailsOnce {
    fn folder(&self) -> &Path {
        self.objects.folder()
    }

    fn open(&self, key: &ObjectKey) -> std::io::Result<Option<LocalObject>> {
        self.objects.open(key)
    }

    fn sync(&self, key: &ObjectKey) -> std::io::Result<()> {
        if self.failed.swap(true, Ordering::SeqCst) { self.objects.sync(key) } else { Err(std::io::Error::other("the disk says no")) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_written_and_not_seen_is_seen_and_pushed_again() {
    let site = Site::with(vec![large(6)]).await;
    let id = site.episodes[0];
    site.synced().await;
    flip_a_byte(&file_with(site.edge.objects.folder.path(), &site.recordings[0].mcap), 70_000);
    site.look(true).await;
    assert_eq!(site.episode(id).await["damaged_copies"], json!(["edge"]));
    let objects = &site.edge.objects;
    let local = Arc::new(FailsOnce { objects: objects.s3.local(), failed: AtomicBool::new(false) });
    let blobs = Blobs::new(Access { local: Some(local.clone()), ..access(&objects.s3) }, &objects.settings).expect("a client");
    let worker = site.copies_worker_on(blobs);
    assert_eq!(site.restore(id).await.0, 202);
    let edge = site.until_edge(id, "available").await;
    worker.stop().await;
    assert!(local.failed.load(Ordering::SeqCst));
    assert_eq!(edge.get("failure"), None, "{edge}");
    assert_eq!(site.episode(id).await.get("damaged_copies"), None);
    assert_eq!(site.number("select count(*) from events where event_type = 'edge_copy_restored'").await, 1);
    assert_eq!(site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await.0, 202);
    let worker = site.worker("again");
    site.until_status(id, "completed").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_that_were_written_once_more_are_pushed_and_others_are_not() {
    let site = Site::with(vec![large(6), small()]).await;
    let (same, other) = (site.episodes[0], site.episodes[1]);
    // As an operator copies them back: in parts, which is another entity tag.
    for (nth, change) in [(0, 0), (1, 1)] {
        let mut bytes = site.recordings[nth].mcap.clone();
        bytes[500] ^= change;
        let before = site.edge.objects.blobs.head(&site.key(nth).await).await.unwrap();
        site.edge.objects.blobs.put_from(&site.key(nth).await, &*bytes, &PutFacts::default()).await.expect("it is written");
        assert_ne!(site.edge.objects.blobs.head(&site.key(nth).await).await.unwrap().etag, before.etag);
    }
    let worker = site.worker("w");
    site.queue_all().await;
    site.until_status(same, "completed").await;
    until("it is given up", async || site.logs(other).await[0]["given_up"] == "permanent").await;
    assert_eq!(site.logs(other).await[0]["error_class"], "source_changed");
    worker.stop().await;
    assert_eq!(site.object(0).await.unwrap().sha256.as_deref(), Some(&*site.recordings[0].sha256));
    assert!(site.object(1).await.is_none_or(|object| object.sha256.is_none()));
}
