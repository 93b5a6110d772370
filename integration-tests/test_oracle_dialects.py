"""Random traces and searches: Jaeger's and Zipkin's query APIs answer as the plain model in oracle/dialects.py does, live and from a block.

TACTUS_ORACLE_SEED=N asks others."""
import json
import os
import random
import time

import requests

from harness import dialects as ports
from harness.waiting import eventually
from oracle import data, dialects

TRACES, SEARCHES = 25, 40
# Tags with a meaning of their own, and some that answers make of other parts of a span.
SPECIAL = [
    ("error", "true"), ("error", "false"), ("span.kind", "client"), ("span.status", "ok"), ("span.status", "unset"), ("scope.name", "lib"),
    ("scope.version", "1.0"), ("otel.status_code", "ERROR"), ("otel.status_description", "failed"), ("otel.scope.name", "other"), ("event", "log"),
    ("resource.cluster", "a"), ("resource.n", "1"), ("s", "a"), ("n", "01"), ("f", "2.0")]


def test_random_searches_find_what_the_model_finds(servers):
    dice = random.Random(int(os.environ.get("TACTUS_ORACLE_SEED", 1)))
    base = (int(time.time()) - 700) * data.SECOND
    traces = [trace for trace in data.traces(dice, TRACES, base) if len({span.id for span in trace.spans}) == len(trace.spans)]
    server = ports.start(servers, extra={"storage": {"trace": {"block": {"parquet_row_group_size_bytes": 15_000}}}})
    for request in data.exports(dice, traces):
        server.must_push(request)
    searches = [search(dice, traces) for _ in range(SEARCHES)]
    for place in ("live", "block"):
        if place == "block":
            server.flush()
            assert server.block_directories()
        eventually(lambda: len(server.search("{}")) == len(traces), f"all traces are found, {place}")
        for trace in traces:
            (answer,) = get(server.ports.query_http, f"/api/traces/{trace.id}")["data"]
            got = sorted(dialects.received(answer), key=by_id)
            for expected, span in zip(sorted((dialects.shown(trace, span) for span in trace.spans), key=by_id), got, strict=True):
                assert span == expected, (place, trace.id)
        for query in searches:
            check(traces, query, dialects.jaeger_finds, ask_jaeger(server, query), (place, "Jaeger", query))
            check(traces, in_zipkin(query), dialects.zipkin_finds, ask_zipkin(server, in_zipkin(query)), (place, "Zipkin", query))


def by_id(span):
    return span["id"]


def search(dice, traces):
    """Conditions of which most are true for some span."""
    span = dice.choice(dice.choice(traces).spans)
    at = span.start // 1000
    start, end = dice.choice([(at, at + 999), (at - 60_000_000, at), (at - 10**9, at + 10**9), (at - 10**9, at + 10**9)])
    query = {"service": dialects.service(span) or "shop", "start": start // 1000 * 1000, "end": end // 1000 * 1000 + 999, "limit": dice.choice([1, 3, 1000])}
    pairs = [pair for pair in span.attributes + span.resource if dialects.text(pair[1]) and pair[0] != "service.name"]
    query["tags"] = [(key, dialects.text(value)) for key, value in dice.sample(pairs, min(len(pairs), dice.choice([0, 1, 1, 2])))]
    if dice.random() < 0.3:
        query["tags"].append(dice.choice(SPECIAL))
    query["tags"] = list(dict(query["tags"]).items())
    if span.name and dice.random() < 0.3:
        query["name"] = span.name
    if dice.random() < 0.3:
        query["shortest"] = span.duration // 1000 * 1000 or 1000
    if "shortest" in query and dice.random() < 0.5:
        query["longest"] = query["shortest"] + dice.choice([1000, data.SECOND])
    return query


def in_zipkin(query):
    """The same search without what Zipkin's language cannot say or says otherwise."""
    named = {key for key, _ in SPECIAL[:12]}
    tags = [(key, value) for key, value in query["tags"] if key not in named and "and" not in value and value == value.strip()]
    return {**query, "tags": [(key, None if len(value) == 1 else value) for key, value in tags]}


def ask_jaeger(server, query):
    params = {"service": query["service"], "start": query["start"], "end": query["end"], "limit": query["limit"], "operation": query.get("name")}
    params |= {name: f"{query[key]}ns" for name, key in (("minDuration", "shortest"), ("maxDuration", "longest")) if key in query}
    params |= {"tag": [f"{key}:{value}" for key, value in query["tags"]]} if query["limit"] == 1 else {"tags": json.dumps(dict(query["tags"]))}
    return [trace["traceID"].rjust(32, "0") for trace in get(server.ports.query_http, "/api/traces", **params)["data"]]


def ask_zipkin(server, query):
    end, start = query["end"] // 1000, query["start"] // 1000
    params = {"serviceName": query["service"], "endTs": end, "lookback": end - start, "limit": query["limit"], "spanName": query.get("name")}
    params |= {name: query[key] // 1000 for name, key in (("minDuration", "shortest"), ("maxDuration", "longest")) if key in query}
    params["annotationQuery"] = " and ".join(key if value is None else f"{key}={value}" for key, value in query["tags"])
    return [spans[0]["traceId"].rjust(32, "0") for spans in get(server.ports.zipkin, "/api/v2/traces", **params)]


def get(port, path, **params):
    answer = requests.get(f"http://127.0.0.1:{port}{path}", params=params, timeout=20)
    assert answer.status_code == 200, (path, params, answer.text)
    return answer.json()


def check(traces, query, finds, got, what):
    """The newest traces come first, as many as were asked for."""
    expected = dialects.found(traces, query, finds)
    starts = {trace.id: trace.start for trace in traces}
    assert [starts[one] for one in got] == [start for start, _ in expected[:query["limit"]]], (what, got, expected)
    assert set(got) <= {one for _, one in expected}, (what, got, expected)
