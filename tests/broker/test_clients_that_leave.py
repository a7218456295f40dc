"""Clients that are gone when their answer comes."""

import contextlib
import socket
import struct

import confluent_kafka
import confluent_kafka.admin

PATIENCE_SECONDS = 60


def fetch(topic, max_bytes):
    """The frame of a Fetch request, version 4, for the first partition from its start on."""
    name = struct.pack(">h", len(topic)) + topic.encode()
    partition = struct.pack(">iiqi", 1, 0, 0, max_bytes)
    body = struct.pack(">iiiibi", -1, 0, 1, max_bytes, 0, 1) + name + partition
    header = struct.pack(">hhih", 1, 4, 7, -1)
    return struct.pack(">i", len(header) + len(body)) + header + body


def test_a_client_that_does_not_wait_for_its_records_ends_nothing(own_broker, topic):
    """What goes from a file to a socket that is closed raises SIGPIPE: the broker is started as applications start it."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": own_broker.address})
    admin.create_topics([confluent_kafka.admin.NewTopic(topic, 1, 1)])[topic].result(PATIENCE_SECONDS)
    producer = confluent_kafka.Producer({"bootstrap.servers": own_broker.address})
    for _ in range(80):
        producer.produce(topic, bytes(100_000))
    assert producer.flush(PATIENCE_SECONDS) == 0
    host, port = own_broker.address.split(":")
    for _ in range(50):
        with contextlib.closing(socket.create_connection((host, int(port)), PATIENCE_SECONDS)) as client:
            client.sendall(fetch(topic, 8_000_000))
    assert own_broker.is_alive()
    with contextlib.closing(socket.create_connection((host, int(port)), PATIENCE_SECONDS)) as client:
        client.sendall(fetch(topic, 8_000_000))
        answer = client.makefile("rb")
        (length,) = struct.unpack(">i", answer.read(4))
        assert length > 7_000_000
        assert len(answer.read(length)) == length
