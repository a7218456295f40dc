//! The partition a key belongs to, as Kafka's Java client and librdkafka's `murmur2` compute it
//! (parity row C-11), so that the test driver, repartitioning and tools agree with every producer.

/// The partition of `key` in a topic of `partitions` partitions.
///
/// ```
/// assert_eq!(millstream_kafka::partition_of(b"21", 3), millstream_kafka::partition_of(b"21", 3));
/// ```
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    ((murmur2(key) & 0x7fff_ffff) % partitions as u32) as i32
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `UtilsTest.testMurmur2` in Kafka's own tests.
    #[test]
    fn as_the_java_client() {
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

    #[test]
    fn partitions_are_in_range() {
        for n in 0..1000u32 {
            assert!((0..7).contains(&partition_of(&n.to_be_bytes(), 7)));
        }
    }
}
