//! The words of closed lists, as they stand on the wire and in tables.

/// The word of a value in a list of all words. Lists are complete by their tests.
pub fn word<T: PartialEq + Copy>(all: &[(&'static str, T)], value: T) -> &'static str {
    all.iter().find_map(|(word, known)| (*known == value).then_some(*word)).unwrap_or("unknown")
}

/// The value a word stands for.
pub fn parse<T: Copy>(all: &[(&'static str, T)], text: &str) -> Option<T> {
    all.iter().find_map(|(word, known)| (*word == text).then_some(*known))
}
