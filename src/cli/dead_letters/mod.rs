//! `keystone dead-letters`: what the routes of dead letters and of abandoned executions do.
//!
//! - [`letters`]: what is asked.
//! - [`database`] and [`server`]: where it is done. Both answer with the JSON of the routes, so what is told is the same.

mod database;
mod letters;
mod server;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{number, say, say_json, text};
use super::place::Place;
use super::remote::Listed;
use crate::commands::letters::{CAUSATION_DEPTH_MAX, PER_SECOND, PER_SECOND_MAX};
use crate::domain::letter::{DeadReason, LetterFilter, Resolution};
use crate::domain::{LetterId, Timestamp, storable};
use crate::http::fields::REASON;
use crate::projections::reads::Place as ListPlace;
use database::DatabaseLetters;
use letters::{Abandoned, Again, Letters};

#[derive(Subcommand)]
pub enum Command {
    /// Letters, the newest death first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only those of which this became: unresolved, replayed, resolved
        #[arg(long)]
        resolution: Option<Resolution>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Behind this place, which the page before ends with
        #[arg(long, value_name = "PLACE")]
        after: Option<ListPlace>,
        /// One JSON object per letter instead of text
        #[arg(long)]
        json: bool,
    },
    /// One letter: the content of its event, every attempt, what was done about it
    Show { id: i64 },
    /// How many are unresolved, and whose
    Counts {
        /// JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Deliver again: one letter, or all of a selection; with filters, say what would be selected
    Replay {
        /// The number of one letter
        #[arg(conflicts_with_all = ["selection", "filters", "everything"], required_unless_present_any = ["selection", "filters", "everything"])]
        id: Option<i64>,
        /// The letters that a command with filters selected
        #[arg(long, value_name = "TEXT", conflicts_with_all = ["filters", "everything"])]
        selection: Option<String>,
        #[command(flatten)]
        filter: Filter,
        /// Select every unresolved letter
        #[arg(long)]
        everything: bool,
        /// How long chains of causes may be, this time
        #[arg(long, value_name = "LINKS", value_parser = clap::value_parser!(i32).range(1..=CAUSATION_DEPTH_MAX))]
        causation_depth_max: Option<i32>,
        /// How many letters of a selection become due in each second
        #[arg(long, default_value_t = PER_SECOND, value_parser = clap::value_parser!(u32).range(1..=PER_SECOND_MAX))]
        per_second: u32,
        /// Let a bulk run replay the selection, and say how that is watched
        #[arg(long, requires = "selection")]
        as_a_run: bool,
    },
    /// Executions whose outcome came when their caller had given up; what was asked for last comes first
    Abandoned {
        /// Only of this robot
        #[arg(long)]
        device: Option<String>,
        /// Only what this person asked for, as user:collector:17
        #[arg(long)]
        asker: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Behind this place, which the page before ends with
        #[arg(long, value_name = "PLACE")]
        after: Option<ListPlace>,
        /// One JSON object per execution instead of text
        #[arg(long)]
        json: bool,
    },
    /// Say that a letter needs no delivery
    Resolve {
        id: i64,
        /// For those who ask later
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
#[group(id = "filters", multiple = true)]
pub struct Filter {
    /// Only of this subscriber
    #[arg(long)]
    subscriber: Option<String>,
    /// Only for this destination, as recorder:<device>
    #[arg(long)]
    destination: Option<String>,
    /// Only of events of this type
    #[arg(long)]
    event_type: Option<String>,
    /// Only of events of this stream, as task/17
    #[arg(long)]
    stream: Option<String>,
    /// Only those that died at this time or later, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    from: Option<Timestamp>,
    /// Only those that died before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    to: Option<Timestamp>,
    /// Only those that were given up for this reason: attempts_used_up, permanent_error, expired, causation_too_deep
    #[arg(long)]
    reason: Option<DeadReason>,
    /// Only those of whose death a subscription could not be told
    #[arg(long)]
    notification_failed: bool,
}

impl Filter {
    fn with(self, resolution: Option<Resolution>) -> LetterFilter {
        let Self { subscriber, destination, event_type, stream, from, to, reason, notification_failed } = self;
        let notification_failed = notification_failed.then_some(true);
        LetterFilter { subscriber, destination, event_type, stream, from, to, reason, resolution, notification_failed }
    }
}

pub async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match place {
        Place::Database(database) => done(&DatabaseLetters::new(&database.pool), command).await,
        Place::Server(server) => done(server, command).await,
    }
}

async fn done(letters: &impl Letters, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { filter, resolution, limit, after, json } => {
            tell_list(letters.list(filter.with(resolution), limit, after).await?, "letters", line, json)
        }
        Command::Show { id } => say_json(&letters.show(LetterId(id)).await?),
        Command::Counts { json } => {
            let counts = letters.counts().await?;
            if json {
                return say_json(&counts);
            }
            for one in counts["subscribers"].as_array().into_iter().flatten() {
                let (unresolved, subscriber) = (number(&one["unresolved"]), text(&one["subscriber"]));
                say(&format!("{unresolved:>6}  {subscriber:<24} from {} to {}", text(&one["oldest"]), text(&one["newest"])))?;
            }
            say(&format!("{:>6}  unresolved", number(&counts["unresolved"])))
        }
        Command::Replay { id: Some(id), causation_depth_max, .. } => {
            let replayed = letters.replay(LetterId(id), causation_depth_max).await?;
            let to = replayed["destination"].as_str().map(|destination| format!(" for {destination}")).unwrap_or_default();
            say(&format!("{} goes to {} again{to}.", text(&replayed["event_id"]), text(&replayed["subscriber"])))?;
            for later in replayed["delivered_later"].as_array().into_iter().flatten() {
                say(&format!("  too late for its order: {} was delivered there already", text(later)))?;
            }
            Ok(())
        }
        Command::Replay { selection: Some(selection), causation_depth_max, per_second, as_a_run, .. } => {
            let again = Again { selection, causation_depth_max, per_second };
            match as_a_run {
                true => {
                    let run = letters.accept_run(&again).await?;
                    say(&format!("Watch it: keystone bulk-runs watch {}", text(&run["run_id"])))
                }
                false => replay_all(letters, &again).await,
            }
        }
        Command::Replay { filter, everything, .. } => {
            let selected = letters.select(filter.with(None), everything).await?;
            let by_subscriber = selected["subscribers"].as_array().map(Vec::as_slice).unwrap_or_default();
            for one in by_subscriber {
                let too_deep = &one["too_deep"];
                let deep = one["deepest"].as_i64().map(|depth| format!("; {too_deep} need --causation-depth-max, up to {depth}"));
                say(&format!("{}: {} letters{}", text(&one["subscriber"]), one["count"], deep.unwrap_or_default()))?;
            }
            match by_subscriber.is_empty() {
                true => say("No unresolved letter is like this."),
                false => say(&format!("Replay them: keystone dead-letters replay --selection {}", text(&selected["selection"]))),
            }
        }
        Command::Abandoned { device, asker, limit, after, json } => {
            let listed = letters.abandoned(Abandoned { device, asker }, limit, after).await?;
            tell_list(listed, "executions", line_of_abandoned, json)
        }
        Command::Resolve { id, reason } => {
            let reason = reason.trim();
            anyhow::ensure!(!reason.is_empty() && reason.chars().count() <= REASON, "a reason has 1 to {REASON} characters");
            letters.resolve(LetterId(id), reason).await?;
            say(&format!("Letter {id} is resolved."))
        }
    }
}

