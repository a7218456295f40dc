//! Damage to bytes, and how long to go on with it.

use super::Seeded;
use crate::random::Random;

/// How many rounds a fuzz test makes: the default, times `MILLSTREAM_FUZZ` where it is set.
pub(crate) fn rounds(default: u64) -> u64 {
    default * number("MILLSTREAM_FUZZ").unwrap_or(1)
}

/// The seed of a round. Rounds begin at `MILLSTREAM_FUZZ_SEED` (0): set to the seed that a failure
/// names, it repeats that round first.
pub(crate) fn seed(round: u64) -> u64 {
    number("MILLSTREAM_FUZZ_SEED").unwrap_or(0).wrapping_add(round)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Damages `bytes` in one to four places: flipped bits, bytes replaced, cut out, put in or
/// repeated, huge numbers, an early end.
pub(crate) fn damage(bytes: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let rest = bytes.len() - at;
        match random.below(8) {
            0 => bytes.truncate(at),
            1 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            2 if rest > 0 => bytes[at] = random.next_u64() as u8,
            3 if rest > 0 => drop(bytes.remove(at)),
            4 => bytes.insert(at, random.next_u64() as u8),
            // The largest length, as a number of four bytes and as a compact one.
            5 if rest >= 4 => bytes[at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]),
            6 if rest > 0 => drop(bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            _ => {
                let length = random.below(rest as u64 + 1) as usize;
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}
