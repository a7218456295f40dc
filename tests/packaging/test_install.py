"""What a user's `pip install` does: the source distribution, built and installed into an environment of its own."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A release build on two cores; most of it is in cargo's target directory already.
PATIENCE_SECONDS = 12 * 60

pytestmark = pytest.mark.slow


def run(*command, cwd):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_a_source_distribution_installs(tmp_path):
    """It has fewer members than the clone's workspace, so not quite its lock file."""
    run(sys.executable, "-m", "maturin", "sdist", "--out", tmp_path / "dist", cwd=ROOT)
    [archive] = (tmp_path / "dist").glob("millstream-*.tar.gz")
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    run(programs / "pip", "install", "--quiet", "--disable-pip-version-check", archive, cwd=tmp_path)
    version = archive.name.removeprefix("millstream-").removesuffix(".tar.gz")
    assert run(programs / "millstream", "--version", cwd=tmp_path).split() == ["millstream", version]
    program = "from millstream.testing import MemoryApplication as A; a = A(); print(a.dataframe(a.topic('t')).test(1)[0][0])"
    assert run(programs / "python", "-c", program, cwd=tmp_path).strip() == "1"
