//! Which broker is asked, and what happens when it was the wrong one.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    FindCoordinatorRequest, ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse,
};
use proptest::prelude::*;

use super::super::OffsetSpec;
use super::*;
use crate::error::code;
use crate::testing::{Does, Listens};

/// Every topic with this code.
fn created(request: &CreateTopicsRequest, code: i16) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| {
        CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

/// Every partition with what `answer` says: code and offset.
fn offsets(
    request: &ListOffsetsRequest,
    mut answer: impl FnMut(&str, i32, i64) -> (i16, i64),
) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (code, offset) = answer(&topic.name, asked.partition_index, asked.timestamp);
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code)
                .with_offset(offset)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// A request that went to the former controller goes to the new one.
#[test]
fn not_controller_finds_the_new_one() {
    let world = World::of(3);
    let mut admin = admin(&world);
    assert_eq!(admin.cluster(LIMIT).unwrap().controller, Some(1));
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.on::<CreateTopicsRequest>(|broker, _, request| {
            assert!(request.timeout_ms > 0 && !request.validate_only);
            Does::Answers(created(&request, if broker == 3 { 0 } else { 41 }))
        });
    }
    // The client learns of it only by asking the one that it knows.
    let created = {
        let topics = [new_topic("a"), new_topic("b")];
        let moved = world.clone();
        world.cluster.lock().unwrap().on::<MetadataRequest>({
            let mut asked = 0;
            move |_, _, _| {
                asked += 1;
                let _ = &moved;
                Does::Answers(brokers_with_controller(if asked > 2 { 3 } else { 1 }))
            }
        });
        admin.create_topics(&topics, LIMIT).unwrap()
    };
    assert_eq!(created, [Ok(()), Ok(())]);
    let cluster = world.cluster.lock().unwrap();
    let asked: Vec<i32> =
        cluster.seen.iter().filter(|(_, key, _)| *key == 19).map(|(broker, ..)| *broker).collect();
    assert_eq!(asked.last(), Some(&3));
    assert!(asked.len() >= 2 && asked[0] == 1, "{asked:?}");
}

fn brokers_with_controller(controller: i32) -> MetadataResponse {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    let broker = |id: i32| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(kafka_protocol::protocol::StrBytes::from_static_str("broker"))
            .with_port(9000 + id)
    };
    MetadataResponse::default()
        .with_brokers((1..=3).map(broker).collect())
        .with_controller_id(BrokerId(controller))
}

/// What a broker refuses is refused item by item, in the order asked, in the broker's words.
#[test]
fn items_answer_for_themselves() {
    let world = World::of(1);
    world.cluster.lock().unwrap().on::<CreateTopicsRequest>(|_, _, request| {
        // Brokers answer in whatever order.
        let topics = request.topics.iter().rev().map(|topic| {
            let result = CreatableTopicResult::default().with_name(topic.name.clone());
            match topic.name.as_str() {
                "there" => result
                    .with_error_code(36)
                    .with_error_message(Some("Topic 'there' already exists.".to_string().into())),
                _ => result,
            }
        });
        Does::Answers(CreateTopicsResponse::default().with_topics(topics.collect()))
    });
    let topics = [new_topic("a"), new_topic("there"), new_topic("b")];
    let answers = admin(&world).create_topics(&topics, LIMIT).unwrap();
    assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())));
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(super::code(error), 36);
    let text = error.to_string();
    assert!(text.starts_with("create topic \"there\": Topic 'there' already exists."), "{text}");
    assert_eq!(world.cluster.lock().unwrap().count::<CreateTopicsRequest>(), 1);
}

/// One request per leader, put together in the order asked.
#[test]
fn partitions_go_to_their_leaders() {
    let world = World::of(3);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![1, 2, 3]);
        cluster.topics.insert("b".into(), vec![2]);
        cluster.on::<ListOffsetsRequest>(|broker, _, request| {
            Does::Answers(offsets(&request, |topic, partition, spec| {
                let leader = if topic == "a" { partition + 1 } else { 2 };
                if broker != leader { (6, -1) } else { (0, 100 * i64::from(partition) - spec) }
            }))
        });
    }
    let asked = [
        (tp("a", 2), OffsetSpec::Latest),
        (tp("b", 0), OffsetSpec::Earliest),
        (tp("a", 0), OffsetSpec::Latest),
        (tp("a", 1), OffsetSpec::MaxTimestamp),
        // The same once more: brokers refuse that within one request.
        (tp("a", 2), OffsetSpec::Earliest),
    ];
    let found = admin(&world).list_offsets(&asked, false, LIMIT).unwrap();
    let found: Vec<i64> = found.into_iter().map(|found| found.unwrap().unwrap().offset).collect();
    assert_eq!(found, [201, 2, 1, 103, 202]);
    // Three leaders, and one of them a second time.
    assert_eq!(world.cluster.lock().unwrap().count::<ListOffsetsRequest>(), 4);
}

