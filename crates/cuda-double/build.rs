//! Gives the shared library the driver's name, so that a loader asked for the driver after the
//! double was loaded finds the double. Only on Linux, where the tests that need it run.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
