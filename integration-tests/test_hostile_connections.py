"""Connections that mean harm: heads and messages that do not end, calls of very many header lines, clients that take no bytes.

As in test_memory.py an honest client sends meanwhile, and the process has a bound."""
import contextlib
import resource
import select
import socket
import struct
import time

import pytest

from harness import otlp
from harness.ports import free_ports
from harness.protobuf import field, fixed64_field
from harness.stalled_grpc import END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, SETTINGS, StalledCalls, frame, literal
from harness.streaming import pb
from harness.waiting import eventually
from test_memory import bounded, push_small_spans, server  # noqa: F401  (fixtures)

CONTINUATION = 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEALTH = "/grpc.health.v1.Health/Check"
GRPC = {"content-type": "application/grpc", "te": "trailers"}


@pytest.fixture(scope="module", autouse=True)
def many_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def connect(opened, port, receive_bytes=None):
    connection = opened.enter_context(contextlib.closing(socket.socket()))
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    return connection


def send(connection, data):
    """False once the server has cut the connection."""
    try:
        connection.sendall(data)
        return True
    except OSError:
        return False


def fields(path, method="POST", **more):
    named = {":method": method, ":scheme": "http", ":path": path, ":authority": "x", **more}
    return b"".join(literal(*one) for one in named.items())


def headers(stream, block, end_stream=False):
    """The frames of a head of any size."""
    parts = [block[at:at + 16_000] for at in range(0, len(block), 16_000)]
    frames = b""
    for number, part in enumerate(parts):
        kind, flags = (CONTINUATION, 0) if number else (HEADERS, END_STREAM if end_stream else 0)
        frames += frame(kind, flags | (END_HEADERS if number == len(parts) - 1 else 0), stream, part)
    return frames


@pytest.mark.parametrize(("port", "method"), [("http", b"GET"), ("otlp_http", b"GET"), ("grpc", b"PRIX")])
def test_heads_that_never_end(server, port, method):  # noqa: F811
    """Two thousand of 120 kB: those that do not go on make room for others."""
    before = server.resident_bytes()
    head = method + b" / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 120_000
    with contextlib.ExitStack() as opened:
        for _ in range(2_000):
            send(connect(opened, getattr(server, f"{port}_port")), head)
        grown = server.peak_resident_bytes() - before
        assert grown < 180 << 20, f"{grown >> 20} MiB"


@pytest.mark.parametrize("port", ["http", "grpc", "otlp_grpc"])
def test_heads_over_http2_that_never_end(server, port):  # noqa: F811
    """Fifteen hundred of 4 kB, which take 290 kB each: a header line may be a byte."""
    before = server.resident_bytes()
    head = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 0, 1, fields("/") + LINES)
    with contextlib.ExitStack() as opened:
        for _ in range(1_500):
            send(connect(opened, getattr(server, f"{port}_port")), head)
        time.sleep(2)
        grown = server.peak_resident_bytes() - before
        assert grown < 200 << 20, f"{grown >> 20} MiB"


def is_open(connection):
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        try:
            while connection.recv(65_536):
                pass
        except ConnectionError:
            pass
        return False
    return True


def test_heads_that_never_end_have_a_time_limit_in_both_versions(servers):
    started = servers.start(config={"server": {"http_server_read_header_timeout": "2s"}})
    heads = [PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 0, 1, fields("/")), b"PRIX / HTTP/1.1\r\nX-A: a", b"GET / HTTP/1.1\r\nX-A: a"]
    with contextlib.ExitStack() as opened:
        connections = [connect(opened, started.grpc_port) for _ in heads]
        assert all(send(*one) for one in zip(connections, heads))
        eventually(lambda: not any(is_open(connection) for connection in connections), "all are cut", 20)


