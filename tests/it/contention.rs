//! Everybody works on one order at once. `KEYSTONE_CONTENTION_SECONDS` says for how long: a few
//! seconds in every run, a minute where it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::edge::{Seed, TestEdge, number};
use crate::read_models::check;

const CLIENTS: usize = 64;
const TARGET: i64 = 400;

struct Floor {
    edge: TestEdge,
    seed: Seed,
    collector: String,
    batches: Mutex<Vec<i64>>,
    target: Mutex<i64>,
    /// How often each answer was given.
    answers: Mutex<BTreeMap<(&'static str, u16, String), u64>>,
}

impl Floor {
    async fn send(&self, what: &'static str, token: &str, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.edge.send_as(token, method, path, body).await;
        assert!(status < 500, "{what}: {status} {answer}");
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        *self.answers.lock().await.entry((what, status, code)).or_default() += 1;
        answer
    }

    async fn batch(&self) -> i64 {
        let batches = self.batches.lock().await;
        // The newest are the ones with work.
        let recent = batches.len().min(12);
        if recent == 0 { 1 } else { batches[batches.len() - 1 - rand::random_range(0..recent)] }
    }

    async fn act(&self) {
        let (admin, seed) = (&self.edge.admin, &self.seed);
        let order = format!("/api/v1/orders/{}", number(&seed.order));
        let group = |quantity: i64| json!({"sop_id": number(&seed.sop), "subscene_id": number(&seed.subscene), "quantity": quantity});
        let batch = format!("/api/v1/batches/{}", self.batch().await);
        match rand::random_range(0..20) {
            0..5 => {
                let body = seed.batch(rand::random_range(1..6));
                let answer = self.send("create", admin, "POST", "/api/v1/batches", body).await;
                if let Some(id) = answer["batch"]["id"].as_str() {
                    self.batches.lock().await.push(id.parse().unwrap());
                }
            }
            5..9 => {
                let body = json!({"task_groups": [group(rand::random_range(0..8))]});
                self.send("adjust", admin, "POST", &format!("{batch}/tasks"), body).await;
            }
            9..14 => {
                let body = group(rand::random_range(1..3));
                self.send("complete", &self.collector, "POST", &format!("{batch}/complete-tasks"), body).await;
            }
            14 => {
                self.send("cancel", admin, "PATCH", &batch, json!({"status": "cancelled"})).await;
            }
            15 => {
                self.send("recall", admin, "POST", &format!("{batch}/recall"), Value::Null).await;
            }
            16 => {
                self.send("delete", admin, "DELETE", &batch, Value::Null).await;
            }
            17 => {
                let mut body = group(1);
                body["order_id"] = number(&seed.order).into();
                body["workstation_id"] = number(&seed.station).into();
                self.send("add tasks", admin, "POST", "/api/v1/tasks", body).await;
            }
            18 => {
                let word = ["paused", "in_progress", "in_progress", "in_progress"][rand::random_range(0..4)];
                self.send("edit", admin, "PUT", &order, json!({"status": word})).await;
            }
            _ => {
                // Only ever raised, by one after the other, so that more tasks than the target are always a fault.
                let mut target = self.target.lock().await;
                *target += rand::random_range(0..3);
                self.send("raise", admin, "PUT", &order, json!({"target_count": *target})).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_on_one_order_keep_its_quota_and_its_numbers() {
    let seconds = std::env::var("KEYSTONE_CONTENTION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let path = format!("/api/v1/orders/{}", number(&seed.order));
    edge.send_as(&edge.admin, "PUT", &path, json!({"target_count": TARGET})).await;
    let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    let floor = Arc::new(Floor { edge, seed, collector, batches: Mutex::default(), target: Mutex::new(TARGET), answers: Mutex::default() });

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let floor = floor.clone();
        clients.spawn(async move {
            while Instant::now() < until {
                floor.act().await;
            }
        });
    }
    let watcher = {
        let floor = floor.clone();
        tokio::spawn(async move {
            let mut looks = 0_u64;
            while Instant::now() < until {
                let client = floor.edge.database.pool.get().await.unwrap();
                let sql = "select o.task_count, o.target_count, (select count(*) from tasks t where t.order_id = o.id) from orders o";
                let row = client.query_one(sql, &[]).await.unwrap();
                drop(client);
                let (tasks, target, counted): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
                assert!(tasks <= target && tasks == counted, "{tasks} tasks, {counted} counted, target {target}");
                looks += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            looks
        })
    };
    clients.join_all().await;
    let looks = watcher.await.unwrap();
    check(&floor.edge.database.pool, &floor.edge.database).await;

    let answers = floor.answers.lock().await;
    let total: u64 = answers.values().sum();
    let lost: u64 = answers.iter().filter(|((_, _, code), _)| code == "lost_race").map(|(_, count)| count).sum();
    println!("{total} requests in {seconds} s, {looks} looks at the numbers, {lost} lost races told to clients");
    for ((what, status, code), count) in answers.iter() {
        println!("{what:>10} {status} {code:<28} {count}");
    }
    assert!(total > 20 * seconds, "clients got nothing done: {total}");
    assert_eq!(lost, 0, "who waits for an order's lock does not lose");
}
