//! Lists: what a text matches, in which order, and that pages come from indexes however many rows there are.
//! `KEYSTONE_LIST_ROWS` says how many tasks the tables are filled with; as many intervals are missing, and a tenth of that are episodes.

use std::sync::LazyLock;

use deadpool_postgres::Client;
use keystone_edge::pg::plans::by_indexes;
use keystone_edge::projections::reads::{looks_for_parts, parameter_types, statements};
use serde_json::{Value, json};
use tokio_postgres::types::{ToSql, Type};

use crate::bulk::{count_rows, fill};
use crate::harness::TestDatabase;
use crate::harness::edge::TestEdge;

/// The tables that grow for ever.
pub const GROWING: [&str; 6] = ["orders", "batches", "tasks", "episodes", "recording_gaps", "episode_facts"];

/// Ten intervals are missing in each episode; of one episode in ten the facts were measured anew since, and half of these are left.
pub async fn fill_gaps(client: &Client, gaps: i64) {
    let sql = format!(
        "insert into episode_facts select n, case when n % 10 = 0 then 2 else 1 end, now(), now(), decode(repeat('5a', 1000), 'hex')
             from generate_series(1, {episodes}) n;
         insert into recording_gaps select e * 256 + place, case when e % 10 = 0 and place < 5 then 2 else 1 end, now(), now(), e, 1 + e % 200, 1, 1 + e % 10,
             '/topic' || place, now() - (({episodes} - e) || ' seconds')::interval + place * interval '10 ms', now(), 300, 9,
             case when e % 500 = 7 then 'queue' when e % 20 = 0 then 'disk' when place = 3 then 'unknown' else 'sensor' end
             from generate_series(1, {episodes}) e, generate_series(0, 9) place",
        episodes = gaps / 10
    );
    client.batch_execute(&sql).await.expect("gaps");
}

fn scans(plan: &Value, found: &mut Vec<String>) {
    let node = plan["Node Type"].as_str().unwrap_or_default();
    let table = plan["Relation Name"].as_str().unwrap_or_default();
    if node.ends_with("Seq Scan") && GROWING.contains(&table) {
        found.push(table.to_owned());
    }
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        scans(inner, found);
    }
}

/// The same instant in every query: rows lie seconds apart.
static AN_HOUR_AGO: LazyLock<chrono::DateTime<chrono::Utc>> = LazyLock::new(|| chrono::Utc::now() - chrono::TimeDelta::hours(1));

/// A value for a parameter, as its type wants it.
fn boxed(value: &Value, of: &Type) -> Box<dyn ToSql + Sync + Send> {
    let all = || value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let texts = || Some(all().iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>());
    match (value, of) {
        (Value::Null, &Type::INT8) => Box::new(None::<i64>),
        (Value::Null, &Type::INT8_ARRAY) => Box::new(None::<Vec<i64>>),
        (Value::Null, &Type::TEXT) => Box::new(None::<String>),
        (Value::Null, &Type::TEXT_ARRAY) => Box::new(None::<Vec<String>>),
        (Value::Null, &Type::BOOL) => Box::new(None::<bool>),
        (Value::Null, &Type::TIMESTAMPTZ) => Box::new(None::<chrono::DateTime<chrono::Utc>>),
        (_, &Type::INT8) => Box::new(value.as_i64()),
        (_, &Type::INT8_ARRAY) => Box::new(all().iter().map(Value::as_i64).collect::<Option<Vec<i64>>>()),
        (_, &Type::TEXT) => Box::new(value.as_str().map(str::to_owned)),
        (_, &Type::TEXT_ARRAY) => Box::new(texts()),
        (_, &Type::BOOL) => Box::new(value.as_bool()),
        (Value::Number(micros), &Type::TIMESTAMPTZ) => Box::new(chrono::DateTime::from_timestamp_micros(micros.as_i64().unwrap())),
        (_, &Type::TIMESTAMPTZ) => Box::new(Some(*AN_HOUR_AGO)),
        (_, other) => panic!("no list takes a {other}"),
    }
}

