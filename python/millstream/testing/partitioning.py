"""Which partition a key belongs to: murmur2, as Kafka's Java client and ours have it (parity row C-11)."""

__all__ = ("murmur2", "partition_of")

_MASK = 0xFFFFFFFF
_M, _R, _SEED = 0x5BD1E995, 24, 0x9747B28C


def murmur2(data: bytes) -> int:
    """The 32-bit hash of a key.

    >>> murmur2(b"21"), murmur2(b"foobar")
    (3321034988, 3504634814)
    """
    hashed = _SEED ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> _R) * _M & _MASK
        hashed = hashed * _M & _MASK ^ k
    if rest := data[whole:]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _M & _MASK
    hashed = (hashed ^ hashed >> 13) * _M & _MASK
    return hashed ^ hashed >> 15


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition of a key; 0 without a key, where a real producer would take any."""
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions
