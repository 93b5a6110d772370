"""Memory under attack: whatever is sent, the peak stays below half a GiB, and what an honest client sends is kept.

Each attack is a body of megabytes that is made of almost nothing, many that never end, or one that an error would repeat."""
import contextlib
import gzip
import json
import os
import socket
import struct
import threading
import time

import grpc
import pytest
import requests

from harness import jaeger, otlp
from harness.clients import at_once
from harness.ports import free_ports
from harness.protobuf import field, fixed64_field
from harness.servers import Servers
from harness.stalled_grpc import StalledCalls
from harness.streaming import StreamingClient
from harness.waiting import eventually

PEAK = 512 << 20
ERROR_BYTES = 1 << 10
PLAIN = 19 << 20
PROTOBUF, JSON = "application/x-protobuf", "application/json"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    thrift, model, zipkin, storage = free_ports(4)
    servers = Servers(tmp_path_factory.mktemp("memory"))
    at = "127.0.0.1:{}".format
    started = servers.start(config={
        "distributor": {"receivers": {
            "jaeger": {"protocols": {"thrift_http": {"endpoint": at(thrift)}, "grpc": {"endpoint": at(model)}}},
            "zipkin": {"endpoint": at(zipkin)},
        }},
        "query_frontend": {"jaeger": {"storage": {"endpoint": at(storage)}}},
    })
    started.thrift, started.model, started.zipkin, started.storage = thrift, model, zipkin, storage
    yield started
    servers.close()


