//! Statistics of production: what is counted, by what, for whom, and that it is what the read models say.

use std::collections::BTreeSet;

use deadpool_postgres::Pool;
use keystone_edge::pg::get;
use keystone_edge::projections::packed_days::{PackedEpisode, PackedTask, Unpacked};
use keystone_edge::projections::statistics;
use serde_json::{Value, json};

use crate::data_ops::{DEVICE, with_episodes};
use crate::factory::place_all;
use crate::harness::bench::Recording;
use crate::harness::counted::pack_all;
use crate::harness::edge::{Seed, TestEdge, number};

const ADMIN: &str = "/api/v1/admin/statistics/data-production";
const OPERATOR: &str = "/api/v1/operator/statistics/data-production";
const NOVEMBER: &str = "start_time=2026-11-01T00:00:00Z&end_time=2026-12-01T00:00:00Z";

/// Everything that has a position.
pub async fn count_all(pool: &Pool) {
    while statistics::count(pool).await.expect("a step of counting") != Some(0) {}
}

/// Places and counts all there is, after what a test changed in rows by hand: from the first event, into emptied tables.
pub async fn recount(edge: &TestEdge) {
    place_all(&edge.database.connector).await;
    sql(edge, RECOUNT).await;
    count_all(&edge.database.pool).await;
}

/// Everything that is counted, emptied (docs/statistics.md).
pub const RECOUNT: &str = "truncate counted_episodes, counted_tasks, episode_totals, task_totals, waiting_episodes, counted_gaps, counted_uploads, packed_episodes, packed_tasks, statistics_cursor";

/// Changes counted rows by hand.
async fn counted_by_hand(edge: &TestEdge, change: &str) {
    sql(edge, change).await;
    pack_all(&edge.database.pool).await;
}

async fn sql(edge: &TestEdge, sql: &str) {
    edge.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// What differs between what is counted and what rows of episodes and tasks say, one line for each.
pub async fn differences(pool: &Pool) -> Vec<String> {
    const SAME: [&str; 6] = [
        "with counted as (select episode_id, station_id, scene_id, sop_id, factory_id, organization_id, size_bytes, qa_status, cloud_synced, robot_type_id,
                                 coalesce(duration_ms, -1), auto_approved from counted_episodes),
              shown as (select e.id, e.station_id, e.scene_id, e.sop_id, e.factory_id, e.organization_id, e.file_size_bytes, e.qa_status, e.cloud_synced,
                               (select r.robot_type_id from stations s join robots r on r.id = s.robot_id where s.id = e.station_id),
                               coalesce(round(e.duration_sec * 1000)::bigint, -1), e.auto_approved and e.qa_status = 'approved' from episodes e)
         select to_jsonb(d)::text from ((select 'counted', * from counted except select 'counted', * from shown)
                                        union all (select 'shown', * from shown except select 'shown', * from counted)) d",
        "with counted as (select task_id, assigned_at, station_id, scene_id, sop_id, status from counted_tasks),
              shown as (select id, created_at, station_id, scene_id, sop_id, status from tasks)
         select to_jsonb(d)::text from ((select 'counted', * from counted except select 'counted', * from shown)
                                        union all (select 'shown', * from shown except select 'shown', * from counted)) d",
        "with kept as (select * from episode_totals where episodes <> 0),
              summed as (select station_id, qa_status, count(*), coalesce(sum(duration_ms), 0)::bigint, coalesce(sum(size_bytes), 0)::bigint
                         from counted_episodes group by 1, 2)
         select to_jsonb(d)::text from ((select 'kept', * from kept except select 'kept', * from summed)
                                        union all (select 'summed', * from summed except select 'summed', * from kept)) d",
        "with counted as (select episode_id, arrived_at, cause, station_id, factory_id, organization_id from waiting_episodes),
              shown as (select id, created_at, inspection_cause, station_id, factory_id, organization_id from episodes where qa_status = 'needs_inspection')
         select to_jsonb(d)::text from ((select 'counted', * from counted except select 'counted', * from shown)
                                        union all (select 'shown', * from shown except select 'shown', * from counted)) d",
        "with counted as (select episode_id, topic, gaps::bigint, missing_ms, longest_ms, missing_messages from counted_gaps),
              shown as (select g.episode_id, g.topic, count(*), sum(g.length_ms)::bigint, max(g.length_ms), sum(g.missing_messages)::bigint
                        from recording_gaps g join episode_facts f on f.id = g.episode_id and f.version = g.version join episodes e on e.id = g.episode_id group by 1, 2)
         select to_jsonb(d)::text from ((select 'counted', * from counted except select 'counted', * from shown)
                                        union all (select 'shown', * from shown except select 'shown', * from counted)) d",
        "with kept as (select * from task_totals where tasks <> 0),
              summed as (select station_id, scene_id, sop_id, status, count(*) from counted_tasks group by 1, 2, 3, 4)
         select to_jsonb(d)::text from ((select 'kept', * from kept except select 'kept', * from summed)
                                        union all (select 'summed', * from summed except select 'summed', * from kept)) d",
    ];
    let client = get(pool).await.expect("a connection");
    let mut found = vec![];
    for same in SAME {
        found.extend(client.query(same, &[]).await.expect("rows").iter().map(|row| row.get::<_, String>(0)));
    }
    found.extend(packed_otherwise(pool).await);
    found
}

