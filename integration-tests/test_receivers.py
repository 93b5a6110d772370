"""Jaeger's and Zipkin's protocols byte by byte: one span in every form, what is refused and how, floods and garbage on UDP."""
import gzip
import json
import os
import re
import socket
import threading
import time

import pytest
import requests
import zstandard

from harness import answers, dialects
from harness.dialects import BATCH, BINARY, COMPACT, SPAN, TRACE, TRACE_LOW, datagram
from harness.waiting import eventually

# The span of harness/dialects.py in Zipkin's forms.
ZIPKIN_COMPACT = bytes.fromhex(
    "8221000f656d69745a69706b696e4261746368191c160428026f701606292c168080f28183898506180273721c15828080f00f14a07e1803737663000016b8"
    "97f28183898506180273731c15828080f00f14a07e18037376630000291c180b687474702e6d6574686f641803474554150c1c15828080f00f14a07e180373"
    "7663000012168080f2818389850616b81716020000")
ZIPKIN_PROTO = bytes.fromhex(
    "0a440a10000000000000000100000000000000021a08000000000000000320022a026f703100401e18240a060038dc0b42050a037376635a0d0a056572726f"
    "72120474727565")
ZIPKIN_THRIFT = bytes.fromhex(
    "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000020a000100060a24181e40000b00020000000273"
    "720c00030800017f0000010600021f900b00030000000373766300000a000100060a24181e45dc0b00020000000273730c00030800017f0000010600021f90"
    "0b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060c00040800017f00"
    "00010600021f900b0003000000037376630000020009000a000a00060a24181e40000a000b00000000000005dc0a000c000000000000000100")
START, END = "1700000000000000000", "1700000000001500000"


@pytest.fixture
def tactus(servers):
    """A server of its own: every test stores the same ids."""
    return dialects.start(servers)


def the_span(server):
    """(resource, span) once the span is stored."""
    def found():
        response = server.get(f"/api/v2/traces/{TRACE}")
        if response.status_code != 200:
            return None
        trace = response.json()["trace"]
        spans = answers.spans(trace)
        return (answers.resources(trace), spans) if spans else None

    resources, spans = eventually(found, "the span is stored")
    assert len(resources) == len(spans) == 1, (resources, spans)
    assert spans[0][0] == SPAN
    return resources[0], spans[0][1]


def check(server, status="STATUS_CODE_ERROR", attributes=(), resource=()):
    found, span = the_span(server)
    assert (span["name"], span["kind"]) == ("op", "SPAN_KIND_SERVER")
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == (START, END)
    assert span.get("status", {}).get("code", "STATUS_CODE_UNSET") == status
    assert "message" not in span.get("status", {})
    assert {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])} == dict(attributes)
    assert found == {"service.name": "svc", **dict(resource)}
    assert not span.get("events") and not span.get("links") and not span.get("parentSpanId")


def post(port, path, body, media_type=None, **headers):
    headers = {**({"Content-Type": media_type} if media_type else {}), **headers}
    return requests.post(f"http://127.0.0.1:{port}{path}", data=body, headers=headers, timeout=10)


@pytest.mark.parametrize("port", ["compact", "binary", "legacy"])
@pytest.mark.parametrize("payload", [COMPACT, BINARY], ids=["compact", "binary"])
def test_every_udp_port_takes_both_protocols(tactus, port, payload):
    datagram(getattr(tactus.ports, port), payload)
    check(tactus)
    # A datagram has no answer after which its spans are counted.
    eventually(lambda: tactus.metric("tempo_receiver_accepted_spans") == 1, "the span is counted")


@pytest.mark.parametrize("port", ["compact", "legacy"])
def test_old_zipkin_spans_come_by_udp(tactus, port):
    datagram(getattr(tactus.ports, port), ZIPKIN_COMPACT)
    check(tactus, "STATUS_CODE_UNSET", {"http.method": "GET"}, {"ip": "2130706433"})


def test_thrift_by_http(tactus):
    port = tactus.ports.thrift_http
    refused = post(port, "/api/traces", BATCH, "text/plain")
    assert (refused.status_code, refused.text) == (400, "Unsupported content type: text/plain\n")
    assert post(port, "/api/traces", BATCH).status_code == 400
    elsewhere = post(port, "/api/spans", BATCH, "application/x-thrift")
    assert (elsewhere.status_code, elsewhere.text) == (404, "404 page not found\n")
    assert requests.get(f"http://127.0.0.1:{port}/api/traces", timeout=10).status_code == 405
    broken = post(port, "/api/traces", BATCH[:60], "application/x-thrift")
    assert (broken.status_code, broken.text.startswith("Unable to process request body: ")) == (400, True)
    answer = post(port, "/api/traces?format=jaeger.thrift", BATCH, "application/x-thrift; charset=utf-8")
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus)


