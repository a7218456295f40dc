"""Transactions by confluent-kafka (librdkafka), on the embedded broker and on a real Apache Kafka."""

import threading
import time

import pytest
from brokers import shared_kafka

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

PATIENCE = 60


@pytest.fixture(params=["embedded", "kafka"])
def brokers(request):
    """The address of either broker: what holds on one must hold on the other."""
    if request.param == "embedded":
        return request.getfixturevalue("address")
    return shared_kafka()


@pytest.fixture
def partitioned(brokers, topic):
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(PATIENCE)
    return topic


def start(brokers, name, timeout_ms=60_000, **options):
    settings = {"bootstrap.servers": brokers, "transactional.id": name, "transaction.timeout.ms": timeout_ms}
    producer = Producer({**settings, **options})
    producer.init_transactions(PATIENCE)
    return producer


def write(producer, topic, values, partition=0):
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(PATIENCE) == 0


def read(brokers, topic, partition=0, isolation="read_committed"):
    """What a consumer sees from the start up to where it gets no further."""
    consumer = Consumer({
        "bootstrap.servers": brokers, "group.id": "reader", "isolation.level": isolation,
        "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest",
    })
    consumer.assign([TopicPartition(topic, partition, 0)])
    values = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            break
        values.append(message.value())
    consumer.close()
    return values


def test_what_is_committed_is_seen_and_what_is_aborted_is_not(brokers, partitioned):
    producer = start(brokers, partitioned)
    for number in range(6):
        producer.begin_transaction()
        for partition in (0, 1):
            write(producer, partitioned, [b"%d-%d" % (number, item) for item in range(3)], partition)
        if number % 3 == 2:
            producer.abort_transaction(PATIENCE)
        else:
            producer.commit_transaction(PATIENCE)
    expected = [b"%d-%d" % (number, item) for number in (0, 1, 3, 4) for item in range(3)]
    everything = [b"%d-%d" % (number, item) for number in range(6) for item in range(3)]
    for partition in (0, 1):
        assert read(brokers, partitioned, partition) == expected
        assert read(brokers, partitioned, partition, "read_uncommitted") == everything


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_transactions_of_many_batches(brokers, partitioned, codec):
    producer = start(brokers, partitioned, **{"compression.type": codec, "batch.num.messages": 100})
    values = [b"%d" % number for number in range(2000)]
    producer.begin_transaction()
    write(producer, partitioned, values[:1000])
    producer.commit_transaction(PATIENCE)
    producer.begin_transaction()
    write(producer, partitioned, [b"never"] * 1000)
    producer.abort_transaction(PATIENCE)
    producer.begin_transaction()
    write(producer, partitioned, values[1000:])
    producer.commit_transaction(PATIENCE)
    assert read(brokers, partitioned) == values


def test_a_reader_waits_for_the_commit(brokers, partitioned):
    producer = start(brokers, partitioned)
    producer.begin_transaction()
    write(producer, partitioned, [b"a"])
    consumer = Consumer({
        "bootstrap.servers": brokers, "group.id": "waits", "isolation.level": "read_committed",
        "enable.auto.commit": False, "fetch.wait.max.ms": 20_000,
    })
    consumer.assign([TopicPartition(partitioned, 0, 0)])
    assert consumer.poll(3) is None, "nothing is decided yet"
    low, high = consumer.get_watermark_offsets(TopicPartition(partitioned, 0))
    assert (low, high) == (0, 0), "a reader of committed data is told where it can read to"
    begin = time.monotonic()
    threading.Timer(0.5, lambda: producer.commit_transaction(PATIENCE)).start()
    message = consumer.poll(PATIENCE)
    assert message.value() == b"a"
    assert time.monotonic() - begin < 10, "the commit wakes the fetch that waits"
    consumer.close()


