"""Only where there is no package registry may the comparison with Quix Streams be left out."""

import subprocess
import sys

import pytest
from installation import judge


def pip(target, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
         "--target", str(target), *arguments],
        capture_output=True, text=True,
    )
    assert done.returncode
    return done.stderr


def test_no_registry_is_a_loud_skip(tmp_path):
    # Port 9 is where nothing listens.
    stderr = pip(tmp_path, "--index-url", "http://127.0.0.1:9/simple", "millstream-nothing==1")
    with pytest.raises(pytest.skip.Exception, match="NO PACKAGE REGISTRY"):
        judge("millstream-nothing==1", stderr)


def test_anything_else_is_a_failure(tmp_path):
    stderr = pip(tmp_path / "to", "--no-index", "--find-links", str(tmp_path), "millstream-nothing==1")
    with pytest.raises(pytest.fail.Exception, match="No matching distribution"):
        judge("millstream-nothing==1", stderr)
