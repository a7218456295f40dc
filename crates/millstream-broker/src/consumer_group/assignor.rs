//! Who should have which partitions.
//!
//! `range`: each topic is cut into stretches, one per subscriber in the order of their ids (static
//! members first, by their instance ids), so that topics of the same size are cut alike.
//!
//! `uniform`: as even as the subscriptions allow, and nothing moves that need not: members keep
//! what they have, what nobody has goes to whoever has least, and then partitions are handed from
//! those who have most to those who have two or more less, if need be over others in between
//! ([`Balance`]). Where all subscribe to the same, all have the same number but one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use uuid::Uuid;

use super::{Member, Partition, Subscription};

/// A strategy of the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    /// The strategy that clients and settings call so.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// Targets of all members, by their ids. `topics_of` gives the topics of a subscription that
/// exist, with their numbers of partitions.
pub(super) fn assign(
    assignor: Assignor,
    members: &BTreeMap<String, Member>,
    topics_of: impl Fn(&Subscription) -> BTreeMap<Uuid, i32>,
) -> Vec<(String, BTreeSet<Partition>)> {
    let mut subscribers: Vec<&Member> = members.values().collect();
    // `None` would come first.
    subscribers.sort_by_key(|member| (member.instance.is_none(), &member.instance, &member.id));
    let mut topics: BTreeMap<Uuid, Topic> = BTreeMap::new();
    for (number, member) in subscribers.iter().enumerate() {
        for (id, partitions) in topics_of(&member.subscription) {
            let topic = topics.entry(id).or_insert(Topic { id, partitions, subscribers: vec![] });
            topic.subscribers.push(number);
        }
    }
    let topics: Vec<Topic> = topics.into_values().collect();
    let targets = match assignor {
        Assignor::Range => range(subscribers.len(), &topics),
        Assignor::Uniform => {
            Balance::new(&topics, subscribers.iter().map(|member| &member.target)).into_targets()
        }
    };
    subscribers.iter().map(|member| member.id.clone()).zip(targets).collect()
}

/// A topic and who subscribes to it, by number.
struct Topic {
    id: Uuid,
    partitions: i32,
    subscribers: Vec<usize>,
}

fn range(members: usize, topics: &[Topic]) -> Vec<BTreeSet<Partition>> {
    let mut targets = vec![BTreeSet::new(); members];
    for topic in topics {
        let count = topic.subscribers.len() as i32;
        let (each, extra) = (topic.partitions / count, topic.partitions % count);
        let mut next = 0;
        for (place, number) in (0..).zip(&topic.subscribers) {
            let end = next + each + i32::from(place < extra);
            targets[*number].extend((next..end).map(|partition| (topic.id, partition)));
            next = end;
        }
    }
    targets
}

/// A distribution that is being evened out. Topics and members are numbers here.
struct Balance<'a> {
    topics: &'a [Topic],
    /// By member and topic.
    held: Vec<BTreeMap<usize, BTreeSet<i32>>>,
    loads: Vec<usize>,
}

