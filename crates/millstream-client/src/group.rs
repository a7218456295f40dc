//! Membership of a consumer group, and its committed offsets, without sockets.
//!
//! One rebalance is one conversation with the owner: [`GroupEvent::Assigned`] waits for
//! [`Group::ack_assigned`], [`GroupEvent::Revoked`] and [`GroupEvent::Lost`] for
//! [`Group::ack_revoked`]. An answer is for the event that was taken last, so the owner takes an
//! event only when it can hand it on. While a conversation is open the member's heartbeats go on.
//!
//! ```text
//!  Group ─┬─ Membership: Classic (JoinGroup, SyncGroup, Heartbeat) │ BrokerAssigned (KIP-848)
//!         ├─ Conversation: what is ours, what the owner was told
//!         ├─ Offsets: commits in order, fetches
//!         └─ Link: which connection to the coordinator
//! ```

pub(crate) mod assignors;
mod broker_assigned;
mod classic;
mod codes;
mod conversation;
pub(crate) mod embedded_protocol;
mod link;
mod offsets;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use self::broker_assigned::BrokerAssigned;
use self::classic::Classic;
use self::conversation::Conversation;
use self::link::Link;
use self::offsets::{Offsets, Standing, Verdict};
pub(crate) use self::subscription::Subscription;
use crate::base::Base;
use crate::error::{KafkaError, code};
use crate::network::Completion;
use crate::producer::GroupMetadata;
use crate::settings::GroupSettings;
use crate::time::{Now, earlier};

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum GroupTag {
    /// JoinGroup of this round.
    Join { serial: u64 },
    /// SyncGroup of this round.
    Sync { serial: u64 },
    /// Heartbeat in this generation.
    Heartbeat { generation: i32 },
    /// ConsumerGroupHeartbeat (KIP-848).
    ConsumerHeartbeat { serial: u64 },
    /// The last word, by either protocol.
    Leave,
    /// OffsetCommit.
    Commit { id: u64 },
    /// OffsetFetch.
    Fetch { id: u64 },
}

/// An offset that the group remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Where reading goes on.
    pub(crate) offset: Offset,
    /// Epoch of the leader that served the record before, for the detection of lost records
    /// (KIP-320).
    pub(crate) leader_epoch: Option<i32>,
    /// What the committer added; empty if nothing.
    pub(crate) metadata: String,
}

/// What [`Group::event`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// These partitions are ours, in addition to those that are ours already; may be empty.
    /// Waits for [`Group::ack_assigned`].
    Assigned(Vec<TopicPartition>),
    /// These are wanted back. Waits for [`Group::ack_revoked`].
    Revoked(Vec<TopicPartition>),
    /// These may be someone else's already. Waits for [`Group::ack_revoked`]; takes the place of
    /// an `Assigned` or `Revoked` that is not answered yet.
    Lost(Vec<TopicPartition>),
    /// Answers [`Group::commit`].
    Committed { id: u64, partitions: Vec<(TopicPartition, Offset, Result<(), KafkaError>)> },
    /// Answers [`Group::fetch_committed`], in the order asked.
    Fetched { id: u64, result: Result<Vec<(TopicPartition, Option<Committed>)>, KafkaError> },
    /// Something is wrong; with `true` the member is of no more use.
    Error(KafkaError, bool),
    /// [`Group::close`] is done.
    Left,
}

/// What a membership needs from the rest of the group.
struct Shared {
    settings: GroupSettings,
    rack: String,
    subscription: Option<Subscription>,
    closing: bool,
    talk: Conversation,
    offsets: Offsets,
    link: Link,
    events: VecDeque<GroupEvent>,
    /// Generation and member id of the membership that was lost last.
    lost_place: (i32, String),
    /// Metadata answers that had come when patterns were subscribed to.
    pattern_rounds: Option<u64>,
    /// The last error that was reported, until all is well again.
    reported: Option<i32>,
}

impl Shared {
    fn wants_membership(&self) -> bool {
        self.subscription.is_some() && !self.closing
    }

