"""Reading what the query API says."""
import base64


def hex_id(text):
    """An id in a trace's JSON: base64 there, hex here."""
    return base64.b64decode(text).hex()


def spans(trace):
    """(span id, span) of every span in a Trace, v1 or v2 JSON."""
    return [
        (hex_id(span["spanId"]), span)
        for resource_spans in trace.get("resourceSpans") or trace.get("batches") or []
        for scope_spans in resource_spans.get("scopeSpans", [])
        for span in scope_spans.get("spans", [])
    ]


def attribute(span, key):
    """The value of a span's attribute: (kind, value), or None."""
    for entry in span.get("attributes", []):
        if entry["key"] == key:
            ((kind, value),) = entry.get("value", {}).items() or [("empty", None)]
            return kind, value
    return None


def resources(trace):
    """Resource attributes of every group in a Trace, as maps of plain values."""
    out = []
    for resource_spans in trace.get("resourceSpans") or trace.get("batches") or []:
        entries = resource_spans.get("resource", {}).get("attributes", [])
        out.append({e["key"]: next(iter(e.get("value", {}).values()), None) for e in entries})
    return out
