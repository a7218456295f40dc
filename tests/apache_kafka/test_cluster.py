"""`tools/kafka` with three brokers: started, one killed, restarted, destroyed; and a pipeline that goes on meanwhile.

Everything else runs on clusters of one broker, where no leader ever changes and nothing is replicated.
"""

import json
import threading
import time
import uuid
from collections import defaultdict

import pytest
from brokers import KAFKA_START_SECONDS, KafkaCluster, kafka_tool, wait_for
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from millstream import Application
from millstream.models import TopicConfig

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

BROKERS = {1, 2, 3}
PARTITIONS = 3
PATIENCE = 60


@pytest.fixture(scope="module")
def cluster():
    with KafkaCluster("three", brokers=3, heap="384m") as cluster:
        cluster.admin = AdminClient({"bootstrap.servers": cluster.address})
        yield cluster


@pytest.fixture(autouse=True)
def all_three_run(request):
    """A test that failed may have left a broker dead."""
    if "cluster" in request.fixturenames:
        cluster = request.getfixturevalue("cluster")
        if set(cluster.pids()) != BROKERS:
            cluster.tool("restart")


@pytest.fixture
def topic(cluster):
    name = f"topic-{uuid.uuid4().hex[:8]}"
    cluster.admin.create_topics([NewTopic(name, PARTITIONS, 3)])[name].result(PATIENCE)
    wait_until_in_sync(cluster, name, BROKERS)
    return name


def partitions(cluster, topic):
    """What the cluster says of each partition now; nothing while it does not know the topic or has no leader for it."""
    found = cluster.admin.list_topics(topic, timeout=PATIENCE).topics[topic]
    return list(found.partitions.values()) if found.error is None else []


def leader(cluster, topic, partition=0):
    """The broker that leads a partition; waits out an election."""

    def elected():
        return next((p.leader for p in partitions(cluster, topic) if p.id == partition and p.leader > 0), None)

    return wait_for(elected, f"a leader of {topic}[{partition}]")


def wait_until_in_sync(cluster, topic, brokers):
    def reached():
        found = partitions(cluster, topic)
        return found and all(set(p.isrs) == brokers and p.leader in brokers for p in found)

    wait_for(reached, f"{topic} to be in sync on the brokers {brokers}")


def produce(cluster, topic, numbers):
    failed = []
    producer = Producer({"bootstrap.servers": cluster.address, "enable.idempotence": True})
    for n in numbers:
        producer.produce(
            topic, str(n), partition=n % PARTITIONS, on_delivery=lambda error, _: error and failed.append(error)
        )
    assert producer.flush(PATIENCE) == 0 and not failed, failed


def read(cluster, topic, count):
    """Every (key, value) of a topic, partition by partition, of which there must be `count` at least."""
    consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": "readers", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    messages, deadline = defaultdict(list), time.monotonic() + PATIENCE

    def end_of(number):
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE)[1]
        except KafkaException as refused:
            # A leader that has just come up does not know yet what the others have.
            if not refused.args[0].retriable() and refused.args[0].code() != KafkaError.OFFSET_NOT_AVAILABLE:
                raise
            return None

    def end():
        ends = wait_for(
            lambda: None not in (found := [end_of(number) for number in range(PARTITIONS)]) and found,
            f"the ends of {topic}", PATIENCE,
        )
        return sum(ends)

    while (found := sum(map(len, messages.values()))) < max(count, end()):
        assert time.monotonic() < deadline, f"{found} of {count} records of {topic} could be read"
        for message in consumer.consume(1000, 0.5):
            if message.error() is None:
                messages[message.partition()].append((message.key(), message.value()))
    consumer.close()
    return messages


def numbers_of(messages):
    return {partition: [int(value) for _, value in records] for partition, records in messages.items()}


def expected(count):
    return {number: list(range(number, count, PARTITIONS)) for number in range(PARTITIONS)}


def test_a_broker_is_killed_and_comes_back(cluster, topic):
    produce(cluster, topic, range(300))
    victim = leader(cluster, topic)
    cluster.node("kill", victim)
    others = BROKERS - {victim}
    assert set(cluster.pids()) == others
    # What the two that are left have acknowledged is enough (min.insync.replicas).
    produce(cluster, topic, range(300, 600))
    wait_until_in_sync(cluster, topic, others)
    assert numbers_of(read(cluster, topic, 600)) == expected(600)

    address = cluster.node("restart", victim).strip()
    assert address in cluster.address.split(",")
    assert set(cluster.pids()) == BROKERS
    wait_until_in_sync(cluster, topic, BROKERS)
    # It has what it missed: with another one gone, it may lead, and nothing is lost.
    cluster.node("kill", leader(cluster, topic, 1))
    produce(cluster, topic, range(600, 900))
    assert numbers_of(read(cluster, topic, 900)) == expected(900)


def test_all_are_stopped_and_restarted(cluster, topic):
    """Ports and data stay, whether the end was orderly or not."""
    produce(cluster, topic, range(300))
    for verb in ("stop", "kill"):
        before = cluster.pids()
        cluster.tool(verb)
        assert cluster.pids() == {}
        assert cluster.tool("restart").strip() == cluster.address
        after = cluster.pids()
        assert set(after) == BROKERS and not set(after.values()) & set(before.values())
        assert numbers_of(read(cluster, topic, 300)) == expected(300)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["start"], "runs: `restart` it, `destroy` it, or take another --name"),
        (["kill", "--node", "4"], "there is no broker 4 of cluster"),
        (["start", "log.retention.ms"], "a broker setting is written KEY=VALUE, not 'log.retention.ms'"),
    ],
)
def test_what_cannot_be_done(cluster, arguments, complaint):
    verb, *rest = arguments
    done = kafka_tool(verb, "--name", cluster.name, *rest)
    assert done.returncode == 1
    assert done.stdout == "" and complaint in done.stderr, done.stderr
    assert set(cluster.pids()) == BROKERS


