"""Input that is wrong, huge or meant to hurt: a clear answer, nothing else disturbed, memory bounded."""
import gzip
import http.client
import json
import os
import random
import socket
import struct
import time
import urllib.parse
import zlib

import grpc
import lz4.frame
import pytest
import zstandard

from harness import answers, otlp
from harness.protobuf import field, varint
from harness.waiting import eventually

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
MEMORY_BOUND = 400 << 20


@pytest.fixture(autouse=True)
def undisturbed(tactus):
    """After every test a good push still works at once, and memory is bounded."""
    yield
    trace_id = otlp.push_trace(tactus)
    assert len(tactus.trace(trace_id)) == 3
    assert tactus.is_running()
    assert tactus.peak_resident_bytes() < MEMORY_BOUND, f"{tactus.peak_resident_bytes() >> 20} MiB"


def post(tactus, body, headers):
    return tactus.session.post(tactus.otlp_url + "/v1/traces", data=body, headers=headers, timeout=60)


def good_body():
    return otlp.export(*otlp.trace(5)).SerializeToString()


# --- not OTLP --------------------------------------------------------------------------------------------------------


def test_random_bytes_never_hurt(tactus):
    seed = random.randrange(2**32)
    random_bytes = random.Random(seed).randbytes
    for size in [1, 2, 3, 7, 50, 1000, 30_000] * 10:
        for headers in (PROTOBUF, JSON):
            status = post(tactus, random_bytes(size), headers).status_code
            assert status in (200, 400), f"seed {seed}, {size} bytes: {status}"


def test_truncated_protobuf_is_400(tactus):
    body = good_body()
    refused = 0
    for end in range(1, len(body), 7):
        status = post(tactus, body[:end], PROTOBUF).status_code
        assert status in (200, 400)
        refused += status == 400
    assert refused > 0


def test_truncated_json_is_400(tactus):
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}).encode()
    for end in range(1, len(body)):
        assert post(tactus, body[:end], JSON).status_code == 400


def test_flipped_bits_never_hurt(tactus):
    seed = random.randrange(2**32)
    generator = random.Random(seed)
    body = good_body()
    for _ in range(300):
        damaged = bytearray(body)
        damaged[generator.randrange(len(body))] ^= 1 << generator.randrange(8)
        assert post(tactus, bytes(damaged), PROTOBUF).status_code in (200, 400), f"seed {seed}"


def test_length_that_promises_gigabytes_is_400(tactus):
    assert post(tactus, b"\x0a\xff\xff\xff\xff\x0f" + b"x" * 100, PROTOBUF).status_code == 400


def test_deeply_nested_json_is_answered(tactus):
    for body in (b"[" * 200_000, b'{"a":' * 200_000, b'{"resourceSpans":' + b"[" * 200_000):
        assert post(tactus, body, JSON).status_code == 400


def test_garbage_over_grpc_is_refused(tactus):
    with otlp.GrpcExporter(tactus.otlp_grpc_port) as exporter:
        for body in (os.urandom(1000), good_body()[:-3], b"\x0a\xff\xff\xff\xff\x0f"):
            with pytest.raises(grpc.RpcError) as caught:
                exporter.export_bytes(body)
            assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("port", ["http_port", "grpc_port", "otlp_http_port", "otlp_grpc_port"])
def test_garbage_on_a_port_is_dropped(tactus, port):
    for data in (os.urandom(500), b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, b"\x16\x03\x01" + os.urandom(200)):
        with socket.create_connection(("127.0.0.1", getattr(tactus, port)), timeout=30) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass  # a reset is a fine answer


# --- too large -------------------------------------------------------------------------------------------------------


