"""Bodies that become very large once they are decompressed."""
import gzip
import zlib

import lz4.frame
import zstandard

from .protobuf import varint

# A copy of 64 bytes from one byte before.
COPY = bytes([63 << 2 | 2, 1, 0])
FRAME_BYTES = 64 << 10


def raw_snappy(size, claimed=None):
    """A block of zeros; it may claim to be longer."""
    return varint(claimed or size) + b"\0\0" + COPY * ((size - 1) // 64) + _rest((size - 1) % 64)


def _rest(size):
    return bytes([(size - 1) << 2 | 2, 1, 0]) if size else b""


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def framed_snappy(size):
    """Zeros in the framing format."""
    crc = crc32c(bytes(FRAME_BYTES))
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    content = masked.to_bytes(4, "little") + raw_snappy(FRAME_BYTES)
    return b"\xff\x06\0\0sNaPpY" + (b"\0" + len(content).to_bytes(3, "little") + content) * (size // FRAME_BYTES)


def bomb(encoding, size):
    zeros = bytes(size)
    return {
        "gzip": lambda: gzip.compress(zeros, 9), "deflate": lambda: zlib.compress(zeros, 9), "zlib": lambda: zlib.compress(zeros, 9),
        "zstd": lambda: zstandard.compress(zeros, 9), "lz4": lambda: lz4.frame.compress(zeros),
        "snappy": lambda: raw_snappy(size), "x-snappy-framed": lambda: framed_snappy(size),
    }[encoding]()