async fn replay_all(letters: &impl Letters, again: &Again) -> anyhow::Result<()> {
    loop {
        let done = letters.replay_selection(again).await?;
        say(&format!(
            "{} replayed, {} left; {} with chains of causes that are too long; of {}, later events were delivered already",
            done["replayed"], done["left"], done["too_deep"], done["delivered_later"]
        ))?;
        if done["left"] == 0 || done["replayed"] == 0 {
            return Ok(());
        }
    }
}

fn tell_list(listed: Listed, what: &str, line: impl Fn(&Value) -> String, json: bool) -> anyhow::Result<()> {
    let Listed { items, total, next } = listed;
    for item in &items {
        say(&if json { item.to_string() } else { line(item) })?;
    }
    if json {
        return Ok(());
    }
    say(&format!("{} of {total} {what}", items.len()))?;
    match next {
        Some(next) => say(&format!("More: --after {next}")),
        None => Ok(()),
    }
}

/// Number, time, for whom, which event, why, and what the last attempt said.
fn line(letter: &Value) -> String {
    let said = |key: &str| letter[key].as_str();
    let to = said("destination").map(|destination| format!(" for {destination}")).unwrap_or_default();
    format!(
        "{:>6}  {}  {}{to}  {} {}  {} after {} attempts  {}\n        {}",
        text(&letter["id"]),
        text(&letter["died_at"]),
        text(&letter["subscriber"]),
        said("event_id").or(said("stream")).unwrap_or_default(),
        text(&letter["event_type"]),
        text(&letter["reason"]),
        letter["attempts"],
        text(&letter["resolution"]),
        said("resolved_because").or(said("last_error")).unwrap_or_default(),
    )
}

/// What was asked of which robot, by whom, and what became of it.
fn line_of_abandoned(one: &Value) -> String {
    format!(
        "{}  {} of {} by {}: given up {}, {} {}  {}",
        text(&one["asked_at"]),
        text(&one["action"]),
        text(&one["device_id"]),
        text(&one["asker"]),
        text(&one["given_up_at"]),
        text(&one["outcome"]),
        text(&one["outcome_at"]),
        text(&one["id"]),
    )
}
