"""Expressions on one span. An expression is a tuple: its node's name, then its parts.

    ("value", VALUE)                    a literal
    ("attribute", scope, name)          scope: "", span, resource, parent, parent.span, parent.resource, event, link, instrumentation
    ("field", name)                     an intrinsic by its canonical name
    ("binary", operator, left, right)
    ("not", e)   ("minus", e)
    ("nil", "=" or "!=", e)
"""
from . import values
from .model import NO_PARENT, has, lookup
from .values import boolean, is_true

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=", "=~", "!~")
NOTHING = object()  # stands for the event or link of a span that has none, and for what depends on it


def parts(e):
    return [one for one in e[1:] if isinstance(one, tuple) and e[0] not in ("value", "attribute", "field")]


def operands(e):
    """The attributes and fields in an expression, in order."""
    if e[0] in ("attribute", "field"):
        return [e]
    return [one for part in parts(e) for one in operands(part)]


def scope_of(e):
    """event or link if the operand belongs to one, else None."""
    if e[0] == "attribute":
        return e[1] if e[1] in ("event", "link") else None
    return e[1].partition(":")[0] if e[1].startswith(("event:", "link:")) else None


def trimmed(trace_id):
    return trace_id.lstrip("0")


def span_field(span, name):
    trace = span.trace
    plain = {
        "duration": lambda: ("duration", span.duration),
        "name": lambda: ("string", span.name),
        "status": lambda: ("status", span.status),
        "statusMessage": lambda: ("string", span.message),
        "kind": lambda: ("kind", span.kind),
        "span:id": lambda: ("string", span.id),
        "span:parentID": lambda: ("string", span.parent or NO_PARENT),
        "span:childCount": lambda: ("int", len(span.below)),
        "nestedSetParent": lambda: ("int", 0 if not span.placed else -1 if span.is_root else 1),
        "nestedSetLeft": lambda: ("int", 1 if span.placed else 0),
        "nestedSetRight": lambda: ("int", 2 if span.placed else 0),
        "traceDuration": lambda: ("duration", trace.duration),
        "rootName": lambda: ("string", trace.root.name if trace.root else ""),
        "rootServiceName": lambda: ("string", trace.root_service),
        "trace:id": lambda: ("string", trimmed(trace.id)),
        "instrumentation:name": lambda: ("string", span.scope[0]),
        "instrumentation:version": lambda: ("string", span.scope[1]),
        "parent": lambda: boolean(True) if span.above else None,  # only ever compared with nil
    }
    return plain[name]()


def of_event(span, event, name, scope):
    key, at, attributes = event
    if scope == "attribute":
        return lookup(attributes, name)
    return ("string", key) if name == "event:name" else ("duration", at - span.start)


def of_link(link, name, scope):
    trace_id, span_id, attributes = link
    if scope == "attribute":
        return lookup(attributes, name)
    return ("string", trimmed(trace_id) if name == "link:traceID" else span_id)


def of_span(span, e):
    """The value of an attribute or field that belongs to no event or link."""
    if e[0] == "field":
        return span_field(span, e[1])
    _, scope, name = e
    if scope.startswith("parent"):
        return of_span(span.above, ("attribute", scope[7:], name)) if span.above else None
    if scope == "":
        return lookup(span.attributes if has(span.attributes, name) else span.resource, name)
    return lookup({"span": span.attributes, "resource": span.resource, "instrumentation": span.scope[2]}[scope], name)


def first_value(span, e):
    """The value of an operand that is used for itself: of an event or link the first that has it."""
    scope = scope_of(e)
    if scope is None:
        return of_span(span, e)
    found = [of_event(span, one, e[-1], e[0]) for one in span.events] if scope == "event" else [of_link(one, e[-1], e[0]) for one in span.links]
    return next((value for value in found if value is not None), None)


class Assignment:
    """A span with the one event and the one link that a filter's conditions are about."""

    def __init__(self, span, event=None, link=None):
        self.span, self.event, self.link = span, event, link

    def operand(self, e):
        scope = scope_of(e)
        chosen = {"event": self.event, "link": self.link, None: None}[scope]
        if chosen is None:
            return first_value(self.span, e)
        if chosen is NOTHING:
            return None
        return of_event(self.span, chosen, e[-1], e[0]) if scope == "event" else of_link(chosen, e[-1], e[0])

    def about_nothing(self, e):
        """Whether a condition is about an event or link that the span has not: then it is neither true nor false."""
        scopes = {scope_of(one) for one in operands(e)}
        return "event" in scopes and self.event is NOTHING or "link" in scopes and self.link is NOTHING


def evaluate(at, e):
    """The value; NOTHING for a condition on an event or link that the span has not, so that its negation does not hold either."""
    node = e[0]
    if node == "value":
        return e[1]
    if node == "binary" and e[1] in ("&&", "||"):  # what is no boolean counts as false
        found, decides = [evaluate(at, side) for side in e[2:]], e[1] == "||"
        if any(value is not NOTHING and is_true(value) == decides for value in found):
            return boolean(decides)
        return NOTHING if NOTHING in found else boolean(not decides)
    if node == "not":
        value = evaluate(at, e[1])
        if value is NOTHING:
            return NOTHING
        return boolean(not value[1]) if value and value[0] == "boolean" else None
    if at.about_nothing(e):
        return NOTHING
    if node in ("attribute", "field"):
        return at.operand(e)
    if node == "minus":
        return values.negated(evaluate(at, e[1]))
    if node == "nil":
        return boolean((evaluate(at, e[2]) is None) == (e[1] == "="))
    _, op, left, right = e
    if op in COMPARISONS:
        left, right, ids = evaluate(at, left), evaluate(at, right), compares_ids(e)
        return boolean(values.compare(op, as_id(left, ids), as_id(right, ids)))
    return values.arithmetic(op, evaluate(at, left), evaluate(at, right))


def compares_ids(e):
    """Which ids an equality compares: then both sides are brought to one form."""
    if e[1] not in ("=", "!="):
        return None
    names = [side[1] for side in e[2:] if side[0] == "field"]
    if any(name in ("trace:id", "link:traceID") for name in names):
        return "trace"
    return "span" if any(name in ("span:id", "span:parentID", "link:spanID") for name in names) else None


def as_id(value, which):
    if which is None or value is None or value[0] != "string":
        return value
    return ("string", trimmed(value[1].lower()) if which == "trace" else value[1].lower().rjust(16, "0"))


def assignments(span, e):
    scopes = {scope_of(one) for one in operands(e)}
    events = (span.events or [NOTHING]) if "event" in scopes else [None]
    links = (span.links or [NOTHING]) if "link" in scopes else [None]
    return [Assignment(span, event, link) for event in events for link in links]


def matches(span, e):
    """Whether `{ e }` keeps a span."""
    found = (evaluate(at, e) for at in assignments(span, e))
    return any(value is not NOTHING and is_true(value) for value in found)


def value(span, e):
    """The value of an expression of `by` and of aggregates."""
    return evaluate(Assignment(span), e)
