//! Webhooks, with receivers that are really posted to.

mod deaths;
mod killed;
mod polled;
pub mod receiver;
mod secrets;
mod standing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keystone_edge::commands::Commands;
use keystone_edge::dispatcher::DeliverySettings;
use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::eventstore::{EventStore, NewEvent, Sequencer};
use keystone_edge::outbox::Wakes;
use keystone_edge::projections::reads::Reads;
use keystone_edge::subscribers::webhooks::{Names, SystemNames, WebhookSettings, Webhooks};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::factory::{lead, metadata};
use crate::harness::edge::TestEdge;
use crate::harness::until;
use crate::outbox::{Running, dispatch, number, settings, until_empty, waiting};
use receiver::Receiver;

pub const PATH: &str = "/api/v1/subscriptions";
const HEAD: &str = "select coalesce(max(position), 0) from log";

/// An edge with a log that moves when the test says so.
pub struct Site {
    pub edge: TestEdge,
    leader: Sequencer,
}

impl Site {
    pub async fn new() -> Self {
        let edge = TestEdge::start().await;
        let leader = lead(&edge.database.connector).await;
        let mut site = Self { edge, leader };
        site.place().await;
        site
    }

    /// Events of a stream, of which nobody is told by the rules.
    pub async fn happen(&self, stream: &str, versions: std::ops::RangeInclusive<i64>) {
        let event = |n| NewEvent::of::<Order>(stream, n, &OrderEvent::OrderStarted {}).unwrap();
        let store = EventStore::new(self.edge.database.pool.clone(), Wakes::default());
        let events: Vec<NewEvent> = versions.map(event).collect();
        store.begin().await.unwrap().commit(&events, &metadata(), &[]).await.unwrap();
    }

    /// All that happened has its place, and rows for those who want it.
    pub async fn place(&mut self) {
        while self.leader.step().await.unwrap() > 0 {}
        while self.edge.commands.fan_out().await.unwrap().unwrap().looked_at > 0 {}
    }

    pub async fn head(&self) -> i64 {
        number(&self.edge.database.pool, HEAD).await
    }

    pub fn dispatcher(&self) -> Running {
        self.dispatcher_with(Arc::new(SystemNames), "127.0.0.0/8")
    }

    pub fn dispatcher_with(&self, names: Arc<dyn Names>, allow_private: &str) -> Running {
        self.dispatcher_pausing(names, allow_private, Duration::from_secs(3_600))
    }

    pub fn dispatcher_pausing(&self, names: Arc<dyn Names>, allow_private: &str, paused_after: Duration) -> Running {
        let pool = &self.edge.database.pool;
        let of_site = WebhookSettings { allow_private: allow_private.parse().unwrap(), paused_after };
        let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
        let webhooks = Webhooks::new(commands, Reads::new(pool.clone()), of_site, names).unwrap();
        dispatch(pool, Arc::new(webhooks), DeliverySettings { timeout: Duration::from_secs(65), ..settings() }, "w")
    }

    /// The id and the secret.
    pub async fn subscribe(&self, url: &str, more: Value) -> (i64, String) {
        let quick = json!({ "backoff": "fixed", "backoff_base_ms": 100, "backoff_cap_ms": 100, "jitter": "full", "attempts_max": 3 });
        let mut body = json!({ "url": url, "event_types": ["order_*"], "delivery": quick });
        for (key, value) in more.as_object().unwrap() {
            match (body.get_mut(key), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                _ => body[key] = value.clone(),
            }
        }
        let made = self.edge.create(PATH, body).await;
        (made["id"].as_str().unwrap().parse().unwrap(), made["secret"].as_str().unwrap().to_owned())
    }

    pub async fn ask(&self, id: i64, what: &str, body: Value) -> (u16, Value) {
        self.edge.post(&format!("{PATH}/{id}/{what}"), body).await
    }

    pub async fn shown(&self, id: i64) -> Value {
        let (status, shown) = self.edge.get(&format!("{PATH}/{id}")).await;
        assert_eq!(status, 200, "{shown}");
        shown
    }

    pub async fn attempts(&self, id: i64, query: &str) -> Vec<Value> {
        let (status, page) = self.edge.get(&format!("{PATH}/{id}/deliveries?limit=100{query}")).await;
        assert_eq!(status, 200, "{page}");
        page["items"].as_array().unwrap().clone()
    }
}