/// Records that are packed otherwise than they are counted, one line for each.
async fn packed_otherwise(pool: &Pool) -> Vec<String> {
    const US: &str = "(extract(epoch from {at}) * 1000000)::bigint";
    let client = get(pool).await.expect("a connection");
    let mut packed = vec![];
    let kind = "station_id, scene_id, sop_id, factory_id, organization_id, robot_type_id";
    for row in
        client.query(&format!("select jsonb_build_array({kind}, day)::text, episodes from packed_episodes"), &[]).await.expect("days")
    {
        let episodes: Unpacked<PackedEpisode<'_>> = row.get(1);
        assert!(!episodes.0.is_empty() && episodes.0.is_sorted_by_key(|episode| (episode.happened_us, episode.id)), "{episodes:?}");
        packed.extend(episodes.0.iter().map(|e| {
            let of = row.get::<_, String>(0);
            let status = e.qa_status.as_str();
            format!(
                "{of} {} {} {:?} {} {} {} {status} {}",
                e.id, e.happened_us, e.duration_ms, e.size_bytes, e.cloud_synced, e.auto_approved, e.reason
            )
        }));
    }
    for row in client.query("select station_id, day::text, tasks from packed_tasks", &[]).await.expect("days") {
        let tasks: Unpacked<PackedTask> = row.get(2);
        let (station, day) = (row.get::<_, i64>(0), row.get::<_, String>(1));
        packed.extend(tasks.0.iter().map(|task| format!("{station} {day} {} {}", task.assigned_us, task.status.as_str())));
    }
    let counted = format!(
        "select jsonb_build_array({kind}, (happened_at at time zone 'UTC')::date)::text || ' ' || concat_ws(' ', episode_id, {},
                coalesce('Some(' || duration_ms || ')', 'None'), size_bytes, cloud_synced::text, auto_approved::text, qa_status) || ' ' || coalesce(reason, '')
         from counted_episodes
         union all select concat_ws(' ', station_id, (assigned_at at time zone 'UTC')::date, {}, status) from counted_tasks",
        US.replace("{at}", "happened_at"),
        US.replace("{at}", "assigned_at")
    );
    let mut counted: Vec<String> = client.query(&counted, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect();
    packed.sort();
    counted.sort();
    let only = |what: &'static str, these: &[String], those: &[String]| {
        these.iter().filter(|line| those.binary_search(line).is_err()).map(|line| format!("only {what}: {line}")).collect::<Vec<_>>()
    };
    let mut found = [only("packed", &packed, &counted), only("counted", &counted, &packed)].concat();
    if packed.len() != counted.len() {
        found.push(format!("{} packed, {} counted", packed.len(), counted.len()));
    }
    found
}

/// So many episodes of one station, an hour apart from noon of the 20th: as long and as large as is said.
async fn made(edge: &TestEdge, of: &[(Option<f64>, i64)]) -> Seed {
    let recordings: Vec<Recording> = of.iter().map(|_| Recording::of(b"a recording".to_vec(), None)).collect();
    let (seed, _) = with_episodes(edge, &recordings).await;
    for (nth, (seconds, bytes)) in of.iter().enumerate() {
        let seconds = seconds.map_or("null".to_owned(), |seconds| seconds.to_string());
        sql(
            edge,
            &format!(
                "with one as (select id, task_id from episodes order by id offset {nth} limit 1), at as (select timestamptz '2026-11-20T12:00:00Z' + interval '{nth} hours' as at),
                      t as (update tasks set completed_at = at.at, started_at = at.at - interval '7 seconds' from one, at where tasks.id = one.task_id)
                 update episodes e set duration_sec = {seconds}, file_size_bytes = {bytes} from one where e.id = one.id"
            ),
        )
        .await;
    }
    recount(edge).await;
    seed
}

