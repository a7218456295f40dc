//! What the strategies promise, against slow and obvious twins.

use proptest::prelude::*;

use super::*;
use crate::consumer_group::assignor;

/// Members that subscribe to the topics whose bits are set, with what they have.
fn members(subscriptions: &[u8]) -> BTreeMap<String, Member> {
    let member = |(number, topics): (usize, &u8)| {
        let mut member = Member::new(&format!("m{number}"));
        let names = (0..8).filter(|bit| topics & (1 << bit) != 0);
        member.subscription.names = names.map(|bit| bit.to_string()).collect();
        (member.id.clone(), member)
    };
    subscriptions.iter().enumerate().map(member).collect()
}

fn topics_of<'a>(sizes: &'a [i32]) -> impl Fn(&Subscription) -> BTreeMap<Uuid, i32> + 'a {
    |subscription| {
        let numbers = subscription.names.iter().map(|name| name.parse::<usize>().unwrap());
        let exists = numbers.filter(|number| *number < sizes.len());
        exists.map(|number| (Uuid::from_u128(number as u128), sizes[number])).collect()
    }
}

/// Assigns, and lets the members have it.
fn assign(assignor: Assignor, members: &mut BTreeMap<String, Member>, sizes: &[i32]) {
    let targets = assignor::assign(assignor, members, topics_of(sizes));
    assert_eq!(targets.len(), members.len());
    for (id, target) in targets {
        members.get_mut(&id).unwrap().target = target;
    }
}

fn loads(members: &BTreeMap<String, Member>) -> Vec<usize> {
    members.values().map(|member| member.target.len()).collect()
}

/// Each partition that somebody subscribes to is somebody's who does.
fn check(members: &BTreeMap<String, Member>, sizes: &[i32]) {
    let mut all = BTreeSet::new();
    let mut owned = BTreeSet::new();
    for member in members.values() {
        let mine = topics_of(sizes)(&member.subscription);
        let mine: BTreeSet<Partition> =
            mine.into_iter().flat_map(|(id, count)| (0..count).map(move |p| (id, p))).collect();
        assert!(member.target.is_subset(&mine));
        for partition in &member.target {
            assert!(owned.insert(*partition), "{partition:?} is in two targets");
        }
        all.extend(mine);
    }
    assert_eq!(owned, all);
}

