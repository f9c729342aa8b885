//! Gives the shared library the driver's name, so that a loader asked for the driver after the
//! double was loaded finds the double.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
}
