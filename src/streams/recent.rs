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
    windows: VecDeque<Arc<Window<T>>>,
    items: usize,
    items_max: usize,
}

impl<T> Recent<T> {
    pub fn at(position: i64, items_max: usize) -> Self {
        Self { after: position, upto: position, windows: VecDeque::new(), items: 0, items_max }
    }

    pub fn upto(&self) -> i64 {
        self.upto
    }

    /// Answers whether there is something to tell.
    pub fn push(&mut self, window: Window<T>) -> bool {
        self.upto = self.upto.max(window.upto);
        if window.items.is_empty() {
            return false;
        }
        self.items += window.items.len();
        self.windows.push_back(Arc::new(window));
        // The newest one stays, however large it is.
        while self.items > self.items_max && self.windows.len() > 1 {
            let Some(oldest) = self.windows.pop_front() else { break };
            self.items -= oldest.items.len();
            self.after = oldest.upto;
        }
        true
    }

    pub fn next(&self, position: i64) -> Next<T> {
        if position < self.after {
            return Next::Earlier(self.after);
        }
        let told = self.windows.partition_point(|window| window.upto <= position);
        self.windows.get(told).map_or(Next::Nothing, |window| Next::Window(window.clone()))
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
        assert!(recent.push(window(10, 12, &[11, 12])) && !recent.push(window(12, 15, &[])) && recent.push(window(15, 16, &[16])));
        assert_eq!(
            (upto(recent.next(10)), upto(recent.next(11)), upto(recent.next(12)), upto(recent.next(14))),
            (Ok(12), Ok(12), Ok(16), Ok(16))
        );
        assert_eq!((upto(recent.next(16)), upto(recent.next(99)), upto(recent.next(9))), (Err(0), Err(0), Err(10)));
    }

    #[test]
    fn what_is_forgotten_is_told_and_nobody_who_is_up_to_date_is_sent_back() {
        let mut recent = Recent::at(0, 3);
        for n in 0..5 {
            recent.push(window(n * 10, n * 10 + 10, &[n * 10 + 1, n * 10 + 2]));
            assert!(recent.items <= 3, "{}", recent.items);
            assert_eq!(upto(recent.next(n * 10)), Ok(n * 10 + 10), "it has seen all before");
            assert_eq!(upto(recent.next(n * 10 + 10)), Err(0));
        }
        assert_eq!(upto(recent.next(39)), Err(40));
        recent.push(window(50, 60, &[51, 52, 53, 54, 55]));
        assert_eq!((recent.windows.len(), upto(recent.next(50))), (1, Ok(60)), "the newest one stays, however large it is");
    }
}
