//! How an episode came to be, signed: the same bytes from everybody who has the key, checked without a server, and refused where it is not approved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystone_edge::certificates::{CertificateError, Certificates, Envelope, Keyring, SigningKey};
use keystone_edge::domain::{EpisodeId, FactoryId, Scope};
use keystone_edge::projections::reads::Reads;
use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::apply_suite::ask;
use crate::harness::bench::{Bench, Recording, rpc_response, transfer_of};
use crate::harness::device::Socket;
use crate::harness::server::PASSWORD;
use crate::harness::until;
use crate::inspection::{code, inspector, uploaded};
use crate::judging::{TOPICS, recorded};

async fn answer(bench: &Bench, id: i64) -> (u16, Value) {
    ask(bench, Method::GET, &format!("/episodes/{id}/certificate"), Value::Null).await
}

async fn envelope(bench: &Bench, id: i64) -> Envelope {
    let (status, answer) = answer(bench, id).await;
    assert_eq!((status, &answer["receipts"]), (200, &json!([])), "{answer}");
    serde_json::from_value(answer["certificate"].clone()).expect("an envelope")
}

fn statement(envelope: &Envelope) -> Value {
    serde_json::from_slice(&STANDARD.decode(&envelope.payload).expect("base64")).expect("a statement")
}

fn keep(folder: &Path, name: &str, envelope: &Envelope) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, envelope.bytes()).expect("a file");
    file
}

async fn verify(bench: &Bench, file: &Path, keys: &Path, more: &[&str]) -> (i32, String) {
    let (file, keys) = (file.display().to_string(), keys.display().to_string());
    bench.server.tool(&[&["certificate", "verify", &file, "--key", &keys], more].concat()).await
}

/// The keys that the server names, as a file.
async fn keys(bench: &Bench, name: &str) -> PathBuf {
    let tool = ["certificate", "keys", "--server", &bench.server.base()];
    let (code, pem) = bench.server.tool(&tool).await;
    assert_eq!(code, 0, "{pem}");
    let file = bench.server.folder.join(name);
    std::fs::write(&file, pem).expect("a file");
    file
}

/// What another process makes that has the same database and the same key.
async fn made_elsewhere(bench: &Bench, scope: &Scope, id: i64) -> Result<Envelope, CertificateError> {
    let pem = std::fs::read_to_string(bench.server.folder.join("data/secrets/certificate_key.pem")).expect("the server's key");
    let keys = Keyring::new(SigningKey::of_pem(&pem).expect("a key"), vec![]);
    Certificates::new(Reads::new(bench.server.database().await), Some(keys)).of_episode(scope, EpisodeId(id)).await
}

/// A recording of a recorder that was configured by a person, with all that a recorder says.
async fn recorded_by_the_recorder(
    bench: &Bench,
    (recorder, transfer): (&mut Socket, &mut Socket),
    task: &DispatchedTask,
    recording: &Recording,
) -> i64 {
    let state = |previous: &str, current: &str, task: Option<&str>| {
        let data = json!({ "previous": previous, "current": current, "task_id": task });
        json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data })
    };
    recorder.send(&state("idle", "idle", None)).await;
    until("the recorder to be seen", async || {
        let seen = bench.client.get(&format!("/recorder/{}/state", bench.device)).await.expect("a state");
        seen["state_synced"] == json!(true)
    })
    .await;
    let config = bench.client.get(&format!("/tasks/{}/config", task.id)).await.expect("a configuration");
    let (client, path) = (bench.client.clone(), format!("/recorder/{}/config", bench.device));
    let asked = tokio::spawn(async move { client.call(Method::POST, &path, Some(&json!({ "task_config": config }))).await });
    let request = recorder.wait_for("the configuration", |frame| frame["action"] == "config").await;
    recorder.send(&rpc_response(&request, json!({ "state": "ready", "task_id": task.public_id }))).await;
    asked.await.expect("an answer").expect("it is configured");
    recorder.send(&state("ready", "recording", Some(&task.public_id))).await;
    bench.until_status(task, "in_progress").await;
    uploaded(bench, transfer, task, recording).await
}

