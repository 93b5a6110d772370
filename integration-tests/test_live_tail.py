"""Live tails: spans as they are pushed."""
import os
import signal
import socket
import time
import urllib.parse

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from harness import otlp
from harness.cluster import Cluster
from harness.live import LiveTail
from harness.servers import Servers
from harness.waiting import eventually

ERROR = Status(code=Status.STATUS_CODE_ERROR, message="504")
# Seconds from the request of a push to the span at the reader.
BAR = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("live"))
    config = {"query_frontend": {"live_tail": {"max_tails_per_tenant": 2}}}
    yield group.start(config=config)
    group.close()


def push(server, name, **fields):
    """Pushes a span and returns when that was begun."""
    began = time.time()
    server.must_push(otlp.export(otlp.span(name=name, **fields)))
    return began


def test_span_is_shown_within_a_second(server):
    push(server, "before")
    with LiveTail(server, "{ status = error } | select(span.http.route)") as tail:
        tail.await_open()
        late = []
        for at in range(20):
            push(server, "fine")
            trace = os.urandom(16)
            began = push(server, f"charge-{at}", trace_id=trace, status=ERROR, attributes={"http.route": "/cards"})
            eventually(lambda at=at: len(tail.spans) == at + 1, "the span is shown", interval=0.005)
            read, span = tail.spans[-1]
            late.append(read - began)
            assert (span["name"], span["service"], span["traceId"]) == (f"charge-{at}", "shop", trace.hex())
            assert (span["status"], span["message"], span["duration"]) == (2, "504", str(5 * otlp.MILLISECOND))
            assert ["http.route", "/cards"] in span["attributes"]
        assert max(late) < BAR, late
        counts = tail.counts
        assert (counts["matched"], counts["shown"], counts["dropped"], counts["skipped"]) == (20, 20, 0, 0)
    eventually(lambda: server.metric("tactus_ingester_live_tails") == 0, "the tail is closed")


@pytest.mark.parametrize("query, said", [
    ("{ status = ", "invalid TraceQL query"),
    ("{ } >> { }", "one filter of single spans"),
    ("{ } | rate()", "one filter of single spans"),
    ("{ rootName = `a` }", "one filter of single spans"),
])
def test_query_that_cannot_be_followed_is_refused(server, query, said):
    answer = server.get("/ui/api/tail", q=query)
    assert answer.status_code == 400 and said in answer.text, answer.text


def test_tenant_has_as_many_tails_as_configured(server):
    with LiveTail(server) as first, LiveTail(server) as second:
        first.await_open()
        second.await_open()
        refused = server.get("/ui/api/tail")
        assert refused.status_code == 429
        assert refused.text == "too many live tails at a time (limit: 2, query_frontend.live_tail.max_tails_per_tenant)"
    eventually(lambda: server.metric("tactus_ingester_live_tails") == 0, "both are closed")
    with LiveTail(server) as third:
        third.await_open()


def test_spans_beyond_the_rate_are_counted(server):
    with LiveTail(server, "{ name =~ `burst.*` }", rate=20) as tail:
        tail.await_open()
        for at in range(20):
            server.must_push(otlp.export(*(otlp.span(name=f"burst-{at}-{n}") for n in range(100))))
        eventually(lambda: tail.counts.get("matched") == 2000, "all are counted")
        eventually(lambda: tail.counts["shown"] == len(tail.spans), "the numbers are those of the spans")
        counts = tail.counts
        assert 20 <= counts["shown"] < 1000 and counts["shown"] + counts["dropped"] == 2000, counts
        # It does not fall behind: what comes later is shown as soon as the rate lets it.
        time.sleep(1.2)
        began = push(server, "burst-last")
        eventually(lambda: tail.names()[-1] == "burst-last", "the last one is shown", interval=0.005)
        assert tail.spans[-1][0] - began < BAR


def test_tenants_see_their_own_spans(servers):
    server = servers.start(config={"multitenancy_enabled": True})

    def push_to(tenant, name):
        headers = {"X-Scope-OrgID": tenant, "Content-Type": "application/x-protobuf"}
        body = otlp.export(otlp.span(name=name)).SerializeToString()
        requests.post(server.otlp_url + "/v1/traces", data=body, headers=headers, timeout=10).raise_for_status()

    assert server.get("/ui/api/tail").status_code == 401
    with LiveTail(server, headers={"X-Scope-OrgID": "a"}) as a, LiveTail(server, headers={"X-Scope-OrgID": "a|b"}) as both:
        a.await_open()
        both.await_open(2)
        for tenant in "abc":
            push_to(tenant, f"of {tenant}")
        eventually(lambda: len(both.spans) == 2, "spans of both tenants")
        assert a.names() == ["of a"] and sorted(both.names()) == ["of a", "of b"]


