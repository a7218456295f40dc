"""Makes `brokers`, which starts what the tests talk to, importable from every folder of tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
