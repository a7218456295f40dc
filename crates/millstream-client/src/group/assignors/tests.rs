//! Assignors: what must hold, and what the Java client gives.

use proptest::prelude::*;

use super::*;

fn counts(topics: &[(&str, i32)]) -> PartitionCounts {
    topics.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
}

fn member(id: &str, topics: &[&str]) -> MemberSubscription {
    MemberSubscription {
        member_id: id.to_owned(),
        topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
        generation: -1,
        ..MemberSubscription::default()
    }
}

fn partitions_of(assignments: &Assignments, id: &str) -> Vec<String> {
    assignments[id].iter().map(|p| format!("{}-{}", p.topic, p.partition)).collect()
}

/// The members' shares, as the Java client's tests write them.
fn check(
    assignor: Assignor,
    members: &[MemberSubscription],
    topics: &[(&str, i32)],
    expected: &[(&str, &[&str])],
) {
    let assignments = assign(assignor, members, &counts(topics), &PartitionRacks::new());
    for (id, partitions) in expected {
        assert_eq!(partitions_of(&assignments, id), *partitions, "{assignor:?}, {id}");
    }
    assert_eq!(assignments.len(), members.len());
}

#[test]
fn range_gives_what_the_java_client_gives() {
    let two = [member("c1", &["t1", "t2"]), member("c2", &["t1", "t2"])];
    check(
        Assignor::Range,
        &two,
        &[("t1", 3), ("t2", 3)],
        &[("c1", &["t1-0", "t1-1", "t2-0", "t2-1"]), ("c2", &["t1-2", "t2-2"])],
    );
    let mixed = [member("c1", &["t1"]), member("c2", &["t1", "t2"]), member("c3", &["t1"])];
    check(
        Assignor::Range,
        &mixed,
        &[("t1", 3), ("t2", 2)],
        &[("c1", &["t1-0"]), ("c2", &["t1-1", "t2-0", "t2-1"]), ("c3", &["t1-2"])],
    );
    let one = [member("c1", &["t1"]), member("c2", &["t1"])];
    check(Assignor::Range, &one, &[("t1", 1)], &[("c1", &["t1-0"]), ("c2", &[])]);
    check(Assignor::Range, &one, &[], &[("c1", &[]), ("c2", &[])]);
    let four: Vec<_> = ["a", "b", "c", "d"].map(|id| member(id, &["t"])).into();
    check(
        Assignor::Range,
        &four,
        &[("t", 10)],
        &[
            ("a", &["t-0", "t-1", "t-2"]),
            ("b", &["t-3", "t-4", "t-5"]),
            ("c", &["t-6", "t-7"]),
            ("d", &["t-8", "t-9"]),
        ],
    );
}

#[test]
fn static_members_come_first_in_the_order_of_their_instances() {
    let mut members = [member("a", &["t"]), member("b", &["t"]), member("c", &["t"])];
    members[1].instance_id = Some("i2".into());
    members[2].instance_id = Some("i1".into());
    check(
        Assignor::Range,
        &members,
        &[("t", 4)],
        &[("c", &["t-0", "t-1"]), ("b", &["t-2"]), ("a", &["t-3"])],
    );
    check(
        Assignor::RoundRobin,
        &members,
        &[("t", 4)],
        &[("c", &["t-0", "t-3"]), ("b", &["t-1"]), ("a", &["t-2"])],
    );
}

#[test]
fn round_robin_gives_what_the_java_client_gives() {
    let two = [member("c1", &["t1", "t2"]), member("c2", &["t1", "t2"])];
    check(
        Assignor::RoundRobin,
        &two,
        &[("t1", 3), ("t2", 3)],
        &[("c1", &["t1-0", "t1-2", "t2-1"]), ("c2", &["t1-1", "t2-0", "t2-2"])],
    );
    let mixed = [member("c1", &["t1"]), member("c2", &["t1", "t2"]), member("c3", &["t1"])];
    check(
        Assignor::RoundRobin,
        &mixed,
        &[("t1", 3), ("t2", 2)],
        &[("c1", &["t1-0"]), ("c2", &["t1-1", "t2-0", "t2-1"]), ("c3", &["t1-2"])],
    );
}