def test_oversized_body_is_400_and_grpc_is_resource_exhausted(tactus):
    big = otlp.export(otlp.span(attributes={f"k{i}": "v" * 2000 for i in range(11_000)})).SerializeToString()
    assert len(big) > 20 << 20
    assert post(tactus, big, PROTOBUF).status_code == 400
    with otlp.GrpcExporter(tactus.otlp_grpc_port) as exporter, pytest.raises(grpc.RpcError) as caught:
        exporter.export_bytes(big)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("port, request_line, headers, status", [
    ("otlp_http_port", "POST /nothing", PROTOBUF, 404),
    ("otlp_http_port", "PUT /v1/traces", PROTOBUF, 405),
    ("otlp_http_port", "POST /v1/traces", {"Content-Type": "text/plain"}, 415),
    ("otlp_http_port", "POST /v1/traces", {**PROTOBUF, "Content-Encoding": "unknown"}, 400),
    ("http_port", "POST /api/nothing", JSON, 404),
])
def test_refusal_from_before_the_body_arrives_at_a_client_that_sends_it_slowly(tactus, port, request_line, headers, status):
    piece, pieces = bytes(64 << 10), 50
    lines = [f"{request_line} HTTP/1.1", "Host: x", f"Content-Length: {pieces * len(piece)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", getattr(tactus, port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for _ in range(pieces):
            time.sleep(0.002)
            connection.sendall(piece)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


BOMB_BYTES = 512 << 20


@pytest.fixture(scope="module")
def bombs():
    """512 MiB of zeros, compressed in every way that compresses well."""
    chunk = bytes(1 << 20)
    out = {}
    compressor = zlib.compressobj(9)
    out["zlib"] = b"".join([*(compressor.compress(chunk) for _ in range(BOMB_BYTES >> 20)), compressor.flush()])
    compressor = zlib.compressobj(9, wbits=31)
    out["gzip"] = b"".join([*(compressor.compress(chunk) for _ in range(BOMB_BYTES >> 20)), compressor.flush()])
    compressor = zstandard.ZstdCompressor().compressobj()
    out["zstd"] = b"".join([*(compressor.compress(chunk) for _ in range(BOMB_BYTES >> 20)), compressor.flush()])
    with lz4.frame.LZ4FrameCompressor() as compressor:
        parts = [compressor.begin(), *(compressor.compress(chunk) for _ in range(BOMB_BYTES >> 20)), compressor.flush()]
    out["lz4"] = b"".join(parts)
    return out


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "zstd", "lz4"])
def test_compression_bomb_is_refused_at_the_limit(tactus, bombs, encoding):
    for headers in (PROTOBUF, JSON):
        response = post(tactus, bombs[encoding], {**headers, "Content-Encoding": encoding})
        assert response.status_code == 400, response.content[:200]


def test_snappy_length_that_lies_is_refused(tactus):
    # A raw block begins with the length of what it holds, here 4 GiB - 1.
    response = post(tactus, b"\xff\xff\xff\xff\x0f" + b"\x00x", {**PROTOBUF, "Content-Encoding": "snappy"})
    assert response.status_code == 400


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4"])
def test_damaged_compressed_bodies_are_400(tactus, encoding):
    for body in (b"\x07", b"\x07" + os.urandom(400)):
        response = post(tactus, body, {**PROTOBUF, "Content-Encoding": encoding})
        assert response.status_code == 400, (encoding, len(body))


def test_truncated_gzip_is_400(tactus):
    body = gzip.compress(good_body())
    for end in range(1, len(body), 9):
        assert post(tactus, body[:end], {**PROTOBUF, "Content-Encoding": "gzip"}).status_code == 400


# --- wrong ids and times ---------------------------------------------------------------------------------------------


def rejected(response):
    answer = otlp.ExportTraceServiceResponse.FromString(response.content)
    return answer.partial_success.rejected_spans, answer.partial_success.error_message


@pytest.mark.parametrize("ids", [
    {"trace_id": b""}, {"trace_id": b"\x01" * 8}, {"trace_id": b"\x01" * 17}, {"trace_id": bytes(16)},
    {"span_id": b""}, {"span_id": b"\x01" * 7}, {"span_id": b"\x01" * 9}, {"span_id": bytes(8)}])
def test_span_with_a_wrong_id_costs_only_itself(tactus, ids):
    alone = tactus.push(otlp.export(otlp.span(**ids)))
    assert alone.status_code == 400, alone.content
    good = otlp.span()
    response = tactus.push(otlp.export(good, otlp.span(**ids)))
    count, message = rejected(response)
    assert (response.status_code, count) == (200, 1)
    assert "must be" in message, message
    assert len(tactus.trace(good.trace_id.hex())) == 1


