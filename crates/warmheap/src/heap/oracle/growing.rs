//! Blocks that grow, against the same naive books.

use super::{Run, Span, State, Stretch};

impl Run {
    /// The kept space behind a block, if there is any.
    pub(super) fn kept_behind(&self, offset: u32) -> Option<Stretch> {
        let next = self.oracle.0.get(self.oracle.at(offset) + 1);
        next.filter(|next| next.state == State::Kept).copied()
    }

    /// What was kept for a block is a void again.
    pub(super) fn forsaken(&mut self, offset: u32) {
        if let Some(kept) = self.kept_behind(offset) {
            self.oracle.turn(kept.offset, kept.len, State::Kept, State::Void);
        }
    }

    /// Places a block with room behind it.
    pub(super) fn settle(&mut self) {
        let most = self.some_len();
        let longest = self.oracle.of(State::Void).map(|void| void.len).max();
        let Some(room) = self.space.plan_room(most, self.page) else {
            assert_eq!(longest, None, "no room was found");
            return;
        };
        self.check_page_span(room, State::Void);
        assert_eq!(Some(room.len), longest.map(|void| void.min(most.next_multiple_of(self.page))));
        let len = self.rng.u32(1..=room.len / self.page) * self.page;
        let placed = self.space.settle_in(room, len);
        assert_eq!(placed.offset, room.offset);
        self.oracle.turn(room.offset, len, State::Void, State::Used);
        if len < room.len {
            self.oracle.turn(room.offset + len, room.len - len, State::Void, State::Kept);
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
        let kept = self.kept_behind(offset);
        let Some(span) = self.space.plan_extension(block, len, self.page) else {
            if kept.is_some_and(|kept| kept.len < len - whole.len) {
                self.forsaken(offset);
            }
            assert_eq!(self.room_behind(whole, len), None, "{whole:?} has room for {len}");
            return;
        };
        if kept.is_some() && self.space.blocks.get(span.block).state == State::Void {
            self.forsaken(offset);
        }
        assert_eq!(self.room_behind(whole, len), Some((span.offset, span.len)));
        if self.rng.bool() {
            return; // The device refused.
        }
        let into_kept = self.space.blocks.get(span.block).state == State::Kept;
        // Kept space is for whole pages, and so is the block before it.
        let len = if into_kept { whole.len + span.len } else { len };
        assert!(self.space.extend_with(block, len, span), "{span:?} does not suffice for {len}");
        let place = self.oracle.at(offset);
        if let Some(kept) = kept.filter(|_| into_kept) {
            self.oracle.0.remove(place + 1);
            if span.len < kept.len {
                let rest = Stretch { offset: kept.offset + span.len, len: kept.len - span.len, ..kept };
                self.oracle.0.insert(place + 1, rest);
            }
            self.oracle.0[place].len = len;
        } else {
            self.oracle.turn(span.offset, span.len, State::Void, State::Free);
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
        let room = matches!(next.state, State::Void | State::Kept) && next.len >= missing;
        room.then_some((next.offset, missing))
    }
}

#[test]
fn the_least_that_was_free_is_remembered() {
    let mut space = super::Space::new(100);
    space.commit(0, 0, 100);
    assert_eq!((space.take_least_free(), space.take_least_free()), (0, 100));
    let placed = space.allocate(70, 1).unwrap();
    space.release(placed.block);
    assert_eq!((space.take_least_free(), space.take_least_free()), (30, 100));
    let Span { block, offset, len } = space.plan_trim(60, 10, None).unwrap();
    space.decommit(block, offset, len);
    let placed = space.allocate(10, 1).unwrap();
    assert!(space.extend(placed.block, 25));
    assert_eq!(space.take_least_free(), 15);
}
