//! How often something may be asked: what a flood meets, whom it does not touch, and that guessing tells nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use keystone_edge::http::RequestLimits;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::edge::{Answer, TestEdge};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::temp_folder;

const GUESSES: u32 = 10_000;
/// Of a hash that is made to be compared quickly: here it is counted how often, and not how long.
const QUICK: u32 = 4;

fn attacker(n: u32) -> IpAddr {
    let [_, _, high, low] = n.to_be_bytes();
    IpAddr::from(Ipv4Addr::new(10, 1, high, low))
}

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 7));

async fn guess(edge: &TestEdge, from: IpAddr, account: &str, password: &str) -> Answer {
    edge.send_from(from, "", "POST", "/api/v1/auth/login", &json!({ "account": account, "password": password })).await
}

/// An answer without what names the request, and for how long to wait.
fn told((status, mut answer): Answer) -> (u16, String) {
    answer.as_object_mut().unwrap().remove("request_id");
    (status, answer.to_string())
}

/// How often each answer was given to guesses that are sent as fast as some connections allow.
async fn answers(edge: &TestEdge, account: &str, guesses: u32, from: impl Fn(u32) -> IpAddr) -> BTreeMap<(u16, String), usize> {
    let guesses = stream::iter((0..guesses).map(|n| (n, from(n))));
    let guesses = guesses.map(|(n, from)| async move { told(guess(edge, from, account, &format!("guess {n}")).await) });
    // A refusal takes a while, whatever is compared.
    let told: Vec<(u16, String)> = guesses.buffer_unordered(400).collect().await;
    let mut counted: BTreeMap<(u16, String), usize> = BTreeMap::new();
    for answer in told {
        *counted.entry(answer).or_default() += 1;
    }
    counted
}

