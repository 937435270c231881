//! The end of a demonstration: how the recordings were judged, one of them in front of a person, and what other rules would say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::client::Client;
use crate::simulator::factory::Factory;

/// How long verdicts may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The shortest that a recording may be, by the rules that are tried.
const SHORTEST_S: f64 = 0.5;

pub async fn show(client: &Client, base: &str, made: &Factory) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while client.get("/qa/episodes?status=pending_qa").await?["total"] != 0 {
        ensure!(Instant::now() < deadline, "episodes wait for their verdict");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let judged = client.get("/qa/episodes?status=all&page_size=100").await?;
    let episodes = judged["items"].as_array().context("a list of episodes")?;
    println!("\nHow they were judged:\n");
    for episode in episodes {
        let flag = episode["quality_flag"].as_str().map_or(String::new(), |flag| format!("  {flag}"));
        println!("  episode {:<4} {:<17}{flag}", episode["id"], text(&episode["qa_status"]));
    }
    inspect(client, base, made).await?;
    try_rules(client).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// An inspector takes the next one that waits, and decides.
async fn inspect(client: &Client, base: &str, made: &Factory) -> anyhow::Result<()> {
    let (account, password) = ("demo.inspector", format!("{:032x}", rand::random::<u128>()));
    let new = json!({
        "organization_id": made.organization_id, "name": "Demo inspector", "inspector_id": account, "certification_level": "senior", "password": password,
    });
    client.create("/inspectors", &new).await?;
    let inspector = Client::sign_in(base, account, &password).await?;
    let next = inspector.call(Method::POST, "/inspection/next?failed=true", None).await?;
    let Some(episode) = next.body["episode_id"].as_i64() else {
        println!("\nNothing waits for an inspector.");
        return Ok(());
    };
    let decision = json!({ "decision": "approved", "reason": "Short, and complete", "duration_sec": 3.0 });
    let decided = inspector.call(Method::POST, &format!("/inspection/episodes/{episode}/decide"), Some(&decision)).await?;
    ensure!(decided.status.is_success(), "the decision was refused: {}", decided.body);
    println!(
        "\nAn inspector looked at episode {episode} and approved it: {}, {}.",
        text(&decided.body["effect"]),
        text(&decided.body["qa_status"])
    );
    Ok(())
}

/// A draft with another limit, tried on what there is.
async fn try_rules(client: &Client) -> anyhow::Result<()> {
    let mut suite = client.get("/qa/suites/default").await?;
    let checks = suite["checks"].as_array_mut().context("the checks of the shipped suite")?;
    let duration = checks.iter_mut().find(|check| check["name"] == "duration").context("the check of the duration")?;
    duration["limits"]["min_s"] = SHORTEST_S.into();
    suite["note"] = "Short recordings are wanted".into();
    let draft = client.create("/qa/suites", &suite).await?;
    let told = client.call(Method::POST, &format!("/qa/suites/{}/what-if", text(&draft["id"])), None).await?;
    ensure!(told.status.is_success(), "what the suite would say was refused: {}", told.body);
    let verdicts = told.body["verdicts"].as_array().context("verdicts")?;
    let changes: BTreeMap<String, &Value> = verdicts
        .iter()
        .filter(|change| change["from"] != change["to"])
        .map(|change| (format!("{} → {}", text(&change["from"]), text(&change["to"])), &change["count"]))
        .collect();
    println!(
        "\nIf recordings from {SHORTEST_S} s on were long enough, {} of {} verdicts would be other ones:",
        told.body["changed_count"], told.body["judged_count"]
    );
    changes.iter().for_each(|(change, count)| println!("  {change}: {count}"));
    Ok(())
}