class Honest(threading.Thread):
    """Sends a small trace every now and then, and again where it is told to; remembers what was acknowledged."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended, self.traces, self.refused = server, threading.Event(), [], []

    def run(self):
        session = requests.Session()
        while not self.ended.is_set():
            spans = otlp.trace(3)
            body = otlp.export(*spans).SerializeToString()
            for _ in range(60):
                answer = session.post(
                    self.server.otlp_url + "/v1/traces", data=body, headers={"Content-Type": PROTOBUF}, timeout=60)
                if answer.status_code not in (429, 503) or "Retry-After" not in answer.headers:
                    break
                time.sleep(float(answer.headers["Retry-After"]))
            if answer.status_code == 200:
                self.traces.append(spans[0].trace_id.hex())
            else:
                self.refused.append((answer.status_code, answer.text[:200]))
            self.ended.wait(0.05)


@pytest.fixture(autouse=True)
def bounded(server):
    """The peak of each attack by itself; an honest client sends meanwhile and loses nothing."""
    server.forget_peak()
    honest = Honest(server)
    honest.start()
    eventually(lambda: honest.traces, "the first trace", 30)
    yield
    sent = len(honest.traces)
    eventually(lambda: len(honest.traces) > sent, "a trace after the attack", 60)
    honest.ended.set()
    honest.join(60)
    assert not honest.refused, honest.refused
    assert server.is_running()
    peak = server.peak_resident_bytes()
    print(f"peak {peak >> 20} MiB, {len(honest.traces)} honest traces")
    assert peak < PEAK, f"{peak >> 20} MiB"
    for trace in honest.traces[:5] + honest.traces[-5:]:
        assert len(server.trace(trace)) == 3


def post(server, port, path, body, media_type, **headers):
    compressed = gzip.compress(body, 1)
    return requests.post(
        f"http://127.0.0.1:{port}{path}", data=compressed,
        headers={"Content-Type": media_type, "Content-Encoding": "gzip", **headers}, timeout=120)


def cases(table, *usual):
    """The cases of a table; all but the usual ones are for make test-hostile, for together they take minutes."""
    return [
        pytest.param(case, id=name, marks=() if name in usual else pytest.mark.hostile) for name, case in table.items()]


IDS = field(1, b"\x07" * 16) + field(2, b"\x08" * 8)


def filled(element, size=PLAIN):
    return element * (size // len(element))


def json_of(prefix, element, suffix, size=PLAIN):
    return f"{prefix}{element}".encode() + filled(f",{element}".encode(), size - 100) + suffix.encode()


SPANS = '{"resourceSpans":[{"scopeSpans":[{"spans":['
SPAN = SPANS + '{"traceId":"%s","spanId":"%s",' % ("07" * 16, "08" * 8)
OTLP_JSON = {
    "null spans": (SPANS, "null", "]}]}]}"),
    "empty spans": (SPANS, "{}", "]}]}]}"),
    "empty resources": ('{"resourceSpans":[', "{}", "]}"),
    "null scopes": ('{"resourceSpans":[{"scopeSpans":[', "null", "]}]}"),
    "empty attributes": (SPAN + '"attributes":[', "{}", "]}]}]}]}"),
    "empty events": (SPAN + '"events":[', "{}", "]}]}]}]}"),
    "empty values": (SPAN + '"attributes":[{"value":{"arrayValue":{"values":[', "{}", "]}}}]}]}]}]}"),
    "empty keys": ('{"resourceSpans":[{"resource":{"entityRefs":[{"idKeys":[', '""', "]}]}}]}"),
    "empty resource attributes": ('{"resourceSpans":[{"resource":{"attributes":[', "{}", "]}}]}"),
}


@pytest.mark.parametrize("parts", cases(OTLP_JSON, "null spans", "empty attributes"))
def test_json_of_nothing(server, parts):
    answer = post(server, server.otlp_http_port, "/v1/traces", json_of(*parts), JSON)
    assert answer.status_code in (200, 400), answer.text
    assert len(answer.content) < 2 * ERROR_BYTES
    if parts[1] == "null":
        assert "[0]: invalid type: null" in answer.json()["message"]


# Made by the test that needs one: every process imports this file, and they are large.
OTLP_PROTOBUF = {
    "resources": lambda: filled(b"\x0a\x00"),
    "scopes": lambda: field(1, filled(b"\x12\x00")),
    "spans": lambda: field(1, field(2, filled(b"\x12\x00"))),
    "a span a scope": lambda: field(1, filled(field(2, field(2, b"")))),
    "a span a resource": lambda: filled(field(1, field(2, field(2, b"")))),
    "attributes": lambda: field(1, field(2, field(2, IDS + filled(b"\x4a\x00")))),
    "events": lambda: field(1, field(2, field(2, IDS + filled(b"\x5a\x00")))),
    "links": lambda: field(1, field(2, field(2, IDS + filled(b"\x6a\x00")))),
    "attributes of an event": lambda: field(1, field(2, field(2, IDS + field(11, filled(b"\x1a\x00"))))),
    "attributes of a resource": lambda: field(1, field(1, filled(b"\x0a\x00")) + field(2, field(2, IDS))),
    "values of a list": lambda: field(1, field(2, field(2, IDS + field(9, field(2, field(5, filled(b"\x0a\x00"))))))),
}


@pytest.mark.parametrize("body", cases(OTLP_PROTOBUF, "a span a scope", "events"))
def test_protobuf_of_nothing(server, body):
    answer = post(server, server.otlp_http_port, "/v1/traces", body(), PROTOBUF)
    # A busy machine may take too long to find out.
    assert answer.status_code in (200, 400, 503), answer.content
    assert len(answer.content) < 2 * ERROR_BYTES


ZIPKIN_ID = '[{"traceId":"0000000000000007","id":"0000000000000008",'
ZIPKIN = {
    "null spans": ("[", "null", "]"),
    "empty spans": ("[", "{}", "]"),
    "annotations": (ZIPKIN_ID + '"annotations":[', '{"timestamp":1}', "]}]"),
    "null annotations": (ZIPKIN_ID + '"annotations":[', "null", "]}]"),
    "tags": (ZIPKIN_ID + '"tags":{', '"":""', "}}]"),
}


@pytest.mark.parametrize("parts", cases(ZIPKIN, "tags"))
def test_zipkin_of_nothing(server, parts):
    answer = post(server, server.zipkin, "/api/v2/spans", json_of(*parts), JSON)
    assert answer.status_code in (202, 400), answer.text
    assert len(answer.content) < 2 * ERROR_BYTES


def thrift_batch(spans):
    """A batch of these spans and a process, in Thrift's binary protocol."""
    process = b"\x0c\x00\x01\x0b\x00\x01" + struct.pack(">I", 3) + b"svc\x00"
    return process + b"\x0f\x00\x02\x0c" + struct.pack(">I", len(spans)) + b"".join(spans) + b"\x00"


