//! Copies: removed from the edge storage, brought back, looked at again; and no copy is the last one that is removed.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keystone_edge::app::copies::{Patrol, PatrolTerms};
use keystone_edge::blobs::{BlobError, Blobs, ObjectKey};
use keystone_edge::config::{Config, Secret};
use keystone_edge::domain::EpisodeId;
use keystone_edge::domain::sync::CloudName;
use keystone_edge::embedded::s3::guard::{Delete, Deleting, Guard, Refusal, RefusalKind, Replace, Replacing};
use keystone_edge::embedded::s3::{Credentials, EmbeddedS3, Options};
use keystone_edge::subscribers::cloud_sync::Clouds;
use keystone_edge::subscribers::edge_copies::{EdgeCopies, Looker};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Site, delivery, large, small};
use crate::apply_suite::ask;
use crate::harness::bench::{Bench, Recording, transfer_of};
use crate::harness::s3::RawS3;
use crate::harness::{TestObjects, access, simulated_cloud, until};
use crate::inspection::{episode, uploaded};
use crate::judging::{TOPICS, recorded};
use crate::outbox::{Running, dispatch};

impl Site {
    fn looker(&self, blobs: Blobs, bytes_per_s: u64) -> Looker {
        Looker { commands: self.edge.commands.clone(), blobs, clouds: self.reached(|_| {}, None), bytes_per_s }
    }

    pub fn copies_worker(&self) -> Running {
        self.copies_worker_on(self.edge.objects.blobs.clone())
    }

    pub fn copies_worker_to(&self, clouds: Clouds) -> Running {
        self.copies_worker_with(Looker { clouds, ..self.looker(self.edge.objects.blobs.clone(), 0) })
    }

    pub fn copies_worker_on(&self, blobs: Blobs) -> Running {
        self.copies_worker_with(self.looker(blobs, 0))
    }

    fn copies_worker_with(&self, looker: Looker) -> Running {
        dispatch(&self.edge.database.pool, Arc::new(EdgeCopies::new(looker)), delivery(), "copies")
    }

    /// Each copy in the edge storage is removed, and brought back from these clouds as it was; and what they have is looked at.
    pub async fn take_away_and_bring_back(&self, clouds: Clouds) {
        let worker = self.copies_worker_to(clouds);
        for (nth, id) in self.episodes.iter().enumerate() {
            assert_eq!(self.remove(*id).await.0, 202);
            self.until_edge(*id, "deleted").await;
            assert_eq!((self.edge_sha256(nth).await, self.restore(*id).await.0), (None, 202));
            self.until_edge(*id, "available").await;
            assert_eq!(self.edge_sha256(nth).await.as_deref(), Some(&*self.recordings[nth].sha256));
            assert_eq!(self.edge.post(&format!("/api/v1/episodes/{id}/copies/look"), json!({ "place": "s3" })).await.0, 202);
            until("it was looked at", async || self.copies(*id).await["clouds"][0]["looked_at"]["depth"] == "content").await;
            assert_eq!(self.copies(*id).await["clouds"][0]["looked_at"]["sound"], true);
        }
        worker.stop().await;
    }

    /// Looks at all copies, and at all of their bytes or at none.
    pub async fn look(&self, with_content: bool) {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let percent = if with_content { 100 } else { 0 };
        let settings = format!(
            "[patrol]\nevery_s = 1\nlooks_per_second_max = 1000\nbytes_per_second_max = 1000000000\nedge_content_percent = {percent}\ncloud_content_percent = {percent}\n"
        );
        let settings = Config::from_parts(Some(("a test", &settings)), &BTreeMap::new()).expect("settings").patrol;
        let patrol = Patrol {
            looker: self.looker(self.edge.objects.blobs.clone(), settings.bytes_per_second_max),
            terms: PatrolTerms::of(&settings).expect("it is on"),
        };
        patrol.look_at_all().await.expect("a look");
    }

    pub async fn copies(&self, id: EpisodeId) -> Value {
        let (status, told) = self.edge.get(&format!("/api/v1/episodes/{id}/copies")).await;
        assert_eq!(status, 200, "{told}");
        told
    }

    pub async fn remove(&self, id: EpisodeId) -> (u16, Value) {
        let (status, said) = self.edge.send_as(&self.edge.admin, "DELETE", &format!("/api/v1/episodes/{id}/edge-copy"), Value::Null).await;
        (status, said)
    }

