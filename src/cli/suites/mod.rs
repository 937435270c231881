//! `keystone suites`: the rules that episodes are judged by.
//!
//! - [`asked`]: what is asked.
//! - [`database`] and [`server`]: where it is done. Both take and answer the JSON of the routes, so what is told is the same.

mod asked;
mod database;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{number, say, say_json, text};
use super::place::Place;
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::SuiteState;
use crate::domain::{QaSuiteId, Timestamp};
use asked::Suites;
use database::DatabaseSuites;

/// Rules are some kilobytes; a file that is larger is another one.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Subcommand)]
pub enum Command {
    /// Versions of suites that the site has made, the newest first
    List {
        /// Only those that are so: draft, active, retired
        #[arg(long)]
        state: Option<SuiteState>,
        /// Only versions of this one
        #[arg(long)]
        name: Option<String>,
    },
    /// One version, complete, as JSON that can be edited and drafted again
    Show {
        /// Its id, or `default` for the shipped one
        id: String,
    },
    /// Draft a version; nothing is judged by it before it is activated
    Draft {
        /// Rules as `show` prints them; `-`: standard input
        file: PathBuf,
        /// Another name than the file says
        #[arg(long)]
        name: Option<String>,
        /// Why it is as it is
        #[arg(long)]
        note: Option<String>,
    },
    /// Give a draft other rules, all of them
    Change {
        id: i64,
        /// Rules as `show` prints them; `-`: standard input
        file: PathBuf,
        /// Why it is as it is
        #[arg(long)]
        note: Option<String>,
    },
    /// What it would say of the episodes that there are; nothing is changed
    WhatIf {
        /// Its id, or `default` for the shipped one
        id: String,
        #[command(flatten)]
        of: Of,
        /// The whole answer, with the episodes
        #[arg(long)]
        json: bool,
    },
    /// Judge by it from now on
    Activate { id: i64 },
    /// Judge again by it what was judged before, from stored facts; says first how many episodes that is about
    Apply {
        /// Its id, or `default` for the shipped one
        id: String,
        #[command(flatten)]
        meant: Meant,
        /// Do it: a bulk run of which `keystone bulk-runs` tells
        #[arg(long)]
        yes: bool,
        /// Only where there are still as many episodes as were told before, but for a hundredth
        #[arg(long, value_name = "COUNT", requires = "yes")]
        expected_count: Option<i64>,
    },
    /// Judge by it no more
    Retire { id: i64 },
}

