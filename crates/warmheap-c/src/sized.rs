//! Structs that carry their size, so that a newer library serves an older program.
//!
//! A struct begins with `struct_size`, which the program sets to the `sizeof` that it was compiled with. Later
//! versions add fields at the end only. The library reads and writes as many bytes as the program knows, and
//! never more. It refuses a size that no version had: the program forgot to set it, or its header is newer.

use std::mem::size_of;

use crate::status::Failure;

/// A struct of the interface that begins with its size.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `usize`, and all of its bytes may be zero.
pub(crate) unsafe trait Sized: Copy {
    /// The bytes that the struct had in the version that brought it.
    const FIRST: usize;
}

/// Implements [`Sized`] for structs, whose last field of the first version is named.
macro_rules! sized {
    ($($name:ty, $last:ident: $kind:ty);+ $(;)?) => {$(
        // SAFETY: the struct is `repr(C)` and begins with `struct_size`. Its fields are numbers, pointers and
        // callbacks that may be null.
        unsafe impl crate::sized::Sized for $name {
            const FIRST: usize = std::mem::offset_of!($name, $last) + size_of::<$kind>();
        }
        const _: () = assert!(std::mem::offset_of!($name, struct_size) == 0);
    )+};
}
pub(crate) use sized;

/// Returns the size that a struct from C carries.
///
/// # Safety
/// `place` is null or points to a `T` of some version.
unsafe fn known<T: Sized>(place: *const T, name: &str) -> Result<usize, Failure> {
    if place.is_null() {
        return Err(Failure::argument(format!("{name} is null")));
    }
    // SAFETY: the struct begins with its size in every version.
    let size = unsafe { place.cast::<usize>().read_unaligned() };
    if (T::FIRST..=size_of::<T>()).contains(&size) {
        return Ok(size);
    }
    Err(Failure::argument(format!(
        "{name}->struct_size is {size}; set it to sizeof({}) before the call: this library knows {} to {} \
         bytes, and a program needs a library that is as new as its header",
        std::any::type_name::<T>().rsplit("::").next().unwrap_or_default(),
        T::FIRST,
        size_of::<T>()
    )))
}

/// Returns a struct from C. Fields that the program does not know are zero.
///
/// # Safety
/// `from` is null or points to a `T` of some version.
pub(crate) unsafe fn read<T: Sized>(from: *const T, name: &str) -> Result<T, Failure> {
    // SAFETY: the caller keeps this function's contract.
    let size = unsafe { known(from, name) }?;
    // SAFETY: all bytes of a `T` may be zero.
    let mut value = unsafe { std::mem::zeroed::<T>() };
    // SAFETY: `size` bytes are there, and they fit into a `T`.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast(), size) };
    Ok(value)
}

/// Fails if a struct for a result is null or carries a wrong size, so that a call can fail before it acts.
///
/// # Safety
/// `to` is null or points to a `T` of some version.
pub(crate) unsafe fn check<T: Sized>(to: *mut T, name: &str) -> Result<(), Failure> {
    // SAFETY: the caller keeps this function's contract.
    unsafe { known(to, name) }.map(drop)
}

/// Writes a result to a struct of C: the fields that the program knows. `struct_size` stays what it is.
///
/// # Safety
/// `to` is null or points to a `T` of some version.
pub(crate) unsafe fn write<T: Sized>(to: *mut T, name: &str, value: &T) -> Result<(), Failure> {
    // SAFETY: the caller keeps this function's contract.
    let size = unsafe { known(to, name) }?;
    let skipped = size_of::<usize>();
    let from = (&raw const *value).cast::<u8>();
    // SAFETY: the program has `size` bytes there, and a `T` is at least as long.
    unsafe {
        std::ptr::copy_nonoverlapping(from.add(skipped), to.cast::<u8>().add(skipped), size - skipped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct to which a later version has added `newer`.
    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Grown {
        struct_size: usize,
        old: u64,
        newer: u64,
    }

    sized! { Grown, old: u64 }

    const OLD: usize = std::mem::offset_of!(Grown, newer);

    #[test]
    fn an_older_program_gives_and_gets_the_fields_that_it_knows() {
        let mut older = Grown { struct_size: OLD, old: 1, newer: 77 };
        // SAFETY: the struct is there.
        let read = unsafe { read(&raw const older, "it") }.unwrap();
        assert_eq!(read, Grown { struct_size: OLD, old: 1, newer: 0 });
        // SAFETY: as above.
        unsafe { write(&raw mut older, "it", &Grown { struct_size: 0, old: 2, newer: 3 }) }.unwrap();
        assert_eq!(older, Grown { struct_size: OLD, old: 2, newer: 77 });
        older.struct_size = size_of::<Grown>();
        // SAFETY: as above.
        unsafe { write(&raw mut older, "it", &Grown { struct_size: 0, old: 2, newer: 3 }) }.unwrap();
        assert_eq!((older.struct_size, older.newer), (size_of::<Grown>(), 3));
    }

    #[test]
    fn a_size_that_no_version_had_is_refused() {
        for struct_size in [0, 1, 8, 15, 25, usize::MAX] {
            let mut wrong = Grown { struct_size, old: 1, newer: 2 };
            // SAFETY: the struct is there.
            let refused = unsafe { (check(&raw mut wrong, "it"), read(&raw const wrong, "it")) };
            assert!(refused.0.is_err() && refused.1.is_err(), "{struct_size}");
            assert_eq!((wrong.old, wrong.newer), (1, 2));
        }
    }
}
