//! `keystone dead-letters`: what the routes of dead letters and of abandoned executions do, on the database. The same reads, commands and JSON.

use clap::{Args, Subcommand};
use deadpool_postgres::Pool;
use serde::Serialize;

use super::output::say;
use crate::commands::letters::{
    CAUSATION_DEPTH_MAX, PER_SECOND, PER_SECOND_MAX, ReplayLetter, ReplayLetters, ResolveLetter, SelectLetters,
};
use crate::commands::{Commands, Context};
use crate::domain::letter::{DeadReason, LetterFilter, Resolution};
use crate::domain::{Actor, LetterId, Scope, Timestamp, storable};
use crate::eventstore::EventStore;
use crate::http::dead_letters::{DeadLetter, DeadLetterContent, LetterCounts};
use crate::http::fields::REASON;
use crate::http::requests::AbandonedExecution;
use crate::outbox::Wakes;
use crate::projections::reads::letters::LetterShown;
use crate::projections::reads::requests::RequestFilter;
use crate::projections::reads::{Page, Place, Reads};
use crate::projections::rows::device::CommandStatus;

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
        after: Option<Place>,
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
        after: Option<Place>,
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

pub async fn run(pool: &Pool, command: Command) -> anyhow::Result<()> {
    let reads = Reads::new(pool.clone());
    let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
    let context = Context::of(Actor::CommandLine);
    match command {
        Command::List { filter, resolution, limit, after, json } => {
            let page = Page { limit: Some(limit), offset: 0, after };
            list(&reads, &filter.with(resolution), page, json).await
        }
        Command::Show { id } => {
            let letter = reads.whole_letter(LetterId(id)).await?.ok_or_else(|| anyhow::anyhow!("there is no dead letter {id}"))?;
            say_json(&DeadLetterContent::from(letter))
        }
        Command::Counts { json } => {
            let counted = reads.letter_counts().await?;
            if json {
                return say_json(&LetterCounts::from(counted));
            }
            for one in &counted {
                say(&format!("{:>6}  {:<24} from {} to {}", one.unresolved, one.subscriber, seconds(one.oldest), seconds(one.newest)))?;
            }
            say(&format!("{:>6}  unresolved", counted.iter().map(|one| one.unresolved).sum::<i64>()))
        }
        Command::Replay { id: Some(id), causation_depth_max, .. } => {
            let replayed = commands.execute(&context, ReplayLetter { id: LetterId(id), causation_depth_max }).await?;
            let to = replayed.destination.map(|destination| format!(" for {destination}")).unwrap_or_default();
            say(&format!("{} goes to {} again{to}.", replayed.event_id, replayed.subscriber))?;
            for later in replayed.delivered_later {
                say(&format!("  too late for its order: {later} was delivered there already"))?;
            }
            Ok(())
        }
        Command::Replay { selection: Some(selection), causation_depth_max, per_second, .. } => loop {
            let command = ReplayLetters { selection: selection.clone(), causation_depth_max, per_second };
            let done = commands.execute(&context, command).await?;
            say(&format!(
                "{} replayed, {} left; {} with chains of causes that are too long; of {}, later events were delivered already",
                done.replayed, done.left, done.too_deep, done.delivered_later
            ))?;
            if done.left == 0 || done.replayed == 0 {
                return Ok(());
            }
        },
        Command::Replay { filter, everything, .. } => {
            let selected = commands.execute(&context, SelectLetters { filter: filter.with(None), everything }).await?;
            for one in &selected.by_subscriber {
                let deep = one.deepest.map(|depth| format!("; {} need --causation-depth-max, up to {depth}", one.letters - one.replayable));
                say(&format!("{}: {} letters{}", one.subscriber, one.letters, deep.unwrap_or_default()))?;
            }
            match selected.by_subscriber.is_empty() {
                true => say("No unresolved letter is like this."),
                false => say(&format!("Replay them: keystone dead-letters replay --selection {}", selected.selection)),
            }
        }
        Command::Abandoned { device, asker, limit, after, json } => {
            let filter = RequestFilter { status: None, device_id: device, asker, since: None };
            abandoned(&reads, &filter, Page { limit: Some(limit), offset: 0, after }, json).await
        }
        Command::Resolve { id, reason } => {
            let reason = reason.trim().to_owned();
            anyhow::ensure!(!reason.is_empty() && reason.chars().count() <= REASON, "a reason has 1 to {REASON} characters");
            commands.execute(&context, ResolveLetter { id: LetterId(id), reason }).await?;
            say(&format!("Letter {id} is resolved."))
        }
    }
}

async fn list(reads: &Reads, filter: &LetterFilter, page: Page, json: bool) -> anyhow::Result<()> {
    let listed = reads.letters(filter, page).await?;
    let (shown, total) = (listed.rows.len(), listed.total);
    for letter in listed.rows {
        say(&if json { serde_json::to_string(&DeadLetter::from(letter))? } else { line(&letter) })?;
    }
    if json {
        return Ok(());
    }
    say(&format!("{shown} of {total} letters"))?;
    match listed.next {
        Some(next) => say(&format!("More: --after {next}")),
        None => Ok(()),
    }
}

async fn abandoned(reads: &Reads, filter: &RequestFilter<CommandStatus>, page: Page, json: bool) -> anyhow::Result<()> {
    let listed = reads.abandoned(&Scope::Everything, filter, page).await?;
    let (shown, total) = (listed.rows.len(), listed.total);
    for one in listed.rows {
        if json {
            say(&serde_json::to_string(&AbandonedExecution::from(one))?)?;
            continue;
        }
        let (asked, given_up, came) = (seconds(one.asked_at), seconds(one.given_up_at), seconds(one.outcome_at));
        let (action, device, outcome) = (one.action.as_str(), &one.device_id, one.outcome.as_str());
        say(&format!("{asked}  {action} of {device} by {}: given up {given_up}, {outcome} {came}  {}", one.asker, one.id))?;
    }
    if json {
        return Ok(());
    }
    say(&format!("{shown} of {total} executions"))?;
    listed.next.map_or(Ok(()), |next| say(&format!("More: --after {next}")))
}

fn seconds(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Number, time, for whom, which event, why, and what the last attempt said.
fn line(letter: &LetterShown) -> String {
    let to = letter.destination.as_ref().map(|destination| format!(" for {destination}")).unwrap_or_default();
    let event = letter.event_id().unwrap_or_else(|| letter.stream.clone());
    format!(
        "{:>6}  {}  {}{to}  {event} {}  {} after {} attempts  {}\n        {}",
        letter.id,
        seconds(letter.died_at),
        letter.subscriber,
        letter.event_type.as_deref().unwrap_or_default(),
        letter.reason.as_str(),
        letter.attempts,
        letter.resolution.as_str(),
        letter.resolved_because.as_ref().or(letter.last_error.as_ref()).map_or("", String::as_str),
    )
}

fn say_json(what: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(what)?)
}
