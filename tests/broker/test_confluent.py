"""confluent-kafka (librdkafka) against the embedded broker."""

import threading
import time

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka import (  # noqa: E402
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # noqa: E402
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

PATIENCE = 60
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def admin(address):
    return AdminClient({"bootstrap.servers": address})


def make(admin, topic, partitions=1, **config):
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result(PATIENCE)


def produce(address, topic, values, partition=0, timestamps=None, **config):
    failed = []
    producer = Producer({"bootstrap.servers": address, **config})
    for number, value in enumerate(values):
        extra = {"timestamp": timestamps[number]} if timestamps else {}
        producer.produce(
            topic, value, key=str(number), partition=partition,
            on_delivery=lambda error, _: failed.append(error) if error else None, **extra,
        )
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0
    assert not failed, failed[0]


def consumer(address, group, **config):
    return Consumer({
        "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "session.timeout.ms": 6000, **config,
    })


def read(reader, count):
    """`count` messages, or fails."""
    messages, until = [], time.monotonic() + PATIENCE
    while len(messages) < count:
        assert time.monotonic() < until, f"only {len(messages)} of {count} messages"
        for message in reader.consume(count - len(messages), 0.5):
            assert not message.error(), message.error()
            messages.append(message)
    return messages


def read_partition(address, topic, count, offset=OFFSET_BEGINNING, **config):
    reader = consumer(address, "unused", **config)
    reader.assign([TopicPartition(topic, 0, offset)])
    messages = read(reader, count)
    reader.close()
    return messages


@pytest.mark.parametrize("codec", CODECS)
def test_each_compression_comes_back(address, admin, topic, codec):
    make(admin, topic)
    values = [f"value {number} ".encode() * 20 for number in range(1000)]
    produce(address, topic, values, **{"compression.type": codec, "linger.ms": 20})
    messages = read_partition(address, topic, 1000, **{"check.crcs": True})
    assert [message.value() for message in messages] == values
    assert [message.offset() for message in messages] == list(range(1000))


def test_keys_headers_timestamps_and_nulls(address, admin, topic):
    make(admin, topic)
    producer = Producer({"bootstrap.servers": address})
    headers = [("a", b"1"), ("a", None), ("é", b"")]
    producer.produce(topic, None, key=b"tombstone", timestamp=1_600_000_000_123, headers=headers)
    producer.produce(topic, b"", key=None)
    assert producer.flush(PATIENCE) == 0
    first, second = read_partition(address, topic, 2)
    assert (first.key(), first.value(), first.headers()) == (b"tombstone", None, headers)
    assert first.timestamp() == (TIMESTAMP_CREATE_TIME, 1_600_000_000_123)
    assert (second.key(), second.value(), second.headers()) == (None, b"", None)


def test_log_append_time(address, admin, topic):
    make(admin, topic, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    produce(address, topic, [b"a", b"b"], timestamps=[1000, 2000], **{"compression.type": "lz4"})
    for message in read_partition(address, topic, 2, **{"check.crcs": True}):
        kind, timestamp = message.timestamp()
        assert kind == TIMESTAMP_LOG_APPEND_TIME
        assert before <= timestamp <= int(time.time() * 1000)


def test_idempotent_producer_with_many_in_flight(address, admin, topic):
    make(admin, topic)
    values = [str(number).encode() for number in range(20_000)]
    produce(address, topic, values, **{"enable.idempotence": True, "linger.ms": 0, "batch.num.messages": 50})
    assert [message.value() for message in read_partition(address, topic, 20_000)] == values


def test_records_that_are_too_large_are_refused(address, admin, topic):
    make(admin, topic, max_message_bytes="1000")
    errors = []
    producer = Producer({"bootstrap.servers": address})
    producer.produce(topic, b"x" * 2000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(PATIENCE)
    assert errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_topics_are_not_made_by_asking_for_them(address, topic):
    errors = []
    producer = Producer({"bootstrap.servers": address, "topic.metadata.propagation.max.ms": 500})
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(PATIENCE)
    assert errors[0].code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert topic not in AdminClient({"bootstrap.servers": address}).list_topics(timeout=PATIENCE).topics


def test_a_message_arrives_while_the_consumer_waits(address, admin, topic):
    """The consumer's fetch waits for up to a minute; it must be woken by the append."""
    make(admin, topic)
    reader = consumer(address, "unused", **{
        "fetch.wait.max.ms": 60_000, "socket.timeout.ms": 90_000, "fetch.min.bytes": 1})
    reader.assign([TopicPartition(topic, 0, 0)])
    assert reader.poll(1.0) is None
    produce(address, topic, [b"now"])
    message = reader.poll(30)
    assert message is not None and message.value() == b"now"
    reader.close()


class Member(threading.Thread):
    """A consumer in a thread: records what it is assigned and what it has seen, commits as it goes."""

    def __init__(self, address, group, topic, **config):
        super().__init__()
        self.reader = consumer(address, group, **config)
        self.topic = topic
        self.owned = set()
        self.revocations = 0
        self.seen = []
        self.problem = None
        self.ending = threading.Event()
        self.dying = threading.Event()
        self.start()

    def on_assign(self, _, partitions):
        self.owned |= {partition.partition for partition in partitions}

    def on_revoke(self, _, partitions):
        self.revocations += 1
        self.owned -= {partition.partition for partition in partitions}

    def run(self):
        self.reader.subscribe([self.topic], on_assign=self.on_assign, on_revoke=self.on_revoke)
        try:
            while not self.ending.is_set():
                if self.dying.is_set():
                    # As good as dead: no poll, no heartbeat from a client whose process is gone.
                    return
                message = self.reader.poll(0.1)
                if message is None:
                    continue
                if message.error():
                    raise KafkaException(message.error())
                self.seen.append((message.partition(), message.offset(), message.value()))
                self.reader.commit(message, asynchronous=True)
        except Exception as problem:
            self.problem = problem
        finally:
            if self.ending.is_set():
                self.reader.close()

    def end(self):
        self.ending.set()
        self.join(PATIENCE)
        assert not self.problem, self.problem


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"never came true: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_three_members_share_and_take_over(address, admin, topic, group, strategy):
    make(admin, topic, partitions=6)
    config = {"partition.assignment.strategy": strategy}
    members = [Member(address, group, topic, **config) for _ in range(3)]
    try:
        def shared(count):
            sets = [member.owned for member in members if member.is_alive()]
            return len(sets) == count and all(sets) and sorted(p for s in sets for p in s) == list(range(6))

        wait_for(lambda: shared(3) and all(len(m.owned) == 2 for m in members), "two partitions each")
        for partition in range(6):
            produce(address, topic, [b"first"] * 10, partition=partition)
        wait_for(lambda: sum(len(member.seen) for member in members) >= 60, "all of the first messages")
        members[0].end()
        wait_for(lambda: shared(2), "the other two have all")
        for partition in range(6):
            produce(address, topic, [b"second"] * 10, partition=partition)
        wait_for(lambda: sum(len(m.seen) for m in members) >= 120, "all of the second messages")
    finally:
        for member in members:
            member.end()
    keys = [(partition, offset) for member in members for partition, offset, _ in member.seen]
    assert len(keys) == len(set(keys)) == 120, "a clean hand-over repeats nothing"
    described = admin.describe_consumer_groups([group])[group].result(PATIENCE)
    assert described.state.name == "EMPTY"


def test_a_static_member_returns_without_a_rebalance(address, admin, topic, group):
    make(admin, topic, partitions=4)
    stays = Member(address, group, topic, **{"group.instance.id": "stays"})
    goes = Member(address, group, topic, **{"group.instance.id": "goes"})
    try:
        wait_for(lambda: len(stays.owned) == 2 and len(goes.owned) == 2, "two partitions each")
        before, owned = stays.revocations, set(goes.owned)
        goes.end()
        back = Member(address, group, topic, **{"group.instance.id": "goes"})
        try:
            wait_for(lambda: back.owned == owned, "its old partitions")
            assert stays.revocations == before
        finally:
            back.end()
    finally:
        stays.end()


def test_offsets_are_kept_and_can_be_changed(address, admin, topic, group):
    make(admin, topic, partitions=2)
    produce(address, topic, [b"x"] * 10)
    reader = consumer(address, group)
    reader.subscribe([topic])
    read(reader, 10)
    reader.commit(offsets=[TopicPartition(topic, 0, 7, "note")], asynchronous=False)
    committed = reader.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=PATIENCE)
    assert [(p.offset, p.metadata) for p in committed] == [(7, "note"), (-1001, None)]
    reader.close()
    again = consumer(address, group)
    again.subscribe([topic])
    assert [message.offset() for message in read(again, 3)] == [7, 8, 9]
    again.close()

    request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2)])
    admin.alter_consumer_group_offsets([request])[group].result(PATIENCE)
    listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(PATIENCE)
    assert [(p.topic, p.partition, p.offset) for p in listed.topic_partitions] == [(topic, 0, 2)]
    assert group in {listing.group_id for listing in admin.list_consumer_groups().result(PATIENCE).valid}
    admin.delete_consumer_groups([group])[group].result(PATIENCE)
    assert group not in {listing.group_id for listing in admin.list_consumer_groups().result(PATIENCE).valid}


