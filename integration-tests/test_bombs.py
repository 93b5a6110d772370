"""Bodies and messages that become very large once they are decompressed, at every port that decompresses.

As in test_memory.py an honest client sends meanwhile, and the process has a bound."""
import contextlib
import functools
import gzip
import http.client
import os
import pathlib
import time

import grpc
import pytest
import requests
import zstandard

from harness import otlp
from harness.bombs import bomb, raw_snappy
from harness.clients import at_once
from harness.protobuf import field
from harness.stalled_grpc import StalledCalls
from harness.streaming import StreamingClient
from harness.waiting import eventually
from test_memory import ERROR_BYTES, bounded, server  # noqa: F401  (fixtures)

MIB = 1 << 20
ENCODINGS = ("gzip", "deflate", "zlib", "zstd", "lz4", "snappy", "x-snappy-framed")
HTTP = {
    "otlp protobuf": ("otlp_http_port", "/v1/traces", "application/x-protobuf"),
    "otlp json": ("otlp_http_port", "/v1/traces", "application/json"),
    "zipkin": ("zipkin", "/api/v2/spans", "application/json"),
    "zipkin protobuf": ("zipkin", "/api/v2/spans", "application/x-protobuf"),
    "jaeger": ("thrift", "/api/traces", "application/x-thrift"),
}
GRPC = {
    "otlp": ("otlp_grpc_port", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    "jaeger": ("model", "/jaeger.api_v2.CollectorService/PostSpans"),
}
# Of gRPC: as it is called there, and made of.
GRPC_ENCODINGS = {"gzip": "gzip", "deflate": "deflate", "zstd": "zstd", "snappy": "x-snappy-framed"}

bomb = functools.cache(bomb)


@pytest.fixture(autouse=True)
def peak_of_all(bounded):  # noqa: F811
    return bounded


def post(server, receiver, body, encoding):  # noqa: F811
    port, path, media_type = HTTP[receiver]
    return requests.post(
        f"http://127.0.0.1:{getattr(server, port)}{path}", data=body,
        headers={"Content-Type": media_type, "Content-Encoding": encoding}, timeout=60)


@pytest.mark.parametrize("receiver", HTTP)
def test_bombs_over_http_are_refused(server, receiver):  # noqa: F811
    for encoding in ENCODINGS:
        body = bomb(encoding, 256 * MIB)
        for answer in at_once(lambda _, body=body, encoding=encoding: post(server, receiver, body, encoding), 24):
            # 500 is what Jaeger's collector answers.
            is_refused = answer.status_code in (400, 413, 503) or receiver == "jaeger" and "too large" in answer.text
            assert is_refused, (encoding, answer.status_code, answer.text[:200])
            assert len(answer.content) < 2 * ERROR_BYTES


@pytest.mark.parametrize("receiver", GRPC)
def test_bombs_over_grpc_are_refused(server, receiver):  # noqa: F811
    port, path = GRPC[receiver]
    for name, encoding in GRPC_ENCODINGS.items():
        with contextlib.ExitStack() as opened:
            calls = [opened.enter_context(contextlib.closing(StalledCalls(getattr(server, port)))) for _ in range(12)]
            for call in calls:
                stream = call.send(path, bomb(encoding, 64 * MIB), name)
                assert stream, name
                call.end(stream)
            eventually(lambda calls=calls: all(call.ended for call in calls), f"{name} is refused", 30)


@pytest.mark.parametrize("framed", [False, True], ids=["raw", "framed"])
def test_snappy_that_lies_about_its_length_costs_nothing(server, framed):  # noqa: F811
    """A block of ten bytes that claims twenty megabytes: once it took that much, and the time to fill it with zeros."""
    lie = raw_snappy(100, claimed=20 * MIB)
    body = b"\xff\x06\0\0sNaPpY\0" + (len(lie) + 4).to_bytes(3, "little") + bytes(4) + lie if framed else lie
    port, path, media_type = HTTP["otlp protobuf"]
    connection = http.client.HTTPConnection("127.0.0.1", getattr(server, port), timeout=60)
    used = processor_seconds(server)
    for _ in range(1_500):
        connection.request("POST", path, body, {"Content-Type": media_type, "Content-Encoding": "snappy"})
        answer = connection.getresponse()
        assert answer.read() and answer.status == 400
    connection.close()
    used = processor_seconds(server) - used
    print(f"{used:.1f} s")
    assert used < 6, f"{used:.1f} s"


def processor_seconds(server):  # noqa: F811
    fields = pathlib.Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_several_encodings_are_refused_and_one_of_them_is_undone_once(server):  # noqa: F811
    port, path, media_type = HTTP["otlp protobuf"]
    plain = otlp.export(otlp.span()).SerializeToString()
    for encodings in (["gzip, gzip"], ["gzip", "gzip"], ["identity", "gzip"], ["snappy", "gzip"]):
        connection = http.client.HTTPConnection("127.0.0.1", getattr(server, port), timeout=60)
        connection.putrequest("POST", path)
        body = gzip.compress(gzip.compress(plain))
        for name, value in [("Content-Type", media_type), ("Content-Length", str(len(body)))]:
            connection.putheader(name, value)
        for encoding in encodings:
            connection.putheader("Content-Encoding", encoding)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 400 and b"unsupported Content-Encoding" in text, (encodings, text)
        connection.close()
    for encoding in ("gzip", "snappy", "zstd"):
        answer = post(server, "otlp protobuf", bomb(encoding, 16 * MIB) if encoding != "gzip" else gzip.compress(bomb("gzip", 256 * MIB)), encoding)
        assert answer.status_code == 400, answer.content[:200]


QUESTIONS = {
    "search": ("grpc_port", "/tempopb.StreamingQuerier/Search"),
    "search over http": ("http_port", "/tempopb.StreamingQuerier/Search"),
    "push to an ingester": ("grpc_port", "/tactus.v1.Ingester/Push"),
    "storage": ("storage", "/jaeger.storage.v1.SpanWriterPlugin/WriteSpan"),
}


def compressed_message(encoding, size):
    """An unknown field, which is skipped."""
    zeros = field(1000, bytes(size))
    return gzip.compress(zeros, 9) if encoding == "gzip" else zstandard.compress(zeros, 9)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_messages_that_become_large_count_as_long_as_their_calls_last(server, question, encoding):  # noqa: F811
    """A few kilobytes each that become four or fifteen megabytes, on four hundred calls that do not end."""
    port, path = QUESTIONS[question]
    message = compressed_message(encoding, 15 * MIB if port != "storage" else 3 * MIB)
    with contextlib.ExitStack() as opened:
        for _ in range(10):
            calls = opened.enter_context(contextlib.closing(StalledCalls(getattr(server, port), timeout=3)))
            for _ in range(40):
                if not calls.send(path, message, encoding):
                    break
        with StreamingClient(server.grpc_port) as client:
            eventually(lambda: client.call("SearchTags").code == grpc.StatusCode.OK, "others are answered", 30)
    eventually(lambda: server.metrics()['tactus_server_inflight_bytes{of="requests"}'] < MIB, "memory is given back", 30)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_messages_of_lasting_calls_that_become_large(server, encoding):  # noqa: F811
    """Fifteen megabytes each on calls of the kind that lasts, which between services are few."""
    message = compressed_message(encoding, 15 * MIB)
    with contextlib.closing(StalledCalls(server.grpc_port, timeout=3)) as calls:
        for _ in range(10):
            calls.send("/tactus.v1.Frontend/Process", message, encoding)
        time.sleep(1)
    eventually(lambda: server.metric("tempo_inflight_requests") < 10, "all calls have ended", 30)
