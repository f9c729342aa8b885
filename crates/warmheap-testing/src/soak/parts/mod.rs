//! The parts of a round. No part knows the round.

pub(in crate::soak) mod expected;
pub(in crate::soak) mod faulty_device;
pub(in crate::soak) mod held;
pub(in crate::soak) mod oracle;
pub(in crate::soak) mod queues;
pub(in crate::soak) mod setting;
