"""Spans whose answers the query APIs of Jaeger and Zipkin are compared with."""
import contextlib
import time

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from harness import dialects, otlp
from harness.servers import Servers
from harness.waiting import eventually

SERVER, CLIENT = otlp.Span.SPAN_KIND_SERVER, otlp.Span.SPAN_KIND_CLIENT
PRODUCER, CONSUMER = otlp.Span.SPAN_KIND_PRODUCER, otlp.Span.SPAN_KIND_CONSUMER
MS = otlp.MILLISECOND


class Trip:
    """A trace through three services, one call of which fails, and a trace of one span."""

    def __init__(self, base):
        # Whole microseconds, which is what these APIs know.
        self.base = base = base // 1000 * 1000
        root = otlp.span(name="GET /buy", start=base, duration=100 * MS, kind=SERVER, attributes={"http.status_code": 500, "vip": True})
        self.trace = root.trace_id.hex()
        call = otlp.span(root.trace_id, name="charge", start=base + 10 * MS, duration=50 * MS, kind=CLIENT, parent_span_id=root.span_id)
        charge = otlp.span(
            root.trace_id, name="/charge", start=base + 20 * MS, duration=30 * MS, kind=SERVER, parent_span_id=call.span_id,
            attributes={"amount": 12.5, "big": 2**60}, status=Status(code=Status.STATUS_CODE_ERROR, message="card declined"))
        charge.events.add(name="exception", time_unix_nano=base + 21 * MS, attributes=otlp.key_values({"exception.type": "Declined"}))
        send = otlp.span(root.trace_id, name="send", start=base + 60 * MS, duration=5 * MS, kind=PRODUCER, parent_span_id=root.span_id)
        receive = otlp.span(root.trace_id, name="receive", start=base + 70 * MS, duration=5 * MS, kind=CONSUMER, parent_span_id=send.span_id)
        alone = otlp.span(name="GET /", start=base + 200 * MS, duration=2000 * MS, kind=SERVER, attributes={"http.status_code": 200})
        self.alone = alone.trace_id.hex()
        self.requests = [
            otlp.export(root, call, send, service="shop", resource={"region": "eu"}),
            otlp.export(charge, service="bank", scope="lib-bank"),
            otlp.export(receive, service="mail"),
            otlp.export(alone, service="shop", resource={"region": "us"}),
        ]


@contextlib.contextmanager
def served(directory, in_blocks):
    """(server, trip): its spans are live, or in a block."""
    group = Servers(directory)
    server = dialects.start(group)
    trip = Trip(time.time_ns() - 20 * 10**9)
    for message in trip.requests:
        server.must_push(message)
    if in_blocks:
        server.flush()
        eventually(server.block_directories, "a block")
    yield server, trip
    group.close()
