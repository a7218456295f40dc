//! Stream time behind a group-by.
//!
//! A repartition partition holds records of all upstream partitions, mixed as their tasks came
//! by. The time of one alone says nothing of another, which may be hours behind while old data
//! are read. So each repartition record carries, in one header, the upstream partition it comes
//! from and that partition's stream time; the reading task keeps the highest of each, and `low`,
//! the lowest among those that are not idle, is how far *all* have come.
//!
//! * An upstream partition that was not heard of yet counts as infinitely far behind.
//! * A caught-up upstream task that has seen no record for a second sends one marker with the
//!   idle flag to every partition of the repartition topic. Idle partitions do not count until
//!   their next record. While all are idle, the greatest time counts.
//! * `low` never goes back: a partition that comes out of idleness with old records finds the
//!   windows closed that closed without it.
//! * Records without the header (a foreign producer) change nothing. As long as no header was
//!   seen at all, `low` is infinitely far ahead: windows then behave as those without a group-by.

use millstream_types::{HeadersView, Timestamp, encode_header};
use millstream_value::Headers;

/// The header's name. The engine strips it before anyone sees the record.
pub(crate) const HEADER: &str = "__ms_upstream";

const VERSION: u8 = 1;
const IDLE: u8 = 1;
/// Version, flags, partition (4), stream time (8).
const LENGTH: usize = 14;
/// The header as `encode_header` writes it: two lengths of one byte each, name, value.
const ENCODED: usize = 1 + HEADER.len() + 1 + LENGTH;

/// Content of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Partition of the task that wrote the record.
    pub(crate) partition: i32,
    /// Its stream time, ms; `Timestamp::MIN` before its first record.
    pub(crate) stream_time: Timestamp,
    /// A marker: no record, the partition is idle from here on.
    pub(crate) idle: bool,
}

impl Upstream {
    /// Appends the header. It must be the first of the record: that is where
    /// [`Upstream::strip`] cuts it off without copying the others.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let mut value = [0; LENGTH];
        value[0] = VERSION;
        value[1] = if self.idle { IDLE } else { 0 };
        value[2..6].copy_from_slice(&self.partition.to_be_bytes());
        value[6..].copy_from_slice(&self.stream_time.to_be_bytes());
        encode_header(out, HEADER, Some(&value));
    }

    /// Reads the header, if it is the first of the record and of a version known here.
    pub(crate) fn decode(headers: HeadersView<'_>) -> Option<Self> {
        let (name, value) = headers.iter().next()?;
        let value: &[u8; LENGTH] = value?.try_into().ok()?;
        if name != HEADER || value[0] != VERSION || value[1] & !IDLE != 0 {
            return None;
        }
        let partition = i32::from_be_bytes(value[2..6].try_into().expect("four bytes"));
        let stream_time = Timestamp::from_be_bytes(value[6..].try_into().expect("eight bytes"));
        (partition >= 0).then_some(Self { partition, stream_time, idle: value[1] & IDLE != 0 })
    }

    /// The other headers of a record that begins with this one. A record that had none before
    /// it was repartitioned has none again.
    pub(crate) fn strip(headers: &bytes::Bytes, count: usize) -> Headers {
        match count {
            1 => Headers::none(),
            _ => Headers::new(headers.slice(ENCODED..), count - 1),
        }
    }
}

/// What a reading task knows of its upstream partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UpstreamTimes {
    /// By partition: highest stream time, and whether it is idle.
    pub(crate) partitions: Vec<(Timestamp, bool)>,
    /// How far all of them have come; `None` until a header was seen.
    pub(crate) reached: Option<Timestamp>,
}

impl UpstreamTimes {
    pub(crate) fn new(partitions: i32) -> Self {
        Self {
            partitions: vec![(Timestamp::MIN, false); partitions.max(0) as usize],
            reached: None,
        }
    }

