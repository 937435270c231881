//! The checker that is shipped as an example, as a real process against the real server.
//!
//! It needs Python 3 and the package `mcap`, which is installed into an environment of its own below `target`. Where that
//! cannot be had, the test says so and passes; with `OUTSIDE_CHECKER=required` it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use super::{good, rules_with};
use crate::harness::bench::{Bench, complete, is_ack, transfer_of};
use crate::harness::server::PASSWORD;
use crate::harness::until;

const PACKAGE: &str = "mcap==1.6.0";

/// A Python that has the package; or why there is none.
fn python() -> Result<PathBuf, String> {
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let folder = target.join("outside-checker-venv");
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
        let output =
            Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| format!("{program:?}: {error}"))?;
        let said = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{program:?} {arguments:?}: {}", said())) }
    };
    let has_it = ["-c", "import importlib.metadata as m, sys; sys.exit(m.version('mcap') != '1.6.0')"];
    if run(&python, &has_it).is_ok() {
        return Ok(python);
    }
    run(Path::new("python3"), &["-m", "venv", "--clear", &folder.display().to_string()])?;
    run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20", PACKAGE])?;
    Ok(python)
}

struct Checker(std::process::Child);

impl Checker {
    fn start(python: &Path, bench: &Bench) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/outside_checker.py");
        let said = std::fs::File::create(bench.server.folder.join("checker")).expect("a file");
        let mut command = Command::new(python);
        command.arg(script).args(["--server", &bench.server.base(), "--check", "repeated", "--pause-s", "0.2"]);
        command.env("KEYSTONE_PASSWORD", PASSWORD).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        Self(command.stdout(said.try_clone().expect("a file")).stderr(said).spawn().expect("the checker starts"))
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

async fn judge_by(bench: &Bench, repeated_share_max: f64) {
    let shipped = bench.client.get("/qa/suites/default").await.expect("rules");
    let limits = json!({ "repeated_share_max": repeated_share_max });
    let check = json!({ "name": "repeated", "gate": true, "limits": limits, "outside": { "deadline_s": 300 } });
    let drafted = bench.client.create("/qa/suites", &rules_with(shipped, &[check]).await).await.expect("a draft");
    let activate = format!("/qa/suites/{}/activate", drafted["id"].as_str().expect("an id"));
    bench.client.call(Method::POST, &activate, None).await.expect("it judges");
}

#[tokio::test]
async fn the_checker_that_is_shipped_judges_recordings() {
    let python = match tokio::task::spawn_blocking(python).await.expect("an answer") {
        Ok(python) => python,
        Err(why) if std::env::var("OUTSIDE_CHECKER").is_ok_and(|wanted| wanted == "required") => panic!("{why}"),
        Err(why) => {
            eprintln!("The example of a checker was NOT run: {why}");
            return;
        }
    };
    let bench = Bench::start().await;
    judge_by(&bench, 1.0).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let (task, recording) = (bench.dispatch(1).await.remove(0), good());
    let key = bench.key(&task);
    bench.upload(&key, &recording).await;
    transfer.send(&complete(&task.public_id, &key, &recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
    let path = format!("/episodes/{}", found["episode"]["id"]);
    let episode = async || bench.client.get(&path).await.expect("an episode");

    let _checker = Checker::start(&python, &bench);
    let said = || std::fs::read_to_string(bench.server.folder.join("checker")).unwrap_or_default();
    let verdict = async |wanted: &str| {
        until(&format!("the verdict {wanted}; the checker said: {}", said()), async || episode().await["qa_status"] == wanted).await;
        episode().await
    };
    assert_eq!(verdict("approved").await["quality_flag"], Value::Null, "{}", said());

    // Every message of the recording repeats the one before: by stricter numbers the checker is asked anew, and says so.
    judge_by(&bench, 0.5).await;
    let (id, run) = (found["episode"]["id"].clone(), format!("/qa{path}/run"));
    let reply = bench.client.call(Method::POST, &run, None).await.expect("an answer");
    assert_eq!((reply.status.as_u16(), &reply.body["waits_for"]), (202, &json!(["repeated"])), "{}", reply.body);
    let flag = verdict("failed").await["quality_flag"].clone();
    assert!(flag.as_str().is_some_and(|flag| flag.contains("98% of its messages")), "{flag}");
    let checks = bench.client.get(&format!("/qa/episodes/{id}/checks")).await.expect("checks");
    let check = checks["items"].as_array().and_then(|all| all.iter().find(|check| check["check_name"] == "repeated")).expect("the check");
    assert_eq!((&check["check_metadata"]["messages"], &check["check_metadata"]["topics"]), (&json!(204.0), &json!(4.0)), "{check}");
    assert_eq!(check["check_metadata"]["findings"].as_array().map(Vec::len), Some(4), "{check}");
}
