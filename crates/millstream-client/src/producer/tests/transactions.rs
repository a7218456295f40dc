//! Transactions: the order of requests, fencing, aborts, retries.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use millstream_types::TopicPartition;

use super::cluster::{Cluster, Fate, Told};
use crate::error::{Error, Remedy, code};
use crate::producer::{
    GroupMetadata, ProduceError, ProducerEvent, TransactionError, TransactionOffset,
    TransactionRequest,
};
use crate::settings::ProducerSettings;

fn settings() -> ProducerSettings {
    ProducerSettings { transactional_id: Some("tx".into()), batch_records: 5, ..Default::default() }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        group_id: "g".into(),
        generation_id: 9,
        member_id: "m".into(),
        group_instance_id: None,
    }
}

fn offset(offset: i64) -> Vec<TransactionOffset> {
    vec![TransactionOffset {
        partition: TopicPartition::new("in", 0),
        offset,
        leader_epoch: Some(1),
        metadata: None,
    }]
}

impl Cluster {
    /// Waits for the end of a request.
    fn finish(&mut self, request: TransactionRequest) -> Result<(), TransactionError> {
        let find = move |event: &ProducerEvent| match event {
            ProducerEvent::TransactionDone { request: of, result } if *of == request => {
                Some(result.clone())
            }
            _ => None,
        };
        self.run_until(|cluster| cluster.events.iter().any(|event| find(event).is_some()));
        self.events.iter().find_map(find).unwrap()
    }

    /// `init_transactions`, done.
    fn started(partitions: i32, version: i16) -> Self {
        let mut cluster = Self::new(&settings(), partitions, 1);
        cluster.transaction_version = version;
        let init = cluster.producer.init_transactions().unwrap();
        cluster.finish(init).unwrap();
        // The topic is known by the time that the transaction begins.
        cluster.topic();
        cluster.run_for(Duration::from_secs(1));
        cluster
    }
}

#[test]
fn the_first_version_announces_what_a_transaction_touches() {
    let mut cluster = Cluster::started(2, 0);
    cluster.rule = Box::new(|asked, _| {
        assert!(asked.key != ApiKey::Produce || asked.version <= 11, "{}", asked.version);
        Fate::Answered(1)
    });
    for round in 0..2 {
        cluster.producer.begin_transaction().unwrap();
        for number in 0..10 {
            cluster.produce(0, round * 10 + number).unwrap();
        }
        let sent = cluster.producer.send_offsets(offset(5), group()).unwrap();
        let commit = cluster.producer.commit_transaction().unwrap();
        cluster.finish(sent).unwrap();
        cluster.finish(commit).unwrap();
    }
    let round = [
        Told::AddPartitions(vec![0]),
        Told::AddOffsets,
        Told::CommitOffsets { generation: 9, offsets: vec![5] },
        Told::End { committed: true },
    ];
    let told: Vec<Told> =
        [Told::Init { epoch: -1 }].into_iter().chain(round.clone()).chain(round).collect();
    assert_eq!(cluster.told, told);
    assert_eq!(cluster.log(0).numbers(), (0..20).collect::<Vec<_>>());
    // Numbers go on over the end of a transaction.
    assert_eq!(cluster.log(0).epochs, [(4000, 0)]);
}

#[test]
fn the_second_version_needs_no_announcement_and_renews_the_epoch() {
    let mut cluster = Cluster::started(2, 2);
    for round in 0..3 {
        cluster.producer.begin_transaction().unwrap();
        cluster.produce(0, round).unwrap();
        cluster.producer.send_offsets(offset(5), group()).unwrap();
        let end = match round {
            1 => cluster.producer.abort_transaction().unwrap(),
            _ => {
                cluster.settle();
                cluster.producer.commit_transaction().unwrap()
            }
        };
        cluster.finish(end).unwrap();
    }
    let offsets = Told::CommitOffsets { generation: 9, offsets: vec![5] };
    assert_eq!(
        cluster.told,
        [
            Told::Init { epoch: -1 },
            offsets.clone(),
            Told::End { committed: true },
            // Aborted before anything was sent: nobody needs to hear of it.
            offsets,
            Told::End { committed: true },
        ]
    );
    assert_eq!(cluster.log(0).numbers(), [0, 2]);
    assert_eq!(cluster.log(0).epochs, [(4000, 0), (4000, 1)]);
}

