"""A client of the streaming service, made of the .proto files."""
import re
import shlex

import grpc
from google.protobuf import json_format

from .protos import compile_protos

SERVICE = "/tempopb.StreamingQuerier/"
PARTIAL = "x-tactus-partial"

pb = compile_protos("tempopb/tempo.proto")["tempopb/tempo.proto"]
METHODS = {
    "Search": (pb.SearchRequest, pb.SearchResponse),
    "SearchTags": (pb.SearchTagsRequest, pb.SearchTagsResponse),
    "SearchTagsV2": (pb.SearchTagsRequest, pb.SearchTagsV2Response),
    "SearchTagValues": (pb.SearchTagValuesRequest, pb.SearchTagValuesResponse),
    "SearchTagValuesV2": (pb.SearchTagValuesRequest, pb.SearchTagValuesV2Response),
    "MetricsQueryRange": (pb.QueryRangeRequest, pb.QueryRangeResponse),
    "MetricsQueryInstant": (pb.QueryInstantRequest, pb.QueryInstantResponse),
}


class Streamed:
    """All messages of a stream, its status and trailers."""

    def __init__(self, call):
        self.messages, self.text = [], ""
        try:
            self.messages.extend(call)
        except grpc.RpcError:
            pass
        self.code, self.text = call.code(), call.details()
        self.trailers = {key: value for key, value in call.trailing_metadata() or ()}

    @property
    def last(self):
        assert self.code == grpc.StatusCode.OK, (self.code, self.text)
        return self.messages[-1]


class StreamingClient:
    """Calls the service on one port, with TLS if `credentials` are given."""

    def __init__(self, port, tenant=None, credentials=None, host="127.0.0.1"):
        options = [("grpc.max_receive_message_length", 4 << 20)]
        address = f"{host}:{port}"
        self.channel = (grpc.secure_channel(address, credentials, options) if credentials
                        else grpc.insecure_channel(address, options))
        self.metadata = [("x-scope-orgid", tenant)] if tenant else []

    def start(self, method, timeout=60, metadata=None, **fields):
        """The running call: an iterator of messages."""
        request, response = METHODS[method]
        stub = self.channel.unary_stream(
            SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString)
        return stub(request(**fields), timeout=timeout, metadata=self.metadata if metadata is None else metadata)

    def call(self, method, **fields):
        return Streamed(self.start(method, **fields))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()


# --- a query over HTTP as a stream ---------------------------------------------------------------------------------

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def nanoseconds(text):
    """A duration with one unit, or seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]*)", str(text)).groups()
    return int(float(number) * UNITS[unit or "s"])


def millis(text):
    return nanoseconds(text) // 10**6


def as_call(path, params):
    """(method, fields) of the stream that asks the same."""
    params = dict(params or {})
    numbers = {name: int(params[name]) for name in ("limit", "spss", "exemplars") if name in params}
    text = params.get("q", "")
    if path.startswith("/api/metrics/"):
        times = {name: int(params[name]) * 10**9 for name in ("start", "end") if name in params}
        if path.endswith("/query"):
            return "MetricsQueryInstant", {"query": text, **times}
        step = {"step": nanoseconds(params["step"])} if "step" in params else {}
        return "MetricsQueryRange", {"query": text, **times, **step, "exemplars": numbers.get("exemplars", 0)}
    times = {name: int(params[name]) for name in ("start", "end") if name in params}
    if path == "/api/search":
        fields = {"Query": text, "Limit": numbers.get("limit", 0), "SpansPerSpanSet": numbers.get("spss", 0), **times}
        if "tags" in params:
            fields["Tags"] = dict(pair.split("=", 1) for pair in shlex.split(params["tags"]))
        for name in ("minDuration", "maxDuration"):
            if name in params:
                fields[name[0].upper() + name[1:] + "Ms"] = millis(params[name])
        return "Search", fields
    if path.endswith("/search/tags"):
        method = "SearchTagsV2" if "/v2/" in path else "SearchTags"
        return method, {"query": text, "scope": params.get("scope", ""), **times}
    name = re.fullmatch(r".*/search/tag/(.*)/values", path)[1]
    return "SearchTagValuesV2" if "/v2/" in path else "SearchTagValues", {"tagName": name, "query": text, **times}


def merged(messages):
    """What a receiver makes of all messages of a stream, as JSON over HTTP has it."""
    bodies = [json_format.MessageToDict(message) for message in messages]
    out = dict(bodies[-1])
    traces, series = {}, {}
    for body in bodies:
        for trace in body.get("traces", []):
            traces[trace["traceID"]] = trace
        for one in body.get("series", []):
            labels = repr(one.get("labels"))
            known = series.setdefault(labels, one)
            if "samples" in one:
                points = {point["timestampMs"]: point for point in known["samples"] + one["samples"]}
                series[labels] = {**known, "samples": [points[time] for time in sorted(points, key=int)]}
            else:
                series[labels] = one
    if traces:
        newest = lambda trace: (-int(trace.get("startTimeUnixNano", 0)), len(trace["traceID"]), trace["traceID"])  # noqa: E731
        out["traces"] = sorted(traces.values(), key=newest)
    if series:
        out["series"] = list(series.values())
    for name in ("tagNames", "tagValues"):
        found = [element for body in bodies for element in body.get(name, [])]
        if found:
            out[name] = [element for at, element in enumerate(found) if element not in found[:at]]
    return out
