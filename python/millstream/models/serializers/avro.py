"""Not in this release (section 3 of the parity rows)."""

from millstream._import_refusal import refusal

raise refusal(__name__, "Avro serializers", "use 'json', or a Serializer or Deserializer of your own")
