//! Links the module so that it takes Python's functions from the interpreter that loads it. Refuses interpreters
//! that it cannot serve.

fn main() {
    if pyo3_build_config::get().is_free_threaded() {
        println!(
            "cargo::error=warmheap has no build for free-threaded CPython; use the build with the interpreter's lock"
        );
    }
    pyo3_build_config::add_extension_module_link_args();
}