    /// What is ours may be someone else's: its commits do not count any more. `place`: generation
    /// and member id, unless they were lost before.
    fn lose(&mut self, (generation, member_id): (i32, &str)) {
        if generation >= 0 {
            self.lost_place = (generation, member_id.to_owned());
        }
        self.offsets.lost(&self.talk.owned_set());
        self.talk.lose();
    }

    /// Reports an error that may pass, once until [`is_well`](Self::is_well).
    fn report(&mut self, error: KafkaError) {
        if self.reported.replace(error.code) != Some(error.code) {
            self.events.push_back(GroupEvent::Error(error, false));
        }
    }

    fn is_well(&mut self) {
        self.reported = None;
    }

    fn fail(&mut self, error: KafkaError) {
        self.offsets.refuse(&error, &mut self.events);
        self.events.push_back(GroupEvent::Error(error, true));
    }

    /// Whether patterns can be held against the topics that there are.
    fn knows_topics(&self, base: &Base) -> bool {
        self.pattern_rounds.is_none_or(|rounds| base.metadata.rounds() > rounds)
    }
}

/// How a member comes to its partitions.
trait Membership: Send {
    fn advance(&mut self, shared: &mut Shared, base: &mut Base, now: Now);
    fn completed(
        &mut self,
        tag: GroupTag,
        completion: Completion,
        shared: &mut Shared,
        base: &mut Base,
        now: Now,
    );
    /// As what offsets are committed now.
    fn standing(&self, shared: &Shared) -> Standing;
    /// What the answer to a commit means.
    fn judged(&mut self, verdict: Verdict, shared: &mut Shared, now: Now);
    /// The subscription has changed.
    fn subscribed(&mut self);
    /// `max.poll.interval.ms` has passed: leaves, and loses what is ours.
    fn poll_exceeded(&mut self, shared: &mut Shared, base: &mut Base, now: Now);
    fn polled(&mut self, now: Now);
    /// Whether the owner has to poll.
    fn is_member(&self) -> bool;
    /// Whether there is nothing to leave.
    fn is_out(&self) -> bool;
    fn is_eager(&self, shared: &Shared) -> bool;
    /// Generation and member id.
    fn identity(&self) -> (i32, &str);
    /// The generation in which we were given what is ours; negative without one.
    fn owned_generation(&self) -> i32;
    fn next_deadline(&self, now: Now) -> Option<Duration>;
}

/// A member of a group, or someone who keeps offsets with it.
pub(crate) struct Group {
    shared: Shared,
    membership: Box<dyn Membership>,
    poll_by: Duration,
    /// When what is wanted back must have been given up. The group waits for it, and in a
    /// cooperative one nobody but us knows.
    give_up_by: Option<Duration>,
    left: bool,
}

impl Group {
    /// Joins nothing yet. `read_committed`: fetched offsets wait for open transactions (KIP-447).
    pub(crate) fn new(settings: GroupSettings, rack: &str, read_committed: bool) -> Self {
        let membership: Box<dyn Membership> = match settings.broker_assigns {
            true => Box::new(BrokerAssigned::new()),
            false => Box::new(Classic::new()),
        };
        Self {
            shared: Shared {
                offsets: Offsets::new(&settings.group_id, read_committed),
                link: Link::new(&settings.group_id),
                rack: rack.to_owned(),
                subscription: None,
                closing: false,
                talk: Conversation::default(),
                events: VecDeque::new(),
                lost_place: (-1, String::new()),
                pattern_rounds: None,
                reported: None,
                settings,
            },
            membership,
            poll_by: Duration::ZERO,
            give_up_by: None,
            left: false,
        }
    }

    /// Joins for these topics, in place of those before; `None` leaves. Tells the metadata which
    /// topics are wanted, in place of all that were.
    pub(crate) fn subscribe(
        &mut self,
        subscription: Option<Subscription>,
        base: &mut Base,
        now: Now,
    ) {
        self.poll_by = now.after(self.shared.settings.max_poll_interval);
        if self.shared.subscription == subscription {
            return;
        }
        let (topics, patterns) = match &subscription {
            Some(wanted) => (wanted.topics.clone(), !wanted.patterns.is_empty()),
            None => Default::default(),
        };
        base.metadata.want_exactly(topics, patterns);
        self.shared.pattern_rounds = patterns.then(|| {
            base.metadata.refresh();
            base.metadata.rounds()
        });
        self.shared.subscription = subscription;
        self.membership.subscribed();
    }

