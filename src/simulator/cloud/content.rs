//! The bytes of objects: received into files, or only hashed; and read back.
//!
//! A file is one body of a request. An object that came in parts is made of several, and nothing is copied when it is
//! completed; a file is removed when nothing is made of it any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures_util::{Stream, StreamExt, stream};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5, Sha256};
use s3s::dto::{Checksum, ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::ledger::Tally;

/// Hashed and written at once; two of them are in memory for each upload.
const BLOCK_BYTES: usize = 1 << 20;

/// Read at once.
const READ_BYTES: u64 = 512 * 1024;

/// Files of this cloud, in whatever folder it is given.
const SUFFIX: &str = ".received";

const ALGORITHMS: [&str; 5] =
    [ChecksumAlgorithm::CRC32, ChecksumAlgorithm::CRC32C, ChecksumAlgorithm::CRC64NVME, ChecksumAlgorithm::SHA1, ChecksumAlgorithm::SHA256];

/// Where bytes go.
pub struct Contents {
    /// None where they are discarded.
    folder: Option<PathBuf>,
    /// Whether they are hashed, and compared with what was said of them.
    checked: bool,
    next: AtomicU64,
}

/// Removes its file when it is dropped.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{} was not removed: {error}", self.path.display());
        }
    }
}

/// The bytes of one body.
#[derive(Debug, Clone)]
pub struct Piece {
    pub bytes: u64,
    kept: Option<Arc<Kept>>,
}

#[cfg(test)]
impl Piece {
    pub fn nowhere(bytes: u64) -> Self {
        Self { bytes, kept: None }
    }
}

/// Bytes that are what the client said they are.
#[derive(Debug, Clone)]
pub struct Received {
    pub piece: Piece,
    /// What its tag is made of: the MD5, as S3 has it, or a piece of the SHA-256 where contents are discarded: that is at hand, and
    /// another hash would take most of the time.
    pub tag: [u8; 16],
    /// Missing where nothing is hashed.
    pub sha256: Option<[u8; 32]>,
    pub crc64: Option<u64>,
    /// Those that the client sent or asked for.
    pub sums: Checksum,
}

/// What the client said about the bytes.
#[derive(Default)]
pub struct Said {
    pub bytes: Option<i64>,
    pub content_md5: Option<String>,
    pub sums: Checksum,
    pub algorithm: Option<ChecksumAlgorithm>,
    /// Checksums that are known only at the end.
    pub trailers: Option<TrailingHeaders>,
    pub trailer_promised: bool,
    /// Its tag is the MD5 also where contents are discarded, as what OSS says of objects is compared with it; and OSS answers with
    /// the CRC-64/XZ of what it received.
    pub for_oss: bool,
}

impl Contents {
    pub fn discarded(checked: bool) -> Self {
        Self { folder: None, checked, next: AtomicU64::new(0) }
    }

