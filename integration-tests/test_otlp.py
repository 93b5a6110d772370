"""OTLP in: stock SDKs, every compression, exact statuses and bodies."""
import base64
import gzip
import json
import os
import subprocess
import time
import zlib

import cramjam
import grpc
import lz4.frame
import pytest
import zstandard
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from harness import answers, otlp, protobuf
from harness.paths import INTEGRATION_TESTS
from harness.tools import need

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
COMPRESS = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "snappy": lambda body: bytes(cramjam.snappy.compress_raw(body)),
    "x-snappy-framed": lambda body: bytes(cramjam.snappy.compress(body)),
    "lz4": lz4.frame.compress,
}


class Recorded:
    """An exporter that remembers whether each export succeeded."""

    def __init__(self, exporter):
        self.exporter, self.results = exporter, []

    def export(self, spans):
        self.results.append(self.exporter.export(spans))
        return self.results[-1]

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30_000):
        return self.exporter.force_flush(timeout_millis)


def send_with_sdk(exporter):
    """One trace of two spans; returns its id in hex."""
    recorded = Recorded(exporter)
    provider = TracerProvider(resource=Resource.create({"service.name": "python-shop", "host.cores": 8}))
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    tracer = provider.get_tracer("python-test", "0.1.0")
    attributes = {"http.status_code": 404, "ratio": 0.25, "cached": True, "tags": ["x", "y"], "note": "grüße ☃"}
    with tracer.start_as_current_span("GET /cart", kind=SpanKind.SERVER, attributes=attributes) as root:
        with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as child:
            child.add_event("retry", {"attempt": 2})
            child.set_status(StatusCode.ERROR, "no such table")
        trace_id = f"{root.get_span_context().trace_id:032x}"
    provider.shutdown()
    assert recorded.results == [SpanExportResult.SUCCESS] * 2
    return trace_id


def check_sdk_trace(tactus, trace_id, service, status_code):
    spans = {span["name"]: span for _, span in tactus.trace(trace_id)}
    assert spans.keys() == {"GET /cart", "SELECT"}
    root, child = spans["GET /cart"], spans["SELECT"]
    assert (root["kind"], child["kind"]) == ("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT")
    assert child["parentSpanId"] == root["spanId"] and "parentSpanId" not in root
    assert answers.attribute(root, "http.status_code") == ("intValue", str(status_code))
    assert answers.attribute(root, "note") == ("stringValue", "grüße ☃")
    assert child["status"] == {"code": "STATUS_CODE_ERROR", "message": "no such table"}
    assert len(child["events"]) == 1
    query = f'{{ resource.service.name = "{service}" && span.http.status_code = {status_code} && kind = server }}'
    assert tactus.search(query).get(trace_id) == 1


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_python_sdk_over_grpc(tactus, compression):
    exporter = GrpcSpanExporter(
        endpoint=f"127.0.0.1:{tactus.otlp_grpc_port}", insecure=True, compression=compression)
    check_sdk_trace(tactus, send_with_sdk(exporter), "python-shop", 404)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_python_sdk_over_http(tactus, compression):
    exporter = HttpSpanExporter(endpoint=tactus.otlp_url + "/v1/traces", compression=compression)
    check_sdk_trace(tactus, send_with_sdk(exporter), "python-shop", 404)


def node():
    """Node.js with the packages of the scripts beside it."""
    need("the Node packages of OpenTelemetry", INTEGRATION_TESTS / "node" / "node_modules" / ".installed")
    return need("node")


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_node_sdk_over_http_json(tactus, compression):
    done = subprocess.run(
        [node(), "send.mjs", tactus.otlp_url + "/v1/traces", compression], cwd=INTEGRATION_TESTS / "node",
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    check_sdk_trace(tactus, done.stdout.strip(), "node-shop", 200)


def json_export(trace_id, **span):
    """An OTLP/JSON body with one span."""
    fields = {"traceId": trace_id, "spanId": "00f067aa0ba902b7", "name": "json", "kind": 2,
              "startTimeUnixNano": str(time.time_ns()), "endTimeUnixNano": str(time.time_ns() + 1000), **span}
    return {"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json-shop"}}]},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": [fields]}]}]}


def post(tactus, body, content_type, encoding=None, path="/v1/traces"):
    headers = {"Content-Type": content_type} if content_type else {}
    if encoding:
        headers["Content-Encoding"] = encoding
    return tactus.session.post(tactus.otlp_url + path, data=body, headers=headers, timeout=60)


