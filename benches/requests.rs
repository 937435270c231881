//! What it costs to ask a device for something through the outbox and to wait for its outcome, beside the same question sent over the
//! same socket directly, which is stored nowhere. A recorder on a real WebSocket answers at once.
//!
//! Asked at the process with the socket, and at another one. `KEYSTONE_BENCH_SECONDS` sets the seconds per figure (3),
//! `KEYSTONE_BENCH_ROUNDS` how often all of it is measured in turn (3). Method and figures in `docs/performance.md`.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use keystone_edge::config::Secret;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::json;

use harness::device::Socket;
use harness::server::{PASSWORD, Server};

/// Answers whatever it is asked.
async fn obey(mut recorder: Socket) {
    while let Some(request) = recorder.next().await {
        let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "data": { "state": "idle" } });
        recorder.send(&answer).await;
    }
}

/// How long one request after the other took, in order.
async fn asked(client: &Client, method: Method, path: &str) -> Vec<Duration> {
    let (mut took, until) = (vec![], Instant::now() + baseline::seconds());
    while Instant::now() < until {
        let asked = Instant::now();
        let reply = client.call(method.clone(), path, None).await.expect("an answer");
        assert!(reply.status.is_success(), "{} {}", reply.status, reply.body);
        took.push(asked.elapsed());
    }
    took.sort();
    took
}

/// Half and 95 of a hundred took no longer, in milliseconds.
fn shares(took: &[Duration]) -> (f64, f64) {
    let ms = |share: usize| took[took.len() * share / 100].as_secs_f64() * 1e3;
    (ms(50), ms(95))
}

/// Sum and number of a histogram.
async fn measured(client: &reqwest::Client, server: &Server, name: &str, label: &str) -> (f64, f64) {
    let text = client.get(format!("{}/metrics", server.base())).send().await.expect("measures").text().await.expect("text");
    let value = |suffix: &str| {
        let wanted = format!("{name}_{suffix}{{");
        let lines = text.lines().filter(|line| line.starts_with(&wanted) && line.contains(label));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    (value("sum"), value("count"))
}

/// Where the time of a wait goes, as the process with the socket measures it. The event is written before its commit, so the first two
/// overlap by the time of that commit.
const STEPS: [(&str, &str, &str); 3] = [
    ("asked → committed", "keystone_command_seconds", "command=\"request_device_command\""),
    ("event written → handed to the socket", "keystone_delivery_latency_seconds", "subscriber=\"device_commands\""),
    ("answered → settled", "keystone_command_seconds", "command=\"settled\""),
];

#[tokio::main]
async fn main() {
    let rounds: usize = baseline::number("KEYSTONE_BENCH_ROUNDS", 3);
    let folders = [harness::temp_folder(), harness::temp_folder()];
    let secret = ("KEYSTONE_JWT_SECRET", "one secret for both processes of this benchmark".to_owned());
    let mut holder = Server::new(folders[0].path());
    holder.settings.extend([("KEYSTONE_LOG", "warn".to_owned()), secret]);
    holder.start();
    holder.ready().await;
    let url = std::fs::read_to_string(folders[0].path().join("data/secrets/database_url")).expect("the database of the first");
    let mut other = Server::sharing(folders[1].path(), &Secret::new(url.trim()), &format!("http://{}", holder.address(3)));
    other.settings.extend([("KEYSTONE_LOG", "warn".to_owned()), ("KEYSTONE_JWT_SECRET", holder.settings[1].1.clone())]);
    other.start();
    other.ready().await;
    let sign_in = async |server: &Server| Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let clients = [sign_in(&holder).await, sign_in(&other).await];
    let made = factory::seed(&clients[0], "Requests", 1).await.expect("a factory");
    let device = &made.stations[0].device_id;
    let obeying = tokio::spawn(obey(Socket::connect(&holder.address(1), &format!("/recorder/{device}")).await));
    let (command, query) = (format!("/recorder/{device}/pause"), format!("/recorder/{device}/stats"));
    asked(&clients[0], Method::POST, &command).await;

    let http = reqwest::Client::new();
    for round in 1..=rounds {
        let mut before = vec![];
        for (_, name, label) in STEPS {
            before.push(measured(&http, &holder, name, label).await);
        }
        let here = asked(&clients[0], Method::POST, &command).await;
        let mut steps = vec![];
        for ((step, name, label), (sum, count)) in STEPS.into_iter().zip(before) {
            let (sum_now, count_now) = measured(&http, &holder, name, label).await;
            steps.push(format!("{step} {:.2} ms", (sum_now - sum) / (count_now - count) * 1e3));
        }
        let directly = asked(&clients[0], Method::GET, &query).await;
        let elsewhere = asked(&clients[1], Method::POST, &command).await;
        let directly_elsewhere = asked(&clients[1], Method::GET, &query).await;
        for (place, through, direct) in
            [("the process with the socket", here, directly), ("another process", elsewhere, directly_elsewhere)]
        {
            let ((half, most), (half_direct, most_direct)) = (shares(&through), shares(&direct));
            println!(
                "round {round}, at {place:<28} through the outbox p50 {half:>6.2} ms, p95 {most:>6.2} ms   directly p50 {half_direct:>6.2} ms, p95 {most_direct:>6.2} ms   ratio {:.1} and {:.1}",
                half / half_direct,
                most / most_direct
            );
        }
        println!("round {round}, on average: {}", steps.join(", "));
    }
    obeying.abort();
    other.stop().await;
    holder.stop().await;
}
