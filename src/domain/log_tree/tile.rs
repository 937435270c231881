//! The tree as files: 256 hashes each, of leaves or of full tiles of the level below.

use std::fmt;

/// Levels of the tree that one level of tiles has.
pub const HEIGHT: u32 = 8;
pub const WIDTH: usize = 1 << HEIGHT;
/// Of tiles; a tree of 2^63 leaves has no more.
pub const LEVELS: u32 = 8;

/// The number-th tile of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    pub level: u32,
    pub number: u64,
}

impl TileId {
    /// How many hashes it has in a tree of this size.
    pub fn width_in(self, size: u64) -> usize {
        let hashes = size.checked_shr(HEIGHT * self.level).unwrap_or(0);
        let before = self.number.saturating_mul(WIDTH as u64);
        usize::try_from(hashes.saturating_sub(before)).unwrap_or(WIDTH).min(WIDTH)
    }

    /// Every one of a tree of this size, level by level.
    pub fn all_in(size: u64) -> impl Iterator<Item = Self> {
        (0..LEVELS).flat_map(move |level| {
            let hashes = size >> (HEIGHT * level);
            (0..hashes.div_ceil(WIDTH as u64)).map(move |number| Self { level, number })
        })
    }
}

/// What is asked for below `tile/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Hashes {
        tile: TileId,
        width: usize,
    },
    /// The leaves of a tile of the lowest level.
    Entries {
        number: u64,
        width: usize,
    },
}

impl Resource {
    /// As it is named: `0/x001/234`, `entries/067.p/12`. What is written in any other way is none.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let (name, width) = match rest.split_once(".p/") {
            Some((name, width)) => (name, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let digits: String = name.split('/').map(|part| part.strip_prefix('x').unwrap_or(part)).collect();
        let number = digits.parse().ok()?;
        let resource = match kind {
            "entries" => Self::Entries { number, width },
            level => Self::Hashes { tile: TileId { level: level.parse().ok().filter(|level| *level < 64)?, number }, width },
        };
        // One name each: no sign, no further zero, no part of another length.
        (resource.to_string() == path).then_some(resource)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, width) = match self {
            Self::Hashes { tile, width } => {
                write!(f, "{}/", tile.level)?;
                (tile.number, *width)
            }
            Self::Entries { number, width } => {
                f.write_str("entries/")?;
                (*number, *width)
            }
        };
        let digits = number.to_string();
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        let last = padded.len() - 3;
        for at in (0..last).step_by(3) {
            write!(f, "x{}/", &padded[at..at + 3])?;
        }
        f.write_str(&padded[last..])?;
        if width < WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}
