"""Configurations of the metrics generator, and spans for it."""
import time

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from . import otlp

Span = otlp.Span
MS = otlp.MILLISECOND
ERROR = Status(code=Status.STATUS_CODE_ERROR)


def generator(directory, urls=(), processors=("span-metrics", "service-graphs"), limits=None, **more):
    """Configuration of a generator that collects each second and waits shortly for the other side of a call."""
    return {
        "metrics_generator": {
            "registry": {"collection_interval": "1s", "external_labels": {"source": "test"}},
            "processor": {"service_graphs": {"wait": "3s"}},
            "storage": {
                "path": str(directory / "generator"),
                "remote_write": [{"url": url, "queue_config": {"batch_send_deadline": "200ms"}} for url in urls]},
            **more,
        },
        "overrides": {"defaults": {
            "ingestion": {"rate_limit_bytes": 10**9, "burst_size_bytes": 10**9, "max_traces_per_user": 0},
            "metrics_generator": {"processors": list(processors), **(limits or {})}}},
    }


def call(client="shop", server="bank", name="charge", failed=False, duration=30 * MS, namespaces=None):
    """Export requests of a trace: a root of the client's, its call, and the call at the server. `namespaces`: of both."""
    end = time.time_ns()
    root = otlp.span(name="GET /buy", kind=Span.SPAN_KIND_SERVER, start=end - 3 * duration, duration=3 * duration)
    out = otlp.span(root.trace_id, name=name, kind=Span.SPAN_KIND_CLIENT, parent_span_id=root.span_id,
                    start=end - 2 * duration, duration=duration + 5 * MS)
    into = otlp.span(root.trace_id, name="/" + name, kind=Span.SPAN_KIND_SERVER, parent_span_id=out.span_id,
                     start=end - 2 * duration + 2 * MS, duration=duration, **({"status": ERROR} if failed else {}))
    resources = [{"service.namespace": namespace} for namespace in namespaces] if namespaces else [None, None]
    return [otlp.export(root, out, service=client, resource=resources[0]),
            otlp.export(into, service=server, resource=resources[1])]


def push_calls(server, count, /, headers=None, **fields):
    for _ in range(count):
        for request in call(**fields):
            assert server.push(request, headers=headers or {}).status_code == 200
