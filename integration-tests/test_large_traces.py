"""Traces without a limit of their size: to read one takes no more than memory that is counted, whatever it has."""

import contextlib
import json
import os
import socket
import time
from collections import Counter

import pytest
import requests

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from harness import otlp
from harness.clients import at_once
from harness.cluster import Cluster
from harness.servers import Servers
from harness.waiting import eventually

LIMIT = 64 << 20
NO_LIMIT = {
    "server": {"max_inflight_bytes": LIMIT},
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
}
# Of the same text each: what is stored of them is small, and what an answer has is not.
SPANS, ATTRIBUTES, TEXT = 100, 50, "x" * 2000
ACCEPTED = {"protobuf": "application/protobuf", "json": "application/json"}


def push_trace(server, trace_id, pushes, spans=SPANS):
    """Ten megabytes a push, of a hundred spans."""
    attributes = {f"k{number}": TEXT for number in range(ATTRIBUTES)}
    for _ in range(pushes):
        server.must_push(otlp.export(*(otlp.span(trace_id=trace_id, attributes=attributes) for _ in range(spans))))


HEADS = 120_000
# As small for these spans as by default for a million.
SMALL_MESSAGES = {"grpc_server_max_recv_msg_size": 2 << 20, "grpc_server_max_send_msg_size": 2 << 20}
HEADS_CONFIG = {
    "server": {"max_inflight_bytes": 240 * HEADS},
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
}


@pytest.fixture(scope="module")
def server_of_heads(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("heads"))
    yield servers.start(config=HEADS_CONFIG)
    servers.close()


