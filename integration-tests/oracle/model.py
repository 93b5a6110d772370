"""Traces as the evaluator sees them: spans with typed attributes, their places in the tree, and trace-level facts."""
import dataclasses
import functools

NO_PARENT = "0" * 16


@dataclasses.dataclass(eq=False)
class Span:
    id: str
    parent: str  # "" for a root
    name: str
    kind: str
    status: str
    message: str
    start: int
    end: int
    attributes: list  # of (key, plain value); a key may be repeated
    resource: list
    scope: tuple  # name, version, attributes
    events: list  # of (name, time, attributes)
    links: list  # of (trace id, span id, attributes)
    trace: object = None
    # The place in the tree: parent span in the trace, whether the chain of parents ends in a root.
    above: object = None
    below: list = dataclasses.field(default_factory=list)
    placed: bool = False

    @property
    def duration(self):
        return max(self.end - self.start, 0)

    @property
    def is_root(self):
        return self.parent == ""


def typed(value):
    """A plain value as (type, value); nil for what is not queryable."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int):
        return ("int", value)
    if isinstance(value, float):
        return ("float", value)
    if isinstance(value, str):
        return ("string", value)
    if isinstance(value, list):
        kinds = {None if isinstance(one, list) or typed(one) is None else typed(one)[0] for one in value}
        if not value:
            return ("any[]", [])
        if len(kinds) == 1 and (kind := kinds.pop()):
            return (kind + "[]", value)
    return None


def lookup(pairs, key):
    """The first value of a key; nil if there is none."""
    return next((typed(value) for name, value in pairs if name == key), None)


def has(pairs, key):
    return any(name == key for name, _ in pairs)


class Trace:
    def __init__(self, trace_id, spans):
        self.id, self.spans = trace_id, spans
        for span in spans:
            span.trace = self
        self.start = min(span.start for span in spans)
        self.end = max(span.end for span in spans)
        self.by_id = {}
        for span in spans:
            self.by_id.setdefault(span.id, []).append(span)
        self.place()

    @property
    def duration(self):
        return max(self.end - self.start, 0)

    @functools.cached_property
    def root(self):
        """Of several roots the one that starts last, then the one with the highest id."""
        roots = [span for span in self.spans if span.is_root]
        return max(roots, key=lambda span: (span.start, span.id), default=None)

    @functools.cached_property
    def root_service(self):
        value = lookup(self.root.resource, "service.name") if self.root else None
        return value[1] if value and value[0] == "string" else ""

    def parent_of(self, span):
        """The parent in the trace. Of two spans with its id a server span has the client one above it, any other the server one."""
        if span.is_root:
            return None
        found = self.by_id.get(span.parent, [])
        if len(found) == 1:
            return found[0]
        wanted = "client" if span.kind == "server" else "server"
        fitting = [one for one in found if one.kind == wanted] if len(found) == 2 else []
        return fitting[0] if len(fitting) == 1 else None

    def place(self):
        for span in self.spans:
            span.above = self.parent_of(span)
            if span.above:
                span.above.below.append(span)
        if any(len(found) > 2 for found in self.by_id.values()):
            return
        waiting = [span for span in self.spans if span.is_root]
        while waiting:
            span = waiting.pop()
            span.placed = True
            waiting.extend(span.below)

    def service_stats(self):
        out = {}
        for span in self.spans:
            service = lookup(span.resource, "service.name")
            name = service[1] if service and service[0] == "string" else ""
            counts = out.setdefault(name, [0, 0])
            counts[0] += 1
            counts[1] += span.status == "error"
        return out