@pytest.mark.parametrize("times", [
    {"start_time_unix_nano": 2_000_000_000, "end_time_unix_nano": 1_000_000_000},
    {"start_time_unix_nano": 0, "end_time_unix_nano": 0},
    {"start_time_unix_nano": 2**64 - 1, "end_time_unix_nano": 2**64 - 1},
    {"start_time_unix_nano": 0, "end_time_unix_nano": 2**64 - 1}])
def test_strange_times_are_kept(tactus, times):
    span = otlp.span()
    for field, value in times.items():
        setattr(span, field, value)
    tactus.must_push(otlp.export(span))
    ((_, found),) = tactus.trace(span.trace_id.hex())
    assert int(found.get("startTimeUnixNano", 0)) == times["start_time_unix_nano"]
    assert tactus.get("/api/search", q="{}", limit=10).status_code == 200


def test_end_before_start_has_no_negative_duration_in_search(tactus):
    now = time.time_ns()
    span = otlp.span(name="backwards")
    span.start_time_unix_nano, span.end_time_unix_nano = now, now - 10**9
    tactus.must_push(otlp.export(span))
    assert tactus.search('{ name = "backwards" && duration > 1h }') == {}
    assert tactus.search('{ name = "backwards" }') == {span.trace_id.hex(): 1}


# --- large and odd content -------------------------------------------------------------------------------------------


def test_attribute_of_a_mebibyte_is_cut_to_the_limit(tactus):
    span = otlp.span(attributes={"big": "ü" * (1 << 19), "k" * 5000: "long key", "small": "kept"})
    tactus.must_push(otlp.export(span))
    ((_, found),) = tactus.trace(span.trace_id.hex())
    kind, value = answers.attribute(found, "big")
    assert (kind, value) == ("stringValue", "ü" * 1024), (kind, len(value))
    assert answers.attribute(found, "small") == ("stringValue", "kept")
    assert max(len(entry["key"]) for entry in found["attributes"]) == 2048


def test_attribute_of_a_mebibyte_is_kept_without_the_limit(servers):
    server = servers.start(config={"distributor": {"max_attribute_bytes": 0}})
    span = otlp.span(attributes={"big": "v" * (1 << 20)})
    server.must_push(otlp.export(span))
    ((_, found),) = server.trace(span.trace_id.hex())
    assert answers.attribute(found, "big") == ("stringValue", "v" * (1 << 20))
    server.flush()
    ((_, found),) = server.trace(span.trace_id.hex())
    assert answers.attribute(found, "big") == ("stringValue", "v" * (1 << 20))


def test_ten_thousand_attributes_are_kept(tactus):
    attributes = {f"key-{i}": i for i in range(10_000)}
    span = otlp.span(attributes=attributes)
    tactus.must_push(otlp.export(span))
    ((_, found),) = tactus.trace(span.trace_id.hex())
    assert {entry["key"]: int(entry["value"]["intValue"]) for entry in found["attributes"]} == attributes
    assert tactus.search("{ span.key-9999 = 9999 }") == {span.trace_id.hex(): 1}


def nested_request(depth):
    """A request with a kvlist of that depth on one span and a good span beside it; (body, deep span, good span).

    Made by hand, innermost first: the library refuses such depths."""
    value = field(1, b"bottom")
    for _ in range(depth):
        value = field(6, field(1, field(1, b"k") + field(2, value)))
    deep, good = otlp.span(), otlp.span()
    raw = deep.SerializeToString() + field(9, field(1, b"deep") + field(2, value))
    return field(1, field(2, field(2, raw) + field(2, good.SerializeToString()))), deep, good


def depth_of(value):
    depth = 0
    while "kvlistValue" in value:
        depth, value = depth + 1, value["kvlistValue"]["values"][0]["value"]
    return depth, value


def test_kvlist_nested_30_deep_is_kept(tactus):
    body, deep, _ = nested_request(30)
    assert post(tactus, body, PROTOBUF).status_code == 200
    for _ in range(2):
        ((_, found),) = tactus.trace(deep.trace_id.hex())
        (entry,) = found["attributes"]
        assert depth_of(entry["value"]) == (30, {"stringValue": "bottom"})
        tactus.flush()


