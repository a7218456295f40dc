"""A group of three processes of which one is killed: the other two take over without losing a record."""

import pathlib
import subprocess
import sys
import threading

import pytest
from brokers import EmbeddedBroker, wait_for

pytest.importorskip("confluent_kafka")
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

MEMBER = pathlib.Path(__file__).with_name("group_member.py")
PATIENCE = 60


class Process:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(MEMBER), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        self.owned = set()
        self.seen = set()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "owns":
                self.owned = {int(number) for number in rest[0].split(",")} if rest else set()
            elif word == "saw":
                self.seen.add((int(rest[0]), int(rest[1])))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


@pytest.fixture
def quick_address(tmp_path):
    """A broker that soon gives up members of the protocol of KIP-848, where it says after how long."""
    times = {"session.timeout": 6000, "heartbeat.interval": 500}
    options = []
    for name, value in times.items():
        for setting in (f"min.{name}", name):
            options += ["--set", f"group.consumer.{setting}.ms={value}"]
    broker = EmbeddedBroker(tmp_path).start(*options)
    yield broker.address
    broker.stop()


def test_two_take_over_from_a_killed_third(address, topic, group):
    two_take_over(address, topic, group)


def test_two_take_over_from_a_killed_third_in_the_new_protocol(quick_address, topic, group):
    two_take_over(quick_address, topic, group, "consumer")


def two_take_over(address, topic, group, *protocol):
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 6, 1)])[topic].result(PATIENCE)
    producer = Producer({"bootstrap.servers": address})

    def produce(count):
        for number in range(count):
            producer.produce(topic, str(number), partition=number % 6)
        assert producer.flush(PATIENCE) == 0

    members = [Process(address, group, topic, *protocol) for _ in range(3)]
    try:
        wait_for(lambda: all(len(member.owned) == 2 for member in members), "two partitions each")
        produce(300)
        wait_for(lambda: len(set.union(*(m.seen for m in members))) == 300, "the first 300")
        victim, *others = members
        victim.kill()
        produce(300)
        wait_for(lambda: all(len(member.owned) == 3 for member in others), "three partitions each")
        wait_for(lambda: len(set.union(*(m.seen for m in members))) == 600, "all 600")
    finally:
        for member in members:
            member.kill()
    expected = {(partition, offset) for partition in range(6) for offset in range(100)}
    assert set.union(*(member.seen for member in members)) == expected
