"""`millstream topics`: list, create, describe, delete."""

import json

import pytest
from brokers import end_embedded_brokers_of


def described(millstream, name, *options):
    return json.loads(millstream.out("topics", "describe", name, "--json", *options))


def listed(millstream, *options):
    # Where there is none, the command says so on standard error.
    out, _ = millstream("topics", "list", "--json", *options)
    return {row["topic"]: row for row in map(json.loads, out.splitlines())}


def test_from_the_creation_to_the_end(millstream, name):
    out, err = millstream("topics", "create", name, "-p", 3, "-c", "retention.ms=1234", "-c", "cleanup.policy=compact")
    assert (out, err) == (b"", f"Created {name}.\n")
    found = described(millstream, name)
    assert found["topic"] == name
    assert [p["partition"] for p in found["partitions"]] == [0, 1, 2]
    for partition in found["partitions"]:
        assert (partition["first_offset"], partition["end_offset"]) == (0, 0)
        assert partition["replicas"] == partition["in_sync"] == [partition["leader"]]
    assert found["config"]["retention.ms"] == "1234" and found["config"]["cleanup.policy"] == "compact"
    assert listed(millstream)[name] == {"topic": name, "partitions": 3, "records": 0}

    assert millstream("topics", "delete", name) == (b"", f"Deleted {name}.\n")
    assert name not in listed(millstream)


def test_several_at_once(millstream, name):
    names = [f"{name}-{n}" for n in range(3)]
    assert millstream("topics", "create", *names)[1] == "".join(f"Created {n}.\n" for n in names)
    assert set(names) <= set(listed(millstream))
    printed = millstream.out("topics", "describe", *names, "--json").splitlines()
    assert [json.loads(line)["topic"] for line in printed] == names
    assert millstream("topics", "delete", *names)[1] == "".join(f"Deleted {n}.\n" for n in names)
    assert not set(names) & set(listed(millstream))


def test_the_same_as_text(millstream, topic):
    millstream("produce", topic, "--partition", 1, stdin="1\n2\n3\n")
    assert any(line.split() == [topic, "2", "3"] for line in millstream.out("topics", "list").splitlines())
    assert millstream.out("topics", "list").splitlines()[0].split() == ["TOPIC", "PARTITIONS", "RECORDS"]
    head, columns, *rows = millstream.out("topics", "describe", topic).splitlines()
    assert head == topic
    assert columns.split() == ["PARTITION", "FIRST", "OFFSET", "END", "OFFSET", "LEADER", "REPLICAS"]
    assert [row.split()[:3] for row in rows[:2]] == [["0", "0", "0"], ["1", "0", "3"]]
    assert "  retention.ms=-1" in rows[2:]


def test_only_what_was_set_or_everything(millstream, topic):
    few, all = described(millstream, topic)["config"], described(millstream, topic, "--all")["config"]
    assert few["retention.ms"] == all["retention.ms"] == "-1"
    assert "max.message.bytes" in all and "max.message.bytes" not in few
    assert few.items() < all.items()


def test_kafkas_own_topics(millstream):
    """They are there once a group has committed, on a real Kafka; the embedded broker keeps offsets elsewhere."""
    ordinary, all = listed(millstream), listed(millstream, "--internal")
    assert not any(name.startswith("__") for name in ordinary)
    assert ordinary.keys() <= all.keys()


def test_create_if_not_exists(millstream, topic):
    err = millstream("topics", "create", topic, status=1)[1]
    assert err == (
        f'error: topic "{topic}" exists already\n'
        "Use --if-not-exists to leave it as it is, or `millstream topics describe` to look at it.\n"
    )
    out, err = millstream("topics", "create", topic, f"{topic}-new", "--partitions", 5, "--if-not-exists")
    assert err == f"{topic} exists already.\nCreated {topic}-new.\n"
    assert len(described(millstream, topic)["partitions"]) == 2, "it was left as it is"


def test_delete_if_exists(millstream, topic, name):
    err = millstream("topics", "delete", f"{name}-gone", status=1)[1]
    assert err.startswith("error: ") and f"{name}-gone" in err and "millstream topics list" in err.splitlines()[-1]
    err = millstream("topics", "delete", f"{name}-gone", topic, "--if-exists")[1]
    assert err == f"{name}-gone does not exist.\nDeleted {topic}.\n"


def test_describe_what_is_not_there(millstream, name):
    out, err = millstream("topics", "describe", name, status=1)
    assert out == b"" and name in err
    assert "`millstream topics create NAME` makes a topic" in err.splitlines()[-1]


@pytest.mark.parametrize("options", [["--partitions", "0"], ["--config", "no.such.setting=1"], ["-r", "7"]])
def test_what_the_broker_refuses(millstream, name, options):
    out, err = millstream("topics", "create", name, *options, status=1)
    assert out == b"" and err.startswith("error: ") and name in err
    assert name not in listed(millstream)


def test_no_topics(tmp_path, unconnected):
    """A broker without topics; and a data directory instead of an address starts and finds the embedded broker."""
    del unconnected.environment["Quix__Broker__Address"]
    data = tmp_path / "data"
    try:
        out, err = unconnected("topics", "list", "--data-dir", data)
        assert out == b"" and "No topics at 127.0.0.1:" in err and "`millstream topics create NAME` makes one" in err
        unconnected("topics", "create", "one", "--data-dir", data)
        assert listed(unconnected, "--data-dir", data) == {"one": {"topic": "one", "partitions": 1, "records": 0}}
    finally:
        end_embedded_brokers_of(tmp_path)