def test_offset_reset_after_records_are_gone(address, admin, topic, group):
    make(admin, topic)
    produce(address, topic, [str(number).encode() for number in range(20)])
    deleted = admin.delete_records([TopicPartition(topic, 0, 15)])
    assert next(iter(deleted.values())).result(PATIENCE).low_watermark == 15
    reader = consumer(address, group)
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE) == (15, 20)
    reader.assign([TopicPartition(topic, 0, 3)])
    assert [message.value() for message in read(reader, 5)] == [b"15", b"16", b"17", b"18", b"19"]
    reader.close()


def test_offsets_by_time(address, admin, topic):
    make(admin, topic)
    produce(address, topic, [b"x"] * 5, timestamps=[1000, 5000, 2000, 9000, 3000], **{"compression.type": "gzip"})
    reader = consumer(address, "unused")

    def at(timestamp):
        return reader.offsets_for_times([TopicPartition(topic, 0, timestamp)], PATIENCE)[0].offset

    assert [at(t) for t in (0, 1000, 1001, 5001, 9000)] == [0, 0, 1, 3, 3]
    assert at(9001) == -1
    reader.close()
    partition = TopicPartition(topic, 0)
    for spec, offset, timestamp in [
        (OffsetSpec.earliest(), 0, -1), (OffsetSpec.latest(), 5, -1), (OffsetSpec.max_timestamp(), 3, 9000),
    ]:
        found = admin.list_offsets({partition: spec}, isolation_level=IsolationLevel.READ_COMMITTED)
        result = found[partition].result(PATIENCE)
        assert (result.offset, result.timestamp) == (offset, timestamp)


