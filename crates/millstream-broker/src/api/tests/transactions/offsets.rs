//! Offsets inside transactions: when they count, and who may send them.

use kafka_protocol::ResponseError::*;

use super::*;

#[test]
fn offsets_are_unstable_until_the_transaction_ends() {
    for protocol in [V1, V2] {
        let mut bench = Bench::new();
        bench.create("t", 1, &[]);
        let mut producer = bench.producer("tx", protocol);
        assert_eq!(bench.send_offset(&producer, "g", "t", 5), 0);
        let unstable = UnstableOffsetCommit.code();
        assert_eq!(bench.offset("g", "t", true), (unstable, -1));
        assert_eq!(bench.offset("g", "t", false), (0, -1));
        let mut bench = bench.crash();
        assert_eq!(bench.offset("g", "t", true), (unstable, -1), "also after a restart");
        assert_eq!(bench.offset("other", "t", true), (0, -1));
        assert_eq!(bench.end(&mut producer, true), 0);
        assert_eq!(bench.offset("g", "t", true), (0, 5));
        assert_eq!(bench.send_offset(&producer, "g", "t", 9), 0);
        assert_eq!(bench.offset("g", "t", false), (0, 5));
        assert_eq!(bench.end(&mut producer, false), 0);
        assert_eq!(bench.offset("g", "t", true), (0, 5));
        let mut bench = bench.crash();
        assert_eq!(bench.offset("g", "t", true), (0, 5));
    }
}

/// A power loss takes what it likes of the two journals. Who knows of the offsets and not of their
/// transaction drops them: nobody would ever end it.
#[test]
fn offsets_of_a_transaction_that_is_forgotten_are_dropped() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V2);
    assert_eq!(bench.send_offset(&producer, "g", "t", 5), 0);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(bench.send_offset(&producer, "g", "t", 9), 0);
    assert_eq!(bench.offset("g", "t", true), (UnstableOffsetCommit.code(), -1));
    let journal = std::path::Path::new("/data/journals/transactions.0");
    crate::disk::Disk::remove_file(&bench.disk, journal).unwrap();
    let mut bench = bench.crash();
    assert_eq!(bench.offset("g", "t", true), (0, 5));
}

#[test]
fn offsets_of_a_transaction_are_checked() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let producer = bench.producer("tx", V1);
    let code = |bench: &mut Bench, version: i16, request: &TxnOffsetCommitRequest| {
        bench.ask(version, request).topics[0].partitions[0].error_code
    };
    let request = offsets_request(&producer, "g", "t", 5);
    assert_eq!(code(&mut bench, 4, &request), TransactionAbortable.code(), "not added");
    assert_eq!(code(&mut bench, 3, &request), InvalidTxnState.code());
    assert_eq!(bench.add_offsets(&producer, ""), InvalidGroupId.code());
    assert_eq!(bench.add_offsets(&producer, "g"), 0);
    assert_eq!(code(&mut bench, 3, &request), 0);
    assert_eq!(code(&mut bench, 2, &request.clone().with_group_id(text("").into())), 24);
    let old = request.clone().with_producer_epoch(producer.is.epoch - 1);
    assert_eq!(code(&mut bench, 3, &old), InvalidProducerEpoch.code());
    let missing = offsets_request(&producer, "g", "nowhere", 5);
    assert_eq!(code(&mut bench, 3, &missing), UnknownTopicOrPartition.code());

    // A group with members: one of them, in its generation, and nobody else (KIP-447).
    let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(text("members").into())
        .with_group_instance_id(Some(text("static")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let joined = bench.ask(7, &join);
    assert_eq!(joined.error_code, 0);
    assert_eq!(bench.add_offsets(&producer, "members"), 0);
    let named = |member: &str, generation: i32, instance: Option<&str>| {
        offsets_request(&producer, "members", "t", 7)
            .with_member_id(text(member))
            .with_generation_id(generation)
            .with_group_instance_id(instance.map(text))
    };
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    for (request, expected) in [
        (named("nobody", generation, None), UnknownMemberId.code()),
        (named(&member, generation + 1, None), IllegalGeneration.code()),
        (named("nobody", generation, Some("static")), FencedInstanceId.code()),
        (named(&member, generation, Some("other")), UnknownMemberId.code()),
        (named(&member, generation, Some("static")), 0),
        // A producer that names no member, as clients before KIP-447 do.
        (named("", -1, None), 0),
    ] {
        assert_eq!(code(&mut bench, 3, &request), expected, "{request:?}");
    }
    let unknown = offsets_request(&producer, "never seen", "t", 7).with_generation_id(3);
    assert_eq!(code(&mut bench, 3, &unknown), IllegalGeneration.code());
}

#[test]
fn what_goes_takes_its_pending_offsets_along() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.create("u", 1, &[]);
    let mut producer = bench.producer("tx", V2);
    for (group, topic) in [("g", "t"), ("g", "u"), ("h", "u")] {
        assert_eq!(bench.send_offset(&producer, group, topic, 5), 0);
    }
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(bench.ask(5, &delete).responses[0].error_code, 0);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![text("h").into()]);
    assert_eq!(bench.ask(2, &delete).results[0].error_code, 0);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(bench.offset("g", "t", true), (0, -1));
    assert_eq!(bench.offset("g", "u", true), (0, 5));
    assert_eq!(bench.offset("h", "u", true), (0, -1));
}
