//! What is the process's and the operating system's: random numbers, the number of a client.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::SecureRandom as _;

use crate::random::Random;

/// Random bits for jitter and sticky partitions: SplitMix64 from a seed of the operating system,
/// by way of the keys that the standard library draws for its hash maps. Nonces of SASL are
/// of [`system_nonce`].
#[derive(Debug)]
pub struct SystemRandom(u64);

impl Default for SystemRandom {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0u8))
    }
}

impl Random for SystemRandom {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The number of the next client of this process, from 1.
pub(crate) fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Fills `buffer` with random bytes of the system that nobody can guess.
pub(crate) fn system_nonce(buffer: &mut [u8]) -> Result<(), String> {
    ring::rand::SystemRandom::new()
        .fill(buffer)
        .map_err(|_| "the system has no random numbers to give".to_owned())
}
