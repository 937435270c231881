//! The console in a real browser, against the real program with a robot at work and a cloud beside it: one program for each few of
//! `tests/console/*.spec.ts`. What the browser is asked to do stands there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, temp_folder, until};

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console")
}

/// Where `.ci/prepare` finds one.
fn browser() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = std::process::Command::new(root.join(".ci/prepare")).arg("browser").output().expect("a shell");
    let path = String::from_utf8(found.stdout).expect("a path").trim().to_owned();
    assert!(!path.is_empty(), "there is no Chromium: run `make prepare-tests`");
    path
}

/// A factory that works.
struct Factory {
    server: Server,
    _folder: TempDir,
}

impl Factory {
    async fn at_work(settings: &[(&'static str, &str)]) -> Self {
        let folder = temp_folder();
        let mut server = Server::new(folder.path());
        server.settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        server.start_with(&["--with-robot", "--with-cloud"]);
        server.ready().await;
        server.greeted().await;
        until("an episode", async || server.said().contains("became episode")).await;
        Self { server, _folder: folder }
    }

    /// Runs files of tests, one after the other; what they printed is the reason where they fail.
    async fn shows(mut self, files: &[&str]) {
        let driver = specs().join("node_modules/@playwright/test/cli.js");
        assert!(driver.is_file(), "{} is not there: run `make prepare-tests`", driver.display());
        let mut command = tokio::process::Command::new("node");
        command.arg(driver).arg("test").arg("--output").arg(self.server.folder.join("seen"));
        command.args(files.iter().map(|file| format!("/{file}.spec.ts$"))).current_dir(specs()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("KEYSTONE_URL", self.server.base()).env("KEYSTONE_PASSWORD", PASSWORD).env("KEYSTONE_CHROMIUM", browser());
        command.env("CI", "1").env_remove("NO_COLOR").env("FORCE_COLOR", "0");
        let output = tokio::time::timeout(Duration::from_secs(400), command.output()).await.expect("an end").expect("node");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        println!("{said}");
        self.server.stop().await;
    }
}

/// What no route takes, in every row that a page shows: markup, marks that turn the direction, ten thousand characters.
const HOSTILE: [(&str, &[&str]); 11] = [
    ("factories", &["name", "location"]),
    ("organizations", &["name", "description"]),
    ("scenes", &["name", "description"]),
    ("subscenes", &["name", "description"]),
    ("sops", &["slug", "description"]),
    ("robot_types", &["name", "model", "manufacturer"]),
    ("data_collectors", &["name", "certification"]),
    ("stations", &["name", "robot_name", "collector_name"]),
    ("orders", &["name"]),
    ("tasks", &["scene_name", "subscene_name", "error_message"]),
    ("episodes", &["scene_name", "subscene_name"]),
];

async fn make_hostile(database: &TestDatabase) {
    for (table, columns) in HOSTILE {
        for (n, column) in columns.iter().enumerate() {
            let text = format!(
                r#"case (id + {n}) % 3 when 0 then '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
                    when 1 then U&'\202Edlrow\2066\202E olleh' else repeat('W', 10000) end || ' ' || id"#
            );
            database.as_superuser(&format!("update {table} set {column} = {text}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_harms_a_page() {
    let database = TestDatabase::new().await;
    let settings = [("KEYSTONE_DATABASE_URL", database.url.expose()), ("KEYSTONE_JWT_SECRET", "one secret for all processes of this test")];
    let factory = Factory::at_work(&settings).await;
    make_hostile(&database).await;
    factory.shows(&["hostile"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signs_in_and_finds_what_is_for_them() {
    Factory::at_work(&[]).await.shows(&["shell", "habits", "first-load", "security", "people", "registry", "roles"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_explained_changed_and_judged() {
    Factory::at_work(&[]).await.shows(&["units", "walk", "episodes", "inspection"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_moves_by_itself() {
    Factory::at_work(&[]).await.shows(&["floor", "log", "quality"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_arrive_is_repaired_and_sent_again() {
    Factory::at_work(&[("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.1")]).await.shows(&["deliveries", "sync"]).await;
}
