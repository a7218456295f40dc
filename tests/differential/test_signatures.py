"""Parameters keep their names, order, kinds and defaults (M-10); what we add comes after them, by keyword only."""

import json
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parent / "signatures.py"

# We take no callback that we would not call.
DIFFERENT = {("kafka.Producer", "error_callback"), ("kafka.Consumer", "error_callback")}


def signatures(python, package):
    done = subprocess.run(
        [str(python), "-W", "ignore", str(SCRIPT), package], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_parameters(quix_python):
    theirs, ours = signatures(quix_python, "quixstreams"), signatures(sys.executable, "millstream")
    assert theirs.keys() == ours.keys()
    wrong = []
    for name, wanted in theirs.items():
        found = ours[name]
        wrong += [
            f"{name}: {theirs_one} there, {ours_one} here"
            for theirs_one, ours_one in zip(wanted, found[: len(wanted)], strict=False)
            if theirs_one != ours_one and (name, theirs_one[0]) not in DIFFERENT
        ]
        if len(found) < len(wanted):
            wrong.append(f"{name}: {wanted[len(found):]} are missing here")
        wrong += [f"{name}: {extra} is not by keyword only" for extra in found[len(wanted) :] if extra[1] != "KEYWORD_ONLY"]
    assert not wrong, "\n".join(wrong)