/// A leader that has moved is found; a partition or topic that is not there is an error soon.
#[test]
fn leaders_move_and_partitions_are_missing() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![1]);
        cluster.on::<ListOffsetsRequest>(|_, _, request| {
            Does::Answers(offsets(&request, |_, _, _| (0, 5)))
        });
    }
    let mut admin = admin(&world);
    let first = [(tp("a", 0), OffsetSpec::Latest)];
    admin.list_offsets(&first, false, LIMIT).unwrap().remove(0).unwrap();
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![2]);
        cluster.on::<ListOffsetsRequest>(|broker, _, request| {
            Does::Answers(offsets(&request, |_, _, _| if broker == 2 { (0, 9) } else { (6, -1) }))
        });
    }
    let found = admin.list_offsets(&first, false, LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(found.map(|found| found.offset), Some(9));
    let asked = [
        (tp("a", 7), OffsetSpec::Latest),
        (tp("a", 0), OffsetSpec::Latest),
        (tp("never", 0), OffsetSpec::Latest),
        (tp("a", -1), OffsetSpec::Latest),
    ];
    let (found, took) = taking(&world, || admin.list_offsets(&asked, false, LIMIT).unwrap());
    for missing in [&found[0], &found[2], &found[3]] {
        assert_eq!(super::code(missing.as_ref().unwrap_err()), 3);
    }
    assert!(found[0].as_ref().unwrap_err().to_string().contains("a[7]"));
    assert!(found[1].is_ok());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A partition that gets its leader while the call waits.
#[test]
fn a_missing_leader_is_waited_for() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![-1]);
        cluster.on::<ListOffsetsRequest>(|_, _, request| {
            Does::Answers(offsets(&request, |_, _, _| (0, 5)))
        });
    }
    let mut admin = admin(&world);
    let asked = [(tp("a", 0), OffsetSpec::Latest)];
    let (late, took) = taking(&world, || admin.list_offsets(&asked, false, LIMIT));
    let late = late.unwrap_err();
    assert!(late.to_string().contains("look up an offset of a[0]"), "{late}");
    assert!(took >= LIMIT && took < LIMIT + Duration::from_millis(50), "{took:?}");
    world.cluster.lock().unwrap().topics.insert("a".into(), vec![2]);
    assert!(admin.list_offsets(&asked, false, LIMIT).unwrap()[0].is_ok());
}

/// "Empty" is believed only where it can be.
#[test]
fn no_offset_where_there_is_always_one_is_an_error() {
    let world = World::of(1);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![1, 1]);
        cluster.on::<ListOffsetsRequest>(|_, _, request| {
            Does::Answers(offsets(&request, |_, _, _| (0, -1)))
        });
    }
    let asked = [(tp("a", 0), OffsetSpec::Latest), (tp("a", 1), OffsetSpec::AtOrAfter(5))];
    let found = admin(&world).list_offsets(&asked, false, LIMIT).unwrap();
    assert_eq!(super::code(found[0].as_ref().unwrap_err()), code::BAD_MESSAGE);
    assert_eq!(found[1], Ok(None));
}

