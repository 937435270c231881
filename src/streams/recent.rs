//! The windows that were read last, kept for all readers.

use std::collections::VecDeque;
use std::sync::Arc;

/// What stands behind one position, up to another.
#[derive(Debug)]
pub struct Window<T> {
    pub after: i64,
    pub upto: i64,
    pub items: Vec<T>,
}

/// What comes next for a reader at a position.
pub(super) enum Next<T> {
    Window(Arc<Window<T>>),
    /// It is not there yet.
    Nothing,
    /// It was forgotten: only what stands behind this position is here.
    Earlier(i64),
}

/// Windows without a gap between them. Those without items are not kept: the next one begins where the last one ended.
pub(super) struct Recent<T> {
    after: i64,
    upto: i64,
    /// Each with its size in memory.
    windows: VecDeque<(Arc<Window<T>>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<T> Recent<T> {
    pub fn at(position: i64, bytes_max: usize) -> Self {
        Self { after: position, upto: position, windows: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn upto(&self) -> i64 {
        self.upto
    }

    /// Answers whether there is something to tell.
    pub fn push(&mut self, window: Window<T>, bytes: usize) -> bool {
        self.upto = self.upto.max(window.upto);
        if window.items.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.windows.push_back((Arc::new(window), bytes));
        // The newest one stays, however large it is.
        while self.bytes > self.bytes_max && self.windows.len() > 1 {
            let Some((oldest, bytes)) = self.windows.pop_front() else { break };
            self.bytes -= bytes;
            self.after = oldest.upto;
        }
        true
    }

    pub fn next(&self, position: i64) -> Next<T> {
        if position < self.after {
            return Next::Earlier(self.after);
        }
        let told = self.windows.partition_point(|(window, _)| window.upto <= position);
        self.windows.get(told).map_or(Next::Nothing, |(window, _)| Next::Window(window.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(after: i64, upto: i64, items: &[i64]) -> Window<i64> {
        Window { after, upto, items: items.to_vec() }
    }

    fn upto(next: Next<i64>) -> Result<i64, i64> {
        match next {
            Next::Window(window) => Ok(window.upto),
            Next::Nothing => Err(0),
            Next::Earlier(after) => Err(after),
        }
    }

    #[test]
    fn a_reader_finds_the_window_that_goes_beyond_its_position() {
        let mut recent = Recent::at(10, 100);
        assert!(recent.push(window(10, 12, &[11, 12]), 2));
        assert!(!recent.push(window(12, 15, &[]), 0), "nothing to tell");
        assert!(recent.push(window(15, 16, &[16]), 1));
        let found: Vec<_> = [9, 10, 11, 12, 14, 16, 99].map(|position| upto(recent.next(position))).into();
        assert_eq!(found, [Err(10), Ok(12), Ok(12), Ok(16), Ok(16), Err(0), Err(0)]);
    }

    #[test]
    fn what_is_forgotten_is_told_and_nobody_who_is_up_to_date_is_sent_back() {
        let mut recent = Recent::at(0, 30);
        for n in 0..5 {
            recent.push(window(n * 10, n * 10 + 10, &[n * 10 + 1, n * 10 + 2]), 20);
            assert!(recent.bytes <= 30, "{}", recent.bytes);
            assert_eq!(upto(recent.next(n * 10)), Ok(n * 10 + 10), "it has seen all before");
            assert_eq!(upto(recent.next(n * 10 + 10)), Err(0));
        }
        assert_eq!(upto(recent.next(39)), Err(40));
        recent.push(window(50, 60, &[51]), 1000);
        assert_eq!((recent.windows.len(), upto(recent.next(50))), (1, Ok(60)), "the newest one stays, however large it is");
    }
}
