"""What all commands share: help, settings, exit codes and hints; and `millstream broker`."""

import json
import re
import signal
import socket
import subprocess

import pytest
from brokers import (
    MILLSTREAM,
    PATIENCE_SECONDS,
    EmbeddedBroker,
    embedded_brokers_of,
    end_embedded_brokers_of,
    read_line,
)

COMMANDS = {
    (): ["broker", "topics", "produce", "consume", "Quix__Broker__Address", ".millstream"],
    ("broker",): ["--data-dir", "--listen", "--set", "--idle-exit", "SIGTERM", "log.flush.interval.messages"],
    ("topics",): ["list", "create", "describe", "delete"],
    ("topics", "list"): ["--internal", "--json"],
    ("topics", "create"): ["--partitions", "--replication-factor", "--config", "--if-not-exists", "retention.ms=-1"],
    ("topics", "describe"): ["--all", "--json"],
    ("topics", "delete"): ["--if-exists"],
    ("produce",): ["--key-field", "--key-separator", "--timestamp-field", "--header", "--partition", "standard input"],
    ("consume",): ["--from", "--follow", "--limit", "--partition", "--format", "key-value"],
}
TALKS_TO_A_BROKER = {command for command in COMMANDS if command[-1:] not in ((), ("broker",), ("topics",))}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_teaches(unconnected, command):
    """Every option, and an example that can be copied; `-h` is the short form."""
    text = unconnected.out(*command, "--help")
    assert f"Usage: {' '.join(['millstream', *command])}" in text
    words = COMMANDS[command]
    if command in TALKS_TO_A_BROKER:
        words = [*words, "--broker", "--data-dir", "--setting", "--settings-file", "--timeout", "Quix__Broker__Address"]
    missing = [word for word in words if word not in text]
    assert not missing
    assert f"Usage: {' '.join(['millstream', *command])}" in unconnected.out(*command, "-h")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in {("topics",), ("topics", "describe"), ("topics", "delete")}], ids=" ".join)
def test_help_has_examples_that_are_right(unconnected, command):
    """Each example parses: with `--help` behind it, it would fail for an option that is not there."""
    text = unconnected.out(*command, "--help")
    examples = re.findall(r"^ +(?:.*\| )?millstream (.+?)(?: \| .*)?$", text, flags=re.MULTILINE)
    assert examples
    for example in examples:
        words = example.split()
        assert "Usage: millstream" in unconnected.out(*words, "--help"), example


def test_version(unconnected):
    import millstream

    assert unconnected.out("--version").split() == ["millstream", millstream.__version__]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Usage: millstream"),
        (["launch"], "unrecognized subcommand 'launch'"),
        (["topics"], "Usage: millstream topics"),
        (["topics", "create"], "required arguments were not provided"),
        (["topics", "list", "--no-such-option"], "unexpected argument '--no-such-option'"),
        (["topics", "list", "--timeout", "soon"], "invalid value 'soon'"),
        (["topics", "list", "--setting", "x"], "KEY=VALUE is wanted"),
        (["topics", "list", "--broker", "a:1", "--data-dir", "x"], "cannot be used with"),
        (["topics", "create", "t", "--config", "x"], "KEY=VALUE is wanted"),
        (["broker", "--listen", "here"], "invalid value 'here'"),
        (["broker", "--set", "x"], "KEY=VALUE is wanted"),
    ],
)
def test_asked_wrongly(unconnected, arguments, complaint):
    out, err = unconnected(*arguments, status=2)
    assert out == b"" and complaint in err


COMMANDS_ON_A_TOPIC = [["topics", "list"], ["topics", "describe", "t"], ["topics", "create", "t"], ["topics", "delete", "t"],
                       ["produce", "t"], ["consume", "t"]]


@pytest.mark.parametrize("arguments", COMMANDS_ON_A_TOPIC, ids=" ".join)
def test_no_broker_there(unconnected, arguments):
    out, err = unconnected(*arguments, "--timeout", "1", status=1)
    assert out == b""
    error, hint = err.splitlines()[-2:]
    assert error.startswith("error: ") and "no answer within 1 s" in error
    assert hint == "Is a broker running at 127.0.0.1:1? `millstream broker` starts one."


def test_what_the_client_library_says_is_left_to_verbose(unconnected):
    """An error is two lines, what failed and what to do; the client's own reports are for --verbose."""
    quiet = unconnected("topics", "list", "--timeout", "1", status=1)[1]
    loud = unconnected("topics", "list", "--timeout", "1", "-vv", status=1)[1]
    assert len(quiet.splitlines()) == 2, quiet
    assert "Connection refused" in loud