fn deleted(request: &DeleteGroupsRequest, code: i16) -> DeleteGroupsResponse {
    let results = request.groups_names.iter().map(|group| {
        DeletableGroupResult::default().with_group_id(group.clone()).with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

/// Groups go to their coordinators; one that is not the coordinator any more, or is gone, or hangs
/// up, is looked for anew.
#[test]
fn coordinators_are_found_again() {
    let world = World::of(3);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators = [("g".to_owned(), 1), ("h".to_owned(), 2)].into();
        cluster.on::<DeleteGroupsRequest>(|_, _, request| Does::Answers(deleted(&request, 0)));
    }
    let mut admin = admin(&world);
    assert_eq!(admin.delete_groups(&["h", "g"], LIMIT).unwrap(), [Ok(()), Ok(())]);
    assert_eq!(world.cluster.lock().unwrap().count::<DeleteGroupsRequest>(), 2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators.insert("g".into(), 3);
        cluster.on::<DeleteGroupsRequest>(|broker, _, request| {
            Does::Answers(deleted(&request, if broker == 3 { 0 } else { 16 }))
        });
    }
    assert_eq!(admin.delete_groups(&["g"], LIMIT).unwrap(), [Ok(())]);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.brokers.insert(3, Listens::No);
        cluster.coordinators.insert("g".into(), 2);
        cluster.on::<DeleteGroupsRequest>(|broker, _, request| match broker {
            2 => Does::Answers(deleted(&request, 0)),
            _ => Does::HangsUp,
        });
    }
    assert_eq!(admin.delete_groups(&["g"], LIMIT).unwrap(), [Ok(())]);
    // A group whose coordinator nobody knows: in time, and with its name.
    let before = world.cluster.lock().unwrap().count::<FindCoordinatorRequest>();
    let (late, took) = taking(&world, || admin.delete_groups(&["nobody"], LIMIT).unwrap_err());
    assert!(late.to_string().contains("delete group \"nobody\""), "{late}");
    assert!(took >= LIMIT && took < LIMIT + Duration::from_millis(50), "{took:?}");
    // It was asked for often enough to find one soon, and not in a busy loop.
    let asked = world.cluster.lock().unwrap().count::<FindCoordinatorRequest>() - before;
    assert!((10..100).contains(&asked), "{asked}");
}

/// A request that a broker does not answer ends the call in time, and says what was tried.
#[test]
fn silence_is_a_time_out_with_a_name() {
    let world = World::of(1);
    world.cluster.lock().unwrap().on::<CreateTopicsRequest>(|_, _, _| Does::IsSilent);
    let mut admin = admin(&world);
    let topics = [new_topic("a"), new_topic("b")];
    let (late, took) = taking(&world, || admin.create_topics(&topics, LIMIT).unwrap_err());
    assert!(matches!(late, Error::TimedOut { after: LIMIT, .. }), "{late:?}");
    assert!(late.to_string().starts_with("create topic \"a\" and 1 more: no answer within 30 s"));
    assert!(took >= LIMIT && took < LIMIT + Duration::from_millis(50), "{took:?}");
}

/// What was answered is given out, though the rest was not.
#[test]
fn some_in_time_and_some_not() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![1, 2]);
        cluster.on::<ListOffsetsRequest>(|broker, _, request| match broker {
            1 => Does::Answers(offsets(&request, |_, _, _| (0, 5))),
            _ => Does::Answers(offsets(&request, |_, _, _| (5, -1))),
        });
    }
    let asked = [(tp("a", 1), OffsetSpec::Latest), (tp("a", 0), OffsetSpec::Latest)];
    let found = admin(&world).list_offsets(&asked, false, LIMIT).unwrap();
    let text = found[0].as_ref().unwrap_err().to_string();
    assert!(text.starts_with("look up an offset of a[1] (last: "), "{text}");
    assert!(text.contains("code 5") && text.contains("no answer within 30 s"), "{text}");
    assert!(found[1].is_ok());
}

/// Nobody to talk to: in time, with what the system said.
#[test]
fn nobody_listens() {
    let world = World::of(2);
    world.cluster.lock().unwrap().brokers = [(1, Listens::No), (2, Listens::No)].into();
    let mut admin = admin(&world);
    let (late, took) = taking(&world, || admin.list_topics(LIMIT).unwrap_err());
    let text = late.to_string();
    assert!(text.starts_with("list topics (last: broker "), "{text}");
    assert!(text.contains("check the broker address"), "{text}");
    assert!(took >= LIMIT && took < LIMIT + Duration::from_millis(50), "{took:?}");
}

/// Who we are is refused: no waiting mends that.
#[test]
fn refused_authentication_is_told_at_once() {
    let world = World::of(2);
    world.cluster.lock().unwrap().brokers =
        [(1, Listens::RefusesTls), (2, Listens::RefusesTls)].into();
    let mut admin = admin(&world);
    let (error, took) = taking(&world, || admin.list_topics(LIMIT).unwrap_err());
    assert_eq!(super::code(&error), code::AUTHENTICATION);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A connection that ends under a request: the request is made again.
#[test]
fn hanging_up_is_no_answer() {
    let world = World::of(1);
    let mut times = 0;
    world.cluster.lock().unwrap().on::<CreateTopicsRequest>(move |_, _, request| {
        times += 1;
        if times < 3 { Does::HangsUp } else { Does::Answers(created(&request, 0)) }
    });
    assert_eq!(admin(&world).create_topics(&[new_topic("a")], LIMIT).unwrap(), [Ok(())]);
    assert_eq!(world.cluster.lock().unwrap().count::<CreateTopicsRequest>(), 3);
}

/// `throttle_time_ms` is obeyed (KIP-219), and a quota error is tried again (KIP-599).
#[test]
fn throttled_clients_wait() {
    let world = World::of(1);
    let mut times = 0;
    world.cluster.lock().unwrap().on::<CreateTopicsRequest>(move |_, _, request| {
        times += 1;
        let response = created(&request, if times == 1 { 89 } else { 0 });
        Does::Answers(response.with_throttle_time_ms(if times == 1 { 7_000 } else { 0 }))
    });
    let mut admin = admin(&world);
    let (done, took) = taking(&world, || admin.create_topics(&[new_topic("a")], LIMIT).unwrap());
    assert_eq!(done, [Ok(())]);
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(9), "{took:?}");
}