pub fn ids(of: &[Value]) -> Vec<String> {
    of.iter().map(|heard| heard["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_event_is_told_and_their_library_accepts_the_signature() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 204).await;
    let (id, secret) = site.subscribe(&receiver.url("/hook?key=1"), json!({})).await;
    site.happen("a", 1..=2).await;
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;

    let heard = receiver.heard();
    assert_eq!(ids(&receiver.bodies()).into_iter().collect::<BTreeSet<_>>(), ["order/a/1".to_owned(), "order/a/2".to_owned()].into());
    let first = heard.iter().find(|heard| heard.body()["id"] == "order/a/1").unwrap();
    assert_eq!((first.path.as_str(), first.headers["content-type"].to_str().unwrap()), ("/hook?key=1", "application/json"));
    let body = first.body();
    assert_eq!(
        (&body["type"], &body["version"], &body["stream"], &body["data"]),
        (&json!("order_started"), &json!("1.0"), &json!("order/a"), &json!({}))
    );
    let position = body["position"].as_i64().unwrap();
    assert_eq!(first.headers["webhook-id"], format!("evt_{position}"));
    let (_, logged) = site.edge.get(&format!("/api/v1/events/{position}")).await;
    assert_eq!((&logged["event"]["event_id"], &logged["event"]["occurred_at"]), (&body["id"], &body["timestamp"]));

    let library = Webhook::new(&secret).unwrap();
    library.verify(first.raw.as_bytes(), &first.headers).unwrap();
    assert!(library.verify(b"{}", &first.headers).is_err());
    assert!(Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap().verify(first.raw.as_bytes(), &first.headers).is_err());

    let attempts = site.attempts(id, &format!("&position={position}")).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["outcome"], &attempts[0]["status"], &attempts[0]["attempt"]), (&json!("delivered"), &json!(204), &json!(1)));
    let shown = site.shown(id).await;
    assert_eq!((&shown["origin"], &shown["state"], &shown["waiting"]), (&json!(receiver.origin()), &json!("active"), &json!(0)));
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_fit_and_the_old_one_ends() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    let (id, old) = site.subscribe(&receiver.url("/"), json!({})).await;
    let (status, rotated) = site.ask(id, "rotate-secret", json!({ "overlap_hours": 1 })).await;
    assert_eq!(status, 200);
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert!(new != old && new.starts_with("whsec_"));
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher();
    until("both signatures", async || receiver.heard().len() == 1).await;
    let (_, rotated) = site.ask(id, "rotate-secret", json!({ "overlap_hours": 0 })).await;
    let newest = rotated["secret"].as_str().unwrap().to_owned();
    site.happen("a", 2..=2).await;
    site.place().await;
    until("the second event", async || receiver.heard().len() == 2).await;
    running.stop().await;
    let heard = receiver.heard();
    let fits = |secret: &str, n: usize| Webhook::new(secret).unwrap().verify(heard[n].raw.as_bytes(), &heard[n].headers).is_ok();
    assert_eq!([&old, &new, &newest].map(|secret| fits(secret, 0)), [true, true, false]);
    assert_eq!([&old, &new, &newest].map(|secret| fits(secret, 1)), [false, false, true]);
    assert_eq!(site.shown(id).await.get("secret"), None);
}

/// Answers another address each time.
struct Changing(Vec<IpAddr>, AtomicUsize);

