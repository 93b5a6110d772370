"""One slow trace whose cause a person can tell."""
import os

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from . import otlp
from .waiting import eventually

MS = otlp.MILLISECOND
SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
FAILED = Status(code=Status.STATUS_CODE_ERROR, message="card declined")
MARKUP = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'


class Orders:
    """A slow order: payment is tried three times, and items are read one by one."""

    def __init__(self, base):
        self.id, self.base = os.urandom(16), base
        numbers = iter(range(1, 1000))
        ids = {}

        def span(name, parent, start, duration, **fields):
            ids[name] = next(numbers).to_bytes(8, "big")
            return otlp.span(self.id, ids[name], name, base + start * MS, duration * MS,
                             parent_span_id=ids.get(parent, b""), **fields)

        root = span("POST /orders", None, 0, 1840, kind=SERVER, attributes={"http.route": "/orders", "user": MARKUP})
        shop = [root]
        charge = span("charge", "POST /orders", 700, 1100, kind=SERVER, status=FAILED)
        charge.events.add(name="exception", time_unix_nano=base + 1790 * MS, attributes=otlp.key_values(
            {"exception.stacktrace": "Declined: no money\n  at charge (pay.js:7)", "exception.type": "Declined"}))
        charge.links.add(trace_id=bytes(15) + b"\7", span_id=bytes(7) + b"\1")
        payment = [charge] + [
            span("POST /cards", "charge", 710 + 350 * n, 340, kind=CLIENT, status=FAILED) for n in range(3)]
        database = [span("SELECT items", "POST /orders", 10 + 5 * n, 4 + n % 2, kind=CLIENT, attributes={"n": n})
                    for n in range(100)]
        self.requests = [otlp.export(*shop, service="shop", resource={"region": "eu"}),
                         otlp.export(*payment, service="payment"), otlp.export(*database, service="database")]
        self.hex = self.id.hex()


def pushed(server, base):
    """An order that the server has, from unix nanoseconds `base` on."""
    made = Orders(base)
    for request in made.requests:
        server.must_push(request)
    eventually(lambda: len(server.get(f"/api/traces/{made.hex}").json()["batches"]) == 3, "the trace is there")
    return made