async fn get_ok(edge: &TestEdge, path: &str) -> Value {
    let (status, body) = edge.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn strings(items: &Value, key: &str) -> Vec<String> {
    items["items"].as_array().expect("items").iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

fn totals(items: &Value) -> Vec<i64> {
    items["items"].as_array().expect("items").iter().map(|item| item["count"]["total"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn statistics_say_no_to_what_cannot_be_asked() {
    let edge = TestEdge::start().await;
    let window = NOVEMBER;
    for (path, query, field) in [
        ("summary", "end_time=2026-12-01T00:00:00Z".to_owned(), "start_time"),
        ("summary", "start_time=2026-12-01T00:00:00Z".to_owned(), "end_time"),
        ("summary", "start_time=yesterday&end_time=2026-12-01T00:00:00Z".to_owned(), "start_time"),
        ("trend", "start_time=2026-12-01T00:00:00Z&end_time=2026-12-01T00:00:00Z".to_owned(), "end_time"),
        ("summary", format!("{window}&scene_id=x"), "scene_id"),
        ("summary", format!("{window}&qa_status=good"), "qa_status"),
        ("summary", format!("{window}&cloud_synced=maybe"), "cloud_synced"),
        ("summary", format!("{window}&robot_device_id={}", "a".repeat(256)), "robot_device_id"),
        ("trend", format!("{window}&granularity=year"), "granularity"),
        ("trend", format!("{window}&timezone_offset=%2B14:01"), "timezone_offset"),
        ("trend", format!("{window}&timezone_offset=+08:00"), "timezone_offset"),
        ("breakdown", format!("{window}&dimension=station"), "dimension"),
        ("breakdown", format!("{window}&limit=0"), "limit"),
        ("details", format!("{window}&sort_by=name"), "sort_by"),
        ("details", format!("{window}&sort_order=up"), "sort_order"),
        ("details", format!("{window}&offset=-1"), "offset"),
        ("export", format!("{window}&timezone_offset=8"), "timezone_offset"),
        ("export", "start_time=2026-12-01T00:00:00Z".to_owned(), "end_time"),
    ] {
        let (status, body) = edge.get(&format!("{ADMIN}/{path}?{query}")).await;
        assert_eq!((status, body["field"].as_str()), (400, Some(field)), "{path}?{query}: {body}");
        assert!(body["error"].is_string());
    }
    for empty in ["summary", "trend", "breakdown", "details"] {
        let body = get_ok(&edge, &format!("{ADMIN}/{empty}?{window}")).await;
        match empty {
            "summary" => {
                assert_eq!(body["count"], json!({"total": 0, "success": 0, "failed": 0, "processing": 0, "success_rate": 0.0}));
                assert_eq!(body["duration"], json!({"avg_ms": 0, "p95_ms": 0, "max_ms": 0}), "a total of 0 is left out");
                assert_eq!(body["size"], json!({"avg_bytes": 0, "max_bytes": 0}));
                assert_eq!(body["compare"], json!({"previous_total_count": 0, "count_change_rate": 0.0}));
            }
            _ => assert_eq!(body["items"], json!([]), "{empty}"),
        }
    }
}

#[tokio::test]
async fn a_summary_counts_what_happened_in_its_window_and_compares_it_with_the_one_before() {
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(1.0), 100), (Some(2.5), 200), (None, 301), (Some(10.0), 400)]).await;
    sql(&edge, "update episodes set duration_sec = null, qa_status = 'approved' where id = (select max(id) - 1 from episodes)").await;
    sql(&edge, "update tasks set started_at = null where id = (select task_id from episodes order by id offset 2 limit 1)").await;
    sql(&edge, "update episodes set qa_status = 'inspector_approved', cloud_synced = true where id = (select max(id) from episodes)").await;
    recount(&edge).await;
    // From the second on; the first is in the window before.
    let body = get_ok(&edge, &format!("{ADMIN}/summary?start_time=2026-11-20T13:00:00Z&end_time=2026-11-20T21:00:00%2B05:00")).await;
    let one = &body["count"];
    assert_eq!(one, &json!({"total": 3, "success": 3, "failed": 0, "processing": 0, "success_rate": 1.0}), "{body}");
    assert_eq!(
        body["duration"],
        json!({"total_ms": 12500, "avg_ms": 6250, "p95_ms": 10000, "max_ms": 10000}),
        "who knows no duration is not counted in it"
    );
    assert_eq!(body["size"], json!({"total_bytes": 901, "success_bytes": 901, "avg_bytes": 300, "max_bytes": 400}));
    assert_eq!(
        (&body["qa"]["approved"], &body["cloud_sync"]["synced"], &body["cloud_sync"]["unsynced"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert!((body["qa"]["pass_rate"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(body["compare"], json!({"previous_total_count": 1, "count_change_rate": 2.0}));
    let as_of = &body["as_of"];
    assert!(as_of["position"].as_i64().unwrap() > 0 && as_of["behind_s"] == json!(0.0), "{as_of}");
    // The start belongs to it, the end does not.
    let edges = get_ok(&edge, &format!("{ADMIN}/summary?start_time=2026-11-20T12:00:00Z&end_time=2026-11-20T13:00:00Z")).await;
    assert_eq!(edges["count"]["total"], 1);
    assert_eq!(edges["compare"], json!({"previous_total_count": 0, "count_change_rate": 1.0}));
    // The first instants there are have no time before them.
    assert_eq!(
        get_ok(&edge, &format!("{ADMIN}/summary?start_time=0001-01-01T00:00:00Z&end_time=9999-01-01T00:00:00Z")).await["count"]["total"],
        4
    );
}

#[tokio::test]
async fn statistics_say_how_far_behind_the_log_they_are() {
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(1.0), 100)]).await;
    let before = get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}")).await["as_of"]["position"].clone();
    edge.create("/api/v1/skills", json!({"slug": "later"})).await;
    place_all(&edge.database.connector).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let behind = get_ok(&edge, &format!("{ADMIN}/trend?{NOVEMBER}")).await["as_of"].clone();
    assert_eq!(behind["position"], before);
    assert!(behind["behind_s"].as_f64().unwrap() > 0.0, "{behind}");
    count_all(&edge.database.pool).await;
    let after = get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}")).await["as_of"].clone();
    assert_eq!((after["position"].as_i64(), &after["behind_s"]), (before.as_i64().map(|position| position + 1), &json!(0.0)));
}

#[tokio::test]
async fn the_ninety_fifth_of_a_hundred_is_by_nearest_rank() {
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(1.0), 1)]).await;
    // What statistics read is filled as no robot would.
    let fill = |durations: &str| {
        format!("delete from counted_episodes; insert into counted_episodes select '2026-11-20T12:00:00Z', n, 1, 1, 1, 1, 1, 1, {durations}, 1, false, 'approved', true
                 from generate_series(1, 100) n")
    };
    for (durations, p95) in
        [("n * 10", 950), ("case when n > 94 then 7 else 3 end", 7), ("case when n > 95 then 7 else 3 end", 3), ("null", 0)]
    {
        counted_by_hand(&edge, &fill(durations)).await;
        assert_eq!(get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}")).await["duration"]["p95_ms"], p95, "{durations}");
    }
    counted_by_hand(&edge, &format!("{}; delete from counted_episodes where episode_id <> 3", fill("n"))).await;
    assert_eq!(get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}")).await["duration"]["p95_ms"], 3, "of one it is that one");
}

#[tokio::test]
async fn a_trend_has_buckets_of_local_time_and_leaves_out_the_empty_ones() {
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(1.0), 10); 13]).await;
    let trend = async |query: &str| {
        let body = get_ok(&edge, &format!("{ADMIN}/trend?{NOVEMBER}&{query}")).await;
        strings(&body, "time").into_iter().zip(totals(&body)).collect::<Vec<_>>()
    };
    let of = |time: &str, total| (time.to_owned(), total);
    assert_eq!(trend("").await, [of("2026-11-20T00:00:00Z", 12), of("2026-11-21T00:00:00Z", 1)]);
    assert_eq!(trend("timezone_offset=%2B08:00").await, [of("2026-11-19T16:00:00Z", 4), of("2026-11-20T16:00:00Z", 9)]);
    assert_eq!(trend("timezone_offset=-00:30").await, [of("2026-11-20T00:30:00Z", 13)]);
    assert_eq!(trend("granularity=week").await, [of("2026-11-16T00:00:00Z", 13)], "weeks begin on Mondays");
    assert_eq!(trend("granularity=month&timezone_offset=%2B05:30").await, [of("2026-10-31T18:30:00Z", 13)]);
    let hours = trend("granularity=hour&timezone_offset=%2B05:45").await;
    assert_eq!((hours.len(), &hours[0]), (13, &of("2026-11-20T11:15:00Z", 1)));
    let body = get_ok(&edge, &format!("{ADMIN}/trend?{NOVEMBER}&granularity=week")).await;
    assert_eq!(body["granularity"], "week");
    assert_eq!(body["items"][0]["duration"], json!({"total_ms": 13000, "avg_ms": 1000, "p95_ms": 0, "max_ms": 1000}));
    assert_eq!(body["items"][0]["size"], json!({"total_bytes": 130, "success_bytes": 130, "avg_bytes": 10, "max_bytes": 10}));
}