#[test]
fn commit_waits_for_the_records_and_abort_drops_them() {
    let mut cluster = Cluster::started(1, 0);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Answered(300),
        _ => Fate::Answered(1),
    });
    cluster.producer.begin_transaction().unwrap();
    for number in 0..7 {
        cluster.produce(0, number).unwrap();
    }
    let commit = cluster.producer.commit_transaction().unwrap();
    cluster.run_for(Duration::from_millis(200));
    assert!(!cluster.told.contains(&Told::End { committed: true }));
    cluster.finish(commit).unwrap();
    assert_eq!(cluster.log(0).records.len(), 7);

    cluster.producer.begin_transaction().unwrap();
    for number in 7..50 {
        cluster.produce(0, number).unwrap();
    }
    cluster.run_for(Duration::from_millis(50));
    let abort = cluster.producer.abort_transaction().unwrap();
    cluster.finish(abort).unwrap();
    assert_eq!(cluster.told.last(), Some(&Told::End { committed: false }));
    // Five requests were out, and have been waited for.
    assert_eq!(cluster.log(0).records.len(), 7 + 25);
    assert_eq!(cluster.producer.in_flight(), 0);
    cluster.producer.begin_transaction().unwrap();
    cluster.produce(0, 50).unwrap();
    let commit = cluster.producer.commit_transaction().unwrap();
    cluster.finish(commit).unwrap();
    assert_eq!(cluster.log(0).numbers().last(), Some(&50));
    assert_eq!(cluster.log(0).epochs, [(4000, 0)]);
}

#[test]
fn calls_in_the_wrong_state_say_what_to_do() {
    let misuse = |result: Result<(), Error>| match result {
        Err(Error::Misuse(text)) => text,
        other => panic!("{other:?}"),
    };
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 1);
    let text = misuse(cluster.producer.init_transactions().map(drop));
    assert!(text.contains("transactional.id"), "{text}");

    let mut cluster = Cluster::new(&settings(), 1, 1);
    let state = |result: Result<(), ProduceError>| match result {
        Err(ProduceError::Refused { error, .. }) if error.code == code::STATE => error.text,
        other => panic!("{other:?}"),
    };
    assert!(state(cluster.produce(0, 0)).contains("init_transactions"));
    assert!(misuse(cluster.producer.begin_transaction()).contains("init_transactions"));
    let init = cluster.producer.init_transactions().unwrap();
    assert!(misuse(cluster.producer.init_transactions().map(drop)).contains("once"));
    assert!(misuse(cluster.producer.begin_transaction()).contains("wait"));
    cluster.finish(init).unwrap();
    assert!(state(cluster.produce(0, 0)).contains("begin_transaction"));
    assert!(misuse(cluster.producer.commit_transaction().map(drop)).contains("begin_transaction"));
    assert!(misuse(cluster.producer.abort_transaction().map(drop)).contains("begin_transaction"));
    let early = cluster.producer.send_offsets(offset(0), group()).map(drop);
    assert!(misuse(early).contains("begin_transaction"));
    cluster.producer.begin_transaction().unwrap();
    assert!(misuse(cluster.producer.begin_transaction()).contains("commit or abort"));
    let commit = cluster.producer.commit_transaction().unwrap();
    assert!(state(cluster.produce(0, 0)).contains("wait"));
    assert!(misuse(cluster.producer.abort_transaction().map(drop)).contains("wait"));
    // An empty transaction needs no coordinator.
    cluster.finish(commit).unwrap();
    assert_eq!(cluster.told, [Told::Init { epoch: -1 }]);
}

#[test]
fn a_lost_record_means_abort_and_a_new_epoch() {
    for version in [0, 2] {
        let mut cluster = Cluster::started(1, version);
        cluster.producer.begin_transaction().unwrap();
        cluster.rule = Box::new(|asked, _| match asked.key {
            ApiKey::Produce if asked.nth == 1 => Fate::Refused(87),
            _ => Fate::Answered(1),
        });
        cluster.produce(0, 0).unwrap();
        cluster.settle();
        cluster.produce(0, 1).unwrap();
        let commit = cluster.producer.commit_transaction().unwrap();
        let error = cluster.finish(commit).unwrap_err();
        assert_eq!((error.error.code, error.remedy), (87, Remedy::Abort));
        assert!(error.to_string().ends_with("abort the transaction"), "{error}");
        let Err(ProduceError::Refused { error, .. }) = cluster.produce(0, 2) else {
            panic!("it has failed")
        };
        assert!(error.text.contains("must be aborted"), "{error}");
        assert!(cluster.producer.commit_transaction().is_err());
        let abort = cluster.producer.abort_transaction().unwrap();
        cluster.finish(abort).unwrap();
        cluster.producer.begin_transaction().unwrap();
        cluster.produce(0, 3).unwrap();
        let commit = cluster.producer.commit_transaction().unwrap();
        cluster.finish(commit).unwrap();
        assert_eq!(cluster.log(0).numbers(), [0, 3]);
        assert_eq!(cluster.log(0).epochs, [(4000, 0), (4000, 1)], "version {version}");
        // By InitProducerId with the old epoch, or by EndTxn itself.
        let renewed = cluster.told.contains(&Told::Init { epoch: 0 });
        assert_eq!(renewed, version == 0, "{:?}", cluster.told);
    }
}

