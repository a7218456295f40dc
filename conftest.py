"""What pytest must not import when it collects doc strings from the package."""

# These modules stand for what is not built yet: to import one raises `ImportError` with the reason.
collect_ignore_glob = [
    "python/millstream/dataframe/joins/*",
    "python/millstream/models/serializers/avro.py",
    "python/millstream/models/serializers/fia_open_data.py",
    "python/millstream/models/serializers/protobuf.py",
    "python/millstream/models/serializers/quix.py",
    "python/millstream/models/serializers/schema_registry.py",
    "python/millstream/sinks/*",
    "python/millstream/sources/*",
]
