"""A tenant that misuses what tenants may do: lists of tenants, streams that it does not read, queries that it leaves, limits and jobs.

As in test_memory.py the process has a bound, and an honest tenant pushes and searches meanwhile, loses nothing and waits for nothing."""
import contextlib
import json
import socket
import time

import pytest
import requests

from harness import dialects, jaeger, otlp
from harness.clients import at_once
from harness.honest import Honest
from harness.live import LiveTail
from harness.servers import Servers
from harness.waiting import eventually
from test_memory import PEAK

HOSTILE = {"X-Scope-OrgID": "hostile"}
SLOWEST_MEDIAN = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tenants")
    servers = Servers(directory)
    yield dialects.start(servers, extra={
        "multitenancy_enabled": True,
        "compactor": {"jobs": {"api_enabled": True}},
        "ingester": {"live_tail": {"gives_way_after": "1s"}},
        "overrides": {"user_configurable_overrides": {
            "enabled": True, "client": {"backend": "local", "local": {"path": str(directory / "stored")}}}},
    })
    servers.close()


@contextlib.contextmanager
def bounded(server):
    """The peak of an attack by itself, and what an honest tenant noticed."""
    server.forget_peak()
    with Honest(server, rate=500) as honest:
        yield
        searched = len(honest.seconds)
        eventually(lambda: len(honest.seconds) >= searched + 2, "searches go on", 60)
    honest.lost_nothing()
    peak = server.peak_resident_bytes()
    print(f"peak {peak >> 20} MiB; {honest.figures()}")
    assert server.is_running() and peak < PEAK, f"{peak >> 20} MiB"
    assert sorted(honest.seconds)[len(honest.seconds) // 2] < SLOWEST_MEDIAN, honest.figures()


QUERIES = (
    "/api/search?q=%7B%7D", "/api/v2/search/tags", "/api/v2/search/tag/name/values", "/api/traces/" + "01" * 16,
    "/api/metrics/query?q=%7B%7D%7Crate()", "/ui/api/search?q=%7B%7D", "/ui/api/tail")


def test_lists_of_very_many_tenants(server):
    """As many as a head holds, and the same one again and again."""
    lists = ["|".join(f"t{number}" for number in range(15_000)), "|".join(["hostile"] * 12_000), "|" * 90_000, "|".join("a" * 150 for _ in range(600))]

    def ask(number):
        tenants, path = lists[number % len(lists)], QUERIES[number % len(QUERIES)]
        with requests.get(server.url + path, headers={"X-Scope-OrgID": tenants}, timeout=60, stream=True) as answer:
            if answer.status_code == 200:
                return path, 200, len(set(tenants.split("|")))
            return path, answer.status_code, answer.raw.read(2000)

    with bounded(server):
        for path, status, said in at_once(ask, 7 * 4 * 8):
            # One tenant that is named thousands of times is one.
            is_refused = status in (400, 401, 404, 422, 429) and len(said) <= 1100
            assert is_refused or (status, said) == (200, 1), (path, status, said)


def stalled(port, target, tenant, accept="*/*"):
    """A connection that asks and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: {tenant}\r\nAccept: {accept}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def push_spans(server, count, tenant=HOSTILE, **how):
    for first in range(0, count, 2_000):
        spans = [otlp.span(attributes={"a": number, "text": "x" * 200}, **how) for number in range(first, min(first + 2_000, count))]
        answer = server.push(otlp.export(*spans), headers=tenant)
        assert answer.status_code == 200, answer.text


TAIL = "/ui/api/tail?q=%7B%7D&rate=1000000"


def test_live_tails_of_a_few_tenants_leave_room_for_others(server):
    """Four tenants have all that there may be."""
    tails = "tactus_ingester_live_tails"
    with contextlib.ExitStack() as opened:
        for number in range(20):
            opened.enter_context(stalled(server.http_port, TAIL, f"crowd-{number % 4}", "text/event-stream"))
        eventually(lambda: server.metric(tails) == 20, "all tails are open")
        tail = opened.enter_context(LiveTail(server, headers={"X-Scope-OrgID": "honest"})).await_open()
        push_spans(server, 10, {"X-Scope-OrgID": "honest"})
        eventually(lambda: len(tail.spans) == 10, "spans are shown")
        assert server.metric(tails) == 20
    eventually(lambda: server.metric(tails) == 0, "tails end when their clients leave", 60)


def test_live_tails_of_many_tenants_leave_room_for_another(server):
    """Twenty tenants with one each have all that there may be; the oldest of them gives way, and is told."""
    tails, headers = "tactus_ingester_live_tails", {"X-Scope-OrgID": "honest"}
    with contextlib.ExitStack() as opened:
        for number in range(20):
            opened.enter_context(stalled(server.http_port, TAIL, f"one-{number}", "text/event-stream"))
        eventually(lambda: server.metric(tails) == 20, "all tails are open")
        time.sleep(1.1)
        tail = opened.enter_context(LiveTail(server, headers=headers)).await_open()
        push_spans(server, 10, headers)
        eventually(lambda: len(tail.spans) == 10, "spans are shown")
        eventually(lambda: server.metric(tails) == 20, "one gave way")
    eventually(lambda: server.metric(tails) == 0, "tails end when their clients leave", 60)


def test_live_tails_of_many_tenants_that_nobody_reads(server):
    with bounded(server), contextlib.ExitStack() as opened:
        for number in range(300):
            opened.enter_context(stalled(server.http_port, TAIL, f"crowd-{number}", "text/event-stream"))
        at_once(lambda number: push_spans(server, 4_000, {"X-Scope-OrgID": f"crowd-{number}"}), 24, 6)


def test_event_streams_that_nobody_reads(server):
    push_spans(server, 10_000)
    targets = ["/ui/api/search?limit=5000&q=%7B%7D", "/ui/api/metrics/query_range?step=10s&q=%7B%7D%7Crate()by(.a)"]
    with bounded(server), contextlib.ExitStack() as opened:
        for number in range(200):
            opened.enter_context(stalled(server.http_port, targets[number % 2], "hostile", "text/event-stream"))
        time.sleep(3)


def test_storm_of_queries_that_are_left_at_once(server):
    push_spans(server, 20_000)
    targets = [
        "/api/search?limit=5000&q=%7B%7D%3E%3E%7B%7D", "/api/metrics/query_range?step=10s&q=%7B%7D%7Crate()by(.a)",
        "/api/v2/search/tag/.text/values", "/ui/api/search?limit=5000&q=%7B%7D"]

    def storm(number):
        for turn in range(150):
            connection = stalled(server.http_port, targets[(number + turn) % len(targets)], "hostile")
            time.sleep((number + turn) % 7 / 1000)
            connection.close()

    with bounded(server):
        at_once(storm, 12)
        eventually(lambda: server.metric("tactus_ingester_queries_running") <= 1, "no query of those who left is worked on", 10)


def test_answers_in_other_formats_of_a_trace_of_a_hundred_thousand_spans(server):
    trace_id = b"\x09" * 16
    refused = set()
    for first in range(0, 100_000, 10_000):
        spans = [otlp.span(trace_id=trace_id, name=f"s{number}") for number in range(first, first + 10_000)]
        refused.add(server.push(otlp.export(*spans), headers=HOSTILE).status_code)
    assert refused == {200}
    name = trace_id.hex()
    sliced = f"{server.url}/api/traces/{name}"
    asked = [
        f"http://127.0.0.1:{server.ports.query_http}/api/traces/{name}", f"http://127.0.0.1:{server.ports.zipkin}/api/v2/trace/{name}",
        sliced, f"http://127.0.0.1:{server.ports.query_http}/api/v3/traces/{name}"]

    def ask(number):
        url = asked[number % len(asked)]
        try:
            return requests.get(url, headers=HOSTILE, timeout=120)
        except requests.exceptions.ChunkedEncodingError:
            # The answer had begun, and found no memory for its next slice: it breaks off.
            assert url == sliced
            return None

    with bounded(server):
        answers = [answer for answer in at_once(ask, 32, 8) if answer is not None]
        assert answers
        for answer in answers:
            assert answer.status_code in (200, 400, 413, 422, 503, 500), (answer.url, answer.status_code, answer.text[:200])
            if answer.status_code != 200:
                assert "limit" in answer.text or "larger" in answer.text or "max" in answer.text, (answer.url, answer.text[:300])
        print([(answer.status_code, len(answer.content)) for answer in answers[:4]])


def test_attributes_of_a_resource_that_are_repeated_in_each_span(server):
    """In the format of Zipkin, and in Jaeger's gRPC: a trace of 1 MB is 300 MB."""
    trace_id = b"\x13" * 16
    resource = {f"key.{number:04}": "v" * 20 for number in range(1_000)}
    request = otlp.export(*(otlp.span(trace_id, name="a") for _ in range(10_000)), resource=resource)
    assert server.push(request, headers=HOSTILE).status_code == 200

    def spans_by_grpc():
        ask = jaeger.query_v2.GetTraceRequest(trace_id=trace_id)
        with jaeger.channel(server.ports.query_grpc) as channel:
            chunks = jaeger.query_v2_grpc.QueryServiceStub(channel).GetTrace(ask, timeout=300, metadata=[("x-scope-orgid", "hostile")])
            return sum(len(chunk.spans) for chunk in chunks)

    def bytes_of_json():
        with requests.get(f"{server.url}/zipkin/api/v2/trace/{trace_id.hex()}", headers=HOSTILE, stream=True, timeout=300) as response:
            assert response.status_code == 200
            return sum(len(piece) for piece in response.iter_content(1 << 20))

    with bounded(server):
        assert bytes_of_json() > 200 << 20
        assert spans_by_grpc() == 10_000


def odd_limits():
    """Documents that are no limits, or too many of them."""
    deep = '{"metrics_generator":' * 20_000
    yield from ("", "null", "[]", "0", '"x"', "{", deep, deep + "1" + "}" * 20_000, "[" * 200_000, '{"metrics_generator": {"collection_interval": 1e999}}')
    for value in (-1, 1e308, "NaN", "-1s", "1" * 100_000, True, None, [], {}, [[]], {"a": {}}):
        for key in ("collection_interval", "disable_collection", "processors", "ring_size", "trace_id_label_name", "processor", "ingestion_time_range_slack"):
            yield json.dumps({"metrics_generator": {key: value}})
        yield json.dumps({"forwarders": value})
        yield json.dumps({"cost_attribution": {"dimensions": value}})
    many = 100_000
    yield json.dumps({"cost_attribution": {"dimensions": {f"d{number}": "x" for number in range(many)}}})
    yield json.dumps({"forwarders": [f"f{number}" for number in range(many)]})
    span_metrics = [
        {"dimensions": [f"d{number}" for number in range(many)]}, {"histogram_buckets": [number * .1 for number in range(many)]},
        {"histogram_buckets": [1, 1, 0, -1]}, {"filter_policies": [{}] * many},
        {"filter_policies": [{"include": {"match_type": "regex", "attributes": [{"key": "name", "value": "(?:a{1000}){1000}"}]}}]},
        {"dimension_mappings": [{"name": "n", "source_labels": ["s"] * 1000, "join": "x" * 1000}] * 100}]
    for settings in span_metrics:
        yield json.dumps({"metrics_generator": {"processors": ["span-metrics"], "processor": {"span_metrics": settings}}})


def test_limits_that_are_odd(server):
    url = server.url + "/api/overrides"

    def ask(document):
        answer = requests.post(url, data=document, headers={**HOSTILE, "If-Match": "0"}, timeout=60)
        patched = requests.patch(url, data=document, headers=HOSTILE, timeout=60)
        shown = requests.get(url, headers=HOSTILE, timeout=60)
        version = shown.headers.get("ETag", "0")
        requests.delete(url, headers={**HOSTILE, "If-Match": version}, timeout=60)
        return document[:100], answer, patched, shown

    taken = 0
    with bounded(server):
        for document in odd_limits():
            what, *answers = ask(document)
            for answer in answers:
                assert answer.status_code in (200, 400, 404, 412, 413), (what, answer.status_code, answer.text[:300])
                assert answer.status_code == 200 or len(answer.content) <= 1100, (what, len(answer.content))
            taken += answers[0].status_code == 200
            push_spans(server, 10)
        print(f"{taken} documents taken")


def test_very_many_jobs(server):
    """Of ten thousand traces each. Of a list of them no more than one is in memory."""
    url = server.url + "/api/jobs"
    body = json.dumps({"deleteTraces": [f"{number:032x}" for number in range(1, 10_001)]})

    def post(_):
        answer = requests.post(url, data=body, headers=HOSTILE, timeout=60)
        assert answer.status_code == 202, answer.text[:300]
        return answer.json()["id"]

    def ask_for_list(_):
        with requests.get(url, headers=HOSTILE, timeout=120, stream=True) as answer:
            assert answer.status_code == 200
            return sum(map(len, answer.iter_content(1 << 20)))

    with bounded(server):
        made = at_once(post, 200, 8)
        # Each is a little different: what has been done of the jobs changes meanwhile.
        assert min(at_once(ask_for_list, 8, 8)) > 200 * 34 * 10_000
        for job in made:
            assert requests.delete(f"{url}/{job}", headers=HOSTILE, timeout=30).status_code == 200


@pytest.mark.parametrize("body", [
    "", "{", "null", "[]", "{}", '{"deleteTraces": "x"}', '{"deleteTraces": [1]}', '{"deleteTraces": [""]}',
    '{"redact": [{}]}', '{"redact": [{"scope": "span", "attribute": "", "action": "hash"}]}',
    json.dumps({"redact": [{"scope": "span", "attribute": "a", "action": "hash", "query": "{" * 100_000}]}),
    json.dumps({"redact": [{"scope": "span", "attribute": "a" * 10**6, "action": "hash"}] * 10}),
    json.dumps({"redact": [{"scope": "span", "attribute": "a", "action": "replace", "replacement": "x" * 10**6}]}),
    json.dumps({"redact": [{"scope": "span", "attribute": "a", "action": "hash"}] * 100_000}),
    json.dumps({"deleteTraces": ["1"], "reason": "x" * 10**6, "requestedBy": "y" * 10**6}), "[" * 10**6,
], ids=lambda body: f"{body[:40]}-{len(body)}")
def test_jobs_that_are_none(server, body):
    answer = requests.post(server.url + "/api/jobs", data=body, headers=HOSTILE, timeout=60)
    assert answer.status_code in (400, 413), answer.text[:300]
    assert len(answer.content) <= 1100


@pytest.mark.parametrize("name", ["..", "%2e%2e%2f", "a/b", "0" * 10_000, "%00", "00000000-0000-0000-0000-000000000000"])
def test_job_of_an_odd_name(server, name):
    for method in ("GET", "DELETE"):
        answer = requests.request(method, f"{server.url}/api/jobs/{name}", headers=HOSTILE, timeout=30)
        assert answer.status_code in (400, 404, 405, 414), (method, answer.status_code, answer.text[:300])