    /// In a folder, which is rid of what an earlier run left there.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot keep what is received in {}", folder.display());
        fs::create_dir_all(folder).with_context(failed)?;
        for entry in fs::read_dir(folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
                fs::remove_file(entry.path()).with_context(failed)?;
            }
        }
        Ok(Self { folder: Some(folder.to_owned()), checked: true, next: AtomicU64::new(0) })
    }

    fn sink(&self, said: &Said) -> io::Result<Sink> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if !self.checked {
            return Ok(Sink { file: None, bytes: 0, md5: None, sums: None, crc64: None, number });
        }
        let sums = Some(hasher(said));
        let crc64 = said.for_oss.then(|| crc_fast::Digest::new(CrcAlgorithm::Crc64Xz));
        let Some(folder) = &self.folder else {
            let md5 = (said.for_oss || said.content_md5.is_some()).then(Md5::new);
            return Ok(Sink { file: None, bytes: 0, md5, sums, crc64, number });
        };
        let path = folder.join(format!("{number:08}{SUFFIX}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Sink { file: Some((file, Kept { path })), bytes: 0, md5: Some(Md5::new()), sums, crc64, number })
    }

    /// Receives a body. Anything that is not as it was said is an error, and leaves nothing but its bytes in the tally.
    pub async fn receive(&self, body: StreamingBlob, said: Said, tally: Tally) -> S3Result<Received> {
        let (mut body, mut tally) = (body, tally);
        if said.algorithm.as_ref().is_some_and(|asked| !ALGORITHMS.contains(&asked.as_str())) {
            return Err(s3_error!(NotImplemented, "The checksum algorithm is not known"));
        }
        let mut sink = self.sink(&said).map_err(failed)?;
        let mut block = next_block(&mut body, &mut tally).await?;
        while !block.is_empty() {
            let hashing = tokio::task::spawn_blocking(move || {
                sink.take(&block)?;
                io::Result::Ok(sink)
            });
            // Received while the block before is hashed.
            let next = next_block(&mut body, &mut tally).await;
            sink = hashing.await.map_err(io::Error::other).flatten().map_err(failed)?;
            block = next?;
        }
        sink.finish(said)
    }
}

struct Sink {
    file: Option<(File, Kept)>,
    bytes: u64,
    md5: Option<Md5>,
    /// None where nothing is hashed.
    sums: Option<ChecksumHasher>,
    crc64: Option<crc_fast::Digest>,
    /// Another one for each body.
    number: u64,
}

