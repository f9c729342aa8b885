use super::Shared;

impl Shared {
    fn second(&self) {
        Self::first(self);
    }
}
