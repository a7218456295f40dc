"""The embedded broker as a process, and the foreign clients that talk to it."""

import shutil
import subprocess
import uuid

import brokers
import pytest
from brokers import EmbeddedBroker
from secured import USERS, SecuredBroker


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory):
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker
        assert broker.is_alive(), f"the broker has ended:\n{broker.last_words()}"


@pytest.fixture
def address(shared_broker):
    return shared_broker.address


@pytest.fixture
def own_broker(tmp_path):
    """A broker for one test, which may kill and restart it."""
    with EmbeddedBroker(tmp_path) as broker:
        yield broker


@pytest.fixture
def topic():
    """A name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def group():
    return f"group-{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def secured(tmp_path_factory):
    """A broker with a listener of each protocol, users and access control lists; `root` may do everything."""
    if not shutil.which("openssl"):
        pytest.skip("NO openssl HERE: no certificates can be made")
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"), "--acl")
    broker.certificates.sign("ann", "/O=Example/CN=ann")
    broker.start()
    yield broker
    assert broker.is_alive(), f"the broker has ended:\n{broker.last_words()}"
    # All of it: a secret at the start would not be among the last words.
    words = broker.log.read_text(errors="replace")
    assert not any(password in words for password in USERS.values()), broker.last_words()
    broker.stop()


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
        done = brokers.kafka_tool("java", str(path), *arguments, seconds=120)
        assert done.returncode == 0, f"{path} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def kafka_tool():
    """Runs one of Apache Kafka's own tools: kafka_tool("topics", "--list", ...)."""
    checked = brokers.kafka_tool("classpath", seconds=brokers.KAFKA_START_SECONDS)
    assert checked.returncode == 0, checked.stderr

    def run(name, *arguments, text="", check=True):
        done = brokers.kafka_tool("run", name, *arguments, text=text, seconds=120)
        if check:
            assert done.returncode == 0, f"{name} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
