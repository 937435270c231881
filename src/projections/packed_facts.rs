//! Facts of an episode as a column keeps them: JSON, packed with zstd. A kilobyte instead of four, and read a hundred thousand at a time.

use std::io;

use serde::{Serialize, Serializer};
use tokio_postgres::types::{FromSql, Type, accepts};

use crate::domain::episode::Measured;

/// Quick, and smaller than Postgres would make it.
const LEVEL: i32 = 3;

/// Facts are bounded; nothing that is longer was written by us.
const BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFacts(Vec<u8>);

impl PackedFacts {
    pub fn of(measured: &Measured) -> io::Result<Self> {
        zstd::bulk::compress(&serde_json::to_vec(measured)?, LEVEL).map(Self)
    }

    pub fn unpacked(&self) -> io::Result<Measured> {
        let size = zstd::zstd_safe::get_frame_content_size(&self.0).ok().flatten().and_then(|size| usize::try_from(size).ok());
        let json = zstd::bulk::decompress(&self.0, size.unwrap_or(BYTES_MAX).min(BYTES_MAX))?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// As Postgres reads bytes from a text.
impl Serialize for PackedFacts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("\\x{}", hex::encode(&self.0)))
    }
}

impl<'a> FromSql<'a> for PackedFacts {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }
    accepts!(BYTEA);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::judgement::TaskWants;
    use crate::domain::measurement::Facts;

    #[test]
    fn facts_are_read_as_they_were_packed() {
        let measured = Measured { facts: Facts { library: "axon".repeat(50), ..Facts::none(7) }, wants: TaskWants::default() };
        let packed = PackedFacts::of(&measured).unwrap();
        assert_eq!(packed.unpacked().unwrap(), measured);
        assert!(packed.0.len() < 600, "{}", packed.0.len());
        assert!(PackedFacts(vec![1, 2, 3]).unpacked().is_err());
    }
}
