//! Records that are read field by field as they come, never beyond their end, and hashed on the way.

use std::io::{self, BufRead, Read};

use super::summary::Unsound;

/// Names longer than this are cut: topics and types are short, and a device says how long they are.
const NAME_BYTES_MAX: usize = 4 << 10;

/// Of a body that is held so much is asked for at once: it is hashed while it is near. A file that is read through a buffer of no more
/// than this gives it without a copy in between.
pub const READ_AT_ONCE: usize = 256 << 10;

/// Why the pass stops.
pub enum Stop {
    Defect(Unsound),
    Io(io::Error),
}

impl From<Unsound> for Stop {
    fn from(defect: Unsound) -> Self {
        Self::Defect(defect)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes that are counted and hashed as they pass.
pub struct Source<R> {
    inner: R,
    pub at: u64,
    pub crc: crc32fast::Hasher,
    /// More was wanted than there is.
    pub ended: bool,
}

impl<R: BufRead> Source<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, at: 0, crc: crc32fast::Hasher::new(), ended: false }
    }

    pub fn into_inner(self) -> R {
        self.inner
    }

    fn took(&mut self, len: usize) {
        self.inner.consume(len);
        self.at += len as u64;
    }

    pub fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let piece = self.inner.fill_buf()?;
            if piece.is_empty() {
                self.ended = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(piece.len());
            self.crc.update(&piece[..now]);
            self.took(now);
            len -= now as u64;
        }
        Ok(())
    }

    /// So many bytes and no fewer, in a buffer that grows as they come. What it held before is gone.
    pub fn fill(&mut self, len: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut filled = 0;
        while filled < len {
            let end = filled + (len - filled).min(READ_AT_ONCE);
            // A buffer that is used again has these bytes already, and they are not zeroed first.
            if into.len() < end {
                into.resize(end, 0);
            }
            let now = match self.inner.read(&mut into[filled..end]) {
                Ok(now) => now,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if now == 0 {
                into.truncate(filled);
                self.ended = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.crc.update(&into[filled..filled + now]);
            self.at += now as u64;
            filled += now;
        }
        into.truncate(len);
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.inner.fill_buf()?.is_empty())
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.inner.fill_buf()?;
        let now = piece.len().min(into.len());
        into[..now].copy_from_slice(&piece[..now]);
        self.crc.update(&piece[..now]);
        self.ended |= now == 0 && !into.is_empty();
        self.took(now);
        Ok(now)
    }
}

/// One record whose body is read piece by piece and never beyond its end.
pub struct Body<'a, R> {
    pub source: &'a mut Source<R>,
    pub start: u64,
    pub opcode: u8,
    pub left: u64,
}

impl<'a, R: BufRead> Body<'a, R> {
    pub fn next(source: &'a mut Source<R>) -> Result<Self, Stop> {
        let start = source.at;
        let [opcode] = source.array()?;
        let left = u64::from_le_bytes(source.array()?);
        Ok(Self { source, start, opcode, left })
    }

    pub fn malformed(&self) -> Stop {
        Unsound::Malformed { at: self.start, opcode: self.opcode }.into()
    }

    pub fn take(&mut self, len: u64) -> Result<(), Stop> {
        self.left = self.left.checked_sub(len).ok_or_else(|| self.malformed())?;
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N as u64)?;
        Ok(self.source.array()?)
    }

    pub fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn pass_over(&mut self, len: u64) -> Result<(), Stop> {
        self.take(len)?;
        Ok(self.source.skip(len)?)
    }

    /// A text behind its length: its beginning, where it is longer than any name is.
    pub fn name(&mut self, left: &mut usize) -> Result<String, Stop> {
        let len = u64::from(self.u32()?);
        self.take(len)?;
        let kept = usize::try_from(len).unwrap_or(usize::MAX).min(NAME_BYTES_MAX);
        *left = left.checked_sub(kept).ok_or(Unsound::TooManyNames { at: self.start })?;
        let mut bytes = vec![0; kept];
        self.source.read_exact(&mut bytes)?;
        self.source.skip(len - kept as u64)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fields that later versions of the format add at the end.
    pub fn rest(self) -> Result<(), Stop> {
        Ok(self.source.skip(self.left)?)
    }
    /// An attachment: its name, and its checksum as it is and as the record says.
    pub fn attachment(mut self, left: &mut usize) -> Result<Attached, Stop> {
        // The record's own checksum begins with its body.
        let outer = std::mem::replace(&mut self.source.crc, crc32fast::Hasher::new());
        let _times = (self.u64()?, self.u64()?);
        let name = self.name(left)?;
        let _media_type = self.name(left)?;
        let data_bytes = self.u64()?;
        self.pass_over(data_bytes)?;
        let fields = self.source.crc.clone();
        let expected = self.u32()?;
        let found = fields.finalize();
        let source = self.source;
        source.skip(self.left)?;
        // What was hashed here belongs to the data section, too.
        let mut whole = outer;
        whole.combine(&source.crc);
        source.crc = whole;
        Ok(Attached { name, found, expected })
    }
}

pub struct Attached {
    pub name: String,
    pub found: u32,
    /// 0: there is none.
    pub expected: u32,
}
