//! One reader's search: of the windows that come, by what each event is found by, and of the log.

use bytes::Bytes;

use super::source::{EVENTS_MAX, LogSource, ToldEvent, told};
use crate::domain::Timestamp;
use crate::projections::reads::ReadError;
use crate::projections::reads::events::{Between, Direction, LogFilter};
use crate::streams::{Look, Source as _, Wanted, Window};

pub struct Searched {
    pub log: LogSource,
    pub filter: LogFilter,
    /// Nothing up to here is told.
    pub told: i64,
    /// Nothing before the first event of this time is told. None once it has come.
    pub since: Option<Timestamp>,
}

impl Searched {
    fn of(&mut self, window: &Window<ToldEvent>, after: i64) -> Vec<Bytes> {
        let mut frames = vec![];
        for event in window.items.iter().filter(|event| event.position > after) {
            self.since = self.since.filter(|since| event.recorded_at < *since);
            if self.since.is_none() && event.position > self.told && self.filter.has_terms(&event.terms) {
                frames.push(event.frame.clone());
            }
        }
        frames
    }

    /// What is noted already is searched; `None` where nothing is, or everything is wanted.
    async fn of_pages(&self, after: i64) -> Result<Option<(i64, Vec<Bytes>)>, ReadError> {
        if self.filter.groups.is_empty() || self.since.is_some() {
            return Ok(None);
        }
        let reads = &self.log.0;
        let noted_to = reads.log_noted_to().await?;
        if noted_to <= after {
            return Ok(None);
        }
        let between = Between { after, before: noted_to.saturating_add(1) };
        let events = reads.log_events(&self.filter, between, Direction::Forward, EVENTS_MAX).await?;
        let full = i64::try_from(events.len()).is_ok_and(|found| found == EVENTS_MAX);
        let upto = events.last().and_then(|last| last.position).filter(|_| full).unwrap_or(noted_to);
        let wanted = events.into_iter().filter_map(|event| Some((event.position?, event))).filter(|(position, _)| *position > self.told);
        Ok(Some((upto, wanted.map(|(position, event)| told(position, event)).collect())))
    }
}

impl Wanted<LogSource> for Searched {
    async fn of_window(&mut self, window: &Window<ToldEvent>, after: i64) -> Result<Vec<Bytes>, ReadError> {
        Ok(self.of(window, after))
    }

    async fn of_log(&mut self, after: i64, _target: i64) -> Result<(i64, Vec<Bytes>), ReadError> {
        if let Some(found) = self.of_pages(after).await? {
            return Ok(found);
        }
        let Look { window, .. } = self.log.read(after).await?;
        let frames = self.of(&window, after);
        Ok((window.upto, frames))
    }
}
