use proptest::prelude::*;

use super::*;
use crate::{Attributes, ControlType, RecordBatchBuilder, header};

type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

const LIMIT: usize = 1 << 24;

fn build(compression: Compression, records: &[OwnedRecord], base_offset: i64) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(compression).producer(5, 1, 10);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers);
    }
    builder.finish(base_offset).unwrap()
}

fn walk(bytes: &[u8]) -> Result<Vec<(i64, OwnedRecord)>, BatchError> {
    let mut out = Vec::new();
    let mut scratch = Vec::new();
    for batch in BatchIter::new(bytes) {
        let batch = batch?;
        batch.check()?;
        for record in batch.records(&mut scratch, LIMIT)? {
            let r = record?;
            let headers =
                r.headers.iter().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect();
            let record =
                (r.timestamp, r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers);
            out.push((r.offset, record));
        }
    }
    Ok(out)
}

/// The bytes that Apache Kafka 4.3's own client writes for the same two records
/// (`MemoryRecords.withRecords`, dumped as hex).
#[test]
fn golden_bytes() {
    let mut builder = RecordBatchBuilder::new(Compression::None).producer(1234, 5, 77);
    builder.push(1_700_000_000_000, Some(b"key-1"), Some(b"value-1"), [("h", Some(&b"x"[..]))]);
    builder.push(1_700_000_000_300, None, None, [("n", None)]);
    let hex: String =
        builder.finish(42).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden.hex").trim());
}

#[test]
fn header_fields_and_flags() {
    let mut builder =
        RecordBatchBuilder::new(Compression::Lz4).producer(7, 3, i32::MAX).transactional();
    builder.push(50, None, Some(b"a"), []);
    builder.push(40, None, Some(b"b"), []);
    let bytes = builder.finish(100).unwrap();
    let batch = Batch::parse(&bytes).unwrap();
    let header = batch.header();
    assert_eq!(header.last_offset(), 101);
    assert_eq!((header.base_timestamp, header.max_timestamp), (50, 50));
    assert_eq!(header.last_sequence(), 0, "sequence numbers wrap to 0");
    assert!(header.attributes.is_transactional() && !header.attributes.is_control());
    assert_eq!(header.attributes.compression(), Ok(Compression::Lz4));
}

#[test]
fn control_records_say_what_they_mean() {
    for (key, meaning) in [
        ([0, 0, 0, 0], Some(ControlType::Abort)),
        ([0, 0, 0, 1], Some(ControlType::Commit)),
        ([0, 0, 0, 9], None),
    ] {
        let mut builder = RecordBatchBuilder::new(Compression::None).control();
        builder.push(1, Some(&key), Some(&[0; 6]), []);
        let bytes = builder.finish(0).unwrap();
        let batch = Batch::parse(&bytes).unwrap();
        assert!(batch.header().attributes.is_control());
        let mut scratch = Vec::new();
        let record = batch.records(&mut scratch, LIMIT).unwrap().next().unwrap().unwrap();
        assert_eq!(record.control_type(), meaning);
    }
}

#[test]
fn patches_keep_or_renew_the_checksum() {
    let records = [(10, None, Some(b"v".to_vec()), vec![]), (99, None, None, vec![])];
    let mut bytes = build(Compression::Gzip, &records, 0);
    header::set_base_offset(&mut bytes, 5_000_000_000);
    header::set_leader_epoch(&mut bytes, 3);
    let batch = Batch::parse(&bytes).unwrap();
    batch.check().unwrap();
    assert_eq!(batch.header().base_offset, 5_000_000_000);
    assert_eq!(batch.header().leader_epoch, 3);

    header::set_log_append_time(&mut bytes, 777);
    let walked = walk(&bytes).unwrap();
    assert!(walked.iter().all(|(_, record)| record.0 == 777), "{walked:?}");

    header::set_producer(&mut bytes, 1 << 40, 7, 123);
    let batch = Batch::parse(&bytes).unwrap();
    batch.check().unwrap();
    let header = batch.header();
    assert_eq!(header.producer_id, 1 << 40);
    assert_eq!((header.producer_epoch, header.base_sequence), (7, 123));
}

#[test]
fn buffers_are_used_again() {
    for codec in Compression::ALL {
        let value = [7; 500];
        let fill = |buffer: Vec<u8>| {
            let mut builder = RecordBatchBuilder::new(codec).reuse(buffer);
            for n in 0..20 {
                builder.push(n, None, Some(&value), []);
            }
            builder
        };
        let fresh = fill(Vec::new()).finish(0).unwrap();
        let dirty = || vec![0xee; 30_000];
        let (batch, spare) = fill(dirty()).finish_into(0, dirty(), None).unwrap();
        assert_eq!(batch, fresh, "{codec}");
        assert!(batch.capacity() >= 30_000 && spare.capacity() >= 30_000, "{codec}");
    }
}

