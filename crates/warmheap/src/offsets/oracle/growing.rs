//! Blocks that grow, against the same naive books.

use super::{PageRun, Run, State, Stretch};

impl Run {
    /// The tail of a block, if there is any.
    pub(super) fn tail_of(&self, offset: u32) -> Option<Stretch> {
        let next = self.oracle.0.get(self.oracle.at(offset) + 1);
        next.filter(|next| next.state == State::Tail).copied()
    }

    /// A tail becomes an ordinary decommitted block again.
    pub(super) fn forsaken(&mut self, offset: u32) {
        if let Some(tail) = self.tail_of(offset) {
            self.oracle.turn(tail.offset, tail.len, State::Tail, State::Decommitted);
        }
    }

    /// Places a block with room behind it.
    pub(super) fn settle(&mut self) {
        let most = self.some_len();
        let longest = self.oracle.of(State::Decommitted).map(|gap| gap.len).max();
        let Some(room) = self.space.plan_tail(most, self.page) else {
            assert_eq!(longest, None, "no room was found");
            return;
        };
        self.check_page_run(room, State::Decommitted);
        assert_eq!(Some(room.len), longest.map(|gap| gap.min(most.next_multiple_of(self.page))));
        let len = self.rng.u32(1..=room.len / self.page) * self.page;
        let placed = self.space.place_with_tail(room, len);
        assert_eq!(placed.offset, room.offset);
        self.oracle.turn(room.offset, len, State::Decommitted, State::Used);
        if len < room.len {
            self.oracle.turn(room.offset + len, room.len - len, State::Decommitted, State::Tail);
        }
        self.held.push((placed.block, placed.offset));
    }

    /// Makes a block longer where it is, by whichever way there is.
    pub(super) fn extend(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (block, offset) = self.held[self.rng.usize(0..self.held.len())];
        let whole = self.oracle.0[self.oracle.at(offset)];
        let len = whole.len.saturating_add(self.some_len());
        if self.extend_into_free(block, whole, len) {
            return;
        }
        let tail = self.tail_of(offset);
        let Some(run) = self.space.plan_extension(block, len, self.page) else {
            if tail.is_some_and(|tail| tail.len < len - whole.len) {
                self.forsaken(offset);
            }
            assert_eq!(self.room_behind(whole, len), None, "{whole:?} has room for {len}");
            return;
        };
        if tail.is_some() && self.space.blocks.get(run.block).state == State::Decommitted {
            self.forsaken(offset);
        }
        assert_eq!(self.room_behind(whole, len), Some((run.offset, run.len)));
        if self.rng.bool() {
            return; // The device refused.
        }
        let into_tail = self.space.blocks.get(run.block).state == State::Tail;
        // A tail is for whole pages, and so is the block before it.
        let len = if into_tail { whole.len + run.len } else { len };
        assert!(self.space.extend_with(block, len, run), "{run:?} does not suffice for {len}");
        let place = self.oracle.at(offset);
        if let Some(tail) = tail.filter(|_| into_tail) {
            self.oracle.0.remove(place + 1);
            if run.len < tail.len {
                let rest = Stretch { offset: tail.offset + run.len, len: tail.len - run.len, ..tail };
                self.oracle.0.insert(place + 1, rest);
            }
            self.oracle.0[place].len = len;
        } else {
            self.oracle.turn(run.offset, run.len, State::Decommitted, State::Free);
            self.extended(offset, len);
        }
    }

    /// A block has taken what it lacked from the free block behind it.
    fn extended(&mut self, offset: u32, len: u32) {
        let place = self.oracle.at(offset);
        let whole = self.oracle.0[place];
        self.oracle.turn(whole.end(), len - whole.len, State::Free, State::Used);
        self.oracle.0.remove(place + 1);
        self.oracle.0[place].len = len;
    }

    fn extend_into_free(&mut self, block: u32, whole: Stretch, len: u32) -> bool {
        let place = self.oracle.at(whole.offset);
        let next = self.oracle.0.get(place + 1).copied();
        let have = next.filter(|next| next.state == State::Free).map_or(0, |next| next.len);
        let extended = self.space.extend(block, len);
        assert_eq!(extended, have >= len - whole.len, "{whole:?} with {next:?} to {len}");
        if extended {
            self.extended(whole.offset, len);
        }
        extended
    }

    /// The least memory to commit behind a block for it to have `len` granules, if there is room.
    fn room_behind(&self, whole: Stretch, len: u32) -> Option<(u32, u32)> {
        let mut behind = self.oracle.0[self.oracle.at(whole.offset) + 1..].iter();
        let mut next = *behind.next()?;
        let mut missing = len - whole.len;
        if next.state == State::Free {
            missing -= next.len;
            next = *behind.next()?;
        }
        let missing = missing.checked_next_multiple_of(self.page)?;
        let room = matches!(next.state, State::Decommitted | State::Tail) && next.len >= missing;
        room.then_some((next.offset, missing))
    }
}

#[test]
fn the_least_that_was_free_is_remembered() {
    let mut space = super::RangeAllocator::new();
    crate::offsets::segments::add(&mut space, 100, 0);
    space.commit(0, 0, 100);
    assert_eq!((space.take_least_free(), space.take_least_free()), (0, 100));
    let placed = space.allocate(70, 1).unwrap();
    space.release(placed.block);
    assert_eq!((space.take_least_free(), space.take_least_free()), (30, 100));
    let PageRun { block, offset, len } = space.plan_trim(60, 10, None).unwrap();
    space.decommit(block, offset, len);
    let placed = space.allocate(10, 1).unwrap();
    assert!(space.extend(placed.block, 25));
    assert_eq!(space.take_least_free(), 15);
}
