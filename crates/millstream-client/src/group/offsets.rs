//! Committing offsets and fetching committed ones.
//!
//! Commits go out one after the other in the order in which they were made, each until all its
//! partitions have an answer, so that a retry never undoes a younger commit. A commit counts for
//! the generation in which it was made, or for later ones as long as the partition stays ours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use millstream_types::{Offset, TopicPartition};

use super::codes::*;
use super::{Committed, GroupEvent, GroupTag};
use crate::base::Base;
use crate::error::{KafkaError, code};
use crate::network::{Completion, NodeId};
use crate::random::Backoff;
use crate::settings::ConnectionSettings;
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// How often a commit is tried for a topic that the coordinator does not know (yet, or any more).
const UNKNOWN_TOPIC_TRIES: u32 = 5;

/// As what offsets are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As a member; by someone who assigns by hand with generation -1 and no member id.
    Sender {
        generation: i32,
        member_id: String,
        instance_id: Option<String>,
        /// KIP-848: the generation is a member epoch.
        by_broker: bool,
        /// A JoinGroup is out: the next generation may have begun already.
        joining: bool,
    },
    /// Between two generations: what is ours waits.
    Between,
    /// Subscribed and not a member.
    Outside,
}

/// What an answer means for the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The group is rebalancing.
    Rebalancing,
    /// The membership is not what it was taken for.
    Fenced(KafkaError),
    /// Another member has our instance id.
    Replaced(KafkaError),
}

/// In which generations a partition's commit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// As long as the partition stays ours.
    WhileOwned,
    In(i32),
    /// No more.
    Never,
}

#[derive(Debug)]
struct Item {
    partition: TopicPartition,
    offset: Offset,
    epoch: Option<i32>,
    counts: Counts,
    result: Option<Result<(), KafkaError>>,
}

#[derive(Debug)]
struct Commit {
    id: u64,
    items: Vec<Item>,
    tries: u32,
    /// Waits for the next generation.
    held: bool,
}

#[derive(Debug)]
struct Fetch {
    id: u64,
    partitions: Vec<TopicPartition>,
    out: bool,
}

#[derive(Debug)]
pub(super) struct Offsets {
    group_id: GroupId,
    require_stable: bool,
    next_id: u64,
    commits: VecDeque<Commit>,
    /// Generation with which the first commit is out.
    committing: Option<i32>,
    commit_at: Duration,
    commit_backoff: Option<Backoff>,
    fetches: Vec<Fetch>,
    fetch_at: Duration,
    fetch_backoff: Option<Backoff>,
}