/// Filters of each list: which parameter, with which value. Each is tried alone, and none at all.
fn filters(list: &str) -> Vec<(usize, Value)> {
    match list {
        "orders" => vec![
            (1, json!(3)),
            (2, json!(7)),
            (4, json!("in_progress")),
            (5, json!("Order 17")),
            (6, json!(17)),
            (7, json!("Order 123")),
            (7, json!("scene 7")),
        ],
        "batches" => {
            vec![(1, json!(17)), (2, json!(7)), (3, json!(3)), (4, json!(7)), (5, json!("ab-7")), (6, json!("OP-7")), (7, json!("active"))]
        }
        "tasks" => {
            vec![(1, json!("TASK_17")), (2, json!(7)), (3, json!("pending")), (3, json!("completed")), (3, json!("ready")), (4, json!(17))]
        }
        "tasks, by batch" => vec![(5, json!(17))],
        "tasks of a batch" => vec![(1, json!(17))],
        "episodes" => vec![
            (1, json!(17)),
            (2, json!("TASK_17")),
            (3, json!(7)),
            (4, json!("failed")),
            (4, json!("approved")),
            (5, json!(true)),
            (6, json!(false)),
            (7, json!(false)),
            (8, json!("OP-7")),
            (9, json!("ab-7")),
            (10, json!("an hour ago")),
            (11, json!("an hour ago")),
            (15, json!(17)),
        ],
        "episodes, by batch" => vec![(16, json!(17))],
        "episodes of a selection" => vec![
            (1, json!("an hour ago")),
            (2, json!("an hour ago")),
            (3, json!("task_1234")),
            (3, json!("blurred lens")),
            (11, json!("recalled_batch")),
        ],
        "episodes of a selection, by status" => vec![
            (4, json!("failed")),
            (4, json!("approved")),
            (4, json!(["pending_qa", "failed", "needs_inspection"])),
            (4, json!(["pending_qa", "qa_running", "approved", "failed", "needs_inspection", "inspector_approved", "rejected"])),
        ],
        "episodes of a selection, by scene" => vec![(6, json!(7)), (6, json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))],
        "episodes of a selection, by SOP" => vec![(7, json!(7)), (7, json!([1, 2, 3]))],
        "episodes of a selection, by station" => vec![(8, json!(1)), (9, json!("ab-7")), (10, json!(["OP-7", "op-8"]))],
        "episodes to be judged" => vec![(3, json!("task_1234"))],
        "episodes to be judged, by status" => {
            vec![(1, json!(["pending_qa", "failed", "needs_inspection"])), (1, json!(["approved", "inspector_approved"]))]
        }
        "gaps" => vec![
            (1, json!("ab-7")),
            (2, json!(7)),
            (3, json!("/topic3")),
            (3, json!("/none")),
            (4, json!(17)),
            (5, json!("sensor")),
            (5, json!("queue")),
            (6, json!("an hour ago")),
            (7, json!("an hour ago")),
        ],
        other => panic!("{other} is no list of a table that grows"),
    }
}

/// A statement with values for its parameters.
pub async fn rows_of(client: &tokio_postgres::Client, sql: &str, values: &[Value]) -> Vec<tokio_postgres::Row> {
    let types = parameter_types(sql);
    let boxes: Vec<_> = values.iter().zip(&types).map(|(value, of)| boxed(value, of)).collect();
    let typed: Vec<(&(dyn ToSql + Sync), Type)> =
        boxes.iter().zip(&types).map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone())).collect();
    client.query_typed(sql, &typed).await.unwrap_or_else(|error| panic!("{error:?}: {sql} with {values:?}"))
}

/// A page, planned as the server has it planned.
async fn page_of(client: &Client, sql: &str, values: &[Value]) -> Vec<tokio_postgres::Row> {
    by_indexes(client, looks_for_parts(sql), async { Ok(rows_of(client, sql, values).await) }).await.expect("a page")
}

