//! Our results against those that Quix Streams, Python and orjson gave for the same cases:
//! `tests/differential/cases.json` in the repository, which `generate.py` beside it writes.

mod differential;
