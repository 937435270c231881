//! Two processes push what is approved to two clouds, a bucket and the gateway of the data platform, and one of them is killed every few seconds;
//! lines are cut at random bytes, answers are lost, the clouds are away for a while, and what lets us in expires. At the end what is approved is in
//! both, once and byte for byte, and nothing else is.
//!
//! `CAMPAIGN_ROUNDS` is how many kills there are (3); eight episodes are pushed for each.

use std::time::Duration;

use keystone_edge::commands::Commands;
use keystone_edge::eventstore::{EventStore, log};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::cloud::{CloudFaults, LostAnswers, Operation};
use keystone_edge::simulator::factory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::cloud_sync::large;
use crate::harness::bench::Recording;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, simulated_cloud, temp_folder};
use crate::judging::{TOPICS, recorded};
use crate::outbox::number;
use crate::stored_episodes::EpisodeMaker;

const EPISODES_PER_KILL: usize = 8;
/// How long both live before one is killed, in milliseconds.
const LIVES_MS: std::ops::Range<u64> = 300..2500;
const OUTAGE: Duration = Duration::from_secs(6);
/// The first one of a long campaign, of so many kills or more.
const LONG_OUTAGE: (Duration, usize) = (Duration::from_secs(60), 25);
/// From the last start until everything is there.
const AT_REST_WITHIN: Duration = Duration::from_secs(120);
const PART: u64 = 5 << 20;

