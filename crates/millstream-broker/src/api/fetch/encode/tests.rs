use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchResponse, ProducerId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::api::topic_name;

/// Records by topic and partition; `None` is an error.
type Contents = Vec<Vec<Option<Vec<u8>>>>;

fn partition(index: usize, records: Option<&Vec<u8>>) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(index as i32)
        .with_records(Some(records.cloned().unwrap_or_default().into()));
    if records.is_none() {
        return data.with_error_code(3).with_aborted_transactions(None);
    }
    let aborted =
        AbortedTransaction::default().with_producer_id(ProducerId(7)).with_first_offset(1);
    data.with_high_watermark(9).with_aborted_transactions(Some(vec![aborted; index % 3]))
}

fn response(contents: &Contents, version: i16) -> FetchResponse {
    let topics = contents.iter().enumerate().map(|(number, partitions)| {
        let partitions = partitions.iter().enumerate();
        let rows = partitions.map(|(index, records)| partition(index, records.as_ref())).collect();
        let row = FetchableTopicResponse::default().with_partitions(rows);
        match version {
            13.. => row.with_topic_id(Uuid::from_u128(number as u128 + 1)),
            _ => row.with_topic(topic_name(&format!("topic-{number}"))),
        }
    });
    let response = FetchResponse::default().with_responses(topics.collect());
    if version >= 7 { response.with_session_id(77) } else { response }
}

/// The records as pieces, those of odd length of a file, and the response without them.
fn apart(mut response: FetchResponse) -> (FetchResponse, Vec<Piece>) {
    let file = Arc::new(tempfile::tempfile().unwrap());
    let mut at = 5;
    let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
    let pieces = partitions.map(|partition| {
        let records = partition.records.replace(Bytes::new()).unwrap();
        if records.len() % 2 == 0 {
            return Piece::Bytes(records);
        }
        file.write_all_at(&records, at).unwrap();
        let piece = Piece::File { file: Arc::<File>::clone(&file), at, len: records.len() };
        at += records.len() as u64;
        piece
    });
    let pieces = pieces.collect();
    (response, pieces)
}

/// The versions that the broker offers.
fn offered() -> std::ops::RangeInclusive<i16> {
    let api = crate::api::find(ApiKey::Fetch as i16).unwrap();
    api.min..=api.max
}

proptest! {
    #[test]
    fn the_bytes_are_the_codecs(
        contents in prop::collection::vec(
            prop::collection::vec(
                prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 0..5), 0..200),
        version in offered(),
    ) {
        let response = response(&contents, version);
        let expected = wire::encode(&response, version, 42);
        let (without, pieces) = apart(response);
        let files = pieces.iter().filter(|piece| matches!(piece, Piece::File { .. })).count();
        let found = around(version, 42, without, pieces).unwrap();
        prop_assert!(found.pieces().len() <= 2 * files + 1);
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_bytes().unwrap(), expected);
    }
}

#[test]
fn a_field_behind_the_records_is_no_answer() {
    use kafka_protocol::messages::fetch_response::LeaderIdAndEpoch;
    let mut response = response(&vec![vec![Some(vec![1, 2, 3])]], 16);
    let leader = LeaderIdAndEpoch::default().with_leader_epoch(3);
    response.responses[0].partitions[0].current_leader = leader;
    let (without, pieces) = apart(response);
    assert!(around(16, 42, without, pieces).is_none());
}
