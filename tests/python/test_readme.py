"""The quick start of the README, pasted as written."""

import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest
from brokers import end_embedded_brokers_of, wait_for

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
QUICK_START = README[README.index("## Quick start") :]
PROGRAM = re.search(r"```python\n(.*?)```", QUICK_START, re.DOTALL)[1]
COMMANDS = re.search(r"```sh\n(.*?)```", QUICK_START, re.DOTALL)[1].splitlines()
MILLSTREAM = f"{shlex.quote(sys.executable)} -m millstream"


@pytest.fixture
def place(tmp_path):
    """A directory in which to paste, with an end for the embedded broker that comes up in it."""
    yield tmp_path
    end_embedded_brokers_of(tmp_path)


def shell(place, command, timeout=60):
    command = command.replace(".venv/bin/millstream", MILLSTREAM)
    return subprocess.run(
        command, shell=True, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def first_line(place, command, timeout=60):
    """What a command that does not end by itself prints first; Ctrl-C ends it."""
    command = command.replace(".venv/bin/millstream", f"exec {MILLSTREAM}")
    with subprocess.Popen(
        command, shell=True, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as following:
        # Without a line there is nothing to wait for: the end of the process ends the reading.
        end = threading.Timer(timeout, following.kill)
        end.start()
        line = following.stdout.readline()
        end.cancel()
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout) == 0
    return line


def test_the_quick_start(place):
    (place / "delays.py").write_text(PROGRAM)
    log = place / "delays.log"
    with open(log, "wb") as out:
        program = subprocess.Popen(
            [sys.executable, "delays.py"], cwd=place, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: b"assigned" in log.read_bytes(), "the program to be assigned its partitions")
        *others, last = COMMANDS
        listed = [shell(place, command) for command in others]
        for done in listed:
            assert done.returncode == 0, done.stderr
        assert "departures" in listed[-1].stdout and "hourly-delays" in listed[-1].stdout
        # The last command follows for as long as it is let.
        shown = first_line(place, last)
        result = json.loads(shown[shown.index("{") :])
        assert (result["flights"], result["worst"], result["mean_delay"]) == (2, 26, 15.0)
        promised = re.search(r"`(\"flights\":.*?)`", QUICK_START)[1]
        assert promised in shown
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
