//! The partition of a key, as the Java client and librdkafka compute it.

use crate::settings::Partitioner;

/// Which partition of `partitions` the key belongs to; `None`: any, the caller's sticky one.
#[inline]
pub(super) fn by_key(how: Partitioner, key: Option<&[u8]>, partitions: u32) -> Option<u32> {
    let bytes = key.unwrap_or_default();
    let hash = match how {
        Partitioner::Random => return None,
        // librdkafka: an empty key counts as none here, and only here.
        Partitioner::ConsistentRandom if bytes.is_empty() => return None,
        Partitioner::Murmur2Random | Partitioner::Fnv1aRandom if key.is_none() => return None,
        Partitioner::Murmur2 | Partitioner::Murmur2Random => murmur2(bytes) & 0x7fff_ffff,
        Partitioner::Consistent | Partitioner::ConsistentRandom => crc32fast::hash(bytes),
        Partitioner::Fnv1a | Partitioner::Fnv1aRandom => fnv1a(bytes),
    };
    Some(hash % partitions)
}

/// Murmur2 by Austin Appleby with the seed of Kafka's `Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let mut chunks = data.chunks_exact(4);
    let mut h = SEED ^ data.len() as u32;
    for chunk in &mut chunks {
        let k = u32::from_le_bytes(chunk.try_into().expect("chunks of four"));
        h = h.wrapping_mul(M) ^ mix(k);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, &byte| tail << 8 | u32::from(byte));
        h = (h ^ tail).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// FNV-1a of 32 bits; of the signed result the absolute value, as Sarama and librdkafka do.
fn fnv1a(data: &[u8]) -> u32 {
    let hash = data
        .iter()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash as i32).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `UtilsTest.testMurmur2` in Kafka's own tests.
    #[test]
    fn murmur2_as_the_java_client() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    /// Published vectors: those of FNV's authors, sign taken off, and the check value of CRC-32.
    #[test]
    fn fnv1a_and_crc32_as_published() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5u32.wrapping_neg());
        assert_eq!(fnv1a(b"a"), 0xe40c_292cu32.wrapping_neg());
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968u32.wrapping_neg());
        assert_eq!(
            by_key(Partitioner::Consistent, Some(b"123456789"), u32::MAX),
            Some(0xcbf4_3926)
        );
    }

    #[test]
    fn what_counts_as_no_key() {
        let none = |how| by_key(how, None, 10).is_none();
        let empty = |how| by_key(how, Some(b""), 10).is_none();
        assert!(none(Partitioner::Random) && by_key(Partitioner::Random, Some(b"k"), 10).is_none());
        assert!(none(Partitioner::ConsistentRandom) && empty(Partitioner::ConsistentRandom));
        assert!(none(Partitioner::Murmur2Random) && !empty(Partitioner::Murmur2Random));
        assert!(none(Partitioner::Fnv1aRandom) && !empty(Partitioner::Fnv1aRandom));
        for how in [Partitioner::Consistent, Partitioner::Murmur2, Partitioner::Fnv1a] {
            assert_eq!(by_key(how, None, 10), by_key(how, Some(b""), 10));
            assert!(by_key(how, None, 10).is_some());
        }
    }
}
