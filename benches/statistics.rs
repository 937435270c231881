//! Statistics and dashboards of a site with a million episodes, over the real program's routes, each beside plain SQL over the rows of episodes
//! and tasks in the same run; what counting costs; and an export of all of them, with the memory of the server.
//!
//! `KEYSTONE_BENCH_EPISODES` is how many there are, over 310 days (1,000,000; a gigabyte of disk), `KEYSTONE_BENCH_SECONDS` the seconds per figure (3).

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::collections::HashMap;
use std::time::Instant;

use deadpool_postgres::Pool;
use futures_util::StreamExt as _;
use keystone_edge::listener::raise_open_files;
use serde_json::{Value, json};

use baseline::{number, seconds};
use harness::counted::pack_all;
use harness::server::{PASSWORD, Server};

/// A hundred stations. A station works on one scene and procedure for a day; nine of ten episodes are approved, seven of ten in the cloud.
const FILL: &str = "
insert into factories (id, version, created_at, updated_at, name, slug, timezone) select 1, 1, now(), now(), 'Factory', 'f', 'UTC';
insert into organizations (id, version, created_at, updated_at, factory_id, name, slug) select n, 1, now(), now(), 1, 'Organization ' || n, 'o' || n from generate_series(1, 5) n;
insert into scenes (id, version, created_at, updated_at, factory_id, name) select n, 1, now(), now(), 1, 'Scene ' || n from generate_series(1, 10) n;
insert into sops (id, version, created_at, updated_at, slug, sop_version, skill_sequence) select n, 1, now(), now(), 'sop-' || n, '1', '{}' from generate_series(1, 20) n;
insert into robot_types (id, version, created_at, updated_at, name, model, sensor_suite, capabilities, ros_topics)
    select n, 1, now(), now(), 'Type ' || n, 'T' || n, '[]', '[]', '{}' from generate_series(1, 4) n;
insert into robots (id, version, created_at, updated_at, robot_type_id, factory_id, device_id, status, metadata)
    select n, 1, now(), now(), 1 + n % 4, 1, 'AB-' || n, 'active', '{}' from generate_series(1, 100) n;
insert into data_collectors (id, version, created_at, updated_at, organization_id, name, operator_id, status, metadata)
    select n, 1, now(), now(), 1 + n % 5, 'Collector ' || n, 'op-' || n, 'active', '{}' from generate_series(1, 100) n;
insert into stations (id, version, created_at, updated_at, name, robot_id, robot_name, robot_serial, data_collector_id, collector_name, collector_operator_id,
                      factory_id, organization_id, status, metadata, is_current)
    select n, 1, now(), now(), 'Station ' || n, n, 'Arm', 'AB-' || n, n, 'Collector ' || n, 'op-' || n, 1, 1 + n % 5, 'active', '{}', true from generate_series(1, 100) n;
insert into orders (id, version, created_at, updated_at, organization_id, scene_id, name, target_count, priority, status, task_count, completed_count, failed_count, cancelled_count)
    select n, 1, now(), now(), 1 + n % 5, 1 + n % 10, 'Order ' || n, 100, 'normal', 'completed', 10, 9, 1, 0 from generate_series(1, 1000) n;
insert into batches (id, version, created_at, updated_at, batch_id, order_id, station_id, organization_id, status, task_count, completed_count, failed_count,
                     cancelled_count, episode_count, started_at)
    select n, 1, now(), now(), 'batch_' || n, 1 + n % 1000, 1 + n % 100, 1 + n % 5, case when n % 500 = 0 then 'active' else 'completed' end, 50, 50, 0, 0, 50, now()
    from generate_series(1, EPISODES / 50) n;
create temporary table made as
    select n, now() - (EPISODES - n) * interval '310 days' / EPISODES as at, 1 + a % 100 as station, 1000 * (20 + a / 100 % 100) + a / 10000 % 1000 as ms,
           30000000 + b % 100000000 as bytes, (n * 310 / EPISODES) as day, b / 100000000 % 10 < 7 as synced,
           (array['approved', 'approved', 'approved', 'approved', 'approved', 'approved', 'approved', 'inspector_approved', 'rejected',
                  case when c / 10 % 10 = 0 then 'needs_inspection' else 'failed' end])[1 + c % 10] as qa
    from generate_series(1::bigint, EPISODES) n,
         lateral (select hashint8extended(n, 1) & x'7fffffffffffffff'::bigint as a, hashint8extended(n, 2) & x'7fffffffffffffff'::bigint as b,
                         hashint8extended(n, 3) & x'7fffffffffffffff'::bigint as c) h;