#[test]
fn what_two_claim_in_one_generation_is_nobodys() {
    let mut members = [member("a", &["t"]), member("b", &["t"]), member("c", &["t"])];
    let claim: BTreeSet<_> = [TopicPartition::new("t", 0)].into();
    for claimant in &mut members[..2] {
        claimant.owned.clone_from(&claim);
        claimant.generation = 4;
    }
    for assignor in [Assignor::CooperativeSticky, Assignor::CoPartitioned] {
        let given = assign(assignor, &members, &counts(&[("t", 1)]), &PartitionRacks::new());
        assert!(given.values().all(BTreeSet::is_empty), "{given:?}");
        // The younger claim counts, and its holder keeps it.
        members[1].generation = 5;
        let given = assign(assignor, &members, &counts(&[("t", 1)]), &PartitionRacks::new());
        assert_eq!(given["b"], claim);
        members[1].generation = 4;
    }
}

#[test]
fn a_member_that_was_eager_gets_back_what_it_had() {
    let mut members = [member("a", &["t"]), member("b", &["t"])];
    members[0].previous = [TopicPartition::new("t", 1), TopicPartition::new("t", 3)].into();
    members[1].previous = [TopicPartition::new("t", 0), TopicPartition::new("t", 2)].into();
    let given =
        assign(Assignor::CoPartitioned, &members, &counts(&[("t", 4)]), &PartitionRacks::new());
    assert_eq!(given["a"], members[0].previous);
    assert_eq!(given["b"], members[1].previous);
}

/// A group as the leader sees it.
#[derive(Clone, Debug)]
struct Case {
    members: Vec<MemberSubscription>,
    counts: PartitionCounts,
}

const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];

/// Members that subscribe to subsets of the topics; with `alike` all to the same.
fn case(alike: bool) -> impl Strategy<Value = Case> {
    let topics = prop::collection::vec(0i32..9, TOPICS.len());
    let members = prop::collection::vec((1u8..16, prop::bool::weighted(0.2)), 1..7);
    (topics, members, 1u8..16).prop_map(move |(sizes, members, common)| {
        let counts = TOPICS
            .iter()
            .zip(sizes)
            .filter(|(_, size)| *size > 0)
            .map(|(topic, size)| (Arc::from(*topic), size))
            .collect();
        let members = members.into_iter().enumerate().map(|(index, (own, is_static))| {
            let bits = if alike { common } else { own };
            let topics: Vec<&str> =
                (0..TOPICS.len()).filter(|i| bits & (1 << i) != 0).map(|i| TOPICS[i]).collect();
            let mut member = member(&format!("m{index}"), &topics);
            member.instance_id = is_static.then(|| format!("i{}", 9 - index));
            member
        });
        Case { members: members.collect(), counts }
    })
}

const STICKY: [Assignor; 2] = [Assignor::CooperativeSticky, Assignor::CoPartitioned];

fn all(case: &Case) -> BTreeSet<TopicPartition> {
    let members: Vec<&MemberSubscription> = case.members.iter().collect();
    partitions(&members, &case.counts).collect()
}

/// Nothing twice, and nothing to someone who does not want it or for as long as another holds it.
fn check_sound(case: &Case, given: &Assignments) {
    let mut seen = BTreeSet::new();
    let existing = all(case);
    for member in &case.members {
        for partition in &given[&member.member_id] {
            assert!(seen.insert(partition.clone()), "{partition} is given twice");
            assert!(existing.contains(partition), "{partition} does not exist");
            assert!(member.topics.contains(&partition.topic), "{partition} is not wanted");
            let held = case.members.iter().any(|other| {
                other.member_id != member.member_id && other.owned.contains(partition)
            });
            assert!(!held, "{partition} is given away under its holder");
        }
    }
}

