//! A macro for the setters of types that are read as fields and will gain more of them. Each setter takes the
//! value and returns it changed; it checks nothing.
#![forbid(unsafe_code)]

macro_rules! setters {
    ($target:ty { $($(#[$doc:meta])* $name:ident => $field:ident: $type:ty;)+ }) => {
        impl $target {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(mut self, $field: $type) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}
pub(crate) use setters;
