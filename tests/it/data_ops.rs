//! Many episodes at once: the list with its filters, and what a bulk operation would do. Every rule of the contract by name.

use keystone_edge::simulator::factory::DispatchedTask;
use serde_json::{Value, json};

use crate::harness::bench::Recording;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::stored_episodes::EpisodeMaker;

const EPISODES: &str = "/api/v1/data-ops/episodes";
pub const DEVICE: &str = "AB-F0001-T0001-000001";

/// A factory with so many episodes, which nobody has judged. Answers their tasks in the order in which they were made.
pub async fn with_episodes(edge: &TestEdge, recordings: &[Recording]) -> (Seed, Vec<DispatchedTask>) {
    let seed = edge.seed().await;
    let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "Many", "target_count": recordings.len()});
    let seed = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
    let created = edge.create("/api/v1/batches", seed.batch(recordings.len() as i64)).await;
    let task = |task: &Value| DispatchedTask { id: number(&task["id"]), public_id: task["task_id"].as_str().expect("an id").to_owned() };
    let tasks: Vec<DispatchedTask> = created["tasks"].as_array().expect("tasks").iter().map(task).collect();
    let (pool, bucket) = (edge.database.pool.clone(), edge.objects.settings.bucket.clone());
    let maker = EpisodeMaker::new(edge.commands.clone(), pool, edge.objects.blobs.clone(), &bucket, DEVICE).await;
    for (task, recording) in tasks.iter().zip(recordings) {
        maker.make(task.id, &task.public_id, recording).await;
    }
    (seed, tasks)
}

fn any(many: usize) -> Vec<Recording> {
    (0..many).map(|_| Recording::of(b"a recording".to_vec(), None)).collect()
}

