use super::two::Two;

pub struct One(Two);
