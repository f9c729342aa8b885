//! The biased lock in a process that enters a sandbox after it has used the lock. Each test runs a process
//! with a real seccomp filter.
#![allow(unsafe_code)]

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::Biased;

/// Makes the system calls fail with EPERM in all threads of the process, from now on.
fn refuse(calls: &[libc::c_long]) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FAIL: u32 = 0x0005_0000 | libc::EPERM as u32;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![step(LOAD, 0, 0, 0)];
    for call in calls {
        filter.push(step(JUMP_IF_EQUAL, 0, 1, *call as u32));
        filter.push(step(RETURN, 0, 0, FAIL));
    }
    filter.push(step(RETURN, 0, 0, ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives through the call and has the stated length.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let all_threads = libc::SECCOMP_FILTER_FLAG_TSYNC;
        assert_eq!(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, all_threads, &program), 0);
        assert_eq!(libc::syscall(libc::SYS_membarrier, 0, 0, 0), -1, "the filter works");
    }
}

/// Counts under one lock, as its owner and from another thread. The other thread enters a sandbox between
/// its counts.
fn count_across(calls: &[libc::c_long]) {
    const TAKES: u64 = 20_000;
    let lock = Arc::new(Biased::new(0_u64));
    let (done, running) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let owner = thread::spawn({
        let (lock, done, running) = (Arc::clone(&lock), Arc::clone(&done), Arc::clone(&running));
        move || {
            let mut owner = lock.adopt().expect("the lock has no owner");
            let mut entered = 0;
            while !done.load(Relaxed) {
                // SAFETY: this thread has adopted the lock, and is not inside.
                let fenced = || unsafe { lock.enter_fenced() };
                match lock.enter(&mut owner).or_else(fenced) {
                    Some(mut value) => *value += 1,
                    None => *lock.take() += 1,
                }
                entered += 1;
                running.store(true, Relaxed);
            }
            entered
        }
    });
    while !running.load(Relaxed) {
        thread::yield_now();
    }
    *lock.take() += 1;
    refuse(calls);
    for _ in 0..TAKES {
        *lock.take() += 1;
        // Waits long enough for the owner to be inside.
        (0..200).for_each(|_| std::hint::spin_loop());
    }
    done.store(true, Relaxed);
    let entered = owner.join().unwrap();
    assert_eq!(*lock.take(), entered + TAKES + 1, "two threads were inside at once");
}

/// Runs one of the programs below in its own process.
fn alone(program: &str) -> Output {
    let path = format!("sync::sandboxed::{program}");
    let arguments = ["--exact", &path, "--ignored", "--nocapture"];
    Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap()
}

#[test]
#[ignore = "enters a sandbox: a program for the tests below"]
fn membarrier_is_refused() {
    count_across(&[libc::SYS_membarrier]);
}

#[test]
#[ignore = "enters a sandbox: a program for the tests below"]
fn everything_is_refused() {
    count_across(&[libc::SYS_membarrier, libc::SYS_sched_setaffinity]);
}

#[test]
fn the_lock_excludes_though_membarrier_is_refused_later() {
    let output = alone("membarrier_is_refused");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{output:?}");
}

#[test]
fn the_process_ends_with_a_message_where_the_sandbox_refuses_all_fences() {
    use std::os::unix::process::ExitStatusExt;
    let output = alone("everything_is_refused");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("membarrier worked when the pool was made and is refused now, and sched_setaffinity"),
        "{words}"
    );
}
