//! What `/metrics` shows is what docs/metrics.md says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use keystone_edge::telemetry::MEASURES;

use crate::harness::server::Server;
use crate::harness::{temp_folder, until};

/// Name, kind and labels of each row of the document.
fn documented() -> BTreeSet<(String, String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `keystone_"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).map(str::to_owned).collect::<Vec<_>>());
    cells
        .map(|cells| {
            assert!(cells.len() == 4 && cells[3].len() > 10, "{cells:?}");
            (cells[0].trim_end_matches(" *").replace('`', ""), cells[1].clone(), cells[2].replace(['`', '–'], ""))
        })
        .collect()
}

#[test]
fn every_measure_is_documented_with_its_kind_and_labels() {
    let declared = MEASURES.iter().map(|one| (one.name.to_owned(), one.kind.as_str().to_owned(), one.labels.join(", ")));
    assert_eq!(documented(), declared.collect());
}

/// The panels of the dashboard for Grafana ask for measures that there are, by labels that these have.
#[test]
fn the_dashboard_for_grafana_asks_for_what_there_is() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known: BTreeMap<String, String> = documented().into_iter().map(|(name, _, labels)| (name, labels)).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    let questions: Vec<&str> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).map(|one| one["expr"].as_str().unwrap()).collect();
    assert!(panels.len() >= 10 && questions.len() >= panels.len());
    for question in questions {
        let words: Vec<&str> = question.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let name = words.iter().find(|word| word.starts_with("keystone_")).expect("a measure");
        let name = series_of(name);
        let labels = known.get(name).unwrap_or_else(|| panic!("{question}: there is no {name}"));
        let by = question.split_once("by (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(by, _)| by);
        for label in by.split(',').map(str::trim).filter(|label| !["", "le"].contains(label)) {
            assert!(labels.split(", ").any(|known| known == label), "{question}: {name} has no {label}");
        }
    }
}

/// The name of a measure, without what a histogram puts behind it.
fn series_of(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].into_iter().fold(name, |name, end| name.strip_suffix(end).unwrap_or(name))
}

/// Name without what a histogram puts behind it, and the labels.
fn series(line: &str) -> (&str, Vec<&str>) {
    let (name, labels) = line.split_once(['{', ' ']).unwrap();
    let name = series_of(name);
    let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
    let keys = labels.split(',').filter_map(|pair| pair.split_once("=\"")).map(|(key, _)| key).filter(|key| *key != "le");
    (name, if line.contains('{') { keys.collect() } else { vec![] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_at_work_shows_the_measures_that_are_listed_and_no_id_in_a_label() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start_with(&["--with-robot"]);
    server.ready().await;
    until("an episode", async || server.said().contains("became episode")).await;
    let page = reqwest::get(format!("{}/metrics", server.base())).await.unwrap().text().await.unwrap();
    let known: BTreeMap<&str, &[&str]> = MEASURES.iter().map(|one| (one.name, one.labels)).collect();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, labels) = series(line);
        let Some(allowed) = known.get(name) else { panic!("{line}: not listed") };
        assert!(labels.iter().all(|label| allowed.contains(label)) && labels.len() == allowed.len(), "{line}: has other labels");
        assert!(!line.contains("AB-F") && !line.contains("task_2"), "{line}: an id in a label");
        seen.insert(name);
    }
    for expected in [
        "keystone_outbox_rows",
        "keystone_outbox_oldest_seconds",
        "keystone_dead_letters_unresolved",
        "keystone_delivery_latency_seconds",
        "keystone_delivery_attempts",
        "keystone_log_lag_seconds",
        "keystone_database_oldest_transaction_seconds",
        "keystone_commands_total",
        "keystone_device_links",
    ] {
        assert!(seen.contains(expected), "{expected} is not shown: {seen:?}");
    }
    assert!(page.contains("keystone_delivery_latency_seconds_count{subscriber=\"device_commands\",destination=\"recorder\"}"), "{page}");
    server.stop().await;
}