impl Sink {
    fn take(&mut self, block: &[Bytes]) -> io::Result<()> {
        for bytes in block {
            if let Some(sums) = &mut self.sums {
                sums.update(bytes);
            }
            if let Some(md5) = &mut self.md5 {
                md5.update(bytes);
            }
            if let Some(crc64) = &mut self.crc64 {
                crc64.update(bytes);
            }
            if let Some((file, _)) = &mut self.file {
                file.write_all(bytes)?;
            }
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn finish(self, said: Said) -> S3Result<Received> {
        let Self { file, bytes, md5, sums, crc64, number } = self;
        if said.bytes.is_some_and(|said| said.unsigned_abs() != bytes) {
            return Err(s3_error!(IncompleteBody, "There are other bytes than were announced"));
        }
        let Some(sums) = sums else {
            // What it was said to be, and a tag that nothing else has.
            let piece = Piece { bytes, kept: None };
            return Ok(Received { piece, tag: u128::from(number).to_be_bytes(), sha256: None, crc64: None, sums: said.sums });
        };
        let mut found = sums.finalize();
        let sha256 = found.checksum_sha256.clone().unwrap_or_default();
        let sha256: [u8; 32] = STANDARD.decode(&sha256).ok().and_then(|sum| sum.try_into().ok()).unwrap_or_default();
        let mut tag = [0; 16];
        tag.copy_from_slice(&sha256[..16]);
        let tag = md5.map_or(tag, |md5| md5.finalize());
        if let Some(said) = &said.content_md5 {
            let said = STANDARD.decode(said).ok().filter(|said| said.len() == tag.len());
            let said = said.ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 is not one"))?;
            if said != tag {
                return Err(s3_error!(BadDigest, "The Content-MD5 does not match what was received"));
            }
        }
        said.compare(&found)?;
        if !wants_sha256(&said) {
            found.checksum_sha256 = None;
        }
        let piece = Piece { bytes, kept: file.map(|(_, kept)| Arc::new(kept)) };
        Ok(Received { piece, tag, sha256: Some(sha256), crc64: crc64.map(|crc64| crc64.finalize()), sums: found })
    }
}

impl Said {
    fn compare(&self, found: &Checksum) -> S3Result<()> {
        let later = self.trailers.as_ref().and_then(TrailingHeaders::take);
        if self.trailer_promised && later.is_none() {
            return Err(s3_error!(IncompleteBody, "The promised trailer is missing"));
        }
        for (name, before, found) in [
            ("x-amz-checksum-crc32", &self.sums.checksum_crc32, &found.checksum_crc32),
            ("x-amz-checksum-crc32c", &self.sums.checksum_crc32c, &found.checksum_crc32c),
            ("x-amz-checksum-crc64nvme", &self.sums.checksum_crc64nvme, &found.checksum_crc64nvme),
            ("x-amz-checksum-sha1", &self.sums.checksum_sha1, &found.checksum_sha1),
            ("x-amz-checksum-sha256", &self.sums.checksum_sha256, &found.checksum_sha256),
        ] {
            let trailer = later.as_ref().and_then(|trailers| trailers.get(name)).map(|value| value.to_str().unwrap_or_default());
            for said in before.as_deref().into_iter().chain(trailer) {
                if Some(said) != found.as_deref() {
                    return Err(s3_error!(BadDigest, "The {name} does not match what was received"));
                }
            }
        }
        Ok(())
    }

    fn wants(&self, algorithm: &'static str, said: Option<&String>) -> bool {
        said.is_some() || self.algorithm.as_ref().is_some_and(|asked| asked.as_str() == algorithm)
    }
}

fn wants_sha256(said: &Said) -> bool {
    said.wants(ChecksumAlgorithm::SHA256, said.sums.checksum_sha256.as_ref())
}

fn hasher(said: &Said) -> ChecksumHasher {
    let sums = &said.sums;
    ChecksumHasher {
        crc32: said.wants(ChecksumAlgorithm::CRC32, sums.checksum_crc32.as_ref()).then(Default::default),
        crc32c: said.wants(ChecksumAlgorithm::CRC32C, sums.checksum_crc32c.as_ref()).then(Default::default),
        crc64nvme: said.wants(ChecksumAlgorithm::CRC64NVME, sums.checksum_crc64nvme.as_ref()).then(Default::default),
        sha1: said.wants(ChecksumAlgorithm::SHA1, sums.checksum_sha1.as_ref()).then(Default::default),
        // The report names it.
        sha256: Some(Sha256::new()),
    }
}

/// The CRC-64/XZ of parts behind each other, where each has one.
pub fn joined_crc64(parts: &[&Received]) -> Option<u64> {
    let known = parts.iter().map(|part| part.crc64.map(|sum| (sum, part.piece.bytes)));
    let joined = |(sum, bytes), (next, more)| (checksum_combine(CrcAlgorithm::Crc64Xz, sum, next, more), bytes + more);
    Some(known.collect::<Option<Vec<_>>>()?.into_iter().reduce(joined)?.0)
}

/// About as much as is hashed at once, or the rest; nothing after the end.
async fn next_block(body: &mut StreamingBlob, tally: &mut Tally) -> S3Result<Vec<Bytes>> {
    let (mut block, mut length) = (vec![], 0);
    while length < BLOCK_BYTES {
        let Some(bytes) = body.next().await else { break };
        let bytes = bytes.map_err(|error| broken(error.as_ref()))?;
        tally.add(bytes.len());
        length += bytes.len();
        block.push(bytes);
    }
    Ok(block)
}

/// The errors of bodies are known by their text only.
fn broken(error: &(dyn std::error::Error + Send + Sync)) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let mut refusal = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
        refusal.set_message("The x-amz-content-sha256 does not match what was received");
        refusal.set_status_code(http::StatusCode::BAD_REQUEST);
        refusal
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "A chunk is not signed with the key")
    } else {
        s3_error!(IncompleteBody, "The body ended early or cannot be understood")
    }
}

/// What the file system would not do.
pub fn failed(error: io::Error) -> S3Error {
    tracing::error!("The simulated cloud cannot keep or read what it received: {error}");
    s3_error!(InternalError, "The simulated cloud cannot keep or read what it received")
}