/// All brokers are asked, and a broker that still loads is asked again.
#[test]
fn every_broker_lists_its_groups() {
    let world = World::of(3);
    let mut loading = 2;
    world.cluster.lock().unwrap().on::<ListGroupsRequest>(move |broker, _, _| {
        use kafka_protocol::messages::list_groups_response::ListedGroup;
        if broker == 2 && loading > 0 {
            loading -= 1;
            return Does::Answers(ListGroupsResponse::default().with_error_code(14));
        }
        let group = |name: String| {
            ListedGroup::default().with_group_id(kafka_protocol::messages::GroupId(name.into()))
        };
        let groups = vec![group(format!("g{}", 9 - broker)), group("moving".into())];
        Does::Answers(ListGroupsResponse::default().with_groups(groups))
    });
    let groups = admin(&world).list_groups(LIMIT).unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group.group.as_str()).collect();
    assert_eq!(names, ["g6", "g7", "g8", "moving"]);
}

/// An admin client without a call asks nobody anything.
#[test]
fn idle_means_idle() {
    let world = World::of(1);
    let mut admin = admin(&world);
    admin.cluster(LIMIT).unwrap();
    let asked = world.cluster.lock().unwrap().seen.len();
    crate::admin::Await::wait(&*world, Duration::from_secs(3_600));
    assert_eq!(world.cluster.lock().unwrap().seen.len(), asked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever passing errors come first, each item gets its own answer, in the order asked.
    #[test]
    fn every_item_gets_its_own_answer(
        leaders in prop::collection::vec(1..=3i32, 1..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        trouble in prop::collection::vec(prop::sample::select(vec![0i16, 3, 5, 6, 13, 56, 74, 78, -1, 29]), 0..12),
    ) {
        let world = World::of(3);
        let mut trouble = trouble.into_iter();
        {
            let mut cluster = world.cluster.lock().unwrap();
            cluster.topics.insert("a".into(), leaders.clone());
            cluster.on::<ListOffsetsRequest>(move |broker, _, request| {
                let trouble = trouble.next().unwrap_or(0);
                if trouble == -1 {
                    return Does::HangsUp;
                }
                Does::Answers(offsets(&request, |_, partition, spec| {
                    let mine = leaders[partition as usize] == broker;
                    assert!(mine, "partition {partition} was asked of {broker}");
                    match trouble {
                        0 => (0, i64::from(partition) * 10 - spec),
                        code => (code, -1),
                    }
                }))
            });
        }
        let partitions = world.cluster.lock().unwrap().topics["a"].len();
        let asked: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(index, place)| {
                let spec = if index % 2 == 0 { OffsetSpec::Latest } else { OffsetSpec::Earliest };
                (tp("a", place.index(partitions) as i32), spec)
            })
            .collect();
        let found = admin(&world).list_offsets(&asked, false, Duration::from_secs(600)).unwrap();
        prop_assert_eq!(found.len(), asked.len());
        for ((partition, spec), answer) in asked.iter().zip(found) {
            let special = if *spec == OffsetSpec::Latest { 1 } else { 2 };
            match answer {
                Ok(found) => prop_assert_eq!(
                    found.map(|found| found.offset),
                    Some(i64::from(partition.partition) * 10 + special)
                ),
                // The one in the script that does not pass.
                Err(error) => {
                    prop_assert_eq!(super::code(&error), 29);
                    let named = format!("look up an offset of {partition}:");
                    prop_assert!(error.to_string().starts_with(&named), "{}", error);
                }
            }
        }
    }
}

/// Kept from growing: what was asked about is not remembered.
#[test]
fn nothing_is_wanted_after_a_call() {
    let world = World::of(1);
    world.cluster.lock().unwrap().topics.insert("a".into(), vec![1]);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    world.cluster.lock().unwrap().on::<ListOffsetsRequest>(|_, _, request| {
        Does::Answers(offsets(&request, |_, _, _| (0, 1)))
    });
    let mut admin = admin(&world);
    admin.list_offsets(&[(tp("a", 0), OffsetSpec::Latest)], false, LIMIT).unwrap();
    let names = seen.clone();
    world.cluster.lock().unwrap().on::<MetadataRequest>(move |_, _, request| {
        let topics = request.topics.unwrap_or_default();
        names.lock().unwrap().insert(topics.len(), ());
        Does::Answers(brokers_with_controller(1))
    });
    admin.cluster(LIMIT).unwrap();
    assert_eq!(seen.lock().unwrap().keys().copied().collect::<Vec<_>>(), [0]);
}
