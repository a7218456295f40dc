//! Who gets a session when there is no room.

use super::*;

const SLOTS: usize = 2;

fn told(partitions: i32) -> Vec<(TopicKey, Wanted, Found)> {
    let row = |partition| {
        let wanted = Wanted { partition, offset: 0, leader_epoch: -1, max_bytes: 1 };
        let found = Found {
            topic: Some(Uuid::from_u128(1)),
            high_watermark: 0,
            log_start: 0,
            has_records: false,
            has_more: false,
            failed: false,
        };
        (TopicKey::Id(Uuid::from_u128(1)), wanted, found)
    };
    (0..partitions).map(row).collect()
}

struct Bench {
    fetches: Fetches,
    drawn: u64,
}

impl Bench {
    fn new() -> Self {
        Self { fetches: Fetches::default(), drawn: 0 }
    }

    fn open(&mut self, partitions: i32, at_s: u64) -> i32 {
        let drawn = &mut self.drawn;
        let draw = || {
            *drawn += 1;
            *drawn << 33
        };
        let now = Duration::from_secs(at_s);
        self.fetches.open_session(told(partitions), true, SLOTS, now, draw)
    }

    fn fetch(&mut self, id: i32, epoch: i32, at_s: u64) -> Result<Source, ResponseError> {
        let request = FetchRequest::default().with_session_id(id).with_session_epoch(epoch);
        self.fetches.source_of(&request, true, Duration::from_secs(at_s))
    }
}

#[test]
fn a_session_that_is_not_used_makes_room() {
    let mut bench = Bench::new();
    let (old, new) = (bench.open(100, 0), bench.open(1, 0));
    assert!(bench.fetch(new, 1, 100).is_ok());
    assert_eq!(bench.open(1, 120), NO_SESSION, "120 s are not longer than 120 s");
    let third = bench.open(1, 121);
    assert_ne!(third, NO_SESSION);
    assert_eq!(bench.fetch(old, 1, 121), Err(ResponseError::FetchSessionIdNotFound));
    assert!(bench.fetch(new, 2, 121).is_ok());
}

#[test]
fn a_session_that_is_old_makes_room_for_a_larger_one() {
    let mut bench = Bench::new();
    let (small, large) = (bench.open(5, 0), bench.open(9, 0));
    for (epoch, at_s) in [(1, 60), (2, 119)] {
        assert!(bench.fetch(small, epoch, at_s).is_ok() && bench.fetch(large, epoch, at_s).is_ok());
    }
    assert_eq!(bench.open(100, 120), NO_SESSION, "none is old");
    assert!(bench.fetch(small, 3, 130).is_ok() && bench.fetch(large, 3, 130).is_ok());
    assert_eq!(bench.open(5, 130), NO_SESSION, "none is smaller");
    assert_ne!(bench.open(6, 130), NO_SESSION);
    assert_eq!(bench.fetch(small, 4, 130), Err(ResponseError::FetchSessionIdNotFound));
    assert!(bench.fetch(large, 4, 130).is_ok());
}

#[test]
fn sessions_leave_nothing_behind() {
    let mut bench = Bench::new();
    for round in 0..10 {
        let id = bench.open(20, round);
        assert_eq!(bench.fetches.watching.len(), 20);
        assert_eq!(bench.fetch(id, FINAL_EPOCH, round), Ok(Source::Request));
        assert!(bench.fetches.watching.is_empty());
    }
    assert_ne!(bench.open(1, 10), NO_SESSION);
}

#[test]
fn partitions_that_do_not_exist_fill_no_memory() {
    let mut bench = Bench::new();
    let half = cache::PARTITIONS_MAX as i32 / 2;
    let first = bench.open(half, 0);
    assert_ne!(first, NO_SESSION);
    assert_eq!(bench.open(half + 1, 0), NO_SESSION);
    assert_eq!(bench.fetch(first, FINAL_EPOCH, 0), Ok(Source::Request));
    assert_ne!(bench.open(half + 1, 0), NO_SESSION);
}

#[test]
fn epochs_begin_again_at_one() {
    assert_eq!((next_epoch(1), next_epoch(i32::MAX)), (2, 1));
}