def thrift_span(tags):
    fields = b"".join(b"\x0a" + struct.pack(">hq", number, 7) for number in (1, 2, 3, 4))
    fields += b"\x0b\x00\x05" + struct.pack(">I", 0) + b"\x08\x00\x07" + bytes(4)
    fields += b"\x0a\x00\x08" + bytes(8) + b"\x0a\x00\x09" + bytes(8)
    tag = b"\x0b\x00\x01" + bytes(4) + b"\x08\x00\x02" + bytes(4) + b"\x00"
    return fields + b"\x0f\x00\x0a\x0c" + struct.pack(">I", tags) + tag * tags + b"\x00"


@pytest.mark.parametrize(("spans", "tags"), [(1, 1_200_000), pytest.param(40_000, 30, marks=pytest.mark.hostile)])
def test_thrift_of_nothing(server, spans, tags):
    body = thrift_batch([thrift_span(tags)] * spans)[:PLAIN]
    answer = post(server, server.thrift, "/api/traces", body, "application/x-thrift")
    assert answer.status_code in (202, 400), answer.text
    assert len(answer.content) < 2 * ERROR_BYTES


def call(port, method, body):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(method, request_serializer=lambda it: it, response_deserializer=lambda it: it)
        try:
            ask(body, timeout=60)
            return ""
        except grpc.RpcError as error:
            return error.details()


JAEGER = {
    "spans": ("model", "jaeger.api_v2.CollectorService/PostSpans", field(1, filled(b"\x0a\x00", 3_800_000))),
    "tags": ("model", "jaeger.api_v2.CollectorService/PostSpans", field(1, field(1, filled(b"\x42\x00", 3_800_000)))),
    "tags of a written span": (
        "storage", "jaeger.storage.v1.SpanWriterPlugin/WriteSpan", field(1, filled(b"\x42\x00", 3_800_000))),
    "logs of an archived span": (
        "storage", "jaeger.storage.v1.ArchiveSpanWriterPlugin/WriteArchiveSpan", field(1, filled(b"\x4a\x00", 3_800_000))),
    "an export": (
        "storage", "opentelemetry.proto.collector.trace.v1.TraceService/Export",
        field(1, field(2, field(2, IDS + filled(b"\x5a\x00", 3_800_000))))),
}


@pytest.mark.parametrize("case", cases(JAEGER, "tags", "tags of a written span"))
def test_jaeger_of_nothing(server, case):
    port, method, body = case
    assert len(call(getattr(server, port), "/" + method, body)) <= ERROR_BYTES


FILES = {
    "null spans": (SPANS, "null", "]}]}]}"),
    "empty spans": (SPANS, "{}", "]}]}]}"),
    "documents": ("", "{}", ""),
    "Jaeger's traces": ('{"data":[', '{"spans":[]}', "]}"),
    "Jaeger's values": (
        '{"data":[{"spans":[{"traceID":"1","spanID":"1","startTime":0,"duration":0,"tags":[{"key":"","value":[',
        "0", "]}]}]}]}"),
    "Jaeger's warnings": (
        '{"data":[{"spans":[{"traceID":"1","spanID":"1","startTime":0,"duration":0,"warnings":[', '""', "]}]}]}"),
    "a trace a span": (SPANS + "{}", '{"traceId":"%s"}' % ("07" * 16), "]}]}]}"),
}


@pytest.mark.parametrize("path", ["/ui/api/trace-file", "/jaeger/api/transform"])
@pytest.mark.parametrize("parts", cases(FILES, "null spans"))
def test_files_of_nothing(server, path, parts):
    answer = requests.post(server.url + path, data=gzip.compress(json_of(*parts, size=15 << 20), 1), timeout=120)
    assert answer.status_code in (200, 400, 422), answer.text[:300]
    assert answer.status_code == 200 or len(answer.content) < 2 * ERROR_BYTES


def test_trace_a_span_of_a_large_resource(server):
    """Each trace has a copy of the resource that they share."""
    attributes = [{"key": f"k{number}", "value": {"intValue": number}} for number in range(5_000)]
    spans = [{"traceId": f"{number:032x}", "spanId": "0" * 15 + "1"} for number in range(1, 20_000)]
    file = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}]}
    answer = requests.post(server.url + "/jaeger/api/transform", data=json.dumps(file), timeout=120)
    assert answer.status_code == 400, answer.text[:300]


