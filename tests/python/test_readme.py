"""The quick start of the README, pasted as written."""

import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

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
        # "An hourly window closes when a record two hours younger arrives." Brokers refuse times in the future, so these
        # begin in the past.
        for hours, delay in ((5, 20), (5, 40), (0, 1)):
            record = {"origin": "LGA", "dep_delay": delay, "at": int((time.time() - hours * 3600) * 1000)}
            command = f"echo {shlex.quote(json.dumps(record))} | {MILLSTREAM} produce departures --timestamp-field at"
            assert shell(place, command).returncode == 0
        assert "--follow" in last
        shown = shell(place, last.replace("--follow", "--limit 1 --follow"))
        assert shown.returncode == 0, shown.stderr
        result = json.loads(shown.stdout[shown.stdout.index("{") :])
        assert (result["flights"], result["worst"], result["mean_delay"]) == (2, 40, 30.0)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