#[tokio::test]
async fn a_breakdown_groups_by_what_never_changes_and_shows_what_it_is_called() {
    let edge = TestEdge::start().await;
    let seed = made(&edge, &[(Some(1.0), 10); 3]).await;
    sql(&edge, "update episodes set qa_status = 'approved', cloud_synced = true where id = (select min(id) from episodes)").await;
    recount(&edge).await;
    let id = |id: &Value| number(id).to_string();
    for (dimension, groups) in [
        ("source", vec![(DEVICE.to_owned(), DEVICE.to_owned(), 3)]),
        ("robot_device", vec![(DEVICE.to_owned(), DEVICE.to_owned(), 3)]),
        ("robot_type", vec![(id(&seed.robot_type), "Arm".to_owned(), 3)]),
        ("collector", vec![("li".to_owned(), "li".to_owned(), 3)]),
        ("scene", vec![(id(&seed.scene), "kitchen".to_owned(), 3)]),
        ("sop", vec![(id(&seed.sop), "wash @ 1.0.0".to_owned(), 3)]),
        ("qa_status", vec![("pending_qa".to_owned(), "待质检".to_owned(), 2), ("approved".to_owned(), "已通过".to_owned(), 1)]),
        ("cloud_synced", vec![("false".to_owned(), "未同步".to_owned(), 2), ("true".to_owned(), "已同步".to_owned(), 1)]),
    ] {
        let body = get_ok(&edge, &format!("{ADMIN}/breakdown?{NOVEMBER}&dimension={dimension}")).await;
        let found: Vec<_> = strings(&body, "id")
            .into_iter()
            .zip(strings(&body, "name"))
            .zip(totals(&body))
            .map(|((id, name), total)| (id, name, total))
            .collect();
        assert_eq!(found, groups, "{dimension}");
        assert_eq!((&body["dimension"], &body["total"]), (&json!(dimension), &json!(groups.len())));
    }
    let page = get_ok(&edge, &format!("{ADMIN}/breakdown?{NOVEMBER}&dimension=qa_status&limit=1&offset=1")).await;
    assert_eq!(
        (strings(&page, "id"), &page["total"], &page["hasPrev"], page.get("hasNext")),
        (vec!["approved".to_owned()], &json!(2), &json!(true), None)
    );
    assert_eq!(get_ok(&edge, &format!("{ADMIN}/breakdown?{NOVEMBER}")).await["dimension"], "source", "by default");
}

