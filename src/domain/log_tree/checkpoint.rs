//! The head of a tree as it is signed: three lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::hash::Hash;

/// How large the tree was, and its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log: no other one has it.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Of the text of a note. What stands behind the third line is no matter of ours, and another way to write a number is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number: u64 = size.parse().ok()?;
        let root = Hash(STANDARD.decode(root).ok()?.try_into().ok()?);
        (!origin.is_empty() && number.to_string() == size).then(|| Self { origin: origin.to_owned(), size: number, root })
    }
}
