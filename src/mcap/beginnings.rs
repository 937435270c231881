//! Where a summary may begin, of which a reader that passes hears at its end.

use super::body::Source;

/// Where the summary may begin. Records that only others know may stand before it as well as in it, and which of them do,
/// the footer says at last.
pub struct Beginnings {
    /// Each with the checksum of what lies between the data section and it.
    places: Vec<(u64, u32)>,
    data_end: u64,
    open: bool,
}

/// Places that are remembered; behind them only the newest one. Nobody writes so many records of their own.
const BEGINNINGS_MAX: usize = 10_000;

impl Beginnings {
    pub fn at(data_end: u64) -> Self {
        Self { places: vec![(data_end, 0)], data_end, open: true }
    }

    /// A record that the summary may begin behind.
    pub fn passed_other<R>(&mut self, source: &Source<R>) {
        if self.open {
            self.places.truncate(BEGINNINGS_MAX);
            self.places.push((source.at, source.crc.clone().finalize()));
        }
    }

    /// A record of the summary.
    pub fn end(&mut self) {
        self.open = false;
    }

    /// The checksum of what lies between `start` and `end`, where `hashed` is that from the data section to `end`;
    /// nothing, where no summary may begin.
    pub fn hash_from(&self, start: u64, hashed: &crc32fast::Hasher, end: u64) -> Option<u32> {
        let &(start, before) = self.places.iter().find(|(place, _)| *place == start)?;
        // The checksum of two pieces is that of the first one, moved on by the second one's length, xor that of the second.
        let mut moved = crc32fast::Hasher::new_with_initial_len(before, start - self.data_end);
        moved.combine(&crc32fast::Hasher::new_with_initial_len(0, end - start));
        Some(moved.finalize() ^ hashed.clone().finalize())
    }
}