/// Where the row lies, as a page says it.
fn place(row: &tokio_postgres::Row) -> Vec<Value> {
    (0..).map_while(|n| row.try_get::<_, i64>(format!("place_{n}").as_str()).ok()).map(|value| json!(value)).collect()
}

/// Blocks that a page reads or finds in memory.
async fn blocks(client: &Client, page: &str, values: &[Value]) -> i64 {
    let explained = page_of(client, &format!("explain (analyze, buffers, format json) {page}"), values).await;
    let plan: Value = explained[0].get(0);
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|key| plan[0]["Plan"][*key].as_i64().unwrap()).sum()
}

/// From a place, the last page costs about as much as the first; by offset, it costs all rows before it.
async fn the_last_page_costs_as_much_as_the_first(client: &Client, list: &str, page: &str, filter: Option<&(usize, Value)>) {
    let parameters = parameter_types(page).len();
    let mut first = vec![Value::Null; parameters];
    (first[parameters - 2], first[parameters - 1]) = (json!(50), json!(0));
    if let Some((parameter, value)) = filter {
        first[parameter - 1] = value.clone();
    }
    let mut all = first.clone();
    all[parameters - 2] = Value::Null;
    let started = std::time::Instant::now();
    let rows = page_of(client, page, &all).await;
    let walked = started.elapsed();
    let Some(before_last) = rows.len().checked_sub(51).filter(|at| *at > 500).map(|at| place(&rows[at])) else { return };
    let mut last = first.clone();
    let at = parameters - 2 - before_last.len();
    last[at..at + before_last.len()].clone_from_slice(&before_last);
    let ids = |rows: &[tokio_postgres::Row]| rows.iter().map(place).collect::<Vec<_>>();
    let started = std::time::Instant::now();
    assert_eq!(ids(&page_of(client, page, &last).await), ids(&rows[rows.len() - 50..]), "{list} by {filter:?}");
    let (took, first, last) = (started.elapsed(), blocks(client, page, &first).await, blocks(client, page, &last).await);
    println!("{list} by {filter:?}: {} rows in {walked:?}; first page {first} blocks, last {last} in {took:?}", rows.len());
    assert!(last <= first * 4 + 300, "{list} by {filter:?}: the last page reads {last} blocks, the first {first}");
}

/// Every page by every filter: none reads all of a table that grows, and the last costs as much as the first.
async fn pages(client: &Client) {
    let statement = |name: &str| statements().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1;
    let of_every_row = ["orders", "batches", "tasks", "episodes", "episodes of a selection", "episodes to be judged", "gaps"];
    let of_a_filter = [
        "tasks of a batch",
        "tasks, by batch",
        "episodes, by batch",
        "episodes of a selection, by status",
        "episodes of a selection, by scene",
        "episodes of a selection, by SOP",
        "episodes of a selection, by station",
        "episodes to be judged, by status",
    ];
    for list in of_every_row.into_iter().chain(of_a_filter) {
        let page = statement(list);
        let types = parameter_types(&page);
        let none = if of_a_filter.contains(&list) { vec![] } else { vec![None] };
        for filter in none.into_iter().chain(filters(list).into_iter().map(Some)) {
            the_last_page_costs_as_much_as_the_first(client, list, &page, filter.as_ref()).await;
            let mut values = vec![Value::Null; types.len()];
            values[types.len() - 2] = json!(50);
            values[types.len() - 1] = json!(0);
            if let Some((parameter, value)) = &filter {
                values[parameter - 1] = value.clone();
            }
            let explained = page_of(client, &format!("explain (format json) {page}"), &values).await;
            let plan: Value = explained[0].get(0);
            let mut found = vec![];
            scans(&plan[0]["Plan"], &mut found);
            assert!(found.is_empty(), "{list} by {filter:?} reads all of {found:?}: {plan:#}");
            let started = std::time::Instant::now();
            let answered = page_of(client, &page, &values).await;
            println!("{list} by {filter:?}: {} rows in {:?}", answered.len(), started.elapsed());
        }
    }
}

