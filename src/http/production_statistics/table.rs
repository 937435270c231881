//! The export of statistics as it is written: a page at a time, however long it is.

use axum::body::Bytes;
use chrono::TimeDelta;
use csv::Terminator;
use futures_util::{Stream, stream};

use crate::domain::{EpisodeId, Timestamp};
use crate::http::exported::table;
use crate::projections::reads::counted::Selection;
use crate::projections::reads::counted_records::CountedEpisode;
use crate::projections::reads::{ReadError, Reads};

/// Episodes that are read at once, and held.
const PAGE: i64 = 1_000;

const COLUMNS: [&str; 10] = ["id", "time", "设备ID", "设备型号", "数采员工号", "数采员姓名", "task_id", "sop", "时长", "大小"];

/// What of a table still has to be read.
pub struct Table {
    reads: Reads,
    selection: Selection,
    minutes_ahead: i64,
    next: Next,
}

enum Next {
    Head,
    Behind(Timestamp, EpisodeId),
    Nothing,
}

impl Table {
    pub fn new(reads: Reads, selection: Selection, minutes_ahead: i64) -> Self {
        Self { reads, selection, minutes_ahead, next: Next::Head }
    }

    /// The next piece. `None`: the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let (head, place) = match self.next {
            Next::Head => (true, None),
            Next::Behind(at, id) => (false, Some((at, id))),
            Next::Nothing => return Ok(None),
        };
        let episodes = self.reads.counted_behind(&self.selection, place, PAGE).await?;
        let full = i64::try_from(episodes.len()).is_ok_and(|found| found == PAGE);
        self.next = episodes.last().filter(|_| full).map_or(Next::Nothing, |last| Next::Behind(last.happened_at, last.id));
        Ok(Some(rows(&episodes, head, self.minutes_ahead).into()))
    }

    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, ReadError>> {
        stream::try_unfold(self, |mut table| async move { Ok(table.next().await?.map(|piece| (piece, table))) })
    }
}

fn rows(episodes: &[CountedEpisode], head: bool, minutes_ahead: i64) -> Vec<u8> {
    let cells = |episode: &CountedEpisode| {
        [
            episode.public_id.clone(),
            local(episode.happened_at, minutes_ahead),
            episode.device.clone(),
            episode.robot_type_name.clone(),
            episode.operator_id.clone(),
            episode.collector_name.clone(),
            episode.task_id.clone(),
            episode.sop_label.clone(),
            episode.duration_ms.map(duration).unwrap_or_default(),
            size(episode.size_bytes),
        ]
    };
    table(Terminator::Any(b'\n'), head.then_some(COLUMNS), episodes.iter().map(cells))
}

fn local(at: Timestamp, minutes_ahead: i64) -> String {
    let local = at.checked_add_signed(TimeDelta::minutes(minutes_ahead)).unwrap_or(at);
    local.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn duration(ms: i64) -> String {
    let seconds = ms as f64 / 1000.0;
    format!("{seconds:.2}秒 ({:.2}h)", seconds / 3600.0)
}

fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut shown = format!("{bytes}B");
    let mut value = bytes as f64;
    for unit in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        shown = format!("{value:.2}{unit}");
    }
    format!("{bytes} 字节 ({shown})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_written_as_the_contract_has_them() {
        assert_eq!([duration(12_340), duration(0), duration(5_400_000)], ["12.34秒 (0.00h)", "0.00秒 (0.00h)", "5400.00秒 (1.50h)"]);
        let sizes = [0, 999, 1_234, 1_500_000, 2_000_000_000, 3_210_000_000_000, 4_000_000_000_000_000].map(size);
        assert_eq!(sizes[0], "0 字节 (0B)");
        assert_eq!(sizes[1], "999 字节 (999B)");
        assert_eq!(sizes[2], "1234 字节 (1.23KB)");
        assert_eq!(sizes[3], "1500000 字节 (1.50MB)");
        assert_eq!(sizes[4], "2000000000 字节 (2.00GB)");
        assert_eq!(sizes[5], "3210000000000 字节 (3.21TB)");
        assert_eq!(sizes[6], "4000000000000000 字节 (4000.00TB)");
        let at = "2026-05-11T20:31:05.9Z".parse().unwrap();
        assert_eq!([local(at, 480), local(at, -30)], ["2026-05-12 04:31:05", "2026-05-11 20:01:05"]);
    }
}
