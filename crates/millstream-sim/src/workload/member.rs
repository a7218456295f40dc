//! A member of a consumer group, by the classic protocol: joins, shares out if it leads, reads what
//! it was given from the committed offsets on, commits, sends heartbeats, and leaves now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::fetching::{Unread, What, fetch};
use super::{Shared, admin, code};
use crate::actor::Me;
use crate::ledger::Partition;
use crate::link::{Link, Lost, text};

const SESSION_MS: i32 = 3_000;
const REBALANCE_MS: i32 = 4_000;
/// Longest wait for the answer to a join: others have to come first.
const JOIN_TIMEOUT: Duration = Duration::from_secs(14);
const HEARTBEAT: Duration = Duration::from_millis(900);

/// What sends a member back to an earlier step.
enum Back {
    /// Its connection.
    Lost,
    /// The group takes up its members anew.
    Rejoin,
    /// The group does not know it any more.
    Unknown,
}

impl From<Lost> for Back {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

struct Member {
    me: Me,
    shared: Shared,
    group: &'static str,
    instance: Option<StrBytes>,
    id: StrBytes,
    generation: i32,
    link: Link,
    /// Positions in what it was given.
    positions: BTreeMap<Partition, i64>,
    committed: BTreeMap<Partition, i64>,
}

/// Is a member until the run is closing.
pub(crate) async fn run(me: Me, shared: Shared, group: &'static str, is_static: bool) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    me.sleep_ms(0, 3_000).await;
    let link = Link::reopen(&me, shared.broker).await;
    let instance = is_static.then(|| text(me.host().name()));
    let mut member = Member {
        me,
        shared,
        group,
        instance,
        id: text(""),
        generation: -1,
        link,
        positions: BTreeMap::new(),
        committed: BTreeMap::new(),
    };
    while !member.shared.is_closing() {
        let Err(back) = member.generation().await else { continue };
        match back {
            Back::Lost => member.link = Link::reopen(&member.me, member.shared.broker).await,
            Back::Rejoin => {}
            Back::Unknown => member.id = text(""),
        }
        member.me.sleep_ms(1, 100).await;
    }
    let _ = member.leave().await;
}

impl Member {
    fn group(&self) -> GroupId {
        GroupId(text(self.group))
    }

    /// What an error code sends it to. A code that it should never get is a violation.
    fn back(&self, what: &str, code: i16) -> Back {
        match code {
            code::REBALANCE_IN_PROGRESS | code::ILLEGAL_GENERATION => Back::Rejoin,
            code::UNKNOWN_MEMBER_ID | code::FENCED_INSTANCE_ID => Back::Unknown,
            code if code::is_retriable(code) => Back::Rejoin,
            code => {
                self.me.host().violation(format!("{what} is refused with code {code}"));
                Back::Unknown
            }
        }
    }

    /// One generation, from joining to being sent back, or to leaving.
    async fn generation(&mut self) -> Result<(), Back> {
        let joined = self.join().await?;
        self.id = joined.member_id.clone();
        self.generation = joined.generation_id;
        let assignments = match joined.leader == joined.member_id {
            true => self.share_out(&joined),
            false => Vec::new(),
        };
        let era = self.shared.era();
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_assignments(assignments);
        let correlation = self.link.send(3, &request);
        let synced = self.link.receive::<SyncGroupRequest>(3, correlation, JOIN_TIMEOUT).await?;
        if synced.error_code != 0 {
            return Err(self.back("a sync", synced.error_code));
        }
        let given = self.parse(&synced.assignment);
        let owner = self.instance.clone().unwrap_or_else(|| self.id.clone());
        self.me.host().trace(format_args!("has {given:?} in generation {}", self.generation));
        self.shared.ledger.borrow_mut().owns(self.group, self.generation, &owner, &given, era);
        self.find_positions(&given).await?;
        self.work().await
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, Back> {
        let topics: std::collections::BTreeSet<&str> =
            self.shared.partitions.iter().map(|(topic, _)| *topic).collect();
        let mut subscription = BytesMut::new();
        subscription.put_i16(0);
        subscription.put_i32(topics.len() as i32);
        for topic in topics {
            subscription.put_i16(topic.len() as i16);
            subscription.put_slice(topic.as_bytes());
        }
        subscription.put_i32(-1);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("dealt"))
            .with_metadata(subscription.freeze());
        let request = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let correlation = self.link.send(5, &request);
        let joined = self.link.receive::<JoinGroupRequest>(5, correlation, JOIN_TIMEOUT).await?;
        match joined.error_code {
            0 => Ok(joined),
            code::MEMBER_ID_REQUIRED => {
                self.id = joined.member_id;
                Err(Back::Rejoin)
            }
            code => Err(self.back("a join", code)),
        }
    }

    /// Deals the partitions to the members, one after the other.
    fn share_out(&self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let members = &joined.members;
        let start = self.me.between(0, 3) as usize;
        let hand = |index: usize| {
            let mut hand = String::new();
            for (at, (topic, partition)) in self.shared.partitions.iter().enumerate() {
                if (at + start) % members.len() == index {
                    hand.push_str(&format!("{topic}:{partition} "));
                }
            }
            Bytes::from(hand)
        };
        let assignment = |(index, member): (usize, &_)| {
            let member: &kafka_protocol::messages::join_group_response::JoinGroupResponseMember =
                member;
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(hand(index))
        };
        members.iter().enumerate().map(assignment).collect()
    }

