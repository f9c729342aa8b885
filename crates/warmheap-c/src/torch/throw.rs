//! Throws PyTorch's own exceptions.
//!
//! PyTorch does not check what a pluggable allocator returns. A null pointer leads to an illegal access on
//! the GPU and the end of the process. PyTorch's own allocator throws `c10::OutOfMemoryError`, which Python
//! code catches as `torch.OutOfMemoryError`, so this file does the same. It finds PyTorch's class among the
//! libraries of the process and throws an object of it, as C++ compiled against PyTorch would. The build
//! needs nothing of PyTorch. If PyTorch's libraries are not as expected here, it throws `std::bad_alloc`
//! instead.
//!
//! Only functions of the `C-unwind` ABI may call this, outside any `catch_unwind`.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// A flag of `dlopen`: open the library only if it is loaded already.
const RTLD_NOLOAD: i32 = 4;
/// The bytes reserved for an exception. Every version of `c10::Error` so far takes less (about 180 bytes).
const EXCEPTION_BYTES: usize = 2048;
/// The entries before the functions of a virtual table: the offset to the top, and the type information.
const TABLE_HEADER: usize = 2;

/// `c10::SourceLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SourceLocation {
    function: *const c_char,
    file: *const c_char,
    line: u32,
}

/// `std::string` of libstdc++. Its own functions construct and destroy it.
#[repr(C, align(8))]
struct CxxString([u8; 32]);

type Destructor = unsafe extern "C" fn(*mut c_void);

/// The C++ functions and objects that make up an exception.
struct Parts {
    make_string: unsafe extern "C" fn(*mut CxxString, *const c_char, *const u8),
    drop_string: unsafe extern "C" fn(*mut CxxString),
    allocate: unsafe extern "C" fn(usize) -> *mut c_void,
    throw: unsafe extern "C-unwind" fn(*mut c_void, *const c_void, Option<Destructor>) -> !,
    make_error: unsafe extern "C" fn(*mut c_void, SourceLocation, *mut CxxString),
    class: *const c_void,
    table: *const *const c_void,
}

/// Throws PyTorch's out-of-memory error with `message`. Returns only in a process without C++.
pub(super) fn out_of_memory(message: &str) {
    if let Some(parts) = Parts::find() {
        parts.throw(message);
    }
    let Some(throw) = symbol::<unsafe extern "C-unwind" fn()>("libstdc++.so.6", "_ZSt17__throw_bad_allocv")
    else {
        return;
    };
    // SAFETY: this is libstdc++'s function, with its true type. Our callers let exceptions pass.
    unsafe { throw() }
}

/// Throws PyTorch's general error, `RuntimeError` in Python. Returns only without PyTorch.
pub(super) fn refused(message: &str) {
    type Fail = unsafe extern "C-unwind" fn(*const c_char, *const c_char, u32, *const c_char);
    let fail = symbol::<Fail>("libc10.so", "_ZN3c106detail14torchCheckFailEPKcS2_jS2_");
    if let (Some(fail), Ok(message)) = (fail, CString::new(message)) {
        // SAFETY: this is c10::detail::torchCheckFail(function, file, line, message), which copies its
        // arguments.
        unsafe { fail(c"warmheap".as_ptr(), c"warmheap".as_ptr(), 0, message.as_ptr()) }
    }
}

/// Returns a symbol of a library that is loaded already.
fn symbol<T: Copy>(library: &str, name: &str) -> Option<T> {
    // SAFETY: this loads nothing. It returns the library if it is loaded, and an error otherwise.
    let library = unsafe { Library::open(Some(library), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD) }.ok()?;
    // SAFETY: every caller names the symbol's true type. The process loaded the library for itself before,
    // and keeps it loaded.
    unsafe { library.get::<T>(name.as_bytes()) }.ok().map(|found| *found)
}

impl Parts {
    fn find() -> Option<Self> {
        const STD: &str = "libstdc++.so.6";
        const STRING: &str = "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE";
        let [class, table] =
            ["TI", "TV"].map(|kind| symbol("libc10_cuda.so", &format!("_Z{kind}N3c1016OutOfMemoryErrorE")));
        Some(Self {
            make_string: symbol(STD, &format!("{STRING}C1EPKcRKS3_"))?,
            drop_string: symbol(STD, &format!("{STRING}D1Ev"))?,
            allocate: symbol(STD, "__cxa_allocate_exception")?,
            throw: symbol(STD, "__cxa_throw")?,
            make_error: symbol(
                "libc10.so",
                "_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
            )?,
            class: class?,
            table: table.map(|table: *const c_void| table.cast())?,
        })
    }

    fn throw(&self, message: &str) {
        let Ok(text) = CString::new(message) else {
            return;
        };
        let here =
            SourceLocation { function: c"warmheap_malloc".as_ptr(), file: c"warmheap".as_ptr(), line: 0 };
        let mut string = MaybeUninit::<CxxString>::uninit();
        // SAFETY: this is what a C++ compiler generates for `throw c10::OutOfMemoryError(here, text)`. It
        // allocates the exception and calls the base class's constructor, because the class adds no members.
        // It then replaces the base's virtual table with the class's own, and throws with the first
        // destructor of that table. `text` outlives its last use, and nothing here is left to drop.
        unsafe {
            (self.make_string)(string.as_mut_ptr(), text.as_ptr(), ptr::from_ref(&0));
            drop(text);
            let exception = (self.allocate)(EXCEPTION_BYTES);
            (self.make_error)(exception, here, string.as_mut_ptr());
            (self.drop_string)(string.as_mut_ptr());
            let functions = self.table.add(TABLE_HEADER);
            exception.cast::<*const *const c_void>().write(functions);
            let destructor = std::mem::transmute::<*const c_void, Destructor>(*functions);
            (self.throw)(exception, self.class, Some(destructor))
        }
    }
}
