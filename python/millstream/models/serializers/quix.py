"""Not in this release (section 3 of the parity rows)."""

from millstream._import_refusal import refusal

raise refusal(__name__, "The formats of the Quix platform", "use 'json', or a Serializer or Deserializer of your own")