impl Offsets {
    pub(super) fn new(group_id: &str, require_stable: bool) -> Self {
        Self {
            group_id: GroupId(StrBytes::from_string(group_id.to_owned())),
            require_stable,
            next_id: 0,
            commits: VecDeque::new(),
            committing: None,
            commit_at: Duration::ZERO,
            commit_backoff: None,
            fetches: Vec::new(),
            fetch_at: Duration::ZERO,
            fetch_backoff: None,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Queues a commit. `owns` says which partitions are ours, `generation` what counts for others.
    pub(super) fn commit(
        &mut self,
        offsets: Vec<(TopicPartition, Offset, Option<i32>)>,
        generation: i32,
        owns: impl Fn(&TopicPartition) -> bool,
    ) -> u64 {
        let id = self.id();
        let items = offsets.into_iter().map(|(partition, offset, epoch)| {
            let counts = if owns(&partition) { Counts::WhileOwned } else { Counts::In(generation) };
            Item { partition, offset, epoch, counts, result: None }
        });
        self.commits.push_back(Commit { id, items: items.collect(), tries: 0, held: false });
        id
    }

    pub(super) fn fetch(&mut self, partitions: Vec<TopicPartition>) -> u64 {
        let id = self.id();
        self.fetches.push(Fetch { id, partitions, out: false });
        id
    }

    /// Whether commits are there that must reach the coordinator before the next JoinGroup does.
    pub(super) fn must_go_first(&self) -> bool {
        self.committing.is_some() || self.commits.front().is_some_and(|commit| !commit.held)
    }

    /// These are given up: what is not committed yet counts in this generation only.
    pub(super) fn released(&mut self, partitions: &BTreeSet<TopicPartition>, generation: i32) {
        self.restrict(partitions, Counts::In(generation));
    }

    /// These are lost: nothing more of them is sent.
    pub(super) fn lost(&mut self, partitions: &BTreeSet<TopicPartition>) {
        self.restrict(partitions, Counts::Never);
    }

    fn restrict(&mut self, partitions: &BTreeSet<TopicPartition>, counts: Counts) {
        for commit in &mut self.commits {
            for item in commit.items.iter_mut().filter(|item| partitions.contains(&item.partition))
            {
                if item.counts != Counts::Never {
                    item.counts = counts;
                }
                commit.held = false;
            }
        }
    }

    /// A new generation has begun.
    pub(super) fn rejoined(&mut self) {
        for commit in &mut self.commits {
            commit.held = false;
        }
    }

    /// Ends everything that waits: the coordinator cannot be asked.
    pub(super) fn refuse(&mut self, error: &KafkaError, events: &mut VecDeque<GroupEvent>) {
        let out = usize::from(self.committing.is_some());
        for commit in self.commits.iter_mut().skip(out) {
            commit.refuse(error);
        }
        self.report(events);
        self.fetches.retain(|fetch| {
            if !fetch.out {
                let result = Err(error.clone());
                events.push_back(GroupEvent::Fetched { id: fetch.id, result });
            }
            fetch.out
        });
    }

    /// Reports the commits in front that are done.
    fn report(&mut self, events: &mut VecDeque<GroupEvent>) {
        while self.committing.is_none()
            && self.commits.front().is_some_and(|c| c.items.iter().all(|i| i.result.is_some()))
            && let Some(commit) = self.commits.pop_front()
        {
            let partitions = commit.items.into_iter().filter_map(|item| {
                let result = item.result?;
                Some((item.partition, item.offset, result))
            });
            events.push_back(GroupEvent::Committed {
                id: commit.id,
                partitions: partitions.collect(),
            });
        }
    }

    /// Whether a coordinator is wanted.
    pub(super) fn is_idle(&self) -> bool {
        self.commits.is_empty() && self.fetches.is_empty()
    }

    pub(super) fn advance(
        &mut self,
        standing: &Standing,
        node: impl FnOnce(&mut Base) -> Option<NodeId>,
        base: &mut Base,
        events: &mut VecDeque<GroupEvent>,
        now: Now,
    ) {
        if self.committing.is_none() {
            self.judge(standing);
            self.report(events);
        }
        if self.is_idle() {
            return;
        }
        let Some(node) = node(base) else { return };
        if self.committing.is_none() && self.commit_at <= now.mono {
            self.send_commit(standing, node, base, now);
        }
        if self.fetch_at <= now.mono {
            for index in 0..self.fetches.len() {
                if !self.fetches[index].out {
                    self.send_fetch(index, standing, node, base, now);
                }
            }
        }
    }

    /// Ends what cannot be sent any more.
    fn judge(&mut self, standing: &Standing) {
        for item in self.commits.iter_mut().flat_map(|commit| &mut commit.items) {
            let refused = match (item.counts, standing) {
                (Counts::WhileOwned, _) => None,
                (Counts::Never, _) => Some(ILLEGAL_GENERATION),
                (Counts::In(wanted), Standing::Sender { generation, .. }) => {
                    (wanted != *generation).then_some(ILLEGAL_GENERATION)
                }
                (Counts::In(_), Standing::Between) => Some(ILLEGAL_GENERATION),
                (Counts::In(_), Standing::Outside) => Some(UNKNOWN_MEMBER_ID),
            };
            if let (Some(code), None) = (refused, &item.result) {
                item.result = Some(Err(KafkaError::of(code)));
            }
        }
    }

    fn send_commit(&mut self, standing: &Standing, node: NodeId, base: &mut Base, now: Now) {
        let Standing::Sender { generation, member_id, instance_id, by_broker, .. } = standing
        else {
            return;
        };
        let Some(commit) = self.commits.front().filter(|commit| !commit.held) else { return };
        let lowest = if *by_broker { 9 } else { 2 };
        let Some(version) = base.net.version::<OffsetCommitRequest>(node, (lowest, 9)) else {
            return;
        };
        let mut topics: BTreeMap<&Arc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for item in commit.items.iter().filter(|item| item.result.is_none()) {
            let mut partition = OffsetCommitRequestPartition::default()
                .with_partition_index(item.partition.partition)
                .with_committed_offset(item.offset)
                .with_committed_metadata(Some(StrBytes::default()));
            if version >= 6 {
                partition = partition.with_committed_leader_epoch(item.epoch.unwrap_or(-1));
            }
            topics.entry(&item.partition.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(StrBytes::from_string(topic.to_string()).into())
                .with_partitions(partitions)
        });
        let mut request = OffsetCommitRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id_or_member_epoch(*generation)
            .with_member_id(StrBytes::from_string(member_id.clone()))
            .with_topics(topics.collect());
        if version >= 7 {
            request =
                request.with_group_instance_id(instance_id.clone().map(StrBytes::from_string));
        }
        self.committing = Some(*generation);
        let tag = Tag::Group(GroupTag::Commit { id: commit.id });
        base.net.send(node, &request, version, base.settings.request_timeout, tag, now);
    }

    /// A commit was answered. `standing` is what it is now.
    pub(super) fn committed(
        &mut self,
        id: u64,
        completion: Completion,
        standing: &Standing,
        base: &mut Base,
        events: &mut VecDeque<GroupEvent>,
        now: Now,
    ) -> (Verdict, bool) {
        let Some(generation) = self.committing.take() else { return (Verdict::Fine, false) };
        let Some(commit) = self.commits.front_mut().filter(|commit| commit.id == id) else {
            return (Verdict::Fine, false);
        };
        let node = completion.node;
        let answers = completion
            .result
            .and_then(|body| body.decode_from::<OffsetCommitRequest>(node, &mut base.net, now))
            .map_err(KafkaError::from)
            .map(|response| {
                base.net.throttle(node, response.throttle_time_ms, now);
                let mut codes: BTreeMap<TopicPartition, i16> = BTreeMap::new();
                for topic in response.topics {
                    let name: Arc<str> = topic.name.as_str().into();
                    for partition in topic.partitions {
                        let key = TopicPartition::new(name.clone(), partition.partition_index);
                        codes.insert(key, partition.error_code);
                    }
                }
                codes
            });
        // Whether we are in the generation that the commit was sent for, and no other may have
        // begun meanwhile; if we are in another one, it is worth another try at once.
        let (same, another) = match standing {
            Standing::Sender { generation: current, joining, .. } => {
                (*current == generation && !joining, *current != generation)
            }
            Standing::Between => (false, false),
            Standing::Outside => (false, true),
        };
        commit.tries += 1;
        let (mut verdict, mut moved, mut again) = (Verdict::Fine, false, false);
        for item in commit.items.iter_mut().filter(|item| item.result.is_none()) {
            let error = match &answers {
                Ok(codes) => match codes.get(&item.partition) {
                    Some(0) => {
                        item.result = Some(Ok(()));
                        continue;
                    }
                    Some(code) => KafkaError::of(*code),
                    None => KafkaError::of(code::BAD_MESSAGE),
                },
                Err(error) => error.clone(),
            };
            let waits = item.counts == Counts::WhileOwned;
            match error.code {
                UNKNOWN_TOPIC_OR_PARTITION if commit.tries < UNKNOWN_TOPIC_TRIES => again = true,
                COORDINATOR_LOAD_IN_PROGRESS => again = true,
                STALE_MEMBER_EPOCH if waits => {
                    again = true;
                    verdict = Verdict::Rebalancing;
                }
                code if coordinator_has_moved(code) => {
                    again = true;
                    moved = true;
                }
                REBALANCE_IN_PROGRESS if waits => {
                    commit.held = true;
                    verdict = Verdict::Rebalancing;
                }
                ILLEGAL_GENERATION if waits && another => again = true,
                ILLEGAL_GENERATION if waits && !same => commit.held = true,
                ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | FENCED_MEMBER_EPOCH => {
                    if same && generation >= 0 {
                        verdict = Verdict::Fenced(error.clone());
                    }
                    item.result = Some(Err(error));
                }
                FENCED_INSTANCE_ID => {
                    verdict = Verdict::Replaced(error.clone());
                    item.result = Some(Err(error));
                }
                _ => item.result = Some(Err(error)),
            }
        }
        let backoff = backoff(&mut self.commit_backoff, &base.settings);
        if again {
            self.commit_at = now.after(backoff.failed(base.net.random()));
        } else {
            backoff.succeeded();
        }
        self.report(events);
        (verdict, moved)
    }

    fn send_fetch(
        &mut self,
        index: usize,
        standing: &Standing,
        node: NodeId,
        base: &mut Base,
        now: Now,
    ) {
        let Some(version) = base.net.version::<OffsetFetchRequest>(node, (1, 9)) else { return };
        let fetch = &mut self.fetches[index];
        let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
        for partition in &fetch.partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let name = |topic: &Arc<str>| StrBytes::from_string(topic.to_string()).into();
        let mut request = OffsetFetchRequest::default();
        if version >= 8 {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopics::default()
                    .with_name(name(topic))
                    .with_partition_indexes(partitions)
            });
            let mut group = OffsetFetchRequestGroup::default()
                .with_group_id(self.group_id.clone())
                .with_topics(Some(topics.collect()));
            if let (9.., Standing::Sender { generation, member_id, by_broker: true, .. }) =
                (version, standing)
            {
                group = group
                    .with_member_id(Some(StrBytes::from_string(member_id.clone())))
                    .with_member_epoch(*generation);
            }
            request = request.with_groups(vec![group]);
        } else {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(name(topic))
                    .with_partition_indexes(partitions)
            });
            request =
                request.with_group_id(self.group_id.clone()).with_topics(Some(topics.collect()));
        }
        if version >= 7 {
            request = request.with_require_stable(self.require_stable);
        }
        fetch.out = true;
        let tag = Tag::Group(GroupTag::Fetch { id: fetch.id });
        base.net.send(node, &request, version, base.settings.request_timeout, tag, now);
    }

    /// A fetch was answered. Returns whether another coordinator has to be looked for.
    pub(super) fn fetched(
        &mut self,
        id: u64,
        completion: Completion,
        base: &mut Base,
        events: &mut VecDeque<GroupEvent>,
        now: Now,
    ) -> bool {
        let Some(index) = self.fetches.iter().position(|fetch| fetch.id == id) else {
            return false;
        };
        let node = completion.node;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let version = body.version();
            let response = body.decode_from::<OffsetFetchRequest>(node, &mut base.net, now)?;
            base.net.throttle(node, response.throttle_time_ms, now);
            read_fetch(response, version)
        });
        match answer {
            Ok(found) => {
                let fetch = self.fetches.remove(index);
                backoff(&mut self.fetch_backoff, &base.settings).succeeded();
                let result = fetch.partitions.into_iter().map(|partition| {
                    let committed = found.get(&partition).cloned().flatten();
                    (partition, committed)
                });
                events.push_back(GroupEvent::Fetched { id, result: Ok(result.collect()) });
                false
            }
            Err(error) => {
                let moved = coordinator_has_moved(error.code);
                if moved
                    || matches!(
                        error.code,
                        COORDINATOR_LOAD_IN_PROGRESS | UNSTABLE_OFFSET_COMMIT | STALE_MEMBER_EPOCH
                    )
                {
                    self.fetches[index].out = false;
                    let backoff = backoff(&mut self.fetch_backoff, &base.settings);
                    self.fetch_at = now.after(backoff.failed(base.net.random()));
                } else {
                    self.fetches.remove(index);
                    events.push_back(GroupEvent::Fetched { id, result: Err(error) });
                }
                moved
            }
        }
    }

    pub(super) fn next_deadline(&self, now: Now) -> Option<Duration> {
        let commit =
            (self.committing.is_none() && !self.commits.is_empty()).then_some(self.commit_at);
        let fetch = self.fetches.iter().any(|fetch| !fetch.out).then_some(self.fetch_at);
        earlier(commit.filter(|at| *at > now.mono), fetch.filter(|at| *at > now.mono))
    }
}

