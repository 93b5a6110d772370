"""Tenants that nobody asked for: their names, their number, their metrics."""
import time

import grpc
import pytest

from harness import otlp
from harness.crowd import Crowd, body, maps
from harness.server import merge
from harness.waiting import eventually

SEVERAL = {"multitenancy_enabled": True}
HONEST = {"X-Scope-OrgID": "honest"}
PAGE_BYTES = 5 << 20


def honest_trace(server):
    request = otlp.export(*otlp.trace(3), service="honest")
    response = server.push(request, headers=HONEST)
    assert response.status_code == 200, response.text
    return next(iter(otlp.ids(request)))


def found_in(server, tenant):
    """Traces of a tenant, and their spans."""
    now = int(time.time())
    answer = server.get("/api/search", headers={"X-Scope-OrgID": tenant}, q="{}", start=now - 3600, end=now + 60)
    traces = answer.json()["traces"]
    return len(traces), sum(trace["spanSets"][0]["matched"] for trace in traces)


def has_trace(server, trace_id, tenant="honest"):
    response = server.get(f"/api/v2/traces/{trace_id}", headers={"X-Scope-OrgID": tenant})
    assert response.status_code in (200, 404), response.text
    return response.status_code == 200


@pytest.mark.parametrize("name", [".x", "...", "tactus-clock", "overrides", "tactus-job.1.json"])
def test_name_that_no_bucket_stores_is_refused_when_it_is_sent_and_asked_for(name, tactus_of_several):
    server = tactus_of_several
    request = otlp.export(*otlp.trace(1))
    response = server.push(request, headers={"X-Scope-OrgID": name})
    assert response.status_code == 400 and "cannot be stored" in response.text
    with otlp.GrpcExporter(server.otlp_grpc_port) as exporter, pytest.raises(grpc.RpcError) as refused:
        exporter.export_bytes(request.SerializeToString(), metadata=[("x-scope-orgid", name)])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for tenant in (name, f"honest|{name}"):
        assert server.get("/api/search", headers={"X-Scope-OrgID": tenant}).status_code == 400


@pytest.fixture(scope="module")
def tactus_of_several(tmp_path_factory):
    from harness.servers import Servers
    group = Servers(tmp_path_factory.mktemp("several"))
    yield group.start(config=merge(SEVERAL, {"query_frontend": {"max_tenants_per_query": 3}}))
    group.close()


def test_odd_name_that_is_allowed_is_stored_and_read_from_its_block(tactus_of_several):
    server, name = tactus_of_several, "aZ09!-_.*'()"
    request = otlp.export(*otlp.trace(2))
    assert server.push(request, headers={"X-Scope-OrgID": name}).status_code == 200
    server.flush()
    assert (server.blocks / name).is_dir()
    assert has_trace(server, next(iter(otlp.ids(request))), name)


def test_list_of_tenants_is_bounded_and_no_label(tactus_of_several):
    server = tactus_of_several
    assert server.get("/api/search", headers={"X-Scope-OrgID": "a|b|c"}).status_code == 200
    refused = server.get("/api/search", headers={"X-Scope-OrgID": "a|b|c|d"})
    assert refused.status_code == 400 and "a query may name 3 at most" in refused.text
    labels = [sample for sample in server.metrics() if "a|b" in sample]
    assert not labels
    assert server.metric('tempo_query_frontend_queries_total{tenant="several tenants",op="search",result="completed"}') == 1


def test_crowd_is_refused_at_the_limit_and_an_honest_tenant_does_not_notice(servers):
    limited = {"distributor": {"max_tenants": 300}, "ingester": {"max_tenants": 200, "max_block_duration": "1h"}}
    server = servers.start(config=merge(SEVERAL, limited))
    before = honest_trace(server)
    with Crowd(server) as crowd:
        by_status = crowd.push(f"crowd-{number}" for number in range(2_000))
        assert set(by_status) == {200, 429}
        assert len(by_status[200]) == 199, "the honest one is the first"
        crowd.send("crowd-late", body())
        status, text = crowd.answer()
        assert status == 429 and "distributor.max_tenants" in text
        crowd.send("crowd-250", body())
        status, text = crowd.answer()
        assert status == 429 and "ingester.max_tenants" in text
    after = honest_trace(server)
    assert has_trace(server, before) and has_trace(server, after)
    discarded = {name: value for name, value in server.metrics().items()
                 if name.startswith("tempo_discarded_spans_total") and "too_many" in name}
    assert discarded == {'tempo_discarded_spans_total{reason="too_many_tenants",tenant="overflow"}': 1_803}
    server.flush()
    assert has_trace(server, before) and has_trace(server, after)