#[test]
fn a_level_changes_the_bytes_and_not_the_records() {
    let text: Vec<u8> =
        (0..20_000u32).flat_map(|n| (n * n % 1009).to_string().into_bytes()).collect();
    for codec in [Compression::Gzip, Compression::Zstd] {
        let at = |level| {
            let mut builder = RecordBatchBuilder::new(codec);
            builder.push(1, None, Some(&text), []);
            builder.finish_into(0, Vec::new(), Some(level)).unwrap().0
        };
        let (fast, small) = (at(1), at(9));
        // Which of the two is smaller depends on the data.
        assert_ne!(small.len(), fast.len(), "{codec}");
        assert_eq!(walk(&small).unwrap(), walk(&fast).unwrap());
    }
}

#[test]
fn a_changed_byte_is_found_and_a_cut_is_no_error() {
    let records = [(10, Some(b"k".to_vec()), Some(b"value".to_vec()), vec![])];
    let bytes = build(Compression::None, &records, 0);
    for at in header::CRC_START..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x40;
        assert!(Batch::parse(&broken).unwrap().check().is_err(), "byte {at}");
    }
    let two = [bytes.clone(), bytes.clone()].concat();
    for end in bytes.len()..two.len() {
        let mut batches = BatchIter::new(&two[..end]);
        assert_eq!(batches.by_ref().filter(Result::is_ok).count(), 1);
        assert_eq!(batches.rest().len(), end - bytes.len());
    }
}

#[test]
fn validate_wants_consecutive_offsets_and_exact_counts() {
    let records: Vec<OwnedRecord> = (0..3).map(|n| (n, None, Some(vec![1]), vec![])).collect();
    let good = build(Compression::None, &records, 0);
    let mut seen = Vec::new();
    Batch::parse(&good)
        .unwrap()
        .validate(&mut Vec::new(), LIMIT, |r| seen.push(r.timestamp))
        .unwrap();
    assert_eq!(seen, [0, 1, 2]);

    let refuse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Batch::parse(&bytes).unwrap().validate(&mut Vec::new(), LIMIT, |_| ()).unwrap_err()
    };
    assert_eq!(refuse(&|b| b[26] = 7), BatchError::Offsets);
    assert_eq!(refuse(&|b| b[60] = 0), BatchError::Count { stated: 0 });
    let both = |b: &mut Vec<u8>| {
        b[60] = 2;
        b[26] = 1;
    };
    assert_eq!(refuse(&both), BatchError::Count { stated: 2 });
    let more = |b: &mut Vec<u8>| {
        b[60] = 4;
        b[26] = 3;
    };
    assert_eq!(refuse(&more), BatchError::Count { stated: 4 });
    // The second record's offset delta.
    let second = HEADER_LEN + 8 + 3;
    assert_eq!(refuse(&|b| b[second] = 8), BatchError::Offsets);
    assert_eq!(refuse(&|b| b[22] = 6), BatchError::Codec(6));
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    (any::<i64>(), bytes(), bytes(), proptest::collection::vec((".{0,8}", bytes()), 0..4))
}

proptest! {
    #[test]
    fn round_trip(
        records in proptest::collection::vec(any_record(), 1..20),
        base_offset in 0i64..1 << 60,
        codec in proptest::sample::select(&Compression::ALL[..]),
    ) {
        let bytes = build(codec, &records, base_offset);
        let walked = walk(&bytes).unwrap();
        let expected: Vec<_> =
            records.into_iter().enumerate().map(|(n, r)| (base_offset + n as i64, r)).collect();
        prop_assert_eq!(walked, expected);
        let batch = Batch::parse(&bytes).unwrap();
        prop_assert!(batch.validate(&mut Vec::new(), LIMIT, |_| ()).is_ok());
    }

    #[test]
    fn no_record_is_larger_than_its_bound(record in any_record(), before in 0usize..3) {
        let mut builder = RecordBatchBuilder::new(Compression::None);
        for _ in 0..before {
            builder.push(i64::MIN, None, None, []);
        }
        let (timestamp, key, value, headers) = &record;
        let headers: Vec<(&str, Option<&[u8]>)> =
            headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let in_headers = headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum();
        let bound = RecordBatchBuilder::record_size_max(
            len(key), len(value), in_headers, headers.len(),
        );
        let size = builder.byte_size();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers);
        prop_assert!(builder.byte_size() - size <= bound);
    }

    /// Anything may come from the network: errors are fine, panics and hangs are not.
    #[test]
    fn rubbish_never_panics(mut bytes: Vec<u8>, with_header: bool, codec in 0u8..8) {
        if with_header {
            let mut framed = vec![0; HEADER_LEN];
            framed[8..12].copy_from_slice(&((HEADER_LEN - 12 + bytes.len()) as i32).to_be_bytes());
            framed[16] = 2;
            framed[22] = codec;
            framed[58] = 1;
            framed.append(&mut bytes);
            bytes = framed;
        }
        let mut scratch = Vec::new();
        for batch in BatchIter::new(&bytes).flatten() {
            let _ = batch.check();
            if let Ok(records) = batch.records(&mut scratch, 1 << 16) {
                for record in records.flatten() {
                    let _ = record.headers.iter().count();
                }
            }
        }
    }

    /// One changed byte in a valid batch, checksum not looked at.
    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, to: u8) {
        let records: Vec<OwnedRecord> = (0..5)
            .map(|n| (n, Some(vec![1; 10]), Some(vec![2; 300]), vec![("h".into(), Some(vec![3]))]))
            .collect();
        let mut bytes = build(Compression::None, &records, 0);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut scratch = Vec::new();
        for batch in BatchIter::new(&bytes).flatten() {
            if let Ok(records) = batch.records(&mut scratch, 1 << 16) {
                for record in records.flatten() {
                    prop_assert_eq!(record.headers.iter().count(), record.headers.len());
                }
            }
        }
    }
}

