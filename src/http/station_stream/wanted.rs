//! The station that one reader asks for. Whether it is theirs was looked at when the stream was opened: a station belongs to one
//! factory and one organization for ever, and its recordings with it.

use bytes::Bytes;

use super::source::{ToldVerdict, VerdictSource};
use crate::domain::StationId;
use crate::projections::reads::ReadError;
use crate::streams::{Source as _, Wanted, Window};

pub struct OfStation {
    pub source: VerdictSource,
    pub station: StationId,
}

impl Wanted<VerdictSource> for OfStation {
    async fn of_window(&mut self, window: &Window<ToldVerdict>, after: i64) -> Result<Vec<Bytes>, ReadError> {
        let mine = window.items.iter().filter(|verdict| verdict.position > after && verdict.station == self.station);
        Ok(mine.map(|verdict| verdict.frame.clone()).collect())
    }

    async fn of_log(&mut self, after: i64, _target: i64) -> Result<(i64, Vec<Bytes>), ReadError> {
        let window = self.source.read(after).await?.window;
        let frames = self.of_window(&window, after).await?;
        Ok((window.upto, frames))
    }
}
