"""Joins and lookups (section 7 of the parity rows): not in this release."""

from millstream._import_refusal import refusal

raise refusal(
    __name__,
    "Joins and lookups",
    "look values up in `sdf.apply(...)`, or keep one side in `State`",
)
