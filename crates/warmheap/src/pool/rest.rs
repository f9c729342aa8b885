//! Heaps at rest: memory that no buffer lies in, left to the system until a request needs it.
//!
//! A heap at rest is in no slot. So nothing can be cut from it before it is claimed back, and
//! requests that find room elsewhere pay nothing for the possibility. The ladder claims heaps back
//! before it grows, and gives up what is unused when the device is short. Only the thread that
//! climbs moves heaps; the list's lock is never held while the device is called.
#![forbid(unsafe_code)]

use super::heap::Heap;
use super::heaps::Want;
use super::lock;
use super::notes::Note;
use super::shared::Shared;
use crate::device::{Contents, DeviceError};

impl Shared {
    /// Puts every heap that nobody uses to rest, where the device can. Answers the bytes put to rest.
    pub(crate) fn rest(&self) -> Result<u64, DeviceError> {
        let _climbing = self.climb_alone("Pool::rest")?;
        self.flush_caches();
        let mut bytes = 0;
        for slot in self.heaps.slots() {
            let unused = |heap: &Heap| !heap.elastic && heap.space.used_blocks() == 0;
            let Some(heap) = slot.with(|open| open.remove_if(unused)) else { continue };
            match self.driver.set_volatile(&*heap.memory, true) {
                Ok(_) => {
                    bytes += heap.held(self.shift);
                    lock(&self.resting).push(heap);
                }
                Err(error) => {
                    self.install(heap);
                    return if matches!(error, DeviceError::Unsupported { .. }) {
                        Ok(bytes)
                    } else {
                        Err(error)
                    };
                }
            }
        }
        Ok(bytes)
    }

    /// Claims back the smallest heap at rest that is long enough; `false` if there is none. The
    /// caller climbs.
    pub(crate) fn wake(&self, want: Want) -> bool {
        while let Some(heap) = self.take_resting(want) {
            match self.driver.set_volatile(&*heap.memory, false) {
                Ok(contents) => {
                    self.notes.add(Note::WokeUp { lost: contents == Contents::Lost });
                    return self.install(heap).is_some();
                }
                Err(error) => {
                    self.notes.add(Note::CouldNotWake(error));
                    self.destroy(heap);
                }
            }
        }
        false
    }

    fn take_resting(&self, want: Want) -> Option<Heap> {
        let mut resting = lock(&self.resting);
        let lengths = (0..).zip(resting.iter().map(|heap| heap.space.free_len()));
        let (_, place) =
            lengths.filter(|(_, len)| *len >= want.len).map(|(place, len)| (len, place)).min()?;
        Some(resting.swap_remove(place))
    }

    /// Gives the device back what nobody uses, because a call failed with `error`. `Ok` if the call
    /// is worth another try: it failed for want of bytes or objects, and there was something to
    /// give. The caller climbs.
    pub(crate) fn make_way(&self, error: DeviceError) -> Result<(), DeviceError> {
        let short = matches!(
            error,
            DeviceError::OutOfMemory { .. }
                | DeviceError::TooManyObjects { .. }
                | DeviceError::PastLimit { .. }
        );
        if !short {
            return Err(error);
        }
        let before = self.driver.account().returns();
        self.drop_resting();
        // What was given back before a failure counts.
        let _ = self.give_back(0);
        if self.driver.account().returns() != before { Ok(()) } else { Err(error) }
    }

    /// Destroys all heaps at rest.
    pub(crate) fn drop_resting(&self) {
        let resting = std::mem::take(&mut *lock(&self.resting));
        resting.into_iter().for_each(|heap| _ = self.destroy(heap));
    }
}