def test_many_short_heads_do_not_cost_a_reader_its_answer(servers):
    """Each is below what is left alone, but together they are more than the bound: one after another has to go."""
    started = servers.start(config={"server": {"max_connection_bytes": 2 << 20}})
    trace_id = b"\x31" * 16
    started.must_push(otlp.export(otlp.span(trace_id=trace_id, attributes={f"k{number}": "v" * 2000 for number in range(2_200)})))
    ask = f"GET /api/traces/{trace_id.hex()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "
    with contextlib.ExitStack() as opened:
        begun = [connect(opened, started.otlp_http_port) for _ in range(320)]
        for connection in begun:
            send(connection, head + b"a" * (7_900 - len(head)))
        for _ in range(3):
            reader = connect(opened, started.http_port, receive_bytes=8192)
            send(reader, ask)
            got = bytearray()
            while piece := reader.recv(65_536):
                got += piece
                time.sleep(0.002)
            assert len(got) > 4 << 20, "it is whole"
        assert 100 < sum(is_open(connection) for connection in begun) < 320


def first_window(opened, port):
    """What a new connection may send ahead on one call."""
    connection = connect(opened, port)
    send(connection, PREFACE + frame(SETTINGS, 0, 0, b""))
    stream = opened.enter_context(connection.makefile("rb"))
    while head := stream.read(9):
        payload = stream.read(int.from_bytes(head[:3], "big"))
        if head[3] == SETTINGS and payload:
            return dict(struct.iter_unpack(">HI", payload))[INITIAL_WINDOW_SIZE]
    raise AssertionError("the server closed the connection")


@pytest.mark.parametrize("has_internal_port", [False, True], ids=["grpc", "internal_grpc"])
def test_silent_connections_to_public_ports_leave_services_their_windows(servers, has_internal_port):
    internal, = free_ports(1)
    own_port = {"internal_grpc_listen_address": "127.0.0.1", "internal_grpc_listen_port": internal}
    started = servers.start(config={"server": own_port if has_internal_port else {}})
    public = [started.http_port, started.otlp_http_port, started.otlp_grpc_port]
    public += [started.grpc_port] if has_internal_port else []
    with contextlib.ExitStack() as opened:
        windows = {port: [first_window(opened, port) for _ in range(60)] for port in public}
        assert windows[public[-1]][-1] == 65_535, "there are enough of them to take all"
        assert first_window(opened, internal if has_internal_port else started.grpc_port) == 1 << 20


def test_bound_of_what_connections_hold_is_configured(servers):
    started = servers.start(config={"server": {"max_connection_bytes": 1 << 20}})
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 60_000
    with contextlib.ExitStack() as opened:
        connections = [connect(opened, started.http_port) for _ in range(40)]
        for connection in connections:
            send(connection, head)

        def is_cut():
            ready, _, _ = select.select(connections, [], [], 0)
            return ready

        # Nothing is answered: whoever has something to read is told of the end.
        eventually(is_cut, "a connection is cut", 20)


# One line of two bytes, put into the table of the connection, and each further one a single byte.
LINES = b"\x40\x01a\x00" + b"\xbe" * 3_800


