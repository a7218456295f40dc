"""The embedded broker as a process, and the foreign clients that talk to it.

The command comes from MILLSTREAM_BROKER_CMD (default: the repository's `.venv/bin/millstream broker`); it must take
`--data-dir` and `--listen` and print the address it listens on.
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT = shlex.join([str(ROOT / ".venv" / "bin" / "millstream"), "broker"])
COMMAND = shlex.split(os.environ.get("MILLSTREAM_BROKER_CMD") or DEFAULT)
KAFKA_TOOL = [sys.executable, str(ROOT / "tools" / "kafka")]
CANNOT_RUN_HERE = 3


class Broker:
    """One broker process on a data directory that outlives it."""

    def __init__(self, data_dir, log):
        self.data_dir = data_dir
        self.log = log
        self.address = None
        self.process = None

    def start(self, *options):
        # The same port again after a restart: clients keep their bootstrap address.
        listen = self.address or "127.0.0.1:0"
        self.process = subprocess.Popen(
            [*COMMAND, "--data-dir", str(self.data_dir), "--listen", listen, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), text=True,
        )
        line = self.process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found, f"the broker did not say where it listens: {line!r}\n{self.log.read_text()}"
        self.address = found[0]
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker")
    broker = Broker(folder / "data", folder / "broker.log").start()
    yield broker
    assert broker.process.poll() is None, f"the broker has ended:\n{broker.log.read_text()[-3000:]}"
    broker.stop()


@pytest.fixture
def address(shared_broker):
    return shared_broker.address


@pytest.fixture
def own_broker(tmp_path):
    """A broker for one test, which may kill and restart it."""
    broker = Broker(tmp_path / "data", tmp_path / "broker.log").start()
    yield broker
    broker.stop()


@pytest.fixture
def topic():
    """A name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def group():
    return f"group-{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def kcat():
    program = shutil.which("kcat") or shutil.which("kafkacat")
    if not program:
        pytest.skip("NO kcat HERE: apt-get install kcat")

    def run(*arguments, text=""):
        done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def kafka_program(kafka_tool):
    """Runs a Java source file with Apache Kafka's client: kafka_program(path, argument, ...)."""

    def run(path, *arguments):
        command = [*KAFKA_TOOL, "java", str(path), *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{path} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def kafka_tool():
    """Runs one of Apache Kafka's own tools: kafka_tool("topics", "--list", ...)."""
    checked = subprocess.run([*KAFKA_TOOL, "classpath"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if checked.returncode == CANNOT_RUN_HERE:
        pytest.skip(f"NO KAFKA TOOLS HERE: {checked.stderr.strip()}")
    assert checked.returncode == 0, checked.stderr

    def run(name, *arguments, text="", check=True):
        done = subprocess.run(
            [*KAFKA_TOOL, "run", name, *arguments], input=text, capture_output=True, text=True, timeout=120
        )
        if check:
            assert done.returncode == 0, f"{name} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
