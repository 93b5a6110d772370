"""The graph of services, from stored spans, and metrics that know of sampling."""
import time

import pytest

from harness import dialects, otlp
from harness.servers import Servers
from harness.trip import CLIENT, MS, Trip
from harness.waiting import eventually


@pytest.fixture(scope="module", params=["live", "segments", "blocks"])
def shop(request, tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("graph"))
    keep = {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}}
    cut = {"ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"}}
    server = dialects.start(group, extra=cut if request.param == "segments" else keep)
    base = time.time_ns() - 30 * 10**9
    for second in range(5):
        trip = Trip(base + second * 10**9)
        root = trip.requests[0].resource_spans[0].scope_spans[0].spans[0]
        database = otlp.span(
            root.trace_id, name="SELECT", start=trip.base + 80 * MS, duration=8 * MS, kind=CLIENT, parent_span_id=root.span_id,
            attributes={"db.system": "postgresql", "db.name": "orders", "server.address": "db-1"})
        trip.requests[0].resource_spans[0].scope_spans[0].spans.append(database)
        for message in trip.requests:
            server.must_push(message)
    if request.param == "segments":
        eventually(server.segments, "a segment")
    if request.param == "blocks":
        server.flush()
        eventually(server.block_directories, "a block")
    yield server
    group.close()


def graph(server, **params):
    now = int(time.time())
    answer = server.get("/api/service-graph", **{"start": now - 600, "end": now + 60, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_edges_with_rates_errors_and_latencies(shop):
    body = graph(shop)
    edges = {(e["client"], e["server"]): e for e in body["edges"]}
    calls = {pair: e["calls"] for pair, e in edges.items() if pair[0] == "shop"}
    assert calls[("shop", "bank")] == 5 and calls[("shop", "mail")] == 5, calls
    bank = edges[("shop", "bank")]
    assert bank["errors"] == 5 and bank["errorRate"] == pytest.approx(1)
    databases = [e for pair, e in edges.items() if e["connectionType"] == "database"]
    assert len(databases) == 1 and databases[0]["calls"] == 5 and databases[0]["client"] == "shop"
    messaging = edges[("shop", "mail")]
    assert "messag" in messaging["connectionType"]
    assert {"shop", "bank", "mail"} <= {node["service"] if "service" in node else node["name"] for node in body["nodes"]}
    # 30 ms at the server, 50 at the client; buckets are powers of two.
    text = str(bank)
    assert "0.99" in text or "p99" in text, bank


def test_a_filter_and_a_window(shop):
    only = graph(shop, q='{ resource.service.name = "bank" }')["edges"]
    assert {(e["client"], e["server"]) for e in only} == {("shop", "bank")}
    now = int(time.time())
    assert graph(shop, start=now - 7200, end=now - 3600)["edges"] == []
    refused = shop.get("/api/service-graph", q="{ broken")
    assert refused.status_code == 400


def test_metrics_can_be_adjusted_by_sampling(servers):
    server = servers.start()
    quarter = otlp.span(name="a", trace_state="ot=th:c", attributes={"kind": "threshold"})
    tenth = otlp.span(name="b", attributes={"sampling.probability": 0.1, "kind": "attribute"})
    plain = otlp.span(name="c", attributes={"kind": "none"})
    server.must_push(otlp.export(quarter, tenth, plain))

    def count(query):
        now = int(time.time())
        answer = server.get("/api/metrics/query", q=query, start=now - 600, end=now + 60)
        assert answer.status_code == 200, answer.text
        out = {}
        for series in answer.json()["series"]:
            labels = {l["key"]: next(iter(l["value"].values())) for l in series.get("labels", [])}
            out[labels.get("span.kind") or labels.get('span."kind"') or str(labels)] = series["value"]
        return out

    for form in ("live", "block"):
        assert sum(count("{ } | count_over_time()").values()) == 3, form
        adjusted = count("{ } | count_over_time() with(adjusted=true)")
        assert sum(adjusted.values()) == pytest.approx(4 + 10 + 1), (form, adjusted)
        ((_, span),) = server.trace(quarter.trace_id.hex())
        assert span["traceState"] == "ot=th:c"
        if form == "live":
            server.flush()
            eventually(server.block_directories, "a block")
