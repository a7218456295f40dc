//! The protocol step by step, with clients that do what Kafka's consumer does.

mod clients;
mod strategies;

use std::collections::BTreeMap;

use super::*;

pub(super) const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);

/// Topics by name: number of the id, partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<String, (Uuid, i32)>,
    generation: u64,
}

impl Topics {
    pub(super) fn set(&mut self, name: &str, partitions: i32) -> Uuid {
        self.generation += 1;
        let fresh = Uuid::from_u128(u128::from(self.generation));
        let id = self.by_name.get(name).map_or(fresh, |(id, _)| *id);
        self.by_name.insert(name.to_owned(), (id, partitions));
        id
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.generation += 1;
        self.by_name.remove(name);
    }

    pub(super) fn partitions(&self, name: &str) -> Vec<Partition> {
        let Some((id, count)) = self.by_name.get(name) else { return Vec::new() };
        (0..*count).map(|partition| (*id, partition)).collect()
    }
}

impl Catalog for Topics {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.by_name.get(name).copied()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.by_name.keys().map(String::as_str))
    }
}

/// A group with its topics, its settings and its time.
pub(super) struct Play {
    pub(super) group: ConsumerGroup,
    pub(super) topics: Topics,
    pub(super) settings: ConsumerGroupSettings,
    pub(super) now: Duration,
}

impl Play {
    pub(super) fn new() -> Self {
        let mut topics = Topics::default();
        topics.set("t", 6);
        Self {
            group: ConsumerGroup::new(0),
            topics,
            settings: ConsumerGroupSettings {
                session_timeout: SESSION,
                heartbeat_interval: Duration::from_secs(5),
                max_size: 100,
                assignors: vec![Assignor::Uniform, Assignor::Range],
            },
            now: Duration::from_secs(1),
        }
    }

    pub(super) fn join_request(id: &str, names: &[&str]) -> HeartbeatRequest {
        HeartbeatRequest {
            member_id: id.to_owned(),
            epoch: JOINS,
            rebalance_timeout: Some(REBALANCE),
            names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            owned: Some(BTreeSet::new()),
            ..HeartbeatRequest::default()
        }
    }

    pub(super) fn send(&mut self, request: HeartbeatRequest) -> Result<HeartbeatAnswer, Refused> {
        let answer = self.group.heartbeat(request, &self.settings, &self.topics, self.now);
        self.group.check();
        answer
    }

    fn join(&mut self, id: &str) -> HeartbeatAnswer {
        self.send(Self::join_request(id, &["t"])).unwrap()
    }

    /// A heartbeat that says what the member has, by numbers of partitions of `t`.
    fn beat(
        &mut self,
        id: &str,
        epoch: i32,
        owned: Option<&[i32]>,
    ) -> Result<HeartbeatAnswer, ResponseError> {
        let topic = self.topics.topic("t").unwrap().0;
        let owned = owned.map(|owned| owned.iter().map(|partition| (topic, *partition)).collect());
        let member_id = id.to_owned();
        self.send(HeartbeatRequest { member_id, epoch, owned, ..HeartbeatRequest::default() })
            .map_err(|refused| refused.code)
    }

    fn code(&mut self, request: HeartbeatRequest) -> ResponseError {
        self.send(request).unwrap_err().code
    }
}

impl ConsumerGroup {
    /// What must hold after every step.
    pub(super) fn check(&self) {
        let mut owners: BTreeMap<Partition, String> = BTreeMap::new();
        for member in self.members.values() {
            for partition in member.assigned.keys().chain(member.revoking.keys()) {
                let other = owners.insert(*partition, member.id.clone());
                assert_eq!(other, None, "{partition:?} has two owners: {}", member.id);
            }
            assert!(member.epoch <= self.assignment_epoch, "{member:?}");
            if let Some(instance) = &member.instance {
                assert_eq!(self.instances.get(instance), Some(&member.id));
            }
        }
        assert_eq!(owners, self.owners);
        assert!(self.assignment_epoch <= self.epoch);
    }
}

fn numbers(answer: &HeartbeatAnswer) -> Option<Vec<i32>> {
    answer.assignment.as_ref().map(|a| a.iter().map(|(_, partition)| *partition).collect())
}

