use super::one::One;

pub struct Three(One);
