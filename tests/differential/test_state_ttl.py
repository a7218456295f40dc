"""State that expires: the same reads as with Quix Streams (ST-50, ST-52, ST-53, ST-54).

The first record sets a value with a ttl and is followed by a checkpoint: up to there Quix Streams does not look at
stamps [Q-defect of ST-53].
"""

import json
import pathlib
import random
import subprocess
import sys
from datetime import timedelta

import pytest

from millstream.testing import MemoryApplication, TopologyTestDriver

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def records(seed):
    draw = random.Random(seed)
    yield [1000, "k0", [["first", "s0", 20]]]
    at = 1000
    for _ in range(400):
        at += draw.choice([0, 1, 3, 8])
        timestamp = draw.choice([at] * 8 + [max(0, at - draw.randrange(60)), -1])
        operations = []
        for _ in range(draw.randrange(1, 4)):
            operation = draw.choice(["get", "get", "exists", "delete", "plain", "expiring", "expiring", "expiring"])
            # Without a timestamp Quix Streams takes a ttl that leads before 1970 for an error.
            ttl = draw.randrange(2, 80) if operation == "expiring" else None
            operations.append([operation, f"s{draw.randrange(3)}", ttl])
        yield [timestamp, f"k{draw.randrange(3)}", operations]


def ours(given):
    app = MemoryApplication(consumer_group="g")
    topic = app.topic("in")

    def one(state, operation, key, ttl):
        if operation in ("get", "exists", "delete"):
            return getattr(state, operation)(key)
        return state.set(key, operation, ttl=None if ttl is None else timedelta(milliseconds=ttl))

    app.dataframe(topic).apply(lambda value, state: [one(state, *each) for each in value], stateful=True)
    with TopologyTestDriver(app) as driver:
        for at, (timestamp, key, operations) in enumerate(given):
            driver.pipe_input(topic, operations, key=key, timestamp=timestamp)
            if at % 2 == 1 or at == 0:
                driver.checkpoint()
        return [value for value, *_ in driver.read_results()]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_values_are_seen(quix_python, tmp_path, seed):
    given = list(records(seed))
    done = subprocess.run(
        [str(quix_python), str(HERE / "quix_state.py")],
        input=json.dumps({"path": str(tmp_path / "store"), "records": given}),
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    found = ours(given)
    assert len(found) == len(theirs)
    for at, (mine, quix) in enumerate(zip(found, theirs, strict=True)):
        assert mine == quix, f"record {at}: {given[at]}"
    reads = [value for seen in found for value in seen]
    assert reads.count("expiring") > 20 and reads.count(False) > 20
