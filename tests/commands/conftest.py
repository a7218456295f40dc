"""The command line as a user runs it: a process of its own, in a directory of its own, on a broker."""

import os
import subprocess
import uuid

import pytest
from brokers import MILLSTREAM, PATIENCE_SECONDS, EmbeddedBroker, shared_kafka

REAL = pytest.param("kafka", marks=pytest.mark.kafka)


class Millstream:
    """Runs `millstream COMMAND ...` against one broker."""

    def __init__(self, address, directory):
        self.address = address
        self.directory = directory
        # What a developer's shell says must not decide which broker a test talks to.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("Quix__") and name != "MILLSTREAM_DATA_DIR"
        }
        self.environment["Quix__Broker__Address"] = address

    def __call__(self, *arguments, stdin=b"", status=0):
        """What the command has printed, (stdout, stderr), once it has ended with `status`."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*MILLSTREAM, *map(str, arguments)], input=given, capture_output=True, cwd=self.directory,
            env=self.environment, timeout=PATIENCE_SECONDS,
        )
        out, err = done.stdout, done.stderr.decode()
        assert done.returncode == status, f"{' '.join(map(str, arguments))}\n{out.decode(errors='replace')}\n{err}"
        return out, err

    def out(self, *arguments, stdin=b""):
        """The text on standard output of a command that succeeds and has nothing to complain of."""
        out, err = self(*arguments, stdin=stdin)
        assert err == "", err
        return out.decode()

    def start(self, *arguments):
        return subprocess.Popen(
            [*MILLSTREAM, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=self.directory, env=self.environment,
        )


@pytest.fixture(scope="session")
def embedded_address(tmp_path_factory):
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.address


@pytest.fixture(params=["embedded", REAL])
def millstream(request, tmp_path):
    """The command line on the embedded broker, and on a real Kafka."""
    kafka = request.param == "kafka"
    return Millstream(shared_kafka() if kafka else request.getfixturevalue("embedded_address"), tmp_path)


@pytest.fixture
def unconnected(tmp_path):
    """The command line for what is decided before any broker is asked; nobody listens there."""
    return Millstream("127.0.0.1:1", tmp_path)


@pytest.fixture
def name():
    """The name of a topic that no other test uses."""
    return f"commands-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def topic(millstream, name):
    """A topic of two partitions that keeps records of any age."""
    millstream("topics", "create", name, "--partitions", 2, "--config", "retention.ms=-1")
    return name