#[tokio::test]
async fn pages_of_lists_come_from_indexes() {
    let rows = std::env::var("KEYSTONE_LIST_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let database = TestDatabase::new().await.patient();
    let by_itself = |table: &&str| format!("alter table {table} set (autovacuum_enabled = off);");
    database.as_superuser(&GROWING.iter().map(by_itself).collect::<String>()).await;
    let started = std::time::Instant::now();
    let client = database.pool.get().await.unwrap();
    fill(&client, rows).await;
    fill_gaps(&client, rows).await;
    println!("{rows} tasks and what belongs to them in {:?}; nobody has counted them", started.elapsed());
    // As after a restore: from indexes then, too, if not always from the best one.
    pages(&client).await;
    count_rows(&client).await;
    client.batch_execute("vacuum analyze recording_gaps, episode_facts").await.unwrap();
    println!("counted");
    pages(&client).await;
}

async fn names(edge: &TestEdge, query: &str) -> Vec<String> {
    let (status, answer) = edge.get(&format!("/api/v1/orders?{query}")).await;
    assert_eq!(status, 200, "{query}: {answer}");
    let items = answer["items"].as_array().unwrap();
    assert_eq!(answer["total"], items.len(), "{query}");
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn texts_match_without_regard_to_case_and_accents_and_good_matches_come_first() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let order = |name: &str| json!({"organization_id": seed.organization, "scene_id": seed.scene, "name": name, "target_count": 1});
    for name in ["Grand café", "Café au lait", "CAFÉ", "Straße", "１００%", "100x"] {
        edge.create("/api/v1/orders", order(name)).await;
    }
    // Exact, then prefix, then all other hits; ties by the list's own order.
    assert_eq!(names(&edge, "keyword=cafe").await, ["CAFÉ", "Café au lait", "Grand café"]);
    assert_eq!(names(&edge, "q=CAFE%CC%81").await, ["CAFÉ", "Café au lait", "Grand café"]);
    assert_eq!(names(&edge, "name=cafe,grand%20cafe").await, ["CAFÉ", "Grand café"]);
    // Wildcards as in the contract; full-width digits are digits; ß is a letter of its own.
    assert_eq!(names(&edge, "keyword=c_f").await, ["CAFÉ", "Café au lait", "Grand café"]);
    assert_eq!(names(&edge, "keyword=g%25caf").await, ["Grand café"]);
    assert_eq!(names(&edge, "keyword=100").await, ["100x", "１００%"]);
    assert_eq!(names(&edge, "keyword=strasse").await, Vec::<String>::new());
    assert_eq!(names(&edge, "keyword=STRA%C3%9FE").await, ["Straße"]);
    assert_eq!(names(&edge, "keyword=%5C").await, Vec::<String>::new());
    // The names of scene and organization are searched after the order's own.
    let hits = names(&edge, "keyword=kitchen").await;
    assert_eq!(hits.len(), 7, "{hits:?}");
    // A name is taken by any of its spellings.
    for taken in ["cafe", "ＣＡＦÉ", "Cafe\u{301}"] {
        let (status, answer) = edge.post("/api/v1/orders", order(taken)).await;
        assert_eq!((status, &answer["code"]), (400, &json!("name_taken")), "{taken}");
    }
    edge.create("/api/v1/orders", order("Strasse")).await;
    // Ids of other lists: as text, and in any case.
    let batch = edge.create("/api/v1/batches", seed.batch(2)).await;
    let task = batch["tasks"][0]["task_id"].as_str().unwrap().to_uppercase();
    assert_eq!(edge.get(&format!("/api/v1/tasks?task_id={task}")).await.1["total"], 1);
    for (filter, total) in [("workstation_id=x", 0), ("workstation_id=01", 0), ("", 2), ("status=pending", 2), ("status=completed", 0)] {
        assert_eq!(edge.get(&format!("/api/v1/tasks?{filter}")).await.1["total"], total, "{filter}");
    }
    assert_eq!(edge.get("/api/v1/batches?order_id=abc").await.1["total"], 0);
}
