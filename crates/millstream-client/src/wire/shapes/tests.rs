//! The table against the codec, which has both directions.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use millstream_protocol::shape::example::{Example, Style, write};

use super::*;
use crate::random::Random;
use crate::testing::allocations::allocated;
use crate::testing::frames::Seeded;
use crate::testing::fuzz;
use crate::wire::{Body, Malformed};

/// A row of the table, for tests that go through all of them.
pub(super) struct Row {
    name: &'static str,
    versions: (i16, i16),
    shape: &'static Shape,
    is_flexible: fn(i16) -> bool,
    has_header_tags: fn(i16) -> bool,
    decode: fn(Body) -> Result<(), Malformed>,
    again: fn(i16, &[u8]) -> Result<(), String>,
}

impl Row {
    pub(super) const fn of<R: Checked>(name: &'static str) -> Self
    where
        R::Response: PartialEq + Debug,
    {
        Self {
            name,
            versions: R::SHAPED,
            shape: R::SHAPE,
            is_flexible: is_flexible::<R>,
            has_header_tags: |version| R::Response::header_version(version) > 0,
            decode: |body| body.decode::<R>().map(drop),
            again: again::<R>,
        }
    }

    fn versions(&self) -> impl Iterator<Item = i16> {
        self.versions.0..=self.versions.1
    }

    fn example(&self, version: i16, style: &Style, random: &mut Seeded) -> Example {
        let random = &mut || random.next_u64() as u32;
        write(self.shape, version, (self.is_flexible)(version), style, random)
    }

    /// A frame as it comes from a broker, now and then with a tagged field in its header.
    fn frame(&self, version: i16, body: &[u8], random: &mut Seeded) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 7];
        if (self.has_header_tags)(version) {
            match random.below(4) {
                0 => frame.extend([1, 5, 2, 9, 9]),
                _ => frame.push(0),
            }
        }
        frame.extend_from_slice(body);
        frame
    }
}

/// Reads a body with the codec alone, writes what it says with the codec, and reads that as the
/// client does.
fn again<R: Checked>(version: i16, body: &[u8]) -> Result<(), String>
where
    R::Response: PartialEq + Debug,
{
    let mut left = Bytes::copy_from_slice(body);
    let value = R::Response::decode(&mut left, version).map_err(|error| error.to_string())?;
    if !left.is_empty() {
        return Err(format!("{} bytes are left", left.len()));
    }
    let mut frame = BytesMut::new();
    frame.put_i32(7);
    if R::Response::header_version(version) > 0 {
        frame.put_u8(0);
    }
    value.encode(&mut frame, version).map_err(|error| error.to_string())?;
    let decoded = Body::new(version, frame.freeze()).decode::<R>().map_err(|e| e.to_string())?;
    assert_eq!(decoded, value);
    Ok(())
}

/// A bound on what decoding may allocate: a struct in memory, or the first tagged field that is
/// not known, against the two or three bytes that it takes in a frame.
fn allowed(frame: &[u8]) -> usize {
    4096 + 300 * frame.len()
}

/// Random responses in every version pass, and come out as the codec wrote them.
#[test]
fn what_the_codec_writes_is_read() {
    let style = Style::default();
    for row in ROWS {
        for version in row.versions() {
            for round in 0..fuzz::rounds(50) {
                let seed = fuzz::seed(round);
                let mut random = Seeded(seed);
                let body = row.example(version, &style, &mut random).bytes;
                let case = format!("{} version {version}, seed {seed}: {body:?}", row.name);
                assert_eq!((row.again)(version, &body), Ok(()), "{case}");
                let frame = row.frame(version, &body, &mut random);
                let decoded = (row.decode)(Body::new(version, frame.clone().into()));
                assert_eq!(decoded, Ok(()), "{case}");
                // The whole body is covered: without its last byte it is refused.
                let cut = &frame[..frame.len() - 1];
                let decoded = (row.decode)(Body::new(version, cut.to_vec().into()));
                assert!(decoded.is_err(), "{case}");
            }
        }
    }
}

/// The codec looks into no tagged field that the shape does not name: each low number stands in
/// each struct with bytes that are no field of any kind, and the codec skips them. If it did not,
/// it would go on in the wrong place.
#[test]
fn no_tagged_field_is_missing() {
    for row in ROWS {
        for version in row.versions().filter(|version| (row.is_flexible)(*version)) {
            for tag in 0..8 {
                let style = Style { foreign_tags: tag..tag + 1, ..Style::default() };
                for round in 0..fuzz::rounds(25) {
                    // Other messages for each version, so that one of them has every struct.
                    let mut random = Seeded(fuzz::seed(round).wrapping_add(1000 * version as u64));
                    let body = row.example(version, &style, &mut random).bytes;
                    let case = format!("{} version {version}, tag {tag}: {body:?}", row.name);
                    assert_eq!((row.again)(version, &body), Ok(()), "{case}");
                }
            }
        }
    }
}

