//! `keystone subscriptions`: what the routes of subscriptions do, on the database. The same reads, commands and JSON.

use std::time::Duration;

use clap::Subcommand;
use deadpool_postgres::Pool;
use serde::Serialize;

use super::output::say;
use crate::commands::subscriptions::{
    CreateSubscription, EndSubscription, OVERLAP_HOURS, OVERLAP_HOURS_MAX, PauseSubscription, ReplaySubscription, ResumeSubscription,
    RotateSecret, SecretMade, TestSubscription,
};
use crate::commands::{Commands, Context};
use crate::domain::subscription::{DeliveryChange, DeliveryOrder, EndCause, NotATarget, PauseCause, SubscriptionState, Target};
use crate::domain::{Actor, FactoryId, OrganizationId, SubscriptionId};
use crate::eventstore::EventStore;
use crate::http::subscriptions::{DeliveryAttempt, Subscription};
use crate::outbox::Wakes;
use crate::projections::reads::subscriptions::AttemptFilter;
use crate::projections::reads::{Page, Reads};

/// Attempts that are shown.
const ATTEMPTS: i64 = 50;

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
        outcome: Option<crate::commands::webhooks::AttemptOutcome>,
    },
}

pub async fn run(pool: &Pool, command: Command) -> anyhow::Result<()> {
    let reads = Reads::new(pool.clone());
    let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
    let context = Context::of(Actor::CommandLine);
    match command {
        Command::List { state } => {
            for row in reads.subscriptions(state, Page::ALL).await?.rows {
                let waiting = row.waiting;
                let (id, state, types) = (row.id, row.state().as_str(), row.own.event_types.join(","));
                say(&format!("{id:>6}  {state:<7}  {:<40}  {types}  {waiting} waiting", row.own.origin))?;
            }
            Ok(())
        }
        Command::Show { id } => show(&reads, SubscriptionId(id)).await,
        Command::Create { url, event_types, description, factory, organization, after_position, per_stream } => {
            let url = if url == "-" { std::io::read_to_string(std::io::stdin())? } else { url };
            let target = Target::parse(url.trim()).map_err(|error: NotATarget| anyhow::anyhow!("the URL {error}"))?;
            let ordering = per_stream.then_some(DeliveryOrder::PerStream);
            let command = CreateSubscription {
                target,
                description,
                event_types,
                factory_id: factory.map(FactoryId),
                organization_id: organization.map(OrganizationId),
                delivery: DeliveryChange { ordering, ..DeliveryChange::default() },
                after_position,
            };
            let made = commands.execute(&context, command).await?;
            say(&format!("Subscription {} is made.", made.id))?;
            tell_secret(&reads, made).await
        }
        Command::Pause { id } => {
            commands.execute(&context, PauseSubscription { id: SubscriptionId(id), because: PauseCause::Person }).await?;
            say(&format!("Subscription {id} is paused."))
        }
        Command::Resume { id } => {
            commands.execute(&context, ResumeSubscription(SubscriptionId(id))).await?;
            say(&format!("Subscription {id} goes on."))
        }
        Command::Delete { id } => {
            commands.execute(&context, EndSubscription { id: SubscriptionId(id), because: EndCause::Deleted }).await?;
            say(&format!("Subscription {id} has ended."))
        }
        Command::RotateSecret { id, overlap_hours } => {
            let rotate = RotateSecret { id: SubscriptionId(id), overlap: Duration::from_secs(overlap_hours * 3_600) };
            let made = commands.execute(&context, rotate).await?;
            tell_secret(&reads, made).await
        }
        Command::Replay { id, from_position, to_position } => {
            commands.execute(&context, ReplaySubscription { id: SubscriptionId(id), from_position, to_position }).await?;
            say(&format!("Subscription {id} is told again of what it wants from {from_position} to {to_position}."))
        }
        Command::Test { id } => {
            let event_id = commands.execute(&context, TestSubscription(SubscriptionId(id))).await?;
            say(&format!("{event_id} goes to subscription {id}; keystone subscriptions deliveries {id} says what comes of it."))
        }
        Command::Deliveries { id, outcome } => {
            let filter = AttemptFilter { outcome: outcome.map(|outcome| outcome.as_str().to_owned()), ..AttemptFilter::default() };
            let page = Page { limit: Some(ATTEMPTS), ..Page::ALL };
            for attempt in reads.attempts(SubscriptionId(id), &filter, page).await?.rows {
                say(&serde_json::to_string(&DeliveryAttempt::from(attempt))?)?;
            }
            Ok(())
        }
    }
}

async fn show(reads: &Reads, id: SubscriptionId) -> anyhow::Result<()> {
    let row = reads.subscription(id).await?.ok_or_else(|| anyhow::anyhow!("there is no subscription {id}"))?;
    say_json(&Subscription::from(row))
}

async fn tell_secret(reads: &Reads, made: SecretMade) -> anyhow::Result<()> {
    let secret = reads.webhook_secret(made.id, made.generation).await?;
    let secret = secret.ok_or_else(|| anyhow::anyhow!("subscription {} has ended meanwhile", made.id))?;
    say(&format!("Its requests are signed with {}, which is shown here and never again.", secret.secret))
}

fn say_json(what: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(what)?)
}