/// Where a stretch of an object lies: files, and which bytes of them.
fn stretches(pieces: &[Piece], range: &Range<u64>) -> Option<Vec<(Arc<Kept>, Range<u64>)>> {
    let (mut begins, mut found) = (0, vec![]);
    for piece in pieces {
        let ends = begins + piece.bytes;
        let (from, to) = (range.start.max(begins), range.end.min(ends));
        if from < to {
            found.push((piece.kept.clone()?, from - begins..to - begins));
        }
        begins = ends;
    }
    Some(found)
}

/// Reads a stretch of an object; nothing where it was discarded.
pub fn read(pieces: &[Piece], range: &Range<u64>) -> Option<impl Stream<Item = io::Result<Bytes>> + Send + Sync + use<>> {
    let stretches = stretches(pieces, range)?;
    let blocks = stretches.into_iter().flat_map(|(kept, range)| {
        let ends = range.end;
        range.step_by(READ_BYTES as usize).map(move |start| (kept.clone(), start..ends.min(start + READ_BYTES)))
    });
    let blocks: Vec<_> = blocks.collect();
    Some(
        stream::iter(blocks)
            .map(|(kept, range)| async move {
                let read = tokio::task::spawn_blocking(move || {
                    let mut block = vec![0; (range.end - range.start) as usize];
                    File::open(&kept.path)?.read_exact_at(&mut block, range.start)?;
                    Ok(Bytes::from(block))
                });
                read.await.map_err(io::Error::other).flatten()
            })
            .buffered(2),
    )
}

/// The SHA-256 of an object; nothing where it was discarded. Reads all of it.
pub fn sha256_of(pieces: &[Piece]) -> io::Result<Option<[u8; 32]>> {
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES]);
    for piece in pieces {
        let Some(kept) = &piece.kept else { return Ok(None) };
        let file = File::open(&kept.path)?;
        let mut at = 0;
        while at < piece.bytes {
            let length = BLOCK_BYTES.min(usize::try_from(piece.bytes - at).unwrap_or(BLOCK_BYTES));
            file.read_exact_at(&mut block[..length], at)?;
            hasher.update(&block[..length]);
            at += length as u64;
        }
    }
    Ok(Some(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: u64) -> Piece {
        let kept = Kept { path: PathBuf::from("/nowhere") };
        Piece { bytes, kept: Some(Arc::new(kept)) }
    }

    #[test]
    fn a_stretch_is_found_in_its_pieces() {
        let pieces = [piece(10), piece(0), piece(5)];
        let found = |range: Range<u64>| {
            let found = stretches(&pieces, &range).unwrap();
            found.into_iter().map(|(_, range)| (range.start, range.end)).collect::<Vec<_>>()
        };
        assert_eq!(found(0..15), [(0, 10), (0, 5)]);
        assert_eq!(found(3..4), [(3, 4)]);
        assert_eq!(found(9..11), [(9, 10), (0, 1)]);
        assert_eq!(found(10..15), [(0, 5)]);
        assert_eq!(found(4..4), []);
        assert!(stretches(&[Piece::nowhere(3)], &(0..3)).is_none());
    }

    #[test]
    fn the_crc_of_parts_is_that_of_the_whole() {
        let of = |bytes: &[u8]| crc_fast::checksum(CrcAlgorithm::Crc64Xz, bytes);
        assert_eq!(of(b"123456789"), 0x995d_c9bb_df19_39fa, "the check value of its definition");
        let part = |bytes: &[u8]| Received {
            piece: Piece::nowhere(bytes.len() as u64),
            tag: [0; 16],
            sha256: None,
            crc64: Some(of(bytes)),
            sums: Checksum::default(),
        };
        let parts = [part(b"1234"), part(b""), part(b"56"), part(b"789")];
        assert_eq!(joined_crc64(&parts.iter().collect::<Vec<_>>()), Some(of(b"123456789")));
        let unknown = Received { crc64: None, ..part(b"56") };
        assert_eq!(joined_crc64(&[&parts[0], &unknown]), None);
    }
}