/// Of which episodes; what is not given excludes nothing.
#[derive(clap::Args)]
pub struct Of {
    /// Only of this order
    #[arg(long)]
    order: Option<i64>,
    /// Only recorded at this workstation
    #[arg(long)]
    station: Option<i64>,
    /// Only by this SOP
    #[arg(long)]
    sop: Option<i64>,
    /// Only by robots of this type
    #[arg(long)]
    robot_type: Option<i64>,
    /// Only by the robot with this device id
    #[arg(long, value_name = "DEVICE")]
    robot: Option<String>,
    /// Only verified from then on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only verified until then
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

/// Which episodes. Several values of one filter are separated by commas.
#[derive(clap::Args)]
pub struct Meant {
    /// Every episode
    #[arg(long)]
    all: bool,
    /// Only those that stand so: needs_inspection,failed
    #[arg(long, value_name = "STATUSES")]
    status: Option<String>,
    /// Only of these scenes
    #[arg(long, value_name = "IDS")]
    scene: Option<String>,
    /// Only by these SOPs
    #[arg(long, value_name = "IDS")]
    sop: Option<String>,
    /// Only by robots of these types
    #[arg(long, value_name = "IDS")]
    robot_type: Option<String>,
    /// Only by the robots with these device ids
    #[arg(long, value_name = "DEVICES")]
    robot: Option<String>,
    /// Only with this label
    #[arg(long)]
    label: Option<String>,
    /// Only with this in their ids or flag
    #[arg(long)]
    text: Option<String>,
    /// Only verified from then on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only verified until then
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

impl Meant {
    fn as_body(&self) -> Value {
        let filters = json!({
            "qa_status": self.status, "scene_id": self.scene, "sop_id": self.sop, "robot_type_id": self.robot_type,
            "robot_device_id": self.robot, "label": self.label, "q": self.text,
            "created_at_from": time(self.from), "created_at_to": time(self.to),
        });
        json!({ "filters": filters, "all": self.all })
    }
}

impl Of {
    fn as_filter(&self) -> Value {
        json!({
            "order_id": self.order, "station_id": self.station, "sop_id": self.sop, "robot_type_id": self.robot_type,
            "robot_device_id": self.robot, "created_at_from": time(self.from), "created_at_to": time(self.to),
        })
    }
}

/// `shipped` is what judges where no other suite does, by the settings of the database's servers.
pub async fn run(place: &Place, command: Command, shipped: impl FnOnce() -> anyhow::Result<Suite>) -> anyhow::Result<()> {
    match place {
        Place::Database(database) => done(&DatabaseSuites::new(&database.pool, shipped()?), command).await,
        Place::Server(server) => done(server, command).await,
    }
}

async fn done(suites: &impl Suites, command: Command) -> anyhow::Result<()> {
    let of = QaSuiteId;
    match command {
        Command::List { state, name } => suites.list(state, name.as_deref()).await?.iter().try_for_each(|suite| say(&line(suite))),
        Command::Show { id } => say_json(&suites.show(&id).await?),
        Command::Draft { file, name, note } => {
            let mut new = read(&file)?;
            new["name"] = name.map_or_else(|| new["name"].take(), Value::from);
            tell(&suites.draft(&with_note(new, note)).await?)
        }
        Command::Change { id, file, note } => tell(&suites.change(of(id), &with_note(read(&file)?, note)).await?),
        Command::WhatIf { id, of, json } => {
            let answer = suites.what_if(&id, &of.as_filter()).await?;
            if json { say_json(&answer) } else { tell_what_if(&answer) }
        }
        Command::Apply { id, meant, yes: false, .. } => tell_preview(&suites.preview_of_apply(&id, &meant.as_body()).await?),
        Command::Apply { id, meant, yes: true, expected_count } => {
            let mut body = meant.as_body();
            (body["confirm"], body["expected_count"]) = (json!(true), json!(expected_count));
            let accepted = suites.apply(&id, &body).await?;
            say(&format!("Watch it: keystone bulk-runs watch {}", text(&accepted["run"]["run_id"])))
        }
        Command::Activate { id } => tell(&suites.activate(of(id)).await?),
        Command::Retire { id } => tell(&suites.retire(of(id)).await?),
    }
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let name = file.display();
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::Read::take(std::io::stdin(), FILE_BYTES_MAX + 1))?
    } else {
        let file = std::fs::File::open(file).with_context(|| format!("cannot read {name}"))?;
        std::io::read_to_string(std::io::Read::take(file, FILE_BYTES_MAX + 1)).with_context(|| format!("cannot read {name}"))?
    };
    ensure!(text.len() as u64 <= FILE_BYTES_MAX, "{name} is larger than the rules of a suite can be");
    let rules: Value = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
    ensure!(rules.is_object(), "{name} is not the JSON of a suite");
    Ok(rules)
}

fn with_note(mut rules: Value, note: Option<String>) -> Value {
    if let Some(note) = note {
        rules["note"] = note.into();
    }
    rules
}

fn line(suite: &Value) -> String {
    let scope = match suite["scope"]["id"].as_i64() {
        Some(id) => format!("{} {id}", text(&suite["scope"]["kind"])),
        None => text(&suite["scope"]["kind"]).to_owned(),
    };
    let named = format!("{} {}", text(&suite["name"]), suite["version"]);
    format!("{:>6}  {:<7}  {named:<24}  {scope:<14}  {}", text(&suite["id"]), text(&suite["state"]), text(&suite["note"]))
        .trim_end()
        .to_owned()
}

fn tell(suite: &Value) -> anyhow::Result<()> {
    say(&line(suite))
}

fn tell_preview(answer: &Value) -> anyhow::Result<()> {
    say(&format!("{} of {} episodes would be judged by it", answer["eligible_count"], answer["matched_count"]))?;
    for skipped in answer["skipped_breakdown"].as_array().into_iter().flatten() {
        say(&format!("  skipped, {}: {}", text(&skipped["reason"]), skipped["count"]))?;
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        say(&format!("  {}", text(warning)))?;
    }
    say("Do it: the same with --yes")
}

fn tell_what_if(answer: &Value) -> anyhow::Result<()> {
    let of = |key: &str| number(&answer[key]);
    let (changed, judged, matched) = (of("changed_count"), of("judged_count"), of("matched_count"));
    say(&format!("{changed} of {judged} verdicts would be other ones; {matched} episodes match"))?;
    for (key, what) in [("without_facts_count", "were not measured"), ("without_verdict_count", "were never judged")] {
        if of(key) > 0 {
            say(&format!("{} {what}, and are not counted", of(key)))?;
        }
    }
    let list = |key: &str| answer[key].as_array().into_iter().flatten();
    for change in list("verdicts").filter(|change| change["from"] != change["to"]) {
        say(&format!("  {} → {}: {}", text(&change["from"]), text(&change["to"]), change["count"]))?;
    }
    for (key, what) in [("by_order", "order"), ("by_station", "workstation"), ("by_robot", "robot")] {
        for group in list(key) {
            say(&format!("  {what} {}: {} of {}", text(&group["id"]), group["changed"], group["judged"]))?;
        }
    }
    Ok(())
}
