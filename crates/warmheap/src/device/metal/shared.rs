//! A Metal object that any thread may keep and use.
//!
//! The wrapper owns one reference to the object. It takes no lock: the struct that owns the wrapper does.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use objc2::Message;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;

/// A Metal object that any thread may keep and use.
pub(super) struct Shared<P: ?Sized>(pub(super) Retained<ProtocolObject<P>>);

// SAFETY: Metal counts references atomically, and its objects may be created, used and released on different
// threads. Calls through this type from two threads at the same time only read facts that never change. Every
// call that changes the object is made under the lock of the struct that owns the wrapper.
unsafe impl<P: ?Sized> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P: ?Sized> Sync for Shared<P> {}

impl<P: ?Sized + 'static> Shared<P> {
    pub(super) fn retain(object: &ProtocolObject<P>) -> Self {
        Self(object.retain())
    }
}

impl<P: ?Sized> fmt::Debug for Shared<P> {
    /// Writes the pointer only, because a description of the object would need a call on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", Retained::as_ptr(&self.0))
    }
}

impl<P: ?Sized> Deref for Shared<P> {
    type Target = ProtocolObject<P>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
