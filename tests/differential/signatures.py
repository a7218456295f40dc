"""Prints the parameters of public callables as JSON: `python signatures.py quixstreams|millstream`.

Each parameter is its name, its kind and its default, spelled; defaults that are objects of the package itself are
spelled by their kind.
"""

import importlib
import inspect
import json
import logging
import sys

NAMES = {
    "app": "Application Application.topic Application.dataframe Application.add_source Application.run"
    " Application.stop Application.get_producer Application.get_consumer Application.clear_state",
    "context": "message_context set_message_context",
    "dataframe": " ".join(
        f"StreamingDataFrame.{method}"
        for method in "apply update filter group_by contains to_topic set_timestamp set_headers print print_table fill"
        " drop test compose tumbling_window register_store".split()
    )
    + " "
    + " ".join(
        f"StreamingSeries.{method}"
        for method in "apply test isin contains is_ isnot isnull notnull abs compose_returning".split()
    ),
    "dataframe.windows": "Sum Count Mean Min Max First Last Earliest Latest Reduce Collect Aggregator Collector"
    " TumblingTimeWindowDefinition TumblingTimeWindowDefinition.sum TumblingTimeWindowDefinition.count"
    " TumblingTimeWindowDefinition.reduce TumblingTimeWindowDefinition.collect TumblingTimeWindowDefinition.agg",
    "error_callbacks": "default_on_consumer_error default_on_processing_error default_on_producer_error",
    "kafka": "Producer Consumer ConnectionConfig.from_librdkafka_dict ConnectionConfig.as_librdkafka_dict "
    + " ".join(
        f"Producer.{method}"
        for method in "produce poll flush begin_transaction send_offsets_to_transaction commit_transaction"
        " abort_transaction purge raise_if_broker_unavailable".split()
    )
    + " "
    + " ".join(
        f"Consumer.{method}"
        for method in "subscribe poll consume store_offsets commit committed get_watermark_offsets list_topics"
        " offsets_for_times pause resume position seek assignment assign unassign incremental_assign"
        " incremental_unassign unsubscribe memberid consumer_group_metadata set_sasl_credentials close".split()
    ),
    "logging": "configure_logging",
    "models": "Topic Topic.serialize Topic.deserialize Topic.row_serialize Topic.row_deserialize TopicConfig"
    " TopicManager TopicManager.topic TopicManager.register TopicManager.repartition_topic"
    " TopicManager.changelog_topic TopicManager.topic_config TopicAdmin TopicAdmin.list_topics"
    " TopicAdmin.inspect_topics TopicAdmin.create_topics MessageContext MessageTimestamp",
    "models.messages": "KafkaMessage",
    "models.serializers": "JSONSerializer JSONDeserializer StringSerializer StringDeserializer IntegerSerializer"
    " IntegerDeserializer DoubleSerializer DoubleDeserializer BytesSerializer SerializationContext",
    "state": "State.get State.set State.exists State.delete State.get_bytes State.set_bytes",
    "state.rocksdb": "RocksDBOptions",
}


def spelled(default):
    if default is inspect.Parameter.empty:
        return None
    if isinstance(default, logging.Logger):
        return "a logger"
    if callable(default):
        return "a function"
    return repr(default).replace("quixstreams", "PACKAGE").replace("millstream", "PACKAGE")


def parameters(found):
    for parameter in inspect.signature(found).parameters.values():
        # Methods of native classes take `self` by position only, as every method is called.
        if parameter.name != "self":
            yield parameter.name, parameter.kind.name, spelled(parameter.default)


def main(package):
    listed = {}
    for module, names in NAMES.items():
        for name in names.split():
            found = importlib.import_module(f"{package}.{module}")
            for part in name.split("."):
                found = getattr(found, part)
            listed[f"{module}.{name}"] = list(parameters(found))
    print(json.dumps(listed))


if __name__ == "__main__":
    main(sys.argv[1])