insert into tasks (id, version, created_at, updated_at, task_id, batch_id, order_id, station_id, sop_id, scene_id, scene_name, subscene_id, subscene_name,
                   initial_scene_layout, factory_id, organization_id, status, started_at, completed_at, ended_at, episode_id)
    select n, 1, at - interval '1 hour', at, 'task_' || n, 1 + n / 50 % (EPISODES / 50), 1 + n % 1000, station, 1 + (station + day) % 20, 1 + (station + day) % 10,
           'Scene', 1, 'Subscene', '', 1, 1 + station % 5, case when n % 50000 = 0 then 'in_progress' else 'completed' end, at - interval '1 minute', at, at, n from made;
insert into episodes (id, version, created_at, updated_at, episode_id, task_id, task_public_id, batch_id, order_id, station_id, sop_id, scene_id, scene_name, subscene_id,
                      subscene_name, factory_id, organization_id, mcap_path, checksum, file_size_bytes, duration_sec, message_count, qa_status, auto_approved, cloud_synced,
                      cloud_processed, labels, cloud_synced_at, inspection_deciders, inspection_blind)
    select n, 1, at, at, md5(n::text)::uuid::text, n, 'task_' || n, 1 + n / 50 % (EPISODES / 50), 1 + n % 1000, station, 1 + (station + day) % 20, 1 + (station + day) % 10,
           'Scene', 1, 'Subscene', 1, 1 + station % 5, 'edge/' || n || '.mcap', md5(n::text), bytes, ms / 1000.0, 1, qa, qa = 'approved', synced, false, '{}',
           case when synced then at end, '{}', false from made;
select setval(name::regclass, 1000000) from unnest(array['data_collector_ids']) name;
insert into counted_episodes (happened_at, episode_id, station_id, scene_id, sop_id, factory_id, organization_id, size_bytes, duration_ms, robot_type_id, cloud_synced, qa_status,
                              auto_approved, reason)
    select t.completed_at, e.id, e.station_id, e.scene_id, e.sop_id, e.factory_id, e.organization_id, e.file_size_bytes, round(e.duration_sec * 1000)::bigint, r.robot_type_id,
           e.cloud_synced, e.qa_status, e.qa_status = 'approved',
           case when e.qa_status <> 'approved' then (array['duration', 'max_gap', 'coverage', 'stuck', 'required_topics'])[1 + (hashint8(e.id) & 1023) % 5] end
    from episodes e join tasks t on t.id = e.task_id join stations s on s.id = e.station_id join robots r on r.id = s.robot_id order by e.id;
insert into counted_tasks (task_id, assigned_at, changed_at, station_id, scene_id, sop_id, ended_at, status)
    select id, created_at, updated_at, station_id, scene_id, sop_id, ended_at, status from tasks order by id;
insert into waiting_episodes (episode_id, arrived_at, cause, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id)
    select episode_id, happened_at, 'warnings', station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id from counted_episodes where qa_status = 'needs_inspection';
insert into counted_gaps (happened_at, episode_id, station_id, scene_id, sop_id, robot_type_id, factory_id, organization_id, missing_ms, longest_ms, missing_messages, gaps,
                          by_disk, by_sensor, by_queue, topic)
    select c.happened_at, c.episode_id, c.station_id, c.scene_id, c.sop_id, c.robot_type_id, c.factory_id, c.organization_id, 900, 600, 27, 2, 1, 0, 0, t.topic
    from counted_episodes c cross join (values (0, '/camera0/rgb'), (1, '/joint_states'), (2, '/imu')) t (place, topic) where c.episode_id % 10 = t.place order by c.episode_id;
insert into inspectors (id, version, created_at, updated_at, organization_id, certification_level, status, metadata, name, inspector_id)
    select n, 1, now(), now(), 1, 'senior', 'active', '{}', 'Inspector ' || n, 'i-' || n from generate_series(1, 20) n;
