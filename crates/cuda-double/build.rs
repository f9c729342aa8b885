//! Gives the shared library the driver's name. If a program then loads the driver, the loader finds the
//! double that is loaded already. Only tests on Linux need this.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