def test_offsets_count_with_the_transaction(brokers, partitioned, group):
    source = f"{partitioned}-in"
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(source, 1, 1)])[source].result(PATIENCE)
    plain = Producer({"bootstrap.servers": brokers})
    write(plain, source, [b"%d" % number for number in range(10)])
    consumer = Consumer({
        "bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "isolation.level": "read_committed",
    })
    consumer.subscribe([source])
    producer = start(brokers, group)

    def committed():
        return consumer.committed([TopicPartition(source, 0)], PATIENCE)[0].offset

    def step(count, commit):
        seen = []
        while len(seen) < count:
            message = consumer.poll(PATIENCE)
            assert message is not None and not message.error()
            seen.append(message)
        producer.begin_transaction()
        write(producer, partitioned, [b"out of " + message.value() for message in seen])
        position = [TopicPartition(source, 0, seen[-1].offset() + 1)]
        producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata(), PATIENCE)
        if commit:
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(PATIENCE)
            consumer.seek(TopicPartition(source, 0, seen[0].offset()))

    step(4, commit=True)
    assert committed() == 4
    step(3, commit=False)
    assert committed() == 4, "an aborted transaction moves nothing"
    step(6, commit=True)
    assert committed() == 10
    consumer.close()
    assert read(brokers, partitioned) == [b"out of %d" % number for number in range(10)]


def test_a_member_of_an_old_generation_cannot_send_offsets(brokers, partitioned, group):
    """What fences a zombie whose producer is another one's by now is the group (KIP-447)."""
    options = {
        "bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "partition.assignment.strategy": "range",
    }
    old = Consumer(options)
    old.subscribe([partitioned])
    while not old.assignment():
        old.poll(0.1)
    stale = old.consumer_group_metadata()
    old.close()
    new = Consumer(options)
    new.subscribe([partitioned])
    while not new.assignment():
        new.poll(0.1)
    producer = start(brokers, group)
    producer.begin_transaction()
    write(producer, partitioned, [b"zombie"])
    with pytest.raises(KafkaException) as caught:
        producer.send_offsets_to_transaction([TopicPartition(partitioned, 0, 5)], stale, PATIENCE)
    assert caught.value.args[0].code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)
    assert caught.value.args[0].txn_requires_abort()
    producer.abort_transaction(PATIENCE)
    assert new.committed([TopicPartition(partitioned, 0)], PATIENCE)[0].offset < 0
    new.close()
    assert read(brokers, partitioned) == []


def test_a_second_producer_fences_the_first(brokers, partitioned):
    first = start(brokers, partitioned)
    first.begin_transaction()
    write(first, partitioned, [b"zombie"])
    second = start(brokers, partitioned)
    second.begin_transaction()
    write(second, partitioned, [b"alive"])
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(PATIENCE)
    assert caught.value.args[0].fatal(), caught.value
    assert caught.value.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
    second.commit_transaction(PATIENCE)
    assert read(brokers, partitioned) == [b"alive"]


def test_a_transaction_that_takes_too_long_is_aborted(brokers, partitioned):
    slow = start(brokers, partitioned, timeout_ms=2000)
    slow.begin_transaction()
    write(slow, partitioned, [b"too late"])
    quick = start(brokers, partitioned + "-quick")
    quick.begin_transaction()
    write(quick, partitioned, [b"in time"])
    quick.commit_transaction(PATIENCE)
    # Kafka looks for such transactions every 10 s.
    until = time.monotonic() + PATIENCE
    while not (seen := read(brokers, partitioned)) and time.monotonic() < until:
        time.sleep(0.2)
    assert seen == [b"in time"], "the record behind the open transaction becomes readable"
    with pytest.raises(KafkaException):
        slow.commit_transaction(PATIENCE)
    assert read(brokers, partitioned) == [b"in time"]


def test_a_broker_that_is_killed_inside_a_transaction(own_broker, topic, group):
    """SIGKILL: the open transaction can go on afterwards, and what was committed stays."""
    address = own_broker.address
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(PATIENCE)
    producer = start(address, "tx")
    producer.begin_transaction()
    write(producer, topic, [b"one"])
    own_broker.kill()
    own_broker.start()
    write(producer, topic, [b"two"], partition=1)
    producer.commit_transaction(PATIENCE)
    own_broker.kill()
    own_broker.start()
    assert read(address, topic, 0) == [b"one"]
    assert read(address, topic, 1) == [b"two"]
    producer.begin_transaction()
    write(producer, topic, [b"never"])
    own_broker.kill()
    own_broker.start()
    producer = start(address, "tx")
    producer.begin_transaction()
    write(producer, topic, [b"three"])
    producer.commit_transaction(PATIENCE)
    assert read(address, topic, 0) == [b"one", b"three"]
