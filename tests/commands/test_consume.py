"""`millstream consume`: where it begins and ends, and how it prints."""

import json
import signal
import subprocess

import pytest
from brokers import MILLSTREAM, PATIENCE_SECONDS, read_line
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient


@pytest.fixture
def filled(millstream, topic):
    """Two partitions of ten records each: partition 0 has 0 to 9, partition 1 has 10 to 19; times are 1000 + number."""
    for partition in range(2):
        lines = "".join(f'{{"n": {n}, "at": {1000 + n}}}\n' for n in range(10 * partition, 10 * partition + 10))
        millstream("produce", topic, "--partition", partition, "--timestamp-field", "at", stdin=lines)
    return topic


def numbers(millstream, topic, *options):
    return sorted(json.loads(line)["n"] for line in millstream.out("consume", topic, *options).splitlines())


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([], range(20)),
        (["--from", "beginning"], range(20)),
        (["--from", "earliest"], range(20)),
        (["--from", "end"], []),
        (["--from", "latest"], []),
        (["--from", "7"], [7, 8, 9, 17, 18, 19]),
        (["--from", "1000"], []),
        (["--from", "-2"], [8, 9, 18, 19]),
        (["--from=-2"], [8, 9, 18, 19]),
        (["--from", "-1000"], range(20)),
        (["--from", "@1008"], [8, 9, *range(10, 20)]),
        (["--from", "@1019"], [19]),
        (["--from", "@5000"], []),
        (["--partition", "1"], range(10, 20)),
        (["-p", "1", "-p", "0", "--from", "-1"], [9, 19]),
        (["-p", "0", "--from", "-3"], [7, 8, 9]),
    ],
)
def test_where_it_begins(millstream, filled, where, expected):
    assert numbers(millstream, filled, *where) == list(expected)


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (15, 15), (20, 20), (99, 20)])
def test_the_limit(millstream, filled, limit, expected):
    assert len(numbers(millstream, filled, "--limit", str(limit))) == expected


def test_records_that_were_deleted(millstream, filled):
    """An offset before the first one there is begins at that."""
    admin = AdminClient({"bootstrap.servers": millstream.address})
    for future in admin.delete_records([TopicPartition(filled, 0, 4)]).values():
        future.result(PATIENCE_SECONDS)
    assert numbers(millstream, filled, "-p", "0") == [4, 5, 6, 7, 8, 9]
    assert numbers(millstream, filled, "-p", "0", "--from", "2") == [4, 5, 6, 7, 8, 9]


class TestFormats:
    @pytest.fixture
    def records(self, millstream, topic):
        """One of each: JSON with key and header, text, bytes that are no text, null."""
        producer = Producer({"bootstrap.servers": millstream.address})
        for n, (key, value) in enumerate([(b"k", b'{"a": 1.50}'), (None, b"two words"), (b"\xff", b"\xfe\x00"), (b"", None)]):
            producer.produce(topic, value, key, partition=0, timestamp=100 + n, headers=[("h", b"x")] if n == 0 else None)
        assert producer.flush(PATIENCE_SECONDS) == 0
        return topic

    def test_value(self, millstream, records):
        out, _ = millstream("consume", records)
        assert out == b'{"a": 1.50}\ntwo words\n\xfe\x00\n\n'
        assert millstream("consume", records, "--format", "value")[0] == out

    def test_key_value(self, millstream, records):
        out, _ = millstream("consume", records, "--format", "key-value")
        assert out == b'k\t{"a": 1.50}\n\ttwo words\n\xff\t\xfe\x00\n\t\n'

    def test_raw(self, millstream, records):
        assert millstream("consume", records, "--format", "raw")[0] == b'{"a": 1.50}two words\xfe\x00'

    def test_json(self, millstream, records):
        lines = millstream.out("consume", records, "--format", "json").splitlines()
        place = {"topic": records, "partition": 0}
        assert [json.loads(line) for line in lines] == [
            {**place, "offset": 0, "timestamp": 100, "key": "k", "value": {"a": 1.5}, "headers": [["h", "x"]]},
            {**place, "offset": 1, "timestamp": 101, "key": None, "value": "two words"},
            {**place, "offset": 2, "timestamp": 102, "key": {"base64": "/w=="}, "value": {"base64": "/gA="}},
            {**place, "offset": 3, "timestamp": 103, "key": "", "value": None},
        ]
        assert '"value":{"a":1.50}' in lines[0], "a number is printed as it was written"

    def test_pretty(self, millstream, records):
        out = millstream.out("consume", records, "--format", "pretty", "--limit", "1")
        assert json.loads(out)["value"] == {"a": 1.5}
        assert [line.strip() for line in out.splitlines()][:2] == ["{", f'"topic": "{records}",']


