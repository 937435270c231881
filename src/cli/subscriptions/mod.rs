//! `keystone subscriptions`: what the routes of subscriptions do.
//!
//! - [`asked`]: what is asked.
//! - [`database`] and [`server`]: where it is done. Both answer with the JSON of the routes, so what is told is the same.

mod asked;
mod database;
mod server;

use clap::Subcommand;
use serde_json::Value;

use super::output::{say, say_json, text};
use super::place::Place;
use crate::commands::subscriptions::{OVERLAP_HOURS, OVERLAP_HOURS_MAX};
use crate::commands::webhooks::AttemptOutcome;
use crate::domain::SubscriptionId;
use crate::domain::subscription::SubscriptionState;
use asked::{New, Subscriptions};
use database::DatabaseSubscriptions;

#[derive(Subcommand)]
pub enum Command {
    /// Subscriptions, the newest first
    List {
        /// Only those in this state: active, paused, ended
        #[arg(long)]
        state: Option<SubscriptionState>,
    },
    /// One subscription, and how its receiver does
    Show { id: i64 },
    /// Tell a program of events; prints what requests are signed with, once
    Create {
        /// Where it is posted to; read from standard input where it is `-`, so that it stands in no list of processes
        #[arg(long)]
        url: String,
        /// Types of events, or beginnings of types with a star behind; may be repeated
        #[arg(long = "type", required = true, value_name = "TYPE")]
        event_types: Vec<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Only what belongs to this factory
        #[arg(long)]
        factory: Option<i64>,
        /// Only what belongs to this organization
        #[arg(long)]
        organization: Option<i64>,
        /// Begin behind this place of the log, and not now
        #[arg(long, value_name = "POSITION")]
        after_position: Option<i64>,
        /// An event waits for the earlier ones of its stream
        #[arg(long)]
        per_stream: bool,
    },
    /// Deliver nothing until it is resumed
    Pause { id: i64 },
    /// Go on where it was
    Resume { id: i64 },
    /// End it; what waits is not delivered
    Delete { id: i64 },
    /// Make a new secret, and print it
    RotateSecret {
        id: i64,
        /// For how long the ones before sign, too
        #[arg(long, default_value_t = OVERLAP_HOURS.unsigned_abs(), value_parser = clap::value_parser!(u64).range(0..=OVERLAP_HOURS_MAX.unsigned_abs()))]
        overlap_hours: u64,
    },
    /// Deliver again what is between two places of the log
    Replay {
        id: i64,
        #[arg(long)]
        from_position: i64,
        #[arg(long)]
        to_position: i64,
    },
    /// Tell its receiver something, to see whether it arrives
    Test { id: i64 },
    /// The newest attempts
    Deliveries {
        id: i64,
        /// Only those that ended like this: delivered, failed, busy, down, gone, dropped
        #[arg(long)]
        outcome: Option<AttemptOutcome>,
    },
}

pub async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match place {
        Place::Database(database) => done(&DatabaseSubscriptions::new(&database.pool), command).await,
        Place::Server(server) => done(server, command).await,
    }
}

async fn done(subscriptions: &impl Subscriptions, command: Command) -> anyhow::Result<()> {
    let of = SubscriptionId;
    match command {
        Command::List { state } => {
            for one in subscriptions.list(state).await? {
                let types: Vec<&str> = one["event_types"].as_array().into_iter().flatten().map(text).collect();
                let (id, state, origin, types) = (text(&one["id"]), text(&one["state"]), text(&one["origin"]), types.join(","));
                say(&format!("{id:>6}  {state:<7}  {origin:<40}  {types}  {} waiting", one["waiting"]))?;
            }
            Ok(())
        }
        Command::Show { id } => say_json(&subscriptions.show(of(id)).await?),
        Command::Create { url, event_types, description, factory, organization, after_position, per_stream } => {
            let url = if url == "-" { std::io::read_to_string(std::io::stdin())? } else { url };
            let url = url.trim().to_owned();
            let new = New { url, event_types, description, factory, organization, after_position, per_stream };
            let made = subscriptions.create(new).await?;
            say(&format!("Subscription {} is made.", text(&made["id"])))?;
            tell_secret(&made)
        }
        Command::Pause { id } => {
            subscriptions.pause(of(id)).await?;
            say(&format!("Subscription {id} is paused."))
        }
        Command::Resume { id } => {
            subscriptions.resume(of(id)).await?;
            say(&format!("Subscription {id} goes on."))
        }
        Command::Delete { id } => {
            subscriptions.delete(of(id)).await?;
            say(&format!("Subscription {id} has ended."))
        }
        Command::RotateSecret { id, overlap_hours } => tell_secret(&subscriptions.rotate_secret(of(id), overlap_hours).await?),
        Command::Replay { id, from_position, to_position } => {
            subscriptions.replay(of(id), from_position, to_position).await?;
            say(&format!("Subscription {id} is told again of what it wants from {from_position} to {to_position}."))
        }
        Command::Test { id } => {
            let told = subscriptions.test(of(id)).await?;
            let event_id = text(&told["event_id"]);
            say(&format!("{event_id} goes to subscription {id}; keystone subscriptions deliveries {id} says what comes of it."))
        }
        Command::Deliveries { id, outcome } => {
            for attempt in subscriptions.deliveries(of(id), outcome).await? {
                say(&attempt.to_string())?;
            }
            Ok(())
        }
    }
}

fn tell_secret(made: &Value) -> anyhow::Result<()> {
    let secret = made["secret"].as_str().ok_or_else(|| anyhow::anyhow!("subscription {} has ended meanwhile", text(&made["id"])))?;
    say(&format!("Its requests are signed with {secret}, which is shown here and never again."))
}