def test_zipkin_protobuf(tactus):
    answer = post(tactus.ports.zipkin, "/api/v2/spans", ZIPKIN_PROTO, "application/x-protobuf")
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus)


def test_zipkin_v1_json(tactus):
    endpoint = {"serviceName": "svc"}
    body = [{
        "traceId": TRACE, "id": SPAN, "name": "op",
        "annotations": [
            {"timestamp": 1700000000000000, "value": "sr", "endpoint": endpoint},
            {"timestamp": 1700000000001500, "value": "ss", "endpoint": endpoint}],
        "binaryAnnotations": [{"key": "http.status_code", "value": "500"}],
    }]
    answer = post(tactus.ports.zipkin, "/api/v1/spans", json.dumps(body), "application/json")
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus, attributes={"http.status_code": "500"})


def test_zipkin_v1_thrift(tactus):
    answer = post(tactus.ports.zipkin, "/api/v1/spans", ZIPKIN_THRIFT, "application/x-thrift")
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus, "STATUS_CODE_UNSET", {"http.method": "GET"}, {"ipv4": "127.0.0.1", "port": "8080"})


def test_zipkin_v2_json_keeps_everything(tactus):
    body = [{
        "traceId": "5982fe77008310cc80f1da5e10147519", "parentId": "90394f6bcffb5d13", "id": "67fae42571535f60", "kind": "CLIENT",
        "name": "get /m", "timestamp": 1516781775726000, "duration": 26000,
        "localEndpoint": {"serviceName": "api", "ipv4": "10.0.0.1", "port": 8080}, "remoteEndpoint": {"serviceName": "db"},
        "tags": {"error": "timeout", "n": "1"}, "annotations": [{"timestamp": 1516781775726100, "value": "retry"}],
    }]
    assert post(tactus.ports.zipkin, "/api/v2/spans", json.dumps(body)).status_code == 202
    trace = tactus.get("/api/v2/traces/5982fe77008310cc80f1da5e10147519").json()["trace"]
    ((span_id, span),) = answers.spans(trace)
    assert (span_id, span["kind"], span["status"]["code"]) == ("67fae42571535f60", "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR")
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1516781775726000000", "1516781775752000000")
    assert {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]} == {
        "error": "timeout", "n": "1", "net.host.ip": "10.0.0.1", "net.host.port": "8080", "peer.service": "db"}
    ((event,),) = [span["events"]]
    assert (event["name"], event["timeUnixNano"]) == ("retry", "1516781775726100000")
    assert answers.resources(trace) == [{"service.name": "api"}]


def test_zipkin_v2_json_of_php_and_cpp(tactus):
    body = [{
        "traceId": TRACE, "id": SPAN, "name": "op", "kind": "SERVER", "timestamp": 1700000000000000, "duration": 1500,
        "localEndpoint": {"serviceName": "svc"}, "remoteEndpoint": {"ipv4": 2130706433, "port": 0},
        "tags": {"otel.status_code": 1, "accept": ["a", "b"], "n": 5},
    }]
    answer = post(tactus.ports.zipkin, "/api/v2/spans", json.dumps(body, separators=(",", ":")), "application/json")
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus, "STATUS_CODE_OK", {"accept": '["a","b"]', "n": "5", "net.peer.ip": "127.0.0.1"})


@pytest.mark.parametrize(("path", "body", "media_type"), [
    ("/api/v2/spans", b'[{"traceId": "xyz", "id": "1"}]', "application/json"),
    ("/api/v2/spans", b'[{"traceId": "1"}]', "application/json"),
    ("/api/v2/spans", b'{"not": "a list"}', "application/json"),
    ("/api/v2/spans", b"\x0a\xff\xff\xff\xff\x0f", "application/x-protobuf"),
    ("/api/v1/spans", b'[{"traceId": "1", "id": "1"}]', "application/json"),
    ("/api/v1/spans", b"\x0c\x7f\xff\xff\xff", "application/x-thrift"),
    ("/api/v2/spans", b"[" * 100_000, "application/json"),
])
def test_zipkin_refuses_what_it_cannot_read(tactus, path, body, media_type):
    answer = post(tactus.ports.zipkin, path, body, media_type)
    assert answer.status_code == 400
    assert answer.text.strip()


def test_zipkin_takes_nothing_gladly(tactus):
    for body in (b"", b"[]"):
        assert post(tactus.ports.zipkin, "/api/v2/spans", body, "application/json").status_code == 202
    for version, method in (("v2", "PUT"), ("v1", "PUT"), ("v1", "GET")):
        url = f"http://127.0.0.1:{tactus.ports.zipkin}/api/{version}/spans"
        assert requests.request(method, url, data=b"[]", timeout=10).status_code == 405, (version, method)


