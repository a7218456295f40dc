//! Whatever joins, leaves, is slow, loses answers or dies: no partition has two owners at once, and
//! when all is quiet everything has one.
//!
//! The protocol has one hole, in Kafka as well. A client that was told of a partition and has not
//! begun to read it says that it does not have it; the group may give it to another; and if the
//! answer that says so is lost, the client may begin all the same. So clients here come in two
//! kinds: careful ones, which forget what they were told when an answer is lost, and of which never
//! two read a partition; and careless ones, of which never two can commit its offset.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["t", "u", "v"];

/// A consumer, as it sees itself.
#[derive(Clone, Debug)]
struct Client {
    id: String,
    instance: Option<String>,
    epoch: i32,
    names: BTreeSet<String>,
    regex: String,
    /// What it reads from.
    owned: BTreeSet<Partition>,
    /// What it was told it may have, and has not brought about yet.
    told: Option<BTreeSet<Partition>>,
    /// It says all it knows in its next heartbeat.
    says_all: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Join {
        instance: Option<u8>,
        topics: u8,
    },
    Beat(usize),
    /// The heartbeat arrives, its answer does not.
    LoseAnswer(usize),
    /// The client does what it was told.
    Obey(usize),
    Leave(usize),
    LeaveForAWhile(usize),
    Die(usize),
    Subscribe(usize, u8),
    SubscribeRegex(usize, u8),
    Topic(u8, i32),
    DeleteTopic(u8),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..6usize;
    prop_oneof![
        3 => (proptest::option::of(0..3u8), 1..8u8)
            .prop_map(|(instance, topics)| Step::Join { instance, topics }),
        12 => client.clone().prop_map(Step::Beat),
        3 => client.clone().prop_map(Step::LoseAnswer),
        8 => client.clone().prop_map(Step::Obey),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::LeaveForAWhile),
        1 => client.clone().prop_map(Step::Die),
        1 => (client.clone(), 0..8u8).prop_map(|(client, topics)| Step::Subscribe(client, topics)),
        1 => (client, 0..3u8).prop_map(|(client, regex)| Step::SubscribeRegex(client, regex)),
        1 => (0..3u8, 1..9i32).prop_map(|(name, partitions)| Step::Topic(name, partitions)),
        1 => (0..3u8).prop_map(Step::DeleteTopic),
        1 => (1..30u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

fn names_of(topics: u8) -> BTreeSet<String> {
    let chosen = NAMES.iter().enumerate().filter(|(at, _)| topics & (1 << at) != 0);
    chosen.map(|(_, name)| (*name).to_owned()).collect()
}

/// A group, its clients, and what of it was stored.
struct World {
    careful: bool,
    play: Play,
    clients: Vec<Client>,
    made: usize,
    stored_group: Option<Vec<u8>>,
    stored_members: BTreeMap<String, Vec<u8>>,
}

impl World {
    fn new(careful: bool) -> Self {
        let mut play = Play::new();
        play.topics.set("u", 3);
        World {
            careful,
            play,
            clients: vec![],
            made: 0,
            stored_group: None,
            stored_members: BTreeMap::new(),
        }
    }

    fn client(&mut self, at: usize) -> Option<usize> {
        (!self.clients.is_empty()).then(|| at % self.clients.len())
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Join { instance, topics } => self.join(instance, topics),
            Step::Beat(at) => self.beat(at, true),
            Step::LoseAnswer(at) => self.beat(at, false),
            Step::Obey(at) => self.obey(at),
            Step::Leave(at) => self.leave(at, LEAVES),
            Step::LeaveForAWhile(at) => self.leave(at, LEAVES_FOR_A_WHILE),
            Step::Die(at) => {
                if let Some(at) = self.client(at) {
                    self.clients.remove(at);
                }
            }
            Step::Subscribe(at, topics) => self.subscribe(at, names_of(topics), String::new()),
            Step::SubscribeRegex(at, regex) => {
                self.subscribe(at, BTreeSet::new(), ["[tu]", "v", ".*"][regex as usize].to_owned());
            }
            Step::Topic(name, partitions) => {
                let name = NAMES[name as usize];
                let now = self.play.topics.partitions(name).len() as i32;
                self.play.topics.set(name, partitions.max(now));
            }
            Step::DeleteTopic(name) => self.play.topics.delete(NAMES[name as usize]),
            Step::Pass(seconds) => {
                self.play.now += Duration::from_secs(seconds);
                self.play.group.tick(self.play.now, 0);
            }
            Step::Restart => self.restart(),
        }
        self.store();
        self.check();
    }

    fn join(&mut self, instance: Option<u8>, topics: u8) {
        if self.clients.len() >= 6 {
            return;
        }
        self.made += 1;
        let instance = instance.map(|number| format!("i{number}"));
        // Two processes with one instance id are the user's mistake.
        if instance.is_some() && self.clients.iter().any(|client| client.instance == instance) {
            return;
        }
        self.clients.push(Client {
            id: format!("m{}", self.made),
            instance,
            epoch: JOINS,
            names: names_of(topics),
            regex: String::new(),
            owned: BTreeSet::new(),
            told: None,
            says_all: true,
        });
        let last = self.clients.len() - 1;
        self.beat(last, true);
    }

    fn beat(&mut self, at: usize, answered: bool) {
        let Some(at) = self.client(at) else { return };
        let client = &mut self.clients[at];
        let all = client.says_all || client.epoch == JOINS;
        let request = HeartbeatRequest {
            member_id: client.id.clone(),
            epoch: client.epoch,
            instance: client.instance.clone(),
            rebalance_timeout: all.then_some(REBALANCE),
            names: all.then(|| client.names.clone()),
            regex: all.then(|| client.regex.clone()),
            owned: Some(client.owned.clone()),
            ..HeartbeatRequest::default()
        };
        let answer = self.play.send(request);
        if !answered {
            // It cannot know whether it was heard.
            client.says_all = true;
            if self.careful {
                client.told = None;
            }
            return;
        }
        match answer {
            Ok(answer) => {
                client.epoch = answer.epoch;
                client.says_all = false;
                if let Some(assignment) = answer.assignment {
                    client.told = Some(assignment);
                }
            }
            Err(refused) => {
                use ResponseError::{FencedMemberEpoch, UnknownMemberId, UnreleasedInstanceId};
                let expected = [FencedMemberEpoch, UnknownMemberId, UnreleasedInstanceId];
                assert!(expected.contains(&refused.code), "{refused:?}");
                // It abandons everything and joins again.
                client.epoch = JOINS;
                client.owned.clear();
                client.told = None;
            }
        }
    }

    /// First it gives up what it may not have; what is new to it comes with the next step.
    fn obey(&mut self, at: usize) {
        let Some(at) = self.client(at) else { return };
        let client = &mut self.clients[at];
        let Some(told) = &client.told else { return };
        if client.owned.is_subset(told) {
            client.owned.clone_from(told);
            client.told = None;
        } else {
            client.owned.retain(|partition| told.contains(partition));
        }
    }

    fn leave(&mut self, at: usize, epoch: i32) {
        let Some(at) = self.client(at) else { return };
        let client = &self.clients[at];
        if epoch == LEAVES_FOR_A_WHILE && client.instance.is_none() {
            return;
        }
        // A member that the group has put out does not hear of it in time.
        let _ = self.play.group.leave(&client.id, client.instance.as_deref(), epoch, 0);
        self.clients.remove(at);
    }

    fn subscribe(&mut self, at: usize, names: BTreeSet<String>, regex: String) {
        let Some(at) = self.client(at) else { return };
        let client = &mut self.clients[at];
        (client.names, client.regex, client.says_all) = (names, regex, true);
    }

    fn store(&mut self) {
        let (group, members) = self.play.group.unstored();
        if group.is_some() {
            self.stored_group = group;
        }
        for (id, member) in members {
            match member {
                Some(member) => drop(self.stored_members.insert(id.to_owned(), member)),
                None => drop(self.stored_members.remove(id)),
            }
        }
        self.play.group.is_stored();
    }

    fn restart(&mut self) {
        let Some(stored) = &self.stored_group else { return };
        let mut group = ConsumerGroup::decode(stored).unwrap();
        for (id, member) in &self.stored_members {
            group.restore_member(id, member, self.play.now).unwrap();
        }
        let old = &self.play.group;
        assert_eq!((group.epoch, group.assignment_epoch), (old.epoch, old.assignment_epoch));
        assert!(group.members.keys().eq(old.members.keys()));
        for (id, member) in &group.members {
            assert!(!member.is_stored_differently(&old.members[id]), "{member:?}");
        }
        assert_eq!(group.topics, old.topics);
        self.play.group = group;
    }

    /// Whoever is in the group and reads a partition is the only one to do so.
    fn check(&self) {
        self.play.group.check();
        let mut readers: BTreeMap<Partition, &str> = BTreeMap::new();
        for client in &self.clients {
            // Whom the group has put out learns it with its next heartbeat.
            if !self.play.group.members.contains_key(&client.id) {
                continue;
            }
            let group = &self.play.group;
            let may_commit = |partition: &&Partition| {
                let (id, epoch) = (&client.id, client.epoch);
                group.check_commit(id, epoch).is_ok()
                    && group.check_commit_of(id, epoch, **partition).is_ok()
            };
            for partition in client.owned.iter().filter(|p| self.careful || may_commit(p)) {
                let other = readers.insert(*partition, &client.id);
                assert_eq!(other, None, "{partition:?} is read by two: {}", client.id);
            }
        }
    }

    /// Lets everybody do what is to be done.
    fn calm_down(&mut self) {
        self.play.now += SESSION;
        // The living are heard in time; the dead are not.
        for at in 0..self.clients.len() {
            self.beat(at, true);
        }
        self.play.group.tick(self.play.now, 0);
        for _ in 0..20 {
            for at in 0..self.clients.len() {
                self.beat(at, true);
                self.obey(at);
                self.obey(at);
                self.check();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_owner_always_and_all_owned_in_the_end(
        careful: bool,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(careful);
        for step in steps {
            world.run(step);
        }
        world.calm_down();
        let group = &world.play.group;
        let expected = match world.clients.is_empty() {
            true => ConsumerGroupState::Empty,
            false => ConsumerGroupState::Stable,
        };
        prop_assert_eq!(group.state(), expected);
        prop_assert_eq!(group.members.len(), world.clients.len());
        let mut read = BTreeSet::new();
        let mut subscribed = BTreeSet::new();
        for client in &world.clients {
            let regex = crate::pattern::Pattern::new(&client.regex).unwrap();
            let is_mine = |name: &&&str| client.names.contains(**name) || regex.matches(name);
            let mine: BTreeSet<Partition> =
                NAMES.iter().filter(is_mine).flat_map(|name| world.play.topics.partitions(name)).collect();
            prop_assert!(client.owned.is_subset(&mine), "{client:?}");
            prop_assert!(group.members[&client.id].assigned.keys().eq(&client.owned));
            read.extend(client.owned.iter().copied());
            subscribed.extend(mine);
        }
        prop_assert_eq!(read, subscribed);
    }
}