def push_heads(server, trace_id):
    start = time.time_ns() - 10**10
    for first in range(0, HEADS, 4_000):
        spans = [otlp.span(trace_id=trace_id, name=f"operation {n % 60}", start=start + n, duration=1_000, span_id=n.to_bytes(8, "big"),
                           parent_span_id=max(1, n // 4).to_bytes(8, "big") if n > 1 else b"", attributes={"number": n, "text": "x" * 100})
                 for n in range(first + 1, first + 4_001)]
        server.must_push(otlp.export(*spans, service=f"service-{first}"))


# What is found of them, by what it takes: each span alone, and all of them together.
FOUND = {
    '{ name = "operation 7" && span.number > 60000 }': HEADS // 120,
    '{ resource.service.name = "service-4000" }': 4_000,
    "{ span.number = 5000 } >> { span.number > 0 }": 4 + 16,
    '{ name = "operation 7" } | count() > 5000': 0,
}


def check_page_of_heads(server, trace_id, moment, queries=FOUND):
    def get(path, **params):
        answer = server.session.get(f"{server.url}/ui/api/traces/{trace_id.hex()}/{path}", params=params, timeout=60)
        assert answer.status_code == 200, (moment, params, answer.text[:300])
        return answer

    assert f'"spans":{HEADS},'.encode() in get("skeleton").content, moment
    for query, matched in queries.items():
        found = get("find", q=query).json()
        assert (found["spans"], found["matched"]) == (HEADS, matched), (moment, query)
    span = get("spans", ids=(4_321).to_bytes(8, "big").hex()).json()["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(span) == 1 and len(span[0]["attributes"]) == 2, (moment, span)


def open_answer(server, path, accept="application/json"):
    answer = server.session.get(f"{server.url}{path}", headers={"Accept": accept}, timeout=120, stream=True)
    assert answer.status_code == 200, answer.text[:300]
    return answer


def all_spans(resource_spans):
    return [span for resource in resource_spans for scope in resource["scopeSpans"] for span in scope["spans"]]


def services_of_heads():
    return {f"service-{first}": 4_000 for first in range(0, HEADS, 4_000)}


def check_otlp_file(server, trace_id, moment):
    resource_spans = open_answer(server, f"/ui/api/traces/{trace_id.hex()}/spans").json()["resourceSpans"]
    spans = all_spans(resource_spans)
    numbers = {span["spanId"]: int(attribute["value"]["intValue"]) for span in spans
               for attribute in span["attributes"] if attribute["key"] == "number"}
    expected = {number.to_bytes(8, "big").hex(): number for number in range(1, HEADS + 1)}
    assert (len(spans), numbers) == (HEADS, expected), moment
    services = Counter(next(a["value"]["stringValue"] for a in resource["resource"]["attributes"] if a["key"] == "service.name")
                       for resource in resource_spans for scope in resource["scopeSpans"] for _ in scope["spans"])
    assert services == services_of_heads(), moment


def check_jaeger_file(server, trace_id, moment):
    [trace] = open_answer(server, f"/ui/api/traces/{trace_id.hex()}/jaeger").json()["data"]
    assert len({span["spanID"] for span in trace["spans"]}) == len(trace["spans"]) == HEADS, moment
    services = Counter(trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"])
    assert services == services_of_heads() and len(trace["processes"]) == len(services), moment


def check_compressed(server, trace_id):
    """An answer of unknown length is compressed while it is sent."""
    for encoding in "gzip", "zstd":
        answer = server.session.get(f"{server.url}/api/v2/traces/{trace_id.hex()}", headers={"Accept-Encoding": encoding}, timeout=120, stream=True)
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == (encoding, "Accept-Encoding")
        sent = sum(len(part) for part in answer.raw.stream(1 << 20, decode_content=False))
        assert sent < HEADS * 60, f"{sent >> 20} MiB, {encoding}"


def check_api_json(server, trace_id, moment):
    for path, spans_of in (("/api/traces/", lambda body: body["batches"]), ("/api/v2/traces/", lambda body: body["trace"]["resourceSpans"])):
        spans = all_spans(spans_of(open_answer(server, path + trace_id.hex()).json()))
        assert len({span["spanId"] for span in spans}) == len(spans) == HEADS, (moment, path)


def check_api_protobuf(server, trace_id, moment):
    trace = TracesData.FromString(open_answer(server, f"/api/traces/{trace_id.hex()}", ACCEPTED["protobuf"]).content)
    ids = [span.span_id for resource in trace.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert len(set(ids)) == len(ids) == HEADS, moment


def test_heads_of_a_large_trace_take_so_little_that_a_million_spans_fit_into_the_memory_of_queries(server_of_heads):
    """Half of 256 MiB for a million spans: a little less for each is there here."""
    trace_id, server = b"\x41" * 16, server_of_heads
    push_heads(server, trace_id)
    check_page_of_heads(server, trace_id, "live", {})
    server.flush()
    check_page_of_heads(server, trace_id, "stored", {})


def test_columns_that_a_query_reads_of_a_large_trace_fit_into_the_memory_of_queries(servers):
    """As much for each span as above, and besides what an ingester or a querier has of one place: of more spans not more."""
    server = {**HEADS_CONFIG["server"], "max_inflight_bytes": 240 * HEADS + (24 << 20)}
    trace_id, server = b"\x42" * 16, servers.start(config={**HEADS_CONFIG, "server": server})
    push_heads(server, trace_id)
    check_page_of_heads(server, trace_id, "live")
    server.flush()
    check_page_of_heads(server, trace_id, "stored")
    used = 'tactus_server_inflight_bytes{of="queries"}'
    eventually(lambda: server.metrics()[used] < 1 << 20, "memory is given back", 30)


def queries_for_traces(server):
    metrics = server.metrics().items()
    return sum(count for name, count in metrics if name.startswith("tempo_query_frontend_queries_total{") and 'op="traces"' in name)


# A fifth of the trace at a time: more than that memory it is anyway.
SMALL_MEMORY = 64 << 20


def test_whole_of_a_large_trace_is_sent_slice_by_slice(servers):
    config = {**HEADS_CONFIG, "server": {"max_inflight_bytes": SMALL_MEMORY}}
    trace_id, server = b"\x43" * 16, servers.start(config=config)
    push_heads(server, trace_id)
    server.forget_peak()
    before, counted = server.resident_bytes(), queries_for_traces(server)
    checks = (check_otlp_file, check_jaeger_file, check_api_json, check_api_protobuf)
    for check in checks:
        check(server, trace_id, "live")
    grown = server.peak_resident_bytes() - before
    # Both versions of the API are asked for JSON.
    assert queries_for_traces(server) - counted == len(checks) + 1, "each is one query"
    print(f"{grown >> 20} MiB")
    assert grown < 150 << 20, f"{grown >> 20} MiB"
    server.flush()
    check_otlp_file(server, trace_id, "stored")
    check_api_protobuf(server, trace_id, "stored")
    check_compressed(server, trace_id)
    used = [f'tactus_server_inflight_bytes{{of="{of}"}}' for of in ("queries", "requests")]
    eventually(lambda: all(server.metrics()[name] < 1 << 20 for name in used), "memory is given back", 30)


def push_distinct(server, trace_id, pushes, service="shop"):
    """Two megabytes a push, of few spans that have nothing in common."""
    for _ in range(pushes):
        spans = (otlp.span(trace_id=trace_id, attributes={"a": os.urandom(100).hex()}) for _ in range(6_600))
        server.must_push(otlp.export(*spans, service=service))


# The first is found, but not decoded, within its memory. The other cannot be held by any query.
@pytest.mark.parametrize("memory, is_distinct", [(SMALL_MEMORY, False), (SMALL_MEMORY // 2, True)], ids=["decoded", "read"])
def test_searches_for_whole_traces_leave_out_what_can_never_fit(servers, memory, is_distinct):
    server = servers.start(config={**HEADS_CONFIG, "server": {"max_inflight_bytes": memory}})
    small, large = b"\x51" * 16, b"\x52" * 16
    server.must_push(otlp.export(otlp.span(trace_id=small, start=time.time_ns() - 60 * 10**9), service="service-0"))
    if is_distinct:
        push_distinct(server, large, 12, "service-0")
        # A search takes memory for all of a live trace.
        server.flush()
    for _ in range(0 if is_distinct else 60):
        server.must_push(otlp.export(*(otlp.span(trace_id=large, attributes={"a": "x" * 100}) for _ in range(2_000)), service="service-0"))
    for path, service in (("/jaeger/api/traces", "service"), ("/zipkin/api/v2/traces", "serviceName")):
        answer = server.get(path, **{service: "service-0", "limit": 2}, timeout=25)
        assert answer.status_code == 200 and small.hex() in answer.text and large.hex() not in answer.text, answer.text[:300]
        assert answer.headers["X-Tactus-Partial"] == "true"


def test_trace_of_few_large_spans_is_read_like_one_of_many(servers):
    """Its spans do not tell that it does not fit into the memory of queries."""
    server = servers.start(config={**HEADS_CONFIG, "server": {"max_inflight_bytes": 32 << 20}})
    trace_id, spans = b"\x53" * 16, 6 * 6_600
    push_distinct(server, trace_id, 6)
    for moment in ("live", "stored"):
        for version in ("/api/traces/", "/api/v2/traces/"):
            content = open_answer(server, version + trace_id.hex(), ACCEPTED["protobuf"]).content
            assert content.count(b"\x0a\x10" + trace_id) == spans, (moment, version)
            with contextlib.closing(socket.create_connection(("127.0.0.1", server.http_port))) as connection:
                connection.settimeout(60)
                head = f"GET {version}{trace_id.hex()} HTTP/1.0\r\nHost: x\r\nAccept: {ACCEPTED['protobuf']}\r\n\r\n"
                connection.sendall(head.encode())
                assert b" 505 " in connection.recv(100), "over HTTP/1.0 it would look complete if it broke off"
        assert f'"spans":{spans},'.encode() in open_answer(server, f"/ui/api/traces/{trace_id.hex()}/skeleton").content, moment
        found = open_answer(server, f"/ui/api/traces/{trace_id.hex()}/find?q={{}}").json()
        assert (found["spans"], found["matched"]) == (spans, spans), moment
        assert len(all_spans(open_answer(server, f"/ui/api/traces/{trace_id.hex()}/spans").json()["resourceSpans"])) == spans, moment
        server.flush()


@pytest.mark.parametrize("path", ["/api/traces/{}", "/ui/api/traces/{}/jaeger"])
def test_whole_that_breaks_off_does_not_look_as_if_it_were_one(servers, path):
    config = {**HEADS_CONFIG, "server": {"max_inflight_bytes": SMALL_MEMORY}}
    trace_id, server = b"\x44" * 16, servers.start(config=config)
    push_heads(server, trace_id)
    answer = open_answer(server, path.format(trace_id.hex()))
    content = answer.iter_content(1 << 16)
    first = next(content)
    [query] = server.get("/ui/api/queries").json()["running"]
    assert query["query"] == trace_id.hex(), query
    stopped = server.session.delete(f"{server.url}/ui/api/queries/{query['id']}", timeout=30)
    assert stopped.status_code in (200, 204), stopped.text
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for piece in content:
            first += piece
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)
    used = [f'tactus_server_inflight_bytes{{of="{of}"}}' for of in ("queries", "requests")]
    eventually(lambda: all(server.metrics()[name] < 1 << 20 for name in used), "memory is given back", 30)


def ask(server, path, trace_id, accept, timeout=120):
    return server.session.get(f"{server.url}{path}{trace_id.hex()}", headers={"Accept": accept}, timeout=timeout)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("large"))
    yield servers.start(config=NO_LIMIT)
    servers.close()


@pytest.mark.parametrize("is_stored", [False, True], ids=["live", "stored"])
def test_trace_beyond_the_memory_of_queries_is_sent_in_slices_or_refused_before_it_is_written_down(server, is_stored):
    """Of 200 MB, out of a few kilobytes of columns."""
    trace_id, small = (bytes([17 + is_stored]) * 16, bytes([27 + is_stored]) * 16)
    push_trace(server, trace_id, 20)
    push_trace(server, small, 1)
    if is_stored:
        server.flush()
    server.forget_peak()
    before = server.resident_bytes()
    for path in ("/api/traces/", "/api/v2/traces/"):
        for accept in ACCEPTED.values():
            content = open_answer(server, f"{path}{trace_id.hex()}", accept).content
            # The first field of a span is the id of its trace.
            spans = content.count(b"\x0a\x10" + trace_id) + content.count(b'"spanId"')
            assert spans == 20 * SPANS and len(content) > 200_000_000, (path, accept, spans, len(content))
    counted = server.metric("tempo_query_frontend_queries_total")
    llm = ask(server, "/api/v2/traces/", trace_id, "application/vnd.grafana.llm")
    assert llm.status_code == 503 and "server.max_inflight_bytes" in llm.text, llm.text[:300]
    assert server.metric("tempo_query_frontend_queries_total") == counted + 1
    grown = server.peak_resident_bytes() - before
    print(f"{grown >> 20} MiB")
    assert grown < 150 << 20, f"{grown >> 20} MiB"
    # Another is answered, and all of the memory is given back.
    assert len(server.trace(small.hex())) == SPANS
    used = [f'tactus_server_inflight_bytes{{of="{of}"}}' for of in ("queries", "requests")]
    eventually(lambda: all(server.metrics()[name] < 1 << 20 for name in used), "memory is given back", 30)


def test_clients_that_do_not_read_a_large_trace_make_room_for_others(server):
    """Each of thirty has begun a slice, of which only twelve have memory at a time."""
    trace_id, other = b"\x13" * 16, b"\x14" * 16
    push_trace(server, trace_id, 4)
    push_trace(server, other, 1, spans=15)
    with contextlib.ExitStack() as opened:
        for _ in range(30):
            connection = opened.enter_context(contextlib.closing(socket.socket()))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.http_port))
            connection.sendall(f"GET /api/traces/{trace_id.hex()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        used = 'tactus_server_inflight_bytes{of="requests"}'
        eventually(lambda: server.metrics()[used] > 20 << 20, "memory is short", 20)
        for _ in range(5):
            # Sooner than the others are cut for their time.
            answer = ask(server, "/api/traces/", other, ACCEPTED["protobuf"], timeout=15)
            assert answer.status_code == 200 and len(answer.content) > 1_500_000, answer.text[:300]
    eventually(lambda: server.metrics()[used] < 1 << 20, "memory is given back", 30)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """A cluster in which every ingester has each trace, and keeps it."""
    directory = tmp_path_factory.mktemp("replicas")
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    config = {
        **NO_LIMIT,
        "ingester": {"trace_idle_period": "1h", "trace_live_period": "1h", "max_block_duration": "1h"},
    }
    storage = {"storage": {"trace": {"backend": "local", "local": {"path": str(directory / "blocks")}}}}
    with Cluster(directory, counts=counts, config=config, storage=storage) as cluster:
        cluster.start()
        yield cluster


def push_to_replicas(cluster, trace_id, pushes, span_bytes):
    """In another order to each ingester: pushes that come at the same time."""
    node = cluster["distributor-0"]
    attributes = {f"k{number}": TEXT for number in range(span_bytes // len(TEXT))}

    def push(_):
        answer = node.push(otlp.export(otlp.span(trace_id=trace_id, attributes=attributes)))
        assert answer.status_code == 200, answer.text

    at_once(push, pushes, 8)


def test_spans_that_replicas_have_in_common_come_once_from_the_querier(replicas):
    """Three copies of seven megabytes do not fit into a message of sixteen."""
    trace_id = b"\x31" * 16
    push_to_replicas(replicas, trace_id, 70, 100_000)
    answer = ask(replicas["query-frontend-0"], "/api/traces/", trace_id, ACCEPTED["json"])
    assert answer.status_code == 200, answer.text[:300]
    spans = [span for batch in answer.json()["batches"] for scope in batch["scopeSpans"] for span in scope["spans"]]
    assert len(spans) == 70


@pytest.fixture(scope="module")
def cluster_of_small_messages(tmp_path_factory):
    """A tenth of the trace fits into a message between services."""
    directory = tmp_path_factory.mktemp("messages")
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    config = {
        **NO_LIMIT,
        "server": SMALL_MESSAGES,
        "ingester": {"trace_idle_period": "1h", "trace_live_period": "1h", "max_block_duration": "1h"},
    }
    storage = {"storage": {"trace": {"backend": "local", "local": {"path": str(directory / "blocks")}}}}
    with Cluster(directory, counts=counts, config=config, storage=storage) as cluster:
        cluster.start()
        yield cluster


def test_trace_that_fits_into_no_message_between_services_comes_in_slices(cluster_of_small_messages):
    trace_id, cluster = b"\x51" * 16, cluster_of_small_messages
    push_heads(cluster["distributor-0"], trace_id)
    check_page_of_heads(cluster["query-frontend-0"], trace_id, "live")
    check_otlp_file(cluster["query-frontend-0"], trace_id, "live")
    for ingester in ("ingester-0", "ingester-1", "ingester-2"):
        cluster[ingester].flush()
    check_page_of_heads(cluster["query-frontend-0"], trace_id, "stored")
    check_api_protobuf(cluster["query-frontend-0"], trace_id, "stored")


def test_answers_of_replicas_beyond_the_memory_of_queries_wait_or_are_refused(replicas):
    """Of each of three ingesters one of fourteen megabytes, asked for by many at a time: one that has begun waits for the others."""
    trace_id, spans = b"\x32" * 16, 140
    push_to_replicas(replicas, trace_id, spans, 100_000)
    querier, frontend = replicas["querier-0"], replicas["query-frontend-0"]
    querier.forget_peak()
    before = querier.resident_bytes()

    def outcome(_):
        try:
            answer = ask(frontend, "/api/traces/", trace_id, ACCEPTED["protobuf"])
        except requests.exceptions.ChunkedEncodingError:
            return "broke off"
        if answer.status_code == 200:
            assert answer.content.count(b"\x0a\x10" + trace_id) == spans, len(answer.content)
            return "whole"
        assert answer.status_code == 503 and "server.max_inflight_bytes" in answer.text, answer.text[:300]
        return "refused"

    outcomes = Counter(at_once(outcome, 24))
    grown = querier.peak_resident_bytes() - before
    print(f"{grown >> 20} MiB, {outcomes}")
    assert grown < 200 << 20, f"{grown >> 20} MiB"
    assert outcomes["broke off"] == 0 and outcomes["whole"] >= 12, outcomes
    used = 'tactus_server_inflight_bytes{of="requests"}'
    eventually(lambda: querier.metrics()[used] < 1 << 20, "memory is given back", 30)
    assert outcome(None) == "whole"
