//! The `warmheap` command.

fn main() {}