#[test]
fn a_call_that_crosses_with_the_failure_is_answered() {
    // The answer that fails the transaction is there, and not seen yet when the call is made.
    let failing = || {
        let mut cluster = Cluster::started(1, 0);
        cluster.producer.begin_transaction().unwrap();
        cluster.produce(0, 0).unwrap();
        cluster.settle();
        cluster.rule = Box::new(|asked, _| match asked.key {
            ApiKey::Produce => Fate::Refused(87),
            _ => Fate::Answered(1),
        });
        cluster.produce(0, 1).unwrap();
        cluster
    };
    for wait in 0..12 {
        let mut cluster = failing();
        cluster.run_for(Duration::from_millis(wait));
        let sent = cluster.producer.send_offsets(offset(1), group());
        if let Ok(request) = sent {
            let _ = cluster.finish(request);
        }
        if let Ok(commit) = cluster.producer.commit_transaction() {
            assert_eq!(cluster.finish(commit).unwrap_err().remedy, Remedy::Abort);
        }
        let abort = cluster.producer.abort_transaction().unwrap();
        cluster.finish(abort).unwrap();
        cluster.producer.begin_transaction().unwrap();

        let mut cluster = failing();
        cluster.run_for(Duration::from_millis(wait));
        let abort = cluster.producer.abort_transaction().unwrap();
        cluster.finish(abort).unwrap();
        cluster.producer.begin_transaction().unwrap();
    }
}

#[test]
fn a_fenced_producer_has_failed_for_good() {
    for code in [47, 90] {
        for key in [ApiKey::AddPartitionsToTxn, ApiKey::TxnOffsetCommit, ApiKey::EndTxn] {
            let mut cluster = Cluster::started(1, 0);
            cluster.producer.begin_transaction().unwrap();
            cluster.produce(0, 0).unwrap();
            cluster.refusals.push_back((key, code));
            let sent = cluster.producer.send_offsets(offset(1), group()).unwrap();
            let commit = cluster.producer.commit_transaction().unwrap();
            let error = cluster.finish(commit).unwrap_err();
            assert_eq!((error.error.code, error.remedy), (i32::from(code), Remedy::Fatal));
            assert_eq!(cluster.finish(sent).is_ok(), key == ApiKey::EndTxn);
            let fatal = |event: &&ProducerEvent| matches!(event, ProducerEvent::Fatal(_));
            assert_eq!(cluster.events.iter().filter(fatal).count(), 1);
            assert_eq!(cluster.producer.in_flight(), 0);
            assert!(cluster.produce(0, 1).is_err());
            for refused in [
                cluster.producer.begin_transaction(),
                cluster.producer.abort_transaction().map(drop),
            ] {
                let Err(Error::Kafka { error, .. }) = refused else { panic!("{refused:?}") };
                assert_eq!(error.code, code::FATAL);
            }
        }
    }
}

#[test]
fn a_successor_fences_by_its_epoch() {
    let mut cluster = Cluster::started(1, 0);
    cluster.producer.begin_transaction().unwrap();
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    // Another producer of the same id has come up.
    cluster.producer_id.1 += 1;
    let commit = cluster.producer.commit_transaction().unwrap();
    let error = cluster.finish(commit).unwrap_err();
    assert_eq!((error.error.code, error.remedy), (90, Remedy::Fatal));
}

#[test]
fn a_fenced_batch_leads_to_an_abort_where_the_coordinator_decides() {
    // KIP-588: an old epoch at a partition may be ours, of a transaction that timed out.
    let mut cluster = Cluster::started(1, 0);
    cluster.producer.begin_transaction().unwrap();
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Refused(47),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    let commit = cluster.producer.commit_transaction().unwrap();
    let error = cluster.finish(commit).unwrap_err();
    assert_eq!((error.error.code, error.remedy), (47, Remedy::Abort));
    cluster.producer_id.1 += 1;
    let abort = cluster.producer.abort_transaction().unwrap();
    assert_eq!(cluster.finish(abort).unwrap_err().remedy, Remedy::Fatal);
}