#[tokio::test]
async fn every_filter_of_statistics_selects() {
    let edge = TestEdge::start().await;
    let seed = made(&edge, &[(Some(1.0), 10); 3]).await;
    sql(&edge, "update episodes set qa_status = 'approved', cloud_synced = true where id = (select min(id) from episodes)").await;
    recount(&edge).await;
    let id = |id: &Value| number(id).to_string();
    let (scene, sop, kind) = (id(&seed.scene), id(&seed.sop), id(&seed.robot_type));
    let task = strings(&get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}&sort_order=asc")).await, "task_id")[0].clone();
    for (query, total) in [
        (String::new(), 3),
        (format!("scene_id={scene}"), 3),
        (format!("scene_id=99,{scene}"), 3),
        ("scene_id=99".into(), 0),
        (format!("sop_id={sop}"), 3),
        ("sop_id=x".into(), 0),
        ("sop_id=01".into(), 0),
        (format!("sop_id=98&sop_id={sop}"), 3),
        (format!("robot_type_id={kind}"), 3),
        ("robot_type_id=99".into(), 0),
        (format!("robot_device_id=x,{}", DEVICE.to_lowercase()), 3),
        ("robot_device_id=x".into(), 0),
        ("collector_operator_id=LI".into(), 3),
        ("collector_operator_id=l".into(), 0),
        ("qa_status=approved".into(), 1),
        ("qa_status=approved&qa_status=pending_qa".into(), 3),
        ("qa_status=rejected,failed".into(), 0),
        ("cloud_synced=true".into(), 1),
        ("cloud_synced=false".into(), 2),
        ("cloud_synced=true,false".into(), 3),
        (format!("source_id={DEVICE}"), 3),
        ("source_id=x".into(), 0),
        ("data_type=episode".into(), 3),
        ("data_type=task".into(), 0),
        (format!("task_id={task}"), 1),
        ("task_id=task_of_nobody".into(), 0),
        (format!("qa_status=approved&cloud_synced=false&scene_id={scene}"), 0),
        (format!("qa_status=approved&cloud_synced=true&scene_id={scene}&sop_id={sop}&robot_type_id={kind}&task_id={task}"), 1),
    ] {
        let body = get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}&{query}")).await;
        assert_eq!(body["count"]["total"], total, "{query}");
        assert_eq!(get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}&{query}")).await["total"], total, "{query}");
    }
}