# What a browser, a compressing client and a client without measure meet, on every HTTP port of a receiver alike.
LIMITED = {
    "cors": {"allowed_origins": ["https://*.example.com"], "allowed_headers": ["b3"], "max_age": 600},
    "max_request_body_size": 1000,
}
HTTP_PORTS = [
    ("thrift_http", "/api/traces", BATCH, "application/x-thrift"),
    ("zipkin", "/api/v2/spans", ZIPKIN_PROTO, "application/x-protobuf"),
]


@pytest.fixture
def limited(servers):
    receivers = {"jaeger": {"protocols": {"thrift_http": LIMITED}}, "zipkin": LIMITED}
    return dialects.start(servers, extra={"distributor": {"receivers": receivers}})


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
@pytest.mark.parametrize(("port", "path", "body", "media_type"), HTTP_PORTS, ids=["jaeger", "zipkin"])
def test_compressed_spans_are_taken(tactus, port, path, body, media_type, name, compress):
    answer = post(getattr(tactus.ports, port), path, compress(body), media_type, **{"Content-Encoding": name})
    assert (answer.status_code, answer.content) == (202, b"")
    check(tactus)


# Jaeger's collector calls it its own failure if a body cannot be read; Zipkin's clients learn why.
@pytest.mark.parametrize(("port", "path", "media_type", "too_large", "damaged", "start"), [
    ("thrift_http", "/api/traces", "application/x-thrift", 500, 500, "Unable to process request body: "),
    ("zipkin", "/api/v2/spans", "application/json", 413, 400, ""),
], ids=["jaeger", "zipkin"])
def test_bodies_that_cannot_be_read(limited, port, path, media_type, too_large, damaged, start):
    def refused(body, encoding=None):
        headers = {"Content-Encoding": encoding} if encoding else {}
        answer = post(getattr(limited.ports, port), path, body, media_type, **headers)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        return answer.status_code, answer.text.removeprefix(start).strip()

    large = b"[" + b" " * 5000 + b"]"
    status, text = refused(large)
    assert (status, "too large" in text) == (too_large, True), text
    # What counts is the size of what comes out.
    for name, compress in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
        assert len(compress(large)) < 100
        assert refused(compress(large), name)[0] == too_large
        status, text = refused(compress(large)[:-12], name)
        assert status in (damaged, too_large) and text
        status, text = refused(b"not compressed at all", name)
        assert status == damaged and text
    assert refused(b"[]", "br") == (400, "unsupported Content-Encoding: br")
    assert limited.metric("tempo_receiver_accepted_spans") == 0


@pytest.mark.parametrize(("port", "path", "body", "media_type"), HTTP_PORTS, ids=["jaeger", "zipkin"])
def test_pages_of_allowed_origins_may_send(limited, port, path, body, media_type):
    port = getattr(limited.ports, port)

    def preflight(origin):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,b3"}
        answer = requests.options(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10)
        assert answer.status_code == 204
        assert answer.headers["Vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-control-")}

    assert preflight("https://shop.example.com") == {
        "access-control-allow-origin": "https://shop.example.com", "access-control-allow-methods": "POST",
        "access-control-allow-headers": "content-type,b3", "access-control-allow-credentials": "true",
        "access-control-max-age": "600",
    }
    assert preflight("https://example.org") == {}
    for origin, allowed in (("https://shop.example.com", "https://shop.example.com"), ("https://example.org", None)):
        answer = post(port, path, body, media_type, Origin=origin)
        assert answer.status_code == 202
        assert answer.headers["Vary"] == "Origin"
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_other_sites_that_may_send_spans_may_not_query(limited):
    url = f"http://127.0.0.1:{limited.ports.zipkin}"
    headers = {"Origin": "https://shop.example.com", "Access-Control-Request-Method": "GET"}
    for path in ("/api/v2/traces?limit=1", "/api/v2/spans?serviceName=a", "/ui/api/config"):
        for answer in (requests.get(url + path, headers=headers, timeout=10), requests.options(url + path, headers=headers, timeout=10)):
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")], answer.headers


