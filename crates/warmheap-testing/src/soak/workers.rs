//! Workers. Each is a player, which one thread after another plays.
//!
//! In half of the rounds threads end in the middle of play. Another thread takes the worker over, with all
//! that it holds, while its predecessor is still ending. A destructor of the predecessor's thread-locals
//! frees a buffer.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, Scope, ScopedJoinHandle};

use fastrand::Rng;
use warmheap_trace::Program;

use super::figures::count;
use super::finding::Finding;
use super::parts::held::Held;
use super::player::Player;
use super::round::Round;

/// The operations of all threads together in a leg.
const LEG: usize = 24_000;
/// The most legs in a round.
const LEGS: u32 = 24;
/// The operations of a thread between two signs of life.
const BEAT: usize = 500;
/// The beats of the leg in which the pool closes.
const LAST: u32 = 4;
/// The most beats of a thread's life where threads are replaced.
const LIFE: u32 = 40;

/// The state that all workers share.
struct Crew<'a> {
    round: &'a Arc<Round>,
    barrier: Barrier,
    legs: u32,
    beats: usize,
    /// Whether threads end in the middle of play.
    mortal: bool,
    /// The worker that closes the pool in a leg of its own after all others; `None` if the pool does not
    /// close in the middle of play.
    closer: Option<usize>,
    /// Whether no leg follows but the one in which the pool closes.
    over: AtomicBool,
    /// The beat of that leg before which the pool closes.
    fuse: u32,
    alive: &'a (dyn Fn() -> bool + Sync),
}

/// A player, with its progress.
struct Worker<'a> {
    number: usize,
    player: Player<'a>,
    rng: Rng,
    leg: u32,
    beat: usize,
}

/// The handle of a thread. The last thread of a worker returns what the worker holds.
type Ended<'scope> = ScopedJoinHandle<'scope, Vec<Held>>;

/// Plays a round with its threads, and returns what they hold at the end.
pub(super) fn play(
    round: &Arc<Round>,
    programs: &[Program],
    rng: &mut Rng,
    alive: &(dyn Fn() -> bool + Sync),
) -> Vec<Held> {
    let crew = Crew {
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
            let worker = Worker { number, player, rng: rng.fork(), leg: 1, beat: 0 };
            take(scope, &crew, worker, sender.clone());
        }
        drop(sender);
        // Joining waits for the destructors of thread-locals, too.
        ended.into_iter().flat_map(|thread: Ended<'_>| thread.join().unwrap_or_default()).collect()
    })
}

/// Starts a new thread, which takes a worker over.
fn take<'scope>(
    scope: &'scope Scope<'scope, '_>,
    crew: &'scope Crew<'_>,
    mut worker: Worker<'scope>,
    ended: Sender<Ended<'scope>>,
) {
    let next = ended.clone();
    let thread = scope.spawn(move || {
        if worker.live(crew) {
            return worker.player.end();
        }
        leave_something(crew.round, &mut worker.player);
        count(&crew.round.figures.threads_replaced);
        take(scope, crew, worker, next);
        Vec::new()
    });
    // The receiver is there until every sender is gone.
    let _ = ended.send(thread);
}

impl Worker<'_> {
    /// Plays until the round or the thread's life is over. Returns whether the round is.
    fn live(&mut self, crew: &Crew<'_>) -> bool {
        let mut life = if crew.mortal { self.rng.u32(1..=LIFE) } else { u32::MAX };
        loop {
            while self.beat < crew.beats && !crew.round.is_broken() {
                if life == 0 {
                    return false;
                }
                life -= 1;
                self.beat += 1;
                self.beat(crew);
            }
            if self.stop(crew) {
                break;
            }
        }
        if let Some(closer) = crew.closer {
            self.close(crew, closer == self.number);
        }
        self.player.let_go();
        true
    }

    /// Waits for the others at the end of a leg. Returns whether the leg was the last.
    fn stop(&mut self, crew: &Crew<'_>) -> bool {
        let Crew { round, over, .. } = crew;
        let last = self.leg == crew.legs;
        self.stand_still(crew, |rng| {
            let stop = last || !(crew.alive)();
            over.store(stop, Relaxed);
            round.compare(stop, rng)
        });
        self.leg += 1;
        self.beat = 0;
        over.load(Relaxed)
    }

    /// Plays for one beat, and gives a sign of life.
    fn beat(&mut self, crew: &Crew<'_>) {
        crew.round.note(|| {
            self.player.play(BEAT)?;
            (crew.alive)();
            Ok(())
        });
    }

    /// Pins what may move and waits for all other threads. One of them compares.
    fn stand_still(&mut self, crew: &Crew<'_>, compare: impl FnOnce(&mut Rng) -> Result<(), Finding>) {
        let Crew { round, barrier, over, .. } = crew;
        let mut views = Vec::new();
        round.note(|| self.player.look_around().map(|found| views = found));
        if barrier.wait().is_leader() {
            round.note(|| compare(&mut self.rng));
            // Set before any thread goes on, so that all agree.
            over.fetch_or(round.is_broken(), Relaxed);
        }
        barrier.wait();
        round.note(|| {
            drop(views);
            Ok(())
        });
    }

    /// Plays the leg in which the pool closes.
    fn close(&mut self, crew: &Crew<'_>, closes: bool) {
        let Crew { round, fuse, .. } = crew;
        for beat in (0..LAST).take_while(|_| !round.is_broken()) {
            if closes && beat == *fuse {
                round.close();
                count(&round.figures.closed_in_play);
            }
            self.beat(crew);
        }
        self.stand_still(crew, |rng| round.compare(true, rng));
    }
}

/// A buffer that the destructor of a thread-local frees. What the pool keeps for the thread may be gone by
/// then.
struct Leftover {
    round: Arc<Round>,
    held: Option<Held>,
}

thread_local! {
    static LEFTOVERS: RefCell<Vec<Leftover>> = const { RefCell::new(Vec::new()) };
}

/// Leaves some buffer of the player to the end of this thread.
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