@pytest.mark.parametrize("encoding", [None, "identity", *COMPRESS])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_every_compression_over_http(tactus, content_type, encoding):
    trace_id = os.urandom(16).hex()
    if content_type == JSON:
        body = json.dumps(json_export(trace_id)).encode()
    else:
        body = otlp.export(otlp.span(bytes.fromhex(trace_id))).SerializeToString()
    response = post(tactus, COMPRESS.get(encoding, lambda b: b)(body), content_type, encoding)
    assert response.status_code == 200, response.content
    assert response.headers["Content-Type"] == content_type
    if content_type == JSON:
        assert response.json() == {"partialSuccess": {}}
    else:
        assert response.content == b"\x0a\x00"
    assert len(tactus.trace(trace_id)) == 1


def test_snappy_framed_under_the_plain_name(tactus):
    request = otlp.export(otlp.span())
    body = bytes(cramjam.snappy.compress(request.SerializeToString()))
    assert post(tactus, body, PROTOBUF, "snappy").status_code == 200


def test_deflate_without_its_wrapper(tactus):
    # As the SDK for Swift sends it.
    raw = zlib.compressobj(wbits=-15)
    body = raw.compress(otlp.export(otlp.span()).SerializeToString()) + raw.flush()
    assert post(tactus, body, PROTOBUF, "deflate").status_code == 200


