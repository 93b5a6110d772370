"""Random traces, as the evaluator's model and as OTLP."""
import math

from harness import otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .model import Span, Trace

SECOND, MILLISECOND = 10**9, 10**6
# Not `nil`: after the answers of several places are put together it is the same group as no value.
STRINGS = ["", "a", "b", "ab", "A", "GET", "GET /a", "x\ny", "é", "10", "true", "0.5", "error"]
INTS = [0, 1, 2, 3, -1, 5, 200, 404, 500, 1000, 2**53 + 1, -(2**63), 2**63 - 1, 7]
FLOATS = [0.0, 0.5, math.inf, -math.inf, 1.0, 2.0, -1.5, 3.25, 200.0, 1e9, 1e-7, 123456.5, 2.0**53]
KEYS = ["a", "b", "n", "f", "s", "mixed", "tags", "flag", "http.method", "http.status_code", "http.url", "cluster", "name", "odd key", "name-1"]
NAMES = ["GET /a", "GET /b", "work", "work", "leaf", "", "SELECT"]
KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
STATUSES = ["unset", "unset", "ok", "error"]


def scalar(dice, key):
    if key in ("a", "n", "http.status_code"):
        return dice.choice(INTS) if dice.random() < 0.5 else dice.randrange(6)
    if key == "f":
        return dice.choice(FLOATS)
    if key in ("s", "http.method", "http.url", "cluster", "odd key", "name-1", "name"):
        return dice.choice(STRINGS)
    if key == "flag":
        return dice.random() < 0.5
    return dice.choice([dice.choice(STRINGS), dice.choice(INTS), dice.choice(FLOATS), dice.random() < 0.5])


def array(dice):
    pool = dice.choice([STRINGS, [1, 2, 3, 5, -1], [0.5, 1.0, 2.0], [True, False]])
    size = dice.choice([0, 1, 2, 2, 3])
    return [dice.choice(pool) for _ in range(size)]


def value(dice, key):
    odd = dice.random()
    if odd < 0.04:
        return dice.choice([b"bytes", {"k": "v"}, [1, "a"], [["a"], ["b"]], [1, 2.0], None])
    if key == "tags" and odd < 0.9 or odd < 0.08:
        return array(dice)
    if odd < 0.14:
        return scalar(dice, "mixed")
    return scalar(dice, key)


def attributes(dice, chance):
    pairs = [(key, value(dice, key)) for key in KEYS if dice.random() < chance]
    dice.shuffle(pairs)
    if pairs and dice.random() < 0.03:
        pairs.append((pairs[0][0], value(dice, "mixed")))
    return pairs


def duration(dice):
    return dice.choice([0, 1, 2, 1000, MILLISECOND, 5 * MILLISECOND, 100 * MILLISECOND, SECOND, 3 * SECOND + 7, dice.randrange(2 * SECOND)])


def when(dice, base):
    """An instant of ten minutes; often on a whole ten seconds, where intervals of metrics end."""
    if dice.random() < 0.3:
        return (base // (10 * SECOND) + dice.randrange(60)) * 10 * SECOND
    return base + dice.randrange(600 * SECOND)


def resources(dice):
    out = []
    for service in ("shop", "cart", "pay", "", None, 5):
        named = [] if service is None else [("service.name", service)]
        out.append(named + [pair for pair in attributes(dice, 0.2)])
    return out


def trace(dice, base, pools):
    trace_id = f"{dice.getrandbits(dice.choice([128, 128, 128, 60])):032x}"
    size = dice.choice([1, 1, 2, 3, 4, 5, 6, 8, 12, 20, 40])
    start, spans = when(dice, base), []
    for index in range(size):
        parent = ""
        if index and dice.random() < 0.93:
            parent = dice.choice(spans[-4:]).id
        if dice.random() < 0.05 or (index == 0 and dice.random() < 0.1):
            parent = dice.choice([f"{dice.getrandbits(64) | 1:016x}", spans[0].id if spans else "00000000000000ff"])
        at = start + dice.choice([0, 0, MILLISECOND, dice.randrange(3 * SECOND)])
        spans.append(span(dice, f"{dice.getrandbits(64) | 1:016x}", parent, at, pools))
    if size > 2 and dice.random() < 0.15:  # two spans of one id: client and server
        one, other = dice.sample(spans[1:], 2)
        other.id, one.kind, other.kind = one.id, "client", dice.choice(["server", "server", "internal"])
        if dice.random() < 0.5:
            other.parent = one.id
    if size > 3 and dice.random() < 0.05:  # a loop
        one, other = dice.sample(spans[1:], 2)
        one.parent, other.parent = other.id, one.id
    if dice.random() < 0.05:  # a span that ends before it starts
        spans[-1].end = spans[-1].start - MILLISECOND
    return Trace(trace_id, spans)


def span(dice, span_id, parent, at, pools):
    events = [(dice.choice(["log", "exception", "", "log"]), at + dice.choice([0, 1, MILLISECOND, dice.randrange(SECOND)]), attributes(dice, 0.15))
              for _ in range(dice.choice([0, 0, 0, 1, 2, 3, 6]))]
    links = [(f"{dice.choice([0xab, dice.getrandbits(128)]):032x}", f"{dice.choice([0xab, dice.getrandbits(64)]):016x}", attributes(dice, 0.1))
             for _ in range(dice.choice([0, 0, 0, 0, 1, 2]))]
    return Span(span_id, parent, dice.choice(NAMES), dice.choice(KINDS), dice.choice(STATUSES), dice.choice(["", "", "failed", "nil"]),
                at, at + duration(dice), attributes(dice, 0.3), dice.choice(pools[0]), dice.choice(pools[1]), events, links)


def traces(dice, count, base):
    scopes = [("", "", []), ("lib", "", attributes(dice, 0.2)), ("lib", "1.0", attributes(dice, 0.3)), ("other", "2", attributes(dice, 0.3))]
    pools = (resources(dice) + resources(dice), scopes)
    out = [trace(dice, base, pools) for _ in range(count)]
    return list({one.id: one for one in out}.values())


# --- OTLP -------------------------------------------------------------------------------------------------------------------


def pairs_of(pairs):
    out = []
    for key, plain in pairs:
        pair = otlp.KeyValue(key=key)
        if plain is not None:
            pair.value.CopyFrom(otlp.any_value(plain))
        out.append(pair)
    return out


def encoded(one, trace_id):
    return otlp.Span(
        trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(one.id), parent_span_id=bytes.fromhex(one.parent), name=one.name,
        kind={"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}[one.kind],
        status={"code": {"unset": 0, "ok": 1, "error": 2}[one.status], "message": one.message},
        start_time_unix_nano=one.start, end_time_unix_nano=one.end, attributes=pairs_of(one.attributes),
        events=[{"name": name, "time_unix_nano": at, "attributes": pairs_of(pairs)} for name, at, pairs in one.events],
        links=[{"trace_id": bytes.fromhex(of), "span_id": bytes.fromhex(to), "attributes": pairs_of(pairs)} for of, to, pairs in one.links])


def exports(dice, all_traces, batch=10):
    """Export requests; spans of a trace keep their order."""
    for first in range(0, len(all_traces), batch):
        request = ExportTraceServiceRequest()
        for one in all_traces[first:first + batch]:
            for each in one.spans:
                group = request.resource_spans.add()
                group.resource.attributes.extend(pairs_of(each.resource))
                inner = group.scope_spans.add()
                inner.scope.name, inner.scope.version = each.scope[0], each.scope[1]
                inner.scope.attributes.extend(pairs_of(each.scope[2]))
                inner.spans.append(encoded(each, one.id))
        yield request
