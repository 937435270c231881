//! Subscriptions that are polled: told as webhooks are, from where the program says that it is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{PATH, Site, ids};
use crate::outbox::{number, until_empty};

impl Site {
    /// The id and the secret of a subscription that is polled.
    async fn polled(&self, body: Value) -> (i64, String) {
        let mut all = json!({ "polled": true, "event_types": ["order_*"] });
        body.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        let made = self.edge.create(PATH, all).await;
        assert_eq!(made["origin"], "polled");
        (made["id"].as_str().unwrap().parse().unwrap(), made["secret"].as_str().unwrap().to_owned())
    }

    async fn poll(&self, id: i64, secret: &str, query: &str) -> (u16, Value) {
        self.edge.send_as(secret, "GET", &format!("{PATH}/{id}/poll{query}"), Value::Null).await
    }

    async fn ack(&self, id: i64, secret: &str, position: i64) -> (u16, Value) {
        self.edge.send_as(secret, "POST", &format!("{PATH}/{id}/ack"), json!({ "position": position })).await
    }

    /// The events that it is given.
    async fn given(&self, id: i64, secret: &str, query: &str) -> Vec<String> {
        let (status, given) = self.poll(id, secret, query).await;
        assert_eq!(status, 200, "{given}");
        ids(given["events"].as_array().unwrap())
    }
}

#[tokio::test]
async fn a_program_gets_what_a_webhook_gets_until_it_says_that_it_has_it() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 204).await;
    site.subscribe(&receiver.url("/hook"), json!({})).await;
    let (id, secret) = site.polled(json!({})).await;
    assert_eq!(site.given(id, &secret, "").await, [""; 0]);
    site.happen("a", 1..=3).await;
    site.place().await;
    let (status, given) = site.poll(id, &secret, "").await;
    assert_eq!((status, &given["next"], &given["more"]), (200, &json!(site.head().await), &json!(false)), "{given}");
    assert_eq!(ids(given["events"].as_array().unwrap()), ["order/a/1", "order/a/2", "order/a/3"]);
    assert_eq!(number(&site.edge.database.pool, &format!("select count(*) from outbox where destination = 'webhook:{id}'")).await, 0);
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let mut posted = receiver.bodies();
    posted.sort_by_key(|body| body["position"].as_i64());
    assert_eq!(given["events"], json!(posted), "the same as a webhook is told");

    // What was not acknowledged comes again.
    let (_, first) = site.poll(id, &secret, "?limit=1").await;
    assert_eq!((ids(first["events"].as_array().unwrap()), &first["more"]), (vec!["order/a/1".to_owned()], &json!(true)));
    let done = first["next"].as_i64().unwrap();
    assert_eq!(site.ack(id, &secret, done).await, (200, json!({ "position": done })));
    assert_eq!(site.given(id, &secret, "").await, ["order/a/2", "order/a/3"]);
    assert_eq!(site.ack(id, &secret, 0).await.1["position"], done, "nothing goes back");
    assert_eq!(site.given(id, &secret, "?after_position=0&limit=2").await, ["order/a/1", "order/a/2"], "but it may be told again");
    assert_eq!(site.given(id, &secret, "").await.len(), 2);
    let beyond = site.ack(id, &secret, site.head().await + 1).await;
    assert_eq!((beyond.0, &beyond.1["field"]), (400, &json!("position")));
    assert_eq!(site.shown(id).await["position"], done);
    for query in ["?after_position=-1", "?limit=x", "?wait_s=21"] {
        assert_eq!(site.poll(id, &secret, query).await.0, 400, "{query}");
    }

    // One that gets an address is posted what it did not acknowledge.
    let (status, moved) =
        site.edge.send_as(&site.edge.admin.clone(), "PATCH", &format!("{PATH}/{id}"), json!({ "url": receiver.url("/late") })).await;
    assert_eq!(status, 200, "{moved}");
    assert_eq!(site.poll(id, &secret, "").await.0, 404);
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let mut late: Vec<Value> = receiver.heard().iter().filter(|heard| heard.path == "/late").map(|heard| heard.body()).collect();
    late.sort_by_key(|body| body["position"].as_i64());
    assert_eq!(ids(&late), ["order/a/2", "order/a/3"]);
}

