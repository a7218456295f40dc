"""`millstream produce`: lines of standard input and of files."""

import json
import signal

import pytest
from brokers import PATIENCE_SECONDS, wait_for


def written(millstream, topic, *options):
    """What stands in the topic, as `consume --format json` shows it, by partition and offset."""
    lines = millstream.out("consume", topic, "--format", "json", *options).splitlines()
    return sorted(map(json.loads, lines), key=lambda record: (record["partition"], record["offset"]))


def test_standard_input(millstream, topic):
    assert millstream("produce", topic, "--partition", 1, stdin='{"id": 1}\n\n  \n[2]\n"three"') == (b"", "")
    records = written(millstream, topic)
    assert [record["value"] for record in records] == [{"id": 1}, [2], "three"], "empty lines are left out"
    assert {(record["partition"], record["key"]) for record in records} == {(1, None)}
    assert [record["offset"] for record in records] == [0, 1, 2]


def test_files_and_standard_input_in_the_order_of_their_names(millstream, topic, tmp_path):
    (tmp_path / "a.jsonl").write_text("1\n2\n")
    (tmp_path / "b.jsonl").write_text("5\n")
    millstream("produce", topic, "a.jsonl", "-", "b.jsonl", "-p", 0, stdin="3\n4\n")
    assert [record["value"] for record in written(millstream, topic)] == [1, 2, 3, 4, 5]


def test_key_and_headers(millstream, topic):
    millstream("produce", topic, "--key", "käy", "--header", "a=1", "--header", "b=x=y", stdin="1\n2\n")
    records = written(millstream, topic)
    assert [record["key"] for record in records] == ["käy", "käy"]
    assert len({record["partition"] for record in records}) == 1, "the key decides"
    assert records[0]["headers"] == [["a", "1"], ["b", "x=y"]]


def test_key_and_timestamp_from_fields(millstream, topic):
    lines = ['{"k": "ann", "at": 1357016400000}', '{"k": 7, "at": 5}', '{"k": {"a": [1]}, "at": 6}', '{"k": null, "at": 7}']
    millstream("produce", topic, "--key-field", "k", "--timestamp-field", "at", "-p", 0, stdin="\n".join(lines))
    records = written(millstream, topic)
    assert [record["key"] for record in records] == ["ann", "7", '{"a":[1]}', None]
    assert [record["timestamp"] for record in records] == [1357016400000, 5, 6, 7]
    assert [record["value"] for record in records] == [json.loads(line) for line in lines]


def test_text(millstream, topic):
    millstream("produce", topic, "--format", "text", "--key-separator", ":", "-p", 0, stdin="ann:5\nbob:7:8\n:x\n")
    assert [(record["key"], record["value"]) for record in written(millstream, topic)] == [("ann", 5), ("bob", "7:8"), ("", "x")]


def test_keys_go_where_the_java_client_puts_them(millstream, topic):
    """murmur2: known places of two partitions, from Kafka's own tools."""
    millstream("produce", topic, "--format", "text", "--key-separator", ":", stdin="a:1\nb:2\nc:3\nd:4\n")
    found = {record["key"]: record["partition"] for record in written(millstream, topic)}
    assert found == {key: murmur2_partition(key.encode(), 2) for key in "abcd"}
    assert set(found.values()) == {0, 1}


