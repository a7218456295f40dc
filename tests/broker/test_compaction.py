"""Compacted topics, on the embedded broker and on a real Apache Kafka: what is left, and at which offsets."""

import time

import pytest
from brokers import shared_kafka, wait_for

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

PATIENCE = 60
# Both look for something to compact every 15 s.
CLEANED_SECONDS = 90
COMPACT = {"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01"}


@pytest.fixture(params=["embedded", "kafka"])
def brokers(request):
    """The address of either broker: what holds on one must hold on the other."""
    if request.param == "embedded":
        return request.getfixturevalue("address")
    return shared_kafka()


class Topic:
    """A compacted topic of one partition. Each record written is so much younger that it begins a segment."""

    def __init__(self, brokers, name, **settings):
        self.brokers = brokers
        self.name = name
        self.time = int(time.time() * 1000) - 3_600_000
        self.plain = Producer({"bootstrap.servers": brokers, "compression.type": "lz4"})
        config = {**COMPACT, **{setting.replace("_", "."): value for setting, value in settings.items()}}
        admin = AdminClient({"bootstrap.servers": brokers})
        admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(PATIENCE)

    def write(self, *records, producer=None):
        producer = producer or self.plain
        for key, value in records:
            self.time += 2000
            producer.produce(self.name, value, key, 0, timestamp=self.time)
            assert producer.flush(PATIENCE) == 0

    def close_segment(self):
        """Begins a segment whatever is in the last one: a marker in it is from now."""
        self.time = max(self.time, int(time.time() * 1000) + 10_000)
        self.write((b"last", b"%d" % self.time))

    def consumer(self):
        return Consumer({
            "bootstrap.servers": self.brokers, "group.id": "reader", "isolation.level": "read_uncommitted",
            "enable.auto.commit": False, "enable.partition.eof": True,
        })

    def read(self, offset=0):
        """All records from an offset on but those that close segments."""
        consumer = self.consumer()
        consumer.assign([TopicPartition(self.name, 0, offset)])
        found = []
        until = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < until, f"the consumer got no further than {found}"
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                break
            if message.key() != b"last":
                found.append((message.offset(), message.key(), message.value()))
        consumer.close()
        return found

    def wait_until_left(self, expected):
        wait_for(lambda: self.read() == expected, f"only {expected} to be left", CLEANED_SECONDS)


def test_the_newest_of_each_key_is_left_at_its_offset(brokers, topic):
    topic = Topic(brokers, topic)
    topic.write((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1"))
    transactions = Producer({"bootstrap.servers": brokers, "transactional.id": topic.name})
    transactions.init_transactions(PATIENCE)
    transactions.begin_transaction()
    topic.write((b"c", b"2"), (b"d", b"1"), producer=transactions)
    transactions.commit_transaction(PATIENCE)
    transactions.begin_transaction()
    topic.write((b"d", b"aborted"), producer=transactions)
    transactions.abort_transaction(PATIENCE)
    topic.close_segment()

    left = [(2, b"a", b"2"), (3, b"b", None), (5, b"c", b"2"), (6, b"d", b"1")]
    topic.wait_until_left(left)
    assert topic.read(4) == left[2:], "a gap leads to what comes behind it"
    consumer = topic.consumer()
    # Two markers, at 7 and 9, and the record that has closed the segment.
    assert consumer.get_watermark_offsets(TopicPartition(topic.name, 0), PATIENCE) == (0, 11)
    consumer.close()

    # The producer goes on where it was: its sequence numbers have outlived its records.
    transactions.begin_transaction()
    topic.write((b"d", b"2"), producer=transactions)
    transactions.commit_transaction(PATIENCE)
    topic.close_segment()
    topic.wait_until_left([*left[:3], (11, b"d", b"2")])


def test_a_tombstone_goes_when_its_time_is_over(brokers, topic):
    topic = Topic(brokers, topic, delete_retention_ms="1")
    topic.write((b"a", b"1"), (b"b", b"1"), (b"a", None))
    topic.close_segment()
    wait_for(lambda: (0, b"a", b"1") not in topic.read(), "the value to go", CLEANED_SECONDS)
    # The compaction that has met the tombstone leaves it; the next one, which needs something new, does not.
    topic.close_segment()
    topic.close_segment()
    topic.wait_until_left([(1, b"b", b"1")])


def test_kafkas_own_tool_reads_what_is_left(own_broker, kafka_tool, topic):
    topic = Topic(own_broker.address, topic)
    topic.write((b"a", b"1"), (b"a", None), (b"b", b"1"))
    transactions = Producer({"bootstrap.servers": own_broker.address, "transactional.id": topic.name})
    transactions.init_transactions(PATIENCE)
    transactions.begin_transaction()
    topic.write((b"c", b"aborted"), producer=transactions)
    transactions.abort_transaction(PATIENCE)
    topic.close_segment()
    topic.wait_until_left([(1, b"a", None), (2, b"b", b"1")])
    logs = sorted(own_broker.data_dir.glob("topics/*/0/*.log"))
    dumped = kafka_tool("dump-log", "--deep-iteration", "--files", ",".join(str(log) for log in logs))
    batches = [line for line in dumped.splitlines() if line.startswith("baseOffset:")]
    assert batches and all("isvalid: true" in line for line in batches), dumped
    offsets = {int(line.split()[1]): line for line in batches}
    assert {0, 3}.isdisjoint(offsets) or "count: 0" in offsets[3], dumped
    assert "deleteHorizonMs: OptionalLong[" in offsets[1] and "OptionalLong.empty" in offsets[2], dumped
    # Those of the last segment are not written yet.
    indexes = [str(log.with_suffix(kind)) for log in logs[:-1] for kind in (".index", ".timeindex")]
    checked = kafka_tool("dump-log", "--index-sanity-check", "--files", ",".join(indexes))
    assert checked.count("passed sanity check") == len(indexes) > 0, checked


def test_records_without_a_key_are_refused(brokers, topic):
    topic = Topic(brokers, topic)
    refused = []
    topic.plain.produce(topic.name, b"v", on_delivery=lambda error, message: refused.append(error.code()))
    assert topic.plain.flush(PATIENCE) == 0
    assert refused == [KafkaError.INVALID_RECORD]
