//! Seats: where players play, one thread after the other.
//!
//! In half of the rounds threads end in the middle of play. Another takes the seat, with all that its
//! predecessor held, while that one still ends: some of what it held goes with its last breath.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, Scope, ScopedJoinHandle};

use fastrand::Rng;
use warmheap_trace::Program;

use super::figures::count;
use super::finding::Finding;
use super::held::Held;
use super::player::Player;
use super::round::Round;

/// Operations of all threads together in a leg, and the most legs in a round.
const LEG: usize = 60_000;
const LEGS: u32 = 12;
/// Operations of a thread between two signs of life.
const BEAT: usize = 500;
/// Beats of the leg in which the pool closes.
const LAST: u32 = 4;
/// The most beats that a thread lives where threads are replaced.
const LIFE: u32 = 40;

/// What all seats share.
struct Table<'a> {
    round: &'a Arc<Round>,
    barrier: Barrier,
    legs: u32,
    beats: usize,
    /// Threads end in the middle of play.
    mortal: bool,
    /// The seat at which the pool is closed in a leg of its own after all others, if that is so.
    closer: Option<usize>,
    /// The next leg is the last: of all, or the one in which the pool closes.
    over: AtomicBool,
    /// The beat of that leg before which it closes.
    fuse: u32,
    alive: &'a (dyn Fn() -> bool + Sync),
}

/// A player's place, and how far it has played.
struct Seat<'a> {
    number: usize,
    player: Player<'a>,
    rng: Rng,
    leg: u32,
    beat: usize,
}

/// What threads bring back: what they held, if they were the last at their seats.
type Ended<'scope> = ScopedJoinHandle<'scope, Vec<Held>>;

/// Plays a round with its threads, and returns what they hold at the end.
pub(super) fn play(
    round: &Arc<Round>,
    programs: &[Program],
    rng: &mut Rng,
    alive: &(dyn Fn() -> bool + Sync),
) -> Vec<Held> {
    let table = Table {
        round,
        barrier: Barrier::new(round.threads),
        legs: rng.u32(1..=LEGS),
        beats: (LEG / round.threads / BEAT).max(1),
        mortal: rng.bool(),
        closer: rng.bool().then(|| rng.usize(..round.threads)),
        over: AtomicBool::new(false),
        fuse: rng.u32(..LAST),
        alive,
    };
    thread::scope(|scope| {
        let (sender, ended) = channel();
        for number in 0..round.threads {
            let player = Player::new(round, &programs[number % programs.len()], rng.fork());
            let seat = Seat { number, player, rng: rng.fork(), leg: 1, beat: 0 };
            take(scope, &table, seat, sender.clone());
        }
        drop(sender);
        // All of them: what a thread frees at its very end is freed when it is joined.
        ended.into_iter().flat_map(|thread: Ended<'_>| thread.join().unwrap_or_default()).collect()
    })
}

/// A new thread takes the seat.
fn take<'scope>(
    scope: &'scope Scope<'scope, '_>,
    table: &'scope Table<'_>,
    mut seat: Seat<'scope>,
    ended: Sender<Ended<'scope>>,
) {
    let next = ended.clone();
    let thread = scope.spawn(move || {
        if seat.live(table) {
            return seat.player.end();
        }
        leave_something(table.round, &mut seat.player);
        count(&table.round.figures.threads_replaced);
        take(scope, table, seat, next);
        Vec::new()
    });
    // The receiver waits for all of these.
    let _ = ended.send(thread);
}

impl Seat<'_> {
    /// Plays until the round is over, which `true` says, or the thread's life is.
    fn live(&mut self, table: &Table<'_>) -> bool {
        let mut life = if table.mortal { self.rng.u32(1..=LIFE) } else { u32::MAX };
        loop {
            while self.beat < table.beats && !table.round.is_broken() {
                if life == 0 {
                    return false;
                }
                life -= 1;
                self.beat += 1;
                self.beat(table);
            }
            if self.stop(table) {
                break;
            }
        }
        if let Some(closer) = table.closer {
            self.close(table, closer == self.number);
        }
        self.player.let_go();
        true
    }

    /// Stands still with the others at the end of a leg; whether it was the last.
    fn stop(&mut self, table: &Table<'_>) -> bool {
        let Table { round, over, .. } = table;
        let last = self.leg == table.legs;
        self.stand_still(table, |rng| {
            let stop = last || !(table.alive)();
            over.store(stop, Relaxed);
            round.compare(stop, rng)
        });
        self.leg += 1;
        self.beat = 0;
        over.load(Relaxed)
    }

    /// Plays for a while, and gives a sign of life.
    fn beat(&mut self, table: &Table<'_>) {
        table.round.note(|| {
            self.player.play(BEAT)?;
            (table.alive)();
            Ok(())
        });
    }

    /// Pins what may move, and while all threads do so has one of them compare.
    fn stand_still(&mut self, table: &Table<'_>, compare: impl FnOnce(&mut Rng) -> Result<(), Finding>) {
        let Table { round, barrier, over, .. } = table;
        let mut sights = Vec::new();
        round.note(|| self.player.look_around().map(|found| sights = found));
        if barrier.wait().is_leader() {
            round.note(|| compare(&mut self.rng));
            // Said before any goes on, so that all agree.
            over.fetch_or(round.is_broken(), Relaxed);
        }
        barrier.wait();
        round.note(|| {
            drop(sights);
            Ok(())
        });
    }

    /// The leg in which the pool closes.
    fn close(&mut self, table: &Table<'_>, closes: bool) {
        let Table { round, fuse, .. } = table;
        for beat in 0..LAST {
            if closes && beat == *fuse {
                round.close();
                count(&round.figures.closed_in_play);
            }
            self.beat(table);
        }
        self.stand_still(table, |rng| round.compare(true, rng));
    }
}

/// What a thread frees at its very end, when what the pool keeps for it may be gone already.
struct Leftover {
    round: Arc<Round>,
    held: Option<Held>,
}

thread_local! {
    static LEFTOVERS: RefCell<Vec<Leftover>> = const { RefCell::new(Vec::new()) };
}

/// Leaves some buffer of the player's to this thread's end.
fn leave_something(round: &Arc<Round>, player: &mut Player<'_>) {
    if let Some(held) = player.give_one() {
        round.leaving.fetch_add(1, Relaxed);
        let leftover = Leftover { round: Arc::clone(round), held: Some(held) };
        LEFTOVERS.with_borrow_mut(|leftovers| leftovers.push(leftover));
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let held = self.held.take();
        self.round.note(|| held.map_or(Ok(()), |held| held.free(&self.round.oracle)));
        self.round.leaving.fetch_sub(1, Release);
    }
}

impl Round {
    /// Waits until threads that have ended are gone, with what they free at their very end.
    pub(super) fn wait_for_leftovers(&self) {
        while self.leaving.load(Acquire) > 0 {
            thread::yield_now();
        }
    }
}
