//! Compaction as clients see it: when it runs, what they read, and what does not wait for it.

use super::*;

const COMPACT: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "60000"),
];

fn keyed(seconds: i64, key: &str, value: Option<&str>) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::Zstd);
    let value = value.map(str::as_bytes);
    builder.push(START_MS + seconds * 1000, Some(key.as_bytes()), value, []);
    builder.finish(0).unwrap().into()
}

impl Bench {
    /// A record in every other second, so that each has a segment of its own.
    fn fill(&mut self, topic: &str, records: &[(&str, Option<&str>)]) {
        for (key, value) in records {
            let end = self.broker.topics.get(topic).unwrap().log(0).unwrap().end_offset();
            assert_eq!(self.produce(topic, 0, keyed(2 * end, key, *value)).0, 0);
        }
    }

    /// All that is there from `offset` on; an answer ends with its segment.
    fn fetched(&mut self, topic: &str, mut offset: i64) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut shown = Vec::new();
        loop {
            let request = fetch_request(12, self, topic, offset).with_max_wait_ms(0);
            let response = self.ask(12, &request);
            let partition = &response.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0);
            let before = offset;
            for batch in BatchIter::new(partition.records.as_ref().unwrap()) {
                let batch = batch.unwrap();
                for record in batch.records(&mut Vec::new(), 1 << 20).unwrap() {
                    let record = record.unwrap();
                    let value = record.value.map_or("-".into(), text);
                    shown.push(format!("{}{}{value}", record.offset, text(record.key.unwrap())));
                }
                offset = batch.header().next_offset();
            }
            if offset == before {
                return shown;
            }
        }
    }
}

const SIX: &[(&str, Option<&str>)] = &[
    ("a", Some("1")),
    ("b", Some("2")),
    ("a", Some("3")),
    ("b", None),
    ("a", Some("5")),
    ("c", Some("6")),
];

#[test]
fn a_compacted_topic_is_compacted_by_itself() {
    let mut bench = Bench::new();
    assert_eq!(bench.create("t", 1, COMPACT), 0);
    assert_eq!(bench.create("plain", 1, &[("segment.ms", "1000")]), 0);
    for topic in ["t", "plain"] {
        bench.fill(topic, SIX);
    }
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.fetched("t", 0), ["3b-", "4a5", "5c6"]);
    assert_eq!(bench.fetched("t", 1), ["3b-", "4a5", "5c6"], "a gap leads to the next batch");
    assert_eq!(bench.fetched("t", 5), ["5c6"]);
    assert_eq!(bench.fetched("plain", 0).len(), 6);
    // The start stays where it was, and so does the end.
    let mut offset = |timestamp: i64| {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let asked =
            ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        bench.ask(7, &request).topics[0].partitions[0].offset
    };
    let asked = [-2, -1, -3, START_MS, START_MS + 7000, START_MS + 9999];
    assert_eq!(asked.map(&mut offset), [0, 6, 5, 3, 4, 5]);
    // The tombstone's time runs out; what is new brings the next round.
    bench.pass(Duration::from_secs(61));
    bench.fill("t", &[("d", Some("7"))]);
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.fetched("t", 0), ["4a5", "5c6", "6d7"]);
    let mut bench = bench.crash();
    assert_eq!(bench.fetched("t", 0), ["4a5", "5c6", "6d7"]);
}

