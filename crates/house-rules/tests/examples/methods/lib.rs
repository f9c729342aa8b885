mod one;
mod two;

pub struct Shared;
