//! The partition a key belongs to, as Kafka's Java client and librdkafka's `murmur2` compute it
//! (parity row C-11), so that the test driver, repartitioning and tools agree with every producer.

pub use millstream_client::producer::murmur2;

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
