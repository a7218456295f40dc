//! What a lane changes of what brokers say. A broker that is older than it is: the answers to
//! ApiVersions are written anew, requests of versions that they leave out are refused. A broker with
//! quotas: answers to Fetch say that the client is throttled, and whoever is not quiet is noted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Key, lowest and highest version of each request that a broker takes.
pub(crate) type Table = &'static [(i16, i16, i16)];

const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// What a broker of Kafka 2.4 takes of clients: the oldest that ours talks to.
pub(crate) const KAFKA_2_4: Table = &[
    (0, 0, 8),  // Produce
    (1, 0, 11), // Fetch
    (2, 0, 5),  // ListOffsets
    (3, 0, 9),  // Metadata
    (8, 0, 8),  // OffsetCommit
    (9, 0, 6),  // OffsetFetch
    (10, 0, 3), // FindCoordinator
    (11, 0, 6), // JoinGroup
    (12, 0, 4), // Heartbeat
    (13, 0, 4), // LeaveGroup
    (14, 0, 4), // SyncGroup
    (15, 0, 5), // DescribeGroups
    (16, 0, 3), // ListGroups
    (17, 0, 1), // SaslHandshake
    (18, 0, 3), // ApiVersions
    (19, 0, 5), // CreateTopics
    (20, 0, 4), // DeleteTopics
    (21, 0, 1), // DeleteRecords
    (22, 0, 2), // InitProducerId
    (23, 0, 3), // OffsetForLeaderEpoch
    (24, 0, 1), // AddPartitionsToTxn
    (25, 0, 1), // AddOffsetsToTxn
    (26, 0, 1), // EndTxn
    (28, 0, 2), // TxnOffsetCommit
    (29, 0, 1), // DescribeAcls
    (30, 0, 1), // CreateAcls
    (31, 0, 1), // DeleteAcls
    (32, 0, 2), // DescribeConfigs
    (33, 0, 1), // AlterConfigs
    (35, 0, 1), // DescribeLogDirs
    (36, 0, 1), // SaslAuthenticate
    (37, 0, 1), // CreatePartitions
    (42, 0, 2), // DeleteGroups
    (44, 0, 1), // IncrementalAlterConfigs
    (47, 0, 0), // OffsetDelete
];

/// What becomes of a request or a response.
pub(super) enum Verdict {
    Pass(Vec<u8>),
    /// Passes, but is not what the broker said.
    Rewritten(Vec<u8>),
    /// The broker does not get it; this is the answer.
    Answer(Vec<u8>),
    /// The connection ends, and this is why.
    Refuse(String),
}

/// One connection.
#[derive(Default)]
pub(super) struct Pretence {
    table: Option<Table>,
    /// For how long a Fetch throttles.
    throttle: Option<Duration>,
    /// Until when nothing may come.
    quiet_until: Option<Instant>,
    /// Key and version by correlation id of the requests whose answers are changed.
    asked: HashMap<i32, (i16, i16)>,
}

impl Pretence {
    pub(super) fn new(table: Option<Table>, throttle: Option<Duration>) -> Self {
        Self { table, throttle, ..Self::default() }
    }

    pub(super) fn request(&mut self, frame: Vec<u8>, now: Instant) -> Verdict {
        let Some((key, version, correlation)) = header(&frame) else {
            return Verdict::Refuse(format!("a request that is too short: {frame:?}"));
        };
        if self.quiet_until.is_some_and(|until| now < until) {
            return Verdict::Refuse(format!("request {key} of a client that is throttled"));
        }
        if let Some(table) = self.table {
            let row = table.iter().find(|row| row.0 == key);
            let is_known = row.is_some_and(|row| (row.1..=row.2).contains(&version));
            if key == API_VERSIONS && !is_known {
                // Answered in version 0, with the versions that can be asked in (KIP-511).
                let row = row.expect("every broker has it");
                return Verdict::Answer(answer(correlation, 0, UNSUPPORTED_VERSION, &[*row], 0));
            }
            if !is_known {
                return Verdict::Refuse(format!("version {version} of request {key}"));
            }
        }
        if matches!(key, FETCH | API_VERSIONS) {
            self.asked.insert(correlation, (key, version));
        }
        Verdict::Pass(frame)
    }

    pub(super) fn response(&mut self, frame: Vec<u8>, now: Instant) -> Verdict {
        let asked = Bytes(&frame).i32().and_then(|correlation| self.asked.remove(&correlation));
        let rewritten = match (asked, self.table, self.throttle) {
            (Some((API_VERSIONS, version)), Some(table), _) => older(&frame, version, table),
            (Some((FETCH, version)), _, Some(throttle)) => {
                self.quiet_until = Some(now + throttle);
                throttled(&frame, version, throttle)
            }
            _ => return Verdict::Pass(frame),
        };
        match rewritten {
            Some(rewritten) => Verdict::Rewritten(rewritten),
            None => Verdict::Refuse(format!("the answer to {asked:?} cannot be read: {frame:?}")),
        }
    }
}

/// Key, version and correlation id of a request.
fn header(frame: &[u8]) -> Option<(i16, i16, i32)> {
    let mut header = Bytes(frame);
    Some((header.i16()?, header.i16()?, header.i32()?))
}

/// A Fetch response that throttles.
fn throttled(frame: &[u8], version: i16, throttle: Duration) -> Option<Vec<u8>> {
    // The first field; flexible headers have no tags in front of it.
    let place = if version >= 12 { 5 } else { 4 };
    let mut frame = frame.to_vec();
    let field = frame.get_mut(place..place + 4)?;
    field.copy_from_slice(&(throttle.as_millis() as i32).to_be_bytes());
    Some(frame)
}

/// An ApiVersions response with what the table has in common with it.
fn older(frame: &[u8], version: i16, table: Table) -> Option<Vec<u8>> {
    let mut body = Bytes(frame);
    let (correlation, error) = (body.i32()?, body.i16()?);
    let flexible = version >= 3;
    let count = if flexible { body.length()?.checked_sub(1)? } else { body.i32()? as usize };
    let mut rows = Vec::new();
    for _ in 0..count {
        let (key, low, high) = (body.i16()?, body.i16()?, body.i16()?);
        // No version has tags.
        if flexible && body.length()? != 0 {
            return None;
        }
        if let Some(old) = table.iter().find(|row| row.0 == key) {
            rows.push((key, low.max(old.1), high.min(old.2)));
        }
    }
    let throttle = if version >= 1 { body.i32()? } else { 0 };
    Some(answer(correlation, version, error, &rows, throttle))
}

/// An ApiVersions response without features, with the header of every version of it.
fn answer(
    correlation: i32,
    version: i16,
    error: i16,
    rows: &[(i16, i16, i16)],
    throttle: i32,
) -> Vec<u8> {
    let flexible = version >= 3;
    let mut out = correlation.to_be_bytes().to_vec();
    out.extend(error.to_be_bytes());
    if flexible {
        assert!(rows.len() < 127, "one byte says how many");
        out.push(rows.len() as u8 + 1);
    } else {
        out.extend((rows.len() as i32).to_be_bytes());
    }
    for (key, low, high) in rows {
        [key, low, high].iter().for_each(|part| out.extend(part.to_be_bytes()));
        out.extend(flexible.then_some(0));
    }
    if version >= 1 {
        out.extend(throttle.to_be_bytes());
    }
    out.extend(flexible.then_some(0));
    out
}

/// Reads a frame; `None`: it is too short.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// An unsigned varint, of at most five bytes.
    fn length(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
