//! Verdicts, read once and written once for all readers.

use bytes::Bytes;
use serde_json::json;

use super::told::StationVerdict;
use crate::domain::StationId;
use crate::projections::reads::verdicts::WINDOW;
use crate::projections::reads::{ReadError, Reads};
use crate::streams::{Look, Source, Window, frame};

/// A verdict, ready to be told.
pub struct ToldVerdict {
    pub position: i64,
    pub station: StationId,
    pub frame: Bytes,
}

#[derive(Clone)]
pub struct VerdictSource(pub Reads);

impl Source for VerdictSource {
    type Item = ToldVerdict;

    fn bytes(verdict: &ToldVerdict) -> usize {
        size_of::<ToldVerdict>() + verdict.frame.len()
    }

    async fn head(&self) -> Result<i64, ReadError> {
        self.0.log_head().await
    }

    async fn read(&self, after: i64) -> Result<Look<ToldVerdict>, ReadError> {
        let head = self.head().await?;
        let upto = head.min(after.saturating_add(WINDOW)).max(after);
        let verdicts = if upto > after { self.0.verdicts(after, upto).await? } else { vec![] };
        let told = verdicts.into_iter().map(|row| {
            let (position, station) = (row.position, row.station);
            let frame = frame::event("verdict", &json!(StationVerdict::from(row)).to_string(), Some(position));
            ToldVerdict { position, station, frame }
        });
        Ok(Look { window: Window { after, upto, items: told.collect() }, more: upto < head })
    }
}
