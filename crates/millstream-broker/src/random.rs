//! Where the broker's random numbers come from: handed in, so that a seed can replay a run.

use std::hash::{BuildHasher, RandomState};

use uuid::Uuid;

/// A source of random bits for identifiers (topics, members, the cluster) and for secrets.
pub trait Random: Send {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// Fills `out` with bits that nobody can foresee: nonces, salts, keys.
    fn secret(&mut self, out: &mut [u8]);

    /// A random UUID (version 4).
    fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(
            ((u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())).to_be_bytes(),
        )
        .into_uuid()
    }
}

/// Random bits from the operating system: for identifiers by way of the keys that the standard
/// library draws for its hash maps, for secrets directly.
#[derive(Debug, Default)]
pub struct SystemRandom {
    calls: u64,
}

impl Random for SystemRandom {
    fn next_u64(&mut self) -> u64 {
        self.calls += 1;
        RandomState::new().hash_one(self.calls)
    }

    /// # Panics
    /// If the operating system has no random bits: nothing secret can be made then.
    fn secret(&mut self, out: &mut [u8]) {
        use ring::rand::SecureRandom;
        ring::rand::SystemRandom::new().fill(out).expect("the operating system has random bits");
    }
}
