"""Runs operations on a store of Quix Streams, without a broker: JSON from standard input, JSON to standard output.

    {"path": DIRECTORY, "records": [[timestamp, key, [[operation, state key, ttl in ms or null], ...]], ...]}

A checkpoint is made after every record with an odd number; the last operation of each record is a write or a read.
"""

import json
import sys
from datetime import timedelta

from quixstreams.state.rocksdb import RocksDBStorePartition


def run(state, operation, key, ttl):
    if operation == "get":
        return state.get(key)
    if operation == "exists":
        return state.exists(key)
    if operation == "delete":
        return state.delete(key)
    return state.set(key, operation, ttl=None if ttl is None else timedelta(milliseconds=ttl))


def main():
    given = json.load(sys.stdin)
    partition = RocksDBStorePartition(given["path"])
    transaction = partition.begin()
    seen = []
    for at, (timestamp, key, operations) in enumerate(given["records"]):
        state = transaction.as_state(prefix=key.encode(), timestamp=timestamp)
        seen.append([run(state, *one) for one in operations])
        if at % 2 == 1 or at == 0:
            transaction.prepare()
            transaction.flush()
            transaction = partition.begin()
    json.dump(seen, sys.stdout)


main()