class TestSettings:
    def test_a_file(self, millstream, tmp_path):
        (tmp_path / "client.properties").write_text("# a comment\n\n  client.id = from-a-file  \nsocket.keepalive.enable=true\n")
        millstream("topics", "list", "--settings-file", "client.properties")

    @pytest.mark.parametrize("how", ["file", "option"])
    def test_they_reach_the_client(self, millstream, tmp_path, how):
        """A setting that keeps the client from talking to a broker without TLS."""
        (tmp_path / "client.properties").write_text("security.protocol=ssl\n")
        given = {"file": ["--settings-file", "client.properties"], "option": ["-X", "security.protocol=ssl"]}[how]
        err = millstream("topics", "list", "--timeout", "2", *given, status=1)[1]
        assert "error: " in err
        millstream("topics", "list", *given, "--setting", "security.protocol=plaintext")

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("client.id=x\nno equals sign\n", "client.properties: line 2: KEY=VALUE is wanted"),
            (None, "client.properties: No such file or directory"),
        ],
    )
    def test_a_file_that_is_wrong(self, unconnected, tmp_path, text, complaint):
        if text is not None:
            (tmp_path / "client.properties").write_text(text)
        err = unconnected("topics", "list", "--settings-file", "client.properties", status=1)[1]
        assert err.splitlines()[0].startswith(f"error: {complaint}")
        assert err.splitlines()[-1] == "A settings file has one KEY=VALUE per line."

    @pytest.mark.parametrize("command", ["produce", "consume"])
    def test_a_setting_that_does_not_exist(self, millstream, topic, command):
        err = millstream(command, topic, "-X", "no.such.setting=1", stdin="1\n", status=1)[1]
        assert err.splitlines() == [
            'error: Kafka client setting no.such.setting: there is no such setting',
            "Client settings have the names that librdkafka gives them.",
        ]

    def test_a_password_is_not_printed(self, unconnected, tmp_path):
        (tmp_path / "secret").write_text("security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password=hunter2\n")
        err = unconnected("topics", "list", "--timeout", "1", "--settings-file", "secret", "-vv", status=1)[1]
        assert "error: " in err and "hunter2" not in err

    def test_an_address_wins_over_the_environment(self, millstream):
        address = millstream.address
        millstream.environment["Quix__Broker__Address"] = "127.0.0.1:1"
        millstream("topics", "list", "--broker", address)


class TestBroker:
    """`millstream broker`, which every other test only uses."""

    @pytest.fixture
    def start(self, tmp_path):
        processes = []

        def start(*options):
            process = subprocess.Popen(
                [*MILLSTREAM, "broker", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            )
            processes.append(process)
            return process

        yield start
        for process in processes:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_port_0_and_the_end(self, start, unconnected, tmp_path, number):
        process = start("--data-dir", "data", "--listen", "127.0.0.1:0")
        said = read_line(process, "the broker's address")
        found = re.fullmatch(r"millstream broker listening on (127\.0\.0\.1:(\d+)) \(data in data\)\n", said)
        assert found and int(found[2]) > 0, said
        unconnected("topics", "create", "kept", "--broker", found[1])
        unconnected("produce", "kept", "--broker", found[1], stdin="1\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out, err) == (0, "", "")

        process = start("--data-dir", "data", "--listen", found[1])
        assert found[1] in read_line(process, "the broker's address after the restart")
        assert unconnected.out("consume", "kept", "--broker", found[1]) == "1\n"

    def test_it_ends_although_clients_are_connected(self, start, unconnected):
        process = start("--data-dir", "data", "--listen", "127.0.0.1:0")
        address = re.search(r"127\.0\.0\.1:\d+", read_line(process, "the broker's address"))[0]
        unconnected("topics", "create", "t", "--broker", address)
        unconnected("produce", "t", "--broker", address, stdin="1\n")
        follower = unconnected.start("consume", "t", "--follow", "--broker", address)
        try:
            assert read_line(follower, "a record") == "1\n"
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            follower.kill()
            follower.wait()

    def test_settings(self, start, unconnected):
        """Kafka's names, and Kafka's way to refuse."""
        process = start("--data-dir", "data", "--listen", "127.0.0.1:0", "--set", "num.partitions=4", "--set", "log.retention.ms=777")
        address = re.search(r"127\.0\.0\.1:\d+", read_line(process, "the broker's address"))[0]
        unconnected("topics", "create", "t", "--broker", address)
        described = json.loads(unconnected.out("topics", "describe", "t", "--all", "--json", "--broker", address))
        assert described["config"]["retention.ms"] == "777"

    def test_a_setting_that_makes_no_sense(self, start):
        process = start("--data-dir", "data", "--listen", "127.0.0.1:0", "--set", "num.partitions=many")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("error: ") and "num.partitions" in err

    def test_the_port_is_taken(self, start):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            process = start("--data-dir", "data", "--listen", address)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("error: ") and address in err

    def test_the_directory_is_in_use(self, start, tmp_path):
        with EmbeddedBroker(tmp_path) as broker:
            process = start("--data-dir", str(broker.data_dir), "--listen", "127.0.0.1:0")
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert broker.is_alive()
        assert (process.returncode, out) == (1, "")
        assert err.startswith("error: ") and str(broker.data_dir) in err

    def test_it_ends_by_itself_when_nobody_is_there(self, start):
        process = start("--data-dir", "data", "--listen", "127.0.0.1:0", "--idle-exit", "1")
        read_line(process, "the broker's address")
        assert process.wait(PATIENCE_SECONDS) == 0

    def test_a_commands_broker_is_shared_and_ends(self, unconnected, tmp_path):
        """Without an address: the first command starts it, the second finds it."""
        del unconnected.environment["Quix__Broker__Address"]
        try:
            unconnected("topics", "create", "t")
            unconnected("produce", "t", stdin="1\n")
            assert unconnected.out("consume", "t") == "1\n"
            assert (tmp_path / ".millstream").is_dir()
            assert len(list(embedded_brokers_of(tmp_path))) == 1
        finally:
            end_embedded_brokers_of(tmp_path)
