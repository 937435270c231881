//! People decide about what a machine could not: one at a time, blind where two decide, and by their level.

use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, is_ack, transfer_of};
use crate::harness::device::Socket;
use crate::harness::until;
use crate::judging::{TOPICS, recorded};

pub async fn uploaded(bench: &Bench, transfer: &mut Socket, task: &DispatchedTask, recording: &Recording) -> i64 {
    let key = bench.key(task);
    bench.upload(&key, recording).await;
    transfer.send(&complete(&task.public_id, &key, recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
    let id = found["episode"]["id"].as_str().and_then(|id| id.parse().ok()).or(found["episode"]["id"].as_i64()).expect("an id");
    until("the verdict", async || episode(bench, id).await["qa_status"] != "pending_qa").await;
    id
}

pub async fn episode(bench: &Bench, id: i64) -> Value {
    bench.client.get(&format!("/episodes/{id}")).await.expect("an episode")
}

/// A signed-in person.
pub struct Person {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Person {
    async fn sign_in(bench: &Bench, account: &str) -> Result<Self, u16> {
        let (http, base) = (reqwest::Client::new(), bench.server.base());
        let body = json!({ "account": account, "password": "a password of one's own" });
        let answer = http.post(format!("{base}/api/v1/auth/login")).json(&body).send().await.expect("an answer");
        if !answer.status().is_success() {
            return Err(answer.status().as_u16());
        }
        let login: Value = answer.json().await.expect("a login");
        assert_eq!((&login["role"], &login["inspector"]["inspector_id"]), (&json!("data_inspector"), &json!(account)), "{login}");
        Ok(Self { http, base, token: login["access_token"].as_str().expect("a token").to_owned() })
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.token);
        let answer = if body.is_null() { request } else { request.json(&body) }.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn take(&self, id: i64) -> (u16, Value) {
        self.ask(Method::POST, &format!("/inspection/episodes/{id}/take"), Value::Null).await
    }

    pub async fn decide(&self, id: i64, decision: &str) -> (u16, Value) {
        let body = json!({ "decision": decision, "reason": "as I see it", "tags": ["seen"], "duration_sec": 4.0 });
        self.ask(Method::POST, &format!("/inspection/episodes/{id}/decide"), body).await
    }

    async fn queue(&self, query: &str) -> Vec<i64> {
        let (status, listed) = self.ask(Method::GET, &format!("/inspection/queue?{query}"), Value::Null).await;
        assert_eq!(status, 200, "{listed}");
        listed["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_i64()).collect()
    }
}

pub async fn inspector(bench: &Bench, account: &str, level: &str) -> (i64, Person) {
    let new = json!({
        "organization_id": bench.made.organization_id, "name": account, "inspector_id": account, "certification_level": level,
        "password": "a password of one's own",
    });
    let made = bench.client.create("/inspectors", &new).await.expect("an inspector");
    let id = made["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    (id, Person::sign_in(bench, account).await.expect("a login"))
}

pub async fn types_of(bench: &Bench, id: i64) -> Vec<String> {
    let sql = "select event_type from events where aggregate_type = 'episode' and aggregate_id = $1 order by sequence";
    let client = bench.server.database().await.get().await.expect("a connection");
    client.query(sql, &[&id.to_string()]).await.expect("events").iter().map(|row| row.get(0)).collect()
}

pub fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn one_inspector_at_a_time_decides_by_their_level_and_seniors_settle_the_rest() {
    let bench = Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned())]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(3).await;
    let short = uploaded(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 1)).await;
    let lacking = uploaded(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS[..3], 5)).await;
    let good = uploaded(&bench, &mut transfer, &tasks[2], &recorded(&TOPICS, 5)).await;
    let (_, first) = inspector(&bench, "first", "level_2").await;
    let (_, second) = inspector(&bench, "second", "level_2").await;
    let (senior_id, senior) = inspector(&bench, "senior", "senior").await;

    // Of what failed a senior decides, and only where it is asked for.
    assert_eq!(first.queue("").await, [short]);
    assert_eq!(first.queue("failed=true").await, [short]);
    assert_eq!(senior.queue("failed=true").await, [short, lacking]);
    assert_eq!(code(&first.take(lacking).await), (403, "inspector_level"));
    assert_eq!(code(&first.take(good).await), (409, "nothing_to_inspect"));
    assert_eq!(code(&first.take(9999).await), (404, "episode_not_found"));

    // Two want the same at the same time: one has it.
    assert_eq!(code(&first.decide(short, "approved").await), (409, "inspection_not_taken"));
    let (one, other) = tokio::join!(first.take(short), second.take(short));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    let (holder, waiting) = if one.0 == 200 { (&first, &second) } else { (&second, &first) };
    assert_eq!(holder.take(short).await.0, 200, "and for longer");
    assert!(waiting.queue("").await.is_empty());
    assert_eq!(code(&waiting.decide(short, "approved").await), (409, "inspection_not_taken"));
    assert_eq!(holder.ask(Method::POST, &format!("/inspection/episodes/{short}/release"), Value::Null).await.0, 204);
    let (status, next) = waiting.ask(Method::POST, "/inspection/next", Value::Null).await;
    assert_eq!((status, &next["episode_id"]), (200, &json!(short)));
    assert_eq!(holder.ask(Method::POST, "/inspection/next", Value::Null).await.0, 204);
    // No run gets in between.
    let (status, kept) = waiting.ask(Method::POST, &format!("/qa/episodes/{short}/run"), Value::Null).await;
    assert_eq!((status, &kept["qa_status"]), (200, &json!("needs_inspection")));
    for wrong in [
        json!({}),
        json!({"decision": "approved"}),
        json!({"decision": "perhaps", "reason": "r"}),
        json!({"decision": "approved", "reason": " "}),
    ] {
        assert_eq!(waiting.ask(Method::POST, &format!("/inspection/episodes/{short}/decide"), wrong.clone()).await.0, 400, "{wrong}");
    }
    let (status, decided) = waiting.decide(short, "approved").await;
    assert_eq!((status, &decided["effect"], &decided["qa_status"]), (200, &json!("settled"), &json!("inspector_approved")));
    let detail = episode(&bench, short).await;
    assert_eq!((&detail["inspection_decision"], &detail["auto_approved"]), (&json!("approved"), &json!(false)), "{detail}");
    assert!(detail["inspected_at"].is_string() && detail["inspector_id"].is_string() && detail["quality_flag"].is_null(), "{detail}");
    assert_eq!(types_of(&bench, short).await.last().map(String::as_str), Some("episode_approved"));

    // Reopened, only a senior decides; a machine's approval as well.
    let reopen = |id: i64| format!("/inspection/episodes/{id}/reopen");
    assert_eq!(code(&first.ask(Method::POST, &reopen(short), json!({"reason": "look again"})).await), (403, "inspector_level"));
    assert_eq!(senior.ask(Method::POST, &reopen(short), json!({"reason": "look again"})).await.0, 204);
    assert_eq!(senior.ask(Method::POST, &reopen(short), json!({"reason": "look again"})).await.0, 409);
    assert_eq!(types_of(&bench, short).await.last().map(String::as_str), Some("episode_approval_lost"));
    assert_eq!(code(&first.take(short).await), (403, "inspector_level"));
    assert_eq!(senior.take(short).await.0, 200);
    assert_eq!(senior.decide(short, "rejected").await.1["qa_status"], "rejected");
    assert_eq!(episode(&bench, short).await["quality_flag"], "as I see it");
    assert_eq!(senior.ask(Method::POST, &reopen(good), json!({"reason": "too dark"})).await.0, 204);
    assert_eq!(episode(&bench, good).await["qa_status"], "needs_inspection");

    // What an inspector may not.
    assert_eq!(first.ask(Method::GET, "/inspectors", Value::Null).await.0, 403);
    assert_eq!(first.ask(Method::POST, "/orders", json!({})).await.0, 403);
    assert_eq!(first.ask(Method::POST, &format!("/recorder/{}/begin", bench.device), json!({})).await.0, 403);
    let name_of_a_collector = bench.made.stations[0].operator_id.clone();
    let taken = json!({"organization_id": bench.made.organization_id, "name": "n", "inspector_id": name_of_a_collector});
    let reply = bench.client.call(Method::POST, "/inspectors", Some(&taken)).await.expect("an answer");
    assert_eq!((reply.status.as_u16(), &reply.body["code"]), (400, &json!("name_taken")), "{}", reply.body);

    // Whose account is closed decides nothing more, with the token they have, and signs in no more.
    let off = json!({"status": "inactive"});
    let reply = bench.client.call(Method::PUT, &format!("/inspectors/{senior_id}"), Some(&off)).await.expect("an answer");
    assert_eq!((reply.status.as_u16(), &reply.body["status"]), (200, &json!("inactive")));
    assert_eq!(code(&senior.take(good).await), (401, "unauthenticated"));
    assert_eq!(Person::sign_in(&bench, "senior").await.err(), Some(401));
}

#[tokio::test]
async fn a_second_inspection_is_blind_and_a_dispute_is_settled_by_a_senior() {
    let bench = Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "1".to_owned())]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(2).await;
    let agreed = uploaded(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 1)).await;
    let disputed = uploaded(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS, 1)).await;
    let (_, first) = inspector(&bench, "first", "level_2").await;
    let (_, second) = inspector(&bench, "second", "level_2").await;
    let (_, senior) = inspector(&bench, "senior", "senior").await;
    let decisions = |who: &Person, id: i64| {
        let path = format!("/inspection/episodes/{id}/decisions");
        let request = who.http.get(format!("{}/api/v1{path}", who.base)).bearer_auth(&who.token);
        async move { request.send().await.expect("an answer").json::<Value>().await.expect("JSON")["items"].as_array().map_or(0, Vec::len) }
    };

    for (id, decision) in [(agreed, "approved"), (disputed, "approved")] {
        assert_eq!(first.take(id).await.0, 200);
        let (_, made) = first.decide(id, decision).await;
        assert_eq!((&made["effect"], &made["qa_status"]), (&json!("second_wanted"), &json!("needs_inspection")));
        // Not by the same person, and not in sight of the other.
        assert_eq!(code(&first.take(id).await), (409, "inspection_decided_before"));
        assert_eq!((decisions(&first, id).await, decisions(&second, id).await), (1, 0));
        assert!(!first.queue("").await.contains(&id));
    }
    assert_eq!(second.take(agreed).await.0, 200);
    assert_eq!(second.decide(agreed, "approved").await.1["effect"], "settled");
    assert_eq!(episode(&bench, agreed).await["qa_status"], "inspector_approved");
    assert_eq!(decisions(&first, agreed).await, 2);

    assert_eq!(second.take(disputed).await.0, 200);
    assert_eq!(second.decide(disputed, "rejected").await.1["effect"], "disputed");
    assert_eq!(episode(&bench, disputed).await["qa_status"], "needs_inspection");
    let (_, third) = inspector(&bench, "third", "level_2").await;
    assert_eq!(code(&third.take(disputed).await), (403, "inspector_level"));
    assert_eq!(senior.take(disputed).await.0, 200);
    assert_eq!(senior.decide(disputed, "rejected").await.1["effect"], "settled");
    assert_eq!(episode(&bench, disputed).await["qa_status"], "rejected");

    let figures = bench.client.get("/inspection/inspectors").await.expect("figures");
    let of = |name: &str| figures["items"].as_array().expect("items").iter().find(|row| row["name"] == name).expect("an inspector").clone();
    for name in ["first", "second"] {
        let row = of(name);
        assert_eq!((&row["decisions"], &row["inspected_twice"], &row["agreement"]), (&json!(2), &json!(2), &json!(0.5)), "{row}");
        assert_eq!((&row["mean_duration_sec"], &row["kappa"]), (&json!(4.0), &json!(0.0)), "{row}");
    }
    assert_eq!((&of("senior")["decisions"], &of("senior")["inspected_twice"]), (&json!(1), &json!(0)));
    assert_eq!((&of("third")["decisions"], &of("third")["agreement"]), (&json!(0), &Value::Null));
}
