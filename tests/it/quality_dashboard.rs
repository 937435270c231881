//! The dashboard of quality: rates and their rule, reasons, the queue, topics with gaps, inspectors' agreement; and that it is what rows say.

use keystone_edge::commands::Context;
use keystone_edge::commands::qa::JudgeEpisode;
use keystone_edge::domain::episode::RunMode;
use keystone_edge::domain::judgement::Suite;
use keystone_edge::domain::{EpisodeId, FactoryId, OrganizationId, Scope};
use keystone_edge::projections::reads::Reads;
use keystone_edge::projections::reads::counted::CountedFilter;
use keystone_edge::simulator::factory::DispatchedTask;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};

use crate::data_ops::DEVICE;
use crate::factory::place_all;
use crate::harness::bench::{Recording, TOPICS, recorded};
use crate::harness::counted::pack_all;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::production_statistics::{RECOUNT, count_all, differences};
use crate::stored_episodes::EpisodeMaker;

const BASE: &str = "/api/v1/dashboard/quality";
const EVER: &str = "start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z";
const CAMERA: &str = TOPICS[1];

/// A factory with episodes of these recordings, measured and not judged, and three seniors who inspect. Every decision wants a second one.
struct Site {
    edge: TestEdge,
    seed: Seed,
    tasks: Vec<DispatchedTask>,
    episodes: Vec<i64>,
    /// Of each senior: the id, and a token.
    inspectors: Vec<(String, String)>,
}

impl Site {
    async fn of(recordings: &[Recording]) -> Self {
        let edge = TestEdge::start_with(|settings| settings.inspection.second_share = 1.0).await;
        let seed = edge.seed().await;
        let order = json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": "Many", "target_count": recordings.len()});
        let seed = Seed { order: edge.create("/api/v1/orders", order).await["id"].clone(), ..seed };
        let created = edge.create("/api/v1/batches", seed.batch(recordings.len() as i64)).await;
        let task =
            |task: &Value| DispatchedTask { id: number(&task["id"]), public_id: task["task_id"].as_str().expect("an id").to_owned() };
        let tasks: Vec<DispatchedTask> = created["tasks"].as_array().expect("tasks").iter().map(task).collect();
        let (pool, bucket) = (edge.database.pool.clone(), edge.objects.settings.bucket.clone());
        let maker = EpisodeMaker::new(edge.commands.clone(), pool, edge.objects.blobs.clone(), &bucket, DEVICE).await;
        let mut episodes = vec![];
        for (task, recording) in tasks.iter().zip(recordings) {
            maker.make_measured(task.id, &task.public_id, recording).await;
            episodes.push(number(&edge.get(&format!("/api/v1/tasks/{}", task.id)).await.1["episode"]["id"]));
        }
        let mut inspectors = vec![];
        for account in ["ada", "bob", "cy"] {
            let password = format!("{account}'s own password");
            let new = json!({"organization_id": seed.organization, "name": account, "inspector_id": account, "certification_level": "senior", "password": password});
            let id = edge.create("/api/v1/inspectors", new).await["id"].as_str().expect("an id").to_owned();
            let token = edge.log_in(account, &password).await.1["access_token"].as_str().expect("a token").to_owned();
            inspectors.push((id, token));
        }
        Self { edge, seed, tasks, episodes, inspectors }
    }

    /// What `qa` does with a new episode.
    async fn judge(&self, nth: usize) {
        let (episode, run) = (EpisodeId(self.episodes[nth]), "auto".to_owned());
        let judge = JudgeEpisode { episode, run, mode: RunMode::Auto, looked: None, default_suite: Suite::default() };
        // What is judged already is not judged again.
        drop(self.edge.commands.execute(&Context::system(), judge).await);
    }