#[test]
fn settings_decide_whether_and_how_soon() {
    let off = BrokerConfig::new("/data").setting("log.cleaner.enable", "false");
    let mut bench = Bench::with(off);
    bench.create("t", 1, COMPACT);
    bench.fill("t", SIX);
    bench.pass(Duration::from_secs(600));
    assert_eq!(bench.fetched("t", 0).len(), 6);

    let soon = BrokerConfig::new("/data")
        .setting("log.cleaner.backoff.ms", "500")
        .setting("log.cleaner.min.cleanable.ratio", "0.9");
    let mut bench = Bench::with(soon);
    bench.create("t", 1, COMPACT);
    bench.create("inherits", 1, &COMPACT[..2]);
    bench.pass(Duration::from_millis(600));
    for topic in ["t", "inherits"] {
        bench.fill(topic, SIX);
    }
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.fetched("t", 0).len(), 3);
    assert_eq!(bench.fetched("inherits", 0).len(), 3, "all of it is new");
    for topic in ["t", "inherits"] {
        bench.fill(topic, &[("a", Some("8")), ("a", Some("9"))]);
    }
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.fetched("t", 0), ["3b-", "5c6", "6a8", "7a9"]);
    assert_eq!(bench.fetched("inherits", 0).len(), 5, "less than nine tenths are");
    // Lags that exclude each other are refused where topics are made and changed.
    let refused = ResponseError::InvalidConfig.code();
    let lags = [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")];
    assert_eq!(bench.create("u", 1, &lags), refused);
    assert_eq!(bench.create("u", 1, &lags[..1]), 0);
}

#[test]
fn requests_come_between_its_steps() {
    let mut bench = Bench::new();
    bench.create("t", 1, COMPACT);
    let value = "x".repeat(200_000);
    for number in 0..8 {
        let key = format!("k{}", number % 4);
        let mut builder = RecordBatchBuilder::new(Compression::None);
        let at = START_MS + number * 2000;
        builder.push(at, Some(key.as_bytes()), Some(value.as_bytes()), []);
        assert_eq!(bench.produce("t", 0, builder.finish(0).unwrap().into()).0, 0);
    }
    let id = bench.topic_id("t");
    let mut ticks = 0;
    bench.clock.advance(Duration::from_secs(15));
    while bench.broker.next_deadline() <= bench.clock.monotonic() {
        bench.broker.tick();
        ticks += 1;
        // Due again at once, and in between everybody is served.
        bench.produce("t", 0, keyed(1000 + 2 * ticks, "new", Some("v")));
        assert!(!bench.fetched("t", 0).is_empty());
        assert!(ticks < 1000);
    }
    assert!(ticks > 10, "{ticks}");
    let left = bench.fetched("t", 0);
    assert!(left[0].starts_with("4k0") && left.len() < 8 + ticks as usize, "{}", left.len());

    // A topic that goes in the middle takes its compaction along, and another begins anew.
    bench.fill("t", &[("a", None), ("a", None), ("a", None)]);
    bench.clock.advance(Duration::from_secs(15));
    for _ in 0..3 {
        bench.broker.tick();
    }
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(bench.ask(5, &delete).responses[0].error_code, 0);
    bench.create("t", 1, COMPACT);
    assert_ne!(bench.topic_id("t"), id);
    bench.fill("t", SIX);
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.fetched("t", 0), ["3b-", "4a5", "5c6"]);
}

/// A stop, or a death, in the middle of it: the next start knows what to do.
#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let mut bench = Bench::new();
    bench.create("t", 1, COMPACT);
    bench.fill("t", SIX);
    bench.clock.advance(Duration::from_secs(15));
    let mut ticks = 0;
    while bench.broker.next_deadline() <= bench.clock.monotonic() {
        bench.broker.tick();
        ticks += 1;
    }
    assert_eq!(bench.fetched("t", 0).len(), 3);
    for stop_after in 1..ticks {
        for clean in [true, false] {
            let mut bench = Bench::new();
            bench.create("t", 1, COMPACT);
            bench.fill("t", SIX);
            bench.clock.advance(Duration::from_secs(15));
            for _ in 0..stop_after {
                bench.broker.tick();
            }
            if clean {
                bench.broker.close().unwrap();
            }
            let mut bench = bench.crash();
            let left = bench.fetched("t", 0);
            assert!(["4a5", "5c6"].iter().all(|kept| left.iter().any(|row| row == kept)));
            bench.pass(Duration::from_secs(15));
            assert_eq!(bench.fetched("t", 0), ["3b-", "4a5", "5c6"], "{stop_after} {clean}");
        }
    }
}
