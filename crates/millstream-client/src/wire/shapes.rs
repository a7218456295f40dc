//! The shapes of all responses that the client reads, and the check against them.
//!
//! `kafka-protocol` reserves memory for as many elements as an array states, before it looks
//! whether they are there. A broker that is broken or hostile, or no broker at all, could have it
//! ask for gigabytes, and the process would abort. So [`Body::decode`](super::Body::decode) takes
//! only requests with a row here, and walks the response first
//! ([`millstream_protocol::shape`]). The records of a fetch are one field, skipped by its length.
//!
//! A request without a row does not compile where its version is chosen or its response read, and
//! no version is chosen that the row does not have. So a new version of a response begins here.

use kafka_protocol::messages::*;
use kafka_protocol::protocol::{HeaderVersion, Request};
use millstream_protocol::shape::{Limit, Shape, ShapeError, tags_length};

/// Array elements of one response together, tagged fields included, bare numbers not: as many as
/// there are partitions in the largest clusters. Each takes some hundred bytes in memory, so a
/// response costs some hundred megabytes at most beyond its own size, whatever it says.
const ELEMENTS: Limit = Limit::ButNumbers(1_000_000);

/// A request whose responses are checked before they are decoded.
pub(crate) trait Checked: Request {
    /// The versions that the shape describes.
    const SHAPED: (i16, i16);
    /// The shape of the response behind its header.
    const SHAPE: &'static Shape;
}

/// Checks a response behind its correlation id. Returns where its header ends.
pub(super) fn check<R: Checked>(version: i16, frame: &[u8]) -> Result<usize, ShapeError> {
    let header = match R::Response::header_version(version) {
        0 => 0,
        _ => tags_length(frame, ELEMENTS)?,
    };
    R::SHAPE.check(version, is_flexible::<R>(version), &frame[header..], ELEMENTS)?;
    Ok(header)
}

/// Whether that version of a response has compact lengths and tagged fields: if the request does
/// (KIP-482). Its own header would not tell, as ApiVersions keeps the old one (KIP-511).
fn is_flexible<R: Request>(version: i16) -> bool {
    R::header_version(version) >= 2
}

macro_rules! responses {
    ($($request:ident, $min:literal..=$max:literal, $shape:literal;)*) => {
        $(impl Checked for $request {
            const SHAPED: (i16, i16) = ($min, $max);
            const SHAPE: &'static Shape = &Shape::parse($shape);
        })*

        #[cfg(test)]
        const ROWS: &[tests::Row] = &[$(tests::Row::of::<$request>(stringify!($request))),*];
    };
}

#[rustfmt::skip]
responses! {
    ApiVersionsRequest, 0..=3, "2 [2 2 2] 4@1.. #0:[s 2 2]@3.. #1:8@3.. #2:[s 2 2]@3.. #3:1@3..";
    SaslHandshakeRequest, 1..=1, "2 [s]";
    SaslAuthenticateRequest, 0..=2, "2 s b 8@1..";
    MetadataRequest, 1..=13, "4@3.. [4 s 4 s] s@2.. 4 [2 s 16@10.. 1 [2 4 4 4@7.. [4] [4] [4]@5..] 4@8..] 2@13.. 4@8..10";
    FindCoordinatorRequest, 0..=5, "4@1.. [s 4 s 4 2 s]@4.. 2@0..3 s@1..3 4@0..3 s@0..3 4@0..3";
    ProduceRequest, 3..=13, "[16@13.. s@3..12 [4 2 8 8 8@5.. [4 s]@8.. s@8.. #0:{4 4}@10..]] 4 #0:[4 s 4 s]@10..";
    FetchRequest, 4..=16, "4 2@7.. 4@7.. [16@13.. s@4..12 [4 2 8 8 8@5.. [8 8] 4@11.. b #0:{4 8}@12.. #1:{4 4}@12.. #2:{8 4}@12..]] #0:[4 s 4 s]@16..";
    ListOffsetsRequest, 1..=10, "4@2.. [s [4 2 8 8 4@4..]]";
    OffsetForLeaderEpochRequest, 3..=4, "4 [s [2 4 4 8]]";
    OffsetCommitRequest, 2..=9, "4@3.. [s [4 2]]";
    OffsetFetchRequest, 1..=9, "4@3.. [s [s [4 8 4 s 2]] 2]@8.. [s [4 8 4@5.. s 2]]@1..7 2@2..7";
    JoinGroupRequest, 5..=9, "4 2 4 s@7.. s s 1@9.. s [s s b]";
    SyncGroupRequest, 3..=5, "4 2 s@5.. s@5.. b";
    HeartbeatRequest, 3..=4, "4 2";
    LeaveGroupRequest, 3..=5, "4 2 [s s 2]";
    ConsumerGroupHeartbeatRequest, 0..=1, "4 2 s s 4 4 ?{[16 [4]]}";
    InitProducerIdRequest, 0..=5, "4 2 8 2";
    AddPartitionsToTxnRequest, 0..=3, "4 [s [4 2]]";
    AddOffsetsToTxnRequest, 0..=4, "4 2";
    TxnOffsetCommitRequest, 0..=5, "4 [s [4 2]]";
    EndTxnRequest, 0..=5, "4 2 8@5.. 2@5..";
    WriteTxnMarkersRequest, 1..=1, "[8 [s [4 2]]]";
    DescribeProducersRequest, 0..=0, "4 [s [4 2 s [8 4 4 8 4 8]]]";
    DescribeTransactionsRequest, 0..=0, "4 [2 s s 4 8 8 2 [s [4]]]";
    ListTransactionsRequest, 0..=1, "4 2 [s] [s 8 s]";
    CreateTopicsRequest, 2..=7, "4 [s 16@7.. 2 s 4@5.. 2@5.. [s s 1 1 1]@5.. #0:2@5..]";
    DeleteTopicsRequest, 1..=6, "4 [s 16@6.. 2 s@5..]";
    CreatePartitionsRequest, 0..=3, "4 [s 2 s]";
    DescribeConfigsRequest, 1..=4, "4 [2 s 1 s [s s 1 1 1 [s s 1] 1@3.. s@3..]]";
    AlterConfigsRequest, 0..=2, "4 [2 s 1 s]";
    IncrementalAlterConfigsRequest, 0..=1, "4 [2 s 1 s]";
    DescribeLogDirsRequest, 1..=4, "4 2@3.. [2 s [s [4 8 8 1]] 8@4.. 8@4..]";
    DeleteRecordsRequest, 0..=2, "4 [s [4 8 2]]";
    ListGroupsRequest, 0..=5, "4@1.. 2 [s s s@4.. s@5..]";
    DescribeGroupsRequest, 0..=5, "4@1.. [2 s s s s [s s@4.. s s b b] 4@3..]";
    ConsumerGroupDescribeRequest, 0..=1, "4 [2 s s s 4 4 s [s s s 4 s s [s] s {[16 s [4]]} {[16 s [4]]} 1@1..] 4]";
    DeleteGroupsRequest, 0..=2, "4 [s 2]";
    OffsetDeleteRequest, 0..=0, "2 4 [s [4 2]]";
    CreateAclsRequest, 1..=3, "4 [2 s]";
    DescribeAclsRequest, 1..=3, "4 2 s [1 s 1 [s s 1 1]]";
    DeleteAclsRequest, 1..=3, "4 [2 s [2 s 1 s 1 s s 1 1]]";
    DescribeUserScramCredentialsRequest, 0..=0, "4 2 s [s 2 s [1 4]]";
    AlterUserScramCredentialsRequest, 0..=0, "4 [s 2 s]";
}

#[cfg(test)]
mod tests;
