//! Traces: from a request to the webhook that it led to, told to a collector that listens; one that does not costs nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keystone_edge::simulator::client::Client;
use serde_json::{Value, json};

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{temp_folder, until};
use crate::webhooks::receiver::{Answer, Receiver};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const PATH_SECRET: &str = "hush-of-the-path";
const STATE_SECRET: &str = "hush-of-another-vendor";

/// Every span that a collector was told of.
fn spans(collector: &Receiver) -> Vec<Value> {
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let heard = collector.heard();
    assert!(heard.iter().all(|one| one.path == "/v1/traces" && one.headers["content-type"] == "application/json"));
    let resources = heard.iter().flat_map(|one| list(&one.body()["resourceSpans"])).collect::<Vec<_>>();
    for resource in &resources {
        assert_eq!(attribute(&resource["resource"], "service.name"), "keystone-edge");
    }
    let scopes = resources.iter().flat_map(|resource| list(&resource["scopeSpans"])).collect::<Vec<_>>();
    scopes.iter().flat_map(|scope| list(&scope["spans"])).collect()
}

fn attribute(of: &Value, key: &str) -> String {
    let found = of["attributes"].as_array().and_then(|all| all.iter().find(|one| one["key"] == key));
    let value = found.map(|one| &one["value"]).cloned().unwrap_or_default();
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or_default().to_owned()
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_an_order_to_its_webhook() {
    let folder = temp_folder();
    let collector = Receiver::start(|_| 200).await;
    // Its first answer is a failure: the delivery takes two attempts.
    let first = std::sync::atomic::AtomicBool::new(true);
    let hook =
        Receiver::answering(move |_| Answer::of(if first.swap(false, std::sync::atomic::Ordering::SeqCst) { 500 } else { 204 })).await;
    let mut server = Server::new(folder.path());
    server.settings = vec![
        ("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.1".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/", collector.origin())),
    ];
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let factory = client.create("/factories", &json!({ "name": "Suzhou", "timezone": "UTC" })).await.unwrap()["id"].clone();
    let organization = client.create("/organizations", &json!({ "factory_id": factory, "name": "Acme" })).await.unwrap()["id"].clone();
    let scene = client.create("/scenes", &json!({ "factory_id": factory, "name": "kitchen" })).await.unwrap()["id"].clone();
    let delivery = json!({ "attempts_max": 5, "backoff": "fixed", "backoff_base_ms": 100, "backoff_cap_ms": 100 });
    let url = hook.url(&format!("/{PATH_SECRET}?key={PATH_SECRET}"));
    let subscribed =
        client.create("/subscriptions", &json!({ "url": url, "event_types": ["order_placed"], "delivery": delivery })).await.unwrap();
    let secret = subscribed["secret"].as_str().expect("a secret").to_owned();

    let login =
        client.call(reqwest::Method::POST, "/auth/login", Some(&json!({ "account": "admin", "password": PASSWORD }))).await.unwrap();
    let login = login.body["access_token"].as_str().unwrap().to_owned();
    let place = async |name: &str, trace_parent: Option<&str>| {
        let body = json!({ "organization_id": organization, "scene_id": scene, "name": name, "target_count": 1 });
        let mut request =
            reqwest::Client::new().post(format!("{}/api/v1/orders?why={PATH_SECRET}", server.base())).bearer_auth(&login).json(&body);
        if let Some(trace_parent) = trace_parent {
            request = request.header("traceparent", trace_parent).header("tracestate", format!("vendor={STATE_SECRET}"));
        }
        assert_eq!(request.send().await.unwrap().status(), 201);
    };
    place("Cups", Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    until("the webhook", async || hook.heard().len() >= 2).await;
    let of_trace = |trace: &str| spans(&collector).into_iter().filter(|span| span["traceId"] == trace).collect::<Vec<_>>();
    until("the end of the delivery", async || of_trace(TRACE).iter().any(|span| span["name"] == "deliver webhooks")).await;

    let all = of_trace(TRACE);
    let named = |name: &str| all.iter().filter(|span| span["name"] == name).cloned().collect::<Vec<_>>();
    let one = |name: &str| named(name).pop().unwrap_or_else(|| panic!("no {name}: {all:#?}"));
    let (request, command, delivered) = (one("POST /api/v1/orders"), one("command place_order"), one("deliver webhooks"));
    assert_eq!((text(&request, "parentSpanId"), &request["kind"]), (CALLER.to_owned(), &json!(2)));
    assert_eq!(
        (attribute(&request, "http.response.status_code"), attribute(&request, "http.route")),
        ("201".into(), "/api/v1/orders".into())
    );
    assert_eq!((text(&command, "parentSpanId"), attribute(&command, "keystone.outcome")), (text(&request, "spanId"), "done".to_owned()));
    assert_eq!(
        (text(&delivered, "parentSpanId"), attribute(&delivered, "keystone.outcome")),
        (text(&command, "spanId"), "delivered".to_owned())
    );
    assert_eq!(
        (attribute(&delivered, "keystone.event_type"), attribute(&delivered, "keystone.destination")),
        ("order_placed".into(), "webhook:1".into())
    );
    assert_eq!(named("deliver webhooks").len(), 1, "an attempt that failed does not end it");
    let attempts: BTreeMap<String, Value> =
        named("attempt webhooks").into_iter().map(|attempt| (attribute(&attempt, "keystone.attempt"), attempt)).collect();
    assert_eq!(attempts.keys().collect::<Vec<_>>(), ["1", "2"]);
    assert!(attempts.values().all(|attempt| text(attempt, "parentSpanId") == text(&delivered, "spanId")), "{attempts:#?}");
    assert_eq!((&attempts["1"]["status"]["code"], &attempts["1"]["status"]["message"]), (&json!(2), &json!("the receiver answered 500")));
    assert_eq!((attribute(&attempts["2"], "keystone.outcome"), &attempts["2"]["status"]), ("delivered".to_owned(), &json!({})));
    for span in &all {
        let (began, ended) = (text(span, "startTimeUnixNano"), text(span, "endTimeUnixNano"));
        assert!(began.len() == 19 && began <= ended, "{span}");
    }
    assert!(text(&delivered, "startTimeUnixNano") <= text(&attempts["1"], "startTimeUnixNano"), "it began with the event");
    // The receiver is told of the attempt, and the event knows its command.
    let told: Vec<&str> = ["1", "2"].into_iter().map(|n| attempts[n]["spanId"].as_str().unwrap()).collect();
    for (heard, span) in hook.heard().iter().zip(told) {
        assert_eq!(heard.headers["traceparent"], format!("00-{TRACE}-{span}-01").as_str());
        assert!(!heard.headers.contains_key("tracestate"));
    }
    let database = server.database().await;
    let kept = async |name: &str| -> String {
        let sql = "select metadata ->> 'trace_parent' from events where payload -> 'order_placed' ->> 'name' = $1";
        database.get().await.unwrap().query_one(sql, &[&name]).await.unwrap().get(0)
    };
    assert_eq!(kept("Cups").await, format!("00-{TRACE}-{}-01", text(&command, "spanId")));

    // Who names no span, or something else, begins a trace.
    for (name, given) in [
        ("Plates", None),
        ("Forks", Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01")),
        ("Knives", Some("'; drop table events --")),
    ] {
        place(name, given).await;
        let trace = kept(name).await[3..35].to_owned();
        assert_ne!(trace, TRACE);
        until("its delivery", async || of_trace(&trace).iter().any(|span| span["name"] == "deliver webhooks")).await;
        let request = of_trace(&trace).into_iter().find(|span| span["name"] == "POST /api/v1/orders").expect("its request");
        assert_eq!(text(&request, "parentSpanId"), "", "{name}");
    }
    // Whose caller keeps nothing of the trace: neither do we, and the receiver is told so.
    let heard = hook.heard().len();
    place("Spoons", Some("00-aaf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")).await;
    until("the webhook", async || hook.heard().len() > heard).await;
    let told = hook.heard().pop().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert!(told.starts_with("00-aaf92f3577b34da6a3ce929d0e0e4736-") && told.ends_with("-00"), "{told}");

    let page = reqwest::get(format!("{}/metrics", server.base())).await.unwrap().text().await.unwrap();
    assert!(page.contains("keystone_trace_spans_total{outcome=\"sent\"}") && !page.contains("outcome=\"queue_full\""), "{page}");
    server.stop().await;
    assert_eq!(of_trace("aaf92f3577b34da6a3ce929d0e0e4736"), Vec::<Value>::new());
    let all: String = collector.heard().into_iter().map(|heard| heard.raw).collect();
    for hidden in [PASSWORD, PATH_SECRET, STATE_SECRET, &secret, secret.trim_start_matches("whsec_"), &login, "drop table", "127.0.0.1:"] {
        assert!(!all.contains(hidden), "`{hidden}` was told to the collector");
    }
    assert!(all.contains("command place_order") && !all.contains("/metrics") && !all.contains("api/v1/ready"), "probes say nothing new");
}

/// How long a request takes, of many.
async fn median(server: &Server) -> Duration {
    let http = reqwest::Client::new();
    let login = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let mut took = vec![];
    for n in 0..150 {
        let started = Instant::now();
        match n % 3 {
            0 => drop(
                login.create("/factories", &json!({ "name": format!("{n} {}", rand::random::<u32>()), "timezone": "UTC" })).await.unwrap(),
            ),
            _ => drop(http.get(format!("{}/api/v1/nothing", server.base())).send().await.unwrap()),
        }
        took.push(started.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_or_is_away_costs_nothing_but_counted_spans() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let without = median(&server).await;
    server.stop().await;

    // It takes connections, and never says anything.
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.settings = vec![("KEYSTONE_OTLP_ENDPOINT", format!("http://{}", hangs.local_addr().unwrap()))];
    let taken = tokio::spawn(async move {
        let mut kept = vec![];
        while let Ok((connection, _)) = hangs.accept().await {
            kept.push(connection);
        }
    });
    server.start();
    server.ready().await;
    let before = server.resident_bytes();
    let hanging = median(&server).await;
    let more = server.resident_bytes().saturating_sub(before);
    let stopped = server.stop().await;
    println!(
        "a request: {without:?} without a collector, {hanging:?} with one that hangs; {} kB more; stopped in {stopped:?}",
        more / 1024
    );
    assert!(hanging < without * 3 + Duration::from_millis(5), "{hanging:?} and {without:?} without");
    assert!(stopped < Duration::from_secs(8), "{stopped:?}");
    taken.abort();

    server.settings = vec![("KEYSTONE_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned())];
    server.start();
    server.ready().await;
    median(&server).await;
    let lost = "keystone_trace_spans_total{outcome=\"unreachable\"}";
    until("lost spans are counted", async || {
        reqwest::get(format!("{}/metrics", server.base())).await.unwrap().text().await.unwrap().contains(lost)
    })
    .await;
    assert!(server.log().contains("Spans are lost"), "{}", server.tail());
    server.stop().await;
}
