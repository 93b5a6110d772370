"""Floods of frames, packets and connections that ask for nothing, at every port, while an honest tenant pushes and searches."""
import contextlib
import os
import random
import socket
import struct
import time

import pytest
import requests

from harness import dialects, otlp
from harness.clients import at_once
from harness.servers import Servers
from harness.stalled_grpc import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame
from test_hostile_connections import CONTINUATION, PREFACE, connect, fields, headers, many_files, send  # noqa: F401  (fixture)
from test_hostile_tenants import HOSTILE, bounded

PRIORITY, PUSH_PROMISE = 2, 5
GRPC = {"content-type": "application/grpc", "te": "trailers"}
SEARCH = "/tempopb.StreamingQuerier/Search"
SECONDS = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("frames"))
    yield dialects.start(servers, extra={"multitenancy_enabled": True})
    servers.close()


def tcp_ports(server):
    ports = server.ports
    return [
        server.http_port, server.grpc_port, server.otlp_http_port, server.otlp_grpc_port, ports.jaeger_grpc, ports.thrift_http, ports.zipkin,
        ports.query_http, ports.query_grpc, ports.storage_grpc, ports.admin, ports.sampling_http, ports.sampling_grpc]


def opened_call(stream, end=False, path=SEARCH):
    return headers(stream, fields(path, **GRPC, **{"x-scope-orgid": "hostile"}), end_stream=end)


def again_and_again(piece):
    """Sends `piece` until time is over or the server ends the connection."""
    def flood(connection):
        data, left = piece * max(1, 60_000 // len(piece)), time.monotonic() + SECONDS
        while time.monotonic() < left and send(connection, data):
            pass
    return flood


def many_streams(of_stream, count=1000):
    """Frames of ever new streams."""
    def flood(connection):
        stream, left = 1, time.monotonic() + SECONDS
        while time.monotonic() < left:
            data = b"".join(of_stream(number) for number in range(stream, stream + 2 * count, 2))
            if not send(connection, data):
                return
            stream += 2 * count
    return flood


def on_a_call(piece):
    """As `again_and_again`, of frames that belong to a call."""
    def flood(connection):
        send(connection, opened_call(1))
        again_and_again(piece)(connection)
    return flood


def window_of_zero(connection):
    """Answers of which nobody may send a byte; every now and then one of them."""
    send(connection, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    for stream in range(1, 200, 2):
        message = b"\0\0\0\0\0"
        send(connection, opened_call(stream) + frame(DATA, END_STREAM, stream, message))
    again_and_again(frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))(connection)


def one_byte_windows(connection):
    """Settings that change the windows of open calls again and again."""
    for stream in range(1, 100, 2):
        send(connection, opened_call(stream))
    settings = b"".join(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, size)) for size in (0, 1, 65_535, 2**31 - 1))
    again_and_again(settings)(connection)


def table_sizes(connection):
    again_and_again(frame(SETTINGS, 0, 0, struct.pack(">HIHI", 1, 0, 1, 2**32 - 1)))(connection)


FLOODS = {
    "settings": again_and_again(frame(SETTINGS, 0, 0, b"")),
    "settings of 16 kB": again_and_again(frame(SETTINGS, 0, 0, struct.pack(">HI", 0x99, 1) * 2700)),
    "table sizes": table_sizes,
    "pings": again_and_again(frame(PING, 0, 0, b"12345678")),
    "answers to pings": again_and_again(frame(PING, ACK, 0, b"12345678")),
    "rapid reset": many_streams(lambda stream: opened_call(stream) + frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))),
    "calls that end at once": many_streams(lambda stream: opened_call(stream, end=True), 100),
    "wrong messages": many_streams(lambda stream: opened_call(stream) + frame(DATA, END_STREAM, stream, b"\xff" * 5), 100),
    "resets by wrong frames": many_streams(lambda stream: opened_call(stream) + frame(WINDOW_UPDATE, 0, stream, bytes(4)), 100),
    "head that goes on": lambda connection: (
        send(connection, frame(HEADERS, 0, 1, fields(SEARCH, **GRPC))), again_and_again(frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 20))(connection)),
    "empty parts of a head": lambda connection: (
        send(connection, frame(HEADERS, 0, 1, fields(SEARCH, **GRPC))), again_and_again(frame(CONTINUATION, 0, 1, b""))(connection)),
    "empty data": on_a_call(frame(DATA, 0, 1, b"")),
    "padding": on_a_call(frame(DATA, 8, 1, b"\xff" + bytes(255))),
    "window updates": on_a_call(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big"))),
    "window overflow": on_a_call(frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4, "big"))),
    "priorities": many_streams(lambda stream: frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 1)) * 4),
    "unknown frames": again_and_again(frame(0xbe, 0, 0, bytes(100))),
    "trailers": many_streams(lambda stream: opened_call(stream) + frame(HEADERS, END_HEADERS | END_STREAM, stream, b""), 50),
    "promises": again_and_again(frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4))),
    "goodbyes": again_and_again(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"x" * 1000)),
    "window of zero": window_of_zero,
    "changing windows": one_byte_windows,
    "frames too long": again_and_again(b"\xff\xff\xff\0\0\0\0\0\1" + bytes(1000)),
    "noise": lambda connection: again_and_again(random.Random(7).randbytes(4096))(connection),
}


