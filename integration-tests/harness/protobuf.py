"""Messages that the libraries refuse to make, or of formats for which there is none, byte by byte."""
import ipaddress


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, payload):
    """A field with a length: text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed64_field(number, value):
    return varint(number << 3 | 1) + value.to_bytes(8, "little")


def varint_field(number, value):
    return varint(number << 3) + varint(value)


ZIPKIN_KINDS = {"CLIENT": 1, "SERVER": 2, "PRODUCER": 3, "CONSUMER": 4}


def zipkin_list(spans):
    """A ListOfSpans of zipkin.proto3 out of spans of Zipkin's JSON."""
    return b"".join(field(1, zipkin_span(span)) for span in spans)


def zipkin_span(span):
    out = field(1, bytes.fromhex(span["traceId"]))
    if "parentId" in span:
        out += field(2, bytes.fromhex(span["parentId"]))
    out += field(3, bytes.fromhex(span["id"]))
    if "kind" in span:
        out += varint_field(4, ZIPKIN_KINDS[span["kind"]])
    out += field(5, span.get("name", "").encode())
    out += fixed64_field(6, span["timestamp"]) + varint_field(7, span.get("duration", 0))
    for number, name in ((8, "localEndpoint"), (9, "remoteEndpoint")):
        if name in span:
            out += field(number, zipkin_endpoint(span[name]))
    for annotation in span.get("annotations", []):
        out += field(10, fixed64_field(1, annotation["timestamp"]) + field(2, annotation["value"].encode()))
    for key, value in span.get("tags", {}).items():
        out += field(11, field(1, key.encode()) + field(2, value.encode()))
    return out + b"".join(varint_field(number, 1) for number, name in ((12, "debug"), (13, "shared")) if span.get(name))


def zipkin_endpoint(endpoint):
    out = field(1, endpoint.get("serviceName", "").encode())
    for number, name in ((2, "ipv4"), (3, "ipv6")):
        if name in endpoint:
            out += field(number, ipaddress.ip_address(endpoint[name]).packed)
    return out + (varint_field(4, endpoint["port"]) if "port" in endpoint else b"")
