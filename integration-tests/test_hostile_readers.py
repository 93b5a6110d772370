"""Clients that read one byte a second: whatever they ask for, at whichever port, they do not hold up others, nor fill memory."""
import contextlib
import select
import socket
import struct
import threading
import time

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from harness import dialects, jaeger, otlp
from harness.honest import Honest
from harness.stalled_grpc import END_STREAM, DATA, HEADERS, INITIAL_WINDOW_SIZE, SETTINGS, WINDOW_UPDATE, END_HEADERS, frame, literal
from harness.streaming import pb
from test_hostile_tenants import HOSTILE, SLOWEST_MEDIAN
from test_memory import PEAK

CLIENTS_EACH = 25
LARGE = b"\x0e" * 16
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
JAEGER = {2: "/jaeger.api_v2.QueryService/", 3: "/jaeger.api_v3.QueryService/"}


@pytest.fixture
def server(servers):
    """With a trace of 10 MB, and more traces than an answer has."""
    started = dialects.start(servers, extra={
        "multitenancy_enabled": True,
        "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    })
    text = "x" * 2_000
    for _ in range(5):
        spans = [otlp.span(trace_id=LARGE, attributes={"text": text, "service": "shop"}) for _ in range(1_000)]
        assert started.push(otlp.export(*spans, service="shop"), headers=HOSTILE).status_code == 200
    for first in range(0, 6_000, 2_000):
        spans = [otlp.span(attributes={"a": first + number, "text": text[:200]}) for number in range(2_000)]
        assert started.push(otlp.export(*spans, service="shop"), headers=HOSTILE).status_code == 200
    return started


def over_http(target, accept="*/*"):
    def open_one(opened, port):
        connection = opened.enter_context(contextlib.closing(socket.socket()))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: hostile\r\nAccept: {accept}\r\n\r\n".encode())
        return lambda: take(connection, 1)
    return open_one


def take(connection, most):
    """The number of bytes that came; None if the server has closed the connection."""
    if not select.select([connection], [], [], 0)[0]:
        return 0
    return len(connection.recv(most)) or None


def over_http2(path, message=None):
    """A call of gRPC, or without a message a GET, on a connection of its own; its window grows by a byte a second."""
    def open_one(opened, port):
        connection = opened.enter_context(contextlib.closing(socket.socket()))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        named = {":method": "GET" if message is None else "POST", ":scheme": "http", ":path": path, ":authority": "x", "x-scope-orgid": "hostile"}
        if message is not None:
            named |= {"content-type": "application/grpc", "te": "trailers"}
        block = b"".join(literal(*one) for one in named.items())
        said = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 1))
        said += frame(HEADERS, END_HEADERS | (END_STREAM if message is None else 0), 1, block)
        if message is not None:
            said += frame(DATA, END_STREAM, 1, b"\0" + len(message).to_bytes(4, "big") + message)
        connection.sendall(said)

        def read():
            connection.sendall(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
            return take(connection, 4_096)
        return read
    return open_one


def attacks(server):
    now = int(time.time())
    seconds = {"start": now - 3600, "end": now + 60}
    nanos = {name: at * 10**9 for name, at in seconds.items()}
    find = jaeger.query_v2.FindTracesRequest(query=jaeger.query_v2.TraceQueryParameters(
        service_name="shop", start_time_min=Timestamp(seconds=seconds["start"]), start_time_max=Timestamp(seconds=seconds["end"]), search_depth=1500))
    series = pb.QueryRangeRequest(query="{ } | rate() by (span:id)", step=60 * 10**9, **nanos)
    window = "&".join(f"{name}={at}" for name, at in seconds.items())
    http, grpc, trace = server.http_port, server.grpc_port, f"/api/traces/{LARGE.hex()}"
    streaming, events = "/tempopb.StreamingQuerier/", "text/event-stream"
    return {
        "search": (http, over_http(f"/api/search?limit=5000&q=%7B%7D&{window}")),
        "trace": (http, over_http(trace)),
        "trace over HTTP/2": (http, over_http2(trace)),
        "series": (http, over_http(f"/api/metrics/query_range?step=60s&q=%7B%7D%7Crate()by(span:id)&{window}")),
        "values": (http, over_http(f"/api/v2/search/tag/span.a/values?{window}")),
        "events of a search": (http, over_http(f"/ui/api/search?limit=5000&q=%7B%7D&{window}", events)),
        "events of series": (http, over_http(f"/ui/api/metrics/query_range?step=60s&q=%7B%7D%7Crate()by(.a)&{window}", events)),
        "live tail": (http, over_http("/ui/api/tail?q=%7B%7D&rate=1000000", events)),
        "metrics": (http, over_http("/metrics")),
        "streamed search": (grpc, over_http2(streaming + "Search", pb.SearchRequest(Query="{ }", Limit=5000, **seconds).SerializeToString())),
        "streamed series": (grpc, over_http2(streaming + "MetricsQueryRange", series.SerializeToString())),
        "Jaeger over HTTP": (server.ports.query_http, over_http(trace)),
        "Jaeger's gRPC": (server.ports.query_grpc, over_http2(
            JAEGER[2] + "GetTrace", jaeger.query_v2.GetTraceRequest(trace_id=LARGE).SerializeToString())),
        "Jaeger's searches": (server.ports.query_grpc, over_http2(JAEGER[2] + "FindTraces", find.SerializeToString())),
        "Zipkin": (server.ports.zipkin, over_http(f"/api/v2/trace/{LARGE.hex()}")),
    }


class Readers(threading.Thread):
    """So many clients of each kind; whoever is cut off comes again."""

    def __init__(self, kinds, each):
        super().__init__(daemon=True)
        self.kinds, self.each = [kind for kind in kinds for _ in range(each)], each
        self.over, self.bytes, self.cut, self.refused = threading.Event(), 0, 0, 0

    def run(self):
        with contextlib.ExitStack() as opened:
            clients = {}
            while not self.over.is_set():
                began = time.monotonic()
                for number, (port, open_one) in enumerate(self.kinds):
                    try:
                        if number not in clients:
                            stack = opened.enter_context(contextlib.ExitStack())
                            clients[number] = stack, open_one(stack, port)
                            continue
                        self.read(clients, number)
                    except OSError:
                        self.refused += 1
                self.over.wait(max(0.0, began + 1 - time.monotonic()))

    def read(self, clients, number):
        stack, read = clients[number]
        with contextlib.suppress(OSError):
            taken = read()
            if taken is not None:
                self.bytes += taken
                return
        self.cut += 1
        stack.close()
        del clients[number]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)


def attack(server, each, seconds, rate):
    server.forget_peak()
    with Honest(server, rate) as honest, Readers(attacks(server).values(), each) as readers:
        time.sleep(seconds)
    honest.lost_nothing()
    peak = server.peak_resident_bytes()
    print(f"{len(readers.kinds)} clients, {readers.cut} cut off, {readers.refused} not let in; peak {peak >> 20} MiB; {honest.figures()}")
    assert readers.bytes > len(readers.kinds), "they read"
    assert server.is_running() and peak < PEAK, f"{peak >> 20} MiB"
    return honest


def test_clients_that_read_a_byte_a_second(server):
    honest = attack(server, 10, seconds=20, rate=500)
    assert sorted(honest.seconds)[len(honest.seconds) // 2] < SLOWEST_MEDIAN, honest.figures()


@pytest.mark.hostile
def test_searches_take_less_than_a_second_while_hundreds_of_clients_read_a_byte_a_second(server):
    honest = attack(server, CLIENTS_EACH, seconds=60, rate=5_000)
    assert honest.p99 <= 1.0, honest.figures()