@pytest.mark.parametrize(("name", "compress"), [
    ("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress),
    ("snappy", lambda body: bytes(cramjam.snappy.compress(body)))])
def test_every_compression_over_grpc(tactus, name, compress):
    # The Python library cannot send zstd and snappy: the call is made by hand.
    request = otlp.export(otlp.span())
    message = compress(request.SerializeToString())
    answer = raw_grpc(tactus.otlp_grpc_port, b"\x01" + len(message).to_bytes(4, "big") + message, name)
    assert (answer[":status"], answer.get("grpc-status")) == (200, "0"), answer
    for trace_id in otlp.ids(request):
        assert len(tactus.trace(trace_id)) == 1


def raw_grpc(port, body, encoding):
    """One export made by hand: status, headers and trailers."""
    done = subprocess.run(
        [node(), "raw_grpc.mjs", f"http://127.0.0.1:{port}",
         "/opentelemetry.proto.collector.trace.v1.TraceService/Export", encoding],
        input=body, cwd=INTEGRATION_TESTS / "node", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- statuses over HTTP ----------------------------------------------------------------------------------------------


def rpc_status(response):
    return RpcStatus.FromString(response.content)


def test_http_get_is_405(tactus):
    response = tactus.session.get(tactus.otlp_url + "/v1/traces", timeout=60)
    assert (response.status_code, response.text) == (405, "405 method not allowed, supported: [POST]")
    assert response.headers["Content-Type"].startswith("text/plain")


def test_http_other_path_is_404(tactus):
    response = post(tactus, b"", PROTOBUF, path="/v2/traces")
    assert (response.status_code, response.text) == (404, "404 page not found\n")


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", None])
def test_http_other_content_type_is_415(tactus, content_type):
    response = post(tactus, b"{}", content_type)
    assert response.status_code == 415
    assert response.text == "415 unsupported media type, supported: [application/json, application/x-protobuf]"


def test_http_content_type_may_have_parameters(tactus):
    assert post(tactus, b"{}", "application/json; charset=utf-8").json() == {"partialSuccess": {}}


def test_http_unknown_encoding_is_400_in_the_format_of_the_request(tactus):
    response = post(tactus, b"x", PROTOBUF, "br")
    assert (response.status_code, response.headers["Content-Type"]) == (400, PROTOBUF)
    assert (rpc_status(response).code, rpc_status(response).message) == (3, "unsupported Content-Encoding: br")
    response = post(tactus, b"x", JSON, "br")
    assert (response.status_code, response.headers["Content-Type"]) == (400, JSON)
    assert response.json() == {"code": 3, "message": "unsupported Content-Encoding: br"}


def test_http_empty_json_object_is_success_and_empty_json_is_not(tactus):
    assert post(tactus, b"{}", JSON).json() == {"partialSuccess": {}}
    assert post(tactus, b"", JSON).status_code == 400


def test_http_bad_json_is_400_with_a_reason(tactus):
    response = post(tactus, b'{"resourceSpans": 7}', JSON)
    assert response.status_code == 400
    assert response.json()["code"] == 3 and response.json()["message"]


def test_http_request_over_the_limit_is_400(tactus):
    response = post(tactus, b"\x00" * ((20 << 20) + 1), PROTOBUF)
    assert response.status_code == 400
    assert rpc_status(response).message == "http: request body too large"


def test_http_limit_of_the_file_holds(servers):
    server = servers.new()
    server.config["distributor"]["receivers"]["otlp"]["protocols"]["http"]["max_request_body_size"] = 2000
    server.start()
    assert server.push(otlp.export(otlp.span(attributes={"k": "v" * 3000}))).status_code == 400
    assert server.push(otlp.export(otlp.span())).status_code == 200


# --- JSON decoding ---------------------------------------------------------------------------------------------------


def test_json_in_every_accepted_spelling(tactus):
    trace_id = os.urandom(16).hex()
    body = {"resource_spans": [{"unknown": {"deep": [1]}, "scopeSpans": [{"spans": [{
        "traceId": trace_id.upper(), "span_id": "00F067AA0BA902B8", "parentSpanId": "", "name": "spelled",
        "kind": "SPAN_KIND_CLIENT", "startTimeUnixNano": 1_700_000_000_000_000_000, "end_time_unix_nano": "1700000000000000009",
        "status": {"code": "STATUS_CODE_OK"},
        "attributes": [
            {"key": "i", "value": {"intValue": 5}}, {"key": "s", "value": {"intValue": "-6"}},
            {"key": "d", "value": {"doubleValue": "NaN"}}, {"key": "b", "value": {"bytesValue": "AAH/"}},
            {"key": "e", "value": {}}, {"key": "a", "value": {"arrayValue": {"values": [{"boolValue": True}]}}}]}]}]}]}
    assert post(tactus, json.dumps(body), JSON).json() == {"partialSuccess": {}}
    ((_, span),) = tactus.trace(trace_id)
    assert (span["kind"], span["status"]) == ("SPAN_KIND_CLIENT", {"code": "STATUS_CODE_OK"})
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1700000000000000000", "1700000000000000009")
    assert answers.attribute(span, "i") == ("intValue", "5")
    assert answers.attribute(span, "s") == ("intValue", "-6")
    assert answers.attribute(span, "d") == ("doubleValue", "NaN")
    assert answers.attribute(span, "b") == ("bytesValue", base64.b64encode(b"\x00\x01\xff").decode())


def test_json_of_numbers_that_javascript_cannot_write_keeps_the_spans(tactus):
    trace_id = os.urandom(16).hex()
    elements = [{"doubleValue": None}, {"intValue": 2**64}]
    attributes = [
        {"key": "nan", "value": {"doubleValue": None}}, {"key": "large", "value": {"intValue": 2**64}},
        {"key": "list", "value": {"arrayValue": {"values": elements}}}]
    response = post(tactus, json.dumps(json_export(trace_id, attributes=attributes)), JSON)
    assert response.json() == {"partialSuccess": {}}
    ((_, span),) = tactus.trace(trace_id)
    assert answers.attribute(span, "nan") == ("empty", None)
    kind, large = answers.attribute(span, "large")
    assert (kind, float(large)) == ("doubleValue", 2.0**64)
    assert answers.attribute(span, "list") == ("arrayValue", {"values": [{}, {"doubleValue": large}]})


@pytest.mark.parametrize("field", [
    {"traceId": "abc"}, {"spanId": "zz"}, {"kind": "SPAN_KIND_NONE"}, {"startTimeUnixNano": "soon"}, {"name": 5}])
def test_json_with_a_bad_field_is_400(tactus, field):
    response = post(tactus, json.dumps(json_export(os.urandom(16).hex(), **field)), JSON)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == 3


# --- statuses over gRPC ----------------------------------------------------------------------------------------------


def test_grpc_success_has_the_empty_partial_success(tactus):
    with otlp.GrpcExporter(tactus.otlp_grpc_port) as exporter:
        raw = exporter.export_bytes(otlp.export(otlp.span()).SerializeToString())
        assert raw == b"\x0a\x00"
        assert exporter.export(otlp.ExportTraceServiceRequest()) == otlp.ExportTraceServiceResponse(partial_success={})


LENGTHS = ": a parent's id must have 8 bytes, ids of a link 16 and 8"


def test_spans_with_parents_or_links_of_another_length_are_refused_and_others_kept(tactus):
    good, child, linked = otlp.span(), otlp.span(), otlp.span()
    child.parent_span_id = b"\1" * 9
    linked.links.add(trace_id=b"\1" * 2, span_id=b"\1" * 8)
    response = tactus.push(otlp.export(good, child, linked))
    answer = otlp.ExportTraceServiceResponse.FromString(response.content)
    assert (response.status_code, answer.partial_success.rejected_spans) == (200, 2)
    assert answer.partial_success.error_message == f"INVALID_ID: 2 spans{LENGTHS}"
    found = [tactus.get(f"/api/traces/{span.trace_id.hex()}").status_code for span in (good, child, linked)]
    assert found == [200, 404, 404]
    # Nothing is left of these.
    response = tactus.push(otlp.export(child, linked))
    status = RpcStatus.FromString(response.content)
    assert (response.status_code, status.code, status.message) == (400, 3, f"INVALID_ID: 2 spans{LENGTHS}")
    with otlp.GrpcExporter(tactus.otlp_grpc_port) as exporter:
        code, text = grpc_error(lambda: exporter.export(otlp.export(child)))
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, f"INVALID_ID: 1 spans{LENGTHS}")


def test_parts_of_a_resource_and_of_a_scope_are_merged(tactus):
    """Protobuf lets a sender write a message in parts: their fields add up."""
    span = otlp.span()
    (first,) = otlp.export(span, service="whole", scope="lib").resource_spans
    (second,) = otlp.export(service="", resource={"zone": "z"}).resource_spans
    del second.resource.attributes[0]
    scope_spans = first.scope_spans[0].SerializeToString() + protobuf.field(1, protobuf.field(2, b"7"))
    parts = [protobuf.field(1, part.resource.SerializeToString()) for part in (first, second)]
    response = tactus.push(protobuf.field(1, parts[0] + protobuf.field(2, scope_spans) + parts[1]))
    assert (response.status_code, response.content) == (200, b"\x0a\x00")
    query = '{ resource.service.name = "whole" && resource.zone = "z" && instrumentation:name = "lib" && instrumentation:version = "7" }'
    (trace,) = tactus.get("/api/search", q=query).json()["traces"]
    assert int(trace["traceID"], 16) == int.from_bytes(span.trace_id, "big")


def grpc_error(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_grpc_statuses(tactus):
    with otlp.GrpcExporter(tactus.otlp_grpc_port) as exporter:
        code, text = grpc_error(lambda: exporter.export_bytes(b"\xff\xff\xff"))
        assert code == grpc.StatusCode.INTERNAL and text.startswith("grpc: error unmarshalling request: ")
        code, text = grpc_error(lambda: exporter.export_bytes(b"\x00" * ((4 << 20) + 1)))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert text == f"grpc: received message larger than max ({(4 << 20) + 1} vs. {4 << 20})"
        unknown = exporter.channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
        assert grpc_error(lambda: unknown(b"", timeout=30))[0] == grpc.StatusCode.UNIMPLEMENTED


def test_grpc_unknown_encoding_is_unimplemented(tactus):
    answer = raw_grpc(tactus.otlp_grpc_port, b"\x01\x00\x00\x00\x01x", "br")
    assert answer["grpc-status"] == "12"
    assert answer["grpc-message"].startswith("grpc: Decompressor is not installed for grpc-encoding")


# --- tenants ---------------------------------------------------------------------------------------------------------


def test_tenants_are_separate_and_required(servers):
    server = servers.start(config={"multitenancy_enabled": True})
    request = otlp.export(otlp.span())
    (trace_id,) = otlp.ids(request)
    response = server.push(request)
    assert response.status_code == 401 and b"no org id" in response.content
    # Without spans there is nothing to store for anyone.
    for content_type, body in ((JSON, "{}"), (JSON, '{"resourceSpans":[{}]}'), (PROTOBUF, b"\x0a\x00")):
        assert post(server, body, content_type).status_code == 200, body
    assert server.push(request, headers={"X-Scope-OrgID": "a/b"}).status_code == 400
    assert server.push(request, headers={"X-Scope-OrgID": "red"}).status_code == 200
    assert server.get(f"/api/traces/{trace_id}", headers={"X-Scope-OrgID": "red"}).status_code == 200
    assert server.get(f"/api/traces/{trace_id}", headers={"X-Scope-OrgID": "blue"}).status_code == 404
    response = server.get("/api/search", q="{}")
    assert (response.status_code, response.text) == (401, "no org id\n")
    with otlp.GrpcExporter(server.otlp_grpc_port) as exporter:
        code, text = grpc_error(lambda: exporter.export(request))
        assert (code, text) == (grpc.StatusCode.UNAUTHENTICATED, "no org id")
        exporter.export(request, metadata=[("x-scope-orgid", "blue")])
    large = otlp.export(*[otlp.span() for _ in range(200)])
    compressed = gzip.compress(large.SerializeToString())
    assert len(compressed) > 4096 and server.push(compressed, headers={"Content-Encoding": "gzip"}).status_code == 401
    # Refused over HTTP: one without a tenant, one with a bad one, and the large request.
    refused = {name: value for name, value in server.metrics().items() if name.startswith("tempo_receiver_refused_spans") and value}
    assert sorted(refused.values()) == [1, 202], refused
    assert server.get(f"/api/traces/{trace_id}", headers={"X-Scope-OrgID": "blue"}).status_code == 200
    # Several tenants in one question.
    window = {"start": int(time.time()) - 600, "end": int(time.time()) + 60}
    both = server.get("/api/search", q="{}", headers={"X-Scope-OrgID": "blue|red"}, **window)
    assert both.status_code == 200 and [t["spanSet"]["matched"] for t in both.json()["traces"]] == [1]
    assert server.push(request, headers={"X-Scope-OrgID": "blue|red"}).status_code == 400
