"""Producer and Consumer of the application: A-35, A-36, M-20, M-21.

On our client, or on the one that `MILLSTREAM_CLIENT` names; `make test` runs them once with librdkafka as well.
"""

import json
import time
import uuid

import pytest
from brokers import EmbeddedBroker, wait_for

from millstream._millstream import librdkafka_version
from millstream.exceptions import NotSupportedYet, PartitionAssignmentError
from millstream.kafka import Consumer, Producer, TopicPartition, raise_for_msg_error
from millstream.kafka.exceptions import (
    InvalidProducerConfigError,
    KafkaBrokerUnavailableError,
    KafkaConsumerException,
)
from platforms import Input


@pytest.fixture
def topic(broker):
    broker.application()
    return broker.topic("in", partitions=2)


def consumer(broker, reset="earliest", **settings):
    return Consumer(broker.address, f"clients-{uuid.uuid4().hex}", reset, **settings)


def read(consumer, count, seconds=30):
    messages, deadline = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < deadline:
        message = consumer.poll(timeout=1)
        if message is not None:
            messages.append(raise_for_msg_error(message))
    return messages


class TestProducer:
    def test_what_arrives(self, broker, topic):
        """M-20"""
        delivered = []
        with broker.app.get_producer() as producer:
            assert not producer.instantiated and bool(producer)
            producer.produce(
                topic.name, value=b"v", key="text", headers=[("h", b"1"), ("h", "2")], partition=1, timestamp=5,
                on_delivery=lambda error, message: delivered.append((error, message.topic(), message.partition())),
            )
            producer.produce(topic.name, value=None, key=None, headers={"a": b"b"}, partition=1, timestamp=6)
            assert producer.instantiated
        assert delivered == [(None, topic.name, 1)]
        with consumer(broker) as reader:
            reader.assign([TopicPartition(topic.name, 1, 0)])
            first, second = read(reader, 2)
        assert (first.key(), first.value(), first.timestamp(), first.offset()) == (b"text", b"v", (1, 5), 0)
        assert first.headers() == [("h", b"1"), ("h", b"2")]
        assert (first.topic(), first.partition(), first.error()) == (topic.name, 1, None)
        assert len(first) >= 5
        assert (second.key(), second.value(), second.headers()) == (None, None, [("a", b"b")])

    def test_flush(self, broker, topic):
        producer = broker.app.get_producer()
        for n in range(100):
            producer.produce(topic.name, value=b"%d" % n)
        assert producer.flush(timeout=30) == 0
        assert len(producer) == 0
        assert producer.poll(0) == 0

    def test_each_delivery_is_told(self, broker, topic):
        """M-20: once each, in order, with what the broker made of it; an exception comes out of `flush()`."""
        told = []
        producer = broker.app.get_producer()
        for n in range(50):
            producer.produce(topic.name, b"%d" % n, b"k", [("h", b"1")], n % 2, 1000 + n,
                             on_delivery=lambda error, message: told.append((error, message)))
        assert producer.flush(timeout=30) == 0
        for part in range(2):
            messages = [m for error, m in told if m.partition() == part]
            assert [m.offset() for m in messages] == list(range(25))
            assert [m.value() for m in messages] == [b"%d" % n for n in range(part, 50, 2)]
            assert [m.timestamp() for m in messages] == [(1, 1000 + n) for n in range(part, 50, 2)]
        for error, message in told:
            assert error is None and message.error() is None and message.latency() > 0
            assert (message.topic(), message.key(), message.headers()) == (topic.name, b"k", [("h", b"1")])

        def fail(error, message):
            raise RuntimeError("of the user")

        producer.produce(topic.name, b"x", on_delivery=fail)
        with pytest.raises(RuntimeError, match="of the user"):
            producer.flush(timeout=30)

    def test_an_error_in_a_callback_leaves_the_other_reports(self):
        """M-20"""
        told = []

        def tell(error, message):
            told.append(message.value())
            if message.value() in (b"0", b"2"):
                raise RuntimeError("of the user")

        producer = Producer("127.0.0.1:1")
        for n in range(4):
            producer.produce("t", b"%d" % n, on_delivery=tell)
        producer.purge()
        with pytest.raises(RuntimeError, match="of the user"):
            producer.flush(timeout=30)
        assert (told, len(producer)) == ([b"0"], 3)
        with pytest.raises(RuntimeError, match="of the user"):
            producer.poll(30)
        assert (told, len(producer)) == ([b"0", b"1", b"2"], 1)
        assert (producer.flush(timeout=30), told) == (0, [b"0", b"1", b"2", b"3"])

    def test_what_a_callback_produces_is_flushed(self, broker, topic):
        """M-20: as for a retry, or a topic for what failed."""
        told = []

        def again(error, message):
            told.append(message.value())
            if len(told) < 3:
                producer.produce(topic.name, b"%d" % len(told), partition=0, on_delivery=again)

        with broker.app.get_producer() as producer:
            producer.produce(topic.name, b"0", partition=0, on_delivery=again)
        assert (told, len(producer)) == ([b"0", b"1", b"2"], 0)

    def test_what_is_not_delivered_is_told_with_the_reason(self):
        told = []
        producer = Producer("127.0.0.1:1")
        producer.produce("t", b"v", b"k", on_delivery=lambda error, message: told.append((error, message)))
        assert len(producer) == 1
        producer.purge()
        assert producer.flush(timeout=30) == 0
        [(error, message)] = told
        assert (error.name(), message.error().name()) == ("_PURGE_QUEUE", "_PURGE_QUEUE")
        assert (message.value(), message.key(), message.offset(), message.latency()) == (b"v", b"k", None, None)

    def test_serialized_by_the_topic(self, broker, topic):
        """T-03, T-04"""
        message = topic.serialize(key=b"k", value={"a": [1]}, timestamp_ms=7)
        with broker.app.get_producer() as producer:
            producer.produce(topic.name, key=message.key, value=message.value, timestamp=message.timestamp, partition=0)
        with broker.app.get_consumer() as reader:
            reader.subscribe([topic.name])
            (found,) = read(reader, 1)
        back = topic.deserialize(found)
        assert (back.key, back.value, back.timestamp) == (b"k", {"a": [1]}, 7)

    def test_no_transactions_yet(self):
        """M-20"""
        with pytest.raises(NotSupportedYet, match="transactional"):
            Producer("127.0.0.1:1", transactional=True)
        producer = Producer("127.0.0.1:1")
        for use in (producer.begin_transaction, producer.commit_transaction, producer.abort_transaction,
                    lambda: producer.send_offsets_to_transaction([], None)):
            with pytest.raises(InvalidProducerConfigError):
                use()

    def test_a_full_queue(self):
        """SRC-04"""
        producer = Producer("127.0.0.1:1", extra_config={"queue.buffering.max.messages": 2})
        for _ in range(2):
            producer.produce("t", value=b"x")
        with pytest.raises(BufferError):
            producer.produce("t", value=b"x", poll_timeout=0.05, buffer_error_max_tries=2)
        producer.purge()
        producer.flush(timeout=1)
        assert len(producer) == 0

    def test_secrets(self):
        from millstream.kafka import ConnectionConfig

        config = ConnectionConfig(bootstrap_servers="a:1", sasl_password="hunter2")
        assert "hunter2" not in f"{Producer(config)!r} {Consumer(config, 'g', 'earliest')!r}"