/// Changes a row as nothing else would: what an episode looks like is not what is tested here.
async fn set(edge: &TestEdge, nth: i64, what: &str) {
    let sql = format!("update episodes set {what} where id = (select id from episodes order by id offset {nth} limit 1)");
    edge.database.pool.get().await.unwrap().batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Six episodes, an hour apart, the newest last: one of each status that matters.
async fn six(edge: &TestEdge) -> Seed {
    let (seed, _) = with_episodes(edge, &any(6)).await;
    for (nth, status) in ["pending_qa", "qa_running", "approved", "failed", "rejected", "inspector_approved"].iter().enumerate() {
        let at = format!("created_at = '2026-11-20T0{nth}:00:00.5Z', qa_status = '{status}'");
        set(edge, nth as i64, &at).await;
    }
    set(edge, 3, "quality_flag = 'too 100% dark_', labels = '{recalled_batch,Blurred}'").await;
    set(edge, 2, "cloud_synced = true").await;
    seed
}

/// Which of the six, the newest first.
async fn listed(edge: &TestEdge, query: &str) -> Vec<usize> {
    let (status, page) = edge.get(&format!("{EPISODES}?{query}")).await;
    assert_eq!(status, 200, "{query}: {page}");
    let items = page["items"].as_array().unwrap();
    let hour = |item: &Value| item["created_at"].as_str().unwrap()[11..13].parse().unwrap();
    items.iter().map(hour).collect()
}

#[tokio::test]
async fn every_filter_of_the_list_selects_and_counts() {
    let edge = TestEdge::start().await;
    let seed = six(&edge).await;
    let id = |id: &Value| number(id).to_string();
    let (scene, sop, kind) = (id(&seed.scene), id(&seed.sop), id(&seed.robot_type));
    let all = vec![5, 4, 3, 2, 1, 0];
    for (query, expected) in [
        (String::new(), all.clone()),
        ("qa_status=failed".into(), vec![3]),
        ("qa_status=failed,%20approved,,failed".into(), vec![3, 2]),
        ("qa_status=failed&qa_status=qa_running".into(), vec![3, 1]),
        ("qa_status=needs_inspection".into(), vec![]),
        ("sync_status=not_started".into(), all.clone()),
        ("sync_status=pending,not_started".into(), all.clone()),
        ("sync_status=pending,in_progress,completed,failed".into(), vec![]),
        (format!("scene_id={scene}"), all.clone()),
        (format!("scene_id=999,{scene}"), all.clone()),
        ("scene_id=999".into(), vec![]),
        (format!("scene_id=999&scene_id={scene}"), vec![]),
        (format!("sop_id={sop}"), all.clone()),
        ("sop_id=999".into(), vec![]),
        (format!("robot_type_id={kind}"), all.clone()),
        ("robot_type_id=999".into(), vec![]),
        ("robot_device_id=x,ab-f0001-t0001-000001".into(), all.clone()),
        ("robot_device_id=AB-F0001".into(), vec![]),
        ("collector_operator_id=LI".into(), all.clone()),
        ("collector_operator_id=l".into(), vec![]),
        ("label=Blurred".into(), vec![3]),
        ("label=blurred".into(), vec![]),
        ("label=Blur".into(), vec![]),
        ("q=TOO%20100".into(), vec![3]),
        // A time is shown in whole seconds, and both ends belong to it.
        ("created_at_from=2026-11-20T03:00:00Z".into(), vec![5, 4, 3]),
        ("created_at_to=2026-11-20T02:00:00Z".into(), vec![2, 1, 0]),
        ("created_at_from=2026-11-20T02:00:00.6Z&created_at_to=2026-11-20T04:00:00.4Z".into(), vec![3]),
        ("created_at_from=2026-11-20T10:00:00%2B08:00&created_at_to=2026-11-20T02:00:00Z".into(), vec![2]),
        (format!("qa_status=failed,approved&scene_id={scene}&robot_type_id={kind}&created_at_to=2026-11-20T02:30:00Z"), vec![2]),
        (format!("label=Blurred&qa_status=approved&sop_id={sop}"), vec![]),
        ("limit=2&offset=1".into(), vec![4, 3]),
        ("qa_status=failed,approved,rejected&limit=1&offset=1".into(), vec![3]),
        (format!("robot_type_id={kind}&limit=2&offset=3"), vec![2, 1]),
        ("limit=1000".into(), all.clone()),
    ] {
        assert_eq!(listed(&edge, &query).await, expected, "{query}");
    }
    let (_, page) = edge.get(&format!("{EPISODES}?qa_status=failed,approved,rejected&limit=2")).await;
    let of_page = (&page["total"], &page["limit"], &page["offset"], &page["hasNext"], page.get("hasPrev"));
    assert_eq!(of_page, (&json!(3), &json!(2), &json!(0), &json!(true), None));
    let after = format!("qa_status=failed,approved,rejected&limit=2&after={}", page["next_after"].as_str().unwrap());
    assert_eq!(listed(&edge, &after).await, [2], "by place, read value by value");
    assert_eq!(edge.get(&format!("{EPISODES}?limit=1000")).await.1["limit"], 100);
}

#[tokio::test]
async fn q17_percent_and_underscore_are_only_characters() {
    let edge = TestEdge::start().await;
    six(&edge).await;
    for (q, expected) in [("100%25", vec![3]), ("%25", vec![3]), ("dark_", vec![3]), ("1%25d", vec![]), ("d_rk", vec![]), ("%5C", vec![])] {
        assert_eq!(listed(&edge, &format!("q={q}")).await, expected, "{q}");
        let (_, judged) = edge.get(&format!("/api/v1/qa/episodes?status=all&q={q}")).await;
        assert_eq!(judged["total"], expected.len(), "{q}");
    }
    // Nothing reaches from one text into the next.
    let (_, page) = edge.get(EPISODES).await;
    let (id, task) = (page["items"][0]["episode_id"].as_str().unwrap(), page["items"][0]["task_public_id"].as_str().unwrap());
    assert_eq!(listed(&edge, &format!("q={id}")).await, [5]);
    assert_eq!(listed(&edge, &format!("q={}", task.to_uppercase())).await, [5]);
    assert_eq!(listed(&edge, &format!("q={id}%0A{task}")).await, Vec::<usize>::new());
    assert_eq!(listed(&edge, &format!("q={id}{task}")).await, Vec::<usize>::new());
}

#[tokio::test]
async fn q21_a_wrong_filter_is_refused_and_means_nothing_else() {
    let edge = TestEdge::start().await;
    for (query, text) in [
        ("created_at_from=x", "invalid created_at_from"),
        ("created_at_to=2026-11-20", "invalid created_at_to"),
        ("created_at_from=2026-11-21T00:00:00Z&created_at_to=2026-11-20T00:00:00Z", "created_at_to must be after created_at_from"),
        ("scene_id=x", "invalid scene_id format"),
        ("sop_id=1,-2", "invalid sop_id format"),
        ("robot_type_id=1.0", "invalid robot_type_id format"),
        (
            "qa_status=all",
            "qa_status must be one of pending_qa, qa_running, approved, needs_inspection, inspector_approved, rejected, failed",
        ),
        ("sync_status=synced", "sync_status must be one of not_started, pending, in_progress, completed, failed"),
        ("limit=0", "limit must be a positive integer"),
        ("limit=x", "limit must be a positive integer"),
        ("offset=-1", "offset must not be negative"),
        ("offset=x", "offset must not be negative"),
    ] {
        let (status, refused) = edge.get(&format!("{EPISODES}?{query}")).await;
        assert_eq!((status, &refused["error"], &refused["code"]), (400, &json!(text), &json!("invalid_request")), "{query}");
    }
    let long = "a".repeat(256);
    for query in [format!("label={long}"), format!("robot_device_id={long}"), format!("scene_id={}", "1".repeat(21))] {
        assert_eq!(edge.get(&format!("{EPISODES}?{query}")).await.0, 400, "{query}");
    }
    let many = |n: i32| (1..=n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(edge.get(&format!("{EPISODES}?scene_id={}", many(100))).await.0, 200);
    assert_eq!(edge.get(&format!("{EPISODES}?scene_id={}", many(101))).await.0, 400);
}

#[tokio::test]
async fn an_episode_is_shown_with_where_it_comes_from_also_when_that_is_gone() {
    let edge = TestEdge::start().await;
    let seed = six(&edge).await;
    let (_, page) = edge.get(&format!("{EPISODES}?qa_status=failed")).await;
    let item = page["items"][0].clone();
    let id = item["id"].as_i64().unwrap();
    let (_, episode) = edge.get(&format!("/api/v1/episodes/{id}")).await;
    let expected = json!({
        "id": id, "episode_id": episode["episode_id"], "task_id": episode["task_id"], "task_public_id": episode["task_public_id"],
        "scene_id": number(&seed.scene), "scene_name": "kitchen", "sop_id": number(&seed.sop), "sop": "wash @ 1.0.0",
        "robot_type_id": number(&seed.robot_type), "robot_type": "Arm", "robot_device_id": DEVICE, "collector_operator_id": "li",
        "collector_name": "Li", "qa_status": "failed", "quality_flag": "too 100% dark_", "sync_status": "not_started",
        "cloud_synced": false, "duration_sec": 5.12, "file_size_bytes": 11, "labels": ["recalled_batch", "Blurred"],
        "created_at": "2026-11-20T03:00:00Z",
    });
    assert_eq!(item, expected);
    let synced = edge.get(&format!("{EPISODES}?qa_status=approved")).await.1["items"][0].clone();
    assert_eq!((&synced["cloud_synced"], &synced["sync_status"], &synced["labels"]), (&json!(true), &json!("not_started"), &json!([])));
    assert!(synced.get("quality_flag").is_none() && synced.get("latest_qa_check").is_none());

    // What is gone is known by what the workstation remembers, and can be asked for by it.
    let gone = "delete from robots; delete from robot_types; delete from data_collectors; delete from sops;
                update stations set robot_name = 'Arm of then', robot_serial = 'AB-OLD', collector_name = 'Li of then', collector_operator_id = 'old'";
    edge.database.pool.get().await.unwrap().batch_execute(gone).await.unwrap();
    let item = edge.get(&format!("{EPISODES}?qa_status=failed")).await.1["items"][0].clone();
    assert_eq!(item["sop"], format!("SOP #{}", number(&seed.sop)));
    let remembered = (&item["robot_type"], &item["robot_device_id"], &item["collector_operator_id"], &item["collector_name"]);
    assert_eq!(remembered, (&json!("Arm of then"), &json!("AB-OLD"), &json!("old"), &json!("Li of then")));
    assert!(item.get("robot_type_id").is_none());
    assert_eq!(listed(&edge, "robot_device_id=ab-old&collector_operator_id=OLD&qa_status=failed").await, [3]);
    assert_eq!(listed(&edge, &format!("robot_device_id={DEVICE}")).await, Vec::<usize>::new());
}

#[tokio::test]
async fn a_preview_counts_what_would_be_done_and_why_not() {
    let edge = TestEdge::start().await;
    let seed = six(&edge).await;
    let preview = async |which: &str, body: Value| {
        let (status, answer) = edge.post(&format!("{EPISODES}/{which}/preview"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let protected = "2 episodes keep their status whatever the checks say, because a person decides about them";
    let qa = json!({
        "status": "preview", "action": "bulk_qa", "matched_count": 6, "eligible_count": 5, "skipped_count": 1, "protected_status_count": 2,
        "skipped_breakdown": [{"reason": "qa_running", "count": 1}], "warnings": [protected],
    });
    // No body, and one that says nothing, mean every episode; a preview asks for no confirmation, and pages mean nothing.
    for body in
        [Value::Null, json!({}), json!({"filters": {}}), json!({"confirm": false, "filters": {"limit": "1", "offset": "x", "q": " "}})]
    {
        assert_eq!(preview("bulk-qa", body.clone()).await, qa, "{body}");
    }
    let sync = preview("bulk-sync", Value::Null).await;
    let not_running = "sync worker is not running: nothing would be pushed to the cloud";
    let expected = json!({
        "status": "preview", "action": "bulk_sync", "matched_count": 6, "eligible_count": 1, "skipped_count": 5, "sync_worker_running": false,
        "skipped_breakdown": [{"reason": "qa_not_approved", "count": 4}, {"reason": "already_synced", "count": 1}], "warnings": [not_running],
    });
    assert_eq!(sync, expected);
    for (filters, matched) in [
        (json!({"qa_status": "failed,pending_qa"}), 2),
        (json!({"scene_id": number(&seed.scene).to_string(), "label": "Blurred"}), 1),
        (json!({"created_at_from": "2026-11-20T04:00:00Z", "created_at_to": "2026-11-20T05:00:00Z"}), 2),
        (json!({"sync_status": "failed"}), 0),
        // Of a body only single values are bounded.
        (json!({"scene_id": (1..=3000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")}), 6),
    ] {
        let counted = preview("bulk-qa", json!({ "filters": filters })).await;
        assert_eq!(counted["matched_count"], matched, "{filters}");
    }
    let none = preview("bulk-qa", json!({"filters": {"scene_id": "999"}})).await;
    let expected = json!({"status": "preview", "action": "bulk_qa", "matched_count": 0, "eligible_count": 0, "skipped_count": 0,
                          "skipped_breakdown": [], "warnings": []});
    assert_eq!(none, expected);
}

#[tokio::test]
async fn a_body_that_cannot_be_is_refused_before_anything_else() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    let refused = async |which: &str, body: Value| {
        let (status, refused) = edge.post(&format!("{EPISODES}/{which}"), body).await;
        (status, refused["error"].as_str().unwrap_or_default().to_owned())
    };
    for which in ["bulk-qa/preview", "bulk-sync/preview", "bulk-qa", "bulk-sync"] {
        let path = format!("{EPISODES}/{which}");
        for (token, status) in [("", 401), ("x", 401), (collector.as_str(), 403)] {
            assert_eq!(edge.send_as(token, "POST", &path, json!({"filters": {"scene_id": 1}})).await.0, status, "{which}");
        }
        for filters in [json!({"scene_id": 1}), json!({"qa_status": ["failed"]}), json!({"qa_stati": "failed"}), json!([]), json!("failed")]
        {
            let answer = refused(which, json!({"confirm": true, "filters": filters})).await;
            assert_eq!(answer, (400, "invalid bulk episode request".to_owned()), "{which} {filters}");
        }
        assert_eq!(refused(which, json!([])).await, (400, "invalid bulk episode request".to_owned()));
        let wrong = json!({"confirm": true, "filters": {"sop_id": "x"}});
        assert_eq!(refused(which, wrong).await, (400, "invalid sop_id format".to_owned()), "{which}");
        let both = json!({"confirm": true, "all": true, "filters": {"sop_id": "1"}});
        assert_eq!(refused(which, both).await, (400, "all and filters exclude each other".to_owned()), "{which}");
        let narrow = json!({"confirm": true, "all": false});
        assert_eq!(refused(which, narrow).await.0, 400, "{which}");
    }
    for which in ["bulk-qa", "bulk-sync"] {
        for body in [Value::Null, json!({}), json!({"confirm": false}), json!({"confirm": null, "filters": {}})] {
            assert_eq!(refused(which, body).await, (400, "confirm must be true".to_owned()), "{which}");
        }
        assert_eq!(refused(which, json!({"confirm": "true"})).await.1, "invalid bulk episode request", "exactly `true`");
    }
    for (token, status) in [("", 401), (collector.as_str(), 403)] {
        assert_eq!(edge.send_as(token, "GET", EPISODES, Value::Null).await.0, status);
    }
}

#[tokio::test]
async fn q15_a_push_to_a_cloud_that_there_is_not_is_refused_and_not_lost() {
    let edge = TestEdge::start().await;
    six(&edge).await;
    let (status, away) = edge.post(&format!("{EPISODES}/bulk-sync"), json!({"confirm": true})).await;
    assert_eq!((status, &away["error"], &away["code"]), (503, &json!("sync worker is not configured"), &json!("sync_not_configured")));
    let (_, episodes) = edge.get(EPISODES).await;
    assert!(episodes["items"].as_array().unwrap().iter().all(|item| item["sync_status"] == "not_started"));
}