/// Rounds until nothing is withheld any more, each member telling what it was given.
fn settle(assignor: Assignor, case: &mut Case) -> Assignments {
    for generation in 1..4 {
        let given = assign(assignor, &case.members, &case.counts, &PartitionRacks::new());
        check_sound(case, &given);
        let mut revoked = false;
        for member in &mut case.members {
            let next = given[&member.member_id].clone();
            revoked |= !member.owned.is_subset(&next);
            member.owned = next;
            member.generation = member.generation.max(generation) + 1;
        }
        let newest = case.members.iter().map(|member| member.generation).max().unwrap_or(0);
        for member in &mut case.members {
            member.generation = newest;
        }
        if !revoked {
            let shared_out: BTreeSet<_> = given.values().flatten().cloned().collect();
            assert_eq!(shared_out, all(case), "something is left over");
            return given;
        }
    }
    panic!("{assignor:?} does not come to rest");
}

/// KIP-54: nobody could be given a partition of somebody who has two more.
fn is_balanced(case: &Case, given: &Assignments) -> bool {
    case.members.iter().all(|poor| {
        given
            .values()
            .filter(|rich| rich.len() > given[&poor.member_id].len() + 1)
            .all(|rich| rich.iter().all(|partition| !poor.topics.contains(&partition.topic)))
    })
}