def test_thousands_of_tenants_survive_kill_and_restart_with_few_maps_and_become_blocks(servers):
    """All tenants of a cut share a file, and none is mapped, also at a start."""
    tenants, few = 1_500, 100
    limited = {
        "distributor": {"max_tenants": 0},
        "ingester": {"max_tenants": 0, "max_mapped_segments": few, "max_block_duration": "1h", "trace_idle_period": "1s"},
    }
    server = servers.start(config=merge(SEVERAL, limited))
    honest = honest_trace(server)
    baseline = maps(server)
    names = [f"{number:0>120}" for number in range(tenants)]
    with Crowd(server) as crowd:
        assert set(crowd.push(names)) == {200}
    eventually(lambda: server.metric("tactus_ingester_segments") > tenants, "all are cut", 60)
    assert len(server.segments()) < 50, "a file for each cut"
    assert maps(server) < baseline + 2 * few
    assert len(server.get("/metrics").content) < PAGE_BYTES
    with Crowd(server) as crowd:
        assert set(crowd.push(names[:50])) == {200}
    server.kill()
    server.start()
    assert maps(server) < baseline + 2 * few
    assert has_trace(server, honest)
    found = [found_in(server, name) for name in (names[0], names[49], names[50], names[-1])]
    assert found == [(2, 2), (2, 2), (1, 1), (1, 1)]
    started = time.monotonic()
    assert server.get("/flush", timeout=300).status_code == 204
    print(f"{tenants} blocks in {time.monotonic() - started:.1f} s")
    assert server.metric("tactus_ingester_segments") == 0
    assert len(list(server.blocks.iterdir())) >= tenants
    assert has_trace(server, honest)
    assert len(server.get("/metrics").content) < PAGE_BYTES


@pytest.mark.hostile
def test_hundred_thousand_tenants_are_taken_where_limits_allow_them_and_a_start_is_short(servers):
    tenants = 100_000
    limited = {
        "distributor": {"max_tenants": 0},
        "ingester": {"max_tenants": 0, "max_live_bytes": 1 << 30, "max_block_duration": "1h", "trace_idle_period": "5s"},
    }
    server = servers.start(config=merge(SEVERAL, limited))
    honest, names = honest_trace(server), [f"tenant-{number}" for number in range(tenants)]
    started = time.monotonic()
    with Crowd(server) as crowd:
        left = names
        while left:
            # Refused for a moment where cuts do not keep up: sent again, as a client does.
            by_status = crowd.push(left)
            assert set(by_status) <= {200, 429}, set(by_status)
            left = by_status.get(429, [])
    pushed = time.monotonic() - started
    eventually(lambda: server.metric("tactus_ingester_wal_bytes") < 1 << 20, "all are cut", 600, interval=1)
    cut = time.monotonic() - started - pushed
    figures = {"maps": maps(server), "files": len(server.segments()), "peak_mib": server.peak_resident_bytes() >> 20,
               "page_mib": round(len(server.get("/metrics").content) / (1 << 20), 2)}
    assert figures["maps"] < 12_000 and figures["files"] < 1_000 and figures["page_mib"] < 5
    server.kill()
    started = time.monotonic()
    server.start(timeout=600)
    figures |= {"pushed_s": round(pushed), "cut_s": round(cut), "start_s": round(time.monotonic() - started)}
    print("100 000 tenants:", figures)
    assert has_trace(server, honest)
    for name in names[:: tenants // 50]:
        assert found_in(server, name) == (1, 1), name
    after = honest_trace(server)
    assert has_trace(server, after)


@pytest.mark.hostile
def test_hundred_thousand_tenants_at_the_default_limits_are_refused_and_cost_little(servers):
    server = servers.start(config=SEVERAL)
    honest = honest_trace(server)
    started = time.monotonic()
    with Crowd(server) as crowd:
        by_status = crowd.push(f"tenant-{number}" for number in range(100_000))
    print("100 000 tenants at the default limits:", {status: len(them) for status, them in by_status.items()},
          {"s": round(time.monotonic() - started), "peak_mib": server.peak_resident_bytes() >> 20, "maps": maps(server)})
    assert set(by_status) == {200, 429} and len(by_status[200]) < 10_000
    assert maps(server) < 12_000 and len(server.get("/metrics").content) < PAGE_BYTES
    assert has_trace(server, honest) and has_trace(server, honest_trace(server))
    server.kill()
    server.start(timeout=600)
    assert has_trace(server, honest)