insert into inspection_decisions (id, version, created_at, updated_at, episode_id, inspector_id, decision, effect, reason, tags, round, place)
    select e.id * 2 + p.place, 1, e.created_at + interval '1 hour', e.created_at, e.id, 1 + (e.id / 10 + p.place) % 20, 'approved', 'settled', 'seen', '{}', 0, p.place
    from episodes e cross join (values (0), (1)) p (place) where e.qa_status in ('inspector_approved', 'rejected') and (p.place = 0 or e.id / 10 % 20 = 0);
insert into episode_totals select station_id, qa_status, count(*), sum(duration_ms), sum(size_bytes) from counted_episodes group by 1, 2;
insert into task_totals select station_id, scene_id, sop_id, status, count(*) from counted_tasks group by 1, 2, 3, 4;
vacuum analyze";

const PLAIN_SUMMARY: &str = "
select count(*), sum(e.duration_sec), avg(e.duration_sec), percentile_disc(0.95) within group (order by e.duration_sec), max(e.duration_sec), sum(e.file_size_bytes),
       max(e.file_size_bytes), count(*) filter (where e.qa_status in ('approved', 'inspector_approved')), count(*) filter (where e.cloud_synced)
from episodes e join tasks t on t.id = e.task_id where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval";

const PLAIN_TREND: &str = "
select date_trunc('day', coalesce(t.completed_at, e.created_at)), count(*), sum(e.duration_sec), max(e.duration_sec), sum(e.file_size_bytes), max(e.file_size_bytes)
from episodes e join tasks t on t.id = e.task_id where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval group by 1";

const PLAIN_BREAKDOWN: &str = "
select s.data_collector_id, count(*), sum(e.duration_sec), max(e.duration_sec), sum(e.file_size_bytes), max(e.file_size_bytes)
from episodes e join tasks t on t.id = e.task_id join stations s on s.id = e.station_id
where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval group by 1";

const PLAIN_DETAILS: &str = "
select e.*, count(*) over () from episodes e join tasks t on t.id = e.task_id
where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval order by coalesce(t.completed_at, e.created_at) desc, e.id desc limit 50";

const PLAIN_DASHBOARD: &str = "
select t.status, date_trunc('day', t.created_at), count(*) from tasks t where t.created_at >= now() - $1::text::interval group by 1, 2
union all select t.status, null, count(*) from tasks t group by 1
union all select e.qa_status, null, count(*) from episodes e group by 1";

const PLAIN_QUALITY: &str = "
select date_trunc('day', coalesce(t.completed_at, e.created_at)), count(*), count(*) filter (where e.qa_status in ('approved', 'inspector_approved')),
       count(*) filter (where e.auto_approved), count(*) filter (where e.qa_status in ('failed', 'rejected')), count(*) filter (where e.qa_status = 'needs_inspection')
from episodes e join tasks t on t.id = e.task_id where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval group by 1";

const PLAIN_REASONS: &str = "
select e.latest_check ->> 'check_name', count(*), count(*) filter (where e.qa_status in ('approved', 'inspector_approved'))
from episodes e join tasks t on t.id = e.task_id where coalesce(t.completed_at, e.created_at) >= now() - $1::text::interval group by 1";

const PLAIN_TOPICS: &str = "
select g.topic, count(*), sum(g.missing_ms) from counted_gaps g where g.happened_at >= now() - $1::text::interval group by 1";

const PLAIN_AGREEMENT: &str = "
select one.inspector_id, one.decision, other.decision, count(*) from inspection_decisions one
join inspection_decisions other on other.episode_id = one.episode_id and other.round = one.round and other.inspector_id <> one.inspector_id
where one.place < 2 and other.place < 2 and one.created_at >= now() - $1::text::interval group by 1, 2, 3";