#[tokio::test]
async fn details_show_each_episode_as_it_is_counted() {
    let edge = TestEdge::start().await;
    let seed = made(&edge, &[(Some(1.5), 10), (None, 20)]).await;
    let body = get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}")).await;
    let mut item = body["items"][0].clone();
    let (id, task) = (item["id"].take(), item["task_id"].take());
    assert!(id.as_str().unwrap().starts_with("episode:") && task.as_str().unwrap().starts_with("task_"), "{body}");
    assert_eq!(item["task_name"].take(), task);
    assert_eq!(
        item,
        json!({
            "id": null, "task_id": null, "task_name": null, "time": "2026-11-20T13:00:00Z", "source_id": DEVICE, "source_name": DEVICE,
            "scene_id": number(&seed.scene).to_string(), "scene_name": "kitchen", "robot_device_id": DEVICE,
            "robot_type_id": number(&seed.robot_type).to_string(), "robot_type_name": "Arm", "collector_operator_id": "li", "collector_name": "Li",
            "sop_id": number(&seed.sop).to_string(), "sop": "wash @ 1.0.0", "data_type": "episode", "status": "success", "qa_status": "pending_qa",
            "cloud_synced": false, "count": 1, "duration_ms": 7000, "size_bytes": 20, "error_code": "", "error_message": "",
        })
    );
    assert_eq!(body["items"][1]["duration_ms"], 1500);
}

#[tokio::test]
async fn mn_21_pages_of_details_neither_repeat_nor_miss_an_episode() {
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(2.0), 10); 7]).await;
    sql(&edge, "update tasks set completed_at = '2026-11-20T12:00:00Z'").await;
    recount(&edge).await;
    for sort in ["time", "count", "duration_ms", "size_bytes", "status"] {
        for order in ["asc", "desc"] {
            let mut seen = vec![];
            for offset in [0, 2, 4, 6] {
                let page =
                    get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}&sort_by={sort}&sort_order={order}&limit=2&offset={offset}")).await;
                seen.extend(strings(&page, "id"));
            }
            assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (7, 7), "{sort} {order}: {seen:?}");
            let numbers: Vec<i64> = seen.iter().map(|id| id.trim_start_matches("episode:").parse().unwrap()).collect();
            assert!(numbers.is_sorted_by(|a, b| if order == "asc" { a < b } else { a > b }), "{sort} {order}: {numbers:?}");
        }
    }
    counted_by_hand(
        &edge,
        "update counted_episodes set duration_ms = null where episode_id = (select min(episode_id) from counted_episodes)",
    )
    .await;
    let last = get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}&sort_by=duration_ms")).await;
    assert_eq!(last["items"][6]["duration_ms"], Value::Null, "what is not known is less than anything");
}

#[tokio::test]
async fn mn_22_an_export_is_not_cut_and_no_cell_runs() {
    const MANY: usize = 12_345;
    let edge = TestEdge::start().await;
    made(&edge, &[(Some(12.34), 1234)]).await;
    sql(&edge, "update data_collectors set operator_id = '=cmd()', name = '@Li'; update sops set slug = '+wash'").await;
    let request = edge.request(&edge.admin, "GET", &format!("{ADMIN}/export?{NOVEMBER}&timezone_offset=%2B08:00"));
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    assert!(header("content-disposition").contains("data-production-statistics.csv"));
    assert!(header("x-as-of-position").parse::<i64>().unwrap() > 0 && header("x-behind-seconds") == "0");
    let text = response.text().await.unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "id,time,设备ID,设备型号,数采员工号,数采员姓名,task_id,sop,时长,大小", ""), "{text}");
    let cells: Vec<&str> = lines[1].split(',').collect();
    assert_eq!(cells[1..6], ["2026-11-20 20:00:00", DEVICE, "Arm", "'=cmd()", "'@Li"]);
    assert_eq!(cells[7..], ["'+wash @ 1.0.0", "12.34秒 (0.00h)", "1234 字节 (1.23KB)"]);

    sql(
        &edge,
        &format!(
            "delete from counted_episodes; insert into counted_episodes
             select '2026-11-20T12:00:00Z'::timestamptz + (n / 7) * interval '1 second', n, 1, 1, 1, 1, 1, n, n, 1, false, 'approved', true from generate_series(1, {MANY}) n"
        ),
    )
    .await;
    let (status, text) = edge.get(&format!("{ADMIN}/export?{NOVEMBER}")).await;
    let text = text.as_str().expect("a table").to_owned();
    assert_eq!((status, text.lines().count()), (200, MANY + 1));
    let sizes: Vec<i64> =
        text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(sizes.is_sorted_by(|a, b| a > b), "the newest first, each once");
    assert!(
        edge.get(&format!("{ADMIN}/export?start_time=2020-01-01T00:00:00Z&end_time=2020-01-02T00:00:00Z"))
            .await
            .1
            .as_str()
            .unwrap()
            .lines()
            .count()
            == 1
    );
}