    /// Answers [`GroupEvent::Assigned`].
    pub(crate) fn ack_assigned(&mut self) {
        self.shared.talk.ack_assigned();
    }

    /// Answers [`GroupEvent::Revoked`] or [`GroupEvent::Lost`]. Commits that were made before still
    /// go out, before the group goes on.
    pub(crate) fn ack_revoked(&mut self) {
        let released = self.shared.talk.ack_revoked();
        let (generation, _) = self.membership.identity();
        self.shared.offsets.released(&released, generation);
    }

    /// The user has called poll (`max.poll.interval.ms`).
    pub(crate) fn polled(&mut self, now: Now) {
        self.poll_by = now.after(self.shared.settings.max_poll_interval);
        self.membership.polled(now);
    }

    /// Commits, in the order of the calls. Answered by [`GroupEvent::Committed`]. A partition that
    /// is ours may be committed over a rebalance that leaves it ours; one that is not counts in
    /// the present generation only. Without a subscription as one who assigns by hand.
    pub(crate) fn commit(&mut self, offsets: Vec<(TopicPartition, Offset, Option<i32>)>) -> u64 {
        let (generation, _) = self.membership.identity();
        let talk = &self.shared.talk;
        let owns = |partition: &TopicPartition| talk.owns(partition) && !talk.is_losing();
        self.shared.offsets.commit(offsets, generation, owns)
    }

    /// Asks for committed offsets. Answered by [`GroupEvent::Fetched`].
    pub(crate) fn fetch_committed(&mut self, partitions: Vec<TopicPartition>) -> u64 {
        self.shared.offsets.fetch(partitions)
    }

    /// Gives everything up and leaves; ends with [`GroupEvent::Left`]. Static members do not tell
    /// the coordinator (KIP-345), or tell that they come back (KIP-848).
    pub(crate) fn close(&mut self) {
        self.shared.closing = true;
    }

    /// Does what can be done now. After all completions of the step.
    pub(crate) fn advance(&mut self, base: &mut Base, now: Now) {
        self.watch_owner(base, now);
        if let Some(error) = self.shared.link.refusal(base) {
            self.shared.offsets.refuse(&error, &mut self.shared.events);
            self.shared.report(error);
        }
        // Commits go before the JoinGroup that ends their generation, and again behind an answer
        // that has begun a new one.
        self.advance_offsets(base, now);
        self.membership.advance(&mut self.shared, base, now);
        self.advance_offsets(base, now);
        let quiet = self.shared.talk.is_settled() && self.membership.is_out();
        if self.shared.closing && !self.left && quiet && !self.shared.offsets.must_go_first() {
            self.left = true;
            self.shared.events.push_back(GroupEvent::Left);
        }
    }

    /// Leaves if the owner has not polled, or not given up what is wanted back, for
    /// `max.poll.interval.ms`.
    fn watch_owner(&mut self, base: &mut Base, now: Now) {
        let patience = self.shared.settings.max_poll_interval;
        self.give_up_by = match self.shared.talk.is_revoking() {
            true => self.give_up_by.or(Some(now.after(patience))),
            false => None,
        };
        let what = if !self.membership.is_member() {
            return;
        } else if self.poll_by <= now.mono {
            // Once; leaving may still be under way.
            self.poll_by = Duration::MAX;
            "polled"
        } else if self.give_up_by.is_some_and(|by| by <= now.mono) {
            "given up the partitions that are wanted back"
        } else {
            return;
        };
        let text = format!(
            "the application has not {what} within max.poll.interval.ms ({} s); its partitions go to others",
            patience.as_secs_f64()
        );
        self.membership.poll_exceeded(&mut self.shared, base, now);
        let error = KafkaError::with(code::MAX_POLL_EXCEEDED, Some(&text));
        self.shared.events.push_back(GroupEvent::Error(error, false));
    }