fn kills() -> usize {
    std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// One of five is not approved, and one of four has several parts.
fn recording(n: usize) -> (Recording, bool) {
    match n {
        _ if n % 5 == 4 => (recorded(&TOPICS[..3], 5), false),
        _ if n.is_multiple_of(4) => (large(11), true),
        _ => (recorded(&TOPICS, 5), true),
    }
}

fn weather() -> CloudFaults {
    let lost = |kind| LostAnswers { kind, share: 0.05 };
    CloudFaults {
        cut_connections: 0.03,
        slow_downs: 0.02,
        lost_answers: [
            Operation::Complete,
            Operation::Put,
            Operation::Create,
            Operation::Part,
            Operation::Tell,
            Operation::CreateUpload,
            Operation::Recovery,
            Operation::Reissue,
            Operation::CompleteUpload,
        ]
        .map(lost)
        .to_vec(),
        sts_lifetime: Some(Duration::from_secs(10)),
        token_lifetime: Some(Duration::from_secs(5)),
        ..CloudFaults::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_pushes_what_is_approved_is_in_the_cloud_once() {
    let (seed, kills, started): (u64, _, _) = (rand::random(), kills(), Instant::now());
    println!("seed {seed}");
    let (mut rng, many) = (StdRng::seed_from_u64(seed), kills * EPISODES_PER_KILL);
    let (database, objects, folders) = (TestDatabase::new().await, TestObjects::new().await, [temp_folder(), temp_folder()]);
    let platform = folders[0].path().join("platform.json");
    let (cloud, _cloud_folder) = simulated_cloud(|options| {
        options.seed = seed;
        options.part_size = PART as i64;
        options.write_config = Some(platform.clone());
    })
    .await;
    cloud.set_faults(weather());
    let mut servers = folders.each_ref().map(|folder| {
        let mut server = Server::sharing(folder.path(), &database.url, &objects.s3.endpoint());
        let settings = std::fs::read_to_string(folder.path().join("keystone.toml")).expect("settings");
        std::fs::write(folder.path().join("keystone.toml"), format!("{settings}[sync]\npart_mib = 5\n")).expect("settings");
        server.settings.extend([
            ("KEYSTONE_SYNC_AUTO_SCAN_ENABLED", "true".to_owned()),
            ("KEYSTONE_CLOUD_S3_BUCKET", "keystone-cloud".to_owned()),
            ("KEYSTONE_CLOUD_S3_ENDPOINT", cloud.addresses().s3_endpoint()),
            ("KEYSTONE_CLOUD_S3_ACCESS_KEY", "simulated-cloud".to_owned()),
            ("KEYSTONE_CLOUD_S3_SECRET_KEY", "simulated-cloud-secret".to_owned()),
            ("KEYSTONE_SYNC_DP_CONFIG", platform.display().to_string()),
            ("KEYSTONE_CLOUD_RECEIVER_URL", format!("http://{}", cloud.addresses().receiver)),
        ]);
        server.start();
        server
    });
    for server in &mut servers {
        server.ready().await;
    }
    let client = Client::sign_in(&servers[0].base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Pushed", 1).await.expect("a factory");
    let robot = made.stations[0].robot_id;
    let asset = serde_json::json!({ "asset_id": "simulated-asset" });
    let bound = client.call(Method::PUT, &format!("/robots/{robot}/cloud-asset"), Some(&asset)).await.expect("an answer");
    assert!(bound.status.is_success(), "{}", bound.body);
    let order = factory::place_order(&client, &made, "Pushed", many).await.expect("an order");
    let tasks = factory::dispatch(&client, &made, order, &made.stations[0], many).await.expect("a batch");
    let commands = Commands::new(EventStore::new(database.pool.clone(), Wakes::default()));
    let (pool, bucket) = (database.pool.clone(), objects.settings.bucket.clone());
    let maker = EpisodeMaker::new(commands, pool.clone(), objects.blobs.clone(), &bucket, &made.stations[0].device_id).await;
    let coming = tokio::spawn(async move {
        let mut recordings = vec![];
        for (n, task) in tasks.iter().enumerate() {
            let (recording, approved) = recording(n);
            maker.make_measured(task.id, &task.public_id, &recording).await;
            recordings.push((task.id, recording, approved));
            sleep(Duration::from_millis(LIVES_MS.end / EPISODES_PER_KILL as u64 / 2)).await;
        }
        recordings
    });

    let mut among_pushes = 0;
    for kill in 0..kills {
        match kill % 3 {
            // The cloud is away, and comes back.
            1 => {
                cloud.set_faults(CloudFaults { down: true, ..weather() });
                sleep(if kill == 1 && kills >= LONG_OUTAGE.1 { LONG_OUTAGE.0 } else { OUTAGE }).await;
                cloud.set_faults(weather());
            }
            // Its key expires, and is renewed.
            2 => {
                cloud.set_faults(CloudFaults { key_lifetime: Some(Duration::from_millis(1)), ..weather() });
                sleep(OUTAGE / 3).await;
                cloud.set_faults(weather());
                cloud.renew_key();
            }
            _ => {}
        }
        sleep(Duration::from_millis(rng.random_range(LIVES_MS))).await;
        let dies = &mut servers[rng.random_range(0..2)];
        dies.kill();
        among_pushes += number(&pool, "select count(*) from sync_chains where status = 'in_progress'").await;
        dies.start();
        dies.ready().await;
    }
    let recordings = coming.await.expect("all episodes");
    let rest = Instant::now();
    let open = "select (select count(*) from episodes where qa_status in ('pending_qa', 'qa_running'))
        + (select count(*) from outbox where subscriber in ('qa', 'cloud_queue', 'cloud_sync'))";
    while number(&pool, open).await > 0 {
        assert!(rest.elapsed() < AT_REST_WITHIN, "seed {seed}: not all is pushed:\n{}\n{}", servers[0].tail(), servers[1].tail());
        sleep(Duration::from_millis(50)).await;
    }

    let report = cloud.report().await.expect("a report");
    let (mut sent, mut size) = (0, 0);
    for (task, recording, approved) in &recordings {
        let sql = format!("select e.mcap_path, e.cloud_synced, e.episode_id from episodes e where e.task_id = {task}");
        let row = pool.get().await.expect("a connection").query_one(&sql, &[]).await.expect("an episode");
        let (path, synced, episode): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
        let key = path.split_once('/').expect("a bucket").1;
        let object = report.objects.iter().find(|object| object.key.ends_with(key));
        let with_platform: Vec<_> = report
            .logical_uploads
            .iter()
            .filter(|upload| upload.completed > 0 && upload.episode_id.as_deref() == Some(&*episode))
            .collect();
        assert_eq!(with_platform.len(), usize::from(*approved), "seed {seed}: {path}: {with_platform:?}");
        assert_eq!(synced, *approved, "seed {seed}: {path}");
        let Some(object) = object.filter(|_| *approved) else {
            assert!(!approved && object.is_none(), "seed {seed}: {path}: {object:?}");
            continue;
        };
        assert_eq!((object.sha256.as_deref(), object.completed), (Some(&*recording.sha256), 1), "seed {seed}: {object:?}");
        let other = report.objects.iter().find(|object| object.key == with_platform[0].object_key).expect("an object of the platform");
        assert_eq!((other.sha256.as_deref(), other.completed), (Some(&*recording.sha256), 1), "seed {seed}: {other:?}");
        assert_eq!(with_platform[0].tags["episode_id"], episode, "seed {seed}");
        let told = report.episodes.iter().filter(|told| told.episode_id == episode).count();
        assert_eq!(told, 1, "seed {seed}: {path}");
        sent += object.received_bytes;
        size += 2 * recording.mcap.len() as u64;
    }
    // Of a session that was replaced, too.
    sent += report.objects.iter().filter(|object| object.bucket == "keystone-oss").map(|object| object.received_bytes).sum::<u64>();
    assert_eq!(report.repeated_episodes, [], "seed {seed}");
    // With the platform, an upload whose beginning was not answered is known to nobody: its store ends it.
    let unfinished: Vec<_> = report.unfinished.iter().filter(|upload| upload.bucket != "keystone-oss").collect();
    assert!(unfinished.is_empty(), "seed {seed}: {unfinished:?}");
    // Each cut, each lost answer and each kill costs a part of each upload under way at most.
    let faults: u64 = report.faults.values().sum();
    let bound = size + (faults + kills as u64 * 2 * 4 * 3) * PART;
    assert!(sent <= bound, "seed {seed}: {sent} bytes sent of {size}, at most {bound}");
    assert_eq!(number(&pool, "select count(*) from sync_chains where given_up is not null").await, 0, "seed {seed}");
    let active_twice = "select count(*) from sync_chains a join sync_chains b using (episode_id) where a.id < b.id";
    assert_eq!(number(&pool, active_twice).await, 0, "seed {seed}: one chain is enough");
    assert_eq!(number(&pool, "select count(*) from dead_letters").await, 0, "seed {seed}");
    for server in &mut servers {
        assert_eq!(server.log().matches("panicked").count(), 0, "seed {seed}");
        server.stop().await;
    }
    assert_eq!(log::verify(&pool).await.expect("a check"), [], "seed {seed}");
    assert_eq!(rebuild(&pool).await.expect("a rebuild").differences, [], "seed {seed}");
    let attempts = number(&pool, "select coalesce(sum(attempt_count), 0)::bigint from sync_chains").await;
    println!(
        "{many} episodes, {} pushed, {kills} kills, {among_pushes} among pushes, {faults} faults ({:?}); {attempts} attempts; \
         {sent} bytes sent of {size}; {:?}",
        recordings.iter().filter(|(.., approved)| *approved).count(),
        report.faults,
        started.elapsed()
    );
}
