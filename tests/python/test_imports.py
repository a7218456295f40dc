"""The import map: M-40 to M-49, E-10 to E-19."""

import importlib
import inspect

import pytest

import millstream

NAMES = {
    "millstream": "Application State MessageContext message_context __version__",
    "millstream.app": "Application ApplicationConfig",
    "millstream.context": "message_context set_message_context copy_context MessageContextNotSetError",
    "millstream.dataframe": "StreamingDataFrame StreamingSeries DataFrameRegistry ColumnDoesNotExist"
    " InvalidColumnReference GroupByNestingLimit GroupByDuplicate StreamingDataFrameDuplicate",
    "millstream.dataframe.exceptions": "ColumnDoesNotExist InvalidColumnReference GroupByNestingLimit GroupByDuplicate"
    " StreamingDataFrameDuplicate",
    "millstream.dataframe.windows": "Aggregator Collector Collect Count Earliest First Last Latest Max Mean Min Reduce"
    " Sum TumblingTimeWindowDefinition HoppingTimeWindowDefinition SlidingTimeWindowDefinition SessionWindowDefinition"
    " TumblingCountWindowDefinition HoppingCountWindowDefinition SlidingCountWindowDefinition",
    "millstream.dataframe.windows.aggregations": "BaseAggregator BaseCollector",
    "millstream.kafka": "ConnectionConfig Producer Consumer",
    "millstream.kafka.configuration": "ConnectionConfig",
    "millstream.kafka.exceptions": "BaseKafkaException KafkaConsumerException KafkaProducerDeliveryError"
    " InvalidProducerConfigError KafkaBrokerUnavailableError",
    "millstream.models": "Topic TopicConfig TopicManager TopicAdmin Row MessageContext TimestampType MessageTimestamp"
    " Headers HeadersMapping HeadersTuple HeadersTuples HeadersValue KafkaHeaders MessageKey MessageValue",
    "millstream.models.messages": "KafkaMessage",
    "millstream.models.topics": "Topic TopicConfig TopicManager TopicAdmin",
    "millstream.models.topics.exceptions": "TopicNotFoundError TopicConfigurationMismatch CreateTopicTimeout"
    " CreateTopicFailure TopicNameLengthExceeded TopicPermissionError TopicConfigurationError TopicPartitionsMismatch",
    "millstream.models.serializers": "SerializationError KeySerializationError ValueSerializationError"
    " KeyDeserializationError ValueDeserializationError IgnoreMessage Serializer Deserializer SerializationContext"
    " MessageField JSONSerializer JSONDeserializer",
    "millstream.models.serializers.simple_types": "BytesSerializer BytesDeserializer StringSerializer"
    " StringDeserializer IntegerSerializer IntegerDeserializer DoubleSerializer DoubleDeserializer",
    "millstream.models.serializers.json": "JSONSerializer JSONDeserializer",
    "millstream.state": "State",
    "millstream.state.rocksdb": "RocksDBOptions RocksDBCorruptedError RocksDBOpenAborted",
    "millstream.state.exceptions": "PartitionNotAssignedError PartitionStoreIsUsed StoreNotRegisteredError"
    " StoreAlreadyRegisteredError InvalidStoreTransactionStateError StoreTransactionFailed InvalidStoreChangelogOffset"
    " StateRecoveryOffsetOutOfRange StateError IncompatibleStateStoreError StateSerializationError StateMigrationError"
    " StateTransactionError ColumnFamilyHeaderMissing ColumnFamilyDoesNotExist InvalidChangelogOffset"
    " ChangelogFlushError ChangelogTopicPartitionNotAssigned",
    "millstream.error_callbacks": "ConsumerErrorCallback ProcessingErrorCallback ProducerErrorCallback"
    " default_on_consumer_error default_on_processing_error default_on_producer_error",
    "millstream.logging": "configure_logging LogLevel",
    "millstream.exceptions": "QuixException PartitionAssignmentError KafkaPartitionError",
    "millstream.core.stream.exceptions": "InvalidOperation InvalidTopology",
    "millstream.core.stream": "InvalidOperation InvalidTopology",
    "millstream.checkpointing": "InvalidStoredOffset",
    "millstream.checkpointing.exceptions": "InvalidStoredOffset CheckpointProducerTimeout CheckpointConsumerCommitError",
    "millstream.internal_producer": "KafkaProducerTransactionCommitFailed KafkaProducerTransactionAlreadyActive",
    "millstream.processing.context": "CheckpointNotInitialized",
    "millstream.platforms.quix.exceptions": "MissingConnectionRequirements UndefinedQuixWorkspaceId"
    " QuixApiRequestFailure NoWorkspaceFound MultipleWorkspaces MissingQuixTopics QuixCreateTopicTimeout"
    " QuixCreateTopicFailure",
    "millstream.testing": "MemoryApplication TopologyTestDriver",
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_the_top_has_nothing_else():
    """Section 1"""
    assert sorted(millstream.__all__) == ["Application", "MessageContext", "State", "__version__", "message_context"]


def test_exceptions_have_one_base():
    """E-10"""
    for module, names in NAMES.items():
        for name in names.split():
            found = getattr(importlib.import_module(module), name)
            if inspect.isclass(found) and issubclass(found, Exception):
                assert issubclass(found, millstream.exceptions.QuixException), f"{module}.{name}"


@pytest.mark.parametrize(
    "statement",
    [
        "from millstream.sinks import BatchingSink",
        "from millstream.sinks.core.csv import CSVSink",
        "from millstream.sinks.community.postgresql import PostgreSQLSink",
        "from millstream.sources import Source",
        "from millstream.sources.core.kafka import KafkaReplicatorSource",
        "from millstream.dataframe.joins import AsOfJoin",
        "from millstream.dataframe.joins.lookups import SQLiteLookup",
        "from millstream.models.serializers.avro import AvroSerializer",
        "from millstream.models.serializers.protobuf import ProtobufSerializer",
        "from millstream.models.serializers.quix import QuixDeserializer",
        "from millstream.models.serializers import QuixDeserializer",
        "from millstream.models.serializers import SchemaRegistryClientConfig",
        "from millstream.models.serializers.schema_registry import SchemaRegistryClientConfig",
        "from millstream.platforms.quix import QuixKafkaConfigsBuilder",
    ],
)
def test_what_is_not_built_yet_says_so(statement):
    with pytest.raises(ImportError, match=r"are not supported yet; \w+"):
        exec(statement, {})


def test_what_never_was_is_missing_as_usual():
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from millstream.models.serializers import NoSuchThing", {})
    with pytest.raises(ModuleNotFoundError):
        exec("import millstream.no_such_module", {})


def test_the_examples_of_the_package_can_be_migrated_by_sed():
    """M-10: the program of Quix Streams' own documentation, with its import changed."""
    from millstream.testing import MemoryApplication

    program = '''
from quixstreams.dataframe.windows import Count, Mean

def build(app):
    topic = app.topic("temperature", value_deserializer="json")
    sdf = app.dataframe(topic)
    sdf["temperatureF"] = sdf["temperatureC"] * 9 / 5 + 32
    sdf = sdf.tumbling_window(1000).agg(count=Count(), mean=Mean("temperatureF")).current()
    return sdf
'''.replace("quixstreams", "millstream")
    scope = {}
    exec(program, scope)
    sdf = scope["build"](MemoryApplication())
    assert sdf.test({"temperatureC": 20}, timestamp=5)[0][0] == {"count": 1, "mean": 68.0, "start": 0, "end": 1000}
