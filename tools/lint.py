#!/usr/bin/env python3
"""Everything that is checked without running the product: formatting, clippy, types, dependencies.

    tools/lint.py          (make lint; `make test` runs it as the suite `lint`)

Wants the environment that `make build` prepares (`.venv/.stamps/native.env`), as the Makefile's target has it. Each
check's output is shown if it fails. The last line has the sums; the exit status is 1 if a check failed.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


# As a fresh clone builds, without librdkafka; then with it, which looks only at what differs by that.
WITHOUT = ["--workspace", "--exclude", "bench-raw"]
WITH = ["--workspace", "--features", os.environ.get("MILLSTREAM_CARGO_FEATURES") or "millstream-kafka/librdkafka"]
UNASKED = f'tree=$(cargo tree --locked --prefix none {" ".join(WITHOUT)}) && ! grep rdkafka-sys <<< "$tree"'


def checks():
    """Name and command of each; the determinism bans of clippy.toml are among clippy's."""
    yield "cargo fmt", ["cargo", "fmt", "--all", "--check"]
    for name, packages in (("cargo clippy", WITHOUT), ("cargo clippy, librdkafka", WITH)):
        yield name, ["cargo", "clippy", "--quiet", "--all-targets", "--locked", *packages, "--", "-D", "warnings"]
    yield "no librdkafka unless asked", ["bash", "-c", UNASKED]
    yield "ruff", [sys.executable, "-m", "ruff", "check", "."]
    yield "mypy", [sys.executable, "-m", "mypy"]
    yield "conformance table", [sys.executable, "tools/conformance.py", "--check"]
    yield "stub against the module", [sys.executable, "-m", "mypy.stubtest", "millstream._millstream"]


def main():
    passed, failed = 0, 0
    for name, command in checks():
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode == 0:
            passed += 1
        else:
            failed += 1
            print(f"$ {' '.join(command)}\n{done.stdout}", flush=True)
    # Needs a tool that is no dependency of the tests, and a database of advisories from a host that is no registry.
    if shutil.which("cargo-deny"):
        done = subprocess.run(["cargo", "deny", "--locked", "check", "bans", "licenses", "sources"], cwd=ROOT)
        passed, failed = passed + (done.returncode == 0), failed + (done.returncode != 0)
    else:
        print("cargo deny: not installed here, left out (cargo install cargo-deny)", flush=True)
    print(f"\n{passed} passed, {failed} failed, 0 skipped", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