#[test]
fn a_partition_is_revoked_before_it_is_assigned() {
    let mut play = Play::new();
    let first = play.join("a");
    assert_eq!((first.epoch, numbers(&first)), (1, Some(vec![0, 1, 2, 3, 4, 5])));
    assert_eq!(play.group.state(), ConsumerGroupState::Stable);

    // The second one raises the epoch, and has to wait for what is its.
    let second = play.join("b");
    assert_eq!((second.epoch, numbers(&second)), (2, Some(vec![])));
    assert_eq!(play.group.state(), ConsumerGroupState::Reconciling);
    let answer = play.beat("b", 2, None).unwrap();
    assert_eq!((answer.epoch, numbers(&answer)), (2, None));

    // The first one is told what it may keep, and stays in its epoch until it has obeyed.
    let told = play.beat("a", 1, None).unwrap();
    assert_eq!((told.epoch, numbers(&told)), (1, Some(vec![0, 1, 2])));
    assert_eq!(play.beat("a", 1, Some(&[0, 1, 2, 3])).unwrap().epoch, 1, "3 is still there");
    assert_eq!(numbers(&play.beat("b", 2, None).unwrap()), None);
    let done = play.beat("a", 1, Some(&[0, 1, 2])).unwrap();
    assert_eq!((done.epoch, numbers(&done)), (2, None));
    let second = play.beat("b", 2, None).unwrap();
    assert_eq!((second.epoch, numbers(&second)), (2, Some(vec![3, 4, 5])));
    assert_eq!(play.group.state(), ConsumerGroupState::Stable);
    assert_eq!((play.group.epoch(), play.group.assignment_epoch()), (2, 2));
}

#[test]
fn epochs_fence() {
    let mut play = Play::new();
    play.join("a");
    play.join("b");
    play.beat("a", 1, Some(&[0, 1, 2])).unwrap();
    // It is at 2. The answer may be lost: 1 passes with no more than it has, nothing else does.
    assert_eq!(play.beat("a", 1, Some(&[0, 1, 2])).unwrap().epoch, 2);
    for (epoch, owned) in [(1, None), (1, Some(&[0, 1, 2, 3][..])), (3, None)] {
        assert_eq!(play.beat("a", epoch, owned), Err(ResponseError::FencedMemberEpoch));
    }
    assert_eq!(play.beat("c", 1, None), Err(ResponseError::UnknownMemberId));
    // A fenced member joins again with the id it has, and gets what is still its.
    let again = play.join("a");
    assert_eq!((again.epoch, numbers(&again)), (2, Some(vec![0, 1, 2])));
    assert_eq!(play.group.epoch(), 2, "for the others nothing has changed");
}

#[test]
fn silent_and_stubborn_members_are_put_out() {
    let mut play = Play::new();
    play.join("a");
    play.join("b");
    play.beat("a", 1, None).unwrap();
    assert_eq!(play.group.deadline(), Some(Duration::from_secs(46)));
    for seconds in [40, 60] {
        play.now = Duration::from_secs(seconds);
        play.group.tick(play.now, 0);
        play.beat("a", 1, Some(&[0, 1, 2, 3])).unwrap();
        play.beat("b", 2, None).unwrap();
    }
    // It lives, but does not give up 3: at 61 s its rebalance timeout is over.
    assert_eq!(play.group.deadline(), Some(Duration::from_secs(61)));
    play.now = Duration::from_secs(61);
    play.group.tick(play.now, 0);
    play.group.check();
    assert_eq!(play.group.state(), ConsumerGroupState::Assigning);
    assert_eq!(play.beat("a", 1, None), Err(ResponseError::UnknownMemberId));
    let rest = play.beat("b", 2, None).unwrap();
    assert_eq!((rest.epoch, numbers(&rest)), (3, Some(vec![0, 1, 2, 3, 4, 5])));
    // Nobody hears of `b` any more.
    play.now += SESSION;
    play.group.tick(play.now, 77);
    assert_eq!(play.group.state(), ConsumerGroupState::Empty);
    assert_eq!(play.group.empty_since_ms(), Some(77));
    assert_eq!((play.group.epoch(), play.group.assignment_epoch()), (4, 4));
    assert_eq!(play.group.deadline(), None);
}

#[test]
fn a_group_has_a_size() {
    let mut play = Play::new();
    play.settings.max_size = 2;
    play.join("a");
    play.join("b");
    let third = Play::join_request("c", &["t"]);
    assert_eq!(play.code(third), ResponseError::GroupMaxSizeReached);
    assert_eq!(play.join("a").epoch, 2, "who is in stays in");
}

