//! Where the broker's random numbers come from: handed in, so that a seed can replay a run.

use std::hash::{BuildHasher, RandomState};

use uuid::Uuid;

/// A source of random bits for identifiers (topics, members, the cluster). Not for secrets.
pub trait Random: Send {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// A random UUID (version 4).
    fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(
            ((u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())).to_be_bytes(),
        )
        .into_uuid()
    }
}

/// Random bits from the operating system, by way of the keys that the standard library draws
/// for its hash maps.
#[derive(Debug, Default)]
pub struct SystemRandom {
    calls: u64,
}

impl Random for SystemRandom {
    fn next_u64(&mut self) -> u64 {
        self.calls += 1;
        RandomState::new().hash_one(self.calls)
    }
}