def flood_ports(server, names):
    """Each of these floods at each port of HTTP/2, all at once. Nobody reads what the server answers."""
    ports = [server.grpc_port, server.http_port, server.otlp_grpc_port, server.ports.query_grpc]
    floods = [(FLOODS[name], port) for name in names for port in ports]

    def run(number):
        flood, port = floods[number]
        with contextlib.ExitStack() as opened:
            connection = connect(opened, port, receive_bytes=4096)
            connection.settimeout(SECONDS)
            if send(connection, PREFACE + frame(SETTINGS, 0, 0, b"")):
                flood(connection)

    with bounded(server):
        at_once(run, len(floods), len(floods))


def test_floods_of_frames(server):
    flood_ports(server, list(FLOODS))


@pytest.mark.hostile
@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_frames_by_itself(server, name):
    flood_ports(server, [name] * 2)


UPGRADES = [
    b"GET /ui/api/tail HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + b"\x81\xfe" * 50_000,
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + PREFACE,
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n" + bytes(1000),
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /flush HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdefg",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;" + b"e" * 200_000,
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000,
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 50_000,
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
    b"GET http://elsewhere/ready HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /ready HTTP/0.9\r\n\r\n", b"GET /ready HTTP/3.0\r\n\r\n", b"GET /ready\r\n\r\n",
    b"GET /ready HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", b"GET /ready HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: a\0b\r\n\r\n",
    b"GET /\xff\xfe\0 HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n" * 100_000, b"\n" * 10, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n" + bytes(20), b"A" * 100_000,
    b"GET / HTTP/1.1\r\n" + b"Host: x\r\n" * 90 + b"\r\n",
]


def test_heads_and_upgrades_that_are_odd(server):
    """At each port; each is answered or cut, none waits for a body that was never meant, and none is taken for another request."""
    def ask(number):
        request, port = UPGRADES[number // len(ports)], ports[number % len(ports)]
        with contextlib.ExitStack() as opened:
            connection = connect(opened, port)
            connection.settimeout(1.5)
            send(connection, request)
            answer = b""
            with contextlib.suppress(OSError):
                while part := connection.recv(65_536):
                    answer += part
            return request[:60], port, answer

    ports = tcp_ports(server)
    with bounded(server):
        for request, port, answer in at_once(ask, len(UPGRADES) * len(ports), 40):
            assert not answer.startswith(b"HTTP/1.1 101") and not answer.startswith(b"HTTP/1.1 5"), (request, port, answer[:300])
            assert answer.count(b"HTTP/1.1 2") <= 1, (request, port, answer[:300])
            if request.startswith(b"CONNECT"):
                assert not answer.startswith(b"HTTP/1.1 2"), (request, port, answer[:300])


def test_body_whose_chunks_have_one_byte_each(server):
    """At a handler that collects its body. Kept one by one they would take forty times their bytes."""
    server.forget_peak()
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        connection = connect(opened, server.http_port)
        connection.settimeout(30)
        send(connection, b"POST /jaeger/api/transform HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: hostile\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(150):
            send(connection, b"1\r\n \r\n" * 10_000)
        send(connection, b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert server.peak_resident_bytes() - before < 30 << 20


def test_floods_of_packets(servers):
    """At the ports of Jaeger's agent: good ones, noise, empty ones and the largest ones."""
    server = dialects.start(servers)
    ports = server.ports
    packets = [dialects.COMPACT, dialects.BINARY, b"", os.urandom(65_000), dialects.COMPACT[:20], b"\x82\x81" + b"\xff" * 60_000, bytes(65_000)]
    before = server.metric("tempo_distributor_spans_received_total")

    def flood(number):
        left, sent = time.monotonic() + 2 * SECONDS, 0
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            while time.monotonic() < left:
                for port in (ports.compact, ports.binary, ports.legacy):
                    sender.sendto(packets[(number + sent) % len(packets)], ("127.0.0.1", port))
                    sent += 1
        return sent

    with bounded(server):
        sent = sum(at_once(flood, 4, 4))
    print(f"{sent} packets sent, {server.metric('tempo_distributor_spans_received_total') - before:.0f} spans received besides")


def test_ten_thousand_idle_connections(server):
    """To all ports, of clients of HTTP/1.1 that said half a line, of clients of HTTP/2 that said hello, and of silent ones."""
    ports, count = tcp_ports(server), 10_000
    beginnings = [b"", b"GET /re", PREFACE + frame(SETTINGS, 0, 0, b"")]
    with bounded(server), contextlib.ExitStack() as opened:
        before = server.resident_bytes()
        for number in range(count):
            send(connect(opened, ports[number % len(ports)]), beginnings[number % len(beginnings)])
        grown = server.resident_bytes() - before
        print(f"{count} connections: {grown / count / 1024:.1f} KiB each")
        started = time.monotonic()
        assert requests.get(server.url + "/ready", timeout=10).status_code == 200
        answer = server.push(otlp.export(otlp.span()), headers=HOSTILE, timeout=10)
        assert answer.status_code == 200 and time.monotonic() - started < 5
