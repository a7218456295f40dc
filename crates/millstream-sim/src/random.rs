//! Random numbers, all from one seed: each concern draws from a stream of its own, so that a change
//! of one (a further reader, say) leaves what the others draw as it was.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix per number.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream `name` of a seed.
    pub fn stream(seed: u64, name: &str) -> Self {
        // FNV-1a keeps names apart; the first draw mixes both.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut mixed = Self(seed ^ hash);
        Self(mixed.draw())
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of a remainder does not matter: nothing here is a statistic.
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `per_million` of a million cases.
    pub fn chance(&mut self, per_million: u32) -> bool {
        // Drawn in any case, so that a changed rate shifts nothing else.
        self.below(1_000_000) < u64::from(per_million)
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

impl millstream_broker::Random for SplitMix64 {
    fn next_u64(&mut self) -> u64 {
        self.draw()
    }

    /// Foreseeable, as everything here: a seed replays secrets, too.
    fn secret(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl millstream_client::Random for SplitMix64 {
    fn next_u64(&mut self) -> u64 {
        self.draw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_seed_are_apart_and_repeat() {
        let first = |seed, name| {
            let mut stream = SplitMix64::stream(seed, name);
            [stream.draw(), stream.draw(), stream.draw()]
        };
        assert_eq!(first(1, "disk"), first(1, "disk"));
        assert_ne!(first(1, "disk"), first(1, "network"));
        assert_ne!(first(1, "disk"), first(2, "disk"));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = SplitMix64::stream(7, "bounds");
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.between(3, 5)));
            assert_eq!(random.below(0), 0);
            assert!(!random.chance(0) && random.chance(1_000_000));
        }
    }
}
