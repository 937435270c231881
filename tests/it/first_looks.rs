//! Where to look first, at a large site: what ranking, drift and the inspection queue read is no more than they compare or show, and totals of
//! lists are counted in indexes, however many episodes there are.

use deadpool_postgres::Client;
use keystone_edge::pg::plans::by_indexes;
use keystone_edge::projections::reads::{looks_for_parts, parameter_types, statements};
use serde_json::{Value, json};

use crate::bulk::{count_rows, fill};
use crate::harness::{TestDatabase, until};
use crate::lists::{GROWING, fill_gaps, rows_of};

/// Rows of one page.
const PAGE: i64 = 50;

fn statement(name: &str) -> String {
    statements().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

/// Values for all parameters: these, and else nothing.
fn values(sql: &str, given: &[(usize, Value)]) -> Vec<Value> {
    let mut values = vec![Value::Null; parameter_types(sql).len()];
    given.iter().for_each(|(parameter, value)| values[parameter - 1] = value.clone());
    values
}

/// The plan that ran, and how it is read.
async fn ran(client: &Client, sql: &str, values: &[Value], held: bool) -> Value {
    let explained = format!("explain (analyze, format json) {sql}");
    let plan: Value = if held {
        let page = async { Ok(rows_of(client, &explained, values).await) };
        by_indexes(client, looks_for_parts(sql), page).await.expect("a plan")[0].get(0)
    } else {
        rows_of(client, &explained, values).await[0].get(0)
    };
    plan[0]["Plan"].clone()
}

/// Every look at a table: which one, in which way, and how many rows it read for those that it gave.
fn looks<'a>(plan: &'a Value, found: &mut Vec<(&'a str, &'a str, f64)>) {
    if let Some(table) = plan["Relation Name"].as_str() {
        let number = |key: &str| plan[key].as_f64().unwrap_or_default();
        let rows = number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
        found.push((table, plan["Node Type"].as_str().expect("a node"), rows * number("Actual Loops")));
    }
    plan["Plans"].as_array().into_iter().flatten().for_each(|inner| looks(inner, found));
}

/// How many rows of a table were read.
fn read_of(plan: &Value, wanted: &str) -> f64 {
    let mut found = vec![];
    looks(plan, &mut found);
    found.iter().filter(|(table, ..)| *table == wanted).map(|(.., rows)| rows).sum()
}

/// A tenth as many episodes as tasks; what waits for inspectors, and one robot of another type.
async fn filled(client: &Client, tasks: i64) {
    fill(client, tasks).await;
    fill_gaps(client, tasks).await;
    let sql = "update episodes set inspection_cause = case when qa_status = 'failed' then 'gates' when id % 100 = 2 then 'warnings' else 'failures' end,
             inspection_distance = case when qa_status = 'failed' then 0 else id % 400 end,
             inspection_deciders = case when id % 1000 = 2 then '{3}' else '{}' end::bigint[],
             inspection_taken_by = case when id % 1000 = 52 then 4 end, inspection_until = case when id % 1000 = 52 then now() + interval '1 hour' end
             where qa_status in ('failed', 'needs_inspection');
         insert into robot_types select 2, 1, now(), now(), 'Leg', 'L', null, null, '[]', '[]', '{}';
         update robots set robot_type_id = 2 where id = 7";
    client.batch_execute(sql).await.expect("what waits");
    count_rows(client).await;
    client.batch_execute("vacuum analyze recording_gaps, episode_facts, robots, robot_types").await.expect("they are counted");
}

async fn database(tasks: i64) -> (TestDatabase, Client) {
    let database = TestDatabase::new().await.patient();
    // While Postgres looks at a table by itself, no row is told to be visible to all.
    let by_itself = |table: &&str| format!("alter table {table} set (autovacuum_enabled = off);");
    database.as_superuser(&GROWING.iter().chain(&["stations", "robots"]).map(by_itself).collect::<String>()).await;
    let client = database.pool.get().await.expect("a connection");
    filled(&client, tasks).await;
    // Where something else looked at that moment, not all rows were told to be visible to all.
    let hidden =
        "select count(*) from pg_class where relname in ('episodes', 'episode_facts', 'recording_gaps') and relallvisible < relpages";
    until("every row is told to be visible to all", async || {
        let hidden: i64 = client.query_one(hidden, &[]).await.expect("a count").get(0);
        if hidden > 0 {
            client.batch_execute("vacuum analyze episodes, episode_facts, recording_gaps").await.expect("they are counted");
        }
        hidden == 0
    })
    .await;
    (database, client)
}

