//! Memory for what is on its way: of all uploads of this process together, so that recordings and parts at once are chosen by the line, and memory
//! by the machine.
//!
//! A buffer is read into again. New ones of some mebibytes for each part would be kept by the allocator, several for each that is in use, and the kernel
//! would clear each of their pages.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// In which room is counted, so that a semaphore can.
const UNIT: u64 = 1024;

#[derive(Clone)]
pub struct Room(Arc<Shared>);

struct Shared {
    units: u32,
    free: Arc<Semaphore>,
    /// Buffers that nobody has. With those that are in use they are never more than there is room for.
    kept: Mutex<Vec<Vec<u8>>>,
}

/// Room that was given, with a buffer that may have any content.
pub struct Place {
    pub buffer: Vec<u8>,
    room: Arc<Shared>,
    _held: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub fn of(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let free = Arc::new(Semaphore::new(units as usize));
        Self(Arc::new(Shared { units, free, kept: Mutex::default() }))
    }

    /// Waits until there is room for so many bytes. What is larger than all of it is alone.
    pub async fn take(&self, bytes: u64) -> Place {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.0.units);
        // It is never closed.
        let held = self.0.free.clone().acquire_many_owned(units).await.ok();
        Place { buffer: self.0.kept_for(bytes), room: self.0.clone(), _held: held }
    }
}

impl Shared {
    /// One that fits, or a new one, and then others go where they would be too many.
    fn kept_for(&self, bytes: u64) -> Vec<u8> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (bytes..=bytes + bytes / 4).contains(&(buffer.capacity() as u64));
        if let Some(at) = kept.iter().position(fits) {
            return kept.swap_remove(at);
        }
        let unused = self.free.available_permits() as u64 * UNIT;
        while kept.iter().map(|buffer| buffer.capacity() as u64).sum::<u64>() > unused {
            kept.pop();
        }
        Vec::new()
    }
}

impl Place {
    /// The content that was read into it, which holds the room until nobody has it any more.
    pub fn filled(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Place {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let fits = buffer.capacity() as u64 <= u64::from(self.room.units) * UNIT;
        if buffer.capacity() > 0 && fits {
            self.room.kept.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_on_its_way_never_takes_more_than_there_is_room_for() {
        let room = Room::of(10 * UNIT);
        let (one, other) = (room.take(4 * UNIT).await.filled(), room.take(6 * UNIT).await);
        assert!(tokio::time::timeout(Duration::from_millis(50), room.take(1)).await.is_err());
        drop(one);
        assert_eq!(room.take(4 * UNIT).await.buffer.capacity(), 0, "it was never read into");
        drop(other);
        // More than there ever is has to wait for all, and not for ever.
        drop(room.take(100 * UNIT).await);
    }

    #[tokio::test]
    async fn a_buffer_is_read_into_again_and_goes_where_another_size_is_wanted() {
        let room = Room::of(10 * UNIT);
        let mut place = room.take(8 * UNIT).await;
        place.buffer.resize(8 * UNIT as usize, 1);
        let at = place.buffer.as_ptr();
        drop(place.filled());
        let place = room.take(8 * UNIT).await;
        assert_eq!(place.buffer.as_ptr(), at);
        drop(place);
        let _smaller = room.take(4 * UNIT).await;
        assert_eq!(room.0.kept.lock().unwrap().len(), 0, "with the smaller one it would be more than ten");
    }
}
