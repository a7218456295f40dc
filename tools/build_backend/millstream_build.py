"""The build backend that `pip install .` uses: maturin, in the environment that `tools/native` prepares.

Without this, pip would compile RocksDB file by file, which takes a quarter of an hour. MILLSTREAM_LIBRDKAFKA=1 builds
librdkafka in, for `client="librdkafka"`.
"""

import os
import pathlib
import sys

import maturin
from maturin import (  # noqa: F401 - pip calls these
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "native"))

import prepare  # noqa: E402


def set_up():
    cache = prepare.cache_folder().absolute()
    os.environ.update(prepare.prepare(cache, os.cpu_count() or 1))
    # Shared with `make`, so that a pip install after it has little to do, and the clone stays clean.
    os.environ.setdefault("CARGO_TARGET_DIR", str(cache / "target"))
    features = os.environ.get("MILLSTREAM_CARGO_FEATURES")
    if features and "MATURIN_PEP517_ARGS" not in os.environ:
        os.environ["MATURIN_PEP517_ARGS"] = f"--features {features}"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    set_up()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    set_up()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    return maturin.build_sdist(sdist_directory, config_settings)
