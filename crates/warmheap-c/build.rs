//! Linker options of the shared library.

/// The major version of the interface, `WH_VERSION_MAJOR`. A test compares the two.
const MAJOR: &str = "0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => {
            // The library stays loaded after a program unloads it. A pool's own thread may still be running in
            // it, and destructors of thread locals stay behind.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
            // Programs that were linked with one major version never load another.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwarmheap_c.so.{MAJOR}");
        }
        Ok("macos") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libwarmheap_c.{MAJOR}.dylib");
        }
        _ => {}
    }
}