@pytest.mark.parametrize("depth", [200, 1000, 20_000])
def test_kvlist_nested_too_deep_never_hurts(tactus, depth):
    body, deep, good = nested_request(depth)
    response = post(tactus, body, PROTOBUF)
    assert response.status_code in (200, 400), response.content
    if response.status_code == 200:
        for _ in range(2):
            assert len(tactus.trace(good.trace_id.hex())) == 1
            answer = tactus.get(f"/api/traces/{deep.trace_id.hex()}", accept="application/protobuf")
            assert answer.status_code in (200, 404)
            tactus.flush()


def test_unknown_fields_are_skipped(tactus):
    span = otlp.span(name="with unknown fields")
    raw = span.SerializeToString() + field(99, b"unknown") + varint(98 << 3) + varint(7) + varint(97 << 3 | 1) + bytes(8)
    body = field(1, field(2, field(2, raw) + field(500, b"x")) + field(77, b"y")) + field(33, b"z")
    assert post(tactus, body, PROTOBUF).status_code == 200
    ((_, found),) = tactus.trace(span.trace_id.hex())
    assert found["name"] == "with unknown fields"


def test_known_field_with_a_wrong_wire_type_is_400(tactus):
    body = field(1, field(2, varint(2 << 3) + varint(1)))  # spans as a number
    assert post(tactus, body, PROTOBUF).status_code == 400


def test_invalid_utf8_is_kept_and_shown_with_the_replacement_character(tactus):
    span = otlp.span(name="", attributes={"good": "value"})
    raw = span.SerializeToString() + field(5, b"\xffA") + field(9, field(1, b"bad\xfe") + field(2, field(1, b"\x80v")))
    assert post(tactus, field(1, field(2, field(2, raw))), PROTOBUF).status_code == 200
    for _ in range(2):
        ((_, found),) = tactus.trace(span.trace_id.hex())
        assert found["name"] == "\ufffdA"
        assert answers.attribute(found, "bad\ufffd") == ("stringValue", "\ufffdv")
        assert answers.attribute(found, "good") == ("stringValue", "value")
        tactus.flush()


# --- hostile queries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [
    "{" * 10_000, "(" * 50_000, "{ " + "!" * 50_000 + "true }", "{ span.a = " + "-" * 50_000 + "1 }",
    "{ .a = 1 }" + " && { .a = 1 }" * 5_000, "{ " + "(" * 20_000 + "true" + ")" * 20_000 + " }",
    '{ span.a =~ "(a{1000}){1000}" }', '{ span.a =~ "[" }', "\x00", "{ span.\ud800 = 1 }"])
def test_hostile_query_is_answered(tactus, query):
    encoded = urllib.parse.quote(query.encode("utf-8", "surrogatepass"))
    response = tactus.session.get(f"{tactus.url}/api/search?q={encoded}", timeout=60)
    assert response.status_code in (200, 400, 414, 431, 501), (response.status_code, response.text[:200])


@pytest.mark.parametrize("path", [
    "/api/traces/" + "f" * 5000, "/api/traces/%00", "/api/traces/..%2f..%2fetc%2fpasswd", "/api/v2/search/tag/%ff/values",
    "/api/v2/search/tag/" + "a" * 10_000 + "/values", "/api/search?limit=99999999999999999999", "/api/search?start=-1&end=x",
    "/status/../../etc/passwd", "//", "/%"])
def test_hostile_path_is_answered(tactus, path):
    connection = http.client.HTTPConnection("127.0.0.1", tactus.http_port, timeout=60)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    assert 200 <= response.status < 500, response.status
    connection.close()


def test_block_of_a_span_with_very_many_attributes_alike_can_be_read(servers):
    """They take next to nothing in the file, so that their number is out of proportion to its bytes."""
    server = servers.start(config={
        "ingester": {"complete_block_timeout": "100ms", "flush_check_period": "50ms"},
        "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}}})
    now = struct.pack("<Q", time.time_ns())
    alike = field(9, field(1, b"a") + field(2, field(1, b"b")))
    for number in range(4):
        span = field(1, b"\7" * 16) + field(2, bytes([number] * 7) + b"\1") + b"\x39" + now + b"\x41" + now
        answer = server.push(field(1, field(2, field(2, span + alike * (4_500_000 // len(alike))))))
        assert answer.status_code == 200, answer.content
    server.flush()
    eventually(lambda: not list((server.wal / "segments").glob("*/*.seg")), "only the block has it")
    assert server.search('{ .a = "b" }') == {"07" * 16: 4}
    assert "damaged" not in server.logs()
