//! The log in the database, as of one moment.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Pool, Transaction};
use tokio_postgres::IsolationLevel;

use super::examine::{self, Examined};
use super::known::Keys;
use super::source::Source;
use super::work::{Findings, Options};
use crate::app::certificates::KeyFiles;
use crate::cli::database::look;
use crate::config::Config;
use crate::domain::log_tree::{Checkpoint, Kept, TileId, Told};
use crate::eventstore::log::{Inspection, inspect};
use crate::eventstore::tree::heads::{self, Head};
use crate::eventstore::tree::{committed, tiles};

/// Positions follow commits by milliseconds.
const LONG_WAIT: Duration = Duration::from_secs(60);
/// Heads that are read at once.
const HEADS: i64 = 1_000;

pub async fn verify(options: &Options, keys: Keys, config: &Config) -> anyhow::Result<Findings> {
    let given = options.checkpoint.as_ref().map(|file| keys.checkpoint(file)).transpose()?;
    let keys = with_those_of_the_site(keys, config);
    let database = look(config).await?;
    let found = examined(&database.pool, options, &keys, given).await;
    database.close().await?;
    found
}

/// With the keys of the site, where they can be read: who has the database does not have them for that.
fn with_those_of_the_site(keys: Keys, config: &Config) -> Keys {
    let ring = KeyFiles::of(&config.certificates, Some(&config.embedded.data_dir)).keyring();
    match ring {
        Ok(Some(ring)) => keys.with(ring.all()),
        Ok(None) | Err(_) => keys,
    }
}

async fn examined(pool: &Pool, options: &Options, keys: &Keys, given: Option<Checkpoint>) -> anyhow::Result<Findings> {
    let whole = options.from.is_none() && options.to.is_none();
    let mut found = Findings::default();
    if whole {
        let Inspection { head, breaches } = inspect(pool).await?;
        found.said.push(format!("{} events in order, {} not placed yet", head.position, head.unplaced));
        if head.waiting > LONG_WAIT {
            found.said.push(format!("The oldest has been waiting for {} s: no process gives positions", head.waiting.as_secs()));
        }
        found.faults.extend(breaches.iter().map(ToString::to_string));
    }
    let mut client = pool.get().await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    // All of the log is read, however long it is.
    moment.batch_execute("set local statement_timeout = 0").await?;
    let size = tiles::size_in(&moment).await?;
    let last = committed::last_position_in(&moment).await?;
    let kept = if whole { all_heads(&moment).await? } else { heads::newest_in(&moment).await?.into_iter().collect() };
    let mut heads = believed(&kept, keys, &mut found);
    if let Some(given) = &given {
        if heads.iter().any(|head| head.size == given.size && head.root != given.root) {
            found.faults.push(format!("two different heads of {} events were signed: one is kept here, another was given", given.size));
        }
        heads.retain(|head| head.size != given.size);
    }
    let number = heads.len() + usize::from(given.is_some());
    let mut source = OfDatabase { moment };
    let Examined { events, faults } = match (options.from, options.to) {
        (None, None) => examine::whole(&mut source, size, heads.into_iter().chain(given).collect()).await?,
        (from, to) => {
            let (from, to) = (from.unwrap_or(1), to.unwrap_or(size).min(size));
            anyhow::ensure!(from <= to, "the tree of the log has {size} events; there is none from position {from} on");
            // All heads are compared with the whole log.
            examine::range(&mut source, size, (from, to), &heads.into_iter().chain(given).collect::<Vec<_>>()).await?
        }
    };
    let waiting = u64::try_from(last).unwrap_or_default().saturating_sub(size);
    found.said.push(format!("{events} events compared with the tree, which has {size}; {waiting} not in it yet"));
    found.said.push(match number {
        0 => "No head was signed yet: nothing but the database vouches for the tree".to_owned(),
        number => format!("{number} signed heads"),
    });
    found.faults.extend(faults);
    Ok(found)
}

async fn all_heads(moment: &Transaction<'_>) -> anyhow::Result<Vec<Head>> {
    let mut all: Vec<Head> = vec![];
    loop {
        let next = heads::read_in(moment, all.last().map_or(0, |head| head.size), HEADS).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

/// What was signed, and what is wrong with how that is kept.
fn believed(heads: &[Head], keys: &Keys, found: &mut Findings) -> Vec<Checkpoint> {
    if keys.are_none() {
        found.said.push("No key is known here: signatures were not looked at; --key names one".to_owned());
    }
    let mut all = vec![];
    for head in heads {
        let kept = Checkpoint { origin: head.note.lines().next().unwrap_or_default().to_owned(), size: head.size, root: head.root };
        let signed = if keys.are_none() { Checkpoint::parse(&head.note).context("it is no checkpoint") } else { keys.open(&head.note) };
        match signed {
            Ok(signed) if signed == kept => {}
            Ok(_) => found.faults.push(format!("the head of {} events is not what was signed", head.size)),
            Err(error) => found.faults.push(format!("the head of {} events cannot be believed: {error:#}", head.size)),
        }
        all.push(kept);
    }
    all
}

struct OfDatabase<'a> {
    moment: Transaction<'a>,
}

impl Source for OfDatabase<'_> {
    async fn tiles(&mut self, ids: &BTreeSet<TileId>) -> anyhow::Result<Kept> {
        Ok(tiles::read_in(&self.moment, ids).await?)
    }

    async fn events(&mut self, first: u64, last: u64) -> anyhow::Result<Vec<Told>> {
        let (after, to) = (i64::try_from(first)? - 1, i64::try_from(last)?);
        let events = committed::read_in(&self.moment, after, to, i64::MAX).await?;
        Ok(events.iter().map(committed::CommittedEvent::told).collect::<Result<_, _>>()?)
    }
}
