//! The death of a delivery is an event in the stream of its letter, so that others can be told of it.
//!
//! A letter is told of when a process finds it untold, any one: a crash between a death and its event loses neither, and no
//! death is told twice, because the letter is marked in the transaction of the event.

use uuid::Uuid;

use super::{Cause, Command, CommandError, Commands, Context, Work};
use crate::domain::LetterId;
use crate::domain::letter::{DeadLetter, Death, Given, LetterCommand};
use crate::telemetry::trace::TraceParent;

/// Letters that one look finds.
const FOUND_MAX: i64 = 100;

const UNTOLD: &str = "select d.dead_letter_id, d.causation_depth, e.metadata ->> 'correlation_id',
           coalesce(e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, d.stream_key) as event_id, e.metadata
    from dead_letters d left join events e on e.seq = d.event_seq where not d.told order by d.dead_letter_id limit $1::bigint";
const LOCK: &str = "select from dead_letters where dead_letter_id = $1 for update";
const ONE: &str =
    "select d.subscriber, coalesce(e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, d.stream_key) as event_id, d.destination,
           coalesce(e.event_type, '') as event_type, d.reason, d.attempts
    from dead_letters d left join events e on e.seq = d.event_seq where d.dead_letter_id = $1 and not d.told";
const TOLD: &str = "update dead_letters set told = true where dead_letter_id = $1";

/// Tells of one death. Answers whether it was untold.
#[derive(Clone, Copy, Debug)]
struct TellDeath(LetterId);

impl Command for TellDeath {
    type Answer = bool;
    const NAME: &'static str = "tell_death";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let answers = work.tx.query_all(&[(LOCK, vec![&self.0]), (ONE, vec![&self.0])]).await?;
        let Some(row) = answers.last().and_then(|rows| rows.first()) else { return Ok(false) };
        let given = Given { subscriber: row.get(0), event_id: row.get(1), destination: row.get(2) };
        let death =
            Death { event_type: row.get(3), reason: row.try_get(4).map_err(crate::eventstore::StoreError::from)?, attempts: row.get(5) };
        let mut stream = work.load::<DeadLetter>(self.0).await?;
        work.decide(&mut stream, LetterCommand::Die { given, death })?;
        work.tx.query(TOLD, &[&self.0]).await?;
        Ok(true)
    }
}

impl Commands {
    /// Tells of deliveries that died. Answers of how many.
    pub async fn tell_deaths(&self) -> Result<usize, CommandError> {
        let mut told = 0;
        for row in self.beside_the_log(UNTOLD, &[&FOUND_MAX]).await? {
            let correlation = row.get::<_, Option<&str>>(2).and_then(|id| Uuid::parse_str(id).ok());
            let context = Context::system();
            let cause = Some(Cause { event_id: row.get(3), depth: row.get(1) });
            let trace_parent = row.get::<_, Option<serde_json::Value>>(4).as_ref().and_then(TraceParent::behind);
            let context = Context { cause, correlation_id: correlation.unwrap_or(context.correlation_id), trace_parent, ..context };
            told += usize::from(self.execute(&context, TellDeath(LetterId(row.get(0)))).await?);
        }
        Ok(told)
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("letters that are untold", UNTOLD), ("untold letter, locked", LOCK), ("untold letter", ONE), ("letter, told of", TOLD)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}
