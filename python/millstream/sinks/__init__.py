"""Sinks (section 11 of the parity rows): not in this release."""

from millstream._import_refusal import refusal

raise refusal(
    __name__,
    "Sinks",
    "write to a topic with `sdf.to_topic(...)`, or call your client in `sdf.update(...)`",
)
