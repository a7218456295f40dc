"""Debian's kcat (an old librdkafka) against the embedded broker."""

import json

import pytest


def make(address, topic, partitions=1):
    admin = pytest.importorskip("confluent_kafka.admin")
    client = admin.AdminClient({"bootstrap.servers": address})
    client.create_topics([admin.NewTopic(topic, partitions, 1)])[topic].result(60)


def test_it_lists_topics(kcat, address, topic):
    make(address, topic, partitions=3)
    listed = json.loads(kcat("-b", address, "-L", "-J", "-t", topic))
    assert [len(row["partitions"]) for row in listed["topics"] if row["topic"] == topic] == [3]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_it_produces_and_consumes(kcat, address, topic, codec):
    make(address, topic)
    lines = "".join(f"k{number}:value {number}\n" for number in range(500))
    kcat("-b", address, "-P", "-t", topic, "-K:", "-z", codec, text=lines)
    out = kcat("-b", address, "-C", "-t", topic, "-e", "-q", "-f", "%k:%s\n", "-X", "check.crcs=true")
    assert out == lines


def test_offsets_and_timestamps(kcat, address, topic):
    make(address, topic)
    kcat("-b", address, "-P", "-t", topic, text="a\nb\nc\n")
    assert kcat("-b", address, "-C", "-t", topic, "-o", "-1", "-e", "-q", "-f", "%o %s\n") == "2 c\n"
    stamp = int(kcat("-b", address, "-C", "-t", topic, "-o", "1", "-c", "1", "-q", "-f", "%T"))
    found = kcat("-b", address, "-Q", "-t", f"{topic}:0:{stamp + 1_000_000}")
    assert found.split()[-1] in ("3", "-1"), found
    assert kcat("-b", address, "-Q", "-t", f"{topic}:0:1").split()[-1] == "0"


def test_a_group(kcat, address, topic, group):
    make(address, topic, partitions=2)
    kcat("-b", address, "-P", "-t", topic, text="x\n" * 10)
    options = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "-q", "-e"]
    assert kcat("-b", address, "-G", group, *options, topic) == "x\n" * 10
    assert kcat("-b", address, "-G", group, *options, topic) == "", "the group has committed"