/// Commitments as Postgres itself computes them, by event.
async fn commitments(bench: &Bench) -> BTreeMap<String, (i64, String)> {
    let sql = "
        select e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, l.position, encode(sha256(convert_to(
            '{\"aggregate_id\":' || to_json(e.aggregate_id) || ',\"aggregate_type\":' || to_json(e.aggregate_type)
            || ',\"commitment\":\"keystone-event-1\",\"event_type\":' || to_json(e.event_type) || ',\"event_version\":' || to_json(e.event_version)
            || ',\"metadata_sha256\":\"' || encode(sha256(convert_to(e.metadata::text, 'UTF8')), 'hex')
            || '\",\"payload_sha256\":\"' || encode(sha256(convert_to(e.payload::text, 'UTF8')), 'hex')
            || '\",\"recorded_at_us\":' || (extract(epoch from e.recorded_at) * 1000000)::bigint || ',\"sequence\":' || e.sequence || '}',
            'UTF8')), 'hex')
        from events e join log l on l.seq = e.seq";
    let client = bench.server.database().await.get().await.expect("a connection");
    client.query(sql, &[]).await.expect("events").iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

#[tokio::test]
async fn an_approved_episode_has_a_certificate_that_needs_nobody_to_be_believed() {
    let mut bench = Bench::start_with(vec![("KEYSTONE_PASSWORD", PASSWORD.to_owned())]).await;
    let (mut recorder, _) = bench.sockets().await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(3).await;
    let recording = recorded(&TOPICS, 5);
    let id = recorded_by_the_recorder(&bench, (&mut recorder, &mut transfer), &tasks[0], &recording).await;
    let lacking = uploaded(&bench, &mut transfer, &tasks[1], &recorded(&TOPICS[..3], 5)).await;
    let made = envelope(&bench, id).await;
    let told = statement(&made);
    let predicate = &told["predicate"];

    // What it says.
    assert_eq!(told["subject"][0]["digest"]["sha256"], recording.sha256);
    assert_eq!(predicate["recording"]["size_bytes"], recording.mcap.len());
    assert_eq!((&predicate["people"]["ordered_by"], &predicate["people"]["dispatched_by"]), (&json!("user:admin"), &json!("user:admin")));
    assert!(predicate["people"]["recorded_by"].as_str().is_some_and(|who| who.starts_with("user:collector:")), "{predicate}");
    assert_eq!((&predicate["robot"]["device_id"], &predicate["task"]["public_id"]), (&json!(bench.device), &json!(tasks[0].public_id)));
    assert_eq!((&predicate["verdict"]["verdict"], &predicate["approval"]["status"]), (&json!("approved"), &json!("approved")));
    for hash in ["/verdict/suite_sha256", "/recorder/configuration_sha256", "/sidecar/sha256"] {
        assert_eq!(predicate.pointer(hash).and_then(Value::as_str).map(str::len), Some(64), "{hash}: {predicate}");
    }
    let names: Vec<&str> =
        predicate["log"]["events"].as_array().expect("events").iter().filter_map(|event| event["type"].as_str()).collect();
    for wanted in [
        "order_placed",
        "order_tasks_dispatched",
        "batch_created",
        "task_created",
        "device_command_requested",
        "recording_started",
        "upload_verified",
        "episode_created",
        "episode_measured",
        "qa_run_ended",
        "episode_approved",
        "station_bound",
        "sop_created",
        "scene_created",
    ] {
        assert_eq!(names.iter().filter(|name| **name == wanted).count(), 1, "{wanted}: {names:?}");
    }

    // Every commitment is the one that the database computes by itself.
    let known = commitments(&bench).await;
    for event in predicate["log"]["events"].as_array().expect("events") {
        let (position, commitment) = &known[event["event_id"].as_str().expect("an id")];
        assert_eq!((&event["position"], &event["commitment"]), (&json!(position), &json!(commitment)), "{event}");
    }

    // The same from every process that has the key, whatever happens besides.
    assert_eq!(made_elsewhere(&bench, &Scope::Everything, id).await.expect("a certificate").bytes(), made.bytes());
    let (status, noted) =
        ask(&bench, Method::PATCH, &format!("/episodes/{id}"), json!({ "note": "The lamp was on", "labels": ["morning"] })).await;
    assert_eq!(status, 200, "{noted}");
    bench.server.stop().await;
    bench.server.start();
    bench.server.ready().await;
    assert_eq!(envelope(&bench, id).await.bytes(), made.bytes());

    // What events are found by may be thrown away at any time; a certificate waits until it is there again.
    let client = bench.server.database().await.get().await.expect("a connection");
    client.batch_execute("truncate log_index, log_terms").await.expect("they are emptied");
    assert_eq!(envelope(&bench, id).await.bytes(), made.bytes());

    // Only what is approved, and only for those who see it.
    assert_eq!(code(&answer(&bench, lacking).await), (409, "episode_not_approved"));
    assert_eq!(answer(&bench, lacking).await.1["qa_status"], "failed");
    assert_eq!(code(&answer(&bench, 9999).await), (404, "not_found"));
    let factory = predicate["factory_id"].as_i64().expect("a factory");
    let of = |factory: i64| Scope::Factories([FactoryId(factory)].into());
    assert_eq!(made_elsewhere(&bench, &of(factory), id).await.expect("a certificate").bytes(), made.bytes());
    let strange = made_elsewhere(&bench, &of(factory + 17), id).await;
    assert!(matches!(strange, Err(CertificateError::NoEpisode)), "{strange:?}");

    // With the program, and with nothing but openssl.
    let (file, keys) = (keep(&bench.server.folder, "it.certificate.json", &made), keys(&bench, "edge.pem").await);
    let mcap = bench.server.folder.join("it.mcap");
    std::fs::write(&mcap, &recording.mcap).expect("a file");
    let mcap = mcap.display().to_string();
    let (code, said) = verify(&bench, &file, &keys, &["--recording", &mcap]).await;
    assert!(code == 0 && said.starts_with("Sound: signed by ") && said.contains("user:collector:"), "{code} {said}");
    let wrong = file.display().to_string();
    let (code, said) = verify(&bench, &file, &keys, &["--recording", &wrong]).await;
    assert!(code == 1 && said.contains("WRONG: recording.size_bytes: "), "{code} {said}");
    let (code, said) = bench.server.tool(&["certificate", "show", &id.to_string(), "--file", "--server", &bench.server.base()]).await;
    assert!(code == 0 && said.as_bytes() == made.bytes(), "{code} {said}");
    let (code, said) = bench.server.tool(&["certificate", "show", &id.to_string(), "--server", &bench.server.base()]).await;
    assert!(code == 0 && said.contains(&recording.sha256), "{code} {said}");
    let (code, said) = bench.server.tool(&["certificate", "show", &lacking.to_string(), "--server", &bench.server.base()]).await;
    assert!(code == 1 && said.contains("the episode is failed; only one that is approved has a certificate"), "{code} {said}");
    by_hand(&bench.server.folder, &file, &keys);
}

/// The commands of `docs/certificates.md`.
fn by_hand(folder: &Path, file: &Path, keys: &Path) {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        eprintln!("openssl is not here: what the page says about verifying by hand is not tried");
        return;
    }
    let page = include_str!("../../docs/certificates.md");
    let commands = page.split("```sh\n").find(|block| block.contains("openssl pkeyutl")).and_then(|block| block.split("```").next());
    let commands = commands
        .expect("the commands")
        .replace("17.certificate.json", &file.display().to_string())
        .replace("edge.pem", &keys.display().to_string());
    let run = || {
        let output = Command::new("sh").args(["-euc", &commands]).current_dir(folder).output().expect("a shell");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (good, said) = run();
    assert!(good && said.contains("Signature Verified Successfully"), "{said}");
    // One letter of what is signed is another one.
    let text = std::fs::read_to_string(file).expect("a certificate");
    let at = text.find("\"payload\":\"").expect("a payload") + 40;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    std::fs::write(file, [&text[..at], other, &text[at + 1..]].concat()).expect("a file");
    let (good, said) = run();
    assert!(!good && said.contains("Verification Failure"), "{said}");
}

#[tokio::test]
async fn another_decision_makes_another_certificate_and_another_key_takes_nothing_from_the_ones_before() {
    let mut bench =
        Bench::start_with(vec![("KEYSTONE_INSPECTION_SECOND_SHARE", "0".to_owned()), ("KEYSTONE_PASSWORD", PASSWORD.to_owned())]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let tasks = bench.dispatch(1).await;
    let id = uploaded(&bench, &mut transfer, &tasks[0], &recorded(&TOPICS, 1)).await;
    let (_, first) = inspector(&bench, "first", "level_2").await;
    let (senior_id, senior) = inspector(&bench, "senior", "senior").await;
    assert_eq!(code(&answer(&bench, id).await), (409, "episode_not_approved"));
    assert_eq!(first.take(id).await.0, 200);
    assert_eq!(first.decide(id, "approved").await.0, 200);
    let before = envelope(&bench, id).await;
    assert_eq!(first.ask(Method::GET, &format!("/episodes/{id}/certificate"), Value::Null).await.0, 200, "who reads episodes reads it");
    assert_eq!(statement(&before)["predicate"]["people"]["inspected_by"][0]["decision"], "approved");

    let (status, reopened) =
        senior.ask(Method::POST, &format!("/inspection/episodes/{id}/reopen"), json!({ "reason": "Another look" })).await;
    assert!((200..300).contains(&status), "{reopened}");
    assert_eq!(code(&answer(&bench, id).await), (409, "episode_not_approved"));
    assert_eq!(senior.take(id).await.0, 200);
    assert_eq!(senior.decide(id, "approved").await.0, 200);
    let after = envelope(&bench, id).await;
    assert_ne!(after.payload, before.payload);
    let inspected = statement(&after)["predicate"]["people"]["inspected_by"].clone();
    assert_eq!(inspected.as_array().map(Vec::len), Some(1));
    assert_eq!((&inspected[0]["inspector"], &inspected[0]["round"]), (&json!(format!("user:inspector:{senior_id}")), &json!(1)));
    let text = String::from_utf8(STANDARD.decode(&after.payload).expect("base64")).expect("text");
    assert!(!text.contains("as I see it") && !text.contains("Another look") && !text.contains("\"seen\""), "no words of people: {text}");

    // Another key from the next start on.
    let folder = bench.server.folder.clone();
    let old_keys = keys(&bench, "old.pem").await;
    let (status, said) = bench.server.tool(&["certificate", "rotate"]).await;
    assert!(status == 0 && said.contains("Signs from the next start on: "), "{said}");
    assert_eq!(envelope(&bench, id).await.bytes(), after.bytes(), "what runs goes on with its key");
    let (status, local) = bench.server.tool(&["certificate", "keys"]).await;
    bench.server.stop().await;
    bench.server.start();
    bench.server.ready().await;
    let new_keys = keys(&bench, "new.pem").await;
    assert_eq!((status, std::fs::read_to_string(&new_keys).expect("keys")), (0, local));
    let rotated = envelope(&bench, id).await;
    assert_eq!((rotated.payload == after.payload, rotated.signatures[0].keyid == after.signatures[0].keyid), (true, false));
    let (_, listed) = ask(&bench, Method::GET, "/certificates/keys", Value::Null).await;
    let listed: Vec<(&Value, &Value)> =
        listed["items"].as_array().expect("keys").iter().map(|key| (&key["key_id"], &key["signs"])).collect();
    let expected = [(&json!(rotated.signatures[0].keyid), &json!(true)), (&json!(after.signatures[0].keyid), &json!(false))];
    assert_eq!(listed, expected);
    let (before, rotated) = (keep(&folder, "before.json", &before), keep(&folder, "rotated.json", &rotated));
    for (file, keys, wanted) in [(&before, &old_keys, 0), (&before, &new_keys, 0), (&rotated, &new_keys, 0), (&rotated, &old_keys, 1)] {
        let (code, said) = verify(&bench, file, keys, &[]).await;
        assert_eq!(code, wanted, "{}: {said}", file.display());
    }
    let (_, said) = verify(&bench, &rotated, &old_keys, &["--json"]).await;
    assert!(said.contains("signatures: are by keys that were not given") && said.contains("\"sound\": false"), "{said}");

    // What cannot be looked at is no verdict.
    let odd = folder.join("odd.json");
    std::fs::write(&odd, "no certificate").expect("a file");
    for (file, keys) in [(&odd, &new_keys), (&folder.join("none.json"), &new_keys), (&before, &odd)] {
        let (code, said) = verify(&bench, file, keys, &[]).await;
        assert_eq!(code, 2, "{said}");
    }
    assert_eq!(
        bench.server.tool(&["certificate", "verify", &before.display().to_string()]).await.0,
        2,
        "without a key nothing is verified"
    );
}

/// The examples of commitments, computed by a program that shares nothing with ours.
const IN_PYTHON: &str = r#"
import hashlib, json, sys
sha = lambda text: hashlib.sha256(text.encode()).hexdigest()
for example in json.load(open(sys.argv[1])):
    event = dict(example["event"])
    event["payload_sha256"] = sha(event.pop("payload_text"))
    event["metadata_sha256"] = sha(event.pop("metadata_text"))
    event["commitment"] = "keystone-event-1"
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert text == example["preimage"], text
    assert sha(text) == example["commitment"], text
    print(example["commitment"])
"#;

#[test]
fn another_language_computes_the_same_commitments() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/commitments.json");
    let Ok(output) = Command::new("python3").args(["-c", IN_PYTHON, file]).output() else {
        eprintln!("Python 3 is not here: commitments are not computed in another language");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5);
}