/// Equal numbers of topics that the same members want, with equally many partitions, are together,
/// and of each such bundle the members' numbers differ by one at most.
fn check_co_partitioned(case: &Case, given: &Assignments) {
    let mut owners: BTreeMap<(Vec<&str>, i32, i32), BTreeSet<&str>> = BTreeMap::new();
    let mut numbers: BTreeMap<(Vec<&str>, i32), BTreeMap<&str, usize>> = BTreeMap::new();
    for (topic, count) in &case.counts {
        let subscribers: Vec<&str> = case
            .members
            .iter()
            .filter(|member| member.topics.contains(topic))
            .map(|member| member.member_id.as_str())
            .collect();
        for number in 0..*count {
            let partition = TopicPartition::new(topic.clone(), number);
            for (id, _) in given.iter().filter(|(_, theirs)| theirs.contains(&partition)) {
                let bundle = (subscribers.clone(), *count);
                let unit = (subscribers.clone(), *count, number);
                if owners.entry(unit).or_default().insert(id) {
                    let numbers = numbers.entry(bundle).or_insert_with(|| {
                        subscribers.iter().map(|subscriber| (*subscriber, 0)).collect()
                    });
                    *numbers.get_mut(id.as_str()).unwrap() += 1;
                }
            }
        }
    }
    for (unit, owners) in owners {
        assert_eq!(owners.len(), 1, "{unit:?} is torn apart");
    }
    for (bundle, numbers) in numbers {
        let (least, most) = (numbers.values().min().unwrap(), numbers.values().max().unwrap());
        assert!(most - least <= 1, "{bundle:?}: {numbers:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn range_equals_its_formula(case in case(false)) {
        let given = assign(Assignor::Range, &case.members, &case.counts, &PartitionRacks::new());
        let mut members: Vec<_> = case.members.iter().collect();
        members.sort_by(|a, b| by_rank(a, b));
        for (topic, count) in &case.counts {
            let among: Vec<_> = members.iter().filter(|m| m.topics.contains(topic)).collect();
            for number in 0..*count {
                let partition = TopicPartition::new(topic.clone(), number);
                let owners: Vec<_> = given.iter().filter(|(_, p)| p.contains(&partition)).collect();
                if among.is_empty() {
                    prop_assert!(owners.is_empty());
                    continue;
                }
                let (number, n) = (number as usize, among.len());
                let (each, extra) = (*count as usize / n, *count as usize % n);
                let long = extra * (each + 1);
                let rank = if number < long { number / (each + 1) } else { extra + (number - long) / each };
                prop_assert_eq!(owners.len(), 1);
                prop_assert_eq!(owners[0].0, &among[rank].member_id);
            }
        }
    }

    #[test]
    fn round_robin_deals_like_cards(case in case(true)) {
        let given = assign(Assignor::RoundRobin, &case.members, &case.counts, &PartitionRacks::new());
        let mut members: Vec<_> = case.members.iter().collect();
        members.sort_by(|a, b| by_rank(a, b));
        for (index, partition) in all(&case).into_iter().enumerate() {
            let member = members[index % members.len()];
            prop_assert!(given[&member.member_id].contains(&partition));
        }
        check_sound(&case, &given);
    }

    #[test]
    fn round_robin_gives_everything(case in case(false)) {
        let given = assign(Assignor::RoundRobin, &case.members, &case.counts, &PartitionRacks::new());
        check_sound(&case, &given);
        let shared_out: BTreeSet<_> = given.values().flatten().cloned().collect();
        prop_assert_eq!(shared_out, all(&case));
    }

    #[test]
    fn sticky_ones_settle_in_balance(mut case in case(false), leaver in any::<prop::sample::Index>(), grown in 0i32..6) {
        for assignor in STICKY {
            let mut case = case.clone();
            let given = settle(assignor, &mut case);
            if assignor == Assignor::CooperativeSticky {
                prop_assert!(is_balanced(&case, &given));
            } else {
                check_co_partitioned(&case, &given);
            }
            // Nothing moves where nothing has changed.
            prop_assert_eq!(&assign(assignor, &case.members, &case.counts, &PartitionRacks::new()), &given);
            // Then someone leaves, a topic grows, and someone comes.
            let left = case.members.remove(leaver.index(case.members.len()));
            if let Some(count) = case.counts.values_mut().next() {
                *count += grown;
            }
            let mut newcomer = left;
            newcomer.member_id = "new".into();
            newcomer.owned.clear();
            newcomer.generation = -1;
            newcomer.topics = TOPICS.map(Arc::from).into();
            case.members.push(newcomer);
            let given = settle(assignor, &mut case);
            if assignor == Assignor::CooperativeSticky {
                prop_assert!(is_balanced(&case, &given));
            } else {
                check_co_partitioned(&case, &given);
            }
        }
        case.members.clear();
        for assignor in STICKY {
            prop_assert!(assign(assignor, &case.members, &case.counts, &PartitionRacks::new()).is_empty());
        }
    }

    #[test]
    fn no_more_moves_than_must(case in case(true), joins in any::<bool>(), leaver in any::<prop::sample::Index>()) {
        let mut case = case;
        settle(Assignor::CooperativeSticky, &mut case);
        if joins {
            let mut newcomer = case.members[0].clone();
            newcomer.member_id = "new".into();
            newcomer.owned.clear();
            newcomer.instance_id = None;
            case.members.push(newcomer);
        } else if case.members.len() > 1 {
            case.members.remove(leaver.index(case.members.len()));
        }
        let before: BTreeMap<String, BTreeSet<TopicPartition>> =
            case.members.iter().map(|m| (m.member_id.clone(), m.owned.clone())).collect();
        let given = settle(Assignor::CooperativeSticky, &mut case);
        let kept: usize = given.iter().map(|(id, p)| p.intersection(&before[id]).count()).sum();
        // Each may keep the lower share, and as many as the odd ones are may keep one more.
        let (low, odd) = (all(&case).len() / given.len(), all(&case).len() % given.len());
        let floor: usize = before.values().map(|owned| owned.len().min(low)).sum();
        let above = before.values().filter(|owned| owned.len() > low).count();
        prop_assert_eq!(kept, floor + above.min(odd));
    }

    #[test]
    fn a_leaver_moves_only_what_it_had(case in case(true), leaver in any::<prop::sample::Index>(), size in 1i32..12) {
        let mut case = case;
        // One bundle: topics of equal size.
        for count in case.counts.values_mut() {
            *count = size;
        }
        for assignor in STICKY {
            let mut case = case.clone();
            settle(assignor, &mut case);
            if case.members.len() < 2 {
                continue;
            }
            case.members.remove(leaver.index(case.members.len()));
            let before = case.members.clone();
            let given = settle(assignor, &mut case);
            for member in before {
                prop_assert!(member.owned.is_subset(&given[&member.member_id]));
            }
        }
    }

    #[test]
    fn co_partitioned_totals_differ_by_a_unit_at_most(case in case(true)) {
        let mut case = case;
        let given = settle(Assignor::CoPartitioned, &mut case);
        let (least, most) =
            (given.values().map(BTreeSet::len).min().unwrap(), given.values().map(BTreeSet::len).max().unwrap());
        prop_assert!(most - least <= TOPICS.len());
        let sizes: Vec<i32> = case.counts.iter().filter(|(t, _)| case.members[0].topics.contains(*t)).map(|(_, n)| *n).collect();
        let distinct: BTreeSet<_> = sizes.iter().collect();
        if distinct.len() == sizes.len() {
            // Every topic is a bundle of its own.
            prop_assert!(most - least <= 1);
        }
    }
}

/// A line is `member:instance:rack=topics;..|topic=racks of partition 0,..;..|member=partitions;..`;
/// racks have one letter each, `-` is none. The last part is what Kafka 4.3.1's own RangeAssignor
/// made of the rest.
#[test]
fn range_goes_by_racks_as_kafka_does() {
    let list = |text: &'static str, by: char| text.split(by).filter(|part| !part.is_empty());
    let pairs = |text| list(text, ';').map(|part| part.split_once('=').unwrap());
    let (mut by_racks, mut cases) = (0, 0);
    for line in include_str!("tests/range-of-kafka-4.3.txt").lines() {
        let [members, topics, expected] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut members: Vec<MemberSubscription> = pairs(members)
            .map(|(who, topics)| {
                let [id, instance, rack] = who.split(':').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                MemberSubscription {
                    instance_id: text(instance),
                    rack: text(rack).map(Arc::from),
                    ..member(id, &list(topics, ',').collect::<Vec<_>>())
                }
            })
            .collect();
        let racks: PartitionRacks = pairs(topics)
            .map(|(topic, racks)| {
                let of = |racks: &'static str| {
                    racks.matches(|c| c != '-').map(Arc::from).collect::<BTreeSet<_>>()
                };
                (Arc::from(topic), list(racks, ',').map(of).collect())
            })
            .collect();
        let counts: PartitionCounts =
            racks.iter().map(|(topic, racks)| (topic.clone(), racks.len() as i32)).collect();
        let given = assign(Assignor::Range, &members, &counts, &racks);
        for (id, partitions) in pairs(expected) {
            assert_eq!(
                partitions_of(&given, id),
                list(partitions, ',').collect::<Vec<_>>(),
                "{line}"
            );
        }
        for member in &mut members {
            member.rack = None;
        }
        let without = assign(Assignor::Range, &members, &counts, &racks);
        by_racks += usize::from(without != given);
        cases += 1;
        // Racks change who gets which partition of a topic, and not how many.
        for (id, share) in &given {
            for topic in counts.keys() {
                let of = |share: &BTreeSet<TopicPartition>| {
                    share.iter().filter(|p| p.topic == *topic).count()
                };
                let most = of(&without[id]).abs_diff(of(share));
                assert!(most <= 1, "{line}");
            }
        }
    }
    assert_eq!(cases, 160);
    assert!(by_racks > 40, "only {by_racks} cases are about racks");
}