#[tokio::test]
async fn mn_23_statistics_follow_the_person_and_the_robot_whatever_they_are_called() {
    let edge = TestEdge::start().await;
    let seed = made(&edge, &[(Some(1.0), 10); 2]).await;
    let other = json!({"organization_id": seed.organization, "name": "Wu", "operator_id": "wu", "password": "wu's password"});
    edge.create("/api/v1/data_collectors", other).await;
    let token = async |account: &str| {
        edge.log_in(account, &format!("{account}'s password")).await.1["access_token"].as_str().expect("a token").to_owned()
    };
    let (own, others) = (token("li").await, token("wu").await);
    let asked = async |token: &str, path: &str| edge.send_as(token, "GET", &format!("{OPERATOR}/{path}"), Value::Null).await;
    let total = async |token: &str, query: &str| asked(token, &format!("summary?{NOVEMBER}&{query}")).await.1["count"]["total"].clone();
    assert_eq!((total(&own, "").await, total(&others, "").await), (json!(2), json!(0)));
    // The login still says `li`; a filter of the request is not even looked at.
    sql(&edge, "update data_collectors set operator_id = 'lili', name = 'Li Li' where operator_id = 'li'").await;
    sql(&edge, "update robots set device_id = 'AB-NEW'").await;
    let renamed = edge.log_in("wu", "wu's password").await;
    assert_eq!(renamed.0, 200);
    assert_eq!(
        (total(&own, "").await, total(&own, "collector_operator_id=wu").await, total(&others, "").await),
        (json!(2), json!(2), json!(0))
    );
    let (status, groups) = asked(&own, &format!("breakdown?{NOVEMBER}&dimension=collector")).await;
    assert_eq!((status, strings(&groups, "id"), totals(&groups)), (200, vec!["lili".to_owned()], vec![2]));
    let (_, trend) = asked(&own, &format!("trend?{NOVEMBER}")).await;
    assert_eq!(totals(&trend), [2]);
    let at_admin = async |query: &str| get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}&{query}")).await["count"]["total"].clone();
    assert_eq!((at_admin("collector_operator_id=lili").await, at_admin("collector_operator_id=li").await), (json!(2), json!(0)));
    assert_eq!((at_admin("robot_device_id=AB-NEW").await, at_admin(&format!("robot_device_id={DEVICE}")).await), (json!(2), json!(0)));
    assert_eq!(strings(&get_ok(&edge, &format!("{ADMIN}/breakdown?{NOVEMBER}&dimension=robot_device")).await, "id"), ["AB-NEW"]);
    // Each of the two is for one role.
    for path in ["summary", "trend", "breakdown"] {
        assert_eq!(edge.get(&format!("{OPERATOR}/{path}?{NOVEMBER}")).await.0, 403);
        assert_eq!(edge.send_as(&own, "GET", &format!("{ADMIN}/{path}?{NOVEMBER}"), Value::Null).await.0, 403);
    }
    for path in ["details", "export"] {
        assert_eq!(edge.send_as(&own, "GET", &format!("{ADMIN}/{path}?{NOVEMBER}"), Value::Null).await.0, 403);
    }
}

#[tokio::test]
async fn what_a_robot_was_stays_with_what_it_recorded() {
    let edge = TestEdge::start().await;
    let seed = made(&edge, &[(Some(1.0), 10); 2]).await;
    let (before, other) = (number(&seed.robot_type), json!({"name": "Hand", "model": "hand-1", "ros_topics": []}));
    let other = number(&edge.create("/api/v1/robot_types", other).await["id"]);
    sql(&edge, &format!("update robots set robot_type_id = {other}")).await;
    let types = async || {
        let groups = get_ok(&edge, &format!("{ADMIN}/breakdown?{NOVEMBER}&dimension=robot_type")).await;
        (strings(&groups, "id"), strings(&groups, "name"), totals(&groups))
    };
    let was = (vec![before.to_string()], vec!["Arm".to_owned()], vec![2]);
    assert_eq!(types().await, was);
    recount(&edge).await;
    assert_eq!(types().await, was, "a recount reads it from the log");
    let total =
        async |kind: i64| get_ok(&edge, &format!("{ADMIN}/summary?{NOVEMBER}&robot_type_id={kind}")).await["count"]["total"].clone();
    assert_eq!((total(before).await, total(other).await), (json!(2), json!(0)));
}

#[tokio::test]
async fn mn_25_a_duration_is_never_that_of_another_attempt() {
    let edge = TestEdge::start().await;
    made(&edge, &[(None, 10), (None, 10), (None, 10), (None, 10), (Some(3.0), 10)]).await;
    let task = |nth: usize, set: &str| {
        format!("update tasks set {set} where id = (select task_id from episodes order by id offset {nth} limit 1)")
    };
    // Failed by a person and uploaded late; completed by hand and uploaded late; begun after it ended.
    sql(&edge, &task(1, "status = 'failed'")).await;
    sql(&edge, &task(2, "started_at = completed_at")).await;
    sql(&edge, &task(3, "started_at = completed_at + interval '1 hour'")).await;
    sql(&edge, &task(4, "started_at = completed_at - interval '9 days'")).await;
    recount(&edge).await;
    let body = get_ok(&edge, &format!("{ADMIN}/details?{NOVEMBER}&sort_order=asc")).await;
    let durations: Vec<&Value> = body["items"].as_array().unwrap().iter().map(|item| &item["duration_ms"]).collect();
    assert_eq!(durations, [&json!(7000), &Value::Null, &Value::Null, &Value::Null, &json!(3000)]);
}