#[tokio::test]
async fn what_is_compared_and_what_waits_costs_no_more_at_a_larger_site() {
    let (_database, client) = database(200_000).await;
    // Station 7 records by SOP 7 alone, and has the only robot of type 2.
    let compared = |given: &[(usize, Value)]| [given, &[(6, json!(false)), (9, json!(PAGE))]].concat();
    let waits =
        |given: &[(usize, Value)], place: usize| [given, &[(5, json!(false)), (place, json!(PAGE)), (place + 1, json!(0))]].concat();
    let all = json!(["warnings", "failures", "gates", "reopened", "disputed"]);
    let (first, one) = (PAGE as f64, 1.0);
    let cases = [
        ("episodes to compare", compared(&[(1, json!(8))]), first),
        ("episodes to compare", compared(&[(2, json!(7))]), first),
        ("episodes to compare", compared(&[(1, json!(7)), (2, json!(7))]), first),
        ("episodes to compare", compared(&[(1, json!(8)), (2, json!(7))]), 0.0),
        ("episodes to compare", compared(&[(1, json!(8)), (4, json!("an hour ago"))]), first),
        ("episodes to compare", compared(&[(1, json!(8)), (5, json!("an hour ago"))]), first),
        ("episodes to compare", compared(&[(2, json!(7)), (4, json!("an hour ago")), (5, json!("an hour ago"))]), one),
        // Those of its one station, and each of them once more where it was found.
        ("episodes to compare, by station", compared(&[(1, json!(7)), (3, json!(2))]), 2.0 * first),
        ("episodes to compare, by station", compared(&[(1, json!(8)), (3, json!(2))]), 0.0),
        ("first episode to compare", vec![(2, json!(7)), (4, json!("an hour ago")), (6, json!(false))], one),
        ("last episode to compare", vec![(2, json!(7)), (6, json!(false))], one),
        // Of each cause a page at most, and the page once more. Some are left out: another one holds them, or this one decided them.
        ("episodes to inspect, oldest, by cause", waits(&[(1, json!(["warnings"]))], 8), 2.0 * first),
        ("episodes to inspect, oldest, by cause", waits(&[(1, json!(["gates"]))], 8), 0.0),
        ("episodes to inspect, oldest, by cause", waits(&[(1, json!(["warnings", "failures"])), (2, json!(3))], 8), 3.3 * first),
        ("episodes to inspect, oldest, by cause", waits(&[(1, all.clone())], 8), 3.0 * first),
        ("episodes to inspect, least certain, by cause", waits(&[(1, json!(["warnings"]))], 9), 2.0 * first),
        ("episodes to inspect, least certain, by cause", waits(&[(1, all.clone()), (2, json!(3))], 9), 3.5 * first),
    ];
    for (name, given, most) in cases {
        let sql = statement(name);
        let plan = ran(&client, &sql, &values(&sql, &given), true).await;
        let (episodes, facts) = (read_of(&plan, "episodes"), read_of(&plan, "episode_facts"));
        println!("{name} by {given:?}: {episodes} episodes and {facts} facts read");
        assert!(episodes <= most && facts <= first, "{name} by {given:?}: {episodes} episodes and {facts} facts: {plan:#}");
    }
}

#[tokio::test]
async fn totals_are_counted_in_indexes() {
    let (_database, client) = database(200_000).await;
    let no = json!(false);
    let hour = json!("an hour ago");
    let cases = [
        ("episodes to compare, counted", vec![(1, json!(8)), (6, no.clone())]),
        ("episodes to compare, counted", vec![(2, json!(7)), (6, no.clone())]),
        ("episodes to compare, counted", vec![(1, json!(7)), (2, json!(7)), (6, no.clone())]),
        ("episodes to compare, counted", vec![(1, json!(7)), (3, json!(2)), (6, no.clone())]),
        ("episodes to compare, counted", vec![(1, json!(8)), (4, hour.clone()), (6, no.clone())]),
        ("episodes to inspect, counted", vec![(1, json!(["warnings", "failures"])), (5, no.clone())]),
        ("episodes to inspect, counted", vec![(1, json!(["gates"])), (5, json!(true))]),
        ("episodes to be judged, counted", vec![]),
        ("episodes to be judged, counted", vec![(1, json!(["pending_qa", "failed", "needs_inspection"]))]),
        ("episodes of a selection, counted", vec![]),
        ("episodes of a selection, counted", vec![(1, hour.clone())]),
        ("episodes of a selection, counted", vec![(4, json!(["failed", "needs_inspection"]))]),
        ("episodes of a selection, counted", vec![(6, json!([1, 7]))]),
        ("episodes of a selection, counted", vec![(7, json!([1, 7]))]),
        ("episodes of a selection, counted", vec![(9, json!(["ab-7"]))]),
        ("episodes, counted", vec![]),
        ("episodes, counted", vec![(3, json!(7))]),
        ("episodes, counted", vec![(10, hour.clone())]),
        ("episodes of a selection, counted for checks", vec![(4, json!(["failed"]))]),
        ("gaps, counted", vec![]),
        ("gaps, counted", vec![(3, json!("/topic3"))]),
    ];
    for (name, given) in cases {
        let sql = statement(name);
        let plan = ran(&client, &sql, &values(&sql, &given), false).await;
        let mut found = vec![];
        looks(&plan, &mut found);
        println!("{name} by {given:?}: {found:?}");
        let of_rows = |table: &str, node: &str| matches!(table, "episodes" | "episode_facts") && node != "Index Only Scan";
        let rows: Vec<_> = found.iter().filter(|(table, node, _)| of_rows(table, node)).collect();
        assert!(rows.is_empty(), "{name} by {given:?} reads rows: {rows:?} in {plan:#}");
    }
}