/// The least possible sum of squares, found by trying: a distribution is the most even one if no
/// partition's way over others leads from one member to another with two less (the twin looks at
/// all ways, one member at a time, until nothing changes).
fn is_as_even_as_can_be(members: &BTreeMap<String, Member>, sizes: &[i32]) -> bool {
    let all: Vec<&Member> = members.values().collect();
    let subscribes =
        |member: &Member, topic: &Uuid| topics_of(sizes)(&member.subscription).contains_key(topic);
    for from in 0..all.len() {
        let mut reached = vec![false; all.len()];
        reached[from] = true;
        loop {
            let before = reached.clone();
            for giver in 0..all.len() {
                for taker in 0..all.len() {
                    let gives = |(topic, _): &Partition| subscribes(all[taker], topic);
                    if reached[giver] && all[giver].target.iter().any(gives) {
                        reached[taker] = true;
                    }
                }
            }
            if reached == before {
                break;
            }
        }
        let can = (0..all.len())
            .any(|to| reached[to] && all[to].target.len() + 2 <= all[from].target.len());
        if can {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn uniform_is_as_even_as_subscriptions_allow(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(0..16u8, 1..7), proptest::collection::vec(1..9i32, 1..5)),
            1..4,
        ),
    ) {
        let mut before: BTreeMap<String, Member> = BTreeMap::new();
        for (subscriptions, sizes) in rounds {
            let mut now = members(&subscriptions);
            for (id, member) in &mut now {
                if let Some(old) = before.get(id) {
                    member.target.clone_from(&old.target);
                }
            }
            assign(Assignor::Uniform, &mut now, &sizes);
            check(&now, &sizes);
            prop_assert!(is_as_even_as_can_be(&now, &sizes), "{:?}", loads(&now));
            before = now;
        }
    }

    /// Where all subscribe to the same: within one, and nothing moves that need not.
    #[test]
    fn uniform_is_even_within_one_and_sticky(
        first in 1..8usize,
        second in 1..8usize,
        sizes in proptest::collection::vec(1..12i32, 1..4),
        gone in 0..8usize,
    ) {
        let mut members = members(&vec![0xff; first]);
        assign(Assignor::Uniform, &mut members, &sizes);
        check(&members, &sizes);
        let even = |members: &BTreeMap<String, Member>| {
            let loads = loads(members);
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1
        };
        prop_assert!(even(&members));
        let again = members.clone();
        assign(Assignor::Uniform, &mut members, &sizes);
        prop_assert_eq!(&members, &again, "nothing has changed");

        // Some go, others come.
        members.remove(&format!("m{gone}"));
        for number in 0..second {
            let id = format!("n{number}");
            members.insert(id.clone(), Member { id, ..again["m0"].clone() });
            members.get_mut(&format!("n{number}")).unwrap().target.clear();
        }
        let before = members.clone();
        assign(Assignor::Uniform, &mut members, &sizes);
        check(&members, &sizes);
        prop_assert!(even(&members));
        let kept: usize = members
            .iter()
            .map(|(id, member)| member.target.intersection(&before[id].target).count())
            .sum();
        // Each may keep as many as an even share gives it, the larger shares going to those who
        // have the most.
        let total: usize = sizes.iter().map(|size| *size as usize).sum();
        let (share, extra) = (total / members.len(), total % members.len());
        let mut had = loads(&before);
        had.sort_unstable_by(|a, b| b.cmp(a));
        let most: usize = had
            .iter()
            .enumerate()
            .map(|(rank, had)| (*had).min(share + usize::from(rank < extra)))
            .sum();
        prop_assert_eq!(kept, most);
    }

    #[test]
    fn range_cuts_topics_of_one_size_alike(
        subscriptions in proptest::collection::vec(0..16u8, 1..7),
        sizes in proptest::collection::vec(1..9i32, 1..5),
    ) {
        let mut members = members(&subscriptions);
        assign(Assignor::Range, &mut members, &sizes);
        check(&members, &sizes);
        for member in members.values() {
            for topic in 0..sizes.len() as u128 {
                let of = |topic| -> Vec<i32> {
                    let id = Uuid::from_u128(topic);
                    member.target.iter().filter(|(t, _)| *t == id).map(|(_, p)| *p).collect()
                };
                let partitions = of(topic);
                prop_assert!(partitions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a stretch");
                for other in 0..sizes.len() as u128 {
                    let alike = sizes[topic as usize] == sizes[other as usize]
                        && subscriptions.iter().all(|s| (s >> topic & 1) == (s >> other & 1));
                    prop_assert!(!alike || partitions == of(other));
                }
            }
        }
    }
}

#[test]
fn range_goes_by_instance_ids_first() {
    let mut group = members(&[1, 1, 1]);
    group.get_mut("m2").unwrap().instance = Some("b".into());
    group.get_mut("m1").unwrap().instance = Some("c".into());
    assign(Assignor::Range, &mut group, &[7]);
    assert_eq!(loads(&group), [2, 2, 3]);
    assert!(group["m2"].target.contains(&(Uuid::from_u128(0), 0)));
    assert!(group["m0"].target.contains(&(Uuid::from_u128(0), 6)));
}

/// A thousand members and ten thousand partitions come and go in reasonable numbers of steps: the
/// test would not end otherwise.
#[test]
fn large_groups_are_assigned() {
    let mut group = members(&vec![0xff; 1000]);
    let sizes = [2000; 5];
    assign(Assignor::Uniform, &mut group, &sizes);
    assert_eq!(loads(&group), vec![10; 1000]);
    group.retain(|id, _| !id.ends_with('7'));
    assign(Assignor::Uniform, &mut group, &sizes);
    let owned: BTreeSet<Partition> =
        group.values().flat_map(|member| member.target.iter().copied()).collect();
    assert_eq!((owned.len(), loads(&group).iter().sum::<usize>()), (10_000, 10_000));
    assert!(loads(&group).iter().all(|load| (11..=12).contains(load)));
}