# Objects whose names are those of brokers, topics and the like.
NAMED = ("brokers", "topics", "partitions", "req", "toppars")


def shape(told, path=""):
    """The paths of all fields."""
    for name, value in told.items():
        here = f"{path}.*" if path.rpartition(".")[2] in NAMED else f"{path}.{name}"
        yield here
        if isinstance(value, dict):
            yield from shape(value, here)


class TestStatistics:
    """`stats_cb` of A-07, at the clients that users make."""

    def collect(self, broker, topic, **settings):
        """What a producer of five records and a consumer of them told last."""
        of_producer, of_consumer = [], []

        def extra(told):
            return {"stats_cb": lambda text: told.append(json.loads(text)), "statistics.interval.ms": 50, **settings}

        with Producer(broker.address, extra_config={**extra(of_producer), "enable.idempotence": True}) as producer:
            for _ in range(5):
                producer.produce(topic.name, b"value", partition=1)
            producer.flush(timeout=30)
            wait_for(lambda: producer.poll(0.1) or of_producer and of_producer[-1]["txmsgs"] >= 5, "producer statistics")
        with consumer(broker, extra_config=extra(of_consumer)) as reader:
            reader.subscribe([topic.name])
            assert len(read(reader, 5)) >= 5

            def done():
                reader.poll(0.1)
                return of_consumer and of_consumer[-1]["rxmsgs"] >= 5

            wait_for(done, "consumer statistics")
        return of_producer[-1], of_consumer[-1]

    def test_what_is_told(self, broker, topic):
        of_producer, of_consumer = self.collect(broker, topic)
        assert (of_producer["type"], of_consumer["type"]) == ("producer", "consumer")
        assert of_producer["topics"][topic.name]["partitions"]["1"]["txmsgs"] == 5
        assert of_producer["msg_cnt"] == 0
        found = of_consumer["topics"][topic.name]["partitions"]["1"]
        assert (found["rxmsgs"], found["app_offset"], found["hi_offset"]) == (5, 5, 5)
        assert of_consumer["cgrp"]["assignment_size"] == 2
        for told in (of_producer, of_consumer):
            assert any(one["state"] == "UP" and one["rxbytes"] > 0 for one in told["brokers"].values())

    @pytest.mark.skipif(librdkafka_version() is None, reason="built without librdkafka, whose shape it is")
    def test_the_shape_is_that_of_librdkafka(self, broker, topic):
        ours = self.collect(broker, topic, **{"millstream.client": "millstream"})
        theirs = self.collect(broker, topic, **{"millstream.client": "librdkafka"})
        for mine, other in zip(ours, theirs, strict=True):
            assert set(shape(mine)) - set(shape(other)) == set()

    def test_errors_in_it(self, broker, topic):
        def fail(text):
            raise RuntimeError("of the user")

        extra = {"stats_cb": fail, "statistics.interval.ms": 50}
        with pytest.raises(RuntimeError, match="of the user"):
            read(consumer(broker, extra_config=extra), 1)
        producer = Producer(broker.address, extra_config=extra)
        producer.produce(topic.name, b"value")
        with pytest.raises(RuntimeError, match="of the user"):
            wait_for(lambda: producer.poll(0.1) and False, "an exception")
        # `produce()` has taken the record, so what `stats_cb` raises does not come out of it.
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            producer.produce(topic.name, b"value")
            time.sleep(0.01)
        with pytest.raises(RuntimeError, match="of the user"):
            wait_for(lambda: producer.poll(0.1) and False, "an exception")
        with pytest.raises(TypeError, match="stats_cb"):
            Producer("127.0.0.1:1", extra_config={"stats_cb": "print"})