struct Site {
    server: Server,
    http: reqwest::Client,
    token: String,
    /// Of a data collector, whose recordings are those of one station.
    own_token: String,
    pool: Pool,
    /// What plain SQL took for so many days: it is asked once.
    plain: HashMap<(&'static str, i64), (f64, f64)>,
}

async fn logged_in(http: &reqwest::Client, base: &str, account: &str) -> String {
    let login = http.post(format!("{base}/api/v1/auth/login")).json(&json!({ "account": account, "password": PASSWORD }));
    let login: Value = login.send().await.expect("an answer").json().await.expect("a login");
    login["access_token"].as_str().unwrap_or_else(|| panic!("{login}")).to_owned()
}

impl Site {
    async fn get(&self, path: &str) -> reqwest::Response {
        let token = if path.starts_with("/operator") { &self.own_token } else { &self.token };
        let request = self.http.get(format!("{}/api/v1{path}", self.server.base())).bearer_auth(token);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response
    }
}

/// Milliseconds of so many calls at least, one after the other: the middle one, and the longest but one in a hundred.
async fn times(least: usize, mut call: impl AsyncFnMut()) -> (f64, f64) {
    call().await;
    let (began, mut times) = (Instant::now(), vec![]);
    while times.len() < least || began.elapsed() < seconds() {
        let started = Instant::now();
        call().await;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[(times.len() - 1) * 99 / 100])
}

async fn beside(site: &mut Site, what: &str, path: &str, plain: &'static str, days: i64) {
    let (p50, p99) = times(50, async || drop(site.get(path).await.bytes().await.expect("a body"))).await;
    let (plain, plain_late) = match site.plain.get(&(plain, days)) {
        Some(known) => *known,
        None => {
            let client = site.pool.get().await.expect("a connection");
            let interval = format!("{days} days");
            let statement = client.prepare(plain).await.expect("a statement");
            let found = times(3, async || drop(client.query(&statement, &[&interval]).await.expect("rows"))).await;
            site.plain.insert((plain, days), found);
            found
        }
    };
    println!("{what:<32} {days:>4} days   p50 {p50:>8.1} ms  p99 {p99:>8.1} ms   plain SQL p50 {plain:>8.1} ms  p99 {plain_late:>8.1} ms");
}

/// What it costs to note one changed episode, and to pack its day anew as well.
async fn packing(site: &Site) {
    let client = site.pool.get().await.expect("a connection");
    let statements = keystone_edge::projections::statistics::statements();
    let (_, pack) = statements.iter().find(|(name, _)| *name == "episodes, packed").expect("a statement");
    let row = "select station_id, (happened_at at time zone 'UTC')::date, episode_id from counted_episodes order by happened_at desc offset 10000 limit 1";
    let row = client.query_one(row, &[]).await.expect("a row");
    let (station, day, episode) = (row.get::<_, i64>(0), row.get::<_, chrono::NaiveDate>(1), row.get::<_, i64>(2));
    let pack = client.prepare(pack).await.expect("a statement");
    let change =
        client.prepare("update counted_episodes set size_bytes = size_bytes + 1 where episode_id = $1").await.expect("a statement");
    let (noted, _) = times(50, async || {
        client.execute(&change, &[&episode]).await.expect("a change");
    })
    .await;
    let (packed, late) = times(50, async || {
        client.execute(&change, &[&episode]).await.expect("a change");
        client.execute(&pack, &[&vec![station], &vec![day]]).await.expect("a packed day");
    })
    .await;
    println!("an episode changed: p50 {noted:.2} ms; with its day packed anew p50 {packed:.2} ms, p99 {late:.2} ms");
}

async fn export(site: &Site, window: &str) {
    let before = site.server.resident_bytes();
    let (began, mut bytes, mut lines, mut most) = (Instant::now(), 0, 0, before);
    let mut body = site.get(&format!("/admin/statistics/data-production/export?{window}")).await.bytes_stream();
    let mut looked_at = Instant::now();
    while let Some(piece) = body.next().await {
        let piece = piece.expect("a piece");
        bytes += piece.len();
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        if looked_at.elapsed().as_millis() > 100 {
            most = most.max(site.server.resident_bytes());
            looked_at = Instant::now();
        }
    }
    let (took, mib) = (began.elapsed(), |bytes: u64| bytes >> 20);
    println!(
        "export of {} rows, {} MB: {took:.1?}; the server had {} MiB before it and {} MiB at most",
        lines - 1,
        bytes >> 20,
        mib(before),
        mib(most)
    );
}

#[tokio::main]
async fn main() {
    raise_open_files().expect("file descriptors");
    let episodes: i64 = number("KEYSTONE_BENCH_EPISODES", 1_000_000);
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_LOG", "warn".to_owned()));
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let token = logged_in(&http, &server.base(), "admin").await;
    let pool = server.unhurried_database();
    let began = Instant::now();
    let client = pool.get().await.expect("a connection");
    client.batch_execute("set synchronous_commit = off").await.expect("a setting");
    for statement in FILL.replace("EPISODES", &episodes.to_string()).split(";\n") {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
    }
    drop(client);
    println!("{episodes} episodes were there after {:.1?}", began.elapsed());
    pack_all(&pool).await;
    pool.get()
        .await
        .expect("a connection")
        .batch_execute("vacuum analyze packed_episodes; vacuum analyze packed_tasks")
        .await
        .expect("statistics");
    println!("packed after {:.1?}", began.elapsed());
    let person = json!({ "organization_id": "1", "name": "Own", "operator_id": "own", "password": PASSWORD });
    let person =
        http.post(format!("{}/api/v1/data_collectors", server.base())).bearer_auth(&token).json(&person).send().await.expect("an answer");
    assert_eq!(person.status(), 201, "{:?}", person.text().await);
    let client = pool.get().await.expect("a connection");
    client
        .execute("update stations set data_collector_id = (select max(id) from data_collectors) where id = 7", &[])
        .await
        .expect("a change");
    drop(client);
    let own_token = logged_in(&http, &server.base(), "own").await;
    let mut site = Site { server, http, token, own_token, pool, plain: HashMap::new() };
    let now = chrono::Utc::now();
    let window = |days: i64| {
        let at = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        format!("start_time={}&end_time={}", at(now - chrono::TimeDelta::days(days)), at(now + chrono::TimeDelta::days(1)))
    };
    let (base, own, quality) = ("/admin/statistics/data-production", "/operator/statistics/data-production", "/dashboard/quality");
    for days in [31, 400] {
        let window = window(days);
        for (what, path, plain) in [
            ("summary", format!("{base}/summary?{window}"), PLAIN_SUMMARY),
            ("summary of two scenes", format!("{base}/summary?{window}&scene_id=3,4&qa_status=approved"), PLAIN_SUMMARY),
            ("trend by day", format!("{base}/trend?{window}&timezone_offset=%2B08:00"), PLAIN_TREND),
            ("trend by hour", format!("{base}/trend?{window}&granularity=hour"), PLAIN_TREND),
            ("breakdown by robot", format!("{base}/breakdown?{window}"), PLAIN_BREAKDOWN),
            ("breakdown by collector", format!("{base}/breakdown?{window}&dimension=collector"), PLAIN_BREAKDOWN),
            ("breakdown by status", format!("{base}/breakdown?{window}&dimension=qa_status"), PLAIN_BREAKDOWN),
            ("details, the newest", format!("{base}/details?{window}"), PLAIN_DETAILS),
            ("details, the longest", format!("{base}/details?{window}&sort_by=duration_ms"), PLAIN_DETAILS),
            ("details, far behind", format!("{base}/details?{window}&offset=90000&limit=100"), PLAIN_DETAILS),
            ("own summary", format!("{own}/summary?{window}"), PLAIN_SUMMARY),
            ("own trend by day", format!("{own}/trend?{window}"), PLAIN_TREND),
            ("own breakdown by scene", format!("{own}/breakdown?{window}&dimension=scene"), PLAIN_BREAKDOWN),
            ("quality, summary", format!("{quality}/summary?{window}"), PLAIN_QUALITY),
            ("quality by reason", format!("{quality}/breakdown?{window}"), PLAIN_REASONS),
            ("quality by collector", format!("{quality}/breakdown?{window}&dimension=collector"), PLAIN_BREAKDOWN),
            ("quality by workstation", format!("{quality}/breakdown?{window}&dimension=workstation"), PLAIN_BREAKDOWN),
            ("quality, topics", format!("{quality}/topics?{window}"), PLAIN_TOPICS),
            ("quality, inspectors", format!("{quality}/inspectors?{window}"), PLAIN_AGREEMENT),
        ] {
            beside(&mut site, what, &path, plain, days).await;
        }
    }
    let dashboard = "/production/dashboard";
    for (what, path) in [
        ("snapshot", "snapshot?trend_days=31"),
        ("snapshot of a workstation", "snapshot?trend_days=31&workstation_id=7"),
        ("overview", "overview?trend_days=31"),
        ("tasks of a batch", "batches/7/task-summary"),
    ] {
        beside(&mut site, what, &format!("{dashboard}/{path}"), PLAIN_DASHBOARD, 31).await;
    }
    packing(&site).await;
    export(&site, &window(400)).await;
    site.pool.close();
    let Site { mut server, .. } = site;
    server.stop().await;
}
