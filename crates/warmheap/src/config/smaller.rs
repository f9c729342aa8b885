//! The smaller pool that is proposed where a start finds too little memory. Errors of a start and the advice both
//! take it from here.

use super::MIB;

/// Halves the size of the heaps and their number together, until `fits` accepts them. Returns them, or `None` if
/// not even the smallest heap fits.
pub(crate) fn smaller(
    mut heap_size: u64,
    mut num_heaps: usize,
    fits: impl Fn(u64, usize) -> bool,
) -> Option<(u64, usize)> {
    while !fits(heap_size, num_heaps) {
        if num_heaps <= 1 && heap_size < 2 * MIB {
            return None;
        }
        num_heaps = (num_heaps / 2).max(1);
        if heap_size >= 2 * MIB {
            // Whole MiB are what a reader would write.
            heap_size = heap_size / 2 / MIB * MIB;
        }
    }
    Some((heap_size, num_heaps))
}

/// Returns whether a pool of so many bytes leaves a quarter of the free memory to everything else.
pub(crate) fn leaves_room(bytes: u64, free: u64) -> bool {
    bytes <= free / 4 * 3
}
