use std::collections::HashSet;

use super::*;
use crate::error::{KafkaError, code};

/// The newest code of Kafka 4.3.
const NEWEST: i32 = 133;

#[test]
fn every_code_of_the_protocol_has_a_row() {
    let codes: Vec<i32> = brokers::ROWS.iter().map(|row| row.code).collect();
    assert_eq!(codes, (-1..=NEWEST).collect::<Vec<_>>());
}

#[test]
fn rows_are_sorted_and_differ() {
    for rows in [brokers::ROWS, client::ROWS] {
        assert!(rows.is_sorted_by(|a, b| a.code < b.code));
    }
    let all = || brokers::ROWS.iter().chain(client::ROWS);
    let names: HashSet<_> = all().map(|row| row.name).collect();
    assert_eq!(names.len(), all().count());
    for row in all() {
        assert!(row.words.len() > 7, "{}", row.name);
        assert!(!row.words.ends_with('.'), "{} ends like a sentence", row.name);
    }
}

#[test]
fn every_code_of_the_client_has_a_row() {
    let own = [
        code::BAD_MESSAGE,
        code::TRANSPORT,
        code::MESSAGE_TIMED_OUT,
        code::UNKNOWN_PARTITION,
        code::UNKNOWN_TOPIC,
        code::ALL_BROKERS_DOWN,
        code::INVALID_ARGUMENT,
        code::TIMED_OUT,
        code::QUEUE_FULL,
        code::SSL,
        code::STATE,
        code::AUTHENTICATION,
        code::NO_OFFSET,
        code::UNSUPPORTED_FEATURE,
        code::PURGED_FROM_QUEUE,
        code::PURGED_IN_FLIGHT,
        code::FATAL,
        code::MAX_POLL_EXCEEDED,
        code::AUTO_OFFSET_RESET,
        code::LOG_TRUNCATION,
    ];
    assert_eq!(client::ROWS.iter().map(|row| row.code).collect::<Vec<_>>(), own);
}

/// Kafka 4.3's subclasses of RetriableException that are not of RefreshRetriableException.
const RETRY: [i32; 16] = [2, 7, 14, 19, 20, 51, 70, 71, 75, 78, 88, 89, 106, 122, 123, 133];
/// Those of RefreshRetriableException, InvalidMetadataException included. 41 (ask where the
/// controller is) and 129 (begin again with the bootstrap addresses) are not of that class, but
/// Kafka's clients do so.
const REFRESH: [i32; 17] = [3, 5, 6, 9, 13, 15, 16, 41, 56, 72, 74, 80, 83, 84, 100, 103, 129];

#[test]
fn remedies_agree_with_the_classes_of_kafka() {
    for row in brokers::ROWS {
        assert_eq!(row.remedy == Remedy::Retry, RETRY.contains(&row.code), "{}", row.name);
        assert_eq!(row.remedy == Remedy::Refresh, REFRESH.contains(&row.code), "{}", row.name);
        let retriable = RETRY.contains(&row.code) || REFRESH.contains(&row.code);
        assert_eq!(KafkaError::of(row.code).is_retriable(), retriable, "{}", row.name);
    }
}

/// Kafka 4.3's subclasses of ApplicationRecoverableException (KIP-1050): the application starts
/// anew, at least its transaction.
const RECOVERABLE: [i32; 6] = [22, 25, 47, 49, 82, 90];
/// Those of InvalidConfigurationException, with those about rights and credentials: somebody has to
/// change something.
const CONFIGURATION: [i32; 15] = [17, 18, 21, 29, 30, 31, 33, 34, 35, 38, 43, 53, 58, 65, 87];
/// TransactionAbortableException.
const ABORTABLE: i32 = 120;

#[test]
fn remedies_agree_with_the_groups_of_kip_1050() {
    assert_eq!(describe(ABORTABLE).2, Remedy::Abort);
    for code in RECOVERABLE {
        assert!(matches!(describe(code).2, Remedy::Abort | Remedy::Fatal), "{code}");
    }
    for code in CONFIGURATION {
        assert!(matches!(describe(code).2, Remedy::Refused | Remedy::Fatal), "{code}");
    }
}

#[test]
fn fencing_is_fatal_and_a_lost_batch_aborts() {
    for code in [90, 82, 53, 31, 48, 49, code::FATAL] {
        assert_eq!(describe(code).2, Remedy::Fatal, "{code}");
    }
    for code in [45, 47, 59, 120, 22, 25, code::MESSAGE_TIMED_OUT] {
        assert_eq!(describe(code).2, Remedy::Abort, "{code}");
    }
}

#[test]
fn an_unknown_code_is_said_to_be_one() {
    for code in [NEWEST + 1, i32::MAX, i32::MIN, -2] {
        let error = KafkaError::of(code);
        assert_eq!(error.name(), "UNKNOWN");
        assert!(!error.is_retriable());
        assert!(error.to_string().contains(&code.to_string()));
    }
}

#[test]
fn what_the_broker_says_comes_before_the_table() {
    assert_eq!(KafkaError::with(36, Some("Topic 'a' exists.")).text, "Topic 'a' exists.");
    assert_eq!(KafkaError::with(36, Some("")).text, "a topic of this name exists already");
    assert_eq!(
        KafkaError::of(36).to_string(),
        "a topic of this name exists already (TOPIC_ALREADY_EXISTS, code 36)"
    );
}
