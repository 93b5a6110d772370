"""Messages that the libraries refuse to make, byte by byte."""


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, payload):
    """A field with a length: text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload
