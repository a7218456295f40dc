"""Examples in doc strings that need a broker, or belong to the native module. `pytest --doctest-modules` runs the others."""

import ast
import doctest
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import millstream
from millstream import Application, State
from millstream.models import TopicConfig

PACKAGE = pathlib.Path(millstream.__file__).parent
FENCE = re.compile(r"^( *)```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PREAMBLE = """
from millstream import Application
app = Application(consumer_group="docs", auto_offset_reset="earliest", loglevel=None)
topic = app.topic("docs")
"""


def examples():
    """Fenced programs by the name of what they explain."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for _, program in FENCE.findall(ast.get_docstring(node) or ""):
                    yield getattr(node, "name", path.parent.name), program


EXAMPLES = dict(examples())


@pytest.fixture
def run(tmp_path, embedded_broker):
    """Starts a program next to nothing, with the broker that it finds through the environment."""
    environment = {**os.environ, "Quix__Broker__Address": embedded_broker, "Quix__Consumer_Group": "docs"}
    started = []

    def run(program):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", program], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_which_examples_there_are():
    assert sorted(EXAMPLES) == ["Application", "Consumer", "Producer", "millstream"]


@pytest.mark.parametrize("name", ["millstream", "Application"])
def test_a_pipeline(name, run, embedded_broker):
    app = Application(embedded_broker, consumer_group="reader", auto_offset_reset="earliest", loglevel=None)
    for topic in ("readings", "alarms"):
        app.topic(topic, config=TopicConfig(1, 1))
    celsius = 100 + len(name)
    process = run(EXAMPLES[name])
    with app.get_producer() as producer:
        for value in (celsius, 20):
            producer.produce("readings", b'{"celsius":%d}' % value)
    found = set()
    deadline = time.monotonic() + 60
    with app.get_consumer(auto_commit_enable=False) as consumer:
        consumer.subscribe(["alarms"])
        while f'{{"celsius":{celsius}}}' not in found:
            assert time.monotonic() < deadline, f"it wrote {found}"
            assert process.poll() is None, process.stderr.read()
            message = consumer.poll(timeout=1)
            if message is not None:
                found.add(message.value().decode())
    assert '{"celsius":20}' not in found
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_clients(run):
    for name, printed in (("Producer", ""), ("Consumer", "{'celsius': 21.5}\n")):
        process = run(PREAMBLE + EXAMPLES[name])
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, printed), errors


STATE_METHODS = ("get", "set", "get_bytes", "set_bytes", "exists", "delete")


@pytest.mark.parametrize("name", (None, *STATE_METHODS))
def test_state(name):
    """ST-01 to ST-05: what `help()` shows, with examples that run."""
    documented = State if name is None else getattr(State, name)
    assert documented.__doc__ and len(documented.__doc__) > 80
    found = doctest.DocTestParser().get_doctest(documented.__doc__, {}, f"State.{name}", None, 0)
    assert found.examples, "it has an example"
    result = doctest.DocTestRunner().run(found)
    assert result.failed == 0


def test_the_stub_says_the_same_of_state():
    """Editors show the stub, `help()` the module."""
    stub = ast.parse((PACKAGE / "_millstream.pyi").read_text(encoding="utf-8"))
    [of_state] = [node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "State"]
    told = {node.name: ast.get_docstring(node) for node in of_state.body if isinstance(node, ast.FunctionDef)}
    assert told == {name: getattr(State, name).__doc__.strip() for name in STATE_METHODS}
    assert ast.get_docstring(of_state) == State.__doc__.strip()