impl<'a> Balance<'a> {
    /// Even, starting from what the members should have had so far.
    fn new<'b>(
        topics: &'a [Topic],
        present: impl Iterator<Item = &'b BTreeSet<Partition>>,
    ) -> Self {
        let mut free: Vec<BTreeSet<i32>> =
            topics.iter().map(|topic| (0..topic.partitions).collect()).collect();
        let mut held = Vec::new();
        for (number, target) in present.enumerate() {
            let mut kept: BTreeMap<usize, BTreeSet<i32>> = BTreeMap::new();
            for (id, partition) in target {
                let Ok(topic) = topics.binary_search_by_key(id, |topic| topic.id) else { continue };
                let subscribes = topics[topic].subscribers.binary_search(&number).is_ok();
                if subscribes && free[topic].remove(partition) {
                    kept.entry(topic).or_default().insert(*partition);
                }
            }
            held.push(kept);
        }
        let loads = held.iter().map(|held| held.values().map(BTreeSet::len).sum()).collect();
        let mut balance = Self { topics, held, loads };
        balance.hand_out(free);
        balance.even_out();
        balance
    }

    fn into_targets(self) -> Vec<BTreeSet<Partition>> {
        let topics = self.topics;
        let partitions = |(topic, partitions): (usize, BTreeSet<i32>)| {
            partitions.into_iter().map(move |partition| (topics[topic].id, partition))
        };
        self.held.into_iter().map(|held| held.into_iter().flat_map(partitions).collect()).collect()
    }

    /// Gives what nobody has to those who have least. Topics that few subscribe to come first.
    fn hand_out(&mut self, free: Vec<BTreeSet<i32>>) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|topic| self.topics[*topic].subscribers.len());
        for topic in order {
            if free[topic].is_empty() {
                continue;
            }
            let subscribers = &self.topics[topic].subscribers;
            let mut poorest: BinaryHeap<Reverse<(usize, usize)>> =
                subscribers.iter().map(|member| Reverse((self.loads[*member], *member))).collect();
            for partition in &free[topic] {
                let Some(Reverse((load, member))) = poorest.pop() else { break };
                self.held[member].entry(topic).or_default().insert(*partition);
                self.loads[member] = load + 1;
                poorest.push(Reverse((load + 1, member)));
            }
        }
    }

    /// Hands partitions on as long as that makes two loads more alike. A way over others is one
    /// along which each has a partition of a topic that the next one subscribes to. Where no way
    /// leads to anybody who has less, none leads out of the members that were found: they are done.
    fn even_out(&mut self) {
        let by_load = |(load, member): (usize, usize)| (load, Reverse(member));
        let mut richest: BinaryHeap<(usize, Reverse<usize>)> =
            self.loads.iter().enumerate().map(|(member, load)| by_load((*load, member))).collect();
        let mut done = vec![false; self.held.len()];
        while let Some((load, Reverse(member))) = richest.pop() {
            if done[member] || load != self.loads[member] {
                continue;
            }
            match self.way_down(member, &done) {
                Ok(way) => {
                    for step in way.windows(2) {
                        self.hand_on(step[0], step[1]);
                    }
                    let last = way[way.len() - 1];
                    self.loads[member] -= 1;
                    self.loads[last] += 1;
                    for member in [member, last] {
                        richest.push(by_load((self.loads[member], member)));
                    }
                }
                Err(reached) => reached.into_iter().for_each(|member| done[member] = true),
            }
        }
    }

    /// The shortest way from a member to one who has at least two less, to the poorest of those
    /// that are as near; or else all members that can be reached.
    fn way_down(&self, from: usize, done: &[bool]) -> Result<Vec<usize>, Vec<usize>> {
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::from([(from, from)]);
        let mut topics_seen = vec![false; self.topics.len()];
        let mut level = VecDeque::from([from]);
        while !level.is_empty() {
            let mut next = VecDeque::new();
            for member in level {
                for (topic, partitions) in &self.held[member] {
                    if partitions.is_empty() || std::mem::replace(&mut topics_seen[*topic], true) {
                        continue;
                    }
                    for other in &self.topics[*topic].subscribers {
                        if !done[*other] && !came_from.contains_key(other) {
                            came_from.insert(*other, member);
                            next.push_back(*other);
                        }
                    }
                }
            }
            let poorest = next.iter().copied().min_by_key(|member| (self.loads[*member], *member));
            if let Some(poorest) =
                poorest.filter(|poorest| self.loads[*poorest] + 2 <= self.loads[from])
            {
                let mut way = vec![poorest];
                while way[way.len() - 1] != from {
                    way.push(came_from[&way[way.len() - 1]]);
                }
                way.reverse();
                return Ok(way);
            }
            level = next;
        }
        Err(came_from.into_keys().collect())
    }

    /// Gives one partition of a topic that both subscribe to; of the topic of which the giver has
    /// most, so that topics are spread as well.
    fn hand_on(&mut self, from: usize, to: usize) {
        let both_subscribe =
            |topic: usize| self.topics[topic].subscribers.binary_search(&to).is_ok();
        let topic = self.held[from]
            .iter()
            .filter(|(topic, partitions)| !partitions.is_empty() && both_subscribe(**topic))
            .max_by_key(|(topic, partitions)| (partitions.len(), Reverse(**topic)))
            .map(|(topic, _)| *topic)
            .expect("a way leads over topics that both subscribe to");
        let partition = self.held[from].get_mut(&topic).and_then(BTreeSet::pop_last);
        self.held[to].entry(topic).or_default().extend(partition);
    }
}