def test_topics_can_be_made_changed_and_deleted(address, admin, topic):
    make(admin, topic, partitions=2, retention_ms="1234")
    with pytest.raises(KafkaException) as refused:
        make(admin, topic)
    assert refused.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    admin.create_topics([NewTopic(f"{topic}-dry", 1, 1)], validate_only=True)[f"{topic}-dry"].result(PATIENCE)
    assert f"{topic}-dry" not in admin.list_topics(timeout=PATIENCE).topics
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(PATIENCE)
    assert len(admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions) == 5

    resource = ConfigResource(ResourceType.TOPIC, topic)

    def settings():
        return admin.describe_configs([resource])[resource].result(PATIENCE)

    now = settings()
    assert (now["retention.ms"].value, now["retention.ms"].is_default) == ("1234", False)
    assert (now["segment.bytes"].value, now["segment.bytes"].is_default) == ("1073741824", True)
    entry = ConfigEntry("retention.bytes", "999", incremental_operation=AlterConfigOpType.SET)
    gone = ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry, gone])
    admin.incremental_alter_configs([change])[change].result(PATIENCE)
    now = settings()
    assert (now["retention.bytes"].value, now["retention.ms"].value) == ("999", "604800000")
    bad = ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[bad])
    with pytest.raises(KafkaException) as refused:
        admin.incremental_alter_configs([change])[change].result(PATIENCE)
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG

    admin.delete_topics([topic])[topic].result(PATIENCE)
    assert topic not in admin.list_topics(timeout=PATIENCE).topics
    make(admin, topic)
    assert read_counts(address, topic) == (0, 0), "a new topic of the name knows nothing of the old one"


def read_counts(address, topic):
    reader = consumer(address, "unused")
    try:
        return reader.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE)
    finally:
        reader.close()


@pytest.mark.parametrize("name", ["..", "a/b", "../../etc/passwd", "ä", "x" * 250])
def test_bad_names_are_refused(admin, name):
    with pytest.raises(KafkaException) as refused:
        make(admin, name)
    assert refused.value.args[0].code() == KafkaError.TOPIC_EXCEPTION


def test_the_cluster_describes_itself(admin):
    described = admin.describe_cluster().result(PATIENCE)
    assert len(described.nodes) == 1 and described.controller.id == described.nodes[0].id
    resource = ConfigResource(ResourceType.BROKER, str(described.controller.id))
    settings = admin.describe_configs([resource])[resource].result(PATIENCE)
    assert len(settings) == 340
    assert settings["auto.create.topics.enable"].value == "false"
    assert settings["log.retention.hours"].value == "168"


def test_everything_is_there_after_a_kill(own_broker, topic, group):
    admin = AdminClient({"bootstrap.servers": own_broker.address})
    make(admin, topic, retention_ms="-1")
    values = [str(number).encode() for number in range(5000)]
    produce(own_broker.address, topic, values, **{"compression.type": "zstd", "enable.idempotence": True})
    reader = consumer(own_broker.address, group)
    reader.subscribe([topic])
    read(reader, 1234)
    reader.commit(asynchronous=False)
    own_broker.kill()
    own_broker.start()
    # The same consumer goes on: the broker knows it still.
    assert [message.value() for message in read(reader, 10)] == values[1234:1244]
    reader.close()
    again = consumer(own_broker.address, group)
    again.subscribe([topic])
    assert read(again, 1)[0].offset() == 1234
    again.close()
    assert [message.value() for message in read_partition(own_broker.address, topic, 5000)] == values


def test_a_producer_survives_a_restart_without_loss_or_repetition(own_broker, topic):
    make(AdminClient({"bootstrap.servers": own_broker.address}), topic)
    failed = []
    producer = Producer({
        "bootstrap.servers": own_broker.address, "enable.idempotence": True, "linger.ms": 1,
        "reconnect.backoff.max.ms": 200, "message.timeout.ms": 60_000,
    })
    values = [str(number).encode() for number in range(6000)]
    for number, value in enumerate(values):
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
        producer.poll(0)
        if number in (2000, 4000):
            own_broker.kill()
            own_broker.start()
    assert producer.flush(PATIENCE) == 0
    assert not failed, failed[0]
    assert [message.value() for message in read_partition(own_broker.address, topic, 6000)] == values
