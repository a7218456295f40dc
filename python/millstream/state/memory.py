"""`MemoryStore` (parity row ST-21): not in this release."""

from millstream._import_refusal import refusal

raise refusal(__name__, "Memory stores", "leave the store type out: stores on disk are restored from their changelogs")