impl Commit {
    fn refuse(&mut self, error: &KafkaError) {
        for item in self.items.iter_mut().filter(|item| item.result.is_none()) {
            item.result = Some(Err(error.clone()));
        }
    }
}

fn backoff<'a>(slot: &'a mut Option<Backoff>, settings: &ConnectionSettings) -> &'a mut Backoff {
    slot.get_or_insert_with(|| Backoff::new(settings.retry_backoff, settings.retry_backoff_max))
}

/// The offsets by partition, or the first error.
fn read_fetch(
    response: kafka_protocol::messages::OffsetFetchResponse,
    version: i16,
) -> Result<BTreeMap<TopicPartition, Option<Committed>>, KafkaError> {
    let check = |code: i16| if code == 0 { Ok(()) } else { Err(KafkaError::of(code)) };
    let mut found = BTreeMap::new();
    let mut take = |topic: &Arc<str>, index, code, offset, epoch, metadata: Option<StrBytes>| {
        check(code)?;
        let committed = (offset >= 0).then(|| Committed {
            offset,
            leader_epoch: (epoch >= 0).then_some(epoch),
            metadata: metadata.map(|text| text.to_string()).unwrap_or_default(),
        });
        found.insert(TopicPartition::new(topic.clone(), index), committed);
        Ok::<(), KafkaError>(())
    };
    if version >= 8 {
        let group = response.groups.into_iter().next();
        let group = group.ok_or_else(|| KafkaError::of(code::BAD_MESSAGE))?;
        check(group.error_code)?;
        for topic in group.topics {
            let name = topic.name.as_str().into();
            for p in topic.partitions {
                let epoch = p.committed_leader_epoch;
                take(
                    &name,
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    epoch,
                    p.metadata,
                )?;
            }
        }
    } else {
        check(response.error_code)?;
        for topic in response.topics {
            let name = topic.name.as_str().into();
            for p in topic.partitions {
                let epoch = p.committed_leader_epoch;
                take(
                    &name,
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    epoch,
                    p.metadata,
                )?;
            }
        }
    }
    Ok(found)
}
