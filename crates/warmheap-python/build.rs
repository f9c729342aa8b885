//! Links the module so that it takes Python's functions from the interpreter that loads it.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