#[tokio::test]
async fn only_its_secret_and_an_administrator_open_it() {
    let mut site = Site::new().await;
    let (id, secret) = site.polled(json!({})).await;
    let (other, of_other) = site.polled(json!({})).await;
    let (posted, of_posted) = site.subscribe("https://hooks.example/", json!({})).await;
    site.happen("a", 1..=1).await;
    site.place().await;
    for (id, shown) in [
        (id, ""),
        (id, "whsec_"),
        (id, &of_other[..]),
        (id, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (id, secret.trim_start_matches("whsec_")),
        (4711, &secret),
        (-1, &secret),
        (0, &secret),
    ] {
        for answer in [site.poll(id, shown, "").await, site.ack(id, shown, 1).await] {
            assert_eq!(answer.0, 401, "{id} with {shown}: {answer:?}");
        }
    }
    let admin = site.edge.admin.clone();
    assert_eq!(site.given(id, &admin, "").await, ["order/a/1"]);
    assert_eq!((site.poll(posted, &of_posted, "").await.0, site.ack(posted, &of_posted, 1).await.0), (404, 404), "it is posted to");
    assert_eq!(site.poll(4711, &admin, "").await.0, 404);
    // A secret opens nothing else.
    assert_eq!(site.edge.send_as(&secret, "GET", &format!("{PATH}/{id}"), Value::Null).await.0, 401);

    let (_, rotated) = site.ask(id, "rotate-secret", json!({ "overlap_hours": 1 })).await;
    let newer = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!((site.poll(id, &secret, "").await.0, site.poll(id, &newer, "").await.0), (200, 200), "for a while both do");
    let (_, rotated) = site.ask(id, "rotate-secret", json!({ "overlap_hours": 0 })).await;
    let newest = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!((site.poll(id, &newer, "").await.0, site.poll(id, &newest, "").await.0), (401, 200));

    for (what, body) in [("test", Value::Null), ("replay", json!({ "from_position": 1, "to_position": 1 }))] {
        let (status, refused) = site.ask(id, what, body).await;
        assert_eq!((status, &refused["code"]), (409, &json!("subscription_polled")), "{what}");
    }
    site.ask(id, "pause", Value::Null).await;
    let (status, paused) = site.poll(id, &newest, "").await;
    assert_eq!((status, &paused["code"]), (409, &json!("subscription_paused")));
    site.ask(id, "resume", Value::Null).await;
    assert_eq!(site.given(id, &newest, "").await, ["order/a/1"]);
    site.edge.send_as(&admin, "DELETE", &format!("{PATH}/{other}"), Value::Null).await;
    assert_eq!((site.poll(other, &of_other, "").await.0, site.poll(other, &admin, "").await.0), (401, 404), "it has ended");
    for body in [json!({ "event_types": ["*"] }), json!({ "event_types": ["*"], "polled": true, "url": "https://a.example/" })] {
        let (status, refused) = site.edge.post(PATH, body).await;
        assert_eq!((status, &refused["field"]), (400, &json!("url")), "{refused}");
    }
}

#[tokio::test]
async fn a_program_waits_for_what_comes_and_hears_of_its_own_factory_only() {
    let mut site = Site::new().await;
    let mut factories = vec![];
    for name in ["Suzhou", "Wuxi"] {
        factories
            .push(site.edge.create("/api/v1/factories", json!({ "name": name })).await["id"].as_str().unwrap().parse::<i64>().unwrap());
    }
    site.place().await;
    let (id, secret) = site.polled(json!({ "event_types": ["organization_*"], "factory_id": factories[1] })).await;
    site.place().await;
    let began = Instant::now();
    assert_eq!(site.given(id, &secret, "?wait_s=1").await, [""; 0]);
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(10));

    let waits = site.edge.request(&secret, "GET", &format!("{PATH}/{id}/poll?wait_s=20"));
    let waiting = tokio::spawn(async move { waits.send().await.unwrap().json::<Value>().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    for (factory, name) in factories.iter().zip(["Acme", "Apex"]) {
        site.edge.create("/api/v1/organizations", json!({ "factory_id": factory, "name": name })).await;
    }
    site.place().await;
    let given = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("long before its time is over").unwrap();
    assert_eq!(ids(given["events"].as_array().unwrap()), ["organization/2/1"], "the other is of another factory");
}
