//! Who is woken: the driver for room only where room was lacking, the front end for news only.

use std::sync::Arc;

use super::brokers::{from, settings, tp};
use crate::base::Machine;
use crate::consumer::StartOffset;
use crate::consumer::core::ConsumerCore;
use crate::driver::{Signal, SystemRandom};
use crate::settings::{ConnectionSettings, ConsumerSettings};

const QUEUED_MAX: usize = 1_000_000;

/// A machine that reads one partition, nothing fetched.
fn reading() -> ConsumerCore {
    let settings = ConsumerSettings {
        queued_max_bytes: QUEUED_MAX,
        partition_fetch_bytes: 100_000,
        ..settings()
    };
    let mut core = ConsumerCore::new(
        Arc::new(ConnectionSettings::default()),
        Arc::new(settings),
        None,
        Box::<SystemRandom>::default(),
        Arc::new(Signal::default()),
    );
    core.assign(&[from(0, StartOffset::At(0))]).unwrap();
    core
}

/// Whether the driver is wanted after so many bytes were used up, of so many that waited.
fn wanted(of_partition: usize, of_all: usize) -> bool {
    let mut core = reading();
    core.slots[0].buffered = of_partition;
    core.buffered = of_all;
    let wanted = core.used_up(&tp(0), core.slots[0].reading, 100);
    assert_eq!((core.slots[0].buffered, core.buffered), (of_partition - 100, of_all - 100));
    wanted
}

#[test]
fn the_driver_is_wanted_where_room_was_lacking() {
    let limit = reading().partition_limit();
    assert_eq!(limit, 200_000);
    assert!(!wanted(100, 100));
    assert!(!wanted(limit - 1, QUEUED_MAX - 1));
    assert!(wanted(limit, limit));
    assert!(wanted(100, QUEUED_MAX));
}

#[test]
fn the_driver_is_wanted_where_a_batch_could_not_be_read() {
    let mut core = reading();
    (core.slots[0].buffered, core.buffered) = (100, 100);
    core.slots[0].unreadable = Some(7);
    assert!(core.used_up(&tp(0), core.slots[0].reading, 100));
    assert_eq!(core.slots[0].unreadable, None);
}

#[test]
fn an_older_reading_changes_nothing() {
    let mut core = reading();
    (core.slots[0].buffered, core.buffered) = (200_000, QUEUED_MAX);
    assert!(!core.used_up(&tp(0), core.slots[0].reading + 1, 100));
    assert!(!core.used_up(&tp(1), core.slots[0].reading, 100));
    assert_eq!((core.slots[0].buffered, core.buffered), (200_000, QUEUED_MAX));
}

#[test]
fn news_are_told_once() {
    let mut core = reading();
    while core.take_wake().is_some() {}
    core.has_news();
    assert!(core.take_wake().is_some());
    assert!(core.take_wake().is_none());
}
