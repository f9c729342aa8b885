//! The call sites and tags that a thread has named lately, so that a request need not look them up in the
//! tables of the process. The texts are compared, because a program may reuse the memory of a name.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::thread::LocalKey;

use warmheap::{CallSite, Tag};

/// The names that a thread remembers of each kind.
const PLACES: usize = 16;

/// A name, and what it stands for.
#[derive(Clone, Copy)]
struct Seen<T> {
    text: &'static str,
    line: u32,
    value: T,
}

type Lately<T> = [Cell<Option<Seen<T>>>; PLACES];

// These have no destructor, so they are there until the thread is gone.
thread_local! {
    static SITES: Lately<CallSite> = const { [const { Cell::new(None) }; PLACES] };
    static TAGS: Lately<Tag> = const { [const { Cell::new(None) }; PLACES] };
}

/// Returns the call site of a line of C.
pub(super) fn site(file: &str, line: u32) -> CallSite {
    remembered(&SITES, file, line, || {
        let site = CallSite::foreign(file, line);
        (site, site.file())
    })
}

/// Returns the tag of this name.
pub(super) fn tag(name: &str) -> Tag {
    remembered(&TAGS, name, 0, || {
        let tag = Tag::new(name);
        (tag, tag.name())
    })
}

fn remembered<T: Copy>(
    lately: &'static LocalKey<Lately<T>>,
    text: &str,
    line: u32,
    look_up: impl FnOnce() -> (T, &'static str),
) -> T {
    // A name's length and its line tell most names of a program apart.
    let place = (text.len() + line as usize) % PLACES;
    lately.with(|lately| match lately[place].get() {
        Some(seen) if seen.line == line && seen.text == text => seen.value,
        _ => {
            let (value, text) = look_up();
            lately[place].set(Some(Seen { text, line, value }));
            value
        }
    })
}
