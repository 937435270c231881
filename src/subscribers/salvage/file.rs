//! The file: read twice from the object, written once.
//!
//! Bytes go from the thread that salvages to the upload by a channel with room for a few; who of both is slower holds the other back. The upload
//! ends with a mark that comes when the whole file is known to be the one of its name, and its parent still the object that was read. Without the mark
//! the upload gives its parts up, whatever became of the one who wanted it.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::io::StreamReader;

use crate::blobs::{BlobError, Blobs, ObjectFacts, ObjectKey, PutFacts};
use crate::domain::episode::SalvageFault;
use crate::domain::salvage::Salvaged;
use crate::mcap::ReadSummaryError;
use crate::mcap::salvage::{Known, SalvageError, known, salvage_passing};
use crate::projections::rows::production::EpisodeRow;
use crate::qa::{Objects, key_of};

/// Bytes that are handed to the upload at once, and how many such pieces wait for it.
const PIECE_BYTES: usize = 1 << 20;
const PIECES_WAITING: usize = 4;

/// What came of it.
pub enum Made {
    File { key: ObjectKey, salvaged: Box<Salvaged> },
    Nothing { fault: SalvageFault, text: String },
}

/// Why there is no end yet.
pub enum Stopped {
    Storage(BlobError),
    /// Another try may have another outcome.
    Again(String),
}

impl From<BlobError> for Stopped {
    fn from(error: BlobError) -> Self {
        Self::Storage(error)
    }
}

fn nothing(fault: SalvageFault, text: impl Into<String>) -> Result<Made, Stopped> {
    Ok(Made::Nothing { fault, text: text.into() })
}

/// What is good of the recording of this episode, as an object of its own.
pub async fn make(blobs: &Blobs, episode: &EpisodeRow) -> Result<Made, Stopped> {
    let (key, size, checksum) = (key_of(&episode.mcap_path)?, episode.file_size_bytes.0, &episode.checksum);
    let head = match blobs.head(&key).await {
        Err(BlobError::NotFound(_)) => return nothing(SalvageFault::ObjectGone, format!("there is no object `{key}`")),
        head => head?,
    };
    if head.size != size {
        let text = format!("the recording had {size} bytes, and the object `{key}` has {}", head.size);
        return nothing(SalvageFault::OtherObject, text);
    }
    let parent = Parent { blobs, key: &key, head: &head };
    let known = Arc::new(parent.known().await?);
    let expected = parent.salvage(known.clone(), io::sink()).await??;
    if !expected.parent_sha256.eq_ignore_ascii_case(checksum) {
        let text = format!("the recording had the SHA-256 {checksum}, and the object `{key}` has {}", expected.parent_sha256);
        return nothing(SalvageFault::OtherObject, text);
    }
    if expected.messages_kept == 0 {
        let first = expected.missing.items.first().map(|missing| missing.text.as_str());
        let first = first.or_else(|| expected.left_out.items.first().map(|left_out| left_out.why.as_str()));
        return nothing(SalvageFault::NothingKept, format!("not one message can be kept: {}", first.unwrap_or("there is none")));
    }
    let key = ObjectKey::salvaged(&expected.sha256).map_err(|error| Stopped::Again(error.to_string()))?;
    parent.write(known, &expected, &key).await?;
    Ok(Made::File { key, salvaged: Box::new(expected) })
}

/// One version of the object that is salvaged.
struct Parent<'a> {
    blobs: &'a Blobs,
    key: &'a ObjectKey,
    head: &'a ObjectFacts,
}

impl Parent<'_> {
    async fn known(&self) -> Result<Known, Stopped> {
        let reader = Objects { blobs: self.blobs, key: self.key, etag: &self.head.etag };
        known(&reader, self.head.size).await.map_err(|error| match error {
            ReadSummaryError::Read(error) => Stopped::Storage(error),
            other => Stopped::Again(other.to_string()),
        })
    }

    /// The outer error is that of the store.
    async fn salvage(&self, known: Arc<Known>, into: impl Write + Send + 'static) -> Result<Result<Salvaged, SalvageError>, Stopped> {
        let salvaged = salvage_passing(self.blobs.pieces(self.key, self.head), known, into).await?;
        self.blobs.is_still(self.key, self.head).await?;
        Ok(salvaged)
    }

    async fn write(&self, known: Arc<Known>, expected: &Salvaged, key: &ObjectKey) -> Result<(), Stopped> {
        let (waiting, upload) = begin(self.blobs, key, expected);
        let into = Waiting { pieces: waiting.clone(), piece: BytesMut::new() };
        let salvaged = self.salvage(known, into).await;
        let is_expected = matches!(&salvaged, Ok(Ok(salvaged)) if salvaged == expected);
        if is_expected {
            // An upload that has failed says why below.
            let _ = waiting.send(Piece::End).await;
        }
        drop(waiting);
        let uploaded = upload.await.map_err(|error| Stopped::Again(error.to_string()))?;
        match (salvaged?, uploaded) {
            // What could not be written is what the upload says.
            (Ok(_) | Err(SalvageError::Write(_)), Err(error)) if is_expected || !is_unfinished(&error) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Ok(())) if is_expected => Ok(self.blobs.make_durable(key).await?),
            (Ok(_), _) => Err(Stopped::Again(format!("read twice, `{}` gave two files", self.key))),
        }
    }
}

impl From<SalvageError> for Stopped {
    fn from(error: SalvageError) -> Self {
        Self::Again(crate::telemetry::chain(&error))
    }
}

enum Piece {
    Bytes(Bytes),
    /// All of it was handed in, and it is what it has to be.
    End,
}

/// Uploads what comes, on a task of its own: it gives its parts up even where nobody waits for it any more.
fn begin(blobs: &Blobs, key: &ObjectKey, expected: &Salvaged) -> (mpsc::Sender<Piece>, JoinHandle<Result<(), BlobError>>) {
    let (to_upload, pieces) = mpsc::channel(PIECES_WAITING);
    let about = PutFacts {
        content_type: Some("application/octet-stream".to_owned()),
        metadata: vec![("checksum-sha256".to_owned(), expected.sha256.clone())],
    };
    let (blobs, key) = (blobs.clone(), key.clone());
    let upload = tokio::spawn(async move {
        let bytes = stream::unfold(pieces, |mut pieces: mpsc::Receiver<Piece>| async move {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => Some((Ok(bytes), pieces)),
                Some(Piece::End) => None,
                None => Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), pieces)),
            }
        });
        blobs.put_from(&key, StreamReader::new(Box::pin(bytes)), &about).await.map(drop)
    });
    (to_upload, upload)
}

/// It was given up, and not by the store.
fn is_unfinished(error: &BlobError) -> bool {
    let BlobError::Unavailable(cause) = error else { return false };
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Hands what is written to the upload.
struct Waiting {
    pieces: mpsc::Sender<Piece>,
    piece: BytesMut,
}

impl Waiting {
    fn hand_over(&mut self) -> io::Result<()> {
        let piece = self.piece.split().freeze();
        self.pieces.blocking_send(Piece::Bytes(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_over() }
    }
}
