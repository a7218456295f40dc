"""A real Apache Kafka on loopback, for tests and benchmarks: see `tools/kafka --help`.

`jvm` knows Java: which jars, how to start a class. `node` is one broker: its settings, its process, whether it
answers. `cluster` is several of them under one name. `commands` is the command line.
"""