#[async_trait]
impl Names for Changing {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        assert_eq!(name, "hooks.example");
        let asked = self.1.fetch_add(1, Ordering::SeqCst);
        Ok(vec![self.0[asked.min(self.0.len() - 1)]])
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_to_a_private_one_reaches_nothing_there() {
    let mut site = Site::new().await;
    let allowed = Receiver::start_on("127.0.0.2:0", |_| 200).await;
    let private = Receiver::start_on(&format!("127.0.0.1:{}", allowed.port()), |_| 200).await;
    let (id, _) = site.subscribe(&format!("http://hooks.example:{}/x", allowed.port()), json!({})).await;
    let names = Arc::new(Changing(["127.0.0.2", "127.0.0.1"].map(|text| text.parse().unwrap()).into(), AtomicUsize::new(0)));
    let running = site.dispatcher_with(names.clone(), "127.0.0.2");
    site.happen("a", 1..=1).await;
    site.place().await;
    until("the first event", async || allowed.heard().len() == 1).await;
    site.happen("a", 2..=3).await;
    site.place().await;
    until("two letters", async || number(&site.edge.database.pool, "select count(*) from dead_letters").await == 2).await;
    running.stop().await;
    assert_eq!((allowed.connections(), private.connections()), (1, 0));
    assert!(names.1.load(Ordering::SeqCst) >= 7, "asked at every connection");
    let failed = site.attempts(id, "&outcome=failed").await;
    assert_eq!(failed.len(), 6);
    assert!(failed.iter().all(|one| one["error"].as_str().unwrap().contains("not public")), "{failed:?}");
}

#[tokio::test]
async fn addresses_in_place_of_names_and_names_of_this_machine_are_refused() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    let port = receiver.port();
    let mut made = vec![];
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost"] {
        for scheme in ["http", "https"] {
            made.push(site.subscribe(&format!("{scheme}://{host}:{port}/"), json!({ "delivery": { "attempts_max": 1 } })).await.0);
        }
    }
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher_with(Arc::new(SystemNames), "");
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    assert_eq!(receiver.connections(), 0);
    for id in made {
        let attempts = site.attempts(id, "").await;
        assert!(attempts[0]["error"].as_str().unwrap().contains("not public"), "{attempts:?}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed_and_big_and_slow_answers_are_cut() {
    let mut site = Site::new().await;
    let elsewhere = Receiver::start(|_| 200).await;
    let location = elsewhere.url("/");
    let redirecting = Receiver::answering(move |_| receiver::Answer::of(307).with("location", &location)).await;
    let big = Receiver::answering(|_| receiver::Answer { body: "x".repeat(1 << 10), endless: true, ..receiver::Answer::of(200) }).await;
    let slow = Receiver::answering(|_| receiver::Answer { wait: Duration::from_secs(20), ..receiver::Answer::of(200) }).await;
    let once = json!({ "delivery": { "attempts_max": 1, "timeout_ms": 1000 } });
    let mut of = vec![];
    for receiver in [&redirecting, &big, &slow] {
        of.push(site.subscribe(&receiver.url("/"), once.clone()).await.0);
    }
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    assert_eq!(elsewhere.connections(), 0);
    let first = async |n: usize| site.attempts(of[n], "").await.remove(0);
    let (redirected, cut, late) = (first(0).await, first(1).await, first(2).await);
    assert_eq!((&redirected["outcome"], &redirected["status"]), (&json!("failed"), &json!(307)));
    assert_eq!((&cut["outcome"], cut["answer"].as_str().unwrap().len()), (&json!("delivered"), 1_000));
    assert!(cut["took_ms"].as_i64().unwrap() < 900, "it was not read until the timeout: {cut}");
    assert_eq!((&late["outcome"], &late["status"], &late["error"]), (&json!("failed"), &Value::Null, &json!("no answer within 1s")));
}

#[tokio::test]
async fn what_a_subscription_asks_for_is_checked() {
    let site = Site::new().await;
    let head = site.head().await;
    let fine = json!({ "url": "https://a.example/x", "event_types": ["*"] });
    for (change, field) in [
        (json!({ "url": "https://u:p@a.example/" }), "url"),
        (json!({ "url": "a.example" }), "url"),
        (json!({ "event_types": [] }), "event_types"),
        (json!({ "event_types": ["uplaod_*"] }), "event_types"),
        (json!({ "factory_id": 99 }), "factory"),
        (json!({ "organization_id": 99 }), "organization"),
        (json!({ "after_position": head + 1 }), "place in the log"),
        (json!({ "delivery": { "concurrency": 17 } }), "delivery.concurrency"),
        (json!({ "delivery": { "backoff_base_ms": 2000, "backoff_cap_ms": 1000 } }), "backoff_cap_ms"),
        (json!({ "after_positon": 1 }), "after_positon"),
        (json!({ "delivery": { "attempts": 1 } }), "attempts"),
    ] {
        let mut body = fine.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = site.edge.post(PATH, body).await;
        assert!(status == 400 && answer.to_string().contains(field), "{change}: {status} {answer}");
    }
    let (id, _) = site.subscribe("https://a.example/x", json!({})).await;
    for (what, body, expected) in [
        ("replay", json!({ "from_position": 1, "to_position": head + 9 }), 400),
        ("replay", json!({ "from_position": 2, "to_position": 1 }), 400),
        ("replay", json!({ "from_position": 1 }), 400),
        ("redeliver", json!({ "position": 1 }), 400),
        ("replay", json!({ "from_position": 1, "to_position": 1, "upto": 3 }), 400),
    ] {
        let (status, answer) = site.ask(id, what, body).await;
        assert_eq!(status, expected, "{what}: {answer}");
    }
    for odd in [json!({ "descripton": "x" }), json!({ "delivery": { "attempts": 1 } }), json!({ "factory_id": 1 })] {
        let (status, answer) = site.edge.send_as(&site.edge.admin, "PATCH", &format!("{PATH}/{id}"), odd.clone()).await;
        assert!(status == 400 && answer["detail"].as_str().unwrap().contains("unknown field"), "{odd}: {status} {answer}");
    }
    let polled = site.edge.create(PATH, json!({ "polled": true, "event_types": ["*"] })).await;
    let refused = site.ask(polled["id"].as_str().unwrap().parse().unwrap(), "test", Value::Null).await;
    assert_eq!((refused.0, &refused.1["because"]["event"]), (409, &json!("subscription_created")), "{}", refused.1);
    assert_eq!(site.ask(id + 2, "pause", Value::Null).await.0, 404);
    assert_eq!(waiting(&site.edge.database.pool).await, 0);
}
