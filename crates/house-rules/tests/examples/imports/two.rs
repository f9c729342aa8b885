pub struct Two;

impl Two {
    fn one() -> Option<crate::one::One> {
        None
    }
}
