"""Quix Streams in an environment of its own: it wants other versions of packages than Millstream's tests do.

The benchmarks and the tests that compare both packages share this environment, in the cache that `make` uses.
"""

import fcntl
import os
import pathlib
import subprocess
import sys

QUIX = "quixstreams==3.28.1"


class NotInstalled(Exception):
    """The environment could not be made. The message has pip's last words, `said` all of them."""

    def __init__(self, said):
        super().__init__(said.splitlines()[-1])
        self.said = said


def cache_folder():
    """What is fetched and built once for all clones."""
    if chosen := os.environ.get("MILLSTREAM_CACHE"):
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "millstream"


def interpreter():
    """The Python of the environment, which is made if it is not there; two processes do not make it at the same time."""
    cache = cache_folder()
    home = cache / f"bench-{QUIX.replace('==', '-')}-{sys.version_info[0]}.{sys.version_info[1]}"
    python, complete = home / "bin" / "python", home / ".complete"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "quix.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            print(f"installing {QUIX} into {home}", file=sys.stderr, flush=True)
            run([sys.executable, "-m", "venv", "--clear", str(home)])
            run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", QUIX])
            complete.touch()
    return python


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}")