def test_without_cors_a_preflight_is_no_post(tactus):
    for port, path, _, _ in HTTP_PORTS:
        headers = {"Origin": "https://shop.example.com", "Access-Control-Request-Method": "POST"}
        answer = requests.options(f"http://127.0.0.1:{getattr(tactus.ports, port)}{path}", headers=headers, timeout=10)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_a_tenant_is_asked_for_everywhere(servers):
    server = dialects.start(servers, extra={
        "multitenancy_enabled": True,
        "distributor": {"receivers": {"jaeger": {"protocols": {"thrift_binary": {"tenant": "from-udp"}}}}},
    })
    ports = server.ports
    assert post(ports.thrift_http, "/api/traces", BATCH, "application/x-thrift").status_code == 401
    assert post(ports.zipkin, "/api/v2/spans", ZIPKIN_PROTO, "application/x-protobuf").status_code == 401
    refused = {name for name, value in server.metrics().items() if name.startswith("tempo_receiver_refused_spans") and value == 1}
    assert {re.search('transport="(.*?)"', name)[1] for name in refused} == {"collector_http", "http_v2_proto"}, refused
    datagram(ports.compact, COMPACT)
    eventually(lambda: server.metric("tactus_receiver_dropped_packets_total") >= 1, "the packet is refused and counted")
    for tenant, path, body, media_type in [
        ("one", (ports.thrift_http, "/api/traces"), BATCH, "application/x-thrift"),
        ("two", (ports.zipkin, "/api/v2/spans"), ZIPKIN_PROTO, "application/x-protobuf"),
    ]:
        assert post(*path, body, media_type, **{"X-Scope-OrgID": tenant}).status_code == 202
    # A port without headers can have a tenant of its own.
    datagram(ports.binary, BINARY)

    def has(tenant):
        answer = server.get(f"/api/v2/traces/{TRACE}", headers={"X-Scope-OrgID": tenant})
        assert answer.status_code == 200
        return bool(answers.spans(answer.json().get("trace", {})))

    eventually(lambda: has("from-udp"), "the packet has the tenant of its port")
    assert (has("one"), has("two"), has("three")) == (True, True, False)


def test_a_tenant_over_its_limit_is_told_when_to_come_back(servers):
    server = dialects.start(servers, extra={
        "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 1, "burst_size_bytes": 150}}},
        "distributor": {"retry_after_on_resource_exhausted": "5s"},
    })
    # One passes, the next does not, whatever its protocol.
    assert post(server.ports.thrift_http, "/api/traces", BATCH, "application/x-thrift").status_code == 202
    for answer in (
        post(server.ports.thrift_http, "/api/traces", BATCH, "application/x-thrift"),
        post(server.ports.zipkin, "/api/v2/spans", ZIPKIN_PROTO, "application/x-protobuf"),
    ):
        assert (answer.status_code, answer.headers.get("Retry-After")) == (429, "5"), answer.text
        assert "RATE_LIMITED" in answer.text


def test_garbage_and_floods_on_udp_are_counted_and_survived(tactus):
    before = tactus.metric("tactus_receiver_dropped_packets_total")
    garbage = [b"", b"\0", b"\x82", b"\x80\x01", COMPACT[:40], BINARY[:100], b"\x99" + COMPACT, b"\x82\x81\x00\xff\xff\xff\xff\x7f",
               bytes.fromhex("80010004ffffffff"), os.urandom(1200)]
    for port in (tactus.ports.compact, tactus.ports.binary, tactus.ports.legacy):
        for payload in garbage:
            datagram(port, payload)
    eventually(lambda: tactus.metric("tactus_receiver_dropped_packets_total") >= before + 20, "packets that are nothing are counted")
    stop = time.monotonic() + 2
    memory = tactus.resident_bytes()

    def flood(seed):
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            while time.monotonic() < stop:
                sender.sendto(COMPACT if seed % 2 else os.urandom(60_000), ("127.0.0.1", tactus.ports.compact))

    threads = [threading.Thread(target=flood, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tactus.get("/ready").status_code == 200
    assert tactus.peak_resident_bytes() < memory + (300 << 20)
    check_after_flood(tactus)


def check_after_flood(server):
    """What is sent when it is over is stored."""
    fresh = os.urandom(8)
    payload = BINARY.replace(bytes.fromhex(TRACE_LOW), fresh)
    def arrives():
        datagram(server.ports.binary, payload)
        return server.trace("0000000000000001" + fresh.hex())

    eventually(arrives, "spans after the flood")


def test_a_port_in_use_is_an_error_if_it_was_asked_for(servers):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        for config in (
            {"distributor": {"receivers": {"zipkin": {"endpoint": endpoint}}}},
            {"distributor": {"receivers": {"jaeger": {"protocols": {"grpc": {"endpoint": endpoint}}}}}},
            {"query_frontend": {"jaeger": {"http": {"endpoint": endpoint}}}},
            {"sampling": {"http": {"endpoint": endpoint}}},
        ):
            server = servers.new("taken", config=config).spawn()
            assert server.process.wait(30) != 0, config
            assert endpoint.split(":")[1] in server.logs()


def test_receivers_that_cannot_be_are_refused_by_name(servers):
    for receivers, text in (
        ({"jaeger": {"protocols": {}}}, "must specify at least one protocol when using the Jaeger receiver"),
        ({"kafka": {"topic": "spans"}}, "does not read from Kafka"),
        ({"jager": {}}, "jager"),
        ({"zipkin": {"parse_strings": True}}, "parse_strings"),
    ):
        server = servers.new("refused", config={"distributor": {"receivers": receivers}}).spawn()
        assert server.process.wait(30) != 0, receivers
        assert text in server.logs()