    fn advance_offsets(&mut self, base: &mut Base, now: Now) {
        // Most steps are about something else.
        if self.shared.offsets.is_idle() {
            return;
        }
        let standing = self.standing();
        let link = &self.shared.link;
        let node = |base: &mut Base| link.node(base, now);
        self.shared.offsets.advance(&standing, node, base, &mut self.shared.events, now);
    }

    fn standing(&self) -> Standing {
        // Until it has left, who has unsubscribed is a member.
        if self.shared.subscription.is_none() && self.membership.is_out() {
            return Standing::Sender {
                generation: -1,
                member_id: String::new(),
                instance_id: None,
                by_broker: false,
                joining: false,
            };
        }
        self.membership.standing(&self.shared)
    }

    /// Takes a response with a [`GroupTag`].
    pub(crate) fn completed(
        &mut self,
        tag: GroupTag,
        completion: Completion,
        base: &mut Base,
        now: Now,
    ) {
        let node = completion.node;
        let moved = match tag {
            GroupTag::Commit { id } => {
                let standing = self.standing();
                let events = &mut self.shared.events;
                let (verdict, moved) =
                    self.shared.offsets.committed(id, completion, &standing, base, events, now);
                self.membership.judged(verdict, &mut self.shared, now);
                moved
            }
            GroupTag::Fetch { id } => {
                self.shared.offsets.fetched(id, completion, base, &mut self.shared.events, now)
            }
            tag => {
                self.membership.completed(tag, completion, &mut self.shared, base, now);
                false
            }
        };
        if moved {
            self.shared.link.lost(node, base);
        }
    }

    /// The next thing that has happened. Of `Assigned`, `Revoked` and `Lost` one at a time.
    pub(crate) fn event(&mut self) -> Option<GroupEvent> {
        // The end comes last.
        if self.shared.events.front() == Some(&GroupEvent::Left)
            && let Some(event) = self.shared.talk.event()
        {
            return Some(event);
        }
        self.shared.events.pop_front().or_else(|| self.shared.talk.event())
    }

    /// When [`advance`](Self::advance) has something to do at the latest.
    pub(crate) fn next_deadline(&self, now: Now) -> Option<Duration> {
        let poll = self.membership.is_member().then_some(self.poll_by);
        let poll = poll.filter(|at| *at > now.mono && *at < Duration::MAX);
        let poll = earlier(poll, self.give_up_by.filter(|at| *at > now.mono));
        let membership = earlier(poll, self.membership.next_deadline(now));
        earlier(membership, self.shared.offsets.next_deadline(now))
    }

    /// Whether every rebalance takes all partitions away first. True as long as the member has not
    /// joined.
    pub(crate) fn is_eager(&self) -> bool {
        self.membership.is_eager(&self.shared)
    }

    /// The id that the group knows this member by, once it has one.
    pub(crate) fn member_id(&self) -> Option<&str> {
        let (_, member_id) = self.membership.identity();
        (!member_id.is_empty()).then_some(member_id)
    }

    #[cfg(test)]
    /// What is ours, in order; what is being given up counts until that is answered.
    pub(crate) fn owned(&self) -> &[TopicPartition] {
        self.shared.talk.owned()
    }

    /// The generation in which it was given what it has.
    pub(crate) fn owned_generation(&self) -> Option<i32> {
        Some(self.membership.owned_generation()).filter(|generation| *generation >= 0)
    }

    /// What a producer sends with the offsets of a transaction (KIP-447). Who has lost its
    /// place gets that one until there is a new one: the coordinator refuses it. Of someone without
    /// a place it would take offsets of records that are someone else's by now.
    pub(crate) fn metadata_for_transactions(&self) -> GroupMetadata {
        let (generation, member_id) = match self.membership.identity() {
            (-1, _) if self.shared.subscription.is_some() && self.shared.lost_place.0 >= 0 => {
                (self.shared.lost_place.0, self.shared.lost_place.1.as_str())
            }
            place => place,
        };
        GroupMetadata {
            group_id: self.shared.settings.group_id.clone(),
            generation_id: generation,
            // An id without a generation is no member yet.
            member_id: if generation >= 0 { member_id.to_owned() } else { String::new() },
            group_instance_id: self.shared.settings.instance_id.clone(),
        }
    }
}

/// A duration as the protocol has it.
fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
