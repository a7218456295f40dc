//! The bytes that members of a classic group exchange by way of the coordinator: what each
//! subscribes to and what each is assigned. They come from other members, of any client and
//! version, so they are read without believing any of their lengths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_types::TopicPartition;

use super::assignors::MemberSubscription;
use crate::settings::Assignor;

/// The highest version there is (KIP-881), of the subscription. Readers of a lower one stop early.
const SUBSCRIPTION_VERSION: i16 = 3;
/// Assignments have had the same fields in all versions.
const ASSIGNMENT_VERSION: i16 = 0;
/// Of the user data of `co-partitioned-sticky`.
const USER_DATA_VERSION: i16 = 1;

/// Bytes that end too early, or lengths that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no {0} of the consumer protocol")]
pub(crate) struct Unreadable(&'static str);

/// What we subscribe to, in the words of one assignor.
pub(super) fn encode_subscription(
    assignor: Assignor,
    topics: &BTreeSet<Arc<str>>,
    owned: &BTreeSet<TopicPartition>,
    previous: &BTreeSet<TopicPartition>,
    generation: i32,
    rack: &str,
) -> Bytes {
    let user_data = match assignor {
        Assignor::Range | Assignor::RoundRobin => None,
        // What the Java client's assignor reads where the subscription has no generation.
        Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
        Assignor::CoPartitioned => Some(encode_user_data(previous, generation)),
    };
    let owned = by_topic(owned).map(|(topic, partitions)| {
        OwnedTopic::default().with_topic(name(topic).into()).with_partitions(partitions)
    });
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(topics.iter().map(name).collect())
        .with_user_data(user_data)
        .with_owned_partitions(owned.collect())
        .with_generation_id(generation)
        .with_rack_id((!rack.is_empty()).then(|| StrBytes::from_string(rack.to_owned())));
    encode(&subscription, SUBSCRIPTION_VERSION)
}

/// User data, version 1: the version, the generation, and as an assignment what an eager member
/// had before it gave it up. Later versions only append.
fn encode_user_data(previous: &BTreeSet<TopicPartition>, generation: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(USER_DATA_VERSION);
    bytes.put_i32(generation);
    bytes.put_slice(&encode_assignment(previous));
    bytes.freeze()
}

/// What a member is assigned.
pub(super) fn encode_assignment(partitions: &BTreeSet<TopicPartition>) -> Bytes {
    let topics = by_topic(partitions).map(|(topic, partitions)| {
        AssignedTopic::default().with_topic(name(topic).into()).with_partitions(partitions)
    });
    let assignment =
        ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect());
    encode(&assignment, ASSIGNMENT_VERSION)
}

fn encode(message: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    // Every field that is set is there in this version, and a BytesMut has room for anything.
    message.encode(&mut bytes, version).expect("the version has all fields");
    bytes.freeze()
}

fn name(topic: &Arc<str>) -> StrBytes {
    StrBytes::from_string(topic.to_string())
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> impl Iterator<Item = (&Arc<str>, Vec<i32>)> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics.into_iter()
}

/// Reads what a member subscribes to, as the leader.
///
/// # Errors
/// [`Unreadable`] if it is no subscription.
pub(super) fn decode_subscription(
    assignor: Assignor,
    member_id: &str,
    instance_id: Option<&str>,
    bytes: &Bytes,
) -> Result<MemberSubscription, Unreadable> {
    let mut reader = Reader { bytes: bytes.clone(), what: "subscription" };
    let version = reader.i16()?;
    if version < 0 {
        return Err(reader.unreadable());
    }
    let mut member = MemberSubscription {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
        generation: -1,
        ..MemberSubscription::default()
    };
    for _ in 0..reader.length()? {
        member.topics.insert(reader.string()?);
    }
    let user_data = reader.nullable_bytes()?;
    if version >= 1 {
        member.owned = reader.partitions()?;
    }
    if version >= 2 {
        member.generation = reader.i32()?;
    }
    if version >= 3 {
        member.rack = reader.nullable_string()?.filter(|rack| !rack.is_empty());
    }
    if let Some(user_data) = user_data {
        // User data that cannot be read costs stickiness and nothing else.
        let mut reader = Reader { bytes: user_data, what: "user data" };
        match assignor {
            Assignor::CooperativeSticky if version < 2 => {
                member.generation = reader.i32().unwrap_or(-1);
            }
            Assignor::CoPartitioned => {
                let _ = reader.co_partitioned(&mut member);
            }
            _ => {}
        }
    }
    Ok(member)
}

/// Reads what we are assigned. No bytes at all mean nothing, as brokers and Java clients have it.
///
/// # Errors
/// [`Unreadable`] if it is no assignment.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, Unreadable> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut reader = Reader { bytes: bytes.clone(), what: "assignment" };
    if reader.i16()? < 0 {
        return Err(reader.unreadable());
    }
    reader.partitions()
}

struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    fn unreadable(&self) -> Unreadable {
        Unreadable(self.what)
    }

    fn i16(&mut self) -> Result<i16, Unreadable> {
        self.bytes.try_get_i16().map_err(|_| self.unreadable())
    }

    fn i32(&mut self) -> Result<i32, Unreadable> {
        self.bytes.try_get_i32().map_err(|_| self.unreadable())
    }

    /// The length of an array, whose items have two bytes at least; null counts as empty.
    fn length(&mut self) -> Result<usize, Unreadable> {
        match self.i32()? {
            -1 => Ok(0),
            length => match usize::try_from(length) {
                Ok(length) if length <= self.bytes.len() / 2 => Ok(length),
                _ => Err(self.unreadable()),
            },
        }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Unreadable> {
        if length > self.bytes.len() {
            return Err(self.unreadable());
        }
        Ok(self.bytes.split_to(length))
    }

    fn string(&mut self) -> Result<Arc<str>, Unreadable> {
        let length = usize::try_from(self.i16()?).map_err(|_| self.unreadable())?;
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| self.unreadable())
    }

    fn nullable_string(&mut self) -> Result<Option<Arc<str>>, Unreadable> {
        if self.bytes.starts_with(&(-1_i16).to_be_bytes()) {
            self.i16()?;
            return Ok(None);
        }
        self.string().map(Some)
    }

    fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Unreadable> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| self.unreadable())?;
                Ok(Some(self.take(length)?))
            }
        }
    }

    fn partitions(&mut self) -> Result<BTreeSet<TopicPartition>, Unreadable> {
        let mut partitions = BTreeSet::new();
        for _ in 0..self.length()? {
            let topic = self.string()?;
            for _ in 0..self.length()? {
                partitions.insert(TopicPartition::new(topic.clone(), self.i32()?));
            }
        }
        Ok(partitions)
    }

    fn co_partitioned(&mut self, member: &mut MemberSubscription) -> Result<(), Unreadable> {
        if self.i16()? < 1 {
            return Err(self.unreadable());
        }
        let generation = self.i32()?;
        self.i16()?;
        let previous = self.partitions()?;
        if member.generation < 0 {
            member.generation = generation;
        }
        member.previous = previous;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(partitions: &[(&str, i32)]) -> BTreeSet<TopicPartition> {
        partitions.iter().map(|(topic, number)| TopicPartition::new(*topic, *number)).collect()
    }

    #[test]
    fn a_subscription_is_read_as_it_was_written() {
        let topics: BTreeSet<Arc<str>> = ["a".into(), "b".into()].into();
        let (owned, previous) = (set(&[("a", 1), ("a", 2), ("b", 0)]), set(&[("b", 7)]));
        for assignor in [Assignor::Range, Assignor::CooperativeSticky, Assignor::CoPartitioned] {
            let bytes = encode_subscription(assignor, &topics, &owned, &previous, 5, "r1");
            let read = decode_subscription(assignor, "m", Some("i"), &bytes).unwrap();
            assert_eq!(read.topics, topics);
            assert_eq!(read.owned, owned);
            assert_eq!(read.generation, 5);
            assert_eq!(read.rack.as_deref(), Some("r1"));
            let expected =
                if assignor == Assignor::CoPartitioned { previous.clone() } else { set(&[]) };
            assert_eq!(read.previous, expected);
        }
    }

    #[test]
    fn bytes_are_those_of_the_java_client() {
        // Version 3; one topic "t"; no user data; t: [0, 1]; generation 3; no rack.
        let expected: &[u8] = &[
            0, 3, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2,
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 255, 255,
        ];
        let owned = set(&[("t", 0), ("t", 1)]);
        let topics = ["t".into()].into();
        let bytes = encode_subscription(Assignor::Range, &topics, &owned, &set(&[]), 3, "");
        assert_eq!(&bytes[..], expected);
        assert_eq!(decode_subscription(Assignor::Range, "m", None, &bytes).unwrap().rack, None);
        let assignment: &[u8] =
            &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255];
        assert_eq!(&encode_assignment(&owned)[..], assignment);
        assert_eq!(decode_assignment(&Bytes::from_static(assignment)), Ok(owned));
    }

    #[test]
    fn the_generation_of_old_java_members_is_in_the_user_data() {
        // Version 1, as Kafka 2.4 to 3.1 have it.
        let bytes: &'static [u8] =
            &[0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0];
        let read =
            decode_subscription(Assignor::CooperativeSticky, "m", None, &Bytes::from_static(bytes));
        assert_eq!(read.unwrap().generation, 9);
    }

    #[test]
    fn lengths_are_not_believed() {
        let many: &'static [u8] = &[0, 3, 127, 255, 255, 255, 0, 1, b't'];
        let bytes = Bytes::from_static(many);
        assert!(decode_subscription(Assignor::Range, "m", None, &bytes).is_err());
        assert!(decode_assignment(&bytes).is_err());
        let good: &[u8] = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x07\xff\xff\xff\xff";
        assert_eq!(decode_assignment(&Bytes::from_static(good)), Ok(set(&[("t", 0), ("t", 7)])));
        for end in 1..good.len() - 4 {
            assert!(decode_assignment(&Bytes::from_static(&good[..end])).is_err(), "{end}");
        }
        let endless: &[u8] = b"\0\x01\x7f\xff\xff\xff\0\x01t\x7f\xff\xff\xff\0\0\0\0";
        let negative: &[u8] = b"\0\x01\0\0\0\x01\xff\xff";
        for bad in [endless, negative] {
            assert!(decode_assignment(&Bytes::from_static(bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_members_send_brings_the_leader_down(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0usize..80,
        ) {
            let bytes = Bytes::from(bytes);
            for assignor in [Assignor::Range, Assignor::CooperativeSticky, Assignor::CoPartitioned] {
                let _ = decode_subscription(assignor, "m", None, &bytes);
            }
            let _ = decode_assignment(&bytes);
            let owned = set(&[("topic", 1), ("topic", 2)]);
            let good = encode_subscription(
                Assignor::CoPartitioned, &["topic".into()].into(), &owned, &owned, 1, "r",
            );
            let _ = decode_subscription(Assignor::CoPartitioned, "m", None, &good.slice(..cut.min(good.len())));
        }
    }
}