#[test]
fn a_static_member_keeps_its_place() {
    let mut play = Play::new();
    let request = |id: &str| HeartbeatRequest {
        instance: Some("one".into()),
        ..Play::join_request(id, &["t"])
    };
    play.send(request("a")).unwrap();
    play.join("b");
    play.beat("b", 2, None).unwrap();
    let beat = |id: &str, epoch| HeartbeatRequest {
        instance: Some("one".into()),
        member_id: id.into(),
        epoch,
        ..HeartbeatRequest::default()
    };
    let kept = play.send(beat("a", 1)).unwrap();
    assert_eq!(numbers(&kept), Some(vec![0, 1, 2]));

    // While it is there its place is taken; to itself it is not.
    assert_eq!(play.code(request("a2")), ResponseError::UnreleasedInstanceId);
    assert!(play.send(request("a")).is_ok());
    assert_eq!(play.code(beat("b", 2)), ResponseError::FencedInstanceId);
    let unknown = HeartbeatRequest { instance: Some("two".into()), ..beat("a", 2) };
    assert_eq!(play.code(unknown), ResponseError::UnknownMemberId);

    // It leaves for a while: nobody gets what it has, not even what it was to give up has an
    // owner; then its next life comes with another id.
    let epoch = play.group.epoch();
    play.group.leave("a", Some("one"), LEAVES_FOR_A_WHILE, 0).unwrap();
    play.group.check();
    assert_eq!(play.group.members["a"].epoch, LEAVES_FOR_A_WHILE);
    let other = play.beat("b", 2, None).unwrap();
    assert_eq!(numbers(&other), Some(vec![3, 4, 5]));
    let back = play.send(request("a2")).unwrap();
    assert_eq!((back.epoch, numbers(&back)), (2, Some(vec![0, 1, 2])));
    assert_eq!(play.group.epoch(), epoch, "no rebalance");
    assert_eq!(play.code(beat("a", 2)), ResponseError::FencedInstanceId);
    let leave = |play: &mut Play, id: &str, epoch| {
        play.group.leave(id, Some("one"), epoch, 0).map_err(|refused| refused.code)
    };
    assert_eq!(leave(&mut play, "a", LEAVES), Err(ResponseError::FencedInstanceId));

    // Away for longer than its session.
    leave(&mut play, "a2", LEAVES_FOR_A_WHILE).unwrap();
    play.now += SESSION;
    play.beat("b", 2, None).unwrap();
    play.group.tick(play.now, 0);
    let all = play.beat("b", 2, None).unwrap();
    assert_eq!(numbers(&all), Some(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(leave(&mut play, "a2", LEAVES), Err(ResponseError::UnknownMemberId));
}

#[test]
fn commits_with_an_older_epoch_are_taken_for_what_a_member_has_had() {
    let mut play = Play::new();
    play.join("a");
    play.join("b");
    play.beat("a", 1, None).unwrap();
    play.beat("a", 1, Some(&[0, 1, 2])).unwrap();
    play.beat("b", 2, None).unwrap();
    let topic = play.topics.topic("t").unwrap().0;
    let group = &play.group;
    let commit = |id: &str, epoch, partition| {
        group
            .check_commit(id, epoch)
            .and_then(|()| group.check_commit_of(id, epoch, (topic, partition)))
    };
    let stale = Err(ResponseError::StaleMemberEpoch);
    assert_eq!([commit("a", 2, 0), commit("a", 1, 0)], [Ok(()), Ok(())]);
    assert_eq!([commit("a", 1, 3), commit("a", 3, 0), commit("b", 1, 3)], [stale; 3]);
    assert_eq!(commit("b", 2, 3), Ok(()));
    let unknown = Err(ResponseError::UnknownMemberId);
    assert_eq!([commit("c", 2, 0), commit("", -1, 0)], [unknown; 2]);
    let fetch = |id, epoch| group.check_offset_fetch(id, epoch);
    assert_eq!([fetch(None, -1), fetch(Some("a"), 2)], [Ok(()), Ok(())]);
    assert_eq!([fetch(Some("a"), 1), fetch(Some("c"), 2)], [stale, unknown]);
    // A group without members takes the commits of tools.
    assert_eq!(ConsumerGroup::new(0).check_commit("", -1), Ok(()));
}

#[test]
fn topics_that_change_change_the_target() {
    let mut play = Play::new();
    play.join("a");
    let epoch_after = |play: &mut Play, epoch, owned: &[i32]| {
        let answer = play.beat("a", epoch, Some(owned)).unwrap();
        (answer.epoch, answer.assignment.map(|partitions| partitions.len()))
    };
    play.topics.set("other", 3);
    assert_eq!(epoch_after(&mut play, 1, &[]), (1, None), "nobody subscribes to that one");
    play.topics.set("t", 8);
    assert_eq!(epoch_after(&mut play, 1, &[]), (2, Some(8)));
    play.topics.delete("t");
    play.topics.set("t", 2);
    let answer = play.beat("a", 2, Some(&[])).unwrap();
    assert_eq!((answer.epoch, answer.assignment.unwrap().len()), (3, 2));
}

#[test]
fn a_regular_expression_follows_the_topics() {
    let mut play = Play::new();
    let request = HeartbeatRequest {
        names: None,
        regex: Some("orders-.*|t".into()),
        ..Play::join_request("a", &[])
    };
    let invalid = HeartbeatRequest { regex: Some("(".into()), ..request.clone() };
    assert_eq!(play.code(invalid), ResponseError::InvalidRegularExpression);
    assert_eq!(play.group.state(), ConsumerGroupState::Empty);
    let owned = |answer: &HeartbeatAnswer| answer.assignment.as_ref().map(BTreeSet::len);
    assert_eq!(owned(&play.send(request).unwrap()), Some(6));
    play.topics.set("orders-1", 2);
    play.topics.set("my-orders-1", 5);
    let answer = play.beat("a", 1, Some(&[])).unwrap();
    assert_eq!((answer.epoch, owned(&answer)), (2, Some(8)));
    assert!(play.group.subscribes_to("orders-1") && !play.group.subscribes_to("my-orders-1"));
    // No expression any more, a name instead.
    let change = HeartbeatRequest {
        member_id: "a".into(),
        epoch: 2,
        names: Some(["my-orders-1".to_owned()].into()),
        regex: Some(String::new()),
        owned: Some(BTreeSet::new()),
        ..HeartbeatRequest::default()
    };
    let answer = play.send(change).unwrap();
    assert_eq!((answer.epoch, owned(&answer)), (3, Some(5)));
}

#[test]
fn a_member_may_join_with_nothing_to_read() {
    let mut play = Play::new();
    let request = Play::join_request("a", &["missing"]);
    let answer = play.send(request).unwrap();
    assert_eq!((answer.epoch, answer.assignment), (1, Some(BTreeSet::new())));
    let nothing = play.send(Play::join_request("b", &[])).unwrap();
    assert_eq!((nothing.epoch, play.group.state()), (1, ConsumerGroupState::Stable));
    play.topics.set("missing", 1);
    assert_eq!(play.beat("a", 1, Some(&[])).unwrap().assignment.unwrap().len(), 1);
}

#[test]
fn the_strategy_is_the_one_most_members_want() {
    let mut play = Play::new();
    let wants = |id: &str, assignor| HeartbeatRequest {
        assignor: Some(assignor),
        ..Play::join_request(id, &["t"])
    };
    assert_eq!(play.group.assignor(Assignor::Uniform), Assignor::Uniform);
    play.send(wants("a", Assignor::Range)).unwrap();
    play.send(wants("b", Assignor::Range)).unwrap();
    play.send(wants("c", Assignor::Uniform)).unwrap();
    play.join("d");
    assert_eq!(play.group.assignor(Assignor::Uniform), Assignor::Range);
    let sizes: Vec<usize> = play.group.members().map(|member| member.target.len()).collect();
    assert_eq!(sizes, [2, 2, 1, 1]);
}

#[test]
fn cut_entries_are_no_groups_and_no_members() {
    let mut play = Play::new();
    let request = HeartbeatRequest {
        instance: Some("one".into()),
        rack: Some("r".into()),
        assignor: Some(Assignor::Range),
        ..Play::join_request("a", &["t"])
    };
    play.send(request).unwrap();
    let (group, members) = play.group.unstored();
    let (group, member) = (group.unwrap(), members[0].1.clone().unwrap());
    for end in 0..group.len() {
        assert!(ConsumerGroup::decode(&group[..end]).is_none(), "cut at {end}");
    }
    let mut back = ConsumerGroup::decode(&group).unwrap();
    for end in 0..member.len() {
        assert!(back.restore_member("a", &member[..end], play.now).is_none(), "cut at {end}");
    }
    back.restore_member("a", &member, play.now).unwrap();
    assert_eq!(back.members, play.group.members);
}