class TestConsumer:
    def fill(self, broker, topic, count=6):
        broker.produce(*(Input(topic, n, b"k", 100 + n, None, n % 2) for n in range(count)))

    def test_subscribe_and_poll(self, broker, topic):
        self.fill(broker, topic)
        assigned = []
        with consumer(broker) as reader:
            reader.subscribe([topic.name], on_assign=lambda c, partitions: assigned.append((c, partitions)))
            messages = read(reader, 6)
            assert assigned[0][0] is reader
            assert sorted(p.partition for p in assigned[0][1]) == [0, 1]
            assert sorted(p.partition for p in reader.assignment()) == [0, 1]
            assert reader.memberid()
        assert sorted((m.partition(), m.offset(), m.value()) for m in messages) == [
            (0, 0, b"0"), (0, 1, b"2"), (0, 2, b"4"), (1, 0, b"1"), (1, 1, b"3"), (1, 2, b"5"),
        ]

    def test_errors_in_callbacks(self, broker, topic):
        """M-21"""

        def fail(consumer, partitions):
            raise RuntimeError("of the user")

        with consumer(broker) as reader:
            reader.subscribe([topic.name], on_assign=fail)
            with pytest.raises(PartitionAssignmentError) as caught:
                read(reader, 1)
        assert isinstance(caught.value.__cause__, RuntimeError)

    def test_offsets(self, broker, topic):
        self.fill(broker, topic)
        here = TopicPartition(topic.name, 0)
        with consumer(broker, auto_commit_enable=False) as reader:
            assert reader.get_watermark_offsets(here, timeout=10) == (0, 3)
            assert reader.committed([here], timeout=10)[0].offset == -1001
            reader.assign([TopicPartition(topic.name, 0, 1)])
            (message,) = read(reader, 1)
            assert message.offset() == 1
            (committed,) = reader.commit(message, asynchronous=False)
            assert (committed.offset, committed.error) == (2, None)
            assert reader.committed([here], timeout=10)[0].offset == 2
            assert reader.position([here])[0].offset == 2
            reader.seek(TopicPartition(topic.name, 0, 0))
            assert read(reader, 1)[0].offset() == 0
            (found,) = reader.offsets_for_times([TopicPartition(topic.name, 0, 102)], timeout=10)
            assert found.offset == 1
            reader.commit(offsets=[TopicPartition(topic.name, 0, 3)], asynchronous=False)
            assert reader.committed([here], timeout=10)[0].offset == 3

    def test_pause_and_resume(self, broker, topic):
        self.fill(broker, topic)
        here = TopicPartition(topic.name, 0, 0)
        with consumer(broker) as reader:
            reader.assign([here])
            reader.pause([here])
            assert reader.poll(timeout=1) is None
            reader.resume([here])
            assert len(read(reader, 3)) == 3
            reader.unassign()
            assert reader.assignment() == []

    def test_consume(self, broker, topic):
        self.fill(broker, topic)
        with consumer(broker) as reader:
            reader.assign([TopicPartition(topic.name, 1, 0)])
            assert [m.value() for m in reader.consume(num_messages=3, timeout=30)] == [b"1", b"3", b"5"]
            assert reader.consume(num_messages=1, timeout=0.1) == []

    def test_stored_offsets_are_committed_at_close(self, broker, topic):
        """A-36"""
        self.fill(broker, topic)
        group = f"stored-{uuid.uuid4().hex}"
        with Consumer(broker.address, group, "earliest") as reader:
            reader.subscribe([topic.name])
            for message in read(reader, 6):
                if message.partition() == 0:
                    reader.store_offsets(message)
        with Consumer(broker.address, group, "earliest") as reader:
            found = reader.committed([TopicPartition(topic.name, n) for n in range(2)], timeout=10)
        assert [p.offset for p in found] == [3, -1001]

    def test_list_topics(self, broker, topic):
        with consumer(broker) as reader:
            assert len(reader.list_topics(timeout=10).topics[topic.name].partitions) == 2
            assert list(reader.list_topics(topic.name).topics) == [topic.name]

    def test_a_setting_that_only_librdkafka_has(self, broker, topic):
        """A-07"""
        only = {"client.dns.lookup": "resolve_canonical_bootstrap_servers_only", "millstream.client": "millstream"}
        with pytest.raises(ValueError, match='client="librdkafka"'):
            consumer(broker, extra_config=only).list_topics(timeout=10)
        chosen = consumer(broker, extra_config={**only, "millstream.client": "librdkafka"})
        if librdkafka_version() is None:
            with pytest.raises(ValueError, match="MILLSTREAM_LIBRDKAFKA=1"):
                chosen.list_topics(timeout=10)
        else:
            with chosen as reader:
                assert topic.name in reader.list_topics(timeout=10).topics

    def test_a_topic_that_is_not_there(self, broker):
        with consumer(broker) as reader:
            reader.subscribe([f"nothing-{uuid.uuid4().hex}"])
            deadline = time.monotonic() + 30
            while (message := reader.poll(timeout=1)) is None:
                assert time.monotonic() < deadline
            assert message.error().name() == "UNKNOWN_TOPIC_OR_PART"
            with pytest.raises(KafkaConsumerException) as caught:
                raise_for_msg_error(message)
            assert caught.value.code == 3

    def test_available(self, broker):
        """E-12: at 0 the first question without an answer would raise, as the test of a broker that is away shows."""
        with consumer(broker) as reader:
            reader.raise_if_broker_unavailable(0)
        broker.application().get_producer().raise_if_broker_unavailable(0)

    @pytest.mark.parametrize(
        "use",
        [
            lambda c: c.incremental_assign([]), lambda c: c.incremental_unassign([]),
            lambda c: c.consumer_group_metadata(), lambda c: c.set_sasl_credentials("a", "b"),
        ],
    )
    def test_not_supported_yet(self, use):
        with pytest.raises(NotSupportedYet):
            use(Consumer("127.0.0.1:1", "g", "earliest"))


def test_availability_of_a_broker_that_goes_and_comes_back(tmp_path):
    """E-12"""
    with EmbeddedBroker(tmp_path) as broker:
        producer = Producer(broker.address)
        broker.stop()
        producer.raise_if_broker_unavailable(1)
        with pytest.raises(KafkaBrokerUnavailableError, match="restart the program"):
            producer.raise_if_broker_unavailable(0)
        broker.start()
        producer.raise_if_broker_unavailable(0)