#[test]
fn coordinators_on_the_move_and_concurrent_transactions_are_waited_for() {
    for key in [
        ApiKey::InitProducerId,
        ApiKey::FindCoordinator,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::EndTxn,
    ] {
        // CONCURRENT_TRANSACTIONS, NOT_COORDINATOR, loading, not available.
        for code in [51, 16, 14, 15] {
            if key == ApiKey::FindCoordinator && code != 15 {
                continue;
            }
            let mut cluster = Cluster::new(&settings(), 1, 1);
            cluster.refusals.extend([(key, code), (key, code)]);
            let init = cluster.producer.init_transactions().unwrap();
            cluster.finish(init).unwrap();
            cluster.producer.begin_transaction().unwrap();
            cluster.produce(0, 0).unwrap();
            cluster.producer.send_offsets(offset(3), group()).unwrap();
            let commit = cluster.producer.commit_transaction().unwrap();
            cluster.finish(commit).unwrap();
            assert!(cluster.refusals.is_empty());
            assert_eq!(cluster.told.len(), 5, "{key:?} {code}: {:?}", cluster.told);
        }
    }
}

#[test]
fn lost_connections_in_the_middle_of_it_are_made_good() {
    let keys = [
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::EndTxn,
        ApiKey::Produce,
    ];
    for lost in keys {
        for fate in [Fate::Lost, Fate::AnswerLost] {
            let mut cluster = Cluster::started(1, 0);
            let once = fate.clone();
            cluster.rule = Box::new(move |asked, _| match asked.key == lost && asked.nth == 0 {
                true => once.clone(),
                false => Fate::Answered(1),
            });
            cluster.producer.begin_transaction().unwrap();
            cluster.produce(0, 0).unwrap();
            cluster.producer.send_offsets(offset(3), group()).unwrap();
            let commit = cluster.producer.commit_transaction().unwrap();
            cluster.finish(commit).unwrap();
            assert_eq!(cluster.log(0).numbers(), [0], "{lost:?} {fate:?}");
            assert_eq!(cluster.told.last(), Some(&Told::End { committed: true }));
        }
    }
}

#[test]
fn a_member_that_was_replaced_cannot_commit() {
    // ILLEGAL_GENERATION, FENCED_INSTANCE_ID, GROUP_AUTHORIZATION_FAILED, TRANSACTION_ABORTABLE.
    for code in [22, 82, 30, 120] {
        let mut cluster = Cluster::started(1, 0);
        cluster.producer.begin_transaction().unwrap();
        cluster.refusals.push_back((ApiKey::TxnOffsetCommit, code));
        let sent = cluster.producer.send_offsets(offset(1), group()).unwrap();
        let commit = cluster.producer.commit_transaction().unwrap();
        for request in [sent, commit] {
            let error = cluster.finish(request).unwrap_err();
            assert_eq!((error.error.code, error.remedy), (i32::from(code), Remedy::Abort));
        }
        let abort = cluster.producer.abort_transaction().unwrap();
        cluster.finish(abort).unwrap();
        assert_eq!(cluster.told.last(), Some(&Told::End { committed: false }));
    }
}

#[test]
fn a_missing_right_to_the_id_is_fatal() {
    let mut cluster = Cluster::new(&settings(), 1, 1);
    cluster.refusals.push_back((ApiKey::InitProducerId, 53));
    let init = cluster.producer.init_transactions().unwrap();
    let error = cluster.finish(init).unwrap_err();
    assert_eq!((error.error.code, error.remedy), (53, Remedy::Fatal));
    assert!(error.to_string().ends_with("close this producer"), "{error}");
}

#[test]
fn records_that_expire_in_a_transaction_are_no_fatal_matter() {
    let timeout = Some(Duration::from_millis(500));
    let settings = ProducerSettings {
        delivery_timeout: timeout,
        request_timeout: Duration::from_millis(500),
        ..settings()
    };
    let mut cluster = Cluster::new(&settings, 1, 1);
    let init = cluster.producer.init_transactions().unwrap();
    cluster.finish(init).unwrap();
    cluster.producer.begin_transaction().unwrap();
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 1 => Fate::Silence,
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 1).unwrap();
    cluster.run_for(Duration::from_secs(1));
    let error = match cluster.producer.commit_transaction() {
        Err(Error::Kafka { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.text.contains("must be aborted"), "{error}");
    let abort = cluster.producer.abort_transaction().unwrap();
    cluster.finish(abort).unwrap();
    cluster.producer.begin_transaction().unwrap();
    cluster.produce(0, 2).unwrap();
    let commit = cluster.producer.commit_transaction().unwrap();
    cluster.finish(commit).unwrap();
    // Record 1 was written, and is part of what was aborted.
    assert_eq!(cluster.log(0).numbers(), [0, 1, 2]);
    assert_eq!(cluster.log(0).epochs, [(4000, 0), (4000, 1)]);
}
