//! `keystone references`: what is usual in good recordings of a procedure. On the database and at a server it takes and answers the JSON of
//! the routes, so what is told is the same.

use anyhow::Context as _;
use clap::Subcommand;
use clap::value_parser;
use serde_json::{Value, json};

use super::output::{number, say, say_json, text};
use super::place::Place;
use super::remote::Query;
use crate::commands::references::MakeReference;
use crate::commands::{Commands, Context};
use crate::domain::reference::Reference;
use crate::domain::{Actor, QaReferenceId, RobotTypeId, Scope, SopId, Timestamp};
use crate::eventstore::EventStore;
use crate::http::references::{ReferenceBrief, ReferenceOfSite};
use crate::outbox::Wakes;
use crate::projections::reads::{Page, Reads};
use crate::qa::compared::{ToLearn, learn};

const PATH: &str = "/qa/references";

#[derive(Subcommand)]
pub enum Command {
    /// Versions of references, the newest first
    List {
        /// Only of this SOP
        #[arg(long, value_parser = value_parser!(i64).range(1..))]
        sop: Option<i64>,
        /// Only of robots of this type
        #[arg(long, value_parser = value_parser!(i64).range(1..))]
        robot_type: Option<i64>,
    },
    /// One version, complete, as JSON that `keystone qa --reference` takes
    Show {
        #[arg(value_parser = value_parser!(i64).range(1..))]
        id: i64,
    },
    /// Make one of the newest approved episodes of a SOP; what is judged from then on is compared with it
    Make(Make),
}

#[derive(clap::Args)]
pub struct Make {
    /// Of this SOP
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    sop: i64,
    /// Of robots of this type alone
    #[arg(long, value_parser = value_parser!(i64).range(1..))]
    robot_type: Option<i64>,
    /// From episodes that were verified from then on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// From episodes that were verified until then
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Why it is made
    #[arg(long)]
    note: Option<String>,
}

/// An instant as routes take it.
pub fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

pub async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { sop, robot_type } => list(place, sop, robot_type).await?.iter().try_for_each(|reference| say(&line(reference))),
        Command::Show { id } => say_json(&show(place, id).await?),
        Command::Make(of) => {
            let made = make(place, of).await?;
            say(&line(&made))?;
            let list = |key: &str| made[key]["items"].as_array().into_iter().flatten();
            list("figures").try_for_each(|figure| say(&format!("  {}", usual(figure))))
        }
    }
}

async fn list(place: &Place, sop: Option<i64>, robot_type: Option<i64>) -> anyhow::Result<Vec<Value>> {
    match place {
        Place::Database(database) => {
            let reads = Reads::new(database.pool.clone());
            let listed = reads.references(sop.map(SopId), robot_type.map(RobotTypeId), Page::ALL).await?;
            Ok(listed.rows.into_iter().map(|row| json!(ReferenceBrief::from(row))).collect())
        }
        Place::Server(server) => {
            let query = Query::default().and("sop_id", sop).and("robot_type_id", robot_type);
            Ok(server.list_of(PATH, &query, i64::MAX, None).await?.items)
        }
    }
}

async fn show(place: &Place, id: i64) -> anyhow::Result<Value> {
    match place {
        Place::Database(database) => {
            let found = ReferenceOfSite::of(&Reads::new(database.pool.clone()), QaReferenceId(id)).await?;
            Ok(json!(found.with_context(|| format!("there is no reference `{id}`"))?))
        }
        Place::Server(server) => server.get(&format!("{PATH}/{id}")).await,
    }
}

async fn make(place: &Place, of: Make) -> anyhow::Result<Value> {
    let Make { sop, robot_type, from, to, note } = of;
    let database = match place {
        Place::Database(database) => database,
        Place::Server(server) => {
            let (from, to) = (instant(from), instant(to));
            let new = json!({ "sop_id": sop, "robot_type_id": robot_type, "created_at_from": from, "created_at_to": to, "note": note });
            return server.post(PATH, Some(&new)).await;
        }
    };
    let reads = Reads::new(database.pool.clone());
    let of = ToLearn { sop: SopId(sop), robot_type: robot_type.map(RobotTypeId), from, to };
    let learned = Reference { note, ..learn(&reads, &Scope::Everything, of).await? };
    let commands = Commands::new(EventStore::new(database.pool.clone(), Wakes::default()));
    let id = commands.execute(&Context::of(Actor::CommandLine), MakeReference { learned }).await?;
    show(place, id.0).await
}

fn line(reference: &Value) -> String {
    let robots = reference["robot_type_id"].as_i64().map_or_else(|| "all robots".to_owned(), |id| format!("robot type {id}"));
    let episodes = reference["episodes"].as_i64().unwrap_or_else(|| number(&reference["made_from"]["episodes"]));
    format!(
        "{:>6}  SOP {:<6}  {robots:<14}  version {:<4}  {episodes:>5} episodes  {}  {}",
        number(&reference["id"]),
        number(&reference["sop_id"]),
        number(&reference["version"]),
        text(&reference["created_at"]),
        text(&reference["note"])
    )
    .trim_end()
    .to_owned()
}

fn usual(figure: &Value) -> String {
    let of = |name: &str| number(&figure[name]);
    let joint = figure["joint"].as_u64().map_or_else(String::new, |joint| format!(" joint {joint}"));
    format!("{:<13} {:<8} ({} to {})  {}{joint}", text(&figure["measure"]), of("median"), of("q1"), of("q3"), text(&figure["topic"]))
        .trim_end()
        .to_owned()
}
