//! Schemas and channels as records describe them, whole: what is written again has to have all of it.
//!
//! Texts that are not UTF-8 have replacement characters: every reader reads what is written.

use std::collections::BTreeMap;

use super::super::records::Cursor;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub name: String,
    pub encoding: String,
    pub data: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub schema_id: u16,
    pub topic: String,
    pub message_encoding: String,
    pub metadata: BTreeMap<String, String>,
}

impl Schema {
    pub fn parse(body: &[u8]) -> Option<(u16, Self)> {
        let mut c = Cursor::new(body);
        let id = c.u16()?;
        Some((id, Self { name: c.string()?, encoding: c.string()?, data: c.blob()?.to_vec() }))
    }
}

impl Channel {
    pub fn parse(body: &[u8]) -> Option<(u16, Self)> {
        let mut c = Cursor::new(body);
        let (id, schema_id) = (c.u16()?, c.u16()?);
        Some((id, Self { schema_id, topic: c.string()?, message_encoding: c.string()?, metadata: map(c.blob()?)? }))
    }
}

/// Keys and values; of a key that comes twice the first value.
pub fn map(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let (mut rest, mut all) = (Cursor::new(bytes), BTreeMap::new());
    while !rest.is_empty() {
        let (key, value) = (rest.string()?, rest.string()?);
        all.entry(key).or_insert(value);
    }
    Some(all)
}

/// What a description costs beside its bytes.
const EACH_COSTS: usize = 64;

/// What descriptions may take, all together.
pub struct Budget(usize);

impl Budget {
    /// Twice what 65,535 channels of ordinary names need.
    pub fn full() -> Self {
        Self(16 << 20)
    }

    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes + EACH_COSTS) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}