/// An administrator whose password is compared quickly.
async fn edge() -> TestEdge {
    let edge = TestEdge::start_with(|settings| settings.requests = RequestLimits::new(200, 100, 20)).await;
    let hash = bcrypt::hash(hex::encode(Sha256::digest("open sesame")), QUICK).unwrap();
    let client = edge.database.pool.get().await.unwrap();
    // It is the same password: who is logged in goes on.
    client.execute("update credentials set password_hash = $1 where subject = 'administrator'", &[&hash]).await.unwrap();
    drop(client);
    edge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guesses_from_one_address_leave_the_owner_their_account() {
    let edge = edge().await;
    let known = answers(&edge, "admin", GUESSES, |_| attacker(1)).await;
    let looked_at: usize = known.iter().filter(|((status, _), _)| *status == 401).map(|(_, count)| count).sum();
    assert_eq!(looked_at, 8, "{known:?}");
    assert_eq!(guess(&edge, ELSEWHERE, "admin", "open sesame").await.0, 200);
    assert_eq!(guess(&edge, attacker(1), "admin", "open sesame").await.0, 429);
    // With an account that there is not, the same is said in the same order.
    let unknown = answers(&edge, "nobody", GUESSES / 5, |_| attacker(2)).await;
    assert_eq!(known.keys().collect::<Vec<_>>(), unknown.keys().collect::<Vec<_>>());
    let named: Vec<&str> = known.keys().filter(|(status, _)| *status == 429).map(|(_, text)| text.as_str()).collect();
    assert!(
        named.iter().all(|text| text.contains(r#""limit":"sign_in""#) || text.contains(r#""limit":"requests_per_address""#)),
        "{named:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guesses_from_a_thousand_addresses_leave_the_owner_their_account() {
    let edge = edge().await;
    let counted = answers(&edge, "admin", GUESSES, |n| attacker(n % 1_000)).await;
    let of = |wanted: u16| -> usize { counted.iter().filter(|((status, _), _)| *status == wanted).map(|(_, count)| count).sum() };
    assert_eq!((of(401), of(429)), (8_000, 2_000), "{counted:?}");
    assert_eq!(guess(&edge, ELSEWHERE, "admin", "open sesame").await.0, 200);
    assert_eq!(edge.get("/api/v1/orders").await.0, 200, "who is logged in works on");
}

/// Neither what is said nor how long it takes tells whether there is an account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guess_takes_as_long_and_says_the_same_whether_there_is_an_account_or_not() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let mut taken: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut said: BTreeMap<&str, Vec<(u16, String)>> = BTreeMap::new();
    for round in 0..10 {
        for account in ["admin", "li", "nobody"] {
            let begun = Instant::now();
            let answer = guess(&edge, attacker(1), account, &format!("guess {round}")).await;
            if answer.0 == 401 {
                taken.entry(account).or_default().push(begun.elapsed());
            }
            said.entry(account).or_default().push(told(answer));
        }
    }
    assert_eq!((&said["admin"], &said["li"]), (&said["nobody"], &said["nobody"]));
    let median = |account: &str| {
        let mut times = taken[account].clone();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (admin, li, nobody) = (median("admin"), median("li"), median("nobody"));
    println!("a guess at the administrator takes {admin:.4} s, at a collector {li:.4} s, at nobody {nobody:.4} s");
    for known in [admin, li] {
        assert!((0.33..3.0).contains(&(known / nobody)), "{known} and {nobody} seconds");
    }
}

#[tokio::test]
async fn a_flood_meets_its_limit_and_nobody_else_does() {
    // Ten seconds' worth at once: 20 of a login, 10 of an address.
    let edge = TestEdge::start_with(|settings| settings.requests = RequestLimits::new(2, 1, 3)).await;
    let (here, there) = (attacker(1), attacker(2));
    let flood = async |from: IpAddr, token: &str, path: &str| {
        let mut last = (0, Value::Null);
        for _ in 0..30 {
            last = edge.send_from(from, token, "GET", path, &Value::Null).await;
        }
        last
    };
    let limited = |answer: &Answer| (answer.0, answer.1["code"].as_str().map(str::to_owned), answer.1["limit"].as_str().map(str::to_owned));
    let of = |limit: &str| (429, Some("too_many_requests".to_owned()), Some(limit.to_owned()));
    // Without a login, and with one that is none.
    assert_eq!(limited(&flood(here, "", "/api/v1/orders").await), of("requests_per_address"));
    assert_eq!(limited(&flood(there, "no login", "/api/v1/orders").await), of("requests_per_address"));
    // A login behind the same router does not meet it; its own it meets from everywhere.
    assert_eq!(edge.send_from(here, &edge.admin, "GET", "/api/v1/orders", &Value::Null).await.0, 200);
    assert_eq!(limited(&flood(here, &edge.admin, "/api/v1/orders").await), of("requests_per_login"));
    assert_eq!(limited(&edge.send_from(ELSEWHERE, &edge.admin, "GET", "/api/v1/skills", &Value::Null).await), of("requests_per_login"));
    // What devices send and what watches us is never too much.
    for (method, path) in
        [("GET", "/api/v1/health"), ("GET", "/metrics"), ("POST", "/api/v1/callbacks/start"), ("POST", "/api/v1/callbacks/finish")]
    {
        for _ in 0..50 {
            assert_ne!(edge.send_from(here, "", method, path, &json!({ "task_id": "task_1" })).await.0, 429, "{path}");
        }
    }
}

#[tokio::test]
async fn exports_of_a_login_are_few() {
    let edge = TestEdge::start_with(|settings| settings.requests = RequestLimits::new(1_000, 1_000, 3)).await;
    for _ in 0..3 {
        assert_eq!(edge.get("/api/v1/events/export").await.0, 200);
    }
    for path in ["/api/v1/events/export", "/api/v1/audit/export", "/api/v1/admin/statistics/data-production/export"] {
        let answer = edge.request(&edge.admin, "GET", path).send().await.unwrap();
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
        assert_eq!(answer.json::<Value>().await.unwrap()["limit"], "exports_per_login", "{path}");
    }
    assert_eq!(edge.get("/api/v1/events").await.0, 200);
}

/// As the settings say, in the real program, behind a proxy; and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_counted_by_its_limit() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    let file = folder.path().join("keystone.toml");
    let settings =
        std::fs::read_to_string(&file).unwrap().replace("requests_per_second_per_address = 1000000", "requests_per_second_per_address = 1");
    std::fs::write(&file, settings).unwrap();
    server.settings.push(("KEYSTONE_TRUSTED_PROXIES", "127.0.0.1".to_owned()));
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let ask = async |from: &str| http.get(format!("{}/api/v1/orders", server.base())).header("x-forwarded-for", from).send().await.unwrap();
    let mut refused = 0;
    for _ in 0..30 {
        let answer = ask("9.9.9.9").await;
        refused += u32::from(answer.status() == 429 && answer.headers().contains_key("retry-after"));
    }
    assert!((15..=20).contains(&refused), "{refused}");
    assert_eq!(ask("9.9.9.8").await.status(), 401);
    let login = json!({ "account": "admin", "password": PASSWORD });
    let login =
        http.post(format!("{}/api/v1/auth/login", server.base())).header("x-forwarded-for", "9.9.9.7").json(&login).send().await.unwrap();
    assert_eq!(login.status(), 200);
    let shown = http.get(format!("{}/metrics", server.base())).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains(&format!("keystone_requests_limited_total{{limit=\"requests_per_address\"}} {refused}")), "{shown}");
    assert!(shown.contains(&format!("keystone_access_refused_total{{status=\"401\",role=\"none\"}} {}", 31 - refused)), "{shown}");
}