    async fn decide(&self, who: usize, nth: usize, decision: &str) -> u16 {
        let (token, episode) = (&self.inspectors[who].1, self.episodes[nth]);
        let path = |what: &str| format!("/api/v1/inspection/episodes/{episode}/{what}");
        self.edge.send_as(token, "POST", &path("take"), Value::Null).await;
        self.edge.send_as(token, "POST", &path("decide"), json!({"decision": decision, "reason": "as I see it"})).await.0
    }

    async fn count(&self) {
        place_all(&self.edge.database.connector).await;
        count_all(&self.edge.database.pool).await;
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.edge.get(&format!("{BASE}/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn sql(&self, sql: &str) {
        self.edge.database.pool.get().await.unwrap().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// One that is approved, one too short, one without a topic that is wanted, one with a gap of 1.1 s, and another good one.
fn recordings() -> Vec<Recording> {
    let gap = crate::gaps::recorded(|topic, step| topic == CAMERA && (30..40).contains(&step), &json!({"state": "normal"}));
    vec![recorded(&TOPICS, 5), recorded(&TOPICS, 1), recorded(&["/chatter"], 5), gap, recorded(&TOPICS, 5)]
}

/// Ids and how many episodes, of a breakdown.
fn groups(body: &Value) -> Vec<(String, i64)> {
    let group = |item: &Value| (item["id"].as_str().expect("an id").to_owned(), item["episodes"].as_i64().expect("a number"));
    body["items"].as_array().expect("items").iter().map(group).collect()
}

#[tokio::test]
async fn the_dashboard_of_quality_says_no_to_what_cannot_be_asked() {
    let edge = TestEdge::start().await;
    for (path, query, field) in [
        ("summary", "end_time=2026-12-01T00:00:00Z".to_owned(), "start_time"),
        ("summary", "start_time=2026-12-01T00:00:00Z&end_time=2026-12-01T00:00:00Z".to_owned(), "end_time"),
        ("summary", format!("{EVER}&granularity=year"), "granularity"),
        ("summary", format!("{EVER}&timezone_offset=8"), "timezone_offset"),
        ("summary", format!("{EVER}&factory_id=x"), "factory_id"),
        ("summary", format!("{EVER}&qa_status=good"), "qa_status"),
        ("summary", format!("{EVER}&dimension=scene"), "dimension"),
        ("breakdown", format!("{EVER}&dimension=weather"), "dimension"),
        ("breakdown", format!("{EVER}&limit=0"), "limit"),
        ("breakdown", format!("{EVER}&after=1"), "after"),
        ("topics", format!("{EVER}&workstation_id=0"), "workstation_id"),
        ("topics", format!("{EVER}&qa_status=failed"), "qa_status"),
        ("inspectors", format!("{EVER}&scene_id=x"), "scene_id"),
        ("inspectors", format!("{EVER}&limit=1"), "limit"),
    ] {
        let (status, body) = edge.get(&format!("{BASE}/{path}?{query}")).await;
        assert_eq!((status, body["field"].as_str()), (400, Some(field)), "{path}?{query}: {body}");
    }
    let empty = edge.get(&format!("{BASE}/summary?{EVER}")).await.1;
    assert_eq!((&empty["total"]["episodes"], &empty["total"]["pass_rate"], &empty["trend"]), (&json!(0), &Value::Null, &json!([])));
    assert_eq!(empty["queue"], json!({"depth": 0, "oldest_at": null, "oldest_age_s": null, "causes": []}));
    assert_eq!(
        edge.get(&format!("{BASE}/inspectors?{EVER}")).await.1["all"],
        json!({"inspected_twice": 0, "agreement": null, "kappa": null})
    );
}

#[tokio::test]
async fn administrators_and_inspectors_see_the_dashboard_of_quality() {
    let site = Site::of(&recordings()[..1]).await;
    let collector = site.edge.log_in("li", "li's password").await.1["access_token"].as_str().expect("a token").to_owned();
    for path in ["summary", "breakdown", "topics", "inspectors"] {
        let path = format!("{BASE}/{path}?{EVER}");
        for (token, status) in [(&site.edge.admin, 200), (&site.inspectors[0].1, 200), (&collector, 403), (&String::new(), 401)] {
            assert_eq!(site.edge.send_as(token, "GET", &path, Value::Null).await.0, status, "{path}");
        }
    }
}

#[tokio::test]
async fn rates_are_those_of_what_was_judged_and_reasons_say_why_a_machine_alone_did_not_approve() {
    let site = Site::of(&recordings()).await;
    for nth in 0..4 {
        site.judge(nth).await;
    }
    site.count().await;
    let body = site.get(&format!("summary?{EVER}")).await;
    assert_eq!(
        body["total"],
        json!({"episodes": 5, "passed": 1, "auto_approved": 1, "failed": 1, "rejected": 0, "waiting": 2, "pending": 1, "judged": 4,
               "pass_rate": 0.25, "failure_rate": 0.25, "auto_approval_rate": 0.25}),
        "{body}"
    );
    let trend = body["trend"].as_array().expect("a trend");
    assert!(trend.len() <= 2 && trend.iter().map(|bucket| bucket["episodes"].as_i64().unwrap()).sum::<i64>() == 5, "{body}");
    assert_eq!(body["as_of"]["behind_s"], 0.0);
    let queue = &body["queue"];
    assert_eq!((&queue["depth"], queue["causes"].as_array().map(Vec::len)), (&json!(2), Some(1)), "{queue}");
    let oldest = site.edge.get(&format!("/api/v1/episodes/{}", site.episodes[1])).await.1["created_at"].clone();
    assert_eq!((&queue["oldest_at"], &queue["causes"][0]["oldest_at"]), (&oldest, &oldest));
    assert!(queue["oldest_age_s"].as_f64().is_some_and(|age| (0.0..600.0).contains(&age)), "{queue}");

    let reasons = site.get(&format!("breakdown?{EVER}")).await;
    let reason_of = async |nth: usize| -> String {
        let client = site.edge.database.pool.get().await.unwrap();
        client.query_one("select latest_check ->> 'check_name' from episodes where id = $1", &[&site.episodes[nth]]).await.unwrap().get(0)
    };
    let (short, lacking, gap) = (reason_of(1).await, reason_of(2).await, reason_of(3).await);
    assert_eq!((short.as_str(), lacking.as_str()), ("duration", "required_topics"));
    let mut expected = vec![(String::new(), 2), (short.clone(), 1), (lacking.clone(), 1), (gap.clone(), 1)];
    expected[1..].sort();
    assert_eq!(groups(&reasons), expected);
    let failed = reasons["items"].as_array().unwrap().iter().find(|item| item["id"] == json!(lacking)).expect("a group");
    assert_eq!((&failed["failure_rate"], &failed["pass_rate"], &failed["name"]), (&json!(1.0), &json!(0.0), &json!(lacking)));

    // People decide: one is settled by a third, one by two.
    for (who, decision) in [(0, "approved"), (1, "rejected"), (2, "rejected")] {
        assert_eq!(site.decide(who, 1, decision).await, 200, "{decision}");
    }
    for who in [0, 1] {
        assert_eq!(site.decide(who, 3, "approved").await, 200);
    }
    site.count().await;
    let body = site.get(&format!("summary?{EVER}&reason={short},{gap}")).await;
    assert_eq!(
        (&body["total"]["passed"], &body["total"]["rejected"], &body["total"]["auto_approval_rate"]),
        (&json!(1), &json!(1), &json!(0.0)),
        "the reason stays with what people decided: {body}"
    );
    assert_eq!(body["queue"]["depth"], 0);
    let all = site.get(&format!("summary?{EVER}")).await["total"].clone();
    assert_eq!((&all["pass_rate"], &all["failure_rate"], &all["auto_approval_rate"]), (&json!(0.5), &json!(0.5), &json!(0.25)));

    let agreed = site.get(&format!("inspectors?{EVER}")).await;
    assert_eq!((&agreed["all"]["inspected_twice"], &agreed["all"]["agreement"]), (&json!(2), &json!(0.5)), "{agreed}");
    let each: Vec<_> =
        agreed["items"].as_array().unwrap().iter().map(|item| (&item["inspector_id"], &item["name"], &item["inspected_twice"])).collect();
    let (ada, bob) = (json!(site.inspectors[0].0), json!(site.inspectors[1].0));
    assert_eq!(each, [(&ada, &json!("ada"), &json!(2)), (&bob, &json!("bob"), &json!(2))], "who settles a dispute does not judge alone");
    let earlier = "start_time=2020-01-01T00:00:00Z&end_time=2020-01-02T00:00:00Z";
    assert_eq!(site.get(&format!("inspectors?{earlier}")).await["items"], json!([]), "by when they decided");

    let topics = site.get(&format!("topics?{EVER}")).await;
    assert_eq!(topics["total"], 1, "{topics}");
    let topic = &topics["items"][0];
    assert_eq!((&topic["topic"], &topic["episodes"], &topic["gaps"]), (&json!(CAMERA), &json!(1), &json!(1)), "{topic}");
    assert_eq!((&topic["missing_ms"], &topic["longest_ms"]), (&json!(1100), &json!(1100)));
    let causes = topic["causes"].as_object().unwrap();
    assert_eq!(causes.values().filter_map(Value::as_i64).sum::<i64>(), 1, "{topic}");

    // A machine approved it, and a person has it looked at again.
    let reopen = format!("/api/v1/inspection/episodes/{}/reopen", site.episodes[0]);
    assert_eq!(site.edge.post(&reopen, json!({"reason": "look again"})).await.0, 204);
    // The operator does not want what nobody has judged.
    let word = format!("/api/v1/tasks/{}/verdict", site.tasks[4].id);
    assert!(site.edge.post(&word, json!({"verdict": "discard"})).await.0 < 300);
    site.count().await;
    let body = site.get(&format!("summary?{EVER}")).await;
    let causes: Vec<&str> = body["queue"]["causes"].as_array().unwrap().iter().filter_map(|cause| cause["cause"].as_str()).collect();
    assert_eq!((&body["queue"]["depth"], causes), (&json!(2), vec!["reopened", "warnings"]), "{body}");
    assert_eq!((&body["total"]["auto_approved"], &body["total"]["pending"]), (&json!(0), &json!(0)));
    assert_eq!(
        groups(&site.get(&format!("breakdown?{EVER}&reason=person,operator_word")).await),
        [("operator_word".to_owned(), 1), ("person".to_owned(), 1)]
    );
}

#[tokio::test]
async fn quality_is_broken_down_and_filtered_by_what_things_are_called_now() {
    let site = Site::of(&recordings()[..2]).await;
    site.judge(0).await;
    site.judge(1).await;
    site.count().await;
    let id = |id: &Value| number(id).to_string();
    let seed = &site.seed;
    let station_name = site.edge.get(&format!("/api/v1/stations/{}", id(&seed.station))).await.1["name"].as_str().unwrap().to_owned();
    for (dimension, group, name, filter) in [
        ("factory", id(&seed.factory), "Factory Shanghai", "factory_id"),
        ("scene", id(&seed.scene), "kitchen", "scene_id"),
        ("sop", id(&seed.sop), "wash @ 1.0.0", "sop_id"),
        ("workstation", id(&seed.station), station_name.as_str(), "workstation_id"),
        ("robot", DEVICE.to_owned(), DEVICE, "robot_device_id"),
        ("collector", "li".to_owned(), "Li", "collector_operator_id"),
    ] {
        let body = site.get(&format!("breakdown?{EVER}&dimension={dimension}")).await;
        assert_eq!((&body["dimension"], &body["total"]), (&json!(dimension), &json!(1)), "{body}");
        let item = &body["items"][0];
        assert_eq!((&item["id"], &item["name"], &item["episodes"]), (&json!(group), &json!(name), &json!(2)), "{dimension}");
        assert_eq!((&item["waiting"], &item["pass_rate"]), (&json!(1), &json!(0.5)));
        for (value, episodes, depth) in [(group.as_str(), 2, 1), ("999", 0, 0)] {
            let body = site.get(&format!("summary?{EVER}&{filter}={value}")).await;
            assert_eq!((&body["total"]["episodes"], &body["queue"]["depth"]), (&json!(episodes), &json!(depth)), "{filter}={value}");
        }
    }
    for (query, episodes) in [
        ("qa_status=approved", 1),
        ("qa_status=failed,rejected", 0),
        ("cloud_synced=true", 0),
        ("reason=duration", 1),
        ("reason=weather", 0),
    ] {
        assert_eq!(site.get(&format!("summary?{EVER}&{query}")).await["total"]["episodes"], episodes, "{query}");
    }
    let page = site.get(&format!("breakdown?{EVER}&limit=1&offset=1")).await;
    assert_eq!((&page["total"], page["items"].as_array().map(Vec::len), &page["hasPrev"]), (&json!(2), Some(1), &json!(true)), "{page}");
    // A window begins with its start and ends before its end; what waits, waits now.
    let at = "2026-11-20T12:00:00Z";
    site.sql(&format!("update counted_episodes set happened_at = '{at}'")).await;
    pack_all(&site.edge.database.pool).await;
    for (window, episodes) in
        [(format!("start_time={at}&end_time=2026-11-21T00:00:00Z"), 2), (format!("start_time=2026-11-20T00:00:00Z&end_time={at}"), 0)]
    {
        let body = site.get(&format!("summary?{window}&granularity=week&timezone_offset=%2B08:00")).await;
        assert_eq!((&body["total"]["episodes"], &body["queue"]["depth"]), (&json!(episodes), &json!(1)), "{window}");
        if episodes > 0 {
            assert_eq!(body["trend"][0]["time"], "2026-11-15T16:00:00Z", "weeks begin on Mondays, where clocks are ahead");
        }
    }
}

#[tokio::test]
async fn what_a_callers_scope_does_not_contain_is_in_no_number_of_quality() {
    let site = Site::of(&recordings()).await;
    for nth in 0..4 {
        site.judge(nth).await;
    }
    for who in [0, 1] {
        assert_eq!(site.decide(who, 3, "approved").await, 200);
    }
    site.count().await;
    let reads = Reads::new(site.edge.database.pool.clone());
    let at = |text: &str| text.parse().expect("an instant");
    let filter = || CountedFilter {
        from: at("2020-01-01T00:00:00Z"),
        until: at("2100-01-01T00:00:00Z"),
        scenes: None,
        robot_types: None,
        sops: None,
        qa_statuses: None,
        cloud_synced: None,
        devices: None,
        operators: None,
        source: None,
        factories: None,
        workstations: None,
        reasons: None,
        task: None,
        collector: None,
    };
    let (factory, organization) = (FactoryId(number(&site.seed.factory)), OrganizationId(number(&site.seed.organization)));
    let other = FactoryId(factory.0 + 1);
    for (scope, sees) in [
        (Scope::Everything, true),
        (Scope::Factories([factory, other].into()), true),
        (Scope::Organization(factory, organization), true),
        (Scope::Factories([other].into()), false),
        (Scope::Organization(factory, OrganizationId(organization.0 + 1)), false),
    ] {
        let selection = reads.counted_selection(&scope, filter()).await.unwrap();
        let trend = reads.judged_trend(&selection, Default::default(), 0).await.unwrap();
        let groups = reads.judged_groups(&selection, Default::default()).await.unwrap();
        let waiting = reads.waiting(&selection).await.unwrap();
        let topics = reads.topics_with_gaps(&selection).await.unwrap();
        let (pairs, _) = reads.agreed(&selection).await.unwrap();
        let found = [trend.len(), groups.len(), waiting.len(), topics.len(), pairs.len()];
        assert_eq!(found.map(|many| many > 0), [sees; 5], "{scope:?}: {found:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Judge(usize),
    Run(usize),
    Decide(usize, usize, bool),
    Reopen(usize),
    Say(usize, bool),
    Count,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..5_usize;
    prop_oneof![
        4 => nth.clone().prop_map(Step::Judge),
        1 => nth.clone().prop_map(Step::Run),
        4 => (nth.clone(), 0..3_usize, any::<bool>()).prop_map(|(nth, who, yes)| Step::Decide(nth, who, yes)),
        1 => nth.clone().prop_map(Step::Reopen),
        2 => (nth, any::<bool>()).prop_map(|(nth, wanted)| Step::Say(nth, wanted)),
        2 => Just(Step::Count),
    ]
}

/// All that is counted, as one value.
async fn counted(site: &Site) -> Value {
    let sql = "select jsonb_build_object(
        'episodes', (select coalesce(jsonb_agg(to_jsonb(c) order by c.episode_id), '[]') from counted_episodes c),
        'waiting', (select coalesce(jsonb_agg(to_jsonb(c) order by c.episode_id), '[]') from waiting_episodes c),
        'gaps', (select coalesce(jsonb_agg(to_jsonb(c) order by c.episode_id, c.topic), '[]') from counted_gaps c),
        'uploads', (select coalesce(jsonb_agg(to_jsonb(c) order by c.episode_id), '[]') from counted_uploads c),
        'packed', (select coalesce(jsonb_agg(to_jsonb(c) order by c.station_id, c.day, c.part), '[]') from packed_episodes c))";
    site.edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// What is counted along the way, and what is counted at once from the first event, is what the rows say.
#[test]
fn quality_counts_equal_a_recount_however_episodes_are_judged() {
    const CASES: u32 = 5;
    const STEPS: usize = 24;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = Cases { cases: CASES, failure_persistence: None, max_shrink_iters: 20, ..Cases::default() };
    TestRunner::new(cases)
        .run(&proptest::collection::vec(step(), STEPS / 2..STEPS), |steps| {
            runtime.block_on(async {
                let site = Site::of(&recordings()).await;
                for step in steps {
                    match step {
                        Step::Judge(nth) => site.judge(nth).await,
                        Step::Run(nth) => {
                            drop(site.edge.post(&format!("/api/v1/qa/episodes/{}/run", site.episodes[nth]), Value::Null).await);
                        }
                        Step::Decide(nth, who, yes) => {
                            site.decide(who, nth, if yes { "approved" } else { "rejected" }).await;
                        }
                        Step::Reopen(nth) => {
                            let path = format!("/api/v1/inspection/episodes/{}/reopen", site.episodes[nth]);
                            drop(site.edge.post(&path, json!({"reason": "again"})).await);
                        }
                        Step::Say(nth, wanted) => {
                            let word = if wanted { "keep" } else { "discard" };
                            let path = format!("/api/v1/tasks/{}/verdict", site.tasks[nth].id);
                            drop(site.edge.post(&path, json!({"verdict": word})).await);
                        }
                        Step::Count => site.count().await,
                    }
                }
                site.count().await;
                let pool = &site.edge.database.pool;
                assert_eq!(differences(pool).await, Vec::<String>::new(), "along the way");
                let along = counted(&site).await;
                site.sql(RECOUNT).await;
                count_all(pool).await;
                assert_eq!(differences(pool).await, Vec::<String>::new(), "at once");
                assert_eq!(counted(&site).await, along, "each as it was");
                let statuses = along["episodes"].as_array().unwrap().iter().map(|row| row["qa_status"].as_str().unwrap_or_default());
                println!("{:?}", statuses.collect::<Vec<_>>());
            });
            Ok(())
        })
        .unwrap();
}
