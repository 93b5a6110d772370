"""Spans to push."""
import os
import time

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: F401
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MILLISECOND = 1_000_000


def any_value(value):
    if isinstance(value, AnyValue):
        return value
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, (list, tuple)):
        out = AnyValue()
        out.array_value.values.extend(any_value(item) for item in value)
        return out
    if isinstance(value, dict):
        out = AnyValue()
        out.kvlist_value.values.extend(key_values(value))
        return out
    return AnyValue(string_value=value)


def key_values(attributes):
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(trace_id=None, span_id=None, name="work", start=None, duration=5 * MILLISECOND, attributes=None, **fields):
    """A span with random ids that ended now; times in nanoseconds, ids as bytes."""
    end = time.time_ns() if start is None else start + duration
    return Span(
        trace_id=os.urandom(16) if trace_id is None else trace_id,
        span_id=os.urandom(8) if span_id is None else span_id,
        name=name, start_time_unix_nano=end - duration, end_time_unix_nano=end,
        attributes=key_values(attributes or {}), **{"kind": Span.SPAN_KIND_INTERNAL, **fields})


def export(*spans, service="shop", resource=None, scope="test"):
    """An export request with these spans under one resource and scope."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values({"service.name": service, **(resource or {})}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.spans.extend(spans)
    return request


def trace(spans=3, trace_id=None, **fields):
    """Spans of one trace: a root and its children."""
    trace_id = trace_id or os.urandom(16)
    root = span(trace_id, name="root", **fields)
    children = [span(trace_id, parent_span_id=root.span_id, name=f"child-{i}", **fields) for i in range(1, spans)]
    return [root, *children]


def push_trace(server, spans=3, service="shop", **fields):
    """Pushes one trace and returns its id in hex."""
    spans = trace(spans, **fields)
    server.must_push(export(*spans, service=service))
    return spans[0].trace_id.hex()


def ids(request):
    """trace id -> span ids of a request, all in hex."""
    out = {}
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for one in scope_spans.spans:
                out.setdefault(one.trace_id.hex(), []).append(one.span_id.hex())
    return out


class GrpcExporter:
    """A bare gRPC client for exports, with full sight of statuses."""

    def __init__(self, port, options=(), compression=None):
        limits = [("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[*limits, *options], compression=compression)
        self.stub = trace_service_pb2_grpc.TraceServiceStub(self.channel)

    def export(self, request, timeout=30, **kwargs):
        return self.stub.Export(request, timeout=timeout, **kwargs)

    def export_bytes(self, body, timeout=30, metadata=None):
        """Sends bytes that need be no message; returns the raw response."""
        call = self.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        return call(body, timeout=timeout, metadata=metadata)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