/// The numbers of every route beside those that plain SQL finds in episodes and tasks, for many questions.
#[tokio::test]
async fn numbers_of_the_routes_are_those_of_plain_sql() {
    let edge = TestEdge::start().await;
    let of: Vec<(Option<f64>, i64)> =
        (0..40).map(|n| ((n % 5 > 0).then(|| f64::from(n * n % 17) + 0.25), i64::from(n * 31 % 11) + 1)).collect();
    made(&edge, &of).await;
    sql(
        &edge,
        "update episodes set cloud_synced = id % 3 = 0, qa_status = (array['pending_qa', 'approved', 'rejected', 'inspector_approved', 'failed'])[1 + id % 5]",
    )
    .await;
    recount(&edge).await;
    assert_eq!(differences_but_durations(&edge).await, Vec::<String>::new());
    let client = edge.database.pool.get().await.unwrap();
    for (from, until) in [(12, 20), (0, 72), (13, 14), (30, 60)] {
        for (query, condition) in [
            ("", "true"),
            ("qa_status=approved,failed", "qa_status in ('approved', 'failed')"),
            ("cloud_synced=true&qa_status=pending_qa", "cloud_synced and qa_status = 'pending_qa'"),
        ] {
            let at = |hours: i32| format!("(timestamptz '2026-11-20T00:00:00Z' + interval '{hours} hours')");
            let rows = format!(
                "(select e.*, t.completed_at as at, coalesce(e.duration_sec * 1000, extract(epoch from t.completed_at - t.started_at)::float8 * 1000) as ms
                  from episodes e join tasks t on t.id = e.task_id where t.completed_at >= {} and t.completed_at < {} and {condition}) r",
                at(from),
                at(until)
            );
            let expected: Value = client
                .query_one(
                    &format!(
                        "select jsonb_build_object('n', count(*), 'ms', coalesce(sum(ms), 0)::bigint, 'avg', coalesce(round(avg(ms)::numeric), 0)::bigint,
                           'p95', coalesce(percentile_disc(0.95) within group (order by ms), 0)::bigint, 'max', coalesce(max(ms), 0)::bigint,
                           'bytes', coalesce(sum(file_size_bytes), 0)::bigint, 'synced', count(*) filter (where cloud_synced),
                           'approved', count(*) filter (where qa_status in ('approved', 'inspector_approved'))) from {rows}"
                    ),
                    &[],
                )
                .await
                .unwrap()
                .get(0);
            let window = client
                .query_one(&format!("select to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", at(from), at(until)), &[])
                .await
                .unwrap();
            let path = format!("start_time={}&end_time={}&{query}", window.get::<_, String>(0), window.get::<_, String>(1));
            let summary = get_ok(&edge, &format!("{ADMIN}/summary?{path}")).await;
            let zero = json!(0);
            let found = json!({
                "n": summary["count"]["total"], "ms": summary["duration"].get("total_ms").unwrap_or(&zero), "avg": summary["duration"]["avg_ms"],
                "p95": summary["duration"]["p95_ms"], "max": summary["duration"]["max_ms"], "bytes": summary["size"].get("total_bytes").unwrap_or(&zero),
                "synced": summary["cloud_sync"]["synced"], "approved": summary["qa"]["approved"],
            });
            assert_eq!(found, expected, "{path}");
            for path in
                [format!("trend?{path}&granularity=hour"), format!("breakdown?{path}&dimension=qa_status"), format!("breakdown?{path}")]
            {
                let sum: i64 = totals(&get_ok(&edge, &format!("{ADMIN}/{path}")).await).iter().sum();
                assert_eq!(json!(sum), expected["n"], "{path}");
            }
            assert_eq!(get_ok(&edge, &format!("{ADMIN}/details?{path}&limit=1")).await["total"], expected["n"]);
        }
    }
}

/// Of durations that nobody measured, rows say nothing.
async fn differences_but_durations(edge: &TestEdge) -> Vec<String> {
    sql(edge, "update counted_episodes c set duration_ms = null from episodes e where e.id = c.episode_id and e.duration_sec is null; delete from episode_totals;
               insert into episode_totals select station_id, qa_status, count(*), coalesce(sum(duration_ms), 0), sum(size_bytes) from counted_episodes group by 1, 2").await;
    pack_all(&edge.database.pool).await;
    let found = differences(&edge.database.pool).await;
    recount(edge).await;
    found
}