@pytest.mark.parametrize(("port", "path", "streams", "more"), [
    ("otlp_grpc", EXPORT, 500, GRPC),
    ("otlp_grpc", HEALTH, 500, GRPC),
    ("grpc", "/tempopb.StreamingQuerier/Search", 100, GRPC),
    ("otlp_http", "/v1/traces", 100, {"content-type": "application/x-protobuf"}),
], ids=["otlp_grpc", "health", "grpc", "otlp_http"])
def test_calls_of_thousands_of_header_lines(server, port, path, streams, more):  # noqa: F811
    """Each has 3 800 lines in 4 kB, and takes a hundred times that; none ends."""
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        for _ in range(8_000 // streams):
            connection = connect(opened, getattr(server, f"{port}_port"))
            send(connection, PREFACE + frame(SETTINGS, 0, 0, b""))
            for number in range(streams):
                if not send(connection, headers(2 * number + 1, fields(path, **more) + LINES)):
                    break
        grown = server.peak_resident_bytes() - before
        assert grown < 350 << 20, f"{grown >> 20} MiB"


def test_messages_of_lasting_calls_that_never_end(server):  # noqa: F811
    """What of a message has come counts before the service knows what it is."""
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        calls = [opened.enter_context(contextlib.closing(StalledCalls(server.grpc_port, timeout=3))) for _ in range(20)]
        for call in calls:
            with contextlib.suppress(OSError):
                call.begin("/tactus.v1.Frontend/Process", 15 << 20)
        grown = server.peak_resident_bytes() - before
        print(f"{grown >> 20} MiB, {sum(bool(call.ended) for call in calls)} of {len(calls)} cut off")
        assert grown < 220 << 20, f"{grown >> 20} MiB"
    eventually(lambda: server.metric("tempo_inflight_requests") < 10, "all calls have ended", 30)


def test_messages_of_lasting_calls_that_nobody_reads(server):  # noqa: F811
    """Of a hundred clients that send pushes and take no answers: what waits to be read is in windows, which are bounded together."""
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        calls = [opened.enter_context(contextlib.closing(StalledCalls(server.grpc_port))) for _ in range(100)]
        sent = [call.fill("/tactus.v1.Pushes/Stream") + call.fill("/tactus.v1.Pushes/Stream") for call in calls]
        grown = server.peak_resident_bytes() - before
        print(f"{grown >> 20} MiB, {sent[0]} and {sent[-1]} bytes")
        assert sent[-1] < sent[0], "later ones may send less ahead"
        assert grown < 150 << 20, f"{grown >> 20} MiB"
    eventually(lambda: server.metric("tempo_inflight_requests") < 10, "all calls have ended", 30)


def inflight(server, of):
    return server.metrics()[f'tactus_server_inflight_bytes{{of="{of}"}}']


def test_streams_of_series_that_nobody_reads(server):  # noqa: F811
    """Of 60 000 series, 25 times: what is made of the answer counts until it is sent, and all of it is given back."""
    push_small_spans(server, 60_000, per_trace=4)
    now = int(time.time())
    request = pb.QueryRangeRequest(
        query="{ } | rate() by (span:id)", start=(now - 600) * 10**9, end=(now + 60) * 10**9, step=660 * 10**9).SerializeToString()
    counted = 0
    with contextlib.ExitStack() as opened:
        for _ in range(5):
            call = opened.enter_context(contextlib.closing(StalledCalls(server.grpc_port)))
            for _ in range(5):
                call.ask("/tempopb.StreamingQuerier/MetricsQueryRange", request)

        def is_waiting():
            nonlocal counted
            counted = max(counted, inflight(server, "requests"))
            return counted > 8 << 20

        eventually(is_waiting, "answers wait for their clients", 60)
    print(f"{counted / 2**20:.0f} MiB counted")

    def is_given_back():
        return all(inflight(server, of) < 1 << 20 for of in ("requests", "queries"))

    eventually(is_given_back, "memory is given back", 60)
    server.flush()


def test_answers_over_http2_of_which_nobody_takes_a_byte(server):  # noqa: F811
    """Of a large span, asked for a thousand times by clients whose windows are of one byte."""
    trace_id = b"\x0d" * 16
    server.must_push(otlp.export(otlp.span(trace_id=trace_id, attributes={f"k{number}": '"' * 2000 for number in range(2_300)})))
    ask = fields(f"/api/traces/{trace_id.hex()}", "GET")
    with contextlib.ExitStack() as opened:
        for _ in range(10):
            connection = connect(opened, server.http_port, receive_bytes=4096)
            send(connection, PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1)))
            for number in range(100):
                send(connection, headers(2 * number + 1, ask, end_stream=True))
        # The honest client gets on, which the fixture looks at.
        time.sleep(5)


def test_trace_whose_spans_differ_in_their_names_only(server):  # noqa: F811
    """They were compared pair by pair once."""
    times = fixed64_field(7, time.time_ns()) + fixed64_field(8, time.time_ns())
    spans = [field(2, field(1, b"\x21" * 16) + field(2, b"\1" * 8) + field(5, b"n%d" % number) + times) for number in range(30_000)]
    server.must_push(field(1, field(2, b"".join(spans))))
    began = time.monotonic()
    assert len(server.trace("21" * 16)) == 30_000
    assert time.monotonic() - began < 20
