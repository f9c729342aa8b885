//! A program that unloads the shared library while a pool's own thread runs in it.
#![cfg(target_os = "linux")]

use std::ffi::{c_char, c_int};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use libloading::Library;

type Open = unsafe extern "C" fn(*const c_char, *const c_char, *mut u64) -> c_int;

fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let mut places = program.ancestors().skip(1).take(2).map(|folder| folder.join("libwarmheap_c.so"));
    places.find(|path| path.exists()).expect("the shared library is built with this crate")
}

#[test]
fn unloading_the_library_leaves_the_pools_thread_its_code() {
    const SETTINGS: &[u8] = b"metal_optimizations: {memory_pool: {trim_after_ms: 12}}\0";
    // The thread ends, so that none of its destructors keeps the library.
    let used = thread::spawn(|| {
        // SAFETY: this is our own library, the function has this type in it, and the texts end with zero
        // bytes.
        unsafe {
            let library = Library::new(library()).unwrap();
            let mut pool = 0;
            let open = library.get::<Open>(b"wh_pool_open").unwrap();
            assert_eq!(open(c"host".as_ptr(), SETTINGS.as_ptr().cast(), &mut pool), 0);
            library
        }
    });
    let library = used.join().unwrap();
    library.close().unwrap();
    // The pool's thread takes a sample every millisecond.
    thread::sleep(Duration::from_millis(100));
}
