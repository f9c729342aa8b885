use super::Shared;

impl Shared {
    fn first(&self) {
        self.second();
    }
}
