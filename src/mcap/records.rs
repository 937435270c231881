//! The MCAP records that tier 1 meets, parsed by hand.
//!
//! Parsing is total: each function takes a slice and answers with a value or
//! nothing. Offsets and names of defects are added by the caller, who knows
//! where the slice came from.

pub const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
/// Opcode and length in front of every record.
pub const RECORD_PREFIX_BYTES: usize = 1 + 8;
/// The footer record: prefix, two offsets, one CRC.
pub const FOOTER_BYTES: usize = RECORD_PREFIX_BYTES + 8 + 8 + 4;

pub mod opcode {
    pub const HEADER: u8 = 0x01;
    pub const FOOTER: u8 = 0x02;
    pub const SCHEMA: u8 = 0x03;
    pub const CHANNEL: u8 = 0x04;
    pub const MESSAGE: u8 = 0x05;
    pub const CHUNK: u8 = 0x06;
    pub const MESSAGE_INDEX: u8 = 0x07;
    pub const CHUNK_INDEX: u8 = 0x08;
    pub const ATTACHMENT: u8 = 0x09;
    pub const ATTACHMENT_INDEX: u8 = 0x0A;
    pub const STATISTICS: u8 = 0x0B;
    pub const METADATA: u8 = 0x0C;
    pub const METADATA_INDEX: u8 = 0x0D;
    pub const SUMMARY_OFFSET: u8 = 0x0E;
    pub const DATA_END: u8 = 0x0F;
}

/// Reads little-endian values off the front of a slice.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// What comes next, at most `len` bytes and at most what is there.
    pub fn up_to(self, len: u64) -> &'a [u8] {
        &self.rest[..self.rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))]
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes behind a 32-bit length.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// A name that is not UTF-8 is kept with replacement characters: devices cut
    /// long names at a byte count, and that is no damage to the data.
    pub fn string(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.blob()?).into_owned())
    }

    /// The next record: its opcode and its body.
    pub fn record(&mut self) -> Option<(u8, &'a [u8])> {
        let opcode = self.u8()?;
        let len = self.u64()?;
        Some((opcode, self.take(usize::try_from(len).ok()?)?))
    }
}

pub struct Header {
    pub profile: String,
    pub library: String,
}

impl Header {
    /// From the first bytes of a body of `len` bytes: a name that goes beyond them is cut.
    pub fn parse_beginning(body: &[u8], len: u64) -> Option<Self> {
        let mut c = Cursor::new(body);
        let mut left = len;
        let mut name = || {
            let Some(bytes) = c.u32() else {
                // The name before it was cut.
                return (len > body.len() as u64 && left >= 4).then(String::new);
            };
            left = left.checked_sub(4)?.checked_sub(u64::from(bytes))?;
            let known = c.up_to(u64::from(bytes));
            c.take(known.len())?;
            Some(String::from_utf8_lossy(known).into_owned())
        };
        Some(Self { profile: name()?, library: name()? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    pub summary_start: u64,
    pub summary_offset_start: u64,
    pub summary_crc: u32,
}

impl Footer {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        Some(Self { summary_start: c.u64()?, summary_offset_start: c.u64()?, summary_crc: c.u32()? })
    }
}

pub struct Schema {
    pub id: u16,
    pub name: String,
    pub encoding: String,
    pub data_bytes: usize,
}

impl Schema {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        Some(Self { id: c.u16()?, name: c.string()?, encoding: c.string()?, data_bytes: c.blob()?.len() })
    }
}

pub struct Channel {
    pub id: u16,
    pub schema_id: u16,
    pub topic: String,
    pub message_encoding: String,
}

impl Channel {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let channel = Self { id: c.u16()?, schema_id: c.u16()?, topic: c.string()?, message_encoding: c.string()? };
        c.blob()?; // key-value pairs, of no use here
        Some(channel)
    }
}

#[derive(Clone)]
pub struct Statistics {
    pub message_count: u64,
    pub chunk_count: u32,
    pub start_ns: u64,
    pub end_ns: u64,
    pub channel_message_counts: Vec<(u16, u64)>,
}

impl Statistics {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let message_count = c.u64()?;
        let _schema_count = c.u16()?;
        let _channel_count = c.u32()?;
        let _attachment_count = c.u32()?;
        let _metadata_count = c.u32()?;
        let chunk_count = c.u32()?;
        let start_ns = c.u64()?;
        let end_ns = c.u64()?;
        let mut pairs = Cursor::new(c.blob()?);
        let mut channel_message_counts = Vec::new();
        while !pairs.is_empty() {
            channel_message_counts.push((pairs.u16()?, pairs.u64()?));
        }
        Some(Self { message_count, chunk_count, start_ns, end_ns, channel_message_counts })
    }

    /// Whether two of one file can both be true. Times are as the writer's clock had them, and decide nothing.
    pub fn agrees_with(&self, other: &Self) -> bool {
        (self.message_count, self.chunk_count, &self.channel_message_counts)
            == (other.message_count, other.chunk_count, &other.channel_message_counts)
    }
}

pub struct ChunkIndex {
    pub start_ns: u64,
    pub end_ns: u64,
    pub chunk_start: u64,
    pub chunk_bytes: u64,
    pub index_bytes: u64,
    pub compression: String,
    pub compressed_bytes: u64,
    pub uncompressed_bytes: u64,
}

impl ChunkIndex {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let start_ns = c.u64()?;
        let end_ns = c.u64()?;
        let chunk_start = c.u64()?;
        let chunk_bytes = c.u64()?;
        c.blob()?; // where each channel's message index lies; they are read as one range
        Some(Self {
            start_ns,
            end_ns,
            chunk_start,
            chunk_bytes,
            index_bytes: c.u64()?,
            compression: c.string()?,
            compressed_bytes: c.u64()?,
            uncompressed_bytes: c.u64()?,
        })
    }
}

/// An attachment or metadata record, as its index names it.
pub struct NamedRecord {
    pub start: u64,
    pub bytes: u64,
    pub name: String,
}

impl NamedRecord {
    pub fn parse_attachment_index(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let start = c.u64()?;
        let bytes = c.u64()?;
        let (_log_time, _create_time, _data_size) = (c.u64()?, c.u64()?, c.u64()?);
        let name = c.string()?;
        let _media_type = c.blob()?;
        Some(Self { start, bytes, name })
    }

    pub fn parse_metadata_index(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        Some(Self { start: c.u64()?, bytes: c.u64()?, name: c.string()? })
    }
}
