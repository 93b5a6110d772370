"""What the query APIs of Jaeger and Zipkin answer about traces: a trace as Jaeger shows it, and which traces a search finds."""
import base64
import json
import math

from .model import has, lookup

MICROSECOND = 1000
STATUS_TAGS = {"ok": "OK", "error": "ERROR"}


def text(value):
    """What a tag is searched by; None for bytes, maps and no value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return json.dumps(int(value) if value.is_integer() and abs(value) < 1e21 else value).replace("e-0", "e-") if math.isfinite(value) else None
    return str(value) if isinstance(value, (str, int)) else None


def first(pairs, key):
    """The first value of a key, and its elements if it is an array of one type."""
    value = next((value for name, value in pairs if name == key), None)
    if not isinstance(value, list):
        return [text(value)]
    return [text(one) for one in value] if len({type(one) for one in value}) == 1 else []


def service(span):
    value = next((value for name, value in span.resource if name == "service.name"), None)
    return value if isinstance(value, str) and value else None


# --- Jaeger: a trace ------------------------------------------------------------------------------------------------------


def tag(key, value):
    if isinstance(value, (list, dict)):
        return [key, "string", ["json", value]]
    if isinstance(value, bool):
        return [key, "bool", value]
    if isinstance(value, int):
        return [key, "int64", value if abs(value) < 2**53 else str(value)]
    if isinstance(value, float):
        return [key, "float64", value if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"]
    if isinstance(value, bytes):
        return [key, "binary", base64.b64encode(value).decode()]
    return [key, "string", value or ""]


def by_key(tags):
    return sorted(tags, key=json.dumps)


def shown_service(span):
    if not has(span.resource, "service.name"):
        return "missing-service-name"
    value = next(value for name, value in span.resource if name == "service.name")
    return "service-name-wrong-type" if not isinstance(value, str) else value or "empty-service-name"


def shown(trace, span):
    """A span as Jaeger shows it."""
    tags = [tag(*pair) for pair in span.attributes]
    status = STATUS_TAGS.get(span.status)
    extra = {"otel.scope.name": span.scope[0], "otel.scope.version": span.scope[1], "span.kind": span.kind.replace("unspecified", ""),
             "otel.status_code": status, "otel.status_description": span.message}
    tags += [tag(key, value) for key, value in extra.items() if value] + ([tag("error", True)] if status == "ERROR" else [])
    references = [["CHILD_OF", plain_id(trace.id), span.parent]] if span.parent else []
    references += [["FOLLOWS_FROM", plain_id(of), to] for of, to, _ in span.links]
    return {
        "id": span.id, "name": span.name or "empty-span-name", "start": span.start // MICROSECOND, "duration": span.duration // MICROSECOND,
        "references": sorted(references), "tags": by_key(tags), "logs": sorted((log(*event) for event in span.events), key=json.dumps),
        "process": [shown_service(span), by_key(tag(*pair) for pair in span.resource if pair[0] != "service.name")]}


def log(name, at, attributes):
    fields = [tag(*pair) for pair in attributes]
    return [at // MICROSECOND, by_key(fields + ([tag("event", name)] if name and not has(attributes, "event") else []))]


def plain_id(trace_id):
    return trace_id.removeprefix("0" * 16)


def received(trace):
    """The spans of a trace of Jaeger's JSON, in the form of `shown`."""
    out = []
    for span in trace["spans"]:
        process = trace["processes"][span["processID"]]
        out.append({
            "id": span["spanID"], "name": span["operationName"], "start": span["startTime"], "duration": span["duration"],
            "references": sorted([one["refType"], one["traceID"], one["spanID"]] for one in span["references"]),
            "tags": by_key(map(received_tag, span["tags"])),
            "logs": sorted(([one["timestamp"], by_key(map(received_tag, one["fields"]))] for one in span["logs"]), key=json.dumps),
            "process": [process["serviceName"], by_key(map(received_tag, process["tags"]))]})
    return out


def received_tag(found):
    key, kind, value = found["key"], found["type"], found["value"]
    if kind == "string" and value[:1] in ("[", "{"):
        return [key, kind, ["json", json.loads(value)]]
    return [key, kind, float(value) if kind == "float64" and not isinstance(value, str) else value]


# --- Searches: one span has to fulfil everything --------------------------------------------------------------------------


def everywhere(span):
    """Lists of attributes that a tag may be in."""
    return [span.attributes, span.resource, span.scope[2]]


def jaeger_tag(span, key, wanted):
    if key == "error":
        return (span.status == "error") == (wanted == "true")
    special = {"span.kind": span.kind, "span.status": span.status, "scope.name": span.scope[0], "scope.version": span.scope[1]}
    if key in special:
        return special[key] == wanted
    if key.startswith("resource."):
        return wanted in first(span.resource, key.removeprefix("resource."))
    parts = {"otel.status_code": [STATUS_TAGS.get(span.status)], "otel.status_description": [span.message], "otel.scope.name": [span.scope[0]],
             "event": [name for name, _, _ in span.events]}
    pools = everywhere(span) + [pairs for *_, pairs in span.events] + [pairs for *_, pairs in span.links]
    return wanted in parts.get(key, []) or any(wanted in first(pairs, key) for pairs in pools)


def zipkin_annotation(span, key, wanted):
    """`key=wanted`, or `key` alone: a tag of that key, or an annotation of that text."""
    if wanted:
        return any(wanted in first(pairs, key) for pairs in everywhere(span))
    return any(lookup(pairs, key) for pairs in everywhere(span)) or key in [name for name, _, _ in span.events]


def jaeger_finds(span, query):
    return (service(span) == query["service"] and span.name == query.get("name", span.name) and between(span, query, span.duration)
            and all(jaeger_tag(span, *pair) for pair in query["tags"]))


def zipkin_finds(span, query):
    return ((service(span) or "").lower() == query["service"].lower() and span.name.lower() == query.get("name", span.name).lower()
            and between(span, query, zipkin_duration(span)) and all(zipkin_annotation(span, *pair) for pair in query["tags"]))


def zipkin_duration(span):
    """To the microsecond, but what took any time did not take none."""
    return max((span.duration + 500) // MICROSECOND, span.duration > 0) * MICROSECOND


def between(span, query, duration):
    """Durations and starts are inclusive; starts are microseconds."""
    return (query.get("shortest", 0) <= duration <= query.get("longest", math.inf)
            and query["start"] <= span.start // MICROSECOND <= query["end"])


def found(traces, query, finds):
    """Ids of the traces that a search finds, the newest first; of traces that start together the order is open."""
    hits = [trace for trace in traces if any(finds(span, query) for span in trace.spans)]
    return [(trace.start, trace.id) for trace in sorted(hits, key=lambda trace: -trace.start)]
