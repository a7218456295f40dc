"""The usual mistakes: what `docs/errors.md` says of each is what happens.

Each section of the page is run as it stands: its commands in a shell, its program after the page's preamble. The last
line that is printed must be the one on the page.
"""

import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys

import pytest
from brokers import EmbeddedBroker, read_line

from millstream import Application
from millstream.models import TopicConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREAMBLE = FENCE.search(PAGE)[2]


def sections():
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        title, body = part.split("\n", 1)
        blocks = {kind: text for kind, text in FENCE.findall(body)}
        yield pytest.param(title, blocks, id=title.replace(" ", "-").replace("`", ""))


class Place:
    """A directory with a broker, in which the commands and programs of a section run."""

    def __init__(self, directory):
        self.directory = directory
        self.broker = EmbeddedBroker(directory).start()
        self.environment = {**os.environ, "Quix__Broker__Address": self.broker.address}
        self.app = Application(self.broker.address, loglevel=None)
        self.app.topic("readings")
        self.children = []

    def run(self, command, shell=False):
        return subprocess.run(
            command, shell=shell, cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=100,
        )

    def console(self, text):
        """Runs the commands; what the last one printed."""
        printed = ""
        program = f"{shlex.quote(sys.executable)} -m millstream"
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            if exported := re.fullmatch(r"export (\w+)=(.*)", command):
                self.environment[exported[1]] = exported[2]
                del self.environment["Quix__Broker__Address"]
            else:
                done = self.run(re.sub(r"\bmillstream\b", lambda _: program, command, count=1), shell=True)
                printed = done.stderr
        return printed

    def python(self, program):
        preamble = PREAMBLE
        if "app = Application(" in program:
            preamble = preamble[: preamble.index("app = ")]
        return self.run([sys.executable, "-c", preamble + program]).stderr

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.broker.stop()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


def take_the_port(place, blocks):
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    place.taken = taken
    port = str(taken.getsockname()[1])
    return {kind: text.replace("9092", port) for kind, text in blocks.items()}


def hold_the_state(place, blocks):
    """Another process takes the partition's store and then hangs, so that the group gives the partition away."""
    program = PREAMBLE.replace("earliest\"", "earliest\", consumer_extra_config={'session.timeout.ms': 6000}") + (
        "app.dataframe(app.topic('readings')).update(lambda v, s: print('held', flush=True), stateful=True)\napp.run()"
    )
    place.console("$ echo 1 | millstream produce readings")
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=place.directory, env=place.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    place.children.append(child)
    assert read_line(child, "the first process to hold the state") == "held\n"
    child.send_signal(signal.SIGSTOP)
    return {kind: text.replace("PID", str(child.pid)) for kind, text in blocks.items()}


def write_a_foreign_changelog(place, blocks):
    name = "changelog__alarms--readings--default"
    place.app.topic(name, config=TopicConfig(1, 1, {"cleanup.policy": "compact"}))
    with place.app.get_producer() as producer:
        producer.produce(name, key=b'k|"x"', value=b"1", headers=[("__column_family__", b"default")])
    return blocks


ARRANGE = {
    "The port is taken": take_the_port,
    "The state directory is in use": hold_the_state,
    "The state is somebody else's": write_a_foreign_changelog,
}


@pytest.mark.parametrize(("title", "blocks"), list(sections()))
def test_the_last_line_is_the_one_on_the_page(title, blocks, place):
    blocks = ARRANGE.get(title, lambda place, blocks: blocks)(place, blocks)
    printed = place.console(blocks.get("console", ""))
    if "python" in blocks:
        printed = place.python(blocks["python"])
    expected = blocks["text"].rstrip("\n")
    if "[WARNING]" in expected:
        # A line of the log, which goes on after it. What stands before it is the time.
        lines = [line[line.index("[WARNING]"):] for line in printed.splitlines() if "[WARNING]" in line]
        assert expected in lines, printed
    else:
        assert printed.splitlines()[-1] == expected, printed


def test_there_are_at_least_twelve():
    assert len(list(sections())) >= 12


def test_a_suppressed_error_goes_on(place):
    """The example of the page's introduction."""
    (example,) = [text for kind, text in FENCE.findall(PAGE) if "def skip" in text]
    place.console("$ printf '%s\\n' 1 0 2 | millstream produce readings")
    example = example.replace("Application(", 'Application(auto_offset_reset="earliest", consumer_group="alarms", ')
    program = example + (
        "app.dataframe(app.topic('readings')).apply(lambda value: 1 / value)\nprint(app.run(timeout=2))"
    )
    done = place.run([sys.executable, "-c", PREAMBLE[: PREAMBLE.index("app = ")] + program])
    assert done.stdout == "[{'_value': 1.0}, {'_value': 0.5}]\n", done.stderr
    assert "skipped offset 1: ZeroDivisionError" in done.stderr
