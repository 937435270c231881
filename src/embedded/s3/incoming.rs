//! The body of a request into a file, hashed and checked on the way.
//!
//! Hashing and writing happen on threads that may block, a block at a time, while the next block is received: a slow
//! client holds no thread.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum, Md5};
use s3s::dto::{ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use tokio::task::JoinHandle;

use super::answers::failed;
use super::layout::NewFile;
use super::record::Checksums;

/// Written and hashed at once. Two of them are in memory for each upload.
const BLOCK_BYTES: usize = 256 * 1024;

/// What the client said about the bytes.
#[derive(Debug, Default)]
pub struct Said {
    pub bytes: Option<i64>,
    pub content_md5: Option<String>,
    pub checksums: Checksums,
    pub algorithm: Option<ChecksumAlgorithm>,
    /// Checksums that are known only at the end.
    pub trailers: Option<TrailingHeaders>,
    /// Whether one is promised there.
    pub trailer_promised: bool,
}

/// Bytes that are what the client said they are.
#[derive(Debug)]
pub struct Received {
    pub new: NewFile,
    pub file: File,
    pub bytes: u64,
    pub md5: [u8; 16],
    pub checksums: Checksums,
}

struct Sink {
    file: File,
    bytes: u64,
    md5: Md5,
    checksums: ChecksumHasher,
}

impl Sink {
    fn take(&mut self, block: &[Bytes]) -> io::Result<()> {
        for bytes in block {
            self.md5.update(bytes);
            self.checksums.update(bytes);
            self.file.write_all(bytes)?;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Receives the body into a new file in `folder`. Anything that is not as it was said is an error, and leaves nothing.
pub async fn receive(folder: &Path, mut body: StreamingBlob, said: Said) -> S3Result<Received> {
    let folder = folder.to_owned();
    let checksums = hasher(&said)?;
    let mut writing = tokio::task::spawn_blocking(move || {
        let (new, file) = NewFile::create(&folder)?;
        Ok((new, Sink { file, bytes: 0, md5: Md5::new(), checksums }))
    });
    loop {
        // Received while the block before is written.
        let block = next_block(&mut body).await;
        let (new, mut sink) = written(writing).await?;
        let Some(block) = block? else { return finish(new, sink, said) };
        if said.bytes.is_some_and(|said| sink.bytes > said.unsigned_abs()) {
            return Err(s3_error!(IncompleteBody, "There are more bytes than were announced"));
        }
        writing = tokio::task::spawn_blocking(move || {
            sink.take(&block)?;
            Ok((new, sink))
        });
    }
}

async fn written(writing: JoinHandle<io::Result<(NewFile, Sink)>>) -> S3Result<(NewFile, Sink)> {
    writing.await.map_err(io::Error::other).flatten().map_err(failed)
}

/// About as much as is written at once, or the rest; nothing after the end.
async fn next_block(body: &mut StreamingBlob) -> S3Result<Option<Vec<Bytes>>> {
    let (mut block, mut length) = (vec![], 0);
    while length < BLOCK_BYTES {
        match body.next().await {
            None => break,
            Some(bytes) => {
                let bytes = bytes.map_err(|error| broken(error.as_ref()))?;
                length += bytes.len();
                block.push(bytes);
            }
        }
    }
    Ok((!block.is_empty()).then_some(block))
}

/// The errors of bodies are known by their text only.
fn broken(error: &(dyn std::error::Error + Send + Sync)) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        s3_error!(BadDigest, "The x-amz-content-sha256 does not match what was received")
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "A chunk is not signed with the key")
    } else {
        s3_error!(IncompleteBody, "The body ended early or cannot be understood")
    }
}

fn hasher(said: &Said) -> S3Result<ChecksumHasher> {
    let asked = said.algorithm.as_ref().map(ChecksumAlgorithm::as_str);
    let known = [
        ChecksumAlgorithm::CRC32,
        ChecksumAlgorithm::CRC32C,
        ChecksumAlgorithm::CRC64NVME,
        ChecksumAlgorithm::SHA1,
        ChecksumAlgorithm::SHA256,
    ];
    if asked.is_some_and(|asked| !known.contains(&asked)) {
        return Err(s3_error!(NotImplemented, "The checksum algorithm is not known"));
    }
    let wanted = |algorithm: &str, value: &Option<String>| value.is_some() || asked == Some(algorithm);
    let sums = &said.checksums;
    Ok(ChecksumHasher {
        crc32: wanted(ChecksumAlgorithm::CRC32, &sums.crc32).then(Default::default),
        crc32c: wanted(ChecksumAlgorithm::CRC32C, &sums.crc32c).then(Default::default),
        crc64nvme: wanted(ChecksumAlgorithm::CRC64NVME, &sums.crc64nvme).then(Default::default),
        sha1: wanted(ChecksumAlgorithm::SHA1, &sums.sha1).then(Default::default),
        sha256: wanted(ChecksumAlgorithm::SHA256, &sums.sha256).then(Default::default),
    })
}

fn finish(new: NewFile, sink: Sink, said: Said) -> S3Result<Received> {
    let Sink { file, bytes, md5, checksums } = sink;
    if said.bytes.is_some_and(|said| said.unsigned_abs() != bytes) {
        return Err(s3_error!(IncompleteBody, "There are other bytes than were announced"));
    }
    let md5 = md5.finalize();
    if let Some(said) = &said.content_md5 {
        let said = STANDARD.decode(said).ok().filter(|said| said.len() == md5.len());
        let said = said.ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 is not one"))?;
        if said != md5 {
            return Err(s3_error!(BadDigest, "The Content-MD5 does not match what was received"));
        }
    }
    let found = Checksums::from(checksums.finalize());
    let said_later = said.trailers.as_ref().and_then(TrailingHeaders::take);
    if said.trailer_promised && said_later.is_none() {
        return Err(s3_error!(IncompleteBody, "The promised trailer is missing"));
    }
    for (found, before, name) in [
        (&found.crc32, said.checksums.crc32, "x-amz-checksum-crc32"),
        (&found.crc32c, said.checksums.crc32c, "x-amz-checksum-crc32c"),
        (&found.crc64nvme, said.checksums.crc64nvme, "x-amz-checksum-crc64nvme"),
        (&found.sha1, said.checksums.sha1, "x-amz-checksum-sha1"),
        (&found.sha256, said.checksums.sha256, "x-amz-checksum-sha256"),
    ] {
        let trailer =
            said_later.as_ref().and_then(|trailers| trailers.get(name)).map(|value| value.to_str().unwrap_or_default().to_owned());
        for said in before.iter().chain(&trailer) {
            if Some(said) != found.as_ref() {
                return Err(s3_error!(BadDigest, "The {name} does not match what was received"));
            }
        }
    }
    Ok(Received { new, file, bytes, md5, checksums: found })
}