def test_unfinished_bodies(server):
    """Sixty bodies of which a byte is missing: they make room for those that come, and get told to come again."""
    body = bytes(20 << 20)
    head = (f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n")
    opened = []

    def send():
        connection = socket.create_connection(("127.0.0.1", server.otlp_http_port), timeout=60)
        opened.append(connection)
        try:
            connection.sendall(head.encode())
            connection.sendall(memoryview(body)[:-1])
        except OSError:
            pass  # cut off

    try:
        for _ in range(60):
            send()
        assert server.metric("tactus_distributor_inflight_bytes") > 20 << 20
        refused = b""
        for connection in opened:
            connection.settimeout(0.05)
            try:
                refused = connection.recv(4096)
            except OSError:
                continue
            if refused:
                break
        assert b" 503 " in refused and b"retry-after" in refused.lower(), refused
    finally:
        for connection in opened:
            connection.close()
    eventually(lambda: server.metric("tactus_distributor_inflight_bytes") < 1 << 20, "memory is given back", 60)


def push_large_trace(server, trace_id, spans=1):
    """Of five megabytes, and nine as JSON."""
    attributes = {f"k{number}": '"' * 2000 for number in range(2_300 // spans)}
    server.must_push(otlp.export(*(otlp.span(trace_id=trace_id, attributes=attributes) for _ in range(spans))))
    return trace_id


def test_answers_that_nobody_reads(server):
    """Seventy of nine megabytes: those that are not read make room for those that are."""
    trace_id = push_large_trace(server, b"\x0a" * 16)
    head = f"GET /api/traces/{trace_id.hex()} HTTP/1.1\r\nHost: x\r\nAccept: {JSON}\r\n\r\n".encode()
    opened, statuses = [], []
    try:
        for _ in range(70):
            connection = socket.socket()
            opened.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", server.http_port))
            connection.sendall(head)
            statuses.append(connection.recv(12)[9:])
        assert set(statuses) <= {b"200", b"503"} and statuses.count(b"200") > 30, statuses

        def read():
            """An answer. One that is not read fast enough may have to make room, too: then it is asked for again."""
            with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
                return server.get(f"/api/traces/{trace_id.hex()}", timeout=60)

        answer = eventually(read, "an answer that is read", 60)
        assert answer.status_code == 200 and len(answer.json()["batches"]) == 1, answer.text[:300]
    finally:
        for connection in opened:
            connection.close()


def test_answers_over_grpc_that_nobody_reads(server):
    """As over HTTP. Whoever loses is told which limit it met."""
    spans = 46
    request = jaeger.storage_v1.GetTraceRequest(trace_id=push_large_trace(server, b"\x0b" * 16, spans))

    def ask(channel):
        return jaeger.storage_v1_grpc.SpanReaderPluginStub(channel).GetTrace(request, timeout=120)

    with contextlib.ExitStack() as opened:
        calls = []
        for _ in range(70):
            few_ahead = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]
            channel = grpc.insecure_channel(f"127.0.0.1:{server.storage}", options=few_ahead)
            calls.append(ask(opened.enter_context(channel)))
            # The rest waits at the server.
            next(calls[-1])
        with jaeger.channel(server.storage) as channel:
            assert sum(len(chunk.spans) for chunk in ask(channel)) == spans
        cut = 0
        for call in calls:
            try:
                assert sum(len(chunk.spans) for chunk in call) < spans, "the first message was read before"
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                assert "server.max_inflight_bytes" in error.details(), error
                cut += 1
        assert 0 < cut < len(calls)
        print(f"{cut} of {len(calls)} answers were cut off")


def push_small_spans(server, count, per_trace):
    """Spans of sixty bytes, as many as a body takes at a time."""
    times = fixed64_field(7, time.time_ns() - 5 * 10**9) + fixed64_field(8, time.time_ns())
    for first in range(0, count, 20_000):
        spans = []
        for number in range(min(20_000, count - first)):
            if number % per_trace == 0:
                trace_id = os.urandom(16)
            spans.append(field(2, field(1, trace_id) + field(2, os.urandom(8)) + field(5, b"small") + times))
        body = field(1, field(2, b"".join(spans)))
        sent = requests.post(server.otlp_url + "/v1/traces", data=body, headers={"Content-Type": PROTOBUF}, timeout=120)
        assert sent.status_code == 200, sent.text


def many_series(server, query):
    now = int(time.time())
    params = {"q": query, "start": now - 600, "end": now + 60, "step": "660s"}
    return requests.get(server.url + "/api/metrics/query_range", params=params, timeout=120)


MANY_GROUPS = {
    "rate": "{ } | rate() by (span:id)",
    "quantiles": "{ } | quantile_over_time(duration, .5, .9, .99) by (span:id)",
    "comparison": "{ } | compare({ name = `small` }, 1000)",
    "arithmetic": "({ } | rate() by (span:id)) / ({ } | count_over_time() by (span:id))",
    "joins": "{ } >> { } | rate() by (span:id)",
}


@pytest.mark.parametrize("query", cases(MANY_GROUPS, "rate", "quantiles"))
def test_series_that_many_clients_ask_for(server, query):
    """What queries hold is bounded in sum: some get their answer, others are told to come again."""
    push_small_spans(server, 60_000, per_trace=4)
    answers = at_once(lambda _: many_series(server, query), 16, 8)
    statuses = [answer.status_code for answer in answers]
    print(f"{statuses.count(200)} of {len(statuses)} answered")
    assert set(statuses) <= {200, 422, 503}, statuses
    for answer in answers:
        # A busy machine may take too long.
        known = ("server.max_inflight_bytes", "max_series_bytes", "configured timeout")
        assert answer.status_code == 200 or any(text in answer.text for text in known), answer.text
    peak = server.peak_resident_bytes()
    assert peak < 350 << 20, f"{peak >> 20} MiB"
    # Given back: of one query that asks alone there is enough for so many series.
    fewer = query.replace("(span:id)", "(name)")
    eventually(lambda: many_series(server, fewer).status_code == 200, "an answer", 60)
    server.flush()


@pytest.mark.parametrize("port", ["grpc", "http"])
def test_unfinished_messages_of_grpc(server, port):
    """Sixty of fifteen MiB at a port where gRPC is answered, each on a connection of its own."""
    number, size = getattr(server, f"{port}_port"), 15 << 20
    calls = [StalledCalls(number, timeout=5) for _ in range(60)]
    try:
        # Those that the server reads no further wait for their time-out: not one after the other.
        at_once(lambda at: calls[at].begin("/tempopb.StreamingQuerier/Search", size), len(calls))
        assert any(call.ended for call in calls), "some were cut off"
        with StreamingClient(number) as client:
            assert client.call("SearchTags").code == grpc.StatusCode.OK
    finally:
        for call in calls:
            call.close()


def test_errors_do_not_repeat_what_came_in(server):
    long = "é" * (9 << 20)
    bodies = [SPANS + '{"kind":"%s"}]}]}]}' % long, SPANS + '{"flags":"%s"}]}]}]}' % long, SPANS + '"%s"]}]}]}' % long]
    for body in bodies:
        answer = post(server, server.otlp_http_port, "/v1/traces", body.encode(), JSON)
        message = answer.json()["message"]
        assert answer.status_code == 400 and len(message.encode()) <= ERROR_BYTES, len(message)
        assert "cut, " in message and message.startswith("resourceSpans[0]"), message
        answer = requests.post(server.url + "/ui/api/trace-file", data=gzip.compress(body[:8 << 20].encode(), 1), timeout=60)
        assert answer.status_code in (400, 422) and len(answer.content) < 2 * ERROR_BYTES, len(answer.content)
    answer = post(server, server.zipkin, "/api/v2/spans", f'[{{"timestamp":"{long}"}}]'.encode(), JSON)
    assert answer.status_code == 400 and len(answer.content) <= 2 * ERROR_BYTES, len(answer.content)
    answer = server.get("/api/search", q="{ .a = " + "x" * 60_000)
    assert answer.status_code == 400 and len(answer.content) <= 2 * ERROR_BYTES, len(answer.content)
    assert max(map(len, server.logs().splitlines())) < 40_000