def test_slow_reader_costs_nobody_anything(servers):
    server = servers.start(config={"query_frontend": {"live_tail": {"max_spans_per_second": 1_000_000}},
                                   "overrides": {"defaults": {"ingestion": {
                                       "rate_limit_bytes": 10**9, "burst_size_bytes": 10**9, "max_traces_per_user": 0}}}})
    slow = socket.create_connection(("127.0.0.1", server.http_port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /ui/api/tail HTTP/1.1\r\nHost: a\r\n\r\n")
    with LiveTail(server, rate=1) as quick:
        quick.await_open()
        before, sent = server.resident_bytes(), 0
        for _ in range(60):
            request = otlp.export(*(otlp.span(name="x" * 1000) for _ in range(500)))
            began = time.monotonic()
            server.must_push(request)
            assert time.monotonic() - began < 5
            sent += 500
        eventually(lambda: quick.counts["matched"] + quick.counts["skipped"] >= sent, "the other one counts all")
        # 30 MB were sent; live spans, two buffers of 4 MiB and 1000 spans may be in memory.
        assert server.resident_bytes() - before < 200 << 20
        slow.close()
        eventually(lambda: server.metric("tactus_ingester_live_tails") == 1, "the slow one is gone")


def test_silent_tail_stays_open(servers):
    server = servers.start(config={"server": {"http_server_write_timeout": "7s"}})
    with LiveTail(server) as tail:
        tail.await_open()
        time.sleep(16)  # more than twice what a response may take that makes no progress
        assert tail.end is None
        push(server, "late")
        eventually(lambda: tail.names() == ["late"], "the span is shown")


def test_stop_of_the_server_ends_its_tails(servers):
    server = servers.start()
    with LiveTail(server) as tail:
        tail.await_open()
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 15
        eventually(lambda: tail.end, "the tail ended")
        assert tail.end[0] == "ended", tail.end


def test_tail_ends_after_its_time(servers):
    server = servers.start(config={"query_frontend": {"live_tail": {"max_duration": "1s"}}})
    with LiveTail(server) as tail:
        eventually(lambda: tail.end, "the tail ended")
        assert tail.end == ("ended", "it was open for as long as a live tail may be")


def test_each_span_of_a_cluster_is_shown_once(tmp_path, bucket):
    with Cluster(tmp_path, bucket, {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}) as cluster:
        cluster.start()
        distributor, frontend = cluster["distributor-0"], cluster["query-frontend-0"]
        with LiveTail(frontend, "{ name =~ `a.*` }") as tail:
            tail.await_open(3)
            late = []
            for at in range(30):
                began = push(distributor, f"a{at}")
                eventually(lambda at=at: f"a{at}" in tail.names(), "the span is shown", interval=0.005)
                late.append(tail.spans[-1][0] - began)
            assert sorted(late)[-2] < BAR, late
            time.sleep(0.5)  # copies at slower ingesters would come by now
            assert sorted(tail.names()) == sorted(f"a{at}" for at in range(30))
            counts = tail.counts
            assert (counts["matched"], counts["shown"], counts["dropped"], counts["skipped"]) == (30, 30, 0, 0), counts
            # One of three replicas dies: nothing is lost, and the reader is told.
            cluster["ingester-1"].kill()
            eventually(lambda: tail.counts["ingesters"] == 2, "one is missing")
            push(distributor, "a-without")
            eventually(lambda: "a-without" in tail.names(), "the span is shown")
            cluster["ingester-1"].spawn().await_ready()
            eventually(lambda: tail.counts["ingesters"] == 3 == tail.counts["ingestersExpected"], "it is back")
            push(distributor, "a-with")
            eventually(lambda: "a-with" in tail.names(), "the span is shown")
            time.sleep(0.5)
            assert len(tail.names()) == len(set(tail.names()))


def test_address_of_a_filter_is_a_page(server):
    page = server.get("/ui/live?" + urllib.parse.urlencode({"q": "{ status = error }"}), accept="text/html")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