    fn parse(&self, assignment: &Bytes) -> Vec<Partition> {
        let words = std::str::from_utf8(assignment).unwrap_or_default().split_whitespace();
        let find = |word: &str| {
            let named = |(topic, number): &&Partition| format!("{topic}:{number}") == word;
            self.shared.partitions.iter().find(named).copied()
        };
        words.filter_map(find).collect()
    }

    async fn find_positions(&mut self, given: &[Partition]) -> Result<(), Back> {
        self.positions.clear();
        self.committed.clear();
        while self.positions.len() < given.len() {
            let mut topics: Vec<OffsetFetchRequestTopic> = Vec::new();
            let mut floors = Vec::new();
            for partition in given {
                let floor = self.shared.ledger.borrow().commit_floor(self.group, *partition);
                floors.push((*partition, floor));
                match topics.last_mut() {
                    Some(topic) if topic.name.as_str() == partition.0 => {
                        topic.partition_indexes.push(partition.1);
                    }
                    _ => topics.push(
                        OffsetFetchRequestTopic::default()
                            .with_name(TopicName(text(partition.0)))
                            .with_partition_indexes(vec![partition.1]),
                    ),
                }
            }
            let era = self.shared.era();
            let request = OffsetFetchRequest::default()
                .with_group_id(self.group())
                .with_topics(Some(topics))
                .with_require_stable(true);
            let response = self.link.ask(7, &request).await?;
            if response.error_code != 0 {
                return Err(self.back("a look at offsets", response.error_code));
            }
            let rows = response.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(move |row| (topic.name.as_str().to_owned(), row))
            });
            for (topic, row) in rows {
                let key = (topic.as_str(), row.partition_index);
                let Some((partition, floor)) = floors.iter().find(|(found, _)| *found == key)
                else {
                    continue;
                };
                if row.error_code != 0 {
                    continue;
                }
                let offset = row.committed_offset;
                let mut ledger = self.shared.ledger.borrow_mut();
                ledger.offset_read(self.group, *partition, *floor, offset, era);
                self.positions.insert(*partition, offset.max(0));
                self.committed.insert(*partition, offset);
            }
            if self.positions.len() < given.len() {
                self.me.sleep_ms(50, 200).await;
            }
        }
        Ok(())
    }

    /// Reads and commits until something sends it back, or it has had enough.
    async fn work(&mut self) -> Result<(), Back> {
        let mut beat = self.me.now();
        loop {
            if self.shared.is_closing() {
                return Ok(());
            }
            if self.me.chance(15_000) {
                self.leave().await?;
                self.me.sleep_ms(100, 4_000).await;
                return Err(Back::Unknown);
            }
            if !self.positions.is_empty() {
                self.poll().await?;
            }
            if self.me.chance(400_000) {
                self.commit().await?;
            }
            if self.me.now() >= beat {
                beat = self.me.now() + HEARTBEAT;
                let request = HeartbeatRequest::default()
                    .with_group_id(self.group())
                    .with_generation_id(self.generation)
                    .with_member_id(self.id.clone())
                    .with_group_instance_id(self.instance.clone());
                let response = self.link.ask(3, &request).await?;
                if response.error_code != 0 {
                    return Err(self.back("a heartbeat", response.error_code));
                }
            }
            self.me.sleep_ms(5, 400).await;
        }
    }

    async fn poll(&mut self) -> Result<(), Back> {
        let era = self.shared.era();
        let wait_ms = self.me.between(0, 300) as i32;
        let (me, shared) = (self.me.clone(), self.shared.clone());
        let fetched = fetch(&me, &shared, &mut self.link, &self.positions, true, wait_ms).await?;
        for outcome in fetched {
            match outcome {
                Ok(fetched) => {
                    self.positions.insert(fetched.partition, fetched.next);
                    let mut ledger = self.shared.ledger.borrow_mut();
                    for item in fetched.items {
                        if let What::Record(id) = item.what
                            && fetched.shown.contains(&item.offset)
                        {
                            ledger.saw(
                                fetched.partition,
                                item.offset,
                                id,
                                true,
                                item.timestamp,
                                era,
                            );
                        }
                    }
                }
                Err((partition, Unread::OutOfRange(start))) => {
                    self.positions.insert(partition, start.max(0));
                }
                Err((_, Unread::Later)) => {}
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Back> {
        let ahead: Vec<(Partition, i64)> = self
            .positions
            .iter()
            .filter(|(partition, position)| self.committed.get(partition) != Some(position))
            .map(|(partition, position)| (*partition, *position))
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let topics = ahead.iter().map(|(partition, position)| {
            let row = OffsetCommitRequestPartition::default()
                .with_partition_index(partition.1)
                .with_committed_offset(*position);
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(text(partition.0)))
                .with_partitions(vec![row])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone())
            .with_topics(topics.collect());
        let era = self.shared.era();
        let response = self.link.ask(7, &request).await?;
        for ((partition, position), topic) in ahead.iter().zip(&response.topics) {
            match topic.partitions[0].error_code {
                0 => {
                    self.committed.insert(*partition, *position);
                    let mut ledger = self.shared.ledger.borrow_mut();
                    ledger.offset_committed(self.group, *partition, *position, era);
                }
                code => return Err(self.back("a commit", code)),
            }
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Back> {
        let identity = MemberIdentity::default()
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance.clone());
        let request =
            LeaveGroupRequest::default().with_group_id(self.group()).with_members(vec![identity]);
        self.link.ask(3, &request).await?;
        Ok(())
    }
}
