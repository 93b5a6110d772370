"""Traces written down as trees of calls, each with the time that it takes itself.

`call("shop", "GET /cart", 5, query("HGETALL cart", 2, "redis"))` is a request of 7 ms and its query. A call of another service
has a span on both sides. What stands below a call happens one after another, spread over the time of the call itself."""
import dataclasses

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from . import otlp

MS = otlp.MILLISECOND
INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
PRODUCER, CONSUMER = Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER
NETWORK = MS
# All that does not happen on purpose takes between so much less and so much more.
VARIES = (.8, 1.25)


@dataclasses.dataclass
class Call:
    """What one service does, and what it asks others to do meanwhile. Times in milliseconds."""
    service: str
    name: str
    own: float
    below: tuple = ()
    kind: int = SERVER
    attributes: dict = dataclasses.field(default_factory=dict)
    resource: dict = dataclasses.field(default_factory=dict)
    # The message of the failure; None if it went well.
    error: str | None = None
    # It does nothing for so long before the first of its calls.
    first_waits: float = 0
    # The caller does nothing for so long before this.
    after: float = 0
    # The caller gives up after so long; what is below goes on.
    limit: float | None = None
    # It begins so long after the caller sent it, who does not wait for it.
    later: float | None = None
    # The clock of its machine is so much ahead.
    skew: float = 0


def call(service, name, own, *below, **more):
    return Call(service, name, own, below, **more)


def query(name, own, system="postgresql", **more):
    """A question to a database, which makes no spans itself."""
    attributes = {"db.system": system, **more.pop("attributes", {})}
    return Call("", name, own, kind=CLIENT, attributes=attributes, **more)


def step(name, own, *below, kind=INTERNAL, **more):
    """A part of the work of a service that has a span of its own."""
    return Call("", name, own, below, kind=kind, **more)


class Tracer:
    """Makes the spans of calls; `choice` is a random.Random."""

    def __init__(self, choice):
        self.choice = choice

    def requests(self, root, start):
        """(trace id in hex, export requests, one a service and resource) of a trace that starts at `start`, in nanoseconds."""
        self.trace = self.choice.randbytes(16)
        self.groups = {}
        self._call(root, start, None, b"")
        return self.trace.hex(), [
            otlp.export(*spans, service=service, resource=dict(resource))
            for (service, resource), spans in self.groups.items()]

    def _took(self, milliseconds):
        return int(milliseconds * MS * self.choice.uniform(*VARIES))

    def _call(self, made, start, caller, parent):
        """Makes the spans of a call and of those below; returns when the caller has its answer."""
        service = made.service or caller.service
        if made.kind != SERVER or caller is None or service == caller.service:
            return self._span(made, service, start, parent, caller)
        client = self.choice.randbytes(8)
        answered = self._span(made, service, start + NETWORK, client, caller) + NETWORK
        error = made.error
        if made.limit is not None and answered > start + made.limit * MS:
            answered, error = start + int(made.limit * MS), f"no answer within {made.limit:.0f} ms"
        self._keep(caller.service, caller.resource, otlp.span(
            self.trace, client, made.name, start + int(caller.skew * MS), answered - start, {"server.address": service},
            parent_span_id=parent, kind=CLIENT, **failed(error)))
        return answered

    def _span(self, made, service, start, parent, caller):
        own, span_id = self._took(made.own), self.choice.randbytes(8)
        resource, skew = made.resource, made.skew
        if caller and caller.service == service:
            resource, skew = resource or caller.resource, skew or caller.skew
        of_service = dataclasses.replace(made, service=service, resource=resource, skew=skew)
        now = start + int(made.first_waits * MS)
        for below in made.below:
            if below.later is not None:
                self._call(below, now + int(below.later * MS), of_service, span_id)
                continue
            now += own // (len(made.below) + 1) + int(below.after * MS)
            now = self._call(below, now, of_service, span_id)
        now += own // (len(made.below) + 1) if made.below else own
        self._keep(service, resource, otlp.span(
            self.trace, span_id, made.name, start + int(skew * MS), now - start, made.attributes,
            parent_span_id=parent, kind=made.kind, **failed(made.error)))
        return now

    def _keep(self, service, resource, span):
        self.groups.setdefault((service, tuple(sorted(resource.items()))), []).append(span)


def failed(error):
    return {} if error is None else {"status": Status(code=Status.STATUS_CODE_ERROR, message=error)}
