"""Bodies of Thrift and of Zipkin's JSON that promise, nest or repeat more than they hold, and a flood of datagrams.

As in test_hostile_tenants.py the process has a bound, and an honest tenant loses nothing."""
import gzip
import json
import os
import socket
import struct
import time

import pytest
import requests

from harness import dialects
from harness.clients import at_once
from harness.servers import Servers
from test_hostile_tenants import HOSTILE, bounded

STRUCT, LIST, TEXT, I64, STOP = 12, 15, 11, 10, b"\0"


def field(kind, number):
    return struct.pack(">bh", kind, number)


def items(kind, number):
    return struct.pack(">bi", kind, number)


def text(value):
    return struct.pack(">i", len(value)) + value


SERVICE = field(STRUCT, 1) + field(TEXT, 1) + text(b"svc") + STOP


def spans(count, content):
    """A Jaeger batch that says it has this many spans."""
    return SERVICE + field(LIST, 2) + items(STRUCT, count) + content + STOP


IDS = b"".join(field(I64, number) + struct.pack(">q", 7) for number in (1, 2, 3))
JAEGER = {
    "spans without fields": spans(4_000_000, STOP * 4_000_000),
    "two billion spans": spans(2_000_000_000, b""),
    "minus one spans": spans(-1, b""),
    "tags without fields": spans(1, IDS + field(LIST, 10) + items(STRUCT, 6_000_000) + STOP * 6_000_000),
    "structs in structs": SERVICE + field(STRUCT, 99) * 3_000_000 + STOP * 3_000_000,
    "lists in lists": SERVICE + field(LIST, 99) + items(LIST, 1) * 1_000_000 + items(3, 0),
    "an unknown list of empty structs": SERVICE + field(LIST, 98) + items(STRUCT, 5_000_000) + STOP * 5_000_002,
    "items without a size": SERVICE + field(LIST, 98) + items(1, 2_000_000_000) + STOP,
}
ZIPKIN = {
    "null": b"[" + b"null," * 3_000_000 + b"null]",
    "spans without fields": b"[" + b"{}," * 4_000_000 + b"{}]",
    "lists in lists": b"[" * 10_000_000,
    "objects in objects": b'[{"a":' * 1_000_000,
    "a key again and again": b'[{"traceId":"1","id":"1","tags":{' + b",".join([b'"a":"b"'] * 1_500_000) + b"}}]",
    "a number of digits": b'[{"traceId":"1","id":"1","timestamp":' + b"1" * 15_000_000 + b"}]",
    "annotations": json.dumps(
        [{"traceId": "1", "id": "1", "annotations": [{"timestamp": 1, "value": "x"}] * 300_000}]).encode(),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("dialects"))
    yield dialects.start(servers, extra={"multitenancy_enabled": True})
    servers.close()


def check(server, port, paths, kind, bodies):
    compressed = {name: gzip.compress(body, 1) for name, body in bodies.items()}
    names = list(bodies)

    def post(number):
        name, path = names[number % len(names)], paths[number // len(names) % len(paths)]
        headers, body = {**HOSTILE, "Content-Type": kind}, bodies[name]
        if number % 2:
            headers, body = {**headers, "Content-Encoding": "gzip"}, compressed[name]
        try:
            answer = requests.post(f"http://127.0.0.1:{port}{path}", data=body, headers=headers, timeout=120)
        except requests.ConnectionError:
            # Cut off while it was sent.
            return name, None, ""
        return name, answer.status_code, answer.text

    with bounded(server):
        answers = at_once(post, 4 * len(names), 8)
    assert {name for name, status, _ in answers if status == 400} == set(names), "each is refused for what it says"
    for name, status, said in answers:
        assert status in (None, 400, 413, 503) and len(said) <= 1100, (name, status, said[:200])
    assert "panicked" not in server.logs()


def test_thrift_of_jaeger(server):
    check(server, server.ports.thrift_http, ["/api/traces"], "application/vnd.apache.thrift.binary", JAEGER)


def test_json_of_zipkin(server):
    check(server, server.ports.zipkin, ["/api/v1/spans", "/api/v2/spans"], "application/json", ZIPKIN)


def test_thrift_of_zipkin(server):
    bodies = {
        "spans without fields": items(STRUCT, 6_000_000) + STOP * 6_000_000,
        "two billion spans": items(STRUCT, 2_000_000_000) + STOP * 10,
        "annotations": items(STRUCT, 1) + IDS + field(LIST, 6) + items(STRUCT, 5_000_000) + STOP * 5_000_001,
    }
    check(server, server.ports.zipkin, ["/api/v1/spans"], "application/x-thrift", bodies)


def test_flood_of_datagrams(server):
    datagrams = [
        dialects.COMPACT, dialects.BINARY, os.urandom(60_000), b"\x82\x81\0" + b"\x19" * 60_000,
        b"\x80\1\0\4\0\0\0\x09emitBatch\0\0\0\0" + field(STRUCT, 1) + spans(50_000, STOP * 50_000)]

    def flood(number):
        port = (server.ports.compact, server.ports.binary)[number % 2]
        until, sent = time.monotonic() + 3, 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while time.monotonic() < until:
                sender.sendto(datagrams[sent % len(datagrams)], ("127.0.0.1", port))
                sent += 1
        return sent

    with bounded(server):
        assert min(at_once(flood, 4, 4)) > 100
    assert "panicked" not in server.logs()