    pub async fn restore(&self, id: EpisodeId) -> (u16, Value) {
        self.edge.post(&format!("/api/v1/episodes/{id}/edge-copy/restore"), json!({})).await
    }

    pub async fn until_edge(&self, id: EpisodeId, wanted: &str) -> Value {
        until(&format!("the copy of {id} is {wanted}"), async || self.copies(id).await["edge"]["status"] == wanted).await;
        self.copies(id).await["edge"].clone()
    }

    pub async fn synced(&self) {
        let worker = self.worker("w");
        self.queue_all().await;
        self.until_synced().await;
        worker.stop().await;
    }

    pub async fn key(&self, nth: usize) -> ObjectKey {
        let path = self.episode(self.episodes[nth]).await["mcap_path"].as_str().expect("a path").to_owned();
        ObjectKey::new(path.split_once('/').expect("a bucket").1).expect("a key")
    }

    /// The SHA-256 of what lies in the edge storage.
    async fn edge_sha256(&self, nth: usize) -> Option<String> {
        let (key, blobs) = (self.key(nth).await, &self.edge.objects.blobs);
        let facts = blobs.head(&key).await.ok()?;
        match crate::harness::sha256_of(blobs, &key, &facts).await {
            // It was removed, or brought back, at this moment.
            Err(BlobError::NotFound(_) | BlobError::Changed(_)) => None,
            read => Some(read.expect("it is read").0),
        }
    }

    fn cloud_folder(&self) -> &Path {
        self.folders[0].path()
    }

    fn edge_folder(&self) -> &Path {
        self.edge.objects.folder.path()
    }
}

/// With other bytes than [`small`].
fn another() -> Recording {
    recorded(&TOPICS, 6)
}

/// The file below a folder that has these bytes.
pub fn file_with(folder: &Path, content: &[u8]) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).is_ok_and(|bytes| bytes == content) {
                return path;
            }
        }
    }
    panic!("no file has these bytes");
}

/// As a disk does it: nobody is told.
pub fn flip_a_byte(file: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("another byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_synced_may_be_removed_and_is_brought_back_as_it_was() {
    let site = Site::to(&[CloudName::S3, CloudName::Gateway], vec![large(12)]).await;
    let id = site.episodes[0];
    let (status, said) = site.remove(id).await;
    assert_eq!((status, &said["code"]), (409, &json!("edge_copy_needed")), "{said}");
    assert!(said["error"].as_str().unwrap().contains("has not been synced"), "{said}");
    site.queue(id).await;
    assert_eq!(site.remove(id).await.0, 409);
    let worker = site.worker("w");
    site.until_synced().await;
    worker.stop().await;
    let before = site.copies(id).await;
    assert_eq!((&before["edge"]["removable"], &before["edge"]["restorable"]), (&json!(true), &json!(false)), "{before}");
    assert_eq!(before["clouds"].as_array().map(Vec::len), Some(2), "{before}");
    assert_eq!(site.restore(id).await.1["code"], "nothing_to_restore");
    assert_eq!(site.edge.post(&format!("/api/v1/episodes/{id}/copies/look"), Value::Null).await.0, 202);

    let (status, said) = site.remove(id).await;
    assert_eq!((status, &said["edge"]["status"]), (202, &json!("deleting")), "{said}");
    assert_eq!(site.remove(id).await.0, 202, "once is enough");
    // From now on nobody reads it.
    let worker = site.copies_worker();
    for state in ["deleting", "deleted"] {
        for (method, path) in [
            ("GET", format!("/api/v1/episodes/{id}/presign")),
            ("GET", format!("/api/v1/episodes/{id}/frames?topic=/camera")),
            ("GET", format!("/api/v1/episodes/{id}/viewer-link")),
            ("POST", format!("/api/v1/qa/episodes/{id}/run")),
            ("POST", format!("/api/v1/sync/episodes/{id}/resync")),
            ("POST", format!("/api/v1/episodes/{id}/copies/look")),
        ] {
            let (status, said) =
                site.edge.send_as(&site.edge.admin, method, &path, if method == "POST" { json!({}) } else { Value::Null }).await;
            assert_eq!((status, &said["code"]), (410, &json!("edge_copy_gone")), "{state}: {path}: {said}");
            assert!(said["cloud_mcap_path"].as_str().is_some_and(|key| key.ends_with(".mcap")), "{said}");
        }
        site.until_edge(id, "deleted").await;
    }
    assert_eq!(site.edge_sha256(0).await, None);
    assert_eq!(site.edge.get(&format!("/api/v1/episodes/{id}/presign?kind=sidecar")).await.0, 200, "its sidecar stays");
    assert_eq!(site.number("select count(*) from events where event_type = 'edge_copy_removal_requested'").await, 1);
    for (query, total) in [("edge_copy=deleted", 1), ("edge_copy=available", 0), ("edge_copy=lost", 0), ("damaged_copy=true", 0)] {
        assert_eq!(site.edge.get(&format!("/api/v1/episodes?{query}")).await.1["total"], total, "{query}");
    }
    assert_eq!(site.copies(id).await["edge"]["restorable"], true);
    // The others may be looked at.
    let look = async |place: &str| site.edge.post(&format!("/api/v1/episodes/{id}/copies/look"), json!({ "place": place })).await;
    assert_eq!((look("s3").await.0, look("gateway").await.0, look("moon").await.0), (202, 202, 400));
    until("both were", async || {
        let copies = site.copies(id).await;
        copies["clouds"].as_array().unwrap().iter().all(|copy| copy["looked_at"]["sound"] == true)
    })
    .await;

    assert_eq!(site.restore(id).await.0, 202);
    site.until_edge(id, "available").await;
    assert_eq!(site.edge_sha256(0).await.as_deref(), Some(&*site.recordings[0].sha256));
    assert_eq!(site.edge.get(&format!("/api/v1/episodes/{id}/presign")).await.0, 200);
    // It may have another entity tag, and is pushed, removed and brought back all the same.
    assert_eq!(site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await.0, 202);
    let push = site.worker("again");
    site.until_status(id, "completed").await;
    push.stop().await;
    site.look(false).await;
    let found = site.copies(id).await;
    assert_eq!(found["edge"]["looked_at"]["sound"], true, "{found}");
    assert!(found["clouds"].as_array().unwrap().iter().all(|copy| copy["looked_at"]["sound"] == true), "{found}");
    assert_eq!(site.remove(id).await.0, 202);
    site.until_edge(id, "deleted").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_removed_that_a_cloud_does_not_have() {
    let site = Site::with(vec![small(), another()]).await;
    let (lost, away) = (site.episodes[0], site.episodes[1]);
    site.synced().await;
    let worker = site.copies_worker();
    let in_cloud = RawS3::new(site.cloud.addresses().s3, "simulated-cloud", "simulated-cloud-secret");
    let object = site.object(0).await.expect("an object");
    assert_eq!(in_cloud.delete(&format!("/{}/{}", object.bucket, object.key)).await.status, 204);
    assert_eq!(site.remove(lost).await.0, 202);
    let edge = site.until_edge(lost, "delete_failed").await;
    assert_eq!(edge["failure"]["fault"], "not_in_cloud", "{edge}");
    site.faults(|faults| faults.down = true);
    assert_eq!(site.remove(away).await.0, 202);
    let edge = site.until_edge(away, "delete_failed").await;
    assert_eq!(edge["failure"]["fault"], "cloud_away", "{edge}");
    site.faults(|_| {});
    for nth in [0, 1] {
        assert_eq!(site.edge_sha256(nth).await.as_deref(), Some(&*site.recordings[nth].sha256));
        assert_eq!(site.edge.get(&format!("/api/v1/episodes/{}/presign", site.episodes[nth])).await.0, 200);
    }
    // A person asks once more.
    assert_eq!(site.remove(away).await.0, 202);
    assert_eq!(site.until_edge(away, "deleted").await.get("failure"), None);
    // What the patrol knows of the other one, keeps it.
    site.look(false).await;
    let (status, said) = site.remove(lost).await;
    assert_eq!((status, &said["code"]), (409, &json!("edge_copy_needed")), "{said}");
    worker.stop().await;
}

/// A store with retention, or a key that may not delete.
struct Refusing;

#[async_trait]
impl Guard for Refusing {
    async fn replace(&self, _: Replacing<'_>) -> Replace {
        Replace::Allow
    }

    async fn delete(&self, _: Deleting<'_>) -> Delete {
        Delete::Refuse(Refusal { kind: RefusalKind::Denied, reason: "objects are kept here".to_owned() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_a_removal_is_told_of() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.synced().await;
    let TestObjects { settings, folder, .. } = &site.edge.objects;
    let credentials = Credentials { access_key: "test".to_owned(), secret_key: Secret::new("test-secret") };
    let options = Options::new(credentials, &settings.bucket, Duration::from_secs(3600)).guarded_by(Arc::new(Refusing));
    let refusing = EmbeddedS3::start(&folder.path().join("objects"), ([127, 0, 0, 1], 0).into(), options).await.expect("an S3 endpoint");
    let worker = site.copies_worker_with(site.looker(Blobs::new(access(&refusing), settings).expect("a client"), 1 << 30));
    assert_eq!(site.remove(id).await.0, 202);
    let edge = site.until_edge(id, "delete_failed").await;
    worker.stop().await;
    assert_eq!(edge["failure"]["fault"], "edge_storage", "{edge}");
    assert!(edge["failure"]["text"].as_str().unwrap().contains("objects are kept here"), "{edge}");
    assert!(site.edge_sha256(0).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_died_behind_the_removal_removed_it() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.synced().await;
    assert_eq!(site.remove(id).await.0, 202);
    site.edge.objects.blobs.delete(&site.key(0).await).await.expect("it is removed");
    site.faults(|faults| faults.down = true);
    let worker = site.copies_worker();
    site.until_edge(id, "deleted").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_patrol_finds_a_flipped_byte_in_store_and_cloud() {
    let site = Site::with(vec![large(12), small(), another()]).await;
    let (edge, cloud, sound) = (site.episodes[0], site.episodes[1], site.episodes[2]);
    site.synced().await;
    flip_a_byte(&file_with(site.edge_folder(), &site.recordings[0].mcap), 6 << 20);
    flip_a_byte(&file_with(site.cloud_folder(), &site.recordings[1].mcap), 500);
    // What the stores say of them is what it was.
    site.look(false).await;
    for id in &site.episodes {
        let copies = site.copies(*id).await;
        assert_eq!((&copies["edge"]["looked_at"]["sound"], &copies["edge"]["looked_at"]["depth"]), (&json!(true), &json!("summary")));
        assert_eq!(copies["clouds"][0]["looked_at"]["sound"], true, "{copies}");
    }
    site.look(true).await;
    let copies = [site.copies(edge).await, site.copies(cloud).await, site.copies(sound).await];
    let found = copies.each_ref().map(|copies| (&copies["edge"]["looked_at"]["sound"], &copies["clouds"][0]["looked_at"]["sound"]));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(found, [(&no, &yes), (&yes, &no), (&yes, &yes)], "{copies:?}");
    assert!(copies[0]["edge"]["looked_at"]["damage"].as_str().unwrap().contains("SHA-256"), "{}", copies[0]);
    assert_eq!(site.edge.get("/api/v1/episodes?damaged_copy=true").await.1["total"], 2);
    assert_eq!(site.episode(cloud).await["damaged_copies"], json!(["s3"]));
    // One is offered from the cloud, the other one stays where it is good.
    assert_eq!((&copies[0]["edge"]["restorable"], &copies[1]["edge"]["restorable"]), (&yes, &no));
    assert_eq!(site.remove(cloud).await.1["code"], "edge_copy_needed");
    let worker = site.copies_worker();
    assert_eq!(site.restore(edge).await.0, 202);
    site.until_edge(edge, "available").await;
    assert_eq!(site.edge_sha256(0).await.as_deref(), Some(&*site.recordings[0].sha256));
    assert_eq!(site.edge.post(&format!("/api/v1/sync/episodes/{cloud}/resync"), json!({})).await.0, 202);
    let push = site.worker("again");
    site.until_status(cloud, "completed").await;
    push.stop().await;
    site.look(true).await;
    assert_eq!(site.edge.get("/api/v1/episodes?damaged_copy=true").await.1["total"], 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_content_is_not_brought_back() {
    let site = Site::with(vec![another(), small()]).await;
    let (gone, there) = (site.episodes[0], site.episodes[1]);
    site.synced().await;
    let worker = site.copies_worker();
    flip_a_byte(&file_with(site.cloud_folder(), &site.recordings[0].mcap), 900);
    assert_eq!(site.remove(gone).await.0, 202);
    site.until_edge(gone, "deleted").await;
    assert_eq!(site.restore(gone).await.0, 202);
    until("it has failed", async || site.copies(gone).await["edge"]["failure"]["fault"] == "damaged").await;
    assert_eq!(site.copies(gone).await["edge"]["status"], "deleted");
    // All of it was read: that is a look, too.
    assert_eq!(site.episode(gone).await["damaged_copies"], json!(["s3"]));
    assert_eq!(site.edge_sha256(0).await, None);
    assert_eq!(site.edge.get(&format!("/api/v1/episodes/{gone}/presign")).await.0, 410);
    // Of one that is there, damaged, the damaged bytes stay; a cloud that is away changes nothing either.
    let file = file_with(site.edge_folder(), &site.recordings[1].mcap);
    flip_a_byte(&file, 700);
    flip_a_byte(&file_with(site.cloud_folder(), &site.recordings[1].mcap), 900);
    site.look(true).await;
    for (fault, down) in [("damaged", false), ("cloud_away", true)] {
        site.faults(|faults| faults.down = down);
        assert_eq!(site.restore(there).await.0, 202);
        until(fault, async || site.copies(there).await["edge"]["failure"]["fault"] == fault).await;
        assert_eq!(site.copies(there).await["edge"]["status"], "available");
        assert!(site.edge_sha256(1).await.is_some_and(|now| now != site.recordings[1].sha256));
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_no_finding() {
    let site = Site::with(vec![small()]).await;
    let id = site.episodes[0];
    site.synced().await;
    site.faults(|faults| faults.down = true);
    site.look(true).await;
    let copies = site.copies(id).await;
    assert_eq!(copies["edge"]["looked_at"]["sound"], true, "{copies}");
    assert_eq!(copies["clouds"][0].get("looked_at"), None, "{copies}");
    site.faults(|_| {});
    // It is asked later, and not by the next look.
    site.look(true).await;
    assert_eq!(site.copies(id).await["clouds"][0].get("looked_at"), None);
    site.edge.database.pool.get().await.unwrap().execute("update copy_looks set until = now() - interval '1 second'", &[]).await.unwrap();
    site.look(true).await;
    assert_eq!(site.copies(id).await["clouds"][0]["looked_at"]["depth"], "content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_the_gateway_alone_is_removed_and_cannot_be_brought_back() {
    let site = Site::to(&[CloudName::Gateway], vec![small()]).await;
    let id = site.episodes[0];
    site.synced().await;
    site.look(true).await;
    let copies = site.copies(id).await;
    assert_eq!((&copies["clouds"][0]["place"], &copies["clouds"][0]["looked_at"]["sound"]), (&json!("gateway"), &json!(true)), "{copies}");
    assert_eq!(copies["clouds"][0]["looked_at"]["depth"], "summary");
    let worker = site.copies_worker();
    assert_eq!(site.remove(id).await.0, 202);
    let edge = site.until_edge(id, "deleted").await;
    assert_eq!(edge["restorable"], false);
    let (status, said) = site.restore(id).await;
    assert_eq!((status, &said["code"]), (409, &json!("nothing_to_restore")), "{said}");
    worker.stop().await;
}

/// Whatever people, rules and clouds do: what is not in the edge storage is in the cloud, byte for byte, and was proven to be there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_removal_takes_the_last_copy() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let site = Site::with(vec![small(), small(), small(), large(6)]).await;
    let workers = [site.worker("w"), site.copies_worker(), site.queue_worker(false)];
    let (mut removed, mut kept) = (0, 0);
    for step in 0..60 {
        let nth = rng.random_range(0..site.episodes.len());
        let id = site.episodes[nth];
        match rng.random_range(0..8) {
            0 | 1 => drop(site.edge.post(&format!("/api/v1/sync/episodes/{id}"), json!({})).await),
            2 => drop(site.edge.post(&format!("/api/v1/sync/episodes/{id}/resync"), json!({})).await),
            3 | 4 => drop(site.remove(id).await),
            5 => drop(site.restore(id).await),
            6 => site.faults(|faults| faults.down = step % 2 == 0),
            _ => {
                for episode in site.edge.commands.removable_copies(chrono::Utc::now(), &[], 10).await.expect("those that may be removed") {
                    drop(site.remove(episode).await);
                }
            }
        }
        if rng.random_bool(0.3) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..200))).await;
        }
        for nth in 0..site.episodes.len() {
            if site.edge_sha256(nth).await.is_none() {
                let object = site.object(nth).await.unwrap_or_else(|| panic!("step {step}: nobody has episode {nth}"));
                assert_eq!(object.sha256.as_deref(), Some(&*site.recordings[nth].sha256), "step {step}");
                removed += 1;
            } else {
                kept += 1;
            }
        }
    }
    println!("{removed} looks found a copy removed, {kept} found it there");
    site.faults(|_| {});
    for worker in workers {
        worker.stop().await;
    }
}

/// The real program, with its own store: a rule removes what is synced, and nobody else may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_removes_what_is_synced_and_the_store_lets_nobody_else() {
    let (cloud, _folder) = simulated_cloud(|_| {}).await;
    let mut bench = Bench::start_with(vec![
        ("KEYSTONE_CLOUD_S3_BUCKET", "keystone-cloud".to_owned()),
        ("KEYSTONE_CLOUD_S3_ENDPOINT", cloud.addresses().s3_endpoint()),
        ("KEYSTONE_CLOUD_S3_ACCESS_KEY", "simulated-cloud".to_owned()),
        ("KEYSTONE_CLOUD_S3_SECRET_KEY", "simulated-cloud-secret".to_owned()),
    ])
    .await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    let recording = small();
    let pushed = uploaded(&bench, &mut transfer, &tasks[0], &recording).await;
    let never = uploaded(&bench, &mut transfer, &tasks[1], &another()).await;
    let asked = ask(&bench, Method::POST, &format!("/sync/episodes/{pushed}"), json!({})).await;
    assert_eq!(asked.0, 202, "{}", asked.1);
    until("it is synced", async || episode(&bench, pushed).await["cloud_synced"] == true).await;
    let key = ObjectKey::new(bench.key(&tasks[0])).expect("a key");
    let secret = std::fs::read_to_string(bench.server.folder.join("data/secrets/s3_server")).expect("the server's secret");
    let own = RawS3::new(bench.server.address(3).parse().expect("an address"), "keystone-server", secret.trim());
    let object = format!("/{}/{key}", bench.server.store().bucket);
    assert_eq!(own.delete(&object).await.status, 403, "an episode names it");
    drop(transfer);

    // The patrol finds a byte that a disk has flipped, and the store lets the server put the recording in its place.
    bench.server.stop().await;
    flip_a_byte(&file_with(&bench.server.folder.join("data/objects"), &recording.mcap), 700);
    let settings = bench.server.folder.join("keystone.toml");
    let patrol = "[patrol]\nevery_s = 1\nedge_content_percent = 100\n";
    let patrol = std::fs::read_to_string(&settings).expect("settings") + patrol;
    std::fs::write(&settings, &patrol).expect("settings");
    bench.server.start();
    bench.server.ready().await;
    until("the damage is found", async || episode(&bench, pushed).await["damaged_copies"] == json!(["edge"])).await;
    until("the other one is sound", async || {
        ask(&bench, Method::GET, &format!("/episodes/{never}/copies"), Value::Null).await.1["edge"]["looked_at"]["sound"] == true
    })
    .await;
    let restored = ask(&bench, Method::POST, &format!("/episodes/{pushed}/edge-copy/restore"), json!({})).await;
    assert_eq!(restored.0, 202, "{}", restored.1);
    until("it is as it was", async || episode(&bench, pushed).await.get("damaged_copies").is_none()).await;
    let facts = bench.blobs.head(&key).await.expect("an object");
    assert_eq!(crate::harness::sha256_of(&bench.blobs, &key, &facts).await.expect("it is read").0, recording.sha256);
    assert_eq!(own.delete(&object).await.status, 403, "an episode names it");

    // No rule is on, until the settings say so.
    assert_eq!(episode(&bench, pushed).await["edge_copy"], "available");
    bench.server.stop().await;
    std::fs::write(&settings, patrol + "[edge_copies]\nremoved_after_s = 1\n").expect("settings");
    bench.server.start();
    bench.server.ready().await;
    until("it is removed", async || episode(&bench, pushed).await["edge_copy"] == "deleted").await;
    assert!(bench.blobs.head(&key).await.is_err());
    let story = ask(&bench, Method::GET, &format!("/episodes/{pushed}/copies"), Value::Null).await.1;
    assert_eq!((&story["edge"]["status"], &story["edge"]["restorable"]), (&json!("deleted"), &json!(true)), "{story}");
    assert_eq!(episode(&bench, never).await["edge_copy"], "available", "it was never pushed");

    // With the rule on it goes again.
    let restored = ask(&bench, Method::POST, &format!("/episodes/{pushed}/edge-copy/restore"), json!({})).await;
    assert_eq!(restored.0, 202, "{}", restored.1);
    until("it was brought back", async || {
        let pool = bench.server.database().await;
        crate::outbox::number(&pool, "select count(*) from events where event_type = 'edge_copy_restored'").await == 2
    })
    .await;
    assert_eq!(
        cloud
            .report()
            .await
            .expect("a report")
            .objects
            .iter()
            .filter(|object| object.sha256.as_deref() == Some(&*recording.sha256))
            .count(),
        1
    );
}