class TestFollow:
    @pytest.fixture
    def follow(self, millstream):
        processes = []

        def start(*arguments):
            processes.append(millstream.start("consume", *arguments, "--follow"))
            return processes[-1]

        yield start
        for process in processes:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_shows_what_comes_until_ctrl_c(self, millstream, topic, follow, number):
        millstream("produce", topic, "-p", 0, stdin="1\n")
        process = follow(topic)
        assert read_line(process, "the record that was there") == "1\n"
        for n in (2, 3):
            millstream("produce", topic, "-p", n % 2, stdin=f"{n}\n")
            assert read_line(process, f"the record {n}, which came later") == f"{n}\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out, err) == (0, "", ""), "it was told to go on until then"

    def test_a_limit_ends_it(self, millstream, topic, follow):
        process = follow(topic, "--limit", "2")
        millstream("produce", topic, "-p", 0, stdin="1\n2\n3\n")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out, err) == (0, "1\n2\n", "")

    def test_from_the_end(self, millstream, topic, follow):
        millstream("produce", topic, "-p", 0, stdin="1\n2\n")
        process = follow(topic, "--from", "-1")
        assert read_line(process, "the last record") == "2\n"
        millstream("produce", topic, "-p", 1, stdin="3\n")
        assert read_line(process, "the record that came later") == "3\n"


def test_it_leaves_no_trace(millstream, filled):
    """It joins no group."""
    admin = AdminClient({"bootstrap.servers": millstream.address})

    def groups():
        return {group.group_id for group in admin.list_consumer_groups().result(PATIENCE_SECONDS).valid}

    before = groups()
    assert len(numbers(millstream, filled)) == 20
    assert groups() == before


def test_a_reader_that_goes_away_is_no_error(millstream, filled):
    """`millstream consume t | head`: a closed pipe is not worth a traceback or a message."""
    process = subprocess.Popen(
        [*MILLSTREAM, "consume", filled, "--follow"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=millstream.environment, cwd=millstream.directory,
    )
    try:
        read_line(process, "a record")
        process.stdout.close()
        millstream("produce", filled, stdin="1\n")
        process.wait(PATIENCE_SECONDS)
        assert process.stderr.read() == b""
        assert process.returncode in (0, -signal.SIGPIPE)
    finally:
        process.kill()
        process.wait()


def test_a_topic_that_is_not_there(millstream, name):
    out, err = millstream("consume", name, status=1)
    assert out == b"" and name in err and "millstream topics list" in err.splitlines()[-1]


def test_a_partition_that_is_not_there(millstream, topic):
    err = millstream("consume", topic, "-p", 0, "-p", 7, status=1)[1]
    assert err.splitlines() == [
        f'error: topic "{topic}" has no partition 7', "It has 2 partition(s), numbered from 0."
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--from", "yesterday"], "is none of: beginning, end, OFFSET, -N (the last N), @"),
        (["--from", "@"], "invalid value '@'"),
        (["--format", "xml"], "possible values: value, key-value, json, pretty, raw"),
        (["--limit", "-1"], "unexpected argument '-1'"),
        ([], None),
    ],
)
def test_asked_wrongly(unconnected, options, complaint):
    arguments = ["t", *options] if complaint else []
    out, err = unconnected("consume", *arguments, status=2)
    assert out == b"" and (complaint or "the following required arguments were not provided") in err
