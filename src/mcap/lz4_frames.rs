//! lz4 as its format has it: frames one after the other, and frames to be skipped. The decoder that we have
//! reads one frame, and no farther than to its end.
//!
//! What follows a frame and does not begin as one is not looked at: the chunk says how much it unpacks to.

use std::io::{self, Cursor, Read};

const MAGIC: u32 = 0x184D_2204;
/// The low half byte is free.
const SKIPPABLE: u32 = 0x184D_2A50;

type Frame<'a, R> = lz4::Decoder<io::Chain<Cursor<[u8; 4]>, &'a mut R>>;

/// What all frames unpack to.
pub struct Frames<'a, R> {
    state: State<'a, R>,
    /// A frame of eleven bytes that holds nothing costs as much as one of thousands.
    frames_left: &'a mut u64,
}

enum State<'a, R> {
    Between(&'a mut R),
    Within(Frame<'a, R>),
    Ended,
}

impl<'a, R: Read> Frames<'a, R> {
    pub fn new(packed: &'a mut R, frames_left: &'a mut u64) -> Self {
        Self { state: State::Between(packed), frames_left }
    }
}

impl<R: Read> Read for Frames<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(packed) => match next_frame(packed)? {
                    Some(frame) => {
                        *self.frames_left = self.frames_left.checked_sub(1).ok_or_else(|| io::Error::other("it has too many frames"))?;
                        State::Within(frame)
                    }
                    None => State::Ended,
                },
                State::Within(mut frame) => {
                    let read = frame.read(into)?;
                    if read > 0 {
                        self.state = State::Within(frame);
                        return Ok(read);
                    }
                    match frame.finish() {
                        (rest, Ok(())) => State::Between(rest.into_inner().1),
                        // Cut in its middle. What is missing is seen by its length.
                        (_, Err(_)) => State::Ended,
                    }
                }
            }
        }
    }
}

/// The next frame that holds something; nothing, where none begins.
fn next_frame<R: Read>(packed: &mut R) -> io::Result<Option<Frame<'_, R>>> {
    loop {
        let Some(first) = four(packed)? else { return Ok(None) };
        match u32::from_le_bytes(first) {
            MAGIC => return lz4::Decoder::new(Cursor::new(first).chain(packed)).map(Some),
            magic if magic & !0xf == SKIPPABLE => {
                let Some(len) = four(packed)?.map(u32::from_le_bytes) else { return Ok(None) };
                io::copy(&mut packed.by_ref().take(u64::from(len)), &mut io::sink())?;
            }
            _ => return Ok(None),
        }
    }
}

fn four(packed: &mut impl Read) -> io::Result<Option<[u8; 4]>> {
    let mut bytes = [0; 4];
    match packed.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