/// What compaction does to a batch: offsets, sequence numbers and timestamps of what stays are
/// as they were.
#[test]
fn a_batch_written_anew_keeps_its_place() {
    for codec in Compression::ALL {
        let records: Vec<OwnedRecord> = (0..6u8)
            .map(|n| {
                let header = ("h".to_owned(), Some(vec![n]));
                (100 + i64::from(n % 3), Some(vec![n]), (n != 4).then(|| vec![n; 9]), vec![header])
            })
            .collect();
        let bytes = build(codec, &records, 1000);
        let original = *Batch::parse(&bytes).unwrap().header();
        for horizon in [None, Some(777_777)] {
            let mut builder = RecordBatchBuilder::rewriting(&original).unwrap();
            if let Some(at) = horizon {
                builder = builder.delete_horizon(at);
            }
            let mut expected = Vec::new();
            for at in [1usize, 4] {
                let (timestamp, key, value, headers) = &records[at];
                let pairs: Vec<(&str, Option<&[u8]>)> =
                    headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
                builder.push_at(at as i32, *timestamp, key.as_deref(), value.as_deref(), pairs);
                expected.push((1000 + at as i64, records[at].clone()));
            }
            let rewritten = builder.finish_rewritten().unwrap();
            assert_eq!(walk(&rewritten).unwrap(), expected, "{codec} {horizon:?}");
            let header = *Batch::parse(&rewritten).unwrap().header();
            assert_eq!(header.delete_horizon_ms(), horizon);
            assert_eq!((header.base_offset, header.last_offset()), (1000, 1005));
            assert_eq!((header.record_count, header.max_timestamp), (2, 101));
            assert_eq!(header.last_sequence(), original.last_sequence());
            assert_eq!(header.attributes.compression(), Ok(codec));
            // Once more: the horizon that is there stays.
            let mut again = RecordBatchBuilder::rewriting(&header).unwrap();
            again.push_at(4, 101, None, None, []);
            let again = again.finish_rewritten().unwrap();
            let header = *Batch::parse(&again).unwrap().header();
            assert_eq!(header.delete_horizon_ms(), horizon);
            assert_eq!(walk(&again).unwrap()[0].1.0, 101);
        }
        let empty = RecordBatchBuilder::rewriting(&original).unwrap().finish_rewritten().unwrap();
        assert_eq!(walk(&empty).unwrap(), []);
        let header = *Batch::parse(&empty).unwrap().header();
        assert_eq!((empty.len(), header.record_count, header.last_offset()), (61, 0, 1005));
        assert_eq!((header.producer_id, header.last_sequence()), (5, original.last_sequence()));
        assert_eq!((header.base_timestamp, header.max_timestamp), (-1, original.max_timestamp));
        assert_eq!(header.attributes, Attributes::default());
    }
}

#[test]
fn append_time_and_flags_survive_being_written_anew() {
    let mut builder = RecordBatchBuilder::new(Compression::Zstd).producer(1, 2, 3).transactional();
    for n in 0..3 {
        builder.push(n, Some(b"k"), Some(b"v"), []);
    }
    let mut bytes = builder.finish(5).unwrap();
    header::set_log_append_time(&mut bytes, 9_000);
    let original = *Batch::parse(&bytes).unwrap().header();
    let mut builder = RecordBatchBuilder::rewriting(&original).unwrap().delete_horizon(50);
    builder.push_at(2, 9_000, Some(b"k"), None, []);
    let rewritten = builder.finish_rewritten().unwrap();
    let header = *Batch::parse(&rewritten).unwrap().header();
    assert!(header.attributes.is_log_append_time() && header.attributes.is_transactional());
    assert_eq!((header.max_timestamp, header.delete_horizon_ms()), (9_000, Some(50)));
    assert_eq!(walk(&rewritten).unwrap()[0].1.0, 9_000);
    assert!(RecordBatchBuilder::new(Compression::None).finish_rewritten().is_err());
}