def murmur2_partition(key, partitions):
    """Kafka's `toPositive(murmur2(key)) % partitions`, in plain Python."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    for at in range(0, len(key) - len(key) % 4, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = key[len(key) - len(key) % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(
    ("options", "line", "complaint"),
    [
        ([], '{"id": 3', "is no JSON (EOF while parsing an object at line 1 column 8); use --format text"),
        (["--key-field", "id"], '{"x": 3}', 'has no field "id": {"x": 3}'),
        (["--key-field", "id"], "[3]", 'has no field "id": [3]'),
        (["--key-field", "id", "--timestamp-field", "at"], '{"id": 3, "at": "noon"}', 'field "at" is no '),
        (["--format", "text", "--key-separator", "="], "x", 'has no "=" between key and value'),
    ],
)
def test_a_wrong_line_is_named_and_those_before_it_are_sent(millstream, topic, tmp_path, options, line, complaint):
    good = '{"id": 1, "at": 1, "=": 0}'
    (tmp_path / "lines").write_text(f"{good}\n\n{line}\n{good}\n")
    err = millstream("produce", topic, "lines", *options, status=1)[1]
    first, hint = err.splitlines()
    assert first.startswith("error: lines, line 3: ") and complaint in first
    assert hint == "The lines before it were sent."
    assert len(written(millstream, topic)) == 1
    err = millstream("produce", topic, *options, stdin=f"{line}\n", status=1)[1]
    assert err.startswith("error: -, line 1: ")


def test_a_file_that_is_not_there(millstream, topic, tmp_path):
    (tmp_path / "there").write_text("1\n")
    err = millstream("produce", topic, "there", "not-there", status=1)[1]
    assert err.splitlines() == ["error: not-there: No such file or directory (os error 2)", "Name files that can be read."]
    assert [record["value"] for record in written(millstream, topic)] == [1]


def test_a_topic_that_is_not_there(millstream, name):
    err = millstream("produce", name, stdin="1\n", status=1)[1]
    assert name in err and "`millstream topics create NAME` makes a topic" in err.splitlines()[-1]


def test_a_partition_that_is_not_there(millstream, topic):
    err = millstream("produce", topic, "--partition", 9, stdin="1\n", status=1)[1]
    assert err.startswith("error: ")
    assert written(millstream, topic) == []


def test_a_record_that_is_too_large_for_the_broker(millstream, topic):
    line = json.dumps("x" * 1_200_000)
    err = millstream("produce", topic, stdin=f"1\n{line}\n", status=1)[1]
    assert err.startswith("error: ") and "TOO_LARGE" in err.upper().replace(" ", "_")


def test_many_records(millstream, topic):
    """More than the client's queue takes at once."""
    count = 150_000
    millstream("produce", topic, "--format", "text", "--key", "k", stdin="".join(f"{n}\n" for n in range(count)))
    printed = millstream.out("consume", topic)
    assert printed.split() == [str(n) for n in range(count)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_sends_what_was_read(millstream, topic, number):
    process = millstream.start("produce", topic, "--partition", "0")
    try:
        process.stdin.write("1\n2\n")
        process.stdin.flush()
        # That it has taken over the signals shows in the kernel's list; SIGINT is Python's before, SIGTERM nobody's.
        wait_for(lambda: handles(process.pid, signal.SIGTERM), "the command to handle signals")
        process.send_signal(number)
        process.stdin.write("3\n")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "error" not in err and "Traceback" not in err
    values = [record["value"] for record in written(millstream, topic)]
    assert values == [1, 2, 3][: len(values)]


def handles(pid, number):
    with open(f"/proc/{pid}/status") as status:
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
    return int(caught, 16) >> (number - 1) & 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--key", "a", "--key-field", "b"], "cannot be used with"),
        (["--key", "a", "--key-separator", ":"], "cannot be used with"),
        (["--header", "x"], "NAME=VALUE is wanted"),
        (["--partition", "x"], "invalid digit"),
        (["--format", "xml"], "possible values: json, text"),
    ],
)
def test_asked_wrongly(unconnected, options, complaint):
    out, err = unconnected("produce", "t", *options, status=2)
    assert out == b"" and complaint in err


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (["--format", "text", "--key-field", "a"], "read JSON lines", "Use --key-separator for keys of text lines"),
        (["--format", "text", "--timestamp-field", "a"], "read JSON lines", "Use --key-separator for keys of text lines"),
        (["--key-separator", ":"], "is for text lines", "Add --format text, or use --key-field for keys of JSON lines."),
    ],
)
def test_options_that_do_not_fit_the_format(unconnected, options, error, hint):
    first, second = unconnected("produce", "t", *options, status=1)[1].splitlines()
    assert first.startswith("error: --") and first.endswith(error) and second.startswith(hint)
