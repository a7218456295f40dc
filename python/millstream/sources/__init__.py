"""Sources (section 10 of the parity rows): not in this release."""

from millstream._import_refusal import refusal

raise refusal(
    __name__,
    "Sources",
    "write to a topic with `app.get_producer()` or `millstream produce`, and read that topic",
)
