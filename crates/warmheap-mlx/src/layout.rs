//! MLX's allocator object: its class, its table of virtual functions, and what they do. This module knows the
//! layout that C++ compilers give such objects on Linux and macOS (the Itanium ABI), and checks it before it
//! relies on it.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::mem::size_of;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::InstallError;
use crate::library;

/// A pointer to `mlx::core::allocator::Allocator`.
pub(crate) type Object = NonNull<c_void>;

/// `Buffer malloc(size_t)`. A `Buffer` is one pointer, and travels as one.
pub(crate) type Malloc = unsafe extern "C-unwind" fn(this: Object, size: usize) -> *mut c_void;
/// `void free(Buffer)`.
pub(crate) type Free = unsafe extern "C-unwind" fn(this: Object, buffer: *mut c_void);
/// `size_t size(Buffer) const`.
pub(crate) type Size = unsafe extern "C-unwind" fn(this: Object, buffer: *mut c_void) -> usize;

/// The memory that an allocator gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Memory of the processor, in MLX's builds for processors.
    Host,
    /// MTLBuffers.
    #[cfg(any(target_vendor = "apple", metal_double))]
    Metal,
}

impl Kind {
    fn of_class(name: &str) -> Option<Self> {
        match name {
            "N3mlx4core9allocator15CommonAllocatorE" => Some(Self::Host),
            #[cfg(any(target_vendor = "apple", metal_double))]
            "N3mlx4core5metal14MetalAllocatorE" => Some(Self::Metal),
            _ => None,
        }
    }
}

/// `mlx::core::allocator::allocator()` and `mlx::core::allocator::Buffer::raw_ptr()`.
const ALLOCATOR: &str = "_ZN3mlx4core9allocator9allocatorEv";
const RAW_PTR: &str = "_ZN3mlx4core9allocator6Buffer7raw_ptrEv";
/// The bytes of the trial allocation.
const TRIAL: usize = 4096;

/// `std::type_info`.
#[repr(C)]
struct TypeInfo {
    table: *const c_void,
    name: *const c_char,
}

/// The table of virtual functions of `mlx::core::allocator::Allocator`, since MLX 0.31, with the two words before
/// it. An object points at `malloc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Table {
    offset_to_top: isize,
    type_info: *const TypeInfo,
    pub(crate) malloc: Malloc,
    pub(crate) free: Free,
    pub(crate) size: Size,
    /// `make_buffer`, `release` and two destructors, which stay as they are.
    rest: [*const c_void; 4],
}

/// The words before the functions.
const BEFORE: usize = 2;

// SAFETY: a table is never written, and points at functions and constants of libraries that stay loaded.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// MLX's allocator, whose layout was checked.
pub(crate) struct Allocator {
    pub(crate) kind: Kind,
    object: Object,
    /// The table it had.
    pub(crate) table: Table,
    raw_ptr: unsafe extern "C" fn(*mut *mut c_void) -> *mut c_void,
}

impl Allocator {
    /// Returns the allocator of the MLX in `file`, if it is as this module knows it.
    pub(crate) fn find(file: &Path) -> Result<Self, InstallError> {
        let opened = library::loaded(file).ok_or_else(|| InstallError::NotLoaded(file.into()))?;
        let missing = |symbol| InstallError::NoFunction { library: file.into(), symbol };
        // SAFETY: these are MLX's functions with their true types. A reference is a pointer. Python never
        // unloads the modules it imported, nor the libraries they use.
        let (get, raw_ptr) = unsafe {
            let get: Option<unsafe extern "C" fn() -> *mut c_void> = library::symbol(&opened, ALLOCATOR);
            (get.ok_or_else(|| missing(ALLOCATOR))?, library::symbol(&opened, RAW_PTR))
        };
        let raw_ptr = raw_ptr.ok_or_else(|| missing(RAW_PTR))?;
        let home =
            library::base_of(get as *const c_void).ok_or(InstallError::Layout("its library has no place"))?;
        let is_mlx = |address: *const c_void| library::base_of(address) == Some(home);
        // SAFETY: MLX's function makes the object at its first call and returns it.
        let object = NonNull::new(unsafe { get() }).ok_or(InstallError::Layout("there is no object"))?;

        // SAFETY: an object with virtual functions begins with a pointer to its table.
        let functions = unsafe { object.cast::<*const c_void>().read() };
        if !is_mlx(functions) {
            return Err(InstallError::Layout("the object does not begin with a table of MLX"));
        }
        // SAFETY: the two words before the functions are part of every table.
        let type_info = unsafe { functions.cast::<*const TypeInfo>().sub(1).read() };
        if !is_mlx(type_info.cast()) {
            return Err(InstallError::Layout("its table has no class of MLX"));
        }
        // SAFETY: class information is a constant of MLX's library, with a name that ends in 0.
        let class = unsafe { CStr::from_ptr((*type_info).name) }.to_string_lossy();
        let kind = Kind::of_class(&class).ok_or_else(|| InstallError::OtherAllocator(class.into_owned()))?;
        let words = functions.cast::<*const c_void>();
        // SAFETY: the table has at least the entries that are read, as each is checked before the next is.
        let entries_are_functions = (0..size_of::<Table>() / size_of::<usize>() - BEFORE)
            .all(|entry| is_mlx(unsafe { words.add(entry).read() }));
        if !entries_are_functions {
            return Err(InstallError::Layout("its table is shorter"));
        }
        // SAFETY: the table has all of these entries, and entries of functions are never null.
        let table = unsafe { words.sub(BEFORE).cast::<Table>().read() };
        if table.offset_to_top != 0 {
            return Err(InstallError::Layout("the object is part of another"));
        }
        Ok(Self { kind, object, table, raw_ptr })
    }

    /// Allocates with MLX's own functions, uses the memory, and frees it. Returns the bytes between what MLX calls
    /// the buffer and its memory, which say nothing on Metal.
    pub(crate) fn header(&self) -> Result<usize, InstallError> {
        // SAFETY: these calls are as MLX makes them: what `malloc` returns has TRIAL bytes at `raw_ptr`, and
        // goes to `free` once.
        unsafe {
            let mut buffer = (self.table.malloc)(self.object, TRIAL);
            if buffer.is_null() {
                return Err(InstallError::Layout("a trial allocation returned nothing"));
            }
            let size = (self.table.size)(self.object, buffer);
            let memory = (self.raw_ptr)(&raw mut buffer);
            let header = (memory as usize).wrapping_sub(buffer as usize);
            let is_known = size >= TRIAL && (self.kind != Kind::Host || header <= size_of::<u64>());
            if is_known {
                ptr::write_bytes(memory.cast::<u8>(), 0x5a, TRIAL);
            }
            (self.table.free)(self.object, buffer);
            is_known.then_some(header).ok_or(InstallError::Layout("a trial buffer has another size or place"))
        }
    }

    /// The old table with other functions.
    pub(crate) fn with(&self, malloc: Malloc, free: Free, size: Size) -> Table {
        Table { malloc, free, size, ..self.table }
    }

    /// Gives the object another table. Other threads call the old functions or the new ones from now on.
    pub(crate) fn point_at(&self, table: &'static Table) {
        let functions = ptr::from_ref(&table.malloc).cast_mut().cast::<c_void>();
        // SAFETY: the object begins with this pointer, which its owner writes only when it makes or destroys
        // it. Readers find a whole table behind either value.
        let place = unsafe { AtomicPtr::from_ptr(self.object.cast::<*mut c_void>().as_ptr()) };
        place.store(functions, Ordering::Release);
    }
}