    /// Takes in a header.
    pub(crate) fn observe(&mut self, upstream: Upstream) {
        let at = upstream.partition as usize;
        // The upstream topics may have grown since this topology was declared. The number comes
        // from a record's header, so it is not trusted beyond what Kafka can have.
        if at >= self.partitions.len() && at < 100_000 {
            self.partitions.resize(at + 1, (Timestamp::MIN, false));
        }
        if let Some((time, idle)) = self.partitions.get_mut(at) {
            *time = (*time).max(upstream.stream_time);
            *idle = upstream.idle;
            let lowest = self.lowest();
            self.reached = Some(self.reached.map_or(lowest, |reached| reached.max(lowest)));
        }
    }

    /// Takes over what a checkpoint had, for as many partitions as it knew.
    pub(crate) fn restore(&mut self, partitions: &[(Timestamp, bool)], reached: Timestamp) {
        if partitions.len() > self.partitions.len() {
            self.partitions.resize(partitions.len(), (Timestamp::MIN, false));
        }
        self.partitions[..partitions.len()].copy_from_slice(partitions);
        self.reached = Some(reached);
    }

    /// How far all upstream partitions have come.
    pub(crate) fn low(&self) -> Timestamp {
        self.reached.unwrap_or(Timestamp::MAX)
    }

    fn lowest(&self) -> Timestamp {
        let busy = self.partitions.iter().filter(|(_, idle)| !idle).map(|(time, _)| *time).min();
        busy.unwrap_or_else(|| {
            let times = self.partitions.iter().map(|(time, _)| *time);
            times.max().expect("one was heard")
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn encoded(upstream: Upstream) -> Vec<u8> {
        let mut out = Vec::new();
        upstream.encode(&mut out);
        out
    }

    /// The bytes travel through Kafka between versions of a program.
    #[test]
    fn golden_bytes() {
        let upstream = Upstream { partition: 258, stream_time: 5, idle: true };
        let bytes = encoded(upstream);
        assert_eq!(bytes, b"\x1a__ms_upstream\x1c\x01\x01\0\0\x01\x02\0\0\0\0\0\0\0\x05");
        assert_eq!(Upstream::decode(HeadersView::new(&bytes, 1)), Some(upstream));
        assert_eq!(bytes.len(), ENCODED);
    }

    #[test]
    fn other_headers_survive_and_foreign_ones_are_not_taken() {
        let mut bytes = encoded(Upstream { partition: 0, stream_time: -1, idle: false });
        encode_header(&mut bytes, "trace", Some(b"1"));
        let stripped = Upstream::strip(&Bytes::from(bytes), 2);
        assert_eq!(stripped.view().iter().collect::<Vec<_>>(), [("trace", Some(&b"1"[..]))]);

        for (name, value) in [
            ("other", Some(&[1; LENGTH][..])),
            (HEADER, Some(&[2; LENGTH][..])),
            (HEADER, Some(&b"short"[..])),
            (HEADER, None),
        ] {
            let mut bytes = Vec::new();
            encode_header(&mut bytes, name, value);
            assert_eq!(Upstream::decode(HeadersView::new(&bytes, 1)), None, "{name}");
        }
    }

    #[test]
    fn low_is_the_lowest_that_is_not_idle() {
        let of = |partition, stream_time, idle| Upstream { partition, stream_time, idle };
        let mut times = UpstreamTimes::new(2);
        assert_eq!(times.low(), Timestamp::MAX, "no header yet: as without a group-by");
        times.observe(of(0, 10, false));
        assert_eq!(times.low(), Timestamp::MIN, "the other was not heard of");
        times.observe(of(1, 4, false));
        assert_eq!(times.low(), 4);
        times.observe(of(1, 2, false));
        assert_eq!(times.low(), 4, "time does not go back");
        times.observe(of(1, 4, true));
        assert_eq!(times.low(), 10, "idle ones do not count");
        times.observe(of(0, 10, true));
        assert_eq!(times.low(), 10, "all idle: the greatest");
        times.observe(of(1, 5, false));
        assert_eq!(times.low(), 10, "what all had reached stays");
        times.observe(of(0, 30, false));
        times.observe(of(1, 20, false));
        assert_eq!(times.low(), 20);
        times.observe(of(7, 1, false));
        times.observe(of(1, 25, false));
        assert_eq!(times.low(), 20, "a partition that was added upstream holds it");
        let mut restored = UpstreamTimes::new(2);
        restored.restore(&times.partitions, times.low());
        assert_eq!(restored, times);
    }
}
