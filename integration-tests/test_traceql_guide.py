"""Every query of docs/traceql.md answers, and finds what the guide says.

The spans are those of the guide's first table and the paragraph below it. A line of a ```traceql block is a query; its
comment states the result:

    // a b            the spans that a search finds
    // none           no span
    // x: a b; y: c   its spansets, by the value of by()
    // shop 3, x 1    values of an instant metrics query, each after the labels but __name__"""
import collections
import json
import re
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import otlp
from harness.paths import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "traceql.md").read_text()
MS = otlp.MILLISECOND
REGIONS = {"shop": "eu", "payment": "eu", "batch": "us", "mail": "us"}


def fences():
    return re.findall(r"^```traceql\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def examples():
    """(query, stated result or None) of every example."""
    for fence in fences():
        for line in filter(None, fence.splitlines()):
            query, _, stated = line.partition("//")
            yield query.strip(), stated.strip() or None


def is_metrics(query):
    return re.search(r"\b(rate|\w+_over_time|compare|service_graph)\(", query) is not None


SEARCHES = [example for example in examples() if not is_metrics(example[0])]
METRICS = [example for example in examples() if is_metrics(example[0])]


def tables():
    """Rows of cells of every table; `\\|` stands for a bar within a cell."""
    for table in re.findall(r"(?:^\|.*\n)+", GUIDE, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        yield [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]


def table(*head):
    (found,) = [rows for rows in tables() if tuple(rows[0][:len(head)]) == head]
    return [dict(zip(found[0], row)) for row in found[2:]]


def code(cell):
    """The text within backticks, one or two."""
    return re.fullmatch(r"`` (.*) ``|`(.*)`", cell).group(1) or cell.strip("`")


def attributes(cell):
    pairs = [text.partition("=") for text in re.findall(r"`([^`]+)`", cell)]
    return {key: json.loads(value) for key, _, value in pairs}


def span_id(letter):
    return b"\0" * 7 + letter.encode()


def milliseconds(cell):
    return int(cell.removesuffix(" ms")) * MS


def requests(base):
    """The spans of the guide's table as exports; its traces are told apart by their roots."""
    rows = table("span", "parent", "service")
    traces, spans = {}, {}
    for row in rows:
        letter, parent = row["span"], row["parent"]
        traces[letter] = traces.get(parent) or bytes(15) + bytes([1 + len(set(traces.values()))])
        span = otlp.span(
            traces[letter], span_id(letter), code(row["name"]), base + milliseconds(row["start"]),
            milliseconds(row["duration"]), kind=Span.SpanKind.Value(f"SPAN_KIND_{row['kind'].upper()}"),
            parent_span_id=span_id(parent[0]) if parent else b"", attributes=attributes(row["attributes"]))
        if row["status"]:
            span.status.code = Status.StatusCode.Value(f"STATUS_CODE_{row['status'].upper()}")
        spans[letter] = (row["service"], span)
    for letter, name, offset, pairs in [
        ("c", "exception", 500, {"exception.type": "CardDeclined"}),
        ("i", "exception", 1300, {"exception.type": "Timeout"}),
        ("d", "retry", 300, {"attempt": 2}),
    ]:
        span = spans[letter][1]
        span.events.add(name=name, time_unix_nano=span.start_time_unix_nano + offset * MS,
                        attributes=otlp.key_values(pairs))
    spans["g"][1].links.add(trace_id=traces["e"], span_id=span_id("e"))
    for service, span in spans.values():
        yield otlp.export(span, service=service, resource={"region": REGIONS[service]})


@pytest.fixture(scope="module")
def guide(tactus):
    """(server, window) with the guide's spans."""
    base = time.time_ns() - 60 * 10**9
    for request in requests(base):
        tactus.must_push(request)
    return tactus, {"start": base // 10**9 - 30, "end": base // 10**9 + 30}


def search(guide, query, **params):
    server, window = guide
    response = server.get("/api/search", q=query, limit=100, spss=100, **window, **params)
    assert response.status_code == 200, (query, response.text)
    return response.json()


def instant(guide, query):
    server, window = guide
    response = server.get("/api/metrics/query", q=query, **window)
    assert response.status_code == 200, (query, response.text)
    return response.json().get("series", [])


def letters(span_set):
    return sorted(chr(int(span["spanID"][-2:], 16)) for span in span_set["spans"])


def plain(value):
    """The text of an AnyValue in JSON."""
    ((kind, text),) = value.items()
    return str(text).lower() if kind == "boolValue" else str(text)


def group(span_set):
    """The value of the first by() and the spans."""
    (value, *_) = [a["value"] for a in span_set["attributes"] if a["key"].startswith("by(")]
    return plain(value), letters(span_set)


@pytest.mark.parametrize(("query", "stated"), SEARCHES, ids=[query for query, _ in SEARCHES])
def test_search_finds_what_the_guide_says(guide, query, stated):
    sets = [s for trace in search(guide, query)["traces"] for s in trace["spanSets"]]
    assert stated is not None, "the result is not stated"
    if ":" in stated:
        named = [text.split(":") for text in stated.split(";")]
        expected = [(name.strip(), spans.split()) for name, spans in named]
        assert sorted(group(s) for s in sets) == sorted(expected)
    else:
        expected = [] if stated == "none" else stated.split()
        assert sorted(letter for s in sets for letter in letters(s)) == expected


def stated_values(stated):
    """{labels joined by blanks: value}"""
    parts = [part.strip().rpartition(" ") for part in stated.split(",")]
    return {labels: float(value) for labels, _, value in parts}


@pytest.mark.parametrize(("query", "stated"), METRICS, ids=[query for query, _ in METRICS])
def test_metrics_answer_what_the_guide_says(guide, query, stated):
    found = {}
    for series in instant(guide, query):
        labels = [plain(e["value"]) for e in series["labels"] if e["key"] != "__name__"]
        found[" ".join(labels)] = series.get("value", 0)
    assert found
    if stated is not None:
        assert found == pytest.approx(stated_values(stated))


@pytest.mark.parametrize("query", [query for query, _ in METRICS])
def test_metrics_over_a_range_answer(guide, query):
    server, window = guide
    response = server.get("/api/metrics/query_range", q=query, step="5s", **window)
    assert response.status_code == 200, response.text
    assert response.json()["series"]


def test_spans_select_shows_attributes(guide):
    query = next(query for query, _ in SEARCHES if "select(" in query)
    shown = collections.Counter()
    for trace in search(guide, query)["traces"]:
        for span_set in trace["spanSets"]:
            for span in span_set["spans"]:
                shown.update(a["key"] for a in span["attributes"])
    assert shown == {"status": 3, "statusMessage": 3, "http.status_code": 2, "region": 3}


@pytest.mark.parametrize("row", table("query", "answer"), ids=lambda row: row["query"])
def test_wrong_query_is_answered_as_the_guide_says(guide, row):
    server, window = guide
    query = code(row["query"])
    path = "/api/metrics/query" if is_metrics(query) else "/api/search"
    response = server.get(path, q=query, **window)
    assert (response.status_code, response.text.strip()) == (400, code(row["answer"]))


def has(value, path):
    for key in path.split("."):
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return value != {}


def test_explanation_has_the_fields_of_the_guide(guide):
    server, window = guide
    explained_queries = [query for query, _ in examples() if "explain=true" in query]
    assert len(explained_queries) == 2
    for query in explained_queries:
        path = "/api/metrics/query_range" if is_metrics(query) else "/api/search"
        explained = server.get(path, q=query, **window).json()["explain"]
        for row in table("field", "content"):
            for field in re.findall(r"`([^`]+)`", row["field"]):
                assert has(explained, field), field
        assert {job["source"] for job in explained["jobs"]} == {"recent"}
        assert "pushedDown" in json.dumps(explained["plan"])


def test_limits_are_answered_as_the_guide_says(guide):
    server, window = guide
    second = window["start"]
    for path, params, text in [
        ("/api/search", {"q": "{ " + "!(" * 600 + ".a" + ")" * 600 + " }"}, "query is nested too deeply"),
        ("/api/search", {"q": "{}" + " | count() > 0" * 100}, "the query has more than 100 pipeline stages"),
        ("/api/search", {"q": r"{ .a =~ `\pL{1,64}` }"}, "its program needs more than 1048576 bytes"),
        ("/api/search", {"q": "{}", "limit": 300_000}, "limit 300000 exceeds max limit 262144"),
        ("/api/search", {"q": "{}", "spss": 101}, "spans per span set exceeds 100. received 101"),
        ("/api/search", {"q": "{}", "start": second - 700_000, "end": second},
         "range specified by start and end exceeds 168h0m0s"),
        ("/api/metrics/query_range", {"q": "{} | rate()", "start": second - 20_000, "end": second},
         "metrics query time range exceeds the maximum allowed duration of 3h0m0s"),
        ("/api/metrics/query_range", {"q": "{} | rate()", "start": second - 100, "end": second, "step": "1ms"},
         "step of 1ms is too small, minimum step for given range is 10ms"),
    ]:
        response = server.get(path, **params)
        assert response.status_code == 400 and text in response.text, (params, response.text)
    for signs, status in [(25_000, 414), (70_000, 431)]:
        assert server.get("/api/search", q="{}" + "+" * signs).status_code == status, signs


def test_size_of_queries_is_limited(servers):
    server = servers.start(config={"query_frontend": {"max_query_expression_size_bytes": 10}})
    response = server.get("/api/search", q="{ .a = 12345 }")
    assert response.status_code == 400
    assert response.text.startswith("TraceQL expression exceeds the configured maximum size of 10 bytes, ")
