"""Asks a server, and brings its answers and the expected ones to one form."""
import json
import math

from . import metrics, pipeline
from .values import canonical

NO_ROOT = "<root span not yet received>"


def wire(value):
    """A value as answers have it: [type, value]."""
    kind, what = value
    if kind.endswith("[]") and len(what) == 1:
        return wire((kind[:-2], what[0]))  # as stored, one element is as good as an array of it
    if kind.endswith("[]"):
        return ["array", [wire((kind[:-2], one)) for one in what]]
    if kind == "float":
        return ["double", what]
    if kind == "boolean":
        return ["bool", what]
    return [kind, what] if kind in ("int", "string") else ["string", canonical(value)]


def received(value):
    if not value:
        return None
    (kind, what), = value.items()
    if kind == "intValue":
        return ["int", int(what)]
    if kind == "doubleValue":
        return ["double", float(what)]
    if kind == "arrayValue":
        return ["array", [received(one) for one in what.get("values", [])]]
    return [kind.removesuffix("Value"), what]


def pairs(found):
    return sorted((placed(one["key"], received(one.get("value"))) for one in found or []), key=json.dumps)


def placed(key, value):
    """Of numbers in the tree only the sign is told by the language."""
    return [key, ["int", min(value[1], 1)]] if key.startswith("nestedSet") else [key, value]


# --- searches ---------------------------------------------------------------------------------------------------------------


def key_of(operand):
    return operand[1] if operand[0] == "field" else operand[2]


def expected_search(traces, stages, window=None, limit=None, spss=None):
    """What a search answers: of a trace what lies in the window (seconds), the newest `limit` traces, `spss` spans of a spanset."""
    out = {}
    for trace in sorted(traces, key=lambda trace: (-trace.start, trace.id)):
        if window and not (trace.start <= window[1] * 10**9 and trace.end >= window[0] * 10**9):
            continue
        spansets = pipeline.run(trace, stages)
        if spansets and (limit is None or len(out) < limit):
            out[trace.id] = {
                "root": [(trace.root_service or NO_ROOT), trace.root.name if trace.root else ""],
                "start": trace.start, "ms": trace.duration // 10**6, "stats": trace.service_stats(),
                "spansets": sorted((expected_spanset(spans, attributes, stages, spss) for spans, attributes in spansets), key=sort_key)}
    return {"order": list(out), **out}


def expected_spanset(spans, attributes, stages, spss):
    shown = sorted((expected_span(span, stages) for span in spans), key=span_key)
    if spss and len(shown) > spss and shown[spss - 1][:2] == shown[spss][:2]:
        raise metrics.Ambiguous  # which of two spans with one id is cut off
    return {"matched": len(spans), "attributes": [[name, wire(value)] for name, value in attributes], "spans": shown[:spss]}


def expected_span(span, stages):
    operands, named = pipeline.shown(span, stages)
    attributes = []
    for operand, value in operands.items():
        pair = placed(key_of(operand), wire(value))
        if pair not in attributes:  # the same of two scopes stands there once
            attributes.append(pair)
    attributes.sort(key=json.dumps)
    return [span.start, span.id, span.duration, span.name if named else "", attributes]


def span_key(shown):
    """Spans stand by start, then id."""
    return [*shown[:2], json.dumps(shown)]


def sort_key(spanset):
    return json.dumps([spanset["attributes"], [one[:3] for one in spanset["spans"]]])


def got_search(body):
    out = {}
    for trace in body["traces"]:
        out[trace["traceID"].rjust(32, "0")] = {
            "root": [trace.get("rootServiceName", ""), trace.get("rootTraceName", "")],
            "start": int(trace["startTimeUnixNano"]), "ms": trace.get("durationMs", 0),
            "stats": {name: [counts.get("spanCount", 0), counts.get("errorCount", 0)] for name, counts in trace.get("serviceStats", {}).items()},
            "spansets": sorted((got_spanset(one) for one in trace["spanSets"]), key=sort_key)}
    return {"order": list(out), **out}


def got_spanset(one):
    spans = [[int(span["startTimeUnixNano"]), span["spanID"], int(span.get("durationNanos", 0)), span.get("name", ""), pairs(span.get("attributes"))]
             for span in one["spans"]]
    if [span[:2] for span in spans] == sorted(span[:2] for span in spans):
        spans.sort(key=span_key)  # else they are left in the wrong order, to be seen
    return {"matched": one["matched"], "attributes": [[attribute["key"], received(attribute["value"])] for attribute in one.get("attributes") or []],
            "spans": spans}


# --- metrics ----------------------------------------------------------------------------------------------------------------


def expected_metrics(traces, query, grid):
    series = metrics.evaluate(traces, query, grid)
    return {json.dumps(sorted([name, wire(value)] for name, value in labels)): {str(at // 10**6): value for at, value in points.items()}
            for labels, points in series.items()}


def got_metrics(body, instant_at=None):
    out = {}
    for series in body.get("series") or []:
        labels = json.dumps(sorted(pairs(series.get("labels"))))
        samples = [{"timestampMs": str(instant_at // 10**6), **series}] if instant_at is not None else series.get("samples", [])
        assert labels not in out, ("twice", labels)
        out[labels] = {one["timestampMs"]: float(one.get("value", 0)) for one in samples}
    return out


# --- differences --------------------------------------------------------------------------------------------------------------


def close(a, b):
    if isinstance(a, float) or isinstance(b, float):
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(close, a, b))
    return type(a) is type(b) and a == b


def difference(want, got, at=""):
    """The first place where two answers differ, in words; "" if they are equal."""
    if close(want, got):
        return ""
    if isinstance(want, dict) and isinstance(got, dict):
        missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
        if missing or extra:
            return f"{at or 'answer'}: {len(want)} expected, {len(got)} got; missing {missing[:3]}, extra {extra[:3]}"
        return next(found for key in want if (found := difference(want[key], got[key], f"{at}.{key}")))
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)) and len(want) == len(got):
        return next(found for index, (a, b) in enumerate(zip(want, got)) if (found := difference(a, b, f"{at}[{index}]")))
    return f"{at or 'answer'}: expected {want!r:.400}, got {got!r:.400}"