/// No shape refuses a null that the codec takes.
#[test]
fn nulls_that_the_codec_takes_are_read() {
    let style = Style { nulls: true, ..Style::default() };
    let mut read = 0;
    for row in ROWS {
        for version in row.versions() {
            for round in 0..fuzz::rounds(50) {
                let mut random = Seeded(fuzz::seed(round));
                let body = row.example(version, &style, &mut random).bytes;
                let is_flexible = (row.is_flexible)(version);
                let checked = row.shape.check(version, is_flexible, &body, ELEMENTS);
                assert_eq!(checked, Ok(()), "{} version {version}: {body:?}", row.name);
                match (row.again)(version, &body) {
                    Ok(()) => read += 1,
                    Err(error) => assert!(
                        error.contains("negative") || error.contains("null"),
                        "{} version {version}: {error}: {body:?}",
                        row.name
                    ),
                }
            }
        }
    }
    assert!(read > 1000, "{read} responses with nulls were read");
}

/// No length is trusted, be it a string's, an array's, a tagged field's or the number of those.
#[test]
fn a_huge_length_anywhere_is_refused_and_costs_nothing() {
    for row in ROWS {
        for version in row.versions() {
            for round in 0..10 {
                let mut random = Seeded(fuzz::seed(round));
                let example = row.example(version, &Style::default(), &mut random);
                for index in 0..example.lengths.len() {
                    let lie = example.with_a_lie(index, (row.is_flexible)(version));
                    let frame = row.frame(version, &lie, &mut random);
                    let (decoded, bytes) =
                        allocated(|| (row.decode)(Body::new(version, frame.clone().into())));
                    let case = format!("{} version {version}: {frame:?}", row.name);
                    assert!(decoded.is_err(), "{case}");
                    assert!(bytes <= allowed(&frame), "{bytes} bytes allocated for {case}");
                }
            }
        }
    }
}

/// Whatever is done to a response: an error or a value, no panic, and no more memory than a
/// multiple of its size. `MILLSTREAM_FUZZ=100` goes on a hundred times as long.
#[test]
fn damaged_responses_do_no_harm() {
    let (mut refused, mut read) = (0u64, 0u64);
    for round in 0..fuzz::rounds(20_000) {
        let seed = fuzz::seed(round);
        let mut random = Seeded(seed);
        let row = &ROWS[random.below(ROWS.len() as u64) as usize];
        let (lowest, highest) = row.versions;
        let version = lowest + random.below((highest - lowest + 1) as u64) as i16;
        let style = Style { nulls: random.below(2) == 0, foreign_tags: 0..12 };
        let body = row.example(version, &style, &mut random).bytes;
        let mut frame = row.frame(version, &body, &mut random);
        fuzz::damage(&mut frame, &mut random);
        let body = Body::new(version, frame.clone().into());
        let case = || format!("{} version {version}, seed {seed}: {frame:?}", row.name);
        let (decoded, bytes) = allocated(|| catch_unwind(AssertUnwindSafe(|| (row.decode)(body))));
        match decoded {
            Ok(Ok(())) => read += 1,
            Ok(Err(_)) => refused += 1,
            Err(_) => panic!("a panic at {}", case()),
        }
        assert!(bytes <= allowed(&frame), "{bytes} bytes allocated for {}", case());
    }
    // Damage of all kinds: some of it must be seen, and some can be read.
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// Each element is there in bytes, and still there may be too many of them.
#[test]
fn the_number_of_elements_is_limited() {
    let topics = |count: u32| {
        // Topics without a name and without partitions.
        let mut frame = vec![0, 0, 0, 7];
        frame.extend(count.to_be_bytes());
        frame.resize(frame.len() + 6 * count as usize, 0);
        Body::new(2, frame.into()).decode::<OffsetCommitRequest>()
    };
    assert_eq!(topics(1000).map(|response| response.topics.len()), Ok(1000));
    let error = topics(1_000_001).unwrap_err().to_string();
    assert!(error.contains("more than 1000000 array elements"), "{error}");
}

/// A fetch's records are skipped by their length: the check reads none of them and nothing is
/// copied.
#[test]
fn records_cost_nothing() {
    let fetch = |records: usize| {
        let mut frame = vec![0, 0, 0, 7];
        // Header's tags, throttle, error, session, one topic with its id, one partition.
        frame.push(0);
        frame.extend([0; 10]);
        frame.push(2);
        frame.extend([7; 16]);
        frame.push(2);
        frame.extend([0; 30]);
        frame.push(1);
        frame.extend([0; 4]);
        millstream_protocol::varint::write_u64(&mut frame, records as u64 + 1);
        frame.resize(frame.len() + records, 0xff);
        frame.extend([0, 0, 0]);
        let body = Body::new(16, Bytes::from(frame));
        let (response, bytes) = allocated(|| body.decode::<FetchRequest>());
        let response = response.expect("a response");
        let data = response.responses[0].partitions[0].records.as_ref().expect("records");
        assert_eq!(data.len(), records);
        bytes
    };
    assert_eq!(fetch(1), fetch(10_000_000));
}

#[test]
fn a_response_without_a_correlation_id_is_refused() {
    for length in 0..4 {
        let body = Body::new(3, Bytes::from(vec![0; length]));
        assert!(body.decode::<HeartbeatRequest>().is_err());
    }
}
