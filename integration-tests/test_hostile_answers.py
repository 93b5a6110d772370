"""Answers far larger than what was pushed: texts that are shown once for each span, and characters that JSON writes as six.

As in test_hostile_tenants.py the process has a bound, and an honest tenant loses nothing."""
import gzip
import json
import time

import pytest
import requests

from harness import dialects, otlp
from harness.clients import at_once
from harness.servers import Servers
from test_hostile_tenants import HOSTILE, bounded

LONG = "<" * 2_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("answers"))
    yield dialects.start(servers, extra={"multitenancy_enabled": True})
    servers.close()


def push(server, *spans, **how):
    answer = server.push(otlp.export(*spans, **how), headers=HOSTILE)
    assert answer.status_code == 200, answer.text


def refused_or_answered(answer):
    assert answer.status_code in (200, 400, 413, 422, 429, 500, 503), (answer.status_code, answer.text[:200])
    if answer.status_code != 200:
        assert "limit" in answer.text or "bytes" in answer.text, answer.text[:300]
    return answer


def get(server, path, **params):
    return refused_or_answered(requests.get(server.url + path, params=params, headers=HOSTILE, timeout=300))


def test_attributes_of_a_resource_that_each_span_of_a_search_shows(server):
    resource = {f"k{number}": LONG for number in range(100)}
    for _ in range(3):
        push(server, *(otlp.span(name="sel") for _ in range(3_000)), resource=resource)
    one = b"\x21" * 16
    push(server, *(otlp.span(one, name="sel", attributes={"n": number}) for number in range(5_000)), resource=resource)
    names = ",".join(f"resource.k{number}" for number in range(100))

    def search(number):
        by = "| by(span.n) " if number % 2 else ""
        spans = 1 if number % 2 else 100
        return get(server, "/api/search", q=f'{{ name = "sel" }} {by}| select({names})', limit=9_000, spss=spans)

    with bounded(server):
        answers = at_once(search, 16, 8)
        assert any(answer.status_code != 200 for answer in answers)
        few = get(server, "/api/search", q=f'{{ name = "sel" }} | select({names})', limit=2, spss=2)
        assert few.status_code == 200 and few.text.count("stringValue") >= 200


def test_long_labels_of_series(server):
    for first in range(0, 3_000, 500):
        spans = [otlp.span(name="labels", attributes={"long": f"{number:04}{LONG * 4}"}) for number in range(first, first + 500)]
        push(server, *spans)
    now = int(time.time())

    def ask(number):
        path = ("/api/metrics/query", "/api/metrics/query_range", "/ui/api/metrics")[number % 2]
        return get(server, path, q='{ name = "labels" } | rate() by(span.long)', start=now - 600, end=now + 60, step="60s", maxSeries=0)

    with bounded(server):
        at_once(ask, 12, 6)


def test_resources_and_texts_of_traces_that_grow_as_json(server):
    traces = [bytes([number]) * 16 for number in range(0x31, 0x39)]
    for trace_id in traces:
        push(server, otlp.span(trace_id), resource={f"k{number}": LONG for number in range(1_500)})

    def ask(number):
        trace_id = traces[number % len(traces)].hex()
        path = ("/api/traces/", "/api/v2/traces/", "/ui/api/traces/")[number % 3]
        tail = "/spans" if path.startswith("/ui") else ""
        try:
            return get(server, f"{path}{trace_id}{tail}")
        except requests.exceptions.ChunkedEncodingError:
            # The answer had begun, and others needed its memory: it breaks off.
            return None

    with bounded(server):
        answers = [answer for answer in at_once(ask, 48, 16) if answer is not None]
        assert any(answer.status_code == 200 and len(answer.content) > 15 << 20 for answer in answers)


def test_names_and_values_of_characters_that_json_writes_as_six(server):
    control = "\x01" * 1_500
    for part in range(4):
        push(server, *(otlp.span(name="ctl", attributes={f"k{key}": f"{number}-{part}-{key}{control}" for key in range(4)}) for number in range(300)))
        push(server, *(otlp.span(name="ctl", attributes={f"key{part}-{number}-{key}{control[:1_000]}": "v" for key in range(10)}) for number in range(40)))
    paths = ("/api/v2/search/tag/span.k0/values", "/api/search/tag/k1/values", "/api/v2/search/tags", "/api/search/tags")

    def ask(number):
        accept = {"Accept": "text/event-stream"} if number % 8 > 3 else {}
        url = server.url + paths[number % 4]
        return refused_or_answered(requests.get(url, headers=HOSTILE | accept, timeout=300))

    with bounded(server):
        answers = at_once(ask, 64, 16)
        assert any(answer.status_code == 200 and len(answer.content) > 3_000_000 for answer in answers)


def test_small_file_of_a_large_trace(server):
    """A hundred kilobytes that are eight megabytes, and several times as many as Jaeger's JSON."""
    span = {"traceId": "41" * 16, "spanId": "41" * 8, "name": "a", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    spans = ",".join([json.dumps(span)] * 60_000)
    document = '{"resourceSpans":[{"scopeSpans":[{"spans":[' + spans + "]}]}]}"
    body = gzip.compress(document.encode())
    assert len(body) < 200_000

    def send(number):
        form = ("jaeger", "spans")[number % 2]
        url = f"{server.url}/ui/api/trace-file?trace={'41' * 16}&as={form}"
        return refused_or_answered(requests.post(url, data=body, headers=HOSTILE, timeout=300))

    with bounded(server):
        answers = at_once(send, 8, 4)
        assert any(answer.status_code == 200 for answer in answers)


def test_search_of_jaeger_that_finds_several_large_traces(tmp_path):
    """They do not fit into memory all at once: those that fit are answered, whoever else asks."""
    servers = Servers(tmp_path)
    server = dialects.start(servers, extra={"server": {"max_inflight_bytes": 96 << 20}})
    try:
        for number in range(0x51, 0x56):
            trace_id, statement = bytes([number]) * 16, "select * from orders where id = "
            for first in range(0, 30_000, 10_000):
                server.must_push(otlp.export(
                    *(otlp.span(trace_id, attributes={"db.statement": f"{statement}{first + one}"}) for one in range(10_000)), service="large"))
        server.flush()

        def search(_):
            url = f"http://127.0.0.1:{server.ports.query_http}/api/traces"
            now = int(time.time() * 1e6)
            return requests.get(url, params={"service": "large", "limit": 20, "start": now - 3600 * 10**6, "end": now + 10**6}, timeout=300)

        for answer in [search(0), *at_once(search, 3)]:
            assert answer.status_code == 200, (answer.status_code, answer.text[:300])
            traces = answer.json()["data"]
            assert traces and {len(trace["spans"]) for trace in traces} == {30_000}
    finally:
        servers.close()
