//! Bytes that are hashed as they pass.

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

pub struct Hashed<R> {
    inner: R,
    hash: Option<Sha256>,
}

impl<R: BufRead> Hashed<R> {
    /// `wanted`: without it the bytes only pass.
    pub fn new(inner: R, wanted: bool) -> Self {
        Self { inner, hash: wanted.then(Sha256::new) }
    }

    /// The SHA-256 of everything in hex, also of what nobody read.
    pub fn finish(mut self) -> io::Result<Option<String>> {
        if self.hash.is_some() {
            loop {
                let piece = self.fill_buf()?.len();
                if piece == 0 {
                    break;
                }
                self.consume(piece);
            }
        }
        Ok(self.hash.map(|hash| hex::encode(hash.finalize())))
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        if let (Some(hash), Ok(piece)) = (&mut self.hash, self.inner.fill_buf()) {
            hash.update(&piece[..len.min(piece.len())]);
        }
        self.inner.consume(len);
    }
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(into)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&into[..len]);
        }
        Ok(len)
    }
}