def test_nothing_is_left_of_a_destroyed_cluster():
    """And a setting given at the start is the broker's."""
    with KafkaCluster("gone", heap="384m") as cluster:
        cluster.tool("destroy")
        cluster.tool("start", "--heap", "384m", "log.retention.ms=123456789", seconds=KAFKA_START_SECONDS)
        (row,) = [line for line in kafka_tool("status").stdout.splitlines() if line.startswith(f"{cluster.name} ")]
        address = row.split()[2]
        described = kafka_tool(
            "run", "configs", "--bootstrap-server", address, "--describe", "--all", "--entity-type", "brokers",
            "--entity-name", "1",
        )
        assert "log.retention.ms=123456789" in described.stdout, described.stderr
    assert cluster.name not in kafka_tool("status").stdout
    refused = kafka_tool("restart", "--name", cluster.name)
    assert refused.returncode == 1 and f"there is no cluster {cluster.name!r}" in refused.stderr


class Counting(threading.Thread):
    """An application that counts the records of each key in state, and writes every count."""

    def __init__(self, cluster, topic, directory):
        super().__init__()
        self.error = None
        self.app = Application(
            cluster.address, consumer_group=f"counting-{topic}", auto_offset_reset="earliest", state_dir=directory,
            commit_interval=0.2, loglevel=None,
            consumer_extra_config={"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000},
        )
        config = TopicConfig(PARTITIONS, 3)
        self.counted = self.app.topic(f"{topic}-counted", key_serializer="str", config=config)
        numbers = self.app.topic(topic, key_deserializer="str", config=config)
        self.app.dataframe(numbers).apply(self.count, stateful=True).to_topic(self.counted)

    @staticmethod
    def count(value, state):
        total = state.get("count", 0) + 1
        state.set("count", total)
        return {"n": value, "count": total}

    def run(self):
        try:
            self.app.run()
        except BaseException as error:
            self.error = error

    def end(self):
        self.app.stop()
        self.join(PATIENCE)
        assert not self.is_alive(), f"the application did not end within {PATIENCE} s"
        assert self.error is None


KEYS = 12


def feed(producer, topic, numbers):
    for n in numbers:
        producer.produce(topic, json.dumps(n), key=f"key-{n % KEYS}", timestamp=int(time.time() * 1000))
        producer.poll(0.001)


def outputs(cluster, topic, count):
    """Key -> the (n, count) that were written, in order."""
    found = defaultdict(list)
    for records in read(cluster, topic, count).values():
        for key, value in records:
            value = json.loads(value)
            found[key.decode()].append((value["n"], value["count"]))
    return found


def test_a_pipeline_survives_the_kill_of_a_leader(cluster, topic, tmp_path):
    """CK-08 on a cluster: input, output, changelog and group coordinator move to other brokers during the run."""
    counting = Counting(cluster, topic, tmp_path)
    producer = Producer({"bootstrap.servers": cluster.address, "enable.idempotence": True})
    counting.start()
    fed = 0
    try:
        for partition in range(2):
            feed(producer, topic, range(fed, fed + 600))
            fed += 600
            # In the middle of work: it has read of these, and most are still to come.
            wait_until_counted(counting, cluster, fed - 600 + 1, "outputs before the kill")
            victim = leader(cluster, topic, partition)
            cluster.node("kill", victim)
            feed(producer, topic, range(fed, fed + 600))
            fed += 600
            assert producer.flush(PATIENCE) == 0
            wait_until_counted(counting, cluster, fed, f"all {fed} records to be counted with broker {victim} dead")
            cluster.node("restart", victim)
            wait_until_in_sync(cluster, topic, BROKERS)
    finally:
        counting.end()
    check_counts(outputs(cluster, counting.counted.name, fed), fed)
    changelog = f"changelog__{counting.app.config.consumer_group}--{topic}--default"
    assert all(set(p.replicas) == BROKERS for p in partitions(cluster, changelog)), "state was on one broker only"

    # And what is in the changelog is right: without local state, the next record of each key has the next number.
    counting.app.clear_state()
    again = Counting(cluster, topic, tmp_path)
    feed(producer, topic, range(fed, fed + KEYS))
    assert producer.flush(PATIENCE) == 0
    fed += KEYS
    again.start()
    try:
        wait_until_counted(again, cluster, fed, "the last records to be counted")
    finally:
        again.end()
    check_counts(outputs(cluster, again.counted.name, fed), fed)


def wait_until_counted(counting, cluster, count, what):
    def reached():
        found = outputs(cluster, counting.counted.name, 0)
        return counting.error or sum(max(n for _, n in records) for records in found.values()) >= count

    wait_for(reached, what)
    assert counting.error is None


def check_counts(found, fed):
    """Every record came out at least once, and with the one count it can have: nothing is lost, nothing counts twice."""
    expected = {
        f"key-{k}": {(n, count) for count, n in enumerate(range(k, fed, KEYS), start=1)} for k in range(KEYS)
    }
    assert {key: set(records) for key, records in found.items()} == expected
    assert {key: records[-1] for key, records in found.items()} == {key: max(all) for key, all in expected.items()}
