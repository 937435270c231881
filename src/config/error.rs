//! Why settings cannot be used, said so that an operator finds the place.

use std::path::PathBuf;

/// Why the settings cannot be used. Every message names the key or variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin} is not valid TOML: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: there is no setting `{key}`{}", suggestion(.nearest))]
    UnknownKey { origin: String, key: String, nearest: Option<String> },
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    WrongType { origin: String, key: String, expected: &'static str, found: &'static str },
    #[error("there is no variable {name}{}", suggestion(.nearest))]
    UnknownVariable { name: String, nearest: Option<String> },
    #[error("{name} must be {expected}")]
    Unparsable { name: String, expected: &'static str },
    #[error("{0}")]
    Invalid(String),
    #[error("the settings cannot be used:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// The known name with the fewest edits, if it is near enough to be meant.
pub(super) fn nearest(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known.map(|name| (edits(given, &name), name)).min().filter(|(distance, _)| *distance <= 2 + given.len() / 8).map(|(_, name)| name)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
