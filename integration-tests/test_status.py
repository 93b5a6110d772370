"""What people see of the cluster and of its queries, and how they stop one."""
import threading
import time

import pytest
import requests

from harness import otlp
from harness.cluster import Cluster
from harness.servers import Servers
from harness.waiting import eventually

# Every query is slow, and none has more than one job at a time.
CONFIG = {
    "multitenancy_enabled": True,
    "query_frontend": {"query_log": {"slow_after": "1ms", "max_slow_queries": 3},
                       "metrics": {"query_backend_after": "1s"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("status"))
    yield group.start(config=CONFIG)
    group.close()


def of(tenant):
    return {"X-Scope-OrgID": tenant}


def push(server, tenant, spans):
    headers = {**of(tenant), "Content-Type": "application/x-protobuf"}
    body = otlp.export(*spans).SerializeToString()
    requests.post(server.otlp_url + "/v1/traces", data=body, headers=headers, timeout=30).raise_for_status()


def queries(server, tenant):
    answer = server.get("/ui/api/queries", headers=of(tenant))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_status_shows_tenants_blocks_and_what_comes_in(server):
    push(server, "a", [otlp.span() for _ in range(120)])
    eventually(lambda: server.get("/ui/api/status", headers=of("a")).json()["tenants"][0]["spansPerSecond"] == 2,
               "the spans of the last minute are counted")
    server.flush()

    def has_block():
        return server.get("/ui/api/status", headers=of("a")).json()["tenants"][0]["blocks"] == 1

    eventually(has_block, "the block is in the list")
    status = server.get("/ui/api/status", headers=of("a")).json()
    tenant = status["tenants"][0]
    assert tenant["tenant"] == "a" and tenant["bytes"] > 0 and tenant["traces"] == 120
    assert abs(tenant["newest"] - time.time()) < 120 and tenant["spansPerSecond"] == 2, tenant
    assert status["members"] == [] and status["rings"] == [] and status["queue"]["workers"] == 1
    other = server.get("/ui/api/status", headers=of("b")).json()["tenants"]
    assert [(one["tenant"], one["blocks"]) for one in other] == [("b", 0)]
    assert server.get("/ui/api/status").status_code == 401


def test_last_slow_queries_of_a_tenant_are_remembered(server):
    push(server, "slow", [otlp.span() for _ in range(2000)])
    for number in range(5):
        eventually(lambda number=number: ask_until_slow(server, number), "a slow query")
    slow = queries(server, "slow")["slow"]
    assert len(slow) == 3
    last = slow[0]
    assert last["query"] == "{ span.n != 4 } | rate() by (name)" and last["tenants"] == ["slow"]
    assert last["kind"] == "metrics" and last["failure"] is None and last["tookMs"] >= 1
    assert last["doneJobs"] == last["jobs"] >= 1 and last["endMs"] > last["startMs"] > 0
    stages = last["plan"]["stages"]
    assert stages[0]["stage"] == "filter" and "span.n != 4" in stages[0]["text"]
    assert not queries(server, "b")["slow"], "those of others are not shown"


def ask_until_slow(server, number):
    """A query that took a millisecond at least."""
    text = "{ span.n != %d } | rate() by (name)" % number
    end = int(time.time())
    answer = server.get("/api/metrics/query_range", headers=of("slow"), q=text, start=end - 600, end=end + 1, step="1s")
    assert answer.status_code == 200, answer.text
    return any(one["query"] == text for one in queries(server, "slow")["slow"])


def test_running_query_is_listed_and_its_work_ends_when_it_is_stopped(tmp_path, bucket):
    """With a querier that stands still the query cannot end by itself."""
    with Cluster(tmp_path, bucket, {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}) as cluster:
        cluster.start()
        frontend, querier = cluster["query-frontend-0"], cluster["querier-0"]
        status = frontend.get("/ui/api/status").json()
        assert {member["name"] for member in status["members"]} == set(cluster.nodes)
        ring = next(ring for ring in status["rings"] if ring["name"] == "ingester")
        assert ring["replicationFactor"] == 3 and len(ring["instances"]) == 3
        assert all(one["isHealthy"] for one in ring["instances"])
        assert sum(one["share"] for one in ring["instances"]) == pytest.approx(1)
        answers = []
        # A frozen querier is given up after 10 s without a word; until then its jobs are not answered.
        querier.freeze()
        try:
            text = "{ span.stopped = true }"
            asking = threading.Thread(target=lambda: answers.append(frontend.get("/api/search", q=text)))
            began = time.monotonic()
            asking.start()
            listed = eventually(lambda: [one for one in frontend.get("/ui/api/queries").json()["running"]
                                         if one["query"] == text], "the query is listed")
            assert frontend.get("/ui/api/status").json()["queue"]["outstanding"] >= 1
            url = f"{frontend.url}/ui/api/queries/{listed[0]['id']}"
            assert requests.delete(url, timeout=10).status_code == 204
            asking.join(5)
            assert not asking.is_alive() and time.monotonic() - began < 8
            assert (answers[0].status_code, answers[0].text) == (499, "the query was stopped by hand")
            eventually(lambda: not frontend.get("/ui/api/queries").json()["running"], "nothing runs")
            assert requests.delete(url, timeout=10).status_code == 404
        finally:
            querier.thaw()
        # The querier was told that nobody waits, and says that it stopped.
        eventually(lambda: frontend.get("/ui/api/status").json()["queue"]["outstanding"] == 0, "no job is left")


def test_query_of_another_tenant_cannot_be_stopped(server):
    assert requests.delete(server.url + "/ui/api/queries/nothing", headers=of("a"), timeout=10).status_code == 404
    assert requests.delete(server.url + "/ui/api/queries/nothing", timeout=10).status_code == 401
